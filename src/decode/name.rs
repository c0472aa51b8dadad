//! Domain names on the wire (RFC 1035 sections 3.1 and 4.1.4): walking them within bounds, and the one function that
//! prints them ([`write_name`]).

/// Longest name in bytes, length bytes and root included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// Most compression pointers followed in one name; every one must point strictly back.
const MAX_POINTERS: usize = 126;

/// Most names have no more labels than this, not counting the root.
const USUAL_LABELS: usize = 4;

/// Why a name cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NameFault {
    /// Label type 01 or 10 (RFC 6891 section 5 withdrew them).
    LabelType,
    /// More than 255 bytes.
    TooLong,
    /// A label or pointer runs over the end of the message.
    PastEnd,
    /// A pointer to itself, or to where reading the name has been.
    PointerLoop,
    /// A pointer that does not point back.
    PointerForward,
    /// More pointers than any name needs.
    TooManyPointers,
    /// The capture's snapshot length cut the message inside the name.
    Cut,
}

impl NameFault {
    /// Every fault with its name in the report.
    pub const ALL: [(&'static str, NameFault); 7] = [
        ("label_type", NameFault::LabelType),
        ("name_too_long", NameFault::TooLong),
        ("past_end", NameFault::PastEnd),
        ("pointer_loop", NameFault::PointerLoop),
        ("pointer_forward", NameFault::PointerForward),
        ("too_many_pointers", NameFault::TooManyPointers),
        ("cut", NameFault::Cut),
    ];
}

/// A name without compression, in wire form.
#[derive(Debug, Clone, Copy)]
pub struct WireName {
    bytes: [u8; MAX_NAME],
    len: u8,
}

impl WireName {
    /// The wire bytes: labels with their length bytes, the root's zero included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

/// Length of the uncompressed name at the start of `data`, if there is one; otherwise the caller falls back to
/// [`read_name`].
#[allow(clippy::inline_always)] // once for every message
#[inline(always)]
pub fn plain_len(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    // The number of labels is unpredictable, and a mispredicted branch costs more than a step: extra steps stay at the
    // root.
    for _ in 0..USUAL_LABELS {
        match usize::from(*data.get(at)?) {
            len @ 0..=63 => at += len + usize::from(len > 0),
            _ => return None,
        }
    }
    loop {
        match *data.get(at)? {
            len @ 1..=63 => at += usize::from(len) + 1,
            0 if at < MAX_NAME => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Reads a name, following pointers; also returns the offset of the bytes after it.
pub fn read_name(message: &[u8], start: usize) -> Result<(WireName, usize), NameFault> {
    let mut name = WireName { bytes: [0; MAX_NAME], len: 0 };
    let mut len = 0;
    let mut at = start;
    let mut lowest = start;
    let mut end = None;
    let mut pointers = 0;
    loop {
        let byte = *message.get(at).ok_or(NameFault::PastEnd)?;
        match byte & 0xc0 {
            0x00 => {
                let label = message.get(at..at + 1 + byte as usize).ok_or(NameFault::PastEnd)?;
                let room = name.bytes.get_mut(len..len + label.len()).ok_or(NameFault::TooLong)?;
                room.copy_from_slice(label);
                len += label.len();
                at += label.len();
                if byte == 0 {
                    name.len = len as u8;
                    return Ok((name, end.unwrap_or(at)));
                }
            }
            0xc0 => {
                let low = *message.get(at + 1).ok_or(NameFault::PastEnd)?;
                let target = (usize::from(byte & 0x3f) << 8) | usize::from(low);
                end = end.or(Some(at + 2));
                pointers += 1;
                if target >= lowest {
                    return Err(if target > at { NameFault::PointerForward } else { NameFault::PointerLoop });
                }
                if pointers > MAX_POINTERS {
                    return Err(NameFault::TooManyPointers);
                }
                lowest = target;
                at = target;
            }
            _ => return Err(NameFault::LabelType),
        }
    }
}

/// Skips the name at the start of `data`; `None` when it runs over the end or has an unknown label type.
#[inline]
pub fn skip_name(data: &[u8]) -> Option<&[u8]> {
    let mut rest = data;
    loop {
        match *rest.first()? {
            // Which of the two it is cannot be predicted; that it is one of them can.
            last @ (0 | 0xc0..) => return rest.get(1 + usize::from(last > 0)..),
            len @ 1..=63 => rest = rest.get(1 + usize::from(len)..)?,
            _ => return None,
        }
    }
}

/// Appends a name, given in wire form, in presentation form: ASCII letters, digits, `-` and `_` plain, `\.` and `\\`
/// for a dot or backslash inside a label, every other byte as `\DDD` (RFC 1035 section 5.1). There is no trailing dot,
/// and the root is `.`. The form is reversible, and nothing in it can control a terminal.
pub fn write_name(wire: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if write_plain_name(wire, out).is_none() {
        out.truncate(start);
        write_any_name(wire, out);
    }
}

/// Appends a name label by label.
fn write_any_name(wire: &[u8], out: &mut Vec<u8>) {
    let mut rest = wire;
    let mut first = true;
    while let Some((len, after)) = rest.split_first() {
        let len = (*len as usize).min(after.len());
        if len == 0 {
            break;
        }
        if !first {
            out.push(b'.');
        }
        first = false;
        let (label, next) = after.split_at(len);
        write_escaped_label(label, out);
        rest = next;
    }
    if first {
        out.push(b'.');
    }
}

/// Appends a name in which nothing is escaped, as most: its labels as they are, and dots in place of the lengths.
/// `None` where the name is not such a one; what was appended is then to be discarded.
#[inline]
fn write_plain_name(wire: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (first, rest) = wire.split_first()?;
    let labels = rest.strip_suffix(b"\0")?;
    let start = out.len();
    out.extend_from_slice(labels);
    let text = &mut out[start..];
    let lengths = || {
        let mut at = usize::from(*first);
        std::iter::from_fn(move || {
            let place = at;
            at += usize::from(*labels.get(place)?) + 1;
            Some(place)
        })
    };
    // A length byte may look like a letter, and a dot in a label must be escaped. (No length is 0, which would end the
    // name.)
    let (mut end, mut shortest) = (usize::from(*first), *first);
    for place in lengths() {
        (end, shortest) = (place + 1 + usize::from(labels[place]), shortest.min(labels[place]));
        text[place] = b'x';
    }
    if end != labels.len() || shortest == 0 || !is_plain(text) {
        return None;
    }
    lengths().for_each(|place| text[place] = b'.');
    Some(())
}

/// True when all bytes are printed as they are. In names of ordinary length several bytes are checked at once.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let all_of = |part: &[u8; 16]| part.iter().fold(true, |all, byte| all & plain(*byte));
    match text.last_chunk() {
        // The last bytes may be checked twice.
        Some(last) => all_of(last) && text.as_chunks().0.iter().all(all_of),
        None => text.iter().all(|byte| PLAIN[usize::from(*byte)]),
    }
}

/// Appends the bytes of one label, or of any text from the wire, escaped as in [`write_name`].
pub fn write_escaped_label(label: &[u8], out: &mut Vec<u8>) {
    if label.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return out.extend_from_slice(label);
    }
    for byte in label {
        match byte {
            plain if PLAIN[usize::from(*plain)] => out.push(*plain),
            b'.' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            _ => write_decimal_escape(*byte, out),
        }
    }
}

/// True when a byte of a label is printed as it is: ASCII letters, digits, `-` and `_`.
#[allow(clippy::needless_bitwise_bool)] // without branches, several bytes are looked at at once
#[inline]
const fn plain(byte: u8) -> bool {
    byte.is_ascii_digit() | (byte | 0x20).is_ascii_lowercase() | (byte == b'-') | (byte == b'_')
}

/// The same as a table.
static PLAIN: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = plain(byte as u8);
        byte += 1;
    }
    all
};

/// Appends text from the wire (EDE extra text, NSID, key data): printable ASCII plain, but a backslash doubled and
/// every other byte as `\DDD`.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(*byte),
            _ => write_decimal_escape(*byte, out),
        }
    }
}

