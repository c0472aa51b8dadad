//! One direction of a connection ([`Stream`]): finds the messages in its bytes, and the bucket of each segment.

use super::super::proxy::{self, Look};
use super::super::{Bucket, Segment, Tally};
use super::boundary::{Boundary, PROBE, begins_message};
use super::gap::Held;
use super::{Arrival, Found, Place, StreamLimits};
use crate::capture::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// A segment further ahead than this is not believed; it is the largest window (RFC 7323 section 2.3), or the most that
/// may be lost at once.
const MAX_AHEAD: i32 = 1 << 30;
/// A segment further behind than this is not believed, and one with both numbers further away belongs to another
/// connection: 16 times the largest unscaled window.
const FAR: i32 = 1 << 20;

/// What the first bytes of a direction turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Beginning {
    /// Not seen yet, or too few.
    #[default]
    Open,
    /// A message, or the middle of something.
    Plain,
    /// A proxy's header.
    Proxy(Arc<[u8]>),
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) boundary: Boundary,
    pub(super) beginning: Beginning,
    /// Sequence number of the first byte seen.
    pub(super) start: u32,
    /// Sequence number of the next byte.
    pub(super) next: u32,
    /// Bytes of an unfinished message; those before `consumed` are done.
    pub(super) buffer: Vec<u8>,
    consumed: usize,
    /// How many of them each segment contributed, while the boundary is [`Boundary::Maybe`].
    pieces: Vec<usize>,
    /// Frames with bytes in the unfinished message.
    pub(super) buffered_frames: u32,
    /// The last frame that contributed to it.
    buffered_by: Arrival,
    /// Bytes of a truncated or torn message that are still to be skipped.
    skip: u32,
    /// Segments ahead of a gap, in sequence order.
    pub(super) held: Vec<Held>,
    pub(super) held_bytes: usize,
    /// The last gap that was skipped: what comes from there later was never looked at.
    pub(super) passed: Option<(u32, u32)>,
    /// Highest acknowledgment by the other side.
    pub(super) acknowledged: Option<u32>,
    /// The first acknowledgment by the other side, and whether that side had sent nothing before.
    first_acknowledged: Option<(u32, bool)>,
    /// Sequence number of the last segment without data.
    last_shown: Option<u32>,
    /// A message has been found.
    any: bool,
    pub(super) ended: bool,
    pub(super) reset: bool,
}

/// Distance from `reference` to `sequence`; sequence numbers wrap (RFC 9293 section 3.4).
#[inline]
pub(super) fn ahead(sequence: u32, reference: u32) -> i32 {
    sequence.wrapping_sub(reference) as i32
}

/// What a stream borrows from its owner while it works.
pub(super) struct Work<'a> {
    /// Index of this stream.
    pub(super) from: usize,
    pub(super) found: &'a mut Vec<Found>,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) tally: &'a mut Tally,
    pub(super) held_bytes: &'a mut usize,
    pub(super) limits: &'a StreamLimits,
    pub(super) conflicts: &'a mut u64,
    pub(super) zero_length: &'a mut u64,
    pub(super) holes: &'a mut u64,
}

impl Stream {
    /// True for a segment before which this side has sent nothing.
    pub(super) fn is_at_start(&self, segment: &Segment) -> bool {
        self.boundary != Boundary::Unknown && segment.sequence == self.start
    }

    /// True when a sequence number or an acknowledgment is far from everything known of this side.
    pub(super) fn is_far(&self, number: u32) -> bool {
        let known = if self.boundary == Boundary::Unknown { self.acknowledged } else { Some(self.next) };
        known.is_some_and(|known| !(-FAR..=FAR).contains(&ahead(number, known)))
    }

