//! Writes output beside the capture ([`Aside`]): a reader may take nothing for as long as it likes, and neither packets
//! nor the clock wait for it.
//!
//! Pieces (rows, reports, lines) pass through a bounded queue to a thread of their own. What does not fit is left out,
//! and every piece is counted as written, left out or waiting.

use crate::error::{Error, ErrorKind};
use crate::report::output::{Finished, Output};
use crate::run::Console;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When this many bytes wait, they are written without waiting for more.
const AT_ONCE: usize = 64 << 10;
/// Bytes per write. A pipe takes up to `PIPE_BUF` bytes whole or not at all, so it stays known what a reader got that
/// stops reading.
const WHOLE: usize = 4096;
/// How long a reader may take for what still waits when everything else has ended.
const STALLED: Duration = Duration::from_secs(2);
/// The same for lines to the operator, which are waited for last.
const STALLED_LINES: Duration = Duration::from_secs(1);
/// A file has no reader to wait for, it is only slow; when it is too slow, the watchdog ends the process.
const FILE: Duration = Duration::from_secs(60);

/// Where pieces go.
pub trait Sink: Send + 'static {
    /// Writes whole pieces and flushes them.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Called when everything was written, or given up after an error.
    fn end(self) -> Result<Finished, Error>;
}

impl Sink for Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.flush()
    }

    fn end(self) -> Result<Finished, Error> {
        self.finish()
    }
}

/// How many pieces went where. Every piece that was offered is in one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces offered.
    pub made: u64,
    /// Pieces written.
    pub written: u64,
    /// Pieces given up: the queue was full, or they could not be written.
    pub left_out: u64,
    /// Pieces in the queue, or being written.
    pub waiting: u64,
}

/// A queue, and a thread that writes what it holds.
pub struct Aside {
    shared: Arc<Shared>,
    /// Most bytes that may wait.
    limit: usize,
    /// Where the pieces go.
    name: String,
    /// How long writing what still waits may take at the end; everything that ends later waits for it.
    patience: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Offsets in `waiting` at which pieces end.
    ends: Vec<usize>,
    counts: Counts,
    /// What waits is to be written now.
    wanted: bool,
    /// Nothing more will be offered.
    closed: bool,
    broken: bool,
    /// Why writing failed, unless the reader just went away.
    reason: Option<String>,
    /// Result of the end.
    ended: Option<Result<Finished, Error>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside {
    /// Starts to write to an output; at most `limit` bytes wait.
    pub fn of(output: Output, limit: usize) -> Result<Self, Error> {
        let (name, patience) = (output.name(), if output.is_file() { FILE } else { STALLED });
        let aside = Self::start(output, name, patience, limit)?;
        // What was written to it before is flushed at once.
        aside.shared.state().wanted = true;
        aside.shared.changed.notify_all();
        Ok(aside)
    }

    fn start(sink: impl Sink, name: String, patience: Duration, limit: usize) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        std::thread::Builder::new().name("output".into()).spawn(move || work(&ours, sink)).map_err(|error| {
            let what = format!("no thread to write with: {error}; nothing was captured");
            Error::new(ErrorKind::CouldNotRun, "E-THREADS", "dnsrefused", what)
        })?;
        Ok(Self { shared, limit, name, patience })
    }

    /// Queues a piece, or leaves it out when the queue is full; never waits. A piece larger than the queue is accepted
    /// when nothing else waits.
    pub fn offer(&self, piece: &[u8]) -> bool {
        let mut state = self.shared.state();
        state.counts.made += 1;
        if state.broken || (!state.waiting.is_empty() && state.waiting.len() + piece.len() > self.limit) {
            state.counts.left_out += 1;
            return false;
        }
        state.waiting.extend_from_slice(piece);
        let end = state.waiting.len();
        state.ends.push(end);
        state.counts.waiting += 1;
        if end >= AT_ONCE && !state.wanted {
            state.wanted = true;
            self.shared.changed.notify_all();
        }
        true
    }

    /// Has everything that waits written now.
    pub fn flush(&self) {
        let mut state = self.shared.state();
        if !state.ends.is_empty() {
            state.wanted = true;
            self.shared.changed.notify_all();
        }
    }

    /// The output's name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many pieces are where.
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// True when the reader went away or writing failed.
    pub fn is_broken(&self) -> bool {
        self.shared.state().broken
    }

    /// The error with which writing failed, if it did.
    pub fn reason(&self) -> Option<String> {
        self.shared.state().reason.clone()
    }

