//! The overview page ([`overview`]): refusals by second, the table of sources, and the first findings.

use super::super::super::snapshot::{Snapshot, TurnedAway};
use super::super::Screen;
use super::paint::{BOLD, PLAIN, Paint, REVERSED};
use super::{clock, duration, rate};
use crate::config::{Outcome, Severity};
use crate::expect::inventory::show_prefix;
use crate::report::page::{grouped, wrap};
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::bar;
use ratatui::widgets::{Sparkline, Widget};
use std::fmt::Write as _;

/// Heading of the first column, and its least width; a source is never truncated.
const SOURCE: &str = "SOURCE THE SERVER SAW";
/// The heading where it is not known that the server saw the source; of the same width.
const SOURCE_HERE: &str = "SOURCE SEEN HERE     ";

/// Bars of characters that every terminal has.
const PLAIN_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "+",
    five_eighths: "+",
    half: "=",
    three_eighths: "-",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

/// Rate, sources and findings; returns the number of sources that fit.
pub(super) fn overview(paint: &mut Paint<'_>, body: Rect, screen: &mut Screen, shown: &Snapshot) -> usize {
    let bars = match body.height {
        0..=9 => 0,
        10..=15 => 1,
        _ => 3,
    };
    let rate = if bars > 0 { bars + 1 } else { 0 };
    let rows = screen.rows(shown);
    let said = finding_lines_short(shown, usize::from(body.width));
    // Findings get two lines, and what the sources leave free.
    let left = usize::from(body.height.saturating_sub(rate + 2)).saturating_sub(rows.len().max(1));
    let least = match body.height {
        0..=7 => 0,
        8..=13 => 1,
        _ => 2,
    };
    let found = said.len().min(left.max(least)) as u16;
    if bars > 0 {
        refusals(paint, Rect { height: rate, ..body }, shown);
    }
    let table = Rect { y: body.y + rate, height: body.height.saturating_sub(rate + found + 1), ..body };
    let visible = usize::from(table.height.saturating_sub(1));
    let at = screen.place(&rows);
    let first = (at + 1).saturating_sub(visible);
    sources(paint, table, shown, &rows[first.min(rows.len())..], at - first.min(at));
    let y = table.bottom();
    let taken = found_header(paint, y, shown);
    let last = rows.len().min(first + visible);
    let mut place =
        format!("sources {}-{last} of {}", grouped((first + 1).min(last) as u64), grouped(rows.len() as u64));
    if shown.rows_not_shown > 0 {
        let _ = write!(place, " ({} more)", grouped(shown.rows_not_shown));
    }
    paint.right(y, &place, taken, PLAIN);
    for ((index, (severity, text)), line) in said.iter().enumerate().take(usize::from(found)).zip(y + 1..) {
        let style = severity_style(paint, *severity);
        paint.line(line, text, style);
        if index + 1 == usize::from(found) && index + 1 < said.len() {
            paint.right(line, " ... f", 0, style);
        }
    }
    visible
}

/// Findings as lines of a given width, each with its severity.
fn finding_lines_short(shown: &Snapshot, width: usize) -> Vec<(Severity, String)> {
    /// More never fit below the sources.
    const SHOWN: usize = 20;
    let width = width.max(20);
    let lines = shown.findings.iter().take(SHOWN).flat_map(|finding| {
        let text = format!("{} {}", finding.severity.name(), finding.says);
        wrap(&text, width, width - 2)
            .into_iter()
            .enumerate()
            .map(|(index, line)| (finding.severity, if index == 0 { line } else { format!("  {line}") }))
    });
    lines.collect()
}

/// Refused per second as bars, and the numbers that bars do not show.
fn refusals(paint: &mut Paint<'_>, area: Rect, shown: &Snapshot) {
    let width = usize::from(area.width);
    let history = &shown.refused_per_second;
    let last = &history[history.len().saturating_sub(width)..];
    let most = last.iter().copied().max().unwrap_or(0);
    let text = match last.last() {
        Some(now) => format!(
            "Refused per second, last {}: now {}, most {}",
            duration(last.len() as i64),
            grouped(u64::from(*now)),
            grouped(u64::from(most))
        ),
        None => "Refused per second".to_owned(),
    };
    paint.put(area.x, area.y, &text, area.width, PLAIN);
    let height = area.height.saturating_sub(1).min(paint.area.bottom().saturating_sub(area.y + 1));
    let bars = Rect { y: area.y + 1, height, ..area };
    // The latest second is at the right edge.
    let data: Vec<u64> =
        std::iter::repeat_n(0, width - last.len()).chain(last.iter().map(|count| u64::from(*count))).collect();
    let style = if paint.look.color { Style::new().fg(Color::Red) } else { PLAIN };
    Sparkline::default()
        .data(data)
        .max(u64::from(most.max(1)))
        .bar_set(if paint.look.unicode { bar::NINE_LEVELS } else { PLAIN_BARS })
        .style(style)
        .render(bars, paint.buffer);
}

