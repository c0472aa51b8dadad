//! The file refuses what the inventory expects to be allowed, seen on the wire or not.

use super::admitting::admitting;
use super::scene::{ADVISED, Scene, some, times};
use super::server_classes::ServerClasses;
use super::verdicts::{capture_there, describe, doubt_of_place, frames, usual_question, was_asked, who};
use super::{Finding, Found, Grade, Subject};
use crate::config::{Outcome, Severity};
use crate::expect::Expect;
use crate::expect::acl::compare::{Difference, Question, Range};
use crate::expect::acl::judge::{OTHER_PORT, Tally};
use crate::expect::acl::{Acl, Decision, Word, compare};
use crate::expect::inventory::{Row, show_prefix};
use crate::report::page::grouped;
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The name of the diagnosis.
pub const KIND: &str = "acl-refuses-expected";

/// Most servers named in a sentence.
const SERVERS_NAMED: usize = 3;
/// Most parts of a line named in a sentence.
const PARTS_NAMED: usize = 8;
/// Approximate number of verdicts looked up for one file, which takes one for every line and prefix each time it is
/// asked.
const VERDICTS: usize = 400_000;
/// Least and most times that a file is asked.
const CHECKS: (usize, usize) = (2, 64);

/// Makes one finding per inventory line and deciding rule, for all servers that the file treats alike.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let Some(verdicts) = scene.verdicts else { return };
    let mut of_file: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
    for ((_, server), tallies) in &verdicts.pairs {
        // This server's file need not allow what was asked of another server.
        let its_own = tallies.iter().filter(|tally| tally.judged.decision.reason != Some(OTHER_PORT));
        for acl in its_own.filter_map(|tally| tally.judged.acl) {
            of_file.entry(acl).or_default().insert(*server);
        }
    }
    let mut advised = 0;
    for (number, servers) in of_file {
        let acl = &verdicts.acls[number];
        let (checks, left) = Check::all(scene, acl, &servers);
        for check in checks {
            check.diagnose(scene, &mut advised, found);
        }
        if !left.is_empty() && !scene.inventory.is_empty() {
            found.add(not_compared(scene, acl, &left));
        }
    }
}

/// The finding about servers for which a file was not asked.
fn not_compared(scene: &Scene<'_>, acl: &Acl, servers: &[IpAddr]) -> Finding {
    Finding {
        id: String::new(),
        kind: KIND,
        grade: Grade::Evaluated,
        severity: Severity::Info,
        subject: Subject {
            servers: servers.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
            ..Subject::default()
        },
        says: format!(
            "What {} refuses at {} was not compared with the inventory: it may say something else at each of so many addresses.",
            crate::error::escape_text(&acl.name),
            named(servers)
        ),
        count: servers.len() as u64,
        frames: Vec::new(),
        advice: Some("Say which servers the file is for (FILE@ADDR).".to_owned()),
        not_listed: 0,
    }
}

/// One question to a file.
struct Check<'a> {
    acl: &'a Acl,
    question: Question,
    /// The servers it is about, for which the file says the same; those that judged most requests first.
    servers: Vec<IpAddr>,
}

impl<'a> Check<'a> {
    /// What to ask a file about its servers, and the servers left out. When there are too many, those with most
    /// requests are asked about with their clients' questions, and the others together where the file treats them
    /// alike.
    fn all(scene: &Scene<'_>, acl: &'a Acl, servers: &BTreeSet<IpAddr>) -> (Vec<Self>, Vec<IpAddr>) {
        let classes = ServerClasses::of(acl);
        let asked = |server: IpAddr| {
            let tallies = scene.judged_at(server).flat_map(|(_, tallies)| tallies);
            tallies.flat_map(|tally| tally.outcomes).sum::<u64>()
        };
        let mut order: Vec<(Reverse<u64>, IpAddr)> = servers
            .iter()
            .filter(|server| was_asked(scene, **server))
            .map(|server| (Reverse(asked(*server)), *server))
            .collect();
        order.sort_unstable();
        let each = 2 * (acl.policy().prefixes().len() + scene.inventory.rows().len()).max(1);
        let most = (VERDICTS / each).clamp(CHECKS.0, CHECKS.1);
        let (mut checks, mut left): (Vec<Self>, Vec<IpAddr>) = (Vec::new(), Vec::new());
        let mut of_class: HashMap<IpAddr, Vec<usize>> = HashMap::new();
        for (_, server) in order {
            let question = usual_question(scene, server);
            let known = of_class.entry(classes.class(server)).or_default();
            let same = known.iter().find(|at| checks[**at].question == question).copied();
            match same.or(known.first().copied().filter(|_| checks.len() >= most)) {
                Some(at) => checks[at].servers.push(server),
                None if checks.len() < most => {
                    known.push(checks.len());
                    checks.push(Self { acl, question, servers: vec![server] });
                }
                None => left.push(server),
            }
        }
        (checks, left)
    }

