//! Encapsulations between the link and the innermost IP header: one row each in [`ETHER_TYPES`], [`PROTOCOLS`] and
//! [`PORTS`], either opened by a function or only named.
//!
//! An encapsulation identified by a UDP port is believed only when its header makes sense, and packets on a DNS port
//! are never tried. Lengths inside an encapsulation come from the headers inside it.

mod udp;

use super::Bucket;
use super::link::{Next, number};

/// What follows an encapsulation's header, and its offset from the start of that header.
pub type Step = (Next, usize);

/// Opens an encapsulation from its first byte, or returns the bucket in which the frame ends.
type Open = fn(&[u8]) -> Result<Step, Bucket>;

/// One encapsulation, by its number in the header before it.
pub struct Wrapping {
    /// `EtherType`, IP protocol or UDP port.
    pub number: u16,
    /// Its name in reports.
    pub name: &'static str,
    /// How to open it; `None` when it is encrypted or too rare.
    pub open: Option<Open>,
}

/// An encapsulation that is opened.
const fn opened(number: u16, name: &'static str, open: Open) -> Wrapping {
    Wrapping { number, name, open: Some(open) }
}

/// An encapsulation that is only named and counted.
const fn named(number: u16, name: &'static str) -> Wrapping {
    Wrapping { number, name, open: None }
}

/// By `EtherType` (also inside GRE and cooked captures of GRE devices).
pub const ETHER_TYPES: &[Wrapping] = &[
    opened(0x8847, "MPLS", mpls),
    opened(0x8848, "MPLS", mpls),
    opened(0x8864, "PPPoE", pppoe),
    opened(0x88e7, "PBB", pbb),
    opened(0x6558, "TEB", ethernet),
    opened(0x880b, "PPP", ppp),
    opened(0x88e5, "MACsec", macsec),
    opened(0x8926, "VN-Tag", |data| tag(data, 2)),
    opened(0x893f, "E-Tag", |data| tag(data, 6)),
    // A forwarding tag of two bytes, then the customer's whole frame.
    opened(0x8903, "FabricPath", |_| Ok((Next::Ethernet, 2))),
    opened(0xf1c1, "R-Tag", |data| tag(data, 4)),
    opened(0x22f3, "TRILL", trill),
    opened(0x894f, "NSH", service_header),
    opened(0x22eb, "ERSPAN III", erspan_3),
    opened(0x883e, "WCCP", wccp),
    named(0x8870, "jumbo LLC"),
    named(0x876b, "compressed TCP/IP"),
];

/// Encapsulating security payload (RFC 4303).
pub const ESP: u8 = 50;
/// ESP in UDP (RFC 3948).
pub const ESP_PORT: u16 = 4500;

/// By protocol number in an IP header.
pub const PROTOCOLS: &[Wrapping] = &[
    opened(4, "IP in IP", ip),
    opened(41, "IPv6 in IP", ip),
    opened(47, "GRE", gre),
    named(ESP as u16, "ESP"),
    named(55, "minimal encapsulation"),
    opened(94, "IP in IP", ip),
    opened(97, "EtherIP", |_| Ok((Next::Ethernet, 2))),
    named(98, "encapsulation header"),
    named(108, "IPComp"),
    named(115, "L2TPv3"),
    opened(137, "MPLS", mpls),
    opened(143, "Ethernet in IP", ethernet),
];

/// By UDP port, as source or destination.
pub const PORTS: &[Wrapping] = &[
    opened(4789, "VXLAN", udp::vxlan),
    // The port of Linux from before one was assigned, still its default.
    opened(8472, "VXLAN", udp::vxlan),
    opened(4790, "VXLAN-GPE", udp::vxlan_gpe),
    opened(6081, "Geneve", udp::geneve),
    opened(2152, "GTP-U", udp::gtp_user),
    opened(3544, "Teredo", udp::teredo),
    opened(1701, "L2TP", udp::l2tp),
    opened(6635, "MPLS", mpls),
    opened(4754, "GRE", udp::gre_in_udp),
    opened(4341, "LISP", udp::lisp),
    opened(37_008, "TZSP", udp::tazmen),
    opened(ESP_PORT, "ESP", udp::esp_in_udp),
    opened(51_820, "WireGuard", udp::wireguard),
];

