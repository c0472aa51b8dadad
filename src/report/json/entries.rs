//! Writes the entries of the report's lists as JSON: inputs, sources, findings, and servers' configurations.

use super::time;
use crate::config::Outcome;
use crate::decode::proxy;
use crate::diagnose::{Finding, Subject};
use crate::error::escape_text;
use crate::expect::acl::text::Cited;
use crate::expect::inventory::show_prefix;
use crate::report::{FileReport, InputReport, Report, SourceLine};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::collections::BTreeMap;

/// A file or interface that was read.
#[derive(Serialize)]
pub struct InputJson<'a> {
    name: String,
    format: Option<&'static str>,
    compression: Option<&'static str>,
    link_types: &'a [String],
    frames: u64,
    first: Option<String>,
    last: Option<String>,
    bytes: u64,
    damage: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refused_only: bool,
}

impl<'a> InputJson<'a> {
    /// The entry of an input; `digits` are the decimal places of its times.
    pub fn of(input: &'a InputReport, digits: usize) -> Self {
        Self {
            name: escape_text(&input.name),
            format: Some(input.format).filter(|format| !format.is_empty()),
            compression: input.compression,
            link_types: &input.link_types,
            frames: input.frames,
            first: time(input.first, digits),
            last: time(input.last, digits),
            bytes: input.bytes,
            damage: input.damage.iter().map(|sentence| escape_text(sentence)).collect(),
            refused_only: input.refused_only,
        }
    }
}

/// One source at one server.
#[derive(Serialize)]
pub struct SourceJson<'a> {
    source: String,
    server: String,
    leg: &'static str,
    name: Option<String>,
    kind: Option<&'a str>,
    /// Null where no queries or answers were captured.
    queries: Option<u64>,
    answered: Option<u64>,
    refused: u64,
    denied: Option<u64>,
    silent: Option<u64>,
    tcp_rejected: Option<u64>,
    unanswered: Option<u64>,
    unsolicited: u64,
    refused_unsolicited: u64,
    udp: u64,
    tcp: u64,
    first: Option<String>,
    last: Option<String>,
    expected: Option<&'a str>,
    expected_rule: Option<String>,
    verdict: Option<&'a str>,
    rule: Option<&'a str>,
    identities: Vec<String>,
    hosts_at_least: Option<u64>,
    /// The source was seen on a DNS port, but no message from or to it was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    without_message: bool,
}

impl<'a> SourceJson<'a> {
    /// The entry of a source of this report; `digits` are the decimal places of its times.
    pub fn of(line: &'a SourceLine, report: &Report, digits: usize) -> Self {
        let alone = line.source.prefix_len() == line.source.max_prefix_len();
        let proxied = report.proxied.get(&(line.server, line.source.addr())).filter(|_| alone);
        let identities = proxied.iter().flat_map(|pair| &pair.clients).map(|client| proxy::identity(*client)).collect();
        let expectation = line.expectation.as_ref();
        let known = |count: u64| Some(count).filter(|_| !report.has_only_refusals());
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            source: show_prefix(line.source),
            server: line.server.to_string(),
            leg: line.leg.name(),
            name: expectation.and_then(|expectation| filled(escape_text(&expectation.name))),
            kind: expectation.map(|expectation| expectation.kind).filter(|kind| !kind.is_empty()),
            queries: known(line.row.queries),
            answered: known(line.count(Outcome::Answered)),
            refused: line.count(Outcome::Refused),
            denied: known(line.count(Outcome::Denied)),
            silent: known(line.count(Outcome::Silent)),
            tcp_rejected: known(line.count(Outcome::TcpRejected)),
            unanswered: known(line.count(Outcome::Unanswered)),
            unsolicited: line.count(Outcome::Unsolicited),
            refused_unsolicited: line.row.rare().refused_unsolicited,
            udp: line.row.udp(),
            tcp: line.row.tcp,
            first: time(line.row.first(), digits),
            last: time(line.row.last(), digits),
            expected: expectation.map(|expectation| expectation.expected),
            expected_rule: expectation.and_then(|expectation| filled(escape_text(&expectation.rule))),
            verdict: line.verdict.as_ref().map(|verdict| verdict.verdict),
            rule: line.verdict.as_ref().map(|verdict| verdict.rule.as_str()).filter(|rule| !rule.is_empty()),
            identities,
            hosts_at_least: None,
            without_message: line.is_without_message(),
        }
    }
}

