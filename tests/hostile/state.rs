//! Floods of clients, names, connections and transactions: tables stay bounded, the oldest entry is evicted, and that
//! is counted.

use crate::case::case;
use crate::dns::{Message, REFUSED};
use crate::files::{Pcap, Record, START, pcap};
use crate::wire::{Ipv4, SYN, TCP, Tcp, Udp, ethernet, set_checksum};

/// Offset in a record of the IPv4 packet.
const PACKET: usize = 16 + 14;
/// Offset in a record of the UDP datagram.
const DATAGRAM: usize = PACKET + 20;
/// Offset in a record of the DNS message.
const MESSAGE: usize = DATAGRAM + 8;

/// A file of `count` copies of one record, a microsecond apart, each changed by `stamp`.
pub fn stamped(template: &[u8], count: u32, mut stamp: impl FnMut(u32, &mut [u8])) -> Vec<u8> {
    let mut bytes = Pcap::default().header();
    bytes.reserve_exact(template.len() * count as usize);
    for index in 0..count {
        let at = bytes.len();
        bytes.extend_from_slice(template);
        let record = &mut bytes[at..];
        record[..4].copy_from_slice(&(START + index / 1_000_000).to_le_bytes());
        record[4..8].copy_from_slice(&(index % 1_000_000).to_le_bytes());
        stamp(index, record);
    }
    bytes
}

/// Writes `index` as eight hexadecimal digits.
fn digits(index: u32, out: &mut [u8]) {
    for (place, digit) in out.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(index >> (28 - 4 * place) & 15) as usize];
    }
}

/// `count` queries, each of another client for another name, never answered, 100,000 a second.
pub fn unanswered(count: u32) -> Vec<u8> {
    let query = Message::query("00000000.flood").bytes();
    let frame = ethernet(&Ipv4::default().around(&Udp::default().around(&query)));
    stamped(&Pcap::default().record(&Record::new(&frame)), count, |index, record| {
        record[..4].copy_from_slice(&(START + index / 100_000).to_le_bytes());
        record[4..8].copy_from_slice(&(index % 100_000 * 10).to_le_bytes());
        record[PACKET + 12..PACKET + 16].copy_from_slice(&(0x0d00_0000 + index).to_be_bytes());
        set_checksum(&mut record[PACKET..]);
        record[DATAGRAM..DATAGRAM + 2].copy_from_slice(&(1024 + (index % 60_000) as u16).to_be_bytes());
        record[MESSAGE..MESSAGE + 2].copy_from_slice(&(index as u16).to_be_bytes());
        digits(index, &mut record[MESSAGE + 13..MESSAGE + 21]);
    })
}

/// `count` queries of as many clients, each refused at once with twelve bytes: every one a row.
pub fn all_refused(count: u32) -> Vec<u8> {
    let query = Message::query("00000000.flood").bytes();
    let refusal = crate::dns::header(1, 0x8105, [0; 4]);
    let asked = Pcap::default().record(&Record::new(&ethernet(
        &Ipv4 { identification: 0, ..Ipv4::default() }.around(&Udp::default().around(&query)),
    )));
    let answered = Pcap::default().record(&Record::new(&ethernet(
        &Ipv4 { identification: 0, ..Ipv4::back() }.around(&Udp::back().around(&refusal)),
    )));
    let length = asked.len();
    stamped(&[asked, answered].concat(), count, |index, pair| {
        let address = (0x0e00_0000 + index).to_be_bytes();
        let (query, refusal) = pair.split_at_mut(length);
        refusal[..8].copy_from_slice(&query[..8]);
        query[PACKET + 12..PACKET + 16].copy_from_slice(&address);
        refusal[PACKET + 16..PACKET + 20].copy_from_slice(&address);
        digits(index, &mut query[MESSAGE + 13..MESSAGE + 21]);
        for record in [query, refusal] {
            set_checksum(&mut record[PACKET..]);
            record[MESSAGE..MESSAGE + 2].copy_from_slice(&(index as u16).to_be_bytes());
        }
    })
}

/// `count` responses to queries nobody sent, each to another client.
fn unsolicited(count: u32) -> Vec<u8> {
    let response = Message::response("00000000.flood", REFUSED).bytes();
    let frame = ethernet(&Ipv4 { identification: 0, ..Ipv4::back() }.around(&Udp::back().around(&response)));
    stamped(&Pcap::default().record(&Record::new(&frame)), count, |index, record| {
        record[PACKET + 16..PACKET + 20].copy_from_slice(&(0x0f00_0000 + index).to_be_bytes());
        set_checksum(&mut record[PACKET..]);
        digits(index, &mut record[MESSAGE + 13..MESSAGE + 21]);
    })
}

