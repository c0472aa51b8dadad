//! Inputs: what a path, a magic number or standard input turns into, before the first block is decoded.
//!
//! A plain file is read by position (`pread`), so that several threads can read it and a file that shrinks is an error
//! and not a signal. Everything else (compressed files, pipes) is read in order by [`StreamBlocks`], which cuts the
//! stream at record boundaries.

use super::{Block, Context, Format, Frame, Reader, Stop, Timestamp, Walk, pcap_file, pcapng};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An input that can be read.
pub struct Input {
    /// Name as given by the user.
    pub name: String,
    /// The format's reader.
    pub reader: Reader,
    /// State at the first record.
    pub context: Arc<Context>,
    /// Offset of the first record.
    pub start: u64,
    /// Time of the first packet, when there is one.
    pub first_time: Option<Timestamp>,
    /// State at the first packet: what blocks in the middle are first tried with.
    pub hint: Arc<Context>,
    /// Where the bytes come from.
    pub source: Source,
    /// Name of the compression, when there is one.
    pub compression: Option<&'static str>,
    /// Device and inode, to notice one file given twice and an output that is an input.
    pub identity: Option<(u64, u64)>,
}

/// Where the bytes of an input come from.
pub enum Source {
    /// A file read by position.
    Plain {
        /// The open file.
        file: File,
        /// Its size when it was opened.
        size: u64,
    },
    /// A stream read in order.
    Stream(Box<StreamBlocks>),
}

/// The compressions opened, by the first bytes of the file; a new one is a row here and a function.
pub const COMPRESSIONS: &[(&str, &[u8], OpenStream)] = &[
    ("gzip", &[0x1f, 0x8b], open_gzip),
    ("zstd", &[0x28, 0xb5, 0x2f, 0xfd], open_zstd),
    ("lz4", &[0x04, 0x22, 0x4d, 0x18], open_lz4),
];

