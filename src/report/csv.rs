//! Rows to CSV (RFC 4180): one line per transaction, safe to open in a spreadsheet.

use super::row::{COLUMNS, ColumnKind, RowText};

/// Appends the header line.
pub fn header(out: &mut Vec<u8>) {
    record(COLUMNS.iter().map(|(name, _)| name.as_bytes()), out);
}

/// Appends a row.
pub fn row(row: &RowText, out: &mut Vec<u8>) {
    let needs_guard = |index: usize| needs_guard(index, row.column(index));
    // Most rows need neither quotes nor guards, and a writer per record costs more than the record.
    let plain = !row.text().iter().fold(false, |found, byte| found | is_quoted(*byte));
    if plain && !(0..COLUMNS.len()).any(needs_guard) {
        for index in 0..COLUMNS.len() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(row.column(index));
        }
        return out.push(b'\n');
    }
    let guarded = (0..COLUMNS.len()).map(|index| {
        let guard: &[u8] = if needs_guard(index) { b"'" } else { b"" };
        [guard, row.column(index)].concat()
    });
    record(guarded, out);
}

/// True for bytes that make a cell need quotes.
#[inline]
fn is_quoted(byte: u8) -> bool {
    matches!(byte, b',' | b'"' | b'\r' | b'\n')
}

/// Appends one record, quoted where necessary.
fn record<C: AsRef<[u8]>>(cells: impl Iterator<Item = C>, out: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(&mut *out);
    // Writing to memory cannot fail, and one record cannot have a different number of cells than the others.
    let written = writer.write_record(cells).and_then(|()| Ok(writer.flush()?));
    debug_assert!(written.is_ok());
}

/// True when a spreadsheet would take the cell for a formula; numbers are our own and stay numbers.
fn needs_guard(index: usize, cell: &[u8]) -> bool {
    COLUMNS[index].1 == ColumnKind::Text && starts_like_a_formula(cell)
}

/// True when a cell starts, also after blanks, with a character that makes spreadsheets evaluate it.
fn starts_like_a_formula(cell: &[u8]) -> bool {
    let mut rest = cell;
    loop {
        rest = match rest {
            [b' ', after @ ..] | [0xc2, 0xa0, after @ ..] => after,
            [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..] => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that is empty except for the columns given.
    pub fn sample(values: &[(&str, &str)]) -> RowText {
        let mut row = RowText::default();
        for (name, _) in COLUMNS {
            let value = values.iter().find(|(column, _)| *column == name).map_or("", |(_, value)| *value);
            row.push(|out| out.extend_from_slice(value.as_bytes()));
        }
        row
    }

    /// The line of a row.
    fn line(values: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        row(&sample(values), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_header_names_the_columns_of_the_contract() {
        let mut out = Vec::new();
        header(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "time,response_time,rtt_us,leg,outcome,rcode,transport,client,client_port,server,server_port,id,opcode,\
             qname,qtype,qclass,question,flags,ede,ede_text,ecs,identity,tsig_key,vlan,interface,expected,\
             expected_rule,verdict,rule,mechanism,input,query_frame,response_frame\n"
        );
    }

    #[test]
    fn quotes_commas_and_line_ends_stay_in_their_cell() {
        let line = line(&[("time", "a,b"), ("leg", "say \"x\""), ("input", "two\r\nlines"), ("response_frame", "7")]);
        assert_eq!(
            line,
            format!("\"a,b\",,,\"say \"\"x\"\"\"{},\"two\r\nlines\",,7\n", ",".repeat(26)),
            "33 columns, 32 commas between them"
        );
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!((record.len(), &record[0], &record[3]), (33, "a,b", "say \"x\""));
    }

    #[test]
    fn formulas_are_disarmed() {
        for (cell, written) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-2.test", "'-2.test"),
            ("@SUM", "'@SUM"),
            ("  =1", "'  =1"),
            ("\u{a0}=1", "'\u{a0}=1"),
            ("\tx", "'\tx"),
            ("\\061cmd.test", "\\061cmd.test"),
            ("a=1", "a=1"),
            ("   ", "   "),
            ("", ""),
        ] {
            assert!(line(&[("qname", cell)]).contains(&format!(",,{written},,")), "{cell:?}");
        }
        assert!(line(&[("input", "\r=")]).contains(",\"'\r=\","), "guarded inside the quotes");
        assert!(line(&[("rtt_us", "-0.5")]).starts_with(",,-0.5,"), "a number is no formula");
    }

    #[test]
    fn long_cells_are_written_whole() {
        let long = "x".repeat(5000);
        assert!(line(&[("ede_text", &long)]).contains(&long));
    }
}
