//! Transactions folded into per-source rows: the shared live view ([`Sources`]), the only place with a DashMap.
//!
//! Rows of sources that received a response, or that an inventory lists, have a budget of their own; sources that never
//! got one have another. When a budget is full its rows are joined by ever shorter prefixes, the same length for all of
//! a family, so that the result depends on the set of sources and not on their order; nothing is dropped.

use crate::capture::Timestamp;
use crate::config::Outcome;
use dashmap::DashMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRef {
    /// Index of the input in reading order.
    pub input: u32,
    /// 1-based frame number, as Wireshark counts.
    pub frame: u64,
}

/// What one source did at one server. `queries` counts messages, everything else transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// Query messages, retransmissions and copies included.
    pub queries: u64,
    /// Transactions by outcome, indexed by `Outcome as usize`; `unsolicited` counts responses without a query.
    pub outcomes: [u64; 7],
    /// REFUSED responses without a query, part of `unsolicited`.
    pub refused_unsolicited: u64,
    /// Transactions over UDP.
    pub udp: u64,
    /// Transactions over TCP.
    pub tcp: u64,
    /// First packet of a message from or to the source.
    pub first: Option<Timestamp>,
    /// Last packet of a message from or to the source.
    pub last: Option<Timestamp>,
    /// First query that was refused.
    pub refused_first: Option<Timestamp>,
    /// Last query that was refused.
    pub refused_last: Option<Timestamp>,
    /// First query that was answered.
    pub answered_first: Option<Timestamp>,
    /// Last query that was answered.
    pub answered_last: Option<Timestamp>,
    /// Responses to the first refused transactions, bounded by `Limits::finding_frames`.
    pub refused_frames: Vec<FrameRef>,
    /// The first answered transactions' responses, bounded likewise.
    pub answered_frames: Vec<FrameRef>,
}

impl SourceRow {
    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// The source received something from the server: a response, or the end of its TCP connection.
    pub fn heard(&self) -> bool {
        [Outcome::Answered, Outcome::Refused, Outcome::Denied, Outcome::TcpRejected, Outcome::Unsolicited]
            .iter()
            .any(|outcome| self.count(*outcome) > 0)
    }

    /// Notes the time of a message.
    #[inline]
    pub fn seen(&mut self, time: Timestamp) {
        self.first = earlier(self.first, Some(time));
        self.last = self.last.max(Some(time));
    }

    /// Adds another row to this one; at most `frames` frames of each kind are kept.
    pub fn add(&mut self, other: &SourceRow, frames: usize) {
        self.queries += other.queries;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, count)| *sum += count);
        self.refused_unsolicited += other.refused_unsolicited;
        self.udp += other.udp;
        self.tcp += other.tcp;
        self.first = earlier(self.first, other.first);
        self.last = self.last.max(other.last);
        self.refused_first = earlier(self.refused_first, other.refused_first);
        self.refused_last = self.refused_last.max(other.refused_last);
        self.answered_first = earlier(self.answered_first, other.answered_first);
        self.answered_last = self.answered_last.max(other.answered_last);
        merge_frames(&mut self.refused_frames, &other.refused_frames, frames);
        merge_frames(&mut self.answered_frames, &other.answered_frames, frames);
    }
}

/// The earlier of two times, of which either may be unknown.
fn earlier(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

/// Keeps the lowest `most` frames of both lists.
fn merge_frames(into: &mut Vec<FrameRef>, from: &[FrameRef], most: usize) {
    if !from.is_empty() {
        into.extend_from_slice(from);
        into.sort_unstable();
        into.dedup();
        into.truncate(most);
    }
}

/// Key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// The source, or the prefix it was joined to.
    pub source: IpNet,
    /// The server.
    pub server: IpAddr,
    /// It received something, or is listed.
    pub kept: bool,
}

/// Every per-source row.
#[derive(Debug)]
pub struct Sources {
    rows: DashMap<SourceKey, SourceRow>,
    /// Most rows of kept sources and of those that never got a response.
    budgets: [usize; 2],
    /// Rows held, by kept (1) or not (0) and IPv6 (1) or IPv4 (0).
    held: [[AtomicUsize; 2]; 2],
    /// Prefix length rows are joined to, likewise.
    lengths: [[AtomicU8; 2]; 2],
    frames: usize,
}

impl Sources {
    /// No rows yet; `frames` frames are kept per row and kind.
    pub fn new(kept_rows: usize, silent_rows: usize, frames: usize) -> Self {
        Self {
            rows: DashMap::new(),
            budgets: [silent_rows, kept_rows],
            held: Default::default(),
            lengths: [[AtomicU8::new(32), AtomicU8::new(128)], [AtomicU8::new(32), AtomicU8::new(128)]],
            frames,
        }
    }

