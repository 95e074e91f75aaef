//! Too much of everything: processes, threads, memory of all kinds, CPU time, output, kernel objects.

use std::process::Command;
use std::time::Duration;

use autocodegen::sandbox::job::{LimitOverrides, Outcome};

use crate::host::{Host, MEMORY, PASSED, TIME, attack, limits};

#[tokio::test]
async fn fork_bomb() {
    let source = r"
import os
while True:
    try: os.fork()
    except OSError: pass
";
    attack("fork bomb", source, &[TIME, MEMORY]).await;
}

#[tokio::test]
async fn shell_fork_bomb() {
    let Some(host) = Host::new("shell fork bomb").await else { return };
    let verdict = host.run("shell", "f() { f | f & f; }; f").await;
    assert_ne!(verdict.outcome, PASSED, "{verdict:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn processes_run_out_for_the_job_only() {
    let source = r"
import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(100)
        count += 1
except BlockingIOError: print(count < 64, flush=True)
time.sleep(2)
";
    let Some(host) = Host::new("process ids").await else { return };
    let neighbour = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        host.run("shell", "echo $(echo $(echo forked))").await
    };
    let (verdict, neighbour) = tokio::join!(host.run("python", source), neighbour);
    assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "True\n"), "{verdict:#?}");
    assert_eq!(neighbour.stdout, "forked\n", "{neighbour:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn thread_bomb() {
    let source = r"
import threading, time
count = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); count += 1
except RuntimeError: print(count < 64)
";
    let Some(verdict) = attack("thread bomb", source, &[PASSED]).await else { return };
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
    let source = r"
import os, time
for _ in range(20):
    if os.fork() == 0:
        x = bytearray(50 << 20)
        time.sleep(100)
time.sleep(100)
";
    attack("memory bomb in processes", source, &[MEMORY]).await;
}

#[tokio::test]
async fn shared_memory_bomb() {
    let source = "import mmap\nx = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1\n";
    attack("shared memory bomb", source, &[MEMORY]).await;
}

#[tokio::test]
async fn memory_files_and_system_v_segments_count() {
    let memory_file = r"
import os
fd = os.memfd_create('x')
while True: os.write(fd, b'x' * (1 << 20))
";
    let segment = r"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(100):
    segment = libc.shmget(0, 16 << 20, 0o1600)
    if segment == -1: raise SystemExit('no segment')
    ctypes.memset(libc.shmat(segment, None, 0), 1, 16 << 20)
";
    let Some(host) = Host::new("memory files").await else { return };
    for source in [memory_file, segment] {
        let limits = LimitOverrides { file_bytes: Some(1 << 30), ..limits() };
        let verdict = host.run_within(limits, "python", source).await;
        assert_eq!(verdict.outcome, MEMORY, "{verdict:#?}");
    }
    host.assert_clean().await;
}

/// Files of the job lie in memory: they count, so that the quota of files is no way around the limit.
#[tokio::test]
async fn files_in_memory_count_as_memory() {
    let source = "with open('/tmp/x', 'wb') as f:\n    while True: f.write(b'x' * (1 << 20))\n";
    let limits = LimitOverrides { file_bytes: Some(1 << 30), memory_bytes: Some(64 << 20), ..limits() };
    let Some(host) = Host::new("tmpfs").await else { return };
    let verdict = host.run_within(limits, "python", source).await;
    assert_eq!(verdict.outcome, MEMORY, "{verdict:#?}");
    host.assert_clean().await;
}

/// Every 2 MiB touched cost a page table of 4 KiB and no page: reads give the shared page of zeros.
#[tokio::test]
async fn page_table_bomb() {
    let source = r"
import mmap
size = 1 << 40
x = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)
for i in range(0, size, 1 << 21): x[i]
print('touched')
";
    let Some(host) = Host::new("page tables").await else { return };
    if !host.sandbox.isolation().contains("cgroup") {
        return crate::common::skip("page tables", "no control groups: page tables are not limited");
    }
    let limits = LimitOverrides { memory_bytes: Some(64 << 20), cpu_ms: Some(10_000), ..limits() };
    let verdict = host.run_within(limits, "python", source).await;
    assert_eq!(verdict.outcome, MEMORY, "{verdict:#?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn pipe_buffers_count_as_memory_or_run_out() {
    let source = r"
import fcntl, os
held = []
try:
    while True:
        r, w = os.pipe()
        held += [r, w]
        try: fcntl.fcntl(w, 1031, 1 << 20)
        except OSError: pass
        os.set_blocking(w, False)
        try:
            while True: os.write(w, b'x' * 65536)
        except BlockingIOError: pass
except OSError as error: print(error.errno)
";
    let Some(verdict) = attack("pipe buffers", source, &[PASSED, MEMORY]).await else { return };
    assert!(verdict.usage.peak_rss_bytes <= 256 << 20, "{verdict:#?}");
}

#[tokio::test]
async fn children_burn_on_after_their_parent_has_ended() {
    let source = r"
import os, time
if os.fork() == 0:
    for _ in range(4):
        if os.fork() == 0:
            while True: pass
    os._exit(0)
os.wait()
time.sleep(100)
";
    let Some(verdict) = attack("orphans that burn", source, &[TIME]).await else { return };
    // The CPU limit ended it, not the wall's.
    assert!(verdict.usage.cpu_ms >= 2000 && verdict.reason.contains("CPU"), "{verdict:#?}");
}

#[tokio::test]
async fn output_flood() {
    let source = "import os\nwhile True: os.write(1, b'y' * 65536)\n";
    let Some(verdict) = attack("output flood", source, &[Outcome::OutputLimitExceeded]).await else { return };
    assert!(verdict.truncated);
    assert_eq!(verdict.stdout.len(), 16 << 20);
}

#[tokio::test]
async fn open_files_run_out_for_the_job_only() {
    let source = r"
import errno, os
held = []
try:
    while True: held.append(os.open('/dev/null', os.O_RDONLY))
except OSError as error: print(errno.errorcode[error.errno], len(held) <= 4096)
";
    let Some(verdict) = attack("open files", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "EMFILE True\n");
}

/// What the kernel counts per user must not be counted towards root, whose allowance is for the whole machine.
#[tokio::test]
async fn inotify_and_pending_signals_run_out_for_the_job_only() {
    let inotify = r"
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
count = 0
while count < 4000 and libc.inotify_init() != -1: count += 1
print(count > 0, flush=True)
time.sleep(2)
";
    let signals = r"
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
class Value(ctypes.Union): _fields_ = [('number', ctypes.c_int), ('pointer', ctypes.c_void_p)]
count = 0
while count < 500000 and libc.sigqueue(os.getpid(), signal.SIGRTMIN, Value(0)) == 0: count += 1
print(count > 0, flush=True)
time.sleep(2)
";
    let on_host = "import ctypes, os, signal\nlibc = ctypes.CDLL(None)\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])\n\
        print(libc.inotify_init() != -1, libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(0)) == 0)\n";
    let Some(host) = Host::new("inotify").await else { return };
    for source in [inotify, signals] {
        let outside = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            Command::new("python3").args(["-c", on_host]).output().unwrap()
        };
        let (verdict, outside) = tokio::join!(host.run("python", source), outside);
        assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "True\n"), "{verdict:#?}");
        assert_eq!(String::from_utf8_lossy(&outside.stdout), "True True\n", "{outside:#?}");
    }
    host.assert_clean().await;
}
