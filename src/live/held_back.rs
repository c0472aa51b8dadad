//! Lines for the operator that wait until the screen in front of them ends ([`HeldBack`]).

use crate::report::page::counted;
use crate::run::Console;
use std::collections::VecDeque;

/// A console whose lines wait until [`Console::show`] while a screen is shown.
pub(super) struct HeldBack<'a> {
    console: &'a mut dyn Console,
    holds: bool,
    lines: VecDeque<String>,
    left_out: u64,
}

/// Most lines held back; when there are more, the oldest are left out.
const HELD_LINES: usize = 2000;

impl<'a> HeldBack<'a> {
    pub(super) fn new(console: &'a mut dyn Console, holds: bool) -> Self {
        Self { console, holds, lines: VecDeque::new(), left_out: 0 }
    }
}

impl Console for HeldBack<'_> {
    fn line(&mut self, text: &str) {
        if self.holds {
            if self.lines.len() >= HELD_LINES {
                self.lines.pop_front();
                self.left_out += 1;
            }
            self.lines.push_back(text.to_owned());
        } else {
            self.console.line(text);
        }
    }

    fn missing(&self) -> u64 {
        self.console.missing()
    }

    fn show(&mut self) {
        self.holds = false;
        if self.left_out > 0 {
            let lines = counted(std::mem::take(&mut self.left_out), "earlier line is", "earlier lines are");
            self.console.line(&format!("note: {lines} left out: behind a screen the last {HELD_LINES} are kept"));
        }
        for line in std::mem::take(&mut self.lines) {
            self.console.line(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Said(Vec<String>);

    impl Console for Said {
        fn line(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    #[test]
    fn lines_behind_a_screen_that_are_too_many_are_counted() {
        for (extra, note) in
            [(0, None), (1, Some("note: 1 earlier line is left out")), (2, Some("note: 2 earlier lines are"))]
        {
            let mut said = Said::default();
            let mut held = HeldBack::new(&mut said, true);
            (0..HELD_LINES + extra).for_each(|number| held.line(&number.to_string()));
            held.show();
            held.line("and after it");
            let lines = &said.0[usize::from(note.is_some())..];
            assert!(note.is_none_or(|note| said.0[0].starts_with(note)), "{}", said.0[0]);
            assert_eq!(
                (lines.len(), &lines[0], lines[HELD_LINES].as_str()),
                (HELD_LINES + 1, &extra.to_string(), "and after it")
            );
        }
    }
}