    /// The findings.
    fn diagnose(&self, scene: &Scene<'_>, advised: &mut usize, found: &mut Found) {
        let Self { acl, question, servers } = self;
        let mut refused = Refused::default();
        for difference in compare::check(acl, scene.inventory, std::slice::from_ref(question), Some(servers[0])) {
            let refuses = matches!(difference.treatment.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
            // Nobody sends to an address of the other family.
            let reaches = difference.range.v6 == servers[0].is_ipv6();
            if difference.row.expect == Expect::Allow && refuses && reaches {
                refused.add(&difference);
            }
        }
        if refused.of_lines.is_empty() {
            return;
        }
        let seen = seen(scene, servers, &refused);
        let (all, asked_for) = (named(servers), question.show());
        for (part, (row, ranges)) in &refused.of_lines {
            let nothing = Seen::default();
            let seen = seen.get(part).unwrap_or(&nothing);
            let mut parts: Vec<String> = ranges.iter().take(PARTS_NAMED).map(|range| range.show()).collect();
            parts.resize(ranges.len(), String::new());
            let mut says = format!(
                "{} is expected to be allowed, but {} says {} for {} at {all} (asked for {})",
                row.describe(),
                describe(acl, part.1.rule),
                part.1.word.name(),
                some(&parts, PARTS_NAMED),
                asked_for
            );
            let agrees = !seen.turned_away.sources.is_empty();
            let shown = if agrees { &seen.turned_away } else { &seen.served };
            let (sources, count): (Vec<IpAddr>, u64) =
                (shown.sources.keys().copied().collect(), shown.sources.values().sum());
            let at = shown.servers.as_slice();
            let frames = frames(scene, shown.tallies.iter().copied(), !agrees);
            let mut severity = Severity::Warning;
            let advice = if agrees {
                let by = named(at);
                let _ =
                    write!(says, "; the wire agrees: {} turned away {} by {by}.", who(scene, &sources), times(count));
                *advised += 1;
                if scene.report.is_away_for(at[0], &frames) {
                    capture_there(scene, at[0])
                } else {
                    severity = Severity::Critical;
                    let advice = if *advised <= ADVISED {
                        admitting(scene, acl, at[0], &sources, question)
                    } else {
                        "Likewise (dnsrefused acl explain).".to_owned()
                    };
                    doubt_of_place(scene, at[0], &frames, advice)
                }
            } else if !at.is_empty() {
                let by = named(at);
                let _ = write!(says, "; the wire does not: {by} answered {} {}.", who(scene, &sources), times(count));
                let (run, it_does) = match at {
                    [only] => (format!("Does {only} run"), "it does: it"),
                    _ => ("Do these servers run".to_owned(), "they do: they"),
                };
                format!(
                    "{run} this file? Correct the file or the inventory before {it_does} would no longer answer them."
                )
            } else {
                seen.what_else(scene, &all, &mut says);
                "Correct the file or the inventory.".to_owned()
                    + if seen.is_anything() { "" } else { " Find out as which address these clients arrive." }
            };
            let about = if at.is_empty() { servers.as_slice() } else { at };
            found.add(Finding {
                id: String::new(),
                kind: KIND,
                grade: Grade::Evaluated,
                severity,
                subject: Subject {
                    server: Some(about[0]).filter(|_| about.len() == 1),
                    servers: match about.len() {
                        1 => Vec::new(),
                        _ => about.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
                    },
                    sources: sources.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
                    prefixes: vec![show_prefix(row.prefix)],
                    ..Subject::default()
                },
                says,
                count: if sources.is_empty() { 1 } else { count },
                frames,
                advice: Some(advice).filter(|advice| !advice.is_empty()),
                not_listed: 0,
            });
        }
    }
}

/// Servers in words: the first few, and the number of the others.
fn named(servers: &[IpAddr]) -> String {
    let names: Vec<String> = servers.iter().take(SERVERS_NAMED).map(ToString::to_string).collect();
    match servers.len() - names.len() {
        0 => names.join(", "),
        1 => format!("{} and 1 more server", names.join(", ")),
        more => format!("{} and {} more servers", names.join(", "), grouped(more as u64)),
    }
}

/// What one rule refuses of a line: the line's number, and what the file says.
type Part = (usize, Decision);

/// What the file refuses of lines that are to be allowed.
#[derive(Default)]
struct Refused<'a> {
    of_lines: BTreeMap<Part, (&'a Row, Vec<Range>)>,
    /// Each range by family and first address, with its last address; ranges do not overlap.
    ranges: BTreeMap<(bool, u128), (u128, Part)>,
}

impl<'a> Refused<'a> {
    fn add(&mut self, difference: &Difference<'a>) {
        let Difference { row, range, treatment, .. } = difference;
        let (row, range, decision) = (*row, *range, treatment.decision);
        let part = (row.index, decision);
        self.ranges.insert((range.v6, range.first), (range.last, part));
        self.of_lines.entry(part).or_insert((row, Vec::new())).1.push(range);
    }

