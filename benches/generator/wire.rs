//! Builds frames: Ethernet or cooked headers, VLAN, IP, UDP and TCP headers with valid checksums, and DNS messages.

use std::net::IpAddr;

/// One end of a packet.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The IP address; both ends of a packet are of one family.
    pub address: IpAddr,
    /// The UDP or TCP port.
    pub port: u16,
    /// The Ethernet address.
    pub mac: [u8; 6],
    /// Time to live (hop limit) of the packets it sends, as seen at the point of capture.
    pub hops: u8,
}

/// What the headers below UDP and TCP need to know.
#[derive(Clone, Copy)]
pub struct Path {
    /// The sender.
    pub from: Endpoint,
    /// The receiver.
    pub to: Endpoint,
    /// The link header is a cooked one (`LINUX_SLL2`), as when all interfaces are captured on the servers' host.
    pub cooked: bool,
    /// The VLAN the frame is tagged with; in no cooked frame.
    pub vlan: Option<u16>,
    /// The IPv4 identification; unused in IPv6.
    pub ip_id: u16,
}

/// TCP header flags (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgment number is valid.
    pub const ACK: u8 = 16;
}

/// The fields of a TCP header that vary.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// See [`flag`].
    pub flags: u8,
    /// Options, already padded to a multiple of four bytes.
    pub options: &'a [u8],
}

/// Appends a UDP datagram in its frame. Without `checksum` the UDP checksum is 0 where the protocol allows it (IPv4).
pub fn udp_frame(out: &mut Vec<u8>, path: &Path, payload: &[u8], checksum: bool) {
    let length = 8 + payload.len();
    let pseudo = network_headers(out, path, 17, length);
    let start = out.len();
    out.extend(path.from.port.to_be_bytes());
    out.extend(path.to.port.to_be_bytes());
    out.extend((length as u16).to_be_bytes());
    out.extend([0; 2]);
    out.extend(payload);
    if checksum || path.from.address.is_ipv6() {
        let sum = fold(sum(&out[start..], pseudo));
        // RFC 768: a computed 0 is sent as all ones, because 0 says that there is no checksum.
        let value = if sum == 0xffff { 0xffff } else { !sum };
        out[start + 6..start + 8].copy_from_slice(&value.to_be_bytes());
    }
}

/// Appends a TCP segment in its frame.
pub fn tcp_frame(out: &mut Vec<u8>, path: &Path, segment: &Segment<'_>, payload: &[u8]) {
    let header = 20 + segment.options.len();
    let pseudo = network_headers(out, path, 6, header + payload.len());
    let start = out.len();
    out.extend(path.from.port.to_be_bytes());
    out.extend(path.to.port.to_be_bytes());
    out.extend(segment.sequence.to_be_bytes());
    out.extend(segment.acknowledgment.to_be_bytes());
    out.extend([((header / 4) << 4) as u8, segment.flags]);
    out.extend(501_u16.to_be_bytes());
    out.extend([0; 4]);
    out.extend(segment.options);
    out.extend(payload);
    let value = !fold(sum(&out[start..], pseudo));
    out[start + 16..start + 18].copy_from_slice(&value.to_be_bytes());
}

