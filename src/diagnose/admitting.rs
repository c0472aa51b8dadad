//! The narrowest change of a server's file that serves refused sources, and what else that change does.

use super::scene::{Scene, some};
use super::verdicts::describe;
use crate::error::escape_text;
use crate::expect::acl::advice::{self, Advice, Ended, NoAdvice, Observed};
use crate::expect::acl::compare::{Question, Range};
use crate::expect::acl::cover::{self, Cover};
use crate::expect::acl::network::is_public;
use crate::expect::acl::{Acl, Word, name};
use crate::expect::inventory::{Expect, Row, show_prefix};
use crate::report::page::grouped;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Most prefixes admitted one by one; more sources are joined where that is safe.
const ADMITTED: usize = 4;
/// Most sources that are joined at all; when there are more, the advice is about the first.
const JOINED: usize = 4096;
/// Most questions that a change is to serve besides the most frequent one.
const QUESTIONS: usize = 8;
/// Most keys tried.
const KEYS: usize = 64;
/// Most side effects named.
const EFFECTS: usize = 5;
/// Sources in no inventory line are joined no wider than one network of theirs: /24 and /64.
const UNLISTED_BITS: [u8; 2] = [8, 64];

/// The advice for serving these sources: the change, what it does to everybody else seen here, and what it means.
pub fn admitting<'q>(
    scene: &Scene<'q>,
    acl: &Acl,
    server: IpAddr,
    sources: &[IpAddr],
    question: &'q Question,
) -> String {
    let wanted: Vec<IpAddr> = sources.iter().copied().filter(|source| !is_to_be_refused(scene, *source)).collect();
    let key = wanted.first().and_then(|source| key_that_admits(acl, question, *source, server));
    if !question.is_usual() {
        // An address does not show who may transfer or change a zone: over UDP it can be forged, and others share it.
        return match key {
            Some(key) => format!("Sign such requests with the key {}: the list asks for one.", name::show_name(&key)),
            None => String::new(),
        };
    }
    let covers = covers(scene, server, &wanted);
    let mut sentences: Vec<String> = Vec::new();
    if let Some(key) = key {
        sentences.push(format!(
            "Signed with the key {} it is allowed already; an address that is added needs none.",
            name::show_name(&key)
        ));
    }
    let search = Search { scene, acl, server, observed: observed(scene, acl) };
    let mut changed: Option<Advice> = None;
    let mut admitted: Vec<(&Cover, Vec<&Question>)> = Vec::new();
    // What the change does not achieve for an address, by what it would get and what it asks for.
    let mut leads_elsewhere: Vec<(String, String)> = Vec::new();
    let mut turned_away: Vec<(String, String)> = Vec::new();
    let mut not_found_out: Vec<String> = Vec::new();
    for cover in covers.iter().take(ADMITTED) {
        let current = changed.as_ref().map_or(acl, |advice| &advice.acl);
        let shown = show_prefix(cover.prefix);
        match search.change(current, cover, question) {
            Ok(Found { advice, served, left }) => {
                let edits: Vec<&str> = advice.edits.iter().map(|edit| edit.says.as_str()).collect();
                sentences.push(format!("To admit {shown}: {}.", edits.join(" and ")));
                let elsewhere: Vec<String> =
                    served.iter().filter(|(_, known)| !known).map(|(question, _)| question.show()).collect();
                if !elsewhere.is_empty() {
                    leads_elsewhere.push((shown.clone(), some(&elsewhere, EFFECTS)));
                }
                if !left.is_empty() {
                    turned_away.push((shown.clone(), some(&left, EFFECTS)));
                }
                admitted.push((cover, served.into_iter().map(|(question, _)| question).collect()));
                changed = Some(advice);
            }
            Err(NoAdvice::Public) => sentences.push(format!(
                "{shown} is reachable from the public internet: admitting it is not advised here (--advise-public)."
            )),
            Err(NoAdvice::NoPlace) => {
                let decision = current.decide(&question.ask(cover.members[0], server));
                sentences.push(format!(
                    "No list was found in which adding {shown} would be enough; {} decides.",
                    describe(current, decision.rule)
                ));
            }
            Err(NoAdvice::Harmful) => sentences.push(format!(
                "Adding {shown} where it would help turns away what is allowed now, or serves it otherwise: no change is advised."
            )),
            Err(NoAdvice::GivenUp) => not_found_out.push(shown),
            Err(NoAdvice::Admitted | NoAdvice::Everybody) => {}
        }
    }
    let only = covers.len() == 1;
    sentences.extend(alike(&leads_elsewhere).map(|(who, asked)| {
        let that = if only { "That".to_owned() } else { format!("For {who} that") };
        format!("{that} does not lead to a view that knows the name, but elsewhere, for {asked}.")
    }));
    sentences.extend(alike(&turned_away).map(|(who, asked)| {
        let who = if only { "It".to_owned() } else { who };
        format!("{who} would still be turned away asking for {asked}.")
    }));
    if !not_found_out.is_empty() {
        sentences.push(format!("What would admit {} was not found out.", not_found_out.join(", ")));
    }
    if let Some(ended) = scene.effort.tell_ended() {
        sentences.push(says_ended(acl, ended));
    }
    if covers.len() > ADMITTED {
        let left: usize = covers.iter().skip(ADMITTED).map(|cover| cover.members.len()).sum();
        let left = left + wanted.len().saturating_sub(JOINED);
        sentences.push(format!("Likewise for {} more, which no safe prefix joins with these.", grouped(left as u64)));
    }
    if let Some(advice) = changed {
        sentences.extend(what_that_admits(scene, &admitted));
        sentences.push(side_effects(acl, &search.observed, &advice, &admitted));
    }
    sentences.join(" ")
}

