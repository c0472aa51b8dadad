//! A group's thread: feeds decoded blocks to its tracker, in order of time ([`Follower`]).

use super::losses::Losses;
use super::{Captured, PacketWriter, Request, Shared, Standing, lock};
use crate::capture::live::KernelCounts;
use crate::capture::{Block, Context, Direction, Frame, Timestamp};
use crate::decode::{Decoded, Tally};
use crate::error::Error;
use crate::pipeline::{LaneResult, MAX_FAULTS};
use crate::transact::Tracker;
use crossbeam_channel::{Receiver, select};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long packets of several interfaces are held back so that earlier ones of other interfaces can go first; the ring
/// hands over a packet within 0.2 s.
const HOLD_BACK: Duration = Duration::from_millis(300);
/// How long nothing must come before what was written is flushed.
const IDLE: Duration = Duration::from_millis(100);
/// Most blocks held back.
const HELD_BLOCKS: usize = 256;

/// A block on its way to the tracker.
struct Arrived {
    block: Block,
    decoded: Decoded,
    at: Instant,
    kernel: KernelCounts,
    /// Number of packets that the filter did not select, and the time of the last.
    rejected: (u32, Option<Timestamp>),
    /// Places where packets were lost, for a writer; the entries contain them, too.
    losses: Losses,
    first_frame: u64,
    /// Index of the next entry.
    cursor: usize,
    /// Index of the next record, for a writer.
    record: usize,
}

impl Arrived {
    fn head(&self) -> Option<Timestamp> {
        self.decoded.entries.get(self.cursor).map(|entry| entry.time)
    }

    /// Frames that were followed.
    fn followed(&self) -> usize {
        self.decoded.entries[..self.cursor].iter().filter(|entry| entry.is_frame()).count()
    }

    /// The latest time of its packets.
    fn last(&self) -> Option<Timestamp> {
        self.decoded.times.map(|(_, last)| last).max(self.rejected.1)
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
pub struct Follower<'a, 't, 'w> {
    shared: &'a Shared<'a>,
    first_input: u32,
    tracker: Tracker<'t>,
    tally: Tally,
    lanes: Vec<LaneResult>,
    kernel: Vec<KernelCounts>,
    /// Number of frames received so far, by lane.
    numbered: Vec<u64>,
    /// Lost packets that the tracker was told about, by lane.
    reported_drops: Vec<u64>,
    /// Blocks held back, by lane.
    pending: Vec<VecDeque<Arrived>>,
    contexts: Vec<Arc<Context>>,
    writer: Option<&'w mut dyn PacketWriter>,
}

impl<'a, 't, 'w> Follower<'a, 't, 'w> {
    /// A follower that has followed nothing; `contexts` are those of its handles' records.
    pub fn new(
        shared: &'a Shared<'a>,
        first_input: u32,
        tracker: Tracker<'t>,
        contexts: Vec<Arc<Context>>,
        writer: Option<&'w mut dyn PacketWriter>,
    ) -> Self {
        let lanes = contexts.len();
        Self {
            shared,
            first_input,
            tracker,
            tally: Tally::default(),
            lanes: (0..lanes).map(|_| LaneResult::default()).collect(),
            kernel: vec![KernelCounts::default(); lanes],
            numbered: vec![0; lanes],
            reported_drops: vec![0; lanes],
            pending: (0..lanes).map(|_| VecDeque::new()).collect(),
            contexts,
            writer,
        }
    }

    /// Follows until every handle has ended; returns why each ended early.
    pub fn follow(&mut self, receiver: &Receiver<Captured>, requests: &Receiver<Request>) -> Vec<Option<Error>> {
        let mut errors: Vec<Option<Error>> = self.lanes.iter().map(|_| None).collect();
        loop {
            let captured = select! {
                recv(receiver) -> captured => match captured {
                    Ok(captured) => Some(captured),
                    Err(_) => break,
                },
                recv(requests) -> request => {
                    if let Ok(request) = request {
                        self.answer(&request);
                    }
                    continue;
                }
                default(IDLE) => None,
            };
            match captured {
                Some(Captured::Block { lane, at, kernel, rejected, losses, memory }) => {
                    let (block, decoded) = *memory;
                    if self.shared.abandon.load(Ordering::Relaxed) {
                        let read = u64::from(decoded.frames) + u64::from(rejected.0);
                        self.shared.own_dropped.fetch_add(read, Ordering::Relaxed);
                    } else {
                        let first_frame = self.numbered[lane] + 1;
                        self.numbered[lane] += u64::from(decoded.frames);
                        let arrived =
                            Arrived { block, decoded, at, kernel, rejected, losses, first_frame, cursor: 0, record: 0 };
                        self.pending[lane].push_back(arrived);
                    }
                }
                // Packets still in the ring may be from before the drop; their block says where they end.
                Some(Captured::Lost { lane, now, kernel }) => {
                    self.reported_drops[lane] = kernel.dropped;
                    self.tracker.lost();
                    if let Some(writer) = &mut self.writer {
                        writer.lost(self.first_input + lane as u32, now, &kernel);
                    }
                }
                Some(Captured::End { lane, damage, error }) => {
                    self.lanes[lane].damage = damage;
                    errors[lane] = error;
                }
                None => {
                    if let Some(writer) = &mut self.writer {
                        writer.pause();
                    }
                    self.pass_time(receiver);
                }
            }
            self.release(false);
        }
        self.release(true);
        errors
    }

