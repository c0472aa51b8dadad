//! A report to JSON, schema `dnsrefused/1`: keys in the order of the contract, lists with one entry per line.
//!
//! Entries on lines of their own keep large reports greppable and two reports comparable line by line.

use super::{FileReport, Format, InputReport, Layout, Ledger, Ledgers, Report, SourceLine, Totals, Writer};
use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::config::Outcome;
use crate::decode::proxy;
use crate::diagnose::{Finding, Subject};
use crate::error::escape_text;
use crate::expect::acl::text::Cited;
use crate::expect::inventory::show_prefix;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The format's entry in the table.
pub const FORMAT: Format = Format { name: "json", writer: Writer::Report(write) };

/// Writes the report as one JSON object.
pub fn write(report: &Report, _: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let digits = report.time_digits;
    out.write_all(b"{\n\"schema\": \"dnsrefused/1\",\n\"node\": ")?;
    value(&report.node.as_deref().map(escape_text), out)?;
    if let Some(partial) = &report.partial {
        out.write_all(b",\n\"partial\": ")?;
        value(&escape_text(partial), out)?;
    }
    list("inputs", report.inputs.iter().map(|input| InputJson::of(input, digits)), out)?;
    out.write_all(b",\n\"ledgers\": {")?;
    let ledgers = ledgers(&report.ledgers);
    for (index, (name, ledger)) in ledgers.iter().enumerate() {
        write!(out, "{}\n\"{name}\": ", if index == 0 { "" } else { "," })?;
        value(ledger, out)?;
    }
    out.write_all(b"\n},\n\"totals\": ")?;
    value(&TotalsJson::of(&report.totals, digits), out)?;
    list("sources", report.sources.iter().map(|line| SourceJson::of(line, report, digits)), out)?;
    list("findings", report.findings.iter().map(|finding| FindingJson::of(finding, &report.inputs)), out)?;
    list("mappings", std::iter::empty::<()>(), out)?;
    if !report.files.is_empty() {
        list("acls", report.files.iter().map(AclJson::of), out)?;
    }
    out.write_all(b",\n\"anomalies\": ")?;
    value(&Counts(&report.ledgers.anomalies.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>()), out)?;
    list("notes", report.notes.iter().map(|note| escape_text(note)), out)?;
    out.write_all(b"\n}\n")
}

/// Writes a key with a list, one entry per line.
fn list<T: Serialize>(key: &str, entries: impl Iterator<Item = T>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, ",\n\"{key}\": [")?;
    let mut any = false;
    // There may be hundreds of thousands: each is put together before it is written.
    let mut line = Vec::new();
    for entry in entries {
        line.clear();
        line.extend_from_slice(if any { b",\n" } else { b"\n" });
        value(&entry, &mut line)?;
        out.write_all(&line)?;
        any = true;
    }
    out.write_all(if any { b"\n]" } else { b"]" })
}

/// Writes a value on the current line.
fn value<T: Serialize, W: Write + ?Sized>(value: &T, out: &mut W) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// A time with the capture's precision.
fn time(time: Option<Timestamp>, digits: usize) -> Option<String> {
    time.map(|time| time.to_rfc3339(digits))
}

/// Counts by name as an object, in the order given.
struct Counts<'a, K>(&'a [(K, u64)]);

impl<K: AsRef<str>> Serialize for Counts<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name.as_ref(), count)))
    }
}

/// One ledger with what is printed beside its buckets.
struct LedgerJson<'a> {
    closed: bool,
    unavailable: &'a [&'static str],
    buckets: Vec<(&'static str, u64)>,
    beside: Vec<(&'static str, Vec<(String, u64)>)>,
}

impl Serialize for LedgerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("closed", &self.closed)?;
        for name in self.unavailable {
            map.serialize_entry(name, "unavailable")?;
        }
        for (name, count) in &self.buckets {
            map.serialize_entry(name, count)?;
        }
        for (name, counts) in &self.beside {
            map.serialize_entry(name, &Counts(counts))?;
        }
        map.end()
    }
}

