//! IP fragments, in capture order, to the datagrams they are parts of ([`Fragments::push`]; RFC 791, RFC 8200
//! section 4.5, RFC 5722).
//!
//! Where a fragment was seen does not matter: parts of one datagram may pass different points of the capture, and the
//! same part may pass several. Parts that contradict each other are dropped with their whole datagram, because nobody
//! can know which of them the receiver used; IPv6 forbids any overlap but exact repetition. Every fragment ends in one
//! bucket; memory is bounded by the number of datagrams, by bytes and by age.

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
    /// Bytes held, with what it costs to keep them in order.
    pub bytes: usize,
    /// Nanoseconds of capture time after which an incomplete datagram is given up.
    pub age: i64,
}

/// Most bytes of a datagram.
const MAX_DATAGRAM: u32 = 65_535;
/// What it costs to remember one part, beside its bytes.
const PIECE_COST: usize = 48;
/// Further parts of a contradictory datagram are expected for this long (nanoseconds); later its identification may
/// stand for another one.
const CONFLICT_MEMORY: i64 = 1_000_000_000;
/// Complete datagrams remembered to recognise copies of their parts.
const MAX_COMPLETE: usize = 1024;
/// No set.
const NONE: u32 = u32::MAX;

/// What the parts of one datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SetKey {
    ends: Ends,
    /// Of IPv4 only: in IPv6 the first part decides.
    protocol: u8,
    id: u32,
}

/// How far a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On the free list.
    Free,
    /// Parts are missing.
    Open,
    /// Put together; its bytes are kept for a moment to recognise copies of its parts.
    Complete,
    /// Its parts contradict each other.
    Conflict,
}

/// A part: where its bytes are in [`Set::data`].
#[derive(Debug, Clone, Copy)]
struct Piece {
    len: u32,
    at: u32,
}

/// The parts of one datagram.
#[derive(Debug)]
struct Set {
    key: SetKey,
    hash: u64,
    /// Tells this use of the slot from earlier ones.
    serial: u64,
    state: State,
    /// When the first part was seen; of a complete or contradictory datagram when it became that.
    since: Timestamp,
    /// Parts by their offset; they do not overlap.
    pieces: BTreeMap<u32, Piece>,
    /// Bytes in the order they came; of a complete datagram in their own order.
    data: Vec<u8>,
    /// Bytes known.
    covered: u32,
    /// Length of the datagram, when the last part has been seen.
    total: Option<u32>,
    /// Protocol that the first part names.
    protocol: u8,
    /// Frames not yet counted.
    frames: u64,
    newer: u32,
    older: u32,
}

/// Every datagram in parts.
#[derive(Debug)]
pub struct Fragments {
    limits: FragmentLimits,
    table: HashTable<u32>,
    sets: Vec<Set>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    /// Open and contradictory sets: those in the list from `oldest` to `newest`.
    listed: usize,
    complete: VecDeque<(u32, u64)>,
    held_bytes: usize,
    serial: u64,
    /// The datagram that the last push completed.
    pub whole: Vec<u8>,
}

/// What a part is to a set.
enum Fit {
    /// All of it is new, or these ranges of it are.
    New(Vec<(u32, u32)>),
    /// Nothing of it is new.
    Duplicate,
    /// It contradicts what is known.
    Conflict,
}

impl Fragments {
    /// No fragment yet.
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

    /// Takes a fragment. When it completes its datagram, `whole` holds that and the result is its protocol; then the
    /// fragment itself is counted by the caller, as what the datagram is. All others are counted in `tally`, now or
    /// when their datagram's fate is known.
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

    /// The capture ends: what is still incomplete stays so.
    pub fn finish(&mut self, tally: &mut Tally) {
        while self.oldest != NONE {
            self.discard(self.oldest, Bucket::FragmentIncomplete, tally);
        }
    }

    /// How a known set takes a fragment: as what the set is, or not at all because it stands for an earlier datagram.
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

    /// Begins a datagram.
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

    /// Keeps the new ranges of a fragment. Others make room for it, the oldest first, and at last its own datagram.
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
                // Its own turn comes when nothing else is left.
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

    /// Puts a datagram together when nothing is missing.
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

    /// A datagram's parts contradict each other: none of it is used.
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

