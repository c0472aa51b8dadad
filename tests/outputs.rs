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

use dns::{Message, REFUSED};
use files::pcap;
use run::{PROGRAM, Run, run, run_command, text_faults};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
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

/// Everything about a path that must stay as it is.
fn facts(path: &Path) -> (u64, u32, u64, PathBuf, Vec<u8>) {
    let metadata = fs::symlink_metadata(path).expect("the target is still there");
    let link = fs::read_link(path).unwrap_or_default();
    let content = if metadata.is_file() { fs::read(path).expect("the target can be read") } else { Vec::new() };
    (metadata.ino(), metadata.mode(), metadata.nlink(), link, content)
}

/// Asserts that a run refused its target: exit code 2, one clear line, nothing on standard output.
fn assert_refused(what: &str, run: &Run) {
    assert_eq!(run.code, Some(2), "{what}: {}", run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{what}: {}", run.complaint());
    assert!(run.stdout.is_empty(), "{what}: something is on standard output");
    assert_eq!(text_faults("stderr", &run.stderr), [] as [String; 0], "{what}");
}

/// Asserts that a target in which no file can be made is refused, or that the output is said not to be complete.
fn assert_not_written(what: &str, run: &Run) {
    assert!(matches!(run.code, Some(2 | 5)), "{what}: exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{what}: {}", run.complaint());
    assert!(run.stdout.is_empty(), "{what}: something is on standard output");
}

/// Asserts that `target` is refused with and without `--force` and that nothing in the folder changes.
fn assert_never_touched(folder: &Path, target: &str) {
    let all = || names(folder).into_iter().map(|name| (name.clone(), facts(&folder.join(name)))).collect::<Vec<_>>();
    let before = all();
    for force in [&[] as &[&str], &["--force"]] {
        let arguments = [&["--format", "json", "-o", target], force].concat();
        assert_refused(&format!("{target} {force:?}"), &read(folder, &arguments));
        assert_eq!(all(), before, "{target} {force:?}: something changed");
    }
}

#[test]
fn an_existing_file_is_not_touched_without_force() {
    let folder = folder(3);
    let target = folder.path().join("report");
    fs::write(&target, "precious").expect("the target is written");
    let before = facts(&target);
    assert_refused("report", &read(folder.path(), &["-o", "report"]));
    assert_eq!(facts(&target), before);
    assert_eq!(names(folder.path()), ["input.pcap", "report"]);
}

#[test]
fn force_replaces_an_existing_file_by_another() {
    let folder = folder(3);
    let target = folder.path().join("report");
    fs::write(&target, "precious").expect("the target is written");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o666)).expect("the mode is set");
    // A second name of the old file: replacing by name must leave its content alone.
    fs::hard_link(&target, folder.path().join("old")).expect("a hard link");
    let run = read(folder.path(), &["--format", "json", "-o", "report", "--force"]);
    assert_eq!(run.code, Some(0), "{}", run.complaint());
    assert_eq!(fs::read(folder.path().join("old")).expect("the old content"), b"precious");
    let report = fs::read(&target).expect("the report");
    assert!(serde_json::from_slice::<serde_json::Value>(&report).is_ok());
    assert_eq!(fs::metadata(&target).expect("metadata").mode() & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["input.pcap", "old", "report"]);
}

#[test]
fn a_symbolic_link_is_never_followed_or_replaced() {
    let folder = folder(3);
    fs::write(folder.path().join("precious"), "precious").expect("the target is written");
    symlink("precious", folder.path().join("link")).expect("a link");
    assert_never_touched(folder.path(), "link");
}

#[test]
fn a_dangling_symbolic_link_creates_nothing() {
    let folder = folder(3);
    symlink("nowhere", folder.path().join("link")).expect("a link");
    assert_never_touched(folder.path(), "link");
}

#[test]
fn a_directory_is_refused() {
    let folder = folder(3);
    fs::create_dir(folder.path().join("directory")).expect("a folder");
    assert_never_touched(folder.path(), "directory");
    assert_never_touched(folder.path(), ".");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = folder(3);
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().expect("mkfifo runs").success());
    assert!(fs::metadata(folder.path().join("pipe")).expect("metadata").file_type().is_fifo());
    assert_never_touched(folder.path(), "pipe");
}

