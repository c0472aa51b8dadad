//! Finds the number of the most specific prefix that contains an address ([`Ranges`]).
//!
//! Prefixes either nest or do not overlap, so they flatten to disjoint ranges; an address is then found by one binary
//! search, however many prefixes there are. In long tables the first bits of an address narrow that search.

use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Number of the addresses outside every prefix.
const OUTSIDE: u32 = u32::MAX;

/// Prefixes of both address families, flattened to ranges.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    v4: Table<u32>,
    v6: Table<u128>,
}

impl Ranges {
    /// Flattens prefixes; of identical ones the first counts.
    pub fn new(entries: &[(IpNet, u32)]) -> Self {
        let family = |v4: bool| -> Vec<Entry> {
            entries
                .iter()
                .filter(|(prefix, _)| prefix.addr().is_ipv4() == v4)
                .map(|(prefix, number)| {
                    let (first, last) = bounds(*prefix);
                    Entry { first, last, number: *number }
                })
                .collect()
        };
        let v4 = flatten(family(true), u128::from(u32::MAX));
        let v6 = flatten(family(false), u128::MAX);
        Self { v4: Table::new(v4.iter().map(|(start, number)| (*start as u32, *number)).collect()), v6: Table::new(v6) }
    }

    /// For each address, the position of the first of `all` that holds it: where it has a number and `holds` says so of
    /// position and number.
    pub fn first_of(all: &[&Ranges], holds: impl Fn(usize, u32) -> bool) -> Self {
        Self {
            v4: Table::first_of(all.iter().map(|ranges| &ranges.v4), &holds),
            v6: Table::first_of(all.iter().map(|ranges| &ranges.v6), &holds),
        }
    }

    /// The number of the most specific prefix that contains `address`.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        let number = match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        };
        (number != OUTSIDE).then_some(number)
    }

    /// The numbers that apply to some address of `prefix` (`None` where no prefix does), with repetitions.
    pub fn within(&self, prefix: IpNet) -> Vec<Option<u32>> {
        let (first, last) = bounds(prefix);
        let numbers = match prefix {
            IpNet::V4(_) => self.v4.within(first as u32, last as u32),
            IpNet::V6(_) => self.v6.within(first, last),
        };
        if numbers.is_empty() {
            return vec![None];
        }
        numbers.into_iter().map(|number| (number != OUTSIDE).then_some(number)).collect()
    }
}

/// First and last address of a prefix as numbers.
pub fn bounds(prefix: IpNet) -> (u128, u128) {
    match prefix {
        IpNet::V4(prefix) => (u128::from(prefix.network().to_bits()), u128::from(prefix.broadcast().to_bits())),
        IpNet::V6(prefix) => (prefix.network().to_bits(), prefix.broadcast().to_bits()),
    }
}

/// Starts of ranges, each with the number that applies up to the next start.
#[derive(Debug, Clone)]
struct Table<T> {
    /// Starts with their numbers side by side, so that a hit touches no other memory.
    starts: Vec<(T, u32)>,
    /// For each value of the first bits of an address, how many starts are below it; empty for a short table.
    below: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), below: Vec::new() }
    }
}

/// Bits of an address that index a long table: 16 KiB of counts, which fit into the level-1 cache.
const FIRST_BITS: u32 = 12;
/// Number of starts from which a table is long.
const LONG: usize = 512;

/// An address as a number.
trait Address: Copy + Ord {
    /// Its first [`FIRST_BITS`] bits.
    fn first_bits(self) -> usize;
}

impl Address for u32 {
    fn first_bits(self) -> usize {
        (self >> (u32::BITS - FIRST_BITS)) as usize
    }
}

impl Address for u128 {
    fn first_bits(self) -> usize {
        (self >> (u128::BITS - FIRST_BITS)) as usize
    }
}

impl<T: Address> Table<T> {
    fn new(starts: Vec<(T, u32)>) -> Self {
        let mut below = Vec::new();
        if starts.len() >= LONG {
            below.reserve_exact((1 << FIRST_BITS) + 1);
            below.extend(
                (0..=1 << FIRST_BITS).map(|bits| starts.partition_point(|(start, _)| start.first_bits() < bits) as u32),
            );
        }
        Self { starts, below }
    }

