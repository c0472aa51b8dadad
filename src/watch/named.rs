//! What the sources of each inventory name did, from their rows ([`Names`]), and counters of it that never decrease
//! when an inventory is read again ([`NamesCounted`]).

use super::snapshot::NamedCounts;
use crate::capture::Timestamp;
use crate::config::OutcomeCounts;
use crate::expect::Inventory;
use crate::expect::inventory::show_prefix;
use crate::sources::SourceKey;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Most names of earlier inventories whose counts are remembered, in case they come back.
const MOST_GONE: usize = 100_000;

/// Counts transactions of clients by the name of their inventory line; lines with the same name and expectation are
/// one.
pub struct Names<'i> {
    inventory: &'i Inventory,
    counts: Vec<NamedCounts>,
    /// For each line of the inventory, its index in `counts`.
    place_of: Vec<usize>,
}

impl<'i> Names<'i> {
    /// Nothing counted yet.
    pub fn of(inventory: &'i Inventory) -> Self {
        let mut places: HashMap<(String, &str), usize> = HashMap::new();
        let mut counts = Vec::new();
        let place_of = inventory.rows().iter().map(|row| {
            let name = if row.name.is_empty() { show_prefix(row.prefix) } else { row.name.clone() };
            let expect = row.expect.name();
            *places.entry((name.clone(), expect)).or_insert_with(|| {
                counts.push(NamedCounts { name, expect, outcomes: OutcomeCounts::default(), last: None });
                counts.len() - 1
            })
        });
        let place_of = place_of.collect();
        Self { inventory, counts, place_of }
    }

    /// Adds what a client did.
    pub fn add(&mut self, key: &SourceKey, outcomes: OutcomeCounts, last: Option<Timestamp>) {
        if let Some(line) = self.inventory.decide_prefix(key.source).row() {
            let named = &mut self.counts[self.place_of[line.index]];
            named.outcomes.iter_mut().zip(outcomes).for_each(|(sum, count)| *sum += count);
            named.last = named.last.max(last);
        }
    }

    /// What each name did, in the order of the files.
    pub fn counts(self) -> Vec<NamedCounts> {
        self.counts
    }
}

/// Counts per name that outlive the inventory in use.
#[derive(Debug, Default)]
pub struct NamesCounted {
    inventory: Arc<Inventory>,
    /// Counts of the names when the inventory in use was read, and what the rows of that moment sum to under it.
    then: HashMap<(String, &'static str), [OutcomeCounts; 2]>,
}

impl NamesCounted {
    /// Switches to a new inventory. What was counted under the one before stays with its names; what comes from now on
    /// is counted under the new one. `rows` yields what every client has done.
    pub fn follow(&mut self, inventory: &Arc<Inventory>, mut rows: impl FnMut(&mut Names<'_>)) {
        if Arc::ptr_eq(&self.inventory, inventory) {
            return;
        }
        let mut sums = |inventory: &Inventory| {
            let mut names = Names::of(inventory);
            rows(&mut names);
            names.counts()
        };
        let before = std::mem::replace(&mut self.inventory, Arc::clone(inventory));
        if !before.is_empty() {
            let mut had = sums(&before);
            self.go_on(&mut had);
            let counts = |named: &NamedCounts| named.outcomes.iter().any(|count| *count > 0);
            for named in had.into_iter().filter(counts) {
                self.then.insert((named.name, named.expect), [named.outcomes, OutcomeCounts::default()]);
            }
            let now = sums(inventory);
            if self.then.len() > MOST_GONE {
                let known: HashSet<(&str, &str)> =
                    now.iter().map(|named| (named.name.as_str(), named.expect)).collect();
                self.then.retain(|(name, expect), _| known.contains(&(name.as_str(), *expect)));
            }
            for named in now {
                let key = (named.name, named.expect);
                if self.then.contains_key(&key) || named.outcomes.iter().any(|count| *count > 0) {
                    self.then.entry(key).or_default()[1] = named.outcomes;
                }
            }
        }
    }

    /// Turns sums of all rows under the inventory in use into the counts to show.
    pub fn go_on(&self, sums: &mut [NamedCounts]) {
        for named in sums {
            // The lookup needs an owned key; inventories are read again rarely.
            let Some([had, then]) = self.then.get(&(named.name.clone(), named.expect)) else { continue };
            for ((count, had), then) in named.outcomes.iter_mut().zip(had).zip(then) {
                *count = had + count.saturating_sub(*then);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_whatever_inventory_is_read() {
        let inventory = |text: &str| Arc::new(Inventory::from_text("expect.csv", text).unwrap());
        let (wide, narrow) =
            ("prefix,name\n192.0.2.0/24,guests\n", "prefix,name\n192.0.2.0/24,guests\n192.0.2.7,kiosk\n");
        let mut counted = NamesCounted::default();
        // Two sources, refused so often.
        let mut refused = [0, 0];
        let mut look = |counted: &mut NamesCounted, inventory: &Arc<Inventory>, more: [u64; 2]| {
            refused = [refused[0] + more[0], refused[1] + more[1]];
            let rows = |names: &mut Names<'_>| {
                for (source, count) in ["192.0.2.7/32", "192.0.2.8/32"].into_iter().zip(refused) {
                    let server = "10.0.0.53".parse().unwrap();
                    let key = SourceKey { source: source.parse().unwrap(), server, kept: true };
                    names.add(&key, [0, count, 0, 0, 0, 0, 0], None);
                }
            };
            counted.follow(inventory, rows);
            let mut names = Names::of(inventory);
            rows(&mut names);
            let mut counts = names.counts();
            counted.go_on(&mut counts);
            counts.iter().map(|named| named.outcomes[1]).collect::<Vec<_>>()
        };
        let (first, second) = (inventory(wide), inventory(narrow));
        assert_eq!(look(&mut counted, &first, [5, 2]), [7]);
        assert_eq!(look(&mut counted, &second, [0, 0]), [7, 0], "what was counted stays with its name");
        assert_eq!(look(&mut counted, &second, [3, 1]), [8, 3]);
        let third = inventory(wide);
        assert_eq!(look(&mut counted, &third, [0, 0]), [8], "and nothing is counted twice");
        assert_eq!(look(&mut counted, &third, [1, 1]), [10]);
        let fourth = inventory(narrow);
        assert_eq!(look(&mut counted, &fourth, [1, 0]), [11, 3], "a name that comes back goes on");
        assert_eq!(look(&mut counted, &fourth, [1, 0]), [11, 4]);
    }
}
