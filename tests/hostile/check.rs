//! Checks a case: lists everything that is wrong with what the program did, in every format.

use crate::case::{Case, Way};
use crate::run::{PEAK_KIB, Run, run, text_faults};
use crate::text::{COLUMNS, FORMULA_STARTS, csv_records, labels_of, without_guard};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Runs a case; fails the test with a list of everything that is wrong.
pub fn check(name: &str, case: &Case) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = Vec::new();
    for (called, bytes) in &case.inputs {
        let file = called.clone().unwrap_or_else(|| format!("{name}.pcap"));
        fs::write(folder.path().join(&file), bytes).expect("the input is written");
        files.push(file);
    }
    let mut report = String::new();
    let (first, faults) = faults_of(case, folder.path(), &files);
    for fault in &faults {
        let _ = writeln!(report, "  {fault}");
    }
    if !report.is_empty() {
        let exit = first.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let complaint: String = first.complaint().chars().take(2000).collect();
        panic!("{name}: {}\n{report}  exit {exit}, stderr:\n{complaint}", case.about);
    }
}

/// Arguments of a run in the given format.
fn arguments(case: &Case, files: &[String], more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["read".to_owned()];
    match case.way {
        Way::File => arguments.extend_from_slice(files),
        Way::StandardInput => {
            arguments.push("-".to_owned());
            arguments.extend_from_slice(&files[1..]);
        }
    }
    arguments.extend(case.arguments.iter().chain(more).map(|argument| (*argument).to_owned()));
    arguments
}

/// Everything that is wrong with a case, and its first run.
fn faults_of(case: &Case, folder: &Path, files: &[String]) -> (Run, Vec<String>) {
    let input = (case.way == Way::StandardInput).then(|| folder.join(&files[0]));
    let go = |more: &[&str]| run(folder, &arguments(case, files, more), input.as_deref());
    let json = go(&["--format", "json"]);
    let mut faults = process_faults(case, "json", &json);
    let usable = !case.unusable && json.code.is_some_and(|code| matches!(code, 0 | 3 | 4 | 10));
    let mut expanded = case.expanded;
    if usable || !json.stdout.is_empty() {
        match serde_json::from_slice::<Value>(&json.stdout) {
            Ok(report) => {
                expanded = expanded.or_else(|| number(&report, "ledgers.bytes", "total"));
                faults.extend(report_faults(case, &report));
            }
            Err(error) if usable => faults.push(format!("json does not parse: {error}")),
            Err(_) => faults.push("json of a failed run is neither absent nor valid".to_owned()),
        }
    }
    if case.heavy {
        return (json, faults);
    }
    for (threads, block) in [("1", "524288"), ("3", "4096")] {
        let again = go(&["--format", "json", "--threads", threads, "--block-size", block]);
        if again.stdout != json.stdout {
            faults.push(format!("json differs with {threads} threads and blocks of {block} bytes"));
        }
    }
    let text = go(&[]);
    let csv = go(&["--format", "csv", "--all"]);
    let jsonl = go(&["--format", "jsonl", "--all"]);
    for (format, run) in [("text", &text), ("csv", &csv), ("jsonl", &jsonl)] {
        faults.extend(process_faults(case, format, run));
    }
    let size = expanded.unwrap_or(0);
    for (format, run) in [("json", &json), ("text", &text), ("csv", &csv), ("jsonl", &jsonl)] {
        if run.stdout.len() as u64 > 8 * size + (16 << 10) {
            faults.push(format!("{format} has {} bytes for an input of {size}", run.stdout.len()));
        }
    }
    if usable {
        faults.extend(row_faults(case, &csv, &jsonl));
    }
    (json, faults)
}

/// Everything that is wrong with the exit code, the error lines and the characters of both outputs.
fn process_faults(case: &Case, format: &str, run: &Run) -> Vec<String> {
    // The records of RFC 4180 end in CR LF.
    let stdout = if format == "csv" { without_returns(&run.stdout) } else { run.stdout.clone() };
    let mut faults = text_faults(&format!("{format} stdout"), &stdout);
    faults.extend(text_faults(&format!("{format} stderr"), &run.stderr));
    if !run.code.is_some_and(|code| case.exits.contains(&code)) {
        faults.push(format!("{format}: exit wanted {:?}, got {:?}", case.exits, run.code));
    }
    if run.peak_kib > PEAK_KIB {
        faults.push(format!("{format}: {} KiB of memory", run.peak_kib));
    }
    let complaint = run.complaint();
    if ["panicked", "RUST_BACKTRACE", "internal error"].iter().any(|word| complaint.contains(word)) {
        faults.push(format!("{format}: a panic"));
    }
    let lines = run.error_lines();
    let (least, most) = match (case.error_lines, run.code) {
        (Some(count), _) => (count, count),
        (None, Some(1..=3)) => (1, 1),
        (None, Some(0)) => (0, 0),
        (None, _) => (0, 1),
    };
    if !(least..=most).contains(&lines.len()) {
        faults.push(format!("{format}: error lines wanted {least} to {most}, got {}", lines.len()));
    }
    let stray = complaint.lines().find(|line| !["error[", "warning"].iter().any(|start| line.starts_with(start)));
    if let Some(line) = stray {
        faults.push(format!("{format}: a line on stderr that is neither error nor warning: {line}"));
    }
    let tells =
        |line: &&String| ["nothing was read", "no packet"].iter().any(|words| line.to_lowercase().contains(words));
    if case.unusable && lines.iter().any(|line| !tells(&line)) {
        faults.push(format!("{format}: the error line does not say that nothing was read"));
    }
    for fragment in &case.says {
        if !lines.iter().any(|line| line.contains(fragment.as_str())) {
            faults.push(format!("{format}: no error line says {fragment:?}"));
        }
    }
    faults
}

