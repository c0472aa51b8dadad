use super::*;
use crate::config::{Limits, Outcome, Severity};
use crate::diagnose::samples::{With, inventory, report, source};
use crate::diagnose::{Grade, diagnose};
use crate::report::{Expectation, Ledger};

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
