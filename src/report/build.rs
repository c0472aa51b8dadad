//! What the pipeline and the tracker counted to a [`Report`]: ledgers, totals, source lines and notes.

use super::{Expectation, InputReport, Ledger, Ledgers, Report, SourceLine, Totals};
use crate::config::{Config, Outcome, OwnServer};
use crate::decode::name::NameFault;
use crate::decode::{Bucket, Tally, link};
use crate::expect::Inventory;
use crate::pipeline::LaneResult;
use crate::sources::{Leg, Sources};
use crate::transact::Counts;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Which addresses are servers of ours, and so on which leg a transaction is.
#[derive(Debug, Clone, Default)]
pub struct Legs {
    ours: HashSet<IpAddr>,
}

impl Legs {
    /// The declared servers and those that a configuration speaks for; with none, every address that answered (or ended a TCP connection) is one.
    pub fn of(config: &Config, configured: &[OwnServer], sources: &Sources) -> Self {
        if !config.servers.is_empty() || !configured.is_empty() {
            return Self { ours: config.servers.iter().chain(configured).map(|server| server.address).collect() };
        }
        let mut ours = HashSet::new();
        sources.each_heard_server(|server| {
            ours.insert(server);
        });
        Self { ours }
    }

    /// The leg from `source` to `server`.
    pub fn leg(&self, source: IpAddr, server: IpAddr) -> Leg {
        if self.ours.contains(&source) {
            Leg::Upstream
        } else if self.ours.contains(&server) {
            Leg::Client
        } else {
            Leg::Other
        }
    }
}

/// An input that was opened, with what is known of it beforehand.
#[derive(Debug)]
pub struct OpenedInput {
    /// Name as given.
    pub name: String,
    /// `pcap` or `pcapng`.
    pub format: &'static str,
    /// Name of the compression.
    pub compression: Option<&'static str>,
}

/// Everything that was counted.
pub struct Counted<'a> {
    /// Inputs in reading order, each with its result.
    pub inputs: Vec<(OpenedInput, LaneResult)>,
    /// Inputs that could not be opened: name, why, and their size in bytes.
    pub failed: Vec<(String, String, u64)>,
    /// Frames by bucket.
    pub tally: Tally,
    /// Messages and transactions.
    pub counts: &'a Counts,
    /// Odd things by name.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// The run was interrupted.
    pub interrupted: bool,
    /// Somebody wants to see a line of every source.
    pub with_sources: bool,
}

