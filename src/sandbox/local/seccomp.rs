//! The system calls no test program needs.
//!
//! A deny-list: the programs are arbitrary, and namespaces already bound what calls can reach. What is denied is
//! the kernel's administrative surface and the calls whose past bugs led out of containers. Three filters are
//! stacked, since each has one answer: `ENOSYS` where a C library then falls back, `EPERM` for the rest, and a
//! guard against the x32 numbers, which would otherwise be a second way to every call.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type SeccompResult<T> = Result<T, seccompiler::BackendError>;

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
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Kernel facilities with a large surface.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_vmsplice,
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
const TERMINAL_REQUESTS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Personalities a program may ask for: the plain one, and the query.
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

/// The filters, in the order in which they are to be installed.
///
/// # Errors
/// When this machine's architecture is not one seccompiler knows.
pub(super) fn filters() -> SeccompResult<Vec<BpfProgram>> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let mut denied: Rules = DENIED.iter().map(|&call| (call, Vec::new())).collect();
    denied.insert(libc::SYS_clone, any(0, NAMESPACE_FLAGS.iter().map(|&flag| has(flag as u64)))?);
    denied.insert(libc::SYS_ioctl, any(1, TERMINAL_REQUESTS.iter().map(|&r| (SeccompCmpOp::Eq, r)))?);
    denied.insert(
        libc::SYS_personality,
        vec![SeccompRule::new(
            PERSONALITIES.iter().map(|&p| condition(0, SeccompCmpOp::Ne, p)).collect::<Result<_, _>>()?,
        )?],
    );
    let unknown: Rules = UNKNOWN.iter().map(|&call| (call, Vec::new())).collect();
    let mut filters = vec![compile(denied, libc::EPERM, arch)?, compile(unknown, libc::ENOSYS, arch)?];
    if cfg!(target_arch = "x86_64") {
        filters.push(x32_guard());
    }
    Ok(filters)
}

fn compile(rules: Rules, errno: i32, arch: TargetArch) -> SeccompResult<BpfProgram> {
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)?.try_into()
}

/// One rule per condition on argument `index`: any of them matches.
fn any(index: u8, conditions: impl Iterator<Item = (SeccompCmpOp, u64)>) -> SeccompResult<Vec<SeccompRule>> {
    conditions.map(|(op, value)| SeccompRule::new(vec![condition(index, op, value)?])).collect()
}

/// Arguments are compared as 32-bit words: the kernel ignores the upper half of all those compared here.
fn condition(index: u8, op: SeccompCmpOp, value: u64) -> SeccompResult<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)
}

fn has(flag: u64) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::MaskedEq(flag), flag)
}

/// `ENOSYS` for every call number with the x32 bit.
fn x32_guard() -> BpfProgram {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X32_BIT: u32 = 0x4000_0000;
    vec![
        // The call number is the first word of seccomp_data.
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}
