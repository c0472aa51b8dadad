//! The narrowest change that admits a source: found by editing the text, reading it again and deciding again.

mod effort;

use super::compare::Question;
use super::network::is_public;
use super::places::{at_the_end, in_list, spaced};
use super::{Acl, Decision, Spot, Step, Word};
pub use effort::{Effort, Ended};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Most consecutive edits of one change: a view's list, the cache's, recursion's and a zone's.
const EDITS: usize = 6;
/// Most views tried that know a name; each try reads the file again.
const VIEWS: usize = 4;

/// Added to a text that shows a list in place of a default.
const REPLACED: &str = "(with localnets and localhost, the default that it replaces)";

/// A line or element to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// `file:line` of the line to which it belongs or after which it comes.
    pub place: String,
    /// What to do, in words.
    pub says: String,
    /// What to add.
    pub text: String,
    /// The file, and the byte range of the insertion at the time of the edit.
    path: PathBuf,
    at: usize,
    inserted: String,
}

/// A change that admits a source.
#[derive(Debug)]
pub struct Advice {
    /// The edits, in the order they were found.
    pub edits: Vec<Edit>,
    /// The configuration with them.
    pub acl: Acl,
}

impl Advice {
    /// Removes each edit that later ones made unnecessary: `serves` still holds for the configuration without it.
    #[must_use]
    pub fn without_needless(mut self, effort: &Effort<'_>, serves: &dyn Fn(&Acl) -> bool) -> Self {
        let mut index = 0;
        while index < self.edits.len() && self.edits.len() > 1 {
            match self.without(index, effort).filter(|less| serves(&less.acl)) {
                Some(less) => self = less,
                None => index += 1,
            }
        }
        self
    }

    /// The same change without one edit, where the edit can be told apart from the others.
    fn without(&self, index: usize, effort: &Effort<'_>) -> Option<Self> {
        let mut edits = self.edits.clone();
        let Edit { path, mut at, inserted, .. } = edits.remove(index);
        for later in edits[index..].iter_mut().filter(|later| later.path == path) {
            if later.at <= at {
                at += later.inserted.len();
            } else if later.at >= at + inserted.len() {
                later.at -= inserted.len();
            } else {
                // The edit is inside an insertion.
                return None;
            }
        }
        let file = self.acl.files().list().iter().find(|file| file.path == path)?;
        let mut text = file.text.clone();
        let place = at..at + inserted.len();
        if text.get(place.clone()) != Some(&inserted) {
            return None;
        }
        text.replace_range(place, "");
        Some(Self { edits, acl: effort.changed(&self.acl, BTreeMap::from([(path, text)]))? })
    }
}

/// True when each of these sources is served a question, with recursion where it is needed.
pub fn serves(acl: &Acl, sources: &[IpAddr], question: &Question, server: IpAddr) -> bool {
    sources.iter().all(|source| matches!(progress_of(acl, question, server, *source), Progress::Served))
}

/// True when each of these sources is served a question by a view that knows the name, where any view does.
pub fn serves_what_is_known(acl: &Acl, sources: &[IpAddr], question: &Question, server: IpAddr) -> bool {
    let knowing = sources.first().map(|first| acl.policy().views_with(&question.qname, *first)).unwrap_or_default();
    knowing.is_empty() || is_among(&knowing, acl, sources, question, server)
}

/// Why there is no advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAdvice {
    /// It is already admitted.
    Admitted,
    /// A default route is never admitted.
    Everybody,
    /// It is reachable from the public internet.
    Public,
    /// No list or line was found that would admit it.
    NoPlace,
    /// Every change that would admit it turns away something that is allowed now, or serves that differently.
    Harmful,
    /// The search was given up before anything was found.
    GivenUp,
}

