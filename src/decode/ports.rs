//! Ports with a meaning ([`Ports`]): those of DNS, and those that may carry a tunnel. Both ports of every packet are
//! looked up, and most have no meaning.

use super::wrapping;
use crate::config::DNS_PORT;

/// Number of sets of ports, by the lowest bits of their numbers.
const SETS: usize = 1024;

/// The ports that carry DNS, and which others may have a meaning.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The first DNS port: almost all DNS is on a single one.
    dns: u16,
    other_dns: Vec<u16>,
    /// Meanings of the ports in each set.
    meanings: [u8; SETS],
}

/// Meanings that one of two ports may have; neither has any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning(u8);

const WRAPPING: u8 = 1;
const PLAIN: u8 = 2;

impl Meaning {
    /// One of them may carry a tunnel.
    #[inline]
    pub fn may_wrap(self) -> bool {
        self.0 & WRAPPING != 0
    }

    /// One of them may carry DNS.
    #[inline]
    pub fn may_be_dns(self) -> bool {
        self.0 & PLAIN != 0
    }
}

impl Ports {
    /// DNS on these ports, or on its standard port when there are none.
    pub fn new(dns: Vec<u16>) -> Self {
        let mut meanings = [0; SETS];
        let wrappings = wrapping::PORTS.iter().map(|row| (row.number, WRAPPING));
        let dns = if dns.is_empty() { vec![DNS_PORT] } else { dns };
        let plain = dns.iter().map(|port| (*port, PLAIN));
        for (port, meaning) in wrappings.chain(plain) {
            meanings[usize::from(port) % SETS] |= meaning;
        }
        Self { dns: dns[0], other_dns: dns[1..].to_vec(), meanings }
    }

    /// True when the port carries DNS.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        self.any([port; 2])
    }

    /// True when one of the ports carries DNS.
    #[allow(clippy::inline_always)] // once for every packet
    #[inline(always)]
    pub fn any(&self, [one, other]: [u16; 2]) -> bool {
        // Which of the two it is cannot be predicted; that it is one of them can. A product is zero when a factor is.
        let differences = [one, other].map(|port| u32::from(port ^ self.dns));
        differences[0] * differences[1] == 0 || self.other_dns.iter().any(|port| *port == one || *port == other)
    }

    /// Meanings that one of two ports may have; ports of one set are not told apart.
    #[inline]
    pub fn meaning(&self, ports: [u16; 2]) -> Meaning {
        let [one, other] = ports.map(|port| self.meanings[usize::from(port) % SETS]);
        Meaning(one | other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_that_means_something_is_missed() {
        let ports = Ports::new(vec![53, 5353]);
        for port in 0..=u16::MAX {
            let wraps = wrapping::find(wrapping::PORTS, port).is_some();
            let dns = ports.contains(port);
            assert_eq!(dns, port == 53 || port == 5353);
            for pair in [[port, 40_000], [40_000, port]] {
                let meaning = ports.meaning(pair);
                assert_eq!(ports.any(pair), dns, "{port}");
                assert!(meaning.may_wrap() || !wraps, "{port}");
                assert!(meaning.may_be_dns() || !dns, "{port}");
            }
        }
        let web = ports.meaning([40_000, 80]);
        assert!(!web.may_wrap() && !web.may_be_dns());
    }
}
