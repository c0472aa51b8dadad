//! Decodes a reported message in full with hickory-proto, best effort: options and signatures ([`Detail`]).
//!
//! What hickory rejects has no detail, and the header facts read by [`super::message`] still stand. Size and record
//! count are capped first, because a full decode of a hostile message costs more than its bytes are worth.

use super::message::{EXTENDED_ERROR, HEADER, record};
use super::name::{plain_len, write_name, write_text};
use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RecordType};
use std::io::Write as _;

/// Client subnet (RFC 7871).
const CLIENT_SUBNET: u16 = 8;
/// Most options taken from one message.
const MAX_OPTIONS: usize = 16;
/// Most bytes kept of one text; three dots stand for more.
const MAX_TEXT: usize = 256;

/// Caps on what is decoded in full.
#[derive(Debug, Clone, Copy)]
pub struct DetailLimits {
    /// Longest message, in bytes.
    pub bytes: usize,
    /// Most questions and records, as claimed by the header.
    pub records: usize,
}

/// What only a full decode shows. Texts are escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// Extended DNS errors: code and extra text (RFC 8914).
    pub extended_errors: Vec<(u16, Vec<u8>)>,
    /// Client subnet as `address/source/scope` (RFC 7871).
    pub client_subnet: Option<String>,
    /// Name of the key that signed the message (TSIG, RFC 8945; SIG(0), RFC 2931).
    pub key_name: Option<Vec<u8>>,
}

/// Decodes a message; `None` when it is too large or hickory-proto rejects it.
pub fn read(message: &[u8], limits: DetailLimits) -> Option<Detail> {
    let header = message.get(..HEADER)?;
    if let Some(errors) = errors_alone(message, limits) {
        return Some(Detail { extended_errors: errors, ..Detail::default() });
    }
    let counts: usize = header[4..].chunks(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    if message.len() > limits.bytes || counts > limits.records {
        return None;
    }
    let decoded = Message::from_vec(message).ok()?;
    let mut detail = Detail::default();
    if let Some(edns) = &decoded.edns {
        read_options(edns, &mut detail);
    }
    detail.key_name = match &decoded.signature {
        Some(signature) => Some(printed(&signature.name)),
        None => decoded
            .additionals
            .iter()
            .rev()
            .find(|record| matches!(record.record_type(), RecordType::TSIG | RecordType::SIG))
            .map(|record| printed(&record.name)),
    };
    Some(detail)
}

/// The extended errors of a message in which nothing else needs a full decode: it has no additional record, or a single
/// one, the OPT record, whose other options are not printed. That covers most messages, and is a hundred times cheaper
/// than decoding, which would allocate every record and name although none is printed.
fn errors_alone(message: &[u8], limits: DetailLimits) -> Option<Vec<(u16, Vec<u8>)>> {
    let count = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let (questions, before, additionals) = (count(4), count(6) + count(8), count(10));
    if additionals == 0 {
        return Some(Vec::new());
    }
    let too_much = before > 0 && (message.len() > limits.bytes || questions + before + additionals > limits.records);
    if questions != 1 || additionals != 1 || too_much {
        return None;
    }
    let mut rest = plain_len(&message[HEADER..]).and_then(|len| message.get(HEADER + len + 4..))?;
    for _ in 0..before {
        let (_, len, data) = record(rest)?;
        rest = data.get(len..)?;
    }
    let [0, 0, 41, _, _, _, _, _, _, high, low, options @ ..] = rest else { return None };
    errors_among(options.get(..usize::from(u16::from_be_bytes([*high, *low])))?)
}

/// The extended errors among options, when these are complete and no other of them is printed.
fn errors_among(mut options: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut errors = Vec::new();
    for _ in 0..MAX_OPTIONS {
        let Some((head, rest)) = options.split_first_chunk::<4>() else { break };
        let [code, len] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
        let (data, rest) = rest.split_at_checked(usize::from(len))?;
        match code {
            CLIENT_SUBNET => return None,
            EXTENDED_ERROR => errors.extend(extended_error(data)),
            _ => {}
        }
        options = rest;
    }
    options.is_empty().then_some(errors)
}

/// Code and text of an extended error; `None` when it is too short.
fn extended_error(data: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (code, text) = data.split_first_chunk::<2>()?;
    let mut printed = Vec::new();
    let kept = &text[..text.len().min(MAX_TEXT)];
    write_text(kept, &mut printed);
    if kept.len() < text.len() {
        printed.extend_from_slice(b"...");
    }
    Some((u16::from_be_bytes(*code), printed))
}

fn read_options(edns: &Edns, detail: &mut Detail) {
    for (code, option) in edns.options().options.iter().take(MAX_OPTIONS) {
        match (u16::from(*code), option) {
            (EXTENDED_ERROR, EdnsOption::Unknown(_, data)) => detail.extended_errors.extend(extended_error(data)),
            (_, EdnsOption::Subnet(subnet)) => {
                let (source, scope) = (subnet.source_prefix(), subnet.scope_prefix());
                detail.client_subnet.get_or_insert(format!("{}/{source}/{scope}", subnet.addr()));
            }
            _ => {}
        }
    }
}

/// A name in presentation form.
fn printed(name: &Name) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    let mut out = Vec::new();
    write_name(&wire, &mut out);
    out
}

