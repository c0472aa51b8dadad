//! Takes transactions as they are decided ([`Decided`]): writes rows at once, and judges each by the servers' files.

use super::addresses::Addresses;
use super::expectations::Expected;
use crate::config::{Config, Outcome, Outcomes};
use crate::decode::Interface;
use crate::decode::detail::DetailLimits;
use crate::error::Error;
use crate::expect::acl::judge::{Judgements, Verdicts};
use crate::pipeline::aside::{Aside, Counts};
use crate::report::Ledger;
use crate::report::legs::{About, Legs};
use crate::report::output::Output;
use crate::report::row::RowText;
use crate::report::rows::{RowInput, Rows};
use crate::report::sides::{HandedOn, Sides};
use crate::sources::{Leg, Sources};
use crate::transact::Transaction;
use crate::watch::noted::Noted;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// Digits of the fraction of captured times: nanosecond resolution.
const TIME_DIGITS: usize = 9;

/// Destination of rows, written as they are decided.
pub struct Stream {
    output: Aside,
    row: fn(&RowText, &mut Vec<u8>),
    line: Vec<u8>,
}

impl Stream {
    /// Starts with the header; at most `limit` bytes of rows wait for their reader.
    pub fn new(
        mut output: Output,
        header: fn(&mut Vec<u8>),
        row: fn(&RowText, &mut Vec<u8>),
        limit: usize,
    ) -> Result<Self, Error> {
        let mut line = Vec::new();
        header(&mut line);
        // Writes are buffered; the output remembers its first error, and reports it at its end.
        let _ = output.write_all(&line);
        Ok(Self { output: Aside::of(output, limit)?, row, line })
    }

    fn write(&mut self, text: &RowText) {
        self.line.clear();
        (self.row)(text, &mut self.line);
        self.output.offer(&self.line);
    }
}

/// Most servers of others remembered to have answered.
const SERVERS: usize = 65_536;

/// Decides the leg of a transaction, as far as possible while the capture goes on.
#[derive(Debug)]
pub struct StreamLegs {
    legs: Legs,
    addresses: Addresses,
    declared: HashSet<IpAddr>,
    about: About,
    /// Only responses are captured.
    without_queries: bool,
}

impl StreamLegs {
    /// `addresses` are those of this host, `declared` those of declared servers.
    pub fn new(addresses: Addresses, declared: HashSet<IpAddr>, without_queries: bool) -> Self {
        let legs = Legs::of_host(addresses.known(), declared.iter().copied());
        let about = if declared.is_empty() { About::Undecided } else { About::Host };
        Self { legs, addresses, declared, about, without_queries }
    }

    /// The leg of a transaction. Where the capture is about others' servers, every server that answers is one of ours.
    fn leg(&mut self, transaction: &Transaction<'_>) -> Leg {
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        let answered = match transaction.outcome {
            Outcome::Refused | Outcome::Denied | Outcome::Answered => true,
            Outcome::Unsolicited => self.without_queries,
            Outcome::TcpRejected | Outcome::Silent | Outcome::Unanswered => false,
        };
        if answered && self.about != About::Host && !self.addresses.known().contains(&source) {
            self.answered(source, server);
        }
        match self.legs.leg(source, server) {
            // It may be an address that this host was given just now.
            Leg::Other if self.look() => self.legs.leg(source, server),
            leg => leg,
        }
    }

    /// Notes that a server answered, to learn whether it answers hosts other than this one.
    fn answered(&mut self, source: IpAddr, server: IpAddr) {
        // The kernel is asked when a server is first met, not for each answer: an address given to this host since the
        // last tick may be taken for another host's until the next one.
        if !self.legs.is_ours(server) {
            self.look();
            // What this host itself asks says nothing about whose servers these are.
            if self.addresses.known().contains(&source) {
                return;
            }
        }
        let by_us = self.addresses.known().contains(&server);
        if self.about == About::Undecided {
            self.about = if by_us { About::Host } else { About::Others };
        }
        if self.about == About::Others && !by_us {
            self.legs.answered(source, server, SERVERS);
        }
    }

    /// Adds declared servers. None is removed, because what was said about them stays.
    pub fn declare(&mut self, servers: impl Iterator<Item = IpAddr>) {
        for server in servers.filter(|server| self.declared.insert(*server)) {
            self.legs.declare(server);
            if self.about == About::Undecided {
                self.about = About::Host;
            }
        }
    }

    /// Takes over new addresses of this host; true when some of them were missed.
    pub fn keep_up(&mut self) -> bool {
        self.look();
        self.addresses.has_missed()
    }

