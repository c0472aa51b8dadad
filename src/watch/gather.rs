//! Makes a [`Snapshot`] of a running capture from the shared rows and what was noted beside them.

use super::named::{Names, NamesCounted};
use super::noted::Noted;
use super::snapshot::{FindingLine, Loss, ServerCounts, Snapshot, TurnedAway};
use crate::capture::Timestamp;
use crate::config::{Limits, Outcome, OutcomeCounts, Severity};
use crate::decode::detail;
use crate::decode::name::write_name;
use crate::diagnose::Finding;
use crate::error::escape_text;
use crate::expect::Inventory;
use crate::expect::acl::judge::Verdicts;
use crate::report::Expectation;
use crate::report::legs::Legs;
use crate::sources::{Leg, SourceKey, SourceRow, Sources};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

/// Sources turned away within this time (nanoseconds) are listed first.
const LATELY: i64 = 60_000_000_000;

/// What the live loop hands over for a snapshot.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Interfaces that are read.
    pub interfaces: &'a [String],
    /// When the capture began.
    pub started: Timestamp,
    /// The time of this snapshot.
    pub now: Timestamp,
    /// Packets lost so far.
    pub loss: Loss,
    /// Bytes of all rings.
    pub ring_bytes: u64,
    /// The state of the sandbox in one line.
    pub sandbox: &'a str,
    /// Findings of the last time they were made.
    pub findings: &'a [Finding],
    /// Since when these findings are, where that is not the beginning of the capture.
    pub findings_since: Option<Timestamp>,
    /// Events around the capture, the latest last.
    pub happened: &'a VecDeque<(Timestamp, String)>,
    /// Rows of every source, into which the trackers have just folded what they held.
    pub sources: &'a Sources,
    /// Decides on which leg a row is.
    pub legs: &'a Legs,
    /// The inventory.
    pub inventory: &'a Inventory,
    /// Verdicts of the servers' own configurations since they were last reported, if there are any.
    pub verdicts: Option<&'a Verdicts>,
    /// Verdicts of the intervals that were already reported.
    pub past_verdicts: &'a ByVerdict,
    /// Counts of names under inventories that were in use before.
    pub names: &'a NamesCounted,
    /// What was noted beside the rows.
    pub noted: &'a Noted,
    /// Only REFUSED responses are captured.
    pub without_queries: bool,
    /// Knows whether the capture is taken at a server.
    pub is_at: &'a dyn Fn(IpAddr) -> bool,
}

/// Transactions of clients by server, verdict and outcome.
pub type ByVerdict = HashMap<IpAddr, BTreeMap<&'static str, OutcomeCounts>>;

/// Adds counts of decided transactions.
pub fn add_verdicts(sums: &mut ByVerdict, verdicts: &Verdicts, legs: &Legs) {
    for ((source, server), tallies) in &verdicts.pairs {
        if legs.leg(*source, *server) != Leg::Client {
            continue;
        }
        let of_server = sums.entry(*server).or_default();
        for tally in tallies {
            let counts = of_server.entry(tally.judged.decision.word.name()).or_default();
            counts.iter_mut().zip(tally.outcomes).for_each(|(sum, count)| *sum += count);
        }
    }
}

