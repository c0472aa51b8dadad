//! Reads header, first question and response code of every DNS payload ([`Message`]), with bounded code of our own.
//!
//! Allocates nothing. What cannot be read is named, and what was read before it still stands (RFC 1035 section 4.1, RFC
//! 6891 section 6.1, RFC 8914).

use super::key::Key;
use super::name::{self, NameFault};

/// Bytes of a DNS header.
pub const HEADER: usize = 12;
/// REFUSED (RFC 1035 section 4.1.1).
pub const REFUSED: u16 = 5;
/// NOTAUTH (RFC 2136 section 2.2, RFC 8945 section 5.2).
pub const NOTAUTH: u16 = 9;
/// OPT pseudo record (RFC 6891).
pub const TYPE_OPT: u16 = 41;
/// Extended DNS Error option (RFC 8914).
pub const EXTENDED_ERROR: u16 = 15;
/// Options looked at in one OPT record.
const MAX_OPTIONS: usize = 64;

/// The question of a message, reduced to what matching needs: absent, unreadable for a reason, or known by a keyed hash
/// over name (ignoring case), type and class of the first question. It is a single number, because every open
/// transaction holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question(u64);

impl Question {
    /// QDCOUNT is 0.
    pub const ABSENT: Question = Question(0);

    /// It cannot be read.
    #[inline]
    pub fn unreadable(fault: NameFault) -> Self {
        Self(1 + fault as u64)
    }

    /// Known by its hash; hashes that would collide with the special values are moved aside.
    #[inline]
    pub fn known(hash: u64) -> Self {
        Self(if hash <= NameFault::ALL.len() as u64 { hash ^ (1 << 63) } else { hash })
    }

    /// Why it cannot be read, if so.
    #[inline]
    pub fn fault(self) -> Option<NameFault> {
        match self.0 {
            0 => None,
            number => NameFault::ALL.get(number as usize - 1).map(|(_, fault)| *fault),
        }
    }

    /// True when it was read.
    #[inline]
    pub fn is_known(self) -> bool {
        self.0 > NameFault::ALL.len() as u64
    }

    /// Half of the hash, for compact storage.
    #[inline]
    pub fn low_half(self) -> u32 {
        self.0 as u32
    }

    /// True when a query and a response with these questions may belong together.
    #[inline]
    pub fn fits(self, other: Question) -> bool {
        self == other || !self.is_known() || !other.is_known()
    }
}

/// The facts of a message that counting and matching need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Message ID.
    pub id: u16,
    /// Second 16 bits of the header, as on the wire.
    pub flags: u16,
    /// Full response code, extended bits included (0 in queries).
    pub rcode: u16,
    /// The first question.
    pub question: Question,
    /// The response has an extended error from 15 to 18 (blocked, censored, filtered, prohibited).
    pub policy_error: bool,
    /// The first question asks for a zone transfer (AXFR or IXFR).
    pub transfer: bool,
    /// Bytes follow the end of the message's sections (only known when these were walked).
    pub trailing: bool,
    /// The snapshot length truncated the message.
    pub cut: bool,
}

impl Message {
    /// QR is 1.
    #[inline]
    pub fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// The operation code.
    #[inline]
    pub fn opcode(self) -> u8 {
        (self.flags >> 11 & 15) as u8
    }

    /// The response says REFUSED.
    #[inline]
    pub fn is_refused(self) -> bool {
        self.rcode == REFUSED
    }

    /// The response shows that the request was let pass: NOERROR, NXDOMAIN, or a code that says that a prerequisite of
    /// an update does not hold (RFC 2136 section 2.2). Every other code reports a problem of the request or the server
    /// that may be found before access is checked: FORMERR, SERVFAIL, NOTIMP, BADVERS, BADCOOKIE and the like.
    #[inline]
    pub fn is_served(self) -> bool {
        matches!(self.rcode, 0 | 3 | 6 | 7 | 8)
    }

