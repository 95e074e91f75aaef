//! Processes that will not end, end others, or pretend that time stands still.

use std::time::{Duration, Instant};

use autocodegen::sandbox::job::{LimitOverrides, Outcome};

use crate::host::{Host, PASSED, TIME, attack, limits};

#[tokio::test]
async fn daemon_that_outlives_its_parent() {
    let source = r"
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: pass
    os._exit(0)
os.wait()
time.sleep(0.2)
print('parent ends')
";
    let started = Instant::now();
    let Some(verdict) = attack("daemon", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "parent ends\n");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn ignoring_every_signal() {
    let source = r"
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
";
    attack("ignoring signals", source, &[TIME]).await;
}

#[tokio::test]
async fn stopping_itself() {
    let limits = LimitOverrides { wall_ms: Some(2000), ..limits() };
    let Some(host) = Host::new("stopping itself").await else { return };
    let verdict =
        host.run_within(limits, "python", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n").await;
    assert_eq!(verdict.outcome, TIME, "{verdict:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn killing_everyone() {
    let source = r"
import os, signal
for pid in (1, os.getppid()):
    for s in (signal.SIGSTOP, signal.SIGKILL):
        try: os.kill(pid, s)
        except OSError: pass
os.kill(-1, signal.SIGKILL)
print('survived')
";
    attack("killing everyone", source, &[PASSED, Outcome::RuntimeError]).await;
}

#[tokio::test]
async fn killing_the_launcher_by_its_host_pid() {
    let Some(host) = Host::new("launcher's pid").await else { return };
    let launcher = host.sandbox.launcher_pid();
    let source = format!(
        "import os, signal\ntry: os.kill({launcher}, signal.SIGKILL)\nexcept ProcessLookupError: print('nobody')\n"
    );
    let verdict = host.run("python", &source).await;
    assert_eq!(verdict.stdout, "nobody\n", "{verdict:#?}");
    assert_eq!(host.sandbox.launcher_pid(), launcher);
    host.assert_clean().await;
}

#[tokio::test]
async fn zombies_and_stopped_children() {
    let source = r"
import os, signal
for n in range(50):
    if os.fork() == 0:
        if n % 2: os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
print('end')
";
    let Some(verdict) = attack("zombies", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "end\n");
}

/// The clock of the machine is not the job's to set, its timers do not outlive it, and a faked `time` does not stop
/// the limits.
#[tokio::test]
async fn clock_games() {
    let source = r"
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
class Timespec(ctypes.Structure): _fields_ = [('s', ctypes.c_long), ('ns', ctypes.c_long)]
refusals = [libc.clock_settime(0, ctypes.byref(Timespec(0, 0))), libc.settimeofday(ctypes.byref(Timespec(0, 0)), None),
            libc.adjtimex(ctypes.create_string_buffer(256)), libc.unshare(0x80)]
print(refusals, flush=True)
time.time = time.monotonic = time.process_time = lambda: 0
libc.setitimer(0, ctypes.byref((ctypes.c_long * 4)(1000000, 0, 1000000, 0)), None)
while True: pass
";
    let before = std::time::SystemTime::now();
    let Some(verdict) = attack("clock", source, &[TIME]).await else { return };
    assert_eq!(verdict.stdout, "[-1, -1, -1, -1]\n");
    assert!(before.elapsed().unwrap() < Duration::from_secs(60));
}

/// Raising its own limits, priority and share of cores.
#[tokio::test]
async fn raising_its_own_limits() {
    let source = r"
import os, resource
def refused(name, call):
    try: print('COULD', name, call())
    except (OSError, ValueError): pass
for name in ('CPU', 'FSIZE', 'NOFILE', 'CORE'):
    limit = getattr(resource, 'RLIMIT_' + name)
    refused(name, lambda: resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))
refused('nice', lambda: os.nice(-5))
refused('real time', lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))
refused('oom', lambda: open('/proc/self/oom_score_adj', 'w').write('-1000'))
refused('control groups', lambda: os.listdir('/sys/fs/cgroup'))
while True: pass
";
    let Some(verdict) = attack("raising limits", source, &[TIME]).await else { return };
    assert_eq!(verdict.stdout, "");
}

/// What stands between a program and its limit is not a signal it could catch.
#[tokio::test]
async fn catching_the_end() {
    let source = r"
import atexit, os, signal
def again(*_):
    if os.fork() == 0:
        while True: pass
atexit.register(again)
for s in (signal.SIGTERM, signal.SIGXCPU, signal.SIGHUP, signal.SIGINT): signal.signal(s, again)
while True:
    try:
        while True: pass
    except BaseException: pass
";
    attack("catching the end", source, &[TIME]).await;
}
