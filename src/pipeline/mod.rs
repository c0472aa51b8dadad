//! Inputs to a tracked time line: the only folder with threads and channels.
//!
//! Every worker runs the same loop: the one that had the tracker last feeds it the next blocks in order when they are
//! ready; else it writes rows of what was decided, else reads and decodes a block that will be needed, and with nothing
//! else to do it takes the tracker over. Blocks in the middle of a file are decoded
//! from a guessed record boundary; whoever holds the tracker checks that each block begins where the one before ended,
//! with the same interfaces, and decodes it again when it does not. So the result does not depend on the number of
//! workers or the size of blocks, and one thread runs the same code. Streams (compressed, pipes) are read by a thread of
//! their own into the same blocks.
//!
//! Each input is a lane. Lanes are put in order by their first packet; lanes that overlap are merged by time.

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
use steps::{LaneTasks, State, Step, collect};

/// Frames with a fault of this program that are named per input.
const MAX_FAULTS: usize = 8;
/// Interface names kept per input.
const MAX_INTERFACE_NAMES: usize = 4096;
/// Blocks' worth of memory that is used again for a block.
const MOST_BLOCKS_KEPT: usize = 4;
/// Link types named per input.
const MAX_LINK_TYPES: usize = 64;

/// What frames are let through.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A BPF expression.
    pub filter: Option<String>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Not after this time.
    pub to: Option<Timestamp>,
}

/// What became of one input.
#[derive(Debug, Clone, Default)]
pub struct LaneResult {
    /// Frames read.
    pub frames: u64,
    /// Owners of its bytes.
    pub bytes: ByteTally,
    /// Bytes it has (after decompression).
    pub size: u64,
    /// Odd records.
    pub oddities: Oddities,
    /// Link types met, in order of appearance.
    pub link_types: Vec<u16>,
    /// Earliest and latest time of a frame.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Why reading ended early.
    pub damage: Option<Damage>,
    /// Bytes after the last compressed member.
    pub trailing: u64,
    /// What the file says was let through where it was captured.
    pub choices: Choices,
    /// Packets that the file says its capture lost.
    pub stated_loss: InterfaceLoss,
    /// Names of interfaces by number, as the file gives them; none where its sections do not agree.
    pub interfaces: Vec<Option<Arc<str>>>,
    /// It changed while it was read.
    pub changed: bool,
    /// The first frames that a fault of this program kept from being decoded.
    pub faults: Vec<u64>,
}

impl LaneResult {
    /// Notes that a section names its interface of this number so.
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
    /// The input ends inside a record; perhaps it is still being written.
    pub cut: bool,
    /// Where and what, for the operator.
    pub what: String,
}

/// What a run of the pipeline leaves.
pub struct Finished {
    /// One per input, in the order given.
    pub lanes: Vec<LaneResult>,
    /// Frames that needed no order.
    pub tally: Tally,
    /// It was interrupted.
    pub interrupted: bool,
}

