//! Assigns segments to connections ([`Connection`]), opening new ones. Lists in the order of last use tell which
//! connection is forgotten next.

use super::super::key::Key;
use super::super::message::Transport;
use super::super::{Bucket, Ends, Segment, Tally};
use super::boundary::{Boundary, is_beginning};
use super::direction::{Beginning, Stream, Work};
use super::gap::GAP_PATIENCE;
use super::waiting::Waiting;
use super::{Arrival, Found, Streams};
use crate::capture::Timestamp;
use prefetch_index::prefetch_index;
use std::cmp::Ordering;
use std::sync::Arc;

/// Index that means no connection.
pub(super) const NONE: u32 = u32::MAX;

/// A connection and what is known of it.
#[derive(Debug)]
pub struct Connection {
    pub(super) ends: Ends,
    pub(super) ports: (u16, u16),
    hash: u64,
    pub(super) streams: [Stream; 2],
    /// The list that it is in: of open connections, or of ended ones.
    pub(super) list: usize,
    newer: u32,
    pub(super) older: u32,
    /// When it was last seen, by the monotonic clock of the tracker.
    pub(super) last: Timestamp,
    /// Time of the frame in which it was last seen.
    pub seen: Timestamp,
    /// Time and frame in which it was first seen.
    pub first: (Timestamp, u32, u64),
    /// Its start was captured.
    pub opened: bool,
    /// Index (0 or 1) of the server's stream.
    pub server: usize,
    /// The server has sent at least one byte of data.
    pub server_data: bool,
    /// The client has closed it.
    pub(super) client_closed: bool,
    /// The server ended it (FIN or RST) before it sent any data and before the client did.
    pub rejected: Option<(Timestamp, u32, u64)>,
    /// Queries that await an answer on it.
    pub waiting: Waiting,
    /// A query was seen on it.
    pub asked: bool,
    /// A message was found on it.
    pub(super) brought: bool,
    /// [`Streams::without_message`] was asked since its last segment.
    pub(super) noted: bool,
    /// It is listed in [`Streams::acknowledged_gaps`].
    pub(super) gap_noted: bool,
    /// Messages that waited behind gaps until patience was over or the connection was forgotten, in
    /// [`Connection::left_bytes`].
    pub left: Vec<Found>,
    /// Their bytes.
    pub left_bytes: Vec<u8>,
}

impl Connection {
    /// Client to server.
    pub fn client_ends(&self) -> Ends {
        self.direction(1 - self.server).0
    }

    /// Ports of client and server.
    pub fn client_ports(&self) -> (u16, u16) {
        self.direction(1 - self.server).1
    }

    /// Addresses and ports in the direction of the stream with this index (0 or 1).
    pub fn direction(&self, from: usize) -> (Ends, (u16, u16)) {
        if from == 0 { (self.ends, self.ports) } else { (self.ends.reversed(), (self.ports.1, self.ports.0)) }
    }

    /// The header that a proxy put at the start of the client's stream.
    pub fn proxy_header(&self) -> Option<Arc<[u8]>> {
        match &self.streams[1 - self.server].beginning {
            Beginning::Proxy(header) => Some(Arc::clone(header)),
            _ => None,
        }
    }

    /// Time and frame in which the server ended it, if it had not sent a byte.
    pub fn rejection(&self) -> Option<(Timestamp, u32, u64)> {
        self.rejected.filter(|_| !self.server_data)
    }

    /// One side or both have closed it.
    pub fn is_closing(&self) -> bool {
        self.streams.iter().any(|stream| stream.ended)
    }

    pub(super) fn finished(&self) -> bool {
        self.streams.iter().all(|stream| stream.ended) || self.streams.iter().any(|stream| stream.reset)
    }

    /// True for a segment of the stream `from` that starts a new connection between the same ports.
    #[inline]
    fn is_left_by(&self, from: usize, now: Timestamp, segment: &Segment, data: &[u8]) -> bool {
        let [first, second] = &self.streams;
        let (stream, other) = if from == 0 { (first, second) } else { (second, first) };
        // A SYN with another initial sequence number opens a new connection between the same ports; so does any SYN
        // after the end, unless it is the first one seen at another point.
        let restarts = || self.finished() && now.0.saturating_sub(self.last.0) > GAP_PATIENCE;
        let fresh = segment.syn()
            && stream.boundary != Boundary::Unknown
            && (stream.start != segment.sequence.wrapping_add(1) || (!segment.ack() && restarts()));
        // So does data far from what both sides have sent: its SYN was not captured. Data other than the start of a
        // message is of no use there, and may be a torn packet.
        let elsewhere = segment.full_len > 0
            && segment.ack()
            && stream.is_far(segment.sequence)
            && other.is_far(segment.acknowledgment)
            && is_beginning(data);
        fresh || elsewhere
    }