    /// Takes an acknowledgment by the other side, which may have sent nothing so far; true when it shows, for the first
    /// time, that bytes were sent that the capture does not have.
    #[inline]
    pub(super) fn is_acknowledged(&mut self, number: u32, at_start: bool) -> bool {
        self.first_acknowledged.get_or_insert((number, at_start));
        let news = self.acknowledged.is_none_or(|seen| ahead(number, seen) > 0);
        if news {
            self.acknowledged = Some(number);
        }
        news && self.has_acknowledged_unseen(self.ended)
    }

    /// True when the other side has acknowledged bytes that the capture does not have, whether or not the stream has
    /// ended.
    pub(super) fn has_acknowledged_unseen(&self, ended: bool) -> bool {
        let Some(seen) = self.acknowledged else { return false };
        match self.boundary {
            Boundary::Unknown => self.first_acknowledged.is_some_and(|(first, _)| ahead(seen, first) > 0),
            // A FIN takes one sequence number.
            _ => ahead(seen, self.next) > i32::from(ended),
        }
    }

    /// Takes the sequence number of a segment that neither has data nor closes; true when it differs from the one
    /// before and shows that bytes were sent that the capture does not have. Keepalives repeat theirs while the
    /// connection is idle.
    pub(super) fn is_past_unseen(&mut self, sequence: u32) -> bool {
        let before = self.last_shown.replace(sequence);
        let seen = match (self.boundary, self.first_acknowledged) {
            (Boundary::Unknown, first) => first.map(|(number, _)| number).or(before),
            // A FIN takes one sequence number.
            _ => Some(self.next.wrapping_add(u32::from(self.ended))),
        };
        before != Some(sequence) && seen.is_some_and(|seen| ahead(sequence, seen) > 0)
    }

    /// True when the closing segment shows, or cannot rule out, that bytes were sent before it that the capture does
    /// not have: they were acknowledged, or its sequence number is past what was seen. When not even the SYN was
    /// captured, the first acknowledgment by the other side, before it sent anything, tells where the stream began.
    pub(super) fn has_sent_unseen(&self, closing: &Segment) -> bool {
        let past = match (self.boundary, self.first_acknowledged) {
            (Boundary::Unknown, None) => closing.fin(),
            (Boundary::Unknown, Some((first, at_start))) => {
                closing.fin() || !at_start || ahead(closing.sequence, first) > 0
            }
            // It may be one past a FIN: so is the RST with which a host answers what arrives on a connection that it
            // has closed.
            _ => ahead(closing.sequence, self.next) > i32::from(self.ended),
        };
        past || self.has_acknowledged_unseen(self.ended || closing.fin())
    }

    /// Takes the sequence number of a segment's first data byte; a SYN, which tells the stream's first number, comes
    /// before it.
    #[inline]
    fn begin(&mut self, segment: &Segment) -> u32 {
        if !segment.syn() {
            return segment.sequence;
        }
        let sequence = segment.sequence.wrapping_add(1);
        if self.boundary == Boundary::Unknown {
            self.boundary = Boundary::Known;
            (self.start, self.next) = (sequence, sequence);
        }
        sequence
    }

    /// Takes a segment without data.
    #[inline]
    pub(super) fn without_data(&mut self, segment: &Segment, tally: &mut Tally) {
        self.begin(segment);
        tally.count(Bucket::TcpControl);
    }

    /// Takes a segment: uses it, holds it, or says why not.
    #[inline]
    pub(super) fn segment(
        &mut self,
        segment: &Segment,
        data: &[u8],
        by: &Arrival,
        now: Timestamp,
        work: &mut Work<'_>,
    ) {
        if segment.full_len == 0 {
            return self.without_data(segment, work.tally);
        }
        let sequence = self.begin(segment);
        if self.boundary == Boundary::Unknown {
            self.boundary = Boundary::Lost;
            (self.start, self.next) = (sequence, sequence);
        }
        let distance = ahead(sequence, self.next);
        if !(-FAR..=MAX_AHEAD).contains(&distance) {
            work.tally.count(Bucket::TcpOutOfWindow);
        } else if distance > 0 {
            self.hold(Held { sequence, data: data.to_vec(), full_len: segment.full_len, by: *by, since: now }, work);
        } else {
            self.count_in_order(sequence, data, segment.full_len, (by, true), work);
            if self.holds() {
                self.use_held(work);
            }
        }
    }

