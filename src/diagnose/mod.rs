//! Source rows to [`Finding`]s: graded statements with their frames, one file per diagnosis, listed in [`DIAGNOSES`].

mod expected_never_seen;
mod listed_source_refused;
mod presence;
mod refused_as_intended;
mod scene;
mod unlisted_source_answered;
mod unlisted_source_refused;

pub use scene::Scene;

use crate::config::{Limits, Severity};
use crate::expect::Inventory;
use crate::report::Report;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

/// A diagnosis: its kind, and what makes findings of it (without ids, which are given when all are known).
type Diagnosis = (&'static str, fn(&Scene<'_>) -> Vec<Finding>);

/// Every diagnosis, the most serious first.
pub const DIAGNOSES: &[Diagnosis] = &[
    (unlisted_source_refused::KIND, unlisted_source_refused::diagnose),
    (listed_source_refused::KIND, listed_source_refused::diagnose),
    (unlisted_source_answered::KIND, unlisted_source_answered::diagnose),
    (expected_never_seen::KIND, expected_never_seen::diagnose),
    (refused_as_intended::KIND, refused_as_intended::diagnose),
];

/// Everything that follows from a report's sources and ledgers: most severe first, then in the order of [`DIAGNOSES`],
/// then by server. `report.findings` itself is not looked at.
pub fn diagnose(report: &Report, inventory: &Inventory, limits: &Limits) -> Vec<Finding> {
    if inventory.is_empty() {
        return Vec::new();
    }
    let scene = Scene::of(report, inventory, limits);
    let mut findings: Vec<Finding> = DIAGNOSES.iter().flat_map(|(_, diagnose)| diagnose(&scene)).collect();
    let order = |kind: &str| DIAGNOSES.iter().position(|(name, _)| *name == kind);
    // The sort is stable: each diagnosis gives its findings of one server in order of their rules.
    findings.sort_by_key(|finding| (Reverse(finding.severity), order(finding.kind), finding.subject.server));
    let mut numbers: HashMap<&'static str, u64> = HashMap::new();
    for finding in &mut findings {
        let number = numbers.entry(finding.kind).or_default();
        *number += 1;
        finding.id = format!("{}-{number}", finding.kind);
    }
    findings
}

/// How surely something is known; never print a stronger word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Follows from observations together, but other explanations are possible.
    Inferred,
    /// Somebody says so (inside a message, or a log).
    Claimed,
    /// What a configuration file, as read, says.
    Evaluated,
    /// Identical bytes on both sides, one to one; or a connection-tracking record.
    Proven,
    /// Read off the wire.
    Observed,
}

impl Grade {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Inferred => "inferred",
            Grade::Claimed => "claimed",
            Grade::Evaluated => "evaluated",
            Grade::Proven => "proven",
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
    /// How surely it is known.
    pub grade: Grade,
    /// How serious it is.
    pub severity: Severity,
    /// Whom and what it is about.
    pub subject: Subject,
    /// The statement, one or more full sentences on one line.
    pub says: String,
    /// Transactions (or, where there are none, prefixes) it covers; exact.
    pub count: u64,
    /// Where to look: input index and 1-based frame numbers, bounded.
    pub frames: Vec<(usize, Vec<u64>)>,
    /// The next step, when there is one.
    pub advice: Option<String>,
}

/// Whom and what a finding is about; what does not apply is empty. Lists are bounded by `Limits::finding_members`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The server.
    pub server: Option<IpAddr>,
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
