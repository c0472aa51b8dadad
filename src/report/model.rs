//! What a run found out, as facts ([`Report`]): its inputs and sums, its sources, and what an inventory and the
//! servers' configurations say about them.

use super::Ledgers;
use super::sides::HandedOn;
use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::config::{Outcome, OutcomeCounts, Vantage};
use crate::diagnose::Finding;
use crate::expect::Expected;
use crate::expect::acl::compare::{self, Question};
use crate::expect::acl::judge::{self, Verdicts};
use crate::expect::acl::text::Cited;
use crate::expect::acl::{Acl, Rule, Word};
use crate::sources::{Leg, SourceRow};
use crate::transact::proxied::{ProxiedKey, ProxiedPair};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most parts of a `--client` prefix named that a server's configuration treats differently.
const FOCUS_PARTS: usize = 8;

/// Everything a run found out, ready to be printed. The same input gives the same report, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the node on which the capture was taken, when known.
    pub node: Option<String>,
    /// Why the report does not cover the whole input (interrupted), if so.
    pub partial: Option<String>,
    /// A packet filter selected what was looked at, so that missing traffic may have been left out. Capturing only
    /// refusals is such a selection, too.
    pub filtered: bool,
    /// How long (nanoseconds) before a response its query is still known.
    pub looked_back: Duration,
    /// A filter selected what was captured, by this run or according to a file; another program's filter may have left
    /// out no DNS.
    pub filtered_at_capture: bool,
    /// Time range that was looked at (`--from`, `--to`).
    pub selected: (Option<Timestamp>, Option<Timestamp>),
    /// Connections to ports of encrypted DNS, whose content was not read.
    pub encrypted: u64,
    /// The capture was made by this run.
    pub live: Option<LiveReport>,
    /// One entry per input, in the order they were read.
    pub inputs: Vec<InputReport>,
    /// Where every packet, message, byte and row went.
    pub ledgers: Ledgers,
    /// Sums over all inputs.
    pub totals: Totals,
    /// One line per source, server and leg; ordered by leg, refused (descending), source, server.
    pub sources: Vec<SourceLine>,
    /// Findings, most severe first.
    pub findings: Vec<Finding>,
    /// Where the capture was taken, according to the operator.
    pub vantage: Option<Vantage>,
    /// Servers that are other hosts than the capturing one.
    pub away: BTreeSet<IpAddr>,
    /// Servers on whose hosts the capture was taken, as packet directions show.
    pub here: BTreeSet<IpAddr>,
    /// Servers whose responses leave the capturing host but were made by another one: their address may be a translated
    /// one.
    pub passed_on: BTreeSet<IpAddr>,
    /// Servers that refused or answered what another server had decided so just before.
    pub handed_on: BTreeMap<IpAddr, HandedOn>,
    /// Addresses from which the host of an input asked others, with the input's number.
    pub asking: BTreeSet<(IpAddr, usize)>,
    /// Servers with the numbers of the inputs that were captured on their hosts, where there are several inputs.
    pub here_in: BTreeSet<(IpAddr, usize)>,
    /// Queries behind a proxy's header, by server and proxy.
    pub proxied: BTreeMap<ProxiedKey, ProxiedPair>,
    /// Sentences about what this capture cannot show (encrypted ports seen, evicted state, ...).
    pub notes: Vec<String>,
    /// The `--client` prefixes, in the order given.
    pub focus: Vec<IpNet>,
    /// What the inventory expects of each of them; empty without one.
    pub focus_expectations: Vec<Expectation>,
    /// How servers' configurations compare with the wire, one entry per file; empty without one.
    pub files: Vec<FileReport>,
    /// What they say of each `--client` prefix: verdict and rule, for each part where these differ within the prefix.
    pub focus_verdicts: Vec<String>,
    /// Digits of the fraction of a second in the inputs' timestamps (3, 6 or 9; the finest of them).
    pub time_digits: usize,
}