/// Appends everything up to the transport header and returns the sum over the pseudo-header (RFC 768, RFC 8200).
fn network_headers(out: &mut Vec<u8>, path: &Path, protocol: u8, length: usize) -> u64 {
    let ether_type: [u8; 2] = if path.from.address.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    if path.cooked {
        // Interface 2, Ethernet; 4 leaves, 0 arrives.
        let packet_type = if path.from.port == 53 { 4 } else { 0 };
        out.extend(ether_type);
        out.extend([0, 0, 0, 0, 0, 2, 0, 1, packet_type, 6]);
        out.extend(path.from.mac);
        out.extend([0, 0]);
    } else {
        out.extend(path.to.mac);
        out.extend(path.from.mac);
        if let Some(vlan) = path.vlan {
            out.extend([0x81, 0x00]);
            out.extend(vlan.to_be_bytes());
        }
        out.extend(ether_type);
    }
    match (path.from.address, path.to.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let start = out.len();
            out.extend([0x45, 0]);
            out.extend((20 + length as u16).to_be_bytes());
            out.extend(path.ip_id.to_be_bytes());
            out.extend([0x40, 0, path.from.hops, protocol, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let value = !fold(sum(&out[start..], 0));
            out[start + 10..start + 12].copy_from_slice(&value.to_be_bytes());
            sum(&out[start + 12..], u64::from(protocol) + length as u64)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend([0x60, 0, 0, 0]);
            out.extend((length as u16).to_be_bytes());
            out.extend([protocol, path.from.hops]);
            let start = out.len();
            out.extend(from.octets());
            out.extend(to.octets());
            sum(&out[start..], u64::from(protocol) + length as u64)
        }
        _ => unreachable!("both ends of a packet are of one family"),
    }
}

/// Adds big-endian words to a running sum for the Internet checksum (RFC 1071; 32-bit words fold to the same value).
fn sum(bytes: &[u8], start: u64) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let whole: u64 = words.map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))).sum();
    start + whole + u64::from(u32::from_be_bytes(last))
}

/// Folds a running sum to 16 bits with end-around carry.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Response codes used here.
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The server failed.
    pub const SERVFAIL: u8 = 2;
    /// No such name.
    pub const NXDOMAIN: u8 = 3;
    /// Refused.
    pub const REFUSED: u8 = 5;
}

/// The EDNS part of a query.
#[derive(Clone, Copy, Default)]
pub struct Edns {
    /// Has an OPT record at all.
    pub present: bool,
    /// Has the DNSSEC OK bit.
    pub dnssec: bool,
    /// Carries a client cookie (RFC 7873).
    pub cookie: Option<u64>,
    /// Carries a client subnet (RFC 7871) of this /24.
    pub subnet: Option<[u8; 3]>,
}

/// One question with its id.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The message id.
    pub id: u16,
    /// The name in wire format, in the case that was sent.
    pub name: &'a [u8],
    /// The type code.
    pub kind: u16,
    /// The EDNS part.
    pub edns: Edns,
}

/// Appends a query with recursion desired.
pub fn query(out: &mut Vec<u8>, question: &Question<'_>) {
    out.extend(question.id.to_be_bytes());
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(question.edns.present)]);
    question_record(out, question);
    if question.edns.present {
        let length = out.len();
        opt_record(out, question.edns.dnssec);
        if let Some(cookie) = question.edns.cookie {
            out.extend([0, 10, 0, 8]);
            out.extend(cookie.to_be_bytes());
        }
        if let Some(subnet) = question.edns.subnet {
            out.extend([0, 8, 0, 7, 0, 1, 24, 0]);
            out.extend(subnet);
        }
        close_opt(out, length);
    }
}

/// How a server answers.
#[derive(Clone, Copy)]
pub struct Reply {
    /// The response code.
    pub rcode: u8,
    /// Only the 12 bytes of the header, as some servers refuse.
    pub header_only: bool,
    /// Records in the answer section.
    pub answers: u8,
    /// Bytes of the data of one answer.
    pub answer_bytes: u16,
    /// Says extended error 18, "Prohibited" (RFC 8914), if the query had EDNS.
    pub prohibited: bool,
}

