//! Fuzz targets: each feeds bytes to one stage of the program, with an oracle that is more than "it did not crash".
//! Used by the seeded mutation test (`tests/mutation.rs`) and by cargo-fuzz (`tests/fuzz/`).

use dnsrefused::capture::{Block, Context, Format, Frame, Reader, Stop, Timestamp, Walk, pcap_file};
use dnsrefused::config::{Limits, Outcomes, Vantage};
use dnsrefused::decode::detail::{self, DetailLimits};
use dnsrefused::decode::fragment::{FragmentLimits, Fragments};
use dnsrefused::decode::ip::FragmentHeader;
use dnsrefused::decode::key::Key;
use dnsrefused::decode::link::LINK_TYPES;
use dnsrefused::decode::message::{self, HEADER};
use dnsrefused::decode::name::{read_name, skip_name, write_name};
use dnsrefused::decode::stream::{Arrival, Place, StreamLimits, Streams};
use dnsrefused::decode::{Body, Bucket, Decoded, Decoder, Ends, Point, Ports, Segment, Tally, Unread};
use dnsrefused::expect::acl::compare::Question;
use dnsrefused::expect::acl::{Acl, Word};
use dnsrefused::sources::Sources;
use dnsrefused::transact::pairs::{Judged, Pairs};
use dnsrefused::transact::{Settings, Tracker};
use std::sync::Arc;

/// A target: its name, what it does with bytes, and how many in ten thousand of all iterations it gets.
pub struct Target {
    /// Name.
    pub name: &'static str,
    /// The target.
    pub run: fn(&[u8]),
    /// Its share.
    pub share: u64,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "container", run: container, share: 900 },
    Target { name: "frame", run: frame, share: 2200 },
    Target { name: "fragments", run: fragments, share: 700 },
    Target { name: "stream", run: stream, share: 700 },
    Target { name: "message", run: message, share: 2500 },
    Target { name: "options", run: options, share: 400 },
    Target { name: "names", run: names, share: 2480 },
    Target { name: "matcher", run: matcher, share: 100 },
    Target { name: "configuration", run: configuration, share: 20 },
];

/// Chops bytes into steps of at most `most` bytes: each begins with the length of the rest.
fn steps(mut data: &[u8], head: usize, most: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (first, rest) = data.split_at_checked(head + 1)?;
        let len = usize::from(first[head]).min(most).min(rest.len());
        let (body, rest) = rest.split_at(len);
        data = rest;
        Some((&first[..head], body))
    })
}

fn decoder() -> Decoder {
    let limits = Limits::default();
    Decoder {
        key: Key::random(),
        ports: Ports::new(vec![53]),
        vlan_tags: limits.vlan_tags,
        extension_headers: limits.extension_headers,
        nested_headers: limits.nested_headers,
    }
}

/// A whole capture file: every byte has one owner, and frames lie inside the file, one behind the other.
pub fn container(data: &[u8]) {
    let pcapng = data.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let format = if pcapng { Format::Pcapng } else { Format::Pcap };
    let reader = Reader { format, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 64 };
    let (start, mut context) = if pcapng {
        (0, Arc::<Context>::default())
    } else {
        let Some(context) = pcap_file::initial_context(data) else { return };
        (24, context)
    };
    let block = Block { offset: 0, data: data.to_vec(), limit: data.len(), at_end: true };
    let mut walk = Walk::default();
    let (mut frames, mut last) = (0usize, 0);
    reader.walk(&block, start, &mut context, &mut walk, &mut |frame: Frame<'_>| {
        frames += 1;
        assert!(frame.offset >= last && frame.offset + frame.data.len() <= data.len());
        last = frame.offset + frame.data.len();
    });
    let owned = start as u64 + walk.bytes.headers + walk.bytes.record_headers + walk.bytes.packets;
    let owned = owned + walk.bytes.skipped_blocks + walk.bytes.unread_tail;
    assert_eq!(owned, walk.end as u64, "bytes without an owner: {walk:?}");
    assert!(walk.stop.is_some() || walk.end >= data.len(), "{walk:?}");
    assert!(!matches!(walk.stop, Some(Stop::Need { .. })) || walk.end <= data.len());
    assert!(frames <= data.len() / 8 + 1, "{frames} frames in {} bytes", data.len());
    assert!(reader.guess_start(&block, &context) <= data.len().max(block.limit));
}

