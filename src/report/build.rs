//! Builds a [`Report`] from what the pipeline and the tracker counted: ledgers, totals, source lines and notes.

use super::legs::Legs;
use super::{Expectation, InputReport, Ledger, Ledgers, Report, SourceLine, Totals};
use crate::capture::losses::InterfaceLoss;
use crate::capture::{Choices, Timestamp};
use crate::config::{COPY_WINDOW, Config, Outcome};
use crate::decode::encrypted::DNS_OVER_TLS;
use crate::decode::name::NameFault;
use crate::decode::{Bucket, Tally, link};
use crate::expect::{Expected, Inventory};
use crate::pipeline::LaneResult;
use crate::sources::{Joined, SourceKey, SourceRow};
use crate::transact::{AGAIN_IN_OTHER_INPUTS, COPIES_AT_OTHER_TIMES, Counts};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most servers named in the note about encrypted connections.
const MOST_ENCRYPTED: usize = 8;

/// The format name of an input that this run captures.
pub const LIVE: &str = "live";

/// An input that was opened, and what is known of it before it is read.
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
    /// Inputs that could not be opened: name, reason, and size in bytes.
    pub failed: Vec<(String, String, u64)>,
    /// Frames by bucket.
    pub tally: Tally,
    /// Messages and transactions.
    pub counts: &'a Counts,
    /// Anomalies by name.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// The run was interrupted.
    pub interrupted: bool,
    /// What was undecided when the report's time began and when it ended; nothing at the beginning and end of a whole
    /// run.
    pub undecided: [Undecided; 2],
}

/// Units that were counted but are in no final bucket yet, because the time line goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Frames held for reassembly.
    pub frames: u64,
    /// Queries without a response.
    pub queries: u64,
    /// Responses whose query may still come.
    pub responses: u64,
}

