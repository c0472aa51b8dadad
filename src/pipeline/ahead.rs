//! Records read by a thread of their own, ahead of whoever uses them ([`Ahead`]).

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Bytes of records handed over together.
const BATCH_BYTES: usize = 256 << 10;
/// Batches read ahead.
const BATCHES: usize = 4;

/// Where records come from, one after another.
pub trait Records: Send + 'static {
    /// Appends the next record to `into`; false at the end.
    fn append_next(&mut self, into: &mut Vec<u8>) -> io::Result<bool>;
}

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
pub struct Ahead {
    messages: Receiver<Message>,
    /// Batches whose memory is used again.
    used: Sender<Batch>,
    batch: Batch,
    /// The next record of the batch.
    next: usize,
    ended: bool,
}

impl Ahead {
    /// Begins to read; gives the records back where no thread can be had.
    pub fn begin<R: Records>(records: R) -> Result<Self, R> {
        let (to_user, messages) = bounded(BATCHES);
        // Room for all there are, so that giving one back never waits.
        let (used, from_user) = bounded(BATCHES + 2);
        let (hand, handed) = bounded::<R>(1);
        let thread = std::thread::Builder::new().name("rows".to_owned()).spawn(move || {
            if let Ok(mut records) = handed.recv() {
                read_all(&mut records, &to_user, &from_user);
            }
        });
        if thread.is_err() {
            return Err(records);
        }
        hand.send(records).map_err(|unsent| unsent.0)?;
        Ok(Self { messages, used, batch: Batch::default(), next: 0, ended: false })
    }

    /// The next record, or nothing at the end.
    pub fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
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
fn read_all(records: &mut impl Records, to_user: &Sender<Message>, from_user: &Receiver<Batch>) {
    loop {
        let mut batch = from_user.try_recv().unwrap_or_default();
        batch.data.clear();
        batch.ends.clear();
        let last = loop {
            match records.append_next(&mut batch.data) {
                Ok(true) => batch.ends.push(batch.data.len()),
                Ok(false) => break Some(Message::End),
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
        then: fn() -> io::Result<bool>,
        made: Arc<AtomicUsize>,
    }

    impl Records for Numbers {
        fn append_next(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
            if self.next == self.count {
                return (self.then)();
            }
            into.extend(std::iter::repeat_n(self.next.to_le_bytes(), self.len).flatten());
            self.next += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
    }

    fn numbers(count: u32, len: usize, then: fn() -> io::Result<bool>) -> (Ahead, Arc<AtomicUsize>) {
        let made = Arc::default();
        let numbers = Numbers { next: 0, count, len, then, made: Arc::clone(&made) };
        (Ahead::begin(numbers).ok().unwrap(), made)
    }

    #[test]
    fn records_come_whole_and_in_order_and_the_end_stays() {
        for (count, len) in [(0, 1), (1, 0), (100_000, 4), (20, 100_000)] {
            let (mut ahead, _) = numbers(count, len, || Ok(false));
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
        let error: fn() -> io::Result<bool> = || Err(io::Error::other("gone"));
        let fault: fn() -> io::Result<bool> = || panic!("as if it had a fault");
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
        let (mut ahead, made) = numbers(1000, 100_000, || Ok(false));
        assert!(ahead.next_record().unwrap().is_some());
        std::thread::sleep(std::time::Duration::from_millis(200));
        // A batch here is one record: some wait, one is being handed over, and one is in use.
        assert!(made.load(Ordering::Relaxed) <= BATCHES + 2, "{made:?}");
    }
}
