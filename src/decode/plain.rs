//! Decodes most frames by a short path: whole UDP datagrams and TCP segments directly behind a link header, or behind
//! Ethernet with one VLAN tag. It turns a [`Frame`] into the same [`Entry`] or count as the general path, or declines
//! to decode it.
//!
//! The general path remains the definition of what a frame is; a test compares both on arbitrary bytes.

use super::link::{self, Next};
use super::message::{self, HEADER};
use super::{
    Body, Bucket, Datagram, Decoded, Decoder, Ends, Entry, Interface, Point, Segment, TCP, UDP, encrypted, proxy,
};
use crate::capture::Frame;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// The 16-bit number at an offset, in network byte order.
#[inline]
fn number<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// An IP header of minimum length, of a packet that is no IPv4 fragment.
#[derive(Clone, Copy)]
enum Ip<'a> {
    V4(&'a [u8; IPV4_HEADER]),
    V6(&'a [u8; IPV6_HEADER]),
}

impl<'a> Ip<'a> {
    #[inline]
    fn v4(packet: &'a [u8]) -> Option<Self> {
        let header = packet.first_chunk()?;
        (header[0] == 0x45 && number(header, 6) & 0x3fff == 0).then_some(Self::V4(header))
    }

    #[inline]
    fn v6(packet: &'a [u8]) -> Option<Self> {
        packet.first_chunk().filter(|header| header[0] >> 4 == 6).map(Self::V6)
    }

    /// Offsets of the payload's begin and end in the packet, and its protocol.
    #[inline]
    fn payload(self) -> (usize, usize, u8) {
        match self {
            Self::V4(header) => (IPV4_HEADER, usize::from(number(header, 2)), header[9]),
            Self::V6(header) => (IPV6_HEADER, IPV6_HEADER + usize::from(number(header, 4)), header[6]),
        }
    }

    #[inline]
    fn ends(self) -> Ends {
        match self {
            Self::V4(header) => {
                let (addresses, _) = header[12..].as_chunks::<4>();
                Ends::v4(addresses[0], addresses[1])
            }
            Self::V6(header) => {
                let (addresses, _) = header[8..].as_chunks::<16>();
                Ends::v6(addresses[0], addresses[1])
            }
        }
    }

    /// The TTL or hop limit.
    #[inline]
    fn hops(self) -> u8 {
        match self {
            Self::V4(header) => header[8],
            Self::V6(header) => header[7],
        }
    }

    /// The identification of an IPv4 packet; 0 for IPv6.
    #[inline]
    fn id(self) -> u16 {
        match self {
            Self::V4(header) => number(header, 4),
            Self::V6(_) => 0,
        }
    }
}

/// What a link header says.
#[derive(Clone, Copy)]
struct Link {
    /// The `EtherType` of the packet.
    ether_type: u16,
    /// Offset of the packet in the frame.
    at: usize,
    point: Point,
}

impl Link {
    /// Reads an Ethernet header, with its VLAN tag if there is one and `opens_tags` is set.
    #[inline]
    fn ethernet(frame: &Frame<'_>, opens_tags: bool) -> Option<Self> {
        let header = frame.data.first_chunk::<18>()?;
        let (ether_type, at, vlan) = match number(header, 12) {
            0x8100 if opens_tags => (number(header, 16), 18, number(header, 14) & 0x0fff),
            ether_type => (ether_type, 14, 0),
        };
        Some(Self {
            ether_type,
            at,
            point: Point::new(Interface::Section(frame.interface), [vlan, 0], frame.direction),
        })
    }

    /// Reads a header of any other link type that leads directly to a packet, as in cooked captures.
    #[inline(never)]
    fn other(frame: &Frame<'_>) -> Option<Self> {
        let link = link::find(frame.link_type)?.open(frame.data).ok()?;
        let ether_type = match link.next {
            Next::EtherType(ether_type) => ether_type,
            Next::Ip => match frame.data.get(link.at)? >> 4 {
                4 => 0x0800,
                6 => 0x86dd,
                _ => return None,
            },
            _ => return None,
        };
        let interface = link.interface.map_or(Interface::Section(frame.interface), Interface::Host);
        let point = Point::new(interface, [0; 2], link.direction.unwrap_or(frame.direction));
        Some(Self { ether_type, at: link.at, point })
    }
}

/// What is left to do for a packet.
enum Rest<'a, 'o> {
    Nothing,
    /// Read the message of the datagram.
    Message {
        datagram: &'o mut Datagram,
        payload: &'a [u8],
        cut: bool,
    },
}

impl Decoder {
    /// Decodes a frame if it is plain enough for the short path; otherwise returns `None` and has done nothing, which
    /// leaves the frame to the general path.
    #[allow(clippy::inline_always)] // once for every frame
    #[inline(always)]
    pub(super) fn plain(&self, frame: &Frame<'_>, index: u32, out: &mut Decoded) -> Option<()> {
        let data = frame.data;
        if frame.original_len as usize != data.len() {
            return None;
        }
        let link = match frame.link_type {
            ETHERNET => Link::ethernet(frame, self.vlan_tags > 0)?,
            _ => Link::other(frame)?,
        };
        let packet = data.get(link.at..)?;
        // From here until the addresses are written, the two versions have code of their own.
        let rest = match link.ether_type {
            0x0800 => self.packet(frame, index, link, Ip::v4(packet)?, out)?,
            0x86dd => self.packet(frame, index, link, Ip::v6(packet)?, out)?,
            _ => return None,
        };
        if let Rest::Message { datagram, payload, cut } = rest
            && let Some((message, hash)) = message::read_and_hash(payload, cut, &self.key)
        {
            datagram.message = Some(message);
            datagram.payload_hash = hash.unwrap_or_else(|| self.key.bytes(payload)) as u32;
        }
        Some(())
    }

    /// Decodes a packet behind a link header, except for the DNS message. The transport header is expected directly
    /// behind an IP header of minimum length; lengths come from the IP header.
    #[allow(clippy::inline_always)] // once for every frame, and either kind of header is known at compile time
    #[inline(always)]
    fn packet<'a, 'o>(
        &self,
        frame: &Frame<'a>,
        index: u32,
        Link { at, point, .. }: Link,
        ip: Ip<'a>,
        out: &'o mut Decoded,
    ) -> Option<Rest<'a, 'o>> {
        let (start, end, protocol) = ip.payload();
        let payload = frame.data[at..].get(start..end)?;
        let header = payload.first_chunk::<UDP_HEADER>()?;
        let ports = [number(header, 0), number(header, 2)];
        let meaning = self.ports.meaning(ports);
        if meaning.may_be_dns() && self.ports.any(ports) {
            if protocol == TCP {
                return segment(frame, index, (at, point), ip, out).map(|()| Rest::Nothing);
            }
            if protocol != UDP {
                return None;
            }
            let claimed = usize::from(number(header, 4));
            let message = payload.get(UDP_HEADER..claimed.min(payload.len()))?;
            let header = message.first_chunk::<HEADER>().filter(|_| !proxy::may_begin(message))?;
            let (pair_hash, flow_hash) = self.flow(ip.ends(), ports, number(header, 0), header[2] & 0x80 != 0);
            out.note_link_type(frame.link_type);
            out.entries.push(Entry {
                time: frame.time,
                frame: index,
                offset: (frame.offset + (at + start + UDP_HEADER)) as u32,
                len: message.len() as u32,
                point: point.with_hops(ip.hops()),
                ends: ip.ends(),
                body: Body::Datagram(Datagram {
                    source_port: ports[0],
                    destination_port: ports[1],
                    ip_id: ip.id(),
                    proxy_len: 0,
                    message: None,
                    payload_hash: 0,
                    pair_hash,
                    flow_hash,
                }),
            });
            let Some(Entry { body: Body::Datagram(datagram), .. }) = out.entries.last_mut() else { return None };
            return Some(Rest::Message { datagram, payload: message, cut: claimed > payload.len() });
        }
        // Neither which of the two protocols it is nor the outcome can be predicted, so one branch decides: a product
        // is zero when a factor is.
        let header = payload.first_chunk::<TCP_HEADER>()?;
        let room = payload.len() - TCP_HEADER;
        let options = (usize::from(header[12] >> 4) * 4).wrapping_sub(TCP_HEADER);
        let no_segment = u32::from(protocol ^ TCP) | u32::from(options > room);
        let no_datagram = u32::from(protocol ^ UDP) | u32::from(meaning.may_wrap());
        if no_segment * no_datagram != 0 {
            return None;
        }
        out.note_link_type(frame.link_type);
        if encrypted::begins(protocol, header, payload.len()) {
            out.tally.encrypted.note(ip.ends(), protocol, payload);
        }
        out.tally.count(Bucket::OtherPort);
        Some(Rest::Nothing)
    }
}

/// Decodes a TCP segment on a DNS port, in the packet that begins at offset `at` of the frame and was seen at `point`.
#[allow(clippy::inline_always)] // else the frame must be in memory
#[inline(always)]
fn segment(frame: &Frame<'_>, index: u32, (at, point): (usize, Point), ip: Ip<'_>, out: &mut Decoded) -> Option<()> {
    let (start, end, _) = ip.payload();
    let payload = frame.data.get(at + start..at + end)?;
    let header = payload.first_chunk::<TCP_HEADER>()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let data = payload.get(header_len..).filter(|_| header_len >= TCP_HEADER)?;
    out.note_link_type(frame.link_type);
    out.entries.push(Entry {
        time: frame.time,
        frame: index,
        offset: (frame.offset + at + start + header_len) as u32,
        len: data.len() as u32,
        point: point.with_hops(ip.hops()),
        ends: ip.ends(),
        body: Body::Segment(Segment {
            source_port: number(header, 0),
            destination_port: number(header, 2),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgment: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            full_len: data.len() as u32,
        }),
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Direction, Timestamp};
    use crate::decode::Ports;
    use crate::decode::key::Key;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn decoder() -> Decoder {
        Decoder {
            key: Key::random(),
            ports: Ports::new(vec![53]),
            vlan_tags: 2,
            extension_headers: 8,
            nested_headers: 4,
        }
    }

    /// Decodes a frame on both paths: what the short path says, if it does not decline, and what the general path says.
    fn both(decoder: &Decoder, link_type: u16, bytes: &[u8], original_len: usize) -> (Option<String>, String) {
        let frame = Frame {
            time: Timestamp(1_700_000_000_000_000_000),
            link_type,
            interface: 3,
            // The hop limit matters for packets that leave.
            direction: Direction::Out,
            data: bytes,
            offset: 16,
            original_len: original_len as u32,
        };
        let (mut short, mut general) = (Decoded::default(), Decoded::default());
        let said = decoder.plain(&frame, 0, &mut short);
        if let Err(bucket) = decoder.open(&frame, 0, &mut general) {
            general.tally.count(bucket);
        }
        (said.map(|()| format!("{short:?}")), format!("{general:?}"))
    }

    fn frame(v6: bool, vlan: bool, tcp: bool, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = |builder: etherparse::PacketBuilderStep<etherparse::VlanHeader>| {
            if v6 { builder.ipv6([0x20; 16], [0x30; 16], 64) } else { builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64) }
        };
        let builder = if vlan {
            ip(link.single_vlan(etherparse::VlanId::try_new(7).unwrap()))
        } else if v6 {
            link.ipv6([0x20; 16], [0x30; 16], 64)
        } else {
            link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        if tcp {
            builder.tcp(ports.0, ports.1, 1, 100).syn().write(&mut bytes, payload).unwrap();
        } else {
            builder.udp(ports.0, ports.1).write(&mut bytes, payload).unwrap();
        }
        bytes
    }

    /// Other link types, with the link headers that [`behind`] puts before an IPv4 and an IPv6 packet.
    const OTHER_LINKS: [(u16, &[u8], &[u8]); 7] = [
        (
            276,
            b"\x08\0\0\0\0\0\0\x02\0\x01\x04\x06\0\0\0\0\0\0\0\0",
            b"\x86\xdd\0\0\0\0\0\x02\0\x01\0\x06\0\0\0\0\0\0\0\0",
        ),
        (113, b"\0\x04\0\x01\0\x06\0\0\0\0\0\0\0\0\x08\0", b"\0\x03\0\x01\0\x06\0\0\0\0\0\0\0\0\x86\xdd"),
        (101, b"", b""),
        (228, b"", b""),
        (229, b"", b""),
        (0, b"\x02\0\0\0", b"\x1e\0\0\0"),
        (108, b"\0\0\0\x02", b"\0\0\0\x18"),
    ];

    /// A frame of another link type that holds the packet of an Ethernet frame.
    fn behind(header: &[u8], ethernet: &[u8]) -> Vec<u8> {
        [header, &ethernet[14..]].concat()
    }

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";

    #[test]
    fn plain_frames_take_the_short_way() {
        let decoder = decoder();
        for (v6, vlan) in [(false, false), (false, true), (true, false), (true, true)] {
            for (tcp, ports) in [
                (false, (4000, 53)),
                (false, (53, 4000)),
                (false, (443, 4000)),
                (true, (443, 4000)),
                (true, (4000, 853)),
                (true, (4000, 53)),
                (true, (53, 4000)),
            ] {
                let bytes = frame(v6, vlan, tcp, ports, QUERY);
                let (short, general) = both(&decoder, ETHERNET, &bytes, 0);
                assert_eq!(short, None, "a frame that was cut");
                let (short, whole) = both(&decoder, ETHERNET, &bytes, bytes.len());
                assert_eq!(short.as_ref(), Some(&whole), "{v6} {vlan} {tcp} {ports:?}; cut: {general}");
                for (link_type, v4_header, v6_header) in OTHER_LINKS.into_iter().filter(|_| !vlan) {
                    let bytes = behind(if v6 { v6_header } else { v4_header }, &bytes);
                    let (short, whole) = both(&decoder, link_type, &bytes, bytes.len());
                    assert_eq!(short.as_ref(), Some(&whole), "{link_type}: {v6} {tcp} {ports:?}");
                }
            }
        }
        let mut bytes = frame(false, false, true, (443, 4000), b"");
        bytes[14 + 20 + 12] = 0xf0;
        assert_eq!(
            both(&decoder, ETHERNET, &bytes, bytes.len()).0,
            None,
            "a TCP header that is longer than its packet"
        );
        for ports in [(4789, 4000), (4000, 4789)] {
            let bytes = frame(false, false, false, ports, QUERY);
            assert_eq!(both(&decoder, ETHERNET, &bytes, bytes.len()).0, None, "a wrapping may be behind it");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_short_way_never_says_anything_else_than_the_general_way(
            (v6, vlan, tcp) in any::<(bool, bool, bool)>(),
            ports in prop_oneof![Just((4000, 53)), Just((53, 4000)), Just((53, 53)), Just((4000, 443)), Just((4000, 853)), Just((80, 4000)), Just((4789, 53)), Just((9, 4789))],
            payload in proptest::collection::vec(any::<u8>(), 0..60),
            // Most changes are in the headers, where they matter.
            changes in proptest::collection::vec((prop_oneof![3 => 12usize..50, 1 => 0usize..90], any::<u8>()), 0..4),
            (less, missing) in (0usize..80, 0usize..3),
            // Ethernet half of the time.
            other_link in proptest::option::of(proptest::sample::select(&OTHER_LINKS[..])),
        ) {
            let decoder = decoder();
            let mut bytes = frame(v6, vlan, tcp, ports, &payload);
            let mut link_type = ETHERNET;
            if let Some((other, v4_header, v6_header)) = other_link {
                link_type = other;
                bytes = behind(if v6 { v6_header } else { v4_header }, &bytes);
            }
            for (at, value) in changes {
                let len = bytes.len();
                bytes[at % len] = value;
            }
            bytes.truncate(bytes.len() - less.min(bytes.len()) * usize::from(less > 50));
            let (short, general) = both(&decoder, link_type, &bytes, bytes.len() + missing.saturating_sub(1));
            if let Some(short) = short {
                prop_assert_eq!(short, general);
            }
        }
    }
}
