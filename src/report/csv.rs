//! Writes rows as CSV (RFC 4180): one line per transaction, safe to open in a spreadsheet.

use super::row::{COLUMNS, ColumnKind, RowText};

/// Appends the header line.
pub fn header(out: &mut Vec<u8>) {
    record(COLUMNS.iter().map(|(name, _)| name.as_bytes()), out);
}

/// The columns of text.
const TEXTS: [usize; 8] = {
    let (mut texts, mut count, mut index) = ([0; 8], 0, 0);
    while index < COLUMNS.len() {
        if matches!(COLUMNS[index].1, ColumnKind::Text) {
            texts[count] = index;
            count += 1;
        }
        index += 1;
    }
    assert!(count == texts.len());
    texts
};

/// Appends a row.
pub fn row(row: &RowText, out: &mut Vec<u8>) {
    // Most texts need neither quotes nor a guard, and a writer per cell would cost more than the whole row.
    let mut written = 0;
    for index in TEXTS {
        let cell = row.column(index);
        if !needs_care(cell) {
            continue;
        }
        let place = row.place(index);
        out.extend_from_slice(&row.joined()[written..place.start]);
        written = place.end;
        let guard: &[u8] = if starts_like_a_formula(cell) { b"'" } else { b"" };
        if needs_quotes(cell) {
            record(std::iter::once([guard, cell].concat()), out);
            // Not the end of the line: the row goes on.
            out.pop();
        } else {
            out.extend_from_slice(guard);
            out.extend_from_slice(cell);
        }
    }
    out.extend_from_slice(&row.joined()[written..]);
    out.push(b'\n');
}

/// True when a text needs quotes, or could be taken for a formula.
fn needs_care(text: &[u8]) -> bool {
    needs_quotes(text) || starts_like_a_formula(text)
}

/// True when a text needs quotes.
fn needs_quotes(text: &[u8]) -> bool {
    // Characters that need quotes are below the hyphen, where hardly any name or path has a byte.
    let lowest = text.iter().fold(u8::MAX, |lowest, byte| lowest.min(*byte));
    lowest < b'-' && text.iter().any(|byte| b",\"\r\n".contains(byte))
}

/// Appends one record, quoted where necessary.
fn record<C: AsRef<[u8]>>(cells: impl Iterator<Item = C>, out: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(&mut *out);
    // Writing to memory cannot fail, and a single record cannot have an unequal number of cells.
    let written = writer.write_record(cells).and_then(|()| Ok(writer.flush()?));
    debug_assert!(written.is_ok());
}

/// True when a cell starts, perhaps after blanks, with a character that makes spreadsheets evaluate it.
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
        row.clear();
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
        let line =
            line(&[("qname", "a,b"), ("tsig_key", "say \"x\""), ("input", "two\r\nlines"), ("response_frame", "7")]);
        let [before, between, behind] = [13, 9, 8].map(|commas| ",".repeat(commas));
        assert_eq!(line, format!("{before}\"a,b\"{between}\"say \"\"x\"\"\"{behind}\"two\r\nlines\",,7\n"));
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!((record.len(), &record[13], &record[22]), (33, "a,b", "say \"x\""));
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

    proptest::proptest! {
        /// Whatever the texts are, a row is what the library makes of its cells.
        #[test]
        fn a_row_is_a_record_of_its_cells(texts in proptest::collection::vec("[-=@,\"\r\n a\u{a0}#']{0,4}", TEXTS.len())) {
            let mut values: Vec<(&str, &str)> = vec![("time", "2026"), ("id", "7")];
            values.extend(TEXTS.iter().zip(&texts).map(|(index, text)| (COLUMNS[*index].0, text.as_str())));
            let cells = COLUMNS.iter().map(|(name, _)| {
                let cell = values.iter().find(|(column, _)| column == name).map_or("", |(_, value)| *value);
                if starts_like_a_formula(cell.as_bytes()) { format!("'{cell}") } else { cell.to_owned() }
            });
            let mut whole = Vec::new();
            record(cells, &mut whole);
            proptest::prop_assert_eq!(line(&values).into_bytes(), whole);
        }
    }

    #[test]
    fn long_cells_are_written_whole() {
        let long = "x".repeat(5000);
        assert!(line(&[("ede_text", &long)]).contains(&long));
    }
}
