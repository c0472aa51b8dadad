//! What is kept of transactions beyond the rows per source ([`Noted`]): round trips, refusals by second, and the names
//! that were refused. One instance serves all trackers of a run.

use super::snapshot::RoundTrips;
use crate::capture::Timestamp;
use crate::config::Outcome;
use crate::decode::message::{HEADER, Message};
use crate::decode::name::read_name;
use crate::transact::Transaction;
use std::collections::HashMap;
use std::net::IpAddr;

/// Seconds of refusals remembered: ten minutes, more than a screen is wide.
pub const HISTORY: usize = 600;
/// Seconds over which the rate of a source is averaged.
pub const RATE_SECONDS: i64 = 10;
/// Names remembered per source and server.
const NAMES: usize = 4;
const SECOND: i64 = 1_000_000_000;

/// What was noted of transactions.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Time from query to response.
    pub round_trips: RoundTrips,
    /// Refusals by second: the second and the count, at the place of the second modulo the length.
    seconds: Vec<(i64, u32)>,
    pairs: HashMap<(IpAddr, IpAddr), Refusals>,
    /// Most pairs kept.
    most: usize,
    /// Time (seconds) up to which a forgotten pair may have been refused.
    let_go: i64,
}

/// The refusals of a source by a server.
#[derive(Debug, Clone)]
pub struct Refusals {
    /// Names in wire form with their types, the latest first; at most four.
    pub asked: Vec<(Box<[u8]>, u16)>,
    /// Time (seconds) up to which this pair may have been refused and then forgotten.
    forgotten: i64,
    /// Second of the last refusal.
    last: i64,
    /// Counts of the seconds up to `last`, indexed by the second modulo the length.
    recent: [u32; RATE_SECONDS as usize],
}

impl Refusals {
    fn new(second: i64, forgotten: i64) -> Self {
        Self { asked: Vec::new(), forgotten, last: second, recent: [0; RATE_SECONDS as usize] }
    }

    fn note(&mut self, second: i64) {
        if second > self.last {
            // Clears seconds without a refusal, and those that are too long ago.
            (self.last + 1..=second).rev().take(self.recent.len()).for_each(|gone| *self.at(gone) = 0);
            self.last = second;
        }
        if second > self.last - RATE_SECONDS {
            let count = self.at(second);
            *count = count.saturating_add(1);
        }
    }

    fn at(&mut self, second: i64) -> &mut u32 {
        &mut self.recent[second.rem_euclid(RATE_SECONDS) as usize]
    }

    /// Refusals in the seconds before `now`.
    fn within(&self, now: i64) -> u64 {
        (now - RATE_SECONDS..now)
            .filter(|second| *second <= self.last && *second > self.last - RATE_SECONDS)
            .map(|second| u64::from(self.recent[second.rem_euclid(RATE_SECONDS) as usize]))
            .sum()
    }
}

impl Noted {
    /// An empty record that keeps names of at most `pairs` pairs of source and server.
    pub fn new(pairs: usize) -> Self {
        Self {
            round_trips: RoundTrips::default(),
            seconds: vec![(i64::MIN, 0); HISTORY],
            pairs: HashMap::new(),
            most: pairs.max(2),
            let_go: i64::MIN,
        }
    }

