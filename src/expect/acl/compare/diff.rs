//! Compares two versions of a configuration ([`Differences`]): what changes for which sources, and which edits have no
//! effect.

use super::question::{Question, destination};
use super::range::{Range, ranges};
use super::without_effect::{WithoutEffect, without_effect};
use crate::expect::acl::{Acl, Decision, Serving, Treatment};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Two treatments that differ in verdict, view or recursion, reduced to the difference in how the request is served;
/// `None` when they do not differ.
pub fn differing(before: &Treatment, after: &Treatment) -> Option<(Treatment, Treatment)> {
    let nothing = Serving::default();
    let (was, is) = (before.serving.as_ref().unwrap_or(&nothing), after.serving.as_ref().unwrap_or(&nothing));
    let other_word = before.decision.word != after.decision.word;
    // Names the server holds are answered with and without recursion; holding more or fewer names is not about sources.
    let other_recursion = was.recursion != is.recursion && !was.held && !is.held;
    let other_view = was.view != is.view;
    let only = |decision: Decision, serving: &Serving| Treatment {
        decision,
        serving: (!other_word).then(|| Serving {
            view: serving.view.clone().filter(|_| other_view),
            recursion: serving.recursion.filter(|_| other_recursion),
            held: false,
        }),
    };
    (other_word || other_view || other_recursion).then(|| (only(before.decision, was), only(after.decision, is)))
}

/// A range of sources for which a question is treated differently than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The sources.
    pub range: Range,
    /// The verdict before; and how it was served, where the verdict is the same and that differs.
    pub before: Treatment,
    /// The verdict now, in the same way.
    pub after: Treatment,
    /// Numbers of the questions.
    pub questions: Vec<usize>,
}

/// Approximate limit of verdicts looked up: more would take minutes.
pub const VERDICTS: usize = 20_000_000;
/// Approximate least and greatest number of questions asked, all of which are kept.
const QUESTIONS: (usize, usize) = (500, 200_000);

/// The differences between two versions.
#[derive(Debug, Default)]
pub struct Differences {
    /// The questions that were asked.
    pub questions: Vec<Question>,
    /// Number of questions not asked, because there are too many names, keys and prefixes.
    pub not_asked: usize,
    /// Ranges whose verdict, view or recursion changes.
    pub changes: Vec<Change>,
    /// Additions that change nothing.
    pub without_effect: Vec<WithoutEffect>,
}

/// Compares two versions of a configuration for every source.
pub fn diff(old: &Acl, new: &Acl, asked: &[IpAddr]) -> Differences {
    let names: BTreeSet<Vec<u8>> = old.policy().names().into_iter().chain(new.policy().names()).collect();
    let keys: BTreeSet<Vec<u8>> = old.policy().keys().into_iter().chain(new.policy().keys()).collect();
    let zones = old.policy().names_are_zones() || new.policy().names_are_zones();
    let ranges = ranges(old.policy().prefixes().into_iter().chain(new.policy().prefixes()));
    let bound: BTreeSet<IpAddr> = old.bound().into_iter().chain(new.bound()).collect();
    let at: Vec<Option<IpAddr>> = match (asked.is_empty(), bound.is_empty()) {
        (false, _) => asked.iter().copied().map(Some).collect(),
        (true, false) => bound.into_iter().map(Some).collect(),
        (true, true) => vec![None],
    };
    let most = (VERDICTS / (2 * ranges.len() * at.len()).max(1)).clamp(QUESTIONS.0, QUESTIONS.1);
    let (questions, not_asked) = Question::all(&names, zones, &keys, most);
    let mut changes: Vec<Change> = Vec::new();
    // Changes of each range by number: there may be as many as lines.
    let mut of_range: HashMap<Range, Vec<usize>> = HashMap::new();
    for (number, question) in questions.iter().enumerate() {
        let mut of_question: Vec<Change> = Vec::new();
        for (place, server) in at.iter().enumerate() {
            let of_others = of_question.len();
            for range in &ranges {
                let source = range.start();
                if server.is_some_and(|server| server.is_ipv6() != source.is_ipv6()) && at.len() > 1 {
                    continue;
                }
                let before = old.treat(&question.ask(source, destination(old, *server, source)));
                let after = new.treat(&question.ask(source, destination(new, *server, source)));
                let Some((before, after)) = differing(&before, &after) else { continue };
                let change = Change { range: *range, before, after, questions: vec![number] };
                // At its other addresses the server most often decides the same.
                let said = |known: &Change| {
                    let same = known.after.decision.word == change.after.decision.word;
                    same && known.after.serving == change.after.serving && known.range.holds(*range)
                };
                if place > 0 && of_question[..of_others].iter().any(said) {
                    continue;
                }
                match of_question.last_mut() {
                    Some(last)
                        if last.range.v6 == range.v6
                            && last.range.last.wrapping_add(1) == range.first
                            && (&last.before, &last.after) == (&change.before, &change.after) =>
                    {
                        last.range.last = range.last;
                    }
                    _ => of_question.push(change),
                }
            }
        }
        for change in of_question {
            let known = of_range.entry(change.range).or_default();
            let same = |at: &&usize| (&changes[**at].before, &changes[**at].after) == (&change.before, &change.after);
            match known.iter().find(same) {
                Some(at) => changes[*at].questions.push(number),
                None => {
                    known.push(changes.len());
                    changes.push(change);
                }
            }
        }
    }
    // Where questions were left out, it is not known which entries have no effect.
    let without_effect = if not_asked == 0 {
        without_effect(old, new, &questions, changes.iter().map(|change| change.range).collect(), &at)
    } else {
        Vec::new()
    };
    for change in changes.iter_mut().filter(|change| change.questions.len() < questions.len()) {
        // What a signature does not change is reported once.
        let of_change = change.questions.iter().map(|at| &questions[*at]);
        let unsigned: HashSet<_> = of_change.filter(|one| one.key.is_none()).map(Question::but_for_key).collect();
        change.questions.retain(|at| {
            let question = &questions[*at];
            question.key.is_none() || !unsigned.contains(&question.but_for_key())
        });
    }
    Differences { questions, not_asked, changes, without_effect }
}
