//! pcapng files: blocks with impossible lengths, interfaces that are missing or absurd, options that overrun.

use crate::case::case;
use crate::compressed::gzip;
use crate::container::{followed_by, good, without_end};
use crate::dns::Message;
use crate::files::{BIG, Blocks, LITTLE, Packet, START, packet};
use crate::wire::{Ipv4, Udp, ethernet, to_server};

/// Bytes of a section header block without options.
const SECTION: u64 = 28;
/// Bytes of an interface description block without options.
const INTERFACE: u64 = 20;

/// A section and one Ethernet interface with the given options.
fn opened(options: &[u8]) -> Vec<u8> {
    followed_by(LITTLE.section(), &LITTLE.interface(options))
}

/// A section, an interface with the given options, and one good packet at the start time in the given units.
fn one_packet(options: &[u8], time: u64) -> Vec<u8> {
    followed_by(opened(options), &LITTLE.packet(&Packet { time, ..packet(&good()) }))
}

/// Bytes of an enhanced packet block with a good packet and no options.
fn good_block() -> Vec<u8> {
    LITTLE.packet(&packet(&good()))
}

/// The start time in microseconds.
const MICROSECONDS: u64 = START as u64 * 1_000_000;

/// A section whose interface option says its timestamps have this resolution.
pub fn with_resolution(value: u8, time: u64) -> Vec<u8> {
    one_packet(&LITTLE.option(9, &[value]), time)
}

/// `count` interfaces and one packet of the last.
fn many_interfaces(count: u32) -> Vec<u8> {
    let mut bytes = LITTLE.section();
    bytes.extend(LITTLE.interface(&[]).repeat(count as usize));
    bytes.extend(LITTLE.packet(&Packet { interface: count - 1, ..packet(&good()) }));
    bytes
}

/// A section in big-endian with its interface and one good packet.
fn big_endian_section() -> Vec<u8> {
    [BIG.section(), BIG.interface(&[]), BIG.packet(&packet(&good()))].concat()
}

/// A block of `kind` with `body`, between an opened section and a good packet.
fn between(blocks: Blocks, kind: u32, body: &[u8]) -> Vec<u8> {
    [opened(&[]), blocks.block(kind, body), good_block()].concat()
}

/// A query without a response in a second section, whose interface has the given options, while the server answers
/// another client before it and after it.
fn unanswered_in_second_section(options: &[u8]) -> Vec<u8> {
    let another = [198, 51, 100, 99];
    let inwards =
        |message: &[u8]| ethernet(&Ipv4 { source: another, ..Ipv4::default() }.around(&Udp::default().around(message)));
    let outwards =
        |message: &[u8]| ethernet(&Ipv4 { destination: another, ..Ipv4::back() }.around(&Udp::back().around(message)));
    let block = |second: u64, direction: u32, data: &[u8]| {
        let flags = LITTLE.option(2, &LITTLE.u32(direction));
        LITTLE.packet(&Packet { time: MICROSECONDS + second * 1_000_000, options: &flags, ..packet(data) })
    };
    let answered = |second: u64| {
        let id = second as u16 + 10;
        let query = inwards(&Message::query("ok.test").id(id).bytes());
        let response = outwards(&Message::response("ok.test", 0).id(id).bytes());
        [block(second, 1, &query), block(second, 2, &response)].concat()
    };
    let before: Vec<u8> = (0..3).flat_map(answered).collect();
    let after: Vec<u8> = (4..20).flat_map(answered).collect();
    [opened(&[]), before, opened(options), block(3, 1, &good()), after].concat()
}

