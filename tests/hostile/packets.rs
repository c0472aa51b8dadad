//! Link, IP and transport headers that lie about lengths, nest without end, or stop in the middle.

use crate::case::case;
use crate::container::{followed_by, good};
use crate::dns::{Message, REFUSED};
use crate::files::{LITTLE, Packet, Pcap, Record, packet, pcap};
use crate::wire::{
    CLIENT, DESTINATION_OPTIONS, ICMP, IP_IN_IP, Ipv4, Ipv6, SERVER, TCP, TYPE_IPV4, TYPE_IPV6, Tcp, UDP, Udp,
    ethernet, ethernet_of_type, tagged, to_client, to_server,
};

/// A small query.
fn query() -> Vec<u8> {
    Message::query("a").bytes()
}

/// A UDP datagram with a small query.
fn datagram() -> Vec<u8> {
    Udp::default().around(&query())
}

/// A frame whose IPv4 header is as `header` says.
fn with_ipv4(header: &Ipv4) -> Vec<u8> {
    ethernet(&header.around(&datagram()))
}

/// A frame whose UDP header claims `length`.
fn with_udp_length(length: u16) -> Vec<u8> {
    ethernet(&Ipv4::default().around(&Udp { length: Some(length), ..Udp::default() }.around(&query())))
}

/// A frame with `count` VLAN tags.
fn with_tags(count: usize) -> Vec<u8> {
    (0..count).fold(good(), |frame, tag| tagged(tag as u16 & 0xfff, &frame))
}

/// An IPv6 frame with `count` headers of destination options.
fn with_extension_headers(count: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    for index in 0..count {
        payload.extend([if index + 1 == count { UDP } else { DESTINATION_OPTIONS }, 0, 1, 4, 0, 0, 0, 0]);
    }
    payload.extend(datagram());
    Ipv6 { next_header: if count == 0 { UDP } else { DESTINATION_OPTIONS }, ..Ipv6::default() }.frame(&payload)
}

/// A frame with IPv4 in IPv4, `count` times.
fn ip_in_ip(count: usize) -> Vec<u8> {
    let inner = Ipv4::default().around(&datagram());
    ethernet(&(0..count).fold(inner, |packet, _| Ipv4 { protocol: IP_IN_IP, ..Ipv4::default() }.around(&packet)))
}

/// A capture of one packet of the given link type.
fn of_link_type(link_type: u32, frame: &[u8]) -> Vec<u8> {
    Pcap { link_type, ..Pcap::default() }.frames(&[frame])
}

/// An IPv4 packet with a query.
fn ipv4() -> Vec<u8> {
    Ipv4::default().around(&datagram())
}

/// An IPv6 packet with a query.
fn ipv6() -> Vec<u8> {
    Ipv6::default().around(&datagram())
}

/// A header of Linux's first "cooked" format around an IPv4 packet.
fn cooked() -> Vec<u8> {
    let mut frame = vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    frame.extend(TYPE_IPV4.to_be_bytes());
    followed_by(frame, &ipv4())
}

/// A header of Linux's second "cooked" format around an IPv4 packet.
fn cooked_2() -> Vec<u8> {
    let mut frame = TYPE_IPV4.to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
    followed_by(frame, &ipv4())
}

/// A file that stores 0, 1, 2, ... bytes of each frame.
fn every_cut(frames: &[Vec<u8>]) -> Vec<u8> {
    let cuts = |frame: &Vec<u8>| -> Vec<Record> { (0..frame.len()).map(|length| Record::cut(frame, length)).collect() };
    Pcap::default().file(&frames.iter().flat_map(cuts).collect::<Vec<_>>())
}

/// A file of frames that consist of the first 0, 1, 2, ... bytes of `frame`, uncut.
fn every_short_frame(frame: &[u8]) -> Vec<u8> {
    let frames: Vec<&[u8]> = (0..frame.len()).map(|length| &frame[..length]).collect();
    pcap(&frames)
}

/// An ICMP error that quotes `packet`.
fn icmp_quoting(kind: u8, packet: &[u8]) -> Vec<u8> {
    let message = followed_by(vec![kind, 3, 0, 0, 0, 0, 0, 0], packet);
    ethernet(&Ipv4 { protocol: ICMP, ..Ipv4::back() }.around(&message))
}

