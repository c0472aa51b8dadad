//! Parses output text strictly back into values: RFC 4180 cells and escaped names.

/// Columns of csv and jsonl in order.
pub const COLUMNS: [&str; 33] = [
    "time",
    "response_time",
    "rtt_us",
    "leg",
    "outcome",
    "rcode",
    "transport",
    "client",
    "client_port",
    "server",
    "server_port",
    "id",
    "opcode",
    "qname",
    "qtype",
    "qclass",
    "question",
    "flags",
    "ede",
    "ede_text",
    "ecs",
    "identity",
    "tsig_key",
    "vlan",
    "interface",
    "expected",
    "expected_rule",
    "verdict",
    "rule",
    "mechanism",
    "input",
    "query_frame",
    "response_frame",
];

/// What makes a spreadsheet take a cell for a formula.
pub const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The cells of RFC 4180 text, strictly: quotes only around whole cells, doubled inside, every record the same length;
/// records end in CR LF or LF.
pub fn csv_records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (cell, after) = csv_cell(rest)?;
        record.push(cell);
        if let Some(next) = after.strip_prefix(',') {
            rest = next;
            if rest.is_empty() {
                return Err("the text ends behind a comma".into());
            }
            continue;
        }
        rest = after
            .strip_prefix("\r\n")
            .or_else(|| after.strip_prefix('\n'))
            .ok_or_else(|| format!("a cell is followed by {:?}", after.chars().next()))?;
        records.push(std::mem::take(&mut record));
    }
    let uneven = records.iter().position(|record| record.len() != records[0].len());
    uneven.map_or(Ok(()), |at| Err(format!("record {} has {} cells", at + 1, records[at].len())))?;
    Ok(records)
}

/// The first cell and what follows it.
fn csv_cell(text: &str) -> Result<(String, &str), String> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n', '\r']).unwrap_or(text.len());
        let cell = &text[..end];
        return if cell.contains('"') {
            Err(format!("a bare quote in {cell:?}"))
        } else {
            Ok((cell.into(), &text[end..]))
        };
    };
    let mut cell = String::new();
    loop {
        let end = rest.find('"').ok_or("a quoted cell does not end")?;
        cell.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => return Ok((cell, rest)),
        }
    }
}

/// A cell without the apostrophe that keeps a spreadsheet from running it.
pub fn without_guard(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA_STARTS)).unwrap_or(cell)
}

/// The labels of a printed name; nothing when it is not written as every name must be.
pub fn labels_of(printed: &str) -> Option<Vec<Vec<u8>>> {
    if printed == "." {
        return Some(Vec::new());
    }
    let mut labels = vec![Vec::new()];
    let mut rest = printed.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match first {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => match *rest {
                [byte @ (b'.' | b'\\'), ..] => {
                    rest = &rest[1..];
                    byte
                }
                [a, b, c, ..] if [a, b, c].iter().all(u8::is_ascii_digit) => {
                    rest = &rest[3..];
                    let value = u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0');
                    u8::try_from(value).ok()?
                }
                _ => return None,
            },
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') => *byte,
            _ => return None,
        };
        labels.last_mut()?.push(byte);
    }
    labels.iter().all(|label| !label.is_empty()).then_some(labels)
}

#[test]
fn csv_is_read_strictly() {
    assert_eq!(csv_records("a,\"b\"\"\n\"\r\n"), Ok(vec![vec!["a".into(), "b\"\n".into()]]));
    for broken in ["a\"b\r\n", "\"a\"b\n", "\"a\r\n", "a,b\r\nc\r\n", "a,", "a\r"] {
        assert!(csv_records(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn names_are_read_strictly() {
    assert_eq!(labels_of("a\\.b.\\027c"), Some(vec![b"a.b".to_vec(), b"\x1bc".to_vec()]));
    for broken in ["a b", "a\\", "a\\12", "a\\256", "a..b", "a.", "\u{e4}", "*"] {
        assert_eq!(labels_of(broken), None, "{broken:?}");
    }
}
