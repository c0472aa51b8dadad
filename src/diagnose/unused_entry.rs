//! Entries of a server's configuration that decided for no source seen.

use super::scene::{Scene, some};
use super::{Finding, Found, Grade, Subject};
use crate::config::Severity;
use crate::expect::acl::{Entry, Place, RuleId, Word};
use crate::report::page::{counted, grouped};
use std::collections::HashSet;

/// The name of the diagnosis.
pub const KIND: &str = "unused-entry";

/// Most entries named in the sentence; the subject holds more.
const NAMED: usize = 8;

/// Makes one finding per file.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let Some(verdicts) = scene.verdicts else { return };
    for (number, acl) in verdicts.acls.iter().enumerate() {
        let mut used: HashSet<RuleId> = HashSet::new();
        let (mut asked, mut unknown) = (false, 0u64);
        for ((source, server), tallies) in &verdicts.pairs {
            for tally in tallies.iter().filter(|tally| tally.judged.acl == Some(number)) {
                // For requests that were not judged, it is not known which entry decided.
                if tally.judged.decision.word == Word::Unknown {
                    unknown += tally.outcomes.iter().sum::<u64>();
                    continue;
                }
                asked = true;
                used.extend(tally.judged.decision.rule);
                for (question, _) in &tally.questions {
                    let (_, steps) = acl.explain(&question.ask(*source, *server));
                    used.extend(steps.into_iter().filter_map(|step| step.rule));
                }
            }
        }
        if !asked {
            continue;
        }
        let written = |entry: &Entry| matches!(acl.place(entry.rule), Place::Text(_));
        let narrow = |entry: &Entry| entry.prefix.is_some_and(|prefix| prefix.prefix_len() > 0);
        let mut seen = HashSet::new();
        let unused: Vec<Entry> = acl
            .policy()
            .entries_once()
            .into_iter()
            .filter(|entry| written(entry) && narrow(entry) && !used.contains(&entry.rule) && seen.insert(entry.rule))
            .collect();
        if unused.is_empty() {
            continue;
        }
        let names: Vec<String> = unused
            .iter()
            .map(|entry| format!("{} ({}, {})", entry.matches, entry.list, acl.rule(entry.rule)))
            .collect();
        found.add(Finding {
            id: String::new(),
            kind: KIND,
            grade: Grade::Evaluated,
            severity: Severity::Info,
            subject: Subject {
                server: acl.bound().first().copied(),
                prefixes: unused.iter().take(scene.limits.finding_members).map(|entry| entry.matches.clone()).collect(),
                ..Subject::default()
            },
            says: format!(
                "{} of {} decided for no request {}in this capture: {}. This is about this capture only{}.{}",
                counted(unused.len() as u64, "entry", "entries"),
                crate::error::escape_text(&acl.name),
                if unknown == 0 { "" } else { "that was judged " },
                some(&names, NAMED),
                match unknown {
                    0 => String::new(),
                    1 => ", and 1 request was not judged".to_owned(),
                    count => format!(", and {} requests were not judged", grouped(count)),
                },
                scene.report.not_read()
            ),
            count: unused.len() as u64,
            frames: Vec::new(),
            advice: None,
            not_listed: 0,
        });
    }
}
