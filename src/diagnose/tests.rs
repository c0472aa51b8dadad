use super::scene::samples::{With, inventory, report, source};
use super::*;
use crate::config::Outcome::{Answered, Denied, Refused, Unsolicited};
use crate::report::SourceLine;
use crate::sources::Leg;

pub const SERVER: &str = "10.20.30.40";

/// Office, VPN pool, guests who are to be refused, and the server itself.
pub const INVENTORY: &str = "\
prefix,name,kind,expect
10.20.0.0/16,office,,
10.21.0.0/16,vpn,vpn,
198.51.100.0/24,guests,,refuse
10.20.30.40,resolver,server,
";

/// The findings about sources under an inventory.
pub fn findings(text: &str, sources: Vec<SourceLine>) -> Vec<Finding> {
    let inventory = inventory(text);
    diagnose(&report(sources, &inventory), &inventory, &Limits::default())
}

/// Kind, severity and grade of each finding.
pub fn kinds(findings: &[Finding]) -> Vec<(&str, &str, &str)> {
    findings.iter().map(|finding| (finding.kind, finding.severity.name(), finding.grade.name())).collect()
}

/// A source that was refused, at the usual server.
pub fn refused(address: &str, count: u64) -> SourceLine {
    source(address, SERVER).with(Refused, count)
}

/// A source that was answered.
pub fn answered(address: &str, count: u64) -> SourceLine {
    source(address, SERVER).with(Answered, count)
}

#[test]
fn who_got_other_responses_is_not_called_unanswered() {
    // Five refusals, and seven responses that are none, all without their queries; or one query among them.
    for queries in [0, 1] {
        let mut line = source("10.20.1.7", SERVER).with(Refused, queries).with(Unsolicited, 12);
        line.row.rare_mut().refused_unsolicited = 5;
        line.row.queries = queries;
        let found = findings(INVENTORY, vec![line, answered("10.21.0.1", 3)]);
        let finding = found.iter().find(|finding| finding.kind == "listed-source-refused").unwrap();
        assert_eq!(finding.severity.name(), "warning");
        assert!(finding.says.ends_with("; 7 responses without their queries are no refusals."), "{}", finding.says);
        assert!(!finding.says.contains("none of its queries was answered"), "{}", finding.says);
    }
}

#[test]
fn a_server_that_others_turn_away_may_hand_on_what_they_say() {
    let advice = |leg: Leg, beside: u64, clients: Vec<SourceLine>| {
        let mut itself = source(SERVER, "10.40.0.53").with(Refused, beside);
        itself.leg = leg;
        let found = findings(INVENTORY, clients.into_iter().chain([itself]).collect());
        let finding = found.into_iter().find(|finding| finding.kind == "listed-source-refused").unwrap();
        finding.advice.unwrap()
    };
    let said = "Or does 10.20.30.40 hand on what others tell it? It was turned away 6 times itself (--upstream): then \
                look up 10.20.30.40 in their access rules.";
    for answers in [0, 2] {
        let client = || vec![refused("10.20.1.7", 3).with(Answered, answers)];
        assert!(advice(Leg::Upstream, 6, client()).ends_with(said));
        assert!(!advice(Leg::Upstream, 0, client()).contains("hand on"));
        assert!(!advice(Leg::Other, 6, client()).contains("hand on"), "who that is, is not known");
    }
}

#[test]
fn nothing_advises_to_admit_everybody() {
    let sources = || vec![refused("192.0.2.45", 3), refused("10.20.1.1", 3), refused("127.0.0.1", 1)];
    for text in [INVENTORY, "10.0.0.0/8\n", "172.16.0.0/12\n10.9.0.0/16\n"] {
        for finding in findings(text, sources()) {
            let advice = finding.advice.unwrap_or_default();
            for wide in ["0.0.0.0/0", "::/0", "allow any", "open"] {
                assert!(!advice.contains(wide), "{advice}");
            }
        }
    }
}

