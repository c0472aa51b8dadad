use super::*;
use crate::capture::losses::InterfaceLoss;
use crate::decode::FAULTY_FRAME;
use crate::report::{CaptureLedger, Ledgers};
use std::ffi::OsString;

#[derive(Default)]
struct Lines(Vec<String>);

impl Console for Lines {
    fn line(&mut self, text: &str) {
        self.0.push(text.to_string());
    }
}

/// An Ethernet frame of an IPv4 packet.
fn frame(client: [u8; 4], server: [u8; 4], tcp: bool, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(client, server, 64);
    let mut bytes = Vec::new();
    let written = if tcp {
        builder.tcp(ports.0, ports.1, 1, 100).syn().write(&mut bytes, payload)
    } else {
        builder.udp(ports.0, ports.1).write(&mut bytes, payload)
    };
    written.unwrap();
    bytes
}

/// Reads a capture of these frames: exit code, lines on standard error, and the report.
fn run(frames: &[&[u8]]) -> (u8, Vec<String>, serde_json::Value) {
    let (code, lines, report) = run_at(&frames.iter().map(|frame| (0, *frame)).collect::<Vec<_>>(), "json");
    (code, lines, serde_json::from_str(&report).unwrap())
}

/// Reads a capture of frames, each this many seconds after its beginning: exit code, lines on standard error, and the
/// report.
fn run_at(frames: &[(u32, &[u8])], format: &str) -> (u8, Vec<String>, String) {
    run_with(frames, format, "", &[])
}

/// The same with an inventory, unless it is empty, and further arguments.
fn run_with(frames: &[(u32, &[u8])], format: &str, inventory: &str, further: &[&str]) -> (u8, Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let expect = folder.path().join("expect.csv");
    std::fs::write(&expect, inventory).unwrap();
    let expect = ["--expect", expect.to_str().unwrap()];
    let expect = if inventory.is_empty() { &[][..] } else { &expect };
    run_files(&[frames], &[&["--format", format], expect, further].concat())
}

/// The same for several captures, with these arguments.
fn run_files(captures: &[&[(u32, &[u8])]], arguments: &[&str]) -> (u8, Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("report");
    let arguments = [&["dnsrefused", "read", "--threads", "1"], arguments, &["-o"]].concat();
    let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
    arguments.push(output.clone().into());
    for (number, frames) in captures.iter().enumerate() {
        let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
        for (second, frame) in *frames {
            let len = frame.len() as u32;
            bytes.extend([1_700_000_000 + second, 0, len, len].map(u32::to_le_bytes).concat());
            bytes.extend(*frame);
        }
        let input = folder.path().join(number.to_string());
        std::fs::write(&input, bytes).unwrap();
        arguments.push(input.into());
    }
    let crate::cli::Parsed::Run(config) = crate::cli::parse(arguments).unwrap() else { panic!("not a run") };
    let mut lines = Lines::default();
    let code = read(&config, &mut lines, &Arc::new(AtomicBool::new(false))).unwrap();
    (code, lines.0, std::fs::read_to_string(&output).unwrap())
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

#[test]
fn encrypted_connections_do_not_go_unsaid() {
    let (client, server, other) = ([10, 0, 0, 1], [10, 0, 0, 53], [192, 0, 2, 80]);
    let query = frame(client, server, false, (4000, 53), QUERY);
    let answer = frame(server, client, false, (53, 4000), ANSWER);
    let connections = [(server, 853), (server, 853), (server, 443), (other, 443), (server, 80)]
        .map(|(server, port)| frame(client, server, true, (4000, port), b""));
    let frames: Vec<&[u8]> = [&query, &answer].into_iter().chain(&connections).map(Vec::as_slice).collect();
    let (code, _, report) = run(&frames);
    assert_eq!(code, 0);
    let note = "Encrypted, so not read: 1 connection to port 443 of 10.0.0.53 (perhaps DNS over HTTPS), 2 connections \
                to port 853 of 10.0.0.53 (DNS over TLS or QUIC). Who was turned away there is not known.";
    assert_eq!(report["notes"], serde_json::json!([note]));
}

#[test]
fn a_refusal_after_the_time_out_is_not_nothing() {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 53]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let query = frame(client, server, false, (4000, 53), QUERY);
    let refused = frame(server, client, false, (53, 4000), &refusal);
    for (second, headline) in [(1, "REFUSED 1 of 1 client query"), (7, "REFUSED 1 response after the time-out")] {
        let (code, _, page) = run_at(&[(0, &query), (second, &refused)], "text");
        assert_eq!(code, 0);
        assert!(page.contains(&format!("\n{headline}")), "{page}");
    }
}

