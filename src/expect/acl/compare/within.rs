//! Splits a prefix into the parts for which a configuration says the same.

use super::question::{Question, destination};
use super::range::{Range, ranges};
use crate::expect::acl::{Acl, Decision, Treatment, Word};
use ipnet::IpNet;
use std::net::IpAddr;

/// What a configuration answers to the sources of a prefix, in at most `most` parts within which it is the same; and
/// whether these cover the prefix.
pub fn within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Decision)>, bool) {
    parts(acl, prefix, most, |source| acl.decide(&question.ask(source, destination(acl, asked, source))))
}

/// The same, including how allowed requests are served.
pub fn treated_within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Treatment)>, bool) {
    parts(acl, prefix, most, |source| acl.treat(&question.ask(source, destination(acl, asked, source))))
}

/// Those of some questions for which a configuration does not give every source of a prefix a word that `is_alike`.
pub fn not_within<'q>(
    acl: &Acl,
    prefix: IpNet,
    questions: impl Iterator<Item = &'q Question>,
    asked: IpAddr,
    is_alike: impl Fn(Word) -> bool,
) -> Vec<&'q Question> {
    let ranges = ranges_within(acl, prefix);
    let word = |question: &Question, range: &Range| acl.decide(&question.ask(range.start(), asked)).word;
    questions.filter(|question| !ranges.iter().all(|range| is_alike(word(question, range)))).collect()
}

/// Splits a prefix into ranges that nothing in a configuration cuts.
fn ranges_within(acl: &Acl, prefix: IpNet) -> Vec<Range> {
    let whole = Range::of(prefix);
    let edges = acl.policy().prefixes().into_iter().filter(|edge| prefix.contains(edge)).chain([prefix]);
    ranges(edges).into_iter().filter(|range| whole.holds(*range)).collect()
}

/// Parts of a prefix with the same answer.
fn parts<Said: PartialEq>(
    acl: &Acl,
    prefix: IpNet,
    most: usize,
    say: impl Fn(IpAddr) -> Said,
) -> (Vec<(Range, Said)>, bool) {
    let mut parts: Vec<(Range, Said)> = Vec::new();
    for range in ranges_within(acl, prefix) {
        let said = say(range.start());
        let full = parts.len() == most;
        match parts.last_mut() {
            Some((before, same)) if *same == said => before.last = range.last,
            _ if full => return (parts, false),
            _ => parts.push((range, said)),
        }
    }
    (parts, true)
}