fn write_decimal_escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(wire: &[u8]) -> String {
        let mut out = Vec::new();
        write_name(wire, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn names_are_printed_alike_whole_and_label_by_label(
            labels in proptest::collection::vec(
                prop_oneof![
                    8 => "[a-zA-Z0-9_-]{1,12}".prop_map(String::into_bytes),
                    // Lengths that look like a hyphen or digits.
                    2 => "[a-z]{45,57}".prop_map(String::into_bytes),
                    1 => proptest::collection::vec(any::<u8>(), 0..4),
                ],
                0..6,
            ),
            cut in 0usize..4,
        ) {
            let mut wire: Vec<u8> = labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
            wire.push(0);
            wire.truncate(wire.len() - cut.saturating_sub(2).min(wire.len()));
            let mut by_label = b"before".to_vec();
            write_any_name(&wire, &mut by_label);
            let mut whole = b"before".to_vec();
            write_name(&wire, &mut whole);
            prop_assert_eq!(whole, by_label);
        }
    }

    #[test]
    fn prints_names_reversibly() {
        assert_eq!(printed(b"\0"), ".");
        assert_eq!(printed(b"\x03www\x07example\x03com\0"), "www.example.com");
        assert_eq!(printed(b"\x03a.b\x04c\\d\x1b\x00"), r"a\.b.c\\d\027");
        assert_eq!(printed(b"\x04\xff ,\"\0"), r"\255\032\044\034");
    }

    #[test]
    fn reads_what_the_standard_allows_and_names_what_it_does_not() {
        let message = b"\x03com\0\x07example\xc0\x00\xc0\x05";
        let (name, end) = read_name(message, 15).unwrap();
        assert_eq!((printed(name.as_bytes()).as_str(), end), ("example.com", 17));
        let fault = |bytes: &[u8], at| read_name(bytes, at).unwrap_err();
        assert_eq!(fault(b"\xc0\x00", 0), NameFault::PointerLoop);
        assert_eq!(fault(b"\xc0\x02\xc0\x00", 0), NameFault::PointerForward);
        assert_eq!(fault(b"\x01a\xc0\x00", 0), NameFault::PointerLoop);
        assert_eq!(fault(b"\x41a\0", 0), NameFault::LabelType);
        assert_eq!(fault(b"\x81a\0", 0), NameFault::LabelType);
        assert_eq!(fault(b"\x3fabc", 0), NameFault::PastEnd);
        assert_eq!(fault(b"\xc0", 0), NameFault::PastEnd);
    }

    #[test]
    fn accepts_255_bytes_and_refuses_256() {
        let of_len = |last: usize| {
            let mut wire = Vec::new();
            for len in [63, 63, 63, last] {
                wire.push(len as u8);
                wire.extend(std::iter::repeat_n(b'a', len));
            }
            wire.push(0);
            wire
        };
        assert_eq!(read_name(&of_len(61), 0).unwrap().0.as_bytes().len(), 255);
        assert_eq!(plain_len(&of_len(61)), Some(255));
        assert_eq!(read_name(&of_len(62), 0).unwrap_err(), NameFault::TooLong);
        assert_eq!(plain_len(&of_len(62)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end_within_bounds_and_every_name_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..600) {
            if let Ok((name, end)) = read_name(&bytes, at) {
                prop_assert!(end <= bytes.len());
                let text = printed(name.as_bytes());
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert_eq!(unprinted(&text), name.as_bytes());
            }
        }
    }

    /// The inverse of [`write_name`], written from its description only.
    fn unprinted(text: &str) -> Vec<u8> {
        if text == "." {
            return vec![0];
        }
        let mut labels = vec![Vec::new()];
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => labels.push(Vec::new()),
                b'\\' => {
                    let next = bytes.next().unwrap();
                    let value = if next.is_ascii_digit() {
                        let digits = [next, bytes.next().unwrap(), bytes.next().unwrap()];
                        std::str::from_utf8(&digits).unwrap().parse().unwrap()
                    } else {
                        next
                    };
                    labels.last_mut().unwrap().push(value);
                }
                _ => labels.last_mut().unwrap().push(byte),
            }
        }
        let mut wire = Vec::new();
        for label in labels {
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        wire
    }
}
