//! Sources in no inventory line that were refused: strangers, or one's own clients behind an address nobody listed.

mod candidates;

use super::claimed::claimed;
use super::file_beside_refusal::beside_refusal;
use super::scene::{Class, Client, Scene, Tally, alone, begins, is_joined, refused_frames, some, sources, times};
use super::{Finding, Found, Grade};
use crate::config::{Outcome, Severity};
use crate::expect::Expected;
use crate::expect::inventory::{Row, show_prefix};
use crate::report::SourceLine;
use crate::report::page::{counted, grouped};
use candidates::{Candidates, Missing, same_family};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "unlisted-source-refused";

/// Most sources and clients named in a sentence.
const NAMED: usize = 3;

/// Makes one finding per server and class of address, never one per scanner.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let groups = scene.groups(|client| {
        let unlisted = matches!(client.expected, Expected::Unlisted) && client.line.turned_away() > 0;
        unlisted.then(|| scene.class(client.line))
    });
    // Clients behind a translation may as well be behind one of the sources that were answered.
    let answered = scene.groups(|client| {
        let line = client.line;
        let unlisted = matches!(client.expected, Expected::Unlisted) && line.turned_away() == 0;
        (unlisted && line.count(Outcome::Answered) > 0 && scene.class(line) != Class::Own).then_some(())
    });
    let beside = |server: IpAddr| answered.get(&(server, ())).map_or(&[][..], Vec::as_slice);
    let missing = Missing::of(scene);
    // Those about most transactions come first, because a change of the file is not looked for in all cases.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| Reverse(group.iter().map(|client| client.line.turned_away()).sum::<u64>()));
    found.all(groups.iter().map(|((server, class), clients)| {
        Group { scene, missing: &missing, class: *class, clients, answered: beside(*server) }.finding()
    }));
}

/// Sources of one class that a server turned away.
struct Group<'g> {
    scene: &'g Scene<'g>,
    missing: &'g Missing<'g>,
    class: Class,
    clients: &'g [Client<'g>],
    /// Other unlisted sources, none of which the server turned away.
    answered: &'g [Client<'g>],
}

/// Who may be behind a group, and who was turned away as well.
struct Behind<'g> {
    candidates: Candidates<'g>,
    /// Expected sources that the same server turned away, where both sides of a translation may have been captured.
    themselves: Vec<String>,
    /// The sentence about those that other servers turned away; empty when there are none.
    others: &'g str,
}

impl<'g> Group<'g> {
    fn server(&self) -> IpAddr {
        self.clients[0].line.server
    }

    fn finding(&self) -> Finding {
        let mut finding =
            self.scene.finding(KIND, Severity::Warning, self.clients, SourceLine::turned_away, refused_frames);
        let fact = self.fact(&finding);
        let elsewhere = self.elsewhere(&finding);
        let behind = self.behind(&finding, elsewhere.is_empty());
        let claimed = claimed(self.scene, self.clients);
        match &behind.candidates {
            Candidates::One(row) => self.say_one(row, &fact, &mut finding),
            Candidates::Several { absent, unknown, translated } => {
                let seen = self.say_turned_away(&behind, &finding);
                let listed = claimed.as_ref().is_some_and(|claimed| claimed.listed);
                finding.says = self.say_several(&fact, (*absent, *unknown), *translated, listed, &seen);
                finding.advice = Some(
                    "Ask who owns the address. Capture on the client side at the same time, or look into the translation \
                     table of the device in between. Admitting a translated address admits everyone behind it."
                        .to_owned(),
                );
            }
            Candidates::None => {
                finding.says = fact;
                let (severity, advice) = self.without_candidates();
                (finding.severity, finding.advice) = (severity, Some(advice.to_owned()));
                if !elsewhere.is_empty() {
                    self.beside_elsewhere(&elsewhere, &mut finding);
                }
            }
        }
        if let Some(claimed) = claimed {
            finding.says.push_str(&claimed.says);
            finding.subject.inside = claimed.clients;
        }
        let prefix = match behind.candidates {
            Candidates::One(row) => Some(row.prefix),
            Candidates::None | Candidates::Several { .. } => None,
        };
        self.beside_file(prefix, &mut finding);
        finding
    }