/// A page as one line.
fn flat(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn whoever_was_seen_is_not_called_absent() {
    let (office, branch, other, server) = ([10, 1, 0, 1], [192, 0, 2, 1], [192, 0, 2, 2], [10, 0, 0, 53]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let talk = [
        frame(office, server, false, (4000, 53), QUERY),
        frame(server, office, false, (53, 4000), ANSWER),
        frame(other, server, false, (4000, 53), QUERY),
        frame(server, other, false, (53, 4000), &refusal),
    ];
    let quoted = frame(branch, server, false, (4000, 53), QUERY);
    let mut prohibited = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], branch, 64)
        .icmpv4_raw(3, 13, [0; 4])
        .write(&mut prohibited, &quoted[14..])
        .unwrap();
    let mut fragment = frame(branch, server, false, (4000, 53), &QUERY[..16]);
    fragment[20] |= 0x20;
    let signs = [
        fragment,
        frame(branch, server, true, (4000, 53), b""),
        frame(branch, server, false, (4000, 53), &QUERY[..11]),
        frame(server, branch, false, (53, 4000), &ANSWER[..11]),
        prohibited,
    ];
    for sign in [None].into_iter().chain(signs.iter().map(Some)) {
        let frames: Vec<(u32, &[u8])> = sign.into_iter().chain(&talk).map(|frame| (0, frame.as_slice())).collect();
        let page = run_with(&frames, "text", "10.1.0.0/16\n192.0.2.1\n", &["--client", "192.0.2.1"]).2;
        let (page, seen) = (flat(&page), sign.is_some());
        for (text, expected) in [
            (
                "192.0.2.1: NOT SEEN. No DNS traffic from it or to it is in this capture; if it asked meanwhile, its",
                !seen,
            ),
            ("Inferred: 192.0.2.1 may arrive as 192.0.2.2", !seen),
            ("expected-never-seen", !seen),
            ("192.0.2.1: SEEN, but no message from it or to it could be read", seen),
            ("Seen only: 1 source on a DNS port", seen),
            ("REFUSED 1 of 2 client queries (50.0 %), 1 source; answered 1", true),
        ] {
            assert_eq!(page.contains(text), expected, "{text}: {page}");
        }
        let json = run_with(&frames, "json", "10.1.0.0/16\n192.0.2.1\n", &[]).2;
        assert_eq!(json.contains("\"without_message\":true"), seen, "{json}");
    }
}

