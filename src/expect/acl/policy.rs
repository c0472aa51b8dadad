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
    /// The list to which it belongs, such as `view internal: match-clients` or `access-control`.
    pub list: String,
    /// What it matches.
    pub matches: String,
    /// The prefix it matches, if that is all it depends on.
    pub prefix: Option<IpNet>,
    /// The effect of a match: `allow`, `refuse`, `!` and the like.
    pub action: String,
    /// A match admits the source.
    pub admits: bool,
    /// Where it is stated.
    pub rule: RuleId,
}

/// Entries that are made on demand: thousands of zones with long lists have many millions of them.
pub struct Table<'a> {
    /// The list to which they belong; empty in a dialect with a single table.
    pub list: String,
    /// Makes them.
    pub make: Box<dyn Fn() -> Vec<Entry> + 'a>,
}

/// The meaning of a configuration's text.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Decides what the server would do.
    fn decide(&self, request: &Request<'_>, trace: &mut Trace) -> Decision;
    /// Prefixes at whose edges a verdict may change.
    fn prefixes(&self) -> Vec<IpNet>;
    /// The effective table, in the order of the text, list by list.
    fn tables(&self) -> Vec<Table<'_>>;
    /// The same, one entry after the other.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        Box::new(self.tables().into_iter().flat_map(|table| (table.make)()))
    }
    /// The same with each rule only where it is used first: everything in the text, but not everything it applies to.
    /// Thousands of zones may use one list.
    fn entries_once(&self) -> Vec<Entry> {
        self.entries().collect()
    }
    /// Number of elements compiled into its lists, counting merged lists each time: there may be many more than in the
    /// text.
    fn elements(&self) -> u64 {
        0
    }
    /// Addresses on which the server is told to listen; empty where it also listens on others that are not listed one
    /// by one.
    fn listens(&self) -> Vec<IpAddr>;
    /// Addresses and ports on which it is told to listen; an unspecified address stands for all of its family, or for
    /// those that are not listed one by one.
    fn endpoints(&self) -> &[SocketAddr];
    /// Names that are treated specially: zones, in lower-case wire form.
    fn names(&self) -> Vec<Vec<u8>>;
    /// Whether those names are zones that may be transferred, updated and notified.
    fn names_are_zones(&self) -> bool;
    /// Names of keys that may sign requests, in wire form.
    fn keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    /// Notes for readers of a verdict, one sentence each.
    fn notes(&self) -> Vec<String>;
    /// The line that would admit a prefix.
    fn admitting(&self, prefix: IpNet, spot: Spot) -> String;
    /// Other places where a source could be admitted when the decision's own does not help: the lists that choose a
    /// view.
    fn other_spots(&self, source: IpAddr) -> Vec<Spot>;
    /// The views that know a name, where lists choose the view: they have a zone that contains it (except the root zone
    /// and mirrors), or say whom to ask for it. With each, the place where a source could be admitted.
    fn views_with(&self, _qname: &[u8], _source: IpAddr) -> Vec<(Arc<str>, Option<Spot>)> {
        Vec::new()
    }
}
