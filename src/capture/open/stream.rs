//! Opens inputs that can only be read in order: recognises compression and format by their first bytes, and cuts the
//! expanded stream into blocks that begin at a record ([`StreamBlocks`]).

use super::compressed::{beginning_of, compression};
use super::{Input, Source, recognise};
use crate::capture::{Block, Context, Frame, Reader, Stop, Timestamp, Walk};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is known of a stream after it was read.
#[derive(Debug, Default)]
pub struct StreamFacts {
    /// Bytes after the last compressed member that belong to none.
    pub trailing_bytes: AtomicU64,
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
    let magic = beginning_of(&mut raw).map_err(|error| failed(&error))?;
    let facts = Arc::new(StreamFacts::default());
    let row = compression(&magic);
    let whole = Box::new(io::Cursor::new(magic).chain(raw));
    let expanded: Box<dyn Read + Send> = match row {
        Some((_, _, open)) => open(whole, Arc::clone(&facts)).map_err(|error| failed(&error))?,
        None => whole,
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
        piece: row.filter(|(name, _, _)| *name == "zstd").map(|_| PIECE),
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

/// Time of the first packet of a stream and the state of the format there, from what has to be read anyway.
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
        reader.walk(&block, 0, &mut context, &mut walk, &mut |frame: Frame<'_>| {
            first = first.or((frame.time != Timestamp::UNKNOWN).then_some(frame.time));
        });
        blocks.carry = block.data;
        if first.is_some() || blocks.ended || wanted >= reader.block_bytes {
            return (first, context);
        }
        context = Arc::clone(&input.context);
        wanted *= 4;
    }
}

/// A pipe or device that may deliver nothing for a long time: reading ends when the run is interrupted.
pub(super) struct Patient {
    file: File,
    interrupted: Arc<AtomicBool>,
}

/// Longest single wait for a pipe.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Patient {
    pub(super) fn new(file: File, interrupted: &Arc<AtomicBool>) -> Self {
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
                // Readable, at its end, or broken: reading will show which.
                Ok(1..) => return self.file.read(buffer),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads until `buffer` is full or the stream ends.
pub(super) fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
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

/// A stream cut into blocks that begin at a record.
pub struct StreamBlocks {
    stream: Box<dyn Read + Send>,
    /// What the stream leaves behind.
    pub facts: Arc<StreamFacts>,
    /// The first `have` bytes were read and are in no block yet. The rest is left over from earlier blocks and will be
    /// overwritten, because clearing it would cost as much as copying.
    carry: Vec<u8>,
    have: usize,
    offset: u64,
    ended: bool,
    failure: Option<String>,
    block_bytes: usize,
    /// Bytes read at a time, whatever the block still needs.
    piece: Option<usize>,
    expanded_bytes: u64,
}

/// Bytes read from the zstd decoder at a time. What it has decoded is lost when it fails, so this is small, and
/// independent of the size of blocks.
const PIECE: usize = 32 << 10;

impl StreamBlocks {
    /// Reads until `carry` holds `wanted` bytes or the stream ends; remembers why it ended.
    fn fill_carry(&mut self, wanted: usize) {
        if self.ended || self.have >= wanted {
            return;
        }
        let mut done = self.have;
        while done < wanted {
            let end = self.piece.map_or(wanted, |piece| done + piece);
            if self.carry.len() < end {
                self.carry.resize(end.max(wanted), 0);
            }
            match self.stream.read(&mut self.carry[done..end]) {
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

    /// Returns what was read as a block; `memory` is used for what comes next.
    fn carry_as_block(&mut self, memory: Vec<u8>) -> Block {
        let mut data = std::mem::replace(&mut self.carry, memory);
        data.truncate(self.have);
        Block { offset: self.offset, limit: data.len(), data, at_end: self.ended }
    }

    /// The next block, which begins at a record; `None` after the last. `reader` and `context` are used to find the
    /// boundary; the context is carried along, so that each block comes with the state at its first record.
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

    /// True when everything was read, even if not all of it is in blocks yet.
    pub fn is_at_end(&self) -> bool {
        self.ended
    }

    /// Why the stream ended early, if it did.
    pub fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Reads the rest of the stream, unless `interrupted`, and returns the number of its bytes.
    pub fn drain(&mut self, interrupted: &AtomicBool) -> u64 {
        let mut rest = self.have as u64;
        self.carry = vec![0; 64 << 10];
        while !self.ended && !interrupted.load(Ordering::Relaxed) {
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
