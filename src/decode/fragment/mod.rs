//! Reassembles IP fragments, in capture order, into datagrams ([`Fragments::push`]; RFC 791, RFC 8200 section 4.5, RFC
//! 5722).
//!
//! Where a fragment was seen does not matter: fragments of one datagram may pass different points of the capture, and
//! the same fragment may pass several. Contradictory fragments are dropped with their whole datagram, because nobody
//! can know which of them the receiver used; IPv6 forbids any overlap except exact repetition. Every fragment ends in
//! one bucket; memory is bounded by the number of datagrams, by bytes and by age.

use super::ip::FragmentHeader;
use super::key::Key;
use super::{Bucket, Ends, Tally};
use crate::capture::Timestamp;
use crate::config::COPY_WINDOW;
use hashbrown::HashTable;
use std::collections::{BTreeMap, VecDeque};

/// Caps, from `config::Limits`.
#[derive(Debug, Clone, Copy)]
pub struct FragmentLimits {
    /// Datagrams held.
    pub sets: usize,
    /// Bytes held, including bookkeeping.
    pub bytes: usize,
    /// Nanoseconds of capture time after which an incomplete datagram is given up.
    pub age: i64,
}

/// Most bytes of a datagram.
const MAX_DATAGRAM: u32 = 65_535;
/// Bookkeeping bytes per fragment held, besides its data.
const PIECE_COST: usize = 48;
/// Further fragments of a contradictory datagram are expected for this long (nanoseconds); later the identification may
/// belong to another datagram.
const CONFLICT_MEMORY: i64 = 1_000_000_000;
/// Complete datagrams remembered to recognise copies of their fragments.
const MAX_COMPLETE: usize = 1024;
/// Index that means no set.
const NONE: u32 = u32::MAX;

/// What the fragments of one datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SetKey {
    ends: Ends,
    /// In IPv4 only; in IPv6 the first fragment decides.
    protocol: u8,
    id: u32,
}

/// State of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On the free list.
    Free,
    /// Fragments are missing.
    Open,
    /// Complete; its bytes are kept for a moment to recognise copies of its fragments.
    Complete,
    /// Its fragments contradict each other.
    Conflict,
}

/// A fragment, by the range of its bytes in [`Set::data`].
#[derive(Debug, Clone, Copy)]
struct Piece {
    len: u32,
    at: u32,
}

/// The fragments of one datagram.
#[derive(Debug)]
struct Set {
    key: SetKey,
    hash: u64,
    /// Distinguishes this use of the slot from earlier ones.
    serial: u64,
    state: State,
    /// Time of the first fragment; for a complete or contradictory datagram, when it became so.
    since: Timestamp,
    /// Fragments by offset; they do not overlap.
    pieces: BTreeMap<u32, Piece>,
    /// Bytes in order of arrival; of a complete datagram, in their own order.
    data: Vec<u8>,
    /// Number of bytes known.
    covered: u32,
    /// Length of the datagram, once the last fragment was seen.
    total: Option<u32>,
    /// Protocol that the first fragment names.
    protocol: u8,
    /// Frames that are not counted yet.
    frames: u64,
    newer: u32,
    older: u32,
}

/// Every datagram of which fragments were seen.
#[derive(Debug)]
pub struct Fragments {
    limits: FragmentLimits,
    table: HashTable<u32>,
    sets: Vec<Set>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    /// Open and contradictory sets, in the list from `oldest` to `newest`.
    listed: usize,
    complete: VecDeque<(u32, u64)>,
    held_bytes: usize,
    serial: u64,
    /// The datagram that the last push completed, if it did.
    pub whole: Vec<u8>,
}

/// How a fragment relates to its set.
enum Fit {
    /// It is all new, or these ranges of it are.
    New(Vec<(u32, u32)>),
    /// Nothing of it is new.
    Duplicate,
    /// It contradicts what is known.
    Conflict,
}

impl Fragments {
    /// An empty table.
    pub fn new(limits: FragmentLimits) -> Self {
        Self {
            limits,
            table: HashTable::new(),
            sets: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            listed: 0,
            complete: VecDeque::new(),
            held_bytes: 0,
            serial: 0,
            whole: Vec::new(),
        }
    }

