//! Rules by number: where a configuration states them ([`Rules`]), and how they are printed ([`Rule`]).

use super::text::Span;
use std::fmt;

/// Number of a rule in [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    Text(Span),
    /// Built into the server: a default, in words.
    BuiltIn(&'static str),
}

/// Every rule that can decide, by number.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) places: Vec<Place>,
    /// Built-in rules, which are few: searching all rules for each default of each zone would take long.
    built_in: Vec<(&'static str, RuleId)>,
}

impl Rules {
    /// A rule in a file.
    pub fn text(&mut self, span: Span) -> RuleId {
        self.add(Place::Text(span))
    }

    /// A rule of the server itself.
    pub fn built_in(&mut self, says: &'static str) -> RuleId {
        if let Some((_, rule)) = self.built_in.iter().find(|(known, _)| *known == says) {
            return *rule;
        }
        let rule = self.add(Place::BuiltIn(says));
        self.built_in.push((says, rule));
        rule
    }

    fn add(&mut self, place: Place) -> RuleId {
        self.places.push(place);
        RuleId(self.places.len() as u32 - 1)
    }

    /// Where a rule stands.
    pub fn place(&self, rule: RuleId) -> Place {
        self.places.get(rule.0 as usize).copied().unwrap_or(Place::BuiltIn(""))
    }
}

/// A rule for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file's name, or `built-in`.
    pub file: String,
    /// Its 1-based line; 0 when built in.
    pub line: u64,
    /// Text of the line, or of the built-in rule.
    pub text: String,
}

impl fmt::Display for Rule {
    /// `file:line`, or `built-in`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}
