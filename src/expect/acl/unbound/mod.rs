//! Unbound: reads unbound.conf, with its includes, into a [`Policy`].
//!
//! A request passes, in this order: the access control of its source (or else of the interface), what is refused to
//! everybody (zone transfers), local zones, and then the conditions of its action: local data only, recursion desired.

mod builtin;
mod model;
mod names;
mod syntax;
mod zones;

use super::text::{Files, Span};
use super::{
    Cookie, Decision, Entry, Place, Policy, Recursion, Request, RuleId, Rules, Spot, Surroundings, Table, Trace, Word,
    code, name,
};
use crate::error::Error;
use crate::expect::inventory::show_prefix;
use crate::transact::in_flight::Transport;
use ipnet::IpNet;
use model::{Access, Action, Model};
use std::net::{IpAddr, SocketAddr};
use zones::{Client, Local, ViewZones};

/// How likely a text is unbound.conf.
pub fn looks_like(text: &str) -> usize {
    text.lines()
        .map(str::trim)
        .take(20_000)
        .filter(|line| {
            line.split_once(':').is_some_and(|(word, rest)| {
                let clause = names::CLAUSES.contains(&word) && (rest.trim().is_empty() || rest.trim().starts_with('#'));
                let statement = [names::ONE, names::TWO, names::THREE].iter().any(|list| list.contains(&word));
                clause || (statement && !line.ends_with(';')) || word.starts_with("include")
            })
        })
        .count()
}

/// Reads a configuration.
pub fn read(
    files: &mut Files,
    first: u32,
    surroundings: &Surroundings<'_>,
    rules: &mut Rules,
) -> Result<Box<dyn Policy>, Error> {
    let parsed = syntax::parse(files, first)?;
    let model = model::build(&parsed, files, surroundings, rules)?;
    let places = rules.places.clone();
    Ok(Box::new(Unbound { model, places }))
}

/// The policy of an unbound.conf.
#[derive(Debug)]
struct Unbound {
    model: Model,
    /// The places of rules, to find where a line would have to be added.
    places: Vec<Place>,
}

impl Policy for Unbound {
    fn decide(&self, request: &Request<'_>, trace: &mut Trace) -> Decision {
        let model = &self.model;
        if let Some(rule) = model.missing {
            return Decision::unknown("an included file is not here", Some(rule));
        }
        let access = match self.access(request, trace) {
            Ok(access) => access,
            Err(decision) => return decision,
        };
        let (action, rule) = (access.action, access.rule);
        trace.recursion(|| Recursion {
            offered: action.admits() && !matches!(action, Action::DenyNonLocal | Action::RefuseNonLocal),
            needed: request.rd && !matches!(self.local(request, access), Local::Answered(_)),
        });
        match action {
            Action::Deny => return Decision::of(Word::Drop, rule),
            Action::Refuse => return Decision::of(Word::Refuse, rule),
            _ => {}
        }
        if !matches!(request.opcode, code::QUERY | code::NOTIFY) {
            return Decision::of(Word::Allow, model.built_in.not_implemented);
        }
        // A query may contain only EDNS or a signature, a NOTIFY one answer.
        let [answers, authority, additional] = request.sections;
        if (answers > 0 && (answers > 1 || request.opcode != code::NOTIFY)) || authority > 0 || additional > 1 {
            return Decision::of(Word::Allow, model.built_in.malformed);
        }
        match request.opcode {
            code::NOTIFY if !model.notified.contains(request.qname) => {
                return Decision::of(Word::Refuse, model.built_in.notify);
            }
            code::NOTIFY => return Decision::unknown("NOTIFY for an auth-zone is not evaluated", Some(rule)),
            _ => {}
        }
        match request.qtype {
            code::AXFR | code::IXFR => {
                let rule = model.built_in.transfer;
                trace.step(Some(rule), None, || "zone transfers are refused to everybody".to_owned());
                return Decision::of(Word::Refuse, rule);
            }
            code::ANY => {}
            code::OPT | 128..=254 => return Decision::of(Word::Allow, model.built_in.malformed),
            _ => {}
        }
        if action != Action::AllowCookie || request.transport != Transport::Udp {
            return self.served(request, access, trace);
        }
        let decision = match request.cookie {
            Cookie::NotKnown => return Decision::unknown("allow_cookie looks at the query's cookie", Some(rule)),
            Cookie::Present(length) if model.answers_cookies => match length {
                // The server's part may have expired; the client then gets BADCOOKIE.
                16..=40 => self.served(request, access, trace),
                8 => {
                    trace.step(Some(rule), None, || "a cookie is sent with BADCOOKIE, to be sent back".to_owned());
                    return Decision::of(Word::Allow, rule);
                }
                _ => return Decision::of(Word::Allow, model.built_in.malformed),
            },
            Cookie::Absent | Cookie::Present(_) => {
                let says = if model.answers_cookies { "the query has no cookie" } else { "answer-cookie is off" };
                trace.step(Some(rule), None, || format!("{says}: over UDP the client is sent to TCP (TC)"));
                return Decision::of(Word::Refuse, rule);
            }
        };
        if decision.word == Word::Allow {
            return decision;
        }
        Decision::unknown("whether the server still takes the cookie is not in the configuration", Some(rule))
    }

