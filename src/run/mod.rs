//! The `read` command from configuration to exit code: open, follow, build, diagnose, write.

mod conclude;
mod console;
mod inputs;
mod signals;

use crate::capture::kernel_filter;
use crate::capture::open::{Input, Source};
use crate::config::{Config, Limits, Outcomes};
use crate::decode::detail::DetailLimits;
use crate::decode::{Decoder, Ends, Tally};
use crate::diagnose;
use crate::error::{Error, ErrorKind, escape_text};
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::judge::{Judgements, names_server, own_servers};
use crate::expect::inventory::Expect;
use crate::pipeline::{self, Finished, LaneResult, Selection, Work};
use crate::report::build::{Counted, OpenedInput, build};
use crate::report::legs::Legs;
use crate::report::output::{self, FileIdentity, Output};
use crate::report::page::counted;
use crate::report::rows::{RowInput, Rows, in_turn};
use crate::report::sides::Sides;
use crate::report::{self, Layout, Ledger, Report, Writer};
use crate::sources::{Leg, Sources};
use crate::transact::pairs::{Judged, Pairs};
use crate::transact::proxied::{ProxiedKey, ProxiedPair};
use crate::transact::{Counts, Settings, Tracker};
pub(crate) use conclude::conclude;
pub use console::{Console, StandardError};
pub(crate) use inputs::warn_of_filter;
use inputs::{check_filter, is_cooked};
pub use inputs::{open_inputs, opened_input, size_of_file};
pub use signals::on_signals;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Digits of the fraction of a second where no interface states its resolution.
const USUAL_DIGITS: usize = 6;