    /// Ends the output: what waits is written, unless that takes too long. Returns the result, or `None` where the
    /// reader took nothing or too little; the counts are final.
    fn end(&self) -> (Option<Result<Finished, Error>>, Counts) {
        let mut state = self.shared.state();
        state.closed = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, self.patience, |state| state.ended.is_none());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let ended = state.ended.take();
        if ended.is_none() {
            state.broken = true;
            state.counts.left_out += std::mem::take(&mut state.counts.waiting);
        }
        (ended, state.counts)
    }

    /// Ends an output; `pieces` is the word for them in errors. Pieces left out are an error, unless the reader went
    /// away.
    pub fn finish(self, pieces: &str) -> (Result<Finished, Error>, Counts) {
        let (ended, counts) = self.end();
        let lost = |code, what| {
            let detail = format!("{what}; {} of {} {pieces} were left out", counts.left_out, counts.made);
            Err(Error::new(ErrorKind::Output, code, &self.name, detail))
        };
        let result = match ended {
            None => lost("E-OUT-STALLED", "takes nothing, or too little"),
            Some(Ok(finished)) if counts.left_out > 0 && !finished.pipe_closed => {
                lost("E-OUT", "took nothing for too long")
            }
            Some(ended) => ended,
        };
        (result, counts)
    }
}

/// The thread: writes until nothing more will be offered.
fn work(shared: &Shared, mut sink: impl Sink) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    loop {
        let idle = |state: &mut State| !state.wanted && !state.closed;
        let mut state = shared.changed.wait_while(shared.state(), idle).unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        if state.ends.is_empty() && state.closed {
            break;
        }
        std::mem::swap(&mut state.waiting, &mut bytes);
        std::mem::swap(&mut state.ends, &mut ends);
        let mut broken = state.broken;
        drop(state);
        let (mut from, mut first) = (0, 0);
        loop {
            let rest = &ends[first..];
            let more = rest.partition_point(|end| end - from <= WHOLE).max(1).min(rest.len());
            let to = rest[..more].last().copied().unwrap_or(from);
            let failed = if broken { None } else { sink.put(&bytes[from..to]).err() };
            broken |= failed.is_some();
            (from, first) = (to, first + more);
            let mut state = shared.state();
            if let Some(error) = failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
                state.reason = Some(error.to_string());
            }
            // An end that did not wait has already counted these as given up.
            let more = (more as u64).min(state.counts.waiting);
            state.counts.waiting -= more;
            let counted = if broken { &mut state.counts.left_out } else { &mut state.counts.written };
            *counted += more;
            broken |= state.broken;
            state.broken = broken;
            shared.changed.notify_all();
            if first >= ends.len() {
                break;
            }
        }
        bytes.clear();
        ends.clear();
    }
    let ended = sink.end();
    shared.state().ended = Some(ended);
    shared.changed.notify_all();
}

/// Writes lines to a console.
struct Lines(Box<dyn Console + Send>);

impl Sink for Lines {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        String::from_utf8_lossy(bytes).lines().try_for_each(|line| self.0.try_line(line))
    }

    fn end(self) -> Result<Finished, Error> {
        Ok(Finished { path: None, bytes: 0, pipe_closed: false })
    }
}

/// A console that never makes its caller wait.
pub struct Speaker {
    aside: Aside,
    /// Lines left out since the last line that was queued.
    missing: u64,
}

impl Speaker {
    /// Sends lines to `console` from now on; at most `limit` bytes of them wait.
    pub fn start(console: Box<dyn Console + Send>, limit: usize) -> Result<Self, Error> {
        let aside = Aside::start(Lines(console), "standard error".to_owned(), STALLED_LINES, limit)?;
        Ok(Self { aside, missing: 0 })
    }

    /// Writes the lines that still wait; false when lines were left out.
    pub fn finish(self) -> bool {
        if self.missing > 0 {
            self.aside.offer(self.remark().as_bytes());
        }
        let (_, counts) = self.aside.end();
        counts.left_out == 0
    }

    /// Queues a note in place of the lines that were left out.
    fn remark(&self) -> String {
        let lines = if self.missing == 1 { "line is" } else { "lines are" };
        format!("({} {lines} missing here: standard error took nothing)\n", self.missing)
    }
}

impl Console for Speaker {
    fn line(&mut self, text: &str) {
        let remark = if self.missing > 0 { self.remark() } else { String::new() };
        let taken = self.aside.offer(format!("{remark}{text}\n").as_bytes());
        self.missing = if taken { 0 } else { self.missing + 1 };
        self.aside.flush();
    }

    fn missing(&self) -> u64 {
        self.aside.counts().left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes pieces one after the other, each when it is told to.
    struct Slow {
        go: Receiver<bool>,
        taken: Sender<Vec<u8>>,
    }

    impl Sink for Slow {
        fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
            if !self.go.recv().unwrap_or(false) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.taken.send(bytes.to_vec());
            Ok(())
        }

        fn end(self) -> Result<Finished, Error> {
            Ok(Finished { path: None, bytes: 0, pipe_closed: false })
        }
    }

