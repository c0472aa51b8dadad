//! Transactions folded into per-source rows: the shared live view ([`Sources`]), the only place with a DashMap.

use crate::capture::Timestamp;

/// On which side of our servers a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// To one of our servers.
    Client,
    /// From one of our servers: a resolver is a client too.
    Upstream,
    /// Neither end is one of our servers.
    Other,
}

impl Leg {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Leg::Client => "client",
            Leg::Upstream => "upstream",
            Leg::Other => "other",
        }
    }
}

/// A frame of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRef {
    /// Index of the input in reading order.
    pub input: u32,
    /// 1-based frame number, as Wireshark counts.
    pub frame: u64,
}

/// What one source did at one server. `queries` counts messages, everything else transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// Query messages, retransmissions and copies included.
    pub queries: u64,
    /// Transactions by outcome, indexed by `Outcome as usize`; `unsolicited` counts responses without a query.
    pub outcomes: [u64; 7],
    /// REFUSED responses without a query, part of `unsolicited`.
    pub refused_unsolicited: u64,
    /// Transactions over UDP.
    pub udp: u64,
    /// Transactions over TCP.
    pub tcp: u64,
    /// First packet of a message from or to the source.
    pub first: Option<Timestamp>,
    /// Last packet of a message from or to the source.
    pub last: Option<Timestamp>,
    /// First and last query that was refused.
    pub refused_first: Option<Timestamp>,
    /// Last query that was refused.
    pub refused_last: Option<Timestamp>,
    /// First query that was answered.
    pub answered_first: Option<Timestamp>,
    /// Last query that was answered.
    pub answered_last: Option<Timestamp>,
    /// Responses to the first refused transactions, bounded by `Limits::finding_frames`.
    pub refused_frames: Vec<FrameRef>,
    /// The first answered transactions' responses, bounded likewise.
    pub answered_frames: Vec<FrameRef>,
}
