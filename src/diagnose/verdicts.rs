//! What servers' configurations say, grouped for diagnoses: sources by the rule that decides for them.

use super::admitting::admitting;
use super::scene::{Scene, some, times};
use super::{Finding, Grade, Subject};
use crate::config::{Outcome, Severity};
use crate::expect::acl::compare::{Question, not_within, within};
use crate::expect::acl::judge::{BEHIND_PROXY, OTHER_PORT, Tally, Verdicts, turns_away};
use crate::expect::acl::{Acl, RuleId, Word};
use crate::expect::inventory::show_prefix;
use crate::report::page::grouped;
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Most questions compared to find the most frequent one, and most sources whose refused questions are all looked at.
const COMPARED: usize = 256;
/// Most parts of a prefix named that a file treats differently.
const PARTS: usize = 4;
/// Questions of refused sources that are tried with another address: all that are kept of one source, and some of
/// others.
const QUESTIONS: usize = 128;
/// Most of these named in a sentence that would be treated otherwise under that address.
const QUESTIONS_NAMED: usize = 3;

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
fn count(tally: &Tally, outcomes: &[Outcome]) -> u64 {
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

/// The next step, preceded by the question of where the capture was taken when nothing shows whether these frames were
/// captured at the server.
pub fn doubt_of_place(scene: &Scene<'_>, server: IpAddr, frames: &[(usize, Vec<u64>)], advice: String) -> String {
    let known = scene.report.is_at_for(server, frames) || scene.report.is_away_for(server, frames);
    if known || advice.is_empty() {
        return advice;
    }
    let advice = match advice.strip_prefix("If it ") {
        Some(further) => format!("and it {further}"),
        None => goes_on(&advice),
    };
    if let Some((source, other)) = scene.report.handed_on.get(&server).filter(|_| scene.report.vantage.is_none()) {
        return format!(
            "Queries to {server} left here again, for one as from {source} to {other}, which responded first: its access \
             rules decided, on what it saw. If {server} itself decided, {advice}"
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

/// What sources asked of a server where some requests with the same decision were turned away, each question once; and
/// whether that is everything, not counting what `is_alike` whatever was asked.
fn turned_away_asking<'v>(
    verdicts: &'v Verdicts,
    sources: &[IpAddr],
    server: IpAddr,
    is_alike: impl Fn(IpAddr, &Tally) -> bool,
) -> (Vec<&'v Question>, bool) {
    let (mut asked, mut all): (Vec<&Question>, bool) =
        (Vec::new(), sources.len() <= COMPARED && verdicts.not_kept == 0);
    for source in sources.iter().take(COMPARED) {
        for (_, tally) in verdicts.of(IpNet::from(*source), server) {
            let turned_away = count(tally, &[Outcome::Refused, Outcome::Denied, Outcome::Silent]) > 0;
            if !turned_away && tally.judged.decision.word != Word::Drop {
                continue;
            }
            // When a decision has many questions, only some are kept.
            let kept: u64 = tally.questions.iter().map(|(_, count)| count).sum();
            all &= kept == tally.outcomes.iter().sum::<u64>() || is_alike(*source, tally);
            for (question, _) in &tally.questions {
                if asked.contains(&question) {
                    continue;
                }
                if asked.len() == QUESTIONS {
                    return (asked, false);
                }
                asked.push(question);
            }
        }
    }
    (asked, all)
}

/// Adds what the server's file says of refused sources, and of the prefix that may be behind them.
pub fn beside_refusal(
    scene: &Scene<'_>,
    server: IpAddr,
    sources: &[IpAddr],
    behind: Option<IpNet>,
    frames: &[(usize, Vec<u64>)],
) -> Option<(String, String)> {
    let verdicts = scene.verdicts?;
    let acl = verdicts.acls.iter().find(|acl| acl.speaks_for(server))?;
    let first = *sources.first()?;
    let tally = verdicts
        .of(IpNet::from(first), server)
        .map(|(_, tally)| tally)
        .max_by_key(|tally| (count(tally, &[Outcome::Refused, Outcome::Denied]), tally.outcomes.iter().sum::<u64>()))?;
    let (agreeing, differing) = tally.agreement();
    let decision = tally.judged.decision;
    let reason = decision.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut says =
        format!("The file says {} for {first}: {}{reason}", decision.word.name(), describe(acl, decision.rule));
    if agreeing + differing > 0 {
        let _ = write!(says, "; the wire agrees {} of {}", grouped(agreeing), grouped(agreeing + differing));
    }
    says.push('.');
    if matches!(decision.reason, Some(OTHER_PORT | BEHIND_PROXY)) {
        // The file does not decide there for anybody else either, or it may decide for the client that a proxy names.
        return Some((says, String::new()));
    }
    if scene.report.is_away_for(server, frames) {
        // As far as is known here, the server judged another address.
        return Some((says, capture_there(scene, server)));
    }
    if !scene.may_advise() {
        return Some((says, String::new()));
    }
    let question = tally.most_asked(Question::is_usual).or(tally.most_asked(|_| true));
    let question = question.map_or_else(|| usual_question(scene, server), |(question, _)| question.clone());
    let mut advice = String::new();
    if let Some(prefix) = behind {
        let (of_prefix, to_do) = beside_prefix(scene, acl, server, sources, prefix, &question);
        says.push_str(&of_prefix);
        advice.push_str(&to_do);
    }
    if matches!(decision.word, Word::Refuse | Word::Drop) {
        // It is not known for whom the server decides where only a proxy was seen.
        let of_proxy = |tally: &Tally| tally.judged.decision.reason == Some(BEHIND_PROXY);
        let is_itself = |source: &IpAddr| !verdicts.of(IpNet::from(*source), server).all(|(_, tally)| of_proxy(tally));
        let themselves: Vec<IpAddr> = sources.iter().copied().filter(is_itself).collect();
        let to_admit = admitting(scene, acl, server, &themselves, &question);
        if !to_admit.is_empty() {
            let _ = write!(advice, "If it is yours: {to_admit}");
        }
    }
    Some((says, doubt_of_place(scene, server, frames, advice.trim().to_owned())))
}

/// What a server's file says of a prefix's clients under their own addresses, where refused sources may be some of
/// them; and what that advises.
fn beside_prefix(
    scene: &Scene<'_>,
    acl: &Acl,
    server: IpAddr,
    sources: &[IpAddr],
    prefix: IpNet,
    question: &Question,
) -> (String, String) {
    let (mut says, mut advice) = (String::new(), String::new());
    let Some(verdicts) = scene.verdicts else { return (says, advice) };
    let (parts, _) = within(acl, prefix, question, Some(server), usize::MAX);
    let shown = show_prefix(prefix);
    let own = parts[0].1;
    let place = if parts.len() == 1 { describe(acl, own.rule) } else { "by several rules".to_owned() };
    // Refusal by silence and by a response are treated alike.
    let is_alike = |word: Word| word == own.word || (turns_away(word) && turns_away(own.word));
    let alike = parts.iter().all(|(_, decision)| is_alike(decision.word));
    let mut words: Vec<&str> = Vec::new();
    for (_, decision) in &parts {
        if !words.contains(&decision.word.name()) {
            words.push(decision.word.name());
        }
    }
    let words = words.join(" or ");
    // What is allowed is said for the first source only; what changes nothing is said for all.
    let whose = if turns_away(own.word) { sources } else { &sources[..1] };
    // Where one rule of one view turns both away, the same holds for everything that this rule decided.
    let view = |question: &Question, source: IpAddr| acl.view(&question.ask(source, server));
    let same_rule = |source: IpAddr, tally: &Tally| {
        let known = tally.questions.first().filter(|_| parts.len() == 1 && tally.judged.decision == own);
        known.is_some_and(|(known, _)| view(known, source) == view(question, parts[0].0.start()))
    };
    let (others, all) = turned_away_asking(verdicts, whose, server, same_rule);
    let others = others.into_iter().filter(|other| *other != question);
    let others = if alike { not_within(acl, prefix, others, server, is_alike) } else { Vec::new() };
    // Questions may differ in what is not shown, such as their transport.
    let otherwise: BTreeSet<String> = others.into_iter().map(Question::show).collect();
    let otherwise: Vec<String> = otherwise.into_iter().collect();
    match own.word {
        _ if !alike => {
            let named = parts.iter().take(PARTS);
            let words: Vec<String> =
                named.map(|(range, part)| format!("{} for {}", part.word.name(), range.show())).collect();
            let _ = write!(
                says,
                " Where clients of {shown} arrive under their own addresses, it says {}{}: whether the changed address is to \
                 blame depends on whose it is.",
                words.join(", "),
                if parts.len() > PARTS { ", and more" } else { "" }
            );
        }
        Word::Unknown => {}
        _ if !otherwise.is_empty() => {
            let _ = write!(
                says,
                " Where clients of {shown} arrive under their own addresses, it says {words} for {} ({place}), but not for {}: \
                 whether the changed address is to blame depends on what was asked.",
                question.show(),
                some(&otherwise, QUESTIONS_NAMED)
            );
        }
        Word::Allow => {
            let _ = write!(
                says,
                " It allows clients of {shown} under their own addresses ({place}): if it is one of them, only the changed address is to blame{}.",
                if all { "" } else { " for what was looked at" }
            );
            let _ = write!(
                advice,
                "Clients of {shown} are allowed as themselves: if it is one of them, do not translate them on the way here, or admit the address. "
            );
        }
        Word::Refuse | Word::Drop | Word::NotAuth => {
            let _ = write!(
                says,
                " It says {words} for clients of {shown} under their own addresses as well ({place}): restoring their source alone changes nothing{}.",
                if all { "" } else { " of what was looked at" }
            );
            if all && !scene.may_be_claimed(server, prefix) {
                let _ = write!(advice, "Allowing {shown} changes nothing for any source seen here. ");
            }
        }
    }
    (says, advice)
}
