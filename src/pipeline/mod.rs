//! Reads inputs into one tracked time line. The only folder with threads and channels.
//!
//! Every worker runs the same loop. The worker that had the tracker last feeds it the next blocks in order, when they
//! are ready. Otherwise a worker writes rows of decided transactions, or else reads and decodes a block that will be
//! needed; with nothing of that to do, it takes over the tracker. Blocks in the middle of a file are decoded from a
//! guessed record boundary; the holder of the tracker checks that each block begins where the one before it ended, with
//! the same interfaces, and decodes it again if not. So the result does not depend on the number of workers or the size
//! of blocks, and a single thread runs the same code. Streams (compressed files, pipes) are read into the same blocks
//! by threads of their own.
//!
//! Each input is a lane. Lanes are ordered by their first packet; lanes that overlap are merged by time.

pub mod ahead;
pub mod aside;
mod blocks;
mod consume;
pub mod live;
mod steps;

use crate::capture::filter::Filter;
use crate::capture::losses::InterfaceLoss;
use crate::capture::open::{Input, Source, StreamBlocks};
use crate::capture::{Block, ByteTally, Choices, Context, Oddities, Reader, Timestamp, Walk};
use crate::decode::{Decoded, Decoder, Tally};
use crate::error::{Error, ErrorKind};
use crate::transact::Tracker;
use crate::transact::outlet::Outlet;
use consume::{Consumer, Lane};
use crossbeam_channel::{Sender, TrySendError};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use steps::{LaneTasks, State, Step};

/// Most frames with a fault of this program that are named per input.
const MAX_FAULTS: usize = 8;
/// Most interface names kept per input.
const MAX_INTERFACE_NAMES: usize = 4096;
/// A block's memory is reused up to this many times the usual size.
const MOST_BLOCKS_KEPT: usize = 4;
/// Most link types named per input.
const MAX_LINK_TYPES: usize = 64;

/// Which frames are let through.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A BPF expression.
    pub filter: Option<String>,
    /// Frames from this time on.
    pub from: Option<Timestamp>,
    /// Frames up to this time.
    pub to: Option<Timestamp>,
}

/// The result of one input.
#[derive(Debug, Clone, Default)]
pub struct LaneResult {
    /// Number of frames read.
    pub frames: u64,
    /// Its bytes by owner.
    pub bytes: ByteTally,
    /// Its size in bytes (after decompression).
    pub size: u64,
    /// Anomalies of records.
    pub oddities: Oddities,
    /// Link types met, in order of appearance.
    pub link_types: Vec<u16>,
    /// Earliest and latest time of a frame.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Why reading ended early.
    pub damage: Option<Damage>,
    /// Number of bytes after the last compressed member.
    pub trailing: u64,
    /// What was let through where it was captured, according to the file.
    pub choices: Choices,
    /// Packets that its capture lost, according to the file.
    pub stated_loss: InterfaceLoss,
    /// Digits of the fraction of a second in its finest timestamps; 0 where it describes no interface.
    pub time_digits: usize,
    /// Names of interfaces by number, as the file gives them; `None` where its sections disagree.
    pub interfaces: Vec<Option<Arc<str>>>,
    /// The file changed while it was read.
    pub changed: bool,
    /// The first frames that could not be decoded because of a fault of this program.
    pub faults: Vec<u64>,
}

impl LaneResult {
    /// Notes the name that a section gives to the interface of this number.
    fn name_interface(&mut self, number: usize, name: Option<Arc<str>>) {
        if number == self.interfaces.len() && number < MAX_INTERFACE_NAMES {
            self.interfaces.push(name);
        } else if let Some(known) = self.interfaces.get_mut(number).filter(|known| **known != name) {
            *known = None;
        }
    }

    /// Notes that a frame has this link type.
    fn note_link_type(&mut self, link_type: u16) {
        if self.link_types.len() < MAX_LINK_TYPES && !self.link_types.contains(&link_type) {
            self.link_types.push(link_type);
        }
    }
}

