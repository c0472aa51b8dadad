//! Evaluates what operators wrote: an [`Inventory`] decides for an address, a server's configuration ([`acl::Acl`]) for
//! a request.

pub mod acl;
pub mod inventory;
pub mod ranges;

pub use inventory::{Expect, Expected, Inventory};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file that an operator named, waiting for the writer when it is a pipe.
fn open(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path)?.is_file() { open_regular(path) } else { File::open(path) }
}

/// Opens a regular file. Anything else is an error: a pipe without a writer, above all, would block.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"))
    }
}
