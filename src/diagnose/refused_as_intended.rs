//! Sources that were refused as the inventory intends, or as the server's own file does where there is no inventory.

use super::Found;
use super::scene::{Scene, Tally, alone, begins, of_line, refused_frames, sources};
use super::verdicts::{self, outcomes, spoken_of, who};
use crate::config::{Outcome, Severity};
use crate::expect::acl::Word;
use crate::expect::inventory::show_prefix;
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;

/// The name of the diagnosis.
pub const KIND: &str = "refused-as-intended";

/// Makes one finding per server and deciding line.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    if scene.inventory.is_empty() {
        as_the_file_says(scene, found);
        return;
    }
    let groups = scene.groups(|client| match client.expected {
        Expected::Listed(row) if row.expect == Expect::Refuse && client.line.turned_away() > 0 => Some(row.index),
        _ => None,
    });
    found.all(groups.iter().map(|((server, row), group)| {
        let row = &scene.inventory.rows()[*row];
        let mut finding = scene.finding(KIND, Severity::Info, group, SourceLine::turned_away, refused_frames);
        finding.subject.prefixes = vec![show_prefix(row.prefix)];
        let who = match alone(group) {
            Some(_) => format!("{} was", of_line(&finding.subject.sources[0], row)),
            None => format!("{} of {} were", begins(&sources(group, "")), row.describe()),
        };
        finding.says = format!("{who} {}, as expected.", Tally::of(group).turned_away(*server));
        finding
    }));
}

/// Without an inventory: what both the file and the wire turn away.
fn as_the_file_says(scene: &Scene<'_>, found: &mut Found) {
    let away = [Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected];
    let groups = verdicts::groups(scene, |_, tally| {
        let turns_away = matches!(tally.judged.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
        turns_away && tally.agreement().0 > 0 && away.iter().any(|outcome| tally.count(*outcome) > 0)
    });
    found.all(groups.iter().map(|group| {
        let mut finding = verdicts::finding(scene, KIND, Severity::Info, group, &away, false);
        let word = group.members.first().map_or("", |(_, tally)| tally.judged.decision.word.name());
        let sources = group.sources(&away);
        let [they_were, ..] = spoken_of(scene, &sources);
        finding.says = format!(
            "{} says {word} for {}, and on the wire {they_were} {} by {}: as the file means it.",
            group.describe(),
            who(scene, &sources),
            outcomes(group, &away),
            group.server
        );
        finding
    }));
}
