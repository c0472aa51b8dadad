//! The rarer link layers, read into a [`Link`]: point-to-point lines, rings, firewall logs, headers of capturing hosts.

use super::link::{Link, Next, link, number};
use super::wrapping::Step;
use super::{Bucket, wrapping};
use crate::capture::Direction;

/// A link from the result of opening an encapsulation.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn from_step((next, at): Step) -> Result<Link, Bucket> {
    Ok(link(next, at))
}

/// A byte that must be present.
fn byte(data: &[u8], at: usize) -> Result<u8, Bucket> {
    data.get(at).copied().ok_or(Bucket::LinkMalformed)
}

/// PPP, also in HDLC framing; Cisco's HDLC is captured under the same link types.
pub fn ppp(data: &[u8]) -> Result<Link, Bucket> {
    match data.first() {
        Some(0x0f | 0x8f) => cisco_hdlc(data),
        _ => from_step(wrapping::open_ppp(data)?),
    }
}

/// PPP after a byte with the direction; 0 is arriving.
pub fn ppp_with_direction(data: &[u8]) -> Result<Link, Bucket> {
    let direction = if byte(data, 0)? == 0 { Direction::In } else { Direction::Out };
    let (next, at) = wrapping::open_ppp(&data[1..])?;
    Ok(Link { next, at: at + 1, direction: Some(direction), interface: None })
}

/// PPP over Ethernet without the Ethernet header.
pub fn pppoe(data: &[u8]) -> Result<Link, Bucket> {
    byte(data, 5)?;
    Ok(link(Next::EtherType(0x8864), 0))
}

/// Cisco HDLC: address, control, `EtherType`.
pub fn cisco_hdlc(data: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::EtherType(number(data, 2)?), 4))
}

/// SLIP with the header of libpcap: direction, then fifteen bytes about compression.
pub fn slip(data: &[u8]) -> Result<Link, Bucket> {
    let direction = if byte(data, 0)? == 0 { Direction::In } else { Direction::Out };
    Ok(Link { next: Next::Ip, at: 16, direction: Some(direction), interface: None })
}

/// FDDI: frame control, destination, source, LLC; frames without LLC carry no packet.
pub fn fddi(data: &[u8]) -> Result<Link, Bucket> {
    if byte(data, 0)? & 0xf0 != 0x50 {
        return Err(Bucket::NonIp);
    }
    Ok(link(Next::Llc, 13))
}

/// Token ring: access and frame control, destination, source, a route when the source says so, LLC.
pub fn token_ring(data: &[u8]) -> Result<Link, Bucket> {
    if byte(data, 1)? & 0xc0 != 0x40 {
        return Err(Bucket::NonIp);
    }
    let route = if byte(data, 8)? & 0x80 != 0 { usize::from(byte(data, 14)? & 0x1f) } else { 0 };
    Ok(link(Next::Llc, 14 + route))
}

/// ARCNET: source, destination, on Linux an offset, then at `at` the protocol (RFC 1051 or RFC 1201).
pub fn arcnet(data: &[u8], at: usize) -> Result<Link, Bucket> {
    match byte(data, at)? {
        240 => Ok(link(Next::Ip, at + 1)),
        // RFC 1201: a flag that counts fragments, a sequence number; the flag 0xff announces four bytes of padding.
        212 | 196 => match byte(data, at + 1)? {
            0 => Ok(link(Next::Ip, at + 4)),
            0xff => Ok(link(Next::Ip, at + 8)),
            _ => Ok(link(Next::Sealed("fragmented ARCNET"), at)),
        },
        _ => Err(Bucket::NonIp),
    }
}

/// Frame relay: an address that ends with a set bit, then control and protocol (RFC 2427) or an `EtherType`.
pub fn frame_relay(data: &[u8]) -> Result<Link, Bucket> {
    let len = (0..4).find(|at| data.get(*at).is_some_and(|byte| byte & 1 == 1)).ok_or(Bucket::LinkMalformed)? + 1;
    if byte(data, len)? != 3 {
        return Ok(link(Next::EtherType(number(data, len)?), len + 2));
    }
    // A zero byte may stand before the protocol to align what follows.
    let at = if byte(data, len + 1)? == 0 { len + 2 } else { len + 1 };
    match byte(data, at)? {
        0xcc | 0x8e => Ok(link(Next::Ip, at + 1)),
        0x80 => match data.get(at + 1..at + 4) {
            Some([0, 0, 0]) => Ok(link(Next::EtherType(number(data, at + 4)?), at + 6)),
            Some([0, 0x80, 0xc2]) if number(data, at + 4)? == 7 => Ok(link(Next::Ethernet, at + 6)),
            _ => Err(Bucket::NonIp),
        },
        _ => Err(Bucket::NonIp),
    }
}

/// OpenBSD's view into `IPsec`: address family, index, flags, then the packet.
pub fn enc(data: &[u8]) -> Result<Link, Bucket> {
    byte(data, 11)?;
    Ok(link(Next::Ip, 12))
}

/// The log of the OpenBSD packet filter: its own length, address family, action; the packet begins at a multiple of
/// four. The direction stands at 60: 1 arrives, 2 leaves.
pub fn pflog(data: &[u8]) -> Result<Link, Bucket> {
    let at = usize::from(byte(data, 0)?).next_multiple_of(4);
    let direction = match data.get(60) {
        Some(1) => Some(Direction::In),
        Some(2) => Some(Direction::Out),
        _ => None,
    };
    Ok(Link { next: Next::Ip, at, direction, interface: None })
}

