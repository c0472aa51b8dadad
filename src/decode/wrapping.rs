//! What packets are wrapped in, between the link and the innermost IP header: one row per wrapping in
//! [`ETHER_TYPES`], [`PROTOCOLS`] and [`PORTS`], each opened by a function or only named.
//!
//! A wrapping found by a UDP port is believed only when its header makes sense; nothing here is asked for packets on a
//! DNS port. Lengths inside a wrapping come from the headers inside it.

use super::Bucket;
use super::link::{Next, number};

/// What a wrapping's header leads to, and where that begins behind the beginning of the header.
pub type Step = (Next, usize);

/// How a wrapping is opened: from its first byte, or the bucket in which the frame ends.
type Open = fn(&[u8]) -> Result<Step, Bucket>;

/// One wrapping by its number in the header before it.
pub struct Wrapping {
    /// `EtherType`, IP protocol or UDP port.
    pub number: u16,
    /// Name in reports.
    pub name: &'static str,
    /// How it is opened; not at all when it is encrypted or too rare.
    pub open: Option<Open>,
}

/// A wrapping that is opened.
const fn opened(number: u16, name: &'static str, open: Open) -> Wrapping {
    Wrapping { number, name, open: Some(open) }
}

/// A wrapping that is only named and counted.
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
/// The same in UDP (RFC 3948).
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
    opened(4789, "VXLAN", vxlan),
    // The port of Linux before one was assigned, still its default.
    opened(8472, "VXLAN", vxlan),
    opened(4790, "VXLAN-GPE", vxlan_gpe),
    opened(6081, "Geneve", geneve),
    opened(2152, "GTP-U", gtp_user),
    opened(3544, "Teredo", teredo),
    opened(1701, "L2TP", l2tp),
    opened(6635, "MPLS", mpls),
    opened(4754, "GRE", gre_in_udp),
    opened(4341, "LISP", lisp),
    opened(37_008, "TZSP", tazmen),
    opened(ESP_PORT, "ESP", esp_in_udp),
    opened(51_820, "WireGuard", wireguard),
];

/// The row of a number.
pub fn find(rows: &'static [Wrapping], number: u16) -> Option<&'static Wrapping> {
    rows.iter().find(|row| row.number == number)
}

/// Bytes that a header needs to be there.
fn need(data: &[u8], len: usize) -> Result<&[u8], Bucket> {
    data.get(..len).ok_or(Bucket::LinkMalformed)
}

/// A header that says by its size only where the next `EtherType` stands.
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

/// True when the bytes can be an IP packet: its version, lengths that fit.
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

/// An IP packet, or an Ethernet frame when it cannot be one.
fn ip_or_ethernet(data: &[u8], at: usize) -> Step {
    (if data.get(at..).is_some_and(looks_like_ip) { Next::Ip } else { Next::Ethernet }, at)
}

/// Labels in one stack that are passed over.
const MAX_LABELS: usize = 16;

/// MPLS (RFC 3032): labels of four bytes to the one at the bottom. What follows is not named: IP by its version, or a
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

/// True for an `EtherType` that an Ethernet frame inside a pseudowire may well have.
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
        // ERSPAN I has no header of its own and no sequence number; II has both.
        0x88be if flags & 0x1000 == 0 => Ok((Next::Ethernet, at)),
        0x88be => {
            need(data, at + 8)?;
            Ok((Next::Ethernet, at + 8))
        }
        // Keepalives; no 802.3 length stands here.
        0..=0x05ff => Err(Bucket::NonIp),
        _ => Ok((Next::EtherType(protocol), at)),
    }
}

/// GRE in UDP (RFC 8086) on its port.
fn gre_in_udp(data: &[u8]) -> Result<Step, Bucket> {
    let flags = number(data, 0).map_err(|_| Bucket::OtherPort)?;
    if flags & 0x4fff != 0 {
        return Err(Bucket::OtherPort);
    }
    gre(data)
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

/// WCCP redirection: an IP packet, behind four bytes in version 2.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn wccp(data: &[u8]) -> Result<Step, Bucket> {
    Ok((Next::Ip, if looks_like_ip(data) { 0 } else { 4 }))
}

/// VXLAN (RFC 7348): the flag that says there is a network identifier, and a reserved byte that is 0. Another flag
/// announces a protocol field, also on the plain port.
fn vxlan(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0x3b != 0x08 || head[7] != 0 => Err(Bucket::OtherPort),
        Some(head) if head[0] & 4 != 0 => by_next_protocol(head[3], 8),
        Some(_) => Ok((Next::Ethernet, 8)),
        None => Err(Bucket::OtherPort),
    }
}

/// VXLAN-GPE on its port: the protocol field counts, also where the flag for it is not set.
fn vxlan_gpe(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0x33 != 0 || head[0] & 0x0c == 0 || head[7] != 0 => Err(Bucket::OtherPort),
        Some([_, _, _, 0, ..]) => Ok((Next::Ethernet, 8)),
        Some(head) => by_next_protocol(head[3], 8),
        None => Err(Bucket::OtherPort),
    }
}

/// Geneve (RFC 8926): version 0, options in words, an `EtherType`.
fn geneve(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        Some(head) if head[0] & 0xc0 == 0 && matches!(head[1], 0 | 0x40 | 0x80 | 0xc0) && head[7] == 0 => {
            Ok((Next::EtherType(number(data, 2)?), 8 + usize::from(head[0] & 0x3f) * 4))
        }
        _ => Err(Bucket::OtherPort),
    }
}

