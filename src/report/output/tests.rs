use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A folder with an input `in.pcap` and the configuration to write `name` in it.
struct Place {
    folder: tempfile::TempDir,
    inputs: Vec<FileIdentity>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.pcap");
        fs::write(&input, "input").unwrap();
        let inputs = FileIdentity::of_paths([input.as_path(), Path::new("-"), Path::new("/absent")]);
        assert_eq!(inputs.len(), 1);
        Self { folder, inputs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn prepare(&self, name: &str, force: bool) -> Result<Output, Error> {
        prepare(&Config { output: Some(self.path(name)), force, ..Config::default() }, &self.inputs)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_appears_only_when_it_is_complete() {
    let place = Place::new();
    let mut output = place.prepare("report.txt", false).unwrap();
    output.write_all(b"hello\n").unwrap();
    let names = place.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with(".report.txt.") && names[0].ends_with(".partial"), "{names:?}");
    let finished = output.finish().unwrap();
    assert_eq!(finished, Finished { path: Some(place.path("report.txt")), bytes: 6, pipe_closed: false });
    assert_eq!(place.names(), ["in.pcap", "report.txt"]);
    assert_eq!(fs::read(place.path("report.txt")).unwrap(), b"hello\n");
    assert_eq!(fs::metadata(place.path("report.txt")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn targets_that_must_not_be_written_are_refused_and_left_alone() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    fs::hard_link(place.path("in.pcap"), place.path("hard")).unwrap();
    symlink(place.path("old"), place.path("link")).unwrap();
    symlink(place.path("nowhere"), place.path("dangling")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(place.path("fifo")).status();
    let before = place.names();
    let mut refused = vec![
        ("old", false, "--force"),
        ("folder", true, "a folder"),
        ("new/", true, "a folder"),
        ("hard", true, "one of the inputs"),
        ("in.pcap", true, "one of the inputs"),
        ("in.pcap", false, "one of the inputs"),
        ("link", true, "a symbolic link"),
        ("link", false, "a symbolic link"),
        ("dangling", true, "a symbolic link"),
        ("absent/new", true, "does not exist"),
        ("old/new", true, "cannot be examined"),
        ("..", true, "a folder"),
    ];
    if fifo.is_ok_and(|status| status.success()) {
        refused.push(("fifo", true, "a named pipe"));
    }
    for (name, force, detail) in refused {
        let error = place.prepare(name, force).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{name}: {error}");
        assert!(error.to_string().contains(detail), "{name}: {error}");
    }
    assert_eq!(place.names(), before);
    assert_eq!(fs::read(place.path("old")).unwrap(), b"old");
    let device = Config { output: Some("/dev/full".into()), force: true, ..Config::default() };
    assert!(prepare(&device, &[]).unwrap_err().to_string().contains("a device"));
}

#[test]
fn files_beside_a_device_or_a_folder_are_not_what_was_asked_for() {
    let place = Place::new();
    assert!(check_beside(&place.path("report.json")).is_ok());
    fs::write(place.path("report.json"), "").unwrap();
    assert!(check_beside(&place.path("report.json")).is_ok(), "it is not written itself");
    for path in [Path::new("/dev/full"), place.folder.path()] {
        let error = check_beside(path).unwrap_err();
        assert!(error.exit_code() == 2 && error.detail.contains("no file"), "{error}");
    }
}

#[test]
fn a_target_that_goes_wrong_in_the_course_of_a_run_is_no_error_of_usage() {
    let place = Place::new();
    let config = |name: &str| Config { output: Some(place.path(name)), ..Config::default() };
    let first = prepare(&config("absent/1"), &[]).unwrap_err();
    assert_eq!(first.exit_code(), 2);
    assert!(first.detail.ends_with("nothing was read or written"), "{first}");
    let next = prepare_next(&config("absent/2")).unwrap_err();
    assert_eq!((next.exit_code(), next.code), (5, "E-OUT"));
    assert!(!next.detail.contains("nothing was read"), "{next}");
    drop(prepare_next(&config("3")).unwrap());
}

#[test]
fn force_replaces_by_rename() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    fs::hard_link(place.path("old"), place.path("elsewhere")).unwrap();
    let mut output = place.prepare("old", true).unwrap();
    output.write_all(b"new").unwrap();
    assert_eq!(fs::read(place.path("old")).unwrap(), b"old", "until the report is complete");
    output.finish().unwrap();
    assert_eq!(fs::read(place.path("old")).unwrap(), b"new");
    assert_eq!(fs::read(place.path("elsewhere")).unwrap(), b"old", "the old file was not written to");
}

#[test]
fn a_file_that_appeared_meanwhile_is_not_replaced() {
    let place = Place::new();
    let mut output = place.prepare("report", false).unwrap();
    output.write_all(b"ours").unwrap();
    fs::write(place.path("report"), "theirs").unwrap();
    let error = output.finish().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert_eq!(fs::read(place.path("report")).unwrap(), b"theirs");
    let partial = place.names().into_iter().find(|name| name.ends_with(".partial")).unwrap();
    assert!(error.to_string().contains(&partial), "{error}");
    assert_eq!(fs::read(place.path(&partial)).unwrap(), b"ours");
}

#[test]
fn what_is_gone_is_not_called_kept() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let mut output = place.prepare("folder/report", false).unwrap();
    output.write_all(b"ours").unwrap();
    fs::remove_dir_all(place.path("folder")).unwrap();
    let error = output.finish().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.detail.ends_with("was not put in place; nothing is kept"), "{error}");
}

#[test]
fn what_was_moved_with_its_folder_is_called_kept() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let mut output = place.prepare("folder/report", false).unwrap();
    output.write_all(b"ours").unwrap();
    fs::rename(place.path("folder"), place.path("moved")).unwrap();
    let error = output.finish().unwrap_err();
    let kept = fs::read_dir(place.path("moved")).unwrap().next().unwrap().unwrap().file_name();
    let (kept, was) = (kept.to_string_lossy(), place.path("folder"));
    let wanted = format!("; what could be written is kept as {kept} in the folder that was {}", was.display());
    assert!(error.detail.ends_with(&wanted), "{error}");
}

#[test]
fn an_output_that_was_never_written_leaves_nothing() {
    let place = Place::new();
    drop(place.prepare("report", false).unwrap());
    assert_eq!(place.names(), ["in.pcap"]);
    let mut output = place.prepare("report", false).unwrap();
    output.write_all(b"half").unwrap();
    drop(output);
    let names = place.names();
    assert!(names.len() == 2 && names[0].ends_with(".partial"), "{names:?}");
    assert_eq!(fs::read(place.path(&names[0])).unwrap(), b"half");
}

#[test]
fn names_of_any_length_and_bytes_are_written() {
    let place = Place::new();
    let name = format!("{}\n\u{1b}", "n".repeat(250));
    let mut output = place.prepare(&name, false).unwrap();
    output.write_all(b"x").unwrap();
    output.finish().unwrap();
    assert_eq!(place.names(), ["in.pcap".to_owned(), name]);
}

/// An output to an opened file, as standard output would be.
fn standard(file: File) -> Output {
    Output {
        writer: Some(BufWriter::with_capacity(16, file)),
        target: Target::Standard,
        what: REPORT,
        bytes: 0,
        begun: 0,
        error: None,
    }
}

#[test]
fn a_full_device_is_an_error_even_when_nobody_asks_before_the_end() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut output = standard(full);
    output.write_all(b"short").unwrap();
    let error = output.finish().unwrap_err();
    assert_eq!((error.exit_code(), error.code), (5, "E-OUT"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut output = standard(full);
    assert!(output.write_all(&[b'x'; 100]).is_err());
    assert!(output.write_all(b"more").is_err(), "it stays failed");
    assert_eq!(output.finish().unwrap_err().exit_code(), 5);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut output = standard(File::from(std::os::fd::OwnedFd::from(writer)));
    assert_eq!(output.write_all(&[b'x'; 100]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(output.finish().unwrap().pipe_closed);
}
