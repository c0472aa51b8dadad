//! Frames to what matters in them: [`Decoder::frame`] turns a [`Frame`] into an [`Entry`] of a [`Decoded`] block, or
//! counts it in the one [`Bucket`] it ends in.
//!
//! This half is stateless and runs in parallel. What needs the order of the packets is done by whoever consumes the
//! entries: [`fragment`] (datagrams) and [`stream`] (TCP). [`message`] reads every message's header and question,
//! [`detail`] everything else of the few that are reported.

pub mod detail;
pub mod fragment;
pub mod ip;
pub mod link;
pub mod message;
pub mod name;
mod other_links;
pub mod proxy;
pub mod quote;
pub mod stream;
mod wireless;
pub mod wrapping;

use crate::capture::{Direction, Frame, Timestamp};
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};
use ip::{FragmentHeader, Packet};
use link::Next;
use message::{Key, Message};
use quote::Quote;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of a packet. IPv4 and IPv6 never compare equal, also not as IPv4-mapped addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    // Halves rather than u128, whose alignment would cost 8 bytes in everything that holds one.
    source: [u64; 2],
    destination: [u64; 2],
    v6: bool,
}

/// An address as two halves, the low one holding an IPv4 address.
#[inline]
fn halves(octets: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_be_bytes(octets);
    [(bits >> 64) as u64, bits as u64]
}

impl Ends {
    /// Of an IPv4 packet.
    #[inline]
    pub fn v4(source: [u8; 4], destination: [u8; 4]) -> Self {
        let low = |octets| [0, u64::from(u32::from_be_bytes(octets))];
        Self { v6: false, source: low(source), destination: low(destination) }
    }

    /// Of an IPv6 packet.
    #[inline]
    pub fn v6(source: [u8; 16], destination: [u8; 16]) -> Self {
        Self { v6: true, source: halves(source), destination: halves(destination) }
    }

    /// The other direction.
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { v6: self.v6, source: self.destination, destination: self.source }
    }

    /// Of an IPv6 packet.
    pub fn is_v6(self) -> bool {
        self.v6
    }

    /// The sender.
    pub fn source(self) -> IpAddr {
        self.address(self.source)
    }

    /// The receiver.
    pub fn destination(self) -> IpAddr {
        self.address(self.destination)
    }

    fn address(self, [high, low]: [u64; 2]) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
        } else {
            IpAddr::V4(Ipv4Addr::from(low as u32))
        }
    }

    /// A keyed hash of both ends in this direction.
    #[inline]
    pub fn hash(self, key: &Key) -> u64 {
        if self.v6 {
            key.numbers(&[self.source[0], self.source[1], self.destination[0], self.destination[1]])
        } else {
            key.numbers(&[self.source[1] << 32 | self.destination[1]])
        }
    }
}

/// The interface a packet was captured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// Number of the interface in the file's section; always 0 in pcap files.
    Section(u32),
    /// Index on the capturing host, from a cooked v2 header.
    Host(u32),
}

impl Default for Interface {
    fn default() -> Self {
        Interface::Section(0)
    }
}

/// Where in a capture a packet was seen: the same packet may pass several points. Packed into 64 bits, because every
/// message carries one and they are compared far more often than read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Point(u64);

impl Point {
    /// Packs interface, VLAN identifiers (outermost first, 0 when absent) and direction.
    #[inline]
    pub fn new(interface: Interface, vlans: [u16; 2], direction: Direction) -> Self {
        let (host, number) = match interface {
            Interface::Section(number) => (0, number),
            Interface::Host(index) => (1, index),
        };
        let vlans = u64::from(vlans[0] & 0xfff) << 12 | u64::from(vlans[1] & 0xfff);
        Self(u64::from(number) << 32 | vlans << 4 | host << 2 | direction as u64)
    }

    /// Of a packet inside `depth` other IP packets: the same packet outside is at another point.
    #[inline]
    #[must_use]
    pub fn inside(self, depth: usize) -> Self {
        Self(self.0 | (depth as u64 & 15) << 28)
    }

