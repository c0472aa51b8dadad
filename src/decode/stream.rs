//! TCP segments, in capture order, to the DNS messages in them ([`Streams::push`]; RFC 1035 section 4.2.2, RFC 7766).
//!
//! A stream is followed from its SYN or from the middle, where the first segment that begins like a message is taken
//! for a boundary. Bytes lost to the capture cost the messages they belong to and no more: a known message length
//! leads to the next boundary, otherwise the next segment that begins like a message does. The first copy of a byte
//! stands. Every segment ends in one bucket; memory is bounded per stream, in all, and by the number of connections.

use super::message::{HEADER, Key};
use super::proxy::{self, Look};
use super::{Bucket, Ends, Segment, Tally};
use crate::capture::Timestamp;
use hashbrown::HashTable;
use std::ops::Range;
use std::sync::Arc;

/// Caps, from `config::Limits`.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Connections held.
    pub connections: usize,
    /// Bytes held for one direction.
    pub stream_bytes: usize,
    /// Bytes held in all.
    pub total_bytes: usize,
    /// Nanoseconds after which an idle connection is forgotten.
    pub idle: i64,
}

/// Segments held for one direction until a gap before them is filled.
const MAX_HELD: usize = 512;
/// A segment further ahead than this is not believed: 16 times the largest unscaled window.
const MAX_AHEAD: i32 = 1 << 20;
/// A gap that the receiver has acknowledged is given up after this time (nanoseconds): the capture has lost it.
const GAP_PATIENCE: i64 = 10_000_000;
/// A connection that has ended is remembered this long (nanoseconds) for what is sent again.
const ENDED_PATIENCE: i64 = 4_000_000_000;
/// Length prefix and header: enough to tell whether bytes begin a message.
const PROBE: usize = 2 + HEADER;
/// No connection.
const NONE: u32 = u32::MAX;

/// A message found in a stream.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where its bytes are.
    pub place: Place,
    /// The snapshot length cut it.
    pub cut: bool,
}

/// Where the bytes of a message are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the data of the segment just pushed.
    Segment(Range<usize>),
    /// In [`Streams::scratch`].
    Scratch(Range<usize>),
}

/// A connection and what is known of it.
#[derive(Debug)]
pub struct Connection {
    ends: Ends,
    ports: (u16, u16),
    hash: u64,
    streams: [Stream; 2],
    /// The list it stands in: of those that go on, or of those that have ended.
    list: usize,
    newer: u32,
    older: u32,
    /// When it was last seen.
    pub last: Timestamp,
    /// When and in which frame it was first seen.
    pub first: (Timestamp, u32, u64),
    /// Its beginning was captured.
    pub opened: bool,
    /// Index (0 or 1) of the stream that the server sends.
    pub server: usize,
    /// The server has sent at least one byte of data.
    pub server_data: bool,
    /// The client ended it first.
    pub client_closed: bool,
    /// The server ended it (FIN or RST) before it sent any data and before the client did.
    pub rejected: Option<(Timestamp, u32, u64)>,
    /// Tokens of whoever consumes the messages: queries that await an answer on this connection.
    pub waiting: Vec<u64>,
    /// A query was seen on it.
    pub asked: bool,
}

impl Connection {
    /// Client to server.
    pub fn client_ends(&self) -> Ends {
        if self.server == 1 { self.ends } else { self.ends.reversed() }
    }

    /// Ports of client and server.
    pub fn client_ports(&self) -> (u16, u16) {
        if self.server == 1 { self.ports } else { (self.ports.1, self.ports.0) }
    }

    /// The header that a proxy put at the beginning of what the client sends.
    pub fn proxy_header(&self) -> Option<Arc<[u8]>> {
        match &self.streams[1 - self.server].beginning {
            Beginning::Proxy(header) => Some(Arc::clone(header)),
            _ => None,
        }
    }

    fn finished(&self) -> bool {
        self.streams.iter().all(|stream| stream.ended) || self.streams.iter().any(|stream| stream.reset)
    }
}

/// How sure we are that the next byte begins a message (or continues the one in the buffer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Boundary {
    /// No segment seen.
    #[default]
    Unknown,
    /// Lost; any segment that begins like a message will do.
    Lost,
    /// The bytes in the buffer may begin a message; not enough of them yet to tell.
    Maybe,
    /// Known.
    Known,
}

/// What the first bytes of a direction are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Beginning {
    /// Not seen yet, or not enough of it.
    #[default]
    Open,
    /// A message, or the middle of something.
    Plain,
    /// A proxy's header.
    Proxy(Arc<[u8]>),
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    boundary: Boundary,
    beginning: Beginning,
    /// Sequence number of the first byte seen.
    start: u32,
    /// Sequence number of the next byte.
    next: u32,
    /// Bytes of an unfinished message; what is before `consumed` is done.
    buffer: Vec<u8>,
    consumed: usize,
    /// Frames whose bytes are in the unfinished message.
    buffered_frames: u32,
    /// Bytes of a cut or torn message that are still to be passed over.
    skip: u32,
    /// Segments ahead of a gap, in sequence order.
    held: Vec<Held>,
    held_bytes: usize,
    gap_since: Timestamp,
    /// Highest acknowledgment of the other side.
    acknowledged: Option<u32>,
    /// A message has been found.
    any: bool,
    ended: bool,
    reset: bool,
}