    /// Takes a segment in order and counts it. It counts as used from the start, because its bytes may be given up
    /// again before all of it is taken. `from` is the frame that brought it, and whether that is the segment just
    /// pushed.
    pub(super) fn count_in_order(
        &mut self,
        sequence: u32,
        data: &[u8],
        full_len: u32,
        from: (&Arrival, bool),
        work: &mut Work<'_>,
    ) {
        work.tally.count(Bucket::TcpUsed);
        let bucket = self.in_order(sequence, data, full_len, from, work);
        if bucket != Bucket::TcpUsed {
            work.tally.recount(Bucket::TcpUsed, bucket);
        }
    }

    /// Takes bytes at or before the next expected one; returns the bucket of the segment.
    fn in_order(
        &mut self,
        sequence: u32,
        data: &[u8],
        full_len: u32,
        (by, in_segment): (&Arrival, bool),
        work: &mut Work<'_>,
    ) -> Bucket {
        let old = ahead(self.next, sequence) as u32;
        let differs = old > 0 && self.differs_from_buffer(sequence, data);
        *work.conflicts += u64::from(differs);
        if old >= full_len {
            let from_gap = self.passed.is_some_and(|(start, end)| {
                ahead(sequence, start) >= 0 && ahead(sequence.wrapping_add(full_len), end) <= 0
            });
            return match (differs, from_gap) {
                (true, _) => Bucket::TcpConflict,
                (false, true) => Bucket::TcpBehindHole,
                (false, false) => Bucket::TcpDuplicate,
            };
        }
        let new = data.get(old as usize..).unwrap_or(&[]);
        let missing = full_len - old - new.len() as u32;
        self.next = sequence.wrapping_add(full_len);
        let base = in_segment.then_some(old as usize);
        let bucket = self.bytes(new, base, by, work);
        if missing > 0 {
            self.pass_over(missing, work);
        }
        bucket
    }

    /// True when repeated bytes differ from those still in the buffer.
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

