//! `acl check`: reports where configurations and an inventory differ.

use super::{NO_RECURSION, Print, Printed, RuleJson, describe, files_json, files_text, json, load, rule_json};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::Inventory;
use crate::expect::acl::Acl;
use crate::expect::acl::compare::{self, Difference};
use crate::report::json::CitedJson;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

#[derive(Debug, Serialize)]
struct CheckJson {
    files: Vec<CitedJson>,
    differences: Vec<DifferenceJson>,
}

#[derive(Debug, Serialize)]
struct DifferenceJson {
    acl: String,
    prefix: String,
    part: String,
    /// The addresses of the server at which it differs; empty where it does at all of them.
    servers: Vec<String>,
    name: String,
    expected: &'static str,
    expected_rule: String,
    verdict: &'static str,
    rule: Option<RuleJson>,
    reason: Option<&'static str>,
    /// It is allowed, but whoever desires recursion gets none.
    lacks_recursion: bool,
}

/// Where a configuration differs from an inventory, at each of the addresses for which it speaks; with these addresses
/// where it does not differ at all of them.
fn at_every_address<'a>(acl: &Acl, config: &AclConfig, inventory: &'a Inventory) -> Vec<(Difference<'a>, Vec<IpAddr>)> {
    let declared: Vec<IpAddr> = config.servers.iter().map(|server| server.address).collect();
    let addresses = if declared.is_empty() { acl.bound() } else { declared };
    let questions = std::slice::from_ref(&config.question);
    if addresses.len() < 2 {
        let found = compare::check(acl, inventory, questions, addresses.first().copied());
        return found.into_iter().map(|difference| (difference, Vec::new())).collect();
    }
    let of_family = |v6: bool| addresses.iter().filter(|address| address.is_ipv6() == v6).count();
    let mut all: Vec<(Difference<'a>, Vec<IpAddr>)> = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        for difference in compare::check(acl, inventory, questions, Some(*address)) {
            // Nobody asks an address of the other family; where a family has none, the first address stands for it.
            let v6 = difference.range.v6;
            if v6 != address.is_ipv6() && (of_family(v6) > 0 || place > 0) {
                continue;
            }
            let same = |known: &&mut (Difference<'a>, Vec<IpAddr>)| {
                let known = &known.0;
                (known.row.index, known.range, &known.treatment)
                    == (difference.row.index, difference.range, &difference.treatment)
            };
            match all.iter_mut().find(same) {
                Some((_, at)) => at.push(*address),
                None => all.push((difference, vec![*address])),
            }
        }
    }
    for (difference, at) in &mut all {
        if at.len() >= of_family(difference.range.v6) {
            at.clear();
        }
    }
    all.sort_by_key(|(difference, _)| (difference.row.index, difference.range));
    all
}

/// Runs the command.
pub fn check(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let inventory = Inventory::load(&config.expect)?;
    let mut text = String::new();
    let mut differences = Vec::new();
    for acl in &acls {
        for (difference, servers) in at_every_address(acl, config, &inventory) {
            let (row, decision) = (difference.row, &difference.treatment.decision);
            let lacks_recursion = difference.treatment.lacks_recursion();
            let at: Vec<String> = servers.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "{}: expected {} by {}, the file says {}{}{}",
                difference.range.show(),
                row.expect.name(),
                row.describe(),
                describe(acl, decision),
                if lacks_recursion { NO_RECURSION } else { "" },
                if at.is_empty() { String::new() } else { format!("  (at {})", at.join(", ")) }
            );
            differences.push(DifferenceJson {
                acl: escape_text(&acl.name),
                prefix: crate::expect::inventory::show_prefix(row.prefix),
                part: difference.range.show(),
                servers: at,
                name: escape_text(&row.name),
                expected: row.expect.name(),
                expected_rule: row.rule(),
                verdict: decision.word.name(),
                rule: rule_json(acl, decision),
                reason: decision.reason,
                lacks_recursion,
            });
        }
    }
    let code = if differences.is_empty() { 0 } else { 10 };
    if config.json {
        text = json(&CheckJson { files: acls.iter().flat_map(files_json).collect(), differences });
    } else {
        if differences.is_empty() {
            text += "Every inventory line is as expected, whole.\n";
        }
        for acl in &acls {
            files_text(acl, "File ", &mut text);
        }
    }
    Ok(Printed { print: Print::Text(text), notes, code })
}
