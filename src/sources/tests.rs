//! Rows are joined without loss and without regard to order, and budgets hold.

use super::*;
use crate::capture::Timestamp;
use crate::config::Outcome;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

fn silent(queries: u64) -> SourceRow {
    let mut row = SourceRow::default();
    row.queries = queries;
    row.add_outcome(Outcome::Unanswered, queries);
    row
}

fn heard() -> SourceRow {
    let mut row = SourceRow::default();
    row.queries = 1;
    row.add_outcome(Outcome::Refused, 1);
    row
}

#[test]
fn rows_of_many_keep_few_frames_in_whatever_order_they_come() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    let rows_of = |rounds: &[u32]| {
        let sources = Sources::new(4, 4, 20);
        for round in rounds {
            for address in 0..64u32 {
                let mut row = heard();
                let frame = u64::from(round * 64 + address);
                (frame..frame + 6).for_each(|frame| {
                    row.refusals_mut().note(Timestamp(1), FrameRef { input: 0, frame: frame * 7 % 500 }, 20);
                });
                sources.fold(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + address * 5)), server, row, false);
            }
        }
        sources.drain_sorted()
    };
    let forward = rows_of(&[0, 1, 2]);
    assert!(forward.len() <= 4);
    assert!(forward.iter().all(|(_, row)| row.refusals().frames.len() == FRAMES_JOINED));
    assert_eq!(forward.iter().map(|(_, row)| row.refusals().count).sum::<u64>(), 192);
    assert_eq!(forward, rows_of(&[2, 0, 1]));
}

#[test]
fn a_frame_that_brings_several_refusals_takes_one_place() {
    let row_of = |frames: &[u64]| {
        let mut row = heard();
        for frame in frames {
            row.refusals_mut().note(Timestamp(1), FrameRef { input: 0, frame: *frame }, 2);
        }
        row
    };
    for (before, more, expected) in
        [([5, 5], vec![7], [5, 7]), ([5, 6], vec![7], [5, 6]), ([6, 5], vec![7], [5, 6]), ([5, 7], vec![6, 6], [5, 6])]
    {
        let mut row = row_of(&before);
        row.add(&row_of(&more), 2);
        let frames: Vec<u64> = row.refusals().frames.iter().map(|frame| frame.frame).collect();
        assert_eq!(frames, expected, "{before:?} and {more:?}");
    }
}

#[test]
fn joining_does_not_depend_on_order_and_loses_nothing() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    let addresses: Vec<u32> = (0..1000u32).map(|n| 0x0b00_0000 + n * 7).collect();
    let rows_of = |order: &[u32]| {
        let sources = Sources::new(100, 16, 4);
        for address in order {
            sources.fold(IpAddr::V4(Ipv4Addr::from(*address)), server, silent(2), false);
        }
        sources.fold(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 45)), server, heard(), false);
        sources.drain_sorted()
    };
    let forward = rows_of(&addresses);
    let mut shuffled = addresses.clone();
    shuffled.reverse();
    shuffled.rotate_left(333);
    assert_eq!(forward, rows_of(&shuffled));
    assert_eq!(forward.iter().map(|(_, row)| row.queries).sum::<u64>(), 2001);
    // 7000 addresses from 11.0.0.0: /23 gives 14 prefixes, /24 would give 28.
    let lengths: Vec<u8> =
        forward.iter().filter(|(key, _)| !key.kept).map(|(key, _)| key.source.prefix_len()).collect();
    assert_eq!(lengths, vec![23; 14]);
    assert!(forward.iter().any(|(key, row)| key.kept && row.count(Outcome::Refused) == 1));
}