/// The six ledgers by name.
fn ledgers(ledgers: &Ledgers) -> [(&'static str, LedgerJson<'_>); 6] {
    fn counts<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| (escape_text(name.as_ref()), *count)).collect()
    }
    fn plain(ledger: &Ledger, beside: Vec<(&'static str, Vec<(String, u64)>)>) -> LedgerJson<'static> {
        LedgerJson { closed: ledger.closed, unavailable: &[], buckets: ledger.buckets.clone(), beside }
    }
    // A file does not say what the kernel saw. What is known of that ledger adds up: all that was read was handed on.
    let stated = match ledgers.stated_loss {
        InterfaceLoss::Exactly(count) => Some(("recorded_dropped", count)),
        InterfaceLoss::AtLeast(count) => Some(("recorded_dropped_at_least", count)),
        InterfaceLoss::Unknown => None,
    };
    let capture = match &ledgers.capture {
        None => LedgerJson {
            closed: true,
            unavailable: &["kernel_seen", "kernel_dropped"],
            buckets: [Some(("read", ledgers.packets.get("frames"))), stated].into_iter().flatten().collect(),
            beside: Vec::new(),
        },
        Some(capture) => {
            let mut buckets = vec![
                ("kernel_seen", capture.seen),
                ("kernel_dropped", capture.dropped),
                ("read", capture.read),
                ("waiting", capture.waiting),
                ("own_dropped", capture.own_lost()),
                ("loss_bursts", capture.bursts),
                ("waits", capture.waits),
            ];
            let (interface, unavailable): (_, &[&str]) = match capture.interface_dropped {
                InterfaceLoss::Exactly(count) => (Some(("interface_dropped", count)), &[]),
                InterfaceLoss::AtLeast(count) => (Some(("interface_dropped_at_least", count)), &["interface_dropped"]),
                InterfaceLoss::Unknown => (None, &["interface_dropped"]),
            };
            buckets.extend(interface);
            LedgerJson { closed: capture.is_closed(), unavailable, buckets, beside: Vec::new() }
        }
    };
    let reasons = vec![
        ("undecodable_reasons", counts(&ledgers.undecodable)),
        ("question_unreadable", counts(&ledgers.question_unreadable)),
    ];
    [
        ("capture", capture),
        ("packets", plain(&ledgers.packets, vec![("not_opened_kinds", counts(&ledgers.not_opened))])),
        ("messages", plain(&ledgers.messages, reasons)),
        ("matches", plain(&ledgers.matches, Vec::new())),
        ("bytes", plain(&ledgers.bytes, Vec::new())),
        ("outputs", plain(&ledgers.outputs, Vec::new())),
    ]
}

/// A server's configuration: which bytes were evaluated, and how far the wire agrees.
#[derive(Serialize)]
struct AclJson {
    dialect: &'static str,
    servers: Vec<String>,
    files: Vec<CitedJson>,
    agreeing: u64,
    differing: u64,
    undecided: BTreeMap<&'static str, u64>,
}

impl AclJson {
    fn of(file: &FileReport) -> Self {
        Self {
            dialect: file.dialect,
            servers: file.servers.iter().map(ToString::to_string).collect(),
            files: file.read.iter().map(CitedJson::of).collect(),
            agreeing: file.agreeing,
            differing: file.differing,
            undecided: file.undecided.iter().copied().collect(),
        }
    }
}

/// A configuration file as it was read.
#[derive(Debug, Serialize)]
pub struct CitedJson {
    name: String,
    modified: Option<String>,
    sha256: String,
}

impl CitedJson {
    /// Of a file.
    pub fn of(cited: &Cited) -> Self {
        Self { name: cited.name.clone(), modified: time(cited.modified, 0), sha256: cited.sha256.clone() }
    }
}

#[derive(Serialize)]
struct InputJson<'a> {
    name: String,
    format: Option<&'static str>,
    compression: Option<&'static str>,
    link_types: &'a [String],
    frames: u64,
    first: Option<String>,
    last: Option<String>,
    bytes: u64,
    damage: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refused_only: bool,
}

impl<'a> InputJson<'a> {
    fn of(input: &'a InputReport, digits: usize) -> Self {
        Self {
            name: escape_text(&input.name),
            format: Some(input.format).filter(|format| !format.is_empty()),
            compression: input.compression,
            link_types: &input.link_types,
            frames: input.frames,
            first: time(input.first, digits),
            last: time(input.last, digits),
            bytes: input.bytes,
            damage: input.damage.iter().map(|sentence| escape_text(sentence)).collect(),
            refused_only: input.refused_only,
        }
    }
}

