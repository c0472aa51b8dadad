//! Writes a report as text for the person on call: the answer first, then who, then why, then the accounts.

mod focus;
mod tables;

use super::accounts;
use super::page::{Clock, Ink, Page, counted, grouped, lost_packets, percent};
use super::{Format, InputReport, Layout, LiveReport, Report, SourceLine, Writer, servers_of};
use crate::capture::losses::InterfaceLoss;
use crate::config::{Outcome, Severity};
use crate::diagnose::Finding;
use crate::error::escape_text;
use crate::sources::{ExtraRefusal, Leg, count_sources};
use focus::focus;
use std::io::{self, Write};
use std::net::IpAddr;
use tables::{files, tables, wireshark};

/// The format's entry in the table.
pub const FORMAT: Format = Format { name: "text", writer: Writer::Report(write) };

/// Most inputs named at the top; damaged ones always are.
const INPUTS_NAMED: usize = 8;
/// Most servers of this host named at the top.
const SERVERS_NAMED: usize = 4;
/// Width of the column of sources, which is that of its heading.
const SOURCE_WIDTH: usize = 21;
/// Most sources of a finding named in text.
const MEMBERS_NAMED: usize = 5;

/// Writes the report as a page of text.
pub fn write(report: &Report, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(out, layout.color);
    let window = report.live.as_ref().map(|live| live.window);
    let (first, last) =
        window.map_or((report.totals.first, report.totals.last), |(first, last)| (Some(first), Some(last)));
    let clock = Clock::of(first, last);
    let read = report.sources.iter().filter(|line| !line.is_without_message());
    let clients: Vec<&SourceLine> = read.filter(|line| line.leg == Leg::Client).collect();
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
            // The name, the time and the losses follow below.
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
    only_refusals(page, report)?;
    let loss = recorded_loss(report);
    match (report.totals.first, report.totals.last) {
        (Some(first), Some(last)) => page.wrapped("", &format!("{}; {loss}", clock.span(first, last)), 2)?,
        _ if report.ledgers.stated_loss.known() > Some(0) => return page.wrapped("", &loss, 2),
        _ => return Ok(()),
    }
    if report.selected == (None, None) {
        return Ok(());
    }
    let (frames, times) = (counted(report.frames_examined(), "frame", "frames"), report.times_examined());
    let times = times.map_or("nothing of that time".to_owned(), |(first, last)| clock.span(first, last));
    page.wrapped("", &format!("looked at (--from, --to): {times}, {frames}"), 2)
}

/// What the files say about packets that their captures lost.
fn recorded_loss(report: &Report) -> String {
    let (files, record, does) =
        if report.inputs.len() == 1 { ("this file", "records", "does") } else { ("these files", "record", "do") };
    match report.ledgers.stated_loss {
        InterfaceLoss::Unknown => format!("{files} {does} not record drops"),
        InterfaceLoss::Exactly(0) => format!("no packets lost, as {files} {record}"),
        InterfaceLoss::AtLeast(0) => format!("no loss that is known, but {files} {does} not record all of it"),
        loss => format!("LOST {} of any traffic, as {files} {record}", lost_packets(loss)),
    }
}

/// Where and when this run captured, and what was lost.
fn captured(page: &mut Page<'_>, report: &Report, live: &LiveReport, clock: Clock) -> io::Result<()> {
    let host = report.node.as_deref().map(|node| format!(", {}", escape_text(node))).unwrap_or_default();
    let servers = match live.servers.len() {
        0 => report.node.as_deref().map(|node| format!("{}, ", escape_text(node))).unwrap_or_default(),
        _ => format!("{} (this host{host}), ", some_servers(&live.servers)),
    };
    let loss = report.ledgers.capture.map_or_else(|| "loss unavailable".to_owned(), |capture| capture.describe_loss());
    let (began, ended) = live.window;
    let interfaces: Vec<String> = live.interfaces.iter().map(|name| escape_text(name)).collect();
    page.wrapped("", &format!("{servers}{}, {}, {loss}", interfaces.join(" "), clock.span(began, ended)), 2)?;
    only_refusals(page, report)
}

