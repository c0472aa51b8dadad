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