/// The search for changes of one server's file.
struct Search<'s, 'q> {
    scene: &'s Scene<'q>,
    acl: &'s Acl,
    server: IpAddr,
    /// What was asked here and is allowed, which no change may turn away.
    observed: Vec<Observed<'q>>,
}

/// A change that was found for one prefix.
struct Found<'q> {
    advice: Advice,
    /// The questions it serves, and for each whether by a view that knows the name, where there is one.
    served: Vec<(&'q Question, bool)>,
    /// The questions that would still be turned away.
    left: Vec<String>,
}

impl<'q> Search<'_, 'q> {
    /// The narrowest change of `current` that lets a prefix ask this question, and its other questions as far as
    /// possible.
    fn change(&self, current: &Acl, cover: &Cover, question: &'q Question) -> Result<Found<'q>, NoAdvice> {
        let others = likewise(self.scene, self.acl, self.server, cover, question);
        let found = self.in_order(current, cover, question, &others)?;
        let Some((first, _)) = found.served.iter().skip(1).find(|(_, known)| !known) else { return Ok(found) };
        // The place where a less frequent name is known has precedence if all other questions are served there as well.
        let rest: Vec<&Question> =
            std::iter::once(question).chain(others.iter().copied().filter(|other| other != first)).collect();
        let serves_all = |found: &Found<'_>| found.left.is_empty() && found.served.iter().all(|(_, known)| *known);
        Ok(self.in_order(current, cover, first, &rest).ok().filter(serves_all).unwrap_or(found))
    }

    /// The same, one question after the other.
    fn in_order(
        &self,
        current: &Acl,
        cover: &Cover,
        first: &'q Question,
        others: &[&'q Question],
    ) -> Result<Found<'q>, NoAdvice> {
        let (members, server, effort) = (&cover.members, self.server, &self.scene.effort);
        let harmless = |changed: &Acl| {
            effort.decides(2 * self.observed.len()) && advice::is_harmless(self.acl, changed, &self.observed)
        };
        let public = self.scene.advise_public;
        let admit = |current: &Acl, question: &Question| {
            advice::admit(current, cover.prefix, members, question, server, public, &harmless, effort)
        };
        let is_known = |acl: &Acl, question: &Question| advice::serves_what_is_known(acl, members, question, server);
        // A change for one question must not take from another what it has, nor move a name from the view that knows
        // it.
        let keeps = |acl: &Acl, served: &[(&Question, bool)]| {
            served.iter().all(|(question, known)| {
                advice::serves(acl, members, question, server) && (!known || is_known(acl, question))
            })
        };
        let mut advice = admit(current, first)?;
        let mut served = vec![(first, is_known(&advice.acl, first))];
        let mut left: Vec<String> = Vec::new();
        for other in others.iter().copied() {
            match admit(&advice.acl, other) {
                Ok(mut further) if keeps(&further.acl, &served) => {
                    further.edits.splice(0..0, advice.edits);
                    advice = further;
                    served.push((other, is_known(&advice.acl, other)));
                }
                Err(NoAdvice::Admitted) => served.push((other, is_known(&advice.acl, other))),
                Ok(_) | Err(_) => left.push(other.show()),
            }
        }
        // The change for one question may suffice for another that was looked at before.
        advice = advice.without_needless(effort, &|less| harmless(less) && keeps(less, &served));
        Ok(Found { advice, served, left })
    }
}