/// What the kernel's filter for REFUSED responses cannot find; see `kernel_filter::refused`.
const NOT_CAUGHT: &str = "refusals that this does not catch: in fragments, in tunnels, behind two VLAN tags, behind IPv6 extension headers, \
    and over TCP those that do not begin their segment or whose first 6 bytes are split";

/// Says what cannot be known where only REFUSED responses were captured.
fn only_refusals(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let unknown =
        "so nothing is known of answers, silence, response times, and of names that the response does not repeat";
    if report.has_only_refusals() {
        page.wrapped("", &format!("only REFUSED responses were captured: no queries, {unknown}"), 2)?;
        return page.wrapped("", NOT_CAUGHT, 2);
    }
    match report.refused_only_inputs() {
        0 => Ok(()),
        some => {
            let inputs = counted(report.inputs.len() as u64, "input", "inputs");
            let text =
                format!("only REFUSED responses were captured for {some} of {inputs}: no queries there, {unknown}");
            page.wrapped("", &text, 2)
        }
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
    if input.refused_only {
        parts.push("only REFUSED responses".to_owned());
    }
    format!("{}: {}", escape_text(&input.name), parts.join(", "))
}

//------------ The answer ----------------------------------------------------

/// How much was refused; or clearly that nothing was, or that there was nothing to look at.
fn headline(page: &mut Page<'_>, report: &Report, clients: &[&SourceLine]) -> io::Result<()> {
    let totals = &report.totals;
    if totals.messages_udp + totals.messages_tcp == 0 && report.sources.iter().all(SourceLine::is_without_message) {
        return no_dns(page, report);
    }
    answer(page, report, clients)?;
    match report.ledgers.messages.get("undecodable") {
        0 => Ok(()),
        1 => page.wrapped("  ", "1 message without a whole header could not be read; it may be a refusal", 2),
        more => {
            let text =
                format!("{} messages without a whole header could not be read; they may be refusals", grouped(more));
            page.wrapped("  ", &text, 2)
        }
    }
}

/// What became of the clients' queries.
fn answer(page: &mut Page<'_>, report: &Report, clients: &[&SourceLine]) -> io::Result<()> {
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
        0 if report.totals.queries > 0 => "no query to these servers is in the capture".to_owned(),
        0 => "no client query is in the capture".to_owned(),
        asked if others.is_empty() => format!("{} {what}", grouped(asked)),
        asked => format!("{} {what}: {others}", grouped(asked)),
    };
    let where_queries_are = if report.forgot_queries() {
        "not known: forgotten because a table was full, or not captured".to_owned()
    } else if report.has_only_refusals() {
        "not captured".to_owned()
    } else {
        format!("not among what was read of the {} s before", report.looked_back.as_secs_f64())
    };
    let queries_are = if without_query == 1 { "query is" } else { "queries are" };
    let beside: Vec<(u64, &str)> = ExtraRefusal::ALL
        .iter()
        .map(|(_, why)| {
            let counts = clients.iter().map(|line| line.row.rare().extra_refusals[*why as usize]);
            (counts.sum(), why.words()[1])
        })
        .filter(|(count, _)| *count > 0)
        .collect();
    let say_beside = |page: &mut Page<'_>| {
        beside.iter().try_for_each(|(count, text)| {
            let responses = counted(*count, "REFUSED response", "REFUSED responses");
            page.wrapped("  ", &format!("{responses} came {text}"), 2)
        })
    };
    if refused > 0 {
        let away: Vec<&SourceLine> = clients.iter().copied().filter(|line| line.count(Outcome::Refused) > 0).collect();
        let sources = sources_of(&away);
        let tail = if others.is_empty() { String::new() } else { format!("; {others}") };
        let share = percent(refused, asked);
        let text = format!("{} of {} {what} ({share}), {sources}{tail}", grouped(refused), grouped(asked));
        page.inked(Some(Ink::Red), "REFUSED ", &text, 2)?;
        if without_query > 0 {
            let responses = counted(without_query, "more REFUSED response", "more REFUSED responses");
            page.wrapped("  ", &format!("{responses} whose {queries_are} {where_queries_are}"), 2)?;
        }
        return say_beside(page);
    }
    if without_query > 0 {
        let away: Vec<&SourceLine> =
            clients.iter().copied().filter(|line| line.row.rare().refused_unsolicited > 0).collect();
        let responses = counted(without_query, "response", "responses");
        let text = format!("{responses} to {}, whose {queries_are} {where_queries_are}; {of_asked}", sources_of(&away));
        page.inked(Some(Ink::Red), "REFUSED ", &text, 2)?;
        return say_beside(page);
    }
    if !beside.is_empty() {
        let text = |(count, text): &(u64, &str)| format!("{} {text}", counted(*count, "response", "responses"));
        let responses: Vec<String> = beside.iter().map(text).collect();
        let text = format!("{}; apart from that nothing of {of_asked}", responses.join("; "));
        return page.inked(Some(Ink::Red), "REFUSED ", &text, 2);
    }
    if asked == 0 {
        let responses: u64 = clients.iter().map(|line| line.count(Outcome::Unsolicited)).sum();
        let text = match responses {
            0 if report.ledgers.messages.get("undecodable") > 0 => "could be read".to_owned(),
            0 => format!("are in the capture{}", to_others(report)),
            responses => {
                format!("are in the capture, only {} without a query", counted(responses, "response", "responses"))
            }
        };
        return page.inked(Some(Ink::Bold), "NO CLIENT QUERIES ", &text, 2);
    }
    if report.totals.responses == 0 && sum(Outcome::Unanswered) + sum(Outcome::Silent) == asked {
        let what = if report.not_read().is_empty() { "are in the capture" } else { "could be read" };
        return page.inked(Some(Ink::Yellow), "NO RESPONSES ", &format!("{what}; {of_asked}"), 2);
    }
    nothing_refused(page, report, clients, &of_asked)
}

