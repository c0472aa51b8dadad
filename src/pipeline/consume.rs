//! Feeds decoded blocks to the tracker, in order ([`Consumer`]): the half that depends on the order of packets. The
//! workers run it in turn.
//!
//! A block is accepted when it begins where the one before it ended; lanes that overlap are merged by time.

use super::{Damage, DecodedBlock, LaneResult, MAX_FAULTS, OnProgress, Shared, StreamEnd};
use crate::capture::filter::Filter;
use crate::capture::open::{Input, Source};
use crate::capture::stated_loss::StatedLoss;
use crate::capture::{Block, ByteTally, Context, Stop, Timestamp};
use crate::decode::{Body, Decoded, Tally};
use crate::error::{Error, packets};
use crate::transact::Tracker;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

/// When the times of two inputs are further apart than this (nanoseconds), packets in between may be missing; within
/// it, a capture that goes on in the next file can have missed hardly any.
const TOUCHING: i64 = 10_000_000;

/// State of one input on its way through the tracker.
pub(super) struct Lane {
    pub(super) rank: usize,
    pub(super) first_time: Option<Timestamp>,
    /// Offset at which the next record begins.
    pub(super) expected: u64,
    /// State at that offset.
    pub(super) context: Arc<Context>,
    /// The block being consumed.
    pub(super) current: Option<Current>,
    pub(super) ended: bool,
    /// Losses according to the input, and the time of its last packet so far.
    stated: StatedLoss,
    last: Option<Timestamp>,
    pub(super) result: LaneResult,
}

/// A block being consumed.
pub(super) struct Current {
    done: DecodedBlock,
    /// Index of the next entry.
    cursor: usize,
    first_frame: u64,
    /// Reading ends with this block.
    last: bool,
}

impl Lane {
    pub(super) fn new(input: &Input, rank: usize) -> Self {
        let size = match &input.source {
            Source::Plain { size, .. } => *size,
            Source::Stream(_) => 0,
        };
        let bytes = ByteTally { headers: input.start, ..ByteTally::default() };
        let time_digits = input.context.interfaces.iter().map(|interface| interface.resolution.digits()).max();
        Self {
            rank,
            first_time: input.first_time,
            expected: input.start,
            context: Arc::clone(&input.context),
            current: None,
            ended: false,
            stated: StatedLoss::default(),
            last: None,
            result: LaneResult { bytes, size, time_digits: time_digits.unwrap_or(0), ..LaneResult::default() },
        }
    }

    /// The result of the lane; `changed` says that the file changed meanwhile.
    pub(super) fn finish(mut self, stream: bool, changed: bool, interrupted: bool) -> LaneResult {
        let result = &mut self.result;
        result.changed = changed;
        if stream && interrupted {
            // An end that was not reached is not a cut.
            result.damage = result.damage.take().filter(|damage| !damage.cut);
        }
        let whole = self.ended && !interrupted && !changed && result.damage.is_none() && result.bytes.unread_tail == 0;
        let whole = whole && result.oddities.damage().is_empty();
        result.stated_loss = self.stated.finish(result.bytes.record_headers, whole);
        self.result
    }

    /// Ends the lane, with the reason when it could not be read any further.
    fn fail(&mut self, failure: Option<String>) {
        if let Some(failure) = failure {
            let unread = self.result.size.saturating_sub(self.expected);
            let used = packets(self.result.frames);
            let what = format!("{failure} after byte {}; {used} used, {unread} bytes unread", self.expected);
            self.result.damage = Some(Damage { cut: false, what });
        }
    }

    /// Time of the next entry of the current block.
    fn head(&self) -> Option<Timestamp> {
        let current = self.current.as_ref()?;
        current.done.decoded.entries.get(current.cursor).map(|entry| entry.time)
    }
}

/// Feeds the tracker; the order-dependent half.
pub(super) struct Consumer<'a, 't> {
    pub(super) tracker: &'a mut Tracker<'t>,
    pub(super) lanes: Vec<Lane>,
    /// Index of the next lane to become active.
    pub(super) next: usize,
    /// Lanes that are active and have not ended, in order: of thousands these may be few.
    active: Vec<usize>,
    /// The next entry of each of these that has its block: time of capture, rank and index of the lane.
    heads: BinaryHeap<Reverse<(Timestamp, usize, usize)>>,
    /// Latest time of a packet so far.
    latest: Option<Timestamp>,
    pub(super) tally: Tally,
    pub(super) on_progress: OnProgress<'a>,
    pub(super) consumed: u64,
}

impl<'a, 't> Consumer<'a, 't> {
    pub(super) fn new(tracker: &'a mut Tracker<'t>, lanes: Vec<Lane>, on_progress: OnProgress<'a>) -> Self {
        let (active, heads, tally) = (Vec::new(), BinaryHeap::new(), Tally::default());
        Self { tracker, lanes, next: 0, active, heads, latest: None, tally, on_progress, consumed: 0 }
    }

