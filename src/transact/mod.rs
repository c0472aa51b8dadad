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
mod matching;
pub mod outlet;
pub mod pairs;
pub mod proxied;
pub mod quotes;
mod silence;

use crate::capture::Timestamp;
use crate::config::{Limits, Outcome, Outcomes, Vantage};
use crate::decode::fragment::{FragmentLimits, Fragments};
use crate::decode::ip::FragmentHeader;
use crate::decode::message::{self, Message};
use crate::decode::quote::Quote;
use crate::decode::stream::{self, Arrival, StreamLimits, Streams};
use crate::decode::{Body, Datagram, Decoder, Ends, Entry, Segment, TCP, Tally, UDP};
use crate::sources::{Beside, FrameRef};
use clock::Clock;
pub use counts::Counts;
use ending::ending;
use flights::{Flights, Sighting, Transport};
use matching::{Early, Seen};
use outlet::{Batch, Outlet};
use pairs::Pairs;
use proxied::Proxied;
use quotes::Quotes;
use silence::{Answering, Suspects};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
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
    /// Where the capture was taken, as far as the operator says.
    pub vantage: Option<Vantage>,
    /// A filter leaves packets out, perhaps with DNS: what was not seen may have been there.
    pub filtered: bool,
    /// Outcomes handed to `on_transaction`.
    pub rows: Outcomes,
    /// Caps.
    pub limits: &'a Limits,
}