/// One frame of any link type: an entry inside the frame, or one bucket.
pub fn frame(data: &[u8]) {
    let Some(([kind, longer], data)) = data.split_first_chunk::<2>().map(|(head, rest)| (*head, rest)) else { return };
    let link_type = LINK_TYPES[usize::from(kind) % LINK_TYPES.len()].number;
    let frame = Frame {
        time: Timestamp(1),
        link_type,
        interface: 0,
        direction: dnsrefused::capture::Direction::Unknown,
        data,
        offset: 7,
        original_len: data.len() as u32 + u32::from(longer & 3),
    };
    thread_local! {
        static DECODER: Decoder = decoder();
    }
    let mut decoded = Decoded::default();
    DECODER.with(|decoder| decoder.frame(&frame, &mut decoded));
    let counted: u64 = decoded.tally.buckets.iter().sum();
    // Beside a frame whose packet is not known to be between anybody stands that something is missing there.
    let frames = || decoded.entries.iter().filter(|entry| entry.is_frame());
    assert_eq!(counted + frames().count() as u64, 1, "a frame ends once");
    assert!(decoded.entries.len() as u64 <= 1, "nothing is missing where it was read");
    for entry in frames() {
        assert!(entry.offset >= 7 && (entry.offset + entry.len) as usize <= 7 + data.len());
    }
    let named: u64 = decoded.tally.not_opened.iter().map(|(_, count)| count).sum();
    // Between known addresses it is an entry, which the consumer counts.
    let entered = decoded
        .entries
        .iter()
        .filter(|entry| matches!(entry.body, Body::Unread(Unread { bucket: Bucket::NotOpened, .. })));
    let bucket = decoded.tally.buckets[Bucket::NotOpened as usize];
    assert_eq!(named, bucket + entered.count() as u64);
}

/// Fragments in any order: each is counted once or completes a datagram, and what is held stays bounded.
pub fn fragments(data: &[u8]) {
    let limits = FragmentLimits { sets: 4, bytes: 2048, age: 1000 };
    let (key, mut tally) = (Key::random(), Tally::default());
    let mut held = Fragments::new(limits);
    let (mut pushed, mut completed, mut time) = (0u64, 0u64, 0i64);
    for (head, body) in steps(data, 3, 64) {
        let header = FragmentHeader {
            id: u32::from(head[0] & 3),
            offset: u32::from(head[1]) * 8 + if head[0] & 0x40 != 0 { 65_000 } else { 0 },
            more: head[0] & 4 != 0,
        };
        let ends = if head[0] & 8 != 0 { Ends::v6([1; 16], [2; 16]) } else { Ends::v4([1; 4], [2; 4]) };
        time += i64::from(head[2]);
        pushed += 1;
        let body = if header.more { &body[..body.len() & !7] } else { body };
        if held.push(&key, Timestamp(time), ends, 17, header, body, &mut tally).is_some() {
            completed += 1;
            assert!(held.whole.len() <= 65_535);
        }
        assert!(tally.buckets.iter().sum::<u64>() + completed <= pushed);
    }
    held.finish(&mut tally);
    assert_eq!(tally.buckets.iter().sum::<u64>() + completed, pushed, "a fragment ends once");
}

/// TCP segments in any order: each is counted once, and no message is longer than its length prefix can say.
pub fn stream(data: &[u8]) {
    let limits = StreamLimits { connections: 2, stream_bytes: 4096, total_bytes: 8192, idle: 1 << 30 };
    let (key, mut tally) = (Key::random(), Tally::default());
    let mut streams = Streams::new(limits);
    let (mut pushed, mut taken, mut given) = (0u64, 0, 0);
    for (head, body) in steps(data, 4, 255) {
        let to_server = head[0] & 1 == 0;
        let client_port = 4000 + u16::from(head[0] >> 1 & 3);
        let ports = if to_server { (client_port, 53) } else { (53, client_port) };
        let ends = Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]);
        let segment = Segment {
            source_port: ports.0,
            destination_port: ports.1,
            sequence: u32::from(head[1]).wrapping_sub(8).wrapping_add(u32::from(head[3] & 0xf0) << 4),
            acknowledgment: u32::from(head[3]),
            flags: head[2] & 0x17,
            full_len: body.len() as u32 + u32::from(head[3] & 1) * 3,
        };
        pushed += 1;
        given += body.len();
        let ends = if to_server { ends } else { ends.reversed() };
        let by = Arrival::new(Timestamp(pushed as i64 * 1000), (0, pushed), Point::default());
        streams.push(&key, by.time, by, ends, &segment, body, |port| port == 53, &mut tally);
        for found in &streams.found {
            taken += match &found.place {
                Place::Segment(range) => body[range.clone()].len(),
                Place::Scratch(range) => streams.scratch[range.clone()].len(),
            };
        }
    }
    while streams.finish_oldest(&mut tally) {}
    assert_eq!(tally.buckets.iter().sum::<u64>(), pushed, "a segment ends once");
    assert!(taken <= given, "{taken} bytes of messages from {given}");
}

