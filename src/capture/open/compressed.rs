//! Recognises compressed streams and opens a decompressing reader for each supported kind.

use super::{StreamFacts, stream::fill};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The compressions that are opened, by the first bytes of the file; a new one is a row here and a function.
const COMPRESSIONS: &[(&str, &[u8], OpenStream)] =
    &[("gzip", &[0x1f, 0x8b], open_gzip), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd], open_zstd), ("lz4", LZ4_FRAME, open_lz4)];

/// Finds the compression of a stream that begins with these bytes.
pub fn compression(beginning: &[u8]) -> Option<&'static (&'static str, &'static [u8], OpenStream)> {
    COMPRESSIONS.iter().find(|(_, magic, _)| beginning.starts_with(magic))
}

/// True where a compressed stream begins, perhaps with skippable frames.
pub fn is_compressed(beginning: &[u8]) -> bool {
    compression(beginning).is_some() || is_skippable(beginning)
}

/// True at the start of a skippable frame of zstd or lz4 (RFC 8878 section 3.1.2); pzstd writes one before every other
/// frame.
fn is_skippable(beginning: &[u8]) -> bool {
    matches!(beginning, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The first bytes of a stream after any skippable frames at its start: these identify the compression.
pub fn beginning_of(raw: &mut dyn Read) -> io::Result<Vec<u8>> {
    let (magic, skipped) = behind_skippable(raw)?;
    // A stream that is not compressed has no skippable frames.
    let nothing = || io::Error::new(io::ErrorKind::InvalidData, "no compressed frame behind one to skip");
    if skipped && compression(&magic).is_none() { Err(nothing()) } else { Ok(magic) }
}

/// Skips skippable frames and the first bytes after them, as many as a magic number has or as there are. True when
/// there were such frames.
fn behind_skippable(raw: &mut dyn Read) -> io::Result<(Vec<u8>, bool)> {
    let mut skipped = false;
    loop {
        let mut magic = vec![0; MAGIC];
        let have = fill(raw, &mut magic)?;
        magic.truncate(have);
        if !is_skippable(&magic) {
            return Ok((magic, skipped));
        }
        skip_frame(raw)?;
        skipped = true;
    }
}

/// Skips a skippable frame whose magic number was read: its length follows, then its content.
fn skip_frame(raw: &mut dyn Read) -> io::Result<()> {
    let mut length = [0; 4];
    raw.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let has = io::copy(&mut raw.take(length), &mut io::sink())?;
    if has < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a frame to skip is cut"));
    }
    Ok(())
}

/// Bytes of the longest magic number.
const MAGIC: usize = 4;
/// Magic number of an lz4 frame.
const LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18];

/// Makes a decompressing reader of a compressed one.
type OpenStream = fn(Box<dyn Read + Send>, Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>>;

/// gzip with any number of members (RFC 1952 section 2.2).
#[allow(clippy::unnecessary_wraps)] // one signature for every row
fn open_gzip(raw: Box<dyn Read + Send>, facts: Arc<StreamFacts>) -> io::Result<Box<dyn Read + Send>> {
    let raw: BufferedRaw = BufReader::with_capacity(64 << 10, raw);
    Ok(Box::new(GzipMembers { member: Some(flate2::bufread::GzDecoder::new(raw)), facts }))
}

/// A buffered compressed stream.
type BufferedRaw = BufReader<Box<dyn Read + Send>>;

/// Reads gzip members one after the other, and counts bytes after the last one that are not a member.
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
            // Perhaps only one byte is buffered; it must at least agree.
            if next.starts_with(&[0x1f, 0x8b]) || next == [0x1f] {
                self.member = Some(flate2::bufread::GzDecoder::new(raw));
            } else {
                count_trailing(&mut raw, &self.facts)?;
            }
        }
        Ok(0)
    }
}

/// Counts what follows the last member; zero padding (tape blocks) is not garbage.
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
    let raw = Remembering { ahead: Vec::new(), raw: BufReader::with_capacity(64 << 10, raw), last: [1; 8] };
    Ok(Box::new(Lz4Frames { frame: Some(lz4_flex::frame::FrameDecoder::new(raw)), facts }))
}

/// Remembers the last bytes read.
struct Remembering {
    /// Bytes that were already looked at, to be read first.
    ahead: Vec<u8>,
    raw: BufferedRaw,
    last: [u8; 8],
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.ahead.is_empty() { self.raw.read(buffer)? } else { self.read_ahead(buffer) };
        let kept = count.min(self.last.len());
        self.last.rotate_left(kept);
        let place = self.last.len() - kept;
        self.last[place..].copy_from_slice(&buffer[count - kept..count]);
        Ok(count)
    }
}

impl Remembering {
    fn read_ahead(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.ahead.len());
        buffer[..count].copy_from_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        count
    }

    /// True when the last bytes read are the end mark of a frame, four zeros, perhaps followed by a checksum. The
    /// library takes any end of the input between two blocks for the end of the frame.
    fn has_end_mark(&self) -> bool {
        let (fours, _) = self.last.as_chunks::<4>();
        fours.contains(&[0; 4])
    }
}

/// Reads lz4 frames one after the other, and counts bytes after the last one that are not a frame.
struct Lz4Frames {
    frame: Option<lz4_flex::frame::FrameDecoder<Remembering>>,
    facts: Arc<StreamFacts>,
}

impl Read for Lz4Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(frame) = &mut self.frame {
            let count = frame.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(ended) = self.frame.take() else { break };
            let mut raw = ended.into_inner();
            let has_end = raw.has_end_mark();
            let (next, _) = behind_skippable(&mut raw.raw)?;
            if next.is_empty() {
                if !has_end {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "lz4 frame is cut"));
                }
                break;
            }
            // A truncated one may have less.
            if LZ4_FRAME.starts_with(&next) {
                raw.ahead = next;
                self.frame = Some(lz4_flex::frame::FrameDecoder::new(raw));
            } else {
                count_trailing(&mut io::Cursor::new(next).chain(raw.raw), &self.facts)?;
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Returns one byte at a time, as a pipe may, and a file at the edge of its buffer.
    struct ByteByByte(io::Cursor<Vec<u8>>);

    impl Read for ByteByByte {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn lz4_frames_and_those_to_skip_are_recognised_by_their_first_bytes_alone() {
        let frame = |bytes: &[u8]| {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let skip = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
        let whole = [&frame(b"one, ")[..], skip, skip, &frame(b"two"), skip].concat();
        let expanded = |bytes: Vec<u8>| {
            let (facts, mut text) = (Arc::new(StreamFacts::default()), Vec::new());
            let mut reader = open_lz4(Box::new(ByteByByte(io::Cursor::new(bytes))), Arc::clone(&facts)).unwrap();
            let read = reader.read_to_end(&mut text);
            (String::from_utf8(text).unwrap(), read, facts.trailing_bytes.load(Ordering::Relaxed))
        };
        for (about, behind, trailing) in
            [("nothing", &b""[..], 0), ("garbage", b"\x04\x22x", 3), ("zeros", b"\0\0\0\0\0", 0)]
        {
            let (text, read, counted) = expanded([&whole, behind].concat());
            assert!(read.is_ok(), "{about} behind");
            assert_eq!((text.as_str(), counted), ("one, two", trailing), "{about} behind");
        }
        let (text, read, _) = expanded([&whole, &LZ4_FRAME[..2]].concat());
        assert!(read.is_err() && text == "one, two", "another frame is cut");
    }
}