    /// Takes over new addresses of this host; true when there are any.
    fn look(&mut self) -> bool {
        let new = self.addresses.look();
        for address in &new {
            self.legs.add_host(*address);
        }
        !new.is_empty()
    }

    /// This host's addresses, and the legs as far as the rows of this interval and of earlier ones tell.
    pub fn of_rows(&mut self, rows: [&Sources; 2]) -> (HashSet<IpAddr>, Legs) {
        self.look();
        let local = self.addresses.known();
        if self.about == About::Undecided {
            let answered = |by_us: bool| {
                let mut found = false;
                rows[0].each(|key, row| {
                    let heard = row.has_answers() || (self.without_queries && row.heard());
                    found |= heard && local.contains(&key.server) == by_us && !local.contains(&key.source.addr());
                });
                found
            };
            self.about = match (answered(true), answered(false)) {
                (true, _) => About::Host,
                (false, true) => About::Others,
                (false, false) => About::Undecided,
            };
        }
        (local.clone(), Legs::live(local, self.declared.iter().copied(), self.about, rows))
    }
}

/// Receives every transaction of the wanted outcomes, from all trackers.
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
    /// Counts of rows of a stream that has ended.
    ended: Counts,
    /// Counts of rows that an earlier ledger contains.
    told: Counts,
    /// Notes for screen and metrics.
    noted: Option<Noted>,
    /// Queries that were decided on both sides of this host.
    sides: Sides,
}

impl Decided {
    /// Before the first transaction; `inputs` are the names of the inputs, `interfaces` this host's by index.
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
            ended: Counts::default(),
            told: Counts::default(),
            noted: watched(config).then(|| Noted::new(limits.watch_pairs)),
            sides: Sides::of(false),
        }
    }

    /// Outcomes that it wants to receive.
    pub fn wanted(&self) -> Outcomes {
        match (self.judges || self.noted.is_some(), self.stream.is_some()) {
            (true, _) => Outcomes::ALL,
            (false, true) => self.chosen.and(Sides::wanted()),
            (false, false) => Sides::wanted(),
        }
    }

    /// Receives a transaction.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        if self.judges {
            self.judgements.push(transaction);
        }
        self.sides.push(transaction);
        if !self.judges && self.noted.is_none() && self.stream.is_none() {
            return;
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

    /// Decides legs.
    pub fn legs(&mut self) -> &mut StreamLegs {
        &mut self.legs
    }

    /// Servers that handed queries on.
    pub fn handed_on(&self) -> BTreeMap<IpAddr, HandedOn> {
        self.sides.handed_on().into_iter().map(|((server, _), handed_on)| (server, handed_on)).collect()
    }

    /// The notes for screen and metrics.
    pub fn noted(&self) -> Option<&Noted> {
        self.noted.as_ref()
    }

    /// Number of messages of rows that could not be decoded in full.
    pub fn without_detail(&self) -> u64 {
        self.rows.without_detail
    }

    /// Switches to other expectations. Where the servers' files changed, verdicts are counted anew, and the counts so
    /// far are returned.
    pub fn expect(&mut self, config: &Config, expected: &Expected) -> Option<Verdicts> {
        let without_detail = self.rows.without_detail;
        self.rows = rows(config, expected, &self.inputs);
        self.rows.without_detail = without_detail;
        (!Arc::ptr_eq(self.judgements.acls(), &expected.acls)).then(|| self.compare_anew(config, expected))
    }

    /// Starts counting verdicts anew; returns the counts so far.
    pub fn compare_anew(&mut self, config: &Config, expected: &Expected) -> Verdicts {
        let fresh = judgements(config, expected, self.detail);
        std::mem::replace(&mut self.judgements, fresh).finish()
    }

    /// Verdicts counted since that was last started anew.
    pub fn verdicts(&self) -> Verdicts {
        self.judgements.so_far()
    }

    /// True when some outcome disagreed with a server's file.
    pub fn differs(&self) -> bool {
        let verdicts = self.judgements.so_far();
        (0..verdicts.acls.len()).any(|number| verdicts.agreement(number).1 > 0)
    }

    /// Where all rows so far are.
    pub fn counts(&self) -> Counts {
        self.stream.as_ref().map_or(self.ended, |stream| stream.output.counts())
    }

    /// Numbers of rows made since the last call, and of those that waited then.
    pub fn ledger(&mut self) -> Ledger {
        let now = self.counts();
        let before = std::mem::replace(&mut self.told, now);
        let (made, carried) = (now.made - before.made, before.waiting);
        let (written, left_out) = (now.written - before.written, now.left_out - before.left_out);
        let mut buckets = vec![("rows_made", made), ("rows_written", written)];
        let more = [("rows_carried_in", carried), ("rows_left_out", left_out), ("rows_waiting", now.waiting)];
        buckets.extend(more.into_iter().filter(|(_, count)| *count > 0));
        Ledger { buckets, closed: made + carried == written + left_out + now.waiting }
    }

    /// Flushes what was written so far.
    pub fn flush(&self) {
        if let Some(stream) = &self.stream {
            stream.output.flush();
        }
    }

    /// Ends the rows; true when their reader went away before.
    pub fn finish(&mut self) -> Result<bool, Error> {
        let Some(stream) = self.stream.take() else { return Ok(false) };
        let (result, counts) = stream.output.finish("rows");
        self.ended = counts;
        result.map(|finished| finished.pipe_closed)
    }

    /// True when the reader of rows went away, or writing failed.
    pub fn is_broken(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.output.is_broken())
    }

    /// The line that says that rows are no longer written.
    pub fn how_broken(&self) -> String {
        match self.stream.as_ref().and_then(|stream| stream.output.reason()) {
            Some(reason) => format!("rows cannot be written ({reason})"),
            None => "nobody reads rows any more".to_owned(),
        }
    }
}

