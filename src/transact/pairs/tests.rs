//! Pairs, and the rows that they are folded into.

use super::*;
use crate::decode::key::Key;
use crate::sources::{SourceKey, SourceRow};
use proptest::prelude::*;

/// The rows after some sources were answered late, while others became too many and were joined.
fn rows(key: &Key) -> Vec<(SourceKey, SourceRow)> {
    let sources = Sources::new(64, 8, 2);
    let mut pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
    let ends = |number: u32| Ends::v4((0x0b00_0000 + number * 5).to_be_bytes(), [192, 0, 2, 53]);
    let message = |pairs: &mut Pairs<'_>, number: u32, answered: bool| {
        let pair = pairs.number(ends(number).hash(key), || ends(number));
        if answered {
            pairs.note_time(pair, Timestamp(i64::from(number) + 7));
            pairs.count_answered(pair);
        } else {
            pairs.note_query(pair, Timestamp(i64::from(number)));
        }
    };
    (0..8).for_each(|number| message(&mut pairs, number, false));
    pairs.fold(std::iter::empty());
    (0..8).for_each(|number| message(&mut pairs, number, true));
    (8..60).for_each(|number| message(&mut pairs, number, false));
    pairs.fold(std::iter::empty());
    pairs.finish();
    sources.drain_sorted()
}

#[test]
fn which_rows_are_joined_does_not_depend_on_the_hash_key() {
    let first = rows(&Key::random());
    assert!(first.iter().any(|(key, _)| key.source.prefix_len() < 32));
    assert_eq!(first.iter().map(|(_, row)| row.queries).sum::<u64>(), 60);
    for _ in 0..8 {
        assert_eq!(rows(&Key::random()), first);
    }
}

#[test]
fn those_referred_to_keep_their_numbers_and_the_others_are_used_again() {
    let (key, sources) = (Key::random(), Sources::new(64, 64, 2));
    let mut pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
    pairs.too_many = 4;
    let meet = |pairs: &mut Pairs<'_>, number: u32| {
        let ends = Ends::v4((0x0b00_0000 + number).to_be_bytes(), [192, 0, 2, 53]);
        let pair = pairs.number(ends.hash(&key), || ends);
        pairs.note_query(pair, Timestamp(i64::from(number)));
        pair
    };
    assert_eq!([0, 1, 2, 3, 4, 5].map(|number| meet(&mut pairs, number)), [0, 1, 2, 3, 4, 5]);
    assert!(pairs.is_time_to_fold());
    pairs.fold([2, 5].into_iter());
    assert_eq!(pairs.table.len(), 2);
    assert_eq!([2, 5, 9, 0, 1, 3, 4].map(|number| meet(&mut pairs, number)), [2, 5, 0, 1, 3, 4, 6]);
    pairs.finish();
    let queries: Vec<u64> = sources.drain_sorted().iter().map(|(_, row)| row.queries).collect();
    assert_eq!(queries, [2, 2, 2, 2, 2, 2, 1]);
}

/// The rows after what was noted, folded in the end.
fn noted(budgets: (usize, usize), notes: &[(u32, bool, u8)], alone: bool) -> Vec<(SourceKey, SourceRow)> {
    let (key, sources) = (Key::random(), Sources::new(budgets.0, budgets.1, 2));
    let listed = |address| matches!(address, IpAddr::V4(address) if address.octets()[3] < 64);
    let judge = |address| Judged { listed: listed(address), answers_wanted: true };
    let mut pairs = Pairs::new(&sources, Box::new(judge));
    for (frame, (number, v6, what)) in (1..).zip(notes) {
        let ends = if *v6 {
            Ends::v6(u128::from(number * 5).to_be_bytes(), 53u128.to_be_bytes())
        } else {
            Ends::v4((0x0b00_0000 + number * 5).to_be_bytes(), [192, 0, 2, 53 + (number % 5) as u8])
        };
        let (number, time) = (pairs.number(ends.hash(&key), || ends), Timestamp(i64::from(*number)));
        match what {
            0 => pairs.note_query(number, time),
            1 if pairs.count_answered(number) => pairs.note_answer(number, FrameRef { input: 0, frame }, 2),
            1 => {}
            2 => pairs.count_outcome(number, Outcome::Refused),
            3 => pairs.count_outcome(number, Outcome::Silent),
            _ => pairs.count_tcp(number),
        }
    }
    if alone {
        pairs.finish_alone();
    } else {
        pairs.finish();
    }
    assert_eq!((pairs.table.len(), pairs.cold.len()), (0, 0));
    sources.drain_sorted()
}

proptest! {
    #[test]
    fn alone_makes_the_rows_that_folding_makes(
        budgets in (0usize..120, 0usize..120),
        notes in proptest::collection::vec((0u32..60, any::<bool>(), 0u8..5), 0..300),
    ) {
        let expected = noted(budgets, &notes, false);
        prop_assert!(noted(budgets, &notes, true) == expected);
    }
}
