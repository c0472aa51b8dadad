//! Sources that the inventory expects to be refused, and that were.

use super::Finding;
use super::scene::{Scene, Tally, refused_frames};
use crate::config::Severity;
use crate::expect::inventory::show_prefix;
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;

/// The name of the diagnosis.
pub const KIND: &str = "refused-as-intended";

/// One finding per server and deciding line.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let groups = scene.groups(|client| match client.expected {
        Expected::Listed(row) if row.expect == Expect::Refuse && client.line.turned_away() > 0 => Some(row.index),
        _ => None,
    });
    groups
        .iter()
        .map(|((server, row), group)| {
            let row = &scene.inventory.rows()[*row];
            let mut finding = scene.finding(KIND, Severity::Info, group, SourceLine::turned_away, refused_frames);
            finding.subject.prefixes = vec![show_prefix(row.prefix)];
            let who = match group.len() {
                1 => format!("{} of {} was", finding.subject.sources[0], row.describe()),
                count => format!("{count} sources of {} were", row.describe()),
            };
            finding.says = format!("{who} {}, as expected.", Tally::of(group).turned_away(*server));
            finding
        })
        .collect()
}
