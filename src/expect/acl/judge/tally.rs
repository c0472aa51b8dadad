//! Counts how often which decision met which outcome, per source and server: collected by [`Judgements`], read as
//! [`Verdicts`].

use super::{Judge, Judged};
use crate::config::{Outcome, OutcomeCounts};
use crate::decode::detail::DetailLimits;
use crate::expect::acl::compare::Question;
use crate::expect::acl::{Acl, Word};
use crate::sources::FrameRef;
use crate::transact::Transaction;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Most decisions kept apart per source and server; more would say nothing new.
const DECISIONS: usize = 12;
/// Most questions kept for a decision, and how many of them whatever their kind: further ones must be of a new kind.
const QUESTIONS: usize = 5;
const OF_ANY_KIND: usize = 2;

/// How often a decision met which outcome.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The decision.
    pub judged: Judged,
    /// Questions decided so, with the number of times each was asked; empty when no question was captured.
    pub questions: Vec<(Question, u64)>,
    /// Transactions by outcome, indexed by `Outcome as usize`.
    pub outcomes: OutcomeCounts,
    /// Answered transactions whose answer is an error, which may be returned before access is checked.
    pub errors: u64,
    /// The first frames of outcomes that agree with the decision, and of those that do not.
    pub frames: [Vec<FrameRef>; 2],
}

impl Tally {
    /// Numbers of transactions whose outcome agrees with the decision, and whose outcome does not.
    pub fn agreement(&self) -> (u64, u64) {
        Outcome::ALL.iter().fold((0, 0), |(yes, no), (_, outcome)| {
            let errors =
                if *outcome == Outcome::Answered && turns_away(self.judged.decision.word) { self.errors } else { 0 };
            let count = self.outcomes[*outcome as usize] - errors;
            match agrees(self.judged.decision.word, *outcome) {
                Some(true) => (yes + count, no),
                Some(false) => (yes, no + count),
                None => (yes, no),
            }
        })
    }

    /// The most frequent of the questions for which `are` holds; of several, the first.
    pub fn most_asked(&self, are: impl Fn(&Question) -> bool) -> Option<(&Question, u64)> {
        let asked = self.questions.iter().rev().filter(|(question, _)| are(question));
        asked.max_by_key(|(_, count)| *count).map(|(question, count)| (question, *count))
    }

    /// True when some question may be one that clients ask; an unknown question counts.
    pub fn may_be_usual(&self) -> bool {
        self.questions.is_empty() || self.questions.iter().any(|(question, _)| question.is_usual())
    }

    /// Notes a question. When there are too many, new kinds have precedence, because other lists decide about them.
    fn note(&mut self, question: Question) {
        if let Some((_, count)) = self.questions.iter_mut().find(|(known, _)| *known == question) {
            *count += 1;
            return;
        }
        let is_new = |known: &[(Question, u64)]| known.iter().all(|(known, _)| known.kind() != question.kind());
        let room = if is_new(&self.questions) { QUESTIONS } else { OF_ANY_KIND };
        if self.questions.len() < room {
            self.questions.push((question, 1));
            return;
        }
        // A question asked only once gives way, so that frequent ones are not missed.
        let once = |(known, count): &&mut (Question, u64)| *count == 1 && known.kind() == question.kind();
        if let Some((known, _)) = self.questions.iter_mut().rev().find(once) {
            *known = question;
        }
    }