    /// The parts of lines that overlap a prefix.
    fn touched(&self, prefix: IpNet) -> impl Iterator<Item = Part> + '_ {
        let Range { v6, first, last } = Range::of(prefix);
        let up_to_its_end = self.ranges.range((v6, 0)..=(v6, last)).rev();
        up_to_its_end.take_while(move |(_, (last, _))| *last >= first).map(|(_, (_, part))| *part)
    }
}

/// Sources with the same fate.
#[derive(Default)]
struct Met<'a> {
    /// How often each met it.
    sources: BTreeMap<IpAddr, u64>,
    /// Servers at which they met it, in the order in which they were looked at.
    servers: Vec<IpAddr>,
    /// What was counted.
    tallies: Vec<&'a Tally>,
}

impl<'a> Met<'a> {
    fn add(&mut self, source: IpAddr, server: IpAddr, tally: &'a Tally, count: u64) {
        *self.sources.entry(source).or_default() += count;
        if self.servers.last() != Some(&server) {
            self.servers.push(server);
        }
        self.tallies.push(tally);
    }
}

/// What was seen of the part of a line that the file refuses by one rule.
#[derive(Default)]
struct Seen<'a> {
    /// Sources that the wire refuses as well.
    turned_away: Met<'a>,
    /// Sources that the server answered nevertheless.
    served: Met<'a>,
    /// Every source seen at these servers, and the outcomes of its queries.
    here: BTreeSet<IpAddr>,
    outcomes: [u64; Outcome::ALL.len()],
    /// Sources seen at another server.
    elsewhere: BTreeSet<IpAddr>,
    /// Sources were joined to a prefix that overlaps it, and may or may not be in it.
    joined: bool,
    /// Clients that proxies named in their headers at these servers, and those proxies.
    claimed: BTreeSet<IpAddr>,
    proxies: BTreeSet<IpAddr>,
    /// Such headers named more clients than were kept, some of which may be in it.
    more_claimed: bool,
}

