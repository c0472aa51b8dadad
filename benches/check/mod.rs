//! Compares the output of `dnsrefused` with the generator's truth: a fast wrong answer is a failure.

use crate::generator::truth::{Row, Truth, clients_digest, hexadecimal};
use serde_json::Value;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Differences found, each as a sentence.
#[derive(Default)]
pub struct Differences(Vec<String>);

impl Differences {
    /// Notes a difference unless the two values are equal.
    fn expect<T: PartialEq + std::fmt::Display + ?Sized>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.0.push(format!("{what}: {expected} expected, {found} found"));
        }
    }

    /// The sentences.
    pub fn sentences(&self) -> &[String] {
        &self.0
    }
}

/// Compares rows written with `--format csv`: every refused transaction with its client, port, name, type, and time.
pub fn rows(path: &Path, truth: &Truth) -> io::Result<Differences> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        header.iter().position(|title| title == name).ok_or_else(|| io::Error::other(format!("no column {name}")))
    };
    let [outcome, client, client_port, server, id] = ["outcome", "client", "client_port", "server", "id"].map(column);
    let (outcome, client, client_port, server, id) = (outcome?, client?, client_port?, server?, id?);
    let [qname, qtype, transport, question] = ["qname", "qtype", "transport", "question"].map(column);
    let (qname, qtype, transport, question) = (qname?, qtype?, transport?, question?);
    let (rtt, expected, query_frame) = (column("rtt_us")?, column("expected")?, column("query_frame")?);

    let mut clients: HashMap<String, u64> = HashMap::new();
    let mut by_expected: HashMap<String, u64> = HashMap::new();
    let (mut refused, mut restored, mut tcp, mut ipv6, mut digest, mut rtt_ns) = (0, 0, 0, 0, 0_u64, 0);
    let (mut last_frame, mut out_of_order) = (0, 0);
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row)? {
        let frame = row[query_frame].parse::<u64>().unwrap_or(0);
        out_of_order += u64::from(frame < last_frame);
        last_frame = frame;
        if &row[outcome] != "refused" {
            continue;
        }
        refused += 1;
        restored += u64::from(&row[question] == "restored");
        ipv6 += u64::from(row[client].contains(':'));
        let lower = row[qname].to_ascii_lowercase();
        let transport = row[transport].to_ascii_lowercase();
        if transport == "tcp" {
            tcp += 1;
        } else {
            rtt_ns += (row[rtt].parse::<f64>().unwrap_or(f64::NAN) * 1000.0).round() as u64;
        }
        let number = |at: usize| row[at].parse::<u16>().unwrap_or(0);
        digest = digest.wrapping_add(
            Row {
                client: &row[client],
                client_port: number(client_port),
                server: &row[server],
                id: number(id),
                qname: &lower,
                qtype: &row[qtype],
                transport: &transport,
                question: &row[question],
            }
            .digest(),
        );
        if let Some(count) = clients.get_mut(&row[client]) {
            *count += 1;
        } else {
            clients.insert(row[client].to_string(), 1);
        }
        *by_expected.entry(row[expected].to_string()).or_default() += 1;
    }

    let mut differences = Differences::default();
    differences.expect("refused rows", &truth.refused, &refused);
    differences.expect("refused clients", &truth.refused_clients, &(clients.len() as u64));
    differences.expect("refusals per client (digest)", &truth.refused_per_client, &clients_digest(clients));
    differences.expect("restored questions", &truth.refused_restored, &restored);
    differences.expect("refused over TCP", &truth.refused_tcp, &tcp);
    differences.expect("refused over IPv6", &truth.refused_ipv6, &ipv6);
    differences.expect("refused rows (digest)", &truth.refused_rows, &hexadecimal(digest));
    differences.expect("nanoseconds to a refusal over UDP", &truth.refused_udp_rtt_ns, &rtt_ns);
    let listed = |name: &str| by_expected.get(name).copied().unwrap_or(0);
    differences.expect("refused and listed as allow", &truth.refused_listed_allow, &listed("allow"));
    differences.expect("refused and listed as refuse", &truth.refused_listed_refuse, &listed("refuse"));
    differences.expect("refused and unlisted", &truth.refused_unlisted, &listed("unlisted"));
    differences.expect("rows out of order", &0, &out_of_order);
    Ok(differences)
}

/// Compares a report written with `--format json`: totals, ledgers and the sum over the sources.
pub fn report(path: &Path, truth: &Truth) -> io::Result<Differences> {
    let report: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let mut differences = Differences::default();
    for (pointer, expected) in [
        ("/totals/frames", truth.packets),
        ("/totals/messages_udp", truth.messages_udp),
        ("/totals/messages_tcp", truth.messages_tcp),
        ("/totals/queries", truth.queries),
        ("/totals/responses", truth.responses),
        ("/totals/transactions", truth.transactions),
        ("/totals/outcomes/answered", truth.answered),
        ("/totals/outcomes/refused", truth.refused),
        ("/totals/outcomes/denied", 0),
        ("/totals/outcomes/unsolicited", 0),
        ("/totals/outcomes/tcp-rejected", 0),
        ("/totals/refused", truth.refused),
        ("/totals/refused_restored", truth.refused_restored),
        ("/ledgers/packets/frames", truth.packets),
        ("/ledgers/packets/udp_dns", truth.packets_udp_dns),
        ("/ledgers/packets/other_port", truth.packets_other),
        ("/ledgers/messages/undecodable", 0),
        ("/ledgers/matches/matched", truth.answered + truth.refused),
        ("/ledgers/matches/retransmitted", truth.retransmitted),
        ("/ledgers/matches/duplicate", truth.duplicate_responses),
        ("/ledgers/matches/evicted", 0),
        ("/ledgers/matches/query_copies", 0),
        ("/ledgers/matches/response_copies", 0),
        ("/ledgers/bytes/total", truth.file_bytes),
        ("/ledgers/bytes/packets", truth.packet_bytes),
    ] {
        differences.expect(pointer, &expected, &number(pointer));
    }
    for (name, &expected) in &truth.rcodes {
        let pointer = format!("/totals/rcodes/{name}");
        differences.expect(&pointer, &expected, &number(&pointer));
    }
    let silent = number("/totals/outcomes/silent") + number("/totals/outcomes/unanswered");
    differences.expect("outcomes silent and unanswered", &truth.unanswered, &silent);
    let tcp = ["tcp_used", "tcp_control", "tcp_duplicate"].map(|name| number(&format!("/ledgers/packets/{name}")));
    differences.expect("packets of TCP used, &control and duplicate", &truth.packets_tcp_dns, &tcp.iter().sum());
    for ledger in ["packets", "messages", "matches", "bytes", "outputs"] {
        let closed = report.pointer(&format!("/ledgers/{ledger}/closed")).and_then(Value::as_bool);
        differences.expect(&format!("ledger {ledger} closed"), &true, &closed.unwrap_or(false));
    }
    let sources = report.pointer("/sources").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let sum = |field: &str| sources.iter().filter_map(|row| row.get(field).and_then(Value::as_u64)).sum::<u64>();
    differences.expect("sum of sources[].queries", &truth.queries, &sum("queries"));
    differences.expect("sum of sources[].answered", &truth.answered, &sum("answered"));
    differences.expect("sum of sources[].refused", &truth.refused, &sum("refused"));
    let mut addresses: Vec<&str> = sources.iter().filter_map(|row| row.get("source").and_then(Value::as_str)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    differences.expect("distinct sources", &truth.clients, &(addresses.len() as u64));
    Ok(differences)
}
