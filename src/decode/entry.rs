//! What decoding keeps of a frame for the order-dependent half ([`Entry`]), and a block of such entries ([`Decoded`]).

use super::ip::FragmentHeader;
use super::message::Message;
use super::quote::Quote;
use super::{Ends, Point, Tally, Unread};
use crate::capture::Timestamp;

/// What the order-dependent half has to see of a frame, in the order of frames.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// When it was captured.
    pub time: Timestamp,
    /// Index of the frame in its block, from 0.
    pub frame: u32,
    /// Offset of the payload in the block.
    pub offset: u32,
    /// Captured bytes of the payload.
    pub len: u32,
    /// Where in the capture it was seen.
    pub point: Point,
    /// Source and destination address.
    pub ends: Ends,
    /// What it is.
    pub body: Body,
}

impl Entry {
    /// A mark before a frame of this time and number: packets were lost before it.
    pub fn lost(time: Timestamp, frame: u32) -> Self {
        Self::between(time, frame, Body::Lost)
    }

    /// True for a frame; false for a mark between frames.
    pub fn is_frame(&self) -> bool {
        !matches!(self.body, Body::Lost | Body::LeftOut)
    }

    /// A mark that is not a frame, before a frame of this time and number.
    pub fn between(time: Timestamp, frame: u32, body: Body) -> Self {
        let (point, ends) = (Point::default(), Ends::v4([0; 4], [0; 4]));
        Self { time, frame, offset: 0, len: 0, point, ends, body }
    }
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// A UDP datagram on a DNS port; the payload is the message.
    Datagram(Datagram),
    /// A TCP segment on a DNS port; the payload is the segment's data.
    Segment(Segment),
    /// A fragment of a datagram; the payload is the fragment's data.
    Fragment {
        /// Its place in the datagram, as its header says.
        header: FragmentHeader,
        /// Protocol of the datagram.
        protocol: u8,
    },
    /// An ICMP error about a packet on a DNS port; the entry's ends are those of that packet, from client to server. No
    /// payload.
    Quote(Quote),
    /// A packet that could not be read; no payload.
    Unread(Unread),
    /// Packets were lost somewhere before this place; no payload.
    Lost,
    /// From here on the capture leaves packets out; no payload.
    LeftOut,
}

/// A UDP datagram that carries a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// IPv4 identification, 0 otherwise.
    pub ip_id: u16,
    /// Bytes of the payload before the message: a proxy's header, 0 without one.
    pub proxy_len: u16,
    /// The message; `None` when it has no whole header.
    pub message: Option<Message>,
    /// Keyed hash of the payload, to recognise copies of the packet.
    pub payload_hash: u32,
    /// Keyed hash of client and server address.
    pub pair_hash: u64,
    /// Keyed hash of that, both ports and the message ID; 0 without a message.
    pub flow_hash: u64,
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// TCP source port.
    pub source_port: u16,
    /// TCP destination port.
    pub destination_port: u16,
    /// Sequence number of the first data byte (of the SYN when it is set).
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// FIN, SYN, RST and ACK as in the header's flag byte.
    pub flags: u8,
    /// Bytes of data according to the IP header; more than captured when the frame was cut.
    pub full_len: u32,
}

impl Segment {
    /// FIN is set.
    pub fn fin(&self) -> bool {
        self.flags & 0x01 != 0
    }
    /// SYN is set.
    pub fn syn(&self) -> bool {
        self.flags & 0x02 != 0
    }
    /// RST is set.
    pub fn rst(&self) -> bool {
        self.flags & 0x04 != 0
    }
    /// ACK is set.
    pub fn ack(&self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// What a block of frames decoded to.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Entries for the order-dependent half.
    pub entries: Vec<Entry>,
    /// Frames that ended here. A frame with an entry is counted by the consumer of the entry.
    pub tally: Tally,
    /// Frames in the block.
    pub frames: u32,
    /// Earliest and latest time of a frame.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Link types met.
    pub link_types: Vec<u16>,
    /// The link type met last.
    link_type: Option<u16>,
    /// Indexes of the first frames that could not be decoded because of a fault of this program.
    pub faults: Vec<u32>,
}

impl Decoded {
    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = Self { entries, ..Self::default() };
    }

    /// Inserts marks between frames: before which frame, by index in the block, and when.
    pub fn note_between(&mut self, said: impl Iterator<Item = (u32, Timestamp, Body)>) {
        self.entries.extend(said.map(|(frame, time, body)| Entry::between(time, frame, body)));
        self.entries.sort_by_key(|entry| (entry.frame, !matches!(entry.body, Body::Lost | Body::LeftOut)));
    }

    /// Notes the link type of a frame.
    #[inline]
    pub(super) fn note_link_type(&mut self, link_type: u16) {
        if self.link_type != Some(link_type) {
            self.note_another_link_type(link_type);
        }
    }

    #[cold]
    fn note_another_link_type(&mut self, link_type: u16) {
        self.link_type = Some(link_type);
        if !self.link_types.contains(&link_type) {
            self.link_types.push(link_type);
        }
    }
}
