//! Transactions beside what the servers' files say: [`Judgements`] decides each one and keeps, per source and server,
//! how often which decision met which outcome.

use super::{Acl, Cookie, Decision, Word};
use crate::config::{Outcome, OwnServer};
use crate::decode::detail::{self, DetailLimits};
use crate::decode::message::HEADER;
use crate::decode::name::{read_name, skip_name};
use crate::decode::proxy;
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
/// Questions kept for a decision, and those of them that any may be; the others are of a kind that is not among them.
const QUESTIONS: usize = 5;
const OF_ANY_KIND: usize = 2;
/// NOTAUTH (RFC 8945 section 5.2: also for a signature that is not accepted).
const NOTAUTH: u16 = 9;

/// TSIG.
const TSIG: [u8; 2] = [0, 250];

/// Why nothing is said of a request that may have been for another server at the same address.
pub const OTHER_PORT: &str = "the file does not listen on the port that was asked; FILE@ADDR compares it all the same";
/// Why nothing is said of a request behind a proxy's header that names a client.
pub const BEHIND_PROXY: &str = "a proxy's header names the client, and whether the server believes it is not evaluated";

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
    /// A file also speaks for what came to a port on which it does not listen.
    any_port: bool,
    /// Which file speaks for a server.
    speaks: HashMap<IpAddr, Option<usize>>,
}

impl Judge {
    /// For these files; `limits` bound the messages that are read for their signature.
    pub fn new(acls: Arc<[Acl]>, limits: DetailLimits) -> Self {
        Self { acls, limits, any_port: false, speaks: HashMap::new() }
    }

    /// Whatever port requests came to: who asks what a file would do with them says that they are for it.
    #[must_use]
    pub fn of_any_port(self) -> Self {
        Self { any_port: true, ..self }
    }

    /// The files.
    pub fn acls(&self) -> &Arc<[Acl]> {
        &self.acls
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

    /// What is asked in a transaction, as far as its messages tell; an error says why nothing can be said of it.
    fn question(&self, transaction: &Transaction<'_>) -> Result<Question, &'static str> {
        const NOT_CAPTURED: &str = "the question was not captured";
        let (header, query) = proxy::split(transaction.query_bytes);
        if header.is_some_and(|header| header.client.is_some()) {
            return Err(BEHIND_PROXY);
        }
        let captured = query.len() > HEADER;
        let bytes = if captured { query } else { transaction.response_bytes };
        let header = bytes.get(..HEADER).ok_or(NOT_CAPTURED)?;
        let (opcode, rd) = (header[2] >> 3 & 15, header[2] & 1 == 1);
        if header[4..6] == [0, 0] {
            return Err(NOT_CAPTURED);
        }
        let (name, end) = read_name(bytes, HEADER).map_err(|_| NOT_CAPTURED)?;
        let Some([t0, t1, c0, c1]) = bytes.get(end..end + 4) else { return Err(NOT_CAPTURED) };
        let beside = self.beside(bytes, end + 4).ok_or("the query was not kept whole")?;
        let question = Question {
            label: String::new(),
            qname: name.as_bytes().to_ascii_lowercase(),
            qtype: u16::from_be_bytes([*t0, *t1]),
            qclass: u16::from_be_bytes([*c0, *c1]),
            opcode,
            rd,
            transport: transaction.transport,
            key: beside.key,
            // A response has its server's.
            cookie: if captured { beside.cookie } else { Cookie::NotKnown },
            sections: if captured {
                [6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]))
            } else {
                [0; 3]
            },
        };
        Ok(question)
    }