    /// Takes a fragment. When it completes its datagram, `whole` holds the datagram and its protocol is returned; the
    /// caller then counts the fragment as what the datagram is. All others are counted in `tally`, now or when the fate
    /// of their datagram is known.
    #[allow(clippy::too_many_arguments)]
    pub fn push(
        &mut self,
        key: &Key,
        time: Timestamp,
        ends: Ends,
        protocol: u8,
        header: FragmentHeader,
        data: &[u8],
        tally: &mut Tally,
    ) -> Option<u8> {
        let len = data.len() as u32;
        if len == 0 || (header.more && !len.is_multiple_of(8)) || header.offset + len > MAX_DATAGRAM {
            tally.count(Bucket::FragmentMalformed);
            return None;
        }
        self.expire(time, tally);
        let set_key = SetKey { ends, protocol: if ends.is_v6() { 0 } else { protocol }, id: header.id };
        let hash = key.numbers([[ends.hash(key), u64::from(set_key.protocol) << 32 | u64::from(header.id)]]);
        let known = self.table.find(hash, |index| self.sets[*index as usize].key == set_key).copied();
        let index = match known {
            Some(index) => match self.look(index, time, &header, data) {
                Some(State::Open) => index,
                Some(State::Complete) => {
                    tally.count(Bucket::FragmentDuplicate);
                    return None;
                }
                Some(_) => {
                    tally.count(Bucket::FragmentConflict);
                    return None;
                }
                None => {
                    self.discard(index, Bucket::FragmentExpired, tally);
                    self.open(set_key, hash, time, tally)
                }
            },
            None => self.open(set_key, hash, time, tally),
        };
        let set = &mut self.sets[index as usize];
        set.frames += 1;
        match set.fit(&header, data) {
            Fit::Duplicate => {
                set.frames -= 1;
                tally.count(Bucket::FragmentDuplicate);
                None
            }
            Fit::Conflict => {
                self.contradict(index, time, tally);
                None
            }
            Fit::New(ranges) => {
                if !header.more {
                    set.total = Some(header.offset + len);
                }
                if header.offset == 0 {
                    set.protocol = protocol;
                }
                self.add(index, &header, data, &ranges, tally);
                self.finish_if_complete(index, time, tally)
            }
        }
    }

    /// The end of the capture: what is incomplete stays so.
    pub fn finish(&mut self, tally: &mut Tally) {
        while self.oldest != NONE {
            self.discard(self.oldest, Bucket::FragmentIncomplete, tally);
        }
    }

    /// Takes a fragment of a known set: as the set's state says, or not at all when the set is about an earlier
    /// datagram.
    fn look(&self, index: u32, time: Timestamp, header: &FragmentHeader, data: &[u8]) -> Option<State> {
        let set = &self.sets[index as usize];
        let age = time.0.saturating_sub(set.since.0);
        let fits = match set.state {
            State::Open => age <= self.limits.age,
            State::Conflict => age <= CONFLICT_MEMORY,
            State::Complete => {
                let (start, end) = (header.offset as usize, header.offset as usize + data.len());
                let is_last = end == set.data.len();
                age.abs() <= COPY_WINDOW && is_last != header.more && set.data.get(start..end) == Some(data)
            }
            State::Free => false,
        };
        fits.then_some(set.state)
    }

    /// Starts a set for a new datagram.
    fn open(&mut self, key: SetKey, hash: u64, time: Timestamp, tally: &mut Tally) -> u32 {
        if self.listed >= self.limits.sets {
            self.discard(self.oldest, Bucket::FragmentEvicted, tally);
        }
        self.serial += 1;
        let set = Set {
            key,
            hash,
            serial: self.serial,
            state: State::Open,
            since: time,
            pieces: BTreeMap::new(),
            data: Vec::new(),
            covered: 0,
            total: None,
            protocol: key.protocol,
            frames: 0,
            newer: NONE,
            older: NONE,
        };
        let index = if let Some(index) = self.free.pop() {
            self.sets[index as usize] = set;
            index
        } else {
            self.sets.push(set);
            self.sets.len() as u32 - 1
        };
        self.table.insert_unique(hash, index, |index| self.sets[*index as usize].hash);
        self.link(index);
        index
    }

    /// Stores the new ranges of a fragment. Other datagrams make room for it, the oldest first, and finally its own.
    fn add(&mut self, index: u32, header: &FragmentHeader, data: &[u8], ranges: &[(u32, u32)], tally: &mut Tally) {
        let needed: usize = ranges.iter().map(|(start, end)| (end - start) as usize + PIECE_COST).sum();
        while self.held_bytes + needed > self.limits.bytes {
            if let Some((complete, serial)) = self.complete.pop_front() {
                self.forget_complete(complete, serial, tally);
                continue;
            }
            let oldest = self.oldest;
            let own = oldest == index;
            if own && self.newest != index {
                // Its own set comes last.
                self.unlink(index);
                self.link(index);
                continue;
            }
            self.discard(oldest, Bucket::FragmentEvicted, tally);
            if own {
                return;
            }
        }
        self.held_bytes += needed;
        let set = &mut self.sets[index as usize];
        for (start, end) in ranges {
            let at = set.data.len() as u32;
            let (from, to) = ((start - header.offset) as usize, (end - header.offset) as usize);
            set.data.extend_from_slice(&data[from..to]);
            set.pieces.insert(*start, Piece { len: end - start, at });
            set.covered += end - start;
        }
    }

