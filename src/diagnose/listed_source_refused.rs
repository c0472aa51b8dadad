//! Sources that the inventory expects to be allowed and that the server refused.

use super::claimed::claimed;
use super::scene::{Client, Scene, Tally, alone, begins, is_joined, refused_frames, some, sources, times};
use super::verdicts::doubt_of_place;
use super::{Finding, Found};
use crate::config::{Outcome, Severity};
use crate::expect::inventory::{Row, show_prefix};
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;
use crate::report::page::{counted, grouped};
use std::fmt::Write as _;

/// The name of the diagnosis.
pub const KIND: &str = "listed-source-refused";

/// Most addresses named in the advice.
const NAMED: usize = 3;

/// Makes one finding per server and deciding line.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let groups = scene.groups(|client| match client.expected {
        Expected::Listed(row) if row.expect == Expect::Allow && client.line.turned_away() > 0 => Some(row.index),
        _ => None,
    });
    found.all(groups.iter().map(|((_, row), group)| finding(scene, &scene.inventory.rows()[*row], group)));
}

/// The finding about one group.
fn finding(scene: &Scene<'_>, row: &Row, group: &[Client<'_>]) -> Finding {
    // Without answers in the capture, nobody is known to have got none; nor is it known where queries are missing.
    let only_refusals = scene.report.has_only_refusals();
    let known = !only_refusals && group.iter().any(|client| client.line.row.queries > 0);
    let tally = Tally::of(group);
    let starves = |client: &&Client<'_>| {
        let second = client.line.row.rare().answered_second;
        client.line.count(Outcome::Answered) + others_without_query(client) == 0
            && second < client.line.count(Outcome::Refused).max(1)
    };
    let starved = group.iter().filter(starves).count();
    let severity = if known && starved > 0 { Severity::Critical } else { Severity::Warning };
    let mut finding = scene.finding(KIND, severity, group, SourceLine::turned_away, refused_frames);
    finding.subject.prefixes = vec![show_prefix(row.prefix)];
    let server = group[0].line.server;
    let first = &finding.subject.sources[0];
    let answered = match (known, only_refusals) {
        (true, _) => answered(group, tally, starved),
        (false, true) => NOT_KNOWN.to_owned(),
        (false, false) => format!("{NO_QUERIES}{}", others_said(group)),
    };
    let (who, are) = match alone(group) {
        Some(only) => {
            let who = match (row.prefix == only.line.source, row.prefix.contains(&only.line.source)) {
                (true, _) => row.describe(),
                (false, true) => format!("{first}, of {},", row.describe()),
                (false, false) => format!("{first}, the expected outside of {},", row.describe()),
            };
            (who, "is expected to be allowed but was")
        }
        None => {
            (format!("{} of {}", begins(&sources(group, "")), row.describe()), "are expected to be allowed but were")
        }
    };
    finding.says = format!("{who} {are} {}; {answered}.", tally.turned_away(server));
    let claimed = claimed(scene, group);
    let advice = if starved > 0 && scene.report.is_away_for(server, &finding.frames) {
        format!(
            "This was not captured at {server}: find out as which address {first} arrives there, and look that up in its \
             access rules."
        )
    } else if starved > 0 {
        let advice = format!(
            "Look up {first} in the access rules of {server}: is its prefix missing, or does a narrower rule or a view \
             decide? If the inventory is out of date, change {}.",
            row.rule()
        );
        doubt_of_place(scene, server, &finding.frames, advice)
    } else if tally.answered == 0 && group.iter().any(|client| others_without_query(client) > 0) {
        "Capture both directions: which of the responses answers what is not known without the queries.".to_owned()
    } else if tally.answered == 0 {
        format!(
            "Each refused query got a second response that answers it: find out who else answers for {server} (another \
             node or path), and which of the two reaches the client first."
        )
    } else {
        "The same sources were answered too: compare names and types of what was refused and answered (--format csv \
         --all)."
            .to_owned()
    };
    let advice = match claimed {
        Some(claimed) => {
            finding.says.push_str(&claimed.says);
            finding.subject.inside = claimed.clients;
            format!(
                "{advice} The server may have judged whom those headers name: compare `identity` of what was refused and \
                 answered, too."
            )
        }
        None => advice,
    };
    // A forwarder or balancer passes on the responses it gets.
    finding.advice = Some(match (scene.turned_away_itself(server), scene.host_turned_away(server)) {
        (0, (0, _)) => advice,
        (0, (count, sources)) => {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            format!(
                "{advice} Or does {server} hand on what others tell it? Its host was turned away {} itself, as {} (--all): \
                 then look that up in their access rules.",
                times(count),
                some(&sources, NAMED)
            )
        }
        (count, _) => format!(
            "{advice} Or does {server} hand on what others tell it? It was turned away {} itself (--upstream): then look up \
             {server} in their access rules.",
            times(count)
        ),
    });
    finding
}

/// The statement about answers where queries are missing.
const NO_QUERIES: &str = "whether other queries were answered there is not known, because no query was captured";

/// Responses to a client that are not refusals and whose queries were not captured.
fn others_without_query(client: &Client<'_>) -> u64 {
    let rare = client.line.row.rare();
    rare.unsolicited.saturating_sub(rare.refused_unsolicited)
}

/// The statement about those of a group.
fn others_said(group: &[Client<'_>]) -> String {
    match group.iter().map(others_without_query).sum() {
        0 => String::new(),
        1 => "; 1 response without its query is no refusal".to_owned(),
        count => format!("; {} responses without their queries are no refusals", grouped(count)),
    }
}

/// The statement about answers where none were captured.
const NOT_KNOWN: &str =
    "whether other queries were answered there is not known, because only REFUSED responses were captured";

/// The statement about answers to a group of which this many sources got none.
fn answered(group: &[Client<'_>], tally: Tally, starved: usize) -> String {
    let queries = |count: u64| counted(count, "query", "queries");
    let joined = group.iter().any(is_joined);
    let others: u64 = group.iter().map(others_without_query).sum();
    let mut says = if alone(group).is_some() {
        match tally.answered {
            0 if others > 0 => "no query of it is known to have been answered there".to_owned(),
            0 if tally.answered_second > 0 => "none of its other queries was answered there in time".to_owned(),
            0 => "none of its queries was answered there in time".to_owned(),
            1 => "1 query of it was answered there".to_owned(),
            count => format!("{} of it were answered there", queries(count)),
        }
    } else {
        match (starved, tally.answered) {
            (_, 0) if others > 0 => "no query of any of them is known to have been answered there".to_owned(),
            (_, 0) if tally.answered_second > 0 => "none of their other queries was answered there in time".to_owned(),
            (starved, 0) if starved == group.len() => "none of their queries was answered there in time".to_owned(),
            (0, count) if joined || tally.answered_second > 0 => {
                format!("{} of them were answered there", queries(count))
            }
            (0, count) => format!("each of them was answered there too, {} in all", queries(count)),
            (starved, count) => {
                let least = if joined { "at least " } else { "" };
                let count = queries(count);
                format!(
                    "no query of {least}{} of them was answered there in time; {count} of the others were",
                    grouped(starved as u64)
                )
            }
        }
    };
    match tally.answered_second {
        0 => {}
        1 => says.push_str("; 1 refused query was answered by a second response"),
        count => {
            let _ = write!(says, "; {} refused queries were answered by second responses", grouped(count));
        }
    }
    says.push_str(&others_said(group));
    says
}
