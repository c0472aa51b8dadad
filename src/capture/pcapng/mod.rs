//! pcapng (draft-ietf-opsawg-pcapng): sections in either byte order, interfaces with their own link type, resolution
//! and offset, enhanced, simple and obsolete packet blocks; every other block is skipped by its length.

pub mod format;

use super::stated_loss::{Lost, Says, Statement};
use super::{Block, Context, Direction, Frame, Frames, Interface, Reader, Stop, Timestamp, Walk, time::Resolution};
use super::{Passed, kernel_filter, u16_at, u32_at};
use crate::error::escape_text;
use format::{
    APPLICATION, BLOCK_OVERHEAD, BYTE_ORDER_MAGIC, ENHANCED_PACKET, FILTER_IS_TEXT, INTERFACE_BODY,
    INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, OBSOLETE_PACKET, OPTION_APPLICATION, OPTION_COMMENT,
    OPTION_DROPPED_BEFORE, OPTION_DROPPED_BY_INTERFACE, OPTION_DROPPED_BY_SYSTEM, OPTION_END, OPTION_EPB_FLAGS,
    OPTION_FILTER, OPTION_INTERFACE_NAME, OPTION_TIME_OFFSET, OPTION_TIME_RESOLUTION, SECTION_BODY, SECTION_HEADER,
    SIMPLE_PACKET, STATISTICS_BODY,
};
use std::sync::Arc;

/// Bytes of an interface name kept; three dots stand for more.
const INTERFACE_NAME_BYTES: usize = 256;
/// The major version of the format that is read.
const VERSION: u16 = 1;
/// Options looked at per block.
const MAX_OPTIONS: usize = 256;

/// Walks the blocks; see [`Reader::walk`].
pub fn walk(reader: &Reader, block: &Block, context: &mut Arc<Context>, walk: &mut Walk, frames: &mut impl Frames) {
    let data = block.data.as_slice();
    let mut at = walk.end;
    while at < block.limit {
        if data.len() - at < BLOCK_OVERHEAD {
            walk.stop = Some(short(block, at, BLOCK_OVERHEAD));
            break;
        }
        let kind = u32_at(data, at, context.big_endian);
        let big_endian = if kind == SECTION_HEADER {
            match u32_at(data, at + 8, true) {
                BYTE_ORDER_MAGIC => true,
                magic if magic.swap_bytes() == BYTE_ORDER_MAGIC => false,
                magic => {
                    walk.stop = Some(Stop::Bad { at, what: format!("byte-order magic is {magic:#010x}") });
                    break;
                }
            }
        } else {
            context.big_endian
        };
        let len = u32_at(data, at + 4, big_endian) as usize;
        if len < BLOCK_OVERHEAD || !len.is_multiple_of(4) || len > reader.block_bytes {
            walk.stop = Some(Stop::Bad { at, what: format!("block length {len} is not possible") });
            break;
        }
        if len > data.len() - at {
            walk.stop = Some(short(block, at, len));
            break;
        }
        let trailer = u32_at(data, at + len - 4, big_endian) as usize;
        if trailer != len {
            walk.stop = Some(Stop::Bad { at, what: format!("block length {len} is repeated as {trailer}") });
            break;
        }
        let body = &data[at + 8..at + len - 4];
        if matches!(kind, ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET) {
            let before = walk.bytes.packets;
            let frame = packet_block(&PacketBlock { kind, body, body_offset: at + 8 }, context, walk);
            walk.last = Some(frame.time);
            frames.take(frame);
            walk.packets += 1;
            walk.bytes.record_headers += len as u64 - (walk.bytes.packets - before);
        } else if let Some(what) = unreadable(kind, body, big_endian) {
            walk.stop = Some(Stop::Bad { at, what });
            break;
        } else {
            match kind {
                SECTION_HEADER => {
                    let changed = Arc::make_mut(context);
                    changed.big_endian = big_endian;
                    changed.interfaces.clear();
                    changed.own = is_own(body, big_endian);
                    changed.version += 1;
                    state(Says::Section, walk);
                    walk.bytes.headers += len as u64;
                }
                INTERFACE_DESCRIPTION => {
                    let kept = context.interfaces.len() < reader.interfaces;
                    state(if kept { Says::Interface } else { Says::Unclear }, walk);
                    if kept {
                        let (interface, passed) = interface(body, big_endian, context.own, walk);
                        if passed != Passed::Everything {
                            state(Says::LeftOut, walk);
                        }
                        let changed = Arc::make_mut(context);
                        changed.choices.count(passed);
                        let number = changed.interfaces.len();
                        walk.interfaces.push((number, interface.name.clone(), interface.resolution));
                        changed.interfaces.push(interface);
                        changed.version += 1;
                    }
                    walk.bytes.headers += len as u64;
                }
                _ => {
                    if kind == INTERFACE_STATISTICS {
                        statistics(body, big_endian, context, walk);
                    }
                    walk.bytes.skipped_blocks += len as u64;
                }
            }
        }
        at += len;
    }
    walk.end = at;
}