/// Why an input was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The input ends inside a record; it may still be being written.
    pub cut: bool,
    /// The place and what is wrong, for the operator.
    pub what: String,
}

/// The result of a run of the pipeline.
pub struct Finished {
    /// One per input, in the order given.
    pub lanes: Vec<LaneResult>,
    /// Counts of frames that needed no order.
    pub tally: Tally,
    /// The run was interrupted.
    pub interrupted: bool,
}

impl Finished {
    /// Time of the last frame; `None` after an interruption, because not everything before that frame was read.
    pub fn read_until(&self) -> Option<Timestamp> {
        let last = self.lanes.iter().filter_map(|lane| lane.times).map(|(_, last)| last).max();
        last.filter(|_| !self.interrupted)
    }
}

/// Called with the bytes consumed so far.
pub type OnProgress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// How the work is done. Results do not depend on it, except for an interruption.
pub struct Work<'a> {
    /// Total number of threads.
    pub threads: usize,
    /// Bytes of one block.
    pub block_bytes: usize,
    /// Ends the reading when set.
    pub interrupted: &'a AtomicBool,
    /// Called with the progress.
    pub on_progress: OnProgress<'a>,
}

/// Reads all `inputs`, which are already in the order of their first packets, into `tracker`. `ranks` (positions in the
/// arguments) orders packets of equal time.
pub fn run(
    inputs: Vec<Input>,
    ranks: &[usize],
    decoder: &Decoder,
    selection: &Selection,
    tracker: &mut Tracker<'_>,
    work: Work<'_>,
) -> Result<Finished, Error> {
    let Work { threads, block_bytes, interrupted, on_progress } = work;
    let (mut lanes, mut tasks, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for (input, rank) in inputs.into_iter().zip(ranks) {
        lanes.push(Lane::new(&input, *rank));
        let (file, unread) = match input.source {
            Source::Plain { file, size } => (Some((file, size)), None),
            Source::Stream(stream) => (None, Some(stream)),
        };
        let bytes = file.as_ref().map(|(_, size)| size - input.start.min(*size));
        let blocks = bytes.map(|bytes| bytes.div_ceil(block_bytes as u64));
        tasks.push(LaneTasks { blocks, unread, hint: input.hint, ..LaneTasks::default() });
        sources.push(PlainSource { file, start: input.start, reader: input.reader, context: input.context });
    }
    // The reader of a stream is a thread as well; more threads than processors would only be in each other's way. Files
    // are read by the workers.
    let streams = tasks.iter().filter(|lane| lane.unread.is_some()).count();
    let readers = if streams == tasks.len() { streams.min(threads / 2) } else { 0 };
    let workers = (threads - readers).max(1);
    let outlet = tracker.outlet();
    let shared = Shared {
        state: Mutex::new(State {
            keeper: 0,
            consumer: Some(Box::new(Consumer::new(tracker, lanes, on_progress))),
            tasks,
            open: Vec::new(),
            begun: 0,
            pool: Vec::new(),
            writing: false,
            waiting: 0,
            interrupted: false,
            failed: None,
            done: false,
        }),
        changed: Condvar::new(),
        sources,
        decoder,
        selection,
        block_bytes,
        threads,
        interrupted,
        outlet,
    };
    std::thread::scope(|scope| {
        let shared = &shared;
        for worker in 1..workers {
            // A single worker is enough to get everything done.
            if std::thread::Builder::new().spawn_scoped(scope, move || shared.work(worker, scope)).is_err() {
                break;
            }
        }
        shared.work(0, scope);
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.failed {
        return Err(error);
    }
    let Some(consumer) = state.consumer else { return Err(internal("the tracker was lost")) };
    let changed = |source: &PlainSource| {
        let now = source.file.as_ref().map(|(file, size)| (file.metadata(), *size));
        now.is_some_and(|(now, size)| now.is_ok_and(|now| now.len() != size))
    };
    let lanes = consumer.lanes.into_iter().zip(&shared.sources);
    let lanes =
        lanes.map(|(lane, source)| lane.finish(source.file.is_none(), changed(source), state.interrupted)).collect();
    Ok(Finished { lanes, tally: consumer.tally, interrupted: state.interrupted })
}

/// An internal fault.
fn internal(what: &str) -> Error {
    Error::internal(format!("{what}; no report was written"))
}

/// A file read by position, and how its format is read.
struct PlainSource {
    file: Option<(File, u64)>,
    start: u64,
    reader: Reader,
    context: Arc<Context>,
}

/// State shared by all workers.
struct Shared<'a, 't> {
    state: Mutex<State<'a, 't>>,
    changed: Condvar,
    sources: Vec<PlainSource>,
    decoder: &'a Decoder,
    selection: &'a Selection,
    block_bytes: usize,
    threads: usize,
    interrupted: &'a AtomicBool,
    /// Rows to be written.
    outlet: Arc<Outlet<'t>>,
}

/// A block from a stream.
enum StreamBlock {
    /// As read, with the memory to decode it into and the state at its first record.
    Read(Box<(Block, Decoded)>, Arc<Context>),
    /// Decoded by the reader thread, because the workers are behind.
    Decoded(Box<DecodedBlock>),
    /// The end of the stream: number of bytes not used, and the reason.
    End(StreamEnd),
}

/// What is known at the end of a stream.
struct StreamEnd {
    /// Number of bytes not used.
    unread: u64,
    /// Number of bytes after the compressed data.
    trailing: u64,
    /// Why it ended early.
    failure: Option<String>,
}

/// A block decoded from `start`.
struct DecodedBlock {
    block: Block,
    decoded: Decoded,
    walk: Walk,
    start: usize,
    /// Assumed state at its first record.
    before: Arc<Context>,
    /// State after its last record.
    after: Arc<Context>,
    /// Set on the last block of a stream.
    end: Option<StreamEnd>,
    /// Why a file could not be read to the end of the block.
    failure: Option<String>,
}

impl<'a, 't> Shared<'a, 't> {
    fn lock(&self) -> MutexGuard<'_, State<'a, 't>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run with an error.
    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.failed.get_or_insert(error);
        state.done = true;
        state.tasks.iter_mut().for_each(|lane| lane.stream = None);
        drop(state);
        self.changed.notify_all();
    }

    /// Runs a worker. A panic ends the run as an internal fault, not the process.
    fn work<'scope>(&'scope self, worker: usize, scope: &'scope Scope<'scope, '_>) {
        let mut filter = self.selection.filter.as_deref().map(Filter::new);
        let worked = catch_unwind(AssertUnwindSafe(|| self.work_until_done(worker, scope, &mut filter)));
        match worked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(error),
            Err(_) => self.fail(internal("a fault in the decoder was caught")),
        }
    }

    fn work_until_done<'scope>(
        &'scope self,
        worker: usize,
        scope: &'scope Scope<'scope, '_>,
        filter: &mut Option<Filter>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        loop {
            if self.interrupted.load(Ordering::Relaxed) && !state.interrupted {
                state.interrupted = true;
                state.tasks.iter_mut().for_each(LaneTasks::read_no_further);
                self.changed.notify_all();
            }
            if state.done {
                // A stream's reader thread must not wait for its next block to be taken.
                state.tasks.iter_mut().for_each(|lane| lane.stream = None);
                return Ok(());
            }
            match state.next_step(worker, self.threads, self.outlet.has_waiting()) {
                Step::Consume(mut consumer) => {
                    let inbox = state.collect();
                    drop(state);
                    let mut used = Vec::new();
                    let finished = consumer.consume(inbox, self, filter, &mut used)?;
                    state = self.lock();
                    state.follow(&consumer);
                    for (block, _) in &mut used {
                        // Memory that once held something very large is not kept.
                        if block.data.capacity() > MOST_BLOCKS_KEPT * self.block_bytes {
                            block.data = Vec::new();
                        }
                    }
                    state.pool.append(&mut used);
                    state.done |= finished;
                    state.consumer = Some(consumer);
                    if state.has_work_for_others(self.threads) {
                        self.wake(&state);
                    }
                }
                Step::Write => {
                    state.writing = true;
                    drop(state);
                    self.outlet.drain();
                    state = self.lock();
                    state.writing = false;
                }
                Step::Start { lane, stream, sender } => {
                    drop(state);
                    let read = move || {
                        let read = AssertUnwindSafe(|| read_stream(lane, *stream, &sender, self));
                        if catch_unwind(read).is_err() {
                            self.fail(internal("a fault in the reader of a stream was caught"));
                        }
                    };
                    std::thread::Builder::new().spawn_scoped(scope, read).map_err(|error| {
                        let what = format!("no thread to read a stream with: {error}; no report was written");
                        Error::new(ErrorKind::CouldNotRun, "E-THREADS", "dnsrefused", what)
                    })?;
                    state = self.lock();
                }
                Step::Read { lane, number, hint, start, memory } => {
                    drop(state);
                    let done = self.read_block(lane, number, (&hint, start), *memory, filter)?;
                    state = self.ready(lane, number, done);
                }
                Step::Stream { lane, number, block } => {
                    drop(state);
                    let done = self.take_block(lane, block, filter)?;
                    state = self.ready(lane, number, done);
                }
                Step::Wait => {
                    state.waiting += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waiting -= 1;
                }
            }
        }
    }

    /// Puts a decoded block where the tracker will take it from.
    fn ready(&self, lane: usize, number: u64, done: DecodedBlock) -> MutexGuard<'_, State<'a, 't>> {
        let mut state = self.lock();
        let tasks = &mut state.tasks[lane];
        if let Some(slot) = tasks.ready.get_mut((number - tasks.taken) as usize) {
            *slot = Some(done);
        }
        self.wake(&state);
        state
    }

    /// Wakes waiting workers after a change.
    fn wake(&self, state: &State<'a, 't>) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// A stream's reader thread: cuts the stream into blocks until it ends or nobody wants more. When it is faster than the
