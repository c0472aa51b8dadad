//! Compressed files: bombs, cuts, damage, several members, layers inside layers, and what is not opened at all.

use crate::case::case;
use crate::container::{followed_by, good, without_end};
use crate::dns::Message;
use crate::files::{Pcap, Record, START, pcap};
use crate::wire::to_server;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// One gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// One zstd frame with a checksum of its content.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory takes it");
    encoder.include_checksum(true).expect("a checksum can be asked for");
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// One lz4 frame in blocks of 64 KiB with a checksum of its content.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().content_checksum(true).block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A skippable frame whose magic number begins with `first`.
fn skippable(first: u8, holds: &[u8]) -> Vec<u8> {
    [&[first, 0x2a, 0x4d, 0x18], &(holds.len() as u32).to_le_bytes(), holds].concat()
}

/// A capture of `count` queries with names that do not compress well.
fn queries(count: u16) -> Vec<u8> {
    let frames: Vec<Vec<u8>> = (0..count)
        .map(|index| {
            let mixed = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            to_server(&Message::query(&format!("{mixed:016x}.test")).id(index).bytes())
        })
        .collect();
    pcap(&frames)
}

/// `bytes` with all bits of the byte at `at` inverted.
fn damaged(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0xff;
    bytes
}

/// Frames of 65,000 zeros in one member of a bomb.
const FRAMES_PER_MEMBER: u64 = 16;
/// Members of a bomb: 1.04 GB of zeros in about 1 MB.
const MEMBERS: u64 = 1000;
/// Members of the gzip bomb. Without optimisation, expanding 1 GB takes minutes of processor time; there the quick
/// suite uses 10 MB and only the long one has all of it.
fn gzip_members() -> u64 {
    if cfg!(debug_assertions) && std::env::var_os("DNSREFUSED_LAB").is_none() { MEMBERS / 100 } else { MEMBERS }
}
/// Size of one member of a bomb when expanded.
const MEMBER_SIZE: u64 = FRAMES_PER_MEMBER * (16 + 65_000);

/// A capture of zeros in this many members, made with `compress`.
fn bomb(compress: fn(&[u8]) -> Vec<u8>, members: u64) -> Vec<u8> {
    let member = Pcap::default().record(&Record::new(&vec![0; 65_000])).repeat(FRAMES_PER_MEMBER as usize);
    followed_by(compress(&Pcap::default().header()), &compress(&member).repeat(members as usize))
}

/// A gzip header with the given flags, the fields they promise, and the rest of an ordinary member.
fn gzip_with_fields(flags: u8, fields: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut member = gzip(bytes);
    member[3] = flags;
    let rest = member.split_off(10);
    [member, fields.to_vec(), rest].concat()
}

