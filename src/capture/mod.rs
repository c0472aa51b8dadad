//! Bytes to frames: blocks of capture files become [`Frame`]s, with every byte accounted for.
//!
//! [`Block`] is the unit of work: a quarter of a MiB of one input. A [`Reader`] knows the file format; [`Reader::walk`]
//! calls back for every frame that *begins* in a block. A block in the middle of a file can be walked before the one in
//! front of it: [`Reader::guess_start`] proposes where its first record begins, and whoever consumes the blocks in
//! order checks that each walk started where the one before ended, and walks again if not.

pub mod filter;
pub mod host;
pub mod kernel_filter;
pub mod live;
pub mod losses;
pub mod open;
pub mod packet_socket;
pub mod pcap_file;
pub mod pcapng;
pub mod stated_loss;
pub mod time;

pub use time::Timestamp;

use stated_loss::Statement;
use std::sync::Arc;

/// One captured packet as the file holds it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// LINKTYPE_ value that says how `data` begins.
    pub link_type: u16,
    /// Interface number inside the pcapng section; 0 for pcap.
    pub interface: u32,
    /// Seen leaving the capturing host, seen arriving, or not said.
    pub direction: Direction,
    /// Captured bytes.
    pub data: &'a [u8],
    /// Offset of `data` in its block.
    pub offset: usize,
    /// Length on the wire, in bytes; more than `data.len()` when the packet was cut by the snapshot length.
    pub original_len: u32,
}

/// Direction of a frame, seen from the capturing host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(u8)]
pub enum Direction {
    /// The capture does not say.
    #[default]
    Unknown,
    /// Arriving.
    In,
    /// Leaving.
    Out,
}

/// What a file format says about the packets of one interface.
#[derive(Debug, Clone)]
pub struct Interface {
    /// LINKTYPE_ value.
    pub link_type: u16,
    /// How its timestamps become nanoseconds.
    pub resolution: time::Resolution,
    /// Seconds to add to its timestamps.
    pub offset_seconds: i64,
    /// Snapshot length; 0 means no limit.
    pub snap_len: u32,
    /// Name, when the file gives one.
    pub name: Option<Arc<str>>,
}

/// What was let through where packets were captured, according to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passed {
    /// All DNS, or nothing is said.
    #[default]
    Everything,
    /// Only REFUSED responses.
    Refusals,
    /// A selection by an expression that is not about DNS as such.
    Part,
    /// A selection by an expression of another program; it may have left out no DNS.
    Unknown,
}

/// Number of interfaces in a file by what they let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Interfaces described.
    pub interfaces: u64,
    /// Of these, interfaces that let only REFUSED responses through.
    pub refusals: u64,
    /// Interfaces that let through a part that somebody selected.
    pub part: u64,
    /// Interfaces with an expression of another program.
    pub unknown: u64,
}

impl Choices {
    /// Counts an interface.
    pub fn count(&mut self, passed: Passed) {
        self.interfaces += 1;
        match passed {
            Passed::Everything => {}
            Passed::Refusals => self.refusals += 1,
            Passed::Part => self.part += 1,
            Passed::Unknown => self.unknown += 1,
        }
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Choices) {
        self.interfaces += other.interfaces;
        self.refusals += other.refusals;
        self.part += other.part;
        self.unknown += other.unknown;
    }

    /// True when some interface did not let everything through, or may not have.
    pub fn may_lack_packets(&self) -> bool {
        self.refusals + self.part + self.unknown > 0
    }

    /// True when only REFUSED responses were let through.
    pub fn only_refusals(&self) -> bool {
        self.interfaces > 0 && self.refusals == self.interfaces
    }
}

/// State of a file format that is needed to read a record; it changes only at section and interface blocks.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Numbers in the file are big-endian.
    pub big_endian: bool,
    /// Interfaces declared so far (pcap has exactly one).
    pub interfaces: Vec<Interface>,
    /// Bytes of record header: 16, or 24 for the patched format (pcap only).
    pub record_header: usize,
    /// This program wrote the section (pcapng only).
    pub own: bool,
    /// What all interfaces so far let through, including those of earlier sections (pcapng only).
    pub choices: Choices,
    /// Incremented with every change, so that a walk with an outdated context is noticed.
    pub version: u64,
}

/// The capture file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// libpcap's savefile format.
    Pcap,
    /// draft-ietf-opsawg-pcapng.
    Pcapng,
}

impl Format {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Format::Pcap => "pcap",
            Format::Pcapng => "pcapng",
        }
    }
}

/// A piece of one input, as read.
#[derive(Debug, Default)]
pub struct Block {
    /// Offset in the (expanded) input of `data[0]`.
    pub offset: u64,
    /// The bytes; may reach past `limit` to complete the last record.
    pub data: Vec<u8>,
    /// Records that begin at or after this index belong to the next block.
    pub limit: usize,
    /// Nothing follows `data` in the input.
    pub at_end: bool,
}

/// The bytes of an input by owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteTally {
    /// File, section and interface headers.
    pub headers: u64,
    /// Headers, padding, options and trailers of packet records.
    pub record_headers: u64,
    /// Captured packet bytes.
    pub packets: u64,
    /// Blocks of other kinds, skipped by their length.
    pub skipped_blocks: u64,
    /// Bytes after the last usable record.
    pub unread_tail: u64,
}

