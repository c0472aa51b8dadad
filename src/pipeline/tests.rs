use super::*;
use crate::capture::open::open_stream;
use crate::config::{Limits, Outcomes};
use crate::sources::Sources;
use crate::transact::pairs::{Judged, Pairs};
use crate::transact::{Settings, Tracker};
use std::io::Read;
use std::time::Duration;

/// A capture of this many empty frames, followed by a panic, as one in a decompressor would be.
struct Faulty(std::io::Cursor<Vec<u8>>);

impl Read for Faulty {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(into)?;
        assert!(count > 0, "as if it had a fault");
        Ok(count)
    }
}

/// A capture of this many empty frames.
fn nothing(frames: usize) -> Vec<u8> {
    let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
    for _ in 0..frames {
        bytes.extend([1_700_000_000u32, 0, 14, 14].map(u32::to_le_bytes).concat());
        bytes.extend([0; 14]);
    }
    bytes
}

/// Runs one input with this many threads.
fn run_one(input: Input, limits: &Limits, threads: usize) -> Result<Finished, Error> {
    run_all(vec![input], limits, threads)
}

/// Runs inputs with this many threads.
fn run_all(inputs: Vec<Input>, limits: &Limits, threads: usize) -> Result<Finished, Error> {
    let ranks: Vec<usize> = (0..inputs.len()).collect();
    let (sources, decoder) = (Sources::new(8, 8, 1), Decoder::new(vec![53], limits));
    let settings = Settings { timeout: 1, vantage: None, filtered: false, rows: Outcomes::ALL, limits };
    let pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
    let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|_| {}));
    let interrupted = AtomicBool::new(false);
    let on_progress = Box::new(|_| {});
    let work = Work { threads, block_bytes: limits.block_bytes, interrupted: &interrupted, on_progress };
    run(inputs, &ranks, &decoder, &Selection::default(), &mut tracker, work)
}

#[test]
fn a_fault_in_a_streams_reader_ends_the_run_and_says_so() {
    let limits = Limits { block_bytes: 4096, ..Limits::default() };
    for threads in 1..4 {
        let faulty = Box::new(Faulty(std::io::Cursor::new(nothing(20_000))));
        let input = open_stream("faulty".to_owned(), faulty, None, &limits).unwrap();
        let error = run_one(input, &limits, threads).err().map(|error| (error.code, error.exit_code()));
        assert_eq!(error, Some(("E-INTERNAL", 7)), "{threads} threads");
    }
}

#[test]
fn of_damaged_zstd_the_same_is_read_whatever_the_size_of_blocks() {
    use std::io::Write as _;
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(&nothing(20_000)).unwrap();
    let mut zstd = zstd.finish().unwrap();
    *zstd.last_mut().unwrap() ^= 1;
    let read = |block_bytes, threads| {
        let limits = Limits { block_bytes, ..Limits::default() };
        let stream = Box::new(std::io::Cursor::new(zstd.clone()));
        let input = open_stream("damaged".to_owned(), stream, None, &limits).unwrap();
        let lane = run_one(input, &limits, threads).unwrap().lanes.remove(0);
        (lane.frames, lane.bytes.total(), lane.damage.map(|damage| damage.what))
    };
    let first = read(4096, 1);
    assert!(first.2.is_some() && first.0 > 18_000, "{first:?}");
    for (block_bytes, threads) in [(4096, 2), (5000, 1), (70_000, 2), (256 << 10, 1), (1 << 20, 3)] {
        assert_eq!(read(block_bytes, threads), first, "{block_bytes} {threads}");
    }
}

#[test]
fn what_was_read_before_an_interruption_is_followed_to_its_end() {
    const FRAMES: u32 = 3000;
    let limits = Limits { block_bytes: 4096, ..Limits::default() };
    let mut frame = Vec::new();
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(4000, 53).write(&mut frame, query).unwrap();
    let mut bytes = nothing(0);
    for number in 0..FRAMES {
        bytes.extend([number, 0, frame.len() as u32, frame.len() as u32].map(u32::to_le_bytes).concat());
        bytes.extend(&frame);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    for (threads, after) in (1..4).flat_map(|threads| [0, 1, 20_000, 150_000].map(|after| (threads, after))) {
        // Three that overlap in time, so that blocks of all are used up in pieces; the last is a stream.
        let open = || crate::capture::open::open(file.path(), &limits, &Arc::default()).unwrap();
        let stream = Box::new(std::io::Cursor::new(bytes.clone()));
        let inputs = vec![open(), open(), open_stream("stream".to_owned(), stream, None, &limits).unwrap()];
        let (sources, decoder) = (Sources::new(8, 8, 1), Decoder::new(vec![53], &limits));
        let settings = Settings { timeout: 1, vantage: None, filtered: false, rows: Outcomes::ALL, limits: &limits };
        let pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
        let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|_| {}));
        let interrupted = AtomicBool::new(after == 0);
        let on_progress = Box::new(|consumed| interrupted.store(consumed >= after, Ordering::Relaxed));
        let work = Work { threads, block_bytes: limits.block_bytes, interrupted: &interrupted, on_progress };
        let finished = run(inputs, &[0, 1, 2], &decoder, &Selection::default(), &mut tracker, work).unwrap();
        let frames: u64 = finished.lanes.iter().map(|lane| lane.frames).sum();
        let counted: u64 = finished.tally.buckets.iter().chain(&tracker.tally.buckets).sum();
        assert_eq!(counted, frames, "{threads} threads, interrupted after {after} bytes");
        assert!(finished.interrupted && frames < 3 * u64::from(FRAMES));
        assert!(after == 0 || frames > 0);
    }
}

