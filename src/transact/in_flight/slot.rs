//! An open transaction ([`Slot`]): what identifies it and where it was seen.

use super::recent::{Closed, Ended};
use crate::capture::Timestamp;
use crate::config::COPY_WINDOW;
use crate::decode::Point;
use crate::decode::message::{Question, Transport};
use crate::sources::FrameRef;
use crate::transact::kept::KeptMessage;

/// What identifies a transaction, besides its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Number of the client and server pair.
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

/// When and where a message was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Time of the frame, or of the frame that completed the message.
    pub time: Timestamp,
    /// The frame, or the one that completed the message.
    pub frame: FrameRef,
    /// The point of capture.
    pub point: Point,
}

impl Sighting {
    /// The time that the capture has for the frame, to be reported; [`Timestamp::UNTIMED`] when it has none.
    pub fn recorded_time(&self) -> Timestamp {
        if self.point.is_untimed() { Timestamp::UNTIMED } else { self.time }
    }
}

/// What is compared to recognise a packet seen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Time of the frame.
    pub time: Timestamp,
    /// The point of capture, folded to 32 bits.
    pub(super) point: u32,
    /// Lower half of the keyed hash of the payload.
    pub(super) payload_hash: u32,
    /// IPv4 identification; 0 for IPv6, for TCP, and when absent.
    pub(super) ip_id: u16,
}

impl Fingerprint {
    /// What identifies a message with this payload hash.
    #[inline]
    pub fn new(time: Timestamp, point: Point, payload_hash: u32, ip_id: u16) -> Self {
        Self { time, point: point.folded(), payload_hash, ip_id }
    }

    /// True when both have the same payload and the same non-zero IPv4 identification, whenever they were seen. (The
    /// flow is known to be equal.)
    pub fn is_same_packet(&self, other: &Fingerprint) -> bool {
        self.payload_hash == other.payload_hash && self.ip_id != 0 && self.ip_id == other.ip_id
    }

    /// True when nothing distinguishes the other packet from this one seen again within 10 ms: equal payload and no
    /// IPv4 identification. (The flow is known to be equal.)
    pub fn may_be_same_packet(&self, other: &Fingerprint) -> bool {
        let near = other.time.0.saturating_sub(self.time.0).unsigned_abs() <= COPY_WINDOW as u64;
        self.payload_hash == other.payload_hash && near && self.ip_id == 0 && other.ip_id == 0
    }

    /// True when `later` is the same packet seen again: equal payload (except for the case of letters in the question)
    /// within 10 ms, at another point or with an equal, non-zero IPv4 identification. (The flow is known to be equal.)
    #[inline]
    pub fn is_copied_by(&self, later: &Fingerprint) -> bool {
        self.payload_hash == later.payload_hash
            && later.time.0.saturating_sub(self.time.0).unsigned_abs() <= COPY_WINDOW as u64
            && (self.point != later.point || (self.ip_id != 0 && self.ip_id == later.ip_id))
    }
}

/// An open transaction, in two cache lines; processors that fetch lines in pairs fetch both together. The first line
/// has what a lookup needs.
#[derive(Debug, Clone)]
#[repr(C, align(128))]
pub struct Slot {
    /// Keyed 64-bit hash of addresses, ports, transport and identifier. The key is secret, so equal hashes are taken as
    /// equal flows.
    pub(super) hash: u64,
    /// The question.
    pub question: Question,
    /// The number of this transaction, in the order of opening.
    pub(super) opened: u64,
    /// Client, server, ports, transport and identifier.
    pub flow: Flow,
    /// Bytes of the first query.
    pub kept: KeptMessage,
    /// When it was opened, in ticks of the clock's line.
    pub(super) since: u32,
    /// Operation code.
    pub opcode: u8,
    /// The query asks for a zone transfer over TCP, so several responses belong to it.
    pub(super) transfer: bool,
    /// The server ended the TCP connection without sending a byte; the segment is in `rejections`.
    pub(super) rejected: bool,
    /// The slot is in use.
    pub(super) open: bool,
    /// No other transaction of this flow and id was known when this one was opened, and none came since.
    pub(super) alone: bool,
    /// A response without a question came that may belong to another transaction of this flow and id.
    pub ambiguous: bool,
    /// A copy of the query was seen arriving, in the input in which the query was first seen.
    pub arrived: bool,
    /// One side closed the TCP connection while the query waited.
    pub closed: bool,
    /// The first query.
    pub query: Sighting,
    /// The query as last seen, to recognise copies.
    pub(super) repeated: Fingerprint,
}

impl Slot {
    /// Keyed hash of flow and identifier; it stands for them.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What is remembered of the transaction when it has ended; `response` has no meaning when there was none.
    #[inline]
    pub(super) fn closed(&self, response: Fingerprint, ended: Ended) -> Closed {
        Closed {
            question: self.question.into(),
            opcode: self.opcode,
            transfer: self.transfer,
            second_noted: self.ambiguous,
            input: self.query.frame.input as u16,
            ..Closed::new(self.hash, self.query.time, self.repeated, response, ended)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Direction;
    use crate::decode::Interface;

    #[test]
    fn a_transaction_is_two_cache_lines() {
        assert_eq!(size_of::<Slot>(), 128);
        assert!(std::mem::offset_of!(Slot, query) <= 64);
    }

    #[test]
    fn copies_are_the_same_packet_soon_elsewhere_or_with_its_identification() {
        let fingerprint = |vlan: u16, time: i64, payload_hash: u32, ip_id: u16| {
            let point = Point::new(Interface::Section(0), [vlan, 0], Direction::Unknown);
            Fingerprint::new(Timestamp(time), point, payload_hash, ip_id)
        };
        let first = fingerprint(1, 0, 7, 0);
        assert!(first.is_copied_by(&fingerprint(2, COPY_WINDOW, 7, 0)), "at another point");
        assert!(!first.is_copied_by(&fingerprint(2, COPY_WINDOW + 1, 7, 0)), "too late");
        assert!(!first.is_copied_by(&fingerprint(2, 0, 8, 0)), "other bytes");
        assert!(
            !first.is_copied_by(&fingerprint(1, 5, 7, 0)),
            "the same point, and nothing tells it from a repetition"
        );
        assert!(fingerprint(1, 0, 7, 9).is_copied_by(&fingerprint(1, 5, 7, 9)), "the same identification");
    }
}