    /// Takes a segment with data, or one that may settle what waits behind a gap.
    pub(super) fn read(
        &mut self,
        from: usize,
        segment: &Segment,
        data: &[u8],
        by: &Arrival,
        now: Timestamp,
        work: &mut Work<'_>,
    ) {
        let closing = segment.fin() || segment.rst();
        let answers = from == self.server && (segment.full_len > 0 || closing);
        let [first, second] = &mut self.streams;
        let (stream, other) = if from == 0 { (first, second) } else { (second, first) };
        work.from = 1 - from;
        // What the segment acknowledges was sent before it.
        if other.holds() {
            other.give_up_gap(now, answers, segment.rst(), work);
        }
        work.from = from;
        // One wrong number must not carry the stream away: data that is acknowledged there is read nevertheless.
        let closing_here = closing && !stream.is_far(segment.sequence);
        stream.segment(segment, data, by, now, work);
        if stream.holds() {
            stream.give_up_gap(now, false, closing_here, work);
        }
    }
}

/// First and last of a list of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) newest: u32,
    pub(super) oldest: u32,
}

/// Index of the list of open connections.
pub(super) const OPEN: usize = 0;
/// Index of the list of ended connections.
pub(super) const ENDED: usize = 1;

/// A hash of a connection, equal for both directions: that of the direction from the higher port.
#[inline]
fn hash_of_both(key: &Key, ends: Ends, ports: (u16, u16)) -> u64 {
    let turned = match ports.0.cmp(&ports.1) {
        Ordering::Greater => false,
        Ordering::Less => true,
        Ordering::Equal => ends > ends.reversed(),
    };
    let ports = if turned { (ports.1, ports.0) } else { ports };
    key.flow(ends.hash_from_client(turned, key), ports, 0, Transport::Tcp)
}

