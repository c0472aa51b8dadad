//! Keeps expectations current: reads inventories and servers' files again when they change ([`Expectations`]).

use crate::capture::Timestamp;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::expect::acl::Acl;
use crate::expect::{Inventory, open_regular};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The expectations at one moment.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The inventories.
    pub inventory: Arc<Inventory>,
    /// The servers' files.
    pub acls: Arc<[Acl]>,
}

/// The latest version that could be read.
#[derive(Debug)]
pub struct Expectations {
    latest: RwLock<Expected>,
}

impl Expectations {
    /// Reads everything for the first time; an error is one of the configuration.
    pub fn load(config: &Config) -> Result<Self, Error> {
        Ok(Self { latest: RwLock::new(Expected { inventory: inventory(config)?, acls: acls(config)? }) })
    }

    /// The present expectations.
    pub fn now(&self) -> Expected {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, expected: Expected) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = expected;
    }
}

fn inventory(config: &Config) -> Result<Arc<Inventory>, Error> {
    Inventory::load(&config.expect).map(Arc::new)
}

fn acls(config: &Config) -> Result<Arc<[Acl]>, Error> {
    Acl::load_all(&config.acls, config.root.as_deref(), &config.servers).map(Arc::from)
}

/// Reads a configuration again; a panic in that must not end the capture.
fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(Error::internal("a fault was caught")))
}

/// State of a file when last looked at: inode, size, and the times of the last change of its content and of its inode
/// in nanoseconds. `None` when it cannot be examined.
type Look = Option<(u64, u64, i64, i64)>;

fn look(path: &PathBuf) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    let time = |seconds: i64, more: i64| seconds.saturating_mul(1_000_000_000).saturating_add(more);
    let (said, changed) =
        (time(metadata.mtime(), metadata.mtime_nsec()), time(metadata.ctime(), metadata.ctime_nsec()));
    Some((metadata.ino(), metadata.size(), said, changed))
}

/// Files to look at again and again.
#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    /// The first `read` of these paths are files that were read; at the others some may appear.
    read: usize,
    seen: Vec<Look>,
}

impl Files {
    fn of(mut paths: Vec<PathBuf>, places: Vec<PathBuf>) -> Self {
        let read = paths.len();
        paths.extend(places);
        let seen = paths.iter().map(look).collect();
        Self { paths, read, seen }
    }

    fn of_acls(config: &Config, expected: &Expected) -> Self {
        Self::of(acl_paths(config, expected), acl_places(expected))
    }

    /// An error when a file that was read is something else now, such as a pipe: reading that might block for ever.
    fn are_regular(&self, code: &'static str) -> Result<(), Error> {
        let other = |path: &&PathBuf| std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        match self.paths[..self.read].iter().find(other) {
            Some(path) => {
                Err(Error::new(ErrorKind::Usage, code, path.to_string_lossy(), "is not a regular file any more"))
            }
            None => Ok(()),
        }
    }

    /// True when one changed since the last call.
    fn changed(&mut self) -> bool {
        let now: Vec<Look> = self.paths.iter().map(look).collect();
        std::mem::replace(&mut self.seen, now) != self.seen
    }

    /// Time of the latest change.
    fn latest_change(&self) -> Option<Timestamp> {
        self.seen[..self.read].iter().flatten().map(|(_, _, said, _)| Timestamp(*said)).max()
    }
}

/// The result of looking at the files.
#[derive(Debug, Default)]
pub struct Reread {
    /// Lines for the operator.
    pub says: Vec<String>,
    /// Something was read again.
    pub anything: bool,
    /// Servers' files were read again, and differ.
    pub acls: bool,
}

/// Watches the files of expectations, and reads them again when they change.
#[derive(Debug)]
pub struct Watcher {
    inventories: Files,
    acls: Files,
    /// When a server's file was found to have changed.
    others_since: Option<Timestamp>,
    /// Why what is in use is older than the files: for inventories and for servers' files.
    outdated: [Option<String>; 2],
}

impl Watcher {
    /// Starts watching.
    pub fn new(config: &Config, expected: &Expected) -> Self {
        Self {
            inventories: Files::of(config.expect.clone(), Vec::new()),
            acls: Files::of_acls(config, expected),
            others_since: None,
            outdated: [None, None],
        }
    }

