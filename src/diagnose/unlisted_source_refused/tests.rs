//! Findings about sources in no inventory line, and about the prefixes that may be behind them.

use super::*;
use crate::config::Limits;
use crate::config::Outcome::{Answered, Refused};
use crate::diagnose::diagnose;
use crate::diagnose::scene::samples::{With, inventory, report, source};
use crate::diagnose::tests::{INVENTORY, SERVER, answered, findings, kinds, refused};
use crate::report::Report;

#[test]
fn the_one_absent_prefix_is_named_as_an_inference() {
    let found = findings(INVENTORY, vec![refused("192.0.2.45", 187), answered("10.20.1.7", 500)]);
    assert_eq!(
        kinds(&found),
        [("unlisted-source-refused", "critical", "inferred"), ("expected-never-seen", "warning", "observed"),]
    );
    let finding = &found[0];
    assert_eq!(finding.id, "unlisted-source-refused-1");
    assert_eq!(finding.subject.server, Some(SERVER.parse().unwrap()));
    assert_eq!((finding.subject.sources.as_slice(), finding.count), (["192.0.2.45".to_owned()].as_slice(), 187));
    assert_eq!(finding.subject.prefixes, ["10.21.0.0/16"]);
    assert_eq!(finding.frames, [(0, (1..=20).map(|at| 2 * at).collect::<Vec<u64>>())]);
    assert!(
        finding.says.starts_with(
            "Observed: 192.0.2.45 was refused 187 times by 10.20.30.40 and is in no inventory line. Observed: no \
                 DNS traffic from 10.21.0.0/16 (vpn, expect.csv:3) in the same 30 s. This is about this capture only;"
        ),
        "{}",
        finding.says
    );
    assert!(
        finding.says.ends_with(
            "Inferred: clients of 10.21.0.0/16 may arrive as 192.0.2.45; other explanations remain: it may be a \
                 stranger, and nobody in 10.21.0.0/16 may have asked meanwhile, or only through interfaces that were \
                 not captured."
        ),
        "{}",
        finding.says
    );
    let advice = finding.advice.as_deref().unwrap();
    assert!(advice.contains("admits everyone behind it") && advice.contains("Ask who owns 192.0.2.45"), "{advice}");
    assert_eq!(found[1].subject.prefixes, ["10.21.0.0/16"]);
    assert_eq!(found[1].count, 1);
}

#[test]
fn what_else_may_be_is_said_and_is_no_alarm() {
    let others = |sources: &[SourceLine]| {
        let found = findings(INVENTORY, [&[answered("10.20.1.7", 500)], sources].concat());
        let finding = found.into_iter().find(|finding| finding.kind == "unlisted-source-refused").unwrap();
        (finding.severity.name(), finding.says)
    };
    let (severity, says) = others(&[refused("192.0.2.45", 3).with(Answered, 9)]);
    assert_eq!(severity, "warning");
    assert!(says.contains("it may be a stranger, it may ask for others, being answered as well, and"), "{says}");
    let (severity, says) = others(&[refused("192.0.2.45", 3), answered("203.0.113.9", 2)]);
    assert_eq!(severity, "warning");
    assert!(
        says.contains("they may arrive as 203.0.113.9, in no inventory line as well but answered, and nobody in"),
        "{says}"
    );
}

#[test]
fn a_single_address_has_no_clients_in_it() {
    let found = findings("prefix,name,kind\n10.9.9.9,balancer,proxy\n", vec![refused("192.0.2.45", 3)]);
    let says = &found[0].says;
    assert!(says.contains("Inferred: 10.9.9.9 may arrive as 192.0.2.45; other explanations remain"), "{says}");
    assert!(says.contains("it may be a stranger, and 10.9.9.9 may not have asked meanwhile"), "{says}");
    let advice = found[0].advice.as_deref().unwrap();
    assert!(advice.contains("both sides of the translation that 10.9.9.9 passes, at"), "{advice}");
}

