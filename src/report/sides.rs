//! Inputs captured at several places ([`Sides`]): which of them were captured at a server, and whether the same queries were
//! captured on both sides of a translation.

use crate::capture::{Direction, Timestamp};
use crate::config::{COPY_WINDOW, Outcome};
use crate::decode::message::HEADER;
use crate::decode::name::read_name;
use crate::decode::proxy;
use crate::transact::Transaction;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Servers followed, each in every input.
const SERVERS: usize = 65_536;
/// Queries remembered for as long as a copy may come.
const QUERIES: usize = 16_384;

/// What refused queries tell of the places of several inputs.
#[derive(Debug, Default)]
pub struct Sides {
    /// By server and input: whether its responses leave, and whether they arrive.
    seen: HashMap<(IpAddr, u32), [bool; 2]>,
    /// The latest query of each kind: when, by whom, and in which input.
    latest: HashMap<Asked, (Timestamp, IpAddr, u32)>,
    /// By input: refused queries, and those of them that another input has from another source.
    refused: HashMap<u32, [u64; 2]>,
    /// Queries that two inputs have from different sources.
    twice: u64,
}

/// Server, identifier and question.
type Asked = (IpAddr, u16, Vec<u8>);

impl Sides {
    /// Notes a transaction; only those that were refused are of interest.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        let Some(response) = transaction.response else { return };
        if !matches!(transaction.outcome, Outcome::Refused | Outcome::Denied) {
            return;
        }
        let (server, input) = (transaction.ends.destination(), response.frame.input);
        if self.seen.len() < SERVERS || self.seen.contains_key(&(server, input)) {
            let [leaves, arrives] = self.seen.entry((server, input)).or_default();
            *leaves |= response.point.direction() == Direction::Out;
            *arrives |= response.point.direction() == Direction::In;
        }
        let (_, query) = proxy::split(transaction.query_bytes);
        let (Some(id), Ok((_, end))) = (transaction.id, read_name(query, HEADER)) else { return };
        let Some(question) = query.get(HEADER..end + 4) else { return };
        self.refused.entry(input).or_default()[0] += 1;
        if self.latest.len() >= QUERIES {
            self.latest.retain(|_, (time, ..)| response.time.0.saturating_sub(time.0) <= COPY_WINDOW);
            if self.latest.len() >= QUERIES {
                self.latest.clear();
            }
        }
        let source = transaction.ends.source();
        let before = self.latest.insert((server, id, question.to_vec()), (response.time, source, input));
        let Some((time, other, of)) = before else { return };
        let near = response.time.0.saturating_sub(time.0).saturating_abs() <= COPY_WINDOW;
        if near && other != source && of != input {
            self.twice += 1;
            for input in [of, input] {
                self.refused.entry(input).or_default()[1] += 1;
            }
        }
    }

    /// Servers with the inputs that were captured at them, as far as refusals tell: those whose responses leave and never
    /// arrive there.
    pub fn here_in(&self) -> BTreeSet<(IpAddr, usize)> {
        let here = self.seen.iter().filter(|(_, seen)| **seen == [true, false]);
        here.map(|((server, input), _)| (*server, *input as usize)).collect()
    }

    /// What is said of queries that were captured twice. One or the other may be so by chance: half of what an input has of
    /// refusals has to be.
    pub fn note(&self) -> Option<String> {
        let is_most = self.refused.values().any(|[all, twice]| *twice > 0 && 2 * twice >= *all);
        let queries = super::page::counted(self.twice, "refused query", "refused queries");
        let was = if self.twice == 1 { "was" } else { "were" };
        is_most.then(|| {
            format!(
                "{queries} {was} captured in two inputs within 10 ms, from different sources with the same identifier and \
                 question: what was asked once may be counted on both sides of a translation."
            )
        })
    }
}