#[test]
fn what_was_not_looked_at_is_not_called_absent() {
    let (early, late, server) = ([192, 0, 2, 1], [192, 0, 2, 2], [10, 0, 0, 53]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let talk = [
        (0, frame(early, server, false, (4000, 53), QUERY)),
        (20, frame(late, server, false, (4000, 53), QUERY)),
        (21, frame(server, late, false, (53, 4000), &refusal)),
    ];
    let frames: Vec<(u32, &[u8])> = talk.iter().map(|(second, frame)| (*second, frame.as_slice())).collect();
    let further = ["--from", "1700000019.5", "--client", "192.0.2.1", "--client", "10.0.0.53"];
    let page = flat(&run_with(&frames, "text", "192.0.2.1\n", &further).2);
    for text in [
        "looked at (--from, --to): 2023-11-14 22:13:39Z to 22:13:41Z, 2 frames",
        "192.0.2.1: NOT SEEN. No DNS traffic from it or to it is in what was read of this capture. 1 frame",
        "10.0.0.53: SEEN as a server, not as a client. Clients there: 1 source, refused 1",
        "in the same 1.5 s.",
        "in 2 of 3 frames from 2023-11-14T22:13:39Z to 2023-11-14T22:13:41Z",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = flat(&run_with(&frames, "text", "", &["--client", "192.0.2.1"]).2);
    assert!(page.contains("192.0.2.1: SEEN: 1 source, unanswered 1"), "{page}");
}

#[test]
fn the_first_queries_after_hours_without_any_are_in_time() {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 53]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let query = frame(client, server, false, (4000, 53), QUERY);
    let refused = frame(server, client, false, (53, 4000), &refusal);
    let frames: Vec<(u32, &[u8])> =
        (0..6).flat_map(|round| [(round * 7200, query.as_slice()), (round * 7200 + 1, &refused)]).collect();
    assert!(run_at(&frames, "text").2.contains("\nREFUSED 6 of 6 client queries"));
}

#[test]
fn a_refusal_that_ends_no_query_is_named_and_its_client_is_not_absolved() {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 53]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let mut other = refusal.clone();
    other[13] = b'b';
    let query = frame(client, server, false, (4000, 53), QUERY);
    let [answer, refusal, other] =
        [ANSWER, &refusal, &other].map(|message| frame(server, client, false, (53, 4000), message));
    for (frames, headline) in [
        (vec![(0, query.as_slice()), (1, &answer), (2, &refusal)], "REFUSED 1 response after another response"),
        (vec![(0, &query), (1, &other)], "REFUSED 1 response with another question"),
        (vec![(0, &query), (1, &refusal), (2, &refusal)], "REFUSED 1 of 1 client query (100 %), 1 source\n\n"),
    ] {
        let page = run_at(&frames, "text").2;
        assert!(page.contains(&format!("\n{headline}")), "{page}");
        assert!(page.contains("\n10.0.0.1 "), "it stands in the table: {page}");
        assert!(!page.contains("Not turned away"), "{page}");
    }
}

#[test]
fn silence_is_not_said_of_what_was_not_looked_at() {
    let (client, other, server) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 53]);
    let (query, another) = [client, other].map(|from| frame(from, server, false, (4000, 53), QUERY)).into();
    let (answer, answer_another) = [client, other].map(|to| frame(server, to, false, (53, 4000), ANSWER)).into();
    let (early, late) = ([(0, &*query), (0, &*another), (0, &*answer_another)], [(20, &*another)]);
    let answered = [&early[..], &[(3, &answer)], &late].concat();
    let silent = [&early[..], &late].concat();
    let to = ["--to", "1700000001"];
    let complete = kernel_filter::dns(&[53], kernel_filter::ETHERNET);
    for (captures, vantage, arguments, outcome) in [
        (&[&silent[..]][..], "server", &[][..], "silent"),
        (&[&answered], "server", &[], "answered"),
        (&[&silent], "path", &[], "unanswered"),
        (&[&silent], "server", &["--filter", "not port 54"], "unanswered"),
        (&[&silent], "server", &["--filter", &complete], "silent"),
        (&[&answered], "server", &to, "unanswered"),
        (&[&silent], "server", &to, "unanswered"),
        // Of three files the one in the middle is missing.
        (&[&early, &late], "server", &[], "unanswered"),
        (&[&early, &[(3, &answer)], &late], "server", &[], "answered"),
    ] {
        let arguments = [&["--format", "json", "--vantage", vantage], arguments].concat();
        let (code, lines, report) = run_files(captures, &arguments);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let of_client = report["sources"].as_array().unwrap().iter().find(|line| line["source"] == "10.0.0.1");
        assert_eq!((code, &of_client.unwrap()[outcome]), (0, &serde_json::json!(1)), "{arguments:?} {lines:?}");
    }
}

