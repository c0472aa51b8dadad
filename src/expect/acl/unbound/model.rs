//! Statements of unbound.conf to a [`Model`]: access rules by prefix, interfaces, views and local zones.

use super::builtin;
use super::syntax::{Parsed, Statement};
use super::zones::{Kind, Zones};
use super::{line_of, wildcard};
use crate::error::Error;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{RuleId, Rules, Surroundings, name};
use crate::expect::ranges::Ranges;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a configuration amounts to.
#[derive(Debug)]
pub struct Model {
    /// Prefixes to their number among `entries`; the most specific decides.
    pub ranges: Ranges,
    /// Access rules.
    pub entries: Vec<(IpNet, Access)>,
    /// Access rules by interface.
    pub interfaces: Vec<Interface>,
    /// The rule where no other is.
    default: Access,
    /// Views.
    pub views: Vec<View>,
    /// Local zones outside views.
    pub zones: Zones,
    /// Zones the server holds as data, by name.
    pub auth_zones: BTreeMap<Vec<u8>, RuleId>,
    /// Every zone it may be notified of: `auth-zone` and `rpz`, whatever they are for.
    pub notified: BTreeSet<Vec<u8>>,
    /// Something that is no configuration decides about requests that are allowed.
    pub data_decides: Option<(&'static str, RuleId)>,
    /// Statements that hide the server's name, version and trust anchors.
    pub hidden: [Option<RuleId>; 3],
    /// Addresses it listens on.
    pub listens: Vec<IpAddr>,
    /// Interfaces it listens on that are given by their names.
    listens_by_name: Vec<String>,
    /// Cookies are looked at (`answer-cookie`).
    pub answers_cookies: bool,
    /// An include statement whose file is not here.
    pub missing: Option<RuleId>,
    /// Rules of the server itself.
    pub built_in: BuiltIn,
    /// The line of the last access-control statement.
    pub last_access: Option<Span>,
    /// The line of the first statement of the server clause.
    pub server_clause: Option<Span>,
    /// Names of zones and data that were written.
    pub written_names: Vec<Vec<u8>>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Rules of the server itself.
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

/// What happens to requests of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No answer.
    Deny,
    /// REFUSED.
    Refuse,
    /// Local data are answered, the rest not.
    DenyNonLocal,
    /// Local data are answered, the rest refused.
    RefuseNonLocal,
    /// Served, when recursion is desired or the data are local.
    Allow,
    /// Served as if recursion were desired.
    AllowSetRd,
    /// Served.
    AllowSnoop,
    /// Served over UDP only with a valid cookie.
    AllowCookie,
}

impl Action {
    /// Every action with its name.
    const ALL: [(&'static str, Action); 8] = [
        ("deny", Action::Deny),
        ("refuse", Action::Refuse),
        ("deny_non_local", Action::DenyNonLocal),
        ("refuse_non_local", Action::RefuseNonLocal),
        ("allow", Action::Allow),
        ("allow_setrd", Action::AllowSetRd),
        ("allow_snoop", Action::AllowSnoop),
        ("allow_cookie", Action::AllowCookie),
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Requests are served, all of them or in part.
    pub fn admits(self) -> bool {
        !matches!(self, Action::Deny | Action::Refuse)
    }
}

/// An access rule with everything tied to its prefix.
#[derive(Debug, Clone)]
pub struct Access {
    /// What happens.
    pub action: Action,
    /// The statement.
    pub rule: RuleId,
    /// What few rules have; apart, so that many rules stay close together in memory.
    ties: Option<Box<Ties>>,
}

/// What else is tied to a prefix.
#[derive(Debug, Clone, Default)]
pub struct Ties {
    /// The view that answers, by number.
    pub view: Option<usize>,
    /// Tags in the order they were defined.
    pub tags: Vec<usize>,
    /// What local zones do for a tag.
    pub tag_actions: Vec<(usize, Kind, RuleId)>,
    /// Tags with data of their own.
    pub tag_data: Vec<usize>,
}

impl Access {
    fn new(action: Action, rule: RuleId) -> Self {
        Self { action, rule, ties: None }
    }

    /// What else is tied to it.
    pub fn ties(&self) -> Option<&Ties> {
        self.ties.as_deref()
    }
}

/// Access by interface.
#[derive(Debug)]
pub struct Interface {
    /// As written.
    pub name: String,
    /// Its address; nothing when it is given by its name.
    address: Option<IpAddr>,
    /// What happens there.
    pub access: Access,
}

/// A view.
#[derive(Debug, Default)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The server's own local zones follow.
    pub first: bool,
    /// Its local zones; nothing when it has none.
    pub zones: Option<Zones>,
}

impl Model {
    /// The access rule of the interface a request came to; an error names the statement that cannot be resolved.
    pub fn interface(&self, destination: IpAddr) -> Result<&Access, RuleId> {
        let listed = |address: IpAddr| self.listens.contains(&address);
        let address =
            if listed(destination) || !listed(wildcard(destination)) { destination } else { wildcard(destination) };
        if let Some(interface) = self.interfaces.iter().find(|interface| interface.address == Some(address)) {
            return Ok(&interface.access);
        }
        let by_name = |interface: &&Interface| interface.address.is_none();
        let Some(first) = self.interfaces.iter().find(by_name) else { return Ok(&self.default) };
        // What came to none of the written addresses came to an interface given by its name.
        match self.listens_by_name.as_slice() {
            [only] if !listed(address) => {
                let own = self.interfaces.iter().filter(by_name).find(|interface| interface.name == *only);
                Ok(own.map_or(&self.default, |interface| &interface.access))
            }
            _ => Err(first.access.rule),
        }
    }

