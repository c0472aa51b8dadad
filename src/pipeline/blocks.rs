//! Decodes blocks of an input, read by position or handed over by a stream's reader thread.

use super::{DecodedBlock, Shared, StreamBlock};
use crate::capture::filter::Filter;
use crate::capture::open::read_at_most;
use crate::capture::{Block, Context, Frame, Frames, Stop, Timestamp, Walk};
use crate::decode::{Bucket, Decoded, Decoder};
use crate::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes read beyond a block, to complete its last record without another read.
const OVERLAP: usize = 2 << 10;

impl Shared<'_, '_> {
    /// Reads and decodes a block of a file. The interfaces before it are taken from `hint`, as far as they are known;
    /// the offset of its first record is guessed when not known.
    pub(super) fn read_block(
        &self,
        lane: usize,
        number: u64,
        (hint, start): (&Arc<Context>, Option<u64>),
        (mut block, decoded): (Block, Decoded),
        filter: &mut Option<Filter>,
    ) -> Result<DecodedBlock, Error> {
        let source = &self.sources[lane];
        block.offset = source.start + number * self.block_bytes as u64;
        block.limit = self.block_bytes;
        let failure = self.fill(lane, &mut block, 0, self.block_bytes + OVERLAP);
        let (start, before) = match start.and_then(|start| start.checked_sub(block.offset)) {
            _ if number == 0 => (0, Arc::clone(&source.context)),
            Some(start) => (block.limit.min(start as usize), Arc::clone(hint)),
            None => (source.reader.guess_start(&block, hint), Arc::clone(hint)),
        };
        let after = Arc::clone(&before);
        let mut done = DecodedBlock { block, decoded, walk: Walk::default(), start, before, after, end: None, failure };
        self.decode(lane, &mut done, filter)?;
        Ok(done)
    }

    /// Decodes a block of a stream, or passes on its end.
    pub(super) fn take_block(
        &self,
        lane: usize,
        block: StreamBlock,
        filter: &mut Option<Filter>,
    ) -> Result<DecodedBlock, Error> {
        let ((block, decoded), before, end) = match block {
            StreamBlock::Decoded(done) => return Ok(*done),
            StreamBlock::Read(memory, before) => (*memory, before, None),
            StreamBlock::End(end) => {
                let nothing = Block { offset: u64::MAX, limit: 0, at_end: true, data: Vec::new() };
                ((nothing, Decoded::default()), Arc::default(), Some(end))
            }
        };
        let after = Arc::clone(&before);
        let mut done =
            DecodedBlock { block, decoded, walk: Walk::default(), start: 0, before, after, end, failure: None };
        if done.end.is_none() {
            self.decode(lane, &mut done, filter)?;
        }
        Ok(done)
    }

    /// Reads a block of a file, of which `have` bytes are present, until it has `wanted` bytes or the file ends. An
    /// error of the file ends it, and is returned. Reused memory is overwritten without being cleared, which would cost
    /// as much as reading.
    fn fill(&self, lane: usize, block: &mut Block, have: usize, wanted: usize) -> Option<String> {
        let (file, size) = self.sources[lane].file.as_ref()?;
        let left = size.saturating_sub(block.offset + have as u64);
        let more = (wanted.saturating_sub(have) as u64).min(left) as usize;
        block.data.resize(have + more, 0);
        let (read, error) = read_at_most(file, &mut block.data[have..], block.offset + have as u64);
        block.data.truncate(have + read);
        block.at_end = read < more || block.offset + block.data.len() as u64 >= *size;
        block.limit = block.limit.min(block.data.len());
        error.map(|error| error.to_string())
    }

    /// Decodes a block from its `start` and `before`. A panic in one frame must not lose the others: the block is then
    /// decoded again with every frame guarded.
    pub(super) fn decode(
        &self,
        lane: usize,
        done: &mut DecodedBlock,
        filter: &mut Option<Filter>,
    ) -> Result<(), Error> {
        let whole = AssertUnwindSafe(|| self.decode_frames(lane, done, filter, false));
        catch_unwind(whole).unwrap_or_else(|_| self.decode_frames(lane, done, filter, true))
    }

