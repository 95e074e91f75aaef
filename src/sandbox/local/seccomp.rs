//! The system calls no test program needs.
//!
//! A deny-list: the programs are arbitrary, and namespaces already bound what calls can reach. What is denied is
//! the kernel's administrative surface and the calls whose past bugs led out of containers. The answer is `ENOSYS`
//! where a C library then falls back, to any call newer than this file and to the x32 numbers, a second way to every
//! call; it is `EPERM` to the rest.
//!
//! A call of another architecture (`int 0x80`) ends the process with `SIGSYS`.

use std::collections::BTreeMap;

use seccompiler::BpfProgram;

use super::protocol::Level;

mod program;

use program::{Block, allow, any_bit, deny, one_of};

/// This machine's architecture as the kernel names it to a filter (`AUDIT_ARCH_` in `linux/audit.h`).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else if cfg!(target_arch = "riscv64") {
    0xc000_00f3
} else {
    panic!("the system calls of this architecture are not known here")
};

/// Denied whatever the arguments.
const DENIED: &[i64] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    OPEN_TREE_ATTR,
    STATMOUNT,
    LISTMOUNT,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    // Kernel facilities with a large surface.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_vmsplice,
    libc::SYS_memfd_secret,
    // Kernel AIO: its contexts are few and shared by the whole machine.
    libc::SYS_io_setup,
    // Write back other people's files.
    libc::SYS_sync,
    libc::SYS_syncfs,
    // Administration.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Numbers that all architectures share and libc does not name yet.
const STATMOUNT: i64 = 457;
const LISTMOUNT: i64 = 458;
const OPEN_TREE_ATTR: i64 = 467;
/// The newest call looked at (`file_setattr`, Linux 6.17); newer ones do not exist here.
const NEWEST: i64 = 469;

/// Answered as if the kernel did not know them: runtimes then take the older call.
///
/// `clone3` passes its flags in memory, where a filter cannot see them.
const UNKNOWN: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Terminal requests that put words into another's mouth.
const TERMINAL_REQUESTS: &[i32] = &[libc::TIOCSTI as i32, libc::TIOCLINUX as i32, libc::TIOCSETD as i32];

/// Protocols of the internet families: those that no kernel has to load a module for.
const PROTOCOLS: &[i32] =
    &[0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6, libc::IPPROTO_MPTCP];

/// Denied besides where there are no namespaces: what is shared with the whole machine. `socketpair` stays.
const SHARED: &[i64] =
    &[libc::SYS_socket, libc::SYS_shmget, libc::SYS_msgget, libc::SYS_semget, libc::SYS_mq_open];

/// Personalities a program may ask for: the plain one, and the query.
const PERSONALITIES: [i32; 2] = [0, -1];

/// The filter for `level`.
pub(super) fn filter(level: Level) -> BpfProgram {
    let denied = || deny(libc::EPERM);
    let unknown = || deny(libc::ENOSYS);
    let mut answers: BTreeMap<i64, Block> = DENIED.iter().map(|&call| (call, denied())).collect();
    answers.extend(UNKNOWN.iter().map(|&call| (call, unknown())));
    let namespaces = NAMESPACE_FLAGS.iter().fold(0, |mask, flag| mask | flag);
    answers.insert(libc::SYS_clone, any_bit(0, namespaces, denied(), allow()));
    answers.insert(libc::SYS_ioctl, one_of(1, TERMINAL_REQUESTS, &denied(), allow()));
    answers.insert(libc::SYS_personality, one_of(0, &PERSONALITIES, &allow(), denied()));
    answers.insert(libc::SYS_socket, sockets());
    answers.insert(libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX], &allow(), denied()));
    if level == Level::Reduced {
        answers.extend(SHARED.iter().map(|&call| (call, denied())));
        // Limits of other processes of the same user.
        answers.insert(libc::SYS_prlimit64, one_of(0, &[0], &allow(), denied()));
    }
    // All between them is allowed.
    let free: Vec<i64> =
        answers.keys().map(|call| call + 1).filter(|call| !answers.contains_key(call)).collect();
    answers.extend(free.into_iter().map(|call| (call, allow())));
    answers.insert(NEWEST + 1, unknown());
    let mut then: Vec<(u32, Block)> = Vec::new();
    for (call, answer) in answers {
        if then.last().is_none_or(|(_, before)| *before != answer) {
            then.push((call as u32, answer));
        }
    }
    program::search(ARCHITECTURE, &allow(), &then)
}

