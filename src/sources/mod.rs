//! Transactions folded into per-source rows: the shared live view ([`Sources`]), the only place with a `DashMap`.
//!
//! Rows of sources that received a response, or that an inventory lists, have a budget of their own; sources that never
//! got one have another. When a budget is full its rows are joined by ever shorter prefixes, the same length for all of
//! a family, so that the result depends on the set of sources and not on their order; nothing is dropped. That helps only
//! where there are few servers: where there are too many, those that come after the others are joined to one row of a source.

mod row;

use dashmap::{DashMap, Entry};
use ipnet::IpNet;
pub use row::{Beside, Rare, Refusals, SourceRow, Span};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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

/// How many sources these are, each counted once, and whether that is only the least: sources that were joined to a prefix
/// are one or more, and one of them may also be there under its address.
pub fn count_sources(sources: impl IntoIterator<Item = IpNet>) -> (u64, bool) {
    let mut sources: Vec<IpNet> = sources.into_iter().collect();
    sources.sort_unstable();
    sources.dedup();
    let joined = sources.iter().any(|source| source.prefix_len() < source.max_prefix_len());
    // In order, a prefix stands directly before what lies in it.
    let around = if joined { sources.windows(2).filter(|pair| pair[0].contains(&pair[1])).count() } else { 0 };
    ((sources.len() - around) as u64, joined)
}

/// Key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    /// The source, or the prefix it was joined to.
    pub source: IpNet,
    /// The server.
    pub server: IpAddr,
    /// It received something, or is listed.
    pub kept: bool,
}

impl Hash for SourceKey {
    /// Three numbers, where the derived way hashes each byte string and discriminant for itself.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        state.write_u128(bits(self.source.addr()));
        state.write_u128(bits(self.server));
        state.write_u16(u16::from(self.source.prefix_len()) << 1 | u16::from(self.kept));
    }
}

/// The server of rows about all servers that were too many to have rows of their own.
pub const OTHER_SERVERS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Rows that were joined because there is no room for more.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// The prefix lengths of sources: `(kept, IPv6, length)` where it is shorter than an address.
    pub lengths: Vec<(bool, bool, u8)>,
    /// Some servers stand in rows of [`OTHER_SERVERS`].
    pub servers: bool,
}

/// Frames kept of sources that were joined.
const FRAMES_JOINED: usize = 4;

/// Every per-source row.
#[derive(Debug)]
pub struct Sources {
    rows: DashMap<SourceKey, SourceRow, foldhash::fast::RandomState>,
    /// Rows that were whole when they came, see [`Sources::fill`].
    whole: Mutex<Vec<(SourceKey, SourceRow)>>,
    /// Most rows of kept sources and of those that never got a response.
    budgets: [usize; 2],
    /// Servers of rows that are not joined, by kept (1) or not (0) and IPv6 (1) or IPv4 (0): at most half as many as rows.
    servers: Mutex<[[HashSet<IpAddr, foldhash::fast::RandomState>; 2]; 2]>,
    /// Servers were joined.
    servers_joined: AtomicBool,
    /// Rows held, by kept (1) or not (0) and IPv6 (1) or IPv4 (0).
    held: [[AtomicUsize; 2]; 2],
    /// Prefix length rows are joined to, likewise.
    lengths: [[AtomicU8; 2]; 2],
    /// Held to add rows, and alone to join them: all rows of a class and family have one length.
    joining: RwLock<()>,
    /// Memory to join them. It is kept: in a flood they are joined again and again, and what is given back meanwhile goes to
    /// many small things, so that as much is asked for anew every time.
    keys: Mutex<Vec<SourceKey>>,
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

    /// Adds what a source did since it was last folded; `listed` sources are kept like those that were heard.
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
        let whole_address = kept_key.source.prefix_len() == kept_key.source.max_prefix_len();
        if (kept || whole_address)
            && let Some(mut row) = self.rows.get_mut(&kept_key)
        {
            row.add(&delta, self.frames_of(&kept_key));
            return;
        }
        let mut delta = delta;
        // What the source did before it was first answered moves along, unless it was joined to others.
        if kept
            && silent_key.source.prefix_len() == silent_key.source.max_prefix_len()
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

