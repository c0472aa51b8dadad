//! Opens inputs: finds out from a path, a magic number or standard input what is to be read, before the first block is
//! decoded.
//!
//! A plain file is read by position (`pread`), so that several threads can read it, and a file that shrinks is an error
//! and not a signal. Everything else (compressed files, pipes) is read in order by [`StreamBlocks`], which cuts the
//! stream at record boundaries.

mod compressed;
mod stream;

use super::{Block, Context, Format, Frame, Reader, Stop, Timestamp, Walk, pcap_file, pcapng};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use compressed::is_compressed;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use stream::Patient;
pub(crate) use stream::open_stream;
pub use stream::{StreamBlocks, StreamFacts};

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
    /// State at the first packet, with which blocks in the middle are tried first.
    pub hint: Arc<Context>,
    /// Where the bytes come from.
    pub source: Source,
    /// Name of the compression, when there is one.
    pub compression: Option<&'static str>,
    /// Device and inode, to recognise a file that is given twice, and an output that is an input.
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

/// Compressions that are recognised but not opened; the error names the command to pipe them through.
const PIPED: &[(&str, &[u8], &str)] = &[
    ("xz", &[0xfd, b'7', b'z', b'X', b'Z'], "xz -dc"),
    ("bzip2", b"BZh", "bzip2 -dc"),
    ("legacy lz4", &[0x02, 0x21, 0x4c, 0x18], "lz4 -dc"),
];

/// Capture files of other programs, by their first bytes; the error names the program that converts them.
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
    let (have, error) = read_at_most(&file, &mut beginning, 0);
    if let Some(error) = error {
        return Err(failed(&error));
    }
    beginning.truncate(have);
    if is_compressed(&beginning) {
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

/// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file, or before an error.
pub fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> (usize, Option<io::Error>) {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

/// True when bytes begin like a capture.
pub fn is_capture(beginning: &[u8]) -> bool {
    pcap_file::has_magic(beginning) || beginning.starts_with(&pcapng::format::SECTION_HEADER.to_be_bytes())
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
    if beginning.len() >= 4 && beginning[..4] == pcapng::format::SECTION_HEADER.to_be_bytes() {
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
    if is_compressed(beginning) {
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
    // Long interface lists and comments may come before the first packet.
    while first.is_none() && offset < *size {
        block.data.resize(len, 0);
        let (have, _) = read_at_most(file, &mut block.data, offset);
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