    /// The response denies in another way: NOTAUTH, or a policy error with any other response code.
    #[inline]
    pub fn is_denied(self) -> bool {
        self.rcode == NOTAUTH || (self.policy_error && self.rcode != REFUSED)
    }
}

/// UDP or TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transport {
    /// One message per datagram.
    Udp,
    /// Messages in a stream.
    Tcp,
}

impl Transport {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Reads a message of which `payload` was captured; `cut` says that the snapshot length truncated it. `None` when there
/// is no complete header.
pub fn read(payload: &[u8], cut: bool, key: &Key) -> Option<Message> {
    read_and_hash(payload, cut, key).map(|(message, _)| message)
}

/// Reads a message as [`read`] does, and hashes its bytes along the way when its question has the usual form.
#[allow(clippy::inline_always)] // once for every message, and what it returns stays in registers
#[inline(always)]
pub(super) fn read_and_hash(payload: &[u8], cut: bool, key: &Key) -> Option<(Message, Option<u64>)> {
    let (header, body) = payload.split_first_chunk::<HEADER>()?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = number(2);
    let response = flags & 0x8000 != 0;
    let counts = Counts::of(header);
    let mut message = Message {
        id: number(0),
        flags,
        rcode: if response { flags & 15 } else { 0 },
        question: Question::ABSENT,
        policy_error: false,
        transfer: false,
        trailing: false,
        cut,
    };
    let (mut rest, mut hash) = (body, None);
    if counts.questions() > 0 {
        let (question, type_and_class, behind) = match plain_question(body) {
            Some((name, type_and_class, behind)) => {
                let question = key.question(name, *type_and_class);
                hash = Some(key.message(question, payload, behind));
                (question, type_and_class, behind)
            }
            None => match other_question(payload, key) {
                Ok(read) => read,
                Err(fault) => {
                    let fault = if cut && fault == NameFault::PastEnd { NameFault::Cut } else { fault };
                    return Some((Message { question: Question::unreadable(fault), ..message }, None));
                }
            },
        };
        message.question = Question::known(question);
        message.transfer = matches!(type_and_class, [0, 251 | 252, ..]);
        rest = behind;
    }
    if response && counts.additionals() > 0 {
        let extended = read_extended(rest, counts);
        message.rcode |= extended.rcode;
        message.policy_error = extended.policy_error;
        message.trailing = extended.trailing;
    } else {
        message.trailing = counts.are_of_a_question_at_most() & !rest.is_empty();
    }
    Some((message, hash))
}

/// The four counts of a header, as on the wire.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    #[inline]
    fn of(header: &[u8; HEADER]) -> Self {
        Self(header.last_chunk().map_or(0, |counts| u64::from_be_bytes(*counts)))
    }

    #[inline]
    fn questions(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Number of answer and authority records.
    #[inline]
    fn before_additionals(self) -> u32 {
        (self.0 >> 32 & 0xffff) as u32 + (self.0 >> 16 & 0xffff) as u32
    }

    #[inline]
    fn additionals(self) -> u16 {
        self.0 as u16
    }

    /// True when there is nothing but one question, or nothing at all.
    #[inline]
    fn are_of_a_question_at_most(self) -> bool {
        self.0 & !(1 << 48) == 0
    }
}

/// A question at the start of `body` with an uncompressed name: name, type and class, and what follows.
#[allow(clippy::inline_always)] // once for every message
#[inline(always)]
fn plain_question(body: &[u8]) -> Option<(&[u8], &[u8; 4], &[u8])> {
    let (name, behind) = body.split_at_checked(name::plain_len(body)?)?;
    let (type_and_class, behind) = behind.split_first_chunk()?;
    Some((name, type_and_class, behind))
}

/// Any other first question: its hash, type and class, and what follows.
#[cold]
fn other_question<'a>(payload: &'a [u8], key: &Key) -> Result<(u64, &'a [u8; 4], &'a [u8]), NameFault> {
    let (name, end) = name::read_name(payload, HEADER)?;
    let (type_and_class, behind) = payload[end..].split_first_chunk().ok_or(NameFault::PastEnd)?;
    Ok((key.question(name.as_bytes(), *type_and_class), type_and_class, behind))
}