/// Why the search for a change was given up, with what may be tried instead.
fn says_ended(acl: &Acl, ended: Ended) -> String {
    match ended {
        Ended::Interrupted => "A signal ended the search for changes.".to_owned(),
        Ended::Spent => format!(
            "The search for changes was given up there: to try one out takes reading {} again, which is as much as {} \
             elements of lists, and asking again for everybody seen here.",
            escape_text(&acl.name),
            grouped(acl.elements())
        ),
    }
}

/// Says once what applies to several addresses, with all of them.
fn alike(said: &[(String, String)]) -> impl Iterator<Item = (String, &str)> {
    let mut once: Vec<(Vec<&str>, &str)> = Vec::new();
    for (who, what) in said {
        match once.iter_mut().find(|(_, known)| known == what) {
            Some((all, _)) => all.push(who),
            None => once.push((vec![who], what)),
        }
    }
    once.into_iter().map(|(who, what)| (who.join(", "), what))
}

/// The other questions of a prefix's sources that the same rule now turns away.
fn likewise<'s>(scene: &Scene<'s>, acl: &Acl, server: IpAddr, cover: &Cover, question: &Question) -> Vec<&'s Question> {
    let Some(verdicts) = scene.verdicts else { return Vec::new() };
    let mut others: Vec<&'s Question> = Vec::new();
    for source in cover.members.iter().take(ADMITTED) {
        let decision = acl.decide(&question.ask(*source, server));
        for (_, tally) in
            verdicts.of(IpNet::from(*source), server).filter(|(_, tally)| tally.judged.decision == decision)
        {
            let usual =
                tally.questions.iter().map(|(other, _)| other).filter(|other| other.is_usual() && *other != question);
            for other in usual {
                if others.len() < QUESTIONS && !others.contains(&other) {
                    others.push(other);
                }
            }
        }
    }
    others
}

/// A key with which the request would be allowed, though it is not without one.
fn key_that_admits(acl: &Acl, question: &Question, source: IpAddr, server: IpAddr) -> Option<Vec<u8>> {
    let asks = |key: &Vec<u8>| Question { key: Some(key.clone()), ..question.clone() };
    let admits = |key: &Vec<u8>| acl.decide(&asks(key).ask(source, server)).word == Word::Allow;
    acl.policy().keys().into_iter().filter(|key| question.key.as_ref() != Some(key)).take(KEYS).find(admits)
}

/// True when the inventory expects this source to be refused.
fn is_to_be_refused(scene: &Scene<'_>, source: IpAddr) -> bool {
    scene.inventory.decide(source).row().is_some_and(|row| row.expect == Expect::Refuse)
}

/// The sources as prefixes: one by one while they are few, else joined. A joined prefix contains no other source seen
/// at this server, nothing that is to be refused, and no public address (unless that was asked for); it stays inside
/// the inventory line of its sources, or inside one network when there is none.
fn covers(scene: &Scene<'_>, server: IpAddr, sources: &[IpAddr]) -> Vec<Cover> {
    let all: BTreeSet<IpAddr> = sources.iter().copied().collect();
    let members: Vec<IpAddr> = sources.iter().take(JOINED).copied().collect();
    let mut others: BTreeSet<IpAddr> = BTreeSet::new();
    for (source, _) in scene.judged_at(server) {
        if !all.contains(&source) {
            others.insert(source);
        }
    }
    let refused: Vec<Range> =
        scene.inventory.rows().iter().filter(|row| row.expect == Expect::Refuse).flat_map(around_row).collect();
    let may = |prefix: IpNet| {
        let range = Range::of(prefix);
        let free = others.range(prefix.network()..=prefix.broadcast()).next().is_none();
        let bits = prefix.max_prefix_len() - prefix.prefix_len();
        // The line of the first address counts for the prefix when it contains all of it.
        let near = match scene.inventory.decide(prefix.network()).row() {
            Some(row) => around_row(row).any(|line| line.holds(range)),
            None => bits <= UNLISTED_BITS[usize::from(prefix.addr().is_ipv6())],
        };
        free && near && (scene.advise_public || !is_public(prefix)) && !refused.iter().any(|line| line.touches(range))
    };
    cover::join(&members, ADMITTED, may)
}