    /// Number of transactions answered without an error.
    pub fn served(&self) -> u64 {
        self.count(Outcome::Answered) - self.errors
    }

    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

/// True when the verdict does not let the request be served.
pub fn turns_away(word: Word) -> bool {
    matches!(word, Word::Refuse | Word::Drop | Word::NotAuth)
}

/// True when an outcome agrees with a verdict; `None` when it neither agrees nor disagrees.
pub fn agrees(word: Word, outcome: Outcome) -> Option<bool> {
    let turned_away = matches!(outcome, Outcome::Refused | Outcome::Denied);
    let nothing = matches!(outcome, Outcome::Silent | Outcome::TcpRejected | Outcome::Unanswered);
    // A missing answer may have been lost on the way, and all kinds of refusal count alike.
    match word {
        Word::Allow if outcome == Outcome::Answered => Some(true),
        Word::Allow => (turned_away || outcome == Outcome::Silent).then_some(false),
        Word::Refuse if turned_away => Some(true),
        Word::NotAuth if outcome == Outcome::Denied => Some(true),
        Word::Drop if nothing => Some(true),
        Word::Drop if turned_away => Some(false),
        Word::Refuse | Word::NotAuth | Word::Drop => (outcome == Outcome::Answered).then_some(false),
        Word::Unknown => None,
    }
}

/// Every decision, per source and server.
#[derive(Debug)]
pub struct Judgements {
    judge: Judge,
    pairs: HashMap<(IpAddr, IpAddr), Vec<Tally>>,
    /// Most pairs of source and server kept.
    most: usize,
    /// Most frames kept for each decision, both of those that agree and of those that do not.
    frames: usize,
    /// Number of transactions of further sources.
    pub not_kept: u64,
}

impl Judgements {
    /// Without decisions. At most `most` pairs of source and server are kept, and for each decision at most `frames`
    /// frames that agree with it and as many that do not.
    pub fn new(acls: Arc<[Acl]>, limits: DetailLimits, most: usize, frames: usize) -> Self {
        Self { judge: Judge::new(acls, limits), pairs: HashMap::new(), most, frames, not_kept: 0 }
    }

    /// Takes a transaction.
    pub fn push(&mut self, transaction: &Transaction<'_>) {
        let pair = (transaction.ends.source(), transaction.ends.destination());
        if !self.pairs.contains_key(&pair) && self.pairs.len() >= self.most {
            self.not_kept += 1;
            return;
        }
        let (judged, question) = self.judge.decide(transaction);
        let tallies = self.pairs.entry(pair).or_default();
        let at = match tallies.iter().position(|tally| tally.judged == judged) {
            Some(at) => at,
            None if tallies.len() < DECISIONS => {
                let (questions, frames) = (Vec::new(), Default::default());
                tallies.push(Tally { judged, questions, outcomes: OutcomeCounts::default(), errors: 0, frames });
                tallies.len() - 1
            }
            None => {
                self.not_kept += 1;
                return;
            }
        };
        let tally = &mut tallies[at];
        if let Some(question) = question {
            tally.note(question);
        }
        tally.outcomes[transaction.outcome as usize] += 1;
        let error =
            transaction.outcome == Outcome::Answered && transaction.message.is_some_and(|message| !message.is_served());
        tally.errors += u64::from(error);
        let frame = transaction.response.or(transaction.query).map(|seen| seen.frame);
        let agrees =
            agrees(judged.decision.word, transaction.outcome).filter(|_| !error || !turns_away(judged.decision.word));
        if let (Some(agrees), Some(frame)) = (agrees, frame) {
            let frames = &mut tally.frames[usize::from(!agrees)];
            if frames.len() < self.frames {
                frames.push(frame);
            }
        }
    }

    /// The servers' configurations.
    pub fn acls(&self) -> &Arc<[Acl]> {
        &self.judge.acls
    }

    /// The decisions so far, to be read while more are made.
    pub fn so_far(&self) -> Verdicts {
        let pairs = self.pairs.iter().map(|(pair, tallies)| (*pair, tallies.clone())).collect();
        Self { judge: Judge::new(Arc::clone(&self.judge.acls), self.judge.limits), pairs, ..*self }.finish()
    }

    /// All decisions, ready to be read.
    pub fn finish(self) -> Verdicts {
        let mut pairs: Vec<((IpAddr, IpAddr), Vec<Tally>)> = self.pairs.into_iter().collect();
        pairs.sort_unstable_by_key(|((source, server), _)| (*server, *source));
        Verdicts { acls: self.judge.acls, pairs, not_kept: self.not_kept }
    }
}

/// Every decision of a run.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    /// The configurations.
    pub acls: Arc<[Acl]>,
    /// Counts by source and server, sorted by server, then source.
    pub pairs: Vec<((IpAddr, IpAddr), Vec<Tally>)>,
    /// Number of transactions that were not kept apart.
    pub not_kept: u64,
}