/// Builds the report except for its findings and the output ledger. `rows` may be empty where nobody wants lines of
/// sources; `joined` says which of them were joined.
pub fn build(
    config: &Config,
    counted: Counted<'_>,
    joined: &Joined,
    rows: Vec<(SourceKey, SourceRow)>,
    legs: &Legs,
    inventory: &Inventory,
) -> Report {
    let Counted { inputs, failed, tally, counts, mut anomalies, interrupted, undecided } = counted;
    let frames: u64 = inputs.iter().map(|(_, lane)| lane.frames).sum();
    let times = inputs.iter().filter_map(|(_, lane)| lane.times);
    let (first, last) = (times.clone().map(|(first, _)| first).min(), times.map(|(_, last)| last).max());
    for (_, lane) in &inputs {
        add_oddities(lane, &mut anomalies);
    }
    let mut choices = Choices::default();
    for (_, lane) in &inputs {
        choices.add(&lane.choices);
    }
    let live = inputs.iter().any(|(input, _)| input.format == LIVE);
    let live_filter = live && (config.filter.is_some() || config.live.refused_only);
    let unusable = failed.iter().map(|(_, _, size)| size).sum();
    let bytes = bytes_ledger(inputs.iter().map(|(_, lane)| lane), unusable, interrupted);
    let mut report = Report {
        node: config.node.clone(),
        vantage: config.vantage,
        partial: interrupted.then(|| "interrupted".to_string()),
        ledgers: Ledgers {
            packets: packets_ledger(&tally, frames, undecided),
            messages: messages_ledger(counts),
            matches: matches_ledger(counts, undecided),
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
        sources: source_lines(rows, legs, inventory),
        focus: config.clients.clone(),
        focus_expectations: if inventory.is_empty() {
            Vec::new()
        } else {
            config.clients.iter().map(|prefix| Expectation::from(inventory.decide_prefix(*prefix))).collect()
        },
        looked_back: config.timeout.saturating_mul(2),
        selected: (config.from, config.to),
        filtered: config.filter.is_some() || config.live.refused_only || choices.refusals + choices.part > 0,
        filtered_at_capture: live_filter || choices.may_lack_packets(),
        inputs: inputs
            .into_iter()
            .map(|(input, lane)| {
                let report = input_report(input, lane, config.allow_cut_tail);
                InputReport { refused_only: report.refused_only || (live && config.live.refused_only), ..report }
            })
            .collect(),
        ..Report::default()
    };
    report.inputs.extend(failed.into_iter().map(|(name, why, bytes)| InputReport {
        name,
        bytes,
        damage: vec![why],
        ..InputReport::default()
    }));
    report.ledgers.stated_loss = stated_loss(&report.inputs);
    if let Some(count) = report.ledgers.anomalies.get(COPIES_AT_OTHER_TIMES).filter(|_| overlap(&report.inputs, 0)) {
        let packets = if *count == 1 { "1 query has".to_owned() } else { format!("{count} queries have") };
        report.notes.push(format!(
            "{packets} the bytes, ports and IPv4 identification of an earlier one, more than 10 ms later: where captures \
             overlap whose clocks differ, what was asked once counts twice."
        ));
    }
    // In a capture that was cut short, a copy within 10 ms after the cut says as little as one before it.
    if !overlap(&report.inputs, COPY_WINDOW) {
        report.ledgers.anomalies.remove(AGAIN_IN_OTHER_INPUTS);
    }
    if let Some(count) = report.ledgers.anomalies.get(AGAIN_IN_OTHER_INPUTS) {
        let packets = if *count == 1 { "1 query has".to_owned() } else { format!("{count} queries have") };
        report.notes.push(format!(
            "{packets} the bytes, addresses and ports of an earlier one in another input, within 10 ms and without an IPv4 \
             identification: where inputs hold the same packets, what was asked once counts as retransmitted, or twice."
        ));
    }
    if let Some((connections, note)) = encrypted_note(&tally, legs) {
        report.encrypted = connections;
        report.notes.push(note);
    }
    report.notes.extend(joined_notes(joined));
    report
}

/// Counts the anomalies of an input's records.
fn add_oddities(lane: &LaneResult, anomalies: &mut BTreeMap<&'static str, u64>) {
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

/// Notes about rows that had to be joined.
fn joined_notes(joined: &Joined) -> Vec<String> {
    let servers = "More servers than there is room for: the last ones met are joined, as 0.0.0.0 and ::, and not counted as ours.";
    let sources = joined.lengths.iter().map(|(kept, v6, length)| {
        let who = if *kept { "sources" } else { "sources that never got a response" };
        let family = if *v6 { "IPv6" } else { "IPv4" };
        format!("More {family} {who} than there is room for: their rows are joined by /{length} prefixes.")
    });
    joined.servers.then(|| servers.to_owned()).into_iter().chain(sources).collect()
}

/// The note about connections whose messages cannot be read, with their number: those to port 853 of anybody, because
/// only DNS is there, and those to port 443 of our servers.
fn encrypted_note(tally: &Tally, legs: &Legs) -> Option<(u64, String)> {
    let seen = || tally.encrypted.iter().filter(|(server, port, _)| *port == DNS_OVER_TLS || legs.is_ours(*server));
    let texts: Vec<String> = seen()
        .map(|(server, port, count)| {
            let what = if port == DNS_OVER_TLS { "DNS over TLS or QUIC" } else { "perhaps DNS over HTTPS" };
            let connections = if count == 1 { "connection" } else { "connections" };
            format!("{count} {connections} to port {port} of {server} ({what})")
        })
        .collect();
    let (shown, more) = texts.split_at(texts.len().min(MOST_ENCRYPTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more servers", more.len()) };
    let note = format!("Encrypted, so not read: {}{more}. Who was turned away there is not known.", shown.join(", "));
    (!texts.is_empty()).then(|| (seen().map(|(_, _, count)| count).sum(), note))
}

/// Names with counts that are not zero.
fn nonzero<const N: usize>(counts: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn packets_ledger(tally: &Tally, frames: u64, [before, after]: [Undecided; 2]) -> Ledger {
    let mut buckets = vec![("frames", frames)];
    buckets.extend(Bucket::ALL.iter().map(|(name, bucket)| (*name, tally.buckets[*bucket as usize])));
    let carried_in = before.frames + tally.recounted;
    let closed = tally.buckets.iter().sum::<u64>() + after.frames == frames + carried_in;
    buckets.extend([("carried_in", carried_in), ("held", after.frames)].into_iter().filter(|(_, count)| *count > 0));
    Ledger { buckets, closed }
}

fn not_opened(tally: &Tally) -> BTreeMap<String, u64> {
    let wrappings = tally.not_opened.iter().map(|(kind, count)| ((*kind).to_string(), *count));
    let links = tally.unknown_links.iter();
    let named =
        links.clone().take(NAMED_LINKS).map(|(number, count)| (format!("link type {}", link::name(*number)), *count));
    let others: u64 = links.skip(NAMED_LINKS).map(|(_, count)| count).sum();
    let others = (others > 0).then(|| ("other link types".to_owned(), others));
    wrappings.chain(named).chain(others).collect()
}

/// Most link types named that could not be opened.
const NAMED_LINKS: usize = 16;

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

fn matches_ledger(counts: &Counts, [before, after]: [Undecided; 2]) -> Ledger {
    let [queries, responses] = counts.queries_responses;
    let c = counts;
    let query_buckets = [
        ("matched", c.matched),
        ("retransmitted", c.retransmitted),
        ("query_copies", c.query_copies),
        ("timed_out", c.timed_out),
        ("evicted", c.evicted),
        ("open_at_end", c.open_at_end + after.queries),
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
    let closed = queries + before.queries == sum(&query_buckets)
        && responses + before.responses == c.matched + sum(&response_buckets) + after.responses;
    let mut buckets = vec![("queries", queries)];
    let nonzero = |name, count| Some((name, count)).filter(|(_, count)| *count > 0);
    buckets.extend(nonzero("queries_carried_in", before.queries));
    buckets.extend(query_buckets);
    buckets.push(("responses", responses));
    buckets.extend(nonzero("responses_carried_in", before.responses));
    buckets.extend(response_buckets);
    buckets.extend(nonzero("undecided", after.responses));
    Ledger { buckets, closed }
}

/// An interrupted run has not read everything; its ledger shows how much is left.
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
        refused_only: lane.choices.only_refusals(),
        stated_loss: lane.stated_loss,
        damage,
        faults: lane.faults,
    }
}

/// True when some inputs overlap in time: one begins more than this (nanoseconds) before an earlier one ends.
fn overlap(inputs: &[InputReport], longer_than: i64) -> bool {
    let mut times: Vec<(Timestamp, Timestamp)> =
        inputs.iter().filter_map(|input| input.first.zip(input.last)).collect();
    times.sort_unstable();
    let mut latest = Timestamp(i64::MIN);
    times.into_iter().any(|(first, last)| {
        let overlaps = latest.0.saturating_sub(first.0) > longer_than;
        latest = latest.max(last);
        overlaps
    })
}

/// What files say about the losses of their captures.
fn stated_loss(inputs: &[InputReport]) -> InterfaceLoss {
    inputs.iter().map(|input| input.stated_loss).reduce(InterfaceLoss::or_of).unwrap_or_default()
}

/// Turns rows, which come in order of their keys, into lines with leg and expectation, in report order. Rows of one
/// source that differ only in their budget are one line.
fn source_lines(rows: Vec<(SourceKey, SourceRow)>, legs: &Legs, inventory: &Inventory) -> Vec<SourceLine> {
    // Hundreds of thousands of sources share a few inventory lines.
    let mut known: Vec<Option<Arc<Expectation>>> = vec![None; inventory.rows().len() + 2];
    let mut expectation = |source| {
        let expected = inventory.decide_prefix(source);
        let place = match expected {
            Expected::Unlisted => 0,
            Expected::Mixed => 1,
            Expected::Listed(row) => row.index + 2,
        };
        Arc::clone(known[place].get_or_insert_with(|| Arc::new(Expectation::from(expected))))
    };
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
    // The sort is stable, so that lines with equal refusals stay in the order of their keys; each line is moved once.
    lines.sort_by_cached_key(|line| (line.leg, std::cmp::Reverse(line.row.count(Outcome::Refused))));
    lines
}