    /// See [`Ranges::first_of`].
    fn first_of<'a>(all: impl Iterator<Item = &'a Self>, holds: &impl Fn(usize, u32) -> bool) -> Self
    where
        T: 'a,
    {
        // Where which of them begins to hold, or holds no longer.
        let mut turns: Vec<(T, u32)> = Vec::new();
        for (position, table) in all.enumerate() {
            let mut held = false;
            for (start, number) in &table.starts {
                if held != (*number != OUTSIDE && holds(position, *number)) {
                    held = !held;
                    turns.push((*start, position as u32));
                }
            }
        }
        turns.sort_unstable();
        let (mut holding, mut starts) = (BTreeSet::new(), Vec::new());
        for turns in turns.chunk_by(|one, other| one.0 == other.0) {
            for (_, position) in turns {
                if !holding.remove(position) {
                    holding.insert(*position);
                }
            }
            begin(&mut starts, turns[0].0, holding.first().copied().unwrap_or(OUTSIDE));
        }
        Self::new(starts)
    }

    /// The number that applies at `at`.
    #[inline]
    fn find(&self, at: T) -> u32 {
        let bits = at.first_bits();
        let (from, to) = match (self.below.get(bits), self.below.get(bits + 1)) {
            (Some(from), Some(to)) => (*from as usize, *to as usize),
            _ => (0, self.starts.len()),
        };
        let after = from + self.starts[from..to].partition_point(|(start, _)| *start <= at);
        if after == 0 { OUTSIDE } else { self.starts[after - 1].1 }
    }

    /// The numbers that apply between `first` and `last`, inclusive; empty when there are no ranges at all.
    fn within(&self, first: T, last: T) -> Vec<u32> {
        let from = self.starts.partition_point(|(start, _)| *start <= first).saturating_sub(1);
        let to = self.starts.partition_point(|(start, _)| *start <= last);
        self.starts[from..to].iter().map(|(_, number)| *number).collect()
    }
}

/// A prefix as its first and last address.
struct Entry {
    first: u128,
    last: u128,
    number: u32,
}

/// Turns prefixes into starts of ranges, beginning at 0; `maximum` is the last address of the family.
fn flatten(mut entries: Vec<Entry>, maximum: u128) -> Vec<(u128, u32)> {
    // Outer prefixes sort before the inner ones they contain. The sort is stable, so that of identical prefixes the
    // first stays in front and is kept.
    entries.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
    entries.dedup_by(|later, earlier| (later.first, later.last) == (earlier.first, earlier.last));
    let mut starts = vec![(0, OUTSIDE)];
    let mut around: Vec<&Entry> = Vec::new();
    for entry in &entries {
        close(&mut starts, &mut around, entry.first, maximum);
        begin(&mut starts, entry.first, entry.number);
        around.push(entry);
    }
    while !around.is_empty() {
        let end = around.last().map_or(0, |entry| entry.last);
        if end == maximum {
            break;
        }
        close(&mut starts, &mut around, end + 1, maximum);
    }
    starts
}

/// Ends every prefix that ends before `at`; the one around it applies again.
fn close(starts: &mut Vec<(u128, u32)>, around: &mut Vec<&Entry>, at: u128, maximum: u128) {
    while let Some(entry) = around.last().filter(|entry| entry.last < at) {
        let end = entry.last;
        around.pop();
        if end < maximum {
            begin(starts, end + 1, around.last().map_or(OUTSIDE, |outer| outer.number));
        }
    }
}

