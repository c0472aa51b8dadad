//! Chooses what a worker does next ([`State`] gives a [`Step`]). It runs under the lock, so it does only what is quick.

use super::consume::Consumer;
use super::{DecodedBlock, StreamBlock};
use crate::capture::open::StreamBlocks;
use crate::capture::{Block, Context};
use crate::decode::Decoded;
use crate::error::Error;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::collections::VecDeque;
use std::sync::Arc;

/// Blocks in work per worker.
const BLOCKS_PER_WORKER: usize = 4;
/// Blocks by which a stream's reader may be ahead.
const STREAM_AHEAD: usize = 4;

/// Shared state that changes, under the lock.
pub(super) struct State<'a, 't> {
    /// The worker that holds the tracker, or held it last.
    pub(super) keeper: usize,
    /// `None` while a worker uses it.
    pub(super) consumer: Option<Box<Consumer<'a, 't>>>,
    pub(super) tasks: Vec<LaneTasks>,
    /// Lanes from which something was handed out or that the tracker has begun, until they end, in order: of thousands
    /// of lanes these may be few.
    pub(super) open: Vec<usize>,
    /// Lanes from this index on were never open.
    pub(super) begun: usize,
    /// Memory for blocks, to be reused.
    pub(super) pool: Vec<(Block, Decoded)>,
    /// A worker is writing rows.
    pub(super) writing: bool,
    /// Number of workers with nothing to do.
    pub(super) waiting: usize,
    /// Nothing more is to be read; what was read is still followed to its end.
    pub(super) interrupted: bool,
    pub(super) failed: Option<Error>,
    pub(super) done: bool,
}

/// State of a lane: what is handed out, and what is ready.
#[derive(Default)]
pub(super) struct LaneTasks {
    /// Number of blocks, when known in advance.
    pub(super) blocks: Option<u64>,
    /// A stream whose reader thread has not been started.
    pub(super) unread: Option<Box<StreamBlocks>>,
    /// Blocks from a stream's reader thread.
    pub(super) stream: Option<Receiver<StreamBlock>>,
    /// Number of the next block to hand out.
    pub(super) next: u64,
    /// Number of blocks taken by the consumer.
    pub(super) taken: u64,
    /// The blocks after those, as they become ready.
    pub(super) ready: VecDeque<Option<DecodedBlock>>,
    /// Interfaces as far as known.
    pub(super) hint: Arc<Context>,
    /// Offset at which the next record begins, after the blocks that the tracker has taken.
    pub(super) expected: u64,
    /// Nothing more will come.
    pub(super) ended: bool,
    /// The consumer needs its next block.
    pub(super) needed: bool,
}

/// The next step of a worker.
pub(super) enum Step<'a, 't> {
    /// Feed the tracker.
    Consume(Box<Consumer<'a, 't>>),
    /// Write rows of decided transactions.
    Write,
    /// Start a stream's reader.
    Start { lane: usize, stream: Box<StreamBlocks>, sender: Sender<StreamBlock> },
    /// Read and decode a block of a file, from `start` where the tracker has taken everything before it.
    Read { lane: usize, number: u64, hint: Arc<Context>, start: Option<u64>, memory: Box<(Block, Decoded)> },
    /// Decode a block of a stream.
    Stream { lane: usize, number: u64, block: StreamBlock },
    /// Wait until something changes.
    Wait,
}

impl<'a, 't> State<'a, 't> {
    /// Chooses the next step of a worker. The tracker's state is in the processor cache of the worker that held it
    /// last: another worker takes it only when it has nothing else to do.
    pub(super) fn next_step(&mut self, worker: usize, threads: usize, rows_wait: bool) -> Step<'a, 't> {
        if self.keeper == worker
            && let Some(step) = self.consume(worker)
        {
            return step;
        }
        if rows_wait && !self.writing {
            return Step::Write;
        }
        self.next_task(threads).or_else(|| self.consume(worker)).unwrap_or(Step::Wait)
    }

    /// Gives the tracker to a worker, when it can be fed.
    fn consume(&mut self, worker: usize) -> Option<Step<'a, 't>> {
        let consumer = if self.can_consume() { self.consumer.take() } else { None }?;
        self.keeper = worker;
        Some(Step::Consume(consumer))
    }

    /// The lanes that are open.
    fn open(&self) -> impl Iterator<Item = &LaneTasks> {
        self.open.iter().map(|index| &self.tasks[*index])
    }

    /// True when the tracker is free and every lane it waits for has its next block (or has ended).
    fn can_consume(&self) -> bool {
        self.consumer.is_some()
            && self
                .open()
                .all(|lane| !lane.needed || lane.exhausted() || lane.ready.front().is_some_and(Option::is_some))
    }

    /// Number of blocks handed out or ready.
    fn outstanding(&self) -> usize {
        self.open().map(|lane| lane.ready.len()).sum()
    }

