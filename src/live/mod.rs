//! The `live` command from configuration to exit code: open, confine, follow, report.
//!
//! [`session`] decides several times a second how the run goes on and makes the reports, [`decided`] takes transactions
//! as they are decided, [`expectations`] reads inventories and servers' files again when they change, [`packets`]
//! records the packets. [`standing`] adds up what the trackers counted; [`scroll`] and [`surroundings`] make the lines
//! about what is new.

mod addresses;
pub mod decided;
pub mod expectations;
mod held_back;
mod interval;
mod opening;
pub mod packets;
pub mod scroll;
pub mod session;
mod signals;
pub mod standing;
pub mod surroundings;

use crate::capture::host;
use crate::capture::live::{Handle, Options};
use crate::config::{Color, Config};
use crate::decode::Decoder;
use crate::error::{Error, ErrorKind, escape_text};
use crate::expect::acl::Acl;
use crate::expect::acl::judge::own_servers;
use crate::pipeline::aside::Speaker;
use crate::pipeline::live::{Group, SideTask, Watchdog};
use crate::pipeline::{self};
use crate::report::output::{self, FileIdentity, Output};
use crate::report::{self, Writer};
use crate::run::{Console, judge, settings, warn_of_filter, warnings};
use crate::sources::Sources;
use crate::transact::pairs::Pairs;
use crate::transact::{Settings, Tracker};
use crate::watch::Board;
use crate::watch::metrics::http as metrics;
use crate::watch::sandbox::{Plan, confine};
use crate::watch::screen::terminal::Borrowed;
use crate::watch::screen::{self, Left, Look};
use crate::watch::snapshot::Snapshot;
use addresses::Addresses;
use decided::{Decided, Stream, StreamLegs};
use expectations::Expectations;
use held_back::HeldBack;
use packets::PacketFiles;
use session::{Parts, Session};
pub use signals::Signals;
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The note on why nobody is called silent on a host that may use `IPsec`.
const IPSEC: &str = "This host's kernel has loaded its module for ESP: what leaves through IPsec is not captured in clear, so that \
                     nobody is called silent here (--vantage server says that no response leaves so).";

