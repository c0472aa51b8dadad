//! The recorded stories compared with the servers' own files: which line refused, whether the translation alone is to
//! blame, and what would admit the source that the server saw.

#[path = "acl_story/commands.rs"]
mod commands;

use assert_cmd::Command;
use serde_json::Value;
use std::path::PathBuf;

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

/// The report of a case, with its server's file.
fn report(name: &str, file: &str, more: &[&str]) -> Value {
    let output = Command::cargo_bin("dnsrefused")
        .unwrap()
        .current_dir(case(name))
        .args(["read", "server.pcap", "--expect", "expect.csv", "--acl", file, "--format", "json"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The 1-based line that holds a text.
fn line(name: &str, file: &str, text: &str) -> usize {
    let lines = std::fs::read_to_string(case(name).join(file)).unwrap();
    lines.lines().position(|line| line.trim() == text).unwrap() + 1
}

#[test]
fn the_story_is_told_with_file_and_line() {
    for (name, file, text, to_blame, add) in [
        (
            "seed-unbound",
            "unbound.conf",
            "access-control: 0.0.0.0/0 refuse",
            false,
            "access-control: 192.0.2.45/32 allow",
        ),
        (
            "seed-unbound-allowed",
            "unbound.conf",
            "access-control: 0.0.0.0/0 refuse",
            true,
            "access-control: 192.0.2.45/32 allow",
        ),
        ("seed-bind", "named.conf", "recursion no;", false, "add 192.0.2.45;"),
        ("seed-bind-allowed", "named.conf", "recursion no;", true, "add 192.0.2.45;"),
    ] {
        let report = report(name, file, &[]);
        let rule = format!("{file}:{}", line(name, file, text));
        let source = report["sources"].as_array().unwrap().iter().find(|row| row["source"] == "192.0.2.45").unwrap();
        assert_eq!(
            (source["verdict"].as_str(), source["rule"].as_str()),
            (Some("refuse"), Some(rule.as_str())),
            "{name}"
        );
        let finding = &report["findings"][0];
        assert_eq!(finding["kind"], "unlisted-source-refused", "{name}");
        let (says, advice) = (finding["says"].as_str().unwrap(), finding["advice"].as_str().unwrap());
        assert!(says.contains(&rule), "{name}: {says}");
        assert_eq!(says.contains("only the changed address is to blame"), to_blame, "{name}: {says}");
        assert_eq!(says.contains("restoring their source alone changes nothing"), !to_blame, "{name}: {says}");
        assert!(advice.contains(add) && advice.contains("admits everyone behind"), "{name}: {advice}");
        assert_eq!(advice.contains("Allowing 10.21.0.0/16 changes nothing"), !to_blame, "{name}: {advice}");
        for wide in ["0.0.0.0/0 allow", "add any", "::/0 allow"] {
            assert!(!advice.contains(wide), "{name}: {advice}");
        }
        let drift = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| ["acl-drift", "acl-exposure"].contains(&finding["kind"].as_str().unwrap()));
        assert!(!drift, "{name}: the server ran this file");
    }
}

#[test]
fn a_file_is_not_compared_with_what_came_to_another_port_of_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("behind.conf");
    let behind = [
        ("server:\n interface: 10.20.30.40\n port: 5300\n access-control: 0.0.0.0/0 allow\n", false),
        ("server:\n port: 5300\n interface: 10.20.30.40@53\n access-control: 0.0.0.0/0 allow\n", true),
        ("server:\n interface: 10.20.30.40@5300\n access-control: 0.0.0.0/0 allow\n", false),
        ("options { port 5300; listen-on { 10.20.30.40; }; listen-on-v6 { none; }; allow-query { any; }; };\n", false),
        ("options { port 5300; listen-on port 53 { 10.20.30.40; }; allow-query { any; }; };\n", true),
        // One port for each address: what is on port 53 elsewhere, or over IPv6, says nothing.
        ("options { listen-on port 5300 { 10.20.30.40; }; listen-on-v6 { none; }; allow-query { any; }; };\n", false),
        ("options { listen-on port 5300 { 10.20.0.0/16; }; allow-query { any; }; };\n", false),
        ("options { listen-on { 127.0.0.1; }; listen-on port 5300 { 10.20.30.40; }; allow-query { any; }; };\n", false),
        ("options { listen-on { 10.20.30.40; }; listen-on port 5300 { 127.0.0.1; }; allow-query { any; }; };\n", true),
        // Behind what listens there over IPv4 alone: that all addresses of IPv6 are on port 53 by default says nothing
        // of it.
        ("options { listen-on port 5300 { 127.0.0.1; }; allow-query { any; }; };\n", false),
        ("server:\n interface: 127.0.0.1@5300\n interface: ::1\n access-control: 0.0.0.0/0 allow\n", false),
        ("options { listen-on { none; }; allow-query { any; }; };\n", true),
        ("server:\n interface: 127.0.0.1\n interface: 0.0.0.0@5300\n access-control: 0.0.0.0/0 allow\n", false),
        ("server:\n port: 5300\n interface: eth0\n access-control: 0.0.0.0/0 allow\n", false),
        ("server:\n interface: eth0@5300\n interface: eth0\n access-control: 0.0.0.0/0 allow\n", true),
        ("server:\n interface: 127.0.0.1@5300\n interface-automatic: yes\n access-control: 0.0.0.0/0 allow\n", true),
        (
            "server:\n interface-automatic: yes\n interface-automatic-ports: \"5300\"\n access-control: 0.0.0.0/0 allow\n",
            false,
        ),
        (
            "server:\n interface: 10.20.30.40@5300\n interface-automatic-ports: \"53\"\n access-control: 0.0.0.0/0 allow\n",
            false,
        ),
    ];
    for (text, compared) in behind {
        std::fs::write(&path, text).unwrap();
        let file = path.to_string_lossy();
        let acl = &report("seed-unbound", &file, &[])["acls"][0];
        assert_eq!(acl["differing"].as_u64().unwrap() > 0, compared, "{text}: {acl}");
        assert_eq!(acl["undecided"].to_string().contains("does not listen"), !compared, "{text}: {acl}");
        // Nor with what the inventory expects there: a file for a balancer alone refuses everybody else.
        if !compared {
            std::fs::write(&path, text.replace("access-control: 0.0.0.0/0 allow", "").replace("{ any; }", "{ none; }"))
                .unwrap();
            let alone = report("seed-unbound", &file, &[]);
            let said = alone["findings"].to_string();
            assert!(!said.contains("acl-") && !said.contains("says refuse"), "{text}: {said}");
            assert!(said.contains("The file says unknown for 192.0.2.45"), "{text}: {said}");
            std::fs::write(&path, text).unwrap();
        }
        // Whoever says whose it is knows of a translated port.
        let acl = &report("seed-unbound", &format!("{file}@10.20.30.40"), &[])["acls"][0];
        assert!(acl["differing"].as_u64().unwrap() > 0, "{text}: {acl}");
    }
}

#[test]
fn a_file_that_the_server_does_not_run_is_drift_or_exposure() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(case("seed-unbound").join("unbound.conf")).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let open =
        write("open.conf", text.replace("access-control: 0.0.0.0/0 refuse", "access-control: 192.0.2.0/24 allow"));
    let closed =
        write("closed.conf", text.replace("access-control: 10.20.0.0/16 allow", "access-control: 10.20.0.0/16 refuse"));
    for (file, kind) in [(open, "acl-drift"), (closed, "acl-exposure")] {
        let report = report("seed-unbound", &file, &[]);
        let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == kind).unwrap();
        assert_eq!(
            (found["grade"].as_str(), found["severity"].as_str()),
            (Some("evaluated"), Some("critical")),
            "{kind}"
        );
        assert!(found["frames"][0]["frames"].as_array().is_some_and(|frames| !frames.is_empty()), "{kind}");
    }
}