/// A hop-by-hop header with a jumbo payload option (RFC 2675) before a datagram.
fn jumbogram() -> Vec<u8> {
    let mut payload = vec![UDP, 0, 0xc2, 4];
    payload.extend(((8 + datagram().len()) as u32).to_be_bytes());
    payload.extend(datagram());
    Ipv6 { next_header: 0, payload_length: Some(0), ..Ipv6::default() }.frame(&payload)
}

cases![
    l01_300_tags = case("300 VLAN tags", pcap(&[with_tags(300)])).packets(&[("frames", 1), ("nest_limit", 1)]),
    l02_header_length_1 =
        case("an IPv4 header of one word", pcap(&[with_ipv4(&Ipv4 { header_words: 1, ..Ipv4::default() })]))
            .packets(&[("frames", 1), ("ip_malformed", 1)]),
    l03_total_length_over = case(
        "an IPv4 total length beyond the frame",
        pcap(&[with_ipv4(&Ipv4 { total_length: Some(60_000), ..Ipv4::default() })])
    )
    .packets(&[("frames", 1)])
    .sum("ledgers.packets", &["ip_malformed", "udp_dns", "snap_cut"], 1),
    l04_total_length_under = case(
        "an IPv4 total length below its header",
        pcap(&[with_ipv4(&Ipv4 { total_length: Some(10), ..Ipv4::default() })])
    )
    .packets(&[("frames", 1), ("ip_malformed", 1)]),
    l05_udp_length_0 =
        case("UDP length 0", pcap(&[with_udp_length(0)])).packets(&[("frames", 1), ("transport_malformed", 1)]),
    l06_udp_length_over = case("UDP length 65,535", pcap(&[with_udp_length(u16::MAX)])).packets(&[("frames", 1)]).sum(
        "ledgers.packets",
        &["transport_malformed", "udp_dns"],
        1
    ),
    l07_padding = case("Ethernet padding behind the packet", pcap(&[followed_by(to_server(&query()), &[0xff; 30])]))
        .packets(&[("udp_dns", 1)])
        .anomalies(&[("trailing_bytes", 0)]),
    l08_150_extension_headers = case("150 IPv6 extension headers", pcap(&[with_extension_headers(150)]))
        .packets(&[("frames", 1), ("nest_limit", 1)]),
    l09_40_times_ip_in_ip = case("IP in IP, 40 times", pcap(&[ip_in_ip(40)])).packets(&[("frames", 1)]).sum(
        "ledgers.packets",
        &["nest_limit", "not_opened"],
        1
    ),
    l10_cooked = case("Linux cooked capture", of_link_type(113, &cooked())).packets(&[("udp_dns", 1)]),
    l11_cooked_2 =
        case("Linux cooked capture, second version", of_link_type(276, &cooked_2())).packets(&[("udp_dns", 1)]),
    l12_raw = case("raw IPv4 and IPv6", Pcap { link_type: 101, ..Pcap::default() }.frames(&[ipv4(), ipv6()]))
        .packets(&[("udp_dns", 2)]),
    l13_raw_of_no_version = case("raw packets of IP version 0 to 15, and nothing", {
        let mut frames: Vec<Vec<u8>> = (0..16).map(|version| vec![version << 4; 60]).collect();
        frames.push(Vec::new());
        Pcap { link_type: 101, ..Pcap::default() }.frames(&frames)
    })
    .packets(&[("frames", 17), ("udp_dns", 0)]),
    l14_null = case("BSD loopback in both byte orders, IPv4 and IPv6 by three numbers", {
        let mut frames = Vec::new();
        for family in [2u32, 24, 28, 30] {
            let packet = if family == 2 { ipv4() } else { ipv6() };
            frames.push(followed_by(family.to_le_bytes().to_vec(), &packet));
            frames.push(followed_by(family.to_be_bytes().to_vec(), &packet));
        }
        Pcap { link_type: 0, ..Pcap::default() }.frames(&frames)
    })
    .packets(&[("frames", 8), ("udp_dns", 8)]),
    l15_loop = case("OpenBSD loopback", of_link_type(108, &followed_by(2u32.to_be_bytes().to_vec(), &ipv4())))
        .packets(&[("udp_dns", 1)]),
    l16_ipv4_link = case("link type IPV4", of_link_type(228, &ipv4())).packets(&[("udp_dns", 1)]),
    l17_ipv6_link = case("link type IPV6", of_link_type(229, &ipv6())).packets(&[("udp_dns", 1)]),
    l18_null_of_no_family = case(
        "BSD loopback of family 0xffffffff, and three bytes",
        Pcap { link_type: 0, ..Pcap::default() }.frames(&[vec![0xff; 60], vec![2, 0, 0]])
    )
    .packets(&[("frames", 2), ("udp_dns", 0)]),
    l19_eight_tags = case("eight VLAN tags, as many as are opened", pcap(&[with_tags(8)])).packets(&[("udp_dns", 1)]),
    l20_nine_tags = case("nine VLAN tags", pcap(&[with_tags(9)])).packets(&[("nest_limit", 1)]),
    l21_sixteen_extension_headers =
        case("16 extension headers, as many as are opened", pcap(&[with_extension_headers(16)]))
            .packets(&[("udp_dns", 1)]),
    l22_seventeen_extension_headers =
        case("17 extension headers", pcap(&[with_extension_headers(17)])).packets(&[("nest_limit", 1)]),
    l23_arp = case("ARP", pcap(&[ethernet_of_type(0x0806, &[0; 46])])).packets(&[("non_ip", 1)]),
    l24_logical_link_control =
        case("802.3 length and spanning tree", pcap(&[ethernet_of_type(38, &[0x42; 46])])).packets(&[("non_ip", 1)]),
    l25_thirteen_bytes = case("a frame of 13 bytes", pcap(&[&good()[..13]])).packets(&[("link_malformed", 1)]),
    l26_fourteen_bytes =
        case("an Ethernet header and nothing", pcap(&[&good()[..14]])).packets(&[("frames", 1), ("ip_malformed", 1)]),
    l27_version_5 = case(
        "IP version 5",
        pcap(&[{
            let mut frame = good();
            frame[14] = 0x55;
            frame
        }])
    )
    .packets(&[("ip_malformed", 1)]),
    l28_ipv6_as_ipv4 = case("an IPv6 packet called IPv4, and the reverse", {
        pcap(&[ethernet_of_type(TYPE_IPV4, &ipv6()), ethernet_of_type(TYPE_IPV6, &ipv4())])
    })
    .packets(&[("frames", 2)])
    .sum("ledgers.packets", &["ip_malformed", "udp_dns"], 2),
    l29_total_length_0 = case(
        "IPv4 total length 0, as segmentation offload leaves it",
        pcap(&[with_ipv4(&Ipv4 { total_length: Some(0), ..Ipv4::default() })])
    )
    .packets(&[("udp_dns", 1)]),
    l30_ipv4_options = case(
        "40 bytes of IPv4 options",
        pcap(&[{
            let body = followed_by(vec![1; 40], &datagram());
            ethernet(&Ipv4 { header_words: 15, ..Ipv4::default() }.around(&body))
        }])
    )
    .packets(&[("udp_dns", 1)]),
    l31_options_beyond_total_length = case(
        "IPv4 options beyond the total length",
        pcap(&[with_ipv4(&Ipv4 { header_words: 15, total_length: Some(40), ..Ipv4::default() })])
    )
    .packets(&[("ip_malformed", 1)]),
    l32_udp_length_7 =
        case("UDP length 7, below its header", pcap(&[with_udp_length(7)])).packets(&[("transport_malformed", 1)]),
    l33_udp_length_8 = case("UDP length 8: a datagram of nothing", pcap(&[with_udp_length(8)]))
        .packets(&[("udp_dns", 1)])
        .messages(&[("undecodable", 1)])
        .each("ledgers.messages.undecodable_reasons", &[("header_incomplete", 1)]),
    l34_udp_shorter_than_ip = case("a UDP length below what IP carries", pcap(&[with_udp_length(8 + 12 + 7)]))
        .packets(&[("udp_dns", 1)])
        .messages(&[("queries", 1)]),
    l35_jumbogram = case("an IPv6 jumbogram", pcap(&[jumbogram()])).packets(&[("frames", 1)]).sum(
        "ledgers.packets",
        &["udp_dns", "ip_malformed", "not_opened"],
        1
    ),
    l36_ipv6_length_over = case(
        "an IPv6 payload length beyond the frame",
        pcap(&[Ipv6 { payload_length: Some(60_000), ..Ipv6::default() }.frame(&datagram())])
    )
    .packets(&[("frames", 1)])
    .sum("ledgers.packets", &["ip_malformed", "udp_dns", "snap_cut"], 1),
    l37_extension_header_overrun = case(
        "an extension header longer than the packet",
        pcap(&[Ipv6 { next_header: DESTINATION_OPTIONS, ..Ipv6::default() }.frame(&[UDP, 255, 0, 0, 0, 0, 0, 0])])
    )
    .packets(&[("ip_malformed", 1)]),
    l38_authentication_header = case(
        "an authentication header before the datagram",
        pcap(&[Ipv6 { next_header: 51, ..Ipv6::default() }.frame(&followed_by(
            vec![UDP, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &datagram()
        ))])
    )
    .packets(&[("frames", 1)])
    .sum("ledgers.packets", &["udp_dns", "not_opened"], 1),
    l39_encrypted =
        case("an encrypted payload", pcap(&[ethernet(&Ipv4 { protocol: 50, ..Ipv4::default() }.around(&[7; 60]))]))
            .packets(&[("frames", 1)])
            .sum("ledgers.packets", &["other_protocol", "not_opened"], 1),
    l40_every_protocol = case("every IP protocol number with nothing behind it", {
        let frames: Vec<Vec<u8>> =
            (0..=255).map(|protocol| ethernet(&Ipv4 { protocol, ..Ipv4::default() }.around(&[]))).collect();
        pcap(&frames)
    })
    .packets(&[("frames", 256), ("udp_dns", 0)]),
    l41_every_next_header = case("every IPv6 next header with zeros behind it", {
        let frames: Vec<Vec<u8>> =
            (0..=255).map(|next_header| Ipv6 { next_header, ..Ipv6::default() }.frame(&[0; 24])).collect();
        pcap(&frames)
    })
    .packets(&[("frames", 256), ("udp_dns", 0)]),
    l42_other_port = case(
        "DNS on a port that is not asked for",
        pcap(&[ethernet(&Ipv4::default().around(&Udp { destination: 5300, ..Udp::default() }.around(&query())))])
    )
    .packets(&[("other_port", 1)]),
    l43_port_asked_for = case(
        "DNS on a port that is asked for",
        pcap(&[ethernet(&Ipv4::default().around(&Udp { destination: 5300, ..Udp::default() }.around(&query())))])
    )
    .arguments(&["--port", "5300"])
    .packets(&[("udp_dns", 1)]),
    l44_same_address_and_port = case("query and response from an address and port to themselves", {
        let to_itself = |message: &[u8]| {
            let datagram = Udp { source: 53, ..Udp::default() }.around(message);
            ethernet(&Ipv4 { destination: CLIENT, identification: 0, ..Ipv4::default() }.around(&datagram))
        };
        pcap(&[to_itself(&query()), to_itself(&Message::response("a", REFUSED).bytes())])
    })
    .packets(&[("udp_dns", 2)])
    .matches(&[("matched", 1)])
    .outcomes(&[("refused", 1)]),
    l45_impossible_addresses = case("queries from broadcast, multicast and no address", {
        let from = |source: [u8; 4]| ethernet(&Ipv4 { source, ..Ipv4::default() }.around(&datagram()));
        pcap(&[from([255; 4]), from([224, 0, 0, 251]), from([0; 4]), from([127, 0, 0, 1])])
    })
    .packets(&[("udp_dns", 4)])
    .matches(&[("queries", 4)]),
    l46_icmp_quoting =
        case("port unreachable that quotes a query", pcap(&[to_server(&query()), icmp_quoting(3, &ipv4())]))
            .packets(&[("udp_dns", 1), ("icmp_quoting_dns", 1)])
            .matches(&[("queries", 1)]),
    l47_icmp_cut_quotes = case("errors that quote 0, 1, 2, ... bytes of a query, and their own quote", {
        let quoted = ipv4();
        let mut frames: Vec<Vec<u8>> = (0..quoted.len()).map(|length| icmp_quoting(11, &quoted[..length])).collect();
        let itself = icmp_quoting(3, &quoted)[14..].to_vec();
        frames.push(icmp_quoting(3, &itself));
        frames.push(icmp_quoting(3, &Ipv4 { header_words: 15, ..Ipv4::default() }.around(&[])));
        pcap(&frames)
    })
    .packets(&[("udp_dns", 0)])
    .sum("ledgers.packets", &["icmp", "icmp_quoting_dns", "transport_malformed"], ipv4().len() as u64 + 2),
    l48_ping = case("a ping", pcap(&[icmp_quoting(8, b"abcdefgh")])).packets(&[("icmp", 1)]),
    l49_cut_at_every_byte = case("a query cut by the snapshot length at every byte", every_cut(&[good()]))
        .packets(&[("frames", good().len() as u64)])
        .sum("ledgers.packets", &["snap_cut", "udp_dns"], good().len() as u64)
        .at_least("ledgers.packets", "udp_dns", 13),
    l56_other_ports_cut_at_every_byte = case("other ports cut by the snapshot length at every byte", {
        let tcp = ethernet(
            &Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&Tcp { destination: 443, ..Tcp::default() }.around(&[])),
        );
        let udp = ethernet(&Ipv4::default().around(&Udp { destination: 123, ..Udp::default() }.around(&[0; 48])));
        // The ports end 4 bytes behind the Ethernet and IP headers.
        every_cut(&[tcp, udp])
    })
    .packets(&[("snap_cut", 2 * 38), ("other_port", 54 - 38 + 90 - 38)]),
    l50_short_at_every_byte = case("frames that end at every byte of a query", every_short_frame(&good()))
        .packets(&[("frames", good().len() as u64)]),
    l51_tcp_header_lengths = case("every TCP header length", {
        let frames: Vec<Vec<u8>> = (0..16)
            .map(|header_words| {
                let segment = Tcp { header_words, ..Tcp::default() }.around(&[0; 20]);
                ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&segment))
            })
            .collect();
        pcap(&frames)
    })
    .packets(&[("frames", 16), ("transport_malformed", 5 + 5)]),
    l52_tcp_cut_header = case(
        "a TCP header that ends after 19 bytes",
        pcap(&[ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&Tcp::default().around(&[])[..19]))])
    )
    .packets(&[("transport_malformed", 1)]),
    l53_cooked_cut = case("Linux cooked headers that end at every byte", {
        let (one, two) = (cooked(), cooked_2());
        let mut bytes = LITTLE.section();
        bytes.extend(LITTLE.interface_of_type(113, 0, &[]));
        bytes.extend(LITTLE.interface_of_type(276, 0, &[]));
        for length in 0..20 {
            bytes.extend(LITTLE.packet(&packet(&one[..length])));
            bytes.extend(LITTLE.packet(&Packet { interface: 1, ..packet(&two[..length]) }));
        }
        bytes
    })
    .packets(&[("frames", 40), ("udp_dns", 0), ("link_malformed", 16 + 20)]),
    l54_merged_by_offload = case(
        "a UDP datagram of 65,507 bytes in one frame",
        pcap(&[to_client(&followed_by(Message::response("a", REFUSED).bytes(), &vec![0; 65_507 - 19]))])
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("trailing_bytes", 1)])
    .codes(&[("REFUSED", 1)]),
    l55_both_ports_53 = case("a server that asks a server, both on port 53", {
        let datagram = |message: &[u8]| Udp { source: 53, ..Udp::default() }.around(message);
        pcap(&[
            ethernet(&Ipv4 { identification: 0, ..Ipv4::default() }.around(&datagram(&query()))),
            ethernet(
                &Ipv4 { source: SERVER, destination: CLIENT, identification: 0, ..Ipv4::default() }
                    .around(&datagram(&Message::response("a", REFUSED).bytes())),
            ),
        ])
    })
    .matches(&[("matched", 1)])
    .outcomes(&[("refused", 1)])
    .row(&[("client", "10.0.0.1"), ("server", "10.0.0.2"), ("outcome", "refused")]),
];
