//! The `acl` commands from configuration to exit code: explain a verdict, list a table, check an inventory, compare
//! versions.

mod check;
mod diff;
mod explain;
mod list;
mod traffic;

use crate::config::{AclAction, AclConfig};
use crate::error::{Error, ErrorKind, escape_text};
use crate::expect::acl::{Acl, Decision, Rule, Treatment};
use crate::report::json::CitedJson;
use crate::run::Console;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Output of an `acl` command, and its exit code.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub print: Print,
    /// Sentences for standard error.
    pub notes: Vec<String>,
    /// The exit code.
    pub code: u8,
}

/// Content for standard output.
#[derive(Debug)]
pub enum Print {
    /// This text.
    Text(String),
    /// Tables of configurations, which are made while they are written.
    Tables {
        /// The configurations.
        acls: Vec<Acl>,
        /// As JSON.
        json: bool,
    },
}

impl Print {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Text(text) => out.write_all(text.as_bytes()),
            Self::Tables { acls, json } => {
                let mut out = io::BufWriter::with_capacity(WRITTEN, out);
                for acl in acls {
                    if *json { list::write_json(acl, &mut out) } else { list::write_text(acl, &mut out) }?;
                }
                out.flush()
            }
        }
    }
}

/// Bytes of tables written at a time.
const WRITTEN: usize = 64 << 10;

/// Runs an `acl` command. Set `interrupted` from a signal handler to end the reading of a capture.
pub fn run(config: &AclConfig, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Printed, Error> {
    match config.action {
        AclAction::Explain => explain::explain(config),
        AclAction::List => list::list(config),
        AclAction::Check => check::check(config),
        AclAction::Diff => diff::diff(config, console, interrupted),
    }
}

/// Writes the output; that nobody reads it is not a failure.
pub fn write(printed: &Printed, out: &mut dyn Write) -> Result<u8, Error> {
    match printed.print.write(out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let detail = format!("{error}; what was printed is not complete");
            Err(Error::new(ErrorKind::Output, "E-OUT", "standard output", detail))
        }
        _ => Ok(printed.code),
    }
}

/// Loads every configuration that was named.
fn load(config: &AclConfig) -> Result<(Vec<Acl>, Vec<String>), Error> {
    let acls = Acl::load_all(&config.acls, config.root.as_deref(), &config.servers)?;
    let notes = notes(&acls);
    Ok((acls, notes))
}

/// Notes for readers of verdicts.
fn notes<'a>(acls: impl IntoIterator<Item = &'a Acl>) -> Vec<String> {
    let of = |acl: &Acl| -> Vec<String> {
        acl.policy().notes().into_iter().map(|note| format!("{}: {note}", escape_text(&acl.name))).collect()
    };
    acls.into_iter().flat_map(of).collect()
}

/// The files of a configuration, as they were read.
fn files_json(acl: &Acl) -> Vec<CitedJson> {
    acl.files().cited().iter().map(CitedJson::of).collect()
}

/// The same, one line each.
fn files_text(acl: &Acl, before: &str, text: &mut String) {
    for cited in acl.files().cited() {
        let _ = writeln!(text, "{before}{cited}");
    }
}

/// The server to which questions go, when one was named.
fn asked(config: &AclConfig) -> Option<IpAddr> {
    config.servers.first().map(|server| server.address)
}

/// The remark on a source that is allowed, but for a name that the server does not hold.
const NO_RECURSION: &str = ", but without recursion: what the cache holds, or a referral";

/// A rule in JSON.
#[derive(Debug, Serialize)]
pub struct RuleJson {
    file: String,
    line: Option<u64>,
    text: String,
}

impl From<Rule> for RuleJson {
    fn from(rule: Rule) -> Self {
        let line = (rule.line > 0).then_some(rule.line);
        Self { file: rule.file, line, text: rule.text }
    }
}

/// A rule of a decision in JSON.
fn rule_json(acl: &Acl, decision: &Decision) -> Option<RuleJson> {
    decision.rule.map(|rule| acl.rule(rule).into())
}

fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

/// `refuse  unbound.conf:42  access-control: 0.0.0.0/0 refuse`.
fn describe(acl: &Acl, decision: &Decision) -> String {
    let mut text = decision.word.name().to_owned();
    if let Some(rule) = decision.rule.map(|rule| acl.rule(rule)) {
        let _ = write!(text, "  {rule}  {}", rule.text);
    }
    if let Some(reason) = decision.reason {
        let _ = write!(text, "  ({reason})");
    }
    text
}

/// `allow`, and how the request is served as far as that is known: `allow in view internal with recursion`.
fn words(treatment: &Treatment) -> String {
    let mut text = treatment.decision.word.name().to_owned();
    if let Some(serving) = &treatment.serving {
        if let Some(view) = &serving.view {
            let _ = write!(text, " in view {}", escape_text(view));
        }
        text += match serving.recursion {
            Some(true) => " with recursion",
            Some(false) => " without recursion",
            None => "",
        };
    }
    text
}

/// How a request is served, in JSON.
#[derive(Debug, Serialize)]
pub struct ServingJson {
    view: Option<String>,
    recursion: Option<bool>,
}

/// The same for a treatment; `None` where there is only a verdict.
fn serving_json(treatment: &Treatment) -> Option<ServingJson> {
    let view = |view: &Arc<str>| escape_text(view);
    treatment
        .serving
        .as_ref()
        .map(|serving| ServingJson { view: serving.view.as_ref().map(view), recursion: serving.recursion })
}

/// Collects what a writer of printable bytes writes.
fn lossy(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
