//! Turns source rows into [`Finding`]s: graded statements with their frames. One file per diagnosis, listed in
//! [`DIAGNOSES`].

pub mod acl_drift;
pub mod acl_exposure;
mod acl_refuses_expected;
mod admitting;
mod claimed;
mod covered_only_by_any;
mod expected_never_seen;
mod file_beside_refusal;
mod found;
mod listed_source_refused;
mod presence;
mod proxy_header_unexpected;
mod refused_as_intended;
mod scene;
mod server_classes;
mod unlisted_source_answered;
mod unlisted_source_refused;
mod unused_entry;
mod verdicts;

pub use found::Found;
pub use scene::Scene;
#[cfg(test)]
pub use scene::samples;

use crate::config::{Config, Limits, Severity};
use crate::expect::Inventory;
use crate::expect::acl::judge::Verdicts;
use crate::report::Report;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A diagnosis: its kind, and the function that makes its findings (without ids, which are assigned when all are
/// known).
type Diagnosis = (&'static str, fn(&Scene<'_>, &mut Found));

/// Every diagnosis, the most serious first.
pub const DIAGNOSES: &[Diagnosis] = &[
    (unlisted_source_refused::KIND, unlisted_source_refused::diagnose),
    (listed_source_refused::KIND, listed_source_refused::diagnose),
    (acl_drift::KIND, acl_drift::diagnose),
    (acl_exposure::KIND, acl_exposure::diagnose),
    (acl_refuses_expected::KIND, acl_refuses_expected::diagnose),
    (unlisted_source_answered::KIND, unlisted_source_answered::diagnose),
    (expected_never_seen::KIND, expected_never_seen::diagnose),
    (refused_as_intended::KIND, refused_as_intended::diagnose),
    (proxy_header_unexpected::KIND, proxy_header_unexpected::diagnose),
    (covered_only_by_any::KIND, covered_only_by_any::diagnose),
    (unused_entry::KIND, unused_entry::diagnose),
];

/// Kinds that say that something was absent, which a capture of only refusals cannot show.
const OF_ABSENCE: [&str; 2] = [expected_never_seen::KIND, unused_entry::KIND];

/// Kinds that need no inventory; those about a server's file make no finding without one.
const WITHOUT_INVENTORY: [&str; 6] = [
    proxy_header_unexpected::KIND,
    acl_drift::KIND,
    acl_exposure::KIND,
    covered_only_by_any::KIND,
    unused_entry::KIND,
    refused_as_intended::KIND,
];

/// All findings that follow from a report's sources and ledgers: most severe first, then in the order of [`DIAGNOSES`],
/// then by server. `report.findings` itself is not read.
pub fn diagnose(report: &Report, inventory: &Inventory, limits: &Limits) -> Vec<Finding> {
    diagnose_scene(&Scene::of(report, inventory, limits))
}

/// The same, with the verdicts of the servers' own files. A signal that sets `interrupted` ends the search for changes
/// of such a file, which can take long; where no signal can come, the search is short.
pub fn diagnose_with_files(
    report: &Report,
    inventory: &Inventory,
    verdicts: &Verdicts,
    config: &Config,
    interrupted: Option<&Arc<AtomicBool>>,
) -> Vec<Finding> {
    let mut scene = Scene::of(report, inventory, &config.limits).with_files(verdicts);
    scene.effort = scene::effort(interrupted);
    scene.advise_public = config.advise_public;
    diagnose_scene(&scene)
}

fn diagnose_scene(scene: &Scene<'_>) -> Vec<Finding> {
    let inventory = scene.inventory;
    let mut findings: Vec<Finding> = DIAGNOSES
        .iter()
        .filter(|(kind, _)| !inventory.is_empty() || WITHOUT_INVENTORY.contains(kind))
        .filter(|(kind, _)| !scene.report.has_only_refusals() || !OF_ABSENCE.contains(kind))
        .flat_map(|(kind, diagnose)| {
            let mut found = Found::new(kind, scene.limits.kind_findings);
            diagnose(scene, &mut found);
            found.finish()
        })
        .collect();
    let order = |kind: &str| DIAGNOSES.iter().position(|(name, _)| *name == kind);
    // The sort is stable: each diagnosis makes the findings of one server in the order of their rules.
    let rank = |finding: &Finding| (Reverse(finding.severity), order(finding.kind), finding.not_listed > 0);
    findings.sort_by_key(|finding| (rank(finding), finding.subject.server));
    let mut numbers: HashMap<&'static str, u64> = HashMap::new();
    for finding in &mut findings {
        let number = numbers.entry(finding.kind).or_default();
        *number += 1;
        finding.id = format!("{}-{number}", finding.kind);
    }
    findings
}

/// How certain something is; nothing is worded more strongly than its grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Follows from several observations, but has other explanations.
    Inferred,
    /// What a configuration file says, as read.
    Evaluated,
    /// Read off the wire.
    Observed,
}

impl Grade {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Inferred => "inferred",
            Grade::Evaluated => "evaluated",
            Grade::Observed => "observed",
        }
    }
}

/// One graded statement.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Stable within a report: `kind` and a number from 1, such as `unlisted-source-refused-1`.
    pub id: String,
    /// A row of [`DIAGNOSES`].
    pub kind: &'static str,
    /// How certain it is.
    pub grade: Grade,
    /// How serious it is.
    pub severity: Severity,
    /// Whom and what it is about.
    pub subject: Subject,
    /// The statement, one or more full sentences on one line.
    pub says: String,
    /// Number of transactions (or of prefixes, where there are none) that it covers; exact.
    pub count: u64,
    /// Where to look: input index and 1-based frame numbers; a bounded number.
    pub frames: Vec<(usize, Vec<u64>)>,
    /// The next step, if there is one.
    pub advice: Option<String>,
    /// In a finding that only says how many more there are of its kind and severity: their number; else 0.
    pub not_listed: u64,
}

impl Finding {
    /// The number of findings that it stands for.
    pub fn stands_for(&self) -> u64 {
        self.not_listed.max(1)
    }
}

/// Whom and what a finding is about; what does not apply is empty. Lists are bounded by `Limits::finding_members`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The server, where there is one.
    pub server: Option<IpAddr>,
    /// The servers, where there are several.
    pub servers: Vec<String>,
    /// Source addresses (or prefixes of joined sources) as printed.
    pub sources: Vec<String>,
    /// Inventory prefixes.
    pub prefixes: Vec<String>,
    /// Domain names.
    pub names: Vec<String>,
    /// Addresses before a translation.
    pub inside: Vec<String>,
    /// Addresses after a translation.
    pub outside: Vec<String>,
}

#[cfg(test)]
mod tests;
