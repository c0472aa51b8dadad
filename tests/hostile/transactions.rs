//! Tests what becomes of queries and responses: which response belongs to which query, and what counts as refused or
//! denied.

use crate::case::{Case, case};
use crate::dns::{Message, NOERROR, NOTAUTH, REFUSED, extended_error, header, opt, opt_claiming, option};
use crate::files::{pcap, pcap_at};
use crate::wire::{tagged, to_client_numbered, to_server_numbered};

/// One second in microseconds.
const SECOND: u64 = 1_000_000;

/// A frame from the client that is not a copy of any other.
fn ask(message: &Message) -> Vec<u8> {
    to_server_numbered(0, &message.bytes())
}

/// A frame from the server that is not a copy of any other.
fn answer(message: &Message) -> Vec<u8> {
    to_client_numbered(0, &message.bytes())
}

/// A query for `ok.test`.
fn query() -> Message {
    Message::query("ok.test")
}

/// A response about `ok.test`.
fn response(code: u16) -> Message {
    Message::response("ok.test", code)
}

/// A query with an OPT record and the response to it.
fn exchange(response: &Message) -> Vec<u8> {
    pcap(&[ask(&query().additional(&opt(&[]))), answer(response)])
}

/// A response with an extended error.
fn with_error(code: u16, error: u16) -> Message {
    response(code).additional(&opt(&extended_error(error, b"")))
}

