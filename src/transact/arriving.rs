//! Takes what does not arrive as a whole UDP datagram: puts fragments and TCP segments together into messages, and
//! notes ICMP errors and datagrams without a whole header, which bring no message.

use super::Tracker;
use super::ending::ending;
use super::in_flight::Transport;
use super::matching::Seen;
use crate::capture::{Direction, Timestamp};
use crate::decode::ip::FragmentHeader;
use crate::decode::message;
use crate::decode::quote::Quote;
use crate::decode::stream::{self, Arrival};
use crate::decode::{Body, Datagram, Ends, Entry, Point, Segment, TCP, UDP, Unread};
use crate::sources::FrameRef;

impl Tracker<'_> {
    /// Takes an entry that is no datagram. Marked cold so that datagrams get the registers.
    #[cold]
    #[inline(never)]
    pub(super) fn other_entry(&mut self, entry: &Entry, frame: FrameRef, payload: &[u8]) {
        match &entry.body {
            Body::Segment(segment) => {
                self.advance(entry.time);
                self.segment(entry, frame, segment, payload);
            }
            Body::Fragment { header, protocol } => {
                self.advance(entry.time);
                self.fragment(entry, frame, *header, *protocol, payload, 0);
            }
            Body::Quote(quote) => {
                self.advance(entry.time);
                self.quote(entry, *quote);
            }
            Body::Unread(unread) => {
                self.advance(entry.time);
                self.unread(entry, *unread);
            }
            Body::Lost => self.lost(),
            Body::LeftOut => {
                self.lost();
                self.answering.leave_out();
            }
            Body::Datagram(_) => {}
        }
    }

    /// Advances the clock to the time of a packet, and closes what is due by then.
    #[inline]
    fn advance(&mut self, time: Timestamp) {
        let now = self.clock.advance(time);
        self.expire(now);
    }

    /// Takes a fragment. A datagram that it completes is treated like any packet, seen in this frame. `nested` is the
    /// number of enclosing datagrams that the same frame already completed.
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
            // It may be part of a response.
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
                    Body::Unread(unread) => self.unread(&inner, *unread),
                    Body::Lost | Body::LeftOut => {}
                }
            }
            Err(bucket) => {
                self.tally.count(bucket);
                self.note_unread(entry.ends.reversed());
            }
        }
        self.fragments.whole = whole;
    }

    /// Notes the source of a datagram by its first fragment, which has the ports, whether or not the others come.
    fn first_fragment(&mut self, entry: &Entry, protocol: u8, payload: &[u8]) {
        let Some(ports) = payload.first_chunk::<4>().filter(|_| matches!(protocol, UDP | TCP)) else { return };
        let [from_server, to_server] = [[ports[0], ports[1]], [ports[2], ports[3]]]
            .map(|port| self.decoder.ports.contains(u16::from_be_bytes(port)));
        if from_server || to_server {
            self.note_presence(if to_server { entry.ends } else { entry.ends.reversed() }, entry.time);
        }
    }

    /// Takes an ICMP error about a DNS packet.
    fn quote(&mut self, entry: &Entry, quote: Quote) {
        self.tally.count(crate::decode::Bucket::IcmpQuotingDns);
        self.quotes.count(entry.ends, quote);
        // The client received the error, or it quotes a response: neither is silence.
        self.note_unread(entry.ends);
        self.note_presence(entry.ends, entry.time);
    }

    /// Takes a packet that could not be read. It may be a response to its receiver; an encrypted packet that leaves may
    /// hold a response to anybody.
    fn unread(&mut self, entry: &Entry, unread: Unread) {
        self.tally.count(unread.bucket);
        self.note_unread(entry.ends.reversed());
        if unread.ipsec && entry.point.direction() != Direction::In && self.answering.may_tell() {
            self.lost();
        }
    }

    /// Takes a UDP datagram without a whole DNS header.
    #[cold]
    #[inline(never)]
    pub(super) fn headless(&mut self, entry: &Entry, datagram: &Datagram) {
        self.counts.header_incomplete += 1;
        self.note_unread(entry.ends.reversed());
        let to_server = self.decoder.ports.contains(datagram.destination_port);
        self.note_presence(if to_server { entry.ends } else { entry.ends.reversed() }, entry.time);
    }

    /// Takes a TCP segment on a DNS port: the messages that it completes, and the end of the connection.
    #[allow(clippy::inline_always)] // the way of nearly every entry that is no datagram
    #[inline(always)]
    fn segment(&mut self, entry: &Entry, frame: FrameRef, segment: &Segment, payload: &[u8]) {
        let decoder = self.decoder;
        let now = self.clock.line();
        if self.streams.may_have_left() {
            self.read_left(now);
        }
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
        if !self.streams.forgotten.is_empty() {
            self.take_forgotten();
        }
        if self.streams.unread {
            let ends = self.streams.connection(connection).client_ends();
            self.note_unread(ends);
        }
        if !self.streams.found.is_empty() {
            self.found_messages(connection, payload);
        }
        if !self.streams.connection(connection).waiting.is_empty() {
            self.end_waiting(connection, entry.point);
        }
    }

    /// Takes the messages that a segment with this payload completed.
    fn found_messages(&mut self, connection: u32, payload: &[u8]) {
        // Taken out while the messages are worked on, and put back to reuse their memory.
        let found = std::mem::take(&mut self.streams.found);
        let scratch = std::mem::take(&mut self.streams.scratch);
        let header = self.streams.connection(connection).proxy_header();
        for found in &found {
            let bytes = match &found.place {
                stream::Place::Segment(range) => &payload[range.clone()],
                stream::Place::Scratch(range) => &scratch[range.clone()],
            };
            let open = self.streams.connection(connection);
            let (from, client) = (open.direction(found.from), open.client_ends());
            self.stream_message(found, bytes, from, client, header.as_deref().unwrap_or_default(), Some(connection));
        }
        self.streams.found = found;
        self.streams.scratch = scratch;
    }

    /// Ends the queries that wait on a closing connection. They are rejected when the server ended it without sending a
    /// byte; otherwise it is unknown what response they would have got.
    fn end_waiting(&mut self, connection: u32, point: Point) {
        let open = self.streams.connection(connection);
        if !open.is_closing() {
            return;
        }
        let rejection = open.rejection();
        for token in open.waiting.take() {
            self.end_query(token, rejection, point);
        }
    }

    /// Marks a waiting query whose connection has ended.
    fn end_query(&mut self, token: u64, rejection: Option<(Timestamp, u32, u64)>, point: Point) {
        match rejection {
            Some((time, input, number)) => self.in_flight.reject(token, ending(time, input, number, point)),
            None => self.in_flight.close(token),
        }
    }

    /// Takes a message of a stream. `from` leads from its sender to its receiver, `client` from client to server;
    /// `header` is a proxy's at the beginning of the connection; `connection` is its index while it is open.
    fn stream_message(
        &mut self,
        found: &stream::Found,
        bytes: &[u8],
        (from, (source, destination)): (Ends, (u16, u16)),
        client: Ends,
        header: &[u8],
        connection: Option<u32>,
    ) {
        let decoder = self.decoder;
        let Arrival { time, point, frame: (input, number), .. } = found.by;
        self.counts.messages[Transport::Tcp as usize] += 1;
        let Some(message) = message::read(bytes, found.cut, &decoder.key) else {
            self.counts.header_incomplete += 1;
            self.note_unread(from.reversed());
            return self.note_presence(client, time);
        };
        let response = message.is_response();
        let ends = if response { from.reversed() } else { from };
        let ports = if response { (destination, source) } else { (source, destination) };
        let pair_hash = ends.hash(&decoder.key);
        self.other_message(&Seen {
            entry: &Entry { point, ends: from, ..Entry::lost(time, 0) },
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
            header,
            connection,
        });
    }

    /// Reads what waited behind gaps that were acknowledged a while ago, on connections without a segment since.
    pub(super) fn read_left(&mut self, now: Timestamp) {
        while let Some(index) = self.streams.next_left(now, &mut self.tally) {
            let open = self.streams.connection(index);
            let (left, left_bytes) = (std::mem::take(&mut open.left), std::mem::take(&mut open.left_bytes));
            for found in &left {
                if let stream::Place::Scratch(range) = &found.place {
                    let open = self.streams.connection(index);
                    let (from, client, header) = (open.direction(found.from), open.client_ends(), open.proxy_header());
                    let header = header.as_deref().unwrap_or_default();
                    self.stream_message(found, &left_bytes[range.clone()], from, client, header, Some(index));
                    self.end_waiting(index, found.by.point);
                }
            }
        }
    }

    /// Takes the messages that still waited behind gaps of a forgotten connection. True when queries are among them;
    /// the server may have ended the connection without answering any.
    pub(super) fn left_messages(&mut self, gone: &stream::Connection) -> bool {
        let header = gone.proxy_header();
        let mut asked = false;
        for found in &gone.left {
            let opened = self.in_flight.opened();
            if let stream::Place::Scratch(range) = &found.place {
                let (bytes, from) = (&gone.left_bytes[range.clone()], gone.direction(found.from));
                self.stream_message(
                    found,
                    bytes,
                    from,
                    gone.client_ends(),
                    header.as_deref().unwrap_or_default(),
                    None,
                );
                asked |= self.in_flight.opened() > opened;
                if gone.is_closing()
                    && let Some(token) = self.in_flight.opened_after(opened)
                {
                    self.end_query(token, gone.rejection(), found.by.point);
                }
            }
        }
        asked
    }
}
