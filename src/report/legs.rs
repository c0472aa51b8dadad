//! Whose servers a capture is about ([`Legs`]): finds our servers from what was declared and from who answered whom,
//! and so the leg of each transaction.

use crate::config::{Config, OwnServer};
use crate::sources::{Leg, OTHER_SERVERS, Sources};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Which addresses are our servers, and so on which leg a transaction is.
#[derive(Debug, Clone, Default)]
pub struct Legs {
    ours: HashMap<IpAddr, Served, foldhash::fast::RandomState>,
}

/// Whom a server of ours answered. This decides whether its own queries are those of a server: anybody can make an
/// address look like a server by a response that nobody asked for, and a server may ask its own client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// Nobody: it only sent responses without a query, or ended connections.
    Nobody,
    /// Only this client.
    One(IpAddr),
    /// Several clients.
    Many,
    /// It need not have answered: it is an address of the capturing host.
    Host,
    /// It need not have answered: it was declared.
    Declared,
}

/// Whose servers a live capture is about, when none was declared. Decided once, by who answers whom first, and kept:
/// what was counted as a client's query is never taken back, so that rows already written agree with the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum About {
    /// Undecided: nobody answered anybody yet.
    #[default]
    Undecided,
    /// This host's: it answered another host. Also used when servers were declared.
    Host,
    /// Those of other hosts, as on a mirror port or a router: one other host answered another.
    Others,
}

impl Served {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, other) => other,
            (Self::Declared, _) | (_, Self::Declared) => Self::Declared,
            (Self::Host, _) | (_, Self::Host) => Self::Host,
            (one, other) if one == other || other == Self::Nobody => one,
            _ => Self::Many,
        }
    }
}

impl Legs {
    /// The declared servers and those that a configuration speaks for. Without any, every address that answered (or
    /// ended a TCP connection); where nobody did, every address that was asked.
    pub fn of(config: &Config, configured: &[OwnServer], sources: &Sources) -> Self {
        let declared = config.servers.iter().chain(configured).map(|server| server.address);
        let legs = Self::declared(declared);
        if legs.ours.is_empty() { Self::answering(&[sources], |_| false) } else { legs }
    }

    fn declared(servers: impl Iterator<Item = IpAddr>) -> Self {
        Self { ours: servers.map(|server| (server, Served::Declared)).collect() }
    }

    /// Every server that sent something to a source in these rows; where none did, every one that was asked. Rows with
    /// an end that is kept `apart` say nothing about the other end.
    fn answering(rows: &[&Sources], apart: impl Fn(IpAddr) -> bool) -> Self {
        let (mut legs, mut asked) = (Self::default(), Self::default());
        for sources in rows {
            sources.each(|key, row| {
                if apart(key.source.addr()) || apart(key.server) || OTHER_SERVERS.contains(&key.server) {
                    return;
                }
                let (legs, served) = match row {
                    row if row.has_answers() => (&mut legs, Served::One(key.source.addr())),
                    row if row.heard() => (&mut legs, Served::Nobody),
                    _ => (&mut asked, Served::Nobody),
                };
                legs.serves(key.server, served);
            });
        }
        if legs.ours.is_empty() { asked } else { legs }
    }

    fn serves(&mut self, server: IpAddr, served: Served) {
        self.ours.entry(server).and_modify(|before| *before = before.and(served)).or_insert(served);
    }

    /// In a live run before anybody answered: this host's addresses, and the declared servers.
    pub fn of_host(local: &HashSet<IpAddr>, declared: impl Iterator<Item = IpAddr>) -> Self {
        let mut legs = Self::declared(declared);
        for address in local {
            legs.serves(*address, Served::Host);
        }
        legs
    }

    /// In a live run, as far as the rows of this interval and of earlier ones tell. Queries of this host itself say
    /// nothing about whose servers the capture is about.
    pub fn live(
        local: &HashSet<IpAddr>,
        declared: impl Iterator<Item = IpAddr>,
        about: About,
        rows: [&Sources; 2],
    ) -> Self {
        let mut legs = Self::of_host(local, declared);
        if about != About::Host {
            legs.ours.extend(Self::answering(&rows, |address| local.contains(&address)).ours);
        }
        legs
    }

    /// Adds an address that this host was given during the run.
    pub fn add_host(&mut self, address: IpAddr) {
        self.serves(address, Served::Host);
    }

    /// Adds a server that was not declared before.
    pub fn declare(&mut self, server: IpAddr) {
        self.serves(server, Served::Declared);
    }

    /// Notes that a server answered a source; the number of servers remembered is bounded.
    pub fn answered(&mut self, source: IpAddr, server: IpAddr, most: usize) {
        if self.ours.len() < most || self.is_ours(server) {
            self.serves(server, Served::One(source));
        }
    }

    /// True when the address is one of our servers.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.ours.contains_key(&address)
    }

    /// The leg from `source` to `server`.
    pub fn leg(&self, source: IpAddr, server: IpAddr) -> Leg {
        let asks_as_server = match self.ours.get(&source) {
            // A server that asks itself is its own client, as when somebody tests it on its host.
            Some(Served::Many | Served::Declared) => source != server,
            // Whoever asks a declared server is its client: translated clients arrive with their router's address.
            Some(Served::Host) => source != server && self.ours.get(&server) != Some(&Served::Declared),
            Some(Served::One(client)) => source != server && *client != server,
            Some(Served::Nobody) | None => false,
        };
        if asks_as_server {
            Leg::Upstream
        } else if self.ours.contains_key(&server) {
            Leg::Client
        } else {
            Leg::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outcome;
    use crate::sources::SourceRow;

    #[test]
    fn whose_servers_a_part_of_the_time_is_about_does_not_depend_on_that_part() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let (own, client, other) = (address("10.0.0.53"), address("10.0.0.1"), address("10.0.0.9"));
        let (local, quiet, past) = (HashSet::from([own]), Sources::new(8, 8, 1), Sources::new(8, 8, 1));
        let mut answered = SourceRow::default();
        answered.add_outcome(Outcome::Answered, 1);
        past.fold(client, other, answered.clone(), false);
        let live = |declared: &[IpAddr], about| Legs::live(&local, declared.iter().copied(), about, [&quiet, &past]);
        // A quiet part, or one with traffic of others only, does not make them this host's servers.
        let legs = live(&[], About::Host);
        assert_eq!((legs.leg(client, own), legs.leg(client, other)), (Leg::Client, Leg::Other));
        // A mirror port's servers stay servers when they are quiet.
        let legs = live(&[], About::Others);
        assert_eq!((legs.leg(client, own), legs.leg(client, other)), (Leg::Client, Leg::Client));
        assert_eq!(legs.leg(own, other), Leg::Upstream);
        // Whoever asks a declared server is its client, the host that captures as well.
        let legs = live(&[other], About::Host);
        assert_eq!((legs.leg(own, other), legs.leg(own, address("10.0.0.8"))), (Leg::Client, Leg::Upstream));
        // What this host asked makes nobody a server.
        let asked = Sources::new(8, 8, 1);
        asked.fold(own, other, answered, false);
        let legs = Legs::live(&local, [].into_iter(), About::Undecided, [&asked, &quiet]);
        assert_eq!((legs.leg(own, other), legs.leg(client, other)), (Leg::Upstream, Leg::Other));
    }
}