impl Verdicts {
    /// Keeps the counts for these sources and servers. A file that names no address speaks for every server, but not
    /// for those that its own server asks.
    pub fn keep(&mut self, wanted: impl Fn(IpAddr, IpAddr) -> bool) {
        self.pairs.retain(|((source, server), _)| wanted(*source, *server));
    }

    /// The counts of a source, or of all sources in a joined prefix, at a server.
    pub fn of(&self, source: IpNet, server: IpAddr) -> impl Iterator<Item = (IpAddr, &Tally)> {
        let start = self.pairs.partition_point(|((address, at), _)| (*at, *address) < (server, source.network()));
        self.pairs[start..]
            .iter()
            .take_while(move |((address, at), _)| *at == server && source.contains(address))
            .flat_map(|((address, _), tallies)| tallies.iter().map(move |tally| (*address, tally)))
    }

    /// Verdict and rule of a source: `mixed` unless all its transactions have the same. `None` when nothing was
    /// decided.
    pub fn words(&self, source: IpNet, server: IpAddr) -> Option<(&'static str, String)> {
        let mut words: Option<(Word, Option<String>)> = None;
        let (mut mixed_word, mut mixed_rule) = (false, false);
        for (_, tally) in self.of(source, server) {
            let rule = tally
                .judged
                .acl
                .zip(tally.judged.decision.rule)
                .map(|(acl, rule)| self.acls[acl].rule(rule).to_string());
            match &words {
                None => words = Some((tally.judged.decision.word, rule)),
                Some((word, first)) => {
                    mixed_word |= *word != tally.judged.decision.word;
                    mixed_rule |= *first != rule;
                }
            }
        }
        let (word, rule) = words?;
        let rule = if mixed_rule { "mixed".to_owned() } else { rule.unwrap_or_default() };
        Some((if mixed_word { "mixed" } else { word.name() }, rule))
    }

    /// Numbers of transactions with servers for which a file speaks: those whose outcome agrees with it, and those
    /// whose outcome differs.
    pub fn agreement(&self, acl: usize) -> (u64, u64) {
        let tallies = self.pairs.iter().flat_map(|(_, tallies)| tallies).filter(|tally| tally.judged.acl == Some(acl));
        tallies.map(Tally::agreement).fold((0, 0), |(yes, no), (more_yes, more_no)| (yes + more_yes, no + more_no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::acl::Decision;

    #[test]
    fn the_question_asked_most_counts_whatever_came_first_and_every_kind_is_kept() {
        let question = |name: &str, opcode: u8, rd: bool| Question {
            qname: crate::expect::acl::name::parse_name(name).unwrap(),
            opcode,
            rd,
            ..Question::default()
        };
        let judged = Judged { acl: Some(0), decision: Decision::unknown("a test", None) };
        let mut tally = Tally {
            judged,
            questions: Vec::new(),
            outcomes: OutcomeCounts::default(),
            errors: 0,
            frames: Default::default(),
        };
        assert!(tally.may_be_usual(), "nothing is known");
        tally.note(question("first.test", 4, false));
        assert!(!tally.may_be_usual());
        tally.note(question("once.test", 0, true));
        (0..10).for_each(|number| tally.note(question(&format!("before-{number}.test"), 0, true)));
        (0..3).for_each(|_| tally.note(question("often.test", 0, true)));
        (0..100).for_each(|number| tally.note(question(&format!("{number}.test"), 0, true)));
        tally.note(question("last.test", 0, false));
        let (most, count) = tally.most_asked(|_| true).unwrap();
        assert_eq!((most, count), (&question("often.test", 0, true), 3));
        let (most, _) = tally.most_asked(|question| !question.rd).unwrap();
        assert_eq!(most, &question("first.test", 4, false), "the first of several");
        assert!(tally.questions.len() <= QUESTIONS);
        assert!(tally.questions.contains(&(question("last.test", 0, false), 1)), "a kind of its own");
    }
}