    /// A server of a class of rows: it has rows of its own from now on, unless too many have.
    pub fn meet(&self, server: IpAddr, kept: bool) {
        let mut known = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut known[usize::from(kept)][usize::from(server.is_ipv6())];
        if known.len() < self.most_servers(kept) {
            known.insert(server);
        }
    }

    /// Under which address a server's rows stand, of sources that never got a response and of the others: its own, while
    /// there are not too many.
    fn servers_of_rows(&self, server: IpAddr) -> [IpAddr; 2] {
        let family = usize::from(server.is_ipv6());
        let known = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        [false, true].map(|kept| {
            let known = &known[usize::from(kept)][family];
            let own = known.len() < self.most_servers(kept) || known.contains(&server);
            if own { server } else { OTHER_SERVERS[family] }
        })
    }

    /// Notes that a server has a row, as itself or as one of the others.
    fn note_server(&self, kept: bool, server: IpAddr, shown: IpAddr) {
        if server == shown {
            self.meet(server, kept);
        } else {
            self.servers_joined.store(true, Ordering::Relaxed);
        }
    }

    /// True when so many more rows, by kept (1) or not (0) and IPv6 (1) or IPv4 (0), would not be too many for any to be
    /// joined.
    pub fn have_room(&self, more: [[usize; 2]; 2]) -> bool {
        let held = self.held.as_flattened().iter().map(|held| held.load(Ordering::Relaxed));
        let budgets = self.budgets.iter().flat_map(|budget| [*budget; 2]);
        held.zip(more.as_flattened()).zip(budgets).all(|((held, more), budget)| held + more <= budget)
    }

    /// Takes everything that sources did at servers, once for each two, where nothing was folded before and nothing will
    /// be: source, server, what it did, and whether the source is listed. There is room for at most `count`. Many rows
    /// that nobody will look up are much faster put one behind another than into places of a map.
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
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins rows of a class and family until they are no more than allowed.
    fn keep_budget(&self, class: usize, family: usize) {
        let are_too_many = || {
            self.held[class][family].load(Ordering::Relaxed) > self.budgets[class]
                && self.lengths[class][family].load(Ordering::Relaxed) > 0
        };
        if !are_too_many() {
            return;
        }
        let _alone = self.joining.write().unwrap_or_else(PoisonError::into_inner);
        // Another may have joined them meanwhile.
        if are_too_many() {
            let mut keys = self.keys(class, family);
            let length = fitting_length(&mut keys, self.budgets[class]);
            self.join(class, family, length, &keys);
        }
    }

    /// Frames kept of a row. Of sources that were joined they are few: there are as many rows as may be, and everybody in one
    /// adds to them.
    fn frames_of(&self, key: &SourceKey) -> usize {
        let whole = key.source.prefix_len() == key.source.max_prefix_len();
        if whole { self.frames } else { self.frames.min(FRAMES_JOINED) }
    }

