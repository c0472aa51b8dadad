//! What a capture file says its capture lost: statements of interface statistics blocks ([`Statement`]) to one number
//! ([`StatedLoss`]).
//!
//! The blocks count from the beginning of the capture, so the last one of an interface holds; packets that follow it may
//! have had others lost beside them.

use super::losses::InterfaceLoss;
use std::collections::BTreeMap;

/// Something said between packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// What is said.
    pub says: Says,
    /// Bytes of record headers walked over before: they grow with every packet.
    pub record_headers: u64,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// A section begins, whose interfaces are others.
    Section,
    /// An interface of the section lost so many packets so far.
    Lost {
        /// Its number in the section.
        interface: u32,
        /// Packets that the interface or the operating system dropped.
        packets: u64,
    },
}

/// What was said so far.
#[derive(Debug, Clone, Default)]
pub struct StatedLoss {
    /// What interfaces of the present section lost.
    section: BTreeMap<u32, u64>,
    /// Bytes of record headers before the last of these said so.
    said_at: u64,
    /// Interfaces of earlier sections that said something.
    interfaces: u64,
    /// What they lost.
    packets: u64,
    /// Packets came after the last word of a section.
    outdated: bool,
}

impl StatedLoss {
    /// Takes statements in the order of the file, which come after `before` bytes of record headers.
    pub fn take(&mut self, statements: &[Statement], before: u64) {
        for Statement { says, record_headers } in statements {
            let at = before + record_headers;
            match says {
                Says::Section => self.end_section(at),
                Says::Lost { interface, packets } => {
                    self.section.insert(*interface, *packets);
                    self.said_at = at;
                }
            }
        }
    }

    fn end_section(&mut self, at: u64) {
        self.outdated |= !self.section.is_empty() && at > self.said_at;
        self.interfaces += self.section.len() as u64;
        self.packets = self.section.values().fold(self.packets, |sum, packets| sum.saturating_add(*packets));
        self.section.clear();
    }

    /// The loss of a file that describes `interfaces` and has `record_headers` bytes of them; `whole` when it was read to
    /// its end.
    pub fn finish(mut self, interfaces: u64, record_headers: u64, whole: bool) -> InterfaceLoss {
        self.end_section(record_headers);
        let all = whole && !self.outdated && self.interfaces == interfaces;
        InterfaceLoss::of((self.interfaces > 0).then_some(self.packets), all)
    }
}

#[cfg(test)]
mod tests {
    use super::InterfaceLoss::{AtLeast, Exactly, Unknown};
    use super::*;

    /// The loss of what was said, each after so many bytes of record headers.
    fn loss(said: &[(u64, Says)], interfaces: u64, end: u64, whole: bool) -> InterfaceLoss {
        let mut stated = StatedLoss::default();
        // Every statement in a block of its own, after one of the bytes before it.
        for (at, says) in said {
            stated.take(&[Statement { says: *says, record_headers: 1 }], at - 1);
        }
        stated.finish(interfaces, end, whole)
    }

    fn lost(interface: u32, packets: u64) -> Says {
        Says::Lost { interface, packets }
    }

    #[test]
    fn the_last_word_of_every_interface_counts() {
        assert_eq!(loss(&[], 2, 64, true), Unknown);
        assert_eq!(loss(&[(64, lost(0, 3)), (64, lost(1, 0))], 2, 64, true), Exactly(3));
        assert_eq!(loss(&[(32, lost(0, 3)), (64, lost(0, 5))], 1, 64, true), Exactly(5));
        assert_eq!(loss(&[(64, lost(0, 3))], 2, 64, true), AtLeast(3), "the other does not say");
        assert_eq!(loss(&[(32, lost(0, 3))], 1, 64, true), AtLeast(3), "packets came afterwards");
        assert_eq!(loss(&[(64, lost(0, 0))], 1, 64, false), AtLeast(0), "the rest was not read");
        assert_eq!(loss(&[(64, lost(0, u64::MAX)), (64, lost(1, 1))], 2, 64, true), Exactly(u64::MAX));
    }

    #[test]
    fn sections_have_their_own_interfaces() {
        let both = [(1, Says::Section), (32, lost(0, 3)), (32, Says::Section), (64, lost(0, 4))];
        assert_eq!(loss(&both, 2, 64, true), Exactly(7));
        assert_eq!(loss(&both[..3], 2, 64, true), AtLeast(3), "the second does not say");
        let outdated = [(16, lost(0, 3)), (32, Says::Section), (64, lost(0, 4))];
        assert_eq!(loss(&outdated, 2, 64, true), AtLeast(7));
    }
}
