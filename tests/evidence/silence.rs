//! Tests when a missing response counts as a server's silence, and what that may mean.

use super::*;

#[test]
fn silence_where_the_file_allows_may_be_a_limit_or_a_firewall() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { allow-query { any; }; }; zone example { type primary; file \"x\"; };";
    let mut packets = asked(0, CLIENT, 1, 0, &[]);
    for second in 1..12 {
        packets.extend(asked(second * SECOND, OTHER, second as u16 + 1, 0, &[0]));
    }
    let found = findings(folder.path(), file, &packets);
    let (severity, says, advice) = of_kind(&found, "acl-drift").unwrap();
    assert!(
        severity == "warning"
            && says.contains("met with silence once")
            && advice.contains("waited for another server (recursion), a rate limit or a firewall"),
        "{found:?}"
    );
    let found = findings(folder.path(), file, &asked(0, CLIENT, 1, 0, &[5]));
    assert_eq!(of_kind(&found, "acl-drift").unwrap().0, "critical", "{found:?}");
    // Elsewhere another address may be seen than at the server.
    let found = findings_at("path", folder.path(), file, &asked(0, CLIENT, 1, 0, &[5]));
    let (severity, _, advice) = of_kind(&found, "acl-drift").unwrap();
    assert!(severity == "warning" && advice.starts_with("This was not captured at 10.20.30.40"), "{found:?}");
    // The content of an update may be a reason as well.
    let update = "zone example { type primary; file \"x\"; allow-update { any; }; };";
    let found = findings(folder.path(), update, &asked(0, CLIENT, 1, 5, &[5]));
    assert_eq!(of_kind(&found, "acl-drift").unwrap().0, "warning", "{found:?}");
}

/// A query that was captured on its way and lost beyond that place is not the server's silence.
#[test]
fn queries_on_their_way_are_not_met_with_silence() {
    let folder = tempfile::tempdir().unwrap();
    let served =
        (0..20u16).flat_map(|n| asked(u64::from(n) * SECOND, OTHER, n, 0, &[0]).into_iter().zip([false, true]));
    let served: Vec<(bool, (u64, Vec<u8>))> = served.map(|(packet, leaves)| (leaves, packet)).collect();
    let lost: Vec<(u64, Vec<u8>)> =
        (3..6u16).flat_map(|n| asked(u64::from(n) * SECOND + 500 * MILLI, CLIENT, 70 + n, 0, &[])).collect();
    let seen = |leaves: bool| lost.iter().map(|packet| (leaves, packet.clone())).collect::<Vec<_>>();
    std::fs::write(folder.path().join("server.pcap"), of_any_interface(&served)).unwrap();
    std::fs::write(folder.path().join("ethernet.pcap"), of_ethernet(&lost)).unwrap();
    std::fs::write(folder.path().join("client.pcap"), of_any_interface(&seen(true))).unwrap();
    std::fs::write(folder.path().join("arrived.pcap"), of_any_interface(&seen(false))).unwrap();
    for (file, silent) in [("ethernet.pcap", 0), ("client.pcap", 0), ("arrived.pcap", 3)] {
        let mut command = Command::cargo_bin("dnsrefused").unwrap();
        let arguments = ["read", "server.pcap", file, "--format", "json"];
        let output = command.current_dir(folder.path()).args(arguments).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["totals"]["outcomes"]["silent"], silent, "{file}");
        assert_eq!(report["totals"]["outcomes"]["unanswered"], 3 - silent, "{file}");
    }
}

/// A server with several addresses may be asked at one and answer from another, which its clients do not take.
#[test]
fn a_response_from_another_address_is_not_silence() {
    let folder = tempfile::tempdir().unwrap();
    let mut packets = Vec::new();
    for n in 0..20u16 {
        let start = u64::from(n) * SECOND;
        packets.extend(asked(start, OTHER, n, 0, &[0]).into_iter().zip([false, true]));
        if (3..6).contains(&n) {
            let [query, response] = asked(start + 500 * MILLI, CLIENT, 70 + n, 0, &[5]).try_into().unwrap();
            packets.extend([(query, false), (at_another_address(response), true)]);
        }
    }
    let packets: Vec<(bool, (u64, Vec<u8>))> = packets.into_iter().map(|(packet, leaves)| (leaves, packet)).collect();
    std::fs::write(folder.path().join("server.pcap"), of_any_interface(&packets)).unwrap();
    let mut command = Command::cargo_bin("dnsrefused").unwrap();
    let output = command.current_dir(folder.path()).args(["read", "server.pcap", "--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcomes = &report["totals"]["outcomes"];
    assert_eq!([&outcomes["silent"], &outcomes["unanswered"], &outcomes["unsolicited"]], [0, 3, 3], "{outcomes}");
    let said = "3 queries without a response share client, port and identifier with a REFUSED response that came from another \
                address without a query of its own: 10.9.9.9 asked 10.20.30.40 and heard from 10.20.30.41, for one.";
    assert_eq!(report["notes"][0], said);
}