    fn slow(limit: usize) -> (Aside, Sender<bool>, Receiver<Vec<u8>>) {
        let ((go, gone), (taken, takes)) = (channel(), channel());
        let sink = Slow { go: gone, taken };
        (Aside::start(sink, "a pipe".to_owned(), Duration::from_millis(200), limit).unwrap(), go, takes)
    }

    fn wait_until(aside: &Aside, what: impl Fn(Counts) -> bool) {
        for _ in 0..1000 {
            if what(aside.counts()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{:?}", aside.counts());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let (aside, go, takes) = slow(10);
        assert!(aside.offer(b"larger than the queue"), "nothing else waits");
        aside.flush();
        // The thread has it when something else fits.
        for _ in 0..1000 {
            if aside.shared.state().waiting.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(aside.offer(b"12345") && aside.offer(b"67890") && !aside.offer(b"a"));
        assert_eq!(aside.counts(), Counts { made: 4, written: 0, left_out: 1, waiting: 3 });
        aside.flush();
        go.send(true).unwrap();
        assert_eq!(takes.recv().unwrap(), b"larger than the queue");
        wait_until(&aside, |counts| counts.written == 1);
        go.send(true).unwrap();
        assert_eq!(takes.recv().unwrap(), b"1234567890");
        let (result, counts) = aside.finish("rows");
        assert_eq!(counts, Counts { made: 4, written: 3, left_out: 1, waiting: 0 });
        let error = result.unwrap_err();
        assert!(error.exit_code() == 5 && error.detail.ends_with("1 of 4 rows were left out"), "{error}");
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for() {
        let (aside, _go, _takes) = slow(10);
        assert!(aside.offer(b"1"));
        let (result, counts) = aside.finish("rows");
        assert_eq!(counts, Counts { made: 1, written: 0, left_out: 1, waiting: 0 });
        assert_eq!(result.unwrap_err().code, "E-OUT-STALLED");
    }

    impl Sink for io::PipeWriter {
        fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.write_all(bytes)
        }

        fn end(self) -> Result<Finished, Error> {
            Ok(Finished { path: None, bytes: 0, pipe_closed: false })
        }
    }

    #[test]
    fn what_a_pipe_holds_that_nobody_reads_is_written_and_the_rest_left_out() {
        let (mut reader, writer) = io::pipe().unwrap();
        let aside = Aside::start(writer, "a pipe".to_owned(), Duration::from_millis(200), 1 << 20).unwrap();
        // The pipe is not empty when much is written.
        aside.offer(&[b'x'; 100]);
        aside.flush();
        wait_until(&aside, |counts| counts.written == 1);
        (1..5000).for_each(|_| assert!(aside.offer(&[b'x'; 100])));
        let (result, counts) = aside.finish("rows");
        assert_eq!(result.unwrap_err().code, "E-OUT-STALLED");
        let mut held = vec![0; 1 << 20];
        let held = io::Read::read(&mut reader, &mut held).unwrap() as u64;
        assert!(held > 10_000, "{held}");
        assert_eq!((counts.written * 100, counts.written + counts.left_out), (held, 5000));
    }

    #[test]
    fn after_an_error_everything_is_left_out() {
        let (aside, go, _takes) = slow(10);
        aside.offer(b"1");
        aside.flush();
        go.send(false).unwrap();
        wait_until(&aside, |counts| counts.left_out == 1);
        assert!(aside.is_broken() && !aside.offer(b"2"));
        assert_eq!(aside.counts(), Counts { made: 2, written: 0, left_out: 2, waiting: 0 });
    }

    /// A console that passes its lines on, one each time it is told to.
    struct Told(Sender<String>, Receiver<()>);

    impl Console for Told {
        fn line(&mut self, text: &str) {
            let _ = self.1.recv();
            let _ = self.0.send(text.to_owned());
        }
    }

    #[test]
    fn lines_that_nobody_took_are_told_later() {
        let ((says, said), (go, gone)) = (channel(), channel());
        let mut speaker = Speaker::start(Box::new(Told(says, gone)), 80).unwrap();
        speaker.line("first");
        while !speaker.aside.shared.state().waiting.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        for line in ["2".repeat(60), "too long".repeat(10), "too long".repeat(11)] {
            speaker.line(&line);
        }
        assert_eq!(speaker.missing(), 2);
        for _ in 0..2 {
            go.send(()).unwrap();
            said.recv().unwrap();
        }
        wait_until(&speaker.aside, |counts| counts.waiting == 0);
        speaker.line("fifth");
        drop(go);
        assert!(!speaker.finish(), "some were left out");
        let rest: Vec<String> = said.iter().collect();
        assert_eq!(rest, ["(2 lines are missing here: standard error took nothing)", "fifth"]);
    }
}