    /// Time of the last change of a server's file; for one that was removed or replaced, when that was noticed.
    pub fn acl_changed(&self) -> Option<Timestamp> {
        self.acls.latest_change().max(self.others_since)
    }

    /// What is in use although the files have changed since, one sentence each.
    pub fn outdated(&self) -> impl Iterator<Item = &str> {
        self.outdated.iter().flatten().map(String::as_str)
    }

    /// Reads again what changed by `now`. When that fails, the earlier version stays in use, and a line says so.
    pub fn look(&mut self, config: &Config, expectations: &Expectations, now: Timestamp) -> Reread {
        let mut reread = Reread::default();
        let mut expected = expectations.now();
        if self.inventories.changed() {
            match self.inventories.are_regular("E-EXPECT").and_then(|()| guarded(|| inventory(config))) {
                Ok(inventory) => {
                    expected.inventory = inventory;
                    self.outdated[0] = None;
                    reread.note("inventory re-read".into());
                }
                Err(error) => self.keep(0, "inventory", &error, now, &mut reread),
            }
        }
        if self.acls.changed() {
            let read = self.acls.are_regular("E-ACL").and_then(|()| guarded(|| acls(config)));
            match read.and_then(|acls| readable(&acls, &expected.acls).map(|()| acls)) {
                Ok(acls) => {
                    let others = acls.len() != expected.acls.len()
                        || acls.iter().zip(expected.acls.iter()).any(|(new, old)| !new.files().are_as(old.files()));
                    let was_outdated = self.outdated[1].take().is_some();
                    let read = Expected { acls, ..expected.clone() };
                    self.acls = Files::of_acls(config, &read);
                    // Something else changed where a file might have appeared.
                    if others {
                        expected = read;
                        self.others_since = Some(now);
                        reread.acls = true;
                        reread
                            .note("servers' configuration re-read; what it says is compared with the wire anew".into());
                    } else if was_outdated {
                        reread.says.push("servers' configuration can be read again, and is as it was".into());
                    }
                }
                Err(error) => self.keep(1, "configuration", &error, now, &mut reread),
            }
        }
        if reread.anything {
            expectations.set(expected);
        }
        reread
    }

    /// The earlier version stays in use.
    fn keep(&mut self, which: usize, what: &str, error: &Error, now: Timestamp, reread: &mut Reread) {
        reread.says.push(format!("warning: {error}{}; the {what} read earlier stays in use", why(error)));
        self.outdated[which] = Some(format!(
            "The {what} in use was read before {}, when it changed and could not be read again: {error}{}.",
            now.to_rfc3339(0),
            why(error)
        ));
    }
}

impl Reread {
    fn note(&mut self, what: String) {
        self.anything = true;
        self.says.push(what);
    }
}

/// An error when an included file may not be read that could be read, or was absent, before.
fn readable(acls: &[Acl], before: &[Acl]) -> Result<(), Error> {
    let known: Vec<_> = before.iter().flat_map(|acl| acl.files().forbidden()).collect();
    let Some(path) = acls.iter().flat_map(|acl| acl.files().forbidden()).find(|path| !known.contains(path)) else {
        return Ok(());
    };
    let what = "is included and cannot be read: Permission denied (os error 13)";
    Err(Error::new(ErrorKind::Usage, "E-ACL", path.to_string_lossy(), what))
}

/// What forbids reading a file: its permissions if not everybody may read it, else the sandbox.
fn why(error: &Error) -> &'static str {
    let path = Path::new(&error.object);
    let denied = open_regular(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    let for_all = std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0);
    if denied && for_all {
        " (the sandbox forbids it: its folder was not among those read when the capture began)"
    } else {
        ""
    }
}

