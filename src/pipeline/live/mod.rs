//! Tracks captures while they happen: one thread per handle reads and decodes, one thread per group follows
//! transactions, and the caller's thread keeps the time.
//!
//! A group is one time line: one handle, several interfaces merged by time, or one of the handles that share an
//! interface by fan-out. Nothing is dropped between the threads: when a tracker is slow its handles wait, and the
//! kernel, which goes on filling the ring, counts what it drops. Only a stop that takes too long gives packets up, and
//! counts them.

mod following;
mod losses;
mod reading;

use super::{Damage, LaneResult, internal};
use crate::capture::host;
use crate::capture::live::{self, Handle, KernelCounts};
use crate::capture::{Block, Frame, Reader, Timestamp};
use crate::decode::{Decoded, Decoder, Tally};
use crate::error::{Error, ErrorKind};
use crate::transact::proxied::{ProxiedKey, ProxiedPair};
use crate::transact::quotes::Quotes;
use crate::transact::{Counts, Tracker};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use following::Follower;
use losses::Losses;
use reading::capture;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Decoded blocks that may wait for a group's tracker.
const QUEUE: usize = 64;
/// A stop that takes this long gives up what has not been read.
const STOP_SOFT: Duration = Duration::from_millis(3500);
/// A stop that takes this long ends the process, whatever it waits for, even a report to a terminal or pipe. With the
/// time to notice and to say so, that is within five seconds.
const STOP_HARD: Duration = Duration::from_millis(4700);
/// A signal this soon after the one that began the stop is taken for the same one: timeout(1) sends one to its child
/// and one to the group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How long the line about it may take.
const LAST_WORD: Duration = Duration::from_millis(200);
/// Two clocks read within this time count as read at the same time, and how often that is tried.
const SAME_TIME: Duration = Duration::from_millis(5);
const CLOCK_READS: usize = 100;
/// How often `control` is asked.
const TICK: Duration = Duration::from_millis(50);
/// How long a tracker may take to answer where it stands.
const STANDING: Duration = Duration::from_secs(2);

/// One time line to follow.
pub struct Group<'a> {
    /// The group's handles; each is an input, numbered from `first_input`.
    pub handles: Vec<Handle>,
    /// Number of the input of the first handle.
    pub first_input: u32,
    /// Follows the group's transactions.
    pub tracker: Tracker<'a>,
}

/// What a group has counted so far. The per-source rows are folded up to the same packet.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Messages and transactions.
    pub counts: Counts,
    /// Frames by bucket.
    pub tally: Tally,
    /// Anomalies by name.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// What ICMP errors said.
    pub quoted: Quotes,
    /// Queries behind a proxy's header.
    pub proxied: BTreeMap<ProxiedKey, ProxiedPair>,
    /// Servers that are other hosts.
    pub away: BTreeSet<IpAddr>,
    /// Servers on whose hosts the capture is taken, as packet directions show.
    pub here: BTreeSet<IpAddr>,
    /// Servers whose responses only pass through this host.
    pub passed_on: BTreeSet<IpAddr>,
    /// Servers whose responses were forwarded, where it is not known whether they leave this host.
    pub routed: BTreeSet<IpAddr>,
    /// Addresses from which this host asked others, and the inputs at which it did.
    pub asking: BTreeSet<(IpAddr, usize)>,
    /// The inputs of the group's handles, in order.
    pub lanes: Vec<LaneResult>,
    /// Counts of the kernel when the last of their packets was read, in the same order.
    pub kernel: Vec<KernelCounts>,
    /// State given up because a table was full.
    pub lost_state: u64,
    /// Queries without a response so far, and responses whose query may still come.
    pub open: (u64, u64),
}

/// What is known about the captures at one moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The wall clock.
    pub now: Timestamp,
    /// Time since the captures began, by a monotonic clock.
    pub elapsed: Duration,
    /// Counts of the kernel, by input.
    pub kernel: Vec<KernelCounts>,
    /// Number of packets read and given up.
    pub own_dropped: u64,
    /// How often a handle had to wait for its tracker.
    pub waits: u64,
    /// State of the interfaces, by input.
    pub links: Vec<LinkState>,
    /// Nanoseconds by which the wall clock is ahead of where it would be without steps.
    pub stepped: i64,
    /// Every handle takes packets in, or has ended.
    pub capturing: bool,
    /// When this program did not run, and for how long; only the first few times.
    pub stalls: Vec<(Timestamp, Duration)>,
}

