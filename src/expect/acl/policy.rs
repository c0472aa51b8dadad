//! What every dialect turns its text into: a [`Policy`], which answers a request with a decision.

use super::request::Request;
use super::rules::RuleId;
use super::trace::{Spot, Trace};
use super::verdict::Decision;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An entry of the effective table: a prefix or another condition in one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The list it belongs to, such as `view internal: match-clients` or `access-control`.
    pub list: String,
    /// What it matches.
    pub matches: String,
    /// The prefix it matches, when that is all it looks at.
    pub prefix: Option<IpNet>,
    /// What follows from a match: `allow`, `refuse`, `!` and the like.
    pub action: String,
    /// A match lets the source pass.
    pub admits: bool,
    /// Its place.
    pub rule: RuleId,
}

/// Entries that are made anew each time they are asked for: of thousands of zones under long lists there are many millions.
pub struct Table<'a> {
    /// The list that they belong to; of a dialect whose lists are one table, nothing.
    pub list: String,
    /// Makes them.
    pub make: Box<dyn Fn() -> Vec<Entry> + 'a>,
}

/// What a dialect makes of its text.
pub trait Policy: fmt::Debug + Send + Sync {
    /// What the server would do.
    fn decide(&self, request: &Request<'_>, trace: &mut Trace) -> Decision;
    /// Prefixes at whose edges a verdict may change.
    fn prefixes(&self) -> Vec<IpNet>;
    /// The effective table, in the order of the text, list by list.
    fn tables(&self) -> Vec<Table<'_>>;
    /// The same, one entry after the other.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        Box::new(self.tables().into_iter().flat_map(|table| (table.make)()))
    }
    /// The same with each rule only where it is used first: all that is written, but not all that it is for. Thousands of
    /// zones may use one list.
    fn entries_once(&self) -> Vec<Entry> {
        self.entries().collect()
    }
    /// Elements compiled into its lists, those of merged lists each time: there may be many more than are written.
    fn elements(&self) -> u64 {
        0
    }
    /// Addresses the server is told to listen on; none where it listens on others too, that are not named one by one.
    fn listens(&self) -> Vec<IpAddr>;
    /// Addresses and ports it is told to listen on; an unspecified address stands for all of its family, or for those that
    /// are not named one by one.
    fn endpoints(&self) -> &[SocketAddr];
    /// Names that are treated in a way of their own: zones, in lower-case wire form.
    fn names(&self) -> Vec<Vec<u8>>;
    /// Those names are zones that may be transferred, updated and notified.
    fn names_are_zones(&self) -> bool;
    /// Names of keys that may sign requests, in wire form.
    fn keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    /// What the reader of a verdict should know, one sentence each.
    fn notes(&self) -> Vec<String>;
    /// The line that admits a prefix, as it would be written.
    fn admitting(&self, prefix: IpNet, spot: Spot) -> String;
    /// Other places where a source could be admitted when the decision's own does not help: the lists that choose a
    /// view.
    fn other_spots(&self, source: IpAddr) -> Vec<Spot>;
    /// The views that know a name, where views are chosen by lists: they have a zone around it, the root's and mirrors left
    /// out, or say whom to ask for it. With the place where a source could be admitted to each.
    fn views_with(&self, _qname: &[u8], _source: IpAddr) -> Vec<(Arc<str>, Option<Spot>)> {
        Vec::new()
    }
}