/// Appends the response to a question.
pub fn response(out: &mut Vec<u8>, question: &Question<'_>, reply: Reply) {
    // A refusing server did not look whether it could recurse: RA is unset there and set elsewhere.
    let recursion = if reply.rcode == rcode::REFUSED { 0x00 } else { 0x80 };
    out.extend(question.id.to_be_bytes());
    out.extend([0x81, recursion | reply.rcode]);
    if reply.header_only {
        out.extend([0; 8]);
        return;
    }
    let authority = u8::from(reply.rcode == rcode::NXDOMAIN || reply.rcode == rcode::NOERROR && reply.answers == 0);
    out.extend([0, 1, 0, reply.answers, 0, authority, 0, u8::from(question.edns.present)]);
    question_record(out, question);
    for number in 0..reply.answers {
        out.extend([0xc0, 12]);
        out.extend(question.kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 1, 0x2c]);
        out.extend(reply.answer_bytes.to_be_bytes());
        let start = out.len();
        answer_data(out, question.kind, usize::from(reply.answer_bytes), number);
        debug_assert_eq!(out.len() - start, usize::from(reply.answer_bytes));
    }
    if authority == 1 {
        // The name after the first label stands for the zone; every name here has at least two labels.
        let zone = 0xc000_u16 | (13 + u16::from(question.name[0]));
        out.extend(zone.to_be_bytes());
        out.extend([0, 6, 0, 1, 0, 0, 0x03, 0x84, 0, 28]);
        out.extend([1, b'n']);
        out.extend(zone.to_be_bytes());
        out.extend([1, b'r']);
        out.extend(zone.to_be_bytes());
        out.extend([0x78, 0xa4, 0x10, 1, 0, 0, 0x0e, 0x10, 0, 0, 0x03, 0x84, 0, 0x09, 0x3a, 0x80, 0, 0, 0x03, 0x84]);
    }
    if question.edns.present {
        let length = out.len();
        opt_record(out, question.edns.dnssec);
        if let Some(cookie) = question.edns.cookie {
            out.extend([0, 10, 0, 16]);
            out.extend(cookie.to_be_bytes());
            out.extend(cookie.rotate_left(17).to_be_bytes());
        }
        if reply.prohibited {
            out.extend([0, 15, 0, 2, 0, 18]);
        }
        close_opt(out, length);
    }
}

/// The data of one answer: always well-formed for its type.
fn answer_data(out: &mut Vec<u8>, code: u16, length: usize, number: u8) {
    match code {
        kind::TXT => {
            let mut left = length;
            while left > 0 {
                let text = (left - 1).min(255);
                out.push(text as u8);
                out.extend((0..text).map(|at| b'a' + (at % 26) as u8));
                left -= text + 1;
            }
        }
        kind::MX => out.extend([0, number, 1, b'm', 0xc0, 12]),
        kind::SRV => out.extend([0, number, 0, 5, 0x13, 0xc4, 1, b's', 0]),
        kind::PTR | kind::NS => out.extend([2, b'h', b'0' + number % 10, 0]),
        kind::HTTPS => out.extend([0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2']),
        kind::AAAA => out.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]),
        _ => out.extend([203, 0, 113, number]),
    }
}

/// Record types used here.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Pointer.
    pub const PTR: u16 = 12;
    /// Mail exchanger.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service location.
    pub const SRV: u16 = 33;
    /// HTTPS binding.
    pub const HTTPS: u16 = 65;

    /// Its name in reports, and the bytes of the data of one answer (see `answer_data`).
    pub fn describe(kind: u16) -> (&'static str, u16) {
        match kind {
            A => ("A", 4),
            NS => ("NS", 4),
            PTR => ("PTR", 4),
            MX => ("MX", 6),
            TXT => ("TXT", 60),
            AAAA => ("AAAA", 16),
            SRV => ("SRV", 9),
            HTTPS => ("HTTPS", 10),
            _ => unreachable!("not generated"),
        }
    }
}

fn question_record(out: &mut Vec<u8>, question: &Question<'_>) {
    out.extend(question.name);
    out.extend(question.kind.to_be_bytes());
    out.extend([0, 1]);
}

/// Appends an OPT record (RFC 6891) without options; [`close_opt`] sets the length of its data.
fn opt_record(out: &mut Vec<u8>, dnssec: bool) {
    out.extend([0, 0, 41, 0x04, 0xd0, 0, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
}

fn close_opt(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 11) as u16;
    out[start + 9..start + 11].copy_from_slice(&length.to_be_bytes());
}
