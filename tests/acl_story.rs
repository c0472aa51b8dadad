//! The recorded stories beside the servers' own files: which line refused, whether the translation alone is to blame, and
//! what would admit the source the server saw.

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