/// Makes a snapshot.
pub fn gather(facts: &Facts<'_>, limits: &Limits) -> Snapshot {
    let mut sums = Sums::of(facts.inventory);
    facts.sources.each(|key, row| sums.add(facts, key, row));
    let (servers, servers_not_shown) = sums.servers(facts, limits.watch_servers);
    let (rows, rows_not_shown) = turned_away(facts, sums.candidates, limits.watch_rows);
    let mut names = sums.names.counts();
    facts.names.go_on(&mut names);
    let names_not_shown = names.len().saturating_sub(limits.watch_names);
    names.truncate(limits.watch_names);
    let findings = facts.findings.iter().take(limits.watch_findings).map(|finding| FindingLine {
        id: finding.id.clone(),
        kind: finding.kind,
        grade: finding.grade.name(),
        severity: finding.severity,
        says: escape_text(&finding.says),
        advice: finding.advice.as_deref().map(escape_text),
    });
    Snapshot {
        node: facts.node.to_owned(),
        interfaces: facts.interfaces.to_vec(),
        started: facts.started,
        now: facts.now,
        outcomes: sums.client,
        extra_refusals: sums.beside,
        without_queries: facts.without_queries,
        upstream: sums.upstream,
        servers,
        servers_not_shown,
        loss: facts.loss,
        ring_bytes: facts.ring_bytes,
        round_trips: facts.noted.round_trips.clone(),
        sources: sums.sources,
        joined: sums.joined,
        at_servers: rows.iter().all(|row| (facts.is_at)(row.server)),
        rows,
        rows_not_shown,
        listed: !facts.inventory.is_empty(),
        judged: facts.verdicts.is_some(),
        names,
        names_not_shown,
        findings: findings.collect(),
        severities: Severity::ALL.map(|(_, severity)| {
            facts.findings.iter().filter(|finding| finding.severity == severity).map(Finding::stands_for).sum()
        }),
        findings_since: facts.findings_since,
        happened: facts.happened.iter().map(|(at, line)| (*at, escape_text(line))).collect(),
        refused_per_second: facts.noted.history(facts.started, facts.now),
        sandbox: facts.sandbox.to_owned(),
    }
}

/// Sums over all rows.
struct Sums<'i> {
    client: OutcomeCounts,
    /// REFUSED responses on the client leg that are not among the outcomes.
    beside: u64,
    upstream: OutcomeCounts,
    by_server: HashMap<IpAddr, OutcomeCounts>,
    names: Names<'i>,
    sources: u64,
    joined: u64,
    candidates: Vec<Candidate>,
}

/// What is shown of the row of a source that was turned away.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    key: SourceKey,
    outcomes: OutcomeCounts,
    refused: Option<(Timestamp, Timestamp)>,
    seen: Option<(Timestamp, Timestamp)>,
}

impl<'i> Sums<'i> {
    /// Nothing summed up yet.
    fn of(inventory: &'i Inventory) -> Self {
        Self {
            client: OutcomeCounts::default(),
            beside: 0,
            upstream: OutcomeCounts::default(),
            by_server: HashMap::new(),
            names: Names::of(inventory),
            sources: 0,
            joined: 0,
            candidates: Vec::new(),
        }
    }

    fn add(&mut self, facts: &Facts<'_>, key: &SourceKey, row: &SourceRow) {
        let leg = facts.legs.leg(key.source.addr(), key.server);
        let (outcomes, beside) = counted(row, facts.without_queries);
        let add = |to: &mut OutcomeCounts| to.iter_mut().zip(outcomes).for_each(|(sum, count)| *sum += count);
        match leg {
            Leg::Other => return,
            Leg::Upstream => return add(&mut self.upstream),
            Leg::Client => add(&mut self.client),
        }
        self.beside += beside;
        add(self.by_server.entry(key.server).or_default());
        self.sources += u64::from(!row.is_without_message());
        self.joined += u64::from(key.source.prefix_len() < key.source.max_prefix_len());
        self.names.add(key, outcomes, row.last());
        let turned_away = [Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected];
        if beside > 0 || turned_away.iter().any(|outcome| outcomes[*outcome as usize] > 0) {
            self.candidates.push(Candidate {
                key: *key,
                outcomes,
                refused: row.refusals().asked.ends(),
                seen: row.first().zip(row.last()),
            });
        }
    }

    /// The servers with the most transactions, and how many are left out.
    fn servers(&self, facts: &Facts<'_>, most: usize) -> (Vec<ServerCounts>, usize) {
        let mut by_verdict = facts.past_verdicts.clone();
        if let Some(verdicts) = facts.verdicts {
            add_verdicts(&mut by_verdict, verdicts, facts.legs);
        }
        if facts.without_queries {
            // Every response that passed the filter is REFUSED, and none has its query.
            for outcomes in by_verdict.values_mut().flat_map(BTreeMap::values_mut) {
                outcomes[Outcome::Refused as usize] += std::mem::take(&mut outcomes[Outcome::Unsolicited as usize]);
            }
        }
        let mut servers: Vec<ServerCounts> = self
            .by_server
            .iter()
            .map(|(server, outcomes)| {
                let verdicts = by_verdict.remove(server).unwrap_or_default().into_iter().collect();
                ServerCounts { server: *server, outcomes: *outcomes, verdicts }
            })
            .collect();
        servers.sort_unstable_by_key(|counts| (Reverse(counts.outcomes.iter().sum::<u64>()), counts.server));
        let not_shown = servers.len().saturating_sub(most);
        servers.truncate(most);
        (servers, not_shown)
    }
}

