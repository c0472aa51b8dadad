//! Reads `view` statements, or makes the one view of a file without any, with defaults and inheritance filled in.

use super::super::list::List;
use super::super::names;
use super::super::syntax::{Item, Statement};
use super::lists::Builder;
use super::statements::{Map, block_of};
use super::{Clause, View, Written};
use crate::error::Error;
use crate::expect::acl::name;
use crate::expect::acl::rules::RuleId;
use crate::expect::acl::text::Span;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A `view` statement, or the implicit view where there is none.
struct Declared<'m, 'a> {
    name: &'m str,
    statement: Option<&'a Statement>,
    internet: bool,
    /// The statements inside it.
    map: &'m Map<'a>,
}

impl<'a> Builder<'a> {
    pub fn views(&mut self, top: &Map<'a>, options: &Map<'a>) -> Result<(Vec<View>, bool), Error> {
        let none = Vec::new();
        let written = top.get("view").unwrap_or(&none);
        let mut views: Vec<View> = Vec::new();
        if written.is_empty() {
            let only = Declared { name: "_default", statement: None, internet: true, map: &Map::new() };
            let view = self.view(&only, top, options, &views)?;
            return Ok((vec![view], false));
        }
        if let Some(zone) = top.get("zone").and_then(|zones| zones.first()) {
            return Err(self.files.error(zone.span, "with views, every zone stands in one of them"));
        }
        for statement in written {
            let (called, class) = match statement.items.as_slice() {
                [_, Item::Word(called) | Item::Quoted(called), Item::Block(_)] => (*called, None),
                [
                    _,
                    Item::Word(called) | Item::Quoted(called),
                    Item::Word(class) | Item::Quoted(class),
                    Item::Block(_),
                ] => (*called, Some(*class)),
                _ => return Err(self.files.error(statement.span, "view takes a name and a block in braces")),
            };
            let internet = self.is_internet(class)?;
            let name = self.files.text(called).to_owned();
            if views.iter().any(|view| *view.name == *name && view.internet == internet) {
                return Err(self.files.error(called, "a view of this name is there already"));
            }
            let map = self.map(block_of(self.files, statement)?, names::VIEW, "in a view")?;
            let declared = Declared { name: &name, statement: Some(statement), internet, map: &map };
            let view = self.view(&declared, top, options, &views)?;
            views.push(view);
        }
        Ok((views, true))
    }

    pub fn is_internet(&self, class: Option<Span>) -> Result<bool, Error> {
        let Some(class) = class else { return Ok(true) };
        match self.files.text(class).to_ascii_lowercase().as_str() {
            "in" => Ok(true),
            "ch" | "chaos" | "hs" | "hesiod" => Ok(false),
            _ => Err(self.files.error(class, "this is no class")),
        }
    }

