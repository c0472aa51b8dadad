use super::*;
use crate::capture::{Direction, Frame};
use crate::decode::Decoded;
use crate::sources::Sources;

mod silence;

const SECOND: i64 = 1_000_000_000;
const MILLI: i64 = 1_000_000;

/// Clients of `10.0.0.53`.
const A: u8 = 1;
const B: u8 = 2;
const C: u8 = 3;

/// Bytes of the link header.
const SLL2: usize = 20;

const SYN: u8 = 2;
const RST: u8 = 4;
const FIN: u8 = 1;
const ACK: u8 = 16;

/// Stands for packets that were lost.
const LOST: &[u8] = b"lost";

/// A query or response with this id for `a.`, of type A.
fn message(id: u16, flags: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], &flags.to_be_bytes(), b"\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"].concat()
}

fn query(id: u16) -> Vec<u8> {
    message(id, 0x0100)
}

fn answer(id: u16) -> Vec<u8> {
    message(id, 0x8180)
}

fn refusal(id: u16) -> Vec<u8> {
    message(id, 0x8185)
}

/// A message behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A frame as captured on the server's host (`LINKTYPE_LINUX_SLL2`): what a client sends arrives, what the server sends
/// leaves.
fn frame(client: u8, to_server: bool, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let ends = [[192, 0, 2, client], [10, 0, 0, 53]];
    let (from, to) = if to_server { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
    let len = (20 + payload.len() as u16).to_be_bytes();
    let link = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, if to_server { 0 } else { 4 }, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let ip = [&[0x45, 0][..], &len, &[0, 77], &fragment.to_be_bytes(), &[64, protocol, 0, 0], &from, &to].concat();
    [&link[..], &ip, payload].concat()
}

/// A UDP datagram with its header.
fn datagram(to_server: bool, message: &[u8]) -> Vec<u8> {
    let ports: [u16; 2] = if to_server { [4000, 53] } else { [53, 4000] };
    let len = 8 + message.len() as u16;
    [&[ports[0], ports[1], len, 0].map(u16::to_be_bytes).concat()[..], message].concat()
}

fn udp(client: u8, to_server: bool, message: &[u8]) -> Vec<u8> {
    frame(client, to_server, 17, 0, &datagram(to_server, message))
}

fn ask(client: u8, id: u16) -> Vec<u8> {
    udp(client, true, &query(id))
}

fn reply(client: u8, message: &[u8]) -> Vec<u8> {
    udp(client, false, message)
}

/// A TCP segment with these sequence and acknowledgment numbers.
fn tcp(client: u8, to_server: bool, flags: u8, numbers: (u32, u32), data: &[u8]) -> Vec<u8> {
    let ports: [u16; 2] = if to_server { [4000, 53] } else { [53, 4000] };
    let numbers = [numbers.0, numbers.1].map(u32::to_be_bytes).concat();
    let rest = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    frame(client, to_server, 6, 0, &[&ports.map(u16::to_be_bytes).concat()[..], &numbers, &rest, data].concat())
}

/// A connection's beginning: the client's first byte has number 101, the server's 501.
fn handshake(client: u8, time: i64) -> Vec<(i64, Vec<u8>)> {
    vec![
        (time, tcp(client, true, SYN, (100, 0), b"")),
        (time, tcp(client, false, SYN | ACK, (500, 101), b"")),
        (time, tcp(client, true, ACK, (101, 501), b"")),
    ]
}

/// Follows frames with these times; returns a line for each transaction: outcome, client, id, and the frames of query
/// and response.
fn track(frames: &[(i64, Vec<u8>)]) -> Vec<String> {
    track_with(frames, Some(Vantage::Server), |_, _| {}).0
}

/// The same at another vantage; `last` is called with the tracker before its end, and its result is returned as well.
fn track_with<T>(
    frames: &[(i64, Vec<u8>)],
    vantage: Option<Vantage>,
    last: impl FnOnce(&mut Tracker<'_>, &Sources) -> T,
) -> (Vec<String>, T) {
    let limits = Limits::default();
    let (decoder, sources) = (Decoder::new(vec![53], &limits), Sources::new(64, 64, 0));
    let settings = Settings { timeout: 5 * SECOND, vantage, filtered: false, rows: Outcomes::ALL, limits: &limits };
    let pairs = Pairs::new(&sources, Box::new(|_| pairs::Judged::default()));
    let mut lines = Vec::new();
    let note = |seen: Option<Sighting>| seen.map_or("-".to_owned(), |seen| seen.frame.frame.to_string());
    let push = |one: &Transaction<'_>| {
        let id = one.id.map_or("-".to_owned(), |id| id.to_string());
        let (client, server) = (one.ends.source(), one.ends.destination());
        assert_eq!((server.to_string().as_str(), one.ports), ("10.0.0.53", (4000, 53)), "{client}");
        lines.push(format!("{} {client} {id}: {} {}", one.outcome.name(), note(one.query), note(one.response)));
    };
    let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(push));
    for (number, (time, bytes)) in (1..).zip(frames) {
        let mut decoded = Decoded::default();
        let time = Timestamp(1_700_000_000 * SECOND + time);
        // What the IP header promises was on the wire.
        let promised = bytes.get(SLL2 + 2..SLL2 + 4).map_or(0, |len| u16::from_be_bytes([len[0], len[1]]));
        let original_len = (bytes.len() as u32).max(SLL2 as u32 + u32::from(promised));
        let packet = Frame {
            time,
            interface: 0,
            link_type: 276,
            direction: Direction::Unknown,
            offset: 0,
            original_len,
            data: bytes,
        };
        if bytes == LOST {
            decoded.entries.push(Entry::lost(time, 0));
        } else {
            decoder.frame(&packet, &mut decoded);
        }
        tracker.take(0, number, bytes, &decoded.entries);
    }
    let last = last(&mut tracker, &sources);
    tracker.finish(None);
    drop(tracker);
    (lines, last)
}

