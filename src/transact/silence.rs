//! Responses to what tells silence from loss ([`Answering`]): at the server, a query that got nothing while the server
//! answered somebody else was met with silence. That is known when a late response could no longer come ([`Suspects`]).
//!
//! Times are places on the clock's line ([`super::clock`]).

use super::flights::{Flow, Sighting};
use super::kept::KeptMessage;
use crate::capture::{Direction, Timestamp};
use crate::config::Vantage;
use crate::decode::{Address, Ends, Interface, Point};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

/// Servers followed; for further ones silence is not claimed.
const MAX_SERVERS: usize = 16_384;

/// When servers last answered, and whether the capture was taken on their hosts.
#[derive(Debug)]
pub struct Answering {
    servers: HashMap<Address, Server, foldhash::fast::RandomState>,
    away: HashSet<IpAddr>,
    asking: HashSet<(IpAddr, u32)>,
    /// Servers of routed responses that were not seen leaving or arriving, where somebody asks for them.
    routed: Option<HashSet<IpAddr>>,
    /// So many responses that tell neither are still noted for their servers: without end once one tells.
    notes_untold: u32,
    /// Inputs in which there were more of them before.
    untold: u64,
    /// Where the capture was taken, as the operator says.
    vantage: Option<Vantage>,
    /// Packets were left out, responses perhaps among them.
    filtered: bool,
}

/// A server's latest responses to two different sources: whether it answered *another* source since some time.
#[derive(Debug, Default, Clone, Copy)]
struct Server {
    latest: Option<(Timestamp, Address)>,
    latest_to_another: Option<Timestamp>,
    /// A response of it to another was seen arriving: this is not its host.
    arrives: bool,
    /// One was seen leaving that was made elsewhere: its address is this host's only by a translation, perhaps.
    passed_on: bool,
    /// Some responses of it tell neither: where they were captured is not known.
    untold: bool,
    /// The first [`INPUTS`] inputs in which its responses were seen leaving, those in which they were seen arriving, and those
    /// in which that is not told.
    by_input: [u64; 3],
}

/// Responses without a query that are remembered. When there are more, silence is not claimed of what was asked before.
const MAX_STRAYS: usize = 16_384;

/// The loopback interface of Linux, whose number is the same in every namespace.
const LOOPBACK: Interface = Interface::Host(1);

/// Responses noted for their servers before any was seen leaving or arriving: a host that bridges shows those of its guests
/// first, perhaps, and most captures have no others, where looking up each server would take long.
const MAX_UNTOLD: u32 = 4096;

/// Inputs of which it is known where they were captured.
pub const INPUTS: u32 = u64::BITS;

/// An input among the first [`INPUTS`].
fn bit(input: u32) -> u64 {
    1u64.checked_shl(input).unwrap_or(0)
}

impl Answering {
    /// No server seen yet.
    pub fn new(vantage: Option<Vantage>, filtered: bool) -> Self {
        let notes_untold = if vantage.is_none() { MAX_UNTOLD } else { 0 };
        Self {
            servers: HashMap::default(),
            away: HashSet::new(),
            asking: HashSet::new(),
            routed: None,
            notes_untold,
            untold: 0,
            vantage,
            filtered,
        }
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

    /// True when some response may tell anything about silence.
    pub fn may_tell(&self) -> bool {
        !self.filtered && self.vantage.is_none_or(|vantage| vantage == Vantage::Server)
    }

    /// From here on packets are left out, responses perhaps among them.
    pub fn leave_out(&mut self) {
        self.filtered = true;
    }

    /// Notes a response in an input; `ends` leads from client to server.
    pub fn note(&mut self, ends: Ends, time: Timestamp, point: Point, input: u32) {
        self.notes_untold = u32::MAX;
        let address = ends.receiver();
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&address) {
            return;
        }
        let server = self.servers.entry(address).or_default();
        let direction = match point.direction() {
            // What arrives there was sent by the same host, and mostly is not captured as it leaves.
            Direction::In if point.interface() == LOOPBACK => Direction::Out,
            direction => direction,
        };
        if ends.sender() == address && direction == Direction::In {
            // What it asks itself arrives as well.
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

    /// From here on [`Answering::routed`] is kept.
    pub fn note_routed(&mut self) {
        self.routed.get_or_insert_default();
    }

    /// Servers of responses that a router passed on, or the host of the capture: nothing shows whether they leave.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.routed.iter().flatten().copied()
    }

    /// Notes a response in an input that does not show whether it leaves or arrives.
    #[inline]
    pub fn note_untold(&mut self, server: impl Fn() -> Address, point: Point, input: u32) {
        if let Some(routed) = &mut self.routed
            && point.is_routed()
            && routed.len() < MAX_SERVERS
        {
            routed.insert(server().into());
        }
        if self.notes_untold == 0 {
            self.untold |= 1 << input.min(INPUTS - 1);
        } else {
            self.note_untold_of(server(), input);
        }
    }

    #[cold]
    fn note_untold_of(&mut self, address: Address, input: u32) {
        if self.notes_untold <= MAX_UNTOLD {
            self.notes_untold -= 1;
        }
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&address) {
            return;
        }
        let server = self.servers.entry(address).or_default();
        server.untold = true;
        server.by_input[2] |= bit(input);
    }

