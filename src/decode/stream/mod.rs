//! Reassembles TCP segments, in capture order, into DNS messages ([`Streams::push`]; RFC 1035 section 4.2.2, RFC 7766).
//!
//! A stream is followed from its SYN or from the middle, where the first segment that begins like a message is taken
//! for a boundary. Bytes lost to the capture cost the messages they belong to and no more: a known message length leads
//! to the next boundary, otherwise the next segment that begins like a message does. The first copy of a byte stands.
//! Every segment ends in one bucket; memory is bounded per stream, in total, and by the number of connections.

mod boundary;
mod connection;
mod direction;
mod gap;
mod waiting;

use super::key::Key;
use super::{Bucket, Ends, Point, Segment, Tally};
use crate::capture::Timestamp;
pub use connection::Connection;
use connection::{ENDED, List, NONE, OPEN};
use direction::Work;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::ops::Range;
use waiting::Waiting;

/// Caps, from `config::Limits`.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Most connections held.
    pub connections: usize,
    /// Most bytes held for one direction.
    pub stream_bytes: usize,
    /// Most bytes held in total.
    pub total_bytes: usize,
    /// Nanoseconds after which an idle connection is forgotten.
    pub idle: i64,
}

/// An ended connection is remembered this long (nanoseconds) for retransmissions.
const ENDED_PATIENCE: i64 = 4_000_000_000;

/// A message found in a stream.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where its bytes are.
    pub place: Place,
    /// The snapshot length truncated it.
    pub cut: bool,
    /// Index (0 or 1) of the stream: a segment of one side can settle what waits behind a gap in the other.
    pub from: usize,
    /// The last frame that contributed bytes to it; often the one just pushed.
    pub by: Arrival,
}

/// The frame that brought a segment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// When it was captured.
    pub time: Timestamp,
    /// Its input and number.
    pub frame: (u32, u64),
    /// Where it was seen.
    pub point: Point,
    /// Number of the segment, in order of arrival.
    number: u64,
}

impl Arrival {
    /// For a segment about to be pushed.
    pub fn new(time: Timestamp, frame: (u32, u64), point: Point) -> Self {
        Self { time, frame, point, number: 0 }
    }

    /// The later of the two.
    #[must_use]
    fn or_later(self, other: Arrival) -> Arrival {
        if other.number > self.number { other } else { self }
    }
}

/// Where the bytes of a message are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the data of the segment just pushed.
    Segment(Range<usize>),
    /// In [`Streams::scratch`].
    Scratch(Range<usize>),
}

/// Every connection followed.
#[derive(Debug)]
pub struct Streams {
    limits: StreamLimits,
    table: HashTable<u32>,
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// Lists by when connections were last seen: open ones, and ended ones.
    lists: [List; 2],
    /// Time, by the monotonic clock, before which no connection in them is due to be forgotten.
    due_after: Timestamp,
    held_bytes: usize,
    /// Connections with acknowledged gaps, and since when; at most as many entries as connections are allowed, some of
    /// which are gone.
    acknowledged_gaps: VecDeque<(Timestamp, u32)>,
    /// Number of segments pushed.
    pushed: u64,
    /// Bytes of messages that the last push assembled.
    pub scratch: Vec<u8>,
    /// Messages that the last push found, in stream order.
    pub found: Vec<Found>,
    /// Connections rejected before any query, those that ended without a message, and those with messages left over;
    /// the consumer takes them.
    pub forgotten: Vec<Connection>,
    /// Connections given up before they ended.
    pub evicted: u64,
    /// Repeated bytes with different values.
    pub conflicts: u64,
    /// The last push showed that the server has sent bytes of which no message was read so far.
    pub unread: bool,
    /// Messages of length 0.
    pub zero_length: u64,
    /// Gaps given up.
    pub holes: u64,
}

