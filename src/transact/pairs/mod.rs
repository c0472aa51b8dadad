//! Gives pairs of client and server address small numbers ([`Pairs`]), and counts for each what happened since it was
//! last folded into the per-source rows.
//!
//! This is a write-back cache in front of [`Sources`]: a pair that no open transaction refers to can be dropped after
//! folding without losing anything. What every message touches is stored apart from the rest.

mod fold;
mod table;

use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::decode::Ends;
use crate::sources::{FrameRef, Rare, Refusals, Sources, Span};
use prefetch_index::prefetch_index;
use std::net::IpAddr;
use table::Table;

/// Pairs kept. When there are more, all are folded and those without an open transaction are dropped. The limit counts
/// pairs, not blocks, so that the outcome does not depend on how the input was cut.
const KEEP: usize = 262_144;
/// Queries after which all pairs are folded, before the 30-bit count in `Hot::answered` can overflow.
const FOLD_AFTER: u32 = 1 << 29;
/// Bit of `Hot::answered`: more frames of answers are wanted.
const WANTED: u32 = 1 << 31;
/// Bit of `Hot::answered`: answers are of interest, for as long as the pair is known.
const OF_INTEREST: u32 = 1 << 30;
/// Bits of `Hot::answered` that hold the count.
const COUNT: u32 = OF_INTEREST - 1;

/// What every message touches of a pair.
#[derive(Debug)]
#[repr(align(32))]
struct Hot {
    /// Keyed 64-bit hash of client and server address. The key is secret, so equal hashes are taken as equal addresses.
    hash: u64,
    /// Time of the latest message.
    last: Timestamp,
    /// When the server last sent the source a response; kept only where silence can be claimed.
    last_response: Timestamp,
    queries: u32,
    /// Number of answered transactions ([`COUNT`]), and the bits [`WANTED`] and [`OF_INTEREST`].
    answered: u32,
}

/// Two fit in a cache line.
const _: () = assert!(size_of::<Hot>() == 32);

/// What fewer messages touch of a pair.
#[derive(Debug)]
struct Cold {
    ends: Ends,
    /// Time of the earliest message.
    first: Timestamp,
    /// When the server last sent the source something that could not be read; kept only where silence can be claimed.
    last_unread: Timestamp,
    unanswered: u32,
    tcp: u32,
    /// When the source was seen by something that brought no message to count.
    without_message: Span,
    refusals: Option<Box<Refusals>>,
    rare: Option<Box<Rare>>,
    judged: Judged,
}

/// What the inventory says about a source, looked up when the source is first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// It is in an inventory.
    pub listed: bool,
    /// Frames of its answers are wanted: no inventory line covers it, or one that says it is to be refused.
    pub answers_wanted: bool,
}

/// Looks a source up in the inventory.
pub type Judge<'a> = Box<dyn Fn(IpAddr) -> Judged + Send + 'a>;

/// Every pair seen lately.
pub struct Pairs<'a> {
    table: Table,
    /// Indexed by the pair's number. Numbers are assigned in the order of first messages, and those of dropped pairs
    /// are reused, so frequent pairs tend to be near each other in memory.
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    /// Numbers of dropped pairs, to be reused.
    free: Vec<u32>,
    /// Queries since pairs were last folded.
    queries: u32,
    /// Number of pairs above which they are folded: twice the number that could not be dropped last time, but at least
    /// [`KEEP`], so that a flood of open transactions does not make every message fold.
    too_many: usize,
    /// True when something was folded already.
    folded: bool,
    sources: &'a Sources,
    judge: Judge<'a>,
}

impl<'a> Pairs<'a> {
    /// No pairs yet.
    pub fn new(sources: &'a Sources, judge: Judge<'a>) -> Self {
        Self {
            table: Table::default(),
            // Reserved memory that is never touched costs nothing, while growing would copy. Pairs are folded only
            // after one more than is kept was added.
            hot: Vec::with_capacity(KEEP + 1),
            cold: Vec::with_capacity(KEEP + 1),
            free: Vec::new(),
            queries: 0,
            too_many: KEEP,
            folded: false,
            sources,
            judge,
        }
    }

    /// Prefetches the place in the table where this pair's number should be.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Prefetches what every message touches of the pair.
    #[inline]
    pub fn prefetch_hot(&self, hash: u64) {
        prefetch_index(&self.hot, self.table.guess(hash) as usize);
    }

    /// Prefetches what fewer messages touch of the pair.
    #[inline]
    pub fn prefetch_cold(&self, hash: u64) {
        prefetch_index(&self.cold, self.table.guess(hash) as usize);
    }

    /// Prefetches what fewer messages touch of a pair whose number is known.
    pub fn prefetch_known(&self, number: u32) {
        prefetch_index(&self.cold, number as usize);
    }

    /// Prefetches how the source was refused; most sources never were.
    pub fn prefetch_refusals(&self, hash: u64) {
        let cold = self.cold.get(self.table.guess(hash) as usize);
        if let Some(refusals) = cold.and_then(|cold| cold.refusals.as_deref()) {
            prefetch_index(std::slice::from_ref(refusals), 0);
        }
    }

    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn find(&self, hash: u64) -> Option<u32> {
        self.table.find(hash, |number| self.hot[number as usize].hash == hash)
    }

