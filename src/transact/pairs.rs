//! Client and server addresses to small numbers ([`Pairs`]), each with what happened since it was last folded into the
//! per-source rows.
//!
//! This is a cache in front of [`Sources`]: a pair that no open transaction refers to can be dropped after folding
//! without losing anything. What every message touches fits one cache line per pair.

use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::decode::Ends;
use crate::sources::{Rare, SourceRow, Sources};
use hashbrown::HashTable;

/// Pairs kept; when there are more, all are folded and those without an open transaction dropped. A count of pairs, not
/// of blocks, so that the outcome does not depend on how the input was cut.
const KEEP: usize = 262_144;
/// Messages after which pairs are folded in any case, before a 32-bit count can overflow.
const FOLD_AFTER: u32 = 1 << 30;

/// A client and a server: what every message touches.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Pair {
    ends: Ends,
    first: Timestamp,
    last: Timestamp,
    queries: u32,
    /// Answered transactions, and in the highest bit whether frames of answers are wanted: what is asked for every
    /// message must not take a second cache line.
    answered: u32,
}

/// Marks in `Pair::answered` that frames of answers are wanted.
const WANTED: u32 = 1 << 31;

/// What fewer messages touch.
#[derive(Debug)]
struct Cold {
    hash: u64,
    /// When the server last sent it a response; kept only where silence can be told.
    last_response: Timestamp,
    unanswered: u32,
    tcp: u32,
    rare: Option<Box<Rare>>,
    listed: bool,
}

/// What is to be known about a source when it is first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// It is in an inventory.
    pub listed: bool,
    /// Frames of its answers are wanted: it is in no inventory line, or in one that says it is to be refused.
    pub answers_wanted: bool,
}

/// Judges a source.
pub type Judge<'a> = Box<dyn Fn(std::net::IpAddr) -> Judged + Send + 'a>;

/// Every pair met lately.
pub struct Pairs<'a> {
    table: HashTable<u32>,
    hot: Vec<Pair>,
    cold: Vec<Cold>,
    free: Vec<u32>,
    messages: u32,
    /// Pairs that are too many: twice those that could not be dropped last time, so that a flood of open transactions
    /// does not make every message fold.
    too_many: usize,
    sources: &'a Sources,
    judge: Judge<'a>,
}

impl<'a> Pairs<'a> {
    /// No pairs yet.
    pub fn new(sources: &'a Sources, judge: Judge<'a>) -> Self {
        Self {
            table: HashTable::new(),
            hot: Vec::new(),
            cold: Vec::new(),
            free: Vec::new(),
            messages: 0,
            too_many: KEEP,
            sources,
            judge,
        }
    }

    /// The number of a pair; `ends` leads from client to server.
    #[inline]
    pub fn intern(&mut self, ends: Ends, hash: u64) -> u32 {
        if let Some(index) = self.table.find(hash, |index| self.hot[*index as usize].ends == ends) {
            return *index;
        }
        self.add(ends, hash)
    }

    /// Where a pair of this hash may stand, to look there with [`Pairs::glance_at`] before it is used.
    #[inline]
    pub fn glance(&self, hash: u64) -> Option<u32> {
        self.table.find(hash, |_| true).copied()
    }

    /// Looks at a pair without using it: its memory is then at hand when it is used. The result only keeps the look from
    /// being optimised away.
    #[inline]
    pub fn glance_at(&self, index: u32) -> u32 {
        self.hot.get(index as usize).map_or(0, |pair| pair.queries)
    }

    fn add(&mut self, ends: Ends, hash: u64) -> u32 {
        let judged = (self.judge)(ends.source());
        let answered = if judged.answers_wanted { WANTED } else { 0 };
        let pair = Pair { ends, first: Timestamp(i64::MAX), last: Timestamp(i64::MIN), queries: 0, answered };
        let cold =
            Cold { hash, last_response: Timestamp(i64::MIN), unanswered: 0, tcp: 0, rare: None, listed: judged.listed };
        let index = match self.free.pop() {
            Some(index) => {
                self.hot[index as usize] = pair;
                self.cold[index as usize] = cold;
                index
            }
            None => {
                self.hot.push(pair);
                self.cold.push(cold);
                self.hot.len() as u32 - 1
            }
        };
        self.table.insert_unique(hash, index, |index| self.cold[*index as usize].hash);
        index
    }