#[test]
fn nobody_becomes_a_server_by_what_nobody_asked_for_or_only_its_own_server_asked() {
    let (client, server, other) = ([10, 0, 0, 1], [10, 0, 0, 53], [10, 0, 0, 9]);
    let refusal = [&ANSWER[..3], &[0x85], &ANSWER[4..]].concat();
    let query = frame(client, server, false, (4000, 53), QUERY);
    let refused = frame(server, client, false, (53, 4000), &refusal);
    let unasked = frame(client, server, false, (53, 5000), ANSWER);
    let asked_back = frame(server, client, false, (5000, 53), QUERY);
    let asked = frame(other, client, false, (5000, 53), QUERY);
    let answered = frame(client, other, false, (53, 5000), ANSWER);
    for (more, said) in [
        (vec![], "REFUSED 1 of 1 client query"),
        (vec![(2, unasked.as_slice())], "REFUSED 1 of 1 client query"),
        (vec![(2, &asked_back), (3, &unasked)], "REFUSED 1 of 2 client queries"),
        // A forwarder: what it asks is not of a client.
        (vec![(2, &asked), (3, &answered)], "NOTHING REFUSED of 1 client query"),
    ] {
        let frames = [vec![(0, query.as_slice()), (1, &refused)], more].concat();
        let page = run_at(&frames, "text").2;
        assert!(page.contains(&format!("\n{said}")), "{page}");
    }
    let page = run_at(&[(0, &query)], "text").2;
    assert!(page.contains("\nNO RESPONSES are in the capture; 1 client query: unanswered 1\n"), "{page}");
}

