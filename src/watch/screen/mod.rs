//! The terminal screen (`--screen`): keys decide which part of the latest snapshot is shown ([`Screen`]), and [`draw`]
//! paints it.
//!
//! [`run`] is the screen's loop: it reads the board and the keyboard, and touches nothing else.

pub mod draw;
pub mod keys;
pub mod terminal;
#[cfg(test)]
mod tests;

use super::Board;
use super::snapshot::{Snapshot, TurnedAway};
use crate::capture::host::now;
use ipnet::IpNet;
use keys::{Input, Key, Keys};
use std::cmp::Reverse;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use terminal::Borrowed;

/// Longest wait for a key; a new snapshot, a resized window or the end is noticed at most this late.
const TICK: Duration = Duration::from_millis(200);
/// Longest filter, in characters.
const FILTER: usize = 60;

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The operator left; the capture is to end and report.
    Quit,
    /// The stop flag was set.
    Stopped,
    /// The terminal is gone, or was restored elsewhere.
    Lost,
}

/// How the terminal is to be painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Colours, besides bold and reversed text.
    pub color: bool,
    /// Use characters beyond ASCII (bars of eighths).
    pub unicode: bool,
}

impl Look {
    /// Chooses by what locale(7) says: the first of these variables that is not empty.
    pub fn of(color: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| variable(name)).find(|text| !text.is_empty());
        let name = locale.unwrap_or_default().to_ascii_lowercase();
        Self { color, unicode: name.contains("utf-8") || name.contains("utf8") }
    }
}

/// The view that fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Rate, sources and findings.
    Overview,
    /// One source.
    Source,
    /// Every finding in full.
    Findings,
    /// What the keys do, and how the process is confined.
    Help,
}

/// Order of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Refused per second over the last seconds.
    Rate,
    /// Refused since the start.
    Refused,
    /// Refused last.
    Last,
    /// Address.
    Source,
}