/// State of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// It is down.
    pub down: bool,
    /// It does not exist any more.
    pub gone: bool,
    /// It is up, but has no carrier: its cable is out, or the other end is off.
    pub no_carrier: bool,
    /// Its new name, when it was renamed.
    pub renamed: Option<String>,
}

/// What `control` decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Stop, read what is left and finish.
    Stop,
}

/// Calls the closure with where every group stands while all of them hold still; `None` when one does not answer.
pub type Look<'l> = dyn FnMut(&mut dyn FnMut(Vec<Standing>)) + 'l;

/// Decides, several times a second, how the run goes on.
pub trait Control {
    /// Called with the state of the captures.
    fn tick(&mut self, moment: &Moment, look: &mut Look<'_>) -> Wish;
}

/// Takes the packets of a group as captured, in order of time.
pub trait PacketWriter: Send {
    /// A packet of an input, and how many packets were lost between it and the one before it.
    fn packet(&mut self, input: u32, frame: &Frame<'_>, lost_before: u64);
    /// The kernel's counts so far for an input, after it dropped more packets.
    fn lost(&mut self, input: u32, now: Timestamp, kernel: &KernelCounts);
    /// No packet comes for the moment.
    fn pause(&mut self);
}

/// Something that runs beside the capture until the flag is set; it may set the flag.
pub type SideTask<'a> = Box<dyn FnOnce(&AtomicBool) + Send + 'a>;

/// What a run leaves behind.
pub struct Finished {
    /// Every group at its end.
    pub groups: Vec<Standing>,
    /// The captures at their end.
    pub moment: Moment,
    /// When they began.
    pub began: Timestamp,
    /// The stop gave up packets.
    pub cut_short: bool,
    /// Why a handle ended early, by input.
    pub ended: Vec<Option<Error>>,
}

/// What all threads share.
struct Shared<'a> {
    decoder: &'a Decoder,
    reader: Reader,
    /// Bytes of a block filled from a ring.
    block_bytes: usize,
    stop: &'a AtomicBool,
    abandon: AtomicBool,
    own_dropped: AtomicU64,
    waits: AtomicU64,
    /// Number of handles, and of those that take packets in or have ended.
    handles: usize,
    started: AtomicUsize,
    kernel: Mutex<Vec<KernelCounts>>,
    links: Mutex<Vec<LinkState>>,
    stalls: Mutex<Vec<(Timestamp, Duration)>>,
    /// By input: the time (nanoseconds) before which every captured packet was handed on.
    handed_on: Vec<AtomicI64>,
    failed: Mutex<Option<Error>>,
    /// Memory for blocks to be reused, the latest first: it is still in the processor's cache.
    pool: Mutex<Vec<Memory>>,
}

impl Shared<'_> {
    fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
        self.abandon.store(true, Ordering::Relaxed);
    }
}

impl Shared<'_> {
    /// Returns a block's memory.
    fn give_back(&self, memory: Memory) {
        let mut pool = lock(&self.pool);
        if pool.len() < QUEUE {
            pool.push(memory);
        }
    }
}

/// Memory that circulates between a handle and its tracker.
type Memory = (Block, Decoded);

/// Messages from a handle's thread.
enum Captured {
    Block {
        lane: usize,
        at: Instant,
        kernel: KernelCounts,
        /// Number of packets read before those in the block that the filter applied here does not select, and the time
        /// of the last.
        rejected: (u32, Option<Timestamp>),
        /// Packets dropped somewhere before those packets in the block that are not older.
        losses: Losses,
        memory: Box<Memory>,
    },
    /// The kernel has dropped more packets.
    Lost { lane: usize, now: Timestamp, kernel: KernelCounts },
    /// Nothing more comes from this handle.
    End { lane: usize, damage: Option<Damage>, error: Option<Error> },
}

/// A group at its end, and why each of its handles ended early.
type Ended = (Standing, Vec<Option<Error>>);