    /// A query was seen leaving so, and its response arriving: what has the server's address is another host, and this one
    /// asked, unless it passed the query on.
    #[cold]
    pub fn note_away(&mut self, ends: Ends, asked: Point, input: u32) {
        if self.away.len() < MAX_SERVERS {
            self.away.insert(ends.destination());
        }
        if !asked.is_passed_on() && self.asking.len() < MAX_SERVERS {
            self.asking.insert((ends.source(), input));
        }
    }

    /// Addresses from which the host of the capture asked others, with the inputs that show it.
    pub fn asking(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.asking.iter().map(|(address, input)| (*address, *input as usize))
    }

    /// Servers that are other hosts than the one of the capture.
    pub fn away(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.away.iter().copied()
    }

    /// Servers whose responses leave this host but were made by another, which may have seen other addresses.
    pub fn passed_on(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.servers.iter().filter(|(_, server)| server.passed_on).map(|(address, _)| (*address).into())
    }

    /// Servers whose responses were all seen leaving: the capture was taken on their hosts.
    pub fn here(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let all_told = |server: &Server| !server.arrives && !server.untold && self.untold == 0;
        let leaves = move |server: &Server| server.latest.is_some() && all_told(server) && self.vantage.is_none();
        self.servers.iter().filter(move |(_, server)| leaves(server)).map(|(address, _)| (*address).into())
    }

    /// Servers and inputs in which their responses were all seen leaving: those were captured on their hosts.
    pub fn here_in(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.servers.iter().flat_map(|(address, Server { by_input: [leaves, arrives, untold], .. })| {
            let here = leaves & !arrives & !untold & !self.untold;
            (0..INPUTS).filter(move |input| here >> input & 1 == 1).map(|input| ((*address).into(), input as usize))
        })
    }

    /// True when a query that was seen so, in an input, was seen at its server: where it arrived, or where the server's
    /// responses leave. One that was captured on its way there may have been lost behind that place. Through a bridge of that
    /// host it is seen first as somebody else's and then as it has `arrived`, in a capture of all its interfaces; what has not
    /// may have been for another host with that address.
    pub fn has_reached(&self, server: Address, point: Point, arrived: bool, input: u32) -> bool {
        let [leaves, arrives, _] = self.servers.get(&server).map(|server| server.by_input).unwrap_or_default();
        match point.direction() {
            _ if self.vantage.is_some() => true,
            Direction::In => arrives & bit(input) == 0,
            Direction::Out => leaves & !arrives & bit(input) != 0,
            Direction::Unknown => arrived && arrives & bit(input) == 0,
        }
    }

    /// True when the capture was taken at the server, and it answered another source at or after `since`.
    pub fn answered_another(&self, ends: Ends, since: Timestamp) -> bool {
        let Some(server) = self.servers.get(&ends.receiver()) else { return false };
        let to_another = match server.latest {
            Some((time, to)) if to != ends.sender() => Some(time),
            _ => server.latest_to_another,
        };
        !self.filtered && !server.arrives && to_another.is_some_and(|time| time >= since)
    }
}

/// A query that got nothing in time although the server answered others.
#[derive(Debug)]
pub struct Suspect {
    /// Stands for flow and identifier.
    pub hash: u64,
    /// Client, server, ports, identifier.
    pub flow: Flow,
    /// The query.
    pub query: Sighting,
    /// Its bytes.
    pub kept: KeptMessage,
    /// When it was asked.
    pub asked: Timestamp,
}

