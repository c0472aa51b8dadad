//! Follows queries behind a proxy's header ([`Proxied`]): which clients the proxy claims to ask for, and whether the
//! servers understood the header.
//!
//! A server that does not expect the header takes it for the message and answers with the header's first two bytes as
//! identifier. Such a response belongs to the oldest waiting query with a header on the same ports.

use super::in_flight::Flow;
use crate::decode::Ends;
use crate::decode::proxy::Header;
use crate::sources::FrameRef;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Pairs of server and proxy that are counted; queries of further pairs are only matched.
const MAX_PAIRS: usize = 4096;
/// Client addresses listed for one pair.
const MAX_CLIENTS: usize = 16;
/// Flows (without the identifier) on which queries behind headers wait, and queries that wait on one of them.
const MAX_FLOWS: usize = 4096;
const MAX_WAITING: usize = 256;

/// What a proxy asked a server in queries behind its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxiedPair {
    /// Transactions.
    pub asked: u64,
    /// Of these, answered according to the message behind the header.
    pub understood: u64,
    /// Some were answered so before the span of time that these counts are about.
    pub understood_before: bool,
    /// Answered as if the header were the message.
    pub mistaken: u64,
    /// Not answered at all.
    pub unanswered: u64,
    /// The clients named in headers, each address with the first port seen, in order of appearance; bounded.
    pub clients: Vec<SocketAddr>,
    /// More client addresses were named than are listed.
    pub more_clients: bool,
    /// Frames of responses to the header; when there are none, of unanswered queries; bounded.
    pub frames: Vec<FrameRef>,
}

impl ProxiedPair {
    /// Subtracts what was counted until an earlier time; false when nothing is left. Clients stay: they are not counted
    /// by time.
    pub fn take_off(&mut self, before: &Self) -> bool {
        self.asked = self.asked.saturating_sub(before.asked);
        self.understood = self.understood.saturating_sub(before.understood);
        self.understood_before |= before.understood > 0 || before.understood_before;
        self.mistaken = self.mistaken.saturating_sub(before.mistaken);
        self.unanswered = self.unanswered.saturating_sub(before.unanswered);
        self.frames.retain(|frame| !before.frames.contains(frame));
        self.asked + self.understood + self.mistaken + self.unanswered > 0
    }
}

/// How a query behind a header ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedEnd {
    /// With a response to the message behind the header.
    Understood,
    /// With a response to the header.
    Mistaken,
    /// Without a response.
    Unanswered,
}

/// Server and proxy.
pub type ProxiedKey = (IpAddr, IpAddr);

/// Counts per pair of server and proxy, and the queries that wait.
#[derive(Debug, Default)]
pub struct Proxied {
    pairs: BTreeMap<ProxiedKey, ProxiedPair>,
    waiting: HashMap<Flow, VecDeque<u64>>,
}

/// The flow without its identifier.
fn without_id(flow: Flow) -> Flow {
    Flow { id: 0, ..flow }
}

