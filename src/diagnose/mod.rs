//! Source rows to [`Finding`]s: graded statements with their frames, one file per diagnosis, listed in [`DIAGNOSES`].

use crate::config::Severity;
use std::net::IpAddr;

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
