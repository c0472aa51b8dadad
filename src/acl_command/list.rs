//! `acl list`: prints the effective access table of configurations.

use super::{Print, Printed, RuleJson, files_json, files_text, load};
use crate::config::AclConfig;
use crate::error::{Error, escape_text};
use crate::expect::acl::Acl;
use crate::report::json::CitedJson;
use serde::{Serialize, Serializer};
use std::io::{self, Write};

#[derive(Debug, Serialize)]
struct ListJson<'a> {
    acl: String,
    dialect: &'static str,
    servers: Vec<String>,
    files: Vec<CitedJson>,
    entries: EntriesJson<'a>,
}

/// Entries that are made while they are written: thousands of zones with long lists have many millions of them.
#[derive(Debug)]
struct EntriesJson<'a>(&'a Acl);

impl Serialize for EntriesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(acl) = self;
        serializer.collect_seq(acl.policy().entries().map(|entry| EntryJson {
            list: escape_text(&entry.list),
            matches: escape_text(&entry.matches),
            action: entry.action,
            rule: acl.rule(entry.rule).into(),
        }))
    }
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
    Ok(Printed { print: Print::Tables { acls, json: config.json }, notes, code: 0 })
}

/// Writes a table as JSON.
pub fn write_json(acl: &Acl, out: &mut dyn Write) -> io::Result<()> {
    let list = ListJson {
        acl: escape_text(&acl.name),
        dialect: acl.dialect,
        servers: acl.bound().iter().map(ToString::to_string).collect(),
        files: files_json(acl),
        entries: EntriesJson(acl),
    };
    serde_json::to_writer(&mut *out, &list)?;
    writeln!(out)
}

/// Writes a table as text.
pub fn write_text(acl: &Acl, out: &mut dyn Write) -> io::Result<()> {
    let bound: Vec<String> = acl.bound().iter().map(ToString::to_string).collect();
    let bound = if bound.is_empty() { "any server".to_owned() } else { bound.join(", ") };
    let mut files = String::new();
    files_text(acl, "File ", &mut files);
    write!(out, "{} ({}), speaks for {bound}\n{files}", escape_text(&acl.name), acl.dialect)?;
    let mut last = String::new();
    for entry in acl.policy().entries() {
        if entry.list != last {
            writeln!(out, "{}", escape_text(&entry.list))?;
            last = entry.list;
        }
        let place = acl.rule(entry.rule).to_string();
        writeln!(out, "  {:<28} {:<18} {place}", escape_text(&entry.matches), escape_text(&entry.action))?;
    }
    Ok(())
}