/// The text with LF for each CR LF.
fn without_returns(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        if *byte != b'\r' || text.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// The value at a path of names joined by dots.
fn at_path<'a>(report: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(report, |value, member| value.get(member))
}

/// A number at a path; absent members of parents that list only what occurred are 0.
fn number(report: &Value, parent: &str, member: &str) -> Option<u64> {
    const LIST_ONLY_WHAT_OCCURRED: [&str; 5] = ["outcomes", "rcodes", "anomalies", "reasons", "unreadable"];
    let sparse = LIST_ONLY_WHAT_OCCURRED.iter().any(|end| parent.ends_with(end)) || parent.ends_with("_kinds");
    match at_path(report, parent).and_then(|parent| parent.get(member)) {
        Some(value) => value.as_u64(),
        None => sparse.then_some(0),
    }
}

/// Sums that must hold in any report: each left side equals its right side.
const SUMS: &[(&str, &[&str], &[&str])] = &[
    ("ledgers.messages", &["udp", "tcp"], &["queries", "responses", "undecodable"]),
    (
        "ledgers.matches",
        &["queries"],
        &["matched", "retransmitted", "query_copies", "timed_out", "evicted", "open_at_end"],
    ),
    (
        "ledgers.matches",
        &["responses"],
        &["matched", "continued", "late", "duplicate", "response_copies", "unsolicited", "mismatch"],
    ),
    ("ledgers.bytes", &["total"], &["headers", "record_headers", "packets", "skipped_blocks", "unread_tail"]),
    ("ledgers.outputs", &["rows_made"], &["rows_written"]),
    ("ledgers.packets", &["frames"], PACKET_BUCKETS),
];

/// The buckets in which a frame can end.
const PACKET_BUCKETS: &[&str] = &[
    "udp_dns",
    "tcp_used",
    "tcp_control",
    "tcp_duplicate",
    "tcp_conflict",
    "tcp_out_of_window",
    "tcp_behind_hole",
    "tcp_evicted",
    "tcp_non_dns",
    "fragment_used",
    "fragment_duplicate",
    "fragment_conflict",
    "fragment_expired",
    "fragment_evicted",
    "fragment_incomplete",
    "fragment_malformed",
    "icmp_quoting_dns",
    "icmp",
    "other_port",
    "other_protocol",
    "non_ip",
    "snap_cut",
    "link_malformed",
    "ip_malformed",
    "transport_malformed",
    "nest_limit",
    "not_opened",
    "not_selected",
    "undeclared_interface",
    "damaged_record",
    "internal_fault",
];

/// Everything that is wrong with a report in JSON.
fn report_faults(case: &Case, report: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if report.get("schema").and_then(Value::as_str) != Some("dnsrefused/1") {
        faults.push(format!("schema is {:?}", report.get("schema")));
    }
    let ledgers = report.get("ledgers").and_then(Value::as_object).cloned().unwrap_or_default();
    for name in ["capture", "packets", "messages", "matches", "bytes", "outputs"] {
        match ledgers.get(name).and_then(|ledger| ledger.get("closed")) {
            Some(Value::Bool(true)) => {}
            other => faults.push(format!("ledger {name}: closed is {other:?}")),
        }
    }
    for (parent, left, right) in SUMS {
        let sum = |members: &[&str]| -> Result<u64, String> {
            members.iter().map(|m| number(report, parent, m).ok_or_else(|| format!("{parent}.{m} is missing"))).sum()
        };
        match (sum(left), sum(right)) {
            (Ok(left_sum), Ok(right_sum)) if left_sum == right_sum => {}
            (Ok(left_sum), Ok(right_sum)) => {
                faults.push(format!("{parent}: {left:?} is {left_sum}, its parts {right_sum}"));
            }
            (Err(missing), _) | (_, Err(missing)) => faults.push(missing),
        }
    }
    let plain: u64 = case.inputs.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let size = case.expanded.unwrap_or(plain);
    let compressed = report.pointer("/inputs/0/compression").is_some_and(|name| !name.is_null());
    if !compressed || case.expanded.is_some() {
        let total = number(report, "ledgers.bytes", "total");
        if total != Some(size) {
            faults.push(format!("ledgers.bytes.total wanted {size}, got {total:?}"));
        }
    }
    for want in &case.wants {
        let got: Option<u64> = want.members.iter().map(|member| number(report, want.parent, member)).sum();
        if !got.is_some_and(|got| want.wanted.holds(got)) {
            let (parent, members) = (want.parent, want.members.join("+"));
            faults.push(format!("{parent}.{members} wanted {:?}, got {got:?}", want.wanted));
        }
    }
    faults.extend(not_opened_faults(report));
    faults
}