proptest! {
    #[test]
    fn the_length_that_fits_is_the_longest_that_does(
        sources in proptest::collection::btree_set((any::<bool>(), 0u32..4, 0u128..1 << 12, 0u32..116), 0..60),
        most in 0usize..40,
    ) {
        for v6 in [false, true] {
            let mut keys: Vec<SourceKey> = sources.iter().filter(|source| source.0 == v6).map(|(_, server, bits, shift)| {
                let source: IpAddr = if v6 {
                    Ipv6Addr::from_bits(bits << shift).into()
                } else {
                    Ipv4Addr::from_bits((bits << (shift % 20)) as u32).into()
                };
                SourceKey { source: source.into(), server: Ipv4Addr::from_bits(*server).into(), kept: true }
            }).collect();
            keys.sort_unstable();
            keys.dedup();
            let prefixes = |length: u8| {
                let joined = |key: &SourceKey| (key.server, IpNet::new(key.source.addr(), length).unwrap().trunc());
                keys.iter().map(joined).collect::<BTreeSet<_>>().len()
            };
            let whole = if v6 { 128 } else { 32 };
            let expected = (0..=whole).rev().find(|length| prefixes(*length) <= most).unwrap_or(0);
            let found = fitting_length(&mut keys.clone(), most).min(whole);
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn too_many_servers_take_no_source_its_row() {
    let (client, resolver) = (IpAddr::from([198, 51, 100, 3]), IpAddr::from([10, 0, 0, 53]));
    let sources = Sources::new(100, 16, 4);
    sources.fold(client, resolver, heard(), true);
    let servers = (0..1000u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n * 7)));
    servers.clone().for_each(|server| sources.fold(resolver, server, heard(), false));
    servers.for_each(|server| sources.fold(resolver, server, silent(1), false));
    sources.fold(client, resolver, heard(), true);
    let joined = sources.joined();
    assert!(joined.servers && joined.lengths.is_empty(), "{joined:?}");
    let rows = sources.drain_sorted();
    assert_eq!(rows.len(), 50 + 1);
    assert_eq!(rows.iter().map(|(_, row)| row.count(Outcome::Refused)).sum::<u64>(), 1002);
    assert_eq!(rows.iter().map(|(_, row)| row.queries).sum::<u64>(), 2002);
    let of = |source: IpAddr, server| {
        let row = rows.iter().find(|(key, _)| (key.source, key.server) == (source.into(), server));
        row.map(|(_, row)| row.count(Outcome::Refused))
    };
    assert_eq!(of(client, resolver), Some(2));
    assert_eq!(of(resolver, OTHER_SERVERS[0]), Some(951));
    // One that was declared has rows of its own, whenever it is met.
    let sources = Sources::new(100, 16, 4);
    sources.meet(resolver, true);
    (0..1000u32).for_each(|n| {
        sources.fold(client, IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)), heard(), false);
    });
    sources.fold(client, resolver, heard(), true);
    assert!(sources.drain_sorted().iter().any(|(key, _)| key.server == resolver));
}

#[test]
fn a_source_that_was_only_seen_has_a_row_and_no_messages() {
    let (server, source) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)));
    let sources = Sources::new(8, 8, 4);
    let mut without_message = Span::default();
    for time in [7, 3, 5] {
        without_message.note(Timestamp(time));
    }
    let seen = SourceRow::of_few(without_message, None, None);
    assert!(seen.is_without_message() && !seen.heard());
    assert_eq!((seen.first(), seen.last()), (Some(Timestamp(3)), Some(Timestamp(7))));
    sources.fold(source, server, seen, false);
    let mut asked = silent(1);
    asked.seen(Timestamp(4));
    sources.fold(source, server, asked, false);
    let (_, row) = sources.drain_sorted().remove(0);
    assert_eq!((row.is_without_message(), row.first(), row.last()), (false, Some(Timestamp(4)), Some(Timestamp(4))));
}

