//! What every message touches of its pair ([`Hot`]), found by the pair's hash in one look at memory that is seldom in the
//! cache ([`Table`]): half of the cache line that the hash says, or of one soon behind it.

use crate::capture::Timestamp;
use prefetch_index::prefetch_index;

/// Places at the beginning; a power of two.
const PLACES: usize = 1024;

/// Where a pair stands in the table, until a pair is added or pairs are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

/// What every message touches of a pair.
#[derive(Debug, Clone)]
#[repr(align(32))]
pub(super) struct Hot {
    /// Keyed hash of client and server. It has 64 bits and a key that nobody knows, so that it stands for them.
    pub hash: u64,
    /// The latest time of a message.
    pub last: Timestamp,
    pub queries: u32,
    /// Answered transactions, and in the highest bit whether frames of answers are wanted.
    pub answered: u32,
    /// The number of the pair; [`NOBODY`] where there is none.
    pub number: u32,
}

/// The number of no pair.
const NOBODY: u32 = u32::MAX;
/// A place without a pair.
const FREE: Hot = Hot { hash: 0, last: Timestamp(i64::MIN), queries: 0, answered: 0, number: NOBODY };

impl Hot {
    #[inline]
    fn is_free(&self) -> bool {
        self.number == NOBODY
    }
}

/// Pairs by their hash; at most three quarters of the places are taken.
#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Hot>,
    len: usize,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self { places: vec![FREE; PLACES], len: 0 }
    }

    /// Pairs in the table.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first of the two places in the cache line that a hash belongs to.
    #[inline]
    fn own(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 2)
    }

    /// The place of a hash from `place` on, or the free one where it would have to be.
    #[inline]
    fn look(&self, mut place: usize, hash: u64) -> (usize, &Hot) {
        loop {
            place &= self.places.len() - 1;
            let hot = &self.places[place];
            if hot.hash == hash || hot.is_free() {
                return (place, hot);
            }
            place += 1;
        }
    }

    /// Where the pair of a hash stands.
    #[inline]
    pub fn find(&self, hash: u64) -> Option<Place> {
        // At its own place or the next one: which of the two cannot be foretold, that it is one of them can.
        let own = self.own(hash);
        let near = own + usize::from(self.places[own].hash != hash);
        let (place, hot) = self.look(near, hash);
        (!hot.is_free()).then_some(Place(place as u32))
    }

    /// Fetches where the pair of a hash should be, so that it is at hand when it is looked for.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch_index(&self.places, self.own(hash));
    }

    /// The pair at a place.
    #[inline]
    pub fn at(&self, place: Place) -> &Hot {
        &self.places[place.0 as usize]
    }

    /// The same, to change it.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> &mut Hot {
        &mut self.places[place.0 as usize]
    }

    /// Adds a pair whose hash is not in the table.
    pub fn add(&mut self, hot: Hot) -> Place {
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.rebuild(self.places.len() * 2, |_| true);
        }
        let (place, _) = self.look(self.own(hot.hash), hot.hash);
        self.places[place] = hot;
        self.len += 1;
        Place(place as u32)
    }

    /// Drops the pairs that are not to `stay`.
    pub fn retain(&mut self, stay: impl Fn(&Hot) -> bool) {
        self.rebuild(self.places.len(), stay);
    }

    fn rebuild(&mut self, places: usize, stay: impl Fn(&Hot) -> bool) {
        let before = std::mem::replace(&mut self.places, vec![FREE; places]);
        self.len = 0;
        for hot in before.into_iter().filter(|hot| !hot.is_free() && stay(hot)) {
            let (place, _) = self.look(self.own(hot.hash), hot.hash);
            self.places[place] = hot;
            self.len += 1;
        }
    }

    /// Where every pair stands, in the order of their numbers, all of which are below `numbers`: the order of the table
    /// depends on the hash key.
    pub fn by_number(&self, numbers: usize) -> Vec<Place> {
        const NOWHERE: Place = Place(u32::MAX);
        let mut places = vec![NOWHERE; numbers];
        for (at, hot) in self.places.iter().enumerate().filter(|(_, hot)| !hot.is_free()) {
            places[hot.number as usize] = Place(at as u32);
        }
        places.retain(|place| *place != NOWHERE);
        places
    }

    /// Takes every pair out, in the order of their numbers.
    pub fn take_by_number(&mut self) -> Vec<Hot> {
        let mut pairs = std::mem::take(self).places;
        pairs.retain(|hot| !hot.is_free());
        pairs.shrink_to_fit();
        pairs.sort_unstable_by_key(|hot| hot.number);
        pairs
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(hash: u64, number: u32) -> Hot {
        Hot { hash, number, ..FREE }
    }

    #[test]
    fn a_pair_is_half_a_cache_line() {
        assert_eq!(size_of::<Hot>(), 32);
    }

    #[test]
    fn pairs_are_found_until_they_are_dropped_however_their_hashes_meet() {
        let mut table = Table::new();
        // Many begin at the same few places, the last one among them, and one has the hash of a free place.
        let hash = |number: u32| u64::from(number % 7).wrapping_sub(3) ^ u64::from(number / 7) << 32;
        for number in 0..5000 {
            assert_eq!(table.find(hash(number)), None, "{number}");
            let place = table.add(hot(hash(number), number));
            assert_eq!(table.find(hash(number)), Some(place));
        }
        assert_eq!(table.len(), 5000);
        assert!(table.places.len() * 3 >= table.len() * 4);
        table.retain(|hot| hot.number % 3 == 0);
        for number in 0..5000 {
            let found = table.find(hash(number)).map(|place| table.at(place).number);
            assert_eq!(found, (number % 3 == 0).then_some(number));
        }
        let numbers: Vec<u32> = table.by_number(5000).into_iter().map(|place| table.at(place).number).collect();
        assert_eq!(numbers, (0..5000).step_by(3).collect::<Vec<u32>>());
        let numbers: Vec<u32> = table.take_by_number().iter().map(|hot| hot.number).collect();
        assert_eq!(numbers, (0..5000).step_by(3).collect::<Vec<u32>>());
        assert_eq!(table.find(hash(0)), None);
    }
}