#[test]
fn a_server_that_no_file_speaks_for_is_unknown() {
    let report = report("seed-unbound", "unbound.conf@10.9.9.9", &["--server", "10.20.30.40"]);
    let rows = report["sources"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["verdict"] == "unknown"), "{rows:?}");
}

#[test]
fn a_broken_file_stops_everything_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.conf");
    std::fs::write(&path, "options {\n    allow-qeury { any; };\n};\n").unwrap();
    for arguments in [vec!["read", "server.pcap"], vec!["acl", "list"]] {
        let output = Command::cargo_bin("dnsrefused")
            .unwrap()
            .current_dir(case("seed-bind"))
            .args(&arguments)
            .arg("--acl")
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty(), "nothing is evaluated");
        assert!(
            text.contains("named.conf:2:5") && text.contains("perhaps allow-query is meant") && text.contains("^^^"),
            "{text}"
        );
        assert!(text.contains(" 2 |     allow-qeury"), "{text}");
    }
}

/// A capture of queries for www.example.com to 10.20.30.40, each refused or answered.
fn capture(sources: &[(&str, bool)]) -> Vec<u8> {
    let to_one: Vec<_> = sources.iter().map(|(source, refused)| (*source, "10.20.30.40", *refused)).collect();
    capture_of_servers(&to_one)
}

