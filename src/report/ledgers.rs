//! Exact accounts of a run ([`Ledgers`]): where every packet, message and byte went, and what was lost on the way.

use super::page::{grouped, lost_packets, percent};
use crate::capture::losses::InterfaceLoss;
use std::collections::BTreeMap;

/// The account of a live capture: `seen = dropped + read + waiting` and `read = followed + own_dropped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureLedger {
    /// Packets that passed the kernel's filter.
    pub seen: u64,
    /// Of these, dropped by the kernel because the ring was full.
    pub dropped: u64,
    /// Times the ring became full.
    pub bursts: u64,
    /// Packets read from the ring.
    pub read: u64,
    /// Packets in the ring when the last packet was read; once the run is over, they were given up there.
    pub waiting: u64,
    /// Packets read that reached a tracker.
    pub followed: u64,
    /// Packets read that this program gave up.
    pub own_dropped: u64,
    /// The run is over.
    pub finished: bool,
    /// Packets of any traffic that the interfaces say they lost. Not part of the account, because the kernel did not
    /// see them.
    pub interface_dropped: InterfaceLoss,
    /// How often a handle had to wait for its tracker.
    pub waits: u64,
}

impl CaptureLedger {
    /// True when every packet is in one place.
    pub fn is_closed(&self) -> bool {
        self.seen == self.dropped + self.read + self.waiting && self.read == self.followed + self.own_dropped
    }

    /// Packets that this program gave up, in the ring or later.
    pub fn own_lost(&self) -> u64 {
        self.own_dropped + if self.finished { self.waiting } else { 0 }
    }

    /// Packets lost between the kernel and the trackers.
    pub fn lost(&self) -> u64 {
        self.dropped + self.own_lost()
    }

    /// The losses in one line: of packets that were to be captured, and of any traffic before the filter.
    pub fn describe_loss(&self) -> String {
        let mut said = Vec::new();
        if self.lost() > 0 {
            let share = percent(self.lost(), self.seen);
            said.push(format!("LOST {} of {} packets ({share})", grouped(self.lost()), grouped(self.seen)));
        }
        if self.interface_dropped.known() > Some(0) {
            said.push(format!("LOST {} of any traffic at the interface", lost_packets(self.interface_dropped)));
        }
        match (said.is_empty(), self.interface_dropped) {
            (false, _) => said.join(", "),
            (true, InterfaceLoss::Exactly(_)) => "no loss".to_owned(),
            (true, InterfaceLoss::AtLeast(_)) => {
                "no loss that is known (of some interfaces it is unavailable)".to_owned()
            }
            (true, InterfaceLoss::Unknown) => "no loss that is known (of the interface it is unavailable)".to_owned(),
        }
    }
}

/// The six ledgers. Buckets are listed in the order they are printed.
#[derive(Debug, Clone, Default)]
pub struct Ledgers {
    /// What the kernel saw, dropped and handed over; `None` for files.
    pub capture: Option<CaptureLedger>,
    /// Packets that captures lost, according to their files.
    pub stated_loss: InterfaceLoss,
    /// Frames by the one bucket each ended in.
    pub packets: Ledger,
    /// Messages: udp + tcp = queries + responses + undecodable.
    pub messages: Ledger,
    /// Queries and responses by what became of them.
    pub matches: Ledger,
    /// Bytes of the inputs by owner.
    pub bytes: Ledger,
    /// Rows made and written; filled in by the writer.
    pub outputs: Ledger,
    /// Packets not opened, by the name of their encapsulation.
    pub not_opened: BTreeMap<String, u64>,
    /// Undecodable messages by reason.
    pub undecodable: BTreeMap<&'static str, u64>,
    /// Messages whose question could not be read, by reason; they are counted as queries and responses all the same.
    pub question_unreadable: BTreeMap<&'static str, u64>,
    /// Anomalies that lose nothing, counted by name.
    pub anomalies: BTreeMap<&'static str, u64>,
}

impl Ledgers {
    /// The ledgers of every run by name: all except that of a live capture.
    pub fn of_a_run(&self) -> [(&'static str, &Ledger); 5] {
        [
            ("packets", &self.packets),
            ("messages", &self.messages),
            ("matches", &self.matches),
            ("bytes", &self.bytes),
            ("outputs", &self.outputs),
        ]
    }
}

/// One exact account.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Named counts, in print order.
    pub buckets: Vec<(&'static str, u64)>,
    /// True when every unit is in exactly one bucket.
    pub closed: bool,
}

impl Ledger {
    /// The count of a bucket; 0 when the ledger has none with that name.
    pub fn get(&self, name: &str) -> u64 {
        self.buckets.iter().find(|(bucket, _)| *bucket == name).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_interface_lost_is_loss_and_nothing_is_none_that_nobody_knows() {
        use InterfaceLoss::{AtLeast, Exactly, Unknown};
        let says = |dropped, interface_dropped| {
            CaptureLedger { seen: 200, dropped, interface_dropped, ..CaptureLedger::default() }.describe_loss()
        };
        assert_eq!(says(0, Exactly(0)), "no loss");
        assert_eq!(says(0, Exactly(7)), "LOST 7 packets of any traffic at the interface");
        assert_eq!(
            says(2, AtLeast(1)),
            "LOST 2 of 200 packets (1.0 %), LOST at least 1 packet of any traffic at the interface"
        );
        assert_eq!(says(2, Unknown), "LOST 2 of 200 packets (1.0 %)");
        assert_eq!(says(0, Unknown), "no loss that is known (of the interface it is unavailable)");
        assert_eq!(says(0, AtLeast(0)), "no loss that is known (of some interfaces it is unavailable)");
    }
}
