//! Targets that must not be touched, and names that a target may have.

use super::*;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::PathBuf;

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
