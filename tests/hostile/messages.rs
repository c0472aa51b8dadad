//! DNS messages: names that loop, overrun or drive terminals, counts and lengths that lie, options without end.

use crate::case::case;
use crate::container::followed_by;
use crate::dns::{
    A, Message, QUERY, REFUSED, TXT, extended_error, header, labels, name, opt, opt_claiming, option, record,
};
use crate::files::pcap;
use crate::wire::{to_client, to_server};

/// A query whose question is the given bytes.
fn question(bytes: &[u8]) -> Vec<u8> {
    to_server(&followed_by(header(1, QUERY, [1, 0, 0, 0]), bytes))
}

/// A small query.
fn query() -> Message {
    Message::query("a")
}

/// A label of 63 bytes.
fn long_label(byte: u8) -> Vec<u8> {
    vec![byte; 63]
}

/// A name of 194 bytes and a last label of `last`: 255 bytes when it is 61.
fn long_name(last: usize) -> Vec<u8> {
    labels(&[&long_label(b'a'), &long_label(b'b'), &long_label(b'c'), &vec![b'd'; last]])
}

/// A response with a chain of about 8,170 pointers, each to the one before it, and an answer that begins at its end.
fn backward_chain() -> Vec<u8> {
    // Offset in the message of the data of the first answer: header, question, root, fixed fields.
    let base = 12 + name("a").len() + 4 + 11;
    let count = (0x3fff - base - 3) / 2;
    let mut chain = b"\x01b\0".to_vec();
    for link in 0..count {
        let target = if link == 0 { base } else { base + 3 + 2 * (link - 1) };
        chain.extend((0xc000 | target as u16).to_be_bytes());
    }
    let last = (0xc000 | (base + 3 + 2 * (count - 1)) as u16).to_be_bytes();
    let rest = [record(&[0], TXT, &chain), record(&last, A, &[1, 2, 3, 4])].concat();
    Message::response("a", 0).counts([1, 2, 0, 0]).rest(&rest).bytes()
}

/// First labels that terminals, spreadsheets, browsers, shells, templates or databases might interpret.
const EVIL: [&[u8]; 30] = [
    b"\x1b[2J\x1b[31mRED",
    b"\x1b]0;title\x07x",
    b"a\r\nInjected: log line",
    b"=cmd|calc!A1",
    b"+1+1",
    b"-2+3",
    b"@SUM(A1)",
    b"\t=1+1",
    b" =1+1",
    b"<script>alert(1)</script>",
    b"\"><img src=x>",
    b"';DROP TABLE x;--",
    b"a.b",
    b"a\\.b",
    b"a\x00b",
    b"\xff\xfe\x80",
    "\u{202e}gpj.exe".as_bytes(),
    "\u{200b}zero".as_bytes(),
    b"a,b\"c",
    b"${jndi:ldap://x}",
    b"{{7*7}}",
    b"%s%n",
    b"`id`",
    b"$(id)",
    b"|a|b|",
    b"\x9b31m",
    b"\x7fDEL",
    b"\x08\x08BS",
    b"../../etc/x",
    b"a\"} 1\nfoo{x=\"",
];

/// The labels of the name with the given first label.
fn under_test(first: &[u8]) -> Vec<Vec<u8>> {
    vec![first.to_vec(), b"test".to_vec()]
}

/// One query for each of `names`.
fn queries_for(names: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    names
        .iter()
        .enumerate()
        .map(|(id, parts)| {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            to_server(&Message::of(labels(&parts)).id(id as u16).bytes())
        })
        .collect()
}

/// Names that together hold every byte, 32 to a label.
fn every_byte() -> Vec<Vec<Vec<u8>>> {
    (0..8u8).map(|row| vec![(0..32u8).map(|column| row * 32 + column).collect(), b"test".to_vec()]).collect()
}

/// A response with 4,600 records that each name a name of 255 bytes twice, in the largest datagram.
fn amplifying_names() -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..4600 {
        records.extend(record(b"\xc0\x0c", 2, b"\xc0\x0c"));
    }
    let message = Message { flags: 0x8180, counts: [1, 4600, 0, 0], ..Message::of(long_name(61)) };
    let mut bytes = message.rest(&records).bytes();
    bytes.truncate(65_507);
    bytes
}

