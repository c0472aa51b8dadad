//! The file refuses, the wire answers: the server is more open than its file.

use super::Found;
use super::scene::{Scene, times};
use super::verdicts::{capture_there, doubt, finding, groups, who};
use crate::config::{Outcome, Severity};
use crate::expect::acl::Word;

/// The name of the diagnosis.
pub const KIND: &str = "acl-exposure";

/// Makes one finding per server and rule.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let answered = [Outcome::Answered];
    let groups = groups(scene, |_, tally| {
        matches!(tally.judged.decision.word, Word::Refuse | Word::Drop | Word::NotAuth) && tally.served() > 0
    });
    found.all(groups.iter().map(|group| {
        let mut finding = finding(scene, KIND, Severity::Warning, group, &answered, true);
        // Away from the server, the address seen may differ from the one that the server judged.
        let away = scene.report.is_away_for(group.server, &finding.frames);
        // Its refusals may be its own where its answers are another server's.
        let handed_on = scene.report.handed_on(group.server).answers;
        let at = scene.report.is_at_for(group.server, &finding.frames);
        if at && handed_on.is_none() {
            finding.severity = Severity::Critical;
        }
        finding.count = group.members.iter().map(|(_, tally)| tally.served()).sum();
        let word = group.members.first().map_or("", |(_, tally)| tally.judged.decision.word.name());
        finding.says = format!(
            "{} says {word} for {}, but {} answered {}.",
            group.describe(),
            who(scene, &group.sources(&answered)),
            group.server,
            times(finding.count)
        );
        finding.advice = Some(if away {
            capture_there(scene, group.server)
        } else {
            let advice =
                format!("Does {} run this file? Until it does, it is more open than the file says.", group.server);
            if at && handed_on.is_none() { advice } else { doubt(group.server, handed_on, advice) }
        });
        finding
    }));
}
