//! Captures to tracked time lines while they happen: a thread per handle that reads and decodes, a thread per group that
//! follows transactions, and the caller's thread, which keeps the time.
//!
//! A group is one time line: one handle, several interfaces merged by time, or one of the handles that share an interface
//! by fan-out. Nothing is dropped between the threads: when a tracker is slow its handles wait, and the kernel, which
//! goes on filling the ring, counts what it drops. Only a stop that takes too long gives packets up, and counts them.

use super::{Damage, LaneResult, internal};
use crate::capture::filter::Filter;
use crate::capture::live::{self, Handle, KernelCounts, State};
use crate::capture::{Block, Frame, Reader, Timestamp, Walk};
use crate::decode::{Bucket, Decoded, Decoder, Tally};
use crate::error::{Error, ErrorKind};
use crate::transact::proxied::{ProxiedKey, ProxiedPair};
use crate::transact::{Counts, Tracker};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Decoded blocks that may wait for a group's tracker.
const QUEUE: usize = 64;
/// How long a handle waits for packets before it looks at the clock.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often the kernel is asked for its counts.
const ASK_KERNEL: Duration = Duration::from_millis(100);
/// How long packets of several interfaces are held back so that those of the others can be put before them; the ring
/// hands a packet over within 0.2 s.
const HOLD_BACK: Duration = Duration::from_millis(300);
/// Blocks held back at most.
const HELD_BLOCKS: usize = 256;
/// With a filter that lets nothing through, a ring from which nothing came for this long is empty.
const SETTLED: Duration = Duration::from_millis(300);
/// After this long a stop gives up what has not been read, and after that long the run ends whatever it waits for.
const STOP_SOFT: Duration = Duration::from_millis(3500);
/// See [`STOP_SOFT`]; the same again for writing a report to a terminal or pipe.
pub const STOP_HARD: Duration = Duration::from_secs(5);
/// A reader that did not run for this long was stopped or starved.
const STALL: Duration = Duration::from_secs(1);
/// Such times remembered.
const STALLS: usize = 32;
/// How often the caller is asked.
const TICK: Duration = Duration::from_millis(50);
/// How long a tracker may take to say where it stands.
const STANDING: Duration = Duration::from_secs(2);

/// One time line to follow.
pub struct Group<'a> {
    /// Its handles; each is an input, numbered from `first_input`.
    pub handles: Vec<Handle>,
    /// The number of its first handle's input.
    pub first_input: u32,
    /// Follows its transactions.
    pub tracker: Tracker<'a>,
}

/// What a group has counted so far. The per-source rows are folded up to the same packet.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Messages and transactions.
    pub counts: Counts,
    /// Frames by bucket.
    pub tally: Tally,
    /// Odd things by name.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// What ICMP errors said.
    pub quoted: Vec<String>,
    /// Queries behind a proxy's header.
    pub proxied: BTreeMap<ProxiedKey, ProxiedPair>,
    /// Its handles' inputs, in order.
    pub lanes: Vec<LaneResult>,
    /// What the kernel had counted when the last of their packets was read, likewise.
    pub kernel: Vec<KernelCounts>,
    /// State given up because a table was full.
    pub lost_state: u64,
    /// Queries without a response so far, and responses whose query may still come.
    pub open: (u64, u64),
}

/// What is known of the captures at a moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The wall clock.
    pub now: Timestamp,
    /// Time since the captures began, by a clock that does not step.
    pub elapsed: Duration,
    /// What the kernel counted, by input.
    pub kernel: Vec<KernelCounts>,
    /// Packets read and given up.
    pub own_dropped: u64,
    /// How often a handle had to wait for its tracker.
    pub waits: u64,
    /// How the interfaces are, by input.
    pub links: Vec<LinkState>,
    /// Nanoseconds that the wall clock is ahead of where it would be without steps.
    pub stepped: i64,
    /// When this program did not run, and for how long; the first few times.
    pub stalls: Vec<(Timestamp, Duration)>,
}

/// How an interface is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// It is down.
    pub down: bool,
    /// Its name, when it was renamed.
    pub renamed: Option<String>,
}

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Stop, read what is left and finish.
    Stop,
}

/// Gives where every group stands while all of them hold still for the closure; nothing when one does not answer.
pub type Look<'l> = dyn FnMut(&mut dyn FnMut(Vec<Standing>)) + 'l;

