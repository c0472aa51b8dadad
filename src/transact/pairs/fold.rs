//! Folds pairs into the per-source rows: now and then while the time line goes on, and all of them at its end.

use super::table::Table;
use super::{COUNT, Cold, Hot, KEEP, Pairs, wanted};
use crate::capture::Timestamp;
use crate::sources::{SourceRow, Sources};
use std::collections::HashSet;
use std::net::IpAddr;

/// Pairs taken out at the end before memory is given back to the allocator.
const PIECE: usize = 16_384;

impl Pairs<'_> {
    /// Folds everything into the rows. When there are too many pairs, folds and drops only those whose number is not in
    /// `referred`: the others would be folded once more when their transactions have ended.
    pub fn fold(&mut self, referred: impl Iterator<Item = u32>) {
        self.folded = true;
        let mut stays = Vec::new();
        if self.table.len() > self.too_many {
            stays = vec![false; self.cold.len()];
            referred.for_each(|number| stays[number as usize] = true);
        } else {
            self.queries = 0;
        }
        // In the order of numbers: where servers share rows because there are too many, the order decides which do.
        for (number, (hot, cold)) in self.hot.iter_mut().zip(&mut self.cold).enumerate() {
            if !stays.get(number).is_some_and(|stays| *stays) {
                fold_pair(self.sources, hot, cold);
            }
        }
        if stays.is_empty() {
            return;
        }
        self.table.retain(|number| stays[number as usize]);
        // The order in which numbers are reused must not depend on the hash key: the lowest comes first.
        self.free.clear();
        self.free.extend((0..self.cold.len() as u32).rev().filter(|number| !stays[*number as usize]));
        self.too_many = KEEP.max(self.table.len() * 2);
    }

    /// The same as [`Pairs::finish`], for when no other tracker folds into these rows: they are made at once where that
    /// needs no joining.
    pub fn finish_alone(&mut self) {
        // Memory is given back before the rows grow.
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

    /// True when no server would have to be joined to others. `rows` counts the rows by class (heard or listed, or
    /// neither) and by address family.
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

    /// Folds everything and gives all memory back, after the time line has ended. Most memory is given back piece by
    /// piece, because the rows grow while the pairs are taken out.
    pub fn finish(&mut self) {
        self.queries = 0;
        self.folded = true;
        (self.free, self.table) = (Vec::new(), Table::default());
        // Pairs are taken from the end, but when there are too many servers, those seen first are to have rows of their
        // own.
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            self.sources.meet(cold.ends.destination(), cold.judged.listed || has_heard(hot, cold));
        }
        while let Some((mut hot, mut cold)) = self.pop() {
            // A pair that was dropped has nothing left to fold.
            fold_pair(self.sources, &mut hot, &mut cold);
        }
    }

    /// Takes the last pair out. After every [`PIECE`] pairs memory is given back, and after the last one all of it.
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

/// True when the source received a response from the server.
fn has_heard(hot: &Hot, cold: &Cold) -> bool {
    hot.answered & COUNT > 0
        || cold.refusals.as_ref().is_some_and(|refusals| refusals.count > 0)
        || cold.rare.as_ref().is_some_and(|rare| rare.heard())
}

/// Moves what happened to a pair since it was last folded into the row of its source.
fn fold_pair(sources: &Sources, hot: &mut Hot, cold: &mut Cold) {
    if let Some(row) = row_of(hot, cold) {
        sources.fold(cold.ends.source(), cold.ends.destination(), row, cold.judged.listed);
    }
}

/// Takes out what happened to a pair since it was last folded; `None` when nothing did.
fn row_of(hot: &mut Hot, cold: &mut Cold) -> Option<SourceRow> {
    let mut row = SourceRow::of_few(std::mem::take(&mut cold.without_message), cold.refusals.take(), cold.rare.take());
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
