//! libpcap savefiles (draft-ietf-opsawg-pcap): both byte orders, micro- and nanoseconds, and the patched `cd34`
//! records.

use super::{
    Block, Context, Frame, Frames, Interface, Oddities, Reader, Stop, Timestamp, Walk, time::Resolution, u32_at,
};
use prefetch_index::prefetch_index;
use std::sync::Arc;

/// Bytes of the file header.
pub const FILE_HEADER: usize = 24;
/// Bytes of an ordinary record header, as in every file but those of the patched libpcap.
pub const RECORD_HEADER: usize = 16;
/// Bytes of a record header in files of the patched libpcap whose magic ends in `cd34`.
const PATCHED_RECORD_HEADER: usize = 24;

/// Reads the file header; `None` when the first four bytes are not a magic number of this format or it is incomplete.
pub fn read_header(bytes: &[u8]) -> Option<Context> {
    let header = bytes.get(..FILE_HEADER)?;
    let (big_endian, nanoseconds, record_header) = match [header[0], header[1], header[2], header[3]] {
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, false, RECORD_HEADER),
        [0xa1, 0xb2, 0xc3, 0xd4] => (true, false, RECORD_HEADER),
        [0x4d, 0x3c, 0xb2, 0xa1] => (false, true, RECORD_HEADER),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, true, RECORD_HEADER),
        [0x34, 0xcd, 0xb2, 0xa1] => (false, false, PATCHED_RECORD_HEADER),
        [0xa1, 0xb2, 0xcd, 0x34] => (true, false, PATCHED_RECORD_HEADER),
        _ => return None,
    };
    let interface = Interface {
        // The upper bits hold the length of a frame check sequence, not the link type.
        link_type: (u32_at(header, 20, big_endian) & 0xffff) as u16,
        resolution: Resolution::Multiply(if nanoseconds { 1 } else { 1000 }),
        offset_seconds: 0,
        snap_len: u32_at(header, 16, big_endian),
        name: None,
    };
    Some(Context { big_endian, interfaces: vec![interface], record_header, ..Context::default() })
}

/// True when the bytes begin with a magic number of this format.
pub fn has_magic(bytes: &[u8]) -> bool {
    let mut header = [0; FILE_HEADER];
    let len = bytes.len().min(FILE_HEADER);
    header[..len].copy_from_slice(&bytes[..len]);
    read_header(&header).is_some()
}

/// The fields of a record header: seconds, fraction of the second, captured and original length.
#[inline]
fn fields(record: &[u8; RECORD_HEADER], big_endian: bool) -> [u32; 4] {
    let (fields, _) = record.as_chunks::<4>();
    let numbers = [0, 1, 2, 3].map(|index| u32::from_le_bytes(fields[index]));
    if big_endian { numbers.map(u32::swap_bytes) } else { numbers }
}

/// Walks the records; see [`Reader::walk`]. The loop over packets has the registers for itself.
#[inline(never)]
pub fn walk(reader: &Reader, block: &Block, context: &Context, walk: &mut Walk, frames: &mut impl Frames) {
    let data = block.data.as_slice();
    let big_endian = context.big_endian;
    // Always true; stated so that the compiler knows that sums cannot overflow.
    let header = context.record_header.min(PATCHED_RECORD_HEADER);
    let Some(interface) = context.interfaces.first() else { return };
    let link_type = interface.link_type;
    let nanoseconds_per_unit = if interface.resolution == Resolution::Multiply(1) { 1 } else { 1000 };
    let units_per_second = (1_000_000_000 / nanoseconds_per_unit) as u32;
    let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
    let most = u32::try_from(reader.packet_bytes).unwrap_or(u32::MAX);
    // Counted here and added at the end, so that the count stays in a register.
    let mut records = 0u64;
    let start = walk.end;
    let mut at = start;
    while at < block.limit {
        let rest = &data[at..];
        let Some(record) = rest.first_chunk().filter(|_| rest.len() >= header) else {
            walk.stop = Some(short(block, at, header));
            break;
        };
        let [seconds, fraction, captured, mut original] = fields(record, big_endian);
        if captured > most {
            walk.stop = Some(too_long(at, captured, most));
            break;
        }
        let end = header + captured as usize;
        // Prefetches the next record and the headers of its frame: only now is their address known.
        prefetch_index(data, at + end);
        prefetch_index(data, at + end + 64);
        let Some(packet) = rest.get(header..end) else {
            walk.stop = Some(short(block, at, end));
            break;
        };
        // A record of zero captured and zero original bytes is an anomaly, too; this finds it without a further branch.
        if fraction >= units_per_second || captured.max(1) > snap_len.min(original) {
            if record[..] == [0; RECORD_HEADER] {
                walk.stop = Some(zeros(at));
                break;
            }
            note_odd(&mut walk.oddities, [fraction >= units_per_second, captured > snap_len, captured > original]);
            original = original.max(captured);
        }
        records += 1;
        frames.take(Frame {
            time: Timestamp(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * nanoseconds_per_unit),
            link_type,
            interface: 0,
            direction: super::Direction::Unknown,
            data: packet,
            offset: at + header,
            original_len: original,
        });
        at += end;
    }
    let headers = records * header as u64;
    walk.bytes.record_headers += headers;
    walk.bytes.packets += (at - start) as u64 - headers;
    walk.end = at;
}

