//! Messages to transactions: [`Tracker`] takes decoded blocks in input order and decides what became of every query.
//!
//! Nothing here depends on how the input was cut into blocks: expiry is decided per transaction from the capture's
//! timestamps, and every table is trimmed by counts of messages. A closed transaction goes into its source's row, into
//! the totals and, when its outcome was asked for, as a [`Transaction`] to whoever writes rows.

pub mod clock;
pub mod counts;
mod ending;
pub mod flights;
pub mod kept;
pub mod outlet;
pub mod pairs;
pub mod proxied;
pub mod quotes;
mod silence;

use crate::capture::Timestamp;
use crate::config::{Limits, Outcome, Outcomes, SKEW};
use crate::decode::fragment::{FragmentLimits, Fragments};
use crate::decode::ip::FragmentHeader;
use crate::decode::message::{self, Message, Question};
use crate::decode::proxy::{self, Look};
use crate::decode::quote::Quote;
use crate::decode::stream::{self, StreamLimits, Streams};
use crate::decode::{Body, Datagram, Decoder, Ends, Entry, Segment, Tally};
use crate::sources::FrameRef;
use clock::Clock;
pub use counts::Counts;
use ending::ending;
use flights::{Flights, Flow, Node, Print, QueryIs, ResponseIs, Sighting, Transport};
use kept::KeptMessage;
use outlet::{Batch, Outlet};
use pairs::{Pairs, Place};
use proxied::{Proxied, ProxiedEnd};
use quotes::Quotes;
use silence::Answering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A closed transaction, or a response without a query.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// What happened.
    pub outcome: Outcome,
    /// Client to server.
    pub ends: Ends,
    /// Ports of client and server.
    pub ports: (u16, u16),
    /// UDP or TCP.
    pub transport: Transport,
    /// Message identifier; `None` for a connection rejected before a query was seen.
    pub id: Option<u16>,
    /// The query, or for a rejected connection its first segment.
    pub query: Option<Sighting>,
    /// Bytes of the first query, at most `Limits::kept_message_bytes`; a proxy's header stands before them.
    pub query_bytes: &'a [u8],
    /// The response, or the segment that ended the connection.
    pub response: Option<Sighting>,
    /// Bytes of the response.
    pub response_bytes: &'a [u8],
    /// Facts of the response.
    pub message: Option<Message>,
}

/// Takes transactions whose outcome was asked for.
pub type OnTransaction<'a> = Box<dyn FnMut(&Transaction<'_>) + Send + 'a>;

/// What the tracker needs to know; see `config::Config` for the meaning.
pub struct Settings<'a> {
    /// Nanoseconds without a response after which a query is unanswered.
    pub timeout: i64,
    /// The capture was taken at the server, as the operator says.
    pub at_server: bool,
    /// Outcomes handed to `on_transaction`.
    pub rows: Outcomes,
    /// Caps.
    pub limits: &'a Limits,
}

/// Entries whose memory is looked for together.
const BATCH: usize = 32;

/// A response that came before any query it could belong to; its query may be captured up to [`SKEW`] later.
struct Early {
    hash: u64,
    flow: Flow,
    message: Message,
    seen: Sighting,
    print: Print,
    bytes: KeptMessage,
}

/// One message and where it was seen.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// The packet that brought it, or completed it.
    entry: &'a Entry,
    frame: FrameRef,
    transport: Transport,
    message: &'a Message,
    /// Its ports and hashes; those of a message over TCP as if a datagram had brought it.
    datagram: &'a Datagram,
    /// Bytes from its first one on; others may follow behind it.
    from: &'a [u8],
    len: usize,
    /// The proxy's header before the message, or at the beginning of its connection; empty without one.
    header: &'a [u8],
    /// The TCP connection.
    connection: Option<u32>,
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
    fn print(&self) -> Print {
        Print::new(self.entry.time, self.entry.point, self.datagram.payload_hash, self.datagram.ip_id)
    }

    /// Client to server.
    #[inline]
    fn client_to_server(&self) -> Ends {
        if self.message.is_response() { self.entry.ends.reversed() } else { self.entry.ends }
    }

    /// The flow of the message, between a pair.
    #[inline]
    fn flow(&self, pair: u32) -> Flow {
        let (source, destination) = (self.datagram.source_port, self.datagram.destination_port);
        let (client_port, server_port) =
            if self.message.is_response() { (destination, source) } else { (source, destination) };
        Flow { pair, client_port, server_port, id: self.message.id, transport: self.transport }
    }
}

