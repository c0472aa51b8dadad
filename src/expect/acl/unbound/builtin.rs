//! The zones that Unbound answers by itself unless told otherwise (RFC 6303, RFC 6761, RFC 7686, RFC 8375).

use crate::expect::acl::name::parse_name;

/// SOA, NS, A, AAAA and PTR.
const AUTHORITY: [u16; 2] = [6, 2];

/// A built-in zone: its name and its data by owner.
pub struct BuiltInZone {
    /// The name in wire form.
    pub origin: Vec<u8>,
    /// Owners and types.
    pub data: Vec<(Vec<u8>, u16)>,
    /// `unblock-lan-zones: yes` takes it away.
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
    let loopback6 = format!("1.{}ip6.arpa", "0.".repeat(31));
    add("localhost", &[("localhost", 1), ("localhost", 28)], false);
    add("127.in-addr.arpa", &[("1.0.0.127.in-addr.arpa", 12)], false);
    add(&loopback6, &[(&loopback6, 12)], false);
    for name in ["home.arpa", "onion", "test", "invalid"] {
        add(name, &[], false);
    }
    for name in [
        "10.in-addr.arpa",
        "168.192.in-addr.arpa",
        "0.in-addr.arpa",
        "254.169.in-addr.arpa",
        "2.0.192.in-addr.arpa",
        "100.51.198.in-addr.arpa",
        "113.0.203.in-addr.arpa",
        "255.255.255.255.in-addr.arpa",
        "d.f.ip6.arpa",
        "8.e.f.ip6.arpa",
        "9.e.f.ip6.arpa",
        "a.e.f.ip6.arpa",
        "b.e.f.ip6.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
    ] {
        add(name, &[], true);
    }
    for second in 16..=31 {
        add(&format!("{second}.172.in-addr.arpa"), &[], true);
    }
    for second in 64..=127 {
        add(&format!("{second}.100.in-addr.arpa"), &[], true);
    }
    add(&format!("{}ip6.arpa", "0.".repeat(32)), &[], true);
    all
}
