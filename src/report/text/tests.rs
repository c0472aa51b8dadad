use super::*;
use crate::config::Limits;
use crate::diagnose::diagnose;
use crate::diagnose::samples::{With, inventory, report, source};
use crate::expect::Inventory;
use crate::report::page::WIDTH;
use crate::report::{CaptureLedger, Expectation, Ledger};
use std::net::IpAddr;

/// The page of a report, without colour unless asked for.
fn page(report: &Report, top: usize, color: bool) -> String {
    let mut out = Vec::new();
    write(report, &Layout { top, color }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The seed story with an inventory.
fn story() -> Report {
    let at: IpAddr = "10.20.30.40".parse().unwrap();
    let inventory = inventory("prefix,name,kind\n10.20.0.0/16,office,\n10.21.0.0/16,vpn,vpn\n");
    let mut upstream = source("10.20.30.40", "203.0.113.53").with(Outcome::Answered, 5906).with(Outcome::Refused, 41);
    upstream.leg = Leg::Upstream;
    let mut report = report(
        vec![
            source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 1187).with(Outcome::Unanswered, 3),
            source("2001:db8:1234:5678:9abc:def0:1234:5678", "10.20.30.40").with(Outcome::Refused, 118),
            source("198.51.100.7", "10.20.30.40").with(Outcome::Refused, 7).with(Outcome::Denied, 2),
            source("10.20.7.7", "10.20.30.40").with(Outcome::Refused, 1).with(Outcome::Answered, 9),
            source("10.20.1.7", "10.20.30.40").with(Outcome::Answered, 20166),
            upstream,
        ],
        &inventory,
    );
    report.here.insert(at);
    report.totals.messages_udp = 54_000;
    report.totals.refused_restored = 1312;
    report.focus = vec!["10.21.5.18/32".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
    report.focus_expectations =
        report.focus.iter().map(|prefix| Expectation::from(inventory.decide_prefix(*prefix))).collect();
    report.ledgers.packets =
        Ledger { buckets: vec![("frames", 54_100), ("udp_dns", 54_000), ("icmp", 0), ("non_ip", 100)], closed: true };
    report.ledgers.messages =
        Ledger { buckets: vec![("udp", 54_000), ("tcp", 0), ("queries", 27_010), ("responses", 26_990)], closed: true };
    report.ledgers.matches = Ledger {
        buckets: vec![("queries", 27_010), ("matched", 26_990), ("timed_out", 20), ("responses", 26_990), ("late", 0)],
        closed: true,
    };
    report.ledgers.bytes = Ledger { buckets: vec![("total", 100), ("headers", 24), ("packets", 76)], closed: true };
    report.ledgers.anomalies.insert("trailing_bytes", 3);
    report.findings = diagnose(&report, &inventory, &Limits::default());
    report
}

/// A report of sources without an inventory.
fn plain(sources: Vec<SourceLine>) -> Report {
    let mut report = report(sources, &Inventory::default());
    report.totals.messages_udp = 1;
    report
}

/// A page as one line.
fn flat(report: &Report) -> String {
    page(report, 20, false).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of a page that start with `start`, joined.
fn line(report: &Report, start: &str) -> String {
    page(report, 20, false).lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>().join("|")
}

#[test]
fn the_answer_comes_first_and_then_who() {
    let text = page(&story(), 20, false);
    let start = "\
server.pcap: pcap, EN10MB, 900 frames
2025-12-31 09:04:10Z to 09:04:40Z; this file does not record drops
REFUSED 1,313 of 21,493 client queries (6.1 %), 4 sources; answered 20,175,
  denied 2, unanswered 3

10.21.5.18: NOT SEEN. No DNS traffic from it or to it is in this capture; if it
  asked meanwhile, its queries arrived as another address, at another port, or
  not here.
  Inventory: allow by expect.csv:3 (vpn)
192.0.2.0/24: SEEN: 1 source, refused 1,187, unanswered 3
  server.pcap: frame.number in {2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26}
    the first 13 (--format json has more)
  Inventory: unlisted

AT 10.20.30.40
SOURCE THE SERVER SAW  REFUSED  ANSWERED  TURNED AWAY (UTC)   EXPECTED
192.0.2.45               1,187         0  09:04:11..09:04:39  unlisted
  also unanswered 3
2001:db8:1234:5678:9abc:def0:1234:5678
                           118         0  09:04:11..09:04:39  unlisted
198.51.100.7                 7         0  09:04:11..09:04:39  unlisted
  also denied 2
10.20.7.7                    1         9  09:04:11..09:04:39  allow expect.csv:2
Not turned away: 1 source, answered 20,166

CRITICAL unlisted-source-refused-1 (inferred)
  Observed: 3 sources in no inventory line were turned away 1,314 times by
";
    assert!(text.starts_with(start), "{text}");
    let end = "
Apart: 5,947 queries of our own servers to others; 41 of them refused
  (--upstream)
Names: in 1,312 of 1,354 refused transactions the response has no question; name
  and type are the query's

Ledgers closed; what the kernel dropped is unavailable
  frames 54,100 = udp_dns 54,000 + non_ip 100
  messages udp 54,000 + tcp 0 = queries 27,010 + responses 26,990
  queries 27,010 = matched 26,990 + timed_out 20
  responses 26,990 = matched 26,990
  bytes total 100 = headers 24 + packets 76
  odd but used: trailing_bytes 3
";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn no_line_is_wider_than_a_terminal_and_no_byte_drives_it() {
    let mut report = story();
    report.inputs[0].name = format!("/captures/{}\u{1b}[2J\n.pcap", "long/".repeat(6));
    report.inputs[0].damage.push("cut at\tbyte 7".to_owned());
    report.notes.push("x\u{202e}y ".repeat(30));
    report.partial = Some("interrupted\r".to_owned());
    for line in &mut report.sources {
        for (_, outcome) in Outcome::ALL {
            line.row.add_outcome(outcome, line.row.count(outcome) * 999);
        }
        if let Some(expectation) = &mut line.expectation {
            "a/long/path/expectations.csv:10234\u{7}".clone_into(&mut std::sync::Arc::make_mut(expectation).rule);
        }
    }
    for top in [0, 1, 20] {
        let text = page(&report, top, false);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text}");
    }
    let plain: String = page(&report, 20, true).replace("\u{1b}[0m", "");
    let plain =
        ["1;31", "1;33", "32", "1"].iter().fold(plain, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
    assert_eq!(plain, page(&report, 20, false), "colour adds nothing but colour");
}

#[test]
fn frames_stand_in_the_table_when_no_finding_shows_them() {
    let mut report = plain(vec![
        source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 1_234),
        source("192.0.2.46", "10.20.30.40").with(Outcome::Refused, 2),
        source("192.0.2.47", "10.20.30.41").with(Outcome::Refused, 1),
    ]);
    report.sources[1].row.refusals_mut().frames[0].frame = 1_234_567;
    assert_eq!(
        line(&report, "SOURCE"),
        "SOURCE SEEN HERE       REFUSED  ANSWERED  TURNED AWAY (UTC)|SOURCE SEEN HERE       REFUSED  ANSWERED  TURNED AWAY (UTC)"
    );
    let said = "Nothing shows that this was captured at the server (--vantage server says it was)";
    assert_eq!(flat(&report).matches(said).count(), 1, "once for both");
    let second = "10.20.30.41".parse().unwrap();
    report.away.insert(second);
    report.here.insert("10.20.30.40".parse().unwrap());
    assert!(!flat(&report).contains(said) && flat(&report).contains("AT 10.20.30.41 Not captured at this server"));
    assert!(line(&report, "SOURCE").starts_with("SOURCE THE SERVER SAW"));
    report.passed_on.insert("10.20.30.40".parse().unwrap());
    assert!(
        flat(&report)
            .contains("AT 10.20.30.40 Responses of this server leave here with a hop limit that hosts do not usually")
    );
    assert!(!flat(&report).contains("SOURCE THE SERVER SAW"), "its responses only leave there");
    report.vantage = Some(crate::config::Vantage::Client);
    assert_eq!(flat(&report).matches("Not captured at this server").count(), 2);
    report.vantage = Some(crate::config::Vantage::Server);
    assert_eq!(flat(&report).matches("SOURCE THE SERVER SAW").count(), 2);
    let text = page(&report, 2, false);
    assert!(text.contains("\n  server.pcap: frame.number in {2, 4, 6, 8,"), "{text}");
    assert!(text.contains("\nand 1 more source, refused 1 (--top)\n"), "{text}");
    report.sources.remove(0);
    assert!(page(&report, 1, false).contains("  server.pcap: frame.number in {4, 1234567}\n"), "no separators");
}

#[test]
fn nothing_refused_is_said_plainly() {
    let one = |outcome| plain(vec![source("10.20.1.7", "10.20.30.40").with(outcome, 20_166)]);
    let headline = |report: &Report| page(report, 20, false).lines().nth(2).unwrap().to_owned();
    assert_eq!(headline(&one(Outcome::Answered)), "NOTHING REFUSED of 20,166 client queries: answered 20,166");
    assert!(
        flat(&one(Outcome::Denied))
            .contains("NOTHING REFUSED of 20,166 client queries: denied 20,166, but 20,166 turned away in other ways")
    );
    assert!(flat(&one(Outcome::TcpRejected)).contains(
        "NOTHING REFUSED of 20,166 client queries and rejected connections: tcp-rejected 20,166, but 20,166 turned"
    ));
    assert!(!flat(&one(Outcome::Unanswered)).contains("turned away"));
    assert_eq!(
        headline(&one(Outcome::Unsolicited)),
        "NO CLIENT QUERIES are in the capture, only 20,166 responses without a query"
    );
    let mut responses = one(Outcome::Unsolicited);
    responses.sources[0].row.rare_mut().refused_unsolicited = 20_000;
    assert_eq!(headline(&responses), "REFUSED 20,000 responses to 1 source, whose queries are not among what was read");
    let mut other = one(Outcome::Refused);
    other.sources[0].leg = Leg::Other;
    assert!(
        flat(&other)
            .contains("NO CLIENT QUERIES are in the capture to our servers; others are asked here: 10.20.30.40")
    );
    assert_eq!(line(&other, "Apart"), "Apart: 20,166 queries between others, to none of our servers; 20,166 of them");
}

#[test]
fn a_client_that_is_to_arrive_as_another_address_is_looked_for_there() {
    let inventory = inventory("prefix,name,outside\n10.21.0.0/16,vpn,192.0.2.45\n");
    let mut report = report(vec![source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 11)], &inventory);
    report.totals.messages_udp = 1;
    report.focus = vec!["10.21.5.18/32".parse().unwrap()];
    report.focus_expectations = vec![Expectation::from(inventory.decide_prefix(report.focus[0]))];
    let said = "Expected to arrive as 192.0.2.45, which is here: 1 source, refused 11.";
    assert!(flat(&report).contains(said), "{}", flat(&report));
    report.sources[0].source = "192.0.2.46/32".parse().unwrap();
    assert!(!flat(&report).contains("Expected to arrive"));
}

#[test]
fn refusals_that_came_late_are_not_called_nothing() {
    let mut late = plain(vec![source("10.20.1.7", "10.20.30.40").with(Outcome::Unanswered, 100)]);
    late.sources[0].row.rare_mut().extra_refusals[ExtraRefusal::Late as usize] = 3;
    let mut upstream = source("10.20.30.40", "203.0.113.53").with(Outcome::Unanswered, 1);
    upstream.row.rare_mut().extra_refusals[ExtraRefusal::Late as usize] = 9;
    upstream.leg = Leg::Upstream;
    late.sources.push(upstream);
    let said = "REFUSED 3 responses after the time-out of the query (--timeout), which counts as";
    assert_eq!(line(&late, "REFUSED"), said);
    assert_eq!(line(&late, "NOTHING"), "");
    late.sources[0].row.add_outcome(Outcome::Refused, 1);
    assert!(line(&late, "REFUSED").starts_with("REFUSED 1 of 101 client queries"));
    let said = "3 REFUSED responses came after the time-out of the query (--timeout), which counts as unanswered";
    assert!(flat(&late).contains(said));
}

#[test]
fn queries_that_were_forgotten_are_not_called_absent() {
    let mut report = plain(vec![source("10.20.1.7", "10.20.30.40").with(Outcome::Unsolicited, 4)]);
    report.sources[0].row.rare_mut().refused_unsolicited = 4;
    assert!(line(&report, "REFUSED").contains("whose queries are not among what"));
    report.ledgers.anomalies.insert("late_forgotten_early", 1);
    assert!(line(&report, "REFUSED").contains("whose queries are not known: forgotten"));
    report.ledgers.anomalies.clear();
    report.ledgers.matches.buckets = vec![("evicted", 1)];
    assert!(line(&report, "REFUSED").contains("whose queries are not known: forgotten"));
}

#[test]
fn sources_are_counted_once_and_joined_ones_at_least() {
    let mut report = plain(vec![
        source("10.0.0.1", "10.20.30.53").with(Outcome::Refused, 1),
        source("10.0.0.2", "10.20.30.53").with(Outcome::Refused, 2),
        source("10.0.0.2", "10.20.30.54").with(Outcome::Answered, 1),
        source("10.0.0.3", "10.20.30.54").with(Outcome::Answered, 5),
        source("10.0.0.9", "10.20.30.54").with(Outcome::Unsolicited, 1),
    ]);
    report.sources[4].row.rare_mut().refused_unsolicited = 1;
    assert!(line(&report, "REFUSED").contains("REFUSED 3 of 9 client queries (33.3 %), 2 sources"));
    assert_eq!(line(&report, "Not turned away"), "Not turned away: 1 source, answered 5");
    assert_eq!(line(&report, "Turned away at one"), "Turned away at one server, not at another: 1 source, answered 1");
    report.sources[1].source = "10.0.0.2/31".parse().unwrap();
    assert!(line(&report, "REFUSED").contains("at least 2 sources"));
}

#[test]
fn lines_that_are_left_out_are_not_taken_for_sources() {
    let refused = |source_: &str, server: &str| source(source_, server).with(Outcome::Refused, 1);
    let servers = ["10.0.0.50", "10.0.0.51", "10.0.0.52"];
    let one = plain(servers.iter().map(|server| refused("192.0.2.1", server)).collect());
    assert!(page(&one, 1, false).contains("\nand 2 more lines of 1 source at 2 servers, refused 2 (--top)\n"));
    let several = plain(["192.0.2.1", "192.0.2.2", "192.0.2.3"].iter().map(|one| refused(one, servers[0])).collect());
    assert!(page(&several, 1, false).contains("\nand 2 more sources, refused 2 (--top)\n"));
}

#[test]
fn a_client_that_was_left_out_is_not_called_unseen() {
    let mut report = plain(vec![source("10.0.0.9", "10.20.30.40").with(Outcome::Refused, 9)]);
    report.focus = vec!["10.21.5.18/32".parse().unwrap()];
    assert!(flat(&report).contains("its queries arrived as another address, at another port, or not here"));
    let interface_dropped = InterfaceLoss::Exactly(7);
    report.ledgers.capture = Some(CaptureLedger { interface_dropped, ..CaptureLedger::default() });
    let lost = "is in what was read of this capture. Its interface lost 7 of any traffic.";
    assert!(flat(&report).contains(lost), "{}", flat(&report));
    report.ledgers.capture = None;
    let mut elsewhere = source("10.21.5.18", "203.0.113.53").with(Outcome::Refused, 1);
    elsewhere.leg = Leg::Other;
    report.sources.push(elsewhere);
    let seen = "10.21.5.18: SEEN, not as a client of these servers; 1 transaction on other legs";
    assert!(flat(&report).contains(seen), "{}", flat(&report));
    report.sources.pop();
    report.ledgers.bytes.buckets.push(("unread_tail", 328));
    let unread = "10.21.5.18: NOT SEEN. No DNS traffic from it or to it is in what was read of this capture. It was not read \
                  to its end: 328 bytes are left.";
    assert!(flat(&report).contains(unread), "{}", flat(&report));
    report.filtered = true;
    assert!(flat(&report).contains("passed the filter"));
    report.live = Some(LiveReport { refused_only: true, ..LiveReport::default() });
    assert!(flat(&report).contains("NOT REFUSED. Only REFUSED responses were captured"));
}

#[test]
fn without_dns_the_page_says_what_was_there_instead() {
    let mut report = report(Vec::new(), &Inventory::default());
    report.ledgers.not_opened.insert("GTP-U".to_owned(), 12);
    report.ledgers.packets.buckets = vec![("frames", 900), ("other_port", 888), ("not_opened", 12), ("non_ip", 0)];
    let not_seen = "NO DNS SEEN in 900 frames: 12 packets in GTP-U, not opened; other_port 888 (--port names ports that \
                    carry DNS)";
    assert!(flat(&report).contains(not_seen), "{}", flat(&report));
    assert_eq!(
        line(&report, "LEDGERS"),
        "LEDGERS NOT CLOSED packets. This is a fault of dnsrefused; its counts cannot be"
    );
    report.totals.frames = 0;
    assert_eq!(line(&report, "NO FRAMES"), "NO FRAMES were read, so nothing is known");
}

#[test]
fn a_client_that_a_proxy_names_is_not_called_unseen() {
    let mut report = plain(vec![source("10.0.0.9", "10.20.30.40").with(Outcome::Refused, 9)]);
    report.focus = vec!["10.21.0.0/16".parse().unwrap()];
    let pair = crate::transact::proxied::ProxiedPair {
        clients: vec!["10.21.5.18:4000".parse().unwrap()],
        ..Default::default()
    };
    report.proxied = [(("10.20.30.40".parse().unwrap(), "10.0.0.9".parse().unwrap()), pair)].into();
    let text = "10.21.0.0/16: NOT SEEN as itself. PROXY headers of 10.0.0.9 name it as their client (claimed).";
    assert!(flat(&report).contains(text), "{}", flat(&report));
}

#[test]
fn messages_without_a_header_do_not_go_unsaid() {
    let mut report = plain(Vec::new());
    report.ledgers.messages.buckets = vec![("udp", 2), ("undecodable", 2)];
    assert!(flat(&report).contains(
        "NO CLIENT QUERIES could be read 2 messages without a whole header could not be read; they may be refusals"
    ));
}

#[test]
fn a_client_among_joined_sources_is_not_called_unseen() {
    let mut report = plain(vec![source("10.0.0.0/8", "10.20.30.40").with(Outcome::Unanswered, 9)]);
    report.focus = vec!["10.21.5.18/32".parse().unwrap()];
    assert!(line(&report, "10.21.5.18").starts_with("10.21.5.18: NOT KNOWN. It may be among sources"));
}

#[test]
fn statements_break_only_where_the_grade_changes() {
    assert_eq!(
        statements("Observed: a. b. Observed: c. Inferred: d. e."),
        ["Observed: a. b.", "Observed: c.", "Inferred: d. e."]
    );
    assert_eq!(statements("Plain. Text."), ["Plain. Text."]);
}
