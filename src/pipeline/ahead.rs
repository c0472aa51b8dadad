//! Formats rows on a thread of their own, ahead of their writer ([`begin`]). The writer formats rows itself when it
//! would have to wait.

use crate::report::rows::{PrintRow, PrintedRow, PrintedRows, in_turn};
use crate::report::spool::Records;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most rows handed over together, and most bytes of them.
const BATCH: (usize, usize) = (512, 256 << 10);
/// Number of batches formatted ahead.
const BATCHES: usize = 4;

/// A batch of rows, one after another.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<PrintedRow>,
    /// Number of rows in use; the others are memory to be reused.
    len: usize,
    /// Records of rows that are still to be formatted, one after another, and where each ends.
    records: Vec<u8>,
    ends: Vec<usize>,
}

/// What the thread sends.
#[derive(Debug)]
enum Message {
    Batch(Batch),
    Failed(io::Error),
    End,
}

/// Rows that another thread formats.
struct Ahead {
    messages: Receiver<Message>,
    /// Batches whose memory can be reused.
    used: Sender<Batch>,
    /// Tells the thread that there is nothing to do here, so that it hands over rows that are not formatted yet.
    waits: Arc<AtomicBool>,
    printer: Box<dyn PrintRow>,
    batch: Batch,
    /// The next row of the batch, and the offset of its record.
    next: usize,
    start: usize,
    ended: bool,
}

/// The thread's side.
struct Printing {
    records: Box<dyn Records>,
    printer: Box<dyn PrintRow>,
    to_user: Sender<Message>,
    used: Receiver<Batch>,
    user_waits: Arc<AtomicBool>,
}

/// Starts formatting on a thread; where none can be started, the user of the rows formats them.
pub fn begin(records: Box<dyn Records>, printer: Box<dyn PrintRow>) -> Box<dyn PrintedRows> {
    let (hand, handed) = bounded::<Printing>(1);
    let thread = std::thread::Builder::new().name("rows".to_owned()).spawn(move || {
        if let Ok(printing) = handed.recv() {
            printing.print_all();
        }
    });
    if thread.is_err() {
        return in_turn(records, printer);
    }
    let (ahead, printing) = sides(records, printer);
    match hand.send(printing) {
        Ok(()) => Box::new(ahead),
        Err(unsent) => in_turn(unsent.0.records, unsent.0.printer),
    }
}

/// Makes the user's side and the thread's side.
fn sides(records: Box<dyn Records>, printer: Box<dyn PrintRow>) -> (Ahead, Printing) {
    let (to_user, messages) = bounded(BATCHES);
    // Room for all batches, so that returning one never waits.
    let (give_back, used) = bounded(BATCHES + 2);
    let waits = Arc::<AtomicBool>::default();
    let ahead = Ahead {
        messages,
        used: give_back,
        waits: Arc::clone(&waits),
        printer: printer.another(),
        batch: Batch::default(),
        next: 0,
        start: 0,
        ended: false,
    };
    (ahead, Printing { records, printer, to_user, used, user_waits: waits })
}

impl Ahead {
    /// Receives the next batch of the thread.
    fn receive(&mut self) -> io::Result<()> {
        let message = match self.messages.try_recv() {
            Err(TryRecvError::Empty) => {
                self.waits.store(true, Ordering::Relaxed);
                self.messages.recv().ok()
            }
            received => received.ok(),
        };
        match message {
            Some(Message::Batch(batch)) => {
                let _ = self.used.try_send(std::mem::replace(&mut self.batch, batch));
                (self.next, self.start) = (0, 0);
            }
            Some(Message::End) => self.ended = true,
            Some(Message::Failed(error)) => return Err(error),
            // The thread ended without its last message.
            None => return Err(io::Error::other("the thread that prints them failed")),
        }
        Ok(())
    }
}

impl PrintedRows for Ahead {
    fn next_row(&mut self, row: &mut PrintedRow) -> io::Result<bool> {
        while self.next == self.batch.len && !self.ended {
            self.receive()?;
        }
        if self.next == self.batch.len {
            return Ok(false);
        }
        match self.batch.ends.get(self.next) {
            Some(end) => {
                self.printer.print(&self.batch.records[self.start..*end], row)?;
                self.start = *end;
            }
            None => std::mem::swap(row, &mut self.batch.rows[self.next]),
        }
        self.next += 1;
        Ok(true)
    }
}

impl Printing {
    /// Formats everything, until nobody wants more.
    fn print_all(mut self) {
        loop {
            let mut batch = self.used.try_recv().unwrap_or_default();
            let last = self.fill(&mut batch);
            if self.to_user.send(Message::Batch(batch)).is_err() {
                return;
            }
            if let Some(last) = last {
                let _ = self.to_user.send(last);
                return;
            }
        }
    }

