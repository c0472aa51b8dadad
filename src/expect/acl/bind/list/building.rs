//! Builds a [`List`] from its elements, one after the other ([`Building`]).
//!
//! The server merges a nested or named list into the list around it unless one of its elements is negated. What follows
//! from that is reproduced here step by step: a later `!name` makes an identical earlier prefix negative (measured with
//! BIND 9.18.49).

use super::{Kind, List, Meaning, Other, Prefix};
use crate::config::ACL_OTHERS;
use crate::expect::acl::RuleId;
use crate::expect::acl::network::first_decides;
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;

/// A list whose elements are being added.
#[derive(Default)]
pub(super) struct Building {
    pub(super) list: List,
    /// Index of each prefix in the list.
    known: HashMap<IpNet, usize>,
}

impl Building {
    /// Adds a prefix, unless the list already has it.
    pub(super) fn prefix(&mut self, prefix: IpNet, positive: bool, rule: RuleId) {
        if self.known.contains_key(&prefix) {
            return;
        }
        self.list.count += 1;
        self.insert(Prefix { net: prefix, number: self.list.count, positive, rule });
    }

    fn insert(&mut self, prefix: Prefix) {
        self.known.insert(prefix.net, self.list.prefixes.len());
        self.list.prefixes.push(prefix);
    }

    /// Adds `any` or its opposite: every address of both families, under one number.
    pub(super) fn everything(&mut self, positive: bool, rule: RuleId) {
        let everything = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        if everything.iter().all(|prefix| self.known.contains_key(prefix)) {
            return;
        }
        self.list.count += 1;
        for prefix in everything {
            if !self.known.contains_key(&prefix) {
                self.insert(Prefix { net: prefix, number: self.list.count, positive, rule });
            }
        }
    }

    pub(super) fn other(&mut self, kind: Kind, negative: bool, rule: RuleId) {
        self.list.count += 1;
        self.list.others.push(Other { number: self.list.count, negative, kind, rule });
    }

    /// Adds a list inside this one, which may have at most `most` elements: merged, unless one of its own elements is
    /// negated.
    pub(super) fn nested(&mut self, inner: Arc<List>, negative: bool, rule: RuleId, most: u32) {
        // Neither exceeds its limit before this, so that the sums fit.
        self.list.lists += inner.lists;
        if inner.has_negatives {
            self.list.lists += 1;
            self.other(Kind::Nested(inner), negative, rule);
            return;
        }
        if self.list.count + inner.count > most || self.list.others.len() + inner.others.len() > ACL_OTHERS {
            // The caller gives the list up.
            self.list.count = most + 1;
            return;
        }
        let before = self.list.count;
        for other in &inner.others {
            self.list.others.push(Other {
                number: before + other.number,
                // Negated elements stay negated; a negated list negates the others.
                negative: other.negative || negative,
                ..other.clone()
            });
        }
        for prefix in &inner.prefixes {
            match self.known.get(&prefix.net) {
                // An identical earlier prefix keeps its number, but a negated list makes it negative nevertheless.
                Some(at) => {
                    if negative && prefix.positive {
                        let earlier = &mut self.list.prefixes[*at];
                        if earlier.positive {
                            (earlier.positive, earlier.rule) = (false, rule);
                        }
                    }
                }
                None => {
                    let positive = prefix.positive && !negative;
                    self.insert(Prefix { number: before + prefix.number, positive, ..*prefix });
                }
            }
        }
        self.list.count += inner.count;
    }
}

impl List {
    /// Every address.
    pub fn any(rule: RuleId) -> Self {
        let mut list = Building::default();
        list.everything(true, rule);
        list.list.seal()
    }

    /// No address.
    pub fn none(rule: RuleId) -> Self {
        let mut list = Building::default();
        list.everything(false, rule);
        list.list.has_negatives = true;
        list.list.seal()
    }

    /// `{ localnets; localhost; }`
    pub fn near(rule: RuleId) -> Self {
        let mut list = Building::default();
        list.other(Kind::Localnets, false, rule);
        list.other(Kind::Localhost, false, rule);
        list.list.seal()
    }

    /// Finishes a list.
    pub(super) fn seal(mut self) -> Self {
        let numbered: Vec<(IpNet, u32)> = {
            // It is kept as it is, however many of its kind there are.
            self.prefixes.shrink_to_fit();
            self.prefixes.sort_by_key(|prefix| prefix.number);
            // `any` gives both families one number; its position in the sorted table stands for it.
            self.prefixes.iter().enumerate().map(|(at, prefix)| (prefix.net, at as u32)).collect()
        };
        self.ranges = first_decides(&numbered);
        self.meanings = self.prefixes.iter().map(Meaning::of).collect();
        // Both families under one number before everything else: `any` or `none`.
        self.always = match (self.prefixes.as_slice(), self.meanings.as_slice()) {
            ([one, other, ..], [first, second, ..])
                if one.net.prefix_len() == 0
                    && other.net.prefix_len() == 0
                    && one.net.addr().is_ipv4() != other.net.addr().is_ipv4()
                    && first.rule == second.rule
                    && self.others.iter().all(|element| element.number > second.number) =>
            {
                Some(first.says())
            }
            _ => None,
        };
        self
    }
}
