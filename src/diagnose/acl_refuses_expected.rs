//! The file refuses what the inventory expects to be allowed, seen on the wire or not.

use super::admitting::admitting;
use super::scene::Scene;
use super::verdicts::{describe, usual_question, who};
use super::{Finding, Grade, Subject};
use crate::config::{Outcome, Severity};
use crate::expect::Expect;
use crate::expect::acl::{Word, compare};
use crate::expect::inventory::{Row, show_prefix};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "acl-refuses-expected";

/// One finding per server, inventory line and deciding rule.
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let Some(verdicts) = scene.verdicts else { return Vec::new() };
    let servers: BTreeSet<IpAddr> = verdicts.pairs.iter().map(|((_, server), _)| *server).collect();
    let mut findings = Vec::new();
    for server in servers {
        let Some(acl) = verdicts.acls.iter().find(|acl| acl.speaks_for(server)) else { continue };
        let question = usual_question(verdicts, server);
        let refused = [Outcome::Refused, Outcome::Denied, Outcome::Silent];
        // What was seen, by line: sources that the file and the wire turn away.
        let mut seen: BTreeMap<usize, BTreeMap<IpAddr, u64>> = BTreeMap::new();
        for ((source, _), tallies) in verdicts.pairs.iter().filter(|((_, at), _)| *at == server) {
            let Some(row) = scene.inventory.decide(*source).row() else { continue };
            for tally in tallies.iter().filter(|tally| matches!(tally.judged.decision.word, Word::Refuse | Word::Drop))
            {
                let count: u64 = refused.iter().map(|outcome| tally.count(*outcome)).sum();
                if count > 0 {
                    *seen.entry(row.index).or_default().entry(*source).or_default() += count;
                }
            }
        }
        let mut by_row: BTreeMap<usize, (&Row, Vec<compare::Difference<'_>>)> = BTreeMap::new();
        for difference in compare::check(acl, scene.inventory, &question, Some(server)) {
            let refuses = matches!(difference.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
            if difference.row.expect == Expect::Allow && refuses {
                by_row.entry(difference.row.index).or_insert((difference.row, Vec::new())).1.push(difference);
            }
        }
        for (index, (row, parts)) in by_row {
            let sources: Vec<IpAddr> = seen.get(&index).into_iter().flat_map(BTreeMap::keys).copied().collect();
            let count: u64 = seen.get(&index).into_iter().flat_map(BTreeMap::values).sum();
            let decision = parts[0].decision;
            let mut says = format!(
                "{} is expected to be allowed, but {} says {} for {}",
                row.describe(),
                describe(acl, decision.rule),
                decision.word.name(),
                parts.iter().map(|part| part.range.show()).collect::<Vec<_>>().join(", ")
            );
            let (severity, advice) = if sources.is_empty() {
                says += ". No request from there was seen here, so that changing the file changes nothing for any source seen here.";
                let advice = "Correct the file or the inventory; and find out as which address these clients arrive.";
                (Severity::Warning, advice.to_owned())
            } else {
                let _ =
                    write!(says, "; the wire agrees: {} turned away {count} times by {server}.", who(scene, &sources));
                (Severity::Critical, admitting(scene, acl, server, &sources, &question))
            };
            findings.push(Finding {
                id: String::new(),
                kind: KIND,
                grade: Grade::Evaluated,
                severity,
                subject: Subject {
                    server: Some(server),
                    sources: sources.iter().take(scene.limits.finding_members).map(ToString::to_string).collect(),
                    prefixes: vec![show_prefix(row.prefix)],
                    ..Subject::default()
                },
                says,
                count: if sources.is_empty() { 1 } else { count },
                frames: Vec::new(),
                advice: Some(advice).filter(|advice| !advice.is_empty()),
            });
        }
    }
    findings
}
