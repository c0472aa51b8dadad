//! The link layer: a frame's first bytes to what follows them ([`Link`]), one row per link type in [`LINK_TYPES`].

use super::Bucket;
use crate::capture::Direction;

/// What a link header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What follows.
    pub next: Next,
    /// Where it begins.
    pub at: usize,
    /// Direction, when the link header tells.
    pub direction: Option<Direction>,
    /// Interface index on the capturing host, when the link header tells.
    pub interface: Option<u32>,
}

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A protocol by its `EtherType`, or an 802.3 length below 1536.
    EtherType(u16),
    /// IPv4 or IPv6, by the version field.
    Ip,
}

/// Opens a link header, or says in which bucket the frame ends.
type Open = fn(&[u8]) -> Result<Link, Bucket>;

/// One link type: its LINKTYPE_ number, its name, and how it is opened.
pub struct LinkType {
    /// LINKTYPE_ value, as registered with libpcap.
    pub number: u16,
    /// Name without the LINKTYPE_ prefix.
    pub name: &'static str,
    open: Open,
}

/// Every link type that is opened.
pub const LINK_TYPES: &[LinkType] = &[
    LinkType { number: 1, name: "ETHERNET", open: ethernet },
    LinkType { number: 276, name: "LINUX_SLL2", open: linux_sll2 },
    LinkType { number: 113, name: "LINUX_SLL", open: linux_sll },
    LinkType { number: 101, name: "RAW", open: raw },
    LinkType { number: 228, name: "IPV4", open: raw },
    LinkType { number: 229, name: "IPV6", open: raw },
    // The number of RAW where DLT_ and LINKTYPE_ were confused; OpenBSD and others.
    LinkType { number: 12, name: "RAW", open: raw },
    LinkType { number: 14, name: "RAW", open: raw },
    LinkType { number: 0, name: "NULL", open: null },
    LinkType { number: 108, name: "LOOP", open: null },
];

/// The row of a link type.
#[inline]
pub fn find(number: u16) -> Option<&'static LinkType> {
    LINK_TYPES.iter().find(|row| row.number == number)
}

/// The name of a link type, or its number where it is not known.
pub fn name(number: u16) -> String {
    find(number).map_or_else(|| number.to_string(), |row| row.name.to_string())
}

impl LinkType {
    /// Opens the link header of a frame of this type.
    #[inline]
    pub fn open(&self, data: &[u8]) -> Result<Link, Bucket> {
        if self.number == 1 { ethernet(data) } else { (self.open)(data) }
    }
}

/// A link whose header says nothing about direction and interface.
fn link(next: Next, at: usize) -> Link {
    Link { next, at, direction: None, interface: None }
}

/// Two bytes in network order; a frame that is too short is malformed (or cut, which the caller knows).
#[inline]
fn number(data: &[u8], at: usize) -> Result<u16, Bucket> {
    match data.get(at..at + 2) {
        Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
        None => Err(Bucket::LinkMalformed),
    }
}

/// IEEE 802.3: destination, source, type.
#[inline]
fn ethernet(data: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::EtherType(number(data, 12)?), 14))
}

/// ARPHRD_ values whose frames do not carry an `EtherType` in a cooked header.
const NO_ETHERTYPE: [u16; 5] = [
    // GRE over IPv4, GRE over IPv6 (an inner protocol), netlink, radiotap, FRAD.
    778, 823, 824, 803, 770,
];

/// Linux cooked v1: packet type, ARPHRD_, address length, address (8), protocol.
fn linux_sll(data: &[u8]) -> Result<Link, Bucket> {
    let next = cooked(number(data, 14)?, number(data, 2)?)?;
    Ok(Link { next, at: 16, direction: direction(number(data, 0)?), interface: None })
}

/// Linux cooked v2: protocol, reserved, interface index, ARPHRD_, packet type, address length, address (8).
fn linux_sll2(data: &[u8]) -> Result<Link, Bucket> {
    if data.len() < 20 {
        return Err(Bucket::LinkMalformed);
    }
    let next = cooked(number(data, 0)?, number(data, 8)?)?;
    let interface = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
    Ok(Link { next, at: 20, direction: direction(u16::from(data[10])), interface: Some(interface) })
}

/// What a cooked header's protocol field means for its kind of interface.
fn cooked(protocol: u16, hardware: u16) -> Result<Next, Bucket> {
    match hardware {
        // GRE devices give the protocol of what they carry; IPv4 and IPv6 keep their EtherType there.
        778 | 823 if matches!(protocol, 0x0800 | 0x86dd) => Ok(Next::EtherType(protocol)),
        _ if NO_ETHERTYPE.contains(&hardware) => Err(Bucket::NonIp),
        _ => Ok(Next::EtherType(protocol)),
    }
}

/// Packet types of Linux: 4 leaves the host, 0 to 2 arrive; 3 is somebody else's.
fn direction(packet_type: u16) -> Option<Direction> {
    match packet_type {
        4 => Some(Direction::Out),
        0..=2 => Some(Direction::In),
        _ => None,
    }
}

/// IPv4 or IPv6 without a link header.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn raw(_: &[u8]) -> Result<Link, Bucket> {
    Ok(link(Next::Ip, 0))
}

/// BSD loopback: the address family as a 32-bit number in the byte order of the capturing host (NULL) or the network
/// (LOOP). Families of IPv6 differ between systems.
fn null(data: &[u8]) -> Result<Link, Bucket> {
    let head = data.get(..4).ok_or(Bucket::LinkMalformed)?;
    let family = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 | 10 | 23 | 24 | 28 | 30 => Ok(link(Next::Ip, 4)),
        _ => Err(Bucket::NonIp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_survives_every_short_frame() {
        for row in LINK_TYPES {
            for len in 0..24 {
                if let Ok(link) = row.open(&vec![0; len]) {
                    assert!(link.at <= 20, "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn cooked_v2_tells_interface_and_direction() {
        let mut frame = vec![0x08, 0x00, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6];
        frame.resize(20, 0);
        let link = find(276).unwrap().open(&frame).unwrap();
        assert_eq!(
            link,
            Link { next: Next::EtherType(0x0800), at: 20, direction: Some(Direction::Out), interface: Some(7) }
        );
    }

    #[test]
    fn loopback_families_in_both_byte_orders() {
        for head in [[2, 0, 0, 0], [0, 0, 0, 2], [30, 0, 0, 0], [0, 0, 0, 24]] {
            assert_eq!(find(0).unwrap().open(&head).unwrap().next, Next::Ip, "{head:?}");
        }
        assert_eq!(find(108).unwrap().open(&[0, 0, 0, 7]), Err(Bucket::NonIp));
    }
}