    /// Reassembles a datagram when nothing is missing.
    fn finish_if_complete(&mut self, index: u32, time: Timestamp, tally: &mut Tally) -> Option<u8> {
        let set = &mut self.sets[index as usize];
        if set.state != State::Open || set.total != Some(set.covered) {
            return None;
        }
        self.whole.clear();
        for piece in set.pieces.values() {
            self.whole.extend_from_slice(&set.data[piece.at as usize..(piece.at + piece.len) as usize]);
        }
        for _ in 1..std::mem::take(&mut set.frames) {
            tally.count(Bucket::FragmentUsed);
        }
        self.held_bytes -= set.pieces.len() * PIECE_COST;
        set.pieces.clear();
        set.data.clone_from(&self.whole);
        set.state = State::Complete;
        set.since = time;
        let (protocol, serial) = (set.protocol, set.serial);
        self.unlink(index);
        if self.complete.len() >= MAX_COMPLETE
            && let Some((oldest, serial)) = self.complete.pop_front()
        {
            self.forget_complete(oldest, serial, tally);
        }
        self.complete.push_back((index, serial));
        Some(protocol)
    }

    /// Fragments of a datagram contradict each other: none of it is used.
    fn contradict(&mut self, index: u32, time: Timestamp, tally: &mut Tally) {
        self.held_bytes -= self.sets[index as usize].cost();
        let set = &mut self.sets[index as usize];
        for _ in 0..std::mem::take(&mut set.frames) {
            tally.count(Bucket::FragmentConflict);
        }
        set.pieces = BTreeMap::new();
        set.data = Vec::new();
        set.state = State::Conflict;
        set.since = time;
        self.unlink(index);
        self.link(index);
    }

    /// Gives up datagrams that are too old.
    fn expire(&mut self, time: Timestamp, tally: &mut Tally) {
        while self.oldest != NONE {
            let set = &self.sets[self.oldest as usize];
            if time.0.saturating_sub(set.since.0) <= self.limits.age {
                break;
            }
            self.discard(self.oldest, Bucket::FragmentExpired, tally);
        }
        while let Some((index, serial)) = self.complete.front().copied() {
            let set = &self.sets[index as usize];
            if set.serial == serial && time.0.saturating_sub(set.since.0) <= COPY_WINDOW {
                break;
            }
            self.complete.pop_front();
            self.forget_complete(index, serial, tally);
        }
    }

    /// Forgets a complete datagram, unless its slot was reused meanwhile.
    fn forget_complete(&mut self, index: u32, serial: u64, tally: &mut Tally) {
        let set = &self.sets[index as usize];
        if set.serial == serial && set.state == State::Complete {
            self.discard(index, Bucket::FragmentUsed, tally);
        }
    }

    /// Frees a set; frames that were not counted yet end in `bucket`.
    fn discard(&mut self, index: u32, bucket: Bucket, tally: &mut Tally) {
        if self.sets[index as usize].state != State::Complete {
            self.unlink(index);
        }
        let set = &mut self.sets[index as usize];
        self.held_bytes -= set.cost();
        for _ in 0..std::mem::take(&mut set.frames) {
            tally.count(bucket);
        }
        set.pieces = BTreeMap::new();
        set.data = Vec::new();
        set.state = State::Free;
        let hash = set.hash;
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
    }

    fn link(&mut self, index: u32) {
        self.sets[index as usize].newer = NONE;
        self.sets[index as usize].older = self.newest;
        match self.newest {
            NONE => self.oldest = index,
            newest => self.sets[newest as usize].newer = index,
        }
        self.newest = index;
        self.listed += 1;
    }

    fn unlink(&mut self, index: u32) {
        let (newer, older) = (self.sets[index as usize].newer, self.sets[index as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.sets[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.sets[older as usize].newer = newer,
        }
        self.listed -= 1;
    }
}

impl Set {
    /// Bytes that its fragments take.
    fn cost(&self) -> usize {
        self.data.len() + self.pieces.len() * PIECE_COST
    }

    /// Compares a fragment with what is known, and finds what of it is new.
    fn fit(&self, header: &FragmentHeader, data: &[u8]) -> Fit {
        let (start, end) = (header.offset, header.offset + data.len() as u32);
        let known_end = self.pieces.last_key_value().map_or(0, |(at, piece)| at + piece.len);
        let contradicts_end = match self.total {
            Some(total) if header.more => end >= total,
            Some(total) => end != total,
            None => !header.more && known_end > end,
        };
        if contradicts_end {
            return Fit::Conflict;
        }
        let before = self.pieces.range(..start).next_back().filter(|(at, piece)| *at + piece.len > start);
        let mut ranges = Vec::new();
        let mut next = start;
        for (at, piece) in before.into_iter().chain(self.pieces.range(start..end)) {
            let exact = *at == start && at + piece.len == end;
            if self.key.ends.is_v6() && !exact {
                return Fit::Conflict;
            }
            let (from, to) = ((*at).max(start), (at + piece.len).min(end));
            let known = &self.data[(piece.at + from - at) as usize..(piece.at + to - at) as usize];
            if known != &data[(from - start) as usize..(to - start) as usize] {
                return Fit::Conflict;
            }
            if from > next {
                ranges.push((next, from));
            }
            next = to;
        }
        if next < end {
            ranges.push((next, end));
        }
        if ranges.is_empty() { Fit::Duplicate } else { Fit::New(ranges) }
    }
}

#[cfg(test)]
mod tests;