/// Queries that seem to be met with silence, as long as a late response may come.
#[derive(Debug, Default)]
pub struct Suspects {
    waiting: VecDeque<Suspect>,
    /// How many of a hash wait, and whether a response with it came.
    hashes: HashMap<u64, (u32, bool)>,
    /// When the latest response without a query came with an identifier to a client's port, and from whom where it is REFUSED.
    strays: HashMap<(IpAddr, u16, u16), (Timestamp, Option<IpAddr>)>,
    /// Some of before are not remembered.
    strays_since: Option<Timestamp>,
    /// Queries without a response that such a refusal from another address fits, and ends and refusing address of the first.
    elsewhere: Option<(u64, Ends, IpAddr)>,
}

impl Suspects {
    /// So many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Pairs that they refer to.
    pub fn pairs(&self) -> impl Iterator<Item = u32> + '_ {
        self.waiting.iter().map(|suspect| suspect.flow.pair)
    }

    /// Takes one.
    pub fn push(&mut self, suspect: Suspect) {
        self.hashes.entry(suspect.hash).or_default().0 += 1;
        self.waiting.push_back(suspect);
    }

    /// A response with this hash came.
    pub fn answered(&mut self, hash: u64) {
        if let Some((_, answered)) = self.hashes.get_mut(&hash) {
            *answered = true;
        }
    }

    /// A response without a query came from somewhere to a client: a server that has several addresses may have been asked at
    /// one and have answered from another.
    pub fn strayed(&mut self, ends: Ends, flow: Flow, time: Timestamp, refused: bool) {
        if self.strays.len() >= MAX_STRAYS {
            self.strays.clear();
            self.strays_since = Some(time);
        }
        let from = refused.then_some(ends.destination());
        self.strays.insert((ends.source(), flow.client_port, flow.id), (time, from));
    }

    /// There are some.
    pub fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Notes a query without a response: one that came after it from another address may fit, and be REFUSED.
    #[cold]
    pub fn note_elsewhere(&mut self, ends: Ends, flow: Flow, asked: Timestamp) {
        let stray = self.strays.get(&(ends.source(), flow.client_port, flow.id));
        if let Some((time, Some(from))) = stray
            && *time >= asked
            && *from != ends.destination()
        {
            self.elsewhere.get_or_insert((0, ends, *from)).0 += 1;
        }
    }

    /// How many there were, whether that is only the least, and the ends and the refusing address of the first.
    pub fn elsewhere(&self) -> Option<(u64, bool, Ends, IpAddr)> {
        self.elsewhere.map(|(count, ends, from)| (count, self.strays_since.is_some(), ends, from))
    }

    /// True when the response to a query of a client may have come from another address than it was sent to, or up to
    /// `before` earlier by another clock.
    pub fn may_have_strayed(&self, client: IpAddr, suspect: &Suspect, before: i64) -> bool {
        let stray = self.strays.get(&(client, suspect.flow.client_port, suspect.flow.id)).map(|(time, _)| *time);
        let since = suspect.asked.0.saturating_sub(before);
        stray.max(self.strays_since).is_some_and(|time| time.0 >= since)
    }

    /// The oldest, when it was asked before a time, and whether a response came to it.
    pub fn pop(&mut self, asked_before: Timestamp) -> Option<(Suspect, bool)> {
        self.waiting.front().filter(|suspect| suspect.asked < asked_before)?;
        let suspect = self.waiting.pop_front()?;
        let Some((count, answered)) = self.hashes.get_mut(&suspect.hash) else { return Some((suspect, false)) };
        let answered = *answered;
        *count -= 1;
        if *count == 0 {
            self.hashes.remove(&suspect.hash);
        }
        Some((suspect, answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::FrameRef;

    fn ends(client: u8) -> Ends {
        Ends::v4([10, 0, 0, client], [10, 0, 0, 53])
    }

    fn point(direction: Direction) -> Point {
        Point::new(Interface::Host(2), [0; 2], direction)
    }

    /// To another server.
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
        // A merged file has packets that tell it and others that do not.
        answering.note_untold(|| ends(1).receiver(), Point::default(), 63);
        assert!(here(&answering).is_empty());
        // What a server asks itself arrives where it left.
        // So does what it is asked from another address of its host, and there only that is captured.
        let mut host = Answering::new(None, false);
        host.note(ends(1), Timestamp(10), Point::new(LOOPBACK, [0; 2], Direction::In), 0);
        host.note(ends(2), Timestamp(11), point(Direction::Out), 0);
        assert_eq!((here(&host), host.here().count()), (vec![(server, 0)], 1));
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
            answering.note_untold(|| ends(1).receiver(), point(direction).with_hops(hops), 0);
            assert_eq!(answering.routed().count(), kept, "{about}");
        }
    }

    #[test]
    fn one_input_that_tells_does_not_speak_for_another() {
        let mut answering = Answering::new(None, false);
        let server = ends(1).destination();
        answering.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        answering.note_untold(|| other().receiver(), Point::default(), 1);
        assert_eq!(answering.here().collect::<Vec<_>>(), [server], "those were another server's");
        answering.note_untold(|| ends(1).receiver(), Point::default(), 1);
        assert_eq!((answering.here().count(), answering.here_in().collect::<Vec<_>>()), (0, vec![(server, 0)]));
        let mut before = Answering::new(None, false);
        before.note_untold(|| ends(1).receiver(), Point::default(), 0);
        before.note(ends(1), Timestamp(10), point(Direction::Out), 1);
        assert_eq!((before.here().count(), before.here_in().collect::<Vec<_>>()), (0, vec![(server, 1)]));
        // A host that bridges shows what its guests ask each other before anybody asks it.
        let mut bridge = Answering::new(None, false);
        bridge.note_untold(|| other().receiver(), Point::default(), 0);
        bridge.note(ends(1), Timestamp(10), point(Direction::Out), 0);
        assert_eq!(bridge.here().collect::<Vec<_>>(), [server], "those were another server's");
        // So many that their servers are not known: those may be of this one.
        let mut many = Answering::new(None, false);
        (0..=MAX_UNTOLD).for_each(|_| many.note_untold(|| other().receiver(), Point::default(), 0));
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
    fn strays_are_bounded_and_speak_against_silence() {
        let flow = |id: u16| Flow {
            pair: 0,
            client_port: 4000,
            server_port: 53,
            id,
            transport: super::super::flights::Transport::Udp,
        };
        let query =
            Sighting { time: Timestamp(10), frame: FrameRef { input: 0, frame: 1 }, point: point(Direction::In) };
        let suspect = |id| Suspect { hash: 0, flow: flow(id), query, kept: KeptMessage::NONE, asked: Timestamp(10) };
        let client = ends(1).source();
        let mut suspects = Suspects::default();
        suspects.strayed(ends(1), flow(7), Timestamp(8), false);
        assert!(!suspects.may_have_strayed(client, &suspect(7), 1), "long before it was asked");
        assert!(suspects.may_have_strayed(client, &suspect(7), 2), "by a clock that is behind");
        suspects.strayed(ends(1), flow(7), Timestamp(11), false);
        assert!(
            suspects.may_have_strayed(client, &suspect(7), 0) && !suspects.may_have_strayed(client, &suspect(8), 0)
        );
        assert!(!suspects.may_have_strayed(ends(2).source(), &suspect(7), 0));
        for number in 0..MAX_STRAYS as u32 {
            suspects.strayed(Ends::v4(number.to_be_bytes(), [10, 0, 0, 53]), flow(7), Timestamp(12), false);
        }
        // A refusal is told: of what was asked before it, at another address.
        let asked = |number: u8| Ends::v4([10, 0, 0, 1], [10, 0, 0, number]);
        suspects.strayed(asked(53), flow(9), Timestamp(12), true);
        for (server, id, at) in [(53, 9, 10), (54, 9, 13), (54, 7, 10)] {
            suspects.note_elsewhere(asked(server), flow(id), Timestamp(at));
        }
        assert_eq!(suspects.elsewhere(), None);
        suspects.note_elsewhere(asked(54), flow(9), Timestamp(12));
        suspects.note_elsewhere(asked(55), flow(9), Timestamp(12));
        assert_eq!(suspects.elsewhere(), Some((2, true, asked(54), asked(53).destination())));
        assert!(suspects.strays.len() <= MAX_STRAYS && suspects.may_have_strayed(client, &suspect(8), 0), "not known");
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
