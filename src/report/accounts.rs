//! The last lines of a text report: the ledgers, which say where every frame, message, query, response and byte went.

use super::page::{Ink, Page, counted, grouped, interface_loss};
use super::{CaptureLedger, Ledger, Ledgers};
use crate::capture::losses::InterfaceLoss;
use crate::error::escape_text;
use std::fmt::Write as _;
use std::io;

/// Every ledger on a line or two, without buckets of 0.
pub fn write(page: &mut Page<'_>, ledgers: &Ledgers) -> io::Result<()> {
    let all = ledgers.of_a_run();
    page.gap()?;
    let open: Vec<&str> =
        all.iter().filter(|(_, ledger)| !ledger.closed && !ledger.buckets.is_empty()).map(|(name, _)| *name).collect();
    let open: Vec<&str> =
        ledgers.capture.filter(|capture| !capture.is_closed()).map(|_| "capture").into_iter().chain(open).collect();
    if open.is_empty() {
        page.line(&match ledgers.capture {
            Some(_) => "Ledgers closed".to_owned(),
            None if ledgers.stated_loss == InterfaceLoss::Unknown => {
                "Ledgers closed; what the kernel dropped is unavailable".to_owned()
            }
            None => format!("Ledgers closed; dropped, as recorded: {}", interface_loss(ledgers.stated_loss)),
        })?;
    } else {
        let text = format!("{}. This is a fault of dnsrefused; its counts cannot be relied on", open.join(", "));
        page.inked(Some(Ink::Red), "LEDGERS NOT CLOSED ", &text, 2)?;
    }
    if let Some(capture) = &ledgers.capture {
        kernel(page, capture)?;
    }
    equation(page, "", &ledgers.packets, &["frames", "carried_in"], &[])?;
    equation(page, "messages ", &ledgers.messages, &["udp", "tcp"], &[])?;
    let from_responses = [
        "responses",
        "responses_carried_in",
        "continued",
        "late",
        "duplicate",
        "response_copies",
        "unsolicited",
        "mismatch",
        "undecided",
    ];
    let from_queries =
        ["queries", "queries_carried_in", "retransmitted", "query_copies", "timed_out", "evicted", "open_at_end"];
    equation(page, "", &ledgers.matches, &["queries", "queries_carried_in"], &from_responses)?;
    equation(page, "", &ledgers.matches, &["responses", "responses_carried_in"], &from_queries)?;
    if ledgers.capture.is_none() {
        equation(page, "bytes ", &ledgers.bytes, &["total"], &[])?;
    }
    if ledgers.outputs.get("rows_made") + ledgers.outputs.get("rows_carried_in") > 0 {
        equation(page, "", &ledgers.outputs, &["rows_made", "rows_carried_in"], &[])?;
    }
    let list = |counts: Vec<(&str, u64)>| -> String {
        counts
            .iter()
            .map(|(name, count)| format!("{} {}", escape_text(name), grouped(*count)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (lead, counts) in [
        ("  not opened: ", ledgers.not_opened.iter().map(|(name, count)| (name.as_str(), *count)).collect()),
        ("  undecodable: ", ledgers.undecodable.iter().map(|(name, count)| (*name, *count)).collect()),
        ("  question unreadable: ", ledgers.question_unreadable.iter().map(|(name, count)| (*name, *count)).collect()),
        ("  odd but used: ", ledgers.anomalies.iter().map(|(name, count)| (*name, *count)).collect()),
    ] {
        let counts: Vec<(&str, u64)> = counts;
        let counts: Vec<(&str, u64)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        if !counts.is_empty() {
            page.wrapped(lead, &list(counts), 4)?;
        }
    }
    Ok(())
}

/// What the kernel saw and where it went, and the losses before and after it as far as they are known.
fn kernel(page: &mut Page<'_>, capture: &CaptureLedger) -> io::Result<()> {
    let waiting = if capture.waiting > 0 { format!(" + waiting {}", grouped(capture.waiting)) } else { String::new() };
    page.wrapped(
        "  ",
        &format!(
            "kernel {} = read {} + dropped {}{waiting}",
            grouped(capture.seen),
            grouped(capture.read),
            grouped(capture.dropped)
        ),
        4,
    )?;
    let interface = interface_loss(capture.interface_dropped);
    let any = if capture.interface_dropped.known() > Some(0) { " (any traffic)" } else { "" };
    let mut beside = format!("lost by the interface {interface}{any}, by us {}", grouped(capture.own_lost()));
    if capture.bursts > 0 {
        let _ = write!(beside, "; the ring was full {}", counted(capture.bursts, "time", "times"));
    }
    if capture.waits > 0 {
        let _ = write!(beside, "; reading waited for us {}", counted(capture.waits, "time", "times"));
    }
    page.wrapped("  ", &beside, 4)
}

/// One account of `what`: the units on the left, and on the right where they went. `elsewhere` are buckets that belong
/// to another equation.
fn equation(page: &mut Page<'_>, what: &str, ledger: &Ledger, left: &[&str], elsewhere: &[&str]) -> io::Result<()> {
    if ledger.buckets.is_empty() {
        return Ok(());
    }
    let term = |name: &str, count: u64| format!("{name} {}", grouped(count));
    let carried = |name: &&&str| !name.ends_with("carried_in") || ledger.get(name) > 0;
    let units: Vec<String> = left.iter().filter(carried).map(|name| term(name, ledger.get(name))).collect();
    let parts: Vec<String> = ledger
        .buckets
        .iter()
        .filter(|(name, count)| *count > 0 && !left.contains(name) && !elsewhere.contains(name))
        .map(|(name, count)| term(name, *count))
        .collect();
    let parts = if parts.is_empty() { "0".to_owned() } else { parts.join(" + ") };
    page.wrapped("  ", &format!("{what}{} = {parts}", units.join(" + ")), 4)
}
