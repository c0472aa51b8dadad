//! A finished run as facts ([`Report`]) to text, csv, jsonl or json: one file per format, listed in [`FORMATS`].
//!
//! Nothing here decides anything: formats print what earlier stages stated, in words no stronger than its grade.

pub mod accounts;
pub mod build;
pub mod cell;
mod columns;
pub mod csv;
mod facts;
pub mod json;
pub mod jsonl;
mod looked_at;
pub mod output;
pub mod page;
pub mod row;
pub mod rows;
pub mod spool;
pub mod text;

use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::config::{Color, Config, Outcome, Vantage};
use crate::diagnose::Finding;
use crate::expect::Expected;
use crate::expect::acl::compare::{self, Question};
use crate::expect::acl::judge::{self, Verdicts};
use crate::expect::acl::text::Cited;
use crate::expect::acl::{Acl, Rule, Word};
use crate::sources::{Leg, SourceRow};
use crate::transact::proxied::{ProxiedKey, ProxiedPair};
use ipnet::IpNet;
use page::{grouped, lost_packets, percent};
use row::RowText;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Parts of a `--client` prefix that a server's configuration treats differently, named at most.
const FOCUS_PARTS: usize = 8;

/// Every output format; the first is the default.
pub const FORMATS: &[Format] = &[
    text::FORMAT,
    json::FORMAT,
    Format {
        name: "csv",
        about: "one row per transaction, RFC 4180 with a header line",
        writer: Writer::Rows { header: csv::header, row: csv::row },
    },
    Format {
        name: "jsonl",
        about: "one JSON object per transaction and line",
        writer: Writer::Rows { header: jsonl::header, row: jsonl::row },
    },
];

/// The format of a name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// An output format.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// What writes it.
    pub writer: Writer,
}

/// What a format is written from.
#[derive(Debug, Clone, Copy)]
pub enum Writer {
    /// The finished report.
    Report(fn(&Report, &Layout, &mut dyn Write) -> io::Result<()>),
    /// One transaction after the other, each appended to the bytes given.
    Rows {
        /// What comes before the first row.
        header: fn(&mut Vec<u8>),
        /// One row.
        row: fn(&RowText, &mut Vec<u8>),
    },
}

/// How a report is laid out, where the format leaves a choice.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Sources listed in text.
    pub top: usize,
    /// Text is coloured.
    pub color: bool,
    /// List also what is usually one line.
    pub verbose: bool,
}

impl Layout {
    /// From the configuration, for an output that is or is not a terminal; `no_color` is true when the environment
    /// variable `NO_COLOR` is set to anything but nothing.
    pub fn of(config: &Config, terminal: bool, no_color: bool) -> Self {
        let color = match config.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self { top: config.top, color, verbose: config.verbose }
    }
}

/// Everything a run found out, ready to be printed. The same input gives the same report, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the node the capture was taken on, when the operator gave one.
    pub node: Option<String>,
    /// Why the report does not cover the whole input, when it does not (interrupted).
    pub partial: Option<String>,
    /// A packet filter chose what was looked at, so that what is not there may have been left out. Only refusals are such
    /// a choice as well.
    pub filtered: bool,
    /// How long before a response its query is known.
    pub looked_back: Duration,
    /// A filter chose what was captured, by this run or as a file says; another program's may have left out no DNS.
    pub filtered_at_capture: bool,
    /// Nothing before the one time and after the other was looked at.
    pub selected: (Option<Timestamp>, Option<Timestamp>),
    /// Connections to ports where DNS is encrypted, of which nothing was read.
    pub encrypted: u64,
    /// The capture was made by this run.
    pub live: Option<LiveReport>,
    /// One entry per input, in the order they were read.
    pub inputs: Vec<InputReport>,
    /// Where every unit went.
    pub ledgers: Ledgers,
    /// Sums over all inputs.
    pub totals: Totals,
    /// One line per source, server and leg; ordered by leg, refused (descending), source, server.
    pub sources: Vec<SourceLine>,
    /// What follows from the above; most severe first.
    pub findings: Vec<Finding>,
    /// Where the capture was taken, as the operator says.
    pub vantage: Option<Vantage>,
    /// Servers whose responses arrived where it was taken: none is that host.
    pub arriving: BTreeSet<IpAddr>,
    /// Queries behind a proxy's header, by server and proxy.
    pub proxied: BTreeMap<ProxiedKey, ProxiedPair>,
    /// Sentences about what this capture cannot show (encrypted ports seen, evicted state, ...).
    pub notes: Vec<String>,
    /// The `--client` prefixes, in the order given.
    pub focus: Vec<IpNet>,
    /// What the inventory expects of each of them; empty without one.
    pub focus_expectations: Vec<Expectation>,
    /// What servers' configurations say of the wire, one entry per file; empty without one.
    pub files: Vec<FileReport>,
    /// What they say of each of the `--client` prefixes: verdict and rule, of each part when they differ within.
    pub focus_verdicts: Vec<String>,
    /// Digits of a second's fraction that the inputs' timestamps carry (3, 6 or 9; the finest of them).
    pub time_digits: usize,
}

