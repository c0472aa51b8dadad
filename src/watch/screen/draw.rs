//! A snapshot to a picture ([`draw`]): what happened and what was lost stand at the top whatever else is shown.
//!
//! Text from the wire comes escaped in the snapshot; names of nodes and interfaces are escaped here.

use super::super::snapshot::{FindingLine, Loss, Snapshot, TurnedAway, transactions};
use super::{Look, Screen, View};
use crate::capture::Timestamp;
use crate::config::{Outcome, Severity};
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::report::page::{counted, grouped, interface_loss, percent, wrap};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;
use ratatui::widgets::{Sparkline, Widget};
use std::fmt::Write as _;

/// Lines at the top: title, answer and loss.
const TOP: u16 = 3;
/// Heading of the first column, also its least width; a source is never cut.
const SOURCE: &str = "SOURCE THE SERVER SAW";
/// A snapshot older than this (nanoseconds) is called old.
const OLD: i64 = 3_000_000_000;

/// Bars of what every terminal has.
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

/// Paints everything; returns how many lines make a page.
pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, latest: &Snapshot, now: Timestamp) -> usize {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let held = screen.paused.clone();
    let shown = held.as_deref().unwrap_or(latest);
    let mut paint = Paint { buffer, area, look: screen.look };
    title(&mut paint, screen, latest, shown, now);
    answer(&mut paint, shown);
    // Loss is never of the past.
    loss(&mut paint, latest);
    let body = Rect { y: area.y + TOP.min(area.height), height: area.height.saturating_sub(TOP + 1), ..area };
    let page = match screen.view {
        View::Overview => overview(&mut paint, body, screen, shown),
        View::Source => pages(&mut paint, body, screen, |screen| source(screen, shown)),
        View::Findings => pages(&mut paint, body, screen, |_| findings(shown)),
        View::Help => pages(&mut paint, body, screen, |_| help(shown)),
    };
    footer(&mut paint, screen, shown);
    page
}

/// Where things are painted.
struct Paint<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    look: Look,
}

impl Paint<'_> {
    /// Text from a column on, at most so wide; what does not fit is marked. Returns the column after it.
    fn put(&mut self, x: u16, y: u16, text: &str, width: u16, style: Style) -> u16 {
        let width = width.min(self.area.right().saturating_sub(x));
        if y >= self.area.bottom() || width == 0 {
            return x;
        }
        let (end, _) = self.buffer.set_stringn(x, y, text, usize::from(width), style);
        let cut = text.chars().count() > usize::from(width);
        if cut {
            let mark = if self.look.unicode { "…" } else { "~" };
            self.buffer.set_string(x + width - 1, y, mark, style);
        }
        end
    }

    /// A whole line.
    fn line(&mut self, y: u16, text: &str, style: Style) {
        self.put(self.area.x, y, text, self.area.width, style);
    }

    /// Text that ends at the right edge, when the line is long enough for it beside `taken` columns.
    fn right(&mut self, y: u16, text: &str, taken: u16, style: Style) {
        let width = text.chars().count() as u16;
        if width + taken < self.area.width {
            self.put(self.area.right() - width, y, text, width, style);
        }
    }

    /// Something that must not be missed.
    fn loud(&self, color: Color) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.look.color { bold.fg(color) } else { bold }
    }
}

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

//------------ The top -------------------------------------------------------

/// What is watched, and as of when.
fn title(paint: &mut Paint<'_>, screen: &Screen, latest: &Snapshot, shown: &Snapshot, now: Timestamp) {
    let y = paint.area.y;
    if latest.is_blank() {
        return paint.line(y, "dnsrefused  the capture begins", BOLD);
    }
    let interfaces: Vec<String> = shown.interfaces.iter().map(|name| escape_text(name)).collect();
    let lasted = (shown.now.0 - shown.started.0).max(0) / 1_000_000_000;
    let when = format!("{}, {}", clock(shown.now, shown.now), duration(lasted));
    let old = now.0.saturating_sub(latest.now.0);
    let (when, style) = match () {
        () if screen.paused.is_some() => (format!("PAUSED at {when}"), REVERSED),
        () if old > OLD => (format!("NO NEWS for {}", duration(old / 1_000_000_000)), REVERSED),
        () => (when, PLAIN),
    };
    paint.right(y, &when, 12, style);
    let room = paint.area.width.saturating_sub(when.chars().count() as u16 + 2);
    let text = format!("dnsrefused  {}  {}", escape_text(&shown.node), interfaces.join(" "));
    paint.put(paint.area.x, y, &text, room, BOLD);
}

