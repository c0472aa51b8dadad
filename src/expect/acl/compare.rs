//! One or two configurations over the whole address space: ranges within which every source is treated alike, and where
//! they differ from each other or from an inventory.

use super::{Acl, Cookie, Decision, Entry, Request, Serving, Treatment, Word, name};
use crate::decode::detail::{write_class, write_opcode, write_type};
use crate::decode::name::MAX_NAME;
use crate::expect::Inventory;
use crate::expect::inventory::{Expect, Expected, show_prefix};
use crate::expect::ranges::bounds;
use crate::transact::flights::Transport;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one family from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The first address as a number.
    pub first: u128,
    /// The last address.
    pub last: u128,
}

impl Range {
    /// The range of a prefix.
    pub fn of(prefix: IpNet) -> Self {
        let (first, last) = bounds(prefix);
        Self { v6: prefix.addr().is_ipv6(), first, last }
    }

    /// The address of a number.
    fn address(self, number: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(Ipv6Addr::from_bits(number)) } else { IpAddr::V4(Ipv4Addr::from_bits(number as u32)) }
    }

    /// The first address.
    pub fn start(self) -> IpAddr {
        self.address(self.first)
    }

    /// The fewest prefixes that make it up.
    pub fn prefixes(self) -> Vec<IpNet> {
        match (self.address(self.first), self.address(self.last)) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect(),
            _ => Vec::new(),
        }
    }

    /// As people write it: a prefix, else `first-last`.
    pub fn show(self) -> String {
        match self.prefixes().as_slice() {
            [prefix] => show_prefix(*prefix),
            _ => format!("{}-{}", self.address(self.first), self.address(self.last)),
        }
    }

    /// True when it holds all of `other`.
    pub fn holds(self, other: Range) -> bool {
        self.v6 == other.v6 && self.first <= other.first && other.last <= self.last
    }

    /// True when it holds a part of `other`.
    pub fn touches(self, other: Range) -> bool {
        self.v6 == other.v6 && self.first <= other.last && other.first <= self.last
    }
}

/// The whole of both families in ranges that no prefix cuts.
pub fn ranges(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<Range> {
    let mut starts: [BTreeSet<u128>; 2] = [BTreeSet::from([0]), BTreeSet::from([0])];
    let most = [u128::from(u32::MAX), u128::MAX];
    for prefix in prefixes {
        let (first, last) = bounds(prefix);
        let family = usize::from(prefix.addr().is_ipv6());
        starts[family].insert(first);
        if last < most[family] {
            starts[family].insert(last + 1);
        }
    }
    let mut all = Vec::new();
    for (family, starts) in starts.iter().enumerate() {
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([most[family]]);
        all.extend(starts.iter().zip(ends).map(|(first, last)| Range { v6: family == 1, first: *first, last }));
    }
    all
}

/// A question that is asked for every source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What people call it.
    pub label: String,
    /// The name in wire form.
    pub qname: Vec<u8>,
    /// Its type.
    pub qtype: u16,
    /// Its class.
    pub qclass: u16,
    /// The opcode.
    pub opcode: u8,
    /// Recursion is desired.
    pub rd: bool,
    /// UDP or TCP.
    pub transport: Transport,
    /// The key that signs it.
    pub key: Option<Vec<u8>>,
    /// Its COOKIE option.
    pub cookie: Cookie,
    /// Records in its answer, authority and additional sections.
    pub sections: [u16; 3],
}

/// A name that no server is likely to hold.
pub const UNHOSTED: &str = "name-that-no-zone-holds.example";

impl Default for Question {
    fn default() -> Self {
        Self {
            label: "a name in no zone".to_owned(),
            qname: name::parse_name(UNHOSTED).unwrap_or_default(),
            qtype: 1,
            qclass: 1,
            opcode: 0,
            rd: true,
            transport: Transport::Udp,
            key: None,
            cookie: Cookie::NotKnown,
            sections: [0; 3],
        }
    }
}

