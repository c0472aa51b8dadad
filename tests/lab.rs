//! The lab itself: records every case again with the servers of this machine, and compares the program with that.
//!
//! Needs root (network namespaces), the servers, tshark, and some minutes: it runs only with `DNSREFUSED_LAB=1`, and
//! says why when it does not run. `tests/lab/record` skips a case whose server is not installed, and fails where
//! tshark's truth and the other witnesses (dig, connection tracking, the servers' counters and logs) disagree.

use std::path::Path;
use std::process::Command;

#[path = "recordings/case.rs"]
mod case;
#[path = "recordings/table.rs"]
mod table;

/// Why the lab cannot run here, if it cannot.
fn reason_to_skip() -> Option<String> {
    if std::env::var("DNSREFUSED_LAB").as_deref() != Ok("1") {
        return Some("DNSREFUSED_LAB is not 1".to_owned());
    }
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout != b"0\n" {
        return Some("it must be root to make network namespaces".to_owned());
    }
    let present = |program: &&str| Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    ["ip", "nft", "tcpdump", "tshark", "dig"]
        .into_iter()
        .find(|program| !present(program).is_ok_and(|output| output.status.success()))
        .map(|program| format!("{program} is not installed"))
}

/// Fresh recordings agree with their witnesses as the kept ones do.
#[test]
fn fresh_recordings_agree_with_their_witnesses() {
    if let Some(reason) = reason_to_skip() {
        eprintln!("the lab is skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/record");
    let status = Command::new(record).arg("--into").arg(folder.path()).status().expect("the lab starts");
    assert!(status.success(), "the lab failed: {status}");
    let fresh = case::recordings(folder.path()).expect("the recordings can be listed");
    assert!(!fresh.is_empty(), "every case was skipped");
    let wrong = case::check_all(&fresh);
    assert!(wrong.is_empty(), "of {} recordings:\n{}", fresh.len(), wrong.join("\n"));
    for one in fresh.iter().filter(|one| one.name == "server.pcap" && one.title().starts_with("seed-")) {
        let report = one.report(one.inventory()).expect("a report");
        assert!(case::finds(&report, "unlisted-source-refused", "sources", "192.0.2.45"), "{}", one.title());
        assert!(case::finds(&report, "expected-never-seen", "prefixes", "10.21.0.0/16"), "{}", one.title());
    }
}
