//! The kernel's administrative surface, and ways to more privilege.

use autocodegen::sandbox::job::Outcome;

use crate::host::{Host, PASSED, attack, nothing_works};

/// Which calls are denied is tested next to the list, in `seccomp.rs`; this is that jobs get that list.
#[tokio::test]
async fn privileged_system_calls() {
    let source = r"
E = errno.EPERM
refused('ptrace', lambda: libc.ptrace(16, os.getppid(), 0, 0), E)
refused('traceme', lambda: libc.ptrace(0, 0, 0, 0), E)
refused('mount', lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), E)
refused('umount', lambda: libc.umount2(b'/proc', 2), E)
refused('unshare user', lambda: libc.unshare(0x10000000), E)
refused('unshare mount', lambda: libc.unshare(0x20000), E)
refused('setns', lambda: libc.setns(os.open('/proc/self/ns/net', 0), 0), E)
refused('clone user', lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), E)
refused('clone3', lambda: libc.syscall(435, 0, 0), errno.ENOSYS)
refused('keyctl session', lambda: libc.syscall(250, 0, -3, 0), E)
refused('keyctl join', lambda: libc.syscall(250, 1, 0), E)
refused('add_key', lambda: libc.syscall(248, b'user', b'x', b'y', 1, -3), E)
refused('request_key', lambda: libc.syscall(249, b'user', b'x', 0, -3), E)
refused('bpf', lambda: libc.syscall(321, 0, 0, 0), E)
refused('io_uring', lambda: libc.syscall(425, 1, 0), errno.ENOSYS)
refused('perf', lambda: libc.syscall(298, 0, 0, -1, -1, 0), E)
refused('userfaultfd', lambda: libc.syscall(323, 1), E)
refused('kexec', lambda: libc.syscall(246, 0, 0, 0, 0), E)
refused('init_module', lambda: libc.syscall(175, 0, 0, b''), E)
refused('reboot', lambda: libc.syscall(169, 0xfee1dead, 672274793, 0, 0), E)
refused('open_by_handle', lambda: libc.syscall(304, 0, 0, 0), E)
refused('personality', lambda: libc.personality(0x0040000), E)
refused('process_vm_readv', lambda: libc.syscall(310, os.getppid(), 0, 0, 0, 0, 0), E)
refused('memory of pid 1', lambda: os.open('/proc/1/mem', os.O_RDWR))
refused('asynchronous I/O', lambda: libc.syscall(206, 65536, ctypes.byref(ctypes.c_long(0))), E)
refused('x32', lambda: libc.syscall(0x40000000 + 39), errno.ENOSYS)
refused('a call of the future', lambda: libc.syscall(600), errno.ENOSYS)
refused('sethostname', lambda: socket.sethostname('x'), E)
refused('setuid', lambda: os.setuid(0))
refused('setgroups', lambda: os.setgroups([0]))
refused('chown', lambda: os.chown('/work/test.py', 0, 0))
if libc.personality(0xffffffff) != 0: print('personality query')
";
    if cfg!(target_arch = "x86_64") {
        nothing_works("system calls", source).await;
    }
}

/// The two-step classics: a root of one's own, and a folder held open across it.
#[tokio::test]
async fn chroot_and_pivot_tricks() {
    let source = r"
E = errno.EPERM
os.mkdir('jail')
out = os.open('/', os.O_RDONLY | os.O_DIRECTORY)
refused('chroot', lambda: os.chroot('jail'), E)
refused('pivot_root', lambda: libc.syscall(155, b'jail', b'jail'), E)
refused('bind mount', lambda: libc.mount(b'/', b'jail', None, 4096, None), E)
refused('move mount', lambda: libc.syscall(429, out, b'', -100, b'jail', 4), E)
refused('open tree', lambda: libc.syscall(428, -100, b'/', 1), E)
refused('proc of its own', lambda: libc.mount(b'proc', b'jail', b'proc', 0, None), E)
os.fchdir(out)
for _ in range(20): os.chdir('..')
if 'jobs' not in os.listdir('.') or 'root' in os.listdir('.') and os.listdir('root') and 'shadow' in os.listdir('etc'):
    print('another root', os.listdir('.'))
refused('root of pid 1', lambda: os.chdir('/proc/1/root'))
refused('namespace of pid 1', lambda: os.open('/proc/1/ns/mnt', os.O_RDONLY))
";
    nothing_works("chroot", source).await;
}