/// AXFR and IXFR.
const TRANSFERS: [u16; 2] = [252, 251];

impl Question {
    /// It asks for a name as clients do: no transfer, update or notification, which other lists are for, and nothing about
    /// the server itself.
    pub fn is_usual(&self) -> bool {
        self.is_query() && self.qclass == 1
    }

    /// It is a query: no transfer, update or notification.
    pub fn is_query(&self) -> bool {
        self.opcode == 0 && !TRANSFERS.contains(&self.qtype)
    }

    /// What kinds of lists it may meet, whatever it asks for.
    pub fn kind(&self) -> (u8, u16, bool, bool, bool) {
        (self.opcode, self.qclass, self.rd, TRANSFERS.contains(&self.qtype), self.key.is_some())
    }

    /// The name and type as people write them, and what else decides.
    pub fn show(&self) -> String {
        let mut text = if self.qname == Self::default().qname {
            "a name in no zone".to_owned()
        } else {
            let mut text = Vec::new();
            if self.opcode != 0 {
                write_opcode(self.opcode, &mut text);
                text.push(b' ');
            }
            text.extend(name::show_name(&self.qname).into_bytes());
            text.push(b' ');
            write_type(self.qtype, &mut text);
            if self.qclass != 1 {
                text.push(b' ');
                write_class(self.qclass, &mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        if !self.rd && self.is_query() {
            text.push_str(" without recursion (RD 0)");
        }
        if let Some(key) = &self.key {
            text.push_str(" signed with ");
            text.push_str(&name::show_name(key));
        }
        text
    }

    /// The request of a source.
    pub fn ask(&self, source: IpAddr, destination: IpAddr) -> Request<'_> {
        Request {
            source,
            destination,
            transport: self.transport,
            opcode: self.opcode,
            qname: &self.qname,
            qtype: self.qtype,
            qclass: self.qclass,
            rd: self.rd,
            key: self.key.as_deref(),
            cookie: self.cookie,
            sections: self.sections,
        }
    }

    /// Everything worth asking about two configurations: a name in no zone, with and without recursion, and each name
    /// they treat in a way of its own, as query, transfer, update and notification; the same signed with each of their keys.
    /// About `most` are asked; the second number is how many are not.
    pub fn all(
        names: &BTreeSet<Vec<u8>>,
        zones: bool,
        keys: &BTreeSet<Vec<u8>>,
        most: usize,
    ) -> (Vec<Question>, usize) {
        let signings = || std::iter::once(None).chain(keys.iter().map(Some));
        let mut all = Vec::new();
        for key in signings() {
            let base = Question::default();
            all.push(
                Question { label: "a name in no zone, without RD".to_owned(), rd: false, ..base.clone() }.signed(key),
            );
            // What servers serve by themselves: of their own, and of private addresses.
            for (name, qtype, qclass) in [("version.bind", 16, 3), ("1.1.1.10.in-addr.arpa", 12, 1)] {
                let built_in =
                    Question { qname: name::parse_name(name).unwrap_or_default(), qtype, qclass, ..base.clone() };
                all.push(Question { label: built_in.show(), ..built_in }.signed(key));
            }
            all.push(base.signed(key));
        }
        let mut left = 0;
        for (key, qname) in signings().flat_map(|key| names.iter().map(move |qname| (key, qname))) {
            if all.len() >= most {
                left += if zones { 5 } else { 4 };
                continue;
            }
            let shown = name::show_name(qname);
            let base = Question { label: shown.clone(), qname: qname.clone(), ..Question::default() };
            if zones {
                let tcp = Transport::Tcp;
                let transfer = Question { label: format!("{shown} AXFR"), qtype: 252, transport: tcp, ..base.clone() };
                all.push(transfer.signed(key));
                let update = Question { label: format!("{shown} UPDATE"), qtype: 6, opcode: 5, ..base.clone() };
                all.push(update.signed(key));
                let notification = Question { label: format!("{shown} NOTIFY"), qtype: 6, opcode: 4, ..base.clone() };
                all.push(notification.signed(key));
            } else {
                let below = [&b"\x05below"[..], qname].concat();
                if below.len() <= MAX_NAME {
                    all.push(
                        Question { label: format!("a name below {shown}"), qname: below, ..base.clone() }.signed(key),
                    );
                }
                all.push(Question { label: format!("{shown} AAAA"), qtype: 28, ..base.clone() }.signed(key));
            }
            all.push(Question { label: format!("{shown} without RD"), rd: false, ..base.clone() }.signed(key));
            all.push(base.signed(key));
        }
        (all, left)
    }

    /// The same, signed with a key, when there is one.
    fn signed(self, key: Option<&Vec<u8>>) -> Self {
        match key {
            Some(key) => Self {
                label: format!("{} signed with {}", self.label, name::show_name(key)),
                key: Some(key.clone()),
                ..self
            },
            None => self,
        }
    }

    /// It is what a list decides, as far as the list's name tells (`zone example.net: allow-transfer`).
    fn is_about(&self, list: &str) -> bool {
        let clause = list.rsplit(": ").next().unwrap_or(list);
        let kind = match clause {
            "allow-transfer" => self.qtype == 252,
            "allow-notify" => self.opcode == 4,
            _ if clause.starts_with("allow-update") => self.opcode == 5,
            _ => self.opcode == 0 && self.qtype != 252,
        };
        let zone = list.split(": ").find_map(|part| part.strip_prefix("zone "));
        kind && zone.is_none_or(|zone| name::show_name(&self.qname) == zone)
    }

    /// What is the same in questions that differ in the key that signs them.
    fn but_for_key(&self) -> (&[u8], u16, u8, bool) {
        (&self.qname, self.qtype, self.opcode, self.rd)
    }
}

/// The address a configuration is asked at: one it speaks for, of the family of the source when there is one.
pub fn destination(acl: &Acl, asked: Option<IpAddr>, source: IpAddr) -> IpAddr {
    let fallback = if source.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let bound = acl.bound();
    let same = bound.iter().find(|address| address.is_ipv6() == source.is_ipv6()).copied();
    asked.or(same).or(bound.first().copied()).unwrap_or(fallback)
}

/// What a configuration answers the sources of a prefix, as far as it says the same of neighbours: at most `most` such
/// parts, and whether that is all.
pub fn within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Decision)>, bool) {
    parts(acl, prefix, most, |source| acl.decide(&question.ask(source, destination(acl, asked, source))))
}

