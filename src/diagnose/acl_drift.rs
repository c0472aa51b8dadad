//! The file allows, the wire refuses: the server runs something else, or something else answered.

use super::scene::Scene;
use super::verdicts::{Group, capture_there, doubt_of_place, finding, groups, outcomes, spoken_of, who};
use super::{Finding, Found};
use crate::config::{Outcome, Severity};
use crate::expect::acl::Word;
use crate::report::page::grouped;

/// The name of the diagnosis.
pub const KIND: &str = "acl-drift";

/// Outcomes that an allowed request cannot have.
const TURNED_AWAY: [Outcome; 3] = [Outcome::Refused, Outcome::Denied, Outcome::Silent];

/// Makes one finding per server and rule.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let groups = groups(scene, |_, tally| {
        tally.judged.decision.word == Word::Allow && TURNED_AWAY.iter().any(|outcome| tally.count(*outcome) > 0)
    });
    found.all(groups.iter().filter(|group| differs(group)).map(|group| one(scene, group)));
}

/// True unless the server itself rejects such requests (NOTIMP, FORMERR) and nothing else happened: no line of the file
/// lets them pass.
fn differs(group: &Group<'_>) -> bool {
    let of_text = group.rule.is_none_or(|rule| group.acl.rule(rule).line > 0);
    of_text || group.count(&[Outcome::Refused, Outcome::Silent]) > 0
}

fn one(scene: &Scene<'_>, group: &Group<'_>) -> Finding {
    let (answered, refused) = (group.count(&[Outcome::Answered]), group.count(&[Outcome::Refused, Outcome::Denied]));
    let only_refusals = scene.report.has_only_refusals();
    let known = !only_refusals && scene.report.totals.queries > 0;
    // An update may also be refused for its content.
    let usual = group.members.iter().any(|(_, tally)| tally.may_be_usual());
    let mut finding = finding(scene, KIND, Severity::Warning, group, &TURNED_AWAY, true);
    let away = scene.report.is_away_for(group.server, &finding.frames);
    let at = scene.report.is_at_for(group.server, &finding.frames);
    if known && answered == 0 && refused > 0 && usual && at {
        finding.severity = Severity::Critical;
    }
    let sources = group.sources(&TURNED_AWAY);
    let [they_were, their, of_theirs] = spoken_of(scene, &sources);
    let also = match answered {
        _ if only_refusals => "only REFUSED responses were captured".to_owned(),
        _ if !known => "no query was captured, so that what else was answered is not known".to_owned(),
        0 => format!("none of {their} other requests under this rule was answered there in time"),
        1 => format!("1 other request {of_theirs} under this rule was answered there"),
        count => format!("{} other requests {of_theirs} under this rule were answered there", grouped(count)),
    };
    finding.says = format!(
        "{} says allow for {}, but on the wire {they_were} {} by {}; {also}.",
        group.describe(),
        who(scene, &sources),
        outcomes(group, &TURNED_AWAY),
        group.server
    );
    if refused == 0 {
        // A response may be missing only from this capture.
        finding.says = format!("{} {}", finding.says, scene.report.caveats());
    }
    let advice = if away {
        capture_there(scene, group.server)
    } else if refused > 0 {
        format!(
            "Does {} run this file? Compare with what it has loaded, reload it, and see whether another node, view or box \
             answered for it. Rate limits refuse as well, and are not evaluated here.",
            group.server
        )
    } else {
        format!(
            "{0} may still have waited for another server (recursion), a rate limit or a firewall may have dropped the \
             queries; none of these is evaluated here. Look into its statistics and logs first; then, whether {0} runs \
             this file.",
            group.server
        )
    };
    finding.advice = Some(if away { advice } else { doubt_of_place(scene, group.server, &finding.frames, advice) });
    finding
}