/// A zstd frame that asks for a window of `2^(10 + exponent)` bytes and holds `bytes` uncompressed.
fn zstd_with_window(exponent: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3];
    frame.extend(&((bytes.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    frame.extend(bytes);
    frame
}

/// Size of a capture of one good frame.
fn one_frame() -> u64 {
    pcap(&[good()]).len() as u64
}

cases![
    z01_bomb_of_1_gb = case("1 GB of zeros in 1 MB", bomb(gzip, gzip_members()))
        .packets(&[("frames", FRAMES_PER_MEMBER * gzip_members()), ("non_ip", FRAMES_PER_MEMBER * gzip_members())])
        .expands_to(24 + gzip_members() * MEMBER_SIZE)
        .heavy(),
    z02_cut = case("a gzip file less its last 400 bytes", without_end(gzip(&queries(700)), 400))
        .exit(3)
        .at_least("ledgers.packets", "udp_dns", 500)
        .at_most("ledgers.packets", "udp_dns", 699),
    z03_two_members = case(
        "a capture in two gzip members",
        followed_by(gzip(&pcap(&[good()])), &gzip(&Pcap::default().record(&Record::new(&good()))))
    )
    .packets(&[("frames", 2), ("udp_dns", 2)])
    .expands_to(2 * one_frame() - 24),
    z04_trailing_garbage =
        case("ten bytes behind the last gzip member", followed_by(gzip(&pcap(&[good()])), b"\0\x01\x02garbage"))
            .exit(3)
            .says("10")
            .packets(&[("udp_dns", 1)])
            .anomalies(&[("trailing_bytes_compressed", 10)]),
    z05_gzip_in_gzip =
        case("a gzip file in a gzip file: one layer is opened", gzip(&gzip(&pcap(&[good()])))).unusable(),
    z06_zstd = case("a zstd file", zstd(&queries(700))).packets(&[("udp_dns", 700)]),
    z07_zstd_cut = case("a zstd file less its last 400 bytes", without_end(zstd(&queries(2000)), 400)).exit(3),
    z08_zstd_damaged = {
        let file = zstd(&queries(700));
        let middle = file.len() / 2;
        case("a zstd file with a damaged byte in the middle", damaged(file, middle)).exit(3)
    },
    z09_zstd_two_frames = case(
        "a capture in two zstd frames",
        followed_by(zstd(&pcap(&[good()])), &zstd(&Pcap::default().record(&Record::new(&good()))))
    )
    .packets(&[("udp_dns", 2)]),
    z10_zstd_window =
        case("a zstd frame that asks for a window of 2 GiB", zstd_with_window(21, &pcap(&[good()]))).unusable(),
    z11_zstd_smallest_window =
        case("a zstd frame with a window of 1 KiB", zstd_with_window(0, &pcap(&[good()]))).packets(&[("udp_dns", 1)]),
    z12_zstd_bomb = case("1 GB of zeros in zstd frames", bomb(zstd, MEMBERS))
        .packets(&[("frames", FRAMES_PER_MEMBER * MEMBERS), ("non_ip", FRAMES_PER_MEMBER * MEMBERS)])
        .expands_to(24 + MEMBERS * MEMBER_SIZE)
        .heavy(),
    z13_lz4 = case("an lz4 file", lz4(&queries(1000))).packets(&[("udp_dns", 1000)]),
    z14_lz4_cut = case("an lz4 file less its last 400 bytes", without_end(lz4(&queries(1000)), 400)).exit(3),
    z14_lz4_without_its_end_mark = case("an lz4 file whose end mark is cut off", {
        let info = lz4_flex::frame::FrameInfo::new();
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&queries(1000)).expect("memory takes it");
        without_end(encoder.finish().expect("memory takes it"), 4)
    })
    .exit(3),
    z15_lz4_damaged = {
        let file = lz4(&queries(1000));
        let late = file.len() / 8 * 7;
        case("an lz4 file with a damaged byte in the second block", damaged(file, late)).exit(3)
    },
    z16_xz =
        case("an xz file, which is not opened", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46".repeat(4)).unusable().says("xz"),
    z17_bzip2 = case("a bzip2 file, which is not opened", b"BZh91AY&SY\x1b[2J".repeat(4)).unusable().says("bzip2"),
    z17_network_monitor =
        case("a file of Microsoft Network Monitor, which is not opened", b"GMBU\0\x02\x01\0".repeat(9))
            .unusable()
            .says("Microsoft Network Monitor"),
    z17_snoop = case("a snoop file, which is not opened", b"snoop\0\0\0\0\0\0\x02\0\0\0\x04".repeat(3))
        .unusable()
        .says("editcap"),
    z18_gzip_checksum = {
        let file = gzip(&queries(700));
        let at = file.len() - 8;
        case("a gzip file whose checksum is wrong", damaged(file, at)).exit(3).at_least("ledgers.packets", "udp_dns", 1)
    },
    z19_gzip_damaged = {
        let file = gzip(&queries(700));
        let middle = file.len() / 2;
        case("a gzip file with a damaged byte in the middle", damaged(file, middle)).exit(3)
    },
    z20_gzip_header_only = case("only the header of a gzip file", gzip(&pcap(&[good()]))[..10].to_vec()).unusable(),
    z21_gzip_two_bytes = case("only the magic of a gzip file", vec![0x1f, 0x8b]).unusable(),
    z22_gzip_of_nothing = case("a gzip file of nothing", gzip(&[])).unusable().says("empty"),
    z23_gzip_empty_members = case(
        "a thousand empty gzip members around a capture",
        [gzip(&[]).repeat(500), gzip(&pcap(&[good()])), gzip(&[]).repeat(500)].concat()
    )
    .packets(&[("udp_dns", 1)])
    .expands_to(one_frame()),
    z24_gzip_hostile_name = case(
        "a gzip file whose stored name and comment drive terminals",
        gzip_with_fields(0x18, b"\x1b[2J\n../../x\0\x1b]0;y\x07\0", &pcap(&[good()]))
    )
    .packets(&[("udp_dns", 1)]),
    z25_gzip_endless_name = case(
        "a gzip file whose stored name never ends",
        followed_by(gzip_with_fields(0x08, &[], &[])[..10].to_vec(), &vec![b'n'; 1 << 20])
    )
    .unusable()
    .heavy(),
    z26_gzip_extra_field = case(
        "a gzip file with an extra field of 65,535 bytes",
        gzip_with_fields(0x04, &[vec![0xff, 0xff], vec![0; 65_535]].concat(), &pcap(&[good()]))
    )
    .packets(&[("udp_dns", 1)]),
    z27_zstd_skippable = case(
        "a zstd frame to skip behind a capture",
        followed_by(zstd(&pcap(&[good()])), b"\x50\x2a\x4d\x18\x04\0\0\0skip")
    )
    .packets(&[("udp_dns", 1)]),
    z28_gzip_standard_input = case("a gzip file through standard input", gzip(&pcap(&[good()])))
        .through_standard_input()
        .packets(&[("udp_dns", 1)]),
    z29_cut_inside_record = case("a whole gzip file of a cut capture", gzip(&without_end(pcap(&[good(), good()]), 5)))
        .exit(3)
        .packets(&[("udp_dns", 1)])
        .expands_to(2 * one_frame() - 24 - 5)
        .bytes(&[("unread_tail", one_frame() - 24 - 5)]),
    z30_bad_length_inside = case(
        "a gzip file of a capture with a length of 4 GiB, then a million zeros",
        gzip(&followed_by(
            pcap(&[good()]),
            &followed_by(
                Pcap::default().record(&Record { stored: Some(u32::MAX), ..Record::new(&good()) }),
                &vec![0; 1_000_000]
            )
        ))
    )
    .exit(3)
    .packets(&[("frames", 1), ("udp_dns", 1)]),
    z31_zstd_trailing_garbage =
        case("ten bytes behind the last zstd frame", followed_by(zstd(&pcap(&[good()])), b"\0\x01\x02garbage"))
            .exit(3)
            .packets(&[("udp_dns", 1)]),
    z32_lz4_trailing_garbage =
        case("ten bytes behind the last lz4 frame", followed_by(lz4(&pcap(&[good()])), b"\0\x01\x02garbage"))
            .exit(3)
            .packets(&[("udp_dns", 1)]),
    z33_nanoseconds = case(
        "times in nanoseconds inside a gzip file keep their last digit",
        gzip(&crate::sections::with_resolution(9, u64::from(START) * 1_000_000_000 + 7))
    )
    .packets(&[("udp_dns", 1)])
    .row(&[("time", "2023-11-14T22:13:20.000000007Z")]),
    z34_pzstd = case("a capture as pzstd writes it: before each frame one to skip, which says how long that is", {
        let sized = |bytes: &[u8]| {
            let frame = zstd(bytes);
            [&b"\x50\x2a\x4d\x18\x04\0\0\0"[..], &(frame.len() as u32).to_le_bytes(), &frame].concat()
        };
        let bytes = pcap(&[good(), good()]);
        let (one, two) = bytes.split_at(100);
        followed_by(sized(one), &sized(two))
    })
    .packets(&[("udp_dns", 2)]),
    z35_lz4_frames_to_skip =
        case("frames to skip of every magic number before, between and behind the lz4 frames of a capture", {
            let skip: Vec<u8> = (0x50..=0x5f).flat_map(|first| skippable(first, b"\x04\x22\x4d\x18\0\0\0")).collect();
            let bytes = pcap(&[good(), good()]);
            let (one, two) = bytes.split_at(100);
            [&skip[..], &lz4(one), &skip, &lz4(two), &skip].concat()
        })
        .through_standard_input()
        .packets(&[("udp_dns", 2)]),
    z36_zstd_other_frame_to_skip = case(
        "a frame to skip with the last of their magic numbers before a zstd frame",
        followed_by(skippable(0x5f, &[]), &zstd(&pcap(&[good()])))
    )
    .packets(&[("udp_dns", 1)]),
    z37_cut_frame_to_skip = case(
        "a frame to skip behind an lz4 frame, of which a byte is missing",
        followed_by(lz4(&pcap(&[good()])), &without_end(skippable(0x50, b"skip"), 1))
    )
    .exit(3)
    .packets(&[("udp_dns", 1)])
    .says("a frame to skip is cut"),
    z38_plain_behind_frame_to_skip =
        case("a plain capture behind a frame to skip", followed_by(skippable(0x50, b"skip"), &pcap(&[good()])))
            .unusable()
            .says("no compressed frame behind one to skip"),
    z39_only_cut_frame_to_skip =
        case("only a frame to skip, that claims 4 GiB", b"\x53\x2a\x4d\x18\xff\xff\xff\xffskip".to_vec())
            .unusable()
            .says("a frame to skip is cut"),
    z40_lz4_of_nothing = case("an lz4 file of nothing", lz4(&[])).unusable().says("empty"),
    z41_lz4_header_only = case("only the magic number of an lz4 file", lz4(&[])[..4].to_vec()).unusable().says("cut"),
    z42_lz4_legacy =
        case("an lz4 file of the legacy format, which is not opened", b"\x02\x21\x4c\x18\x05\0\0\0hello".to_vec())
            .unusable()
            .says("lz4 -dc"),
];
