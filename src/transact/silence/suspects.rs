//! Holds queries that seem to be met with silence for as long as a late response could still come ([`Suspects`]).

use crate::capture::Timestamp;
use crate::decode::Ends;
use crate::transact::in_flight::{Flow, Sighting};
use crate::transact::kept::KeptMessage;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Responses without a query that are remembered. When there are more, silence is not claimed of queries asked before.
const MAX_STRAYS: usize = 16_384;

/// A query that got no response in time although its server answered others.
#[derive(Debug)]
pub struct Suspect {
    /// Keyed hash of flow and identifier; it stands for them.
    pub hash: u64,
    /// Client, server, ports, transport and identifier.
    pub flow: Flow,
    /// The query.
    pub query: Sighting,
    /// Its bytes.
    pub kept: KeptMessage,
    /// When it was asked, on the clock's line.
    pub asked: Timestamp,
}

/// Queries that seem to be met with silence, for as long as a late response may come.
#[derive(Debug, Default)]
pub struct Suspects {
    waiting: VecDeque<Suspect>,
    /// By hash: how many queries wait, and whether a response with that hash came.
    hashes: HashMap<u64, (u32, bool)>,
    /// By client address, client port and identifier: when the latest response without a query came, and from which
    /// server if it was REFUSED.
    strays: HashMap<(IpAddr, u16, u16), (Timestamp, Option<IpAddr>)>,
    /// Responses from before this time may have been forgotten.
    strays_since: Option<Timestamp>,
    /// The number of queries without a response that such a refusal from another address may belong to, and the ends
    /// and the refusing address of the first.
    elsewhere: Option<(u64, Ends, IpAddr)>,
}

impl Suspects {
    /// How many queries wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The pairs of the waiting queries.
    pub fn pairs(&self) -> impl Iterator<Item = u32> + '_ {
        self.waiting.iter().map(|suspect| suspect.flow.pair)
    }

    /// Adds a query.
    pub fn push(&mut self, suspect: Suspect) {
        self.hashes.entry(suspect.hash).or_default().0 += 1;
        self.waiting.push_back(suspect);
    }

    /// Notes that a response with this hash came.
    pub fn answered(&mut self, hash: u64) {
        if let Some((_, answered)) = self.hashes.get_mut(&hash) {
            *answered = true;
        }
    }

    /// Notes a response without a query: a server with several addresses may have been asked at one and have answered
    /// from another. `ends` leads from client to server.
    pub fn note_stray(&mut self, ends: Ends, flow: Flow, time: Timestamp, refused: bool) {
        if self.strays.len() >= MAX_STRAYS {
            self.strays.clear();
            self.strays_since = Some(time);
        }
        let from = refused.then_some(ends.destination());
        self.strays.insert((ends.source(), flow.client_port, flow.id), (time, from));
    }

    /// True when a response without a query is remembered.
    pub fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Counts a query without a response when a REFUSED response that came after it, from another address, may belong
    /// to it.
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

    /// How many queries another address may have refused, whether there may be more, and the ends and the refusing
    /// address of the first; `None` when there were none.
    pub fn elsewhere(&self) -> Option<(u64, bool, Ends, IpAddr)> {
        self.elsewhere.map(|(count, ends, from)| (count, self.strays_since.is_some(), ends, from))
    }

    /// True when the response to a query may have come from an address other than the one asked. A response up to
    /// `before` nanoseconds earlier counts as well, because the clocks of two captures may differ.
    pub fn may_have_stray_response(&self, client: IpAddr, suspect: &Suspect, before: i64) -> bool {
        let stray = self.strays.get(&(client, suspect.flow.client_port, suspect.flow.id)).map(|(time, _)| *time);
        let since = suspect.asked.0.saturating_sub(before);
        stray.max(self.strays_since).is_some_and(|time| time.0 >= since)
    }

    /// Removes the oldest query when it was asked before `asked_before`, and returns it with whether a response came.
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
    use crate::capture::Direction;
    use crate::decode::{Interface, Point};
    use crate::sources::FrameRef;
    use crate::transact::in_flight::Transport;

    fn ends(client: u8) -> Ends {
        Ends::v4([10, 0, 0, client], [10, 0, 0, 53])
    }

    #[test]
    fn strays_are_bounded_and_speak_against_silence() {
        let flow = |id: u16| Flow { pair: 0, client_port: 4000, server_port: 53, id, transport: Transport::Udp };
        let query = Sighting {
            time: Timestamp(10),
            frame: FrameRef { input: 0, frame: 1 },
            point: Point::new(Interface::Host(2), [0; 2], Direction::In),
        };
        let suspect = |id| Suspect { hash: 0, flow: flow(id), query, kept: KeptMessage::NONE, asked: Timestamp(10) };
        let client = ends(1).source();
        let mut suspects = Suspects::default();
        suspects.note_stray(ends(1), flow(7), Timestamp(8), false);
        assert!(!suspects.may_have_stray_response(client, &suspect(7), 1), "long before it was asked");
        assert!(suspects.may_have_stray_response(client, &suspect(7), 2), "by a clock that is behind");
        suspects.note_stray(ends(1), flow(7), Timestamp(11), false);
        assert!(
            suspects.may_have_stray_response(client, &suspect(7), 0)
                && !suspects.may_have_stray_response(client, &suspect(8), 0)
        );
        assert!(!suspects.may_have_stray_response(ends(2).source(), &suspect(7), 0));
        for number in 0..MAX_STRAYS as u32 {
            suspects.note_stray(Ends::v4(number.to_be_bytes(), [10, 0, 0, 53]), flow(7), Timestamp(12), false);
        }
        // A refusal counts for queries asked before it at another address.
        let asked = |number: u8| Ends::v4([10, 0, 0, 1], [10, 0, 0, number]);
        suspects.note_stray(asked(53), flow(9), Timestamp(12), true);
        for (server, id, at) in [(53, 9, 10), (54, 9, 13), (54, 7, 10)] {
            suspects.note_elsewhere(asked(server), flow(id), Timestamp(at));
        }
        assert_eq!(suspects.elsewhere(), None);
        suspects.note_elsewhere(asked(54), flow(9), Timestamp(12));
        suspects.note_elsewhere(asked(55), flow(9), Timestamp(12));
        assert_eq!(suspects.elsewhere(), Some((2, true, asked(54), asked(53).destination())));
        assert!(
            suspects.strays.len() <= MAX_STRAYS && suspects.may_have_stray_response(client, &suspect(8), 0),
            "not known"
        );
    }
}