    /// The auth-zone around a name.
    pub fn auth_zone(&self, qname: &[u8]) -> Option<(RuleId, &[u8])> {
        if self.auth_zones.is_empty() {
            return None;
        }
        name::and_above(qname)
            .find_map(|above| self.auth_zones.get_key_value(above))
            .map(|(origin, rule)| (*rule, origin.as_slice()))
    }
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
    builder.views(parsed)?;
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
    let written = server.iter().filter(|statement| LISTENS.contains(&statement.name));
    let mut listens_by_name: Vec<String> = written
        .map(|statement| files.text(statement.values[0]))
        .filter(|text| interface_address(text).is_none())
        .map(|text| text.split_once('@').map_or(text, |(name, _)| name).to_owned())
        .collect();
    listens_by_name.sort();
    listens_by_name.dedup();
    let answers_cookies = builder.last_switch(&server, "answer-cookie")?.is_some_and(|(on, _)| on);
    let mut written_names = Vec::new();
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
    let mut notes = Vec::new();
    if let Some(span) = parsed.missing.first() {
        notes.push(format!(
            "{}:{}: the included file is not here (--root DIR says where absolute names are), so that nothing is decided",
            crate::error::escape_text(files.name(*span)),
            files.line(*span)
        ));
    }
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

/// Zones that answer clients with their statements, and all that the server may be notified of.
type AuthZones = (BTreeMap<Vec<u8>, RuleId>, BTreeSet<Vec<u8>>);

/// Statements that say where the server listens.
const LISTENS: [&str; 2] = ["interface", "ip-address"];

/// The address of `interface: ADDRESS[@PORT]`; nothing when it is a name.
fn interface_address(text: &str) -> Option<IpAddr> {
    text.split_once('@').map_or(text, |(address, _)| address).parse().ok()
}

/// A text that may be the name of an interface: not a broken address, and no longer than the kernel takes
/// (`IFNAMSIZ`).
fn may_be_interface(text: &str) -> bool {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let broken_address = name.starts_with(|c: char| c.is_ascii_digit()) && name.contains(['.', ':']);
    (1..16).contains(&name.len())
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !name.contains(|c: char| c.is_whitespace() || c == '/' || c == '{')
        && !broken_address
}

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

    fn define_tags(&mut self, server: &[&Statement]) -> Result<(), Error> {
        for statement in server.iter().filter(|statement| statement.name == "define-tag") {
            for tag in self.files.text(statement.values[0]).split_whitespace() {
                let number = self.tags.len();
                self.tags.entry(tag.to_owned()).or_insert(number);
            }
            if self.tags.len() > 1024 {
                return Err(self.files.error(statement.span, "more than 1024 tags"));
            }
        }
        Ok(())
    }

    fn tag_list(&self, value: Span) -> Result<Vec<usize>, Error> {
        let mut list = Vec::new();
        for tag in self.text(value).split_whitespace() {
            match self.tags.get(tag) {
                Some(number) => list.push(*number),
                None => return Err(self.files.error(value, "a tag that define-tag does not name")),
            }
        }
        list.sort_unstable();
        list.dedup();
        Ok(list)
    }

