//! Messages to transactions: the table of queries in flight ([`Flights`]).
//!
//! A slot is found by its flow (addresses, ports, transport) and id; the question decides among several. Slots stand in
//! a list by age, so that time-outs and evictions take the oldest, and are used again last in, first out, so that those
//! in use stay in the processor's cache. A closed transaction moves to one of two [`Recent`] rings.

use super::kept::{Kept, KeptMessage};
use super::recent::{Closed, Ended, MAX_SAME_FLOW, Print, Recent};
use crate::capture::Timestamp;
use crate::decode::Point;
pub use crate::decode::message::Transport;
use crate::decode::message::{Message, Question};
use crate::sources::FrameRef;
use hashbrown::HashTable;

/// No slot.
const NONE: u32 = u32::MAX;

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
    /// Keyed hash of the payload.
    pub payload_hash: u32,
    /// IPv4 identification, 0 otherwise.
    pub ip_id: u16,
}

/// An open transaction; two cache lines.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Slot {
    hash: u64,
    /// The question.
    pub question: Question,
    /// First query.
    pub query: Sighting,
    /// The query as last seen, to recognise copies of retransmissions.
    repeated: Print,
    /// Client, server, ports, id.
    pub flow: Flow,
    /// Bytes of the first query.
    pub kept: KeptMessage,
    newer: u32,
    older: u32,
    generation: u32,
    /// Counts transactions: the order of opening.
    opened: u64,
    /// Operation code.
    pub opcode: u8,
    /// In use.
    open: bool,
    /// Asks for a zone transfer: several responses belong to it.
    transfer: bool,
    /// The server ended the TCP connection without a byte; when and where is in `rejections`.
    rejected: bool,
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
    oldest: u32,
    newest: u32,
    pending: usize,
    opened: u64,
    timeout: i64,
    answered: Recent,
    timed_out: Recent,
    rejections: Vec<(u64, Sighting)>,
    /// Timed-out transactions forgotten while a late response could still come, because the memory for them was full.
    pub forgotten_early: u64,
    /// Kept query bytes.
    pub kept: Kept,
    /// After [`Flights::query`]: the oldest of too many transactions with the same flow and id.
    pub crowded: Option<u32>,
}

/// Rejected transactions whose rejecting segment is remembered; they are closed soon.
const MAX_REJECTIONS: usize = 4096;