/// All files of the servers' configurations, including included ones.
pub fn acl_paths(config: &Config, expected: &Expected) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = config.acls.iter().map(|acl| acl.path.clone()).collect();
    for acl in expected.acls.iter() {
        paths.extend(acl.files().list().iter().map(|file| file.path.clone()));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Paths at which further files of the servers' configurations may appear.
pub fn acl_places(expected: &Expected) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        expected.acls.iter().flat_map(|acl| acl.files().looked().map(Path::to_path_buf)).collect();
    places.sort();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_leaves_the_old_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.csv");
        std::fs::write(&path, "10.20.0.0/16\n").unwrap();
        let config = Config { expect: vec![path.clone()], ..Config::default() };
        let expectations = Expectations::load(&config).unwrap();
        let mut watcher = Watcher::new(&config, &expectations.now());
        let lines = |expectations: &Expectations| expectations.now().inventory.rows().len();
        assert!(watcher.look(&config, &expectations, Timestamp(0)).says.is_empty());

        std::fs::write(&path, "10.20.0.0/16\n10.21.0.0/16\n").unwrap();
        let reread = watcher.look(&config, &expectations, Timestamp(0));
        assert!(reread.anything && lines(&expectations) == 2, "{reread:?}");
        assert!(watcher.look(&config, &expectations, Timestamp(0)).says.is_empty(), "once");

        std::fs::write(&path, "10.20.0.0/99\n").unwrap();
        let reread = watcher.look(&config, &expectations, Timestamp(0));
        assert!(!reread.anything && reread.says[0].contains("stays in use"), "{reread:?}");
        assert_eq!(lines(&expectations), 2);

        std::fs::remove_file(&path).unwrap();
        assert!(!watcher.look(&config, &expectations, Timestamp(0)).anything);
        std::fs::write(&path, "10.0.0.0/8\n").unwrap();
        assert!(watcher.look(&config, &expectations, Timestamp(0)).anything && lines(&expectations) == 1);
    }
    /// The main file, and a watcher of it.
    fn unbound(folder: &Path, more: &str) -> (Config, Expectations, Watcher) {
        let path = folder.join("unbound.conf");
        std::fs::write(&path, format!("server:\n interface: 10.0.0.53\n{more}")).unwrap();
        let acl = crate::expect::acl::AclArgument::parse(&path.to_string_lossy()).unwrap();
        let config = Config { acls: vec![acl], ..Config::default() };
        let expectations = Expectations::load(&config).unwrap();
        let watcher = Watcher::new(&config, &expectations.now());
        (config, expectations, watcher)
    }

    #[test]
    fn included_files_that_appear_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        let (config, expectations, mut watcher) =
            unbound(folder.path(), "include: late.conf\ninclude: \"conf.d/*.conf\"\n");
        let mut look = |now| watcher.look(&config, &expectations, Timestamp(now));
        let files = || expectations.now().acls[0].files().list().len();
        assert!(!look(1).anything && files() == 1);
        std::fs::write(folder.path().join("late.conf"), "access-control: 10.0.0.2/32 allow\n").unwrap();
        assert!(look(2).anything && files() == 2);
        std::fs::write(folder.path().join("conf.d/a.conf"), "access-control: 10.0.0.3/32 allow\n").unwrap();
        assert!(look(3).anything && files() == 3);
        // Nothing that is read.
        std::fs::write(folder.path().join("conf.d/a.txt"), "").unwrap();
        assert!(!look(4).anything && files() == 3);
        std::fs::remove_file(folder.path().join("conf.d/a.conf")).unwrap();
        assert!(look(5).anything && files() == 2);
        assert!(!look(6).anything);
        assert!(watcher.acl_changed() > Some(Timestamp(5)), "the time of a file counts where it is later");
    }

    #[test]
    fn what_is_outdated_is_said_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (config, expectations, mut watcher) = unbound(folder.path(), "");
        std::fs::write(folder.path().join("unbound.conf"), "server:\n access-control: 10.0.0.0/99 allow\n").unwrap();
        let said = watcher.look(&config, &expectations, Timestamp(0)).says;
        assert!(said.len() == 1 && said[0].ends_with("the configuration read earlier stays in use"), "{said:?}");
        let outdated: Vec<&str> = watcher.outdated().collect();
        assert!(
            outdated[0].starts_with("The configuration in use was read before 1970-01-01T00:00:00Z"),
            "{outdated:?}"
        );
        assert_eq!(expectations.now().acls[0].policy().listens().len(), 1);
        std::fs::write(folder.path().join("unbound.conf"), "server:\n access-control: 10.0.0.0/9 allow\n").unwrap();
        assert!(watcher.look(&config, &expectations, Timestamp(0)).anything && watcher.outdated().count() == 0);
    }
}
