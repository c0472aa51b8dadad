//! Decodes frames: [`Decoder::frame`] turns a [`Frame`] into an [`Entry`] of a [`Decoded`] block, or counts it in the
//! one [`Bucket`] in which it ends.
//!
//! This half is stateless and runs in parallel. What depends on the order of the packets is done by the consumer of the
//! entries: [`fragment`] (datagrams) and [`stream`] (TCP). [`message`] reads every message's header and question,
//! [`detail`] all the rest of the few messages that are reported.

pub mod detail;
pub mod encrypted;
mod ends;
mod entry;
pub mod fragment;
pub mod ip;
pub mod key;
pub mod link;
pub mod message;
pub mod name;
mod other_links;
mod plain;
mod point;
mod ports;
pub mod proxy;
pub mod quote;
pub mod stream;
mod tally;
mod transport;
mod unread;
mod wireless;
pub mod wrapping;

use crate::capture::Frame;
use crate::config::Limits;
pub use ends::{Address, Ends};
pub use entry::{Body, Datagram, Decoded, Entry, Segment};
use ip::Packet;
use key::Key;
use link::Next;
pub use point::{Interface, Point};
pub use ports::Ports;
use quote::Quote;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tally::add_named;
pub use tally::{Bucket, Tally};
pub use unread::Unread;

/// What decoding hands to the order-dependent half.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// Offset of the payload in the given bytes.
    pub at: usize,
    /// Captured bytes of it.
    pub len: usize,
    /// Source and destination of the innermost packet.
    pub ends: Ends,
    /// Number of IP packets around it.
    pub depth: usize,
    /// The kind of entry.
    pub body: Body,
}

/// What follows an IP header.
enum Behind {
    /// An entry.
    Opened(Opened),
    /// An encapsulation, which leads on.
    Wrapped(Next, usize),
}

/// What was passed on the way into a frame.
#[derive(Default)]
struct Passed {
    /// VLAN tags before the first packet.
    vlans: [u16; 2],
    /// The innermost packet so far, the offset of its payload, and how many packets are around it.
    innermost: Option<(Packet, usize, usize)>,
}

/// How many more layers of a frame may be opened.
struct Left {
    tags: usize,
    layers: usize,
}

/// Most layers without an IP header (besides VLAN tags) opened in one frame.
const MAX_LAYERS: usize = 24;

/// Most frames with a fault that are noted per block.
const MAX_FAULTS: usize = 8;

/// A frame that makes the decoder panic, for tests of what happens then.
#[cfg(test)]
pub(crate) const FAULTY_FRAME: &[u8] = b"a frame on which the decoder fails";

/// Decodes frames; shared by all workers.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Key of all hashes over wire data.
    pub key: Key,
    /// Ports that carry DNS.
    pub ports: Ports,
    /// Most VLAN tags opened.
    pub vlan_tags: usize,
    /// Most IPv6 extension headers opened.
    pub extension_headers: usize,
    /// Most IP headers inside IP headers opened.
    pub nested_headers: usize,
}

/// UDP.
pub const UDP: u8 = 17;
/// TCP.
pub const TCP: u8 = 6;
/// ICMP, and ICMP for IPv6.
const ICMP: [u8; 2] = [1, 58];

impl Decoder {
    /// A decoder of DNS on these ports, with a hash key of its own.
    pub fn new(ports: Vec<u16>, limits: &Limits) -> Self {
        Self {
            key: Key::random(),
            ports: Ports::new(ports),
            vlan_tags: limits.vlan_tags,
            extension_headers: limits.extension_headers,
            nested_headers: limits.nested_headers,
        }
    }

    /// Decodes one frame into `out`. When this program panics on it, the frame is counted and noted.
    pub fn guarded_frame(&self, frame: &Frame<'_>, out: &mut Decoded) {
        let (index, entries) = (out.frames, out.entries.len());
        if catch_unwind(AssertUnwindSafe(|| self.frame(frame, out))).is_err() {
            out.entries.truncate(entries);
            out.tally.count(Bucket::InternalFault);
            if out.faults.len() < MAX_FAULTS {
                out.faults.push(index);
            }
        }
    }

