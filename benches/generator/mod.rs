//! Makes a capture of DNS and other traffic with known truth, in one pass and bounded memory.
//!
//! A [`Plan`] says how much of what; [`generate`] writes the file packet by packet in time order and returns the
//! [`Truth`], counted where each packet is decided and never by reading the file back. The same plan gives the same
//! bytes. Only packets that lie in the future wait in a queue, so memory depends on packet rate and response times, not
//! on the length of the file.
//!
//! What the traffic is like: clients behind one router ask a few servers of our own, seen at the servers. Most of them
//! are served; whole networks of clients are refused everything, and a few refusals are scattered over the others
//! (refusal by name). Some servers refuse with the bare 12-byte header. TCP connections are whole (SYN to FIN or RST)
//! with correct sequence numbers, acknowledgments, timestamps and checksums; some carry several messages, pipelined or
//! not, some messages are cut into several segments, repeated or out of order. No client uses a (port, id) pair twice,
//! so truth does not depend on how equal queries are told apart.

pub mod file;
mod random;
mod tcp;
pub mod truth;
mod wire;
mod world;

use file::{CaptureFile, Format};
use random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use truth::{Row, Truth};
use wire::{Edns, Path, Question, Reply, kind, rcode};
use world::{Expected, World, name_text, question_kind};

/// What to generate. Shares are from 0 to 1.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides every random choice. Default 1.
    pub seed: u64,
    /// Packets to write, exactly. Default 1,000,000.
    pub packets: u64,
    /// Share of the packets that belong to DNS (UDP and TCP). Default 1.
    pub dns: f64,
    /// Share of the DNS packets that are TCP, handshakes and acknowledgments included. Default 0.06.
    pub tcp: f64,
    /// Share of IPv6, by transactions. Default 0.2.
    pub ipv6: f64,
    /// Share of transactions, connections and other packets with a VLAN tag. Default 0.
    pub vlan: f64,
    /// Cooked headers (`LINUX_SLL2`) instead of Ethernet and VLAN tags. Default false.
    pub cooked: bool,
    /// Number of clients. Default 50,000.
    pub clients: usize,
    /// Exponent of the popularity of clients by rank (Zipf). Default 0.9: the first sends about 4 %.
    pub client_skew: f64,
    /// Number of DNS servers, each with an IPv4 and an IPv6 address. Default 4.
    pub servers: usize,
    /// Number of names. Default 100,000.
    pub names: usize,
    /// Share of queries whose name has random case ("0x20"). Default 0.3.
    pub mixed_case: f64,
    /// Share of queries with EDNS. Default 0.75.
    pub edns: f64,
    /// Share of transactions that are refused, if answered. Default 0.051, which makes about 2.4 % of DNS packets.
    pub refused: f64,
    /// Share of refusals that are only a 12-byte header. Default 0.12.
    pub header_only: f64,
    /// Share of responses that are NXDOMAIN. Default 0.14.
    pub nxdomain: f64,
    /// Share of responses that are SERVFAIL. Default 0.02.
    pub servfail: f64,
    /// Share of UDP transactions without response. Default 0.02.
    pub unanswered: f64,
    /// Share of UDP transactions whose query is sent twice; half of the answered ones are answered twice. Default 0.01.
    pub retransmissions: f64,
    /// Median and spread (standard deviation of the logarithm) of the response time in nanoseconds; it is cut to
    /// 40 us .. 800 ms. Default 900 us and 1.6.
    pub response_time: (f64, f64),
    /// Packets per second of capture time. Default 200,000.
    pub rate: f64,
    /// Time of the capture's begin, seconds since 1970. Default 2026-01-15 10:00 UTC.
    pub start: u64,
    /// Conversations that are not DNS, all of them already open when the capture begins. Default 4096.
    pub flows: usize,
    /// The file format. Default pcap.
    pub format: Format,
    /// Nanosecond instead of microsecond timestamps. Default false.
    pub nanoseconds: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            packets: 1_000_000,
            dns: 1.0,
            tcp: 0.06,
            ipv6: 0.2,
            vlan: 0.0,
            cooked: false,
            clients: 50_000,
            client_skew: 0.9,
            servers: 4,
            names: 100_000,
            mixed_case: 0.3,
            edns: 0.75,
            refused: 0.051,
            header_only: 0.12,
            nxdomain: 0.14,
            servfail: 0.02,
            unanswered: 0.02,
            retransmissions: 0.01,
            response_time: (900_000.0, 1.6),
            rate: 200_000.0,
            start: 1_768_471_200,
            flows: 4096,
            format: Format::Pcap,
            nanoseconds: false,
        }
    }
}

