//! Lines for the operator beside the report ([`Console`]).

use std::io::Write;

/// What the process says beside its report.
pub trait Console {
    /// One line for the operator.
    fn line(&mut self, text: &str);

    /// Shows a line as [`Console::line`] does, and returns the error when that fails.
    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        self.line(text);
        Ok(())
    }

    /// Shows the lines that were held back, if any.
    fn show(&mut self) {}

    /// Number of lines so far that could not be shown.
    fn missing(&self) -> u64 {
        0
    }
}

/// Standard error. That nobody reads it is not an error.
pub struct StandardError;

impl Console for StandardError {
    fn line(&mut self, text: &str) {
        let _ = self.try_line(text);
    }

    fn try_line(&mut self, text: &str) -> std::io::Result<()> {
        // Writing to a terminal that was hung up fails with EIO.
        match writeln!(std::io::stderr().lock(), "{text}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
            written => written,
        }
    }
}