#[test]
fn of_two_queries_that_a_refusal_without_a_question_may_belong_to_neither_is_named() {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 53]);
    let mut second = QUERY.to_vec();
    second[13] = b'b';
    let refused = [&ANSWER[..3], &[0x85, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let [query, second] = [QUERY, &second].map(|query| frame(client, server, false, (4000, 53), query));
    let refused = frame(server, client, false, (53, 4000), &refused);
    let rows = |frames: &[(u32, &[u8])]| run_at(frames, "csv").2;
    assert!(rows(&[(0, &query), (1, &refused)]).contains(",QUERY,a,A,IN,restored,"));
    let both = rows(&[(0, &query), (1, &second), (2, &refused), (3, &refused)]);
    assert_eq!(both.matches(",QUERY,,,,unknown,").count(), 2, "{both}");
}

#[test]
fn a_fault_in_one_frame_costs_that_frame_and_the_exit_code() {
    let query = frame([10, 0, 0, 1], [10, 0, 0, 2], false, (4000, 53), QUERY);
    let (code, lines, report) = run(&[&query, FAULTY_FRAME, &query, FAULTY_FRAME]);
    assert_eq!(code, 7, "{lines:?}");
    for (line, frame) in lines.iter().zip([2, 4]) {
        assert!(line.contains("E-FAULT") && line.contains(&format!("frame {frame} could not be decoded")), "{line}");
    }
    assert_eq!(lines.len(), 2);
    let packets = &report["ledgers"]["packets"];
    let counts = ["frames", "udp_dns", "internal_fault", "closed"].map(|bucket| packets[bucket].to_string());
    assert_eq!(counts, ["4", "2", "2", "true"]);
}

#[test]
fn one_packet_that_was_lost_is_one() {
    let lost = |kernel: u64, interface: u64, own: u64| {
        let interface_dropped = InterfaceLoss::Exactly(interface);
        let capture = CaptureLedger { seen: kernel, dropped: kernel, interface_dropped, ..CaptureLedger::default() };
        let closed = || Ledger { closed: true, ..Ledger::default() };
        let ledgers = Ledgers {
            packets: closed(),
            messages: closed(),
            matches: closed(),
            bytes: closed(),
            outputs: closed(),
            capture: Some(capture),
            ..Ledgers::default()
        };
        let report = Report { ledgers, ..Report::default() };
        let mut lines = Lines::default();
        let code = conclude(&Config::default(), &report, &[], own, Ok(()), &mut lines);
        lines.0.push(report.caveats());
        (code, lines.0)
    };
    let (code, lines) = lost(1, 1, 1);
    assert_eq!(code, 4);
    for said in [
        "warning: 1 packet was lost: 1 by the kernel",
        "warning: 1 packet of any traffic was lost by the interface",
        "warning: 1 transaction or connection was given up",
        "which lost 1 packet; its interface lost 1 of any traffic",
    ] {
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
    let (_, lines) = lost(2, 3, 4);
    for said in [
        "warning: 2 packets were lost: 2 by the kernel",
        "warning: 3 packets of any traffic were lost by the interface",
        "warning: 4 transactions or connections were given up",
        "which lost 2 packets; its interface lost 3 of any traffic",
    ] {
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
    let (code, lines) = lost(0, 0, 0);
    assert_eq!((code, lines.len()), (0, 1));
    assert!(lines[0].contains("which lost no packets."), "{lines:?}");
}

/// An Ethernet frame of an IPv6 packet with a message, to the server or from it.
fn frame_v6(to_server: bool, message: &[u8]) -> Vec<u8> {
    let (client, server) = ([[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [1; 4]].concat(), [2; 16]);
    let client: [u8; 16] = client.try_into().unwrap();
    let (ends, ports) = if to_server { ((client, server), (4000, 53)) } else { ((server, client), (53, 4000)) };
    let mut bytes = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(ends.0, ends.1, 64);
    builder.udp(ports.0, ports.1).write(&mut bytes, message).unwrap();
    bytes
}

#[test]
fn what_two_inputs_may_both_hold_is_said_and_what_was_sent_again_after_a_cut_is_not() {
    let asked: Vec<Vec<u8>> = (0..3).map(|id| frame_v6(true, &[&[0, id], &QUERY[2..]].concat())).collect();
    let told: Vec<Vec<u8>> = (0..3).map(|id| frame_v6(false, &[&[0, id], &ANSWER[2..]].concat())).collect();
    let other = frame([10, 0, 0, 1], [10, 0, 0, 53], false, (4000, 53), QUERY);
    let query = |second: u32, id: usize| (second, &*asked[id]);
    let queries = [query(0, 0), query(1, 1), query(2, 2)];
    let talk = [queries[0], (0, &*told[0]), queries[1], (1, &*told[1]), queries[2], (2, &*told[2])];
    let says = |many: &str| {
        format!(
            "{many} the bytes, addresses and ports of an earlier one in another input, within 10 ms and without an IPv4 \
             identification: where inputs hold the same packets, what was asked once counts as retransmitted, or twice."
        )
    };
    for (about, captures, transactions, retransmitted, said) in [
        ("the same, unanswered", [&queries[..], &queries[..]], 3, 3, Some(says("3 queries have"))),
        ("the same, answered", [&talk[..], &talk[..]], 6, 0, Some(says("3 queries have"))),
        ("a part", [&talk[..], &[query(1, 1), query(2, 0)]], 5, 0, Some(says("1 query has"))),
        ("sent again after a cut", [&queries[..2], &[query(1, 1), query(2, 2)]], 3, 1, None),
        (
            "sent again, as one of them alone holds",
            [&[query(0, 0), query(1, 1), query(1, 1)], &[(0, &*other), (2, &*other)]],
            3,
            2,
            None,
        ),
        ("sent again later", [&queries[..], &[query(1, 0), query(2, 1)]], 3, 2, None),
        ("no capture of the same time", [&queries[..], &[query(20, 0), query(21, 1)]], 5, 0, None),
    ] {
        let (code, _, report) = run_files(&captures, &["--format", "json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(code, 0, "{about}");
        assert_eq!(report["totals"]["transactions"], transactions, "{about}");
        assert_eq!(report["ledgers"]["matches"]["retransmitted"].as_u64().unwrap_or(0), retransmitted, "{about}");
        let notes: Vec<String> = said.into_iter().collect();
        assert_eq!(report["notes"], serde_json::json!(notes), "{about}");
        assert_eq!(report["anomalies"]["again_in_other_inputs"].is_null(), notes.is_empty(), "{about}");
        let (_, _, page) = run_files(&captures, &["--format", "text"]);
        assert_eq!(flat(&page).contains("where inputs hold the same packets"), !notes.is_empty(), "{about}: {page}");
    }
    // One file alone shows nothing.
    let (_, _, report) = run_at(&[queries, queries].concat(), "json");
    assert!(!report.contains("in_other_input"), "{report}");
}