    /// Takes blocks and feeds the tracker until it needs another block; true when everything is consumed.
    pub(super) fn consume(
        &mut self,
        inbox: Vec<(usize, Option<DecodedBlock>)>,
        shared: &Shared<'a, 't>,
        filter: &mut Option<Filter>,
        used: &mut Vec<(Block, Decoded)>,
    ) -> Result<bool, Error> {
        for (lane, block) in inbox {
            match block {
                Some(block) => self.receive(lane, block, shared, filter, used)?,
                None => self.lanes[lane].ended = true,
            }
        }
        loop {
            self.active.retain(|index| !self.lanes[*index].ended);
            // Which lane is due depends on the next packets of the active ones.
            if self.lacks_block() {
                return Ok(false);
            }
            self.activate();
            if self.lacks_block() {
                return Ok(false);
            }
            if self.active.is_empty() && self.next == self.lanes.len() {
                return Ok(true);
            }
            self.merge(used);
        }
    }

    /// True when the next block of an active lane has not come yet.
    fn lacks_block(&self) -> bool {
        self.active.iter().any(|index| self.lanes[*index].current.is_none())
    }

    /// Activates lanes whose first packet is due.
    fn activate(&mut self) {
        while let Some(lane) = self.lanes.get(self.next) {
            let due = match self.heads.peek() {
                Some(Reverse((head, ..))) => lane.first_time.is_some_and(|first| first <= *head),
                None => self.active.is_empty(),
            };
            if !due {
                return;
            }
            if let (Some(last), Some(first)) = (self.latest, lane.first_time)
                && first.0.saturating_sub(last.0) > TOUCHING
            {
                self.tracker.unwatched(last, first);
            }
            if let [.., before, lane] = &mut self.lanes[..=self.next] {
                // How much of an unfinished lane was read by now depends on the size of blocks; and it does not
                // continue in another one.
                if before.ended {
                    lane.stated.follow(&before.stated);
                }
            }
            self.active.push(self.next);
            self.next += 1;
        }
    }

