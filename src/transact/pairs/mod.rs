//! Client and server addresses to small numbers ([`Pairs`]), each with what happened since it was last folded into the
//! per-source rows.
//!
//! This is a cache in front of [`Sources`]: a pair that no open transaction refers to can be dropped after folding
//! without losing anything. What every message touches stands apart from the rest.

mod table;

use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::decode::Ends;
use crate::sources::{FrameRef, Rare, Refusals, SourceRow, Sources, Span};
use prefetch_index::prefetch_index;
use std::collections::HashSet;
use std::net::IpAddr;
use table::Table;

/// Pairs kept; when there are more, all are folded and those without an open transaction dropped. A count of pairs, not
/// of blocks, so that the outcome does not depend on how the input was cut.
const KEEP: usize = 262_144;
/// Queries after which pairs are folded in any case, before a 30-bit count can overflow.
const FOLD_AFTER: u32 = 1 << 29;
/// Marks in `Hot::answered` that frames of answers are wanted, and not enough yet.
const WANTED: u32 = 1 << 31;
/// Marks there likewise that answers are of interest, as long as the pair is known.
const OF_INTEREST: u32 = 1 << 30;
/// The count beside the marks.
const COUNT: u32 = OF_INTEREST - 1;

/// What every message touches of a pair.
#[derive(Debug)]
#[repr(align(32))]
struct Hot {
    /// Keyed hash of client and server. It has 64 bits and a key that nobody knows, so that it stands for them.
    hash: u64,
    /// The latest time of a message.
    last: Timestamp,
    /// When the server last sent it a response; kept only where silence can be told.
    last_response: Timestamp,
    queries: u32,
    /// Answered transactions, and in the highest bits [`WANTED`] and [`OF_INTEREST`].
    answered: u32,
}

/// Two are a cache line.
const _: () = assert!(size_of::<Hot>() == 32);

/// What fewer messages touch of a pair.
#[derive(Debug)]
struct Cold {
    ends: Ends,
    /// The earliest time of a message.
    first: Timestamp,
    /// When the server last sent it something that could not be read; kept only where silence can be told.
    last_unread: Timestamp,
    unanswered: u32,
    tcp: u32,
    /// Seen without a message to count.
    glimpsed: Span,
    refusals: Option<Box<Refusals>>,
    rare: Option<Box<Rare>>,
    judged: Judged,
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
pub type Judge<'a> = Box<dyn Fn(IpAddr) -> Judged + Send + 'a>;

/// Every pair met lately.
pub struct Pairs<'a> {
    table: Table,
    /// By number. Numbers are given in the order of first messages, those of dropped pairs again; so pairs that are met
    /// often stand near each other.
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    /// Numbers of pairs that were dropped.
    free: Vec<u32>,
    /// Queries since they were last folded.
    queries: u32,
    /// Pairs that are too many: twice those that could not be dropped last time, so that a flood of open transactions
    /// does not make every message fold.
    too_many: usize,
    /// Something was folded already.
    folded: bool,
    sources: &'a Sources,
    judge: Judge<'a>,
}