    fn prefixes(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<IpNet> = self.model.entries.iter().map(|(prefix, _)| *prefix).collect();
        prefixes.extend(self.model.zones.prefixes());
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    fn tables(&self) -> Vec<Table<'_>> {
        vec![Table { list: String::new(), make: Box::new(|| self.table()) }]
    }

    fn listens(&self) -> Vec<IpAddr> {
        // It listens on other addresses as well: all of a family, or those of an interface.
        if !self.model.listens_by_name.is_empty() || self.model.listens.iter().any(IpAddr::is_unspecified) {
            return Vec::new();
        }
        self.model.listens.clone()
    }

    fn endpoints(&self) -> &[SocketAddr] {
        &self.model.endpoints
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = self.model.written_names.clone();
        names.sort();
        names.dedup();
        names
    }

    fn names_are_zones(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<String> {
        self.model.notes.clone()
    }

    fn admitting(&self, prefix: IpNet, _: Spot) -> String {
        format!("access-control: {} allow", show_with_length(prefix))
    }

    fn other_spots(&self, _: IpAddr) -> Vec<Spot> {
        Vec::new()
    }
}

/// A prefix with its length, as access-control takes it.
fn show_with_length(prefix: IpNet) -> String {
    prefix.to_string()
}

impl Unbound {
    /// Describes the entries of its lists, in the order of the text.
    fn table(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self
            .model
            .entries
            .iter()
            .map(|(prefix, access)| Entry {
                list: "access-control".to_owned(),
                matches: show_prefix(*prefix),
                prefix: Some(*prefix),
                action: match access.ties().and_then(|ties| ties.view) {
                    Some(view) => format!("{} in view {}", access.action.name(), self.model.views[view].name),
                    None => access.action.name().to_owned(),
                },
                admits: access.action.admits(),
                rule: access.rule,
            })
            .collect();
        for interface in &self.model.interfaces {
            entries.push(Entry {
                list: "interface-action".to_owned(),
                matches: interface.name.clone(),
                prefix: None,
                action: interface.access.action.name().to_owned(),
                admits: interface.access.action.admits(),
                rule: interface.access.rule,
            });
        }
        entries.sort_by_key(|entry| match self.places.get(entry.rule.0 as usize) {
            Some(Place::Text(span)) => (0, span.file, span.start),
            _ => (1, 0, 0),
        });
        entries
    }

    /// Decides once the source is admitted: the server's own names, local zones, then the conditions of the action.
    fn served(&self, request: &Request<'_>, access: &Access, trace: &mut Trace) -> Decision {
        let (model, rule) = (&self.model, access.rule);
        if let Some(which) = Self::own_name(request).filter(|_| request.qclass == code::CH) {
            return match model.hidden[which] {
                Some(hidden) => Decision::of(Word::Refuse, hidden),
                None => Decision::of(Word::Allow, rule),
            };
        }
        match request.qclass {
            code::IN => {}
            // For other classes the server has neither local zones nor root servers (measured).
            code::ANY => return self.beyond_local(request, access, trace),
            _ if access.action == Action::DenyNonLocal => return Decision::of(Word::Drop, rule),
            _ => return Decision::of(Word::Refuse, model.built_in.other_class),
        }
        let view = access.ties().and_then(|ties| ties.view).map(|index| &model.views[index]);
        trace.serve(|serving| serving.view = view.map(|view| view.name.clone()));
        match self.local(request, access) {
            Local::Answered(zone) => {
                trace.step(Some(zone), None, || "answered from local data".to_owned());
                trace.serve(|serving| serving.held = true);
                return Decision::of(Word::Allow, rule);
            }
            Local::Refused(zone) => {
                trace.step(Some(zone), None, || "the local zone refuses the name".to_owned());
                return Decision::of(Word::Refuse, zone);
            }
            Local::Dropped(zone) => {
                trace.step(Some(zone), None, || "the local zone drops the name".to_owned());
                return Decision::of(Word::Drop, zone);
            }
            Local::No => {}
        }
        let decision = self.beyond_local(request, access, trace);
        if let Some((origin_rule, _)) = model.auth_zone(request.qname)
            && decision.word != Word::Allow
        {
            // A loaded auth-zone answers before these conditions are checked.
            return Decision::unknown("the name is in an auth-zone, whose contents are data", Some(origin_rule));
        }
        match model.data_decides {
            Some((reason, rule)) if decision.word == Word::Allow => Decision::unknown(reason, Some(rule)),
            _ => decision,
        }
    }

