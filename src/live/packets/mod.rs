//! Records the packets of a live run, as captured, in pcapng files (draft-ietf-opsawg-pcapng; [`PacketFiles`]).
//!
//! Every write is checked. A file has a temporary name ending in `.partial` until it is complete and synced, and is
//! then renamed; a run that is killed leaves it either absent or complete under its final name.

use super::interval::suffixed;
use crate::capture::live::{ANY, Handle, KernelCounts};
use crate::capture::losses::InterfaceLoss;
use crate::capture::pcapng::format::{
    APPLICATION, BYTE_ORDER_MAGIC, ENHANCED_PACKET, FILTER_IS_TEXT, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS,
    OPTION_APPLICATION, OPTION_COMMENT, OPTION_DELIVERED, OPTION_DROPPED_BEFORE, OPTION_DROPPED_BY_INTERFACE,
    OPTION_DROPPED_BY_SYSTEM, OPTION_END, OPTION_FILTER, OPTION_INTERFACE_NAME, OPTION_PASSED_FILTER,
    OPTION_TIME_RESOLUTION, SECTION_HEADER,
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

/// Most bytes of an interface statistics block: its frame, interface and time, four numbers, a comment and the end of
/// options.
const STATISTICS_BYTES: u64 = 12 + 12 + 4 * 12 + 4 + 40 + 4;

/// The word for what is written, in errors.
const RECORDING: &str = "the recording";

/// Writes packets into one file, or into several in turn.
pub struct PacketFiles {
    path: PathBuf,
    force: bool,
    rotate_bytes: u64,
    rotate_after: i64,
    /// The section and interface blocks at the start of every file.
    beginning: Vec<u8>,
    /// Bytes reserved for the statements of loss in the last file.
    ending_bytes: u64,
    /// Number of the interface that stands for all others, where there are several.
    all_interfaces: Option<u32>,
    output: Option<Output>,
    /// Number of files begun.
    number: u64,
    bytes: u64,
    /// Time of the first packet in the current file.
    first: Option<Timestamp>,
    block: Vec<u8>,
    failed: Option<Error>,
    /// Lines for the operator that cannot wait.
    alarm: Alarm,
    /// Number of packets that could not be written.
    lost: u64,
}

/// Shows that the recording stopped while the capture goes on.
pub type Alarm = Arc<Mutex<Option<String>>>;

impl PacketFiles {
    /// Checks the target and opens the first file; `None` when no packets are to be written.
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

    /// Begins the first file, whose interfaces are the handles. It contains the filter that was chosen: readers of the
    /// file have to know what was left out.
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

    /// Makes the start of every file: interfaces by link type and name, with the filter that selected their packets.
    fn describe<'n>(&mut self, interfaces: impl Iterator<Item = (u16, &'n str, Option<&'n str>)>) {
        let mut section = Vec::new();
        section.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        section.extend(1u16.to_le_bytes());
        section.extend(0u16.to_le_bytes());
        // The section's length is not known in advance.
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
            // No option for the snapshot length: packets are complete.
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

    /// Writes at the end of the last file what the kernel counted for every interface, and how many packets this
    /// program gave up: readers of the recording have to know what it lacks. Where that is not exact, a comment says
    /// so.
    pub fn state_losses(&mut self, now: Timestamp, kernel: &[KernelCounts], given_up: u64) {
        for (interface, counts) in (0u32..).zip(kernel) {
            let (mut lost, mut comment) = (counts.seen.saturating_sub(counts.read), "");
            if kernel.len() == 1 {
                lost = lost.saturating_add(given_up);
            } else if given_up > 0 {
                // It is not known from which interface those packets came.
                comment = "more packets were given up";
            }
            self.state_loss(now, interface, counts, lost, comment);
        }
    }

    /// Writes what was counted for an interface so far, of which `lost` packets are not in the files.
    fn state_loss(&mut self, now: Timestamp, interface: u32, counts: &KernelCounts, lost: u64, comment: &'static str) {
        let (time, mut comment) = (now.0 as u64, comment);
        let mut body = Vec::new();
        for number in [interface, (time >> 32) as u32, time as u32] {
            body.extend(number.to_le_bytes());
        }
        match counts.interface_dropped {
            // Its losses are included in those of all interfaces, and must not be counted twice.
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

    /// Writes the start of a file.
    fn begin_file(&mut self) {
        let beginning = std::mem::take(&mut self.beginning);
        self.write(&beginning);
        self.beginning = beginning;
    }

    /// The name of the next file.
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
            // The output remembers its first error, and reports it at its end.
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

    /// Stops writing.
    fn fail(&mut self, error: Error) {
        if self.failed.is_none() {
            let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
            *alarm = Some(format!("the recording stopped, the capture goes on: {error}"));
        }
        self.failed.get_or_insert(error);
    }

    /// The alarm that shows that the recording stopped.
    pub fn alarm(&self) -> Alarm {
        Arc::clone(&self.alarm)
    }

    /// Completes the last file.
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

    /// Begins a new file when the current one is large or old enough.
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

/// True when two paths name the same file, even if neither exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().unwrap_or_else(|_| parent.to_path_buf())
    };
    one.file_name() == other.file_name() && folder(one) == folder(other)
}

#[cfg(test)]
mod tests;
