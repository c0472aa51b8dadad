//! Ends transactions other than by a response in time: time-outs, evictions, rejected connections, responses without a
//! query, and the end of the time line. Everything that [`Tracker`] hands out passes through here.

use super::in_flight::{Flow, Sighting, Transport};
use super::kept::KeptMessage;
use super::matching::Seen;
use super::proxied::ProxiedEnd;
use super::silence::Suspect;
use super::{Tracker, Transaction};
use crate::capture::Timestamp;
use crate::config::{Outcome, SKEW};
use crate::decode::message::{Message, Question};
use crate::decode::{Body, Ends, Point};
use crate::sources::FrameRef;

/// A connection without a query counts as rejected when the server ends it within this time (nanoseconds); after that
/// it was idle.
const REJECTED_WITHIN: i64 = 1_000_000_000;

impl Tracker<'_> {
    /// Closes everything that is due at `now` on the clock's line.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub(super) fn expire(&mut self, now: Timestamp) {
        if !self.early.is_empty() || self.in_flight.may_be_due(now) {
            self.expire_those_due(now);
        }
    }

    /// The same, when something may be due. Not inlined, so that messages get the registers.
    #[inline(never)]
    fn expire_those_due(&mut self, now: Timestamp) {
        // A response to a due query may wait behind a gap of a stream.
        self.read_left(now);
        self.give_up_early(now);
        while let Some(due) = self.in_flight.due(now) {
            self.counts.timed_out += 1;
            self.unanswered(due, true);
        }
    }

    /// Gives up early responses whose query would have been captured by `now`.
    pub(super) fn give_up_early(&mut self, now: Timestamp) {
        while let Some(early) = self.early.front()
            && now.0.saturating_sub(early.since.0) > SKEW
        {
            self.unsolicited();
        }
    }

    /// Closes the oldest early response: it has no query.
    pub(super) fn unsolicited(&mut self) {
        let Some(early) = self.early.pop_front() else { return };
        self.counts.unsolicited += 1;
        self.counts.outcomes[Outcome::Unsolicited as usize] += 1;
        self.pairs.count_outcome(early.flow.pair, Outcome::Unsolicited);
        let refused = early.message.is_refused();
        // Where only refusals are captured, no query waits that it could belong to, and no silence is claimed.
        let may_belong = refused && self.in_flight.pending() + self.suspects.len() > 0;
        if may_belong || (self.answering.may_tell() && self.answering.tells(early.seen.point)) {
            self.suspects.note_stray(self.pairs.ends(early.flow.pair), early.flow, early.since, refused);
        }
        if refused {
            self.counts.refused_unsolicited += 1;
            let rare = self.pairs.rare(early.flow.pair);
            rare.refused_unsolicited += 1;
            let refusals = self.pairs.refusals(early.flow.pair);
            refusals.note(early.seen.recorded_time(), early.seen.frame, self.settings.limits.finding_frames);
        }
        if self.settings.rows.has(Outcome::Unsolicited) {
            self.in_flight.kept.read(early.bytes, &mut self.scratch);
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
        self.in_flight.kept.release(early.bytes);
        self.in_flight.remember_orphan(early.hash, &early.message, early.fingerprint);
    }

    /// Closes a pending transaction without a response, or makes it a suspect when that may be silence. `waited`: its
    /// whole timeout was captured.
    fn unanswered(&mut self, index: u32, waited: bool) {
        let pair = self.in_flight.slot(index).flow.pair;
        let rejection = self.in_flight.take_rejection(index);
        if rejection.is_none() && waited && self.may_be_silence(index, pair) {
            self.suspect(index);
        } else {
            let outcome = if rejection.is_some() { Outcome::TcpRejected } else { Outcome::Unanswered };
            self.end_without_response(index, pair, outcome, rejection);
        }
        self.in_flight.time_out(index);
        self.prefetch_oldest();
    }

    /// Fetches what will be needed when the oldest transaction ends as well.
    #[inline]
    fn prefetch_oldest(&self) {
        if let Some(pair) = self.in_flight.prefetch_oldest() {
            self.pairs.prefetch_known(pair);
        }
    }

    /// Lets a transaction that may have been met with silence wait for a late response.
    fn suspect(&mut self, index: u32) {
        self.settle_silence();
        if self.suspects.len() >= self.settings.limits.suspects {
            // Too many wait: whether a late response would have come is unknown.
            if let Some((oldest, _)) = self.suspects.pop(Timestamp(i64::MAX)) {
                self.end_suspect(&oldest, Outcome::Unanswered);
            }
        }
        self.end_behind_header(index);
        let (asked, _) = self.in_flight.asked(index);
        let slot = self.in_flight.slot(index);
        let (hash, flow, query) = (slot.hash(), slot.flow, slot.query);
        let kept = self.in_flight.take_kept(index);
        self.suspects.push(Suspect { hash, flow, query, kept, asked });
    }

    /// Decides about queries to which no late response can come any more. To be called from time to time, and before
    /// noting anything that would speak against silence.
    pub fn settle_silence(&mut self) {
        let latest = self.clock.line().0.saturating_sub(self.settings.timeout.saturating_mul(2));
        self.end_suspects(Timestamp(latest));
    }

    /// Decides about queries asked before a time. Anything unreadable that came since may have been the response.
    fn end_suspects(&mut self, asked_before: Timestamp) {
        while let Some((suspect, answered)) = self.suspects.pop(asked_before) {
            let client = self.pairs.ends(suspect.flow.pair).source();
            let spoken = answered
                || self.pairs.last_unread(suspect.flow.pair) >= suspect.asked
                || self.suspects.may_have_stray_response(client, &suspect, self.settings.timeout);
            if !answered {
                self.suspects.note_elsewhere(self.pairs.ends(suspect.flow.pair), suspect.flow, suspect.asked);
            }
            self.end_suspect(&suspect, if spoken { Outcome::Unanswered } else { Outcome::Silent });
        }
    }

    /// Counts and reports a suspect with its outcome.
    fn end_suspect(&mut self, suspect: &Suspect, outcome: Outcome) {
        self.counts.outcomes[outcome as usize] += 1;
        self.pairs.count_outcome(suspect.flow.pair, outcome);
        self.count_transport(suspect.flow);
        if self.settings.rows.has(outcome) {
            self.report_of(suspect.flow, suspect.query, suspect.kept, outcome, None);
        }
        self.in_flight.kept.release(suspect.kept);
    }

    /// Notes that the server of a pair sent its client something that could not be read as a response. `ends` leads
    /// from client to server.
    #[cold]
    pub(super) fn note_unread(&mut self, ends: Ends) {
        if self.answering.may_tell() {
            self.settle_silence();
            self.pairs.note_unread(ends.hash(&self.decoder.key), self.clock.line());
        }
    }

    /// Notes that nothing was captured between two times: `last`, that of the last frame before the gap, and `first`,
    /// that of the first frame after it. Silence cannot be claimed of queries that had not waited long enough by then.
    pub fn unwatched(&mut self, last: Timestamp, first: Timestamp) {
        let end = self.clock.end(Some(last));
        self.expire(end);
        self.end_suspects(Timestamp(i64::MAX));
        self.watched_since = self.clock.on_line(first);
    }

    /// Notes that packets were lost somewhere before this place: any query that waits now may have had its response.
    #[cold]
    pub fn lost(&mut self) {
        self.settle_silence();
        while let Some((suspect, _)) = self.suspects.pop(Timestamp(i64::MAX)) {
            self.end_suspect(&suspect, Outcome::Unanswered);
        }
        let since = Timestamp(self.clock.line().0.saturating_add(1));
        self.watched_since = since.max(self.watched_since);
    }

    /// Gives up a pending transaction because a table is full.
    pub(super) fn evict(&mut self, index: u32) {
        self.counts.evicted += 1;
        let pair = self.in_flight.slot(index).flow.pair;
        let rejection = self.in_flight.take_rejection(index);
        let outcome = if rejection.is_some() { Outcome::TcpRejected } else { Outcome::Unanswered };
        self.end_without_response(index, pair, outcome, rejection);
        self.in_flight.discard(index);
        self.prefetch_oldest();
    }

    /// Counts and reports a transaction without a response.
    fn end_without_response(&mut self, index: u32, pair: u32, outcome: Outcome, rejection: Option<Sighting>) {
        self.end_behind_header(index);
        if outcome == Outcome::Unanswered && self.suspects.has_strays() {
            let asked = self.in_flight.asked(index).0;
            self.suspects.note_elsewhere(self.pairs.ends(pair), self.in_flight.slot(index).flow, asked);
        }
        self.counts.outcomes[outcome as usize] += 1;
        self.pairs.count_outcome(pair, outcome);
        self.count_transport(self.in_flight.slot(index).flow);
        if let Some(rejection) = rejection {
            let (asked, limit) =
                (self.in_flight.slot(index).query.recorded_time(), self.settings.limits.finding_frames);
            self.pairs.refusals(pair).note(asked, rejection.frame, limit);
        }
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

    /// Notes that a transaction has no response, when its query stood behind a proxy's header.
    fn end_behind_header(&mut self, index: u32) {
        if !self.proxied.is_empty() {
            let asked = self.in_flight.slot(index).query.frame;
            self.ended_behind_header(index, ProxiedEnd::Unanswered, asked);
        }
    }

    /// True when the capture was taken at the server, the query was seen there, the server answered another source
    /// between the query and its timeout, this source got nothing in that time, not even the end of the connection, and
    /// the capture has neither a gap nor an unknown span of time since the query.
    fn may_be_silence(&self, index: u32, pair: u32) -> bool {
        let (asked, measured) = self.in_flight.asked(index);
        let (ends, slot) = (self.pairs.ends(pair), self.in_flight.slot(index));
        let query = &slot.query;
        !slot.closed
            && self.answering.answered_another(ends, asked)
            && self.answering.has_reached(ends.receiver(), query.point, slot.arrived, query.frame.input)
            && self.pairs.last_response(pair).max(self.pairs.last_unread(pair)) < asked
            && measured
            && asked >= self.watched_since
            && self.clock.measures_since(asked)
    }

    /// Notes a response of a pair, as far as it says anything about silence.
    #[inline]
    pub(super) fn note_answering(&mut self, pair: u32, seen: &Seen<'_>) {
        let (entry, input) = (seen.entry, seen.frame.input);
        if self.answering.tells(entry.point) {
            let now = self.clock.line();
            self.pairs.note_response(pair, now);
            // A message that waited behind a gap of a stream shows that the server answered when it came, not when it
            // is read.
            let answered = if matches!(entry.body, Body::Lost) { now.min(self.clock.on_line(entry.time)) } else { now };
            self.answering.note(seen.client_to_server(), answered, entry.point, input);
        } else {
            self.answering.note_without_direction(|| entry.ends.sender(), entry.point, input);
        }
    }

    /// Hands out a transaction whose slot is `index`.
    pub(super) fn report(&mut self, index: u32, outcome: Outcome, response: Option<(Sighting, Message, &[u8])>) {
        let slot = self.in_flight.slot(index);
        let without_question = response.as_ref().is_some_and(|(_, message, _)| message.question == Question::ABSENT);
        // When the response may belong to another query, the question of this one is not reported.
        let kept = if slot.ambiguous && without_question { KeptMessage::NONE } else { slot.kept };
        self.report_of(slot.flow, slot.query, kept, outcome, response);
    }

    fn report_of(
        &mut self,
        flow: Flow,
        query: Sighting,
        kept: KeptMessage,
        outcome: Outcome,
        response: Option<(Sighting, Message, &[u8])>,
    ) {
        let mut query_bytes = std::mem::take(&mut self.reported);
        self.in_flight.kept.read(kept, &mut query_bytes);
        let has_message = response.as_ref().is_some_and(|(_, _, bytes)| !bytes.is_empty());
        self.decided.put(&Transaction {
            outcome,
            ends: self.pairs.ends(flow.pair),
            ports: (flow.client_port, flow.server_port),
            transport: flow.transport,
            id: Some(flow.id),
            query: Some(query),
            query_bytes: &query_bytes,
            response: response.as_ref().map(|(seen, _, _)| *seen),
            response_bytes: response.as_ref().map_or(&[], |(_, _, bytes)| bytes),
            message: response.filter(|_| has_message).map(|(_, message, _)| message),
        });
        self.reported = query_bytes;
        self.pass_on();
    }

    /// Passes decided transactions to the outlet, once the batch is full.
    fn pass_on(&mut self) {
        if self.decided.is_full() {
            self.outlet.put(&mut self.decided);
        }
    }

    /// Takes forgotten connections: those that the server ended before any query, those that brought nothing, and those
    /// with messages left behind gaps.
    pub(super) fn take_forgotten(&mut self) {
        while let Some(connection) = self.streams.forgotten.pop() {
            if !connection.left.is_empty() {
                let asked = self.left_messages(&connection) || connection.asked;
                if asked || connection.rejected.is_none() {
                    continue;
                }
            }
            let ends = connection.client_ends();
            let (first_time, first_input, first_frame) = connection.first;
            let at_once = |(time, _, _): &(Timestamp, _, _)| time.0.saturating_sub(first_time.0) <= REJECTED_WITHIN;
            let Some((time, input, number)) = connection.rejected.filter(at_once) else {
                self.note_presence(ends, connection.seen);
                continue;
            };
            let pair = self.pairs.number(ends.hash(&self.decoder.key), || ends);
            self.counts.outcomes[Outcome::TcpRejected as usize] += 1;
            self.pairs.note_time(pair, first_time);
            self.pairs.count_tcp(pair);
            self.pairs.count_outcome(pair, Outcome::TcpRejected);
            let limit = self.settings.limits.finding_frames;
            self.pairs.refusals(pair).note(first_time, FrameRef { input, frame: number }, limit);
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
            if self.pairs.is_time_to_fold() {
                self.fold();
            }
        }
    }

    /// Ends the time line. `last` is the latest time of any frame, including frames that bring nothing.
    pub fn finish(&mut self, last: Option<Timestamp>) {
        self.fragments.finish(&mut self.tally);
        while self.streams.finish_oldest(&mut self.tally) {
            self.take_forgotten();
        }
        while !self.early.is_empty() {
            self.unsolicited();
        }
        self.clock.finish();
        let end = self.clock.end(last);
        while let Some(oldest) = self.in_flight.oldest() {
            let waited = end.0.saturating_sub(self.in_flight.asked(oldest).0.0) > self.settings.timeout;
            if waited {
                self.counts.timed_out += 1;
            } else {
                self.counts.open_at_end += 1;
            }
            self.unanswered(oldest, waited);
        }
        self.end_suspects(Timestamp(i64::MAX));
        self.outlet.put(&mut self.decided);
        self.outlet.drain();
        self.in_flight.finish();
    }

    /// Folds everything into the per-source rows; called after [`Tracker::finish`].
    pub fn fold_all(&mut self) {
        self.pairs.finish();
    }

    /// The same, for when no other tracker folds into these rows.
    pub fn fold_all_alone(&mut self) {
        self.pairs.finish_alone();
    }
}

/// A segment that opened or ended a connection, as a [`Sighting`].
pub(super) fn ending(time: Timestamp, input: u32, frame: u64, point: Point) -> Sighting {
    Sighting { time, frame: FrameRef { input, frame }, point }
}
