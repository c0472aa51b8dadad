//! The `read` command from configuration to exit code: open, follow, build, diagnose, write.

use crate::capture::filter::Filter;
use crate::capture::kernel_filter;
use crate::capture::open::{self, Input, Source};
use crate::capture::time::Resolution;
use crate::capture::{Context, Timestamp};
use crate::config::{Config, Limits, Outcome, Outcomes, Severity};
use crate::decode::detail::DetailLimits;
use crate::decode::{Decoder, Ends, link};
use crate::diagnose;
use crate::error::{Error, ErrorKind, escape_text, packets};
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::judge::{Judgements, names_server, own_servers};
use crate::expect::inventory::Expect;
use crate::pipeline::{self, Finished, Selection};
use crate::report::build::{Counted, Legs, OpenedInput, build};
use crate::report::output::{self, FileIdentity, Output};
use crate::report::page::{counted, lost_packets};
use crate::report::rows::{RowInput, Rows, in_turn};
use crate::report::sides::Sides;
use crate::report::{self, Layout, Ledger, Report, Writer};
use crate::sources::{Leg, Sources};
use crate::transact::pairs::{Judged, Pairs};
use crate::transact::{Settings, Tracker};
use std::collections::{BTreeSet, HashSet};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the process says beside its report.
pub trait Console {
    /// One line for the operator.
    fn line(&mut self, text: &str);

    /// Shows a line as [`Console::line`] does, and says why it could not.
    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        self.line(text);
        Ok(())
    }

    /// Shows lines that were held back, where any are.
    fn show(&mut self) {}

    /// Lines so far that could not be shown.
    fn missing(&self) -> u64 {
        0
    }
}

/// Standard error; nobody reading it is no reason to stop.
pub struct StandardError;

impl Console for StandardError {
    fn line(&mut self, text: &str) {
        let _ = self.try_line(text);
    }

    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        // A terminal that was hung up says EIO.
        match writeln!(std::io::stderr().lock(), "{text}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
            written => written,
        }
    }
}

