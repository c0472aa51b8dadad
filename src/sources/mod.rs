//! Transactions folded into per-source rows: the shared live view ([`Sources`]), the only place with a `DashMap`.
//!
//! There are two classes of rows, each with its own budget: *kept* rows, of sources that received a response or that an
//! inventory lists, and rows of sources that never received one. When a budget is exceeded, its rows are joined by ever
//! shorter prefixes, of the same length for a whole address family, so that the result depends on the set of sources
//! and not on their order; nothing is dropped. That helps only while servers are few: when there are too many, the
//! servers met last share one row per source ([`OTHER_SERVERS`]).

mod key;
mod row;

use dashmap::{DashMap, Entry};
use ipnet::IpNet;
use key::fitting_length;
pub use key::{OTHER_SERVERS, SourceKey, count_sources};
pub use row::{ExtraRefusal, Rare, Refusals, SourceRow, Span};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// On which side of our servers a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// To one of our servers.
    Client,
    /// From one of our servers: a resolver is a client too.
    Upstream,
    /// Neither end is one of our servers.
    Other,
}

impl Leg {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Leg::Client => "client",
            Leg::Upstream => "upstream",
            Leg::Other => "other",
        }
    }
}

/// A frame of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FrameRef {
    /// Index of the input in reading order.
    pub input: u32,
    /// 1-based frame number, as Wireshark counts.
    pub frame: u64,
}

/// What was joined because there was no room for more rows.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// Prefix lengths by which sources were joined: `(kept, IPv6, length in bits)`.
    pub lengths: Vec<(bool, bool, u8)>,
    /// Some servers share a row of [`OTHER_SERVERS`].
    pub servers: bool,
}

/// Rows are joined when they exceed their budget by more than this part of it, and also when they are read. Joining
/// moves nearly all rows, and at the longest prefix length that fits, a budget may be full again after a few more
/// sources.
const SLACK: usize = 4;

/// Frames kept of a row of joined sources.
const FRAMES_JOINED: usize = 4;

/// A value for each class of rows and family of addresses: first by kept (1) or not (0), then by IPv6 (1) or IPv4 (0).
type ByClass<T> = [[T; 2]; 2];

/// Every per-source row.
#[derive(Debug)]
pub struct Sources {
    rows: DashMap<SourceKey, SourceRow, foldhash::fast::RandomState>,
    /// Rows that came complete and are never looked up, see [`Sources::fill`].
    whole: Mutex<Vec<(SourceKey, SourceRow)>>,
    /// Most rows of a class, of either family, that are read: kept (1) or not (0). Up to a part of it more are held.
    budgets: [usize; 2],
    /// Servers that have rows of their own; at most half as many as rows.
    servers: Mutex<ByClass<HashSet<IpAddr, foldhash::fast::RandomState>>>,
    /// Some servers share a row of [`OTHER_SERVERS`].
    servers_joined: AtomicBool,
    /// Rows held.
    held: ByClass<AtomicUsize>,
    /// Prefix length by which rows are joined; a whole address where they are not.
    lengths: ByClass<AtomicU8>,
    /// Read-locked to add rows, write-locked to join them: all rows of a class and family have the same length.
    joining: RwLock<()>,
    /// Scratch memory for joining. It is kept because a flood joins rows again and again: freed in between, it would be
    /// broken up by small allocations, and as much would be asked of the system each time.
    keys: Mutex<Vec<SourceKey>>,
    /// Frames kept per row and kind of event.
    frames: usize,
}

impl Sources {
    /// No rows yet; `frames` frames are kept per row and kind.
    pub fn new(kept_rows: usize, silent_rows: usize, frames: usize) -> Self {
        Self {
            rows: DashMap::default(),
            whole: Mutex::default(),
            budgets: [silent_rows, kept_rows],
            servers: Mutex::default(),
            servers_joined: AtomicBool::new(false),
            held: Default::default(),
            lengths: [[AtomicU8::new(32), AtomicU8::new(128)], [AtomicU8::new(32), AtomicU8::new(128)]],
            joining: RwLock::new(()),
            keys: Mutex::default(),
            frames,
        }
    }

