//! The header that a proxy puts before a message or at the beginning of a connection to say who asked it (PROXY protocol,
//! version 2): bytes to [`Header`].
//!
//! What it says is a claim of the proxy, no address on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the header begins with. Read as a DNS header it is the identifier 0x0D0A and operation code 1.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The identifier that a server which does not know the header answers with.
pub const SIGNATURE_ID: u16 = 0x0d0a;
/// The operation code that such a server sees.
pub const SIGNATURE_OPCODE: u8 = 1;
/// Bytes before the addresses.
const FIXED: usize = 16;
/// Longest header believed; the specification wants room for 536 bytes, extensions included.
const MAX_HEADER: usize = 4096;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of it.
    pub len: usize,
    /// The client it names; none for the proxy's own connections (LOCAL) and other families.
    pub client: Option<SocketAddr>,
}

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Not such a header.
    No,
    /// The beginning of one.
    More,
    /// A whole one.
    Whole(Header),
}

/// Looks at the first bytes of a datagram or connection.
pub fn look(data: &[u8]) -> Look {
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

/// Bytes of the header at the beginning of a datagram, 0 when there is none.
#[inline]
pub fn len(datagram: &[u8]) -> usize {
    match datagram.first_chunk::<12>() {
        Some(first) if *first == SIGNATURE => match look(datagram) {
            Look::Whole(header) => header.len,
            _ => 0,
        },
        _ => 0,
    }
}

/// Kept bytes as header and message. (Only a header begins like one: its operation code is not in use.)
pub fn split(kept: &[u8]) -> (Option<Header>, &[u8]) {
    match look(kept) {
        Look::Whole(header) => (Some(header), &kept[header.len..]),
        _ => (None, kept),
    }
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
