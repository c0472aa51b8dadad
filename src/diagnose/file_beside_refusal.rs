//! Says what a server's file says of refused sources, and of the clients of a prefix that may be behind them.

use super::admitting::admitting;
use super::scene::{Scene, some};
use super::verdicts::{COMPARED, capture_there, count, describe, doubt_of_place, usual_question};
use crate::config::Outcome;
use crate::expect::acl::compare::{Question, not_within, within};
use crate::expect::acl::judge::{BEHIND_PROXY, OTHER_PORT, Tally, Verdicts, turns_away};
use crate::expect::acl::{Acl, Word};
use crate::expect::inventory::show_prefix;
use crate::report::page::grouped;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Parts of a prefix, treated differently by the file, that are named at most.
const PARTS: usize = 4;
/// Questions of refused sources that are evaluated for another address: all that are kept of one source, and some of
/// others.
const QUESTIONS: usize = 128;
/// Questions treated otherwise under that address that are named in a sentence at most.
const QUESTIONS_NAMED: usize = 3;

/// What sources asked a server where some requests with the same decision were refused, denied or met with silence,
/// each question once; and whether that is everything, not counting what `is_alike` whatever was asked.
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