#[tokio::test]
async fn set_user_id_programs_give_nothing() {
    let source = r"
import os, shutil, subprocess
for line in open('/proc/self/status'):
    if line.startswith(('Cap', 'NoNewPrivs', 'Seccomp:')): print(line.split())
shutil.copy('/usr/bin/id', 'id')
os.chmod('id', 0o6755)
print(subprocess.run(['./id', '-u'], capture_output=True, text=True).stdout.strip())
print(os.getresuid(), os.getresgid())
print(subprocess.run(['su', '-c', 'id'], stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)
";
    let Some(verdict) = attack("set user id", source, &[PASSED]).await else { return };
    let zero = "0000000000000000";
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(verdict.stdout.contains(&format!("['{set}:', '{zero}']")), "{verdict:#?}");
    }
    assert!(verdict.stdout.contains("['NoNewPrivs:', '1']\n['Seccomp:', '2']\n"), "{verdict:#?}");
    assert!(verdict.stdout.ends_with("1000\n(1000, 1000, 1000) (1000, 1000, 1000)\nTrue\n"), "{verdict:#?}");
}

#[tokio::test]
async fn terminal_injection() {
    let source = r"
refused('controlling terminal', lambda: os.open('/dev/tty', os.O_RDWR))
for fd in (0, 1, 2):
    refused('TIOCSTI', lambda: fcntl.ioctl(fd, 0x5412, b'x'), errno.EPERM)
    refused('TIOCLINUX', lambda: fcntl.ioctl(fd, 0x541c, b'\x02'), errno.EPERM)
    refused('line discipline', lambda: fcntl.ioctl(fd, 0x5423, struct.pack('i', 21)), errno.EPERM)
    refused('take the terminal', lambda: fcntl.ioctl(fd, 0x540e, 0))
refused('TIOCSTI with a high word', lambda: libc.ioctl(0, ctypes.c_ulong(0x100005412), b'x'), errno.EPERM)
";
    nothing_works("terminal injection", source).await;
}

/// Escape sequences are the reader's to defuse: they come back as what they are, inside JSON, and nothing acts on them.
#[tokio::test]
async fn terminal_escapes_are_only_text() {
    let Some(host) = Host::new("terminal escapes").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("escape.py");
    std::fs::write(&program, "print('\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\r')\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_autocodegen"))
        .args(["sandbox", "exec"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:#?}");
    assert!(output.stdout.iter().all(|&byte| byte == b'\n' || byte >= b' '), "{output:#?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("title"));
    host.assert_clean().await;
}

/// The 32-bit entry has other numbers for the same calls: a filter by number alone would not see them.
#[tokio::test]
async fn system_calls_of_another_architecture() {
    let Some(host) = Host::new("32-bit entry").await else { return };
    let source = r#"
#include <cstdio>
int main() {
    long result;
    // 20 is getpid there.
    asm volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    std::printf("COULD %ld\n", result);
}
"#;
    if cfg!(target_arch = "x86_64") {
        let verdict = host.run("cpp", source).await;
        assert_eq!(verdict.outcome, Outcome::RuntimeError, "{verdict:#?}");
        assert!(!verdict.stdout.contains("COULD"), "{verdict:#?}");
    }
    host.assert_clean().await;
}

#[tokio::test]
async fn no_descriptors_are_inherited() {
    let source = r"
import os
held = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
print(held[:3], [os.readlink(f'/proc/self/fd/{fd}') for fd in held[3:] if os.path.exists(f'/proc/self/fd/{fd}')])
print(os.readlink('/proc/self/fd/0'))
for fd in range(3, 4096):
    try: os.fstat(fd); print('leaked', fd)
    except OSError: pass
";
    let Some(verdict) = attack("descriptors", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "[0, 1, 2] []\n/dev/null\n");
}
