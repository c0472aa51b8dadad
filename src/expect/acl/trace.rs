//! Records the steps to a verdict ([`Trace`]), when somebody wants to see them.

use super::rules::RuleId;
use super::text::Span;
use super::verdict::Serving;

/// Where a line or list element would have to be added for this step to admit a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// In an address match list, before the element at this place; with the name of the list's statement.
    Element(Span, &'static str),
    /// In a line of its own, after the line of this place.
    LineAfter(Span),
    /// In a statement of its own, after these words at the end of this block; it replaces a default list, whose content
    /// it has to include.
    Statement(Span, Span),
    /// In such a statement within `options` of its own, after the line of this place, where there are none.
    Options(Span),
}

/// One step to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule it is about.
    pub rule: Option<RuleId>,
    /// What the step says about the request.
    pub says: String,
    /// Where the source would have to be added to pass this step, if it did not.
    pub spot: Option<Spot>,
}

/// Whether the server offers recursion to the sender of a request, whatever happens to the request itself, even when it
/// is answered from the server's own data or refused: whoever admits a source has to know that. What an allowed request
/// gets is [`Serving::recursion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recursion {
    /// The server resolves names for the source.
    pub offered: bool,
    /// The request asks for recursion, and the server itself has no data for the name.
    pub needed: bool,
}

/// Collects the steps to a verdict, and notes recursion and how a request is served, only as far as somebody wants to
/// know.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Option<Vec<Step>>,
    serving: Option<Serving>,
    asks_recursion: bool,
    recursion: Option<Recursion>,
}

impl Trace {
    /// Collects nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Collects steps.
    pub fn on() -> Self {
        Self { steps: Some(Vec::new()), ..Self::default() }
    }

    /// Notes how the request is served, without steps.
    pub fn of_serving() -> Self {
        Self { serving: Some(Serving::default()), ..Self::default() }
    }

    /// Asks what recursion there is, without steps.
    pub fn of_recursion() -> Self {
        Self { asks_recursion: true, ..Self::default() }
    }

    /// True when anything is collected or noted.
    pub fn is_on(&self) -> bool {
        self.steps.is_some() || self.serving.is_some()
    }

    /// True when steps are collected.
    pub fn has_steps(&self) -> bool {
        self.steps.is_some()
    }

    /// Adds the steps of another trace; without spots where a change there would not help.
    pub fn append(&mut self, other: Trace, with_spots: bool) {
        for step in other.into_steps() {
            self.step(step.rule, step.spot.filter(|_| with_spots), || step.says);
        }
    }

    /// Says what recursion there is, when somebody wants to know.
    #[inline]
    pub fn recursion(&mut self, recursion: impl FnOnce() -> Recursion) {
        if self.asks_recursion {
            self.recursion = Some(recursion());
        }
    }

    /// Notes how the request is served.
    #[inline]
    pub fn serve(&mut self, note: impl FnOnce(&mut Serving)) {
        if let Some(serving) = &mut self.serving {
            note(serving);
        }
    }

    /// Adds a step.
    #[inline]
    pub fn step(&mut self, rule: Option<RuleId>, spot: Option<Spot>, says: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { rule, says: says(), spot });
        }
    }

    /// The collected steps.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }

    /// How the request is served, when that was asked for.
    pub fn into_serving(self) -> Option<Serving> {
        self.serving
    }

    /// Recursion, when that was asked for and was determined.
    pub fn into_recursion(self) -> Option<Recursion> {
        self.recursion
    }
}
