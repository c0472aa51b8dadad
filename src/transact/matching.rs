//! Finds the transaction of a message ([`Seen`]): a query opens a transaction or repeats one; a response ends one, or
//! comes too late, again, or without a query.

use super::Tracker;
use super::in_flight::{Fingerprint, Flow, OtherResponse, QueryIs, ResponseIs, Sighting, Transport};
use super::kept::KeptMessage;
use super::proxied::ProxiedEnd;
use crate::capture::{Direction, Timestamp};
use crate::config::{Outcome, SKEW};
use crate::decode::message::{Message, Question};
use crate::decode::proxy::{self, Look};
use crate::decode::{Datagram, Ends, Entry};
use crate::sources::{ExtraRefusal, FrameRef};

/// A response that came before any query it could belong to; its query may be captured up to [`SKEW`] (nanoseconds)
/// later.
pub(super) struct Early {
    pub(super) hash: u64,
    pub(super) flow: Flow,
    pub(super) message: Message,
    pub(super) seen: Sighting,
    pub(super) fingerprint: Fingerprint,
    pub(super) bytes: KeptMessage,
    /// When it came, on the clock's line.
    pub(super) since: Timestamp,
}

/// A message, and where it was seen.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The packet that brought or completed it.
    pub(super) entry: &'a Entry,
    pub(super) frame: FrameRef,
    pub(super) transport: Transport,
    pub(super) message: &'a Message,
    /// Its ports and hashes; for a message over TCP they are set as if a datagram had brought it.
    pub(super) datagram: &'a Datagram,
    /// The message's bytes from the first one on; other bytes may follow them.
    pub(super) from: &'a [u8],
    pub(super) len: usize,
    /// The proxy's header before the message or at the beginning of its connection; empty when there is none.
    pub(super) header: &'a [u8],
    /// Index of the TCP connection, while it is open.
    pub(super) connection: Option<u32>,
}

impl Seen<'_> {
    #[inline]
    fn sighting(&self) -> Sighting {
        Sighting { time: self.entry.time, frame: self.frame, point: self.entry.point }
    }

    /// The bytes of the message.
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.from[..self.len]
    }

    #[inline]
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(self.entry.time, self.entry.point, self.datagram.payload_hash, self.datagram.ip_id)
    }

    /// Client to server.
    #[inline]
    pub(super) fn client_to_server(&self) -> Ends {
        if self.message.is_response() { self.entry.ends.reversed() } else { self.entry.ends }
    }

    /// The flow of the message; `pair` is the number of its pair.
    #[inline]
    fn flow(&self, pair: u32) -> Flow {
        let (source, destination) = (self.datagram.source_port, self.datagram.destination_port);
        let (client_port, server_port) =
            if self.message.is_response() { (destination, source) } else { (source, destination) };
        Flow { pair, client_port, server_port, id: self.message.id, transport: self.transport }
    }
}