/// Finds the row of a number.
pub fn find(rows: &'static [Wrapping], number: u16) -> Option<&'static Wrapping> {
    rows.iter().find(|row| row.number == number)
}

/// Checks that the bytes of a header are present.
fn need(data: &[u8], len: usize) -> Result<&[u8], Bucket> {
    data.get(..len).ok_or(Bucket::LinkMalformed)
}

/// A header of which only the size matters, up to the next `EtherType`.
fn tag(data: &[u8], at: usize) -> Result<Step, Bucket> {
    Ok((Next::EtherType(number(data, at)?), at + 2))
}

#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn ip(_: &[u8]) -> Result<Step, Bucket> {
    Ok((Next::Ip, 0))
}

#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn ethernet(_: &[u8]) -> Result<Step, Bucket> {
    Ok((Next::Ethernet, 0))
}

#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn ppp(_: &[u8]) -> Result<Step, Bucket> {
    Ok((Next::Ppp, 0))
}

/// True when the bytes can be an IP packet, by version and lengths.
pub fn looks_like_ip(data: &[u8]) -> bool {
    match data.first().map(|first| first >> 4) {
        Some(4) => {
            let header = usize::from(data[0] & 15) * 4;
            let total = number(data, 2).map_or(0, usize::from);
            header >= 20 && (total == 0 || total >= header) && data.len() >= header
        }
        Some(6) => data.len() >= 40,
        _ => false,
    }
}

/// An IP packet, or an Ethernet frame where it cannot be one.
fn ip_or_ethernet(data: &[u8], at: usize) -> Step {
    (if data.get(at..).is_some_and(looks_like_ip) { Next::Ip } else { Next::Ethernet }, at)
}

/// Most labels skipped in one stack.
const MAX_LABELS: usize = 16;

/// MPLS (RFC 3032): labels of four bytes down to the bottom one. What follows has no type: IP by its version, or a
/// pseudowire with (RFC 4385) or without a control word.
fn mpls(data: &[u8]) -> Result<Step, Bucket> {
    for index in 0..MAX_LABELS {
        let label = need(&data[(index * 4).min(data.len())..], 4)?;
        if label[2] & 1 == 1 {
            let at = (index + 1) * 4;
            let rest = &data[at..];
            return Ok(match rest.first().map(|first| first >> 4) {
                Some(0) if rest.len() > 4 && rest.get(12..14).is_none_or(|kind| !is_ether_type(kind)) => {
                    (Next::Ethernet, at + 4)
                }
                _ => ip_or_ethernet(data, at),
            });
        }
    }
    Err(Bucket::NestLimit)
}

/// True for an `EtherType` that an Ethernet frame inside a pseudowire may plausibly have.
fn is_ether_type(bytes: &[u8]) -> bool {
    matches!(u16::from_be_bytes([bytes[0], bytes[1]]), 0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x8847)
}

/// PPP over Ethernet, session stage (RFC 2516): version and type, code 0, session, length, PPP.
fn pppoe(data: &[u8]) -> Result<Step, Bucket> {
    let head = need(data, 6)?;
    if head[0] != 0x11 || head[1] != 0 {
        return Err(Bucket::LinkMalformed);
    }
    Ok((Next::Ppp, 6))
}

/// PPP (RFC 1661): address and control unless compressed, protocol of one or two bytes.
pub fn open_ppp(data: &[u8]) -> Result<Step, Bucket> {
    let mut at = if data.starts_with(&[0xff, 3]) { 2 } else { 0 };
    let first = *data.get(at).ok_or(Bucket::LinkMalformed)?;
    let protocol = if first & 1 == 1 {
        at += 1;
        u16::from(first)
    } else {
        at += 2;
        number(data, at - 2)?
    };
    match protocol {
        0x0021 | 0x0057 => Ok((Next::Ip, at)),
        0x0281 => Ok((Next::EtherType(0x8847), at)),
        0x0283 => Ok((Next::EtherType(0x8848), at)),
        0x0031 => Ok((Next::Ethernet, at + 2)),
        0x002d | 0x002f | 0x0061 | 0x0063 | 0x0065 => Ok((Next::Sealed("compressed TCP/IP"), at)),
        0x00fd => Ok((Next::Sealed("compressed PPP"), at)),
        0x003d => Ok((Next::Sealed("multilink PPP"), at)),
        0x0053 => Ok((Next::Sealed("encrypted PPP"), at)),
        _ => Err(Bucket::NonIp),
    }
}

