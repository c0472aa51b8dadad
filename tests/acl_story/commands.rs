//! The `acl` commands, which need no capture, and the arguments they reject.

use super::*;

#[test]
fn commands_without_a_capture_answer_with_exit_codes() {
    let run = |arguments: &[&str]| {
        let output =
            Command::cargo_bin("dnsrefused").unwrap().current_dir(case("seed-bind")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = run(&["acl", "explain", "--acl", "named.conf", "--format", "json", "192.0.2.45"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value["verdict"].as_str()), (Some(0), Some("refuse")));
    assert_eq!(value["rule"]["line"], line("seed-bind", "named.conf", "recursion no;"));
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    for key in ["source", "server", "transport", "opcode", "qname", "qtype", "rd", "key", "verdict", "rule", "trace"] {
        assert!(keys.iter().any(|known| *known == key), "{key}");
    }
    assert_eq!(run(&["acl", "check", "--acl", "named.conf", "--expect", "expect.csv"]).0, Some(10));
    assert_eq!(run(&["acl", "diff", "named.conf", "named.conf", "--check"]).0, Some(0));
    assert_eq!(run(&["acl", "diff", "named.conf", "../seed-bind-allowed/named.conf"]).0, Some(0));
    assert_eq!(run(&["acl", "diff", "named.conf", "../seed-bind-allowed/named.conf", "--check"]).0, Some(10));
    assert_eq!(run(&["acl", "explain", "--acl", "named.conf", "nobody"]).0, Some(2));
}

#[test]
fn an_inventory_is_checked_at_every_address_of_the_server() {
    let file: &[u8] = b"server:\n interface: 10.53.0.1\n interface: 10.53.0.2\n interface: 2001:db8::53\n interface-action: 10.53.0.2 allow\n";
    let files: [(&str, &[u8]); 2] = [
        ("u.conf", file),
        ("i.csv", b"prefix,expect\n203.0.113.0/24,refuse\n198.51.100.0/24,allow\n2001:db8:1::/48,refuse\n"),
    ];
    let command = ["acl", "check", "--acl", "unbound-1.17:u.conf", "--expect", "i.csv"];
    let (code, text) = run_in(&files, &command);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("expected")).collect();
    assert_eq!(code, Some(10), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("203.0.113.0/24: expected refuse") && lines[0].ends_with("(at 10.53.0.2)"), "{text}");
    assert!(lines[1].starts_with("198.51.100.0/24: expected allow") && lines[1].ends_with("(at 10.53.0.1)"), "{text}");
    let (_, json) = run_in(&files, &[&command[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["differences"][0]["servers"], serde_json::json!(["10.53.0.2"]));
}

#[test]
fn a_pattern_beside_a_file_without_a_folder_is_read_and_a_folder_that_is_not_here_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = "server:\n interface: 10.20.30.40\n include: \"a*.conf\"\n";
    std::fs::write(folder.path().join("unbound.conf"), text).unwrap();
    std::fs::write(folder.path().join("acl.conf"), " access-control: 10.7.0.0/16 allow\n").unwrap();
    let explain = |more: &str| {
        std::fs::write(folder.path().join("unbound.conf"), format!("{text}{more}")).unwrap();
        let output = Command::cargo_bin("dnsrefused")
            .unwrap()
            .current_dir(folder.path())
            .args(["acl", "explain", "--acl", "unbound:unbound.conf", "10.7.1.1"])
            .output()
            .unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let [text, notes] = explain("");
    assert!(text.starts_with("10.7.1.1  allow  acl.conf:1  ") && notes.is_empty(), "{text}{notes}");
    let [text, notes] = explain(" include: \"conf.d/*.conf\"\n");
    assert!(text.starts_with("10.7.1.1  unknown  unbound.conf:4  "), "{text}");
    assert!(notes.contains("unbound.conf:4: the included file is not here"), "{notes}");
}

#[test]
fn what_commands_do_not_take_is_called_by_its_name() {
    let capture = capture(&[("10.1.1.1", true)]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.pcap"), &capture).unwrap();
    std::fs::write(folder.path().join("named.conf"), "options { };").unwrap();
    for (arguments, says) in [
        (["acl", "explain", "--acl", "named.conf", "10.1.1.0/24"], "single addresses; acl check --expect asks"),
        (["acl", "explain", "--acl", "named.conf", "010.1.1.1"], "not an address"),
        (["acl", "explain", "--acl", "a.pcap", "10.1.1.1"], "this is a capture, not a server's configuration"),
        (["read", "a.pcap", "--acl", "a.pcap", "-q"], "this is a capture, not a server's configuration"),
    ] {
        let output =
            Command::cargo_bin("dnsrefused").unwrap().current_dir(folder.path()).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(says), "{arguments:?}: {error}");
    }
}