impl Tracker<'_> {
    /// Takes a message that did not come in a single datagram. The clock has already taken the time of its packet.
    #[inline(never)]
    pub(super) fn other_message(&mut self, seen: &Seen<'_>) {
        self.known_message(seen);
    }

    /// Takes a message that came in a single datagram.
    #[allow(clippy::inline_always)] // the way of nearly every message: what it needs is at hand where it was decoded
    #[inline(always)]
    pub(super) fn message(&mut self, seen: &Seen<'_>) {
        let now = self.clock.advance(seen.entry.time);
        self.expire(now);
        self.known_message(seen);
    }

    /// Counts a message and finds the transaction it belongs to.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn known_message(&mut self, seen: &Seen<'_>) {
        let message = seen.message;
        let response = message.is_response();
        self.counts.queries_responses[usize::from(response)] += 1;
        if message.trailing | message.cut {
            self.counts.trailing += u64::from(message.trailing);
            self.counts.cut += u64::from(message.cut);
        }
        if let Some(fault) = message.question.fault() {
            self.counts.unreadable[fault as usize] += 1;
        }
        if response {
            self.counts.rcodes[usize::from(message.rcode) & 0xfff] += 1;
            self.response(seen);
        } else {
            self.query(seen);
        }
        if self.pairs.is_time_to_fold() {
            self.fold();
        }
    }

    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn query(&mut self, seen: &Seen<'_>) {
        let pair = self.pair(seen);
        self.pairs.note_query(pair, seen.entry.time);
        match self.in_flight.query(seen.datagram.flow_hash, seen.message, &seen.fingerprint(), seen.frame.input) {
            QueryIs::Copy(slot) => {
                self.counts.query_copies += 1;
                if let Some(slot) = slot
                    && seen.entry.point.direction() == Direction::In
                {
                    self.in_flight.note_arrival(slot, seen.frame.input);
                }
            }
            QueryIs::Retransmission => self.counts.retransmitted += 1,
            QueryIs::New => self.open(pair, seen),
            QueryIs::Crowded(oldest) => {
                self.evict(oldest);
                self.open(pair, seen);
            }
        }
    }

    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn open(&mut self, pair: u32, seen: &Seen<'_>) {
        if self.in_flight.pending() >= self.settings.limits.in_flight
            && let Some(oldest) = self.in_flight.oldest()
        {
            self.evict(oldest);
        }
        let limits = self.settings.limits;
        let most = self.in_flight.kept.room(limits.kept_message_bytes, limits.kept_bytes);
        let kept = self.in_flight.kept.keep_before(seen.from, seen.len.min(most));
        let flow = seen.flow(pair);
        let (hash, fingerprint) = (seen.datagram.flow_hash, seen.fingerprint());
        let slot = self.in_flight.open(hash, flow, seen.message, seen.sighting(), fingerprint, kept, &self.clock);
        if !seen.header.is_empty() {
            self.behind_header(slot, *seen);
        }
        if let Some(connection) = seen.connection {
            let token = self.in_flight.token(slot);
            let connection = self.streams.connection(connection);
            connection.asked = true;
            // Tokens of ended transactions are removed here too, now and then.
            connection.waiting.push(token, |token| self.in_flight.open_slot(token).is_some());
            self.waiting_tokens += 1;
            if self.waiting_tokens > 2 * limits.in_flight {
                self.forget_ended_tokens();
            }
        }
        if !self.early.is_empty() {
            self.match_early(seen.datagram.flow_hash, slot, pair);
        }
    }

    /// Removes the tokens of ended transactions from all connections; a connection without further queries would keep
    /// them.
    #[cold]
    fn forget_ended_tokens(&mut self) {
        self.waiting_tokens = 0;
        let in_flight = &self.in_flight;
        self.streams.each_waiting(|waiting| waiting.shrink(|token| in_flight.open_slot(token).is_some()));
    }

    /// Keeps the proxy's header with the query of a slot, and notes the client that it names.
    #[cold]
    fn behind_header(&mut self, slot: u32, seen: Seen<'_>) {
        let limits = self.settings.limits;
        let most = self.in_flight.kept.room(limits.kept_message_bytes, limits.kept_bytes);
        let bytes = &seen.from[..seen.len.min(most)];
        self.in_flight.keep_again(slot, &[&proxy::without_extensions(seen.header), bytes].concat());
        if let Look::Whole(header) = proxy::look(seen.header) {
            let flow = self.in_flight.slot(slot).flow;
            let (token, in_flight) = (self.in_flight.token(slot), &self.in_flight);
            self.proxied.asked(seen.entry.ends, flow, &header, token, |other| in_flight.open_slot(other).is_some());
        }
    }

    /// The number of the message's pair.
    #[allow(clippy::inline_always)] // once for every query
    #[inline(always)]
    fn pair(&mut self, seen: &Seen<'_>) -> u32 {
        self.pairs.number(seen.datagram.pair_hash, || seen.client_to_server())
    }

    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn response(&mut self, seen: &Seen<'_>) {
        match self.in_flight.response(seen.datagram.flow_hash, seen.message, &seen.fingerprint()) {
            ResponseIs::Match(slot) => {
                // The query has the same flow, so its pair need not be looked up again.
                let pair = self.in_flight.slot(slot).flow.pair;
                self.pairs.note_time(pair, seen.entry.time);
                if !self.proxied.is_empty() {
                    self.ended_behind_header(slot, ProxiedEnd::Understood, seen.frame);
                }
                self.matched(slot, pair, seen.message, seen.sighting(), seen.fingerprint(), seen.bytes());
                self.note_answering(pair, seen);
            }
            ResponseIs::Other(what) => self.other_response(seen, what),
        }
    }

    /// Takes a response that ends no pending transaction as far as ports, identifier and question tell.
    #[cold]
    fn other_response(&mut self, seen: &Seen<'_>, what: OtherResponse) {
        let pair = self.pair(seen);
        self.pairs.note_time(pair, seen.entry.time);
        match what {
            OtherResponse::Continued => self.counts.continued += 1,
            OtherResponse::Copy => self.counts.response_copies += 1,
            OtherResponse::Duplicate { refused, answers } => {
                self.counts.duplicate += 1;
                if !refused {
                    self.extra_refusal(ExtraRefusal::Second, pair, seen.message);
                } else if answers {
                    self.pairs.rare(pair).answered_second += 1;
                }
            }
            OtherResponse::Late => {
                self.answers_suspect(seen.datagram.flow_hash);
                self.counts.late += 1;
                self.extra_refusal(ExtraRefusal::Late, pair, seen.message);
            }
            OtherResponse::Mismatch => {
                self.counts.mismatch += 1;
                self.extra_refusal(ExtraRefusal::OtherQuestion, pair, seen.message);
            }
            OtherResponse::Unsolicited => {
                self.answers_suspect(seen.datagram.flow_hash);
                self.without_query(pair, *seen);
            }
        }
        self.note_answering(pair, seen);
    }

    /// Counts a REFUSED response that ends no query.
    #[cold]
    fn extra_refusal(&mut self, why: ExtraRefusal, pair: u32, message: &Message) {
        if message.is_refused() {
            self.counts.extra_refusals[why as usize] += 1;
            self.pairs.rare(pair).extra_refusals[why as usize] += 1;
        }
    }

    /// Notes that a response without a pending query may be the late one to a query that seemed to be met with silence.
    #[cold]
    fn answers_suspect(&mut self, flow_hash: u64) {
        self.settle_silence();
        self.suspects.answered(flow_hash);
    }

    /// Takes a response without a query so far: it waits for a query that may have been captured after it.
    #[cold]
    fn without_query(&mut self, pair: u32, seen: Seen<'_>) {
        let flow = seen.flow(pair);
        if self.is_answer_to_header(flow, pair, &seen) {
            return;
        }
        let fingerprint = seen.fingerprint();
        if self.early.iter().any(|early| early.flow == flow && early.fingerprint.is_copied_by(&fingerprint)) {
            self.counts.response_copies += 1;
            return;
        }
        let limits = self.settings.limits;
        if self.early.len() >= limits.early_responses {
            // Clocks never differ so much that this many responses lie between: no query of the oldest one is to come.
            self.counts.early_evicted += 1;
            self.unsolicited();
        }
        let most = self.in_flight.kept.room(limits.kept_message_bytes, limits.kept_bytes);
        let bytes = self.in_flight.kept.keep_before(seen.from, seen.len.min(most));
        let (hash, message) = (seen.datagram.flow_hash, *seen.message);
        self.early.push_back(Early {
            hash,
            flow,
            message,
            seen: seen.sighting(),
            fingerprint,
            bytes,
            since: self.clock.line(),
        });
    }

    /// Matches a response from a server that took a proxy's header for the message with the query behind that header.
    /// False when the response is none of these.
    fn is_answer_to_header(&mut self, flow: Flow, pair: u32, seen: &Seen<'_>) -> bool {
        let message = seen.message;
        if self.proxied.is_empty() || !proxy::is_answer(message.id, message.opcode()) {
            return false;
        }
        let in_flight = &self.in_flight;
        // Numbers of dropped pairs are reused, so the slot must still have this flow.
        let same_ports = |slot: &u32| Flow { id: flow.id, ..in_flight.slot(*slot).flow } == flow;
        let Some(slot) = self.proxied.oldest(flow, |token| in_flight.open_slot(token).filter(same_ports)) else {
            return false;
        };
        self.ended_behind_header(slot, ProxiedEnd::Mistaken, seen.frame);
        self.matched(slot, pair, message, seen.sighting(), seen.fingerprint(), seen.bytes());
        true
    }

    /// Notes how a transaction ended, when its query stood behind a proxy's header.
    pub(super) fn ended_behind_header(&mut self, slot: u32, how: ProxiedEnd, frame: FrameRef) {
        let slot = self.in_flight.slot(slot);
        if proxy::BEGINNINGS.iter().any(|beginning| self.in_flight.kept.begins_with(slot.kept, beginning)) {
            let ends = self.pairs.ends(slot.flow.pair);
            self.proxied.ended(ends, how, frame, self.settings.limits.finding_frames);
        }
    }

    /// Closes a pending transaction with its response.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn matched(
        &mut self,
        index: u32,
        pair: u32,
        message: &Message,
        seen: Sighting,
        fingerprint: Fingerprint,
        bytes: &[u8],
    ) {
        self.counts.matched += 1;
        let outcome = outcome_of(message);
        self.counts.outcomes[outcome as usize] += 1;
        self.count_transport(self.in_flight.slot(index).flow);
        let query = &self.in_flight.slot(index).query;
        if seen.point.direction() == Direction::In && query.point.direction() == Direction::Out {
            self.answering.note_away(self.pairs.ends(pair), query.point, query.frame.input);
        }
        if outcome == Outcome::Answered {
            let wanted = self.pairs.count_answered(pair);
            if !message.is_served() {
                self.pairs.note_error(pair);
            } else if wanted {
                self.pairs.note_answer(pair, seen.frame, self.settings.limits.finding_frames);
            }
        } else {
            self.turned_away(index, outcome, message, seen);
        }
        if self.settings.rows.has(outcome) {
            self.report(index, outcome, Some((seen, *message, bytes)));
        }
        self.in_flight.answer(index, fingerprint, outcome == Outcome::Refused);
    }

    /// Counts the transport of a transaction; called together with counting its outcome.
    #[inline]
    pub(super) fn count_transport(&mut self, flow: Flow) {
        if flow.transport == Transport::Tcp {
            self.pairs.count_tcp(flow.pair);
        }
    }

    /// Counts a response that refuses or denies the query.
    fn turned_away(&mut self, index: u32, outcome: Outcome, message: &Message, seen: Sighting) {
        if message.question == Question::ABSENT {
            self.in_flight.doubt(index, seen.time);
        }
        let slot = self.in_flight.slot(index);
        let restored = outcome == Outcome::Refused
            && message.question == Question::ABSENT
            && slot.question.is_known()
            && !slot.ambiguous;
        self.counts.refused_restored += u64::from(restored);
        self.pairs.count_outcome(slot.flow.pair, outcome);
        self.pairs.refusals(slot.flow.pair).note(
            slot.query.recorded_time(),
            seen.frame,
            self.settings.limits.finding_frames,
        );
    }

    /// Matches a query just opened with a response that was captured before it.
    fn match_early(&mut self, hash: u64, slot: u32, pair: u32) {
        let (flow, opcode, question, time) = {
            let slot = self.in_flight.slot(slot);
            (slot.flow, slot.opcode, slot.question, slot.query.time)
        };
        let timeout = self.settings.timeout;
        let position = self.early.iter().position(|early| {
            early.hash == hash
                && early.flow == flow
                && early.message.opcode() == opcode
                && question.fits(early.message.question)
                && (-timeout..=SKEW).contains(&time.0.saturating_sub(early.seen.time.0))
        });
        let Some(early) = position.and_then(|position| self.early.remove(position)) else { return };
        let mut bytes = std::mem::take(&mut self.scratch);
        self.in_flight.kept.read(early.bytes, &mut bytes);
        self.in_flight.kept.release(early.bytes);
        self.matched(slot, pair, &early.message, early.seen, early.fingerprint, &bytes);
        self.scratch = bytes;
    }
}

/// The outcome that a response gives its transaction.
fn outcome_of(message: &Message) -> Outcome {
    if message.is_refused() {
        Outcome::Refused
    } else if message.is_denied() {
        Outcome::Denied
    } else {
        Outcome::Answered
    }
}
