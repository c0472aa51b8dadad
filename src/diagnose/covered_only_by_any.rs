//! Sources that are served only because everybody is.

use super::Finding;
use super::scene::{Scene, times};
use super::verdicts::{finding, groups, who};
use crate::config::{Outcome, Severity};
use crate::expect::acl::{Place, RuleId, Word};
use std::collections::{HashMap, HashSet};

/// The name of the diagnosis.
pub const KIND: &str = "covered-only-by-any";

/// One finding per server and rule.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let Some(verdicts) = scene.verdicts else { return Vec::new() };
    let everybody: HashMap<usize, HashSet<RuleId>> = verdicts
        .acls
        .iter()
        .enumerate()
        .map(|(number, acl)| {
            let entries = acl.policy().entries().into_iter().filter(|entry| {
                let wide = entry.prefix.is_some_and(|prefix| prefix.prefix_len() == 0);
                wide && entry.admits && matches!(acl.place(entry.rule), Place::Text(_))
            });
            (number, entries.map(|entry| entry.rule).collect())
        })
        .collect();
    let answered = [Outcome::Answered];
    groups(scene, |_, tally| {
        let by_any = tally.judged.acl.zip(tally.judged.decision.rule);
        tally.judged.decision.word == Word::Allow
            && tally.count(Outcome::Answered) > 0
            && by_any.is_some_and(|(acl, rule)| everybody.get(&acl).is_some_and(|rules| rules.contains(&rule)))
    })
    .iter()
    .map(|group| {
        let mut finding = finding(scene, KIND, Severity::Info, group, &answered, false);
        finding.says = format!(
            "Only {} covers {}, whom {} answered {}: everybody else is served likewise.",
            group.describe(),
            who(scene, &group.sources(&answered)),
            group.server,
            times(group.count(&answered))
        );
        finding
    })
    .collect()
}
