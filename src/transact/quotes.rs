//! Counts ICMP errors about DNS packets per server and source ([`Quotes`]), and words them for the report.

use crate::decode::Ends;
use crate::decode::quote::{Quote, Reason};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Pairs of server and source counted separately; errors about further pairs are counted together.
const MAX_PAIRS: usize = 4096;
/// Servers that get sentences of their own, and sources named in one sentence.
const MAX_SERVERS: usize = 16;
const MAX_SOURCES: usize = 5;

/// Errors about packets between a server and a source: about queries and about responses, each by reason.
type Pair = [[u64; Reason::ALL.len()]; 2];

/// Every error counted so far.
#[derive(Debug, Clone, Default)]
pub struct Quotes {
    pairs: BTreeMap<(IpAddr, IpAddr), Pair>,
    beyond: u64,
}

impl Quotes {
    /// Counts an error about a packet between `ends`, which lead from client to server.
    pub fn count(&mut self, ends: Ends, quote: Quote) {
        let key = (ends.destination(), ends.source());
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        self.pairs.entry(key).or_default()[usize::from(quote.response)][quote.reason as usize] += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Quotes) {
        for (key, pair) in &other.pairs {
            let sums = self.pairs.entry(*key).or_default().as_flattened_mut();
            sums.iter_mut().zip(pair.as_flattened()).for_each(|(sum, count)| *sum += count);
        }
        self.beyond += other.beyond;
    }

    /// What was counted since an earlier state, `before`.
    #[must_use]
    pub fn since(&self, before: &Quotes) -> Quotes {
        let mut part = self.clone();
        for (key, pair) in &before.pairs {
            let counts = part.pairs.entry(*key).or_default().as_flattened_mut();
            counts.iter_mut().zip(pair.as_flattened()).for_each(|(now, before)| *now = now.saturating_sub(*before));
        }
        part.pairs.retain(|_, pair| pair.as_flattened().iter().any(|count| *count > 0));
        part.beyond = self.beyond.saturating_sub(before.beyond);
        part
    }

    /// One sentence per server and direction, servers in order of their addresses.
    pub fn sentences(&self) -> Vec<String> {
        let mut servers: BTreeMap<IpAddr, Vec<(IpAddr, &Pair)>> = BTreeMap::new();
        for ((server, source), pair) in &self.pairs {
            servers.entry(*server).or_default().push((*source, pair));
        }
        let mut sentences = Vec::new();
        for (server, sources) in servers.iter().take(MAX_SERVERS) {
            sentences.extend(sentence(*server, sources, 0));
            sentences.extend(sentence(*server, sources, 1));
        }
        if servers.len() > MAX_SERVERS {
            let more = servers.len() - MAX_SERVERS;
            sentences.push(format!("ICMP errors quoted packets of {more} more servers."));
        }
        if self.beyond > 0 {
            sentences.push(format!("{} more ICMP errors quoted packets of further sources or servers.", self.beyond));
        }
        sentences
    }
}

/// The sentence about the errors that quote queries (`side` 0) or responses (1) of a server; `None` when there are
/// none.
fn sentence(server: IpAddr, sources: &[(IpAddr, &Pair)], side: usize) -> Option<String> {
    let mut by_source: Vec<(u64, IpAddr)> = sources
        .iter()
        .map(|(source, pair)| (pair[side].iter().sum(), *source))
        .filter(|(count, _)| *count > 0)
        .collect();
    let total: u64 = by_source.iter().map(|(count, _)| count).sum();
    if total == 0 {
        return None;
    }
    by_source.sort_by_key(|(count, source)| (std::cmp::Reverse(*count), *source));
    let reasons: Vec<String> = Reason::ALL
        .iter()
        .map(|(name, reason)| (name, sources.iter().map(|(_, pair)| pair[side][*reason as usize]).sum::<u64>()))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let named: Vec<String> =
        by_source.iter().take(MAX_SOURCES).map(|(count, source)| format!("{source} {count}")).collect();
    let more = match by_source.len().saturating_sub(MAX_SOURCES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (errors, what) =
        (if total == 1 { "error" } else { "errors" }, if side == 0 { "queries to" } else { "responses of" });
    let (whose, reasons, named) = (if side == 0 { "from" } else { "to" }, reasons.join(", "), named.join(", "));
    Some(format!("{total} ICMP {errors} ({reasons}) quoted {what} {server} ({whose} {named}{more})."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_servers_reasons_and_sources() {
        let mut quotes = Quotes::default();
        let ends = |source: u8| Ends::v4([10, 0, 0, source], [10, 0, 0, 53]);
        let about = |reason, response| Quote { reason, response };
        quotes.count(ends(1), about(Reason::Prohibited, false));
        quotes.count(ends(2), about(Reason::PortUnreachable, false));
        quotes.count(ends(2), about(Reason::PortUnreachable, false));
        quotes.count(ends(9), about(Reason::PortUnreachable, true));
        assert_eq!(
            quotes.sentences(),
            [
                "3 ICMP errors (port unreachable 2, administratively prohibited 1) quoted queries to 10.0.0.53 (from \
                 10.0.0.2 2, 10.0.0.1 1).",
                "1 ICMP error (port unreachable 1) quoted responses of 10.0.0.53 (to 10.0.0.9 1)."
            ]
        );
    }

    #[test]
    fn a_part_of_the_time_has_what_was_counted_in_it() {
        let ends = |source: u8| Ends::v4([10, 0, 0, source], [10, 0, 0, 53]);
        let quote = Quote { reason: Reason::Prohibited, response: false };
        let mut quotes = Quotes::default();
        quotes.count(ends(1), quote);
        let before = quotes.clone();
        assert!(quotes.since(&before).sentences().is_empty());
        quotes.count(ends(2), quote);
        let part = quotes.since(&before);
        assert_eq!(part.sentences().len(), 1);
        assert!(part.sentences()[0].ends_with("(from 10.0.0.2 1)."), "{:?}", part.sentences());
        let mut whole = before;
        whole.add(&part);
        assert_eq!(whole.sentences(), quotes.sentences());
    }

    #[test]
    fn a_flood_of_pairs_is_bounded() {
        let mut quotes = Quotes::default();
        for number in 0..5000u32 {
            let ends = Ends::v4(number.to_be_bytes(), [10, 0, 0, 53]);
            quotes.count(ends, Quote { reason: Reason::Other, response: false });
        }
        assert_eq!((quotes.pairs.len(), quotes.beyond), (MAX_PAIRS, 5000 - MAX_PAIRS as u64));
        assert!(quotes.sentences()[0].ends_with("and 4091 more)."));
    }
}