    /// Adds what a source did since the last call for it; `listed` sources are kept like those that received a
    /// response.
    pub fn fold(&self, source: IpAddr, server: IpAddr, delta: SourceRow, listed: bool) {
        let family = usize::from(source.is_ipv6());
        let servers = self.servers_of_rows(server);
        let adding = self.joining.read().unwrap_or_else(PoisonError::into_inner);
        let key = |kept: bool| {
            let server = servers[usize::from(kept)];
            let length = self.lengths[usize::from(kept)][family].load(Ordering::Relaxed);
            let net = IpNet::new(source, length).unwrap_or_else(|_| IpNet::from(source)).trunc();
            SourceKey { source: net, server, kept }
        };
        let (kept_key, silent_key) = (key(true), key(false));
        let kept = listed || delta.heard();
        if (kept || kept_key.is_whole())
            && let Some(mut row) = self.rows.get_mut(&kept_key)
        {
            row.add(&delta, self.frames_of(&kept_key));
            return;
        }
        let mut delta = delta;
        // What the source did before its first answer moves along, unless it is part of a joined row.
        if kept
            && silent_key.is_whole()
            && let Some((_, before)) = self.rows.remove(&silent_key)
        {
            self.held[0][family].fetch_sub(1, Ordering::Relaxed);
            delta.add(&before, self.frames);
        }
        let key = if kept { kept_key } else { silent_key };
        self.note_server(kept, server, key.server);
        self.insert(key, delta);
        drop(adding);
        self.keep_budget(usize::from(kept), family);
    }

    /// Most servers of a class of rows and a family that have rows of their own.
    pub fn most_servers(&self, kept: bool) -> usize {
        (self.budgets[usize::from(kept)] / 2).max(1)
    }

    /// Gives a server rows of its own in a class from now on, unless too many servers have them.
    pub fn meet(&self, server: IpAddr, kept: bool) {
        let mut known = locked(&self.servers);
        let known = &mut known[usize::from(kept)][usize::from(server.is_ipv6())];
        if known.len() < self.most_servers(kept) {
            known.insert(server);
        }
    }

    /// The address under which a server's rows stand, for sources not kept and kept: its own, unless too many servers
    /// have rows of their own.
    fn servers_of_rows(&self, server: IpAddr) -> [IpAddr; 2] {
        let family = usize::from(server.is_ipv6());
        let known = locked(&self.servers);
        [false, true].map(|kept| {
            let known = &known[usize::from(kept)][family];
            let own = known.len() < self.most_servers(kept) || known.contains(&server);
            if own { server } else { OTHER_SERVERS[family] }
        })
    }

    /// Notes under which address (`shown`) a server has a row: its own, or that of [`OTHER_SERVERS`].
    fn note_server(&self, kept: bool, server: IpAddr, shown: IpAddr) {
        if server == shown {
            self.meet(server, kept);
        } else {
            self.servers_joined.store(true, Ordering::Relaxed);
        }
    }

    /// True when this many more rows of each class and family fit without joining any.
    pub fn have_room(&self, more: ByClass<usize>) -> bool {
        let held = self.held.as_flattened().iter().map(|held| held.load(Ordering::Relaxed));
        let budgets = self.budgets.iter().flat_map(|budget| [*budget; 2]);
        held.zip(more.as_flattened()).zip(budgets).all(|((held, more), budget)| held + more <= budget)
    }