impl ByteTally {
    /// Adds another tally to this one.
    pub fn add(&mut self, other: &ByteTally) {
        self.headers += other.headers;
        self.record_headers += other.record_headers;
        self.packets += other.packets;
        self.skipped_blocks += other.skipped_blocks;
        self.unread_tail += other.unread_tail;
    }

    /// Every byte counted.
    pub fn total(&self) -> u64 {
        self.headers + self.record_headers + self.packets + self.skipped_blocks + self.unread_tail
    }
}

/// Anomalies of records that do not make them unusable, counted by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Captured length above the snapshot length.
    pub over_snap_len: u64,
    /// Captured length above the length on the wire.
    pub over_original_len: u64,
    /// Fraction of a second of one second or more, or a time that does not fit.
    pub timestamps: u64,
    /// Packets of an interface that was not declared.
    pub bad_interface: u64,
    /// Packet blocks that end before their content does.
    pub bad_captured_len: u64,
    /// Blocks whose options run over their end.
    pub bad_options: u64,
    /// Interfaces with a timestamp resolution that cannot be represented.
    pub bad_resolution: u64,
    /// Packets without a timestamp (simple packet blocks).
    pub no_timestamp: u64,
}

impl Oddities {
    /// Adds another count to this one.
    pub fn add(&mut self, other: &Oddities) {
        self.over_snap_len += other.over_snap_len;
        self.over_original_len += other.over_original_len;
        self.timestamps += other.timestamps;
        self.bad_interface += other.bad_interface;
        self.bad_captured_len += other.bad_captured_len;
        self.bad_options += other.bad_options;
        self.bad_resolution += other.bad_resolution;
        self.no_timestamp += other.no_timestamp;
    }

    /// Descriptions of the anomalies that mean damage, with their counts.
    pub fn damage(&self) -> Vec<String> {
        [
            (self.bad_interface, "packets of an undeclared interface, not opened"),
            (self.bad_captured_len, "packet blocks that end before what they should hold, not opened"),
            (self.bad_options, "blocks whose options run over their end, options not used"),
            (self.bad_resolution, "interfaces with an unusable timestamp resolution, times not used"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

/// Why a walk stopped before the end of its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The record at this index needs more bytes; the block must be extended.
    Need {
        /// Index of the record.
        at: usize,
        /// Bytes the record needs, from `at`.
        bytes: usize,
    },
    /// The input ends inside a record.
    Cut {
        /// Index of the record.
        at: usize,
        /// Bytes the record needs.
        wanted: usize,
        /// Bytes the input still has.
        has: usize,
    },
    /// A record contradicts itself; nothing after it can be trusted.
    Bad {
        /// Index of the record.
        at: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// The result of walking one block.
#[derive(Debug, Default)]
pub struct Walk {
    /// Index where the next record begins (at or beyond the block's limit), or where the walk stopped.
    pub end: usize,
    /// Who owns the bytes walked over.
    pub bytes: ByteTally,
    /// Anomalies of records.
    pub oddities: Oddities,
    /// Statements about losses.
    pub statements: Vec<Statement>,
    /// Interfaces declared: number in their section, name, and resolution.
    pub interfaces: Vec<(usize, Option<Arc<str>>, time::Resolution)>,
    /// Packets walked over (pcapng only).
    pub packets: u32,
    /// The time of the last of them.
    pub last: Option<Timestamp>,
    /// Why the walk stopped early.
    pub stop: Option<Stop>,
}

/// Takes the frames of a walk in order: a closure, or a type that must be compiled into the walk's loop.
pub trait Frames {
    /// The next frame.
    fn take(&mut self, frame: Frame<'_>);
}

impl<F: FnMut(Frame<'_>)> Frames for F {
    #[inline]
    fn take(&mut self, frame: Frame<'_>) {
        self(frame);
    }
}

/// Reader of one capture file format.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The format.
    pub format: Format,
    /// Largest packet, in bytes.
    pub packet_bytes: usize,
    /// Largest pcapng block, in bytes.
    pub block_bytes: usize,
    /// Interfaces kept per section.
    pub interfaces: usize,
}

impl Reader {
    /// Walks the records of `block` from index `start`; `context` follows the sections and interfaces met. Continues an
    /// earlier walk when `walk.stop` asked for more bytes and they were added.
    pub fn walk(
        &self,
        block: &Block,
        start: usize,
        context: &mut Arc<Context>,
        walk: &mut Walk,
        frames: &mut impl Frames,
    ) {
        walk.stop = None;
        walk.end = start;
        match self.format {
            Format::Pcap => pcap_file::walk(self, block, context, walk, frames),
            Format::Pcapng => pcapng::walk(self, block, context, walk, frames),
        }
    }

    /// Proposes where the first record of a block in the middle of a file begins. May be wrong: the consumer checks.
    pub fn guess_start(&self, block: &Block, context: &Context) -> usize {
        match self.format {
            Format::Pcap => pcap_file::guess_start(self, block, context),
            Format::Pcapng => pcapng::guess_start(self, block, context),
        }
    }
}

/// Four bytes at `at` as a number in the file's byte order; the caller has checked the bounds.
#[inline]
fn u32_at(data: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = data[at..at + 4].try_into().unwrap_or_default();
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// Two bytes at `at` as a number in the file's byte order; the caller has checked the bounds.
#[inline]
fn u16_at(data: &[u8], at: usize, big_endian: bool) -> u16 {
    let bytes = [data[at], data[at + 1]];
    if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}
