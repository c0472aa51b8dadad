//! What a configuration is asked for every source: a [`Question`] makes the [`Request`] of each; also all questions
//! worth asking of two versions.

use crate::decode::detail::{write_class, write_opcode, write_type};
use crate::decode::name::MAX_NAME;
use crate::expect::acl::{Acl, Cookie, Request, code, name};
use crate::transact::in_flight::Transport;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A question that is asked for every source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its text for people.
    pub label: String,
    /// The name in wire form.
    pub qname: Vec<u8>,
    /// Its type.
    pub qtype: u16,
    /// Its class.
    pub qclass: u16,
    /// The opcode.
    pub opcode: u8,
    /// Recursion is desired.
    pub rd: bool,
    /// UDP or TCP.
    pub transport: Transport,
    /// The key that signs it.
    pub key: Option<Vec<u8>>,
    /// Its COOKIE option.
    pub cookie: Cookie,
    /// Numbers of records in its answer, authority and additional sections.
    pub sections: [u16; 3],
}

/// A name that no server is likely to hold.
pub const UNHOSTED: &str = "name-that-no-zone-holds.example";

impl Default for Question {
    fn default() -> Self {
        Self {
            label: "a name in no zone".to_owned(),
            qname: name::parse_name(UNHOSTED).unwrap_or_default(),
            qtype: code::A,
            qclass: code::IN,
            opcode: code::QUERY,
            rd: true,
            transport: Transport::Udp,
            key: None,
            cookie: Cookie::NotKnown,
            sections: [0; 3],
        }
    }
}

/// AXFR and IXFR.
const TRANSFERS: [u16; 2] = [code::AXFR, code::IXFR];

impl Question {
    /// True when it asks for a name as clients do: not a transfer, update or notification, which have lists of their
    /// own, and nothing about the server itself.
    pub fn is_usual(&self) -> bool {
        self.is_query() && self.qclass == code::IN
    }

    /// True for a query: not a transfer, update or notification.
    pub fn is_query(&self) -> bool {
        self.opcode == code::QUERY && !TRANSFERS.contains(&self.qtype)
    }

    /// Kinds of lists that it may meet, whatever name it asks for.
    pub fn kind(&self) -> (u8, u16, bool, bool, bool) {
        (self.opcode, self.qclass, self.rd, TRANSFERS.contains(&self.qtype), self.key.is_some())
    }

