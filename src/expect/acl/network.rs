//! Prefixes as configurations write them, tables of them ([`Ranges`]), and what is known of a server's own addresses.

use crate::config::OwnServer;
use crate::expect::ranges::{Ranges, bounds};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flattens prefixes so that the one with the lowest number decides, however wide it is.
pub fn first_decides(entries: &[(IpNet, u32)]) -> Ranges {
    let mut sorted: Vec<(bool, u128, u128, u32, IpNet)> = entries
        .iter()
        .map(|(prefix, number)| {
            let (first, last) = bounds(*prefix);
            (prefix.addr().is_ipv6(), first, last, *number, *prefix)
        })
        .collect();
    sorted.sort_unstable_by_key(|(v6, first, last, number, _)| (*v6, *first, Reverse(*last), *number));
    // Prefixes nest: inside one with a lower number, the inner prefix never decides.
    let mut around: Vec<(bool, u128, u32)> = Vec::new();
    let mut effective = Vec::with_capacity(sorted.len());
    for (v6, first, last, number, prefix) in sorted {
        while around.last().is_some_and(|(outer_v6, outer_last, _)| *outer_v6 != v6 || *outer_last < first) {
            around.pop();
        }
        let number = around.last().map_or(number, |(_, _, outer)| number.min(*outer));
        effective.push((prefix, number));
        around.push((v6, last, number));
    }
    Ranges::new(&effective)
}

/// A server's addresses and connected networks, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses {
    addresses: Vec<IpAddr>,
    networks: Vec<IpNet>,
    /// The addresses are complete.
    addresses_known: bool,
    /// The networks are complete.
    networks_known: bool,
}

impl OwnAddresses {
    /// From the operator's declarations, the addresses in the configuration, and loopback, which every host has.
    pub fn of(servers: &[OwnServer], listens: &[IpAddr]) -> Self {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let declared = servers.iter().map(|server| server.address);
        let mut networks = vec![
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        ];
        for server in servers {
            let length = server.length.unwrap_or(if server.address.is_ipv6() { 128 } else { 32 });
            networks.extend(IpNet::new(server.address, length).ok().map(|net| net.trunc()));
        }
        Self {
            addresses: loopback.into_iter().chain(declared).chain(listens.iter().copied()).collect(),
            networks,
            addresses_known: !servers.is_empty(),
            networks_known: !servers.is_empty() && servers.iter().all(|server| server.length.is_some()),
        }
    }

    /// Whether an address is the server's own; `None` when that is not known.
    pub fn is_own(&self, address: IpAddr) -> Option<bool> {
        if self.addresses.contains(&address) { Some(true) } else { self.addresses_known.then_some(false) }
    }

    /// Whether an address is on a connected network; `None` when that is not known.
    pub fn is_near(&self, address: IpAddr) -> Option<bool> {
        if self.networks.iter().any(|network| network.contains(&address)) {
            Some(true)
        } else {
            self.networks_known.then_some(false)
        }
    }

    /// Prefixes at whose edges one of these answers changes.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.addresses.iter().map(|address| IpNet::from(*address)).chain(self.networks.iter().copied()).collect()
    }
}

/// True for a prefix with addresses of the public internet (RFC 6890 and its registries).
pub fn is_public(prefix: IpNet) -> bool {
    const SPECIAL: [&str; 22] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/8",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ];
    !SPECIAL.iter().filter_map(|text| text.parse::<IpNet>().ok()).any(|special| special.contains(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_number_decides_as_a_linear_scan_says(
            list in proptest::collection::vec((0u32..64, prop_oneof![Just(0u8), 24..=32u8]), 0..24)
        ) {
            let entries: Vec<(IpNet, u32)> = list
                .iter()
                .enumerate()
                .map(|(at, (low, length))| {
                    let address = Ipv4Addr::from(0x0a00_0000 | low);
                    (IpNet::new(IpAddr::V4(address), *length).unwrap().trunc(), at as u32)
                })
                .collect();
            let ranges = first_decides(&entries);
            for low in 0..300u32 {
                let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | low));
                let scan = entries.iter().filter(|(prefix, _)| prefix.contains(&address)).map(|(_, number)| *number).min();
                prop_assert_eq!(ranges.find(address), scan, "{}", address);
            }
        }
    }

    #[test]
    fn own_addresses_are_known_only_when_told() {
        let of = |text: &[(&str, Option<u8>)]| -> OwnAddresses {
            let servers: Vec<OwnServer> = text
                .iter()
                .map(|(address, length)| OwnServer { address: address.parse().unwrap(), length: *length })
                .collect();
            OwnAddresses::of(&servers, &["10.9.9.9".parse().unwrap()])
        };
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let nothing = of(&[]);
        assert_eq!((nothing.is_own(ip("127.0.0.1")), nothing.is_own(ip("10.0.0.1"))), (Some(true), None));
        assert_eq!((nothing.is_near(ip("127.9.9.9")), nothing.is_near(ip("10.0.0.1"))), (Some(true), None));
        assert_eq!(nothing.is_own(ip("10.9.9.9")), Some(true), "it listens there");
        let whole = of(&[("10.53.0.1", Some(24))]);
        assert_eq!((whole.is_own(ip("10.53.0.1")), whole.is_own(ip("10.53.0.2"))), (Some(true), Some(false)));
        assert_eq!((whole.is_near(ip("10.53.0.2")), whole.is_near(ip("10.54.0.2"))), (Some(true), Some(false)));
        let part = of(&[("10.53.0.1", None)]);
        assert_eq!((part.is_own(ip("10.53.0.2")), part.is_near(ip("10.53.0.2"))), (Some(false), None));
    }

    #[test]
    fn public_addresses_are_told_from_special_ones() {
        for (prefix, public) in [
            ("10.21.0.0/16", false),
            ("192.0.2.45/32", false),
            ("8.8.8.8/32", true),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("2001:db8::1/128", false),
            ("2a00::/16", true),
            ("100.64.0.0/10", false),
            ("172.0.0.0/8", true),
        ] {
            assert_eq!(is_public(prefix.parse().unwrap()), public, "{prefix}");
        }
    }
}