/// Makes `number` apply from `at` on.
fn begin<T: Copy + Eq>(starts: &mut Vec<(T, u32)>, at: T, number: u32) {
    match starts.last_mut() {
        Some(last) if last.0 == at => last.1 = number,
        _ => starts.push((at, number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The most specific prefix by looking at each of them; of identical ones the first.
    fn scan(entries: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
        let mut best: Option<(u8, u32)> = None;
        for (prefix, number) in entries.iter().filter(|(prefix, _)| prefix.contains(&address)) {
            if best.is_none_or(|(length, _)| prefix.prefix_len() > length) {
                best = Some((prefix.prefix_len(), *number));
            }
        }
        best.map(|(_, number)| number)
    }

    /// Prefixes crowded into few addresses, so that they nest, touch and repeat.
    fn prefixes() -> impl Strategy<Value = Vec<(IpNet, u32)>> {
        let v4 = (0u32..64, prop_oneof![Just(0u8), 24..=32u8], any::<bool>()).prop_map(|(low, length, high)| {
            let bits = if high { !low } else { 0x0a00_0000 | low };
            IpNet::new(IpAddr::from(bits.to_be_bytes()), length).unwrap().trunc()
        });
        let v6 = (0u128..64, prop_oneof![Just(0u8), 118..=128u8], any::<bool>()).prop_map(|(low, length, high)| {
            let bits = if high { !low } else { (0x2001_0db8 << 96) | low };
            IpNet::new(IpAddr::from(bits.to_be_bytes()), length).unwrap().trunc()
        });
        proptest::collection::vec(prop_oneof![v4, v6], 0..24)
            .prop_map(|all| all.into_iter().enumerate().map(|(at, prefix)| (prefix, at as u32)).collect())
    }

    /// Addresses in and around [`prefixes`].
    fn addresses() -> Vec<IpAddr> {
        let v4 = (0u32..300).flat_map(|low| [low, 0x0a00_0000 | low, (0x0a00_0000 - 1) - low, !low]);
        let base = 0x2001_0db8u128 << 96;
        let v6 = (0u128..1100).step_by(3).flat_map(|low| [low, base | low, (base - 1) - low, !low]);
        v4.map(|bits| IpAddr::from(bits.to_be_bytes())).chain(v6.map(|bits| IpAddr::from(bits.to_be_bytes()))).collect()
    }

    proptest! {
        #[test]
        fn ranges_decide_as_a_linear_scan_does(entries in prefixes()) {
            let ranges = Ranges::new(&entries);
            for address in addresses() {
                prop_assert_eq!(ranges.find(address), scan(&entries, address), "{}", address);
            }
        }

        #[test]
        fn the_first_that_holds_an_address_is_found(all in proptest::collection::vec(prefixes(), 0..6), odd in any::<bool>()) {
            let holds = |position: usize, number: u32| (position + number as usize) % 3 != usize::from(odd);
            let each: Vec<Ranges> = all.iter().map(|entries| Ranges::new(entries)).collect();
            let first = Ranges::first_of(&each.iter().collect::<Vec<_>>(), holds);
            for address in addresses() {
                let expected = all.iter().enumerate().position(|(position, entries)| {
                    scan(entries, address).is_some_and(|number| holds(position, number))
                });
                prop_assert_eq!(first.find(address), expected.map(|at| at as u32), "{}", address);
            }
        }

        #[test]
        fn a_prefix_holds_exactly_the_decisions_of_its_addresses(entries in prefixes(), low in 0u32..64, length in 24u8..=32) {
            let ranges = Ranges::new(&entries);
            let prefix = IpNet::new(IpAddr::from((0x0a00_0000u32 | low).to_be_bytes()), length).unwrap().trunc();
            let mut found = ranges.within(prefix);
            let (first, last) = bounds(prefix);
            let mut expected: Vec<_> =
                (first..=last).map(|bits| scan(&entries, IpAddr::from((bits as u32).to_be_bytes()))).collect();
            for list in [&mut found, &mut expected] {
                list.sort_unstable();
                list.dedup();
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn long_tables_are_found_in_as_short_ones() {
        let entries: Vec<(IpNet, u32)> = (0u32..2000)
            .map(|at| {
                let bits = at.wrapping_mul(2_654_435_761);
                let length = 8 + (at % 25) as u8;
                (IpNet::new(IpAddr::from(bits.to_be_bytes()), length).unwrap().trunc(), at)
            })
            .collect();
        let ranges = Ranges::new(&entries);
        assert!(!ranges.v4.below.is_empty() && ranges.v6.below.is_empty());
        for (prefix, _) in &entries {
            let (first, last) = bounds(*prefix);
            for at in [first, last, first.wrapping_sub(1), last + 1] {
                let address = IpAddr::from((at as u32).to_be_bytes());
                assert_eq!(ranges.find(address), scan(&entries, address), "{address}");
            }
        }
    }

    #[test]
    fn no_prefix_decides_nothing() {
        assert_eq!(Ranges::default().find("10.0.0.1".parse().unwrap()), None);
        assert_eq!(Ranges::default().within("10.0.0.0/8".parse().unwrap()), [None]);
        assert_eq!(Ranges::new(&[]).within("::/0".parse().unwrap()), [None]);
    }
}