/// One input as it was read.
#[derive(Debug, Clone, Default)]
pub struct InputReport {
    /// Name as given by the user; may hold any character.
    pub name: String,
    /// `pcap` or `pcapng`; empty when the input could not be opened.
    pub format: &'static str,
    /// `gzip`, `zstd` or `lz4`; `None` when not compressed.
    pub compression: Option<&'static str>,
    /// LINKTYPE_ names of the interfaces of its packets.
    pub link_types: Vec<String>,
    /// Frames read.
    pub frames: u64,
    /// Earliest and latest time of a frame.
    pub first: Option<Timestamp>,
    /// Latest time of a frame.
    pub last: Option<Timestamp>,
    /// Bytes after decompression.
    pub bytes: u64,
    /// Only REFUSED responses were captured, according to the file.
    pub refused_only: bool,
    /// Packets that its capture lost, according to the file.
    pub stated_loss: InterfaceLoss,
    /// What is wrong with the input, one sentence each; not empty means exit code 3.
    pub damage: Vec<String>,
    /// The first frames that could not be decoded because of a fault of this program; not empty means exit code 7.
    pub faults: Vec<u64>,
}

/// What is known of a capture made by this run.
#[derive(Debug, Clone, Default)]
pub struct LiveReport {
    /// Interfaces captured on.
    pub interfaces: Vec<String>,
    /// This host's addresses that received queries.
    pub servers: Vec<IpAddr>,
    /// Beginning and end of the report's time, by the wall clock.
    pub window: (Timestamp, Timestamp),
    /// Only REFUSED responses were captured.
    pub refused_only: bool,
    /// The file that holds the packets, when its frames are numbered as here.
    pub packets: Option<String>,
}

/// Sums over all inputs (message counts include copies; outcome counts are transactions).
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Frames read.
    pub frames: u64,
    /// DNS messages over UDP.
    pub messages_udp: u64,
    /// DNS messages over TCP.
    pub messages_tcp: u64,
    /// Messages with QR 0.
    pub queries: u64,
    /// Messages with QR 1.
    pub responses: u64,
    /// Responses by full response code (extended bits included), in order of the code.
    pub rcodes: BTreeMap<u16, u64>,
    /// Transactions (with a query, or a rejected TCP connection).
    pub transactions: u64,
    /// Transactions by outcome, indexed by `Outcome as usize`; `unsolicited` counts responses.
    pub outcomes: OutcomeCounts,
    /// Refused transactions whose response had no question, so that name and type are the query's.
    pub refused_restored: u64,
    /// REFUSED responses with an unknown query: not captured, or forgotten.
    pub refused_unsolicited: u64,
    /// Earliest time of a frame.
    pub first: Option<Timestamp>,
    /// Latest time of a frame.
    pub last: Option<Timestamp>,
}

/// A source's row together with what the inventory and the server's file say about it.
#[derive(Debug, Clone)]
pub struct SourceLine {
    /// The source: a whole address, or a prefix when many sources that never got a response had to be joined.
    pub source: IpNet,
    /// The server asked.
    pub server: IpAddr,
    /// Client, upstream or other.
    pub leg: Leg,
    /// Counts and times.
    pub row: SourceRow,
    /// What the inventory expects; `None` without one.
    pub expectation: Option<Arc<Expectation>>,
    /// What the server's configuration says; `None` without one.
    pub verdict: Option<SourceVerdict>,
}

/// What a server's configuration says about a source's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceVerdict {
    /// `allow`, `refuse`, `drop`, `notauth`, `unknown` or `mixed`.
    pub verdict: &'static str,
    /// `file:line` of the deciding rule, `built-in` or `mixed`; empty when there is none.
    pub rule: String,
}

/// How far a configuration file and the wire agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its dialect.
    pub dialect: &'static str,
    /// Servers it speaks for; empty when it speaks for every one.
    pub servers: Vec<IpAddr>,
    /// The files that were read, the main one first.
    pub read: Vec<Cited>,
    /// Rules that refused or dropped, with the number of transactions they decide; most first.
    pub rules: Vec<(Rule, u64)>,
    /// Number of transactions whose outcome agrees with the file.
    pub agreeing: u64,
    /// Number of transactions whose outcome does not.
    pub differing: u64,
    /// Transactions that the file does not decide, by reason; most first.
    pub undecided: Vec<(&'static str, u64)>,
}

