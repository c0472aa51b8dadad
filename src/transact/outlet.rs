//! Passes transactions to whoever writes rows: they are collected in a [`Batch`], then wait at the [`Outlet`] until a
//! thread has time for them.
//!
//! Following transactions and writing rows each take much code, which the processor would have to load anew for every
//! row; and while one thread follows, another can write. Rows are in the order of the transactions, whichever thread
//! writes them.

use super::{OnTransaction, Transaction};
use crate::config::Outcome;
use crate::decode::Ends;
use crate::decode::message::{Message, Transport};
use crate::transact::in_flight::Sighting;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A batch is full at this many transactions, or this many bytes of queries and responses.
const BATCH: (usize, usize) = (256, 256 << 10);
/// Batches that may wait; a thread that adds more has to write them.
const WAITING: usize = 16;

/// Decided transactions, in order.
#[derive(Debug, Default)]
pub struct Batch {
    held: Vec<Held>,
    /// Bytes of their queries and responses.
    bytes: Vec<u8>,
}

/// A [`Transaction`] whose bytes are in the batch.
#[derive(Debug)]
struct Held {
    outcome: Outcome,
    ends: Ends,
    ports: (u16, u16),
    transport: Transport,
    id: Option<u16>,
    query: Option<Sighting>,
    query_len: usize,
    response: Option<Sighting>,
    response_len: usize,
    message: Option<Message>,
}

impl Batch {
    /// Adds a transaction.
    pub fn put(&mut self, transaction: &Transaction<'_>) {
        let Transaction { outcome, ends, ports, transport, id, query, response, message, .. } = *transaction;
        let (query_len, response_len) = (transaction.query_bytes.len(), transaction.response_bytes.len());
        self.bytes.extend_from_slice(transaction.query_bytes);
        self.bytes.extend_from_slice(transaction.response_bytes);
        self.held.push(Held { outcome, ends, ports, transport, id, query, query_len, response, response_len, message });
    }

    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// True when it is to be passed on.
    pub fn is_full(&self) -> bool {
        self.held.len() >= BATCH.0 || self.bytes.len() >= BATCH.1
    }

    /// Hands everything out, in order, and empties the batch.
    fn hand_out(&mut self, on_transaction: &mut OnTransaction<'_>) {
        let mut rest = self.bytes.as_slice();
        for held in self.held.drain(..) {
            let Held { outcome, ends, ports, transport, id, query, query_len, response, response_len, message } = held;
            let (query_bytes, behind) = rest.split_at(query_len);
            let (response_bytes, behind) = behind.split_at(response_len);
            rest = behind;
            on_transaction(&Transaction {
                outcome,
                ends,
                ports,
                transport,
                id,
                query,
                query_bytes,
                response,
                response_bytes,
                message,
            });
        }
        self.bytes.clear();
    }
}

/// A queue of batches that wait for a thread to write their rows.
pub struct Outlet<'a> {
    queue: Mutex<Queue>,
    /// Locked by the thread that writes: no other thread takes batches from the queue.
    on_transaction: Mutex<OnTransaction<'a>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    /// Emptied batches, to reuse their memory.
    empty: Vec<Batch>,
}

impl<'a> Outlet<'a> {
    /// An outlet that hands transactions to `on_transaction`.
    pub fn new(on_transaction: OnTransaction<'a>) -> Self {
        Self { queue: Mutex::default(), on_transaction: Mutex::new(on_transaction) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a batch holds and leaves an empty batch. Hands out what waits before it returns, when too much does.
    pub fn put(&self, batch: &mut Batch) {
        let mut queue = self.queue();
        let empty = queue.empty.pop().unwrap_or_default();
        queue.waiting.push_back(std::mem::replace(batch, empty));
        let crowded = queue.waiting.len() > WAITING;
        drop(queue);
        if crowded {
            self.drain();
        }
    }

    /// True when something waits.
    pub fn has_waiting(&self) -> bool {
        !self.queue().waiting.is_empty()
    }

    /// Hands out everything that waits.
    pub fn drain(&self) {
        let mut on_transaction = self.on_transaction.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(mut batch) = self.queue().waiting.pop_front() else { return };
            batch.hand_out(&mut on_transaction);
            self.queue().empty.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction<'a>(id: u16, query_bytes: &'a [u8], response_bytes: &'a [u8]) -> Transaction<'a> {
        Transaction {
            outcome: Outcome::Refused,
            ends: Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]),
            ports: (id, 53),
            transport: Transport::Udp,
            id: Some(id),
            query: None,
            query_bytes,
            response: None,
            response_bytes,
            message: None,
        }
    }

    #[test]
    fn transactions_come_out_as_they_went_in_whoever_writes() {
        let mut seen = Vec::new();
        let note = |transaction: &Transaction<'_>| {
            seen.push((transaction.id, transaction.query_bytes.to_vec(), transaction.response_bytes.to_vec()));
        };
        let outlet = Outlet::new(Box::new(note));
        let mut batch = Batch::default();
        batch.put(&transaction(1, b"asked", b"told"));
        batch.put(&transaction(2, b"", b"unasked"));
        outlet.put(&mut batch);
        assert!(batch.is_empty() && outlet.has_waiting());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1000).for_each(|_| outlet.drain()));
            // More than may wait, so that this thread writes as well.
            for id in 3..1000 {
                batch.put(&transaction(id, &id.to_be_bytes(), b""));
                outlet.put(&mut batch);
            }
        });
        outlet.drain();
        outlet.drain();
        drop(outlet);
        let expected = (3..1000u16).map(|id| (Some(id), id.to_be_bytes().to_vec(), Vec::new()));
        let first = [(Some(1), b"asked".to_vec(), b"told".to_vec()), (Some(2), Vec::new(), b"unasked".to_vec())];
        assert_eq!(seen, first.into_iter().chain(expected).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_is_full_of_transactions_or_of_bytes() {
        let (mut many, mut large) = (Batch::default(), Batch::default());
        assert_eq!(
            (1..=1000).position(|id| {
                many.put(&transaction(id, b"", b""));
                many.is_full()
            }),
            Some(BATCH.0 - 1)
        );
        let message = vec![0; 65_535];
        assert_eq!(
            (1..=1000).position(|id| {
                large.put(&transaction(id, &message, b""));
                large.is_full()
            }),
            Some(4)
        );
    }
}
