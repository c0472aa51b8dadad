//! Evaluates one or two configurations over the whole address space: ranges within which every source is treated alike,
//! and where they differ from each other or from an inventory.

mod check;
mod diff;
mod question;
mod range;
mod within;
mod without_effect;

pub use check::{Difference, check};
pub use diff::{Change, Differences, VERDICTS, diff, differing};
pub use question::{Question, UNHOSTED, destination};
pub use range::{Range, ranges};
pub use within::{not_within, treated_within, within};
pub use without_effect::WithoutEffect;

#[cfg(test)]
mod tests;
