//! `acl diff`: two versions of a configuration to the ranges of sources whose verdict, view or recursion changes, to edits
//! without effect, and to what was meant and is not so.

use super::traffic::{self, Traffic, TrafficJson};
use super::{NO_RECURSION, Printed, RuleJson, ServingJson};
use super::{describe, files_json, files_text, json, notes, rule_json, serving_json, words};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::acl::compare::{self, Change, Question, VERDICTS};
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

/// Runs the command.
pub fn diff(config: &AclConfig, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Printed, Error> {
    let [old, new] = config.acls.as_slice() else {
        return Err(Error::usage("acl diff", "takes two files, the old one and the new one"));
    };
    // Two versions of one server's file, so that neither takes a server from the other.
    let load = |argument: &AclArgument| Acl::load(argument, config.root.as_deref(), &config.servers);
    let (olds, news): (Arc<[Acl]>, Arc<[Acl]>) = (Arc::new([load(old)?]), Arc::new([load(new)?]));
    let (old, new) = (&olds[0], &news[0]);
    let mut notes = notes([old, new]);
    let intended = Inventory::load(&config.intended)?;
    let servers: Vec<IpAddr> = config.servers.iter().map(|server| server.address).collect();
    let mut found = compare::diff(old, new, &servers);
    if !intended.is_empty() {
        let changes = std::mem::take(&mut found.changes);
        found.changes = changes.into_iter().flat_map(|change| by_kind(change, &found.questions)).collect();
    }
    let meant = |change: &Change| {
        let prefixes = change.range.prefixes();
        let queries = change.questions.iter().all(|number| found.questions[*number].is_query());
        let is_meant = |prefix: &IpNet| is_meant(&intended, *prefix, &change.before, &change.after, queries);
        !prefixes.is_empty() && prefixes.iter().all(is_meant)
    };
    // What was meant and is not so.
    let questions = promised(old, new, config, &found.questions);
    let not_done = compare::check(new, &intended, &questions, servers.first().copied());
    let unintended = found.changes.iter().filter(|change| !meant(change)).count();
    let traffic = match &config.traffic {
        Some(capture) => Some(traffic::replay(capture, &olds, &news, &intended, console, interrupted)?),
        None => None,
    };
    let unmeant = unintended as u64 + traffic.as_ref().map_or(0, Traffic::unintended);
    // What was not asked may have changed.
    let open = config.check && (unmeant > 0 || found.not_asked > 0 || !not_done.is_empty());
    let code = match traffic.as_ref().map_or(0, |traffic| traffic.code) {
        0 if open => 10,
        code => code,
    };
    if open && code != 10 {
        notes
            .push(format!("what was compared would end with exit code 10, were it not for what was not read ({code})"));
    }
    let labels = |change: &Change| -> Vec<String> {
        let all = change.questions.len() == found.questions.len();
        if all { vec!["every question".to_owned()] } else { question_labels(&found.questions, &change.questions) }
    };
    if config.json {
        let report = DiffJson {
            old: files_json(old),
            new: files_json(new),
            changes: found
                .changes
                .iter()
                .map(|change| ChangeJson {
                    range: change.range.show(),
                    prefixes: change.range.prefixes().iter().take(64).map(ToString::to_string).collect(),
                    before: change.before.decision.word.name(),
                    before_rule: rule_json(old, &change.before.decision),
                    before_serving: serving_json(&change.before),
                    after: change.after.decision.word.name(),
                    after_rule: rule_json(new, &change.after.decision),
                    after_serving: serving_json(&change.after),
                    questions: change.questions.iter().map(|number| found.questions[*number].label.clone()).collect(),
                    intended: meant(change),
                })
                .collect(),
            without_effect: found
                .without_effect
                .iter()
                .map(|without| WithoutEffectJson {
                    list: escape_text(&without.entry.list),
                    matches: escape_text(&without.entry.matches),
                    rule: new.rule(without.entry.rule).into(),
                    question: without.question.label.clone(),
                    verdict: without.decision.word.name(),
                    decided_by: rule_json(new, &without.decision),
                })
                .collect(),
            not_done: not_done
                .iter()
                .map(|part| NotDoneJson {
                    range: part.range.show(),
                    expected: part.row.expect.name(),
                    expected_rule: part.row.rule(),
                    question: questions[part.question].show(),
                    verdict: part.treatment.decision.word.name(),
                    rule: rule_json(new, &part.treatment.decision),
                    lacks_recursion: part.treatment.lacks_recursion(),
                })
                .collect(),
            questions_not_asked: found.not_asked,
            traffic: traffic.as_ref().map(|traffic| traffic.json(old, new)),
        };
        return Ok(Printed { text: json(&report), notes, code });
    }
    let mut text = String::new();
    for without in &found.without_effect {
        let _ = writeln!(
            text,
            "NO EFFECT  {} added to {} at {}: its sources are decided as before; for {}: {}",
            escape_text(&without.entry.matches),
            escape_text(&without.entry.list),
            new.rule(without.entry.rule),
            without.question.label,
            describe(new, &without.decision)
        );
    }
    for part in &not_done {
        let _ = writeln!(
            text,
            "NOT DONE   {} {} by {}, but for {} the new file says {}{}",
            part.range.show(),
            match part.row.expect {
                Expect::Allow => "is to be allowed",
                Expect::Refuse => "is to be refused",
            },
            part.row.rule(),
            questions[part.question].show(),
            describe(new, &part.treatment.decision),
            if part.treatment.lacks_recursion() { NO_RECURSION } else { "" }
        );
    }
    for change in &found.changes {
        let _ = writeln!(
            text,
            "{}  {} -> {}  {}{}",
            direction(&change.before, &change.after),
            words(&change.before),
            words(&change.after),
            change.range.show(),
            if meant(change) { "  (intended)" } else { "" }
        );
        let _ = writeln!(text, "    for {}", labels(change).join(", "));
        let _ = writeln!(text, "    was {}", describe(old, &change.before.decision));
        let _ = writeln!(text, "    now {}", describe(new, &change.after.decision));
    }
    if found.changes.is_empty() {
        let asked = if found.not_asked > 0 { " for what was asked" } else { "" };
        let _ = writeln!(text, "No verdict, view or recursion changes for any source{asked}.");
    } else {
        let changed = counted(found.changes.len() as u64, "range", "ranges");
        let _ = match (config.intended.is_empty(), unintended) {
            (true, _) => writeln!(text, "{changed} changed"),
            (false, 0) => writeln!(text, "{changed} changed, as intended"),
            (false, all) if all == found.changes.len() => writeln!(text, "{changed} changed, not as intended"),
            (false, some) => writeln!(text, "{changed} changed, {some} of them not intended"),
        };
    }
    if !not_done.is_empty() {
        let _ =
            writeln!(text, "{} not done", counted(not_done.len() as u64, "intended range is", "intended ranges are"));
    }
    if found.not_asked > 0 {
        let _ = writeln!(
            text,
            "NOT ASKED  {} of {} questions, because there are too many names, keys and prefixes: what changes for those, and \
             which edits are without effect, is not known",
            grouped(found.not_asked as u64),
            grouped((found.not_asked + found.questions.len()) as u64)
        );
    }
    if let Some(traffic) = &traffic {
        traffic.describe(old, new, &mut text);
    }
    files_text(old, "Old: ", &mut text);
    files_text(new, "New: ", &mut text);
    Ok(Printed { text, notes, code })
}

/// A change of queries and of something else apart, where it opens: an inventory says nothing of anything else.
fn by_kind(change: Change, questions: &[Question]) -> Vec<Change> {
    if change.after.decision.word != Word::Allow {
        return vec![change];
    }
    let (queries, others): (Vec<usize>, Vec<usize>) =
        change.questions.iter().partition(|number| questions[**number].is_query());
    let parts = [queries, others].into_iter().filter(|numbers| !numbers.is_empty());
    parts.map(|numbers| Change { questions: numbers, ..change.clone() }).collect()
}

/// What an inventory promises an answer to: where one of the files itself lets somebody ask for a name in no zone, such a
/// name; else the zones.
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

/// An inventory of changes that are meant lists this one: who is to be allowed may get queries answered (`queries`), or
/// recursion; who is to be refused may get less of anything.
pub fn is_meant(intended: &Inventory, prefix: IpNet, before: &Treatment, after: &Treatment, queries: bool) -> bool {
    match intended.decide_prefix(prefix).row().map(|row| row.expect) {
        Some(Expect::Allow) => queries && gains(before, after),
        Some(Expect::Refuse) => matches!(after.decision.word, Word::Refuse | Word::Drop | Word::NotAuth),
        None => false,
    }
}

/// Allowed by now, or with recursion by now, and in the same view where it was allowed before.
fn gains(before: &Treatment, after: &Treatment) -> bool {
    let view = |treatment: &Treatment| treatment.serving.as_ref().and_then(|serving| serving.view.clone());
    direction(before, after) == OPENS && view(before) == view(after)
}

/// What lets sources do more than before.
const OPENS: &str = "OPENS ";

/// What a change does, in a word.
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