/// The table of sources; the cursor is at row `at`.
fn sources(paint: &mut Paint<'_>, area: Rect, shown: &Snapshot, rows: &[&TurnedAway], at: usize) {
    let visible = &rows[..rows.len().min(usize::from(area.height.saturating_sub(1)))];
    let cells: Vec<[String; 6]> = visible.iter().map(|row| cells(row, shown)).collect();
    let said = match (shown.judged, shown.listed) {
        (true, _) => "FILE SAYS",
        (false, true) => "EXPECTED",
        (false, false) => "LAST NAME",
    };
    let source = if shown.at_servers { SOURCE } else { SOURCE_HERE };
    let headings = [source, "REFUSED", "NOW/S", "ANSWERED", "SINCE", said];
    let width = |column: usize| {
        let widest = cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        widest.max(headings[column].chars().count()) as u16
    };
    let widths: [u16; 6] = std::array::from_fn(width);
    let mut line = |y: u16, mark: &str, cells: [&str; 6], style: Style| {
        if style == REVERSED {
            paint.buffer.set_style(Rect { y, height: 1, ..area }.intersection(paint.area), style);
        }
        let mut x = paint.put(area.x, y, mark, 2, style).max(area.x + 2);
        for (column, text) in cells.into_iter().enumerate() {
            let left = matches!(column, 0 | 4 | 5);
            let room = if column == 5 { area.right().saturating_sub(x) } else { widths[column] };
            let shift = if left { 0 } else { room.saturating_sub(text.chars().count() as u16) };
            paint.put(x + shift, y, text, room.saturating_sub(shift), style);
            x += room + 1;
        }
    };
    line(area.y, "", headings, BOLD);
    for ((index, cells), y) in cells.iter().enumerate().zip(area.y + 1..) {
        let under = index == at;
        let cells = std::array::from_fn(|column| cells[column].as_str());
        line(y, if under { "> " } else { "" }, cells, if under { REVERSED } else { PLAIN });
    }
    if visible.is_empty() && area.height > 1 {
        let text = if shown.rows.is_empty() { "Nobody was turned away" } else { "No source matches the filter" };
        paint.put(area.x + 2, area.y + 1, text, area.width, PLAIN);
    }
}

/// A source's line.
fn cells(row: &TurnedAway, shown: &Snapshot) -> [String; 6] {
    let mut said = Vec::new();
    if shown.servers.len() > 1 {
        said.push(format!("at {}", row.server));
    }
    if row.refused() == 0 {
        for outcome in [Outcome::Silent, Outcome::TcpRejected].into_iter().filter(|outcome| row.count(*outcome) > 0) {
            said.push(format!("{} {}", outcome.name(), grouped(row.count(outcome))));
        }
    }
    match (shown.judged, shown.listed) {
        (true, _) => said.extend([row.verdict.to_owned(), row.rule.clone()]),
        (false, true) => said.extend([row.expected.to_owned(), row.name.clone()]),
        (false, false) => said.extend(row.asked.first().map(|(name, _)| name.clone())),
    }
    [
        show_prefix(row.source),
        grouped(row.refused()),
        rate(row.per_second),
        if shown.without_queries { "-".to_owned() } else { grouped(row.count(Outcome::Answered)) },
        row.first_refused.or(row.first).map_or_else(|| "-".to_owned(), |time| clock(time, shown.now)),
        said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
    ]
}

/// The number of findings of each severity; returns the columns used.
fn found_header(paint: &mut Paint<'_>, y: u16, shown: &Snapshot) -> u16 {
    let parts: Vec<String> = Severity::ALL
        .iter()
        .rev()
        .map(|(name, severity)| (name, shown.stand(*severity)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    // Next to counts of the whole capture, findings of an interval would be taken for findings of the same time.
    let since = shown.findings_since.map_or_else(String::new, |since| format!(" since {}", clock(since, shown.now)));
    let text =
        if parts.is_empty() { format!("No findings{since}") } else { format!("FINDINGS{since} {}", parts.join(", ")) };
    paint.line(y, &text, BOLD);
    text.chars().count() as u16 + 1
}

fn severity_style(paint: &Paint<'_>, severity: Severity) -> Style {
    match severity {
        Severity::Critical => paint.loud(Color::Red),
        Severity::Warning => paint.loud(Color::Yellow),
        Severity::Info => PLAIN,
    }
}
