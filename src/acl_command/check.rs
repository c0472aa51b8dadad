//! `acl check`: configurations and an inventory to where they differ.

use super::{Printed, RuleJson, asked, describe, files_json, files_text, json, load, rule_json};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::Inventory;
use crate::expect::acl::compare;
use crate::report::json::CitedJson;
use serde::Serialize;
use std::fmt::Write as _;

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
    name: String,
    expected: &'static str,
    expected_rule: String,
    verdict: &'static str,
    rule: Option<RuleJson>,
    reason: Option<&'static str>,
}

/// Runs the command.
pub fn check(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let inventory = Inventory::load(&config.expect)?;
    let mut text = String::new();
    let mut differences = Vec::new();
    for acl in &acls {
        for difference in compare::check(acl, &inventory, &config.question, asked(config)) {
            let row = difference.row;
            let _ = writeln!(
                text,
                "{}: expected {} by {}, the file says {}",
                difference.range.show(),
                row.expect.name(),
                row.describe(),
                describe(acl, &difference.decision)
            );
            differences.push(DifferenceJson {
                acl: escape_text(&acl.name),
                prefix: crate::expect::inventory::show_prefix(row.prefix),
                part: difference.range.show(),
                name: escape_text(&row.name),
                expected: row.expect.name(),
                expected_rule: row.rule(),
                verdict: difference.decision.word.name(),
                rule: rule_json(acl, &difference.decision),
                reason: difference.decision.reason,
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
    Ok(Printed { text, notes, code })
}
