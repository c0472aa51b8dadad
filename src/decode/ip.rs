//! The network layer: reads IPv4 and IPv6 headers (etherparse's slices) into addresses, protocol and payload
//! ([`Packet`]).
//!
//! Lengths come from the headers, never from the end of the frame, so that link padding is not payload.

use super::{Bucket, Ends};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

/// An IP packet whose header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source and destination.
    pub ends: Ends,
    /// Protocol of the payload, after any extension headers.
    pub protocol: u8,
    /// Where the payload begins.
    pub at: usize,
    /// Captured bytes of the payload.
    pub captured: usize,
    /// Bytes of the payload according to the header.
    pub full: usize,
    /// Identification (IPv4 only; 0 otherwise).
    pub id: u16,
    /// TTL or hop limit.
    pub hops: u8,
    /// Set when the packet is a fragment.
    pub fragment: Option<FragmentHeader>,
}

/// What a fragment says about its place in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Offset of the payload in the datagram, in bytes.
    pub offset: u32,
    /// More fragments follow.
    pub more: bool,
}

/// Reads the IP header at the start of `data`; `cut` says that the snapshot length truncated the frame.
#[inline]
pub fn open(data: &[u8], cut: bool, extension_headers: usize) -> Result<Packet, Bucket> {
    let short = if cut { Bucket::SnapCut } else { Bucket::IpMalformed };
    match data.first().ok_or(short)? >> 4 {
        4 => open_v4(data, short),
        6 => open_v6(data, short, extension_headers),
        _ => Err(Bucket::IpMalformed),
    }
}

#[inline]
fn open_v4(data: &[u8], short: Bucket) -> Result<Packet, Bucket> {
    let Ok(header) = Ipv4HeaderSlice::from_slice(data) else {
        let enough = data.len() >= 20 && (data[0] & 15 < 5 || data.len() >= usize::from(data[0] & 15) * 4);
        return Err(if enough { Bucket::IpMalformed } else { short });
    };
    let at = header.slice().len();
    // With segmentation offload, captures show a total length of 0: the packet is as long as the frame.
    let total = if header.total_len() == 0 { data.len() } else { usize::from(header.total_len()) };
    if total < at {
        return Err(Bucket::IpMalformed);
    }
    let full = total - at;
    let fragment = header.is_fragmenting_payload().then(|| FragmentHeader {
        id: u32::from(header.identification()),
        offset: u32::from(header.fragments_offset().value()) * 8,
        more: header.more_fragments(),
    });
    Ok(Packet {
        ends: Ends::v4(header.source(), header.destination()),
        protocol: header.protocol().0,
        at,
        captured: full.min(data.len() - at),
        full,
        id: header.identification(),
        hops: header.ttl(),
        fragment,
    })
}

/// Next-header values that are extension headers opened here (RFC 8200 section 4; 51: RFC 4302; 135, 139, 140:
/// mobility, HIP, shim6).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
/// Authentication header, of IPv4 too.
pub const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

#[inline]
fn open_v6(data: &[u8], short: Bucket, extension_headers: usize) -> Result<Packet, Bucket> {
    let header = Ipv6HeaderSlice::from_slice(data).map_err(|_| short)?;
    let start = header.slice().len();
    // 0 means a jumbogram (RFC 2675) or segmentation offload: the packet is as long as the frame.
    let end = if header.payload_length() == 0 { data.len() } else { start + usize::from(header.payload_length()) };
    let (protocol, at, fragment) = extensions(data, header.next_header().0, start, short, extension_headers)?;
    if at > end {
        return Err(Bucket::IpMalformed);
    }
    if at > data.len() {
        return Err(short);
    }
    let full = end - at;
    Ok(Packet {
        ends: Ends::v6(header.source(), header.destination()),
        protocol,
        at,
        captured: full.min(data.len() - at),
        full,
        id: 0,
        hops: header.hop_limit(),
        fragment,
    })
}

/// Follows the extension headers that begin with `protocol` at `at`: returns the protocol after them, its offset
/// (perhaps past the end), and the fragment header met on the way, after which nothing is followed.
#[inline]
pub fn extensions(
    data: &[u8],
    mut protocol: u8,
    mut at: usize,
    short: Bucket,
    most: usize,
) -> Result<(u8, usize, Option<FragmentHeader>), Bucket> {
    let mut fragment = None;
    let mut opened = 0;
    loop {
        let len_of = |unit: usize, plus: usize| -> Result<(u8, usize), Bucket> {
            let head = data.get(at..at + 2).ok_or(short)?;
            Ok((head[0], (usize::from(head[1]) + plus) * unit))
        };
        let (next, len) = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => len_of(8, 1)?,
            AUTHENTICATION => len_of(4, 2)?,
            FRAGMENT => {
                let head = data.get(at..at + 8).ok_or(short)?;
                let place = u16::from_be_bytes([head[2], head[3]]);
                // An atomic fragment (offset 0, nothing more) is a whole packet (RFC 6946).
                if place & !6 != 0 {
                    fragment = Some(FragmentHeader {
                        id: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
                        offset: u32::from(place & !7),
                        more: place & 1 != 0,
                    });
                }
                (head[0], 8)
            }
            _ => break,
        };
        opened += 1;
        if opened > most {
            return Err(Bucket::NestLimit);
        }
        at += len;
        protocol = next;
        if fragment.is_some() {
            break;
        }
    }
    Ok((protocol, at, fragment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn built(v6: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        if v6 {
            PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(1000, 53).write(&mut bytes, b"payload").unwrap();
        } else {
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1000, 53).write(&mut bytes, b"payload").unwrap();
        }
        bytes
    }

    #[test]
    fn padding_is_not_payload_and_a_short_capture_is_not_damage() {
        for v6 in [false, true] {
            let mut bytes = built(v6);
            let whole = open(&bytes, false, 16).unwrap();
            assert_eq!((whole.protocol, whole.full, whole.captured), (17, 15, 15));
            bytes.extend([0xff; 20]);
            assert_eq!(open(&bytes, false, 16).unwrap(), whole);
            for len in 0..bytes.len() - 20 {
                match open(&bytes[..len], true, 16) {
                    Ok(packet) => assert_eq!((packet.full, packet.captured), (15, len - packet.at)),
                    Err(bucket) => assert_eq!(bucket, Bucket::SnapCut),
                }
            }
        }
    }

    #[test]
    fn impossible_headers_are_malformed() {
        let mut bytes = built(false);
        bytes[0] = 0x41;
        assert_eq!(open(&bytes, false, 16), Err(Bucket::IpMalformed));
        let mut bytes = built(false);
        bytes[2..4].copy_from_slice(&[0, 10]);
        assert_eq!(open(&bytes, false, 16), Err(Bucket::IpMalformed));
        assert_eq!(open(&[0x70; 40], false, 16), Err(Bucket::IpMalformed));
    }

    #[test]
    fn extension_headers_to_the_limit() {
        let with = |count: usize| {
            let mut bytes = built(true);
            let udp = bytes.split_off(40);
            bytes[6] = DESTINATION;
            bytes[4..6].copy_from_slice(&((count * 8 + udp.len()) as u16).to_be_bytes());
            for index in 0..count {
                bytes.extend([if index + 1 == count { 17 } else { DESTINATION }, 0, 1, 4, 0, 0, 0, 0]);
            }
            bytes.extend(udp);
            bytes
        };
        assert_eq!(open(&with(16), false, 16).map(|packet| (packet.protocol, packet.full)), Ok((17, 15)));
        assert_eq!(open(&with(17), false, 16), Err(Bucket::NestLimit));
    }
}
