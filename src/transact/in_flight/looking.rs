//! Classifies messages by the transactions of their flow: [`QueryIs`] and [`ResponseIs`].

use super::chain::Node;
use super::recent::{Closed, Ended, MAX_SAME_FLOW, ShortQuestion};
use super::{Fingerprint, InFlight, NONE};
use crate::capture::Timestamp;
use crate::decode::message::Message;

/// What a query turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryIs {
    /// The beginning of a transaction, which has no slot yet.
    New,
    /// The same, when too many of this flow and id are waiting: the slot of the oldest.
    Crowded(u32),
    /// The same question again while it is pending.
    Retransmission,
    /// A packet seen before: its slot, while the transaction is pending.
    Copy(Option<u32>),
}

/// What a response turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseIs {
    /// The response to the pending transaction in this slot.
    Match(u32),
    /// A response that ends no pending transaction.
    Other(OtherResponse),
}

/// What a response is that ends no pending transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherResponse {
    /// A further message of a zone transfer.
    Continued,
    /// A packet seen before.
    Copy,
    /// A second response to an answered transaction.
    Duplicate {
        /// The first was REFUSED.
        refused: bool,
        /// This one is the first that answers the refused query.
        answers: bool,
    },
    /// A response to a transaction that timed out, within one further timeout.
    Late,
    /// A response with flow and id of a pending transaction, but another question or opcode.
    Mismatch,
    /// A response without any transaction it could belong to.
    Unsolicited,
}