/// Finds the narrowest change that serves a prefix: each of these sources inside it is served, and `harmless` holds for
/// the changed configuration.
#[allow(clippy::too_many_arguments)] // whom to admit to what, and the bounds of that
pub fn admit(
    acl: &Acl,
    prefix: IpNet,
    sources: &[IpAddr],
    question: &Question,
    server: IpAddr,
    public: bool,
    harmless: &dyn Fn(&Acl) -> bool,
    effort: &Effort<'_>,
) -> Result<Advice, NoAdvice> {
    if prefix.prefix_len() == 0 {
        return Err(NoAdvice::Everybody);
    }
    if is_public(prefix) && !public {
        return Err(NoAdvice::Public);
    }
    let mut trial = Trial { prefix, sources, question, server, effort, texts: BTreeMap::new(), edits: Vec::new() };
    if matches!(progress(acl, &trial), Progress::Served) {
        return Err(NoAdvice::Admitted);
    }
    let mut none = NoAdvice::NoPlace;
    let mut take = |advice: Option<Advice>| {
        let advice = advice?;
        let good = harmless(&advice.acl);
        if !good {
            none = NoAdvice::Harmful;
        }
        good.then_some(advice)
    };
    let first = sources.first().copied().unwrap_or(prefix.addr());
    // A zone may be in another view; resolving its names elsewhere would not give what is in it.
    let knowing = acl.policy().views_with(&question.qname, first);
    let is_elsewhere = |changed: &Acl| !knowing.is_empty() && !is_among(&knowing, changed, sources, question, server);
    let mut followed = take(trial.follow(acl, EDITS));
    if let Some(advice) = followed.take_if(|advice| !is_elsewhere(&advice.acl)) {
        return Ok(advice);
    }
    // The lists that choose such a view; those of any view, where nothing else helps.
    let spots = knowing.iter().filter_map(|(_, spot)| *spot).take(VIEWS).map(|spot| (spot, false));
    for (spot, any) in spots.chain(acl.policy().other_spots(first).into_iter().map(|spot| (spot, true))) {
        if any && followed.is_some() {
            break;
        }
        trial.texts.clear();
        trial.edits.clear();
        trial.apply(acl, spot);
        if let Some(changed) = effort.changed(acl, trial.texts.clone())
            && let Some(advice) = take(trial.follow(&changed, EDITS - 1))
        {
            if !is_elsewhere(&advice.acl) {
                return Ok(advice);
            }
            followed = followed.or(Some(advice));
        }
    }
    // In that case the search did not show that nothing else helps.
    followed.ok_or(if effort.ended().is_some() { NoAdvice::GivenUp } else { none })
}

/// True when each of these sources is served by one of these views.
fn is_among(
    views: &[(Arc<str>, Option<Spot>)],
    acl: &Acl,
    sources: &[IpAddr],
    question: &Question,
    server: IpAddr,
) -> bool {
    sources.iter().all(|source| {
        let view = acl.treat(&question.ask(*source, server)).serving.and_then(|serving| serving.view);
        view.is_some_and(|view| views.iter().any(|(name, _)| *name == view))
    })
}

/// How far a source gets.
enum Progress {
    /// It is served, with recursion where that is needed.
    Served,
    /// It must be added here.
    Add(Spot),
    /// It is not served, and no list or line would change that.
    Stuck,
}

/// Where the source must be added next.
fn progress(acl: &Acl, trial: &Trial<'_>) -> Progress {
    let each = trial.sources.iter().map(|source| progress_of(acl, trial.question, trial.server, *source));
    each.into_iter().find(|progress| !matches!(progress, Progress::Served)).unwrap_or(Progress::Served)
}

fn progress_of(acl: &Acl, question: &Question, server: IpAddr, source: IpAddr) -> Progress {
    let (decision, steps) = acl.explain(&question.ask(source, server));
    // A miss of allow-recursion alone gets an answer, but not the one asked for. Where the server has data of its own,
    // the step has no spot.
    let recursion = |step: &&Step| {
        matches!(step.spot, Some(Spot::Element(_, "allow-recursion") | Spot::Statement(..) | Spot::Options(_)))
    };
    let last =
        |steps: &[Step], wanted: &dyn Fn(&&Step) -> bool| steps.iter().rev().filter(wanted).find_map(|step| step.spot);
    if decision.word == Word::Allow {
        // Nor is a referral what was asked for, where no list would give recursion: of a stub zone, in a view without
        // recursion.
        let serving = acl.treat(&question.ask(source, server)).serving;
        let without = serving.is_some_and(|serving| serving.recursion == Some(false));
        let served = if without { Progress::Stuck } else { Progress::Served };
        return last(&steps, &recursion).map_or(served, Progress::Add);
    }
    // The destination address decides; no list of sources changes that.
    let by_destination = |step: &Step| {
        let names_destination = ["-on: ", "-on): "].iter().any(|end| step.says.contains(end));
        names_destination && step.rule == decision.rule
    };
    if steps.last().is_some_and(by_destination) {
        return Progress::Stuck;
    }
    last(&steps, &|_| true).map_or(Progress::Stuck, Progress::Add)
}