#[test]
fn what_waited_behind_a_gap_keeps_its_direction_and_its_frame() {
    let (one, two) = (framed(&query(1)), framed(&query(2)));
    let (refused, answered) = (framed(&refusal(2)), framed(&answer(1)));
    let (asked, told) = (one.len() as u32, answered.len() as u32);
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101, 501), &[one.clone(), two.clone()].concat())));
    // The answer before it was not captured; the client's acknowledgment says that nobody will see it.
    frames.push((2 * MILLI, tcp(A, false, ACK, (501 + told, 101 + 2 * asked), &refused)));
    frames.push((50 * MILLI, tcp(A, true, ACK, (101 + 2 * asked, 501 + 2 * told), b"")));
    assert_eq!(track(&frames), ["refused 192.0.2.1 2: 4 5", "unanswered 192.0.2.1 1: 4 -"]);

    // The first query was not captured; the server's answers say so.
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101 + asked, 501), &two)));
    let answers = [answered, refused].concat();
    frames.push((50 * MILLI, tcp(A, false, ACK, (501, 101 + 2 * asked), &answers)));
    frames.push((60 * MILLI, tcp(A, true, ACK, (101 + 2 * asked, 501 + 2 * told), b"")));
    assert_eq!(track(&frames), ["refused 192.0.2.1 2: 4 5", "unsolicited 192.0.2.1 1: - 5"]);
}

#[test]
fn a_response_finds_its_query_behind_a_gap() {
    let queries = [1, 2, 3].map(|id| framed(&query(id)));
    let (asked, told) = (queries[0].len() as u32, framed(&refusal(1)).len() as u32);
    // Of three exchanges within 3 ms two queries were not captured, then the client waits.
    let mut frames = handshake(A, 0);
    for (number, id) in (0..).zip(1..4) {
        let (at, from, time) = (101 + number * asked, 501 + number * told, i64::from(number) * MILLI);
        if id == 2 {
            frames.push((time, tcp(A, true, ACK, (at, from), &queries[1])));
        }
        frames.push((time + MILLI / 2, tcp(A, false, ACK, (from, at + asked), &framed(&refusal(id)))));
    }
    frames.push((SECOND, ask(B, 7)));
    let expected = [
        "unsolicited 192.0.2.1 1: - 4",
        "refused 192.0.2.1 2: 5 6",
        "unsolicited 192.0.2.1 3: - 7",
        "unanswered 192.0.2.2 7: 8 -",
    ];
    assert_eq!(track(&frames), expected);
}

#[test]
fn large_packets_out_of_order_lose_nothing() {
    let queries: Vec<u8> = (1..5).flat_map(|id| framed(&query(id))).collect();
    let answers: Vec<u8> = (1..5).flat_map(|id| framed(&[refusal(id), vec![0; 30_000]].concat())).collect();
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101, 501), &queries)));
    for range in [1000..61_000, 61_000..answers.len(), 0..1000] {
        let numbers = (501 + range.start as u32, 101 + queries.len() as u32);
        frames.push((2 * MILLI, tcp(A, false, ACK, numbers, &answers[range])));
    }
    let expected = [(1, 7), (2, 5), (3, 6), (4, 6)].map(|(id, frame)| format!("refused 192.0.2.1 {id}: 4 {frame}"));
    assert_eq!(track(&frames), expected);
}

