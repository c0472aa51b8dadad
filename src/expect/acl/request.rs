//! One [`Request`], with everything that access rules look at.

use crate::transact::in_flight::Transport;
use std::net::IpAddr;

/// One request, as far as access rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client's address as the server sees it.
    pub source: IpAddr,
    /// The address it asks.
    pub destination: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The header's opcode.
    pub opcode: u8,
    /// The name in the question, as uncompressed lower-case labels.
    pub qname: &'a [u8],
    /// Its type.
    pub qtype: u16,
    /// Its class.
    pub qclass: u16,
    /// Recursion is desired.
    pub rd: bool,
    /// The TSIG key that signed it, in the form of `qname`.
    pub key: Option<&'a [u8]>,
    /// Its COOKIE option.
    pub cookie: Cookie,
    /// Numbers of records in its answer, authority and additional sections.
    pub sections: [u16; 3],
}

/// The COOKIE option (RFC 7873) of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// Not known, because the request as sent is not known.
    NotKnown,
    /// It has none.
    Absent,
    /// It has one of this many bytes: 8 of the client, then those of the server.
    Present(u16),
}