/// What [`generate`] hands back beside the capture file.
pub struct Generated {
    /// What is true of the file.
    pub truth: Truth,
    /// The inventory of the clients' networks, as CSV.
    pub inventory: String,
}

/// Writes the capture of a plan.
pub fn generate(plan: &Plan, out: impl Write) -> io::Result<Generated> {
    let link_type = if plan.cooked { 276 } else { 1 };
    let mut file = CaptureFile::new(out, plan.format, link_type, plan.nanoseconds)?;
    let mut builder = Builder::new(plan);
    let mut now = plan.start * 1_000_000_000;
    while builder.truth.packets < plan.packets {
        let before = builder.truth.packets;
        builder.next_unit(now, plan.packets - before);
        let packets = (builder.truth.packets - before) as f64;
        now += builder.random.exponential(packets * 1e9 / plan.rate) as u64;
        builder.write_until(now, &mut file)?;
    }
    builder.write_until(u64::MAX, &mut file)?;
    let mut generated = builder.finish();
    generated.truth.file_bytes = file.finish()?;
    Ok(generated)
}

/// Packets that one unit of traffic may need at most; nearer to the end only smaller units are started.
const LARGEST_UNIT: u64 = 128;

/// A packet in the queue: time, order of scheduling, and where its bytes are.
type Waiting = Reverse<(u64, u64, usize)>;

/// Decides packets and keeps those of the future.
struct Builder<'a> {
    plan: &'a Plan,
    world: World,
    random: Random,
    truth: Truth,
    queue: BinaryHeap<Waiting>,
    frames: Vec<Vec<u8>>,
    free: Vec<usize>,
    ip_id: u16,
    /// Units and packets so far of UDP DNS, TCP DNS and other traffic: what keeps the shares by packets.
    made: [(u64, u64); 3],
    /// The query being made.
    query: Vec<u8>,
    /// The response being made.
    response: Vec<u8>,
    name: Vec<u8>,
    filler: Vec<u8>,
    refused_rows: u64,
    rcodes: [u64; 6],
}