/// The same with the server of each.
fn capture_of_servers(sources: &[(&str, &str, bool)]) -> Vec<u8> {
    let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 101].map(u32::to_le_bytes).concat();
    for (number, (source, server, refused)) in sources.iter().enumerate() {
        let [client, server] = [source, server].map(|address| address.parse::<std::net::Ipv4Addr>().unwrap().octets());
        for response in [false, true] {
            let flags: [u8; 2] = if response { [0x81, if *refused { 5 } else { 0x80 }] } else { [1, 0] };
            let id = (number as u16).to_be_bytes();
            let message = [&id[..], &flags, b"\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01"].concat();
            let ports = if response { [53u16, 4000] } else { [4000, 53] };
            let length = 8 + message.len() as u16;
            let udp = [ports[0], ports[1], length, 0].map(u16::to_be_bytes).concat();
            let ends = if response { [server, client] } else { [client, server] };
            let head = [&[0x45, 0][..], &(20 + length).to_be_bytes(), &id, &[0, 0, 64, 17, 0, 0]].concat();
            let packet = [&head[..], &ends.concat(), &udp, &message].concat();
            let record =
                [1_700_000_000u32, number as u32 * 10 + u32::from(response), packet.len() as u32, packet.len() as u32];
            bytes.extend(record.map(u32::to_le_bytes).concat());
            bytes.extend(packet);
        }
    }
    bytes
}