/// Appends a record type: its mnemonic, or `TYPE65280` (RFC 3597).
pub fn write_type(code: u16, out: &mut Vec<u8>) {
    // The most frequent ones by hand: formatting would cost more than all other columns of a row.
    match code {
        1 => out.push(b'A'),
        2 => out.extend_from_slice(b"NS"),
        5 => out.extend_from_slice(b"CNAME"),
        6 => out.extend_from_slice(b"SOA"),
        12 => out.extend_from_slice(b"PTR"),
        15 => out.extend_from_slice(b"MX"),
        16 => out.extend_from_slice(b"TXT"),
        28 => out.extend_from_slice(b"AAAA"),
        33 => out.extend_from_slice(b"SRV"),
        65 => out.extend_from_slice(b"HTTPS"),
        _ => {
            let known = RecordType::from(code);
            let _ = if matches!(known, RecordType::Unknown(_)) {
                write!(out, "TYPE{code}")
            } else {
                write!(out, "{known}")
            };
        }
    }
}

/// Appends a class: its mnemonic, or `CLASS65280` (RFC 3597).
pub fn write_class(code: u16, out: &mut Vec<u8>) {
    let known = match code {
        1 => "IN",
        3 => "CH",
        4 => "HS",
        254 => "NONE",
        255 => "ANY",
        _ => return drop(write!(out, "CLASS{code}")),
    };
    out.extend_from_slice(known.as_bytes());
}

