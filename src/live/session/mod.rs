//! A live run from the operator's side ([`Session`]): when it ends, which lines scroll by, and its reports.

mod files;
mod ticking;
mod writing;

use super::Signals;
use super::decided::Decided;
use super::expectations::{Expectations, Expected, Watcher};
use super::interval;
use super::packets::Alarm;
use super::scroll::Scroll;
use super::standing::{add_up, capture_ledger, since, undecided};
use super::surroundings::Surroundings;
use crate::capture::Timestamp;
use crate::capture::host::now;
use crate::config::{Config, Sandbox};
use crate::diagnose::{self, Finding};
use crate::error::Error;
use crate::expect::acl::judge::{Verdicts, names_server};
use crate::pipeline::aside::Aside;
use crate::pipeline::live::{Finished, Look, Moment, Standing};
use crate::report::build::{Counted, LIVE, OpenedInput, Undecided, build};
use crate::report::legs::Legs;
use crate::report::output::{FileIdentity, Output};
use crate::report::{CaptureLedger, Layout, Ledger, LiveReport, Report};
use crate::run::{self, Console};
use crate::sources::{Joined, Leg, SourceKey, SourceRow, Sources};
use crate::watch::Board;
use crate::watch::gather::{ByVerdict, Facts, add_clients, add_verdicts, gather};
use crate::watch::named::NamesCounted;
use crate::watch::snapshot::Loss;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most notes kept for one report.
const NOTES: usize = 100;
/// Number of latest events kept for snapshots.
const HAPPENED: usize = 20;

/// The time that a report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// The time since the last report; the next one begins where this ends.
    Part,
    /// The time since the last report, which goes on afterwards.
    SoFar,
}

/// Everything of a moment from which a report is made.
struct Taken {
    standing: Standing,
    legs: Legs,
    joined: Joined,
    rows: Vec<(SourceKey, SourceRow)>,
    verdicts: Verdicts,
    expected: Expected,
}

/// When the present report's time began.
struct Begin {
    time: Timestamp,
    before: Option<(Standing, Moment, Undecided)>,
}

/// The parts of a session.
pub struct Parts<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Flags that signals set.
    pub signals: &'a Signals,
    /// Rows per source, filled by the trackers.
    pub sources: &'a Sources,
    /// Inventories and servers' files.
    pub expectations: Arc<Expectations>,
    /// Collects what the trackers decide.
    pub decided: Arc<Mutex<Decided>>,
    /// Interface of each handle.
    pub names: Vec<String>,
    /// Bytes of all rings.
    pub ring_bytes: u64,
    /// Destination of reports (not of rows).
    pub output: Option<Output>,
    /// Board on which snapshots are published, if anybody watches.
    pub board: Option<Arc<Board>>,
    /// Shows that the recording stopped, if there is one.
    pub recording: Option<Alarm>,
    /// How far the process is confined.
    pub sandbox: String,
    /// Lines to be shown once packets are taken in.
    pub opening: Vec<String>,
    /// Notes for every report.
    pub notes_of_all: Vec<String>,
}

/// Decides how a run goes on, and makes its reports.
pub struct Session<'a> {
    config: &'a Config,
    console: &'a mut dyn Console,
    signals: &'a Signals,
    sources: &'a Sources,
    expectations: Arc<Expectations>,
    watcher: Watcher,
    decided: Arc<Mutex<Decided>>,
    names: Vec<String>,
    /// This host's addresses when last looked at.
    local: HashSet<IpAddr>,
    /// Rows, or reports to standard output, can no longer be written.
    readers_gone: bool,
    /// Bytes of all rings.
    ring_bytes: u64,
    /// Destination of reports (not of rows).
    output: Option<Output>,
    /// Identity of the folder of their files when the capture began, if the sandbox confines writing to it.
    folder: Option<FileIdentity>,
    /// Queue to standard output, when all reports go there.
    standard: Option<(Aside, Layout)>,
    written: Result<(), Error>,
    /// Rows are being left out until their reader takes them again.
    stalled: bool,
    /// Number of rows left out so far.
    left_out: u64,
    begin: Option<Begin>,
    /// When the capture began.
    began: Timestamp,
    next_interval: Duration,
    next_look: Duration,
    looked_at: Option<Duration>,
    /// When the session was last asked how the run goes on.
    ticked: Duration,
    /// Until when to wait for events from the time at which the process did not run.
    catches_up: Option<Duration>,
    opening: Vec<String>,
    scroll: Scroll,
    surroundings: Surroundings,
    notes: Vec<String>,
    /// Notes for every report.
    notes_of_all: Vec<String>,
    /// The latest events, for snapshots: a screen shows no lines.
    happened: VecDeque<(Timestamp, String)>,
    /// Until when differences from a server's file are not reported.
    settles: Option<Timestamp>,
    /// Since when verdicts are compared, when that is not the whole time of the report.
    compared_since: Option<Timestamp>,
    /// Board on which snapshots are published, if anybody watches.
    board: Option<Arc<Board>>,
    /// Rows of intervals that were already reported, for snapshots.
    past: Sources,
    /// Verdicts of these intervals.
    past_verdicts: ByVerdict,
    /// Counts of inventory names, for snapshots.
    names_counted: NamesCounted,
    /// Shows that the recording stopped.
    recording: Option<Alarm>,
    /// The most severe finding in intervals that were already reported.
    worst: Option<Finding>,
    /// The account of the whole capture.
    whole_capture: Option<CaptureLedger>,
    /// How far the process is confined.
    sandbox: String,
}

