//! Records the steps to a verdict ([`Trace`]), when somebody wants to see them.

use super::rules::RuleId;
use super::text::Span;
use super::verdict::Serving;

/// Where a line or list element would have to be added to admit a source at this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// An element of an address match list, at this place, and the name of its statement.
    Element(Span, &'static str),
    /// A line of its own, after the line of this place.
    LineAfter(Span),
    /// A statement of its own, after these words at the end of this block, in the place of a default list that it has to
    /// hold as well.
    Statement(Span, Span),
    /// Such a statement in `options` of its own, after the line of this place, where there are none.
    Options(Span),
}

/// One step on the way to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule it is about.
    pub rule: Option<RuleId>,
    /// What it says of the request.
    pub says: String,
    /// Where the source would have to be added for this step to let it pass, when it did not.
    pub spot: Option<Spot>,
}

/// Recursion, as a server has it for whoever sent a request, whatever becomes of the request itself: also where it is
/// answered from the server's own data or turned away, which is what somebody who admits a source has to know. What the
/// request gets, where it is allowed, is [`Serving::recursion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recursion {
    /// Names are resolved for the source.
    pub offered: bool,
    /// The request asks for it, and the server itself has no data for the name.
    pub needed: bool,
}

/// Steps are gathered, and what is known of recursion and of how a request is served is noted, only when somebody wants to
/// see them.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Option<Vec<Step>>,
    serving: Option<Serving>,
    asks_recursion: bool,
    recursion: Option<Recursion>,
}

impl Trace {
    /// Gathers nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Gathers steps.
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

    /// Somebody wants to see what it gathers or notes.
    pub fn is_on(&self) -> bool {
        self.steps.is_some() || self.serving.is_some()
    }

    /// Somebody wants to see the steps.
    pub fn has_steps(&self) -> bool {
        self.steps.is_some()
    }

    /// Adds the steps of another one; without spots where a change would not help.
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

    /// The steps gathered.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }

    /// How the request is served, when that was asked for.
    pub fn into_serving(self) -> Option<Serving> {
        self.serving
    }

    /// What recursion there is, when that was asked for and looked at.
    pub fn into_recursion(self) -> Option<Recursion> {
        self.recursion
    }
}