/// IP over Fibre Channel: two addresses of eight bytes, LLC.
pub fn fibre_channel(data: &[u8]) -> Result<Link, Bucket> {
    byte(data, 15)?;
    Ok(link(Next::Llc, 16))
}

/// Apple's IP over IEEE 1394: two addresses of eight bytes, `EtherType`.
pub fn firewire(data: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::EtherType(number(data, 16)?), 18))
}

/// IP over `InfiniBand`: forty bytes of addresses, `EtherType`, two reserved bytes.
pub fn infiniband(data: &[u8]) -> Result<Link, Bucket> {
    byte(data, 43)?;
    Ok(link(Next::EtherType(number(data, 40)?), 44))
}

/// Most attributes of a logged packet that are skipped.
const MAX_ATTRIBUTES: usize = 64;
/// Netfilter's attribute that holds the packet.
const PAYLOAD: u16 = 9;

/// Linux netfilter log: family, version 0, attributes with length and type in the order of the capturing host.
pub fn nflog(data: &[u8]) -> Result<Link, Bucket> {
    if byte(data, 1)? != 0 {
        return Err(Bucket::LinkMalformed);
    }
    if !matches!(data[0], 2 | 10) {
        return Err(Bucket::NonIp);
    }
    let mut at = 4;
    for _ in 0..MAX_ATTRIBUTES {
        let (len, kind) = (number(data, at)?.swap_bytes(), number(data, at + 2)?.swap_bytes());
        // On a big-endian host: otherwise the length would be longer than any attribute.
        let swapped = kind > 0x7f && kind.swap_bytes() <= 0x7f;
        let (len, kind) = if swapped { (len.swap_bytes(), kind.swap_bytes()) } else { (len, kind) };
        if len < 4 {
            return Err(Bucket::LinkMalformed);
        }
        if kind & 0x7fff == PAYLOAD {
            return Ok(link(Next::Ip, at + 4));
        }
        at += usize::from(len).next_multiple_of(4);
    }
    Err(Bucket::LinkMalformed)
}

/// Ethernet with a tag of `tag` bytes between addresses and `EtherType`, as a host sees it from the switch chip it
/// manages.
pub fn switch_tagged(data: &[u8], tag: usize) -> Result<Link, Bucket> {
    Ok(link(Next::EtherType(number(data, 12 + tag)?), 14 + tag))
}

/// Apple's packet tap: length of the header, kind of record, link type of the frame, interface name, flags.
pub fn pktap(data: &[u8]) -> Result<Link, Bucket> {
    let word = |at: usize| -> Result<u32, Bucket> {
        let bytes = data.get(at..at + 4).ok_or(Bucket::LinkMalformed)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let (len, kind, link_type) = (word(0)?, word(4)?, word(8)?);
    if !(12..=0xffff).contains(&len) {
        return Err(Bucket::LinkMalformed);
    }
    if kind != 1 {
        return Err(Bucket::NonIp);
    }
    let direction = match word(36).map(|flags| flags & 3) {
        Ok(1) => Some(Direction::In),
        Ok(2) => Some(Direction::Out),
        _ => None,
    };
    Ok(Link { next: Next::LinkType(link_type), at: len as usize, direction, interface: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_rings() {
        assert_eq!(ppp(&[0xff, 3, 0, 0x21]), Ok(link(Next::Ip, 4)));
        assert_eq!(ppp(&[0x0f, 0, 8, 0]), Ok(link(Next::EtherType(0x0800), 4)));
        assert_eq!(frame_relay(&[0x18, 0x41, 3, 0xcc]), Ok(link(Next::Ip, 4)));
        assert_eq!(frame_relay(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 0x86, 0xdd]), Ok(link(Next::EtherType(0x86dd), 10)));
        assert_eq!(frame_relay(&[0x18, 0x41, 8, 0]), Ok(link(Next::EtherType(0x0800), 4)));
        let mut ring = vec![0x10, 0x40];
        ring.resize(14, 0x80);
        ring.extend([6, 0]);
        assert_eq!(token_ring(&ring), Ok(link(Next::Llc, 20)));
        assert_eq!(arcnet(&[1, 2, 0, 0, 212, 0, 0, 1], 4), Ok(link(Next::Ip, 8)));
        assert_eq!(arcnet(&[1, 2, 240], 2), Ok(link(Next::Ip, 3)));
    }

    #[test]
    fn logged_packets_are_found_among_attributes() {
        let little = [2, 0, 0, 0, 5, 0, 10, 0, 1, 0, 0, 0, 12, 0, 9, 0];
        assert_eq!(nflog(&little), Ok(link(Next::Ip, 16)));
        let big = [2, 0, 0, 0, 0, 5, 0, 10, 1, 0, 0, 0, 0, 12, 0, 9];
        assert_eq!(nflog(&big), Ok(link(Next::Ip, 16)));
        assert_eq!(nflog(&[2, 0, 0, 0, 0, 0, 0, 0]), Err(Bucket::LinkMalformed));
    }

    #[test]
    fn a_tapped_packet_tells_its_link_and_direction() {
        let mut frame = vec![108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        frame.resize(36, 0);
        frame.extend([2, 0, 0, 0]);
        let opened = pktap(&frame).unwrap();
        assert_eq!((opened.next, opened.at, opened.direction), (Next::LinkType(1), 108, Some(Direction::Out)));
    }
}
