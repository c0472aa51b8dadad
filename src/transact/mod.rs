//! Turns messages into transactions: [`Tracker`] takes decoded blocks in input order and decides what became of every
//! query.
//!
//! Nothing here depends on how the input was cut into blocks: expiry is decided per transaction from the capture's
//! timestamps, and every table is trimmed by counts of messages. A closed transaction is added to the row of its source
//! and to the totals and, when its outcome was asked for, is handed as a [`Transaction`] to whoever writes rows.

mod arriving;
pub mod clock;
pub mod counts;
mod ending;
pub mod in_flight;
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
use crate::sources::{ExtraRefusal, FrameRef};
use clock::Clock;
pub use counts::Counts;
use in_flight::{InFlight, Sighting, Transport};
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
    /// The outcome.
    pub outcome: Outcome,
    /// The addresses, from client to server.
    pub ends: Ends,
    /// Ports of client and server.
    pub ports: (u16, u16),
    /// UDP or TCP.
    pub transport: Transport,
    /// Message identifier; `None` for a connection rejected before a query was seen.
    pub id: Option<u16>,
    /// The query; for a connection rejected before a query was seen, its first segment.
    pub query: Option<Sighting>,
    /// Bytes of the first query, at most `Limits::kept_message_bytes`, after the proxy's header (without extensions)
    /// when there was one.
    pub query_bytes: &'a [u8],
    /// The response, or the segment that ended the connection.
    pub response: Option<Sighting>,
    /// Bytes of the response.
    pub response_bytes: &'a [u8],
    /// The decoded header and question of the response.
    pub message: Option<Message>,
}

/// Called with each transaction whose outcome was asked for.
pub type OnTransaction<'a> = Box<dyn FnMut(&Transaction<'_>) + Send + 'a>;

/// Settings of a tracker; `config::Config` explains them.
pub struct Settings<'a> {
    /// Nanoseconds without a response after which a query is unanswered.
    pub timeout: i64,
    /// Where the capture was taken, as far as the operator says.
    pub vantage: Option<Vantage>,
    /// A filter may leave DNS packets out, so a packet that was not seen may have existed.
    pub filtered: bool,
    /// Outcomes of the transactions handed to `on_transaction`.
    pub rows: Outcomes,
    /// Limits of every table.
    pub limits: &'a Limits,
}

/// Name of the anomaly that counts probable copies seen too much later to be taken for copies, which make counts too
/// high.
pub const COPIES_AT_OTHER_TIMES: &str = "copies_at_other_times";

/// Name of the anomaly that counts queries which two inputs may both hold.
pub const AGAIN_IN_OTHER_INPUTS: &str = "again_in_other_inputs";

/// Number of entries whose memory is prefetched together.
const BATCH: usize = 16;

/// Follows transactions through one time line of blocks.
pub struct Tracker<'a> {
    decoder: &'a Decoder,
    settings: Settings<'a>,
    clock: Clock,
    pairs: Pairs<'a>,
    in_flight: InFlight,
    streams: Streams,
    /// Tokens noted at connections since those of ended transactions were last removed there.
    waiting_tokens: usize,
    early: VecDeque<Early>,
    answering: Answering,
    suspects: Suspects,
    /// The capture has no known gap since this place on the clock's line.
    watched_since: Timestamp,
    /// Transactions that were decided and not yet passed to the outlet.
    decided: Batch,
    /// Where decided transactions wait to be handed out.
    outlet: Arc<Outlet<'a>>,
    scratch: Vec<u8>,
    /// Bytes of the query being reported; kept to reuse the memory.
    reported: Vec<u8>,
    fragments: Fragments,
    /// ICMP errors about DNS packets.
    pub quotes: Quotes,
    /// Queries behind a proxy's header.
    pub proxied: Proxied,
    /// What was counted.
    pub counts: Counts,
    /// Counts of the frames whose bucket was decided here.
    pub tally: Tally,
}

impl<'a> Tracker<'a> {
    /// A tracker at the beginning of a time line.
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
            in_flight: InFlight::new(settings.timeout, limits.answered_memory),
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

    /// Takes the entries of a block, or a run of them. `data` holds the block's bytes; `first_frame` is the number
    /// (from 1) of the block's first frame in its input.
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

    /// Hands every decided transaction out, in order.
    pub fn hand_out(&mut self) {
        if !self.decided.is_empty() {
            self.outlet.put(&mut self.decided);
        }
        self.outlet.drain();
    }

