//! What operators expect, kept current: inventories and servers' files are read again when they change ([`Expectations`]).

use crate::capture::Timestamp;
use crate::config::Config;
use crate::error::Error;
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// What holds at a moment.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The inventories.
    pub inventory: Arc<Inventory>,
    /// The servers' files.
    pub acls: Arc<[Acl]>,
}

/// The latest that could be read.
#[derive(Debug)]
pub struct Expectations {
    latest: RwLock<Expected>,
}

impl Expectations {
    /// Reads everything a first time; an error is one of the configuration.
    pub fn load(config: &Config) -> Result<Self, Error> {
        Ok(Self { latest: RwLock::new(Expected { inventory: inventory(config)?, acls: acls(config)? }) })
    }

    /// What holds now.
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

/// A file as it was when it was last looked at: inode, size, time of its last change in nanoseconds. `None` when it
/// cannot be examined.
type Look = Option<(u64, u64, i64)>;

fn look(path: &PathBuf) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Some((metadata.ino(), metadata.size(), changed))
}

/// Files that are looked at again and again.
#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    seen: Vec<Look>,
}

impl Files {
    fn of(paths: Vec<PathBuf>) -> Self {
        let seen = paths.iter().map(look).collect();
        Self { paths, seen }
    }

    /// True when one changed since it was last asked.
    fn changed(&mut self) -> bool {
        let now: Vec<Look> = self.paths.iter().map(look).collect();
        std::mem::replace(&mut self.seen, now) != self.seen
    }

    /// When the latest change was made.
    fn latest_change(&self) -> Option<Timestamp> {
        self.seen.iter().flatten().map(|(_, _, changed)| Timestamp(*changed)).max()
    }
}

/// What a look at the files found.
#[derive(Debug, Default)]
pub struct Reread {
    /// Lines for the operator.
    pub says: Vec<String>,
    /// Something was read again.
    pub anything: bool,
}

/// Looks at the files of expectations and reads them again when they changed.
#[derive(Debug)]
pub struct Watcher {
    inventories: Files,
    acls: Files,
}

impl Watcher {
    /// Begins to look.
    pub fn new(config: &Config, expected: &Expected) -> Self {
        Self { inventories: Files::of(config.expect.clone()), acls: Files::of(acl_paths(config, expected)) }
    }

    /// When a server's file was last changed.
    pub fn acl_changed(&self) -> Option<Timestamp> {
        self.acls.latest_change()
    }

    /// Reads again what changed. What cannot be read leaves the earlier one in use, and is said.
    pub fn look(&mut self, config: &Config, expectations: &Expectations) -> Reread {
        let mut reread = Reread::default();
        let mut expected = expectations.now();
        if self.inventories.changed() {
            match inventory(config) {
                Ok(inventory) => {
                    expected.inventory = inventory;
                    reread.note("inventory re-read".into());
                }
                Err(error) => reread.failed(&error, "the inventory read earlier stays in use"),
            }
        }
        if self.acls.changed() {
            match acls(config) {
                Ok(acls) => {
                    expected.acls = acls;
                    self.acls = Files::of(acl_paths(config, &expected));
                    reread.note("servers' configuration re-read; what it says is compared with the wire anew".into());
                }
                Err(error) => reread.failed(&error, "the configuration read earlier stays in use"),
            }
        }
        if reread.anything {
            expectations.set(expected);
        }
        reread
    }
}

impl Reread {
    fn note(&mut self, what: String) {
        self.anything = true;
        self.says.push(what);
    }

    fn failed(&mut self, error: &Error, kept: &str) {
        self.says.push(format!("warning: {error}; {kept}"));
    }
}

/// Every file of the servers' configurations, included ones too.
pub fn acl_paths(config: &Config, expected: &Expected) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = config.acls.iter().map(|acl| acl.path.clone()).collect();
    for acl in expected.acls.iter() {
        paths.extend(acl.files().list().iter().map(|file| file.path.clone()));
    }
    paths.sort();
    paths.dedup();
    paths
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
        assert!(watcher.look(&config, &expectations).says.is_empty());

        std::fs::write(&path, "10.20.0.0/16\n10.21.0.0/16\n").unwrap();
        let reread = watcher.look(&config, &expectations);
        assert!(reread.anything && lines(&expectations) == 2, "{reread:?}");
        assert!(watcher.look(&config, &expectations).says.is_empty(), "once");

        std::fs::write(&path, "10.20.0.0/99\n").unwrap();
        let reread = watcher.look(&config, &expectations);
        assert!(!reread.anything && reread.says[0].contains("stays in use"), "{reread:?}");
        assert_eq!(lines(&expectations), 2);

        std::fs::remove_file(&path).unwrap();
        assert!(!watcher.look(&config, &expectations).anything);
        std::fs::write(&path, "10.0.0.0/8\n").unwrap();
        assert!(watcher.look(&config, &expectations).anything && lines(&expectations) == 1);
    }
}