    /// Name and type for people, and whatever else decides.
    pub fn show(&self) -> String {
        let mut text = if self.qname == Self::default().qname {
            "a name in no zone".to_owned()
        } else {
            let mut text = Vec::new();
            if self.opcode != code::QUERY {
                write_opcode(self.opcode, &mut text);
                text.push(b' ');
            }
            text.extend(name::show_name(&self.qname).into_bytes());
            text.push(b' ');
            write_type(self.qtype, &mut text);
            if self.qclass != code::IN {
                text.push(b' ');
                write_class(self.qclass, &mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        if !self.rd && self.is_query() {
            text.push_str(" without recursion (RD 0)");
        }
        if let Some(key) = &self.key {
            text.push_str(" signed with ");
            text.push_str(&name::show_name(key));
        }
        text
    }

    /// The request of a source.
    pub fn ask(&self, source: IpAddr, destination: IpAddr) -> Request<'_> {
        Request {
            source,
            destination,
            transport: self.transport,
            opcode: self.opcode,
            qname: &self.qname,
            qtype: self.qtype,
            qclass: self.qclass,
            rd: self.rd,
            key: self.key.as_deref(),
            cookie: self.cookie,
            sections: self.sections,
        }
    }

    /// All questions worth asking of two configurations: a name in no zone, with and without recursion, and each name
    /// that they treat specially as query, transfer, update and notification; all of it also signed with each of their
    /// keys. About `most` are returned, with the number of the others.
    pub fn all(
        names: &BTreeSet<Vec<u8>>,
        zones: bool,
        keys: &BTreeSet<Vec<u8>>,
        most: usize,
    ) -> (Vec<Question>, usize) {
        let signings = || std::iter::once(None).chain(keys.iter().map(Some));
        let mut all = Vec::new();
        for key in signings() {
            let base = Question::default();
            all.push(
                Question { label: "a name in no zone, without RD".to_owned(), rd: false, ..base.clone() }.signed(key),
            );
            // Names that servers serve themselves: their own, and those of private addresses.
            for (name, qtype, qclass) in [("version.bind", 16, 3), ("1.1.1.10.in-addr.arpa", 12, 1)] {
                let built_in =
                    Question { qname: name::parse_name(name).unwrap_or_default(), qtype, qclass, ..base.clone() };
                all.push(Question { label: built_in.show(), ..built_in }.signed(key));
            }
            all.push(base.signed(key));
        }
        let mut left = 0;
        for (key, qname) in signings().flat_map(|key| names.iter().map(move |qname| (key, qname))) {
            if all.len() >= most {
                left += if zones { 5 } else { 4 };
                continue;
            }
            let shown = name::show_name(qname);
            let base = Question { label: shown.clone(), qname: qname.clone(), ..Question::default() };
            if zones {
                let tcp = Transport::Tcp;
                let transfer =
                    Question { label: format!("{shown} AXFR"), qtype: code::AXFR, transport: tcp, ..base.clone() };
                all.push(transfer.signed(key));
                let update = Question {
                    label: format!("{shown} UPDATE"),
                    qtype: code::SOA,
                    opcode: code::UPDATE,
                    ..base.clone()
                };
                all.push(update.signed(key));
                let notification = Question {
                    label: format!("{shown} NOTIFY"),
                    qtype: code::SOA,
                    opcode: code::NOTIFY,
                    ..base.clone()
                };
                all.push(notification.signed(key));
            } else {
                let below = [&b"\x05below"[..], qname].concat();
                if below.len() <= MAX_NAME {
                    all.push(
                        Question { label: format!("a name below {shown}"), qname: below, ..base.clone() }.signed(key),
                    );
                }
                all.push(Question { label: format!("{shown} AAAA"), qtype: code::AAAA, ..base.clone() }.signed(key));
            }
            all.push(Question { label: format!("{shown} without RD"), rd: false, ..base.clone() }.signed(key));
            all.push(base.signed(key));
        }
        (all, left)
    }

    /// The same question signed with a key, if any.
    fn signed(self, key: Option<&Vec<u8>>) -> Self {
        match key {
            Some(key) => Self {
                label: format!("{} signed with {}", self.label, name::show_name(key)),
                key: Some(key.clone()),
                ..self
            },
            None => self,
        }
    }

    /// True when a list decides about it, judging by the list's name (`zone example.net: allow-transfer`).
    pub(super) fn is_about(&self, list: &str) -> bool {
        let clause = list.rsplit(": ").next().unwrap_or(list);
        let kind = match clause {
            "allow-transfer" => self.qtype == code::AXFR,
            "allow-notify" => self.opcode == code::NOTIFY,
            _ if clause.starts_with("allow-update") => self.opcode == code::UPDATE,
            _ => self.opcode == code::QUERY && self.qtype != code::AXFR,
        };
        let zone = list.split(": ").find_map(|part| part.strip_prefix("zone "));
        kind && zone.is_none_or(|zone| name::show_name(&self.qname) == zone)
    }

    /// Everything that questions with different keys have in common.
    pub(super) fn but_for_key(&self) -> (&[u8], u16, u8, bool) {
        (&self.qname, self.qtype, self.opcode, self.rd)
    }
}

/// The address at which a configuration is asked: one it speaks for, of the source's family if there is one.
pub fn destination(acl: &Acl, asked: Option<IpAddr>, source: IpAddr) -> IpAddr {
    let fallback = if source.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let bound = acl.bound();
    let same = bound.iter().find(|address| address.is_ipv6() == source.is_ipv6()).copied();
    asked.or(same).or(bound.first().copied()).unwrap_or(fallback)
}