    /// Takes a transaction of the client leg: refused or denied ones, also without a query, and all others for the
    /// round trips.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        let (query, response) = (transaction.query.map(|seen| seen.time), transaction.response.map(|seen| seen.time));
        let turned_away = matches!(transaction.outcome, Outcome::Refused | Outcome::Denied);
        let without_query =
            transaction.outcome == Outcome::Unsolicited && transaction.message.is_some_and(Message::is_refused);
        if let (Some(query), Some(response)) = (query, response)
            && (turned_away || transaction.outcome == Outcome::Answered)
        {
            self.round_trips.note(response.0.saturating_sub(query.0));
        }
        if let Some(time) = response.or(query).filter(|_| turned_away || without_query) {
            let bytes = match transaction.query_bytes {
                bytes if bytes.len() > HEADER => bytes,
                _ => transaction.response_bytes,
            };
            let ends = (transaction.ends.source(), transaction.ends.destination());
            self.refused(ends, time, bytes);
        }
    }

    /// Notes a refusal and what was asked.
    fn refused(&mut self, ends: (IpAddr, IpAddr), time: Timestamp, message: &[u8]) {
        let second = time.0.div_euclid(SECOND);
        self.count(second);
        if self.pairs.len() >= self.most && !self.pairs.contains_key(&ends) {
            self.make_room();
        }
        let refusals = self.pairs.entry(ends).or_insert_with(|| Refusals::new(second, self.let_go));
        refusals.note(second);
        let Ok((name, end)) = read_name(message, HEADER) else { return };
        let Some(kind) = message.get(end..end + 2) else { return };
        let asked = (name.as_bytes(), u16::from_be_bytes([kind[0], kind[1]]));
        match refusals.asked.iter().position(|(known, kind)| (&**known, *kind) == asked) {
            Some(at) => refusals.asked[..=at].rotate_right(1),
            None => {
                refusals.asked.truncate(NAMES - 1);
                refusals.asked.insert(0, (asked.0.into(), asked.1));
            }
        }
    }

    /// Forgets the half of the pairs whose last refusal is the longest ago.
    fn make_room(&mut self) {
        let mut lasts: Vec<i64> = self.pairs.values().map(|refusals| refusals.last).collect();
        let middle = lasts.len() / 2;
        let (_, median, _) = lasts.select_nth_unstable(middle);
        let median = *median;
        self.pairs.retain(|_, refusals| refusals.last > median);
        self.let_go = self.let_go.max(median);
    }

    fn count(&mut self, second: i64) {
        let (held, count) = &mut self.seconds[second.rem_euclid(HISTORY as i64) as usize];
        match second.cmp(held) {
            std::cmp::Ordering::Greater => (*held, *count) = (second, 1),
            std::cmp::Ordering::Equal => *count = count.saturating_add(1),
            // So long ago that its place was reused.
            std::cmp::Ordering::Less => {}
        }
    }

    /// Refusals of each whole second before `now`, oldest first, but not from before `started`.
    pub fn history(&self, started: Timestamp, now: Timestamp) -> Vec<u32> {
        let (first, now) = (started.0.div_euclid(SECOND), now.0.div_euclid(SECOND));
        let first = first.max(now.saturating_sub(HISTORY as i64 - 1));
        (first..now)
            .map(|second| {
                let (held, count) = self.seconds[second.rem_euclid(HISTORY as i64) as usize];
                if held == second { count } else { 0 }
            })
            .collect()
    }

    /// What is remembered of the refusals of a source by a server.
    pub fn of(&self, source: IpAddr, server: IpAddr) -> Option<&Refusals> {
        self.pairs.get(&(source, server))
    }

    /// Refusals of a source per second, averaged over the whole seconds before `now`; `None` when some may be
    /// forgotten.
    pub fn per_second(&self, source: IpAddr, server: IpAddr, now: Timestamp) -> Option<f64> {
        let now = now.0.div_euclid(SECOND);
        let refusals = self.of(source, server);
        let forgotten = refusals.map_or(self.let_go, |known| known.forgotten);
        (forgotten < now - RATE_SECONDS)
            .then(|| refusals.map_or(0, |known| known.within(now)) as f64 / RATE_SECONDS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ends(number: u32) -> (IpAddr, IpAddr) {
        (IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), IpAddr::V4(Ipv4Addr::new(10, 9, 9, 53)))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(second * SECOND + 5)
    }

    /// A header and a question for `a` or another one-letter name.
    fn asks(letter: u8) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend([1, letter, 0, 0, 28, 0, 1]);
        bytes
    }

    #[test]
    fn refusals_are_counted_by_second_and_old_ones_leave() {
        let mut noted = Noted::new(8);
        for second in [1000, 1000, 1003, 1001] {
            noted.refused(ends(1), at(second), &asks(b'a'));
        }
        assert_eq!(noted.history(at(1000), at(1004)), [2, 1, 0, 1]);
        assert_eq!(noted.history(at(1001), at(1003)), [1, 0]);
        let late = 1000 + HISTORY as i64;
        noted.refused(ends(1), at(late), &asks(b'a'));
        noted.refused(ends(1), at(1000), &asks(b'a'));
        let history = noted.history(at(0), at(late + 1));
        assert_eq!((history.len(), history[0], history[HISTORY - 2]), (HISTORY - 1, 0, 1));
    }

    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        let mut noted = Noted::new(8);
        let (source, server) = ends(1);
        (0..30).for_each(|_| noted.refused((source, server), at(100), &[]));
        noted.refused((source, server), at(95), &[]);
        noted.refused((source, server), at(80), &[]);
        assert_eq!(noted.per_second(source, server, at(101)), Some(3.1));
        assert_eq!(noted.per_second(source, server, at(106)), Some(3.0));
        assert_eq!(noted.per_second(source, server, at(111)), Some(0.0));
        noted.refused((source, server), at(200), &[]);
        assert_eq!(noted.per_second(source, server, at(201)), Some(0.1));
        assert_eq!(noted.per_second(ends(2).0, server, at(201)), Some(0.0));
    }

    #[test]
    fn the_latest_names_are_kept_and_none_twice() {
        let mut noted = Noted::new(8);
        for letter in *b"abcadea" {
            noted.refused(ends(1), at(1), &asks(letter));
        }
        let names = |noted: &Noted| {
            let held = noted.of(ends(1).0, ends(1).1).unwrap();
            held.asked.iter().map(|(name, kind)| (name[1], *kind)).collect::<Vec<_>>()
        };
        assert_eq!(names(&noted), [(b'a', 28), (b'e', 28), (b'd', 28), (b'c', 28)]);
        noted.refused(ends(1), at(2), &asks(b'x'));
        assert_eq!(names(&noted), [(b'x', 28), (b'a', 28), (b'e', 28), (b'd', 28)]);
        assert_eq!(noted.history(at(0), at(3)), [0, 7, 1]);
        assert_eq!(noted.per_second(ends(1).0, ends(1).1, at(3)), Some(0.8));
    }

    #[test]
    fn many_sources_are_bounded_and_what_is_forgotten_is_not_called_zero() {
        let mut noted = Noted::new(100);
        (0..1000).for_each(|number| noted.refused(ends(number), at(i64::from(number)), &asks(b'a')));
        assert!(noted.pairs.len() <= 100 && noted.of(ends(999).0, ends(999).1).is_some());
        let server = ends(0).1;
        assert_eq!(noted.per_second(ends(999).0, server, at(1000)), Some(0.1));
        // All in one second: the forgotten ones may well have been refused in it.
        let mut noted = Noted::new(100);
        (0..150).for_each(|number| noted.refused(ends(number), at(7), &asks(b'a')));
        assert_eq!(noted.per_second(ends(3).0, server, at(8)), None);
        assert_eq!(noted.history(at(7), at(8)), [150]);
    }
}
