//! Transactions beside what the servers' files say: [`Judgements`] decides each one and keeps, per source and server,
//! how often which decision met which outcome.

use super::{Acl, Decision, Request, Word};
use crate::config::{Outcome, OwnServer};
use crate::decode::detail::{self, DetailLimits};
use crate::decode::message::HEADER;
use crate::decode::name::{read_name, skip_name};
use crate::sources::FrameRef;
use crate::transact::Transaction;
use crate::transact::flights::Transport;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::compare::Question;

/// Decisions kept apart per source and server; more say nothing that these do not.
const DECISIONS: usize = 12;

/// A transaction's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The file that speaks for the server, by number.
    pub acl: Option<usize>,
    /// What it says.
    pub decision: Decision,
}

/// What the files say, one decision after the other.
#[derive(Debug)]
pub struct Judge {
    acls: Arc<[Acl]>,
    limits: DetailLimits,
    /// Which file speaks for a server.
    speaks: HashMap<IpAddr, Option<usize>>,
}

impl Judge {
    /// For these files; `limits` bound the messages that are read for their signature.
    pub fn new(acls: Arc<[Acl]>, limits: DetailLimits) -> Self {
        Self { acls, limits, speaks: HashMap::new() }
    }

    /// The file that speaks for a server.
    pub fn speaks_for(&mut self, server: IpAddr) -> Option<usize> {
        /// Servers remembered; a capture of a resolver's own queries holds very many.
        const SERVERS: usize = 65_536;
        if let Some(known) = self.speaks.get(&server) {
            return *known;
        }
        let found = self.acls.iter().position(|acl| acl.speaks_for(server));
        if self.speaks.len() < SERVERS {
            self.speaks.insert(server, found);
        }
        found
    }

    /// What is asked in a transaction, as far as its messages tell.
    fn question(&self, transaction: &Transaction<'_>) -> Option<Question> {
        let bytes =
            if transaction.query_bytes.len() > HEADER { transaction.query_bytes } else { transaction.response_bytes };
        let header = bytes.get(..HEADER)?;
        let (opcode, rd) = (header[2] >> 3 & 15, header[2] & 1 == 1);
        let (name, end) = if header[4..6] == [0, 0] { return None } else { read_name(bytes, HEADER).ok()? };
        let fixed = bytes.get(end..end + 4)?;
        Some(Question {
            label: String::new(),
            qname: name.as_bytes().to_ascii_lowercase(),
            qtype: u16::from_be_bytes([fixed[0], fixed[1]]),
            opcode,
            rd,
            transport: transaction.transport,
            key: self.key(bytes, end + 4),
        })
    }

    /// The name of the key that signed a message. Only a message whose last record is a signature is decoded.
    fn key(&self, bytes: &[u8], mut at: usize) -> Option<Vec<u8>> {
        /// TSIG.
        const TSIG: [u8; 2] = [0, 250];
        let count = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let (questions, records) = (count(4), count(6) + count(8) + count(10));
        if count(10) == 0 || questions != 1 || records > self.limits.records {
            return None;
        }
        let mut last = [0; 2];
        for _ in 0..records {
            let end = skip_name(bytes, at)?;
            let fixed = bytes.get(end..end + 10)?;
            last = [fixed[0], fixed[1]];
            at = end + 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        }
        if last != TSIG {
            return None;
        }
        let detail = detail::read(bytes, self.limits)?;
        super::name::parse_name(&String::from_utf8_lossy(&detail.key_name?))
    }

    /// Decides a transaction, with the question it asks.
    fn decide(&mut self, transaction: &Transaction<'_>) -> (Judged, Option<Question>) {
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        let Some(number) = self.speaks_for(server) else {
            return (Judged { acl: None, decision: Decision::unknown("server not bound", None) }, None);
        };
        let question = self.question(transaction);
        let decision = match &question {
            Some(question) => {
                let class = question_class(transaction).unwrap_or(1);
                self.acls[number].decide(&Request { qclass: class, ..question.ask(source, server) })
            }
            None => self.without_question(number, source, server, transaction.transport),
        };
        (Judged { acl: Some(number), decision }, question)
    }

    /// Without a question only what holds for every question is known: that nothing is answered.
    fn without_question(&self, number: usize, source: IpAddr, server: IpAddr, transport: Transport) -> Decision {
        let question = Question { transport, ..Question::default() };
        let decision = self.acls[number].decide(&question.ask(source, server));
        if decision.word == Word::Drop { decision } else { Decision::unknown("the question was not captured", None) }
    }

    /// Verdict and rule as rows print them.
    pub fn words(&mut self, transaction: &Transaction<'_>) -> (&'static str, String) {
        let (judged, _) = self.decide(transaction);
        let rule = judged.acl.zip(judged.decision.rule).map(|(number, rule)| self.acls[number].rule(rule).to_string());
        (judged.decision.word.name(), rule.unwrap_or_default())
    }
}