/// What the records after the first question say.
#[derive(Clone, Copy, Default)]
struct Extended {
    /// Upper bits of the response code.
    rcode: u16,
    /// See [`Message::policy_error`].
    policy_error: bool,
    /// Bytes follow the records.
    trailing: bool,
}

/// Walks the records after the first question to the OPT record: extended response code and extended errors. Where the
/// data ends too early, whatever the counts say, what was read before still stands.
fn read_extended(rest: &[u8], counts: Counts) -> Extended {
    let mut extended = Extended::default();
    let end = walk_records(rest, counts, &mut extended);
    extended.trailing = end.is_some_and(|rest| !rest.is_empty());
    extended
}

/// What follows the records; `None` where the data ends too early.
#[inline]
fn walk_records<'a>(mut rest: &'a [u8], counts: Counts, extended: &mut Extended) -> Option<&'a [u8]> {
    for _ in 1..counts.questions() {
        rest = name::skip_name(rest)?.get(4..)?;
    }
    for _ in 0..counts.before_additionals() {
        let (_, len, data) = record(rest)?;
        rest = data.get(len..)?;
    }
    let mut seen_opt = false;
    for _ in 0..counts.additionals() {
        let (fixed, len, data) = record(rest)?;
        if !seen_opt && u16::from_be_bytes([fixed[0], fixed[1]]) == TYPE_OPT {
            seen_opt = true;
            extended.rcode = u16::from(fixed[4]) << 4;
            extended.policy_error = has_policy_error(&data[..len.min(data.len())]);
        }
        rest = data.get(len..)?;
    }
    Some(rest)
}

/// Splits a record: what is between its name and its data, the length of its data, and the bytes from its data on.
#[inline]
pub(super) fn record(rest: &[u8]) -> Option<(&[u8; 10], usize, &[u8])> {
    // Most names are a pointer or the root. Which of the two is unpredictable, so no branch asks. The least that can
    // follow is an OPT record without options.
    let behind = match rest.first_chunk::<11>() {
        Some(beginning) if matches!(beginning[0], 0 | 0xc0..) => &rest[1 + usize::from(beginning[0] > 0)..],
        _ => name::skip_name(rest)?,
    };
    let (fixed, data) = behind.split_first_chunk::<10>()?;
    Some((fixed, usize::from(u16::from_be_bytes([fixed[8], fixed[9]])), data))
}