/// How much was refused.
fn answer(paint: &mut Paint<'_>, shown: &Snapshot) {
    let y = paint.area.y + 1;
    let (asked, refused) = (shown.transactions(), shown.outcomes[Outcome::Refused as usize]);
    let queries = if asked == 1 { "client query" } else { "client queries" };
    let sources = shown.rows.len() as u64 + shown.rows_not_shown;
    let turned_away = counted(sources, "source", "sources");
    if shown.without_queries {
        let text = match refused {
            0 => "No REFUSED response so far; nothing else is captured".to_owned(),
            _ => format!(
                "REFUSED {}, {turned_away} turned away; nothing else is captured",
                counted(refused, "response", "responses")
            ),
        };
        return paint.line(y, &text, if refused == 0 { PLAIN } else { paint.loud(Color::Red) });
    }
    if refused == 0 && shown.refused_beside > 0 {
        let responses = counted(shown.refused_beside, "response", "responses");
        let text = format!("REFUSED {responses} that end no query; nothing in {} {queries}", grouped(asked));
        return paint.line(y, &text, paint.loud(Color::Red));
    }
    match (asked, refused, sources) {
        (0, 0, 0) => paint.line(y, "No client query so far", PLAIN),
        (_, 0, 0) => {
            paint.line(y, &format!("NOTHING REFUSED in {} {queries}", grouped(asked)), paint.loud(Color::Green));
        }
        (_, 0, _) => {
            let text = format!("Nothing refused in {} {queries}, but {turned_away} turned away", grouped(asked));
            paint.line(y, &text, paint.loud(Color::Yellow));
        }
        (_, _, _) => {
            let share = percent(refused, asked);
            let text = format!(
                "REFUSED {} of {} {queries} ({share}), {turned_away} turned away",
                grouped(refused),
                grouped(asked)
            );
            paint.line(y, &text, paint.loud(Color::Red));
        }
    }
}

/// What was lost on the way.
fn loss(paint: &mut Paint<'_>, latest: &Snapshot) {
    let Loss { kernel_seen, kernel_dropped, interface_dropped, own_dropped } = latest.loss;
    let number = |count: Option<u64>| count.map_or_else(|| "unavailable".to_owned(), grouped);
    let parts = format!(
        "kernel {}, interface {}, own {}",
        number(kernel_dropped),
        interface_loss(interface_dropped),
        number(own_dropped)
    );
    let seen = kernel_seen.map_or_else(String::new, |seen| format!("  of {}", counted(seen, "packet", "packets")));
    let ring = match latest.ring_bytes {
        0 => String::new(),
        bytes if bytes < 1 << 20 => format!("  ring {} KiB", bytes >> 10),
        bytes => format!("  ring {} MiB", bytes >> 20),
    };
    let (word, style) = match latest.loss.known() {
        0 if latest.loss.complete() => ("No loss", PLAIN),
        0 => ("Loss", PLAIN),
        _ => ("LOST", paint.loud(Color::Yellow)),
    };
    paint.line(paint.area.y + 2, &format!("{word}: {parts}{seen}{ring}"), style);
}

//------------ Overview ------------------------------------------------------