/// Who takes part in a transaction or connection.
#[derive(Clone, Copy)]
struct Parties {
    client: usize,
    server: usize,
    vlan: Option<u16>,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let filler = (0..1500).map(|_| random.bits() as u8).collect();
        Self {
            plan,
            world: World::new(plan),
            random,
            truth: Truth::default(),
            queue: BinaryHeap::new(),
            frames: Vec::new(),
            free: Vec::new(),
            ip_id: 0,
            // Before anything is known: a UDP transaction has 2 packets, a connection 11.
            made: [(1, 2), (1, 11), (1, 1)],
            query: Vec::new(),
            response: Vec::new(),
            name: Vec::new(),
            filler,
            refused_rows: 0,
            rcodes: [0; 6],
        }
    }

    /// Decides the next transaction, connection or other packet, begun at `now`, of at most `room` packets.
    fn next_unit(&mut self, now: u64, room: u64) {
        let plan = self.plan;
        let shares = [plan.dns * (1.0 - plan.tcp), plan.dns * plan.tcp, 1.0 - plan.dns];
        let weights: [f64; 3] = std::array::from_fn(|unit| {
            let (units, packets) = self.made[unit];
            shares[unit] * units as f64 / packets as f64
        });
        let drawn = self.random.unit() * weights.iter().sum::<f64>();
        let unit = match drawn {
            _ if drawn < weights[0] => 0,
            _ if drawn < weights[0] + weights[1] => usize::from(room >= LARGEST_UNIT),
            _ => 2,
        };
        let before = self.truth.packets;
        match unit {
            0 => self.datagrams(now, room),
            1 => self.connection(now),
            _ => self.other_packet(now),
        }
        self.made[unit].0 += 1;
        self.made[unit].1 += self.truth.packets - before;
    }

    /// A transaction over UDP.
    fn datagrams(&mut self, now: u64, room: u64) {
        let parties = self.parties();
        let (port, id) = self.world.clients[parties.client].next_port_and_id();
        let answered = room >= 2 && !self.random.chance(self.plan.unanswered);
        let again = room >= 4 && self.random.chance(self.plan.retransmissions);
        let refused = self.exchange(parties, port, id, false, answered);
        let (query, response) = (std::mem::take(&mut self.query), std::mem::take(&mut self.response));
        self.datagram(now, parties, port, true, &query);
        let mut asked = now;
        if again {
            asked += 20_000_000 + self.random.below(380_000_000);
            self.truth.retransmitted += 1;
            self.truth.queries += 1;
            self.world.clients[parties.client].queries += 1;
            self.datagram(asked, parties, port, true, &query);
        }
        if answered {
            let done = asked + self.response_time();
            self.datagram(done, parties, port, false, &response);
            if refused {
                self.truth.refused_udp_rtt_ns += self.stamp(done) - self.stamp(now);
            }
            if again && self.random.chance(0.5) {
                let twice = done + 50_000 + self.random.below(5_000_000);
                self.truth.duplicate_responses += 1;
                self.count_response(response[3] & 15);
                self.datagram(twice, parties, port, false, &response);
            }
        }
        (self.query, self.response) = (query, response);
    }

    /// Schedules one UDP packet between client and server.
    fn datagram(&mut self, time: u64, parties: Parties, port: u16, from_client: bool, message: &[u8]) {
        let path = self.path(parties, port, from_client);
        self.truth.packets_udp_dns += 1;
        self.truth.messages_udp += 1;
        self.schedule(time, &path, |frame| wire::udp_frame(frame, &path, message, true));
    }

    /// One packet of a conversation that is not DNS: full data packets, acknowledgments, and sizes between.
    fn other_packet(&mut self, now: u64) {
        let number = self.world.flow_popularity.draw(&mut self.random);
        let length = match self.random.below(10) {
            0..4 => 1448,
            4..8 => 0,
            _ => self.random.below(1300) as usize + 1,
        };
        let from_server = self.random.chance(if length == 0 { 0.3 } else { 0.8 });
        let vlan = self.vlan();
        self.ip_id = self.ip_id.wrapping_add(1).max(1);
        let flow = &mut self.world.flows[number];
        let (from, to) = if from_server { (flow.server, flow.client) } else { (flow.client, flow.server) };
        let path = Path { from, to, cooked: self.plan.cooked, vlan, ip_id: self.ip_id };
        let (own, peer) = (usize::from(from_server), usize::from(!from_server));
        let (tcp, sequence, acknowledgment) = (flow.tcp, flow.next[own], flow.next[peer]);
        flow.next[own] = sequence.wrapping_add(length as u32);
        self.truth.packets_other += 1;
        let filler = std::mem::take(&mut self.filler);
        self.schedule(now, &path, |frame| {
            if tcp {
                let stamp = (now / 1_000_000) as u32;
                let options = tcp::timestamp_option(stamp, stamp.wrapping_sub(30));
                let flags = wire::flag::ACK;
                let segment = wire::Segment { sequence, acknowledgment, flags, options: &options };
                wire::tcp_frame(frame, &path, &segment, &filler[..length]);
            } else {
                // QUIC keeps to 1,252 bytes or so, and its shortest packets still have some 30.
                wire::udp_frame(frame, &path, &filler[..length.clamp(30, 1252)], false);
            }
        });
        self.filler = filler;
    }

    /// Draws who talks to whom. A client has a favourite server and uses it for 80 % of its queries.
    fn parties(&mut self) -> Parties {
        let client = self.world.client_popularity.draw(&mut self.random);
        let servers = self.plan.servers as u64;
        let other = if self.random.chance(0.8) { 0 } else { self.random.below(servers) };
        Parties { client, server: ((client as u64 + other) % servers) as usize, vlan: self.vlan() }
    }

    fn vlan(&mut self) -> Option<u16> {
        (self.plan.vlan > 0.0 && !self.plan.cooked && self.random.chance(self.plan.vlan)).then_some(153)
    }

    /// The path of a packet between client and server, with the next IPv4 identification (never 0).
    fn path(&mut self, parties: Parties, port: u16, from_client: bool) -> Path {
        let client = self.world.clients[parties.client].endpoint(port);
        let server = self.world.servers[parties.server].endpoint(client.address);
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        self.ip_id = self.ip_id.wrapping_add(1).max(1);
        Path { from, to, cooked: self.plan.cooked, vlan: parties.vlan, ip_id: self.ip_id }
    }

    fn response_time(&mut self) -> u64 {
        let (median, spread) = self.plan.response_time;
        (self.random.lognormal(median, spread) as u64).clamp(40_000, 800_000_000)
    }

    /// Makes query and response of one transaction in `self.query` and `self.response` and counts what is true of it
    /// apart from times and retransmissions. Returns whether it is refused.
    fn exchange(&mut self, parties: Parties, port: u16, id: u16, tcp: bool, answered: bool) -> bool {
        let plan = self.plan;
        let random = &mut self.random;
        let client = &self.world.clients[parties.client];
        let name = self.world.name(self.world.name_popularity.draw(random));
        let lower = name;
        self.name.clear();
        self.name.extend(name);
        if random.chance(plan.mixed_case) {
            mix_case(&mut self.name, random);
        }
        let edns = Edns {
            present: random.chance(plan.edns),
            dnssec: random.chance(0.3),
            cookie: random.chance(0.3).then_some(random.bits()),
            subnet: random.chance(0.02).then_some([10, 77, 3]),
        };
        let question = Question { id, name: &self.name, kind: question_kind(lower, random), edns };
        let always = world::always_refused_share(plan);
        let scattered = (plan.refused - always) / (1.0 - always);
        let refused = client.always_refused || random.chance(scattered);
        let drawn = random.unit();
        let code = match drawn {
            _ if refused => rcode::REFUSED,
            _ if drawn < plan.nxdomain => rcode::NXDOMAIN,
            _ if drawn < plan.nxdomain + plan.servfail => rcode::SERVFAIL,
            _ => rcode::NOERROR,
        };
        let (_, answer_bytes) = kind::describe(question.kind);
        let answers = match code {
            rcode::NOERROR if tcp && random.chance(0.1) => 40 + random.below(200) as u8,
            rcode::NOERROR if random.chance(0.1) => 0,
            rcode::NOERROR => 1 + random.below(3) as u8,
            _ => 0,
        };
        let header_only = refused && random.chance(plan.header_only);
        let reply =
            Reply { rcode: code, header_only, answers, answer_bytes, prohibited: random.chance(0.2) && refused };
        self.query.clear();
        wire::query(&mut self.query, &question);
        self.response.clear();
        wire::response(&mut self.response, &question, reply);

        let refused = refused && answered;
        let truth = &mut self.truth;
        truth.transactions += 1;
        truth.queries += 1;
        if refused {
            let server = self.world.servers[parties.server].endpoint(client.address).address;
            self.refused_rows = self.refused_rows.wrapping_add(
                Row {
                    client: &client.address.to_string(),
                    client_port: port,
                    server: &server.to_string(),
                    id,
                    qname: &name_text(lower),
                    qtype: kind::describe(question.kind).0,
                    transport: if tcp { "tcp" } else { "udp" },
                    question: if header_only { "restored" } else { "echoed" },
                }
                .digest(),
            );
            truth.refused += 1;
            truth.refused_tcp += u64::from(tcp);
            truth.refused_ipv6 += u64::from(server.is_ipv6());
            truth.refused_restored += u64::from(header_only);
            match client.expected {
                Expected::Allow => truth.refused_listed_allow += 1,
                Expected::Refuse => truth.refused_listed_refuse += 1,
                Expected::Unlisted => truth.refused_unlisted += 1,
            }
        } else if answered {
            truth.answered += 1;
        } else {
            truth.unanswered += 1;
        }
        let client = &mut self.world.clients[parties.client];
        client.queries += 1;
        client.refused += u64::from(refused);
        if answered {
            self.count_response(code);
        }
        refused
    }

    fn count_response(&mut self, code: u8) {
        self.truth.responses += 1;
        self.rcodes[usize::from(code)] += 1;
    }

    /// A time as the file can hold it, in nanoseconds.
    fn stamp(&self, time: u64) -> u64 {
        if self.plan.nanoseconds { time } else { time / 1000 * 1000 }
    }

    /// Puts a packet, made by `fill`, into the queue and counts it.
    fn schedule(&mut self, time: u64, path: &Path, fill: impl FnOnce(&mut Vec<u8>)) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Vec::new());
            self.frames.len() - 1
        });
        let frame = &mut self.frames[slot];
        frame.clear();
        fill(frame);
        self.truth.packet_bytes += frame.len() as u64;
        self.truth.packets_ipv6 += u64::from(path.from.address.is_ipv6());
        self.truth.packets_vlan += u64::from(path.vlan.is_some());
        self.truth.packets += 1;
        self.queue.push(Reverse((self.stamp(time), self.truth.packets, slot)));
    }

    /// Writes the packets that come before `now`.
    fn write_until(&mut self, now: u64, file: &mut CaptureFile<impl Write>) -> io::Result<()> {
        while let Some(&Reverse((time, _, slot))) = self.queue.peek() {
            if time >= now {
                break;
            }
            self.queue.pop();
            if self.truth.first_us == 0 {
                self.truth.first_us = time / 1000;
            }
            self.truth.last_us = time / 1000;
            file.packet(time, &self.frames[slot])?;
            self.free.push(slot);
        }
        Ok(())
    }

    /// Completes the truth.
    fn finish(mut self) -> Generated {
        let truth = &mut self.truth;
        truth.refused_rows = truth::hexadecimal(self.refused_rows);
        truth.clients = self.world.clients.iter().filter(|client| client.queries > 0).count() as u64;
        let refused = self.world.clients.iter().filter(|client| client.refused > 0);
        truth.refused_clients = refused.clone().count() as u64;
        truth.refused_per_client =
            truth::clients_digest(refused.map(|client| (client.address.to_string(), client.refused)));
        for (code, name) in [
            (rcode::NOERROR, "NOERROR"),
            (rcode::SERVFAIL, "SERVFAIL"),
            (rcode::NXDOMAIN, "NXDOMAIN"),
            (rcode::REFUSED, "REFUSED"),
        ] {
            truth.rcodes.insert(name.to_string(), self.rcodes[usize::from(code)]);
        }
        Generated { truth: self.truth, inventory: self.world.inventory().to_string() }
    }
}

/// Gives the letters of a name random case, as resolvers do against spoofing.
fn mix_case(name: &mut [u8], random: &mut Random) {
    let (mut at, mut bits) = (0, random.bits());
    while name[at] != 0 {
        let end = at + 1 + usize::from(name[at]);
        for byte in &mut name[at + 1..end] {
            if bits & 1 == 1 {
                byte.make_ascii_uppercase();
            }
            bits = bits.rotate_right(1);
        }
        at = end;
    }
}
