//! `acl explain`: reports the verdict for each source and question, with the steps to it.

use super::{Print, Printed, RuleJson, asked, describe, files_json, files_text, json, load, lossy, rule_json};
use crate::config::AclConfig;
use crate::decode::detail;
use crate::error::{Error, escape_text};
use crate::expect::acl::{Acl, compare, name};
use crate::report::json::CitedJson;
use serde::Serialize;
use std::fmt::Write as _;

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
    files: Vec<CitedJson>,
    trace: Vec<StepJson>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    says: String,
    rule: Option<RuleJson>,
}

/// Runs the command.
pub fn explain(config: &AclConfig) -> Result<Printed, Error> {
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
                    files: files_json(acl),
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
        let _ = writeln!(text, "{asked_for}");
        for acl in &speaking {
            files_text(acl, "File ", &mut text);
        }
        text += "The file as read; what the server runs may be something else.\n";
    }
    Ok(Printed { print: Print::Text(text), notes, code: 0 })
}