/// Extended error and server identity texts that drive terminals.
fn evil_options() -> Vec<u8> {
    opt(&[extended_error(22, b"\x1b[2J`id`\r\n=1+1<b>"), option(3, b"\x1b[31mX")].concat())
}

/// A query and its refusal, with `record` as an additional record.
fn refused_with(record: &[u8]) -> Vec<u8> {
    pcap(&[
        to_server(&query().additional(&opt(&[])).bytes()),
        to_client(&Message::response("a", REFUSED).additional(record).bytes()),
    ])
}

/// Everything about a refusal that no option may change.
const REFUSED_ROW: &[(&str, &str)] = &[("outcome", "refused"), ("rcode", "REFUSED"), ("qname", "a")];

cases![
    d01_eleven_bytes = case("eleven bytes", pcap(&[to_server(&[0; 11])]))
        .packets(&[("udp_dns", 1)])
        .messages(&[("udp", 1), ("undecodable", 1)])
        .each("ledgers.messages.undecodable_reasons", &[("header_incomplete", 1)]),
    d02_question_count_65535 =
        case("a question count of 65,535", pcap(&[to_server(&query().counts([65_535, 0, 0, 0]).bytes())]))
            .messages(&[("queries", 1)]),
    d03_pointer_to_itself = case("a name that points to itself", pcap(&[question(b"\xc0\x0c\0\x01\0\x01")]))
        .messages(&[("queries", 1)])
        .unreadable(&[("pointer_loop", 1)]),
    d04_two_pointers = case("two pointers to each other", pcap(&[question(b"\xc0\x0e\xc0\x0c\0\x01\0\x01")]))
        .messages(&[("queries", 1)])
        .sum("ledgers.messages.question_unreadable", &["pointer_loop", "pointer_forward"], 1),
    d05_forward_pointer = case("a pointer forward", pcap(&[question(b"\xc0\x12\0\x01\0\x01\x01a\0")]))
        .messages(&[("queries", 1)])
        .unreadable(&[("pointer_forward", 1)]),
    d06_backward_chain = case("about 8,170 pointers, each to the one before", pcap(&[to_client(&backward_chain())]))
        .messages(&[("responses", 1)])
        .matches(&[("unsolicited", 1)])
        .plain_names(&["a"]),
    d07_label_types = case(
        "labels of type 01 and 10",
        pcap(&[question(b"\x41abc\0\0\x01\0\x01"), question(b"\x81abc\0\0\x01\0\x01")])
    )
    .messages(&[("queries", 2)])
    .unreadable(&[("label_type", 2)]),
    d08_255_and_256_bytes = case(
        "a name of 255 bytes, the longest, and one of 256",
        pcap(&[to_server(&Message::of(long_name(61)).bytes()), to_server(&Message::of(long_name(62)).bytes()),])
    )
    .messages(&[("queries", 2)])
    .unreadable(&[("name_too_long", 1)])
    .names(&[vec![long_label(b'a'), long_label(b'b'), long_label(b'c'), vec![b'd'; 61]]]),
    d09_label_past_the_end = case("a label past the end", pcap(&[question(b"\x3fabc")]))
        .messages(&[("queries", 1)])
        .unreadable(&[("past_end", 1)]),
    d10_evil_names = case("30 names that something might run", pcap(&queries_for(&EVIL.map(under_test))))
        .messages(&[("queries", 30)])
        .names(&EVIL.map(under_test)),
    d11_root = case("the root", pcap(&[to_server(&Message::of(vec![0]).bytes())])).row(&[("qname", ".")]),
    d12_two_opt =
        case("two OPT records", pcap(&[to_server(&query().additional(&opt(&[])).additional(&opt(&[])).bytes())]))
            .messages(&[("queries", 1)])
            .plain_names(&["a"]),
    d13_opt_overrun = case(
        "an OPT record longer than the message, with an option longer than the record",
        pcap(&[to_server(&query().additional(&opt_claiming(60_000, 0, b"\0\x03\xff\xff")).bytes())])
    )
    .messages(&[("queries", 1)])
    .plain_names(&["a"]),
    d14_16000_options =
        case("16,000 options", pcap(&[to_server(&query().additional(&opt(&option(3, &[]).repeat(16_000))).bytes())]))
            .messages(&[("queries", 1)])
            .plain_names(&["a"]),
    d15_answer_count_65535 = case(
        "an answer count of 65,535 and no answer",
        pcap(&[to_client(&Message::response("a", 0).counts([1, 65_535, 0, 0]).bytes())])
    )
    .matches(&[("unsolicited", 1)])
    .plain_names(&["a"]),
    d16_evil_options = case(
        "a refusal nobody asked for whose texts drive terminals",
        pcap(&[to_client(&Message::response("a", 2).additional(&evil_options()).bytes())])
    )
    .matches(&[("unsolicited", 1)])
    .codes(&[("SERVFAIL", 1)]),
    d17_amplifying_names =
        case("4,600 records with a name of 255 bytes twice", pcap(&[to_client(&amplifying_names())]))
            .matches(&[("unsolicited", 1)])
            .names(&[vec![long_label(b'a'), long_label(b'b'), long_label(b'c'), vec![b'd'; 61]]]),
    d18_text_controls = case(
        "a text record of control characters",
        pcap(&[to_client(
            &Message::response("a", 0)
                .kind(TXT)
                .counts([1, 1, 0, 0])
                .rest(&record(b"\xc0\x0c", TXT, b"\x0b\x1b[2J\r\n=1+\x07\0"))
                .bytes()
        )])
    )
    .matches(&[("unsolicited", 1)]),
    d19_every_order = case("a response before its query, two copies of it, and one of a wrong server", {
        let response = to_client(&Message { flags: 0x8180, ..Message::query("x").id(7) }.bytes());
        let wrong = {
            let datagram =
                crate::wire::Udp::back().around(&Message { flags: 0x8180, ..Message::query("y").id(7) }.bytes());
            let header = crate::wire::Ipv4 { source: [10, 0, 0, 99], ..crate::wire::Ipv4::back() };
            crate::wire::ethernet(&header.around(&datagram))
        };
        let query = to_server(&Message::query("x").id(7).bytes());
        pcap(&[response.clone(), query, response.clone(), response, wrong])
    })
    .matches(&[("queries", 1), ("responses", 4), ("matched", 1), ("response_copies", 2), ("unsolicited", 1)]),
    d20_every_byte = case("names of every byte", pcap(&queries_for(&every_byte()))).names(&every_byte()),
    d21_127_labels = case("127 labels of one byte, the most there can be", {
        let parts = vec![b"x".as_slice(); 127];
        pcap(&[to_server(&Message::of(labels(&parts)).bytes())])
    })
    .names(&[vec![b"x".to_vec(); 127]]),
    d22_pointer_into_header = case("names that point into the header, strictly back", {
        let frames: Vec<Vec<u8>> = (0..12).map(|to| question(&[0xc0, to, 0, 1, 0, 1])).collect();
        pcap(&frames)
    })
    .messages(&[("queries", 12)]),
    d23_every_prefix = case("every beginning of a refusal with texts", {
        let whole = Message::response("prefix.test", REFUSED).additional(&evil_options()).bytes();
        let frames: Vec<Vec<u8>> = (0..whole.len()).map(|length| to_client(&whole[..length])).collect();
        pcap(&frames)
    })
    .messages(&[("undecodable", 12)])
    .at_least("ledgers.messages", "responses", 12),
    d24_random_bytes = case("two thousand datagrams of noise", {
        let mut noise = crate::laws::Noise(7);
        let frames: Vec<Vec<u8>> = (0..2000)
            .map(|index| {
                let bytes: Vec<u8> = (0..index % 97).map(|_| noise.next() as u8).collect();
                if index % 2 == 0 { to_server(&bytes) } else { to_client(&bytes) }
            })
            .collect();
        pcap(&frames)
    })
    .packets(&[("udp_dns", 2000)]),
    d25_refused_evil_options = case("a refusal whose texts drive terminals", refused_with(&evil_options()))
        .outcomes(&[("refused", 1)])
        .row(REFUSED_ROW),
    d26_refused_opt_overrun =
        case("a refusal whose OPT record overruns", refused_with(&opt_claiming(60_000, 0, &extended_error(18, b"x"))))
            .outcomes(&[("refused", 1)])
            .row(REFUSED_ROW),
    d27_refused_text_of_60k = case(
        "a refusal with an extended error text of 60,000 bytes",
        refused_with(&opt(&extended_error(18, &vec![0x1b; 60_000])))
    )
    .outcomes(&[("refused", 1)])
    .row(REFUSED_ROW),
    d28_refused_many_errors =
        case("a refusal with 10,000 extended errors", refused_with(&opt(&extended_error(18, &[]).repeat(10_000))))
            .outcomes(&[("refused", 1)])
            .row(REFUSED_ROW),
    d29_refused_bad_client_subnet = case("refusals with client subnets of no family, too long, and cut", {
        let subnets: [&[u8]; 5] = [b"", b"\0\x03\x10\0ab", b"\0\x01\xff\0abcd", b"\0\x02\x80\xffab", b"\0\x01\x18"];
        let mut frames = Vec::new();
        for (id, subnet) in subnets.iter().enumerate() {
            let record = opt(&option(8, subnet));
            frames.push(to_server(&query().id(id as u16).additional(&record).bytes()));
            let response = Message::response("a", REFUSED).id(id as u16).additional(&record);
            frames.push(to_client(&response.bytes()));
        }
        pcap(&frames)
    })
    .outcomes(&[("refused", 5)])
    .row(REFUSED_ROW),
    d30_refused_evil_key = case("a refusal signed with a key whose name drives terminals", {
        let key = record(&labels(&[b"\x1b[2J=key\n", b"test"]), 250, &[0; 4]);
        pcap(&[
            to_server(&query().additional(&key).bytes()),
            to_client(&Message::response("a", REFUSED).additional(&key).bytes()),
        ])
    })
    .outcomes(&[("refused", 1)])
    .row(REFUSED_ROW),
    d31_refused_records_overrun = case("a refusal whose records all overrun", {
        let mut broken = record(b"\xc0\x0c", A, &[1, 2, 3, 4]);
        broken[10..12].copy_from_slice(&[0xff, 0xff]);
        pcap(&[
            to_server(&query().bytes()),
            to_client(&Message::response("a", REFUSED).counts([1, 9, 9, 9]).rest(&broken).bytes()),
        ])
    })
    .outcomes(&[("refused", 1)])
    .row(REFUSED_ROW),
    d32_refused_5000_records = case("a refusal with 4,000 records, each behind a chain of pointers", {
        let records = record(b"\xc0\x0c", 2, b"\xc0\x0c").repeat(4000);
        let message = Message { flags: 0x8185, counts: [1, 4000, 0, 0], ..Message::of(long_name(61)) };
        pcap(&[to_server(&Message::of(long_name(61)).bytes()), to_client(&message.rest(&records).bytes())])
    })
    .outcomes(&[("refused", 1)]),
    d33_unknown_codes = case("a type, class, opcode and response code without names", {
        let strange = Message { class: 65_280, ..query().kind(65_280).opcode(15) };
        let response = Message { flags: strange.flags | 0x800c, ..strange.clone() };
        pcap(&[to_server(&strange.bytes()), to_client(&response.bytes())])
    })
    .matches(&[("matched", 1)])
    .row(&[("qtype", "TYPE65280"), ("rcode", "RCODE12"), ("qname", "a")]),
    d34_two_questions = case("two questions", {
        let second = [name("b"), vec![0, 1, 0, 1]].concat();
        pcap(&[to_server(&query().counts([2, 0, 0, 0]).rest(&second).bytes())])
    })
    .messages(&[("queries", 1)])
    .plain_names(&["a"]),
    d35_no_question = case("a query without a question", pcap(&[to_server(&header(1, QUERY, [0; 4]))]))
        .messages(&[("queries", 1)])
        .matches(&[("queries", 1)]),
    d36_opt_among_answers = case("OPT records among the answers, with an extended response code", {
        let message = Message::response("a", REFUSED).counts([1, 1, 0, 0]).rest(&opt_claiming(0, 1, &[]));
        pcap(&[to_server(&query().bytes()), to_client(&message.bytes())])
    })
    .matches(&[("matched", 1)]),
    d37_proxy_header = case("a proxy header in front of the query", {
        let proxied = followed_by(
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x0a\x09\x09\x09\x0a\0\0\x02\x30\x39\0\x35".to_vec(),
            &query().bytes(),
        );
        pcap(&[to_server(&proxied)])
    })
    .packets(&[("udp_dns", 1)]),
    d38_name_of_nothing_then_cut = case("questions that end in the type and in the class", {
        let whole = query().bytes();
        pcap(&[
            to_server(&whole[..whole.len() - 1]),
            to_server(&whole[..whole.len() - 3]),
            to_server(&whole[..whole.len() - 4]),
        ])
    })
    .messages(&[("queries", 3)])
    .unreadable(&[("past_end", 3)]),
];
