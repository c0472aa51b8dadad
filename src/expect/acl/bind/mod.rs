//! BIND 9: named.conf, raw with its includes or as `named-checkconf -p` prints it, to a [`Policy`].
//!
//! A request passes, in this order: `blackhole`, the views, its signature, then what its opcode and type ask for: the
//! zone's or view's lists, or those of the cache.

mod empty;
mod list;
mod model;
mod names;
mod syntax;

use super::text::{Files, Span};
use super::{Decision, Entry, Place, Policy, Request, RuleId, Rules, Spot, Surroundings, Trace, Word, name};
use crate::error::Error;
use crate::transact::flights::Transport;
use ipnet::IpNet;
use list::{Match, Subject};
use model::{Clause, Model, View, Zone, ZoneKind};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Record types and opcodes that are treated in a way of their own.
mod code {
    pub const DS: u16 = 43;
    pub const TKEY: u16 = 249;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const QUERY: u8 = 0;
    pub const NOTIFY: u8 = 4;
    pub const UPDATE: u8 = 5;
    pub const IN: u16 = 1;
    pub const CH: u16 = 3;
    pub const HS: u16 = 4;
    pub const NONE: u16 = 254;
    pub const ANY: u16 = 255;
}

/// How much a text looks like named.conf.
pub fn looks_like(text: &str) -> usize {
    let starts =
        ["options", "acl", "view", "zone", "include", "key", "logging", "controls", "primaries", "masters", "server"];
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('#'));
    code.take(20_000)
        .filter(|line| {
            let word = line.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
            (starts.contains(&word) && (line.ends_with('{') || line.ends_with(';')))
                || line.ends_with("};")
                || line.ends_with("; }")
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
    Ok(Box::new(Bind { model, places }))
}

/// The policy of a named.conf.
#[derive(Debug)]
struct Bind {
    model: Model,
    /// Places of rules, to find where an element would have to be added.
    places: Vec<Place>,
}

/// Whether a request is resolved recursively; an error says why that is not known.
type Recursive = Result<bool, (&'static str, RuleId)>;

/// What a list says of a request.
enum Checked {
    /// It lets it pass.
    Yes(RuleId),
    /// It does not.
    No(RuleId),
    /// That is not known.
    Unknown(&'static str, RuleId),
}

impl Policy for Bind {
    fn decide(&self, request: &Request<'_>, trace: &mut Trace) -> Decision {
        let model = &self.model;
        if let Some(rule) = model.missing {
            return Decision::unknown("an included file is not here", Some(rule));
        }
        let source = match request.source {
            IpAddr::V6(v6) if model.match_mapped => v6.to_ipv4_mapped().map_or(request.source, IpAddr::V4),
            source => source,
        };
        if let Some(blackhole) = &model.blackhole {
            // Nothing is verified yet, so that no key matches.
            match self.check(blackhole, Subject { address: source, key: None }, None, trace) {
                Checked::Yes(rule) => return Decision::of(Word::Drop, rule),
                Checked::No(_) => {}
                Checked::Unknown(reason, rule) => return Decision::unknown(reason, Some(rule)),
            }
        }
        // Views are not even looked at.
        if !matches!(request.opcode, code::QUERY | code::NOTIFY | code::UPDATE) {
            return Decision::of(Word::Allow, model.built_in.not_implemented);
        }
        match request.qclass {
            code::IN => {}
            code::CH => return self.chaos(request, Subject { address: source, key: request.key }, trace),
            code::HS if model.views.iter().all(|view| view.internet) => {
                return Decision::of(Word::Refuse, model.built_in.no_view);
            }
            code::HS => return Decision::unknown("views of class HS are not evaluated", None),
            // A signature's key is agreed upon in class ANY.
            code::ANY if request.qtype == code::TKEY => {}
            code::NONE | code::ANY => return Decision::of(Word::Allow, model.built_in.malformed),
            _ => return Decision::of(Word::Allow, model.built_in.not_implemented),
        }
        for view in model.views.iter().filter(|view| view.internet) {
            let known_key = request.key.filter(|key| view.keys.contains(*key));
            let subject = Subject { address: source, key: known_key };
            let place = self.model.with_views.then_some(view.name.as_str());
            match self.check(&view.match_clients, subject, place, trace) {
                Checked::Yes(_) => {}
                Checked::No(_) => continue,
                Checked::Unknown(reason, rule) => return Decision::unknown(reason, Some(rule)),
            }
            let at = Subject { address: request.destination, ..subject };
            match self.check(&view.match_destinations, at, place, trace) {
                Checked::Yes(_) => {}
                Checked::No(_) => continue,
                Checked::Unknown(reason, rule) => return Decision::unknown(reason, Some(rule)),
            }
            if let (Some(rule), false) = (view.match_recursive_only, request.rd) {
                trace.step(Some(rule), None, || format!("view {}: only requests that desire recursion", view.name));
                continue;
            }
            if model.with_views {
                trace.step(Some(view.rule), None, || format!("view {} serves the request", view.name));
            }
            // A secondary zone passes updates on without looking at a key that it does not know.
            if request.key.is_some() && known_key.is_none() && !passes_on(view, request) {
                return Decision::of(Word::NotAuth, model.built_in.bad_key);
            }
            return self.within(view, request, subject, trace);
        }
        Decision::of(Word::Refuse, model.built_in.no_view)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let keys: BTreeSet<&Vec<u8>> = self.model.views.iter().flat_map(|view| &view.keys).collect();
        keys.into_iter().cloned().collect()
    }

    fn prefixes(&self) -> Vec<IpNet> {
        let mut prefixes = self.model.own.prefixes();
        for (_, clause) in self.clauses() {
            clause.list.prefixes(&mut prefixes);
        }
        let zones = self.model.views.iter().flat_map(|view| view.zones.values());
        prefixes.extend(zones.flat_map(|zone| zone.primaries.iter().flatten().map(|address| IpNet::from(*address))));
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (list, clause) in self.clauses() {
            let elements = clause.list.elements();
            // Defaults that let everybody pass are no news.
            let everybody = elements
                .iter()
                .all(|(_, prefix, positive, _)| *positive && prefix.is_some_and(|prefix| prefix.prefix_len() == 0));
            if clause.braces.is_none() && everybody {
                continue;
            }
            for (matches, prefix, positive, rule) in elements {
                let blackhole = clause.name == "blackhole";
                let action = match (blackhole, positive) {
                    (true, true) => "drop",
                    (true, false) => "not dropped",
                    (false, true) => "match",
                    (false, false) => "no match",
                };
                let admits = positive != blackhole;
                entries.push(Entry { list: list.clone(), matches, prefix, action: action.to_owned(), admits, rule });
            }
        }
        entries
    }

    fn listens(&self) -> Vec<IpAddr> {
        self.model.listens.iter().copied().filter(|address| !address.is_unspecified()).collect()
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let zones = self.model.views.iter().flat_map(|view| &view.zones);
        let mut names: Vec<Vec<u8>> =
            zones.filter(|(_, zone)| zone.kind != ZoneKind::Empty).map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn names_are_zones(&self) -> bool {
        true
    }

    fn notes(&self) -> Vec<String> {
        self.model.notes.clone()
    }

    fn admitting(&self, prefix: IpNet, _: Spot) -> String {
        format!("{};", crate::expect::inventory::show_prefix(prefix))
    }

    fn other_spots(&self) -> Vec<Spot> {
        let with_views = self.model.with_views;
        let lists = self.model.views.iter().filter(|view| view.internet && with_views).map(|view| &view.match_clients);
        lists.filter_map(|clause| self.spot(clause, None)).collect()
    }
}

impl Bind {
    /// Every list with the name people know it by; lists shared by several views or zones come once.
    fn clauses(&self) -> Vec<(String, &Clause)> {
        let mut all: Vec<(String, &Clause)> = Vec::new();
        if let Some(clause) = &self.model.blackhole {
            all.push((clause.name.to_owned(), clause));
        }
        for view in self.model.views.iter().filter(|view| view.internet) {
            let prefix = if self.model.with_views { format!("view {}: ", view.name) } else { String::new() };
            let mut lists = Vec::new();
            if self.model.with_views {
                lists.extend([&view.match_clients, &view.match_destinations]);
            }
            lists.extend([&view.query, &view.query_on]);
            if view.recursion.on {
                lists.extend([&view.cache, &view.cache_on, &view.recursion_acl, &view.recursion_on]);
            }
            all.extend(lists.into_iter().map(|clause| (format!("{prefix}{}", clause.name), clause)));
            let mut zones: Vec<(&Vec<u8>, &Zone)> = view
                .zones
                .iter()
                .filter(|(_, zone)| zone.kind != ZoneKind::Empty)
                .map(|(name, zone)| (name, &**zone))
                .collect();
            zones.sort_by_key(|(name, _)| *name);
            for (name, zone) in zones {
                let own = [zone.query.as_ref(), zone.query_on.as_ref(), zone.transfer.as_ref(), Some(&zone.update)];
                let more = [Some(&zone.forwarding), Some(&zone.notify)];
                for clause in own.into_iter().chain(more).flatten().filter(|clause| clause.braces.is_some()) {
                    all.push((format!("{prefix}zone {}: {}", name::show_name(name), clause.name), clause));
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|(_, clause)| seen.insert((clause.rule, clause.name)));
        all
    }

    /// What a list says, with a step about it. `view` names the view when there are several.
    fn check(&self, clause: &Clause, subject: Subject<'_>, view: Option<&str>, trace: &mut Trace) -> Checked {
        let found = clause.list.find(subject, &self.model.own);
        let checked = match found {
            _ if clause.elsewhere => Checked::No(clause.rule),
            _ if clause.unknown.is_some() => Checked::Unknown(clause.unknown.unwrap_or_default(), clause.rule),
            Match::Positive(rule) => Checked::Yes(rule),
            Match::Negative(rule) => Checked::No(rule),
            Match::None => Checked::No(clause.rule),
            Match::Unknown(reason, rule) => Checked::Unknown(reason, rule),
        };
        // Defaults that let everything pass are no news.
        if clause.braces.is_none() && matches!(checked, Checked::Yes(_)) {
            return checked;
        }
        let by_source =
            !clause.name.ends_with("-on") && clause.name != "match-destinations" && clause.name != "blackhole";
        let (rule, spot, what) = match &checked {
            Checked::Yes(rule) => (*rule, None, "matches"),
            Checked::No(rule) => {
                let negative = matches!(found, Match::Negative(_));
                let what = match (clause.elsewhere, negative) {
                    (true, _) => "is for another transport",
                    (_, true) => "a negated element matches first",
                    (_, false) => "nothing matches",
                };
                (*rule, by_source.then(|| self.spot(clause, negative.then_some(*rule))).flatten(), what)
            }
            Checked::Unknown(reason, rule) => (*rule, None, *reason),
        };
        trace.step(Some(rule), spot, || {
            let view = view.map(|view| format!("view {view}: ")).unwrap_or_default();
            format!("{view}{}: {what} for {}", clause.name, subject.address)
        });
        checked
    }

    /// Where an element would have to be added to a list: before the element that caught the source, else at the end.
    fn spot(&self, clause: &Clause, caught: Option<RuleId>) -> Option<Spot> {
        let braces = clause.braces?;
        let inside = |span: &Span| span.file == braces.file && span.start > braces.start && span.end < braces.end;
        Some(Spot::Element(match caught.map(|rule| self.places.get(rule.0 as usize)) {
            Some(Some(Place::Text(span))) if inside(span) => Span { end: span.start, ..*span },
            // It is in a named list: before everything.
            Some(_) => Span { start: braces.start + 1, end: braces.start + 1, ..braces },
            None => Span { start: braces.end - 1, end: braces.end - 1, ..braces },
        }))
    }

    /// Names of the server itself, for those that the options let ask (measured with 9.18); everything else of this class is
    /// refused.
    fn chaos(&self, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        if self.model.views.iter().any(|view| !view.internet) {
            return Decision::unknown("only class IN is evaluated", None);
        }
        let own = ["version.bind", "hostname.bind", "authors.bind", "id.server"];
        let is_own = own.iter().any(|own| name::parse_name(own).is_some_and(|own| own == request.qname));
        match (request.opcode, is_own) {
            (code::QUERY, true) => {
                let [query, query_on] = &self.model.own_names;
                let at = Subject { address: request.destination, ..subject };
                for (clause, subject) in [(query, subject), (query_on, at)] {
                    if let Some(Err(decision)) = clause.as_ref().map(|clause| self.pass(clause, subject, trace)) {
                        return decision;
                    }
                }
                Decision::of(Word::Allow, self.model.built_in.chaos)
            }
            (code::QUERY, false) => Decision::of(Word::Refuse, self.model.built_in.chaos),
            _ => Decision::unknown("only class IN is evaluated", None),
        }
    }

    /// What a view does with a request that it serves.
    fn within(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        match (request.opcode, request.qtype) {
            (code::NOTIFY, _) => self.notify(view, request, subject, trace),
            (code::UPDATE, _) => self.update(view, request, subject, trace),
            (code::QUERY, code::AXFR | code::IXFR) => self.transfer(view, request, subject, trace),
            // Without the record that the name is about there is nothing to agree upon (measured).
            (code::QUERY, code::TKEY) if request.sections[0] == 0 && request.sections[2] <= 1 => {
                Decision::of(Word::Allow, self.model.built_in.malformed)
            }
            (code::QUERY, code::TKEY) => Decision::unknown("what TKEY agrees upon is not evaluated", None),
            (code::QUERY, 41 | 128..=254) => Decision::of(Word::Allow, self.model.built_in.malformed),
            _ => self.query(view, request, subject, trace),
        }
    }

    /// A list that has to let the request pass; the decision that ends it when it does not.
    fn pass(&self, clause: &Clause, subject: Subject<'_>, trace: &mut Trace) -> Result<RuleId, Decision> {
        match self.check(clause, subject, None, trace) {
            Checked::Yes(rule) => Ok(rule),
            Checked::No(rule) => Err(Decision::of(Word::Refuse, rule)),
            Checked::Unknown(reason, rule) => Err(Decision::unknown(reason, Some(rule))),
        }
    }

    fn query(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        // A DS record is in the zone above.
        let is_ds = request.qtype == code::DS && request.qname != b"\0";
        let start = if is_ds { name::above(request.qname).unwrap_or(request.qname) } else { request.qname };
        let at = Subject { address: request.destination, ..subject };
        // Whether it is recursive matters only now and then, and to people.
        let known = trace.is_on().then(|| self.recursive(view, request, subject, at, trace));
        let recursive = || known.unwrap_or_else(|| self.recursive(view, request, subject, at, &mut Trace::off()));
        let mut decision = match find_zone(view, start) {
            Some(zone) if zone.kind != ZoneKind::Mirror => self.zone_query(view, zone, recursive, subject, at, trace),
            // A mirror stands in the place of the cache, and whoever may ask the cache may ask it (measured).
            _ => self.cached(view, known, subject, at, trace),
        };
        // Without recursion, the zone itself is asked for its own DS record when there is none above, or it denies.
        if is_ds
            && decision.word != Word::Allow
            && let Some(zone) = view.zones.get(request.qname).filter(|zone| zone.kind != ZoneKind::Mirror)
            && recursive() != Ok(true)
        {
            let own = self.zone_query(view, zone, recursive, subject, at, trace);
            decision = if own.word == Word::Allow { own } else { decision };
        }
        match view.policy_zones {
            Some((rule, always)) if decision.word == Word::Allow && (always || recursive() != Ok(false)) => {
                trace.step(Some(rule), None, || "response policy zones are data".to_owned());
                Decision::unknown("response policy zones (RPZ) are not in the configuration", Some(rule))
            }
            _ => decision,
        }
    }

    /// Whether the request is resolved recursively; an error when that is not known.
    fn recursive(
        &self,
        view: &View,
        request: &Request<'_>,
        subject: Subject<'_>,
        at: Subject<'_>,
        trace: &mut Trace,
    ) -> Recursive {
        if !request.rd || !view.recursion.on {
            return Ok(false);
        }
        let lists =
            [(&view.recursion_acl, subject), (&view.cache, subject), (&view.recursion_on, at), (&view.cache_on, at)];
        let mut unknown = None;
        for (index, (clause, subject)) in lists.into_iter().enumerate() {
            // The cache's lists have their steps when the cache is asked.
            let mut off = Trace::off();
            let trace = if index % 2 == 0 { &mut *trace } else { &mut off };
            match self.check(clause, subject, None, trace) {
                Checked::Yes(_) => {}
                Checked::No(_) => return Ok(false),
                Checked::Unknown(reason, rule) => unknown = Some((reason, rule)),
            }
        }
        unknown.map_or(Ok(true), Err)
    }

    fn zone_query(
        &self,
        view: &View,
        zone: &Zone,
        recursive: impl Fn() -> Recursive,
        subject: Subject<'_>,
        at: Subject<'_>,
        trace: &mut Trace,
    ) -> Decision {
        trace.step(Some(zone.rule), None, || "the name is in this zone".to_owned());
        if zone.kind == ZoneKind::StaticStub {
            match recursive() {
                Ok(true) => {}
                Ok(false) => return Decision::of(Word::Refuse, zone.rule),
                Err((reason, rule)) => return Decision::unknown(reason, Some(rule)),
            }
        }
        let by_source = match self.pass(zone.query.as_ref().unwrap_or(&view.query), subject, trace) {
            Ok(rule) => rule,
            Err(decision) => return decision,
        };
        // Measured: the view's allow-query-on reaches its empty zones only when another of its zones inherits it.
        if zone.kind == ZoneKind::Empty && !view.query_on_inherited {
            return Decision::of(Word::Allow, by_source);
        }
        match self.pass(zone.query_on.as_ref().unwrap_or(&view.query_on), at, trace) {
            Ok(_) => Decision::of(Word::Allow, by_source),
            Err(decision) => decision,
        }
    }

    /// A name in no zone: the cache, and recursion.
    fn cached(
        &self,
        view: &View,
        recursive: Option<Recursive>,
        subject: Subject<'_>,
        at: Subject<'_>,
        trace: &mut Trace,
    ) -> Decision {
        let decision = if view.recursion.on {
            match self.pass(&view.cache, subject, trace) {
                Err(decision) => decision,
                Ok(by_source) => match self.pass(&view.cache_on, at, trace) {
                    Err(decision) => decision,
                    Ok(_) => Decision::of(Word::Allow, by_source),
                },
            }
        } else {
            let rule = view.recursion.rule;
            trace.step(Some(rule), None, || "the name is in no zone, and recursion is off".to_owned());
            Decision::of(Word::Refuse, rule)
        };
        if decision.word == Word::Allow && recursive == Some(Ok(false)) {
            trace.step(None, None, || "without recursion: what the cache holds, or a referral".to_owned());
        }
        match view.more_zones {
            Some((rule, reason)) if decision.word == Word::Refuse => Decision::unknown(reason, Some(rule)),
            _ => decision,
        }
    }

    fn transfer(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        let zone = match view.zones.get(request.qname) {
            Some(zone) if !matches!(zone.kind, ZoneKind::Stub | ZoneKind::StaticStub) => zone,
            _ => return self.not_here(view),
        };
        trace.step(Some(zone.rule), None, || "a transfer of this zone".to_owned());
        let Some(clause) = &zone.transfer else {
            let reason =
                "allow-transfer is not given: its default is any up to 9.18, none from 9.20 (bind-VERSION:FILE)";
            return Decision::unknown(reason, Some(zone.rule));
        };
        match self.pass(clause, subject, trace) {
            // A whole transfer over UDP is FORMERR, an incremental one is answered.
            Ok(rule) => Decision::of(Word::Allow, rule),
            Err(decision) => decision,
        }
    }

    /// A zone that is not served here.
    fn not_here(&self, view: &View) -> Decision {
        match view.more_zones {
            Some((rule, reason)) => Decision::unknown(reason, Some(rule)),
            None => Decision::of(Word::NotAuth, self.model.built_in.not_authoritative),
        }
    }

    fn notify(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        let built_in = &self.model.built_in;
        let Some(zone) = view.zones.get(request.qname) else { return self.not_here(view) };
        match zone.kind {
            ZoneKind::Primary | ZoneKind::Empty => Decision::of(Word::Allow, built_in.primary_notify),
            ZoneKind::Secondary | ZoneKind::Mirror | ZoneKind::Stub => {
                if zone.primaries.contains(&Some(subject.address)) {
                    return Decision::of(Word::Allow, built_in.from_primary);
                }
                if zone.kind == ZoneKind::Mirror && zone.primaries.is_empty() {
                    return Decision::unknown("a mirror's primaries are built in", Some(zone.rule));
                }
                match self.pass(&zone.notify, subject, trace) {
                    Ok(rule) => Decision::of(Word::Allow, rule),
                    Err(decision) => decision,
                }
            }
            ZoneKind::StaticStub => Decision::of(Word::NotAuth, built_in.not_authoritative),
        }
    }

    fn update(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        let Some(zone) = view.zones.get(request.qname) else { return self.not_here(view) };
        match zone.kind {
            ZoneKind::Primary | ZoneKind::Empty => {}
            ZoneKind::Secondary | ZoneKind::Mirror => {
                return match self.pass(&zone.forwarding, subject, trace) {
                    Ok(rule) => Decision::of(Word::Allow, rule),
                    Err(decision) => decision,
                };
            }
            ZoneKind::Stub | ZoneKind::StaticStub => {
                return Decision::of(Word::NotAuth, self.model.built_in.not_authoritative);
            }
        }
        // What an update says about names must not leak to those who may not ask.
        if let Err(decision) = self.pass(zone.query.as_ref().unwrap_or(&view.query), subject, trace) {
            return decision;
        }
        let Some(policy) = &zone.update_policy else {
            return match self.pass(&zone.update, subject, trace) {
                Ok(rule) => Decision::of(Word::Allow, rule),
                Err(decision) => decision,
            };
        };
        let signer = subject.key.map(|key| name::show_name(key).trim_end_matches('.').to_ascii_lowercase());
        let possible = policy.grants.iter().find(|grant| match &signer {
            None => grant.unsigned,
            Some(signer) => !grant.by_key_name || grant.identity == *signer || grant.identity.contains('*'),
        });
        match (possible, &signer) {
            (None, _) => {
                trace.step(Some(policy.rule), None, || "no rule of update-policy is about this signer".to_owned());
                Decision::of(Word::Refuse, policy.rule)
            }
            (Some(grant), None) if request.transport == Transport::Udp => Decision::of(Word::Refuse, grant.rule),
            (Some(grant), Some(signer)) if grant.by_key_name && grant.identity == *signer && grant.everything => {
                Decision::of(if grant.allows { Word::Allow } else { Word::Refuse }, grant.rule)
            }
            (Some(grant), _) => Decision::unknown("update-policy decides for each record", Some(grant.rule)),
        }
    }
}

/// True for an update to a zone of somebody else's.
fn passes_on(view: &View, request: &Request<'_>) -> bool {
    let kind = view.zones.get(request.qname).map(|zone| zone.kind);
    request.opcode == code::UPDATE && matches!(kind, Some(ZoneKind::Secondary | ZoneKind::Mirror))
}

/// The closest zone around a name.
fn find_zone<'a>(view: &'a View, qname: &[u8]) -> Option<&'a Zone> {
    let possible = |name: &&[u8]| view.zone_lengths[name.len() / 64 % 4] >> (name.len() % 64) & 1 == 1;
    name::and_above(qname).filter(possible).find_map(|above| view.zones.get(above)).map(|zone| &**zone)
}

#[cfg(test)]
mod tests;