impl<'a> Pairs<'a> {
    /// No pairs yet.
    pub fn new(sources: &'a Sources, judge: Judge<'a>) -> Self {
        Self {
            table: Table::default(),
            // Memory that is never touched costs nothing, and to grow would be to copy. One more than is kept is met before
            // they are folded.
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

    /// Fetches where the number of this pair should stand, so that it is at hand when it is used.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Fetches likewise what every message touches of it.
    #[inline]
    pub fn prefetch_hot(&self, hash: u64) {
        prefetch_index(&self.hot, self.table.guess(hash) as usize);
    }

    /// Fetches likewise what fewer messages touch of it.
    #[inline]
    pub fn prefetch_cold(&self, hash: u64) {
        prefetch_index(&self.cold, self.table.guess(hash) as usize);
    }

    /// Fetches what fewer messages touch of a pair whose number is known.
    pub fn prefetch_known(&self, number: u32) {
        prefetch_index(&self.cold, number as usize);
    }

    /// Fetches likewise how the source was turned away, which most never were.
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

    /// The number of the pair of this hash, which is added when it is new. It holds until [`Pairs::fold`]; then it may become
    /// another's. `ends` lead from client to server.
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
            glimpsed: Span::default(),
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

    /// Client to server.
    #[inline]
    pub fn ends(&self, number: u32) -> Ends {
        self.cold[number as usize].ends
    }

    /// Notes a query.
    #[inline]
    pub fn asked(&mut self, number: u32, time: Timestamp) {
        self.queries += 1;
        self.hot[number as usize].queries += 1;
        self.told(number, time);
    }

    /// Notes a response, or another sign of the server.
    #[inline]
    pub fn told(&mut self, number: u32, time: Timestamp) {
        let hot = &mut self.hot[number as usize];
        // Mostly a time is the latest so far, and not the first.
        if time < hot.last || hot.last == Timestamp(i64::MIN) {
            let first = &mut self.cold[number as usize].first;
            *first = time.min(*first);
        }
        hot.last = time.max(hot.last);
    }

    /// Notes that a query was answered; true when [`Pairs::note_answer`] wants the frame.
    #[inline]
    pub fn answered(&mut self, number: u32) -> bool {
        let hot = &mut self.hot[number as usize];
        hot.answered += 1;
        hot.answered & WANTED != 0
    }

    /// Notes that an answer is an error.
    pub fn note_error(&mut self, number: u32) {
        if self.hot[number as usize].answered & OF_INTEREST != 0 {
            self.rare(number).errors += 1;
        }
    }

    /// Notes the frame of an answer; the first `most` are kept.
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
    pub fn tcp(&mut self, number: u32) {
        self.cold[number as usize].tcp += 1;
    }

    /// Notes the outcome of a transaction that was not answered.
    pub fn outcome(&mut self, number: u32, outcome: Outcome) {
        match outcome {
            Outcome::Unanswered => self.cold[number as usize].unanswered += 1,
            Outcome::Refused => self.refusals(number).count += 1,
            other => self.rare(number).add_outcome(other, 1),
        }
    }

    /// Notes that the source was seen without a message to count.
    pub fn glimpse(&mut self, number: u32, time: Timestamp) {
        self.cold[number as usize].glimpsed.note(time);
    }

    /// How the source was turned away, to change it.
    pub fn refusals(&mut self, number: u32) -> &mut Refusals {
        self.cold[number as usize].refusals.get_or_insert_default()
    }

    /// What most pairs never have, likewise.
    pub fn rare(&mut self, number: u32) -> &mut Rare {
        self.cold[number as usize].rare.get_or_insert_default()
    }

    /// When the server last sent the source a response, as far as noted.
    pub fn last_response(&self, number: u32) -> Timestamp {
        self.hot[number as usize].last_response
    }

    /// When the server last sent the source something that could not be read, as far as noted.
    pub fn last_unread(&self, number: u32) -> Timestamp {
        self.cold[number as usize].last_unread
    }

    /// Notes that the server of a pair sent the source something that could not be read, when the pair is known.
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

    /// True when there are too many pairs, or counts may be near their end. To be asked after every message: what is folded
    /// and dropped when must not depend on how the input was cut.
    #[inline]
    pub fn is_time_to_fold(&self) -> bool {
        self.table.len() > self.too_many || self.queries >= FOLD_AFTER
    }

    /// Folds everything into the rows and drops pairs that none of `referred` is.
    pub fn fold(&mut self, referred: impl Iterator<Item = u32>) {
        self.queries = 0;
        self.folded = true;
        // When there are more rows than allowed, which of them are joined depends on the order.
        for (hot, cold) in self.hot.iter_mut().zip(&mut self.cold) {
            fold_pair(self.sources, hot, cold);
        }
        if self.table.len() > self.too_many {
            let mut stays = vec![false; self.cold.len()];
            referred.for_each(|number| stays[number as usize] = true);
            self.table.retain(|number| stays[number as usize]);
            // The order in which numbers are used again must not depend on the hash key: the lowest first.
            self.free.clear();
            self.free.extend((0..self.cold.len() as u32).rev().filter(|number| !stays[*number as usize]));
            self.too_many = KEEP.max(self.table.len() * 2);
        }
    }

    /// The same as [`Pairs::finish`], when nobody else folds into these rows.
    pub fn finish_alone(&mut self) {
        // Before the rows grow.
        (self.free, self.table) = (Vec::new(), Table::default());
        let sources = self.sources;
        if !self.folded {
            let mut rows = [[0; 2]; 2];
            for (hot, cold) in self.hot.iter().zip(&self.cold) {
                rows[usize::from(cold.judged.listed || has_heard(hot, cold))][usize::from(cold.ends.is_v6())] += 1;
            }
            if sources.have_room(rows) && self.have_few_servers(rows) {
                let count = self.hot.len();
                let rows = std::iter::from_fn(|| self.pop()).filter_map(|(mut hot, mut cold)| {
                    let row = row_of(&mut hot, &mut cold)?;
                    Some((cold.ends.source(), cold.ends.destination(), row, cold.judged.listed))
                });
                sources.fill(count, rows);
            }
        }
        self.finish();
    }

    /// No server would have to be joined to others. `rows` is how many rows there are of each class and family.
    fn have_few_servers(&self, rows: [[usize; 2]; 2]) -> bool {
        let most = [false, true].map(|kept| self.sources.most_servers(kept));
        if (0..2).all(|class| rows[class].iter().all(|count| *count <= most[class])) {
            return true;
        }
        let mut servers: [[HashSet<IpAddr>; 2]; 2] = Default::default();
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            let class = usize::from(cold.judged.listed || has_heard(hot, cold));
            let servers = &mut servers[class][usize::from(cold.ends.is_v6())];
            servers.insert(cold.ends.destination());
            if servers.len() > most[class] {
                return false;
            }
        }
        true
    }

    /// Folds everything and gives all memory back; the time line has ended. Most of it goes piece by piece, because the rows
    /// grow while the pairs go.
    pub fn finish(&mut self) {
        self.queries = 0;
        self.folded = true;
        (self.free, self.table) = (Vec::new(), Table::default());
        // Pairs are taken from the end, and of too many servers those met first are to have rows of their own.
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            self.sources.meet(cold.ends.destination(), cold.judged.listed || has_heard(hot, cold));
        }
        while let Some((mut hot, mut cold)) = self.pop() {
            // One that was dropped has nothing left to fold.
            fold_pair(self.sources, &mut hot, &mut cold);
        }
    }