    /// The point as 32 bits, for where little room is left; different points differ in it but for chance.
    #[inline]
    pub fn folded(self) -> u32 {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The interface.
    pub fn interface(self) -> Interface {
        let number = (self.0 >> 32) as u32;
        if self.0 >> 2 & 1 == 1 { Interface::Host(number) } else { Interface::Section(number) }
    }

    /// VLAN identifiers, outermost first; 0 when absent. Deeper tags are opened but not kept.
    pub fn vlans(self) -> [u16; 2] {
        [(self.0 >> 16 & 0xfff) as u16, (self.0 >> 4 & 0xfff) as u16]
    }

    /// Leaving or arriving.
    #[inline]
    pub fn direction(self) -> Direction {
        match self.0 & 3 {
            1 => Direction::In,
            2 => Direction::Out,
            _ => Direction::Unknown,
        }
    }
}

/// What the order-dependent half has to see, in the order of the frames.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// When it was captured.
    pub time: Timestamp,
    /// Index of the frame in its block, from 0.
    pub frame: u32,
    /// Where the payload begins in the block.
    pub offset: u32,
    /// Captured bytes of the payload.
    pub len: u32,
    /// Where it was seen.
    pub point: Point,
    /// Source and destination address.
    pub ends: Ends,
    /// What it is.
    pub body: Body,
}

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// A UDP datagram on a DNS port; the payload is the message.
    Datagram(Datagram),
    /// A TCP segment on a DNS port; the payload is the segment's data.
    Segment(Segment),
    /// A fragment of a datagram; the payload is the fragment's data.
    Fragment {
        /// Its place in the datagram.
        header: FragmentHeader,
        /// Protocol of the datagram.
        protocol: u8,
    },
    /// An ICMP error about a packet on a DNS port, whose ends these are (client to server); no payload.
    Quote(Quote),
}

/// A UDP datagram that carries a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// IPv4 identification, 0 otherwise.
    pub ip_id: u16,
    /// Bytes of the payload before the message: a proxy's header, 0 without one.
    pub proxy_len: u16,
    /// The message; `None` when it has no whole header.
    pub message: Option<Message>,
    /// Keyed hash of the payload, to recognise copies.
    pub payload_hash: u32,
    /// Keyed hash of client and server address.
    pub pair_hash: u64,
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// TCP source port.
    pub source_port: u16,
    /// TCP destination port.
    pub destination_port: u16,
    /// Sequence number of the first data byte (of the SYN when it is set).
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// FIN, SYN, RST and ACK as in the header's flag byte.
    pub flags: u8,
    /// Bytes of data according to the IP header; more than captured when the frame was cut.
    pub full_len: u32,
}

impl Segment {
    /// FIN is set.
    pub fn fin(&self) -> bool {
        self.flags & 0x01 != 0
    }
    /// SYN is set.
    pub fn syn(&self) -> bool {
        self.flags & 0x02 != 0
    }
    /// RST is set.
    pub fn rst(&self) -> bool {
        self.flags & 0x04 != 0
    }
    /// ACK is set.
    pub fn ack(&self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// Declares [`Bucket`] together with the names of its values.
macro_rules! buckets {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// Where a frame ends; every frame ends in exactly one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Bucket { $($(#[$doc])* $name,)* }

        impl Bucket {
            /// Every bucket with its name in reports, in print order.
            pub const ALL: &'static [(&'static str, Bucket)] = &[$(($text, Bucket::$name),)*];
        }
    };
}

