//! Notes when servers last answered and where the capture was taken ([`Answering`]), which is what tells silence from
//! loss.

use crate::capture::{Direction, Timestamp};
use crate::config::Vantage;
use crate::decode::{Address, Ends, Interface, Point};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Servers followed at most; silence is not claimed of any others.
const MAX_SERVERS: usize = 16_384;

/// When each server last answered, and whether the capture was taken on its host.
#[derive(Debug)]
pub struct Answering {
    servers: HashMap<Address, Server, foldhash::fast::RandomState>,
    away: HashSet<IpAddr>,
    asking: HashSet<(IpAddr, u32)>,
    /// Servers whose responses were routed and have no known direction; `None` unless [`Answering::note_routed`] was
    /// called.
    routed: Option<HashSet<IpAddr>>,
    /// How many more responses without a known direction are noted for their servers; `u32::MAX`, without end, once a
    /// response with a direction was seen.
    still_noted: u32,
    /// Inputs that had further such responses, of whatever server, one bit each.
    inputs_without_direction: u64,
    /// Where the capture was taken, as declared by the operator.
    vantage: Option<Vantage>,
    /// True when packets were left out of the capture, possibly responses.
    filtered: bool,
}

/// A server's latest responses to two different sources, which show whether it answered *another* source since a given
/// time; and the directions of its responses.
#[derive(Debug, Default, Clone, Copy)]
struct Server {
    latest: Option<(Timestamp, Address)>,
    latest_to_another: Option<Timestamp>,
    /// A response of it to another host was seen arriving, so the capture was not taken on its host.
    arrives: bool,
    /// A response was seen leaving that another host made: the server's address may be this host's only through a
    /// translation.
    passed_on: bool,
    /// Some of its responses had no known direction, so it is unknown where they were captured.
    without_direction: bool,
    /// Inputs (one bit each for the first [`INPUTS`]) in which its responses were seen leaving, in which they were seen
    /// arriving, and in which their direction was unknown.
    by_input: [u64; 3],
}

/// Responses without a known direction that are noted for their servers before the first one with a direction. A
/// bridging host may show its guests' responses first; but most captures have no directions at all, and looking up the
/// server of each response there would take long.
const MAX_WITHOUT_DIRECTION: u32 = 4096;

/// Inputs whose place of capture is followed; that of later inputs stays unknown.
pub const INPUTS: u32 = u64::BITS;

/// The bit of an input; 0 for inputs after the first [`INPUTS`].
fn bit(input: u32) -> u64 {
    1u64.checked_shl(input).unwrap_or(0)
}

impl Answering {
    /// No server was seen yet. `filtered`: packets were left out of the capture.
    pub fn new(vantage: Option<Vantage>, filtered: bool) -> Self {
        let still_noted = if vantage.is_none() { MAX_WITHOUT_DIRECTION } else { 0 };
        Self {
            servers: HashMap::default(),
            away: HashSet::new(),
            asking: HashSet::new(),
            routed: None,
            still_noted,
            inputs_without_direction: 0,
            vantage,
            filtered,
        }
    }

    /// True when a response seen at `point` says something about silence: the operator declared the capture to be the
    /// server's, or declared nothing and the direction is known.
    #[inline]
    pub fn tells(&self, point: Point) -> bool {
        match self.vantage {
            None => point.direction() != Direction::Unknown,
            Some(vantage) => vantage == Vantage::Server,
        }
    }

    /// True when any response may say something about silence.
    pub fn may_tell(&self) -> bool {
        !self.filtered && self.vantage.is_none_or(|vantage| vantage == Vantage::Server)
    }

    /// Notes that packets are left out from here on, possibly responses.
    pub fn leave_out(&mut self) {
        self.filtered = true;
    }