#[test]
fn away_from_the_server_a_source_seen_as_itself_may_be_seen_again() {
    let inventory = inventory(INVENTORY);
    let sources = || vec![answered("10.20.1.7", 5), refused("10.20.5.18", 3), refused("192.0.2.45", 3)];
    let of_unlisted = |report: &Report| {
        let found = diagnose(report, &inventory, &Limits::default());
        found.into_iter().find(|finding| finding.kind == "unlisted-source-refused").unwrap()
    };
    let mut there = report(sources(), &inventory);
    there.here.insert(SERVER.parse().unwrap());
    let finding = of_unlisted(&there);
    assert_eq!(finding.subject.prefixes, ["10.21.0.0/16"], "at the server nobody else may be behind it");
    let mut away = report(sources(), &inventory);
    away.away.insert(SERVER.parse().unwrap());
    let finding = of_unlisted(&away);
    assert_eq!((finding.severity, finding.grade), (Severity::Warning, Grade::Observed));
    assert!(finding.subject.prefixes.is_empty() && !finding.says.contains("10.21."), "{}", finding.says);
    let said = "This was not captured at 10.20.30.40: 1 source (10.20.5.18), expected to be allowed and turned away as well, \
                    may stand here for the same before a translation. Which of them arrives as this source, if any does, is";
    assert!(finding.says.contains(said), "{}", finding.says);
    let says = of_unlisted(&report(sources(), &inventory)).says;
    assert!(says.contains("Unless this was captured at 10.20.30.40 (--vantage), 1 source (10.20.5.18)"), "{says}");
    // What looks like another server is perhaps the translation.
    let mut at_another = refused("10.20.5.18", 3);
    at_another.server = "10.20.30.41".parse().unwrap();
    let mut behind = report(vec![at_another, refused("192.0.2.45", 3)], &inventory);
    behind.here.insert("10.20.30.41".parse().unwrap());
    let said = "1 source (10.20.5.18), expected to be allowed and turned away by 10.20.30.41, may be the same before a \
                translation.";
    let says = of_unlisted(&behind).says;
    assert!(says.contains(said) && !says.contains("10.21."), "{says}");
    // At both servers each saw its own.
    behind.here.insert(SERVER.parse().unwrap());
    assert_eq!(of_unlisted(&behind).subject.prefixes, ["10.21.0.0/16"]);
}

#[test]
fn what_was_captured_at_the_server_is_not_called_away_for_another_input() {
    let more = inventory("10.20.0.0/16\n10.21.0.0/16\n10.30.0.0/16\n");
    let inventory = inventory("10.20.0.0/16\n10.21.0.0/16\n");
    let server: IpAddr = SERVER.parse().unwrap();
    let mut outside = refused("192.0.2.45", 3);
    outside.row.refusals_mut().frames.iter_mut().for_each(|frame| frame.input = 1);
    let mut both = report(vec![answered("10.20.1.7", 5), refused("10.21.5.18", 3), outside], &inventory);
    both.away.insert(server);
    let of = |report: &Report| -> Vec<(&str, Severity, String, String)> {
        let found = diagnose(report, &inventory, &Limits::default());
        let said = |one: Finding| (one.kind, one.severity, one.says, one.advice.unwrap_or_default());
        found.into_iter().map(said).collect()
    };
    let found = of(&both);
    assert_eq!((found[1].0, found[1].1), ("unlisted-source-refused", Severity::Info));
    both.here_in.insert((server, 1));
    let found = of(&both);
    assert_eq!((found[0].0, found[0].1), ("unlisted-source-refused", Severity::Critical));
    let said = "Observed: inputs that were not captured at 10.20.30.40 have 10.21.5.18, expected to be allowed and turned \
                    away by it. Inferred: they may arrive as 192.0.2.45; other explanations remain: it may be a stranger.";
    assert!(found[0].2.contains(said), "{}", found[0].2);
    assert!(found[1].3.starts_with("This was not captured at 10.20.30.40"), "{}", found[1].3);
    // Whom nobody saw is not accused where others were turned away on the other side.
    let found = diagnose(&both, &more, &Limits::default());
    let unlisted = found.iter().find(|finding| finding.kind == "unlisted-source-refused").unwrap();
    assert!(unlisted.says.contains(said) && !unlisted.says.contains("10.30."), "{}", unlisted.says);
    // Nothing shows where the others were captured: perhaps at the same server.
    both.away.clear();
    let found = of(&both);
    let unlisted = found.iter().find(|finding| finding.0 == "unlisted-source-refused").unwrap();
    assert!(unlisted.1 == Severity::Warning && unlisted.2.contains("nothing shows to be captured"), "{}", unlisted.2);
    both.away.insert(server);
    both.vantage = Some(crate::config::Vantage::Path);
    assert_eq!(of(&both)[1].1, Severity::Info, "what the operator says goes first");
}