    /// Takes the last pair out; now and then memory is given back, and in the end all of it.
    fn pop(&mut self) -> Option<(Hot, Cold)> {
        let pair = self.hot.pop().zip(self.cold.pop());
        if self.cold.len().is_multiple_of(PIECE) {
            self.cold.shrink_to_fit();
        }
        if pair.is_none() {
            self.hot = Vec::new();
        }
        pair
    }
}

/// `Hot::answered` of a pair with no answers so far.
fn wanted(judged: Judged) -> u32 {
    if judged.answers_wanted { WANTED | OF_INTEREST } else { 0 }
}

/// Pairs folded at the end before memory is given back.
const PIECE: usize = 16_384;

/// The source received something from the server.
fn has_heard(hot: &Hot, cold: &Cold) -> bool {
    hot.answered & COUNT > 0
        || cold.refusals.as_ref().is_some_and(|refusals| refusals.count > 0)
        || cold.rare.as_ref().is_some_and(|rare| rare.heard())
}

/// Moves what happened to a pair since it was last folded into its source's row.
fn fold_pair(sources: &Sources, hot: &mut Hot, cold: &mut Cold) {
    if let Some(row) = row_of(hot, cold) {
        sources.fold(cold.ends.source(), cold.ends.destination(), row, cold.judged.listed);
    }
}