    /// Decodes one frame into `out`: an entry, or a count.
    ///
    /// # Panics
    ///
    /// When this program has a fault. The caller catches the panic and decodes the block again with
    /// [`Decoder::guarded_frame`]: guarding every frame would cost more than decoding it.
    #[allow(clippy::inline_always)] // so that a frame goes through registers where there is a loop around this
    #[inline(always)]
    pub fn frame(&self, frame: &Frame<'_>, out: &mut Decoded) {
        let index = out.frames;
        out.frames += 1;
        #[cfg(test)]
        assert_ne!(frame.data, FAULTY_FRAME, "a fault made on purpose");
        if self.plain(frame, index, out).is_some() {
            return;
        }
        // Assembled again here, so that it need not be in memory before.
        let Frame { time, link_type, interface, direction, data, offset, original_len } = *frame;
        self.in_general(&Frame { time, link_type, interface, direction, data, offset, original_len }, index, out);
    }

    /// Decodes a frame in the general way. Marked cold, so that the fast path gets the registers.
    #[cold]
    #[inline(never)]
    fn in_general(&self, frame: &Frame<'_>, index: u32, out: &mut Decoded) {
        if let Err(bucket) = self.open(frame, index, out) {
            let cut = frame.original_len as usize > frame.data.len();
            let bucket = if cut && bucket == Bucket::LinkMalformed { Bucket::SnapCut } else { bucket };
            out.tally.count(bucket);
            // Not even its addresses are known: it may have been the response to any query.
            if matches!(bucket, Bucket::SnapCut | Bucket::UndeclaredInterface | Bucket::DamagedRecord) {
                out.entries.push(Entry::lost(frame.time, index));
            }
        }
    }