    /// Keys of the rows of a class and family, in memory that is used again.
    fn keys(&self, class: usize, family: usize) -> MutexGuard<'_, Vec<SourceKey>> {
        let of_class =
            |key: &SourceKey| usize::from(key.kept) == class && usize::from(key.source.addr().is_ipv6()) == family;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Joins the rows of a class and family, which have these keys, by prefixes of a length.
    fn join(&self, class: usize, family: usize, length: u8, keys: &[SourceKey]) {
        self.lengths[class][family].store(length, Ordering::Relaxed);
        self.held[class][family].store(0, Ordering::Relaxed);
        // A sum goes in as soon as the next one begins: it is shorter than what is still to be taken out.
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
        let mut rows = std::mem::take(&mut *self.whole());
        rows.reserve_exact(self.rows.len());
        self.rows.retain(|key, row| {
            rows.push((*key, std::mem::take(row)));
            false
        });
        self.rows.shrink_to_fit();
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Takes every row out, in order of its key, and begins anew with whole addresses.
    pub fn take_sorted(&self) -> Vec<(SourceKey, SourceRow)> {
        let rows = self.drain_sorted();
        for class in 0..2 {
            for (family, whole) in [(0, 32), (1, 128)] {
                self.held[class][family].store(0, Ordering::Relaxed);
                self.lengths[class][family].store(whole, Ordering::Relaxed);
            }
        }
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
        self.servers_joined.store(false, Ordering::Relaxed);
        rows
    }

    /// A copy of every row, in order of its key.
    pub fn copy_sorted(&self) -> Vec<(SourceKey, SourceRow)> {
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
            // Joined there, and so here.
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

    /// Calls back for every row, in no order; a source may have two rows at a server, one of them kept.
    pub fn each(&self, mut on_row: impl FnMut(&SourceKey, &SourceRow)) {
        self.whole().iter().for_each(|(key, row)| on_row(key, row));
        self.rows.iter().for_each(|row| on_row(row.key(), row.value()));
    }

    /// What was joined so far.
    pub fn joined(&self) -> Joined {
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

/// The longest prefix length at which the sources are no more than `most` prefixes, each server's counted for itself; 0 where
/// there is none. Sorts the keys so that those that will have one prefix stand together.
fn fitting_length(keys: &mut [SourceKey], most: usize) -> u8 {
    keys.sort_unstable_by_key(|key| (key.server, key.source.addr()));
    let bits = |key: &SourceKey| match key.source.addr() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    // Of how many neighbours the first different bit is this one (from 1), and how many are told apart by their servers.
    let (mut differing, mut count) = ([0; 129], usize::from(!keys.is_empty()));
    for pair in keys.windows(2) {
        if pair[0].server == pair[1].server {
            differing[((bits(&pair[0]) ^ bits(&pair[1])).leading_zeros() as usize + 1).min(128)] += 1;
        } else {
            count += 1;
        }
    }
    let fits = |bit: &u8| {
        count += differing[usize::from(*bit)];
        count <= most
    };
    (1..=128).take_while(fits).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Timestamp;
    use crate::config::Outcome;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn silent(queries: u64) -> SourceRow {
        let mut row = SourceRow::default();
        row.queries = queries;
        row.add_outcome(Outcome::Unanswered, queries);
        row
    }

    fn heard() -> SourceRow {
        let mut row = SourceRow::default();
        row.queries = 1;
        row.add_outcome(Outcome::Refused, 1);
        row
    }

    #[test]
    fn rows_of_many_keep_few_frames_in_whatever_order_they_come() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let rows_of = |rounds: &[u32]| {
            let sources = Sources::new(4, 4, 20);
            for round in rounds {
                for address in 0..64u32 {
                    let mut row = heard();
                    let frame = u64::from(round * 64 + address);
                    (frame..frame + 6).for_each(|frame| {
                        row.refusals_mut().note(Timestamp(1), FrameRef { input: 0, frame: frame * 7 % 500 }, 20);
                    });
                    sources.fold(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + address * 5)), server, row, false);
                }
            }
            sources.drain_sorted()
        };
        let forward = rows_of(&[0, 1, 2]);
        assert!(forward.len() <= 4);
        assert!(forward.iter().all(|(_, row)| row.refusals().frames.len() == FRAMES_JOINED));
        assert_eq!(forward.iter().map(|(_, row)| row.refusals().count).sum::<u64>(), 192);
        assert_eq!(forward, rows_of(&[2, 0, 1]));
    }

    #[test]
    fn joining_does_not_depend_on_order_and_loses_nothing() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let addresses: Vec<u32> = (0..1000u32).map(|n| 0x0b00_0000 + n * 7).collect();
        let rows_of = |order: &[u32]| {
            let sources = Sources::new(100, 16, 4);
            for address in order {
                sources.fold(IpAddr::V4(Ipv4Addr::from(*address)), server, silent(2), false);
            }
            sources.fold(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 45)), server, heard(), false);
            sources.drain_sorted()
        };
        let forward = rows_of(&addresses);
        let mut shuffled = addresses.clone();
        shuffled.reverse();
        shuffled.rotate_left(333);
        assert_eq!(forward, rows_of(&shuffled));
        assert_eq!(forward.iter().map(|(_, row)| row.queries).sum::<u64>(), 2001);
        // 7000 addresses from 11.0.0.0: /23 gives 14 prefixes, /24 would give 28.
        let lengths: Vec<u8> =
            forward.iter().filter(|(key, _)| !key.kept).map(|(key, _)| key.source.prefix_len()).collect();
        assert_eq!(lengths, vec![23; 14]);
        assert!(forward.iter().any(|(key, row)| key.kept && row.count(Outcome::Refused) == 1));
    }

    proptest! {
        #[test]
        fn the_length_that_fits_is_the_longest_that_does(
            sources in proptest::collection::btree_set((any::<bool>(), 0u32..4, 0u128..1 << 12, 0u32..116), 0..60),
            most in 0usize..40,
        ) {
            for v6 in [false, true] {
                let mut keys: Vec<SourceKey> = sources.iter().filter(|source| source.0 == v6).map(|(_, server, bits, shift)| {
                    let source: IpAddr = if v6 {
                        Ipv6Addr::from_bits(bits << shift).into()
                    } else {
                        Ipv4Addr::from_bits((bits << (shift % 20)) as u32).into()
                    };
                    SourceKey { source: source.into(), server: Ipv4Addr::from_bits(*server).into(), kept: true }
                }).collect();
                keys.sort_unstable();
                keys.dedup();
                let prefixes = |length: u8| {
                    let joined = |key: &SourceKey| (key.server, IpNet::new(key.source.addr(), length).unwrap().trunc());
                    keys.iter().map(joined).collect::<BTreeSet<_>>().len()
                };
                let whole = if v6 { 128 } else { 32 };
                let expected = (0..=whole).rev().find(|length| prefixes(*length) <= most).unwrap_or(0);
                let found = fitting_length(&mut keys.clone(), most).min(whole);
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn too_many_servers_take_no_source_its_row() {
        let (client, resolver) = (IpAddr::from([198, 51, 100, 3]), IpAddr::from([10, 0, 0, 53]));
        let sources = Sources::new(100, 16, 4);
        sources.fold(client, resolver, heard(), true);
        let servers = (0..1000u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n * 7)));
        servers.clone().for_each(|server| sources.fold(resolver, server, heard(), false));
        servers.for_each(|server| sources.fold(resolver, server, silent(1), false));
        sources.fold(client, resolver, heard(), true);
        let joined = sources.joined();
        assert!(joined.servers && joined.lengths.is_empty(), "{joined:?}");
        let rows = sources.drain_sorted();
        assert_eq!(rows.len(), 50 + 1);
        assert_eq!(rows.iter().map(|(_, row)| row.count(Outcome::Refused)).sum::<u64>(), 1002);
        assert_eq!(rows.iter().map(|(_, row)| row.queries).sum::<u64>(), 2002);
        let of = |source: IpAddr, server| {
            let row = rows.iter().find(|(key, _)| (key.source, key.server) == (source.into(), server));
            row.map(|(_, row)| row.count(Outcome::Refused))
        };
        assert_eq!(of(client, resolver), Some(2));
        assert_eq!(of(resolver, OTHER_SERVERS[0]), Some(951));
        // One that was declared has rows of its own, whenever it is met.
        let sources = Sources::new(100, 16, 4);
        sources.meet(resolver, true);
        (0..1000u32).for_each(|n| {
            sources.fold(client, IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)), heard(), false);
        });
        sources.fold(client, resolver, heard(), true);
        assert!(sources.drain_sorted().iter().any(|(key, _)| key.server == resolver));
    }

    #[test]
    fn a_source_that_was_only_seen_has_a_row_and_no_messages() {
        let (server, source) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)));
        let sources = Sources::new(8, 8, 4);
        let mut glimpsed = Span::default();
        for time in [7, 3, 5] {
            glimpsed.note(Timestamp(time));
        }
        let seen = SourceRow::of_few(glimpsed, None, None);
        assert!(seen.only_glimpsed() && !seen.heard());
        assert_eq!((seen.first(), seen.last()), (Some(Timestamp(3)), Some(Timestamp(7))));
        sources.fold(source, server, seen, false);
        let mut asked = silent(1);
        asked.seen(Timestamp(4));
        sources.fold(source, server, asked, false);
        let (_, row) = sources.drain_sorted().remove(0);
        assert_eq!((row.only_glimpsed(), row.first(), row.last()), (false, Some(Timestamp(4)), Some(Timestamp(4))));
    }

    #[test]
    fn joined_sources_are_counted_as_few_as_they_can_be() {
        let count = |all: &[&str]| count_sources(all.iter().map(|source| source.parse().unwrap()));
        assert_eq!(count(&[]), (0, false));
        assert_eq!(count(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.1/32"]), (2, false));
        assert_eq!(count(&["10.0.0.0/24", "10.0.0.0/32", "10.0.0.7/32", "10.0.1.0/24"]), (3, true));
        assert_eq!(count(&["10.0.0.0/8", "10.0.0.0/24", "2001:db8::/32"]), (2, true));
    }

    #[test]
    fn a_source_that_is_answered_later_keeps_one_row() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let source = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));
        let sources = Sources::new(8, 8, 4);
        for delta in [silent(3), heard(), silent(1)] {
            sources.fold(source, server, delta, false);
        }
        let rows = sources.drain_sorted();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].1.queries, rows[0].1.count(Outcome::Unanswered), rows[0].0.kept), (5, 4, true));
    }

    /// Sources that never got a response, by the length of their rows.
    fn silent_lengths(sources: &Sources) -> BTreeSet<u8> {
        let rows = sources.copy_sorted().into_iter().filter(|(key, _)| !key.kept);
        rows.map(|(key, _)| key.source.prefix_len()).collect()
    }

    #[test]
    fn rows_taken_in_are_joined_like_those_that_are_there() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let (whole, part) = (Sources::new(100, 16, 4), Sources::new(100, 16, 4));
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number * 7));
        (0..1000).for_each(|number| part.fold(address(number), server, silent(1), false));
        whole.absorb(part.take_sorted());
        part.fold(address(0), server, silent(1), false);
        whole.absorb(part.take_sorted());
        assert_eq!(silent_lengths(&whole).len(), 1, "a whole address to joined rows");
        let other = Sources::new(100, 16, 4);
        other.fold(address(0), server, silent(1), false);
        other.absorb(whole.copy_sorted());
        assert_eq!(silent_lengths(&other), silent_lengths(&whole), "joined rows to a whole address");
    }

    #[test]
    fn rows_taken_in_keep_to_the_budget_however_many_servers_there_are() {
        let (sources, part) = (Sources::new(100, 16, 4), Sources::new(100, 16, 4));
        for round in 0..50u32 {
            for number in 0..40u32 {
                let server = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + round * 1000 + number));
                part.fold(IpAddr::from([198, 51, 100, (number % 7) as u8]), server, heard(), false);
            }
            sources.absorb(part.take_sorted());
        }
        let queries: u64 = sources.copy_sorted().iter().map(|(_, row)| row.queries).sum();
        assert_eq!(queries, 2000);
        assert!(sources.copy_sorted().len() <= 100 && sources.joined().servers);
    }

    #[test]
    fn whoever_folds_at_the_same_time_all_rows_have_one_length() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        for _ in 0..300 {
            let sources = Sources::new(1000, 16, 4);
            std::thread::scope(|scope| {
                for thread in 0..4u32 {
                    let sources = &sources;
                    scope.spawn(move || {
                        for number in 0..16 {
                            let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + thread * 16 + number));
                            sources.fold(address, server, silent(1), false);
                        }
                    });
                }
            });
            assert_eq!(silent_lengths(&sources).len(), 1);
            assert_eq!(sources.held[0][0].load(Ordering::Relaxed), sources.copy_sorted().len());
        }
    }
}
