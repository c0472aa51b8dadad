//! TCP: messages cut anywhere, conflicting and late bytes, holes, floods of half-open connections, endings of all
//! kinds.

use crate::case::case;
use crate::container::followed_by;
use crate::dns::{AXFR, Message, REFUSED, framed, header};
use crate::files::{Pcap, Record, pcap, pcap_at};
use crate::state::connections;
use crate::wire::{ACK, DATA, FIN, Ipv4, RST, SYN, TCP, Tcp, ethernet};

/// Sequence number of the client's SYN.
const OPENING: u32 = 99;
/// Sequence number of the client's first byte.
const FIRST: u32 = OPENING + 1;
/// Sequence number of the server's SYN.
const SERVER_OPENING: u32 = 4999;
/// Sequence number of the server's first byte.
const SERVER_FIRST: u32 = SERVER_OPENING + 1;

/// A segment of the client.
fn client(flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let header = Tcp { sequence, flags, ..Tcp::default() };
    ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&header.around(payload)))
}

/// A segment of the server.
fn server(flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let header = Tcp { source: 53, destination: 4000, sequence, flags, acknowledgment: FIRST, header_words: 5 };
    ethernet(&Ipv4 { protocol: TCP, ..Ipv4::back() }.around(&header.around(payload)))
}

/// The client's SYN.
fn syn() -> Vec<u8> {
    client(SYN, OPENING, &[])
}

/// The client's SYN, the server's, and the acknowledgment.
fn handshake() -> Vec<Vec<u8>> {
    vec![syn(), server(SYN | ACK, SERVER_OPENING, &[]), client(ACK, FIRST, &[])]
}

/// The query of most cases behind its length.
fn query() -> Vec<u8> {
    Message::query("tcp.test").framed()
}

/// A capture of a handshake and then `frames`.
fn after_handshake(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap(&[handshake(), frames.to_vec()].concat())
}

/// A capture of a SYN and then `frames`.
fn after_syn(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap(&[vec![syn()], frames.to_vec()].concat())
}

/// The client's segments that carry `bytes`, `size` bytes each, in order.
fn segments(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes
        .chunks(size)
        .enumerate()
        .map(|(index, part)| client(DATA, FIRST.wrapping_add((index * size) as u32), part))
        .collect()
}

/// A query of 65,535 bytes behind its length.
fn largest_message() -> Vec<u8> {
    let small = Message::query("tcp.test").bytes().len();
    Message::query("tcp.test").rest(&vec![0; 65_535 - small]).framed()
}

/// A connection whose first byte never comes, then `count` full segments behind it.
pub fn behind_a_hole(count: u32) -> Vec<u8> {
    let template = Pcap::default().record(&Record::new(&client(DATA, 0, &[7; 1400])));
    let mut bytes = crate::state::stamped(&template, count, |index, record| {
        record[54..58].copy_from_slice(&(FIRST + 1 + index * 1400).to_be_bytes());
    });
    let opening = Pcap::default().record(&Record::new(&syn()));
    bytes.splice(24..24, opening);
    bytes
}

/// Bytes of a frame with a whole query in one segment.
fn frame_length() -> u64 {
    client(DATA, FIRST, &query()).len() as u64
}

/// A query in one segment, stored up to each of its bytes, each time on another connection, with or without its SYN.
fn every_cut(opened: bool) -> Vec<u8> {
    let records: Vec<Record> = (0..frame_length() as usize)
        .flat_map(|length| {
            let frame = |flags, sequence, payload: &[u8]| {
                let header = Tcp { source: 4000 + length as u16, sequence, flags, ..Tcp::default() };
                ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&header.around(payload)))
            };
            let syn = opened.then(|| Record::new(&frame(SYN, OPENING, &[])));
            syn.into_iter().chain([Record::cut(&frame(DATA, FIRST, &query()), length)])
        })
        .collect();
    Pcap::default().file(&records)
}

