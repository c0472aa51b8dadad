//! A report to text for the person who holds the pager: the answer first, then who, then why, then the accounts.

use super::accounts;
use super::page::{Clock, Ink, Page, WIDTH, counted, grouped, percent};
use super::{Expectation, Format, InputReport, Layout, LiveReport, Report, SourceLine, Writer};
use crate::config::{Outcome, Severity};
use crate::diagnose::Finding;
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::sources::Leg;
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
/// Servers of this host named at the top.
const SERVERS_NAMED: usize = 4;
/// Width of a source's column, that of its heading.
const SOURCE_WIDTH: usize = 21;
/// Sources of a finding named in text.
const MEMBERS_NAMED: usize = 5;

/// Writes the report as a page of text.
pub fn write(report: &Report, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(out, layout.color);
    let window = report.live.as_ref().map(|live| live.window);
    let (first, last) =
        window.map_or((report.totals.first, report.totals.last), |(first, last)| (Some(first), Some(last)));
    let clock = Clock::of(first, last);
    let clients: Vec<&SourceLine> = report.sources.iter().filter(|line| line.leg == Leg::Client).collect();
    inputs(&mut page, report, clock)?;
    headline(&mut page, report, &clients)?;
    focus(&mut page, report)?;
    tables(&mut page, report, layout, clock, &clients)?;
    files(&mut page, report)?;
    findings(&mut page, report, layout)?;
    apart(&mut page, report)?;
    accounts::write(&mut page, &report.ledgers)
}

//------------ What was read -------------------------------------------------

