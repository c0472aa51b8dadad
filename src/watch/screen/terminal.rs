//! The operator's terminal, borrowed ([`Screen`](super::Screen) draws on it) and restored: when it is dropped, also by
//! a panic that unwinds, and when it can no longer be written to.

use crate::error::{Error, ErrorKind, fault_line};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::{cursor, execute, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Uid;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time to write one picture; then it is abandoned, and painted anew when the terminal takes output again.
const PATIENCE: Duration = Duration::from_millis(300);

/// Set while the terminal is borrowed: where to write what restores it. Opened together with it, because a confined
/// process cannot open a terminal.
static BORROWED: Mutex<Option<Patient>> = Mutex::new(None);

/// A terminal in raw mode, showing the alternate screen. To be opened before the process is confined.
pub struct Borrowed {
    /// Where pictures are painted.
    pub terminal: ratatui::Terminal<CrosstermBackend<Patient>>,
    /// Where keys come from.
    pub keyboard: File,
    /// Who leads the process group.
    group: Group,
}

impl Borrowed {
    /// Borrows the terminal to which standard input and output are connected.
    pub fn open() -> Result<Self, Error> {
        let (input, output) = (io::stdin(), io::stdout());
        if !input.is_terminal() || !output.is_terminal() {
            let detail =
                "standard input and output must be a terminal; without --screen everything is written as lines";
            return Err(Error::usage("--screen", detail));
        }
        if std::env::var_os("TERM").is_some_and(|name| name == "dumb") {
            let detail = "this terminal says that it can show no screen (TERM=dumb); without --screen everything is written as lines";
            return Err(Error::usage("--screen", detail));
        }
        let failed = |error: io::Error| {
            Error::new(ErrorKind::CouldNotRun, "E-SCREEN", "terminal", format!("{error}; no packet was read"))
        };
        let keyboard = File::from(input.as_fd().try_clone_to_owned().map_err(failed)?);
        let writer = Patient::open(true).map_err(failed)?;
        let mut terminal = ratatui::Terminal::new(CrosstermBackend::new(writer)).map_err(failed)?;
        hold_fault_lines();
        *BORROWED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Patient::open(false).map_err(failed)?);
        let taken = terminal::enable_raw_mode()
            .and_then(|()| execute!(terminal.backend_mut(), terminal::EnterAlternateScreen, cursor::Hide))
            .and_then(|()| clear(&mut terminal));
        match taken {
            Ok(()) => Ok(Self { terminal, keyboard, group: Group::of_this_process() }),
            Err(error) => {
                give_back();
                Err(failed(error))
            }
        }
    }
}

