//! The same in weaker surroundings: without namespaces, and without being root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use autocodegen::sandbox::job::LimitOverrides;
use autocodegen::sandbox::local::Isolation;

use crate::common;
use crate::host::{Host, PASSED, REFUSED, TIME, left_behind, limits};

/// What must fail without namespaces as well; the python that everyone can reach runs it.
const ATTEMPTS: &str = r"
for path in ('/etc/shadow', '/root', '/home', '/var/tmp', '/var/log', '/tmp', '/sys/kernel', '/', '/proc', '/run',
             '/proc/1/environ', f'/proc/{os.getppid()}/environ', f'/proc/{os.getppid()}/cmdline', '/dev/shm', '/dev/tty',
             '..', '../..', os.environ['SECRET'] if 'SECRET' in os.environ else '/nowhere', secret):
    refused(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
for path in ('/tmp/x', '/var/tmp/x', '/dev/shm/x', '../x', '../../x', '/etc/x', '/usr/x', secret, '/proc/self/oom_score_adj_'):
    refused('write ' + path, lambda: open(path, 'w'))
refused('remove', lambda: os.unlink(secret))
refused('rename', lambda: os.rename(secret, 'mine'))
refused('link', lambda: os.link(secret, 'mine'))
os.symlink(secret, 'link')
refused('through a link', lambda: open('link').read())
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 40):
    refused(f'socket {family}', lambda: socket.socket(family), errno.EPERM)
for pid in (os.getppid(), launcher):
    refused(f'kill {pid}', lambda: os.kill(pid, 0))
refused('limits of others', lambda: libc.prlimit(launcher, 7, 0, 0), errno.EPERM)
refused('shared memory', lambda: libc.shmget(0x4321, 4096, 0o1600), errno.EPERM)
refused('ptrace', lambda: libc.ptrace(16, os.getppid(), 0, 0), errno.EPERM)
open('own', 'w').write('x'); open(os.environ['TMPDIR'] + '/own', 'w').write('x'); open('/dev/null', 'w').write('x')
if sum(map(int, subprocess.run(['/bin/echo', '20', '22'], capture_output=True).stdout.split())) != 42: print('no programs')
";

/// Runs the attempts through bash, as the python of this machine may be where only root can read.
fn attempts(launcher: u32, secret: &Path) -> String {
    let secret = secret.display();
    format!(
        "exec /usr/bin/python3 - <<'END'\nimport subprocess\nlauncher = {launcher}\nsecret = '{secret}'\n{REFUSED}{ATTEMPTS}\nprint('end')\nEND\n"
    )
}

#[tokio::test]
async fn reduced_as_root() {
    let Some(host) = Host::isolated("reduced", Isolation::Reduced).await else { return };
    if !host.sandbox.isolation().contains("+landlock") {
        return common::skip("reduced", "no Landlock in this kernel");
    }
    if !Path::new("/usr/bin/python3").exists() {
        return common::skip("reduced", "no /usr/bin/python3");
    }
    let secret = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(secret.path(), "secret").unwrap();
    let verdict = host.run("shell", &attempts(host.sandbox.launcher_pid(), secret.path())).await;
    assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "end\n"), "{verdict:#?}");
    assert_eq!(fs::read_to_string(secret.path()).unwrap(), "secret");
    host.assert_clean().await;
}

#[tokio::test]
async fn reduced_one_job_does_not_see_another() {
    let Some(host) = Host::isolated("reduced jobs", Isolation::Reduced).await else { return };
    let victim = "echo x > secret; chmod 777 . secret; pwd; sleep 2";
    let spy = "sleep 1; cat ../../*/work/secret ../../1/work/secret ../../2/work/secret ../../3/work/secret; ls ../..; pwd";
    let (victim, spy) = tokio::join!(host.run("shell", victim), host.run("shell", spy));
    assert_eq!(victim.outcome, PASSED, "{victim:#?}");
    assert_eq!(spy.stdout.lines().count(), 1, "{spy:#?}");
    assert!(!spy.stdout.contains('x') || spy.stdout.starts_with('/'), "{spy:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn reduced_leaves_no_processes_and_no_files() {
    let Some(host) = Host::isolated("reduced remains", Isolation::Reduced).await else { return };
    let bomb = "f() { f | f & f; }; f";
    let limits = LimitOverrides { wall_ms: Some(5000), ..limits() };
    let verdict = host.run_within(limits, "shell", bomb).await;
    assert_ne!(verdict.outcome, PASSED, "{verdict:#?}");
    let daemon = "setsid sleep 1000 & (setsid sh -c 'while :; do :; done' &) ; mkdir -p a/b; touch a/b/c; chmod 0 a/b a; echo end";
    let verdict = host.run_within(limits, "shell", daemon).await;
    assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "end\n"), "{verdict:#?}");
    let deep = "d=$(printf 'd%.0s' {1..200}); for i in {1..3000}; do mkdir $d; cd $d; done; echo deep";
    let verdict = host.run_within(limits, "shell", deep).await;
    assert!([PASSED, TIME].contains(&verdict.outcome), "{verdict:#?}");
    host.assert_clean().await;
}