buckets! {
    /// A UDP datagram on a DNS port.
    UdpDns "udp_dns",
    /// A TCP segment whose data was used.
    TcpUsed "tcp_used",
    /// A TCP segment without data.
    TcpControl "tcp_control",
    /// A TCP segment whose data had been seen.
    TcpDuplicate "tcp_duplicate",
    /// A TCP segment that repeats bytes with different values; the first copy stands.
    TcpConflict "tcp_conflict",
    /// A TCP segment too far from what is expected.
    TcpOutOfWindow "tcp_out_of_window",
    /// A TCP segment behind lost ones, where no message boundary could be found.
    TcpBehindHole "tcp_behind_hole",
    /// A TCP segment given up because a table or buffer was full.
    TcpEvicted "tcp_evicted",
    /// A TCP segment on a DNS port whose data is not DNS.
    TcpNonDns "tcp_non_dns",
    /// A fragment of a datagram that was put together.
    FragmentUsed "fragment_used",
    /// A fragment seen before.
    FragmentDuplicate "fragment_duplicate",
    /// A fragment of a datagram whose fragments contradict each other; dropped whole.
    FragmentConflict "fragment_conflict",
    /// A fragment of a datagram that was not completed in time.
    FragmentExpired "fragment_expired",
    /// A fragment given up because the table was full.
    FragmentEvicted "fragment_evicted",
    /// A fragment of a datagram still incomplete when the capture ended.
    FragmentIncomplete "fragment_incomplete",
    /// A fragment that cannot be part of any datagram.
    FragmentMalformed "fragment_malformed",
    /// An ICMP error that quotes a DNS message.
    IcmpQuotingDns "icmp_quoting_dns",
    /// Other ICMP.
    Icmp "icmp",
    /// UDP or TCP on other ports.
    OtherPort "other_port",
    /// Another protocol over IP.
    OtherProtocol "other_protocol",
    /// Not IP.
    NonIp "non_ip",
    /// Cut by the snapshot length before anything could be said about it.
    SnapCut "snap_cut",
    /// The link header makes no sense.
    LinkMalformed "link_malformed",
    /// The IP header makes no sense.
    IpMalformed "ip_malformed",
    /// The UDP or TCP header makes no sense.
    TransportMalformed "transport_malformed",
    /// More tags, extension headers or nested headers than are opened.
    NestLimit "nest_limit",
    /// In a wrapping that is not opened; `not_opened_kinds` names them.
    NotOpened "not_opened",
    /// Excluded by `--filter`, `--from` or `--to`.
    NotSelected "not_selected",
    /// Of an interface that the file does not declare.
    UndeclaredInterface "undeclared_interface",
    /// A packet block that contradicts itself.
    DamagedRecord "damaged_record",
}

/// Frames per bucket, and per wrapping that was not opened.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Indexed by `Bucket as usize`.
    pub buckets: [u64; Bucket::ALL.len()],
    /// Frames not opened, by the name of what they are wrapped in; few names, so a list.
    pub not_opened: Vec<(&'static str, u64)>,
    /// Frames of link types that are not opened, by LINKTYPE_ value.
    pub unknown_links: Vec<(u16, u64)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { buckets: [0; Bucket::ALL.len()], not_opened: Vec::new(), unknown_links: Vec::new() }
    }
}

impl Tally {
    /// Counts a frame.
    #[inline]
    pub fn count(&mut self, bucket: Bucket) {
        self.buckets[bucket as usize] = self.buckets[bucket as usize].wrapping_add(1);
    }

    /// Takes a frame back from one bucket and counts it in another. The frame at hand may be taken back just before it is
    /// counted, so the count may wrap below zero for a moment.
    pub fn recount(&mut self, from: Bucket, to: Bucket) {
        self.buckets[from as usize] = self.buckets[from as usize].wrapping_sub(1);
        self.count(to);
    }

    /// What was counted since this was `before`. A frame recounted meanwhile makes no bucket negative.
    #[must_use]
    pub fn since(&self, before: &Tally) -> Tally {
        fn rest<N: Copy + PartialEq>(now: &[(N, u64)], before: &[(N, u64)]) -> Vec<(N, u64)> {
            let then = |name: N| before.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
            now.iter().map(|(name, count)| (*name, count - then(*name))).filter(|(_, count)| *count > 0).collect()
        }
        let mut tally = self.clone();
        tally.buckets.iter_mut().zip(before.buckets).for_each(|(now, then)| *now = now.saturating_sub(then));
        tally.not_opened = rest(&self.not_opened, &before.not_opened);
        tally.unknown_links = rest(&self.unknown_links, &before.unknown_links);
        tally
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Tally) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        other.not_opened.iter().for_each(|(kind, count)| add_named(&mut self.not_opened, *kind, *count));
        other.unknown_links.iter().for_each(|(link, count)| add_named(&mut self.unknown_links, *link, *count));
    }
}

