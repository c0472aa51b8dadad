//! A report to text for the person who holds the pager: the answer first, then who, then why, then the accounts.

use super::page::{Clock, Ink, Page, WIDTH, counted, grouped, percent};
use super::{Expectation, Format, InputReport, Layout, Ledger, Report, SourceLine, Writer};
use crate::config::{Outcome, Severity};
use crate::diagnose::Finding;
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::sources::{FrameRef, Leg};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;

/// The format's entry in the table.
pub const FORMAT: Format = Format {
    name: "text",
    about: "a page for a person: who was refused, and what follows",
    writer: Writer::Report(write),
};

/// Inputs named at the top; damaged ones always are.
const INPUTS_NAMED: usize = 8;
/// Width of a source's column, that of its heading.
const SOURCE_WIDTH: usize = 21;
/// Sources of a finding named in text.
const MEMBERS_NAMED: usize = 5;

/// Writes the report as a page of text.
pub fn write(report: &Report, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(out, layout.color);
    let clock = Clock::of(report.totals.first, report.totals.last);
    let clients: Vec<&SourceLine> = report.sources.iter().filter(|line| line.leg == Leg::Client).collect();
    inputs(&mut page, report, clock)?;
    headline(&mut page, report, &clients)?;
    focus(&mut page, report)?;
    tables(&mut page, report, layout, clock, &clients)?;
    findings(&mut page, report, layout)?;
    apart(&mut page, report)?;
    accounts(&mut page, report)
}

//------------ What was read -------------------------------------------------

/// The inputs, their time range and what is known of loss.
fn inputs(page: &mut Page<'_>, report: &Report, clock: Clock) -> io::Result<()> {
    if let Some(partial) = &report.partial {
        page.inked(Some(Ink::Yellow), "PARTIAL ", &escape_text(partial), 2)?;
    }
    let mut unnamed = 0;
    for (index, input) in report.inputs.iter().enumerate() {
        if index < INPUTS_NAMED || !input.damage.is_empty() {
            page.wrapped("", &describe_input(input), 2)?;
        } else {
            unnamed += 1;
        }
        for damage in &input.damage {
            page.inked(Some(Ink::Yellow), "  DAMAGED ", &escape_text(damage), 4)?;
        }
    }
    if unnamed > 0 {
        page.line(&format!("and {}", counted(unnamed, "more input", "more inputs")))?;
    }
    let loss =
        if report.inputs.len() == 1 { "this file does not record drops" } else { "these files do not record drops" };
    match (report.totals.first, report.totals.last) {
        (Some(first), Some(last)) => page.wrapped("", &format!("{}; {loss}", clock.span(first, last)), 2),
        _ => Ok(()),
    }
}

/// `server.pcap: pcap, EN10MB, 900 frames`.
fn describe_input(input: &InputReport) -> String {
    let mut parts = Vec::new();
    match (input.format, input.compression) {
        ("", _) => {}
        (format, Some(compression)) => parts.push(format!("{format} in {compression}")),
        (format, None) => parts.push(format.to_owned()),
    }
    parts.extend(input.link_types.iter().cloned());
    parts.push(counted(input.frames, "frame", "frames"));
    format!("{}: {}", escape_text(&input.name), parts.join(", "))
}

//------------ The answer ----------------------------------------------------

