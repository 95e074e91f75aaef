//! System calls that neither std nor nix wraps.

use std::ffi::CString;
use std::fs;
use std::io::{Error, Result};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::Pid;

/// `path` for the kernel.
pub(super) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(Error::other)
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount at `path`, and to all below it when `recursive`.
///
/// Unlike a remount it keeps what is set already, which a user namespace may not clear.
pub(super) fn add_mount_attributes(path: &Path, attributes: u64, recursive: bool) -> Result<()> {
    let path = c_path(path)?;
    let set = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated and `set` is a mount_attr of the stated size; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const set,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// Closes every descriptor from `first` on when the process executes another program.
pub(super) fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: sets a flag of descriptors; none is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
}

/// Closes every descriptor from `first` on.
///
/// # Safety
/// No Rust value may own any of them.
pub(super) unsafe fn close_from(first: u32) -> Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) })
}

/// Closes every descriptor that is not one of `kept`.
///
/// # Safety
/// No Rust value that is still used may own any of the others.
pub(super) unsafe fn close_all_but(mut kept: Vec<RawFd>) -> Result<()> {
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept.into_iter().filter_map(|fd| u32::try_from(fd).ok()) {
        if fd > first {
            // SAFETY: the caller's promise.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0_u32) })?;
        }
        first = first.max(fd + 1);
    }
    // SAFETY: the caller's promise.
    unsafe { close_from(first) }
}

/// Gives every signal its default action: an ignored one would stay ignored in every program run from here.
pub(super) fn default_signals() -> Result<()> {
    for number in Signal::iterator().filter(|&s| s != Signal::SIGKILL && s != Signal::SIGSTOP) {
        // SAFETY: the default action is no handler of ours.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Brings the loopback interface of the current network namespace up.
pub(super) fn loopback_up() -> Result<()> {
    // SAFETY: plain system calls; `request` is a valid, fully initialised ifreq that outlives them.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        let outcome = check(result.into());
        libc::close(socket);
        outcome
    }
}

/// A descriptor of this process that becomes readable when it ends.
pub(super) fn own_pidfd() -> Result<OwnedFd> {
    // SAFETY: takes integers; what it returns is a new descriptor, close-on-exec, that nothing else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0_u32);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(Error::other)?))
    }
}

/// CPU time this process has used, ms.
pub(super) fn own_cpu_ms() -> Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result during the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }.into())?;
    u64::try_from(time.tv_sec * 1000 + time.tv_nsec / 1_000_000).map_err(Error::other)
}

/// Sets or clears the flag that lets other processes of the same user look into this one.
pub(super) fn set_dumpable(dumpable: bool) -> Result<()> {
    // SAFETY: prctl with integer arguments only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) }.into())
}

/// Names this process, as `ps` shows it.
pub(super) fn set_name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // SAFETY: the kernel reads at most 16 bytes of the NUL-terminated name.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Has `/proc/self/cmdline` of this process and its children show `argv`: it is written over the process's own
/// arguments, if it is exactly as long. Not vital.
pub(super) fn set_command_line(argv: &[String]) {
    let line: Vec<u8> = argv.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    // Counted from the state, which is field 3 of proc(5): arg_start 48, arg_end 49.
    let field = |index| fields.split(' ').nth(index)?.parse::<usize>().ok();
    let (Some(start), Some(end)) = (field(45), field(46)) else { return };
    if start != 0 && end.checked_sub(start) == Some(line.len()) {
        // SAFETY: the kernel put the arguments there, in writable memory of exactly this length; whoever wanted them has
        // read them, and no other thread runs.
        unsafe {
            let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
            place.copy_from_nonoverlapping(line.as_ptr(), line.len());
        }
    }
}

/// Takes away the stack on which Rust's runtime would handle an overflow of this thread's.
pub(super) fn no_alternate_stack() {
    let none = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: the handler that used it has been replaced by the default action; `none` outlives the call.
    unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
}

/// The C library's `fork`: unlike the bare system call it keeps the library's own records right in the child.
pub(super) fn library_fork() -> Result<Option<Pid>> {
    // SAFETY: the launcher, its fork servers and their children have a single thread each.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(pid))),
    }
}

/// Empties the capability sets, the bounding set included as far as permitted.
pub(super) fn drop_capabilities() -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // Version 3: two 32-bit words of each of the three sets.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let empty = [0_u32; 6];
    // SAFETY: prctl takes integers; capset reads a header and six words, both alive during the call.
    unsafe {
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) != 0 {
                break;
            }
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0, 0, 0);
        check(libc::syscall(libc::SYS_capset, &raw const header, empty.as_ptr()))
    }
}

/// The result of a raw system call as a `Result`.
fn check(result: libc::c_long) -> Result<()> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
