//! Reads the statements of named.conf into a [`Model`]: views with their lists, defaults and inheritance filled in, and
//! zones.

mod keys;
mod lists;
mod statements;
mod views;
mod zones;

use super::list::{List, Named};
use super::names;
use super::syntax::{Block, Item, Parsed, Statement};
use crate::error::Error;
use crate::expect::acl::network::OwnAddresses;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{RuleId, Rules, Surroundings, name};
use lists::Builder;
use statements::{Map, block_of, head};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The meaning of a configuration.
#[derive(Debug)]
pub struct Model {
    /// Views in the order they are tried; without `view` statements there is one.
    pub views: Vec<View>,
    /// Views were given in the text.
    pub with_views: bool,
    /// Sources that match get no response at all.
    pub blackhole: Option<Clause>,
    /// `allow-query` and `allow-query-on` of the options, which also apply to the server's own names in class CH.
    pub own_names: [Option<Clause>; 2],
    /// What is known of the server's own addresses.
    pub own: OwnAddresses,
    /// IPv4 addresses mapped to IPv6 are matched as IPv4.
    pub match_mapped: bool,
    /// Addresses it listens on.
    pub listens: Vec<IpAddr>,
    /// See [`Policy::endpoints`](super::super::Policy::endpoints).
    pub endpoints: Vec<SocketAddr>,
    /// An include statement whose file is missing here.
    pub missing: Option<RuleId>,
    /// The server's built-in rules.
    pub built_in: BuiltIn,
    /// Notes for readers of a verdict.
    pub notes: Vec<String>,
    /// Elements compiled into its lists; those of merged lists count each time.
    pub elements: u64,
}

/// An element that is a list.
#[derive(Debug, Clone)]
pub struct Inner {
    /// The element, including its negation.
    pub span: Span,
    /// The list that it names, directly or in braces; `None` where all its elements are in the text of the element.
    pub named: Option<Arc<List>>,
}

/// A block in the text with the words before it; or the place where it would have to be added.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// The words before its braces.
    pub head: Span,
    /// The block with its braces.
    pub block: Span,
}

impl Written {
    /// A missing block: an empty one after the end of the file.
    fn after(files: &Files, file: u32) -> Self {
        let text = files.list().get(file as usize).map_or("", |file| &file.text);
        let end = text.trim_end().len() as u32;
        let nothing = Span { file, start: end, end };
        Self { head: nothing, block: nothing }
    }

    fn of(statement: &Statement, block: &Block) -> Self {
        let words = statement.items.split_last().map_or(&[][..], |(_, words)| words);
        let ends = words.first().zip(words.last());
        // A quoted text is looked up without its quotes.
        let quote = u32::from(matches!(ends, Some((_, Item::Quoted(_)))));
        let head = ends.map_or(statement.span, |(first, last)| first.span().to(last.span()));
        let head = Span { end: head.end + quote, ..head };
        Self { head, block: block.span }
    }
}

/// A list with its statement.
#[derive(Debug, Clone)]
pub struct Clause {
    /// The statement's name.
    pub name: &'static str,
    /// Name of the statement that it replaces; its own, or that of one that is missing.
    pub stands_for: &'static str,
    /// The statement, or the default.
    pub rule: RuleId,
    /// The list.
    pub list: Arc<List>,
    /// Its braces; `None` when it is a default.
    pub braces: Option<Span>,
    /// The block in which it could be written in place of a default that admits somebody.
    pub block: Option<Written>,
    /// Its elements that are lists or negated lists.
    pub inner: Arc<[Inner]>,
    /// The statement depends on more than the list, so that the text does not decide.
    pub unknown: Option<&'static str>,
    /// It applies only to this transport (`tls`, `http`), which plain DNS is not.
    pub elsewhere: bool,
}

impl Clause {
    /// The same list in place of another statement.
    fn standing_for(self, stands_for: &'static str) -> Self {
        Self { stands_for, ..self }
    }

