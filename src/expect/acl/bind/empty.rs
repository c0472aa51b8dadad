//! The empty zones that BIND serves by itself when it recurses (RFC 6303, RFC 7535, RFC 7793, RFC 8375).

use crate::expect::acl::name::parse_name;

/// Their names in wire form.
pub fn origins() -> Vec<Vec<u8>> {
    let mut names: Vec<String> = [
        "10.in-addr.arpa",
        "168.192.in-addr.arpa",
        "0.in-addr.arpa",
        "127.in-addr.arpa",
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
        "empty.as112.arpa",
        "home.arpa",
    ]
    .iter()
    .map(|name| (*name).to_owned())
    .collect();
    names.extend((16..=31).map(|second| format!("{second}.172.in-addr.arpa")));
    names.extend((64..=127).map(|second| format!("{second}.100.in-addr.arpa")));
    names.push(format!("{}ip6.arpa", "0.".repeat(32)));
    names.push(format!("1.{}ip6.arpa", "0.".repeat(31)));
    names.iter().filter_map(|name| parse_name(name)).collect()
}