/// Queries were asked and answered, and none was refused. `of_asked` says how many.
fn nothing_refused(page: &mut Page<'_>, report: &Report, clients: &[&SourceLine], of_asked: &str) -> io::Result<()> {
    let other_ways = [Outcome::Denied, Outcome::Silent, Outcome::TcpRejected];
    let ways: u64 = clients.iter().map(|line| other_ways.iter().map(|outcome| line.count(*outcome)).sum::<u64>()).sum();
    let upstream = report.sources.iter().filter(|line| line.leg == Leg::Upstream);
    let upstream: u64 = upstream.map(|line| line.count(Outcome::Refused)).sum();
    // Where no server was named, whoever answers others counts as one.
    let apart = match upstream {
        0 => String::new(),
        1 => "; 1 query that a server itself asked was refused (below)".to_owned(),
        count => format!("; {} queries that servers themselves asked were refused (below)", grouped(count)),
    };
    let otherwise = match ways {
        0 => String::new(),
        1 => ", but 1 turned away in another way".to_owned(),
        ways => format!(", but {} turned away in other ways", grouped(ways)),
    };
    page.inked(
        Some(if upstream > 0 || ways > 0 { Ink::Yellow } else { Ink::Green }),
        "NOTHING REFUSED ",
        &format!("of {of_asked}{otherwise}{apart}"),
        2,
    )
}

/// Servers in a sentence.
fn some_servers(servers: &[IpAddr]) -> String {
    let named: Vec<String> = servers.iter().take(SERVERS_NAMED).map(ToString::to_string).collect();
    match servers.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The servers that the queries in a capture went to when none of them is ours: perhaps another address was meant.
fn to_others(report: &Report) -> String {
    let others = servers_of(report.sources.iter().filter(|line| line.leg == Leg::Other));
    let mut named: Vec<String> = others.iter().take(SERVERS_NAMED).map(ToString::to_string).collect();
    if others.len() > named.len() {
        named.push(format!("{} more", others.len() - named.len()));
    }
    if named.is_empty() {
        String::new()
    } else {
        format!(" to our servers; others are asked here: {}", named.join(", "))
    }
}

/// Says what was in the capture instead of DNS.
fn no_dns(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.totals.frames == 0 {
        return page.inked(Some(Ink::Bold), "NO FRAMES ", "were read, so nothing is known", 2);
    }
    if report.frames_examined() == 0 {
        let frames = counted(report.totals.frames, "frame", "frames");
        let text = format!("of {frames}: the filter or the time asked for leaves all of them out");
        return page.inked(Some(Ink::Bold), "NOTHING LOOKED AT ", &text, 2);
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
            let tip = if *bucket == "other_port" { " (--port names ports that carry DNS)" } else { "" };
            parts.push(format!("{bucket} {}{tip}", grouped(*count)));
        }
    }
    let frames = counted(report.totals.frames, "frame", "frames");
    page.inked(Some(Ink::Bold), "NO DNS SEEN ", &format!("in {frames}: {}", parts.join("; ")), 2)
}