/// How much was refused; or plainly that nothing was, or that there was nothing to look at.
fn headline(page: &mut Page<'_>, report: &Report, clients: &[&SourceLine]) -> io::Result<()> {
    let totals = &report.totals;
    if totals.messages_udp + totals.messages_tcp == 0 && report.sources.is_empty() {
        return no_dns(page, report);
    }
    let sum = |outcome: Outcome| -> u64 { clients.iter().map(|line| line.count(outcome)).sum() };
    let asked: u64 = clients.iter().map(|line| line.transactions()).sum();
    let what = match (asked, sum(Outcome::TcpRejected)) {
        (1, 0) => "client query",
        (_, 0) => "client queries",
        (_, _) => "client queries and rejected connections",
    };
    let refused = sum(Outcome::Refused);
    let without_query: u64 = clients.iter().map(|line| line.row.refused_unsolicited).sum();
    let others = |skip: &[Outcome]| -> String {
        let parts: Vec<String> = Outcome::ALL
            .iter()
            .filter(|(_, outcome)| !skip.contains(outcome) && *outcome != Outcome::Unsolicited && sum(*outcome) > 0)
            .map(|(name, outcome)| format!("{name} {}", grouped(sum(*outcome))))
            .collect();
        parts.join(", ")
    };
    if asked == 0 && without_query == 0 {
        page.inked(Some(Ink::Bold), "NO CLIENT QUERIES ", "to one of our servers were seen", 2)?;
    } else if refused == 0 && without_query == 0 {
        page.inked(
            Some(Ink::Green),
            "NOTHING REFUSED ",
            &format!("of {} {what}: {}", grouped(asked), others(&[Outcome::Refused])),
            2,
        )?;
    } else {
        let sources: BTreeSet<IpNet> = clients
            .iter()
            .filter(|line| line.turned_away() > line.count(Outcome::Denied))
            .map(|line| line.source)
            .collect();
        let mut text = format!(
            "{} of {} {what} ({}), {}",
            grouped(refused),
            grouped(asked),
            percent(refused, asked),
            counted(sources.len() as u64, "source", "sources")
        );
        let others = others(&[Outcome::Refused]);
        if !others.is_empty() {
            let _ = write!(text, "; {others}");
        }
        page.inked(Some(Ink::Red), "REFUSED ", &text, 2)?;
    }
    if without_query > 0 {
        let text = format!(
            "{} beside that, whose query is not in the capture",
            counted(without_query, "REFUSED response", "REFUSED responses")
        );
        page.wrapped("  ", &text, 2)?;
    }
    Ok(())
}

/// Says what was in the capture instead of DNS.
fn no_dns(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.totals.frames == 0 {
        return page.inked(Some(Ink::Bold), "NO FRAMES ", "were read, so nothing is known", 2);
    }
    let mut parts: Vec<String> = report
        .ledgers
        .not_opened
        .iter()
        .map(|(wrapped, count)| {
            format!("{} in {}, not opened", counted(*count, "packet", "packets"), escape_text(wrapped))
        })
        .collect();
    for (bucket, count) in report.ledgers.packets.buckets.iter().skip(1) {
        if *count > 0 && *bucket != "not_opened" {
            parts.push(format!("{} {}", bucket.replace('_', " "), grouped(*count)));
        }
    }
    let frames = counted(report.totals.frames, "frame", "frames");
    page.inked(Some(Ink::Bold), "NO DNS SEEN ", &format!("in {frames}: {}", parts.join("; ")), 2)
}

//------------ The clients asked about ---------------------------------------

/// One paragraph per `--client`: seen or not, outcomes, rule.
fn focus(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.focus.is_empty() {
        return Ok(());
    }
    page.gap()?;
    for (index, prefix) in report.focus.iter().enumerate() {
        let name = show_prefix(*prefix);
        let lines: Vec<&SourceLine> = report.sources.iter().filter(|line| prefix.contains(&line.source)).collect();
        if lines.is_empty() {
            let joined = report.sources.iter().any(|line| line.source.contains(prefix));
            let text = if joined {
                "NOT KNOWN. It may be among the sources without a response that were joined."
            } else {
                "NOT SEEN. No DNS traffic from it or to it is in this capture; it arrives as another address, or not here."
            };
            page.inked(Some(Ink::Bold), &format!("{name}: "), text, 2)?;
        } else {
            let (clients, others): (Vec<&SourceLine>, Vec<&SourceLine>) =
                lines.iter().partition(|line| line.leg == Leg::Client);
            page.inked(Some(Ink::Bold), &format!("{name}: "), &format!("SEEN. {}", outcomes(&clients, &others)), 2)?;
        }
        if let Some(expectation) = report.focus_expectations.get(index) {
            page.wrapped("  Inventory: ", &describe_expectation(expectation), 4)?;
        }
    }
    Ok(())
}