/// Counts the anomalies of a record: its time, and its length compared with the snapshot length and the original
/// length.
#[cold]
fn note_odd(oddities: &mut Oddities, [timestamp, over_snap_len, over_original_len]: [bool; 3]) {
    oddities.timestamps += u64::from(timestamp);
    oddities.over_snap_len += u64::from(over_snap_len);
    oddities.over_original_len += u64::from(over_original_len);
}

/// The record at `at` claims more bytes than any packet has.
#[cold]
fn too_long(at: usize, captured: u32, most: u32) -> Stop {
    Stop::Bad { at, what: format!("captured length {captured} is above the maximum of {most}") }
}

/// The header of the record at `at` is all zeros: space that was never written, as after a power failure.
#[cold]
fn zeros(at: usize) -> Stop {
    Stop::Bad { at, what: "a record header of zeros".to_owned() }
}

/// The record at `at` needs `wanted` bytes, more than the block has.
#[cold]
fn short(block: &Block, at: usize, wanted: usize) -> Stop {
    if block.at_end { Stop::Cut { at, wanted, has: block.data.len() - at } } else { Stop::Need { at, bytes: wanted } }
}

/// Consecutive records that must look right before a guess is believed.
const PLAUSIBLE_RECORDS: usize = 6;

/// The first index from which six records in a row look right; the block's limit when there is none.
pub fn guess_start(reader: &Reader, block: &Block, context: &Context) -> usize {
    let data = block.data.as_slice();
    let header = context.record_header;
    let nanoseconds = context.interfaces.first().is_some_and(|i| i.resolution == Resolution::Multiply(1));
    let fraction_limit = if nanoseconds { 1_000_000_000 } else { 1_000_000 };
    // Most candidates fail at the first test, which must be cheap.
    let plausible = |at: usize| -> Option<(usize, u32)> {
        let [seconds, fraction, captured, original] = fields(data.get(at..)?.first_chunk()?, context.big_endian);
        if captured == 0 || captured as usize > reader.packet_bytes {
            return None;
        }
        let fits = captured <= original && original < 1 << 24 && fraction < fraction_limit;
        fits.then_some((at + header + captured as usize, seconds))
    };
    'candidates: for candidate in 0..block.limit {
        let mut at = candidate;
        let mut first_seconds = None;
        for index in 0..PLAUSIBLE_RECORDS {
            if at + header > data.len() {
                // The block ended: believed when the records end exactly with the file, or when half of the wanted
                // number fit.
                let believed = index >= PLAUSIBLE_RECORDS / 2 || (block.at_end && at == data.len());
                if believed && index > 0 {
                    return candidate;
                }
                continue 'candidates;
            }
            let Some((next, seconds)) = plausible(at) else { continue 'candidates };
            // Neighbouring records are close in time.
            if first_seconds.is_some_and(|first: u32| first.abs_diff(seconds) > 86_400) {
                continue 'candidates;
            }
            first_seconds = first_seconds.or(Some(seconds));
            at = next;
        }
        return candidate;
    }
    block.limit
}