/// The class in the question.
fn question_class(transaction: &Transaction<'_>) -> Option<u16> {
    let bytes =
        if transaction.query_bytes.len() > HEADER { transaction.query_bytes } else { transaction.response_bytes };
    let end = skip_name(bytes, HEADER)?;
    let fixed = bytes.get(end..end + 4)?;
    Some(u16::from_be_bytes([fixed[2], fixed[3]]))
}

/// How often a decision met which outcome.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The decision.
    pub judged: Judged,
    /// A question that was decided so; nothing when none was captured.
    pub question: Option<Question>,
    /// Transactions by outcome, indexed by `Outcome as usize`.
    pub outcomes: [u64; 7],
    /// The first frames of outcomes that agree with the decision, and of those that do not.
    pub frames: [Vec<FrameRef>; 2],
}

impl Tally {
    /// Transactions whose outcome agrees with the decision, and those whose outcome does not.
    pub fn agreement(&self) -> (u64, u64) {
        Outcome::ALL.iter().fold((0, 0), |(yes, no), (_, outcome)| {
            let count = self.outcomes[*outcome as usize];
            match agrees(self.judged.decision.word, *outcome) {
                Some(true) => (yes + count, no),
                Some(false) => (yes, no + count),
                None => (yes, no),
            }
        })
    }

    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

/// Whether an outcome is what a verdict says; `None` when it says neither.
pub fn agrees(word: Word, outcome: Outcome) -> Option<bool> {
    let turned_away = matches!(outcome, Outcome::Refused | Outcome::Denied);
    let nothing = matches!(outcome, Outcome::Silent | Outcome::TcpRejected | Outcome::Unanswered);
    // No answer may be a loss on the way, and one refusal stands for another.
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
    /// Most pairs kept.
    most: usize,
    frames: usize,
    /// Transactions of sources beyond that.
    pub not_kept: u64,
}

impl Judgements {
    /// Nothing decided yet; `most` pairs of source and server are kept, and `frames` frames for each decision.
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
                tallies.push(Tally { judged, question, outcomes: [0; 7], frames: Default::default() });
                tallies.len() - 1
            }
            None => {
                self.not_kept += 1;
                return;
            }
        };
        let tally = &mut tallies[at];
        tally.outcomes[transaction.outcome as usize] += 1;
        let frame = transaction.response.or(transaction.query).map(|seen| seen.frame);
        if let (Some(agrees), Some(frame)) = (agrees(judged.decision.word, transaction.outcome), frame) {
            let frames = &mut tally.frames[usize::from(!agrees)];
            if frames.len() < self.frames {
                frames.push(frame);
            }
        }
    }

    /// What was decided so far, to be asked while more is decided.
    pub fn so_far(&self) -> Verdicts {
        let pairs = self.pairs.iter().map(|(pair, tallies)| (*pair, tallies.clone())).collect();
        Self { judge: Judge::new(Arc::clone(&self.judge.acls), self.judge.limits), pairs, ..*self }.finish()
    }

    /// What was decided, ready to be asked.
    pub fn finish(self) -> Verdicts {
        let mut pairs: Vec<((IpAddr, IpAddr), Vec<Tally>)> = self.pairs.into_iter().collect();
        pairs.sort_unstable_by_key(|((source, server), _)| (*server, *source));
        Verdicts { acls: self.judge.acls, pairs, not_kept: self.not_kept }
    }
}

/// Every decision of a run.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    /// The files.
    pub acls: Arc<[Acl]>,
    /// Tallies by source and server, in order of server and source.
    pub pairs: Vec<((IpAddr, IpAddr), Vec<Tally>)>,
    /// Transactions that were not kept apart.
    pub not_kept: u64,
}

impl Verdicts {
    /// The tallies of a source, or of all sources in a joined prefix, at a server.
    pub fn of(&self, source: IpNet, server: IpAddr) -> impl Iterator<Item = (IpAddr, &Tally)> {
        let start = self.pairs.partition_point(|((address, at), _)| (*at, *address) < (server, source.network()));
        self.pairs[start..]
            .iter()
            .take_while(move |((address, at), _)| *at == server && source.contains(address))
            .flat_map(|((address, _), tallies)| tallies.iter().map(move |tally| (*address, tally)))
    }

    /// The verdict and rule of a source: one word when every transaction has it, else `mixed`. Nothing when nothing
    /// was decided.
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

    /// Transactions with servers that a file speaks for: those whose outcome agrees with it, and those that differ.
    pub fn agreement(&self, acl: usize) -> (u64, u64) {
        let tallies = self.pairs.iter().flat_map(|(_, tallies)| tallies).filter(|tally| tally.judged.acl == Some(acl));
        tallies.map(Tally::agreement).fold((0, 0), |(yes, no), (more_yes, more_no)| (yes + more_yes, no + more_no))
    }
}

/// The addresses of the servers that the files speak for.
pub fn own_servers(acls: &[Acl]) -> Vec<OwnServer> {
    acls.iter().flat_map(Acl::bound).map(|address| OwnServer { address, length: None }).collect()
}