/// Runs `read` and returns the exit code. A signal handler may set `interrupted` to end with a report on what was read
/// so far.
pub fn read(config: &Config, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<u8, Error> {
    let Prepared { inventory, acls, output, inputs, ranks, failed } = Prepared::of(config, console, interrupted)?;
    if inputs.is_empty() {
        // Each failed input was already reported on its own line.
        return Ok(failed.first().map_or(1, |(_, error)| error.exit_code()));
    }
    check_filter(config, &inputs, console)?;
    let refusals = |input: &Input| input.hint.choices.only_refusals();
    let row_outcomes =
        if !config.rows_given && inputs.iter().all(refusals) { Outcomes::of_refusals() } else { config.rows };

    let format = report::format(config.format).ok_or_else(|| Error::usage("--format", "unknown"))?;
    let wants_rows = matches!(format.writer, Writer::Rows { .. });
    // Beside rows, source lines and findings are not shown, so they are not needed unless findings decide the exit
    // code.
    let with_sources = !wants_rows || config.check.is_some();
    let finding_frames = if with_sources { config.limits.finding_frames } else { 0 };
    let limits = &Limits { finding_frames, ..config.limits.clone() };
    let sources = sources_with(config, &acls, limits);
    let decoder = Decoder::new(config.ports.clone(), &config.limits);
    let rows = Mutex::new(rows_of(&inputs, &inventory, &acls, limits));
    let rows_now = || rows.lock().unwrap_or_else(PoisonError::into_inner);
    let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
    let mut judgements = Judgements::new(Arc::clone(&acls), detail, limits.answered_rows, limits.finding_frames);
    // A stream is read by a thread of its own, which has ended by the time rows are printed.
    let two_threads = config.threads > 1 || inputs.iter().any(|input| matches!(input.source, Source::Stream(_)));
    let several = inputs.len() > 1;
    // One capture of all interfaces of a host that forwards queries has both sides, too.
    let both_sides = several || inputs.iter().any(is_cooked);
    let opened: Vec<OpenedInput> = inputs.iter().map(opened_input).collect();

    let wanted = match (wants_rows, acls.is_empty()) {
        // The servers' files are compared with every transaction, not only with those that get a row.
        (_, false) => Outcomes::ALL,
        (true, true) => row_outcomes,
        (false, true) if both_sides => Sides::wanted(),
        (false, true) => Outcomes::of(&[]),
    };
    let mut sides = Sides::of(several);
    let pairs = Pairs::new(&sources, Box::new(|address| judge(&inventory, address)));
    let mut tracker = Tracker::new(
        &decoder,
        settings(config, limits, wanted),
        pairs,
        Box::new(|transaction| {
            if !acls.is_empty() {
                judgements.push(transaction);
            }
            if both_sides {
                sides.push(transaction);
            }
            if wants_rows && row_outcomes.has(transaction.outcome) {
                rows_now().push(transaction);
            }
        }),
    );
    let finished = follow(config, inputs, &ranks, &decoder, &mut tracker, interrupted)?;
    // Frames after `--to` were not looked at.
    tracker.finish(finished.read_until().map(|last| config.to.map_or(last, |to| last.min(to))));
    // An interface may be declared anywhere in a file.
    let time_digits = |lane: &LaneResult| if lane.time_digits > 0 { lane.time_digits } else { USUAL_DIGITS };
    let time_digits: Vec<usize> = finished.lanes.iter().map(time_digits).collect();
    rows_now().sort(&time_digits, if two_threads { pipeline::ahead::begin } else { in_turn });
    // Other threads may still be formatting rows.
    tracker.fold_all_alone();

    let mut tracked = Tracked::by(&tracker, finished.tally, several);
    drop(tracker);
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    if rows.without_detail > 0 {
        tracked.anomalies.insert("messages_without_detail", rows.without_detail);
    }
    let mut verdicts = judgements.finish();
    if verdicts.not_kept > 0 {
        tracked.anomalies.insert("transactions_not_judged", verdicts.not_kept);
    }
    let legs = Legs::of(config, &own_servers(&acls), &sources);
    verdicts.keep(|source, server| legs.leg(source, server) == Leg::Client || names_server(&acls, server));
    let names: Vec<Vec<Option<Arc<str>>>> = finished.lanes.iter().map(|lane| lane.interfaces.clone()).collect();
    let counted = Counted {
        inputs: opened.into_iter().zip(finished.lanes).collect(),
        failed: failed.iter().map(|(name, error)| (name.clone(), error.detail.clone(), size_of_file(name))).collect(),
        tally: tracked.tally,
        counts: &tracked.counts,
        anomalies: tracked.anomalies,
        interrupted: finished.interrupted,
        undecided: Default::default(),
    };
    let rows_of_sources = if with_sources { sources.drain_sorted() } else { Vec::new() };
    let mut report = build(config, counted, &sources.joined(), rows_of_sources, &legs, &inventory);
    report.time_digits = time_digits.into_iter().max().unwrap_or(USUAL_DIGITS);
    report.notes.extend(inventory.notes().iter().cloned());
    report.notes.extend(tracked.quoted);
    (report.proxied, report.away, report.here) = (tracked.proxied, tracked.away, tracked.here);
    (report.passed_on, report.asking, report.here_in) = (tracked.passed_on, tracked.asking, tracked.here_in);
    sides.tell(&mut report);
    report.notes.extend(tracked.elsewhere);
    report.judge(&verdicts);
    // A signal that ended the reading does not count as one against the work that follows.
    let signal = (!finished.interrupted).then_some(interrupted);
    report.findings = diagnose::diagnose_with_files(&report, &inventory, &verdicts, config, signal);

    let cut_short = signal.is_some_and(|signal| signal.load(Ordering::Relaxed));

    let written = write(config, format.writer, &mut report, rows, &legs, &names, output);
    let code = conclude(config, &report, &failed, tracked.lost, written, console);
    Ok(if cut_short { say_cut_short(code, console) } else { code })
}

/// What is opened before anything is read.
struct Prepared {
    inventory: Arc<Inventory>,
    acls: Arc<[Acl]>,
    output: Output,
    inputs: Vec<Input>,
    /// For each input its place among the arguments, to order inputs that begin at the same time.
    ranks: Vec<usize>,
    /// Inputs that cannot be read, and why.
    failed: Vec<(String, Error)>,
}

impl Prepared {
    fn of(config: &Config, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Self, Error> {
        let inventory = Arc::new(Inventory::load(&config.expect)?);
        let acls: Arc<[Acl]> = Acl::load_all(&config.acls, config.root.as_deref(), &config.servers)?.into();
        if !config.quiet {
            warnings(&acls).for_each(|warning| console.line(&warning));
        }
        let read = config.inputs.iter().chain(&config.expect).chain(config.acls.iter().map(|acl| &acl.path));
        let identities = FileIdentity::of_paths(read.map(std::path::PathBuf::as_path));
        let output = output::prepare(config, &identities)?;
        let (inputs, ranks, failed) = open_inputs(config, console, interrupted)?;
        Ok(Self { inventory, acls, output, inputs, ranks, failed })
    }
}

/// What is kept of a tracker that has seen everything.
struct Tracked {
    counts: Counts,
    /// State that was given up because a table was full.
    lost: u64,
    /// Counts of all frames.
    tally: Tally,
    anomalies: BTreeMap<&'static str, u64>,
    /// What ICMP errors said.
    quoted: Vec<String>,
    /// Notes on refusals that came from another address.
    elsewhere: Option<String>,
    proxied: BTreeMap<ProxiedKey, ProxiedPair>,
    away: BTreeSet<IpAddr>,
    here: BTreeSet<IpAddr>,
    passed_on: BTreeSet<IpAddr>,
    asking: BTreeSet<(IpAddr, usize)>,
    here_in: BTreeSet<(IpAddr, usize)>,
}

impl Tracked {
    /// `tally` counts the frames that needed no order. What needs several inputs to be known is left out when there is
    /// one.
    fn by(tracker: &Tracker<'_>, mut tally: Tally, several: bool) -> Self {
        tally.add(&tracker.tally);
        Self {
            counts: tracker.counts.clone(),
            lost: tracker.lost_state(),
            tally,
            anomalies: tracker.anomalies(),
            quoted: tracker.quotes.sentences(),
            elsewhere: tracker.refused_elsewhere().map(says_elsewhere),
            proxied: tracker.proxied.pairs().clone(),
            away: tracker.away().collect(),
            here: tracker.here().collect(),
            passed_on: tracker.passed_on().collect(),
            asking: tracker.asking().collect(),
            here_in: if several { tracker.here_in().collect() } else { BTreeSet::new() },
        }
    }
}

/// Says that a signal came after everything was read, and returns the exit code.
fn say_cut_short(code: u8, console: &mut dyn Console) -> u8 {
    let what = "interrupted while findings were made; everything was read and counted, but changes of a server's file may not have \
                been looked for to the end";
    let error = Error::new(ErrorKind::Input, "E-IN-PARTIAL", "dnsrefused", what);
    console.line(&error.to_string());
    if matches!(code, 0 | 4 | 10) { error.exit_code() } else { code }
}

/// An empty table of sources that knows the declared servers.
fn sources_with(config: &Config, acls: &[Acl], limits: &Limits) -> Sources {
    let sources = Sources::new(limits.answered_rows, limits.silent_rows, limits.finding_frames);
    for server in config.servers.iter().chain(&own_servers(acls)) {
        for kept in [false, true] {
            sources.meet(server.address, kept);
        }
    }
    sources
}

/// An empty collection of rows.
fn rows_of(inputs: &[Input], inventory: &Arc<Inventory>, acls: &Arc<[Acl]>, limits: &Limits) -> Rows {
    let input = |input: &Input| RowInput { name: escape_text(&input.name), time_digits: USUAL_DIGITS };
    let listed = (!inventory.is_empty()).then(|| Arc::clone(inventory));
    Rows::new(inputs.iter().map(input).collect(), listed, acls, limits)
}

/// Warnings about servers' files, one per line.
pub(crate) fn warnings(acls: &[Acl]) -> impl Iterator<Item = String> {
    let notes = acls.iter().flat_map(|acl| acl.policy().notes()).chain(Acl::not_asked(acls));
    notes.map(|note| format!("warning: {note}"))
}

/// Settings for a tracker that hands out transactions of these outcomes.
pub(crate) fn settings<'a>(config: &Config, limits: &'a Limits, rows: Outcomes) -> Settings<'a> {
    Settings {
        timeout: i64::try_from(config.timeout.as_nanos()).unwrap_or(i64::MAX / 4),
        vantage: config.vantage,
        filtered: config.filter.as_ref().is_some_and(|filter| !kernel_filter::is_complete(filter, &config.ports)),
        rows,
        limits,
    }
}

