//! What every diagnosis looks at ([`Scene`]), and how they count, name and quote: one place, so that the same thing is
//! said in the same words everywhere.

use super::presence::{Presence, presence};
use super::{Finding, Grade, Subject};
use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::config::{Limits, Outcome, Severity};
use crate::expect::acl::judge::Verdicts;
use crate::expect::inventory::{Row, show_prefix};
use crate::expect::{Expected, Inventory};
use crate::report::page::interface_loss;
use crate::report::{Report, SourceLine};
use crate::sources::{FrameRef, Leg};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Ledger buckets of frames that may hold DNS nobody looked at.
const NOT_LOOKED_INTO: [&str; 18] = [
    "tcp_conflict",
    "tcp_out_of_window",
    "tcp_behind_hole",
    "tcp_evicted",
    "fragment_conflict",
    "fragment_expired",
    "fragment_evicted",
    "fragment_incomplete",
    "fragment_malformed",
    "snap_cut",
    "link_malformed",
    "ip_malformed",
    "transport_malformed",
    "nest_limit",
    "not_opened",
    "undeclared_interface",
    "damaged_record",
    "internal_fault",
];

/// A report's facts beside an inventory.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The facts.
    pub report: &'a Report,
    /// What operators expect.
    pub inventory: &'a Inventory,
    /// Bounds of lists.
    pub limits: &'a Limits,
    /// Sources on the client leg, with what is expected of each.
    pub clients: Vec<Client<'a>>,
    /// What the servers' own files say; nothing without one.
    pub verdicts: Option<&'a Verdicts>,
    /// Advice may admit addresses of the public internet.
    pub advise_public: bool,
    /// Presence of each inventory line.
    presence: Vec<Option<Presence>>,
    /// Servers on the client leg: ours.
    servers: BTreeSet<IpAddr>,
}

/// A source at one of our servers.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its tallies.
    pub line: &'a SourceLine,
    /// What the inventory says about it.
    pub expected: Expected<'a>,
}

/// Where an unlisted address comes from, as far as the address itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Private-use, shared, link-local or unique local: somebody of one's own, or of a neighbour.
    Private,
    /// Everything else: anybody.
    Other,
    /// Loopback, or an address that is itself a server here: the server asks itself, no client arrives as it.
    Own,
}

impl<'a> Scene<'a> {
    /// Decides every client once.
    pub fn of(report: &'a Report, inventory: &'a Inventory, limits: &'a Limits) -> Self {
        let clients: Vec<Client<'a>> = report
            .sources
            .iter()
            .filter(|line| line.leg == Leg::Client)
            .map(|line| Client { line, expected: inventory.decide_prefix(line.source) })
            .collect();
        let servers = clients.iter().map(|client| client.line.server).collect();
        let presence = presence(&report.sources, inventory);
        Self { report, inventory, limits, verdicts: None, advise_public: false, presence, clients, servers }
    }

