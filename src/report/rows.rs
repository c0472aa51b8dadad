//! Transactions to rows in input order: [`Rows`] takes them as they close, and writes those of the wanted legs at the
//! end, when it is known which addresses are servers.

use super::columns::Columns;
use super::facts::{Facts, put_address, take_address};
use super::row::{COLUMNS, RowText};
use super::spool::{self, Records, Spool};
use crate::config::Limits;
use crate::decode::Interface;
use crate::decode::detail::DetailLimits;
use crate::error::Error;
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::judge::Judge;
use crate::sources::Leg;
use crate::transact::Transaction;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// What a row needs to know of an input.
#[derive(Debug, Clone)]
pub struct RowInput {
    /// Its name, escaped.
    pub name: String,
    /// Digits of the fraction of its timestamps.
    pub time_digits: usize,
}

/// Makes and holds rows.
pub struct Rows {
    spool: Spool,
    /// What the spool became.
    sorted: Option<Box<dyn Records>>,
    columns: Columns,
    /// What servers' configurations say; nothing without one.
    judge: Option<Judge>,
    limits: DetailLimits,
    /// Digits of the fraction of the finest input's timestamps.
    pub time_digits: usize,
    record: Vec<u8>,
    failed: Option<Error>,
    /// Messages of rows that could not be decoded in full.
    pub without_detail: u64,
}

/// Position of a column.
fn position(name: &str) -> usize {
    COLUMNS.iter().position(|(column, _)| *column == name).unwrap_or(COLUMNS.len())
}

impl Rows {
    /// No rows yet.
    pub fn new(inputs: Vec<RowInput>, inventory: Option<Arc<Inventory>>, acls: &Arc<[Acl]>, limits: &Limits) -> Self {
        let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
        Self {
            spool: Spool::new(limits.spool_bytes),
            sorted: None,
            time_digits: inputs.iter().map(|input| input.time_digits).max().unwrap_or(6),
            columns: Columns::new(inputs, inventory),
            judge: (!acls.is_empty()).then(|| Judge::new(Arc::clone(acls), detail)),
            limits: detail,
            record: Vec::new(),
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

    /// The row of a transaction whose leg and interface are known already, to be written at once.
    pub fn one(&mut self, transaction: &Transaction<'_>, leg: Leg, interface: Option<&str>) -> &RowText {
        let facts = Facts::of(transaction, self.judge.as_mut(), self.limits, &mut self.without_detail);
        let text = self.columns.print(&facts);
        text.change(position("leg"), leg.name().as_bytes());
        if let Some(name) = interface {
            text.change(position("interface"), name.as_bytes());
        }
        text
    }

    /// All are pushed: sorts them. They are printed by what `reading` makes of whoever hands them out.
    pub fn sort(&mut self, reading: impl FnOnce(Box<dyn Records>) -> Box<dyn Records>) {
        match std::mem::take(&mut self.spool).into_sorted() {
            Ok(sorted) => {
                let columns = std::mem::take(&mut self.columns);
                self.sorted = Some(reading(Box::new(Printed { sorted, columns, record: Vec::new() })));
            }
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// Hands out the rows of wanted legs in input order, sorting them first if need be. `leg` decides from client and
    /// server, `interface` names an interface of an input. Returns the number of rows made.
    pub fn write<'n>(
        mut self,
        leg: impl Fn(IpAddr, IpAddr) -> Leg,
        wanted: impl Fn(Leg) -> bool,
        interface: impl Fn(u32, u32) -> Option<&'n str>,
        mut write: impl FnMut(&RowText),
    ) -> Result<u64, Error> {
        if self.sorted.is_none() {
            self.sort(|records| records);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(mut sorted) = self.sorted else { return Ok(0) };
        let (leg_at, interface_at) = (position("leg"), position("interface"));
        let (verdict_at, rule_at) = (position("verdict"), position("rule"));
        let acls = self.judge.as_ref().map(|judge| Arc::clone(judge.acls()));
        let mut text = RowText::default();
        let mut made = 0;
        while let Some(record) = sorted.next_record().map_err(spool::failed)? {
            let Some((client, rest)) = take_address(record) else { continue };
            let Some((server, rest)) = take_address(rest) else { continue };
            let leg = leg(client, server);
            let Some((numbers, columns)) = rest.split_first_chunk::<8>() else { continue };
            if !wanted(leg) {
                continue;
            }
            let number =
                |at: usize| u32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
            let name = interface(number(0), number(4));
            // A file that names no server speaks for those its own server's clients ask only.
            let apart = leg != Leg::Client
                && acls.as_ref().is_some_and(|acls| !crate::expect::acl::judge::names_server(acls, server));
            text.read_bytes(columns);
            text.change(leg_at, leg.name().as_bytes());
            if let Some(name) = name {
                text.change(interface_at, name.as_bytes());
            }
            if apart {
                text.change(verdict_at, b"unknown");
                text.change(rule_at, b"");
            }
            write(&text);
            made += 1;
        }
        Ok(made)
    }
}

/// Rows as [`Rows::write`] takes them: who, where, and the columns as far as they are known.
struct Printed {
    sorted: Box<dyn Records>,
    columns: Columns,
    record: Vec<u8>,
}

impl Records for Printed {
    fn next_record(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(record) = self.sorted.next_record()? else { return Ok(None) };
        let facts = Facts::from_bytes(record).ok_or_else(|| io::Error::other("a row is not as it was written"))?;
        // Only files have sections.
        let frame = facts.frame();
        let section = match (frame, facts.point.interface()) {
            (Some(_), Interface::Section(number)) => number,
            _ => u32::MAX,
        };
        self.record.clear();
        put_address(facts.client, &mut self.record);
        put_address(facts.server, &mut self.record);
        self.record.extend_from_slice(&frame.map_or(0, |frame| frame.input).to_le_bytes());
        self.record.extend_from_slice(&section.to_le_bytes());
        self.columns.print(&facts).to_bytes(&mut self.record);
        Ok(Some(&self.record))
    }
}
