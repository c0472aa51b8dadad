//! Derives the time of a capture from the times of its packets ([`Clock`]): does not believe a single leap, and follows
//! the capturing host's clock when it was set back for good.
//!
//! Ages (of connections, fragments, queries without a response) are measured on a line that never runs back: where the
//! clock was set back, the line goes on as if no time had passed.

use crate::capture::Timestamp;
use crate::config::CLOCK_JUMP;

/// A packet older than the newest one by more than this (nanoseconds) is not due to reordering: the clock stepped, or
/// several clocks or interfaces take turns.
pub const STEP: i64 = 100_000_000;
/// This many such packets in a row, with none in between that agrees with the newest one, make a step.
const IN_SUCCESSION: u32 = 4;

/// The newest time seen, as far as it can be believed.
#[derive(Debug, Default)]
pub struct Clock {
    now: Option<Timestamp>,
    /// Steps back of more than this (nanoseconds) are followed. At a smaller step the newest time just stands still
    /// until it is caught up with, so that nothing measured on the line ends too early.
    far: i64,
    /// By how much (nanoseconds) the clock was set back in all: the line is ahead of it by this.
    set_back: i64,
    /// The newest time when the clock was last set back, and by how much it had been set back until then.
    before: (Timestamp, i64),
    /// A time far ahead that one packet had and no second one has confirmed.
    leap: Option<Timestamp>,
    /// Packets behind in a row: the newest time when they began, the time of the last one, and their number.
    behind: (Timestamp, Timestamp, u32),
    /// Where on the line a leap ahead was last believed: how much time really passed before that is unknown.
    leapt: Option<Timestamp>,
    /// Number of steps: times the clock was set back, and leaps ahead of more than an hour.
    pub steps: u64,
}

impl Clock {
    /// A clock before the first packet. Steps back of more than `far` nanoseconds are followed; `far` is how long
    /// queries wait.
    pub fn new(far: i64) -> Self {
        Self { far, ..Self::default() }
    }

    /// Takes the time of a packet, once for each, and returns the place of the newest time so far on the line. A time
    /// more than an hour ahead counts only when a second packet agrees, so that one wrong timestamp cannot expire
    /// everything.
    #[inline]
    pub fn advance(&mut self, time: Timestamp) -> Timestamp {
        match self.now {
            // When the time is not before `now`, the difference fits into 64 bits without a sign.
            Some(now) if time >= now && time.0.wrapping_sub(now.0) as u64 <= CLOCK_JUMP as u64 => {
                let leaps_back = self.set_back > 0 && time >= self.before.0 && time.0 - now.0 > STEP;
                if leaps_back {
                    return self.take_turns(time);
                }
            }
            Some(now) => {
                self.odd(time, now, time.0.saturating_sub(now.0));
                return self.line();
            }
            None => {}
        }
        self.now = Some(time);
        self.on_line(time)
    }

    /// Takes a time before the newest one, or far ahead of it.
    #[cold]
    fn odd(&mut self, time: Timestamp, now: Timestamp, ahead: i64) {
        if ahead > CLOCK_JUMP {
            let agrees = self.leap.is_some_and(|leap| time.0.abs_diff(leap.0) <= CLOCK_JUMP as u64);
            self.steps += u64::from(!agrees);
            self.leap = Some(time);
            if agrees {
                if self.set_back > 0 && time >= self.before.0 {
                    // The time agrees with a clock that was left: two clocks take turns, however far apart they are.
                    self.take_turns(time);
                    return;
                }
                self.now = Some(time);
                self.leapt = Some(self.line());
            }
        } else if ahead < -STEP {
            let (since, last, count) = self.behind;
            let goes_on = count > 0 && since == now && time.0.abs_diff(last.0) <= CLOCK_JUMP as u64;
            self.behind = (now, time, if goes_on { count + 1 } else { 1 });
            if self.behind.2 == IN_SUCCESSION {
                self.steps += 1;
                if ahead < -self.far {
                    self.before = (now, self.set_back);
                    self.set_back = self.set_back.saturating_add(now.0.saturating_sub(time.0));
                    self.now = Some(time);
                    self.behind.2 = 0;
                }
            }
        }
    }

    /// Takes a leap to where the clock was before it was set back: two clocks take turns, and the clock was not set
    /// back after all. The line does not run back.
    #[cold]
    fn take_turns(&mut self, time: Timestamp) -> Timestamp {
        self.set_back = self.before.1.max(self.line().0.saturating_sub(time.0));
        self.now = Some(time);
        self.line()
    }

    /// The time of the newest packet, as far as it can be believed; `None` before the first packet.
    pub fn now(&self) -> Option<Timestamp> {
        self.now
    }

