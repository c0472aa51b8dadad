//! Mutated inputs for every fuzz target, from a fixed seed: the part of fuzzing that runs everywhere.
//!
//! In release 10 million iterations (`DNSREFUSED_FUZZ` sets another number, `DNSREFUSED_FUZZ_SEED` another seed), in
//! debug far fewer. A failing input is printed as hexadecimal digits; put it into [`REGRESSIONS`].

#[path = "fuzz/targets.rs"]
mod targets;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use targets::{TARGETS, Target};

/// Inputs that once failed, by target.
const REGRESSIONS: &[(&str, &[u8])] = &[(
    // A segment that was cut loses the boundary it was just held for: it was taken back before it was counted.
    "stream",
    b"\x07\x02\x00\x00\x00\x08\x10\x00\x28\x00\x21\x12\x34\x0d\x0a\x51\x55\x49\x54\x0a\x21\x12\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x35\x30\x39\x00\x35\x00\x21\x12\x34\x01\x00\x00\x01\x01\x00\x00\x01\x40\x00\x40\x00\x00\x00\x03\x77\x77\x77\x07\x65\x78\x61\x6d\x70\x6c\x3f\x03\x10\x00\x28\x00\x21\x12\x34\x01\x00\x00\x01\x40\x00\x00\x00",
)];

/// Repeatable noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

/// A query, a refusal with options, a response with compressed names.
const MESSAGES: [&[u8]; 4] = [
    b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01",
    b"\x12\x34\x81\x05\0\x01\0\0\0\0\0\x01\x03www\x07example\x03com\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0f\0\x08\0\x12denied",
    b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x06\x03ftp\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x09\0\x04\x01\x02\x03\x04",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x07\x0a\0\0\x35\x30\x39\0\x35\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
];

/// An IPv4 packet with a UDP datagram, to or from port 53.
fn packet(message: &[u8], response: bool) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((28 + message.len() as u16).to_be_bytes());
    bytes.extend([0, 9, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    if response {
        bytes[12..20].rotate_left(4);
    }
    let ports: [u16; 2] = if response { [53, 5353] } else { [5353, 53] };
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.extend((8 + message.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(message);
    bytes
}

/// Something around a packet, by number.
fn wrapped(number: usize, packet: &[u8]) -> Vec<u8> {
    let ethernet = |packet: &[u8]| [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], packet].concat();
    let around = |protocol: u8, rest: &[&[u8]]| {
        let rest = rest.concat();
        let len = (20 + rest.len() as u16).to_be_bytes();
        let head = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2];
        [&head[..], &rest].concat()
    };
    let tunnel = |port: u16, rest: &[&[u8]]| {
        let rest = rest.concat();
        let len = (8 + rest.len() as u16).to_be_bytes();
        around(17, &[&[0xc0, 0], &port.to_be_bytes(), &len, &[0, 0], &rest])
    };
    match number % 12 {
        0 => ethernet(packet),
        1 => ethernet(&around(4, &[packet])),
        2 => ethernet(&around(47, &[&[0xb0, 0, 8, 0], &[0; 12], packet])),
        3 => ethernet(&tunnel(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &ethernet(packet)])),
        4 => ethernet(&tunnel(6081, &[&[2, 0, 0x65, 0x58, 0, 0, 1, 0], &[0; 8], &ethernet(packet)])),
        5 => ethernet(&tunnel(2152, &[&[0x34, 0xff, 0, 90, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 0, 0], packet])),
        6 => ethernet(&tunnel(1701, &[&[0x40, 2, 0, 0, 0, 1, 0, 1, 0xff, 3, 0, 0x21], packet])),
        7 => [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64][..], packet].concat(),
        8 => [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0x64, 0x11, 0, 0, 1, 0, 99, 0, 0x21][..], packet].concat(),
        9 => ethernet(&around(1, &[&[3, 3, 0, 0, 0, 0, 0, 0], packet])),
        10 => [&[0x88, 1][..], &[0; 24], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], packet].concat(),
        _ => ethernet(&around(
            47,
            &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], &[0x10, 0, 0, 1, 0, 0, 0, 0], &ethernet(packet)],
        )),
    }
}