/// Decides, several times a second, how the run goes on.
pub trait Control {
    /// Called with the state of the captures.
    fn tick(&mut self, moment: &Moment, look: &mut Look<'_>) -> Wish;
}

/// Takes the packets of a group as they were captured, in order of their times.
pub trait PacketWriter: Send {
    /// A packet of an input.
    fn packet(&mut self, input: u32, frame: &Frame<'_>);
    /// Nothing more comes for the moment.
    fn pause(&mut self);
}

/// Something that runs beside the capture until the flag is set; it may set the flag.
pub type Beside<'a> = Box<dyn FnOnce(&AtomicBool) + Send + 'a>;

/// What a run leaves.
pub struct Finished {
    /// Every group at its end.
    pub groups: Vec<Standing>,
    /// The captures at their end.
    pub moment: Moment,
    /// When they began.
    pub began: Timestamp,
    /// The stop gave packets up.
    pub cut_short: bool,
    /// Why a handle ended early, by input.
    pub ended: Vec<Option<Error>>,
}

/// What all threads see.
struct Shared<'a> {
    decoder: &'a Decoder,
    reader: Reader,
    /// An expression to choose packets by, for handles whose kernel filter cannot.
    block_bytes: usize,
    stop: &'a AtomicBool,
    abandon: AtomicBool,
    own_dropped: AtomicU64,
    waits: AtomicU64,
    kernel: Mutex<Vec<KernelCounts>>,
    links: Mutex<Vec<LinkState>>,
    stalls: Mutex<Vec<(Timestamp, Duration)>>,
    failed: Mutex<Option<Error>>,
}

impl Shared<'_> {
    fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
        self.abandon.store(true, Ordering::Relaxed);
    }
}

/// Memory that goes round between a handle and its tracker.
type Memory = (Block, Decoded);

/// What a handle's thread says.
enum Captured {
    Block { lane: usize, block: Block, decoded: Decoded, at: Instant, kernel: KernelCounts },
    /// Nothing more comes from the handle.
    End { lane: usize, damage: Option<Damage>, error: Option<Error> },
}

/// Asks a tracker to say where it stands and to hold still until `resume` says so.
struct Request {
    reply: Sender<Standing>,
    resume: Receiver<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the captures until `stop` is set (by a signal, `control` or something beside) or every interface is gone.
pub fn run(
    groups: Vec<Group<'_>>,
    decoder: &Decoder,
    limits: &crate::config::Limits,
    writer: Option<&mut dyn PacketWriter>,
    beside: Vec<Beside<'_>>,
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
        kernel: Mutex::new(vec![KernelCounts::default(); handles]),
        links: Mutex::new(vec![LinkState::default(); handles]),
        stalls: Mutex::default(),
        failed: Mutex::new(None),
    };
    let shared = &shared;
    let began = live::now();
    let clock = (began, Instant::now());
    let mut writer = writer;
    let (done, ended) = bounded::<(usize, Standing, Vec<Option<Error>>)>(groups.len());
    let mut standings: Vec<Option<(Standing, Vec<Option<Error>>)>> = groups.iter().map(|_| None).collect();
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
            let (back, pool) = bounded(QUEUE + 8);
            let (ask, asked) = bounded::<Request>(1);
            requests.push(ask);
            let lanes = group.handles.len();
            let contexts: Vec<_> = group.handles.iter().map(Handle::context).collect();
            for (lane, mut handle) in group.handles.into_iter().enumerate() {
                let (sender, pool, input) = (sender.clone(), pool.clone(), group.first_input as usize + lane);
                let run = move || {
                    let worked = catch_unwind(AssertUnwindSafe(|| {
                        capture(shared, lane, input, &mut handle, &sender, &pool);
                    }));
                    if worked.is_err() {
                        shared.fail(internal("a fault in a capture thread was caught"));
                    }
                };
                std::thread::Builder::new().name(format!("capture-{input}")).spawn_scoped(scope, run).map_err(no_thread)?;
            }
            drop(sender);
            let mut follower = Follower {
                shared,
                first_input: group.first_input,
                tracker: group.tracker,
                tally: Tally::default(),
                lanes: (0..lanes).map(|_| LaneResult::default()).collect(),
                kernel: vec![KernelCounts::default(); lanes],
                numbered: vec![0; lanes],
                pending: (0..lanes).map(|_| VecDeque::new()).collect(),
                contexts,
                writer: writer.take(),
                back,
            };
            let done = done.clone();
            let run = move || {
                let worked = catch_unwind(AssertUnwindSafe(|| follower.follow(&receiver, &asked)));
                match worked {
                    Ok(errors) => {
                        let standing = follower.finish();
                        let _ = done.send((number, standing, errors));
                    }
                    Err(_) => shared.fail(internal("a fault in the decoder was caught")),
                }
            };
            std::thread::Builder::new().name(format!("tracker-{number}")).spawn_scoped(scope, run).map_err(no_thread)?;
        }
        drop(done);
        let finished_beside = &finished_beside;
        for work in beside {
            std::thread::Builder::new().spawn_scoped(scope, move || work(finished_beside)).map_err(no_thread)?;
        }
        keep_time(shared, clock, &requests, &ended, &mut standings, finished_beside, control);
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

