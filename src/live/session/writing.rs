//! Writes reports and rows to where they belong, and says what could not be delivered.

use super::{Session, lock};
use crate::capture::Timestamp;
use crate::capture::host::now;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::live::interval;
use crate::pipeline::aside::{Aside, Counts};
use crate::report::output::{self, Output};
use crate::report::{self, Layout, Ledger, Report, Writer, text};
use std::fmt::Write as _;

/// Writes a report in its format.
type WriteReport = fn(&Report, &Layout, &mut dyn std::io::Write) -> std::io::Result<()>;

impl Session<'_> {
    /// Prints a report as text beside the output.
    pub(super) fn print_beside(&mut self, report: &Report) {
        let layout = Layout { top: self.config.top, color: false };
        let mut out = Vec::new();
        if text::write(report, &layout, &mut out).is_ok() {
            for line in String::from_utf8_lossy(&out).lines() {
                self.console.line(line);
            }
        }
    }

    /// Writes the report of an interval, where reports are asked for.
    pub(super) fn write_report(&mut self, report: &mut Report, last: bool) {
        let Some(Writer::Report(write)) = report::format(self.config.format).map(|format| format.writer) else {
            report.ledgers.outputs = lock(&self.decided).ledger();
            if !self.config.quiet {
                self.print_beside(report);
            }
            return;
        };
        report.ledgers.outputs = Ledger { buckets: vec![("rows_made", 0), ("rows_written", 0)], closed: true };
        let written = self.write_out(report, write, last);
        if let Err(error) = written {
            if !last {
                self.console.line(&error.to_string());
                self.show_happened(now(), &error.to_string());
            }
            if (last || self.config.output.is_some()) && !self.config.quiet {
                // When the disk fails, the findings must not be lost with it.
                self.print_beside(report);
            }
            if self.written.is_ok() {
                self.written = Err(error);
            }
        }
    }

    /// The line that says that reports to standard output are no longer read.
    pub(super) fn how_unread(&self) -> String {
        match self.standard.as_ref().and_then(|(standard, _)| standard.reason()) {
            Some(reason) => format!("reports cannot be written ({reason})"),
            None => "nobody reads reports any more".to_owned(),
        }
    }

    /// Writes a report to where it belongs. One of several to standard output waits for nobody.
    fn write_out(&mut self, report: &Report, write: WriteReport, last: bool) -> Result<(), Error> {
        let no_color = report::no_color();
        if self.config.live.every.is_some() && self.config.output.is_none() {
            let (standard, layout) = match self.standard.take() {
                Some(standard) => standard,
                None => {
                    let output = self.output.take().map_or_else(|| output::prepare_next(self.config), Ok)?;
                    let layout = Layout::of(self.config, output.is_terminal(), no_color);
                    (Aside::of(output, self.config.limits.waiting_output_bytes)?, layout)
                }
            };
            let mut text = Vec::new();
            // Writing to memory cannot fail.
            let _ = write(report, &layout, &mut text);
            let taken = standard.offer(&text);
            if last {
                return standard.finish("reports").0.map(|_| ());
            }
            standard.flush();
            // The cause is reported at the end; it is no error when the reader went away.
            let lost = (!taken && !standard.is_broken()).then(|| {
                let what = "takes nothing; the report of this interval is lost";
                Error::new(ErrorKind::Output, "E-OUT-STALLED", standard.name(), what)
            });
            self.standard = Some((standard, layout));
            return lost.map_or(Ok(()), Err);
        }
        let mut output = self.output.take().map_or_else(|| self.output_of_interval(report), Ok)?;
        let layout = Layout::of(self.config, output.is_terminal(), no_color);
        // The output remembers its first error, and reports it at its end.
        let _ = write(report, &layout, &mut output);
        output.finish().map(|_| ())
    }

    /// The file for the report of an interval: the name asked for with the time at which the interval began, and never
    /// one that exists.
    fn output_of_interval(&self, report: &Report) -> Result<Output, Error> {
        let began = report.live.as_ref().map_or(Timestamp(0), |live| live.window.0);
        let path = self.config.output.as_deref().map(|path| interval::file(path, began));
        let target = Config { output: path, ..self.config.clone() };
        output::prepare_next(&target).map_err(|mut error| {
            if let Some(path) = &target.output {
                error = interval::say_another_folder(error, path, self.folder);
            }
            let became = if self.config.quiet { "lost" } else { "printed on standard error" };
            let _ = write!(error.detail, "; the report of this interval is {became}");
            error
        })
    }

    /// Says when rows are left out because nobody takes them, and when they are taken again.
    pub(super) fn say_left_out(&mut self, now: Timestamp, rows: Counts) {
        let stalled = rows.left_out > self.left_out || (self.stalled && rows.waiting > 0);
        self.left_out = rows.left_out;
        if stalled != self.stalled {
            self.stalled = stalled;
            let left_out = rows.left_out;
            self.note(
                now,
                &if stalled {
                    "rows are left out: whoever reads them takes nothing; the capture goes on".to_owned()
                } else {
                    format!("rows are taken again; {left_out} were left out until now")
                },
            );
        }
    }
}
