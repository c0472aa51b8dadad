//! IP fragments: floods, overlaps, holes, offsets past the end, reuse of identifications, in both IP versions.

use crate::case::case;
use crate::dns::{Message, TXT};
use crate::files::{Pcap, Record, pcap, pcap_at};
use crate::wire::{
    FRAGMENT_HEADER, Ipv4, Ipv6, MORE_FRAGMENTS, TCP, Tcp, UDP, Udp, ethernet, ipv6_fragment, set_checksum, to_server,
};

/// Bytes of payload in all fragments but the last.
const PART: usize = 1480;

/// A datagram of 3,030 bytes: three fragments.
fn large() -> Vec<u8> {
    Udp::default().around(&Message::query("frag").kind(TXT).rest(&[b'x'; 3000]).bytes())
}

/// An IPv4 fragment of `payload` from byte `from` to `to`, in the set `identification`.
fn part_of(payload: &[u8], from: usize, to: usize, identification: u16) -> Vec<u8> {
    let more = if to < payload.len() { MORE_FRAGMENTS } else { 0 };
    let fragment = (from / 8) as u16 | more;
    ethernet(&Ipv4 { identification, fragment, ..Ipv4::default() }.around(&payload[from..to]))
}

/// The IPv4 fragments of `payload`, `size` bytes each.
fn parts_of(payload: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    (0..payload.len())
        .step_by(size)
        .map(|from| part_of(payload, from, (from + size).min(payload.len()), identification))
        .collect()
}

/// An IPv6 fragment of `payload` from byte `from` to `to`, in the set `identification`.
fn ipv6_part_of(payload: &[u8], from: usize, to: usize, identification: u32) -> Vec<u8> {
    let fragment = ipv6_fragment(UDP, from as u16, to < payload.len(), identification, &payload[from..to]);
    Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&fragment)
}

/// The IPv6 fragments of `payload`, [`PART`] bytes each.
fn ipv6_parts_of(payload: &[u8], identification: u32) -> Vec<Vec<u8>> {
    (0..payload.len())
        .step_by(PART)
        .map(|from| ipv6_part_of(payload, from, (from + PART).min(payload.len()), identification))
        .collect()
}

/// A raw IPv4 fragment with any offset (in bytes) and payload.
fn raw_part(offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let fragment = (offset / 8) | if more { MORE_FRAGMENTS } else { 0 };
    ethernet(&Ipv4 { identification: 9, fragment, ..Ipv4::default() }.around(payload))
}

/// `count` first fragments from as many sources, none of them ever completed.
pub fn first_only(count: u32) -> Vec<u8> {
    let template = Pcap::default().record(&Record::new(&part_of(&large(), 0, 48, 0)));
    crate::state::stamped(&template, count, |index, record| {
        let packet = &mut record[30..];
        packet[4..6].copy_from_slice(&(index as u16).to_be_bytes());
        packet[12..16].copy_from_slice(&(0x0b00_0000 + index).to_be_bytes());
        set_checksum(packet);
    })
}

/// `count` first fragments over IPv6 with as many identifications, none of them ever completed.
fn ipv6_first_only(count: u32) -> Vec<u8> {
    let template = Pcap::default().record(&Record::new(&ipv6_part_of(&large(), 0, 48, 0)));
    crate::state::stamped(&template, count, |index, record| {
        record[16 + 14 + 40 + 4..][..4].copy_from_slice(&index.to_be_bytes());
    })
}

/// `count` sets of one fragment of 60,000 bytes each.
fn large_sets(count: u16) -> Vec<u8> {
    let payload = vec![0; 65_000];
    let mut bytes = Pcap::default().header();
    for identification in 0..count {
        let frame = part_of(&payload, 0, 60_000, identification);
        bytes.extend(Pcap::default().record(&Record::at(u64::from(identification), &frame)));
    }
    bytes
}

/// Buckets of the fragments of a used set: all are used, or the completing one counts in the bucket of its datagram.
const USED: &[&str] = &["fragment_used", "udp_dns"];

