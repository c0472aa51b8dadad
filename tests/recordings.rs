//! The recordings of real servers in `captures/`, compared with the witnesses recorded with them.
//!
//! `tests/lab/record` made them: real servers, real translation and real clients, with a truth derived from tshark's
//! fields (`*.truth.tsv`) and with what dig, connection tracking and the servers reported themselves. A new case needs
//! no code here; the tests after the first one check what single cases were recorded for.

use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "recordings/case.rs"]
mod case;
#[path = "recordings/table.rs"]
mod table;

use case::{Recording, check_all, finds, recordings};

/// Where the cases are.
fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// The recordings of one case whose name passes.
fn of_case(case: &str, wanted: impl Fn(&str) -> bool) -> Vec<Recording> {
    let all = recordings(&captures()).expect("the recordings can be listed");
    let found: Vec<Recording> = all.into_iter().filter(|one| one.folder.ends_with(case) && wanted(&one.name)).collect();
    assert!(!found.is_empty(), "captures/{case} has no such recording");
    found
}

/// The report of a recording with its inventory.
fn report(recording: &Recording) -> Value {
    recording.report(recording.inventory()).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Counts, names, totals and ledgers of every recording.
#[test]
fn every_recording_agrees_with_its_witnesses() {
    let all = recordings(&captures()).expect("the recordings can be listed");
    assert!(all.len() >= 40, "only {} recordings", all.len());
    let wrong = check_all(&all);
    assert!(wrong.is_empty(), "{} sentences on {} recordings:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// The story of the project: the translated address is named, and the prefix that hides behind it.
#[test]
fn the_seed_story_is_told() {
    for case in ["seed-unbound", "seed-unbound-allowed", "seed-bind", "seed-bind-allowed"] {
        for recording in of_case(case, |name| name.starts_with("server")) {
            let (outside, prefix) = if recording.name.contains("-v6") {
                ("2001:db8:ffff::45", "2001:db8:21::/48")
            } else {
                ("192.0.2.45", "10.21.0.0/16")
            };
            let report = report(&recording);
            let title = recording.title();
            assert!(finds(&report, "unlisted-source-refused", "sources", outside), "{title}: {outside} is not named");
            assert!(finds(&report, "expected-never-seen", "prefixes", prefix), "{title}: {prefix} is not named");
        }
    }
}

/// On the router the client itself is seen, so its prefix is not missing.
#[test]
fn the_router_sees_both_legs() {
    for recording in of_case("seed-unbound", |name| name.starts_with("router")) {
        let report = report(&recording);
        let prefix = if recording.name.contains("-v6") { "2001:db8:21::/48" } else { "10.21.0.0/16" };
        assert!(!finds(&report, "expected-never-seen", "prefixes", prefix), "{}: {prefix} was seen", recording.title());
    }
}

/// Nobody is alarmed where nothing is wrong.
#[test]
fn the_clean_case_alarms_nobody() {
    for recording in of_case("clean", |name| name.starts_with("server")) {
        let report = report(&recording);
        let loud: Vec<&Value> =
            report["findings"].as_array().into_iter().flatten().filter(|one| one["severity"] != "info").collect();
        assert!(loud.is_empty(), "{}: {loud:?}", recording.title());
    }
}

/// Unbound's refusals carry no question: each name is the query's, and the row says so.
#[test]
fn refusals_without_a_question_get_their_name_back() {
    for case in ["seed-unbound", "seed-unbound-allowed"] {
        for recording in of_case(case, |_| true) {
            for row in recording.rows().unwrap_or_else(|reason| panic!("{reason}")) {
                if table::cell(&row, "outcome") == "refused" {
                    assert_eq!(table::cell(&row, "question"), "restored", "{}: {row:?}", recording.title());
                    assert!(!table::cell(&row, "qname").is_empty(), "{}: {row:?}", recording.title());
                }
            }
        }
    }
}

/// One recording cut into files gives the same report as the whole, apart from names, frame numbers and byte accounts.
#[test]
fn a_cut_recording_reads_like_the_whole() {
    let [whole, parts] = ["whole.pcap", "parts.set"].map(|name| {
        let recording = of_case("rotated", |found| found == name).remove(0);
        report(&recording)
    });
    for part in ["totals", "sources"] {
        assert_eq!(whole[part], parts[part], "{part}");
    }
    assert_eq!(without_frames(&whole["findings"]), without_frames(&parts["findings"]), "findings");
}

/// Findings without their frames.
fn without_frames(findings: &Value) -> Value {
    let mut findings = findings.clone();
    for finding in findings.as_array_mut().into_iter().flatten() {
        finding.as_object_mut().map(|fields| fields.remove("frames"));
    }
    findings
}

/// Silence is told from loss where the server is the vantage, and a connection that is closed on the client from both.
#[test]
fn denial_by_silence_is_named() {
    for recording in of_case("silent", |_| true) {
        let rows = recording.rows().unwrap_or_else(|reason| panic!("{reason}"));
        for row in rows.iter().filter(|row| table::cell(row, "client") == "10.90.2.10") {
            let expected = if table::cell(row, "transport") == "tcp" { "tcp-rejected" } else { "silent" };
            assert_eq!(table::cell(row, "outcome"), expected, "{}: {row:?}", recording.title());
        }
    }
}

/// A check that only opens a connection and closes it itself was not rejected.
#[test]
fn a_connection_the_client_closes_is_not_rejected() {
    for recording in of_case("health-checks", |_| true) {
        let rows = recording.rows().unwrap_or_else(|reason| panic!("{reason}"));
        let rejected = rows.iter().filter(|row| table::cell(row, "outcome") == "tcp-rejected").count();
        assert_eq!(rejected, 0, "{}", recording.title());
    }
}

/// A transfer that is not authorised is denied, not answered and not refused: four at Knot DNS.
#[test]
fn not_authorised_is_a_denial() {
    for recording in of_case("transfers", |name| name == "knot.pcap") {
        let rows = recording.rows().unwrap_or_else(|reason| panic!("{reason}"));
        let denied: Vec<_> = rows.iter().filter(|row| table::cell(row, "outcome") == "denied").collect();
        assert_eq!(denied.len(), 4, "{}", recording.title());
        assert!(denied.iter().all(|row| table::cell(row, "rcode") == "NOTAUTH"), "{denied:?}");
    }
}
