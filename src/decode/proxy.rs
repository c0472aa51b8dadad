//! Reads the header by which a proxy names its client, in front of a message or at the start of a connection (PROXY
//! protocol, binary version 2 and text version 1), into a [`Header`].
//!
//! Its content is a claim of the proxy, not an address on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Signature of version 2. Read as a DNS header it has the ID 0x0D0A and operation code 1.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The ID with which a server answers that does not know the header.
const SIGNATURE_ID: u16 = 0x0d0a;
/// The operation code that such a server sees.
const SIGNATURE_OPCODE: u8 = 1;
/// Start of the line of version 1. Read as a DNS header it has the ID 0x5052 and operation code 9.
const TEXT: [u8; 6] = *b"PROXY ";
const TEXT_ID: u16 = 0x5052;
const TEXT_OPCODE: u8 = 9;
/// Longest line of version 1, according to its specification.
const MAX_TEXT: usize = 107;
/// Bytes before the addresses.
const FIXED: usize = 16;
/// Longest header believed; the specification wants room for 536 bytes, extensions included.
const MAX_HEADER: usize = 4096;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes.
    pub len: usize,
    /// The client it names; `None` for the proxy's own connections (LOCAL) and other address families.
    pub client: Option<SocketAddr>,
}

/// What the first bytes of a message or connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Not such a header.
    No,
    /// The beginning of one, incomplete.
    More,
    /// A complete one.
    Whole(Header),
}

/// Examines the first bytes of a datagram or connection; the very first byte rules most out.
#[inline]
pub fn look(data: &[u8]) -> Look {
    match data.first() {
        None => Look::More,
        Some(first) if *first == SIGNATURE[0] => look_at_binary(data),
        Some(first) if *first == TEXT[0] => look_at_text(data),
        Some(_) => Look::No,
    }
}

/// Examines a header of version 2.
#[cold]
fn look_at_binary(data: &[u8]) -> Look {
    let known = data.len().min(SIGNATURE.len());
    if data[..known] != SIGNATURE[..known] {
        return Look::No;
    }
    let Some(fixed) = data.first_chunk::<FIXED>() else { return Look::More };
    let (command, family) = (fixed[12], fixed[13]);
    let len = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if !matches!(command, 0x20 | 0x21) || len > MAX_HEADER {
        return Look::No;
    }
    let Some(addresses) = data.get(FIXED..len) else { return Look::More };
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let client = match (command, family) {
        (0x21, 0x11 | 0x12) if addresses.len() >= 12 => {
            let octets = [addresses[0], addresses[1], addresses[2], addresses[3]];
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port(8)))
        }
        (0x21, 0x21 | 0x22) if addresses.len() >= 36 => {
            let octets: [u8; 16] = std::array::from_fn(|index| addresses[index]);
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), port(32)))
        }
        (0x21, 0x11 | 0x12 | 0x21 | 0x22) => return Look::No,
        _ => None,
    };
    Look::Whole(Header { len, client })
}

/// Examines a line of version 1: `PROXY TCP4 192.0.2.7 10.0.0.53 12345 53`.
#[cold]
fn look_at_text(data: &[u8]) -> Look {
    let known = data.len().min(TEXT.len());
    if data[..known] != TEXT[..known] {
        return Look::No;
    }
    let Some(end) = data.iter().take(MAX_TEXT).position(|byte| *byte == b'\n') else {
        return if data.len() < MAX_TEXT { Look::More } else { Look::No };
    };
    let Some(line) = data[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()) else {
        return Look::No;
    };
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words.as_slice() {
        [_, "UNKNOWN", ..] => None,
        [_, family @ ("TCP4" | "TCP6"), source, _, port, _] => match (source.parse::<IpAddr>(), port.parse()) {
            (Ok(address), Ok(port)) if address.is_ipv6() == (*family == "TCP6") => Some(SocketAddr::new(address, port)),
            _ => return Look::No,
        },
        _ => return Look::No,
    };
    Look::Whole(Header { len: end + 1, client })
}

/// True for a response from a server that took a header for the message.
pub fn is_answer(id: u16, opcode: u8) -> bool {
    (id, opcode) == (SIGNATURE_ID, SIGNATURE_OPCODE) || (id, opcode) == (TEXT_ID, TEXT_OPCODE)
}

/// Beginnings of headers: a kept query that begins so follows one.
pub const BEGINNINGS: [&[u8]; 2] = [&SIGNATURE, &TEXT];

/// True when a datagram may begin with a header.
#[inline]
pub fn may_begin(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first == SIGNATURE[0] || *first == TEXT[0])
}

/// Length in bytes of the header at the start of a datagram, 0 when there is none.
#[inline]
pub fn len(datagram: &[u8]) -> usize {
    match look(datagram) {
        Look::Whole(header) => header.len,
        Look::No | Look::More => 0,
    }
}