    /// True when workers that wait for room should be woken, after the tracker took blocks. That is not after every
    /// block, because waking a thread and going back to sleep both take time, and the worker that took the blocks goes
    /// on.
    pub(super) fn has_work_for_others(&self, threads: usize) -> bool {
        self.done || self.outstanding() <= threads * BLOCKS_PER_WORKER / 2
    }

    /// The next block to read and decode: in the order of lanes, those that the tracker waits for first.
    fn next_task(&mut self, threads: usize) -> Option<Step<'a, 't>> {
        let most = threads * BLOCKS_PER_WORKER;
        let room = self.outstanding() < most;
        // Lanes that are read at the same time share the room; none takes that of the others.
        let running = self.open().filter(|lane| lane.is_running()).count();
        let share = (most / running.max(1)).max(1);
        let reading = self.open().filter(|lane| lane.stream.is_some() && lane.blocks.is_none() && !lane.ended).count();
        let State { tasks, open, begun, pool, consumer, .. } = self;
        for place in 0.. {
            if place == open.len() {
                let next = tasks.get(*begun).filter(|lane| room && lane.can_begin(reading < threads));
                next?;
                open.push(*begun);
                *begun += 1;
            }
            let index = open[place];
            let lane = &mut tasks[index];
            let wanted = lane.needed && lane.ready.is_empty();
            let full = lane.is_running() && lane.ready.len() >= share;
            if lane.ended || !((room && !full) || wanted) {
                continue;
            }
            if (reading < threads || wanted)
                && let Some(stream) = lane.unread.take()
            {
                let (sender, receiver) = bounded(STREAM_AHEAD);
                lane.stream = Some(receiver);
                return Some(Step::Start { lane: index, stream, sender });
            }
            let number = lane.next;
            if let Some(blocks) = lane.blocks {
                if number < blocks {
                    let start = (consumer.is_some() && lane.ready.is_empty()).then_some(lane.expected);
                    lane.next += 1;
                    lane.ready.push_back(None);
                    let memory = Box::new(pool.pop().unwrap_or_default());
                    return Some(Step::Read { lane: index, number, hint: Arc::clone(&lane.hint), start, memory });
                }
            } else if let Some(receiver) = &lane.stream {
                match receiver.try_recv() {
                    Ok(block) => {
                        lane.next += 1;
                        lane.ready.push_back(None);
                        if matches!(block, StreamBlock::End(_)) {
                            lane.blocks = Some(lane.next);
                        }
                        return Some(Step::Stream { lane: index, number, block });
                    }
                    // The reader thread is gone without having sent its end: it failed, and has reported that.
                    Err(TryRecvError::Disconnected) => lane.blocks = Some(lane.next),
                    Err(TryRecvError::Empty) => {}
                }
            }
        }
        None
    }

    /// Takes the ready blocks of lanes that need one; `None` means that a lane has no more.
    pub(super) fn collect(&mut self) -> Vec<(usize, Option<DecodedBlock>)> {
        let mut inbox = Vec::new();
        for index in self.open.iter().copied() {
            let lane = &mut self.tasks[index];
            if !lane.needed {
                continue;
            }
            if lane.exhausted() {
                inbox.push((index, None));
            } else if let Some(block) = lane.ready.pop_front() {
                lane.taken += 1;
                inbox.push((index, block));
            }
        }
        inbox
    }

    /// Notes how far the tracker is in each lane that it has begun.
    pub(super) fn follow(&mut self, consumer: &Consumer<'_, '_>) {
        self.open.extend(self.begun..consumer.next);
        self.begun = self.begun.max(consumer.next);
        for index in self.open.iter().copied().filter(|index| *index < consumer.next) {
            let (lane, progress) = (&mut self.tasks[index], &consumer.lanes[index]);
            lane.needed = !progress.ended && progress.current.is_none();
            lane.ended |= progress.ended;
            if lane.ended {
                lane.ready.clear();
            }
            lane.hint = Arc::clone(&progress.context);
            lane.expected = progress.expected;
        }
        self.open.retain(|index| !self.tasks[*index].ended);
    }
}

impl LaneTasks {
    /// After an interruption: no further block of a file is handed out. The reader of a stream ends by itself; one that
    /// was not started yet is kept only where its stream is already at its end.
    pub(super) fn read_no_further(&mut self) {
        self.unread.take_if(|stream| !stream.is_at_end());
        if self.stream.is_none() && self.unread.is_none() {
            self.blocks = Some(self.next);
        }
    }

    /// True when a block can be had; for a stream, when its reader may be started.
    fn can_begin(&self, may_start: bool) -> bool {
        !self.exhausted() && (may_start || self.unread.is_none())
    }

    /// True when the tracker takes blocks of this lane.
    fn is_running(&self) -> bool {
        (self.needed || self.taken > 0) && !self.ended
    }

    /// Every block has been taken.
    fn exhausted(&self) -> bool {
        self.blocks == Some(self.taken)
    }
}
