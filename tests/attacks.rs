//! Hostile programs: what each tries, what verdict came back, that the host is unharmed and that nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::local::{LocalSandbox, Options};
use tokio::sync::{Mutex, MutexGuard};

/// A sandbox of a test's own, and how the host was before.
struct Host {
    sandbox: LocalSandbox,
    scratch: tempfile::TempDir,
    mounts: String,
    // Attacks run one at a time, so that what is left can be told.
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    async fn new(test: &str) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let scratch = tempfile::tempdir().unwrap();
        let options = Options {
            launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()),
            scratch: Some(scratch.path().to_owned()),
            ..Options::default()
        };
        match LocalSandbox::start(options) {
            Ok(sandbox) => Some(Self { sandbox, scratch, mounts: mounts(), _alone: alone }),
            Err(error) => {
                common::skip(test, &error.to_string());
                None
            }
        }
    }

    async fn run(&self, language: &str, source: &str) -> Verdict {
        let limits = LimitOverrides {
            cpu_ms: Some(2000),
            wall_ms: Some(8000),
            memory_bytes: Some(256 << 20),
            pids: Some(64),
            file_bytes: Some(64 << 20),
            ..LimitOverrides::default()
        };
        let job = Job { language: language.to_owned(), source: source.to_owned(), limits, ..Job::default() };
        let started = Instant::now();
        let verdict = self.sandbox.run(&job).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(60), "{verdict:#?}");
        verdict
    }

    /// Nothing is left behind: neither while the sandbox lives nor after it.
    async fn assert_clean(self) {
        let launcher = self.sandbox.launcher_pid();
        // The close of the work folder is carried out after the verdict.
        for attempt in 0.. {
            let left = left_behind(launcher);
            if left.is_empty() {
                break;
            }
            assert!(attempt < 100, "left behind: {left:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let verdict = self.run("shell", "echo still well").await;
        assert_eq!((verdict.outcome, verdict.stdout.as_str()), (Outcome::Passed, "still well\n"));
        drop(self.sandbox);
        assert!(!Path::new(&format!("/proc/{launcher}")).exists());
        assert_eq!(left_behind(launcher), Vec::<String>::new());
        assert_eq!(fs::read_dir(self.scratch.path()).unwrap().count(), 0);
        assert_eq!(mounts(), self.mounts);
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Processes and control groups of a launcher's jobs.
fn left_behind(launcher: u32) -> Vec<String> {
    let mut left = Vec::new();
    // Where the launcher is root, its jobs run as users of its own.
    let first_user = 0x7000_0000 + (launcher & 0x3_ffff) * 1024;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let of_job = entry.metadata().is_ok_and(|data| (first_user..first_user + 1024).contains(&data.uid()));
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if of_job || parent == Some(launcher.to_string().as_str()) {
            left.push(format!("process {pid}: {stat}"));
        }
    }
    groups(Path::new("/sys/fs/cgroup"), &format!("autocodegen-{launcher}"), &mut left);
    left
}

/// Groups below a launcher's own.
fn groups(folder: &Path, own: &str, left: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if folder.ends_with(own) {
                left.push(entry.path().display().to_string());
            }
            groups(&entry.path(), own, left);
        }
    }
}

/// Runs a python program and checks its outcome and that the host is as before.
async fn attack(test: &str, source: &str, expected: &[Outcome]) -> Option<Verdict> {
    let host = Host::new(test).await?;
    let verdict = host.run("python", source).await;
    assert!(expected.contains(&verdict.outcome), "{test}: {verdict:#?}");
    host.assert_clean().await;
    Some(verdict)
}

