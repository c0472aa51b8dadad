//! Reads local zones and their data into [`Zones`], for the server or for a view. Zones whose contents are elsewhere
//! (`auth-zone`, `rpz`) contribute only their names, because no configuration shows what their contents decide.

use super::super::builtin;
use super::super::syntax::{Parsed, Statement};
use super::super::zones::{Kind, Zones};
use super::{Builder, Model};
use crate::error::Error;
use crate::expect::acl::text::Span;
use crate::expect::acl::{RuleId, name};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Statements of zones that answer clients, and all zones of which the server may be notified.
type AuthZones = (BTreeMap<Vec<u8>, RuleId>, BTreeSet<Vec<u8>>);

impl Model {
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

impl Builder<'_> {
    /// Local zones and data of the server or of a view.
    pub fn zones(
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

    pub fn kind(&self, value: Span) -> Result<Kind, Error> {
        Kind::parse(self.text(value)).ok_or_else(|| self.files.error(value, "no local zone is of this type"))
    }

    fn domain(&self, value: Span) -> Result<Vec<u8>, Error> {
        name::parse_name(self.text(value)).ok_or_else(|| self.files.error(value, "this is no domain name"))
    }

    /// Owner and type of `name [ttl] [class] type data`; `None` when its class is not IN.
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

    /// Zones of every kind have exactly one name.
    pub fn zones_have_names(&self, parsed: &Parsed) -> Result<(), Error> {
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

    /// Collects the zones that answer clients, and all of which the server may be notified.
    pub fn auth_zones(&mut self, parsed: &Parsed) -> Result<AuthZones, Error> {
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

    /// A statement by which something outside the configuration decides about allowed requests.
    pub fn data_decides(&mut self, parsed: &Parsed, server: &[&Statement]) -> Option<(&'static str, RuleId)> {
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