/// Counts of a row by outcome, and the REFUSED responses that are not among them; without queries that is every one.
fn counted(row: &SourceRow, without_queries: bool) -> (OutcomeCounts, u64) {
    let mut outcomes = Outcome::ALL.map(|(_, outcome)| row.count(outcome));
    let rare = row.rare();
    let mut beside = rare.refused_unsolicited + rare.extra_refusals.iter().sum::<u64>();
    if without_queries {
        outcomes[Outcome::Refused as usize] += std::mem::take(&mut beside);
    }
    (outcomes, beside)
}

/// Calls back with what every client did.
pub fn add_clients(names: &mut Names<'_>, sources: &Sources, legs: &Legs, without_queries: bool) {
    sources.each(|key, row| {
        if legs.leg(key.source.addr(), key.server) == Leg::Client {
            names.add(key, counted(row, without_queries).0, row.last());
        }
    });
}

impl Candidate {
    /// Adds another row of the source.
    fn add(&mut self, other: &Candidate) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, count)| *sum += count);
        self.refused = span(self.refused, other.refused);
        self.seen = span(self.seen, other.seen);
    }

    /// The order in which sources are listed: first those turned away lately, then by how often.
    fn rank(&self, now: Timestamp) -> (bool, Reverse<u64>, SourceKey) {
        let last = self.refused.or(self.seen).map(|(_, last)| last);
        let lately = last.is_some_and(|last| last.0 > now.0.saturating_sub(LATELY));
        let times = [Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected];
        (!lately, Reverse(times.iter().map(|outcome| self.outcomes[*outcome as usize]).sum()), self.key)
    }
}

/// The span from the earlier beginning to the later end.
fn span(one: Option<(Timestamp, Timestamp)>, two: Option<(Timestamp, Timestamp)>) -> Option<(Timestamp, Timestamp)> {
    match (one, two) {
        (Some((first, last)), Some((other_first, other_last))) => Some((first.min(other_first), last.max(other_last))),
        (one, two) => one.or(two),
    }
}

/// The sources to list, and how many are left out.
fn turned_away(facts: &Facts<'_>, mut rows: Vec<Candidate>, most: usize) -> (Vec<TurnedAway>, u64) {
    // A source has two rows only when it was in both budgets; one of them never received a response.
    if rows.iter().any(|row| !row.key.kept) {
        rows.sort_unstable_by_key(|row| row.key);
        rows.dedup_by(|row, sum| {
            let same = (row.key.source, row.key.server) == (sum.key.source, sum.key.server);
            if same {
                sum.add(row);
            }
            same
        });
    }
    let not_shown = rows.len().saturating_sub(most) as u64;
    if not_shown > 0 {
        // There may be hundreds of thousands: only those that are listed are sorted.
        rows.select_nth_unstable_by_key(most, |row| row.rank(facts.now));
        rows.truncate(most);
    }
    rows.sort_unstable_by_key(|row| row.rank(facts.now));
    (rows.iter().map(|row| show(facts, row)).collect(), not_shown)
}

