//! Pages of scrolling text ([`pages`]): everything about one source, every finding in full, and the help.

use super::super::super::snapshot::{FindingLine, Snapshot, transactions};
use super::super::Screen;
use super::paint::{BOLD, PLAIN, Paint};
use super::{clock, rate};
use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::expect::inventory::show_prefix;
use crate::report::page::{counted, grouped, wrap};
use ratatui::layout::Rect;

/// Lines wrapped to the width, scrolled as far as there is text.
pub(super) fn pages(
    paint: &mut Paint<'_>,
    body: Rect,
    screen: &mut Screen,
    text: impl FnOnce(&Screen) -> Vec<String>,
) -> usize {
    let width = usize::from(body.width.max(20));
    let lines: Vec<String> = text(screen)
        .iter()
        .flat_map(|line| {
            let indent = line.len() - line.trim_start().len();
            let blanks = " ".repeat(indent);
            let wrapped = wrap(line.trim_start(), width - indent, width - indent);
            wrapped.into_iter().map(move |part| format!("{blanks}{part}")).collect::<Vec<_>>()
        })
        .collect();
    let height = usize::from(body.height);
    screen.scroll = screen.scroll.min(lines.len().saturating_sub(height));
    for (line, y) in lines.iter().skip(screen.scroll).take(height).zip(body.y..) {
        let style = if line.starts_with(' ') || line.is_empty() { PLAIN } else { BOLD };
        paint.line(y, line, style);
    }
    height.saturating_sub(1).max(1)
}

/// Everything about the selected source.
pub(super) fn source(screen: &Screen, shown: &Snapshot) -> Vec<String> {
    let rows = screen.rows(shown);
    let found = rows.iter().copied().chain(&shown.rows).find(|row| Some((row.source, row.server)) == screen.selected);
    let Some(row) = found else {
        return vec!["This source is not among those that are kept any more".to_owned()];
    };
    let address = show_prefix(row.source);
    let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| clock(time, shown.now));
    let outcomes: Vec<String> = Outcome::ALL
        .iter()
        .filter(|(_, outcome)| *outcome != Outcome::Unsolicited)
        .map(|(name, outcome)| format!("{name} {}", grouped(row.count(*outcome))))
        .collect();
    let mut lines = vec![
        format!("{address} at server {}", row.server),
        if shown.without_queries {
            let responses = counted(row.refused(), "REFUSED response", "REFUSED responses");
            format!("  {responses}; nothing else is captured")
        } else {
            let queries = counted(transactions(&row.outcomes), "query", "queries");
            format!("  {queries}: {}", outcomes.join(", "))
        },
        format!("  Refused {} per second over the last 10 s", rate(row.per_second)),
        format!("  Refused first {}, last {}", time(row.first_refused), time(row.last_refused)),
        format!("  Seen first {}, last {}", time(row.first), time(row.last)),
    ];
    if shown.listed {
        let name = if row.name.is_empty() { String::new() } else { format!(" ({})", row.name) };
        lines.push(format!("  Inventory: {} {}{name}", row.expected, row.expected_rule));
    }
    if shown.judged {
        let verdict = if row.verdict.is_empty() { "nothing decided since the last report" } else { row.verdict };
        lines.push(format!("  The server's file says: {verdict} {}", row.rule));
    }
    lines.extend([String::new(), "Refused last".to_owned()]);
    lines.extend(row.asked.iter().map(|(name, kind)| format!("  {name} {kind}")));
    if row.asked.is_empty() {
        lines.push("  names not kept".to_owned());
    }
    let named = |finding: &&FindingLine| {
        finding
            .says
            .split(|c: char| !c.is_ascii_hexdigit() && !".:/".contains(c))
            .any(|word| word.trim_end_matches(['.', ':']) == address)
    };
    let mut about = shown.findings.iter().filter(named).peekable();
    if let Some(since) = shown.findings_since.filter(|_| about.peek().is_some()) {
        lines.extend([String::new(), found_since(since, shown)]);
    }
    for finding in about {
        lines.push(String::new());
        lines.extend(finding_lines(finding));
    }
    lines
}

/// Every finding in full, and the events around the capture, the latest first.
pub(super) fn findings(shown: &Snapshot, latest: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(since) = shown.findings_since {
        lines.extend([found_since(since, shown), String::new()]);
    }
    if shown.findings.is_empty() {
        lines.extend(["No findings".to_owned(), String::new()]);
    }
    lines.extend(shown.findings.iter().flat_map(|finding| finding_lines(finding).into_iter().chain([String::new()])));
    if !latest.happened.is_empty() {
        lines.push("Happened last".to_owned());
        let happened = latest.happened.iter().rev();
        lines.extend(happened.map(|(at, line)| format!("  {} {line}", clock(*at, latest.now))));
    }
    lines
}

/// The time that findings are about, where each interval has its own.
fn found_since(since: Timestamp, shown: &Snapshot) -> String {
    format!("Findings of the present interval, since {}; earlier ones are in its reports", clock(since, shown.now))
}

fn finding_lines(finding: &FindingLine) -> Vec<String> {
    let mut lines = vec![
        format!("{} {} ({})", finding.severity.name().to_uppercase(), finding.id, finding.grade),
        format!("  {}", finding.says),
    ];
    lines.extend(finding.advice.iter().map(|advice| format!("  NEXT {advice}")));
    lines
}

/// What the keys do, what the columns mean, and how the process is confined.
pub(super) fn help(shown: &Snapshot) -> Vec<String> {
    let mut lines: Vec<String> = [
        "Keys",
        "  up down pgup pgdn home end   choose a source, or scroll",
        "  Enter   everything known of the source; Esc goes back",
        "  s       order: now, refused, last, source",
        "  /       only sources with this text in address, server, name or rule",
        "  p       hold the picture, and let it go on; loss is never held",
        "  f       every finding in full",
        "  q       end the capture and print the report",
        "",
        "Columns",
        "  REFUSED counts transactions refused or denied since the capture began.",
        "  NOW/S is that per second over the last 10 s; ? where it is not known.",
        "  SINCE is the first refusal. FILE SAYS is the server's own file as read.",
        "",
        "Apart",
    ]
    .map(str::to_owned)
    .into();
    lines.push(format!(
        "  Our servers' own queries: {}, {} of them refused",
        grouped(transactions(&shown.upstream)),
        grouped(shown.upstream[Outcome::Refused as usize])
    ));
    lines.push(format!("  {}", if shown.sandbox.is_empty() { "sandbox: unavailable" } else { &shown.sandbox }));
    lines
}
