//! Turns packets into frames: every encapsulation as a function, fragments, and the file around them.

use crate::conversation::Packet;

/// Puts something around a packet.
pub type Wrap = fn(&[u8]) -> Vec<u8>;

/// Every wrapping with its link type.
pub const WRAPPINGS: &[(&str, u32, Wrap)] = &[
    ("VLAN", 1, |packet| tagged(7, &ethernet(packet))),
    ("QinQ", 1, |packet| tagged(3, &tagged(7, &ethernet(packet)))),
    ("MPLS", 1, |packet| of_type(0x8847, &[&[0, 0x10, 0, 64, 0, 0x11, 1, 64], packet])),
    ("MPLS pseudowire", 1, |packet| of_type(0x8847, &[&[0, 0x10, 1, 64, 0, 0, 0, 0], &ethernet(packet)])),
    ("PPPoE", 1, |packet| {
        let len = (packet.len() as u16 + 2).to_be_bytes();
        of_type(0x8864, &[&[0x11, 0, 0, 1], &len, &ppp_protocol(packet), packet])
    }),
    ("SNAP", 1, |packet| {
        let kind = ether_type(packet).to_be_bytes();
        of_type((packet.len() as u16 + 8).min(1500), &[&[0xaa, 0xaa, 3, 0, 0, 0], &kind, packet])
    }),
    ("FabricPath", 1, |packet| of_type(0x8903, &[&[0x40, 0x20], &ethernet(packet)])),
    ("PBB", 1, |packet| of_type(0x88e7, &[&[0, 0, 0, 9], &ethernet(packet)])),
    ("MACsec without encryption", 1, |packet| {
        let kind = ether_type(packet).to_be_bytes();
        of_type(0x88e5, &[&[0, 0, 0, 0, 0, 1], &kind, packet])
    }),
    ("IP in IP", 1, |packet| ethernet(&ip_in_ip(packet))),
    ("IP in IPv6", 1, |packet| ethernet(&ip_in_ipv6(packet))),
    ("AH", 1, |packet| {
        let protocol = if packet[0] >> 4 == 6 { 41 } else { 4 };
        ethernet(&ipv4(51, &[&[protocol, 4], &[0; 22], packet]))
    }),
    ("GRE", 1, |packet| ethernet(&gre(packet))),
    ("GRE with all fields", 1, |packet| {
        let kind = ether_type(packet).to_be_bytes();
        ethernet(&ipv4(47, &[&[0xb0, 0], &kind, &[0; 12], packet]))
    }),
    ("GRE around Ethernet", 1, |packet| ethernet(&ipv4(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 1, 0], &ethernet(packet)]))),
    ("PPTP", 1, |packet| {
        let head = [0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 3];
        ethernet(&ipv4(47, &[&head, &ppp_protocol(packet), packet]))
    }),
    ("ERSPAN I", 1, |packet| ethernet(&ipv4(47, &[&[0, 0, 0x88, 0xbe], &ethernet(packet)]))),
    ("ERSPAN II", 1, |packet| {
        ethernet(&ipv4(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], &[0x10, 0, 0, 1, 0, 0, 0, 0], &ethernet(packet)]))
    }),
    ("ERSPAN III", 1, |packet| {
        let head = [0x20, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        ethernet(&ipv4(47, &[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1], &head, &ethernet(packet)]))
    }),
    ("VXLAN", 1, |packet| ethernet(&vxlan(packet))),
    ("VXLAN on Linux's port", 1, |packet| ethernet(&udp(8472, &[&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(packet)]))),
    ("VXLAN-GPE", 1, |packet| {
        ethernet(&udp(4790, &[&[0x0c, 0, 0, if packet[0] >> 4 == 6 { 2 } else { 1 }, 0, 0, 1, 0], packet]))
    }),
    ("Geneve", 1, |packet| ethernet(&udp(6081, &[&[2, 0, 0x65, 0x58, 0, 0, 1, 0], &[0; 8], &ethernet(packet)]))),
    ("GTP-U", 1, |packet| ethernet(&gtp(packet))),
    ("L2TP", 1, |packet| ethernet(&udp(1701, &[&[0x40, 2, 0, 0, 0, 1, 0, 1, 0xff, 3], &ppp_protocol(packet), packet]))),
    ("EtherIP", 1, |packet| ethernet(&ipv4(97, &[&[0x30, 0], &ethernet(packet)]))),
    ("LISP", 1, |packet| ethernet(&udp(4341, &[&[0; 8], packet]))),
    ("TZSP", 1, |packet| ethernet(&udp(37_008, &[&[1, 0, 0, 1, 1], &ethernet(packet)]))),
    ("raw IP", 101, <[u8]>::to_vec),
    ("PPP", 9, |packet| [&[0xff, 3], &ppp_protocol(packet)[..], packet].concat()),
    ("Cisco HDLC", 104, |packet| [&[0x0f, 0], &ether_type(packet).to_be_bytes()[..], packet].concat()),
    ("frame relay", 107, |packet| {
        let protocol = if packet[0] >> 4 == 6 { 0x8e } else { 0xcc };
        [&[0x18, 0x41, 3, protocol], packet].concat()
    }),
    ("802.11", 105, |packet| wireless(packet)),
    ("802.11 behind radiotap", 127, |packet| [&[0, 0, 8, 0, 0, 0, 0, 0], &wireless(packet)[..]].concat()),
    ("802.11 behind PPI", 192, |packet| [&[0, 0, 8, 0, 105, 0, 0, 0], &wireless(packet)[..]].concat()),
    ("NFLOG", 239, |packet| {
        let family = if packet[0] >> 4 == 6 { 10 } else { 2 };
        let len = (packet.len() as u16 + 4).to_le_bytes();
        [&[family, 0, 0, 0, 5, 0, 10, 0, 1, 0, 0, 0], &len[..], &[9, 0], packet].concat()
    }),
    ("packet filter log", 117, |packet| [&[61], &[0; 63][..], packet].concat()),
    ("Broadcom's switch tag", 281, |packet| switch_tagged(&[0x20, 0, 0, 0x80], packet)),
    ("Broadcom's switch tag in front", 282, |packet| [&[0x20, 0, 0, 0x80], &ethernet(packet)[..]].concat()),
    ("Marvell's switch tag", 284, |packet| switch_tagged(&[0xc0, 0x08, 0, 0], packet)),
    ("Marvell's switch tag with a type", 285, |packet| switch_tagged(&[0xda, 0xda, 0, 0, 0xc0, 0x08, 0, 0], packet)),
];

