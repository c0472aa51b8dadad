//! Address match lists: parses the text of one into a [`List`] that finds its first matching element.

mod building;
mod named;

use crate::expect::acl::network::OwnAddresses;
use crate::expect::acl::{RuleId, name};
use crate::expect::ranges::Ranges;
use ipnet::IpNet;
pub use named::Named;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// An element of a list.
#[derive(Debug, Clone, Copy)]
pub enum Element<'a> {
    /// A prefix.
    Prefix(&'a Prefix),
    /// Every address of both families.
    Everything(&'a Prefix),
    /// Something else.
    Other(&'a Other),
}

/// The result of matching a request against a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The first matching element is this, and it is not negated.
    Positive(RuleId),
    /// The first matching element is negated.
    Negative(RuleId),
    /// No element matches.
    None,
    /// It depends on something that is not known from the text.
    Unknown(&'static str, RuleId),
}

/// A list, ready to match.
#[derive(Debug, Default)]
pub struct List {
    /// Prefixes by their number; the lowest number decides.
    ranges: Ranges,
    /// The meaning of each numbered prefix.
    prefixes: Vec<Prefix>,
    /// The same without the prefixes, close together in memory, because lookups come in no order.
    meanings: Vec<Meaning>,
    /// The result for every address, if it is the same for all.
    always: Option<Match>,
    /// Elements that are not prefixes, in the order of their numbers.
    others: Vec<Other>,
    /// Number of elements so far, including those of merged lists.
    count: u32,
    /// Number of lists inside it and inside those, each counted as often as it is named.
    lists: u32,
    /// An element is negated, or is `none`.
    has_negatives: bool,
}

/// A prefix in a list.
#[derive(Debug, Clone, Copy)]
pub struct Prefix {
    net: IpNet,
    number: u32,
    positive: bool,
    rule: RuleId,
}

/// What a prefix means.
#[derive(Debug, Clone, Copy)]
struct Meaning {
    number: u32,
    /// The rule, and a bit that is set when it admits.
    rule: u32,
}

impl Meaning {
    fn of(prefix: &Prefix) -> Self {
        Self { number: prefix.number, rule: prefix.rule.0 << 1 | u32::from(prefix.positive) }
    }

    fn says(self) -> Match {
        let rule = RuleId(self.rule >> 1);
        if self.rule & 1 == 1 { Match::Positive(rule) } else { Match::Negative(rule) }
    }
}

/// An element that is not a prefix.
#[derive(Debug, Clone)]
pub struct Other {
    number: u32,
    negative: bool,
    kind: Kind,
    rule: RuleId,
}

#[derive(Debug, Clone)]
enum Kind {
    Localhost,
    Localnets,
    /// A request signed with this key (wire form).
    Key(Vec<u8>),
    Nested(Arc<List>),
    Unknown(&'static str),
}

/// What was already met in other lists. Thousands of lists may hold the same elements, and looking each of them up by
/// what it matches would take seconds.
#[derive(Debug, Default)]
pub struct Seen {
    /// Lists.
    pub lists: HashSet<*const List>,
    /// The prefix met last for each rule; most rules have only one.
    nets: Vec<Option<IpNet>>,
}

impl Seen {
    fn is_news(&mut self, prefix: &Prefix) -> bool {
        let rule = prefix.rule.0 as usize;
        if rule >= self.nets.len() {
            self.nets.resize(rule + 1, None);
        }
        self.nets[rule].replace(prefix.net) != Some(prefix.net)
    }
}

/// The part of a request that lists look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The address.
    pub address: IpAddr,
    /// The key that signed it.
    pub key: Option<&'a [u8]>,
}

impl List {
    /// True unless it consists only of keys.
    pub fn names_addresses(&self) -> bool {
        let of_addresses = |other: &Other| match &other.kind {
            Kind::Key(_) => false,
            Kind::Nested(list) => list.names_addresses(),
            Kind::Localhost | Kind::Localnets | Kind::Unknown(_) => true,
        };
        self.others.is_empty() || !self.prefixes.is_empty() || self.others.iter().any(of_addresses)
    }

    /// All its elements are prefixes.
    pub fn of_prefixes(&self) -> bool {
        self.others.is_empty()
    }

    /// Its prefixes, each with a number.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The prefix of this number is not negated.
    pub fn lets_pass(&self, number: u32) -> bool {
        matches!(self.meanings[number as usize].says(), Match::Positive(_))
    }

    /// The first matching element.
    #[inline]
    pub fn find(&self, subject: Subject<'_>, own: &OwnAddresses) -> Match {
        if let Some(always) = self.always {
            return always;
        }
        let found = self.ranges.find(subject.address).map(|index| self.meanings[index as usize]);
        let fallback = found.map_or(Match::None, Meaning::says);
        if self.others.is_empty() { fallback } else { self.find_among_others(subject, own, found, fallback) }
    }

    /// The same for a list with elements that are not prefixes.
    fn find_among_others(
        &self,
        subject: Subject<'_>,
        own: &OwnAddresses,
        found: Option<Meaning>,
        fallback: Match,
    ) -> Match {
        let mut unknown: Option<(&'static str, &Other)> = None;
        let mut result = fallback;
        for other in &self.others {
            if found.is_some_and(|meaning| meaning.number < other.number) {
                break;
            }
            match other.matches(subject, own) {
                Ok(true) => {
                    result = other.result();
                    break;
                }
                Ok(false) => {}
                Err(reason) => {
                    unknown.get_or_insert((reason, other));
                }
            }
        }
        match unknown {
            // Whether the unknown element matches makes no difference when the rest of the list says the same.
            Some((reason, other)) if !result.says_as(other.result()) => Match::Unknown(reason, other.rule),
            _ => result,
        }
    }

    /// Every prefix in it and in the lists inside it, except most of those that were `seen` before.
    pub fn prefixes(&self, seen: &mut Seen, into: &mut Vec<IpNet>) {
        into.extend(self.prefixes.iter().filter(|prefix| seen.is_news(prefix)).map(|prefix| prefix.net));
        for other in &self.others {
            if let Kind::Nested(list) = &other.kind
                && seen.lists.insert(Arc::as_ptr(list))
            {
                list.prefixes(seen, into);
            }
        }
    }

    /// The rules of its elements and whether each admits, in no order.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, bool)> {
        let others = self.others.iter().map(|other| (other.rule, !other.negative));
        self.prefixes.iter().map(|prefix| (prefix.rule, prefix.positive)).chain(others)
    }

    /// Its elements in order, not yet as text: there may be many.
    pub fn elements(&self) -> Vec<Element<'_>> {
        let prefixes = self.prefixes.iter().map(|prefix| (prefix.number, Element::Prefix(prefix)));
        let others = self.others.iter().map(|other| (other.number, Element::Other(other)));
        let mut all: Vec<(u32, Element<'_>)> = prefixes.chain(others).collect();
        all.sort_by_key(|(number, _)| *number);
        // Both families under one number are `any` or `none`.
        all.dedup_by(|later, earlier| {
            let both = later.0 == earlier.0;
            if let (true, Element::Prefix(prefix)) = (both, earlier.1) {
                earlier.1 = Element::Everything(prefix);
            }
            both
        });
        all.into_iter().map(|(_, element)| element).collect()
    }
}

impl Element<'_> {
    /// What it matches, for people.
    pub fn show(self) -> String {
        let other = match self {
            Self::Prefix(prefix) => return crate::expect::inventory::show_prefix(prefix.net),
            Self::Everything(_) => return "any".to_owned(),
            Self::Other(other) => other,
        };
        match &other.kind {
            Kind::Localhost => "localhost".to_owned(),
            Kind::Localnets => "localnets".to_owned(),
            Kind::Key(key) => format!("key {}", name::show_name(key)),
            Kind::Nested(list) => {
                let inner = list.elements();
                let sign = |element: &Element<'_>| if element.positive() { "" } else { "!" };
                let text: Vec<String> =
                    inner.iter().take(8).map(|element| format!("{}{}", sign(element), element.show())).collect();
                format!("{{ {}{} }}", text.join("; "), if inner.len() > 8 { "; ..." } else { ";" })
            }
            Kind::Unknown(reason) => (*reason).to_owned(),
        }
    }

    /// The prefix, if it is one; that of IPv4 for every address.
    pub fn prefix(self) -> Option<IpNet> {
        match self {
            Self::Prefix(prefix) | Self::Everything(prefix) => Some(prefix.net),
            Self::Other(_) => None,
        }
    }

    /// True when it is not negated.
    pub fn positive(self) -> bool {
        match self {
            Self::Prefix(prefix) | Self::Everything(prefix) => prefix.positive,
            Self::Other(other) => !other.negative,
        }
    }

    /// Its rule.
    pub fn rule(self) -> RuleId {
        match self {
            Self::Prefix(prefix) | Self::Everything(prefix) => prefix.rule,
            Self::Other(other) => other.rule,
        }
    }
}

impl Match {
    /// True when both admit the request or both do not.
    fn says_as(self, other: Match) -> bool {
        matches!((self, other), (Match::Positive(_), Match::Positive(_)))
            || matches!((self, other), (Match::Negative(_) | Match::None, Match::Negative(_) | Match::None))
    }
}

impl Other {
    fn result(&self) -> Match {
        if self.negative { Match::Negative(self.rule) } else { Match::Positive(self.rule) }
    }

    fn matches(&self, subject: Subject<'_>, own: &OwnAddresses) -> Result<bool, &'static str> {
        match &self.kind {
            Kind::Localhost => {
                own.is_own(subject.address).ok_or("localhost: the server's own addresses are not known (--server)")
            }
            Kind::Localnets => {
                own.is_near(subject.address).ok_or("localnets: the server's networks are not known (--server ADDR/LEN)")
            }
            Kind::Key(key) => Ok(subject.key == Some(key.as_slice())),
            // Only a positive match inside counts; a negative one is the same as no match.
            Kind::Nested(list) => match list.find(subject, own) {
                Match::Positive(_) => Ok(true),
                Match::Negative(_) | Match::None => Ok(false),
                Match::Unknown(reason, _) => Err(reason),
            },
            Kind::Unknown(reason) => Err(reason),
        }
    }
}