/// The same with how those are served that are allowed.
pub fn treated_within(
    acl: &Acl,
    prefix: IpNet,
    question: &Question,
    asked: Option<IpAddr>,
    most: usize,
) -> (Vec<(Range, Treatment)>, bool) {
    parts(acl, prefix, most, |source| acl.treat(&question.ask(source, destination(acl, asked, source))))
}

/// Parts of a prefix of which the same is said.
fn parts<Said: PartialEq>(
    acl: &Acl,
    prefix: IpNet,
    most: usize,
    say: impl Fn(IpAddr) -> Said,
) -> (Vec<(Range, Said)>, bool) {
    let whole = Range::of(prefix);
    let edges = acl.policy().prefixes().into_iter().filter(|edge| prefix.contains(edge)).chain([prefix]);
    let mut parts: Vec<(Range, Said)> = Vec::new();
    for range in ranges(edges).into_iter().filter(|range| whole.holds(*range)) {
        let said = say(range.start());
        let full = parts.len() == most;
        match parts.last_mut() {
            Some((before, same)) if *same == said => before.last = range.last,
            _ if full => return (parts, false),
            _ => parts.push((range, said)),
        }
    }
    (parts, true)
}

//------------ Against an inventory --------------------------------------------

/// A part of an inventory line of which the configuration says something else.
#[derive(Debug, Clone)]
pub struct Difference<'a> {
    /// The line.
    pub row: &'a crate::expect::inventory::Row,
    /// The part.
    pub range: Range,
    /// What the configuration says.
    pub treatment: Treatment,
    /// Of which question, by number.
    pub question: usize,
}