impl SourceLine {
    /// Number of transactions of an outcome (for `unsolicited`, of responses).
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.row.count(outcome)
    }

    /// Number of transactions of any outcome, including TCP connections rejected before a query.
    pub fn transactions(&self) -> u64 {
        self.row.transactions()
    }

    /// True when the source was seen on a DNS port, but no message from or to it was read.
    pub fn is_without_message(&self) -> bool {
        self.row.is_without_message()
    }

    /// How often the source was turned away by a response: refused, denied, or REFUSED without a captured query.
    pub fn turned_away(&self) -> u64 {
        self.count(Outcome::Refused) + self.count(Outcome::Denied) + self.row.rare().refused_unsolicited
    }
}

/// The servers of some lines, each once. Put in one by one: they are few beside the lines, of which a set that is
/// collected would sort all.
pub fn servers_of<'l>(lines: impl IntoIterator<Item = &'l SourceLine>) -> BTreeSet<IpAddr> {
    let mut servers = BTreeSet::new();
    servers.extend(lines.into_iter().map(|line| line.server));
    servers
}

/// What the inventory says about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// `allow`, `refuse`, `unlisted` or `mixed`.
    pub expected: &'static str,
    /// `file:line` of the deciding line; empty when unlisted.
    pub rule: String,
    /// The line's `name`; empty when it has none.
    pub name: String,
    /// The line's `kind`; empty when unlisted.
    pub kind: &'static str,
    /// What the line's sources are expected to be translated to.
    pub outside: Vec<IpNet>,
}

impl Report {
    /// True when the capture was not taken at a server, which may then have seen other addresses than those shown.
    pub fn is_away_from(&self, server: IpAddr) -> bool {
        match self.vantage {
            Some(vantage) => vantage != Vantage::Server,
            None => self.away.contains(&server),
        }
    }

    /// True when the capture was taken at a server: the sources shown are what it saw.
    pub fn is_at(&self, server: IpAddr) -> bool {
        match self.vantage {
            Some(vantage) => vantage == Vantage::Server,
            None => {
                let of_this_host = self.live.as_ref().is_some_and(|live| live.servers.contains(&server));
                (of_this_host || self.here.contains(&server)) && !self.is_elsewhere(server)
            }
        }
    }

    /// True when whoever refuses as this server is elsewhere, or at least behind another address.
    pub fn is_elsewhere(&self, server: IpAddr) -> bool {
        let handed_on = self.handed_on(server).refusals.is_some();
        self.away.contains(&server) || self.passed_on.contains(&server) || handed_on
    }

    /// What a server handed on to another one, unless it was said where the capture was taken.
    pub fn handed_on(&self, server: IpAddr) -> HandedOn {
        self.handed_on.get(&server).filter(|_| self.vantage.is_none()).copied().unwrap_or_default()
    }

    /// True when queries from this address are those of the host on which these inputs were captured, and that host is
    /// the server's.
    pub fn asks_as(&self, source: IpAddr, server: IpAddr, inputs: &[usize]) -> bool {
        let looped = source.is_loopback();
        if self.live.is_some() || self.inputs.len() == 1 {
            return self.is_at(server) && (looped || self.asking.iter().any(|(address, _)| *address == source));
        }
        let by_host =
            |input: usize| self.is_here_in(server, input) && (looped || self.asking.contains(&(source, input)));
        !inputs.is_empty() && inputs.iter().all(|input| by_host(*input))
    }

    /// The same for what these frames of inputs show: false where one of the inputs was captured at the server.
    pub fn is_away_for(&self, server: IpAddr, frames: &[(usize, Vec<u64>)]) -> bool {
        self.is_away_from(server) && !frames.iter().any(|(input, _)| self.is_here_in(server, *input))
    }

    /// True when these frames were captured at a server.
    pub fn is_at_for(&self, server: IpAddr, frames: &[(usize, Vec<u64>)]) -> bool {
        let here = |(input, _): &(usize, Vec<u64>)| self.is_here_in(server, *input);
        self.is_at(server) || (!frames.is_empty() && frames.iter().all(here))
    }

    /// True when, of several inputs, this one was captured at a server.
    fn is_here_in(&self, server: IpAddr, input: usize) -> bool {
        self.vantage.is_none() && self.here_in.contains(&(server, input))
    }

    /// True when only REFUSED responses were captured: by this run, or in every input according to the file.
    pub fn has_only_refusals(&self) -> bool {
        match &self.live {
            Some(live) => live.refused_only,
            None => self.totals.queries == 0 && self.refused_only_inputs() > 0 && !self.inputs.iter().any(has_others),
        }
    }

