//! Cuts the whole address space into [`Range`]s at the edges of prefixes.

use crate::expect::inventory::show_prefix;
use crate::expect::ranges::bounds;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one family from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The first address as a number.
    pub first: u128,
    /// The last address.
    pub last: u128,
}

impl Range {
    /// The range of a prefix.
    pub fn of(prefix: IpNet) -> Self {
        let (first, last) = bounds(prefix);
        Self { v6: prefix.addr().is_ipv6(), first, last }
    }

    /// The address of a number.
    fn address(self, number: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(Ipv6Addr::from_bits(number)) } else { IpAddr::V4(Ipv4Addr::from_bits(number as u32)) }
    }

    /// The first address.
    pub fn start(self) -> IpAddr {
        self.address(self.first)
    }

    /// The fewest prefixes that cover it exactly.
    pub fn prefixes(self) -> Vec<IpNet> {
        match (self.address(self.first), self.address(self.last)) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
            _ => Vec::new(),
        }
    }

    /// For people: a prefix, else `first-last`.
    pub fn show(self) -> String {
        match self.prefixes().as_slice() {
            [prefix] => show_prefix(*prefix),
            _ => format!("{}-{}", self.address(self.first), self.address(self.last)),
        }
    }

    /// True when it holds all of `other`.
    pub fn holds(self, other: Range) -> bool {
        self.v6 == other.v6 && self.first <= other.first && other.last <= self.last
    }

    /// True when it overlaps `other`.
    pub fn touches(self, other: Range) -> bool {
        self.v6 == other.v6 && self.first <= other.last && other.first <= self.last
    }
}

/// The whole of both families, in ranges that no prefix cuts.
pub fn ranges(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<Range> {
    let mut starts: [BTreeSet<u128>; 2] = [BTreeSet::from([0]), BTreeSet::from([0])];
    let most = [u128::from(u32::MAX), u128::MAX];
    for prefix in prefixes {
        let (first, last) = bounds(prefix);
        let family = usize::from(prefix.addr().is_ipv6());
        starts[family].insert(first);
        if last < most[family] {
            starts[family].insert(last + 1);
        }
    }
    let mut all = Vec::new();
    for (family, starts) in starts.iter().enumerate() {
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([most[family]]);
        all.extend(starts.iter().zip(ends).map(|(first, last)| Range { v6: family == 1, first: *first, last }));
    }
    all
}

/// Merges sorted ranges that overlap or are adjacent.
pub(super) fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let next_to = before.v6 == next.v6 && before.last.checked_add(1) == Some(next.first);
        let meet = before.touches(*next) || next_to;
        if meet {
            before.last = before.last.max(next.last);
        }
        meet
    });
    ranges
}
