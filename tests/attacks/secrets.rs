//! Reading what is not the job's: the host's files, other jobs, the API key.

use std::fs;
use std::process::Command;

use crate::host::{Host, PASSED, attack, nothing_works};

#[tokio::test]
async fn host_files_are_out_of_sight() {
    let secret = tempfile::Builder::new().prefix("secret-").tempdir_in("/var/tmp").unwrap();
    fs::write(secret.path().join("key"), "secret").unwrap();
    let source = format!(
        r"
for path in ('/etc/shadow', '/root/.bashrc', '/root/.ssh', '/sys', '/sys/kernel', '/var/log', '/boot',
             '{secret}', '{repository}', '/run/docker.sock', '/proc/kcore', '/proc/kmsg', '/dev/mem', '/jobs/.lower',
             '/proc/self/fd/9', '/proc/sysrq-trigger', '/proc/sched_debug', '/proc/timer_list', '/var/lib', '/mnt'):
    refused(path, lambda: open(path).read() if not os.path.isdir(path) else os.listdir(path))
refused('other jobs', lambda: os.listdir('/jobs') or -1)
top = [n for n in os.listdir('/') if n in ('root', 'home', 'sys', 'boot', 'mnt', 'opt', 'srv')]
if set(top) - {{'root', 'home'}} or 'home' in top and os.listdir('/home') != ['elsewhere']: print(top)
",
        secret = secret.path().display(),
        repository = env!("CARGO_MANIFEST_DIR"),
    );
    nothing_works("host files", &source).await;
}

#[tokio::test]
async fn other_processes_are_out_of_sight() {
    let source = r"
for file in ('environ', 'root', 'cwd', 'exe', 'mem', 'maps', 'fd', 'cmdline', 'status', 'task', 'ns/mnt', 'mountinfo'):
    path = f'/proc/1/{file}'
    refused(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(100) or -1)
pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]
if pids != [os.getpid()]: print('sees', pids)
for pid in range(1, 400):
    if pid != os.getpid(): refused(pid, lambda: open(f'/proc/{pid}/environ').read())
mounts = open('/proc/self/mountinfo').read()
if 'autocodegen' in mounts: print(mounts)
";
    nothing_works("other processes", source).await;
}

#[tokio::test]
async fn environment_holds_no_secrets() {
    let source = "import os\nprint(sorted(os.environ))\n";
    let Some(verdict) = attack("environment", source, &[PASSED]).await else { return };
    let allowed = "['HOME', 'LANG', 'LOGNAME', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'PYTHONIOENCODING', \
                   'SHELL', 'TMPDIR', 'TZ', 'USER']\n";
    assert_eq!(verdict.stdout, allowed);
}

/// The key is in the environment of the process that started the launcher.
#[tokio::test]
async fn the_api_key_is_not_to_be_found() {
    let Some(host) = Host::new("key").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("spy.py");
    let source = r"
import glob, os
found = repr(dict(os.environ))
for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/task/*/environ') + glob.glob('/proc/*/cmdline'):
    try: found += open(path, errors='replace').read()
    except OSError: pass
print(len(found) > 0, found)
";
    fs::write(&program, source).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_autocodegen"))
        .args(["sandbox", "exec"])
        .arg(&program)
        .env("OPENAI_API_KEY", "sk-very-secret")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("PASSED") && said.contains("True"), "{output:#?}");
    assert!(!said.contains("sk-very-secret"), "{said}");
    let launcher = fs::read(format!("/proc/{}/environ", host.sandbox.launcher_pid())).unwrap();
    assert_eq!(launcher, b"", "the launcher itself knows nothing to give away");
    host.assert_clean().await;
}

#[tokio::test]
async fn one_job_does_not_see_another() {
    let Some(host) = Host::new("other jobs").await else { return };
    let victim = r"
import time
for folder in ('/tmp', '/work', '/dev/shm'): open(folder + '/secret', 'w').write('x')
time.sleep(2)
";
    let spy = r"
import os, time
time.sleep(1)
print([n for f in ('/tmp', '/work', '/dev/shm', '/jobs') for n in os.listdir(f)])
print(len([p for p in os.listdir('/proc') if p.isdigit()]))
";
    let (victim, spy) = tokio::join!(host.run("python", victim), host.run("python", spy));
    assert_eq!(victim.outcome, PASSED, "{victim:#?}");
    assert_eq!(spy.stdout, "['test.py']\n1\n", "{spy:#?}");
    let after = host.run("python", "import os\nprint(os.listdir('/tmp') + os.listdir('/dev/shm'))\n").await;
    assert_eq!(after.stdout, "[]\n");
    host.assert_clean().await;
}

/// What one job leaves in kernel objects that have names, the next does not find.
#[tokio::test]
async fn named_kernel_objects_are_private() {
    let Some(host) = Host::new("kernel objects").await else { return };
    let source = r"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
existed = libc.shmget(0x1234, 4096, 0o600) != -1, libc.semget(0x1234, 1, 0o600) != -1, os.path.exists('/dev/shm/x')
try: socket.socket(socket.AF_UNIX).connect('\0name'); existed += (True,)
except OSError: existed += (False,)
libc.shmget(0x1234, 4096, 0o1600), libc.semget(0x1234, 1, 0o1600), open('/dev/shm/x', 'w')
server = socket.socket(socket.AF_UNIX); server.bind('\0name'); server.listen()
if os.fork() == 0:
    import time; time.sleep(100)
print(existed)
";
    for _ in 0..2 {
        let verdict = host.run("python", source).await;
        assert_eq!(verdict.stdout, "(False, False, False, False)\n", "{verdict:#?}");
    }
    let on_host = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    assert!(!on_host.lines().any(|line| line.trim_start().starts_with("4660 ")), "{on_host}");
    host.assert_clean().await;
}