/// Small valid inputs of a target.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let step = |head: &[u8], body: &[u8]| [head, &[body.len() as u8], body].concat();
    match target.name {
        "container" => {
            let frame = wrapped(0, &packet(MESSAGES[0], false));
            let len = (frame.len() as u32).to_le_bytes();
            let header = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
            let record = [&[0; 8][..], &len, &len, &frame].concat();
            let section = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0";
            let interface = b"\x01\0\0\0\x14\0\0\0\x01\0\0\0\0\0\0\0\x14\0\0\0";
            let padded = [&frame[..], &[0; 3][..(4 - frame.len() % 4) % 4]].concat();
            let total = (32 + padded.len() as u32).to_le_bytes();
            let block = [&6u32.to_le_bytes(), &total[..], &[0; 12], &len, &len, &padded, &total].concat();
            vec![
                [&header[..], &record, &record, &record].concat(),
                [section, &interface[..], &block, &block].concat(),
            ]
        }
        "frame" => (0..24)
            .map(|number| {
                let kind = if number % 12 == 10 { 18 } else { 0 };
                [&[kind, 0][..], &wrapped(number, &packet(MESSAGES[number % 4], number > 11))].concat()
            })
            .collect(),
        "fragments" => {
            let parts = (0..4u8).map(|index| step(&[if index < 3 { 4 } else { 0 }, index * 2, 1], &[index; 16]));
            let parts: Vec<Vec<u8>> = parts.collect();
            let backward: Vec<Vec<u8>> = parts.iter().rev().map(|part| [&[part[0] | 8][..], &part[1..]].concat()).collect();
            vec![parts.concat(), backward.concat()]
        }
        "stream" => {
            let data: Vec<u8> = MESSAGES[..3].iter().flat_map(|message| framed(message)).collect();
            let proxied = [&MESSAGES[3][..28], &framed(MESSAGES[0])].concat();
            let of = |data: &[u8]| {
                let opening = step(&[0, 7, 2, 0], &[]);
                let pieces = data.chunks(40).enumerate();
                let pieces = pieces.flat_map(|(index, piece)| step(&[0, (8 + index * 40) as u8, 0x10, 0], piece));
                opening.into_iter().chain(pieces).collect::<Vec<u8>>()
            };
            vec![of(&data), of(&proxied)]
        }
        "options" => vec![
            b"\0\x0f\0\x08\0\x12denied\0\x03\0\x02ns\0\x08\0\x07\0\x01\x18\0\x0a\x15\x05\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08"
                .to_vec(),
        ],
        "names" => MESSAGES[..3].iter().flat_map(|message| {
            [12u8, 45, 33].map(|start| [&[start][..], &message[1..]].concat())
        }).collect(),
        "matcher" => {
            let frames = [(MESSAGES[0], false), (MESSAGES[1], true), (MESSAGES[3], false), (MESSAGES[2], true)];
            let plain = frames.map(|(message, response)| step(&[1, 2], &packet(message, response))).concat();
            let mut fragment = packet(MESSAGES[0], false);
            fragment[6] = 0x20;
            vec![[plain.clone(), plain.clone()].concat(), [step(&[1, 2], &fragment), plain].concat()]
        }
        "configuration" => vec![
            b"\0acl a { 10/8; !{ key k; ::1; }; };\noptions { recursion no; allow-query { a; localnets; }; };\nkey k { algorithm hmac-sha256; secret \"eA==\"; };\nview v { match-clients { !192.0.2.0/24; any; };\n zone \"z.test\" { type primary; file \"z\"; allow-transfer port 53 { none; }; update-policy { grant k zonesub ANY; }; };\n};\n"
                .to_vec(),
            b"\x01server:\n define-tag: \"a b\"\n access-control: 10.0.0.0/8 allow_snoop\n access-control-view: ::1 v\n access-control-tag: 192.0.2.0/24 \"a\"\n interface: 10.0.0.1\n interface-action: 10.0.0.1 deny\n local-zone: z.test refuse\n local-zone-tag: z.test \"b\"\n local-data: \"a.z.test. 60 IN A 192.0.2.1\"\nview:\n name: v\n local-zone: w.test static\n"
                .to_vec(),
        ],
        _ => MESSAGES.iter().map(|message| message.to_vec()).collect(),
    }
}