/// Expects one matched transaction of the given outcome, and no other.
fn one(about: &'static str, input: Vec<u8>, outcome: &'static str) -> Case {
    let others = ["answered", "refused", "denied", "silent", "tcp-rejected", "unanswered", "unsolicited"];
    let counts: Vec<(&'static str, u64)> = others.iter().map(|name| (*name, u64::from(*name == outcome))).collect();
    case(about, input).matches(&[("queries", 1), ("responses", 1), ("matched", 1)]).outcomes(&counts).row(&[
        ("outcome", outcome),
        ("qname", "ok.test"),
        ("client", "10.0.0.1"),
        ("server", "10.0.0.2"),
    ])
}

cases![
    x01_refused = one("a refusal", exchange(&response(REFUSED)), "refused").codes(&[("REFUSED", 1)]),
    x02_extended_code_21 = one(
        "response code 21, whose low bits are 5, is no refusal",
        exchange(&response(5).additional(&opt_claiming(0, 1, &[]))),
        "answered"
    )
    .codes(&[("REFUSED", 0)])
    .each("totals", &[("refused", 0)]),
    x03_extended_code_behind_options = one(
        "response code 21 whose OPT record comes behind another record",
        exchange(
            &response(5)
                .additional(&crate::dns::record(&crate::dns::name("x.test"), 1, &[1, 2, 3, 4]))
                .additional(&opt_claiming(4, 1, &option(3, &[])))
        ),
        "answered"
    )
    .codes(&[("REFUSED", 0)]),
    x04_refused_header_only = one(
        "a refusal of twelve bytes: name and type come from the query",
        pcap(&[ask(&query()), to_client_numbered(0, &header(1, 0x8105, [0; 4]))]),
        "refused"
    )
    .each("totals", &[("refused", 1), ("refused_restored", 1)])
    .row(&[("question", "restored"), ("qtype", "A")]),
    x05_refused_stale_body = one(
        "a refusal that counts no question but repeats the query's body and twelve zeros",
        {
            let body = query().bytes()[12..].to_vec();
            let message = [header(1, 0x8105, [0; 4]), body, vec![0; 12]].concat();
            pcap(&[ask(&query()), to_client_numbered(0, &message)])
        },
        "refused"
    )
    .each("totals", &[("refused_restored", 1)])
    .row(&[("question", "restored")]),
    x06_noerror_error_15 = one("NOERROR with extended error 15", exchange(&with_error(NOERROR, 15)), "denied"),
    x07_noerror_error_16 = one("NOERROR with extended error 16", exchange(&with_error(NOERROR, 16)), "denied"),
    x08_noerror_error_17 = one("NOERROR with extended error 17", exchange(&with_error(NOERROR, 17)), "denied"),
    x09_noerror_error_18 = one("NOERROR with extended error 18", exchange(&with_error(NOERROR, 18)), "denied"),
    x10_noerror_error_14 = one("NOERROR with extended error 14", exchange(&with_error(NOERROR, 14)), "answered"),
    x11_noerror_error_19 = one("NOERROR with extended error 19", exchange(&with_error(NOERROR, 19)), "answered"),
    x12_servfail_error_18 = one("SERVFAIL with extended error 18", exchange(&with_error(2, 18)), "denied"),
    x13_nxdomain_error_15 = one("NXDOMAIN with extended error 15", exchange(&with_error(3, 15)), "denied"),
    x14_refused_error_18 = one("REFUSED with extended error 18 stays refused", exchange(&with_error(5, 18)), "refused")
        .row(&[("ede", "18")]),
    x15_two_errors = one(
        "NOERROR with extended errors 3 and 17",
        exchange(&response(NOERROR).additional(&opt(&[extended_error(3, b""), extended_error(17, b"")].concat()))),
        "denied"
    ),
    x16_error_cut = one(
        "NOERROR with an extended error of one byte",
        exchange(&response(NOERROR).additional(&opt(&option(15, &[0])))),
        "answered"
    ),
    x17_notauth = one("NOTAUTH", exchange(&response(NOTAUTH)), "denied"),
    x18_servfail = one("SERVFAIL is an answer", exchange(&response(2)), "answered"),
    x19_nxdomain = one("NXDOMAIN is an answer", exchange(&response(3)), "answered"),
    x20_notimp = one("NOTIMP is an answer", exchange(&response(4)), "answered"),
    x21_id_reused = case(
        "one id and port for one question after the other",
        pcap(&[
            ask(&query()),
            answer(&response(REFUSED)),
            ask(&Message::query("next.test")),
            answer(&Message::response("next.test", NOERROR)),
            ask(&query()),
            answer(&response(REFUSED)),
        ])
    )
    .matches(&[("matched", 3)])
    .outcomes(&[("refused", 2), ("answered", 1)]),
    x22_late = case(
        "an answer after seven seconds, within one further timeout",
        pcap_at(&[(0, ask(&query())), (7 * SECOND, answer(&response(NOERROR)))])
    )
    .matches(&[("timed_out", 1), ("late", 1), ("matched", 0), ("unsolicited", 0)])
    .outcomes(&[("unanswered", 1), ("answered", 0)]),
    x23_too_late = case(
        "an answer after eleven seconds",
        pcap_at(&[(0, ask(&query())), (11 * SECOND, answer(&response(NOERROR)))])
    )
    .matches(&[("timed_out", 1), ("late", 0), ("unsolicited", 1)]),
    x24_late_by_own_timeout = case(
        "an answer after one second with a timeout of half a second",
        pcap_at(&[(0, ask(&query())), (800_000, answer(&response(NOERROR)))])
    )
    .arguments(&["--timeout", "500ms"])
    .matches(&[("timed_out", 1), ("late", 1)]),
    x25_mismatch = case(
        "an answer to another question",
        pcap(&[ask(&query()), answer(&Message::response("other.test", REFUSED))])
    )
    .matches(&[("mismatch", 1), ("matched", 0), ("open_at_end", 1)])
    .outcomes(&[("refused", 0)]),
    x26_duplicate = case(
        "the answer twice",
        pcap(&[
            ask(&query()),
            to_client_numbered(1, &response(REFUSED).bytes()),
            to_client_numbered(2, &response(REFUSED).bytes()),
        ])
    )
    .matches(&[("matched", 1), ("duplicate", 1)])
    .outcomes(&[("refused", 1)]),
    x27_header_only_two_pending = case(
        "a refusal of twelve bytes while two questions wait under its id: the older one is over, and neither is named",
        pcap(&[ask(&query()), ask(&Message::query("second.test")), to_client_numbered(0, &header(1, 0x8105, [0; 4])),])
    )
    .matches(&[("queries", 2), ("matched", 1), ("open_at_end", 1)])
    .row(&[("outcome", "refused"), ("qname", ""), ("question", "unknown")]),
    x28_update = case(
        "a refused update",
        pcap(&[ask(&query().kind(6).opcode(5)), answer(&response(REFUSED).kind(6).opcode(5)),])
    )
    .row(&[("outcome", "refused"), ("opcode", "UPDATE")]),
    x29_notify = case(
        "a refused notification",
        pcap(&[ask(&query().kind(6).opcode(4)), answer(&response(REFUSED).kind(6).opcode(4)),])
    )
    .row(&[("outcome", "refused"), ("opcode", "NOTIFY")]),
    x30_chaos = case("version.bind of class CHAOS", {
        let asked = Message { class: 3, ..Message::query("version.bind").kind(16) };
        let refused = Message { flags: 0x8105, ..asked.clone() };
        pcap(&[ask(&asked), answer(&refused)])
    })
    .row(&[("outcome", "refused"), ("qname", "version.bind"), ("qclass", "CH"), ("qtype", "TXT")]),
    x31_opcode_differs =
        case("an answer with another opcode", pcap(&[ask(&query()), answer(&response(REFUSED).opcode(5))]))
            .matches(&[("matched", 0), ("open_at_end", 1)]),
    x32_case_differs = case("an answer in other letters of the same name", {
        pcap(&[ask(&Message::query("oK.tEsT")), answer(&Message::response("Ok.TeSt", REFUSED))])
    })
    .matches(&[("matched", 1)])
    .row(&[("outcome", "refused")]),
    x33_retransmitted = case(
        "the query again after a second, then the refusal",
        pcap_at(&[(0, ask(&query())), (SECOND, ask(&query())), (SECOND + 900, answer(&response(REFUSED)))])
    )
    .matches(&[("queries", 2), ("retransmitted", 1), ("matched", 1)])
    .outcomes(&[("refused", 1)])
    .each("totals", &[("transactions", 1)]),
    x34_copy_by_identification = case(
        "the query again at once with its IPv4 identification: a copy",
        pcap(&[
            to_server_numbered(77, &query().bytes()),
            to_server_numbered(77, &query().bytes()),
            answer(&response(REFUSED)),
        ])
    )
    .matches(&[("query_copies", 1), ("matched", 1)])
    .each("totals", &[("transactions", 1), ("queries", 2)]),
    x35_copy_by_tag = case(
        "query and response once with and once without a VLAN tag: copies",
        pcap(&[
            ask(&query()),
            tagged(7, &ask(&query())),
            answer(&response(REFUSED)),
            tagged(7, &answer(&response(REFUSED))),
        ])
    )
    .matches(&[("queries", 2), ("query_copies", 1), ("matched", 1), ("response_copies", 1)])
    .outcomes(&[("refused", 1)]),
    x36_no_copy_after_10_ms = case(
        "the query again after 20 ms with its IPv4 identification: sent again",
        pcap_at(&[(0, to_server_numbered(77, &query().bytes())), (20_000, to_server_numbered(77, &query().bytes())),])
    )
    .matches(&[("query_copies", 0), ("retransmitted", 1)]),
    x37_ten_microseconds_early = case(
        "a response ten microseconds before its query",
        pcap_at(&[(100, answer(&response(REFUSED))), (110, ask(&query()))])
    )
    .matches(&[("matched", 1)]),
    x38_twenty_microseconds_early = case(
        "a response twenty microseconds before its query",
        pcap_at(&[(100, answer(&response(REFUSED))), (120, ask(&query()))])
    )
    .matches(&[("matched", 0), ("unsolicited", 1), ("open_at_end", 1)]),
    x39_only_queries = case("a one-way capture: only queries", pcap(&vec![ask(&query()); 3]))
        .matches(&[("responses", 0), ("matched", 0)]),
    x40_only_refusals = case("a one-way capture: only refusals", pcap(&[answer(&response(REFUSED))]))
        .matches(&[("unsolicited", 1)])
        .codes(&[("REFUSED", 1)])
        .outcomes(&[("refused", 0), ("unsolicited", 1)]),
    x41_answer_of_another_server = case("a refusal from another server", {
        let datagram = crate::wire::Udp::back().around(&response(REFUSED).bytes());
        let header = crate::wire::Ipv4 { source: [10, 0, 0, 3], ..crate::wire::Ipv4::back() };
        pcap(&[ask(&query()), crate::wire::ethernet(&header.around(&datagram))])
    })
    .matches(&[("matched", 0), ("unsolicited", 1)])
    .outcomes(&[("refused", 0)]),
    x42_clock_steps_back_between = case(
        "the clock steps back by an hour between query and answer",
        pcap_at(&[(3600 * SECOND, ask(&query())), (0, answer(&response(REFUSED)))])
    )
    .packets(&[("udp_dns", 2)])
    .anomalies(&[("clock_steps", 1)]),
    x43_one_wild_time = case("one packet of the year 2106 among others expires nothing", {
        let mut records: Vec<crate::files::Record> =
            [ask(&query()), ask(&Message::query("wild.test")), answer(&response(REFUSED))]
                .iter()
                .map(|frame| crate::files::Record::new(frame))
                .collect();
        records[1].seconds = u32::MAX;
        crate::files::Pcap::default().file(&records)
    })
    .matches(&[("matched", 1)])
    .outcomes(&[("refused", 1)]),
    x44_truncated_refusal = one(
        "a refusal that says it is truncated",
        exchange(&Message { flags: 0x8305, ..response(REFUSED) }),
        "refused"
    ),
];
