//! Transactions as they are decided ([`Decided`]): rows written at once, and what the servers' files say of each.

use super::expectations::Expected;
use crate::config::{Config, Outcomes};
use crate::decode::Interface;
use crate::decode::detail::DetailLimits;
use crate::error::Error;
use crate::expect::acl::judge::{Judgements, Verdicts};
use crate::report::Ledger;
use crate::report::output::Output;
use crate::report::row::RowText;
use crate::report::rows::{RowInput, Rows};
use crate::sources::Leg;
use crate::transact::Transaction;
use crate::watch::noted::Noted;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// Digits of the fraction of captured times: nanoseconds.
const TIME_DIGITS: usize = 9;

/// Where rows go as they are decided.
pub struct Stream {
    output: Output,
    row: fn(&RowText, &mut Vec<u8>),
    line: Vec<u8>,
    made: u64,
    written: u64,
    fine: bool,
}

impl Stream {
    /// Writes the header.
    pub fn new(mut output: Output, header: fn(&mut Vec<u8>), row: fn(&RowText, &mut Vec<u8>)) -> Self {
        let mut line = Vec::new();
        header(&mut line);
        let fine = output.write_all(&line).is_ok();
        Self { output, row, line, made: 0, written: 0, fine }
    }

    fn write(&mut self, text: &RowText) {
        self.made += 1;
        if self.fine {
            self.line.clear();
            (self.row)(text, &mut self.line);
            // The output remembers its first error, which its end reports.
            self.fine = self.output.write_all(&self.line).is_ok();
            self.written += u64::from(self.fine);
        }
    }
}

/// On which leg a transaction is, as far as can be told while the capture goes on.
#[derive(Debug)]
pub struct StreamLegs {
    ours: HashSet<IpAddr>,
    /// Servers were declared, or one of this host's addresses was seen.
    known: bool,
}

impl StreamLegs {
    /// `ours` are the addresses of declared servers and of this host; `declared` when there are some of the former.
    pub fn new(ours: HashSet<IpAddr>, declared: bool) -> Self {
        Self { ours, known: declared }
    }

    /// The leg of a transaction. Until an address of this host is seen every server that answers is one of ours.
    fn leg(&mut self, transaction: &Transaction<'_>) -> Leg {
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        let (source, to_ours) = (self.ours.contains(&source), self.ours.contains(&server));
        self.known |= source || to_ours;
        match (source, to_ours) {
            (true, _) if transaction.ends.source() != transaction.ends.destination() => Leg::Upstream,
            (_, true) => Leg::Client,
            (_, false) if !self.known && transaction.response.is_some() => Leg::Client,
            (_, false) => Leg::Other,
        }
    }
}

/// Takes every transaction of the outcomes wanted, from all trackers.
pub struct Decided {
    rows: Rows,
    inputs: Vec<RowInput>,
    /// This host's interfaces by index.
    interfaces: HashMap<u32, String>,
    /// Outcomes and legs that get a row.
    chosen: Outcomes,
    upstream: bool,
    every_leg: bool,
    legs: StreamLegs,
    judges: bool,
    judgements: Judgements,
    detail: DetailLimits,
    stream: Option<Stream>,
    /// Rows made and written by a stream that has ended.
    ended: (u64, u64),
    /// Those that stood in a ledger already.
    told: (u64, u64),
    /// For whoever watches: screen and metrics.
    noted: Option<Noted>,
}

impl Decided {
    /// Nothing decided yet; `inputs` are the names of the inputs, `interfaces` this host's by index.
    pub fn new(
        config: &Config,
        expected: &Expected,
        inputs: Vec<String>,
        interfaces: HashMap<u32, String>,
        stream: Option<Stream>,
        legs: StreamLegs,
    ) -> Self {
        let limits = &config.limits;
        let inputs: Vec<RowInput> =
            inputs.into_iter().map(|name| RowInput { name, time_digits: TIME_DIGITS }).collect();
        let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
        Self {
            rows: rows(config, expected, &inputs),
            inputs,
            interfaces,
            chosen: config.rows,
            upstream: config.upstream,
            every_leg: config.every_leg,
            legs,
            judges: !config.acls.is_empty(),
            judgements: judgements(config, expected, detail),
            detail,
            stream,
            ended: (0, 0),
            told: (0, 0),
            noted: watched(config).then(|| Noted::new(limits.watch_pairs)),
        }
    }

    /// Outcomes it wants to be given.
    pub fn wanted(&self) -> Outcomes {
        match (self.judges || self.noted.is_some(), self.stream.is_some()) {
            (true, _) => Outcomes::ALL,
            (false, true) => self.chosen,
            (false, false) => Outcomes::of(&[]),
        }
    }