#[test]
fn what_waits_behind_a_gap_when_nothing_more_comes_is_read() {
    let asked = framed(&query(1)).len() as u32;
    let told = framed(&refusal(1)).len() as u32;
    // The first response was not captured; the client asks no more, or over another connection between the same ports.
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101, 501), &[framed(&query(1)), framed(&query(2))].concat())));
    frames.push((2 * MILLI, tcp(A, false, ACK, (501 + told, 101 + 2 * asked), &framed(&refusal(2)))));
    frames.push((2 * MILLI, tcp(A, true, ACK, (101 + 2 * asked, 501 + 2 * told), b"")));
    let expected = ["refused 192.0.2.1 2: 4 5", "unanswered 192.0.2.1 1: 4 -"];
    assert_eq!(track(&frames), expected);
    frames.push((3 * MILLI, tcp(A, true, SYN, (9000, 0), b"")));
    assert_eq!(track(&frames), expected);

    // The server resets or closes a connection whose first query was not captured.
    for (flags, acknowledged) in [(RST | ACK, 101), (FIN | ACK, 101 + 2 * asked)] {
        let mut frames = handshake(A, 0);
        frames.push((MILLI, tcp(A, true, ACK, (101 + asked, 501), &framed(&query(2)))));
        frames.push((2 * MILLI, tcp(A, false, flags, (501, acknowledged), b"")));
        assert_eq!(track(&frames), ["tcp-rejected 192.0.2.1 2: 4 5"], "{flags}");
    }
}

#[test]
fn a_connection_goes_on_after_much_was_lost_or_another_one_begins() {
    let (asked, told) = (framed(&query(1)).len() as u32, framed(&refusal(1)).len() as u32);
    let exchange = |id: u16, time: i64, (at, from): (u32, u32)| {
        [
            (time, tcp(A, true, ACK, (at, from), &framed(&query(id)))),
            (time, tcp(A, false, ACK, (from, at + asked), &framed(&refusal(id)))),
            (time + 20 * MILLI, tcp(A, true, ACK, (at + asked, from + told), b"")),
        ]
    };
    // What the client had sent when both went on, and the server.
    for numbers in
        [(101 + asked, 5_000_000), (5_000_000, 9_000_000), (0x7000_0000, 0x9000_0000), (0x9000_0000, 0x7000_0000)]
    {
        let mut frames = handshake(A, 0);
        frames.extend(exchange(1, MILLI, (101, 501)));
        frames.extend(exchange(2, SECOND, numbers));
        frames.extend(exchange(3, 2 * SECOND, (numbers.0 + asked, numbers.1 + told)));
        let lines = track(&frames);
        let expected = ["refused 192.0.2.1 1: 4 5", "refused 192.0.2.1 2: 7 8", "refused 192.0.2.1 3: 10 11"];
        assert_eq!(lines, expected, "{numbers:?}");
    }
}

#[test]
fn one_segment_with_wrong_numbers_costs_nothing_else() {
    let (asked, told) = (framed(&query(1)).len() as u32, framed(&refusal(1)).len() as u32);
    let torn = b"neither a message nor the beginning of one";
    for flags in [ACK, FIN | ACK, RST | ACK] {
        for to_server in [true, false] {
            for numbers in [(0x9000_0000, 0x6000_0000), (0x1000_0000, if to_server { 501 } else { 101 })] {
                let mut frames = handshake(A, 0);
                frames.push((SECOND, tcp(A, true, ACK, (101, 501), &framed(&query(1))[..9])));
                frames.push((SECOND, tcp(A, to_server, flags, numbers, torn)));
                frames.push((SECOND, tcp(A, true, ACK, (110, 501), &framed(&query(1))[9..])));
                frames.push((SECOND, tcp(A, false, ACK, (501, 101 + asked), &framed(&refusal(1))[..9])));
                frames.push((SECOND, tcp(A, to_server, flags, numbers, torn)));
                frames.push((SECOND, tcp(A, false, ACK, (510, 101 + asked), &framed(&refusal(1))[9..])));
                frames.push((2 * SECOND, tcp(A, true, ACK, (101 + asked, 501 + told), &framed(&query(2)))));
                frames.push((2 * SECOND, tcp(A, false, ACK, (501 + told, 101 + 2 * asked), &framed(&refusal(2)))));
                let expected = ["refused 192.0.2.1 1: 6 9", "refused 192.0.2.1 2: 10 11"];
                assert_eq!(track(&frames), expected, "{flags} {to_server} {numbers:?}");
            }
        }
    }
}

