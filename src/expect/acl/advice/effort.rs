//! How much trying out changes may take ([`Effort`]): elements compiled and sources asked, not time, so that the same input
//! gives the same advice.

use super::super::Acl;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What deciding for one source takes, in elements compiled, about.
const DECIDING: u64 = 32;

/// Why a search for a change was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It would take more than there is.
    Spent,
    /// By a signal.
    Interrupted,
}

/// What all searches of a report may take together. Whatever is refused is remembered until it is said.
#[derive(Debug)]
pub struct Effort<'a> {
    left: Cell<u64>,
    interrupted: Option<&'a Arc<AtomicBool>>,
    ended: Cell<Option<Ended>>,
}

impl<'a> Effort<'a> {
    /// So many elements may be compiled, unless a signal ends that.
    pub fn new(elements: u64, interrupted: Option<&'a Arc<AtomicBool>>) -> Self {
        Self { left: Cell::new(elements), interrupted, ended: Cell::new(None) }
    }

    /// The configuration with other texts, where reading it again is allowed and it can be read.
    pub fn changed(&self, acl: &Acl, texts: BTreeMap<PathBuf, String>) -> Option<Acl> {
        if !self.takes(acl.elements()) {
            return None;
        }
        let changed = acl.changed(texts, self.interrupted.cloned()).ok();
        // What a signal ended while it was read is not told from a mistake in it.
        self.takes(0);
        changed
    }

    /// So many sources may be asked about.
    pub fn decides(&self, sources: usize) -> bool {
        self.takes(DECIDING.saturating_mul(sources as u64))
    }

    /// Why something was refused since that was last told.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.get()
    }

    /// The same, as it is being told.
    pub fn tell_ended(&self) -> Option<Ended> {
        self.ended.take()
    }

    fn takes(&self, elements: u64) -> bool {
        let rest = self.left.get().checked_sub(elements);
        let interrupted = self.interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed));
        match rest {
            _ if interrupted => self.ended.set(Some(Ended::Interrupted)),
            None => self.ended.set(Some(Ended::Spent)),
            Some(rest) => self.left.set(rest),
        }
        !interrupted && rest.is_some()
    }
}