/// A source with everything that is shown of it.
fn show(facts: &Facts<'_>, row: &Candidate) -> TurnedAway {
    let key = row.key;
    let whole = key.source.prefix_len() == key.source.max_prefix_len();
    let noted = facts.noted.of(key.source.addr(), key.server).filter(|_| whole);
    let asked = noted.map_or_else(Vec::new, |noted| {
        noted.asked.iter().map(|(name, kind)| (printed(|out| write_name(name, out)), record_type(*kind))).collect()
    });
    let expectation =
        (!facts.inventory.is_empty()).then(|| Expectation::from(facts.inventory.decide_prefix(key.source)));
    let (verdict, rule) = match facts.verdicts {
        Some(verdicts) => verdicts.words(key.source, key.server).unwrap_or_else(|| {
            // For a server that a file speaks for: nothing was decided since verdicts were last reported.
            let unbound = verdicts.acls.iter().all(|acl| !acl.speaks_for(key.server));
            (if unbound { "unknown" } else { "" }, String::new())
        }),
        None => ("", String::new()),
    };
    TurnedAway {
        source: key.source,
        server: key.server,
        outcomes: row.outcomes,
        first_refused: row.refused.map(|(first, _)| first),
        last_refused: row.refused.map(|(_, last)| last),
        first: row.seen.map(|(first, _)| first),
        last: row.seen.map(|(_, last)| last),
        per_second: if whole { facts.noted.per_second(key.source.addr(), key.server, facts.now) } else { None },
        asked,
        expected: expectation.as_ref().map_or("", |expectation| expectation.expected),
        expected_rule: expectation.as_ref().map(|expectation| expectation.rule.clone()).unwrap_or_default(),
        name: expectation.map(|expectation| escape_text(&expectation.name)).unwrap_or_default(),
        verdict,
        rule,
    }
}

fn record_type(code: u16) -> String {
    printed(|out| detail::write_type(code, out))
}

