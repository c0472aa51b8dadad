//! Remembers transactions just closed ([`Recent`]): what is needed to tell copies, duplicates and late responses from
//! unsolicited ones, in a ring of fixed size.
//!
//! They are in chains by the low bits of the hash, the newest first. A chain ends where it leaves the ring, so that
//! nothing has to be removed from it.

use super::chain::{Heads, Link, Node};
use super::slot::Fingerprint;
use crate::capture::Timestamp;
use crate::decode::message::Question;

/// Transactions of one flow and id that are examined at most.
pub const MAX_SAME_FLOW: usize = 64;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With its response.
    Answered,
    /// Without a response in time.
    TimedOut,
    /// A response whose query was not captured.
    Orphan,
}

/// A question by half of its hash, which suffices where flow and id are equal; 0 when the question is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortQuestion(u32);

impl From<Question> for ShortQuestion {
    #[inline]
    fn from(question: Question) -> Self {
        Self(if question.is_known() { question.low_half() | 1 } else { 0 })
    }
}

impl ShortQuestion {
    /// True when a query and a response with these questions can belong together.
    #[inline]
    pub fn fits(self, other: ShortQuestion) -> bool {
        self == other || self.0 == 0 || other.0 == 0
    }
}

/// A closed transaction; one cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct Closed {
    /// Keyed hash of addresses, ports, transport and id; it stands for them.
    pub hash: u64,
    /// Time of the first query.
    pub asked: Timestamp,
    pub(super) query_time: Timestamp,
    pub(super) response_time: Timestamp,
    /// The question.
    pub question: ShortQuestion,
    pub(super) query_point: u32,
    pub(super) query_payload: u32,
    pub(super) response_point: u32,
    pub(super) response_payload: u32,
    pub(super) query_ip_id: u16,
    pub(super) response_ip_id: u16,
    /// The input of the first query, cut to 16 bits.
    pub(super) input: u16,
    /// Operation code.
    pub opcode: u8,
    /// How the transaction ended.
    pub ended: Ended,
    /// It is a zone transfer over TCP, so further responses belong to it.
    pub transfer: bool,
    /// The response was REFUSED.
    pub refused: bool,
    /// A second response that answers it was already counted, or it is unknown whether the first one was its own.
    pub second_noted: bool,
}

impl Closed {
    /// A transaction asked at `asked`, whose query was last seen as `query` and whose response, if any, as `response`.
    #[inline]
    pub fn new(hash: u64, asked: Timestamp, query: Fingerprint, response: Fingerprint, ended: Ended) -> Self {
        Self {
            hash,
            asked,
            query_time: query.time,
            response_time: response.time,
            question: ShortQuestion(0),
            query_point: query.point,
            query_payload: query.payload_hash,
            response_point: response.point,
            response_payload: response.payload_hash,
            query_ip_id: query.ip_id,
            response_ip_id: response.ip_id,
            input: 0,
            opcode: 0,
            ended,
            transfer: false,
            refused: false,
            second_noted: false,
        }
    }

    /// The query as last seen.
    #[inline]
    pub fn query(&self) -> Fingerprint {
        Fingerprint {
            time: self.query_time,
            point: self.query_point,
            payload_hash: self.query_payload,
            ip_id: self.query_ip_id,
        }
    }

    /// The response as last seen; without meaning when there was none.
    #[inline]
    pub fn response(&self) -> Fingerprint {
        Fingerprint {
            time: self.response_time,
            point: self.response_point,
            payload_hash: self.response_payload,
            ip_id: self.response_ip_id,
        }
    }

    /// Notes that the response was seen again.
    pub fn set_response(&mut self, seen: Fingerprint) {
        self.response_time = seen.time;
        self.response_point = seen.point;
        self.response_payload = seen.payload_hash;
        self.response_ip_id = seen.ip_id;
    }
}

/// The last transactions that ended in one way.
#[derive(Debug)]
pub struct Recent {
    ring: Vec<Closed>,
    links: Vec<Link>,
    /// The newest transaction.
    newest: Node,
    /// The capacity, a power of two, minus one.
    last_place: usize,
}

impl Recent {
    /// An empty ring; `capacity` is rounded up to a power of two.
    pub fn new(capacity: usize) -> Self {
        let last_place = capacity.next_power_of_two().min(1 << 30) - 1;
        // Reserved memory that is never touched costs nothing, while growing would copy (aligned memory is not
        // reallocated in place).
        Self { ring: Vec::with_capacity(last_place + 1), links: Vec::new(), newest: Node::END, last_place }
    }

