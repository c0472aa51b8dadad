//! One transaction as the columns of csv and jsonl ([`RowText`]); [`COLUMNS`] is the one list of them.

use std::ops::Range;

/// Which characters the values of a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Letters, digits and the like, which need no quotes in any format.
    Word,
    /// Anything that can be printed.
    Text,
    /// A number as formats write it.
    Number,
}

/// Every column in order, with the kind of its values.
pub const COLUMNS: [(&str, ColumnKind); 33] = [
    ("time", ColumnKind::Word),
    ("response_time", ColumnKind::Word),
    ("rtt_us", ColumnKind::Number),
    ("leg", ColumnKind::Word),
    ("outcome", ColumnKind::Word),
    ("rcode", ColumnKind::Word),
    ("transport", ColumnKind::Word),
    ("client", ColumnKind::Word),
    ("client_port", ColumnKind::Number),
    ("server", ColumnKind::Word),
    ("server_port", ColumnKind::Number),
    ("id", ColumnKind::Number),
    ("opcode", ColumnKind::Word),
    ("qname", ColumnKind::Text),
    ("qtype", ColumnKind::Word),
    ("qclass", ColumnKind::Word),
    ("question", ColumnKind::Word),
    ("flags", ColumnKind::Word),
    ("ede", ColumnKind::Word),
    ("ede_text", ColumnKind::Text),
    ("ecs", ColumnKind::Word),
    ("identity", ColumnKind::Word),
    ("tsig_key", ColumnKind::Text),
    ("vlan", ColumnKind::Word),
    ("interface", ColumnKind::Text),
    ("expected", ColumnKind::Word),
    ("expected_rule", ColumnKind::Text),
    ("verdict", ColumnKind::Word),
    ("rule", ColumnKind::Text),
    ("mechanism", ColumnKind::Text),
    ("input", ColumnKind::Text),
    ("query_frame", ColumnKind::Number),
    ("response_frame", ColumnKind::Number),
];

/// Hardly any row has more bytes.
const USUAL_BYTES: usize = 4096;

/// The columns of a transaction as text, in the order of [`COLUMNS`]; absent values are empty. They are joined by
/// commas, so that most rows are lines of csv already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowText {
    text: Vec<u8>,
    /// Where each column ends; the next one starts after the comma.
    ends: [u32; COLUMNS.len()],
    columns: usize,
}

impl Default for RowText {
    fn default() -> Self {
        Self { text: vec![b','; COLUMNS.len() - 1], ends: std::array::from_fn(|at| at as u32), columns: COLUMNS.len() }
    }
}

impl RowText {
    /// Starts a new row, keeping as much memory as most rows need.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(USUAL_BYTES);
        self.columns = 0;
    }

    /// Appends the next column; `write` appends its bytes, which must be of the column's kind.
    #[inline]
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.columns > 0 {
            self.text.push(b',');
        }
        let start = self.text.len();
        write(&mut self.text);
        debug_assert!(COLUMNS[self.columns].1 != ColumnKind::Word || is_word(&self.text[start..]));
        self.ends[self.columns] = self.text.len() as u32;
        self.columns += 1;
    }

    /// The bytes of a column; empty when absent.
    #[inline]
    pub fn column(&self, index: usize) -> &[u8] {
        self.text.get(self.place(index)).unwrap_or_default()
    }

    /// The range of a column in [`RowText::joined`].
    #[inline]
    pub fn place(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize + 1 };
        start..self.ends[index] as usize
    }

    /// All columns, with commas between them.
    pub fn joined(&self) -> &[u8] {
        &self.text
    }

    /// Replaces the text of a column.
    pub fn change(&mut self, index: usize, new: &[u8]) {
        if self.column(index) == new {
            return;
        }
        let end = self.ends[index] as usize;
        let start = end - self.column(index).len();
        self.text.splice(start..end, new.iter().copied());
        let grown = (new.len() as u32).wrapping_sub((end - start) as u32);
        for later in &mut self.ends[index..] {
            *later = later.wrapping_add(grown);
        }
    }
}

/// True for text that needs no quotes in any format, and no guard against spreadsheets.
fn is_word(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.:;/[]=".contains(byte))
        && text.first().is_none_or(|first| !b"-=".contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_stay_but_for_those_that_are_changed(
            columns in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), COLUMNS.len()),
            changed in proptest::collection::btree_map(0..COLUMNS.len(), "[a-c]{0,3}", 0..5),
            long in proptest::option::of(0..COLUMNS.len()),
        ) {
            let mut columns = columns;
            if let Some(long) = long {
                columns[long] = vec![b'x'; 70_000];
            }
            for (column, (_, kind)) in columns.iter_mut().zip(COLUMNS) {
                column.retain(|byte| kind != ColumnKind::Word || byte.is_ascii_alphanumeric());
            }
            let mut row = RowText::default();
            row.clear();
            for column in &columns {
                row.push(|out| out.extend_from_slice(column));
            }
            for (index, text) in &changed {
                row.change(*index, text.as_bytes());
            }
            for (index, column) in columns.iter().enumerate() {
                prop_assert_eq!(row.column(index), changed.get(&index).map_or(&column[..], |text| text.as_bytes()));
            }
            prop_assert_eq!(row.joined().len(), (0..COLUMNS.len()).map(|at| row.column(at).len() + 1).sum::<usize>() - 1);
        }
    }
}