    /// Takes a transaction.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        if self.judges {
            self.judgements.push(transaction);
        }
        let leg = self.legs.leg(transaction);
        if let Some(noted) = self.noted.as_mut().filter(|_| leg == Leg::Client) {
            noted.push(transaction);
        }
        let Some(stream) = &mut self.stream else { return };
        let on_leg = match leg {
            Leg::Client => true,
            Leg::Upstream => self.upstream || self.every_leg,
            Leg::Other => self.every_leg,
        };
        if on_leg && self.chosen.has(transaction.outcome) {
            let seen = transaction.query.or(transaction.response);
            let interface = match seen.map(|seen| (seen.point.interface(), seen.frame.input)) {
                Some((Interface::Section(_), input)) => self.inputs.get(input as usize).map(|input| &*input.name),
                Some((Interface::Host(index), _)) => self.interfaces.get(&index).map(String::as_str),
                None => None,
            };
            stream.write(self.rows.one(transaction, leg, interface));
        }
    }

    /// What was noted for whoever watches.
    pub fn noted(&self) -> Option<&Noted> {
        self.noted.as_ref()
    }

    /// Messages of rows that could not be decoded in full.
    pub fn without_detail(&self) -> u64 {
        self.rows.without_detail
    }

    /// Other expectations hold from now on; where the servers' files are others, what they say is compared anew.
    pub fn expect(&mut self, config: &Config, expected: &Expected) {
        let without_detail = self.rows.without_detail;
        self.rows = rows(config, expected, &self.inputs);
        self.rows.without_detail = without_detail;
        if !Arc::ptr_eq(self.judgements.acls(), &expected.acls) {
            self.compare_anew(config, expected);
        }
    }

    /// What the servers' files say is compared anew.
    pub fn compare_anew(&mut self, config: &Config, expected: &Expected) {
        self.judgements = judgements(config, expected, self.detail);
    }

    /// What was decided so far by the servers' files, or since the last time this was taken with `begin_anew`.
    pub fn verdicts(&mut self, config: &Config, expected: &Expected, begin_anew: bool) -> Verdicts {
        if begin_anew {
            let fresh = judgements(config, expected, self.detail);
            return std::mem::replace(&mut self.judgements, fresh).finish();
        }
        self.judgements.so_far()
    }

    /// Something was decided otherwise than a server's file says.
    pub fn differs(&self) -> bool {
        let verdicts = self.judgements.so_far();
        (0..verdicts.acls.len()).any(|number| verdicts.agreement(number).1 > 0)
    }

    /// Rows made and written since this was last asked.
    pub fn ledger(&mut self) -> Ledger {
        let now = self.stream.as_ref().map_or(self.ended, |stream| (stream.made, stream.written));
        let before = std::mem::replace(&mut self.told, now);
        let (made, written) = (now.0 - before.0, now.1 - before.1);
        Ledger { buckets: vec![("rows_made", made), ("rows_written", written)], closed: made == written }
    }

    /// Sends what was written so far on its way.
    pub fn flush(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.fine &= stream.output.flush().is_ok();
        }
    }

    /// Ends the rows; true when their reader went away before.
    pub fn finish(&mut self) -> Result<bool, Error> {
        self.ended = self.stream.as_ref().map_or(self.ended, |stream| (stream.made, stream.written));
        self.stream.take().map_or(Ok(false), |stream| stream.output.finish().map(|finished| finished.pipe_closed))
    }

    /// True when the reader of rows went away, or they cannot be written.
    pub fn is_broken(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.fine)
    }
}

/// Somebody watches while the capture goes on.
pub fn watched(config: &Config) -> bool {
    config.live.screen || config.live.metrics.is_some()
}

fn rows(config: &Config, expected: &Expected, inputs: &[RowInput]) -> Rows {
    let listed = (!expected.inventory.is_empty()).then(|| Arc::clone(&expected.inventory));
    Rows::new(inputs.to_vec(), listed, &expected.acls, &config.limits)
}

fn judgements(config: &Config, expected: &Expected, detail: DetailLimits) -> Judgements {
    Judgements::new(Arc::clone(&expected.acls), detail, config.limits.answered_rows, config.limits.finding_frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outcome;
    use crate::decode::Ends;
    use crate::transact::flights::Transport;

    fn transaction(source: u8, server: u8) -> Transaction<'static> {
        Transaction {
            outcome: Outcome::Unanswered,
            ends: Ends::v4([10, 0, 0, source], [10, 0, 0, server]),
            ports: (1234, 53),
            transport: Transport::Udp,
            id: Some(1),
            query: None,
            query_bytes: &[],
            response: None,
            response_bytes: &[],
            message: None,
        }
    }

    #[test]
    fn this_hosts_addresses_decide_the_leg() {
        let ours: HashSet<IpAddr> = ["10.0.0.53".parse().unwrap()].into();
        let mut legs = StreamLegs::new(ours.clone(), false);
        assert_eq!(legs.leg(&transaction(1, 9)), Leg::Other, "it did not answer");
        assert_eq!(legs.leg(&transaction(1, 53)), Leg::Client);
        assert_eq!(legs.leg(&transaction(53, 9)), Leg::Upstream);
        assert!(legs.known);
    }
}
