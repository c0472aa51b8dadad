//! `acl diff --traffic`: finds the transactions in captures whose verdict, view or recursion changes between two
//! versions of a configuration.

use super::diff::{direction, is_meant};
use super::{RuleJson, ServingJson, describe, rule_json, serving_json, words};
use crate::config::{Config, Outcome, OutcomeCounts, Outcomes};
use crate::decode::Decoder;
use crate::decode::detail::{self, DetailLimits};
use crate::error::{Error, escape_text};
use crate::expect::Inventory;
use crate::expect::acl::compare::{Question, differing};
use crate::expect::acl::judge::{Judge, Judged as Verdict, own_servers};
use crate::expect::acl::{Acl, Treatment, Word, name};
use crate::pipeline::{self, Selection, Work};
use crate::report::build::{Counted, OpenedInput, build};
use crate::report::legs::Legs;
use crate::report::page::{counted, grouped};
use crate::run::{self, Console};
use crate::sources::{FrameRef, Leg, Sources};
use crate::transact::pairs::{Judged, Pairs};
use crate::transact::{Tracker, Transaction};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Most changes named one by one in text.
const SHOWN: usize = 20;
/// Most pairs of verdicts kept apart per source and server.
const VERDICTS: usize = 12;

/// A source at a server whose requests are treated differently.
struct Change {
    source: IpAddr,
    server: IpAddr,
    before: Treatment,
    after: Treatment,
    /// Transactions by outcome, indexed by `Outcome as usize`.
    outcomes: OutcomeCounts,
    /// The number of all transactions of this source with this server.
    of: u64,
    /// Question of one of them, such as `A www.example.com`.
    example: String,
    frames: Vec<FrameRef>,
    meant: bool,
}

/// Every transaction of captures under two versions of a configuration.
pub struct Traffic {
    inputs: Vec<String>,
    /// Number of transactions of clients with servers for which the files speak.
    judged: u64,
    /// Of these, the number of those treated alike under both.
    same: u64,
    /// Of those, the number that neither file decides.
    undecided: u64,
    /// Number of sources without any change.
    unchanged_sources: u64,
    /// Number of transactions with other servers, or of the servers themselves.
    apart: u64,
    /// Number of transactions that were not kept apart because there were too many sources.
    not_kept: u64,
    changes: Vec<Change>,
    /// Why not all of it was read.
    partial: Option<String>,
    /// The exit code of the reading itself; 0 when all of it was read.
    pub code: u8,
}

/// Counts for one source and server.
#[derive(Default)]
struct Pair {
    same: u64,
    undecided: u64,
    changes: Vec<Moved>,
}

/// Transactions of a pair with the same treatments before and after.
struct Moved {
    before: Treatment,
    after: Treatment,
    /// They are queries.
    queries: bool,
    outcomes: OutcomeCounts,
    example: String,
    frames: Vec<FrameRef>,
}

/// Every pair of source and server, while the captures are read.
struct Replay {
    old: Judge,
    new: Judge,
    pairs: HashMap<(IpAddr, IpAddr), Pair>,
    most: usize,
    frames: usize,
    elsewhere: u64,
    not_kept: u64,
}