/// Adds to the count of a name in a short list.
fn add_named<N: PartialEq>(list: &mut Vec<(N, u64)>, name: N, count: u64) {
    match list.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => *sum += count,
        None => list.push((name, count)),
    }
}

/// What a block of frames decoded to.
#[derive(Debug, Default)]
pub struct Decoded {
    /// What the order-dependent half has to see.
    pub entries: Vec<Entry>,
    /// Frames that ended here. A frame with an entry is counted by whoever consumes it.
    pub tally: Tally,
    /// Frames in the block.
    pub frames: u32,
    /// Earliest and latest time of a frame.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Link types met.
    pub link_types: Vec<u16>,
    /// Datagrams on DNS ports that were cut by the snapshot length.
    pub cut_messages: u64,
}

impl Decoded {
    /// Makes it empty again, keeping the memory.
    pub fn clear(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = Self { entries, ..Self::default() };
    }
}

/// What goes on to the order-dependent half.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// Where the payload begins in the bytes given.
    pub at: usize,
    /// Captured bytes of it.
    pub len: usize,
    /// Source and destination of the innermost packet.
    pub ends: Ends,
    /// IP packets around that.
    pub depth: usize,
    /// What it is.
    pub body: Body,
}

/// What is behind an IP header.
enum Behind {
    /// What was looked for.
    Opened(Opened),
    /// A wrapping that leads on.
    Wrapped(Next, usize),
}

/// How far a frame may still be opened.
struct Left {
    tags: usize,
    layers: usize,
}

/// Layers without an IP header (beside VLAN tags) that are opened in one frame.
const MAX_LAYERS: usize = 24;

/// Decodes frames; shared by all workers.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Key of all hashes over wire data.
    pub key: Key,
    /// Ports that carry DNS.
    pub ports: Vec<u16>,
    /// VLAN tags opened.
    pub vlan_tags: usize,
    /// IPv6 extension headers opened.
    pub extension_headers: usize,
    /// IP headers inside IP headers opened.
    pub nested_headers: usize,
}

/// UDP.
const UDP: u8 = 17;
/// TCP.
const TCP: u8 = 6;
/// ICMP, and ICMP for IPv6.
const ICMP: [u8; 2] = [1, 58];

impl Decoder {
    /// Decodes one frame into `out`: an entry, or a count.
    #[inline]
    pub fn frame(&self, frame: &Frame<'_>, out: &mut Decoded) {
        let index = out.frames;
        out.frames += 1;
        if let Err(bucket) = self.open(frame, index, out) {
            let cut = frame.original_len as usize > frame.data.len();
            out.tally.count(if cut && bucket == Bucket::LinkMalformed { Bucket::SnapCut } else { bucket });
        }
    }

    #[inline]
    fn open(&self, frame: &Frame<'_>, index: u32, out: &mut Decoded) -> Result<(), Bucket> {
        let data = frame.data;
        let Some(row) = link::find(frame.link_type) else { return Err(unknown_link(frame.link_type, out)) };
        if out.link_types.last() != Some(&frame.link_type) && !out.link_types.contains(&frame.link_type) {
            out.link_types.push(frame.link_type);
        }
        let link = row.open(data)?;
        let mut vlans = [0; 2];
        let cut = frame.original_len as usize > data.len();
        let opened = self.walk(data, link.next, link.at, cut, &mut vlans, &mut out.tally)?;
        let interface = link.interface.map_or(Interface::Section(frame.interface), Interface::Host);
        let point = Point::new(interface, vlans, link.direction.unwrap_or(frame.direction)).inside(opened.depth);
        out.entries.push(Entry {
            time: frame.time,
            frame: index,
            offset: (frame.offset + opened.at) as u32,
            len: opened.len as u32,
            point,
            ends: opened.ends,
            body: opened.body,
        });
        Ok(())
    }

