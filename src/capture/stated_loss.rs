//! What a capture file says its capture lost: sums the statements of interface statistics blocks and of packets
//! ([`Statement`]) into one number ([`StatedLoss`]).
//!
//! Statistics blocks count from the beginning of the capture, so the highest count of an interface holds. The sum is
//! the exact loss only when nothing is missing or contradictory: every interface of the section must have a statistics
//! block after its last packet. Packets state the losses right before them; when no block says more, these are a lower
//! bound.

use super::Timestamp;
use super::losses::InterfaceLoss;
use std::collections::BTreeMap;

/// A statement of the file between packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub says: Says,
    /// Bytes of record headers walked before it: they grow with every packet.
    pub record_headers: u64,
    /// Packets walked before it.
    pub packets: u32,
    /// Its time: that of the packet that makes it, else of the packet before; `None` where no packet was walked.
    pub time: Option<Timestamp>,
}

/// The content of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// A section begins, with its own interfaces.
    Section,
    /// A further interface is declared.
    Interface,
    /// The number of packets lost so far.
    Lost(Lost),
    /// Packets lost between a packet of an interface and the one before it.
    LostBefore {
        /// Number of the interface in its section.
        interface: u32,
        /// Number of lost packets.
        lost: u64,
    },
    /// More may have been lost: a statement cannot be understood, or is not exact.
    Unclear,
    /// From here on a filter leaves packets out, or may do so.
    LeftOut,
}

/// A place between packets at which a statement matters to those who follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of packets of the block before it.
    pub packets: u32,
    /// See [`Statement::time`].
    pub time: Option<Timestamp>,
    /// True when packets are left out from here on; false when some were lost before.
    pub left_out: bool,
}

/// Packets that an interface lost since its capture began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Number of the interface in its section.
    pub interface: u32,
    /// Dropped by the interface itself.
    pub by_interface: Option<u64>,
    /// Dropped by the operating system.
    pub by_system: Option<u64>,
}

/// The statements so far.
#[derive(Debug, Clone, Default)]
pub struct StatedLoss {
    /// Interfaces of the present section.
    interfaces: u64,
    /// Their statements.
    words: BTreeMap<u32, Word>,
    /// More may have been lost in this section.
    unclear: bool,
    /// Losses of earlier sections.
    earlier: Option<InterfaceLoss>,
    /// Drops by the operating system per interface at the end of the previous file: parts of one recording continue
    /// counting.
    before: BTreeMap<u32, u64>,
}

/// The statements about one interface.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    by_interface: u64,
    by_system: u64,
    /// Sum of the losses between its packets.
    between: u64,
    /// Bytes of record headers before its last statement of total drops.
    at: u64,
}

impl StatedLoss {
    /// This file follows another one, and may be the next part of the same recording.
    pub fn follow(&mut self, part: &StatedLoss) {
        self.before = part.words.iter().map(|(interface, word)| (*interface, word.by_system)).collect();
        for (interface, lost) in &part.before {
            let known = self.before.entry(*interface).or_default();
            *known = (*known).max(*lost);
        }
    }

    /// Takes statements in the order of the file, which come after `before` bytes of record headers. Returns the places
    /// where packets were lost since the last known one, and from where on some are left out.
    pub fn take(&mut self, statements: &[Statement], before: u64) -> Vec<Place> {
        let mut places = Vec::new();
        for Statement { says, record_headers, packets, time } in statements {
            let at = before + record_headers;
            let place = |left_out: bool| Place { packets: *packets, time: *time, left_out };
            match says {
                Says::LeftOut => places.push(place(true)),
                Says::Section => self.end_section(at),
                Says::Interface => self.interfaces += 1,
                Says::Unclear => self.unclear = true,
                Says::LostBefore { interface, lost } => {
                    let word = self.words.entry(*interface).or_default();
                    word.between = word.between.saturating_add(*lost);
                    places.push(place(false));
                }
                Says::Lost(lost) => {
                    let word = self.words.entry(lost.interface).or_default();
                    word.at = at;
                    // What the interface itself dropped was never to be captured, or never arrived.
                    let known = self.before.get(&lost.interface).copied().unwrap_or(0).max(word.by_system);
                    if lost.by_system.is_some_and(|lost| lost > known) {
                        places.push(place(false));
                    }
                    for (count, said) in
                        [(&mut word.by_interface, lost.by_interface), (&mut word.by_system, lost.by_system)]
                    {
                        // A count that decreases was reset or is wrong.
                        self.unclear |= said.is_some_and(|said| said < *count);
                        *count = said.unwrap_or(0).max(*count);
                    }
                }
            }
        }
        places
    }

