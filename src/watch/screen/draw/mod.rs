//! Draws a snapshot on the screen ([`draw`]): what happened and what was lost is always at the top.
//!
//! Text from the wire is already escaped in the snapshot; names of nodes and interfaces are escaped here.

mod overview;
mod pages;
mod paint;

use super::super::snapshot::{Loss, Snapshot};
use super::{Screen, View};
use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::error::escape_text;
use crate::report::page::{counted, grouped, interface_loss, percent};
use ipnet::IpNet;
use overview::overview;
use pages::{findings, help, pages, source};
use paint::{BOLD, PLAIN, Paint, REVERSED};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;
use std::collections::HashSet;

/// Lines at the top: title, answer and loss.
const TOP: u16 = 3;
/// Lines of a terminal that has one to spare for the latest event.
const SPARE: u16 = 10;
/// A snapshot older than this (nanoseconds) is marked as old.
const OLD: i64 = 3_000_000_000;

/// Paints everything; returns the number of lines on a page.
pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, latest: &Snapshot, now: Timestamp) -> usize {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let held = screen.paused.clone();
    let shown = held.as_deref().unwrap_or(latest);
    let mut paint = Paint { buffer, area, look: screen.look };
    title(&mut paint, screen, latest, shown, now);
    answer(&mut paint, shown);
    // Losses are always shown as of now, even when paused.
    loss(&mut paint, latest);
    let below = 1 + happened(&mut paint, latest);
    let body = Rect { y: area.y + TOP.min(area.height), height: area.height.saturating_sub(TOP + below), ..area };
    let page = match screen.view {
        View::Overview => overview(&mut paint, body, screen, shown),
        View::Source => pages(&mut paint, body, screen, |screen| source(screen, shown)),
        View::Findings => pages(&mut paint, body, screen, |_| findings(shown, latest)),
        View::Help => pages(&mut paint, body, screen, |_| help(shown)),
    };
    footer(&mut paint, screen, shown);
    page
}

//------------ Top and bottom ------------------------------------------------

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
    // One source may have a row at each of several servers.
    let distinct: HashSet<IpNet> = shown.rows.iter().map(|row| row.source).collect();
    let sources = distinct.len() as u64;
    let least = if shown.rows_not_shown > 0 { "at least " } else { "" };
    let turned_away = format!("{least}{}", counted(sources, "source", "sources"));
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
    if refused == 0 && shown.extra_refusals > 0 {
        let responses = counted(shown.extra_refusals, "response", "responses");
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

/// The latest event around the capture, above the bottom line; returns the lines used. Like losses, it is always
/// current.
fn happened(paint: &mut Paint<'_>, latest: &Snapshot) -> u16 {
    let Some((at, line)) = latest.happened.last().filter(|_| paint.area.height >= SPARE) else { return 0 };
    let more = match latest.happened.len() {
        1 => String::new(),
        several => format!(" ({} earlier: f)", several - 1),
    };
    let room = paint.area.width.saturating_sub(more.chars().count() as u16);
    let style = paint.loud(Color::Yellow);
    let y = paint.area.bottom() - 2;
    let end = paint.put(paint.area.x, y, &format!("{} {line}", clock(*at, latest.now)), room, style);
    paint.put(end, y, &more, paint.area.right().saturating_sub(end), style);
    1
}

/// The keys that can be used here, or the filter while it is typed.
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

/// A rate, in few characters.
fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "?".to_owned(),
        Some(rate) if rate >= 100.0 => grouped(rate.round() as u64),
        Some(rate) => format!("{rate:.1}"),
    }
}

/// The time of day; with month and day when these differ from those of `now`.
fn clock(time: Timestamp, now: Timestamp) -> String {
    let (text, today) = (time.to_rfc3339(0), now.to_rfc3339(0));
    if text[..10] == today[..10] { text[11..].to_owned() } else { format!("{} {}", &text[5..10], &text[11..16]) }
}

/// A number of seconds for people.
fn duration(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