    /// Reads a view, which takes settings it lacks from `options`, and keys also from the `top` level of the file.
    fn view(
        &mut self,
        declared: &Declared<'_, 'a>,
        top: &Map<'a>,
        options: &Map<'a>,
        earlier: &[View],
    ) -> Result<View, Error> {
        let Declared { name, statement, internet, map } = *declared;
        let maps = [map, options];
        let rule = match statement {
            Some(statement) => self.rules.text(Span { end: statement.items[0].span().end, ..statement.span }),
            None => self.rules.built_in("the only view"),
        };
        let recursion = self.switch("recursion", &maps, true)?;
        // A mistake in a list that none of its zones uses is a mistake nevertheless.
        for name in ["allow-notify", "allow-transfer", "allow-update"] {
            self.clause(name, &maps)?;
        }
        let (set_query, set_query_on) = (self.clause("allow-query", &maps)?, self.clause("allow-query-on", &maps)?);
        let (set_cache, set_cache_on) =
            (self.clause("allow-query-cache", &maps)?, self.clause("allow-query-cache-on", &maps)?);
        let (set_recursion, set_recursion_on) =
            (self.clause("allow-recursion", &maps)?, self.clause("allow-recursion-on", &maps)?);
        let block = match statement {
            Some(statement) => Some(Written::of(statement, block_of(self.files, statement)?)),
            None => self.options,
        };
        let mut near = |name: &'static str| {
            let says = "{ localnets; localhost; } (default)";
            Clause { block, ..self.default(name, says, List::near) }
        };
        // Lists inherit from each other only what is in the text.
        let (cache, recursion_acl) = if recursion.on {
            let cache = set_cache.clone().or_else(|| set_recursion.clone()).or_else(|| set_query.clone());
            let cache = cache.unwrap_or_else(|| near("allow-query-cache"));
            let recursive = set_recursion.or(set_cache).or_else(|| set_query.clone());
            (cache, recursive.unwrap_or_else(|| near("allow-recursion")))
        } else {
            let none = self.none("allow-query-cache", "none, because recursion is off (default)");
            (set_cache.unwrap_or_else(|| none.clone()), none)
        };
        let cache_on = set_cache_on.clone().or_else(|| set_recursion_on.clone());
        let recursion_on = set_recursion_on.or(set_cache_on);
        let zones = if statement.is_some() { map.get("zone") } else { top.get("zone") };
        let mut keys: HashSet<Vec<u8>> = self.keys(top)?.into_iter().collect();
        keys.extend(self.keys(map)?);
        let session_key = Self::find("session-keyfile", &maps).is_none_or(|statement| {
            statement.items.get(1).is_none_or(|item| !self.files.text(item.span()).eq_ignore_ascii_case("none"))
        });
        if session_key {
            keys.extend(name::parse_name("local-ddns"));
        }
        let query = set_query.unwrap_or_else(|| self.any("allow-query"));
        let mut view = View {
            name: Arc::from(name),
            rule,
            internet,
            match_clients: self.clause("match-clients", &[map])?.unwrap_or_else(|| self.any("match-clients")),
            match_destinations: self
                .clause("match-destinations", &[map])?
                .unwrap_or_else(|| self.any("match-destinations")),
            match_recursive_only: None,
            recursion,
            query,
            query_on: set_query_on.unwrap_or_else(|| self.any("allow-query-on")),
            query_on_inherited: false,
            cache: cache.standing_for("allow-query-cache"),
            cache_on: cache_on.unwrap_or_else(|| self.any("allow-query-cache-on")).standing_for("allow-query-cache-on"),
            recursion_acl: recursion_acl.standing_for("allow-recursion"),
            recursion_on: recursion_on
                .unwrap_or_else(|| self.any("allow-recursion-on"))
                .standing_for("allow-recursion-on"),
            zones: HashMap::default(),
            zone_lengths: [0; 4],
            forwarded: HashSet::new(),
            policy_zones: None,
            more_zones: None,
            keys,
        };
        let only_recursive = self.switch("match-recursive-only", &[map], false)?;
        view.match_recursive_only = only_recursive.on.then_some(only_recursive.rule);
        if let Some(statement) = Self::find("response-policy", &maps) {
            let text = self.files.text(statement.span).to_ascii_lowercase();
            let always = text.contains("recursive-only no") || text.contains("recursive-only false");
            view.policy_zones = Some((self.rules.text(statement.span), always));
        }
        view.more_zones = self.more_zones(&maps, top)?;
        let mut forwarders: Vec<(Vec<u8>, bool)> = Vec::new();
        if Self::find("forwarders", &maps).is_some() {
            forwarders.push((vec![0], self.forward_only(&maps)));
        }
        for zone in zones.into_iter().flatten() {
            self.zone(zone, &mut view, &maps, earlier, &mut forwarders)?;
        }
        self.empty_zones(&mut view, &maps, &forwarders)?;
        for origin in view.zones.keys() {
            view.zone_lengths[origin.len() / 64 % 4] |= 1 << (origin.len() % 64);
        }
        Ok(view)
    }

    /// The last statement that may add zones which no `zone` statement names, and how.
    fn more_zones(&mut self, maps: &[&Map<'a>], top: &Map<'a>) -> Result<Option<(RuleId, &'static str)>, Error> {
        let mut more = None;
        for (name, reason) in [
            ("catalog-zones", "a catalog zone may add zones"),
            ("allow-new-zones", "zones may have been added with rndc"),
            ("dlz", "a database (dlz) may hold zones"),
            ("dyndb", "a database (dyndb) may hold zones"),
        ] {
            let found = Self::find(name, maps).or_else(|| Self::find(name, &[top]));
            let Some(statement) = found else { continue };
            if name == "allow-new-zones" && !self.switch(name, maps, false)?.on {
                continue;
            }
            more = Some((self.rules.text(statement.span), reason));
        }
        Ok(more)
    }

    pub fn forward_only(&self, maps: &[&Map<'a>]) -> bool {
        Self::find("forward", maps)
            .and_then(|statement| statement.items.get(1))
            .is_some_and(|item| self.files.text(item.span()).eq_ignore_ascii_case("only"))
    }
}
