//! The population of a generated capture: clients and their networks, servers, names, and the other hosts of the mixed
//! capture.

use super::Plan;
use super::random::{Popularity, Random, mix};
use super::wire::{Endpoint, kind};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Clients in one network (a /24 or /64) of the inventory.
const CLIENTS_PER_NETWORK: usize = 64;
/// Share of the transactions that come from clients which every server refuses; the other refusals are scattered.
const ALWAYS_REFUSED: f64 = 0.04;
/// Of the networks that are always refused, every third one is in no inventory; the others are listed as `refuse`.
const UNLISTED_EVERY: usize = 3;

/// What the inventory says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Listed, to be answered.
    Allow,
    /// Listed, to be refused.
    Refuse,
    /// Not listed.
    Unlisted,
}

/// One client, and what the generator remembers of it.
pub struct Client {
    /// Its source address.
    pub address: IpAddr,
    /// What the inventory says of it.
    pub expected: Expected,
    /// Every server refuses it.
    pub always_refused: bool,
    /// Time to live of its packets at the point of capture.
    hops: u8,
    /// Makes its ports and ids differ from those of others.
    salt: u32,
    datagrams: u32,
    connections: u32,
    /// Queries it sent in total.
    pub queries: u64,
    /// Transactions of it that were refused.
    pub refused: u64,
}

/// Client ports start here.
const FIRST_PORT: u32 = 1024;
/// Number of client ports.
const PORTS: u32 = 65_536 - FIRST_PORT;

impl Client {
    /// A port and id that this client has not used before (they repeat only after 4.2 thousand million queries), so
    /// that the truth never depends on how a tool tells two equal queries apart.
    pub fn next_port_and_id(&mut self) -> (u16, u16) {
        const PAIRS: u64 = PORTS as u64 * 65_536;
        // An odd step that shares no factor with 64,512 * 65,536 = 2^26 * 3^2 * 7 visits every pair once.
        let at = (u64::from(self.datagrams) * 2_654_435_761 + u64::from(self.salt)) % PAIRS;
        self.datagrams = self.datagrams.wrapping_add(1);
        ((FIRST_PORT + (at / 65_536) as u32) as u16, at as u16)
    }

    /// A port for a new connection (it repeats after 64,512 connections).
    pub fn next_connection_port(&mut self) -> u16 {
        let at = (u64::from(self.connections) * 10_007 + u64::from(self.salt)) % u64::from(PORTS);
        self.connections = self.connections.wrapping_add(1);
        (FIRST_PORT + at as u32) as u16
    }

    /// Its end of a packet.
    pub fn endpoint(&self, port: u16) -> Endpoint {
        Endpoint { address: self.address, port, mac: ROUTER_MAC, hops: self.hops }
    }
}

/// The router beside the servers: every client is seen behind it.
const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// A DNS server: one host with an address of each family.
pub struct Server {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    mac: [u8; 6],
}

impl Server {
    /// Its end of a packet to or from an address of the same family as `peer`.
    pub fn endpoint(&self, peer: IpAddr) -> Endpoint {
        let address = if peer.is_ipv4() { IpAddr::V4(self.v4) } else { IpAddr::V6(self.v6) };
        Endpoint { address, port: 53, mac: self.mac, hops: 64 }
    }
}

/// A long conversation that is not DNS.
pub struct Flow {
    /// The client side.
    pub client: Endpoint,
    /// The server side.
    pub server: Endpoint,
    /// TCP, or UDP (QUIC).
    pub tcp: bool,
    /// Next sequence number of the client and of the server.
    pub next: [u32; 2],
}

/// Everything the generator draws from.
pub struct World {
    /// The clients by popularity.
    pub clients: Vec<Client>,
    /// How often each client is drawn.
    pub client_popularity: Popularity,
    /// The DNS servers.
    pub servers: Vec<Server>,
    /// How often each name is drawn.
    pub name_popularity: Popularity,
    names: Vec<u8>,
    name_starts: Vec<u32>,
    /// The conversations that are not DNS.
    pub flows: Vec<Flow>,
    /// How often each conversation is drawn.
    pub flow_popularity: Popularity,
    inventory: String,
}

impl World {
    /// Makes the world of a plan; the same plan makes the same world.
    pub fn new(plan: &Plan) -> Self {
        let client_popularity = Popularity::new(plan.clients, plan.client_skew);
        let (clients, inventory) = clients(plan, client_popularity.weights());
        let servers = (0..plan.servers)
            .map(|number| Server {
                v4: Ipv4Addr::new(198, 51, 100, 53 + number as u8),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, number as u16 + 1),
                mac: [0x02, 0, 0, 0, 1, number as u8],
            })
            .collect();
        let mut names = Vec::new();
        let mut name_starts = vec![0];
        for number in 0..plan.names {
            append_name(&mut names, number as u64, plan.seed);
            name_starts.push(names.len() as u32);
        }
        let mut random = Random::new(plan.seed ^ 0x666c_6f77);
        let flows = (0..plan.flows).map(|_| flow(&mut random, plan.ipv6, &clients)).collect();
        Self {
            clients,
            client_popularity,
            servers,
            name_popularity: Popularity::new(plan.names, 0.9),
            names,
            name_starts,
            flows,
            flow_popularity: Popularity::new(plan.flows, 0.8),
            inventory,
        }
    }

    /// A name in wire format.
    pub fn name(&self, number: usize) -> &[u8] {
        &self.names[self.name_starts[number] as usize..self.name_starts[number + 1] as usize]
    }

    /// What the operators of these servers believe, as CSV with a header.
    pub fn inventory(&self) -> &str {
        &self.inventory
    }
}