/// LLC (IEEE 802.2), with the extension that names an `EtherType` (SNAP, RFC 1042).
pub fn open_llc(data: &[u8]) -> Result<Step, Bucket> {
    match *need(data, 3)? {
        [0xaa, 0xaa, 3] => match need(data, 8)?[3..6] {
            [0, 0, 0 | 0xf8] => Ok((Next::EtherType(number(data, 6)?), 8)),
            _ => Err(Bucket::NonIp),
        },
        [6, 6, 3] => Ok((Next::Ip, 3)),
        _ => Err(Bucket::NonIp),
    }
}

/// Provider backbone bridge (IEEE 802.1ah) behind its tag's type: service, then the customer's whole frame.
fn pbb(data: &[u8]) -> Result<Step, Bucket> {
    need(data, 4)?;
    Ok((Next::Ethernet, 4))
}

/// `MACsec` (IEEE 802.1AE): readable only when it authenticates without encrypting.
fn macsec(data: &[u8]) -> Result<Step, Bucket> {
    let head = need(data, 6)?;
    let at = if head[0] & 0x20 == 0 { 6 } else { 14 };
    match head[0] & 0x0c {
        0 => tag(data, at),
        _ => Ok((Next::Sealed("MACsec"), at)),
    }
}

/// TRILL (RFC 6325): six bytes and options in words, then an Ethernet frame.
fn trill(data: &[u8]) -> Result<Step, Bucket> {
    let words = usize::from(number(data, 0)? >> 6 & 0x1f);
    Ok((Next::Ethernet, 6 + words * 4))
}

/// Network service header (RFC 8300).
fn service_header(data: &[u8]) -> Result<Step, Bucket> {
    let head = need(data, 8)?;
    let at = usize::from(head[1] & 0x3f) * 4;
    by_next_protocol(head[3], at)
}

/// The "next protocol" numbers that VXLAN-GPE and the network service header share.
fn by_next_protocol(protocol: u8, at: usize) -> Result<Step, Bucket> {
    match protocol {
        1 | 2 => Ok((Next::Ip, at)),
        3 => Ok((Next::Ethernet, at)),
        4 => Ok((Next::EtherType(0x894f), at)),
        5 => Ok((Next::EtherType(0x8847), at)),
        _ => Err(Bucket::NonIp),
    }
}

/// GRE (RFC 2784, RFC 2890) and its version for PPTP (RFC 2637).
fn gre(data: &[u8]) -> Result<Step, Bucket> {
    let (flags, protocol) = (number(data, 0)?, number(data, 2)?);
    let field = |bit: u16| usize::from(flags & bit != 0) * 4;
    if flags & 7 == 1 {
        // Payload length and call, then sequence and acknowledgment.
        return Ok((Next::EtherType(protocol), 8 + field(0x1000) + field(0x0080)));
    }
    if flags & 7 != 0 {
        return Err(Bucket::OtherProtocol);
    }
    if flags & 0x4000 != 0 {
        return Ok((Next::Sealed("GRE with source routes"), 4));
    }
    let at = 4 + field(0x8000) + field(0x2000) + field(0x1000);
    match protocol {
        // ERSPAN type I has neither a header of its own nor a sequence number; type II has both.
        0x88be if flags & 0x1000 == 0 => Ok((Next::Ethernet, at)),
        0x88be => {
            need(data, at + 8)?;
            Ok((Next::Ethernet, at + 8))
        }
        // Keepalives; an 802.3 length cannot be here.
        0..=0x05ff => Err(Bucket::NonIp),
        _ => Ok((Next::EtherType(protocol), at)),
    }
}

/// ERSPAN III: twelve bytes, eight more with the platform's, then a frame or an IP packet.
fn erspan_3(data: &[u8]) -> Result<Step, Bucket> {
    let head = need(data, 12)?;
    let at = if head[11] & 1 == 1 { 20 } else { 12 };
    match head[10] >> 2 & 0x1f {
        0 => Ok((Next::Ethernet, at)),
        2 => Ok((Next::Ip, at)),
        _ => Err(Bucket::NonIp),
    }
}

/// WCCP redirection: an IP packet, after four bytes in version 2.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn wccp(data: &[u8]) -> Result<Step, Bucket> {
    Ok((Next::Ip, if looks_like_ip(data) { 0 } else { 4 }))
}

#[cfg(test)]
mod tests;