/// Runs a python program in which every attempt must fail: it prints what it could do, which must be nothing.
async fn nothing_works(test: &str, source: &str) {
    let preamble = "import ctypes, errno, fcntl, os, socket, struct, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        def refused(name, call, *errors):\n\
        \x20   ctypes.set_errno(0)\n\
        \x20   try:\n\
        \x20       result = call()\n\
        \x20   except OSError as error:\n\
        \x20       if errors and error.errno not in errors: print(name, error)\n\
        \x20       return\n\
        \x20   if result == -1:\n\
        \x20       if errors and ctypes.get_errno() not in errors: print(name, errno.errorcode[ctypes.get_errno()])\n\
        \x20       return\n\
        \x20   print('COULD', name, result)\n";
    let Some(verdict) = attack(test, &format!("{preamble}{source}print('end')\n"), &[Outcome::Passed]).await
    else {
        return;
    };
    assert_eq!(verdict.stdout, "end\n", "{test}: {verdict:#?}");
}

const TIME: Outcome = Outcome::TimeLimitExceeded;
const MEMORY: Outcome = Outcome::MemoryLimitExceeded;

#[tokio::test]
async fn fork_bomb() {
    let source = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n";
    attack("fork bomb", source, &[TIME, MEMORY]).await;
}

#[tokio::test]
async fn shell_fork_bomb() {
    let Some(host) = Host::new("shell fork bomb").await else { return };
    let verdict = host.run("shell", "f() { f | f & f; }; f").await;
    assert_ne!(verdict.outcome, Outcome::Passed, "{verdict:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn thread_bomb() {
    let source = "import threading, time\ncount = 0\ntry:\n    while True:\n        \
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); count += 1\n\
        except RuntimeError: print(count < 64)\n";
    let Some(verdict) = attack("thread bomb", source, &[Outcome::Passed]).await else { return };
    assert_eq!(verdict.stdout, "True\n");
}

#[tokio::test]
async fn memory_bomb() {
    let Some(verdict) =
        attack("memory bomb", "x = []\nwhile True: x.append(bytearray(1 << 20))\n", &[MEMORY]).await
    else {
        return;
    };
    // Without control groups the launcher notices a little later.
    let most = if verdict.isolation.contains("cgroup") { 256 << 20 } else { 512 << 20 };
    assert!(verdict.usage.peak_rss_bytes <= most, "{verdict:#?}");
}

#[tokio::test]
async fn memory_bomb_in_many_processes() {
    let source = "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        \
        x = bytearray(50 << 20)\n        time.sleep(100)\ntime.sleep(100)\n";
    attack("memory bomb in processes", source, &[MEMORY]).await;
}

#[tokio::test]
async fn shared_memory_bomb() {
    let source = "import mmap\nx = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1\n";
    attack("shared memory bomb", source, &[MEMORY]).await;
}

#[tokio::test]
async fn disk_fill() {
    for folder in ["/work", "/tmp", "/dev/shm"] {
        let source = format!(
            "import errno\ntry:\n    for n in range(1000):\n        with open(f'{folder}/{{n}}', 'wb') as f:\n            \
             f.write(b'x' * (1 << 20))\nexcept OSError as e: print(errno.errorcode[e.errno], n < 64)\n"
        );
        let Some(verdict) = attack("disk fill", &source, &[Outcome::Passed]).await else { return };
        assert_eq!(verdict.stdout, "ENOSPC True\n", "{folder}: {verdict:#?}");
    }
}

#[tokio::test]
async fn inode_fill() {
    let source = "import errno, os\ntry:\n    for n in range(10**7): os.mkdir(f'/tmp/{n}')\n\
        except OSError as e: print(errno.errorcode[e.errno], n <= 65536)\n";
    let Some(verdict) = attack("inode fill", source, &[Outcome::Passed, TIME, MEMORY]).await else { return };
    assert!(verdict.outcome != Outcome::Passed || verdict.stdout == "ENOSPC True\n", "{verdict:#?}");
}

#[tokio::test]
async fn output_flood() {
    let source = "import os\nwhile True: os.write(1, b'y' * 65536)\n";
    let Some(verdict) = attack("output flood", source, &[Outcome::OutputLimitExceeded]).await else { return };
    assert!(verdict.truncated);
    assert_eq!(verdict.stdout.len(), 16 << 20);
}

#[tokio::test]
async fn huge_sparse_file() {
    let source = "f = open('big', 'wb')\nf.truncate(1 << 40)\n";
    // SIGXFSZ: Python ignores it and sees EFBIG.
    let Some(verdict) = attack("sparse file", source, &[Outcome::RuntimeError]).await else { return };
    assert!(verdict.stderr.contains("File too large"), "{verdict:#?}");
}

#[tokio::test]
async fn deep_folders_and_odd_names() {
    let source = "import os\nos.mkdir('a\\nb')\nopen('-rf', 'w')\nos.symlink('/', 'root')\n\
        for _ in range(2000):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nprint('deep')\n";
    attack("deep folders", source, &[Outcome::Passed]).await;
}

#[tokio::test]
async fn daemon_that_outlives_its_parent() {
    let source = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        \
        while True: pass\n    os._exit(0)\nos.wait()\ntime.sleep(0.2)\nprint('parent ends')\n";
    attack("daemon", source, &[Outcome::Passed]).await;
}

#[tokio::test]
async fn ignoring_every_signal() {
    let source = "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    \
        except (OSError, ValueError): pass\nwhile True: pass\n";
    attack("ignoring signals", source, &[TIME]).await;
}

#[tokio::test]
async fn stopping_itself() {
    attack("stopping itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n", &[TIME]).await;
}

#[tokio::test]
async fn killing_everyone() {
    let source = "import os, signal\nfor pid in (1, os.getppid()):\n    try: os.kill(pid, signal.SIGSTOP)\n    \
        except OSError: pass\nos.kill(-1, signal.SIGKILL)\nprint('survived')\n";
    attack("killing everyone", source, &[Outcome::Passed, Outcome::RuntimeError]).await;
}

#[tokio::test]
async fn host_files_are_out_of_sight() {
    let secret = tempfile::Builder::new().prefix("secret-").tempdir_in("/var/tmp").unwrap();
    fs::write(secret.path().join("key"), "secret").unwrap();
    let source = format!(
        "for path in ('/etc/shadow', '/root/.bashrc', '/root/.ssh', '/home', '/sys', '/var/log', '/boot', '{secret}', '{repository}',\n    \
         '/run/docker.sock', '/proc/1/environ', '/proc/1/root', '/proc/1/cmdline', '/proc/kcore', '/dev/mem',\n    \
         '/dev/vda', '/dev/tty', '/dev/ptmx', '/jobs/.lower', '/proc/self/fd/9', '/proc/sysrq-trigger'):\n    \
         refused(path, lambda: open(path).read() if not os.path.isdir(path) else os.listdir(path))\n\
         refused('other jobs', lambda: os.listdir('/jobs') or -1)\n\
         top = [n for n in os.listdir('/') if n in ('root', 'home', 'sys', 'boot', 'mnt', 'opt', 'srv')]\n\
         if top and top != ['root']: print(top)\n",
        secret = secret.path().display(),
        repository = env!("CARGO_MANIFEST_DIR"),
    );
    nothing_works("host files", &source).await;
}

#[tokio::test]
async fn environment_holds_no_secrets() {
    let source = "import os\nprint(sorted(os.environ))\n";
    let Some(verdict) = attack("environment", source, &[Outcome::Passed]).await else { return };
    let allowed = "['HOME', 'LANG', 'LOGNAME', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'PYTHONIOENCODING', \
                   'SHELL', 'TMPDIR', 'TZ', 'USER']\n";
    assert_eq!(verdict.stdout, allowed);
}

#[tokio::test]
async fn writing_outside() {
    let source = "for path in ('/x', '/usr/x', '/etc/x', '/dev/x', '/jobs/x', '/etc/passwd', '/bin/x', '/proc/sys/kernel/hostname',\n    \
         '/proc/sys/kernel/core_pattern'):\n    \
         refused(path, lambda: open(path, 'w'))\n\
         refused('chmod', lambda: os.chmod('/usr/bin/env', 0o777))\n\
         refused('unlink', lambda: os.unlink('/usr/bin/env'))\n\
         refused('link', lambda: os.link('/etc/passwd', '/usr/p'))\n\
         refused('mknod', lambda: os.mknod('/work/vda', 0o60666, os.makedev(254, 0)))\n";
    nothing_works("writing outside", source).await;
}

#[tokio::test]
async fn host_network_is_out_of_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("autocodegen-test-{port}");
    let address = <SocketAddr as SocketAddrExt>::from_abstract_name(&name).unwrap();
    let abstract_listener = UnixListener::bind_addr(&address).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();
    let source = format!(
        "refused('loopback', lambda: socket.create_connection(('127.0.0.1', {port}), 1))\n\
         refused('internet', lambda: socket.create_connection(('1.1.1.1', 53), 1))\n\
         refused('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))\n\
         refused('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), errno.EPERM)\n\
         refused('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), errno.EPERM)\n\
         server = socket.create_server(('127.0.0.1', 0))\n\
         client = socket.create_connection(server.getsockname(), 5)\n"
    );
    nothing_works("network", &source).await;
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(abstract_listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn privileged_system_calls() {
    let source = "E = errno.EPERM\n\
        refused('ptrace', lambda: libc.ptrace(16, os.getppid(), 0, 0), E)\n\
        refused('traceme', lambda: libc.ptrace(0, 0, 0, 0), E)\n\
        refused('mount', lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), E)\n\
        refused('umount', lambda: libc.umount2(b'/proc', 2), E)\n\
        refused('chroot', lambda: os.chroot('/tmp'), E)\n\
        refused('pivot_root', lambda: libc.syscall(155, b'/tmp', b'/tmp'), E)\n\
        refused('unshare user', lambda: libc.unshare(0x10000000), E)\n\
        refused('unshare mount', lambda: libc.unshare(0x20000), E)\n\
        refused('setns', lambda: libc.setns(os.open('/proc/self/ns/net', 0), 0), E)\n\
        refused('clone user', lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), E)\n\
        refused('clone3', lambda: libc.syscall(435, 0, 0), errno.ENOSYS)\n\
        refused('keyctl', lambda: libc.syscall(250, 0, -3, 0), E)\n\
        refused('add_key', lambda: libc.syscall(248, b'user', b'x', b'y', 1, -3), E)\n\
        refused('bpf', lambda: libc.syscall(321, 0, 0, 0), E)\n\
        refused('io_uring', lambda: libc.syscall(425, 1, 0), errno.ENOSYS)\n\
        refused('perf', lambda: libc.syscall(298, 0, 0, -1, -1, 0), E)\n\
        refused('userfaultfd', lambda: libc.syscall(323, 0), E)\n\
        refused('kexec', lambda: libc.syscall(246, 0, 0, 0, 0), E)\n\
        refused('init_module', lambda: libc.syscall(175, 0, 0, b''), E)\n\
        refused('reboot', lambda: libc.syscall(169, 0xfee1dead, 672274793, 0, 0), E)\n\
        refused('swapon', lambda: libc.swapon(b'/tmp', 0), E)\n\
        refused('open_by_handle', lambda: libc.syscall(304, 0, 0, 0), E)\n\
        refused('personality', lambda: libc.personality(0x0040000), E)\n\
        refused('process_vm_readv', lambda: libc.syscall(310, os.getppid(), 0, 0, 0, 0, 0), E)\n\
        refused('x32', lambda: libc.syscall(0x40000000 + 39), errno.ENOSYS)\n\
        refused('sethostname', lambda: socket.sethostname('x'), E)\n\
        refused('settime', lambda: libc.syscall(227, 0, 0), E)\n\
        refused('setuid', lambda: os.setuid(0))\n\
        refused('setgroups', lambda: os.setgroups([0]))\n\
        refused('chown', lambda: os.chown('/work/test.py', 0, 0))\n\
        refused('nice', lambda: os.nice(-5))\n\
        if libc.personality(0xffffffff) != 0: print('personality query')\n";
    if cfg!(target_arch = "x86_64") {
        nothing_works("system calls", source).await;
    }
}

#[tokio::test]
async fn set_user_id_programs_give_nothing() {
    let source = "import os, subprocess\nstatus = open('/proc/self/status').read()\n\
        for line in status.splitlines():\n    if line.startswith(('Cap', 'NoNewPrivs', 'Seccomp:')): print(line.split())\n\
        print(os.getresuid(), os.getresgid())\n\
        print(subprocess.run(['su', '-c', 'id'], stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)\n";
    let Some(verdict) = attack("set user id", source, &[Outcome::Passed]).await else { return };
    let zero = "0000000000000000";
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(verdict.stdout.contains(&format!("['{set}:', '{zero}']")), "{verdict:#?}");
    }
    assert!(verdict.stdout.contains("['NoNewPrivs:', '1']\n['Seccomp:', '2']\n"), "{verdict:#?}");
    assert!(verdict.stdout.ends_with("(1000, 1000, 1000) (1000, 1000, 1000)\nTrue\n"), "{verdict:#?}");
}

#[tokio::test]
async fn terminal_injection() {
    let source = "refused('controlling terminal', lambda: os.open('/dev/tty', os.O_RDWR))\n\
        import pty\n\
        refused('TIOCSTI', lambda: fcntl.ioctl(0, 0x5412, b'x'), errno.EPERM)\n\
        refused('TIOCSTI with a high word', lambda: libc.ioctl(0, ctypes.c_ulong(0x100005412), b'x'), errno.EPERM)\n";
    nothing_works("terminal injection", source).await;
}

#[tokio::test]
async fn changing_files_while_they_are_removed() {
    let source = "import os\nfor name in ('a', 'b', 'c'):\n    if os.fork() == 0:\n        n = 0\n        while True:\n            \
        try: os.rename(name if n % 2 else name + name, name + name if n % 2 else name)\n            \
        except OSError: open(name, 'w').close()\n            n += 1\nprint('end')\n";
    attack("changing files", source, &[Outcome::Passed]).await;
}

#[tokio::test]
async fn one_job_does_not_see_another() {
    let Some(host) = Host::new("other jobs").await else { return };
    let victim = "import time\nopen('/tmp/secret', 'w').write('x')\nopen('/work/secret', 'w').write('x')\n\
        open('/dev/shm/secret', 'w').write('x')\ntime.sleep(2)\n";
    let spy = "import os, time\ntime.sleep(1)\n\
        print([n for f in ('/tmp', '/work', '/dev/shm', '/jobs') for n in os.listdir(f)])\n\
        print(len([p for p in os.listdir('/proc') if p.isdigit()]))\n";
    let (victim, spy) = tokio::join!(host.run("python", victim), host.run("python", spy));
    assert_eq!(victim.outcome, Outcome::Passed, "{victim:#?}");
    assert_eq!(spy.stdout, "['test.py']\n1\n", "{spy:#?}");
    let after = host.run("python", "import os\nprint(os.listdir('/tmp') + os.listdir('/dev/shm'))\n").await;
    assert_eq!(after.stdout, "[]\n");
    host.assert_clean().await;
}

#[tokio::test]
async fn compilers_do_not_read_the_host() {
    let Some(host) = Host::new("compiler").await else { return };
    for path in ["/etc/shadow", "/root/.bashrc", "/dev/zero"] {
        let verdict = host.run("cpp", &format!("#include \"{path}\"\nint main() {{}}\n")).await;
        assert_ne!(verdict.outcome, Outcome::Passed, "{path}: {verdict:#?}");
        assert!(!verdict.compile_message.contains("root:"), "{verdict:#?}");
    }
    let bomb = "template <int N> struct A { A<N + 1> a; A<N + 2> b; };\nA<0> a;\nint main() {}\n";
    let verdict = host.run("cpp", bomb).await;
    assert!([Outcome::CompilationError, TIME, MEMORY].contains(&verdict.outcome), "{verdict:#?}");
    host.assert_clean().await;
}
