//! What every diagnosis looks at ([`Scene`]), and shared ways to count, name and quote, so that the same thing is said
//! in the same words everywhere.

use super::presence::{Presence, presence};
use super::{Finding, Grade, Subject};
use crate::config::{Limits, Outcome, Severity};
use crate::expect::acl::advice::Effort;
use crate::expect::acl::judge::{self, Verdicts};
use crate::expect::inventory::{Row, show_prefix};
use crate::expect::{Expected, Inventory};
use crate::report::page::grouped;
use crate::report::{Report, SourceLine, servers_of};
use crate::sources::{FrameRef, Leg};
use ipnet::IpNet;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Most findings of one kind with a change of a file that would admit their sources; each search evaluates the file
/// again.
pub const ADVISED: usize = 8;
/// Most list elements compiled for that: more would take minutes.
const ELEMENTS: u64 = 500_000_000;
/// The same where no signal could end it, about two seconds: a signal already ended the reading, or packets are
/// waiting.
const FEW_ELEMENTS: u64 = 10_000_000;
/// Most lines of the capturing host that are searched for each finding.
const HOST_LINES: usize = 256;
/// Most narrower lines named with a line.
const NARROWER_NAMED: usize = 3;

/// A report's facts together with an inventory.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The facts.
    pub report: &'a Report,
    /// The inventory.
    pub inventory: &'a Inventory,
    /// Bounds of lists.
    pub limits: &'a Limits,
    /// Sources on the client leg, with what is expected of each.
    pub clients: Vec<Client<'a>>,
    /// Verdicts of the servers' own files; `None` without one.
    pub verdicts: Option<&'a Verdicts>,
    /// Advice may admit addresses of the public internet.
    pub advise_public: bool,
    /// Presence of each inventory line.
    presence: Vec<Option<Presence>>,
    /// Our servers on the client leg.
    pub servers: BTreeSet<IpAddr>,
    /// How often others turned our servers away.
    themselves: HashMap<IpAddr, u64>,
    /// Sources that may be addresses of a capturing host, and who turned them away.
    hosts: Vec<&'a SourceLine>,
    /// Indexes of each server's pairs among those of the verdicts.
    pairs: HashMap<IpAddr, Vec<usize>>,
    /// Number of changes of files that may still be looked for; each search evaluates a file again.
    to_advise: Cell<usize>,
    /// How much work the search may take.
    pub effort: Effort<'a>,
}

/// How much work the search for changes may take, unless a signal ends it.
pub fn effort(interrupted: Option<&Arc<AtomicBool>>) -> Effort<'_> {
    Effort::new(if interrupted.is_some() { ELEMENTS } else { FEW_ELEMENTS }, interrupted)
}

/// A source at one of our servers.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its counts.
    pub line: &'a SourceLine,
    /// What the inventory says about it.
    pub expected: Expected<'a>,
}

/// The class of an unlisted address, as far as the address itself shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Private-use, shared, link-local or unique local: somebody of one's own, or of a neighbour.
    Private,
    /// Any other address.
    Other,
    /// Loopback, or an address that is itself a server here: the server asks itself, and no client arrives with it.
    Own,
}

impl Class {
    /// The text after the word `sources`.
    pub fn words(self) -> &'static str {
        match self {
            Class::Private => " of private-use, shared or link-local addresses",
            Class::Own => " on the servers themselves",
            Class::Other => "",
        }
    }
}

impl<'a> Scene<'a> {
    /// Looks up every client in the inventory once.
    pub fn of(report: &'a Report, inventory: &'a Inventory, limits: &'a Limits) -> Self {
        let clients: Vec<Client<'a>> = report
            .sources
            .iter()
            .filter(|line| line.leg == Leg::Client)
            .map(|line| Client { line, expected: inventory.decide_prefix(line.source) })
            .collect();
        let servers = servers_of(clients.iter().map(|client| client.line));
        let presence = presence(&report.sources, inventory);
        let mut themselves: HashMap<IpAddr, u64> = HashMap::new();
        let mut hosts = Vec::new();
        let asking: BTreeSet<IpAddr> = report.asking.iter().map(|(address, _)| *address).collect();
        for line in report.sources.iter().filter(|line| line.turned_away() > 0) {
            let source = line.source.addr();
            if line.leg == Leg::Upstream {
                *themselves.entry(source).or_default() += line.turned_away();
            }
            if source.is_loopback() || asking.contains(&source) {
                hosts.push(line);
            }
        }
        // Hosts have few addresses. When there are many, which must be forged, nothing is said.
        if hosts.len() > HOST_LINES {
            hosts.clear();
        }
        Self {
            report,
            inventory,
            limits,
            verdicts: None,
            advise_public: false,
            presence,
            clients,
            servers,
            themselves,
            hosts,
            pairs: HashMap::new(),
            to_advise: Cell::new(ADVISED),
            effort: effort(None),
        }
    }

