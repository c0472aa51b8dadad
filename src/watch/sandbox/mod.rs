//! Confines a process that has opened what it captures: [`confine`] gives up identity, capabilities, files and system
//! calls, and reads back from the kernel what is left ([`State`]).
//!
//! To be called while there is only one thread (later threads inherit the confinement), after interfaces, sockets and
//! terminal were opened and before outputs are: outputs then belong to the user who writes them, and what that user may
//! not do is noticed before the first packet. Each step is in a file of its own: `identity`, `files`, `calls`.

mod calls;
mod files;
mod identity;
mod state;

pub use state::State;

use crate::config::Sandbox;
use crate::error::{Error, ErrorKind};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// What a confined process still has to do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Folders in which outputs are created, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Files that are read again when they change. Their whole folders stay readable, because a new version often is
    /// another file of the same name.
    pub read: Vec<PathBuf>,
    /// Files, and folders of files, that may appear later and are read then.
    pub appears: Vec<PathBuf>,
    /// Interfaces whose state, name and own drop counters are read.
    pub interfaces: Vec<String>,
    /// Packet sockets, to which nothing can be written any more.
    pub captures: Vec<RawFd>,
    /// There is a listening socket on which connections are accepted.
    pub listens: bool,
}

/// Confines the process as far as asked for. With [`Sandbox::Require`], anything missing is an error (exit code 6).
pub fn confine(plan: &Plan, mode: Sandbox) -> Result<State, Error> {
    if mode == Sandbox::Off {
        return Ok(State::read(mode));
    }
    let mut missing = Vec::new();
    let mut notes = Vec::new();
    let listable = std::fs::read_dir("/").is_ok();
    identity::no_new_privileges(&mut missing);
    let may_empty_bounding_set = identity::drop_bounding_and_ambient();
    identity::change_user(plan, &mut missing, &mut notes);
    identity::drop_capabilities(&mut missing);
    identity::no_core_dumps(&mut missing);
    let landlock = files::restrict(plan, &mut missing);
    // How Landlock is set up cannot be read back, but its effect can be tried.
    if landlock.is_some() && listable && !plan.opens_root() && std::fs::read_dir("/").is_ok() {
        missing.push("Landlock: the root folder can still be listed".to_owned());
    }
    calls::restrict(plan, &mut missing);
    if std::net::UdpSocket::bind(("127.0.0.1", 0)).is_ok() {
        missing.push("seccomp: sockets can still be opened".to_owned());
    }
    let mut state = State::read(mode);
    state.landlock = landlock;
    state.notes = notes;
    state.check(&mut missing, may_empty_bounding_set);
    state.missing = missing;
    if mode == Sandbox::Require && !state.missing.is_empty() {
        let detail = format!("not reached: {}; no packet was read", state.missing.join("; "));
        return Err(Error::new(ErrorKind::Sandbox, "E-SANDBOX", "--sandbox require", detail));
    }
    Ok(state)
}

impl Plan {
    /// Folders whose files may be read; a file may also be a link into another folder.
    fn read_folders(&self) -> impl Iterator<Item = PathBuf> {
        let targets = self.read.iter().filter_map(|file| std::fs::canonicalize(file).ok());
        let files = self.read.iter().cloned().chain(targets).map(|file| folder(&file).to_owned());
        files.chain(
            self.appears.iter().map(|place| if place.is_dir() { place.clone() } else { folder(place).to_owned() }),
        )
    }

    /// True when one of the folders is the root folder, so that everything stays reachable.
    fn opens_root(&self) -> bool {
        let is_root = |folder: &Path| std::fs::canonicalize(folder).is_ok_and(|path| path == Path::new("/"));
        self.read_folders().any(|folder| is_root(&folder)) || self.write.iter().any(|folder| is_root(folder))
    }
}

/// The folder of a file; the current one for a bare name.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_where_files_may_appear_and_where_links_point() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        for folder in ["conf", "conf.d", "elsewhere"] {
            std::fs::create_dir(path(folder)).unwrap();
        }
        std::fs::write(path("elsewhere/clients.csv"), "").unwrap();
        std::os::unix::fs::symlink(path("elsewhere/clients.csv"), path("conf/clients.csv")).unwrap();
        let plan = Plan {
            read: vec![path("conf/clients.csv"), "bare.conf".into()],
            appears: vec![path("conf.d"), path("later/more.conf")],
            ..Plan::default()
        };
        let folders: Vec<PathBuf> = plan.read_folders().collect();
        let target = path("elsewhere").canonicalize().unwrap();
        assert_eq!(folders, [path("conf"), ".".into(), target, path("conf.d"), path("later")]);
    }
}
