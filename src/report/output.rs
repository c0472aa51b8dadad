//! Where a report goes ([`Output`]): standard output, or a file that appears under its name only when it is complete.
//!
//! [`prepare`] refuses bad targets before any input is read. A file is written under a temporary name in the same
//! folder and renamed at the end; when something fails, what was written stays there as `.partial`, named in the error.

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use rustix::fs::{Advice, fadvise};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes gathered before a write.
const BUFFER: usize = 64 << 10;
/// What is mostly written.
const REPORT: &str = "the report";
/// Bytes of the target's name used in the temporary name, so that it stays below the usual limit of 255.
const NAME_BYTES: usize = 200;

/// A file by what it is rather than by how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl FileIdentity {
    /// The identity of an open or examined file.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The identities of the files among `paths` that exist (`-` and what cannot be examined have none).
    pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<FileIdentity> {
        paths.into_iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| Self::of(&metadata)).collect()
    }
}

/// What became of a finished output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The file, or nothing for standard output.
    pub path: Option<PathBuf>,
    /// Bytes written.
    pub bytes: u64,
    /// The reader of standard output went away before the end, as `head` does; nothing is wrong.
    pub pipe_closed: bool,
}

/// Checks the output target of a run and opens it before anything else is done. `inputs` are the files that will be read.
pub fn prepare(config: &Config, inputs: &[FileIdentity]) -> Result<Output, Error> {
    open(config, inputs).map_err(|mut error| {
        error.detail.push_str("; nothing was read or written");
        error
    })
}

/// The same of one of several outputs in the course of a run, whose target was right when it began.
pub fn prepare_next(config: &Config) -> Result<Output, Error> {
    open(config, &[]).map_err(|error| Error::new(ErrorKind::Output, "E-OUT", error.object, error.detail))
}

/// Whether files beside this one, with a time in their names, may be what is asked for: not where it is a device, a pipe or
/// a folder.
pub fn check_beside(path: &Path) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let detail = "it is no file, and several are to be made beside it; nothing was read or written";
            Err(refused(path.to_string_lossy(), detail))
        }
        _ => Ok(()),
    }
}

fn open(config: &Config, inputs: &[FileIdentity]) -> Result<Output, Error> {
    match &config.output {
        Some(path) if path.as_os_str() != "-" => to_file(path, config.force, inputs),
        _ => to_standard_output(inputs),
    }
}

/// Bytes after which the disk is asked to begin with them.
const WRITE_BACK: u64 = 4 << 20;

/// A report's destination. It remembers its first error: writers may stop at any error, and [`Output::finish`] tells
/// what to make of it. Dropped unfinished it leaves a `.partial` file if anything was written, and nothing otherwise.
#[derive(Debug)]
pub struct Output {
    writer: Option<BufWriter<File>>,
    target: Target,
    /// What is written, in errors.
    what: &'static str,
    bytes: u64,
    /// Bytes that the disk was asked to begin with.
    begun: u64,
    error: Option<io::Error>,
}

/// What is behind the writer.
#[derive(Debug)]
enum Target {
    /// Standard output.
    Standard,
    /// A file to be.
    Named {
        /// As given by the user.
        path: PathBuf,
        /// The name while it is written; nothing once that has been dealt with.
        temporary: Option<tempfile::TempPath>,
        /// May replace what is there.
        replace: bool,
    },
}