/// Parts of inventory lines of which the configuration says something else, in the order of the lines. A source that is
/// to be allowed is to be allowed one of the questions, with recursion where that is desired and the server does not hold
/// the name; one that is to be refused is to be refused all.
pub fn check<'a>(
    acl: &Acl,
    inventory: &'a Inventory,
    questions: &[Question],
    asked: Option<IpAddr>,
) -> Vec<Difference<'a>> {
    let listed = inventory.rows().iter().flat_map(|row| std::iter::once(row.prefix).chain(row.outside.iter().copied()));
    let listed: Vec<IpNet> = listed.collect();
    let mut differences: Vec<Difference<'a>> = Vec::new();
    // The latest part of each line, by family: only that one can be next to a further one.
    let mut latest: HashMap<(usize, bool), usize> = HashMap::new();
    for range in ranges(acl.policy().prefixes().into_iter().chain(listed)) {
        let Expected::Listed(row) = inventory.decide(range.start()) else { continue };
        let source = range.start();
        let other = |question: &Question| {
            let treatment = acl.treat(&question.ask(source, destination(acl, asked, source)));
            (!is_as_expected(row.expect, &treatment)).then_some(treatment)
        };
        let mut others = questions.iter().map(other);
        let found = match row.expect {
            Expect::Allow => {
                let first = others.next().flatten();
                first.filter(|_| others.all(|other| other.is_some())).map(|treatment| (0, treatment))
            }
            Expect::Refuse => others.enumerate().find_map(|(number, treatment)| Some((number, treatment?))),
        };
        let Some((question, treatment)) = found else { continue };
        let key = (row.index, range.v6);
        let before = latest.get(&key).and_then(|at| differences.get_mut(*at));
        let next = |before: &&mut Difference<'_>| {
            (&before.treatment, before.question) == (&treatment, question)
                && before.range.last.wrapping_add(1) == range.first
        };
        if let Some(before) = before.filter(next) {
            before.range.last = range.last;
        } else {
            latest.insert(key, differences.len());
            differences.push(Difference { row, range, treatment, question });
        }
    }
    differences.sort_by_key(|difference| (difference.row.index, difference.range));
    differences
}

/// The inventory expects what the configuration says.
fn is_as_expected(expect: Expect, treatment: &Treatment) -> bool {
    match expect {
        Expect::Allow => treatment.decision.word == Word::Allow && !treatment.lacks_recursion(),
        Expect::Refuse => matches!(treatment.decision.word, Word::Refuse | Word::Drop | Word::NotAuth),
    }
}

//------------ Against another version -----------------------------------------

/// Two treatments that differ in their verdict, their view or their recursion, with just that of how the request is served
/// which differs; nothing when they do not.
pub fn differing(before: &Treatment, after: &Treatment) -> Option<(Treatment, Treatment)> {
    let nothing = Serving::default();
    let (was, is) = (before.serving.as_ref().unwrap_or(&nothing), after.serving.as_ref().unwrap_or(&nothing));
    let other_word = before.decision.word != after.decision.word;
    // What the server holds itself it answers with recursion or without; to hold more or less is no matter of sources.
    let other_recursion = was.recursion != is.recursion && !was.held && !is.held;
    let other_view = was.view != is.view;
    let only = |decision: Decision, serving: &Serving| Treatment {
        decision,
        serving: (!other_word).then(|| Serving {
            view: serving.view.clone().filter(|_| other_view),
            recursion: serving.recursion.filter(|_| other_recursion),
            held: false,
        }),
    };
    (other_word || other_view || other_recursion).then(|| (only(before.decision, was), only(after.decision, is)))
}

/// A range of sources that a question is treated differently for than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The sources.
    pub range: Range,
    /// What was said before; how it was served, where the verdict is the same and that differs.
    pub before: Treatment,
    /// What is said now, likewise.
    pub after: Treatment,
    /// Numbers of the questions.
    pub questions: Vec<usize>,
}