/// Why nothing after a block can be trusted, if so: it says how to read what follows, and cannot be read itself.
fn unreadable(kind: u32, body: &[u8], big_endian: bool) -> Option<String> {
    let (name, least) = match kind {
        SECTION_HEADER => ("a section header", SECTION_BODY),
        INTERFACE_DESCRIPTION => ("an interface description", INTERFACE_BODY),
        _ => return None,
    };
    if body.len() < least {
        return Some(format!("a block of {} bytes is too short for {name}", body.len() + BLOCK_OVERHEAD));
    }
    let version = u16_at(body, 4, big_endian);
    (kind == SECTION_HEADER && version != VERSION).then(|| format!("a section of version {version} is not known"))
}

/// A packet block.
struct PacketBlock<'a> {
    kind: u32,
    body: &'a [u8],
    /// Where its body begins.
    body_offset: usize,
}

/// The frame of one packet block; an empty one where the block contradicts itself, which is counted.
#[inline]
fn packet_block<'a>(block: &PacketBlock<'a>, context: &Context, walk: &mut Walk) -> Frame<'a> {
    let PacketBlock { kind, body, body_offset } = *block;
    let big_endian = context.big_endian;
    let unusable = |link_type: u16, interface: u32, original_len: u32| Frame {
        time: Timestamp::UNKNOWN,
        link_type,
        interface,
        direction: Direction::Unknown,
        data: &[],
        offset: body_offset,
        original_len,
    };
    let header = if kind == SIMPLE_PACKET { 4 } else { 20 };
    if body.len() < header {
        walk.oddities.bad_captured_len += 1;
        return unusable(DAMAGED, 0, 0);
    }
    let interface_id = match kind {
        ENHANCED_PACKET => u32_at(body, 0, big_endian),
        OBSOLETE_PACKET => u32::from(u16_at(body, 0, big_endian)),
        _ => 0,
    };
    let Some(interface) = context.interfaces.get(interface_id as usize) else {
        walk.oddities.bad_interface += 1;
        return unusable(UNDECLARED, interface_id, 0);
    };
    let (captured, original) = if kind == SIMPLE_PACKET {
        let original = u32_at(body, 0, big_endian);
        let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        (original.min(snap_len).min((body.len() - header) as u32), original)
    } else {
        (u32_at(body, 12, big_endian), u32_at(body, 16, big_endian))
    };
    let Some(packet) = body.get(header..).and_then(|rest| rest.get(..captured as usize)) else {
        walk.oddities.bad_captured_len += 1;
        return unusable(DAMAGED, interface_id, original);
    };
    let time = if kind == SIMPLE_PACKET {
        walk.oddities.no_timestamp += 1;
        Timestamp::UNKNOWN
    } else {
        let high = u32_at(body, 4, big_endian);
        let low = u32_at(body, 8, big_endian);
        let units = u64::from(high) << 32 | u64::from(low);
        let (time, odd) = interface.resolution.nanoseconds(units, interface.offset_seconds);
        walk.oddities.timestamps += u64::from(odd);
        if interface.resolution == Resolution::Unusable { Timestamp::UNKNOWN } else { time }
    };
    let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
    walk.oddities.over_snap_len += u64::from(captured > snap_len);
    walk.oddities.over_original_len += u64::from(captured > original);
    walk.bytes.packets += u64::from(captured);
    let options = &body[(header + (captured as usize).next_multiple_of(4)).min(body.len())..];
    let (mut direction, mut lost) = (Direction::Unknown, 0);
    if kind == OBSOLETE_PACKET {
        let count = u16_at(body, 2, big_endian);
        lost = if count == u16::MAX { UNKNOWN_COUNT } else { u64::from(count) };
    } else if kind == ENHANCED_PACKET && !options.is_empty() {
        let sound = each_option(options, big_endian, |code, value| match (code, value.len()) {
            (OPTION_EPB_FLAGS, 4) => {
                direction = match u32_at(value, 0, big_endian) & 3 {
                    1 => Direction::In,
                    2 => Direction::Out,
                    _ => Direction::Unknown,
                };
            }
            (OPTION_DROPPED_BEFORE, _) => {
                lost = value.try_into().map_or(UNKNOWN_COUNT, |count| u64_of(count, big_endian));
            }
            _ => {}
        });
        walk.oddities.bad_options += u64::from(!sound);
    }
    if lost > 0 {
        let said =
            if lost == UNKNOWN_COUNT { Says::Unclear } else { Says::LostBefore { interface: interface_id, lost } };
        walk.last = Some(time);
        state(said, walk);
    }
    Frame {
        time,
        link_type: interface.link_type,
        interface: interface_id,
        direction,
        data: packet,
        offset: body_offset + header,
        original_len: original.max(captured),
    }
}

