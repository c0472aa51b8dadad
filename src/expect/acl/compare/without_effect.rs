//! Entries that one version of a configuration adds to another, to those of them that change nothing: [`WithoutEffect`].

use super::question::{Question, destination};
use super::range::{Range, joined};
use crate::expect::acl::{Acl, Decision, Entry};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// An edit that changes no verdict, view or recursion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutEffect {
    /// The entry that was added.
    pub entry: Entry,
    /// A question that its list is about.
    pub question: Question,
    /// What decides for its sources then.
    pub decision: Decision,
}

/// Entries that were added, stand for none that was there, and change nothing for their sources: none of them is `changed`.
pub(super) fn without_effect(
    old: &Acl,
    new: &Acl,
    questions: &[Question],
    changed: Vec<Range>,
    at: &[Option<IpAddr>],
) -> Vec<WithoutEffect> {
    let key = |entry: &Entry| (entry.list.clone(), entry.matches.clone(), entry.action.clone());
    let (old_entries, new_entries): (Vec<Entry>, Vec<Entry>) =
        (old.policy().entries().collect(), new.policy().entries().collect());
    let known: HashSet<_> = old_entries.iter().map(key).collect();
    let kept: HashSet<_> = new_entries.iter().map(key).collect();
    // What entries of a list covered that are gone.
    let mut gone: HashMap<(String, String), Vec<Range>> = HashMap::new();
    for entry in old_entries.iter().filter(|entry| !kept.contains(&key(entry))) {
        let of_list = gone.entry((entry.list.clone(), entry.action.clone())).or_default();
        of_list.extend(entry.prefix.map(Range::of));
    }
    let gone: HashMap<_, _> = gone.into_iter().map(|(list, ranges)| (list, joined(ranges))).collect();
    let changed = joined(changed);
    let mut without = Vec::new();
    for entry in new_entries {
        let added = entry.admits && !known.contains(&key(&entry));
        let Some(prefix) = entry.prefix.filter(|_| added) else { continue };
        let range = Range::of(prefix);
        let near = changed.partition_point(|changed| (changed.v6, changed.last) < (range.v6, range.first));
        if changed.get(near).is_some_and(|changed| changed.touches(range)) {
            continue;
        }
        let replaced = gone.get(&(entry.list.clone(), entry.action.clone()));
        if replaced.is_some_and(|covered| covered.iter().any(|gone| gone.holds(range))) {
            continue;
        }
        let about = questions.iter().filter(|question| question.key.is_none() && question.is_about(&entry.list));
        // Recursion desired, which most requests have.
        let question = about.max_by_key(|question| question.rd).cloned().unwrap_or_default();
        let server = at.first().copied().flatten();
        let source = range.start();
        let decision = new.decide(&question.ask(source, destination(new, server, source)));
        if decision.rule == Some(entry.rule) {
            // It decides, and as long as what did before is there, that would.
            let before = old.decide(&question.ask(source, destination(old, server, source)));
            let decided = old_entries.iter().find(|other| before.rule == Some(other.rule));
            if !decided.is_some_and(|decided| kept.contains(&key(decided))) {
                continue;
            }
        }
        without.push(WithoutEffect { entry, question, decision });
    }
    without
}
