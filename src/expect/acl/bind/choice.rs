//! Finds which of many views serves an address ([`Choice`]): a provider may have one per customer or country, and
//! trying one after the other for every request would take longer than everything else.

use super::model::View;
use crate::expect::ranges::Ranges;
use std::net::IpAddr;

/// Fewer views than these are asked one after the other.
const MANY: usize = 16;

/// What is known of many views before a request comes.
#[derive(Debug)]
pub struct Choice {
    /// The first of those views whose clients are prefixes alone.
    first: Ranges,
    /// The others, in order: they name keys, the server's own addresses, or what the text does not tell.
    others: Vec<usize>,
}

impl Choice {
    /// Of these views, when they are many.
    pub fn of(views: &[View]) -> Option<Self> {
        if views.len() < MANY {
            return None;
        }
        let of_prefixes = |view: &View| view.match_clients.list.of_prefixes() && view.match_clients.unknown.is_none();
        let lists: Vec<&Ranges> = views.iter().map(|view| view.match_clients.list.ranges()).collect();
        let first = Ranges::first_of(&lists, |at, number| {
            of_prefixes(&views[at]) && views[at].match_clients.list.lets_pass(number)
        });
        let others = (0..views.len()).filter(|at| !of_prefixes(&views[*at])).collect();
        Some(Self { first, others })
    }

    /// The views that may serve an address, in their order: no other has it among its clients.
    pub fn among<'a>(&'a self, views: &'a [View], address: IpAddr) -> impl Iterator<Item = &'a View> {
        let first = self.first.find(address).map_or(views.len(), |at| at as usize);
        let before = self.others.iter().take_while(move |at| **at < first);
        before.map(|at| &views[*at]).chain(&views[first..])
    }
}
