//! The time of a capture, from the times of its packets: never runs back, and does not believe a single leap.

use crate::capture::Timestamp;
use crate::config::CLOCK_JUMP;

/// A packet this much older than the newest one (nanoseconds) is a step of the capturing host's clock, not reordering.
const STEP: i64 = 100_000_000;

/// The newest time seen, as far as it can be believed.
#[derive(Debug, Default)]
pub struct Clock {
    now: Option<Timestamp>,
    /// A time far ahead that one packet claimed and no second one has confirmed.
    leap: Option<Timestamp>,
    /// Steps back, and leaps ahead of more than an hour.
    pub steps: u64,
}

impl Clock {
    /// Takes the time of a packet and returns the capture's time: the newest so far. A time more than an hour ahead
    /// counts only when a second packet agrees, so that one wrong timestamp cannot expire everything.
    #[inline]
    pub fn advance(&mut self, time: Timestamp) -> Timestamp {
        match self.now {
            // The difference fits when the later time is not the smaller number.
            Some(now) if time >= now && time.0.wrapping_sub(now.0) as u64 <= CLOCK_JUMP as u64 => {}
            Some(now) => return self.odd(time, now, time.0.saturating_sub(now.0)),
            None => {}
        }
        self.now = Some(time);
        time
    }

    /// A time before the newest one, or far ahead of it.
    #[cold]
    fn odd(&mut self, time: Timestamp, now: Timestamp, ahead: i64) -> Timestamp {
        if ahead > CLOCK_JUMP {
            let agrees = self.leap.is_some_and(|leap| time.0.abs_diff(leap.0) <= CLOCK_JUMP as u64);
            self.steps += u64::from(!agrees);
            self.leap = Some(time);
            if !agrees {
                return now;
            }
            self.now = Some(time);
            return time;
        }
        self.steps += u64::from(ahead < -STEP);
        now
    }

    /// The capture's time; `None` before the first packet.
    pub fn now(&self) -> Option<Timestamp> {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn one_wrong_timestamp_does_not_move_it() {
        let mut clock = Clock::default();
        let at = |seconds| Timestamp(seconds * SECOND);
        assert_eq!(clock.advance(at(10)), at(10));
        assert_eq!(clock.advance(at(9_000_000)), at(10), "a leap is not believed");
        assert_eq!(clock.advance(at(11)), at(11));
        assert_eq!(clock.advance(at(5)), at(11), "time does not run back");
        assert_eq!(clock.advance(at(8_000_000)), at(11), "another leap does not confirm the first");
        assert_eq!(clock.advance(at(8_000_001)), at(8_000_001), "two packets agree");
        assert_eq!(clock.steps, 3);
    }
}