/// Runs `live` and returns the exit code.
///
/// # Errors
/// Whatever keeps the capture from beginning; once it runs, errors are lines for the operator and an exit code.
pub fn run(config: &Config, mut console: Box<dyn Console + Send>, signals: &Signals) -> Result<u8, Error> {
    let config = &for_this_host(config)?;
    let expectations = Arc::new(Expectations::load(config)?);
    signals.have_read();
    if !config.quiet {
        warn(config, &expectations, console.as_mut());
    }
    let read = config.expect.iter().chain(config.acls.iter().map(|acl| &acl.path));
    let identities = FileIdentity::of_paths(read.map(PathBuf::as_path));
    let format = report::format(config.format).ok_or_else(|| Error::usage("--format", "unknown"))?;
    let streams = matches!(format.writer, Writer::Rows { .. });
    let per_interval = config.live.every.is_some() && config.output.is_some() && !streams;
    if let Some(path) = config.output.as_deref().filter(|_| per_interval) {
        output::check_beside(path)?;
    }
    let Opened { handles, addresses, listener, board, screen, interfaces, ipsec } = Opened::of(config)?;
    let sandbox = confine(&plan(config, &expectations, &handles, &addresses), config.live.sandbox)?;
    let Outputs { report, stream, mut packets } = Outputs::prepare(config, &identities, format.writer, per_interval)?;
    let names: Vec<String> = handles.iter().map(|handle| handle.name.clone()).collect();
    let limits = &config.limits;
    let decoder = Decoder::new(config.ports.clone(), &config.limits);
    let sources = Sources::new(limits.answered_rows, limits.silent_rows, limits.finding_frames);
    let mut servers = config.servers.clone();
    servers.extend(own_servers(&expectations.now().acls));
    let declared = servers.iter().map(|server| server.address).collect();
    let hears_addresses = addresses.socket().is_some();
    let legs = StreamLegs::new(addresses, declared, config.live.refused_only);
    let inputs: Vec<String> = names.iter().map(|name| escape_text(name)).collect();
    let decided = Arc::new(Mutex::new(Decided::new(config, &expectations.now(), inputs, interfaces, stream, legs)));
    if let Some(packets) = &mut packets {
        packets.begin(&handles, config)?;
    }
    // From here on a slow reader of standard error holds nothing up.
    let mut speaker = Speaker::start(console, limits.waiting_output_bytes)?;
    let mut held = HeldBack::new(&mut speaker, screen.is_some());
    let opening = if config.quiet {
        Vec::new()
    } else {
        opening::lines(config, &handles, listener.as_ref(), &sandbox, hears_addresses)
    };
    let parts = Parts {
        config,
        signals,
        sources: &sources,
        expectations: Arc::clone(&expectations),
        decided: Arc::clone(&decided),
        names,
        ring_bytes: handles.iter().map(|handle| handle.ring).sum(),
        output: report,
        board: board.clone(),
        recording: packets.as_ref().map(PacketFiles::alarm),
        sandbox: sandbox.to_string(),
        opening,
        notes_of_all: ipsec.then(|| IPSEC.to_owned()).into_iter().collect(),
    };
    let groups = groups(config, handles, &decoder, &sources, &expectations, &decided, ipsec);
    let mut session = Session::new(parts, &mut held);
    let writer = packets.as_mut().map(|packets| packets as &mut dyn pipeline::live::PacketWriter);
    // A fault of the screen or the metrics leaves the report right, but still decides the exit code.
    let faulty = AtomicBool::new(false);
    let side_tasks = side_tasks(config, listener.as_ref(), screen, board.as_ref(), signals, &faulty);
    // An output may block for ever: half a second after the first signal, the next one ends the process.
    let at_once = (!signals.screen).then(|| Arc::clone(&signals.at_once));
    let _watchdog = Watchdog::start(Arc::clone(&signals.stop), at_once);
    let finished = pipeline::live::run(groups, &decoder, limits, writer, side_tasks, &signals.stop, &mut session);
    session.show();
    if let (Ok(finished), Some(packets)) = (&finished, &mut packets) {
        let moment = &finished.moment;
        packets.state_losses(moment.now, &moment.kernel, moment.own_dropped);
    }
    let written = packets.map_or(Ok(()), PacketFiles::finish);
    let code = match finished {
        Ok(finished) => session.conclude(finished, written),
        Err(error) => {
            drop(session);
            speaker.line(&error.to_string());
            error.exit_code()
        }
    };
    let all_said = speaker.finish();
    Ok(match code {
        _ if faulty.into_inner() => 7,
        // Lines for the operator are an output, too.
        0 | 3 | 4 | 10 if !all_said => 5,
        code => code,
    })
}

/// What is opened before the process is confined.
struct Opened {
    handles: Vec<Handle>,
    addresses: Addresses,
    /// Where metrics are served.
    listener: Option<TcpListener>,
    /// Where the screen and the metrics find what to show.
    board: Option<Arc<Board>>,
    screen: Option<Borrowed>,
    /// Names of the host's interfaces by index.
    interfaces: HashMap<u32, String>,
    /// Responses may leave through `IPsec`, where they are not captured in clear.
    ipsec: bool,
}

impl Opened {
    fn of(config: &Config) -> Result<Self, Error> {
        let handles = open(config)?;
        // The confined process may not open this socket.
        let addresses = Addresses::listen();
        let listener = config.live.metrics.map(listen).transpose()?;
        let board = decided::watched(config).then(|| Arc::new(first_board(config)));
        let screen = if config.live.screen { Some(Borrowed::open()?) } else { None };
        let interfaces = handles.first().map(|handle| host::interfaces_by_index(handle.socket())).unwrap_or_default();
        let ipsec = config.vantage.is_none() && !config.live.refused_only && host::may_use_ipsec();
        Ok(Self { handles, addresses, listener, board, screen, interfaces, ipsec })
    }
}