impl Sort {
    /// Every order with its name, in the order of the key.
    pub const ALL: [(&'static str, Sort); 4] =
        [("now", Sort::Rate), ("refused", Sort::Refused), ("last", Sort::Last), ("source", Sort::Source)];

    /// The name on the screen.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// State of the screen: what the operator chose to see.
#[derive(Debug)]
pub struct Screen {
    /// What fills the screen.
    pub view: View,
    /// Order of the sources.
    pub sort: Sort,
    /// Only sources whose shown text contains this are listed; empty for all.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// The snapshot on which the screen is paused.
    pub paused: Option<Arc<Snapshot>>,
    /// The source under the cursor.
    pub selected: Option<(IpNet, IpAddr)>,
    /// First line shown of findings or of a source.
    pub scroll: usize,
    /// How it is painted.
    pub look: Look,
}

/// What a key asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nothing else.
    Nothing,
    /// To end.
    Quit,
    /// To repaint everything.
    Redraw,
    /// To stop until the shell continues it.
    Suspend,
}

impl Screen {
    /// The overview, nothing filtered.
    pub fn new(look: Look) -> Self {
        Self {
            view: View::Overview,
            sort: Sort::Rate,
            filter: String::new(),
            typing: false,
            paused: None,
            selected: None,
            scroll: 0,
            look,
        }
    }

    /// The sources to list, in order.
    pub fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a TurnedAway> {
        let wanted = self.filter.to_ascii_lowercase();
        let mut rows: Vec<&TurnedAway> = snapshot.rows.iter().filter(|row| has(row, &wanted)).collect();
        // The sort is stable: equal rows keep the order of the snapshot.
        match self.sort {
            Sort::Rate => {
                rows.sort_by(|one, two| two.per_second.unwrap_or(-1.0).total_cmp(&one.per_second.unwrap_or(-1.0)));
            }
            Sort::Refused => rows.sort_by_key(|row| Reverse(row.refused())),
            Sort::Last => rows.sort_by_key(|row| Reverse(row.last_refused.or(row.last))),
            Sort::Source => rows.sort_by_key(|row| (row.source, row.server)),
        }
        rows
    }

    /// Index of the selected source among the rows; the first when it is not among them.
    pub fn place(&self, rows: &[&TurnedAway]) -> usize {
        rows.iter().position(|row| Some((row.source, row.server)) == self.selected).unwrap_or(0)
    }

    /// Handles a key; `page` is the number of sources that fit.
    pub fn key(&mut self, key: Key, latest: &Arc<Snapshot>, page: usize) -> Asked {
        match key {
            Key::Interrupt => return Asked::Quit,
            Key::Redraw => return Asked::Redraw,
            Key::Suspend => return Asked::Suspend,
            _ if self.typing => self.type_filter(key),
            Key::Char('q') => return Asked::Quit,
            Key::Char('p' | ' ') => {
                self.paused = if self.paused.is_some() { None } else { Some(Arc::clone(latest)) };
            }
            Key::Char('?' | 'h') => self.show(View::Help),
            Key::Char('f') => self.show(View::Findings),
            Key::Escape | Key::Backspace if self.view != View::Overview => self.show(View::Overview),
            Key::Escape => self.filter.clear(),
            _ if self.view == View::Overview => self.overview_key(key, latest, page),
            _ => self.scroll_key(key, page),
        }
        Asked::Nothing
    }

    /// Switches to a view, or back from it.
    fn show(&mut self, view: View) {
        self.view = if self.view == view { View::Overview } else { view };
        self.scroll = 0;
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(character) if self.filter.len() < FILTER => self.filter.push(character),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn overview_key(&mut self, key: Key, latest: &Arc<Snapshot>, page: usize) {
        let shown = self.paused.clone().unwrap_or_else(|| Arc::clone(latest));
        let rows = self.rows(&shown);
        let last = rows.len().saturating_sub(1);
        let at = self.place(&rows);
        let to = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => (at + 1).min(last),
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => (at + page).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            Key::Enter => {
                if let Some(row) = rows.get(at) {
                    self.selected = Some((row.source, row.server));
                    self.show(View::Source);
                }
                return;
            }
            Key::Char('s') => {
                self.sort = Sort::ALL[(self.sort as usize + 1) % Sort::ALL.len()].1;
                return;
            }
            Key::Char('/') => {
                self.typing = true;
                return;
            }
            _ => return,
        };
        self.selected = rows.get(to).map(|row| (row.source, row.server));
    }

    fn scroll_key(&mut self, key: Key, page: usize) {
        self.scroll = match key {
            Key::Up | Key::Char('k') => self.scroll.saturating_sub(1),
            Key::Down | Key::Char('j') => self.scroll + 1,
            Key::PageUp => self.scroll.saturating_sub(page),
            Key::PageDown => self.scroll + page,
            Key::Home | Key::Char('g') => 0,
            _ => self.scroll,
        };
    }
}

/// True when the shown text of a source contains the filter.
fn has(row: &TurnedAway, wanted: &str) -> bool {
    let text = |text: &str| text.to_ascii_lowercase().contains(wanted);
    wanted.is_empty()
        || [row.name.as_str(), row.expected, &row.expected_rule, row.verdict, &row.rule].into_iter().any(text)
        || row.asked.iter().any(|(name, kind)| text(name) || text(kind))
        || text(&row.source.to_string())
        || text(&row.server.to_string())
}

/// Job control of the shell, as flags that signals set.
#[derive(Debug, Clone, Default)]
pub struct JobControl {
    /// Stop (SIGTSTP).
    pub suspend: Arc<AtomicBool>,
    /// Continue (SIGCONT).
    pub resume: Arc<AtomicBool>,
}

/// Shows the board until the operator leaves or `stop` is set. The terminal is restored when this returns.
pub fn run(mut borrowed: Borrowed, board: &Board, stop: &AtomicBool, job: &JobControl, look: Look) -> Left {
    let mut screen = Screen::new(look);
    let mut keys = Keys::default();
    let mut painted = true;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Left::Stopped;
        }
        if !terminal::is_borrowed() {
            return Left::Lost;
        }
        if job.suspend.swap(false, Ordering::Relaxed) {
            borrowed.stop(&job.resume);
            job.resume.store(true, Ordering::Relaxed);
        }
        if job.resume.swap(false, Ordering::Relaxed) {
            if borrowed.take_again().is_err() {
                return Left::Lost;
            }
            painted = false;
        }
        let latest = board.latest();
        // After a partial picture the terminal's content is unknown.
        let cleared = if painted { Ok(()) } else { terminal::clear(&mut borrowed.terminal) };
        let mut page = 0;
        let drawn = cleared.and_then(|()| {
            borrowed.terminal.draw(|frame| page = draw::draw(frame, &mut screen, &latest, now())).map(|_| ())
        });
        painted = match drawn {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => false,
            Err(_) => return Left::Lost,
        };
        let pressed = match keys::read(&mut borrowed.keyboard, &mut keys, TICK) {
            Ok(Input::Keys(pressed)) => pressed,
            Ok(Input::Gone) | Err(_) => return Left::Lost,
        };
        for key in pressed {
            match screen.key(key, &latest, page) {
                Asked::Nothing => {}
                Asked::Quit => return Left::Quit,
                Asked::Redraw => painted = false,
                Asked::Suspend => job.suspend.store(true, Ordering::Relaxed),
            }
        }
    }
}
