//! Prints a finished run ([`Report`]) as text, csv, jsonl or json: one file per format, listed in [`FORMATS`].
//!
//! Nothing is decided here: formats print what earlier stages stated, in words no stronger than its grade.

pub mod accounts;
pub mod build;
pub mod cell;
mod columns;
mod coverage;
pub mod csv;
mod facts;
pub mod json;
pub mod jsonl;
mod ledgers;
pub mod legs;
mod model;
pub mod output;
pub mod page;
pub mod row;
pub mod rows;
pub mod sides;
pub mod spool;
pub mod text;

use crate::config::{Color, Config};
pub use ledgers::{CaptureLedger, Ledger, Ledgers};
pub use model::{
    Expectation, FileReport, InputReport, LiveReport, Report, SourceLine, SourceVerdict, Totals, servers_of,
};
use row::RowText;
use std::io::{self, Write};

/// Every output format; the first is the default.
pub const FORMATS: &[Format] = &[
    text::FORMAT,
    json::FORMAT,
    Format { name: "csv", writer: Writer::Rows { header: csv::header, row: csv::row } },
    Format { name: "jsonl", writer: Writer::Rows { header: jsonl::header, row: jsonl::row } },
];

/// Finds a format by its name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// A row of [`FORMATS`].
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The name on the command line.
    pub name: &'static str,
    /// The function that writes it.
    pub writer: Writer,
}

/// What a format is made from.
#[derive(Debug, Clone, Copy)]
pub enum Writer {
    /// The finished report.
    Report(fn(&Report, &Layout, &mut dyn Write) -> io::Result<()>),
    /// Transactions one by one, each appended to the given bytes.
    Rows {
        /// Writes what comes before the first row.
        header: fn(&mut Vec<u8>),
        /// Writes one row.
        row: fn(&RowText, &mut Vec<u8>),
    },
}

/// Layout of a report, where the format leaves a choice.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Most sources and findings listed in text.
    pub top: usize,
    /// Colour the text.
    pub color: bool,
}

/// True when the environment asks for no colour (no-color.org).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

impl Layout {
    /// From the configuration, for an output that is or is not a terminal; `no_color` is true when the environment
    /// variable `NO_COLOR` is set and not empty.
    pub fn of(config: &Config, terminal: bool, no_color: bool) -> Self {
        let color = match config.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self { top: config.top, color }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_name_of_its_own_and_writes() {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        assert_eq!(names, ["text", "json", "csv", "jsonl"]);
        assert_eq!(FORMATS[0].name, Config::default().format, "the first is the default");
        for entry in FORMATS {
            assert_eq!(format(entry.name).map(|found| found.name), Some(entry.name));
            let mut out = Vec::new();
            match entry.writer {
                Writer::Report(write) => {
                    write(&Report::default(), &Layout { top: 20, color: false }, &mut out).unwrap();
                }
                Writer::Rows { header, row } => {
                    header(&mut out);
                    row(&RowText::default(), &mut out);
                }
            }
            assert!(out.ends_with(b"\n"), "{}", entry.name);
        }
        assert!(format("html").is_none());
    }

    #[test]
    fn colour_follows_the_option_the_terminal_and_no_color() {
        let color =
            |color, terminal, no_color| Layout::of(&Config { color, ..Config::default() }, terminal, no_color).color;
        assert!(color(Color::Auto, true, false));
        assert!(!color(Color::Auto, true, true) && !color(Color::Auto, false, false));
        assert!(color(Color::Always, false, true) && !color(Color::Never, true, false));
    }
}