#[test]
fn every_byte_of_a_file_that_shrank_is_accounted_for() {
    const FRAMES: usize = 2000;
    const RECORD: usize = 30;
    let limits = Limits { block_bytes: 4096, ..Limits::default() };
    let whole = nothing(FRAMES);
    // Also where a block and the one behind it meet, and what is read beyond a block ends.
    let lengths = [24, 100, 4095, 4096, 4120, 6144, 6168, 8192 + 24, 20_000, whole.len() - 1, whole.len()];
    for (threads, len) in (1..4).flat_map(|threads| lengths.map(|len| (threads, len))) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        let input = crate::capture::open::open(file.path(), &limits, &Arc::default()).unwrap();
        file.as_file().set_len(len as u64).unwrap();
        let lane = run_one(input, &limits, threads).unwrap().lanes.remove(0);
        assert_eq!(lane.bytes.total(), whole.len() as u64, "{threads} threads, {len} bytes");
        assert_eq!(lane.frames as usize, (len - 24) / RECORD, "{threads} threads, {len} bytes");
        assert_eq!(lane.changed, len < whole.len());
    }
}

/// For how long this thread ran on a processor.
fn ran() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn one_of_many_inputs_in_turn_takes_no_longer_than_one_of_few() {
    let limits = Limits::default();
    let takes = |count: u32| {
        let inputs = (0..count).map(|number| {
            let mut bytes = nothing(1);
            bytes[24..28].copy_from_slice(&number.to_le_bytes());
            open_stream(number.to_string(), Box::new(std::io::Cursor::new(bytes)), None, &limits).unwrap()
        });
        let inputs: Vec<Input> = inputs.collect();
        let before = ran();
        let frames: u64 = run_all(inputs, &limits, 1).unwrap().lanes.iter().map(|lane| lane.frames).sum();
        assert_eq!(frames, u64::from(count));
        ran().saturating_sub(before) / count
    };
    let (few, many) = (takes(100), takes(2000));
    assert!(many < 3 * few, "{few:?} and {many:?} for each");
}

#[test]
fn times_have_the_digits_of_the_finest_interface_wherever_it_is_declared() {
    let block = |kind: u32, body: &[u8]| {
        let len = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    };
    let section = block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    // Ethernet, and if_tsresol: a power of ten.
    let interface = |exponent: u8| block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, exponent, 0, 0, 0]);
    let packet = block(6, &[&[0; 4][..], &[1; 8], &[4, 0, 0, 0], &[4, 0, 0, 0], &[0; 4]].concat());
    let digits = |interfaces: [u8; 2]| {
        let [first, second] = interfaces.map(interface);
        let sections = [&section[..], &first, &packet, &second, &section, &interface(3), &packet].concat();
        let limits = Limits::default();
        let stream = open_stream("some".to_owned(), Box::new(std::io::Cursor::new(sections)), None, &limits);
        run_one(stream.unwrap(), &limits, 1).unwrap().lanes[0].time_digits
    };
    assert_eq!([[6, 9], [9, 6], [6, 6], [3, 3]].map(digits), [9, 9, 6, 3]);
}

#[test]
fn an_interface_has_the_name_that_all_sections_give_its_number() {
    let mut lane = LaneResult::default();
    let name = |text: &str| Some(Arc::from(text));
    for (number, called) in [(0, name("eth0")), (1, None), (0, name("eth0")), (1, None), (0, name("eth0"))] {
        lane.name_interface(number, called);
    }
    assert_eq!(lane.interfaces, [name("eth0"), None]);
    for (number, called) in [(0, name("wan0")), (0, name("eth0")), (1, name("lan0")), (2, name("lan1"))] {
        lane.name_interface(number, called);
    }
    assert_eq!(lane.interfaces, [None, None, name("lan1")]);
}
