//! Client and server addresses to small numbers ([`Pairs`]), each with what happened since it was last folded into the
//! per-source rows.
//!
//! This is a cache in front of [`Sources`]: a pair that no transaction refers to can be dropped after folding without
//! losing anything.

use crate::capture::Timestamp;
use crate::decode::Ends;
use crate::sources::{SourceRow, Sources};
use hashbrown::HashTable;

/// Pairs with something to fold before folding is worth it. A fixed count of pairs, not of blocks, so that the outcome
/// does not depend on the block size.
const FOLD_AT: usize = 16_384;
/// Pairs kept; beyond it those without an open transaction are dropped when folding.
const KEEP: usize = 65_536;

/// A client and a server.
#[derive(Debug)]
pub struct Pair {
    /// Client to server.
    pub ends: Ends,
    /// What happened since the last folding.
    pub delta: SourceRow,
    /// The source is in an inventory.
    pub listed: bool,
    /// Frames of its answers are wanted: it is in no inventory line, or in one that says it is to be refused.
    pub answers_wanted: bool,
    /// When the server last sent it a response.
    pub last_response: Timestamp,
    hash: u64,
    references: u32,
    dirty: bool,
}

/// What is to be known about a source when it is first seen: listed, and whether its answers are of interest.
pub type Judge<'a> = Box<dyn Fn(std::net::IpAddr) -> (bool, bool) + Send + 'a>;

/// Every pair met lately.
pub struct Pairs<'a> {
    table: HashTable<u32>,
    pairs: Vec<Pair>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    sources: &'a Sources,
    judge: Judge<'a>,
}

impl<'a> Pairs<'a> {
    /// No pairs yet.
    pub fn new(sources: &'a Sources, judge: Judge<'a>) -> Self {
        Self { table: HashTable::new(), pairs: Vec::new(), free: Vec::new(), dirty: Vec::new(), sources, judge }
    }

    /// The number of a pair; `ends` leads from client to server.
    #[inline]
    pub fn intern(&mut self, ends: Ends, hash: u64) -> u32 {
        if let Some(index) = self.table.find(hash, |index| self.pairs[*index as usize].ends == ends) {
            return *index;
        }
        self.add(ends, hash)
    }

    fn add(&mut self, ends: Ends, hash: u64) -> u32 {
        let (listed, answers_wanted) = (self.judge)(ends.source());
        let pair = Pair {
            ends,
            delta: SourceRow::default(),
            listed,
            answers_wanted,
            last_response: Timestamp(i64::MIN),
            hash,
            references: 0,
            dirty: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.pairs[index as usize] = pair;
                index
            }
            None => {
                self.pairs.push(pair);
                self.pairs.len() as u32 - 1
            }
        };
        self.table.insert_unique(hash, index, |index| self.pairs[*index as usize].hash);
        index
    }

    /// A pair, to read.
    #[inline]
    pub fn get(&self, index: u32) -> &Pair {
        &self.pairs[index as usize]
    }

    /// A pair, to change its delta; it will be folded.
    #[inline]
    pub fn change(&mut self, index: u32) -> &mut Pair {
        let pair = &mut self.pairs[index as usize];
        if !pair.dirty {
            pair.dirty = true;
            self.dirty.push(index);
        }
        pair
    }

    /// One more transaction refers to the pair.
    #[inline]
    pub fn refer(&mut self, index: u32) {
        self.pairs[index as usize].references += 1;
    }

    /// One transaction less refers to it.
    #[inline]
    pub fn release(&mut self, index: u32) {
        self.pairs[index as usize].references -= 1;
    }

    /// Folds when enough has gathered.
    #[inline]
    pub fn fold_if_due(&mut self) {
        if self.dirty.len() >= FOLD_AT {
            self.fold();
        }
    }

    /// Folds everything into the rows.
    pub fn fold(&mut self) {
        for index in self.dirty.drain(..) {
            let pair = &mut self.pairs[index as usize];
            pair.dirty = false;
            let delta = std::mem::take(&mut pair.delta);
            self.sources.fold(pair.ends.source(), pair.ends.destination(), &delta, pair.listed);
        }
        if self.table.len() > KEEP {
            let (pairs, free) = (&self.pairs, &mut self.free);
            self.table.retain(|index| {
                let keep = pairs[*index as usize].references > 0;
                if !keep {
                    free.push(*index);
                }
                keep
            });
            // The order in which numbers are reused must not depend on the hash key.
            self.free.sort_unstable_by(|one, two| two.cmp(one));
        }
    }
}