/// Follows transactions through one time line of blocks.
pub struct Tracker<'a> {
    decoder: &'a Decoder,
    settings: Settings<'a>,
    clock: Clock,
    pairs: Pairs<'a>,
    flights: Flights,
    streams: Streams,
    early: VecDeque<Early>,
    answering: Answering,
    /// Transactions decided.
    decided: Batch,
    /// Where they go from there.
    outlet: Arc<Outlet<'a>>,
    scratch: Vec<u8>,
    /// Bytes of the query being reported; kept for its memory.
    reported: Vec<u8>,
    fragments: Fragments,
    /// ICMP errors about DNS packets.
    pub quotes: Quotes,
    /// Queries behind a proxy's header.
    pub proxied: Proxied,
    /// What was counted.
    pub counts: Counts,
    /// Frames that ended here.
    pub tally: Tally,
}

impl<'a> Tracker<'a> {
    /// A tracker at the beginning of its time line.
    pub fn new(
        decoder: &'a Decoder,
        settings: Settings<'a>,
        pairs: Pairs<'a>,
        on_transaction: OnTransaction<'a>,
    ) -> Self {
        let limits = settings.limits;
        Self {
            decoder,
            clock: Clock::default(),
            pairs,
            flights: Flights::new(settings.timeout, limits.answered_memory),
            streams: Streams::new(StreamLimits {
                connections: limits.tcp_connections,
                stream_bytes: limits.tcp_stream_bytes,
                total_bytes: limits.tcp_total_bytes,
                idle: limits.tcp_idle,
            }),
            early: VecDeque::new(),
            answering: Answering::new(settings.at_server),
            decided: Batch::default(),
            outlet: Arc::new(Outlet::new(on_transaction)),
            scratch: Vec::new(),
            reported: Vec::new(),
            fragments: Fragments::new(FragmentLimits {
                sets: limits.fragment_sets,
                bytes: limits.fragment_bytes,
                age: limits.fragment_age,
            }),
            quotes: Quotes::default(),
            proxied: Proxied::default(),
            counts: Counts::default(),
            tally: Tally::default(),
            settings,
        }
    }

    /// Takes the entries of a block, or a run of them. `data` is the block's bytes, `first_frame` the number (from 1) of
    /// the block's first frame in its input.
    pub fn take(&mut self, input: u32, first_frame: u64, data: &[u8], entries: &[Entry]) {
        for batch in entries.chunks(BATCH) {
            self.glance(batch);
            for entry in batch {
                self.entry(input, first_frame, data, entry);
            }
            if self.pairs.full() {
                self.fold();
            }
        }
        if !self.decided.is_empty() {
            self.outlet.put(&mut self.decided);
        }
    }

    /// Hands out what waits at the outlet.
    pub fn hand_out(&self) {
        self.outlet.drain();
    }