/// One message: header facts stand whatever follows, and the full decode only adds what can be printed.
pub fn message(data: &[u8]) {
    thread_local! {
        static KEY: Key = Key::random();
    }
    let read = |cut| KEY.with(|key| message::read(data, cut, key));
    let Some(one) = read(false) else {
        assert!(data.len() < HEADER);
        return;
    };
    assert_eq!((one.id, one.flags), (u16::from_be_bytes([data[0], data[1]]), u16::from_be_bytes([data[2], data[3]])));
    assert!(one.rcode < 4096 && (one.is_response() || one.rcode == 0));
    assert_eq!(one.is_response(), data[2] & 0x80 != 0);
    let cut = read(true).expect("a header is a header");
    assert_eq!((cut.id, cut.flags, cut.question.is_known()), (one.id, one.flags, one.question.is_known()));
    // Every shorter prefix with the header says the same about the header.
    let shorter = KEY.with(|key| message::read(&data[..HEADER], true, key)).expect("a header is a header");
    assert_eq!((shorter.id, shorter.flags), (one.id, one.flags));
}

/// True for text that no terminal acts on.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (0x20..0x7f).contains(byte))
}

/// A refusal with these options: what is printed of them is plain and bounded.
pub fn options(data: &[u8]) {
    let mut bytes = b"\0\x07\x81\x05\0\x01\0\0\0\0\0\x01\x03www\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0".to_vec();
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    message(&bytes);
    let Some(detail) = detail::read(&bytes, DetailLimits { bytes: 16 << 10, records: 256 }) else { return };
    let texts = detail.extended_errors.iter().map(|(_, text)| text).chain(&detail.key_name);
    let mut printed = 0;
    for text in texts {
        assert!(is_plain(text), "{text:?}");
        printed += text.len();
    }
    assert!(detail.client_subnet.as_ref().is_none_or(|text| is_plain(text.as_bytes())));
    assert!(printed <= 8 * bytes.len(), "{printed} bytes printed of {}", bytes.len());
}

/// A name at any place: bounded, printed plain, and the print reads back to the same name.
pub fn names(data: &[u8]) {
    let Some((first, _)) = data.split_first() else { return };
    let start = usize::from(*first) % data.len();
    let Ok((name, end)) = read_name(data, start) else { return };
    let wire = name.as_bytes();
    assert!(wire.len() <= 255 && wire.last() == Some(&0) && end <= data.len());
    assert_eq!(skip_name(&data[start..]), Some(&data[end..]));
    let mut printed = Vec::new();
    write_name(wire, &mut printed);
    assert!(is_plain(&printed) && printed.len() <= 4 * wire.len());
    assert_eq!(read_back(&printed), wire, "{}", String::from_utf8_lossy(&printed));
}

/// A printed name as wire bytes.
fn read_back(printed: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut label = Vec::new();
    let mut at = 0;
    while at < printed.len() {
        match (printed[at], printed.get(at + 1..at + 4)) {
            (b'\\', Some([a @ b'0'..=b'9', b, c])) => {
                label.push(((a - 48) as u16 * 100 + (b - 48) as u16 * 10 + (c - 48) as u16) as u8);
                at += 4;
            }
            (b'\\', _) => {
                label.push(printed[at + 1]);
                at += 2;
            }
            (b'.', _) => {
                if !label.is_empty() {
                    wire.push(label.len() as u8);
                    wire.append(&mut label);
                }
                at += 1;
            }
            (byte, _) => {
                label.push(byte);
                at += 1;
            }
        }
    }
    if !label.is_empty() {
        wire.push(label.len() as u8);
        wire.append(&mut label);
    }
    wire.push(0);
    wire
}

