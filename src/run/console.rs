//! Lines for the operator beside the report ([`Console`]).

use std::io::Write;

/// What the process says beside its report.
pub trait Console {
    /// One line for the operator.
    fn line(&mut self, text: &str);

    /// Shows a line as [`Console::line`] does, and says why it could not.
    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        self.line(text);
        Ok(())
    }

    /// Shows lines that were held back, where any are.
    fn show(&mut self) {}

    /// Lines so far that could not be shown.
    fn missing(&self) -> u64 {
        0
    }
}

/// Standard error; nobody reading it is no reason to stop.
pub struct StandardError;

impl Console for StandardError {
    fn line(&mut self, text: &str) {
        let _ = self.try_line(text);
    }

    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        // A terminal that was hung up says EIO.
        match writeln!(std::io::stderr().lock(), "{text}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
            written => written,
        }
    }
}
