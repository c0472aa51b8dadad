//! Reads `zone` statements, and adds the server's own empty zones.

use super::super::list::List;
use super::super::names;
use super::super::syntax::{Item, Statement};
use super::lists::Builder;
use super::statements::{Map, block_of};
use super::{Grant, UpdatePolicy, View, Zone, ZoneKind};
use crate::error::Error;
use crate::expect::acl::text::Span;
use crate::expect::acl::{Place, name};
use std::collections::HashSet;
use std::sync::Arc;

impl<'a> Builder<'a> {
    /// Statements about access that zones of another type may not have.
    pub fn check_type(&self, own: &Map<'a>, kind: ZoneKind, kind_text: &str) -> Result<(), Error> {
        use ZoneKind::{Mirror, Primary, Secondary};
        let only: [(&str, &[ZoneKind]); 6] = [
            ("allow-notify", &[Secondary, Mirror]),
            ("allow-transfer", &[Primary, Secondary, Mirror]),
            ("allow-update", &[Primary]),
            ("allow-update-forwarding", &[Secondary, Mirror]),
            ("also-notify", &[Primary, Secondary, Mirror]),
            ("update-policy", &[Primary]),
        ];
        for (name, kinds) in only {
            if let Some(statement) = Self::find(name, &[own]).filter(|_| !kinds.contains(&kind)) {
                return Err(self.files.error(statement.span, &format!("a zone of type {kind_text} takes no {name}")));
            }
        }
        Ok(())
    }