/// Places the clients in networks so that IPv6 and always-refused clients send their share of the transactions, and
/// writes the inventory of those networks.
fn clients(plan: &Plan, weights: &[f64]) -> (Vec<Client>, String) {
    let mut inventory = String::from("prefix,name,kind,expect\n");
    let mut clients = Vec::with_capacity(plan.clients);
    let (mut seen, mut seen_v6, mut seen_refused) = (0.0, 0.0, 0.0);
    // Members so far of each (family, always refused) class.
    let mut members = [[0_usize; 2]; 2];
    for (rank, weight) in weights.iter().enumerate() {
        seen += weight;
        let ipv6 = seen_v6 + weight <= plan.ipv6 * seen;
        let always_refused = rank >= 10 && seen_refused + weight <= ALWAYS_REFUSED.min(plan.refused) * seen;
        if ipv6 {
            seen_v6 += weight;
        }
        if always_refused {
            seen_refused += weight;
        }
        let member = &mut members[usize::from(ipv6)][usize::from(always_refused)];
        let (network, host) = (*member / CLIENTS_PER_NETWORK, *member % CLIENTS_PER_NETWORK);
        *member += 1;
        let expected = match (always_refused, network % UNLISTED_EVERY) {
            (false, _) => Expected::Allow,
            (true, 1) => Expected::Unlisted,
            (true, _) => Expected::Refuse,
        };
        let host = 1 + host as u16 * 3;
        let address = if ipv6 {
            let site = if always_refused { 0xe000 } else { 0x1000 };
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, site, network as u16, 0, 0, mix(rank as u64) as u16, host))
        } else {
            let site = if always_refused { 172 } else { 10 };
            let block = network + if always_refused { 16 << 8 } else { 0 };
            IpAddr::V4(Ipv4Addr::new(site, (block >> 8) as u8, block as u8, host as u8))
        };
        if host == 1 && expected != Expected::Unlisted {
            let prefix = match address {
                IpAddr::V4(v4) => format!("{}/24", Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
                IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            };
            let expect = if always_refused { "refuse" } else { "allow" };
            let _ = writeln!(inventory, "{prefix},site-{expect}-{network},client,{expect}");
        }
        let spread = mix(plan.seed ^ (rank as u64) << 20);
        clients.push(Client {
            address,
            expected,
            always_refused,
            hops: 48 + (spread % 15) as u8,
            salt: (spread >> 32) as u32,
            datagrams: 0,
            connections: 0,
            queries: 0,
            refused: 0,
        });
    }
    (clients, inventory)
}

/// Appends the name with a number, in wire format and lower case; about 3 % are reverse names.
fn append_name(out: &mut Vec<u8>, number: u64, seed: u64) {
    const HOSTS: [&str; 12] =
        ["www", "api", "cdn", "mail", "img", "login", "static", "time", "update", "ns1", "a-0001", "_dns.resolver"];
    const ZONES: [&str; 6] = ["com.example", "net.example", "org.example", "example", "test", "cloud.example"];
    let mut bits = mix(number.wrapping_mul(0x9e37_79b9) ^ seed);
    let mut take = |bound: u64| {
        let value = bits % bound;
        bits = mix(bits);
        value
    };
    let mut text = String::new();
    if take(100) < 3 {
        let (low, high) = (number % 251, number / 251 % 256);
        let _ = write!(text, "{low}.{high}.{}.10.in-addr.arpa", take(256));
    } else {
        if take(10) < 7 {
            text.push_str(HOSTS[take(12) as usize]);
            text.push('.');
        }
        for _ in 0..2 + take(3) {
            text.push(char::from(b"bcdfghklmnprstvz"[take(16) as usize]));
            text.push(char::from(b"aeiou"[take(5) as usize]));
        }
        let _ = write!(text, "{number}.{}", ZONES[take(6) as usize]);
    }
    for label in text.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
}

/// The name as reports print it; the names made here hold only letters, digits, `-` and `_`.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while name[at] != 0 {
        if at > 0 {
            text.push('.');
        }
        let end = at + 1 + usize::from(name[at]);
        text.extend(name[at + 1..end].iter().map(|&byte| char::from(byte.to_ascii_lowercase())));
        at = end;
    }
    text
}

/// Draws the type asked for a name: PTR for a reverse name.
pub fn question_kind(name: &[u8], random: &mut Random) -> u16 {
    if name.ends_with(b"\x07in-addr\x04arpa\0") {
        return kind::PTR;
    }
    match random.below(100) {
        0..62 => kind::A,
        62..85 => kind::AAAA,
        85..94 => kind::HTTPS,
        94..96 => kind::TXT,
        96..98 => kind::MX,
        98 => kind::SRV,
        _ => kind::NS,
    }
}

/// Draws a conversation between one of the clients and a host elsewhere.
fn flow(random: &mut Random, ipv6: f64, clients: &[Client]) -> Flow {
    let ipv6 = random.chance(ipv6);
    let start = random.below(clients.len() as u64) as usize;
    let found = clients.iter().cycle().skip(start).take(clients.len()).find(|one| one.address.is_ipv6() == ipv6);
    let client = found.unwrap_or(&clients[start]);
    let port = (32_768 + random.below(28_000)) as u16;
    let address = if client.address.is_ipv6() {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xcd, 0, 0, 0, 0, random.bits() as u16))
    } else {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, random.bits() as u8))
    };
    let server = Endpoint { address, port: 443, mac: [0x02, 0, 0, 0, 0, 0x02], hops: 56 };
    Flow {
        client: client.endpoint(port),
        server,
        tcp: random.chance(0.8),
        next: [random.bits() as u32, random.bits() as u32],
    }
}

/// Share of the transactions that come from clients which are always refused.
pub fn always_refused_share(plan: &Plan) -> f64 {
    ALWAYS_REFUSED.min(plan.refused)
}