/// Changes an input in one to four places.
fn mutate(input: &mut Vec<u8>, other: &[u8], noise: &mut Noise) {
    const ODD: [u8; 12] = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff, 53, 12];
    for _ in 0..=noise.below(4) {
        let at = noise.below(input.len());
        match noise.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << noise.below(8),
            1 if !input.is_empty() => input[at] = noise.next() as u8,
            2 if !input.is_empty() => input[at] = ODD[noise.below(ODD.len())],
            3 => input.truncate(at),
            4 if input.len() < 4096 => input.insert(at.min(input.len()), ODD[noise.below(ODD.len())]),
            5 if !input.is_empty() => drop(input.remove(at)),
            6 if input.len() < 4096 => {
                let from = noise.below(other.len());
                let to = (from + noise.below(32)).min(other.len());
                let at = at.min(input.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ if input.len() > 8 && input.len() < 4096 => {
                let to = (at + noise.below(24)).min(input.len());
                input.extend_from_within(at..to);
            }
            _ => {}
        }
    }
}

/// Runs a target on an input; prints the input when it fails.
fn run(target: &Target, input: &[u8]) {
    if let Err(fault) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let mut digits = String::new();
        for byte in input {
            let _ = write!(digits, "{byte:02x}");
        }
        eprintln!("{} failed on {digits}", target.name);
        std::panic::resume_unwind(fault);
    }
}

#[test]
fn mutated_inputs_never_break_a_law() {
    let default = if cfg!(debug_assertions) { 400_000 } else { 10_000_000 };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (iterations, seed) =
        (number("DNSREFUSED_FUZZ").unwrap_or(default), number("DNSREFUSED_FUZZ_SEED").unwrap_or(0));
    assert_eq!(TARGETS.iter().map(|target| target.share).sum::<u64>(), 10_000);
    let work = |target: &Target| {
        let seeds = seeds(target);
        for seed in &seeds {
            run(target, seed);
        }
        let mut noise = Noise((0x9e37_79b9_7f4a_7c15 ^ target.share).wrapping_add(seed << 20));
        let mut input = Vec::new();
        for round in 0..iterations * target.share / 10_000 {
            // Most inputs are near a valid one; some drift on from the last.
            if round % 4 != 3 || input.len() > 2048 {
                input.clone_from(&seeds[noise.below(seeds.len())]);
            }
            let other = &seeds[noise.below(seeds.len())];
            mutate(&mut input, other, &mut noise);
            run(target, &input);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for half in [0, 1] {
            scope.spawn(move || TARGETS.iter().skip(half).step_by(2).for_each(work));
        }
    });
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for (name, input) in REGRESSIONS {
        let target = TARGETS.iter().find(|target| target.name == *name).expect("the target is there");
        run(target, input);
    }
}

/// With `DNSREFUSED_FUZZ_CORPUS=DIR` the seeds are written there, a folder for each target, for cargo-fuzz to begin
/// with.
#[test]
fn seeds_are_a_corpus_to_begin_with() {
    let Some(corpus) = std::env::var_os("DNSREFUSED_FUZZ_CORPUS").map(std::path::PathBuf::from) else {
        println!("skipped: DNSREFUSED_FUZZ_CORPUS is not set");
        return;
    };
    for target in TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (number, seed) in seeds(target).into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed");
        }
    }
}

#[test]
fn seeds_are_read_as_what_they_are() {
    // The fuzzing would be worth little if the seeds did not reach the depths.
    let frames = seeds(&TARGETS[1]);
    assert_eq!(frames.len(), 24);
    for (index, frame) in frames.iter().enumerate() {
        let decoder = dnsrefused::decode::Decoder {
            key: dnsrefused::decode::key::Key::random(),
            ports: dnsrefused::decode::Ports::new(vec![53]),
            vlan_tags: 8,
            extension_headers: 16,
            nested_headers: 4,
        };
        let mut decoded = dnsrefused::decode::Decoded::default();
        let link_type = dnsrefused::decode::link::LINK_TYPES[usize::from(frame[0])].number;
        let data = &frame[2..];
        decoder.frame(
            &dnsrefused::capture::Frame {
                time: dnsrefused::capture::Timestamp(0),
                link_type,
                interface: 0,
                direction: dnsrefused::capture::Direction::Unknown,
                data,
                offset: 0,
                original_len: data.len() as u32,
            },
            &mut decoded,
        );
        assert_eq!(decoded.entries.len(), 1, "seed {index}: {:?}", decoded.tally);
    }
}
