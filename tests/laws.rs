//! Laws of reading: however one conversation is wrapped, fragmented, segmented, cut into files or seen twice, its
//! totals, sources and findings are the same; and the output is the same, byte for byte, for any thread count and block
//! size.

#[path = "laws/conversation.rs"]
mod conversation;
#[path = "laws/wrap.rs"]
mod wrap;

use conversation::{Packet, conversation};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use wrap::{WRAPPINGS, fragments, pcap};

/// An inventory with some of the addresses, so that there are findings.
const INVENTORY: &str = "prefix,name,expect\n10.20.0.0/16,office,\n10.21.0.0/16,vpn,\n2001:db8:20::/48,office,refuse\n";

/// Runs the program on files with these contents.
fn run(folder: &Path, files: &[Vec<u8>], arguments: &[&str]) -> Vec<u8> {
    std::fs::write(folder.join("expect.csv"), INVENTORY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnsrefused"));
    command.current_dir(folder).arg("read");
    for (index, bytes) in files.iter().enumerate() {
        let name = format!("input{index}");
        std::fs::write(folder.join(&name), bytes).unwrap();
        command.arg(name);
    }
    let output = command.args(["--format", "json", "--expect", "expect.csv"]).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The part of a report that must not change.
fn essence(folder: &Path, files: &[Vec<u8>]) -> Value {
    let mut report: Value = serde_json::from_slice(&run(folder, files, &[])).unwrap();
    for ledger in ["packets", "messages", "matches", "bytes"] {
        assert_eq!(report["ledgers"][ledger]["closed"], true, "{ledger}");
    }
    report["totals"].as_object_mut().unwrap().remove("frames");
    for finding in report["findings"].as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("frames");
        let says = without_frame_counts(finding["says"].as_str().unwrap());
        finding["says"] = json!(says);
    }
    let ledgers = &report["ledgers"];
    json!({
        "totals": report["totals"], "sources": report["sources"], "findings": report["findings"],
        "messages": ledgers["messages"], "matches": ledgers["matches"],
    })
}

/// Sentences may say how many frames there are.
fn without_frame_counts(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let counts = |index: usize| words.get(index + 1).is_some_and(|next| next.starts_with("frame") || *next == "of");
    let kept: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(index, word)| !(counts(*index) && word.bytes().all(|byte| byte.is_ascii_digit())))
        .map(|(_, word)| *word)
        .collect();
    kept.join(" ")
}

/// The conversation in Ethernet, as it is.
fn plain(packets: &[Packet]) -> Vec<u8> {
    pcap(1, packets.iter().map(|packet| (packet.time, wrap::ethernet(&packet.bytes()))))
}

#[test]
fn every_wrapping_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    assert!(wanted["totals"]["refused"].as_u64() > Some(3) && wanted["findings"].as_array().unwrap().len() > 2);
    for (name, link_type, wrap) in WRAPPINGS {
        let file = pcap(*link_type, packets.iter().map(|packet| (packet.time, wrap(&packet.bytes()))));
        assert_eq!(essence(folder.path(), &[file]), wanted, "{name}");
    }
}

#[test]
fn wrappings_inside_wrappings_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    for (outer_name, _, outer) in WRAPPINGS.iter().filter(|(_, link_type, _)| *link_type == 1) {
        for (inner_name, _, inner) in wrap::OVER_IP {
            let wrapped = |packet: &Packet| (packet.time, outer(&inner(&packet.bytes())));
            let file = pcap(1, packets.iter().map(wrapped));
            assert_eq!(essence(folder.path(), &[file]), wanted, "{inner_name} in {outer_name}");
        }
    }
}

#[test]
fn fragments_of_any_size_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    for size in (8..=256).step_by(8).chain((320..=2048).step_by(192)) {
        for reversed in [false, true] {
            let mut frames = Vec::new();
            for packet in &packets {
                let mut parts = fragments(packet, size);
                if reversed {
                    parts.reverse();
                }
                frames.extend(parts.into_iter().map(|part| (packet.time, wrap::ethernet(&part))));
            }
            assert_eq!(essence(folder.path(), &[pcap(1, frames.into_iter())]), wanted, "{size} bytes, {reversed}");
        }
    }
}

#[test]
fn fragments_of_tunnels_and_tunnels_of_fragments_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    for (name, _, over_ip) in wrap::OVER_IP {
        let outside = packets.iter().enumerate().flat_map(|(index, packet)| {
            let outer = Packet::parse(packet.time, index as u16, &over_ip(&packet.bytes()));
            fragments(&outer, 48).into_iter().map(|part| (packet.time, wrap::ethernet(&part)))
        });
        assert_eq!(essence(folder.path(), &[pcap(1, outside)]), wanted, "{name} in fragments");
        let inside = packets.iter().flat_map(|packet| {
            fragments(packet, 48).into_iter().map(|part| (packet.time, wrap::ethernet(&over_ip(&part))))
        });
        assert_eq!(essence(folder.path(), &[pcap(1, inside)]), wanted, "fragments in {name}");
    }
}