impl Streams {
    /// An empty table.
    pub fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            table: HashTable::new(),
            connections: Vec::new(),
            free: Vec::new(),
            lists: [List { newest: NONE, oldest: NONE }; 2],
            due_after: Timestamp(i64::MAX),
            held_bytes: 0,
            acknowledged_gaps: VecDeque::new(),
            pushed: 0,
            scratch: Vec::new(),
            found: Vec::new(),
            forgotten: Vec::new(),
            evicted: 0,
            conflicts: 0,
            unread: false,
            zero_length: 0,
            holes: 0,
        }
    }

    /// A connection by the index that [`Streams::push`] returned.
    pub fn connection(&mut self, index: u32) -> &mut Connection {
        &mut self.connections[index as usize]
    }

    /// Visits the tokens that wait on each connection.
    pub fn each_waiting(&mut self, on_waiting: impl Fn(&mut Waiting)) {
        self.connections.iter_mut().map(|connection| &mut connection.waiting).for_each(on_waiting);
    }

    /// Follows a segment with the captured bytes `data`, at `now` by a clock that never runs back. Afterwards `found`
    /// holds the messages that it completed, and those of either side that need not wait any longer; returns the
    /// connection. Counts the segment, and held ones that it settled, in `tally`.
    #[allow(clippy::too_many_arguments, clippy::inline_always)] // once for every segment
    #[inline(always)]
    pub fn push(
        &mut self,
        key: &Key,
        now: Timestamp,
        by: Arrival,
        ends: Ends,
        segment: &Segment,
        data: &[u8],
        is_dns_port: impl Fn(u16) -> bool,
        tally: &mut Tally,
    ) -> u32 {
        self.scratch.clear();
        self.found.clear();
        self.pushed += 1;
        let by = &Arrival { number: self.pushed, ..by };
        let (index, from) = self.find_or_open(key, now, by, ends, segment, data, is_dns_port, tally);
        self.touch(index, now);
        let connection = &mut self.connections[index as usize];
        connection.noted = false;
        connection.seen = by.time;
        connection.opened |= segment.syn();
        let from_server = from == connection.server;
        if from_server && segment.full_len > 0 {
            connection.server_data = true;
            connection.waiting.clear();
        }
        let [first, second] = &mut connection.streams;
        let (stream, other) = if from == 0 { (first, second) } else { (second, first) };
        let at_start = stream.is_at_start(segment);
        let learnt = segment.ack() && other.is_acknowledged(segment.acknowledgment, at_start);
        if segment.full_len > 0 || stream.holds() || other.holds() {
            let mut work = Work {
                from,
                found: &mut self.found,
                scratch: &mut self.scratch,
                tally,
                held_bytes: &mut self.held_bytes,
                limits: &self.limits,
                conflicts: &mut self.conflicts,
                zero_length: &mut self.zero_length,
                holes: &mut self.holes,
            };
            connection.read(from, segment, data, by, now, &mut work);
            connection.brought |= !self.found.is_empty();
            self.note_gap(index, now);
        } else {
            stream.without_data(segment, tally);
        }
        let connection = &mut self.connections[index as usize];
        let closing = segment.fin() || segment.rst();
        let server = connection.server;
        self.unread = match from_server {
            true if segment.full_len > 0 => !self.found.iter().any(|found| found.from == server),
            true if closing => connection.streams[server].has_sent_unseen(segment),
            true => connection.streams[server].is_past_unseen(segment.sequence),
            false => learnt,
        };
        if closing {
            self.close(index, from, by, segment);
        }
        index
    }

    /// A segment of the stream `from` closes it, and perhaps ends the connection.
    fn close(&mut self, index: u32, from: usize, by: &Arrival, segment: &Segment) {
        let connection = &mut self.connections[index as usize];
        let other = &connection.streams[1 - from];
        let unseen = connection.streams[from].has_sent_unseen(segment) || other.has_acknowledged_unseen(other.ended);
        let stream = &mut connection.streams[from];
        stream.ended = true;
        stream.reset |= segment.rst();
        if from != connection.server {
            connection.client_closed = true;
        } else if connection.opened
            && !connection.server_data
            && !unseen
            && !connection.client_closed
            && connection.rejected.is_none()
        {
            connection.rejected = Some((by.time, by.frame.0, by.frame.1));
        }
        if connection.finished() && connection.list == OPEN {
            self.unlink(index);
            let connection = &mut self.connections[index as usize];
            connection.list = ENDED;
            let last = connection.last;
            self.link_newest(index);
            self.expire_after(last, ENDED);
        }
    }

    /// Forgets connections of which nothing more is expected at `now`: idle ones, and those that ended a while ago.
    #[inline]
    pub fn expire(&mut self, now: Timestamp, tally: &mut Tally) {
        if now > self.due_after {
            self.expire_those_due(now, tally);
        }
    }

    #[inline(never)]
    fn expire_those_due(&mut self, now: Timestamp, tally: &mut Tally) {
        self.due_after = Timestamp(i64::MAX);
        for list in [OPEN, ENDED] {
            while let Some(oldest) = self.connections.get(self.lists[list].oldest as usize) {
                let last = oldest.last;
                if now.0.saturating_sub(last.0) <= self.patience(list) {
                    self.expire_after(last, list);
                    break;
                }
                self.forget(self.lists[list].oldest, Bucket::TcpBehindHole, tally);
            }
        }
    }

    /// How long a connection in a list is remembered after it was last seen.
    fn patience(&self, list: usize) -> i64 {
        if list == OPEN { self.limits.idle } else { self.limits.idle.min(ENDED_PATIENCE) }
    }

    /// There is a connection in a list that was last seen then.
    fn expire_after(&mut self, last: Timestamp, list: usize) {
        let due_after = Timestamp(last.0.saturating_add(self.patience(list)));
        self.due_after = self.due_after.min(due_after);
    }

    /// Connections without a message so far that were seen since the last call: from client to server, and when they
    /// were last seen.
    pub fn without_message(&mut self) -> Vec<(Ends, Timestamp)> {
        let mut seen = Vec::new();
        for list in self.lists {
            let mut next = list.newest;
            // The ones seen last come first.
            while let Some(connection) = self.connections.get_mut(next as usize).filter(|one| !one.noted) {
                connection.noted = true;
                if !connection.brought {
                    seen.push((connection.client_ends(), connection.seen));
                }
                next = connection.older;
            }
        }
        seen
    }

    /// Ends the connection that was idle for the longest time. The consumer finds it in `forgotten`. False when there
    /// is none.
    pub fn finish_oldest(&mut self, tally: &mut Tally) -> bool {
        let oldest = self.lists.iter().map(|list| list.oldest).find(|oldest| *oldest != NONE);
        oldest.inspect(|oldest| self.forget(*oldest, Bucket::TcpBehindHole, tally)).is_some()
    }
}

#[cfg(test)]
mod tests;
