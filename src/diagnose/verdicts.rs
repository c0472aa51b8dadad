//! Groups what servers' files say for diagnoses: sources by the rule that decides for them; and words what findings
//! about files have in common.

use super::scene::{Scene, some, times};
use super::{Finding, Grade, Subject};
use crate::config::{Outcome, Severity};
use crate::expect::acl::compare::Question;
use crate::expect::acl::judge::Tally;
use crate::expect::acl::{Acl, RuleId, Word};
use crate::report::page::grouped;
use crate::report::sides::LeftAs;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Questions compared at most to find the most frequent one, and refused sources whose questions are all examined.
pub(super) const COMPARED: usize = 256;

/// Sources of one server for which one rule decides.
#[derive(Debug)]
pub struct Group<'a> {
    /// The server.
    pub server: IpAddr,
    /// Number of its configuration.
    pub number: usize,
    /// Its configuration.
    pub acl: &'a Acl,
    /// The deciding rule; `None` when there is none in the text.
    pub rule: Option<RuleId>,
    /// The sources with their counts of decisions.
    pub members: Vec<(IpAddr, &'a Tally)>,
}

impl Group<'_> {
    /// Number of transactions with these outcomes.
    pub fn count(&self, outcomes: &[Outcome]) -> u64 {
        self.members.iter().map(|(_, tally)| count(tally, outcomes)).sum()
    }

    /// The sources, those with most transactions of these outcomes first.
    pub fn sources(&self, outcomes: &[Outcome]) -> Vec<IpAddr> {
        let mut by_source: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for (source, tally) in &self.members {
            *by_source.entry(*source).or_default() += count(tally, outcomes);
        }
        let mut sources: Vec<(IpAddr, u64)> = by_source.into_iter().collect();
        sources.sort_by_key(|(source, count)| (Reverse(*count), *source));
        sources.into_iter().map(|(source, _)| source).collect()
    }

    /// The rule with its text: `unbound.conf:42 (access-control: 0.0.0.0/0 refuse)`.
    pub fn describe(&self) -> String {
        describe(self.acl, self.rule)
    }
}

/// Number of transactions with these outcomes.
pub(super) fn count(tally: &Tally, outcomes: &[Outcome]) -> u64 {
    outcomes.iter().map(|outcome| tally.count(*outcome)).sum()
}

/// A rule with its text.
pub fn describe(acl: &Acl, rule: Option<RuleId>) -> String {
    match rule.map(|rule| acl.rule(rule)) {
        Some(rule) => format!("{rule} ({})", rule.text),
        None => crate::error::escape_text(&acl.name),
    }
}

/// A server, the number of its file, and the rule.
type GroupKey = (IpAddr, usize, Option<RuleId>);

/// Groups the counts that `wanted` selects by server and deciding rule.
pub fn groups<'a>(scene: &Scene<'a>, wanted: impl Fn(IpAddr, &Tally) -> bool) -> Vec<Group<'a>> {
    let Some(verdicts) = scene.verdicts else { return Vec::new() };
    let mut groups: BTreeMap<GroupKey, Vec<(IpAddr, &'a Tally)>> = BTreeMap::new();
    for ((source, server), tallies) in &verdicts.pairs {
        for tally in tallies.iter().filter(|tally| wanted(*source, tally)) {
            let Some(acl) = tally.judged.acl else { continue };
            groups.entry((*server, acl, tally.judged.decision.rule)).or_default().push((*source, tally));
        }
    }
    let group =
        |((server, number, rule), members)| Group { server, number, acl: &verdicts.acls[number], rule, members };
    groups.into_iter().map(group).collect()
}

/// A finding about a group; `differing` selects the frames that disagree with the file.
pub fn finding(
    scene: &Scene<'_>,
    kind: &'static str,
    severity: Severity,
    group: &Group<'_>,
    outcomes: &[Outcome],
    differing: bool,
) -> Finding {
    let sources = group.sources(outcomes);
    Finding {
        id: String::new(),
        kind,
        grade: Grade::Evaluated,
        severity,
        subject: Subject {
            server: Some(group.server),
            sources: sources.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
            ..Subject::default()
        },
        says: String::new(),
        count: group.count(outcomes),
        frames: frames(scene, group.members.iter().map(|(_, tally)| *tally), differing),
        advice: None,
        not_listed: 0,
    }
}

/// The first frames of some counts by input: those that agree with the file, or those that do not.
pub fn frames<'t>(
    scene: &Scene<'_>,
    tallies: impl Iterator<Item = &'t Tally>,
    differing: bool,
) -> Vec<(usize, Vec<u64>)> {
    let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for frame in tallies.flat_map(|tally| &tally.frames[usize::from(differing)]) {
        let frames = by_input.entry(frame.input as usize).or_default();
        frames.insert(frame.frame);
        if frames.len() > scene.limits.finding_frames {
            frames.pop_last();
        }
    }
    by_input.into_iter().map(|(input, frames)| (input, frames.into_iter().collect())).collect()
}

