//! The packets of a live run to pcapng files (draft-ietf-opsawg-pcapng), as they were captured: [`PacketFiles`].
//!
//! Every write is checked. A file stands under a temporary name ending in `.partial` until it is complete, is brought to
//! disk and then renamed; a run that is killed leaves it absent or complete under its own name.

use super::interval::suffixed;
use crate::capture::live::{ANY, Handle, KernelCounts};
use crate::capture::losses::InterfaceLoss;
use crate::capture::pcapng::{
    APPLICATION, FILTER_IS_TEXT, OPTION_COMMENT, OPTION_DROPPED_BEFORE, OPTION_DROPPED_BY_INTERFACE,
    OPTION_DROPPED_BY_SYSTEM,
};
use crate::capture::{Frame, Timestamp};
use crate::config::Config;
use crate::error::Error;
use crate::pipeline::live::PacketWriter;
use crate::report::output::{self, FileIdentity, Output};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_END: u16 = 0;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_APPLICATION: u16 = 4;
const OPTION_FILTER: u16 = 11;
const OPTION_PASSED_FILTER: u16 = 6;
const OPTION_DELIVERED: u16 = 8;
/// Most bytes of an interface statistics block: its frame, interface and time, four numbers, a comment and the end.
const STATISTICS_BYTES: u64 = 12 + 12 + 4 * 12 + 4 + 40 + 4;

/// What is written, in errors.
const RECORDING: &str = "the recording";

/// Writes packets into one file, or one after the other.
pub struct PacketFiles {
    path: PathBuf,
    force: bool,
    rotate_bytes: u64,
    rotate_after: i64,
    /// The section and interface blocks every file begins with.
    beginning: Vec<u8>,
    /// Room kept for what the last file says of losses.
    ending_bytes: u64,
    /// The one among several that stands for all interfaces.
    all_interfaces: Option<u32>,
    output: Option<Output>,
    /// Files begun.
    number: u64,
    bytes: u64,
    /// Time of the first packet in the present file.
    first: Option<Timestamp>,
    block: Vec<u8>,
    failed: Option<Error>,
    /// What the operator is to be told at once.
    alarm: Alarm,
    /// Packets that could not be written.
    lost: u64,
}

/// Tells that the recording stopped, while the capture goes on.
pub type Alarm = Arc<Mutex<Option<String>>>;

impl PacketFiles {
    /// Checks the target and opens the first file; nothing when no packets are to be written.
    pub fn prepare(config: &Config, inputs: &[FileIdentity]) -> Result<Option<Self>, Error> {
        let live = &config.live;
        let Some(path) = &live.write else { return Ok(None) };
        if path.as_os_str() == "-" {
            return Err(Error::usage("--write", "needs a file: standard output is for the report; nothing was opened"));
        }
        if config.output.as_ref().is_some_and(|output| is_same_file(output, path)) {
            return Err(Error::usage("--write", "is the same file as -o; nothing was opened"));
        }
        let mut files = Self {
            path: path.clone(),
            force: config.force,
            rotate_bytes: live.rotate_bytes.unwrap_or(u64::MAX),
            rotate_after: live.rotate_after.map_or(i64::MAX, |after| after.as_nanos() as i64),
            beginning: Vec::new(),
            ending_bytes: 0,
            all_interfaces: None,
            output: None,
            number: 0,
            bytes: 0,
            first: None,
            block: Vec::new(),
            failed: None,
            alarm: Alarm::default(),
            lost: 0,
        };
        files.output = Some(output::prepare(&files.next_target(), inputs)?.called(RECORDING));
        Ok(Some(files))
    }

