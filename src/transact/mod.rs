//! Messages to transactions: [`Tracker`] takes decoded blocks in input order and decides what became of every query.
//!
//! Nothing here depends on how the input was cut into blocks: expiry is decided per transaction from the capture's
//! timestamps, and every table is trimmed by counts of messages. A closed transaction goes into its source's row, into
//! the totals and, when its outcome was asked for, as a [`Transaction`] to whoever writes rows.

mod arriving;
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
use crate::decode::message::Message;
use crate::decode::stream::{StreamLimits, Streams};
use crate::decode::{Body, Datagram, Decoder, Ends, Entry, Tally};
use crate::sources::{Beside, FrameRef};
use clock::Clock;
pub use counts::Counts;
use flights::{Flights, Sighting, Transport};
use matching::{Early, Seen};
use outlet::{Batch, Outlet};
use pairs::Pairs;
use prefetch_index::prefetch_index;
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

/// The name of the anomaly that makes counts too high.
pub const COPIES_AT_OTHER_TIMES: &str = "copies_at_other_times";

/// The name of the anomaly of what two captures may both hold.
pub const AGAIN_IN_OTHER_INPUTS: &str = "again_in_other_inputs";

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
    /// Tokens that were noted at connections since those of ended transactions were last forgotten there.
    waiting_tokens: usize,
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
            waiting_tokens: 0,
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
        self.prefetch_members(data, batch(0));
        for (number, now) in entries.chunks(BATCH).enumerate() {
            self.prefetch_places(batch(number + 2));
            self.prefetch_members(data, batch(number + 1));
            self.prefetch_refusals(now);
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
        for entry in batch {
            let (pair_hash, flow_hash) = hashes_of(entry);
            self.flights.prefetch_chain(flow_hash);
            self.pairs.prefetch(pair_hash);
        }
    }

    /// Then the pair, the first of the chain and the message, which another processor may have decoded; and of those that are
    /// turned away what else is noted of the pair.
    #[inline]
    fn prefetch_members(&self, data: &[u8], batch: &[Entry]) {
        for entry in batch {
            let (pair_hash, flow_hash) = hashes_of(entry);
            self.flights.prefetch_first(flow_hash);
            self.pairs.prefetch_hot(pair_hash);
            prefetch_index(data, entry.offset as usize);
        }
        for datagram in refusals_of(batch) {
            self.pairs.prefetch_cold(datagram.pair_hash);
        }
    }

    /// Then what only they have.
    #[inline]
    fn prefetch_refusals(&self, batch: &[Entry]) {
        for datagram in refusals_of(batch) {
            self.pairs.prefetch_refusals(datagram.pair_hash);
        }
    }

    /// An entry: counts it and follows what it brings.
    #[inline]
    fn entry(&mut self, input: u32, first_frame: u64, data: &[u8], entry: &Entry) {
        // A packet without a time (simple packet blocks) is taken to come at the time of the one before it; that is not told.
        let timed = if entry.time == Timestamp::UNKNOWN {
            let time = self.clock.now().unwrap_or(Timestamp::UNTIMED);
            &Entry { time, point: entry.point.untimed(), ..*entry }
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

    /// While a capture goes on: connections that have ended are settled, and responses whose query would have come by now, and
    /// not only when the next packet comes. Every packet before `until` was taken. Nothing else comes of it than what the next segment would have done.
    pub fn pass_time(&mut self, until: Option<Timestamp>) {
        let line = self.clock.line();
        let until = until.map_or(line, |until| line.max(until));
        self.read_left(until);
        self.give_up_early(until);
        self.streams.expire(until, &mut self.tally);
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
        self.pairs.glimpse(pair, time);
    }

    /// Servers that are other hosts than the one of the capture, as far as directions are known.
    pub fn away(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.away()
    }

    /// Servers whose responses leave the host of the capture but were made by another one, likewise.
    pub fn passed_on(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.passed_on()
    }

    /// Notes servers of routed responses from here on, for [`Tracker::routed`].
    pub fn note_routed(&mut self) {
        self.answering.note_routed();
    }

    /// Servers of responses that were routed, where nothing shows whether they leave.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.routed()
    }

    /// Addresses from which the host of the capture asked others, with the inputs that show it.
    pub fn asking(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.answering.asking()
    }

    /// Servers on whose hosts the capture was taken, likewise.
    pub fn here(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.here()
    }

    /// Servers with the inputs that were captured on their hosts, likewise.
    pub fn here_in(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.answering.here_in()
    }

    /// Queries that another address than the one asked refused, perhaps, and whether there may be more; ends and refusing
    /// address of the first.
    pub fn refused_elsewhere(&self) -> Option<(u64, bool, Ends, IpAddr)> {
        self.suspects.elsewhere()
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
            (COPIES_AT_OTHER_TIMES, self.flights.copies_at_other_times),
            (AGAIN_IN_OTHER_INPUTS, self.flights.again_in_other_inputs),
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

/// Keyed hashes of the pair and the flow of an entry, 0 where it brings no datagram: what these lead to is fetched for
/// nothing, which costs less than a wrong guess.
#[inline]
fn hashes_of(entry: &Entry) -> (u64, u64) {
    match &entry.body {
        Body::Datagram(datagram) => (datagram.pair_hash, datagram.flow_hash),
        _ => (0, 0),
    }
}

/// The datagrams that refuse.
#[inline]
fn refusals_of(batch: &[Entry]) -> impl Iterator<Item = &Datagram> {
    batch.iter().filter_map(|entry| match &entry.body {
        Body::Datagram(datagram) if datagram.message.is_some_and(Message::is_refused) => Some(datagram),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
