//! Reads the statements of unbound.conf into a [`Model`]: access rules by prefix, interfaces, views and local zones.

mod access;
mod interfaces;
mod views;
mod zones;

use super::line_of;
use super::syntax::{Parsed, Statement};
use super::zones::Zones;
use crate::error::Error;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{RuleId, Rules, Surroundings};
use crate::expect::ranges::Ranges;
pub use access::{Access, Action};
use interfaces::{Interface, LISTENS, interface_address};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use views::View;

/// The meaning of a configuration.
#[derive(Debug)]
pub struct Model {
    /// Prefixes by their index in `entries`; the most specific decides.
    pub ranges: Ranges,
    /// Access rules.
    pub entries: Vec<(IpNet, Access)>,
    /// Access rules by interface.
    pub interfaces: Vec<Interface>,
    /// The rule where no other applies.
    default: Access,
    /// Views.
    pub views: Vec<View>,
    /// Local zones outside views.
    pub zones: Zones,
    /// Names of zones that the server holds as data.
    pub auth_zones: BTreeMap<Vec<u8>, RuleId>,
    /// All zones of which it may be notified: `auth-zone` and `rpz`, whatever they are for.
    pub notified: BTreeSet<Vec<u8>>,
    /// Something outside the configuration decides about requests that are allowed.
    pub data_decides: Option<(&'static str, RuleId)>,
    /// Statements that hide the server's name, version and trust anchors.
    pub hidden: [Option<RuleId>; 3],
    /// Addresses it listens on.
    pub listens: Vec<IpAddr>,
    /// See [`Policy::endpoints`](super::super::Policy::endpoints).
    pub endpoints: Vec<SocketAddr>,
    /// Interfaces it listens on that are given by their names.
    pub listens_by_name: Vec<String>,
    /// Cookies are checked (`answer-cookie`).
    pub answers_cookies: bool,
    /// An include statement whose file is missing here.
    pub missing: Option<RuleId>,
    /// The server's built-in rules.
    pub built_in: BuiltIn,
    /// The line of the last access-control statement.
    pub last_access: Option<Span>,
    /// The line of the first statement of the server clause.
    pub server_clause: Option<Span>,
    /// Names of zones and data in the text.
    pub written_names: Vec<Vec<u8>>,
    /// Notes for readers of a verdict.
    pub notes: Vec<String>,
}

/// The server's built-in rules.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Zone transfers are refused.
    pub transfer: RuleId,
    /// NOTIFY is refused.
    pub notify: RuleId,
    /// NOTIMP.
    pub not_implemented: RuleId,
    /// FORMERR.
    pub malformed: RuleId,
    /// Classes other than IN are refused.
    pub other_class: RuleId,
}

/// Builds the model.
pub fn build(parsed: &Parsed, files: &Files, _: &Surroundings<'_>, rules: &mut Rules) -> Result<Model, Error> {
    let built_in = BuiltIn {
        transfer: rules.built_in("zone transfers are refused"),
        notify: rules.built_in("NOTIFY is refused, as there is no such auth-zone"),
        not_implemented: rules.built_in("requests of this kind are not implemented (NOTIMP)"),
        malformed: rules.built_in("such a question is malformed (FORMERR)"),
        other_class: rules.built_in("classes other than IN are refused"),
    };
    let default = Access::new(Action::Refuse, rules.built_in("access-control: everybody else refuse"));
    let mut builder = Builder { files, rules, tags: HashMap::new(), views: Vec::new(), view_numbers: HashMap::new() };
    let in_clause = |clause: &str| {
        let clause = clause.to_owned();
        parsed.statements.iter().filter(move |statement| parsed.clauses[statement.clause] == clause)
    };
    let server: Vec<&Statement> = in_clause("server").collect();
    builder.zones_have_names(parsed)?;
    builder.define_tags(&server)?;
    let mut written_names = Vec::new();
    builder.views(parsed, &mut written_names)?;
    let mut entries = builder.entries(&server)?;
    let no_ip6 = builder.last_switch(&server, "do-ip6")?.is_some_and(|(on, _)| !on);
    let loopback = builder.rules.built_in("access-control: loopback allow");
    let mut own = vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))];
    if !no_ip6 {
        own.push(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)));
        own.push(IpNet::V6(Ipv6Net::new_assert(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 128)));
    }
    for prefix in own {
        entries.entry(prefix).or_insert_with(|| Access::new(Action::Allow, loopback));
    }
    let entries: Vec<(IpNet, Access)> = entries.into_iter().collect();
    let numbered: Vec<(IpNet, u32)> =
        entries.iter().enumerate().map(|(at, (prefix, _))| (*prefix, at as u32)).collect();
    let (listens, interfaces) = builder.interfaces(&server)?;
    let endpoints = builder.endpoints(&server);
    let written = server.iter().filter(|statement| LISTENS.contains(&statement.name));
    let mut listens_by_name: Vec<String> = written
        .map(|statement| files.text(statement.values[0]))
        .filter(|text| interface_address(text).is_none())
        .map(|text| text.split_once('@').map_or(text, |(name, _)| name).to_owned())
        .collect();
    listens_by_name.sort();
    listens_by_name.dedup();
    let answers_cookies = builder.last_switch(&server, "answer-cookie")?.is_some_and(|(on, _)| on);
    let zones = builder.zones(&server, true, &mut written_names)?;
    let (auth_zones, notified) = builder.auth_zones(parsed)?;
    let data_decides = builder.data_decides(parsed, &server);
    let mut hidden = [None; 3];
    for (slot, name) in hidden.iter_mut().zip(["hide-identity", "hide-version", "hide-trustanchor"]) {
        if let Some((true, span)) = builder.last_switch(&server, name)? {
            *slot = Some(builder.rules.text(span));
        }
    }
    let missing = parsed.missing.first().map(|span| builder.rules.text(*span));
    let notes = parsed.missing.first().map(|span| files.says_missing(*span)).into_iter().collect();
    let last =
        |name: &str| server.iter().rev().find(|statement| statement.name == name).map(|statement| statement.span);
    Ok(Model {
        ranges: Ranges::new(&numbered),
        entries,
        interfaces,
        default,
        views: builder.views,
        zones,
        auth_zones,
        notified,
        data_decides,
        hidden,
        listens,
        endpoints,
        listens_by_name,
        answers_cookies,
        missing,
        built_in,
        last_access: last("access-control").map(|span| line_of(files, span)),
        server_clause: server.first().map(|statement| line_of(files, statement.span)),
        written_names,
        notes,
    })
}

/// Builds a model piece by piece.
struct Builder<'a> {
    files: &'a Files,
    rules: &'a mut Rules,
    tags: HashMap<String, usize>,
    views: Vec<View>,
    view_numbers: HashMap<String, usize>,
}

impl Builder<'_> {
    fn text(&self, span: Span) -> &str {
        self.files.text(span)
    }

    /// The last yes or no of a statement.
    fn last_switch(&self, statements: &[&Statement], name: &str) -> Result<Option<(bool, Span)>, Error> {
        let mut last = None;
        for statement in statements.iter().filter(|statement| statement.name == name) {
            last = Some((self.switch(statement)?, statement.span));
        }
        Ok(last)
    }

    fn switch(&self, statement: &Statement) -> Result<bool, Error> {
        match self.text(statement.values[0]) {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(self.files.error(statement.values[0], &format!("{} takes yes or no", statement.name))),
        }
    }
}
