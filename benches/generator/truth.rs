//! What is true of a generated capture, counted while it is made and never by reading it back.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The counts and digests a correct analysis must reproduce.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Packets in the file.
    pub packets: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of all packets.
    pub packet_bytes: u64,
    /// UDP packets with a DNS message.
    pub packets_udp_dns: u64,
    /// TCP packets of DNS connections.
    pub packets_tcp_dns: u64,
    /// Packets of other traffic.
    pub packets_other: u64,
    /// Packets with an IPv6 header.
    pub packets_ipv6: u64,
    /// Packets with a VLAN tag.
    pub packets_vlan: u64,
    /// Time of the first packet, microseconds since 1970.
    pub first_us: u64,
    /// Time of the last packet, microseconds since 1970.
    pub last_us: u64,
    /// DNS messages over UDP, queries and responses.
    pub messages_udp: u64,
    /// DNS messages over TCP, queries and responses.
    pub messages_tcp: u64,
    /// Query messages.
    pub queries: u64,
    /// Response messages.
    pub responses: u64,
    /// Response messages by response code.
    pub rcodes: BTreeMap<String, u64>,
    /// Transactions: queries without retransmissions.
    pub transactions: u64,
    /// Queries that repeat an unanswered query.
    pub retransmitted: u64,
    /// Second responses to a retransmitted query.
    pub duplicate_responses: u64,
    /// Transactions with a response other than REFUSED.
    pub answered: u64,
    /// Transactions without a response.
    pub unanswered: u64,
    /// Transactions with the response REFUSED.
    pub refused: u64,
    /// Those of them over TCP.
    pub refused_tcp: u64,
    /// Those of them over IPv6.
    pub refused_ipv6: u64,
    /// Those of them whose response is only the 12-byte header, so that the question comes from the query.
    pub refused_restored: u64,
    /// Refused transactions whose client the inventory lists as `allow`.
    pub refused_listed_allow: u64,
    /// Refused transactions whose client the inventory lists as `refuse`.
    pub refused_listed_refuse: u64,
    /// Refused transactions whose client the inventory does not list.
    pub refused_unlisted: u64,
    /// Sum over refused transactions over UDP of the time from first query to response, in nanoseconds.
    pub refused_udp_rtt_ns: u64,
    /// Sum, modulo 2^64, of the FNV-1a digests of all refused rows (see [`Row`]), in hexadecimal.
    pub refused_rows: String,
    /// Clients that sent a query.
    pub clients: u64,
    /// Clients with a refused transaction.
    pub refused_clients: u64,
    /// FNV-1a digest of the lines `ADDRESS,COUNT` of those clients, sorted by text, in hexadecimal.
    pub refused_per_client: String,
    /// TCP connections to a DNS server.
    pub connections: u64,
    /// Those of them with more than one query.
    pub connections_several: u64,
    /// TCP messages that do not lie in exactly one segment of their own.
    pub messages_tcp_cut: u64,
}

/// What of a refused transaction goes into [`Truth::refused_rows`].
pub struct Row<'a> {
    /// The client's address.
    pub client: &'a str,
    /// The client's port.
    pub client_port: u16,
    /// The server's address.
    pub server: &'a str,
    /// The message id.
    pub id: u16,
    /// The name in lower case.
    pub qname: &'a str,
    /// The type.
    pub qtype: &'a str,
    /// `udp` or `tcp`.
    pub transport: &'a str,
    /// `echoed`, or `restored` when it comes from the query.
    pub question: &'a str,
}

impl Row<'_> {
    /// The digest of this row.
    pub fn digest(&self) -> u64 {
        let Self { client, client_port, server, id, qname, qtype, transport, question } = self;
        fnv1a(format!("{client},{client_port},{server},{id},{qname},{qtype},{transport},{question}").as_bytes())
    }
}

/// The digest for [`Truth::refused_per_client`].
pub fn clients_digest(counts: impl IntoIterator<Item = (String, u64)>) -> String {
    let mut lines: Vec<String> = counts.into_iter().map(|(address, count)| format!("{address},{count}\n")).collect();
    lines.sort_unstable();
    hexadecimal(fnv1a(lines.concat().as_bytes()))
}

/// A digest as it stands in [`Truth`].
pub fn hexadecimal(digest: u64) -> String {
    format!("{digest:016x}")
}

/// The 64-bit FNV-1a digest.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