#[test]
fn joined_sources_are_counted_as_few_as_they_can_be() {
    let count = |all: &[&str]| count_sources(all.iter().map(|source| source.parse().unwrap()));
    assert_eq!(count(&[]), (0, false));
    assert_eq!(count(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.1/32"]), (2, false));
    assert_eq!(count(&["10.0.0.0/24", "10.0.0.0/32", "10.0.0.7/32", "10.0.1.0/24"]), (3, true));
    assert_eq!(count(&["10.0.0.0/8", "10.0.0.0/24", "2001:db8::/32"]), (2, true));
}

#[test]
fn a_source_that_is_answered_later_keeps_one_row() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    let source = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));
    let sources = Sources::new(8, 8, 4);
    for delta in [silent(3), heard(), silent(1)] {
        sources.fold(source, server, delta, false);
    }
    let rows = sources.drain_sorted();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].1.queries, rows[0].1.count(Outcome::Unanswered), rows[0].0.kept), (5, 4, true));
}

/// Sources that never got a response, by the length of their rows.
fn silent_lengths(sources: &Sources) -> BTreeSet<u8> {
    let rows = sources.copy_sorted().into_iter().filter(|(key, _)| !key.kept);
    rows.map(|(key, _)| key.source.prefix_len()).collect()
}

#[test]
fn rows_above_the_budget_are_joined_when_they_are_many_or_read() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    let sources = Sources::new(100, 16, 4);
    let held = |count: u32| {
        sources.fold(IpAddr::V4(Ipv4Addr::from(count << 24 | count)), server, silent(1), false);
        let mut rows = Vec::new();
        sources.each(|key, _| rows.push(key.is_whole()));
        rows
    };
    for count in 1..=20 {
        assert_eq!(held(count), vec![true; count as usize]);
    }
    // The first eight bits tell 21 sources apart, seven bits 11.
    assert_eq!(held(21), [false; 11]);
    let read = Sources::new(100, 16, 4);
    (1..=20).for_each(|count| read.fold(IpAddr::V4(Ipv4Addr::from(count << 24)), server, silent(1), false));
    assert_eq!((silent_lengths(&read), read.joined().lengths), (BTreeSet::from([7]), vec![(false, false, 7)]));
}

#[test]
fn rows_taken_in_are_joined_like_those_that_are_there() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    let (whole, part) = (Sources::new(100, 16, 4), Sources::new(100, 16, 4));
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number * 7));
    (0..1000).for_each(|number| part.fold(address(number), server, silent(1), false));
    whole.absorb(part.take_sorted());
    part.fold(address(0), server, silent(1), false);
    whole.absorb(part.take_sorted());
    assert_eq!(silent_lengths(&whole).len(), 1, "a whole address to joined rows");
    let other = Sources::new(100, 16, 4);
    other.fold(address(0), server, silent(1), false);
    other.absorb(whole.copy_sorted());
    assert_eq!(silent_lengths(&other), silent_lengths(&whole), "joined rows to a whole address");
}

#[test]
fn rows_taken_in_keep_to_the_budget_however_many_servers_there_are() {
    let (sources, part) = (Sources::new(100, 16, 4), Sources::new(100, 16, 4));
    for round in 0..50u32 {
        for number in 0..40u32 {
            let server = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + round * 1000 + number));
            part.fold(IpAddr::from([198, 51, 100, (number % 7) as u8]), server, heard(), false);
        }
        sources.absorb(part.take_sorted());
    }
    let queries: u64 = sources.copy_sorted().iter().map(|(_, row)| row.queries).sum();
    assert_eq!(queries, 2000);
    assert!(sources.copy_sorted().len() <= 100 && sources.joined().servers);
}

#[test]
fn whoever_folds_at_the_same_time_all_rows_have_one_length() {
    let server = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    for _ in 0..300 {
        let sources = Sources::new(1000, 16, 4);
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let sources = &sources;
                scope.spawn(move || {
                    for number in 0..16 {
                        let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + thread * 16 + number));
                        sources.fold(address, server, silent(1), false);
                    }
                });
            }
        });
        assert_eq!(silent_lengths(&sources).len(), 1);
        assert_eq!(sources.held[0][0].load(Ordering::Relaxed), sources.copy_sorted().len());
    }
}