/// Extension headers of GTP-U that are passed over.
const MAX_GTP_EXTENSIONS: usize = 8;

/// GTP-U (3GPP TS 29.281): version 1, a user's packet, optional fields and extension headers.
fn gtp_user(data: &[u8]) -> Result<Step, Bucket> {
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

/// Teredo (RFC 4380): an IPv6 packet, perhaps behind an authentication header and an origin.
fn teredo(data: &[u8]) -> Result<Step, Bucket> {
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
fn l2tp(data: &[u8]) -> Result<Step, Bucket> {
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
fn lisp(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(8..) {
        Some(rest) if looks_like_ip(rest) => Ok((Next::Ip, 8)),
        _ => Err(Bucket::OtherPort),
    }
}

/// ESP in UDP (RFC 3948): a security parameters index that is not 0, which begins a key exchange; a keepalive is one byte.
fn esp_in_udp(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..8) {
        None | Some([0, 0, 0, 0, ..]) => Err(Bucket::OtherPort),
        Some(_) => Ok((Next::Sealed("ESP"), 0)),
    }
}

/// `WireGuard`: one of four kinds of message, then three bytes that are 0.
fn wireguard(data: &[u8]) -> Result<Step, Bucket> {
    match data.get(..4) {
        Some([1..=4, 0, 0, 0]) => Ok((Next::Sealed("WireGuard"), 0)),
        _ => Err(Bucket::OtherPort),
    }
}

/// Fields of TZSP that are passed over.
const MAX_TAZMEN_FIELDS: usize = 32;

/// TZSP, by which access points and routers send captured frames: version 1, a received packet, Ethernet, fields to
/// the end mark.
fn tazmen(data: &[u8]) -> Result<Step, Bucket> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_panics_on_any_short_or_odd_header() {
        let opens = [ETHER_TYPES, PROTOCOLS, PORTS].into_iter().flatten().filter_map(|row| row.open);
        for open in opens.chain([open_ppp as Open, open_llc]) {
            for len in 0..64 {
                for fill in [0, 1, 3, 6, 0x08, 0x11, 0x30, 0x37, 0x45, 0x60, 0xaa, 0xff] {
                    let _ = open(&vec![fill; len]);
                }
            }
        }
    }

    #[test]
    fn numbers_are_unique_in_each_table() {
        for table in [ETHER_TYPES, PROTOCOLS, PORTS] {
            let mut numbers: Vec<u16> = table.iter().map(|row| row.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), table.len());
        }
    }

    #[test]
    fn tunnels_are_believed_only_with_a_sound_header() {
        // Nothing in a label or in an encrypted packet can be checked.
        for row in PORTS.iter().filter(|row| !matches!(row.name, "MPLS" | "ESP")) {
            let open = row.open.unwrap();
            for noise in [&[0xff; 60][..], b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", &[]] {
                assert_eq!(open(noise), Err(Bucket::OtherPort), "{}", row.name);
            }
        }
    }

    #[test]
    fn headers_with_optional_fields() {
        assert_eq!(gre(&[0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 4)));
        assert_eq!(gre(&[0xb0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 16)));
        assert_eq!(gre(&[0x30, 0x81, 0x88, 0x0b]), Ok((Next::EtherType(0x880b), 16)));
        assert_eq!(gre(&[0, 0, 0x88, 0xbe]), Ok((Next::Ethernet, 4)));
        let mut erspan = vec![0x10, 0, 0x88, 0xbe];
        erspan.resize(40, 0);
        assert_eq!(gre(&erspan), Ok((Next::Ethernet, 16)));
        assert_eq!(open_ppp(&[0xff, 3, 0, 0x21]), Ok((Next::Ip, 4)));
        assert_eq!(open_ppp(&[0x21]), Ok((Next::Ip, 1)));
        assert_eq!(open_ppp(&[0xc0, 0x21]), Err(Bucket::NonIp));
        assert_eq!(open_llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), Ok((Next::EtherType(0x0800), 8)));
        let mut authenticated = vec![0, 1, 2, 3];
        authenticated.resize(13 + 5, 9);
        authenticated.extend([0, 0, 1, 2, 3, 4, 5, 6, 0x60]);
        authenticated.resize(26 + 40, 0);
        assert_eq!(teredo(&authenticated), Ok((Next::Ip, 26)));
        assert_eq!(l2tp(&[0x42, 2, 0, 20, 0, 1, 0, 2, 0, 0]), Ok((Next::Ppp, 10)));
        let mut gtp = vec![0x34, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0, 0x45];
        assert_eq!(gtp_user(&gtp), Ok((Next::Ip, 16)));
        gtp[12] = 0;
        assert_eq!(gtp_user(&gtp), Err(Bucket::LinkMalformed));
    }

    #[test]
    fn encrypted_tunnels_are_told_from_what_sets_them_up() {
        let exchange = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(esp_in_udp(&exchange[4..]), Ok((Next::Sealed("ESP"), 0)));
        assert_eq!(esp_in_udp(&exchange), Err(Bucket::OtherPort));
        assert_eq!(esp_in_udp(&[0xff]), Err(Bucket::OtherPort), "a keepalive");
        assert_eq!(wireguard(&[4, 0, 0, 0, 9]), Ok((Next::Sealed("WireGuard"), 0)));
        assert_eq!(wireguard(&[5, 0, 0, 0, 9]), Err(Bucket::OtherPort));
    }
}