#[test]
fn of_several_absent_prefixes_none_is_accused() {
    let found = findings(INVENTORY, vec![refused("192.0.2.45", 187)]);
    assert_eq!(
        kinds(&found),
        [("unlisted-source-refused", "warning", "observed"), ("expected-never-seen", "warning", "observed")]
    );
    assert!(found[0].subject.prefixes.is_empty());
    assert!(!found[0].says.contains("10.21.0.0/16") && !found[0].says.contains("10.20.0.0/16"), "{}", found[0].says);
    assert!(found[0].says.contains("2 expected prefixes were not seen"), "{}", found[0].says);
    assert_eq!(found[1].subject.prefixes, ["10.20.0.0/16", "10.21.0.0/16"], "the server's line is satisfied");
}

#[test]
fn a_scanner_beside_an_absent_prefix_is_only_one_of_the_possible_sources() {
    let found =
        findings(INVENTORY, vec![answered("10.20.1.7", 5), refused("192.0.2.45", 187), refused("203.0.113.99", 1)]);
    assert_eq!(found[0].subject.sources, ["192.0.2.45", "203.0.113.99"]);
    assert_eq!(found[0].count, 188);
    assert!(found[0].says.contains("2 sources in no inventory line were refused 188 times"), "{}", found[0].says);
    assert!(found[0].says.contains("most often 192.0.2.45 (187 times)"), "{}", found[0].says);
    assert!(found[0].says.contains("may arrive as one or more of these sources"), "{}", found[0].says);
    assert!(found[0].says.contains("they may be strangers"), "{}", found[0].says);
    assert_eq!(found.iter().filter(|finding| finding.kind == "unlisted-source-refused").count(), 1);
}

#[test]
fn address_families_that_cannot_be_translated_are_not_accused() {
    let v6 = |address: &str| refused(address, 4);
    let office = answered("10.20.1.7", 5);
    let found = findings(INVENTORY, vec![office.clone(), v6("2001:db8::9")]);
    assert_eq!((found[0].kind, found[0].severity), ("expected-never-seen", Severity::Warning));
    assert_eq!((found[1].kind, found[1].severity), ("unlisted-source-refused", Severity::Info));
    let found = findings(INVENTORY, vec![office.clone(), v6("2001:db8::9"), refused("192.0.2.45", 3)]);
    assert_eq!(found[0].severity, Severity::Critical);
    assert!(found[0].says.contains("may arrive as 192.0.2.45; "), "{}", found[0].says);
    let found = findings("10.20.0.0/16\n2001:db8:21::/48\n", vec![office.clone(), refused("192.0.2.45", 3)]);
    let said = "clients of 2001:db8:21::/48 may arrive as 192.0.2.45 (IPv6 as IPv4: through NAT64); ";
    assert!(found[0].says.contains(said), "{}", found[0].says);
    assert_eq!(found[0].severity, Severity::Warning, "less likely than a translation within a family");
    // Both families of one network are missing where only one of them was captured.
    let both = "10.20.0.0/16\n10.21.0.0/16\n2001:db8:20::/48\n2001:db8:21::/48\n";
    let found = findings(both, vec![office.clone(), refused("192.0.2.45", 3)]);
    assert_eq!(
        (found[0].severity, found[0].subject.prefixes.as_slice()),
        (Severity::Critical, ["10.21.0.0/16".to_owned()].as_slice())
    );
    let found = findings(both, vec![office, v6("2001:db8::9"), answered("2001:db8:20::1", 1)]);
    assert_eq!(found[0].subject.prefixes, ["2001:db8:21::/48"]);
}

