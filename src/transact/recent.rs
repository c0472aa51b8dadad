//! Transactions just closed ([`Recent`]): what is needed to tell copies, duplicates and late responses from unsolicited
//! ones, in a ring of fixed size that is written in order.

use super::flights::Sighting;
use crate::capture::Timestamp;
use crate::config::COPY_WINDOW;
use crate::decode::message::Question;

/// Transactions looked through with one flow and id.
pub const MAX_SAME_FLOW: usize = 64;

/// What is compared to recognise a packet seen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    /// Time of the frame.
    pub time: Timestamp,
    /// The point of the capture, folded to 32 bits.
    point: u32,
    /// Keyed hash of the payload.
    pub payload_hash: u32,
    /// IPv4 identification, 0 otherwise.
    pub ip_id: u16,
}

impl From<&Sighting> for Print {
    fn from(seen: &Sighting) -> Self {
        Self { time: seen.time, point: seen.point.folded(), payload_hash: seen.payload_hash, ip_id: seen.ip_id }
    }
}

impl Print {
    /// True when `later` is the same packet seen again: equal payload within 10 ms, at another point or with an equal,
    /// non-zero IPv4 identification. (The flow is equal already.)
    #[inline]
    pub fn is_copied_by(&self, later: &Sighting) -> bool {
        self.payload_hash == later.payload_hash
            && later.time.0.saturating_sub(self.time.0).abs() <= COPY_WINDOW
            && (self.point != later.point.folded() || (self.ip_id != 0 && self.ip_id == later.ip_id))
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With its response.
    Answered,
    /// Without one in time.
    TimedOut,
    /// It is a response whose query was not captured.
    Orphan,
}

/// A question by the half of its hash, which is enough beside an equal flow and id.
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
    /// Keyed hash of addresses, ports, transport and id: equal when the flow and id are.
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
    /// Operation code.
    pub opcode: u8,
    /// How it ended.
    pub ended: Ended,
    /// A zone transfer over TCP: further responses belong to it.
    pub transfer: bool,
}

impl Closed {
    /// A transaction asked at `asked`, whose query was last seen as `query` and whose response (if it has one) as
    /// `response`.
    #[inline]
    pub fn new(hash: u64, asked: Timestamp, query: Print, response: Print, ended: Ended) -> Self {
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
            opcode: 0,
            ended,
            transfer: false,
        }
    }

    /// The query as last seen.
    #[inline]
    pub fn query(&self) -> Print {
        Print {
            time: self.query_time,
            point: self.query_point,
            payload_hash: self.query_payload,
            ip_id: self.query_ip_id,
        }
    }

    /// The response as last seen; of no meaning without one.
    #[inline]
    pub fn response(&self) -> Print {
        Print {
            time: self.response_time,
            point: self.response_point,
            payload_hash: self.response_payload,
            ip_id: self.response_ip_id,
        }
    }

    /// Notes the response seen again.
    pub fn set_response(&mut self, seen: Print) {
        self.response_time = seen.time;
        self.response_point = seen.point;
        self.response_payload = seen.payload_hash;
        self.response_ip_id = seen.ip_id;
    }
}

/// The last transactions of a kind: a ring, and an index of chains from the newest to the oldest with equal low bits of
/// the hash. A chain ends where it leaves the ring, so that nothing has to be taken out of the index.
#[derive(Debug)]
pub struct Recent {
    ring: Vec<Closed>,
    links: Vec<Link>,
    /// Number of the newest transaction of each chain.
    heads: Vec<u32>,
    /// Number of the newest transaction; the first has 1.
    newest: u32,
    capacity: usize,
}

/// A place in a chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// Upper half of the hash.
    tag: u32,
    /// Number of the next older transaction of the chain.
    older: u32,
}

/// Chains per transaction: most are empty, so that looking for a flow and id that is not there takes one look.
const CHAINS: usize = 4;

impl Recent {
    /// An empty ring for so many transactions, rounded up to a power of two.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two();
        Self { ring: Vec::new(), links: Vec::new(), heads: Vec::new(), newest: 0, capacity }
    }

    /// Adds a transaction; returns the time of the query of the one that had to go.
    #[inline]
    pub fn push(&mut self, closed: Closed) -> Option<Timestamp> {
        if self.heads.is_empty() {
            self.heads = vec![0; self.capacity * CHAINS];
        }
        self.newest = self.newest.wrapping_add(1);
        let chain = closed.hash as usize & (self.capacity * CHAINS - 1);
        let link =
            Link { tag: (closed.hash >> 32) as u32, older: std::mem::replace(&mut self.heads[chain], self.newest) };
        let place = self.place(self.newest);
        if self.ring.len() < self.capacity {
            self.ring.push(closed);
            self.links.push(link);
            return None;
        }
        self.links[place] = link;
        Some(std::mem::replace(&mut self.ring[place], closed).asked)
    }

    /// Where in the ring the transaction with this number stands.
    #[inline]
    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(1) as usize & (self.capacity - 1)
    }

    /// Looks where [`Recent::newest`] will look first, to have the memory at hand then.
    #[inline]
    pub fn glance(&self, hash: u64) -> u32 {
        self.heads.get(hash as usize & (self.capacity * CHAINS - 1)).copied().unwrap_or_default()
    }

    /// The newest transaction with a flow and id that `fits`.
    #[inline]
    pub fn newest(&mut self, hash: u64, fits: impl Fn(&Closed) -> bool) -> Option<&mut Closed> {
        let mut number = *self.heads.get(hash as usize & (self.capacity * CHAINS - 1))?;
        let (mut age, mut same) = (0, 0);
        // Each is older than the one before, and the ring ends at an age. (Numbers begin again after 2^32; what is left of
        // the last time then looks like a transaction with another hash.)
        loop {
            let next = self.newest.wrapping_sub(number);
            if next < age || next as usize >= self.ring.len() || same == MAX_SAME_FLOW {
                return None;
            }
            age = next + 1;
            let place = self.place(number);
            let link = self.links[place];
            if link.tag == (hash >> 32) as u32 && self.ring[place].hash == hash {
                same += 1;
                if fits(&self.ring[place]) {
                    return Some(&mut self.ring[place]);
                }
            }
            number = link.older;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_transaction_is_one_cache_line() {
        assert_eq!(size_of::<Closed>(), 64);
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_finds_the_rest() {
        let print = Print { time: Timestamp(0), point: 0, payload_hash: 0, ip_id: 0 };
        let closed = |n: u64| Closed::new(n * 0x1234_5678_9abc, Timestamp(n as i64), print, print, Ended::Answered);
        let mut recent = Recent::new(8);
        for n in 0..20 {
            let gone = recent.push(closed(n));
            assert_eq!(gone, (n >= 8).then(|| Timestamp(n as i64 - 8)));
        }
        let mut found = Vec::new();
        for n in 0..20 {
            found.extend(recent.newest(closed(n).hash, |_| true).map(|closed| closed.asked.0));
        }
        assert_eq!(found, (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn of_one_flow_the_newest_counts_and_few_are_looked_through() {
        let print = Print { time: Timestamp(0), point: 0, payload_hash: 0, ip_id: 0 };
        let mut recent = Recent::new(1000);
        for n in 0..2500 {
            recent.push(Closed::new(7, Timestamp(n), print, print, Ended::Answered));
        }
        assert_eq!(recent.newest(7, |_| true).map(|closed| closed.asked.0), Some(2499));
        assert_eq!(recent.newest(7, |closed| closed.asked.0 < 2440).map(|closed| closed.asked.0), Some(2439));
        assert!(recent.newest(7, |closed| closed.asked.0 < 2436).is_none());
    }
}
