//! Detects that the same queries were captured on both sides of a translation or of a proxy ([`Sides`]): in inputs from
//! several places, or on all interfaces of a host that passes queries on.

use super::Report;
use crate::capture::{Direction, Timestamp};
use crate::config::{COPY_WINDOW, Outcome, Outcomes};
use crate::decode::Interface;
use crate::decode::message::HEADER;
use crate::decode::name::read_name;
use crate::decode::proxy;
use crate::transact::Transaction;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// Most queries remembered, for as long as a copy may come.
const QUERIES: usize = 16_384;
/// Most servers and pairs of inputs that are told apart.
const PAIRS: usize = 65_536;

/// As which source and for which server a query left again.
pub type LeftAs = (IpAddr, IpAddr);

/// Number of queries that another server decided first, and as what the first of them had left for it.
type DecidedFirst = (u64, LeftAs);

/// What a server handed on, each with the first such query. Its refusals may be its own, and its answers another's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandedOn {
    /// Of what it refused, at least half.
    pub refusals: Option<LeftAs>,
    /// Of what it answered, at least half.
    pub answers: Option<LeftAs>,
}

impl HandedOn {
    /// Adds what it handed on in another input.
    pub fn add(&mut self, other: Self) {
        self.refusals = self.refusals.or(other.refusals);
        self.answers = self.answers.or(other.answers);
    }
}

/// Stands for all servers beyond [`PAIRS`].
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What refused and answered queries show about where inputs were taken.
#[derive(Debug, Default)]
pub struct Sides {
    /// There are several inputs, of which nothing is known to be of one host.
    several: bool,
    /// The latest query of each kind.
    latest: HashMap<Asked, Latest>,
    /// By server and pair of inputs (which may be the same one): queries that both have, from different sources, or
    /// that arrived at that server and left again for another address.
    twice: HashMap<(IpAddr, [u32; 2]), u64>,
    /// By server and input: refused queries and answered ones; those of further servers are [`OTHERS`].
    decided: HashMap<(IpAddr, u32), [u64; 2], foldhash::fast::RandomState>,
    /// Those of them that another server refused, or answered, first.
    handed_on: HashMap<(IpAddr, u32), [Option<DecidedFirst>; 2]>,
    /// Identifiers of the latest queries, one bit each.
    identifiers: Identifiers,
}

/// A set of identifiers.
#[derive(Debug)]
struct Identifiers(Box<[u64]>);

impl Default for Identifiers {
    fn default() -> Self {
        Self(vec![0; 1 << 10].into())
    }
}

impl Identifiers {
    fn insert(&mut self, id: u16) {
        self.0[usize::from(id >> 6)] |= 1 << (id & 63);
    }

    fn has(&self, id: u16) -> bool {
        self.0[usize::from(id >> 6)] >> (id & 63) & 1 == 1
    }
}

/// Query ID and question; the server may have another address on the other side.
type Asked = (u16, Vec<u8>);

/// A query that was refused, or answered.
#[derive(Debug, Clone, Copy)]
struct Latest {
    answered: bool,
    /// When its response was captured.
    time: Timestamp,
    source: IpAddr,
    port: u16,
    server: IpAddr,
    input: u32,
    /// It came from this host itself.
    looped: bool,
    /// When, in which direction and in which input it was captured.
    query: Option<(Timestamp, Direction, u32)>,
}

impl Latest {
    /// In one input: this query arrived, left again as `other`, and got its response after that one did.
    fn is_passed_on_as(&self, other: &Latest) -> bool {
        let (Some((arrived, how, _)), Some((left, Direction::Out, _))) = (self.query, other.query) else {
            return false;
        };
        let same = (self.source, self.server) == (other.source, other.server);
        // A program of this host may ask several servers at once, from one socket; a proxy has its own.
        let asked_both = self.looped && self.port == other.port;
        // On a bridge, packets that first appear as arriving are somebody else's.
        how != Direction::Out && arrived <= left && !same && !asked_both
    }
}

