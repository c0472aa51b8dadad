//! What a run does several times a second: [`Control`] asks it how the capture goes on.

use super::{Covers, Session, Taken, lock};
use crate::live::interval;
use crate::pipeline::live::{Control, Look, Moment, Wish};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often to look for changed files and new findings.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look may take this share of the time, but the next is never delayed by more than the longest wait: it may have
/// taken long only because the process was stopped.
const LOOK_SHARE: u32 = 20;
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(3);
/// After the process did not run for this long, an interval that ended meanwhile waits a moment: its packets are still
/// to be read from the ring, and its events to be noted.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// See [`STOOD_STILL`]; within this time the ring hands packets over, and several interfaces are merged.
const CATCH_UP: Duration = Duration::from_millis(700);

impl Control for Session<'_> {
    fn tick(&mut self, moment: &Moment, look: &mut Look<'_>) -> Wish {
        self.begin_at(moment);
        if self.look_after_outputs(moment) == Wish::Stop {
            return Wish::Stop;
        }
        for (at, line) in self.surroundings.look(moment) {
            self.note(at, &line);
        }
        let read: u64 = moment.kernel.iter().map(|counts| counts.read).sum();
        let live = &self.config.live;
        if live.duration.is_some_and(|duration| moment.elapsed >= duration)
            || live.count.is_some_and(|count| read >= count)
        {
            return Wish::Stop;
        }
        if moment.elapsed.saturating_sub(self.ticked) > STOOD_STILL {
            // A process that stands still again and again must not wait for ever.
            self.catches_up.get_or_insert(moment.elapsed + CATCH_UP);
        }
        self.ticked = moment.elapsed;
        let caught_up = self.catches_up.is_none_or(|until| moment.elapsed >= until);
        if caught_up {
            self.catches_up = None;
        }
        if self.signals.snapshot.swap(false, Ordering::Relaxed)
            && let Some(taken) = self.take_so_far(look)
        {
            let report = self.report(taken, moment, Covers::SoFar, false);
            self.print_beside(&report);
            if live.screen {
                let says = "a report was made (SIGUSR1); it is printed when this screen ends";
                self.show_happened(moment.now, says);
            }
        }
        if let Some(every) = live.every
            && moment.elapsed >= self.next_interval
            && caught_up
        {
            self.next_interval = interval::next_end(self.next_interval, every, moment.elapsed);
            self.end_interval(moment, look);
        }
        if let Some(looked_at) = self.looked_at.take() {
            self.next_look = moment.elapsed + pause_after_look(moment.elapsed.saturating_sub(looked_at));
        }
        if moment.elapsed >= self.next_look {
            self.looked_at = Some(moment.elapsed);
            self.reread(moment.now);
            self.look_for_news(moment, look);
        }
        Wish::GoOn
    }
}

/// The pause before the next look; `took` is the time from the last look to the call after it.
fn pause_after_look(took: Duration) -> Duration {
    took.saturating_mul(LOOK_SHARE).clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY)
}

impl Session<'_> {
    /// The first call starts the time; the opening lines are shown once packets are taken in.
    fn begin_at(&mut self, moment: &Moment) {
        if self.begin.is_none() {
            self.begin = Some(super::Begin { time: moment.now, before: None });
            self.began = moment.now;
        }
        if moment.capturing {
            for line in std::mem::take(&mut self.opening) {
                self.console.line(&line);
            }
        }
    }

    /// Reports what became of the recording, of rows and of reports on standard output. Without a reader of these the
    /// capture ends, unless it also serves something else.
    fn look_after_outputs(&mut self, moment: &Moment) -> Wish {
        let stopped =
            self.recording.as_ref().and_then(|alarm| alarm.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(stopped) = stopped {
            self.note(moment.now, &stopped);
        }
        let (rows, gone, missed) = {
            let mut decided = lock(&self.decided);
            decided.flush();
            (decided.counts(), decided.is_broken(), decided.legs().keep_up())
        };
        if missed {
            let line = "Addresses came to this host faster than they were read: some may be taken for others'.";
            self.note(moment.now, line);
        }
        // Reports written meanwhile may have lost their reader as well; their error is reported at the end.
        let unread = self.standard.as_ref().is_some_and(|(standard, _)| standard.is_broken());
        if !gone && !unread {
            self.say_left_out(moment.now, rows);
        } else if !std::mem::replace(&mut self.readers_gone, true) {
            let how = if gone { lock(&self.decided).how_broken() } else { self.how_unread() };
            let live = &self.config.live;
            let others = [("--write", live.write.is_some()), ("--metrics", live.metrics.is_some())];
            let others: Vec<&str> = others.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect();
            if others.is_empty() {
                self.say(moment.now, &format!("{how}: the capture ends"));
                return Wish::Stop;
            }
            let line = format!("{how}; the capture goes on for {}", others.join(" and "));
            self.note(moment.now, &line);
        }
        Wish::GoOn
    }

    /// Everything of this moment, while the time goes on; `None` when a tracker does not answer.
    fn take_so_far(&mut self, look: &mut Look<'_>) -> Option<Taken> {
        let mut taken = None;
        look(&mut |groups| taken = Some(self.take(groups, Covers::SoFar)));
        taken
    }

    /// Publishes what is new.
    fn look_for_news(&mut self, moment: &Moment, look: &mut Look<'_>) {
        if !self.scrolls() && self.board.is_none() {
            return;
        }
        let Some(taken) = self.take_so_far(look) else { return };
        let watched = self.board.is_some().then(|| (taken.legs.clone(), taken.verdicts.clone()));
        let report = self.report(taken, moment, Covers::SoFar, false);
        if let Some((legs, verdicts)) = watched {
            self.publish(&report, &legs, &verdicts, moment);
        }
        if self.scrolls() {
            self.scroll(&report, moment.now, moment.elapsed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_are_rarer_and_a_stop_of_the_process_makes_nobody_wait() {
        let after = |milliseconds| pause_after_look(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!([0, 10, 100, 300_000].map(after), [1000, 1000, 2000, 3000]);
    }
}
