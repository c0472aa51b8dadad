//! Sources that the inventory expects to be allowed and the server refused.

use super::Finding;
use super::scene::{Client, Scene, Tally, alone, begins, is_joined, refused_frames, sources};
use crate::config::{Outcome, Severity};
use crate::expect::inventory::{Row, show_prefix};
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;

/// The name of the diagnosis.
pub const KIND: &str = "listed-source-refused";

/// One finding per server and deciding line.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let groups = scene.groups(|client| match client.expected {
        Expected::Listed(row) if row.expect == Expect::Allow && client.line.turned_away() > 0 => Some(row.index),
        _ => None,
    });
    groups.iter().map(|((_, row), group)| finding(scene, &scene.inventory.rows()[*row], group)).collect()
}

/// The finding about one group.
fn finding(scene: &Scene<'_>, row: &Row, group: &[Client<'_>]) -> Finding {
    let starved = group.iter().filter(|client| client.line.count(Outcome::Answered) == 0).count();
    let severity = if starved > 0 { Severity::Critical } else { Severity::Warning };
    let mut finding = scene.finding(KIND, severity, group, SourceLine::turned_away, refused_frames);
    finding.subject.prefixes = vec![show_prefix(row.prefix)];
    let tally = Tally::of(group);
    let server = group[0].line.server;
    let first = &finding.subject.sources[0];
    let joined = group.iter().any(is_joined);
    finding.says = if let Some(only) = alone(group) {
        let what = if row.prefix.contains(&only.line.source) { "of" } else { "the expected outside of" };
        let answered = match tally.answered {
            0 => "nothing of it was answered there in time".to_owned(),
            1 => "1 query of it was answered there".to_owned(),
            count => format!("{count} queries of it were answered there"),
        };
        format!(
            "{first}, {what} {}, is expected to be allowed but was {}; {answered}.",
            row.describe(),
            tally.turned_away(server)
        )
    } else {
        let answered = match (starved, tally.answered) {
            (starved, 0) if starved == group.len() => "nothing of any of them was answered there in time".to_owned(),
            (0, count) if joined => format!("{count} queries of them were answered there"),
            (0, count) => format!("each of them was answered there too, {count} queries in all"),
            (starved, count) => {
                let least = if joined { "at least " } else { "" };
                format!(
                    "nothing of {least}{starved} of them was answered there in time; {count} queries of the others were"
                )
            }
        };
        format!(
            "{} of {} are expected to be allowed but were {}; {answered}.",
            begins(&sources(group, "")),
            row.describe(),
            tally.turned_away(server)
        )
    };
    finding.advice = Some(if starved > 0 {
        format!(
            "Look up {first} in the access rules of {server}: is its prefix missing, or does a narrower rule or a view \
             decide? If the inventory is out of date, change {}.",
            row.rule()
        )
    } else {
        "The same sources were answered too: compare names and types of what was refused and answered (--format csv \
         --all)."
            .to_owned()
    });
    finding
}