    /// Opens what a datagram put together from fragments holds.
    pub fn datagram_of_fragments(
        &self,
        data: &[u8],
        protocol: u8,
        ends: Ends,
        ip_id: u16,
        tally: &mut Tally,
    ) -> Result<Opened, Bucket> {
        let full = data.len();
        let packet = Packet { ends, protocol, at: 0, captured: full, full, id: ip_id, fragment: None };
        match self.behind_ip(&packet, data, 0, tally)? {
            Behind::Opened(opened) => Ok(opened),
            Behind::Wrapped(next, at) => self.walk(data, next, at, false, &mut [0; 2], tally).map(|opened| {
                // The datagram's own header is not in its bytes.
                Opened { depth: opened.depth + 1, ..opened }
            }),
        }
    }

    /// Follows headers from `next` at `at` to the innermost packet.
    #[inline]
    fn walk(
        &self,
        mut data: &[u8],
        mut next: Next,
        mut at: usize,
        mut cut: bool,
        vlans: &mut [u16; 2],
        tally: &mut Tally,
    ) -> Result<Opened, Bucket> {
        let mut left = Left { tags: self.vlan_tags, layers: MAX_LAYERS };
        for depth in 0..=self.nested_headers {
            while !matches!(next, Next::EtherType(0x0800 | 0x86dd) | Next::Ip) {
                (next, at) = self.layer(data, next, at, (depth == 0).then_some(&mut *vlans), &mut left, tally)?;
            }
            let packet = ip::open(data.get(at..).unwrap_or(&[]), cut, self.extension_headers)?;
            at += packet.at;
            data = &data[..at + packet.captured];
            cut |= packet.captured < packet.full;
            match self.behind_ip(&packet, data, at, tally)? {
                Behind::Opened(opened) => return Ok(Opened { depth, ..opened }),
                Behind::Wrapped(inner, inner_at) => (next, at) = (inner, inner_at),
            }
        }
        Err(Bucket::NestLimit)
    }

    /// Opens one header that is neither IP nor behind IP.
    fn layer(
        &self,
        data: &[u8],
        next: Next,
        at: usize,
        vlans: Option<&mut [u16; 2]>,
        left: &mut Left,
        tally: &mut Tally,
    ) -> Result<(Next, usize), Bucket> {
        let rest = data.get(at..).ok_or(Bucket::LinkMalformed)?;
        if let Next::EtherType(0x8100 | 0x88a8 | 0x9100 | 0x9200) = next {
            if left.tags == 0 {
                return Err(Bucket::NestLimit);
            }
            let tag = rest.get(..4).ok_or(Bucket::LinkMalformed)?;
            if let Some(vlan) = vlans.and_then(|vlans| vlans.get_mut(self.vlan_tags - left.tags)) {
                *vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
            }
            left.tags -= 1;
            return Ok((Next::EtherType(u16::from_be_bytes([tag[2], tag[3]])), at + 4));
        }
        if left.layers == 0 {
            return Err(Bucket::NestLimit);
        }
        left.layers -= 1;
        let (next, len) = match next {
            Next::Ethernet => (Next::EtherType(link::number(rest, 12)?), 14),
            Next::Ppp => wrapping::open_ppp(rest)?,
            Next::Llc | Next::EtherType(0..=0x05ff) => wrapping::open_llc(rest)?,
            Next::LinkType(number) => {
                let row = u16::try_from(number).ok().and_then(link::find).ok_or(Bucket::NonIp)?;
                let link = row.open(rest)?;
                (link.next, link.at)
            }
            Next::EtherType(number) => match wrapping::find(wrapping::ETHER_TYPES, number) {
                Some(row) => open_wrapping(row, rest, tally)?,
                None => return Err(Bucket::NonIp),
            },
            Next::Sealed(name) => return Err(sealed(name, tally)),
            Next::Ip => (Next::Ip, 0),
        };
        Ok((next, at + len))
    }

