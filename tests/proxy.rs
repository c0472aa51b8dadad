//! A recording of dnsdist with PROXY headers in front of servers that expect them and servers that do not
//! (`captures/proxy`): what was asked is read behind the header, and who does not understand it is named.

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
