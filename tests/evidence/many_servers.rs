//! A client that many servers refused: servers that were not compared are counted, and findings stay few.

use super::*;

/// The same packets with another server.
fn with_server(server: [u8; 4], packets: Vec<(u64, Vec<u8>)>) -> impl Iterator<Item = (u64, Vec<u8>)> {
    packets.into_iter().map(move |(time, mut bytes)| {
        let at = if bytes[26..30] == SERVER { 26 } else { 30 };
        bytes[at..at + 4].copy_from_slice(&server);
        (time, bytes)
    })
}

/// A query of a client to each of 300 servers, and its refusal.
fn of_many_servers() -> Vec<(u64, Vec<u8>)> {
    let of_server = |n: u16| {
        let [high, low] = n.to_be_bytes();
        with_server([10, 30, high, low], asked(u64::from(n) * SECOND, CLIENT, n, 0, &[5]))
    };
    (0..300).flat_map(of_server).collect()
}

#[test]
fn servers_for_which_a_file_was_not_asked_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let edges: Vec<String> = (0..100).map(|n| format!("10.30.0.{}; ", 2 * n)).collect();
    let file = format!(
        "options {{ recursion no; allow-query {{ 10.20.0.0/16; {} }}; }};\nzone example {{ type primary; file \"x\"; }};",
        edges.concat()
    );
    let found = findings(folder.path(), &file, &of_many_servers());
    let of_kind: Vec<&Value> = found.iter().filter(|finding| finding["kind"] == "acl-refuses-expected").collect();
    assert_eq!(of_kind.len(), 64 + 1);
    let left = of_kind[64];
    assert_eq!((&left["severity"], &left["count"]), (&Value::from("info"), &Value::from(300 - 64)));
    let says = left["says"].as_str().unwrap();
    assert!(says.contains("at 10.30.0.64, 10.30.0.65, 10.30.0.66 and 233 more servers was not compared"), "{says}");
}

#[test]
fn findings_do_not_grow_with_servers_times_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { recursion no; allow-query { 10.20.0.0/16; }; };
zone example { type primary; file \"x\"; };";
    let found = findings(folder.path(), file, &of_many_servers());
    let of_kind: Vec<&Value> = found.iter().filter(|finding| finding["kind"] == "acl-refuses-expected").collect();
    assert_eq!(of_kind.len(), 1, "{of_kind:?}");
    assert_eq!(of_kind[0]["subject"]["servers"].as_array().unwrap().len(), 200);
    assert_eq!(of_kind[0]["count"], 300);
    let says = of_kind[0]["says"].as_str().unwrap();
    assert!(says.contains("at 10.30.0.0, 10.30.0.1, 10.30.0.2 and 297 more servers (asked for"), "{says}");
    // More lines than findings that are listed.
    let lines: Vec<String> = (0..1500).map(|n| format!("10.9.{}.{}\n", 9 + n / 250, n % 250)).collect();
    std::fs::write(folder.path().join("expect.csv"), lines.concat()).unwrap();
    let read = |more: &[&str]| -> String {
        let mut command = Command::cargo_bin("dnsrefused").unwrap();
        let arguments = ["read", "server.pcap", "--expect", "expect.csv", "--acl", "bind:named.conf"];
        let output = command.current_dir(folder.path()).args(arguments).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: Value = serde_json::from_str(&read(&["--format", "json"])).unwrap();
    let found: Vec<&Value> = report["findings"].as_array().unwrap().iter().collect();
    let of_kind: Vec<&&Value> = found.iter().filter(|finding| finding["kind"] == "acl-refuses-expected").collect();
    let severities: Vec<&str> = of_kind.iter().map(|finding| finding["severity"].as_str().unwrap()).collect();
    assert_eq!((of_kind.len(), severities[0], severities[1]), (1001, "critical", "warning"));
    assert_eq!((&of_kind[0]["not_listed"], &of_kind[1000]["not_listed"]), (&Value::Null, &Value::from(500)));
    assert_eq!(of_kind[1000]["says"], "500 more findings of this kind are not listed.");
    // 300 sources that were refused, one by each server; and the lines without any traffic.
    let others = found.len() - of_kind.len();
    let text = read(&["--top", "5"]);
    let more = format!("and {},{:03} more findings (--top", (1500 + others - 5) / 1000, (1500 + others - 5) % 1000);
    assert!(text.contains(&more), "{more}: {}", text.lines().last().unwrap());
    let text = read(&["--top", "5000"]);
    assert!(text.contains("500 more findings of this kind are not listed.") && !text.contains("(--top"), "the end");
}