    /// Its name, and which statement it replaces: `allow-query-cache (from allow-query)`.
    pub fn show(&self) -> String {
        if self.stands_for == self.name {
            self.name.to_owned()
        } else {
            format!("{} (from {})", self.stands_for, self.name)
        }
    }
}

/// A yes or no with its statement.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// Yes.
    pub on: bool,
    /// The statement, or the default.
    pub rule: RuleId,
}

/// A view.
#[derive(Debug)]
pub struct View {
    /// Its name; `_default` when none was written.
    pub name: Arc<str>,
    /// Its statement.
    pub rule: RuleId,
    /// It is of class IN.
    pub internet: bool,
    /// The sources it serves.
    pub match_clients: Clause,
    /// The server's addresses at which it serves.
    pub match_destinations: Clause,
    /// It serves only requests that desire recursion.
    pub match_recursive_only: Option<RuleId>,
    /// Whether it offers recursion at all.
    pub recursion: Switch,
    /// Lists by function.
    pub query: Clause,
    /// By destination.
    pub query_on: Clause,
    /// Applies where a zone has no such list of its own.
    pub query_on_inherited: bool,
    /// Access to the cache.
    pub cache: Clause,
    /// By destination.
    pub cache_on: Clause,
    /// Recursion by source.
    pub recursion_acl: Clause,
    /// By destination.
    pub recursion_on: Clause,
    /// Zones by name.
    pub zones: HashMap<Vec<u8>, Arc<Zone>, foldhash::fast::FixedState>,
    /// Lengths of zone names, one bit each: most names above a question have a length that no zone's name has.
    pub zone_lengths: [u64; 4],
    /// Names that are forwarded to other servers.
    pub forwarded: HashSet<Vec<u8>>,
    /// Response policy zones are in use; and whether not only for recursive requests.
    pub policy_zones: Option<(RuleId, bool)>,
    /// Zones may come from elsewhere: catalog zones, a database, rndc.
    pub more_zones: Option<(RuleId, &'static str)>,
    /// Names of the keys that are known here.
    pub keys: HashSet<Vec<u8>>,
}

impl View {
    /// True when it has a zone that contains a name, or says whom to ask for it. The root zone and mirrors do not
    /// count, because they stand for what is everywhere.
    pub fn knows(&self, qname: &[u8]) -> bool {
        name::and_above(qname).filter(|above| above.len() > 1).any(|above| {
            let held = |zone: &Arc<Zone>| !matches!(zone.kind, ZoneKind::Empty | ZoneKind::Mirror);
            self.zones.get(above).is_some_and(held) || self.forwarded.contains(above)
        })
    }
}

/// Type of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneKind {
    /// Primary.
    Primary,
    /// Secondary.
    Secondary,
    /// Mirror of a zone in the cache's place.
    Mirror,
    /// Stub.
    Stub,
    /// Static stub.
    StaticStub,
    /// One of the server's own empty zones.
    Empty,
}

/// A zone in which the server looks names up.
#[derive(Debug, Clone)]
pub struct Zone {
    /// What it is.
    pub kind: ZoneKind,
    /// Its statement.
    pub rule: RuleId,
    /// It belongs to another view (`in-view`).
    pub shared: bool,
    /// Its own list, else the view's.
    pub query: Option<Clause>,
    /// Its own list, else the view's.
    pub query_on: Option<Clause>,
    /// Who may transfer the zone; `None` when the default decides and the version is not known.
    pub transfer: Option<Clause>,
    /// Who may update it.
    pub update: Clause,
    /// Which updates are allowed to whom.
    pub update_policy: Option<UpdatePolicy>,
    /// Whose updates a secondary forwards.
    pub forwarding: Clause,
    /// Who may notify it, besides its primaries.
    pub notify: Clause,
    /// Its primaries; `None` within it for one that the text does not determine.
    pub primaries: Vec<Option<IpAddr>>,
}

/// `update-policy`.
#[derive(Debug, Clone)]
pub struct UpdatePolicy {
    /// The statement.
    pub rule: RuleId,
    /// Its rules in order.
    pub grants: Vec<Grant>,
}

