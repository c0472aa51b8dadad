//! Lets signals set flags ([`on_signals`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets `interrupted` on SIGINT, SIGTERM and SIGHUP. SIGINT or SIGTERM while `at_once` is set ends the process at once,
/// with 128 plus the signal's number; when both flags are the same, that is the second signal. SIGHUP never does so,
/// because it comes twice when a terminal goes away: from the kernel and from the shell.
pub fn on_signals(interrupted: &Arc<AtomicBool>, at_once: &Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // Under nohup(1) SIGHUP stays ignored.
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(at_once))?;
    }
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    // A write beyond the file size limit must fail and be reported, not end the process (setrlimit(2)).
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    interrupted.store(false, Ordering::Relaxed);
    at_once.store(false, Ordering::Relaxed);
    Ok(())
}

/// True when this process was started with SIGHUP ignored (`proc_pid_status(5)`).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal_hook::consts::SIGHUP - 1) & 1 == 1)
}
