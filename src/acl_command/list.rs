//! `acl list`: configurations to their effective tables.

use super::{Printed, RuleJson, files_json, files_text, json, load};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::report::json::CitedJson;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Debug, Serialize)]
struct ListJson {
    acl: String,
    dialect: &'static str,
    servers: Vec<String>,
    files: Vec<CitedJson>,
    entries: Vec<EntryJson>,
}

#[derive(Debug, Serialize)]
struct EntryJson {
    list: String,
    matches: String,
    action: String,
    rule: RuleJson,
}

/// Runs the command.
pub fn list(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let mut text = String::new();
    for acl in &acls {
        let entries = acl.policy().entries();
        if config.json {
            let entries: Vec<EntryJson> = entries
                .into_iter()
                .map(|entry| EntryJson {
                    list: escape_text(&entry.list),
                    matches: escape_text(&entry.matches),
                    action: entry.action,
                    rule: acl.rule(entry.rule).into(),
                })
                .collect();
            text += &json(&ListJson {
                acl: escape_text(&acl.name),
                dialect: acl.dialect,
                servers: acl.bound().iter().map(ToString::to_string).collect(),
                files: files_json(acl),
                entries,
            });
            continue;
        }
        let bound: Vec<String> = acl.bound().iter().map(ToString::to_string).collect();
        let bound = if bound.is_empty() { "any server".to_owned() } else { bound.join(", ") };
        let _ = writeln!(text, "{} ({}), speaks for {bound}", escape_text(&acl.name), acl.dialect);
        files_text(acl, "File ", &mut text);
        let mut last = String::new();
        for entry in entries {
            if entry.list != last {
                let _ = writeln!(text, "{}", escape_text(&entry.list));
                last.clone_from(&entry.list);
            }
            let place = acl.rule(entry.rule).to_string();
            let _ = writeln!(text, "  {:<28} {:<18} {place}", escape_text(&entry.matches), escape_text(&entry.action));
        }
    }
    Ok(Printed { text, notes, code: 0 })
}
