//! Which inventory lines were seen in a capture ([`Presence`]), as opposed to merely listed.

use crate::expect::acl::compare::Range;
use crate::expect::{Expect, Inventory, inventory::Kind, ranges};
use crate::report::{SourceLine, servers_of};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::HashMap;

/// What a capture shows of an inventory line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A source is inside its own network but in none of its more specific lines, or is in its `outside`.
    Seen,
    /// Sources were joined, for want of room, to a prefix that overlaps it: it may or may not have been among them.
    Unknown,
    /// Neither of these.
    Absent,
}

/// The presence of every line, in the order of [`Inventory::rows`]; `None` for lines of which nothing can be expected:
/// `refuse`, a repeated prefix, and prefixes that more specific lines cover completely.
pub fn presence(sources: &[SourceLine], inventory: &Inventory) -> Vec<Option<Presence>> {
    let rows = inventory.rows();
    let (single, mut joined): (Vec<IpNet>, Vec<IpNet>) =
        sources.iter().map(|line| line.source).partition(|source| source.prefix_len() == source.max_prefix_len());
    // The same prefixes come again for each server.
    joined.sort_unstable();
    joined.dedup();
    let mut seen = vec![false; rows.len()];
    let mut unknown = vec![false; rows.len()];
    for source in &single {
        if let Some(home) = inventory.home(source.addr()) {
            seen[home] = true;
        }
    }
    // A line for servers counts as seen when they answered.
    for home in servers_of(sources).iter().filter_map(|server| inventory.home(*server)) {
        seen[home] |= rows[home].kind == Kind::Server;
    }
    for prefix in &joined {
        let homes = inventory.homes(*prefix);
        let whole = homes
            .first()
            .filter(|first| homes.iter().all(|home| home == *first) && rows[**first].prefix.contains(prefix));
        match whole {
            Some(home) => seen[*home] = true,
            None => homes.iter().for_each(|home| unknown[*home] = true),
        }
    }
    let wanted = rows.iter().any(|row| !row.outside.is_empty());
    let addresses = Addresses::of(if wanted { &single } else { &[] });
    let around = Around::of(&joined);
    // Lines of the same prefix are one line here, and seen together.
    let mut first_of: HashMap<IpNet, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let first = *first_of.entry(row.prefix).or_insert(index);
        for outside in &row.outside {
            seen[first] |= addresses.any_in(*outside);
            unknown[first] |= around.touches(*outside);
        }
    }
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let counts = row.expect == Expect::Allow
                && first_of.get(&row.prefix) == Some(&index)
                && inventory.homes(row.prefix).contains(&index);
            counts.then_some(match (seen[index], unknown[index]) {
                (true, _) => Presence::Seen,
                (false, true) => Presence::Unknown,
                (false, false) => Presence::Absent,
            })
        })
        .collect()
}

/// Sorted prefixes of which none contains another.
struct Around(Vec<Range>);

impl Around {
    fn of(prefixes: &[IpNet]) -> Self {
        let mut ranges: Vec<Range> = prefixes.iter().copied().map(Range::of).collect();
        ranges.sort_unstable_by_key(|range| (range.v6, range.first, Reverse(range.last)));
        // Of two prefixes, either one contains the other or they do not overlap.
        ranges.dedup_by(|next, before| before.holds(*next));
        Self(ranges)
    }

    /// True when one of them overlaps `prefix`.
    fn touches(&self, prefix: IpNet) -> bool {
        let range = Range::of(prefix);
        let near = self.0.partition_point(|other| (other.v6, other.last) < (range.v6, range.first));
        self.0.get(near).is_some_and(|other| other.touches(range))
    }
}

/// Addresses of both families, sorted.
struct Addresses {
    v4: Vec<u128>,
    v6: Vec<u128>,
}