    /// Fills a batch; returns what follows it, when it is the last one.
    fn fill(&mut self, batch: &mut Batch) -> Option<Message> {
        batch.len = 0;
        batch.records.clear();
        batch.ends.clear();
        // One unformatted batch for each time the user waits.
        let as_records = self.user_waits.swap(false, Ordering::Relaxed);
        let mut bytes = 0;
        while batch.len < BATCH.0 && bytes < BATCH.1 {
            let record = match self.records.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Some(Message::End),
                Err(error) => return Some(Message::Failed(error)),
            };
            if as_records {
                batch.records.extend_from_slice(record);
                batch.ends.push(batch.records.len());
                bytes = batch.records.len();
            } else {
                if batch.len == batch.rows.len() {
                    batch.rows.push(PrintedRow::default());
                }
                let row = &mut batch.rows[batch.len];
                if let Err(error) = self.printer.print(record, row) {
                    return Some(Message::Failed(error));
                }
                bytes += row.text.joined().len();
            }
            batch.len += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// This many records, each its number, then the end, an error or a fault.
    struct Numbers {
        next: u32,
        count: u32,
        then: Then,
        record: [u8; 4],
        made: Arc<AtomicUsize>,
    }

    impl Records for Numbers {
        fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
            if self.next == self.count {
                return (self.then)().map(|()| None);
            }
            self.record = self.next.to_le_bytes();
            self.next += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
            Ok(Some(&self.record))
        }
    }

    type Then = fn() -> io::Result<()>;

    /// Formats numbers, each this many times.
    #[derive(Clone)]
    struct Digits {
        times: usize,
    }

    impl PrintRow for Digits {
        fn print(&mut self, record: &[u8], row: &mut PrintedRow) -> io::Result<()> {
            let number = u32::from_le_bytes(*record.first_chunk().unwrap());
            row.text.clear();
            row.text.push(|out| out.extend(format!("{number:09}").into_bytes().repeat(self.times)));
            Ok(())
        }

        fn another(&self) -> Box<dyn PrintRow> {
            Box::new(self.clone())
        }
    }

    /// The records, how many of them were read, and who prints them.
    fn numbers(count: u32, times: usize, then: Then) -> (Box<Numbers>, Arc<AtomicUsize>, Box<Digits>) {
        let made = Arc::default();
        let numbers = Numbers { next: 0, count, then, record: [0; 4], made: Arc::clone(&made) };
        (Box::new(numbers), made, Box::new(Digits { times }))
    }

    /// Reads this many rows, and finds the end after them.
    fn read_all(mut rows: impl PrintedRows, count: u32, times: usize) {
        let mut row = PrintedRow::default();
        for number in 0..count {
            assert!(rows.next_row(&mut row).unwrap());
            assert_eq!(row.text.joined(), format!("{number:09}").into_bytes().repeat(times));
        }
        for _ in 0..2 {
            assert!(!rows.next_row(&mut row).unwrap());
        }
    }

    #[test]
    fn rows_come_whole_and_in_order_whoever_prints_them_and_the_end_stays() {
        for (count, times) in [(0, 1), (1, 0), (512, 1), (100_000, 2), (20, 50_000)] {
            for user_waits in [false, true] {
                let (records, _, printer) = numbers(count, times, || Ok(()));
                let (ahead, mut printing) = sides(records, printer);
                printing.user_waits = Arc::new(AtomicBool::new(user_waits));
                let mut batch = Batch::default();
                let last = printing.fill(&mut batch);
                let (printed, unprinted) = (batch.rows.len(), batch.ends.len());
                let first = batch.len;
                assert_eq!((printed, unprinted), if user_waits { (0, first) } else { (first, 0) });
                printing.to_user.send(Message::Batch(batch)).unwrap();
                match last {
                    Some(last) => printing.to_user.send(last).unwrap(),
                    None => drop(std::thread::spawn(|| printing.print_all())),
                }
                read_all(ahead, count, times);
            }
        }
        let (records, _, printer) = numbers(100_000, 1, || Ok(()));
        let (ahead, printing) = sides(records, printer);
        let waits = Arc::clone(&printing.user_waits);
        std::thread::scope(|scope| {
            // It changes its mind all the time.
            let changing = scope.spawn(move || (0..20_000).for_each(|n| waits.store(n % 3 == 0, Ordering::Relaxed)));
            scope.spawn(|| printing.print_all());
            read_all(ahead, 100_000, 1);
            changing.join().unwrap();
        });
    }

    #[test]
    fn an_error_and_a_fault_come_behind_the_rows_before_them() {
        let error: Then = || Err(io::Error::other("gone"));
        let fault: Then = || panic!("as if it had a fault");
        for (then, what) in [(error, "gone"), (fault, "the thread that prints them failed")] {
            let (records, _, printer) = numbers(70_000, 1, then);
            let mut ahead = begin(records, printer);
            let (mut read, mut row) = (0, PrintedRow::default());
            let error = loop {
                match ahead.next_row(&mut row) {
                    Ok(there) => read += u32::from(there),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), what);
            // The batch in which the fault happened is lost, and that is an error.
            assert!(read == 70_000 || (what != "gone" && read > 0), "{read}");
        }
    }

    #[test]
    fn no_more_is_printed_than_may_wait() {
        let (records, made, printer) = numbers(1000, 50_000, || Ok(()));
        // A batch here is one printed row.
        let mut ahead = begin(records, printer);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let printed = made.load(Ordering::Relaxed);
        assert!((1..=BATCHES + 1).contains(&printed), "{printed}");
        assert!(ahead.next_row(&mut PrintedRow::default()).unwrap());
    }
}