/// What a tracker needs to know of a source when it first sees it: whether it is listed, and whether frames of its
/// answers are to be kept.
pub(crate) fn judge(inventory: &Inventory, address: IpAddr) -> Judged {
    match inventory.expect(address) {
        _ if inventory.is_empty() => Judged::default(),
        Some(expect) => Judged { listed: true, answers_wanted: expect == Expect::Refuse },
        None => Judged { listed: false, answers_wanted: true },
    }
}

/// Notes on unanswered queries that a refusal from another address may belong to.
fn says_elsewhere((count, least, asked, from): (u64, bool, Ends, IpAddr)) -> String {
    let (queries, share) = (counted(count, "query", "queries"), if count == 1 { "shares" } else { "share" });
    let (client, server) = (asked.source(), asked.destination());
    format!(
        "{}{queries} without a response {share} client, port and identifier with a REFUSED response that came from another \
         address without a query of its own: {client} asked {server} and heard from {from}, for one.",
        if least { "At least " } else { "" }
    )
}

/// Runs the pipeline, with a progress bar when a person is watching.
fn follow(
    config: &Config,
    inputs: Vec<Input>,
    ranks: &[usize],
    decoder: &Decoder,
    tracker: &mut Tracker<'_>,
    interrupted: &AtomicBool,
) -> Result<Finished, Error> {
    let selection = Selection { filter: config.filter.clone(), from: config.from, to: config.to };
    let size: Option<u64> = inputs
        .iter()
        .map(|input| match &input.source {
            Source::Plain { size, .. } => Some(*size),
            Source::Stream(_) => None,
        })
        .sum();
    let bar = progress_bar(config, size);
    let shown = bar.clone();
    let on_progress = Box::new(move |bytes| {
        if let Some(bar) = &shown {
            bar.set_position(bytes);
        }
    });
    let work = Work { threads: config.threads, block_bytes: config.limits.block_bytes, interrupted, on_progress };
    let finished = pipeline::run(inputs, ranks, decoder, &selection, tracker, work);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    finished
}

