//! How much trying out changes may take ([`Effort`]): elements compiled and sources asked, not time, so that the same
//! input gives the same advice.

use super::super::Acl;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Approximate cost of deciding for one source, in compiled elements.
const DECIDING: u64 = 32;

/// Why a search for a change was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It would exceed the budget.
    Spent,
    /// A signal ended it.
    Interrupted,
}

/// The shared budget of all searches of a report. A refusal is remembered until it is reported.
#[derive(Debug)]
pub struct Effort<'a> {
    left: Cell<u64>,
    interrupted: Option<&'a Arc<AtomicBool>>,
    ended: Cell<Option<Ended>>,
}

impl<'a> Effort<'a> {
    /// A budget of this many compiled elements, which a signal may end early.
    pub fn new(elements: u64, interrupted: Option<&'a Arc<AtomicBool>>) -> Self {
        Self { left: Cell::new(elements), interrupted, ended: Cell::new(None) }
    }

    /// The configuration with other texts; `None` where the budget does not allow reading it again, or where it has a
    /// mistake.
    pub fn changed(&self, acl: &Acl, texts: BTreeMap<PathBuf, String>) -> Option<Acl> {
        if !self.takes(acl.elements()) {
            return None;
        }
        let changed = acl.changed(texts, self.interrupted.cloned()).ok();
        // Reading that a signal ended looks like a mistake in the text.
        self.takes(0);
        changed
    }

    /// Takes the cost of deciding for this many sources.
    pub fn decides(&self, sources: usize) -> bool {
        self.takes(DECIDING.saturating_mul(sources as u64))
    }

    /// Why something was refused since the last report of it.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.get()
    }

    /// The same, marking it as reported.
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
