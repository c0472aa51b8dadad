//! Packets inside other packets: labels, tunnels, point-to-point links, also nested without end.
//!
//! What is not opened must be named, so that nobody concludes that there was nothing in it.

use crate::case::case;
use crate::container::followed_by;
use crate::dns::Message;
use crate::files::{Pcap, pcap};
use crate::wire::{Ipv4, Ipv6, TYPE_IPV4, Udp, ethernet, ethernet_of_type, to_server};

/// An IPv4 packet with a query.
fn inner() -> Vec<u8> {
    Ipv4::default().around(&Udp::default().around(&Message::query("inner.test").bytes()))
}

/// An MPLS label stack of `count` labels.
fn label_stack(count: usize, closed: bool) -> Vec<u8> {
    (0..count).flat_map(|index| [0, 0x10, u8::from(closed && index + 1 == count), 64]).collect()
}

/// A GRE packet (RFC 2784, RFC 2890) with the given flags and protocol.
fn gre(flags: u16, protocol: u16, rest: &[u8]) -> Vec<u8> {
    let mut payload = flags.to_be_bytes().to_vec();
    payload.extend(protocol.to_be_bytes());
    payload.extend(rest);
    Ipv4 { protocol: 47, ..Ipv4::default() }.around(&payload)
}

/// A datagram to the port of a tunnel.
fn to_port(port: u16, payload: &[u8]) -> Vec<u8> {
    Ipv4::default().around(&Udp { source: 40_000, destination: port, length: None }.around(payload))
}

/// A VXLAN packet (RFC 7348) around a frame.
fn vxlan(frame: &[u8]) -> Vec<u8> {
    to_port(4789, &followed_by(vec![8, 0, 0, 0, 0, 0, 42, 0], frame))
}

/// A Geneve packet (RFC 8926) around a frame, with `words` of options.
fn geneve(words: u8, frame: &[u8]) -> Vec<u8> {
    let mut header = vec![words, 0, 0x65, 0x58, 0, 0, 42, 0];
    header.extend(vec![0; usize::from(words) * 4]);
    to_port(6081, &followed_by(header, frame))
}

/// A GTP-U packet around an IP packet.
fn gtp_user(length: u16, packet: &[u8]) -> Vec<u8> {
    let mut header = vec![0x30, 0xff];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 7]);
    to_port(2152, &followed_by(header, packet))
}

/// PPP over Ethernet around an IPv4 packet.
fn pppoe(length: u16, packet: &[u8]) -> Vec<u8> {
    let mut header = vec![0x11, 0, 0, 1];
    header.extend(length.to_be_bytes());
    header.extend([0, 0x21]);
    ethernet_of_type(0x8864, &followed_by(header, packet))
}

/// One frame of each wrapping, for mutation.
pub fn one_of_each() -> Vec<Vec<u8>> {
    vec![
        ethernet_of_type(0x8847, &followed_by(label_stack(2, true), &inner())),
        ethernet(&gre(0xb000, TYPE_IPV4, &followed_by(vec![0; 12], &inner()))),
        ethernet(&gre(0, 0x6558, &ethernet(&inner()))),
        ethernet(&vxlan(&ethernet(&inner()))),
        ethernet(&geneve(3, &ethernet(&inner()))),
        ethernet(&gtp_user(inner().len() as u16, &inner())),
        pppoe(inner().len() as u16 + 2, &inner()),
        ethernet(&Ipv4 { protocol: 4, ..Ipv4::default() }.around(&inner())),
        ethernet(&Ipv4 { protocol: 41, ..Ipv4::default() }.around(&Ipv6::default().around(&inner()))),
        crate::wire::tagged(7, &crate::wire::tagged(8, &ethernet(&inner()))),
        ethernet(&Ipv4 { protocol: 1, ..Ipv4::back() }.around(&followed_by(vec![3, 3, 0, 0, 0, 0, 0, 0], &inner()))),
    ]
}