impl Sides {
    /// For several inputs, or for one.
    pub fn of(several: bool) -> Self {
        Self { several, ..Self::default() }
    }

    /// Outcomes that matter here, besides answers.
    pub fn wanted() -> Outcomes {
        Outcomes::of(&[Outcome::Refused, Outcome::Denied])
    }

    /// Notes a transaction; only refused ones matter, and answered ones where servers' files are compared with them.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        let Some(response) = transaction.response else { return };
        let answered = transaction.outcome == Outcome::Answered;
        if !answered && !Self::wanted().has(transaction.outcome) {
            return;
        }
        // Without several inputs all are of one host.
        let input = |of: u32| if self.several { of } else { 0 };
        let query = transaction.query.map(|seen| (seen.time, seen.point.direction(), input(seen.frame.input)));
        let input = input(response.frame.input);
        let server = transaction.ends.destination();
        let Some(id) = transaction.id else { return };
        let told = self.decided.len() < PAIRS || self.decided.contains_key(&(server, input));
        self.decided.entry((if told { server } else { OTHERS }, input)).or_default()[usize::from(answered)] += 1;
        // Within one input, the forwarded query is answered first: one whose identifier is not remembered was not
        // forwarded.
        let leaves = query.is_some_and(|(_, direction, _)| direction == Direction::Out);
        if !leaves && (!self.several || answered) && !self.identifiers.has(id) {
            return;
        }
        let (_, query_bytes) = proxy::split(transaction.query_bytes);
        let Ok((_, end)) = read_name(query_bytes, HEADER) else { return };
        let Some(question) = query_bytes.get(HEADER..end + 4) else { return };
        if self.latest.len() >= QUERIES {
            self.forget(response.time);
        }
        let (source, port) = (transaction.ends.source(), transaction.ports.0);
        let over_loopback = transaction.query.is_some_and(|seen| seen.point.interface() == Interface::LOOPBACK);
        let looped = over_loopback || source == server || source.is_loopback();
        let latest = Latest { answered, time: response.time, source, port, server, input, looped, query };
        self.identifiers.insert(id);
        let Some(before) = self.latest.insert((id, question.to_vec()), latest) else { return };
        if before.answered == answered && response.time.0.saturating_sub(before.time.0).saturating_abs() <= COPY_WINDOW
        {
            self.meet(before, latest, told);
        }
    }

    /// Forgets queries of which no copy may come any more.
    fn forget(&mut self, now: Timestamp) {
        self.latest.retain(|_, latest| now.0.saturating_sub(latest.time.0) <= COPY_WINDOW);
        // Not to be looked through again for every further one.
        if self.latest.len() > QUERIES / 2 {
            self.latest.clear();
        }
        self.identifiers = Identifiers::default();
        self.latest.keys().for_each(|(id, _)| self.identifiers.insert(*id));
    }

    /// Counts a query that met the same fate as one shortly before it; servers are `told` apart.
    fn meet(&mut self, before: Latest, latest: Latest, told: bool) {
        let (server, input) = (latest.server, latest.input);
        let passed_on = latest.is_passed_on_as(&before);
        // The other server's response may have been captured there before it came here.
        let here = before.query.map(|(_, _, input)| input) == latest.query.map(|(_, _, input)| input);
        if passed_on && here && before.server != server && told {
            let left_as = (before.source, before.server);
            let of_both = self.handed_on.entry((server, input)).or_default();
            of_both[usize::from(latest.answered)].get_or_insert((0, left_as)).0 += 1;
        }
        // What a server asks as itself stands apart, as its own query.
        let twice =
            if before.input == input { passed_on && before.source != server } else { latest.source != before.source };
        let key = (server, [before.input.min(input), before.input.max(input)]);
        if twice && !latest.answered && (self.twice.len() < PAIRS || self.twice.contains_key(&key)) {
            *self.twice.entry(key).or_default() += 1;
        }
    }

    /// Adds to a report what is known at the end.
    pub fn tell(&self, report: &mut Report) {
        report.notes.extend(self.note(&report.here_in));
        for ((server, input), handed_on) in self.handed_on() {
            if handed_on.refusals.is_some() {
                report.here_in.remove(&(server, input));
            }
            report.handed_on.entry(server).or_default().add(handed_on);
        }
    }

    /// Servers that handed on what they refused, or answered, by input: another server had decided the same just
    /// before, for the same question under the same identifier. By chance that happens to one query in 65,536; here it
    /// must be half of what a server refused, or of what it answered.
    pub fn handed_on(&self) -> BTreeMap<(IpAddr, usize), HandedOn> {
        let most = self.handed_on.iter().map(|(key, of_both)| {
            let decided = self.decided.get(key).copied().unwrap_or_default();
            let most_of = |class: usize| {
                of_both[class].filter(|(count, _)| 2 * count >= decided[class]).map(|(_, left_as)| left_as)
            };
            ((key.0, key.1 as usize), HandedOn { refusals: most_of(0), answers: most_of(1) })
        });
        most.filter(|(_, handed_on)| *handed_on != HandedOn::default()).collect()
    }

    /// Notes about queries that were captured twice, where it is not known that both inputs were captured at the server
    /// (`here_in`). A few may coincide by chance: they must be at least half of an input's refusals.
    pub fn note(&self, here_in: &BTreeSet<(IpAddr, usize)>) -> Option<String> {
        let sides = |(server, inputs): &(IpAddr, [u32; 2])| {
            inputs[0] == inputs[1] || !inputs.iter().all(|input| here_in.contains(&(*server, *input as usize)))
        };
        let (mut all, mut in_one, mut of_input) = (0, false, HashMap::<u32, u64>::new());
        for ((_, inputs), count) in self.twice.iter().filter(|(key, _)| sides(key)) {
            all += count;
            in_one |= inputs[0] == inputs[1];
            // Within one input each of them is two of its refusals.
            for input in inputs {
                *of_input.entry(*input).or_default() += count;
            }
        }
        let mut refused = HashMap::<u32, u64>::new();
        for ((_, input), [count, _]) in &self.decided {
            *refused.entry(*input).or_default() += count;
        }
        let is_most = of_input.iter().any(|(input, twice)| 2 * twice >= refused.get(input).copied().unwrap_or(0));
        let queries = super::page::counted(all, "refused query", "refused queries");
        let was = if all == 1 { "was" } else { "were" };
        is_most.then(|| {
            if in_one {
                return format!(
                    "{queries} {was} captured twice within 10 ms, with the same identifier and question between other \
                     addresses: what was asked once may be counted on both sides of a translation."
                );
            }
            format!(
                "{queries} {was} captured in two inputs within 10 ms, from different sources with the same identifier and \
                 question: what was asked once may be counted on both sides of a translation."
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Ends, Point};
    use crate::sources::FrameRef;
    use crate::transact::in_flight::{Sighting, Transport};

    const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    const SERVER: [u8; 4] = [10, 0, 0, 53];

    /// A query of a source that was refused in an input.
    fn refused(sides: &mut Sides, source: u8, id: u16, input: u32, microseconds: i64) {
        let frame = FrameRef { input, frame: 1 };
        let seen = Sighting { time: Timestamp(microseconds * 1000), frame, point: Point::default() };
        sides.push(&Transaction {
            outcome: Outcome::Refused,
            ends: Ends::v4([10, 1, 1, source], SERVER),
            ports: (4000, 53),
            transport: Transport::Udp,
            id: Some(id),
            query: Some(seen),
            query_bytes: QUERY,
            response: Some(seen),
            response_bytes: &[],
            message: None,
        });
    }

    #[test]
    fn queries_on_both_sides_are_said_where_not_both_are_the_server() {
        let mut sides = Sides::of(true);
        for id in 0..3 {
            refused(&mut sides, 1, id, 0, i64::from(id) * 50_000);
            refused(&mut sides, 2, id, 1, i64::from(id) * 50_000 + 400);
        }
        let server = IpAddr::from(SERVER);
        for here in [&[][..], &[(server, 1)]] {
            let said = sides.note(&here.iter().copied().collect()).unwrap();
            assert!(said.starts_with("3 refused queries were captured in two inputs within 10 ms"), "{said}");
        }
        assert_eq!(sides.note(&BTreeSet::from([(server, 0), (server, 1)])), None);
        let mut apart = Sides::of(true);
        refused(&mut apart, 1, 1, 0, 0);
        refused(&mut apart, 2, 1, 1, 10_001);
        refused(&mut apart, 3, 2, 0, 20_000);
        refused(&mut apart, 4, 2, 0, 20_001);
        assert_eq!(apart.note(&BTreeSet::new()), None, "at another time, or in one input");
    }

    /// A query between these that arrives at a host, or leaves it, and is refused; times in microseconds.
    fn passing(sides: &mut Sides, id: u16, [source, server]: [u8; 2], direction: Direction, times: [i64; 2]) {
        between(sides, id, Ends::v4([10, 1, 1, source], [10, 2, 2, server]), direction, times, [0, 0]);
    }

    /// The same with the inputs of query and response.
    fn between(sides: &mut Sides, id: u16, ends: Ends, direction: Direction, times: [i64; 2], inputs: [u32; 2]) {
        let point = Point::new(Interface::Host(2), [0; 2], direction);
        between_ports(sides, id, (ends, 4000), point, times, inputs);
    }

    /// The same with the client's port and the point of capture.
    fn between_ports(
        sides: &mut Sides,
        id: u16,
        (ends, port): (Ends, u16),
        point: Point,
        [at, until]: [i64; 2],
        inputs: [u32; 2],
    ) {
        let seen = |time: i64| Sighting {
            time: Timestamp(time * 1000),
            frame: FrameRef { input: inputs[usize::from(time == until)], frame: 1 },
            point,
        };
        sides.push(&Transaction {
            outcome: Outcome::Refused,
            ends,
            ports: (port, 53),
            transport: Transport::Udp,
            id: Some(id),
            query: Some(seen(at)),
            query_bytes: QUERY,
            response: Some(seen(until)),
            response_bytes: &[],
            message: None,
        });
    }

    #[test]
    fn queries_that_a_host_passes_on_are_said_to_count_twice() {
        use Direction::{In, Out, Unknown};
        let twice = |inner: ([u8; 2], Direction), outer: ([u8; 2], Direction)| {
            let mut sides = Sides::default();
            for id in 0..3 {
                passing(&mut sides, id, inner.0, inner.1, [100, 900]);
                passing(&mut sides, id, outer.0, outer.1, [0, 1000]);
            }
            // Strangers who are not translated, half of all.
            for id in 10..16 {
                passing(&mut sides, id, [7, 1], In, [0, 1000]);
            }
            sides.note(&BTreeSet::new())
        };
        let said =
            "3 refused queries were captured twice within 10 ms, with the same identifier and question between other";
        for inner in [[9, 2], [1, 2], [9, 1]] {
            for arrives in [In, Unknown] {
                let note = twice((inner, Out), ([1, 1], arrives));
                assert!(note.is_some_and(|note| note.starts_with(said)), "{inner:?} {arrives:?}");
            }
        }
        assert_eq!(twice(([1, 2], In), ([1, 1], In)), None, "who asks two servers at once");
        assert_eq!(twice(([1, 2], Out), ([1, 1], Out)), None, "seen where it asks");
        assert_eq!(twice(([1, 1], Out), ([1, 1], In)), None, "the same query");
    }

    #[test]
    fn servers_hand_on_what_another_one_refused_first() {
        use Direction::{In, Out, Unknown};
        let handed_on = |inner: ([u8; 2], Direction, i64), outer: Direction, of_itself: u16| {
            let mut sides = Sides::default();
            for id in 0..3 {
                passing(&mut sides, id, inner.0, inner.1, [100, inner.2]);
                passing(&mut sides, id, [1, 1], outer, [0, 1000]);
            }
            for id in 10..10 + of_itself {
                passing(&mut sides, id, [7, 1], In, [0, 1000]);
            }
            sides.handed_on()
        };
        let [outer, source, server] = [[10, 2, 2, 1], [10, 1, 1, 9], [10, 2, 2, 2]].map(IpAddr::from);
        let refusals = HandedOn { refusals: Some((source, server)), answers: None };
        let expected = BTreeMap::from([((outer, 0), refusals)]);
        assert_eq!(handed_on(([9, 2], Out, 900), In, 0), expected);
        assert_eq!(handed_on(([9, 2], Out, 900), Unknown, 3), expected, "half of them");
        assert!(handed_on(([9, 2], Out, 900), In, 4).is_empty(), "it refuses most itself");
        assert!(handed_on(([9, 1], Out, 900), In, 0).is_empty(), "the same server: a router");
        assert!(handed_on(([9, 2], In, 900), In, 0).is_empty() && handed_on(([9, 2], Out, 900), Out, 0).is_empty());
        assert!(handed_on(([9, 2], Out, -9_001), In, 0).is_empty(), "long before");
    }

    #[test]
    fn what_a_server_asks_as_itself_is_handed_on_and_not_captured_twice() {
        let mut sides = Sides::default();
        between(&mut sides, 7, Ends::v4([10, 2, 2, 1], [10, 2, 2, 2]), Direction::Out, [100, 900], [0, 0]);
        between(&mut sides, 7, Ends::v4([10, 1, 1, 1], [10, 2, 2, 1]), Direction::In, [0, 1000], [0, 0]);
        assert_eq!(sides.note(&BTreeSet::new()), None);
        assert_eq!(sides.handed_on().len(), 1);
    }

    #[test]
    fn who_asks_a_server_of_its_own_host_and_another_one_at_once_hands_nothing_on() {
        let [host, server] = [[10, 2, 2, 1], [10, 2, 2, 2]];
        let handed_on = |ends: Ends, interface: u32, port: u16| {
            let mut sides = Sides::default();
            let point = |index, direction| Point::new(Interface::Host(index), [0; 2], direction);
            let [left, arrived] = [point(2, Direction::Out), point(interface, Direction::In)];
            between_ports(&mut sides, 7, (Ends::v4(host, server), 4000), left, [100, 900], [0, 0]);
            between_ports(&mut sides, 7, (ends, port), arrived, [0, 1000], [0, 0]);
            sides.handed_on().len()
        };
        // With cooked headers of the first version, interfaces have no number.
        for (ends, interface) in [
            (Ends::v4([10, 3, 3, 1], [10, 3, 3, 2]), 1),
            (Ends::v4([10, 3, 3, 2], [10, 3, 3, 2]), 0),
            (Ends::v4([127, 0, 0, 1], [127, 0, 0, 53]), 0),
        ] {
            assert_eq!(handed_on(ends, interface, 4000), 0, "{ends:?}: from one socket, as dnsmasq and musl ask");
            assert_eq!(handed_on(ends, interface, 4001), 1, "{ends:?}: a proxy, which its own host asks");
        }
        assert_eq!(handed_on(Ends::v4([10, 3, 3, 1], [10, 3, 3, 2]), 2, 4000), 1, "a translation may keep the port");
    }

    #[test]
    fn what_was_captured_at_the_other_server_as_well_is_handed_on_where_it_left() {
        let [inner, outer] = [Ends::v4([10, 1, 1, 9], [10, 2, 2, 2]), Ends::v4([10, 1, 1, 1], [10, 2, 2, 1])];
        for (left_in, expected) in [(0, vec![(outer.destination(), 0)]), (1, vec![])] {
            let mut sides = Sides::of(true);
            // Its response left the other server, in the second input, before it arrived here.
            between(&mut sides, 7, inner, Direction::Out, [100, 900], [left_in, 1]);
            between(&mut sides, 7, outer, Direction::In, [0, 1000], [0, 0]);
            assert_eq!(sides.handed_on().into_keys().collect::<Vec<_>>(), expected);
        }
    }
}