    /// What local zones make of a request.
    fn local(&self, request: &Request<'_>, access: &Access) -> Local {
        let model = &self.model;
        let ties = access.ties();
        let view = ties.and_then(|ties| ties.view).map(|index| &model.views[index]);
        let client = Client {
            address: request.source,
            tags: ties.map_or(&[], |ties| &ties.tags),
            tag_actions: ties.map_or(&[], |ties| &ties.tag_actions),
            tag_data: ties.map_or(&[], |ties| &ties.tag_data),
        };
        let own = view.and_then(|view| view.zones.as_ref().map(|zones| ViewZones { zones, first: view.first }));
        zones::answer(own, &model.zones, request.qname, request.qtype, &client)
    }

    /// The access rule of a request: that of its source, else of the interface at which it arrived.
    fn access(&self, request: &Request<'_>, trace: &mut Trace) -> Result<&Access, Decision> {
        let model = &self.model;
        if let Some(index) = model.ranges.find(request.source) {
            let (prefix, access) = &model.entries[index as usize];
            let spot = match access.action {
                Action::Deny | Action::Refuse => self.after(access.rule),
                _ => None,
            };
            trace.step(Some(access.rule), spot, || {
                format!(
                    "{} is the most specific prefix around {}: {}",
                    show_prefix(*prefix),
                    request.source,
                    access.action.name()
                )
            });
            return Ok(access);
        }
        let access = match model.interface(request.destination) {
            Ok(access) => access,
            Err(rule) => return Err(Decision::unknown("an interface is given by its name", Some(rule))),
        };
        let spot = self.after(access.rule).or_else(|| model.last_access.or(model.server_clause).map(Spot::LineAfter));
        trace.step(Some(access.rule), spot, || format!("no access-control line is about {}", request.source));
        Ok(access)
    }

    /// Describes a line to be added after that of a rule.
    fn after(&self, rule: RuleId) -> Option<Spot> {
        match self.places.get(rule.0 as usize) {
            Some(Place::Text(span)) => Some(Spot::LineAfter(*span)),
            _ => self.model.last_access.or(self.model.server_clause).map(Spot::LineAfter),
        }
    }

    /// Decides by the action once the name is known not to be local.
    fn beyond_local(&self, request: &Request<'_>, access: &Access, trace: &mut Trace) -> Decision {
        let rule = access.rule;
        // Without RD, allow_snoop only reveals the cache.
        let recursive = request.rd || access.action == Action::AllowSetRd;
        trace.serve(|serving| serving.recursion = recursive.then_some(true));
        match access.action {
            Action::DenyNonLocal => {
                trace.step(Some(rule), self.after(rule), || "the name is not local".to_owned());
                Decision::of(Word::Drop, rule)
            }
            Action::RefuseNonLocal => {
                trace.step(Some(rule), self.after(rule), || "the name is not local".to_owned());
                Decision::of(Word::Refuse, rule)
            }
            Action::AllowSetRd | Action::AllowSnoop => Decision::of(Word::Allow, rule),
            _ if request.rd => Decision::of(Word::Allow, rule),
            action => {
                trace.step(Some(rule), None, || {
                    format!("{} does not admit queries without RD for names that are not local", action.name())
                });
                Decision::of(Word::Refuse, rule)
            }
        }
    }

    /// Which of the server's own names is asked for, as an index into `Model::hidden`.
    fn own_name(request: &Request<'_>) -> Option<usize> {
        const NAMES: [&[&str]; 3] =
            [&["id.server", "hostname.bind"], &["version.server", "version.bind"], &["trustanchor.unbound"]];
        if !matches!(request.qtype, code::TXT | code::ANY) {
            return None;
        }
        let is = |own: &&str| name::parse_name(own).is_some_and(|own| own == request.qname);
        NAMES.iter().position(|names| names.iter().any(is))
    }
}

/// The line of a statement, after which another is to be added.
fn line_of(files: &Files, span: Span) -> Span {
    files.whole_line(span)
}

/// The address of a destination; the wildcard's when the server listens on all addresses.
fn wildcard(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests;