    pub fn zone(
        &mut self,
        statement: &'a Statement,
        view: &mut View,
        maps: &[&Map<'a>; 2],
        earlier: &[View],
        forwarders: &mut Vec<(Vec<u8>, bool)>,
    ) -> Result<(), Error> {
        let (called, class) = match statement.items.as_slice() {
            [_, Item::Word(called) | Item::Quoted(called), Item::Block(_)] => (*called, None),
            [_, Item::Word(called) | Item::Quoted(called), Item::Word(class) | Item::Quoted(class), Item::Block(_)] => {
                (*called, Some(*class))
            }
            _ => return Err(self.files.error(statement.span, "zone takes a name and a block in braces")),
        };
        let internet = self.is_internet(class)?;
        let Some(origin) = name::parse_name(self.files.text(called)) else {
            return Err(self.files.error(called, "this is no domain name"));
        };
        let own = self.map(block_of(self.files, statement)?, names::ZONE, "in a zone")?;
        let rule = self.rules.text(Span { end: called.end, ..statement.span });
        if let Some(elsewhere) = Self::find("in-view", &[&own]) {
            let Some(Item::Word(other) | Item::Quoted(other)) = elsewhere.items.get(1) else {
                return Err(self.files.error(elsewhere.span, "in-view takes the name of a view"));
            };
            let of_this_name = earlier.iter().find(|earlier| *earlier.name == *self.files.text(*other));
            let shared = of_this_name.and_then(|earlier| Some((earlier, earlier.zones.get(&origin)?)));
            let Some((owner, shared)) = shared.filter(|(_, zone)| !zone.shared) else {
                return Err(self.files.error(*other, "no earlier view of this name has the zone"));
            };
            // Where a zone lacks a list, it uses that of the view it belongs to, not of the view that shares it
            // (measured).
            let shared = Zone {
                shared: true,
                query: shared.query.clone().or_else(|| Some(owner.query.clone())),
                query_on: shared.query_on.clone().or_else(|| Some(owner.query_on.clone())),
                ..Zone::clone(shared)
            };
            return self.add(origin, called, shared, view);
        }
        let Some(kind) = Self::find("type", &[&own]) else {
            return Err(self.files.error(called, "the zone has no type"));
        };
        let kind_text =
            kind.items.get(1).map(|item| self.files.text(item.span()).to_ascii_lowercase()).unwrap_or_default();
        let kind = match kind_text.as_str() {
            "primary" | "master" => ZoneKind::Primary,
            "secondary" | "slave" => ZoneKind::Secondary,
            "mirror" => ZoneKind::Mirror,
            "stub" => ZoneKind::Stub,
            "static-stub" => ZoneKind::StaticStub,
            "forward" => {
                let only = self.forward_only(&[&own, maps[0], maps[1]]);
                // A zone that is forwarded to nobody is resolved like any other name.
                let asked = Self::find("forwarders", &[&own]).map(|list| block_of(self.files, list)).transpose()?;
                if asked.is_some_and(|block| !block.statements.is_empty()) {
                    view.forwarded.insert(origin.clone());
                }
                forwarders.push((origin, only));
                return Ok(());
            }
            "hint" | "redirect" | "delegation-only" => return Ok(()),
            _ => return Err(self.files.error(kind.span, "no zone is of this type")),
        };
        self.check_type(&own, kind, &kind_text)?;
        if Self::find("forwarders", &[&own]).is_some() {
            forwarders.push((origin.clone(), self.forward_only(&[&own, maps[0], maps[1]])));
        }
        let all = [&own, maps[0], maps[1]];
        let mut primaries = Vec::new();
        if let Some(list) = Self::find("primaries", &[&own]).or_else(|| Self::find("masters", &[&own])) {
            self.addresses(block_of(self.files, list)?, &mut primaries, 0)?;
        }
        let transfer = match self.clause("allow-transfer", &all)? {
            Some(clause) => Some(clause),
            None if kind == ZoneKind::Mirror => Some(self.none("allow-transfer", "none for a mirror (default)")),
            None => match self.version {
                Some(version) if version >= (9, 20) => Some(self.none("allow-transfer", "none (default from 9.20)")),
                Some(_) => Some(self.default("allow-transfer", "any (default before 9.20)", List::any)),
                None => None,
            },
        };
        // A stub zone accepts notifications only from its primaries, whatever is set for all zones (measured).
        let notify = if kind == ZoneKind::Stub { None } else { self.clause("allow-notify", &all)? };
        let zone = Zone {
            kind,
            rule,
            shared: false,
            query: self.clause("allow-query", &[&own])?,
            query_on: self.clause("allow-query-on", &[&own])?,
            transfer,
            update: self.clause("allow-update", &all)?.unwrap_or_else(|| self.none("allow-update", "none (default)")),
            update_policy: self.update_policy(&own)?,
            forwarding: self
                .clause("allow-update-forwarding", &all)?
                .unwrap_or_else(|| self.none("allow-update-forwarding", "none (default)")),
            notify: notify.unwrap_or_else(|| self.none("allow-notify", "none (default)")),
            primaries,
        };
        view.query_on_inherited |= zone.query_on.is_none();
        if !internet || !view.internet {
            return Ok(());
        }
        self.add(origin, called, zone, view)
    }

    /// Adds a zone unless it exists.
    fn add(&self, origin: Vec<u8>, called: Span, zone: Zone, view: &mut View) -> Result<(), Error> {
        let Some(first) = view.zones.insert(origin, Arc::new(zone)) else { return Ok(()) };
        let what = match self.rules.place(first.rule) {
            Place::Text(span) if !first.shared => {
                format!("this zone is given already at line {}", self.files.line(span))
            }
            _ => "this zone is given already".to_owned(),
        };
        Err(self.files.error(called, &what))
    }

    pub fn update_policy(&mut self, own: &Map<'a>) -> Result<Option<UpdatePolicy>, Error> {
        let Some(statement) = Self::find("update-policy", &[own]) else { return Ok(None) };
        let rule = self.rules.text(statement.span);
        let mut grants = Vec::new();
        match statement.items.get(1) {
            Some(Item::Word(word) | Item::Quoted(word)) if self.files.text(*word).eq_ignore_ascii_case("local") => {
                grants.push(Grant {
                    rule,
                    allows: true,
                    identity: "local-ddns".to_owned(),
                    everything: true,
                    unsigned: false,
                    by_key_name: true,
                });
            }
            Some(Item::Block(block)) => {
                for line in &block.statements {
                    let words: Vec<String> =
                        line.items.iter().map(|item| self.files.text(item.span()).to_ascii_lowercase()).collect();
                    let allows = match words.first().map(String::as_str) {
                        Some("grant") => true,
                        Some("deny") => false,
                        _ => return Err(self.files.error(line.span, "a rule begins with grant or deny")),
                    };
                    let (Some(identity), Some(kind)) = (words.get(1), words.get(2)) else {
                        return Err(self.files.error(line.span, "a rule takes an identity and a type"));
                    };
                    let every_type = words.last().is_some_and(|word| word == "any");
                    grants.push(Grant {
                        rule: self.rules.text(line.span),
                        allows,
                        identity: identity.trim_end_matches('.').to_owned(),
                        everything: kind == "zonesub" && every_type,
                        unsigned: matches!(kind.as_str(), "tcp-self" | "6to4-self" | "external"),
                        by_key_name: matches!(
                            kind.as_str(),
                            "name" | "subdomain" | "zonesub" | "wildcard" | "self" | "selfsub" | "selfwild"
                        ),
                    });
                }
            }
            _ => return Err(self.files.error(statement.span, "update-policy takes local or rules in braces")),
        }
        Ok(Some(UpdatePolicy { rule, grants }))
    }

    /// The empty zones that the server makes itself when it offers recursion.
    pub fn empty_zones(
        &mut self,
        view: &mut View,
        maps: &[&Map<'a>; 2],
        forwarders: &[(Vec<u8>, bool)],
    ) -> Result<(), Error> {
        let enabled = self.switch("empty-zones-enable", maps, view.recursion.on)?;
        if !enabled.on || !view.internet {
            return Ok(());
        }
        let mut disabled: HashSet<Vec<u8>> = HashSet::new();
        let level = if maps[0].contains_key("disable-empty-zone") { maps[0] } else { maps[1] };
        for statement in level.get("disable-empty-zone").into_iter().flatten() {
            let named = statement.items.get(1).and_then(|item| name::parse_name(self.files.text(item.span())));
            match named {
                Some(name) => drop(disabled.insert(name)),
                None => return Err(self.files.error(statement.span, "disable-empty-zone takes the name of a zone")),
            }
        }
        let rule = self.rules.built_in("an empty zone of the server itself (RFC 6303)");
        let (transfer, none) = (self.any("allow-transfer"), self.none("allow-update", "none (default)"));
        // One for all of them: in each of thousands of views there are a hundred.
        let zone = Arc::new(Zone {
            kind: ZoneKind::Empty,
            rule,
            shared: false,
            query: None,
            query_on: None,
            transfer: Some(transfer),
            update: none.clone(),
            update_policy: None,
            forwarding: none.clone(),
            notify: none,
            primaries: Vec::new(),
        });
        for origin in super::super::empty::origins() {
            let forwarded_only = name::and_above(&origin)
                .find_map(|above| forwarders.iter().find(|(name, _)| name == above))
                .is_some_and(|(_, only)| *only);
            if view.zones.contains_key(&origin) || disabled.contains(&origin) || forwarded_only {
                continue;
            }
            view.zones.insert(origin, Arc::clone(&zone));
        }
        Ok(())
    }
}
