//! Rows to JSON lines: one object per transaction, absent values null.

use super::row::{COLUMNS, ColumnKind, RowText};

/// JSON lines have no header.
pub fn header(_: &mut Vec<u8>) {}

/// Appends a row as one object on a line.
pub fn row(row: &RowText, out: &mut Vec<u8>) {
    for (index, (name, kind)) in COLUMNS.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match (row.column(index), kind) {
            (b"", _) => out.extend_from_slice(b"null"),
            (number, ColumnKind::Number) if is_number(number) => out.extend_from_slice(number),
            (word, ColumnKind::Word) => {
                out.push(b'"');
                out.extend_from_slice(word);
                out.push(b'"');
            }
            (text, _) => string(text, out),
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a JSON string.
fn string(text: &[u8], out: &mut Vec<u8>) {
    // Writing a string to memory cannot fail.
    let written = serde_json::to_writer(out, &String::from_utf8_lossy(text));
    debug_assert!(written.is_ok());
}

/// True for decimal numbers as we write them, which are numbers of JSON too.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(whole) && (whole.len() == 1 || whole[0] != b'0') && parts.next().is_none_or(digits)
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
}
