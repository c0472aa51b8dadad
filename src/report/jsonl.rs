//! Writes rows as JSON lines: one object per transaction, absent values null.

use super::row::{COLUMNS, ColumnKind, RowText};
use std::sync::LazyLock;

/// JSON lines have no header.
pub fn header(_: &mut Vec<u8>) {}

/// A row without values, as a template: names of columns, and null values. Most of it is the same in every row.
struct Blank {
    line: Vec<u8>,
    /// Where in the template the value of each column stands.
    places: [usize; COLUMNS.len()],
}

/// An absent value.
const ABSENT: &[u8] = b"null";

static BLANK: LazyLock<Blank> = LazyLock::new(|| {
    let (mut line, mut places) = (Vec::new(), [0; COLUMNS.len()]);
    for ((name, _), place) in COLUMNS.iter().zip(&mut places) {
        line.extend_from_slice(if line.is_empty() { b"{\"" } else { b",\"" });
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":");
        *place = line.len();
        line.extend_from_slice(ABSENT);
    }
    line.extend_from_slice(b"}\n");
    Blank { line, places }
});

/// Appends a row as one object on a line.
pub fn row(row: &RowText, out: &mut Vec<u8>) {
    let Blank { line, places } = &*BLANK;
    let mut written = 0;
    for (index, ((_, kind), place)) in COLUMNS.iter().zip(places).enumerate() {
        let text = row.column(index);
        if text.is_empty() {
            continue;
        }
        out.extend_from_slice(&line[written..*place]);
        written = place + ABSENT.len();
        match kind {
            ColumnKind::Number if is_number(text) => out.extend_from_slice(text),
            ColumnKind::Text | ColumnKind::Number if !is_plain(text) => string(text, out),
            _ => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
        }
    }
    out.extend_from_slice(&line[written..]);
}

/// True for text that needs no escaping in a JSON string, as most.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
}

/// Appends a JSON string.
fn string(text: &[u8], out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let written = serde_json::to_writer(out, &String::from_utf8_lossy(text));
    debug_assert!(written.is_ok());
}

/// True for decimal numbers as this program writes them, which are valid JSON numbers.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    match &text[whole..] {
        [] => true,
        [b'.', fraction @ ..] => !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_column_is_a_key_in_order() {
        let mut out = Vec::new();
        row(&RowText::default(), &mut out);
        let keys: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"{name}\":null")).collect();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{{}}}\n", keys.join(",")));
    }

    #[test]
    fn numbers_are_bare_and_text_is_text() {
        let mut sample = RowText::default();
        sample.clear();
        for (name, _) in COLUMNS {
            sample.push(|out| {
                out.extend_from_slice(match name {
                    "time" => b"2025-12-31T09:04:10.000001Z",
                    "rtt_us" => b"-12.5",
                    "id" => b"59821",
                    "query_frame" => b"007",
                    "client" => b"10.21.5.18",
                    "qname" => b"a\\.b\\034\"\n.test",
                    _ => b"",
                });
            });
        }
        let mut out = Vec::new();
        row(&sample, &mut out);
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1), "one line");
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["rtt_us"], -12.5);
        assert_eq!(value["id"], 59821);
        assert_eq!(value["query_frame"], "007", "what is no JSON number stays text");
        assert_eq!(value["qname"], "a\\.b\\034\"\n.test");
        assert_eq!(value["server"], Value::Null);
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (text, number) in [
            ("0", true),
            ("10", true),
            ("1.50", true),
            ("-3", true),
            ("01", false),
            ("1.", false),
            (".5", false),
            ("-", false),
            ("1e3", false),
        ] {
            assert_eq!(is_number(text.as_bytes()), number, "{text}");
            assert!(!number || serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the texts are, the library reads them as they were, bytes that are no UTF-8 replaced.
        #[test]
        fn a_row_is_an_object_of_its_columns(
            texts in proptest::collection::vec(proptest::collection::vec(0x1eu8..0x82, 0..4), COLUMNS.len()),
            absent in proptest::collection::vec(proptest::bool::ANY, COLUMNS.len()),
        ) {
            let mut sample = RowText::default();
            sample.clear();
            for (((_, kind), text), absent) in COLUMNS.iter().zip(&texts).zip(absent) {
                sample.push(|out| match kind {
                    _ if absent => {}
                    ColumnKind::Word => out.extend(text.iter().map(|byte| b'a' + byte % 26)),
                    ColumnKind::Text | ColumnKind::Number => out.extend_from_slice(text),
                });
            }
            let mut out = Vec::new();
            row(&sample, &mut out);
            let value: Value = serde_json::from_slice(&out).unwrap();
            for (index, (name, _)) in COLUMNS.iter().enumerate() {
                let text = String::from_utf8_lossy(sample.column(index));
                let expected = match &value[name] {
                    Value::Number(number) => number.to_string() == text,
                    Value::Null => text.is_empty(),
                    other => *other == *text,
                };
                proptest::prop_assert!(expected, "{name}: {text:?} is {}", value[name]);
            }
        }
    }
}
