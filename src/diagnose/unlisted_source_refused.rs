//! Sources in no inventory line that were refused: strangers, or one's own clients behind an address nobody listed.

use super::presence::Presence;
use super::scene::{
    Class, Client, Scene, Tally, alone, begins, is_joined, of_line, refused_frames, some, sources, times,
};
use super::verdicts::beside_refusal;
use super::{Finding, Found, Grade};
use crate::config::{Outcome, Severity};
use crate::expect::inventory::{Kind, Row, show_prefix};
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;
use crate::report::page::{counted, grouped};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

/// The name of the diagnosis.
pub const KIND: &str = "unlisted-source-refused";

/// One finding per server and class of address, never one per scanner.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let groups = scene.groups(|client| {
        let unlisted = matches!(client.expected, Expected::Unlisted) && client.line.turned_away() > 0;
        unlisted.then(|| scene.class(client.line))
    });
    // Whoever is behind a translation may as well be one of those that were answered.
    let answered = scene.groups(|client| {
        let line = client.line;
        let unlisted = matches!(client.expected, Expected::Unlisted) && line.turned_away() == 0;
        (unlisted && line.count(Outcome::Answered) > 0 && scene.class(line) != Class::Own).then_some(())
    });
    let beside = |server: IpAddr| answered.get(&(server, ())).map_or(&[][..], Vec::as_slice);
    let missing = Missing::of(scene);
    // Those about most transactions first: not for all of them a change of a file is looked for.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| Reverse(group.iter().map(|client| client.line.turned_away()).sum::<u64>()));
    found.all(groups.iter().map(|((server, class), group)| finding(scene, &missing, *class, group, beside(*server))));
}