cases![
    t01_bytewise = case("one byte per segment", after_syn(&segments(&query(), 1)))
        .packets(&[("tcp_control", 1), ("tcp_used", query().len() as u64)])
        .messages(&[("tcp", 1), ("queries", 1)])
        .plain_names(&["tcp.test"]),
    t02_length_then_silence = case("a length of 65,535, then silence", after_syn(&[client(DATA, FIRST, &[0xff; 2])]))
        .packets(&[("frames", 2)])
        .messages(&[("tcp", 0)]),
    t03_conflicting_resend = case(
        "the first ten bytes again, but different: the first copy wins",
        after_syn(&[
            client(DATA, FIRST, &query()[..10]),
            client(DATA, FIRST, &[0xee; 10]),
            client(DATA, FIRST + 10, &query()[10..]),
        ])
    )
    .packets(&[("tcp_control", 1), ("tcp_used", 2), ("tcp_conflict", 1)])
    .messages(&[("tcp", 1)])
    .plain_names(&["tcp.test"]),
    t04_sequence_wrap = case("sequence numbers that pass zero", {
        let start = 0xffff_fff1u32;
        pcap(&[
            client(SYN, start - 1, &[]),
            client(DATA, start, &query()[..20]),
            client(DATA, start.wrapping_add(20), &query()[20..]),
        ])
    })
    .packets(&[("tcp_used", 2)])
    .messages(&[("tcp", 1)]),
    t05_no_syn = case("a message of a connection that was open before", pcap(&[client(DATA, 500, &query())]))
        .packets(&[("frames", 1)])
        .at_most("ledgers.messages", "tcp", 1),
    t06_hole = case(
        "five bytes, a hole, a message, the end",
        after_syn(&[client(DATA, FIRST, &query()[..5]), client(DATA, 5000, &query()), client(FIN | ACK, 9000, &[]),])
    )
    .packets(&[("frames", 4)])
    .messages(&[("undecodable", 1)])
    .at_most("ledgers.messages", "tcp", 2),
    t07_1020_in_a_row = {
        let thirty = query().repeat(30);
        let frames: Vec<Vec<u8>> =
            (0..34).map(|index| client(DATA, FIRST + index * thirty.len() as u32, &thirty)).collect();
        case("1,020 messages one behind the other", after_syn(&frames))
            .messages(&[("tcp", 1020), ("queries", 1020)])
            .sum("ledgers.matches", &["retransmitted", "query_copies", "open_at_end"], 1020)
    },
    t08_500_empty_messages = case("500 messages of no bytes", after_syn(&[client(DATA, FIRST, &[0; 1000])]))
        .packets(&[("frames", 2)])
        .messages(&[("queries", 0)])
        .anomalies(&[("tcp_zero_length_messages", 500)]),
    t09_half_open_200k = case("200,000 connections that announce 65,535 bytes", connections(200_000, DATA, &[0xff; 2]))
        .exit(4)
        .packets(&[("frames", 200_000)])
        .at_least("ledgers.packets", "tcp_evicted", 1)
        .heavy(),
    t10_reset_mid_message = case(
        "a reset in the middle of a message",
        after_handshake(&[client(DATA, FIRST, &query()[..9]), client(RST, FIRST + 9, &[])])
    )
    .packets(&[("frames", 5)])
    .messages(&[("tcp", 0)]),
    t11_keep_alive = case(
        "keep-alives: one old byte, and none",
        after_syn(&[
            client(DATA, FIRST, &query()),
            client(ACK, FIRST + query().len() as u32 - 1, &[0]),
            client(ACK, FIRST + query().len() as u32 - 1, &[]),
            client(DATA, FIRST + query().len() as u32, &query()),
        ])
    )
    .messages(&[("tcp", 2)]),
    t12_syn_with_data = case("a SYN with data (fast open)", pcap(&[client(SYN, OPENING, &query())]))
        .messages(&[("tcp", 1)])
        .plain_names(&["tcp.test"]),
    t13_fin_with_data =
        case("a message in the FIN", after_syn(&[client(FIN | DATA, FIRST, &query())])).messages(&[("tcp", 1)]),
    t14_out_of_order = case("segments of seven bytes in reverse order", {
        let mut frames = segments(&query(), 7);
        frames.reverse();
        after_syn(&frames)
    })
    .packets(&[("tcp_used", query().len().div_ceil(7) as u64)])
    .messages(&[("tcp", 1)]),
    t15_overlap_both_sides = case(
        "a segment that overlaps its neighbours with equal bytes",
        after_syn(&[
            client(DATA, FIRST, &query()[..12]),
            client(DATA, FIRST + 20, &query()[20..]),
            client(DATA, FIRST + 8, &query()[8..24]),
        ])
    )
    .packets(&[("tcp_conflict", 0)])
    .messages(&[("tcp", 1)]),
    t16_hole_filled_late = case(
        "two messages, the first of which is sent again after the second",
        after_syn(&[
            client(DATA, FIRST + query().len() as u32, &Message::query("second.test").id(2).framed()),
            client(DATA, FIRST, &query()),
        ])
    )
    .packets(&[("tcp_used", 2)])
    .messages(&[("tcp", 2)])
    // In the order of the frames that brought them.
    .plain_names(&["second.test", "tcp.test"]),
    t17_addresses_and_ports_reused = case(
        "two connections with equal addresses and ports, the first closed",
        after_syn(&[
            client(DATA, FIRST, &query()),
            client(FIN | ACK, FIRST + query().len() as u32, &[]),
            client(SYN, 900_000, &[]),
            client(DATA, 900_001, &Message::query("second.test").id(2).framed()),
        ])
    )
    .messages(&[("tcp", 2)])
    .plain_names(&["tcp.test", "second.test"]),
    t18_addresses_and_ports_reused_unclosed = case(
        "two connections with equal addresses and ports, the first never closed",
        after_syn(&[
            client(DATA, FIRST, &query()[..9]),
            client(SYN, 3_000_000_000, &[]),
            client(DATA, 3_000_000_001, &Message::query("second.test").id(2).framed()),
        ])
    )
    .messages(&[("tcp", 1)])
    .plain_names(&["second.test"]),
    t19_rejected_after_query = case(
        "a server that resets after the query",
        after_handshake(&[client(DATA, FIRST, &query()), server(RST | ACK, SERVER_FIRST, &[])])
    )
    .messages(&[("tcp", 1)])
    .outcomes(&[("tcp-rejected", 1)])
    .row(&[("outcome", "tcp-rejected"), ("qname", "tcp.test"), ("transport", "tcp"), ("client", "10.0.0.1")]),
    t20_rejected_before_query =
        case("a server that resets at once: outside the match ledger", pcap(&[syn(), server(RST | ACK, 0, &[])]))
            .matches(&[("queries", 0), ("responses", 0)])
            .outcomes(&[("tcp-rejected", 1)])
            .row(&[("outcome", "tcp-rejected"), ("qname", ""), ("id", ""), ("client", "10.0.0.1")]),
    t21_closed_after_query = case(
        "a server that closes after the query without a byte",
        after_handshake(&[
            client(DATA, FIRST, &query()),
            server(FIN | ACK, SERVER_FIRST, &[]),
            client(FIN | ACK, FIRST + query().len() as u32, &[]),
        ])
    )
    .outcomes(&[("tcp-rejected", 1)]),
    t22_refused = case(
        "a refusal, split behind its length",
        after_handshake(&[
            client(DATA, FIRST, &query()),
            server(DATA, SERVER_FIRST, &framed(&header(1, 0x8105, [0; 4]))[..2]),
            server(DATA, SERVER_FIRST + 2, &framed(&header(1, 0x8105, [0; 4]))[2..]),
            server(FIN | ACK, SERVER_FIRST + 14, &[]),
        ])
    )
    .packets(&[("tcp_used", 3), ("tcp_control", 4)])
    .matches(&[("matched", 1)])
    .outcomes(&[("refused", 1), ("tcp-rejected", 0)])
    .row(&[("outcome", "refused"), ("qname", "tcp.test"), ("question", "restored"), ("transport", "tcp")]),
    t23_largest_message =
        case("a message of 65,535 bytes in segments of 1,460", after_syn(&segments(&largest_message(), 1460)))
            .messages(&[("tcp", 1), ("queries", 1)])
            .plain_names(&["tcp.test"]),
    t24_far_outside = case(
        "a segment two thousand million bytes ahead, then the message",
        after_syn(&[client(DATA, FIRST + 0x7000_0000, &[9; 100]), client(DATA, FIRST, &query())])
    )
    .packets(&[("tcp_out_of_window", 1), ("tcp_used", 1)])
    .messages(&[("tcp", 1)]),
    t25_reset_far_outside = case(
        "a forged reset far outside the window in the middle of a message",
        after_syn(&[
            client(DATA, FIRST, &query()[..9]),
            client(RST, FIRST + 0x7000_0000, &[]),
            client(DATA, FIRST + 9, &query()[9..]),
        ])
    )
    .messages(&[("tcp", 1)]),
    t26_encrypted_on_53 = case(
        "a TLS greeting on port 53",
        after_syn(&[client(
            DATA,
            FIRST,
            &followed_by(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), &[5; 400])
        )])
    )
    .messages(&[("queries", 0)]),
    t27_web_on_53 = case(
        "a web request on port 53",
        after_syn(&[client(DATA, FIRST, b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n")])
    )
    .messages(&[("queries", 0)]),
    t28_behind_a_hole = case("a hole of one byte, then 3 MB behind it", behind_a_hole(2200))
        .exit_one_of(&[0, 4])
        .packets(&[("frames", 2201)])
        .messages(&[("tcp", 0)])
        .heavy(),
    t29_zone_transfer = case("a zone transfer in three messages", {
        let part = |question: bool| {
            let message = Message { flags: 0x8400, ..Message::query("zone.test").kind(AXFR) };
            if question { message.framed() } else { framed(&header(1, 0x8400, [0; 4])) }
        };
        let bytes = [part(true), part(true), part(false)];
        after_handshake(&[
            client(DATA, FIRST, &Message::query("zone.test").kind(AXFR).framed()),
            server(DATA, SERVER_FIRST, &bytes[0]),
            server(DATA, SERVER_FIRST + bytes[0].len() as u32, &bytes[1..].concat()),
        ])
    })
    .matches(&[("matched", 1), ("continued", 2)])
    .outcomes(&[("answered", 1)]),
    t30_answers_swapped = case("two queries in a row, answered in the other order", {
        let answers =
            [Message::response("second.test", REFUSED).id(2).framed(), Message::response("tcp.test", 0).framed()];
        after_handshake(&[
            client(DATA, FIRST, &[query(), Message::query("second.test").id(2).framed()].concat()),
            server(DATA, SERVER_FIRST, &answers.concat()),
        ])
    })
    .matches(&[("matched", 2)])
    .outcomes(&[("answered", 1), ("refused", 1)])
    .row(&[("outcome", "refused"), ("qname", "second.test")])
    .row(&[("outcome", "answered"), ("qname", "tcp.test")]),
    t31_syn_again = case(
        "the SYN again between the parts of a message",
        after_syn(&[client(DATA, FIRST, &query()[..9]), syn(), client(DATA, FIRST + 9, &query()[9..])])
    )
    .messages(&[("tcp", 1)]),
    t32_resent_whole = case(
        "a message sent again as it was",
        after_syn(&[client(DATA, FIRST, &query()), client(DATA, FIRST, &query())])
    )
    .packets(&[("tcp_used", 1), ("tcp_duplicate", 1), ("tcp_control", 1)])
    .messages(&[("tcp", 1)]),
    t33_resent_longer = case(
        "a part sent again with the rest behind it",
        after_syn(&[client(DATA, FIRST, &query()[..9]), client(DATA, FIRST, &query())])
    )
    .packets(&[("tcp_used", 2)])
    .messages(&[("tcp", 1)]),
    t34_all_flags = case("every combination of flags, with and without data", {
        let frames: Vec<Vec<u8>> = (0..=255)
            .flat_map(|flags| [client(flags, FIRST, &[]), client(flags, FIRST, &query()), server(flags, 7, &query())])
            .collect();
        pcap(&frames)
    })
    .packets(&[("frames", 768)]),
    t35_message_below_header = case(
        "a message of eleven bytes, then a good one",
        after_syn(&[client(DATA, FIRST, &[framed(&[0; 11]), query()].concat())])
    )
    .messages(&[("tcp", 2), ("undecodable", 1), ("queries", 1)])
    .each("ledgers.messages.undecodable_reasons", &[("header_incomplete", 1)]),
    t36_idle_for_hours = case("the second half of a message after three hours", {
        let ok = crate::container::good();
        pcap_at(&[
            (0, syn()),
            (1, client(DATA, FIRST, &query()[..9])),
            (3_600_000_000, ok.clone()),
            (7_200_000_000, ok),
            (10_800_000_000, client(DATA, FIRST + 9, &query()[9..])),
        ])
    })
    .packets(&[("frames", 5)])
    .at_most("ledgers.messages", "tcp", 1),
    t37_cut_segment = case("a segment cut by the snapshot length in a message, then a whole one", {
        let whole = client(DATA, FIRST, &query());
        let next = client(DATA, FIRST + query().len() as u32, &query());
        Pcap::default().file(&[Record::new(&syn()), Record::cut(&whole, whole.len() - 5), Record::at(1, &next)])
    })
    .packets(&[("frames", 3)])
    .at_most("ledgers.messages", "tcp", 2),
    t39_every_cut_without_syn = case(
        "segments of connections that were open before, cut by the snapshot length at every byte",
        every_cut(false)
    )
    .packets(&[("frames", frame_length())]),
    t40_every_cut_after_syn = case("segments behind a SYN, cut by the snapshot length at every byte", every_cut(true))
        .packets(&[("frames", 2 * frame_length())]),
    t41_every_length_without_syn =
        case("segments of connections that were open before, of 0, 1, 2, ... bytes of a message, then the rest", {
            let whole = query();
            let frames: Vec<Vec<u8>> = (0..whole.len())
                .flat_map(|length| {
                    let part = |sequence, bytes: &[u8]| {
                        let header = Tcp { source: 4000 + length as u16, sequence, ..Tcp::default() };
                        ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&header.around(bytes)))
                    };
                    [part(FIRST, &whole[..length]), part(FIRST + length as u32, &whole[length..])]
                })
                .collect();
            pcap(&frames)
        })
        .packets(&[("frames", 2 * query().len() as u64)])
        .at_most("ledgers.messages", "tcp", query().len() as u64),
    t42_one_cut_segment = case("ten bytes of a segment without a SYN and nothing else", {
        let whole = client(DATA, FIRST, &query());
        Pcap::default().file(&[Record::cut(&whole, whole.len() - query().len() + 10)])
    })
    .packets(&[("frames", 1)]),
    t43_cut_options =
        case("a SYN whose options were cut off by the snapshot length, on a connection that is rejected", {
            let with_options = |destination| {
                let header = Tcp { destination, sequence: OPENING, flags: SYN, header_words: 10, ..Tcp::default() };
                ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&header.around(&[1; 20])))
            };
            let records = [
                Record::cut(&with_options(53), 68),
                Record::new(&server(SYN | ACK, SERVER_OPENING, &[])),
                Record::new(&client(ACK, FIRST, &[])),
                Record::new(&server(RST, SERVER_FIRST, &[])),
                Record::cut(&with_options(443), 68),
            ];
            Pcap::default().file(&records)
        })
        .packets(&[("tcp_control", 4), ("other_port", 1)])
        .outcomes(&[("tcp-rejected", 1)]),
    t38_same_in_two_directions = case("both ends on port 53", {
        let both = |flags, sequence, payload: &[u8]| {
            let segment = Tcp { source: 53, flags, sequence, ..Tcp::default() }.around(payload);
            ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&segment))
        };
        let back = |sequence, payload: &[u8]| {
            let segment = Tcp { source: 53, sequence, ..Tcp::default() }.around(payload);
            ethernet(&Ipv4 { protocol: TCP, ..Ipv4::back() }.around(&segment))
        };
        pcap(&[
            both(SYN, OPENING, &[]),
            both(DATA, FIRST, &query()),
            back(SERVER_FIRST, &Message::response("tcp.test", REFUSED).framed()),
        ])
    })
    .at_least("ledgers.messages", "tcp", 1),
];