#[test]
fn what_the_host_of_a_server_is_told_as_another_address_may_be_handed_on() {
    let inventory = inventory(INVENTORY);
    // A balancer asks a resolver on its own host, and, from the host's address, another one.
    let looped = || source("127.0.0.1", "127.0.0.1").with(Refused, 4);
    let other = || source("10.9.0.1", "10.9.0.9").with(Refused, 2);
    let of_inputs = |sources: Vec<SourceLine>, here: bool, asking: &[&str], here_in: &[usize]| {
        let mut report = report([vec![refused("10.20.1.1", 3)], sources].concat(), &inventory);
        let server: IpAddr = SERVER.parse().unwrap();
        report.here.extend(here.then_some(server));
        report.asking = asking.iter().map(|address| (address.parse().unwrap(), 0)).collect();
        if !here_in.is_empty() {
            report.inputs.push(report.inputs[0].clone());
            report.here_in = here_in.iter().map(|input| (server, *input)).collect();
        }
        let found = diagnose(&report, &inventory, &Limits::default());
        found.into_iter().find(|finding| finding.kind == "listed-source-refused").unwrap().advice.unwrap()
    };
    let advice = |sources, here, asking: &[&str]| of_inputs(sources, here, asking, &[]);
    let said = |times: &str, sources: &str| {
        format!(
            "Or does {SERVER} hand on what others tell it? Its host was turned away {times} itself, as {sources} (--all): \
             then look that up in their access rules."
        )
    };
    let looped_says = advice(vec![looped()], true, &[]);
    assert!(looped_says.ends_with(&said("4 times", "127.0.0.1")), "{looped_says}");
    let both = advice(vec![looped(), other()], true, &["10.9.0.1"]);
    assert!(both.ends_with(&said("6 times", "10.9.0.1, 127.0.0.1")), "{both}");
    for (sources, here, asking) in
        [(vec![looped()], false, &[][..]), (vec![other()], true, &[]), (vec![other()], false, &["10.9.0.1"])]
    {
        let advice = advice(sources, here, asking);
        assert!(!advice.contains("hand on"), "another host: {advice}");
    }
    // Of two inputs one was captured at the server: what the other's host asked is that host's.
    let asking = ["10.9.0.1"];
    assert!(of_inputs(vec![looped(), other()], true, &asking, &[0]).ends_with(&said("6 times", "10.9.0.1, 127.0.0.1")));
    assert!(!of_inputs(vec![looped(), other()], true, &asking, &[1]).contains("hand on"));
}

#[test]
fn a_prefix_seen_as_its_outside_is_not_absent() {
    let text = "prefix,name,outside\n10.20.0.0/16,office,\n10.21.0.0/16,vpn,192.0.2.45\n";
    let found = findings(text, vec![answered("10.20.1.7", 5), answered("192.0.2.45", 5), refused("203.0.113.9", 1)]);
    assert_eq!(kinds(&found), [("unlisted-source-refused", "info", "observed")]);
    let found = findings(text, vec![answered("10.20.1.7", 5), refused("192.0.2.45", 5)]);
    assert_eq!(kinds(&found), [("listed-source-refused", "critical", "observed")]);
    assert!(found[0].says.starts_with("192.0.2.45, the expected outside of 10.21.0.0/16 (vpn"), "{}", found[0].says);
}

#[test]
fn a_prefix_seen_on_another_leg_is_not_absent() {
    let mut upstream = answered("10.21.5.18", 5);
    upstream.leg = Leg::Upstream;
    let found = findings(INVENTORY, vec![answered("10.20.1.7", 5), upstream, refused("192.0.2.45", 9)]);
    assert_eq!(kinds(&found), [("unlisted-source-refused", "info", "observed")]);
}

#[test]
fn a_more_specific_line_does_not_speak_for_the_wider_one() {
    let text = "10.20.0.0/16\n10.20.9.0/24\n";
    let found = findings(text, vec![answered("10.20.9.1", 5), refused("192.0.2.45", 9)]);
    assert_eq!(found[0].subject.prefixes, ["10.20.0.0/16"]);
    assert_eq!(found[0].severity, Severity::Critical);
}