/// Runs `read` and returns the exit code. Set `interrupted` from a signal handler to end with what was read so far.
pub fn read(config: &Config, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<u8, Error> {
    let inventory = Arc::new(Inventory::load(&config.expect)?);
    let acls: Arc<[Acl]> = Acl::load_all(&config.acls, config.root.as_deref(), &config.servers)?.into();
    if !config.quiet {
        for acl in acls.iter() {
            acl.policy().notes().iter().for_each(|note| console.line(&format!("warning: {note}")));
        }
        for note in Acl::not_asked(&acls) {
            console.line(&format!("warning: {note}"));
        }
    }
    let read = config.inputs.iter().chain(&config.expect).chain(config.acls.iter().map(|acl| &acl.path));
    let identities = FileIdentity::of_paths(read.map(std::path::PathBuf::as_path));
    let output = output::prepare(config, &identities)?;
    let (inputs, ranks, failed) = open_inputs(config, console, interrupted)?;
    if inputs.is_empty() {
        // Every input was named on its own line already.
        return Ok(failed.first().map_or(1, |(_, error)| error.exit_code()));
    }
    check_filter(config, &inputs, console)?;
    let refusals = |input: &Input| input.hint.choices.only_refusals();
    let row_outcomes =
        if !config.rows_given && inputs.iter().all(refusals) { Outcomes::of_refusals() } else { config.rows };

    let format = report::format(config.format).ok_or_else(|| Error::usage("--format", "unknown"))?;
    let wants_rows = matches!(format.writer, Writer::Rows { .. });
    // Nobody sees lines of sources and findings beside rows, unless findings decide the exit code.
    let with_sources = !wants_rows || config.check.is_some();
    let finding_frames = if with_sources { config.limits.finding_frames } else { 0 };
    let limits = &Limits { finding_frames, ..config.limits.clone() };
    let sources = Sources::new(limits.answered_rows, limits.silent_rows, limits.finding_frames);
    for server in config.servers.iter().chain(&own_servers(&acls)) {
        for kept in [false, true] {
            sources.meet(server.address, kept);
        }
    }
    let decoder = Decoder::new(config.ports.clone(), &config.limits);
    let row_inputs = inputs.iter().map(row_input).collect();
    let listed = (!inventory.is_empty()).then(|| Arc::clone(&inventory));
    let rows = Mutex::new(Rows::new(row_inputs, listed, &acls, limits));
    let rows_now = || rows.lock().unwrap_or_else(PoisonError::into_inner);
    let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
    let mut judgements = Judgements::new(Arc::clone(&acls), detail, limits.answered_rows, limits.finding_frames);
    // Whatever reads a stream has a thread of its own, which has ended when rows are printed.
    let two_threads = config.threads > 1 || inputs.iter().any(|input| matches!(input.source, Source::Stream(_)));
    let several = inputs.len() > 1;
    // Of all interfaces of a host that passes queries on, too.
    let both_sides = several || inputs.iter().any(is_cooked);
    let opened: Vec<OpenedInput> = inputs.iter().map(opened_input).collect();

    let settings = Settings {
        timeout: i64::try_from(config.timeout.as_nanos()).unwrap_or(i64::MAX / 4),
        vantage: config.vantage,
        filtered: config.filter.as_ref().is_some_and(|filter| !kernel_filter::is_complete(filter, &config.ports)),
        // A file is compared with every transaction, not only with those that get a row.
        rows: match (wants_rows, acls.is_empty()) {
            (_, false) => Outcomes::ALL,
            (true, true) => row_outcomes,
            (false, true) if both_sides => Outcomes::of(&[Outcome::Refused, Outcome::Denied]),
            (false, true) => Outcomes::of(&[]),
        },
        limits,
    };
    let mut sides = Sides::of(several);
    let pairs = Pairs::new(&sources, Box::new(|address| judge(&inventory, address)));
    let mut tracker = Tracker::new(
        &decoder,
        settings,
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
    let last = finished.lanes.iter().filter_map(|lane| lane.times).map(|(_, last)| last).max();
    // Frames behind the time asked for were not looked at, nor all of those read when somebody interrupted.
    let looked_until = last.filter(|_| !finished.interrupted).map(|last| config.to.map_or(last, |to| last.min(to)));
    tracker.finish(looked_until);
    rows_now().sort(if two_threads { pipeline::ahead::begin } else { in_turn });
    // While another thread may be reading rows.
    tracker.fold_all_alone();

    let (counts, lost) = (tracker.counts.clone(), tracker.lost_state());
    let mut tally = finished.tally;
    tally.add(&tracker.tally);
    let mut anomalies = tracker.anomalies();
    let quoted = tracker.quotes.sentences();
    let elsewhere = tracker.refused_elsewhere().map(says_elsewhere);
    let proxied = tracker.proxied.pairs().clone();
    let (away, here) = (tracker.away().collect(), tracker.here().collect());
    let here_in = if several { tracker.here_in().collect() } else { BTreeSet::new() };
    drop(tracker);
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    if rows.without_detail > 0 {
        anomalies.insert("messages_without_detail", rows.without_detail);
    }
    let mut verdicts = judgements.finish();
    if verdicts.not_kept > 0 {
        anomalies.insert("transactions_not_judged", verdicts.not_kept);
    }
    let legs = Legs::of(config, &own_servers(&acls), &sources);
    verdicts.keep(|source, server| legs.leg(source, server) == Leg::Client || names_server(&acls, server));
    let names: Vec<Vec<Option<Arc<str>>>> = finished.lanes.iter().map(|lane| lane.interfaces.clone()).collect();
    let counted = Counted {
        inputs: opened.into_iter().zip(finished.lanes).collect(),
        failed: failed.iter().map(|(name, error)| (name.clone(), error.detail.clone(), size_of_file(name))).collect(),
        tally,
        counts: &counts,
        anomalies,
        interrupted: finished.interrupted,
        undecided: Default::default(),
    };
    let rows_of_sources = if with_sources { sources.drain_sorted() } else { Vec::new() };
    let mut report = build(config, counted, &sources.joined(), rows_of_sources, &legs, &inventory);
    report.time_digits = rows.time_digits;
    report.notes.extend(inventory.notes().iter().cloned());
    report.notes.extend(quoted);
    (report.proxied, report.away, report.here) = (proxied, away, here);
    report.here_in = here_in;
    report.notes.extend(sides.note(&report.here_in));
    report.notes.extend(elsewhere);
    report.judge(&verdicts);
    report.findings = diagnose::diagnose_with_files(&report, &inventory, &verdicts, config);

    let written = write(config, format.writer, &mut report, rows, &legs, &names, output);
    Ok(conclude(config, &report, &failed, lost, written, console))
}

/// What is to be known of a source when it is first seen: listed, and whether frames of its answers are wanted.
pub(crate) fn judge(inventory: &Inventory, address: IpAddr) -> Judged {
    match inventory.expect(address) {
        _ if inventory.is_empty() => Judged::default(),
        Some(expect) => Judged { listed: true, answers_wanted: expect == Expect::Refuse },
        None => Judged { listed: false, answers_wanted: true },
    }
}

/// Inputs in the order of their first packets, the position of each in the arguments, and those that failed.
pub type Opened = (Vec<Input>, Vec<usize>, Vec<(String, Error)>);

/// Opens every input and puts them in order. An input that cannot be used is reported and left out; a directory is a
/// usage error.
pub fn open_inputs(config: &Config, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Opened, Error> {
    raise_file_limit(config.inputs.len());
    let mut opened: Vec<(usize, Input)> = Vec::new();
    let mut failed = Vec::new();
    let mut seen = HashSet::new();
    for (rank, path) in config.inputs.iter().enumerate() {
        match open::open(path, &config.limits, interrupted) {
            Ok(input) => {
                if input.identity.is_some_and(|identity| !seen.insert(identity)) && !config.quiet {
                    let name = escape_text(&input.name);
                    console.line(&format!("warning: {name}: given more than once; its packets are counted each time"));
                }
                opened.push((rank, input));
            }
            Err(error) if error.kind == ErrorKind::Usage || error.code == "E-IN-FILES" => return Err(error),
            Err(error) => {
                console.line(&error.to_string());
                let severity = Severity::ALL.iter().find(|(name, _)| path.as_os_str() == *name);
                if let (Some((name, _)), Some(_)) = (severity, config.check) {
                    console.line(&format!("tip: a severity follows behind an equals sign: --check={name}"));
                }
                failed.push((path.to_string_lossy().into_owned(), error));
            }
        }
    }
    opened.sort_by_key(|(rank, input)| (input.first_time.unwrap_or(Timestamp(i64::MAX)), *rank));
    let (ranks, inputs) = opened.into_iter().unzip();
    Ok((inputs, ranks, failed))
}

/// Asks for as many open files as there are inputs, where the system lets us.
fn raise_file_limit(inputs: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = inputs as u64 + 64;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| wanted.min(maximum)));
        // What cannot be raised is noticed when an input cannot be opened.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Bytes of a file that could not be used: they are accounted for as unread. 0 for what has no size.
pub(crate) fn size_of_file(name: &str) -> u64 {
    std::fs::metadata(name).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

/// Compiles the filter for the link types known so far, and warns when it hides translated packets.
fn check_filter(config: &Config, inputs: &[Input], console: &mut dyn Console) -> Result<(), Error> {
    let Some(expression) = &config.filter else { return Ok(()) };
    let mut filter = Filter::new(expression);
    for input in inputs {
        let known = input.hint.interfaces.iter().map(|interface| interface.link_type);
        for link_type in known.filter(|number| link::find(*number).is_some()) {
            filter.check(link_type)?;
        }
    }
    if Filter::names_a_host(expression) && !config.quiet {
        console
            .line("warning: --filter names a host or network: packets whose address was translated are hidden by it");
    }
    Ok(())
}

fn row_input(input: &Input) -> RowInput {
    RowInput { name: escape_text(&input.name), time_digits: time_digits(&input.hint) }
}

/// What is known of an input before it is read.
pub fn opened_input(input: &Input) -> OpenedInput {
    OpenedInput { name: input.name.clone(), format: input.reader.format.name(), compression: input.compression }
}

/// What is said of queries without a response that a refusal from another address fits.
fn says_elsewhere((count, least, asked, from): (u64, bool, Ends, IpAddr)) -> String {
    let (queries, share) = (counted(count, "query", "queries"), if count == 1 { "shares" } else { "share" });
    let (client, server) = (asked.source(), asked.destination());
    format!(
        "{}{queries} without a response {share} client, port and identifier with a REFUSED response that came from another \
         address without a query of its own: {client} asked {server} and heard from {from}, for one.",
        if least { "At least " } else { "" }
    )
}

/// The input is of all interfaces of a host, as far as its beginning tells: a cooked link type.
fn is_cooked(input: &Input) -> bool {
    input.hint.interfaces.iter().any(|interface| matches!(interface.link_type, 113 | 276))
}

/// Digits of a second's fraction that the timestamps of an input carry: those of its finest interface.
fn time_digits(context: &Context) -> usize {
    let digits = |resolution: Resolution| match resolution {
        Resolution::Multiply(1_000_000..) => 3,
        Resolution::Multiply(1000..) => 6,
        _ => 9,
    };
    context.interfaces.iter().map(|interface| digits(interface.resolution)).max().unwrap_or(6)
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
    let block_bytes = config.limits.block_bytes;
    let finished = pipeline::run(
        inputs,
        ranks,
        decoder,
        &selection,
        tracker,
        config.threads,
        block_bytes,
        interrupted,
        on_progress,
    );
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    finished
}

/// A bar on standard error, when that is a terminal and nobody asked for quiet.
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

/// Writes the report; returns what went wrong with it.
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
        // Nobody wanted the rest.
        report.ledgers.outputs.closed = true;
    }
    Ok(())
}

/// Says what is wrong, and makes the exit code: the most serious reason wins.
pub(crate) fn conclude(
    config: &Config,
    report: &Report,
    failed: &[(String, Error)],
    lost: u64,
    written: Result<(), Error>,
    console: &mut dyn Console,
) -> u8 {
    let mut damaged = !failed.is_empty();
    for input in report.inputs.iter().filter(|input| !input.format.is_empty()) {
        for what in &input.damage {
            damaged = true;
            let error = Error::new(ErrorKind::Input, "E-IN-DAMAGED", &input.name, what);
            console.line(&error.to_string());
        }
    }
    if let (Some(why), None) = (&report.partial, &report.live) {
        damaged = true;
        let read = packets(report.inputs.iter().map(|input| input.frames).sum());
        let what = format!("{why}; {read} read until then, and the output is about those only");
        console.line(&Error::new(ErrorKind::Input, "E-IN-PARTIAL", "dnsrefused", what).to_string());
    }
    let ledgers = &report.ledgers;
    let capture_open = ledgers.capture.filter(|capture| !capture.is_closed()).map(|_| "capture");
    let open: Vec<&str> = ledgers
        .of_a_run()
        .into_iter()
        .filter(|(_, ledger)| !ledger.closed)
        .map(|(name, _)| name)
        .chain(capture_open)
        .collect();
    let unclosed = !open.is_empty() && written.is_ok();
    if unclosed {
        let what = format!("the ledger of {} does not close; do not rely on this report", open.join(" and "));
        console.line(&Error::new(ErrorKind::Internal, "E-LEDGER", "dnsrefused", what).to_string());
    }
    if let Err(error) = &written {
        console.line(&error.to_string());
    }
    let faulty = ledgers.packets.get("internal_fault") > 0;
    for input in &report.inputs {
        for frame in &input.faults {
            let what = format!(
                "frame {frame} could not be decoded because of a fault in this program; it is counted as internal_fault, \
                 and everything else was read"
            );
            console.line(&Error::new(ErrorKind::Internal, "E-FAULT", &input.name, what).to_string());
        }
    }
    let frames = report.totals.frames;
    let unreadable_links = frames > 0
        && ledgers.packets.get("not_opened") == frames
        && ledgers.not_opened.keys().all(|kind| kind.starts_with("link type"));
    if unreadable_links {
        let kinds: Vec<&str> = ledgers.not_opened.keys().map(String::as_str).collect();
        let name = report.inputs.first().map_or("", |input| &input.name);
        let opened =
            if frames == 1 { "its packet was not".to_owned() } else { format!("none of {frames} packets was") };
        let what = format!("{} is not supported; {opened} opened", kinds.join(", "));
        console.line(&Error::new(ErrorKind::CouldNotRun, "E-IN-LINK", name, what).to_string());
    }
    let dropped = ledgers.capture.map_or(0, |capture| capture.lost());
    if let Some(capture) = ledgers.capture.filter(|_| dropped > config.max_loss && !config.quiet) {
        console.line(&format!(
            "warning: {dropped} packets were lost: {} by the kernel, whose ring was full, {} by us; counts are too low",
            capture.dropped,
            capture.own_lost()
        ));
    }
    for input in report.inputs.iter().filter(|input| input.stated_loss.known() > Some(0) && !config.quiet) {
        console.line(&format!(
            "warning: {}: its capture lost {} of any traffic, as it says itself; counts may be too low",
            escape_text(&input.name),
            lost_packets(input.stated_loss)
        ));
    }
    // Nobody knows what these were, so they may have been what was to be captured.
    let by_interface = ledgers.capture.and_then(|capture| capture.interface_dropped.known()).unwrap_or(0);
    if by_interface > 0 && dropped + by_interface > config.max_loss && !config.quiet {
        console.line(&format!(
            "warning: {by_interface} packets of any traffic were lost by the interface before the kernel saw them; DNS may \
             have been among them"
        ));
    }
    if lost > config.max_loss && !config.quiet {
        console.line(&format!(
            "warning: {lost} transactions or connections were given up because a table was full; counts of responses \
             without a query may be too high"
        ));
    }
    let severe = config.check.is_some_and(|least| report.findings.iter().any(|finding| finding.severity >= least));
    if config.check.is_some() && !severe && config.expect.is_empty() && config.acls.is_empty() && !config.quiet {
        console.line(
            "warning: --check without --expect or --acl: that somebody was turned away is no finding as long as nothing says \
             who is expected",
        );
    }
    match () {
        () if unclosed || faulty => 7,
        () if written.is_err() => written.err().map_or(5, |error| error.exit_code()),
        () if unreadable_links => 1,
        () if damaged => 3,
        () if lost + dropped + by_interface > config.max_loss => 4,
        () if severe => 10,
        () => 0,
    }
}

/// Asks for a flag to be set by SIGINT, SIGTERM and SIGHUP; a signal while `at_once` is set ends the process at once, with
/// 128 plus its number. The two may be the same flag: then that is the second signal. SIGHUP never does that: of a terminal that
/// goes away, the kernel tells, and then the shell as well.
pub fn on_signals(interrupted: &Arc<AtomicBool>, at_once: &Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // Under nohup(1) it stays ignored.
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(at_once))?;
    }
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    // Past the file size limit a write shall fail and be reported, not end the process (setrlimit(2)).
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    interrupted.store(false, Ordering::Relaxed);
    at_once.store(false, Ordering::Relaxed);
    Ok(())
}

/// SIGHUP is ignored, because whoever started this process wanted it so (`proc_pid_status(5)`).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal_hook::consts::SIGHUP - 1) & 1 == 1)
}

#[cfg(test)]
mod tests;
