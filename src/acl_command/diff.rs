//! `acl diff`: two versions of a configuration to the ranges of sources whose verdict changes, to edits without effect, and
//! to what was meant and is not so.

use super::traffic::{self, Traffic, TrafficJson};
use super::{Printed, RuleJson, describe, files_json, files_text, json, notes, rule_json};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::acl::compare::{self, Question};
use crate::expect::acl::{Acl, AclArgument, Word};
use crate::expect::{Expect, Inventory};
use crate::report::json::CitedJson;
use crate::run::Console;
use ipnet::IpNet;
use serde::Serialize;
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
    after: &'static str,
    after_rule: Option<RuleJson>,
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
    verdict: &'static str,
    rule: Option<RuleJson>,
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
    let notes = notes([old, new]);
    let intended = Inventory::load(&config.intended)?;
    let servers: Vec<IpAddr> = config.servers.iter().map(|server| server.address).collect();
    let found = compare::diff(old, new, &servers);
    let meant = |change: &compare::Change| {
        let prefixes = change.range.prefixes();
        !prefixes.is_empty() && prefixes.iter().all(|prefix| is_meant(&intended, *prefix, change.after.word))
    };
    // What was meant and is not so, and nothing of it changes.
    let mut not_done = compare::check(new, &intended, &config.question, servers.first().copied());
    not_done.retain(|part| !found.changes.iter().any(|change| change.range.touches(part.range) && meant(change)));
    let unintended = found.changes.iter().filter(|change| !meant(change)).count();
    let traffic = match &config.traffic {
        Some(capture) => Some(traffic::replay(capture, &olds, &news, &intended, console, interrupted)?),
        None => None,
    };
    let code = match &traffic {
        Some(traffic) if traffic.code != 0 => traffic.code,
        traffic => {
            let unintended = unintended as u64 + traffic.as_ref().map_or(0, Traffic::unintended);
            // What was not asked may have changed.
            if config.check && (unintended > 0 || found.not_asked > 0) { 10 } else { 0 }
        }
    };
    let labels = |change: &compare::Change| -> Vec<String> {
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
                    before: change.before.word.name(),
                    before_rule: rule_json(old, &change.before),
                    after: change.after.word.name(),
                    after_rule: rule_json(new, &change.after),
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
                    verdict: part.decision.word.name(),
                    rule: rule_json(new, &part.decision),
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
            "NOT DONE   {} {} by {}, but for {} the new file says {}",
            part.range.show(),
            match part.row.expect {
                Expect::Allow => "is to be allowed",
                Expect::Refuse => "is to be refused",
            },
            part.row.rule(),
            config.question.show(),
            describe(new, &part.decision)
        );
    }
    for change in &found.changes {
        let _ = writeln!(
            text,
            "{}  {} -> {}  {}{}",
            direction(change.before.word, change.after.word),
            change.before.word.name(),
            change.after.word.name(),
            change.range.show(),
            if meant(change) { "  (intended)" } else { "" }
        );
        let _ = writeln!(text, "    for {}", labels(change).join(", "));
        let _ = writeln!(text, "    was {}", describe(old, &change.before));
        let _ = writeln!(text, "    now {}", describe(new, &change.after));
    }
    if found.changes.is_empty() {
        let asked = if found.not_asked > 0 { " for what was asked" } else { "" };
        let _ = writeln!(text, "No verdict changes for any source{asked}.");
    } else {
        let changed = ranges_counted(found.changes.len());
        let _ = match (config.intended.is_empty(), unintended) {
            (true, _) => writeln!(text, "{changed} changed"),
            (false, 0) => writeln!(text, "{changed} changed, as intended"),
            (false, all) if all == found.changes.len() => writeln!(text, "{changed} changed, not as intended"),
            (false, some) => writeln!(text, "{changed} changed, {some} of them not intended"),
        };
    }
    if found.not_asked > 0 {
        let _ = writeln!(
            text,
            "NOT ASKED  {} of {} questions, because there are too many names, keys and prefixes: what changes for those, and \
             which edits are without effect, is not known",
            found.not_asked,
            found.not_asked + found.questions.len()
        );
    }
    if let Some(traffic) = &traffic {
        traffic.describe(old, new, &mut text);
    }
    files_text(old, "Old: ", &mut text);
    files_text(new, "New: ", &mut text);
    Ok(Printed { text, notes, code })
}

/// An inventory of changes that are meant lists this one.
pub fn is_meant(intended: &Inventory, prefix: IpNet, after: Word) -> bool {
    match intended.decide_prefix(prefix).row().map(|row| row.expect) {
        Some(Expect::Allow) => after == Word::Allow,
        Some(Expect::Refuse) => matches!(after, Word::Refuse | Word::Drop | Word::NotAuth),
        None => false,
    }
}

/// What a change does, in a word.
pub fn direction(before: Word, after: Word) -> &'static str {
    match (before, after) {
        (_, Word::Allow) => "OPENS ",
        (Word::Allow, _) => "CLOSES",
        _ => "CHANGES",
    }
}

fn ranges_counted(count: usize) -> String {
    if count == 1 { "1 range".to_owned() } else { format!("{count} ranges") }
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
