//! Encapsulations in UDP, identified by port and believed only when the header makes sense, because any port may be
//! used for anything. The rest is [`Bucket::OtherPort`], as for every packet that is not looked into.

use super::super::Bucket;
use super::super::link::{Next, number};
use super::{Step, by_next_protocol, gre, looks_like_ip, need};

/// GRE in UDP (RFC 8086) on its port.
pub fn gre_in_udp(data: &[u8]) -> Result<Step, Bucket> {
    let flags = number(data, 0).map_err(|_| Bucket::OtherPort)?;
    if flags & 0x4fff != 0 {
        return Err(Bucket::OtherPort);
    }
    gre(data)
}

/// VXLAN (RFC 7348): the flag for a network identifier, and a reserved byte of 0. Another flag announces a protocol
/// field, even on the plain port.
pub fn vxlan(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0x3b != 0x08 || head[7] != 0 => Err(Bucket::OtherPort),
        Some(head) if head[0] & 4 != 0 => by_next_protocol(head[3], 8),
        Some(_) => Ok((Next::Ethernet, 8)),
        None => Err(Bucket::OtherPort),
    }
}

/// VXLAN-GPE on its own port: the protocol field counts even when the flag for it is not set.
pub fn vxlan_gpe(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0x33 != 0 || head[0] & 0x0c == 0 || head[7] != 0 => Err(Bucket::OtherPort),
        Some([_, _, _, 0, ..]) => Ok((Next::Ethernet, 8)),
        Some(head) => by_next_protocol(head[3], 8),
        None => Err(Bucket::OtherPort),
    }
}

/// Geneve (RFC 8926): version 0, options in words, an `EtherType`.
pub fn geneve(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0xc0 == 0 && matches!(head[1], 0 | 0x40 | 0x80 | 0xc0) && head[7] == 0 => {
            Ok((Next::EtherType(number(data, 2)?), 8 + usize::from(head[0] & 0x3f) * 4))
        }
        _ => Err(Bucket::OtherPort),
    }
}

/// Most extension headers of GTP-U that are skipped.
const MAX_GTP_EXTENSIONS: usize = 8;

/// GTP-U (3GPP TS 29.281): version 1, a user's packet, optional fields and extension headers.
pub fn gtp_user(data: &[u8]) -> Result<Step, Bucket> {
    let Some(head) = data.get(..8) else { return Err(Bucket::OtherPort) };
    if head[0] & 0xf0 != 0x30 || head[1] != 0xff {
        return Err(Bucket::OtherPort);
    }
    let mut at = 8;
    if head[0] & 7 != 0 {
        let mut extension = need(data, 12)?[11];
        at = 12;
        for _ in 0..MAX_GTP_EXTENSIONS {
            if extension == 0 || head[0] & 4 == 0 {
                break;
            }
            let len = usize::from(*data.get(at).ok_or(Bucket::LinkMalformed)?) * 4;
            if len == 0 {
                return Err(Bucket::LinkMalformed);
            }
            at += len;
            extension = *data.get(at - 1).ok_or(Bucket::LinkMalformed)?;
        }
    }
    match data.get(at).map(|first| first >> 4) {
        Some(4 | 6) => Ok((Next::Ip, at)),
        Some(_) => Ok((Next::Sealed("GTP-U"), at)),
        None => Err(Bucket::OtherPort),
    }
}

/// Teredo (RFC 4380): an IPv6 packet, optionally after an authentication header and an origin.
pub fn teredo(data: &[u8]) -> Result<Step, Bucket> {
    let mut at = 0;
    if let Some([0, 1, client, value]) = data.get(..4) {
        at += 13 + usize::from(*client) + usize::from(*value);
    }
    if data.get(at..).is_some_and(|rest| rest.starts_with(&[0, 0])) {
        at += 8;
    }
    match data.get(at) {
        Some(first) if first >> 4 == 6 && data.len() >= at + 40 => Ok((Next::Ip, at)),
        _ => Err(Bucket::OtherPort),
    }
}

/// L2TP (RFC 2661): version 2, data, fields as the flags say, PPP. Control messages carry no packet.
pub fn l2tp(data: &[u8]) -> Result<Step, Bucket> {
    let flags = number(data, 0).map_err(|_| Bucket::OtherPort)?;
    match flags & 0x800f {
        0x0002 => {}
        0x0003 => return Ok((Next::Sealed("L2TPv3"), 0)),
        _ => return Err(Bucket::OtherPort),
    }
    let mut at = 6 + usize::from(flags & 0x4000 != 0) * 2 + usize::from(flags & 0x0800 != 0) * 4;
    if flags & 0x0200 != 0 {
        at += 2 + usize::from(number(data, at)?);
    }
    Ok((Next::Ppp, at))
}

/// LISP data (RFC 9300): eight bytes, then an IP packet.
pub fn lisp(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(8..) {
        Some(rest) if looks_like_ip(rest) => Ok((Next::Ip, 8)),
        _ => Err(Bucket::OtherPort),
    }
}

/// ESP in UDP (RFC 3948): a security parameters index other than 0, which would begin a key exchange; a keepalive is
/// one byte.
pub fn esp_in_udp(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        None | Some([0, 0, 0, 0, ..]) => Err(Bucket::OtherPort),
        Some(_) => Ok((Next::Sealed("ESP"), 0)),
    }
}

/// `WireGuard`: one of four kinds of message, then three bytes that are 0.
pub fn wireguard(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..4) {
        Some([1..=4, 0, 0, 0]) => Ok((Next::Sealed("WireGuard"), 0)),
        _ => Err(Bucket::OtherPort),
    }
}

/// Most fields of TZSP that are skipped.
const MAX_TAZMEN_FIELDS: usize = 32;

/// TZSP, by which access points and routers send captured frames: version 1, a received packet, Ethernet, fields to
/// the end mark.
pub fn tazmen(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..4) {
        Some([1, 0, 0, 1]) => {}
        Some([1, 0, 0, 18 | 119 | 126 | 127]) => return Ok((Next::Sealed("TZSP of another link"), 0)),
        _ => return Err(Bucket::OtherPort),
    }
    let mut at = 4;
    for _ in 0..MAX_TAZMEN_FIELDS {
        match *data.get(at).ok_or(Bucket::LinkMalformed)? {
            0 => at += 1,
            1 => return Ok((Next::Ethernet, at + 1)),
            _ => at += 2 + usize::from(*data.get(at + 1).ok_or(Bucket::LinkMalformed)?),
        }
    }
    Err(Bucket::NestLimit)
}
