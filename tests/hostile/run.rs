//! Runs the program once, within bounds: takes arguments, returns exit code, both outputs, processor time and peak
//! memory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dnsrefused");
/// Address space given to the program, in KiB. Far above what it may use, far below what a flood could make it ask for.
const ADDRESS_SPACE_KIB: u64 = 2 << 20;
/// Resident memory any run may take, in KiB: the promise is 256 MiB.
pub const PEAK_KIB: u64 = 256 << 10;
/// A run that takes longer counts as hanging.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Exit code; absent when a signal or the deadline ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Processor time.
    pub cpu: Duration,
    /// Largest resident memory seen, in KiB.
    pub peak_kib: u64,
}

impl Run {
    /// Standard error as text.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Lines of standard error that report an error.
    pub fn error_lines(&self) -> Vec<String> {
        self.complaint().lines().filter(|line| line.starts_with("error[")).map(str::to_owned).collect()
    }
}

/// Runs the program in `folder` with its standard input from `input` (nothing when absent) and waits for its end.
pub fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A], input: Option<&Path>) -> Run {
    let bounded = format!("ulimit -c 0; ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(bounded).arg(PROGRAM).args(arguments);
    run_command(folder, command, input)
}

/// Runs any command in the same way; its `{stdout,stderr}` are kept in a temporary folder of its own.
pub fn run_command(folder: &Path, mut command: Command, input: Option<&Path>) -> Run {
    let kept = tempfile::tempdir().expect("a temporary folder");
    let (stdout, stderr) = (kept.path().join("stdout"), kept.path().join("stderr"));
    command.current_dir(folder).env_remove("RUST_BACKTRACE");
    command.stdin(input.map_or_else(Stdio::null, |path| File::open(path).expect("the input opens").into()));
    command.stdout(File::create(&stdout).expect("a file for the output"));
    command.stderr(File::create(&stderr).expect("a file for the errors"));
    let mut child = command.spawn().expect("the program starts");
    let process = format!("/proc/{}", child.id());
    let began = Instant::now();
    let mut run = Run::default();
    // The child is not reaped before its last state is read: a process that has ended still shows its processor time.
    while let Some((ended, cpu)) = state(&process) {
        run.cpu = cpu;
        if ended {
            break;
        }
        run.peak_kib = run.peak_kib.max(resident_peak(&process));
        if began.elapsed() > DEADLINE {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(if began.elapsed() < Duration::from_millis(20) { 1 } else { 4 }));
    }
    run.code = child.wait().expect("the program ends").code();
    run.stdout = fs::read(&stdout).expect("the output can be read");
    run.stderr = fs::read(&stderr).expect("the errors can be read");
    run
}

/// Whether a process has ended, and its processor time so far.
fn state(process: &str) -> Option<(bool, Duration)> {
    /// The kernel counts processor time for `/proc` in hundredths of a second.
    const TICKS_PER_SECOND: u64 = 100;
    let text = fs::read_to_string(format!("{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((*fields.first()? == "Z", Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)))
}

/// Largest resident memory of a process so far, in KiB.
fn resident_peak(process: &str) -> u64 {
    let text = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// True for a character that can neither drive a terminal nor reorder or hide the text around it.
pub fn is_plain(c: char) -> bool {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !hides
}

/// What is wrong with output text: bytes that are not UTF-8, or characters that are not plain.
pub fn text_faults(what: &str, bytes: &[u8]) -> Vec<String> {
    match std::str::from_utf8(bytes) {
        Err(error) => vec![format!("{what} is not UTF-8 from byte {}", error.valid_up_to())],
        Ok(text) => {
            let odd = text.char_indices().find(|(_, c)| *c != '\n' && !is_plain(*c));
            odd.map(|(at, c)| format!("{what} has {} at byte {at}", c.escape_unicode())).into_iter().collect()
        }
    }
}