impl Replay {
    fn push(&mut self, transaction: &Transaction<'_>) {
        if transaction.outcome == Outcome::Unsolicited {
            return;
        }
        let (source, server) = (transaction.ends.source(), transaction.ends.destination());
        if self.old.speaks_for(server).is_none() && self.new.speaks_for(server).is_none() {
            self.elsewhere += 1;
            return;
        }
        if self.pairs.len() >= self.most && !self.pairs.contains_key(&(source, server)) {
            self.not_kept += 1;
            return;
        }
        let (before, question) = self.old.decide(transaction);
        let (after, _) = self.new.decide(transaction);
        let undecided = before.decision.word == Word::Unknown;
        let before = treated(&self.old, before, question.as_ref(), source, server);
        let after = treated(&self.new, after, question.as_ref(), source, server);
        let pair = self.pairs.entry((source, server)).or_default();
        let Some((before, after)) = differing(&before, &after) else {
            pair.same += 1;
            pair.undecided += u64::from(undecided);
            return;
        };
        let queries = question.as_ref().is_some_and(Question::is_query);
        let known = |moved: &Moved| (&moved.before, &moved.after, moved.queries) == (&before, &after, queries);
        let at = match pair.changes.iter().position(known) {
            Some(at) => at,
            None if pair.changes.len() < VERDICTS => {
                let example = question.map_or_else(
                    || "a question that was not captured".to_owned(),
                    |question| {
                        let opcode = super::lossy(|out| detail::write_opcode(question.opcode, out));
                        let opcode = if question.opcode == 0 { String::new() } else { format!("{opcode} ") };
                        let qtype = super::lossy(|out| detail::write_type(question.qtype, out));
                        format!("{opcode}{qtype} {}", name::show_name(&question.qname))
                    },
                );
                pair.changes.push(Moved {
                    before,
                    after,
                    queries,
                    outcomes: OutcomeCounts::default(),
                    example,
                    frames: Vec::new(),
                });
                pair.changes.len() - 1
            }
            None => {
                self.not_kept += 1;
                return;
            }
        };
        let Moved { outcomes, frames, .. } = &mut pair.changes[at];
        outcomes[transaction.outcome as usize] += 1;
        let frame = transaction.query.or(transaction.response).map(|seen| seen.frame);
        if let Some(frame) = frame.filter(|_| frames.len() < self.frames) {
            frames.push(frame);
        }
    }
}

/// How a transaction with a known verdict is treated.
fn treated(judge: &Judge, verdict: Verdict, question: Option<&Question>, source: IpAddr, server: IpAddr) -> Treatment {
    let acl = verdict.acl.and_then(|number| judge.acls().get(number));
    match acl.zip(question).filter(|_| verdict.decision.word == Word::Allow) {
        Some((acl, question)) => acl.treat(&question.ask(source, server)),
        None => Treatment { decision: verdict.decision, serving: None },
    }
}

/// Reads captures and judges every transaction under both versions.
pub fn replay(
    config: &Config,
    old: &Arc<[Acl]>,
    new: &Arc<[Acl]>,
    intended: &Inventory,
    console: &mut dyn Console,
    interrupted: &Arc<AtomicBool>,
) -> Result<Traffic, Error> {
    let limits = &config.limits;
    let (inputs, ranks, failed) = run::open_inputs(config, console, interrupted)?;
    let nothing = inputs.is_empty();
    let opened: Vec<OpenedInput> = inputs.iter().map(run::opened_input).collect();
    let sources = Sources::new(limits.answered_rows, limits.silent_rows, limits.finding_frames);
    let decoder = Decoder::new(config.ports.clone(), &config.limits);
    let detail = DetailLimits { bytes: limits.detail_bytes, records: limits.detail_records };
    let mut replay = Replay {
        old: Judge::new(Arc::clone(old), detail).of_any_port(),
        new: Judge::new(Arc::clone(new), detail).of_any_port(),
        pairs: HashMap::new(),
        most: limits.answered_rows,
        frames: limits.finding_frames,
        elsewhere: 0,
        not_kept: 0,
    };
    let settings = run::settings(config, limits, Outcomes::ALL);
    let pairs = Pairs::new(&sources, Box::new(|_| Judged::default()));
    let mut tracker = Tracker::new(&decoder, settings, pairs, Box::new(|transaction| replay.push(transaction)));
    let work =
        Work { threads: config.threads, block_bytes: limits.block_bytes, interrupted, on_progress: Box::new(|_| {}) };
    let finished = pipeline::run(inputs, &ranks, &decoder, &Selection::default(), &mut tracker, work)?;
    tracker.finish(finished.read_until());
    tracker.fold_all_alone();
    let (counts, lost) = (tracker.counts.clone(), tracker.lost_state());
    let mut tally = finished.tally;
    tally.add(&tracker.tally);
    let anomalies = tracker.anomalies();
    drop(tracker);
    let mut configured = own_servers(old);
    configured.extend(own_servers(new));
    let legs = Legs::of(config, &configured, &sources);
    let read = Counted {
        inputs: opened.into_iter().zip(finished.lanes).collect(),
        failed: failed
            .iter()
            .map(|(name, error)| (name.clone(), error.detail.clone(), run::size_of_file(name)))
            .collect(),
        tally,
        counts: &counts,
        anomalies,
        interrupted: finished.interrupted,
        undecided: Default::default(),
    };
    let mut report = build(config, read, &sources.joined(), Vec::new(), &legs, &Inventory::default());
    // No rows are made.
    report.ledgers.outputs.closed = true;
    let concluded = run::conclude(config, &report, &failed, lost, Ok(()), console);
    if replay.not_kept > 0 {
        let count = counted(replay.not_kept, "transaction was", "transactions were");
        console.line(&format!("warning: {count} not judged: too many sources"));
    }
    let code = match (concluded, failed.first()) {
        // Each failed input was already reported on its own line.
        (_, Some((_, error))) if nothing => error.exit_code(),
        (0, _) if replay.not_kept > 0 => 4,
        (code, _) => code,
    };
    let inputs = report.inputs.iter().map(|input| escape_text(&input.name)).collect();
    let mut traffic = fold(replay, &legs, intended);
    traffic.inputs = inputs;
    traffic.partial.clone_from(&report.partial);
    traffic.code = code;
    Ok(traffic)
}

