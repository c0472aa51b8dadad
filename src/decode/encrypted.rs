//! Notes connections to ports of encrypted DNS ([`Encrypted`]): they cannot be read, but a report must say that
//! somebody asks there.
//!
//! Only the start of a connection is noted (a SYN, or a QUIC packet that opens one), so that other traffic costs
//! nothing.

use super::{Ends, TCP, UDP};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// DNS over TLS (RFC 7858) and over QUIC (RFC 9250).
pub const DNS_OVER_TLS: u16 = 853;
/// HTTPS; perhaps DNS over HTTPS (RFC 8484).
pub const HTTPS: u16 = 443;
/// Most servers and ports noted, lowest addresses first: only those of our servers are ever shown.
const MOST: usize = 4096;
/// Bytes of a segment that are looked at: a TCP header without options.
const HEADER: usize = 20;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Least bytes of a datagram that opens a QUIC connection (RFC 9000 section 14.1).
const QUIC_INITIAL: usize = 1200;

/// Connections that were opened, by server and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encrypted(BTreeMap<(IpAddr, u16), u64>);

impl Encrypted {
    /// Notes a UDP datagram or TCP segment on a port other than those of DNS when it opens such a connection. `payload`
    /// is its transport header and what follows.
    pub(super) fn note(&mut self, ends: Ends, protocol: u8, payload: &[u8]) {
        // Bytes missing from a truncated packet are read as zeros, which open nothing.
        let (mut header, captured) = ([0; HEADER], payload.len().min(HEADER));
        header[..captured].copy_from_slice(&payload[..captured]);
        if begins(protocol, &header, payload.len()) {
            self.add_one((ends.destination(), destination_port(&header)), 1);
        }
    }

    fn add_one(&mut self, key: (IpAddr, u16), count: u64) {
        *self.0.entry(key).or_default() += count;
        // Which ones are kept does not depend on the order: one that was left out never comes back.
        if self.0.len() > MOST {
            self.0.pop_last();
        }
    }

    /// Adds what was noted elsewhere.
    pub(super) fn add(&mut self, other: &Encrypted) {
        other.0.iter().for_each(|(key, count)| self.add_one(*key, *count));
    }

    /// What was noted since this was `before`.
    pub(super) fn since(&self, before: &Encrypted) -> Encrypted {
        let rest = |(key, count): (&(IpAddr, u16), &u64)| (*key, count - before.0.get(key).copied().unwrap_or(0));
        Encrypted(self.0.iter().map(rest).filter(|(_, count)| *count > 0).collect())
    }

    /// Server, port and number of connections opened, in that order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, u16, u64)> + '_ {
        self.0.iter().map(|((server, port), count)| (*server, *port, *count))
    }
}

/// True when this datagram or segment opens such a connection, by its first bytes and its full length. Web traffic is
/// unpredictable, so there is a single branch: a product is zero when a factor is.
#[allow(clippy::inline_always)] // once for every packet that is not of DNS
#[inline(always)]
pub(super) fn begins(protocol: u8, header: &[u8; HEADER], len: usize) -> bool {
    let port = destination_port(header);
    let elsewhere = u32::from(port ^ DNS_OVER_TLS) * u32::from(port ^ HTTPS);
    // SYN without ACK.
    let no_syn = u32::from(protocol ^ TCP) | u32::from((header[13] & 0x12) ^ 0x02);
    // A long header (RFC 9000 section 17.2) in a datagram of the size that opens a connection.
    let is_short = u32::from(len < UDP_HEADER + QUIC_INITIAL);
    let no_initial = u32::from(protocol ^ UDP) | u32::from((header[UDP_HEADER] & 0xc0) ^ 0xc0) | is_short;
    elsewhere | (no_syn * no_initial) == 0
}

/// The destination port of a datagram or segment.
#[inline]
fn destination_port(header: &[u8; HEADER]) -> u16 {
    u16::from_be_bytes([header[2], header[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beginnings_to_those_ports_are_noted_and_within_bounds() {
        let ends = |last| Ends::v4([10, 1, 1, 1], [10, 0, 0, last]);
        let mut noted = Encrypted::default();
        let tcp = |port: u16, flags: u8| {
            let mut segment = [0; 20];
            segment[2..4].copy_from_slice(&port.to_be_bytes());
            segment[13] = flags;
            segment
        };
        for (port, flags) in [(853, 0x02), (853, 0x12), (853, 0x10), (443, 0x02), (80, 0x02)] {
            noted.note(ends(53), TCP, &tcp(port, flags));
        }
        let mut datagram = [0; 1208];
        datagram[2..4].copy_from_slice(&DNS_OVER_TLS.to_be_bytes());
        noted.note(ends(54), UDP, &datagram);
        datagram[8] = 0xc3;
        noted.note(ends(54), UDP, &datagram);
        noted.note(ends(54), UDP, &datagram[..1207]);
        // A capture of 68 bytes of each packet ends here, after Ethernet and IPv6.
        noted.note(ends(55), TCP, &tcp(853, 0x02)[..14]);
        noted.note(ends(55), TCP, &tcp(853, 0x02)[..13]);
        let before = noted.clone();
        noted.add(&before);
        let server = |last| IpAddr::from([10, 0, 0, last]);
        let expected = [(server(53), 443, 1), (server(53), 853, 1), (server(54), 853, 1), (server(55), 853, 1)];
        assert_eq!(noted.since(&before).iter().collect::<Vec<_>>(), expected);
        for host in 0..5000u32 {
            let [_, _, high, low] = host.to_be_bytes();
            noted.note(Ends::v4([10, 1, 1, 1], [11, 0, high, low]), TCP, &tcp(443, 0x02));
        }
        assert_eq!(noted.iter().count(), MOST);
        // Blocks come in order, but what one holds depends on where the input was cut.
        let mut others = Encrypted::default();
        for host in (0..5000u32).rev() {
            let [_, _, high, low] = host.to_be_bytes();
            others.note(Ends::v4([10, 1, 1, 1], [11, 0, high, low]), TCP, &tcp(443, 0x02));
        }
        assert_eq!(others.iter().last().unwrap().0, IpAddr::from([11, 0, 15, 255]));
        let highest = |noted: &Encrypted| noted.iter().last().map(|(server, ..)| server);
        assert_eq!(highest(&noted), Some(IpAddr::from([11, 0, 15, 255 - expected.len() as u8])));
    }
}
