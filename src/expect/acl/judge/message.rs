//! Reads from the messages of a transaction what an access rule depends on: the question, key, cookie, and the error of
//! a signature.

use super::BEHIND_PROXY;
use crate::decode::detail::{self, DetailLimits};
use crate::decode::message::HEADER;
use crate::decode::name::{read_name, skip_name};
use crate::decode::proxy;
use crate::expect::acl::compare::Question;
use crate::expect::acl::name::parse_name;
use crate::expect::acl::{Cookie, code};
use crate::transact::Transaction;

/// What a transaction asks, as far as its messages show; an error is the reason why nothing can be said of it.
pub fn question(transaction: &Transaction<'_>, limits: DetailLimits) -> Result<Question, &'static str> {
    const NOT_CAPTURED: &str = "the question was not captured";
    let (header, query) = proxy::split(transaction.query_bytes);
    if header.is_some_and(|header| header.client.is_some()) {
        return Err(BEHIND_PROXY);
    }
    let captured = query.len() > HEADER;
    let bytes = if captured { query } else { transaction.response_bytes };
    let header = bytes.get(..HEADER).ok_or(NOT_CAPTURED)?;
    let (opcode, rd) = (header[2] >> 3 & 15, header[2] & 1 == 1);
    if header[4..6] == [0, 0] {
        return Err(NOT_CAPTURED);
    }
    let (name, end) = read_name(bytes, HEADER).map_err(|_| NOT_CAPTURED)?;
    let Some([t0, t1, c0, c1]) = bytes.get(end..end + 4) else { return Err(NOT_CAPTURED) };
    let beside = beside(bytes, end + 4, limits).ok_or("the query was not kept whole")?;
    let question = Question {
        label: String::new(),
        qname: name.as_bytes().to_ascii_lowercase(),
        qtype: u16::from_be_bytes([*t0, *t1]),
        qclass: u16::from_be_bytes([*c0, *c1]),
        opcode,
        rd,
        transport: transaction.transport,
        key: beside.key,
        // A response carries the server's cookie.
        cookie: if captured { beside.cookie } else { Cookie::NotKnown },
        sections: if captured { [6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]])) } else { [0; 3] },
    };
    Ok(question)
}

/// What accompanies the question of a message; `None` when its records cannot be skipped. Only a message whose last
/// record is a signature is decoded.
fn beside(bytes: &[u8], at: usize, limits: DetailLimits) -> Option<Beside> {
    let count = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (questions, records) = (count(4), count(6) + count(8) + count(10));
    let mut beside = Beside { key: None, cookie: Cookie::Absent };
    if count(10) == 0 || questions != 1 || records > limits.records {
        return Some(beside);
    }
    let (mut last, mut rest) = (0, bytes.get(at..)?);
    for _ in 0..records {
        let (fixed, data) = skip_name(rest)?.split_first_chunk::<10>()?;
        last = u16::from_be_bytes([fixed[0], fixed[1]]);
        let len = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if last == code::OPT {
            beside.cookie = cookie(data.get(..len)?);
        }
        rest = data.get(len..).unwrap_or_default();
    }
    if last == code::TSIG {
        let detail = detail::read(bytes, limits)?;
        beside.key = detail.key_name.and_then(|name| parse_name(&String::from_utf8_lossy(&name)));
    }
    Some(beside)
}

/// The error in the signature of a message, where its last record is a complete one (RFC 8945 section 4.2).
pub fn signature_error(message: &[u8], limits: DetailLimits) -> Option<u16> {
    /// Time and fudge, between the algorithm's name and the length of the MAC.
    const TIME_AND_FUDGE: usize = 8;
    let header = message.get(..HEADER)?;
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (questions, records) = (count(4), count(6) + count(8) + count(10));
    if questions > 1 || records == 0 || records > limits.records {
        return None;
    }
    let mut rest = &message[HEADER..];
    if questions == 1 {
        rest = skip_name(rest)?.get(4..)?;
    }
    let (mut last, mut data) = (0, rest);
    for _ in 0..records {
        let (fixed, behind) = skip_name(rest)?.split_first_chunk::<10>()?;
        last = u16::from_be_bytes([fixed[0], fixed[1]]);
        (data, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes([fixed[8], fixed[9]])))?;
    }
    if last != code::TSIG {
        return None;
    }
    let (code_len, behind) = skip_name(data)?.get(TIME_AND_FUDGE..)?.split_first_chunk::<2>()?;
    // The original ID is between them.
    let error = behind.get(usize::from(u16::from_be_bytes(*code_len)) + 2..)?.first_chunk()?;
    Some(u16::from_be_bytes(*error))
}

/// What accompanies the question.
struct Beside {
    /// The key that signed the message.
    key: Option<Vec<u8>>,
    cookie: Cookie,
}

/// The COOKIE option (RFC 7873); the first one counts.
fn cookie(mut options: &[u8]) -> Cookie {
    /// RFC 7873.
    const COOKIE: [u8; 2] = [0, 10];
    while let Some((fixed, rest)) = options.split_first_chunk::<4>() {
        let length = u16::from_be_bytes([fixed[2], fixed[3]]);
        if fixed[..2] == COOKIE {
            return Cookie::Present(length);
        }
        options = rest.get(usize::from(length)..).unwrap_or_default();
    }
    Cookie::Absent
}
