//! Statements of a block by name, checked for whether they may stand there.

use super::super::names;
use super::super::syntax::{Block, Item, Statement};
use crate::error::Error;
use crate::expect::acl::spelling::suggestion;
use crate::expect::acl::text::{Files, Span};
use std::collections::BTreeMap;

/// The statements of a block by name.
pub type Map<'a> = BTreeMap<String, Vec<&'a Statement>>;

/// The name of a statement, which must be one of those that may stand here.
pub fn head(
    files: &Files,
    statement: &Statement,
    known: &[&'static [&'static str]],
    place: &str,
) -> Result<String, Error> {
    let Some(Item::Word(word)) = statement.items.first() else {
        return Err(files.error(statement.span, "a statement begins with its name"));
    };
    let text = files.text(*word);
    if names::knows(known, text) {
        if let Some(swallowed) = swallowed(files, statement) {
            return Err(files.error(swallowed, "a semicolon is missing before this statement"));
        }
        return Ok(text.to_ascii_lowercase());
    }
    let hint = suggestion(known, text).map(|name| format!("; perhaps {name} is meant")).unwrap_or_default();
    Err(files.error(*word, &format!("no statement of this name stands {place}{hint}")))
}

/// Detects a statement about access inside another one, whose semicolon is missing: it must not go unnoticed.
pub fn swallowed(files: &Files, statement: &Statement) -> Option<Span> {
    const ABOUT_ACCESS: [&str; 10] = [
        "acl",
        "blackhole",
        "in-view",
        "options",
        "recursion",
        "response-policy",
        "update-policy",
        "view",
        "zone",
        "include",
    ];
    let about_access = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.starts_with("allow-") || text.starts_with("match-") || ABOUT_ACCESS.contains(&text.as_str())
    };
    statement.items.windows(2).enumerate().find_map(|(before, pair)| match &pair[1] {
        Item::Word(word) if about_access(files.text(*word)) => {
            let next_line = files.line(pair[0].span()) < files.line(*word) || pair[0].span().file != word.file;
            (before > 0 || next_line).then_some(*word)
        }
        _ => None,
    })
}

/// Kinds of values of statements that do not concern access but would swallow what follows when a value is missing.
pub fn check_shape(files: &Files, statement: &Statement, name: &str) -> Result<(), Error> {
    const QUOTED: [&str; 4] = ["directory", "file", "key-directory", "managed-keys-directory"];
    const QUOTED_OR_NONE: [&str; 2] = ["pid-file", "session-keyfile"];
    const SWITCHES: [&str; 8] = [
        "auth-nxdomain",
        "automatic-interface-scan",
        "empty-zones-enable",
        "match-mapped-addresses",
        "match-recursive-only",
        "minimal-any",
        "querylog",
        "recursion",
    ];
    let value = match statement.items.as_slice() {
        [_, Item::Quoted(_)] => "quoted",
        [_, Item::Word(word)] => files.text(*word),
        _ => "",
    };
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
    let (fine, takes) = if QUOTED.contains(&name) {
        (is(&["quoted"]), "a file name in quotes")
    } else if QUOTED_OR_NONE.contains(&name) {
        (is(&["quoted", "none"]), "a file name in quotes, or none")
    } else if SWITCHES.contains(&name) {
        (is(&["quoted", "yes", "no", "true", "false", "1", "0"]), "yes or no")
    } else {
        (true, "")
    };
    if fine { Ok(()) } else { Err(files.error(statement.span, &format!("{name} takes {takes}"))) }
}

/// True for base64 as in keys: complete groups of four, padded at the end.
pub fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let fine = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    fine && !digits.is_empty() && text.len().is_multiple_of(4) && text.len() - digits.len() <= 2
}

/// The block of a statement such as `options { ... }`.
pub fn block_of<'a>(files: &Files, statement: &'a Statement) -> Result<&'a Block, Error> {
    match statement.items.last() {
        Some(Item::Block(block)) => Ok(block),
        _ => Err(files.error(statement.span, "a block in braces is missing")),
    }
}

/// Statements that may be given several times.
pub const REPEATED: [&str; 17] = [
    "listen-on",
    "listen-on-v6",
    "disable-empty-zone",
    "dns64",
    "disable-algorithms",
    "disable-ds-digests",
    "dnssec-must-be-secure",
    "zone",
    "server",
    "key",
    "dlz",
    "dyndb",
    "plugin",
    "trust-anchors",
    "managed-keys",
    "trusted-keys",
    "check-names",
];