impl Proxied {
    /// True when no header was seen so far.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.pairs.is_empty()
    }

    /// What each proxy asked each server.
    pub fn pairs(&self) -> &BTreeMap<ProxiedKey, ProxiedPair> {
        &self.pairs
    }

    /// Notes that a query behind a header opened the transaction of `token`. `is_open` says whether the transaction of
    /// another token is open.
    pub fn asked(&mut self, ends: Ends, flow: Flow, header: &Header, token: u64, is_open: impl Fn(u64) -> bool) {
        let key = (ends.destination(), ends.source());
        if self.pairs.len() < MAX_PAIRS || self.pairs.contains_key(&key) {
            let pair = self.pairs.entry(key).or_default();
            pair.asked += 1;
            if let Some(client) = header.client
                && !pair.clients.iter().any(|known| known.ip() == client.ip())
            {
                if pair.clients.len() < MAX_CLIENTS {
                    pair.clients.push(client);
                } else {
                    pair.more_clients = true;
                }
            }
        }
        let flow = without_id(flow);
        if self.waiting.len() >= MAX_FLOWS && !self.waiting.contains_key(&flow) {
            // Most are decided by now. When more than half of the flows are not, all are given up: responses to their
            // headers will be unsolicited.
            self.waiting.retain(|_, waiting| {
                waiting.retain(|token| is_open(*token));
                !waiting.is_empty()
            });
            if self.waiting.len() > MAX_FLOWS / 2 {
                self.waiting.clear();
            }
        }
        let waiting = self.waiting.entry(flow).or_default();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(token);
    }

    /// Takes the oldest waiting query with a header on the ports of `flow`. `find` returns the slot of a token whose
    /// transaction is still open.
    pub fn oldest(&mut self, flow: Flow, find: impl Fn(u64) -> Option<u32>) -> Option<u32> {
        let waiting = self.waiting.get_mut(&without_id(flow))?;
        while let Some(token) = waiting.pop_front() {
            if let Some(slot) = find(token) {
                return Some(slot);
            }
        }
        None
    }

    /// Notes how a query behind a header ended; `frame` shows it.
    pub fn ended(&mut self, ends: Ends, how: ProxiedEnd, frame: FrameRef, most_frames: usize) {
        let Some(pair) = self.pairs.get_mut(&(ends.destination(), ends.source())) else { return };
        match how {
            ProxiedEnd::Understood => return pair.understood += 1,
            ProxiedEnd::Mistaken => {
                if pair.mistaken == 0 {
                    pair.frames.clear();
                }
                pair.mistaken += 1;
            }
            ProxiedEnd::Unanswered => {
                pair.unanswered += 1;
                if pair.mistaken > 0 {
                    return;
                }
            }
        }
        if pair.frames.len() < most_frames {
            pair.frames.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transact::in_flight::Transport;

    fn flow(port: u16, id: u16) -> Flow {
        Flow { pair: 0, client_port: port, server_port: 53, id, transport: Transport::Udp }
    }

    fn from(port: u16) -> Header {
        Header { len: 28, client: Some(SocketAddr::new([192, 0, 2, 7].into(), port)) }
    }

    #[test]
    fn a_part_of_the_time_remembers_that_the_header_was_understood() {
        let counts =
            |asked, understood, unanswered| ProxiedPair { asked, understood, unanswered, ..Default::default() };
        let (before, mut part) = (counts(20, 19, 0), counts(20, 19, 1));
        assert!(part.take_off(&before));
        assert_eq!((part.asked, part.understood, part.unanswered, part.understood_before), (0, 0, 1, true));
        let mut quiet = counts(20, 19, 0);
        assert!(!quiet.take_off(&before), "nothing happened");
        let mut never = counts(2, 0, 2);
        assert!(never.take_off(&counts(1, 0, 1)) && !never.understood_before);
    }

    #[test]
    fn responses_to_the_header_go_to_the_oldest_waiting_query() {
        let mut proxied = Proxied::default();
        let ends = Ends::v4([10, 0, 0, 5], [10, 0, 0, 53]);
        for (id, token) in [(1, 10), (2, 20), (3, 30)] {
            proxied.asked(ends, flow(4000, id), &from(id), token, |_| true);
        }
        let open = |token: u64| (token != 10).then_some(token as u32);
        assert_eq!(proxied.oldest(flow(4001, 0x0d0a), open), None);
        assert_eq!(proxied.oldest(flow(4000, 0x0d0a), open), Some(20));
        assert_eq!(proxied.oldest(flow(4000, 0x0d0a), open), Some(30));
        assert_eq!(proxied.oldest(flow(4000, 0x0d0a), open), None);
        let pair = &proxied.pairs()[&(ends.destination(), ends.source())];
        assert_eq!((pair.asked, pair.clients.len()), (3, 1), "one address, whatever its ports");
    }

    #[test]
    fn those_that_wait_stay_while_others_are_decided() {
        let mut proxied = Proxied::default();
        let ends = Ends::v4([10, 0, 0, 5], [10, 0, 0, 53]);
        let open = |token: u64| token.is_multiple_of(100);
        for number in 0..30_000u16 {
            proxied.asked(ends, flow(number, 1), &from(1), u64::from(number), open);
        }
        for number in (0..30_000).step_by(100) {
            let found = proxied.oldest(flow(number, 0x0d0a), |token| Some(token as u32));
            assert_eq!(found, Some(u32::from(number)));
        }
    }

    #[test]
    fn floods_are_bounded() {
        let mut proxied = Proxied::default();
        for number in 0..10_000u32 {
            let ends = Ends::v4(number.to_be_bytes(), [10, 0, 0, 53]);
            proxied.asked(ends, flow(number as u16, 1), &from(1), 1, |_| true);
            proxied.asked(Ends::v4([10, 0, 0, 5], [10, 0, 0, 53]), flow(9, 1), &from(1), 1, |_| true);
        }
        assert!(proxied.pairs.len() <= MAX_PAIRS && proxied.waiting.len() <= MAX_FLOWS);
        assert!(proxied.waiting.values().all(|waiting| waiting.len() <= MAX_WAITING));
    }
}
