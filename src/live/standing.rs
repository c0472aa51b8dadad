//! Where the trackers of a run stand ([`Standing`]): added up over trackers, and split by interval for reports.

use crate::capture::live::{ANY, KernelCounts};
use crate::capture::losses::InterfaceLoss;
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
        sum.quoted.add(&group.quoted);
        for (key, pair) in group.proxied {
            let known = sum.proxied.entry(key).or_default();
            known.asked += pair.asked;
            known.understood += pair.understood;
            known.understood_before |= pair.understood_before;
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
        sum.away.extend(group.away);
        sum.here.extend(group.here);
        sum.passed_on.extend(group.passed_on);
        sum.routed.extend(group.routed);
        sum.asking.extend(group.asking);
        sum.lanes.extend(group.lanes);
        sum.kernel.extend(group.kernel);
        sum.lost_state += group.lost_state;
        sum.open.0 += group.open.0;
        sum.open.1 += group.open.1;
    }
    sum
}

/// Units that are counted but in no final bucket yet.
pub fn undecided(standing: &Standing) -> Undecided {
    let frames = followed(standing);
    let placed: u64 = standing.tally.buckets.iter().sum();
    Undecided { frames: frames.saturating_sub(placed), queries: standing.open.0, responses: standing.open.1 }
}

/// Difference of two standings of the same run.
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
    part.quoted = now.quoted.since(&before.quoted);
    part.proxied.retain(|key, pair| before.proxied.get(key).is_none_or(|before| pair.take_off(before)));
    part
}

/// The later part of a lane.
fn part_of(lane: &mut LaneResult, earlier: &LaneResult) {
    lane.frames -= earlier.frames;
    lane.times = match (lane.times, earlier.times) {
        _ if lane.frames == 0 => None,
        // A frame of this part may be older than the newest of the part before, as far as packets are reordered.
        (Some((_, last)), Some((_, earlier))) => Some((earlier.min(last), last)),
        (times, _) => times,
    };
}

/// Sum of the kernel's counts over all inputs.
fn kernel(standing: &Standing) -> KernelCounts {
    let mut sum = KernelCounts::default();
    for counts in &standing.kernel {
        sum.seen += counts.seen;
        sum.dropped += counts.dropped;
        sum.bursts += counts.bursts;
        sum.read += counts.read;
    }
    sum
}

/// What all interfaces lost, as far as they report it. As that is not part of the account, it is as of now, not as of
/// the last packet read.
fn interfaces(moment: &Moment, names: &[String]) -> InterfaceLoss {
    // Handles that share an interface read the same counters.
    let handles = (moment.kernel.len() / names.len().max(1)).max(1);
    let mut each = moment.kernel.iter().step_by(handles).map(|counts| counts.interface_dropped);
    match names.iter().position(|name| name == ANY) {
        // Losses of all interfaces include these.
        Some(any) => each.nth(any).unwrap_or_default(),
        None => each.reduce(InterfaceLoss::and).unwrap_or_default(),
    }
}

/// Number of frames that reached a tracker.
fn followed(standing: &Standing) -> u64 {
    standing.lanes.iter().map(|lane| lane.frames).sum()
}

/// The account of the capture up to a standing, or since another one. Packets that were in the ring when the time began
/// are counted as read in it.
pub fn capture_ledger(
    now: (&Standing, &Moment),
    before: Option<(&Standing, &Moment)>,
    finished: bool,
    names: &[String],
) -> CaptureLedger {
    let (standing, moment) = now;
    let sum = kernel(standing);
    let then = before.map(|(standing, _)| kernel(standing)).unwrap_or_default();
    CaptureLedger {
        seen: (sum.seen - then.seen).saturating_add_signed(then.waiting()),
        dropped: sum.dropped - then.dropped,
        bursts: sum.bursts - then.bursts,
        read: sum.read - then.read,
        waiting: u64::try_from(sum.waiting()).unwrap_or(0),
        followed: followed(standing) - before.map_or(0, |(standing, _)| followed(standing)),
        own_dropped: moment.own_dropped - before.map_or(0, |(_, before)| before.own_dropped),
        finished,
        interface_dropped: match before {
            Some((_, before)) => interfaces(moment, names).since(interfaces(before, names)),
            None => interfaces(moment, names),
        },
        waits: moment.waits - before.map_or(0, |(_, before)| before.waits),
    }
}

#[cfg(test)]
mod tests {
    use super::InterfaceLoss::{AtLeast, Exactly, Unknown};
    use super::*;
    use crate::capture::Timestamp;
    use std::time::Duration;

    fn standing(seen: u64, dropped: u64, read: u64) -> Standing {
        let kernel = vec![KernelCounts { seen, dropped, bursts: 0, read, ..KernelCounts::default() }];
        let lanes = vec![LaneResult { frames: read, ..Default::default() }];
        Standing { lanes, kernel, ..Standing::default() }
    }

    fn moment() -> Moment {
        let kernel = vec![KernelCounts::default()];
        Moment {
            now: Timestamp(0),
            elapsed: Duration::ZERO,
            kernel,
            own_dropped: 0,
            waits: 0,
            links: Vec::new(),
            stepped: 0,
            capturing: true,
            stalls: Vec::new(),
        }
    }

    #[test]
    fn parts_of_a_capture_close_like_the_whole() {
        let (first, second) = (standing(100, 5, 90), standing(250, 25, 225));
        let one = capture_ledger((&first, &moment()), None, false, &[]);
        assert!(one.is_closed() && (one.seen, one.waiting) == (100, 5), "{one:?}");
        let two = capture_ledger((&second, &moment()), Some((&first, &moment())), false, &[]);
        assert!(two.is_closed() && (two.seen, two.dropped, two.read, two.waiting) == (155, 20, 135, 0), "{two:?}");
        let wrong = capture_ledger((&standing(100, 0, 101), &moment()), None, true, &[]);
        assert!(!wrong.is_closed(), "more was read than was seen");
    }

    #[test]
    fn interfaces_add_their_losses_and_handles_that_share_one_do_not() {
        let lost = |names: &[&str], losses: &[InterfaceLoss]| {
            let of = |loss: &InterfaceLoss| KernelCounts { interface_dropped: *loss, ..KernelCounts::default() };
            let moment = Moment { kernel: losses.iter().map(of).collect(), ..moment() };
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            // Before the first packet a standing holds no counts.
            capture_ledger((&standing(0, 0, 0), &moment), None, false, &names).interface_dropped
        };
        assert_eq!(lost(&["eth0"], &[Exactly(3), Exactly(3)]), Exactly(3), "two handles");
        assert_eq!(lost(&["eth0", "eth1"], &[Exactly(7), Exactly(5)]), Exactly(12));
        assert_eq!(lost(&["eth0", "eth1"], &[Exactly(7), Exactly(7), Exactly(5), Exactly(5)]), Exactly(12));
        assert_eq!(lost(&["eth0", "lo"], &[Exactly(7), Unknown]), AtLeast(7));
        assert_eq!(lost(&["eth0", "any"], &[Exactly(7), Exactly(12)]), Exactly(12), "it is among all");
    }
}
