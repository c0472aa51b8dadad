//! A prefix to the parts of it of which a configuration says the same.

use super::question::{Question, destination};
use super::range::{Range, ranges};
use crate::expect::acl::{Acl, Decision, Treatment};
use ipnet::IpNet;
use std::net::IpAddr;

/// What a configuration answers the sources of a prefix, as far as it says the same of neighbours: at most `most` such
/// parts, and whether that is all.
pub fn within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Decision)>, bool) {
    parts(acl, prefix, most, |source| acl.decide(&question.ask(source, destination(acl, asked, source))))
}

/// The same with how those are served that are allowed.
pub fn treated_within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Treatment)>, bool) {
    parts(acl, prefix, most, |source| acl.treat(&question.ask(source, destination(acl, asked, source))))
}

/// Parts of a prefix of which the same is said.
fn parts<Said: PartialEq>(
    acl: &Acl,
    prefix: IpNet,
    most: usize,
    say: impl Fn(IpAddr) -> Said,
) -> (Vec<(Range, Said)>, bool) {
    let whole = Range::of(prefix);
    let edges = acl.policy().prefixes().into_iter().filter(|edge| prefix.contains(edge)).chain([prefix]);
    let mut parts: Vec<(Range, Said)> = Vec::new();
    for range in ranges(edges).into_iter().filter(|range| whole.holds(*range)) {
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
