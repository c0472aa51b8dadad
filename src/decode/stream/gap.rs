//! Segments ahead of a gap ([`Held`]), kept in sequence order until the gap is filled or given up.

use super::super::Bucket;
use super::Arrival;
use super::direction::{Stream, Work, ahead};
use crate::capture::Timestamp;

/// Segments held in one direction until the gap before them is filled.
const MAX_HELD: usize = 512;
/// Bookkeeping bytes of a held segment, besides its data.
const HELD_COST: usize = 128;
/// A gap that the receiver has acknowledged is given up after this time (nanoseconds): the capture missed it.
pub(super) const GAP_PATIENCE: i64 = 10_000_000;

/// A segment ahead of a gap.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) sequence: u32,
    pub(super) data: Vec<u8>,
    pub(super) full_len: u32,
    pub(super) by: Arrival,
    /// When it came, by the monotonic clock of the tracker.
    pub(super) since: Timestamp,
}

/// Bytes taken by a held segment.
fn cost(data: &[u8]) -> usize {
    data.len() + HELD_COST
}

impl Stream {
    /// True while something waits behind a gap.
    #[inline]
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Holds a segment that is ahead of a gap.
    pub(super) fn hold(&mut self, segment: Held, work: &mut Work<'_>) {
        let Held { sequence, full_len, .. } = segment;
        let len = cost(&segment.data);
        let place = self.held.partition_point(|held| ahead(held.sequence, sequence) < 0);
        if let Some(same) = self.held.get(place).filter(|held| held.sequence == sequence && held.full_len >= full_len) {
            let differs = same.data.iter().zip(&segment.data).any(|(old, new)| old != new);
            *work.conflicts += u64::from(differs);
            work.tally.count(if differs { Bucket::TcpConflict } else { Bucket::TcpDuplicate });
            return;
        }
        let full = self.held.len() >= MAX_HELD
            || self.held_bytes + len > work.limits.stream_bytes
            || *work.held_bytes + len > work.limits.total_bytes;
        if full {
            work.tally.count(Bucket::TcpEvicted);
            return;
        }
        self.held_bytes += len;
        *work.held_bytes += len;
        self.held.insert(place, segment);
    }

    /// Uses held segments that are no longer ahead of a gap.
    pub(super) fn use_held(&mut self, work: &mut Work<'_>) {
        let mut ready = 0;
        while let Some(held) = self.held.get_mut(ready) {
            if ahead(held.sequence, self.next) > 0 {
                break;
            }
            let (sequence, full_len, by) = (held.sequence, held.full_len, held.by);
            let data = std::mem::take(&mut held.data);
            ready += 1;
            self.held_bytes -= cost(&data);
            *work.held_bytes -= cost(&data);
            self.count_in_order(sequence, &data, full_len, (&by, false), work);
        }
        self.held.drain(..ready);
    }

    /// True while something waits, within its patience, behind a gap that the receiver has acknowledged.
    pub(super) fn has_acknowledged_gap(&self) -> bool {
        let first = self.held.first();
        first.is_some_and(|first| self.acknowledged.is_some_and(|seen| ahead(seen, first.sequence) >= 0))
    }

    /// Skips gaps that will not be filled: the receiver has acknowledged them, the connection ends, or too much waits
    /// behind them. Once the server has answered or closed, what it has acknowledged is not waited for, since that may
    /// be the query it answers.
    pub(super) fn give_up_gap(&mut self, now: Timestamp, answered: bool, closing: bool, work: &mut Work<'_>) {
        while let Some(first) = self.held.first() {
            let gap = ahead(first.sequence, self.next);
            let acknowledged =
                self.has_acknowledged_gap() && (answered || now.0.saturating_sub(first.since.0) > GAP_PATIENCE);
            // A stream may take more room while all streams together use less than half of theirs.
            let scarce = *work.held_bytes > work.limits.total_bytes / 2;
            let room = work.limits.stream_bytes / if scarce { 8 } else { 2 };
            let crowded = self.held.len() >= MAX_HELD / 2 || self.held_bytes > room;
            if gap > 0 && !(acknowledged || closing || crowded) {
                return;
            }
            if gap > 0 {
                *work.holes += 1;
                self.passed = Some((self.next, first.sequence));
                self.next = first.sequence;
                self.pass_over(gap as u32, work);
            }
            self.use_held(work);
        }
    }
}