/// Sources in words: one address, or the number and the first few. When there were too many, only some were kept.
pub fn who(scene: &Scene<'_>, sources: &[IpAddr]) -> String {
    let least = if scene.verdicts.is_some_and(|verdicts| verdicts.not_kept > 0) { "at least " } else { "" };
    match sources {
        [only] if least.is_empty() => only.to_string(),
        sources => {
            let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
            let word = if sources.len() == 1 { "source" } else { "sources" };
            format!("{least}{} {word} ({})", grouped(sources.len() as u64), some(&names, 3))
        }
    }
}

/// Words for sources after [`who`] named them: `it was`, `its`, `of its own`, or their plural.
pub fn spoken_of(scene: &Scene<'_>, sources: &[IpAddr]) -> [&'static str; 3] {
    match sources {
        // When not all were kept apart, there may be others.
        [_] if scene.verdicts.is_none_or(|verdicts| verdicts.not_kept == 0) => ["it was", "its", "of its own"],
        _ => ["they were", "their", "of theirs"],
    }
}

/// `refused 3 times, met with silence once`.
pub fn outcomes(group: &Group<'_>, of: &[Outcome]) -> String {
    let parts: Vec<String> = of
        .iter()
        .filter(|outcome| group.count(&[**outcome]) > 0)
        .map(|outcome| {
            let what = if *outcome == Outcome::Silent { "met with silence" } else { outcome.name() };
            format!("{what} {}", times(group.count(&[*outcome])))
        })
        .collect();
    parts.join(", ")
}

/// The next step where a capture taken away from the server disagrees with the server's file.
pub fn capture_there(scene: &Scene<'_>, server: IpAddr) -> String {
    if scene.report.here_in.iter().any(|(here, _)| *here == server) {
        return format!(
            "These frames were not captured at {server}: if a translation lies between, the server saw, and judged, another \
             address. Compare with the input that was captured there."
        );
    }
    format!(
        "This was not captured at {server}: if a translation lies between, the server saw, and judged, another address. \
         Capture there, at the same time."
    )
}

/// The next step about refusals, preceded by the question of where the capture was taken when nothing shows whether
/// these frames were captured at the server.
pub fn doubt_of_place(scene: &Scene<'_>, server: IpAddr, frames: &[(usize, Vec<u64>)], advice: String) -> String {
    let known = scene.report.is_at_for(server, frames) || scene.report.is_away_for(server, frames);
    if known { advice } else { doubt(server, scene.report.handed_on(server).refusals, advice) }
}

/// A next step that holds if a server itself decided; as what queries to it may have left for another one.
pub fn doubt(server: IpAddr, left_as: Option<LeftAs>, advice: String) -> String {
    if advice.is_empty() {
        return advice;
    }
    let advice = match advice.strip_prefix("If it ") {
        Some(further) => format!("and it {further}"),
        None => goes_on(&advice),
    };
    if let Some((source, other)) = left_as {
        return format!(
            "Queries to {server} left here again, for one as from {source} to {other}, which responded first: most likely its \
             access rules decided, on what it saw. If {server} itself decided, {advice}"
        );
    }
    format!(
        "Was this captured at {server} (--vantage)? If not, and a translation lies between, the server saw, and judged, another \
         address. If it was, {advice}"
    )
}

/// Adapts a sentence to follow a comma.
fn goes_on(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The question that stands for what clients ask a server: the most frequent one that it is to answer, else the most
/// frequent one; unsigned before others; a placeholder name when nobody was seen to ask for a name.
pub fn usual_question(scene: &Scene<'_>, server: IpAddr) -> Question {
    let tallies = scene.judged_at(server).flat_map(|(_, tallies)| tallies);
    let mut asked: Vec<(&Question, (bool, bool, u64))> = Vec::new();
    for tally in tallies {
        let served = tally.judged.decision.word == Word::Allow;
        for (question, count) in tally.questions.iter().filter(|(question, _)| question.is_usual()) {
            let same =
                |(known, (_, as_well, _)): &(&Question, (bool, bool, u64))| *known == question && *as_well == served;
            match asked.iter().position(same) {
                Some(at) => asked[at].1.2 += count,
                None if asked.len() < COMPARED => asked.push((question, (question.key.is_none(), served, *count))),
                None => {}
            }
        }
    }
    let most = asked.iter().rev().max_by_key(|(_, rank)| *rank);
    most.map(|(question, _)| (*question).clone()).unwrap_or_default()
}

/// True when some client was seen to ask a server for a name.
pub fn was_asked(scene: &Scene<'_>, server: IpAddr) -> bool {
    scene.judged_at(server).flat_map(|(_, tallies)| tallies).any(Tally::may_be_usual)
}
