//! Sources that are served only because the file admits everybody.

use super::Found;
use super::scene::{Scene, times};
use super::server_classes::ServerClasses;
use super::verdicts::{Group, finding, groups, who};
use crate::config::{Outcome, Severity};
use crate::expect::acl::compare::{Question, destination, treated_within};
use crate::expect::acl::{Decision, Place, RuleId, Treatment, Word};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "covered-only-by-any";

/// Most differently treated parts of the address space examined for one finding. Where there are more, nothing is said.
const PARTS: usize = 65_536;
/// Most questions examined, for want of time.
const LOOKED: usize = 64;

/// Makes one finding per server and rule.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let Some(verdicts) = scene.verdicts else { return };
    let everybody: HashMap<usize, HashSet<RuleId>> = verdicts
        .acls
        .iter()
        .enumerate()
        .map(|(number, acl)| {
            let entries = acl.policy().entries_once().into_iter().filter(|entry| {
                let wide = entry.prefix.is_some_and(|prefix| prefix.prefix_len() == 0);
                wide && entry.admits && matches!(acl.place(entry.rule), Place::Text(_))
            });
            (number, entries.map(|entry| entry.rule).collect())
        })
        .collect();
    let answered = [Outcome::Answered];
    let mut groups = groups(scene, |_, tally| {
        let by_any = tally.judged.acl.zip(tally.judged.decision.rule);
        tally.judged.decision.word == Word::Allow
            && tally.count(Outcome::Answered) > 0
            && by_any.is_some_and(|(acl, rule)| everybody.get(&acl).is_some_and(|rules| rules.contains(&rule)))
    });
    let mut others = Others::default();
    found.all(groups.iter_mut().filter_map(|group| {
        let likewise = others.likewise(group)?;
        let mut finding = finding(scene, KIND, Severity::Info, group, &answered, false);
        finding.says = format!(
            "Only {} covers {}, whom {} answered {}: {likewise}.",
            group.describe(),
            who(scene, &group.sources(&answered)),
            group.server,
            times(group.count(&answered))
        );
        Some(finding)
    }));
}

/// What was found about everybody else.
#[derive(Default)]
struct Others {
    classes: HashMap<usize, ServerClasses>,
    known: Vec<(Asked, Option<Rest>)>,
}

/// A file's number, its rule, the class of the server, and the question.
type Asked = (usize, Option<RuleId>, IpAddr, Question);

/// How most addresses are served, and what that says of everybody else.
type Rest = (Treatment, &'static str);

impl Others {
    /// Who else is served by the rule of a group. Determined once for servers that the file treats alike; beyond
    /// `LOOKED` questions nothing is said. Members that are served differently from most addresses leave the group:
    /// another line is about them.
    fn likewise(&mut self, group: &mut Group<'_>) -> Option<&'static str> {
        let (source, tally) = group.members.iter().max_by_key(|(_, tally)| tally.count(Outcome::Answered))?;
        let question = tally.most_asked(|_| true).map(|(question, _)| question.clone()).unwrap_or_default();
        let classes = self.classes.entry(group.number).or_insert_with(|| ServerClasses::of(group.acl));
        let asked = (group.number, group.rule, classes.class(group.server), question);
        let place = match self.known.iter().position(|(known, _)| *known == asked) {
            Some(place) => place,
            None if self.known.len() >= LOOKED => return None,
            None => {
                let rest = rest(group, source.is_ipv4(), &asked.3);
                self.known.push((asked, rest));
                self.known.len() - 1
            }
        };
        let ((.., question), Some((most, says))) = &self.known[place] else { return None };
        let (acl, server) = (group.acl, group.server);
        let treated = |source| acl.treat(&question.ask(source, destination(acl, Some(server), source)));
        group.members.retain(|(source, _)| treated(*source) == *most);
        (!group.members.is_empty()).then_some(says)
    }
}

/// Who else is served by the rule of a group. The rule admits everybody who reaches it, but earlier lists may let
/// hardly anybody reach it.
fn rest(group: &Group<'_>, v4: bool, question: &Question) -> Option<Rest> {
    let everybody = if v4 { IpNet::from(Ipv4Net::default()) } else { IpNet::from(Ipv6Net::default()) };
    let (parts, all) = treated_within(group.acl, everybody, question, Some(group.server), PARTS);
    if !all {
        return None;
    }
    // Halved, because the number of all IPv6 addresses does not fit.
    let mut by_rule: Vec<(&Treatment, u128)> = Vec::new();
    for (range, treatment) in &parts {
        let addresses = (range.last - range.first) / 2;
        let Decision { word, rule, .. } = treatment.decision;
        match by_rule.iter_mut().find(|(known, _)| *known == treatment) {
            Some((_, sum)) => *sum += addresses,
            None if word == Word::Allow && rule == group.rule => by_rule.push((treatment, addresses)),
            None => {}
        }
    }
    let half = 1 << (everybody.max_prefix_len() - 2);
    let (most, _) = by_rule.into_iter().find(|(_, addresses)| *addresses >= half)?;
    let alike = |other: &Treatment| other.decision.word == Word::Allow && other.serving == most.serving;
    let says = if parts.iter().all(|(_, other)| alike(other)) {
        "everybody else is served likewise"
    } else {
        "everybody for whom no other line decides is served likewise"
    };
    Some((most.clone(), says))
}
