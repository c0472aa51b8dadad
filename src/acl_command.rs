//! The `acl` commands from arguments to exit code: explain a verdict, list a table, check an inventory, compare versions.

use crate::config::{AclAction, AclConfig};
use crate::decode::detail;
use crate::error::{Error, escape_text};
use crate::expect::Inventory;
use crate::expect::acl::compare::{self, Question};
use crate::expect::acl::{Acl, Decision, Rule, Word, name};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;

/// What an `acl` command prints, and its exit code.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub text: String,
    /// Sentences for standard error.
    pub notes: Vec<String>,
    /// The exit code.
    pub code: u8,
}

/// Runs an `acl` command.
pub fn run(config: &AclConfig) -> Result<Printed, Error> {
    match config.action {
        AclAction::Explain => explain(config),
        AclAction::List => list(config),
        AclAction::Check => check(config),
        AclAction::Diff => diff(config),
    }
}

/// Writes what was printed; nobody reading it is no reason to fail.
pub fn write(printed: &Printed, out: &mut dyn Write) -> u8 {
    match out.write_all(printed.text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 5,
        _ => printed.code,
    }
}

/// Every configuration that was named.
fn load(config: &AclConfig) -> Result<(Vec<Acl>, Vec<String>), Error> {
    let acls = Acl::load_all(&config.acls, config.root.as_deref(), &config.servers)?;
    let notes = acls
        .iter()
        .flat_map(|acl| acl.policy().notes().into_iter().map(|note| format!("{}: {note}", escape_text(&acl.name))))
        .collect();
    Ok((acls, notes))
}

/// The server that is asked about, when one was named.
fn asked(config: &AclConfig) -> Option<IpAddr> {
    config.servers.first().map(|server| server.address)
}

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

//------------ explain ----------------------------------------------------------

#[derive(Debug, Serialize)]
struct ExplainJson {
    source: String,
    server: Option<String>,
    transport: &'static str,
    opcode: String,
    qname: String,
    qtype: String,
    rd: bool,
    key: Option<String>,
    verdict: &'static str,
    rule: Option<RuleJson>,
    reason: Option<&'static str>,
    acl: String,
    trace: Vec<StepJson>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    says: String,
    rule: Option<RuleJson>,
}