    /// Gives up what is too old.
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

    /// Forgets a complete datagram, unless its slot stands for another one by now.
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
    /// What its parts cost.
    fn cost(&self) -> usize {
        self.data.len() + self.pieces.len() * PIECE_COST
    }

    /// Whether a fragment fits what is known, and what of it is new.
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
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    struct Rig {
        fragments: Fragments,
        tally: Tally,
        key: Key,
        pushed: u64,
        completed: u64,
        time: i64,
        v6: bool,
    }

    impl Rig {
        fn new(limits: FragmentLimits, v6: bool) -> Self {
            let fragments = Fragments::new(limits);
            Self { fragments, tally: Tally::default(), key: Key::random(), pushed: 0, completed: 0, time: 0, v6 }
        }

        fn push(&mut self, id: u32, offset: u32, more: bool, data: &[u8]) -> Option<Vec<u8>> {
            let ends = if self.v6 { Ends::v6([1; 16], [2; 16]) } else { Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]) };
            let header = FragmentHeader { id, offset, more };
            self.pushed += 1;
            self.time += 1000;
            let time = Timestamp(self.time);
            let done = self.fragments.push(&self.key, time, ends, 17, header, data, &mut self.tally);
            self.completed += u64::from(done.is_some());
            done.map(|protocol| {
                assert_eq!(protocol, 17);
                self.fragments.whole.clone()
            })
        }

        fn count(&self, bucket: Bucket) -> u64 {
            self.tally.buckets[bucket as usize]
        }

        /// Ends the capture and checks that every fragment was counted once.
        fn end(mut self) -> Self {
            self.fragments.finish(&mut self.tally);
            self.fragments.expire(Timestamp(i64::MAX), &mut self.tally);
            assert_eq!(self.tally.buckets.iter().sum::<u64>() + self.completed, self.pushed);
            assert_eq!((self.fragments.held_bytes, self.fragments.listed, self.fragments.table.len()), (0, 0, 0));
            self
        }
    }

    const LIMITS: FragmentLimits = FragmentLimits { sets: 8, bytes: 64 << 10, age: 30 * SECOND };

    fn datagram(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index * 7 + index / 256) as u8).collect()
    }

    /// The fragments of a datagram: offset, whether more follow, bytes.
    fn parts(data: &[u8], size: usize) -> Vec<(u32, bool, &[u8])> {
        let part = |(index, part)| ((index * size) as u32, index * size + size < data.len(), part);
        data.chunks(size).enumerate().map(part).collect()
    }

    #[test]
    fn any_size_and_order_of_parts_gives_the_datagram() {
        let data = datagram(1003);
        for v6 in [false, true] {
            for size in (8..1008).step_by(8) {
                let mut rig = Rig::new(LIMITS, v6);
                let mut all = parts(&data, size);
                if size % 16 == 0 {
                    all.reverse();
                }
                let count = all.len() as u64;
                let done: Vec<_> = all.iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).collect();
                assert_eq!(done, std::slice::from_ref(&data), "parts of {size} bytes");
                assert_eq!(rig.end().count(Bucket::FragmentUsed), count - 1);
            }
        }
    }

    #[test]
    fn the_same_part_at_another_point_is_a_duplicate() {
        let data = datagram(1003);
        for doubled in [true, false] {
            let mut rig = Rig::new(LIMITS, false);
            let mut all = parts(&data, 400);
            if doubled {
                all = all.iter().flat_map(|part| [*part, *part]).collect();
            } else {
                all = all.repeat(2);
            }
            let done = all.iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).count();
            assert_eq!(done, 1);
            let rig = rig.end();
            assert_eq!((rig.count(Bucket::FragmentUsed), rig.count(Bucket::FragmentDuplicate)), (2, 3));
        }
    }

    #[test]
    fn an_identification_stands_for_one_datagram_after_the_other() {
        let mut rig = Rig::new(LIMITS, false);
        let mut other = datagram(1003);
        for byte in &mut other {
            *byte ^= 0x55;
        }
        for data in [datagram(1003), other, datagram(1003)] {
            let done: Vec<_> =
                parts(&data, 400).iter().filter_map(|part| rig.push(7, part.0, part.1, part.2)).collect();
            assert_eq!(done, [data]);
        }
        assert_eq!(rig.end().count(Bucket::FragmentUsed), 6);
    }

    #[test]
    fn contradictions_cost_the_whole_datagram() {
        let data = datagram(1000);
        let other = vec![0xee; 400];
        for v6 in [false, true] {
            let mut rig = Rig::new(LIMITS, v6);
            assert_eq!(rig.push(7, 0, true, &data[..400]), None);
            assert_eq!(rig.push(7, 200, true, &other), None);
            assert_eq!(rig.push(7, 400, false, &data[400..]), None);
            // Much later the identification is used again.
            rig.time += 2 * SECOND;
            assert_eq!(rig.push(7, 0, true, &data[..400]), None);
            assert_eq!(rig.push(7, 400, false, &data[400..]).as_deref(), Some(&data[..]));
            assert_eq!(rig.end().count(Bucket::FragmentConflict), 3);
        }
        // Two ends; a part past the end; an end before known bytes.
        let cases: [&[(u32, bool, usize)]; 3] = [
            &[(800, false, 200), (800, false, 100)],
            &[(400, false, 200), (800, true, 80)],
            &[(800, true, 80), (400, false, 40)],
        ];
        for case in cases {
            let mut rig = Rig::new(LIMITS, false);
            for (offset, more, len) in case {
                let start = *offset as usize;
                assert_eq!(rig.push(7, *offset, *more, &data[start..start + len]), None);
            }
            assert_eq!(rig.end().count(Bucket::FragmentConflict), 2);
        }
    }

    #[test]
    fn equal_overlap_is_used_in_ipv4_and_forbidden_in_ipv6() {
        let data = datagram(1000);
        for v6 in [false, true] {
            let mut rig = Rig::new(LIMITS, v6);
            assert_eq!(rig.push(7, 0, true, &data[..400]), None);
            assert_eq!(rig.push(7, 600, true, &data[600..800]), None);
            assert_eq!(rig.push(7, 200, true, &data[200..720]), None);
            let done = rig.push(7, 800, false, &data[800..]);
            assert_eq!(done.is_some(), !v6);
            assert!(v6 || done.as_deref() == Some(&data[..]));
            rig.end();
        }
    }

    #[test]
    fn floods_are_bounded_and_the_oldest_goes_first() {
        let mut rig = Rig::new(LIMITS, false);
        for id in 0..100 {
            rig.push(id, 0, true, &[0; 8]);
        }
        assert_eq!(rig.fragments.listed, 8);
        assert_eq!(rig.count(Bucket::FragmentEvicted), 92);
        assert!(rig.push(99, 8, false, &[0; 8]).is_some(), "the newest is still there");
        // By bytes: three sets of 30,000 do not fit into 64 KiB.
        for id in 200..203 {
            rig.push(id, 0, true, &vec![0; 30_000]);
        }
        assert!(rig.fragments.held_bytes <= LIMITS.bytes);
        let rig = rig.end();
        assert_eq!(rig.count(Bucket::FragmentEvicted), 92 + 7 + 1);
        // One datagram larger than all the room there is.
        let mut rig = Rig::new(FragmentLimits { bytes: 1000, ..LIMITS }, false);
        rig.push(1, 0, true, &[0; 800]);
        assert_eq!(rig.push(1, 800, false, &[0; 800]), None);
        assert_eq!(rig.end().count(Bucket::FragmentEvicted), 2);
    }

    #[test]
    fn what_comes_too_late_begins_anew() {
        let data = datagram(600);
        let mut rig = Rig::new(LIMITS, false);
        rig.push(7, 0, true, &data[..400]);
        rig.time += 31 * SECOND;
        assert_eq!(rig.push(7, 400, false, &data[400..]), None);
        let rig = rig.end();
        assert_eq!((rig.count(Bucket::FragmentExpired), rig.count(Bucket::FragmentIncomplete)), (1, 1));
    }

    #[test]
    fn impossible_parts_are_malformed() {
        let mut rig = Rig::new(LIMITS, false);
        rig.push(7, 0, true, &[0; 9]);
        rig.push(7, 0, true, &[]);
        rig.push(7, 65_528, false, &[0; 8]);
        assert_eq!(rig.end().count(Bucket::FragmentMalformed), 3);
    }
}
