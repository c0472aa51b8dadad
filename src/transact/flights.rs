//! Messages to transactions: the table of queries in flight and of those just closed ([`Flights`]).
//!
//! A slot is found by its flow (addresses, ports, transport) and id; the question decides among several. Pending slots
//! stand in a list by age, so that time-outs and evictions take the oldest; closed slots stay for a while in two more,
//! so that copies, duplicates and late responses can be told from unsolicited ones.

use super::kept::{Kept, KeptMessage};
use crate::capture::Timestamp;
use crate::config::COPY_WINDOW;
use crate::decode::Point;
use crate::decode::message::{Message, Question};
use crate::sources::FrameRef;
use hashbrown::HashTable;

/// Transactions remembered with one flow and id; more are only made on purpose, and every message looks through them.
const MAX_SAME_FLOW: usize = 64;
/// No slot.
const NONE: u32 = u32::MAX;

/// UDP or TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transport {
    /// One message per datagram.
    Udp,
    /// Messages in a stream.
    Tcp,
}

impl Transport {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// What identifies a transaction besides its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Index of the client and server pair.
    pub pair: u32,
    /// The client's port.
    pub client_port: u16,
    /// The server's port.
    pub server_port: u16,
    /// Message identifier.
    pub id: u16,
    /// UDP or TCP.
    pub transport: Transport,
}

/// When, where and how a message was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Time of the (completing) frame.
    pub time: Timestamp,
    /// The (completing) frame.
    pub frame: FrameRef,
    /// The point of the capture.
    pub point: Point,
    /// IPv4 identification, 0 otherwise.
    pub ip_id: u16,
    /// Keyed hash of the payload.
    pub payload_hash: u32,
}

impl Sighting {
    /// True when `later` is the same packet seen again: equal payload within 10 ms, at another point or with an equal,
    /// non-zero IPv4 identification. (The flow is equal already.)
    #[inline]
    pub fn is_copied_by(&self, later: &Sighting) -> bool {
        self.payload_hash == later.payload_hash
            && (later.time.0.saturating_sub(self.time.0)).abs() <= COPY_WINDOW
            && (self.point != later.point || (self.ip_id != 0 && self.ip_id == later.ip_id))
    }
}

/// What a slot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On the free list.
    Free,
    /// No response yet.
    Pending,
    /// Has its response.
    Answered,
    /// Had none in time.
    TimedOut,
    /// A response whose query was not captured.
    Orphan,
}

/// A transaction, open or just closed.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Client, server, ports, id.
    pub flow: Flow,
    /// Operation code.
    pub opcode: u8,
    /// What it stands for.
    pub state: State,
    /// Asks for a zone transfer: several responses belong to it.
    pub transfer: bool,
    /// The server ended the TCP connection without a byte.
    pub rejected: bool,
    /// The question.
    pub question: Question,
    /// First query.
    pub query: Sighting,
    /// Last time the query was seen, to recognise copies of retransmissions.
    pub repeated: Sighting,
    /// The response (of the orphan: the message itself); last one seen.
    pub response: Sighting,
    /// Bytes of the first query.
    pub kept: KeptMessage,
    hash: u64,
    newer: u32,
    older: u32,
    generation: u32,
}

/// A doubly linked list through the slots, oldest first.
#[derive(Debug, Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE, len: 0 }
    }
}

/// What a query turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryIs {
    /// The beginning of a transaction; no slot yet.
    New,
    /// The same question again while it is pending.
    Retransmission,
    /// The same packet at another point.
    Copy,
}

/// What a response turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseIs {
    /// The response to the pending transaction in this slot.
    Match(u32),
    /// A further message of a zone transfer.
    Continued,
    /// The same packet at another point.
    Copy,
    /// A second response to an answered transaction.
    Duplicate,
    /// A response to a transaction that timed out, within one further timeout.
    Late,
    /// Flow and id of a pending transaction, but another question or operation.
    Mismatch,
    /// Nothing it could belong to.
    Unsolicited,
}

/// The table of transactions.
#[derive(Debug)]
pub struct Flights {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pending: List,
    answered: List,
    late: List,
    timeout: i64,
    memory: usize,
    /// Closed transactions forgotten before twice the timeout because the memory for them was full.
    pub forgotten_early: u64,
    /// Kept query bytes.
    pub kept: Kept,
    /// After [`Flights::query`]: the oldest of too many transactions with the same flow and id.
    pub crowded: Option<u32>,
}