fn lossy(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn explain(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let question = &config.question;
    let mut text = String::new();
    let speaking: Vec<&Acl> =
        acls.iter().filter(|acl| asked(config).is_none_or(|server| acl.speaks_for(server))).collect();
    if let (true, Some(server)) = (speaking.is_empty(), asked(config)) {
        return Err(Error::usage("--server", format!("{server} is no address that a given file speaks for")));
    }
    for source in &config.sources {
        for acl in &speaking {
            let destination = compare::destination(acl, asked(config), *source);
            let (decision, steps) = acl.explain(&question.ask(*source, destination));
            if config.json {
                text += &json(&ExplainJson {
                    source: source.to_string(),
                    server: (!destination.is_unspecified()).then(|| destination.to_string()),
                    transport: question.transport.name(),
                    opcode: lossy(|out| detail::write_opcode(question.opcode, out)),
                    qname: name::show_name(&question.qname),
                    qtype: lossy(|out| detail::write_type(question.qtype, out)),
                    rd: question.rd,
                    key: question.key.as_deref().map(name::show_name),
                    verdict: decision.word.name(),
                    rule: rule_json(acl, &decision),
                    reason: decision.reason,
                    acl: escape_text(&acl.name),
                    trace: steps
                        .iter()
                        .map(|step| StepJson {
                            says: escape_text(&step.says),
                            rule: step.rule.map(|rule| acl.rule(rule).into()),
                        })
                        .collect(),
                });
                continue;
            }
            let _ = writeln!(text, "{source}  {}", describe(acl, &decision));
            for step in &steps {
                let place = step.rule.map(|rule| acl.rule(rule));
                let place = place.map(|rule| format!("{rule}: ")).unwrap_or_default();
                let _ = writeln!(text, "    {place}{}", escape_text(&step.says));
            }
        }
    }
    if !config.json {
        let mut asked_for = format!(
            "for {} {} {}{} over {}",
            lossy(|out| detail::write_opcode(question.opcode, out)),
            name::show_name(&question.qname),
            lossy(|out| detail::write_type(question.qtype, out)),
            if question.rd { "" } else { " without RD" },
            question.transport.name()
        );
        if let Some(key) = &question.key {
            let _ = write!(asked_for, " signed with {}", name::show_name(key));
        }
        let _ = writeln!(text, "{asked_for}\nThe file as read; what the server runs may be something else.");
    }
    Ok(Printed { text, notes, code: 0 })
}

//------------ list -------------------------------------------------------------

#[derive(Debug, Serialize)]
struct EntryJson {
    acl: String,
    list: String,
    matches: String,
    action: String,
    rule: RuleJson,
}

fn list(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let mut text = String::new();
    for acl in &acls {
        let entries = acl.policy().entries();
        if config.json {
            let entries: Vec<EntryJson> = entries
                .into_iter()
                .map(|entry| EntryJson {
                    acl: escape_text(&acl.name),
                    list: escape_text(&entry.list),
                    matches: escape_text(&entry.matches),
                    action: entry.action,
                    rule: acl.rule(entry.rule).into(),
                })
                .collect();
            text += &json(&entries);
            continue;
        }
        let bound: Vec<String> = acl.bound().iter().map(ToString::to_string).collect();
        let bound = if bound.is_empty() { "any server".to_owned() } else { bound.join(", ") };
        let _ = writeln!(text, "{} ({}), speaks for {bound}", escape_text(&acl.name), acl.dialect);
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

//------------ check ------------------------------------------------------------

#[derive(Debug, Serialize)]
struct CheckJson {
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

fn check(config: &AclConfig) -> Result<Printed, Error> {
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
            differences.push(CheckJson {
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
    if config.json {
        text = json(&differences);
    } else if differences.is_empty() {
        let _ = writeln!(text, "Every inventory line is as expected, whole.");
    }
    Ok(Printed { text, notes, code: if differences.is_empty() { 0 } else { 10 } })
}

//------------ diff -------------------------------------------------------------

#[derive(Debug, Serialize)]
struct DiffJson {
    changes: Vec<ChangeJson>,
    without_effect: Vec<WithoutEffectJson>,
}

#[derive(Debug, Serialize)]
struct ChangeJson {
    range: String,
    prefixes: Vec<String>,
    before: &'static str,
    before_rule: Option<RuleJson>,
    after: &'static str,
    after_rule: Option<RuleJson>,
    questions: Vec<String>,
    intended: bool,
}

#[derive(Debug, Serialize)]
struct WithoutEffectJson {
    list: String,
    matches: String,
    rule: RuleJson,
    verdict: &'static str,
    decided_by: Option<RuleJson>,
}

fn diff(config: &AclConfig) -> Result<Printed, Error> {
    let (acls, notes) = load(config)?;
    let [old, new] = acls.as_slice() else {
        return Err(Error::usage("acl diff", "takes two files, the old one and the new one"));
    };
    let intended = Inventory::load(&config.intended)?;
    let servers: Vec<IpAddr> = config.servers.iter().map(|server| server.address).collect();
    let found = compare::diff(old, new, &servers);
    let meant = |change: &compare::Change| {
        let prefixes = change.range.prefixes();
        !prefixes.is_empty()
            && prefixes.iter().all(|prefix| match intended.decide_prefix(*prefix).row().map(|row| row.expect) {
                Some(crate::expect::Expect::Allow) => change.after.word == Word::Allow,
                Some(crate::expect::Expect::Refuse) => {
                    matches!(change.after.word, Word::Refuse | Word::Drop | Word::NotAuth)
                }
                None => false,
            })
    };
    let unintended = found.changes.iter().filter(|change| !meant(change)).count();
    let code = if config.check && unintended > 0 { 10 } else { 0 };
    let labels = |change: &compare::Change| -> Vec<String> {
        let all = change.questions.len() == found.questions.len();
        if all { vec!["every question".to_owned()] } else { question_labels(&found.questions, &change.questions) }
    };
    if config.json {
        let report = DiffJson {
            changes: found
                .changes
                .iter()
                .map(|change| ChangeJson {
                    range: change.range.show(),
                    prefixes: change.range.prefixes().iter().take(64).map(ToString::to_string).collect(),
                    before: change.before.word.name(),
                    before_rule: rule_json(old, &change.before),
                    after: change.after.word.name(),
                    after_rule: rule_json(new, &change.after),
                    questions: change.questions.iter().map(|number| found.questions[*number].label.clone()).collect(),
                    intended: meant(change),
                })
                .collect(),
            without_effect: found
                .without_effect
                .iter()
                .map(|without| WithoutEffectJson {
                    list: escape_text(&without.entry.list),
                    matches: escape_text(&without.entry.matches),
                    rule: new.rule(without.entry.rule).into(),
                    verdict: without.decision.word.name(),
                    decided_by: rule_json(new, &without.decision),
                })
                .collect(),
        };
        return Ok(Printed { text: json(&report), notes, code });
    }
    let mut text = String::new();
    for without in &found.without_effect {
        let _ = writeln!(
            text,
            "NO EFFECT  {} added to {} at {}: its sources are decided as before, {}",
            escape_text(&without.entry.matches),
            escape_text(&without.entry.list),
            new.rule(without.entry.rule),
            describe(new, &without.decision)
        );
    }
    for change in &found.changes {
        let _ = writeln!(
            text,
            "{}  {} -> {}  {}{}",
            if change.after.word == Word::Allow {
                "OPENS "
            } else if change.before.word == Word::Allow {
                "CLOSES"
            } else {
                "CHANGES"
            },
            change.before.word.name(),
            change.after.word.name(),
            change.range.show(),
            if meant(change) { "  (intended)" } else { "" }
        );
        let _ = writeln!(text, "    for {}", labels(change).join(", "));
        let _ = writeln!(text, "    was {}", describe(old, &change.before));
        let _ = writeln!(text, "    now {}", describe(new, &change.after));
    }
    if found.changes.is_empty() {
        let _ = writeln!(text, "No verdict changes for any source.");
    } else {
        let _ = writeln!(text, "{} changed, {unintended} of them not intended", ranges_counted(found.changes.len()));
    }
    Ok(Printed { text, notes, code })
}

fn ranges_counted(count: usize) -> String {
    if count == 1 { "1 range".to_owned() } else { format!("{count} ranges") }
}

/// The first few labels.
fn question_labels(questions: &[Question], numbers: &[usize]) -> Vec<String> {
    const SHOWN: usize = 6;
    let mut labels: Vec<String> = numbers.iter().take(SHOWN).map(|number| questions[*number].label.clone()).collect();
    if numbers.len() > SHOWN {
        labels.push(format!("{} more", numbers.len() - SHOWN));
    }
    labels
}