struct Trial<'a> {
    prefix: IpNet,
    /// Sources inside it that are to be served.
    sources: &'a [IpAddr],
    question: &'a Question,
    server: IpAddr,
    effort: &'a Effort<'a>,
    /// Texts of changed files.
    texts: BTreeMap<PathBuf, String>,
    edits: Vec<Edit>,
}

impl Trial<'_> {
    /// Edits until the source is served.
    fn follow(&mut self, acl: &Acl, left: usize) -> Option<Advice> {
        let mut current: Option<Acl> = None;
        for _ in 0..=left {
            let now = current.as_ref().unwrap_or(acl);
            if !self.effort.decides(self.sources.len()) {
                return None;
            }
            match progress(now, self) {
                Progress::Served => {
                    let acl = match current {
                        Some(acl) => acl,
                        None => self.effort.changed(acl, self.texts.clone())?,
                    };
                    return Some(Advice { edits: std::mem::take(&mut self.edits), acl });
                }
                Progress::Stuck => return None,
                Progress::Add(spot) => {
                    self.apply(now, spot);
                    current = Some(self.effort.changed(acl, self.texts.clone())?);
                }
            }
        }
        None
    }

    /// Adds the source at a spot.
    fn apply(&mut self, acl: &Acl, spot: Spot) {
        let files = acl.files();
        let text = acl.policy().admitting(self.prefix, spot);
        let span = match spot {
            Spot::Element(span, _) | Spot::LineAfter(span) | Spot::Statement(span, _) | Spot::Options(span) => span,
        };
        let Some(file) = files.list().get(span.file as usize) else { return };
        let mut changed = file.text.clone();
        let place = format!("{}:{}", crate::error::escape_text(&file.name), files.line(span));
        let (says, at, inserted) = match spot {
            Spot::Element(span, list) => {
                let says = format!("in {place} ({}), {} add {text}", files.show_line(span), in_list(files, span, list));
                (says, span.start as usize, spaced(&changed, span.start, &text))
            }
            Spot::Statement(head, block) => {
                let says = format!(
                    "in {place} ({}), {} add {text} {REPLACED}",
                    files.show_line(head),
                    at_the_end(files, head)
                );
                (says, block.end as usize - 1, spaced(&changed, block.end - 1, &text))
            }
            Spot::Options(span) => {
                let end = files.whole_line(span).end as usize;
                (format!("after {place} add {text} {REPLACED}"), end, format!("\n{text}"))
            }
            Spot::LineAfter(span) => {
                let line = files.whole_line(span);
                let indent: String = files.text(line).chars().take_while(|c| c.is_whitespace()).collect();
                (format!("after {place} add {text}"), line.end as usize, format!("\n{indent}{text}"))
            }
        };
        changed.insert_str(at, &inserted);
        self.texts.insert(file.path.clone(), changed);
        self.edits.push(Edit { place, says, text, path: file.path.clone(), at, inserted });
    }
}

/// An observed source with a question it asked and the file's verdict.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// The source.
    pub source: IpAddr,
    /// The server.
    pub server: IpAddr,
    /// What it asked.
    pub question: &'a Question,
    /// What the file says now.
    pub before: Decision,
}

