//! Writes the ledgers as JSON objects: whether each closed, its buckets, and what is unavailable.

use super::Counts;
use crate::capture::losses::InterfaceLoss;
use crate::error::escape_text;
use crate::report::{Ledger, Ledgers};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;

/// One ledger with what is printed beside its buckets.
pub struct LedgerJson<'a> {
    closed: bool,
    unavailable: &'a [&'static str],
    buckets: Vec<(&'static str, u64)>,
    beside: Vec<(&'static str, Vec<(String, u64)>)>,
}

impl Serialize for LedgerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("closed", &self.closed)?;
        for name in self.unavailable {
            map.serialize_entry(name, "unavailable")?;
        }
        for (name, count) in &self.buckets {
            map.serialize_entry(name, count)?;
        }
        for (name, counts) in &self.beside {
            map.serialize_entry(name, &Counts(counts))?;
        }
        map.end()
    }
}

/// The six ledgers by name.
pub fn all(ledgers: &Ledgers) -> [(&'static str, LedgerJson<'_>); 6] {
    fn counts<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| (escape_text(name.as_ref()), *count)).collect()
    }
    fn plain(ledger: &Ledger, beside: Vec<(&'static str, Vec<(String, u64)>)>) -> LedgerJson<'static> {
        LedgerJson { closed: ledger.closed, unavailable: &[], buckets: ledger.buckets.clone(), beside }
    }
    // A file does not say what the kernel saw; what is known of that ledger closes, because everything read was handed
    // on.
    let stated = match ledgers.stated_loss {
        InterfaceLoss::Exactly(count) => Some(("recorded_dropped", count)),
        InterfaceLoss::AtLeast(count) => Some(("recorded_dropped_at_least", count)),
        InterfaceLoss::Unknown => None,
    };
    let capture = match &ledgers.capture {
        None => LedgerJson {
            closed: true,
            unavailable: &["kernel_seen", "kernel_dropped"],
            buckets: [Some(("read", ledgers.packets.get("frames"))), stated].into_iter().flatten().collect(),
            beside: Vec::new(),
        },
        Some(capture) => {
            let mut buckets = vec![
                ("kernel_seen", capture.seen),
                ("kernel_dropped", capture.dropped),
                ("read", capture.read),
                ("waiting", capture.waiting),
                ("own_dropped", capture.own_lost()),
                ("loss_bursts", capture.bursts),
                ("waits", capture.waits),
            ];
            let (interface, unavailable): (_, &[&str]) = match capture.interface_dropped {
                InterfaceLoss::Exactly(count) => (Some(("interface_dropped", count)), &[]),
                InterfaceLoss::AtLeast(count) => (Some(("interface_dropped_at_least", count)), &["interface_dropped"]),
                InterfaceLoss::Unknown => (None, &["interface_dropped"]),
            };
            buckets.extend(interface);
            LedgerJson { closed: capture.is_closed(), unavailable, buckets, beside: Vec::new() }
        }
    };
    let reasons = vec![
        ("undecodable_reasons", counts(&ledgers.undecodable)),
        ("question_unreadable", counts(&ledgers.question_unreadable)),
    ];
    [
        ("capture", capture),
        ("packets", plain(&ledgers.packets, vec![("not_opened_kinds", counts(&ledgers.not_opened))])),
        ("messages", plain(&ledgers.messages, reasons)),
        ("matches", plain(&ledgers.matches, Vec::new())),
        ("bytes", plain(&ledgers.bytes, Vec::new())),
        ("outputs", plain(&ledgers.outputs, Vec::new())),
    ]
}