cases![
    n01_section_only = case("a section header and nothing else", LITTLE.section())
        .packets(&[("frames", 0)])
        .bytes(&[("headers", SECTION)]),
    n02_block_length_0 =
        case("block length 0", followed_by(LITTLE.section(), &[LITTLE.u32(1), [0; 4], [0; 4]].concat()))
            .exit(3)
            .says("28")
            .bytes(&[("headers", SECTION), ("unread_tail", 12)]),
    n03_block_length_max = case(
        "block length 4 GiB",
        [LITTLE.section(), LITTLE.u32(6).to_vec(), LITTLE.u32(0xffff_fffc).to_vec(), vec![b'x'; 64]].concat()
    )
    .exit(3)
    .bytes(&[("unread_tail", 72)]),
    n04_block_length_13 = case(
        "block length 13",
        [LITTLE.section(), LITTLE.u32(1).to_vec(), LITTLE.u32(13).to_vec(), vec![b'x'; 32]].concat()
    )
    .exit(3)
    .bytes(&[("unread_tail", 40)]),
    n05_trailer_differs = case(
        "a block whose length is repeated as another",
        [LITTLE.section(), LITTLE.block_claiming(1, &[1, 0, 0, 0, 0, 0, 0, 0], 20, 99), good_block()].concat()
    )
    .exit(3)
    .says("28")
    .packets(&[("frames", 0)])
    .bytes(&[("headers", SECTION), ("unread_tail", INTERFACE + good_block().len() as u64)]),
    n06_undeclared_interface = case(
        "a packet of interface 7 of 1",
        followed_by(opened(&[]), &LITTLE.packet(&Packet { interface: 7, ..packet(&good()) }))
    )
    .exit(3)
    .packets(&[("frames", 1), ("undeclared_interface", 1)]),
    n07_packet_before_interface =
        case("a packet before its interface", [LITTLE.section(), good_block(), LITTLE.interface(&[])].concat())
            .exit(3)
            .packets(&[("frames", 1), ("undeclared_interface", 1)]),
    n08_resolution_2_127 = case("times in units of 2^-127 s", with_resolution(0xff, MICROSECONDS))
        .exit(3)
        .packets(&[("udp_dns", 1)])
        .anomalies(&[("bad_resolution", 1)]),
    n09_resolution_10_127 = case("times in units of 10^-127 s", with_resolution(0x7f, MICROSECONDS))
        .exit(3)
        .packets(&[("udp_dns", 1)])
        .anomalies(&[("bad_resolution", 1)]),
    n10_stored_beyond_block = case(
        "a captured length beyond the block",
        followed_by(opened(&[]), &LITTLE.packet(&Packet { stored: Some(0x7fff_ffff), ..packet(&good()) }))
    )
    .exit(3)
    .packets(&[("frames", 1), ("damaged_record", 1)]),
    n11_option_overrun = case(
        "an option longer than its block",
        one_packet(&[LITTLE.u16(2), LITTLE.u16(60_000)].concat(), MICROSECONDS)
    )
    .exit(3)
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("bad_options", 1)]),
    n12_escapes_in_options = case(
        "an interface name and a comment that drive terminals",
        followed_by(
            opened(&LITTLE.option(2, b"eth0\x1b]0;pwned\x07\x1b[2J\nFAKE LINE")),
            &LITTLE.packet(&Packet { options: &LITTLE.option(1, b"\x1b[31mcomment\r\nX"), ..packet(&good()) })
        )
    )
    .packets(&[("udp_dns", 1)]),
    n13_100k_interfaces = case("a hundred thousand interfaces", many_interfaces(100_000))
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .heavy(),
    n14_unknown_block = case("a block of no known type", between(LITTLE, 0x7777, &[b'z'; 100]))
        .packets(&[("udp_dns", 1)])
        .bytes(&[("skipped_blocks", 112)]),
    n15_two_sections = case("two sections", one_packet(&[], MICROSECONDS).repeat(2))
        .packets(&[("frames", 2), ("udp_dns", 2)])
        .bytes(&[("headers", 2 * (SECTION + INTERFACE))]),
    n16_cut_block = case(
        "the last block less nine bytes",
        without_end(followed_by(one_packet(&[], MICROSECONDS), &good_block()), 9)
    )
    .exit(3)
    .packets(&[("frames", 1), ("udp_dns", 1)])
    .bytes(&[("unread_tail", good_block().len() as u64 - 9)]),
    n17_big_endian = case("big-endian", big_endian_section())
        .packets(&[("udp_dns", 1)])
        .row(&[("time", "2023-11-14T22:13:20.000000Z"), ("qname", "ok.test")]),
    n18_obsolete_packet_block =
        case("an obsolete packet block", followed_by(opened(&[]), &LITTLE.obsolete_packet(MICROSECONDS, &good())))
            .packets(&[("udp_dns", 1)])
            .row(&[("time", "2023-11-14T22:13:20.000000Z")]),
    n19_simple_packet_block =
        case("a simple packet block, which has no time", followed_by(opened(&[]), &LITTLE.simple_packet(&good())))
            .packets(&[("udp_dns", 1)])
            .anomalies(&[("no_timestamp", 1)]),
    n20_simple_before_interface = case(
        "a simple packet block before its interface",
        followed_by(LITTLE.section(), &LITTLE.simple_packet(&good()))
    )
    .exit(3)
    .packets(&[("undeclared_interface", 1)]),
    n21_time_offset = case(
        "an interface whose times count from an hour later",
        one_packet(&LITTLE.option(14, &3600i64.to_le_bytes()), MICROSECONDS)
    )
    .packets(&[("udp_dns", 1)])
    .row(&[("time", "2023-11-14T23:13:20.000000Z")]),
    n22_time_offset_max =
        case("a time offset of 292 billion years", one_packet(&LITTLE.option(14, &i64::MAX.to_le_bytes()), u64::MAX))
            .packets(&[("udp_dns", 1)])
            .anomalies(&[("odd_timestamps", 1)]),
    n23_time_offset_min =
        case("a time offset of minus 292 billion years", one_packet(&LITTLE.option(14, &i64::MIN.to_le_bytes()), 0))
            .packets(&[("udp_dns", 1)])
            .anomalies(&[("odd_timestamps", 1)]),
    n24_nanoseconds = case("times in nanoseconds", with_resolution(9, u64::from(START) * 1_000_000_000 + 7))
        .packets(&[("udp_dns", 1)])
        .row(&[("time", "2023-11-14T22:13:20.000000007Z")]),
    n25_binary_resolution = case("times in units of 2^-10 s", with_resolution(0x8a, u64::from(START) * 1024 + 512))
        .packets(&[("udp_dns", 1)])
        .at_most("anomalies", "bad_resolution", 0),
    n26_whole_seconds = case("times in whole seconds", with_resolution(0, u64::from(START)))
        .packets(&[("udp_dns", 1)])
        .anomalies(&[("bad_resolution", 0), ("odd_timestamps", 0)]),
    n27_both_byte_orders = case(
        "a little-endian section, then a big-endian one",
        followed_by(one_packet(&[], MICROSECONDS), &big_endian_section())
    )
    .packets(&[("frames", 2), ("udp_dns", 2)]),
    n28_interface_of_an_older_section = case(
        "a packet of an interface only the section before declared",
        [one_packet(&[], MICROSECONDS), LITTLE.section(), good_block()].concat()
    )
    .exit(3)
    .packets(&[("frames", 2), ("udp_dns", 1), ("undeclared_interface", 1)]),
    n29_stores_nothing = case(
        "a packet block that stores nothing of 90 bytes",
        followed_by(opened(&[]), &LITTLE.packet(&Packet { original: Some(90), ..packet(&[]) }))
    )
    .packets(&[("frames", 1), ("snap_cut", 1)]),
    n30_block_over_16_mib = case(
        "a block of more than 16 MiB",
        followed_by(one_packet(&[], MICROSECONDS), &LITTLE.block(0x7777, &vec![0; (16 << 20) + 4]))
    )
    .exit(3)
    .packets(&[("udp_dns", 1)])
    .heavy(),
    n31_million_interfaces = case("a million interfaces", many_interfaces(1_000_000))
        .exit_one_of(&[0, 3])
        .packets(&[("frames", 1)])
        .sum("ledgers.packets", &["udp_dns", "undeclared_interface"], 1)
        .heavy(),
    n32_unknown_link_type_beside = case(
        "a packet of an unknown link type beside a good one",
        [
            opened(&[]),
            LITTLE.interface_of_type(9999, 0, &[]),
            good_block(),
            LITTLE.packet(&Packet { interface: 1, ..packet(&good()) }),
        ]
        .concat()
    )
    .packets(&[("frames", 2), ("udp_dns", 1), ("not_opened", 1)]),
    n33_bad_byte_order_magic = case(
        "a second section whose byte order cannot be told",
        followed_by(one_packet(&[], MICROSECONDS), &LITTLE.block(0x0a0d_0d0a, &[0x55; 16]))
    )
    .exit(3)
    .packets(&[("udp_dns", 1)])
    .bytes(&[("unread_tail", 28)]),
    n34_packet_blocks_too_short = case(
        "packet blocks without room for their fields",
        [between(LITTLE, 6, &[0; 16]), LITTLE.block(6, &[]), LITTLE.block(2, &[0; 16]), LITTLE.block(3, &[])].concat()
    )
    .exit(3)
    .says("4 packet blocks that end before")
    .packets(&[("frames", 5), ("udp_dns", 1), ("damaged_record", 4)])
    .bytes(&[("skipped_blocks", 0)]),
    n35_interface_block_too_short = case(
        "an interface block without room for its fields: nobody can tell which interface the next one is",
        [LITTLE.section(), LITTLE.block(1, &[1, 0, 0, 0]), LITTLE.interface(&[]), good_block()].concat()
    )
    .exit(3)
    .says("a block of 16 bytes is too short for an interface description")
    .packets(&[("frames", 0)])
    .bytes(&[("headers", SECTION), ("unread_tail", 16 + INTERFACE + good_block().len() as u64)]),
    n36_custom_and_secrets_blocks = case(
        "custom, secrets, statistics and name blocks",
        [
            opened(&[]),
            LITTLE.block(0x0bad, b"\0\0\x7f\xe7\x1b[2J"),
            LITTLE.block(0x4000_0bad, &[0; 40]),
            LITTLE.block(10, b"KEYS\x1b[31m"),
            LITTLE.block(5, &[0; 12]),
            LITTLE.block(4, b"\x01\0\x10\0\x0a\0\0\x01\x1b]0;x\x07\0\0\0\0"),
            good_block(),
        ]
        .concat()
    )
    .packets(&[("udp_dns", 1)])
    .bytes(&[("headers", SECTION + INTERFACE)]),
    n37_longer_than_original = case(
        "a packet block that stores more than was on the wire",
        followed_by(opened(&[]), &LITTLE.packet(&Packet { original: Some(1), ..packet(&good()) }))
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("over_original_len", 1)]),
    n38_options_without_end = case("flags of direction, of every size, without an end of options", {
        let mut bytes = opened(&[]);
        for size in 0..9 {
            let options = LITTLE.option(2, &vec![0xff; size]);
            bytes.extend(LITTLE.packet(&Packet { options: &options, ..packet(&good()) }));
        }
        bytes
    })
    .packets(&[("frames", 9), ("udp_dns", 9)]),
    n39_comment_of_64k = case(
        "a comment of 65,535 bytes",
        followed_by(
            opened(&[]),
            &LITTLE.packet(&Packet { options: &LITTLE.option(1, &vec![b'c'; 65_535]), ..packet(&good()) })
        )
    )
    .packets(&[("udp_dns", 1)]),
    n40_thousands_of_options = case(
        "an interface with 16,000 empty options",
        one_packet(&LITTLE.option(0x7fff, &[]).repeat(16_000), MICROSECONDS)
    )
    .packets(&[("udp_dns", 1)]),
    n41_section_of_a_new_version = case("a section of major version 2", {
        let mut bytes = one_packet(&[], MICROSECONDS);
        bytes[12] = 2;
        bytes
    })
    .exit(3)
    .says("a section of version 2 is not known")
    .packets(&[("frames", 0)]),
    n42_name_of_every_byte = case(
        "an interface name of every byte, and one of 60,000 bytes",
        [
            one_packet(&LITTLE.option(2, &(0..=255).collect::<Vec<u8>>()), MICROSECONDS),
            one_packet(&LITTLE.option(2, &vec![b'e'; 60_000]), MICROSECONDS),
        ]
        .concat()
    )
    .packets(&[("frames", 2), ("udp_dns", 2)]),
    n43_packets_look_like_blocks = case("packets that contain whole sections, over several blocks of reading", {
        let inner = one_packet(&[], MICROSECONDS);
        let frame = to_server(&followed_by(Message::query("outer.test").bytes(), &inner.repeat(6)));
        let mut bytes = opened(&[]);
        for index in 0..1200 {
            bytes.extend(LITTLE.packet(&Packet { time: MICROSECONDS + index, ..packet(&frame) }));
        }
        bytes
    })
    .packets(&[("frames", 1200), ("udp_dns", 1200)])
    .bytes(&[("headers", SECTION + INTERFACE)]),
    n44_silence_in_a_second_section =
        case("a query that meets silence in a second section", unanswered_in_second_section(&[]))
            .outcomes(&[("answered", 19), ("silent", 1)]),
    n45_a_filter_in_a_second_section = case(
        "the same, and the second section was captured with a filter",
        unanswered_in_second_section(&LITTLE.option(11, b"\0host 198.51.100.99"))
    )
    .outcomes(&[("answered", 19), ("unanswered", 1)]),
    n46_a_filter_in_a_compressed_second_section =
        case("the same compressed", gzip(&unanswered_in_second_section(&LITTLE.option(11, b"\0host 198.51.100.99"))))
            .outcomes(&[("answered", 19), ("unanswered", 1)]),
    n47_simple_packet_behind_another = case("a packet without a time behind one with a time", {
        let later = to_server(&Message::query("later.test").bytes());
        [opened(&[]), good_block(), LITTLE.simple_packet(&later)].concat()
    })
    .packets(&[("udp_dns", 2)])
    .row(&[("qname", "ok.test"), ("time", "2023-11-14T22:13:20.000000Z")])
    .row(&[("qname", "later.test"), ("time", ""), ("query_frame", "2")]),
    n48_section_too_short = case(
        "a second section without room for its fields",
        followed_by(one_packet(&[], MICROSECONDS), &LITTLE.block(0x0a0d_0d0a, &LITTLE.u32(0x1a2b_3c4d)))
    )
    .exit(3)
    .says("a block of 16 bytes is too short for a section header")
    .packets(&[("udp_dns", 1)])
    .bytes(&[("unread_tail", 16)]),
];