    /// An address or prefix; bits beyond the length do not matter.
    fn netblock(&self, value: Span) -> Result<IpNet, Error> {
        let text = self.text(value);
        let parsed = match text.split_once('/') {
            None => text.parse::<IpAddr>().ok().map(IpNet::from),
            Some((address, length)) => address
                .parse::<IpAddr>()
                .ok()
                .zip(length.parse::<u8>().ok())
                .and_then(|(address, length)| IpNet::new(address, length).ok()),
        };
        parsed.map(|net| net.trunc()).ok_or_else(|| self.files.error(value, "this is no address and no prefix"))
    }

    fn action(&self, value: Span) -> Result<Action, Error> {
        let text = self.text(value);
        let found = Action::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, action)| *action).ok_or_else(|| {
            let known: Vec<&str> = Action::ALL.iter().map(|(name, _)| *name).collect();
            self.files.error(value, &format!("no such action; one of {}", known.join(", ")))
        })
    }

    fn kind(&self, value: Span) -> Result<Kind, Error> {
        Kind::parse(self.text(value)).ok_or_else(|| self.files.error(value, "no local zone is of this type"))
    }

    fn view_number(&self, value: Span) -> Result<usize, Error> {
        let number = self.view_numbers.get(self.text(value)).copied();
        number.ok_or_else(|| self.files.error(value, "no view has this name"))
    }

    /// Access rules by prefix: of identical prefixes the last line decides.
    fn entries(&mut self, server: &[&Statement]) -> Result<BTreeMap<IpNet, Access>, Error> {
        let mut entries: BTreeMap<IpNet, Access> = BTreeMap::new();
        for statement in server.iter().filter(|statement| statement.name == "access-control") {
            let (prefix, action) = (self.netblock(statement.values[0])?, self.action(statement.values[1])?);
            entries.insert(prefix, Access::new(action, self.rules.text(statement.span)));
        }
        for statement in server {
            let Some(what) = statement.name.strip_prefix("access-control-") else { continue };
            let prefix = self.netblock(statement.values[0])?;
            // A prefix that only has tags or a view is allowed by that.
            let rule = self.rules.text(statement.span);
            let mut access = entries.remove(&prefix).unwrap_or_else(|| Access::new(Action::Allow, rule));
            self.tie(what, statement, &mut access, rule)?;
            entries.insert(prefix, access);
        }
        Ok(entries)
    }

    /// Ties a view or tags to a prefix or interface.
    fn tie(&self, what: &str, statement: &Statement, access: &mut Access, rule: RuleId) -> Result<(), Error> {
        let values = &statement.values;
        let tag = |value: Span| self.tag_list(value).map(|tags| tags.first().copied().unwrap_or_default());
        let ties = access.ties.get_or_insert_default();
        match what {
            "view" => ties.view = Some(self.view_number(values[1])?),
            "tag" => ties.tags = self.tag_list(values[1])?,
            "tag-action" => ties.tag_actions.push((tag(values[1])?, self.kind(values[2])?, rule)),
            "tag-data" => ties.tag_data.push(tag(values[1])?),
            "action" => access.action = self.action(values[1])?,
            _ => {}
        }
        Ok(())
    }