impl Addresses {
    /// Sorts whole addresses.
    fn of(single: &[IpNet]) -> Self {
        let family = |v4: bool| -> Vec<u128> {
            let of_family = single.iter().filter(|source| source.addr().is_ipv4() == v4);
            let mut all: Vec<u128> = of_family.map(|source| ranges::bounds(*source).0).collect();
            all.sort_unstable();
            all
        };
        Self { v4: family(true), v6: family(false) }
    }

    /// True when one of them is inside `prefix`.
    fn any_in(&self, prefix: IpNet) -> bool {
        let (first, last) = ranges::bounds(prefix);
        let all = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        all.get(all.partition_point(|address| *address < first)).is_some_and(|address| *address <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::samples::{inventory, source};
    use super::*;

    /// The presence of each line of an inventory, by sources of one server.
    fn of(text: &str, sources: &[&str]) -> Vec<Option<Presence>> {
        let sources: Vec<SourceLine> = sources.iter().map(|address| source(address, "10.20.30.40")).collect();
        presence(&sources, &inventory(text))
    }

    use Presence::{Absent, Seen, Unknown};

    #[test]
    fn a_source_satisfies_only_its_most_specific_line() {
        let text = "10.20.0.0/16\n10.20.30.0/24\n10.21.0.0/16\n";
        assert_eq!(of(text, &["10.20.30.1"]), [Some(Absent), Some(Seen), Some(Absent)]);
        assert_eq!(of(text, &["10.20.31.1"]), [Some(Seen), Some(Absent), Some(Absent)]);
    }

    #[test]
    fn the_translated_address_satisfies_every_line_that_expects_it() {
        let text = "prefix,outside\n10.21.0.0/16,192.0.2.45\n10.22.0.0/16,192.0.2.44/31\n10.23.0.0/16,192.0.2.46\n";
        assert_eq!(of(text, &["192.0.2.45"]), [Some(Seen), Some(Seen), Some(Absent)]);
        let nested = "prefix,outside\n192.0.2.0/24,\n10.21.0.0/16,192.0.2.45\n";
        assert_eq!(of(nested, &["192.0.2.45"]), [Some(Seen), Some(Seen)], "it lies in the first line's network too");
    }

    #[test]
    fn lines_of_which_nothing_can_be_expected_are_left_out() {
        let text = "prefix,expect\n10.1.0.0/16,refuse\n10.2.0.0/16,\n10.2.0.0/16,\n10.3.0.0/25,\n10.3.0.128/25,\n10.3.0.0/24,\n";
        assert_eq!(of(text, &[]), [None, Some(Absent), None, Some(Absent), Some(Absent), None]);
    }

    #[test]
    fn a_server_line_is_satisfied_by_answering() {
        let text = "prefix,kind\n10.20.30.40,server\n10.20.30.41,server\n10.20.30.0/24,\n";
        assert_eq!(of(text, &["192.0.2.1"]), [Some(Seen), Some(Absent), Some(Absent)]);
    }

    #[test]
    fn joined_sources_leave_open_which_lines_they_touch() {
        let text = "10.20.0.0/16\n10.21.0.0/16\n10.21.7.0/24\n";
        assert_eq!(of(text, &["10.21.0.0/17"]), [Some(Absent), Some(Unknown), Some(Unknown)]);
        assert_eq!(of(text, &["10.21.8.0/24"]), [Some(Absent), Some(Seen), Some(Absent)]);
        assert_eq!(of(text, &["0.0.0.0/0"]), [Some(Unknown); 3]);
        let outside = "prefix,outside\n10.21.0.0/16,192.0.2.45\n";
        assert_eq!(of(outside, &["192.0.2.0/24"]), [Some(Unknown)]);
        let several = ["192.0.2.0/25", "192.0.2.0/24", "192.0.2.0/26", "192.0.3.0/24", "2001:db8::/32"];
        let outside = "prefix,outside\n10.21.0.0/16,192.0.2.200\n10.22.0.0/16,192.0.2.0/23\n10.23.0.0/16,192.0.1.255\n";
        assert_eq!(of(outside, &several), [Some(Unknown), Some(Unknown), Some(Absent)]);
    }
}