    /// Takes complete rows: source, server, what the source did there, and whether it is listed; each pair of source
    /// and server comes once, and [`Sources::fold`] is never called for it. `count` is the most rows there may be. Rows
    /// that nobody looks up are appended to a vector, which is much faster than filling a map.
    pub fn fill(&self, count: usize, rows: impl Iterator<Item = (IpAddr, IpAddr, SourceRow, bool)>) {
        let mut whole = self.whole();
        whole.reserve_exact(count);
        let mut more = [[0; 2]; 2];
        for (source, server, row, listed) in rows {
            let kept = listed || row.heard();
            more[usize::from(kept)][usize::from(source.is_ipv6())] += 1;
            whole.push((SourceKey { source: source.into(), server, kept }, row));
        }
        for (held, more) in self.held.as_flattened().iter().zip(more.as_flattened()) {
            held.fetch_add(*more, Ordering::Relaxed);
        }
    }

    fn whole(&self) -> MutexGuard<'_, Vec<(SourceKey, SourceRow)>> {
        locked(&self.whole)
    }

    /// Joins the rows of a class and family when they exceed its budget by far.
    fn keep_budget(&self, class: usize, family: usize) {
        self.join_above(class, family, self.budgets[class] + self.budgets[class] / SLACK);
    }

    /// Joins all rows that exceed their budgets, so that what is read depends on the set of sources alone.
    fn settle(&self) {
        for (class, budget) in self.budgets.into_iter().enumerate() {
            (0..2).for_each(|family| self.join_above(class, family, budget));
        }
    }

    /// Joins the rows of a class and family to its budget when there are more than `most`.
    fn join_above(&self, class: usize, family: usize, most: usize) {
        let are_too_many = || {
            self.held[class][family].load(Ordering::Relaxed) > most
                && self.lengths[class][family].load(Ordering::Relaxed) > 0
        };
        if !are_too_many() {
            return;
        }
        let _alone = self.joining.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have joined them meanwhile.
        if are_too_many() {
            let mut keys = self.keys(class, family);
            let length = fitting_length(&mut keys, self.budgets[class]);
            self.join(class, family, length, &keys);
        }
    }

    /// Frames kept of a row. Joined rows keep few: there are as many of them as the budget allows, and each source in
    /// one adds frames.
    fn frames_of(&self, key: &SourceKey) -> usize {
        if key.is_whole() { self.frames } else { self.frames.min(FRAMES_JOINED) }
    }

    /// Keys of the rows of a class and family, in scratch memory.
    fn keys(&self, class: usize, family: usize) -> MutexGuard<'_, Vec<SourceKey>> {
        let of_class =
            |key: &SourceKey| usize::from(key.kept) == class && usize::from(key.source.addr().is_ipv6()) == family;
        let mut keys = locked(&self.keys);
        keys.clear();
        keys.reserve_exact(self.held[class][family].load(Ordering::Relaxed));
        keys.extend(self.rows.iter().map(|row| *row.key()).filter(of_class));
        keys
    }

    fn insert(&self, key: SourceKey, mut row: SourceRow) {
        row.keep_frames(self.frames_of(&key));
        match self.rows.entry(key) {
            Entry::Occupied(mut held) => held.get_mut().add(&row, self.frames_of(&key)),
            Entry::Vacant(place) => {
                place.insert(row);
                let family = usize::from(key.source.addr().is_ipv6());
                self.held[usize::from(key.kept)][family].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Joins the rows of a class and family by prefixes of `length` bits. `keys` are the keys of all of them, in an
    /// order in which those that get the same prefix stand together.
    fn join(&self, class: usize, family: usize, length: u8, keys: &[SourceKey]) {
        self.lengths[class][family].store(length, Ordering::Relaxed);
        self.held[class][family].store(0, Ordering::Relaxed);
        // A sum goes in as soon as the next one begins: all sums together would take memory that removed rows just
        // freed.
        let mut sum: Option<(SourceKey, SourceRow)> = None;
        for (key, row) in keys.iter().filter_map(|key| self.rows.remove(key)) {
            let source = IpNet::new(key.source.addr(), length).unwrap_or(key.source).trunc();
            let key = SourceKey { source, ..key };
            match &mut sum {
                Some((last, sum)) if *last == key => sum.add(&row, self.frames_of(&key)),
                _ => {
                    if let Some((key, row)) = sum.replace((key, row)) {
                        self.insert(key, row);
                    }
                }
            }
        }
        if let Some((key, row)) = sum {
            self.insert(key, row);
        }
    }

    /// Takes every row out, in order of its key.
    pub fn drain_sorted(&self) -> Vec<(SourceKey, SourceRow)> {
        self.settle();
        let mut rows = std::mem::take(&mut *self.whole());
        rows.reserve_exact(self.rows.len());
        self.rows.retain(|key, row| {
            rows.push((*key, std::mem::take(row)));
            false
        });
        self.rows.shrink_to_fit();
        *locked(&self.keys) = Vec::new();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Takes every row out, in order of its key, and starts again with whole addresses.
    pub fn take_sorted(&self) -> Vec<(SourceKey, SourceRow)> {
        let rows = self.drain_sorted();
        for class in 0..2 {
            for (family, whole) in [(0, 32), (1, 128)] {
                self.held[class][family].store(0, Ordering::Relaxed);
                self.lengths[class][family].store(whole, Ordering::Relaxed);
            }
        }
        *locked(&self.servers) = Default::default();
        self.servers_joined.store(false, Ordering::Relaxed);
        rows
    }

    /// A copy of every row, in order of its key.
    pub fn copy_sorted(&self) -> Vec<(SourceKey, SourceRow)> {
        self.settle();
        let mut rows = Vec::new();
        self.each(|key, row| rows.push((*key, row.clone())));
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Adds rows taken out earlier, within the same budgets.
    pub fn absorb(&self, rows: impl IntoIterator<Item = (SourceKey, SourceRow)>) {
        for (key, row) in rows {
            let (class, family) = (usize::from(key.kept), usize::from(key.source.addr().is_ipv6()));
            let length = &self.lengths[class][family];
            let alone = self.joining.write().unwrap_or_else(PoisonError::into_inner);
            // Rows joined by a shorter prefix elsewhere are joined by it here, too.
            if length.load(Ordering::Relaxed) > key.source.prefix_len() {
                self.join(class, family, key.source.prefix_len(), &self.keys(class, family));
            }
            let source = IpNet::new(key.source.addr(), length.load(Ordering::Relaxed)).unwrap_or(key.source).trunc();
            let server = if OTHER_SERVERS.contains(&key.server) {
                self.servers_joined.store(true, Ordering::Relaxed);
                key.server
            } else {
                let shown = self.servers_of_rows(key.server)[class];
                self.note_server(key.kept, key.server, shown);
                shown
            };
            self.insert(SourceKey { source, server, ..key }, row);
            drop(alone);
            self.keep_budget(class, family);
        }
    }

    /// Calls back for every row, in no order, including rows that exceed a budget and are not joined yet; a source may
    /// have two rows at a server, one of them kept.
    pub fn each(&self, mut on_row: impl FnMut(&SourceKey, &SourceRow)) {
        self.whole().iter().for_each(|(key, row)| on_row(key, row));
        self.rows.iter().for_each(|row| on_row(row.key(), row.value()));
    }

    /// What was joined so far.
    pub fn joined(&self) -> Joined {
        self.settle();
        let mut joined = Vec::new();
        for (kept, lengths) in [(false, &self.lengths[0]), (true, &self.lengths[1])] {
            for (v6, length) in [(false, &lengths[0]), (true, &lengths[1])] {
                let length = length.load(Ordering::Relaxed);
                if length < if v6 { 128 } else { 32 } {
                    joined.push((kept, v6, length));
                }
            }
        }
        Joined { lengths: joined, servers: self.servers_joined.load(Ordering::Relaxed) }
    }
}

/// Locks, even after a panic of another holder: that ends the run as an internal fault, and rows are still counted.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
