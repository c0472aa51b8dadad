//! One paragraph for each client that was asked about (`--client`).

use super::super::page::{Ink, Page, counted, grouped, interface_loss};
use super::super::{Expectation, Report, SourceLine};
use super::tables::all_frames;
use super::{MEMBERS_NAMED, outcomes};
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::sources::Leg;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

/// One paragraph per `--client`: seen or not, outcomes, rule.
pub(super) fn focus(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.focus.is_empty() {
        return Ok(());
    }
    page.gap()?;
    for (index, prefix) in report.focus.iter().enumerate() {
        let name = format!("{}: ", show_prefix(*prefix));
        let within = || report.sources.iter().filter(|line| prefix.contains(&line.source));
        let lines: Vec<&SourceLine> = within().filter(|line| !line.is_without_message()).collect();
        if lines.is_empty() {
            let text = without_messages(report, *prefix, within().next().is_some());
            let outside = report.focus_expectations.get(index).map_or(&[][..], |expectation| &expectation.outside);
            page.inked(Some(Ink::Bold), &name, &(text + &as_outside(report, outside)), 2)?;
        } else {
            let (clients, others): (Vec<&SourceLine>, Vec<&SourceLine>) =
                lines.iter().partition(|line| line.leg == Leg::Client);
            let mut text = match clients.as_slice() {
                [] => "SEEN, not as a client of these servers".to_owned(),
                clients => format!("SEEN: {}", outcomes(clients)),
            };
            let elsewhere: u64 = others.iter().map(|line| line.transactions()).sum();
            if elsewhere > 0 {
                let _ = write!(text, "; {} on other legs", counted(elsewhere, "transaction", "transactions"));
                if others.iter().any(|line| line.turned_away() > 0) {
                    let servers: BTreeSet<IpAddr> =
                        others.iter().filter(|line| line.turned_away() > 0).map(|line| line.server).collect();
                    let mut named: Vec<String> = servers.iter().take(MEMBERS_NAMED).map(ToString::to_string).collect();
                    if servers.len() > named.len() {
                        named.push(format!("{} more", servers.len() - named.len()));
                    }
                    let _ = write!(text, " ({}; turned away by {})", outcomes(&others), named.join(", "));
                }
            }
            page.inked(Some(Ink::Bold), &name, &text, 2)?;
            all_frames(page, report, &clients)?;
        }
        if let Some(expectation) = report.focus_expectations.get(index) {
            page.wrapped("  Inventory: ", &describe_expectation(expectation), 4)?;
        }
        if let Some(said) = report.focus_verdicts.get(index) {
            page.wrapped("  File says: ", said, 4)?;
        }
    }
    Ok(())
}

/// What became of the addresses to which a prefix is expected to be translated.
fn as_outside(report: &Report, outside: &[IpNet]) -> String {
    let is_one = |line: &&SourceLine| outside.iter().any(|outside| outside.contains(&line.source));
    let lines: Vec<&SourceLine> = report.sources.iter().filter(|line| line.leg == Leg::Client).filter(is_one).collect();
    if lines.is_empty() {
        return String::new();
    }
    let expected: Vec<String> = outside.iter().take(MEMBERS_NAMED).map(|outside| show_prefix(*outside)).collect();
    format!(" Expected to arrive as {}, which is here: {}.", expected.join(", "), outcomes(&lines))
}

/// The lines about a prefix from which no client's message was read.
fn without_messages(report: &Report, prefix: IpNet, without_message: bool) -> String {
    let at: Vec<&SourceLine> = report.sources.iter().filter(|line| prefix.contains(&line.server)).collect();
    if !at.is_empty() {
        let asked: Vec<&SourceLine> = at.into_iter().filter(|line| !line.is_without_message()).collect();
        return match asked.as_slice() {
            [] => "SEEN as a server, not as a client. No message there could be read.".to_owned(),
            asked => format!("SEEN as a server, not as a client. Clients there: {}", outcomes(asked)),
        };
    }
    if without_message {
        return "SEEN, but no message from it or to it could be read: only messages without a whole header, TCP connections \
                without a message, first fragments, or packets that ICMP errors quote."
            .to_owned();
    }
    if report.sources.iter().any(|line| line.source.contains(&prefix)) {
        return "NOT KNOWN. It may be among sources that were joined to prefixes.".to_owned();
    }
    if report.has_only_refusals() {
        return "NOT REFUSED. Only REFUSED responses were captured, and none was sent to it.".to_owned();
    }
    if report.filtered {
        return "NOT SEEN. No DNS traffic from it or to it passed the filter, which may have left it out.".to_owned();
    }
    let mut lost = match report.ledgers.capture.map_or(0, |capture| capture.lost()) {
        0 => String::new(),
        1 => " 1 packet was lost.".to_owned(),
        lost => format!(" {} packets were lost.", grouped(lost)),
    };
    if let Some(capture) = report.ledgers.capture.filter(|capture| capture.interface_dropped.known() > Some(0)) {
        let _ = write!(lost, " Its interface lost {} of any traffic.", interface_loss(capture.interface_dropped));
    }
    if report.ledgers.stated_loss.known() > Some(0) {
        let _ = write!(lost, " Its capture lost {} of any traffic.", interface_loss(report.ledgers.stated_loss));
    }
    let claimed: BTreeSet<String> = report
        .proxied
        .iter()
        .filter(|(_, pair)| pair.clients.iter().any(|client| prefix.contains(&client.ip())))
        .map(|((_, proxy), _)| proxy.to_string())
        .collect();
    if !claimed.is_empty() {
        let proxies: Vec<String> = claimed.into_iter().take(MEMBERS_NAMED).collect();
        return format!(
            "NOT SEEN as itself. PROXY headers of {} name it as their client (claimed).{}",
            proxies.join(", "),
            report.not_read()
        );
    }
    match report.not_read() + &lost {
        all if all.is_empty() => "NOT SEEN. No DNS traffic from it or to it is in this capture; if it asked \
                                  meanwhile, its queries arrived as another address, at another port, or not here."
            .to_owned(),
        not_read => format!("NOT SEEN. No DNS traffic from it or to it is in what was read of this capture.{not_read}"),
    }
}

/// `unlisted`, or `allow by expect.csv:3 (vpn)`.
fn describe_expectation(expectation: &Expectation) -> String {
    let name = match expectation.name.as_str() {
        "" => String::new(),
        name => format!(" ({})", escape_text(name)),
    };
    match expectation.rule.as_str() {
        "" => expectation.expected.to_owned(),
        rule => format!("{} by {}{name}", expectation.expected, escape_text(rule)),
    }
}