    /// Weighs expected prefixes that were not seen against whoever was turned away besides these sources.
    fn behind(&self, finding: &Finding, nobody_elsewhere: bool) -> Behind<'g> {
        let candidates = match self.class {
            // What a filter left out is not absent.
            _ if self.scene.report.filtered => Candidates::None,
            Class::Own => Candidates::None,
            Class::Private | Class::Other => self.missing.candidates(self.clients),
        };
        if matches!(candidates, Candidates::None) {
            return Behind { candidates, themselves: Vec::new(), others: "" };
        }
        // Away from the server both sides of a translation may be captured: a client seen under its own address may be
        // seen again.
        let at = self.scene.report.is_at_for(self.server(), &finding.frames);
        let themselves: Vec<String> = if at {
            Vec::new()
        } else {
            self.missing.turned_away(self.server()).map(|client| show_prefix(client.line.source)).collect()
        };
        // A translation may change the server's address, too: then they were turned away by another one.
        let others = if themselves.is_empty() && nobody_elsewhere {
            self.missing.turned_away_elsewhere(at, self.clients)
        } else {
            ""
        };
        let candidates = match candidates {
            Candidates::One(row) if !themselves.is_empty() || !others.is_empty() => Candidates::Several {
                absent: 1,
                unknown: 0,
                translated: !self.clients.iter().any(|client| same_family(row, client)),
            },
            // A source that was turned away on the other side is a likelier explanation than one that was not seen at
            // all.
            _ if !nobody_elsewhere => Candidates::None,
            candidates => candidates,
        };
        Behind { candidates, themselves, others }
    }

    /// Only one expected prefix was not seen: the two facts are connected.
    fn say_one(&self, row: &Row, fact: &str, finding: &mut Finding) {
        let report = self.scene.report;
        let (prefix, described) = self.missing.named(row);
        let mut possible: Vec<Client<'_>> =
            self.clients.iter().copied().filter(|client| same_family(row, client)).collect();
        if possible.is_empty() {
            possible = self.clients.to_vec();
        }
        let only_one = alone(&possible).is_some();
        let (who, whom) = self.called(&possible);
        let translated = !same_family(row, &possible[0]);
        let who = if translated { format!("{who} (IPv6 as IPv4: through NAT64)") } else { who };
        let other = match (Tally::of(self.clients).answered, self.answered) {
            (0, []) if translated => String::new(),
            (0, []) => {
                // Away from the server, others may have passed elsewhere.
                let away = report.is_away_for(self.server(), &finding.frames);
                finding.severity = if away { Severity::Warning } else { Severity::Critical };
                String::new()
            }
            (0, answered) => format!(
                " they may arrive as {}, in no inventory line as well but answered,",
                some(&answered.iter().map(|client| show_prefix(client.line.source)).collect::<Vec<_>>(), NAMED)
            ),
            _ => format!(" {} may ask for others, being answered as well,", if only_one { "it" } else { "they" }),
        };
        // A single address has no clients behind it: it is a balancer or a monitor.
        let (clients, nobody, pass) = if row.prefix.prefix_len() == row.prefix.max_prefix_len() {
            (prefix.to_owned(), format!("{prefix} may not have"), "passes")
        } else {
            (format!("clients of {prefix}"), format!("nobody in {prefix} may have"), "pass")
        };
        finding.grade = Grade::Inferred;
        finding.subject.prefixes = vec![show_prefix(row.prefix)];
        finding.says = format!(
            "Observed: {fact} Observed: no DNS traffic from {} in the same {}. {} Inferred: {clients} may arrive as \
             {who}; other explanations remain: {},{other} and {nobody} asked meanwhile{}.",
            described,
            report.duration(),
            report.caveats(),
            if only_one { "it may be a stranger" } else { "they may be strangers" },
            if report.is_of_every_interface() { "" } else { ", or only through interfaces that were not captured" },
        );
        finding.advice = Some(format!(
            "Ask who owns {whom}. Capture on both sides of the translation that {clients} {pass}, at the \
             same time, or look into that device's translation table. Admitting a translated address admits \
             everyone behind it."
        ));
    }

    /// What the sources of the group are called as possible translations, and what their addresses are.
    fn called(&self, possible: &[Client<'_>]) -> (String, String) {
        let family = if possible[0].line.source.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        let these = "these addresses".to_owned();
        match possible {
            [only] => (show_prefix(only.line.source), show_prefix(only.line.source)),
            some if some.len() == self.clients.len() => ("one or more of these sources".to_owned(), these),
            some if some.iter().any(is_joined) => (format!("one or more of the {family} sources"), these),
            some => (format!("one or more of the {} {family} sources", grouped(some.len() as u64)), these),
        }
    }

    /// Several expected prefixes may be behind the group: `absent` were not seen, and for `unknown` it is not known.
    /// `seen` is the sentence about sources that were turned away as well.
    fn say_several(
        &self,
        fact: &str,
        (absent, unknown): (usize, usize),
        translated: bool,
        listed: bool,
        seen: &str,
    ) -> String {
        let who = if alone(self.clients).is_some() { "this source" } else { "one of these sources" };
        let prefixes = |count: usize| counted(count as u64, "expected prefix", "expected prefixes");
        let were = |count: usize| if count == 1 { "was" } else { "were" };
        let not_seen = format!(
            " {} {} not seen in the same {} (expected-never-seen).",
            prefixes(absent),
            were(absent),
            self.scene.report.duration()
        );
        let not_known = format!(
            " Whether {} {} seen is not known, because sources were joined to prefixes.",
            prefixes(unknown),
            were(unknown)
        );
        // What a proxy's header names is shown as its claim.
        let of_them = if listed { "other of them arrives" } else { "of them arrives" };
        format!(
            "{fact}{}{}{}{seen} Which {of_them} as {who}, if any does, is not shown.",
            if absent > 0 { &not_seen } else { "" },
            if unknown > 0 { &not_known } else { "" },
            if translated { " These are IPv6, whose clients arrive as IPv4 through NAT64 alone." } else { "" },
        )
    }

    /// The sentence about expected sources that were turned away as well; empty when there are none.
    fn say_turned_away(&self, behind: &Behind<'_>, finding: &Finding) -> String {
        let server = self.server();
        match behind.themselves.len() {
            0 => behind.others.to_owned(),
            count => format!(
                " {} {} ({}), expected to be allowed and turned away as well, may stand here for the same before a \
                 translation.",
                if self.scene.report.is_away_for(server, &finding.frames) {
                    format!("This was not captured at {server}:")
                } else {
                    format!("Unless this was captured at {server} (--vantage),")
                },
                counted(count as u64, "source", "sources"),
                some(&behind.themselves, NAMED)
            ),
        }
    }

    /// Severity and next step where nobody is known who may be behind the group.
    fn without_candidates(&self) -> (Severity, &'static str) {
        match self.class {
            Class::Private => (
                Severity::Warning,
                "Ask who uses this network: an address of this kind comes from inside or from a neighbour. Then list it, as \
                 expected to be allowed or to be refused.",
            ),
            Class::Other => (Severity::Info, "If it is one of yours, list it. Refusing strangers is right."),
            Class::Own => (
                Severity::Warning,
                "Find out what on the server asks it (a health check, its own stub resolver), and list it if it should be \
                 answered.",
            ),
        }
    }

    /// Where these sources were captured at the server, and other inputs elsewhere or at an unknown place: expected
    /// clients that it turned away there, which may be the same ones.
    fn elsewhere(&self, finding: &Finding) -> Vec<String> {
        let server = self.server();
        let report = self.scene.report;
        if self.class == Class::Own || report.here_in.is_empty() || !report.is_at_for(server, &finding.frames) {
            return Vec::new();
        }
        let elsewhere = |client: &&Client<'_>| {
            let inputs = refused_frames(client.line).iter().map(|frame| (frame.input as usize, Vec::new()));
            let inputs: Vec<(usize, Vec<u64>)> = inputs.collect();
            let answered = client.line.count(Outcome::Answered) > 0;
            let here = |input| report.is_at_for(server, std::slice::from_ref(input));
            !answered && !inputs.is_empty() && !inputs.iter().any(here)
        };
        self.missing.turned_away(server).filter(elsewhere).map(|client| show_prefix(client.line.source)).collect()
    }

    /// Adds, for sources captured at the server, who was turned away on another side.
    fn beside_elsewhere(&self, sources: &[String], finding: &mut Finding) {
        let server = self.server();
        let one = alone(self.clients).is_some();
        let away = self.scene.report.is_away_from(server);
        if Tally::of(self.clients).answered == 0 {
            // Inputs of the same server, perhaps of another day, do not turn a stranger into an emergency.
            finding.severity = if away { Severity::Critical } else { Severity::Warning };
        }
        finding.grade = Grade::Inferred;
        finding.says = format!(
            "Observed: {} Observed: inputs that {} captured at {server} have {}, expected to be allowed and turned away by it. \
             Inferred: they may arrive as {}; other explanations remain: {}{}.",
            finding.says,
            if away { "were not" } else { "nothing shows to be" },
            some(sources, NAMED),
            if one { finding.subject.sources[0].clone() } else { "one or more of these sources".to_owned() },
            if one { "it may be a stranger" } else { "they may be strangers" },
            if away { "" } else { ", and those inputs may be of that server too" },
        );
        finding.advice = Some(
            "Compare times, identifiers and names of both (--format csv), or look into the translation table of the device in \
             between. Admitting a translated address admits everyone behind it."
                .to_owned(),
        );
    }

    /// Adds what the server's own file says about the sources, and about the prefix that may be behind them.
    fn beside_file(&self, behind: Option<IpNet>, finding: &mut Finding) {
        let mut lines: Vec<&SourceLine> = self.clients.iter().map(|client| client.line).collect();
        lines.sort_by_key(|line| (Reverse(line.turned_away()), line.source));
        let sources: Vec<IpAddr> = lines
            .iter()
            .filter(|line| line.source.prefix_len() == line.source.max_prefix_len())
            .map(|line| line.source.addr())
            .collect();
        let server = self.server();
        let Some((says, advice)) = beside_refusal(self.scene, server, &sources, behind, &finding.frames) else {
            return;
        };
        finding.says.push(' ');
        finding.says.push_str(&says);
        if !advice.is_empty() {
            let before = finding.advice.take().map(|advice| advice + " ").unwrap_or_default();
            finding.advice = Some(before + &advice);
        }
    }

    /// Who was refused how often, in one sentence.
    fn fact(&self, finding: &Finding) -> String {
        let tally = Tally::of(self.clients);
        let server = self.server();
        let first = &finding.subject.sources[0];
        let answered = match tally.answered {
            0 => String::new(),
            1 => " 1 other query was answered.".to_owned(),
            count => format!(" {} other queries were answered.", grouped(count)),
        };
        if alone(self.clients).is_some() {
            let own = if self.class == Class::Own { ", an address of a server itself," } else { "" };
            return format!("{first}{own} was {} and is in no inventory line.{answered}", tally.turned_away(server));
        }
        let most = self.clients.iter().map(|client| client.line.turned_away()).max().unwrap_or_default();
        format!(
            "{} in no inventory line were {}{}.{answered}",
            begins(&sources(self.clients, self.class.words())),
            tally.turned_away(server),
            if self.clients.len() == 1 { String::new() } else { format!(", most often {first} ({})", times(most)) }
        )
    }
}

#[cfg(test)]
mod tests;