impl Borrowed {
    /// Gives the terminal to the shell while this process is stopped. Returns when it was continued, which `resume`
    /// says; [`Borrowed::take_again`] must follow. Does nothing without a shell, nor where a script around this process
    /// could not be stopped with it, because the shell would then wait for the script.
    pub fn stop(&mut self, resume: &AtomicBool) {
        let me = rustix::process::geteuid();
        match self.group {
            Group::Own => {}
            Group::Led(leader) if me.is_root() || leader == me => {}
            Group::Led(_) | Group::Orphaned => return,
        }
        resume.store(false, Ordering::Relaxed);
        let _ = execute!(self.terminal.backend_mut(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
        let stopped = rustix::process::kill_current_process_group(rustix::process::Signal::STOP);
        // Another thread may have received the signal, which stops this one a moment later.
        let begun = Instant::now();
        while stopped.is_ok() && !resume.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Borrows the terminal again, as the shell left it when this process was stopped.
    pub fn take_again(&mut self) -> io::Result<()> {
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        execute!(self.terminal.backend_mut(), terminal::EnterAlternateScreen, cursor::Hide)
    }
}

/// Who leads the process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// This process leads it.
    Own,
    /// A script of this user around this process leads it.
    Led(Uid),
    /// Nobody could continue it (an orphaned process group, setpgid(2)): no process of it has a parent in another group
    /// of the same session, which would be a shell with job control.
    Orphaned,
}

impl Group {
    fn of_this_process() -> Self {
        Self::find().unwrap_or(Self::Orphaned)
    }

    fn find() -> Option<Self> {
        /// Most processes between this one and its shell that are looked at.
        const BETWEEN: usize = 32;
        /// Parent, group and session in a line of /proc/PID/stat, after the command's name in parentheses.
        fn of(process: &str) -> Option<[u32; 3]> {
            let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let mut numbers =
                line.rsplit_once(')')?.1.split_whitespace().skip(1).map_while(|number| number.parse().ok());
            Some([numbers.next()?, numbers.next()?, numbers.next()?])
        }
        let [mut parent, group, session] = of("self")?;
        for _ in 0..BETWEEN {
            let [next, its_group, its_session] = of(&parent.to_string())?;
            if its_session != session {
                return None;
            }
            if its_group != group {
                let leader = std::fs::metadata(format!("/proc/{group}")).ok();
                let others = leader.filter(|_| group != std::process::id());
                return Some(others.map_or(Self::Own, |leader| Self::Led(Uid::from_raw(leader.uid()))));
            }
            parent = next;
        }
        None
    }
}

/// Makes the next picture a complete one. (The terminal library's own way asks for the cursor's position and waits for
/// an answer.)
pub fn clear<B: ratatui::backend::Backend>(terminal: &mut ratatui::Terminal<B>) -> Result<(), B::Error> {
    let size = terminal.size()?;
    terminal.resize(size.into())
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        give_back();
    }
}

/// Lines about faults while the terminal was borrowed; they are printed once it is restored.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Most such lines; one bad packet may come a million times.
const FAULT_LINES: usize = 20;

/// Leaves the alternate screen and raw mode, once.
fn give_back() {
    let writer = BORROWED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut writer) = writer {
        let _ = execute!(writer, terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
        for line in std::mem::take(&mut *FAULTS.lock().unwrap_or_else(PoisonError::into_inner)) {
            let _ = writeln!(writer, "{line}");
        }
        let _ = writer.flush();
    }
}

/// True while the terminal is borrowed.
pub fn is_borrowed() -> bool {
    BORROWED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Keeps messages about faults off the screen: most faults cost one packet, and the screen goes on.
fn hold_fault_lines() {
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |fault| {
            if !is_borrowed() {
                return before(fault);
            }
            let mut lines = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() < FAULT_LINES {
                lines.push(fault_line(fault));
            }
        }));
    });
}

/// Most bytes of one picture; a window of 1,000 by 500 cells takes less.
const PICTURE: usize = 4 << 20;

/// Collects a picture and writes it while the terminal takes output. A terminal that is stopped (Ctrl-S, a dead
/// connection) would block its writer, and with it the end of the capture.
#[derive(Debug)]
pub struct Patient {
    file: File,
    picture: Vec<u8>,
    /// Writes only while the terminal is borrowed: neither the library's last words about the cursor nor a picture that
    /// would cover a panic's message are written afterwards.
    borrowing: bool,
}

impl Patient {
    /// A file description of its own, so that non-blocking mode does not affect the shell's terminal.
    fn open(borrowing: bool) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let paths = ["/proc/self/fd/1", "/dev/tty"];
        let file = match paths.iter().find_map(|path| rustix::fs::open(*path, flags, Mode::empty()).ok()) {
            Some(own) => own,
            None => io::stdout().as_fd().try_clone_to_owned()?,
        };
        Ok(Self { file: File::from(file), picture: Vec::new(), borrowing })
    }

    /// Writes what was collected, within [`PATIENCE`].
    fn paint(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let mut rest = &self.picture[..];
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = PATIENCE.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
                    let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&timeout));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.picture.len() + bytes.len() > PICTURE {
            self.flush()?;
        }
        self.picture.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let painted = if self.borrowing && !is_borrowed() { Ok(()) } else { self.paint() };
        self.picture.clear();
        painted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stopped_terminal_costs_a_moment_and_no_more() {
        // A pipe that nobody reads stands for it.
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut patient =
            Patient { file: File::from(std::os::fd::OwnedFd::from(writer)), picture: Vec::new(), borrowing: false };
        patient.write_all(&vec![b'x'; 1 << 20]).unwrap();
        let begun = Instant::now();
        assert_eq!(patient.flush().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < PATIENCE * 4, "{:?}", begun.elapsed());
        // When it takes something again, the next picture is whole.
        let mut taken = vec![0; 1 << 20];
        let held = reader.read(&mut taken).unwrap();
        assert!(held > 0 && held < 1 << 20);
        while held_more(&mut reader, &mut taken) {}
        patient.write_all(b"anew").unwrap();
        patient.flush().unwrap();
        let read = reader.read(&mut taken).unwrap();
        assert_eq!(&taken[..read], b"anew");
    }

    /// Empties a pipe; false when there was nothing.
    fn held_more(reader: &mut io::PipeReader, into: &mut [u8]) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout)).unwrap() > 0 && reader.read(into).unwrap() > 0
    }
}
