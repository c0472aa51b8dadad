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
    /// Appends the length of every column and then the bytes of all, for [`RowText::read_bytes`].
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        let lengths = out.len();
        let mut start = 0;
        let mut whole = true;
        for end in &self.ends {
            let length = u16::try_from(end - start);
            whole &= length.is_ok();
            out.extend_from_slice(&length.unwrap_or(u16::MAX).to_le_bytes());
            start = *end;
        }
        out.resize(lengths + 2 * COLUMNS.len(), 0);
        if whole {
            return out.extend_from_slice(&self.text);
        }
        for index in 0..COLUMNS.len() {
            let column = self.column(index);
            out.extend_from_slice(&column[..column.len().min(usize::from(u16::MAX))]);
        }
    }

    /// Reads what [`RowText::to_bytes`] wrote; `change` may replace a column's bytes.
    pub fn read_bytes<'a>(&mut self, bytes: &'a [u8], change: impl Fn(usize, &'a [u8]) -> &'a [u8]) {
        self.clear();
        let Some((lengths, text)) = bytes.split_at_checked(2 * COLUMNS.len()) else { return };
        let (lengths, _) = lengths.as_chunks::<2>();
        // What is not changed is copied together: from `copied` up to `at`.
        let (mut at, mut copied) = (0, 0);
        for (index, length) in lengths.iter().enumerate() {
            let end = (at + usize::from(u16::from_le_bytes(*length))).min(text.len());
            let column = &text[at..end];
            let changed = change(index, column);
            if !std::ptr::eq(changed, column) {
                self.text.extend_from_slice(&text[copied..at]);
                self.text.extend_from_slice(changed);
                copied = end;
            }
            at = end;
            self.ends.push((self.text.len() + at - copied) as u32);
        }
        self.text.extend_from_slice(&text[copied..at]);
    }

    /// The bytes of all columns together.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_survive_with_those_changed_that_should_be(
            columns in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), COLUMNS.len()),
            changed in proptest::collection::vec(proptest::option::of("[a-c]{0,3}"), COLUMNS.len()),
            long in proptest::option::of(0..COLUMNS.len()),
        ) {
            let mut columns = columns;
            if let Some(long) = long {
                columns[long] = vec![b'x'; 70_000];
            }
            let mut row = RowText::default();
            for column in &columns {
                row.push(|out| out.extend_from_slice(column));
            }
            let (mut bytes, mut read) = (Vec::new(), RowText::default());
            row.to_bytes(&mut bytes);
            read.read_bytes(&bytes, |index, column| changed[index].as_ref().map_or(column, |text| text.as_bytes()));
            for (index, column) in columns.iter().enumerate() {
                let kept = &column[..column.len().min(usize::from(u16::MAX))];
                prop_assert_eq!(read.column(index), changed[index].as_ref().map_or(kept, |text| text.as_bytes()));
            }
        }
    }
}