/// What one input turned out to be.
#[derive(Debug, Clone, Default)]
pub struct InputReport {
    /// Name as given by the user; may hold any character.
    pub name: String,
    /// `pcap` or `pcapng`; empty when the input could not be opened.
    pub format: &'static str,
    /// `gzip`, `zstd`, `lz4` or nothing.
    pub compression: Option<&'static str>,
    /// LINKTYPE_ names of the interfaces that packets came from.
    pub link_types: Vec<String>,
    /// Frames read.
    pub frames: u64,
    /// Earliest and latest time of a frame.
    pub first: Option<Timestamp>,
    /// Latest time of a frame.
    pub last: Option<Timestamp>,
    /// Bytes after decompression.
    pub bytes: u64,
    /// Only REFUSED responses were captured, as the file says.
    pub refused_only: bool,
    /// Packets that the file says its capture lost.
    pub stated_loss: InterfaceLoss,
    /// What is wrong with the input, one sentence each; not empty means exit code 3.
    pub damage: Vec<String>,
    /// The first frames that a fault of this program kept from being decoded; not empty means exit code 7.
    pub faults: Vec<u64>,
}

/// What is known of a capture made by this run itself.
#[derive(Debug, Clone, Default)]
pub struct LiveReport {
    /// Interfaces captured on.
    pub interfaces: Vec<String>,
    /// This host's addresses that were asked.
    pub servers: Vec<IpAddr>,
    /// When the report's time begins and ends, by the wall clock.
    pub window: (Timestamp, Timestamp),
    /// Only REFUSED responses were captured.
    pub refused_only: bool,
    /// The file that holds the packets, when its frames have the numbers given here.
    pub packets: Option<String>,
}

/// The account of a live capture: `seen = dropped + read + waiting` and `read = followed + own_dropped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureLedger {
    /// Packets that passed the kernel's filter.
    pub seen: u64,
    /// Of these, dropped by the kernel because the ring was full.
    pub dropped: u64,
    /// Times the ring became full.
    pub bursts: u64,
    /// Packets read from the ring.
    pub read: u64,
    /// Packets in the ring when the last of these was read; once the run is over, given up there.
    pub waiting: u64,
    /// Packets read that reached a tracker.
    pub followed: u64,
    /// Packets read that this program gave up.
    pub own_dropped: u64,
    /// The run is over.
    pub finished: bool,
    /// Packets of any traffic that the interfaces say they lost. Not part of the account: the kernel did not see them.
    pub interface_dropped: InterfaceLoss,
    /// How often a handle had to wait for its tracker.
    pub waits: u64,
}

impl CaptureLedger {
    /// Every packet is in one place.
    pub fn is_closed(&self) -> bool {
        self.seen == self.dropped + self.read + self.waiting && self.read == self.followed + self.own_dropped
    }

    /// Packets that this program gave up, in the ring or later.
    pub fn own_lost(&self) -> u64 {
        self.own_dropped + if self.finished { self.waiting } else { 0 }
    }

    /// Packets lost on the way from the kernel to here.
    pub fn lost(&self) -> u64 {
        self.dropped + self.own_lost()
    }

