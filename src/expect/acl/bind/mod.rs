//! BIND 9: reads named.conf, raw with its includes or as `named-checkconf -p` prints it, into a [`Policy`].
//!
//! A request passes, in this order: `blackhole`, the views, its signature, then what its opcode and type ask for: the
//! lists of the zone or view, or those of the cache.

mod asking;
mod choice;
mod empty;
mod list;
mod model;
mod names;
mod syntax;

use super::text::{Files, Span};
use super::{
    Decision, Entry, Place, Policy, Request, RuleId, Rules, Spot, Surroundings, Table, Trace, Word, code, name,
};
use crate::error::Error;
use asking::passes_on;
use choice::Choice;
use ipnet::IpNet;
use list::{Element, List, Match, Seen, Subject};
use model::{Clause, Inner, Model, View, Zone, ZoneKind};
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Number of collected prefixes from which repeated ones are removed.
const MANY_PREFIXES: usize = 65_536;

/// How likely a text is named.conf.
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
    let model = model::build(&parsed, files, first, surroundings, rules)?;
    let (places, choice) = (rules.places.clone(), Choice::of(&model.views));
    Ok(Box::new(Bind { model, places, choice }))
}

/// The policy of a named.conf.
#[derive(Debug)]
struct Bind {
    model: Model,
    /// The places of rules, to find where an element would have to be added.
    places: Vec<Place>,
    /// Where views are many.
    choice: Option<Choice>,
}

/// The result of matching a request against a list.
enum Checked {
    /// It passes.
    Yes(RuleId),
    /// It does not pass.
    No(RuleId),
    /// It is not known.
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
            // Nothing is verified at this point, so that no key matches.
            match self.check(blackhole, Subject { address: source, key: None }, None, trace) {
                Checked::Yes(rule) => return Decision::of(Word::Drop, rule),
                Checked::No(_) => {}
                Checked::Unknown(reason, rule) => return Decision::unknown(reason, Some(rule)),
            }
        }
        // Views are not even tried.
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
            // Key agreement happens in class ANY.
            code::ANY if request.qtype == code::TKEY => {}
            code::NONE | code::ANY => return Decision::of(Word::Allow, model.built_in.malformed),
            _ => return Decision::of(Word::Allow, model.built_in.not_implemented),
        }
        // Who wants to see the steps sees every view that is passed by.
        let choice = self.choice.as_ref().filter(|_| !trace.has_steps());
        let chosen = choice.map(|choice| choice.among(&model.views, source));
        let every = if chosen.is_some() { &[][..] } else { &model.views };
        for view in chosen.into_iter().flatten().chain(every).filter(|view| view.internet) {
            let known_key = request.key.filter(|key| view.keys.contains(*key));
            let subject = Subject { address: source, key: known_key };
            let place = self.model.with_views.then_some(&*view.name);
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
                trace.serve(|serving| serving.view = Some(view.name.clone()));
            }
            // A secondary zone forwards updates without looking at keys that it does not know.
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
        let (mut seen, mut enough) = (Seen::default(), MANY_PREFIXES);
        for (_, clause) in self.clauses() {
            if seen.lists.insert(Arc::as_ptr(&clause.list)) {
                clause.list.prefixes(&mut seen, &mut prefixes);
            }
            // Lists may share other lists.
            if prefixes.len() > enough {
                prefixes.sort_unstable();
                prefixes.dedup();
                enough = MANY_PREFIXES.max(2 * prefixes.len());
            }
        }
        let zones = self.model.views.iter().flat_map(|view| view.zones.values());
        prefixes.extend(zones.flat_map(|zone| zone.primaries.iter().flatten().map(|address| IpNet::from(*address))));
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    fn tables(&self) -> Vec<Table<'_>> {
        let table = |(list, clause): (String, _)| {
            let of_list = list.clone();
            Table { list, make: Box::new(move || entries_of(&of_list, clause, |_| true)) }
        };
        self.clauses().into_iter().map(table).collect()
    }

    fn entries_once(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        // For each rule, whether it was met where it admits, and where it does not: an element that excludes sources in
        // one list admits them in another, and is listed twice.
        let mut met = vec![[false; 2]; self.places.len()];
        for (list, clause) in self.clauses() {
            let blackhole = clause.name == "blackhole";
            // Of thousands of lists, most may only have elements of other lists.
            if clause.list.rules().all(|(rule, positive)| met[rule.0 as usize][usize::from(positive != blackhole)]) {
                continue;
            }
            let news = |element: &Element<'_>| {
                let at = &mut met[element.rule().0 as usize][usize::from(element.positive() != blackhole)];
                !std::mem::replace(at, true)
            };
            entries.extend(entries_of(&list, clause, news));
        }
        entries
    }

    fn elements(&self) -> u64 {
        self.model.elements
    }

    fn listens(&self) -> Vec<IpAddr> {
        self.model.listens.iter().copied().filter(|address| !address.is_unspecified()).collect()
    }

    fn endpoints(&self) -> &[SocketAddr] {
        &self.model.endpoints
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

    fn admitting(&self, prefix: IpNet, spot: Spot) -> String {
        let shown = crate::expect::inventory::show_prefix(prefix);
        match spot {
            Spot::Element(_, "blackhole") => format!("!{shown};"),
            // The cache uses the list of recursion where it has none of its own.
            Spot::Statement(..) => format!("allow-recursion {{ localnets; localhost; {shown}; }};"),
            Spot::Options(_) => format!("options {{ allow-recursion {{ localnets; localhost; {shown}; }}; }};"),
            Spot::Element(..) | Spot::LineAfter(_) => format!("{shown};"),
        }
    }

    fn other_spots(&self, source: IpAddr) -> Vec<Spot> {
        let with_views = self.model.with_views;
        let views = self.model.views.iter().filter(|view| view.internet && with_views);
        views.filter_map(|view| self.way_into(view, source)).collect()
    }

    fn views_with(&self, qname: &[u8], source: IpAddr) -> Vec<(Arc<str>, Option<Spot>)> {
        let with_views = self.model.with_views;
        let views = self.model.views.iter().filter(|view| view.internet && with_views && view.knows(qname));
        views.map(|view| (Arc::clone(&view.name), self.way_into(view, source))).collect()
    }
}