    /// Notes a response of known direction, or of any when the capture is declared the server's. `ends` leads from
    /// client to server.
    pub fn note(&mut self, ends: Ends, time: Timestamp, point: Point, input: u32) {
        self.still_noted = u32::MAX;
        let address = ends.receiver();
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&address) {
            return;
        }
        let server = self.servers.entry(address).or_default();
        let direction = match point.direction() {
            // What arrives on loopback was sent by the same host, and is usually not captured as it leaves.
            Direction::In if point.interface() == Interface::LOOPBACK => Direction::Out,
            direction => direction,
        };
        if ends.sender() == address && direction == Direction::In {
            // A response to the server's own query also arrives.
            return;
        }
        let passed_on = direction == Direction::Out && point.is_passed_on();
        let seen = match direction {
            Direction::Out if passed_on => Some(1),
            Direction::Out => Some(0),
            Direction::In => Some(1),
            Direction::Unknown => None,
        };
        if let Some(seen) = seen {
            server.by_input[seen] |= bit(input);
        }
        if (direction == Direction::In || passed_on) && self.vantage.is_none() {
            server.arrives = true;
            server.passed_on |= passed_on;
            return;
        }
        let source = ends.sender();
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

    /// Begins to collect what [`Answering::routed`] returns.
    pub fn note_routed(&mut self) {
        self.routed.get_or_insert_default();
    }