    /// Checks a block, and makes it the current one of its lane.
    fn receive(
        &mut self,
        index: usize,
        mut done: DecodedBlock,
        shared: &Shared<'a, 't>,
        filter: &mut Option<Filter>,
        used: &mut Vec<(Block, Decoded)>,
    ) -> Result<(), Error> {
        let lane = &mut self.lanes[index];
        if let Some(StreamEnd { unread, trailing, failure }) = done.end.take() {
            lane.result.trailing = trailing;
            lane.result.bytes.unread_tail += unread;
            lane.result.size = lane.expected + unread;
            if let Some(failure) = failure {
                let what = format!(
                    "{failure} after byte {}; {} used, what follows is not known",
                    lane.expected + unread,
                    packets(lane.result.frames)
                );
                // The record only seems truncated: the stream ended early.
                if lane.result.damage.as_ref().is_none_or(|damage| damage.cut) {
                    lane.result.damage = Some(Damage { cut: false, what });
                }
            }
            lane.ended = true;
            used.push((done.block, done.decoded));
            return Ok(());
        }
        let from_file = shared.sources[index].file.is_some();
        if from_file {
            let start = (lane.expected - done.block.offset) as usize;
            if start >= done.block.limit && !(done.block.at_end && start < done.block.data.len()) {
                // A record that began earlier reaches beyond this block.
                if done.block.at_end && start >= done.block.data.len() {
                    lane.ended = true;
                    // A file that shrank or cannot be read ends early.
                    lane.result.bytes.unread_tail += lane.result.size.saturating_sub(lane.expected);
                    lane.fail(done.failure);
                }
                used.push((done.block, done.decoded));
                return Ok(());
            }
            let same_interfaces =
                done.before.version == lane.context.version || Arc::ptr_eq(&done.before, &lane.context);
            if start != done.start || !same_interfaces {
                done.start = start;
                done.before = Arc::clone(&lane.context);
                shared.decode(index, &mut done, filter)?;
            }
        }
        lane.context = Arc::clone(&done.after);
        lane.expected = done.block.offset + done.walk.end as u64;
        let first_frame = lane.result.frames + 1;
        lane.result.frames += u64::from(done.decoded.frames);
        let room = MAX_FAULTS.saturating_sub(lane.result.faults.len());
        lane.result.faults.extend(done.decoded.faults.iter().take(room).map(|index| first_frame + u64::from(*index)));
        let places = lane.stated.take(&done.walk.statements, lane.result.bytes.record_headers);
        if !places.is_empty() {
            // When a block begins with such a place, the packet before it is in an earlier block.
            let before = lane.last.unwrap_or(Timestamp::UNKNOWN);
            done.decoded.note_between(places.into_iter().map(|place| {
                let body = if place.left_out { Body::LeftOut } else { Body::Lost };
                (place.packets, place.time.unwrap_or(before), body)
            }));
        }
        lane.last = done.walk.last.or(lane.last);
        lane.result.bytes.add(&done.walk.bytes);
        lane.result.oddities.add(&done.walk.oddities);
        lane.result.choices = lane.context.choices;
        for link_type in &done.decoded.link_types {
            lane.result.note_link_type(*link_type);
        }
        lane.result.times = match (lane.result.times, done.decoded.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, two) => one.or(two),
        };
        self.latest = self.latest.max(done.decoded.times.map(|(_, last)| last));
        for (number, name, resolution) in done.walk.interfaces.drain(..) {
            lane.result.name_interface(number, name);
            lane.result.time_digits = lane.result.time_digits.max(resolution.digits());
        }
        self.tally.add(&done.decoded.tally);
        self.consumed += done.walk.bytes.total();
        (self.on_progress)(self.consumed);
        let mut last = false;
        if let Some(stop) = &done.walk.stop {
            last = true;
            lane.result.damage = Some(damage(stop, lane.expected, lane.result.frames, lane.result.size));
            if from_file {
                let tail = lane.result.size.saturating_sub(lane.expected);
                lane.result.bytes.unread_tail += tail;
            } else {
                // The reader thread counts what follows this block; the rest of the block is unread, too.
                lane.result.bytes.unread_tail += (done.block.data.len() - done.walk.end) as u64;
                lane.expected = done.block.offset + done.block.data.len() as u64;
                last = false;
            }
        } else if from_file && done.block.at_end && lane.expected >= done.block.offset + done.block.data.len() as u64 {
            last = true;
            // A file that shrank or cannot be read ends early.
            lane.result.bytes.unread_tail += lane.result.size.saturating_sub(lane.expected);
        }
        if last {
            lane.fail(done.failure.take());
        }
        lane.current = Some(Current { done, cursor: 0, first_frame, last });
        self.go_on(index, used);
        Ok(())
    }

    /// Feeds entries of active lanes, oldest first, until a block is used up or another lane becomes due.
    fn merge(&mut self, used: &mut Vec<(Block, Decoded)>) {
        let next_first = self.lanes.get(self.next).and_then(|lane| lane.first_time);
        if let [only] = self.active[..] {
            self.heads.clear();
            self.feed(only, next_first);
            return self.go_on(only, used);
        }
        loop {
            let Some(mut least) = self.heads.peek_mut() else { return };
            let Reverse((head, rank, index)) = *least;
            if next_first.is_some_and(|first| head >= first) {
                return;
            }
            if let Some(current) = &mut self.lanes[index].current
                && let Some(entry) = current.done.decoded.entries.get(current.cursor)
            {
                current.cursor += 1;
                let entry = *entry;
                self.tracker.take(index as u32, current.first_frame, &current.done.block.data, &[entry]);
            }
            match self.lanes[index].head() {
                Some(next) => *least = Reverse((next, rank, index)),
                None => {
                    PeekMut::pop(least);
                    return self.retire(index, used);
                }
            }
        }
    }

    /// Feeds the only active lane, up to the time at which another one becomes due.
    fn feed(&mut self, index: usize, until: Option<Timestamp>) {
        let Some(current) = &mut self.lanes[index].current else { return };
        let entries = &current.done.decoded.entries[current.cursor..];
        let count = match until {
            Some(until) => entries.iter().position(|entry| entry.time >= until).unwrap_or(entries.len()),
            None => entries.len(),
        };
        self.tracker.take(index as u32, current.first_frame, &current.done.block.data, &entries[..count]);
        current.cursor += count;
    }

    /// Queues the next entry of a lane among those of the others, or ends its block when there is none.
    fn go_on(&mut self, index: usize, used: &mut Vec<(Block, Decoded)>) {
        match self.lanes[index].head() {
            Some(head) => self.heads.push(Reverse((head, self.lanes[index].rank, index))),
            None => self.retire(index, used),
        }
    }

    /// Ends the current block of a lane.
    fn retire(&mut self, index: usize, used: &mut Vec<(Block, Decoded)>) {
        if let Some(current) = self.lanes[index].current.take() {
            self.lanes[index].ended |= current.last;
            used.push((current.done.block, current.done.decoded));
        }
    }
}

/// Describes why a walk stopped.
fn damage(stop: &Stop, offset: u64, frames: u64, size: u64) -> Damage {
    let (record, used) = (frames + 1, packets(frames));
    let unread = size.saturating_sub(offset);
    match stop {
        Stop::Cut { wanted, has, .. } => Damage {
            cut: true,
            what: format!(
                "record {record} at byte {offset}: wanted {wanted} bytes, the file has {has}; {used} used, {has} bytes unread"
            ),
        },
        Stop::Bad { what, .. } => {
            let rest = if size > 0 { format!("{unread} bytes unread") } else { "the rest unread".to_string() };
            Damage { cut: false, what: format!("record {record} at byte {offset}: {what}; {used} used, {rest}") }
        }
        Stop::Need { .. } => Damage { cut: false, what: format!("record {record} at byte {offset} was not completed") },
    }
}