/// True when an extended error from 15 (blocked) to 18 (prohibited) is among the options.
fn has_policy_error(mut options: &[u8]) -> bool {
    for _ in 0..MAX_OPTIONS {
        let Some(head) = options.first_chunk::<4>() else { return false };
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = options.get(4..4 + len) else { return false };
        if u16::from_be_bytes([head[0], head[1]]) == EXTENDED_ERROR && matches!(value, [0, 15..=18, ..]) {
            return true;
        }
        options = &options[4 + len..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        for count in counts {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(rest);
        bytes
    }

    fn read_it(bytes: &[u8]) -> Message {
        read(bytes, false, &Key::random()).unwrap()
    }

    const WWW: &[u8] = b"\x03www\x07example\x03com\0\0\x01\0\x01";

    #[test]
    fn case_does_not_matter_but_type_does() {
        let key = Key::random();
        let of = |rest: &[u8]| read(&message(0x0100, [1, 0, 0, 0], rest), false, &key).unwrap().question;
        assert_eq!(of(WWW), of(b"\x03wWw\x07eXAMPLe\x03COM\0\0\x01\0\x01"));
        assert_ne!(of(WWW), of(b"\x03www\x07example\x03com\0\0\x1c\0\x01"));
        // '@' and '[' are next to the capitals; bytes above 127 are next to nothing.
        assert_ne!(of(b"\x02@[\0\0\x01\0\x01"), of(b"\x02`{\0\0\x01\0\x01"));
        assert_ne!(of(b"\x01\xc1\0\0\x01\0\x01"), of(b"\x01\xe1\0\0\x01\0\x01"));
    }

    #[test]
    fn questions_in_one_number() {
        for (name, fault) in NameFault::ALL {
            let question = Question::unreadable(fault);
            assert_eq!((question.fault(), question.is_known()), (Some(fault), false), "{name}");
        }
        assert_eq!((Question::ABSENT.fault(), Question::ABSENT.is_known()), (None, false));
        for hash in [0, 1, 7, 8, u64::MAX] {
            assert_eq!((Question::known(hash).fault(), Question::known(hash).is_known()), (None, true), "{hash}");
        }
        assert!(Question::known(8).fits(Question::ABSENT) && !Question::known(8).fits(Question::known(9)));
    }

    #[test]
    fn refused_is_the_full_response_code() {
        assert!(read_it(&message(0x8105, [0, 0, 0, 0], b"")).is_refused());
        let with_opt = |extended: u8, options: &[u8]| {
            let mut rest = WWW.to_vec();
            rest.extend([0, 0, 41, 4, 208, extended, 0, 0, 0, 0, options.len() as u8]);
            rest.extend(options);
            message(0x8105, [1, 0, 0, 1], &rest)
        };
        assert!(read_it(&with_opt(0, b"")).is_refused());
        let other = read_it(&with_opt(1, b""));
        assert_eq!((other.rcode, other.is_refused()), (21, false));
        let prohibited = read_it(&with_opt(0, &[0, 15, 0, 2, 0, 18]));
        assert!(prohibited.is_refused() && prohibited.policy_error && !prohibited.is_denied());
    }

    #[test]
    fn denial_is_notauth_or_a_policy_error() {
        assert!(read_it(&message(0x8109, [0, 0, 0, 0], b"")).is_denied());
        let filtered = |code: u8| {
            let mut rest = WWW.to_vec();
            rest.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, code]);
            read_it(&message(0x8183, [1, 0, 0, 1], &rest))
        };
        assert!(filtered(17).is_denied() && filtered(15).is_denied());
        assert!(!filtered(14).is_denied() && !filtered(19).is_denied());
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_header_stands() {
        let cut = read(&message(0x0100, [1, 0, 0, 0], b"\x03ww"), true, &Key::random()).unwrap();
        assert_eq!((cut.id, cut.question), (0x1234, Question::unreadable(NameFault::Cut)));
        let past = read_it(&message(0x0100, [1, 0, 0, 0], b"\x03ww"));
        assert_eq!(past.question, Question::unreadable(NameFault::PastEnd));
        assert_eq!(read(&[0; 11], false, &Key::random()), None);
        // Counts without data.
        assert_eq!(read_it(&message(0x8185, [1, 65535, 65535, 65535], WWW)).rcode, 5);
    }

    #[test]
    fn stale_bytes_after_an_empty_refusal_are_noticed() {
        let stale = read_it(&message(0x8105, [0, 0, 0, 0], &[7; 40]));
        assert!(stale.trailing && stale.is_refused() && stale.question == Question::ABSENT);
        assert!(!read_it(&message(0x0100, [1, 0, 0, 0], WWW)).trailing);
    }

    #[test]
    fn any_prefix_of_a_message_is_safe() {
        let mut rest = WWW.to_vec();
        rest.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        rest.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 18]);
        let whole = message(0x8185, [1, 1, 0, 1], &rest);
        for len in 0..=whole.len() {
            let read = read(&whole[..len], true, &Key::random());
            assert_eq!(read.is_some(), len >= HEADER);
        }
        assert!(read_it(&whole).policy_error);
    }
}