/// A launcher killed at once leaves processes that only the next one can find.
#[tokio::test]
async fn reduced_survivors_of_a_killed_launcher_are_ended() {
    let Some(host) = Host::isolated("reduced survivors", Isolation::Reduced).await else { return };
    let launcher = host.sandbox.launcher_pid();
    let killer = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(Command::new("kill").args(["-9", &launcher.to_string()]).status().unwrap().success());
    };
    let job = autocodegen::sandbox::job::Job {
        language: "shell".to_owned(),
        source: "setsid sleep 1000 & sleep 1000".to_owned(),
        limits: limits(),
        ..Default::default()
    };
    let (answer, ()) = tokio::join!(autocodegen::sandbox::Sandbox::run(&host.sandbox, &job), killer);
    assert_eq!(answer.unwrap_err().cause, "launcher");
    let verdict = host.run("shell", "echo again").await;
    assert_eq!(verdict.stdout, "again\n");
    assert_eq!(left_behind(launcher), Vec::<String>::new());
}

/// `autocodegen ARGS` as an ordinary user, from a copy of the binary, with a cache and a home of its own.
fn as_nobody(test: &str, arguments: &[&str], source: &str) -> Option<Output> {
    let set =
        Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "true"]).status();
    if !set.is_ok_and(|status| status.success()) {
        common::skip(test, "this user may not become another one (setpriv)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.path().join("autocodegen");
    common::copy_executable(env!("CARGO_BIN_EXE_autocodegen"), &binary);
    let program = folder.path().join("test.sh");
    fs::write(&program, source).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["sandbox", "exec"])
        .args(arguments)
        .arg(&program)
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent")])
        .env("XDG_CACHE_HOME", folder.path().join("cache"))
        .env("TMPDIR", folder.path())
        .env("OPENAI_API_KEY", "sk-very-secret")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !["autocodegen", "test.sh", "cache"].contains(&name.as_str()));
    assert_eq!(names, Vec::<String>::new(), "temporary folders left");
    Some(output)
}

#[test]
fn namespaces_as_an_ordinary_user() {
    let source = "id -u; cat /etc/shadow /proc/1/environ; ls /root /var/log; ls -a /work; echo end";
    let Some(output) = as_nobody("ordinary user", &[], source) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(3)
        && fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|n| n == "0\n")
    {
        return common::skip("ordinary user", "no user namespaces");
    }
    assert!(output.status.success(), "{output:#?}");
    assert!(said.contains("\"isolation\": \"namespaces+"), "{said}");
    assert!(said.contains("1000\\n.\\n..\\ntest.sh\\n"), "{said}");
    assert!(!said.contains("secret") && !said.contains("root:"), "{said}");
}

#[test]
fn reduced_as_an_ordinary_user() {
    let secret = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(secret.path(), "secret").unwrap();
    // The launcher is the parent of the program's parent; it has the program's own user id here.
    let source = attempts(0, secret.path()).replace(
        "launcher = 0",
        "import os\nlauncher = int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[1])",
    );
    let Some(output) = as_nobody("ordinary user, reduced", &["--isolation", "reduced"], &source) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:#?}");
    if !said.contains("reduced+landlock") {
        return common::skip("ordinary user, reduced", "no Landlock in this kernel");
    }
    assert!(said.contains("\"stdout\": \"end\\n\""), "{said}");
    assert_eq!(fs::read_to_string(secret.path()).unwrap(), "secret");
}