/// The entries of a list that are to be shown; none for a default that admits everybody, which is no news.
fn entries_of(list: &str, clause: &Clause, told: impl FnMut(&Element<'_>) -> bool) -> Vec<Entry> {
    let blackhole = clause.name == "blackhole";
    let elements = clause.list.elements();
    let is_wide =
        |element: &Element<'_>| element.positive() && element.prefix().is_some_and(|prefix| prefix.prefix_len() == 0);
    if clause.braces.is_none() && elements.iter().all(is_wide) {
        return Vec::new();
    }
    let entry = |element: Element<'_>| {
        let positive = element.positive();
        let action = match (blackhole, positive) {
            (true, true) => "drop",
            (true, false) => "not dropped",
            (false, true) => "match",
            (false, false) => "no match",
        };
        Entry {
            list: list.to_owned(),
            matches: element.show(),
            prefix: element.prefix(),
            action: action.to_owned(),
            admits: positive != blackhole,
            rule: element.rule(),
        }
    };
    elements.into_iter().filter(told).map(entry).collect()
}

impl Bind {
    /// Every list with its name for people; lists shared by several views or zones come once.
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
        let mut seen = HashSet::new();
        all.retain(|(_, clause)| seen.insert((clause.rule, clause.name)));
        all
    }

    /// The result of a list, with a step about it. `view` names the view when there are several.
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
        // Defaults that admit everything are no news.
        if clause.braces.is_none() && matches!(checked, Checked::Yes(_)) {
            return checked;
        }
        let by_source =
            !clause.name.ends_with("-on") && clause.name != "match-destinations" && clause.name != "blackhole";
        // A list may name thousands of others, all of which are searched: only when somebody wants to see the step.
        let spot = |caught| if trace.has_steps() { self.spot(clause, caught, subject) } else { None };
        let (rule, spot, what) = match &checked {
            // A source that is not to be dropped needs an exception before the element that matches.
            Checked::Yes(rule) if clause.name == "blackhole" => (*rule, spot(Some(*rule)), "matches"),
            Checked::Yes(rule) => (*rule, None, "matches"),
            Checked::No(rule) => {
                let negative = matches!(found, Match::Negative(_));
                let what = match (clause.elsewhere, negative) {
                    (true, _) => "is for another transport",
                    (_, true) => "a negated element matches first",
                    (_, false) => "nothing matches",
                };
                (*rule, by_source.then(|| spot(negative.then_some(*rule))).flatten(), what)
            }
            Checked::Unknown(reason, rule) => (*rule, None, *reason),
        };
        trace.step(Some(rule), spot, || {
            let view = view.map(|view| format!("view {view}: ")).unwrap_or_default();
            format!("{view}{}: {what} for {}", clause.show(), subject.address)
        });
        checked
    }

    /// Where a source would have to be added so that a view serves it.
    fn way_into(&self, view: &View, source: IpAddr) -> Option<Spot> {
        let subject = Subject { address: source, key: None };
        let caught = match view.match_clients.list.find(subject, &self.model.own) {
            Match::Negative(rule) => Some(rule),
            _ => None,
        };
        self.spot(&view.match_clients, caught, subject)
    }

    /// Where an element would have to be added to a list: before the element that caught the source, else at the end;
    /// or where a list would have to be written in place of a default.
    /// A view that only keys choose serves whoever has one: no address belongs there.
    fn spot(&self, clause: &Clause, caught: Option<RuleId>, subject: Subject<'_>) -> Option<Spot> {
        if let (None, Some(block)) = (clause.braces, clause.block) {
            let is_there = block.block.start < block.block.end;
            return Some(if is_there { Spot::Statement(block.head, block.block) } else { Spot::Options(block.head) });
        }
        let braces = clause.braces.filter(|_| clause.name != "match-clients" || clause.list.names_addresses())?;
        let inside = |span: &Span| span.file == braces.file && span.start > braces.start && span.end < braces.end;
        let place = match caught.map(|rule| self.places.get(rule.0 as usize)) {
            Some(Some(Place::Text(span))) if inside(span) => {
                // What is added to a list inside this one would be negated as well.
                let holds = |inner: &&Inner| inner.span.start <= span.start && span.start < inner.span.end;
                let start = clause.inner.iter().find(holds).map_or(span.start, |inner| inner.span.start);
                Span { start, end: start, ..*span }
            }
            // It is in a named list: before the element that names it, so that what comes before that still decides
            // first.
            Some(_) => {
                let matches = |list: &Arc<List>| matches!(list.find(subject, &self.model.own), Match::Positive(_));
                let caught = clause.inner.iter().find(|inner| inner.named.as_ref().is_some_and(matches));
                let start = caught.map_or(braces.start + 1, |inner| inner.span.start);
                Span { start, end: start, ..braces }
            }
            None => Span { start: braces.end - 1, end: braces.end - 1, ..braces },
        };
        Some(Spot::Element(place, clause.name))
    }
}

#[cfg(test)]
mod tests;