impl Streams {
    /// Finds the connection of a segment, and the index of the segment's stream.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    pub(super) fn find_or_open(
        &mut self,
        key: &Key,
        now: Timestamp,
        by: &Arrival,
        ends: Ends,
        segment: &Segment,
        data: &[u8],
        is_dns_port: impl Fn(u16) -> bool,
        tally: &mut Tally,
    ) -> (u32, usize) {
        let ports = (segment.source_port, segment.destination_port);
        let hash = hash_of_both(key, ends, ports);
        let known = self.table.find(hash, |index| {
            let connection = &self.connections[*index as usize];
            (connection.ports == ports && connection.ends == ends)
                || (connection.ports == (ports.1, ports.0) && connection.ends.is_reverse_of(ends))
        });
        if let Some(index) = known.copied() {
            let connection = &self.connections[index as usize];
            let from = usize::from(connection.ports != ports || connection.ends != ends);
            let idle = now.0.saturating_sub(connection.last.0) > self.limits.idle;
            if !idle && !connection.is_left_by(from, now, segment, data) {
                return (index, from);
            }
            self.forget(index, Bucket::TcpBehindHole, tally);
        }
        (self.open(hash, now, by, ends, segment, is_dns_port, tally), 0)
    }

    /// Opens a connection with its first segment. A function of its own, because few segments do so and the others
    /// should not pay for it.
    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    fn open(
        &mut self,
        hash: u64,
        now: Timestamp,
        by: &Arrival,
        ends: Ends,
        segment: &Segment,
        is_dns_port: impl Fn(u16) -> bool,
        tally: &mut Tally,
    ) -> u32 {
        let ports = (segment.source_port, segment.destination_port);
        if self.table.len() >= self.limits.connections {
            let ended = self.lists[ENDED].oldest;
            let oldest = if ended == NONE { self.lists[OPEN].oldest } else { ended };
            self.evicted += u64::from(ended == NONE);
            self.forget(oldest, Bucket::TcpEvicted, tally);
        }
        // The server is the end with the DNS port; when both have one, the end that did not send the SYN.
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
            last: now,
            seen: by.time,
            first: (by.time, by.frame.0, by.frame.1),
            opened: false,
            server,
            server_data: false,
            client_closed: false,
            rejected: None,
            waiting: Waiting::default(),
            asked: false,
            brought: false,
            noted: false,
            gap_noted: false,
            left: Vec::new(),
            left_bytes: Vec::new(),
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
        self.expire_after(now, OPEN);
        index
    }

    /// Prefetches what forgetting the oldest of a list will need: nothing has touched it for long.
    fn prefetch_oldest(&self, list: usize) {
        if let Some(oldest) = self.connections.get(self.lists[list].oldest as usize) {
            prefetch_index(std::slice::from_ref(&oldest.hash), 0);
            for stream in &oldest.streams {
                prefetch_index(std::slice::from_ref(&stream.held), 0);
                prefetch_index(std::slice::from_ref(&stream.boundary), 0);
            }
        }
    }

    /// Notes that a connection was seen just now.
    #[inline]
    pub(super) fn touch(&mut self, index: u32, now: Timestamp) {
        let connection = &mut self.connections[index as usize];
        connection.last = now;
        if self.lists[connection.list].newest != index {
            self.unlink(index);
            self.link_newest(index);
        }
    }

    #[inline]
    pub(super) fn link_newest(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let list = &mut self.lists[connection.list];
        connection.newer = NONE;
        connection.older = list.newest;
        match std::mem::replace(&mut list.newest, index) {
            NONE => list.oldest = index,
            newest => self.connections[newest as usize].newer = index,
        }
    }

    #[inline]
    pub(super) fn unlink(&mut self, index: u32) {
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

    /// Notes that the patience with a gap will end, perhaps without a further segment.
    pub(super) fn note_gap(&mut self, index: u32, now: Timestamp) {
        let connection = &mut self.connections[index as usize];
        if !connection.gap_noted
            && connection.streams.iter().any(Stream::has_acknowledged_gap)
            && self.acknowledged_gaps.len() < self.limits.connections
        {
            connection.gap_noted = true;
            self.acknowledged_gaps.push_back((now, index));
        }
    }

    /// False when there is no connection for which [`Streams::next_left`] would look.
    #[inline]
    pub fn may_have_left(&self) -> bool {
        !self.acknowledged_gaps.is_empty()
    }

    /// The next connection whose patience with an acknowledged gap is over at `now`; what waited behind the gap is in
    /// [`Connection::left`].
    pub fn next_left(&mut self, now: Timestamp, tally: &mut Tally) -> Option<u32> {
        while let Some((since, index)) = self.acknowledged_gaps.front().copied()
            && now.0.saturating_sub(since.0) > GAP_PATIENCE
        {
            self.acknowledged_gaps.pop_front();
            // Another connection may have taken its slot.
            let connection = &mut self.connections[index as usize];
            if std::mem::take(&mut connection.gap_noted) {
                self.read_behind_gaps(index, now, false, tally);
                let connection = &mut self.connections[index as usize];
                let left = !connection.left.is_empty();
                connection.brought |= left;
                self.note_gap(index, now);
                if left {
                    return Some(index);
                }
            }
        }
        None
    }

    /// Reads into [`Connection::left`] what waits behind gaps that nobody will fill.
    fn read_behind_gaps(&mut self, index: u32, now: Timestamp, closing: bool, tally: &mut Tally) {
        let connection = &mut self.connections[index as usize];
        for (from, stream) in connection.streams.iter_mut().enumerate().filter(|(_, stream)| stream.holds()) {
            let mut work = Work {
                from,
                found: &mut connection.left,
                scratch: &mut connection.left_bytes,
                tally: &mut *tally,
                held_bytes: &mut self.held_bytes,
                limits: &self.limits,
                conflicts: &mut self.conflicts,
                zero_length: &mut self.zero_length,
                holes: &mut self.holes,
            };
            stream.give_up_gap(now, false, closing, &mut work);
        }
    }

    /// Forgets a connection; its unfinished bytes go to `bucket`. What waits behind gaps is read first, because nobody
    /// will fill them.
    pub(super) fn forget(&mut self, index: u32, bucket: Bucket, tally: &mut Tally) {
        let Connection { list, hash, last, .. } = self.connections[index as usize];
        self.unlink(index);
        self.prefetch_oldest(list);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.read_behind_gaps(index, last, true, tally);
        let connection = &mut self.connections[index as usize];
        for stream in &mut connection.streams {
            if bucket == Bucket::TcpEvicted {
                for _ in 0..std::mem::take(&mut stream.buffered_frames) {
                    tally.recount(Bucket::TcpUsed, bucket);
                }
            } else if stream.boundary == Boundary::Maybe {
                stream.disown_buffer(tally);
            }
            self.held_bytes -= stream.buffer.len();
        }
        connection.waiting = Waiting::default();
        let rejected = connection.rejected.is_some() && !connection.asked;
        if rejected || !(connection.brought || connection.noted) || !connection.left.is_empty() {
            let gone = Connection {
                streams: std::mem::take(&mut connection.streams),
                waiting: Waiting::default(),
                left: std::mem::take(&mut connection.left),
                left_bytes: std::mem::take(&mut connection.left_bytes),
                ..*connection
            };
            self.forgotten.push(gone);
        } else {
            connection.streams = [Stream::default(), Stream::default()];
        }
        self.free.push(index);
    }
}