#[test]
fn listed_sources_are_critical_only_when_starved() {
    let found = findings("10.20.0.0/16\n", vec![refused("10.20.1.1", 12)]);
    assert_eq!(kinds(&found), [("listed-source-refused", "critical", "observed")]);
    assert_eq!(
        found[0].says,
        "10.20.1.1, of 10.20.0.0/16 (expect.csv:1), is expected to be allowed but was refused 12 times by \
             10.20.30.40; none of its queries was answered there in time."
    );
    let found = findings("10.20.0.0/16\n", vec![refused("10.20.1.1", 1).with(Answered, 340)]);
    assert_eq!(kinds(&found), [("listed-source-refused", "warning", "observed")]);
    assert!(found[0].says.ends_with("was refused once by 10.20.30.40; 340 queries of it were answered there."));
    let found = findings("10.20.0.0/16\n", vec![refused("10.20.1.1", 1).with(Answered, 340), refused("10.20.1.2", 2)]);
    assert_eq!(found[0].severity, Severity::Critical);
    assert!(
        found[0].says.contains("no query of 1 of them was answered there in time; 340 queries of the others were"),
        "{}",
        found[0].says
    );
}

#[test]
fn findings_are_per_server_and_line() {
    let found = findings(
        "10.20.0.0/16\n10.21.0.0/16\n",
        vec![
            refused("10.20.1.1", 1),
            refused("10.20.1.2", 2),
            refused("10.21.1.1", 4),
            source("10.20.1.1", "10.20.30.39").with(Refused, 8),
        ],
    );
    let who: Vec<(String, &str, u64)> = found
        .iter()
        .map(|finding| {
            (finding.subject.server.unwrap().to_string(), finding.subject.prefixes[0].as_str(), finding.count)
        })
        .collect();
    assert_eq!(
        who,
        [
            ("10.20.30.39".to_owned(), "10.20.0.0/16", 8),
            ("10.20.30.40".to_owned(), "10.20.0.0/16", 3),
            ("10.20.30.40".to_owned(), "10.21.0.0/16", 4),
        ]
    );
    assert_eq!(found[1].subject.sources, ["10.20.1.2", "10.20.1.1"], "most refused first");
}

#[test]
fn intended_refusals_are_kept_out_of_the_alarm() {
    let found = findings("prefix,expect\n198.51.100.0/24,refuse\n", vec![refused("198.51.100.7", 7)]);
    assert_eq!(kinds(&found), [("refused-as-intended", "info", "observed")]);
    assert_eq!(
        found[0].says,
        "198.51.100.7 of 198.51.100.0/24 (expect.csv:2) was refused 7 times by 10.20.30.40, as expected."
    );
}

#[test]
fn answers_to_the_unlisted_and_to_those_to_be_refused_are_warnings() {
    let found = findings(
        "prefix,expect\n198.51.100.0/24,refuse\n",
        vec![answered("198.51.100.7", 7).with(Refused, 1), answered("203.0.113.9", 3), answered("127.0.0.1", 2)],
    );
    assert_eq!(
        kinds(&found),
        [
            ("unlisted-source-answered", "warning", "observed"),
            ("unlisted-source-answered", "warning", "observed"),
            ("unlisted-source-answered", "info", "observed"),
            ("refused-as-intended", "info", "observed"),
        ]
    );
    assert_eq!(
        found[0].says,
        "198.51.100.7 of 198.51.100.0/24 (expect.csv:2) is expected to be refused but was answered 7 times by \
             10.20.30.40. It was also refused once by 10.20.30.40."
    );
    assert_eq!(found[1].says, "203.0.113.9 is in no inventory line and was answered 3 times by 10.20.30.40.");
}

#[test]
fn denials_and_responses_without_a_query_count_and_are_said_apart() {
    let mut line = source("203.0.113.9", SERVER).with(Refused, 15).with(Denied, 5).with(Unsolicited, 4);
    line.row.rare_mut().refused_unsolicited = 3;
    let found = findings("10.20.0.0/16\n", vec![answered("10.20.0.1", 1), line]);
    assert_eq!(found[0].count, 23);
    assert!(
        found[0].says.contains(
            "turned away 23 times by 10.20.30.40 (refused 18, denied with another code 5; 3 of these by responses \
                 whose queries are not known)"
        ),
        "{}",
        found[0].says
    );
    let mut line = source("203.0.113.9", SERVER).with(Unsolicited, 1);
    line.row.rare_mut().refused_unsolicited = 1;
    let found = findings("10.20.0.0/16\n", vec![answered("10.20.0.1", 1), line]);
    assert_eq!(found[0].count, 1);
    assert!(found[0].says.contains("refused once by 10.20.30.40 (1 of these by a response whose"), "{}", found[0].says);
}

