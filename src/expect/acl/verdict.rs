//! What a server would do with a request ([`Decision`]), and how it serves one that it allows ([`Treatment`]).

use super::rules::RuleId;
use std::sync::Arc;

/// What a server would do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// It would be served (whatever the answer is).
    Allow,
    /// REFUSED.
    Refuse,
    /// No response.
    Drop,
    /// NOTAUTH.
    NotAuth,
    /// Not known from the text.
    Unknown,
}

impl Word {
    /// Every word with its name in reports.
    pub const ALL: [(&'static str, Word); 5] = [
        ("allow", Word::Allow),
        ("refuse", Word::Refuse),
        ("drop", Word::Drop),
        ("notauth", Word::NotAuth),
        ("unknown", Word::Unknown),
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// The short form of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// What happens.
    pub word: Word,
    /// The rule that decides.
    pub rule: Option<RuleId>,
    /// Why it is unknown.
    pub reason: Option<&'static str>,
}

impl Decision {
    /// A decision by a rule.
    pub fn of(word: Word, rule: RuleId) -> Self {
        Self { word, rule: Some(rule), reason: None }
    }

    /// An unknown verdict with its reason.
    pub fn unknown(reason: &'static str, rule: Option<RuleId>) -> Self {
        Self { word: Word::Unknown, rule, reason: Some(reason) }
    }
}

/// How a request that is allowed is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// The view that serves it, where it is one of several or is chosen for the source.
    pub view: Option<Arc<str>>,
    /// Whether other servers are asked if need be; `None` where recursion is not desired, where that is not known, or
    /// where the server's own data answers.
    pub recursion: Option<bool>,
    /// The name is in a zone whose data the server has, or in its local data.
    pub held: bool,
}

/// A verdict and, where it is to allow, how the request is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// The verdict.
    pub decision: Decision,
    /// How it is served.
    pub serving: Option<Serving>,
}

impl Treatment {
    /// Allowed, but a client that desires recursion gets none, for a name that the server does not hold.
    pub fn lacks_recursion(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.recursion == Some(false) && !serving.held)
    }
}
