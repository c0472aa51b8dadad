//! Responses to what tells silence from loss ([`Answering`]): at the server, a query that got nothing while the server
//! answered somebody else was met with silence.

use crate::capture::{Direction, Timestamp};
use crate::config::Vantage;
use crate::decode::{Ends, Point};
use std::collections::HashMap;
use std::net::IpAddr;

/// Servers followed; for further ones silence is not claimed.
const MAX_SERVERS: usize = 16_384;

/// When servers last answered, and whether the capture was taken on their hosts.
#[derive(Debug)]
pub struct Answering {
    servers: HashMap<IpAddr, Server>,
    /// Where the capture was taken, as the operator says.
    vantage: Option<Vantage>,
}

/// A server's latest responses to two different sources: whether it answered *another* source since some time.
#[derive(Debug, Default, Clone, Copy)]
struct Server {
    latest: Option<(Timestamp, IpAddr)>,
    latest_to_another: Option<Timestamp>,
    /// A response of it was seen arriving: this is not its host.
    arrives: bool,
}

impl Answering {
    /// No server seen yet.
    pub fn new(vantage: Option<Vantage>) -> Self {
        Self { servers: HashMap::new(), vantage }
    }

    /// True when a response seen so can tell anything about silence: the capture is the server's, or nobody says whose it is
    /// and the direction is known.
    #[inline]
    pub fn tells(&self, point: Point) -> bool {
        match self.vantage {
            None => point.direction() != Direction::Unknown,
            Some(vantage) => vantage == Vantage::Server,
        }
    }

    /// Notes a response; `ends` leads from client to server.
    pub fn note(&mut self, ends: Ends, time: Timestamp, point: Point) {
        let address = ends.destination();
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&address) {
            return;
        }
        let server = self.servers.entry(address).or_default();
        if point.direction() == Direction::In && self.vantage.is_none() {
            server.arrives = true;
            return;
        }
        let source = ends.source();
        let time = match server.latest {
            Some((latest, to)) => {
                if to != source {
                    server.latest_to_another = server.latest_to_another.max(Some(latest));
                }
                time.max(latest)
            }
            None => time,
        };
        server.latest = Some((time, source));
    }

    /// True when the capture was taken at the server, and it answered another source at or after `since`.
    pub fn answered_another(&self, ends: Ends, since: Timestamp) -> bool {
        let Some(server) = self.servers.get(&ends.destination()) else { return false };
        let to_another = match server.latest {
            Some((time, to)) if to != ends.source() => Some(time),
            _ => server.latest_to_another,
        };
        !server.arrives && to_another.is_some_and(|time| time >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Interface;

    fn ends(client: u8) -> Ends {
        Ends::v4([10, 0, 0, client], [10, 0, 0, 53])
    }

    fn point(direction: Direction) -> Point {
        Point::new(Interface::Host(2), [0; 2], direction)
    }

    #[test]
    fn only_answers_to_others_count() {
        let mut answering = Answering::new(None);
        answering.note(ends(1), Timestamp(10), point(Direction::Out));
        answering.note(ends(1), Timestamp(20), point(Direction::Out));
        assert!(!answering.answered_another(ends(1), Timestamp(0)), "itself is not another");
        assert!(answering.answered_another(ends(2), Timestamp(15)));
        assert!(!answering.answered_another(ends(2), Timestamp(21)));
        answering.note(ends(2), Timestamp(30), point(Direction::Out));
        assert!(answering.answered_another(ends(2), Timestamp(20)), "the one before is remembered");
    }

    #[test]
    fn a_box_on_the_way_cannot_tell() {
        let mut answering = Answering::new(None);
        answering.note(ends(1), Timestamp(10), point(Direction::In));
        answering.note(ends(1), Timestamp(11), point(Direction::Out));
        assert!(!answering.answered_another(ends(2), Timestamp(0)), "the response arrived before it left");
        assert!(!answering.tells(point(Direction::Unknown)));
        let mut declared = Answering::new(Some(Vantage::Server));
        declared.note(ends(1), Timestamp(10), point(Direction::In));
        assert!(declared.answered_another(ends(2), Timestamp(0)), "the operator knows better");
        for vantage in [Vantage::Path, Vantage::Client] {
            assert!(!Answering::new(Some(vantage)).tells(point(Direction::Out)), "so the operator does here");
        }
    }
}
