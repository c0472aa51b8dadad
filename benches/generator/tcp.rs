//! Complete TCP connections that carry DNS messages, as ordinary stacks send them.

use super::wire::{self, Path, Segment, flag};
use super::{Builder, Parties};

/// Data bytes of a full segment (1460, or 1440 over IPv6, less the timestamp option).
const FULL_SEGMENT: [usize; 2] = [1448, 1428];

/// The options of a segment on an open connection: two no-operations and a timestamp (RFC 7323).
pub fn timestamp_option(value: u32, echo: u32) -> [u8; 12] {
    let mut option = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    option[4..8].copy_from_slice(&value.to_be_bytes());
    option[8..].copy_from_slice(&echo.to_be_bytes());
    option
}

/// The state of one connection while it is made.
struct Connection {
    parties: Parties,
    port: u16,
    /// Time between a packet of the server and the client's reaction to it, as seen at the server.
    trip: u64,
    /// Next sequence number of the client and of the server.
    next: [u32; 2],
    /// What makes the two timestamp clocks differ.
    clocks: [u32; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Builder<'_> {
    /// A connection of a client to a server: handshake, one query or several with their responses, and its end.
    pub(super) fn connection(&mut self, now: u64) {
        let parties = self.parties();
        let port = self.world.clients[parties.client].next_connection_port();
        let trip = (self.random.lognormal(8_000_000.0, 1.0) as u64).clamp(150_000, 200_000_000);
        let sequences = self.random.bits();
        let clocks = self.random.bits();
        let mut connection = Connection {
            parties,
            port,
            trip,
            next: [sequences as u32, (sequences >> 32) as u32],
            clocks: [clocks as u32, (clocks >> 32) as u32],
        };
        self.truth.connections += 1;
        self.segment(&mut connection, now, CLIENT, flag::SYN, &[]);
        self.segment(&mut connection, now + 35_000, SERVER, flag::SYN | flag::ACK, &[]);
        let mut time = now + 35_000 + trip;
        self.segment(&mut connection, time, CLIENT, flag::ACK, &[]);
        time += 20_000;

        let messages = if self.random.chance(0.85) { 1 } else { 2 + self.random.below(5) };
        self.truth.connections_several += u64::from(messages > 1);
        if messages > 1 && self.random.chance(0.5) {
            time = self.pipelined(&mut connection, time, messages);
        } else {
            for _ in 0..messages {
                time = self.one_after_another(&mut connection, time);
            }
        }

        time += self.random.below(2_000_000);
        if self.random.chance(0.06) {
            self.segment(&mut connection, time, CLIENT, flag::RST | flag::ACK, &[]);
        } else {
            self.segment(&mut connection, time, CLIENT, flag::FIN | flag::ACK, &[]);
            self.segment(&mut connection, time + 30_000, SERVER, flag::FIN | flag::ACK, &[]);
            self.segment(&mut connection, time + 30_000 + trip, CLIENT, flag::ACK, &[]);
        }
    }

    /// One query and its response; returns when the client may go on.
    fn one_after_another(&mut self, connection: &mut Connection, time: u64) -> u64 {
        let (query, response) = self.messages(connection);
        let asked = self.write(connection, time, CLIENT, &query, 1);
        let wait = self.response_time();
        if wait > 40_000_000 || self.random.chance(0.6) {
            self.segment(connection, asked + 40_000.min(wait - 1000), SERVER, flag::ACK, &[]);
        }
        let answered = self.write(connection, asked + wait, SERVER, &response, 1);
        self.segment(connection, answered + connection.trip, CLIENT, flag::ACK, &[]);
        answered + connection.trip + 50_000
    }

    /// Several queries at once, some of them in one segment, and the responses in this or the opposite order.
    fn pipelined(&mut self, connection: &mut Connection, mut time: u64, messages: u64) -> u64 {
        let mut responses = Vec::new();
        let (mut waiting, mut held) = (Vec::new(), 0);
        for number in 1..=messages {
            let (query, response) = self.messages(connection);
            responses.push(response);
            waiting.extend(query);
            held += 1;
            if number == messages || self.random.chance(0.6) {
                time = self.write(connection, time, CLIENT, &waiting, held) + 15_000;
                waiting.clear();
                held = 0;
            }
        }
        self.segment(connection, time + 5000, SERVER, flag::ACK, &[]);
        if self.random.chance(0.3) {
            responses.reverse();
        }
        if self.random.chance(0.25) {
            let together = responses.concat();
            let count = responses.len() as u64;
            responses = vec![together];
            held = count;
        } else {
            held = 1;
        }
        time += 10_000;
        for response in responses {
            time += self.response_time();
            time = self.write(connection, time, SERVER, &response, held);
            self.segment(connection, time + connection.trip, CLIENT, flag::ACK, &[]);
        }
        time + connection.trip + 50_000
    }

    /// Makes a transaction's two messages, each with its length in front.
    fn messages(&mut self, connection: &Connection) -> (Vec<u8>, Vec<u8>) {
        let (_, id) = self.world.clients[connection.parties.client].next_port_and_id();
        self.exchange(connection.parties, connection.port, id, true, true);
        let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
        self.truth.messages_tcp += 2;
        (framed(&self.query), framed(&self.response))
    }

    /// Sends `count` messages as one write of the application: cut into full segments, rarely in other places too,
    /// rarely with a segment repeated or the first two exchanged. Returns the time of the last segment.
    fn write(&mut self, connection: &mut Connection, time: u64, from: usize, bytes: &[u8], count: u64) -> u64 {
        let ipv6 = self.world.clients[connection.parties.client].address.is_ipv6();
        let full = FULL_SEGMENT[usize::from(ipv6)];
        let first = match self.random.below(100) {
            0 | 1 => 2,
            2 => 1 + self.random.below(bytes.len() as u64 - 1) as usize,
            _ => bytes.len(),
        };
        let (head, rest) = bytes.split_at(first.min(full));
        let segments: Vec<&[u8]> = std::iter::once(head).chain(rest.chunks(full)).collect();
        if segments.len() > 1 || count > 1 {
            self.truth.messages_tcp_cut += count;
        }
        let exchanged = segments.len() > 1 && self.random.chance(0.05);
        let repeated = self.random.chance(0.004);
        let mut last = time;
        for (number, data) in segments.iter().enumerate() {
            let place = match number {
                0 if exchanged => 1,
                1 if exchanged => 0,
                _ => number as u64,
            };
            let at = time + place * 12_000;
            last = last.max(at);
            if repeated && number + 1 == segments.len() {
                let mut twin = Connection { next: connection.next, ..*connection };
                self.segment(&mut twin, at + 3000, from, flag::PSH | flag::ACK, data);
            }
            self.segment(connection, at, from, flag::PSH | flag::ACK, data);
        }
        last
    }

    /// Schedules one segment and moves the sender's sequence number on.
    fn segment(&mut self, connection: &mut Connection, time: u64, from: usize, flags: u8, data: &[u8]) {
        let path: Path = self.path(connection.parties, connection.port, from == CLIENT);
        let peer = 1 - from;
        let clock = (time / 1_000_000) as u32;
        let value = clock.wrapping_add(connection.clocks[from]);
        let behind = (connection.trip / 1_000_000) as u32;
        let first = flags & flag::SYN != 0 && from == CLIENT;
        let echo = if first { 0 } else { clock.wrapping_sub(behind).wrapping_add(connection.clocks[peer]) };
        let stamps = timestamp_option(value, echo);
        let handshake: [u8; 20] = std::array::from_fn(|at| match at {
            // Maximum segment size 1460, selective acknowledgments, timestamp, window scale 7.
            0..6 => [2, 4, 0x05, 0xb4, 4, 2][at],
            6..16 => stamps[at - 4],
            _ => [1, 3, 3, 7][at - 16],
        });
        let segment = Segment {
            sequence: connection.next[from],
            acknowledgment: if flags & flag::ACK == 0 { 0 } else { connection.next[peer] },
            flags,
            options: if flags & flag::SYN == 0 { &stamps } else { &handshake },
        };
        self.truth.packets_tcp_dns += 1;
        self.schedule(time, &path, |frame| wire::tcp_frame(frame, &path, &segment, data));
        let taken = data.len() as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
        connection.next[from] = connection.next[from].wrapping_add(taken);
    }
}