/// Entries whose memory is looked for together.
const BATCH: usize = 16;

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
    suspects: Suspects,
    /// Somebody looked without a break since this place on the clock's line.
    watched_since: Timestamp,
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
            clock: Clock::new(settings.timeout),
            pairs,
            flights: Flights::new(settings.timeout, limits.answered_memory),
            streams: Streams::new(StreamLimits {
                connections: limits.tcp_connections,
                stream_bytes: limits.tcp_stream_bytes,
                total_bytes: limits.tcp_total_bytes,
                idle: limits.tcp_idle,
            }),
            early: VecDeque::new(),
            answering: Answering::new(settings.vantage, settings.filtered),
            suspects: Suspects::default(),
            watched_since: Timestamp(i64::MIN),
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
        let batch = |number: usize| entries.chunks(BATCH).nth(number).unwrap_or_default();
        self.prefetch_places(batch(0));
        self.prefetch_places(batch(1));
        self.prefetch_members(batch(0));
        for (number, now) in entries.chunks(BATCH).enumerate() {
            self.prefetch_places(batch(number + 2));
            self.prefetch_members(batch(number + 1));
            self.prefetch_rare(now);
            for entry in now {
                self.entry(input, first_frame, data, entry);
            }
        }
    }

    /// Hands out everything that was decided.
    pub fn hand_out(&mut self) {
        if !self.decided.is_empty() {
            self.outlet.put(&mut self.decided);
        }
        self.outlet.drain();
    }

    /// Where transactions wait after [`Tracker::take`], until somebody hands them out.
    pub fn outlet(&self) -> Arc<Outlet<'a>> {
        Arc::clone(&self.outlet)
    }

    /// Each message needs memory that is seldom in the cache, and what it needs says where to find the next. The processor
    /// fetches it while earlier ones are worked on: first where the number of the pair and the chain stand.
    #[inline]
    fn prefetch_places(&self, batch: &[Entry]) {
        for datagram in batch.iter().filter_map(message_of) {
            self.flights.prefetch_chain(datagram.flow_hash);
            self.pairs.prefetch(datagram.pair_hash);
        }
    }

    /// Then the pair and the first of the chain, and of those that are turned away what else is noted of the pair.
    #[inline]
    fn prefetch_members(&self, batch: &[Entry]) {
        for datagram in batch.iter().filter_map(message_of) {
            self.flights.prefetch_first(datagram.flow_hash);
            self.pairs.prefetch_hot(datagram.pair_hash);
            if is_refused(datagram) {
                self.pairs.prefetch_cold(datagram.pair_hash);
            }
        }
    }

    /// Then what only they have.
    #[inline]
    fn prefetch_rare(&self, batch: &[Entry]) {
        for datagram in batch.iter().filter_map(message_of).filter(|datagram| is_refused(datagram)) {
            self.pairs.prefetch_rare(datagram.pair_hash);
        }
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
        if let Body::Datagram(datagram) = &entry.body {
            if let Some(seen) = self.datagram(entry, frame, datagram, from) {
                self.message(&seen);
            }
        } else {
            self.other_entry(entry, frame, payload);
        }
    }

    /// An entry that is no datagram. Called cold, so that datagrams have the registers.
    #[cold]
    #[inline(never)]
    fn other_entry(&mut self, entry: &Entry, frame: FrameRef, payload: &[u8]) {
        if !matches!(entry.body, Body::Quote(_) | Body::Lost) {
            let now = self.clock.advance(entry.time);
            self.expire(now);
        }
        match &entry.body {
            Body::Segment(segment) => self.segment(entry, frame, segment, payload),
            Body::Fragment { header, protocol } => self.fragment(entry, frame, *header, *protocol, payload, 0),
            Body::Quote(quote) => self.quote(entry, *quote),
            Body::Lost => self.lost(),
            Body::Datagram(_) => {}
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
        if header.offset == 0 {
            self.first_fragment(entry, protocol, payload);
        }
        let (key, now) = (&self.decoder.key, self.clock.line());
        let Some(protocol) = self.fragments.push(key, now, entry.ends, protocol, header, payload, &mut self.tally)
        else {
            // Part of a response perhaps.
            return self.note_unread(entry.ends.reversed());
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
                    Body::Lost => {}
                }
            }
            Err(bucket) => self.tally.count(bucket),
        }
        self.fragments.whole = whole;
    }

    /// The first fragment of a datagram tells its ports, whether or not the others come.
    fn first_fragment(&mut self, entry: &Entry, protocol: u8, payload: &[u8]) {
        let Some(ports) = payload.first_chunk::<4>().filter(|_| matches!(protocol, UDP | TCP)) else { return };
        let [from_server, to_server] = [[ports[0], ports[1]], [ports[2], ports[3]]]
            .map(|port| self.decoder.ports.contains(u16::from_be_bytes(port)));
        if from_server || to_server {
            self.glimpse(if to_server { entry.ends } else { entry.ends.reversed() }, entry.time);
        }
    }

    /// An ICMP error about a DNS packet.
    fn quote(&mut self, entry: &Entry, quote: Quote) {
        self.tally.count(crate::decode::Bucket::IcmpQuotingDns);
        self.quotes.count(entry.ends, quote);
        // The client was told so, or a response is quoted: that is not silence.
        self.note_unread(entry.ends);
        self.glimpse(entry.ends, entry.time);
    }

    /// Counts a UDP datagram on a DNS port, whose payload is where `from` begins; its message goes on.
    #[allow(clippy::inline_always)] // once for every message, and what it returns stays in registers
    #[inline(always)]
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
            self.headless(entry, datagram);
            return None;
        };
        let (header, from) = from.split_at(usize::from(datagram.proxy_len));
        let len = entry.len as usize - header.len();
        Some(Seen { entry, frame, transport: Transport::Udp, message, datagram, from, len, header, connection: None })
    }

    /// A UDP datagram without a whole header.
    #[cold]
    #[inline(never)]
    fn headless(&mut self, entry: &Entry, datagram: &Datagram) {
        self.counts.header_incomplete += 1;
        self.note_unread(entry.ends.reversed());
        let to_server = self.decoder.ports.contains(datagram.destination_port);
        self.glimpse(if to_server { entry.ends } else { entry.ends.reversed() }, entry.time);
    }

    /// A TCP segment on a DNS port: the messages it completes, and the end of the connection.
    fn segment(&mut self, entry: &Entry, frame: FrameRef, segment: &Segment, payload: &[u8]) {
        let decoder = self.decoder;
        let now = self.clock.line();
        self.streams.expire(now, &mut self.tally);
        let connection = self.streams.push(
            &decoder.key,
            now,
            Arrival::new(entry.time, (frame.input, frame.frame), entry.point),
            entry.ends,
            segment,
            payload,
            |port| decoder.ports.contains(port),
            &mut self.tally,
        );
        self.take_forgotten();
        if self.streams.unread {
            let ends = self.streams.connection(connection).client_ends();
            self.note_unread(ends);
        }
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
                let (from, _) = self.streams.connection(connection).direction(found.from);
                self.note_unread(from.reversed());
                let ends = self.streams.connection(connection).client_ends();
                self.glimpse(ends, entry.time);
                continue;
            };
            let Arrival { time, point, frame: (input, number), .. } = found.by;
            let (from, (source, destination)) = self.streams.connection(connection).direction(found.from);
            let response = message.is_response();
            let ends = if response { from.reversed() } else { from };
            let ports = if response { (destination, source) } else { (source, destination) };
            let pair_hash = ends.hash(&decoder.key);
            self.other_message(&Seen {
                entry: &Entry { time, point, ends: from, ..*entry },
                frame: FrameRef { input, frame: number },
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

    /// While a capture goes on: connections that have ended are settled, and not only when the next segment comes. Every
    /// packet before `until` was taken. Nothing else comes of it than what the next segment would have done.
    pub fn pass_time(&mut self, until: Option<Timestamp>) {
        let line = self.clock.line();
        self.streams.expire(until.map_or(line, |until| line.max(until)), &mut self.tally);
        self.take_forgotten();
    }

    /// Folds what happened so far into the per-source rows, so that they can be read while the time line goes on.
    #[cold]
    pub fn fold(&mut self) {
        for (ends, time) in self.streams.without_message() {
            self.note_glimpse(ends, time);
        }
        let early = self.early.iter().map(|early| early.flow.pair);
        self.pairs.fold(self.flights.pairs().chain(early).chain(self.suspects.pairs()));
    }

    /// Notes that a source was seen, `ends` leading from it to its server, by something that brings no message to count: it
    /// is not to be called absent.
    #[cold]
    fn glimpse(&mut self, ends: Ends, time: Timestamp) {
        self.note_glimpse(ends, time);
        if self.pairs.is_time_to_fold() {
            self.fold();
        }
    }

    fn note_glimpse(&mut self, ends: Ends, time: Timestamp) {
        let pair = self.pairs.number(ends.hash(&self.decoder.key), || ends);
        self.pairs.rare(pair).glimpse(time);
    }

    /// Servers whose responses were seen arriving: this is none of their hosts.
    pub fn arriving(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.arriving()
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
            ("early_responses_evicted", self.counts.early_evicted),
        ]
        .into_iter()
        .chain(Beside::ALL.map(|(name, beside)| (name, self.counts.refused_beside[beside as usize])))
        .filter(|(_, count)| *count > 0)
        .collect()
    }

    /// State given up because a table was full: queries and connections that were still open.
    pub fn lost_state(&self) -> u64 {
        self.counts.evicted + self.streams.evicted + self.tally.buckets[crate::decode::Bucket::FragmentEvicted as usize]
    }
}

/// The datagram of an entry that brings a message.
#[inline]
fn message_of(entry: &Entry) -> Option<&Datagram> {
    match &entry.body {
        Body::Datagram(datagram) if datagram.message.is_some() => Some(datagram),
        _ => None,
    }
}

#[inline]
fn is_refused(datagram: &Datagram) -> bool {
    datagram.message.is_some_and(Message::is_refused)
}

#[cfg(test)]
mod tests;
