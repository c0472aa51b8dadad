//! Measures a command: processor time, peak memory and wall time of exactly that process.
//!
//! The kernel tells a process only the sum and the maximum over all its ended children, so each measured command runs
//! under a copy of this benchmark that has no other child: `end_to_end measure COMMAND...` prints one JSON line.

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds of processor time in user space.
    pub user: f64,
    /// Seconds of processor time in the kernel.
    pub system: f64,
    /// Seconds from start to end.
    pub wall: f64,
    /// Peak resident memory in MiB.
    pub peak: f64,
    /// The exit code, if the process ended by itself.
    pub code: Option<i32>,
}

impl Usage {
    /// Processor seconds in user space and the kernel.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Runs a command once, its standard output and errors thrown away (errors shown with `ERRORS=1` in the environment).
pub fn run(command: &[String]) -> io::Result<Usage> {
    let myself = std::env::current_exe()?;
    let errors = if std::env::var_os("ERRORS").is_some() { Stdio::inherit() } else { Stdio::null() };
    let output = Command::new(myself).arg("measure").args(command).stderr(errors).output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| io::Error::other(format!("{} did not run", command[0])))
}

/// What the copy does: runs the command and prints its [`Usage`].
pub fn run_alone(command: &[String]) -> io::Result<()> {
    let begun = Instant::now();
    let status = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let wall = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let usage = Usage {
        user: seconds(usage.user_time()),
        system: seconds(usage.system_time()),
        wall,
        peak: usage.max_rss() as f64 / 1024.0,
        code: status.code(),
    };
    println!("{}", serde_json::to_string(&usage)?);
    Ok(())
}

/// True when a program of this name is found on the search path.
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file()))
}
