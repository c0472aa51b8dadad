//! Says what a report is about, and why something may have been there although it was not seen: in one place, so that
//! the text report and the findings agree.

use super::Report;
use super::page::{counted, grouped, interface_loss, lost_packets};
use crate::capture::Timestamp;
use crate::capture::losses::InterfaceLoss;
use crate::error::packets;
use std::fmt::Write as _;

/// Ledger buckets of frames that may hold DNS that was not read.
const NOT_LOOKED_INTO: [&str; 19] = [
    "tcp_conflict",
    "tcp_out_of_window",
    "tcp_behind_hole",
    "tcp_evicted",
    // In connections whose beginning was not captured, a remaining part of a message looks like anything else.
    "tcp_non_dns",
    "fragment_conflict",
    "fragment_expired",
    "fragment_evicted",
    "fragment_incomplete",
    "fragment_malformed",
    "snap_cut",
    "link_malformed",
    "ip_malformed",
    "transport_malformed",
    "nest_limit",
    "not_opened",
    "undeclared_interface",
    "damaged_record",
    "internal_fault",
];

impl Report {
    /// Frames that filter and time let through.
    pub fn frames_examined(&self) -> u64 {
        self.totals.frames - self.left_out().min(self.totals.frames)
    }

    fn left_out(&self) -> u64 {
        self.ledgers.packets.get("not_selected")
    }

    /// The time range looked at: the times of the frames, within `--from` and `--to`.
    pub fn times_examined(&self) -> Option<(Timestamp, Timestamp)> {
        let (from, to) = self.selected;
        let first = self.totals.first.map(|first| from.map_or(first, |from| first.max(from)))?;
        let last = self.totals.last.map(|last| to.map_or(last, |to| last.min(to)))?;
        (first <= last).then_some((first, last))
    }

    /// The length of that range, such as `30 s`.
    pub fn duration(&self) -> String {
        match self.times_examined() {
            Some((first, last)) => show_duration(last.0.saturating_sub(first.0)),
            None => "time".to_owned(),
        }
    }

    /// What was looked at: frames and times.
    pub fn window(&self) -> String {
        let times = self.times_examined();
        let seconds_tell = times.is_none_or(|(first, last)| first.to_rfc3339(0) != last.to_rfc3339(0));
        let show = |time: Timestamp| time.to_rfc3339(if seconds_tell { 0 } else { 3 });
        let all = match self.totals.frames {
            1 => "1 frame".to_owned(),
            frames => format!("{frames} frames"),
        };
        let mut text = if self.left_out() == 0 { all } else { format!("{} of {all}", self.frames_examined()) };
        match times {
            Some((first, last)) if first == last => {
                let _ = write!(text, " at {}", show(first));
            }
            Some((first, last)) => {
                let _ = write!(text, " from {} to {}", show(first), show(last));
            }
            None => {}
        }
        text
    }

    /// True when every interface of the host was captured: a cooked header is used for `any`, and hardly ever for a
    /// single interface of a rare kind.
    pub fn is_of_every_interface(&self) -> bool {
        self.inputs.iter().flat_map(|input| &input.link_types).all(|name| name.starts_with("LINUX_SLL"))
    }

    /// Reasons why something may have been there although it was not seen, in sentences; the first is that this is one
    /// capture.
    pub fn caveats(&self) -> String {
        let mut text = "This is about this capture only".to_owned();
        match self.ledgers.capture.map(|capture| (capture.lost(), capture.interface_dropped)) {
            None => match self.ledgers.stated_loss {
                InterfaceLoss::Unknown => text.push_str("; whether it lost packets is not recorded."),
                InterfaceLoss::Exactly(0) => text.push_str("; it records no lost packets."),
                InterfaceLoss::AtLeast(0) => text.push_str("; no loss is known, but it does not record all of it."),
                loss => {
                    let _ = write!(text, "; it records {} of any traffic as lost.", lost_packets(loss));
                }
            },
            Some((lost, interface)) => {
                let lost = if lost == 0 { "no packets".to_owned() } else { packets(lost) };
                let _ = match interface.known() {
                    Some(0) if interface == InterfaceLoss::Exactly(0) => write!(text, ", which lost {lost}."),
                    Some(1..) => {
                        let interface = interface_loss(interface);
                        write!(text, ", which lost {lost}; its interface lost {interface} of any traffic.")
                    }
                    _ => write!(text, ", which lost {lost}; what its interface lost is not known."),
                };
            }
        }
        text + &self.not_read()
    }

    /// What is in the capture but was not read, with a space before each sentence; empty where everything was read.
    pub fn not_read(&self) -> String {
        let packets = &self.ledgers.packets;
        let hidden: u64 = NOT_LOOKED_INTO.iter().map(|bucket| packets.get(bucket)).sum();
        let (left_out, headless) = (self.left_out(), self.ledgers.messages.get("undecodable"));
        let mut text = String::new();
        if hidden > 0 {
            let _ = write!(text, " {} could not be looked into.", counted(hidden, "frame", "frames"));
        }
        if headless > 0 {
            let _ = write!(text, " {} could not be read.", counted(headless, "message", "messages"));
        }
        if self.encrypted > 0 {
            let connections = if self.encrypted == 1 { "connection was" } else { "connections were" };
            let _ = write!(text, " {} encrypted {connections} not read.", self.encrypted);
        }
        if left_out > 0 {
            let _ = write!(
                text,
                " {} {} left out by filter or time.",
                counted(left_out, "frame", "frames"),
                if left_out == 1 { "was" } else { "were" }
            );
        }
        if self.filtered && left_out > 0 {
            text.push_str(" The filter may be why something is missing.");
        }
        if self.filtered_at_capture {
            text.push_str(" It was captured with a filter, which may be why something is missing.");
        }
        let unread = self.ledgers.bytes.get("unread_tail");
        if unread > 0 {
            let _ = write!(text, " It was not read to its end: {} bytes are left.", grouped(unread));
        } else if self.partial.is_some() || self.inputs.iter().any(|input| !input.damage.is_empty()) {
            text.push_str(" It was not read to its end.");
        }
        text
    }
}

/// A duration in nanoseconds, in the unit that fits.
fn show_duration(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    match milliseconds {
        ..=0 => "instant".to_owned(),
        1..=999 => format!("{milliseconds} ms"),
        1000..=119_999 if milliseconds % 1000 / 100 == 0 => format!("{} s", milliseconds / 1000),
        1000..=119_999 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        120_000..=7_199_999 => format!("{} minutes", milliseconds / 60_000),
        7_200_000..=172_799_999 => format!("{} hours", milliseconds / 3_600_000),
        _ => format!("{} days", milliseconds / 86_400_000),
    }
}