impl InFlight {
    /// Classifies a query of an input; a retransmission is noted in its slot.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn query(&mut self, hash: u64, message: &Message, fingerprint: &Fingerprint, input: u32) -> QueryIs {
        let head = self.heads.at(hash);
        if head.may_have(hash) { self.query_among(head.first, hash, message, fingerprint, input) } else { QueryIs::New }
    }

    /// Classifies a query whose chain may hold its hash.
    fn query_among(
        &mut self,
        first: Node,
        hash: u64,
        message: &Message,
        fingerprint: &Fingerprint,
        input: u32,
    ) -> QueryIs {
        let mut same_flow = 0;
        let mut oldest = (u64::MAX, NONE);
        let mut newest = (0, NONE);
        let mut node = first;
        while let Some(index) = node.slot() {
            let link = self.links[index];
            node = link.older;
            if !link.may_be(hash) || self.slots[index].hash != hash {
                continue;
            }
            let slot = &mut self.slots[index];
            slot.alone = false;
            same_flow += 1;
            oldest = oldest.min((slot.opened, index as u32));
            if slot.opcode == message.opcode() && slot.question == message.question {
                if slot.repeated.is_copied_by(fingerprint) {
                    return QueryIs::Copy(Some(index as u32));
                }
                if fingerprint.time.0.saturating_sub(slot.query.time.0) <= self.timeout {
                    newest = newest.max((slot.opened, index as u32));
                }
            }
        }
        if newest.1 != NONE {
            let slot = &mut self.slots[newest.1 as usize];
            let begun = Fingerprint { time: slot.query.time, ..slot.repeated };
            let again = slot.query.frame.input != input && begun.may_be_same_packet(fingerprint);
            self.again_in_other_inputs += u64::from(again);
            slot.repeated = *fingerprint;
            return QueryIs::Retransmission;
        }
        let copied = self.answered.newest(node, hash, |closed| {
            closed.ended == Ended::Answered
                && closed.opcode == message.opcode()
                && closed.question == message.question.into()
                && closed.query().is_copied_by(fingerprint)
        });
        if copied.is_some() {
            return QueryIs::Copy(None);
        }
        if self.answered.newest(node, hash, |closed| closed.query().is_same_packet(fingerprint)).is_some() {
            self.copies_at_other_times += 1;
        }
        let again = |closed: &Closed| {
            let begun = Fingerprint { time: closed.asked, ..closed.query() };
            closed.ended == Ended::Answered && closed.input != input as u16 && begun.may_be_same_packet(fingerprint)
        };
        self.again_in_other_inputs += u64::from(self.answered.newest(node, hash, again).is_some());
        if same_flow >= MAX_SAME_FLOW { QueryIs::Crowded(oldest.1) } else { QueryIs::New }
    }

    /// Classifies a response; what it repeats or continues is noted.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn response(&mut self, hash: u64, message: &Message, fingerprint: &Fingerprint) -> ResponseIs {
        let first = self.heads.at(hash).first;
        // Usually a single transaction of the flow waits, and no other is known.
        let mut node = first;
        while let Some(index) = node.slot() {
            let link = self.links[index];
            if link.may_be(hash) {
                let slot = &self.slots[index];
                if slot.alone
                    && slot.hash == hash
                    && slot.opcode == message.opcode()
                    && slot.question.fits(message.question)
                    && fingerprint.time.0.saturating_sub(slot.query.time.0) <= self.timeout
                {
                    return ResponseIs::Match(index as u32);
                }
                break;
            }
            node = link.older;
        }
        self.response_among(first, hash, message, fingerprint)
    }

    /// The same in general, whatever the chain holds.
    fn response_among(&mut self, first: Node, hash: u64, message: &Message, fingerprint: &Fingerprint) -> ResponseIs {
        let (opcode, question, timeout) = (message.opcode(), message.question, self.timeout);
        // Several may fit when the response has no question: the oldest is taken.
        let mut fitting = 0;
        let mut oldest = (Timestamp(i64::MAX), u64::MAX, NONE);
        let (mut other_question, mut late) = (false, false);
        let mut node = first;
        while let Some(index) = node.slot() {
            let link = self.links[index];
            node = link.older;
            if !link.may_be(hash) || self.slots[index].hash != hash {
                continue;
            }
            let slot = &self.slots[index];
            let age = fingerprint.time.0.saturating_sub(slot.query.time.0);
            if slot.opcode != opcode || !slot.question.fits(question) {
                other_question |= age <= timeout;
            } else if age > timeout {
                // Due, but not yet swept because packets are out of order.
                late |= age <= 2 * timeout;
            } else {
                fitting += 1;
                oldest = oldest.min((slot.query.time, slot.opened, index as u32));
            }
        }
        // A response without a query may be the copy of one whose query was captured later, by another clock; so the
        // query decides.
        let copied = |closed: &Closed| {
            (closed.ended != Ended::Orphan || oldest.2 == NONE) && closed.response().is_copied_by(fingerprint)
        };
        if self.answered.newest(node, hash, copied).is_some() {
            return ResponseIs::Other(OtherResponse::Copy);
        }
        if fitting > 1 {
            self.note_ambiguous(first, hash);
        }
        if oldest.2 != NONE {
            return ResponseIs::Match(oldest.2);
        }
        let question = ShortQuestion::from(question);
        let fits = |closed: &Closed| closed.opcode == opcode && closed.question.fits(question);
        let recent = |closed: &Closed| fingerprint.time.0.saturating_sub(closed.asked.0) <= 2 * timeout;
        let answered = |closed: &Closed| closed.ended == Ended::Answered && fits(closed);
        if let Some(transfer) = self.answered.newest(node, hash, |closed| answered(closed) && closed.transfer) {
            transfer.set_response(*fingerprint);
            return ResponseIs::Other(OtherResponse::Continued);
        }
        if let Some(duplicated) = self.answered.newest(node, hash, |closed| answered(closed) && recent(closed)) {
            duplicated.set_response(*fingerprint);
            let (refused, answers) = (duplicated.refused, !message.is_refused() && !message.is_denied());
            let noted = duplicated.second_noted;
            duplicated.second_noted |= answers;
            return ResponseIs::Other(OtherResponse::Duplicate { refused, answers: refused && answers && !noted });
        }
        let chain = self.timed_out_heads.at(hash).first;
        if late || self.timed_out.newest(chain, hash, |closed| fits(closed) && recent(closed)).is_some() {
            ResponseIs::Other(OtherResponse::Late)
        } else if other_question {
            ResponseIs::Other(OtherResponse::Mismatch)
        } else {
            ResponseIs::Other(OtherResponse::Unsolicited)
        }
    }

    /// Marks a transaction as ambiguous when a response without a question, at `now`, may be the late one to another
    /// question of the same flow and id that timed out.
    pub fn doubt(&mut self, index: u32, now: Timestamp) {
        let slot = &self.slots[index as usize];
        let (hash, question, timeout) = (slot.hash, ShortQuestion::from(slot.question), self.timeout);
        let chain = self.timed_out_heads.at(hash).first;
        let another =
            |closed: &Closed| closed.question != question && now.0.saturating_sub(closed.asked.0) <= 2 * timeout;
        if self.timed_out.newest(chain, hash, another).is_some() {
            self.slots[index as usize].ambiguous = true;
        }
    }

    /// Marks all open transactions of a flow and id as ambiguous: it is unknown which of them a response without a
    /// question belongs to, and so which of the others the next response belongs to.
    #[cold]
    fn note_ambiguous(&mut self, first: Node, hash: u64) {
        let mut node = first;
        while let Some(index) = node.slot() {
            node = self.links[index].older;
            let slot = &mut self.slots[index];
            slot.ambiguous |= slot.hash == hash;
        }
    }
}