/// Ethernet frames in order, decoded and matched: every frame, message, query and response ends in one bucket.
pub fn matcher(data: &[u8]) {
    let limits = Limits { in_flight: 8, answered_memory: 4, tcp_connections: 4, ..Limits::default() };
    let decoder = decoder();
    let sources = Sources::new(16, 4, 3);
    let settings = Settings {
        timeout: 1_000_000,
        vantage: data.len().is_multiple_of(2).then_some(Vantage::Server),
        filtered: false,
        rows: Outcomes::ALL,
        limits: &limits,
    };
    let mut handed_out = 0u64;
    let pairs = Pairs::new(&sources, Box::new(|_| Judged { listed: false, answers_wanted: true }));
    let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|_| handed_out += 1));
    let (mut decoded, mut frames, mut bytes) = (Decoded::default(), 0u64, Vec::new());
    let mut time = 0;
    for (head, body) in steps(data, 2, 255) {
        frames += 1;
        time += i64::from(head[0]) * i64::from(head[1]) * 100;
        let frame = Frame {
            time: Timestamp(time),
            link_type: if head[1] & 1 == 0 { 101 } else { 1 },
            interface: u32::from(head[1] >> 1 & 1),
            direction: dnsrefused::capture::Direction::Unknown,
            data: body,
            offset: bytes.len(),
            original_len: body.len() as u32,
        };
        decoder.frame(&frame, &mut decoded);
        bytes.extend_from_slice(body);
    }
    tracker.take(0, 1, &bytes, &decoded.entries);
    tracker.finish(Some(Timestamp(time)));
    let counts = tracker.counts.clone();
    let ended = decoded.tally.buckets.iter().sum::<u64>() + tracker.tally.buckets.iter().sum::<u64>();
    assert_eq!(ended, frames, "a frame ends once");
    let [queries, responses] = counts.queries_responses;
    assert_eq!(counts.messages.iter().sum::<u64>(), queries + responses + counts.header_incomplete);
    let of_queries = counts.matched + counts.retransmitted + counts.query_copies;
    assert_eq!(queries, of_queries + counts.timed_out + counts.evicted + counts.open_at_end, "{counts:?}");
    let of_responses = counts.matched + counts.continued + counts.late + counts.duplicate + counts.response_copies;
    assert_eq!(responses, of_responses + counts.unsolicited + counts.mismatch, "{counts:?}");
    let outcomes: u64 = counts.outcomes.iter().sum();
    drop(tracker);
    assert_eq!(handed_out, outcomes, "a row for each outcome");
}

/// A server's configuration: an error with its place, or decisions that a trace does not change; what is not decided
/// has a reason. The first byte chooses the dialect.
pub fn configuration(data: &[u8]) {
    let Some((dialect, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    // Fuzzing does not read the disk of the machine it runs on.
    if text.to_ascii_lowercase().contains("include") {
        return;
    }
    let argument = if dialect & 1 == 0 { "bind-9.18:named.conf" } else { "unbound:unbound.conf" };
    let acl = match Acl::from_text(argument, &text, &[]) {
        Ok(acl) => acl,
        Err(error) => {
            let line = error.to_string();
            assert_eq!(error.exit_code(), 2);
            assert!(error.shown.is_some() && is_plain(line.as_bytes()), "{line}");
            return;
        }
    };
    let (names, keys) = (acl.policy().names(), acl.policy().keys());
    let (questions, _) =
        Question::all(&names.into_iter().take(2).collect(), true, &keys.into_iter().take(1).collect(), usize::MAX);
    let edges = acl.policy().prefixes().into_iter().take(8).flat_map(|prefix| [prefix.network(), prefix.broadcast()]);
    for source in edges.chain(["192.0.2.45".parse().expect("an address"), "2001:db8::1".parse().expect("an address")]) {
        for question in &questions {
            let request = question.ask(source, source);
            let (decision, steps) = acl.explain(&request);
            assert_eq!(decision, acl.decide(&request), "a trace changes nothing");
            assert_eq!(decision.word == Word::Unknown, decision.reason.is_some());
            for rule in steps.iter().filter_map(|step| step.rule).chain(decision.rule) {
                assert!(is_plain(acl.rule(rule).text.as_bytes()) || !text.is_ascii());
            }
        }
    }
    assert!(acl.policy().entries().count() <= 2 * text.len() + 200);
}
