//! Parses inventories, in CSV or one prefix per line, into the rows of an [`Inventory`]; errors name file and line.

use super::{Expect, Inventory, Kind, Row, read_prefix, show_prefix, unmapped};
use crate::config::{INVENTORY_BYTES, INVENTORY_LINES};
use crate::error::{Error, ErrorKind, escape_text};
use crate::expect::open;
use crate::expect::ranges::Ranges;
use ipnet::IpNet;
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// Reads the whole text of a file, without byte order mark.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let name = path.to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    let size = open(path)
        .and_then(|file| file.take(INVENTORY_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(&name, format!("the inventory cannot be read: {error}")))?;
    if size as u64 > INVENTORY_BYTES {
        return Err(wrong(&name, format!("the inventory is larger than {} MiB", INVENTORY_BYTES >> 20)));
    }
    if crate::capture::open::is_capture(&bytes) {
        return Err(wrong(&name, "this is a capture, not an inventory: captures are named without an option"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(wrong(&name, "the inventory is UTF-16; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    // Only names may hold non-ASCII characters, and they decide nothing: an unknown encoding is no reason to stop.
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// What is wrong with an inventory, and where.
fn wrong(place: impl Into<String>, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, "E-EXPECT", place, detail)
}

/// Inventories while they are being read.
#[derive(Debug, Default)]
pub(super) struct Files {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Files {
    /// Adds the lines of one file.
    pub(super) fn add(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let before = self.rows.len();
        // The CSV reader accepts every kind of line end; lines are counted as editors do.
        let text = &text.replace("\r\n", "\n").replace('\r', "\n");
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        if first.is_some_and(names_prefix) {
            self.add_csv(file, text)?;
        } else {
            self.add_plain(file, text)?;
        }
        if self.rows.len() == before {
            return Err(wrong(file, "the inventory holds no prefix; with it every source would be unlisted"));
        }
        Ok(())
    }

    /// Adds a line.
    fn push(&mut self, row: Row) -> Result<(), Error> {
        if self.rows.len() >= INVENTORY_LINES {
            let place = format!("{}:{}", row.file, row.line);
            return Err(wrong(place, format!("more than {INVENTORY_LINES} prefixes; nothing was read")));
        }
        self.rows.push(row);
        Ok(())
    }

    /// Adds the rows of CSV with a header.
    fn add_csv(&mut self, file: &str, text: &str) -> Result<(), Error> {
        if let Some(line) = unclosed(text) {
            let detail = "a cell begins with a quotation mark here that is not closed at the end of a cell; inside the \
                          cell, quotation marks are doubled";
            return Err(wrong(format!("{file}:{line}"), detail));
        }
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        let mut columns: Option<Vec<Column>> = None;
        loop {
            let line = line_after(text, reader.position());
            let at = || format!("{file}:{line}");
            if !reader.read_record(&mut record).map_err(|error| wrong(at(), error.to_string()))? {
                return Ok(());
            }
            if record.iter().all(str::is_empty) || record.get(0).is_some_and(|cell| cell.starts_with('#')) {
                continue;
            }
            match &columns {
                None => columns = Some(header(&record).map_err(|detail| wrong(at(), detail))?),
                Some(columns) => {
                    let row = self.csv_row(columns, &record, file, line).map_err(|detail| wrong(at(), detail))?;
                    self.push(row)?;
                }
            }
        }
    }

    /// A line about this prefix, with the defaults of everything else.
    fn next(&self, prefix: IpNet, file: &str, line: u64) -> Row {
        Row {
            index: self.rows.len(),
            prefix,
            name: String::new(),
            kind: Kind::Client,
            expect: Expect::Allow,
            outside: Vec::new(),
            file: file.to_owned(),
            line,
        }
    }

    /// One record of CSV as a row.
    fn csv_row(
        &mut self,
        columns: &[Column],
        record: &csv::StringRecord,
        file: &str,
        line: u64,
    ) -> Result<Row, String> {
        if record.iter().skip(columns.len()).any(|cell| !cell.is_empty()) {
            return Err(format!("{} cells, but the header names only {} columns", record.len(), columns.len()));
        }
        // Cells may be left out at the end. Every other column would reject a misplaced value; a name would not, and
        // `10.0.0.0/8,refuse` would silently reverse the expectation.
        let name = columns.iter().position(|column| *column == Column::Name).and_then(|index| record.get(index));
        if let Some(word) = name.filter(|name| record.len() < columns.len() && is_a_value(name)) {
            return Err(format!(
                "{} cells for {} columns, and the name would be {word:?}; leave cells empty rather than out",
                record.len(),
                columns.len()
            ));
        }
        let mut prefix = None;
        let mut row = self.next(IpNet::default(), file, line);
        for (column, cell) in columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty()) {
            match column {
                Column::Prefix => prefix = Some(self.prefix(cell, file, line)?),
                Column::Name => {
                    if let Some(swallowed) = cell.lines().skip(1).find(|line| begins_with_prefix(line)) {
                        return Err(format!(
                            "the name goes on to the line {swallowed:?}, which looks like one of its own; close the \
                             quotation mark before it"
                        ));
                    }
                    cell.clone_into(&mut row.name);
                }
                Column::Kind => row.kind = choose("kind", &Kind::ALL, cell)?,
                Column::Expect => row.expect = choose("expect", &Expect::ALL, cell)?,
                Column::Outside => {
                    for part in cell.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                        row.outside.push(self.prefix(part, file, line)?);
                    }
                }
            }
        }
        row.prefix = prefix.ok_or("the prefix is empty")?;
        Ok(row)
    }

    /// Adds one prefix per line.
    fn add_plain(&mut self, file: &str, text: &str) -> Result<(), Error> {
        for (index, content) in text.lines().enumerate() {
            let line = index as u64 + 1;
            let content = content.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let prefix = self.prefix(content, file, line).map_err(|detail| {
                let hint = if content.contains([',', ';', '\t']) {
                    "; a file with more than prefixes needs a first line that names its columns, separated by commas, \
                     such as prefix,name,kind,expect,outside"
                } else {
                    ""
                };
                wrong(format!("{file}:{line}"), detail + hint)
            })?;
            let row = self.next(prefix, file, line);
            self.push(row)?;
        }
        Ok(())
    }

    /// An address or prefix; host bits are dropped, with a note.
    fn prefix(&mut self, text: &str, file: &str, line: u64) -> Result<IpNet, String> {
        let prefix = read_prefix(text).ok_or_else(|| {
            format!("{text:?} is not an IPv4 or IPv6 address or prefix such as 10.21.0.0/16 or 2001:db8::/32")
        })?;
        let network = unmapped(prefix).trunc();
        if network != prefix {
            let what =
                if network.addr().is_ipv4() == prefix.addr().is_ipv4() { "has host bits set" } else { "is IPv4" };
            self.notes.push(escape_text(&format!("{file}:{line}: {prefix} {what} and is read as {network}")));
        }
        Ok(network)
    }

    /// Checks that no two lines contradict each other, and builds the tables.
    pub(super) fn finish(self) -> Result<Inventory, Error> {
        let number = |index: usize| index as u32;
        let own: Vec<(IpNet, u32)> =
            self.rows.iter().enumerate().map(|(index, row)| (row.prefix, number(index))).collect();
        let outside = self
            .rows
            .iter()
            .enumerate()
            .flat_map(|(index, row)| row.outside.iter().map(move |prefix| (*prefix, number(index))));
        // A line about a prefix has precedence over lines that only expect others to arrive from it.
        let listed: Vec<(IpNet, u32)> = own.iter().copied().chain(outside).collect();
        let mut first: HashMap<IpNet, u32> = HashMap::new();
        let mut contradiction: Option<(u32, u32, IpNet)> = None;
        for (prefix, index) in &listed {
            let earlier = *first.entry(*prefix).or_insert(*index);
            if self.rows[earlier as usize].expect != self.rows[*index as usize].expect {
                let pair = (earlier.max(*index), earlier.min(*index), *prefix);
                contradiction = Some(contradiction.map_or(pair, |found| found.min(pair)));
            }
        }
        if let Some((later, earlier, prefix)) = contradiction {
            let (later, earlier) = (&self.rows[later as usize], &self.rows[earlier as usize]);
            return Err(wrong(
                format!("{}:{}", later.file, later.line),
                format!(
                    "{} is expected to be {} here and {} at {}:{}",
                    show_prefix(prefix),
                    past(later.expect),
                    past(earlier.expect),
                    earlier.file,
                    earlier.line
                ),
            ));
        }
        let (own, listed) = (Ranges::new(&own), Ranges::new(&listed));
        let expects = self.rows.iter().map(|row| row.expect).collect();
        Ok(Inventory { rows: self.rows, notes: self.notes, listed, expects, own })
    }
}

/// What an expectation means for a query.
fn past(expect: Expect) -> &'static str {
    match expect {
        Expect::Allow => "allowed",
        Expect::Refuse => "refused",
    }
}

/// The columns of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Prefix,
    Name,
    Kind,
    Expect,
    Outside,
}

/// Every column with its name in the header.
const COLUMNS: [(&str, Column); 5] = [
    ("prefix", Column::Prefix),
    ("name", Column::Name),
    ("kind", Column::Kind),
    ("expect", Column::Expect),
    ("outside", Column::Outside),
];

/// True when a line is a header that names the column `prefix`.
fn names_prefix(line: &str) -> bool {
    line.split(',').any(|cell| cell.trim().trim_matches('"').trim().eq_ignore_ascii_case("prefix"))
}

/// The columns a header names, each at most once.
fn header(record: &csv::StringRecord) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(record.len());
    // Spreadsheets write as many commas as their widest line once had cells.
    let cells =
        record.len() - record.iter().collect::<Vec<_>>().iter().rev().take_while(|cell| cell.is_empty()).count();
    for cell in record.iter().take(cells) {
        let column = choose("column", &COLUMNS, cell)?;
        if columns.contains(&column) {
            return Err(format!("the column {cell:?} is named twice"));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// Looks a name up in a table, ignoring case; `what` is the word for such names in errors.
fn choose<T: Copy>(what: &str, table: &[(&'static str, T)], text: &str) -> Result<T, String> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        format!("unknown {what} {text:?}; one of {}", names.join(", "))
    })
}

/// True for words that have a meaning in another column.
fn is_a_value(text: &str) -> bool {
    choose("kind", &Kind::ALL, text).is_ok() || choose("expect", &Expect::ALL, text).is_ok()
}

/// True for a line whose first cell is an address or prefix.
fn begins_with_prefix(line: &str) -> bool {
    let cell = line.split(',').next().unwrap_or_default().trim().trim_matches('"');
    cell.parse::<IpNet>().is_ok() || cell.parse::<IpAddr>().is_ok()
}

/// The line of the first quotation mark at the start of a cell that no mark at the end of a cell closes: everything up
/// to the next mark, or to the end, would be read as one cell.
fn unclosed(text: &str) -> Option<u64> {
    let (mut line, mut opened) = (1, None);
    // Marks inside comments, or before the first cell of a line, are recognised by what comes before them.
    let (mut before, mut at) = ('\n', 0);
    while let Some(this) = text[at..].chars().next() {
        let rest = &text[at + this.len_utf8()..];
        match (this, opened) {
            ('#', None) if before == '\n' => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            ('"', None) if matches!(before, '\n' | ',') => opened = Some(line),
            ('"', Some(_)) if rest.starts_with('"') => at += 1,
            ('"', Some(at_line)) => {
                let next = rest.trim_start_matches([' ', '\t']);
                if !next.is_empty() && !next.starts_with([',', '\n']) {
                    return Some(at_line);
                }
                opened = None;
            }
            ('\n', _) => line += 1,
            _ => {}
        }
        before = this;
        at += this.len_utf8();
    }
    opened
}

/// The line of the next record: the reader's position is before any comments and empty lines in front of it.
fn line_after(text: &str, position: &csv::Position) -> u64 {
    let rest = text.get(position.byte() as usize..).unwrap_or_default();
    let skipped = rest
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('#') || line.trim_end_matches(['\r', '\n']).is_empty())
        .count();
    position.line() + skipped as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventories_have_no_more_lines_than_can_be_told_of() {
        let addresses = (0..INVENTORY_LINES as u32).map(|n| std::net::Ipv4Addr::from(n).to_string());
        let text = addresses.collect::<Vec<_>>().join("\n");
        let mut files = Files::default();
        files.add("many", &text).unwrap();
        let error = files.add("one", "# and\n192.0.2.1\n").unwrap_err();
        assert_eq!((error.object.as_str(), error.exit_code()), ("one:2", 2));
        assert!(error.detail.contains("more than 1048576 prefixes"), "{}", error.detail);
    }
}
