//! Keeps the queries in flight and those just closed ([`InFlight`]), to find the transaction of a message.
//!
//! A single lookup finds everything with the same flow and id: chains by keyed hash hold first the [`Slot`]s of open
//! transactions, then the closed ones, which are kept apart in rings; the question decides among several. Slots are
//! also linked by age, so that time-outs and evictions take the oldest. Free slots are reused last in, first out, so
//! that those in use stay in the processor's cache.

mod chain;
mod looking;
mod recent;
mod slot;

use super::clock::{Clock, STEP};
use super::kept::{Kept, KeptMessage};
use crate::capture::Timestamp;
use crate::decode::message::Message;
pub use crate::decode::message::Transport;
use chain::{Heads, Link, Node};
pub use looking::{OtherResponse, QueryIs, ResponseIs};
use prefetch_index::prefetch_index;
use recent::{Closed, Ended, Recent};
pub use slot::{Fingerprint, Flow, Sighting, Slot};
use std::collections::HashMap;

/// Index of no slot.
const NONE: u32 = u32::MAX;
/// Binary logarithm of a tick in nanoseconds: about a millisecond (2^20 ns), so that 32 bits cover far more time than a
/// query waits.
const TICK: u32 = 20;
/// Chains per slot and per closed transaction, at least. Most chains are then empty, so that a search for what is not
/// there takes a single access.
const CHAINS: usize = 4;

/// The open transactions opened right after and right before one. They are stored apart from the slots, in little
/// memory: whenever a transaction ends, two others get new neighbours.
#[derive(Debug, Clone, Copy)]
struct Neighbours {
    newer: u32,
    older: u32,
}

/// The table of open transactions and of those just closed.
#[derive(Debug)]
pub struct InFlight {
    slots: Vec<Slot>,
    /// Places of the slots in the chains.
    links: Vec<Link>,
    /// Places of the slots in the list by age.
    ages: Vec<Neighbours>,
    free: Vec<u32>,
    /// Chains of open transactions, then answered ones.
    heads: Heads,
    oldest: u32,
    newest: u32,
    /// The oldest open transaction is due after this place on the clock's line.
    due_after: i64,
    /// Where on the line the newest transaction was opened, and by how much (nanoseconds) the line was then ahead of
    /// the capture's time.
    line: (i64, i64),
    pending: usize,
    opened: u64,
    timeout: i64,
    answered: Recent,
    timed_out: Recent,
    timed_out_heads: Heads,
    /// The segments that rejected transactions, by slot. An entry is valid only while the slot is marked `rejected`.
    rejections: HashMap<u32, Sighting>,
    /// Timed-out transactions forgotten while a late response could still come, because the memory for them was full.
    pub forgotten_early: u64,
    /// Queries that seem to be the same packets as those of answered transactions, seen too much later to be taken for
    /// copies. Where captures overlap and their clocks differ, such queries count twice.
    pub copies_at_other_times: u64,
    /// Queries that may be the same packets as those of transactions that began in another input within 10 ms before,
    /// without an IPv4 identification to tell. Where captures hold the same packets, such queries count as
    /// retransmitted, or twice.
    pub again_in_other_inputs: u64,
    /// Bytes of queries and of early responses.
    pub kept: Kept,
}

impl InFlight {
    /// An empty table. `timeout` is in nanoseconds; `memory` is how many answered and how many timed-out transactions
    /// are remembered.
    pub fn new(timeout: i64, memory: usize) -> Self {
        Self {
            slots: Vec::new(),
            links: Vec::new(),
            ages: Vec::new(),
            free: Vec::new(),
            heads: Heads::new(memory * CHAINS),
            oldest: NONE,
            newest: NONE,
            due_after: i64::MAX,
            line: (0, 0),
            pending: 0,
            opened: 0,
            timeout,
            answered: Recent::new(memory),
            timed_out: Recent::new(memory),
            timed_out_heads: Heads::new(memory * CHAINS),
            rejections: HashMap::new(),
            forgotten_early: 0,
            copies_at_other_times: 0,
            again_in_other_inputs: 0,
            kept: Kept::default(),
        }
    }

    /// Number of transactions without a response so far.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// The slot with an index.
    #[inline]
    pub fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    /// Notes that a copy of the query was seen arriving, in an input: then the query has arrived, if it was first seen
    /// in the same input.
    pub fn note_arrival(&mut self, index: u32, input: u32) {
        let slot = &mut self.slots[index as usize];
        slot.arrived |= slot.query.frame.input == input;
    }

