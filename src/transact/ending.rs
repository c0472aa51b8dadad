//! How transactions end other than with a response in time: time-outs, evictions, rejected connections, responses without
//! a query, and the end of the time line. What [`Tracker`] hands out goes through here.

use super::flights::{Sighting, Transport};
use super::pairs::Place;
use super::proxied::ProxiedEnd;
use super::{Tracker, Transaction};
use crate::capture::Timestamp;
use crate::config::{Outcome, SKEW};
use crate::decode::message::{Message, Question};
use crate::decode::{Entry, Point};
use crate::sources::FrameRef;

impl Tracker<'_> {
    /// Closes what is due at the capture's time `now`.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(early) = self.early.front()
            && now.0.saturating_sub(early.seen.time.0) > SKEW
        {
            self.unsolicited();
        }
        while let Some(due) = self.flights.due(now) {
            self.counts.timed_out += 1;
            self.unanswered(due, true);
        }
    }

    /// The oldest early response has no query.
    pub(super) fn unsolicited(&mut self) {
        let Some(early) = self.early.pop_front() else { return };
        self.counts.unsolicited += 1;
        self.counts.outcomes[Outcome::Unsolicited as usize] += 1;
        self.pairs.outcome(early.flow.pair, Outcome::Unsolicited);
        if early.message.is_refused() {
            self.counts.refused_unsolicited += 1;
            let rare = self.pairs.rare(early.flow.pair);
            rare.refused_unsolicited += 1;
            rare.note_refused(early.seen.time, early.seen.frame, self.settings.limits.finding_frames);
        }
        if self.settings.rows.has(Outcome::Unsolicited) {
            self.flights.kept.read(early.bytes, &mut self.scratch);
            self.decided.put(&Transaction {
                outcome: Outcome::Unsolicited,
                ends: self.pairs.ends(early.flow.pair),
                ports: (early.flow.client_port, early.flow.server_port),
                transport: early.flow.transport,
                id: Some(early.flow.id),
                query: None,
                query_bytes: &[],
                response: Some(early.seen),
                response_bytes: &self.scratch,
                message: Some(early.message),
            });
            self.pass_on();
        }
        self.flights.kept.release(early.bytes);
        self.flights.remember_orphan(early.hash, &early.message, early.print);
    }

    /// A pending transaction gets no response: decides whether that is silence, and closes it.
    fn unanswered(&mut self, index: u32, waited: bool) {
        let slot = self.flights.slot(index);
        let (pair, asked) = (slot.flow.pair, slot.query.time);
        let rejection = self.flights.take_rejection(index);
        let outcome = if rejection.is_some() {
            Outcome::TcpRejected
        } else if waited && self.is_silence(pair, asked) {
            Outcome::Silent
        } else {
            Outcome::Unanswered
        };
        self.end_without_response(index, pair, outcome, rejection.flatten());
        self.flights.time_out(index);
    }

    /// Gives up a transaction because a table is full.
    pub(super) fn evict(&mut self, index: u32) {
        self.counts.evicted += 1;
        let pair = self.flights.slot(index).flow.pair;
        let rejection = self.flights.take_rejection(index);
        let outcome = if rejection.is_some() { Outcome::TcpRejected } else { Outcome::Unanswered };
        self.end_without_response(index, pair, outcome, rejection.flatten());
        self.flights.discard(index);
    }

    /// Counts and reports a transaction that has no response.
    fn end_without_response(&mut self, index: u32, pair: u32, outcome: Outcome, rejection: Option<Sighting>) {
        if !self.proxied.is_empty() {
            let asked = self.flights.slot(index).query.frame;
            self.ended_behind_header(index, ProxiedEnd::Unanswered, asked);
        }
        self.counts.outcomes[outcome as usize] += 1;
        self.pairs.outcome(pair, outcome);
        if self.settings.rows.has(outcome) {
            let none = Message {
                id: 0,
                flags: 0,
                rcode: 0,
                question: Question::ABSENT,
                policy_error: false,
                transfer: false,
                trailing: false,
                cut: false,
            };
            self.report(index, outcome, rejection.map(|seen| (seen, none, &[][..])));
        }
    }

    /// True when the capture was taken at the server, the server answered another source between the query and its
    /// timeout, and this source got nothing in that time.
    fn is_silence(&self, pair: u32, asked: Timestamp) -> bool {
        self.answering.answered_another(self.pairs.ends(pair), asked) && self.pairs.last_response(pair) < asked
    }

    /// Notes a response of the pair at `place`, where silence can be told.
    #[inline]
    pub(super) fn note_answering(&mut self, place: Place, seen: &Entry) {
        if self.answering.tells(seen.point) {
            let pair = self.pairs.number(place);
            self.pairs.note_response(pair, seen.time);
            self.answering.note(self.pairs.ends(pair), seen.time, seen.point);
        }
    }

    /// Hands a transaction out.
    pub(super) fn report(&mut self, index: u32, outcome: Outcome, response: Option<(Sighting, Message, &[u8])>) {
        let mut query_bytes = std::mem::take(&mut self.reported);
        let slot = self.flights.slot(index);
        self.flights.kept.read(slot.kept, &mut query_bytes);
        let has_message = response.as_ref().is_some_and(|(_, _, bytes)| !bytes.is_empty());
        self.decided.put(&Transaction {
            outcome,
            ends: self.pairs.ends(slot.flow.pair),
            ports: (slot.flow.client_port, slot.flow.server_port),
            transport: slot.flow.transport,
            id: Some(slot.flow.id),
            query: Some(slot.query),
            query_bytes: &query_bytes,
            response: response.as_ref().map(|(seen, _, _)| *seen),
            response_bytes: response.as_ref().map_or(&[], |(_, _, bytes)| bytes),
            message: response.filter(|_| has_message).map(|(_, message, _)| message),
        });
        self.reported = query_bytes;
        self.pass_on();
    }

    /// Passes on what was decided, when there is enough of it.
    fn pass_on(&mut self) {
        if self.decided.is_full() {
            self.outlet.put(&mut self.decided);
        }
    }

    /// Connections that the server ended before anybody asked on them, and those that brought nothing.
    pub(super) fn take_forgotten(&mut self) {
        while let Some(connection) = self.streams.forgotten.pop() {
            let ends = connection.client_ends();
            let Some((time, input, number)) = connection.rejected else {
                self.glimpse(ends, connection.last);
                continue;
            };
            let (first_time, first_input, first_frame) = connection.first;
            let place = self.pairs.place(ends.hash(&self.decoder.key), || ends);
            let pair = self.pairs.number(place);
            self.counts.outcomes[Outcome::TcpRejected as usize] += 1;
            self.pairs.told(place, first_time);
            self.pairs.tcp(pair);
            self.pairs.outcome(pair, Outcome::TcpRejected);
            let limit = self.settings.limits.finding_frames;
            self.pairs.rare(pair).note_refused(first_time, FrameRef { input, frame: number }, limit);
            if self.settings.rows.has(Outcome::TcpRejected) {
                self.decided.put(&Transaction {
                    outcome: Outcome::TcpRejected,
                    ends,
                    ports: connection.client_ports(),
                    transport: Transport::Tcp,
                    id: None,
                    query: Some(ending(first_time, first_input, first_frame, Point::default())),
                    query_bytes: &[],
                    response: Some(ending(time, input, number, Point::default())),
                    response_bytes: &[],
                    message: None,
                });
                self.pass_on();
            }
        }
    }

    /// The time line ends; `last` is the latest time of any frame.
    pub fn finish(&mut self, last: Option<Timestamp>) {
        self.fragments.finish(&mut self.tally);
        self.streams.finish(&mut self.tally);
        self.take_forgotten();
        while !self.early.is_empty() {
            self.unsolicited();
        }
        let now = self.clock.now().max(last.filter(|last| {
            // A single packet's leap is no more believed here than on the way.
            self.clock.now().is_none_or(|now| last.0.saturating_sub(now.0) <= crate::config::CLOCK_JUMP)
        }));
        while let Some(oldest) = self.flights.oldest() {
            let asked = self.flights.slot(oldest).query.time;
            let waited = now.is_some_and(|now| now.0.saturating_sub(asked.0) > self.settings.timeout);
            if waited {
                self.counts.timed_out += 1;
            } else {
                self.counts.open_at_end += 1;
            }
            self.unanswered(oldest, waited);
        }
        self.outlet.put(&mut self.decided);
        self.outlet.drain();
        self.flights.finish();
    }

    /// Folds everything into the per-source rows, after [`Tracker::finish`].
    pub fn fold_all(&mut self) {
        self.pairs.finish();
    }

    /// The same, when no other tracker folds into them.
    pub fn fold_all_alone(&mut self) {
        self.pairs.finish_alone();
    }
}

/// A segment that ended or opened a connection, as a sighting.
pub(super) fn ending(time: Timestamp, input: u32, frame: u64, point: Point) -> Sighting {
    Sighting { time, frame: FrameRef { input, frame }, point }
}