impl Output {
    /// True when a person reads it directly.
    pub fn is_terminal(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.get_ref().is_terminal())
    }

    /// True when it is written to a disk, and not to somebody who reads.
    pub fn is_file(&self) -> bool {
        let file = self.writer.as_ref().and_then(|writer| writer.get_ref().metadata().ok());
        file.is_some_and(|metadata| metadata.is_file())
    }

    /// What it is called in errors.
    pub fn name(&self) -> String {
        match &self.target {
            Target::Standard => "standard output".to_owned(),
            Target::Named { path, .. } => path.to_string_lossy().into_owned(),
        }
    }

    /// Makes the output complete and durable, or says what is missing.
    pub fn finish(mut self) -> Result<Finished, Error> {
        let flushed = self.flush_and_sync();
        if let Err(error) = flushed {
            self.error.get_or_insert(error);
        }
        let bytes = self.bytes;
        match self.error.take() {
            None => self.publish().map(|path| Finished { path, bytes, pipe_closed: false }),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe && matches!(self.target, Target::Standard) => {
                Ok(Finished { path: None, bytes, pipe_closed: true })
            }
            Some(error) => Err(self.fail(&error)),
        }
    }

    /// Calls what is written by another name than a report.
    #[must_use]
    pub fn called(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// Ends it for an error of whoever writes it, which then names what is kept.
    pub fn give_up(mut self, mut error: Error) -> Error {
        if let Some(writer) = &mut self.writer {
            let _ = writer.flush();
        }
        if let Target::Named { temporary, .. } = &mut self.target
            && self.bytes > 0
        {
            error.detail = format!("{}; {}", error.detail, kept(temporary.take(), self.writer.as_ref()));
        }
        error
    }

    /// Writes what is buffered and waits until it is on disk, where there is a disk.
    fn flush_and_sync(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.error.is_some() {
            return Ok(());
        }
        writer.flush()?;
        let file = writer.get_ref();
        if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
    }

    /// Gives a complete file its name.
    fn publish(&mut self) -> Result<Option<PathBuf>, Error> {
        let Target::Named { path, temporary, replace } = &mut self.target else { return Ok(None) };
        let path = path.clone();
        let Some(temporary) = temporary.take() else { return Ok(Some(path)) };
        let renamed = if *replace { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        if let Err(failure) = renamed {
            if let Target::Named { temporary, .. } = &mut self.target {
                *temporary = Some(failure.path);
            }
            return Err(self.fail(&failure.error));
        }
        // The new name itself is durable only once its folder is.
        File::open(folder(&path)).and_then(|folder| folder.sync_all()).map_err(|error| {
            Error::new(
                ErrorKind::Output,
                "E-OUT",
                path.to_string_lossy(),
                format!("the report is complete, but its name may not survive a power loss: {error}"),
            )
        })?;
        Ok(Some(path))
    }

    /// The error of an output that is not complete; what was written stays.
    fn fail(&mut self, error: &io::Error) -> Error {
        let (bytes, what) = (self.bytes, self.what);
        match &mut self.target {
            Target::Standard => Error::new(
                ErrorKind::Output,
                "E-OUT",
                "standard output",
                format!("{error}; {what} is not complete: {bytes} bytes were made, fewer arrived"),
            ),
            Target::Named { path, temporary, .. } => {
                let kept = kept(temporary.take(), self.writer.as_ref());
                Error::new(
                    ErrorKind::Output,
                    "E-OUT",
                    path.to_string_lossy(),
                    format!("{error}; {what} is not complete and was not put in place; {kept}"),
                )
            }
        }
    }

    /// Remembers the first error.
    fn remember(&mut self, error: io::Error) -> io::Error {
        let again = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        self.error.get_or_insert(error);
        again
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(error.kind().into());
        }
        let Some(writer) = &mut self.writer else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match writer.write(data) {
            Ok(written) => {
                self.bytes += written as u64;
                if self.bytes - self.begun >= WRITE_BACK {
                    // Else the disk would begin only when everything is written, and be waited for. The advice says more
                    // than that, but pages that are not on disk yet are not given up (mm/fadvise.c).
                    let _ = fadvise(writer.get_ref(), self.begun, None, Advice::DontNeed);
                    self.begun = self.bytes;
                }
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.remember(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(error) = &self.error {
            return Err(error.kind().into());
        }
        match self.writer.as_mut().map_or(Ok(()), Write::flush) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.remember(error)),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // A writer that failed must not try again while it is dropped.
            if self.error.is_some() {
                drop(writer.into_parts());
            }
        }
        if let Target::Named { temporary, .. } = &mut self.target
            && self.bytes > 0
            && let Some(temporary) = temporary.take()
        {
            // Nobody is left to be told when this fails.
            let _ = temporary.keep();
        }
    }
}

/// Keeps what was written of a file that is not complete, and says where.
fn kept(temporary: Option<tempfile::TempPath>, writer: Option<&BufWriter<File>>) -> String {
    match temporary.map(tempfile::TempPath::keep) {
        // Its folder may have been removed, or moved with what is in it.
        Some(Ok(kept)) if !kept.exists() => {
            let linked =
                writer.and_then(|writer| writer.get_ref().metadata().ok()).is_some_and(|file| file.nlink() > 0);
            match kept.file_name().filter(|_| linked) {
                Some(name) => {
                    let (name, was) = (name.to_string_lossy(), folder(&kept).display());
                    format!("what could be written is kept as {name} in the folder that was {was}")
                }
                None => "nothing is kept".to_owned(),
            }
        }
        Some(Ok(kept)) => format!("what could be written is kept as {}", kept.display()),
        Some(Err(failure)) => format!("{} was to be kept: {}", failure.path.display(), failure.error),
        None => "nothing is kept".to_owned(),
    }
}

/// Standard output, written in large pieces.
fn to_standard_output(inputs: &[FileIdentity]) -> Result<Output, Error> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Output, "E-OUT", "standard output", format!("cannot be written: {error}"))
    };
    let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && inputs.contains(&FileIdentity::of(&metadata)) {
        return Err(refused("standard output", "it is one of the inputs"));
    }
    Ok(Output {
        writer: Some(BufWriter::with_capacity(BUFFER, file)),
        target: Target::Standard,
        what: REPORT,
        bytes: 0,
        begun: 0,
        error: None,
    })
}

