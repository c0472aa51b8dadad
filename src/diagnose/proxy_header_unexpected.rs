//! Servers that take a proxy's header (PROXY protocol) for the message itself, or do not answer the message behind it.

use super::scene::{Scene, some, times};
use super::{Finding, Found, Grade, Subject};
use crate::config::Severity;
use crate::report::page::{counted, grouped};
use crate::sources::FrameRef;
use crate::transact::proxied::ProxiedPair;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "proxy-header-unexpected";

/// Most clients named in a sentence.
const SHOWN: usize = 3;

/// Makes one finding per server: about proxies whose header it answered, or whose queries behind a header it never
/// answered.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let mut servers: BTreeMap<(IpAddr, bool), Vec<(IpAddr, &ProxiedPair)>> = BTreeMap::new();
    for ((server, source), pair) in &scene.report.proxied {
        let mistaken = pair.mistaken > 0;
        let never = pair.understood == 0 && !pair.understood_before;
        if mistaken || (never && pair.unanswered > 0) {
            servers.entry((*server, mistaken)).or_default().push((*source, pair));
        }
    }
    found.all(servers.iter().map(|((server, mistaken), group)| finding(scene, *server, *mistaken, group)));
}

/// The finding about a server and the proxies it does not understand.
fn finding(scene: &Scene<'_>, server: IpAddr, mistaken: bool, group: &[(IpAddr, &ProxiedPair)]) -> Finding {
    let sum = |of: fn(&ProxiedPair) -> u64| group.iter().map(|(_, pair)| of(pair)).sum::<u64>();
    let (asked, count) =
        (sum(|pair| pair.asked), if mistaken { sum(|pair| pair.mistaken) } else { sum(|pair| pair.unanswered) });
    // In a report of an interval, some were asked before it.
    let asked = asked.max(count);
    let sources: Vec<String> = group.iter().map(|(source, _)| source.to_string()).collect();
    let mut inside: Vec<String> =
        group.iter().flat_map(|(_, pair)| pair.clients.iter().map(|client| client.ip().to_string())).collect();
    inside.sort_unstable();
    inside.dedup();
    let who = some(&sources, SHOWN);
    // When there were too many clients, only some were kept.
    let least = if group.iter().any(|(_, pair)| pair.more_clients) {
        format!("at least {}: ", counted(inside.len() as u64, "client", "clients"))
    } else {
        String::new()
    };
    let for_whom = if inside.is_empty() {
        String::new()
    } else {
        format!(" on behalf of {least}{} (claimed)", some(&inside, SHOWN))
    };
    inside.truncate(scene.limits.finding_members);
    let begin = format!("{who} asked {server} {} with a PROXY header before the message{for_whom}", times(asked));
    let understood = sum(|pair| pair.understood);
    let besides = match understood {
        0 => String::new(),
        _ => {
            format!(
                " It answered {} of them as meant: perhaps it expects the header on some addresses only.",
                grouped(understood)
            )
        }
    };
    let says = if mistaken {
        format!(
            "{begin}. {server} answered {} as if the header were the message (the answer's identifier is the header's \
             first two bytes): it does not expect one.{besides}",
            times(count)
        )
    } else {
        format!("{begin} and got no answer. Inferred: {server} does not expect the header; it may also be down.")
    };
    Finding {
        id: String::new(),
        kind: KIND,
        grade: if mistaken { Grade::Observed } else { Grade::Inferred },
        severity: Severity::Warning,
        subject: Subject {
            server: Some(server),
            sources: sources.into_iter().take(scene.limits.finding_members).collect(),
            inside,
            ..Subject::default()
        },
        says,
        count,
        frames: frames(group, scene.limits.finding_frames),
        advice: Some(format!(
            "Let {server} accept the header from {who} and from nobody else (BIND: allow-proxy with listen-on ... proxy; \
             Unbound and NSD: proxy-protocol-port; PowerDNS: proxy-protocol-from; Knot: proxy-allowlist), or turn it off \
             there (dnsdist: useProxyProtocol)."
        )),
        not_listed: 0,
    }
}

/// The first frames of a group by input.
fn frames(group: &[(IpAddr, &ProxiedPair)], most: usize) -> Vec<(usize, Vec<u64>)> {
    let mut all: Vec<FrameRef> = group.iter().flat_map(|(_, pair)| pair.frames.iter().copied()).collect();
    all.sort_unstable();
    let mut by_input: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for frame in all {
        let of_input = by_input.entry(frame.input as usize).or_default();
        if of_input.len() < most {
            of_input.push(frame.frame);
        }
    }
    by_input.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::diagnose::diagnose;
    use crate::expect::Inventory;
    use crate::report::Report;

    fn found(pair: ProxiedPair) -> Vec<Finding> {
        let key = ("10.0.0.53".parse().unwrap(), "10.0.0.5".parse().unwrap());
        let report = Report { proxied: [(key, pair)].into(), ..Report::default() };
        diagnose(&report, &Inventory::default(), &Limits::default())
    }

    fn pair(understood: u64, mistaken: u64, unanswered: u64) -> ProxiedPair {
        ProxiedPair {
            asked: understood + mistaken + unanswered,
            understood,
            mistaken,
            unanswered,
            clients: vec!["192.0.2.7:99".parse().unwrap()],
            frames: vec![FrameRef { input: 0, frame: 7 }],
            ..ProxiedPair::default()
        }
    }

    #[test]
    fn an_answer_to_the_header_is_observed_and_silence_inferred() {
        let observed = found(pair(0, 3, 1));
        assert_eq!((observed.len(), observed[0].grade, observed[0].count), (1, Grade::Observed, 3));
        assert_eq!(
            observed[0].says,
            "10.0.0.5 asked 10.0.0.53 4 times with a PROXY header before the message on behalf of 192.0.2.7 (claimed). \
             10.0.0.53 answered 3 times as if the header were the message (the answer's \
             identifier is the header's first two bytes): it does not expect one."
        );
        assert_eq!(observed[0].frames, [(0, vec![7])]);
        let inferred = found(pair(0, 0, 2));
        assert_eq!((inferred[0].grade, inferred[0].count), (Grade::Inferred, 2));
        assert!(found(pair(5, 0, 2)).is_empty(), "a lost answer is no sign");
        assert!(found(pair(5, 1, 0))[0].says.ends_with("on some addresses only."));
        // When there were too many clients, their number is not known.
        let more = ProxiedPair { more_clients: true, ..pair(0, 1234, 0) };
        let says = &found(more)[0].says;
        assert!(says.contains("on behalf of at least 1 client: 192.0.2.7 (claimed)"), "{says}");
        assert!(says.contains("answered 1,234 times"), "{says}");
    }
}
