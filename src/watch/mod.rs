//! Watching a running capture: once per second the live loop publishes a [`snapshot::Snapshot`] on a [`Board`], for
//! screen and metrics to read.
//!
//! [`noted::Noted`] keeps what rows do not hold (round trips, refusals by second, names); [`gather::gather`] makes a
//! snapshot of that and of the shared rows. Readers of a board never touch the trackers.

pub mod gather;
pub mod metrics;
pub mod named;
pub mod noted;
pub mod sandbox;
pub mod screen;
pub mod snapshot;

use snapshot::Snapshot;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the latest snapshot is published. Publishing and reading swap a reference: neither waits for the other's work.
#[derive(Debug, Default)]
pub struct Board {
    latest: Mutex<Arc<Snapshot>>,
}

impl Board {
    /// Publishes a snapshot in place of the one before.
    pub fn publish(&self, snapshot: Snapshot) {
        let new = Arc::new(snapshot);
        // The old one is dropped only after the lock is free again.
        let _old = std::mem::replace(&mut *self.latest.lock().unwrap_or_else(PoisonError::into_inner), new);
    }

    /// The published snapshot; before the first one, an empty one.
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
