//! A report to text for a person.

use super::{Format, Layout, Report, Writer};
use std::io::{self, Write};

/// The format's entry in the table.
pub const FORMAT: Format = Format { name: "text", about: "a page for a person", writer: Writer::Report(write) };

/// Writes.
pub fn write(_: &Report, _: &Layout, _: &mut dyn Write) -> io::Result<()> {
    Ok(())
}