    /// Numbers of the pairs of open transactions.
    pub fn pairs(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| slot.open).map(|slot| slot.flow.pair)
    }

    /// Prefetches the head of the chain of a hash.
    #[inline]
    pub fn prefetch_chain(&self, hash: u64) {
        self.heads.prefetch(hash);
    }

    /// Prefetches the open transaction that is first in the chain of a hash.
    #[inline]
    pub fn prefetch_first(&self, hash: u64) {
        prefetch_index(&self.slots, self.heads.at(hash).first.slot_or_first());
    }

    /// A token that finds the slot again for as long as it holds the same transaction.
    pub fn token(&self, index: u32) -> u64 {
        self.slots[index as usize].opened << 32 | u64::from(index)
    }

    /// The slot of a token; `None` when the transaction is no longer open.
    pub fn open_slot(&self, token: u64) -> Option<u32> {
        let index = token as u32;
        let slot = self.slots.get(index as usize)?;
        (slot.open && self.token(index) == token).then_some(index)
    }

    /// Number of transactions opened so far.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The token of the newest open transaction, when its number is above `opened`.
    pub fn opened_after(&self, opened: u64) -> Option<u64> {
        let slot = self.slots.get(self.newest as usize)?;
        (slot.opened > opened).then(|| self.token(self.newest))
    }

    /// Marks the transaction of a token as rejected by the segment `by`, if it is still pending.
    pub fn reject(&mut self, token: u64, by: Sighting) {
        if let Some(index) = self.open_slot(token) {
            self.slots[index as usize].rejected = true;
            self.rejections.insert(index, by);
        }
    }

    /// Notes that the connection of a transaction was closed, if it is still pending: what the server would have
    /// answered is unknown.
    pub fn close(&mut self, token: u64) {
        if let Some(index) = self.open_slot(token) {
            self.slots[index as usize].closed = true;
        }
    }

    /// Takes the segment that rejected a transaction, if one did; called once, when the transaction is closed.
    pub fn take_rejection(&mut self, index: u32) -> Option<Sighting> {
        self.slots[index as usize].rejected.then(|| self.rejections.remove(&index)).flatten()
    }

    /// Forgets a rejection: the server answered all the same, so the rejection was not its own.
    #[cold]
    fn forget_rejection(&mut self, index: u32) {
        self.take_rejection(index);
    }

    /// Opens a transaction and returns its slot.
    #[allow(clippy::inline_always)] // once for every message
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn open(
        &mut self,
        hash: u64,
        flow: Flow,
        message: &Message,
        query: Sighting,
        fingerprint: Fingerprint,
        kept: KeptMessage,
        clock: &Clock,
    ) -> u32 {
        if self.slots.len() * CHAINS > self.heads.len() {
            self.more_chains();
        }
        self.opened += 1;
        self.line = (clock.line().0, clock.set_back());
        let head = self.heads.at_mut(hash);
        head.begin_anew_when(head.first.slot().is_none() & self.answered.has_left(head.first));
        let alone = !head.may_have(hash);
        let slot = Slot {
            hash,
            question: message.question,
            opened: self.opened,
            flow,
            kept,
            since: (self.line.0 >> TICK) as u32,
            opcode: message.opcode(),
            transfer: message.transfer && flow.transport == Transport::Tcp,
            rejected: false,
            open: true,
            alone,
            ambiguous: false,
            arrived: false,
            closed: false,
            query,
            repeated: fingerprint,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.links.push(Link::new(hash, Node::END));
                self.ages.push(Neighbours { newer: NONE, older: NONE });
                self.slots.len() as u32 - 1
            }
        };
        self.ages[index as usize] = Neighbours { newer: NONE, older: self.newest };
        self.links[index as usize] = Link::new(hash, head.put(hash, Node::open(index)));
        match self.newest {
            NONE => {
                self.oldest = index;
                self.due_after = self.due_after(index);
            }
            newest => self.ages[newest as usize].newer = index,
        }
        self.newest = index;
        self.pending += 1;
        index
    }

    /// Where on the clock's line a transaction was opened, and whether that is its query's own time. It is not when
    /// that time was not believed, or when the clock was set back since.
    #[inline]
    pub fn asked(&self, index: u32) -> (Timestamp, bool) {
        let slot = &self.slots[index as usize];
        let (line, set_back) = self.line;
        let ticks = ((line >> TICK) as u32).wrapping_sub(slot.since);
        // The end of the tick in which it was opened.
        let opened = ((line >> TICK) - i64::from(ticks) + 1).saturating_mul(1 << TICK);
        let asked = slot.query.time.0.saturating_add(set_back);
        // The query's time may be ahead of the line as it was then, when a leap was believed only later.
        let own = asked <= line && opened.saturating_sub(asked) <= STEP + (1 << TICK);
        (Timestamp(if own { asked } else { opened }), own)
    }

    /// Where on the clock's line a transaction is due.
    #[inline]
    fn due_after(&self, index: u32) -> i64 {
        self.asked(index).0.0.saturating_add(self.timeout)
    }

    /// False when no transaction can be due at `now` on the clock's line.
    #[inline]
    pub fn may_be_due(&self, now: Timestamp) -> bool {
        now.0 > self.due_after
    }

    /// The oldest pending transaction, if it is due: older than the timeout at `now` on the clock's line.
    #[inline]
    pub fn due(&mut self, now: Timestamp) -> Option<u32> {
        if self.may_be_due(now) { self.due_by_now(now) } else { None }
    }

    /// The same for a transaction that was due by what was known when it became the oldest; a leap may have been
    /// believed since.
    fn due_by_now(&mut self, now: Timestamp) -> Option<u32> {
        self.line.0 = now.0;
        self.due_after = self.due_after(self.oldest);
        (now.0 > self.due_after).then_some(self.oldest)
    }

    /// The oldest pending transaction, if there is one.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Closes a pending transaction with its response and remembers it.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn answer(&mut self, index: u32, response: Fingerprint, refused: bool) {
        if self.slots[index as usize].rejected {
            self.forget_rejection(index);
        }
        let closed = Closed { refused, ..self.slots[index as usize].closed(response, Ended::Answered) };
        self.discard(index);
        self.remember_answered(closed);
    }

    /// Closes a pending transaction without a response and remembers it.
    pub fn time_out(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        let closed = slot.closed(slot.repeated, Ended::TimedOut);
        self.discard(index);
        let asked = closed.asked;
        let gone = self.timed_out.push(&mut self.timed_out_heads.at_mut(closed.hash).first, closed);
        let missed = gone.is_some_and(|gone| asked.0.saturating_sub(gone.0) < self.timeout);
        self.forgotten_early += u64::from(missed);
    }

    /// Remembers a response that had no query.
    pub fn remember_orphan(&mut self, hash: u64, message: &Message, fingerprint: Fingerprint) {
        self.remember_answered(Closed {
            question: message.question.into(),
            opcode: message.opcode(),
            ..Closed::new(hash, fingerprint.time, fingerprint, fingerprint, Ended::Orphan)
        });
    }

    /// Puts a closed transaction into its chain, behind the open ones.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn remember_answered(&mut self, closed: Closed) {
        let head = self.heads.at_mut(closed.hash);
        head.note(closed.hash);
        let mut place = &mut head.first;
        while let Some(index) = place.slot() {
            let link = &mut self.links[index];
            if link.may_be(closed.hash) {
                self.slots[index].alone = false;
            }
            place = &mut link.older;
        }
        self.answered.push(place, closed);
    }

    /// Removes a pending transaction from the table without remembering it.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn discard(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let hash = slot.hash;
        let Neighbours { newer, older } = self.ages[index as usize];
        slot.open = false;
        self.kept.release(slot.kept);
        match newer {
            NONE => self.newest = older,
            newer => self.ages[newer as usize].older = older,
        }
        match older {
            NONE => {
                self.oldest = newer;
                self.due_after = if newer == NONE { i64::MAX } else { self.due_after(newer) };
            }
            older => self.ages[older as usize].newer = newer,
        }
        let next = self.links[index as usize].older;
        let mut place = &mut self.heads.at_mut(hash).first;
        while *place != Node::open(index)
            && let Some(before) = place.slot()
        {
            place = &mut self.links[before].older;
        }
        *place = next;
        self.free.push(index);
        self.pending -= 1;
    }

    /// Prefetches what is needed when the oldest transaction is due, which nothing has touched since it began: the head
    /// of its chain, and the next oldest transaction. Returns the number of its pair.
    pub fn prefetch_oldest(&self) -> Option<u32> {
        let slot = self.slots.get(self.oldest as usize)?;
        self.heads.prefetch(slot.hash);
        prefetch_index(&self.links, self.oldest as usize);
        let newer = self.ages[self.oldest as usize].newer;
        prefetch_index(&self.ages, newer as usize);
        if let Some(next) = self.slots.get(newer as usize) {
            prefetch_index(std::slice::from_ref(&next.hash), 0);
            prefetch_index(std::slice::from_ref(&next.query), 0);
        }
        Some(slot.flow.pair)
    }

    /// Takes the bytes kept with an open transaction out of it.
    pub fn take_kept(&mut self, index: u32) -> KeptMessage {
        std::mem::replace(&mut self.slots[index as usize].kept, KeptMessage::NONE)
    }

    /// Replaces the bytes kept with an open transaction.
    pub fn keep_again(&mut self, index: u32, bytes: &[u8]) {
        let slot = &mut self.slots[index as usize];
        self.kept.release(slot.kept);
        slot.kept = self.kept.keep(bytes);
    }

    /// Gives the memory back, after the time line has ended and nothing is open any more. Counts of anomalies stay.
    pub fn finish(&mut self) {
        *self = Self {
            forgotten_early: self.forgotten_early,
            copies_at_other_times: self.copies_at_other_times,
            again_in_other_inputs: self.again_in_other_inputs,
            ..Self::new(self.timeout, 0)
        };
    }

    /// Doubles the number of chains.
    #[cold]
    fn more_chains(&mut self) {
        let mut heads = Heads::new(self.heads.len() * 2);
        self.answered.chain_again(&mut heads);
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.open) {
            self.links[index].older = heads.at_mut(slot.hash).put(slot.hash, Node::open(index as u32));
        }
        self.heads = heads;
    }
}

#[cfg(test)]
mod tests;
