//! The tables of sources, one per server, with the lines beneath their rows; also the list of servers' files.

use super::super::page::{Clock, Ink, Page, WIDTH, counted, grouped};
use super::super::{Layout, LiveReport, Report, SourceLine, servers_of};
use super::{SOURCE_WIDTH, outcomes, sources_of};
use crate::config::Outcome;
use crate::error::escape_text;
use crate::expect::inventory::show_prefix;
use crate::sources::{ExtraRefusal, count_sources};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;

/// One table per server with the sources it turned away, at most `top` of them in all.
pub(super) fn tables(
    page: &mut Page<'_>,
    report: &Report,
    layout: &Layout,
    clock: Clock,
    clients: &[&SourceLine],
) -> io::Result<()> {
    let turned_away = |line: &SourceLine| {
        let beside: u64 = line.row.rare().extra_refusals.iter().sum();
        line.turned_away() + line.count(Outcome::Silent) + line.count(Outcome::TcpRejected) + beside > 0
    };
    let (shown, kept_out): (Vec<&SourceLine>, Vec<&SourceLine>) = clients.iter().partition(|line| turned_away(line));
    let (listed, more) = shown.split_at(shown.len().min(layout.top));
    let mut by_server: Vec<(IpAddr, Vec<&SourceLine>)> = Vec::new();
    let mut places: HashMap<IpAddr, usize> = HashMap::new();
    for line in listed {
        let place = *places.entry(line.server).or_insert_with(|| {
            by_server.push((line.server, Vec::new()));
            by_server.len() - 1
        });
        by_server[place].1.push(line);
    }
    if by_server.is_empty() && !more.is_empty() {
        page.gap()?;
    }
    let mut not_known = false;
    for (server, rows) in &by_server {
        page.gap()?;
        let place = Place::of(report, *server);
        // What is unknown for several servers is said once.
        let new = place != Place::NotKnown || !std::mem::replace(&mut not_known, true);
        table(page, report, clock, (*server, place, new), rows)?;
    }
    if !more.is_empty() {
        let refused: u64 = more.iter().map(|line| line.count(Outcome::Refused)).sum();
        page.wrapped("", &format!("and {}, refused {} (--top)", left_out(listed, more), grouped(refused)), 2)?;
    }
    let away: HashSet<IpNet, foldhash::fast::RandomState> = shown.iter().map(|line| line.source).collect();
    // A source that only got a response it did not ask for counts as neither turned away nor not.
    let (elsewhere, never): (Vec<&SourceLine>, Vec<&SourceLine>) =
        kept_out.iter().filter(|line| line.transactions() > 0).partition(|line| away.contains(&line.source));
    let starves = |line: &&SourceLine| line.count(Outcome::Answered) == 0 && line.count(Outcome::Unanswered) > 0;
    let (starved, never): (Vec<&SourceLine>, Vec<&SourceLine>) = never.into_iter().partition(starves);
    let groups = [
        ("Not turned away: ", never),
        ("Without any answer, and why is not shown: ", starved),
        ("Turned away at one server, not at another: ", elsewhere),
    ];
    for (lead, lines) in groups {
        if !lines.is_empty() && !shown.is_empty() {
            page.wrapped(lead, &outcomes(&lines), 2)?;
        }
    }
    Ok(())
}

/// The number of sources that are left out; or of lines, where a source has several or is also in the tables.
fn left_out(listed: &[&SourceLine], more: &[&SourceLine]) -> String {
    let sources: BTreeSet<IpNet> = more.iter().map(|line| line.source).collect();
    if sources.len() == more.len() && !listed.iter().any(|line| sources.contains(&line.source)) {
        let least = if count_sources(sources).1 { "at least " } else { "" };
        return format!("{least}{}", counted(more.len() as u64, "more source", "more sources"));
    }
    let servers = servers_of(more.iter().copied());
    format!(
        "{} of {} at {}",
        counted(more.len() as u64, "more line", "more lines"),
        sources_of(more),
        counted(servers.len() as u64, "server", "servers")
    )
}

