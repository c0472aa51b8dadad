//! Converts domain names from text to the lower-case wire form by which configurations are searched.

use crate::decode::name::MAX_NAME;
use hickory_proto::rr::RecordType;
use std::str::FromStr;

/// Parses a name into lower-case wire form; `None` when it is not valid. A final dot is optional.
pub fn parse_name(text: &str) -> Option<Vec<u8>> {
    if text == "." {
        return Some(vec![0]);
    }
    let mut wire = vec![0];
    let mut length_at = 0;
    let mut bytes = text.bytes();
    let mut open = false;
    while let Some(byte) = bytes.next() {
        let value = match byte {
            b'.' => {
                if !open {
                    return None;
                }
                length_at = wire.len();
                wire.push(0);
                open = false;
                continue;
            }
            b'\\' => {
                let first = bytes.next()?;
                if first.is_ascii_digit() {
                    let (second, third) = (bytes.next()?, bytes.next()?);
                    if !second.is_ascii_digit() || !third.is_ascii_digit() {
                        return None;
                    }
                    let digits =
                        [first, second, third].iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
                    u8::try_from(digits).ok()?
                } else {
                    first
                }
            }
            byte => byte,
        };
        open = true;
        wire.push(value.to_ascii_lowercase());
        let length = wire.len() - length_at - 1;
        if length > 63 {
            return None;
        }
        wire[length_at] = length as u8;
    }
    if text.is_empty() {
        return None;
    }
    if open {
        wire.push(0);
    }
    (wire.len() <= MAX_NAME).then_some(wire)
}

/// The name itself and every name above it, down to the root.
pub fn and_above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name).filter(|name| !name.is_empty());
    std::iter::from_fn(move || {
        let current = rest?;
        let length = usize::from(current[0]);
        rest = if length == 0 { None } else { current.get(length + 1..).filter(|above| !above.is_empty()) };
        Some(current)
    })
}

/// The name above; `None` for the root.
pub fn above(name: &[u8]) -> Option<&[u8]> {
    and_above(name).nth(1)
}

/// A name as text.
pub fn show_name(name: &[u8]) -> String {
    let mut out = Vec::new();
    crate::decode::name::write_name(name, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The number of a record type; `None` for an unknown name.
pub fn parse_type(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    if let Some(number) = upper.strip_prefix("TYPE").and_then(|number| number.parse().ok()) {
        return Some(number);
    }
    // Not every type of question is a type of record.
    if let Some((_, number)) =
        [("IXFR", 251), ("MAILB", 253), ("MAILA", 254), ("TKEY", 249)].iter().find(|(name, _)| *name == upper)
    {
        return Some(*number);
    }
    RecordType::from_str(&upper).ok().map(u16::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        assert_eq!(parse_name("Www.Example.COM").unwrap(), b"\x03www\x07example\x03com\0");
        assert_eq!(parse_name("com.").unwrap(), b"\x03com\0");
        assert_eq!(parse_name(".").unwrap(), b"\0");
        assert_eq!(parse_name("a\\.b\\065.").unwrap(), b"\x04a.ba\0");
        for bad in ["", "a..b", ".a", "a\\", "a\\25", "a\\999", &"a".repeat(64), &"abc.".repeat(70)] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
        let name = parse_name("a.b.c").unwrap();
        let all: Vec<String> = and_above(&name).map(show_name).collect();
        assert_eq!(all, ["a.b.c", "b.c", "c", "."]);
        assert_eq!(above(b"\0"), None);
        assert_eq!((parse_type("aaaa"), parse_type("TYPE65280"), parse_type("nope")), (Some(28), Some(65280), None));
        assert_eq!((parse_type("AXFR"), parse_type("ANY"), parse_type("IXFR")), (Some(252), Some(255), Some(251)));
    }
}