    /// Decodes a block, every frame `guarded` or not; reads more when its last record needs it.
    fn decode_frames(
        &self,
        lane: usize,
        done: &mut DecodedBlock,
        filter: &mut Option<Filter>,
        guarded: bool,
    ) -> Result<(), Error> {
        let reader = self.sources[lane].reader;
        done.decoded.clear();
        done.after = Arc::clone(&done.before);
        done.walk = Walk::default();
        let mut start = done.start;
        let everything = filter.is_none() && self.selection.from.is_none() && self.selection.to.is_none();
        let mut span = Span::default();
        loop {
            let mut refused = None;
            let DecodedBlock { block, decoded, walk, after, .. } = &mut *done;
            if everything && !guarded {
                let mut frames = Everything { decoder: self.decoder, decoded, span: &mut span };
                reader.walk(block, start, after, walk, &mut frames);
            } else {
                reader.walk(block, start, after, walk, &mut |frame: Frame<'_>| {
                    span.note(frame.time);
                    match self.selects(&frame, filter) {
                        Ok(true) if guarded => self.decoder.guarded_frame(&frame, decoded),
                        Ok(true) => self.decoder.frame(&frame, decoded),
                        Ok(false) => {
                            decoded.frames += 1;
                            decoded.tally.count(Bucket::NotSelected);
                        }
                        Err(error) => refused = Some(error),
                    }
                });
            }
            done.decoded.times = span.times();
            if let Some(error) = refused {
                return Err(error);
            }
            let Some(Stop::Need { at, bytes }) = done.walk.stop else { return Ok(()) };
            start = at;
            if self.sources[lane].file.is_none() {
                // Blocks of a stream end at a record, so this one cannot be completed.
                done.walk.stop = Some(Stop::Cut { at, wanted: bytes, has: done.block.data.len() - at });
                return Ok(());
            }
            let have = done.block.data.len();
            done.failure = self.fill(lane, &mut done.block, have, at + bytes);
        }
    }

    /// True when the operator wants to see the frame.
    #[inline]
    fn selects(&self, frame: &Frame<'_>, filter: &mut Option<Filter>) -> Result<bool, Error> {
        let in_time = self.selection.from.is_none_or(|from| frame.time >= from)
            && self.selection.to.is_none_or(|to| frame.time <= to);
        match filter {
            Some(filter) if in_time && crate::decode::link::find(frame.link_type).is_some() => {
                filter.passes(frame.link_type, frame.data)
            }
            _ => Ok(in_time),
        }
    }
}

/// Decodes every frame of a walk.
struct Everything<'a> {
    decoder: &'a Decoder,
    decoded: &'a mut Decoded,
    span: &'a mut Span,
}

impl Frames for Everything<'_> {
    #[allow(clippy::inline_always)] // a frame then goes through registers
    #[inline(always)]
    fn take(&mut self, frame: Frame<'_>) {
        self.span.note(frame.time);
        self.decoder.frame(&frame, self.decoded);
    }
}

/// Earliest and latest time of a frame.
struct Span {
    first: Timestamp,
    last: Timestamp,
}

impl Default for Span {
    fn default() -> Self {
        Self { first: Timestamp(i64::MAX), last: Timestamp(i64::MIN) }
    }
}

impl Span {
    #[inline]
    fn note(&mut self, time: Timestamp) {
        if time < self.first && time != Timestamp::UNKNOWN {
            self.first = time;
        }
        // Without a branch: how packets of several processors are interleaved is unpredictable.
        self.last = self.last.max(time);
    }

    fn times(&self) -> Option<(Timestamp, Timestamp)> {
        (self.first <= self.last).then_some((self.first, self.last))
    }
}
