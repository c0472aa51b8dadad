//! Local zones and local data: names that the server answers, refuses or ignores itself.

use crate::expect::acl::{RuleId, code, name};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;

/// What a local zone does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names with data are answered, others dropped.
    Deny,
    /// Names with data are answered, others refused.
    Refuse,
    /// Everything is answered from the data.
    Static,
    /// Names without data are resolved.
    Transparent,
    /// Names and types without data are resolved.
    TypeTransparent,
    /// Every name is answered with the zone's own data.
    Redirect,
    /// Everything is refused.
    AlwaysRefuse,
    /// Everything is dropped.
    AlwaysDeny,
    /// Everything is answered in the same way.
    AlwaysAnswer,
    /// Everything is resolved.
    AlwaysTransparent,
    /// Address queries get an empty answer, others are resolved.
    BlockA,
    /// Ends the search in a view.
    NoView,
}

impl Kind {
    /// Finds a type by its name; `None` when there is none. `nodefault` is not a type, but removes a built-in zone.
    pub fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "deny" | "inform_deny" => Kind::Deny,
            "refuse" => Kind::Refuse,
            "static" => Kind::Static,
            "transparent" | "inform" => Kind::Transparent,
            "typetransparent" => Kind::TypeTransparent,
            "redirect" | "inform_redirect" => Kind::Redirect,
            "always_refuse" => Kind::AlwaysRefuse,
            "always_deny" => Kind::AlwaysDeny,
            "always_nxdomain" | "always_nodata" | "always_null" | "truncate" => Kind::AlwaysAnswer,
            "always_transparent" => Kind::AlwaysTransparent,
            "block_a" => Kind::BlockA,
            "noview" => Kind::NoView,
            _ => return None,
        })
    }
}

/// A local zone.
#[derive(Debug)]
pub struct Zone {
    /// What it does.
    pub kind: Kind,
    /// Its statement.
    pub rule: RuleId,
    /// Only clients with one of these tags see it; `None` when everybody does.
    pub tags: Option<Vec<usize>>,
    /// Other types for clients of these prefixes; the longest prefix decides.
    pub overrides: Vec<(IpNet, Kind, RuleId)>,
    /// Record types of its data by name; an empty list is a name with data only below it.
    data: HashMap<Vec<u8>, Vec<u16>>,
}

/// Local zones of the server, or of a view.
#[derive(Debug, Default)]
pub struct Zones {
    zones: HashMap<Vec<u8>, Zone, foldhash::fast::FixedState>,
}

/// The result of looking a question up in local zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// It is answered.
    Answered(RuleId),
    /// It is refused.
    Refused(RuleId),
    /// It is dropped.
    Dropped(RuleId),
    /// It is not decided by local zones.
    No,
}

/// The client as local zones see it.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its tags.
    pub tags: &'a [usize],
    /// What zones do for clients with a tag.
    pub tag_actions: &'a [(usize, Kind, RuleId)],
    /// Tags with data of their own.
    pub tag_data: &'a [usize],
}

impl Zones {
    /// Adds a zone; a later one of the same name replaces an earlier one.
    pub fn add(&mut self, origin: Vec<u8>, kind: Kind, rule: RuleId) {
        self.zones.insert(origin, Zone { kind, rule, tags: None, overrides: Vec::new(), data: HashMap::new() });
    }

    /// True when there is a zone of exactly this name.
    pub fn has(&self, origin: &[u8]) -> bool {
        self.zones.contains_key(origin)
    }

    /// A zone for changing it.
    pub fn get_mut(&mut self, origin: &[u8]) -> Option<&mut Zone> {
        self.zones.get_mut(origin)
    }

    /// Makes transparent zones for data that is inside no zone: one for all, at the lowest name above all of it.
    pub fn add_implicit(&mut self, data: &[(Vec<u8>, u16, RuleId)]) {
        let mut common: Option<(&[u8], RuleId)> = None;
        for (owner, _, rule) in data {
            if name::and_above(owner).any(|above| self.zones.contains_key(above)) {
                continue;
            }
            common = Some(match common {
                None => (owner, *rule),
                Some((known, rule)) => {
                    let both = name::and_above(known).find(|above| name::and_above(owner).any(|other| other == *above));
                    (both.unwrap_or(b"\0"), rule)
                }
            });
        }
        if let Some((origin, rule)) = common {
            self.add(origin.to_vec(), Kind::Transparent, rule);
        }
    }

    /// Adds data to the zone that contains it.
    pub fn add_data(&mut self, owner: &[u8], record_type: u16, rule: RuleId) {
        let origin = name::and_above(owner).find(|above| self.zones.contains_key(*above)).map(<[u8]>::to_vec);
        let origin = origin.unwrap_or_else(|| {
            self.add(vec![0], Kind::Transparent, rule);
            vec![0]
        });
        if let Some(zone) = self.zones.get_mut(&origin) {
            zone.data.entry(owner.to_vec()).or_default().push(record_type);
            // Names between the zone's and its data's exist, too.
            for above in name::and_above(owner).skip(1).take_while(|above| above.len() >= origin.len()) {
                zone.data.entry(above.to_vec()).or_default();
            }
        }
    }