    /// What stands beside the question of a message; nothing when its records cannot be passed. Only a message whose last
    /// record is a signature is decoded.
    fn beside(&self, bytes: &[u8], at: usize) -> Option<Beside> {
        /// EDNS.
        const OPT: [u8; 2] = [0, 41];
        let count = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let (questions, records) = (count(4), count(6) + count(8) + count(10));
        let mut beside = Beside { key: None, cookie: Cookie::Absent };
        if count(10) == 0 || questions != 1 || records > self.limits.records {
            return Some(beside);
        }
        let (mut last, mut rest) = ([0; 2], bytes.get(at..)?);
        for _ in 0..records {
            let (fixed, data) = skip_name(rest)?.split_first_chunk::<10>()?;
            last = [fixed[0], fixed[1]];
            let len = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            if last == OPT {
                beside.cookie = cookie(data.get(..len)?);
            }
            rest = data.get(len..).unwrap_or_default();
        }
        if last == TSIG {
            let detail = detail::read(bytes, self.limits)?;
            beside.key = detail.key_name.and_then(|name| super::name::parse_name(&String::from_utf8_lossy(&name)));
        }
        Some(beside)
    }

    /// Decides a transaction, with the question it asks.
    pub fn decide(&mut self, transaction: &Transaction<'_>) -> (Judged, Option<Question>) {
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        let Some(number) = self.speaks_for(server) else {
            return (Judged { acl: None, decision: Decision::unknown("server not bound", None) }, None);
        };
        if !self.any_port && !self.acls[number].speaks_for_port(server, transaction.ports.1) {
            return (Judged { acl: Some(number), decision: Decision::unknown(OTHER_PORT, None) }, None);
        }
        match self.question(transaction) {
            Ok(question) => {
                let decided = self.acls[number].decide(&question.ask(source, server));
                // The file allows it to whoever has the key, and the server says that this one has not: by the response code, or
                // where no view is for whoever has no key, by the error in its own signature (RFC 8945 section 5.3.2).
                let not_accepted = decided.word == Word::Allow
                    && question.key.is_some()
                    && (transaction.message.as_ref().is_some_and(|message| message.rcode == NOTAUTH)
                        || signature_error(transaction.response_bytes, self.limits).is_some_and(|error| error != 0));
                let decision = if not_accepted {
                    Decision::unknown("the server did not accept the signature", None)
                } else {
                    decided
                };
                (Judged { acl: Some(number), decision }, Some(question))
            }
            Err(reason) => {
                let decision = self.without_question(number, source, server, transaction.transport, reason);
                (Judged { acl: Some(number), decision }, None)
            }
        }
    }

    /// Without a question only what holds for every question is known: that nothing is answered.
    fn without_question(
        &self,
        number: usize,
        source: IpAddr,
        server: IpAddr,
        transport: Transport,
        reason: &'static str,
    ) -> Decision {
        let question = Question { transport, ..Question::default() };
        let decision = self.acls[number].decide(&question.ask(source, server));
        if decision.word == Word::Drop { decision } else { Decision::unknown(reason, None) }
    }

    /// Verdict and rule as rows print them.
    pub fn words(&mut self, transaction: &Transaction<'_>) -> (&'static str, String) {
        let (judged, _) = self.decide(transaction);
        let rule = judged.acl.zip(judged.decision.rule).map(|(number, rule)| self.acls[number].rule(rule).to_string());
        (judged.decision.word.name(), rule.unwrap_or_default())
    }
}

/// The error in the signature of a message, where its last record is one and whole (RFC 8945 section 4.2).
fn signature_error(message: &[u8], limits: DetailLimits) -> Option<u16> {
    /// Time and fudge, between the algorithm's name and the length of the code.
    const TIME_AND_FUDGE: usize = 8;
    let header = message.get(..HEADER)?;
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (questions, records) = (count(4), count(6) + count(8) + count(10));
    if questions > 1 || records == 0 || records > limits.records {
        return None;
    }
    let mut rest = &message[HEADER..];
    if questions == 1 {
        rest = skip_name(rest)?.get(4..)?;
    }
    let (mut last, mut data) = ([0; 2], rest);
    for _ in 0..records {
        let (fixed, behind) = skip_name(rest)?.split_first_chunk::<10>()?;
        last = [fixed[0], fixed[1]];
        (data, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes([fixed[8], fixed[9]])))?;
    }
    if last != TSIG {
        return None;
    }
    let (code_len, behind) = skip_name(data)?.get(TIME_AND_FUDGE..)?.split_first_chunk::<2>()?;
    // The original identifier stands between.
    let error = behind.get(usize::from(u16::from_be_bytes(*code_len)) + 2..)?.first_chunk()?;
    Some(u16::from_be_bytes(*error))
}