/// Builds the report, all but its findings and the output ledger.
pub fn build(config: &Config, counted: Counted<'_>, sources: &Sources, legs: &Legs, inventory: &Inventory) -> Report {
    let Counted { inputs, failed, tally, counts, mut anomalies, interrupted, with_sources } = counted;
    let frames: u64 = inputs.iter().map(|(_, lane)| lane.frames).sum();
    let times = inputs.iter().filter_map(|(_, lane)| lane.times);
    let (first, last) = (times.clone().map(|(first, _)| first).min(), times.map(|(_, last)| last).max());
    for (_, lane) in &inputs {
        let oddities = &lane.oddities;
        for (name, count) in [
            ("over_snap_len", oddities.over_snap_len),
            ("over_original_len", oddities.over_original_len),
            ("odd_timestamps", oddities.timestamps),
            ("no_timestamp", oddities.no_timestamp),
            ("bad_options", oddities.bad_options),
            ("bad_resolution", oddities.bad_resolution),
            ("trailing_bytes_compressed", lane.trailing),
        ] {
            if count > 0 {
                *anomalies.entry(name).or_default() += count;
            }
        }
    }
    let unusable = failed.iter().map(|(_, _, size)| size).sum();
    let bytes = bytes_ledger(inputs.iter().map(|(_, lane)| lane), unusable, interrupted);
    let joined = sources.joined();
    let mut report = Report {
        node: config.node.clone(),
        partial: interrupted.then(|| "interrupted".to_string()),
        ledgers: Ledgers {
            packets: packets_ledger(&tally, frames),
            messages: messages_ledger(counts),
            matches: matches_ledger(counts),
            bytes,
            not_opened: not_opened(&tally),
            undecodable: nonzero([("header_incomplete", counts.header_incomplete)]),
            question_unreadable: nonzero(NameFault::ALL.map(|(name, fault)| (name, counts.unreadable[fault as usize]))),
            anomalies,
            ..Ledgers::default()
        },
        totals: Totals {
            frames,
            messages_udp: counts.messages[0],
            messages_tcp: counts.messages[1],
            queries: counts.queries_responses[0],
            responses: counts.queries_responses[1],
            rcodes: (0u16..).zip(&counts.rcodes).filter(|(_, n)| **n > 0).map(|(code, n)| (code, *n)).collect(),
            transactions: counts.outcomes.iter().sum::<u64>() - counts.outcomes[Outcome::Unsolicited as usize],
            outcomes: counts.outcomes,
            refused_restored: counts.refused_restored,
            refused_unsolicited: counts.refused_unsolicited,
            first,
            last,
        },
        sources: if with_sources { source_lines(sources, legs, inventory) } else { Vec::new() },
        focus: config.clients.clone(),
        focus_expectations: if inventory.is_empty() {
            Vec::new()
        } else {
            config.clients.iter().map(|prefix| Expectation::from(inventory.decide_prefix(*prefix))).collect()
        },
        filtered: config.filter.is_some(),
        inputs: inputs.into_iter().map(|(input, lane)| input_report(input, lane, config.allow_cut_tail)).collect(),
        ..Report::default()
    };
    report.inputs.extend(failed.into_iter().map(|(name, why, bytes)| InputReport {
        name,
        bytes,
        damage: vec![why],
        ..InputReport::default()
    }));
    for (kept, v6, length) in joined {
        let (who, family) =
            (if kept { "sources" } else { "sources that never got a response" }, if v6 { "IPv6" } else { "IPv4" });
        report
            .notes
            .push(format!("More {family} {who} than there is room for: their rows are joined by /{length} prefixes."));
    }
    report
}

/// Names and counts that are not zero.
fn nonzero<const N: usize>(counts: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn packets_ledger(tally: &Tally, frames: u64) -> Ledger {
    let mut buckets = vec![("frames", frames)];
    buckets.extend(Bucket::ALL.iter().map(|(name, bucket)| (*name, tally.buckets[*bucket as usize])));
    Ledger { buckets, closed: tally.buckets.iter().sum::<u64>() == frames }
}

fn not_opened(tally: &Tally) -> BTreeMap<String, u64> {
    let wrappings = tally.not_opened.iter().map(|(kind, count)| ((*kind).to_string(), *count));
    let links =
        tally.unknown_links.iter().map(|(number, count)| (format!("link type {}", link::name(*number)), *count));
    wrappings.chain(links).collect()
}

fn messages_ledger(counts: &Counts) -> Ledger {
    let [udp, tcp] = counts.messages;
    let [queries, responses] = counts.queries_responses;
    let undecodable = counts.header_incomplete;
    Ledger {
        buckets: vec![
            ("udp", udp),
            ("tcp", tcp),
            ("queries", queries),
            ("responses", responses),
            ("undecodable", undecodable),
        ],
        closed: udp + tcp == queries + responses + undecodable,
    }
}

fn matches_ledger(counts: &Counts) -> Ledger {
    let [queries, responses] = counts.queries_responses;
    let c = counts;
    let query_buckets = [
        ("matched", c.matched),
        ("retransmitted", c.retransmitted),
        ("query_copies", c.query_copies),
        ("timed_out", c.timed_out),
        ("evicted", c.evicted),
        ("open_at_end", c.open_at_end),
    ];
    let response_buckets = [
        ("continued", c.continued),
        ("late", c.late),
        ("duplicate", c.duplicate),
        ("response_copies", c.response_copies),
        ("unsolicited", c.unsolicited),
        ("mismatch", c.mismatch),
    ];
    let sum = |buckets: &[(&str, u64)]| buckets.iter().map(|(_, count)| count).sum::<u64>();
    let closed = queries == sum(&query_buckets) && responses == c.matched + sum(&response_buckets);
    let mut buckets = vec![("queries", queries)];
    buckets.extend(query_buckets);
    buckets.push(("responses", responses));
    buckets.extend(response_buckets);
    Ledger { buckets, closed }
}

/// An interrupted run has not read everything; its ledger says how much is left.
fn bytes_ledger<'a>(lanes: impl Iterator<Item = &'a LaneResult>, unusable: u64, interrupted: bool) -> Ledger {
    let mut sum = crate::capture::ByteTally { unread_tail: unusable, ..crate::capture::ByteTally::default() };
    let (mut total, mut closed) = (unusable, true);
    for lane in lanes {
        let mut bytes = lane.bytes;
        if interrupted {
            bytes.unread_tail += lane.size.saturating_sub(bytes.total());
        }
        let size = if interrupted { lane.size.max(bytes.total()) } else { lane.size };
        closed &= bytes.total() == size;
        total += size;
        sum.add(&bytes);
    }
    Ledger {
        buckets: vec![
            ("total", total),
            ("headers", sum.headers),
            ("record_headers", sum.record_headers),
            ("packets", sum.packets),
            ("skipped_blocks", sum.skipped_blocks),
            ("unread_tail", sum.unread_tail),
        ],
        closed,
    }
}

