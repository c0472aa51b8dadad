//! Records read, and made of others, by a thread of their own, ahead of whoever uses them ([`begin`]).

use crate::report::spool::Records;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Bytes of records handed over together.
const BATCH_BYTES: usize = 256 << 10;
/// Batches read ahead.
const BATCHES: usize = 4;

/// Records one behind another.
#[derive(Debug, Default)]
struct Batch {
    data: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What the thread has to say.
#[derive(Debug)]
enum Message {
    Read(Batch),
    Failed(io::Error),
    End,
}

/// Records that another thread reads.
#[derive(Debug)]
struct Ahead {
    messages: Receiver<Message>,
    /// Batches whose memory is used again.
    used: Sender<Batch>,
    batch: Batch,
    /// The next record of the batch.
    next: usize,
    ended: bool,
}

/// Begins to read with a thread; where none can be had, the records are left to whoever uses them.
pub fn begin(records: Box<dyn Records>) -> Box<dyn Records> {
    let (to_user, messages) = bounded(BATCHES);
    // Room for all there are, so that giving one back never waits.
    let (used, from_user) = bounded(BATCHES + 2);
    let (hand, handed) = bounded::<Box<dyn Records>>(1);
    let thread = std::thread::Builder::new().name("rows".to_owned()).spawn(move || {
        if let Ok(mut records) = handed.recv() {
            read_all(&mut *records, &to_user, &from_user);
        }
    });
    if thread.is_err() {
        return records;
    }
    match hand.send(records) {
        Ok(()) => Box::new(Ahead { messages, used, batch: Batch::default(), next: 0, ended: false }),
        Err(unsent) => unsent.0,
    }
}

impl Records for Ahead {
    fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
        while self.next == self.batch.ends.len() && !self.ended {
            match self.messages.recv() {
                Ok(Message::Read(batch)) => {
                    let _ = self.used.try_send(std::mem::replace(&mut self.batch, batch));
                    self.next = 0;
                }
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(error)) => return Err(error),
                // It ended without saying so.
                Err(_) => return Err(io::Error::other("the thread that reads them failed")),
            }
        }
        let Some(end) = self.batch.ends.get(self.next) else { return Ok(None) };
        let start = if self.next == 0 { 0 } else { self.batch.ends[self.next - 1] };
        self.next += 1;
        Ok(Some(&self.batch.data[start..*end]))
    }
}

/// Reads everything, until nobody wants more.
fn read_all(records: &mut dyn Records, to_user: &Sender<Message>, from_user: &Receiver<Batch>) {
    loop {
        let mut batch = from_user.try_recv().unwrap_or_default();
        batch.data.clear();
        batch.ends.clear();
        let last = loop {
            match records.next_record() {
                Ok(Some(record)) => {
                    batch.data.extend_from_slice(record);
                    batch.ends.push(batch.data.len());
                }
                Ok(None) => break Some(Message::End),
                Err(error) => break Some(Message::Failed(error)),
            }
            if batch.data.len() >= BATCH_BYTES {
                break None;
            }
        };
        if to_user.send(Message::Read(batch)).is_err() {
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

    /// So many records of a length, then the end, an error or a fault.
    struct Numbers {
        next: u32,
        count: u32,
        len: usize,
        then: Then,
        made: Arc<AtomicUsize>,
        record: Vec<u8>,
    }

    impl Records for Numbers {
        fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
            if self.next == self.count {
                return (self.then)();
            }
            self.record = self.next.to_le_bytes().repeat(self.len);
            self.next += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
            Ok(Some(&self.record))
        }
    }

    type Then = fn() -> io::Result<Option<&'static [u8]>>;

    fn numbers(count: u32, len: usize, then: Then) -> (Box<dyn Records>, Arc<AtomicUsize>) {
        let made = Arc::default();
        let numbers = Numbers { next: 0, count, len, then, made: Arc::clone(&made), record: Vec::new() };
        (begin(Box::new(numbers)), made)
    }

    #[test]
    fn records_come_whole_and_in_order_and_the_end_stays() {
        for (count, len) in [(0, 1), (1, 0), (100_000, 4), (20, 100_000)] {
            let (mut ahead, _) = numbers(count, len, || Ok(None));
            for number in 0..count {
                let record = ahead.next_record().unwrap().unwrap();
                assert_eq!(record.len(), 4 * len);
                assert!(record.chunks(4).all(|word| word == number.to_le_bytes()), "{number}");
            }
            for _ in 0..2 {
                assert_eq!(ahead.next_record().unwrap(), None);
            }
        }
    }

    #[test]
    fn an_error_and_a_fault_come_behind_the_records_before_them() {
        let error: Then = || Err(io::Error::other("gone"));
        let fault: Then = || panic!("as if it had a fault");
        for (then, what) in [(error, "gone"), (fault, "the thread that reads them failed")] {
            let (mut ahead, _) = numbers(70_000, 1, then);
            let mut read = 0;
            let error = loop {
                match ahead.next_record() {
                    Ok(record) => read += u32::from(record.is_some()),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), what);
            // The batch in which the fault happened is lost, and that is an error.
            assert!(read == 70_000 || (what != "gone" && read > 0), "{read}");
        }
    }

    #[test]
    fn no_more_is_read_than_may_wait() {
        let (mut ahead, made) = numbers(1000, 100_000, || Ok(None));
        assert!(ahead.next_record().unwrap().is_some());
        std::thread::sleep(std::time::Duration::from_millis(200));
        // A batch here is one record: some wait, one is being handed over, and one is in use.
        assert!(made.load(Ordering::Relaxed) <= BATCHES + 2, "{made:?}");
    }
}