    /// The loss in one line: of the packets that were to be captured, and of any traffic before anything was chosen.
    pub fn describe_loss(&self) -> String {
        let mut said = Vec::new();
        if self.lost() > 0 {
            let share = percent(self.lost(), self.seen);
            said.push(format!("LOST {} of {} packets ({share})", grouped(self.lost()), grouped(self.seen)));
        }
        if self.interface_dropped.known() > Some(0) {
            said.push(format!("LOST {} of any traffic at the interface", lost_packets(self.interface_dropped)));
        }
        match (said.is_empty(), self.interface_dropped) {
            (false, _) => said.join(", "),
            (true, InterfaceLoss::Exactly(_)) => "no loss".to_owned(),
            (true, InterfaceLoss::AtLeast(_)) => {
                "no loss that is known (of some interfaces it is unavailable)".to_owned()
            }
            (true, InterfaceLoss::Unknown) => "no loss that is known (of the interface it is unavailable)".to_owned(),
        }
    }
}

/// The six ledgers. Buckets are listed in the order they are printed.
#[derive(Debug, Clone, Default)]
pub struct Ledgers {
    /// What the kernel saw, dropped and handed over; `None` for files.
    pub capture: Option<CaptureLedger>,
    /// Packets that files say their captures lost.
    pub stated_loss: InterfaceLoss,
    /// Frames by the one bucket each ended in.
    pub packets: Ledger,
    /// Messages: udp + tcp = queries + responses + undecodable.
    pub messages: Ledger,
    /// Queries and responses by what became of them.
    pub matches: Ledger,
    /// Bytes of the inputs by owner.
    pub bytes: Ledger,
    /// Rows made and written; filled in by whoever writes them.
    pub outputs: Ledger,
    /// Packets not opened, by the name of what they are wrapped in.
    pub not_opened: BTreeMap<String, u64>,
    /// Undecodable messages by reason.
    pub undecodable: BTreeMap<&'static str, u64>,
    /// Messages whose question could not be read, by reason; they are counted as queries and responses all the same.
    pub question_unreadable: BTreeMap<&'static str, u64>,
    /// Odd things that cost nothing: counted by name.
    pub anomalies: BTreeMap<&'static str, u64>,
}

/// One exact account.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Named counts, in print order.
    pub buckets: Vec<(&'static str, u64)>,
    /// Every unit is in exactly one bucket.
    pub closed: bool,
}

impl Ledger {
    /// The count of a bucket; 0 when the ledger has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.buckets.iter().find(|(bucket, _)| *bucket == name).map_or(0, |(_, count)| *count)
    }
}

/// Sums over all inputs (message counts include copies; outcome counts are transactions).
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Frames read.
    pub frames: u64,
    /// DNS messages over UDP.
    pub messages_udp: u64,
    /// DNS messages over TCP.
    pub messages_tcp: u64,
    /// Messages with QR 0.
    pub queries: u64,
    /// Messages with QR 1.
    pub responses: u64,
    /// Responses by full response code (extended bits included), in order of the code.
    pub rcodes: BTreeMap<u16, u64>,
    /// Transactions (with a query, or a rejected TCP connection).
    pub transactions: u64,
    /// Transactions by outcome, indexed by `Outcome as usize`; `unsolicited` counts responses.
    pub outcomes: [u64; 7],
    /// Refused transactions whose response had no question, so that name and type come from the query.
    pub refused_restored: u64,
    /// REFUSED responses whose query is not known: not captured, or forgotten.
    pub refused_unsolicited: u64,
    /// Earliest time of a frame.
    pub first: Option<Timestamp>,
    /// Latest time of a frame.
    pub last: Option<Timestamp>,
}

/// A source's row with what the inventory says about it.
#[derive(Debug, Clone)]
pub struct SourceLine {
    /// The source: a whole address, or a prefix when many sources that never got a response had to be joined.
    pub source: IpNet,
    /// The server asked.
    pub server: IpAddr,
    /// Client, upstream or other.
    pub leg: Leg,
    /// Its tallies.
    pub row: SourceRow,
    /// What the inventory expects; `None` without one.
    pub expectation: Option<Arc<Expectation>>,
    /// What the server's configuration says; `None` without one.
    pub verdict: Option<SourceVerdict>,
}