    /// Lines that showed themselves in a given way, in file order.
    pub fn lines(&self, wanted: Presence) -> impl Iterator<Item = &'a Row> {
        let with = self.inventory.rows().iter().zip(&self.presence);
        with.filter(move |(_, presence)| **presence == Some(wanted)).map(|(row, _)| row)
    }

    /// Where an unlisted source comes from.
    pub fn class(&self, line: &SourceLine) -> Class {
        let address = line.source.addr();
        if address.is_loopback() || self.servers.contains(&address) {
            return Class::Own;
        }
        let private = match address {
            IpAddr::V4(v4) => {
                let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
                v4.is_private() || v4.is_link_local() || shared
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if private { Class::Private } else { Class::Other }
    }

    /// Clients in groups by server and `key`; those without a key are left out.
    pub fn groups<K: Ord>(&self, key: impl Fn(&Client<'a>) -> Option<K>) -> BTreeMap<(IpAddr, K), Vec<Client<'a>>> {
        let mut groups: BTreeMap<(IpAddr, K), Vec<Client<'a>>> = BTreeMap::new();
        for client in &self.clients {
            if let Some(key) = key(client) {
                groups.entry((client.line.server, key)).or_default().push(*client);
            }
        }
        groups
    }

    /// A finding about a group, with its members by `count` and the frames that show it.
    pub fn finding(
        &self,
        kind: &'static str,
        severity: Severity,
        group: &[Client<'a>],
        count: impl Fn(&SourceLine) -> u64,
        frames: impl Fn(&SourceLine) -> &[FrameRef],
    ) -> Finding {
        let mut members: Vec<&SourceLine> = group.iter().map(|client| client.line).collect();
        members.sort_by_key(|line| (Reverse(count(line)), line.source));
        let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for frame in members.iter().flat_map(|line| frames(line)) {
            let of_input = by_input.entry(frame.input as usize).or_default();
            of_input.insert(frame.frame);
            if of_input.len() > self.limits.finding_frames {
                of_input.pop_last();
            }
        }
        Finding {
            id: String::new(),
            kind,
            grade: Grade::Observed,
            severity,
            subject: Subject {
                server: members.first().map(|line| line.server),
                sources: members
                    .iter()
                    .take(self.limits.finding_members)
                    .map(|line| show_prefix(line.source))
                    .collect(),
                ..Subject::default()
            },
            says: String::new(),
            count: members.iter().map(|line| count(line)).sum(),
            frames: by_input.into_iter().map(|(input, frames)| (input, frames.into_iter().collect())).collect(),
            advice: None,
        }
    }

    /// The time from the first to the last frame, such as `30 s`.
    pub fn duration(&self) -> String {
        let (Some(first), Some(last)) = (self.report.totals.first, self.report.totals.last) else {
            return "time".to_owned();
        };
        show_duration(last.0.saturating_sub(first.0))
    }

    /// What was looked at: frames and times.
    pub fn window(&self) -> String {
        let totals = &self.report.totals;
        let seconds_tell = totals.first.map(|time| time.to_rfc3339(0)) != totals.last.map(|time| time.to_rfc3339(0));
        let show = |time: Timestamp| time.to_rfc3339(if seconds_tell { 0 } else { 3 });
        let mut text = match totals.frames {
            1 => "1 frame".to_owned(),
            frames => format!("{frames} frames"),
        };
        match (totals.first, totals.last) {
            (Some(first), Some(last)) if first == last => {
                let _ = write!(text, " at {}", show(first));
            }
            (Some(first), Some(last)) => {
                let _ = write!(text, " from {} to {}", show(first), show(last));
            }
            _ => {}
        }
        text
    }

    /// Why something may have been there although it was not seen, in sentences.
    pub fn caveats(&self) -> String {
        let packets = &self.report.ledgers.packets;
        let hidden: u64 = NOT_LOOKED_INTO.iter().map(|bucket| packets.get(bucket)).sum();
        let left_out = packets.get("not_selected");
        let mut text = "This is about this capture only".to_owned();
        match self.report.ledgers.capture.map(|capture| (capture.lost(), capture.interface_dropped)) {
            None => text.push_str("; whether it lost packets is not recorded."),
            Some((lost, interface)) => {
                let lost = if lost == 0 { "no".to_owned() } else { lost.to_string() };
                let _ = match interface.known() {
                    Some(0) if interface == InterfaceLoss::Exactly(0) => write!(text, ", which lost {lost} packets."),
                    Some(1..) => {
                        let interface = interface_loss(interface);
                        write!(text, ", which lost {lost} packets; its interface lost {interface} of any traffic.")
                    }
                    _ => write!(text, ", which lost {lost} packets; what its interface lost is not known."),
                };
            }
        }
        if hidden > 0 {
            let _ = write!(text, " {hidden} of its frames could not be looked into.");
        }
        if left_out > 0 {
            let _ = write!(text, " {left_out} of its frames were left out by filter or time.");
        }
        if self.report.filtered && left_out > 0 {
            text.push_str(" The filter may be why something is missing.");
        }
        if self.report.partial.is_some() || self.report.inputs.iter().any(|input| !input.damage.is_empty()) {
            text.push_str(" It was not read to its end.");
        }
        text
    }
}

/// Sums over the sources of a group.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// REFUSED with a captured query.
    pub refused: u64,
    /// Denied otherwise.
    pub denied: u64,
    /// REFUSED responses without a captured query.
    pub unsolicited: u64,
    /// Answered.
    pub answered: u64,
}

impl Tally {
    /// Adds up a group.
    pub fn of(group: &[Client<'_>]) -> Self {
        group.iter().fold(Self::default(), |sum, client| Self {
            refused: sum.refused + client.line.count(Outcome::Refused),
            denied: sum.denied + client.line.count(Outcome::Denied),
            unsolicited: sum.unsolicited + client.line.row.rare().refused_unsolicited,
            answered: sum.answered + client.line.count(Outcome::Answered),
        })
    }

    /// `refused 187 times by 10.20.30.40`; denials and responses without a captured query are said apart.
    pub fn turned_away(&self, by: IpAddr) -> String {
        let refused = self.refused + self.unsolicited;
        let mut apart = Vec::new();
        if self.denied > 0 {
            apart.push(format!("refused {refused}, denied with another code {}", self.denied));
        }
        match self.unsolicited {
            0 => {}
            1 => apart.push("1 of these by a response whose query is not known".to_owned()),
            count => apart.push(format!("{count} of these by responses whose queries are not known")),
        }
        let apart = if apart.is_empty() { String::new() } else { format!(" ({})", apart.join("; ")) };
        let what = if self.denied == 0 { "refused" } else { "turned away" };
        format!("{what} {} by {by}{apart}", times(refused + self.denied))
    }
}

/// `once`, `2 times`.
pub fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A duration in nanoseconds in the unit that fits.
fn show_duration(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    match milliseconds {
        ..=0 => "instant".to_owned(),
        1..=999 => format!("{milliseconds} ms"),
        1000..=119_999 if milliseconds % 1000 / 100 == 0 => format!("{} s", milliseconds / 1000),
        1000..=119_999 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        120_000..=7_199_999 => format!("{} minutes", milliseconds / 60_000),
        7_200_000..=172_799_999 => format!("{} hours", milliseconds / 3_600_000),
        _ => format!("{} days", milliseconds / 86_400_000),
    }
}

/// The frames of refusals of a source.
pub fn refused_frames(line: &SourceLine) -> &[FrameRef] {
    &line.row.rare().refused_frames
}

/// Some names, the first few of them: `a, b and 3 more`.
pub fn some(names: &[String], at_most: usize) -> String {
    let shown = names.len().min(at_most);
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..shown].join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::missing_panics_doc)] // only tests call it
pub mod samples {
    //! Small inventories and sources for the tests of diagnoses and formats.

    use super::*;
    use crate::report::Expectation;

    /// An inventory from the text of a file called `expect.csv`.
    pub fn inventory(text: &str) -> Inventory {
        Inventory::from_text("expect.csv", text).unwrap()
    }

    /// A time in seconds after 2025-12-31T09:04:10Z.
    pub fn at(seconds: i64) -> Timestamp {
        Timestamp((1_767_171_850 + seconds) * 1_000_000_000)
    }

    /// A source of the client leg without any query.
    pub fn source(source: &str, server: &str) -> SourceLine {
        let source =
            if source.contains('/') { source.parse().unwrap() } else { source.parse::<IpAddr>().unwrap().into() };
        let mut row = crate::sources::SourceRow::default();
        row.seen(at(0));
        row.seen(at(30));
        SourceLine { source, server: server.parse().unwrap(), leg: Leg::Client, row, expectation: None, verdict: None }
    }

    /// Changes a sample.
    pub trait With: Sized {
        /// Sets the transactions of an outcome, with frames for it.
        #[must_use]
        fn with(self, outcome: Outcome, count: u64) -> Self;
    }

    impl With for SourceLine {
        fn with(mut self, outcome: Outcome, count: u64) -> Self {
            self.row.add_outcome(outcome, count - self.row.count(outcome));
            self.row.queries += count;
            let frames: Vec<FrameRef> = (1..=count.min(20)).map(|at| FrameRef { input: 0, frame: 2 * at }).collect();
            match outcome {
                Outcome::Refused => {
                    let rare = self.row.rare_mut();
                    rare.refused_frames = frames;
                    (rare.refused_first, rare.refused_last) = (Some(at(1)), Some(at(29)));
                }
                Outcome::Answered => {
                    self.row.rare_mut().answered_frames = frames;
                }
                _ => {}
            }
            self
        }
    }

    /// A report of these sources in one capture of 30 s.
    pub fn report(sources: Vec<SourceLine>, inventory: &Inventory) -> Report {
        let mut report = Report {
            sources,
            time_digits: 6,
            inputs: vec![crate::report::InputReport {
                name: "server.pcap".to_owned(),
                format: "pcap",
                link_types: vec!["EN10MB".to_owned()],
                frames: 900,
                first: Some(at(0)),
                last: Some(at(30)),
                bytes: 90_000,
                ..crate::report::InputReport::default()
            }],
            ..Report::default()
        };
        report.totals.frames = 900;
        report.totals.first = Some(at(0));
        report.totals.last = Some(at(30));
        for line in &mut report.sources {
            for (total, (_, outcome)) in report.totals.outcomes.iter_mut().zip(Outcome::ALL) {
                *total += line.row.count(outcome);
            }
            if !inventory.is_empty() {
                line.expectation = Some(Expectation::from(inventory.decide_prefix(line.source)).into());
            }
        }
        report.totals.transactions = report.sources.iter().map(SourceLine::transactions).sum();
        report
    }
}