/// The counts of clients of the servers.
fn fold(replay: Replay, legs: &Legs, intended: &Inventory) -> Traffic {
    let mut traffic = Traffic {
        inputs: Vec::new(),
        judged: 0,
        same: 0,
        undecided: 0,
        unchanged_sources: 0,
        apart: replay.elsewhere,
        not_kept: replay.not_kept,
        changes: Vec::new(),
        partial: None,
        code: 0,
    };
    for ((source, server), pair) in replay.pairs {
        let changed: u64 = pair.changes.iter().flat_map(|moved| moved.outcomes).sum();
        let of = pair.same + changed;
        if legs.leg(source, server) != Leg::Client {
            traffic.apart += of;
            continue;
        }
        traffic.judged += of;
        traffic.same += pair.same;
        traffic.undecided += pair.undecided;
        traffic.unchanged_sources += u64::from(changed == 0);
        for Moved { before, after, queries, outcomes, example, frames } in pair.changes {
            let meant = is_meant(intended, IpNet::from(source), &before, &after, queries);
            traffic.changes.push(Change { source, server, before, after, outcomes, of, example, frames, meant });
        }
    }
    traffic.changes.sort_by_key(|change| {
        let count: u64 = change.outcomes.iter().sum();
        (
            change.meant,
            std::cmp::Reverse(count),
            change.server,
            change.source,
            words(&change.before),
            words(&change.after),
        )
    });
    traffic
}

impl Change {
    fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Outcomes with a count, in the order of the contract.
    fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = Outcome::ALL.iter().map(|(name, outcome)| (*name, self.outcomes[*outcome as usize]));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Frames by input.
    fn frames_by_input(&self, inputs: &[String]) -> Vec<FramesJson> {
        let mut by_input: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for frame in &self.frames {
            by_input.entry(frame.input).or_default().push(frame.frame);
        }
        let named = |input: u32| inputs.get(input as usize).cloned().unwrap_or_default();
        by_input.into_iter().map(|(input, frames)| FramesJson { input: named(input), frames }).collect()
    }
}

impl Traffic {
    /// Changes for observed sources that are not intended.
    pub fn unintended(&self) -> u64 {
        self.changes.iter().filter(|change| !change.meant).count() as u64
    }