/// What a server's configuration says about a source's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceVerdict {
    /// `allow`, `refuse`, `drop`, `notauth`, `unknown` or `mixed`.
    pub verdict: &'static str,
    /// `file:line` of the deciding rule, `built-in` or `mixed`; empty when there is none.
    pub rule: String,
}

/// How far a configuration file and the wire agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its dialect.
    pub dialect: &'static str,
    /// Servers it speaks for; empty when it speaks for every one.
    pub servers: Vec<IpAddr>,
    /// The files that were read, the main one first.
    pub read: Vec<Cited>,
    /// Rules that refused or dropped, with the transactions they are said to be for; most first.
    pub rules: Vec<(Rule, u64)>,
    /// Transactions whose outcome is as the file says.
    pub agreeing: u64,
    /// Transactions whose outcome is not.
    pub differing: u64,
}

impl SourceLine {
    /// Transactions of an outcome (for `unsolicited`, responses).
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.row.count(outcome)
    }

    /// Transactions whatever their outcome, TCP connections rejected before a query included.
    pub fn transactions(&self) -> u64 {
        self.row.transactions()
    }

    /// The source was seen on a DNS port, and no message from or to it was read.
    pub fn only_glimpsed(&self) -> bool {
        self.row.only_glimpsed()
    }

    /// How often the source was turned away with a response: refused, denied, and REFUSED without a captured query.
    pub fn turned_away(&self) -> u64 {
        self.count(Outcome::Refused) + self.count(Outcome::Denied) + self.row.rare().refused_unsolicited
    }
}

/// What the inventory says about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// `allow`, `refuse`, `unlisted` or `mixed`.
    pub expected: &'static str,
    /// `file:line` of the deciding line; empty when unlisted.
    pub rule: String,
    /// The line's `name`; empty when it has none.
    pub name: String,
    /// The line's `kind`; empty when unlisted.
    pub kind: &'static str,
}

impl Report {
    /// The capture was not taken at a server, which may then have seen other addresses than stand here.
    pub fn is_away_from(&self, server: IpAddr) -> bool {
        match self.vantage {
            Some(vantage) => vantage != Vantage::Server,
            None => self.arriving.contains(&server),
        }
    }

    /// Only REFUSED responses were captured: by this run, or where every input was made, as they say.
    pub fn has_only_refusals(&self) -> bool {
        match &self.live {
            Some(live) => live.refused_only,
            None => self.totals.queries == 0 && self.refused_only_inputs() > 0 && !self.inputs.iter().any(has_others),
        }
    }

    /// Inputs that say that they hold only REFUSED responses.
    pub fn refused_only_inputs(&self) -> usize {
        self.inputs.iter().filter(|input| input.refused_only).count()
    }

    /// Queries may have been captured and forgotten before their response came, because a table was full.
    pub fn forgot_queries(&self) -> bool {
        self.ledgers.matches.get("evicted") > 0
            || self.ledgers.anomalies.get("late_forgotten_early").is_some_and(|count| *count > 0)
    }

