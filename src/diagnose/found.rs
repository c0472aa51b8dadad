//! Collects the findings of one kind ([`Found`]): a bounded number is kept, and one more finding says how many are not.

use super::{Finding, Grade, Subject};
use crate::config::Severity;
use crate::report::page::grouped;
use std::cmp::Reverse;

/// Findings of one kind. When there are too many, the most serious are kept, then those about most transactions.
#[derive(Debug)]
pub struct Found {
    kind: &'static str,
    most: usize,
    /// Number of findings made.
    made: usize,
    /// Findings with the order in which they were made.
    kept: Vec<(usize, Finding)>,
    /// Numbers of findings that were not kept, by severity.
    left: [Option<Left>; Severity::ALL.len()],
}

/// Findings that were not kept.
#[derive(Debug, Clone, Copy)]
struct Left {
    findings: u64,
    count: u64,
    grade: Grade,
}

impl Found {
    /// Keeps `most` findings of a kind, but at least one.
    pub fn new(kind: &'static str, most: usize) -> Self {
        Self { kind, most: most.max(1), made: 0, kept: Vec::new(), left: [None; Severity::ALL.len()] }
    }

    /// Adds one.
    pub fn add(&mut self, finding: Finding) {
        self.kept.push((self.made, finding));
        self.made += 1;
        if self.kept.len() >= 2 * self.most {
            self.leave_out();
        }
    }

    /// Adds several.
    pub fn all(&mut self, findings: impl Iterator<Item = Finding>) {
        findings.for_each(|finding| self.add(finding));
    }

    fn leave_out(&mut self) {
        if self.kept.len() <= self.most {
            return;
        }
        self.kept.sort_by_key(|(number, finding)| (Reverse(finding.severity), Reverse(finding.count), *number));
        for (_, finding) in self.kept.drain(self.most..) {
            let left = &mut self.left[finding.severity as usize];
            let left = left.get_or_insert(Left { findings: 0, count: 0, grade: finding.grade });
            left.findings += 1;
            left.count += finding.count;
            left.grade = left.grade.min(finding.grade);
        }
    }

    /// The kept findings in the order in which they were made, followed by one for all others of each severity.
    pub fn finish(mut self) -> Vec<Finding> {
        self.leave_out();
        self.kept.sort_by_key(|(number, _)| *number);
        let mut findings: Vec<Finding> = self.kept.into_iter().map(|(_, finding)| finding).collect();
        for ((_, severity), left) in Severity::ALL.into_iter().zip(self.left) {
            let Some(left) = left else { continue };
            findings.push(Finding {
                id: String::new(),
                kind: self.kind,
                grade: left.grade,
                severity,
                subject: Subject::default(),
                says: match left.findings {
                    1 => "1 more finding of this kind is not listed.".to_owned(),
                    more => format!("{} more findings of this kind are not listed.", grouped(more)),
                },
                count: left.count,
                frames: Vec::new(),
                advice: None,
                not_listed: left.findings,
            });
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, count: u64) -> Finding {
        Finding {
            id: String::new(),
            kind: "acl-drift",
            grade: Grade::Evaluated,
            severity,
            subject: Subject::default(),
            says: count.to_string(),
            count,
            frames: Vec::new(),
            advice: None,
            not_listed: 0,
        }
    }

    #[test]
    fn the_most_serious_are_kept_and_the_others_counted() {
        let mut found = Found::new("acl-drift", 3);
        found.all((1..=100).map(|count| finding(Severity::Warning, count)));
        found.add(finding(Severity::Critical, 1));
        found.all((1..=10).map(|count| finding(Severity::Info, 1000 * count)));
        let found = found.finish();
        let said: Vec<(&str, u64, u64, &str)> = found
            .iter()
            .map(|finding| (finding.severity.name(), finding.count, finding.not_listed, finding.says.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("warning", 99, 0, "99"),
                ("warning", 100, 0, "100"),
                ("critical", 1, 0, "1"),
                ("info", 55_000, 10, "10 more findings of this kind are not listed."),
                ("warning", 98 * 99 / 2, 98, "98 more findings of this kind are not listed."),
            ]
        );
        assert_eq!(found.iter().map(Finding::stands_for).sum::<u64>(), 111);
    }

    #[test]
    fn nothing_is_said_where_all_are_kept() {
        let mut found = Found::new("acl-drift", 3);
        found.all((1..=3).map(|count| finding(Severity::Info, count)));
        assert_eq!(found.finish().len(), 3);
    }
}
