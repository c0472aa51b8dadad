//! Finds where messages begin in a stream that was not followed from its first byte.

use super::super::message::HEADER;
use super::super::proxy::{self, Look};

/// Length prefix and header: enough to tell whether bytes begin a message.
pub(super) const PROBE: usize = 2 + HEADER;

/// How certain it is that the next byte begins a message (or continues the one in the buffer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Boundary {
    /// No segment seen.
    #[default]
    Unknown,
    /// Lost; the next segment that begins like a message is taken for one.
    Lost,
    /// The bytes in the buffer may begin a message, but are too few to tell.
    Maybe,
    /// Known.
    Known,
}

/// True for data from which a connection may be followed in the middle: a message, or a proxy's header before one.
pub(super) fn is_beginning(data: &[u8]) -> bool {
    (data.len() >= PROBE && begins_message(data)) || matches!(proxy::look(data), Look::Whole(_))
}

/// True when the bytes (at least [`PROBE`] of them) look like a length prefix and a DNS header: a known operation code,
/// at most a handful of questions, counts that fit the length, and a question name that begins with a label. Where
/// there is only a header, the length must say so; otherwise a header after a lost length prefix would look like the
/// start of a long message.
pub(super) fn begins_message(bytes: &[u8]) -> bool {
    let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (len, flags, questions) = (number(0), number(4), number(6));
    let records = number(8) + number(10) + number(12);
    let response = flags & 0x8000 != 0;
    let opcode = flags >> 11 & 15;
    let opcode_known = matches!(opcode, 0..=2 | 4..=6);
    // Without a question, a query has at most an OPT and a TSIG record; what DSO (RFC 8490) sends is in no section.
    let counted = match (questions, records) {
        (0, 0) => len == HEADER || opcode == 6,
        (0, _) => response || records <= 2,
        _ => true,
    };
    // A question has at least 5 bytes, a record at least 11.
    let fits = len >= HEADER && HEADER + questions * 5 + records * 11 <= len;
    let plausible = opcode_known && questions <= 4 && (response || (flags & 15 == 0 && number(8) <= 16));
    let label = questions == 0 || bytes.get(PROBE).is_none_or(|first| *first <= 63);
    fits && counted && plausible && label
}