#[derive(Serialize)]
struct TotalsJson {
    frames: u64,
    messages_udp: u64,
    messages_tcp: u64,
    queries: u64,
    responses: u64,
    rcodes: Pairs,
    transactions: u64,
    outcomes: Pairs,
    refused: u64,
    refused_restored: u64,
    refused_unsolicited: u64,
    first: Option<String>,
    last: Option<String>,
}

impl TotalsJson {
    fn of(totals: &Totals, digits: usize) -> Self {
        let rcodes = totals.rcodes.iter().map(|(code, count)| (rcode_name(*code).into_owned(), *count)).collect();
        let outcomes = Outcome::ALL
            .iter()
            .map(|(name, outcome)| ((*name).to_owned(), totals.outcomes[*outcome as usize]))
            .collect();
        Self {
            frames: totals.frames,
            messages_udp: totals.messages_udp,
            messages_tcp: totals.messages_tcp,
            queries: totals.queries,
            responses: totals.responses,
            rcodes: Pairs(rcodes),
            transactions: totals.transactions,
            outcomes: Pairs(outcomes),
            refused: totals.outcomes[Outcome::Refused as usize],
            refused_restored: totals.refused_restored,
            refused_unsolicited: totals.refused_unsolicited,
            first: time(totals.first, digits),
            last: time(totals.last, digits),
        }
    }
}

/// Counts by name as an object, in the order given.
struct Pairs(Vec<(String, u64)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Counts(&self.0).serialize(serializer)
    }
}

/// Names of response codes (IANA registry "DNS RCODEs"); others as `RCODE12`.
pub fn rcode_name(code: u16) -> Cow<'static, str> {
    let name = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        16 => "BADVERS",
        17 => "BADKEY",
        18 => "BADTIME",
        19 => "BADMODE",
        20 => "BADNAME",
        21 => "BADALG",
        22 => "BADTRUNC",
        23 => "BADCOOKIE",
        _ => return format!("RCODE{code}").into(),
    };
    name.into()
}

#[derive(Serialize)]
struct SourceJson<'a> {
    source: String,
    server: String,
    leg: &'static str,
    name: Option<String>,
    kind: Option<&'a str>,
    /// Nothing where no queries or answers were captured.
    queries: Option<u64>,
    answered: Option<u64>,
    refused: u64,
    denied: Option<u64>,
    silent: Option<u64>,
    tcp_rejected: Option<u64>,
    unanswered: Option<u64>,
    unsolicited: u64,
    refused_unsolicited: u64,
    udp: u64,
    tcp: u64,
    first: Option<String>,
    last: Option<String>,
    expected: Option<&'a str>,
    expected_rule: Option<String>,
    verdict: Option<&'a str>,
    rule: Option<&'a str>,
    identities: Vec<String>,
    hosts_at_least: Option<u64>,
    /// Seen on a DNS port, and no message from or to it was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    without_message: bool,
}

impl<'a> SourceJson<'a> {
    fn of(line: &'a SourceLine, report: &Report, digits: usize) -> Self {
        let alone = line.source.prefix_len() == line.source.max_prefix_len();
        let proxied = report.proxied.get(&(line.server, line.source.addr())).filter(|_| alone);
        let identities = proxied.iter().flat_map(|pair| &pair.clients).map(|client| proxy::identity(*client)).collect();
        let expectation = line.expectation.as_ref();
        let known = |count: u64| Some(count).filter(|_| !report.has_only_refusals());
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            source: show_prefix(line.source),
            server: line.server.to_string(),
            leg: line.leg.name(),
            name: expectation.and_then(|expectation| filled(escape_text(&expectation.name))),
            kind: expectation.map(|expectation| expectation.kind).filter(|kind| !kind.is_empty()),
            queries: known(line.row.queries),
            answered: known(line.count(Outcome::Answered)),
            refused: line.count(Outcome::Refused),
            denied: known(line.count(Outcome::Denied)),
            silent: known(line.count(Outcome::Silent)),
            tcp_rejected: known(line.count(Outcome::TcpRejected)),
            unanswered: known(line.count(Outcome::Unanswered)),
            unsolicited: line.count(Outcome::Unsolicited),
            refused_unsolicited: line.row.rare().refused_unsolicited,
            udp: line.row.udp(),
            tcp: line.row.tcp,
            first: time(line.row.first(), digits),
            last: time(line.row.last(), digits),
            expected: expectation.map(|expectation| expectation.expected),
            expected_rule: expectation.and_then(|expectation| filled(escape_text(&expectation.rule))),
            verdict: line.verdict.as_ref().map(|verdict| verdict.verdict),
            rule: line.verdict.as_ref().map(|verdict| verdict.rule.as_str()).filter(|rule| !rule.is_empty()),
            identities,
            hosts_at_least: None,
            without_message: line.only_glimpsed(),
        }
    }
}