    /// Prefixes of all overrides.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.zones.values().flat_map(|zone| zone.overrides.iter().map(|(prefix, _, _)| *prefix))
    }

    /// The closest zone that contains a name and that the client sees. DS records belong to the zone above.
    fn find(&self, qname: &[u8], qtype: u16, tags: Option<&[usize]>) -> Option<&Zone> {
        if self.zones.is_empty() {
            return None;
        }
        let start = if qtype == code::DS { name::above(qname).unwrap_or(qname) } else { qname };
        name::and_above(start).filter_map(|above| self.zones.get(above)).find(|zone| match (&zone.tags, tags) {
            (Some(of_zone), Some(of_client)) => of_zone.iter().any(|tag| of_client.contains(tag)),
            _ => true,
        })
    }
}

impl Zone {
    /// A transparent zone of a view leaves names without data to the server's own zones.
    fn leaves_to_others(&self, qname: &[u8], qtype: u16) -> bool {
        match self.kind {
            Kind::AlwaysTransparent | Kind::BlockA => true,
            Kind::Transparent => !self.data.contains_key(qname),
            Kind::TypeTransparent => !self.data.get(qname).is_some_and(|types| holds(types, qtype)),
            _ => false,
        }
    }

    /// The type of the zone for this client, and the statement that sets it.
    fn kind_for(&self, client: &Client<'_>) -> (Kind, RuleId, Option<usize>) {
        let longest = self.overrides.iter().filter(|(prefix, _, _)| prefix.contains(&client.address));
        if let Some((_, kind, rule)) = longest.max_by_key(|(prefix, _, _)| prefix.prefix_len()) {
            return (*kind, *rule, None);
        }
        let Some(tags) = &self.tags else { return (self.kind, self.rule, None) };
        let mut common: Vec<usize> = tags.iter().copied().filter(|tag| client.tags.contains(tag)).collect();
        common.sort_unstable();
        // The first tag in the order of define-tag decides.
        let Some(tag) = common.first().copied() else { return (self.kind, self.rule, None) };
        match client.tag_actions.iter().find(|(action_tag, _, _)| *action_tag == tag) {
            Some((_, kind, rule)) => (*kind, *rule, Some(tag)),
            None => (self.kind, self.rule, Some(tag)),
        }
    }

    fn answer(
        &self,
        origin_data: Option<&Vec<u16>>,
        qname: &[u8],
        qtype: u16,
        client: &Client<'_>,
        in_view: bool,
    ) -> Local {
        let (kind, rule, tag) = if in_view { (self.kind, self.rule, None) } else { self.kind_for(client) };
        let always = matches!(
            kind,
            Kind::AlwaysRefuse | Kind::AlwaysTransparent | Kind::BlockA | Kind::AlwaysAnswer | Kind::AlwaysDeny
        );
        let redirect = kind == Kind::Redirect;
        let data = if redirect { origin_data } else { self.data.get(qname) };
        if !always {
            if tag.is_some_and(|tag| client.tag_data.contains(&tag)) && redirect {
                return Local::Answered(rule);
            }
            if let Some(types) = data
                && holds(types, qtype)
            {
                // The alias of a redirect zone leads out of the zone.
                let followed =
                    redirect && qtype != code::CNAME && !types.contains(&qtype) && types.contains(&code::CNAME);
                return if followed { Local::No } else { Local::Answered(rule) };
            }
        }
        match kind {
            Kind::Deny | Kind::AlwaysDeny => Local::Dropped(rule),
            Kind::Refuse | Kind::AlwaysRefuse => Local::Refused(rule),
            Kind::Static | Kind::Redirect | Kind::AlwaysAnswer => Local::Answered(rule),
            Kind::BlockA if qtype == code::A => Local::Answered(rule),
            // The name exists, with other types.
            Kind::Transparent | Kind::NoView if data.is_some_and(|types| !types.is_empty()) => Local::Answered(rule),
            Kind::Transparent | Kind::NoView | Kind::TypeTransparent | Kind::AlwaysTransparent | Kind::BlockA => {
                Local::No
            }
        }
    }
}

/// True when data answers a type: it contains the type, or an alias.
fn holds(types: &[u16], qtype: u16) -> bool {
    types.iter().any(|held| *held == qtype || *held == code::CNAME)
}

/// The zones of a view, and whether the server's own are asked after them.
#[derive(Debug, Clone, Copy)]
pub struct ViewZones<'a> {
    /// The zones.
    pub zones: &'a Zones,
    /// `view-first: yes`.
    pub first: bool,
}

/// Looks a question up in local zones.
pub fn answer(view: Option<ViewZones<'_>>, global: &Zones, qname: &[u8], qtype: u16, client: &Client<'_>) -> Local {
    if let Some(view) = view {
        let found = view.zones.find(qname, qtype, None);
        let no_view = found.is_some_and(|zone| zone.kind == Kind::NoView);
        match found.filter(|zone| !no_view && !zone.leaves_to_others(qname, qtype)) {
            Some(zone) => return zone.answer(origin_data(view.zones, qname, qtype, zone), qname, qtype, client, true),
            None if !view.first => return Local::No,
            None => {}
        }
    }
    match global.find(qname, qtype, Some(client.tags)) {
        Some(zone) => zone.answer(origin_data(global, qname, qtype, zone), qname, qtype, client, false),
        None => Local::No,
    }
}

/// The data at the apex of a zone.
fn origin_data<'a>(zones: &Zones, qname: &[u8], _: u16, zone: &'a Zone) -> Option<&'a Vec<u16>> {
    name::and_above(qname)
        .find(|above| zones.zones.get(*above).is_some_and(|found| std::ptr::eq(found, zone)))
        .and_then(|origin| zone.data.get(origin))
}
