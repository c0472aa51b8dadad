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

/// Blocks in hand per worker.
const BLOCKS_PER_WORKER: usize = 4;
/// Blocks a stream's reader may be ahead.
const STREAM_AHEAD: usize = 4;

/// What changes, under the lock.
pub(super) struct State<'a, 't> {
    /// The worker that has the tracker, or had it last.
    pub(super) keeper: usize,
    /// Absent while a worker uses it.
    pub(super) consumer: Option<Box<Consumer<'a, 't>>>,
    pub(super) tasks: Vec<LaneTasks>,
    /// Lanes of which something was handed out or that the tracker has begun with, until they end, in order: of thousands they
    /// may be few.
    pub(super) open: Vec<usize>,
    /// The lanes from this one on were never open.
    pub(super) begun: usize,
    /// Memory to use again.
    pub(super) pool: Vec<(Block, Decoded)>,
    /// A worker writes rows.
    pub(super) writing: bool,
    /// Workers with nothing to do.
    pub(super) waiting: usize,
    /// No more is to be read: what was is followed to its end.
    pub(super) interrupted: bool,
    pub(super) failed: Option<Error>,
    pub(super) done: bool,
}

/// What is handed out and ready of a lane.
#[derive(Default)]
pub(super) struct LaneTasks {
    /// Number of blocks, when known beforehand.
    pub(super) blocks: Option<u64>,
    /// A stream whose reader thread has not been started.
    pub(super) unread: Option<Box<StreamBlocks>>,
    /// Blocks from a stream's reader thread.
    pub(super) stream: Option<Receiver<StreamBlock>>,
    /// Next block number to hand out.
    pub(super) next: u64,
    /// Blocks taken by the consumer.
    pub(super) taken: u64,
    /// Blocks after those, as they become ready.
    pub(super) ready: VecDeque<Option<DecodedBlock>>,
    /// Interfaces as far as known.
    pub(super) hint: Arc<Context>,
    /// Offset at which the next record begins, behind the blocks that the tracker has taken.
    pub(super) expected: u64,
    /// Nothing more comes.
    pub(super) ended: bool,
    /// The consumer needs its next block.
    pub(super) needed: bool,
}

/// What a worker does next.
pub(super) enum Step<'a, 't> {
    /// Feeds the tracker.
    Consume(Box<Consumer<'a, 't>>),
    /// Writes rows of what it decided.
    Write,
    /// Starts a stream's reader.
    Start { lane: usize, stream: Box<StreamBlocks>, sender: Sender<StreamBlock> },
    /// Reads and decodes a block of a file; where the tracker has taken all before it, from `start`.
    Read { lane: usize, number: u64, hint: Arc<Context>, start: Option<u64>, memory: Box<(Block, Decoded)> },
    /// Decodes a block of a stream.
    Stream { lane: usize, number: u64, block: StreamBlock },
    /// Waits until something has changed.
    Wait,
}

impl<'a, 't> State<'a, 't> {
    /// What a worker does now. Whoever had the tracker last has its state in the caches of its processor: another one takes
    /// it only when it has nothing else to do.
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

    /// Blocks handed out, or ready.
    fn outstanding(&self) -> usize {
        self.open().map(|lane| lane.ready.len()).sum()
    }

    /// The tracker has taken blocks, and those who wait for room for others are to be woken: not for each of them, because
    /// to wake somebody takes time, and to wait again does too. Whoever took the blocks works on meanwhile.
    pub(super) fn has_work_for_others(&self, threads: usize) -> bool {
        self.done || self.outstanding() <= threads * BLOCKS_PER_WORKER / 2
    }

    /// The next block to read and decode: of lanes in order, those the tracker waits for first.
    fn next_task(&mut self, threads: usize) -> Option<Step<'a, 't>> {
        let most = threads * BLOCKS_PER_WORKER;
        let room = self.outstanding() < most;
        // Of lanes that are read at the same time, none takes the room of the others.
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
                    // The reader thread is gone without a last word: it failed, and said so.
                    Err(TryRecvError::Disconnected) => lane.blocks = Some(lane.next),
                    Err(TryRecvError::Empty) => {}
                }
            }
        }
        None
    }

    /// Takes the ready blocks of lanes that need one; `None` tells that a lane has no more.
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

    /// Notes how far the tracker is with each lane that it has begun with.
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
    /// Somebody interrupted: no further block of a file is handed out. The reader of a stream ends by itself; one that has not
    /// begun is only for a stream of which nothing more comes, as of a pipe then.
    pub(super) fn read_no_further(&mut self) {
        self.unread.take_if(|stream| !stream.is_at_end());
        if self.stream.is_none() && self.unread.is_none() {
            self.blocks = Some(self.next);
        }
    }

    /// There is something to be had of it; of a stream where its reader may be started.
    fn can_begin(&self, may_start: bool) -> bool {
        !self.exhausted() && (may_start || self.unread.is_none())
    }

    /// The tracker takes blocks of it.
    fn is_running(&self) -> bool {
        (self.needed || self.taken > 0) && !self.ended
    }

    /// Every block has been taken.
    fn exhausted(&self) -> bool {
        self.blocks == Some(self.taken)
    }
}