/// Makes an expanding reader of a compressed one.
type OpenStream = fn(Box<dyn Read + Send>, Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>>;

/// Compressions that are recognised and refused with the pipe that opens them.
const PIPED: &[(&str, &[u8], &str)] =
    &[("xz", &[0xfd, b'7', b'z', b'X', b'Z'], "xz -dc"), ("bzip2", b"BZh", "bzip2 -dc")];

/// Capture files of other programs, by their first bytes: recognised, and refused with the program that converts them.
const FOREIGN: &[(&str, &[u8])] = &[
    ("snoop", b"snoop\0\0\0"),
    ("Microsoft Network Monitor", b"RTSS"),
    ("Microsoft Network Monitor", b"GMBU"),
    ("Sniffer", b"TRSNIFF data"),
    ("NetXRay or Windows Sniffer", b"XCP\0"),
    ("nettl", b"TR\0"),
    ("Network Instruments Observer", b"ObserverPktBuffe"),
    ("Visual Networks", b"\x05VNF"),
    ("Accellent 5Views", &[0xaa, 0xaa, 0xaa, 0xaa]),
];

/// Facts a stream leaves behind while it is read.
#[derive(Debug, Default)]
pub struct StreamFacts {
    /// Bytes after the last compressed member that belong to none.
    pub trailing_bytes: AtomicU64,
    /// Bytes taken from the file or pipe.
    pub raw_bytes: AtomicU64,
}

/// Opens an input and reads its beginning. An input that cannot be used is an [`ErrorKind::Input`] error.
pub fn open(path: &Path, limits: &Limits, interrupted: &Arc<AtomicBool>) -> Result<Input, Error> {
    let name = path.to_string_lossy().into_owned();
    let failed = |error: &io::Error| {
        if error.raw_os_error() == Some(libc::EMFILE) {
            let what = "too many inputs for the limit of open files (ulimit -n); nothing was read";
            return Error::new(ErrorKind::CouldNotRun, "E-IN-FILES", &name, what);
        }
        Error::new(ErrorKind::CouldNotRun, "E-IN-OPEN", &name, format!("{error}; nothing was read from it"))
    };
    if name == "-" {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        return open_stream(name, Box::new(Patient::new(stdin.into(), interrupted)), None, limits);
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if metadata.is_dir() {
        return Err(Error::usage(&name, "is a directory; name the capture files in it; nothing was read"));
    }
    let identity = Some((metadata.dev(), metadata.ino()));
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
        return open_stream(name, Box::new(Patient::new(file, interrupted)), identity, limits);
    }
    let mut beginning = vec![0; 8192];
    let have = read_at_most(&file, &mut beginning, 0).map_err(|error| failed(&error))?;
    beginning.truncate(have);
    if COMPRESSIONS.iter().any(|(_, magic, _)| beginning.starts_with(magic)) {
        return open_stream(name, Box::new(file), identity, limits);
    }
    let size = metadata.len();
    let (reader, context, start) = recognise(&name, &beginning, limits)?;
    let mut input = Input {
        name,
        reader,
        hint: Arc::clone(&context),
        context,
        start,
        first_time: None,
        source: Source::Plain { file, size },
        compression: None,
        identity,
    };
    (input.first_time, input.hint) = first_time_of_file(&input);
    Ok(input)
}

/// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
pub fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Recognises the format of the first bytes (after decompression).
fn recognise(name: &str, beginning: &[u8], limits: &Limits) -> Result<(Reader, Arc<Context>, u64), Error> {
    let unusable = |code, detail: String| Err(Error::new(ErrorKind::Input, code, name, detail));
    let reader = |format| Reader {
        format,
        packet_bytes: limits.packet_bytes,
        block_bytes: limits.pcapng_block_bytes,
        interfaces: limits.interfaces,
    };
    if beginning.is_empty() {
        return unusable("E-IN-EMPTY", "empty file; no packet in it".into());
    }
    if beginning.len() >= 4 && beginning[..4] == pcapng::SECTION_HEADER.to_be_bytes() {
        return Ok((reader(Format::Pcapng), Arc::default(), 0));
    }
    if let Some(context) = pcap_file::initial_context(beginning) {
        return Ok((reader(Format::Pcap), context, pcap_file::FILE_HEADER as u64));
    }
    if pcap_file::has_magic(beginning) || beginning.len() < 4 {
        let len = beginning.len();
        return unusable("E-IN-SHORT", format!("{len} bytes are too short for a file header; no packet in it"));
    }
    for (kind, magic, command) in PIPED {
        if beginning.starts_with(magic) {
            let quoted = name.replace('\'', "'\\''");
            let detail = format!(
                "{kind} compression is not opened here; use: {command} '{quoted}' | dnsrefused read -   Nothing was read"
            );
            return unusable("E-IN-COMPRESSION", detail);
        }
    }
    if let Some((kind, _)) = FOREIGN.iter().find(|(_, magic)| beginning.starts_with(magic)) {
        let quoted = name.replace('\'', "'\\''");
        let detail = format!(
            "a {kind} file is not opened here; use: editcap -F pcapng '{quoted}' - | dnsrefused read -   Nothing was read"
        );
        return unusable("E-IN-FORMAT", detail);
    }
    if COMPRESSIONS.iter().any(|(_, magic, _)| beginning.starts_with(magic)) {
        let detail = "compressed more than once; expand the outer layer first; nothing was read";
        return unusable("E-IN-NESTED", detail.into());
    }
    let hex: Vec<String> = beginning[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    unusable(
        "E-IN-MAGIC",
        format!(
            "begins with {}, which is neither pcap nor pcapng, also not inside gzip, zstd or lz4; nothing was read",
            hex.join(" ")
        ),
    )
}

/// Time of the first packet of a plain file, and the state of the format there.
fn first_time_of_file(input: &Input) -> (Option<Timestamp>, Arc<Context>) {
    let mut first = None;
    let mut context = Arc::clone(&input.context);
    let Source::Plain { file, size } = &input.source else { return (first, context) };
    let mut offset = input.start;
    let mut block = Block::default();
    let mut len = 4096usize;
    // Large interface lists and comments may stand in front of the first packet.
    while first.is_none() && offset < *size {
        block.data.resize(len, 0);
        let Ok(have) = read_at_most(file, &mut block.data, offset) else { break };
        block.data.truncate(have);
        block.offset = offset;
        block.at_end = have < len || offset + have as u64 >= *size;
        block.limit = have;
        let mut walk = Walk::default();
        input.reader.walk(&block, 0, &mut context, &mut walk, &mut |frame: Frame<'_>| {
            first = first.or((frame.time != Timestamp::UNKNOWN).then_some(frame.time));
        });
        match walk.stop {
            Some(Stop::Need { at, bytes }) => {
                offset += at as u64;
                len = bytes.max(64 << 10);
            }
            Some(_) => break,
            None => offset += walk.end as u64,
        }
    }
    (first, context)
}

/// Opens a stream: recognises compression and format from its first bytes.
pub(crate) fn open_stream(
    name: String,
    mut raw: Box<dyn Read + Send>,
    identity: Option<(u64, u64)>,
    limits: &Limits,
) -> Result<Input, Error> {
    let failed = |error: &io::Error| {
        Error::new(ErrorKind::Input, "E-IN-READ", &name, format!("at its beginning: {error}; nothing was read from it"))
    };
    let mut magic = vec![0; 6];
    let have = fill(&mut raw, &mut magic).map_err(|error| failed(&error))?;
    magic.truncate(have);
    let facts = Arc::new(StreamFacts::default());
    let row = COMPRESSIONS.iter().find(|(_, wanted, _)| magic.starts_with(wanted));
    let counted = CountingReader { inner: io::Cursor::new(magic).chain(raw), facts: Arc::clone(&facts) };
    let expanded: Box<dyn Read + Send> = match row {
        Some((_, _, open)) => open(Box::new(counted), Arc::clone(&facts)).map_err(|error| failed(&error))?,
        None => Box::new(counted),
    };
    let mut blocks = StreamBlocks {
        stream: expanded,
        facts,
        carry: Vec::new(),
        have: 0,
        offset: 0,
        ended: false,
        failure: None,
        block_bytes: limits.block_bytes,
        expanded_bytes: limits.expanded_bytes,
    };
    blocks.fill_carry(8192);
    if blocks.have == 0
        && let Some(failure) = blocks.failure.take()
    {
        let detail = format!("at its beginning: {failure}; nothing was read from it");
        return Err(Error::new(ErrorKind::Input, "E-IN-READ", name, detail));
    }
    let (reader, context, start) = recognise(&name, &blocks.carry[..blocks.have], limits)?;
    blocks.carry.copy_within(start as usize..blocks.have, 0);
    blocks.have -= start as usize;
    blocks.offset = start;
    let mut input = Input {
        name,
        reader,
        hint: Arc::clone(&context),
        context,
        start,
        first_time: None,
        source: Source::Stream(Box::new(blocks)),
        compression: row.map(|(name, _, _)| *name),
        identity,
    };
    (input.first_time, input.hint) = first_time_of_stream(&mut input);
    Ok(input)
}

/// Time of the first packet of a stream and the state of the format there, from what has to be read of it anyway.
fn first_time_of_stream(input: &mut Input) -> (Option<Timestamp>, Arc<Context>) {
    let reader = input.reader;
    let mut context = Arc::clone(&input.context);
    let Source::Stream(blocks) = &mut input.source else { return (None, context) };
    let mut wanted = 64 << 10;
    loop {
        blocks.fill_carry(wanted);
        let mut first = None;
        let block = blocks.carry_as_block(Vec::new());
        let mut walk = Walk::default();
        reader.walk(&block, 0, &mut context, &mut walk, &mut |frame: Frame<'_>| first = first.or(Some(frame.time)));
        blocks.carry = block.data;
        if first.is_some() || blocks.ended || wanted >= reader.block_bytes {
            return (first, context);
        }
        context = Arc::clone(&input.context);
        wanted *= 4;
    }
}

/// A pipe or device that may give nothing for a long time: ends when the run is interrupted, instead of waiting on.
struct Patient {
    file: File,
    interrupted: Arc<AtomicBool>,
}

/// How long one wait for a pipe takes.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Patient {
    fn new(file: File, interrupted: &Arc<AtomicBool>) -> Self {
        Self { file, interrupted: Arc::clone(interrupted) }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(0);
            }
            let mut wait = [PollFd::new(&self.file, PollFlags::IN)];
            match rustix::event::poll(&mut wait, Some(&PATIENCE)) {
                // Readable, or at its end, or broken: reading tells which.
                Ok(1..) => return self.file.read(buffer),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads until `buffer` is full or the stream ends.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match stream.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Counts the bytes taken from a file or pipe.
struct CountingReader<R> {
    inner: R,
    facts: Arc<StreamFacts>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.facts.raw_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A stream cut into blocks that begin at a record.
pub struct StreamBlocks {
    stream: Box<dyn Read + Send>,
    /// What the stream leaves behind.
    pub facts: Arc<StreamFacts>,
    /// Its first `have` bytes were read and are in no block yet; what is behind them is left over from earlier blocks and
    /// written over, because clearing it would cost as much as copying.
    carry: Vec<u8>,
    have: usize,
    offset: u64,
    ended: bool,
    failure: Option<String>,
    block_bytes: usize,
    expanded_bytes: u64,
}

impl StreamBlocks {
    /// Reads until `carry` holds `wanted` bytes or the stream ends; remembers why it ended.
    fn fill_carry(&mut self, wanted: usize) {
        if self.ended || self.have >= wanted {
            return;
        }
        if self.carry.len() < wanted {
            self.carry.resize(wanted, 0);
        }
        let mut done = self.have;
        while done < wanted {
            match self.stream.read(&mut self.carry[done..wanted]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(format!("{error}"));
                    self.ended = true;
                    break;
                }
            }
            if self.offset + done as u64 > self.expanded_bytes {
                self.failure = Some(format!("expands to more than {} bytes", self.expanded_bytes));
                self.ended = true;
                break;
            }
        }
        self.have = done;
    }

    /// What was read, as a block; `memory` is for what comes next.
    fn carry_as_block(&mut self, memory: Vec<u8>) -> Block {
        let mut data = std::mem::replace(&mut self.carry, memory);
        data.truncate(self.have);
        Block { offset: self.offset, limit: data.len(), data, at_end: self.ended }
    }

    /// The next block, which begins at a record; `None` after the last. `reader` and `context` find the boundary.
    /// The context follows along, so that each block comes with the state at its first record.
    pub fn next_block(&mut self, reader: &Reader, context: &mut Arc<Context>, mut memory: Vec<u8>) -> Option<Block> {
        let mut wanted = self.block_bytes;
        loop {
            self.fill_carry(wanted);
            if self.have == 0 {
                return None;
            }
            let mut block = self.carry_as_block(memory);
            let mut walk = Walk::default();
            let mut after = Arc::clone(context);
            reader.walk(&block, 0, &mut after, &mut walk, &mut |_: Frame<'_>| {});
            if walk.end == 0
                && let Some(Stop::Need { bytes, .. }) = walk.stop
            {
                wanted = bytes;
                memory = std::mem::replace(&mut self.carry, block.data);
                continue;
            }
            *context = after;
            self.have = 0;
            if matches!(walk.stop, Some(Stop::Need { .. })) {
                let rest = &block.data[walk.end..];
                if self.carry.len() < rest.len() {
                    self.carry.resize(rest.len(), 0);
                }
                self.carry[..rest.len()].copy_from_slice(rest);
                self.have = rest.len();
                block.data.truncate(walk.end);
                block.limit = walk.end;
            } else if walk.stop.is_some() {
                // Damage: the rest of the stream is read and counted, not used.
                block.at_end = true;
            }
            self.offset += block.data.len() as u64;
            return Some(block);
        }
    }

    /// Why the stream ended early, if it did.
    pub fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Reads the rest of the stream and returns how many bytes it had.
    pub fn drain(&mut self) -> u64 {
        let mut rest = self.have as u64;
        self.carry = vec![0; 64 << 10];
        while !self.ended {
            match self.stream.read(&mut self.carry) {
                Ok(0) => self.ended = true,
                Ok(count) => rest += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(format!("{error}"));
                    self.ended = true;
                }
            }
            if self.offset + rest > self.expanded_bytes {
                self.ended = true;
            }
        }
        self.carry = Vec::new();
        rest
    }
}

/// gzip with any number of members (RFC 1952 section 2.2).
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn open_gzip(raw: Box<dyn Read + Send>, facts: Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>> {
    let raw: BufferedRaw = BufReader::with_capacity(64 << 10, raw);
    Ok(Box::new(GzipMembers { member: Some(flate2::bufread::GzDecoder::new(raw)), facts }))
}

/// A buffered compressed stream.
type BufferedRaw = BufReader<Box<dyn Read + Send>>;

/// Reads gzip members one after the other and counts bytes after the last that are no member.
struct GzipMembers {
    member: Option<flate2::bufread::GzDecoder<BufferedRaw>>,
    facts: Arc<StreamFacts>,
}

impl Read for GzipMembers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(ended) = self.member.take() else { break };
            let mut raw = ended.into_inner();
            let next = raw.fill_buf()?;
            if next.is_empty() {
                break;
            }
            // One byte may be all that is buffered; it must at least agree.
            if next.starts_with(&[0x1f, 0x8b]) || next == [0x1f] {
                self.member = Some(flate2::bufread::GzDecoder::new(raw));
            } else {
                count_trailing(&mut raw, &self.facts)?;
            }
        }
        Ok(0)
    }
}

/// Counts what stands after the last member; zero padding (tape blocks) is not garbage.
fn count_trailing(raw: &mut impl BufRead, facts: &StreamFacts) -> io::Result<()> {
    loop {
        let rest = raw.fill_buf()?;
        if rest.is_empty() {
            return Ok(());
        }
        let len = rest.len();
        if rest.iter().any(|byte| *byte != 0) || facts.trailing_bytes.load(Ordering::Relaxed) > 0 {
            facts.trailing_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        raw.consume(len);
    }
}

/// Largest zstd window opened, as a power of two: 128 MiB, the default limit of the zstd command.
const ZSTD_WINDOW_LOG: u32 = 27;

/// zstd, any number of frames (RFC 8878).
fn open_zstd(raw: Box<dyn Read + Send>, _: Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>> {
    let mut decoder = zstd::stream::read::Decoder::new(raw)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

/// lz4 frames, one after the other.
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn open_lz4(raw: Box<dyn Read + Send>, facts: Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>> {
    let raw: BufferedRaw = BufReader::with_capacity(64 << 10, raw);
    Ok(Box::new(Lz4Frames { frame: Some(lz4_flex::frame::FrameDecoder::new(raw)), facts, any: false }))
}

/// Reads lz4 frames one after the other and counts bytes after the last that are no frame.
struct Lz4Frames {
    frame: Option<lz4_flex::frame::FrameDecoder<BufferedRaw>>,
    facts: Arc<StreamFacts>,
    any: bool,
}

impl Read for Lz4Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(frame) = &mut self.frame {
            let count = frame.read(buffer)?;
            if count > 0 {
                self.any = true;
                return Ok(count);
            }
            let Some(ended) = self.frame.take() else { break };
            let mut raw = ended.into_inner();
            let next = raw.fill_buf()?;
            if next.is_empty() {
                if !std::mem::replace(&mut self.any, true) {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "lz4 frame is cut"));
                }
                break;
            }
            if next.starts_with(&COMPRESSIONS[2].1[..next.len().min(4)]) {
                self.frame = Some(lz4_flex::frame::FrameDecoder::new(raw));
            } else {
                count_trailing(&mut raw, &self.facts)?;
            }
        }
        Ok(0)
    }
}
