//! Holds what the tracker counts ([`Counts`]): the buckets of the message and match ledgers, and the totals.

use crate::decode::name::NameFault;
use crate::sources::ExtraRefusal;

/// Everything the tracker counts; each count is in a ledger or the totals of the report.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Messages over UDP and TCP.
    pub messages: [u64; 2],
    /// Messages with QR 0 and QR 1.
    pub queries_responses: [u64; 2],
    /// Messages without a whole header.
    pub header_incomplete: u64,
    /// Messages whose question cannot be read, by `NameFault as usize`.
    pub unreadable: [u64; NameFault::ALL.len()],
    /// Responses by full response code (12 bits, with the extended part).
    pub rcodes: Vec<u64>,
    /// Transactions (responses for `unsolicited`) by outcome.
    pub outcomes: [u64; 7],
    /// Refused transactions whose response had no question.
    pub refused_restored: u64,
    /// REFUSED responses without a query ([`Counts::unsolicited`]).
    pub refused_unsolicited: u64,
    /// REFUSED responses that end no query, by [`ExtraRefusal`].
    pub extra_refusals: [u64; ExtraRefusal::ALL.len()],
    /// Queries that found their response.
    pub matched: u64,
    /// Queries repeated while pending.
    pub retransmitted: u64,
    /// Queries seen again at another point.
    pub query_copies: u64,
    /// Queries without a response within the timeout.
    pub timed_out: u64,
    /// Queries given up because the table was full.
    pub evicted: u64,
    /// Early responses given up because too many waited for a query.
    pub early_evicted: u64,
    /// Queries that still waited when the capture ended.
    pub open_at_end: u64,
    /// Further messages of zone transfers.
    pub continued: u64,
    /// Responses after the timeout, within one further timeout.
    pub late: u64,
    /// Second responses.
    pub duplicate: u64,
    /// Responses seen again at another point.
    pub response_copies: u64,
    /// Responses without a query.
    pub unsolicited: u64,
    /// Responses with a question other than the query's.
    pub mismatch: u64,
    /// Messages followed by bytes that belong to none of their sections.
    pub trailing: u64,
    /// Messages cut by the snapshot length, or with bytes that the capture lost.
    pub cut: u64,
}

impl Counts {
    /// References to all counts, in a fixed order.
    fn each<'a>(&'a mut self) -> Vec<&'a mut u64> {
        let mut all: Vec<&'a mut u64> = Vec::new();
        all.extend(&mut self.messages);
        all.extend(&mut self.queries_responses);
        all.extend(&mut self.unreadable);
        all.extend(&mut self.rcodes);
        all.extend(&mut self.outcomes);
        all.extend(&mut self.extra_refusals);
        all.extend([
            &mut self.header_incomplete,
            &mut self.refused_restored,
            &mut self.refused_unsolicited,
            &mut self.matched,
            &mut self.retransmitted,
            &mut self.query_copies,
            &mut self.timed_out,
            &mut self.evicted,
            &mut self.early_evicted,
            &mut self.open_at_end,
            &mut self.continued,
            &mut self.late,
            &mut self.duplicate,
            &mut self.response_copies,
            &mut self.unsolicited,
            &mut self.mismatch,
            &mut self.trailing,
            &mut self.cut,
        ]);
        all
    }

    /// Adds the counts of another time line.
    pub fn add(&mut self, other: &Counts) {
        let mut other = other.clone();
        self.each().into_iter().zip(other.each()).for_each(|(sum, more)| *sum += *more);
    }

    /// What was counted since an earlier state, `before`.
    #[must_use]
    pub fn since(&self, before: &Counts) -> Counts {
        let (mut counts, mut before) = (self.clone(), before.clone());
        counts.each().into_iter().zip(before.each()).for_each(|(now, then)| *now = now.saturating_sub(*then));
        counts
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            messages: [0; 2],
            queries_responses: [0; 2],
            header_incomplete: 0,
            unreadable: [0; NameFault::ALL.len()],
            rcodes: vec![0; 4096],
            outcomes: [0; 7],
            refused_restored: 0,
            refused_unsolicited: 0,
            matched: 0,
            retransmitted: 0,
            query_copies: 0,
            timed_out: 0,
            evicted: 0,
            early_evicted: 0,
            open_at_end: 0,
            continued: 0,
            late: 0,
            extra_refusals: [0; ExtraRefusal::ALL.len()],
            duplicate: 0,
            response_copies: 0,
            unsolicited: 0,
            mismatch: 0,
            trailing: 0,
            cut: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_cover_every_count() {
        let mut one = Counts::default();
        let numbers = one.each().len() as u64;
        // A count missing from `each` would make the structure larger than what is listed.
        let listed = size_of::<Counts>() - size_of::<Vec<u64>>() + 4096 * 8;
        assert_eq!(numbers, listed as u64 / 8);
        one.each().into_iter().enumerate().for_each(|(at, count)| *count = at as u64);
        let mut two = one.clone();
        two.add(&one);
        assert_eq!((two.cut, two.messages[1]), (one.cut * 2, 2));
        assert_eq!(two.since(&one).cut, one.cut);
    }
}
