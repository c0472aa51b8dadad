//! Covers addresses by the narrowest prefixes, up to a largest width.

use super::compare::Range;
use ipnet::IpNet;
use std::net::IpAddr;

/// A prefix and the addresses for which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// The prefix.
    pub prefix: IpNet,
    /// The addresses inside, in order.
    pub members: Vec<IpAddr>,
}

/// Joins addresses until at most `most` prefixes are left or no two may be joined: the closest ones first, and only
/// where `may` admits the prefix around both. Address families are not joined.
pub fn join(addresses: &[IpAddr], most: usize, may: impl Fn(IpNet) -> bool) -> Vec<Cover> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut covers: Vec<Cover> =
        sorted.iter().map(|address| Cover { prefix: IpNet::from(*address), members: vec![*address] }).collect();
    for length in (1..128u8).rev() {
        if covers.len() <= most {
            break;
        }
        let mut left = covers.len();
        let mut joined: Vec<Cover> = Vec::with_capacity(left);
        for cover in covers {
            let around = joined.last().filter(|_| left > most).and_then(|before| around(before.prefix, cover.prefix));
            match (around.filter(|around| around.prefix_len() == length && may(*around)), joined.last_mut()) {
                (Some(prefix), Some(before)) => {
                    before.prefix = prefix;
                    before.members.extend(cover.members);
                    left -= 1;
                }
                _ => joined.push(cover),
            }
        }
        covers = joined;
    }
    covers
}

/// The narrowest prefix around both; `None` for different families, or when that is everything.
fn around(one: IpNet, other: IpNet) -> Option<IpNet> {
    let mut prefix = one;
    while !prefix.contains(&other) {
        prefix = prefix.supernet()?;
    }
    (prefix.prefix_len() > 0).then_some(prefix)
}

/// The number of addresses in a prefix, in words.
pub fn size(prefix: IpNet) -> String {
    let Range { first, last, .. } = Range::of(prefix);
    let bits = prefix.max_prefix_len() - prefix.prefix_len();
    if bits > 32 { format!("2^{bits}") } else { (last - first + 1).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(addresses: &[&str], most: usize, may: impl Fn(IpNet) -> bool) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let covers = join(&addresses, most, may);
        let inside = covers.iter().map(|cover| cover.members.len()).sum::<usize>();
        assert_eq!(inside, addresses.len(), "each address is in one prefix");
        assert!(covers.iter().all(|cover| cover.members.iter().all(|member| cover.prefix.contains(member))));
        covers.iter().map(|cover| cover.prefix.to_string()).collect()
    }

    #[test]
    fn the_closest_are_joined_first_and_no_more_than_needed() {
        let all = ["10.21.5.1", "10.21.5.2", "10.21.5.3", "10.21.9.1", "192.0.2.45", "2001:db8::1"];
        assert_eq!(joined(&all, 6, |_| true).len(), 6, "few stay as they are");
        assert_eq!(
            joined(&all, 5, |_| true),
            ["10.21.5.1/32", "10.21.5.2/31", "10.21.9.1/32", "192.0.2.45/32", "2001:db8::1/128"]
        );
        assert_eq!(joined(&all, 4, |_| true), ["10.21.5.0/30", "10.21.9.1/32", "192.0.2.45/32", "2001:db8::1/128"]);
        assert_eq!(joined(&all, 3, |_| true), ["10.21.0.0/20", "192.0.2.45/32", "2001:db8::1/128"]);
        assert_eq!(joined(&all, 1, |_| true).len(), 3, "never everything, never both families");
    }

    #[test]
    fn a_prefix_that_may_not_be_is_not_made() {
        let stranger: IpAddr = "10.21.5.0".parse().unwrap();
        let all = ["10.21.5.1", "10.21.5.2", "10.21.5.3", "10.21.5.9"];
        assert_eq!(
            joined(&all, 1, |prefix| !prefix.contains(&stranger)),
            ["10.21.5.1/32", "10.21.5.2/31", "10.21.5.9/32"]
        );
        assert_eq!(joined(&all, 1, |prefix| prefix.prefix_len() >= 29), ["10.21.5.0/30", "10.21.5.9/32"]);
        assert_eq!(
            (size("10.0.0.0/8".parse().unwrap()), size("::/64".parse().unwrap())),
            ("16777216".into(), "2^64".into())
        );
    }
}