impl Flights {
    /// An empty table; `timeout` in nanoseconds, `memory` closed transactions of each kind are remembered.
    pub fn new(timeout: i64, memory: usize) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            pending: List::default(),
            answered: List::default(),
            late: List::default(),
            timeout,
            memory,
            forgotten_early: 0,
            kept: Kept::default(),
            crowded: None,
        }
    }

    /// Transactions without a response so far.
    pub fn pending(&self) -> usize {
        self.pending.len
    }

    /// A slot.
    pub fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    /// A token that finds the slot again as long as it is the same transaction.
    pub fn token(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// Marks the transaction of a token as rejected, when it is still pending.
    pub fn reject(&mut self, token: u64, response: Sighting) {
        if let Some(slot) = self.slots.get_mut(token as u32 as usize)
            && u64::from(slot.generation) == token >> 32
            && slot.state == State::Pending
        {
            slot.rejected = true;
            slot.response = response;
        }
    }

    /// What a query is; a retransmission or copy is noted in its slot.
    #[inline]
    pub fn query(&mut self, hash: u64, flow: &Flow, message: &Message, seen: &Sighting) -> QueryIs {
        let mut is = QueryIs::New;
        let mut same_flow = 0;
        let mut oldest = (Timestamp(i64::MAX), NONE);
        for index in self.table.iter_hash(hash) {
            let slot = &mut self.slots[*index as usize];
            if slot.flow != *flow {
                continue;
            }
            same_flow += 1;
            if slot.query.time < oldest.0 {
                oldest = (slot.query.time, *index);
            }
            if slot.opcode != message.opcode() || slot.question != message.question {
                continue;
            }
            if slot.state != State::Orphan && slot.repeated.is_copied_by(seen) {
                return QueryIs::Copy;
            }
            if slot.state == State::Pending && seen.time.0.saturating_sub(slot.query.time.0) <= self.timeout {
                slot.repeated = *seen;
                is = QueryIs::Retransmission;
            }
        }
        self.crowded = (same_flow >= MAX_SAME_FLOW && is == QueryIs::New).then_some(oldest.1);
        is
    }

    /// Opens a transaction; returns its slot.
    #[inline]
    pub fn open(&mut self, hash: u64, flow: Flow, message: &Message, seen: Sighting, kept: KeptMessage) -> u32 {
        self.insert(hash, flow, message, seen, kept, State::Pending)
    }

    /// Remembers a response without its query.
    pub fn remember_orphan(&mut self, hash: u64, flow: Flow, message: &Message, seen: Sighting) {
        self.insert(hash, flow, message, seen, KeptMessage::NONE, State::Orphan);
    }

    fn insert(
        &mut self,
        hash: u64,
        flow: Flow,
        message: &Message,
        seen: Sighting,
        kept: KeptMessage,
        state: State,
    ) -> u32 {
        let slot = Slot {
            flow,
            opcode: message.opcode(),
            state,
            transfer: message.transfer,
            rejected: false,
            question: message.question,
            query: seen,
            repeated: seen,
            response: seen,
            kept,
            hash,
            newer: NONE,
            older: NONE,
            generation: 0,
        };
        let index = match self.free.pop() {
            Some(index) => {
                let generation = self.slots[index as usize].generation.wrapping_add(1);
                self.slots[index as usize] = Slot { generation, ..slot };
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.table.insert_unique(hash, index, |index| self.slots[*index as usize].hash);
        let list = if state == State::Pending { &mut self.pending } else { &mut self.answered };
        append(list, &mut self.slots, index);
        index
    }

    /// What a response is; what it repeats or continues is noted in its slot.
    #[inline]
    pub fn response(&mut self, hash: u64, flow: &Flow, message: &Message, seen: &Sighting) -> ResponseIs {
        let mut is = ResponseIs::Unsolicited;
        let mut best: Option<Timestamp> = None;
        let mut other_question = false;
        for index in self.table.iter_hash(hash) {
            let slot = &mut self.slots[*index as usize];
            if slot.flow != *flow {
                continue;
            }
            let age = seen.time.0.saturating_sub(slot.query.time.0);
            let fits = slot.opcode == message.opcode() && slot.question.fits(message.question);
            match slot.state {
                State::Pending if !fits => other_question |= age <= self.timeout,
                State::Pending if age <= self.timeout => {
                    // Several may wait when the response has no question: the oldest is taken.
                    if best.is_none_or(|best| slot.query.time < best) {
                        best = Some(slot.query.time);
                        is = ResponseIs::Match(*index);
                    }
                }
                State::Answered | State::Orphan if slot.response.is_copied_by(seen) => return ResponseIs::Copy,
                State::Answered if fits && best.is_none() => {
                    if slot.transfer && flow.transport == Transport::Tcp {
                        slot.response = *seen;
                        is = ResponseIs::Continued;
                    } else if age <= 2 * self.timeout && is != ResponseIs::Continued {
                        slot.response = *seen;
                        is = ResponseIs::Duplicate;
                    }
                }
                State::Pending | State::TimedOut
                    if fits && age <= 2 * self.timeout && is == ResponseIs::Unsolicited =>
                {
                    is = ResponseIs::Late;
                }
                _ => {}
            }
        }
        if is == ResponseIs::Unsolicited && other_question { ResponseIs::Mismatch } else { is }
    }

    /// The oldest pending transaction, when it is due: older than the timeout at `now`.
    #[inline]
    pub fn due(&self, now: Timestamp) -> Option<u32> {
        let oldest = self.pending.oldest;
        (oldest != NONE && now.0.saturating_sub(self.slots[oldest as usize].query.time.0) > self.timeout)
            .then_some(oldest)
    }

    /// The oldest pending transaction.
    pub fn oldest(&self) -> Option<u32> {
        (self.pending.oldest != NONE).then_some(self.pending.oldest)
    }

    /// Closes a pending transaction; its query's bytes go back to the pool. Returns pairs that lost a reference.
    #[inline]
    pub fn close(&mut self, index: u32, state: State, response: Option<Sighting>, released: impl FnMut(u32)) {
        remove(&mut self.pending, &mut self.slots, index);
        let slot = &mut self.slots[index as usize];
        self.kept.release(std::mem::replace(&mut slot.kept, KeptMessage::NONE));
        slot.state = state;
        if let Some(response) = response {
            slot.response = response;
        }
        let list = if state == State::Answered { &mut self.answered } else { &mut self.late };
        append(list, &mut self.slots, index);
        self.trim(released);
    }

    /// Forgets a transaction altogether.
    pub fn evict(&mut self, index: u32) {
        let list = match self.slots[index as usize].state {
            State::Pending => &mut self.pending,
            State::TimedOut => &mut self.late,
            _ => &mut self.answered,
        };
        remove(list, &mut self.slots, index);
        self.discard(index);
    }

    /// Forgets the oldest closed transactions beyond what is remembered.
    #[inline]
    pub fn trim(&mut self, mut released: impl FnMut(u32)) {
        while self.answered.len > self.memory {
            let oldest = self.answered.oldest;
            remove(&mut self.answered, &mut self.slots, oldest);
            released(self.slots[oldest as usize].flow.pair);
            self.discard(oldest);
        }
        while self.late.len > self.memory {
            let oldest = self.late.oldest;
            remove(&mut self.late, &mut self.slots, oldest);
            released(self.slots[oldest as usize].flow.pair);
            self.discard(oldest);
            self.forgotten_early += 1;
        }
    }

    fn discard(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        self.kept.release(std::mem::replace(&mut slot.kept, KeptMessage::NONE));
        slot.state = State::Free;
        if let Ok(entry) = self.table.find_entry(slot.hash, |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
    }
}

#[inline]
fn append(list: &mut List, slots: &mut [Slot], index: u32) {
    slots[index as usize].newer = NONE;
    slots[index as usize].older = list.newest;
    match list.newest {
        NONE => list.oldest = index,
        newest => slots[newest as usize].newer = index,
    }
    list.newest = index;
    list.len += 1;
}

#[inline]
fn remove(list: &mut List, slots: &mut [Slot], index: u32) {
    let (newer, older) = (slots[index as usize].newer, slots[index as usize].older);
    match newer {
        NONE => list.newest = older,
        newer => slots[newer as usize].older = older,
    }
    match older {
        NONE => list.oldest = newer,
        older => slots[older as usize].newer = newer,
    }
    list.len -= 1;
}