/// The number of sources, as `2 sources`, or `at least` that where some were joined by prefix.
fn sources_of(lines: &[&SourceLine]) -> String {
    let (sources, joined) = count_sources(lines.iter().map(|line| line.source));
    format!("{}{}", if joined { "at least " } else { "" }, counted(sources, "source", "sources"))
}

/// What happened to sources: `2 sources, refused 7, answered 3`.
fn outcomes(lines: &[&SourceLine]) -> String {
    let mut parts = vec![sources_of(lines)];
    for (name, outcome) in Outcome::ALL {
        let count: u64 = lines.iter().map(|line| line.count(outcome)).sum();
        if count > 0 {
            parts.push(format!("{name} {}", grouped(count)));
        }
    }
    let beside: u64 = lines.iter().flat_map(|line| line.row.rare().extra_refusals).sum();
    if beside > 0 {
        parts.push(format!("REFUSED beside what counts {}", grouped(beside)));
    }
    parts.join(", ")
}

//------------ Who was turned away -------------------------------------------

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
    match report.findings[shown..].iter().map(Finding::stands_for).sum() {
        0 => Ok(()),
        more => {
            page.gap()?;
            page.line(&format!("and {} (--top, --format json)", counted(more, "more finding", "more findings")))
        }
    }
}

/// A finding's text in pieces, each of which says how certain it is.
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

/// The sources of a finding that is about several.
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

/// Everything that is not about our clients: other legs, restored names, notes.
fn apart(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    // A capturing host may ask others without being a server.
    let by_leg = |leg: Leg| report.sources.iter().filter(move |line| line.leg == leg && !line.is_without_message());
    let servers = servers_of(by_leg(Leg::Client));
    let of_servers = by_leg(Leg::Upstream).all(|line| servers.contains(&line.source.addr()));
    let own = match (of_servers || report.live.is_none(), servers.is_empty()) {
        (true, _) => "of our own servers to others",
        (false, true) => "from addresses of this host to others",
        (false, false) => "from addresses of this host or our own servers to others",
    };
    for (leg, who) in [(Leg::Upstream, own), (Leg::Other, "between others, to none of our servers")] {
        let of_leg: Vec<&SourceLine> = by_leg(leg).collect();
        if of_leg.is_empty() {
            continue;
        }
        let asked: u64 = of_leg.iter().map(|line| line.transactions()).sum();
        let refused: u64 = of_leg.iter().map(|line| line.count(Outcome::Refused)).sum();
        let unasked: u64 = of_leg.iter().map(|line| line.row.rare().refused_unsolicited).sum();
        let unasked = match unasked {
            0 => String::new(),
            _ => format!(", and {} without a query", counted(unasked, "REFUSED response", "REFUSED responses")),
        };
        // A file may list more addresses of the same host than those it was said to speak for (--server).
        let files = report.files.iter().filter(|file| !file.servers.is_empty());
        let files: Vec<String> = files
            .filter_map(|file| Some((file.read.first()?, &file.servers)))
            .map(|(file, servers)| format!("{} speaks for {}", file.name, some_servers(servers)))
            .collect();
        let option = match leg {
            Leg::Upstream => " (--upstream)".to_owned(),
            _ if files.is_empty() => " (--all)".to_owned(),
            _ => format!(" (--all); {}", files.join(", ")),
        };
        let asked = counted(asked, "query", "queries");
        lines.push(("Apart: ", format!("{asked} {who}; {} of them refused{unasked}{option}", grouped(refused))));
    }
    let without_message: Vec<&SourceLine> = report.sources.iter().filter(|line| line.is_without_message()).collect();
    if !without_message.is_empty() {
        let text = format!(
            "{} on a DNS port without a message that could be read (a message without a whole header, a TCP connection \
             without any, a first fragment, or a packet that an ICMP error quotes)",
            sources_of(&without_message)
        );
        lines.push(("Seen only: ", text));
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
mod tests;