/// Appends an operation code: its name, or `OPCODE12`.
pub fn write_opcode(code: u8, out: &mut Vec<u8>) {
    let known = match code {
        // Nearly all messages; the text's length is a constant here.
        0 => return out.extend_from_slice(b"QUERY"),
        1 => "IQUERY",
        2 => "STATUS",
        4 => "NOTIFY",
        5 => "UPDATE",
        6 => "DSO",
        _ => return drop(write!(out, "OPCODE{code}")),
    };
    out.extend_from_slice(known.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DetailLimits = DetailLimits { bytes: 4096, records: 64 };

    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x81, 0x05, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend(b"\x03www\x07example\x03com\0\0\x01\0\x01");
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
        bytes.extend((options.len() as u16).to_be_bytes());
        bytes.extend(options);
        bytes
    }

    #[test]
    fn options_are_read_and_escaped() {
        let mut options = vec![0, 15, 0, 8, 0, 18, b'E', b'I', b'M', b'4', 0x1b, b'\n'];
        options.extend([0, 15, 0, 2, 0, 20]);
        options.extend([0, 8, 0, 7, 0, 1, 24, 0, 10, 21, 5]);
        options.extend([0, 3, 0, 3, b'n', b's', 0x9b]);
        options.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 0xff]);
        let detail = read(&with_options(&options), LIMITS).unwrap();
        assert_eq!(detail.extended_errors, [(18, br"EIM4\027\010".to_vec()), (20, vec![])]);
        assert_eq!(detail.client_subnet.as_deref(), Some("10.21.5.0/24/0"));
    }

    #[test]
    fn a_text_that_is_cut_ends_in_dots() {
        for (len, cut) in [(255, false), (256, false), (257, true), (300, true)] {
            let mut options = vec![0, 15];
            options.extend((len as u16 + 2).to_be_bytes());
            options.extend([0, 18]);
            options.extend(std::iter::repeat_n(b'x', len));
            let detail = read(&with_options(&options), LIMITS).unwrap();
            let (code, text) = &detail.extended_errors[0];
            let expected = "x".repeat(len.min(256)) + if cut { "..." } else { "" };
            assert_eq!((*code, text.as_slice()), (18, expected.as_bytes()), "{len}");
        }
    }

    #[test]
    fn what_the_short_look_finds_is_what_the_full_decode_finds() {
        let option = |code: u8, data: &[u8]| [&[0, code, 0, data.len() as u8][..], data].concat();
        let kinds = [
            option(10, &[7; 8]),
            option(3, b""),
            option(12, &[0; 9]),
            option(8, &[0, 1, 0, 0]),
            option(15, &[0, 18]),
            option(15, b"\0\x16no \x1b, \\"),
            option(15, &[9]),
        ];
        for one in &kinds {
            for other in &kinds {
                let message = with_options(&[one.clone(), other.clone()].concat());
                let decoded = Message::from_vec(&message).unwrap();
                let mut full = Detail::default();
                read_options(decoded.edns.as_ref().unwrap(), &mut full);
                match errors_alone(&message, LIMITS) {
                    Some(errors) => assert_eq!(Detail { extended_errors: errors, ..Detail::default() }, full),
                    None => assert!(full.client_subnet.is_some(), "{one:?} {other:?}"),
                }
                assert_eq!(read(&message, LIMITS), Some(full));
            }
        }
        for damaged in [&[0, 10, 0, 9, 1][..], &[0, 10, 0]] {
            assert_eq!(errors_alone(&with_options(damaged), LIMITS), None, "left to the full decode");
        }
    }

    #[test]
    fn records_before_the_options_are_passed_and_not_decoded() {
        let with_records = |answers: u8, authorities: u8| {
            let mut bytes = with_options(&[0, 15, 0, 3, 0, 18, b'x']);
            (bytes[7], bytes[9]) = (answers, authorities);
            let question_end = bytes.len() - 11 - 7;
            let name = [&[0xc0, 12][..], b"\x01a\xc0\x10", b"\x02bc\0", b"\0"];
            let records = (0..answers + authorities)
                .flat_map(|at| [name[usize::from(at % 4)], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, at]].concat());
            let records: Vec<u8> = records.collect();
            bytes.splice(question_end..question_end, records);
            bytes
        };
        for (answers, authorities) in [(1, 0), (0, 1), (3, 4), (62, 0)] {
            let message = with_records(answers, authorities);
            let decoded = Message::from_vec(&message).unwrap();
            assert_eq!((decoded.answers.len(), decoded.authorities.len()), (answers.into(), authorities.into()));
            let mut full = Detail::default();
            read_options(decoded.edns.as_ref().unwrap(), &mut full);
            assert_eq!(full.extended_errors, [(18, b"x".to_vec())]);
            assert_eq!(errors_alone(&message, LIMITS), Some(full.extended_errors.clone()), "nothing is decoded");
            assert_eq!(read(&message, LIMITS), Some(full));
            // One that claims more than it has, and one that ends in a record.
            assert_eq!(errors_alone(&message[..message.len() - 20], LIMITS), None);
        }
        assert_eq!(read(&with_records(63, 0), LIMITS), None, "more records than are looked at");
        let short = DetailLimits { bytes: 64, ..LIMITS };
        assert_eq!(read(&with_records(3, 4), short), None, "a message longer than is looked at");
    }

    #[test]
    fn the_signing_key_is_named() {
        let mut bytes = vec![0, 7, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend(b"\x04corp\x07example\0\0\x06\0\x01");
        bytes.extend(b"\x03upd\x07example\0\0\xfa\0\xff\0\0\0\0");
        let mut data = b"\x0bhmac-sha256\0".to_vec();
        data.extend([0, 0, 0, 0, 0, 1, 1, 44, 0, 0, 0, 7, 0, 0, 0, 0]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        let detail = read(&bytes, LIMITS).unwrap();
        assert_eq!(detail.key_name.as_deref(), Some(&b"upd.example"[..]));
    }

    #[test]
    fn what_hickory_rejects_has_no_detail() {
        assert_eq!(read(&with_options(&[0, 15, 0, 99, 0]), LIMITS), None);
        assert_eq!(read(&[0; 11], LIMITS), None);
        let mut counts = with_options(&[]);
        counts[6] = 0xff;
        assert_eq!(read(&counts, LIMITS), None);
    }

    #[test]
    fn codes_without_a_name_keep_their_number() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&|out| write_type(65280, out)), "TYPE65280");
        for code in [1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 257] {
            assert_eq!(text(&|out| write_type(code, out)), RecordType::from(code).to_string());
        }
        assert_eq!(text(&|out| write_class(3, out)), "CH");
        assert_eq!(text(&|out| write_class(65280, out)), "CLASS65280");
        assert_eq!(text(&|out| write_opcode(5, out)), "UPDATE");
        assert_eq!(text(&|out| write_opcode(12, out)), "OPCODE12");
    }
}