impl Observed<'_> {
    /// What the file would say.
    fn after(&self, acl: &Acl) -> Word {
        acl.decide(&self.question.ask(self.source, self.server)).word
    }

    /// True when it is served as before: by a view that knows the name, if it was, and with recursion, if it had and
    /// needed it.
    fn is_kept(&self, acl: &Acl, changed: &Acl) -> bool {
        if self.after(changed) != Word::Allow {
            return false;
        }
        let request = self.question.ask(self.source, self.server);
        let (Some(before), Some(after)) = (acl.treat(&request).serving, changed.treat(&request).serving) else {
            return true;
        };
        // A referral is no answer, nor is that of a stub zone, which is held.
        if before.recursion != Some(false) && after.recursion == Some(false) {
            return false;
        }
        // Resolving a name elsewhere does not give the data that is here.
        let policy = acl.policy();
        let knowing = policy.views_with(&self.question.qname, self.source);
        let knows = |view: &Option<Arc<str>>| knowing.iter().any(|(name, _)| Some(name) == view.as_ref());
        let was_local = !policy.names_are_zones() && before.held;
        (!knows(&before.view) || knows(&after.view)) && (!was_local || after.held)
    }
}

/// True when nothing that was observed and is allowed would be turned away or served worse by the changed
/// configuration.
pub fn is_harmless(acl: &Acl, changed: &Acl, observed: &[Observed<'_>]) -> bool {
    observed.iter().filter(|one| one.before.word == Word::Allow).all(|one| one.is_kept(acl, changed))
}

/// A source, and the views that serve it before and after a change.
pub type Moved = (IpAddr, Option<Arc<str>>, Option<Arc<str>>);

/// Sources that a change moves from one view to another, which may have other data.
pub fn view_effects(acl: &Acl, advice: &Advice, observed: &[Observed<'_>]) -> BTreeSet<Moved> {
    let view = |acl: &Acl, one: &Observed<'_>| {
        acl.treat(&one.question.ask(one.source, one.server)).serving.map(|serving| serving.view)
    };
    let allowed = observed.iter().filter(|one| one.before.word == Word::Allow);
    let views = allowed.filter_map(|one| Some((one.source, view(acl, one)?, view(&advice.acl, one)?)));
    views.filter(|(_, before, after)| before != after).collect()
}

/// Observed sources that a change treats differently without being meant to. A source is listed once for all its usual
/// questions, unless it is one to be admitted: then each question is listed.
pub fn side_effects<'q>(
    advice: &Advice,
    admitted: &BTreeSet<IpAddr>,
    is_meant: &dyn Fn(&Observed<'_>) -> bool,
    observed: &[Observed<'q>],
) -> Vec<(IpAddr, Word, Word, Option<&'q Question>)> {
    let mut changed: Vec<(IpAddr, Word, Word, Option<&Question>)> = observed
        .iter()
        .filter(|one| !is_meant(one))
        .map(|one| {
            let told = |question: &&Question| !question.is_usual() || admitted.contains(&one.source);
            (one.source, one.before.word, one.after(&advice.acl), Some(one.question).filter(told))
        })
        .filter(|(_, before, after, _)| before != after)
        .collect();
    let key = |(source, before, after, told): &(IpAddr, Word, Word, Option<&Question>)| {
        (*source, *before, *after, told.map(Question::show))
    };
    changed.sort_by_cached_key(key);
    changed.dedup_by_key(|one| key(one));
    changed
}

/// Sources for which a change begins (true) or ends recursion, except sources to be admitted that need it for what they
/// are to be served.
pub fn recursion_effects(
    acl: &Acl,
    advice: &Advice,
    is_meant: &dyn Fn(&Observed<'_>) -> bool,
    observed: &[Observed<'_>],
) -> BTreeSet<(IpAddr, bool)> {
    let recursion = |acl: &Acl, one: &Observed<'_>| acl.recursion(&one.question.ask(one.source, one.server));
    let needs = |one: &&Observed<'_>| recursion(&advice.acl, one).is_some_and(|recursion| recursion.needed);
    let meant: BTreeSet<IpAddr> =
        observed.iter().filter(|one| is_meant(one)).filter(needs).map(|one| one.source).collect();
    let offered = |acl: &Acl, one: &Observed<'_>| recursion(acl, one).is_some_and(|recursion| recursion.offered);
    observed
        .iter()
        .map(|one| (one.source, offered(acl, one), offered(&advice.acl, one)))
        .filter(|(source, before, after)| before != after && !(*after && meant.contains(source)))
        .map(|(source, _, after)| (source, after))
        .collect()
}

#[cfg(test)]
mod tests;
