//! `acl diff`: reports the ranges of sources whose verdict, view or recursion changes between two versions of a
//! configuration, edits without effect, and intended changes that are not done.

use super::traffic::{self, Traffic, TrafficJson};
use super::{NO_RECURSION, Print, Printed, RuleJson, ServingJson};
use super::{describe, files_json, files_text, json, notes, rule_json, serving_json, words};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::acl::compare::{self, Change, Difference, Differences, Question, VERDICTS, WithoutEffect};
use crate::expect::acl::{Acl, AclArgument, Treatment, Word};
use crate::expect::{Expect, Inventory};
use crate::report::json::CitedJson;
use crate::report::page::{counted, grouped};
use crate::run::Console;
use ipnet::IpNet;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Most prefixes of one range listed in JSON.
const PREFIXES: usize = 64;

#[derive(Debug, Serialize)]
struct DiffJson {
    old: Vec<CitedJson>,
    new: Vec<CitedJson>,
    changes: Vec<ChangeJson>,
    without_effect: Vec<WithoutEffectJson>,
    not_done: Vec<NotDoneJson>,
    questions_not_asked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<TrafficJson>,
}

#[derive(Debug, Serialize)]
struct ChangeJson {
    range: String,
    prefixes: Vec<String>,
    before: &'static str,
    before_rule: Option<RuleJson>,
    before_serving: Option<ServingJson>,
    after: &'static str,
    after_rule: Option<RuleJson>,
    after_serving: Option<ServingJson>,
    questions: Vec<String>,
    intended: bool,
}

#[derive(Debug, Serialize)]
struct WithoutEffectJson {
    list: String,
    matches: String,
    rule: RuleJson,
    question: String,
    verdict: &'static str,
    decided_by: Option<RuleJson>,
}

#[derive(Debug, Serialize)]
struct NotDoneJson {
    range: String,
    expected: &'static str,
    expected_rule: String,
    question: String,
    verdict: &'static str,
    rule: Option<RuleJson>,
    /// It is allowed, but whoever desires recursion gets none.
    lacks_recursion: bool,
}

/// Two versions of a configuration side by side.
struct Comparison<'a> {
    old: &'a Acl,
    new: &'a Acl,
    /// What the change is meant to do; empty when nobody said so.
    intended: &'a Inventory,
    found: Differences,
    /// Questions that must be answered for sources that are to be allowed.
    promised: Vec<Question>,
    /// Intended changes that are not done, for the questions in `promised`.
    not_done: Vec<Difference<'a>>,
    traffic: Option<Traffic>,
}