impl Flights {
    /// An empty table; `timeout` in nanoseconds, `memory` closed transactions of each kind are remembered.
    pub fn new(timeout: i64, memory: usize) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            pending: 0,
            opened: 0,
            timeout,
            answered: Recent::new(memory),
            timed_out: Recent::new(memory),
            rejections: Vec::new(),
            forgotten_early: 0,
            kept: Kept::default(),
            crowded: None,
        }
    }

    /// Transactions without a response so far.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// A slot.
    #[inline]
    pub fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    /// Pairs that open transactions refer to.
    pub fn pairs(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| slot.open).map(|slot| slot.flow.pair)
    }

    /// The pair of an open transaction whose flow has this hash.
    #[inline]
    pub fn pair_of(&self, hash: u64) -> Option<u32> {
        let index = self.table.find(hash, |index| self.slots[*index as usize].hash == hash)?;
        Some(self.slots[*index as usize].flow.pair)
    }

    /// Where an open transaction whose flow has this hash may stand; [`Flights::glance_at`] looks there.
    #[inline]
    pub fn glance(&self, hash: u64) -> Option<u32> {
        self.table.iter_hash(hash).next().copied()
    }

    /// Looks where a closed transaction whose flow has this hash would be noted, like [`Flights::glance_at`].
    #[inline]
    pub fn glance_at_closed(&self, hash: u64) -> u32 {
        self.answered.glance(hash)
    }

    /// The pair of the transaction in a slot, to have its memory at hand when it is used.
    #[inline]
    pub fn glance_at(&self, index: u32) -> u32 {
        self.slots[index as usize].flow.pair
    }

    /// A token that finds the slot again as long as it is the same transaction.
    pub fn token(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// The slot of a token, while the transaction is open.
    pub fn open_slot(&self, token: u64) -> Option<u32> {
        let index = token as u32;
        let slot = self.slots.get(index as usize)?;
        (u64::from(slot.generation) == token >> 32 && slot.open).then_some(index)
    }

    /// Marks the transaction of a token as rejected by the segment `by`, when it is still pending.
    pub fn reject(&mut self, token: u64, by: Sighting) {
        if let Some(slot) = self.slots.get_mut(token as u32 as usize)
            && u64::from(slot.generation) == token >> 32
            && slot.open
        {
            slot.rejected = true;
            if self.rejections.len() < MAX_REJECTIONS {
                self.rejections.push((token, by));
            }
        }
    }

    /// The segment that rejected a transaction, when one did; asked once, when it is closed.
    pub fn take_rejection(&mut self, index: u32) -> Option<Option<Sighting>> {
        if !self.slots[index as usize].rejected {
            return None;
        }
        let token = self.token(index);
        let place = self.rejections.iter().position(|(other, _)| *other == token);
        Some(place.map(|place| self.rejections.swap_remove(place).1))
    }

    /// What a query is; a retransmission or copy is noted in its slot.
    #[inline]
    pub fn query(&mut self, hash: u64, flow: &Flow, message: &Message, seen: &Sighting) -> QueryIs {
        let (opcode, question) = (message.opcode(), message.question);
        let mut same_flow = 0;
        let mut oldest = (u64::MAX, NONE);
        let mut newest = (0, NONE);
        self.crowded = None;
        for index in self.table.iter_hash(hash) {
            let slot = &self.slots[*index as usize];
            if slot.flow != *flow {
                continue;
            }
            same_flow += 1;
            oldest = oldest.min((slot.opened, *index));
            if slot.opcode == opcode && slot.question == question {
                if slot.repeated.is_copied_by(seen) {
                    return QueryIs::Copy;
                }
                if seen.time.0.saturating_sub(slot.query.time.0) <= self.timeout {
                    newest = newest.max((slot.opened, *index));
                }
            }
        }
        if newest.1 != NONE {
            self.slots[newest.1 as usize].repeated = seen.into();
            return QueryIs::Retransmission;
        }
        if same_flow >= MAX_SAME_FLOW {
            self.crowded = Some(oldest.1);
        }
        let copied = self.answered.newest(hash, |closed| {
            closed.ended == Ended::Answered
                && closed.opcode == opcode
                && closed.question == question.into()
                && closed.query().is_copied_by(seen)
        });
        if copied.is_some() { QueryIs::Copy } else { QueryIs::New }
    }

    /// Opens a transaction; returns its slot.
    #[inline]
    pub fn open(&mut self, hash: u64, flow: Flow, message: &Message, seen: Sighting, kept: KeptMessage) -> u32 {
        self.opened += 1;
        let slot = Slot {
            hash,
            question: message.question,
            query: seen,
            repeated: (&seen).into(),
            flow,
            kept,
            newer: NONE,
            older: self.newest,
            generation: 0,
            opened: self.opened,
            opcode: message.opcode(),
            open: true,
            transfer: message.transfer,
            rejected: false,
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
        match self.newest {
            NONE => self.oldest = index,
            newest => self.slots[newest as usize].newer = index,
        }
        self.newest = index;
        self.pending += 1;
        index
    }

    /// What a response is; what it repeats or continues is noted.
    #[inline]
    pub fn response(&mut self, hash: u64, flow: &Flow, message: &Message, seen: &Sighting) -> ResponseIs {
        let (opcode, question, timeout) = (message.opcode(), message.question, self.timeout);
        if self.answered.newest(hash, |closed| closed.response().is_copied_by(seen)).is_some() {
            return ResponseIs::Copy;
        }
        // Several may wait when the response has no question: the oldest is taken.
        let mut oldest = (Timestamp(i64::MAX), u64::MAX, NONE);
        let (mut other_question, mut late) = (false, false);
        for index in self.table.iter_hash(hash) {
            let slot = &self.slots[*index as usize];
            if slot.flow != *flow {
                continue;
            }
            let age = seen.time.0.saturating_sub(slot.query.time.0);
            if slot.opcode != opcode || !slot.question.fits(question) {
                other_question |= age <= timeout;
            } else if age > timeout {
                // Due, but not swept yet because the capture's packets are out of order.
                late |= age <= 2 * timeout;
            } else {
                oldest = oldest.min((slot.query.time, slot.opened, *index));
            }
        }
        if oldest.2 != NONE {
            return ResponseIs::Match(oldest.2);
        }
        let fits = |closed: &Closed| closed.opcode == opcode && closed.question.fits(question.into());
        let recent = |closed: &Closed| seen.time.0.saturating_sub(closed.asked.0) <= 2 * timeout;
        let answered = |closed: &Closed| closed.ended == Ended::Answered && fits(closed);
        if let Some(transfer) = self.answered.newest(hash, |closed| answered(closed) && closed.transfer) {
            transfer.set_response(seen.into());
            return ResponseIs::Continued;
        }
        if let Some(duplicated) = self.answered.newest(hash, |closed| answered(closed) && recent(closed)) {
            duplicated.set_response(seen.into());
            return ResponseIs::Duplicate;
        }
        if late || self.timed_out.newest(hash, |closed| fits(closed) && recent(closed)).is_some() {
            ResponseIs::Late
        } else if other_question {
            ResponseIs::Mismatch
        } else {
            ResponseIs::Unsolicited
        }
    }

    /// The oldest pending transaction, when it is due: older than the timeout at `now`.
    #[inline]
    pub fn due(&self, now: Timestamp) -> Option<u32> {
        let oldest = self.oldest;
        (oldest != NONE && now.0.saturating_sub(self.slots[oldest as usize].query.time.0) > self.timeout)
            .then_some(oldest)
    }

    /// The oldest pending transaction.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Closes a pending transaction with its response, or without one; its query's bytes go back to the pool.
    #[inline]
    pub fn close(&mut self, index: u32, response: Option<&Sighting>) {
        self.discard(index);
        let slot = &self.slots[index as usize];
        let ended = if response.is_some() { Ended::Answered } else { Ended::TimedOut };
        let answer = response.map_or(slot.repeated, Print::from);
        let closed = Closed {
            question: slot.question.into(),
            opcode: slot.opcode,
            transfer: slot.transfer && slot.flow.transport == Transport::Tcp,
            ..Closed::new(slot.hash, slot.query.time, slot.repeated, answer, ended)
        };
        match response {
            Some(_) => {
                self.answered.push(closed);
            }
            None => {
                let asked = closed.asked;
                let gone = self.timed_out.push(closed);
                let missed = gone.is_some_and(|gone| asked.0.saturating_sub(gone.0) < self.timeout);
                self.forgotten_early += u64::from(missed);
            }
        }
    }

    /// Remembers a response without its query.
    pub fn remember_orphan(&mut self, hash: u64, message: &Message, seen: &Sighting) {
        self.answered.push(Closed {
            question: message.question.into(),
            opcode: message.opcode(),
            ..Closed::new(hash, seen.time, seen.into(), seen.into(), Ended::Orphan)
        });
    }

    /// Takes a pending transaction out of the table; it is not remembered.
    #[inline]
    pub fn discard(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let (hash, newer, older) = (slot.hash, slot.newer, slot.older);
        slot.open = false;
        self.kept.release(std::mem::replace(&mut slot.kept, KeptMessage::NONE));
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
        self.pending -= 1;
    }
}
