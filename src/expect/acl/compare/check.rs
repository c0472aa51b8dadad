//! Compares a configuration with an inventory ([`Difference`]): finds the parts of its lines that the configuration
//! treats otherwise.

use super::question::{Question, destination};
use super::range::{Range, ranges};
use crate::expect::Inventory;
use crate::expect::acl::{Acl, Treatment, Word};
use crate::expect::inventory::{Expect, Expected, Row};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;

/// A part of an inventory line that the configuration treats differently from what the line says.
#[derive(Debug, Clone)]
pub struct Difference<'a> {
    /// The line.
    pub row: &'a Row,
    /// The part.
    pub range: Range,
    /// The verdict of the configuration.
    pub treatment: Treatment,
    /// Index of the question.
    pub question: usize,
}

/// Parts of inventory lines that the configuration treats differently, in the order of the lines. A source that should
/// be allowed must be allowed one of the questions, with recursion where that is desired and the server does not hold
/// the name; one that should be refused must be refused all of them.
pub fn check<'a>(
    acl: &Acl,
    inventory: &'a Inventory,
    questions: &[Question],
    asked: Option<IpAddr>,
) -> Vec<Difference<'a>> {
    let listed = inventory.rows().iter().flat_map(|row| std::iter::once(row.prefix).chain(row.outside.iter().copied()));
    let listed: Vec<IpNet> = listed.collect();
    let mut differences: Vec<Difference<'a>> = Vec::new();
    // The latest part of each line, by family: only that one can be adjacent to the next.
    let mut latest: HashMap<(usize, bool), usize> = HashMap::new();
    for range in ranges(acl.policy().prefixes().into_iter().chain(listed)) {
        let Expected::Listed(row) = inventory.decide(range.start()) else { continue };
        let source = range.start();
        let other = |question: &Question| {
            let treatment = acl.treat(&question.ask(source, destination(acl, asked, source)));
            (!is_as_expected(row.expect, &treatment)).then_some(treatment)
        };
        let mut others = questions.iter().map(other);
        let found = match row.expect {
            Expect::Allow => {
                let first = others.next().flatten();
                first.filter(|_| others.all(|other| other.is_some())).map(|treatment| (0, treatment))
            }
            Expect::Refuse => others.enumerate().find_map(|(number, treatment)| Some((number, treatment?))),
        };
        let Some((question, treatment)) = found else { continue };
        let key = (row.index, range.v6);
        let before = latest.get(&key).and_then(|at| differences.get_mut(*at));
        let next = |before: &&mut Difference<'_>| {
            (&before.treatment, before.question) == (&treatment, question)
                && before.range.last.wrapping_add(1) == range.first
        };
        if let Some(before) = before.filter(next) {
            before.range.last = range.last;
        } else {
            latest.insert(key, differences.len());
            differences.push(Difference { row, range, treatment, question });
        }
    }
    differences.sort_by_key(|difference| (difference.row.index, difference.range));
    differences
}

/// True when the verdict is what the inventory expects.
fn is_as_expected(expect: Expect, treatment: &Treatment) -> bool {
    match expect {
        Expect::Allow => treatment.decision.word == Word::Allow && !treatment.lacks_recursion(),
        Expect::Refuse => matches!(treatment.decision.word, Word::Refuse | Word::Drop | Word::NotAuth),
    }
}