impl Seen<'_> {
    fn is_anything(&self) -> bool {
        self.joined || self.is_claimed() || !self.here.is_empty() || !self.elsewhere.is_empty()
    }

    fn is_claimed(&self) -> bool {
        self.more_claimed || !self.claimed.is_empty()
    }

    /// The statement where nobody was turned away or answered against the file.
    fn what_else(&self, scene: &Scene<'_>, servers: &str, says: &mut String) {
        let addresses = |sources: &BTreeSet<IpAddr>| who(scene, &sources.iter().copied().collect::<Vec<_>>());
        let joined = "sources that never got a response are joined by prefixes, and may be from there";
        if !self.here.is_empty() {
            let outcomes = self.outcomes.iter().zip(Outcome::ALL).filter(|(count, _)| **count > 0);
            let outcomes: Vec<String> =
                outcomes.map(|(count, (name, _))| format!("{name} {}", grouped(*count))).collect();
            let outcomes = if outcomes.is_empty() { "undecided".to_owned() } else { outcomes.join(", ") };
            let _ = write!(says, ". Seen from there at {servers}: {}; {outcomes}.", addresses(&self.here));
        } else if self.joined {
            let _ = write!(says, ". Whether a request from there was seen is not known: {joined}.");
        } else if self.is_claimed() {
            let claim = if self.claimed.is_empty() {
                "name more clients than were kept, and some may be from there".to_owned()
            } else {
                format!("of {} name {} (claimed)", addresses(&self.proxies), addresses(&self.claimed))
            };
            let (to, elsewhere) = if self.elsewhere.is_empty() {
                (String::new(), String::new())
            } else {
                (format!(" to {servers}"), format!(" Seen at other servers: {}.", addresses(&self.elsewhere)))
            };
            let _ = write!(
                says,
                ". No request from there{to} was seen here, but PROXY headers {claim}: a server that believes them judges by \
                 that.{elsewhere}"
            );
        } else if !self.elsewhere.is_empty() {
            let _ = write!(
                says,
                ". No request from there to {servers} was seen here; seen at other servers: {}.",
                addresses(&self.elsewhere)
            );
        } else if scene.report.has_only_refusals() {
            says.push_str(". Only REFUSED responses were captured, and none to an address from there.");
        } else {
            says.push_str(
                ". No request from there was seen here, so that changing the file changes nothing for any source seen here.",
            );
        }
    }
}

/// Collects what was seen, by part. Everything that arrived counts, whatever its outcome.
fn seen<'a>(scene: &Scene<'a>, servers: &[IpAddr], refused: &Refused<'_>) -> BTreeMap<Part, Seen<'a>> {
    let turned_away = [Outcome::Refused, Outcome::Denied, Outcome::Silent];
    let mut seen: BTreeMap<Part, Seen<'a>> = BTreeMap::new();
    for (server, (source, tallies)) in
        servers.iter().flat_map(|server| scene.judged_at(*server).map(move |judged| (*server, judged)))
    {
        let Some(part) = refused.touched(IpNet::from(source)).next() else { continue };
        let seen = seen.entry(part).or_default();
        // Their other requests may or may not be refused, by other lines.
        for tally in tallies.iter().filter(|tally| tally.judged.decision == part.1 && tally.may_be_usual()) {
            let away: u64 = turned_away.iter().map(|outcome| tally.count(*outcome)).sum();
            if matches!(part.1.word, Word::Refuse | Word::Drop) && away > 0 {
                seen.turned_away.add(source, server, tally, away);
            }
            if tally.served() > 0 {
                seen.served.add(source, server, tally, tally.served());
            }
        }
    }
    let at: BTreeSet<IpAddr> = servers.iter().copied().collect();
    // The same prefixes come again for each server.
    let mut joined: BTreeSet<IpNet> = BTreeSet::new();
    for line in &scene.report.sources {
        if line.source.prefix_len() < line.source.max_prefix_len() {
            joined.insert(line.source);
            continue;
        }
        let Some(part) = refused.touched(line.source).next() else { continue };
        let seen = seen.entry(part).or_default();
        if at.contains(&line.server) {
            seen.here.insert(line.source.addr());
            for (sum, (_, outcome)) in seen.outcomes.iter_mut().zip(Outcome::ALL) {
                *sum += line.count(outcome);
            }
        } else {
            seen.elsewhere.insert(line.source.addr());
        }
    }
    for part in joined.into_iter().flat_map(|prefix| refused.touched(prefix)) {
        seen.entry(part).or_default().joined = true;
    }
    let mut more_claimed = false;
    for ((_, proxy), pair) in scene.report.proxied.iter().filter(|((server, _), _)| at.contains(server)) {
        more_claimed |= pair.more_clients;
        for client in pair.clients.iter().map(SocketAddr::ip) {
            let Some(part) = refused.touched(IpNet::from(client)).next() else { continue };
            let seen = seen.entry(part).or_default();
            seen.claimed.insert(client);
            seen.proxies.insert(*proxy);
        }
    }
    if more_claimed {
        refused.of_lines.keys().for_each(|part| seen.entry(*part).or_default().more_claimed = true);
    }
    seen
}
