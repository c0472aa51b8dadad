//! Groups servers for which a file says the same ([`ServerClasses`]), so that it is evaluated once for all of them.

use crate::expect::acl::compare::{Range, ranges};
use crate::expect::acl::{Acl, Entry};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses of servers a file treats alike.
#[derive(Debug)]
pub struct ServerClasses {
    /// Each address may be a case of its own.
    each: bool,
    /// Ranges that no line of the file divides.
    ranges: Vec<Range>,
}

impl ServerClasses {
    /// A file that names its servers speaks for few. Any other file may still treat single addresses specially.
    pub fn of(acl: &Acl) -> Self {
        let policy = acl.policy();
        let entries = policy.entries_once();
        let interfaces: Vec<Option<IpAddr>> =
            entries.iter().filter(|entry| entry.list == "interface-action").map(address).collect();
        // The addresses of a named interface are not in the file.
        let each = !acl.bound().is_empty() || interfaces.iter().any(Option::is_none);
        let own = [
            IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            IpNet::from(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
            IpNet::new_assert(IpAddr::from(Ipv4Addr::new(127, 0, 0, 0)), 8),
        ];
        let named = policy.listens().into_iter().chain(interfaces.into_iter().flatten()).map(IpNet::from);
        let edges = if each { Vec::new() } else { policy.prefixes().into_iter().chain(named).chain(own).collect() };
        Self { each, ranges: ranges(edges) }
    }

    /// The address that stands for all servers that are treated like this one.
    pub fn class(&self, server: IpAddr) -> IpAddr {
        let range = Range::of(IpNet::from(server));
        let near = self.ranges.partition_point(|other| (other.v6, other.last) < (range.v6, range.first));
        match self.ranges.get(near) {
            Some(around) if !self.each => around.start(),
            _ => server,
        }
    }
}

/// The address of an interface that is given as an address.
fn address(entry: &Entry) -> Option<IpAddr> {
    entry.matches.split('@').next().and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(argument: &str, text: &str, servers: &[&str]) -> Vec<String> {
        let acl = Acl::from_text(argument, text, &[]).unwrap();
        let classes = ServerClasses::of(&acl);
        servers.iter().map(|server| classes.class(server.parse().unwrap()).to_string()).collect()
    }

    #[test]
    fn only_servers_between_which_the_file_makes_no_difference_are_alike() {
        let servers = ["192.0.2.1", "198.51.100.1", "198.51.100.9", "2001:db8::1"];
        let found = classes("unbound:u.conf", "server:\n access-control: 10.0.0.0/8 refuse\n", &servers);
        assert!(found[..3].iter().all(|class| class == "128.0.0.0") && found[3].contains(':'), "{found:?}");
        let views = "view a { match-destinations { 198.51.100.0/29; }; allow-query { none; }; }; view b { };";
        let found = classes("bind:n.conf", views, &servers);
        assert!(found[1] != found[0] && found[1] != found[2] && found[0] != found[2], "{found:?}");
        // A file that names its servers, and one with interfaces of their own.
        let named = classes("unbound:u.conf@192.0.2.1,198.51.100.1", "server:\n", &servers[..2]);
        assert_eq!(named, servers[..2]);
        let interface =
            "server:\n interface: 0.0.0.0\n interface: 198.51.100.1\n interface-action: 198.51.100.1 deny\n";
        let found = classes("unbound:u.conf", interface, &servers);
        assert!(found[1] != found[0] && found[1] != found[2], "{found:?}");
    }
}
