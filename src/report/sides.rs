//! Detects that the same queries were captured on both sides of a translation ([`Sides`]): in inputs from several
//! places, or on all interfaces of a host that passes queries on.

use crate::capture::{Direction, Timestamp};
use crate::config::{COPY_WINDOW, Outcome};
use crate::decode::message::HEADER;
use crate::decode::name::read_name;
use crate::decode::proxy;
use crate::transact::Transaction;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Most queries remembered, for as long as a copy may come.
const QUERIES: usize = 16_384;
/// Most servers and pairs of inputs that are told apart.
const PAIRS: usize = 65_536;

/// What refused queries show about where several inputs were taken.
#[derive(Debug, Default)]
pub struct Sides {
    /// There are several inputs.
    several: bool,
    /// The latest query of each kind.
    latest: HashMap<Asked, Latest>,
    /// Number of refused queries by input.
    refused: HashMap<u32, u64>,
    /// By server and pair of inputs (which may be the same one): queries that both have, from different sources, or
    /// that arrived at that server and left again for another address.
    twice: HashMap<(IpAddr, [u32; 2]), u64>,
}

/// Query ID and question; the server may have another address on the other side.
type Asked = (u16, Vec<u8>);

/// A query that was refused.
#[derive(Debug, Clone, Copy)]
struct Latest {
    /// When its response was captured.
    time: Timestamp,
    source: IpAddr,
    server: IpAddr,
    input: u32,
    /// When, and in which direction, it was captured.
    query: Option<(Timestamp, Direction)>,
}

impl Latest {
    /// In one input: this query arrived, left again as `other`, and got its response after that one did. A query that
    /// the server asks on its own is another matter, for whomever it asks.
    fn is_passed_on_as(&self, other: &Latest) -> bool {
        let (Some((arrived, how)), Some((left, Direction::Out))) = (self.query, other.query) else { return false };
        let same = (self.source, self.server) == (other.source, other.server);
        // On a bridge, packets that first appear as arriving are somebody else's.
        how != Direction::Out && arrived <= left && !same && other.source != self.server
    }
}

impl Sides {
    /// For several inputs, or for one.
    pub fn of(several: bool) -> Self {
        Self { several, ..Self::default() }
    }

    /// Notes a transaction; only refused ones matter.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        let Some(response) = transaction.response else { return };
        if !matches!(transaction.outcome, Outcome::Refused | Outcome::Denied) {
            return;
        }
        let (server, input) = (transaction.ends.destination(), response.frame.input);
        let (_, query) = proxy::split(transaction.query_bytes);
        let (Some(id), Ok((_, end))) = (transaction.id, read_name(query, HEADER)) else { return };
        let Some(question) = query.get(HEADER..end + 4) else { return };
        *self.refused.entry(input).or_default() += 1;
        let query = transaction.query.map(|seen| (seen.time, seen.point.direction()));
        // Within one input, the forwarded query is answered first: before that there is nothing to remember.
        let leaves = query.is_some_and(|(_, direction)| direction == Direction::Out);
        if !self.several && !leaves && self.latest.is_empty() {
            return;
        }
        if self.latest.len() >= QUERIES {
            self.latest.retain(|_, latest| response.time.0.saturating_sub(latest.time.0) <= COPY_WINDOW);
            // When hardly any can go, all do: otherwise every further query would search through them again.
            if self.latest.len() > QUERIES / 2 {
                self.latest.clear();
            }
        }
        let latest = Latest { time: response.time, source: transaction.ends.source(), server, input, query };
        let Some(before) = self.latest.insert((id, question.to_vec()), latest) else { return };
        let near = response.time.0.saturating_sub(before.time.0).saturating_abs() <= COPY_WINDOW;
        let twice =
            if before.input == input { latest.is_passed_on_as(&before) } else { latest.source != before.source };
        let key = (server, [before.input.min(input), before.input.max(input)]);
        if near && twice && (self.twice.len() < PAIRS || self.twice.contains_key(&key)) {
            *self.twice.entry(key).or_default() += 1;
        }
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
        let is_most = of_input.iter().any(|(input, twice)| 2 * twice >= self.refused.get(input).copied().unwrap_or(0));
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
    use crate::decode::{Ends, Interface, Point};
    use crate::sources::FrameRef;
    use crate::transact::flights::{Sighting, Transport};

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
    fn passing(sides: &mut Sides, id: u16, [source, server]: [u8; 2], direction: Direction, [at, until]: [i64; 2]) {
        let seen = |time: i64| Sighting {
            time: Timestamp(time * 1000),
            frame: FrameRef { input: 0, frame: 1 },
            point: Point::new(Interface::Host(2), [0; 2], direction),
        };
        sides.push(&Transaction {
            outcome: Outcome::Refused,
            ends: Ends::v4([10, 1, 1, source], [10, 2, 2, server]),
            ports: (4000, 53),
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
}