/// Runs a command in a folder with a capture, a configuration and an inventory.
fn run_in(files: &[(&str, &[u8])], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let output = Command::cargo_bin("dnsrefused").unwrap().current_dir(folder.path()).args(arguments).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn many_sources_are_joined_where_that_admits_nobody_who_is_seen_or_to_be_refused() {
    let unbound =
        b"server:\n interface: 10.20.30.40\n access-control: 10.20.0.0/16 allow\n access-control: 0.0.0.0/0 refuse\n";
    let inventory =
        b"prefix,name,kind,expect,outside\n10.21.0.0/16,vpn,vpn,allow,192.0.2.45\n10.21.9.0/24,guests,client,refuse,\n";
    let near: Vec<String> = (1..=9).map(|host| format!("10.21.5.{host}")).collect();
    let mut sources: Vec<(&str, bool)> = near.iter().map(|source| (source.as_str(), true)).collect();
    sources.extend([("10.21.8.1", true), ("10.21.9.7", true), ("10.20.1.1", false), ("192.0.2.45", true)]);
    let advice = |bytes: &[u8], prefix: &str| -> String {
        let files = [("a.pcap", bytes), ("unbound.conf", &unbound[..]), ("expect.csv", &inventory[..])];
        let (_, text) =
            run_in(&files, &["read", "a.pcap", "--expect", "expect.csv", "--acl", "unbound.conf", "--format", "json"]);
        let report: Value = serde_json::from_str(&text).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let of =
            |finding: &&Value| finding["kind"] == "acl-refuses-expected" && finding["subject"]["prefixes"][0] == prefix;
        findings.iter().find(of).unwrap()["advice"].as_str().unwrap().to_owned()
    };
    let said = advice(&capture(&sources), "10.21.0.0/16");
    // .1 to .9 as two prefixes at most; 10.21.8.1 cannot join them without the guests of 10.21.9.0/24.
    assert!(
        said.contains("access-control: 10.21.5.0/28 allow") || said.contains("access-control: 10.21.5.0/29 allow"),
        "{said}"
    );
    assert!(said.contains("access-control: 10.21.8.1/32 allow") && !said.contains("10.21.9."), "{said}");
    assert!(
        said.contains("Nothing else that was looked at of what was asked here would be treated differently"),
        "{said}"
    );
    assert!(said.contains("addresses, of which") && said.contains("10.21.0.0/16 (vpn, expect.csv:2)"), "{said}");
    // A source that is answered already, in the midst of them, keeps them apart.
    sources.push(("10.21.5.6", true));
    sources.retain(|(source, _)| *source != "10.21.5.4");
    sources.push(("10.21.5.4", false));
    let said = advice(&capture(&sources), "10.21.0.0/16");
    for wide in ["10.21.5.0/28", "10.21.5.0/29", "10.21.5.4"] {
        assert!(!said.contains(wide), "{wide}: {said}");
    }
}

#[test]
fn what_the_file_refuses_and_was_seen_is_not_called_unseen() {
    let unbound = b"server:\n interface: 10.20.30.40\n access-control: 0.0.0.0/0 refuse\n";
    let inventory = b"10.1.0.0/24\n10.2.0.0/24\n10.3.0.0/24\n10.4.0.0/24\n";
    let bytes = capture_of_servers(&[
        ("10.1.0.2", "10.20.30.40", false),
        ("10.1.0.2", "10.20.30.40", false),
        ("10.2.0.2", "10.20.30.40", true),
        ("10.3.0.2", "10.20.30.99", true),
    ]);
    let files = [("a.pcap", &bytes[..]), ("unbound.conf", unbound), ("expect.csv", inventory)];
    let arguments = ["read", "a.pcap", "--expect", "expect.csv", "--acl", "unbound.conf@10.20.30.40"];
    let (_, text) = run_in(&files, &[&arguments[..], &["--format", "json"]].concat());
    let report: Value = serde_json::from_str(&text).unwrap();
    let said = |prefix: &str| {
        let of =
            |finding: &&Value| finding["kind"] == "acl-refuses-expected" && finding["subject"]["prefixes"][0] == prefix;
        let finding = report["findings"].as_array().unwrap().iter().find(of).unwrap();
        ["says", "advice", "count"].map(|name| finding[name].to_string())
    };
    let [says, advice, count] = said("10.1.0.0/24");
    assert!(says.contains("the wire does not: 10.20.30.40 answered 10.1.0.2 2 times"), "{says}");
    assert!(!says.contains("No request") && advice.contains("Does 10.20.30.40 run this file?"), "{says} {advice}");
    assert_eq!(count, "2");
    assert!(
        said("10.2.0.0/24")[0].contains("the wire agrees: 10.2.0.2 turned away once by"),
        "{:?}",
        said("10.2.0.0/24")
    );
    let [says, advice, _] = said("10.3.0.0/24");
    assert!(
        says.contains("No request from there to 10.20.30.40 was seen here; seen at other servers: 10.3.0.2."),
        "{says}"
    );
    assert!(!says.contains("changes nothing") && !advice.contains("as which address"), "{says} {advice}");
    let [says, advice, _] = said("10.4.0.0/24");
    assert!(
        says.contains("No request from there was seen here, so that") && advice.contains("as which address"),
        "{says}"
    );
}

#[test]
fn a_change_is_judged_by_the_traffic_of_a_capture() {
    let old =
        b"server:\n interface: 10.20.30.40\n access-control: 10.20.0.0/16 allow\n access-control: 0.0.0.0/0 refuse\n";
    let new = b"server:\n interface: 10.20.30.40\n access-control: 10.20.0.0/17 allow\n access-control: 192.0.2.45 allow\n access-control: 0.0.0.0/0 refuse\n";
    let bytes = capture(&[
        ("10.20.1.1", false),
        ("192.0.2.45", true),
        ("192.0.2.45", true),
        ("10.20.200.1", false),
        ("198.51.100.1", true),
        // A query of another server of ours is nobody's verdict.
        ("10.99.0.1", false),
    ]);
    let files: [(&str, &[u8]); 4] =
        [("a.pcap", &bytes), ("old.conf", old), ("new.conf", new), ("intended.csv", b"prefix\n192.0.2.45\n")];
    let command = ["acl", "diff", "old.conf", "new.conf", "--traffic", "a.pcap", "--intended", "intended.csv"];
    let ours = ["--server", "10.20.30.40", "--server", "10.99.0.1"];
    let (code, text) = run_in(&files, &[&command[..], &ours, &["--format", "json"]].concat());
    let report: Value = serde_json::from_str(&text).unwrap();
    let traffic = &report["traffic"];
    assert_eq!(code, Some(0));
    let number = |name: &str| traffic[name].as_u64().unwrap();
    assert_eq!(["judged", "same", "changed", "unchanged_sources", "apart"].map(number), [5, 2, 3, 2, 1], "{traffic}");
    let changes: Vec<(&str, &str, u64, bool)> = traffic["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let text = |name: &str| change[name].as_str().unwrap();
            (
                text("source"),
                text("after"),
                change["transactions"].as_u64().unwrap(),
                change["intended"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(changes, [("10.20.200.1", "refuse", 1, false), ("192.0.2.45", "allow", 2, true)]);
    // Files of a container, or of what stands behind a balancer, listen on another port: they are asked what they would
    // do all the same.
    let elsewhere = |text: &[u8]| [text, &b" port: 5353\n"[..]].concat();
    let (there, then) = (elsewhere(old), elsewhere(new));
    let files_there: [(&str, &[u8]); 3] = [("a.pcap", &bytes), ("old.conf", &there), ("new.conf", &then)];
    let (_, text) = run_in(&files_there, &[&command[..6], &["--format", "json"]].concat());
    let moved: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(moved["traffic"]["changed"], 3, "{text}");
    assert_eq!(traffic["changes"][0]["before_rule"]["line"], 3);
    assert_eq!(traffic["changes"][0]["outcomes"]["answered"], 1);
    assert_eq!(traffic["changes"][1]["frames"][0]["frames"], serde_json::json!([3, 5]));
    assert!(report["old"][0]["sha256"].as_str().is_some_and(|digest| digest.len() == 64));
    let (code, text) = run_in(&files, &[&command[..], &["--check"]].concat());
    assert_eq!(code, Some(10), "{text}");
    assert!(
        text.contains("CLOSES  allow -> refuse  10.20.200.1 at 10.20.30.40: its only transaction, A www.example.com;")
    );
    // What is meant and already so, or becomes so, is done; what is meant and is not so is told.
    let mut more = files;
    more[3] = (
        "intended.csv",
        b"prefix,expect\n192.0.2.45,allow\n10.20.1.0/24,allow\n192.0.2.46,allow\n10.20.2.0/24,refuse\n",
    );
    let (_, text) = run_in(&more, &command);
    let not_done: Vec<&str> = text.lines().filter(|line| line.starts_with("NOT DONE")).collect();
    assert_eq!(
        not_done,
        [
            "NOT DONE   192.0.2.46 is to be allowed by intended.csv:4, but for a name in no zone the new file says refuse  \
             new.conf:5  access-control: 0.0.0.0/0 refuse",
            "NOT DONE   10.20.2.0/24 is to be refused by intended.csv:5, but for a name in no zone the new file says allow  \
             new.conf:3  access-control: 10.20.0.0/17 allow",
        ]
    );
    let (_, json) = run_in(&more, &[&command[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["not_done"].as_array().unwrap().len(), 2);
    assert_eq!(report["not_done"], serde_json::json!([]));
    // All that changes is meant: nothing to stop a pipeline for.
    let mut meant = files;
    let only = b"server:\n interface: 10.20.30.40\n access-control: 10.20.0.0/16 allow\n access-control: 192.0.2.45 allow\n access-control: 0.0.0.0/0 refuse\n";
    meant[2] = ("new.conf", only);
    assert_eq!(run_in(&meant, &[&command[..], &["--check"]].concat()).0, Some(0));
}

#[test]
fn of_a_prefix_that_a_file_treats_differently_every_part_is_told() {
    let output = Command::cargo_bin("dnsrefused")
        .unwrap()
        .current_dir(case("seed-unbound"))
        .args(["read", "server.pcap", "--acl", "unbound.conf", "--client", "10.20.0.0/15", "--client", "10.20.7.0/24"])
        .output()
        .unwrap();
    let page = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let at = |text: &str| line("seed-unbound", "unbound.conf", text);
    let (allow, refuse) = (at("access-control: 10.20.0.0/16 allow"), at("access-control: 0.0.0.0/0 refuse"));
    let both = format!("10.20.0.0/16: allow unbound.conf:{allow}, 10.21.0.0/16: refuse unbound.conf:{refuse}");
    assert!(page.contains(&format!("File says: {both}")), "{page}");
    assert!(page.contains(&format!("File says: allow unbound.conf:{allow} ")), "{page}");
}

#[test]
fn a_file_that_treats_parts_of_the_prefix_behind_differently_blames_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(case("seed-unbound").join("unbound.conf")).unwrap();
    let narrow = "access-control: 10.21.7.0/24 allow\n    access-control: 0.0.0.0/0 refuse";
    let file = folder.path().join("unbound.conf");
    std::fs::write(&file, text.replace("access-control: 0.0.0.0/0 refuse", narrow)).unwrap();
    let report = report("seed-unbound", file.to_str().unwrap(), &[]);
    let says = report["findings"][0]["says"].as_str().unwrap();
    let parts = "it says refuse for 10.21.0.0-10.21.6.255, allow for 10.21.7.0/24, refuse for 10.21.8.0-10.21.255.255:";
    assert!(says.contains(parts) && !says.contains("alone changes nothing"), "{says}");
}

#[test]
fn advice_says_whom_it_lets_recurse() {
    let sources = [("10.7.7.7", true), ("10.1.1.1", false)];
    let capture = capture(&sources);
    let advice = |options: &str, own: &str| -> String {
        let text = format!(
            "options {{ listen-on {{ 10.20.30.40; }}; {options} }};\nzone \"example.com\" {{ type primary; file \"x\"; {own} }};\n"
        );
        let files: [(&str, &[u8]); 3] = [
            ("a.pcap", &capture),
            ("named.conf", text.as_bytes()),
            ("expect.csv", b"prefix,name,kind,expect,outside\n10.7.7.7,partner,client,allow,\n10.1.0.0/16,,,,\n"),
        ];
        let command = ["read", "a.pcap", "--expect", "expect.csv", "--acl", "bind-9.18:named.conf", "--format", "json"];
        let report: Value = serde_json::from_str(&run_in(&files, &command).1).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["kind"] == "acl-refuses-expected").unwrap();
        finding["advice"].as_str().unwrap().to_owned()
    };
    let said = advice("allow-recursion { 10.1.0.0/16; };", "allow-query { 10.1.0.0/16; };");
    assert!(said.contains("in named.conf:2 ") && !said.contains("named.conf:1"), "{said}");
    assert!(said.contains("Nothing else that was looked at"), "{said}");
    let said = advice("allow-query { 10.1.0.0/16; };", "");
    assert!(said.contains("It also allows recursion to 10.7.7.7.") && !said.contains("Nothing else"), "{said}");
}
