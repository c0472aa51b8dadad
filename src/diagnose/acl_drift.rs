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
    found.iter().filter(|group| differs(group)).map(|group| one(scene, group)).collect()
}

/// True unless the server itself says no to such requests (NOTIMP, FORMERR), and that is all that happened: no line of the
/// file lets them pass.
fn differs(group: &Group<'_>) -> bool {
    let of_text = group.rule.is_none_or(|rule| group.acl.rule(rule).line > 0);
    of_text || group.count(&[Outcome::Refused, Outcome::Silent]) > 0
}

fn one(scene: &Scene<'_>, group: &Group<'_>) -> Finding {
    let answered = group.count(&[Outcome::Answered]);
    let severity = if answered == 0 { Severity::Critical } else { Severity::Warning };
    let mut finding = finding(scene, KIND, severity, group, &TURNED_AWAY, true);
    let also = match answered {
        0 => "none of their other requests under this rule was answered there in time".to_owned(),
        count => format!("{count} other requests of theirs under this rule were answered there"),
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
