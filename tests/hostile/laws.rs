//! Tests laws of hostile input: damage anywhere never breaks a ledger, and twice the input takes at most twice the
//! time.

use crate::case::case;
use crate::check::check;
use crate::container::good;
use crate::dns::{Message, REFUSED, TXT, extended_error, framed, header, opt};
use crate::files::{LITTLE, Packet, Pcap, Record, packet, pcap, pcap_at};
use crate::run::{PEAK_KIB, Run, run};
use crate::wire::{ACK, DATA, Ipv4, SYN, TCP, Tcp, Udp, ethernet, to_client, to_server};
use std::fs;
use std::time::Duration;

/// Repeatable noise (xorshift).
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Frames of all kinds that are decoded: UDP, TCP, fragments, ICMP, IPv6.
fn medley() -> Vec<Vec<u8>> {
    let segment = |flags, sequence, payload: &[u8]| {
        let segment = Tcp { sequence, flags, ..Tcp::default() }.around(payload);
        ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&segment))
    };
    let large = Udp::default().around(&Message::query("frag").kind(TXT).rest(&[b'x'; 600]).bytes());
    let part = |from: usize, to: usize| {
        let fragment = (from / 8) as u16 | if to < large.len() { 0x2000 } else { 0 };
        ethernet(&Ipv4 { identification: 9, fragment, ..Ipv4::default() }.around(&large[from..to]))
    };
    let refusal = Message::response("ok.test", REFUSED).additional(&opt(&extended_error(18, b"text")));
    vec![
        good(),
        to_client(&refusal.bytes()),
        crate::wire::Ipv6::default().frame(&Udp::default().around(&Message::query("six.test").bytes())),
        segment(SYN, 99, &[]),
        segment(DATA, 100, &Message::query("tcp.test").framed()),
        segment(ACK, 200, &[]),
        part(0, 400),
        part(400, large.len()),
        to_server(&Message::query("header.test").id(2).bytes()),
        to_client(&header(2, 0x8105, [0; 4])),
        segment(DATA, 100, &framed(&header(7, 0x0100, [0; 4]))),
    ]
}

/// The medley, and a frame of each encapsulation.
fn menagerie() -> Vec<Vec<u8>> {
    [medley(), crate::wrappings::one_of_each()].concat()
}

/// `bytes` from `first` on with one in fifty changed.
fn flipped(mut bytes: Vec<u8>, first: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for byte in &mut bytes[first..] {
        if noise.next().is_multiple_of(50) {
            *byte ^= 1 << (noise.next() % 8);
        }
    }
    bytes
}

/// Asserts that a run ended with an exit code that damaged input may have, and that its ledgers are closed.
fn assert_sound(what: &str, run: &Run) {
    let complaint = run.complaint();
    assert!(matches!(run.code, Some(0 | 1 | 3)), "{what}: exit {:?}: {complaint}", run.code);
    assert!(!complaint.contains("panicked"), "{what}: {complaint}");
    if run.stdout.is_empty() {
        return;
    }
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("json parses");
    for ledger in ["packets", "messages", "matches", "bytes", "outputs"] {
        assert_eq!(report["ledgers"][ledger]["closed"], true, "{what}: {ledger}: {complaint}");
    }
}

/// Reads `bytes`; checks that the run is sound and that thread count and block size change nothing.
fn assert_sound_input(what: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("input"), bytes).expect("the input is written");
    let arguments = ["read", "input", "--format", "json", "--threads", "1"];
    let one = run(folder.path(), &arguments, None);
    assert_sound(what, &one);
    let arguments = ["read", "input", "--format", "json", "--threads", "3", "--block-size", "4096"];
    let other = run(folder.path(), &arguments, None);
    assert_eq!(other.code, one.code, "{what}");
    assert!(other.stdout == one.stdout, "{what}: threads and blocks change the report");
    assert_eq!(other.complaint(), one.complaint(), "{what}");
}

#[test]
fn packets_with_changed_bytes_are_sound() {
    // Only packet bytes are changed, so that every frame is decoded: record headers are kept.
    for seed in 0..40 {
        let frames: Vec<Vec<u8>> = (0..20)
            .flat_map(|round| menagerie().into_iter().map(move |frame| flipped(frame, 12, seed * 1000 + round)))
            .collect();
        assert_sound_input(&format!("seed {seed}"), &pcap(&frames));
    }
}