fn lock(decided: &Mutex<Decided>) -> MutexGuard<'_, Decided> {
    decided.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Session<'a> {
    /// A session before its first call.
    pub fn new(parts: Parts<'a>, console: &'a mut dyn Console) -> Self {
        let Parts { config, signals, sources, expectations, decided, names, output, board, .. } = parts;
        let watcher = Watcher::new(config, &expectations.now());
        Self {
            next_interval: config.live.every.unwrap_or(Duration::MAX),
            settles: watcher.acl_changed().and_then(|changed| files::settles(changed, now())),
            config,
            console,
            signals,
            sources,
            expectations,
            watcher,
            decided,
            opening: parts.opening,
            scroll: Scroll::default(),
            surroundings: Surroundings::of(&names),
            names,
            local: HashSet::new(),
            readers_gone: false,
            ring_bytes: parts.ring_bytes,
            output,
            folder: config.output.as_deref().filter(|_| config.live.sandbox != Sandbox::Off).and_then(interval::folder),
            standard: None,
            written: Ok(()),
            stalled: false,
            left_out: 0,
            begin: None,
            began: Timestamp(0),
            next_look: ticking::LOOK_EVERY,
            looked_at: None,
            ticked: Duration::ZERO,
            catches_up: None,
            notes: Vec::new(),
            notes_of_all: parts.notes_of_all,
            happened: VecDeque::new(),
            compared_since: None,
            past_verdicts: ByVerdict::default(),
            names_counted: NamesCounted::default(),
            past: Sources::new(config.limits.answered_rows, config.limits.silent_rows, config.limits.finding_frames),
            board,
            recording: parts.recording,
            worst: None,
            whole_capture: None,
            sandbox: parts.sandbox,
        }
    }

    /// True when the operator reads events line by line.
    fn scrolls(&self) -> bool {
        self.config.format == "text" && !self.config.quiet && !self.config.live.screen
    }

    /// Takes everything from which a report is made, while the trackers hold still.
    fn take(&mut self, groups: Vec<Standing>, covers: Covers) -> Taken {
        let expected = self.expectations.now();
        let rows = [self.sources, &self.past];
        let legs;
        (self.local, legs) = lock(&self.decided).legs().of_rows(rows);
        let joined = self.sources.joined();
        let rows = match covers {
            Covers::Part => {
                let rows = self.sources.take_sorted();
                if self.board.is_some() {
                    self.past.absorb(rows.iter().cloned());
                }
                rows
            }
            Covers::SoFar => self.sources.copy_sorted(),
        };
        let verdicts = match covers {
            Covers::Part => lock(&self.decided).compare_anew(self.config, &expected),
            Covers::SoFar => lock(&self.decided).verdicts(),
        };
        if self.board.is_some() && covers == Covers::Part {
            add_verdicts(&mut self.past_verdicts, &verdicts, &legs);
        }
        Taken { standing: add_up(groups), legs, joined, rows, verdicts, expected }
    }

    /// Builds a report from what was taken at a moment.
    fn report(&mut self, taken: Taken, moment: &Moment, covers: Covers, finished: bool) -> Report {
        let Taken { standing, legs, joined, rows, mut verdicts, expected } = taken;
        let acls = Arc::clone(&verdicts.acls);
        verdicts.keep(|source, server| legs.leg(source, server) == Leg::Client || names_server(&acls, server));
        let begin = self.begin.take().unwrap_or(Begin { time: moment.now, before: None });
        let part = begin.before.as_ref().map_or_else(|| standing.clone(), |(before, _, _)| since(&standing, before));
        let after = if finished { Undecided::default() } else { undecided(&standing) };
        let before = begin.before.as_ref().map_or_else(Undecided::default, |(_, _, undecided)| *undecided);
        let mut anomalies = part.anomalies;
        let without_detail = lock(&self.decided).without_detail();
        for (name, count) in
            [("messages_without_detail", without_detail), ("transactions_not_judged", verdicts.not_kept)]
        {
            if count > 0 {
                anomalies.insert(name, count);
            }
        }
        let opened = self.names.iter().map(|name| OpenedInput { name: name.clone(), format: LIVE, compression: None });
        let counted = Counted {
            inputs: opened.zip(part.lanes).collect(),
            failed: Vec::new(),
            tally: part.tally,
            counts: &part.counts,
            anomalies,
            interrupted: false,
            undecided: [before, after],
        };
        let inventory = &expected.inventory;
        let mut report = build(self.config, counted, &joined, rows, &legs, inventory);
        report.ledgers.bytes = Ledger { buckets: Vec::new(), closed: true };
        let names = &self.config.live.interfaces;
        let earlier = begin.before.as_ref().map(|(standing, moment, _)| (standing, moment));
        report.ledgers.capture = Some(capture_ledger((&standing, moment), earlier, finished, names));
        self.whole_capture = Some(capture_ledger((&standing, moment), None, finished, names));
        report.time_digits = 9;
        report.notes.extend(inventory.notes().iter().cloned());
        report.notes.extend(part.quoted.sentences());
        report.notes.extend(self.notes_of_all.iter().chain(&self.notes).cloned());
        report.notes.extend(self.watcher.outdated().map(str::to_owned));
        report.proxied = part.proxied;
        // Queries of this host to itself arrive as well.
        report.away = standing.away.iter().copied().filter(|server| !self.local.contains(server)).collect();
        report.here.clone_from(&standing.here);
        report.passed_on.clone_from(&standing.passed_on);
        // A packet from an address of this host leaves it, even where no direction is known.
        report.passed_on.extend(standing.routed.iter().filter(|server| self.local.contains(server)));
        report.handed_on = lock(&self.decided).handed_on();
        report.asking.clone_from(&standing.asking);
        let servers: BTreeSet<IpAddr> = report
            .sources
            .iter()
            .filter(|line| line.leg == Leg::Client && self.local.contains(&line.server))
            .map(|line| line.server)
            .collect();
        report.live = Some(LiveReport {
            interfaces: self.config.live.interfaces.clone(),
            servers: servers.into_iter().collect(),
            window: (begin.time, moment.now),
            refused_only: self.config.live.refused_only,
            packets: self.packets_name(),
        });
        report.judge(&verdicts);
        report.findings = diagnose::diagnose_with_files(&report, inventory, &verdicts, self.config, None);
        self.hold_back_differences(&mut report, moment.now);
        self.say_compared_since(&mut report);
        match covers {
            Covers::Part => {
                let worst = report.findings.iter().chain(&self.worst).max_by_key(|finding| finding.severity);
                self.worst = worst.cloned();
                self.begin = Some(Begin { time: moment.now, before: Some((standing, moment.clone(), after)) });
                self.notes.clear();
                self.compared_since = None;
            }
            Covers::SoFar => {
                self.begin = Some(begin);
                report.partial = Some("the capture goes on".to_owned());
            }
        }
        report
    }

    /// The file whose frame numbers are those of this report: packets of one handle in one file.
    fn packets_name(&self) -> Option<String> {
        let live = &self.config.live;
        let one = self.names.len() == 1 && live.rotate_bytes.is_none() && live.rotate_after.is_none();
        live.write.as_ref().filter(|_| one).map(|path| path.to_string_lossy().into_owned())
    }

    /// A line for the operator, with its time.
    fn say(&mut self, now: Timestamp, line: &str) {
        if !self.config.quiet {
            let clock = now.to_rfc3339(0);
            self.console.line(&format!("{}Z {line}", &clock[11..19]));
        }
    }

    /// Publishes a snapshot.
    fn publish(&mut self, report: &Report, legs: &Legs, verdicts: &Verdicts, moment: &Moment) {
        let noted = lock(&self.decided).noted().cloned();
        let (Some(board), Some(noted)) = (&self.board, &noted) else { return };
        let capture = self.whole_capture.unwrap_or_default();
        let expected = self.expectations.now();
        let whole = self.config.live.every.is_some().then(|| {
            let whole = Sources::new(self.config.limits.answered_rows, self.config.limits.silent_rows, 0);
            whole.absorb(self.past.copy_sorted());
            whole.absorb(self.sources.copy_sorted());
            whole
        });
        let sources = whole.as_ref().unwrap_or(self.sources);
        let without_queries = self.config.live.refused_only;
        self.names_counted.follow(&expected.inventory, |names| add_clients(names, sources, legs, without_queries));
        // This host's servers remain servers in an interval in which nobody asks them.
        let is_at = |server| {
            let of_this_host = self.config.vantage.is_none() && self.local.contains(&server);
            report.is_at(server) || (of_this_host && !report.is_elsewhere(server))
        };
        let facts = Facts {
            is_at: &is_at,
            without_queries,
            node: self.config.node.as_deref().unwrap_or_default(),
            interfaces: &self.config.live.interfaces,
            started: self.began,
            now: moment.now,
            loss: Loss {
                kernel_seen: Some(capture.seen),
                kernel_dropped: Some(capture.dropped),
                interface_dropped: capture.interface_dropped,
                own_dropped: Some(capture.own_lost()),
            },
            ring_bytes: self.ring_bytes,
            sandbox: &self.sandbox,
            findings: &report.findings,
            findings_since: self.begin.as_ref().filter(|begin| begin.before.is_some()).map(|begin| begin.time),
            happened: &self.happened,
            sources,
            legs,
            inventory: &expected.inventory,
            verdicts: (!verdicts.acls.is_empty()).then_some(verdicts),
            past_verdicts: &self.past_verdicts,
            names: &self.names_counted,
            noted,
        };
        board.publish(gather(&facts, &self.config.limits));
    }

    /// Shows lines about what is new.
    fn scroll(&mut self, report: &Report, now: Timestamp, elapsed: Duration) {
        for line in self.scroll.lines(report, elapsed) {
            self.say(now, &line);
        }
    }

    /// Writes the report of an interval that has ended, and begins the next interval.
    fn end_interval(&mut self, moment: &Moment, look: &mut Look<'_>) {
        let mut taken = None;
        look(&mut |groups| taken = Some(self.take(groups, Covers::Part)));
        match taken {
            Some(taken) => {
                let mut report = self.report(taken, moment, Covers::Part, false);
                self.write_report(&mut report, false);
            }
            None => {
                self.say(moment.now, "warning: no report of this interval: the trackers did not answer; it goes on");
            }
        }
    }

    /// A line for the operator that is also a note in the report.
    fn note(&mut self, at: Timestamp, line: &str) {
        self.say(at, line);
        self.show_happened(at, line);
        if self.notes.len() < NOTES {
            self.notes.push(format!("{}: {line}.", at.to_rfc3339(3)));
        }
    }

    /// Adds an event for snapshots.
    fn show_happened(&mut self, at: Timestamp, line: &str) {
        if self.happened.len() >= HAPPENED {
            self.happened.pop_front();
        }
        self.happened.push_back((at, line.to_owned()));
    }

    /// Shows the lines that were held back behind a screen.
    pub fn show(&mut self) {
        self.console.show();
    }

    /// Ends the run: the last report, and the exit code.
    pub fn conclude(mut self, finished: Finished, packets: Result<(), Error>) -> u8 {
        let Finished { groups, moment, began, cut_short, ended } = finished;
        self.begin.get_or_insert(Begin { time: began, before: None });
        if cut_short {
            self.notes.push("The stop took too long: packets that were not read in time were given up.".to_owned());
        }
        // Events since the last tick.
        for (at, line) in self.surroundings.look(&moment) {
            self.note(at, &line);
        }
        let failed: Vec<(String, Error)> =
            self.names.iter().zip(ended).filter_map(|(name, error)| error.map(|error| (name.clone(), error))).collect();
        for (_, error) in &failed {
            self.console.line(&error.to_string());
        }
        let missing = self.console.missing();
        if missing > 0 {
            let lines = if missing == 1 { "line was" } else { "lines were" };
            self.notes.push(format!("Standard error took nothing for a time: {missing} {lines} not shown there."));
        }
        let taken = self.take(groups, Covers::Part);
        let lost = taken.standing.lost_state;
        let mut report = self.report(taken, &moment, Covers::Part, true);
        let rows = lock(&self.decided).finish();
        self.write_report(&mut report, true);
        let pipe_closed = matches!(rows, Ok(true));
        report.ledgers.outputs.closed |= pipe_closed;
        let mut written = std::mem::replace(&mut self.written, Ok(()));
        for result in [rows.map(|_| ()), packets] {
            match (&written, result) {
                (Ok(()), result) => written = result,
                (Err(_), Err(error)) => self.console.line(&error.to_string()),
                (Err(_), Ok(())) => {}
            }
        }
        // The exit code is about the whole run, even when reports covered parts of it.
        report.ledgers.capture = self.whole_capture;
        report.findings.extend(self.worst.take());
        run::conclude(self.config, &report, &failed, lost, written, self.console)
    }
}