/// An edit that changes no verdict, view or recursion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutEffect {
    /// The entry that was added.
    pub entry: Entry,
    /// A question that its list is about.
    pub question: Question,
    /// What decides for its sources then.
    pub decision: Decision,
}

/// Verdicts looked up, about: more would take minutes.
pub const VERDICTS: usize = 20_000_000;
/// Questions asked in any case, and never more, about: they are kept.
const QUESTIONS: (usize, usize) = (500, 200_000);

/// What differs between two versions.
#[derive(Debug, Default)]
pub struct Differences {
    /// The questions that were asked.
    pub questions: Vec<Question>,
    /// Questions that were not: there are too many names, keys and prefixes.
    pub not_asked: usize,
    /// Ranges whose verdict, view or recursion changes.
    pub changes: Vec<Change>,
    /// Additions that change nothing.
    pub without_effect: Vec<WithoutEffect>,
}

/// Compares two versions of a configuration for every source.
pub fn diff(old: &Acl, new: &Acl, asked: &[IpAddr]) -> Differences {
    let names: BTreeSet<Vec<u8>> = old.policy().names().into_iter().chain(new.policy().names()).collect();
    let keys: BTreeSet<Vec<u8>> = old.policy().keys().into_iter().chain(new.policy().keys()).collect();
    let zones = old.policy().names_are_zones() || new.policy().names_are_zones();
    let ranges = ranges(old.policy().prefixes().into_iter().chain(new.policy().prefixes()));
    let bound: BTreeSet<IpAddr> = old.bound().into_iter().chain(new.bound()).collect();
    let at: Vec<Option<IpAddr>> = match (asked.is_empty(), bound.is_empty()) {
        (false, _) => asked.iter().copied().map(Some).collect(),
        (true, false) => bound.into_iter().map(Some).collect(),
        (true, true) => vec![None],
    };
    let most = (VERDICTS / (2 * ranges.len() * at.len()).max(1)).clamp(QUESTIONS.0, QUESTIONS.1);
    let (questions, not_asked) = Question::all(&names, zones, &keys, most);
    let mut changes: Vec<Change> = Vec::new();
    // Changes of each range, by their numbers: there may be as many as there are lines.
    let mut of_range: HashMap<Range, Vec<usize>> = HashMap::new();
    for (number, question) in questions.iter().enumerate() {
        let mut of_question: Vec<Change> = Vec::new();
        for (place, server) in at.iter().enumerate() {
            let of_others = of_question.len();
            for range in &ranges {
                let source = range.start();
                if server.is_some_and(|server| server.is_ipv6() != source.is_ipv6()) && at.len() > 1 {
                    continue;
                }
                let before = old.treat(&question.ask(source, destination(old, *server, source)));
                let after = new.treat(&question.ask(source, destination(new, *server, source)));
                let Some((before, after)) = differing(&before, &after) else { continue };
                let change = Change { range: *range, before, after, questions: vec![number] };
                // Other addresses of the server most often say the same.
                let said = |known: &Change| {
                    let same = known.after.decision.word == change.after.decision.word;
                    same && known.after.serving == change.after.serving && known.range.holds(*range)
                };
                if place > 0 && of_question[..of_others].iter().any(said) {
                    continue;
                }
                match of_question.last_mut() {
                    Some(last)
                        if last.range.v6 == range.v6
                            && last.range.last.wrapping_add(1) == range.first
                            && (&last.before, &last.after) == (&change.before, &change.after) =>
                    {
                        last.range.last = range.last;
                    }
                    _ => of_question.push(change),
                }
            }
        }
        for change in of_question {
            let known = of_range.entry(change.range).or_default();
            let same = |at: &&usize| (&changes[**at].before, &changes[**at].after) == (&change.before, &change.after);
            match known.iter().find(same) {
                Some(at) => changes[*at].questions.push(number),
                None => {
                    known.push(changes.len());
                    changes.push(change);
                }
            }
        }
    }
    // What has no effect is not known where not everything was asked.
    let without_effect = if not_asked == 0 { without_effect(old, new, &questions, &changes, &at) } else { Vec::new() };
    for change in changes.iter_mut().filter(|change| change.questions.len() < questions.len()) {
        // What a signature changes nothing about is said once.
        let of_change = change.questions.iter().map(|at| &questions[*at]);
        let unsigned: HashSet<_> = of_change.filter(|one| one.key.is_none()).map(Question::but_for_key).collect();
        change.questions.retain(|at| {
            let question = &questions[*at];
            question.key.is_none() || !unsigned.contains(&question.but_for_key())
        });
    }
    Differences { questions, not_asked, changes, without_effect }
}