#[test]
fn nobody_arrives_as_one_of_our_servers_or_as_loopback() {
    let other_server = source("10.50.0.9", "10.20.30.40").with(Refused, 4);
    let its_clients = source("10.20.1.7", "10.50.0.9").with(Answered, 4);
    let found = findings(INVENTORY, vec![other_server, its_clients, refused("127.0.0.1", 2)]);
    let own: Vec<&Finding> = found.iter().filter(|finding| finding.kind == "unlisted-source-refused").collect();
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].severity, own[0].grade), (Severity::Warning, Grade::Observed));
    assert!(own[0].subject.prefixes.is_empty() && !own[0].says.contains("arrive"), "{}", own[0].says);
}

#[test]
fn private_strangers_are_a_warning_and_stand_apart_from_the_others() {
    let text = "10.20.0.0/16\n";
    let mut sources = vec![answered("10.20.1.7", 5)];
    for address in ["10.99.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "fd00::1", "fe80::1"] {
        sources.push(refused(address, 1));
    }
    for address in ["203.0.113.9", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
        sources.push(refused(address, 1));
    }
    let found = findings(text, sources);
    assert_eq!(
        kinds(&found),
        [("unlisted-source-refused", "warning", "observed"), ("unlisted-source-refused", "info", "observed")]
    );
    assert_eq!((found[0].count, found[1].count), (7, 4));
    assert_eq!(found[0].id, "unlisted-source-refused-1");
    assert_eq!(found[1].id, "unlisted-source-refused-2");
}

#[test]
fn whom_a_proxy_names_is_claimed() {
    let inventory = inventory("prefix,name\n192.0.2.1,branch\n10.1.0.0/16,office\n");
    let mut report = report(vec![refused("10.9.9.9", 2)], &inventory);
    let clients = vec!["192.0.2.1:4000".parse().unwrap(), "192.0.2.77:1".parse().unwrap()];
    let pair = crate::transact::proxied::ProxiedPair { asked: 2, understood: 2, clients, ..Default::default() };
    report.proxied = [((SERVER.parse().unwrap(), "10.9.9.9".parse().unwrap()), pair)].into();
    let found = diagnose(&report, &inventory, &Limits::default());
    assert_eq!(kinds(&found)[0], ("unlisted-source-refused", "warning", "observed"));
    assert!(
        found[0].says.ends_with(
            "Which other of them arrives as this source, if any does, is not shown. Claimed: PROXY headers of \
                 10.9.9.9 name 192.0.2.1 (branch, expect.csv:2), 192.0.2.77 (in no inventory line)."
        ),
        "{}",
        found[0].says
    );
    assert_eq!(found[0].subject.inside, ["192.0.2.1", "192.0.2.77"]);
    let never = "PROXY headers name clients of 192.0.2.1 (branch, expect.csv:2) (by 10.9.9.9) (claimed).";
    assert!(found[1].says.ends_with(never), "{}", found[1].says);
    // A balancer that is expected: the server judges its clients, perhaps.
    let listed = self::inventory("prefix,name\n10.9.9.9,balancer\n192.0.2.1,branch\n");
    let mut of_listed = self::report(vec![refused("10.9.9.9", 2)], &listed);
    of_listed.proxied = report.proxied;
    let found = diagnose(&of_listed, &listed, &Limits::default());
    let finding = found.iter().find(|finding| finding.kind == "listed-source-refused").unwrap();
    let claim =
        "Claimed: PROXY headers of 10.9.9.9 name 192.0.2.1 (branch, expect.csv:3), 192.0.2.77 (in no inventory line).";
    assert!(finding.says.ends_with(claim), "{}", finding.says);
    assert_eq!(finding.subject.inside, ["192.0.2.1", "192.0.2.77"]);
    assert!(
        finding.advice.as_ref().unwrap().contains("may have judged whom those headers name"),
        "{:?}",
        finding.advice
    );
}
