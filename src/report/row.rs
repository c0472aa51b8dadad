//! One transaction as the columns of csv and jsonl ([`RowText`]); [`COLUMNS`] is the one list of them.

/// How jsonl writes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A string, null when empty.
    Text,
    /// A number as written, null when empty.
    Number,
}

/// Every column in order, with the kind of its values.
pub const COLUMNS: [(&str, ColumnKind); 33] = [
    ("time", ColumnKind::Text),
    ("response_time", ColumnKind::Text),
    ("rtt_us", ColumnKind::Number),
    ("leg", ColumnKind::Text),
    ("outcome", ColumnKind::Text),
    ("rcode", ColumnKind::Text),
    ("transport", ColumnKind::Text),
    ("client", ColumnKind::Text),
    ("client_port", ColumnKind::Number),
    ("server", ColumnKind::Text),
    ("server_port", ColumnKind::Number),
    ("id", ColumnKind::Number),
    ("opcode", ColumnKind::Text),
    ("qname", ColumnKind::Text),
    ("qtype", ColumnKind::Text),
    ("qclass", ColumnKind::Text),
    ("question", ColumnKind::Text),
    ("flags", ColumnKind::Text),
    ("ede", ColumnKind::Text),
    ("ede_text", ColumnKind::Text),
    ("ecs", ColumnKind::Text),
    ("identity", ColumnKind::Text),
    ("tsig_key", ColumnKind::Text),
    ("vlan", ColumnKind::Text),
    ("interface", ColumnKind::Text),
    ("expected", ColumnKind::Text),
    ("expected_rule", ColumnKind::Text),
    ("verdict", ColumnKind::Text),
    ("rule", ColumnKind::Text),
    ("mechanism", ColumnKind::Text),
    ("input", ColumnKind::Text),
    ("query_frame", ColumnKind::Number),
    ("response_frame", ColumnKind::Number),
];

/// A transaction's columns as text, in the order of [`COLUMNS`]; absent values are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowText {
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl RowText {
    /// Forgets every column, keeping the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Appends the next column; `write` adds its bytes (printable ASCII, or escaped text) to what is given.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len() as u32);
    }

    /// The bytes of a column; empty when absent.
    pub fn column(&self, index: usize) -> &[u8] {
        let end = self.ends.get(index).map_or(0, |end| *end as usize);
        let start = if index == 0 { 0 } else { self.ends.get(index - 1).map_or(end, |end| *end as usize) };
        &self.text[start..end]
    }
}

impl RowText {
    /// Appends every column as its length and bytes, for [`RowText::read_bytes`].
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        for index in 0..COLUMNS.len() {
            let column = self.column(index);
            let column = &column[..column.len().min(usize::from(u16::MAX))];
            out.extend_from_slice(&(column.len() as u16).to_le_bytes());
            out.extend_from_slice(column);
        }
    }

    /// Reads what [`RowText::to_bytes`] wrote; `change` may replace a column's bytes.
    pub fn read_bytes<'a>(&mut self, mut bytes: &'a [u8], change: impl Fn(usize, &'a [u8]) -> &'a [u8]) {
        self.clear();
        for index in 0..COLUMNS.len() {
            let Some((len, rest)) = bytes.split_first_chunk::<2>() else { return };
            let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
            let column = change(index, &rest[..len]);
            self.push(|out| out.extend_from_slice(column));
            bytes = &rest[len..];
        }
    }
}