    /// Client to server.
    #[inline]
    pub fn ends(&self, index: u32) -> Ends {
        self.hot[index as usize].ends
    }

    /// Frames of answers to the source are wanted.
    #[inline]
    pub fn answers_wanted(&self, index: u32) -> bool {
        self.hot[index as usize].answered & WANTED != 0
    }

    /// Notes a message.
    #[inline]
    pub fn message(&mut self, index: u32, time: Timestamp, response: bool) {
        self.messages += 1;
        let pair = &mut self.hot[index as usize];
        pair.first = pair.first.min(time);
        pair.last = pair.last.max(time);
        pair.queries += u32::from(!response);
    }

    /// Notes a transaction over TCP.
    pub fn tcp(&mut self, index: u32) {
        self.cold[index as usize].tcp += 1;
    }

    /// Notes a transaction's outcome.
    #[inline]
    pub fn outcome(&mut self, index: u32, outcome: Outcome) {
        match outcome {
            Outcome::Answered => self.hot[index as usize].answered += 1,
            Outcome::Unanswered => self.cold[index as usize].unanswered += 1,
            other => self.cold[index as usize].rare.get_or_insert_default().add_outcome(other, 1),
        }
    }

    /// What most pairs never have, to change it.
    pub fn rare(&mut self, index: u32) -> &mut Rare {
        self.cold[index as usize].rare.get_or_insert_default()
    }

    /// When the server last sent the source a response, as far as noted.
    pub fn last_response(&self, index: u32) -> Timestamp {
        self.cold[index as usize].last_response
    }

    /// Notes that the server sent the source a response.
    pub fn note_response(&mut self, index: u32, time: Timestamp) {
        let last = &mut self.cold[index as usize].last_response;
        *last = time.max(*last);
    }

    /// True when it is time to fold.
    #[inline]
    pub fn due(&self) -> bool {
        self.table.len() > self.too_many || self.messages >= FOLD_AFTER
    }

    /// Folds everything into the rows and drops pairs that none of `referred` is.
    pub fn fold(&mut self, referred: impl Iterator<Item = u32>) {
        self.messages = 0;
        let mut keep = vec![false; self.hot.len()];
        referred.for_each(|index| keep[index as usize] = true);
        for index in &self.table {
            fold_pair(self.sources, &mut self.hot[*index as usize], &mut self.cold[*index as usize]);
        }
        if self.table.len() > self.too_many {
            let free = &mut self.free;
            self.table.retain(|index| {
                let stays = keep[*index as usize];
                if !stays {
                    free.push(*index);
                }
                stays
            });
            // The order in which numbers are used again must not depend on the hash key.
            self.free.sort_unstable_by(|one, two| two.cmp(one));
            self.too_many = KEEP.max(self.table.len() * 2);
        }
    }

    /// Folds everything and gives all memory back; the time line has ended. Piece by piece, because the rows grow while
    /// the pairs go.
    pub fn finish(&mut self) {
        self.messages = 0;
        (self.table, self.free) = (HashTable::new(), Vec::new());
        while let (Some(mut pair), Some(mut cold)) = (self.hot.pop(), self.cold.pop()) {
            // A number that is free has nothing left to fold.
            fold_pair(self.sources, &mut pair, &mut cold);
            if self.hot.len().is_multiple_of(PIECE) {
                self.hot.shrink_to_fit();
                self.cold.shrink_to_fit();
            }
        }
    }
}

/// Pairs folded at the end before memory is given back.
const PIECE: usize = 16_384;

/// Moves what happened to a pair since it was last folded into its source's row.
fn fold_pair(sources: &Sources, pair: &mut Pair, cold: &mut Cold) {
    let mut row = SourceRow::with_rare(cold.rare.take());
    row.queries += u64::from(std::mem::take(&mut pair.queries));
    row.answered += u64::from(pair.answered & !WANTED);
    pair.answered &= WANTED;
    row.unanswered += u64::from(std::mem::take(&mut cold.unanswered));
    row.tcp += u64::from(std::mem::take(&mut cold.tcp));
    if pair.first <= pair.last {
        row.seen(pair.first);
        row.seen(pair.last);
        (pair.first, pair.last) = (Timestamp(i64::MAX), Timestamp(i64::MIN));
    }
    if row != SourceRow::default() {
        sources.fold(pair.ends.source(), pair.ends.destination(), row, cold.listed);
    }
}