/// The ranges of an inventory line: its prefix and its outside.
fn around_row(row: &Row) -> impl Iterator<Item = Range> + '_ {
    std::iter::once(row.prefix).chain(row.outside.iter().copied()).map(Range::of)
}

/// Whom a change admits besides the sources that were seen: a translated address stands for everyone behind it.
fn what_that_admits(scene: &Scene<'_>, admitted: &[(&Cover, Vec<&Question>)]) -> Vec<String> {
    let mut sentences = Vec::new();
    let wide = admitted.iter().map(|(cover, _)| cover).filter(|cover| cover.members.len() > 1);
    for cover in wide {
        sentences.push(format!(
            "{} has {} addresses, of which {} were seen here.",
            show_prefix(cover.prefix),
            cover::size(cover.prefix),
            grouped(cover.members.len() as u64)
        ));
    }
    let members: BTreeSet<IpAddr> = admitted.iter().flat_map(|(cover, _)| cover.members.iter().copied()).collect();
    // Several lines may share an `outside`.
    let is_seen = |outside: &IpNet| members.range(outside.network()..=outside.broadcast()).next().is_some();
    let behind = scene.inventory.rows().iter().filter(|row| row.outside.iter().any(is_seen));
    let rows: Vec<&Row> = behind.collect();
    sentences.push(match rows.as_slice() {
        [] => "That admits everyone behind such an address.".to_owned(),
        rows => {
            let names: Vec<String> = rows.iter().map(|row| row.describe()).collect();
            format!(
                "That admits everyone behind such an address: {}, and whoever else is translated to it.",
                some(&names, EFFECTS)
            )
        }
    });
    sentences
}

/// Everything that sources seen here ask of the servers of a file.
fn observed<'s>(scene: &Scene<'s>, acl: &Acl) -> Vec<Observed<'s>> {
    let pairs = scene.verdicts.map_or(&[][..], |verdicts| &verdicts.pairs);
    pairs
        .iter()
        .filter(|((_, at), _)| acl.speaks_for(*at))
        .flat_map(|((source, at), tallies)| {
            // Where the present verdict is unknown, no change of it can be known.
            tallies.iter().filter(|tally| tally.judged.decision.word != Word::Unknown).flat_map(move |tally| {
                let before = tally.judged.decision;
                let observed = move |question| Observed { source: *source, server: *at, question, before };
                tally.questions.iter().map(move |(question, _)| observed(question))
            })
        })
        .collect()
}