#[test]
fn a_capture_as_expected_has_no_alarm() {
    let found = findings(
        INVENTORY,
        vec![
            answered("10.20.1.7", 5),
            answered("10.21.5.18", 5),
            refused("198.51.100.7", 2),
            refused("203.0.113.9", 1),
        ],
    );
    assert!(found.iter().all(|finding| finding.severity == Severity::Info), "{:?}", kinds(&found));
    assert!(findings(INVENTORY, vec![answered("10.20.1.7", 5), answered("10.21.5.18", 5)]).is_empty());
}

#[test]
fn without_refusals_an_absent_prefix_is_only_worth_knowing() {
    let found = findings(INVENTORY, vec![answered("10.20.1.7", 5)]);
    assert_eq!(kinds(&found), [("expected-never-seen", "info", "observed")]);
    assert_eq!(
        found[0].says,
        "No DNS traffic of 1 of 3 expected prefixes in 900 frames from 2025-12-31T09:04:10Z to \
             2025-12-31T09:04:40Z: 10.21.0.0/16 (vpn, expect.csv:3). This is about this capture only; whether it \
             lost packets is not recorded."
    );
    assert_eq!(found[0].subject.server, Some(SERVER.parse().unwrap()));
}

#[test]
fn joined_sources_accuse_nobody() {
    let joined = source("10.21.0.0/17", SERVER).with(crate::config::Outcome::Unanswered, 1000);
    let found = findings("10.20.0.0/16\n10.21.0.0/16\n10.21.7.0/24\n", vec![joined, refused("192.0.2.45", 1)]);
    assert_eq!(
        kinds(&found),
        [("unlisted-source-refused", "warning", "observed"), ("expected-never-seen", "warning", "observed")]
    );
    assert_eq!(found[1].subject.prefixes, ["10.20.0.0/16"]);
    assert!(found[1].says.contains("Of 2 more it is not known"), "{}", found[1].says);
    let says = &found[0].says;
    assert!(says.contains("1 expected prefix was not seen in the same 30 s (expected-never-seen)."), "{says}");
    assert!(says.contains("Whether 2 expected prefixes were seen is not known"), "{says}");
}

#[test]
fn what_could_not_be_looked_into_is_said() {
    let inventory = inventory("10.20.0.0/16\n10.21.0.0/16\n");
    let mut report = report(vec![answered("10.20.1.7", 5)], &inventory);
    report.ledgers.packets.buckets =
        vec![("frames", 900), ("udp_dns", 880), ("snap_cut", 5), ("tcp_non_dns", 12), ("not_selected", 3)];
    let found = diagnose(&report, &inventory, &Limits::default());
    assert!(found[0].says.contains("17 frames could not be looked into. 3 frames were left out"), "{}", found[0].says);
}

#[test]
fn what_a_filter_left_out_accuses_nobody() {
    let inventory = inventory(INVENTORY);
    let mut report = report(vec![answered("10.20.1.7", 5), refused("192.0.2.45", 187)], &inventory);
    report.filtered = true;
    report.ledgers.packets.buckets = vec![("frames", 900), ("not_selected", 3)];
    let found = diagnose(&report, &inventory, &Limits::default());
    assert_eq!(
        kinds(&found),
        [("unlisted-source-refused", "info", "observed"), ("expected-never-seen", "info", "observed")]
    );
    assert!(found[1].says.contains("The filter may be why"), "{}", found[1].says);
}

#[test]
fn of_refusals_alone_nothing_is_called_absent() {
    let inventory = inventory(INVENTORY);
    let mut report = report(vec![refused("192.0.2.45", 187)], &inventory);
    report.filtered = true;
    report.live = Some(crate::report::LiveReport { refused_only: true, ..Default::default() });
    let found = diagnose(&report, &inventory, &Limits::default());
    assert_eq!(kinds(&found), [("unlisted-source-refused", "info", "observed")]);
}