    /// The same with the verdicts of the servers' own files.
    #[must_use]
    pub fn with_files(mut self, verdicts: &'a Verdicts) -> Self {
        if verdicts.acls.is_empty() {
            return self;
        }
        for (place, ((_, server), _)) in verdicts.pairs.iter().enumerate() {
            self.pairs.entry(*server).or_default().push(place);
        }
        self.verdicts = Some(verdicts);
        self
    }

    /// Sources judged at a server, with counts of decisions and outcomes.
    pub fn judged_at(&self, server: IpAddr) -> impl Iterator<Item = (IpAddr, &'a [judge::Tally])> + '_ {
        let places = self.pairs.get(&server).map_or(&[][..], Vec::as_slice);
        let pairs = self.verdicts.map_or(&[][..], |verdicts| &verdicts.pairs);
        places.iter().map(move |place| (pairs[*place].0.0, pairs[*place].1.as_slice()))
    }

    /// True while a change of a file may still be looked for; counts the searches.
    pub fn may_advise(&self) -> bool {
        let left = self.to_advise.get();
        self.to_advise.set(left.saturating_sub(1));
        left > 0
    }

    /// How often a server of ours was turned away by others, which it may have passed on to its clients.
    pub fn turned_away_itself(&self, server: IpAddr) -> u64 {
        self.themselves.get(&server).copied().unwrap_or_default()
    }

    /// The same for other addresses of its host, such as that of the loopback interface, with these addresses.
    pub fn host_turned_away(&self, server: IpAddr) -> (u64, BTreeSet<IpAddr>) {
        let (mut count, mut sources) = (0, BTreeSet::new());
        for line in &self.hosts {
            let source = line.source.addr();
            let inputs: Vec<usize> = refused_frames(line).iter().map(|frame| frame.input as usize).collect();
            if source != server && line.server != server && self.report.asks_as(source, server, &inputs) {
                count += line.turned_away();
                sources.insert(source);
            }
        }
        (count, sources)
    }

    /// True when headers of proxies named a client in this prefix at a server, or more clients than were kept.
    pub fn may_be_claimed(&self, server: IpAddr, prefix: IpNet) -> bool {
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let pairs = self.report.proxied.range((server, first)..).take_while(|((at, _), _)| *at == server);
        pairs
            .map(|(_, pair)| pair)
            .any(|pair| pair.more_clients || pair.clients.iter().any(|client| prefix.contains(&client.ip())))
    }

    /// Lines of a given presence, in file order.
    pub fn lines(&self, wanted: Presence) -> impl Iterator<Item = &'a Row> {
        let with = self.inventory.rows().iter().zip(&self.presence);
        with.filter(move |(_, presence)| **presence == Some(wanted)).map(|(row, _)| row)
    }

    /// A line with its place, and with the lines that decide for parts of it, which are excepted.
    pub fn describe(&self, row: &Row) -> String {
        let narrower: Vec<String> = self.narrower(row).map(Row::rule).collect();
        match narrower.len() {
            0 => row.describe(),
            1 => format!("{} outside of its narrower line ({})", row.describe(), narrower[0]),
            _ => format!("{} outside of its narrower lines ({})", row.describe(), some(&narrower, NARROWER_NAMED)),
        }
    }

    /// The prefix of a line; or the rest of it, when lines within it decide for parts.
    pub fn rest(&self, row: &Row) -> String {
        let rest = if self.narrower(row).next().is_some() { "the rest of " } else { "" };
        format!("{rest}{}", show_prefix(row.prefix))
    }

    /// Lines for parts of a line's prefix.
    fn narrower<'r>(&'r self, row: &'r Row) -> impl Iterator<Item = &'r Row> {
        let within = |other: &&Row| other.prefix != row.prefix && row.prefix.contains(&other.prefix);
        self.inventory.rows().iter().filter(within)
    }