    /// The number of the pair with this hash; a new pair is added. The number is valid until [`Pairs::fold`], which may
    /// drop the pair and free the number for another. `ends` leads from client to server.
    #[inline]
    pub fn number(&mut self, hash: u64, ends: impl FnOnce() -> Ends) -> u32 {
        match self.find(hash) {
            Some(number) => number,
            None => self.add(hash, ends()),
        }
    }

    fn add(&mut self, hash: u64, ends: Ends) -> u32 {
        let judged = (self.judge)(ends.source());
        let never = Timestamp(i64::MIN);
        let hot = Hot { hash, last: never, last_response: never, queries: 0, answered: wanted(judged) };
        let cold = Cold {
            ends,
            first: Timestamp(i64::MAX),
            last_unread: never,
            unanswered: 0,
            tcp: 0,
            without_message: Span::default(),
            refusals: None,
            rare: None,
            judged,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.hot[number as usize] = hot;
                self.cold[number as usize] = cold;
                number
            }
            None => {
                self.hot.push(hot);
                self.cold.push(cold);
                self.cold.len() as u32 - 1
            }
        };
        self.table.add(hash, number);
        number
    }

    /// The ends of the pair, from client to server.
    #[inline]
    pub fn ends(&self, number: u32) -> Ends {
        self.cold[number as usize].ends
    }

    /// Notes a query.
    #[inline]
    pub fn note_query(&mut self, number: u32, time: Timestamp) {
        self.queries += 1;
        self.hot[number as usize].queries += 1;
        self.note_time(number, time);
    }

    /// Notes the time of a response, or of another packet of the pair.
    #[inline]
    pub fn note_time(&mut self, number: u32, time: Timestamp) {
        let hot = &mut self.hot[number as usize];
        // Usually a time is the latest so far, and not the first.
        if time < hot.last || hot.last == Timestamp(i64::MIN) {
            let first = &mut self.cold[number as usize].first;
            *first = time.min(*first);
        }
        hot.last = time.max(hot.last);
    }

    /// Notes that a query was answered. True when the frame of the answer is wanted, see [`Pairs::note_answer`].
    #[inline]
    pub fn count_answered(&mut self, number: u32) -> bool {
        let hot = &mut self.hot[number as usize];
        hot.answered += 1;
        hot.answered & WANTED != 0
    }

    /// Notes that an answer is an error, where answers are of interest.
    pub fn note_error(&mut self, number: u32) {
        if self.hot[number as usize].answered & OF_INTEREST != 0 {
            self.rare(number).errors += 1;
        }
    }

    /// Notes the frame of an answer; the first `most` frames are kept.
    pub fn note_answer(&mut self, number: u32, frame: FrameRef, most: usize) {
        if most == 0 {
            return;
        }
        let frames = &mut self.rare(number).answered_frames;
        frames.push(frame);
        if frames.len() >= most {
            self.hot[number as usize].answered &= !WANTED;
        }
    }

    /// Notes a transaction over TCP.
    pub fn count_tcp(&mut self, number: u32) {
        self.cold[number as usize].tcp += 1;
    }

    /// Notes the outcome of a transaction that was not answered, or of a response without a query.
    pub fn count_outcome(&mut self, number: u32, outcome: Outcome) {
        match outcome {
            Outcome::Unanswered => self.cold[number as usize].unanswered += 1,
            Outcome::Refused => self.refusals(number).count += 1,
            other => self.rare(number).add_outcome(other, 1),
        }
    }

    /// Notes that the source was seen by something that brought no message to count.
    pub fn note_presence(&mut self, number: u32, time: Timestamp) {
        self.cold[number as usize].without_message.note(time);
    }

    /// How the source was refused or denied, created when absent.
    pub fn refusals(&mut self, number: u32) -> &mut Refusals {
        self.cold[number as usize].refusals.get_or_insert_default()
    }

    /// What most pairs never have, created when absent.
    pub fn rare(&mut self, number: u32) -> &mut Rare {
        self.cold[number as usize].rare.get_or_insert_default()
    }

    /// When the server last sent the source a response, as far as that was noted.
    pub fn last_response(&self, number: u32) -> Timestamp {
        self.hot[number as usize].last_response
    }

    /// When the server last sent the source something that could not be read, as far as that was noted.
    pub fn last_unread(&self, number: u32) -> Timestamp {
        self.cold[number as usize].last_unread
    }

    /// Notes that the server of a pair sent the source something that could not be read, provided the pair is known.
    pub fn note_unread(&mut self, hash: u64, time: Timestamp) {
        if let Some(number) = self.find(hash) {
            self.cold[number as usize].last_unread = time;
        }
    }

    /// Notes that the server sent the source a response.
    pub fn note_response(&mut self, number: u32, time: Timestamp) {
        let last = &mut self.hot[number as usize].last_response;
        *last = time.max(*last);
    }

    /// True when there are too many pairs, or a count may soon overflow. To be checked after every message: what is
    /// folded and dropped, and when, must not depend on how the input was cut.
    #[inline]
    pub fn is_time_to_fold(&self) -> bool {
        self.table.len() > self.too_many || self.queries >= FOLD_AFTER
    }
}

/// The value of `Hot::answered` for a pair without answers so far.
fn wanted(judged: Judged) -> u32 {
    if judged.answers_wanted { WANTED | OF_INTEREST } else { 0 }
}

#[cfg(test)]
mod tests;