/// Frames that are not opened are named in the report.
fn not_opened_faults(report: &Value) -> Vec<String> {
    let count = number(report, "ledgers.packets", "not_opened").unwrap_or(0);
    let kinds = at_path(report, "ledgers.packets.not_opened_kinds").and_then(Value::as_object);
    let named: u64 = kinds.map_or(0, |kinds| kinds.values().filter_map(Value::as_u64).sum());
    if named == count { Vec::new() } else { vec![format!("{count} frames were not opened, {named} of them by name")] }
}

/// Everything that is wrong with CSV and JSON lines, each alone and compared with each other.
fn row_faults(case: &Case, csv: &Run, jsonl: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    let records = match csv_records(&String::from_utf8_lossy(&csv.stdout)) {
        Ok(records) => records,
        Err(error) => return vec![format!("csv: {error}")],
    };
    let Some((head, rows)) = records.split_first() else { return vec!["csv has no header".to_owned()] };
    if head.iter().ne(COLUMNS.iter()) {
        faults.push(format!("csv columns are {head:?}"));
    }
    let column = |name: &str| head.iter().position(|column| column == name);
    let raw = rows.iter().flatten().find(|cell| cell.starts_with(FORMULA_STARTS) && cell.parse::<f64>().is_err());
    faults.extend(raw.map(|cell| format!("csv: a cell starts like a formula: {cell}")));
    let negative = column("rtt_us").and_then(|at| rows.iter().map(|row| &row[at]).find(|cell| cell.contains('-')));
    faults.extend(negative.map(|cell| format!("csv: a negative duration: {cell}")));
    let qnames: Vec<&str> =
        column("qname").map_or_else(Vec::new, |at| rows.iter().map(|row| without_guard(&row[at])).collect());
    if let Some(odd) = qnames.iter().find(|name| !name.is_empty() && labels_of(name).is_none()) {
        faults.push(format!("csv: a name is not escaped reversibly: {odd}"));
    }
    if let Some(wanted) = &case.names {
        let got: Vec<Vec<Vec<u8>>> = qnames.iter().filter_map(|name| labels_of(name)).collect();
        if got != *wanted {
            faults.push(format!("names wanted {wanted:?}, got {qnames:?}"));
        }
    }
    for wanted in &case.rows {
        let fits = |row: &Vec<String>| {
            wanted.iter().all(|(name, value)| column(name).is_some_and(|at| without_guard(&row[at]) == value))
        };
        if !rows.iter().any(fits) {
            let got: Vec<Vec<&str>> = rows
                .iter()
                .take(5)
                .map(|row| wanted.iter().filter_map(|(name, _)| Some(row[column(name)?].as_str())).collect())
                .collect();
            faults.push(format!("no row with {wanted:?}; there are {got:?}"));
        }
    }
    let lines: Vec<&[u8]> = jsonl.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    if lines.len() != rows.len() {
        faults.push(format!("jsonl has {} rows, csv {}", lines.len(), rows.len()));
    }
    for (index, (line, row)) in lines.iter().zip(rows).enumerate() {
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
            faults.push(format!("jsonl row {} does not parse", index + 1));
            break;
        };
        let differs = COLUMNS
            .iter()
            .zip(row)
            .find(|(name, cell)| object.get(**name).is_none_or(|value| plain_value(value) != without_guard(cell)));
        if let Some((name, cell)) = differs {
            faults.push(format!("row {}: {name} is {cell:?} in csv, {:?} in jsonl", index + 1, object.get(*name)));
            break;
        }
        if object.len() != COLUMNS.len() {
            faults.push(format!("jsonl row {} has {} members", index + 1, object.len()));
            break;
        }
    }
    faults
}

/// A JSON value as it is written in a CSV cell.
fn plain_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain_value).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    }
}