fn printed(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, OwnServer};

    const SERVER: &str = "10.20.30.40";

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    /// A source's row: answered and refused, with the second of its last refusal.
    fn row(answered: u64, refused: u64, last: i64) -> SourceRow {
        let mut row = SourceRow::default();
        row.queries = answered + refused;
        row.add_outcome(Outcome::Answered, answered);
        row.seen(at(last));
        if refused > 0 {
            row.add_outcome(Outcome::Refused, refused);
            [1, last].map(at).into_iter().for_each(|time| row.refusals_mut().asked.note(time));
        }
        row
    }

    /// The snapshot of rows from sources to servers.
    fn snapshot(rows: &[(&str, &str, SourceRow)], inventory: &str, limits: &Limits) -> Snapshot {
        let sources = Sources::new(1000, 1000, 4);
        for (source, server, row) in rows {
            sources.fold(source.parse().unwrap(), server.parse().unwrap(), row.clone(), false);
        }
        let own = OwnServer { address: SERVER.parse().unwrap(), length: None };
        let legs = Legs::of(&Config { servers: vec![own], ..Config::default() }, &[], &sources);
        let inventory = match inventory {
            "" => Inventory::default(),
            text => Inventory::from_text("expect.csv", text).unwrap(),
        };
        let facts = Facts {
            node: "ns1",
            interfaces: &["any".to_owned()],
            started: at(0),
            now: at(200),
            loss: Loss::default(),
            ring_bytes: 1,
            sandbox: "",
            findings: &[],
            findings_since: None,
            happened: &VecDeque::new(),
            sources: &sources,
            legs: &legs,
            inventory: &inventory,
            verdicts: None,
            past_verdicts: &ByVerdict::default(),
            names: &NamesCounted::default(),
            noted: &Noted::new(8),
            without_queries: false,
            is_at: &|server| server == SERVER.parse::<IpAddr>().unwrap(),
        };
        gather(&facts, limits)
    }

    #[test]
    fn legs_servers_and_inventory_names_are_counted_apart() {
        let rows = [
            ("192.0.2.45", SERVER, row(0, 187, 199)),
            ("10.20.1.7", SERVER, row(500, 2, 150)),
            ("10.20.1.8", SERVER, row(30, 0, 190)),
            (SERVER, "198.51.100.1", row(70, 5, 199)),
            ("10.20.1.7", "203.0.113.9", row(1, 1, 199)),
        ];
        let inventory = "prefix,name,kind,expect\n10.20.1.0/24,office,,\n10.21.0.0/16,vpn,,\n10.20.1.8,office,,\n10.20.1.7,office,,refuse\n";
        let snapshot = snapshot(&rows, inventory, &Limits::default());
        assert!(snapshot.at_servers, "what clients ask of another server is not shown");
        assert_eq!((snapshot.outcomes, snapshot.upstream), ([530, 189, 0, 0, 0, 0, 0], [70, 5, 0, 0, 0, 0, 0]));
        assert_eq!((snapshot.servers.len(), snapshot.servers[0].outcomes), (1, snapshot.outcomes));
        assert_eq!((snapshot.sources, snapshot.transactions()), (3, 719));
        let named: Vec<_> = snapshot
            .names
            .iter()
            .map(|named| (named.name.as_str(), named.expect, named.outcomes, named.last))
            .collect();
        assert_eq!(
            named,
            [
                ("office", "allow", [30, 0, 0, 0, 0, 0, 0], Some(at(190))),
                ("vpn", "allow", OutcomeCounts::default(), None),
                ("office", "refuse", [500, 2, 0, 0, 0, 0, 0], Some(at(150))),
            ],
            "lines of one name are one unless they expect different things, and the most specific decides"
        );
        let shown: Vec<_> = snapshot.rows.iter().map(|row| (row.source.addr().to_string(), row.expected)).collect();
        assert_eq!(shown, [("192.0.2.45".to_owned(), "unlisted"), ("10.20.1.7".to_owned(), "refuse")]);
        assert_eq!((snapshot.rows[1].name.as_str(), snapshot.rows[1].verdict), ("office", ""));
    }

    #[test]
    fn who_is_turned_away_now_comes_first_and_the_rest_is_counted() {
        let rows = [
            ("192.0.2.1", SERVER, row(0, 9000, 100)),
            ("192.0.2.2", SERVER, row(0, 5, 199)),
            ("192.0.2.3", SERVER, row(0, 50, 180)),
            ("192.0.2.4", SERVER, row(9, 0, 199)),
        ];
        let shown = |limits: &Limits| {
            let snapshot = snapshot(&rows, "", limits);
            let last: Vec<u8> = snapshot.rows.iter().map(|row| row.source.to_string().as_bytes()[8] - b'0').collect();
            (last, snapshot.rows_not_shown, snapshot.listed)
        };
        assert_eq!(shown(&Limits::default()), (vec![3, 2, 1], 0, false));
        assert_eq!(shown(&Limits { watch_rows: 2, ..Limits::default() }), (vec![3, 2], 1, false));
    }

    #[test]
    fn rows_of_one_source_are_one_line_however_they_were_budgeted() {
        // Turned away while joined with others that never heard anything, and heard later.
        let sources = Sources::new(1000, 0, 4);
        let server = SERVER.parse().unwrap();
        let mut silent = SourceRow::default();
        silent.add_outcome(Outcome::Silent, 3);
        silent.seen(at(150));
        sources.fold("192.0.2.1".parse().unwrap(), server, silent, false);
        sources.fold("192.0.2.1".parse().unwrap(), server, row(1, 2, 199), false);
        let mut kept = Vec::new();
        sources.each(|key, _| kept.push(key.kept));
        kept.sort_unstable();
        assert_eq!(kept, [false, true]);
        let own = OwnServer { address: server, length: None };
        let legs = Legs::of(&Config { servers: vec![own], ..Config::default() }, &[], &sources);
        let inventory = Inventory::default();
        let mut sums = Sums::of(&inventory);
        let facts = Facts {
            node: "",
            interfaces: &[],
            started: at(0),
            now: at(200),
            loss: Loss::default(),
            ring_bytes: 0,
            sandbox: "",
            findings: &[],
            findings_since: None,
            happened: &VecDeque::new(),
            sources: &sources,
            legs: &legs,
            inventory: &inventory,
            verdicts: None,
            past_verdicts: &ByVerdict::default(),
            names: &NamesCounted::default(),
            noted: &Noted::new(8),
            without_queries: false,
            is_at: &|server| server == SERVER.parse::<IpAddr>().unwrap(),
        };
        sources.each(|key, row| sums.add(&facts, key, row));
        // The silent one is a prefix by now; given the same key they are one.
        sums.candidates.iter_mut().for_each(|row| row.key.source = "192.0.2.1/32".parse().unwrap());
        let (rows, not_shown) = turned_away(&facts, sums.candidates, 10);
        assert_eq!((rows.len(), not_shown, rows[0].outcomes), (1, 0, [1, 2, 0, 3, 0, 0, 0]));
        assert_eq!((rows[0].first, rows[0].last, rows[0].last_refused), (Some(at(150)), Some(at(199)), Some(at(199))));
    }
}