/// Wrappings of IP packets in IP packets.
pub const OVER_IP: &[(&str, u32, Wrap)] = &[
    ("VXLAN", 1, vxlan),
    ("GRE", 1, gre),
    ("IP in IP", 1, ip_in_ip),
    ("IP in IPv6", 1, ip_in_ipv6),
    ("GTP-U", 1, gtp),
];

/// A file of frames with their times in microseconds.
pub fn pcap(link_type: u32, frames: impl Iterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link_type].map(u32::to_le_bytes).concat();
    for (time, frame) in frames {
        let (seconds, micros) = (1_700_000_000 + (time / 1_000_000) as u32, (time % 1_000_000) as u32);
        bytes.extend([seconds, micros, frame.len() as u32, frame.len() as u32].map(u32::to_le_bytes).concat());
        bytes.extend(frame);
    }
    bytes
}

/// An Ethernet frame around a packet.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    of_type(ether_type(packet), &[packet])
}

/// A frame with one more VLAN tag.
pub fn tagged(vlan: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// An Ethernet frame with a switch chip's tag behind the addresses.
fn switch_tagged(tag: &[u8], packet: &[u8]) -> Vec<u8> {
    let frame = ethernet(packet);
    [&frame[..12], tag, &frame[12..]].concat()
}

/// The fragments of a packet with `size` bytes each; the packet itself when it is not larger.
pub fn fragments(packet: &Packet, size: usize) -> Vec<Vec<u8>> {
    let payload = &packet.payload;
    if payload.len() <= size {
        return vec![packet.bytes()];
    }
    let part = |from: usize| {
        let to = (from + size).min(payload.len());
        let more = to < payload.len();
        if packet.v6 {
            let mut header = vec![packet.protocol, 0];
            header.extend((from as u16 | u16::from(more)).to_be_bytes());
            header.extend(u32::from(packet.id).to_be_bytes());
            header.extend(&payload[from..to]);
            packet.around(&header, 0, 44)
        } else {
            packet.around(&payload[from..to], (from / 8) as u16 | if more { 0x2000 } else { 0 }, packet.protocol)
        }
    };
    (0..payload.len()).step_by(size).map(part).collect()
}

fn ether_type(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }
}

fn of_type(ether_type: u16, parts: &[&[u8]]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &ether_type.to_be_bytes()[..], &parts.concat()].concat()
}

fn ppp_protocol(packet: &[u8]) -> [u8; 2] {
    if packet[0] >> 4 == 6 { [0, 0x57] } else { [0, 0x21] }
}

/// A tunnel's packet; its identification is 0, so that nothing depends on it.
fn ipv4(protocol: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let len = (20 + payload.len() as u16).to_be_bytes();
    let head = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2];
    [&head[..], &payload].concat()
}

fn udp(port: u16, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let len = (8 + payload.len() as u16).to_be_bytes();
    ipv4(17, &[&[0xc0, 0], &port.to_be_bytes(), &len, &[0, 0], &payload])
}

fn ip_in_ip(packet: &[u8]) -> Vec<u8> {
    ipv4(if packet[0] >> 4 == 6 { 41 } else { 4 }, &[packet])
}

fn ip_in_ipv6(packet: &[u8]) -> Vec<u8> {
    let len = (packet.len() as u16).to_be_bytes();
    let protocol = if packet[0] >> 4 == 6 { 41 } else { 4 };
    [&[0x60, 0, 0, 0, len[0], len[1], protocol, 64], &[0xfd; 32][..], packet].concat()
}

fn gre(packet: &[u8]) -> Vec<u8> {
    ipv4(47, &[&[0, 0], &ether_type(packet).to_be_bytes(), packet])
}

fn vxlan(packet: &[u8]) -> Vec<u8> {
    udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(packet)])
}

fn gtp(packet: &[u8]) -> Vec<u8> {
    let len = (packet.len() as u16 + 8).to_be_bytes();
    udp(2152, &[&[0x34, 0xff, len[0], len[1], 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 0, 0], packet])
}

fn wireless(packet: &[u8]) -> Vec<u8> {
    let kind = ether_type(packet).to_be_bytes();
    [&[0x88, 1], &[0; 24][..], &[0xaa, 0xaa, 3, 0, 0, 0], &kind, packet].concat()
}