/// What some programs write for an unknown count.
const UNKNOWN_COUNT: u64 = u64::MAX;

fn u64_of(bytes: [u8; 8], big_endian: bool) -> u64 {
    if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}

/// Link type given to frames of an interface the section does not declare (not a LINKTYPE_ value).
pub const UNDECLARED: u16 = 0xffff;
/// Link type given to packet blocks that contradict themselves (not a LINKTYPE_ value).
pub const DAMAGED: u16 = 0xfffe;

/// True for a section that this program wrote.
fn is_own(section: &[u8], big_endian: bool) -> bool {
    let mut own = false;
    each_option(section.get(SECTION_BODY..).unwrap_or_default(), big_endian, |code, value| {
        own |= code == OPTION_APPLICATION && value.starts_with(APPLICATION.as_bytes());
    });
    own
}

/// What the filter of an interface lets through: the option is one byte with the kind of filter, then the filter.
fn passed(filter: &[u8], link_type: u16, own: bool) -> Passed {
    let expression = match filter.split_first() {
        None => return Passed::Everything,
        Some((&FILTER_IS_TEXT, text)) => String::from_utf8_lossy(text),
        // Compiled instructions, which say nothing here.
        Some(_) => return Passed::Unknown,
    };
    match kernel_filter::passed(expression.trim_end_matches('\0'), link_type) {
        // Users who gave this program a filter are told that it may be why something is missing.
        Passed::Unknown if own => Passed::Part,
        other => other,
    }
}

/// Reads an interface description block: the interface, and what it let through.
fn interface(body: &[u8], big_endian: bool, own: bool, walk: &mut Walk) -> (Interface, Passed) {
    let mut interface = Interface {
        link_type: u16_at(body, 0, big_endian),
        resolution: Resolution::Multiply(1000),
        offset_seconds: 0,
        snap_len: u32_at(body, 4, big_endian),
        name: None,
    };
    let (link_type, mut let_through) = (interface.link_type, Passed::Everything);
    let sound = each_option(&body[INTERFACE_BODY..], big_endian, |code, value| match (code, value.len()) {
        (OPTION_INTERFACE_NAME, 1..) => {
            let kept = &value[..value.len().min(INTERFACE_NAME_BYTES)];
            let more = if kept.len() < value.len() { "..." } else { "" };
            interface.name = Some((escape_text(&String::from_utf8_lossy(kept)) + more).into());
        }
        (OPTION_FILTER, _) => let_through = passed(value, link_type, own),
        (OPTION_TIME_RESOLUTION, 1) => interface.resolution = Resolution::from_option(value[0]),
        (OPTION_TIME_OFFSET, 8) => {
            interface.offset_seconds = value.try_into().map_or(0, |bytes| u64_of(bytes, big_endian)) as i64;
        }
        _ => {}
    });
    walk.oddities.bad_options += u64::from(!sound);
    if interface.resolution == Resolution::Unusable || interface.resolution == Resolution::Binary(127) {
        walk.oddities.bad_resolution += 1;
    }
    (interface, let_through)
}