    fn end_section(&mut self, at: u64) {
        let Self { interfaces, words, unclear, earlier, before } = std::mem::take(self);
        self.before = before;
        let sum = |word: &Word| word.by_interface.saturating_add(word.by_system);
        let lost = words.values().map(|word| sum(word).max(word.between)).reduce(u64::saturating_add);
        let sound = |word: &Word| word.at == at && word.between <= sum(word);
        let all = !unclear && words.len() as u64 == interfaces && words.values().all(sound);
        let here = Some(InterfaceLoss::of(lost, all)).filter(|_| interfaces > 0 || unclear);
        self.earlier = earlier.zip(here).map(|(one, other)| one.or_of(other)).or(earlier).or(here);
    }

    /// The loss of a file with `record_headers` bytes of record headers; `whole` when everything in it was read.
    pub fn finish(mut self, record_headers: u64, whole: bool) -> InterfaceLoss {
        self.unclear |= !whole;
        self.end_section(record_headers);
        self.earlier.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::InterfaceLoss::{AtLeast, Exactly, Unknown};
    use super::*;

    const SECTION: (u64, Says) = (1, Says::Section);
    const INTERFACE: (u64, Says) = (1, Says::Interface);

    /// The statement of an interface, after this many bytes of record headers, that it dropped so many itself and the
    /// system so many.
    fn lost(at: u64, interface: u32, by_interface: u64, by_system: u64) -> (u64, Says) {
        let said = |count| Some(count).filter(|count| *count < 1000);
        let lost = Lost { interface, by_interface: said(by_interface), by_system: said(by_system) };
        (at, Says::Lost(lost))
    }

    /// The loss according to statements, each after this many bytes of record headers, of 64 in all.
    fn loss(said: &[(u64, Says)], whole: bool) -> InterfaceLoss {
        let mut stated = StatedLoss::default();
        // Every statement is in a block of its own, after one with the bytes before it.
        for (at, says) in said {
            stated.take(&[Statement { says: *says, record_headers: 1, packets: 0, time: None }], at - 1);
        }
        stated.finish(64, whole)
    }

    #[test]
    fn everything_has_to_be_said_of_every_interface() {
        let none = 1000;
        let two = |said: &[(u64, Says)]| loss(&[&[SECTION, INTERFACE, INTERFACE], said].concat(), true);
        assert_eq!(two(&[]), Unknown);
        assert_eq!(two(&[lost(64, 0, 3, none), lost(64, 1, none, 0)]), Exactly(3));
        assert_eq!(two(&[lost(64, 0, 3, 4), lost(64, 1, 0, 0)]), Exactly(7));
        assert_eq!(two(&[lost(64, 0, 3, none)]), AtLeast(3), "the other does not say");
        assert_eq!(two(&[lost(32, 0, 3, none), lost(64, 0, 5, none), lost(64, 1, 0, 0)]), Exactly(5));
        assert_eq!(two(&[lost(64, 0, 10, none), lost(64, 0, none, 12), lost(64, 1, 0, 0)]), Exactly(22));
        assert_eq!(two(&[lost(32, 0, 3, none), lost(64, 1, 0, 0)]), AtLeast(3), "packets came after the first");
        assert_eq!(two(&[lost(32, 0, 9, none), lost(64, 0, 2, none), lost(64, 1, 0, 0)]), AtLeast(9), "it went down");
        assert_eq!(two(&[lost(64, 0, 3, 0), lost(64, 1, 0, 0), (64, Says::Unclear)]), AtLeast(3));
        assert_eq!(loss(&[SECTION, INTERFACE, lost(64, 0, 0, 0)], false), AtLeast(0), "the rest was not read");
        let huge = Lost { interface: 0, by_interface: Some(u64::MAX), by_system: Some(1) };
        assert_eq!(loss(&[SECTION, INTERFACE, (64, Says::Lost(huge))], true), Exactly(u64::MAX));
    }

    #[test]
    fn packets_tell_the_least_that_was_lost_and_where() {
        let before = |at, interface, lost| (at, Says::LostBefore { interface, lost });
        let one = |said: &[(u64, Says)]| {
            let said = [&[SECTION, INTERFACE], said].concat();
            let mut stated = StatedLoss::default();
            let statement = |(at, says): &(u64, Says)| Statement {
                says: *says,
                record_headers: *at,
                packets: *at as u32,
                time: None,
            };
            let places = stated.take(&said.iter().map(statement).collect::<Vec<_>>(), 0);
            (loss(&said, true), places.into_iter().map(|place| place.packets).collect::<Vec<u32>>())
        };
        assert_eq!(one(&[before(8, 0, 3), before(9, 0, 4)]), (AtLeast(7), vec![8, 9]), "nothing is said of the end");
        let told = [before(8, 0, 3), lost(9, 0, 0, 7), lost(64, 0, 0, 7)];
        assert_eq!(one(&told), (Exactly(7), vec![8, 9]), "four more before the tenth, and none after");
        assert_eq!(one(&[before(8, 0, 3), lost(64, 0, 1, 7)]), (Exactly(8), vec![8, 64]));
        assert_eq!(one(&[before(8, 0, 9), lost(64, 0, 1, 7)]), (AtLeast(9), vec![8, 64]), "it contradicts itself");
        assert_eq!(one(&[lost(64, 0, 5, 0)]), (Exactly(5), vec![]), "the interface never had them");
        assert_eq!(one(&[lost(9, 0, 0, 5), lost(64, 0, 0, 5)]), (Exactly(5), vec![9]));
        // The next parts of a recording count on.
        let of = |lost: u64| Says::Lost(Lost { interface: 0, by_interface: None, by_system: Some(lost) });
        let (mut parts, mut places) = (vec![StatedLoss::default()], Vec::new());
        for said in [&[of(5)][..], &[], &[of(5), of(6)]] {
            let mut part = StatedLoss::default();
            part.follow(parts.last().unwrap());
            let statements = (0..).zip(said).map(|(packets, says)| Statement {
                says: *says,
                record_headers: 0,
                packets,
                time: None,
            });
            let taken = part.take(&statements.collect::<Vec<_>>(), 0);
            places.push(taken.into_iter().map(|place| place.packets).collect::<Vec<u32>>());
            parts.push(part);
        }
        assert_eq!(places, [vec![0], vec![], vec![1]]);
    }

    #[test]
    fn sections_may_count_from_the_same_beginning() {
        let (one, two) = ([SECTION, INTERFACE, lost(32, 0, 3, 0)], [(32, Says::Section), INTERFACE, lost(64, 0, 4, 0)]);
        assert_eq!(loss(&[&one[..], &two].concat(), true), AtLeast(4));
        let nothing = [(32, Says::Section), INTERFACE, lost(64, 0, 0, 0)];
        assert_eq!(loss(&[&one[..], &nothing].concat(), true), Exactly(3));
        assert_eq!(loss(&[&one[..], &nothing, &[(64, Says::Section)]].concat(), true), Exactly(3), "nothing is in it");
        assert_eq!(loss(&[&one[..], &nothing[..2]].concat(), true), AtLeast(3), "the second does not say");
        let outdated = [SECTION, INTERFACE, lost(16, 0, 3, 0)];
        assert_eq!(loss(&[&outdated[..], &nothing].concat(), true), AtLeast(3));
    }
}
