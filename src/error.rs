//! The one `Error`: what an operator is told when a run cannot do what was asked.
//!
//! Nothing read from the wire can produce one (a packet that cannot be used is counted under a named reason instead).
//! Its text says what happened, where, what was lost and what was still done; `main` prints it on one escaped line and
//! ends with [`Error::exit_code`].

use std::fmt;

/// The kind of a failure; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The run could not start or go on: no such interface, no permission (exit code 1).
    CouldNotRun,
    /// A usage or configuration error, or a refused output target; nothing was opened or changed (exit code 2).
    Usage,
    /// An input is damaged or incomplete; the rest was still used (exit code 3).
    Input,
    /// An output is not complete (exit code 5).
    Output,
    /// The privileges or sandbox that `--sandbox require` asks for were not reached (exit code 6).
    Sandbox,
    /// A fault of this program (exit code 7).
    Internal,
}

/// An error for the operator: a stable code, the object it concerns, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// Stable code such as `E-IN-CUT`, for scripts and searches.
    pub code: &'static str,
    /// The file, flag or interface concerned; may hold any characters, escaped when printed.
    pub object: String,
    /// Where, what was expected, what was lost and what was still done.
    pub detail: String,
    /// A picture of the place in a configuration file, several lines and already escaped; shown before the error's
    /// line.
    pub shown: Option<Box<str>>,
}

impl Error {
    /// Makes an error; `detail` should name place, loss and what was still done.
    pub fn new(kind: ErrorKind, code: &'static str, object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code, object: object.into(), detail: detail.into(), shown: None }
    }

    /// Adds a picture of the place.
    #[must_use]
    pub fn showing(mut self, picture: String) -> Self {
        self.shown = Some(picture.into_boxed_str());
        self
    }

    /// A usage error (exit code 2).
    pub fn usage(object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, "E-USAGE", object, detail)
    }

    /// A fault of this program (exit code 7).
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "E-INTERNAL", "dnsrefused", detail)
    }

    /// The process exit code for this kind, as documented in the README.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::CouldNotRun => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Input => 3,
            ErrorKind::Output => 5,
            ErrorKind::Sandbox => 6,
            ErrorKind::Internal => 7,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: ", self.code)?;
        write_escaped(f, &self.object)?;
        f.write_str(": ")?;
        write_escaped(f, &self.detail)
    }
}

/// Writes text with every control character, and every character that could reorder or hide text, as `\u{..}`.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| if is_plain(c) { write!(f, "{c}") } else { write!(f, "{}", c.escape_unicode()) })
}

/// Escapes text from file names, interface names and the like so that it stays on one line and cannot drive a terminal.
pub fn escape_text(text: &str) -> String {
    // Nearly all text is plain.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    escaped
}

/// A fault of this program (a panic) on one escaped line.
pub fn fault_line(fault: &std::panic::PanicHookInfo<'_>) -> String {
    let place = fault.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    let text = fault.payload().downcast_ref::<String>().map(String::as_str);
    let what = text.or(fault.payload().downcast_ref::<&str>().copied()).unwrap_or("no message");
    escape_text(&format!("fault{place}: {what}"))
}

/// True for characters that can neither control a terminal nor reorder or hide the text around them.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// `1 packet`, `2 packets`. Numbers in errors have no thousands separators, so that they can be searched for.
pub fn packets(number: u64) -> String {
    format!("{number} packet{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_on_one_line_whatever_the_file_is_called() {
        let error = Error::usage("a\nb\u{1b}[2J", "gone\r");
        assert_eq!(error.to_string(), "error[E-USAGE]: a\\u{a}b\\u{1b}[2J: gone\\u{d}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn one_packet_is_one() {
        assert_eq!([0, 1, 1234].map(packets), ["0 packets", "1 packet", "1234 packets"]);
    }
}