/// Notes a statement at this place.
#[cold]
fn state(says: Says, walk: &mut Walk) {
    let (record_headers, packets, time) = (walk.bytes.record_headers, walk.packets, walk.last);
    walk.statements.push(Statement { says, record_headers, packets, time });
}

/// Reads an interface statistics block: how many packets the interface lost so far, as far as that can be understood.
fn statistics(body: &[u8], big_endian: bool, context: &Context, walk: &mut Walk) {
    let (mut lost, mut seen, mut clear) = (Lost::default(), 0, true);
    let options = body.get(STATISTICS_BODY..);
    let sound = each_option(options.unwrap_or_default(), big_endian, |code, value| {
        seen += 1;
        let said = match code {
            OPTION_DROPPED_BY_INTERFACE => &mut lost.by_interface,
            OPTION_DROPPED_BY_SYSTEM => &mut lost.by_system,
            // This program marks its numbers when they are not exact.
            OPTION_COMMENT => return clear &= !context.own,
            _ => return,
        };
        let count =
            value.try_into().ok().map(|count| u64_of(count, big_endian)).filter(|count| *count != UNKNOWN_COUNT);
        clear &= count.is_some();
        *said = count.max(*said);
    });
    if options.is_some() {
        lost.interface = u32_at(body, 0, big_endian);
    }
    let says_something = lost.by_interface.is_some() || lost.by_system.is_some();
    let declared = (lost.interface as usize) < context.interfaces.len();
    if says_something && declared && sound {
        state(Says::Lost(lost), walk);
    }
    if !(clear && sound) || options.is_none() || seen == MAX_OPTIONS || (says_something && !declared) {
        state(Says::Unclear, walk);
    }
}

/// Calls back for each option; false when one runs over the end.
fn each_option(mut options: &[u8], big_endian: bool, mut on_option: impl FnMut(u16, &[u8])) -> bool {
    for _ in 0..MAX_OPTIONS {
        if options.len() < 4 {
            return options.is_empty();
        }
        let code = u16_at(options, 0, big_endian);
        let len = u16_at(options, 2, big_endian) as usize;
        if code == OPTION_END {
            return true;
        }
        let Some(value) = options[4..].get(..len) else { return false };
        on_option(code, value);
        options = options.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    true
}

/// The block at `at` needs `wanted` bytes, more than there are.
fn short(block: &Block, at: usize, wanted: usize) -> Stop {
    if block.at_end { Stop::Cut { at, wanted, has: block.data.len() - at } } else { Stop::Need { at, bytes: wanted } }
}

/// Consecutive blocks that must look right before a guess is believed.
const PLAUSIBLE_BLOCKS: usize = 4;

/// The first index from which four blocks in a row repeat their length; the block's limit when there is none.
pub fn guess_start(reader: &Reader, block: &Block, context: &Context) -> usize {
    let data = block.data.as_slice();
    // Lengths of blocks are multiples of four bytes, and so are their offsets.
    let first = (4 - (block.offset % 4) as usize) % 4;
    'candidates: for candidate in (first..block.limit).step_by(4) {
        let mut at = candidate;
        for _ in 0..PLAUSIBLE_BLOCKS {
            if at + BLOCK_OVERHEAD > data.len() {
                return if at > candidate { candidate } else { block.limit };
            }
            let len = u32_at(data, at + 4, context.big_endian) as usize;
            let kind = u32_at(data, at, context.big_endian);
            let plausible = len >= BLOCK_OVERHEAD
                && len.is_multiple_of(4)
                && len <= reader.block_bytes
                && (kind < 0x100 || kind == SECTION_HEADER || kind & 0x8000_0000 != 0);
            if !plausible {
                continue 'candidates;
            }
            if at + len > data.len() {
                return if at > candidate { candidate } else { block.limit };
            }
            if u32_at(data, at + len - 4, context.big_endian) as usize != len {
                continue 'candidates;
            }
            at += len;
        }
        return candidate;
    }
    block.limit
}

#[cfg(test)]
mod tests;
