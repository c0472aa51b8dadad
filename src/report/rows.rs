//! Collects transactions as rows in input order: [`Rows`] takes them as they close and writes those of the wanted legs
//! at the end, when it is known which addresses are servers.

use super::columns::Columns;
use super::facts::Facts;
use super::row::{COLUMNS, RowText};
use super::spool::{self, Records, Spool};
use crate::config::Limits;
use crate::decode::Interface;
use crate::decode::detail::DetailLimits;
use crate::error::Error;
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::judge::{Judge, names_server};
use crate::sources::Leg;
use crate::transact::Transaction;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// What rows need to know of an input.
#[derive(Debug, Clone)]
pub struct RowInput {
    /// Its name, escaped.
    pub name: String,
    /// Digits of the fraction of its timestamps.
    pub time_digits: usize,
}

/// A row as it is printed, except for what is known only at the end of the capture.
#[derive(Debug)]
pub struct PrintedRow {
    client: IpAddr,
    server: IpAddr,
    /// The input, and the number of the interface in its section, if any.
    seen: (u32, Option<u32>),
    /// Its columns.
    pub text: RowText,
}

impl Default for PrintedRow {
    fn default() -> Self {
        let nobody = IpAddr::from([0; 4]);
        Self { client: nobody, server: nobody, seen: (0, None), text: RowText::default() }
    }
}

/// Formats rows from their records.
pub trait PrintRow: Send {
    /// Formats a row into reused memory.
    fn print(&mut self, record: &[u8], row: &mut PrintedRow) -> io::Result<()>;

    /// Another printer of the same rows, for another thread.
    fn another(&self) -> Box<dyn PrintRow>;
}

/// Rows that are formatted one after another into reused memory.
pub trait PrintedRows: Send {
    /// Formats the next row; false at the end.
    fn next_row(&mut self, row: &mut PrintedRow) -> io::Result<bool>;
}

/// Makes rows and holds them until the end.
pub struct Rows {
    spool: Spool,
    /// The sorted records, once everything was pushed.
    sorted: Option<Box<dyn PrintedRows>>,
    columns: Columns,
    /// The verdicts of servers' configurations; `None` without one.
    judge: Option<Judge>,
    limits: DetailLimits,
    record: Vec<u8>,
    text: RowText,
    failed: Option<Error>,
    /// Number of messages of rows that could not be decoded in full.
    pub without_detail: u64,
}

/// Index of a column.
fn position(name: &str) -> usize {
    COLUMNS.iter().position(|(column, _)| *column == name).unwrap_or(COLUMNS.len())
}

impl Rows {
    /// A collection without rows.
    pub fn new(inputs: Vec<RowInput>, inventory: Option<Arc<Inventory>>, acls: &Arc<[Acl]>, limits: &Limits) -> Self {
        let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
        Self {
            spool: Spool::new(limits.spool_bytes),
            sorted: None,
            columns: Columns::new(inputs, inventory),
            judge: (!acls.is_empty()).then(|| Judge::new(Arc::clone(acls), detail)),
            limits: detail,
            record: Vec::new(),
            text: RowText::default(),
            failed: None,
            without_detail: 0,
        }
    }

