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

/// Bytes buffered before a write.
const BUFFER: usize = 64 << 10;
/// The usual kind of output.
const REPORT: &str = "the report";
/// Bytes of the target's name used in the temporary name, so that it stays below the usual limit of 255 bytes.
const NAME_BYTES: usize = 200;

/// A file's identity, whatever it is called.
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

    /// Identities of those of `paths` that exist (`-` and what cannot be examined have none).
    pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<FileIdentity> {
        paths.into_iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| Self::of(&metadata)).collect()
    }
}

/// A finished output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The file, or `None` for standard output.
    pub path: Option<PathBuf>,
    /// Bytes written.
    pub bytes: u64,
    /// The reader of standard output went away before the end, as `head` does, which is no error.
    pub pipe_closed: bool,
}

/// Checks the output target of a run and opens it before anything else is done. `inputs` are the files that will be
/// read: none of them is written to. An error says why the target is refused, and that nothing was read or written.
pub fn prepare(config: &Config, inputs: &[FileIdentity]) -> Result<Output, Error> {
    open(config, inputs).map_err(|mut error| {
        error.detail.push_str("; nothing was read or written");
        error
    })
}

/// Opens a further output in the course of a run whose target was right when it began: an error is one of an incomplete
/// output (exit code 5), not of the command line.
pub fn prepare_next(config: &Config) -> Result<Output, Error> {
    open(config, &[]).map_err(|error| Error::new(ErrorKind::Output, "E-OUT", error.object, error.detail))
}

/// Checks that files with a time in their names can be made beside this one: not when it is a device, a pipe or a
/// folder.
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

/// Bytes after which the kernel is asked to start writing them to disk.
const WRITE_BACK: u64 = 4 << 20;

/// A report's destination. It remembers its first error: writers may stop at any error, and [`Output::finish`] reports
/// it. Dropped unfinished, it leaves a `.partial` file if anything was written, and otherwise nothing.
#[derive(Debug)]
pub struct Output {
    writer: Option<BufWriter<File>>,
    target: Target,
    /// What is written, for errors.
    what: &'static str,
    bytes: u64,
    /// Bytes that the kernel was asked to start writing to disk.
    begun: u64,
    error: Option<io::Error>,
}

/// Where the bytes go.
#[derive(Debug)]
enum Target {
    /// Standard output.
    Standard,
    /// A file in the making.
    Named {
        /// Its name as given by the user.
        path: PathBuf,
        /// The temporary name; `None` once the temporary file was renamed or removed.
        temporary: Option<tempfile::TempPath>,
        /// Whether an existing file may be replaced.
        replace: bool,
    },
}

impl Output {
    /// True when it goes directly to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.get_ref().is_terminal())
    }

    /// True when it goes to a disk, and not to a reader.
    pub fn is_file(&self) -> bool {
        let file = self.writer.as_ref().and_then(|writer| writer.get_ref().metadata().ok());
        file.is_some_and(|metadata| metadata.is_file())
    }

    /// Its name in errors.
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

    /// Sets the word for what is written, instead of `report`.
    #[must_use]
    pub fn called(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// Ends it because of an error elsewhere, which then also names the partial file.
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

    /// Flushes, and waits until everything is on disk, where there is one.
    fn flush_and_sync(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.error.is_some() {
            return Ok(());
        }
        writer.flush()?;
        let file = writer.get_ref();
        if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
    }

    /// Renames a complete file to its final name.
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
        // The new name is durable only once its folder is synced.
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

    /// The error of an incomplete output; what was written is kept.
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
                    // Otherwise the kernel would start only when everything is written, and the end would wait for it.
                    // The advice means more than that, but pages that are not on disk yet are not dropped
                    // (mm/fadvise.c).
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
            // Nobody is left to be told about a failure.
            let _ = temporary.keep();
        }
    }
}

/// Keeps what was written of an incomplete file, and says where.
fn kept(temporary: Option<tempfile::TempPath>, writer: Option<&BufWriter<File>>) -> String {
    match temporary.map(tempfile::TempPath::keep) {
        // Its folder may have been removed or renamed.
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

/// Standard output, buffered in large pieces.
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

/// A new file, or one that replaces an old one when it is complete.
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

/// Why a target must not be written, if so.
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

/// The error for a refused target.
fn refused(object: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, "E-OUT-TARGET", object, detail)
}

#[cfg(test)]
mod tests;