/// Denies families that reach past the network namespace (vsock) or make the kernel load code, and protocols likewise.
fn sockets() -> Block {
    let only = |protocols: &[i32]| one_of(2, protocols, &allow(), deny(libc::EPERM));
    let netlink = one_of(0, &[libc::AF_NETLINK], &only(&[libc::NETLINK_ROUTE]), deny(libc::EPERM));
    let internet = one_of(0, &[libc::AF_INET, libc::AF_INET6], &only(PROTOCOLS), netlink);
    one_of(0, &[libc::AF_UNIX], &allow(), internet)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread under the filters of `level` is answered to `calls`, each with up to three arguments.
    fn answers(level: Level, calls: Vec<(i64, [i64; 3])>) -> Vec<(i64, [i64; 3], i32)> {
        let filter = filter(level);
        let thread = std::thread::spawn(move || {
            seccompiler::apply_filter(&filter).unwrap();
            let ask = |(call, [a, b, c]): (i64, [i64; 3])| {
                // SAFETY: all other arguments are -1, which is no valid pointer, descriptor or process; what the
                // kernel would do with a call that is let through touches nothing of this process.
                let result = unsafe { libc::syscall(call, a, b, c, -1_i64, -1_i64, -1_i64) };
                let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
                (call, [a, b, c], if result == -1 { errno } else { 0 })
            };
            calls.into_iter().map(ask).collect()
        });
        thread.join().unwrap()
    }

    /// Run as root, nearly every one of these would be answered by EFAULT, EINVAL or EBADF without the filter.
    #[test]
    fn every_denied_call_is_denied() {
        for level in [Level::Namespaces, Level::Reduced] {
            let calls = |list: &[i64]| list.iter().map(|&call| (call, [-1; 3])).collect();
            for (call, _, errno) in answers(level, calls(DENIED)) {
                assert_eq!(errno, libc::EPERM, "{level:?}: call {call}");
            }
            for (call, _, errno) in answers(level, calls(UNKNOWN)) {
                assert_eq!(errno, libc::ENOSYS, "{level:?}: call {call}");
            }
        }
        for (call, _, errno) in answers(Level::Reduced, SHARED.iter().map(|&c| (c, [1, 1, 0])).collect()) {
            assert_eq!(errno, libc::EPERM, "call {call}");
        }
    }

    #[test]
    fn arguments_decide_where_a_call_is_both_needed_and_dangerous() {
        let own = i64::from(std::process::id());
        let exotic = [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET, libc::AF_TIPC, libc::AF_XDP, -1];
        let mut denied: Vec<_> = exotic
            .iter()
            .map(|&f| (libc::SYS_socket, [i64::from(f), i64::from(libc::SOCK_DGRAM), 0]))
            .collect();
        denied.extend([
            (libc::SYS_socket, [i64::from(libc::AF_INET), 1, 132]),
            (libc::SYS_socket, [i64::from(libc::AF_NETLINK), 3, 12]),
            (libc::SYS_socketpair, [i64::from(libc::AF_TIPC), 1, 0]),
            (libc::SYS_personality, [0x004_0000, 0, 0]),
            (libc::SYS_ioctl, [-1, libc::TIOCSTI as i64, 0]),
            (libc::SYS_ioctl, [-1, libc::TIOCSTI as i64 | 1 << 32, 0]),
        ]);
        let flags = NAMESPACE_FLAGS.iter().map(|&flag| (libc::SYS_clone, [i64::from(flag), 0, 0]));
        denied.extend(flags);
        for (call, arguments, errno) in answers(Level::Namespaces, denied) {
            assert_eq!(errno, libc::EPERM, "call {call} {arguments:?}");
        }
        let allowed = vec![
            (libc::SYS_socket, [i64::from(libc::AF_INET), 1, 6]),
            (libc::SYS_socket, [i64::from(libc::AF_UNIX), 1, 0]),
            (libc::SYS_socket, [i64::from(libc::AF_NETLINK), 3, 0]),
            (libc::SYS_personality, [0xffff_ffff, 0, 0]),
        ];
        for (call, arguments, errno) in answers(Level::Namespaces, allowed) {
            assert_eq!(errno, 0, "call {call} {arguments:?}");
        }
        let others = vec![(libc::SYS_prlimit64, [own, 7, 0]), (libc::SYS_prlimit64, [1, 7, 0])];
        for (call, arguments, errno) in answers(Level::Reduced, others) {
            assert_eq!(errno, libc::EPERM, "call {call} {arguments:?}");
        }
    }

    #[test]
    fn calls_of_the_future_and_of_x32_do_not_exist() {
        let newer = NEWEST + 1;
        for (call, _, errno) in
            answers(Level::Namespaces, vec![(newer, [0; 3]), (600, [0; 3]), (0x4000_0027, [0; 3])])
        {
            assert_eq!(errno, libc::ENOSYS, "call {call}");
        }
    }
}
