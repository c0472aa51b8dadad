//! The file refuses what the inventory expects to be allowed, seen on the wire or not.

use super::admitting::admitting;
use super::scene::{Scene, times};
use super::verdicts::{capture_there, describe, doubt_of_place, frames, usual_question, was_asked, who};
use super::{Finding, Grade, Subject};
use crate::config::{Outcome, Severity};
use crate::expect::Expect;
use crate::expect::acl::compare::{Difference, Range};
use crate::expect::acl::judge::{Tally, Verdicts};
use crate::expect::acl::{Decision, Word, compare};
use crate::expect::inventory::{Row, show_prefix};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "acl-refuses-expected";

/// Findings of one server with a change of its own that would admit their sources; to find one takes reading the file again.
const ADVISED: usize = 8;

/// One finding per server, inventory line and deciding rule.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let Some(verdicts) = scene.verdicts else { return Vec::new() };
    let servers: BTreeSet<IpAddr> = verdicts.pairs.iter().map(|((_, server), _)| *server).collect();
    let mut findings = Vec::new();
    for server in servers {
        let Some(acl) = verdicts.acls.iter().find(|acl| acl.speaks_for(server)) else { continue };
        if !was_asked(verdicts, server) {
            continue;
        }
        let question = usual_question(verdicts, server);
        let mut refused = Refused::default();
        for difference in compare::check(acl, scene.inventory, std::slice::from_ref(&question), Some(server)) {
            let refuses = matches!(difference.treatment.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
            // Nobody sends to an address of the other family.
            let reaches = difference.range.v6 == server.is_ipv6();
            if difference.row.expect == Expect::Allow && refuses && reaches {
                refused.add(difference);
            }
        }
        let seen = seen(scene, verdicts, server, &refused);
        let mut advised = 0;
        for (index, (row, parts)) in &refused.by_row {
            let nothing = Seen::default();
            let seen = seen.get(index).unwrap_or(&nothing);
            let decision = parts[0].treatment.decision;
            let mut says = format!(
                "{} is expected to be allowed, but {} says {} for {} at {server} (asked for {})",
                row.describe(),
                describe(acl, decision.rule),
                decision.word.name(),
                parts.iter().map(|part| part.range.show()).collect::<Vec<_>>().join(", "),
                question.show()
            );
            let agrees = !seen.turned_away.is_empty();
            let shown = if agrees { &seen.turned_away } else { &seen.served };
            let (sources, count): (Vec<IpAddr>, u64) = (shown.keys().copied().collect(), shown.values().sum());
            let mut severity = Severity::Warning;
            let advice = if agrees {
                severity = Severity::Critical;
                let _ = write!(
                    says,
                    "; the wire agrees: {} turned away {} by {server}.",
                    who(scene, &sources),
                    times(count)
                );
                advised += 1;
                if scene.report.is_away_from(server) {
                    severity = Severity::Warning;
                    capture_there(server)
                } else if advised <= ADVISED {
                    match admitting(scene, acl, server, &sources, &question) {
                        nothing if nothing.is_empty() => nothing,
                        advice => doubt_of_place(scene, server) + &advice,
                    }
                } else {
                    "Likewise (dnsrefused acl explain).".to_owned()
                }
            } else if !seen.served.is_empty() {
                let _ =
                    write!(says, "; the wire does not: {server} answered {} {}.", who(scene, &sources), times(count));
                format!(
                    "Does {server} run this file? Correct the file or the inventory before it does: it would no longer answer them."
                )
            } else {
                seen.what_else(scene, server, &mut says);
                "Correct the file or the inventory.".to_owned()
                    + if seen.is_anything() { "" } else { " Find out as which address these clients arrive." }
            };
            findings.push(Finding {
                id: String::new(),
                kind: KIND,
                grade: Grade::Evaluated,
                severity,
                subject: Subject {
                    server: Some(server),
                    sources: sources.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
                    prefixes: vec![show_prefix(row.prefix)],
                    ..Subject::default()
                },
                says,
                count: if sources.is_empty() { 1 } else { count },
                frames: frames(scene, seen.tallies[usize::from(!agrees)].iter().copied(), !agrees),
                advice: Some(advice).filter(|advice| !advice.is_empty()),
            });
        }
    }
    findings
}

/// What the file refuses of lines that are to be allowed.
#[derive(Default)]
struct Refused<'a> {
    by_row: BTreeMap<usize, (&'a Row, Vec<Difference<'a>>)>,
    /// Each part by family and first address, with its last one, its line and what the file says; they do not overlap.
    parts: BTreeMap<(bool, u128), (u128, usize, Decision)>,
}

