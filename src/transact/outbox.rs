//! Transactions on their way to whoever writes rows ([`Outbox`]). They are handed out many at a time: following
//! transactions and writing rows are much code each, and the processor would have to load both anew for every row.

use super::{OnTransaction, Transaction};
use crate::config::Outcome;
use crate::decode::Ends;
use crate::decode::message::{Message, Transport};
use crate::transact::flights::Sighting;

/// Transactions held back.
const MOST: usize = 256;

/// Transactions decided, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    held: Vec<Held>,
    /// Bytes of their queries and responses.
    bytes: Vec<u8>,
}

/// A [`Transaction`] whose bytes stand elsewhere.
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

impl Outbox {
    /// Takes a transaction; true when it is time to hand out.
    pub fn put(&mut self, transaction: &Transaction<'_>) -> bool {
        let Transaction { outcome, ends, ports, transport, id, query, response, message, .. } = *transaction;
        let (query_len, response_len) = (transaction.query_bytes.len(), transaction.response_bytes.len());
        self.bytes.extend_from_slice(transaction.query_bytes);
        self.bytes.extend_from_slice(transaction.response_bytes);
        self.held.push(Held { outcome, ends, ports, transport, id, query, query_len, response, response_len, message });
        self.held.len() >= MOST
    }

    /// Hands everything out, in order.
    pub fn hand_out(&mut self, on_transaction: &mut OnTransaction<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_come_out_as_they_went_in() {
        let mut outbox = Outbox::default();
        let transaction = |id: u16, query_bytes, response_bytes| Transaction {
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
        };
        assert!(!outbox.put(&transaction(1, b"asked", b"told")));
        assert!(!outbox.put(&transaction(2, b"", b"unasked")));
        let mut seen = Vec::new();
        let note = |transaction: &Transaction<'_>| {
            seen.push((transaction.id, transaction.query_bytes.to_vec(), transaction.response_bytes.to_vec()));
        };
        let mut on_transaction: OnTransaction<'_> = Box::new(note);
        outbox.hand_out(&mut on_transaction);
        outbox.hand_out(&mut on_transaction);
        assert!((3..MOST as u16 + 3).any(|id| outbox.put(&transaction(id, b"q", b"r"))));
        drop(on_transaction);
        assert_eq!(seen, [(Some(1), b"asked".into(), b"told".into()), (Some(2), b"".into(), b"unasked".into())]);
    }
}