    /// By how much (nanoseconds) the line is ahead of the capture's time.
    #[inline]
    pub fn set_back(&self) -> i64 {
        self.set_back
    }

    /// The place on the line of a time that was captured after the clock was last set back.
    #[inline]
    pub fn on_line(&self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add(self.set_back))
    }

    /// The present place of the capture on the line.
    #[inline]
    pub fn line(&self) -> Timestamp {
        self.on_line(self.now.unwrap_or_default())
    }

    /// Ends the capture: packets that were far behind at its end count as a step.
    pub fn finish(&mut self) {
        self.steps += u64::from((1..IN_SUCCESSION).contains(&self.behind.2) && self.now == Some(self.behind.0));
        self.behind.2 = 0;
    }

    /// The place of the capture on the line at its end. `last` is the latest time of any frame; frames that are not
    /// passed to this clock may have come after the last one that was. As before, a leap of a single packet is not
    /// believed, nor a time from before the clock was set back.
    pub fn end(&self, last: Option<Timestamp>) -> Timestamp {
        match (self.now, last) {
            (Some(now), Some(last))
                if self.set_back == 0 && last > now && last.0.saturating_sub(now.0) <= CLOCK_JUMP =>
            {
                last
            }
            (None, Some(last)) => last,
            _ => self.line(),
        }
    }

    /// True when it is known how much time passed since a place on the line.
    pub fn measures_since(&self, place: Timestamp) -> bool {
        self.leapt.is_none_or(|leapt| leapt <= place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * SECOND)
    }

    #[test]
    fn one_wrong_timestamp_does_not_move_it() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance(at(10)), at(10));
        assert_eq!(clock.advance(at(9_000_000)), at(10), "a leap is not believed");
        assert_eq!(clock.advance(at(11)), at(11));
        assert_eq!(clock.advance(at(5)), at(11), "time does not run back");
        assert_eq!(clock.advance(at(8_000_000)), at(11), "another leap does not confirm the first");
        assert!(clock.measures_since(at(10)));
        assert_eq!(clock.advance(at(8_000_001)), at(8_000_001), "two packets agree");
        assert!(!clock.measures_since(at(11)) && clock.measures_since(at(8_000_001)));
        assert_eq!(clock.steps, 2);
    }

    #[test]
    fn set_back_for_good_it_is_followed_and_the_line_goes_on() {
        let mut clock = Clock::new(5 * SECOND);
        clock.advance(at(100));
        for time in [40, 41, 42] {
            assert_eq!(clock.advance(at(time)), at(100), "not yet believed");
        }
        assert_eq!(clock.advance(at(43)), at(100));
        assert_eq!((clock.steps, clock.now()), (1, Some(at(43))));
        assert_eq!(clock.advance(at(45)), at(102));
        assert_eq!(clock.end(Some(at(100))), at(102), "the latest time was before the step");
    }

    #[test]
    fn clocks_that_take_turns_do_not_make_the_line_run() {
        // 250 ms, which nothing notices, and 30 s, which looks like a clock that was set back until the other goes on.
        for (behind, steps) in [(SECOND / 4, 100), (30 * SECOND, 100)] {
            let mut clock = Clock::new(5 * SECOND);
            for turn in 0..100 {
                for offset in [behind, 0] {
                    for packet in 0..10 {
                        clock.advance(Timestamp(at(100 + turn).0 + packet * SECOND / 20 + offset));
                    }
                }
            }
            let (line, newest) = (clock.line(), Timestamp(at(199).0 + 9 * SECOND / 20 + behind));
            assert!(line >= newest && line.0 - newest.0 <= SECOND, "{line:?} {newest:?}");
            assert_eq!(clock.steps, steps);
        }
        let mut clock = Clock::new(5 * SECOND);
        clock.advance(at(100));
        for packet in 0..40 {
            assert_eq!(clock.advance(at(97)), at(100), "{packet}");
        }
        assert_eq!((clock.advance(at(101)), clock.steps), (at(101), 1), "a short step is waited for, and is one");
    }

    #[test]
    fn reordered_packets_are_no_step() {
        let mut clock = Clock::default();
        for round in 1..10 {
            clock.advance(at(100 * round));
            for _ in 0..IN_SUCCESSION - 1 {
                assert_eq!(clock.advance(at(100 * round - 1)), at(100 * round));
            }
        }
        assert_eq!((clock.steps, clock.end(Some(at(910)))), (0, at(910)));
        clock.finish();
        assert_eq!(clock.steps, 1, "nothing speaks against those at the end");
    }
}
