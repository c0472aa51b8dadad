//! Random configurations and questions.
//!
//! BIND: three `acl`s, `options` and up to three views. Every list is made of prefixes, `any`, `none`, `localhost`,
//! `localnets`, keys, earlier `acl`s and lists inside it, each negated now and then. Options and views carry
//! `recursion`, `allow-query`, `allow-query-cache`, `allow-recursion` (each also `-on`), `allow-transfer`,
//! `allow-update`, `allow-update-forwarding`, `allow-notify`; options `blackhole`; views `match-clients`,
//! `match-destinations`, `match-recursive-only`. Zones: a primary, one below it, a secondary, a stub (not queried: it
//! never loads), a static stub, each with lists of its own, `update-policy`; the primary and the secondary also from an
//! earlier view (`in-view`); the empty zones of the server itself. Questions: opcodes QUERY, NOTIFY, UPDATE
//! and some that are not implemented; types A, TXT, DS, ANY, SOA, AXFR; with and without RD; unsigned, signed, signed
//! with an unknown key.
//!
//! Unbound: `access-control` with every action of the release, identical and nested prefixes, `interface-action`,
//! `access-control-view`, tags with actions, views with and without `view-first`, local zones of every type, overrides,
//! local data with aliases, built-in zones. Questions: opcodes QUERY, NOTIFY, STATUS.

mod bind;
mod unbound;

pub use bind::SECRET;
use dnsrefused::expect::acl::{Word, name};
use std::fmt;
use std::net::IpAddr;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Bind,
    Unbound,
}

impl Dialect {
    pub const ALL: [Dialect; 2] = [Dialect::Bind, Dialect::Unbound];

    pub fn name(self) -> &'static str {
        match self {
            Dialect::Bind => "bind",
            Dialect::Unbound => "unbound",
        }
    }

    /// How the configuration is named to the evaluator.
    pub fn argument(self) -> &'static str {
        match self {
            Dialect::Bind => "bind-9.18:named.conf",
            Dialect::Unbound => "unbound-1.17:unbound.conf",
        }
    }
}

/// A small generator of random numbers; the same seed gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// True in this many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// One question to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub tcp: bool,
    pub opcode: u8,
    pub qname: String,
    pub qtype: u16,
    pub rd: bool,
    pub key: Option<String>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.tcp { "tcp" } else { "udp" };
        let rd = if self.rd { "rd" } else { "no-rd" };
        let key = self.key.as_deref().unwrap_or("-");
        write!(
            f,
            "{} {} {transport} {} {} {} {rd} {key}",
            self.source, self.destination, self.opcode, self.qname, self.qtype
        )
    }
}

/// Reads a recorded line.
pub fn read_line(line: &str) -> Option<(Question, Word)> {
    let (question, word) = line.split_once(" -> ")?;
    let words: Vec<&str> = question.split(' ').collect();
    let [source, destination, transport, opcode, qname, qtype, rd, key] = words.as_slice() else { return None };
    let question = Question {
        source: source.parse().ok()?,
        destination: destination.parse().ok()?,
        tcp: *transport == "tcp",
        opcode: opcode.parse().ok()?,
        qname: (*qname).to_owned(),
        qtype: qtype.parse().ok()?,
        rd: *rd == "rd",
        key: Some((*key).to_owned()).filter(|key| key != "-"),
    };
    let (_, word) = Word::ALL.iter().find(|(name, _)| *name == word)?;
    Some((question, *word))
}

/// Prefixes that lists are made of: nested, identical, apart, and of both families.
const PREFIXES: [&str; 14] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/29",
    "10.1.2.5",
    "10.2.0.0/16",
    "10.2.0.0/15",
    "10.53.0.0/24",
    "10.1.2.5/32",
    "0.0.0.0/0",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::5",
    "2001:db8::/32",
];

/// Sources in and around them.
const SOURCES: [&str; 16] = [
    "10.1.2.1",
    "10.1.2.5",
    "10.1.2.6",
    "10.1.2.9",
    "10.1.3.1",
    "10.2.1.1",
    "10.3.1.1",
    "10.9.9.9",
    "10.53.0.1",
    "10.53.0.77",
    "127.0.0.1",
    "127.0.0.9",
    "2001:db8:1::9",
    "2001:db8:1:2::5",
    "2001:db8:1:2::6",
    "2001:db8:9::1",
];

/// A question from a random source; the destination has the source's family.
fn from_somewhere(random: &mut Random) -> Question {
    let source: IpAddr = random.one(&SOURCES).parse().expect("an address");
    let destination =
        if source.is_ipv6() { "2001:db8:53::1" } else { random.one(&["10.53.0.1", "10.53.0.1", "10.53.0.2"]) };
    Question {
        source,
        destination: destination.parse().expect("an address"),
        tcp: random.chance(10),
        opcode: 0,
        qname: String::new(),
        qtype: 1,
        rd: random.chance(75),
        key: None,
    }
}

/// A configuration.
pub fn configuration(dialect: Dialect, random: &mut Random) -> String {
    match dialect {
        Dialect::Bind => bind::configuration(random),
        Dialect::Unbound => unbound::configuration(random),
    }
}

/// Questions to it.
pub fn questions(dialect: Dialect, random: &mut Random) -> Vec<Question> {
    (0..80)
        .map(|_| match dialect {
            Dialect::Bind => bind::question(random),
            Dialect::Unbound => unbound::question(random),
        })
        .collect()
}

/// A name in wire form, as the lab sends it.
pub fn wire(qname: &str) -> Vec<u8> {
    name::parse_name(qname).expect("a name")
}