/// Where a capture was taken, seen from one server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    AtServer,
    /// Some inputs were captured at the server; others were not, or it is not known.
    InPart,
    Away,
    /// Another server refused the same queries first.
    HandedOn,
    /// The server's responses leave the captured host, but were made by another one.
    PassedOn,
    NotKnown,
}

impl Place {
    fn of(report: &Report, server: IpAddr) -> Self {
        let in_part = report.here_in.iter().any(|(here, _)| *here == server) && report.vantage.is_none();
        match (report.is_at(server), report.is_away_from(server)) {
            (true, _) => Self::AtServer,
            (false, _) if in_part => Self::InPart,
            (false, true) => Self::Away,
            (false, false) if report.handed_on(server).refusals.is_some() => Self::HandedOn,
            (false, false) if report.vantage.is_none() && report.passed_on.contains(&server) => Self::PassedOn,
            (false, false) => Self::NotKnown,
        }
    }

    /// The heading of the column of sources.
    fn heading(self) -> &'static str {
        match self {
            Self::AtServer => "SOURCE THE SERVER SAW",
            Self::InPart | Self::Away | Self::HandedOn | Self::PassedOn | Self::NotKnown => "SOURCE SEEN HERE",
        }
    }

    /// The caveat about that heading.
    fn caveat(self) -> &'static str {
        match self {
            Self::AtServer => "",
            Self::InPart => {
                "Only some of the inputs are known to be captured at this server: in the others, if a translation lies between, other \
                 addresses stand than the server saw, and judged."
            }
            Self::Away => {
                "Not captured at this server: if a translation lies between, the server saw, and judged, other \
                 addresses."
            }
            Self::HandedOn => {
                "Queries to this server left here again for another one, with the same identifier and question, and that \
                 one responded first: it saw, and judged, other addresses, perhaps (--vantage server says that it is \
                 this host)."
            }
            Self::PassedOn => {
                "Responses of this server leave here with a hop limit that hosts do not usually begin with: most likely they \
                 were only passed on, and the server behind this address, perhaps at another port, saw, and judged, \
                 other addresses if a translation lies between (--vantage server says that it is this host)."
            }
            Self::NotKnown => {
                "Nothing shows that this was captured at the server (--vantage server says it was): if a translation lies \
                 between, the server saw, and judged, other addresses."
            }
        }
    }
}