/// True when somebody watches while the capture goes on.
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
    use crate::decode::Ends;
    use crate::sources::SourceRow;
    use crate::transact::in_flight::Transport;

    fn transaction(source: u8, server: u8, answered: bool) -> Transaction<'static> {
        Transaction {
            outcome: if answered { Outcome::Refused } else { Outcome::Unanswered },
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

    fn legs() -> StreamLegs {
        StreamLegs::new(Addresses::fixed(["10.0.0.53".parse().unwrap()]), HashSet::new(), false)
    }

    #[test]
    fn this_hosts_addresses_decide_the_leg() {
        let mut legs = legs();
        assert_eq!(legs.leg(&transaction(1, 9, false)), Leg::Other, "it did not answer");
        assert_eq!(legs.leg(&transaction(53, 9, true)), Leg::Upstream);
        assert_eq!(legs.leg(&transaction(1, 53, true)), Leg::Client);
        assert_eq!(legs.leg(&transaction(1, 9, true)), Leg::Other, "this host answers");
    }

    #[test]
    fn what_this_host_asks_hides_nothing_on_a_mirror_port() {
        let mut legs = legs();
        let (now, before) = (Sources::new(8, 8, 1), Sources::new(8, 8, 1));
        let mut refused = SourceRow::default();
        refused.add_outcome(Outcome::Refused, 1);
        let [own, server] = [53, 9].map(|last| IpAddr::from([10, 0, 0, last]));
        for (source, leg) in [(1, Leg::Client), (53, Leg::Upstream), (2, Leg::Client)] {
            assert_eq!(legs.leg(&transaction(source, 9, true)), leg);
            let source = IpAddr::from([10, 0, 0, source]);
            now.fold(source, server, refused.clone(), false);
            // The report says the same of it, now and later.
            let (_, of_rows) = legs.of_rows([&now, &before]);
            assert_eq!(of_rows.leg(source, server), leg);
        }
        assert_eq!(legs.leg(&transaction(2, 9, false)), Leg::Client, "it is known to answer others");
        // That this host also answers somebody later does not change that.
        assert_eq!(legs.leg(&transaction(1, 53, true)), Leg::Client);
        now.fold(IpAddr::from([10, 0, 0, 1]), own, refused, false);
        assert_eq!(legs.leg(&transaction(3, 9, true)), Leg::Client);
        let (_, of_rows) = legs.of_rows([&now, &before]);
        assert_eq!(of_rows.leg(IpAddr::from([10, 0, 0, 2]), server), Leg::Client);
    }

    #[test]
    fn what_this_host_asks_from_a_new_address_tells_nothing_of_whose_servers_these_are() {
        let addresses = Addresses::with_news(["10.0.0.53".parse().unwrap()], [10, 0, 0, 7].into());
        let mut legs = StreamLegs::new(addresses, HashSet::new(), false);
        assert_eq!(legs.leg(&transaction(7, 9, true)), Leg::Upstream);
        assert_eq!(legs.leg(&transaction(1, 53, true)), Leg::Client);
        assert_eq!(legs.leg(&transaction(1, 9, true)), Leg::Other, "this host answers");
    }
}