/// One finding with its frames.
#[derive(Serialize)]
pub struct FindingJson<'a> {
    id: &'a str,
    kind: &'a str,
    grade: &'static str,
    severity: &'static str,
    subject: SubjectJson<'a>,
    says: String,
    count: u64,
    frames: Frames<'a>,
    advice: Option<String>,
    /// Only in a finding that says how many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_listed: Option<u64>,
}

impl<'a> FindingJson<'a> {
    /// The entry of a finding; its frames are listed under the names of these inputs, which are the report's.
    pub fn of(finding: &'a Finding, inputs: &'a [InputReport]) -> Self {
        Self {
            id: &finding.id,
            kind: finding.kind,
            grade: finding.grade.name(),
            severity: finding.severity.name(),
            subject: SubjectJson(&finding.subject),
            says: escape_text(&finding.says),
            count: finding.count,
            frames: Frames { frames: &finding.frames, inputs },
            advice: finding.advice.as_deref().map(escape_text),
            not_listed: Some(finding.not_listed).filter(|more| *more > 0),
        }
    }
}

/// Only the keys that apply are present.
struct SubjectJson<'a>(&'a Subject);

impl Serialize for SubjectJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(server) = self.0.server {
            map.serialize_entry("server", &server.to_string())?;
        }
        let subject = self.0;
        for (key, list) in [
            ("servers", &subject.servers),
            ("sources", &subject.sources),
            ("prefixes", &subject.prefixes),
            ("names", &subject.names),
            ("inside", &subject.inside),
            ("outside", &subject.outside),
        ] {
            if !list.is_empty() {
                map.serialize_entry(key, list)?;
            }
        }
        map.end()
    }
}

/// Frames by the name of their input.
struct Frames<'a> {
    frames: &'a [(usize, Vec<u64>)],
    inputs: &'a [InputReport],
}

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'b> {
            input: String,
            frames: &'b [u64],
        }
        let mut list = serializer.serialize_seq(Some(self.frames.len()))?;
        for (input, frames) in self.frames {
            let name = self.inputs.get(*input).map_or(String::new(), |input| escape_text(&input.name));
            list.serialize_element(&Entry { input: name, frames })?;
        }
        list.end()
    }
}

/// A server's configuration: which bytes were evaluated, and how far the wire agrees with it.
#[derive(Serialize)]
pub struct AclJson {
    dialect: &'static str,
    servers: Vec<String>,
    files: Vec<CitedJson>,
    agreeing: u64,
    differing: u64,
    undecided: BTreeMap<&'static str, u64>,
}

impl AclJson {
    /// The entry of a configuration, as it was evaluated.
    pub fn of(file: &FileReport) -> Self {
        Self {
            dialect: file.dialect,
            servers: file.servers.iter().map(ToString::to_string).collect(),
            files: file.read.iter().map(CitedJson::of).collect(),
            agreeing: file.agreeing,
            differing: file.differing,
            undecided: file.undecided.iter().copied().collect(),
        }
    }
}

/// A configuration file as it was read.
#[derive(Debug, Serialize)]
pub struct CitedJson {
    name: String,
    modified: Option<String>,
    sha256: String,
}

impl CitedJson {
    /// The entry of a configuration file.
    pub fn of(cited: &Cited) -> Self {
        Self { name: cited.name.clone(), modified: time(cited.modified, 0), sha256: cited.sha256.clone() }
    }
}