/// Rate, sources and findings; returns how many sources fit.
fn overview(paint: &mut Paint<'_>, body: Rect, screen: &mut Screen, shown: &Snapshot) -> usize {
    let bars = match body.height {
        0..=9 => 0,
        10..=15 => 1,
        _ => 3,
    };
    let rate = if bars > 0 { bars + 1 } else { 0 };
    let rows = screen.rows(shown);
    let said = finding_lines_short(shown, usize::from(body.width));
    // Findings get two lines, and what the sources leave.
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

/// Findings as lines of a width, each with how serious it is.
fn finding_lines_short(shown: &Snapshot, width: usize) -> Vec<(Severity, String)> {
    /// More never fit beside the sources.
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

/// Refused per second as bars, with the numbers that bars do not say.
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
    // The latest second stands at the right edge.
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

/// The table of sources; the one at `at` is under the cursor.
fn sources(paint: &mut Paint<'_>, area: Rect, shown: &Snapshot, rows: &[&TurnedAway], at: usize) {
    let visible = &rows[..rows.len().min(usize::from(area.height.saturating_sub(1)))];
    let cells: Vec<[String; 6]> = visible.iter().map(|row| cells(row, shown)).collect();
    let said = match (shown.judged, shown.listed) {
        (true, _) => "FILE SAYS",
        (false, true) => "EXPECTED",
        (false, false) => "LAST NAME",
    };
    let headings = [SOURCE, "REFUSED", "NOW/S", "ANSWERED", "SINCE", said];
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

/// How many findings of each severity there are; returns the columns used.
fn found_header(paint: &mut Paint<'_>, y: u16, shown: &Snapshot) -> u16 {
    let parts: Vec<String> = Severity::ALL
        .iter()
        .rev()
        .map(|(name, severity)| (name, shown.stand(*severity)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    let text = if parts.is_empty() { "No findings".to_owned() } else { format!("FINDINGS {}", parts.join(", ")) };
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

//------------ Pages of text -------------------------------------------------

/// Lines that are longer or more than fit: wrapped, and scrolled as far as there is something.
fn pages(paint: &mut Paint<'_>, body: Rect, screen: &mut Screen, text: impl FnOnce(&Screen) -> Vec<String>) -> usize {
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

/// All that is known of the selected source.
fn source(screen: &Screen, shown: &Snapshot) -> Vec<String> {
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
            format!("  {} queries: {}", grouped(transactions(&row.outcomes)), outcomes.join(", "))
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
    for finding in shown.findings.iter().filter(named) {
        lines.push(String::new());
        lines.extend(finding_lines(finding));
    }
    lines
}

/// Every finding in full.
fn findings(shown: &Snapshot) -> Vec<String> {
    if shown.findings.is_empty() {
        return vec!["No findings".to_owned()];
    }
    shown.findings.iter().flat_map(|finding| finding_lines(finding).into_iter().chain([String::new()])).collect()
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
fn help(shown: &Snapshot) -> Vec<String> {
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
        "  Our servers' own queries: {}, of which {} were refused",
        grouped(transactions(&shown.upstream)),
        grouped(shown.upstream[Outcome::Refused as usize])
    ));
    lines.push(format!("  {}", if shown.sandbox.is_empty() { "sandbox: unavailable" } else { &shown.sandbox }));
    lines
}

/// What can be done here, or the filter while it is typed.
fn footer(paint: &mut Paint<'_>, screen: &Screen, shown: &Snapshot) {
    if paint.area.height <= TOP {
        return;
    }
    let y = paint.area.bottom() - 1;
    if screen.typing {
        return paint.line(y, &format!("filter: {}_  Enter keeps it, Esc drops it", screen.filter), BOLD);
    }
    let pause = if screen.paused.is_some() { "go on" } else { "pause" };
    let text = match screen.view {
        View::Overview => {
            format!("q quit  Enter source  s sort: {}  / filter  p {pause}  f findings  ? help", screen.sort.name())
        }
        _ => format!("Esc back  up down scroll  p {pause}  f findings  ? help  q quit"),
    };
    paint.line(y, &text, PLAIN);
    if !screen.filter.is_empty() && screen.view == View::Overview {
        let matches = screen.rows(shown).len();
        let text = format!(
            "filter {:?}: {matches} of {}  / change  Esc drop  q quit  ? help",
            screen.filter,
            shown.rows.len()
        );
        paint.buffer.set_string(paint.area.x, y, " ".repeat(usize::from(paint.area.width)), PLAIN);
        paint.line(y, &text, BOLD);
    }
}

//------------ Words ---------------------------------------------------------

/// A rate, short.
fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "?".to_owned(),
        Some(rate) if rate >= 100.0 => grouped(rate.round() as u64),
        Some(rate) => format!("{rate:.1}"),
    }
}

/// The time of day; with month and day when that is not the day of `now`.
fn clock(time: Timestamp, now: Timestamp) -> String {
    let (text, today) = (time.to_rfc3339(0), now.to_rfc3339(0));
    if text[..10] == today[..10] { text[11..].to_owned() } else { format!("{} {}", &text[5..10], &text[11..16]) }
}

/// Seconds as people say them.
fn duration(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