/// A segment ahead of a gap.
#[derive(Debug)]
struct Held {
    sequence: u32,
    data: Vec<u8>,
    full_len: u32,
}

/// Ends of a list of connections.
#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
}

/// Index of the list of connections that go on.
const OPEN: usize = 0;
/// Index of the list of connections that have ended.
const ENDED: usize = 1;

/// Every connection followed.
#[derive(Debug)]
pub struct Streams {
    limits: StreamLimits,
    table: HashTable<u32>,
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// By when they were last seen: connections that go on, and those that have ended.
    lists: [List; 2],
    held_bytes: usize,
    /// Bytes of messages that were put together during the last push.
    pub scratch: Vec<u8>,
    /// Messages found during the last push, in stream order.
    pub found: Vec<Found>,
    /// Connections that ended while nobody had asked on them; the consumer takes them.
    pub forgotten: Vec<Connection>,
    /// Connections given up before they ended.
    pub evicted: u64,
    /// Repeated bytes with other values.
    pub conflicts: u64,
    /// Messages of length 0.
    pub zero_length: u64,
    /// Gaps given up.
    pub holes: u64,
}

impl Streams {
    /// No connection yet.
    pub fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            table: HashTable::new(),
            connections: Vec::new(),
            free: Vec::new(),
            lists: [List { newest: NONE, oldest: NONE }; 2],
            held_bytes: 0,
            scratch: Vec::new(),
            found: Vec::new(),
            forgotten: Vec::new(),
            evicted: 0,
            conflicts: 0,
            zero_length: 0,
            holes: 0,
        }
    }

    /// A connection by the index that [`Streams::push`] returned.
    pub fn connection(&mut self, index: u32) -> &mut Connection {
        &mut self.connections[index as usize]
    }

    /// Follows a segment with the captured bytes `data`. Afterwards `found` holds the messages that it completed; the
    /// result is the connection. Counts the segment, and held ones that it settled, in `tally`.
    #[allow(clippy::too_many_arguments)]
    pub fn push(
        &mut self,
        key: &Key,
        time: Timestamp,
        frame: (u32, u64),
        ends: Ends,
        segment: &Segment,
        data: &[u8],
        is_dns_port: impl Fn(u16) -> bool,
        tally: &mut Tally,
    ) -> u32 {
        self.scratch.clear();
        self.found.clear();
        let index = self.find_or_open(key, time, frame, ends, segment, is_dns_port, tally);
        let from = usize::from(
            self.connections[index as usize].ends != ends
                || self.connections[index as usize].ports != (segment.source_port, segment.destination_port),
        );
        self.touch(index, time);
        let connection = &mut self.connections[index as usize];
        let from_server = from == connection.server;
        if segment.syn() {
            connection.opened = true;
        }
        if segment.ack() {
            let other = &mut connection.streams[1 - from];
            if other.acknowledged.is_none_or(|seen| ahead(segment.acknowledgment, seen) > 0) {
                other.acknowledged = Some(segment.acknowledgment);
            }
        }
        if from_server && segment.full_len > 0 {
            connection.server_data = true;
            connection.waiting.clear();
        }
        let mut work = Work {
            found: &mut self.found,
            scratch: &mut self.scratch,
            tally,
            held_bytes: &mut self.held_bytes,
            limits: &self.limits,
            conflicts: &mut self.conflicts,
            zero_length: &mut self.zero_length,
            holes: &mut self.holes,
        };
        connection.streams[from].segment(segment, data, time, &mut work);
        let closing = segment.fin() || segment.rst();
        for (side, stream) in connection.streams.iter_mut().enumerate() {
            stream.give_up_gap(time, closing && side == from, &mut work);
        }
        if closing {
            let stream = &mut connection.streams[from];
            stream.ended = true;
            stream.reset |= segment.rst();
            let unseen = stream.has_sent_unseen(segment);
            if !from_server {
                connection.client_closed = true;
            } else if connection.opened
                && !connection.server_data
                && !unseen
                && !connection.client_closed
                && connection.rejected.is_none()
            {
                connection.rejected = Some((time, frame.0, frame.1));
            }
            if connection.finished() && connection.list == OPEN {
                self.unlink(index);
                self.connections[index as usize].list = ENDED;
                self.link_newest(index);
            }
        }
        index
    }

    /// Forgets connections that nothing is expected of any more at the capture's time `now`: idle ones, and those that
    /// have ended a while ago. The consumer finds them in `forgotten` when nobody had asked on them.
    #[inline]
    pub fn expire(&mut self, now: Timestamp, tally: &mut Tally) {
        for (list, patience) in [(OPEN, self.limits.idle), (ENDED, self.limits.idle.min(ENDED_PATIENCE))] {
            while let Some(oldest) = self.connections.get(self.lists[list].oldest as usize)
                && now.0.saturating_sub(oldest.last.0) > patience
            {
                self.forget(self.lists[list].oldest, Bucket::TcpBehindHole, tally);
            }
        }
    }

    /// Ends every connection; held segments are given up. The consumer finds the connections in `forgotten`.
    pub fn finish(&mut self, tally: &mut Tally) {
        for list in [OPEN, ENDED] {
            while self.lists[list].oldest != NONE {
                self.forget(self.lists[list].oldest, Bucket::TcpBehindHole, tally);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn find_or_open(
        &mut self,
        key: &Key,
        time: Timestamp,
        frame: (u32, u64),
        ends: Ends,
        segment: &Segment,
        is_dns_port: impl Fn(u16) -> bool,
        tally: &mut Tally,
    ) -> u32 {
        let ports = (segment.source_port, segment.destination_port);
        // One key for both directions: the smaller end first.
        let forward = (ends, ports);
        let backward = (ends.reversed(), (ports.1, ports.0));
        let (first, first_ports) = if forward <= backward { forward } else { backward };
        let hash = key.numbers(&[first.hash(key), u64::from(first_ports.0) << 16 | u64::from(first_ports.1)]);
        let known = self.table.find(hash, |index| {
            let connection = &self.connections[*index as usize];
            (connection.ends, connection.ports) == forward || (connection.ends, connection.ports) == backward
        });
        if let Some(index) = known.copied() {
            let connection = &self.connections[index as usize];
            let from = usize::from((connection.ends, connection.ports) != forward);
            let idle = time.0.saturating_sub(connection.last.0) > self.limits.idle;
            // A SYN with another initial sequence number opens a new connection between the same ports; so does any
            // SYN after the end, unless it is another view of the first.
            let stream = &connection.streams[from];
            let restarts = connection.finished() && time.0.saturating_sub(connection.last.0) > GAP_PATIENCE;
            let fresh = segment.syn()
                && stream.boundary != Boundary::Unknown
                && (stream.start != segment.sequence.wrapping_add(1) || (restarts && !segment.ack()));
            if !idle && !fresh {
                return index;
            }
            self.forget(index, Bucket::TcpBehindHole, tally);
        }
        if self.table.len() >= self.limits.connections {
            let ended = self.lists[ENDED].oldest;
            let oldest = if ended == NONE { self.lists[OPEN].oldest } else { ended };
            self.evicted += u64::from(ended == NONE);
            self.forget(oldest, Bucket::TcpEvicted, tally);
        }
        // The server is the end with the DNS port; when both have one, whoever did not send the SYN.
        let server = match (is_dns_port(ports.0), is_dns_port(ports.1)) {
            (true, false) => 0,
            (true, true) if segment.syn() && segment.ack() => 0,
            _ => 1,
        };
        let connection = Connection {
            ends,
            ports,
            hash,
            streams: [Stream::default(), Stream::default()],
            list: OPEN,
            newer: NONE,
            older: NONE,
            last: time,
            first: (time, frame.0, frame.1),
            opened: false,
            server,
            server_data: false,
            client_closed: false,
            rejected: None,
            waiting: Vec::new(),
            asked: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.connections[index as usize] = connection;
                index
            }
            None => {
                self.connections.push(connection);
                self.connections.len() as u32 - 1
            }
        };
        self.table.insert_unique(hash, index, |index| self.connections[*index as usize].hash);
        self.link_newest(index);
        index
    }

    fn touch(&mut self, index: u32, time: Timestamp) {
        self.connections[index as usize].last = time;
        if self.lists[self.connections[index as usize].list].newest != index {
            self.unlink(index);
            self.link_newest(index);
        }
    }

    fn link_newest(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let list = &mut self.lists[connection.list];
        connection.newer = NONE;
        connection.older = list.newest;
        match std::mem::replace(&mut list.newest, index) {
            NONE => list.oldest = index,
            newest => self.connections[newest as usize].newer = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let Connection { list, newer, older, .. } = self.connections[index as usize];
        match newer {
            NONE => self.lists[list].newest = older,
            newer => self.connections[newer as usize].older = older,
        }
        match older {
            NONE => self.lists[list].oldest = newer,
            older => self.connections[older as usize].newer = newer,
        }
    }

    /// Forgets a connection; its unfinished bytes go to `bucket`.
    fn forget(&mut self, index: u32, bucket: Bucket, tally: &mut Tally) {
        self.unlink(index);
        let hash = self.connections[index as usize].hash;
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        let connection = &mut self.connections[index as usize];
        for stream in &mut connection.streams {
            self.held_bytes -= stream.held_bytes;
            for _ in stream.held.drain(..) {
                tally.count(bucket);
            }
            if bucket == Bucket::TcpEvicted {
                for _ in 0..std::mem::take(&mut stream.buffered_frames) {
                    tally.recount(Bucket::TcpUsed, bucket);
                }
            } else if stream.boundary == Boundary::Maybe {
                stream.disown_buffer(tally);
            }
            self.held_bytes -= stream.buffer.len();
            *stream = Stream::default();
        }
        if connection.rejected.is_some() && !connection.asked {
            let gone =
                Connection { streams: [Stream::default(), Stream::default()], waiting: Vec::new(), ..*connection };
            self.forgotten.push(gone);
        }
        connection.waiting = Vec::new();
        self.free.push(index);
    }
}

/// How far `sequence` is ahead of `reference`; sequence numbers wrap (RFC 9293 section 3.4).
#[inline]
fn ahead(sequence: u32, reference: u32) -> i32 {
    sequence.wrapping_sub(reference) as i32
}

/// What a stream needs from its owner while it works.
struct Work<'a> {
    found: &'a mut Vec<Found>,
    scratch: &'a mut Vec<u8>,
    tally: &'a mut Tally,
    held_bytes: &'a mut usize,
    limits: &'a StreamLimits,
    conflicts: &'a mut u64,
    zero_length: &'a mut u64,
    holes: &'a mut u64,
}

impl Stream {
    /// True when the closing segment shows that bytes were sent before it which the capture does not have (or cannot
    /// rule it out): its sequence number is past what was seen, or it is a FIN of a stream whose SYN was not captured.
    fn has_sent_unseen(&self, closing: &Segment) -> bool {
        match self.boundary {
            Boundary::Unknown => closing.fin(),
            _ => ahead(closing.sequence, self.next) > 0,
        }
    }

    /// Takes a segment: uses it, holds it, or says why not.
    fn segment(&mut self, segment: &Segment, data: &[u8], time: Timestamp, work: &mut Work<'_>) {
        let mut sequence = segment.sequence;
        if segment.syn() {
            sequence = sequence.wrapping_add(1);
            if self.boundary == Boundary::Unknown {
                self.boundary = Boundary::Known;
                (self.start, self.next) = (sequence, sequence);
            }
        }
        if segment.full_len == 0 {
            work.tally.count(Bucket::TcpControl);
            return;
        }
        if self.boundary == Boundary::Unknown {
            self.boundary = Boundary::Lost;
            (self.start, self.next) = (sequence, sequence);
        }
        let distance = ahead(sequence, self.next);
        if !(-MAX_AHEAD..=MAX_AHEAD).contains(&distance) {
            work.tally.count(Bucket::TcpOutOfWindow);
        } else if distance > 0 {
            self.hold(sequence, data, segment.full_len, time, work);
        } else {
            self.count_in_order(sequence, data, segment.full_len, true, work);
            self.use_held(work);
        }
    }

    /// Keeps a segment that is ahead of a gap.
    fn hold(&mut self, sequence: u32, data: &[u8], full_len: u32, time: Timestamp, work: &mut Work<'_>) {
        let place = self.held.partition_point(|held| ahead(held.sequence, sequence) < 0);
        if let Some(same) = self.held.get(place).filter(|held| held.sequence == sequence && held.full_len >= full_len) {
            let differs = same.data.iter().zip(data).any(|(old, new)| old != new);
            *work.conflicts += u64::from(differs);
            work.tally.count(if differs { Bucket::TcpConflict } else { Bucket::TcpDuplicate });
            return;
        }
        let full = self.held.len() >= MAX_HELD
            || self.held_bytes + data.len() > work.limits.stream_bytes
            || *work.held_bytes + data.len() > work.limits.total_bytes;
        if full {
            work.tally.count(Bucket::TcpEvicted);
            return;
        }
        if self.held.is_empty() {
            self.gap_since = time;
        }
        self.held_bytes += data.len();
        *work.held_bytes += data.len();
        self.held.insert(place, Held { sequence, data: data.to_vec(), full_len });
    }

    /// Uses held segments that are no longer ahead of a gap.
    fn use_held(&mut self, work: &mut Work<'_>) {
        let mut ready = 0;
        while let Some(held) = self.held.get_mut(ready) {
            if ahead(held.sequence, self.next) > 0 {
                break;
            }
            let (sequence, full_len, data) = (held.sequence, held.full_len, std::mem::take(&mut held.data));
            ready += 1;
            self.held_bytes -= data.len();
            *work.held_bytes -= data.len();
            self.count_in_order(sequence, &data, full_len, false, work);
        }
        self.held.drain(..ready);
    }

    /// Passes over a gap that will not be filled: the receiver has acknowledged it, the connection ends, or too much
    /// waits behind it.
    fn give_up_gap(&mut self, time: Timestamp, closing: bool, work: &mut Work<'_>) {
        while let Some(first) = self.held.first() {
            let gap = ahead(first.sequence, self.next);
            let acknowledged = self.acknowledged.is_some_and(|seen| ahead(seen, first.sequence) >= 0)
                && time.0.saturating_sub(self.gap_since.0) > GAP_PATIENCE;
            let crowded = self.held.len() >= MAX_HELD / 2 || self.held_bytes * 2 > work.limits.stream_bytes;
            if gap > 0 && !(acknowledged || closing || crowded) {
                return;
            }
            if gap > 0 {
                *work.holes += 1;
                self.next = first.sequence;
                self.pass_over(gap as u32, work);
            }
            self.gap_since = time;
            self.use_held(work);
        }
    }

    /// Takes a segment in order and counts it. It counts as used from the start, because its bytes may be given up again
    /// before all of it is taken.
    fn count_in_order(&mut self, sequence: u32, data: &[u8], full_len: u32, in_segment: bool, work: &mut Work<'_>) {
        work.tally.count(Bucket::TcpUsed);
        let bucket = self.in_order(sequence, data, full_len, in_segment, work);
        if bucket != Bucket::TcpUsed {
            work.tally.recount(Bucket::TcpUsed, bucket);
        }
    }

    /// Takes bytes at or before the next expected one; returns the segment's bucket.
    fn in_order(&mut self, sequence: u32, data: &[u8], full_len: u32, in_segment: bool, work: &mut Work<'_>) -> Bucket {
        let old = ahead(self.next, sequence) as u32;
        let differs = old > 0 && self.differs_from_buffer(sequence, data);
        *work.conflicts += u64::from(differs);
        if old >= full_len {
            return if differs { Bucket::TcpConflict } else { Bucket::TcpDuplicate };
        }
        let new = data.get(old as usize..).unwrap_or(&[]);
        let missing = full_len - old - new.len() as u32;
        self.next = sequence.wrapping_add(full_len);
        let base = in_segment.then_some(old as usize);
        let bucket = self.bytes(new, base, work);
        if missing > 0 {
            self.pass_over(missing, work);
        }
        bucket
    }

    /// True when bytes seen again differ from those still in the buffer.
    fn differs_from_buffer(&self, sequence: u32, data: &[u8]) -> bool {
        let unfinished = &self.buffer[self.consumed..];
        let buffer_start = self.next.wrapping_sub(unfinished.len() as u32);
        let skip = ahead(buffer_start, sequence);
        let (data, unfinished) = if skip >= 0 {
            (data.get(skip as usize..).unwrap_or(&[]), unfinished)
        } else {
            (data, unfinished.get(skip.unsigned_abs() as usize..).unwrap_or(&[]))
        };
        data.iter().zip(unfinished).any(|(new, old)| new != old)
    }

    /// Takes new bytes in order. `base` is where they begin in the segment just pushed, when they are part of it.
    fn bytes(&mut self, new: &[u8], base: Option<usize>, work: &mut Work<'_>) -> Bucket {
        let mut at = (self.skip as usize).min(new.len());
        self.skip -= at as u32;
        if at == new.len() {
            return Bucket::TcpUsed;
        }
        if self.beginning == Beginning::Open {
            at += self.pass_proxy_header(&new[at..], work);
            if at == new.len() {
                return Bucket::TcpUsed;
            }
        }
        if self.boundary == Boundary::Lost {
            let probe = &new[at..];
            if probe.len() >= PROBE && !begins_message(probe) {
                return if self.any { Bucket::TcpBehindHole } else { Bucket::TcpNonDns };
            }
            self.boundary = if probe.len() >= PROBE { Boundary::Known } else { Boundary::Maybe };
        }
        if self.boundary == Boundary::Known && self.buffer.is_empty() {
            let Work { found, scratch, zero_length, .. } = work;
            at += each_message(&new[at..], zero_length, |range| {
                let range = at + range.start..at + range.end;
                let place = match base {
                    Some(base) => Place::Segment(base + range.start..base + range.end),
                    None => keep(scratch, &new[range]),
                };
                self.any = true;
                found.push(Found { place, cut: false });
            });
            if at == new.len() {
                return Bucket::TcpUsed;
            }
        }
        let rest = &new[at..];
        if *work.held_bytes + rest.len() > work.limits.total_bytes {
            self.drop_buffer(work);
            self.boundary = Boundary::Lost;
            return Bucket::TcpEvicted;
        }
        *work.held_bytes += rest.len();
        self.buffer.extend_from_slice(rest);
        self.buffered_frames += 1;
        self.read_buffer(work)
    }

    /// Looks for a proxy's header in the first bytes; returns how many of the `new` ones are done with: those of the header,
    /// or all while it is incomplete.
    fn pass_proxy_header(&mut self, new: &[u8], work: &mut Work<'_>) -> usize {
        let waiting = self.buffer.len();
        let looked = if waiting > 0 { proxy::look(&[&self.buffer, new].concat()) } else { proxy::look(new) };
        match looked {
            Look::Whole(header) => {
                let mut bytes = std::mem::take(&mut self.buffer);
                let used = header.len - waiting;
                bytes.extend_from_slice(&new[..used]);
                *work.held_bytes -= waiting;
                self.buffered_frames = 0;
                self.beginning = Beginning::Proxy(bytes.into());
                self.boundary = Boundary::Known;
                used
            }
            // In the middle of a connection less than the whole signature could be anything.
            Look::More if self.boundary == Boundary::Known || new.len() >= proxy::SIGNATURE.len() => {
                self.boundary = Boundary::Known;
                if *work.held_bytes + new.len() > work.limits.total_bytes {
                    self.beginning = Beginning::Plain;
                    return 0;
                }
                *work.held_bytes += new.len();
                self.buffer.extend_from_slice(new);
                self.buffered_frames += 1;
                new.len()
            }
            _ => {
                self.beginning = Beginning::Plain;
                0
            }
        }
    }

    /// Finds messages in the buffer; returns the bucket of the frame that brought the last bytes.
    fn read_buffer(&mut self, work: &mut Work<'_>) -> Bucket {
        if self.boundary == Boundary::Maybe {
            if self.buffer.len() < PROBE {
                return Bucket::TcpUsed;
            }
            if !begins_message(&self.buffer) {
                // The last frame is counted by the caller.
                self.buffered_frames -= 1;
                self.lose_boundary(work);
                return if self.any { Bucket::TcpBehindHole } else { Bucket::TcpNonDns };
            }
            self.boundary = Boundary::Known;
        }
        let Work { found, scratch, zero_length, .. } = work;
        let unread = &self.buffer[self.consumed..];
        let used = each_message(unread, zero_length, |range| {
            self.any = true;
            found.push(Found { place: keep(scratch, &unread[range]), cut: false });
        });
        if used > 0 {
            self.consumed += used;
            self.buffered_frames = 1;
        }
        if self.consumed == self.buffer.len() {
            self.drop_buffer(work);
        } else if self.consumed > self.buffer.len() / 2 {
            *work.held_bytes -= self.consumed;
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        Bucket::TcpUsed
    }

    /// `missing` bytes in order will never be seen. What is known of a message they tear is handed out as cut.
    fn pass_over(&mut self, missing: u32, work: &mut Work<'_>) {
        let skipped = self.skip.min(missing);
        self.skip -= skipped;
        let missing = missing - skipped;
        if missing == 0 || self.boundary == Boundary::Lost {
            return;
        }
        if self.beginning == Beginning::Open {
            self.beginning = Beginning::Plain;
            return self.lose_boundary(work);
        }
        let unread = &self.buffer[self.consumed..];
        let torn = match (self.boundary, unread) {
            (Boundary::Known, [high, low, message @ ..]) => {
                let wanted = usize::from(u16::from_be_bytes([*high, *low])) - message.len();
                let place = keep(work.scratch, message);
                self.any = true;
                work.found.push(Found { place, cut: true });
                Some(wanted as u32)
            }
            _ => None,
        };
        match torn {
            Some(wanted) if missing <= wanted => {
                self.drop_buffer(work);
                self.skip = wanted - missing;
            }
            Some(_) => {
                self.drop_buffer(work);
                self.boundary = Boundary::Lost;
            }
            None => self.lose_boundary(work),
        }
    }

    /// Gives up the bytes in the buffer: they belong to no message that could be read.
    fn lose_boundary(&mut self, work: &mut Work<'_>) {
        self.disown_buffer(work.tally);
        self.drop_buffer(work);
        self.boundary = Boundary::Lost;
    }

    /// Recounts the frames whose bytes wait in the buffer: they were not used after all.
    fn disown_buffer(&mut self, tally: &mut Tally) {
        let bucket = if self.any { Bucket::TcpBehindHole } else { Bucket::TcpNonDns };
        for _ in 0..std::mem::take(&mut self.buffered_frames) {
            tally.recount(Bucket::TcpUsed, bucket);
        }
    }

    fn drop_buffer(&mut self, work: &mut Work<'_>) {
        *work.held_bytes -= self.buffer.len();
        self.buffer = Vec::new();
        self.consumed = 0;
        self.buffered_frames = 0;
    }
}

/// Calls back for each complete message in bytes that begin at a boundary; returns how many bytes are done with.
fn each_message(data: &[u8], zero_length: &mut u64, mut on_message: impl FnMut(Range<usize>)) -> usize {
    let mut at = 0;
    while let Some([high, low]) = data.get(at..).and_then(<[u8]>::first_chunk::<2>) {
        let end = at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
        if end > data.len() {
            break;
        }
        if end == at + 2 {
            *zero_length += 1;
        } else {
            on_message(at + 2..end);
        }
        at = end;
    }
    at
}

/// Appends a message to the scratch bytes.
fn keep(scratch: &mut Vec<u8>, message: &[u8]) -> Place {
    let start = scratch.len();
    scratch.extend_from_slice(message);
    Place::Scratch(start..scratch.len())
}

/// True when the bytes (at least [`PROBE`] of them) look like a length prefix and a DNS header: a known operation code,
/// at most a handful of questions, counts that fit the length, and a question name that begins with a label.
fn begins_message(bytes: &[u8]) -> bool {
    let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (len, flags, questions) = (number(0), number(4), number(6));
    let records = number(8) + number(10) + number(12);
    let response = flags & 0x8000 != 0;
    let opcode_known = matches!(flags >> 11 & 15, 0..=2 | 4..=6);
    // A question has at least 5 bytes, a record at least 11.
    let fits = len >= HEADER && HEADER + questions * 5 + records * 11 <= len;
    let plausible = opcode_known && questions <= 4 && (response || (flags & 15 == 0 && number(8) <= 16));
    let label = questions == 0 || bytes.get(PROBE).is_none_or(|first| *first <= 63);
    fits && plausible && label
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03tcp\x04test\0\0\x01\0\x01";

    fn framed(count: usize) -> Vec<u8> {
        let one = [&(QUERY.len() as u16).to_be_bytes()[..], QUERY].concat();
        one.repeat(count)
    }

    struct Rig {
        streams: Streams,
        tally: Tally,
        messages: Vec<Vec<u8>>,
        pushed: u64,
        time: i64,
        key: Key,
    }

    impl Rig {
        fn new() -> Self {
            let limits = StreamLimits { connections: 4, stream_bytes: 128 << 10, total_bytes: 1 << 20, idle: 1 << 40 };
            Self {
                streams: Streams::new(limits),
                tally: Tally::default(),
                messages: Vec::new(),
                pushed: 0,
                time: 0,
                key: Key::random(),
            }
        }

        fn push_cut(&mut self, port: u16, sequence: u32, flags: u8, data: &[u8], full_len: usize) {
            let segment = Segment {
                source_port: port,
                destination_port: 53,
                sequence,
                acknowledgment: 0,
                flags,
                full_len: full_len as u32,
            };
            self.pushed += 1;
            self.time += 1000;
            let ends = Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]);
            let time = Timestamp(self.time);
            self.streams.push(&self.key, time, (0, self.pushed), ends, &segment, data, |p| p == 53, &mut self.tally);
            for found in &self.streams.found {
                self.messages.push(match &found.place {
                    Place::Segment(range) => data[range.clone()].to_vec(),
                    Place::Scratch(range) => self.streams.scratch[range.clone()].to_vec(),
                });
            }
        }

        fn push_from_server(&mut self, sequence: u32, flags: u8, data: &[u8]) -> u32 {
            let (source_port, destination_port, full_len) = (53, 4000, data.len() as u32);
            let segment = Segment { source_port, destination_port, sequence, acknowledgment: 0, flags, full_len };
            self.pushed += 1;
            self.time += 1000;
            let (ends, time) = (Ends::v4([10, 0, 0, 2], [10, 0, 0, 1]), Timestamp(self.time));
            self.streams.push(&self.key, time, (0, self.pushed), ends, &segment, data, |p| p == 53, &mut self.tally)
        }

        fn push(&mut self, sequence: u32, flags: u8, data: &[u8]) {
            self.push_cut(4000, sequence, flags, data, data.len());
        }

        fn end(&mut self) -> u64 {
            self.streams.finish(&mut self.tally);
            assert_eq!(self.streams.held_bytes, 0, "every held byte was given back");
            let counted: u64 = self.tally.buckets.iter().sum();
            assert_eq!(counted, self.pushed, "every segment is in one bucket");
            self.messages.len() as u64
        }
    }

    const SYN: u8 = 2;
    const DATA: u8 = 0x18;
    const FIN: u8 = 0x11;

    #[test]
    fn any_segmentation_gives_the_same_messages() {
        let bytes = framed(5);
        for size in 1..bytes.len() {
            let mut rig = Rig::new();
            rig.push(u32::MAX - 20, SYN, b"");
            for (index, piece) in bytes.chunks(size).enumerate() {
                rig.push((u32::MAX - 19).wrapping_add((index * size) as u32), DATA, piece);
            }
            assert_eq!(rig.end(), 5, "segments of {size} bytes");
            assert!(rig.messages.iter().all(|message| message == QUERY));
        }
    }

    #[test]
    fn order_duplicates_and_overlaps_do_not_matter() {
        let bytes = framed(3);
        let mut rig = Rig::new();
        rig.push(99, SYN, b"");
        let piece = |from: usize, to: usize| (100 + from as u32, bytes[from..to].to_vec());
        for (sequence, data) in [piece(40, 60), piece(0, 10), piece(5, 30), piece(0, 10), piece(20, 45), piece(55, 84)]
        {
            rig.push(sequence, DATA, &data);
        }
        assert_eq!(rig.end(), 3);
        assert_eq!(rig.streams.conflicts, 0);
    }

    #[test]
    fn the_first_copy_of_a_byte_stands() {
        let bytes = framed(1);
        let mut rig = Rig::new();
        rig.push(99, SYN, b"");
        rig.push(100, DATA, &bytes[..10]);
        rig.push(100, DATA, &[0xee; 10]);
        rig.push(110, DATA, &bytes[10..]);
        assert_eq!((rig.end(), rig.streams.conflicts), (1, 1));
        assert_eq!(rig.messages, [QUERY]);
        assert_eq!(rig.tally.buckets[Bucket::TcpConflict as usize], 1);
    }

    #[test]
    fn starts_in_the_middle_and_behind_a_hole() {
        let bytes = framed(2);
        let mut rig = Rig::new();
        rig.push(500, DATA, &bytes);
        assert_eq!(rig.messages.len(), 2);
        rig.push(5000, DATA, &bytes);
        rig.push(6000, FIN, b"");
        assert_eq!((rig.end(), rig.streams.holes), (4, 1));
        let mut rig = Rig::new();
        rig.push(500, DATA, b"GET / HTTP/1.1\r\nHost: example.com\r\n");
        assert_eq!(rig.end(), 0);
        assert_eq!(rig.tally.buckets[Bucket::TcpNonDns as usize], 1);
    }

    #[test]
    fn a_torn_message_leads_to_the_next_boundary() {
        let bytes = framed(3);
        let one = bytes.len() / 3;
        let mut rig = Rig::new();
        rig.push(99, SYN, b"");
        // The snapshot length took the end of the first message.
        rig.push_cut(4000, 100, DATA, &bytes[..20], one);
        rig.push(100 + one as u32, DATA, &bytes[one..]);
        assert_eq!(rig.end(), 3);
        assert_eq!(rig.messages[0], QUERY[..18]);
        assert_eq!(rig.messages[1..], [QUERY, QUERY]);
    }

    #[test]
    fn a_proxy_header_is_passed_over_at_any_segmentation() {
        let mut bytes = proxy::SIGNATURE.to_vec();
        bytes.extend([0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 53, 0x30, 0x39, 0, 53]);
        let header = bytes.clone();
        bytes.extend(framed(3));
        for opened in [true, false] {
            for size in (if opened { 1 } else { 14 })..bytes.len() {
                let mut rig = Rig::new();
                if opened {
                    rig.push(99, SYN, b"");
                }
                for (index, piece) in bytes.chunks(size).enumerate() {
                    rig.push(100 + (index * size) as u32, DATA, piece);
                }
                assert_eq!(rig.streams.connections[0].proxy_header().as_deref(), Some(&header[..]));
                assert_eq!(rig.end(), 3, "segments of {size} bytes");
                assert!(rig.messages.iter().all(|message| message == QUERY));
            }
        }
        // The beginning of one that never goes on, and a hole in it.
        let mut rig = Rig::new();
        rig.push(99, SYN, b"");
        rig.push(100, DATA, &header[..20]);
        rig.push(200, DATA, &framed(1));
        rig.push(300, FIN, b"");
        assert_eq!(rig.end(), 1);
    }

    #[test]
    fn any_cut_anywhere_leaves_every_segment_in_one_bucket() {
        let bytes = framed(2);
        for syn in [false, true] {
            for captured in 0..bytes.len() {
                for size in [1, 2, 13, 14, 15, bytes.len()] {
                    let mut rig = Rig::new();
                    if syn {
                        rig.push(99, SYN, b"");
                    }
                    for (index, piece) in bytes.chunks(size).enumerate() {
                        let have = piece.len().min(captured);
                        rig.push_cut(4000, 100 + (index * size) as u32, DATA, &piece[..have], piece.len());
                    }
                    rig.end();
                }
            }
        }
    }

    #[test]
    fn the_least_recent_connection_is_evicted_and_counted() {
        let mut rig = Rig::new();
        for port in 0..10 {
            rig.push_cut(2000 + port, 100, DATA, b"\xff\xff", 2);
        }
        assert_eq!(rig.streams.evicted, 6);
        rig.end();
        assert_eq!(rig.tally.buckets[Bucket::TcpEvicted as usize], 6);
    }

    #[test]
    fn what_has_ended_is_forgotten_soon_and_what_is_idle_later() {
        let mut rig = Rig::new();
        rig.push_cut(2000, 99, SYN, b"", 0);
        for port in 2001..2003 {
            rig.push_cut(port, 100, 0x14, b"", 0);
        }
        let known = |rig: &Rig| rig.streams.table.len();
        let seen = rig.streams.connections[0].last;
        let expire = |rig: &mut Rig, after: i64| rig.streams.expire(Timestamp(seen.0 + after), &mut rig.tally);
        expire(&mut rig, ENDED_PATIENCE);
        assert_eq!(known(&rig), 3);
        expire(&mut rig, ENDED_PATIENCE + 1_000_000_000);
        assert_eq!(known(&rig), 1, "the two that were reset");
        let idle = rig.streams.limits.idle;
        expire(&mut rig, idle);
        assert_eq!(known(&rig), 1);
        expire(&mut rig, idle + 1);
        assert_eq!(known(&rig), 0);
        assert_eq!(rig.streams.evicted, 0);
        rig.end();
    }

    #[test]
    fn a_lost_response_is_no_rejection() {
        // What the server's closing segment says: sequence number and flags, and whether that is a rejection.
        for (sequence, flags, rejected) in
            [(701, FIN, true), (701, 0x14, true), (1, 0x14, true), (745, FIN, false), (745, 0x14, false)]
        {
            let mut rig = Rig::new();
            rig.push(99, SYN, b"");
            rig.push_from_server(700, SYN | 0x10, b"");
            rig.push(100, DATA, &framed(1));
            let connection = rig.push_from_server(sequence, flags, b"");
            let got = rig.streams.connection(connection).rejected.is_some();
            assert_eq!(got, rejected, "sequence {sequence}, flags {flags:#x}");
        }
    }

    #[test]
    fn a_new_connection_between_the_same_ports() {
        let bytes = framed(1);
        let mut rig = Rig::new();
        for start in [1000u32, 500, 90_000] {
            rig.push(start, SYN, b"");
            rig.push(start + 1, DATA, &bytes);
        }
        assert_eq!(rig.end(), 3);
    }
}
