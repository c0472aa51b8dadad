//! Names that resolvers answer themselves instead of asking the root servers (RFC 6303), as far as BIND and Unbound
//! agree.

/// Reverse zones of private and special-use networks, without loopback and the unspecified address.
pub fn zones() -> Vec<String> {
    let fixed = [
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
    ];
    let private = (16..=31).map(|second| format!("{second}.172.in-addr.arpa"));
    let shared = (64..=127).map(|second| format!("{second}.100.in-addr.arpa"));
    fixed.iter().map(|name| (*name).to_owned()).chain(private).chain(shared).collect()
}

/// The reverse name of the IPv6 address that ends in this digit, all others being 0: `::` and `::1`.
pub fn ipv6_digit(digit: u8) -> String {
    format!("{digit}.{}ip6.arpa", "0.".repeat(31))
}