/// A rule of `update-policy`.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The rule.
    pub rule: RuleId,
    /// `grant` rather than `deny`.
    pub allows: bool,
    /// The identity as text in lower case.
    pub identity: String,
    /// It applies to every record of the zone.
    pub everything: bool,
    /// It can match a request without a key.
    pub unsigned: bool,
    /// Its identity is the name of a key, so that it matches only that key.
    pub by_key_name: bool,
}

/// The server's built-in rules.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// No view matches.
    pub no_view: RuleId,
    /// A request of this kind is not implemented.
    pub not_implemented: RuleId,
    /// The zone is not served here.
    pub not_authoritative: RuleId,
    /// A key that is not configured.
    pub bad_key: RuleId,
    /// Names of the server itself, in class CH.
    pub chaos: RuleId,
    /// A primary zone accepts any notification.
    pub primary_notify: RuleId,
    /// A notification from a primary.
    pub from_primary: RuleId,
    /// A question that is not valid.
    pub malformed: RuleId,
}

/// Builds the model.
pub fn build(
    parsed: &Parsed,
    files: &Files,
    first: u32,
    surroundings: &Surroundings<'_>,
    rules: &mut Rules,
) -> Result<Model, Error> {
    let mut named = Named::of(files, &parsed.statements, !parsed.missing.is_empty(), surroundings.most_elements)?;
    named.compile_all(files, rules)?;
    let mut top = Map::new();
    for statement in &parsed.statements {
        let name = head(files, statement, names::TOP, "outside every block")?;
        top.entry(name).or_default().push(statement);
    }
    let mut builder = Builder {
        files,
        rules,
        named,
        version: surroundings.version,
        options: None,
        lists: HashMap::new(),
        servers: HashMap::new(),
    };
    let options = match top.get("options").map(Vec::as_slice) {
        None | Some([]) => {
            builder.options = Some(Written::after(files, first));
            Map::new()
        }
        Some([only]) => {
            let block = block_of(files, only)?;
            builder.options = Some(Written::of(only, block));
            builder.map(block, names::OPTIONS, "in options")?
        }
        Some([first, second, ..]) => {
            let line = files.line(first.span);
            return Err(files.error(second.span, &format!("options are given already at line {line}")));
        }
    };
    builder.remote_servers(&top)?;
    let listens = builder.listens(&options)?;
    let endpoints = builder.endpoints(&options);
    let missing = parsed.missing.first().map(|span| builder.rules.text(*span));
    let built_in = BuiltIn {
        no_view: builder.rules.built_in("no view matches"),
        not_implemented: builder.rules.built_in("requests of this kind are not implemented (NOTIMP)"),
        not_authoritative: builder.rules.built_in("no such zone is served here (NOTAUTH)"),
        bad_key: builder.rules.built_in("the key is not configured (NOTAUTH)"),
        chaos: builder.rules.built_in("the server's own names in class CH"),
        primary_notify: builder.rules.built_in("a primary zone accepts any NOTIFY"),
        from_primary: builder.rules.built_in("NOTIFY from one of the zone's primaries"),
        malformed: builder.rules.built_in("such a question is malformed (FORMERR)"),
    };
    let blackhole = builder.clause("blackhole", &[&options])?;
    let own_names = [builder.clause("allow-query", &[&options])?, builder.clause("allow-query-on", &[&options])?];
    let match_mapped = builder.switch("match-mapped-addresses", &[&options], false)?.on;
    let (views, with_views) = builder.views(&top, &options)?;
    let mut notes: Vec<String> = parsed.missing.first().map(|span| files.says_missing(*span)).into_iter().collect();
    if views.iter().any(|view| view.policy_zones.is_some()) {
        notes.push(
            "response-policy is in use: its zones are data and may leave requests unanswered that are allowed"
                .to_owned(),
        );
    }
    let own = OwnAddresses::of(surroundings.servers, &listens);
    Ok(Model {
        views,
        with_views,
        blackhole,
        own_names,
        own,
        match_mapped,
        listens,
        endpoints,
        missing,
        built_in,
        notes,
        elements: u64::from(builder.named.elements),
    })
}