/// Runs the command.
pub fn diff(config: &AclConfig, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Printed, Error> {
    let [old, new] = config.acls.as_slice() else {
        return Err(Error::usage("acl diff", "takes two files, the old one and the new one"));
    };
    // These are two versions of one server's file, so neither takes a server away from the other.
    let load = |argument: &AclArgument| Acl::load(argument, config.root.as_deref(), &config.servers);
    let (olds, news): (Arc<[Acl]>, Arc<[Acl]>) = (Arc::new([load(old)?]), Arc::new([load(new)?]));
    let (old, new) = (&olds[0], &news[0]);
    let mut notes = notes([old, new]);
    let intended = Inventory::load(&config.intended)?;
    let mut comparison = Comparison::of(old, new, &intended, config);
    if let Some(capture) = &config.traffic {
        let traffic = traffic::replay(capture, &olds, &news, &intended, console, interrupted)?;
        comparison.traffic = Some(traffic);
    }
    let open = config.check && comparison.is_open();
    let code = match comparison.traffic.as_ref().map_or(0, |traffic| traffic.code) {
        0 if open => 10,
        code => code,
    };
    if open && code != 10 {
        notes
            .push(format!("what was compared would end with exit code 10, were it not for what was not read ({code})"));
    }
    let text = if config.json { json(&comparison.json()) } else { comparison.text(!config.intended.is_empty()) };
    Ok(Printed { print: Print::Text(text), notes, code })
}

impl<'a> Comparison<'a> {
    /// Compares the files, without traffic.
    fn of(old: &'a Acl, new: &'a Acl, intended: &'a Inventory, config: &AclConfig) -> Self {
        let servers: Vec<IpAddr> = config.servers.iter().map(|server| server.address).collect();
        let mut found = compare::diff(old, new, &servers);
        if !intended.is_empty() {
            let changes = std::mem::take(&mut found.changes);
            found.changes = changes.into_iter().flat_map(|change| by_kind(change, &found.questions)).collect();
        }
        let promised = promised(old, new, config, &found.questions);
        let not_done = compare::check(new, intended, &promised, servers.first().copied());
        Self { old, new, intended, found, promised, not_done, traffic: None }
    }

    /// True when the inventory of intended changes lists all of this change.
    fn is_meant(&self, change: &Change) -> bool {
        let prefixes = change.range.prefixes();
        let queries = change.questions.iter().all(|number| self.found.questions[*number].is_query());
        let is_meant = |prefix: &IpNet| is_meant(self.intended, *prefix, &change.before, &change.after, queries);
        !prefixes.is_empty() && prefixes.iter().all(is_meant)
    }

    /// Unintended changes, not counting traffic.
    fn unintended(&self) -> usize {
        self.found.changes.iter().filter(|change| !self.is_meant(change)).count()
    }

    /// True when something changes unintentionally, an intended change is missing, or a question was not asked.
    fn is_open(&self) -> bool {
        self.unintended() > 0
            || self.traffic.as_ref().is_some_and(|traffic| traffic.unintended() > 0)
            || self.found.not_asked > 0
            || !self.not_done.is_empty()
    }

    fn json(&self) -> DiffJson {
        DiffJson {
            old: files_json(self.old),
            new: files_json(self.new),
            changes: self.found.changes.iter().map(|change| self.change_json(change)).collect(),
            without_effect: self.found.without_effect.iter().map(|entry| self.without_effect_json(entry)).collect(),
            not_done: self.not_done.iter().map(|part| self.not_done_json(part)).collect(),
            questions_not_asked: self.found.not_asked,
            traffic: self.traffic.as_ref().map(|traffic| traffic.json(self.old, self.new)),
        }
    }

    fn change_json(&self, change: &Change) -> ChangeJson {
        let label = |number: &usize| self.found.questions[*number].label.clone();
        ChangeJson {
            range: change.range.show(),
            prefixes: change.range.prefixes().iter().take(PREFIXES).map(ToString::to_string).collect(),
            before: change.before.decision.word.name(),
            before_rule: rule_json(self.old, &change.before.decision),
            before_serving: serving_json(&change.before),
            after: change.after.decision.word.name(),
            after_rule: rule_json(self.new, &change.after.decision),
            after_serving: serving_json(&change.after),
            questions: change.questions.iter().map(label).collect(),
            intended: self.is_meant(change),
        }
    }

    fn without_effect_json(&self, without: &WithoutEffect) -> WithoutEffectJson {
        WithoutEffectJson {
            list: escape_text(&without.entry.list),
            matches: escape_text(&without.entry.matches),
            rule: self.new.rule(without.entry.rule).into(),
            question: without.question.label.clone(),
            verdict: without.decision.word.name(),
            decided_by: rule_json(self.new, &without.decision),
        }
    }

    fn not_done_json(&self, part: &Difference<'_>) -> NotDoneJson {
        NotDoneJson {
            range: part.range.show(),
            expected: part.row.expect.name(),
            expected_rule: part.row.rule(),
            question: self.promised[part.question].show(),
            verdict: part.treatment.decision.word.name(),
            rule: rule_json(self.new, &part.treatment.decision),
            lacks_recursion: part.treatment.lacks_recursion(),
        }
    }

    /// The text page. `said` when somebody stated the intended change.
    fn text(&self, said: bool) -> String {
        let mut text = String::new();
        self.found.without_effect.iter().for_each(|without| self.describe_without_effect(without, &mut text));
        self.not_done.iter().for_each(|part| self.describe_not_done(part, &mut text));
        self.found.changes.iter().for_each(|change| self.describe_change(change, &mut text));
        self.describe_sums(said, &mut text);
        if let Some(traffic) = &self.traffic {
            traffic.describe(self.old, self.new, &mut text);
        }
        files_text(self.old, "Old: ", &mut text);
        files_text(self.new, "New: ", &mut text);
        text
    }

    fn describe_without_effect(&self, without: &WithoutEffect, text: &mut String) {
        let _ = writeln!(
            text,
            "NO EFFECT  {} added to {} at {}: its sources are decided as before; for {}: {}",
            escape_text(&without.entry.matches),
            escape_text(&without.entry.list),
            self.new.rule(without.entry.rule),
            without.question.label,
            describe(self.new, &without.decision)
        );
    }

    fn describe_not_done(&self, part: &Difference<'_>, text: &mut String) {
        let _ = writeln!(
            text,
            "NOT DONE   {} {} by {}, but for {} the new file says {}{}",
            part.range.show(),
            match part.row.expect {
                Expect::Allow => "is to be allowed",
                Expect::Refuse => "is to be refused",
            },
            part.row.rule(),
            self.promised[part.question].show(),
            describe(self.new, &part.treatment.decision),
            if part.treatment.lacks_recursion() { NO_RECURSION } else { "" }
        );
    }

    fn describe_change(&self, change: &Change, text: &mut String) {
        let questions = &self.found.questions;
        let labels = if change.questions.len() == questions.len() {
            "every question".to_owned()
        } else {
            question_labels(questions, &change.questions).join(", ")
        };
        let _ = writeln!(
            text,
            "{}  {} -> {}  {}{}",
            direction(&change.before, &change.after),
            words(&change.before),
            words(&change.after),
            change.range.show(),
            if self.is_meant(change) { "  (intended)" } else { "" }
        );
        let _ = writeln!(text, "    for {labels}");
        let _ = writeln!(text, "    was {}", describe(self.old, &change.before.decision));
        let _ = writeln!(text, "    now {}", describe(self.new, &change.after.decision));
    }

    /// The numbers of changes, and what is not known.
    fn describe_sums(&self, said: bool, text: &mut String) {
        let found = &self.found;
        if found.changes.is_empty() {
            let asked = if found.not_asked > 0 { " for what was asked" } else { "" };
            let _ = writeln!(text, "No verdict, view or recursion changes for any source{asked}.");
        } else {
            let changed = counted(found.changes.len() as u64, "range", "ranges");
            let _ = match (said, self.unintended()) {
                (false, _) => writeln!(text, "{changed} changed"),
                (true, 0) => writeln!(text, "{changed} changed, as intended"),
                (true, all) if all == found.changes.len() => writeln!(text, "{changed} changed, not as intended"),
                (true, some) => writeln!(text, "{changed} changed, {some} of them not intended"),
            };
        }
        if !self.not_done.is_empty() {
            let parts = counted(self.not_done.len() as u64, "intended range is", "intended ranges are");
            let _ = writeln!(text, "{parts} not done");
        }
        if found.not_asked > 0 {
            let _ = writeln!(
                text,
                "NOT ASKED  {} of {} questions, because there are too many names, keys and prefixes: what changes for those, \
                 and which edits are without effect, is not known",
                grouped(found.not_asked as u64),
                grouped((found.not_asked + found.questions.len()) as u64)
            );
        }
    }
}

/// Splits a change that opens queries and something else: an inventory says nothing about anything but queries.
fn by_kind(change: Change, questions: &[Question]) -> Vec<Change> {
    if change.after.decision.word != Word::Allow {
        return vec![change];
    }
    let (queries, others): (Vec<usize>, Vec<usize>) =
        change.questions.iter().partition(|number| questions[**number].is_query());
    let parts = [queries, others].into_iter().filter(|numbers| !numbers.is_empty());
    parts.map(|numbers| Change { questions: numbers, ..change.clone() }).collect()
}

/// Questions to which an inventory promises an answer: a name in no zone, where one of the files lets somebody ask for
/// one; else the zones.
fn promised(old: &Acl, new: &Acl, config: &AclConfig, questions: &[Question]) -> Vec<Question> {
    let default = &config.question;
    let server = config.servers.first().map(|server| server.address);
    let resolves = |acl: &Acl| {
        compare::ranges(acl.policy().prefixes()).iter().any(|range| {
            let source = range.start();
            acl.decide(&default.ask(source, compare::destination(acl, server, source))).word == Word::Allow
        })
    };
    let zones = new.policy().names_are_zones() && !resolves(old) && !resolves(new);
    let names: BTreeSet<Vec<u8>> = new.policy().names().into_iter().collect();
    let of_zone = |question: &&Question| {
        question.is_usual() && question.rd && question.key.is_none() && names.contains(&question.qname)
    };
    let most = VERDICTS / new.policy().prefixes().len().max(1);
    let found: Vec<Question> = questions.iter().filter(of_zone).take(most).cloned().collect();
    if zones && !found.is_empty() { found } else { vec![default.clone()] }
}

/// True when an inventory of intended changes lists this one: sources that are to be allowed may get queries answered
/// (`queries`) or recursion, and sources that are to be refused may get less of anything.
pub fn is_meant(intended: &Inventory, prefix: IpNet, before: &Treatment, after: &Treatment, queries: bool) -> bool {
    match intended.decide_prefix(prefix).row().map(|row| row.expect) {
        Some(Expect::Allow) => queries && gains(before, after),
        Some(Expect::Refuse) => matches!(after.decision.word, Word::Refuse | Word::Drop | Word::NotAuth),
        None => false,
    }
}

/// Newly allowed, or newly with recursion, in the same view where it was allowed before.
fn gains(before: &Treatment, after: &Treatment) -> bool {
    let view = |treatment: &Treatment| treatment.serving.as_ref().and_then(|serving| serving.view.clone());
    direction(before, after) == OPENS && view(before) == view(after)
}

/// True when sources may do more than before.
const OPENS: &str = "OPENS ";

/// The word for what a change does.
pub fn direction(before: &Treatment, after: &Treatment) -> &'static str {
    let recursion = |treatment: &Treatment| treatment.serving.as_ref().and_then(|serving| serving.recursion);
    match (before.decision.word, after.decision.word) {
        (Word::Allow, Word::Allow) if recursion(after) == Some(true) => OPENS,
        (Word::Allow, Word::Allow) if recursion(before) == Some(true) => "CLOSES",
        (Word::Allow, Word::Allow) => "CHANGES",
        (_, Word::Allow) => OPENS,
        (Word::Allow, _) => "CLOSES",
        _ => "CHANGES",
    }
}

/// The first few labels.
fn question_labels(questions: &[Question], numbers: &[usize]) -> Vec<String> {
    const SHOWN: usize = 6;
    let mut labels: Vec<String> = numbers.iter().take(SHOWN).map(|number| questions[*number].label.clone()).collect();
    if numbers.len() > SHOWN {
        labels.push(format!("{} more", numbers.len() - SHOWN));
    }
    labels
}