    /// Begins the first file; the handles are its interfaces. What somebody chose to capture is said there: whoever reads
    /// the file has to know what was left out.
    pub fn begin(&mut self, handles: &[Handle], config: &Config) -> Result<(), Error> {
        let chosen = config.filter.is_some() || config.live.refused_only;
        self.describe(
            handles
                .iter()
                .map(|handle| (handle.link_type, handle.name.as_str(), chosen.then_some(handle.expression.as_str()))),
        );
        self.begin_file();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Makes what every file begins with; interfaces by link type and name, with the filter that chose their packets.
    fn describe<'n>(&mut self, interfaces: impl Iterator<Item = (u16, &'n str, Option<&'n str>)>) {
        let mut section = Vec::new();
        section.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        section.extend(1u16.to_le_bytes());
        section.extend(0u16.to_le_bytes());
        // The section's length is not known beforehand.
        section.extend(u64::MAX.to_le_bytes());
        let application = [APPLICATION, env!("CARGO_PKG_VERSION")].concat();
        option(&mut section, OPTION_APPLICATION, application.as_bytes());
        option(&mut section, OPTION_END, &[]);
        block(SECTION_HEADER, &section, &mut self.beginning);
        for (number, (link_type, name, filter)) in (0u32..).zip(interfaces) {
            if name == ANY {
                self.all_interfaces = Some(number);
            }
            let mut interface = Vec::new();
            interface.extend(link_type.to_le_bytes());
            interface.extend(0u16.to_le_bytes());
            // No snapshot length: packets are whole.
            interface.extend(0u32.to_le_bytes());
            option(&mut interface, OPTION_INTERFACE_NAME, name.as_bytes());
            // Nanoseconds.
            option(&mut interface, OPTION_TIME_RESOLUTION, &[9]);
            if let Some(filter) = filter {
                option(&mut interface, OPTION_FILTER, &[&[FILTER_IS_TEXT], filter.as_bytes()].concat());
            }
            option(&mut interface, OPTION_END, &[]);
            block(INTERFACE_DESCRIPTION, &interface, &mut self.beginning);
            self.ending_bytes += STATISTICS_BYTES;
        }
    }

    /// Says at the end of the last file what the kernel counted for every interface, and of how many packets this program
    /// gave up: whoever reads the recording has to know what it lacks. Where that is not exact, a comment says so.
    pub fn state_losses(&mut self, now: Timestamp, kernel: &[KernelCounts], given_up: u64) {
        for (interface, counts) in (0u32..).zip(kernel) {
            let (mut lost, mut comment) = (counts.seen.saturating_sub(counts.read), "");
            if kernel.len() == 1 {
                lost = lost.saturating_add(given_up);
            } else if given_up > 0 {
                // It is not known from which interface they came.
                comment = "more packets were given up";
            }
            self.state_loss(now, interface, counts, lost, comment);
        }
    }

    /// Says what was counted for an interface so far, of which `lost` packets are not in the files.
    fn state_loss(&mut self, now: Timestamp, interface: u32, counts: &KernelCounts, lost: u64, comment: &'static str) {
        let (time, mut comment) = (now.0 as u64, comment);
        let mut body = Vec::new();
        for number in [interface, (time >> 32) as u32, time as u32] {
            body.extend(number.to_le_bytes());
        }
        match counts.interface_dropped {
            // What it lost is among what all of them lost, and is not to be counted twice.
            _ if self.all_interfaces.is_some_and(|all| all != interface) => {}
            InterfaceLoss::Exactly(dropped) => {
                option(&mut body, OPTION_DROPPED_BY_INTERFACE, &dropped.to_le_bytes());
            }
            InterfaceLoss::AtLeast(dropped) => {
                option(&mut body, OPTION_DROPPED_BY_INTERFACE, &dropped.to_le_bytes());
                comment = "the interface dropped at least this";
            }
            InterfaceLoss::Unknown if comment.is_empty() => comment = "what the interface dropped is unknown",
            InterfaceLoss::Unknown => {}
        }
        option(&mut body, OPTION_PASSED_FILTER, &counts.seen.to_le_bytes());
        option(&mut body, OPTION_DROPPED_BY_SYSTEM, &lost.to_le_bytes());
        option(&mut body, OPTION_DELIVERED, &counts.read.to_le_bytes());
        if !comment.is_empty() {
            option(&mut body, OPTION_COMMENT, comment.as_bytes());
        }
        option(&mut body, OPTION_END, &[]);
        let mut statistics = Vec::new();
        block(INTERFACE_STATISTICS, &body, &mut statistics);
        self.write(&statistics);
    }

    /// Writes what every file begins with.
    fn begin_file(&mut self) {
        let beginning = std::mem::take(&mut self.beginning);
        self.write(&beginning);
        self.beginning = beginning;
    }

    /// Where the next file goes.
    fn next_target(&mut self) -> Config {
        let path =
            if self.rotates() { suffixed(&self.path, &format!("{:05}", self.number)) } else { self.path.clone() };
        self.number += 1;
        Config { output: Some(path), force: self.force, ..Config::default() }
    }