    /// Where transactions wait after [`Tracker::take`], until somebody hands them out.
    pub fn outlet(&self) -> Arc<Outlet<'a>> {
        Arc::clone(&self.outlet)
    }

    /// Each message needs memory that is seldom in the cache. Looking for a whole batch at once lets the processor wait for
    /// all of it together: first where it is, then there.
    #[inline]
    fn glance(&self, batch: &[Entry]) {
        let mut nodes = [Node::END; BATCH];
        let mut looked = 0;
        for (entry, node) in batch.iter().zip(&mut nodes) {
            if let Body::Datagram(Datagram { message: Some(_), pair_hash, flow_hash, .. }) = &entry.body {
                *node = self.flights.glance(*flow_hash);
                looked ^= self.pairs.glance(*pair_hash);
            }
        }
        for (entry, node) in batch.iter().zip(nodes) {
            looked ^= self.flights.glance_at(node);
            if let Body::Datagram(Datagram { message: Some(message), pair_hash, .. }) = &entry.body
                && message.is_refused()
            {
                looked ^= self.pairs.glance_at_rare(*pair_hash);
            }
        }
        // Only keeps the looks from being optimised away.
        std::hint::black_box(looked);
    }

    /// An entry: counts it and follows what it brings.
    #[inline]
    fn entry(&mut self, input: u32, first_frame: u64, data: &[u8], entry: &Entry) {
        // A packet without a time (simple packet blocks) is taken to come at the time of the one before it.
        let timed = if entry.time == Timestamp::UNKNOWN {
            &Entry { time: self.clock.now().unwrap_or_default(), ..*entry }
        } else {
            entry
        };
        let entry = timed;
        let from = &data[entry.offset as usize..];
        let payload = &from[..entry.len as usize];
        let frame = FrameRef { input, frame: first_frame + u64::from(entry.frame) };
        match &entry.body {
            Body::Datagram(datagram) => {
                if let Some(seen) = self.datagram(entry, frame, datagram, from) {
                    self.message(&seen);
                }
            }
            Body::Segment(segment) => self.segment(entry, frame, segment, payload),
            Body::Fragment { header, protocol } => self.fragment(entry, frame, *header, *protocol, payload, 0),
            Body::Quote(quote) => self.quote(entry, *quote),
        }
    }

    /// A fragment: what it completes goes on like any packet, seen in this frame. `nested` datagrams were completed by the
    /// same frame already.
    fn fragment(
        &mut self,
        entry: &Entry,
        frame: FrameRef,
        header: FragmentHeader,
        protocol: u8,
        payload: &[u8],
        nested: usize,
    ) {
        if nested > self.settings.limits.nested_headers {
            return self.tally.count(crate::decode::Bucket::NestLimit);
        }
        let (key, now) = (&self.decoder.key, self.clock.advance(entry.time));
        let Some(protocol) = self.fragments.push(key, now, entry.ends, protocol, header, payload, &mut self.tally)
        else {
            return;
        };
        let whole = std::mem::take(&mut self.fragments.whole);
        let ip_id = if entry.ends.is_v6() { 0 } else { header.id as u16 };
        match self.decoder.datagram_of_fragments(&whole, protocol, entry.ends, ip_id, &mut self.tally) {
            Ok(opened) => {
                let point = entry.point.inside(opened.depth);
                let inner = Entry { len: opened.len as u32, point, ends: opened.ends, body: opened.body, ..*entry };
                let from = &whole[opened.at..];
                let payload = &from[..opened.len];
                match &opened.body {
                    Body::Datagram(datagram) => {
                        if let Some(seen) = self.datagram(&inner, frame, datagram, from) {
                            self.other_message(&seen);
                        }
                    }
                    Body::Segment(segment) => self.segment(&inner, frame, segment, payload),
                    Body::Fragment { header, protocol } => {
                        self.fragment(&inner, frame, *header, *protocol, payload, nested + 1);
                    }
                    Body::Quote(quote) => self.quote(&inner, *quote),
                }
            }
            Err(bucket) => self.tally.count(bucket),
        }
        self.fragments.whole = whole;
    }

    /// An ICMP error about a DNS packet.
    fn quote(&mut self, entry: &Entry, quote: Quote) {
        self.tally.count(crate::decode::Bucket::IcmpQuotingDns);
        self.quotes.count(entry.ends, quote);
    }

    /// Counts a UDP datagram on a DNS port, whose payload is where `from` begins; its message goes on.
    #[inline]
    fn datagram<'s>(
        &mut self,
        entry: &'s Entry,
        frame: FrameRef,
        datagram: &'s Datagram,
        from: &'s [u8],
    ) -> Option<Seen<'s>> {
        self.tally.count(crate::decode::Bucket::UdpDns);
        self.counts.messages[Transport::Udp as usize] += 1;
        let Some(message) = &datagram.message else {
            self.counts.header_incomplete += 1;
            return None;
        };
        let (header, from) = from.split_at(usize::from(datagram.proxy_len));
        let len = entry.len as usize - header.len();
        Some(Seen { entry, frame, transport: Transport::Udp, message, datagram, from, len, header, connection: None })
    }

    /// A TCP segment on a DNS port: the messages it completes, and the end of the connection.
    fn segment(&mut self, entry: &Entry, frame: FrameRef, segment: &Segment, payload: &[u8]) {
        let decoder = self.decoder;
        if let Some(now) = self.clock.now() {
            self.streams.expire(now, &mut self.tally);
        }
        let connection = self.streams.push(
            &decoder.key,
            entry.time,
            (frame.input, frame.frame),
            entry.ends,
            segment,
            payload,
            |port| decoder.ports.contains(port),
            &mut self.tally,
        );
        self.take_forgotten();
        // Taken out while the messages are worked on, and put back so that their memory is used again.
        let mut found = std::mem::take(&mut self.streams.found);
        let scratch = std::mem::take(&mut self.streams.scratch);
        let header = self.streams.connection(connection).proxy_header();
        for found in found.drain(..) {
            let bytes = match found.place {
                stream::Place::Segment(range) => &payload[range],
                stream::Place::Scratch(range) => &scratch[range],
            };
            self.counts.messages[Transport::Tcp as usize] += 1;
            let Some(message) = message::read(bytes, found.cut, &decoder.key) else {
                self.counts.header_incomplete += 1;
                continue;
            };
            let response = message.is_response();
            let ends = if response { entry.ends.reversed() } else { entry.ends };
            let (source, destination) = (segment.source_port, segment.destination_port);
            let ports = if response { (destination, source) } else { (source, destination) };
            let pair_hash = ends.hash(&decoder.key);
            self.other_message(&Seen {
                entry,
                frame,
                transport: Transport::Tcp,
                message: &message,
                datagram: &Datagram {
                    source_port: source,
                    destination_port: destination,
                    // Copies of segments are recognised by their sequence numbers.
                    ip_id: 0,
                    proxy_len: 0,
                    message: None,
                    payload_hash: decoder.key.bytes(bytes) as u32,
                    pair_hash,
                    flow_hash: decoder.key.flow(pair_hash, ports, message.id, Transport::Tcp),
                },
                from: bytes,
                len: bytes.len(),
                header: header.as_deref().unwrap_or_default(),
                connection: Some(connection),
            });
        }
        self.streams.found = found;
        self.streams.scratch = scratch;
        let open = self.streams.connection(connection);
        if let Some((time, input, number)) = open.rejected
            && !open.waiting.is_empty()
        {
            let ended = ending(time, input, number, entry.point);
            for token in std::mem::take(&mut open.waiting) {
                self.flights.reject(token, ended);
            }
        }
    }

    /// A message that came otherwise than in one datagram.
    #[inline(never)]
    fn other_message(&mut self, seen: &Seen<'_>) {
        self.message(seen);
    }

    /// Counts a message and finds what it belongs to; the pair of a query seems to stand at `place`.
    #[allow(clippy::inline_always)] // the way of nearly every message: what it needs is at hand where it was decoded
    #[inline(always)]
    fn message(&mut self, seen: &Seen<'_>) {
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
        let now = self.clock.advance(seen.entry.time);
        self.expire(now);
        let place = self.pairs.place(seen.datagram.pair_hash, || seen.client_to_server());
        if response {
            self.counts.rcodes[usize::from(message.rcode) & 0xfff] += 1;
            self.response(seen, place);
        } else {
            self.query(seen, place);
        }
        if self.pairs.too_many() {
            self.fold();
        }
    }

    #[inline]
    fn query(&mut self, seen: &Seen<'_>, place: Place) {
        self.pairs.asked(place, seen.entry.time);
        match self.flights.query(seen.datagram.flow_hash, seen.message, &seen.print()) {
            QueryIs::Copy => self.counts.query_copies += 1,
            QueryIs::Retransmission => self.counts.retransmitted += 1,
            QueryIs::New => self.open(place, seen),
            QueryIs::Crowded(oldest) => {
                self.evict(oldest);
                self.open(place, seen);
            }
        }
    }

    #[inline]
    fn open(&mut self, place: Place, seen: &Seen<'_>) {
        if self.flights.pending() >= self.settings.limits.in_flight
            && let Some(oldest) = self.flights.oldest()
        {
            self.evict(oldest);
        }
        let kept = self.flights.kept.keep_before(seen.from, seen.len.min(self.settings.limits.kept_message_bytes));
        let flow = seen.flow(self.pairs.number(place));
        let slot = self.flights.open(seen.datagram.flow_hash, flow, seen.message, seen.sighting(), seen.print(), kept);
        if flow.transport == Transport::Tcp {
            self.pairs.tcp(flow.pair);
        }
        if !seen.header.is_empty() {
            self.behind_header(slot, *seen);
        }
        if let Some(connection) = seen.connection {
            let token = self.flights.token(slot);
            let connection = self.streams.connection(connection);
            connection.asked = true;
            if !connection.server_data {
                connection.waiting.push(token);
            }
        }
        if !self.early.is_empty() {
            self.match_early(seen.datagram.flow_hash, slot, place);
        }
    }

    /// The query of a slot stands behind a proxy's header, which is kept with it.
    #[cold]
    fn behind_header(&mut self, slot: u32, seen: Seen<'_>) {
        let bytes = &seen.from[..seen.len.min(self.settings.limits.kept_message_bytes)];
        self.flights.keep_again(slot, &[seen.header, bytes].concat());
        if let Look::Whole(header) = proxy::look(seen.header) {
            let flow = self.flights.slot(slot).flow;
            self.proxied.asked(seen.entry.ends, flow, &header, self.flights.token(slot));
        }
    }

    #[inline]
    fn response(&mut self, seen: &Seen<'_>, place: Place) {
        self.pairs.told(place, seen.entry.time);
        match self.flights.response(seen.datagram.flow_hash, seen.message, &seen.print()) {
            ResponseIs::Match(slot) => {
                if !self.proxied.is_empty() {
                    self.ended_behind_header(slot, ProxiedEnd::Understood, seen.frame);
                }
                self.matched(slot, place, seen.message, seen.sighting(), seen.print(), seen.bytes());
            }
            ResponseIs::Continued => self.counts.continued += 1,
            ResponseIs::Copy => self.counts.response_copies += 1,
            ResponseIs::Duplicate => self.counts.duplicate += 1,
            ResponseIs::Late => self.counts.late += 1,
            ResponseIs::Mismatch => self.counts.mismatch += 1,
            ResponseIs::Unsolicited => self.without_query(place, *seen),
        }
        self.note_answering(place, seen.entry);
    }

    /// A response that belongs to no query so far: it waits for one that may have been captured after it.
    #[cold]
    fn without_query(&mut self, place: Place, seen: Seen<'_>) {
        let flow = seen.flow(self.pairs.number(place));
        if self.is_answer_to_header(flow, place, &seen) {
            return;
        }
        let print = seen.print();
        if self.early.iter().any(|early| early.flow == flow && early.print.is_copied_by(&print)) {
            self.counts.response_copies += 1;
            return;
        }
        let limit = self.settings.limits.kept_message_bytes;
        let bytes = self.flights.kept.keep_before(seen.from, seen.len.min(limit));
        let (hash, message) = (seen.datagram.flow_hash, *seen.message);
        self.early.push_back(Early { hash, flow, message, seen: seen.sighting(), print, bytes });
    }

    /// A response from a server that took a proxy's header for the message: it belongs to a query behind such a header.
    fn is_answer_to_header(&mut self, flow: Flow, place: Place, seen: &Seen<'_>) -> bool {
        let message = seen.message;
        if self.proxied.is_empty() || !proxy::is_answer(message.id, message.opcode()) {
            return false;
        }
        let flights = &self.flights;
        // Pairs are renumbered after a while, so the slot is asked whether it is still of this flow.
        let same_ports = |slot: &u32| Flow { id: flow.id, ..flights.slot(*slot).flow } == flow;
        let Some(slot) = self.proxied.oldest(flow, |token| flights.open_slot(token).filter(same_ports)) else {
            return false;
        };
        self.ended_behind_header(slot, ProxiedEnd::Mistaken, seen.frame);
        self.matched(slot, place, message, seen.sighting(), seen.print(), seen.bytes());
        true
    }

    /// Notes how a transaction ended when its query stands behind a proxy's header.
    fn ended_behind_header(&mut self, slot: u32, how: ProxiedEnd, frame: FrameRef) {
        let slot = self.flights.slot(slot);
        if proxy::BEGINNINGS.iter().any(|beginning| self.flights.kept.begins_with(slot.kept, beginning)) {
            let ends = self.pairs.ends(slot.flow.pair);
            self.proxied.ended(ends, how, frame, self.settings.limits.finding_frames);
        }
    }

    /// A pending transaction has its response.
    #[inline]
    fn matched(&mut self, index: u32, place: Place, message: &Message, seen: Sighting, print: Print, bytes: &[u8]) {
        self.counts.matched += 1;
        let outcome = outcome_of(message);
        self.counts.outcomes[outcome as usize] += 1;
        if outcome != Outcome::Answered {
            self.turned_away(index, outcome, message, seen.frame);
        } else if self.pairs.answered(place) {
            self.pairs.note_answer(place, seen.frame, self.settings.limits.finding_frames);
        }
        if self.settings.rows.has(outcome) {
            self.report(index, outcome, Some((seen, *message, bytes)));
        }
        self.flights.answer(index, print);
    }

    /// Counts a response that refuses or denies.
    fn turned_away(&mut self, index: u32, outcome: Outcome, message: &Message, frame: FrameRef) {
        let slot = self.flights.slot(index);
        let restored =
            outcome == Outcome::Refused && message.question == Question::ABSENT && slot.question != Question::ABSENT;
        self.counts.refused_restored += u64::from(restored);
        self.pairs.outcome(slot.flow.pair, outcome);
        self.pairs.rare(slot.flow.pair).note_refused(slot.query.time, frame, self.settings.limits.finding_frames);
    }

    /// Matches a query just opened with a response that was captured shortly before it.
    fn match_early(&mut self, hash: u64, slot: u32, place: Place) {
        let (flow, opcode, question, time) = {
            let slot = self.flights.slot(slot);
            (slot.flow, slot.opcode, slot.question, slot.query.time)
        };
        let position = self.early.iter().position(|early| {
            early.hash == hash
                && early.flow == flow
                && early.message.opcode() == opcode
                && question.fits(early.message.question)
                && time.0.saturating_sub(early.seen.time.0) <= SKEW
        });
        let Some(early) = position.and_then(|position| self.early.remove(position)) else { return };
        let mut bytes = std::mem::take(&mut self.scratch);
        self.flights.kept.read(early.bytes, &mut bytes);
        self.flights.kept.release(early.bytes);
        self.matched(slot, place, &early.message, early.seen, early.print, &bytes);
        self.scratch = bytes;
    }

    /// Folds what happened so far into the per-source rows, so that they can be read while the time line goes on.
    #[cold]
    pub fn fold(&mut self) {
        let open = self.flights.pairs().chain(self.early.iter().map(|early| early.flow.pair));
        self.pairs.fold(open);
    }

    /// Queries without a response so far, and responses whose query may still come: counted, and in no bucket yet.
    pub fn undecided(&self) -> (u64, u64) {
        (self.flights.pending() as u64, self.early.len() as u64)
    }

    /// Odd things counted on the way, by name.
    pub fn anomalies(&self) -> BTreeMap<&'static str, u64> {
        [
            ("clock_steps", self.clock.steps),
            ("tcp_conflicting_bytes", self.streams.conflicts),
            ("tcp_zero_length_messages", self.streams.zero_length),
            ("tcp_holes", self.streams.holes),
            ("tcp_connections_evicted", self.streams.evicted),
            ("trailing_bytes", self.counts.trailing),
            ("cut_messages", self.counts.cut),
            ("late_forgotten_early", self.flights.forgotten_early),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }

    /// State given up because a table was full: queries and connections that were still open.
    pub fn lost_state(&self) -> u64 {
        self.counts.evicted + self.streams.evicted + self.tally.buckets[crate::decode::Bucket::FragmentEvicted as usize]
    }
}

/// What a response makes of its transaction.
fn outcome_of(message: &Message) -> Outcome {
    if message.is_refused() {
        Outcome::Refused
    } else if message.is_denied() {
        Outcome::Denied
    } else {
        Outcome::Answered
    }
}
