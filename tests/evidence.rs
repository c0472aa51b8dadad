//! Findings say no more than the packets show: small captures made here, evaluated with a server's file.

#[path = "evidence/changed_address.rs"]
mod changed_address;
#[path = "evidence/handed_on.rs"]
mod handed_on;
#[path = "evidence/known_names.rs"]
mod known_names;
#[path = "evidence/many_servers.rs"]
mod many_servers;
#[path = "evidence/places.rs"]
mod places;
#[path = "evidence/silence.rs"]
mod silence;

use assert_cmd::Command;
use etherparse::PacketBuilder;
use serde_json::Value;
use std::path::Path;

const SERVER: [u8; 4] = [10, 20, 30, 40];
const CLIENT: [u8; 4] = [10, 9, 9, 9];
const OTHER: [u8; 4] = [10, 20, 0, 7];
const MILLI: u64 = 1000;
const SECOND: u64 = 1000 * MILLI;

/// A message about `a.example`, or an update of the zone `example`, with an operation and a response code, that is
/// signed or not, and extends its code or not.
fn message(id: u16, response: bool, opcode: u8, rcode: u16) -> Vec<u8> {
    let flags = u16::from(response) << 15 | u16::from(opcode) << 11 | 0x0100 | rcode & 15;
    let counts = [1, 0, 0, u16::from(rcode > 15)];
    let numbers = [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes);
    let (name, kind): (&[u8], u8) = if opcode == 5 { (b"\x07example\0", 6) } else { (b"\x01a\x07example\0", 1) };
    let mut bytes: Vec<u8> = numbers.chain(name.iter().copied()).chain([0, kind, 0, 1]).collect();
    if rcode > 15 {
        bytes.extend([0, 0, 41, 4, 208, (rcode >> 4) as u8, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// A time in microseconds, and a datagram between a client's port 4000 and the server.
fn packet(time: u64, client: [u8; 4], message: &[u8]) -> (u64, Vec<u8>) {
    let response = message[2] & 0x80 != 0;
    let (from, to, ports) = if response { (SERVER, client, (53, 4000)) } else { (client, SERVER, (4000, 53)) };
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).udp(ports.0, ports.1);
    builder.write(&mut bytes, message).unwrap();
    (time, bytes)
}

/// A client's query at a time, and its response.
fn asked(time: u64, client: [u8; 4], id: u16, opcode: u8, rcodes: &[u16]) -> Vec<(u64, Vec<u8>)> {
    let query = packet(time, client, &message(id, false, opcode, 0));
    let responses =
        (1..).zip(rcodes).map(|(at, rcode)| packet(time + at * MILLI, client, &message(id, true, opcode, *rcode)));
    std::iter::once(query).chain(responses).collect()
}

/// The same packet from or to another address of the server.
fn at_another_address((time, mut bytes): (u64, Vec<u8>)) -> (u64, Vec<u8>) {
    let ends = &mut bytes[26..34];
    let at = if ends[..4] == SERVER { 3 } else { 7 };
    ends[at] += 1;
    (time, bytes)
}

/// A capture of these packets.
fn of_ethernet(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut capture: Vec<u8> =
        [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    for (time, bytes) in packets {
        let numbers = [1_700_000_000 + time / SECOND, time % SECOND, bytes.len() as u64, bytes.len() as u64];
        capture.extend(numbers.into_iter().flat_map(|number| (number as u32).to_le_bytes()));
        capture.extend(bytes);
    }
    capture
}

/// The findings about these packets, captured at the server and evaluated with a named.conf.
fn findings(folder: &Path, file: &str, packets: &[(u64, Vec<u8>)]) -> Vec<Value> {
    findings_at("server", folder, file, packets)
}

/// The same for a capture that may have been taken elsewhere.
fn findings_at(vantage: &str, folder: &Path, file: &str, packets: &[(u64, Vec<u8>)]) -> Vec<Value> {
    let capture = of_ethernet(packets);
    for (name, bytes) in
        [("server.pcap", capture.as_slice()), ("named.conf", file.as_bytes()), ("expect.csv", b"10.9.9.0/24\n")]
    {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let arguments = ["read", "server.pcap", "--expect", "expect.csv", "--acl", "bind:named.conf", "--vantage", vantage];
    let mut command = Command::cargo_bin("dnsrefused").unwrap();
    let output = command.current_dir(folder).args(arguments).args(["--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"].as_array().unwrap().clone()
}

/// Severity, statement and advice of the finding of a kind.
fn of_kind<'f>(findings: &'f [Value], kind: &str) -> Option<(&'f str, &'f str, &'f str)> {
    let found = findings.iter().find(|finding| finding["kind"] == kind)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    Some((text("severity"), text("says"), text("advice")))
}

#[test]
fn a_file_that_also_listens_elsewhere_speaks_for_other_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let body =
        "options { recursion no; allow-query { 10.20.0.0/16; }; LISTEN }; zone example { type primary; file \"x\"; };";
    for (listen, speaks) in [
        ("", true),
        ("listen-on { 192.0.2.53; };", false),
        ("listen-on { 192.0.2.53; any; };", true),
        ("listen-on { 192.0.2.53; 10.0.0.0/8; };", true),
        ("listen-on port 5353 { 192.0.2.53; }; listen-on { any; };", true),
        ("listen-on-v6 { 2001:db8::53; };", true),
        ("listen-on { none; }; listen-on-v6 { 2001:db8::53; };", false),
    ] {
        let found = findings(folder.path(), &body.replace("LISTEN", listen), &asked(0, CLIENT, 1, 0, &[5]));
        assert_eq!(of_kind(&found, "acl-refuses-expected").is_some(), speaks, "{listen}: {found:?}");
    }
}

#[test]
fn nobody_is_advised_to_open_a_list_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let key = "key ddns { algorithm hmac-sha256; secret \"c2VjcmV0\"; };";
    let zone = format!("{key} zone example {{ type primary; file \"x\"; allow-update {{ key ddns; }}; }};");
    let found = findings(folder.path(), &zone, &asked(0, CLIENT, 1, 5, &[5]));
    assert!(of_kind(&found, "listed-source-refused").is_some(), "{found:?}");
    let advice: String = found.iter().filter_map(|finding| finding["advice"].as_str()).collect();
    assert!(!advice.contains("add 10.9.9.9") && of_kind(&found, "acl-refuses-expected").is_none(), "{found:?}");
    // For ordinary queries the key is named, and the address may be added instead.
    let query = format!(
        "{key} options {{ recursion no; allow-query {{ key ddns; }}; }}; zone example {{ type primary; file \"x\"; }};"
    );
    let found = findings(folder.path(), &query, &asked(0, CLIENT, 1, 0, &[5]));
    let (_, _, advice) = of_kind(&found, "acl-refuses-expected").unwrap();
    assert!(
        advice.starts_with("Signed with the key ddns it is allowed already") && advice.contains("add 10.9.9.9;"),
        "{advice}"
    );
}

#[test]
fn an_error_is_no_exposure() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { allow-query { 10.20.0.0/16; }; }; zone example { type primary; file \"x\"; };";
    for (rcode, exposed) in [(0, true), (3, true), (1, false), (2, false), (4, false), (16, false), (23, false)] {
        let packets = [asked(0, CLIENT, 1, 0, &[5]), asked(SECOND, CLIENT, 2, 0, &[rcode])].concat();
        let found = findings(folder.path(), file, &packets);
        assert_eq!(of_kind(&found, "acl-exposure").is_some(), exposed, "{rcode}: {found:?}");
    }
}

#[test]
fn one_source_is_spoken_of_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let of = |packets: &[(u64, Vec<u8>)]| {
        let found = findings(folder.path(), "options { allow-query { any; }; };", packets);
        of_kind(&found, "acl-drift").unwrap().1.to_owned()
    };
    let refused = asked(0, CLIENT, 1, 0, &[5]);
    let answered = asked(SECOND, CLIENT, 2, 0, &[0]);
    let other = asked(2 * SECOND, OTHER, 3, 0, &[5]);
    for (packets, says) in [
        (
            refused.clone(),
            "for 10.9.9.9, but on the wire it was refused once by 10.20.30.40; none of its other requests under this rule was \
             answered there in time.",
        ),
        (
            [refused.clone(), answered].concat(),
            "for 10.9.9.9, but on the wire it was refused once by 10.20.30.40; 1 other request of its own under this rule was \
             answered there.",
        ),
        (
            [refused.clone(), other].concat(),
            "for 2 sources (10.9.9.9, 10.20.0.7), but on the wire they were refused 2 times by 10.20.30.40; none of their \
             other requests under this rule was answered there in time.",
        ),
    ] {
        let said = of(&packets);
        assert!(said.ends_with(says), "{said}");
    }
    // Without an inventory: what is refused as the file intends.
    std::fs::write(folder.path().join("server.pcap"), of_ethernet(&refused)).unwrap();
    std::fs::write(folder.path().join("named.conf"), "options { allow-query { none; }; };").unwrap();
    let arguments = ["read", "server.pcap", "--acl", "bind:named.conf", "--vantage", "server", "--format", "json"];
    let output = Command::cargo_bin("dnsrefused").unwrap().current_dir(folder.path()).args(arguments).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (_, said, _) = of_kind(report["findings"].as_array().unwrap(), "refused-as-intended").unwrap();
    let says = "says refuse for 10.9.9.9, and on the wire it was refused once by 10.20.30.40: as the file means it.";
    assert!(said.ends_with(says), "{said}");
}

#[test]
fn an_answer_after_the_refusal_is_not_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { allow-query { none; }; }; zone example { type primary; file \"x\"; };";
    for (rcodes, severity, text) in [
        (&[5][..], "critical", "none of its queries was answered there in time."),
        (
            &[5, 0],
            "warning",
            "none of its other queries was answered there in time; 1 refused query was answered by a second response.",
        ),
        (&[5, 5], "critical", "none of its queries was answered there in time."),
    ] {
        let found = findings(folder.path(), file, &asked(0, CLIENT, 1, 0, rcodes));
        let found = of_kind(&found, "listed-source-refused").unwrap();
        assert!(found.0 == severity && found.1.ends_with(text), "{rcodes:?}: {found:?}");
    }
    // One of two refused queries was also answered, three times.
    let packets = [asked(0, CLIENT, 1, 0, &[5, 0, 0, 0]), asked(SECOND, CLIENT, 2, 0, &[5])].concat();
    let found = findings(folder.path(), file, &packets);
    let (severity, says, _) = of_kind(&found, "listed-source-refused").unwrap();
    assert!(
        severity == "critical" && says.ends_with("; 1 refused query was answered by a second response."),
        "{found:?}"
    );
}

/// A query of a client for a name of two labels, of a class and with the signature of the key `ddns` or without, and
/// its response.
fn asked_for(
    time: u64,
    client: [u8; 4],
    id: u16,
    [first, second]: [&str; 2],
    class: u8,
    rcode: u16,
    signature_error: Option<u16>,
) -> Vec<(u64, Vec<u8>)> {
    let message = |response: bool| {
        let flags = u16::from(response) << 15 | 0x0100 | if response { rcode } else { 0 };
        let counts = [1, 0, 0, u16::from(signature_error.is_some())];
        let mut bytes: Vec<u8> = [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect();
        for label in [first, second] {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, if class == 3 { 16 } else { 1 }, 0, class]);
        if let Some(error) = signature_error {
            let algorithm = b"\x0bhmac-sha256\0";
            bytes.extend(b"\x04ddns\0\0\xfa\0\xff\0\0\0\0");
            bytes.extend((algorithm.len() as u16 + 16).to_be_bytes());
            bytes.extend(algorithm);
            bytes.extend([0, 0, 0x65, 0x53, 0xf1, 0, 1, 44, 0, 0]);
            bytes.extend(id.to_be_bytes());
            bytes.extend(if response { error } else { 0 }.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes
    };
    vec![packet(time, client, &message(false)), packet(time + MILLI, client, &message(true))]
}

#[test]
fn a_refused_signature_is_no_drift_whatever_the_response_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = "key ddns { algorithm hmac-sha256; secret \"c2VjcmV0\"; };
view keyed { match-clients { key ddns; }; recursion no; zone example { type primary; file \"x\"; }; };";
    // BADSIG is 16 (RFC 8945 section 5.3.2): without its key, the client is in no view.
    for (error, drift) in [(Some(16), false), (Some(0), true)] {
        let found = findings(folder.path(), file, &asked_for(0, CLIENT, 1, ["a", "example"], 1, 5, error));
        assert_eq!(of_kind(&found, "acl-drift").is_some(), drift, "{error:?}: {found:?}");
    }
}

#[test]
fn where_a_query_was_sent_is_mended_by_no_list_of_sources() {
    let folder = tempfile::tempdir().unwrap();
    let keyed = "key ddns { algorithm hmac-sha256; secret \"c2VjcmV0\"; };
view keyed { match-clients { key ddns; }; recursion no; zone example { type primary; file \"x\"; }; };";
    for on in ["127.0.0.1", "!10.20.30.40; any"] {
        let file = format!(
            "{keyed}\nview all {{ match-clients {{ any; }}; recursion no; allow-query-on {{ {on}; }}; \
             zone example {{ type primary; file \"x\"; }}; }};"
        );
        let found = findings(folder.path(), &file, &asked(0, CLIENT, 1, 0, &[5]));
        let (_, _, advice) = of_kind(&found, "acl-refuses-expected").unwrap();
        assert!(advice.contains("No list was found") && advice.contains("allow-query-on"), "{advice}");
        assert!(!advice.contains(" add "), "{advice}");
    }
}

#[test]
fn what_asks_about_the_server_itself_is_judged_in_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { recursion no; allow-query { 10.20.0.0/16; }; }; zone example { type primary; file \"x\"; };";
    let packets = [
        asked_for(0, CLIENT, 1, ["a", "example"], 1, 5, None),
        asked_for(SECOND, [10, 20, 0, 9], 2, ["version", "bind"], 3, 0, None),
    ];
    let found = findings(folder.path(), file, &packets.concat());
    let (_, says, advice) = of_kind(&found, "acl-refuses-expected").unwrap();
    assert!(says.contains("(asked for a.example A)"), "{says}");
    assert!(
        advice.contains("Nothing else that was looked at of what was asked here would be treated differently."),
        "{advice}"
    );
}

#[test]
fn of_refusals_only_those_by_the_same_rule_agree_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { recursion no; };
zone example { type primary; file \"x\"; allow-query { 10.20.0.0/16; }; };";
    // The other name is in no zone, and recursion is off.
    let other = |time, id| asked_for(time, CLIENT, id, ["a", "other"], 1, 5, None);
    let packets = [
        asked(0, CLIENT, 1, 0, &[5]),
        other(SECOND, 2),
        other(2 * SECOND, 3),
        asked_for(3 * SECOND, OTHER, 4, ["a", "example"], 1, 0, None),
    ];
    let found = findings(folder.path(), file, &packets.concat());
    let (severity, says, _) = of_kind(&found, "acl-refuses-expected").unwrap();
    assert_eq!(severity, "critical");
    assert!(says.ends_with("the wire agrees: 10.9.9.9 turned away once by 10.20.30.40."), "{says}");
}

#[test]
fn an_error_is_no_answer_to_somebody_unlisted() {
    let folder = tempfile::tempdir().unwrap();
    for (rcode, answered) in [(0, true), (3, true), (1, false), (2, false), (4, false)] {
        let packets = [asked(0, OTHER, 1, 0, &[5]), asked(SECOND, OTHER, 2, 0, &[rcode])].concat();
        let found = findings(folder.path(), "options { };", &packets);
        assert_eq!(of_kind(&found, "unlisted-source-answered").is_some(), answered, "{rcode}: {found:?}");
    }
}

#[test]
fn whom_a_list_gives_recursion_is_not_covered_by_any_alone() {
    // named 9.18 answers 10.20.0.7 with RA and an address, and sends 10.9.9.9 a referral without RA.
    let folder = tempfile::tempdir().unwrap();
    let file = "options { allow-query { any; }; allow-query-cache { any; }; allow-recursion { LIST }; };";
    let says = |list: &str, clients: &[[u8; 4]]| {
        let packets: Vec<_> =
            (1..).zip(clients).flat_map(|(id, client)| asked(u64::from(id) * MILLI, *client, id, 0, &[0])).collect();
        let found = findings(folder.path(), &file.replace("LIST", list), &packets);
        of_kind(&found, "covered-only-by-any").map(|(_, says, _)| says.to_owned())
    };
    assert_eq!(says("10.20.0.0/16;", &[OTHER]), None);
    let both = says("10.20.0.0/16;", &[OTHER, OTHER, CLIENT]).unwrap();
    assert!(both.contains("10.9.9.9") && !both.contains("10.20.0.7"), "{both}");
    assert!(both.ends_with("everybody for whom no other line decides is served likewise."), "{both}");
    let alike = says("none;", &[OTHER, CLIENT]).unwrap();
    assert!(alike.contains("10.20.0.7") && alike.ends_with("everybody else is served likewise."), "{alike}");
}

#[test]
fn each_rule_speaks_for_the_part_of_a_line_that_it_decides() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { recursion no; allow-query {\n!10.9.9.128/25;\n!10.9.9.0/28;\nany; }; };
zone example { type primary; file \"x\"; };";
    let found = findings(folder.path(), file, &asked(0, CLIENT, 1, 0, &[5]));
    let said: Vec<(&str, &str)> = found
        .iter()
        .filter(|finding| finding["kind"] == "acl-refuses-expected")
        .map(|finding| (finding["severity"].as_str().unwrap(), finding["says"].as_str().unwrap()))
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!((said[0].0, said[1].0), ("critical", "warning"), "{said:?}");
    assert!(said[0].1.contains("named.conf:3 (!10.9.9.0/28;) says refuse for 10.9.9.0/28 at"), "{said:?}");
    assert!(said[0].1.contains("the wire agrees: 10.9.9.9 turned away once"), "{said:?}");
    assert!(said[1].1.contains("named.conf:2 (!10.9.9.128/25;) says refuse for 10.9.9.128/25 at"), "{said:?}");
    assert!(!said[1].1.contains("agrees") && said[1].1.contains("No request from there was seen here"), "{said:?}");
}

/// A capture of all interfaces of a host (SLL2): whether each packet leaves, with its time and IP packet.
fn of_any_interface(packets: &[(bool, (u64, Vec<u8>))]) -> Vec<u8> {
    let mut capture: Vec<u8> =
        [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 276].into_iter().flat_map(u32::to_le_bytes).collect();
    for (leaves, (time, bytes)) in packets {
        let direction = if *leaves { 4 } else { 0 };
        let header = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, direction, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        let bytes = [&header[..], &bytes[14..]].concat();
        let numbers = [1_700_000_000 + time / SECOND, time % SECOND, bytes.len() as u64, bytes.len() as u64];
        capture.extend(numbers.into_iter().flat_map(|number| (number as u32).to_le_bytes()));
        capture.extend(bytes);
    }
    capture
}

#[test]
fn captures_on_both_sides_of_a_translation_are_not_held_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let outside = [192, 0, 2, 45];
    let side = |client: [u8; 4], at_server: bool, later: u64, first_id: u16| {
        let asked = (0..3u16).flat_map(|n| {
            let start = u64::from(n) * SECOND + later;
            asked(start, client, first_id + n, 0, &[5]).into_iter().zip([!at_server, at_server])
        });
        let packets: Vec<(bool, (u64, Vec<u8>))> = asked.map(|(packet, leaves)| (leaves, packet)).collect();
        of_any_interface(&packets)
    };
    std::fs::write(folder.path().join("client.pcap"), side(CLIENT, false, 0, 70)).unwrap();
    std::fs::write(folder.path().join("server.pcap"), side(outside, true, 100, 70)).unwrap();
    std::fs::write(folder.path().join("others.pcap"), side(outside, true, 100, 700)).unwrap();
    std::fs::write(folder.path().join("expect.csv"), "10.9.9.0/24\n").unwrap();
    let read = |arguments: &[&str]| -> Value {
        let mut command = Command::cargo_bin("dnsrefused").unwrap();
        let more = ["--expect", "expect.csv", "--format", "json"];
        let output = command.current_dir(folder.path()).arg("read").args(arguments).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let twice = "3 refused queries were captured in two inputs within 10 ms, from different sources";
    let notes = |report: &Value| report["notes"].to_string();
    let report = read(&["client.pcap", "server.pcap"]);
    assert!(notes(&report).contains(twice), "{}", notes(&report));
    let found = report["findings"].as_array().unwrap();
    let (severity, says, advice) = of_kind(found, "unlisted-source-refused").unwrap();
    assert_eq!(severity, "critical");
    assert!(says.contains("have 10.9.9.9, expected to be allowed") && !advice.contains("Refusing"), "{says} {advice}");
    // An Ethernet file does not show where it was captured: the one that does says nothing of its sources.
    let ethernet = (0..3u16).flat_map(|n| asked(u64::from(n) * SECOND, CLIENT, 70 + n, 0, &[5]));
    let ethernet: Vec<(u64, Vec<u8>)> = ethernet.collect();
    std::fs::write(folder.path().join("ethernet.pcap"), of_ethernet(&ethernet)).unwrap();
    std::fs::write(folder.path().join("expect.csv"), "10.9.9.0/24\n10.21.0.0/16\n").unwrap();
    let report = read(&["ethernet.pcap", "server.pcap"]);
    assert!(notes(&report).contains(twice), "{}", notes(&report));
    let found = report["findings"].as_array().unwrap();
    let (_, says, _) = of_kind(found, "unlisted-source-refused").unwrap();
    assert!(says.contains("inputs that nothing shows to be captured at 10.20.30.40 have 10.9.9.9"), "{says}");
    assert!(!says.contains("10.21."), "who was not seen is not accused: {says}");
    let (_, _, advice) = of_kind(found, "listed-source-refused").unwrap();
    assert!(advice.starts_with("Was this captured at 10.20.30.40 (--vantage)?"), "{advice}");
    // A translation may change the server's address too.
    let balanced: Vec<(u64, Vec<u8>)> = ethernet.iter().map(|packet| at_another_address(packet.clone())).collect();
    std::fs::write(folder.path().join("balanced.pcap"), of_ethernet(&balanced)).unwrap();
    let report = read(&["balanced.pcap", "server.pcap"]);
    assert!(notes(&report).contains(twice), "{}", notes(&report));
    let (_, says, _) = of_kind(report["findings"].as_array().unwrap(), "unlisted-source-refused").unwrap();
    let said = "1 source (10.9.9.9), expected to be allowed and turned away by 10.20.30.41, may be the same before a translation.";
    assert!(says.contains(said) && !says.contains("10.21."), "{says}");
    // A capture at the client alone does not show it, and other queries are not the same ones.
    let report = read(&["client.pcap", "others.pcap"]);
    assert!(!notes(&report).contains("captured in two inputs"), "{}", notes(&report));
    assert!(!notes(&read(&["server.pcap"])).contains("captured in two inputs"));
}