#[test]
fn pcap_files_with_changed_bytes_are_sound() {
    for seed in 0..20 {
        assert_sound_input(&format!("seed {seed}"), &flipped(pcap(&menagerie()), 4, seed));
    }
}

#[test]
fn pcapng_files_with_changed_bytes_are_sound() {
    let mut bytes = [LITTLE.section(), LITTLE.interface(&LITTLE.option(2, b"eth0"))].concat();
    for frame in menagerie() {
        bytes.extend(LITTLE.packet(&Packet { options: &LITTLE.option(1, b"comment"), ..packet(&frame) }));
    }
    for seed in 0..20 {
        assert_sound_input(&format!("seed {seed}"), &flipped(bytes.clone(), 12, seed));
    }
}

#[test]
fn files_cut_anywhere_are_sound() {
    let bytes = pcap(&menagerie());
    for length in (0..bytes.len()).step_by(101) {
        assert_sound_input(&format!("cut at {length}"), &bytes[..length]);
    }
}

/// Two transactions of one flow with the same question, refused in two ways, with another flow between them, then both
/// responses again: copies and duplicates that only a fixed order of searching can distinguish.
fn crowded_flow() -> Vec<u8> {
    let odd = [1, 0, 1, 0];
    let text = opt(&extended_error(18, b"text"));
    let asked = Message::query("header.test").id(2);
    let answered = Message::response("ok.test", REFUSED).additional(&text);
    let refusal = |authority: u16| to_client(&header(2, 0x8105, [0, 0, authority, 0]));
    pcap_at(&[
        (1, to_client(&answered.bytes())),
        (8, to_server(&asked.bytes())),
        (9, refusal(0)),
        (41, to_server(&asked.counts(odd).bytes())),
        (42, refusal(1)),
        (44, to_server(&Message::query("ok.test").counts(odd).bytes())),
        (45, to_client(&answered.counts([1, 0, 1, 1]).bytes())),
        (53, refusal(1)),
        (75, refusal(0)),
    ])
}

/// Queries with different questions, asked at one time under one id, then a refusal without a question.
fn one_moment(count: u16) -> Vec<u8> {
    let mut records: Vec<Record> =
        (0..count).map(|index| Record::new(&to_server(&Message::query(&format!("n{index}.test")).bytes()))).collect();
    records.push(Record::at(1, &to_client(&header(1, 0x8105, [0; 4]))));
    Pcap::default().file(&records)
}

