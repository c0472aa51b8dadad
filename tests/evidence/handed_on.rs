//! Tests whose access rules are said to have decided where a host hands queries on, by a proxy or by a translation to
//! another server.

use super::{CLIENT, Command, MILLI, SECOND, SERVER, Value, message, of_kind};
use etherparse::PacketBuilder;
use std::path::Path;

/// The other side of the host, and the server there.
const OTHER_SIDE: [[u8; 4]; 2] = [[172, 17, 0, 1], [172, 17, 0, 2]];

/// A datagram that arrives (0) or leaves (4) in a capture of all interfaces (`LINUX_SLL`).
fn cooked(time: u64, kind: u8, [from, to]: [[u8; 4]; 2], message: &[u8]) -> (u64, Vec<u8>) {
    let ports = if message[2] & 0x80 != 0 { (53, 4000) } else { (4000, 53) };
    let mut bytes = vec![0, kind, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0];
    PacketBuilder::ipv4(from, to, 64).udp(ports.0, ports.1).write(&mut bytes, message).unwrap();
    (time, bytes)
}

/// A client's query, which gets a response code, and the query that the host sends another server meanwhile, which gets
/// the code first.
fn asked(time: u64, [id, as_id]: [u16; 2], rcode: u16) -> [(u64, Vec<u8>); 4] {
    let [query, response] = [false, true].map(|is| message(id, is, 0, rcode * u16::from(is)));
    let [again, first] = [false, true].map(|is| message(as_id, is, 0, rcode * u16::from(is)));
    let [here, there] = OTHER_SIDE;
    [
        cooked(time, 0, [CLIENT, SERVER], &query),
        cooked(time + MILLI, 4, [here, there], &again),
        cooked(time + 2 * MILLI, 0, [there, here], &first),
        cooked(time + 3 * MILLI, 4, [SERVER, CLIENT], &response),
    ]
}

/// The text report and the findings about the packets of `asked` for each identifier and response code.
fn said(
    folder: &Path,
    queries: impl IntoIterator<Item = (u16, u16)>,
    clients: &str,
    arguments: &[&str],
) -> (String, Vec<Value>) {
    let query = |(id, (as_id, rcode))| asked(u64::from(id) * SECOND, [id, as_id], rcode);
    let packets = (1..).zip(queries).flat_map(query);
    let mut capture = super::of_ethernet(&packets.collect::<Vec<_>>());
    capture[20] = 113;
    let zone = "zone example { type primary; file \"x\"; };";
    let file = format!("options {{ recursion no; allow-query {{ {clients}; }}; }};\n{zone}\n");
    for (name, bytes) in
        [("any.pcap", capture.as_slice()), ("named.conf", file.as_bytes()), ("expect.csv", b"10.9.9.0/24\n")]
    {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let read = |format: &str| {
        let mut command = Command::cargo_bin("dnsrefused").unwrap();
        command.current_dir(folder).args(["read", "any.pcap", "--expect", "expect.csv", "--format", format]);
        let output = command.args(["--acl", "bind:named.conf@10.20.30.40"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let report: Value = serde_json::from_slice(&read("json")).unwrap();
    let text = String::from_utf8(read("text")).unwrap();
    (text.split_whitespace().collect::<Vec<_>>().join(" "), report["findings"].as_array().unwrap().clone())
}

const HANDED_ON: &str =
    "Queries to 10.20.30.40 left here again, for one as from 172.17.0.1 to 172.17.0.2, which responded first";

#[test]
fn a_file_is_not_called_unheeded_where_another_server_refused_first() {
    let folder = tempfile::tempdir().unwrap();
    // A resolver's own query has another identifier; one of two decisions may be the server's own.
    for (as_ids, vantage, severity, is_handed_on) in [
        (&[1, 2, 3][..], &[][..], "warning", true),
        (&[1, 99], &[], "warning", true),
        (&[1, 98, 99], &[], "critical", false),
        (&[97, 98, 99], &[], "critical", false),
        (&[1, 2, 3], &["--vantage", "server"], "critical", false),
    ] {
        let (text, found) = said(folder.path(), as_ids.iter().map(|as_id| (*as_id, 5)), "10.9.9.0/24", vantage);
        for kind in ["acl-drift", "listed-source-refused"] {
            let (is, _, advice) = of_kind(&found, kind).unwrap();
            assert_eq!(advice.contains(HANDED_ON), is_handed_on, "{as_ids:?} {kind}: {advice}");
            // That they were refused is a fact, whichever server decided.
            assert_eq!(is, if kind == "acl-drift" { severity } else { "critical" }, "{as_ids:?} {kind}");
        }
        assert_eq!(text.contains("SOURCE THE SERVER SAW"), !is_handed_on, "{as_ids:?}: {text}");
        let place = "AT 10.20.30.40 Queries to this server left here again for another one";
        assert_eq!(text.contains(place), is_handed_on, "{as_ids:?}: {text}");
    }
}

#[test]
fn a_server_is_not_called_more_open_than_its_file_where_another_one_answered_first() {
    let folder = tempfile::tempdir().unwrap();
    for (as_ids, severity) in [(&[1, 2, 3][..], "warning"), (&[1, 99], "warning"), (&[1, 98, 99], "critical")] {
        let (_, found) = said(folder.path(), as_ids.iter().map(|as_id| (*as_id, 0)), "10.1.1.1", &[]);
        let (is, _, advice) = of_kind(&found, "acl-exposure").unwrap();
        assert_eq!((is, advice.contains(HANDED_ON)), (severity, severity == "warning"), "{as_ids:?}: {advice}");
    }
}

#[test]
fn refusals_are_a_servers_own_where_only_its_answers_are_another_ones() {
    let folder = tempfile::tempdir().unwrap();
    // As dnsmasq does over TCP, where it has a server for some names only; the opposite; and neither.
    for (queries, [refusals, answers], exposure) in [
        ([(1, 0), (98, 5), (99, 5)], [false, true], "warning"),
        ([(1, 5), (98, 0), (99, 0)], [true, false], "warning"),
        ([(97, 0), (98, 5), (99, 5)], [false, false], "critical"),
    ] {
        let (text, found) = said(folder.path(), queries, "10.9.9.0/24", &[]);
        let (_, _, advice) = of_kind(&found, "acl-drift").unwrap();
        assert_eq!(advice.contains(HANDED_ON), refusals, "{queries:?}: {advice}");
        assert_eq!(text.contains("SOURCE THE SERVER SAW"), !refusals, "{queries:?}: {text}");
        let (_, found) = said(folder.path(), queries, "10.1.1.1", &[]);
        let (is, _, advice) = of_kind(&found, "acl-exposure").unwrap();
        assert_eq!((is, advice.contains(HANDED_ON)), (exposure, answers), "{queries:?}: {advice}");
    }
}
