//! Rows printed by a thread of their own, ahead of whoever writes them ([`begin`]).

use crate::report::rows::{PrintedRow, PrintedRows};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Rows handed over together, and bytes of theirs.
const BATCH: (usize, usize) = (512, 256 << 10);
/// Batches printed ahead.
const BATCHES: usize = 4;

/// Rows one behind another.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<PrintedRow>,
    /// How many of them there are: the others are memory to use again.
    len: usize,
}

/// What the thread has to say.
#[derive(Debug)]
enum Message {
    Printed(Batch),
    Failed(io::Error),
    End,
}

/// Rows that another thread prints.
#[derive(Debug)]
struct Ahead {
    messages: Receiver<Message>,
    /// Batches whose memory is used again.
    used: Sender<Batch>,
    batch: Batch,
    /// The next row of the batch.
    next: usize,
    ended: bool,
}

/// Begins to print with a thread; where none can be had, it is left to whoever uses the rows.
pub fn begin(rows: Box<dyn PrintedRows>) -> Box<dyn PrintedRows> {
    let (to_user, messages) = bounded(BATCHES);
    // Room for all there are, so that giving one back never waits.
    let (used, from_user) = bounded(BATCHES + 2);
    let (hand, handed) = bounded::<Box<dyn PrintedRows>>(1);
    let thread = std::thread::Builder::new().name("rows".to_owned()).spawn(move || {
        if let Ok(mut rows) = handed.recv() {
            print_all(&mut *rows, &to_user, &from_user);
        }
    });
    if thread.is_err() {
        return rows;
    }
    match hand.send(rows) {
        Ok(()) => Box::new(Ahead { messages, used, batch: Batch::default(), next: 0, ended: false }),
        Err(unsent) => unsent.0,
    }
}

impl PrintedRows for Ahead {
    fn next_row(&mut self, row: &mut PrintedRow) -> io::Result<bool> {
        while self.next == self.batch.len && !self.ended {
            match self.messages.recv() {
                Ok(Message::Printed(batch)) => {
                    let _ = self.used.try_send(std::mem::replace(&mut self.batch, batch));
                    self.next = 0;
                }
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(error)) => return Err(error),
                // It ended without saying so.
                Err(_) => return Err(io::Error::other("the thread that prints them failed")),
            }
        }
        let there = self.next < self.batch.len;
        if there {
            std::mem::swap(row, &mut self.batch.rows[self.next]);
            self.next += 1;
        }
        Ok(there)
    }
}

/// Prints everything, until nobody wants more.
fn print_all(rows: &mut dyn PrintedRows, to_user: &Sender<Message>, from_user: &Receiver<Batch>) {
    loop {
        let mut batch = from_user.try_recv().unwrap_or_default();
        batch.len = 0;
        let mut bytes = 0;
        let last = loop {
            if batch.len == batch.rows.len() {
                batch.rows.push(PrintedRow::default());
            }
            let row = &mut batch.rows[batch.len];
            match rows.next_row(row) {
                Ok(true) => {
                    bytes += row.text.joined().len();
                    batch.len += 1;
                }
                Ok(false) => break Some(Message::End),
                Err(error) => break Some(Message::Failed(error)),
            }
            if batch.len >= BATCH.0 || bytes >= BATCH.1 {
                break None;
            }
        };
        if to_user.send(Message::Printed(batch)).is_err() {
            return;
        }
        if let Some(last) = last {
            let _ = to_user.send(last);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// So many rows of a length, then the end, an error or a fault.
    struct Numbers {
        next: u32,
        count: u32,
        len: usize,
        then: Then,
        made: Arc<AtomicUsize>,
    }

    impl PrintedRows for Numbers {
        fn next_row(&mut self, row: &mut PrintedRow) -> io::Result<bool> {
            if self.next == self.count {
                return (self.then)();
            }
            row.text.clear();
            row.text.push(|out| out.extend(format!("{:09}", self.next).into_bytes().repeat(self.len)));
            self.next += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
    }

    type Then = fn() -> io::Result<bool>;

    fn numbers(count: u32, len: usize, then: Then) -> (Box<dyn PrintedRows>, Arc<AtomicUsize>) {
        let made = Arc::default();
        let numbers = Numbers { next: 0, count, len, then, made: Arc::clone(&made) };
        (begin(Box::new(numbers)), made)
    }

    #[test]
    fn rows_come_whole_and_in_order_and_the_end_stays() {
        for (count, len) in [(0, 1), (1, 0), (100_000, 2), (20, 50_000)] {
            let (mut ahead, _) = numbers(count, len, || Ok(false));
            let mut row = PrintedRow::default();
            for number in 0..count {
                assert!(ahead.next_row(&mut row).unwrap());
                assert_eq!(row.text.joined(), format!("{number:09}").into_bytes().repeat(len));
            }
            for _ in 0..2 {
                assert!(!ahead.next_row(&mut row).unwrap());
            }
        }
    }

    #[test]
    fn an_error_and_a_fault_come_behind_the_rows_before_them() {
        let error: Then = || Err(io::Error::other("gone"));
        let fault: Then = || panic!("as if it had a fault");
        for (then, what) in [(error, "gone"), (fault, "the thread that prints them failed")] {
            let (mut ahead, _) = numbers(70_000, 1, then);
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
        let (mut ahead, made) = numbers(1000, 50_000, || Ok(false));
        assert!(ahead.next_row(&mut PrintedRow::default()).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
        // A batch here is one row: some wait, one is being handed over, and one is in use.
        assert!(made.load(Ordering::Relaxed) <= BATCHES + 2, "{made:?}");
    }
}