    #[inline(never)]
    fn open(&self, frame: &Frame<'_>, index: u32, out: &mut Decoded) -> Result<(), Bucket> {
        let data = frame.data;
        let Some(row) = link::find(frame.link_type) else { return Err(unknown_link(frame.link_type, out)) };
        out.note_link_type(frame.link_type);
        let link = row.open(data)?;
        let mut passed = Passed::default();
        let cut = frame.original_len as usize > data.len();
        let opened = self.walk(data, link.next, link.at, cut, &mut passed, &mut out.tally)?;
        let interface = link.interface.map_or(Interface::Section(frame.interface), Interface::Host);
        let hops = passed.innermost.map_or(0, |(packet, _, _)| packet.hops);
        let direction = link.direction.unwrap_or(frame.direction);
        let point = Point::new(interface, passed.vlans, direction).with_hops(hops).inside(opened.depth);
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

    /// Decodes a datagram that was reassembled from fragments.
    pub fn datagram_of_fragments(
        &self,
        data: &[u8],
        protocol: u8,
        ends: Ends,
        ip_id: u16,
        tally: &mut Tally,
    ) -> Result<Opened, Bucket> {
        let full = data.len();
        let packet = Packet { ends, protocol, at: 0, captured: full, full, id: ip_id, hops: 0, fragment: None };
        match self.behind_ip(&packet, data, 0, tally)? {
            Behind::Opened(opened) => Ok(opened),
            Behind::Wrapped(next, at) => {
                self.walk(data, next, at, false, &mut Passed::default(), tally).map(|opened| {
                    // The datagram's own IP header is not part of its bytes.
                    Opened { depth: opened.depth + 1, ..opened }
                })
            }
        }
    }

    /// Follows headers, from protocol `next` at `at`, to the innermost packet or to one that cannot be read.
    #[inline]
    fn walk(
        &self,
        data: &[u8],
        next: Next,
        at: usize,
        cut: bool,
        passed: &mut Passed,
        tally: &mut Tally,
    ) -> Result<Opened, Bucket> {
        self.follow(data, next, at, cut, passed, tally).or_else(|bucket| {
            let (packet, at, depth) = passed.innermost.ok_or(bucket)?;
            let unread = Unread::new(bucket, &packet, &data[at..]).ok_or(bucket)?;
            Ok(Opened { at, len: 0, ends: packet.ends, depth, body: Body::Unread(unread) })
        })
    }

    /// Follows them as long as they can be read.
    #[inline]
    fn follow(
        &self,
        mut data: &[u8],
        mut next: Next,
        mut at: usize,
        mut cut: bool,
        passed: &mut Passed,
        tally: &mut Tally,
    ) -> Result<Opened, Bucket> {
        let mut left = Left { tags: self.vlan_tags, layers: MAX_LAYERS };
        for depth in 0..=self.nested_headers {
            while !matches!(next, Next::EtherType(0x0800 | 0x86dd) | Next::Ip) {
                (next, at) = self.layer(data, next, at, (depth == 0).then_some(&mut passed.vlans), &mut left, tally)?;
            }
            let packet = ip::open(data.get(at..).unwrap_or(&[]), cut, self.extension_headers)?;
            at += packet.at;
            data = &data[..at + packet.captured];
            cut |= packet.captured < packet.full;
            passed.innermost = Some((packet, at, depth));
            match self.behind_ip(&packet, data, at, tally)? {
                Behind::Opened(opened) => return Ok(Opened { depth, ..opened }),
                Behind::Wrapped(inner, inner_at) => (next, at) = (inner, inner_at),
            }
        }
        Err(Bucket::NestLimit)
    }

    /// Opens one header that is neither IP nor carried by IP.
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

    /// Looks at what follows the IP header of `packet`; its payload is `data` from `at` on.
    #[inline]
    fn behind_ip(&self, packet: &Packet, data: &[u8], at: usize, tally: &mut Tally) -> Result<Behind, Bucket> {
        let ends = packet.ends;
        if let Some(header) = packet.fragment {
            if packet.captured < packet.full {
                // It will never be part of a complete datagram. A first fragment is read as far as it goes.
                if header.offset > 0 {
                    return Err(Bucket::SnapCut);
                }
                return self.behind_ip(&Packet { fragment: None, ..*packet }, data, at, tally);
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

    /// Opens an encapsulation, or an ICMP error about a DNS packet, where there is neither UDP nor TCP on a DNS port.
    /// Otherwise the frame ends in `bucket`.
    fn wrapped(
        &self,
        bucket: Bucket,
        packet: &Packet,
        payload: &[u8],
        at: usize,
        tally: &mut Tally,
    ) -> Result<Behind, Bucket> {
        match packet.protocol {
            TCP => {
                tally.encrypted.note(packet.ends, TCP, payload);
                Err(bucket)
            }
            UDP => {
                tally.encrypted.note(packet.ends, UDP, payload);
                let ports = [link::number(payload, 2)?, link::number(payload, 0)?];
                let rows = ports.into_iter().filter_map(|port| wrapping::find(wrapping::PORTS, port));
                for row in rows {
                    match open_wrapping(row, payload.get(8..).unwrap_or(&[]), tally) {
                        Ok((next, len)) => return Ok(Behind::Wrapped(next, at + 8 + len)),
                        // The header is not one of that tunnel.
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
                let response = self.ports.contains(port(0)) && !self.ports.contains(port(2));
                if !response && !self.ports.contains(port(2)) {
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
                // Authentication in IPv4, or extension headers in a reassembled datagram.
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

    /// Looks at what follows extension headers that began at `at` and take `len` bytes of `payload`.
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
}

/// Opens an encapsulation, or counts by name that it is not opened.
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

/// Counts a frame of a link type that is not opened, or one that the file itself contradicts.
fn unknown_link(link_type: u16, out: &mut Decoded) -> Bucket {
    match link_type {
        crate::capture::pcapng::UNDECLARED => Bucket::UndeclaredInterface,
        crate::capture::pcapng::DAMAGED => Bucket::DamagedRecord,
        _ => {
            *out.tally.unknown_links.entry(link_type).or_default() += 1;
            Bucket::NotOpened
        }
    }
}
