//! Writes a report as JSON, schema `dnsrefused/1`: keys in the order of the contract, lists with one entry per line.
//!
//! An entry per line keeps large reports greppable and two reports comparable line by line.

mod entries;
mod ledgers;
mod totals;

use super::{Format, Layout, Report, Writer};
use crate::capture::Timestamp;
use crate::error::escape_text;
pub use entries::CitedJson;
use entries::{AclJson, FindingJson, InputJson, SourceJson};
use serde::Serialize;
use serde::ser::Serializer;
use std::io::{self, Write};
use totals::TotalsJson;
pub use totals::rcode_name;

/// The format's entry in the table.
pub const FORMAT: Format = Format { name: "json", writer: Writer::Report(write) };

/// Writes the report as one JSON object.
pub fn write(report: &Report, _: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let digits = report.time_digits;
    out.write_all(b"{\n\"schema\": \"dnsrefused/1\",\n\"node\": ")?;
    value(&report.node.as_deref().map(escape_text), out)?;
    if let Some(partial) = &report.partial {
        out.write_all(b",\n\"partial\": ")?;
        value(&escape_text(partial), out)?;
    }
    list("inputs", report.inputs.iter().map(|input| InputJson::of(input, digits)), out)?;
    out.write_all(b",\n\"ledgers\": {")?;
    for (index, (name, ledger)) in ledgers::all(&report.ledgers).iter().enumerate() {
        write!(out, "{}\n\"{name}\": ", if index == 0 { "" } else { "," })?;
        value(ledger, out)?;
    }
    out.write_all(b"\n},\n\"totals\": ")?;
    value(&TotalsJson::of(&report.totals, digits), out)?;
    list("sources", report.sources.iter().map(|line| SourceJson::of(line, report, digits)), out)?;
    list("findings", report.findings.iter().map(|finding| FindingJson::of(finding, &report.inputs)), out)?;
    list("mappings", std::iter::empty::<()>(), out)?;
    if !report.files.is_empty() {
        list("acls", report.files.iter().map(AclJson::of), out)?;
    }
    out.write_all(b",\n\"anomalies\": ")?;
    value(&Counts(&report.ledgers.anomalies.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>()), out)?;
    list("notes", report.notes.iter().map(|note| escape_text(note)), out)?;
    out.write_all(b"\n}\n")
}

/// Writes a key with a list, one entry per line.
fn list<T: Serialize>(key: &str, entries: impl Iterator<Item = T>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, ",\n\"{key}\": [")?;
    let mut any = false;
    // There may be hundreds of thousands: each entry is assembled before it is written.
    let mut line = Vec::new();
    for entry in entries {
        line.clear();
        line.extend_from_slice(if any { b",\n" } else { b"\n" });
        value(&entry, &mut line)?;
        out.write_all(&line)?;
        any = true;
    }
    out.write_all(if any { b"\n]" } else { b"]" })
}

/// Writes a value on the current line.
fn value<T: Serialize, W: Write + ?Sized>(value: &T, out: &mut W) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// A time with the capture's precision.
fn time(time: Option<Timestamp>, digits: usize) -> Option<String> {
    time.map(|time| time.to_rfc3339(digits))
}

/// Counts by name as an object, in the order given.
struct Counts<'a, K>(&'a [(K, u64)]);

impl<K: AsRef<str>> Serialize for Counts<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name.as_ref(), count)))
    }
}

#[cfg(test)]
mod tests;
