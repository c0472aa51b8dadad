//! Decides a request once the view that serves it is known ([`Decision`]): by what its opcode and type ask for, in a
//! zone or in the cache. The server's own names (`version.bind` and the like) are decided outside views.

use super::list::Subject;
use super::model::{Clause, View, Zone, ZoneKind};
use super::{Bind, Checked};
use crate::expect::acl::{Decision, Recursion, Request, RuleId, Trace, Word, code, name};
use crate::transact::in_flight::Transport;

/// Whether a request is resolved recursively; an error is the reason why that is not known.
type Recursive = Result<bool, (&'static str, RuleId)>;

impl Bind {
    /// Decides about names of the server itself, for clients that the options admit (measured with 9.18); everything
    /// else in this class is refused.
    pub fn chaos(&self, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
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
    pub fn within(&self, view: &View, request: &Request<'_>, subject: Subject<'_>, trace: &mut Trace) -> Decision {
        match (request.opcode, request.qtype) {
            (code::NOTIFY, _) => self.notify(view, request, subject, trace),
            (code::UPDATE, _) => self.update(view, request, subject, trace),
            (code::QUERY, code::AXFR | code::IXFR) => self.transfer(view, request, subject, trace),
            // Without the record that the name is about, key agreement is impossible (measured).
            (code::QUERY, code::TKEY) if request.sections[0] == 0 && request.sections[2] <= 1 => {
                Decision::of(Word::Allow, self.model.built_in.malformed)
            }
            (code::QUERY, code::TKEY) => Decision::unknown("what TKEY agrees upon is not evaluated", None),
            (code::QUERY, code::OPT | 128..=254) => Decision::of(Word::Allow, self.model.built_in.malformed),
            _ => self.query(view, request, subject, trace),
        }
    }

    /// A list that the request must pass; the decision that ends it otherwise.
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
        let zone = find_zone(view, start);
        // Its own data the server gives to everybody who may ask for it, with or without recursion.
        let own_data =
            zone.is_some_and(|zone| matches!(zone.kind, ZoneKind::Primary | ZoneKind::Secondary | ZoneKind::Empty));
        // Recursion has to be determined only when somebody wants to know.
        let known = trace.is_on().then(|| {
            let mut steps = Trace::on();
            let known = self.recursive(view, request, subject, at, &mut steps);
            trace.append(steps, !own_data);
            known
        });
        trace.serve(|serving| serving.recursion = known.and_then(Result::ok).filter(|_| request.rd && !own_data));
        trace.recursion(|| {
            let desired = Request { rd: true, ..*request };
            let offered = self.recursive(view, &desired, subject, at, &mut Trace::off()) == Ok(true);
            Recursion { offered, needed: request.rd && !own_data }
        });
        let recursive = || known.unwrap_or_else(|| self.recursive(view, request, subject, at, &mut Trace::off()));
        let mut decision = match zone {
            Some(zone) if zone.kind != ZoneKind::Mirror => self.zone_query(view, zone, recursive, subject, at, trace),
            // A mirror replaces the cache, and is open to whoever may ask the cache (measured).
            _ => self.cached(view, known, subject, at, trace),
        };
        // Without recursion, the zone itself is asked for its own DS record when there is no zone above it, or the one
        // above denies.
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
            // The cache's lists add their steps when the cache is asked.
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
        // A stub zone only knows whom to ask.
        trace.serve(|serving| serving.held = zone.kind != ZoneKind::Stub);
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
        // Measured: the view's allow-query-on applies to its empty zones only when another of its zones inherits it.
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
            // A full transfer over UDP is FORMERR; an incremental one is answered.
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
        // What an update reveals about names must not leak to clients that may not query.
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

/// True for an update to a zone that belongs elsewhere.
pub fn passes_on(view: &View, request: &Request<'_>) -> bool {
    let kind = view.zones.get(request.qname).map(|zone| zone.kind);
    request.opcode == code::UPDATE && matches!(kind, Some(ZoneKind::Secondary | ZoneKind::Mirror))
}

/// The closest zone that contains a name.
fn find_zone<'a>(view: &'a View, qname: &[u8]) -> Option<&'a Zone> {
    let possible = |name: &&[u8]| view.zone_lengths[name.len() / 64 % 4] >> (name.len() % 64) & 1 == 1;
    name::and_above(qname).filter(possible).find_map(|above| view.zones.get(above)).map(|zone| &**zone)
}
