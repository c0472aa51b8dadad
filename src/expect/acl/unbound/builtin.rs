//! The zones that Unbound answers itself by default (RFC 6303, RFC 6761, RFC 7686, RFC 8375).

use crate::expect::acl::locally_served;
use crate::expect::acl::name::parse_name;

/// SOA, NS, A, AAAA and PTR.
const AUTHORITY: [u16; 2] = [6, 2];

/// A built-in zone: its name and its data by owner.
pub struct BuiltInZone {
    /// The name in wire form.
    pub origin: Vec<u8>,
    /// Owners and types.
    pub data: Vec<(Vec<u8>, u16)>,
    /// `unblock-lan-zones: yes` removes it.
    pub lan: bool,
}

/// Every built-in zone.
pub fn zones() -> Vec<BuiltInZone> {
    let mut all = Vec::new();
    let mut add = |text: &str, more: &[(&str, u16)], lan: bool| {
        let Some(origin) = parse_name(text) else { return };
        let mut data: Vec<(Vec<u8>, u16)> = AUTHORITY.iter().map(|code| (origin.clone(), *code)).collect();
        data.extend(more.iter().filter_map(|(owner, code)| Some((parse_name(owner)?, *code))));
        all.push(BuiltInZone { origin, data, lan });
    };
    let loopback6 = locally_served::ipv6_digit(1);
    add("localhost", &[("localhost", 1), ("localhost", 28)], false);
    add("127.in-addr.arpa", &[("1.0.0.127.in-addr.arpa", 12)], false);
    add(&loopback6, &[(&loopback6, 12)], false);
    for name in ["home.arpa", "onion", "test", "invalid"] {
        add(name, &[], false);
    }
    for name in locally_served::zones().iter().chain([&locally_served::ipv6_digit(0)]) {
        add(name, &[], true);
    }
    all
}