/// What is known now.
fn moment(shared: &Shared<'_>, (began, clock): (Timestamp, Instant)) -> Moment {
    let (now, elapsed) = (live::now(), clock.elapsed());
    Moment {
        now,
        elapsed,
        kernel: lock(&shared.kernel).clone(),
        own_dropped: shared.own_dropped.load(Ordering::Relaxed),
        waits: shared.waits.load(Ordering::Relaxed),
        links: lock(&shared.links).clone(),
        stepped: now.0.saturating_sub(began.0).saturating_sub(elapsed.as_nanos() as i64),
        stalls: lock(&shared.stalls).clone(),
    }
}

/// The caller's thread: asks `control` until every tracker has finished.
fn keep_time(
    shared: &Shared<'_>,
    clock: (Timestamp, Instant),
    requests: &[Sender<Request>],
    ended: &Receiver<(usize, Standing, Vec<Option<Error>>)>,
    standings: &mut [Option<(Standing, Vec<Option<Error>>)>],
    finished_beside: &AtomicBool,
    control: &mut dyn Control,
) {
    let mut stopping: Option<(Instant, Watchdog)> = None;
    loop {
        match ended.recv_timeout(TICK) {
            Ok((number, standing, errors)) => {
                standings[number] = Some((standing, errors));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some((since, _)) = &stopping {
            if since.elapsed() > STOP_SOFT {
                shared.abandon.store(true, Ordering::Relaxed);
            }
        } else {
            let mut look = |take: &mut dyn FnMut(Vec<Standing>)| look(requests, take);
            if control.tick(&moment(shared, clock), &mut look) == Wish::Stop || finished_beside.load(Ordering::Relaxed) {
                shared.stop.store(true, Ordering::Relaxed);
            }
            if shared.stop.load(Ordering::Relaxed) {
                stopping = Some((Instant::now(), Watchdog::start(STOP_HARD)));
            }
        }
    }
}

/// Ends the process when something takes longer than it may: whoever reads standard output takes nothing.
pub struct Watchdog {
    /// Dropped with the watchdog, which lets its thread end.
    _alive: Sender<()>,
}

impl Watchdog {
    /// Ends the process with exit code 5 (an output is not complete) after `limit`, unless it is dropped before.
    pub fn start(limit: Duration) -> Self {
        let (alive, watched) = bounded(0);
        // Without the thread the run only waits longer.
        let _ = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            if watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let what = "takes nothing; the report is not complete, files are left as .partial";
                let error = Error::new(ErrorKind::Output, "E-OUT-STALLED", "standard output", what);
                let _ = writeln!(std::io::stderr(), "{error}");
                std::process::exit(i32::from(error.exit_code()));
            }
        });
        Self { _alive: alive }
    }
}

/// Asks every tracker where it stands; they hold still while `take` has the answers.
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
    // Dropping the senders lets everybody go on.
}