    /// Servers of responses without a known direction that were forwarded, by a router or by the host of the capture.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.routed.iter().flatten().copied()
    }

    /// Notes a response for which [`Answering::tells`] is false.
    #[inline]
    pub fn note_without_direction(&mut self, server: impl Fn() -> Address, point: Point, input: u32) {
        if let Some(routed) = &mut self.routed
            && point.is_routed()
            && routed.len() < MAX_SERVERS
        {
            routed.insert(server().into());
        }
        if self.still_noted == 0 {
            self.inputs_without_direction |= 1 << input.min(INPUTS - 1);
        } else {
            self.note_server_without_direction(server(), input);
        }
    }

    #[cold]
    fn note_server_without_direction(&mut self, address: Address, input: u32) {
        if self.still_noted <= MAX_WITHOUT_DIRECTION {
            self.still_noted -= 1;
        }
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&address) {
            return;
        }
        let server = self.servers.entry(address).or_default();
        server.without_direction = true;
        server.by_input[2] |= bit(input);
    }

    /// Notes a query that was seen leaving (at `asked`) and whose response was seen arriving: the server is another
    /// host, and this host asked, unless it only forwarded the query.
    #[cold]
    pub fn note_away(&mut self, ends: Ends, asked: Point, input: u32) {
        if self.away.len() < MAX_SERVERS {
            self.away.insert(ends.destination());
        }
        if !asked.is_passed_on() && self.asking.len() < MAX_SERVERS {
            self.asking.insert((ends.source(), input));
        }
    }

    /// Addresses from which the host of the capture queried other hosts, each with an input that shows it.
    pub fn asking(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.asking.iter().map(|(address, input)| (*address, *input as usize))
    }

    /// Servers that are hosts other than that of the capture.
    pub fn away(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.away.iter().copied()
    }

    /// Servers whose responses leave this host but were made by another, which may have seen other client addresses.
    pub fn passed_on(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.servers.iter().filter(|(_, server)| server.passed_on).map(|(address, _)| (*address).into())
    }

    /// Servers whose responses were all seen leaving: the capture was taken on their hosts. Empty when the operator
    /// declared the place of capture.
    pub fn here(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let all_leave =
            |server: &Server| !server.arrives && !server.without_direction && self.inputs_without_direction == 0;
        let is_here = move |server: &Server| server.latest.is_some() && all_leave(server) && self.vantage.is_none();
        self.servers.iter().filter(move |(_, server)| is_here(server)).map(|(address, _)| (*address).into())
    }

    /// Servers, each with an input in which all its responses were seen leaving: that input was captured on its host.
    pub fn here_in(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.servers.iter().flat_map(|(address, Server { by_input: [leaves, arrives, unknown], .. })| {
            let here = leaves & !arrives & !unknown & !self.inputs_without_direction;
            (0..INPUTS).filter(move |input| here >> input & 1 == 1).map(|input| ((*address).into(), input as usize))
        })
    }

    /// True when a query that was seen at `point` in an input had reached its server: it arrived there, or the server's
    /// responses leave from there. A query captured on its way to another host may have been lost beyond that place. In
    /// a capture of all interfaces, a query through a bridge of the server's host is seen first as another host's and
    /// then as arriving, which is what `arrived` says; one that was not may have been for another host with that
    /// address. Always true when the operator declared the place of capture.
    pub fn has_reached(&self, server: Address, point: Point, arrived: bool, input: u32) -> bool {
        let [leaves, arrives, _] = self.servers.get(&server).map(|server| server.by_input).unwrap_or_default();
        match point.direction() {
            _ if self.vantage.is_some() => true,
            Direction::In => arrives & bit(input) == 0,
            Direction::Out => leaves & !arrives & bit(input) != 0,
            Direction::Unknown => arrived && arrives & bit(input) == 0,
        }
    }

    /// True when the capture was taken at the server, nothing was left out, and the server answered another source at
    /// or after `since`.
    pub fn answered_another(&self, ends: Ends, since: Timestamp) -> bool {
        let Some(server) = self.servers.get(&ends.receiver()) else { return false };
        let to_another = match server.latest {
            Some((time, to)) if to != ends.sender() => Some(time),
            _ => server.latest_to_another,
        };
        !self.filtered && !server.arrives && to_another.is_some_and(|time| time >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: u8) -> Ends {
        Ends::v4([10, 0, 0, client], [10, 0, 0, 53])
    }

    fn point(direction: Direction) -> Point {
        Point::new(Interface::Host(2), [0; 2], direction)
    }

    /// Ends that lead to another server.
    fn other() -> Ends {
        Ends::v4([10, 0, 0, 1], [10, 0, 0, 54])
    }

    #[test]
    fn only_answers_to_others_count() {
        let mut answering = Answering::new(None, false);
        answering.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        answering.note(ends(1), Timestamp(20), point(Direction::Out), 0);
        assert!(!answering.answered_another(ends(1), Timestamp(0)), "itself is not another");
        assert!(answering.answered_another(ends(2), Timestamp(15)));
        assert!(!answering.answered_another(ends(2), Timestamp(21)));
        answering.note(ends(2), Timestamp(30), point(Direction::Out), 0);
        assert!(answering.answered_another(ends(2), Timestamp(20)), "the one before is remembered");
        answering.leave_out();
        assert!(!answering.answered_another(ends(2), Timestamp(20)) && !answering.may_tell(), "a filter may have it");
        assert_eq!(answering.here().count(), 1, "where it was captured is known all the same");
    }

    #[test]
    fn every_input_has_a_place_of_its_own() {
        let mut answering = Answering::new(None, false);
        let server = ends(1).destination();
        for (input, direction) in [(0, Direction::Out), (1, Direction::In), (63, Direction::Out), (64, Direction::Out)]
        {
            answering.note(ends(1), Timestamp(10), point(direction), input);
        }
        let here = |answering: &Answering| answering.here_in().collect::<Vec<_>>();
        assert_eq!(here(&answering), [(server, 0), (server, 63)], "of further inputs it is not known");
        answering.note(ends(2), Timestamp(20), point(Direction::In), 0);
        assert_eq!(here(&answering), [(server, 63)]);
        // A merged file has packets with a direction and others without.
        answering.note_without_direction(|| ends(1).receiver(), Point::default(), 63);
        assert!(here(&answering).is_empty());
        // On loopback a response to another address of the same host is captured only as it arrives.
        let mut host = Answering::new(None, false);
        host.note(ends(1), Timestamp(10), Point::new(Interface::LOOPBACK, [0; 2], Direction::In), 0);
        host.note(ends(2), Timestamp(11), point(Direction::Out), 0);
        assert_eq!((here(&host), host.here().count()), (vec![(server, 0)], 1));
        // A server's response to its own query arrives where it left.
        let mut itself = Answering::new(None, false);
        itself.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        itself.note(Ends::v4([10, 0, 0, 53], [10, 0, 0, 53]), Timestamp(11), point(Direction::In), 0);
        assert_eq!((here(&itself), itself.here().count()), (vec![(server, 0)], 1));
    }

    #[test]
    fn servers_of_routed_responses_are_kept_where_they_are_asked_for() {
        for (about, asked_for, direction, hops, kept) in [
            ("passed on", true, Direction::Unknown, 63, 1),
            ("made by its host", true, Direction::Unknown, 64, 0),
            ("in a file", false, Direction::Unknown, 63, 0),
        ] {
            let mut answering = Answering::new(None, false);
            if asked_for {
                answering.note_routed();
            }
            answering.note_without_direction(|| ends(1).receiver(), point(direction).with_hops(hops), 0);
            assert_eq!(answering.routed().count(), kept, "{about}");
        }
    }

    #[test]
    fn one_input_that_tells_does_not_speak_for_another() {
        let mut answering = Answering::new(None, false);
        let server = ends(1).destination();
        answering.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        answering.note_without_direction(|| other().receiver(), Point::default(), 1);
        assert_eq!(answering.here().collect::<Vec<_>>(), [server], "those were another server's");
        answering.note_without_direction(|| ends(1).receiver(), Point::default(), 1);
        assert_eq!((answering.here().count(), answering.here_in().collect::<Vec<_>>()), (0, vec![(server, 0)]));
        let mut before = Answering::new(None, false);
        before.note_without_direction(|| ends(1).receiver(), Point::default(), 0);
        before.note(ends(1), Timestamp(10), point(Direction::Out), 1);
        assert_eq!((before.here().count(), before.here_in().collect::<Vec<_>>()), (0, vec![(server, 1)]));
        // A bridging host shows its guests' traffic before any query to itself.
        let mut bridge = Answering::new(None, false);
        bridge.note_without_direction(|| other().receiver(), Point::default(), 0);
        bridge.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        assert_eq!(bridge.here().collect::<Vec<_>>(), [server], "those were another server's");
        // So many that their servers were no longer noted: they may be this server's.
        let mut many = Answering::new(None, false);
        (0..=MAX_WITHOUT_DIRECTION)
            .for_each(|_| many.note_without_direction(|| other().receiver(), Point::default(), 0));
        many.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        many.note(ends(1), Timestamp(10), point(Direction::Out), 1);
        assert_eq!((many.here().count(), many.here_in().collect::<Vec<_>>()), (0, vec![(server, 1)]));
    }

    #[test]
    fn a_query_seen_on_its_way_may_not_have_reached_the_server() {
        let mut answering = Answering::new(None, false);
        let server = ends(1).receiver();
        answering.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        answering.note(ends(1), Timestamp(10), point(Direction::In), 1);
        let reached = |direction, input| answering.has_reached(server, point(direction), false, input);
        assert!(reached(Direction::In, 0) && reached(Direction::Out, 0), "of others, and of the host itself");
        assert!(!reached(Direction::In, 1) && !reached(Direction::Out, 1), "its responses arrive there");
        assert!(reached(Direction::In, 2) && !reached(Direction::Out, 2) && !reached(Direction::Unknown, 2));
        let arrived = |input| answering.has_reached(server, point(Direction::Unknown), true, input);
        assert!(arrived(0) && !arrived(1), "through a bridge of that host");
        assert!(!reached(Direction::Unknown, 0), "for another host with that address");
        assert!(reached(Direction::In, 64), "of further inputs only this is known");
        let declared = Answering::new(Some(Vantage::Server), false);
        assert!(declared.has_reached(server, point(Direction::Unknown), false, 0), "the operator says so");
    }

    #[test]
    fn a_box_on_the_way_cannot_tell() {
        let mut answering = Answering::new(None, false);
        answering.note(ends(1), Timestamp(11), point(Direction::Out), 0);
        assert_eq!(answering.here().count(), 1);
        answering.note(ends(1), Timestamp(10), point(Direction::In), 1);
        assert_eq!(answering.here().count(), 0);
        assert!(!answering.answered_another(ends(2), Timestamp(0)), "the response arrived before it left");
        assert!(!answering.tells(point(Direction::Unknown)));
        let mut declared = Answering::new(Some(Vantage::Server), false);
        declared.note(ends(1), Timestamp(10), point(Direction::In), 0);
        assert!(declared.answered_another(ends(2), Timestamp(0)), "the operator knows better");
        for vantage in [Vantage::Path, Vantage::Client] {
            assert!(!Answering::new(Some(vantage), false).tells(point(Direction::Out)), "so the operator does here");
        }
    }
}
