//! Limits system calls with a seccomp filter (seccomp(2)) to those that reading packets, writing reports and answering
//! on an open listener need.
//!
//! Every other call fails as if the kernel did not have it (ENOSYS): libraries then fall back to an older call, whereas
//! "not permitted" would be an error, and killing the process would turn any update of the C library into an outage. No
//! allowed call opens a socket, starts a program or looks into another process; memory cannot become executable, and
//! nothing can be written to the packet sockets: the process cannot send.

use super::Plan;
use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Calls allowed without a condition.
const ALLOWED: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, and waiting.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_restart_syscall,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_getrandom,
    // Signals to this process.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // Identity of the process.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getpgid,
    libc::SYS_getcwd,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_capget,
    libc::SYS_umask,
    // Files, as far as Landlock allows.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fchmod,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_flock,
    // Sockets that are already open.
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// Further calls of x86-64, which has older variants.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_link,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Calls that write; never to a packet socket.
const WRITES: &[c_long] = &[libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev];

/// Requests that ioctl(2) may make of a terminal (in both of its dialects), a socket or a packet socket.
const REQUESTS: [u64; 13] = [
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::TIOCGWINSZ,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFINDEX,
];

/// Operations of prctl(2), by number: names of threads and of memory, and reading back how the thread is confined.
const SELF_REQUESTS: [i32; 6] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_SECCOMP,
    libc::PR_GET_NO_NEW_PRIVS,
    0x5356_4d41,
];

/// Restricts all threads of the process to the calls above.
pub fn restrict(plan: &Plan, missing: &mut Vec<String>) {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return missing.push(format!("seccomp: no filter for {}", std::env::consts::ARCH));
    };
    let applied = program(plan, arch)
        .map_err(|error| error.to_string())
        .and_then(|program| apply_filter_all_threads(&program).map_err(|error| error.to_string()));
    if let Err(error) = applied {
        missing.push(format!("seccomp: {error}"));
    }
}

fn program(plan: &Plan, arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    ALLOWED.iter().chain(ALLOWED_HERE).for_each(|call| drop(rules.insert(*call, Vec::new())));
    let not_a_capture = || -> Result<Vec<SeccompCondition>, BackendError> {
        plan.captures.iter().map(|socket| SeccompCondition::new(0, Dword, Ne, *socket as u64)).collect()
    };
    let rule = |conditions: Vec<SeccompCondition>| -> Result<Vec<SeccompRule>, BackendError> {
        if conditions.is_empty() { Ok(Vec::new()) } else { Ok(vec![SeccompRule::new(conditions)?]) }
    };
    for call in WRITES {
        rules.insert(*call, rule(not_a_capture()?)?);
    }
    // A duplicate of a packet socket would have a number that the filter does not know.
    let mut control = Vec::new();
    for command in [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL] {
        control.push(SeccompRule::new(vec![SeccompCondition::new(1, Dword, Eq, command as u64)?])?);
    }
    let mut copy = not_a_capture()?;
    copy.push(SeccompCondition::new(1, Dword, Eq, libc::F_DUPFD_CLOEXEC as u64)?);
    control.push(SeccompRule::new(copy)?);
    rules.insert(libc::SYS_fcntl, control);
    // New threads, not new processes. (clone3 takes its flags from memory, which a filter cannot read.)
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, rule(vec![SeccompCondition::new(0, Qword, MaskedEq(thread), thread)?])?);
    let own_process = SeccompCondition::new(0, Dword, Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, rule(vec![own_process])?);
    // Stopping its own process group, when the operator asks for it.
    let own_group = SeccompCondition::new(0, Dword, Eq, 0)?;
    let stop = SeccompCondition::new(1, Dword, Eq, libc::SIGSTOP as u64)?;
    rules.insert(libc::SYS_kill, rule(vec![own_group, stop])?);
    let no_code = SeccompCondition::new(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0)?;
    rules.insert(libc::SYS_mmap, rule(vec![no_code.clone()])?);
    rules.insert(libc::SYS_mprotect, rule(vec![no_code])?);
    let any_of = |argument: u8, values: &mut dyn Iterator<Item = u64>| -> Result<Vec<SeccompRule>, BackendError> {
        values.map(|value| SeccompRule::new(vec![SeccompCondition::new(argument, Dword, Eq, value)?])).collect()
    };
    rules.insert(libc::SYS_ioctl, any_of(1, &mut REQUESTS.into_iter())?);
    rules.insert(libc::SYS_prctl, any_of(0, &mut SELF_REQUESTS.into_iter().map(|request| request as u64))?);
    // Filters and timeouts of sockets; the options of a packet socket stay as they are.
    let levels = [libc::SOL_SOCKET, libc::IPPROTO_TCP];
    rules.insert(libc::SYS_setsockopt, any_of(1, &mut levels.into_iter().map(|level| level as u64))?);
    // Limits can only be read.
    rules.insert(libc::SYS_prlimit64, rule(vec![SeccompCondition::new(2, Qword, Eq, 0)?])?);
    if plan.listens {
        rules.insert(libc::SYS_accept4, Vec::new());
        // To the other end of a connection, not to an address of one's choice.
        let mut send = not_a_capture()?;
        send.push(SeccompCondition::new(4, Qword, Eq, 0)?);
        rules.insert(libc::SYS_sendto, rule(send)?);
    }
    // As a kernel without the call would answer.
    let otherwise = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch)?.try_into()
}