    /// Puts what the servers' configurations say beside every source.
    pub fn judge(&mut self, verdicts: &Verdicts) {
        if verdicts.acls.is_empty() {
            return;
        }
        for line in &mut self.sources {
            let words = verdicts.words(line.source, line.server);
            let speaks = |acl: &Acl| acl.speaks_for(line.server);
            let apart = line.leg != Leg::Client && !judge::names_server(&verdicts.acls, line.server);
            let unbound = || apart || !verdicts.acls.iter().any(speaks);
            line.verdict = match words {
                Some((verdict, rule)) => Some(SourceVerdict { verdict, rule }),
                None if unbound() => Some(SourceVerdict { verdict: "unknown", rule: String::new() }),
                None => None,
            };
        }
        for (number, acl) in verdicts.acls.iter().enumerate() {
            let (agreeing, differing) = verdicts.agreement(number);
            let mut rules: Vec<(Rule, u64)> = Vec::new();
            for tally in verdicts.pairs.iter().flat_map(|(_, tallies)| tallies) {
                let turns_away = matches!(tally.judged.decision.word, Word::Refuse | Word::Drop | Word::NotAuth);
                let (Some(of), Some(rule)) = (tally.judged.acl, tally.judged.decision.rule) else { continue };
                if of != number || !turns_away {
                    continue;
                }
                let (rule, count) = (acl.rule(rule), tally.outcomes.iter().sum::<u64>());
                match rules.iter_mut().find(|(known, _)| *known == rule) {
                    Some((_, sum)) => *sum += count,
                    None => rules.push((rule, count)),
                }
            }
            rules.sort_by(|(one, more), (two, less)| less.cmp(more).then(one.line.cmp(&two.line)));
            self.files.push(FileReport {
                dialect: acl.dialect,
                servers: acl.bound(),
                read: acl.files().cited(),
                rules,
                agreeing,
                differing,
            });
        }
        for prefix in &self.focus {
            let mut said: Vec<String> = Vec::new();
            for acl in verdicts.acls.iter() {
                let (parts, all) = compare::within(acl, *prefix, &Question::default(), None, FOCUS_PARTS);
                let mut words: Vec<String> = parts
                    .iter()
                    .map(|(range, decision)| {
                        let rule = decision.rule.map(|rule| format!("  {}", acl.rule(rule))).unwrap_or_default();
                        let of = if parts.len() == 1 && all { String::new() } else { format!("{}: ", range.show()) };
                        format!("{of}{}{rule}", decision.word.name())
                    })
                    .collect();
                if !all {
                    words.push("and further parts (acl list)".to_owned());
                }
                said.push(words.join(", "));
            }
            self.focus_verdicts.push(said.join("; "));
        }
    }
}

/// An input that may hold other messages than REFUSED responses.
fn has_others(input: &InputReport) -> bool {
    !input.refused_only && !input.format.is_empty()
}

impl From<Expected<'_>> for Expectation {
    fn from(expected: Expected<'_>) -> Self {
        let row = expected.row();
        Self {
            expected: expected.word(),
            rule: expected.rule(),
            name: row.map(|row| row.name.clone()).unwrap_or_default(),
            kind: row.map_or("", |row| row.kind.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_name_of_its_own_and_writes() {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        assert_eq!(names, ["text", "json", "csv", "jsonl"]);
        assert_eq!(FORMATS[0].name, Config::default().format, "the first is the default");
        for entry in FORMATS {
            assert_eq!(format(entry.name).map(|found| found.about), Some(entry.about));
            let mut out = Vec::new();
            match entry.writer {
                Writer::Report(write) => {
                    write(&Report::default(), &Layout { top: 20, color: false, verbose: false }, &mut out).unwrap();
                }
                Writer::Rows { header, row } => {
                    header(&mut out);
                    row(&RowText::default(), &mut out);
                }
            }
            assert!(out.ends_with(b"\n"), "{}", entry.name);
        }
        assert!(format("html").is_none());
    }

    #[test]
    fn what_the_interface_lost_is_loss_and_nothing_is_none_that_nobody_knows() {
        use InterfaceLoss::{AtLeast, Exactly, Unknown};
        let says = |dropped, interface_dropped| {
            CaptureLedger { seen: 200, dropped, interface_dropped, ..CaptureLedger::default() }.describe_loss()
        };
        assert_eq!(says(0, Exactly(0)), "no loss");
        assert_eq!(says(0, Exactly(7)), "LOST 7 packets of any traffic at the interface");
        assert_eq!(
            says(2, AtLeast(1)),
            "LOST 2 of 200 packets (1.0 %), LOST at least 1 packet of any traffic at the interface"
        );
        assert_eq!(says(2, Unknown), "LOST 2 of 200 packets (1.0 %)");
        assert_eq!(says(0, Unknown), "no loss that is known (of the interface it is unavailable)");
        assert_eq!(says(0, AtLeast(0)), "no loss that is known (of some interfaces it is unavailable)");
    }

    #[test]
    fn colour_follows_the_option_the_terminal_and_no_color() {
        let color =
            |color, terminal, no_color| Layout::of(&Config { color, ..Config::default() }, terminal, no_color).color;
        assert!(color(Color::Auto, true, false));
        assert!(!color(Color::Auto, true, true) && !color(Color::Auto, false, false));
        assert!(color(Color::Always, false, true) && !color(Color::Never, true, false));
    }
}