/// Where the run writes, opened by the confined process.
struct Outputs {
    /// For the report at the end; `None` where rows are streamed, or every interval gets its own file.
    report: Option<Output>,
    /// For rows as they are made.
    stream: Option<Stream>,
    packets: Option<PacketFiles>,
}

impl Outputs {
    fn prepare(config: &Config, inputs: &[FileIdentity], writer: Writer, per_interval: bool) -> Result<Self, Error> {
        let first = config.output.as_ref().filter(|_| per_interval).map(|path| interval::file(path, host::now()));
        let target = Config { output: first.or_else(|| config.output.clone()), ..config.clone() };
        // Where every interval gets its own file, this only checks that the first can be written.
        let mut report = Some(output::prepare(&target, inputs)?).filter(|_| !per_interval);
        let packets = PacketFiles::prepare(config, inputs)?;
        let most = config.limits.waiting_output_bytes;
        let stream = match writer {
            Writer::Rows { header, row } => {
                report.take().map(|output| Stream::new(output, header, row, most)).transpose()?
            }
            Writer::Report(_) => None,
        };
        Ok(Self { report, stream, packets })
    }
}

/// The configuration with the defaults that depend on this host and on where the output goes.
fn for_this_host(config: &Config) -> Result<Config, Error> {
    let mut config = config.clone();
    config.node = config.node.or_else(host::host_name);
    if config.output.is_none() && !config.live.format_given && !std::io::stdout().is_terminal() {
        // A program reads this, not a person.
        config.format = "jsonl";
    }
    if config.live.screen && config.live.every.is_some() && config.output.is_none() {
        return Err(Error::usage("--screen", "with --every the reports need a file, -o FILE; nothing was opened"));
    }
    Ok(config)
}

/// Says what is doubtful about the servers' files and the filter before anything is opened.
fn warn(config: &Config, expectations: &Expectations, console: &mut dyn Console) {
    let acls = expectations.now().acls;
    warnings(&acls).for_each(|warning| console.line(&warning));
    // A report says it, too, but that may be hours away.
    for note in Acl::unheard(&acls, &config.ports) {
        console.line(&format!("warning: {note}"));
    }
    warn_of_filter(config, console);
}

/// A board that already has something to show: who captures, and nothing counted yet.
fn first_board(config: &Config) -> Board {
    let board = Board::default();
    let node = config.node.clone().unwrap_or_default();
    board.publish(Snapshot { node, without_queries: config.live.refused_only, ..Snapshot::default() });
    board
}

/// What runs beside the capture: the metrics and the screen. `faulty` is set when one of them panics.
fn side_tasks<'a>(
    config: &Config,
    listener: Option<&'a TcpListener>,
    screen: Option<Borrowed>,
    board: Option<&Arc<Board>>,
    signals: &'a Signals,
    faulty: &'a AtomicBool,
) -> Vec<SideTask<'a>> {
    let mut side_tasks: Vec<SideTask<'a>> = Vec::new();
    if let (Some(listener), Some(board)) = (listener, board.cloned()) {
        // The capture does not depend on the metrics: when they cannot be served, it goes on.
        side_tasks.push(Box::new(move |stop: &AtomicBool| {
            let served = catch_unwind(AssertUnwindSafe(|| drop(metrics::serve(listener, &board, stop))));
            faulty.fetch_or(served.is_err(), Ordering::Relaxed);
        }));
    }
    if let (Some(borrowed), Some(board)) = (screen, board.cloned()) {
        let color = config.color != Color::Never && !report::no_color();
        let look = Look::of(color, |name| std::env::var(name).ok());
        let (at_once, job) = (&signals.at_once, &signals.job);
        side_tasks.push(Box::new(move |stop: &AtomicBool| {
            let left = catch_unwind(AssertUnwindSafe(|| screen::run(borrowed, &board, stop, job, look)));
            faulty.fetch_or(left.is_err(), Ordering::Relaxed);
            if !matches!(left, Ok(Left::Stopped)) {
                stop.store(true, Ordering::Relaxed);
            }
            // The terminal is restored: from now on a second signal may end the process.
            at_once.store(true, Ordering::Relaxed);
        }));
    }
    side_tasks
}