/// Called with the bytes consumed so far.
pub type OnProgress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// Reads all `inputs`, already in the order of their first packets, into `tracker`. `ranks` orders packets of equal time
/// (position in the arguments).
#[allow(clippy::too_many_arguments)]
pub fn run(
    inputs: Vec<Input>,
    ranks: &[usize],
    decoder: &Decoder,
    selection: &Selection,
    tracker: &mut Tracker<'_>,
    threads: usize,
    block_bytes: usize,
    interrupted: &AtomicBool,
    on_progress: OnProgress<'_>,
) -> Result<Finished, Error> {
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
    // A stream's reader is a thread as well: more than can run only get in each other's way. Files are read by workers.
    let streams = tasks.iter().filter(|lane| lane.unread.is_some()).count();
    let readers = if streams == tasks.len() { streams.min(threads / 2) } else { 0 };
    let workers = (threads - readers).max(1);
    let outlet = tracker.outlet();
    let shared = Shared {
        state: Mutex::new(State {
            keeper: 0,
            consumer: Some(Box::new(Consumer {
                tracker,
                lanes,
                next: 0,
                tally: Tally::default(),
                on_progress,
                consumed: 0,
            })),
            tasks,
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
            // One worker is enough to get everything done.
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

/// What all workers see.
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
    /// As it was read, with the memory to decode it into and the state at its first record.
    Read(Box<(Block, Decoded)>, Arc<Context>),
    /// Decoded by the reader, because the workers are behind.
    Decoded(Box<DecodedBlock>),
    /// The stream ended: bytes that were not used, and why.
    End(StreamEnd),
}

/// What is known when a stream has ended.
struct StreamEnd {
    /// Bytes that were not used.
    unread: u64,
    /// Bytes after the compressed data.
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
    /// State at its first record, as assumed.
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

    /// A worker, start to end. A panic ends the run as an internal fault, not the process.
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
                // A stream's reader thread must not wait for somebody to take its next block.
                state.tasks.iter_mut().for_each(|lane| lane.stream = None);
                return Ok(());
            }
            match state.next_step(worker, self.threads, self.outlet.has_waiting()) {
                Step::Consume(mut consumer) => {
                    let inbox = collect(&mut state.tasks);
                    drop(state);
                    let mut used = Vec::new();
                    let finished = consumer.consume(inbox, self, filter, &mut used)?;
                    state = self.lock();
                    for (lane, tasks) in state.tasks.iter_mut().enumerate() {
                        let progress = &consumer.lanes[lane];
                        tasks.needed = progress.active && !progress.ended && progress.current.is_none();
                        tasks.ended |= progress.ended;
                        if tasks.ended {
                            tasks.ready.clear();
                        }
                        tasks.hint = Arc::clone(&progress.context);
                    }
                    for (block, _) in &mut used {
                        // One that held something very large does not keep its memory.
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
                Step::Read { lane, number, hint, memory } => {
                    drop(state);
                    let done = self.read_block(lane, number, &hint, *memory, filter)?;
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

    /// Puts a decoded block where the tracker takes it from.
    fn ready(&self, lane: usize, number: u64, done: DecodedBlock) -> MutexGuard<'_, State<'a, 't>> {
        let mut state = self.lock();
        let tasks = &mut state.tasks[lane];
        if let Some(slot) = tasks.ready.get_mut((number - tasks.taken) as usize) {
            *slot = Some(done);
        }
        self.wake(&state);
        state
    }

    /// Wakes those who wait, after something has changed.
    fn wake(&self, state: &State<'a, 't>) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// A stream's reader thread: cuts it into blocks until it ends or nobody wants more. When blocks are read faster than they
/// are used, it decodes some itself.
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
mod tests {
    use super::*;
    use crate::capture::open::open_stream;
    use crate::config::{Limits, Outcomes};
    use crate::sources::Sources;
    use crate::transact::pairs::{Judged, Pairs};
    use crate::transact::{Settings, Tracker};
    use std::io::Read;

    /// A capture of so many frames of nothing, and then a fault of this program, as one in a decompressor would be.
    struct Faulty(std::io::Cursor<Vec<u8>>);

    impl Read for Faulty {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(into)?;
            assert!(count > 0, "as if it had a fault");
            Ok(count)
        }
    }

    /// A capture of so many frames of nothing.
    fn nothing(frames: usize) -> Vec<u8> {
        let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
        for _ in 0..frames {
            bytes.extend([1_700_000_000u32, 0, 14, 14].map(u32::to_le_bytes).concat());
            bytes.extend([0; 14]);
        }
        bytes
    }

    /// Runs one input with so many threads.
    fn run_one(input: Input, limits: &Limits, threads: usize) -> Result<Finished, Error> {
        let (sources, decoder) = (Sources::new(8, 8, 1), Decoder::new(vec![53], limits));
        let settings = Settings { timeout: 1, vantage: None, filtered: false, rows: Outcomes::ALL, limits };
        let pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
        let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|_| {}));
        let interrupted = AtomicBool::new(false);
        run(
            vec![input],
            &[0],
            &decoder,
            &Selection::default(),
            &mut tracker,
            threads,
            limits.block_bytes,
            &interrupted,
            Box::new(|_| {}),
        )
    }

    #[test]
    fn a_fault_in_a_streams_reader_ends_the_run_and_says_so() {
        let limits = Limits { block_bytes: 4096, ..Limits::default() };
        for threads in 1..4 {
            let faulty = Box::new(Faulty(std::io::Cursor::new(nothing(20_000))));
            let input = open_stream("faulty".to_owned(), faulty, None, &limits).unwrap();
            let error = run_one(input, &limits, threads).err().map(|error| (error.code, error.exit_code()));
            assert_eq!(error, Some(("E-INTERNAL", 7)), "{threads} threads");
        }
    }

    #[test]
    fn of_damaged_zstd_the_same_is_read_whatever_the_size_of_blocks() {
        use std::io::Write as _;
        let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        zstd.include_checksum(true).unwrap();
        zstd.write_all(&nothing(20_000)).unwrap();
        let mut zstd = zstd.finish().unwrap();
        *zstd.last_mut().unwrap() ^= 1;
        let read = |block_bytes, threads| {
            let limits = Limits { block_bytes, ..Limits::default() };
            let stream = Box::new(std::io::Cursor::new(zstd.clone()));
            let input = open_stream("damaged".to_owned(), stream, None, &limits).unwrap();
            let lane = run_one(input, &limits, threads).unwrap().lanes.remove(0);
            (lane.frames, lane.bytes.total(), lane.damage.map(|damage| damage.what))
        };
        let first = read(4096, 1);
        assert!(first.2.is_some() && first.0 > 18_000, "{first:?}");
        for (block_bytes, threads) in [(4096, 2), (5000, 1), (70_000, 2), (256 << 10, 1), (1 << 20, 3)] {
            assert_eq!(read(block_bytes, threads), first, "{block_bytes} {threads}");
        }
    }

    #[test]
    fn what_was_read_before_an_interruption_is_followed_to_its_end() {
        const FRAMES: u32 = 3000;
        let limits = Limits { block_bytes: 4096, ..Limits::default() };
        let mut frame = Vec::new();
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.udp(4000, 53).write(&mut frame, query).unwrap();
        let mut bytes = nothing(0);
        for number in 0..FRAMES {
            bytes.extend([number, 0, frame.len() as u32, frame.len() as u32].map(u32::to_le_bytes).concat());
            bytes.extend(&frame);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        for (threads, after) in (1..4).flat_map(|threads| [0, 1, 20_000, 150_000].map(|after| (threads, after))) {
            // Three that overlap in time, so that blocks of all are used up in pieces; the last is a stream.
            let open = || crate::capture::open::open(file.path(), &limits, &Arc::default()).unwrap();
            let stream = Box::new(std::io::Cursor::new(bytes.clone()));
            let inputs = vec![open(), open(), open_stream("stream".to_owned(), stream, None, &limits).unwrap()];
            let (sources, decoder) = (Sources::new(8, 8, 1), Decoder::new(vec![53], &limits));
            let settings =
                Settings { timeout: 1, vantage: None, filtered: false, rows: Outcomes::ALL, limits: &limits };
            let pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
            let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|_| {}));
            let interrupted = AtomicBool::new(after == 0);
            let finished = run(
                inputs,
                &[0, 1, 2],
                &decoder,
                &Selection::default(),
                &mut tracker,
                threads,
                limits.block_bytes,
                &interrupted,
                Box::new(|consumed| interrupted.store(consumed >= after, Ordering::Relaxed)),
            )
            .unwrap();
            let frames: u64 = finished.lanes.iter().map(|lane| lane.frames).sum();
            let counted: u64 = finished.tally.buckets.iter().chain(&tracker.tally.buckets).sum();
            assert_eq!(counted, frames, "{threads} threads, interrupted after {after} bytes");
            assert!(finished.interrupted && frames < 3 * u64::from(FRAMES));
            assert!(after == 0 || frames > 0);
        }
    }

    #[test]
    fn every_byte_of_a_file_that_shrank_is_accounted_for() {
        const FRAMES: usize = 2000;
        const RECORD: usize = 30;
        let limits = Limits { block_bytes: 4096, ..Limits::default() };
        let whole = nothing(FRAMES);
        // Also where a block and the one behind it meet, and what is read beyond a block ends.
        let lengths = [24, 100, 4095, 4096, 4120, 6144, 6168, 8192 + 24, 20_000, whole.len() - 1, whole.len()];
        for (threads, len) in (1..4).flat_map(|threads| lengths.map(|len| (threads, len))) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &whole).unwrap();
            let input = crate::capture::open::open(file.path(), &limits, &Arc::default()).unwrap();
            file.as_file().set_len(len as u64).unwrap();
            let lane = run_one(input, &limits, threads).unwrap().lanes.remove(0);
            assert_eq!(lane.bytes.total(), whole.len() as u64, "{threads} threads, {len} bytes");
            assert_eq!(lane.frames as usize, (len - 24) / RECORD, "{threads} threads, {len} bytes");
            assert_eq!(lane.changed, len < whole.len());
        }
    }

    #[test]
    fn an_interface_has_the_name_that_all_sections_give_its_number() {
        let mut lane = LaneResult::default();
        let name = |text: &str| Some(Arc::from(text));
        for (number, called) in [(0, name("eth0")), (1, None), (0, name("eth0")), (1, None), (0, name("eth0"))] {
            lane.name_interface(number, called);
        }
        assert_eq!(lane.interfaces, [name("eth0"), None]);
        for (number, called) in [(0, name("wan0")), (0, name("eth0")), (1, name("lan0")), (2, name("lan1"))] {
            lane.name_interface(number, called);
        }
        assert_eq!(lane.interfaces, [None, None, name("lan1")]);
    }
}
