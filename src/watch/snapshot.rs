//! What is known of a running capture at one moment ([`Snapshot`]): immutable and bounded, read by screen and metrics.

use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::config::{Outcome, OutcomeCounts, Severity};
use ipnet::IpNet;
use std::net::IpAddr;

/// A running capture at one moment. Counts of transactions are of the client leg unless stated otherwise.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Name of the node.
    pub node: String,
    /// Interfaces that are read, as the system names them; may hold any character.
    pub interfaces: Vec<String>,
    /// When the capture began.
    pub started: Timestamp,
    /// The time of this snapshot.
    pub now: Timestamp,
    /// Transactions by outcome, indexed by `Outcome as usize`; for `unsolicited`, responses.
    pub outcomes: OutcomeCounts,
    /// REFUSED responses that are not in `outcomes` as such: without their query, or deciding none.
    pub extra_refusals: u64,
    /// Only REFUSED responses are captured: each counts as a refused transaction.
    pub without_queries: bool,
    /// Like `outcomes`, for the upstream leg: our servers' own queries.
    pub upstream: OutcomeCounts,
    /// Our servers, the most asked first; bounded by `Limits::watch_servers`.
    pub servers: Vec<ServerCounts>,
    /// Number of further servers, which are counted only in `outcomes`.
    pub servers_not_shown: usize,
    /// Packets lost.
    pub loss: Loss,
    /// Bytes of all rings.
    pub ring_bytes: u64,
    /// Time from query to response.
    pub round_trips: RoundTrips,
    /// Number of rows of client-leg sources, each a source at a server.
    pub sources: u64,
    /// Number of these that are prefixes to which sources were joined for want of room.
    pub joined: u64,
    /// Sources that were turned away, those of the last minute first, then the most often turned away; bounded by
    /// `Limits::watch_rows`.
    pub rows: Vec<TurnedAway>,
    /// Number of further sources turned away.
    pub rows_not_shown: u64,
    /// The capture is taken at every server of these rows: the sources shown are what the server saw.
    pub at_servers: bool,
    /// An inventory was given.
    pub listed: bool,
    /// A server's own configuration was given.
    pub judged: bool,
    /// Counts by name of inventory lines, in the order of the files; bounded by `Limits::watch_names`.
    pub names: Vec<NamedCounts>,
    /// Number of further names.
    pub names_not_shown: usize,
    /// Findings so far, most severe first; bounded by `Limits::watch_findings`.
    pub findings: Vec<FindingLine>,
    /// Number of findings of each severity, indexed by `Severity as usize`.
    pub severities: [u64; 3],
    /// Start of the interval that the findings are about, where that is not the beginning of the capture.
    pub findings_since: Option<Timestamp>,
    /// The latest events around the capture, the last one last, escaped.
    pub happened: Vec<(Timestamp, String)>,
    /// Transactions refused or denied per second of capture time, oldest first; the last number is for the last whole
    /// second.
    pub refused_per_second: Vec<u32>,
    /// How far the process is confined, in one line.
    pub sandbox: String,
}

impl Snapshot {
    /// Number of transactions of any outcome.
    pub fn transactions(&self) -> u64 {
        transactions(&self.outcomes)
    }

    /// True for the placeholder before the first snapshot, in which nothing is known.
    pub fn is_blank(&self) -> bool {
        self.now == Timestamp::default()
    }

    /// Findings of a severity.
    pub fn stand(&self, severity: Severity) -> u64 {
        self.severities[severity as usize]
    }
}

/// Sum of counts by outcome, without unsolicited responses.
pub fn transactions(outcomes: &OutcomeCounts) -> u64 {
    outcomes.iter().sum::<u64>() - outcomes[Outcome::Unsolicited as usize]
}

/// Counts of one of our servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCounts {
    /// Its address.
    pub server: IpAddr,
    /// Transactions by outcome, as in [`Snapshot::outcomes`].
    pub outcomes: OutcomeCounts,
    /// The same by the verdict of the server's own configuration (`allow`, `refuse`, ...); empty without one.
    pub verdicts: Vec<(&'static str, OutcomeCounts)>,
}

/// Packets lost on the way, `None` where the number is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Packets that passed the kernel's filter, including dropped ones.
    pub kernel_seen: Option<u64>,
    /// Of these, packets that found the ring full.
    pub kernel_dropped: Option<u64>,
    /// Packets the network interfaces dropped before the kernel saw them.
    pub interface_dropped: InterfaceLoss,
    /// Packets that this program read but gave up.
    pub own_dropped: Option<u64>,
}