/// Ranges in order, joined where they meet or are next to each other.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let next_to = before.v6 == next.v6 && before.last.checked_add(1) == Some(next.first);
        let meet = before.touches(*next) || next_to;
        if meet {
            before.last = before.last.max(next.last);
        }
        meet
    });
    ranges
}

/// Entries that were added, stand for none that was there, and change nothing for their sources.
fn without_effect(
    old: &Acl,
    new: &Acl,
    questions: &[Question],
    changes: &[Change],
    at: &[Option<IpAddr>],
) -> Vec<WithoutEffect> {
    let key = |entry: &Entry| (entry.list.clone(), entry.matches.clone(), entry.action.clone());
    let (old_entries, new_entries) = (old.policy().entries(), new.policy().entries());
    let known: HashSet<_> = old_entries.iter().map(key).collect();
    let kept: HashSet<_> = new_entries.iter().map(key).collect();
    // What entries of a list covered that are gone.
    let mut gone: HashMap<(String, String), Vec<Range>> = HashMap::new();
    for entry in old_entries.iter().filter(|entry| !kept.contains(&key(entry))) {
        let of_list = gone.entry((entry.list.clone(), entry.action.clone())).or_default();
        of_list.extend(entry.prefix.map(Range::of));
    }
    let gone: HashMap<_, _> = gone.into_iter().map(|(list, ranges)| (list, joined(ranges))).collect();
    let ranges = joined(changes.iter().map(|change| change.range).collect());
    let mut without = Vec::new();
    for entry in new_entries {
        let added = entry.admits && !known.contains(&key(&entry));
        let Some(prefix) = entry.prefix.filter(|_| added) else { continue };
        let range = Range::of(prefix);
        let near = ranges.partition_point(|changed| (changed.v6, changed.last) < (range.v6, range.first));
        if ranges.get(near).is_some_and(|changed| changed.touches(range)) {
            continue;
        }
        let replaced = gone.get(&(entry.list.clone(), entry.action.clone()));
        if replaced.is_some_and(|covered| covered.iter().any(|gone| gone.holds(range))) {
            continue;
        }
        let about = questions.iter().filter(|question| question.key.is_none() && question.is_about(&entry.list));
        // Recursion desired, which most requests have.
        let question = about.max_by_key(|question| question.rd).cloned().unwrap_or_default();
        let server = at.first().copied().flatten();
        let source = range.start();
        let decision = new.decide(&question.ask(source, destination(new, server, source)));
        if decision.rule == Some(entry.rule) {
            // It decides, and as long as what did before is there, that would.
            let before = old.decide(&question.ask(source, destination(old, server, source)));
            let decided = old_entries.iter().find(|other| before.rule == Some(other.rule));
            if !decided.is_some_and(|decided| kept.contains(&key(decided))) {
                continue;
            }
        }
        without.push(WithoutEffect { entry, question, decision });
    }
    without
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIND: &str = "\
options {
    allow-recursion { 10.20.0.0/16; };
    allow-query-cache { 10.20.0.0/16; };
};
";

    fn acl(text: &str) -> Acl {
        Acl::from_text("bind-9.18:named.conf", text, &[]).unwrap()
    }

    #[test]
    fn ranges_cover_everything_once() {
        let prefixes = ["10.20.0.0/16", "10.20.7.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32"];
        let all = ranges(prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap()));
        for v6 in [false, true] {
            let family: Vec<&Range> = all.iter().filter(|range| range.v6 == v6).collect();
            assert_eq!(family[0].first, 0);
            assert!(family.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
        }
        assert_eq!(all[1].show(), "10.20.0.0-10.20.6.255");
        assert_eq!(all[2].show(), "10.20.7.0/24");
    }

    #[test]
    fn an_edit_that_another_list_undoes_is_told() {
        let (old, new) = (acl(BIND), acl(&BIND.replacen("10.20.0.0/16;", "10.20.0.0/16; 10.21.0.0/16;", 1)));
        let found = diff(&old, &new, &[]);
        assert!(found.changes.is_empty(), "{:?}", found.changes);
        assert_eq!(found.without_effect.len(), 1);
        let without = &found.without_effect[0];
        assert_eq!((without.entry.list.as_str(), without.entry.matches.as_str()), ("allow-recursion", "10.21.0.0/16"));
        assert_eq!((without.decision.word, new.rule(without.decision.rule.unwrap()).line), (Word::Refuse, 3));
    }

    #[test]
    fn every_name_and_key_is_asked_for_or_it_is_said_that_not_all_were() {
        // What changes for the last of many zones alone, and for requests signed with one of two keys alone.
        let zones = |last: &str, count: usize| -> String {
            let zone = |number: usize| {
                let clause = if number + 1 == count { last } else { "" };
                format!("zone \"z{number:04}.example\" {{ type primary; file \"z\"; {clause} }};\n")
            };
            (0..count).map(zone).collect::<Vec<String>>().concat()
        };
        let keys = "key k1 { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\nkey k2 { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\n";
        let file = |last: &str, count: usize| {
            acl(&format!("{keys}options {{ recursion no; allow-transfer {{ none; }}; }};\n{}", zones(last, count)))
        };
        let labels = |found: &Differences| -> Vec<String> {
            let all = found.changes.iter().flat_map(|change| &change.questions);
            all.map(|number| found.questions[*number].label.clone()).collect()
        };
        let found = diff(&file("", 700), &file("allow-transfer { 192.0.2.0/24; };", 700), &[]);
        assert_eq!((labels(&found), found.not_asked), (vec!["z0699.example AXFR".to_owned()], 0));
        let found = diff(&file("allow-update { key k1; };", 9), &file("allow-update { key k1; key k2; };", 9), &[]);
        assert_eq!(labels(&found), ["z0008.example UPDATE signed with k2"; 2], "both families");
        assert!(found.without_effect.is_empty());
        // Too much to ask for.
        let names: BTreeSet<Vec<u8>> = (0..100u8).map(|n| vec![1, b'a' + n % 26, 1, b'a' + n / 26, 0]).collect();
        let (asked, left) = Question::all(&names, true, &BTreeSet::new(), 52);
        assert_eq!((asked.len(), asked.len() + left), (54, 4 + 5 * names.len()));
    }

    #[test]
    fn below_zones_in_views_and_of_what_servers_serve_themselves_changes_are_told() {
        let unbound = |text: &str| {
            Acl::from_text("unbound-1.17:u.conf", &format!("server:\n access-control: 10.0.0.0/8 allow\n{text}"), &[])
                .unwrap()
        };
        let labels = |old: &Acl, new: &Acl| -> Vec<String> {
            let found = diff(old, new, &[]);
            let first = found.changes.iter().find(|change| change.range.show() == "10.0.0.0/8");
            first.map_or_else(Vec::new, |change| {
                change.questions.iter().map(|at| found.questions[*at].label.clone()).collect()
            })
        };
        let zone = |kind: &str, data: &str| {
            unbound(&format!(" local-zone: \"z.example\" {kind}\n local-data: \"z.example A 192.0.2.1\"\n{data}"))
        };
        assert_eq!(labels(&zone("refuse", ""), &zone("static", "")), ["a name below z.example", "z.example AAAA"]);
        let more = " local-data: \"z.example AAAA 2001:db8::1\"\n";
        assert_eq!(labels(&zone("refuse", ""), &zone("refuse", more)), ["z.example AAAA"]);
        let view = |kind: &str| {
            unbound(&format!(
                " access-control-view: 10.0.0.0/8 v\nview:\n name: \"v\"\n local-zone: \"v.example\" {kind}\n"
            ))
        };
        assert_eq!(labels(&view("always_refuse"), &view("static")).len(), 4);
        let bind = |more: &str| {
            acl(&format!(
                "options {{ recursion no; allow-query {{ 10.1.0.0/16; {more} }}; }};\nzone \"z.example\" {{ type primary; file \"z\"; allow-query {{ any; }}; }};\n"
            ))
        };
        assert!(labels(&bind(""), &bind("10.0.0.0/8;")).is_empty(), "a part of it was allowed");
        let found = diff(&bind(""), &bind("192.0.2.0/24;"), &[]);
        let labels: Vec<&str> = found
            .changes
            .iter()
            .flat_map(|change| &change.questions)
            .map(|at| found.questions[*at].label.as_str())
            .collect();
        assert!(labels.contains(&"version.bind TXT CH"), "{labels:?}");
    }

    #[test]
    fn changes_are_told_by_range() {
        let (old, new) = (acl(BIND), acl(&BIND.replace("10.20.0.0/16;", "!10.20.7.0/24; 10.20.0.0/16; 10.21.0.0/16;")));
        let found = diff(&old, &new, &[]);
        let shown: Vec<String> = found
            .changes
            .iter()
            .filter(|change| change.questions.contains(&0))
            .map(|change| format!("{} {}", change.range.show(), change.after.decision.word.name()))
            .collect();
        assert_eq!(shown, ["10.20.7.0/24 refuse", "10.21.0.0/16 allow"]);
        assert!(found.without_effect.is_empty());
        assert_eq!(diff(&old, &old, &[]).changes, []);
    }

    #[test]
    fn every_part_of_a_prefix_is_told() {
        let acl = acl(&BIND.replace("10.20.0.0/16;", "!10.20.7.0/24; 10.20.0.0/16;"));
        let shown = |prefix: &str, most: usize| {
            let (parts, all) = within(&acl, prefix.parse().unwrap(), &Question::default(), None, most);
            let words = parts.iter().map(|(range, decision)| format!("{} {}", range.show(), decision.word.name()));
            (words.collect::<Vec<_>>(), all)
        };
        assert_eq!(shown("10.20.1.0/24", 3), (vec!["10.20.1.0/24 allow".to_owned()], true));
        let parts = ["10.20.6.0/24 allow", "10.20.7.0/24 refuse"].map(str::to_owned);
        assert_eq!(shown("10.20.6.0/23", 3), (parts.to_vec(), true));
        assert_eq!(shown("10.20.6.0/23", 1), (parts[..1].to_vec(), false));
        let wide = shown("10.0.0.0/8", 9);
        assert_eq!((wide.0.len(), wide.0[0].as_str(), wide.1), (5, "10.0.0.0-10.19.255.255 refuse", true));
    }

    #[test]
    fn parts_of_an_inventory_that_differ_are_told() {
        let inventory = Inventory::from_text(
            "expect.csv",
            "prefix,name,expect\n10.20.0.0/15,both,\n10.20.9.0/24,guests,refuse\n10.22.0.0/16,strangers,refuse\n",
        )
        .unwrap();
        let acl = acl(BIND);
        let found = check(&acl, &inventory, &[Question::default()], None);
        let shown: Vec<(u64, String, &str)> =
            found.iter().map(|one| (one.row.line, one.range.show(), one.treatment.decision.word.name())).collect();
        assert_eq!(shown, [(2, "10.21.0.0/16".to_owned(), "refuse"), (3, "10.20.9.0/24".to_owned(), "allow")]);
    }
}