    /// Takes new bytes in order. `base` is their offset in the segment just pushed, when they are part of it.
    fn bytes(&mut self, new: &[u8], base: Option<usize>, by: &Arrival, work: &mut Work<'_>) -> Bucket {
        let mut at = (self.skip as usize).min(new.len());
        self.skip -= at as u32;
        if at == new.len() {
            return Bucket::TcpUsed;
        }
        if matches!(self.beginning, Beginning::Open) {
            at += self.pass_proxy_header(&new[at..], by, work);
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
            let Work { found, scratch, zero_length, from, .. } = work;
            at += each_message(&new[at..], zero_length, |range| {
                let range = at + range.start..at + range.end;
                let place = match base {
                    Some(base) => Place::Segment(base + range.start..base + range.end),
                    None => keep(scratch, &new[range]),
                };
                self.any = true;
                found.push(Found { place, cut: false, from: *from, by: *by });
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
        if self.boundary == Boundary::Maybe {
            self.pieces.push(rest.len());
        }
        self.read_buffer(by, work)
    }

    /// Looks for a proxy's header in the first bytes; returns how many of the `new` ones are used up: those of the
    /// header, or all while it is incomplete.
    fn pass_proxy_header(&mut self, new: &[u8], by: &Arrival, work: &mut Work<'_>) -> usize {
        let waiting = self.buffer.len();
        let looked = if waiting > 0 { proxy::look(&[&self.buffer, new].concat()) } else { proxy::look(new) };
        match looked {
            Look::Whole(header) => {
                let mut bytes = std::mem::take(&mut self.buffer);
                let used = header.len - waiting;
                bytes.extend_from_slice(&new[..used]);
                *work.held_bytes -= waiting;
                self.buffered_frames = 0;
                self.buffered_by = Arrival::default();
                self.beginning = Beginning::Proxy(proxy::without_extensions(&bytes).into());
                self.boundary = Boundary::Known;
                used
            }
            // In the middle of a connection, less than the whole signature could be anything.
            Look::More if self.boundary == Boundary::Known || new.len() >= proxy::SIGNATURE.len() => {
                self.boundary = Boundary::Known;
                if *work.held_bytes + new.len() > work.limits.total_bytes {
                    self.beginning = Beginning::Plain;
                    return 0;
                }
                *work.held_bytes += new.len();
                self.buffer.extend_from_slice(new);
                self.buffered_frames += 1;
                self.buffered_by = self.buffered_by.or_later(*by);
                new.len()
            }
            _ => {
                self.beginning = Beginning::Plain;
                0
            }
        }
    }

    /// Finds messages in the buffer; returns the bucket of the frame that contributed the last bytes.
    fn read_buffer(&mut self, by: &Arrival, work: &mut Work<'_>) -> Bucket {
        let mut completed = self.buffered_by.or_later(*by);
        self.buffered_by = completed;
        while self.boundary == Boundary::Maybe {
            if self.buffer.len() < PROBE {
                return Bucket::TcpUsed;
            }
            if begins_message(&self.buffer) {
                self.boundary = Boundary::Known;
                self.pieces = Vec::new();
                break;
            }
            // The segments after the first may still begin a message.
            let bucket = if self.any { Bucket::TcpBehindHole } else { Bucket::TcpNonDns };
            self.buffered_frames -= 1;
            if self.pieces.len() <= 1 {
                // The last frame is counted by the caller.
                self.lose_boundary(work);
                return bucket;
            }
            let first = self.pieces.remove(0);
            self.buffer.drain(..first);
            *work.held_bytes -= first;
            work.tally.recount(Bucket::TcpUsed, bucket);
        }
        let Work { found, scratch, zero_length, from, .. } = work;
        let unread = &self.buffer[self.consumed..];
        let used = each_message(unread, zero_length, |range| {
            self.any = true;
            found.push(Found { place: keep(scratch, &unread[range]), cut: false, from: *from, by: completed });
            // What follows came with the last bytes only.
            completed = *by;
        });
        if used > 0 {
            self.consumed += used;
            self.buffered_frames = 1;
            self.buffered_by = *by;
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

    /// `missing` bytes in order will never be seen. What is known of a message torn by that is handed out as truncated.
    pub(super) fn pass_over(&mut self, missing: u32, work: &mut Work<'_>) {
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
                work.found.push(Found { place, cut: true, from: work.from, by: self.buffered_by });
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

    /// Recounts the frames whose bytes are in the buffer: they were not used after all.
    pub(super) fn disown_buffer(&mut self, tally: &mut Tally) {
        let bucket = if self.any { Bucket::TcpBehindHole } else { Bucket::TcpNonDns };
        for _ in 0..std::mem::take(&mut self.buffered_frames) {
            tally.recount(Bucket::TcpUsed, bucket);
        }
    }

    fn drop_buffer(&mut self, work: &mut Work<'_>) {
        *work.held_bytes -= self.buffer.len();
        self.buffer = Vec::new();
        self.pieces = Vec::new();
        self.consumed = 0;
        self.buffered_frames = 0;
        self.buffered_by = Arrival::default();
    }
}

/// Calls back for each complete message in bytes that begin at a boundary; returns how many bytes are used up.
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

/// Appends a message to the scratch buffer.
fn keep(scratch: &mut Vec<u8>, message: &[u8]) -> Place {
    let start = scratch.len();
    scratch.extend_from_slice(message);
    Place::Scratch(start..scratch.len())
}