#[derive(Serialize)]
struct FindingJson<'a> {
    id: &'a str,
    kind: &'a str,
    grade: &'static str,
    severity: &'static str,
    subject: SubjectJson<'a>,
    says: String,
    count: u64,
    frames: Frames<'a>,
    advice: Option<String>,
    /// Only where it says no more than how many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_listed: Option<u64>,
}

impl<'a> FindingJson<'a> {
    fn of(finding: &'a Finding, inputs: &'a [InputReport]) -> Self {
        Self {
            id: &finding.id,
            kind: finding.kind,
            grade: finding.grade.name(),
            severity: finding.severity.name(),
            subject: SubjectJson(&finding.subject),
            says: escape_text(&finding.says),
            count: finding.count,
            frames: Frames { frames: &finding.frames, inputs },
            advice: finding.advice.as_deref().map(escape_text),
            not_listed: Some(finding.not_listed).filter(|more| *more > 0),
        }
    }
}

/// Only what applies is a key.
struct SubjectJson<'a>(&'a Subject);

impl Serialize for SubjectJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(server) = self.0.server {
            map.serialize_entry("server", &server.to_string())?;
        }
        let subject = self.0;
        for (key, list) in [
            ("servers", &subject.servers),
            ("sources", &subject.sources),
            ("prefixes", &subject.prefixes),
            ("names", &subject.names),
            ("inside", &subject.inside),
            ("outside", &subject.outside),
        ] {
            if !list.is_empty() {
                map.serialize_entry(key, list)?;
            }
        }
        map.end()
    }
}