#[test]
fn segments_of_any_size_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    let longest = packets.iter().map(|packet| packet.tcp_data().len()).max().unwrap();
    for size in (1..64).chain((64..longest).step_by(7)) {
        let segments: Vec<Packet> = packets.iter().flat_map(|packet| packet.segments(size)).collect();
        assert_eq!(essence(folder.path(), &[plain(&segments)]), wanted, "segments of {size} bytes");
    }
    for at in 1..longest {
        let segments: Vec<Packet> = packets.iter().flat_map(|packet| packet.split(at)).collect();
        assert_eq!(essence(folder.path(), &[plain(&segments)]), wanted, "split at byte {at}");
    }
}

#[test]
fn cut_into_files_anywhere_it_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    for at in 1..packets.len() {
        let files = [plain(&packets[..at]), plain(&packets[at..])];
        assert_eq!(essence(folder.path(), &files), wanted, "cut before frame {}", at + 1);
    }
}

#[test]
fn threads_and_blocks_never_show() {
    let folder = tempfile::tempdir().unwrap();
    let mut frames = Vec::new();
    for round in 0..20 {
        for (_, _, wrap) in WRAPPINGS.iter().filter(|(_, link_type, _)| *link_type == 1) {
            for packet in conversation() {
                let part = |part: Vec<u8>| (packet.time + round * 20_000_000, wrap(&part));
                frames.extend(fragments(&packet, 200).into_iter().map(part));
            }
        }
    }
    frames.sort_by_key(|(time, _)| *time);
    let file = [pcap(1, frames.into_iter())];
    let wanted = run(folder.path(), &file, &["--threads", "1"]);
    for threads in ["1", "2", "3", "8"] {
        for block_size in ["4096", "16384", "100000", "1048576"] {
            let got = run(folder.path(), &file, &["--threads", threads, "--block-size", block_size]);
            assert!(got == wanted, "{threads} threads, blocks of {block_size}");
        }
    }
}

#[test]
fn tags_on_one_side_do_not_matter_and_a_mirror_adds_only_copies() {
    let folder = tempfile::tempdir().unwrap();
    let packets = conversation();
    let wanted = essence(folder.path(), &[plain(&packets)]);
    for tagged_side in [true, false] {
        let one_sided = packets.iter().map(|packet| {
            let frame = wrap::ethernet(&packet.bytes());
            (packet.time, if packet.to_server == tagged_side { wrap::tagged(7, &frame) } else { frame })
        });
        assert_eq!(essence(folder.path(), &[pcap(1, one_sided)]), wanted);
    }
    // Everything seen again: behind a tag, inside a tunnel, or at the same place with the same identification (IPv4).
    let again: [(&str, wrap::Wrap, bool); 3] = [
        ("tag", |packet| wrap::tagged(7, &wrap::ethernet(packet)), true),
        ("tunnel", |packet| wrap::ethernet(&wrap::OVER_IP[0].2(packet)), true),
        ("mirror", |packet| wrap::ethernet(packet), false),
    ];
    for (name, copy, with_v6) in again {
        let packets: Vec<&Packet> = packets.iter().filter(|packet| with_v6 || !packet.v6).collect();
        let once = pcap(1, packets.iter().map(|packet| (packet.time, wrap::ethernet(&packet.bytes()))));
        let twice = packets.iter().flat_map(|packet| {
            let bytes = packet.bytes();
            [(packet.time, wrap::ethernet(&bytes)), (packet.time + 40, copy(&bytes))]
        });
        let (once, twice) = (essence(folder.path(), &[once]), essence(folder.path(), &[pcap(1, twice)]));
        assert_eq!(twice["totals"]["outcomes"], once["totals"]["outcomes"], "{name}");
        assert_eq!(twice["matches"]["matched"], once["matches"]["matched"], "{name}");
        assert_eq!(twice["matches"]["retransmitted"], once["matches"]["retransmitted"], "{name}");
        assert_eq!(twice["matches"]["duplicate"], once["matches"]["duplicate"], "{name}");
        let (udp, copies) =
            (once["totals"]["messages_udp"].as_u64(), |of: &str| twice["matches"][of].as_u64().unwrap());
        assert_eq!(Some(copies("query_copies") + copies("response_copies")), udp, "{name}");
    }
}