/// The finding about one group. `answered` are those in no inventory line that the server turned none away of.
fn finding(
    scene: &Scene<'_>,
    missing: &Missing<'_>,
    class: Class,
    group: &[Client<'_>],
    answered: &[Client<'_>],
) -> Finding {
    let mut finding = scene.finding(KIND, Severity::Warning, group, SourceLine::turned_away, refused_frames);
    let fact = fact(class, group, &finding);
    let candidates = match class {
        // What a filter left out is not absent.
        _ if scene.report.filtered => Candidates::None,
        Class::Own => Candidates::None,
        Class::Private | Class::Other => missing.candidates(group),
    };
    // Away from the server both sides of a translation may be here: whoever was seen as itself may be seen again.
    let server = group[0].line.server;
    let at = scene.report.is_at_for(server, &finding.frames);
    let elsewhere = if class == Class::Own { Vec::new() } else { elsewhere(scene, missing, group, &finding) };
    let themselves: Vec<String> = match candidates {
        Candidates::One(_) | Candidates::Several { .. } if !at => {
            missing.turned_away(server).map(|client| show_prefix(client.line.source)).collect()
        }
        _ => Vec::new(),
    };
    // A translation may change the server's address too: then they were turned away by another one.
    let others = match candidates {
        Candidates::One(_) | Candidates::Several { .. } if themselves.is_empty() && elsewhere.is_empty() => {
            missing.before[usize::from(at)][usize::from(group[0].line.source.addr().is_ipv6())].as_str()
        }
        _ => "",
    };
    let candidates = match candidates {
        Candidates::One(row) if !themselves.is_empty() || !others.is_empty() => Candidates::Several {
            absent: 1,
            unknown: 0,
            translated: !group.iter().any(|client| same_family(row, client)),
        },
        // Who was turned away on the other side is more likely than who was not seen at all.
        Candidates::One(_) | Candidates::Several { .. } if !elsewhere.is_empty() => Candidates::None,
        candidates => candidates,
    };
    let claimed = claimed(scene, group);
    let behind = match &candidates {
        Candidates::One(row) => Some(row.prefix),
        Candidates::None | Candidates::Several { .. } => None,
    };
    match candidates {
        Candidates::One(row) => {
            let (prefix, described) = missing.named(row);
            let mut possible: Vec<Client<'_>> =
                group.iter().copied().filter(|client| same_family(row, client)).collect();
            if possible.is_empty() {
                possible = group.to_vec();
            }
            let family = if possible[0].line.source.addr().is_ipv4() { "IPv4" } else { "IPv6" };
            let only_one = alone(&possible).is_some();
            let (who, whom) = match possible.as_slice() {
                [only] => (show_prefix(only.line.source), show_prefix(only.line.source)),
                some if some.len() == group.len() => {
                    ("one or more of these sources".to_owned(), "these addresses".to_owned())
                }
                some if some.iter().any(is_joined) => {
                    (format!("one or more of the {family} sources"), "these addresses".to_owned())
                }
                some => (
                    format!("one or more of the {} {family} sources", grouped(some.len() as u64)),
                    "these addresses".to_owned(),
                ),
            };
            let translated = !same_family(row, &possible[0]);
            let who = if translated { format!("{who} (IPv6 as IPv4: through NAT64)") } else { who };
            let other = match (Tally::of(group).answered, answered) {
                (0, []) if translated => String::new(),
                (0, []) => {
                    // Away from the server, others may have passed elsewhere.
                    let away = scene.report.is_away_for(group[0].line.server, &finding.frames);
                    finding.severity = if away { Severity::Warning } else { Severity::Critical };
                    String::new()
                }
                (0, answered) => format!(
                    " they may arrive as {}, in no inventory line as well but answered,",
                    some(&answered.iter().map(|client| show_prefix(client.line.source)).collect::<Vec<_>>(), NAMED)
                ),
                _ => format!(" {} may ask for others, being answered as well,", if only_one { "it" } else { "they" }),
            };
            finding.grade = Grade::Inferred;
            finding.subject.prefixes = vec![show_prefix(row.prefix)];
            finding.says = format!(
                "Observed: {fact} Observed: no DNS traffic from {} in the same {}. {} Inferred: clients of {prefix} \
                 may arrive as {who}; other explanations remain: {},{other} and nobody in {prefix} may have asked meanwhile{}.",
                described,
                scene.report.duration(),
                scene.report.caveats(),
                if only_one { "it may be a stranger" } else { "they may be strangers" },
                if scene.report.is_of_every_interface() {
                    ""
                } else {
                    ", or only through interfaces that were not captured"
                },
            );
            finding.advice = Some(format!(
                "Ask who owns {whom}. Capture on both sides of the translation that clients of {prefix} pass, at the \
                 same time, or look into that device's translation table. Admitting a translated address admits \
                 everyone behind it."
            ));
        }
        Candidates::Several { absent, unknown, translated } => {
            let who = if alone(group).is_some() { "this source" } else { "one of these sources" };
            let prefixes = |count: usize| counted(count as u64, "expected prefix", "expected prefixes");
            let were = |count: usize| if count == 1 { "was" } else { "were" };
            let not_seen = format!(
                " {} {} not seen in the same {} (expected-never-seen).",
                prefixes(absent),
                were(absent),
                scene.report.duration()
            );
            let not_known = format!(
                " Whether {} {} seen is not known, because sources were joined to prefixes.",
                prefixes(unknown),
                were(unknown)
            );
            // What a proxy's header names is shown, as its claim.
            let of_them = if claimed.as_ref().is_some_and(|claimed| claimed.listed) {
                "other of them arrives"
            } else {
                "of them arrives"
            };
            let seen = match themselves.len() {
                0 => others.to_owned(),
                count => format!(
                    " {} {} ({}), expected to be allowed and turned away as well, may stand here for the same before a \
                     translation.",
                    if scene.report.is_away_for(server, &finding.frames) {
                        format!("This was not captured at {server}:")
                    } else {
                        format!("Unless this was captured at {server} (--vantage),")
                    },
                    counted(count as u64, "source", "sources"),
                    some(&themselves, NAMED)
                ),
            };
            finding.says = format!(
                "{fact}{}{}{}{seen} Which {of_them} as {who}, if any does, is not shown.",
                if absent > 0 { &not_seen } else { "" },
                if unknown > 0 { &not_known } else { "" },
                if translated { " These are IPv6, whose clients arrive as IPv4 through NAT64 alone." } else { "" },
            );
            finding.advice = Some(
                "Ask who owns the address. Capture on the client side at the same time, or look into the translation \
                 table of the device in between. Admitting a translated address admits everyone behind it."
                    .to_owned(),
            );
        }
        Candidates::None => {
            finding.says = fact;
            let (severity, advice) = match class {
                Class::Private => (
                    Severity::Warning,
                    Some(
                        "Ask who uses this network: an address of this kind comes from inside or from a neighbour. \
                         Then list it, as expected to be allowed or to be refused."
                            .to_owned(),
                    ),
                ),
                Class::Other => {
                    (Severity::Info, Some("If it is one of yours, list it. Refusing strangers is right.".to_owned()))
                }
                Class::Own => (
                    Severity::Warning,
                    Some(
                        "Find out what on the server asks it (a health check, its own stub resolver), and list it if \
                         it should be answered."
                            .to_owned(),
                    ),
                ),
            };
            (finding.severity, finding.advice) = (severity, advice);
            if !elsewhere.is_empty() {
                beside_elsewhere(scene, group, &elsewhere, &mut finding);
            }
        }
    }
    if let Some(claimed) = claimed {
        finding.says.push_str(&claimed.says);
        finding.subject.inside = claimed.clients;
    }
    beside_file(scene, group, behind, &mut finding);
    finding
}

/// Where these sources were captured at the server and other inputs elsewhere, or nobody knows where: expected clients that
/// were turned away by it there, which may be the same.
fn elsewhere(scene: &Scene<'_>, missing: &Missing<'_>, group: &[Client<'_>], finding: &Finding) -> Vec<String> {
    let server = group[0].line.server;
    let report = scene.report;
    if report.here_in.is_empty() || !report.is_at_for(server, &finding.frames) {
        return Vec::new();
    }
    let elsewhere = |client: &&Client<'_>| {
        let inputs = refused_frames(client.line).iter().map(|frame| (frame.input as usize, Vec::new()));
        let inputs: Vec<(usize, Vec<u64>)> = inputs.collect();
        let answered = client.line.count(Outcome::Answered) > 0;
        let here = |input| report.is_at_for(server, std::slice::from_ref(input));
        !answered && !inputs.is_empty() && !inputs.iter().any(here)
    };
    missing.turned_away(server).filter(elsewhere).map(|client| show_prefix(client.line.source)).collect()
}

/// Whom other servers turned away, as a sentence; empty when nobody.
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

/// Says of sources captured at the server who was turned away on another side.
fn beside_elsewhere(scene: &Scene<'_>, group: &[Client<'_>], sources: &[String], finding: &mut Finding) {
    let server = group[0].line.server;
    let one = alone(group).is_some();
    let away = scene.report.is_away_from(server);
    if Tally::of(group).answered == 0 {
        // Inputs of the same server, perhaps of another day, make no emergency of a stranger.
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

/// Sources and clients named in a sentence.
const NAMED: usize = 3;

/// Whom the headers of proxies among the sources name as their clients.
struct Claimed {
    /// The sentence.
    says: String,
    /// Those clients.
    clients: Vec<String>,
    /// One of them is of an inventory line.
    listed: bool,
}

/// Whom the headers of proxies among these sources name as their clients, where there are any.
fn claimed(scene: &Scene<'_>, group: &[Client<'_>]) -> Option<Claimed> {
    let (mut proxies, mut clients, mut more) = (Vec::new(), BTreeSet::new(), false);
    for client in group.iter().filter(|client| !is_joined(client)) {
        let Some(pair) = scene.report.proxied.get(&(client.line.server, client.line.source.addr())) else { continue };
        if !pair.clients.is_empty() {
            proxies.push(show_prefix(client.line.source));
            clients.extend(pair.clients.iter().map(SocketAddr::ip));
            more |= pair.more_clients;
        }
    }
    let describe = |client: &IpAddr| match scene.inventory.home(*client) {
        Some(row) => of_line(&client.to_string(), &scene.inventory.rows()[row]),
        None => format!("{client} (in no inventory line)"),
    };
    let names: Vec<String> = clients.iter().map(describe).collect();
    let least =
        if more { format!("at least {}: ", counted(clients.len() as u64, "client", "clients")) } else { String::new() };
    let says = format!(" Claimed: PROXY headers of {} name {least}{}.", some(&proxies, NAMED), some(&names, NAMED));
    let listed = clients.iter().any(|client| scene.inventory.home(*client).is_some());
    let named = clients.iter().take(scene.limits.finding_members).map(ToString::to_string).collect();
    (!clients.is_empty()).then_some(Claimed { says, clients: named, listed })
}

/// Adds what the server's own file says of the sources, and of the prefix that may be behind them.
fn beside_file(scene: &Scene<'_>, group: &[Client<'_>], behind: Option<ipnet::IpNet>, finding: &mut Finding) {
    let mut lines: Vec<&SourceLine> = group.iter().map(|client| client.line).collect();
    lines.sort_by_key(|line| (Reverse(line.turned_away()), line.source));
    let sources: Vec<IpAddr> = lines
        .iter()
        .filter(|line| line.source.prefix_len() == line.source.max_prefix_len())
        .map(|line| line.source.addr())
        .collect();
    let server = group[0].line.server;
    let Some((says, advice)) = beside_refusal(scene, server, &sources, behind, &finding.frames) else { return };
    finding.says.push(' ');
    finding.says.push_str(&says);
    if !advice.is_empty() {
        let before = finding.advice.take().map(|advice| advice + " ").unwrap_or_default();
        finding.advice = Some(before + &advice);
    }
}

/// Who was refused how often, in one sentence.
fn fact(class: Class, group: &[Client<'_>], finding: &Finding) -> String {
    let tally = Tally::of(group);
    let server = group[0].line.server;
    let first = &finding.subject.sources[0];
    let answered = match tally.answered {
        0 => String::new(),
        1 => " 1 other query was answered.".to_owned(),
        count => format!(" {} other queries were answered.", grouped(count)),
    };
    if alone(group).is_some() {
        let own = if class == Class::Own { ", an address of a server itself," } else { "" };
        return format!("{first}{own} was {} and is in no inventory line.{answered}", tally.turned_away(server));
    }
    let most = group.iter().map(|client| client.line.turned_away()).max().unwrap_or_default();
    format!(
        "{} in no inventory line were {}{}.{answered}",
        begins(&sources(group, class.words())),
        tally.turned_away(server),
        if group.len() == 1 { String::new() } else { format!(", most often {first} ({})", times(most)) }
    )
}

/// Which expected prefixes may be behind unlisted sources.
enum Candidates<'a> {
    /// Every one was seen as itself, or cannot arrive as one of these.
    None,
    /// This is the only one that was not seen.
    One(&'a Row),
    /// So many were not seen, and of so many it is not known; none of them is of the sources' family.
    Several { absent: usize, unknown: usize, translated: bool },
}

/// The expected prefixes of clients that were not seen, by IPv6 (1) or IPv4 (0): found once, whatever the number of servers
/// and sources.
struct Missing<'a> {
    absent: [Vec<&'a Row>; 2],
    /// How many more may have been seen: those are candidates all the same, but never named.
    unknown: [usize; 2],
    /// How those that are alone are called, by their numbers: their prefixes, and in full.
    named: HashMap<usize, (String, String)>,
    /// Sources that are expected to be allowed and were turned away, by server.
    turned_away: HashMap<IpAddr, Vec<Client<'a>>>,
    /// What is said of those of them that their server did not answer; all (0), or those that it is not known to have seen so
    /// (1): what looks like a server may be the translation. By IPv6 (1) or IPv4 (0). Said once, because there may be very many,
    /// and as many that it is said beside.
    before: [[String; 2]; 2],
}

impl<'a> Missing<'a> {
    fn of(scene: &Scene<'a>) -> Self {
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

    /// How a line that is the only one is called.
    fn named(&self, row: &Row) -> (&str, &str) {
        self.named.get(&row.index).map_or(("", ""), |(prefix, described)| (prefix, described))
    }

    /// Sources that are expected to be allowed and that a server turned away.
    fn turned_away(&self, server: IpAddr) -> impl Iterator<Item = &Client<'a>> {
        self.turned_away.get(&server).into_iter().flatten()
    }

    /// Which of them may be behind a group. Translation between the families is the exception: a prefix of the sources' own
    /// family goes first.
    fn candidates(&self, group: &[Client<'_>]) -> Candidates<'a> {
        let is_in = |v6: bool| group.iter().any(|client| client.line.source.addr().is_ipv6() == v6);
        let own = [is_in(false), is_in(true)];
        // IPv6 clients also arrive as IPv4 (NAT64), IPv4 clients not as IPv6.
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
fn same_family(row: &Row, client: &Client<'_>) -> bool {
    row.prefix.addr().is_ipv6() == client.line.source.addr().is_ipv6()
}