#[test]
fn the_report_does_not_depend_on_the_hash_key() {
    // Every run has another key.
    const RUNS: usize = 12;
    let mut inputs: Vec<(String, Vec<u8>)> =
        vec![("one moment".to_owned(), one_moment(5)), ("crowded flow".to_owned(), crowded_flow())];
    inputs.extend((0..6).map(|seed| {
        let frames: Vec<Vec<u8>> = (0..20)
            .flat_map(|round| menagerie().into_iter().map(move |frame| flipped(frame, 12, seed * 7919 + round)))
            .collect();
        (format!("changed bytes, seed {seed}"), pcap(&frames))
    }));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut differing = Vec::new();
    for (name, bytes) in inputs {
        fs::write(folder.path().join("input"), bytes).expect("the input is written");
        for format in ["json", "csv"] {
            let arguments = ["read", "input", "--all", "--format", format, "--threads", "1"];
            let first = run(folder.path(), &arguments, None).stdout;
            if (1..RUNS).any(|_| run(folder.path(), &arguments, None).stdout != first) {
                differing.push(format!("{name}: {format}"));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn the_medley_itself_is_read_completely() {
    let medley = case("a packet of everything", pcap(&medley()))
        .packets(&[("frames", 11)])
        .messages(&[("queries", 5), ("responses", 2), ("undecodable", 0)])
        .outcomes(&[("refused", 2)]);
    check("medley", &medley);
}

/// A function that makes an input whose size grows with a number.
type Grown = fn(u32) -> Vec<u8>;

/// Inputs that would reveal a linear search in a table or list, each with the smaller of the two sizes tried.
const GROWING: &[(&str, u32, Grown)] = &[
    ("unanswered queries", 15_000, crate::state::unanswered),
    ("refused clients", 6000, crate::state::all_refused),
    ("first fragments", 20_000, crate::fragments::first_only),
    ("half-open connections", 20_000, |count| crate::state::connections(count, DATA, &[0xff; 2])),
    ("segments behind a hole", 2000, crate::streams::behind_a_hole),
    ("options", 4000, |count| {
        let options = crate::dns::option(3, &[]).repeat(count as usize);
        let frame = to_server(&Message::query("a").additional(&opt(&options)).bytes());
        pcap(&vec![frame; 40])
    }),
    ("parts of eight bytes", 2000, |count| {
        let payload = Udp::default().around(&Message::query("a").rest(&vec![0; count as usize * 8]).bytes());
        let frames: Vec<Vec<u8>> = (0..10)
            .flat_map(|set| {
                let payload = &payload;
                (0..payload.len()).step_by(8).rev().map(move |from| {
                    let to = (from + 8).min(payload.len());
                    let fragment = (from / 8) as u16 | if to < payload.len() { 0x2000 } else { 0 };
                    ethernet(&Ipv4 { identification: set, fragment, ..Ipv4::default() }.around(&payload[from..to]))
                })
            })
            .collect();
        pcap(&frames)
    }),
    ("questions under one id", 1500, |count| {
        let frames: Vec<Vec<u8>> =
            (0..count).map(|index| to_server(&Message::query(&format!("n{index}.test")).bytes())).collect();
        pcap(&frames)
    }),
    ("interfaces", 20_000, |count| {
        let mut bytes = LITTLE.section();
        bytes.extend(LITTLE.interface(&LITTLE.option(2, b"eth0")).repeat(count as usize));
        bytes.extend(LITTLE.packet(&Packet { interface: count - 1, ..packet(&good()) }));
        bytes
    }),
];

/// The factor by which a run may take more than in proportion: the machine is shared, and small runs are measured
/// coarsely.
const SLACK: f64 = 1.8;
/// Processor time below which nothing is compared.
const FLOOR: Duration = Duration::from_millis(150);

#[test]
fn four_times_the_input_takes_no_more_than_four_times_the_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut broken = Vec::new();
    for (name, small, grown) in GROWING {
        let measure = |count: u32| {
            fs::write(folder.path().join("input"), grown(count)).expect("the input is written");
            let run = run(folder.path(), &["read", "input", "--format", "json"], None);
            assert!(matches!(run.code, Some(0 | 4)), "{name}: {}", run.complaint());
            (run.cpu, run.peak_kib)
        };
        let (short, _) = measure(*small);
        let most = (short.as_secs_f64() * 4.0 * SLACK).max(FLOOR.as_secs_f64());
        let (mut long, peak) = measure(4 * small);
        if long.as_secs_f64() > most {
            // Another process may have used the machine during the measurement.
            long = long.min(measure(4 * small).0);
        }
        println!("{name}: {short:?}, four times as much {long:?}, peak {peak} KiB");
        if long.as_secs_f64() > most {
            broken.push(format!("{name}: {short:?} became {long:?}"));
        }
        if peak > PEAK_KIB {
            broken.push(format!("{name}: {peak} KiB"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Floods that fill the tables and budgets that they reach, each with the number of packets it takes.
const FILLING: &[(&str, u32, Grown)] = &[
    ("unanswered queries", 600_000, crate::state::unanswered),
    ("refused queries", 1_200_000, crate::state::all_refused),
    ("first fragments", 100_000, crate::fragments::first_only),
    ("half-open connections", 600_000, |count| crate::state::connections(count, SYN, &[])),
    ("half of a message on each connection", 150_000, |count| {
        crate::state::connections(count, DATA, &[&[3, 0xe8][..], &[7; 900]].concat())
    }),
];

#[test]
fn full_tables_keep_to_the_promised_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut broken = Vec::new();
    for (name, count, flood) in FILLING {
        fs::write(folder.path().join("input"), flood(*count)).expect("the input is written");
        for threads in ["1", "2"] {
            let run = run(folder.path(), &["read", "input", "--format", "json", "--threads", threads], None);
            assert!(matches!(run.code, Some(0 | 4)), "{name}: {}", run.complaint());
            println!("{name}, {threads} threads: peak {} KiB", run.peak_kib);
            if run.peak_kib > PEAK_KIB {
                broken.push(format!("{name}, {threads} threads: {} KiB", run.peak_kib));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