/// A handle's thread: reads and decodes until it is told to stop and the ring is empty.
fn capture(
    shared: &Shared<'_>,
    lane: usize,
    input: usize,
    handle: &mut Handle,
    sender: &Sender<Captured>,
    pool: &Receiver<Memory>,
) {
    let mut filter = handle.chosen_here.then(|| Filter::new(&handle.expression));
    let mut context = handle.context();
    let mut damage = None;
    let result = handle.start().and_then(|()| {
        read_until_stopped(shared, lane, input, handle, &mut filter, &mut context, sender, pool, &mut damage)
    });
    lock(&shared.kernel)[input] = handle.counts;
    let error = result.err();
    let _ = sender.send(Captured::End { lane, damage, error });
}

#[allow(clippy::too_many_arguments)]
fn read_until_stopped(
    shared: &Shared<'_>,
    lane: usize,
    input: usize,
    handle: &mut Handle,
    filter: &mut Option<Filter>,
    context: &mut Arc<crate::capture::Context>,
    sender: &Sender<Captured>,
    pool: &Receiver<Memory>,
    damage: &mut Option<Damage>,
) -> Result<(), Error> {
    let mut asked = Instant::now();
    let mut stopping = false;
    let mut quiet_since = Instant::now();
    let mut ran = Instant::now();
    loop {
        let since = std::mem::replace(&mut ran, Instant::now()).elapsed();
        let mut stalls = lock(&shared.stalls);
        if since > STALL && stalls.len() < STALLS {
            stalls.push((live::now(), since));
        }
        drop(stalls);
        if !stopping && (shared.stop.load(Ordering::Relaxed) || handle.state() == State::Gone) {
            if handle.state() == State::Gone {
                let what = format!(
                    "the interface disappeared at {}; {} packets used",
                    live::now().to_rfc3339(3),
                    handle.counts.read
                );
                *damage = Some(Damage { cut: false, what });
            }
            handle.stop()?;
            stopping = true;
            quiet_since = Instant::now();
        }
        let (mut block, mut decoded) = pool.try_recv().unwrap_or_default();
        block.data.clear();
        (block.limit, block.at_end) = (shared.block_bytes, true);
        let packets = handle.fill(&mut block, if stopping { Duration::from_millis(5) } else { PATIENCE })?;
        if packets > 0 {
            quiet_since = Instant::now();
            decode(shared, input, &mut block, filter, context, &mut decoded)?;
            handle.add_statistics()?;
            let (at, kernel) = (Instant::now(), handle.counts);
            send(shared, sender, Captured::Block { lane, block, decoded, at, kernel }, packets);
        }
        if stopping || asked.elapsed() >= ASK_KERNEL {
            handle.add_statistics()?;
            lock(&shared.kernel)[input] = handle.counts;
            let down = handle.look_at_interface() == State::Down;
            lock(&shared.links)[input] = LinkState { down, renamed: handle.new_name().map(str::to_owned) };
            asked = Instant::now();
        }
        if stopping && packets == 0 {
            if handle.counts.waiting() <= 0 {
                // What another processor was just taking in arrives within a moment.
                std::thread::sleep(Duration::from_millis(2));
                handle.add_statistics()?;
            }
            if handle.counts.waiting() <= 0
                || quiet_since.elapsed() > SETTLED
                || shared.abandon.load(Ordering::Relaxed)
            {
                handle.add_statistics()?;
                return Ok(());
            }
        }
        if stopping && shared.abandon.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// Decodes a block of a handle.
fn decode(
    shared: &Shared<'_>,
    input: usize,
    block: &mut Block,
    filter: &mut Option<Filter>,
    context: &mut Arc<crate::capture::Context>,
    decoded: &mut Decoded,
) -> Result<(), Error> {
    block.limit = block.data.len();
    decoded.clear();
    let mut walk = Walk::default();
    let mut refused = None;
    shared.reader.walk(block, 0, context, &mut walk, &mut |frame: Frame<'_>| {
        let (first, last) = decoded.times.unwrap_or((frame.time, frame.time));
        decoded.times = Some((first.min(frame.time), last.max(frame.time)));
        let passes = filter.as_mut().map_or(Ok(true), |filter| filter.passes(frame.link_type, frame.data));
        match passes {
            Ok(true) => shared.decoder.frame(&Frame { interface: input as u32, ..frame }, decoded),
            Ok(false) => {
                decoded.frames += 1;
                decoded.tally.count(Bucket::NotSelected);
            }
            Err(error) => refused = Some(error),
        }
    });
    refused.map_or(Ok(()), Err)
}

/// Hands a block on; waits while the queue is full.
fn send(shared: &Shared<'_>, sender: &Sender<Captured>, mut captured: Captured, packets: usize) {
    let mut waited = false;
    loop {
        match sender.send_timeout(captured, Duration::from_millis(100)) {
            Ok(()) => return,
            Err(SendTimeoutError::Timeout(back)) if !shared.abandon.load(Ordering::Relaxed) => {
                if !waited {
                    shared.waits.fetch_add(1, Ordering::Relaxed);
                }
                waited = true;
                captured = back;
            }
            Err(_) => {
                shared.own_dropped.fetch_add(packets as u64, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// A block on its way to the tracker.
struct Arrived {
    block: Block,
    decoded: Decoded,
    at: Instant,
    kernel: KernelCounts,
    first_frame: u64,
    /// Next entry.
    cursor: usize,
    /// Where the next record begins, for a writer.
    record: usize,
}

impl Arrived {
    fn head(&self) -> Option<Timestamp> {
        self.decoded.entries.get(self.cursor).map(|entry| entry.time)
    }

    /// Time of the next record.
    fn record_time(&self) -> Option<Timestamp> {
        let number = |at: usize| -> Option<i64> {
            let bytes = self.block.data.get(at..at + 4)?;
            Some(i64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
        };
        Some(Timestamp(number(self.record)? * 1_000_000_000 + number(self.record + 4)?))
    }
}

/// A group's thread.
struct Follower<'a, 't, 'w> {
    shared: &'a Shared<'a>,
    first_input: u32,
    tracker: Tracker<'t>,
    tally: Tally,
    lanes: Vec<LaneResult>,
    kernel: Vec<KernelCounts>,
    /// Frames received so far, by lane.
    numbered: Vec<u64>,
    /// Blocks held back, by lane.
    pending: Vec<VecDeque<Arrived>>,
    contexts: Vec<Arc<crate::capture::Context>>,
    writer: Option<&'w mut dyn PacketWriter>,
    back: Sender<Memory>,
}

impl Follower<'_, '_, '_> {
    /// Follows until every handle has ended; returns why each ended early.
    fn follow(&mut self, receiver: &Receiver<Captured>, requests: &Receiver<Request>) -> Vec<Option<Error>> {
        let mut errors: Vec<Option<Error>> = self.lanes.iter().map(|_| None).collect();
        loop {
            while let Ok(request) = requests.try_recv() {
                self.answer(&request);
            }
            match receiver.recv_timeout(Duration::from_millis(20)) {
                Ok(Captured::Block { lane, block, decoded, at, kernel }) => {
                    if self.shared.abandon.load(Ordering::Relaxed) {
                        self.shared.own_dropped.fetch_add(u64::from(decoded.frames), Ordering::Relaxed);
                    } else {
                        let first_frame = self.numbered[lane] + 1;
                        self.numbered[lane] += u64::from(decoded.frames);
                        let arrived = Arrived { block, decoded, at, kernel, first_frame, cursor: 0, record: 0 };
                        self.pending[lane].push_back(arrived);
                    }
                }
                Ok(Captured::End { lane, damage, error }) => {
                    self.lanes[lane].damage = damage;
                    errors[lane] = error;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(writer) = &mut self.writer {
                        writer.pause();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.release(false);
        }
        self.release(true);
        errors
    }

    /// Counts a block whose entries were all followed, and gives its memory back.
    fn retire(&mut self, lane: usize, arrived: Arrived) {
        let Arrived { block, decoded, kernel, .. } = arrived;
        self.kernel[lane] = kernel;
        let result = &mut self.lanes[lane];
        result.frames += u64::from(decoded.frames);
        result.times = match (result.times, decoded.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, two) => one.or(two),
        };
        for link_type in &decoded.link_types {
            if !result.link_types.contains(link_type) {
                result.link_types.push(*link_type);
            }
        }
        self.tally.add(&decoded.tally);
        let _ = self.back.try_send((block, decoded));
    }

    /// Feeds what need not be held back any longer.
    fn release(&mut self, all: bool) {
        if self.lanes.len() == 1 {
            self.release_only();
            return;
        }
        let held: usize = self.pending.iter().map(VecDeque::len).sum();
        // What came long enough ago, and so everything as old from the other interfaces as well.
        let blocks = || self.pending.iter().flatten();
        let until = if all {
            Some(Timestamp(i64::MAX))
        } else if held > HELD_BLOCKS {
            blocks().min_by_key(|arrived| arrived.at).and_then(|arrived| arrived.decoded.times).map(|(_, last)| last)
        } else {
            let ripe = blocks().filter(|arrived| arrived.at.elapsed() >= HOLD_BACK);
            ripe.filter_map(|arrived| arrived.decoded.times.map(|(_, last)| last)).max()
        };
        let Some(until) = until else { return };
        self.write(until);
        loop {
            let due = self.pending.iter().enumerate().filter_map(|(lane, queue)| {
                let arrived = queue.iter().find(|arrived| arrived.head().is_some())?;
                arrived.head().filter(|head| *head <= until).map(|head| (head, lane))
            });
            let Some((_, lane)) = due.min() else { break };
            let Some(arrived) = self.pending[lane].iter_mut().find(|arrived| arrived.head().is_some()) else { break };
            let entry = arrived.decoded.entries[arrived.cursor];
            arrived.cursor += 1;
            self.tracker.take(self.first_input + lane as u32, arrived.first_frame, &arrived.block.data, &[entry]);
        }
        let writes = self.writer.is_some();
        let used = |arrived: &Arrived| arrived.head().is_none() && !(writes && arrived.record_time().is_some());
        for lane in 0..self.pending.len() {
            while self.pending[lane].front().is_some_and(used) {
                let Some(arrived) = self.pending[lane].pop_front() else { break };
                self.retire(lane, arrived);
            }
        }
    }

    /// Feeds the blocks of the only handle.
    fn release_only(&mut self) {
        self.write(Timestamp(i64::MAX));
        while let Some(arrived) = self.pending[0].pop_front() {
            self.tracker.take(self.first_input, arrived.first_frame, &arrived.block.data, &arrived.decoded.entries);
            self.retire(0, arrived);
        }
    }

    /// Hands the packets up to a time to the writer, oldest first.
    fn write(&mut self, until: Timestamp) {
        let Some(writer) = &mut self.writer else { return };
        loop {
            let due = self.pending.iter().enumerate().filter_map(|(lane, queue)| {
                let (at, arrived) = queue.iter().enumerate().find(|(_, arrived)| arrived.record_time().is_some())?;
                arrived.record_time().filter(|time| *time <= until).map(|time| (time, lane, at))
            });
            let Some((time, lane, at)) = due.min() else { return };
            let arrived = &mut self.pending[lane][at];
            let data = &arrived.block.data;
            let number = |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
            let start = arrived.record + 16;
            let end = start + number(arrived.record + 8) as usize;
            let frame = Frame {
                time,
                link_type: self.contexts[lane].interfaces[0].link_type,
                interface: lane as u32,
                direction: crate::capture::Direction::Unknown,
                data: &data[start..end],
                offset: start,
                original_len: number(arrived.record + 12),
            };
            writer.packet(self.first_input + lane as u32, &frame);
            arrived.record = end;
        }
    }

    fn answer(&mut self, request: &Request) {
        self.tracker.fold();
        if request.reply.send(self.standing()).is_ok() {
            // Nobody sends: the other end is dropped when everybody has answered.
            let _ = request.resume.recv_timeout(STANDING);
        }
    }

    fn standing(&self) -> Standing {
        let mut tally = self.tally.clone();
        tally.add(&self.tracker.tally);
        Standing {
            counts: self.tracker.counts.clone(),
            tally,
            anomalies: self.tracker.anomalies(),
            quoted: self.tracker.quotes.sentences(),
            proxied: self.tracker.proxied.pairs().clone(),
            lanes: self.lanes.clone(),
            kernel: self.kernel.clone(),
            lost_state: self.tracker.lost_state(),
            open: self.tracker.undecided(),
        }
    }

    /// The time line has ended.
    fn finish(&mut self) -> Standing {
        let last = self.lanes.iter().filter_map(|lane| lane.times).map(|(_, last)| last).max();
        self.tracker.finish(last);
        // Its handles have ended: these counts are the last.
        let first = self.first_input as usize;
        self.kernel.copy_from_slice(&lock(&self.shared.kernel)[first..first + self.lanes.len()]);
        self.standing()
    }
}
