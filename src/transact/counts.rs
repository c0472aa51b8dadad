//! What the tracker counts on the way ([`Counts`]): the buckets of the message and match ledgers, and the totals.

use crate::decode::name::NameFault;

/// Everything counted on the way; each count is in a ledger of the report.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Messages over UDP and TCP.
    pub messages: [u64; 2],
    /// Messages with QR 0 and QR 1.
    pub queries_responses: [u64; 2],
    /// Messages without a whole header.
    pub header_incomplete: u64,
    /// Messages whose question cannot be read, by `NameFault as usize`.
    pub unreadable: [u64; NameFault::ALL.len()],
    /// Responses by full response code.
    pub rcodes: Vec<u64>,
    /// Transactions (responses for `unsolicited`) by outcome.
    pub outcomes: [u64; 7],
    /// Refused transactions whose response had no question.
    pub refused_restored: u64,
    /// REFUSED responses without a query.
    pub refused_unsolicited: u64,
    /// Queries that found their response.
    pub matched: u64,
    /// Queries repeated while pending.
    pub retransmitted: u64,
    /// Queries seen again at another point.
    pub query_copies: u64,
    /// Queries without a response within the timeout.
    pub timed_out: u64,
    /// Queries given up because the table was full.
    pub evicted: u64,
    /// Queries that still waited when the capture ended.
    pub open_at_end: u64,
    /// Further messages of zone transfers.
    pub continued: u64,
    /// Responses after the timeout, within one further timeout.
    pub late: u64,
    /// Second responses.
    pub duplicate: u64,
    /// Responses seen again at another point.
    pub response_copies: u64,
    /// Responses without a query.
    pub unsolicited: u64,
    /// Responses with another question than the query.
    pub mismatch: u64,
    /// Messages followed by bytes that belong to no section.
    pub trailing: u64,
    /// Messages cut by the snapshot length, or torn by bytes the capture lost.
    pub cut: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            messages: [0; 2],
            queries_responses: [0; 2],
            header_incomplete: 0,
            unreadable: [0; NameFault::ALL.len()],
            rcodes: vec![0; 4096],
            outcomes: [0; 7],
            refused_restored: 0,
            refused_unsolicited: 0,
            matched: 0,
            retransmitted: 0,
            query_copies: 0,
            timed_out: 0,
            evicted: 0,
            open_at_end: 0,
            continued: 0,
            late: 0,
            duplicate: 0,
            response_copies: 0,
            unsolicited: 0,
            mismatch: 0,
            trailing: 0,
            cut: 0,
        }
    }
}