    /// Adds a transaction in front of `chain`, the newest of its chain so far, and stores it there; returns the time of
    /// the query of the transaction that was overwritten.
    #[inline]
    pub fn push(&mut self, chain: &mut Node, closed: Closed) -> Option<Timestamp> {
        self.newest = self.newest.next();
        let link = Link::new(closed.hash, std::mem::replace(chain, self.newest));
        let place = self.place(self.newest);
        if self.ring.len() <= self.last_place {
            self.ring.push(closed);
            self.links.push(link);
            return None;
        }
        self.links[place] = link;
        Some(std::mem::replace(&mut self.ring[place], closed).asked)
    }

    /// True when a member of a chain, and so every member after it, has left the ring.
    #[inline]
    pub fn has_left(&self, node: Node) -> bool {
        node.age(self.newest) as usize >= self.ring.len()
    }

    /// The index of a transaction in the ring.
    #[inline]
    fn place(&self, node: Node) -> usize {
        node.number() as usize & self.last_place
    }

    /// The newest transaction of a chain that has this hash and for which `fits` holds.
    #[inline]
    pub fn newest(&mut self, chain: Node, hash: u64, fits: impl Fn(&Closed) -> bool) -> Option<&mut Closed> {
        let mut node = chain;
        let (mut age, mut same) = (0, 0);
        // Each member is older than the one before, and the ring ends at a certain age. (After numbers have wrapped
        // around, a leftover number leads to a transaction with another hash.)
        loop {
            let next = node.age(self.newest);
            if next < age || next as usize >= self.ring.len() || same == MAX_SAME_FLOW {
                return None;
            }
            age = next + 1;
            let place = self.place(node);
            let link = self.links[place];
            if link.may_be(hash) && self.ring[place].hash == hash {
                same += 1;
                if fits(&self.ring[place]) {
                    return Some(&mut self.ring[place]);
                }
            }
            node = link.older;
        }
    }

    /// Puts every transaction into new, empty chains.
    pub fn chain_again(&mut self, heads: &mut Heads) {
        for age in (0..self.ring.len() as u32).rev() {
            let node = self.newest.before(age);
            let place = self.place(node);
            self.links[place].older = heads.at_mut(self.ring[place].hash).put(self.ring[place].hash, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: Fingerprint = Fingerprint { time: Timestamp(0), point: 0, payload_hash: 0, ip_id: 0 };

    #[test]
    fn a_closed_transaction_is_one_cache_line() {
        assert_eq!(size_of::<Closed>(), 64);
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_finds_the_rest_also_in_other_chains() {
        let closed =
            |n: u64| Closed::new(n * 0x1234_5678_9abc, Timestamp(n as i64), FINGERPRINT, FINGERPRINT, Ended::Answered);
        let (mut recent, mut heads) = (Recent::new(8), Heads::new(4));
        for n in 0..20 {
            let gone = recent.push(&mut heads.at_mut(closed(n).hash).first, closed(n));
            assert_eq!(gone, (n >= 8).then(|| Timestamp(n as i64 - 8)));
        }
        let found = |recent: &mut Recent, heads: &Heads| -> Vec<i64> {
            let of = |n: u64| (heads.at(closed(n).hash).first, closed(n).hash);
            (0..20).filter_map(|n| recent.newest(of(n).0, of(n).1, |_| true).map(|closed| closed.asked.0)).collect()
        };
        assert_eq!(found(&mut recent, &heads), (12..20).collect::<Vec<_>>());
        let mut more = Heads::new(64);
        recent.chain_again(&mut more);
        assert_eq!(found(&mut recent, &more), (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn of_one_flow_the_newest_counts_and_few_are_looked_through() {
        let (mut recent, mut chain) = (Recent::new(1000), Node::END);
        for n in 0..2500 {
            recent.push(&mut chain, Closed::new(7, Timestamp(n), FINGERPRINT, FINGERPRINT, Ended::Answered));
        }
        assert_eq!(recent.newest(chain, 7, |_| true).map(|closed| closed.asked.0), Some(2499));
        assert_eq!(recent.newest(chain, 7, |closed| closed.asked.0 < 2440).map(|closed| closed.asked.0), Some(2439));
        assert!(recent.newest(chain, 7, |closed| closed.asked.0 < 2436).is_none());
    }

    #[test]
    fn numbers_that_begin_again_do_no_harm() {
        let (mut recent, mut heads) = (Recent::new(8), Heads::new(16));
        recent.newest = Node::END.before(6);
        let closed = |n: u64| Closed::new(n << 32 | n, Timestamp(n as i64), FINGERPRINT, FINGERPRINT, Ended::Answered);
        for n in 0..20 {
            recent.push(&mut heads.at_mut(n).first, closed(n));
        }
        for n in 0..20 {
            let found = recent.newest(heads.at(n).first, closed(n).hash, |_| true).map(|closed| closed.asked.0);
            assert_eq!(found, (n >= 12).then_some(n as i64), "{n}");
        }
    }
}