/// Asks a tracker where it stands, and to hold still until `resume` is dropped.
struct Request {
    reply: Sender<Standing>,
    resume: Receiver<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the captures until `stop` is set (by a signal, by `control` or by something beside) or every interface is
/// gone.
pub fn run(
    groups: Vec<Group<'_>>,
    decoder: &Decoder,
    limits: &crate::config::Limits,
    writer: Option<&mut dyn PacketWriter>,
    side_tasks: Vec<SideTask<'_>>,
    stop: &AtomicBool,
    control: &mut dyn Control,
) -> Result<Finished, Error> {
    let handles: usize = groups.iter().map(|group| group.handles.len()).sum();
    let shared = Shared {
        decoder,
        reader: live::reader(limits),
        block_bytes: limits.block_bytes,
        stop,
        abandon: AtomicBool::new(false),
        own_dropped: AtomicU64::new(0),
        waits: AtomicU64::new(0),
        handles,
        started: AtomicUsize::new(0),
        kernel: Mutex::new(vec![KernelCounts::default(); handles]),
        links: Mutex::new(vec![LinkState::default(); handles]),
        stalls: Mutex::default(),
        handed_on: (0..handles).map(|_| AtomicI64::new(i64::MIN)).collect(),
        failed: Mutex::new(None),
        pool: Mutex::default(),
    };
    let shared = &shared;
    let clock = both_clocks();
    let began = clock.0;
    let mut writer = writer;
    let (done, ended) = bounded::<(usize, Ended)>(groups.len());
    let mut standings: Vec<Option<Ended>> = groups.iter().map(|_| None).collect();
    let finished_beside = AtomicBool::new(false);
    let spawned = std::thread::scope(|scope| -> Result<(), Error> {
        let no_thread = |error: std::io::Error| {
            shared.stop.store(true, Ordering::Relaxed);
            let what = format!("no thread to capture with: {error}; no report was written");
            Error::new(ErrorKind::CouldNotRun, "E-THREADS", "dnsrefused", what)
        };
        let mut requests = Vec::new();
        for (number, group) in groups.into_iter().enumerate() {
            let (sender, receiver) = bounded(QUEUE);
            let (ask, asked) = bounded::<Request>(1);
            requests.push(ask);
            let contexts: Vec<_> = group.handles.iter().map(Handle::context).collect();
            for (lane, mut handle) in group.handles.into_iter().enumerate() {
                let (sender, input) = (sender.clone(), group.first_input as usize + lane);
                let run = move || {
                    let worked = catch_unwind(AssertUnwindSafe(|| {
                        capture(shared, lane, input, &mut handle, &sender);
                    }));
                    if worked.is_err() {
                        shared.fail(internal("a fault in a capture thread was caught"));
                    }
                };
                std::thread::Builder::new()
                    .name(format!("capture-{input}"))
                    .spawn_scoped(scope, run)
                    .map_err(no_thread)?;
            }
            drop(sender);
            let writer = writer.take();
            let mut follower = Follower::new(shared, group.first_input, group.tracker, contexts, writer);
            let done = done.clone();
            let run = move || {
                let worked = catch_unwind(AssertUnwindSafe(|| follower.follow(&receiver, &asked)));
                match worked {
                    Ok(errors) => {
                        let standing = follower.finish();
                        let _ = done.send((number, (standing, errors)));
                    }
                    Err(_) => shared.fail(internal("a fault in the decoder was caught")),
                }
            };
            std::thread::Builder::new()
                .name(format!("tracker-{number}"))
                .spawn_scoped(scope, run)
                .map_err(no_thread)?;
        }
        drop(done);
        let finished_beside = &finished_beside;
        for work in side_tasks {
            std::thread::Builder::new().spawn_scoped(scope, move || work(finished_beside)).map_err(no_thread)?;
        }
        let keep = || keep_time(shared, clock, &requests, &ended, &mut standings, finished_beside, control);
        if catch_unwind(AssertUnwindSafe(keep)).is_err() {
            shared.fail(internal("a fault in what keeps the time was caught"));
        }
        shared.stop.store(true, Ordering::Relaxed);
        finished_beside.store(true, Ordering::Relaxed);
        Ok(())
    });
    spawned?;
    if let Some(error) = lock(&shared.failed).take() {
        return Err(error);
    }
    let (mut finished, mut errors) = (Vec::new(), Vec::new());
    for standing in standings {
        let Some((standing, mut early)) = standing else { return Err(internal("a tracker was lost")) };
        finished.push(standing);
        errors.append(&mut early);
    }
    let cut_short = shared.abandon.load(Ordering::Relaxed);
    Ok(Finished { groups: finished, moment: moment(shared, clock), began, cut_short, ended: errors })
}

/// The wall clock and the monotonic one, read without a pause in between, because a pause would look like a step.
fn both_clocks() -> (Timestamp, Instant) {
    let read = || {
        let before = Instant::now();
        (host::now(), before)
    };
    let mut tries = std::iter::repeat_with(read).take(CLOCK_READS);
    tries.find(|(_, before)| before.elapsed() < SAME_TIME).unwrap_or_else(read)
}

/// What is known now.
fn moment(shared: &Shared<'_>, (began, clock): (Timestamp, Instant)) -> Moment {
    let (now, instant) = both_clocks();
    let elapsed = instant.saturating_duration_since(clock);
    Moment {
        now,
        elapsed,
        kernel: lock(&shared.kernel).clone(),
        own_dropped: shared.own_dropped.load(Ordering::Relaxed),
        waits: shared.waits.load(Ordering::Relaxed),
        links: lock(&shared.links).clone(),
        stepped: now.0.saturating_sub(began.0).saturating_sub(elapsed.as_nanos() as i64),
        stalls: lock(&shared.stalls).clone(),
        capturing: shared.started.load(Ordering::Relaxed) == shared.handles,
    }
}

/// The caller's thread: asks `control` until every tracker has finished.
fn keep_time(
    shared: &Shared<'_>,
    clock: (Timestamp, Instant),
    requests: &[Sender<Request>],
    ended: &Receiver<(usize, Ended)>,
    standings: &mut [Option<Ended>],
    finished_beside: &AtomicBool,
    control: &mut dyn Control,
) {
    let mut stopping: Option<Instant> = None;
    loop {
        match ended.recv_timeout(TICK) {
            Ok((number, ended)) => {
                standings[number] = Some(ended);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(since) = stopping {
            if since.elapsed() > STOP_SOFT {
                shared.abandon.store(true, Ordering::Relaxed);
            }
        } else {
            let mut look = |take: &mut dyn FnMut(Vec<Standing>)| look(requests, take);
            if control.tick(&moment(shared, clock), &mut look) == Wish::Stop || finished_beside.load(Ordering::Relaxed)
            {
                shared.stop.store(true, Ordering::Relaxed);
            }
            if shared.stop.load(Ordering::Relaxed) {
                stopping = Some(Instant::now());
            }
        }
    }
}

/// Ends the process when its end takes too long.
pub struct Watchdog {
    /// Dropped with the watchdog, which ends its thread.
    _alive: Sender<()>,
}

impl Watchdog {
    /// Starts a thread that ends the process with exit code 5 (an output is not complete) 4.7 s after `stop` was set,
    /// unless the watchdog is dropped first. It sets `at_once`, if given, half a second after `stop`, because a single
    /// request may send its signal twice.
    pub fn start(stop: Arc<AtomicBool>, at_once: Option<Arc<AtomicBool>>) -> Self {
        let (alive, watched) = bounded(0);
        let goes_on = move |limit| watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        // Without the thread the run may only wait longer.
        let _ = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            while goes_on(TICK) {
                if stop.load(Ordering::Relaxed) {
                    if !goes_on(SAME_SIGNAL) {
                        return;
                    }
                    if let Some(at_once) = at_once {
                        at_once.store(true, Ordering::Relaxed);
                    }
                    if goes_on(STOP_HARD.saturating_sub(LAST_WORD + SAME_SIGNAL)) {
                        give_up();
                    }
                    return;
                }
            }
        });
        Self { _alive: alive }
    }
}

/// Says that the report is not complete, and ends the process.
fn give_up() -> ! {
    let what = "was not complete in time: whoever reads it takes nothing, or there was too much to look through; files are \
                left as .partial";
    let error = Error::new(ErrorKind::Output, "E-OUT-STALLED", "the report", what);
    let code = i32::from(error.exit_code());
    // Standard error may be the same terminal that takes nothing.
    let told = std::thread::Builder::new().spawn(move || writeln!(std::io::stderr(), "{error}"));
    std::thread::sleep(LAST_WORD);
    drop(told);
    std::process::exit(code);
}

/// Asks every tracker where it stands; they hold still while `take` runs.
fn look(requests: &[Sender<Request>], take: &mut dyn FnMut(Vec<Standing>)) {
    let mut resumes = Vec::new();
    let mut standings = Vec::new();
    let deadline = Instant::now() + STANDING;
    for request in requests {
        let ((reply, answer), (resume, resumed)) = (bounded(1), bounded(1));
        resumes.push(resume);
        if request.send_timeout(Request { reply, resume: resumed }, STANDING).is_err() {
            return;
        }
        let Ok(standing) = answer.recv_deadline(deadline) else { return };
        standings.push(standing);
    }
    take(standings);
    // Dropping the senders lets all trackers go on.
}