/// Splits kept bytes into header and message. (Only a header begins like one: its operation code is not in use.)
pub fn split(kept: &[u8]) -> (Option<Header>, &[u8]) {
    match look(kept) {
        Look::Whole(header) => (Some(header), &kept[header.len..]),
        _ => (None, kept),
    }
}

/// A complete header without what nobody reads: the extensions of version 2, which may be sixty times as long as its
/// addresses.
pub fn without_extensions(header: &[u8]) -> Vec<u8> {
    let mut kept = header.to_vec();
    if kept.len() > FIXED && kept[0] == SIGNATURE[0] {
        let addresses = match look(header) {
            Look::Whole(Header { client: Some(client), .. }) if client.is_ipv4() => 12,
            Look::Whole(Header { client: Some(_), .. }) => 36,
            _ => 0,
        };
        kept.truncate(FIXED + addresses);
        kept[14..FIXED].copy_from_slice(&(addresses as u16).to_be_bytes());
    }
    kept
}

/// How a claimed client is written in reports.
pub fn identity(client: SocketAddr) -> String {
    format!("proxy={client}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with the given command, family and rest.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family, (rest.len() >> 8) as u8, rest.len() as u8]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn without_extensions_a_header_says_the_same() {
        let long = |addresses: &[u8]| [addresses, &[4; 3000]].concat();
        let v6: Vec<u8> = (0..36).collect();
        for (command, family, addresses) in
            [(0x21, 0x12, &[192, 0, 2, 7, 10, 0, 0, 53, 0x30, 0x39, 0, 53][..]), (0x21, 0x21, &v6), (0x20, 0, &[])]
        {
            let (whole, short) = (header(command, family, &long(addresses)), header(command, family, addresses));
            assert_eq!(without_extensions(&whole), short);
            assert_eq!(without_extensions(&short), short);
            let (Look::Whole(one), Look::Whole(other)) = (look(&whole), look(&short)) else { panic!() };
            assert_eq!((one.client, other.len), (other.client, short.len()));
        }
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.53 12345 53\r\n";
        assert_eq!(without_extensions(line), line);
    }

    #[test]
    fn the_client_is_read_in_both_families_and_local_has_none() {
        let v4 = header(0x21, 0x12, &[192, 0, 2, 7, 10, 0, 0, 53, 0x30, 0x39, 0, 53, 4, 0, 1, 9]);
        assert_eq!(look(&v4), Look::Whole(Header { len: 32, client: Some("192.0.2.7:12345".parse().unwrap()) }));
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 1, 7, 99);
        let Look::Whole(Header { client: Some(client), .. }) = look(&header(0x21, 0x21, &v6)) else { panic!() };
        assert_eq!(identity(client), "proxy=[2001::7]:99");
        assert_eq!(look(&header(0x20, 0, &[])), Look::Whole(Header { len: 16, client: None }));
    }

    #[test]
    fn lines_of_text_are_headers_too() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.53 12345 53\r\n";
        let whole = Look::Whole(Header { len: line.len(), client: Some("192.0.2.7:12345".parse().unwrap()) });
        assert_eq!(look(line), whole);
        assert_eq!(look(&[&line[..], b"more"].concat()), whole);
        assert_eq!((len(line), len(&line[..12])), (line.len(), 0));
        for cut in 1..line.len() {
            assert_eq!(look(&line[..cut]), Look::More, "{cut} bytes");
        }
        let v6 = look(b"PROXY TCP6 2001:db8::7 2001:db8::53 1 53\r\n");
        assert!(matches!(v6, Look::Whole(Header { client: Some(client), .. }) if client.is_ipv6()), "{v6:?}");
        assert_eq!(look(b"PROXY UNKNOWN\r\n"), Look::Whole(Header { len: 15, client: None }));
        for wrong in [
            &b"PROXY TCP4 2001:db8::7 10.0.0.53 1 53\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.53 70000 53\r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.53 1 53\n",
            b"PROXY \xff\r\n",
            b"POST / HTTP/1.1\r\n",
            &[b"PROXY ", &[b'x'; 200][..]].concat(),
        ] {
            assert_eq!(look(wrong), Look::No, "{wrong:?}");
        }
    }

    #[test]
    fn short_and_wrong_headers() {
        let v4 = header(0x21, 0x12, &[192, 0, 2, 7, 10, 0, 0, 53, 0x30, 0x39, 0, 53]);
        for cut in 0..v4.len() {
            assert_eq!(look(&v4[..cut]), Look::More, "{cut} bytes");
            assert_eq!(len(&v4[..cut]), 0);
        }
        assert_eq!((len(&v4), split(&v4).1), (28, &[][..]));
        assert_eq!(look(b"\x12\x34\x01\0"), Look::No);
        assert_eq!(look(&header(0x11, 0x12, &[0; 12])), Look::No, "another version");
        assert_eq!(look(&header(0x21, 0x12, &[0; 11])), Look::No, "addresses too short");
        assert_eq!(look(&header(0x20, 0, &[0; 5000])), Look::No, "too long to be believed");
    }
}