    /// Adds what a source did since it was last folded; `listed` sources are kept like those that were heard.
    pub fn fold(&self, source: IpAddr, server: IpAddr, delta: &SourceRow, listed: bool) {
        let family = usize::from(source.is_ipv6());
        let key = |kept: bool| {
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
            row.add(delta, self.frames);
            return;
        }
        let mut first = SourceRow::default();
        // What the source did before it was first answered moves along, unless it was joined to others.
        if kept
            && silent_key.source.prefix_len() == silent_key.source.max_prefix_len()
            && let Some((_, before)) = self.rows.remove(&silent_key)
        {
            self.held[0][family].fetch_sub(1, Ordering::Relaxed);
            first = before;
        }
        first.add(delta, self.frames);
        self.insert(if kept { kept_key } else { silent_key }, &first);
        let class = usize::from(kept);
        while self.held[class][family].load(Ordering::Relaxed) > self.budgets[class]
            && self.lengths[class][family].load(Ordering::Relaxed) > 0
        {
            self.shorten(class, family);
        }
    }

    fn insert(&self, key: SourceKey, row: &SourceRow) {
        let mut new = false;
        self.rows
            .entry(key)
            .or_insert_with(|| {
                new = true;
                SourceRow::default()
            })
            .add(row, self.frames);
        if new {
            self.held[usize::from(key.kept)][usize::from(key.source.addr().is_ipv6())].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Joins the rows of a class and family by a prefix one bit shorter.
    fn shorten(&self, class: usize, family: usize) {
        let length = self.lengths[class][family].fetch_sub(1, Ordering::Relaxed) - 1;
        let of_class =
            |key: &SourceKey| usize::from(key.kept) == class && usize::from(key.source.addr().is_ipv6()) == family;
        let keys: Vec<SourceKey> = self.rows.iter().map(|row| *row.key()).filter(of_class).collect();
        self.held[class][family].store(0, Ordering::Relaxed);
        let mut rows: Vec<(SourceKey, SourceRow)> = keys.iter().filter_map(|key| self.rows.remove(key)).collect();
        for (key, row) in rows.drain(..) {
            let source = IpNet::new(key.source.addr(), length).unwrap_or(key.source).trunc();
            self.insert(SourceKey { source, ..key }, &row);
        }
    }

    /// Every row, in order of its key.
    pub fn sorted(&self) -> Vec<(SourceKey, SourceRow)> {
        let mut rows: Vec<_> = self.rows.iter().map(|row| (*row.key(), row.value().clone())).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// The prefix lengths that rows were joined to: `(kept, IPv6, length)` where it is shorter than an address.
    pub fn joined(&self) -> Vec<(bool, bool, u8)> {
        let mut joined = Vec::new();
        for (kept, lengths) in [(false, &self.lengths[0]), (true, &self.lengths[1])] {
            for (v6, length) in [(false, &lengths[0]), (true, &lengths[1])] {
                let length = length.load(Ordering::Relaxed);
                if length < if v6 { 128 } else { 32 } {
                    joined.push((kept, v6, length));
                }
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn silent(queries: u64) -> SourceRow {
        let mut row = SourceRow { queries, ..SourceRow::default() };
        row.outcomes[Outcome::Unanswered as usize] = queries;
        row
    }

    fn heard() -> SourceRow {
        let mut row = SourceRow { queries: 1, ..SourceRow::default() };
        row.outcomes[Outcome::Refused as usize] = 1;
        row
    }

    #[test]
    fn joining_does_not_depend_on_order_and_loses_nothing() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let addresses: Vec<u32> = (0..1000u32).map(|n| 0x0b00_0000 + n * 7).collect();
        let rows_of = |order: &[u32]| {
            let sources = Sources::new(100, 16, 4);
            for address in order {
                sources.fold(IpAddr::V4(Ipv4Addr::from(*address)), server, &silent(2), false);
            }
            sources.fold(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 45)), server, &heard(), false);
            sources.sorted()
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

    #[test]
    fn a_source_that_is_answered_later_keeps_one_row() {
        let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
        let source = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));
        let sources = Sources::new(8, 8, 4);
        for delta in [silent(3), heard(), silent(1)] {
            sources.fold(source, server, &delta, false);
        }
        let rows = sources.sorted();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].1.queries, rows[0].1.count(Outcome::Unanswered), rows[0].0.kept), (5, 4, true));
    }
}