impl Loss {
    /// Packets known to be lost.
    pub fn known(&self) -> u64 {
        [self.kernel_dropped, self.interface_dropped.known(), self.own_dropped].iter().flatten().sum()
    }

    /// True when each of the three numbers is known.
    pub fn complete(&self) -> bool {
        let interface = matches!(self.interface_dropped, InterfaceLoss::Exactly(_));
        self.kernel_dropped.is_some() && interface && self.own_dropped.is_some()
    }
}

/// A histogram of round-trip times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// Transactions by the first of [`RoundTrips::BOUNDS`] that is at least their time; the last count is for longer
    /// times.
    pub counts: [u64; RoundTrips::BOUNDS.len() + 1],
    /// Sum of all times in nanoseconds.
    pub sum: u64,
}

impl RoundTrips {
    /// Upper bounds of the buckets in microseconds: from a cached answer to the timeout of a stub resolver.
    pub const BOUNDS: [u64; 15] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000,
    ];

    /// Notes a round trip in nanoseconds; a response captured before its query counts as no time.
    #[inline]
    pub fn note(&mut self, nanoseconds: i64) {
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
        let bucket = Self::BOUNDS.iter().position(|bound| nanoseconds <= bound * 1000);
        self.counts[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(nanoseconds);
    }

    /// Number of round trips noted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A source that a server turned away.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnedAway {
    /// The source: a whole address, or a prefix where many had to be joined.
    pub source: IpNet,
    /// The server.
    pub server: IpAddr,
    /// Transactions by outcome, as in [`Snapshot::outcomes`].
    pub outcomes: OutcomeCounts,
    /// First query that was refused or denied.
    pub first_refused: Option<Timestamp>,
    /// Last query that was refused or denied.
    pub last_refused: Option<Timestamp>,
    /// First packet of a message from or to the source.
    pub first: Option<Timestamp>,
    /// Last packet of a message from or to the source.
    pub last: Option<Timestamp>,
    /// Refused or denied per second over the last ten seconds; `None` when that is not known.
    pub per_second: Option<f64>,
    /// Names and types it was refused last, the latest first, escaped; a few of them.
    pub asked: Vec<(String, String)>,
    /// Expectation of the inventory: `allow`, `refuse`, `unlisted` or `mixed`; empty without an inventory.
    pub expected: &'static str,
    /// The deciding inventory line as `file:line` with its name, escaped; empty when there is none.
    pub expected_rule: String,
    /// The name of that line, escaped; empty when it has none.
    pub name: String,
    /// Verdict of the server's configuration; empty without one, or when nothing was decided since the last report.
    pub verdict: &'static str,
    /// The deciding rule as `file:line`; empty when there is none.
    pub rule: String,
}

impl TurnedAway {
    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Turned away with a response.
    pub fn refused(&self) -> u64 {
        self.count(Outcome::Refused) + self.count(Outcome::Denied)
    }
}

/// Counts of the sources of one inventory name. Lines of a name with different expectations are counted separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCounts {
    /// The lines' name, as the file has it; the prefix of a line without one.
    pub name: String,
    /// Expectation of the lines: `allow` or `refuse`.
    pub expect: &'static str,
    /// Transactions by outcome, as in [`Snapshot::outcomes`].
    pub outcomes: OutcomeCounts,
    /// Last packet of a message from or to one of them.
    pub last: Option<Timestamp>,
}

/// A finding, short enough for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingLine {
    /// Identifier, stable as long as the same findings precede it.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Name of its grade.
    pub grade: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// The statement, on one line, escaped.
    pub says: String,
    /// The next step, when there is one.
    pub advice: Option<String>,
}

#[cfg(test)]
pub(super) mod samples {
    //! The story of a VPN whose translated addresses no list knows, as a running capture shows it.

    use super::*;

    /// Nine o'clock on the last day of 2025, plus this many seconds.
    pub fn at(seconds: i64) -> Timestamp {
        Timestamp((1_767_171_600 + seconds) * 1_000_000_000)
    }

