//! Decodes bytes from a terminal into the keys that the screen knows ([`Keys`]).
//!
//! The terminal library's own reader is not used, because it reads without end when the terminal is gone.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

/// A key that the screen knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character.
    Char(char),
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// Opens what is selected.
    Enter,
    /// Back.
    Escape,
    /// Deletes the character before.
    Backspace,
    /// Ctrl-C, which a terminal in raw mode does not turn into a signal.
    Interrupt,
    /// Ctrl-L: paint everything again.
    Redraw,
    /// Ctrl-Z, for the same reason.
    Suspend,
}

/// Longest escape sequence of one key; a longer one is ignored.
const SEQUENCE: usize = 16;

/// Decodes keys from bytes as they arrive.
#[derive(Debug, Default)]
pub struct Keys {
    /// An incomplete escape sequence.
    held: Vec<u8>,
}

impl Keys {
    /// The keys in some bytes; an incomplete sequence is kept.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            if self.held.is_empty() && *byte != 0x1b {
                keys.extend(plain(*byte));
                continue;
            }
            if *byte == 0x1b {
                // The incomplete sequence was a key of its own.
                keys.extend(self.flush());
            }
            self.held.push(*byte);
            let [_, introducer, rest @ ..] = &self.held[..] else { continue };
            match (introducer, rest.last()) {
                (b'[' | b'O', None) => {}
                (b'[' | b'O', Some(last)) if (0x40..=0x7e).contains(last) => {
                    keys.extend(sequence(rest));
                    self.held.clear();
                }
                (b'[' | b'O', Some(_)) if self.held.len() < SEQUENCE => {}
                (b'[' | b'O', Some(_)) => self.held.clear(),
                // Alt with a key is sent as escape and that key.
                _ => {
                    self.held.clear();
                    keys.push(Key::Escape);
                    keys.extend(plain(*byte));
                }
            }
        }
        keys
    }

    /// Nothing has come for a while: a lone escape was the escape key.
    pub fn flush(&mut self) -> Option<Key> {
        let lone = self.held == [0x1b];
        self.held.clear();
        lone.then_some(Key::Escape)
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b' '..=b'~' => Some(Key::Char(char::from(byte))),
        b'\r' | b'\n' => Some(Key::Enter),
        0x08 | 0x7f => Some(Key::Backspace),
        0x03 => Some(Key::Interrupt),
        0x0c => Some(Key::Redraw),
        0x1a => Some(Key::Suspend),
        _ => None,
    }
}

/// The key of a sequence after its introducer (as sent by xterm and its kin).
fn sequence(rest: &[u8]) -> Option<Key> {
    match rest {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::Home),
        b"F" | b"4~" | b"8~" => Some(Key::End),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        _ => None,
    }
}

/// What came from a terminal.
#[derive(Debug)]
pub enum Input {
    /// Keys; perhaps none.
    Keys(Vec<Key>),
    /// The terminal is gone.
    Gone,
}

/// Waits up to `wait` for keys.
pub fn read(terminal: &mut (impl Read + AsFd), keys: &mut Keys, wait: Duration) -> io::Result<Input> {
    // A sequence comes in one piece, or in pieces in quick succession.
    let wait = if keys.held.is_empty() { wait } else { wait.min(Duration::from_millis(50)) };
    let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    let mut ready = [PollFd::new(terminal, PollFlags::IN)];
    match poll(&mut ready, Some(&timeout)) {
        Ok(0) => return Ok(Input::Keys(keys.flush().into_iter().collect())),
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Input::Keys(Vec::new())),
        Err(error) => return Err(error.into()),
    }
    let happened = ready[0].revents();
    if happened.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Ok(Input::Gone);
    }
    let mut bytes = [0; 256];
    match terminal.read(&mut bytes) {
        Ok(0) => Ok(Input::Gone),
        Ok(read) => Ok(Input::Keys(keys.push(&bytes[..read]))),
        Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
            Ok(Input::Keys(Vec::new()))
        }
        Err(_) => Ok(Input::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_however_the_bytes_are_cut() {
        let bytes = b"s\x1b[A\x1b[5~\x1bOB\r\x7f\x03\x0c\x1a\x1b[15;5~/\x1b[H";
        let wanted = [
            Key::Char('s'),
            Key::Up,
            Key::PageUp,
            Key::Down,
            Key::Enter,
            Key::Backspace,
            Key::Interrupt,
            Key::Redraw,
            Key::Suspend,
            Key::Char('/'),
            Key::Home,
        ];
        for size in 1..=bytes.len() {
            let mut keys = Keys::default();
            let found: Vec<Key> = bytes.chunks(size).flat_map(|chunk| keys.push(chunk)).collect();
            assert_eq!(found, wanted, "{size}");
        }
    }

    #[test]
    fn a_lone_escape_is_a_key_and_nonsense_is_none() {
        let mut keys = Keys::default();
        assert_eq!((keys.push(b"\x1b"), keys.flush(), keys.flush()), (vec![], Some(Key::Escape), None));
        assert_eq!(keys.push(b"\x1b\x1b[B"), [Key::Escape, Key::Down]);
        assert_eq!(keys.push(b"\x1bxq"), [Key::Escape, Key::Char('x'), Key::Char('q')], "alt and x is both");
        let endless = [&b"\x1b["[..], &[b'1'; 100], b"q"].concat();
        assert!(keys.push(&endless).len() > 80 && keys.held.is_empty(), "bounded");
        assert_eq!(keys.push(&[0, 0x80, 0xff, 0x1d]), []);
    }
}