/// Frames by the name of their input.
struct Frames<'a> {
    frames: &'a [(usize, Vec<u64>)],
    inputs: &'a [InputReport],
}

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'b> {
            input: String,
            frames: &'b [u64],
        }
        let mut list = serializer.serialize_seq(Some(self.frames.len()))?;
        for (input, frames) in self.frames {
            let name = self.inputs.get(*input).map_or(String::new(), |input| escape_text(&input.name));
            list.serialize_element(&Entry { input: name, frames })?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Severity};
    use crate::diagnose::samples::{With, inventory, report, source};
    use crate::diagnose::{Grade, diagnose};
    use crate::report::Expectation;

    /// The JSON of a report.
    fn json(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &Layout { top: 1, color: true }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The keys of the first object that starts after `start`, in order; nested values are left out.
    fn keys(text: &str, start: &str) -> Vec<String> {
        let text = &text[text.find(start).unwrap() + start.len()..];
        let mut depth = 0;
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some(byte) = rest.bytes().next() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'"' => {
                    let end = rest[1..].find('"').unwrap() + 1;
                    if depth == 1 && rest[end + 1..].starts_with(':') {
                        keys.push(rest[1..end].to_owned());
                    }
                    rest = &rest[end..];
                }
                _ => {}
            }
            rest = &rest[1..];
        }
        keys
    }

    /// A report with one of everything.
    fn sample() -> Report {
        let inventory = inventory("prefix,name,kind\n10.20.0.0/16,office,\n10.21.0.0/16,vpn,vpn\n");
        let sources = vec![
            source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 187),
            source("10.20.1.7", "10.20.30.40").with(Outcome::Answered, 500),
        ];
        let mut report = report(sources, &inventory);
        report.findings = diagnose(&report, &inventory, &Limits::default());
        report.totals.rcodes = [(0, 500), (5, 187), (4000, 1)].into();
        report.ledgers.packets = Ledger { buckets: vec![("frames", 900), ("udp_dns", 900)], closed: true };
        report.ledgers.not_opened.insert("GTP-U".to_owned(), 12);
        report.ledgers.question_unreadable.insert("pointer_loop", 2);
        report.ledgers.anomalies.insert("trailing_bytes", 3);
        report
    }

    #[test]
    fn keys_are_those_of_the_contract_in_its_order() {
        let text = json(&sample());
        let top = ["schema", "node", "inputs", "ledgers", "totals", "sources", "findings", "mappings"];
        let found: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix('"')?.split_once("\": "))
            .map(|(key, _)| key.to_owned())
            .collect();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let ledgers = ["capture", "packets", "messages", "matches", "bytes", "outputs"];
        assert_eq!(found, [&top[..4], &ledgers, &top[4..], &["anomalies", "notes"]].concat());
        for (start, expected) in [
            ("\"inputs\": [", "name format compression link_types frames first last bytes damage"),
            (
                "\"totals\": ",
                "frames messages_udp messages_tcp queries responses rcodes transactions outcomes refused \
                 refused_restored refused_unsolicited first last",
            ),
            (
                "\"sources\": [",
                "source server leg name kind queries answered refused denied silent tcp_rejected unanswered unsolicited \
                 refused_unsolicited udp tcp first last expected expected_rule verdict rule identities hosts_at_least",
            ),
            ("\"findings\": [", "id kind grade severity subject says count frames advice"),
            ("\"subject\":", "server sources prefixes"),
            ("\"capture\": ", "closed kernel_seen kernel_dropped read"),
            ("\"packets\": ", "closed frames udp_dns not_opened_kinds"),
            ("\"messages\": ", "closed undecodable_reasons question_unreadable"),
        ] {
            assert_eq!(keys(&text, start).join(" "), expected, "{start}");
        }
    }

    #[test]
    fn values_are_plain_numbers_names_and_nulls() {
        let value: serde_json::Value = serde_json::from_str(&json(&sample())).unwrap();
        assert_eq!(value["schema"], "dnsrefused/1");
        assert!(value["node"].is_null());
        assert_eq!(value["totals"]["rcodes"], serde_json::json!({"NOERROR": 500, "REFUSED": 187, "RCODE4000": 1}));
        assert_eq!(value["totals"]["outcomes"]["tcp-rejected"], 0);
        assert_eq!(value["totals"]["outcomes"].as_object().unwrap().len(), 7);
        assert_eq!(value["totals"]["refused"], 187);
        assert_eq!(value["totals"]["first"], "2025-12-31T09:04:10.000000Z");
        assert_eq!(value["ledgers"]["capture"]["kernel_dropped"], "unavailable");
        assert_eq!(value["ledgers"]["packets"]["not_opened_kinds"]["GTP-U"], 12);
        let (stranger, office) = (&value["sources"][0], &value["sources"][1]);
        assert_eq!((&stranger["expected"], &stranger["expected_rule"]), (&"unlisted".into(), &serde_json::Value::Null));
        assert_eq!(
            (&office["name"], &office["kind"], &office["expected_rule"]),
            (&"office".into(), &"client".into(), &"expect.csv:2".into())
        );
        assert_eq!(value["findings"][0]["frames"][0]["input"], "server.pcap");
        assert_eq!(value["findings"][0]["frames"][0]["frames"][1], 4);
        assert_eq!(value["findings"][0]["grade"], "inferred");
        assert_eq!(value["mappings"], serde_json::json!([]));
    }

    #[test]
    fn hostile_names_stay_on_their_line() {
        let mut report = sample();
        let hostile = "a\"\u{1b}[2J\n</script>\u{202e}";
        report.node = Some(hostile.to_owned());
        report.partial = Some(hostile.to_owned());
        report.notes.push(hostile.to_owned());
        report.inputs[0].name = hostile.to_owned();
        report.inputs[0].damage.push(hostile.to_owned());
        report.ledgers.not_opened.insert(hostile.to_owned(), 1);
        report.sources[0].expectation = Some(
            Expectation {
                expected: "allow",
                rule: hostile.to_owned(),
                name: hostile.to_owned(),
                kind: "vpn",
                outside: Vec::new(),
            }
            .into(),
        );
        report.findings[0].says = hostile.to_owned();
        report.findings[0].advice = Some(hostile.to_owned());
        (report.findings[0].grade, report.findings[0].severity) = (Grade::Inferred, Severity::Info);
        let text = json(&report);
        assert!(text.bytes().all(|byte| byte == b'\n' || byte >= b' ') && !text.contains('\u{202e}'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["inputs"][0]["name"], "a\"\\u{1b}[2J\\u{a}</script>\\u{202e}");
    }

    #[test]
    fn an_empty_report_is_complete() {
        let value: serde_json::Value = serde_json::from_str(&json(&Report::default())).unwrap();
        assert_eq!(value["inputs"], serde_json::json!([]));
        assert_eq!(value["ledgers"].as_object().unwrap().len(), 6);
        assert!(value["totals"]["first"].is_null());
    }
}
