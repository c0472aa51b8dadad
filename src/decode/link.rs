//! The link layer: a frame's first bytes to what follows them ([`Link`]), one row per link type in [`LINK_TYPES`].

use super::{Bucket, other_links, wireless};
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
    /// An Ethernet frame.
    Ethernet,
    /// A PPP frame, from its protocol field or the address before that.
    Ppp,
    /// An LLC header (IEEE 802.2).
    Llc,
    /// A frame of another link type.
    LinkType(u32),
    /// Something by this name that cannot be opened.
    Sealed(&'static str),
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
    LinkType { number: 6, name: "IEEE802_5", open: other_links::token_ring },
    LinkType { number: 7, name: "ARCNET_BSD", open: |data| other_links::arcnet(data, 2) },
    LinkType { number: 8, name: "SLIP", open: other_links::slip },
    LinkType { number: 9, name: "PPP", open: other_links::ppp },
    LinkType { number: 10, name: "FDDI", open: other_links::fddi },
    LinkType { number: 50, name: "PPP_HDLC", open: other_links::ppp },
    LinkType { number: 51, name: "PPP_ETHER", open: other_links::pppoe },
    LinkType { number: 104, name: "C_HDLC", open: other_links::cisco_hdlc },
    LinkType { number: 105, name: "IEEE802_11", open: wireless::plain },
    LinkType { number: 107, name: "FRELAY", open: other_links::frame_relay },
    LinkType { number: 109, name: "ENC", open: other_links::enc },
    LinkType { number: 117, name: "PFLOG", open: other_links::pflog },
    LinkType { number: 119, name: "IEEE802_11_PRISM", open: wireless::prism },
    LinkType { number: 122, name: "IP_OVER_FC", open: other_links::fibre_channel },
    LinkType { number: 127, name: "IEEE802_11_RADIOTAP", open: wireless::radiotap },
    LinkType { number: 129, name: "ARCNET_LINUX", open: |data| other_links::arcnet(data, 4) },
    LinkType { number: 138, name: "APPLE_IP_OVER_IEEE1394", open: other_links::firewire },
    LinkType { number: 163, name: "IEEE802_11_AVS", open: wireless::avs },
    LinkType { number: 166, name: "PPP_PPPD", open: other_links::ppp },
    LinkType { number: 192, name: "PPI", open: wireless::per_packet_information },
    LinkType { number: 204, name: "PPP_WITH_DIR", open: other_links::ppp_with_direction },
    LinkType { number: 239, name: "NFLOG", open: other_links::nflog },
    LinkType { number: 242, name: "IPOIB", open: other_links::infiniband },
    LinkType { number: 258, name: "PKTAP", open: other_links::pktap },
];

/// Link types that are only named.
const NAMED: &[(u16, &str)] = &[
    (11, "ATM_RFC1483"),
    (100, "ATM_RFC1483"),
    (123, "SUNATM"),
    (143, "DOCSIS"),
    (147, "USER0"),
    (165, "BACNET_MS_TP"),
    (177, "LINUX_LAPD"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (195, "IEEE802_15_4_WITHFCS"),
    (197, "ERF"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (220, "USB_LINUX_MMAPPED"),
    (226, "IPNET"),
    (227, "CAN_SOCKETCAN"),
    (230, "IEEE802_15_4_NOFCS"),
    (240, "NETANALYZER"),
    (249, "USBPCAP"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (265, "VSOCK"),
    (272, "VPP_DISPATCH"),
];

/// The row of a link type.
#[inline]
pub fn find(number: u16) -> Option<&'static LinkType> {
    LINK_TYPES.iter().find(|row| row.number == number)
}

/// The name of a link type, or its number where it is not known.
pub fn name(number: u16) -> String {
    let named = || NAMED.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    find(number).map(|row| row.name).or_else(named).map_or_else(|| number.to_string(), str::to_string)
}

impl LinkType {
    /// Opens the link header of a frame of this type.
    #[inline]
    pub fn open(&self, data: &[u8]) -> Result<Link, Bucket> {
        if self.number == 1 { ethernet(data) } else { (self.open)(data) }
    }
}

/// A link whose header says nothing about direction and interface.
pub fn link(next: Next, at: usize) -> Link {
    Link { next, at, direction: None, interface: None }
}

/// Two bytes in network order; a frame that is too short is malformed (or cut, which the caller knows).
#[inline]
pub fn number(data: &[u8], at: usize) -> Result<u16, Bucket> {
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
        778 | 823 if matches!(protocol, 0x0800 | 0x86dd | 0x6558 | 0x8847) => Ok(Next::EtherType(protocol)),
        803 => Ok(Next::LinkType(127)),
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
        // Some systems put Cisco HDLC here: address, control, EtherType.
        _ if matches!(head[2..], [0x08, 0x00] | [0x86, 0xdd]) => Ok(link(Next::Ip, 4)),
        _ => Err(Bucket::NonIp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_survives_every_short_frame() {
        for row in LINK_TYPES {
            for len in 0..200 {
                for fill in [0, 1, 2, 4, 8, 0x88, 0xd4, 0xff] {
                    if let Ok(link) = row.open(&vec![fill; len]) {
                        assert!(link.at <= 0x1_0000, "{}", row.name);
                    }
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
