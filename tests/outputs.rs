//! Output under bad conditions: targets that must not be touched, full disks, closed pipes, interruptions.
//!
//! A report is either complete under its final name, or absent there and the exit code says so.

#[path = "hostile/dns.rs"]
#[allow(dead_code, reason = "the hostile suite uses the rest")]
mod dns;
#[path = "hostile/files.rs"]
#[allow(dead_code, reason = "the hostile suite uses the rest")]
mod files;
#[path = "hostile/run.rs"]
#[allow(dead_code, reason = "the hostile suite uses the rest")]
mod run;
#[path = "hostile/wire.rs"]
#[allow(dead_code, reason = "the hostile suite uses the rest")]
mod wire;

#[path = "outputs/room.rs"]
mod room;
#[path = "outputs/surroundings.rs"]
mod surroundings;
#[path = "outputs/targets.rs"]
mod targets;

use dns::{Message, REFUSED};
use files::pcap;
use run::{PROGRAM, Run, run, run_command, text_faults};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wire::{to_client_numbered, to_server_numbered};

/// Every format of `read` that is written to one file.
const FORMATS: [&str; 4] = ["text", "csv", "jsonl", "json"];

/// A capture of `count` refused queries.
fn refusals(count: u16) -> Vec<u8> {
    let frames: Vec<Vec<u8>> = (0..count)
        .flat_map(|id| {
            let name = format!("host-{id}.test");
            [
                to_server_numbered(0, &Message::query(&name).id(id).bytes()),
                to_client_numbered(0, &Message::response(&name, REFUSED).id(id).bytes()),
            ]
        })
        .collect();
    pcap(&frames)
}

/// A folder with `input.pcap` of `count` refused queries.
fn folder(count: u16) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("input.pcap"), refusals(count)).expect("the input is written");
    folder
}

/// Reads `input.pcap` in `folder` with further arguments.
fn read(folder: &Path, arguments: &[&str]) -> Run {
    run(folder, &[&["read", "input.pcap"], arguments].concat(), None)
}

/// As [`read`], under a shell line where `"$0" "$@"` is the program.
fn read_under(folder: &Path, line: &str, arguments: &[&str]) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", line, PROGRAM, "read", "input.pcap"]).args(arguments);
    run_command(folder, command, None)
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Asserts that a target in which no file can be made is refused, or that the output is reported as incomplete.
fn assert_not_written(what: &str, run: &Run) {
    assert!(matches!(run.code, Some(2 | 5)), "{what}: exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{what}: {}", run.complaint());
    assert!(run.stdout.is_empty(), "{what}: something is on standard output");
}

#[test]
fn the_file_has_the_bytes_of_standard_output_and_nothing_else_is_left() {
    let folder = folder(300);
    for format in FORMATS {
        let direct = read(folder.path(), &["--format", format]);
        let written = read(folder.path(), &["--format", format, "-o", format]);
        assert_eq!((direct.code, written.code), (Some(0), Some(0)), "{format}: {}", written.complaint());
        assert!(written.stdout.is_empty(), "{format}: something is on standard output");
        let target = folder.path().join(format);
        assert_eq!(fs::read(&target).expect("the report"), direct.stdout, "{format}");
        assert_eq!(fs::metadata(&target).expect("metadata").mode() & 0o777, 0o600, "{format}");
    }
    assert_eq!(names(folder.path()), ["csv", "input.pcap", "json", "jsonl", "text"]);
}

#[test]
fn a_damaged_input_still_gives_a_complete_file() {
    let folder = folder(30);
    let mut bytes = refusals(30);
    bytes.truncate(bytes.len() - 3);
    fs::write(folder.path().join("input.pcap"), bytes).expect("the input is written");
    let run = read(folder.path(), &["--format", "json", "-o", "report"]);
    assert_eq!(run.code, Some(3), "{}", run.complaint());
    let report = fs::read(folder.path().join("report")).expect("the report");
    assert!(serde_json::from_slice::<serde_json::Value>(&report).is_ok());
    assert_eq!(names(folder.path()), ["input.pcap", "report"]);
}

#[test]
fn an_interruption_gives_the_report_so_far() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = folder(3);
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let mut child = Command::new(PROGRAM)
            .args(["read", "pipe", "--format", "json"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut writer = loop {
            match fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&pipe) {
                Ok(file) => break file,
                Err(error) => assert!(Instant::now() < deadline, "nobody reads the pipe: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        writer.write_all(&refusals(3)).expect("the pipe takes it");
        std::thread::sleep(Duration::from_millis(300));
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        // The pipe stays open: nothing but the signal can end the run.
        let deadline = Instant::now() + Duration::from_secs(10);
        let code = loop {
            if let Some(status) = child.try_wait().expect("the program can be waited for") {
                break status.code();
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{signal}: still running after ten seconds");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        drop(writer);
        assert_eq!(code, Some(3), "{signal}");
        let mut report = Vec::new();
        child.stdout.take().expect("a pipe").read_to_end(&mut report).expect("the report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("json parses");
        assert_eq!((&report["partial"], &report["totals"]["refused"]), (&"interrupted".into(), &3.into()), "{signal}");
        for ledger in ["packets", "messages", "matches", "bytes", "outputs"] {
            assert_eq!(report["ledgers"][ledger]["closed"], true, "{signal}: {ledger}");
        }
    }
}
