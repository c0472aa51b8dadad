//! Full devices and disks, size limits, and outputs that are closed or that nobody reads.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

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

/// Mounts a file system of the given size in memory, or says why it cannot.
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
fn rows_that_find_no_room_to_wait_are_exit_code_5() {
    let folder = folder(20_000);
    let run = read_under(folder.path(), "TMPDIR=/nonexistent exec \"$0\" \"$@\"", &["--format", "csv", "--all"]);
    assert!(matches!(run.code, Some(0 | 5)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), usize::from(run.code == Some(5)), "{}", run.complaint());
    assert!(!run.complaint().contains("panicked"), "{}", run.complaint());
}
