//! Finds entries that one version of a configuration adds to another and that change nothing ([`WithoutEffect`]).

use super::question::{Question, destination};
use super::range::{Range, joined};
use crate::expect::acl::{Acl, Decision, Entry, RuleId, Table};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// An edit that changes neither verdict, view nor recursion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutEffect {
    /// The entry that was added.
    pub entry: Entry,
    /// A question that its list is about.
    pub question: Question,
    /// What decides for its sources instead.
    pub decision: Decision,
}

/// What identifies an entry: its list, what it matches, and what follows from a match.
type Key<'a> = (&'a str, &'a str, &'a str);

fn key(entry: &Entry) -> Key<'_> {
    (&entry.list, &entry.matches, &entry.action)
}

/// The lists of a version. Entries are made on demand, those of one list at a time: there may be many more than in the
/// text.
struct Lists<'a> {
    /// In the order of the text; lists of the same name are one.
    lists: Vec<Vec<Table<'a>>>,
    by_name: HashMap<String, usize>,
}

impl<'a> Lists<'a> {
    fn of(acl: &'a Acl) -> Self {
        let (mut lists, mut by_name) = (Vec::<Vec<Table<'_>>>::new(), HashMap::new());
        for table in acl.policy().tables() {
            let at = *by_name.entry(table.list.clone()).or_insert(lists.len());
            lists.resize_with(lists.len().max(at + 1), Vec::new);
            lists[at].push(table);
        }
        Self { lists, by_name }
    }

    /// Calls back with each list and its name.
    fn each(&self) -> impl Iterator<Item = (&str, Vec<Entry>)> {
        self.lists.iter().map(move |list| (list.first().map_or("", |table| &*table.list), entries(list)))
    }

    /// The entries of the list with a name; none where there is no such list.
    fn named(&self, name: &str) -> Vec<Entry> {
        self.by_name.get(name).map_or_else(Vec::new, |at| entries(&self.lists[*at]))
    }
}

fn entries(list: &[Table<'_>]) -> Vec<Entry> {
    list.iter().flat_map(|table| (table.make)()).collect()
}

/// For each rule of the old version: whether the entry that first uses it still exists.
fn still_there(old: &Lists<'_>, new: &Lists<'_>) -> HashMap<RuleId, bool> {
    let mut still = HashMap::new();
    for (name, entries) in old.each() {
        let now = new.named(name);
        let kept: HashSet<Key<'_>> = now.iter().map(key).collect();
        for entry in &entries {
            still.entry(entry.rule).or_insert_with(|| kept.contains(&key(entry)));
        }
    }
    still
}

/// Entries that were added, replace no former entry, and change nothing for their sources: none of these is in
/// `changed`.
pub(super) fn without_effect(
    old: &Acl,
    new: &Acl,
    questions: &[Question],
    changed: Vec<Range>,
    at: &[Option<IpAddr>],
) -> Vec<WithoutEffect> {
    let (old_lists, new_lists) = (Lists::of(old), Lists::of(new));
    let changed = joined(changed);
    let server = at.first().copied().flatten();
    // Most edits have an effect, or decide nothing.
    let mut still: Option<HashMap<RuleId, bool>> = None;
    let mut without = Vec::new();
    for (name, now) in new_lists.each() {
        let before = old_lists.named(name);
        let known: HashSet<Key<'_>> = before.iter().map(key).collect();
        let added: Vec<&Entry> = now.iter().filter(|entry| entry.admits && !known.contains(&key(entry))).collect();
        if added.is_empty() {
            continue;
        }
        let gone = gone(&before, &now);
        for entry in added {
            let Some(prefix) = entry.prefix else { continue };
            let range = Range::of(prefix);
            let near = changed.partition_point(|changed| (changed.v6, changed.last) < (range.v6, range.first));
            if changed.get(near).is_some_and(|changed| changed.touches(range)) {
                continue;
            }
            let replaced = gone.get(&(&*entry.list, &*entry.action));
            if replaced.is_some_and(|covered| covered.iter().any(|gone| gone.holds(range))) {
                continue;
            }
            let about = questions.iter().filter(|question| question.key.is_none() && question.is_about(&entry.list));
            // With RD, as in most requests.
            let question = about.max_by_key(|question| question.rd).cloned().unwrap_or_default();
            let source = range.start();
            let decision = new.decide(&question.ask(source, destination(new, server, source)));
            if decision.rule == Some(entry.rule) {
                // The entry decides, and where the former decider still exists, that one would decide the same.
                let before = old.decide(&question.ask(source, destination(old, server, source)));
                let still = still.get_or_insert_with(|| still_there(&old_lists, &new_lists));
                if before.rule.is_none_or(|rule| still.get(&rule) != Some(&true)) {
                    continue;
                }
            }
            without.push(WithoutEffect { entry: entry.clone(), question, decision });
        }
    }
    without
}

/// What the removed entries of each list and action covered.
fn gone<'a>(before: &'a [Entry], now: &[Entry]) -> HashMap<(&'a str, &'a str), Vec<Range>> {
    let kept: HashSet<Key<'_>> = now.iter().map(key).collect();
    let mut gone: HashMap<_, Vec<Range>> = HashMap::new();
    for entry in before.iter().filter(|entry| !kept.contains(&key(entry))) {
        let of_list = gone.entry((&*entry.list, &*entry.action)).or_default();
        of_list.extend(entry.prefix.map(Range::of));
    }
    gone.into_iter().map(|(list, ranges)| (list, joined(ranges))).collect()
}
