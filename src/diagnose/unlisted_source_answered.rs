//! Sources that were answered although the inventory does not list them, or expects them to be refused.

use super::scene::{Class, Client, Scene, Tally, alone, begins, of_line, sources, times};
use super::{Finding, Found};
use crate::config::{Outcome, Severity};
use crate::expect::inventory::{Row, show_prefix};
use crate::expect::{Expect, Expected};
use crate::report::SourceLine;
use crate::sources::FrameRef;

/// The name of the diagnosis.
pub const KIND: &str = "unlisted-source-answered";

/// Why an answer was not expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// This line says `refuse`.
    Refuse(usize),
    /// No line lists the source, whose address is of this class.
    Unlisted(Class),
}

/// Makes one finding per server and deciding line, and for unlisted sources one per server and class of address.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let groups = scene.groups(|client| match client.expected {
        _ if answered(client.line) == 0 => None,
        Expected::Unlisted => Some(Why::Unlisted(scene.class(client.line))),
        Expected::Listed(row) => (row.expect == Expect::Refuse).then_some(Why::Refuse(row.index)),
        Expected::Mixed => None,
    });
    found.all(groups.iter().map(|((_, why), group)| match why {
        Why::Refuse(row) => against_a_line(scene, &scene.inventory.rows()[*row], group),
        Why::Unlisted(class) => without_a_line(scene, *class, group),
    }));
}

/// The finding about a group that a line expects to be refused.
fn against_a_line(scene: &Scene<'_>, row: &Row, group: &[Client<'_>]) -> Finding {
    let mut finding = scene.finding(KIND, Severity::Warning, group, answered, answered_frames);
    finding.subject.prefixes = vec![show_prefix(row.prefix)];
    let tally = Tally::of(group);
    let count = group.iter().map(|client| answered(client.line)).sum();
    let (who, is, was) = match alone(group) {
        Some(_) => (of_line(&finding.subject.sources[0], row), "is", "was"),
        None => (format!("{} of {}", begins(&sources(group, "")), row.describe()), "are", "were"),
    };
    let server = group[0].line.server;
    let refused = match tally.refused + tally.denied + tally.unsolicited {
        0 => String::new(),
        _ => format!(
            " {} also {}.",
            if alone(group).is_some() { "It was" } else { "They were" },
            tally.turned_away(server)
        ),
    };
    finding.says =
        format!("{who} {is} expected to be refused but {was} answered {} by {server}.{refused}", times(count));
    finding.advice = Some(format!(
        "Look up {} in the access rules of {server}: which rule admits it? If it should be answered, change {}.",
        finding.subject.sources[0],
        row.rule()
    ));
    finding
}

/// The finding about a group that no line covers.
fn without_a_line(scene: &Scene<'_>, class: Class, group: &[Client<'_>]) -> Finding {
    let severity = if class == Class::Own { Severity::Info } else { Severity::Warning };
    let mut finding = scene.finding(KIND, severity, group, answered, answered_frames);
    let count = group.iter().map(|client| answered(client.line)).sum();
    let server = group[0].line.server;
    let first = &finding.subject.sources[0];
    finding.says = if alone(group).is_some() {
        let own = if class == Class::Own { ", an address of a server itself," } else { "" };
        format!("{first}{own} is in no inventory line and was answered {} by {server}.", times(count))
    } else {
        let most = group.iter().map(|client| answered(client.line)).max().unwrap_or_default();
        format!(
            "{} in no inventory line were answered {} by {server}{}.",
            begins(&sources(group, class.words())),
            times(count),
            if group.len() == 1 { String::new() } else { format!(", most often {first} ({})", times(most)) }
        )
    };
    finding.advice = (class != Class::Own).then(|| {
        "Ask who it is. If it belongs here, list it; if not, find the access rule that admits it and narrow that."
            .to_owned()
    });
    finding
}

/// Number of answered transactions of a source. Errors do not count: they may be returned before access is checked.
fn answered(line: &SourceLine) -> u64 {
    line.count(Outcome::Answered).saturating_sub(line.row.rare().errors)
}

/// The frames of answers to a source.
fn answered_frames(line: &SourceLine) -> &[FrameRef] {
    &line.row.rare().answered_frames
}