    /// Looks behind the IP header of `packet`, whose payload is what `data` holds from `at` on.
    #[inline]
    fn behind_ip(&self, packet: &Packet, data: &[u8], at: usize, tally: &mut Tally) -> Result<Behind, Bucket> {
        let ends = packet.ends;
        if let Some(header) = packet.fragment {
            if packet.captured < packet.full {
                return Err(Bucket::SnapCut);
            }
            let body = Body::Fragment { header, protocol: packet.protocol };
            return Ok(Behind::Opened(Opened { at, len: packet.captured, ends, depth: 0, body }));
        }
        let payload = &data[at..];
        match self.transport(packet.protocol, payload, packet.full, ends, packet.id) {
            Ok((inner, len, body)) => Ok(Behind::Opened(Opened { at: at + inner, len, ends, depth: 0, body })),
            Err(bucket @ (Bucket::OtherPort | Bucket::OtherProtocol | Bucket::Icmp)) => {
                self.wrapped(bucket, packet, payload, at, tally)
            }
            Err(bucket) => Err(bucket),
        }
    }

    /// What is neither UDP nor TCP on a DNS port may be a wrapping, or an ICMP error about such a packet. `bucket` is where
    /// it ends otherwise.
    fn wrapped(
        &self,
        bucket: Bucket,
        packet: &Packet,
        payload: &[u8],
        at: usize,
        tally: &mut Tally,
    ) -> Result<Behind, Bucket> {
        match packet.protocol {
            TCP => Err(bucket),
            UDP => {
                let ports = [link::number(payload, 2)?, link::number(payload, 0)?];
                let rows = ports.into_iter().filter_map(|port| wrapping::find(wrapping::PORTS, port));
                for row in rows {
                    match open_wrapping(row, payload.get(8..).unwrap_or(&[]), tally) {
                        Ok((next, len)) => return Ok(Behind::Wrapped(next, at + 8 + len)),
                        // The header is not that tunnel's.
                        Err(Bucket::OtherPort) => {}
                        Err(inner) => return Err(inner),
                    }
                }
                Err(bucket)
            }
            _ if ICMP.contains(&packet.protocol) => {
                let quoted = quote::read(packet.protocol, payload, self.extension_headers);
                let Some((reason, inner, ports)) =
                    quoted.filter(|(_, inner, ports)| matches!(inner.protocol, UDP | TCP) && ports.len() >= 4)
                else {
                    return Err(bucket);
                };
                let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
                let response = self.ports.contains(&port(0)) && !self.ports.contains(&port(2));
                if !response && !self.ports.contains(&port(2)) {
                    return Err(bucket);
                }
                let ends = if response { inner.ends.reversed() } else { inner.ends };
                let body = Body::Quote(Quote { reason, response });
                Ok(Behind::Opened(Opened { at, len: 0, ends, depth: 0, body }))
            }
            protocol => {
                if let Some(row) = wrapping::find(wrapping::PROTOCOLS, u16::from(protocol)) {
                    let (next, len) = open_wrapping(row, payload, tally)?;
                    return Ok(Behind::Wrapped(next, at + len));
                }
                // Authentication in IPv4, and extension headers in a datagram put together from fragments.
                if !packet.ends.is_v6() && protocol != ip::AUTHENTICATION {
                    return Err(bucket);
                }
                let short = if packet.captured < packet.full { Bucket::SnapCut } else { Bucket::IpMalformed };
                let (behind, len, fragment) = ip::extensions(payload, protocol, 0, short, self.extension_headers)?;
                if behind == protocol && len == 0 {
                    return Err(bucket);
                }
                if len > payload.len() {
                    return Err(short);
                }
                let (full, captured) = (packet.full.saturating_sub(len), payload.len() - len);
                let packet = Packet { protocol: behind, full, captured, fragment, ..*packet };
                self.behind_extensions(&packet, payload, at, len, tally)
            }
        }
    }

    /// Looks behind extension headers that began at `at` and take `len` bytes of `payload`.
    fn behind_extensions(
        &self,
        packet: &Packet,
        payload: &[u8],
        at: usize,
        len: usize,
        tally: &mut Tally,
    ) -> Result<Behind, Bucket> {
        // Extension headers never follow directly here, so this comes back at most once.
        Ok(match self.behind_ip(packet, payload, len, tally)? {
            Behind::Opened(opened) => Behind::Opened(Opened { at: at + opened.at, ..opened }),
            Behind::Wrapped(next, inner) => Behind::Wrapped(next, at + inner),
        })
    }