/// A progress bar on standard error, when that is a terminal and `--quiet` was not given.
fn progress_bar(config: &Config, size: Option<u64>) -> Option<indicatif::ProgressBar> {
    if config.quiet || !std::io::stderr().is_terminal() {
        return None;
    }
    let template = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    Some(match size {
        Some(size) => {
            indicatif::ProgressBar::new(size).with_style(indicatif::ProgressStyle::with_template(template).ok()?)
        }
        None => indicatif::ProgressBar::new_spinner(),
    })
}

/// Writes the report; returns what went wrong.
fn write(
    config: &Config,
    writer: Writer,
    report: &mut Report,
    rows: Rows,
    legs: &Legs,
    names: &[Vec<Option<Arc<str>>>],
    mut output: Output,
) -> Result<(), Error> {
    let no_color = report::no_color();
    let layout = Layout::of(config, output.is_terminal(), no_color);
    match writer {
        Writer::Report(write) => {
            report.ledgers.outputs = Ledger { buckets: vec![("rows_made", 0), ("rows_written", 0)], closed: true };
            // The output remembers its first error, which `finish` reports.
            let _ = write(report, &layout, &mut output);
        }
        Writer::Rows { header, row } => {
            let wanted = |leg| match leg {
                Leg::Client => true,
                Leg::Upstream => config.upstream || config.every_leg,
                Leg::Other => config.every_leg,
            };
            let interface = |input: u32, number: u32| names.get(input as usize)?.get(number as usize)?.as_deref();
            let mut line = Vec::new();
            let mut written = 0u64;
            header(&mut line);
            let mut fine = output.write_all(&line).is_ok();
            let made = rows.write(
                |client, server| legs.leg(client, server),
                wanted,
                interface,
                |text| {
                    if fine {
                        line.clear();
                        row(text, &mut line);
                        fine = output.write_all(&line).is_ok();
                        written += u64::from(fine);
                    }
                },
            );
            let made = match made {
                Ok(made) => made,
                Err(error) => return Err(output.give_up(error)),
            };
            let buckets = vec![("rows_made", made), ("rows_written", written)];
            report.ledgers.outputs = Ledger { buckets, closed: made == written };
        }
    }
    let finished = output.finish()?;
    if finished.pipe_closed {
        // The reader of standard output is gone.
        report.ledgers.outputs.closed = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