/// `count` connections of as many clients with `payload` in one segment each.
pub fn connections(count: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let segment = Tcp { sequence: 100, flags, ..Tcp::default() }.around(payload);
    let frame = ethernet(&Ipv4 { protocol: TCP, ..Ipv4::default() }.around(&segment));
    stamped(&Pcap::default().record(&Record::new(&frame)), count, |index, record| {
        record[PACKET + 12..PACKET + 16].copy_from_slice(&(0x0c00_0000 + index).to_be_bytes());
        set_checksum(&mut record[PACKET..]);
        record[DATAGRAM..DATAGRAM + 2].copy_from_slice(&(1024 + (index % 60_000) as u16).to_be_bytes());
    })
}

/// One client, one port, one name, one id, asked `count` times.
fn one_question(count: u32) -> Vec<u8> {
    let query = Message::query("again.test").bytes();
    let frame = ethernet(&Ipv4::default().around(&Udp::default().around(&query)));
    stamped(&Pcap::default().record(&Record::new(&frame)), count, |index, record| {
        record[PACKET + 4..PACKET + 6].copy_from_slice(&(index as u16 | 1).to_be_bytes());
        set_checksum(&mut record[PACKET..]);
    })
}

/// One client and port with `count` questions under one id, all pending at once, then header-only refusals for all.
fn one_id(count: u32) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = (0..count)
        .map(|index| {
            let query = Message::query(&format!("n{index}.test")).bytes();
            ethernet(&Ipv4 { identification: 0, ..Ipv4::default() }.around(&Udp::default().around(&query)))
        })
        .collect();
    let refusal = crate::dns::header(1, 0x8105, [0; 4]);
    let frame = ethernet(&Ipv4 { identification: 0, ..Ipv4::back() }.around(&Udp::back().around(&refusal)));
    frames.extend(std::iter::repeat_n(frame, count as usize));
    pcap(&frames)
}

/// Clients of the large flood; programs without optimisation get fewer, but still more than any table holds.
const FLOOD: u32 = if cfg!(debug_assertions) { 300_000 } else { 500_000 };

cases![
    s01_unanswered_500k = case("half a million clients and names, none answered", unanswered(FLOOD))
        .exit(4)
        .packets(&[("frames", FLOOD.into()), ("udp_dns", FLOOD.into())])
        .matches(&[("queries", FLOOD.into()), ("matched", 0)])
        .at_least("ledgers.matches", "evicted", 1)
        .sum("ledgers.matches", &["evicted", "timed_out", "open_at_end"], FLOOD.into())
        .heavy(),
    s02_refused_20k = case("twenty thousand clients, all refused", all_refused(20_000))
        .packets(&[("udp_dns", 40_000)])
        .matches(&[("matched", 20_000)])
        .outcomes(&[("refused", 20_000)])
        .each("totals", &[("refused", 20_000), ("refused_restored", 20_000)])
        .heavy(),
    s03_unsolicited_20k = case("twenty thousand refusals nobody asked for", unsolicited(20_000))
        .exit_one_of(&[0, 4])
        .matches(&[("responses", 20_000), ("unsolicited", 20_000)])
        .outcomes(&[("refused", 0), ("unsolicited", 20_000)])
        .heavy(),
    s04_connection_flood = case("a hundred thousand SYN", connections(100_000, SYN, &[]))
        .exit_one_of(&[0, 4])
        .packets(&[("frames", 100_000)])
        .sum("ledgers.packets", &["tcp_control", "tcp_evicted"], 100_000)
        .heavy(),
    s05_one_question_20k = case("one question twenty thousand times within 20 ms", one_question(20_000))
        .matches(&[("queries", 20_000)])
        .sum("ledgers.matches", &["retransmitted", "query_copies"], 19_999)
        .heavy(),
    s06_one_id_2000 = case("two thousand questions under one id, then as many header-only refusals", one_id(2000))
        .exit_one_of(&[0, 4])
        .matches(&[("queries", 2000), ("responses", 2000)])
        .at_least("totals.outcomes", "refused", 1)
        .heavy(),
];
