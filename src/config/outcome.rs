//! What can become of a transaction ([`Outcome`]), and sets of outcomes as options name them ([`Outcomes`]).

/// What happened to a transaction (RFC 1035 section 4.1.1 has the response codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Every response that is not a refusal or denial (NXDOMAIN and SERVFAIL too).
    Answered,
    /// The full response code is 5 (REFUSED).
    Refused,
    /// NOTAUTH, or another response code with an extended error 15 to 18 (RFC 8914).
    Denied,
    /// The server answered others meanwhile and sent this source nothing, as seen at the server.
    Silent,
    /// RST or FIN from the server without one response byte.
    TcpRejected,
    /// No response within the timeout.
    Unanswered,
    /// A response without its query.
    Unsolicited,
}

/// Transactions by outcome, indexed by `Outcome as usize`.
pub type OutcomeCounts = [u64; Outcome::ALL.len()];

impl Outcome {
    /// Every outcome with its name in reports and `--rows`.
    pub const ALL: [(&'static str, Outcome); 7] = [
        ("answered", Outcome::Answered),
        ("refused", Outcome::Refused),
        ("denied", Outcome::Denied),
        ("silent", Outcome::Silent),
        ("tcp-rejected", Outcome::TcpRejected),
        ("unanswered", Outcome::Unanswered),
        ("unsolicited", Outcome::Unsolicited),
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A set of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcomes(u8);

impl Outcomes {
    /// Every outcome.
    pub const ALL: Outcomes = Outcomes((1 << Outcome::ALL.len()) - 1);

    /// The default where only REFUSED responses were captured: as no query is, each of them is unsolicited.
    pub fn of_refusals() -> Self {
        Self::of(&[Outcome::Refused, Outcome::Denied, Outcome::Unsolicited])
    }

    /// The set of the given outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        Self(outcomes.iter().fold(0, |set, outcome| set | 1 << *outcome as u8))
    }

    /// The outcomes of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when the set holds `outcome`.
    pub fn has(self, outcome: Outcome) -> bool {
        self.0 & (1 << outcome as u8) != 0
    }
}

impl Default for Outcomes {
    /// The default: every way of being turned away.
    fn default() -> Self {
        Self::of(&[Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected])
    }
}
