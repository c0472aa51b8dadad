//! Transactions to rows in input order: [`Rows`] prints them as they close, and writes those of the wanted legs at the
//! end, when it is known which addresses are servers. Until then they wait as text: whoever follows packets leaves printing to
//! a thread that has time.

use super::columns::Columns;
use super::facts::Facts;
use super::row::{COLUMNS, RowText};
use super::spool::{self, Spool};
use super::waiting::Waiting;
use crate::config::Limits;
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
    columns: Columns,
    /// What servers' configurations say; nothing without one.
    judge: Option<Judge>,
    limits: DetailLimits,
    /// Digits of the fraction of the finest input's timestamps.
    pub time_digits: usize,
    row: Waiting,
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
            time_digits: inputs.iter().map(|input| input.time_digits).max().unwrap_or(6),
            columns: Columns::new(inputs, inventory),
            judge: (!acls.is_empty()).then(|| Judge::new(Arc::clone(acls), detail)),
            limits: detail,
            row: Waiting::default(),
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
        self.row.begin(&facts);
        self.columns.print(&facts, &mut self.row.text);
        self.record.clear();
        self.row.to_bytes(&mut self.record);
        let frame = facts.frame().unwrap_or_default();
        if let Err(error) = self.spool.push((frame.input, frame.frame), &self.record) {
            self.failed = Some(error);
        }
    }

    /// The row of a transaction whose leg and interface are known already, to be written at once.
    pub fn one(&mut self, transaction: &Transaction<'_>, leg: Leg, interface: Option<&str>) -> &RowText {
        let facts = Facts::of(transaction, self.judge.as_mut(), self.limits, &mut self.without_detail);
        let text = &mut self.row.text;
        self.columns.print(&facts, text);
        text.change(position("leg"), leg.name().as_bytes());
        if let Some(name) = interface {
            text.change(position("interface"), name.as_bytes());
        }
        text
    }

    /// Hands out the rows of wanted legs in input order. `leg` decides from client and server, `interface` names an interface
    /// of an input. Returns the number of rows made.
    pub fn write<'n>(
        self,
        leg: impl Fn(IpAddr, IpAddr) -> Leg,
        wanted: impl Fn(Leg) -> bool,
        interface: impl Fn(u32, u32) -> Option<&'n str>,
        mut write: impl FnMut(&RowText),
    ) -> Result<u64, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut records = self.spool.into_sorted()?;
        let (leg_at, interface_at) = (position("leg"), position("interface"));
        let (verdict_at, rule_at) = (position("verdict"), position("rule"));
        let acls = self.judge.as_ref().map(|judge| Arc::clone(judge.acls()));
        let mut row = self.row;
        let mut made = 0;
        while let Some(record) = records.next_record().map_err(spool::failed)? {
            row.read(record).ok_or_else(|| spool::failed(io::Error::other("a row is not as it was written")))?;
            let leg = leg(row.client, row.server);
            if !wanted(leg) {
                continue;
            }
            // A file that names no server speaks for those its own server's clients ask only.
            let apart = leg != Leg::Client && acls.as_ref().is_some_and(|acls| !names_server(acls, row.server));
            row.text.change(leg_at, leg.name().as_bytes());
            if let Some(name) = row.interface.and_then(|number| interface(row.input, number)) {
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