    /// Addresses that are listened on, and access by interface.
    fn interfaces(&mut self, server: &[&Statement]) -> Result<(Vec<IpAddr>, Vec<Interface>), Error> {
        let mut listens = Vec::new();
        for statement in server.iter().filter(|statement| LISTENS.contains(&statement.name)) {
            let text = self.text(statement.values[0]);
            match interface_address(text) {
                Some(address) => listens.push(address),
                None if may_be_interface(text) => {}
                None => return Err(self.files.error(statement.values[0], "this is no address and no interface")),
            }
        }
        let written = server.iter().any(|statement| LISTENS.contains(&statement.name));
        if !written {
            listens.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let mut interfaces: Vec<Interface> = Vec::new();
        for statement in server {
            let Some(what) = statement.name.strip_prefix("interface-") else { continue };
            if !["action", "view", "tag", "tag-action", "tag-data"].contains(&what) {
                continue;
            }
            let name = self.text(statement.values[0]).to_owned();
            let rule = self.rules.text(statement.span);
            let at = interfaces.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
                let access = Access::new(Action::Refuse, rule);
                interfaces.push(Interface { address: interface_address(&name), name: name.clone(), access });
                interfaces.len() - 1
            });
            let mut access = interfaces[at].access.clone();
            self.tie(what, statement, &mut access, rule)?;
            if what == "action" {
                access.rule = rule;
            }
            interfaces[at].access = access;
        }
        Ok((listens, interfaces))
    }

    /// A zone of any kind has one name.
    fn zones_have_names(&self, parsed: &Parsed) -> Result<(), Error> {
        for (number, clause) in parsed.clauses.iter().enumerate().filter(|(_, clause)| clause.ends_with("-zone")) {
            let own = parsed.statements.iter().filter(|statement| statement.clause == number);
            let mut names = own.clone().filter(|statement| statement.name == "name");
            match (names.next(), names.next(), own.clone().next()) {
                (Some(_), Some(second), _) => {
                    return Err(self.files.error(second.span, &format!("this {clause} has a name already")));
                }
                (None, _, Some(first)) => {
                    return Err(self.files.error(first.span, &format!("this {clause} has no name")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn views(&mut self, parsed: &Parsed) -> Result<(), Error> {
        for (number, _) in parsed.clauses.iter().enumerate().filter(|(_, clause)| **clause == "view") {
            let statements: Vec<&Statement> =
                parsed.statements.iter().filter(|statement| statement.clause == number).collect();
            let mut names = statements.iter().filter(|statement| statement.name == "name");
            if let Some(second) = names.nth(1) {
                return Err(self.files.error(second.span, "this view has a name already"));
            }
            let Some(named) = statements.iter().rev().find(|statement| statement.name == "name") else {
                let place = statements.first().map_or(Span { file: 0, start: 0, end: 0 }, |statement| statement.span);
                return Err(self.files.error(place, "this view has no name"));
            };
            let name = self.text(named.values[0]).to_owned();
            let first = self.last_switch(&statements, "view-first")?.is_some_and(|(on, _)| on);
            let own = ["local-zone", "local-data", "local-data-ptr"];
            let zones = if statements.iter().any(|statement| own.contains(&statement.name)) {
                Some(self.zones(&statements, !first, &mut Vec::new())?)
            } else {
                None
            };
            if self.view_numbers.insert(name.clone(), self.views.len()).is_some() {
                return Err(self.files.error(named.values[0], "a view of this name is there already"));
            }
            self.views.push(View { name, first, zones });
        }
        Ok(())
    }

    /// Local zones and data of the server or of a view.
    fn zones(
        &mut self,
        statements: &[&Statement],
        with_built_in: bool,
        written: &mut Vec<Vec<u8>>,
    ) -> Result<Zones, Error> {
        let mut zones = Zones::default();
        let mut taken_away: Vec<Vec<u8>> = Vec::new();
        for statement in statements.iter().filter(|statement| statement.name == "local-zone") {
            let origin = self.domain(statement.values[0])?;
            if matches!(self.text(statement.values[1]), "nodefault" | "ipset") {
                taken_away.push(origin);
                continue;
            }
            let kind = self.kind(statement.values[1])?;
            let rule = self.rules.text(statement.span);
            written.push(origin.clone());
            zones.add(origin, kind, rule);
        }
        let unblock = self.last_switch(statements, "unblock-lan-zones")?.is_some_and(|(on, _)| on);
        if with_built_in {
            let rule = self.rules.built_in("a local zone of the server itself (RFC 6303)");
            for zone in builtin::zones() {
                if zones.has(&zone.origin) || taken_away.contains(&zone.origin) || (zone.lan && unblock) {
                    continue;
                }
                zones.add(zone.origin, Kind::Static, rule);
                for (owner, record_type) in zone.data {
                    zones.add_data(&owner, record_type, rule);
                }
            }
        }
        for statement in statements {
            match statement.name {
                "local-zone-tag" => {
                    let (origin, tags) = (self.domain(statement.values[0])?, self.tag_list(statement.values[1])?);
                    match zones.get_mut(&origin) {
                        Some(zone) => zone.tags = Some(tags),
                        None => return Err(self.files.error(statement.values[0], "no local-zone has this name")),
                    }
                }
                "local-zone-override" => {
                    let (origin, prefix) = (self.domain(statement.values[0])?, self.netblock(statement.values[1])?);
                    let (kind, rule) = (self.kind(statement.values[2])?, self.rules.text(statement.span));
                    match zones.get_mut(&origin) {
                        Some(zone) => zone.overrides.push((prefix, kind, rule)),
                        None => return Err(self.files.error(statement.values[0], "no local-zone has this name")),
                    }
                }
                _ => {}
            }
        }
        let mut data = Vec::new();
        for statement in statements {
            let (owner, record_type) = match statement.name {
                "local-data" => match self.record(statement.values[0])? {
                    Some(record) => record,
                    None => continue,
                },
                "local-data-ptr" => (self.pointer(statement.values[0])?, 12),
                _ => continue,
            };
            written.push(owner.clone());
            data.push((owner, record_type, self.rules.text(statement.span)));
        }
        zones.add_implicit(&data);
        for (owner, record_type, rule) in data {
            zones.add_data(&owner, record_type, rule);
        }
        Ok(zones)
    }

    fn domain(&self, value: Span) -> Result<Vec<u8>, Error> {
        name::parse_name(self.text(value)).ok_or_else(|| self.files.error(value, "this is no domain name"))
    }

    /// Owner and type of `name [ttl] [class] type data`; nothing when it is of another class than IN.
    fn record(&self, value: Span) -> Result<Option<(Vec<u8>, u16)>, Error> {
        let not = |what: &str| self.files.error(value, what);
        let mut words = self.text(value).split_whitespace();
        let owner = words.next().and_then(name::parse_name).ok_or_else(|| not("a record begins with its name"))?;
        let mut internet = true;
        let mut record_type = None;
        for word in words.by_ref().take(3) {
            let first = word.as_bytes()[0];
            match word.to_ascii_uppercase().as_str() {
                "IN" => {}
                "CH" | "CHAOS" | "HS" => internet = false,
                _ if first.is_ascii_digit() => {}
                _ => {
                    record_type = Some(name::parse_type(word).ok_or_else(|| not("no record is of this type"))?);
                    break;
                }
            }
        }
        let record_type = record_type.ok_or_else(|| not("the record has no type"))?;
        let data = words.next().ok_or_else(|| not("the record has no data"))?;
        let fine = match record_type {
            1 => data.parse::<Ipv4Addr>().is_ok(),
            28 => data.parse::<Ipv6Addr>().is_ok(),
            _ => true,
        };
        if !fine {
            return Err(not("this record's data are no address"));
        }
        Ok(internet.then_some((owner, record_type)))
    }

    /// The owner of the PTR record for `address [ttl] name`.
    fn pointer(&self, value: Span) -> Result<Vec<u8>, Error> {
        let mut words = self.text(value).split_whitespace();
        let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
        let (Some(address), Some(_)) = (address, words.next()) else {
            return Err(self.files.error(value, "local-data-ptr takes an address and a name"));
        };
        let text = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                let nibbles: Vec<String> =
                    v6.octets().iter().rev().map(|byte| format!("{:x}.{:x}", byte & 15, byte >> 4)).collect();
                format!("{}.ip6.arpa", nibbles.join("."))
            }
        };
        name::parse_name(&text).ok_or_else(|| self.files.error(value, "this is no address"))
    }

    /// Zones that answer clients, and all that the server may be notified of.
    fn auth_zones(&mut self, parsed: &Parsed) -> Result<AuthZones, Error> {
        let (mut zones, mut notified) = (BTreeMap::new(), BTreeSet::new());
        let clauses = parsed.clauses.iter().enumerate();
        for (number, clause) in clauses.filter(|(_, clause)| ["auth-zone", "rpz"].contains(clause)) {
            let statements: Vec<&Statement> =
                parsed.statements.iter().filter(|statement| statement.clause == number).collect();
            let answers = self.last_switch(&statements, "for-downstream")?.is_none_or(|(on, _)| on);
            for statement in statements.iter().filter(|statement| statement.name == "name") {
                let origin = self.domain(statement.values[0])?;
                if answers && *clause == "auth-zone" {
                    zones.insert(origin.clone(), self.rules.text(statement.span));
                }
                notified.insert(origin);
            }
        }
        Ok((zones, notified))
    }

    /// What decides about allowed requests although it is no configuration.
    fn data_decides(&mut self, parsed: &Parsed, server: &[&Statement]) -> Option<(&'static str, RuleId)> {
        let in_clause = |name: &str| parsed.clauses.iter().position(|clause| *clause == name);
        if let Some(number) = in_clause("rpz")
            && let Some(statement) = parsed.statements.iter().find(|statement| statement.clause == number)
        {
            return Some(("response policy zones (RPZ) are not in the configuration", self.rules.text(statement.span)));
        }
        if let Some(statement) = parsed.statements.iter().find(|statement| statement.name.starts_with("response-ip")) {
            return Some(("response-ip looks at the answer", self.rules.text(statement.span)));
        }
        let modules = server.iter().rev().find(|statement| statement.name == "module-config")?;
        let text = self.text(modules.values[0]);
        let scripted = text.split_whitespace().any(|module| ["python", "dynlib"].contains(&module));
        scripted.then(|| ("a module of one's own may do anything", self.rules.text(modules.span)))
    }
}