    /// Counts by outcome: answered, refused, denied, silent, rejected, unanswered, unsolicited.
    fn source(address: &str, outcomes: OutcomeCounts, per_second: Option<f64>, name: &str) -> TurnedAway {
        TurnedAway {
            source: format!("{address}/32").parse().unwrap(),
            server: "10.20.30.40".parse().unwrap(),
            outcomes,
            first_refused: Some(at(20)),
            last_refused: Some(at(39)),
            first: Some(at(20)),
            last: Some(at(39)),
            per_second,
            asked: vec![(name.to_owned(), "A".to_owned()), ("mail.corp.example".to_owned(), "MX".to_owned())],
            expected: "unlisted",
            expected_rule: String::new(),
            name: String::new(),
            verdict: "refuse",
            rule: "unbound.conf:42".to_owned(),
        }
    }

    /// A snapshot in which every field has a different value.
    pub fn snapshot() -> Snapshot {
        let office = NamedCounts {
            name: "office".to_owned(),
            expect: "allow",
            outcomes: [500, 2, 0, 0, 0, 1, 0],
            last: Some(at(38)),
        };
        let vpn = NamedCounts {
            name: "vpn \"north\"\n".to_owned(),
            expect: "allow",
            outcomes: OutcomeCounts::default(),
            last: None,
        };
        let mut round_trips = RoundTrips::default();
        for time in [50_000, 300_000, 300_000, 70_000_000, 6_000_000_000] {
            round_trips.note(time);
        }
        Snapshot {
            node: "ns1".to_owned(),
            interfaces: vec!["any".to_owned()],
            started: at(0),
            now: at(40),
            outcomes: [20_166, 1_312, 4, 3, 2, 1, 9],
            extra_refusals: 0,
            without_queries: false,
            upstream: [5_865, 41, 0, 0, 0, 0, 0],
            servers: vec![ServerCounts {
                server: "10.20.30.40".parse().unwrap(),
                outcomes: [20_166, 1_312, 4, 3, 2, 1, 9],
                verdicts: vec![("allow", [20_166, 2, 0, 0, 0, 0, 0]), ("refuse", [0, 1_310, 4, 0, 0, 0, 0])],
            }],
            servers_not_shown: 0,
            loss: Loss {
                kernel_seen: Some(83_412),
                kernel_dropped: Some(7),
                interface_dropped: InterfaceLoss::Unknown,
                own_dropped: Some(0),
            },
            ring_bytes: 64 << 20,
            round_trips,
            sources: 71,
            joined: 1,
            rows: vec![
                source("192.0.2.45", [0, 1_187, 4, 0, 0, 0, 0], Some(31.4), "intranet.corp.example"),
                source("192.0.2.46", [0, 118, 0, 0, 0, 0, 0], Some(2.0), "files.corp.example"),
                source("198.51.100.7", [3, 7, 0, 3, 2, 1, 0], None, "a\\.b.example"),
            ],
            rows_not_shown: 0,
            at_servers: true,
            listed: true,
            judged: true,
            names: vec![office, vpn],
            names_not_shown: 0,
            findings: vec![FindingLine {
                id: "unlisted-source-refused-1".to_owned(),
                kind: "unlisted-source-refused",
                grade: "inferred",
                severity: Severity::Critical,
                says: "Observed: 192.0.2.45 was refused 1,187 times by 10.20.30.40 and is in no inventory line."
                    .to_owned(),
                advice: Some("Ask who owns 192.0.2.45.".to_owned()),
            }],
            severities: [0, 0, 1],
            findings_since: None,
            happened: Vec::new(),
            refused_per_second: (0..40).map(|second| if second < 20 { 0 } else { second * 2 }).collect(),
            sandbox: "sandbox: uid 65534, capabilities none, no new privileges, Landlock ABI 7, seccomp, no core dumps"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_fall_into_the_bucket_that_holds_them() {
        let mut trips = RoundTrips::default();
        for nanoseconds in [-5, 0, 100_000, 100_001, 5_000_000_000, 5_000_000_001] {
            trips.note(nanoseconds);
        }
        let mut wanted = [0; 16];
        (wanted[0], wanted[1], wanted[14], wanted[15]) = (3, 1, 1, 1);
        assert_eq!((trips.counts, trips.total(), trips.sum), (wanted, 6, 10_000_200_002));
    }

    #[test]
    fn unknown_loss_is_not_no_loss() {
        let loss = Loss { kernel_seen: Some(9), kernel_dropped: Some(2), own_dropped: Some(0), ..Loss::default() };
        assert_eq!((loss.known(), loss.complete()), (2, false));
        assert!(Loss { interface_dropped: InterfaceLoss::Exactly(0), ..loss }.complete());
        assert!(!Loss { interface_dropped: InterfaceLoss::AtLeast(0), ..loss }.complete());
    }
}
