//! Where the trackers of a run stand, added up and taken apart by time: [`Standing`]s to what a report is built from.

use crate::capture::live::KernelCounts;
use crate::pipeline::LaneResult;
use crate::pipeline::live::{Moment, Standing};
use crate::report::CaptureLedger;
use crate::report::build::Undecided;

/// One standing of all groups.
pub fn add_up(groups: Vec<Standing>) -> Standing {
    let mut sum = Standing::default();
    for group in groups {
        sum.counts.add(&group.counts);
        sum.tally.add(&group.tally);
        for (name, count) in group.anomalies {
            *sum.anomalies.entry(name).or_default() += count;
        }
        sum.quoted.extend(group.quoted);
        for (key, pair) in group.proxied {
            let known = sum.proxied.entry(key).or_default();
            known.asked += pair.asked;
            known.understood += pair.understood;
            known.mistaken += pair.mistaken;
            known.unanswered += pair.unanswered;
            known.more_clients |= pair.more_clients;
            for client in pair.clients {
                if !known.clients.iter().any(|other| other.ip() == client.ip()) {
                    known.clients.push(client);
                }
            }
            known.frames.extend(pair.frames);
        }
        sum.lanes.extend(group.lanes);
        sum.lost_state += group.lost_state;
        sum.open.0 += group.open.0;
        sum.open.1 += group.open.1;
    }
    sum
}

/// What is counted and in no bucket yet.
pub fn undecided(standing: &Standing) -> Undecided {
    let frames: u64 = standing.lanes.iter().map(|lane| lane.frames).sum();
    let placed: u64 = standing.tally.buckets.iter().sum();
    Undecided { frames: frames.saturating_sub(placed), queries: standing.open.0, responses: standing.open.1 }
}

/// What happened between two standings of the same run.
pub fn since(now: &Standing, before: &Standing) -> Standing {
    let mut part = now.clone();
    part.counts = now.counts.since(&before.counts);
    part.tally = now.tally.since(&before.tally);
    for (name, count) in &before.anomalies {
        if let Some(now) = part.anomalies.get_mut(name) {
            *now = now.saturating_sub(*count);
        }
    }
    part.anomalies.retain(|_, count| *count > 0);
    for (lane, earlier) in part.lanes.iter_mut().zip(&before.lanes) {
        part_of(lane, earlier);
    }
    part.lost_state = now.lost_state.saturating_sub(before.lost_state);
    part
}

/// The later part of a lane.
fn part_of(lane: &mut LaneResult, earlier: &LaneResult) {
    lane.frames -= earlier.frames;
    lane.times = match (lane.times, earlier.times) {
        _ if lane.frames == 0 => None,
        // A frame of the part may be older than the newest of the part before by as much as packets are reordered.
        (Some((_, last)), Some((_, earlier))) => Some((earlier.min(last), last)),
        (times, _) => times,
    };
}

/// Kernel counts of all inputs.
fn kernel(moment: &Moment) -> KernelCounts {
    let mut sum = KernelCounts { interface_dropped: Some(0), ..KernelCounts::default() };
    for counts in &moment.kernel {
        sum.seen += counts.seen;
        sum.dropped += counts.dropped;
        sum.bursts += counts.bursts;
        sum.read += counts.read;
        // Handles that share an interface read the same counters.
        sum.interface_dropped = match (sum.interface_dropped, counts.interface_dropped) {
            (Some(one), Some(two)) => Some(one.max(two)),
            _ => None,
        };
    }
    if moment.kernel.is_empty() {
        sum.interface_dropped = None;
    }
    sum
}

/// The capture's account between two moments, or since it began.
pub fn capture_ledger(moment: &Moment, before: Option<&Moment>) -> CaptureLedger {
    let now = kernel(moment);
    let then = before.map(kernel).unwrap_or_default();
    let waiting_before = then.waiting();
    // What was waiting when the time began is read in it.
    let (seen, dropped, read) = (now.seen - then.seen, now.dropped - then.dropped, now.read - then.read);
    let seen = seen.saturating_add_signed(waiting_before);
    CaptureLedger {
        seen,
        dropped,
        bursts: now.bursts - then.bursts,
        read,
        waiting: u64::try_from(now.waiting()).unwrap_or(0),
        own_dropped: moment.own_dropped - before.map_or(0, |before| before.own_dropped),
        interface_dropped: match (now.interface_dropped, before) {
            (Some(now), Some(_)) => then.interface_dropped.map(|then| now.saturating_sub(then)),
            (now, _) => now,
        },
        waits: moment.waits - before.map_or(0, |before| before.waits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Timestamp;
    use std::time::Duration;

    fn moment(seen: u64, dropped: u64, read: u64) -> Moment {
        Moment {
            now: Timestamp(0),
            elapsed: Duration::ZERO,
            kernel: vec![KernelCounts { seen, dropped, bursts: 0, read, interface_dropped: Some(0) }],
            own_dropped: 0,
            waits: 0,
            down: vec![false],
        }
    }

    #[test]
    fn parts_of_a_capture_close_like_the_whole() {
        let (first, second) = (moment(100, 5, 90), moment(250, 25, 225));
        let one = capture_ledger(&first, None);
        assert!(one.is_closed() && (one.seen, one.waiting) == (100, 5), "{one:?}");
        let two = capture_ledger(&second, Some(&first));
        assert!(two.is_closed() && (two.seen, two.dropped, two.read, two.waiting) == (155, 20, 135, 0), "{two:?}");
        assert!(!capture_ledger(&moment(100, 0, 101), None).is_closed(), "more was read than was seen");
    }

    #[test]
    fn handles_that_share_an_interface_do_not_add_its_losses() {
        let mut shared = moment(1, 0, 1);
        shared.kernel = vec![KernelCounts { interface_dropped: Some(3), ..shared.kernel[0] }; 2];
        assert_eq!(capture_ledger(&shared, None).interface_dropped, Some(3));
        shared.kernel[1].interface_dropped = None;
        assert_eq!(capture_ledger(&shared, None).interface_dropped, None, "unknown is not zero");
    }
}