fn input_report(input: OpenedInput, lane: LaneResult, allow_cut_tail: bool) -> InputReport {
    let mut damage = lane.oddities.damage();
    if let Some(cut) = lane.damage.filter(|damage| !(damage.cut && allow_cut_tail)) {
        damage.push(cut.what);
    }
    if lane.trailing > 0 {
        damage.push(format!("{} bytes after the compressed data belong to nothing, not used", lane.trailing));
    }
    if lane.changed && !allow_cut_tail {
        damage.push(format!("the file changed while it was read; it had {} bytes when it was opened", lane.size));
    }
    InputReport {
        name: input.name,
        format: input.format,
        compression: input.compression,
        link_types: lane.link_types.iter().map(|number| link::name(*number)).collect(),
        frames: lane.frames,
        first: lane.times.map(|(first, _)| first),
        last: lane.times.map(|(_, last)| last),
        bytes: lane.size,
        damage,
        faults: lane.faults,
    }
}

/// Rows with leg and expectation, in report order. Rows of one source that differ only in how they were budgeted are
/// one line.
fn source_lines(sources: &Sources, legs: &Legs, inventory: &Inventory) -> Vec<SourceLine> {
    // Hundreds of thousands of sources share a few inventory lines.
    let mut known: HashMap<(&'static str, Option<usize>), Arc<Expectation>> = HashMap::new();
    let mut expectation = |source| {
        let expected = inventory.decide_prefix(source);
        let line = (expected.word(), expected.row().map(|row| row.index));
        Arc::clone(known.entry(line).or_insert_with(|| Arc::new(Expectation::from(expected))))
    };
    let rows = sources.drain_sorted();
    let mut lines: Vec<SourceLine> = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        match lines.last_mut() {
            Some(last) if (last.source, last.server) == (key.source, key.server) => last.row.add(&row, usize::MAX),
            _ => lines.push(SourceLine {
                source: key.source,
                server: key.server,
                leg: legs.leg(key.source.addr(), key.server),
                row,
                expectation: (!inventory.is_empty()).then(|| expectation(key.source)),
                verdict: None,
            }),
        }
    }
    lines.sort_by_key(|line| (line.leg, std::cmp::Reverse(line.row.count(Outcome::Refused)), line.source, line.server));
    lines
}