impl<'a> Refused<'a> {
    fn add(&mut self, part: Difference<'a>) {
        self.parts
            .insert((part.range.v6, part.range.first), (part.range.last, part.row.index, part.treatment.decision));
        self.by_row.entry(part.row.index).or_insert((part.row, Vec::new())).1.push(part);
    }

    /// The lines of the parts that a prefix touches, and what the file says.
    fn touched(&self, prefix: IpNet) -> impl Iterator<Item = (usize, Decision)> + '_ {
        let Range { v6, first, last } = Range::of(prefix);
        let up_to_its_end = self.parts.range((v6, 0)..=(v6, last)).rev();
        up_to_its_end.take_while(move |(_, (last, ..))| *last >= first).map(|(_, (_, row, decision))| (*row, *decision))
    }
}

/// What was seen of what the file refuses of a line.
#[derive(Default)]
struct Seen<'a> {
    /// Sources that the wire turns away as well, with how often.
    turned_away: BTreeMap<IpAddr, u64>,
    /// Sources that the server answered all the same.
    served: BTreeMap<IpAddr, u64>,
    /// What was counted in either.
    tallies: [Vec<&'a Tally>; 2],
    /// Every source seen at this server, and what became of what it sent.
    here: BTreeSet<IpAddr>,
    outcomes: [u64; Outcome::ALL.len()],
    /// Sources seen at another server.
    elsewhere: BTreeSet<IpAddr>,
    /// Sources were joined to a prefix that touches it: they may or may not be among these.
    joined: bool,
}

impl Seen<'_> {
    fn is_anything(&self) -> bool {
        self.joined || !self.here.is_empty() || !self.elsewhere.is_empty()
    }

    /// What is known where nobody was turned away or answered against the file.
    fn what_else(&self, scene: &Scene<'_>, server: IpAddr, says: &mut String) {
        let addresses = |sources: &BTreeSet<IpAddr>| who(scene, &sources.iter().copied().collect::<Vec<_>>());
        let joined = "sources that never got a response are joined by prefixes, and may be from there";
        if !self.here.is_empty() {
            let outcomes = self.outcomes.iter().zip(Outcome::ALL).filter(|(count, _)| **count > 0);
            let outcomes: Vec<String> = outcomes.map(|(count, (name, _))| format!("{name} {count}")).collect();
            let outcomes = if outcomes.is_empty() { "undecided".to_owned() } else { outcomes.join(", ") };
            let _ = write!(says, ". Seen from there at {server}: {}; {outcomes}.", addresses(&self.here));
        } else if self.joined {
            let _ = write!(says, ". Whether a request from there was seen is not known: {joined}.");
        } else if !self.elsewhere.is_empty() {
            let _ = write!(
                says,
                ". No request from there to {server} was seen here; seen at other servers: {}.",
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

/// What was seen, by line. Everything that arrived counts, whatever became of it.
fn seen<'a>(
    scene: &Scene<'_>,
    verdicts: &'a Verdicts,
    server: IpAddr,
    refused: &Refused<'_>,
) -> BTreeMap<usize, Seen<'a>> {
    let turned_away = [Outcome::Refused, Outcome::Denied, Outcome::Silent];
    let mut seen: BTreeMap<usize, Seen<'a>> = BTreeMap::new();
    for ((source, _), tallies) in verdicts.pairs.iter().filter(|((_, at), _)| *at == server) {
        let Some((row, decision)) = refused.touched(IpNet::from(*source)).next() else { continue };
        let seen = seen.entry(row).or_default();
        // Other requests of theirs may be refused, or not, by other lines.
        let of_this = |tally: &&Tally| tally.judged.decision == decision && tally.may_be_usual();
        for tally in tallies.iter().filter(of_this) {
            let word = tally.judged.decision.word;
            let away: u64 = turned_away.iter().map(|outcome| tally.count(*outcome)).sum();
            if matches!(word, Word::Refuse | Word::Drop) && away > 0 {
                *seen.turned_away.entry(*source).or_default() += away;
                seen.tallies[0].push(tally);
            }
            if matches!(word, Word::Refuse | Word::Drop | Word::NotAuth) && tally.served() > 0 {
                *seen.served.entry(*source).or_default() += tally.served();
                seen.tallies[1].push(tally);
            }
        }
    }
    for line in &scene.report.sources {
        for (row, _) in refused.touched(line.source) {
            let seen = seen.entry(row).or_default();
            if line.source.prefix_len() < line.source.max_prefix_len() {
                seen.joined = true;
            } else if line.server == server {
                seen.here.insert(line.source.addr());
                for (sum, (_, outcome)) in seen.outcomes.iter_mut().zip(Outcome::ALL) {
                    *sum += line.count(outcome);
                }
            } else {
                seen.elsewhere.insert(line.source.addr());
            }
        }
    }
    seen
}