    /// The class of an unlisted source.
    pub fn class(&self, line: &SourceLine) -> Class {
        let address = line.source.addr();
        if address.is_loopback() || self.servers.contains(&address) {
            return Class::Own;
        }
        let private = match address {
            IpAddr::V4(v4) => {
                let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
                v4.is_private() || v4.is_link_local() || shared
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if private { Class::Private } else { Class::Other }
    }

    /// Groups clients by server and `key`; those without a key are left out.
    pub fn groups<K: Ord>(&self, key: impl Fn(&Client<'a>) -> Option<K>) -> BTreeMap<(IpAddr, K), Vec<Client<'a>>> {
        let mut groups: BTreeMap<(IpAddr, K), Vec<Client<'a>>> = BTreeMap::new();
        for client in &self.clients {
            if let Some(key) = key(client) {
                groups.entry((client.line.server, key)).or_default().push(*client);
            }
        }
        groups
    }

    /// A finding about a group, with its members ordered by `count` and the frames that show it.
    pub fn finding(
        &self,
        kind: &'static str,
        severity: Severity,
        group: &[Client<'a>],
        count: impl Fn(&SourceLine) -> u64,
        frames: impl Fn(&SourceLine) -> &[FrameRef],
    ) -> Finding {
        let mut members: Vec<&SourceLine> = group.iter().map(|client| client.line).collect();
        members.sort_by_key(|line| (Reverse(count(line)), line.source));
        let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for frame in members.iter().flat_map(|line| frames(line)) {
            let of_input = by_input.entry(frame.input as usize).or_default();
            of_input.insert(frame.frame);
            if of_input.len() > self.limits.finding_frames {
                of_input.pop_last();
            }
        }
        Finding {
            id: String::new(),
            kind,
            grade: Grade::Observed,
            severity,
            subject: Subject {
                server: members.first().map(|line| line.server),
                sources: members
                    .iter()
                    .take(self.limits.finding_members)
                    .map(|line| show_prefix(line.source))
                    .collect(),
                ..Subject::default()
            },
            says: String::new(),
            count: members.iter().map(|line| count(line)).sum(),
            frames: by_input.into_iter().map(|(input, frames)| (input, frames.into_iter().collect())).collect(),
            advice: None,
            not_listed: 0,
        }
    }
}

/// The source of a group of one; `None` for several, and for joined sources, which may be several.
pub fn alone<'c, 'a>(group: &'c [Client<'a>]) -> Option<&'c Client<'a>> {
    match group {
        [only] if !is_joined(only) => Some(only),
        _ => None,
    }
}

/// True when sources were joined to a prefix for want of room, so that their number is not known.
pub fn is_joined(client: &Client<'_>) -> bool {
    client.line.source.prefix_len() < client.line.source.max_prefix_len()
}

/// The number of sources in a group, with `of_kind` after the word: `2 sources`, `at least 2 sources`, `sources in
/// 192.0.2.0/24`.
pub fn sources(group: &[Client<'_>], of_kind: &str) -> String {
    match group {
        [only] if is_joined(only) => format!("sources{of_kind} in {}", show_prefix(only.line.source)),
        [_] => format!("1 source{of_kind}"),
        several if several.iter().any(is_joined) => {
            format!("at least {} sources{of_kind}", grouped(several.len() as u64))
        }
        several => format!("{} sources{of_kind}", grouped(several.len() as u64)),
    }
}

/// A source with its line, which may be about that source alone: `10.20.1.1 of 10.20.0.0/16 (office, expect.csv:1)`.
pub fn of_line(source: &str, row: &Row) -> String {
    if source == show_prefix(row.prefix) { row.describe() } else { format!("{source} of {}", row.describe()) }
}

/// The same at the start of a sentence.
pub fn begins(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Sums over the sources of a group.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// REFUSED with a captured query.
    pub refused: u64,
    /// Denied otherwise.
    pub denied: u64,
    /// REFUSED responses without a captured query.
    pub unsolicited: u64,
    /// Answered.
    pub answered: u64,
    /// Refused, and answered by a second response.
    pub answered_second: u64,
}

impl Tally {
    /// Sums up a group.
    pub fn of(group: &[Client<'_>]) -> Self {
        group.iter().fold(Self::default(), |sum, client| Self {
            refused: sum.refused + client.line.count(Outcome::Refused),
            denied: sum.denied + client.line.count(Outcome::Denied),
            unsolicited: sum.unsolicited + client.line.row.rare().refused_unsolicited,
            answered: sum.answered + client.line.count(Outcome::Answered),
            answered_second: sum.answered_second + client.line.row.rare().answered_second,
        })
    }

    /// `refused 187 times by 10.20.30.40`; denials and responses without a captured query are counted separately.
    pub fn turned_away(&self, by: IpAddr) -> String {
        let refused = self.refused + self.unsolicited;
        let mut apart = Vec::new();
        if self.denied > 0 {
            apart.push(format!("refused {}, denied with another code {}", grouped(refused), grouped(self.denied)));
        }
        match self.unsolicited {
            0 => {}
            1 => apart.push("1 of these by a response whose query is not known".to_owned()),
            count => apart.push(format!("{} of these by responses whose queries are not known", grouped(count))),
        }
        let apart = if apart.is_empty() { String::new() } else { format!(" ({})", apart.join("; ")) };
        let what = if self.denied == 0 { "refused" } else { "turned away" };
        format!("{what} {} by {by}{apart}", times(refused + self.denied))
    }
}

/// `once`, `2 times`, `1,234 times`.
pub fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", grouped(count)) }
}

/// The frames of refusals of a source.
pub fn refused_frames(line: &SourceLine) -> &[FrameRef] {
    &line.row.refusals().frames
}

/// Some names, the first few of them: `a, b and 3 more`.
pub fn some(names: &[String], at_most: usize) -> String {
    let shown = names.len().min(at_most);
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {} more", names[..shown].join(", "), grouped(more as u64)),
    }
}

#[cfg(test)]
#[allow(clippy::missing_panics_doc)] // only tests call it
pub mod samples {
    //! Small inventories and sources for the tests of diagnoses and formats.

    use super::*;
    use crate::capture::Timestamp;
    use crate::report::Expectation;

    /// An inventory from the text of a file called `expect.csv`.
    pub fn inventory(text: &str) -> Inventory {
        Inventory::from_text("expect.csv", text).unwrap()
    }

    /// A time in seconds after 2025-12-31T09:04:10Z.
    pub fn at(seconds: i64) -> Timestamp {
        Timestamp((1_767_171_850 + seconds) * 1_000_000_000)
    }

    /// A source of the client leg without any query.
    pub fn source(source: &str, server: &str) -> SourceLine {
        let source =
            if source.contains('/') { source.parse().unwrap() } else { source.parse::<IpAddr>().unwrap().into() };
        let mut row = crate::sources::SourceRow::default();
        row.seen(at(0));
        row.seen(at(30));
        SourceLine { source, server: server.parse().unwrap(), leg: Leg::Client, row, expectation: None, verdict: None }
    }

    /// Changes a sample.
    pub trait With: Sized {
        /// Sets the transactions of an outcome, with frames for it.
        #[must_use]
        fn with(self, outcome: Outcome, count: u64) -> Self;
    }

    impl With for SourceLine {
        fn with(mut self, outcome: Outcome, count: u64) -> Self {
            self.row.add_outcome(outcome, count - self.row.count(outcome));
            self.row.queries += count;
            let frames: Vec<FrameRef> = (1..=count.min(20)).map(|at| FrameRef { input: 0, frame: 2 * at }).collect();
            match outcome {
                Outcome::Refused => {
                    let refusals = self.row.refusals_mut();
                    refusals.frames = frames;
                    [1, 29].map(at).into_iter().for_each(|time| refusals.asked.note(time));
                }
                Outcome::Answered => {
                    self.row.rare_mut().answered_frames = frames;
                }
                _ => {}
            }
            self
        }
    }

    /// A report of these sources in one capture of 30 s.
    pub fn report(sources: Vec<SourceLine>, inventory: &Inventory) -> Report {
        let mut report = Report {
            sources,
            time_digits: 6,
            inputs: vec![crate::report::InputReport {
                name: "server.pcap".to_owned(),
                format: "pcap",
                link_types: vec!["EN10MB".to_owned()],
                frames: 900,
                first: Some(at(0)),
                last: Some(at(30)),
                bytes: 90_000,
                ..crate::report::InputReport::default()
            }],
            ..Report::default()
        };
        report.totals.frames = 900;
        report.totals.first = Some(at(0));
        report.totals.last = Some(at(30));
        for line in &mut report.sources {
            for (total, (_, outcome)) in report.totals.outcomes.iter_mut().zip(Outcome::ALL) {
                *total += line.row.count(outcome);
            }
            if !inventory.is_empty() {
                line.expectation = Some(Expectation::from(inventory.decide_prefix(line.source)).into());
            }
        }
        report.totals.transactions = report.sources.iter().map(SourceLine::transactions).sum();
        report
    }
}