/// Opens the address where metrics are served.
fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|error| {
        let detail = format!("cannot listen for --metrics: {error}; nothing was captured");
        Error::new(ErrorKind::CouldNotRun, "E-METRICS", address.to_string(), detail)
    })
}

/// What the process still has to be able to do once it is confined.
fn plan(config: &Config, expectations: &Expectations, handles: &[Handle], addresses: &Addresses) -> Plan {
    let folder = |path: &PathBuf| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Plan {
        write: config
            .output
            .iter()
            .chain(&config.live.write)
            .filter(|path| path.as_os_str() != "-")
            .map(folder)
            .collect(),
        read: config.expect.iter().cloned().chain(expectations::acl_paths(config, &expectations.now())).collect(),
        appears: expectations::acl_places(&expectations.now()),
        interfaces: handles.iter().map(|handle| handle.name.clone()).collect(),
        // Nothing is ever sent on these sockets.
        captures: handles.iter().map(|handle| handle.socket().as_raw_fd()).chain(addresses.socket()).collect(),
        listens: config.live.metrics.is_some(),
    }
}

/// Opens every handle; nothing is captured yet.
fn open(config: &Config) -> Result<Vec<Handle>, Error> {
    let options = Options {
        ring: config.live.ring,
        promiscuous: config.live.promiscuous,
        ports: config.ports.clone(),
        filter: config.filter.clone(),
        refused_only: config.live.refused_only,
    };
    let mut handles = Vec::new();
    let mut group = None;
    for name in &config.live.interfaces {
        for _ in 0..config.live.fanout {
            let mut handle = Handle::open(name, &options)?;
            if config.live.fanout == 1 && handles.iter().any(|other: &Handle| other.name == handle.name) {
                let detail = format!("{name} is {}, which is given already; nothing was captured", handle.name);
                return Err(Error::usage("-i", detail));
            }
            if config.live.fanout > 1 {
                group = Some(handle.fan_out(group)?);
            }
            handles.push(handle);
        }
    }
    // Packets from before the last handle joined the group are discarded: only some of the handles saw them.
    handles.iter_mut().try_for_each(Handle::settle)?;
    Ok(handles)
}

/// One time line for all interfaces, or one for each handle that shares an interface. Where responses may leave through
/// `IPsec`, which is not captured, nobody is called silent.
fn groups<'a>(
    config: &'a Config,
    handles: Vec<Handle>,
    decoder: &'a Decoder,
    sources: &'a Sources,
    expectations: &Arc<Expectations>,
    decided: &Arc<Mutex<Decided>>,
    ipsec: bool,
) -> Vec<Group<'a>> {
    let tracker = || {
        let inventory = Arc::clone(expectations);
        let pairs = Pairs::new(sources, Box::new(move |address| judge(&inventory.now().inventory, address)));
        let rows = decided.lock().unwrap_or_else(PoisonError::into_inner).wanted();
        let settings = settings(config, &config.limits, rows);
        let settings = Settings { filtered: settings.filtered || ipsec, ..settings };
        let decided = Arc::clone(decided);
        let push = move |transaction: &crate::transact::Transaction<'_>| {
            decided.lock().unwrap_or_else(PoisonError::into_inner).push(transaction);
        };
        let mut tracker = Tracker::new(decoder, settings, pairs, Box::new(push));
        tracker.note_routed();
        tracker
    };
    if config.live.fanout == 1 {
        return vec![Group { handles, first_input: 0, tracker: tracker() }];
    }
    handles
        .into_iter()
        .enumerate()
        .map(|(number, handle)| Group { handles: vec![handle], first_input: number as u32, tracker: tracker() })
        .collect()
}