cases![
    f01_three_parts = case("a query in three parts", pcap(&parts_of(&large(), PART, 9)))
        .packets(&[("frames", 3)])
        .sum("ledgers.packets", USED, 3)
        .messages(&[("udp", 1), ("queries", 1)])
        .plain_names(&["frag"]),
    f02_overlap = case(
        "parts that overlap with other bytes: no guess, the whole set is dropped",
        pcap(&[
            part_of(&large(), 0, PART, 9),
            raw_part(800, true, &[b'E'; PART]),
            part_of(&large(), PART, large().len(), 9),
        ])
    )
    .messages(&[("udp", 0)])
    .at_least("ledgers.packets", "fragment_conflict", 2)
    .sum("ledgers.packets", &["fragment_conflict", "fragment_incomplete"], 3),
    f03_past_the_end = case("a part past byte 65,535", pcap(&[raw_part(65_520, false, &[b'x'; 1000])]))
        .packets(&[("frames", 1), ("fragment_malformed", 1)]),
    f04_first_only_200k = case("200,000 first parts and no second", first_only(200_000))
        .exit(4)
        .packets(&[("frames", 200_000)])
        .at_least("ledgers.packets", "fragment_evicted", 200_000 - 8192)
        .sum("ledgers.packets", &["fragment_evicted", "fragment_incomplete", "fragment_expired"], 200_000)
        .heavy(),
    f05_ipv6_three_parts = case("a query in three parts, IPv6", pcap(&ipv6_parts_of(&large(), 9)))
        .sum("ledgers.packets", USED, 3)
        .messages(&[("udp", 1)])
        .plain_names(&["frag"]),
    f06_ipv6_overlap = case(
        "IPv6 parts that overlap with other bytes",
        pcap(&[
            ipv6_part_of(&large(), 0, PART, 9),
            Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&ipv6_fragment(
                UDP,
                800,
                true,
                9,
                &[b'E'; PART]
            )),
            ipv6_part_of(&large(), PART, large().len(), 9),
        ])
    )
    .messages(&[("udp", 0)])
    .at_least("ledgers.packets", "fragment_conflict", 2),
    f07_ipv6_past_the_end = case(
        "an IPv6 part past byte 65,535",
        pcap(&[Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&ipv6_fragment(
            UDP,
            65_520,
            false,
            9,
            &[b'x'; 1000]
        ))])
    )
    .packets(&[("fragment_malformed", 1)]),
    f08_ipv6_first_only_20k = case("20,000 first parts over IPv6", ipv6_first_only(20_000))
        .exit(4)
        .at_least("ledgers.packets", "fragment_evicted", 20_000 - 8192)
        .heavy(),
    f09_atomic = case(
        "a fragment header on a whole datagram",
        pcap(&[Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&ipv6_fragment(
            UDP,
            0,
            false,
            9,
            &Udp::default().around(&Message::query("whole").bytes())
        ))])
    )
    .packets(&[("udp_dns", 1)])
    .plain_names(&["whole"]),
    f10_not_multiple_of_eight = case(
        "a first part whose length is no multiple of eight",
        pcap(&[Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&ipv6_fragment(
            UDP,
            0,
            true,
            9,
            &large()[..1001]
        ))])
    )
    .packets(&[("frames", 1), ("fragment_malformed", 1)]),
    f11_reverse_order = case("three parts in reverse order", {
        let mut parts = parts_of(&large(), PART, 9);
        parts.reverse();
        pcap(&parts)
    })
    .sum("ledgers.packets", USED, 3)
    .messages(&[("udp", 1)]),
    f12_duplicate_part = case("three parts, the second twice", {
        let mut parts = parts_of(&large(), PART, 9);
        parts.insert(1, parts[1].clone());
        pcap(&parts)
    })
    .packets(&[("fragment_duplicate", 1)])
    .messages(&[("udp", 1)]),
    f13_no_first_part = case("the second and third part, which have no ports", pcap(&parts_of(&large(), PART, 9)[1..]))
        .packets(&[("frames", 2), ("fragment_incomplete", 2), ("other_port", 0)])
        .messages(&[("udp", 0)]),
    f14_hole = case("the first and third part", {
        let parts = parts_of(&large(), PART, 9);
        pcap(&[&parts[0], &parts[2]])
    })
    .packets(&[("fragment_incomplete", 2)])
    .messages(&[("udp", 0)]),
    f15_identification_reused = case("two datagrams, one after the other, with one identification", {
        let mut parts = parts_of(&large(), PART, 9);
        let second = Udp::default().around(&Message::query("next").id(2).rest(&[b'y'; 3000]).bytes());
        parts.extend(parts_of(&second, PART, 9));
        pcap(&parts)
    })
    .sum("ledgers.packets", USED, 6)
    .messages(&[("udp", 2)])
    .plain_names(&["frag", "next"]),
    f16_second_part_too_late = case("the second part two minutes after the first", {
        let parts = parts_of(&large(), PART, 9);
        let unrelated = |time| (time, to_server(&Message::query("ok.test").bytes()));
        pcap_at(&[
            (0, parts[0].clone()),
            unrelated(40_000_000),
            unrelated(80_000_000),
            (120_000_000, parts[1].clone()),
            (120_000_001, parts[2].clone()),
        ])
    })
    .packets(&[("fragment_expired", 1), ("fragment_incomplete", 2), ("udp_dns", 2)]),
    f17_overlap_with_same_bytes = case("parts that overlap with equal bytes", {
        let payload = large();
        pcap(&[
            part_of(&payload, 0, PART, 9),
            part_of(&payload, PART - 80, 2960, 9),
            part_of(&payload, 2960, payload.len(), 9),
        ])
    })
    .packets(&[("frames", 3)])
    .at_most("ledgers.messages", "udp", 1),
    f18_smallest_parts = case("379 parts of eight bytes", pcap(&parts_of(&large(), 8, 9)))
        .sum("ledgers.packets", USED, 379)
        .messages(&[("udp", 1)]),
    f19_two_last_parts = case("two last parts that disagree about the length", {
        let payload = large();
        pcap(&[
            part_of(&payload, 0, PART, 9),
            part_of(&payload[..2000], PART, 2000, 9),
            part_of(&payload, PART, 2960, 9),
            part_of(&payload, 2960, payload.len(), 9),
        ])
    })
    .packets(&[("frames", 4)])
    .at_most("ledgers.messages", "udp", 1),
    f20_empty_part =
        case("parts of no bytes, first and last", pcap(&[raw_part(0, true, &[]), raw_part(8, false, &[])]))
            .packets(&[("frames", 2), ("udp_dns", 0)]),
    f21_fragment_in_fragment = case("a fragment header behind a fragment header", {
        let inner = ipv6_fragment(UDP, 0, true, 2, &large()[..80]);
        pcap(&[Ipv6 { next_header: FRAGMENT_HEADER, ..Ipv6::default() }.frame(&ipv6_fragment(
            FRAGMENT_HEADER,
            0,
            false,
            1,
            &inner,
        ))])
    })
    .packets(&[("frames", 1), ("udp_dns", 0)]),
    f22_large_sets = case("700 sets of 60,000 bytes: 42 MB of the 32 MB that are kept", large_sets(700))
        .exit(4)
        .at_least("ledgers.packets", "fragment_evicted", 100)
        .heavy(),
    f23_one_header_in_two_parts = case(
        "parts of eight bytes: ports in the first, DNS header in the second and third",
        pcap(&parts_of(&Udp::default().around(&Message::query("ok.test").bytes()), 8, 9))
    )
    .sum("ledgers.packets", USED, 5)
    .messages(&[("udp", 1)])
    .plain_names(&["ok.test"]),
    f24_tcp_in_parts = case("a TCP segment in parts", {
        let segment = Tcp { flags: crate::wire::SYN | 0x10, ..Tcp::default() }.around(&[0; 60]);
        let part = |from: usize, to: usize, more: u16| {
            let fragment = (from / 8) as u16 | more;
            ethernet(&Ipv4 { protocol: TCP, identification: 9, fragment, ..Ipv4::default() }.around(&segment[from..to]))
        };
        pcap(&[part(0, 8, MORE_FRAGMENTS), part(8, 80, 0)])
    })
    .packets(&[("frames", 2), ("udp_dns", 0), ("fragment_incomplete", 0)]),
    f25_other_protocol_same_identification = case("two sets that differ only in protocol", {
        let payload = large();
        let other = Ipv4 { protocol: TCP, identification: 9, fragment: 185, ..Ipv4::default() }.around(&[0; 500]);
        let parts = parts_of(&payload, PART, 9);
        pcap(&[&parts[0], &ethernet(&other), &parts[1], &parts[2]])
    })
    .messages(&[("udp", 1)])
    .packets(&[("fragment_incomplete", 1)]),
    f26_parts_of_another_port = case("a datagram in parts that is not DNS", {
        let payload = Udp { destination: 5300, ..Udp::default() }.around(&[0; 3000]);
        pcap(&parts_of(&payload, PART, 9))
    })
    .sum("ledgers.packets", &["fragment_used", "other_port"], 3)
    .messages(&[("udp", 0)]),
    f27_cut_first_part = case("the first part cut by the snapshot length: a message of which the rest is lost", {
        let parts = parts_of(&large(), PART, 9);
        Pcap::default().file(&[Record::cut(&parts[0], 200), Record::at(1, &parts[1]), Record::at(2, &parts[2])])
    })
    .packets(&[("udp_dns", 1), ("fragment_incomplete", 2)])
    .messages(&[("udp", 1), ("queries", 1)])
    .anomalies(&[("cut_messages", 1)])
    .plain_names(&["frag"]),
    f28_whole_and_parts = case("the datagram whole between its own parts", {
        let parts = parts_of(&large(), PART, 9);
        let whole = ethernet(&Ipv4 { identification: 9, ..Ipv4::default() }.around(&large()));
        pcap(&[&parts[0], &whole, &parts[1], &parts[2]])
    })
    .messages(&[("udp", 2)]),
    f29_dont_fragment = case("parts that also say they must not be fragmented", {
        let payload = large();
        let part = |from: usize, to: usize, flags: u16| {
            let fragment = (from / 8) as u16 | flags | 0x4000;
            ethernet(&Ipv4 { identification: 9, fragment, ..Ipv4::default() }.around(&payload[from..to]))
        };
        pcap(&[part(0, 1480, MORE_FRAGMENTS), part(1480, payload.len(), 0)])
    })
    .messages(&[("udp", 1)]),
    f30_completed_inside_completed =
        case("a last part that completes a datagram whose end completes the next, 50 times", {
            let ip = |protocol, identification, fragment, payload: &[u8]| {
                Ipv4 { protocol, identification, fragment, ..Ipv4::default() }.around(payload)
            };
            let (mut content, mut protocol) = (Udp::default().around(&Message::query("ok.test").bytes()), UDP);
            let mut frames = Vec::new();
            for identification in 0..50 {
                frames.push(ethernet(&ip(protocol, identification, MORE_FRAGMENTS, &content[..8])));
                content = ip(protocol, identification, 1, &content[8..]);
                protocol = crate::wire::IP_IN_IP;
            }
            frames.push(ethernet(&content));
            pcap(&frames)
        })
        .packets(&[("frames", 51), ("udp_dns", 0), ("nest_limit", 1)]),
    f31_every_part_cut = case("every part cut by the snapshot length, in both IP versions", {
        let parts = [parts_of(&large(), PART, 9), ipv6_parts_of(&large(), 9)].concat();
        Pcap::default().file(&parts.iter().map(|part| Record::cut(part, 96)).collect::<Vec<_>>())
    })
    .packets(&[("udp_dns", 2), ("snap_cut", 4)])
    .messages(&[("udp", 2), ("queries", 2)])
    .plain_names(&["frag", "frag"]),
];