    /// Number of inputs that say that they hold only REFUSED responses.
    pub fn refused_only_inputs(&self) -> usize {
        self.inputs.iter().filter(|input| input.refused_only).count()
    }

    /// Queries may have been captured but forgotten before their response came, because a table was full.
    pub fn forgot_queries(&self) -> bool {
        self.ledgers.matches.get("evicted") > 0
            || self.ledgers.anomalies.get("late_forgotten_early").is_some_and(|count| *count > 0)
    }

    /// Adds to every source what the servers' configurations say.
    pub fn judge(&mut self, verdicts: &Verdicts) {
        if verdicts.acls.is_empty() {
            return;
        }
        for line in &mut self.sources {
            let words = verdicts.words(line.source, line.server);
            let speaks = |acl: &Acl| acl.speaks_for(line.server);
            let apart = line.leg != Leg::Client && !judge::names_server(&verdicts.acls, line.server);
            let unbound = || apart || !verdicts.acls.iter().any(speaks);
            line.verdict = match words {
                Some((verdict, rule)) => Some(SourceVerdict { verdict, rule }),
                None if unbound() => Some(SourceVerdict { verdict: "unknown", rule: String::new() }),
                None => None,
            };
        }
        for (number, acl) in verdicts.acls.iter().enumerate() {
            let (agreeing, differing) = verdicts.agreement(number);
            let mut rules: Vec<(Rule, u64)> = Vec::new();
            let mut undecided: BTreeMap<&'static str, u64> = BTreeMap::new();
            for tally in verdicts.pairs.iter().flat_map(|(_, tallies)| tallies) {
                let turns_away = matches!(tally.judged.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
                if let (Some(of), Some(reason)) = (tally.judged.acl, tally.judged.decision.reason)
                    && of == number
                    && tally.judged.decision.word == Word::Unknown
                {
                    *undecided.entry(reason).or_default() += tally.outcomes.iter().sum::<u64>();
                }
                let (Some(of), Some(rule)) = (tally.judged.acl, tally.judged.decision.rule) else { continue };
                if of != number || !turns_away {
                    continue;
                }
                let (rule, count) = (acl.rule(rule), tally.outcomes.iter().sum::<u64>());
                match rules.iter_mut().find(|(known, _)| *known == rule) {
                    Some((_, sum)) => *sum += count,
                    None => rules.push((rule, count)),
                }
            }
            rules.sort_by(|(one, more), (two, less)| less.cmp(more).then(one.line.cmp(&two.line)));
            let mut undecided: Vec<(&'static str, u64)> = undecided.into_iter().collect();
            undecided.sort_by_key(|(_, count)| Reverse(*count));
            self.files.push(FileReport {
                dialect: acl.dialect,
                servers: acl.bound(),
                read: acl.files().cited(),
                rules,
                agreeing,
                differing,
                undecided,
            });
        }
        for prefix in &self.focus {
            let mut said: Vec<String> = Vec::new();
            for acl in verdicts.acls.iter() {
                let (parts, all) = compare::within(acl, *prefix, &Question::default(), None, FOCUS_PARTS);
                let mut words: Vec<String> = parts
                    .iter()
                    .map(|(range, decision)| {
                        let rule = decision.rule.map(|rule| format!("  {}", acl.rule(rule))).unwrap_or_default();
                        let of = if parts.len() == 1 && all { String::new() } else { format!("{}: ", range.show()) };
                        format!("{of}{}{rule}", decision.word.name())
                    })
                    .collect();
                if !all {
                    words.push("and further parts (acl list)".to_owned());
                }
                said.push(words.join(", "));
            }
            self.focus_verdicts.push(said.join("; "));
        }
    }
}

/// True for an input that may contain other messages than REFUSED responses.
fn has_others(input: &InputReport) -> bool {
    !input.refused_only && !input.format.is_empty()
}

impl From<Expected<'_>> for Expectation {
    fn from(expected: Expected<'_>) -> Self {
        let row = expected.row();
        Self {
            expected: expected.word(),
            rule: expected.rule(),
            name: row.map(|row| row.name.clone()).unwrap_or_default(),
            kind: row.map_or("", |row| row.kind.name()),
            outside: row.map(|row| row.outside.clone()).unwrap_or_default(),
        }
    }
}