    /// As text.
    pub fn describe(&self, old: &Acl, new: &Acl, text: &mut String) {
        let _ = writeln!(
            text,
            "TRAFFIC {}: {} judged under both",
            self.inputs.join(", "),
            counted(self.judged, "client transaction", "client transactions")
        );
        if let Some(why) = &self.partial {
            let _ = writeln!(text, "PARTIAL: {why}; what follows is about what was read until then");
        }
        for change in self.changes.iter().take(SHOWN) {
            let seen: Vec<String> = change.seen().map(|(name, count)| format!("{name} {}", grouped(count))).collect();
            let which = match change.of {
                1 => "its only transaction,".to_owned(),
                of => format!("{} of its {} transactions, such as", grouped(change.count()), grouped(of)),
            };
            let _ = writeln!(
                text,
                "{}  {} -> {}  {} at {}: {which} {}; on the wire {}{}",
                direction(&change.before, &change.after),
                words(&change.before),
                words(&change.after),
                change.source,
                change.server,
                change.example,
                seen.join(", "),
                if change.meant { "  (intended)" } else { "" }
            );
            let _ = writeln!(text, "    was {}", describe(old, &change.before.decision));
            let _ = writeln!(text, "    now {}", describe(new, &change.after.decision));
            for frames in change.frames_by_input(&self.inputs) {
                let numbers: Vec<String> = frames.frames.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "    {}: frame.number in {{{}}}", frames.input, numbers.join(", "));
            }
        }
        if self.changes.len() > SHOWN {
            let more = counted((self.changes.len() - SHOWN) as u64, "more change", "more changes");
            let _ = writeln!(text, "{more} (json lists them)");
        }
        let changed = self.judged - self.same;
        let _ = writeln!(
            text,
            "{} of {} change their verdict, view or recursion; {} every one; {} decided by neither file; {} not of clients of \
             these servers",
            grouped(changed),
            counted(self.judged, "transaction", "transactions"),
            counted(self.unchanged_sources, "source keeps", "sources keep"),
            grouped(self.undecided),
            grouped(self.apart)
        );
        if self.not_kept > 0 {
            let _ = writeln!(
                text,
                "{} not judged: too many sources",
                counted(self.not_kept, "transaction was", "transactions were")
            );
        }
    }

    /// As JSON.
    pub fn json(&self, old: &Acl, new: &Acl) -> TrafficJson {
        TrafficJson {
            inputs: self.inputs.clone(),
            partial: self.partial.clone(),
            judged: self.judged,
            same: self.same,
            changed: self.judged - self.same,
            undecided: self.undecided,
            unchanged_sources: self.unchanged_sources,
            apart: self.apart,
            not_kept: self.not_kept,
            changes: self
                .changes
                .iter()
                .map(|change| MovedJson {
                    source: change.source.to_string(),
                    server: change.server.to_string(),
                    transactions: change.count(),
                    of: change.of,
                    before: change.before.decision.word.name(),
                    before_rule: rule_json(old, &change.before.decision),
                    before_reason: change.before.decision.reason,
                    before_serving: serving_json(&change.before),
                    after: change.after.decision.word.name(),
                    after_rule: rule_json(new, &change.after.decision),
                    after_reason: change.after.decision.reason,
                    after_serving: serving_json(&change.after),
                    outcomes: change.seen().collect(),
                    example: change.example.clone(),
                    frames: change.frames_by_input(&self.inputs),
                    intended: change.meant,
                })
                .collect(),
        }
    }
}

/// The traffic of a comparison in JSON.
#[derive(Debug, Serialize)]
pub struct TrafficJson {
    inputs: Vec<String>,
    partial: Option<String>,
    judged: u64,
    same: u64,
    changed: u64,
    undecided: u64,
    unchanged_sources: u64,
    apart: u64,
    not_kept: u64,
    changes: Vec<MovedJson>,
}

#[derive(Debug, Serialize)]
struct MovedJson {
    source: String,
    server: String,
    transactions: u64,
    of: u64,
    before: &'static str,
    before_rule: Option<RuleJson>,
    before_reason: Option<&'static str>,
    before_serving: Option<ServingJson>,
    after: &'static str,
    after_rule: Option<RuleJson>,
    after_reason: Option<&'static str>,
    after_serving: Option<ServingJson>,
    outcomes: BTreeMap<&'static str, u64>,
    example: String,
    frames: Vec<FramesJson>,
    intended: bool,
}

#[derive(Debug, Serialize)]
struct FramesJson {
    input: String,
    frames: Vec<u64>,
}
