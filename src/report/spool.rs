//! Sorts records of rows into input order in bounded memory ([`Spool`]).
//!
//! Rows are decided out of order, and there may be more than fit: what exceeds the budget goes, sorted, to an unlinked
//! temporary file as a *run*, and runs are merged when everything has been pushed.

use crate::error::{Error, ErrorKind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

/// The order of rows: input index and frame number.
pub type Key = (u32, u64);

/// Bytes in front of a record in a run: key and length.
const HEADER: usize = 4 + 8 + 4;
/// Buffer of one run while merging. With the default budget 256 runs (1 GiB of records) merge at once.
const READ_BUFFER: usize = 16 << 10;

/// Sorts records. Records of equal key come out in the order in which they were pushed.
#[derive(Debug, Default)]
pub struct Spool {
    budget: usize,
    held: Held,
    runs: Option<Runs>,
}

impl Spool {
    /// A spool that holds about `memory_bytes` before it uses a temporary file.
    pub fn new(memory_bytes: usize) -> Self {
        Self { budget: memory_bytes, held: Held::default(), runs: None }
    }

    /// Adds a record.
    pub fn push(&mut self, key: Key, record: &[u8]) -> Result<(), Error> {
        if !self.held.entries.is_empty() && self.held.bytes() + record.len() > self.budget {
            self.write_run().map_err(failed)?;
        }
        self.held.entries.push((key, self.held.data.len(), record.len() as u32));
        self.held.data.extend_from_slice(record);
        Ok(())
    }

    /// Ends pushing; the records come back in key order.
    pub fn into_sorted(mut self) -> Result<Box<dyn Records>, Error> {
        if self.runs.is_some() {
            self.write_run().map_err(failed)?;
        }
        let Some(mut runs) = self.runs else {
            self.held.sort();
            return Ok(Box::new(self.held));
        };
        let at_once = (self.budget / READ_BUFFER).max(2);
        while runs.bounds.len() > at_once {
            runs = runs.merge_groups(at_once).map_err(failed)?;
        }
        let bounds = std::mem::take(&mut runs.bounds);
        Ok(Box::new(Merge::new(runs.file, &bounds).map_err(failed)?))
    }

    /// Moves the records in memory to the temporary file, as one sorted run.
    fn write_run(&mut self) -> io::Result<()> {
        self.held.sort();
        let runs = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert(Runs { file: tempfile::tempfile()?, bounds: Vec::new() }),
        };
        let mut writer = RunWriter::new(&runs.file, runs.end());
        for index in 0..self.held.entries.len() {
            writer.record(self.held.entries[index].0, self.held.record(index))?;
        }
        let bounds = writer.finish()?;
        runs.bounds.push(bounds);
        self.held.data.clear();
        self.held.entries.clear();
        Ok(())
    }
}

/// A source of records, one after another.
pub trait Records: Send {
    /// Moves to the next record; `None` at the end.
    fn next_record(&mut self) -> io::Result<Option<&[u8]>>;
}

/// The error for anything that goes wrong with rows that wait: they are lost, so the output is not complete.
#[allow(clippy::needless_pass_by_value)] // for map_err
pub(super) fn failed(error: io::Error) -> Error {
    let what = match error.raw_os_error() {
        Some(_) => {
            format!("rows could not be kept in a temporary file: {error}; set TMPDIR to a folder with more space")
        }
        None => format!("rows could not be put in order: {error}; the output ends before them"),
    };
    Error::new(ErrorKind::Output, "E-OUT-SPOOL", std::env::temp_dir().to_string_lossy(), what)
}

/// Records in memory.
#[derive(Debug, Default)]
struct Held {
    data: Vec<u8>,
    entries: Vec<(Key, usize, u32)>,
    /// Index of the next record to be handed out.
    next: usize,
}

impl Records for Held {
    fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
        self.next += 1;
        Ok((self.next <= self.entries.len()).then(|| self.record(self.next - 1)))
    }
}

impl Held {
    /// Memory in use.
    fn bytes(&self) -> usize {
        self.data.len() + self.entries.len() * size_of::<(Key, usize, u32)>()
    }

    /// The record of an entry.
    fn record(&self, index: usize) -> &[u8] {
        let (_, start, length) = self.entries[index];
        &self.data[start..start + length as usize]
    }

    /// Sorts by key; records of equal key stay in the order pushed.
    fn sort(&mut self) {
        // Offsets grow in the order pushed, except that an empty record shares that of the next one; sorting by offset
        // as well needs no extra memory.
        self.entries.sort_unstable();
    }
}

/// Sorted runs in one file.
#[derive(Debug)]
struct Runs {
    file: File,
    /// Start and end of each run, in the order written.
    bounds: Vec<(u64, u64)>,
}

impl Runs {
    /// Where the next run begins.
    fn end(&self) -> u64 {
        self.bounds.last().map_or(0, |(_, end)| *end)
    }

    /// Merges each group of neighbouring runs into one, in a new file.
    fn merge_groups(self, group: usize) -> io::Result<Runs> {
        let mut merged = Runs { file: tempfile::tempfile()?, bounds: Vec::new() };
        for bounds in self.bounds.chunks(group) {
            let mut merge = Merge::new(self.file.try_clone()?, bounds)?;
            let mut writer = RunWriter::new(&merged.file, merged.end());
            while let Some(key) = merge.next_key()? {
                writer.record(key, &merge.record)?;
            }
            let bounds = writer.finish()?;
            merged.bounds.push(bounds);
        }
        Ok(merged)
    }
}

/// Appends one run to a file.
struct RunWriter<'a> {
    writer: BufWriter<At<&'a File>>,
    start: u64,
}