    /// Lets time pass without packets, so that timeouts expire.
    fn pass_time(&mut self, receiver: &Receiver<Captured>) {
        let first = self.first_input as usize;
        let lanes = &self.shared.handed_on[first..first + self.lanes.len()];
        let handed_on = lanes.iter().map(|lane| lane.load(Ordering::SeqCst)).min().unwrap_or(i64::MIN);
        // Checked after that time was read: until then everything before it has come.
        if handed_on != i64::MAX && receiver.is_empty() && self.pending.iter().all(VecDeque::is_empty) {
            self.tracker.pass_time(Some(Timestamp(handed_on)));
            self.tracker.hand_out();
        }
    }

    /// Counts a block whose entries were all followed, and returns its memory.
    fn retire(&mut self, lane: usize, arrived: Arrived) {
        let Arrived { block, decoded, kernel, rejected, first_frame, .. } = arrived;
        self.kernel[lane] = kernel;
        let result = &mut self.lanes[lane];
        result.frames += u64::from(decoded.frames) + u64::from(rejected.0);
        result.times = match (result.times, decoded.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, two) => one.or(two),
        };
        for link_type in &decoded.link_types {
            result.note_link_type(*link_type);
        }
        let room = MAX_FAULTS.saturating_sub(result.faults.len());
        result.faults.extend(decoded.faults.iter().take(room).map(|index| first_frame + u64::from(*index)));
        self.tally.add(&decoded.tally);
        self.shared.give_back((block, decoded));
    }

    /// Feeds the tracker what need not be held back any longer.
    fn release(&mut self, all: bool) {
        if self.lanes.len() == 1 {
            self.release_only();
            return;
        }
        let held: usize = self.pending.iter().map(VecDeque::len).sum();
        // Blocks that came long enough ago: by now everything as old has come from the other interfaces as well.
        let blocks = || self.pending.iter().flatten();
        let until = if all {
            Some(Timestamp(i64::MAX))
        } else if held > HELD_BLOCKS {
            blocks().min_by_key(|arrived| arrived.at).and_then(Arrived::last)
        } else {
            let ripe = blocks().filter(|arrived| arrived.at.elapsed() >= HOLD_BACK);
            ripe.filter_map(Arrived::last).max()
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
            if arrived.head().is_none() {
                // Removed at once, so that later searches do not pass many used blocks.
                self.retire_used(lane);
            }
        }
        self.tracker.pass_time(None);
        self.tracker.hand_out();
        (0..self.pending.len()).for_each(|lane| self.retire_used(lane));
    }

    /// Retires blocks with nothing left to follow or to write.
    fn retire_used(&mut self, lane: usize) {
        let writes = self.writer.is_some();
        let used = |arrived: &Arrived| arrived.head().is_none() && !(writes && arrived.record_time().is_some());
        while self.pending[lane].front().is_some_and(used) {
            let Some(arrived) = self.pending[lane].pop_front() else { break };
            self.retire(lane, arrived);
        }
    }

    /// Feeds the blocks of the only handle.
    fn release_only(&mut self) {
        self.write(Timestamp(i64::MAX));
        while let Some(arrived) = self.pending[0].pop_front() {
            self.tracker.take(self.first_input, arrived.first_frame, &arrived.block.data, &arrived.decoded.entries);
            self.retire(0, arrived);
        }
        self.tracker.pass_time(None);
        self.tracker.hand_out();
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
                direction: Direction::Unknown,
                data: &data[start..end],
                offset: start,
                original_len: number(arrived.record + 12),
            };
            writer.packet(self.first_input + lane as u32, &frame, arrived.losses.take_before(time));
            arrived.record = end;
        }
    }

    fn answer(&mut self, request: &Request) {
        self.tracker.settle_silence();
        self.tracker.fold();
        if request.reply.send(self.standing()).is_ok() {
            // The sender is gone: the other end drops it when every group has answered and the answers were taken.
            let _ = request.resume.recv();
        }
    }

    fn standing(&self) -> Standing {
        let mut tally = self.tally.clone();
        tally.add(&self.tracker.tally);
        // Of a block that is followed in part, the followed part is counted as a block of its own.
        let (mut lanes, mut kernel) = (self.lanes.clone(), self.kernel.clone());
        for (lane, blocks) in self.pending.iter().enumerate() {
            let followed: usize = blocks.iter().map(Arrived::followed).sum();
            lanes[lane].frames += followed as u64;
            kernel[lane].read += followed as u64;
            kernel[lane].seen += followed as u64;
        }
        Standing {
            counts: self.tracker.counts.clone(),
            tally,
            anomalies: self.tracker.anomalies(),
            quoted: self.tracker.quotes.clone(),
            proxied: self.tracker.proxied.pairs().clone(),
            away: self.tracker.away().collect(),
            here: self.tracker.here().collect(),
            passed_on: self.tracker.passed_on().collect(),
            routed: self.tracker.routed().collect(),
            asking: self.tracker.asking().collect(),
            lanes,
            kernel,
            lost_state: self.tracker.lost_state(),
            open: self.tracker.undecided(),
        }
    }

    /// The end of the time line.
    pub fn finish(&mut self) -> Standing {
        // The handles have ended, so these counts are final.
        let first = self.first_input as usize;
        self.kernel.copy_from_slice(&lock(&self.shared.kernel)[first..first + self.lanes.len()]);
        let mut kernel = self.kernel.iter().zip(&self.reported_drops);
        let given_up = self.shared.own_dropped.load(Ordering::Relaxed) > 0;
        if given_up || kernel.any(|(kernel, reported_drops)| kernel.seen.saturating_sub(kernel.read) > *reported_drops)
        {
            self.tracker.lost();
        }
        let last = self.lanes.iter().filter_map(|lane| lane.times).map(|(_, last)| last).max();
        self.tracker.finish(last);
        self.tracker.fold_all();
        self.standing()
    }
}