    /// Opens the transport header at the beginning of `payload`, of which the IP header promised `full` bytes: where the
    /// payload behind it begins, how much of it was captured, and what it is.
    #[inline]
    fn transport(
        &self,
        protocol: u8,
        payload: &[u8],
        full: usize,
        ends: Ends,
        ip_id: u16,
    ) -> Result<(usize, usize, Body), Bucket> {
        let short = if payload.len() < full { Bucket::SnapCut } else { Bucket::TransportMalformed };
        match protocol {
            UDP => {
                let header = UdpHeaderSlice::from_slice(payload).map_err(|_| short)?;
                let (source_port, destination_port) = (header.source_port(), header.destination_port());
                if !self.is_dns(source_port, destination_port) {
                    return Err(Bucket::OtherPort);
                }
                let claimed = usize::from(header.length());
                if claimed < 8 {
                    return Err(Bucket::TransportMalformed);
                }
                let data = &payload[8..claimed.min(payload.len())];
                let body = self.datagram(source_port, destination_port, data, claimed - 8 > data.len(), ends, ip_id);
                Ok((8, data.len(), Body::Datagram(body)))
            }
            TCP => {
                let header = TcpHeaderSlice::from_slice(payload).map_err(|_| short)?;
                let (source_port, destination_port) = (header.source_port(), header.destination_port());
                if !self.is_dns(source_port, destination_port) {
                    return Err(Bucket::OtherPort);
                }
                let at = header.slice().len();
                let body = Body::Segment(Segment {
                    source_port,
                    destination_port,
                    sequence: header.sequence_number(),
                    acknowledgment: header.acknowledgment_number(),
                    flags: header.slice()[13],
                    full_len: full.saturating_sub(at) as u32,
                });
                Ok((at, payload.len() - at, body))
            }
            _ if ICMP.contains(&protocol) => Err(Bucket::Icmp),
            _ => Err(Bucket::OtherProtocol),
        }
    }

    /// Reads the message in a datagram.
    #[inline]
    pub fn datagram(
        &self,
        source_port: u16,
        destination_port: u16,
        data: &[u8],
        cut: bool,
        ends: Ends,
        ip_id: u16,
    ) -> Datagram {
        let proxy_len = proxy::len(data);
        let message = message::read(&data[proxy_len..], cut, &self.key);
        let response = message.is_some_and(Message::is_response);
        Datagram {
            source_port,
            destination_port,
            ip_id,
            proxy_len: proxy_len as u16,
            message,
            payload_hash: self.key.bytes(data) as u32,
            pair_hash: if response { ends.reversed().hash(&self.key) } else { ends.hash(&self.key) },
        }
    }

    /// True when one of the ports carries DNS.
    #[inline]
    fn is_dns(&self, source: u16, destination: u16) -> bool {
        self.ports.iter().any(|port| *port == source || *port == destination)
    }
}

/// Opens a wrapping, or counts by name that it is not opened.
fn open_wrapping(row: &wrapping::Wrapping, data: &[u8], tally: &mut Tally) -> Result<wrapping::Step, Bucket> {
    match row.open {
        Some(open) => open(data),
        None => Err(sealed(row.name, tally)),
    }
}

/// Counts a frame in something that cannot be opened.
fn sealed(name: &'static str, tally: &mut Tally) -> Bucket {
    add_named(&mut tally.not_opened, name, 1);
    Bucket::NotOpened
}

/// Counts a frame whose link type is not opened; also those the file itself is wrong about.
fn unknown_link(link_type: u16, out: &mut Decoded) -> Bucket {
    match link_type {
        crate::capture::pcapng::UNDECLARED => Bucket::UndeclaredInterface,
        crate::capture::pcapng::DAMAGED => Bucket::DamagedRecord,
        _ => {
            add_named(&mut out.tally.unknown_links, link_type, 1);
            Bucket::NotOpened
        }
    }
}