/// The sources that one server turned away; with the caveat about the place when `new`.
fn table(
    page: &mut Page<'_>,
    report: &Report,
    clock: Clock,
    (server, place, new): (IpAddr, Place, bool),
    rows: &[&SourceLine],
) -> io::Result<()> {
    let expected = rows.iter().any(|line| line.expectation.is_some());
    let judged = rows.iter().any(|line| line.verdict.is_some());
    // Without any queries, every refusal is one with an unknown query, and there is nothing else to count.
    let without_queries = report.has_only_refusals();
    let times_refused =
        |line: &&SourceLine| if without_queries { line.turned_away() } else { line.count(Outcome::Refused) };
    let refused: Vec<String> = rows.iter().map(|line| grouped(times_refused(line))).collect();
    let times_answered = |line: &&SourceLine| {
        if without_queries { "-".to_owned() } else { grouped(line.count(Outcome::Answered)) }
    };
    let answered: Vec<String> = rows.iter().map(times_answered).collect();
    let times: Vec<String> = rows
        .iter()
        .map(|line| {
            let asked = line.row.refusals().asked.ends();
            clock.range(asked.map(|(first, _)| first), asked.map(|(_, last)| last))
        })
        .collect();
    let widest = |heading: &str, cells: &[String]| cells.iter().map(String::len).max().unwrap_or(0).max(heading.len());
    let widths = [widest("REFUSED", &refused), widest("ANSWERED", &answered), widest("TURNED AWAY (UTC)", &times)];
    let numbers = |refused: &str, answered: &str, times: &str| {
        format!("{refused:>0$}  {answered:>1$}  {times:<2$}", widths[0], widths[1], widths[2])
    };
    page.inked(Some(Ink::Bold), &format!("AT {server}"), "", 0)?;
    if new && !place.caveat().is_empty() {
        page.wrapped("", place.caveat(), 2)?;
    }
    page.line(&format!(
        "{:<SOURCE_WIDTH$}  {}  {}",
        place.heading(),
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
    // Where there are findings, they name the frames.
    if report.findings.is_empty() {
        all_frames(page, report, rows)?;
    }
    Ok(())
}

/// A row with the verdict of the server's file at its end, or below it when it is too long.
fn file_says(page: &mut Page<'_>, row: &str, line: &SourceLine) -> io::Result<()> {
    let Some(verdict) = &line.verdict else { return page.line(row) };
    let short = format!("{row}  {}  {}", verdict.verdict, verdict.rule);
    if short.trim_end().chars().count() <= WIDTH {
        return page.line(&short);
    }
    page.line(&format!("{row}  {}", verdict.verdict))?;
    page.wrapped("  file says ", &verdict.rule, 4)
}

/// What the servers' files refuse, and how far they agree with the wire.
pub(super) fn files(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    /// Most rules named per file.
    const RULES: usize = 5;
    /// Most included files named per file.
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
        for (reason, count) in &file.undecided {
            let text = format!("Not decided: {} ({reason}).", counted(*count, "request", "requests"));
            page.wrapped("  ", &text, 2)?;
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
    if line.row.rare().refused_unsolicited > 0 {
        parts.push(format!("REFUSED without its query {}", grouped(line.row.rare().refused_unsolicited)));
    }
    for (_, why) in ExtraRefusal::ALL {
        let count = line.row.rare().extra_refusals[why as usize];
        if count > 0 {
            parts.push(format!("REFUSED {} {}", why.words()[0], grouped(count)));
        }
    }
    if line.row.rare().answered_second > 0 {
        parts.push(format!("answered by a second response {}", grouped(line.row.rare().answered_second)));
    }
    (!parts.is_empty()).then(|| format!("also {}", parts.join(", ")))
}

/// Frames of refusals of several sources, input by input.
pub(super) fn all_frames(page: &mut Page<'_>, report: &Report, lines: &[&SourceLine]) -> io::Result<()> {
    let mut by_input: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for frame in lines.iter().flat_map(|line| &line.row.refusals().frames) {
        by_input.entry(frame.input as usize).or_default().insert(frame.frame);
    }
    by_input.into_iter().try_for_each(|(input, frames)| wireshark(page, report, input, frames.into_iter()))
}

/// Frames as a display filter to be pasted into Wireshark, as many as fit on the line.
pub(super) fn wireshark(
    page: &mut Page<'_>,
    report: &Report,
    input: usize,
    frames: impl Iterator<Item = u64>,
) -> io::Result<()> {
    let name = match &report.live {
        Some(LiveReport { packets: Some(name), .. }) => escape_text(name),
        // These frames are unknown.
        Some(_) => return Ok(()),
        None => report.inputs.get(input).map_or(String::new(), |input| escape_text(&input.name)),
    };
    let mut line = format!("  {name}: ");
    if line.chars().count() > WIDTH / 2 {
        page.line(&line)?;
        "    ".clone_into(&mut line);
    }
    line.push_str("frame.number in {");
    let mut shown = 0;
    let mut frames = frames.peekable();
    while let Some(frame) = frames.peek() {
        let next = if shown == 0 { frame.to_string() } else { format!(", {frame}") };
        if shown > 0 && line.chars().count() + next.len() + 1 > WIDTH {
            break;
        }
        line.push_str(&next);
        shown += 1;
        frames.next();
    }
    page.line(&(line + "}"))?;
    // Otherwise readers of a ticket would object that the numbers do not add up.
    if frames.peek().is_some() { page.line(&format!("    the first {shown} (--format json has more)")) } else { Ok(()) }
}

//------------ What follows --------------------------------------------------