/// Takes what happened to a pair since it was last folded, if anything did.
fn row_of(hot: &mut Hot, cold: &mut Cold) -> Option<SourceRow> {
    let mut row = SourceRow::of_few(std::mem::take(&mut cold.glimpsed), cold.refusals.take(), cold.rare.take());
    row.queries += u64::from(std::mem::take(&mut hot.queries));
    row.answered += u64::from(hot.answered & COUNT);
    hot.answered = wanted(cold.judged);
    row.unanswered += u64::from(std::mem::take(&mut cold.unanswered));
    row.tcp += u64::from(std::mem::take(&mut cold.tcp));
    if hot.last > Timestamp(i64::MIN) {
        row.seen(cold.first);
        row.seen(hot.last);
        (cold.first, hot.last) = (Timestamp(i64::MAX), Timestamp(i64::MIN));
    }
    (row != SourceRow::default()).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::key::Key;
    use proptest::prelude::*;

    /// The rows after some sources were answered late, while others became too many and were joined.
    fn rows(key: &Key) -> Vec<(crate::sources::SourceKey, SourceRow)> {
        let sources = Sources::new(64, 8, 2);
        let mut pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
        let ends = |number: u32| Ends::v4((0x0b00_0000 + number * 5).to_be_bytes(), [192, 0, 2, 53]);
        let message = |pairs: &mut Pairs<'_>, number: u32, answered: bool| {
            let pair = pairs.number(ends(number).hash(key), || ends(number));
            if answered {
                pairs.told(pair, Timestamp(i64::from(number) + 7));
                pairs.answered(pair);
            } else {
                pairs.asked(pair, Timestamp(i64::from(number)));
            }
        };
        (0..8).for_each(|number| message(&mut pairs, number, false));
        pairs.fold(std::iter::empty());
        (0..8).for_each(|number| message(&mut pairs, number, true));
        (8..60).for_each(|number| message(&mut pairs, number, false));
        pairs.fold(std::iter::empty());
        pairs.finish();
        sources.drain_sorted()
    }

    #[test]
    fn which_rows_are_joined_does_not_depend_on_the_hash_key() {
        let first = rows(&Key::random());
        assert!(first.iter().any(|(key, _)| key.source.prefix_len() < 32));
        assert_eq!(first.iter().map(|(_, row)| row.queries).sum::<u64>(), 60);
        for _ in 0..8 {
            assert_eq!(rows(&Key::random()), first);
        }
    }

    #[test]
    fn those_referred_to_keep_their_numbers_and_the_others_are_used_again() {
        let (key, sources) = (Key::random(), Sources::new(64, 64, 2));
        let mut pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
        pairs.too_many = 4;
        let meet = |pairs: &mut Pairs<'_>, number: u32| {
            let ends = Ends::v4((0x0b00_0000 + number).to_be_bytes(), [192, 0, 2, 53]);
            let pair = pairs.number(ends.hash(&key), || ends);
            pairs.asked(pair, Timestamp(i64::from(number)));
            pair
        };
        assert_eq!([0, 1, 2, 3, 4, 5].map(|number| meet(&mut pairs, number)), [0, 1, 2, 3, 4, 5]);
        assert!(pairs.is_time_to_fold());
        pairs.fold([2, 5].into_iter());
        assert_eq!(pairs.table.len(), 2);
        assert_eq!([2, 5, 9, 0, 1, 3, 4].map(|number| meet(&mut pairs, number)), [2, 5, 0, 1, 3, 4, 6]);
        pairs.finish();
        let queries: Vec<u64> = sources.drain_sorted().iter().map(|(_, row)| row.queries).collect();
        assert_eq!(queries, [2, 2, 2, 2, 2, 2, 1]);
    }

    /// The rows after what was noted, folded in the end.
    fn noted(
        budgets: (usize, usize),
        notes: &[(u32, bool, u8)],
        alone: bool,
    ) -> Vec<(crate::sources::SourceKey, SourceRow)> {
        let (key, sources) = (Key::random(), Sources::new(budgets.0, budgets.1, 2));
        let listed = |address| matches!(address, IpAddr::V4(address) if address.octets()[3] < 64);
        let judge = |address| Judged { listed: listed(address), answers_wanted: true };
        let mut pairs = Pairs::new(&sources, Box::new(judge));
        for (frame, (number, v6, what)) in (1..).zip(notes) {
            let ends = if *v6 {
                Ends::v6(u128::from(number * 5).to_be_bytes(), 53u128.to_be_bytes())
            } else {
                Ends::v4((0x0b00_0000 + number * 5).to_be_bytes(), [192, 0, 2, 53 + (number % 5) as u8])
            };
            let (number, time) = (pairs.number(ends.hash(&key), || ends), Timestamp(i64::from(*number)));
            match what {
                0 => pairs.asked(number, time),
                1 if pairs.answered(number) => pairs.note_answer(number, FrameRef { input: 0, frame }, 2),
                1 => {}
                2 => pairs.outcome(number, Outcome::Refused),
                3 => pairs.outcome(number, Outcome::Silent),
                _ => pairs.tcp(number),
            }
        }
        if alone {
            pairs.finish_alone();
        } else {
            pairs.finish();
        }
        assert_eq!((pairs.table.len(), pairs.cold.len()), (0, 0));
        sources.drain_sorted()
    }

    proptest! {
        #[test]
        fn alone_makes_the_rows_that_folding_makes(
            budgets in (0usize..120, 0usize..120),
            notes in proptest::collection::vec((0u32..60, any::<bool>(), 0u8..5), 0..300),
        ) {
            let expected = noted(budgets, &notes, false);
            prop_assert!(noted(budgets, &notes, true) == expected);
        }
    }
}