/// What stands beside the question.
struct Beside {
    /// The key that signed the message.
    key: Option<Vec<u8>>,
    cookie: Cookie,
}

/// The cookie among EDNS options; the first counts.
fn cookie(mut options: &[u8]) -> Cookie {
    /// RFC 7873.
    const COOKIE: [u8; 2] = [0, 10];
    while let Some((fixed, rest)) = options.split_first_chunk::<4>() {
        let length = u16::from_be_bytes([fixed[2], fixed[3]]);
        if fixed[..2] == COOKIE {
            return Cookie::Present(length);
        }
        options = rest.get(usize::from(length)..).unwrap_or_default();
    }
    Cookie::Absent
}

/// How often a decision met which outcome.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The decision.
    pub judged: Judged,
    /// Questions that were decided so, with how often each was asked; nothing when none was captured.
    pub questions: Vec<(Question, u64)>,
    /// Transactions by outcome, indexed by `Outcome as usize`.
    pub outcomes: [u64; 7],
    /// Answered transactions whose answer is an error, which may be told before access is looked at.
    pub errors: u64,
    /// The first frames of outcomes that agree with the decision, and of those that do not.
    pub frames: [Vec<FrameRef>; 2],
}

impl Tally {
    /// Transactions whose outcome agrees with the decision, and those whose outcome does not.
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

    /// The question asked most often of those that `are`; of several, the first.
    pub fn most_asked(&self, are: impl Fn(&Question) -> bool) -> Option<(&Question, u64)> {
        let asked = self.questions.iter().rev().filter(|(question, _)| are(question));
        asked.max_by_key(|(_, count)| *count).map(|(question, count)| (question, *count))
    }

    /// Some question may be one that clients ask: what is not known was not seen to be another one.
    pub fn may_be_usual(&self) -> bool {
        self.questions.is_empty() || self.questions.iter().any(|(question, _)| question.is_usual())
    }

    /// Notes a question. Of more than there is room for, those of a new kind come first: other lists are for them.
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
        // One asked once gives way, so that one that is asked again and again is not missed.
        let once = |(known, count): &&mut (Question, u64)| *count == 1 && known.kind() == question.kind();
        if let Some((known, _)) = self.questions.iter_mut().rev().find(once) {
            *known = question;
        }
    }

    /// Transactions that got an answer other than an error.
    pub fn served(&self) -> u64 {
        self.count(Outcome::Answered) - self.errors
    }

    /// Transactions of an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

/// The verdict does not let the request be served.
pub fn turns_away(word: Word) -> bool {
    matches!(word, Word::Refuse | Word::Drop | Word::NotAuth)
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
                let (questions, frames) = (Vec::new(), Default::default());
                tallies.push(Tally { judged, questions, outcomes: [0; 7], errors: 0, frames });
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
    /// Keeps what was decided for these sources and servers. A file that names no address speaks for every server, but not
    /// for those that its own server asks.
    pub fn keep(&mut self, wanted: impl Fn(IpAddr, IpAddr) -> bool) {
        self.pairs.retain(|((source, server), _)| wanted(*source, *server));
    }

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

/// A file names this server, rather than speaking for every one. What such a server's own host asks it is decided, too.
pub fn names_server(acls: &[Acl], server: IpAddr) -> bool {
    acls.iter().any(|acl| acl.bound().contains(&server))
}

/// The addresses of the servers that the files speak for.
pub fn own_servers(acls: &[Acl]) -> Vec<OwnServer> {
    acls.iter().flat_map(Acl::bound).map(|address| OwnServer { address, length: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_asked_most_counts_whatever_came_first_and_every_kind_is_kept() {
        let question = |name: &str, opcode: u8, rd: bool| Question {
            qname: crate::expect::acl::name::parse_name(name).unwrap(),
            opcode,
            rd,
            ..Question::default()
        };
        let judged = Judged { acl: Some(0), decision: Decision::unknown("a test", None) };
        let mut tally =
            Tally { judged, questions: Vec::new(), outcomes: [0; 7], errors: 0, frames: Default::default() };
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
