//! Expected prefixes that may be behind unlisted sources ([`Candidates`]): those of which nothing was seen
//! ([`Missing`]).

use super::NAMED;
use crate::config::Outcome;
use crate::diagnose::presence::Presence;
use crate::diagnose::scene::{Client, Scene, refused_frames};
use crate::expect::Expect;
use crate::expect::inventory::{Kind, Row, show_prefix};
use crate::report::page::{counted, grouped};
use std::collections::HashMap;
use std::net::IpAddr;

/// Which expected prefixes may be behind unlisted sources.
pub enum Candidates<'a> {
    /// None: every one was seen under its own address, or cannot arrive as one of these.
    None,
    /// Only this one was not seen.
    One(&'a Row),
    /// Several may be behind them.
    Several {
        /// Number of prefixes that were not seen.
        absent: usize,
        /// Number of prefixes of which it is not known.
        unknown: usize,
        /// None of them is of the sources' address family.
        translated: bool,
    },
}

/// The expected prefixes of clients that were not seen, by IPv6 (1) or IPv4 (0): determined once, whatever the number
/// of servers and sources.
pub struct Missing<'a> {
    absent: [Vec<&'a Row>; 2],
    /// Number of further ones that may have been seen: they are candidates, but never named.
    unknown: [usize; 2],
    /// Texts for lines that are the only one, by number: their prefixes, short and in full.
    named: HashMap<usize, (String, String)>,
    /// Sources that are expected to be allowed and were turned away, by server.
    turned_away: HashMap<IpAddr, Vec<Client<'a>>>,
    /// The sentence about those of them that their server did not answer: all (0), or those that it is not known to
    /// have seen so (1), because what looks like a server may be the translation. By IPv6 (1) or IPv4 (0). Made once,
    /// because there may be very many, and as many findings to which it is added.
    before: [[String; 2]; 2],
}

impl<'a> Missing<'a> {
    /// Collects them once for all groups.
    pub fn of(scene: &Scene<'a>) -> Self {
        let of = |presence: Presence, v6: bool| {
            let of_family = move |row: &&'a Row| row.kind != Kind::Server && row.prefix.addr().is_ipv6() == v6;
            scene.lines(presence).filter(of_family)
        };
        let mut turned_away: HashMap<IpAddr, Vec<Client<'a>>> = HashMap::new();
        let expected = |client: &&Client<'_>| client.expected.row().is_some_and(|row| row.expect == Expect::Allow);
        let mut before: [[Vec<Client<'a>>; 2]; 2] = Default::default();
        for client in scene.clients.iter().filter(expected).filter(|client| client.line.turned_away() > 0) {
            turned_away.entry(client.line.server).or_default().push(*client);
            let mut inputs = refused_frames(client.line).iter().map(|frame| [(frame.input as usize, Vec::new())]);
            let seen_by_server = inputs.any(|input| scene.report.is_at_for(client.line.server, &input));
            let v6 = usize::from(client.line.source.addr().is_ipv6());
            if client.line.count(Outcome::Answered) == 0 {
                before[0][v6].push(*client);
                if !seen_by_server {
                    before[1][v6].push(*client);
                }
            }
        }
        let absent = [false, true].map(|v6| of(Presence::Absent, v6).collect::<Vec<&Row>>());
        let alone = absent.iter().filter(|rows| rows.len() == 1).flatten();
        Self {
            turned_away,
            before: before.map(|all| all.map(|clients| turned_away_by_others(&clients))),
            named: alone.map(|row| (row.index, (scene.rest(row), scene.describe(row)))).collect(),
            absent,
            unknown: [false, true].map(|v6| of(Presence::Unknown, v6).count()),
        }
    }

    /// The text for a line that is the only one.
    pub fn named(&self, row: &Row) -> (&str, &str) {
        self.named.get(&row.index).map_or(("", ""), |(prefix, described)| (prefix, described))
    }

    /// Sources that are expected to be allowed and that a server turned away.
    pub fn turned_away(&self, server: IpAddr) -> impl Iterator<Item = &Client<'a>> {
        self.turned_away.get(&server).into_iter().flatten()
    }

    /// The sentence about those that other servers turned away, where `group` was captured at its server (`at`) or
    /// elsewhere.
    pub fn turned_away_elsewhere(&self, at: bool, group: &[Client<'_>]) -> &str {
        &self.before[usize::from(at)][usize::from(group[0].line.source.addr().is_ipv6())]
    }

    /// Which of them may be behind a group. Translation between address families is the exception: a prefix of the
    /// sources' own family has precedence.
    pub fn candidates(&self, group: &[Client<'_>]) -> Candidates<'a> {
        let is_in = |v6: bool| group.iter().any(|client| client.line.source.addr().is_ipv6() == v6);
        let own = [is_in(false), is_in(true)];
        // IPv6 clients may arrive with IPv4 addresses (NAT64), but not the reverse.
        let any = [own[0], true];
        for (possible, translated) in [(own, false), (any, true)] {
            let mut absent =
                self.absent.iter().zip(possible).filter(|(_, possible)| *possible).flat_map(|(rows, _)| rows);
            let sum = |counts: [usize; 2]| -> usize {
                counts.into_iter().zip(possible).filter(|(_, possible)| *possible).map(|(count, _)| count).sum()
            };
            match (sum([self.absent[0].len(), self.absent[1].len()]), sum(self.unknown)) {
                (0, 0) => {}
                (1, 0) => return absent.next().map_or(Candidates::None, |row| Candidates::One(row)),
                (absent, unknown) => return Candidates::Several { absent, unknown, translated },
            }
        }
        Candidates::None
    }
}

/// True when a prefix and a source are both IPv4 or both IPv6.
pub fn same_family(row: &Row, client: &Client<'_>) -> bool {
    row.prefix.addr().is_ipv6() == client.line.source.addr().is_ipv6()
}

/// The sentence about sources that other servers turned away; empty when there are none.
fn turned_away_by_others(others: &[Client<'_>]) -> String {
    let Some(first) = others.first() else { return String::new() };
    let names: Vec<String> = others.iter().take(NAMED).map(|client| show_prefix(client.line.source)).collect();
    let more = match others.len() - names.len() {
        0 => String::new(),
        more => format!(" and {} more", grouped(more as u64)),
    };
    let one = others.iter().all(|client| client.line.server == first.line.server);
    let server = if one { first.line.server.to_string() } else { "other servers".to_owned() };
    format!(
        " {} ({}{more}), expected to be allowed and turned away by {server}, may be the same before a translation.",
        counted(others.len() as u64, "source", "sources"),
        names.join(", "),
    )
}