/// workers, it decodes some blocks itself.
fn read_stream(lane: usize, mut stream: StreamBlocks, sender: &Sender<StreamBlock>, shared: &Shared<'_, '_>) {
    let reader = shared.sources[lane].reader;
    let mut context = Arc::clone(&shared.sources[lane].context);
    let mut filter = shared.selection.filter.as_deref().map(Filter::new);
    let wake = || shared.wake(&shared.lock());
    loop {
        let before = Arc::clone(&context);
        let (memory, decoded) = shared.lock().pool.pop().unwrap_or_default();
        let Some(block) = stream.next_block(&reader, &mut context, memory.data) else { break };
        let last = block.at_end;
        let sent = match sender.try_send(StreamBlock::Read(Box::new((block, decoded)), before)) {
            Ok(()) => true,
            Err(TrySendError::Full(block)) => match shared.take_block(lane, block, &mut filter) {
                Ok(done) => sender.send(StreamBlock::Decoded(Box::new(done))).is_ok(),
                Err(error) => return shared.fail(error),
            },
            Err(TrySendError::Disconnected(_)) => false,
        };
        if !sent {
            return;
        }
        wake();
        if last || shared.lock().done || shared.interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    let unread = if shared.lock().done { 0 } else { stream.drain(shared.interrupted) };
    let trailing = stream.facts.trailing_bytes.load(Ordering::Relaxed);
    let _ = sender.send(StreamBlock::End(StreamEnd { unread, trailing, failure: stream.failure() }));
    wake();
}

#[cfg(test)]
mod tests;