    /// Where transactions wait after [`Tracker::take`] until a thread hands them out.
    pub fn outlet(&self) -> Arc<Outlet<'a>> {
        Arc::clone(&self.outlet)
    }

    /// Each message needs several pieces of memory that are seldom in the cache, each of which gives the address of the
    /// next. They are prefetched in steps while earlier messages are worked on. First step: the pair's place in its
    /// table and the head of the chain.
    #[inline]
    fn prefetch_places(&self, batch: &[Entry]) {
        for entry in batch {
            let (pair_hash, flow_hash) = hashes_of(entry);
            self.in_flight.prefetch_chain(flow_hash);
            self.pairs.prefetch(pair_hash);
        }
    }

    /// Second step: the pair, the first transaction of the chain, and the message, which another processor may have
    /// decoded; for refusals also the rest of what is noted of the pair.
    #[inline]
    fn prefetch_members(&self, data: &[u8], batch: &[Entry]) {
        for entry in batch {
            let (pair_hash, flow_hash) = hashes_of(entry);
            self.in_flight.prefetch_first(flow_hash);
            self.pairs.prefetch_hot(pair_hash);
            prefetch_index(data, entry.offset as usize);
        }
        for datagram in refusals_of(batch) {
            self.pairs.prefetch_cold(datagram.pair_hash);
        }
    }

    /// Third step: the record of refusals, which only refused sources have.
    #[inline]
    fn prefetch_refusals(&self, batch: &[Entry]) {
        for datagram in refusals_of(batch) {
            self.pairs.prefetch_refusals(datagram.pair_hash);
        }
    }

    /// Counts an entry and follows what it brings.
    #[inline]
    fn entry(&mut self, input: u32, first_frame: u64, data: &[u8], entry: &Entry) {
        // A packet without a time (from a simple packet block) is given the time of the one before it; reports do not
        // show that time.
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

    /// Counts a UDP datagram on a DNS port, whose payload begins where `from` does, and returns its message; `None`
    /// when the datagram has no whole header.
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

    /// Called while a live capture goes on, when every packet before `until` was taken. Settles connections that have
    /// ended, and responses whose query would have come by now, without waiting for the next packet. It does nothing
    /// that the next segment would not do as well.
    pub fn pass_time(&mut self, until: Option<Timestamp>) {
        let line = self.clock.line();
        let until = until.map_or(line, |until| line.max(until));
        self.read_left(until);
        self.give_up_early(until);
        self.streams.expire(until, &mut self.tally);
        self.take_forgotten();
    }

    /// Folds what happened so far into the per-source rows, so that these can be read while the time line goes on.
    #[cold]
    pub fn fold(&mut self) {
        for (ends, time) in self.streams.without_message() {
            self.add_presence(ends, time);
        }
        let early = self.early.iter().map(|early| early.flow.pair);
        self.pairs.fold(self.in_flight.pairs().chain(early).chain(self.suspects.pairs()));
    }

    /// Notes that a source was seen by something that brings no message to count, so that it is not reported as absent.
    /// `ends` leads from the source to its server.
    #[cold]
    fn note_presence(&mut self, ends: Ends, time: Timestamp) {
        self.add_presence(ends, time);
        if self.pairs.is_time_to_fold() {
            self.fold();
        }
    }

    fn add_presence(&mut self, ends: Ends, time: Timestamp) {
        let pair = self.pairs.number(ends.hash(&self.decoder.key), || ends);
        self.pairs.note_presence(pair, time);
    }

    /// Servers that are hosts other than that of the capture, as far as directions are known.
    pub fn away(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.away()
    }

    /// Servers whose responses leave the host of the capture but were made by another host, as far as directions are
    /// known.
    pub fn passed_on(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.passed_on()
    }

    /// Begins to note servers of routed responses, for [`Tracker::routed`].
    pub fn note_routed(&mut self) {
        self.answering.note_routed();
    }

    /// Servers of responses that were routed and do not show whether they leave.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.routed()
    }

    /// Addresses from which the host of the capture queried other hosts, each with an input that shows it.
    pub fn asking(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.answering.asking()
    }

    /// Servers on whose hosts the capture was taken, as far as directions are known.
    pub fn here(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.answering.here()
    }

    /// Servers, each with an input that was captured on its host, as far as directions are known.
    pub fn here_in(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.answering.here_in()
    }

    /// How many queries an address other than the one asked may have refused, whether there may be more, and the ends
    /// and the refusing address of the first; `None` when there were none.
    pub fn refused_elsewhere(&self) -> Option<(u64, bool, Ends, IpAddr)> {
        self.suspects.elsewhere()
    }

    /// Numbers of queries without a response so far and of responses whose query may still come. They are counted as
    /// messages but are in no bucket of the match ledger yet.
    pub fn undecided(&self) -> (u64, u64) {
        (self.in_flight.pending() as u64, self.early.len() as u64)
    }

    /// Counts of anomalies by name; those that are 0 are absent.
    pub fn anomalies(&self) -> BTreeMap<&'static str, u64> {
        [
            ("clock_steps", self.clock.steps),
            ("tcp_conflicting_bytes", self.streams.conflicts),
            ("tcp_zero_length_messages", self.streams.zero_length),
            ("tcp_holes", self.streams.holes),
            ("tcp_connections_evicted", self.streams.evicted),
            ("trailing_bytes", self.counts.trailing),
            ("cut_messages", self.counts.cut),
            ("late_forgotten_early", self.in_flight.forgotten_early),
            ("early_responses_evicted", self.counts.early_evicted),
            (COPIES_AT_OTHER_TIMES, self.in_flight.copies_at_other_times),
            (AGAIN_IN_OTHER_INPUTS, self.in_flight.again_in_other_inputs),
        ]
        .into_iter()
        .chain(ExtraRefusal::ALL.map(|(name, why)| (name, self.counts.extra_refusals[why as usize])))
        .filter(|(_, count)| *count > 0)
        .collect()
    }

    /// Number of open queries and connections, and of fragments, that were given up because a table was full.
    pub fn lost_state(&self) -> u64 {
        self.counts.evicted + self.streams.evicted + self.tally.buckets[crate::decode::Bucket::FragmentEvicted as usize]
    }
}

/// Keyed hashes of the pair and the flow of an entry; 0 when the entry is no datagram. Prefetching for these in vain
/// costs less than a mispredicted branch.
#[inline]
fn hashes_of(entry: &Entry) -> (u64, u64) {
    match &entry.body {
        Body::Datagram(datagram) => (datagram.pair_hash, datagram.flow_hash),
        _ => (0, 0),
    }
}

/// The datagrams of a batch whose message is REFUSED.
#[inline]
fn refusals_of(batch: &[Entry]) -> impl Iterator<Item = &Datagram> {
    batch.iter().filter_map(|entry| match &entry.body {
        Body::Datagram(datagram) if datagram.message.is_some_and(Message::is_refused) => Some(datagram),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