/// A new file, or one that replaces the old when it is complete.
fn to_file(path: &Path, force: bool, inputs: &[FileIdentity]) -> Result<Output, Error> {
    let shown = path.to_string_lossy().into_owned();
    check_target(path, force, inputs).map_err(|detail| refused(shown.clone(), detail))?;
    let Some(name) = path.file_name() else { return Err(refused(shown, "it is a folder; name a file in it")) };
    let mut prefix = OsString::from(".").into_vec();
    prefix.extend(name.as_bytes().iter().take(NAME_BYTES));
    prefix.push(b'.');
    let (file, temporary) = tempfile::Builder::new()
        .prefix(&OsString::from_vec(prefix))
        .rand_bytes(4)
        .suffix(".partial")
        .tempfile_in(folder(path))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(shown.clone(), "its folder does not exist"),
            io::ErrorKind::NotADirectory => refused(shown.clone(), "its folder is a file"),
            _ => Error::new(ErrorKind::Output, "E-OUT", shown.clone(), format!("cannot be created: {error}")),
        })?
        .into_parts();
    Ok(Output {
        writer: Some(BufWriter::with_capacity(BUFFER, file)),
        target: Target::Named { path: path.to_path_buf(), temporary: Some(temporary), replace: force },
        what: REPORT,
        bytes: 0,
        begun: 0,
        error: None,
    })
}

/// Says why a target must not be written, if so.
fn check_target(path: &Path, force: bool, inputs: &[FileIdentity]) -> Result<(), String> {
    if path.as_os_str().is_empty() {
        return Err("the name is empty".to_owned());
    }
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err("it is a folder; name a file in it".to_owned());
    }
    // The link itself is examined, not what it points to.
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot be examined: {error}")),
    };
    let kind = metadata.file_type();
    let what = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else if inputs.contains(&FileIdentity::of(&metadata)) {
        "the same file as one of the inputs"
    } else if force {
        return Ok(());
    } else {
        return Err("it exists; --force replaces it".to_owned());
    };
    Err(format!("it is {what}"))
}

/// The folder a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for a target that must not be written.
fn refused(object: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, "E-OUT-TARGET", object, detail)
}

#[cfg(test)]
mod tests {
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
}