impl<'a> RunWriter<'a> {
    /// A run that begins at `start`.
    fn new(file: &'a File, start: u64) -> Self {
        Self { writer: BufWriter::with_capacity(64 << 10, At { file, position: start, end: u64::MAX }), start }
    }

    /// Adds a record.
    fn record(&mut self, key: Key, record: &[u8]) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&key.0.to_le_bytes());
        header[4..12].copy_from_slice(&key.1.to_le_bytes());
        header[12..].copy_from_slice(&(record.len() as u32).to_le_bytes());
        self.writer.write_all(&header)?;
        self.writer.write_all(record)
    }

    /// Flushes, and returns where the run starts and ends.
    fn finish(mut self) -> io::Result<(u64, u64)> {
        self.writer.flush()?;
        Ok((self.start, self.writer.get_ref().position))
    }
}

/// A part of a file with a position of its own.
#[derive(Debug)]
struct At<F> {
    file: F,
    position: u64,
    end: u64,
}

impl Write for At<&File> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(data, self.position)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for At<std::sync::Arc<File>> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.end - self.position).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// One run being read.
type RunReader = BufReader<At<std::sync::Arc<File>>>;

/// Several runs merged into one.
#[derive(Debug)]
struct Merge {
    runs: Vec<RunReader>,
    /// The smallest unread key of each run. For equal keys the earlier run comes first.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// Length of the unread record of each run.
    lengths: Vec<usize>,
    /// The record read last.
    record: Vec<u8>,
}

impl Merge {
    /// Starts to read runs.
    fn new(file: File, bounds: &[(u64, u64)]) -> io::Result<Self> {
        let file = std::sync::Arc::new(file);
        let runs: Vec<RunReader> = bounds
            .iter()
            .map(|(start, end)| {
                BufReader::with_capacity(READ_BUFFER, At { file: file.clone(), position: *start, end: *end })
            })
            .collect();
        let mut merge = Self { lengths: vec![0; runs.len()], runs, heads: BinaryHeap::new(), record: Vec::new() };
        for run in 0..merge.runs.len() {
            if let Some(key) = merge.read_header(run)? {
                merge.heads.push(Reverse((key, run)));
            }
        }
        Ok(merge)
    }

    /// Reads the header of a run's next record; `None` at its end.
    fn read_header(&mut self, run: usize) -> io::Result<Option<Key>> {
        let reader = &mut self.runs[run];
        if reader.buffer().is_empty() && reader.get_ref().position == reader.get_ref().end {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        reader.read_exact(&mut header)?;
        let [i0, i1, i2, i3, f0, f1, f2, f3, f4, f5, f6, f7, l0, l1, l2, l3] = header;
        self.lengths[run] = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        Ok(Some((u32::from_le_bytes([i0, i1, i2, i3]), u64::from_le_bytes([f0, f1, f2, f3, f4, f5, f6, f7]))))
    }

    /// Reads the next record and returns its key; `None` at the end.
    fn next_key(&mut self) -> io::Result<Option<Key>> {
        let Some(Reverse((key, run))) = self.heads.peek().copied() else { return Ok(None) };
        self.record.resize(self.lengths[run], 0);
        self.runs[run].read_exact(&mut self.record)?;
        let next = self.read_header(run)?;
        // The next record of the same run is most often the next of all: it replaces this one at the top of the heap.
        if let Some(mut head) = self.heads.peek_mut() {
            match next {
                Some(next) => *head = Reverse((next, run)),
                None => drop(PeekMut::pop(head)),
            }
        }
        Ok(Some(key))
    }
}

impl Records for Merge {
    fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(self.next_key()?.map(|_| self.record.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sorted records of a spool.
    fn sorted(spool: Spool) -> Vec<Vec<u8>> {
        let mut sorted = spool.into_sorted().unwrap();
        let mut all = Vec::new();
        while let Some(record) = sorted.next_record().unwrap() {
            all.push(record.to_vec());
        }
        assert!(sorted.next_record().unwrap().is_none(), "the end stays the end");
        all
    }

    proptest! {
        #[test]
        fn any_budget_gives_what_a_stable_sort_gives(
            rows in proptest::collection::vec(((0u32..3, 0u64..40), proptest::collection::vec(any::<u8>(), 0..60)), 0..400),
            budget in 0usize..4000,
        ) {
            let mut spool = Spool::new(budget);
            for (key, record) in &rows {
                spool.push(*key, record).unwrap();
            }
            let mut expected = rows.clone();
            expected.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(sorted(spool), expected.into_iter().map(|(_, record)| record).collect::<Vec<_>>());
        }
    }

    #[test]
    fn records_larger_than_every_buffer_survive() {
        let mut spool = Spool::new(1000);
        let large = |byte: u8| vec![byte; 3 * READ_BUFFER + 7];
        for byte in (0..20u8).rev() {
            spool.push((0, u64::from(byte)), &large(byte)).unwrap();
        }
        assert!(spool.runs.as_ref().is_some_and(|runs| runs.bounds.len() == 19));
        assert_eq!(sorted(spool), (0..20u8).map(large).collect::<Vec<_>>());
    }

    #[test]
    fn keys_keep_their_full_width() {
        let mut spool = Spool::new(0);
        let keys = [(u32::MAX, u64::MAX), (u32::MAX, 1 << 32), (1 << 24, 0), (0, u64::MAX)];
        for (index, key) in keys.iter().enumerate() {
            spool.push(*key, &[index as u8]).unwrap();
        }
        assert_eq!(sorted(spool), [[3], [2], [1], [0]]);
    }

    #[test]
    fn an_empty_spool_has_no_records() {
        assert!(sorted(Spool::new(0)).is_empty());
    }
}
