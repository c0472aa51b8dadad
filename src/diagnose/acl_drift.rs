//! The file allows, the wire refuses: the server runs something else, or something else answered.

use super::Finding;
use super::scene::Scene;
use super::verdicts::{Group, finding, groups, outcomes, who};
use crate::config::{Outcome, Severity};
use crate::expect::acl::Word;

/// The name of the diagnosis.
pub const KIND: &str = "acl-drift";

/// Outcomes that an allowed request does not have.
const TURNED_AWAY: [Outcome; 3] = [Outcome::Refused, Outcome::Denied, Outcome::Silent];

/// One finding per server and rule.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let found = groups(scene, |_, tally| {
        tally.judged.decision.word == Word::Allow && TURNED_AWAY.iter().any(|outcome| tally.count(*outcome) > 0)
    });
    found.iter().map(|group| one(scene, group)).collect()
}

fn one(scene: &Scene<'_>, group: &Group<'_>) -> Finding {
    let answered = group.count(&[Outcome::Answered]);
    let severity = if answered == 0 { Severity::Critical } else { Severity::Warning };
    let mut finding = finding(scene, KIND, severity, group, &TURNED_AWAY, true);
    let also = match answered {
        0 => "none of their other requests was answered there in time".to_owned(),
        count => format!("{count} other requests of theirs were answered there"),
    };
    finding.says = format!(
        "{} says allow for {}, but on the wire they were {} by {}; {also}.",
        group.describe(),
        who(scene, &group.sources(&TURNED_AWAY)),
        outcomes(group, &TURNED_AWAY),
        group.server
    );
    finding.advice = Some(format!(
        "Does {} run this file? Compare with what it has loaded, reload it, and see whether another node, view or box \
         answered for it.",
        group.server
    ));
    finding
}