/// What happened to sources, and how often on another leg.
fn outcomes(clients: &[&SourceLine], others: &[&SourceLine]) -> String {
    let sum = |lines: &[&SourceLine], outcome: Outcome| -> u64 { lines.iter().map(|line| line.count(outcome)).sum() };
    let parts: Vec<String> = Outcome::ALL
        .iter()
        .filter(|(_, outcome)| sum(clients, *outcome) > 0)
        .map(|(name, outcome)| format!("{name} {}", grouped(sum(clients, *outcome))))
        .collect();
    let sources: BTreeSet<IpNet> = clients.iter().map(|line| line.source).collect();
    let mut text = String::new();
    if sources.len() > 1 {
        let _ = write!(text, "{}: ", counted(sources.len() as u64, "source", "sources"));
    }
    text.push_str(&parts.join(", "));
    if parts.is_empty() {
        text.push_str("Nothing on the client leg");
    }
    let elsewhere: u64 = others.iter().map(|line| line.transactions()).sum();
    if elsewhere > 0 {
        let _ = write!(text, "; {} on other legs", counted(elsewhere, "transaction", "transactions"));
    }
    text + "."
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

//------------ Who was turned away -------------------------------------------

/// One table per server with the sources it turned away, `top` of them in all.
fn tables(
    page: &mut Page<'_>,
    report: &Report,
    layout: &Layout,
    clock: Clock,
    clients: &[&SourceLine],
) -> io::Result<()> {
    let turned_away =
        |line: &SourceLine| line.turned_away() + line.count(Outcome::Silent) + line.count(Outcome::TcpRejected) > 0;
    let (shown, kept_out): (Vec<&SourceLine>, Vec<&SourceLine>) = clients.iter().partition(|line| turned_away(line));
    let (listed, more) = shown.split_at(shown.len().min(layout.top));
    let mut servers: Vec<IpAddr> = Vec::new();
    for line in listed {
        if !servers.contains(&line.server) {
            servers.push(line.server);
        }
    }
    for server in &servers {
        let rows: Vec<&SourceLine> = listed.iter().filter(|line| line.server == *server).copied().collect();
        page.gap()?;
        table(page, report, clock, *server, &rows)?;
    }
    if !more.is_empty() {
        let refused: u64 = more.iter().map(|line| line.count(Outcome::Refused)).sum();
        page.line(&format!(
            "and {}, refused {} (--top)",
            counted(more.len() as u64, "more source", "more sources"),
            grouped(refused)
        ))?;
    }
    if !kept_out.is_empty() && !shown.is_empty() {
        let sources: BTreeSet<IpNet> = kept_out.iter().map(|line| line.source).collect();
        page.wrapped(
            "Not turned away: ",
            &format!(
                "{}; {}",
                counted(sources.len() as u64, "source", "sources"),
                outcomes(&kept_out, &[])
                    .split_once(": ")
                    .map_or_else(|| outcomes(&kept_out, &[]), |(_, rest)| rest.to_owned())
            ),
            2,
        )?;
    }
    Ok(())
}

/// The sources that one server turned away.
fn table(page: &mut Page<'_>, report: &Report, clock: Clock, server: IpAddr, rows: &[&SourceLine]) -> io::Result<()> {
    let expected = rows.iter().any(|line| line.expectation.is_some());
    let refused: Vec<String> = rows.iter().map(|line| grouped(line.count(Outcome::Refused))).collect();
    let answered: Vec<String> = rows.iter().map(|line| grouped(line.count(Outcome::Answered))).collect();
    let times: Vec<String> =
        rows.iter().map(|line| clock.range(line.row.refused_first, line.row.refused_last)).collect();
    let widest = |heading: &str, cells: &[String]| cells.iter().map(String::len).max().unwrap_or(0).max(heading.len());
    let widths = [widest("REFUSED", &refused), widest("ANSWERED", &answered), widest("REFUSED FROM..TO", &times)];
    let numbers = |refused: &str, answered: &str, times: &str| {
        format!("{refused:>0$}  {answered:>1$}  {times:<2$}", widths[0], widths[1], widths[2])
    };
    page.inked(Some(Ink::Bold), &format!("AT {server}"), "", 0)?;
    page.line(&format!(
        "{:<SOURCE_WIDTH$}  {}  {}",
        "SOURCE THE SERVER SAW",
        numbers("REFUSED", "ANSWERED", "REFUSED FROM..TO"),
        if expected { "EXPECTED" } else { "" }
    ))?;
    for (index, line) in rows.iter().enumerate() {
        let mut source = show_prefix(line.source);
        if source.len() > SOURCE_WIDTH {
            page.line(&source)?;
            source.clear();
        }
        let row = format!("{source:<SOURCE_WIDTH$}  {}", numbers(&refused[index], &answered[index], &times[index]));
        match &line.expectation {
            None => page.line(&row)?,
            Some(expectation) => {
                let short = format!("{row}  {} {}", expectation.expected, escape_text(&expectation.rule));
                if short.trim_end().chars().count() <= WIDTH && expectation.name.is_empty() {
                    page.line(&short)?;
                } else {
                    page.line(&format!("{row}  {}", expectation.expected))?;
                    page.wrapped("  ", &describe_expectation(expectation), 4)?;
                }
            }
        }
        if let Some(text) = also(line) {
            page.wrapped("  ", &text, 4)?;
        }
    }
    // With findings the frames stand beside what they show.
    if report.findings.is_empty() {
        let frames: Vec<FrameRef> = rows.iter().flat_map(|line| line.row.refused_frames.iter().copied()).collect();
        let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for frame in frames {
            by_input.entry(frame.input as usize).or_default().insert(frame.frame);
        }
        for (input, frames) in by_input {
            wireshark(page, report, input, frames.into_iter())?;
        }
    }
    Ok(())
}

/// Every other outcome of a source that was turned away.
fn also(line: &SourceLine) -> Option<String> {
    let beside = [Outcome::Denied, Outcome::Silent, Outcome::TcpRejected, Outcome::Unanswered];
    let mut parts: Vec<String> = beside
        .iter()
        .filter(|outcome| line.count(**outcome) > 0)
        .map(|outcome| format!("{} {}", outcome.name(), grouped(line.count(*outcome))))
        .collect();
    if line.row.refused_unsolicited > 0 {
        parts.push(format!("REFUSED without its query {}", grouped(line.row.refused_unsolicited)));
    }
    (!parts.is_empty()).then(|| format!("also {}", parts.join(", ")))
}

/// Frames as a display filter that can be pasted into Wireshark, as many as fit on the line.
fn wireshark(page: &mut Page<'_>, report: &Report, input: usize, frames: impl Iterator<Item = u64>) -> io::Result<()> {
    let name = report.inputs.get(input).map_or(String::new(), |input| escape_text(&input.name));
    let mut line = format!("  {name}: ");
    if line.chars().count() > WIDTH / 2 {
        page.line(&line)?;
        "    ".clone_into(&mut line);
    }
    line.push_str("frame.number in {");
    for (index, frame) in frames.enumerate() {
        let next = if index == 0 { frame.to_string() } else { format!(", {frame}") };
        if index > 0 && line.chars().count() + next.len() + 1 > WIDTH {
            break;
        }
        line.push_str(&next);
    }
    page.line(&(line + "}"))
}

//------------ What follows --------------------------------------------------

/// The findings, the most severe first.
fn findings(page: &mut Page<'_>, report: &Report, layout: &Layout) -> io::Result<()> {
    let shown = report.findings.len().min(layout.top);
    for finding in &report.findings[..shown] {
        page.gap()?;
        let ink = match finding.severity {
            Severity::Critical => Ink::Red,
            Severity::Warning => Ink::Yellow,
            Severity::Info => Ink::Green,
        };
        let lead = finding.severity.name().to_uppercase();
        page.inked(Some(ink), &format!("{lead} "), &format!("{} ({})", finding.id, finding.grade.name()), 2)?;
        page.wrapped("  ", &escape_text(&finding.says), 2)?;
        members(page, finding)?;
        for (input, frames) in &finding.frames {
            wireshark(page, report, *input, frames.iter().copied())?;
        }
        if let Some(advice) = &finding.advice {
            page.wrapped("  NEXT ", &escape_text(advice), 4)?;
        }
    }
    match (report.findings.len() - shown) as u64 {
        0 => Ok(()),
        more => {
            page.gap()?;
            page.line(&format!("and {} (--top, --format json)", counted(more, "more finding", "more findings")))
        }
    }
}

/// The sources of a finding about several.
fn members(page: &mut Page<'_>, finding: &Finding) -> io::Result<()> {
    let sources = &finding.subject.sources;
    if sources.len() < 2 {
        return Ok(());
    }
    let shown = sources.len().min(MEMBERS_NAMED);
    let mut text = sources[..shown].join(", ");
    if sources.len() > shown {
        text.push_str(", ... (--format json)");
    }
    page.wrapped("  Sources: ", &text, 4)
}

//------------ Beside the client leg -----------------------------------------

/// What is not about our clients: other legs, restored names, notes.
fn apart(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (leg, who) in [
        (Leg::Upstream, "queries of our own servers to others"),
        (Leg::Other, "queries between others, to none of our servers"),
    ] {
        let of_leg: Vec<&SourceLine> = report.sources.iter().filter(|line| line.leg == leg).collect();
        if of_leg.is_empty() {
            continue;
        }
        let asked: u64 = of_leg.iter().map(|line| line.transactions()).sum();
        let refused: u64 = of_leg.iter().map(|line| line.count(Outcome::Refused)).sum();
        let option = if leg == Leg::Upstream { " (--upstream)" } else { " (--all)" };
        lines.push(("Apart: ", format!("{} {who}; {} of them refused{option}", grouped(asked), grouped(refused))));
    }
    if report.totals.refused_restored > 0 {
        let refused = report.totals.outcomes[Outcome::Refused as usize];
        lines.push((
            "Names: ",
            format!(
                "in {} of {} refused transactions the response has no question; name and type are the query's",
                grouped(report.totals.refused_restored),
                grouped(refused)
            ),
        ));
    }
    lines.extend(report.notes.iter().map(|note| ("Note: ", escape_text(note))));
    if !lines.is_empty() {
        page.gap()?;
    }
    lines.iter().try_for_each(|(lead, text)| page.wrapped(lead, text, 2))
}

//------------ The accounts --------------------------------------------------

/// Every ledger on a line or two, buckets of 0 left out.
fn accounts(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let ledgers = &report.ledgers;
    let all = [
        ("packets", &ledgers.packets),
        ("messages", &ledgers.messages),
        ("matches", &ledgers.matches),
        ("bytes", &ledgers.bytes),
        ("outputs", &ledgers.outputs),
    ];
    page.gap()?;
    let open: Vec<&str> =
        all.iter().filter(|(_, ledger)| !ledger.closed && !ledger.buckets.is_empty()).map(|(name, _)| *name).collect();
    if open.is_empty() {
        page.line("Ledgers closed; what the kernel dropped is unavailable")?;
    } else {
        let text = format!("{}. This is a fault of dnsrefused; its counts cannot be relied on", open.join(", "));
        page.inked(Some(Ink::Red), "LEDGERS NOT CLOSED ", &text, 2)?;
    }
    equation(page, &ledgers.packets, &["frames"], &[])?;
    equation(page, &ledgers.messages, &["udp", "tcp"], &[])?;
    let from_responses = ["responses", "continued", "late", "duplicate", "response_copies", "unsolicited", "mismatch"];
    let from_queries = ["queries", "retransmitted", "query_copies", "timed_out", "evicted", "open_at_end"];
    equation(page, &ledgers.matches, &["queries"], &from_responses)?;
    equation(page, &ledgers.matches, &["responses"], &from_queries)?;
    equation(page, &ledgers.bytes, &["total"], &[])?;
    if ledgers.outputs.get("rows_made") > 0 {
        equation(page, &ledgers.outputs, &["rows_made"], &[])?;
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

/// One account: the units on the left, on the right where they went. `elsewhere` are buckets of another equation.
fn equation(page: &mut Page<'_>, ledger: &Ledger, left: &[&str], elsewhere: &[&str]) -> io::Result<()> {
    if ledger.buckets.is_empty() {
        return Ok(());
    }
    let term = |name: &str, count: u64| format!("{name} {}", grouped(count));
    let units: Vec<String> = left.iter().map(|name| term(name, ledger.get(name))).collect();
    let parts: Vec<String> = ledger
        .buckets
        .iter()
        .filter(|(name, count)| *count > 0 && !left.contains(name) && !elsewhere.contains(name))
        .map(|(name, count)| term(name, *count))
        .collect();
    let parts = if parts.is_empty() { "0".to_owned() } else { parts.join(" + ") };
    page.wrapped("  ", &format!("{} = {parts}", units.join(" + ")), 4)
}