#[test]
fn joined_sources_are_counted_at_least() {
    let found =
        findings("10.20.0.0/16\n", vec![answered("10.20.0.1", 1), refused("192.0.2.0/31", 4), refused("192.0.2.9", 1)]);
    assert!(found[0].says.contains("At least 2 sources in no inventory line were refused"), "{}", found[0].says);
    let text = "prefix,expect\n10.20.0.0/16,\n198.51.100.0/24,refuse\n";
    let found = findings(
        text,
        vec![
            refused("10.20.0.0/24", 4),
            refused("10.20.1.0/24", 1).with(Answered, 2),
            refused("198.51.100.0/25", 3),
            refused("198.51.100.128/25", 1).with(Answered, 1),
            answered("192.0.2.0/31", 2),
            answered("192.0.2.8/31", 2),
        ],
    );
    for (at, says) in [
        "At least 2 sources of 10.20.0.0/16 (expect.csv:2) are expected to be allowed but were refused 5 times by \
             10.20.30.40; no query of at least 1 of them was answered there in time; 2 queries of the others were.",
        "Sources in 198.51.100.128/25 of 198.51.100.0/24 (expect.csv:3) are expected to be refused but were answered \
             once by 10.20.30.40. They were also refused once by 10.20.30.40.",
        "At least 2 sources in no inventory line were answered 4 times by 10.20.30.40, most often 192.0.2.0/31 (2 \
             times).",
        "At least 2 sources of 198.51.100.0/24 (expect.csv:3) were refused 4 times by 10.20.30.40, as expected.",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(found[at].says, *says);
    }
    let found = findings("10.20.0.0/16\n", vec![answered("10.20.0.1", 1), refused("192.0.2.0/24", 4)]);
    assert_eq!(found[0].says, "Sources in 192.0.2.0/24 in no inventory line were refused 4 times by 10.20.30.40.");
}

#[test]
fn of_a_line_only_what_no_narrower_line_decides_is_called_absent() {
    let text = "10.20.0.0/16\n10.21.0.0/16\n10.21.7.0/24\n";
    let found = findings(text, vec![answered("10.20.0.1", 1), answered("10.21.7.9", 1), refused("192.0.2.45", 4)]);
    let says = &found[0].says;
    assert_eq!((found[0].severity, found[0].subject.prefixes[0].as_str()), (Severity::Critical, "10.21.0.0/16"));
    for text in [
        "no DNS traffic from 10.21.0.0/16 (expect.csv:2) outside of its narrower line (expect.csv:3) in the same 30 s.",
        "Inferred: clients of the rest of 10.21.0.0/16 may arrive as 192.0.2.45;",
        "and nobody in the rest of 10.21.0.0/16 may have asked meanwhile, or only through interfaces that were not captured.",
    ] {
        assert!(says.contains(text), "{says}");
    }
    let says = &found[1].says;
    assert!(says.contains(": 10.21.0.0/16 (expect.csv:2) outside of its narrower line (expect.csv:3). "), "{says}");
}

#[test]
fn lists_are_bounded_and_counts_are_not() {
    let sources = (0..300u32).map(|at| refused(&format!("203.0.{}.{}", at / 250, at % 250 + 1), 2)).collect();
    let inventory = inventory("10.20.0.0/16\n");
    let limits = Limits { finding_members: 7, finding_frames: 3, ..Limits::default() };
    let found = diagnose(&report(sources, &inventory), &inventory, &limits);
    assert_eq!((found[0].subject.sources.len(), found[0].count), (7, 600));
    assert_eq!(found[0].frames, [(0, vec![2, 4])]);
    assert!(found[0].says.contains("300 sources"), "{}", found[0].says);
}

#[test]
fn without_an_inventory_nothing_is_listed_or_unlisted() {
    let empty = Inventory::default();
    assert!(diagnose(&report(vec![refused("192.0.2.45", 1)], &empty), &empty, &Limits::default()).is_empty());
}

#[test]
fn a_search_for_changes_that_no_signal_can_end_is_short() {
    let signal = Arc::new(AtomicBool::new(false));
    let sources = 1_000_000;
    assert!(scene::effort(Some(&signal)).decides(sources));
    assert!(!scene::effort(None).decides(sources));
}