#[test]
fn a_response_behind_a_gap_is_in_time_though_its_connection_rests() {
    let (asked, told) = (framed(&query(1)).len() as u32, framed(&refusal(1)).len() as u32);
    // The first response was not captured; the client has both at once, and asks no more for long.
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101, 501), &[framed(&query(1)), framed(&query(2))].concat())));
    frames.push((2 * MILLI, tcp(A, false, ACK, (501 + told, 101 + 2 * asked), &framed(&refusal(2)))));
    frames.push((2 * MILLI, tcp(A, true, ACK, (101 + 2 * asked, 501 + 2 * told), b"")));
    frames.push((6 * SECOND, ask(B, 7)));
    let expected = ["refused 192.0.2.1 2: 4 5", "unanswered 192.0.2.1 1: 4 -", "unanswered 192.0.2.2 7: 7 -"];
    assert_eq!(track(&frames), expected);

    // The server ends the connection, and acknowledges the query only then.
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101 + asked, 501), &framed(&query(2)))));
    frames.push((2 * MILLI, tcp(A, false, FIN | ACK, (501, 101), b"")));
    let rejected = "tcp-rejected 192.0.2.1 2: 4 5";
    assert_eq!(track(&frames), [rejected], "never");
    frames.push((3 * MILLI, tcp(A, false, ACK, (502, 101 + 2 * asked), b"")));
    frames.push((SECOND, tcp(B, true, SYN, (100, 0), b"")));
    assert_eq!(track(&frames), [rejected], "when it rests");
}

#[test]
fn a_response_that_is_read_late_does_not_say_that_the_server_answers_now() {
    let (asked, told) = (framed(&query(1)).len() as u32, framed(&answer(1)).len() as u32);
    let mut frames = handshake(A, 0);
    frames.push((MILLI, tcp(A, true, ACK, (101, 501), &[framed(&query(1)), framed(&query(2))].concat())));
    frames.push((2 * MILLI, tcp(A, false, ACK, (501 + told, 101 + 2 * asked), &framed(&answer(2)))));
    // The server is down when that connection is forgotten.
    frames.push((119 * SECOND, ask(B, 7)));
    frames.push((121 * SECOND, tcp(B, true, SYN, (100, 0), b"")));
    frames.push((140 * SECOND, ask(B, 8)));
    let lines = track(&frames);
    assert!(lines.contains(&"unanswered 192.0.2.2 7: 6 -".to_owned()), "{lines:?}");
}

#[test]
fn a_clock_that_is_set_back_turns_no_refusal_into_a_time_out() {
    let refused =
        |client: u8, id: u16, time: i64| [(time, ask(client, id)), (time + MILLI, reply(client, &refusal(id)))];
    let (before, after) = (200 * SECOND, 50 * SECOND);
    let mut frames = Vec::new();
    frames.extend(refused(A, 1, before));
    for id in 2..5 {
        frames.extend(refused(B, id, after - 5 * SECOND + i64::from(id) * SECOND));
    }
    // In pieces, so that the connection has to be remembered from one to the next.
    let (asked, told) = (framed(&query(9)), framed(&refusal(9)));
    frames.extend(handshake(A, after));
    frames.push((after, tcp(A, true, ACK, (101, 501), &asked[..2])));
    frames.push((after, tcp(A, true, ACK, (103, 501), &asked[2..])));
    frames.push((after + MILLI, tcp(A, false, ACK, (501, 101), &told)));
    let (lines, steps) = track_with(&frames, Some(Vantage::Server), |tracker, _| tracker.clock.steps);
    let refused = |client: u8, id: u16, query: u64| format!("refused 192.0.2.{client} {id}: {query} {}", query + 1);
    let expected = [refused(A, 1, 1), refused(B, 2, 3), refused(B, 3, 5), refused(B, 4, 7), refused(A, 9, 13)];
    assert_eq!(lines, expected);
    assert_eq!(steps, 1);
}