    fn rotates(&self) -> bool {
        self.rotate_bytes != u64::MAX || self.rotate_after != i64::MAX
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(output) = &mut self.output {
            // The output remembers its first error, which its end reports.
            if output.write_all(bytes).is_err() {
                self.end_file();
            }
            self.bytes += bytes.len() as u64;
        }
    }

    /// Completes the present file.
    fn end_file(&mut self) {
        if let Some(Err(error)) = self.output.take().map(Output::finish) {
            self.fail(error);
        }
    }

    /// Nothing more is written.
    fn fail(&mut self, error: Error) {
        if self.failed.is_none() {
            let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
            *alarm = Some(format!("the recording stopped, the capture goes on: {error}"));
        }
        self.failed.get_or_insert(error);
    }

    /// Where it is told that the recording stopped.
    pub fn alarm(&self) -> Alarm {
        Arc::clone(&self.alarm)
    }

    /// Completes the last file; an error when one is not complete.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end_file();
        match self.failed {
            Some(mut error) => {
                if self.lost > 0 {
                    let _ = write!(error.detail, "; at least {} not written", crate::error::packets(self.lost));
                }
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Begins a new file when the present one is large or old enough.
    fn rotate(&mut self, next: usize, time: Timestamp) {
        let first = *self.first.get_or_insert(time);
        let full = self.bytes.saturating_add(next as u64 + self.ending_bytes) > self.rotate_bytes;
        if (full && self.bytes > self.beginning.len() as u64) || time.0.saturating_sub(first.0) >= self.rotate_after {
            self.end_file();
            (self.bytes, self.first) = (0, Some(time));
            if self.failed.is_none() {
                match output::prepare_next(&self.next_target()) {
                    Ok(output) => self.output = Some(output.called(RECORDING)),
                    Err(error) => self.fail(error),
                }
                self.begin_file();
            }
        }
    }
}

impl PacketWriter for PacketFiles {
    fn packet(&mut self, input: u32, frame: &Frame<'_>, lost_before: u64) {
        let mut bytes = std::mem::take(&mut self.block);
        bytes.clear();
        let padding = frame.data.len().wrapping_neg() & 3;
        let mut options = Vec::new();
        if lost_before > 0 {
            option(&mut options, OPTION_DROPPED_BEFORE, &lost_before.to_le_bytes());
            option(&mut options, OPTION_END, &[]);
        }
        let length = (32 + frame.data.len() + padding + options.len()) as u32;
        let time = frame.time.0 as u64;
        for number in [
            ENHANCED_PACKET,
            length,
            input,
            (time >> 32) as u32,
            time as u32,
            frame.data.len() as u32,
            frame.original_len,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(frame.data);
        bytes.extend(&[0; 3][..padding]);
        bytes.extend(options);
        bytes.extend(length.to_le_bytes());
        if self.rotates() {
            self.rotate(bytes.len(), frame.time);
        }
        self.lost += u64::from(self.output.is_none());
        self.write(&bytes);
        self.block = bytes;
    }

    fn lost(&mut self, input: u32, now: Timestamp, kernel: &KernelCounts) {
        self.state_loss(now, input, kernel, kernel.dropped, "");
    }

    fn pause(&mut self) {
        if let Some(output) = &mut self.output
            && output.flush().is_err()
        {
            self.end_file();
        }
    }
}

/// Appends a block: type, length, body, length.
fn block(kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let length = (12 + body.len()) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(body);
    out.extend(length.to_le_bytes());
}

/// Appends an option, padded to 32 bits.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX) - 3)];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.extend(&[0; 3][..value.len().wrapping_neg() & 3]);
}

/// True when two paths, of which neither need exist, name one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().unwrap_or_else(|_| parent.to_path_buf())
    };
    one.file_name() == other.file_name() && folder(one) == folder(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::stated_loss::Says;
    use crate::capture::{Block, Context, Direction, Format, Frames, Reader, Walk};
    use std::sync::Arc;
    use std::time::Duration;

    fn files(folder: &Path, rotate_bytes: Option<u64>, rotate_after: Option<Duration>) -> PacketFiles {
        let mut config = Config::default();
        config.live.write = Some(folder.join("packets.pcapng"));
        (config.live.rotate_bytes, config.live.rotate_after) = (rotate_bytes, rotate_after);
        let mut files = PacketFiles::prepare(&config, &[]).unwrap().unwrap();
        files.describe([(1, "eth0", None), (276, "any", None)].into_iter());
        files.begin_file();
        files
    }

    fn write(files: &mut PacketFiles, packets: &[Vec<u8>]) {
        write_from(files, packets, 1);
    }

    /// Writes packets on both interfaces in turn, of which `cut` bytes are missing.
    fn write_from(files: &mut PacketFiles, packets: &[Vec<u8>], cut: u32) {
        for (number, data) in packets.iter().enumerate() {
            let frame = Frame {
                time: Timestamp(1_700_000_000_123_456_789 + number as i64 * 10_000_000),
                link_type: 1,
                interface: 0,
                direction: Direction::Unknown,
                data,
                offset: 0,
                original_len: data.len() as u32 + cut,
            };
            files.packet(if cut > 0 { number as u32 % 2 } else { 0 }, &frame, 0);
        }
    }

    /// Time, interface and bytes of a packet.
    type Packet = (i64, u32, Vec<u8>);

    /// Walks the packets of a file, of which nothing is damaged; the walk, and the names of its interfaces.
    fn walk(path: &Path, frames: &mut impl Frames) -> (Walk, Vec<String>) {
        let data = std::fs::read(path).unwrap();
        let block = Block { offset: 0, limit: data.len(), data, at_end: true };
        let reader = Reader { format: Format::Pcapng, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
        let (mut context, mut walk) = (Arc::<Context>::default(), Walk::default());
        reader.walk(&block, 0, &mut context, &mut walk, frames);
        assert_eq!((&walk.stop, walk.end, walk.oddities.damage().len()), (&None, block.data.len(), 0));
        let names = context.interfaces.iter().filter_map(|interface| interface.name.as_deref().map(str::to_owned));
        (walk, names.collect())
    }

    /// Every packet of a file, and the names of its interfaces.
    fn read(path: &Path) -> (Vec<Packet>, Vec<String>) {
        let mut packets = Vec::new();
        let (_, names) = walk(path, &mut |frame: Frame<'_>| {
            assert_eq!(frame.original_len as usize, frame.data.len() + 1);
            packets.push((frame.time.0, frame.interface, frame.data.to_vec()));
        });
        (packets, names)
    }

    #[test]
    fn every_length_is_read_back_to_the_nanosecond() {
        let folder = tempfile::tempdir().unwrap();
        let packets: Vec<Vec<u8>> = (0..70).map(|length| vec![length as u8; length]).collect();
        let mut files = files(folder.path(), None, None);
        write(&mut files, &packets);
        assert!(!folder.path().join("packets.pcapng").exists(), "it is not complete");
        files.finish().unwrap();
        let (found, names) = read(&folder.path().join("packets.pcapng"));
        assert_eq!(names, ["eth0", "any"]);
        assert_eq!(found.len(), 70);
        for (number, (time, interface, data)) in found.iter().enumerate() {
            assert_eq!(*time, 1_700_000_000_123_456_789 + number as i64 * 10_000_000);
            assert_eq!((*interface, data), (number as u32 % 2, &packets[number]));
        }
    }

    #[test]
    fn a_packet_says_how_many_were_lost_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), None, None);
        for (number, lost) in (0u8..).zip([0, 7, 0, 1 << 40]) {
            let data = &vec![number; usize::from(number)];
            let time = Timestamp(i64::from(number));
            let (link_type, interface, offset) = (1, 0, 0);
            let (direction, original_len) = (Direction::Unknown, data.len() as u32 + 1);
            let frame = Frame { time, link_type, interface, direction, data, offset, original_len };
            files.packet(0, &frame, lost);
        }
        files.finish().unwrap();
        let path = folder.path().join("packets.pcapng");
        assert_eq!(read(&path).0.len(), 4);
        let (walk, _) = walk(&path, &mut |_: Frame<'_>| {});
        let said = walk.statements.iter().map(|statement| (statement.packets, statement.says));
        let lost: Vec<(u32, Says)> = said.filter(|(_, says)| matches!(says, Says::LostBefore { .. })).collect();
        assert_eq!(
            lost,
            [(1, 7), (3, 1 << 40)].map(|(packet, lost)| (packet, Says::LostBefore { interface: 0, lost }))
        );
    }

    #[test]
    fn files_are_changed_by_size_and_by_time_and_no_packet_is_lost() {
        for (bytes, after, least) in [(Some(1000), None, 5), (None, Some(Duration::from_millis(95)), 7)] {
            let folder = tempfile::tempdir().unwrap();
            let packets = vec![vec![7; 60]; 70];
            let mut files = files(folder.path(), bytes, after);
            write(&mut files, &packets);
            files.finish().unwrap();
            let mut paths: Vec<PathBuf> =
                std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            assert!(paths.len() >= least && paths[0].ends_with("packets-00000.pcapng"), "{paths:?}");
            let found: Vec<i64> = paths.iter().flat_map(|path| read(path).0).map(|(time, ..)| time).collect();
            assert!(found.len() == 70 && found.is_sorted());
            assert!(bytes.is_none_or(|bytes| paths.iter().all(|path| path.metadata().unwrap().len() <= bytes)));
        }
    }

    /// A frame of a response to `client` that says REFUSED, or of a query when it is none.
    fn message(client: [u8; 4], response: bool) -> Vec<u8> {
        let (server, mut bytes) = ([10, 20, 30, 40], Vec::new());
        let flags = if response { [0x81, 0x85] } else { [1, 0] };
        let message = [&[0x12, 0x34][..], &flags, b"\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"].concat();
        let (ends, ports) = if response { ((server, client), (53, 4000)) } else { ((client, server), (4000, 53)) };
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends.0, ends.1, 64);
        builder.udp(ports.0, ports.1).write(&mut bytes, &message).unwrap();
        bytes
    }

    /// What `read` says of files in a folder where the first two lines of the inventory expect others than were seen.
    fn said(folder: &Path, format: &str, names: &[&str]) -> String {
        std::fs::write(folder.join("expect.csv"), "10.20.0.0/16\n10.21.0.0/16\n").unwrap();
        let at = |name: &str| folder.join(name).into_os_string();
        let mut arguments: Vec<std::ffi::OsString> =
            ["dnsrefused", "read", "--force", "--client", "10.21.5.18", "--format", format].map(Into::into).into();
        arguments.extend(["--expect".into(), at("expect.csv"), "-o".into(), at("report")]);
        arguments.extend(names.iter().map(|name| at(name)));
        let crate::cli::Parsed::Run(config) = crate::cli::parse(arguments).unwrap() else { panic!("not a run") };
        let mut console = crate::run::StandardError;
        assert_eq!(crate::run::read(&config, &mut console, &Arc::default()).unwrap(), 0);
        let report = std::fs::read_to_string(folder.join("report")).unwrap();
        if format == "text" { report.split_whitespace().collect::<Vec<_>>().join(" ") } else { report }
    }

    #[test]
    fn what_was_left_out_is_known_to_whoever_reads_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let record = |name: &str, filter: Option<&str>, packets: &[Vec<u8>]| {
            let mut config = Config::default();
            config.live.write = Some(folder.path().join(name));
            let mut files = PacketFiles::prepare(&config, &[]).unwrap().unwrap();
            files.describe([(1, "eth0", filter)].into_iter());
            files.begin_file();
            write_from(&mut files, packets, 0);
            files.finish().unwrap();
        };
        let refusals = crate::capture::kernel_filter::refused(&[53], 1);
        let other = [192, 0, 2, 45];
        record("refused.pcapng", Some(&refusals), &vec![message(other, true); 2]);
        record("part.pcapng", Some("udp port 53"), &[message(other, false), message(other, true)]);
        record("all.pcapng", None, &[message(other, false), message(other, true), message([10, 20, 0, 1], false)]);
        let (absent, inferred) = ("expected-never-seen", "may arrive as");

        let page = said(folder.path(), "text", &["refused.pcapng"]);
        for text in [
            "only REFUSED responses were captured: no queries, so nothing is known of answers",
            "REFUSED 2 responses to 1 source, whose queries are not captured",
            "10.21.5.18: NOT REFUSED. Only REFUSED responses were captured, and none was sent to it.",
            "192.0.2.45 2 - ",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains(absent) && !page.contains("also REFUSED without its query"), "{page}");
        let rows = said(folder.path(), "csv", &["refused.pcapng"]);
        assert_eq!(rows.lines().count(), 3, "every refusal has a row: {rows}");
        assert!(said(folder.path(), "json", &["refused.pcapng"]).contains("\"refused_only\":true"));

        let page = said(folder.path(), "text", &["part.pcapng"]);
        assert!(page.contains("10.21.5.18: NOT SEEN. No DNS traffic from it or to it passed the filter"), "{page}");
        assert!(page.contains("It was captured with a filter, which may be why something is missing."), "{page}");
        assert!(page.contains(absent) && !page.contains("WARNING expected-never-seen"), "{page}");

        let page = said(folder.path(), "text", &["all.pcapng"]);
        assert!(page.contains("10.21.0.0/16 may arrive as 192.0.2.45") && !page.contains("filter"), "{page}");
        assert!(!said(folder.path(), "json", &["all.pcapng"]).contains("refused_only"));

        let page = said(folder.path(), "text", &["all.pcapng", "refused.pcapng"]);
        assert!(page.contains("only REFUSED responses were captured for 1 of 2 inputs: no queries there"), "{page}");
        assert!(page.contains(absent) && !page.contains(inferred), "{page}");

        // Two sections in one file, of which the second holds everything.
        let joined = ["refused.pcapng", "all.pcapng"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        std::fs::write(folder.path().join("joined.pcapng"), joined.concat()).unwrap();
        let page = said(folder.path(), "text", &["joined.pcapng"]);
        assert!(!page.contains("only REFUSED responses") && !page.contains(inferred), "{page}");
    }

    #[test]
    fn what_was_dropped_is_known_to_whoever_reads_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let counts = |seen, read, interface_dropped| KernelCounts {
            seen,
            dropped: seen - read,
            read,
            interface_dropped,
            ..KernelCounts::default()
        };
        let (unknown, none) = (InterfaceLoss::Unknown, InterfaceLoss::Exactly(0));
        // The second interface stands for all, so that what the first dropped is among what it did.
        let cases = [
            (vec![counts(2, 2, none); 2], 0, "no packets lost, as this file records", "\"recorded_dropped\":0"),
            (
                vec![counts(9, 2, InterfaceLoss::Exactly(800)), counts(5, 0, InterfaceLoss::Exactly(1000))],
                0,
                "LOST 1,012 packets of any traffic, as this file records",
                "\"recorded_dropped\":1012",
            ),
            (vec![counts(2, 2, unknown); 2], 0, "no loss that is known", "\"recorded_dropped_at_least\":0"),
            (vec![counts(9, 2, none)], 3, "LOST at least 10 packets of any", "\"recorded_dropped_at_least\":10"),
            (vec![counts(9, 2, none); 2], 3, "LOST at least 14 packets", "\"recorded_dropped_at_least\":14"),
            (
                vec![counts(2, 2, none), counts(2, 2, InterfaceLoss::AtLeast(5))],
                0,
                "LOST at least 5 packets",
                "\"recorded_dropped_at_least\":5",
            ),
        ];
        for (kernel, given_up, page, json) in cases {
            let mut files = files(folder.path(), None, None);
            write_from(&mut files, &[message([10, 21, 5, 18], false), message([10, 21, 5, 18], true)], 0);
            files.state_losses(Timestamp(1), &kernel, given_up);
            files.finish().unwrap();
            let said = |format| said(folder.path(), format, &["packets.pcapng"]);
            assert!(said("text").contains(page), "{}", said("text"));
            assert!(said("json").contains(json), "{}", said("json"));
            std::fs::remove_file(folder.path().join("packets.pcapng")).unwrap();
        }
    }

    #[test]
    fn a_recording_that_stops_says_so_at_once_and_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), Some(1000), None);
        let alarm = files.alarm();
        let told = || alarm.lock().unwrap().take();
        write(&mut files, &vec![vec![7; 60]; 5]);
        assert_eq!(told(), None);
        std::fs::write(folder.path().join("packets-00001.pcapng"), "of somebody else").unwrap();
        write(&mut files, &vec![vec![7; 60]; 40]);
        let said = told().unwrap();
        assert!(said.starts_with("the recording stopped, the capture goes on: error[E-OUT]"), "{said}");
        assert_eq!(told(), None, "once");
        let error = files.finish().unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.detail.contains("at least") && !error.detail.contains("report"), "{error}");
    }

    #[test]
    fn a_recording_needs_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let prepare = |write: PathBuf, output: PathBuf| {
            let mut config = Config { output: Some(output), ..Config::default() };
            config.live.write = Some(write);
            PacketFiles::prepare(&config, &[]).map(|_| ()).map_err(|error| error.exit_code())
        };
        assert_eq!(prepare(path("a"), path("./a")), Err(2));
        assert_eq!(prepare(path("a"), path("b")), Ok(()));
        assert_eq!(prepare("-".into(), path("b")), Err(2));
    }
}