#[test]
fn a_device_is_refused() {
    let folder = folder(3);
    for device in ["/dev/null", "/dev/full", "/dev/tty"] {
        assert_never_touched(folder.path(), device);
        assert!(fs::metadata("/dev/null").expect("metadata").file_type().is_char_device());
    }
}

#[test]
fn an_input_is_never_the_output() {
    let folder = folder(3);
    fs::hard_link(folder.path().join("input.pcap"), folder.path().join("hard")).expect("a hard link");
    symlink("input.pcap", folder.path().join("soft")).expect("a link");
    for target in ["input.pcap", "./input.pcap", "hard", "soft"] {
        assert_never_touched(folder.path(), target);
    }
}

#[test]
fn a_missing_directory_is_refused() {
    let folder = folder(3);
    assert_refused("missing", &read(folder.path(), &["-o", "missing/report"]));
    assert_refused("a file as directory", &read(folder.path(), &["-o", "input.pcap/report"]));
    assert_eq!(names(folder.path()), ["input.pcap"]);
}

#[test]
fn a_directory_that_takes_no_file_gets_none() {
    let folder = folder(3);
    for target in ["/proc/report", "/sys/report"] {
        assert_not_written(target, &read(folder.path(), &["-o", target]));
    }
    assert_not_written("a name too long", &read(folder.path(), &["-o", &"n".repeat(300)]));
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
fn a_file_is_private_whatever_the_mask() {
    let folder = folder(3);
    let run = read_under(folder.path(), "umask 000; exec \"$0\" \"$@\"", &["-o", "report"]);
    assert_eq!(run.code, Some(0), "{}", run.complaint());
    let mode = fs::metadata(folder.path().join("report")).expect("metadata").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_partial_file_of_an_earlier_run_is_kept() {
    let folder = folder(3);
    fs::write(folder.path().join("report.partial"), "what could be saved").expect("a partial file");
    let run = read(folder.path(), &["-o", "report"]);
    assert!(matches!(run.code, Some(0 | 2)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(fs::read(folder.path().join("report.partial")).expect("still there"), b"what could be saved");
}

#[test]
fn a_partial_link_of_somebody_else_is_not_followed() {
    let folder = folder(3);
    fs::write(folder.path().join("precious"), "precious").expect("the target is written");
    symlink("precious", folder.path().join("report.partial")).expect("a link");
    let run = read(folder.path(), &["-o", "report"]);
    assert!(matches!(run.code, Some(0 | 2)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(fs::read(folder.path().join("precious")).expect("still there"), b"precious");
}

#[test]
fn a_target_name_may_hold_anything() {
    let folder = folder(3);
    let name = "\u{1b}[2J=1+1\n\u{202e},\"report";
    let run = read(folder.path(), &["-o", name]);
    assert_eq!(run.code, Some(0), "{}", run.complaint());
    assert!(folder.path().join(name).exists());
    assert_refused("the same again", &read(folder.path(), &["-o", name]));
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
fn a_full_device_on_standard_output_is_exit_code_5() {
    let folder = folder(300);
    for format in FORMATS {
        let run = read_under(folder.path(), "exec \"$0\" \"$@\" >/dev/full", &["--format", format]);
        assert_eq!(run.code, Some(5), "{format}: {}", run.complaint());
        assert_eq!(run.error_lines().len(), 1, "{format}: {}", run.complaint());
        assert!(!run.complaint().contains("panicked"), "{format}: {}", run.complaint());
    }
}

#[test]
fn a_full_device_on_standard_error_changes_nothing() {
    let folder = folder(3);
    let mut bytes = refusals(3);
    bytes.truncate(bytes.len() - 3);
    fs::write(folder.path().join("input.pcap"), bytes).expect("the input is written");
    let usual = read(folder.path(), &["--format", "json"]);
    for line in ["exec \"$0\" \"$@\" 2>/dev/full", "exec \"$0\" \"$@\" 2>&-"] {
        let run = read_under(folder.path(), line, &["--format", "json"]);
        assert_eq!((run.code, &run.stdout), (Some(3), &usual.stdout), "{line}");
    }
}

#[test]
fn closed_outputs_do_not_disturb_the_file() {
    let folder = folder(300);
    let usual = read(folder.path(), &["--format", "json"]);
    for (index, closed) in [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"].into_iter().enumerate() {
        let target = format!("report{index}");
        let line = format!("exec \"$0\" \"$@\" {closed}");
        let run = read_under(folder.path(), &line, &["--format", "json", "-o", &target]);
        assert_eq!(run.code, Some(0), "{closed}: {}", run.complaint());
        assert_eq!(fs::read(folder.path().join(&target)).expect("the report"), usual.stdout, "{closed}");
    }
}

#[test]
fn closed_standard_output_is_no_panic() {
    let folder = folder(300);
    for format in FORMATS {
        let run = read_under(folder.path(), "exec \"$0\" \"$@\" >&-", &["--format", format]);
        assert!(matches!(run.code, Some(0 | 5)), "{format}: exit {:?}: {}", run.code, run.complaint());
        assert!(!run.complaint().contains("panicked"), "{format}: {}", run.complaint());
    }
}

#[test]
fn closed_standard_input_is_an_empty_input() {
    let folder = folder(3);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" <&-", PROGRAM, "read", "-"]);
    let run = run_command(folder.path(), command, None);
    assert_eq!(run.code, Some(3), "{}", run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{}", run.complaint());
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let folder = folder(20_000);
    for format in FORMATS {
        let mut child = Command::new(PROGRAM)
            .args(["read", "input.pcap", "--top", "100000", "--format", format])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut first = String::new();
        let mut reader = BufReader::with_capacity(64, child.stdout.take().expect("a pipe"));
        reader.read_line(&mut first).expect("a first line");
        drop(reader);
        let mut complaint = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("text");
        let code = child.wait().expect("the program ends").code();
        assert_eq!((code, complaint.as_str()), (Some(0), ""), "{format}");
    }
}

#[test]
fn a_limit_of_file_size_is_exit_code_5_and_no_signal() {
    let folder = folder(20_000);
    let arguments = ["--format", "csv", "-o", "report"];
    let run = read_under(folder.path(), "ulimit -f 64; exec \"$0\" \"$@\"", &arguments);
    assert_eq!(run.code, Some(5), "{}", run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{}", run.complaint());
    assert!(!folder.path().join("report").exists(), "an incomplete report has the final name");
}

/// Unmounts a folder when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Mounts a file system in memory of the given size; tells why not.
fn mounted(at: &Path, options: &str) -> Result<Mounted, String> {
    fs::create_dir(at).map_err(|error| error.to_string())?;
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    match output {
        Ok(output) if output.status.success() => Ok(Mounted(at.to_owned())),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_full_disk_is_exit_code_5_and_the_partial_file_is_marked() {
    let folder = folder(20_000);
    let disk = folder.path().join("disk");
    let _mounted = match mounted(&disk, "size=256k") {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: no file system can be mounted here: {reason}"),
    };
    let run = read(folder.path(), &["--format", "csv", "-o", "disk/report"]);
    assert_eq!(run.code, Some(5), "{}", run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{}", run.complaint());
    let left = names(&disk);
    assert!(!left.contains(&"report".to_owned()), "an incomplete report has the final name");
    assert!(left.iter().all(|name| name.ends_with(".partial")), "left behind: {left:?}");
}

#[test]
fn a_full_disk_does_not_take_the_old_report() {
    let folder = folder(20_000);
    let disk = folder.path().join("disk");
    let _mounted = match mounted(&disk, "size=256k") {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: no file system can be mounted here: {reason}"),
    };
    fs::write(disk.join("report"), "yesterday's").expect("the old report is written");
    let run = read(folder.path(), &["--format", "csv", "-o", "disk/report", "--force"]);
    assert_eq!(run.code, Some(5), "{}", run.complaint());
    assert_eq!(fs::read(disk.join("report")).expect("still there"), b"yesterday's");
}

#[test]
fn a_disk_that_is_read_only_gets_no_file() {
    let folder = folder(3);
    let disk = folder.path().join("disk");
    let _mounted = match mounted(&disk, "size=256k,ro") {
        Ok(mounted) => mounted,
        Err(reason) => return println!("skipped: no file system can be mounted here: {reason}"),
    };
    assert_not_written("read-only", &read(folder.path(), &["-o", "disk/report"]));
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

#[test]
fn rows_that_find_no_room_to_wait_are_exit_code_5() {
    let folder = folder(20_000);
    let run = read_under(folder.path(), "TMPDIR=/nonexistent exec \"$0\" \"$@\"", &["--format", "csv", "--all"]);
    assert!(matches!(run.code, Some(0 | 5)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), usize::from(run.code == Some(5)), "{}", run.complaint());
    assert!(!run.complaint().contains("panicked"), "{}", run.complaint());
}

#[test]
fn more_inputs_than_descriptors_are_read_or_refused_as_a_whole() {
    let folder = folder(3);
    let names: Vec<String> = (0..100).map(|index| format!("copy{index}.pcap")).collect();
    for name in &names {
        fs::copy(folder.path().join("input.pcap"), folder.path().join(name)).expect("a copy");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = read_under(folder.path(), "ulimit -n 64; exec \"$0\" \"$@\"", &names);
    match run.code {
        Some(0) => assert_eq!(run.error_lines().len(), 0, "{}", run.complaint()),
        Some(1) => assert_eq!(run.error_lines().len(), 1, "{}", run.complaint()),
        code => panic!(
            "exit {code:?}, {} error lines, the first of them: {:?}",
            run.error_lines().len(),
            run.error_lines().first()
        ),
    }
}

#[test]
fn without_threads_to_be_had_it_reads_or_refuses() {
    let folder = folder(3);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the mode is set");
    // The limit does not hold for root, so the program runs as nobody.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=1", PROGRAM]);
    command.args(["read", "input.pcap", "--threads", "8", "--format", "json"]);
    if !Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return println!("skipped: setpriv is not installed");
    }
    let run = run_command(folder.path(), command, None);
    if matches!(run.code, Some(126 | 127)) || run.complaint().starts_with("setpriv") {
        return println!("skipped: the program cannot be run as nobody: {}", run.complaint().trim());
    }
    assert!(matches!(run.code, Some(0 | 1)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), usize::from(run.code == Some(1)), "{}", run.complaint());
}

#[test]
fn a_hostile_environment_changes_nothing() {
    let folder = folder(30);
    let usual = read(folder.path(), &[]);
    for line in [
        "LANG=C LC_ALL=C exec \"$0\" \"$@\"",
        "TERM=dumb exec \"$0\" \"$@\"",
        "TERM= HOME= PATH= TZ=Asia/Tokyo exec \"$0\" \"$@\"",
        "COLUMNS=1 LINES=1 TMPDIR=/nonexistent exec \"$0\" \"$@\"",
        "RUST_BACKTRACE=full RUST_LOG=trace exec \"$0\" \"$@\"",
        "exec env -i \"$0\" \"$@\"",
    ] {
        let run = read_under(folder.path(), line, &[]);
        assert_eq!((run.code, &run.stdout), (usual.code, &usual.stdout), "{line}: {}", run.complaint());
    }
}

#[test]
fn hostile_arguments_are_one_clear_line() {
    let folder = folder(3);
    let long = "x".repeat(100_000);
    for arguments in [
        vec!["--format", "\u{1b}[2J\nfake"],
        vec!["--port", "65536"],
        vec!["--port", "-1"],
        vec!["--timeout", "99999999999999999999h"],
        vec!["--timeout", "-1s"],
        vec!["--from", "\u{202e}"],
        vec!["--no-such-option"],
        vec!["--threads", "0"],
        vec!["--threads", "99999999999999999999"],
        vec!["--client", "10.0.0.0/33"],
        vec!["--format", &long],
    ] {
        let run = read(folder.path(), &arguments);
        let shown: String = arguments.join(" ").chars().take(60).collect();
        assert_eq!(run.code, Some(2), "{shown}: {}", run.complaint());
        assert_eq!(text_faults("stderr", &run.stderr), [] as [String; 0], "{shown}");
        assert!(!run.complaint().contains("panicked"), "{shown}: {}", run.complaint());
        assert!(run.stdout.is_empty(), "{shown}");
    }
}