#[test]
fn one_client_whose_packets_have_other_times_is_measured_by_them() {
    // Nothing confirms that the clock was set back: packets of the other client lie between.
    let mut frames = Vec::new();
    for id in 1..6 {
        let now = i64::from(id) * SECOND;
        frames.extend([
            (100 * SECOND + now, ask(A, id)),
            (now, ask(B, id)),
            (100 * SECOND + now, reply(A, &answer(id))),
            (now + MILLI, reply(B, &refusal(id))),
        ]);
    }
    let (lines, steps) = track_with(&frames, None, |tracker, _| tracker.clock.steps);
    assert_eq!(lines.iter().filter(|line| line.starts_with("refused 192.0.2.2")).count(), 5, "{lines:?}");
    assert_eq!((lines.len(), steps), (10, 0));

    // Such a query is given up as well, when time has passed where the others are.
    let frames =
        [(100 * SECOND, ask(A, 1)), (SECOND, ask(B, 2)), (106 * SECOND, ask(A, 3)), (SECOND, reply(B, &refusal(2)))];
    assert_eq!(track_with(&frames, None, |tracker, _| tracker.counts.late).1, 1);
}

#[test]
fn a_transaction_over_tcp_is_counted_with_its_transport_when_it_is_decided() {
    let framed = [&(query(1).len() as u16).to_be_bytes()[..], &query(1)].concat();
    let mut frames = handshake(1, 0);
    frames.push((0, tcp(1, true, ACK, (101, 501), &framed)));
    let counts = |sources: &Sources| {
        let mut counts = (0, 0);
        sources.each(|_, row| counts = (row.transactions(), row.tcp));
        counts
    };
    let (_, waiting) = track_with(&frames, Some(Vantage::Server), |tracker, sources| {
        tracker.fold();
        counts(sources)
    });
    assert_eq!(waiting, (0, 0), "a part of the time may end here");
    frames.push((0, tcp(1, false, ACK, (501, 101 + framed.len() as u32), &framed_reply(1))));
    let (_, decided) = track_with(&frames, Some(Vantage::Server), |tracker, sources| {
        tracker.fold();
        counts(sources)
    });
    assert_eq!(decided, (1, 1));
}

fn framed_reply(id: u16) -> Vec<u8> {
    let mut reply = query(id);
    reply[2] |= 0x80;
    [&(reply.len() as u16).to_be_bytes()[..], &reply].concat()
}

#[test]
fn the_same_packets_by_another_clock_are_noticed() {
    let at = |interface: u8, id: u8, mut frame: Vec<u8>| {
        (frame[7], frame[25]) = (interface, id);
        frame
    };
    for (about, interface, id, noticed) in [
        ("another capture", 3, 77, 1),
        ("asked again with the same identifiers", 3, 78, 0),
        ("no identification", 3, 0, 0),
        ("perhaps another capture", 2, 77, 1),
    ] {
        let frames = [
            (0, at(2, if id == 0 { 0 } else { 77 }, ask(A, 1))),
            (MILLI, at(2, 77, reply(A, &refusal(1)))),
            (50 * MILLI, at(interface, id, ask(A, 1))),
            (51 * MILLI, at(interface, id, reply(A, &refusal(1)))),
        ];
        let (lines, count) = track_with(&frames, None, |tracker, _| tracker.in_flight.copies_at_other_times);
        assert_eq!((lines.len(), count), (2, noticed), "{about}: {lines:?}");
    }
}

#[test]
fn a_server_is_elsewhere_when_its_query_left_and_its_response_arrived() {
    /// The byte of `LINKTYPE_LINUX_SLL2` that tells the direction, and that of the hop limit.
    const DIRECTION: usize = 10;
    const HOPS: usize = SLL2 + 8;
    let turned = |mut frame: Vec<u8>, direction: u8| {
        frame[DIRECTION] = direction;
        frame
    };
    // What arrives has 0, what leaves 4.
    for (about, query, response, away) in
        [("the server", 0, 4, 0), ("the server asks itself", 0, 0, 0), ("a client, or behind a translation", 4, 0, 1)]
    {
        let frames = [(0, turned(ask(A, 1), query)), (MILLI, turned(reply(A, &refusal(1)), response))];
        let counts = |tracker: &mut Tracker<'_>, _: &Sources| (tracker.away().count(), tracker.asking().count());
        assert_eq!(track_with(&frames, None, counts).1, (away, away), "{about}");
        // A router passes on what others ask.
        let mut passed_on = frames;
        passed_on[0].1[HOPS] = 63;
        assert_eq!(track_with(&passed_on, None, counts).1, (away, 0), "{about}, on a router");
    }
}
