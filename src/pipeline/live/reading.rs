//! A handle's thread: reads packets from the ring, decodes them and hands them to its group ([`capture`]).

use super::losses::{Loss, Losses};
use super::{Captured, LinkState, Memory, Shared, lock};
use crate::capture::filter::Filter;
use crate::capture::host;
use crate::capture::live::{Handle, State};
use crate::capture::pcap_file::RECORD_HEADER;
use crate::capture::{Block, Context, Frame, Timestamp, Walk};
use crate::decode::{Bucket, Decoded, Decoder, Entry};
use crate::error::{Error, packets};
use crate::pipeline::Damage;
use crossbeam_channel::{SendTimeoutError, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a handle waits for packets before it looks at the clock.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the kernel is asked for its counts.
const ASK_KERNEL: Duration = Duration::from_millis(100);
/// With a filter that lets nothing through, a ring from which nothing came for this long is empty.
const SETTLED: Duration = Duration::from_millis(300);
/// Time within which the ring hands over a packet.
const HAND_OVER: Duration = Duration::from_millis(500);
/// A reader that did not run for this long was stopped or starved.
const STALL: Duration = Duration::from_secs(1);
/// Most such times that are remembered.
const STALLS: usize = 32;

/// A handle's thread: reads and decodes until it is told to stop and the ring is empty.
pub fn capture(shared: &Shared<'_>, lane: usize, input: usize, handle: &mut Handle, sender: &Sender<Captured>) {
    let mut filter = handle.chosen_here.then(|| Filter::new(&handle.expression));
    let mut context = handle.context();
    let mut damage = None;
    let started = handle.start();
    shared.started.fetch_add(1, Ordering::Relaxed);
    let result = started
        .and_then(|()| read_until_stopped(shared, lane, input, handle, &mut filter, &mut context, sender, &mut damage));
    lock(&shared.kernel)[input] = handle.counts;
    let error = result.err();
    let _ = sender.send(Captured::End { lane, damage, error });
    shared.handed_on[input].store(i64::MAX, Ordering::SeqCst);
}

#[allow(clippy::too_many_arguments)]
fn read_until_stopped(
    shared: &Shared<'_>,
    lane: usize,
    input: usize,
    handle: &mut Handle,
    filter: &mut Option<Filter>,
    context: &mut Arc<Context>,
    sender: &Sender<Captured>,
    damage: &mut Option<Damage>,
) -> Result<(), Error> {
    let mut asked = Instant::now();
    let mut stopping = false;
    let mut quiet_since = Instant::now();
    let mut spare: Option<Memory> = None;
    let mut ran = Instant::now();
    // Drops whose place has not been reached yet, and those reported at once.
    let (mut losses, mut reported_drops) = (Losses::default(), 0);
    loop {
        let since = std::mem::replace(&mut ran, Instant::now()).elapsed();
        let mut stalls = lock(&shared.stalls);
        if since > STALL {
            note_stall(&mut stalls, host::now(), since);
        }
        drop(stalls);
        if !stopping && (shared.stop.load(Ordering::Relaxed) || handle.state() == State::Gone) {
            if handle.state() == State::Gone {
                let what = format!(
                    "the interface disappeared at {}; {} used",
                    host::now().to_rfc3339(3),
                    packets(handle.counts.read)
                );
                *damage = Some(Damage { cut: false, what });
            }
            handle.stop()?;
            stopping = true;
            quiet_since = Instant::now();
        }
        let (mut block, mut decoded) = spare.take().or_else(|| lock(&shared.pool).pop()).unwrap_or_default();
        block.data.clear();
        (block.limit, block.at_end) = (shared.block_bytes, true);
        let asked_at = host::now();
        let packets = handle.fill(&mut block, if stopping { Duration::from_millis(5) } else { PATIENCE })?;
        if packets > 0 {
            quiet_since = Instant::now();
            let rejected = match filter {
                Some(filter) => choose(shared, &mut block, filter, context)?,
                None => (0, None),
            };
            decode(shared, input, &mut block, context, &mut decoded);
            (0..rejected.0).for_each(|_| decoded.tally.count(Bucket::NotSelected));
            // Packets that were in the ring before more was known of drops: they may be from before the drops.
            let found = decoded.times.map_or_else(Losses::default, |(_, last)| losses.before(last));
            found.iter().for_each(|loss| put_in(loss, &mut decoded));
            ask_kernel(handle, &mut losses)?;
            let (at, kernel) = (Instant::now(), handle.counts);
            let memory = Box::new((block, decoded));
            send(shared, sender, Captured::Block { lane, at, kernel, rejected, losses: found, memory }, packets);
        } else {
            let handed_on = asked_at.0 - HAND_OVER.as_nanos() as i64;
            shared.handed_on[input].store(handed_on, Ordering::SeqCst);
            spare = Some((block, decoded));
        }
        if stopping || asked.elapsed() >= ASK_KERNEL {
            ask_kernel(handle, &mut losses)?;
            if handle.counts.dropped > reported_drops {
                reported_drops = handle.counts.dropped;
                send(shared, sender, Captured::Lost { lane, now: host::now(), kernel: handle.counts }, 0);
            }
            lock(&shared.kernel)[input] = handle.counts;
            let state = handle.look_at_interface();
            lock(&shared.links)[input] = LinkState {
                down: state == State::Down,
                gone: state == State::Gone,
                no_carrier: handle.has_no_carrier(),
                renamed: handle.new_name().map(str::to_owned),
            };
            asked = Instant::now();
        }
        if stopping && packets == 0 {
            if handle.counts.waiting() <= 0 {
                // A packet that another processor is just taking in arrives within a moment.
                std::thread::sleep(Duration::from_millis(2));
                handle.add_statistics()?;
            }
            if handle.counts.waiting() <= 0 || quiet_since.elapsed() > SETTLED || shared.abandon.load(Ordering::Relaxed)
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

/// Asks the kernel for its counts, and notes what it dropped since the last time.
fn ask_kernel(handle: &mut Handle, losses: &mut Losses) -> Result<(), Error> {
    let before = handle.counts.dropped;
    handle.add_statistics()?;
    losses.note(host::now(), handle.counts.dropped - before);
    Ok(())
}

/// Marks in a block where packets were lost.
fn put_in(loss: &Loss, decoded: &mut Decoded) {
    let place = decoded.entries.iter().position(|entry| entry.time >= loss.noticed);
    let place = place.unwrap_or(decoded.entries.len());
    decoded.entries.insert(place, Entry::lost(loss.noticed, 0));
}

/// Keeps the packets of a block that the filter selects; everything later, including the recording and frame numbers,
/// is about them. Returns the number of the others, and the time of the last one.
fn choose(
    shared: &Shared<'_>,
    block: &mut Block,
    filter: &mut Filter,
    context: &mut Arc<Context>,
) -> Result<(u32, Option<Timestamp>), Error> {
    let (mut rejected, mut last, mut refused) = (0, None, None);
    let mut chosen: Vec<std::ops::Range<usize>> = Vec::new();
    block.limit = block.data.len();
    shared.reader.walk(block, 0, context, &mut Walk::default(), &mut |frame: Frame<'_>| match filter
        .passes(frame.link_type, frame.data)
    {
        Ok(true) => chosen.push(frame.offset - RECORD_HEADER..frame.offset + frame.data.len()),
        Ok(false) => {
            rejected += 1;
            last = last.max(Some(frame.time));
        }
        Err(error) => refused = Some(error),
    });
    let mut end = 0;
    for record in chosen {
        let length = record.len();
        block.data.copy_within(record, end);
        end += length;
    }
    block.data.truncate(end);
    refused.map_or(Ok((rejected, last)), Err)
}

/// Decodes a block of a handle; again with every frame guarded when a frame makes this program panic.
fn decode(shared: &Shared<'_>, input: usize, block: &mut Block, context: &mut Arc<Context>, decoded: &mut Decoded) {
    block.limit = block.data.len();
    let whole = AssertUnwindSafe(|| decode_frames(shared, input, block, context, decoded, Decoder::frame));
    if catch_unwind(whole).is_err() {
        decode_frames(shared, input, block, context, decoded, Decoder::guarded_frame);
    }
}

fn decode_frames(
    shared: &Shared<'_>,
    input: usize,
    block: &Block,
    context: &mut Arc<Context>,
    decoded: &mut Decoded,
    decode_frame: impl Fn(&Decoder, &Frame<'_>, &mut Decoded),
) {
    decoded.clear();
    let mut walk = Walk::default();
    shared.reader.walk(block, 0, context, &mut walk, &mut |frame: Frame<'_>| {
        let (first, last) = decoded.times.unwrap_or((frame.time, frame.time));
        decoded.times = Some((first.min(frame.time), last.max(frame.time)));
        decode_frame(shared.decoder, &Frame { interface: input as u32, ..frame }, decoded);
    });
}

/// Hands a block to the group; waits while the queue is full.
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

/// Notes that a reader did not run until this time. When the whole program is stopped, every reader sees the same stop;
/// it is noted once.
fn note_stall(stalls: &mut Vec<(Timestamp, Duration)>, ended: Timestamp, length: Duration) {
    let nanoseconds = |length: Duration| length.as_nanos() as i64;
    let began = |ended: Timestamp, length| ended.0.saturating_sub(nanoseconds(length));
    let known = |(other, of_other): &(Timestamp, Duration)| {
        ended.0.min(other.0).saturating_sub(began(ended, length).max(began(*other, *of_other))).max(0)
    };
    let new = nanoseconds(length) - stalls.iter().map(known).sum::<i64>();
    if stalls.len() < STALLS && new > nanoseconds(STALL) {
        stalls.push((ended, length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stop_of_all_readers_is_said_once() {
        let mut stalls = Vec::new();
        let mut note = |ended: i64, length: u64| {
            note_stall(&mut stalls, Timestamp(ended * 1_000_000), Duration::from_millis(length));
            stalls.len()
        };
        assert_eq!(note(100_000, 3000), 1);
        assert_eq!(note(100_004, 3060), 1, "the other reader");
        assert_eq!(note(103_000, 2900), 2, "the next stop");
        assert_eq!(note(103_001, 6000), 2, "both in one, for a reader that did not run between them");
        assert_eq!(note(106_000, 4200), 3, "most of it is new");
    }
}