cases![
    w01_one_label =
        case("one MPLS label", pcap(&[ethernet_of_type(0x8847, &followed_by(label_stack(1, true), &inner()))]))
            .packets(&[("udp_dns", 1)])
            .plain_names(&["inner.test"]),
    w02_300_labels =
        case("300 MPLS labels", pcap(&[ethernet_of_type(0x8847, &followed_by(label_stack(300, true), &inner()))]))
            .packets(&[("nest_limit", 1)]),
    w03_endless_labels = case(
        "MPLS labels to the end of the frame",
        pcap(&[ethernet_of_type(0x8847, &label_stack(300, false))])
    )
    .sum("ledgers.packets", &["nest_limit", "not_opened", "link_malformed"], 1),
    w04_gre = case("GRE", pcap(&[ethernet(&gre(0, TYPE_IPV4, &inner()))]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w05_gre_with_all_fields = case(
        "GRE with checksum, key and sequence number",
        pcap(&[ethernet(&gre(0xb000, TYPE_IPV4, &followed_by(vec![0; 12], &inner())))])
    )
    .packets(&[("udp_dns", 1)])
    .plain_names(&["inner.test"]),
    w06_gre_40_times = case("GRE in GRE, 40 times", {
        let nest = (0..40).fold(inner(), |packet, _| gre(0, TYPE_IPV4, &packet));
        pcap(&[ethernet(&nest)])
    })
    .packets(&[("nest_limit", 1), ("udp_dns", 0)]),
    w07_gre_cut = case("GRE headers that end before their fields", {
        let frames: Vec<Vec<u8>> = (0..12).map(|length| ethernet(&gre(0xb000, TYPE_IPV4, &vec![0; length]))).collect();
        pcap(&frames)
    })
    .packets(&[("frames", 12), ("udp_dns", 0)]),
    w08_vxlan = case("VXLAN", pcap(&[ethernet(&vxlan(&ethernet(&inner())))]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w09_vxlan_40_times = case("VXLAN in VXLAN, 40 times", {
        let nest = (0..40).fold(inner(), |packet, _| vxlan(&ethernet(&packet)));
        pcap(&[ethernet(&nest)])
    })
    .packets(&[("nest_limit", 1), ("udp_dns", 0)]),
    w10_geneve = case("Geneve with the most options", pcap(&[ethernet(&geneve(63, &ethernet(&inner())))]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w11_geneve_cut = case("Geneve whose options overrun", pcap(&[ethernet(&geneve(63, &[])[..60])]))
        .packets(&[("frames", 1), ("udp_dns", 0)]),
    w12_gtp_user = case("GTP-U", pcap(&[ethernet(&gtp_user(inner().len() as u16, &inner()))]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w13_gtp_user_length =
        case("GTP-U whose length overruns", pcap(&[ethernet(&gtp_user(65_535, &inner()))])).packets(&[("frames", 1)]),
    w14_pppoe = case("PPP over Ethernet", pcap(&[pppoe(inner().len() as u16 + 2, &inner())]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w15_pppoe_length =
        case("PPP over Ethernet whose length overruns", pcap(&[pppoe(65_535, &inner())])).packets(&[("frames", 1)]),
    w16_ipv6_in_ipv4 = case("IPv6 in IPv4", {
        let packet = Ipv6::default().around(&Udp::default().around(&Message::query("inner.test").bytes()));
        pcap(&[ethernet(&Ipv4 { protocol: 41, ..Ipv4::default() }.around(&packet))])
    })
    .packets(&[("udp_dns", 1)])
    .plain_names(&["inner.test"]),
    w17_ipv4_in_ipv6 = case("IPv4 in IPv6", pcap(&[Ipv6 { next_header: 4, ..Ipv6::default() }.frame(&inner())]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["inner.test"]),
    w18_ppi = case("per-packet information around Ethernet", {
        let frame = followed_by(vec![0, 0, 8, 0, 1, 0, 0, 0], &ethernet(&inner()));
        Pcap { link_type: 192, ..Pcap::default() }.frames(&[frame])
    })
    .packets(&[("udp_dns", 1)])
    .plain_names(&["inner.test"]),
    w19_ppp = case("PPP", {
        let frame = followed_by(vec![0xff, 3, 0, 0x21], &inner());
        Pcap { link_type: 9, ..Pcap::default() }.frames(&[frame])
    })
    .packets(&[("udp_dns", 1)])
    .plain_names(&["inner.test"]),
    w20_cooked_netlink = case("Linux cooked capture of netlink messages", {
        let frame = followed_by(vec![0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0; 40]);
        Pcap { link_type: 113, ..Pcap::default() }.frames(&[frame])
    })
    .packets(&[("frames", 1), ("udp_dns", 0)]),
    w21_mixed_nest = case("tags, labels and tunnels, each inside the other, by turns", {
        let mut frame = ethernet(&inner());
        for _ in 0..12 {
            frame = ethernet(&gre(0, 0x6558, &frame));
            frame = ethernet(&vxlan(&crate::wire::tagged(7, &frame)));
        }
        pcap(&[frame, to_server(&Message::query("outer.test").bytes())])
    })
    .packets(&[("frames", 2), ("udp_dns", 1)])
    .packets(&[("nest_limit", 1)]),
    w22_other_bytes_on_tunnel_ports = case("datagrams on the ports of tunnels that hold something else", {
        let ports = [4789, 8472, 4790, 6081, 2152, 3544, 1701, 4754, 4341, 37_008];
        let frames: Vec<Vec<u8>> = ports.iter().map(|port| ethernet(&to_port(*port, &[0xff; 80]))).collect();
        pcap(&frames)
    })
    .packets(&[("frames", 10), ("other_port", 10)]),
    w23_dns_port_wins = case("a query from the port of a tunnel", {
        let datagram = Udp { source: 4789, ..Udp::default() }.around(&Message::query("ok.test").bytes());
        pcap(&[ethernet(&Ipv4::default().around(&datagram))])
    })
    .packets(&[("udp_dns", 1)])
    .plain_names(&["ok.test"]),
    w24_encrypted = case("encrypted payloads", {
        let esp = ethernet(&Ipv4 { protocol: 50, ..Ipv4::default() }.around(&[7; 60]));
        pcap(&[esp, ethernet_of_type(0x88e5, &[0x2c; 60])])
    })
    .packets(&[("not_opened", 2)])
    .each("ledgers.packets.not_opened_kinds", &[("ESP", 1), ("MACsec", 1)]),
    w25_query_in_an_error = case("ICMP errors that quote a query, its first eight bytes, and something else", {
        let quoting = |packet: &[u8]| {
            let error = followed_by(vec![3, 13, 0, 0, 0, 0, 0, 0], packet);
            ethernet(&Ipv4 { protocol: crate::wire::ICMP, ..Ipv4::back() }.around(&error))
        };
        let other = Ipv4::default().around(&Udp { destination: 123, ..Udp::default() }.around(&[0; 48]));
        pcap(&[quoting(&inner()), quoting(&inner()[..28]), quoting(&other)])
    })
    .packets(&[("icmp_quoting_dns", 2), ("icmp", 1), ("udp_dns", 0)])
    .messages(&[("udp", 0)]),
];
