//! Finds the number of a pair by its hash ([`Table`]): one access to memory that is seldom in the cache, which also
//! says what else to prefetch.

use prefetch_index::prefetch_index;

/// Places of an empty table; a power of two.
const PLACES: usize = 1024;

/// A pair in the table: its number, and the half of its hash that gives its place and tells it from its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u32,
    tag: u32,
}

/// A place without a pair.
const FREE: Entry = Entry { number: u32::MAX, tag: 0 };

impl Entry {
    #[inline]
    fn is_free(self) -> bool {
        self.number == FREE.number
    }
}

/// The lower half of a hash. It holds the middle of a product, so consecutive addresses spread well whatever the key.
/// The whole hash is compared where the pair itself is stored.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32
}

/// An open-addressing hash table with linear probing. At most half of the places are taken, so most pairs are at the
/// first place probed.
#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Entry>,
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

    /// The place where the search for a tag begins.
    #[inline]
    fn own(&self, tag: u32) -> usize {
        tag as usize & (self.places.len() - 1)
    }

    /// The number of a hash: of the pairs whose hash agrees in its lower half, the one for which `is` holds.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut place = self.own(tag);
        loop {
            let entry = self.places[place];
            if entry.is_free() {
                return None;
            }
            if entry.tag == tag && is(entry.number) {
                return Some(entry.number);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    /// Prefetches the place where the search for a hash begins.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch_index(&self.places, self.own(tag(hash)));
    }

    /// The most likely number of a hash; an arbitrary number when the hash is not in the table. Only the first two
    /// places are considered, and without a branch, which could not be predicted.
    #[inline]
    pub fn guess(&self, hash: u64) -> u32 {
        let tag = tag(hash);
        let own = self.own(tag);
        let near = own + usize::from(self.places[own].tag != tag);
        self.places[near & (self.places.len() - 1)].number
    }

    /// Adds a pair whose hash is not in the table.
    pub fn add(&mut self, hash: u64, number: u32) {
        if (self.len + 1) * 2 > self.places.len() {
            self.grow();
        }
        self.put(Entry { number, tag: tag(hash) });
    }

    fn put(&mut self, entry: Entry) {
        let mut place = self.own(entry.tag);
        while !self.places[place].is_free() {
            place = (place + 1) & (self.places.len() - 1);
        }
        self.places[place] = entry;
        self.len += 1;
    }

    /// Drops all pairs but those, usually few, for which `stay` holds. The memory is kept: in a flood this is done
    /// repeatedly, and other allocations would take what was given back.
    pub fn retain(&mut self, stay: impl Fn(u32) -> bool) {
        let stays = |entry: &Entry| !entry.is_free() && stay(entry.number);
        let staying: Vec<Entry> = self.places.iter().copied().filter(stays).collect();
        self.places.fill(FREE);
        self.put_all(staying);
    }

    fn grow(&mut self) {
        let places = vec![FREE; self.places.len() * 2];
        let before = std::mem::replace(&mut self.places, places);
        self.put_all(before);
    }

    /// Puts entries into places that are all free.
    fn put_all(&mut self, entries: Vec<Entry>) {
        self.len = 0;
        entries.into_iter().filter(|entry| !entry.is_free()).for_each(|entry| self.put(entry));
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

    #[test]
    fn pairs_are_found_until_they_are_dropped_however_their_hashes_meet() {
        // Many searches begin at the same few places, the last one among them, and many hashes agree in their lower
        // half.
        let hash = |number: u32| {
            let half = (number % 7).wrapping_sub(3) ^ (number / 7 % 50) << 20;
            u64::from(half) ^ u64::from(number / 350) << 32
        };
        let mut table = Table::new();
        let find = |table: &Table, number: u32| table.find(hash(number), |other| hash(other) == hash(number));
        for number in 0..5000 {
            assert_eq!(find(&table, number), None, "{number}");
            table.add(hash(number), number);
            assert_eq!(find(&table, number), Some(number));
        }
        assert_eq!(table.len(), 5000);
        assert!(table.places.len() >= table.len() * 2);
        table.retain(|number| number % 3 == 0);
        for number in 0..5000 {
            assert_eq!(find(&table, number), (number % 3 == 0).then_some(number));
        }
        assert_eq!(table.len(), 1667);
    }

    #[test]
    fn most_pairs_are_where_they_are_guessed() {
        // One key may be bad for consecutive numbers, so the test is about the average.
        let guessed = |_| {
            let key = crate::decode::key::Key::random();
            let hash = |number: u32| key.numbers([[u64::from(number), 0]]);
            let mut table = Table::new();
            (0..20_000).for_each(|number| table.add(hash(number), number));
            (0..20_000).filter(|number| table.guess(hash(*number)) == *number).count()
        };
        let guessed: usize = (0..50).map(guessed).sum();
        assert!(guessed > 50 * 17_000, "{guessed}");
    }
}
