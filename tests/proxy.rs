//! A recording of dnsdist with PROXY headers in front of servers that expect them and servers that do not
//! (`captures/proxy`): questions are read behind the header, and servers that do not understand it are named.

use etherparse::PacketBuilder;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs the program on a recording of the case.
fn run(file: &str, format: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/proxy");
    let output = Command::new(env!("CARGO_BIN_EXE_dnsrefused"))
        .args(["read", file, "--format", format, "--all"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The rows of a recording.
fn rows(file: &str) -> Vec<Value> {
    let text = String::from_utf8(run(file, "jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_server_that_expects_the_header_decides_by_the_claimed_client() {
    let rows = rows("aware.pcap");
    let seen: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| {
            let identity = row["identity"].as_str().unwrap();
            let address = identity.strip_prefix("proxy=").unwrap().rsplit_once(':').unwrap().0;
            (address, row["transport"].as_str().unwrap(), row["outcome"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        seen,
        [("10.72.1.10", "udp", "answered"), ("10.72.2.20", "udp", "refused"), ("10.72.1.10", "tcp", "answered")]
    );
    assert!(rows.iter().all(|row| row["client"] == "10.70.0.5"), "the address on the wire stays the fact");
    let report: Value = serde_json::from_slice(&run("aware.pcap", "json")).unwrap();
    assert_eq!(report["findings"], Value::Array(vec![]));
    let identities: Vec<&str> =
        report["sources"][0]["identities"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(identities.len() == 2 && identities[1].starts_with("proxy=10.72.2.20:"), "{identities:?}");
}

#[test]
fn a_file_may_decide_for_the_client_that_a_proxy_names() {
    let found = |inventory: &str, kind: &str| -> Vec<[String; 2]> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("expect.csv");
        std::fs::write(&file, inventory).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_dnsrefused"))
            .args(["read", "aware.pcap", "--format", "json", "--acl", "unbound-aware.conf", "--expect"])
            .arg(&file)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/proxy"))
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == kind);
        findings.map(|finding| ["says", "advice"].map(|key| finding[key].as_str().unwrap().to_owned())).collect()
    };
    // Unbound refused 10.72.2.20, whom the header names, by this rule; nobody of 10.72.3.0/24 was named.
    let refuses = found("10.72.2.0/24\n10.72.3.0/24\n", "acl-refuses-expected");
    let named = "No request from there was seen here, but PROXY headers of 10.70.0.5 name 10.72.2.20 (claimed)";
    assert!(refuses.len() == 2 && refuses[0][0].contains(named), "{refuses:?}");
    assert!(!refuses[0].concat().contains("changes nothing"), "{refuses:?}");
    assert!(refuses[1][0].contains("changing the file changes nothing for any source seen here"), "{refuses:?}");
    // Nor is it where that prefix alone was not seen.
    let unlisted = found("10.72.2.0/24\n", "unlisted-source-refused");
    assert!(unlisted.len() == 1 && !unlisted[0].concat().contains("changes nothing"), "{unlisted:?}");
}

#[test]
fn a_server_that_takes_the_header_for_the_message_is_named() {
    for (file, server, code) in [
        ("named.pcap", "10.71.0.13", "FORMERR"),
        ("unbound.pcap", "10.71.0.12", "NOTIMP"),
        ("nsd.pcap", "10.71.0.14", "NOTIMP"),
    ] {
        let rows = rows(file);
        let seen: Vec<(&str, Option<&str>)> =
            rows.iter().map(|row| (row["transport"].as_str().unwrap(), row["rcode"].as_str())).collect();
        assert_eq!(seen, [("udp", Some(code)), ("udp", Some(code)), ("tcp", None)], "{file}");
        let names =
            rows.iter().all(|row| row["qname"].as_str().unwrap().ends_with(".example") && row["opcode"] == "QUERY");
        assert!(names, "{file}: {rows:?}");
        let report: Value = serde_json::from_slice(&run(file, "json")).unwrap();
        let finding = &report["findings"][0];
        assert_eq!(finding["kind"], "proxy-header-unexpected", "{file}");
        assert_eq!((finding["grade"].as_str(), finding["severity"].as_str()), (Some("observed"), Some("warning")));
        assert_eq!((finding["subject"]["server"].as_str(), finding["count"].as_u64()), (Some(server), Some(2)));
        assert_eq!(report["ledgers"]["matches"]["unsolicited"], 0, "{file}");
    }
}

#[test]
fn on_the_balancer_both_legs_are_told_apart() {
    let report: Value = serde_json::from_slice(&run("balancer.pcap", "json")).unwrap();
    let kinds = report["findings"].as_array().unwrap().len();
    assert_eq!(kinds, 3, "one for each server that does not expect the header");
    for source in report["sources"].as_array().unwrap() {
        let claims = !source["identities"].as_array().unwrap().is_empty();
        assert_eq!(claims, source["leg"] == "upstream", "{source}");
    }
}

/// An IPv4 packet with a datagram from one port to another, as a pcap record.
fn record(source: [u8; 4], target: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let udp = [&[ports[0], ports[1], length, 0].map(u16::to_be_bytes).concat()[..], payload].concat();
    let head = [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0], &source, &target].concat();
    let size = (head.len() + udp.len()) as u32;
    [&[1_700_000_000u32, 0, size, size].map(u32::to_le_bytes).concat()[..], &head, &udp].concat()
}

#[test]
fn the_text_header_is_read_through_and_a_server_that_answers_it_is_named() {
    let (proxy, server) = ([10, 70, 0, 5], [10, 71, 0, 13]);
    let line = b"PROXY TCP4 10.72.1.10 10.71.0.13 4000 53\r\n";
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
    // What a server makes of it: identifier and operation code are the first letters of the line.
    let answer = b"PR\xcf\x04\0\0\0\0\0\0\0\0";
    let bytes = [
        [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 101].map(u32::to_le_bytes).concat(),
        record(proxy, server, [5000, 53], &[&line[..], query].concat()),
        record(server, proxy, [53, 5000], answer),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.pcap");
    std::fs::write(&path, bytes.concat()).unwrap();
    let path = path.to_str().unwrap();
    let row: Value = serde_json::from_slice(&run(path, "jsonl")).unwrap();
    assert_eq!((row["qname"].as_str(), row["rcode"].as_str()), (Some("www.example"), Some("NOTIMP")), "{row}");
    assert_eq!(row["identity"], "proxy=10.72.1.10:4000");
    let report: Value = serde_json::from_slice(&run(path, "json")).unwrap();
    assert_eq!(report["findings"][0]["kind"], "proxy-header-unexpected");
    assert_eq!(report["findings"][0]["grade"], "observed");
}

#[test]
fn who_was_seen_at_another_server_is_not_hidden_by_what_a_proxy_claims() {
    let folder = tempfile::tempdir().unwrap();
    // Both asked the other server as themselves; a header at the one that the file is for names the second, or too many
    // others.
    let query = |id: u8| [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x03www\x04open\0\0\x01\0\x01"].concat();
    let header = |client: [u8; 4]| {
        let ends = [&client[..], &[10, 20, 30, 40, 16, 0, 0, 53]].concat();
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &ends].concat()
    };
    let packet = |from: [u8; 4], to: [u8; 4], ports: (u16, u16), message: &[u8]| {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).udp(ports.0, ports.1);
        builder.write(&mut bytes, message).unwrap();
        bytes
    };
    let exchange = |client: [u8; 4], server: [u8; 4], before: &[u8], id: u8| {
        let mut response = query(id);
        response[2] |= 0x80;
        let port = 4000 + u16::from(id);
        [
            packet(client, server, (port, 53), &[before, &query(id)].concat()),
            packet(server, client, (53, port), &response),
        ]
    };
    let (server, other, proxy) = ([10, 20, 30, 40], [10, 20, 30, 41], [192, 0, 2, 99]);
    for (named, said) in [
        (vec![[10, 9, 9, 3]], "but PROXY headers of 192.0.2.99 name 10.9.9.3 (claimed)"),
        ((0..20).map(|last| [10, 7, 9, last]).collect(), "but PROXY headers name more clients than were kept"),
    ] {
        let mut packets = exchange([10, 8, 1, 1], server, &[], 1).to_vec();
        packets.extend(exchange([10, 9, 9, 4], other, &[], 2));
        packets.extend((3..).zip(&named).flat_map(|(id, client)| exchange(proxy, server, &header(*client), id)));
        let mut capture: Vec<u8> =
            [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].into_iter().flat_map(u32::to_le_bytes).collect();
        for (at, bytes) in (0..).zip(&packets) {
            let numbers = [1_700_000_000, at * 1000, bytes.len() as u32, bytes.len() as u32];
            capture.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
            capture.extend(bytes);
        }
        let file = "options { recursion no; };\n\
                    zone open { type primary; file \"x\"; allow-query { !10.9.9.0/24; any; }; };\n";
        for (name, bytes) in
            [("a.pcap", capture.as_slice()), ("named.conf", file.as_bytes()), ("expect.csv", b"10.9.9.0/24\n")]
        {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_dnsrefused"))
            .args([
                "read",
                "a.pcap",
                "--acl",
                "bind:named.conf@10.20.30.40",
                "--expect",
                "expect.csv",
                "--format",
                "json",
            ])
            .args(["--server", "10.20.30.40", "--server", "10.20.30.41"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["kind"] == "acl-refuses-expected").unwrap();
        let says = found["says"].as_str().unwrap();
        assert!(says.contains("No request from there to 10.20.30.40 was seen here") && says.contains(said), "{says}");
        assert!(says.ends_with("Seen at other servers: 10.9.9.4."), "{says}");
    }
}
