//! Files: too many, too large, too deep, misleading, and outside of the job's folder.

use std::fs;

use autocodegen::sandbox::job::Outcome;

use crate::host::{Host, MEMORY, PASSED, TIME, attack, nothing_works};

#[tokio::test]
async fn disk_fill() {
    let Some(host) = Host::new("disk fill").await else { return };
    for folder in ["/work", "/tmp", "/dev/shm"] {
        let source = format!(
            r"
import errno
try:
    for n in range(1000):
        with open(f'{folder}/{{n}}', 'wb') as f: f.write(b'x' * (1 << 20))
except OSError as e: print(errno.errorcode[e.errno], n < 64)
"
        );
        let verdict = host.run("python", &source).await;
        assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "ENOSPC True\n"), "{verdict:#?}");
    }
    host.assert_clean().await;
}

#[tokio::test]
async fn inode_fill() {
    let source = r"
import errno, os
try:
    for n in range(10**7): os.mkdir(f'/tmp/{n}')
except OSError as e: print(errno.errorcode[e.errno], n <= 65536)
";
    let Some(verdict) = attack("inode fill", source, &[PASSED, TIME, MEMORY]).await else { return };
    assert!(verdict.outcome != PASSED || verdict.stdout == "ENOSPC True\n", "{verdict:#?}");
}

#[tokio::test]
async fn huge_sparse_file() {
    let source = "f = open('big', 'wb')\nf.truncate(1 << 40)\n";
    // SIGXFSZ: Python ignores it and sees EFBIG.
    let Some(verdict) = attack("sparse file", source, &[Outcome::RuntimeError]).await else { return };
    assert!(verdict.stderr.contains("File too large"), "{verdict:#?}");
}

#[tokio::test]
async fn deep_folders() {
    let source = r"
import os
for _ in range(5000):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
print('deep')
";
    let Some(verdict) = attack("deep folders", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "deep\n");
}

#[tokio::test]
async fn odd_names() {
    let source = r"
import os
for name in (b'a\nb', b'-rf', b'\xff\xfe', b' ', b'$(reboot)', b'..\\..', b'\x1b[2J', b'x' * 255):
    os.mkdir(name)
    open(os.path.join(name, name), 'w').close()
os.symlink('/', 'root')
os.symlink('loop', 'loop')
os.mkfifo('fifo')
os.chmod(b'-rf', 0)
os.chmod('.', 0o500)
print('odd')
";
    let Some(verdict) = attack("odd names", source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "odd\n");
}

#[tokio::test]
async fn changing_files_while_they_are_removed() {
    let source = r"
import os
for name in ('a', 'b', 'c'):
    if os.fork() == 0:
        n = 0
        while True:
            try: os.rename(name if n % 2 else name + name, name + name if n % 2 else name)
            except OSError: open(name, 'w').close()
            n += 1
print('end')
";
    attack("changing files", source, &[PASSED]).await;
}

#[tokio::test]
async fn writing_outside() {
    let source = r"
for path in ('/x', '/usr/x', '/etc/x', '/dev/x', '/jobs/x', '/etc/passwd', '/bin/x', '/proc/x',
             '/proc/sys/kernel/hostname', '/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches',
             '/proc/1/oom_score_adj'):
    refused(path, lambda: open(path, 'w'))
refused('user ids', lambda: open('/proc/self/uid_map', 'w', 1).write('0 0 1\n'))
refused('chmod', lambda: os.chmod('/usr/bin/env', 0o777))
refused('utime', lambda: os.utime('/usr/bin/env'))
refused('unlink', lambda: os.unlink('/usr/bin/env'))
refused('rename', lambda: os.rename('/usr/bin/env', '/usr/bin/vne'))
refused('rmdir', lambda: os.rmdir('/work'))
refused('mknod', lambda: os.mknod('/work/vda', 0o60666, os.makedev(254, 0)))
refused('mknod mem', lambda: os.mknod('/work/mem', 0o20666, os.makedev(1, 1)))
";
    nothing_works("writing outside", source).await;
}

#[tokio::test]
async fn link_escapes() {
    let secret = tempfile::Builder::new().prefix("secret-").tempdir_in("/var/tmp").unwrap();
    fs::write(secret.path().join("key"), "secret").unwrap();
    let source = format!(
        r"
secret = '{}/key'
os.symlink(secret, 'a')
refused('read through a link', lambda: open('a').read())
os.symlink('/proc/1/root' + secret, 'b')
refused('read through the root of pid 1', lambda: open('b').read())
os.symlink('../' * 40 + secret[1:], 'c')
refused('climb', lambda: open('c').read())
refused('hard link to the host', lambda: os.link('/etc/passwd', '/work/p'))
refused('hard link to a program', lambda: os.link('/usr/bin/env', '/work/env'))
refused('hard link out', lambda: os.link('/work/test.py', '/usr/p'))
fd = os.open('/', os.O_RDONLY | os.O_DIRECTORY)
os.fchdir(fd)
for _ in range(40): os.chdir('..')
refused('climb from the root', lambda: open(secret[1:]).read())
refused('magic link', lambda: open('/proc/self/root' + secret).read())
refused('working folder of pid 1', lambda: os.listdir('/proc/1/cwd'))
",
        secret.path().display()
    );
    nothing_works("links", &source).await;
    assert_eq!(fs::read_to_string(secret.path().join("key")).unwrap(), "secret");
}

/// An archive whose members are links that later members are written through.
#[tokio::test]
async fn archive_of_links() {
    let source = r"
import io, tarfile
def archive(*links):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as tar:
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        file = tarfile.TarInfo(links[0][0] + '/escaped')
        file.size = 1
        tar.addfile(file, io.BytesIO(b'x'))
    data.seek(0)
    return tarfile.open(fileobj=data)
for n, target in enumerate(('/usr', '/usr/bin', '/etc', '/proc/self/cwd/../usr', '../../../usr', '/jobs')):
    os.mkdir(f'd{n}')
    refused(target, lambda: archive((f'd{n}/up', target)).extractall('.', filter='fully_trusted'))
chain = [(f'l{n}', f'l{n + 1}') for n in range(200)] + [('l200', '/usr')]
refused('chain', lambda: archive(*chain).extractall('.', filter='fully_trusted'))
for n in range(20000): os.symlink('/', f's{n}')
";
    nothing_works("archive of links", source).await;
    for folder in ["/usr", "/usr/bin", "/etc"] {
        assert!(!std::path::Path::new(folder).join("escaped").exists());
    }
}

#[tokio::test]
async fn devices() {
    let source = r"
allowed = {'null', 'zero', 'full', 'random', 'urandom', 'fd', 'stdin', 'stdout', 'stderr', 'shm'}
if set(os.listdir('/dev')) - allowed: print(set(os.listdir('/dev')) - allowed)
for path in ('/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/sda', '/dev/kvm', '/dev/fuse', '/dev/net/tun', '/dev/loop-control',
             '/dev/tty', '/dev/ptmx', '/dev/console', '/dev/port', '/dev/vsock', '/dev/userfaultfd'):
    refused(path, lambda: os.open(path, os.O_RDWR))
refused('entropy ioctl', lambda: fcntl.ioctl(os.open('/dev/random', os.O_RDWR), 0x40045201, struct.pack('i', 1)))
refused('device node in shm', lambda: os.mknod('/dev/shm/null', 0o20666, os.makedev(1, 3)))
";
    nothing_works("devices", source).await;
}