/// State at the first record, from the file's header; `None` when that is not one.
pub fn initial_context(bytes: &[u8]) -> Option<Arc<Context>> {
    read_header(bytes).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Format;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for (index, record) in records.iter().enumerate() {
            for number in [1_700_000_000, index as u32, record.len() as u32, record.len() as u32] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(record);
        }
        bytes
    }

    fn walk_bytes(bytes: &[u8], start: usize, limit: usize, at_end: bool) -> (Vec<Vec<u8>>, Walk) {
        let mut context = initial_context(bytes).unwrap();
        let block = Block { offset: 0, data: bytes.to_vec(), limit, at_end };
        let reader = Reader { format: Format::Pcap, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
        let mut frames = Vec::new();
        let mut walk = Walk::default();
        reader.walk(&block, start, &mut context, &mut walk, &mut |frame: Frame<'_>| frames.push(frame.data.to_vec()));
        (frames, walk)
    }

    #[test]
    fn every_byte_has_one_owner() {
        let bytes = file(&[b"one", b"three", b""]);
        let (frames, walk) = walk_bytes(&bytes, FILE_HEADER, bytes.len(), true);
        assert_eq!(frames, [b"one".to_vec(), b"three".to_vec(), b"".to_vec()]);
        assert_eq!(walk.stop, None);
        assert_eq!(FILE_HEADER as u64 + walk.bytes.total(), bytes.len() as u64);
    }

    #[test]
    fn room_that_was_never_written_is_no_packet() {
        let mut bytes = file(&[b"one", b""]);
        let end = bytes.len();
        bytes.resize(end + 40, 0);
        let (frames, walk) = walk_bytes(&bytes, FILE_HEADER, bytes.len(), true);
        assert_eq!((frames, walk.end), (vec![b"one".to_vec(), b"".to_vec()], end));
        assert!(matches!(walk.stop, Some(Stop::Bad { at, .. }) if at == end), "{:?}", walk.stop);
        assert_eq!(walk.oddities, Oddities::default());
    }

    #[test]
    fn each_oddity_is_counted_alone() {
        let plain = file(&[b"one"]);
        let changed = |at: usize, number: u32| {
            let mut bytes = plain.clone();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            let (frames, Walk { oddities, .. }) = walk_bytes(&bytes, FILE_HEADER, bytes.len(), true);
            assert_eq!(frames, [b"one"]);
            [oddities.timestamps, oddities.over_snap_len, oddities.over_original_len]
        };
        // The record's fraction of a second, the file's snapshot length, the record's original length.
        assert_eq!([999_999, 1_000_000].map(|fraction| changed(28, fraction)), [[0, 0, 0], [1, 0, 0]]);
        assert_eq!([0, 3, 2].map(|snap_len| changed(16, snap_len)), [[0, 0, 0], [0, 0, 0], [0, 1, 0]]);
        assert_eq!([4, 3, 2].map(|original| changed(36, original)), [[0, 0, 0], [0, 0, 0], [0, 0, 1]]);
    }

    #[test]
    fn a_cut_file_says_where_at_every_length() {
        let bytes = file(&[b"one", b"three"]);
        let second = FILE_HEADER + 16 + 3;
        for len in second + 1..bytes.len() {
            let (frames, walk) = walk_bytes(&bytes[..len], FILE_HEADER, len, true);
            assert_eq!(frames.len(), 1, "{len}");
            assert!(matches!(walk.stop, Some(Stop::Cut { at, .. }) if at == second), "{len}: {:?}", walk.stop);
            assert_eq!(walk.end, second);
        }
    }

    #[test]
    fn a_block_in_the_middle_finds_its_first_record() {
        let records: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; 30 + n * 7]).collect();
        let bytes = file(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let context = read_header(&bytes).unwrap();
        let reader = Reader { format: Format::Pcap, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
        let starts: Vec<usize> = records
            .iter()
            .scan(FILE_HEADER, |at, record| {
                let start = *at;
                *at += 16 + record.len();
                Some(start)
            })
            .collect();
        for cut in FILE_HEADER..starts[30] {
            let data = bytes[cut..].to_vec();
            let block = Block { offset: cut as u64, limit: data.len(), data, at_end: true };
            let expected = starts.iter().find(|start| **start >= cut).unwrap();
            assert_eq!(cut + guess_start(&reader, &block, &context), *expected, "cut at {cut}");
        }
    }
}
