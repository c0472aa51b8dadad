//! The empty zones that BIND adds itself when it offers recursion (RFC 6303, RFC 7535, RFC 7793, RFC 8375).

use crate::expect::acl::locally_served;
use crate::expect::acl::name::parse_name;

/// Their names in wire form.
pub fn origins() -> Vec<Vec<u8>> {
    let more = ["127.in-addr.arpa", "empty.as112.arpa", "home.arpa"].map(str::to_owned);
    let ipv6 = [0, 1].map(locally_served::ipv6_digit);
    locally_served::zones().iter().chain(&more).chain(&ipv6).filter_map(|name| parse_name(name)).collect()
}
