//! The key of a source row ([`SourceKey`]), and how keys are counted and joined by prefix.

use ipnet::IpNet;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    /// The source, or the prefix it was joined to.
    pub source: IpNet,
    /// The server.
    pub server: IpAddr,
    /// The source received a response, or an inventory lists it.
    pub kept: bool,
}

impl SourceKey {
    /// True when the source is one address and not a prefix to which several were joined.
    pub fn is_whole(&self) -> bool {
        self.source.prefix_len() == self.source.max_prefix_len()
    }
}

impl Hash for SourceKey {
    /// Hashes three numbers; the derived implementation would hash every byte string and discriminant separately.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        state.write_u128(bits(self.source.addr()));
        state.write_u128(bits(self.server));
        state.write_u16(u16::from(self.source.prefix_len()) << 1 | u16::from(self.kept));
    }
}

/// The server (IPv4, IPv6) of rows about all servers that have no rows of their own, because there are too many.
pub const OTHER_SERVERS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// The number of distinct sources, and whether that is only a lower bound: a prefix to which sources were joined counts
/// as one, together with the addresses and prefixes inside it.
pub fn count_sources(sources: impl IntoIterator<Item = IpNet>) -> (u64, bool) {
    let mut sources: Vec<IpNet> = sources.into_iter().collect();
    sources.sort_unstable();
    sources.dedup();
    let joined = sources.iter().any(|source| source.prefix_len() < source.max_prefix_len());
    // Sorted, a prefix stands directly before what lies in it.
    let around = if joined { sources.windows(2).filter(|pair| pair[0].contains(&pair[1])).count() } else { 0 };
    ((sources.len() - around) as u64, joined)
}

/// The longest prefix length at which the sources fall into at most `most` prefixes, counted for each server; 0 where
/// none does. Sorts the keys so that those with the same prefix stand together.
pub(super) fn fitting_length(keys: &mut [SourceKey], most: usize) -> u8 {
    keys.sort_unstable_by_key(|key| (key.server, key.source.addr()));
    let bits = |key: &SourceKey| match key.source.addr() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    // `differing[n]`: pairs of neighbours of one server whose first different bit is the n-th, from 1. `count`:
    // servers.
    let (mut differing, mut count) = ([0; 129], usize::from(!keys.is_empty()));
    for pair in keys.windows(2) {
        if pair[0].server == pair[1].server {
            differing[((bits(&pair[0]) ^ bits(&pair[1])).leading_zeros() as usize + 1).min(128)] += 1;
        } else {
            count += 1;
        }
    }
    let fits = |bit: &u8| {
        count += differing[usize::from(*bit)];
        count <= most
    };
    (1..=128).take_while(fits).last().unwrap_or(0)
}