/// Evaluates every source seen here again under the changed file.
fn side_effects(
    acl: &Acl,
    observed: &[Observed<'_>],
    advice: &Advice,
    admitted: &[(&Cover, Vec<&Question>)],
) -> String {
    let members: BTreeSet<IpAddr> = admitted.iter().flat_map(|(cover, _)| cover.members.iter().copied()).collect();
    let is_meant = |one: &Observed<'_>| {
        let meant = |(cover, served): &(&Cover, Vec<&Question>)| {
            served.contains(&one.question) && cover.members.contains(&one.source)
        };
        members.contains(&one.source) && admitted.iter().any(meant)
    };
    let mut sentences: Vec<String> = Vec::new();
    let effects = advice::side_effects(advice, &members, &is_meant, observed);
    if !effects.is_empty() {
        let shown: Vec<String> = effects
            .iter()
            .map(|(source, before, after, told)| {
                let asked = told.map(|question| format!(" for {}", question.show()));
                format!("{source} {} -> {}{}", before.name(), after.name(), asked.unwrap_or_default())
            })
            .collect();
        sentences.push(format!("It also changes: {}.", some(&shown, EFFECTS)));
    }
    let moved = advice::view_effects(acl, advice, observed);
    if !moved.is_empty() {
        let name = |view: &Option<Arc<str>>| {
            view.as_deref().map_or("no view".to_owned(), |view| format!("view {}", escape_text(view)))
        };
        let shown: Vec<String> = moved
            .iter()
            .map(|(source, before, after)| format!("{source} {} -> {}", name(before), name(after)))
            .collect();
        sentences.push(format!("It also answers from another view, whose data may differ: {}.", some(&shown, EFFECTS)));
    }
    let recursion = advice::recursion_effects(acl, advice, &is_meant, observed);
    for (begins, says) in [(true, "It also allows recursion to"), (false, "It also ends recursion for")] {
        let sources = recursion.iter().filter(|(_, after)| *after == begins);
        let shown: Vec<String> = sources.map(|(source, _)| source.to_string()).collect();
        if !shown.is_empty() {
            sentences.push(format!("{says} {}.", some(&shown, EFFECTS)));
        }
    }
    if sentences.is_empty() {
        return "Nothing else that was looked at of what was asked here would be treated differently.".to_owned();
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::config::OutcomeCounts;
    use crate::expect::Inventory;
    use crate::expect::acl::advice::Effort;
    use crate::expect::acl::judge::{Judged, Tally, Verdicts};
    use crate::report::Report;
    use std::sync::atomic::AtomicBool;

    /// What is advised for two sources with these efforts, one after the other; `None` is a signal's.
    fn advised(efforts: &[Option<u64>]) -> Vec<String> {
        let text = "options { allow-query { 10.1.0.0/16; }; };\n";
        let acls: Arc<[Acl]> = vec![Acl::from_text("bind-9.18:named.conf", text, &[]).unwrap()].into();
        let acl = &acls[0];
        let (server, usual) = ("10.53.0.1".parse().unwrap(), Question::default());
        let sources: [IpAddr; 2] = ["10.8.8.8".parse().unwrap(), "10.9.9.9".parse().unwrap()];
        let tally = |source: &IpAddr| Tally {
            judged: Judged { acl: Some(0), decision: acl.decide(&usual.ask(*source, server)) },
            questions: vec![(usual.clone(), 1)],
            outcomes: OutcomeCounts::default(),
            errors: 0,
            frames: Default::default(),
        };
        let pairs = sources.iter().map(|source| ((*source, server), vec![tally(source)])).collect();
        let verdicts = Verdicts { acls: Arc::clone(&acls), pairs, not_kept: 0 };
        let (report, inventory, limits) = (Report::default(), Inventory::default(), Limits::default());
        let mut scene = Scene::of(&report, &inventory, &limits).with_files(&verdicts);
        let signal = Arc::new(AtomicBool::new(true));
        let each = efforts.iter().map(|effort| {
            scene.effort = match effort {
                Some(elements) => Effort::new(*elements, None),
                None => Effort::new(u64::MAX, Some(&signal)),
            };
            admitting(&scene, acl, server, &sources, &usual)
        });
        each.collect()
    }

    #[test]
    fn a_search_that_was_given_up_finds_nothing_out_and_says_so() {
        let advised = advised(&[Some(u64::MAX), Some(300), Some(10), None]);
        assert!(
            advised[0].starts_with("To admit 10.8.8.8: ") && advised[0].contains("To admit 10.9.9.9: "),
            "{advised:?}"
        );
        assert!(!advised[0].contains("given up") && !advised[0].contains("signal"), "{advised:?}");
        // Enough for one of them.
        let given_up = "The search for changes was given up there: to try one out takes reading named.conf again";
        assert!(advised[1].starts_with("To admit 10.8.8.8: "), "{advised:?}");
        assert!(
            advised[1].contains(&format!("What would admit 10.9.9.9 was not found out. {given_up}")),
            "{advised:?}"
        );
        let neither = "What would admit 10.8.8.8, 10.9.9.9 was not found out. ";
        assert!(advised[2].starts_with(&format!("{neither}{given_up}")), "{advised:?}");
        assert_eq!(advised[3], format!("{neither}A signal ended the search for changes."));
    }
}