    /// Takes a transaction.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        if self.failed.is_some() {
            return;
        }
        let facts = Facts::of(transaction, self.judge.as_mut(), self.limits, &mut self.without_detail);
        self.record.clear();
        facts.to_bytes(&mut self.record);
        let frame = facts.frame().unwrap_or_default();
        if let Err(error) = self.spool.push((frame.input, frame.frame), &self.record) {
            self.failed = Some(error);
        }
    }

    /// The row of a transaction whose leg and interface are already known, to be written at once.
    pub fn one(&mut self, transaction: &Transaction<'_>, leg: Leg, interface: Option<&str>) -> &RowText {
        let facts = Facts::of(transaction, self.judge.as_mut(), self.limits, &mut self.without_detail);
        self.columns.print(&facts, &mut self.text);
        self.text.change(position("leg"), leg.name().as_bytes());
        if let Some(name) = interface {
            self.text.change(position("interface"), name.as_bytes());
        }
        &self.text
    }

    /// Sorts the rows after the last one was pushed. `printing` decides how they are formatted; times get as many
    /// digits as the end of each input has shown to be right.
    pub fn sort(
        &mut self,
        time_digits: &[usize],
        printing: impl FnOnce(Box<dyn Records>, Box<dyn PrintRow>) -> Box<dyn PrintedRows>,
    ) {
        self.columns.set_time_digits(time_digits);
        match std::mem::take(&mut self.spool).into_sorted() {
            Ok(records) => {
                let columns = std::mem::take(&mut self.columns);
                self.sorted = Some(printing(records, Box::new(Printer { columns })));
            }
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// Hands out the rows of wanted legs in input order, sorting them first if necessary. `leg` is decided by client
    /// and server; `interface` names an interface of an input. Returns the number of rows made.
    pub fn write<'n>(
        mut self,
        leg: impl Fn(IpAddr, IpAddr) -> Leg,
        wanted: impl Fn(Leg) -> bool,
        interface: impl Fn(u32, u32) -> Option<&'n str>,
        mut write: impl FnMut(&RowText),
    ) -> Result<u64, Error> {
        if self.sorted.is_none() {
            self.sort(&[], in_turn);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(mut sorted) = self.sorted else { return Ok(0) };
        let (leg_at, interface_at) = (position("leg"), position("interface"));
        let (verdict_at, rule_at) = (position("verdict"), position("rule"));
        let acls = self.judge.as_ref().map(|judge| Arc::clone(judge.acls()));
        let mut row = PrintedRow::default();
        let mut made = 0;
        while sorted.next_row(&mut row).map_err(spool::failed)? {
            let leg = leg(row.client, row.server);
            if !wanted(leg) {
                continue;
            }
            let (input, section) = row.seen;
            // A file that names no server speaks only for servers that clients ask.
            let apart = leg != Leg::Client && acls.as_ref().is_some_and(|acls| !names_server(acls, row.server));
            row.text.change(leg_at, leg.name().as_bytes());
            if let Some(name) = section.and_then(|section| interface(input, section)) {
                row.text.change(interface_at, name.as_bytes());
            }
            if apart {
                row.text.change(verdict_at, b"unknown");
                row.text.change(rule_at, b"");
            }
            write(&row.text);
            made += 1;
        }
        Ok(made)
    }
}

/// Formats rows from their records.
#[derive(Clone)]
struct Printer {
    columns: Columns,
}

impl PrintRow for Printer {
    fn print(&mut self, record: &[u8], row: &mut PrintedRow) -> io::Result<()> {
        let facts = Facts::from_bytes(record).ok_or_else(|| io::Error::other("a row is not as it was written"))?;
        (row.client, row.server) = (facts.client, facts.server);
        row.seen = match (facts.frame(), facts.point.interface()) {
            (Some(frame), Interface::Section(number)) => (frame.input, Some(number)),
            _ => (0, None),
        };
        self.columns.print(&facts, &mut row.text);
        Ok(())
    }

    fn another(&self) -> Box<dyn PrintRow> {
        Box::new(self.clone())
    }
}

/// Rows that are formatted when they are asked for.
struct Printing {
    records: Box<dyn Records>,
    printer: Box<dyn PrintRow>,
}

impl PrintedRows for Printing {
    fn next_row(&mut self, row: &mut PrintedRow) -> io::Result<bool> {
        match self.records.next_record()? {
            Some(record) => self.printer.print(record, row).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Rows that are formatted one after another by their reader.
pub fn in_turn(records: Box<dyn Records>, printer: Box<dyn PrintRow>) -> Box<dyn PrintedRows> {
    Box::new(Printing { records, printer })
}