/// The inputs, their time range and what is known of loss.
fn inputs(page: &mut Page<'_>, report: &Report, clock: Clock) -> io::Result<()> {
    if let Some(partial) = &report.partial {
        page.inked(Some(Ink::Yellow), "PARTIAL ", &escape_text(partial), 2)?;
    }
    let mut unnamed = 0;
    for (index, input) in report.inputs.iter().enumerate() {
        if report.live.is_some() {
            // Named below, with the time and the loss.
        } else if index < INPUTS_NAMED || !input.damage.is_empty() {
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
    if let Some(live) = &report.live {
        return captured(page, report, live, clock);
    }
    let loss =
        if report.inputs.len() == 1 { "this file does not record drops" } else { "these files do not record drops" };
    match (report.totals.first, report.totals.last) {
        (Some(first), Some(last)) => page.wrapped("", &format!("{}; {loss}", clock.span(first, last)), 2),
        _ => Ok(()),
    }
}

/// Where and when this run captured, and what was lost.
fn captured(page: &mut Page<'_>, report: &Report, live: &LiveReport, clock: Clock) -> io::Result<()> {
    let servers: Vec<String> = live.servers.iter().take(SERVERS_NAMED).map(ToString::to_string).collect();
    let host = report.node.as_deref().map(|node| format!(", {}", escape_text(node))).unwrap_or_default();
    let servers = match live.servers.len() {
        0 => report.node.as_deref().map(|node| format!("{}, ", escape_text(node))).unwrap_or_default(),
        count if count > SERVERS_NAMED => {
            format!("{} and {} more (this host{host}), ", servers.join(", "), count - SERVERS_NAMED)
        }
        _ => format!("{} (this host{host}), ", servers.join(", ")),
    };
    let loss = match report.ledgers.capture.map(|capture| (capture.lost(), capture)) {
        None => "loss unavailable".to_owned(),
        Some((0, _)) => "no loss".to_owned(),
        Some((lost, capture)) => {
            let share = percent(lost, capture.seen);
            format!("LOST {} of {} packets ({share})", grouped(lost), grouped(capture.seen))
        }
    };
    let (began, ended) = live.window;
    let interfaces: Vec<String> = live.interfaces.iter().map(|name| escape_text(name)).collect();
    page.wrapped("", &format!("{servers}{}, {}, {loss}", interfaces.join(" "), clock.span(began, ended)), 2)?;
    if live.refused_only {
        let text = "only REFUSED responses were captured: no queries, so nothing is known of answers, silence, response \
                    times, and of names that the response does not repeat";
        page.wrapped("", text, 2)?;
    }
    Ok(())
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
    let without_query: u64 = clients.iter().map(|line| line.row.rare().refused_unsolicited).sum();
    let others = |skip: &[Outcome]| -> String {
        let parts: Vec<String> = Outcome::ALL
            .iter()
            .filter(|(_, outcome)| !skip.contains(outcome) && *outcome != Outcome::Unsolicited && sum(*outcome) > 0)
            .map(|(name, outcome)| format!("{name} {}", grouped(sum(*outcome))))
            .collect();
        parts.join(", ")
    };
    let others = others(&[Outcome::Refused]);
    let of_asked = match asked {
        0 => "no client query is in the capture".to_owned(),
        asked if others.is_empty() => format!("{} {what}", grouped(asked)),
        asked => format!("{} {what}: {others}", grouped(asked)),
    };
    let away: BTreeSet<IpNet> = clients
        .iter()
        .filter(|line| line.count(Outcome::Refused) + line.row.rare().refused_unsolicited > 0)
        .map(|line| line.source)
        .collect();
    let sources = counted(away.len() as u64, "source", "sources");
    if refused > 0 {
        let tail = if others.is_empty() { String::new() } else { format!("; {others}") };
        let share = percent(refused, asked);
        let text = format!("{} of {} {what} ({share}), {sources}{tail}", grouped(refused), grouped(asked));
        page.inked(Some(Ink::Red), "REFUSED ", &text, 2)?;
        if without_query > 0 {
            let responses = counted(without_query, "more REFUSED response", "more REFUSED responses");
            page.wrapped("  ", &format!("{responses} whose query is not in the capture"), 2)?;
        }
        return Ok(());
    }
    if without_query > 0 {
        let responses = counted(without_query, "response", "responses");
        let text = format!("{responses} to {sources}, without their queries in the capture; {of_asked}");
        return page.inked(Some(Ink::Red), "REFUSED ", &text, 2);
    }
    if asked == 0 {
        let responses: u64 = clients.iter().map(|line| line.count(Outcome::Unsolicited)).sum();
        let text = match responses {
            0 => "are in the capture".to_owned(),
            responses => {
                format!("are in the capture, only {} without a query", counted(responses, "response", "responses"))
            }
        };
        return page.inked(Some(Ink::Bold), "NO CLIENT QUERIES ", &text, 2);
    }
    let silent_ways = [Outcome::Denied, Outcome::Silent, Outcome::TcpRejected];
    let ink = if silent_ways.iter().any(|outcome| sum(*outcome) > 0) { Ink::Yellow } else { Ink::Green };
    page.inked(Some(ink), "NOTHING REFUSED ", &format!("of {of_asked}"), 2)
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
            parts.push(format!("{bucket} {}", grouped(*count)));
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
                "NOT KNOWN. It may be among sources that were joined to prefixes."
            } else {
                "NOT SEEN. No DNS traffic from it or to it is in this capture; it arrives as another address, or not here."
            };
            page.inked(Some(Ink::Bold), &format!("{name}: "), text, 2)?;
        } else {
            let (clients, others): (Vec<&SourceLine>, Vec<&SourceLine>) =
                lines.iter().partition(|line| line.leg == Leg::Client);
            let mut text = format!("SEEN: {}", outcomes(&clients));
            let elsewhere: u64 = others.iter().map(|line| line.transactions()).sum();
            if elsewhere > 0 {
                let _ = write!(text, "; {} on other legs", counted(elsewhere, "transaction", "transactions"));
            }
            page.inked(Some(Ink::Bold), &format!("{name}: "), &text, 2)?;
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

/// What happened to sources: `2 sources, refused 7, answered 3`.
fn outcomes(lines: &[&SourceLine]) -> String {
    let sources: BTreeSet<IpNet> = lines.iter().map(|line| line.source).collect();
    let mut parts = vec![counted(sources.len() as u64, "source", "sources")];
    for (name, outcome) in Outcome::ALL {
        let count: u64 = lines.iter().map(|line| line.count(outcome)).sum();
        if count > 0 {
            parts.push(format!("{name} {}", grouped(count)));
        }
    }
    parts.join(", ")
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
    if servers.is_empty() && !more.is_empty() {
        page.gap()?;
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
        page.wrapped("Not turned away: ", &outcomes(&kept_out), 2)?;
    }
    Ok(())
}

/// The sources that one server turned away.
fn table(page: &mut Page<'_>, report: &Report, clock: Clock, server: IpAddr, rows: &[&SourceLine]) -> io::Result<()> {
    let expected = rows.iter().any(|line| line.expectation.is_some());
    let judged = rows.iter().any(|line| line.verdict.is_some());
    // Without any queries every refusal is one whose query is not known, and nothing besides.
    let without_queries = report.live.as_ref().is_some_and(|live| live.refused_only);
    let times_refused =
        |line: &&SourceLine| if without_queries { line.turned_away() } else { line.count(Outcome::Refused) };
    let refused: Vec<String> = rows.iter().map(|line| grouped(times_refused(line))).collect();
    let answered: Vec<String> = rows.iter().map(|line| grouped(line.count(Outcome::Answered))).collect();
    let times: Vec<String> =
        rows.iter().map(|line| clock.range(line.row.rare().refused_first, line.row.rare().refused_last)).collect();
    let widest = |heading: &str, cells: &[String]| cells.iter().map(String::len).max().unwrap_or(0).max(heading.len());
    let widths = [widest("REFUSED", &refused), widest("ANSWERED", &answered), widest("TURNED AWAY (UTC)", &times)];
    let numbers = |refused: &str, answered: &str, times: &str| {
        format!("{refused:>0$}  {answered:>1$}  {times:<2$}", widths[0], widths[1], widths[2])
    };
    page.inked(Some(Ink::Bold), &format!("AT {server}"), "", 0)?;
    page.line(&format!(
        "{:<SOURCE_WIDTH$}  {}  {}",
        "SOURCE THE SERVER SAW",
        numbers("REFUSED", "ANSWERED", "TURNED AWAY (UTC)"),
        if expected {
            "EXPECTED"
        } else if judged {
            "FILE SAYS"
        } else {
            ""
        }
    ))?;
    for (index, line) in rows.iter().enumerate() {
        let mut source = show_prefix(line.source);
        if source.len() > SOURCE_WIDTH {
            page.line(&source)?;
            source.clear();
        }
        let row = format!("{source:<SOURCE_WIDTH$}  {}", numbers(&refused[index], &answered[index], &times[index]));
        match &line.expectation {
            None => file_says(page, &row, line)?,
            Some(expectation) => {
                let rule = escape_text(&expectation.rule);
                let short = format!("{row}  {} {rule}", expectation.expected);
                if short.trim_end().chars().count() <= WIDTH {
                    page.line(&short)?;
                } else {
                    page.line(&format!("{row}  {}", expectation.expected))?;
                    page.wrapped("  expected by ", &rule, 4)?;
                }
            }
        }
        if let (true, Some(verdict)) = (expected, &line.verdict) {
            page.wrapped("  file says ", &format!("{}  {}", verdict.verdict, verdict.rule), 4)?;
        }
        if let Some(text) = also(line).filter(|_| !without_queries) {
            page.wrapped("  ", &text, 4)?;
        }
    }
    // With findings the frames stand beside what they show.
    if report.findings.is_empty() {
        all_frames(page, report, rows)?;
    }
    Ok(())
}

/// A row with what the server's file says at its end, or below it where that is too long.
fn file_says(page: &mut Page<'_>, row: &str, line: &SourceLine) -> io::Result<()> {
    let Some(verdict) = &line.verdict else { return page.line(row) };
    let short = format!("{row}  {}  {}", verdict.verdict, verdict.rule);
    if short.trim_end().chars().count() <= WIDTH {
        return page.line(&short);
    }
    page.line(&format!("{row}  {}", verdict.verdict))?;
    page.wrapped("  file says ", &verdict.rule, 4)
}

/// What the servers' files refuse, and how far they and the wire agree.
fn files(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    /// Rules named per file.
    const RULES: usize = 5;
    /// Included files named per file.
    const INCLUDED: usize = 3;
    for file in &report.files {
        page.gap()?;
        for (rule, count) in file.rules.iter().take(RULES) {
            let text = format!("{}  ({})", rule.text, counted(*count, "request", "requests"));
            page.wrapped(&format!("{rule}  "), &text, 2)?;
        }
        let (main, included) = file.read.split_first().unzip();
        if let Some(main) = main {
            page.wrapped("  ", &format!("File {main}. What the server runs is not known."), 2)?;
        }
        let included = included.unwrap_or_default();
        for one in included.iter().take(INCLUDED) {
            page.wrapped("  ", &format!("Included: {one}"), 2)?;
        }
        if included.len() > INCLUDED {
            page.line(&format!("  Included: {} more files (json names them)", included.len() - INCLUDED))?;
        }
        let decided = file.agreeing + file.differing;
        let text = match decided {
            0 => "File and wire: no request could be compared.".to_owned(),
            _ => format!(
                "File and wire agree on {} of {}.",
                grouped(file.agreeing),
                counted(decided, "decided request", "decided requests")
            ),
        };
        page.wrapped("  ", &text, 2)?;
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
    if line.row.rare().refused_unsolicited > 0 {
        parts.push(format!("REFUSED without its query {}", grouped(line.row.rare().refused_unsolicited)));
    }
    (!parts.is_empty()).then(|| format!("also {}", parts.join(", ")))
}

/// The frames of refusals of several sources, input by input.
fn all_frames(page: &mut Page<'_>, report: &Report, lines: &[&SourceLine]) -> io::Result<()> {
    let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for frame in lines.iter().flat_map(|line| &line.row.rare().refused_frames) {
        by_input.entry(frame.input as usize).or_default().insert(frame.frame);
    }
    by_input.into_iter().try_for_each(|(input, frames)| wireshark(page, report, input, frames.into_iter()))
}

/// Frames as a display filter that can be pasted into Wireshark, as many as fit on the line.
fn wireshark(page: &mut Page<'_>, report: &Report, input: usize, frames: impl Iterator<Item = u64>) -> io::Result<()> {
    let name = match &report.live {
        Some(LiveReport { packets: Some(name), .. }) => escape_text(name),
        // Nobody has these frames.
        Some(_) => return Ok(()),
        None => report.inputs.get(input).map_or(String::new(), |input| escape_text(&input.name)),
    };
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
        for sentence in statements(&escape_text(&finding.says)) {
            page.wrapped("  ", sentence, 4)?;
        }
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

/// A finding's text in pieces, each of which says by itself how surely it is known.
fn statements(says: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in says.match_indices(". ") {
        let next = at + 2;
        if says[next..].starts_with("Observed: ") || says[next..].starts_with("Inferred: ") {
            pieces.push(&says[start..=at]);
            start = next;
        }
    }
    pieces.push(&says[start..]);
    pieces
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::diagnose::diagnose;
    use crate::diagnose::samples::{With, inventory, report, source};
    use crate::expect::Inventory;
    use crate::report::Ledger;

    /// The page of a report, without colour unless asked for.
    fn page(report: &Report, top: usize, color: bool) -> String {
        let mut out = Vec::new();
        write(report, &Layout { top, color, verbose: false }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The seed story with an inventory.
    fn story() -> Report {
        let inventory = inventory("prefix,name,kind\n10.20.0.0/16,office,\n10.21.0.0/16,vpn,vpn\n");
        let mut upstream =
            source("10.20.30.40", "203.0.113.53").with(Outcome::Answered, 5906).with(Outcome::Refused, 41);
        upstream.leg = Leg::Upstream;
        let mut report = report(
            vec![
                source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 1187).with(Outcome::Unanswered, 3),
                source("2001:db8:1234:5678:9abc:def0:1234:5678", "10.20.30.40").with(Outcome::Refused, 118),
                source("198.51.100.7", "10.20.30.40").with(Outcome::Refused, 7).with(Outcome::Denied, 2),
                source("10.20.7.7", "10.20.30.40").with(Outcome::Refused, 1).with(Outcome::Answered, 9),
                source("10.20.1.7", "10.20.30.40").with(Outcome::Answered, 20166),
                upstream,
            ],
            &inventory,
        );
        report.totals.messages_udp = 54_000;
        report.totals.refused_restored = 1312;
        report.focus = vec!["10.21.5.18/32".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
        report.focus_expectations =
            report.focus.iter().map(|prefix| Expectation::from(inventory.decide_prefix(*prefix))).collect();
        report.ledgers.packets = Ledger {
            buckets: vec![("frames", 54_100), ("udp_dns", 54_000), ("icmp", 0), ("non_ip", 100)],
            closed: true,
        };
        report.ledgers.messages = Ledger {
            buckets: vec![("udp", 54_000), ("tcp", 0), ("queries", 27_010), ("responses", 26_990)],
            closed: true,
        };
        report.ledgers.matches = Ledger {
            buckets: vec![
                ("queries", 27_010),
                ("matched", 26_990),
                ("timed_out", 20),
                ("responses", 26_990),
                ("late", 0),
            ],
            closed: true,
        };
        report.ledgers.bytes = Ledger { buckets: vec![("total", 100), ("headers", 24), ("packets", 76)], closed: true };
        report.ledgers.anomalies.insert("trailing_bytes", 3);
        report.findings = diagnose(&report, &inventory, &Limits::default());
        report
    }

    /// A report of sources without an inventory.
    fn plain(sources: Vec<SourceLine>) -> Report {
        let mut report = report(sources, &Inventory::default());
        report.totals.messages_udp = 1;
        report
    }

    /// The lines of a page that start with `start`, joined.
    fn line(report: &Report, start: &str) -> String {
        page(report, 20, false).lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_answer_comes_first_and_then_who() {
        let text = page(&story(), 20, false);
        let start = "\
server.pcap: pcap, EN10MB, 900 frames
2025-12-31 09:04:10Z to 09:04:40Z; this file does not record drops
REFUSED 1,313 of 21,493 client queries (6.1 %), 4 sources; answered 20,175,
  denied 2, unanswered 3

10.21.5.18: NOT SEEN. No DNS traffic from it or to it is in this capture; it
  arrives as another address, or not here.
  Inventory: allow by expect.csv:3 (vpn)
192.0.2.0/24: SEEN: 1 source, refused 1,187, unanswered 3
  server.pcap: frame.number in {2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26}
  Inventory: unlisted

AT 10.20.30.40
SOURCE THE SERVER SAW  REFUSED  ANSWERED  TURNED AWAY (UTC)   EXPECTED
192.0.2.45               1,187         0  09:04:11..09:04:39  unlisted
  also unanswered 3
2001:db8:1234:5678:9abc:def0:1234:5678
                           118         0  09:04:11..09:04:39  unlisted
198.51.100.7                 7         0  09:04:11..09:04:39  unlisted
  also denied 2
10.20.7.7                    1         9  09:04:11..09:04:39  allow expect.csv:2
Not turned away: 1 source, answered 20,166

CRITICAL unlisted-source-refused-1 (inferred)
  Observed: 3 sources in no inventory line were turned away 1314 times by
";
        assert!(text.starts_with(start), "{text}");
        let end = "
Apart: 5,947 queries of our own servers to others; 41 of them refused
  (--upstream)
Names: in 1,312 of 1,354 refused transactions the response has no question; name
  and type are the query's

Ledgers closed; what the kernel dropped is unavailable
  frames 54,100 = udp_dns 54,000 + non_ip 100
  messages udp 54,000 + tcp 0 = queries 27,010 + responses 26,990
  queries 27,010 = matched 26,990 + timed_out 20
  responses 26,990 = matched 26,990
  bytes total 100 = headers 24 + packets 76
  odd but used: trailing_bytes 3
";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_no_byte_drives_it() {
        let mut report = story();
        report.inputs[0].name = format!("/captures/{}\u{1b}[2J\n.pcap", "long/".repeat(6));
        report.inputs[0].damage.push("cut at\tbyte 7".to_owned());
        report.notes.push("x\u{202e}y ".repeat(30));
        report.partial = Some("interrupted\r".to_owned());
        for line in &mut report.sources {
            for (_, outcome) in Outcome::ALL {
                line.row.add_outcome(outcome, line.row.count(outcome) * 999);
            }
            if let Some(expectation) = &mut line.expectation {
                "a/long/path/expectations.csv:10234\u{7}".clone_into(&mut std::sync::Arc::make_mut(expectation).rule);
            }
        }
        for top in [0, 1, 20] {
            let text = page(&report, top, false);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text}");
        }
        let plain: String = page(&report, 20, true).replace("\u{1b}[0m", "");
        let plain =
            ["1;31", "1;33", "32", "1"].iter().fold(plain, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(plain, page(&report, 20, false), "colour adds nothing but colour");
    }

    #[test]
    fn frames_stand_in_the_table_when_no_finding_shows_them() {
        let mut report = plain(vec![
            source("192.0.2.45", "10.20.30.40").with(Outcome::Refused, 1_234),
            source("192.0.2.46", "10.20.30.40").with(Outcome::Refused, 2),
            source("192.0.2.47", "10.20.30.41").with(Outcome::Refused, 1),
        ]);
        report.sources[1].row.rare_mut().refused_frames[0].frame = 1_234_567;
        assert_eq!(
            line(&report, "SOURCE"),
            "SOURCE THE SERVER SAW  REFUSED  ANSWERED  TURNED AWAY (UTC)|SOURCE THE SERVER SAW  REFUSED  ANSWERED  TURNED AWAY (UTC)"
        );
        let text = page(&report, 2, false);
        assert!(text.contains("\n  server.pcap: frame.number in {2, 4, 6, 8,"), "{text}");
        assert!(text.contains("\nand 1 more source, refused 1 (--top)\n"), "{text}");
        report.sources.remove(0);
        assert!(page(&report, 1, false).contains("  server.pcap: frame.number in {4, 1234567}\n"), "no separators");
    }

    #[test]
    fn nothing_refused_is_said_plainly() {
        let one = |outcome| plain(vec![source("10.20.1.7", "10.20.30.40").with(outcome, 20_166)]);
        let headline = |report: &Report| page(report, 20, false).lines().nth(2).unwrap().to_owned();
        assert_eq!(headline(&one(Outcome::Answered)), "NOTHING REFUSED of 20,166 client queries: answered 20,166");
        assert_eq!(headline(&one(Outcome::Denied)), "NOTHING REFUSED of 20,166 client queries: denied 20,166");
        assert_eq!(
            headline(&one(Outcome::TcpRejected)),
            "NOTHING REFUSED of 20,166 client queries and rejected connections: tcp-rejected"
        );
        assert_eq!(
            headline(&one(Outcome::Unsolicited)),
            "NO CLIENT QUERIES are in the capture, only 20,166 responses without a query"
        );
        let mut responses = one(Outcome::Unsolicited);
        responses.sources[0].row.rare_mut().refused_unsolicited = 20_000;
        assert_eq!(
            headline(&responses),
            "REFUSED 20,000 responses to 1 source, without their queries in the capture; no"
        );
        let mut other = one(Outcome::Refused);
        other.sources[0].leg = Leg::Other;
        assert_eq!(headline(&other), "NO CLIENT QUERIES are in the capture");
        assert_eq!(
            line(&other, "Apart"),
            "Apart: 20,166 queries between others, to none of our servers; 20,166 of them"
        );
    }

    #[test]
    fn without_dns_the_page_says_what_was_there_instead() {
        let mut report = report(Vec::new(), &Inventory::default());
        report.ledgers.not_opened.insert("GTP-U".to_owned(), 12);
        report.ledgers.packets.buckets = vec![("frames", 900), ("other_port", 888), ("not_opened", 12), ("non_ip", 0)];
        assert_eq!(
            line(&report, "NO DNS"),
            "NO DNS SEEN in 900 frames: 12 packets in GTP-U, not opened; other_port 888"
        );
        assert_eq!(
            line(&report, "LEDGERS"),
            "LEDGERS NOT CLOSED packets. This is a fault of dnsrefused; its counts cannot be"
        );
        report.totals.frames = 0;
        assert_eq!(line(&report, "NO FRAMES"), "NO FRAMES were read, so nothing is known");
    }

    #[test]
    fn a_client_among_joined_sources_is_not_called_unseen() {
        let mut report = plain(vec![source("10.0.0.0/8", "10.20.30.40").with(Outcome::Unanswered, 9)]);
        report.focus = vec!["10.21.5.18/32".parse().unwrap()];
        assert!(line(&report, "10.21.5.18").starts_with("10.21.5.18: NOT KNOWN. It may be among sources"));
    }

    #[test]
    fn statements_break_only_where_the_grade_changes() {
        assert_eq!(
            statements("Observed: a. b. Observed: c. Inferred: d. e."),
            ["Observed: a. b.", "Observed: c.", "Inferred: d. e."]
        );
        assert_eq!(statements("Plain. Text."), ["Plain. Text."]);
    }
}
