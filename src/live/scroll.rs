//! The lines about what is new in each report of a running capture ([`Scroll`]).

use crate::config::{Outcome, Severity};
use crate::diagnose::Finding;
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::report::page::{counted, grouped, percent};
use crate::report::{Report, SourceLine};
use crate::sources::{Leg, count_sources};
use std::collections::HashMap;
use std::time::Duration;

/// Interval of summaries, when there is anything new to sum up.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);
/// Most lines about new sources and findings at a time.
const LINES_AT_ONCE: usize = 10;
/// Most sources and findings remembered as reported; more of them are only in the summary.
const SAID: usize = 65_536;

/// What was reported so far.
#[derive(Debug, Default)]
pub struct Scroll {
    said: HashMap<String, Severity>,
    refused: u64,
    summed_up: Duration,
}

impl Scroll {
    /// Lines about what is new in a report made this long after the capture began.
    pub fn lines(&mut self, report: &Report, elapsed: Duration) -> Vec<String> {
        let clients = || report.sources.iter().filter(|line| line.leg == Leg::Client);
        let mut lines = Vec::new();
        // Findings come first and are not left out: what has no room now comes next time.
        for finding in report.findings.iter().filter(|finding| finding.severity > Severity::Info) {
            if lines.len() < LINES_AT_ONCE && self.is_new(key_of(finding), finding.severity) {
                let level = finding.severity.name().to_uppercase();
                // Further sources are in the report.
                let says = finding.says.split_once(". ").map_or(finding.says.as_str(), |(first, _)| first);
                let says = escape_text(says.trim_end_matches('.'));
                lines.push(format!("{level} {} ({}): {says}", finding.kind, finding.grade.name()));
            }
        }
        let mut more = 0;
        for line in clients().filter(|line| line.turned_away() > 0) {
            let source = show_prefix(line.source);
            if !self.is_new(format!("{source} {}", line.server), Severity::Info) {
                continue;
            }
            if lines.len() >= LINES_AT_ONCE {
                more += 1;
                continue;
            }
            let expected = line.expectation.as_ref().map_or_else(String::new, |expectation| {
                let name = if expectation.name.is_empty() { "" } else { " " };
                format!(", {}{name}{}", expectation.expected, escape_text(&expectation.name))
            });
            let what = if line.turned_away() > line.count(Outcome::Denied) { "REFUSED" } else { "DENIED" };
            lines.push(format!("{what} {source} by {}{expected}", line.server));
        }
        if more > 0 {
            lines.push(format!("and {} turned away", counted(more, "more source", "more sources")));
        }
        let refused: u64 = clients().map(SourceLine::turned_away).sum();
        if elapsed.saturating_sub(self.summed_up) >= SUM_UP_EVERY && refused != self.refused {
            (self.summed_up, self.refused) = (elapsed, refused);
            let asked: u64 = clients().map(SourceLine::transactions).sum();
            let away = clients().filter(|line| line.turned_away() > 0).map(|line| line.source);
            let (away, joined) = count_sources(away);
            let least = if joined { "at least " } else { "" };
            let lost = report.ledgers.capture.unwrap_or_default().describe_loss();
            let denied: u64 = clients().map(|line| line.count(Outcome::Denied)).sum();
            let what = if denied > 0 { "refused or denied" } else { "refused" };
            let share = percent(denied + clients().map(|line| line.count(Outcome::Refused)).sum::<u64>(), asked);
            lines.push(format!(
                "{what} {} of {} client queries ({share}), {least}{}, {lost}",
                grouped(refused),
                grouped(asked),
                counted(away, "source", "sources")
            ));
        }
        lines
    }

    /// True when something was not reported yet, or only as less serious.
    fn is_new(&mut self, key: String, severity: Severity) -> bool {
        self.said.len() < SAID && self.said.insert(key, severity) != Some(severity)
    }
}

/// Identifies a finding across reports.
fn key_of(finding: &Finding) -> String {
    let subject = &finding.subject;
    let server = subject.server.map(|server| server.to_string()).unwrap_or_default();
    format!("{} {server} {}", finding.kind, subject.prefixes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::losses::InterfaceLoss;
    use crate::config::Limits;
    use crate::diagnose::diagnose;
    use crate::diagnose::samples::{With, inventory, report, source};
    use crate::report::CaptureLedger;

    fn lines(scroll: &mut Scroll, refused: u32, times: u64, seconds: u64) -> Vec<String> {
        let inventory = inventory("10.20.0.0/16\n");
        let sources = (0..refused)
            .map(|number| source(&format!("192.0.2.{}", number + 1), "10.20.30.40").with(Outcome::Refused, times))
            .collect();
        let mut report = report(sources, &inventory);
        let interface_dropped = InterfaceLoss::Exactly(0);
        report.ledgers.capture = Some(CaptureLedger { interface_dropped, ..CaptureLedger::default() });
        report.findings = diagnose(&report, &inventory, &Limits::default());
        scroll.lines(&report, Duration::from_secs(seconds))
    }

    #[test]
    fn everything_is_said_once_and_many_lines_are_one() {
        let mut scroll = Scroll::default();
        let first = lines(&mut scroll, 1, 3, 1);
        assert!(first[0].contains("unlisted-source-refused"), "{first:?}");
        assert!(first.contains(&"REFUSED 192.0.2.1 by 10.20.30.40, unlisted".to_owned()), "{first:?}");
        assert!(lines(&mut scroll, 1, 4, 2).is_empty(), "nothing new");
        let many = lines(&mut scroll, 30, 4, 3);
        assert_eq!((many.len(), many[10].as_str()), (11, "and 19 more sources turned away"), "{many:?}");
        let summary = lines(&mut scroll, 30, 5, 13);
        assert_eq!(summary, ["refused 150 of 150 client queries (100 %), 30 sources, no loss"]);
        assert!(lines(&mut scroll, 30, 6, 14).is_empty(), "not again so soon");
        assert!(lines(&mut scroll, 30, 5, 60).is_empty(), "nothing new to sum up");
    }

    #[test]
    fn no_finding_is_lost_behind_many_sources_and_denials_are_called_so() {
        let lines: Vec<String> = (0..30).map(|number| format!("10.20.{number}.0/24")).collect();
        let inventory = inventory(&lines.join("\n"));
        let denied = |number: u32| source(&format!("10.20.{number}.7"), "10.20.30.40").with(Outcome::Denied, 2);
        let mut report = report((0..30).map(denied).collect(), &inventory);
        report.findings = diagnose(&report, &inventory, &Limits::default());
        let mut scroll = Scroll::default();
        let mut said: Vec<String> = (0..4).flat_map(|tick| scroll.lines(&report, Duration::from_secs(tick))).collect();
        assert_eq!(said.iter().filter(|line| line.contains("listed-source-refused")).count(), 30, "{said:?}");
        said.retain(|line| line.starts_with("and "));
        assert_eq!(said, ["and 30 more sources turned away"]);
        let summary = scroll.lines(&report, Duration::from_secs(20));
        assert!(summary[0].starts_with("refused or denied 60 of 60 client queries (100 %), 30 sources"), "{summary:?}");
        let few = crate::diagnose::samples::report(vec![denied(1)], &inventory);
        assert_eq!(Scroll::default().lines(&few, Duration::ZERO), ["DENIED 10.20.1.7 by 10.20.30.40, allow"]);
    }
}
