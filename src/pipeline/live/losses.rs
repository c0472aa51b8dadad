//! Places in the capture at which the kernel dropped packets, from the moments at which drops were noticed
//! ([`Losses`]).
//!
//! When a drop is noticed, the ring still holds packets from before it. So packets older than that moment count as
//! before the drop, and later ones as after it.

use crate::capture::Timestamp;
use std::collections::VecDeque;

/// Drops noticed within this time (nanoseconds) of each other are merged.
const TOGETHER: i64 = 100_000_000;
/// Most places remembered; further drops are added to the last.
const PLACES: usize = 1024;

/// Drops that were noticed at nearly the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// When the first of them was noticed, and when the last: packets of that time came after all of them.
    first: Timestamp,
    /// See `first`.
    pub noticed: Timestamp,
    /// Packets dropped.
    pub packets: u64,
}

/// Drops whose place has not been reached yet, in order.
#[derive(Debug, Default)]
pub struct Losses(VecDeque<Loss>);

impl Losses {
    /// Adds drops that were noticed at `now`.
    pub fn note(&mut self, now: Timestamp, packets: u64) {
        if packets == 0 {
            return;
        }
        let full = self.0.len() >= PLACES;
        match self.0.back_mut() {
            Some(last) if full || now.0.saturating_sub(last.first.0) <= TOGETHER => {
                last.noticed = now.max(last.noticed);
                last.packets += packets;
            }
            _ => self.0.push_back(Loss { first: now, noticed: now, packets }),
        }
    }

    /// Takes out the drops after which packets of this time came.
    pub fn before(&mut self, time: Timestamp) -> Losses {
        let count = self.0.iter().take_while(|loss| loss.noticed <= time).count();
        Losses(self.0.drain(..count).collect())
    }

    /// Takes out the drops after which packets of this time came, and returns their sum.
    pub fn take_before(&mut self, time: Timestamp) -> u64 {
        if self.0.is_empty() { 0 } else { self.before(time).iter().map(|loss| loss.packets).sum() }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_take_their_place_when_packets_come_that_are_not_older() {
        let mut losses = Losses::default();
        for (now, packets) in [(0, 1), (TOGETHER, 2), (TOGETHER + 1, 4), (TOGETHER + 2, 0), (3 * TOGETHER, 8)] {
            losses.note(Timestamp(now), packets);
        }
        assert_eq!(losses.take_before(Timestamp(TOGETHER - 1)), 0, "the second came after");
        assert_eq!(losses.take_before(Timestamp(TOGETHER)), 3);
        let both: Vec<u64> = losses.before(Timestamp(3 * TOGETHER)).iter().map(|loss| loss.packets).collect();
        assert_eq!((both, losses.take_before(Timestamp(i64::MAX))), (vec![4, 8], 0));
    }

    #[test]
    fn none_is_forgotten_when_there_are_too_many() {
        let mut losses = Losses::default();
        (0..5000).for_each(|number| losses.note(Timestamp(number * 2 * TOGETHER), 1));
        assert_eq!(losses.iter().count(), PLACES);
        assert_eq!(losses.take_before(Timestamp(i64::MAX)), 5000);
    }
}
