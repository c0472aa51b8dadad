//! Inventory lines that should be allowed and whose prefix was not seen.

use super::presence::Presence;
use super::scene::{Scene, some};
use super::{Finding, Found, Grade, Subject};
use crate::config::Severity;
use crate::expect::Expected;
use crate::expect::inventory::{Row, show_prefix};
use crate::report::page::grouped;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The name of the diagnosis.
pub const KIND: &str = "expected-never-seen";

/// Most prefixes named in the sentence; the subject holds more.
const NAMED: usize = 5;

/// Makes at most one finding: a prefix is missing from the whole capture, not from one server.
pub fn diagnose(scene: &Scene<'_>, found: &mut Found) {
    let absent: Vec<&Row> = scene.lines(Presence::Absent).collect();
    // Where no frame of a file was looked at, nothing is known.
    let nothing_read = scene.report.live.is_none() && scene.report.frames_examined() == 0;
    if absent.is_empty() || nothing_read {
        return;
    }
    let unknown = scene.lines(Presence::Unknown).count();
    let expected = absent.len() + unknown + scene.lines(Presence::Seen).count();
    // What a filter left out is not missing, and no cause for alarm.
    let unlisted_refused = !scene.report.filtered
        && scene
            .clients
            .iter()
            .any(|client| matches!(client.expected, Expected::Unlisted) && client.line.turned_away() > 0);
    // Only those that are named are examined more closely: there may be many.
    let mut names: Vec<String> = absent.iter().take(NAMED).map(|row| describe(scene, row)).collect();
    names.resize(absent.len(), String::new());
    let mut says = format!(
        "No DNS traffic of {} of {} expected prefixes in {}: {}. {}",
        grouped(names.len() as u64),
        grouped(expected as u64),
        scene.report.window(),
        some(&names, NAMED),
        scene.report.caveats()
    );
    says.push_str(&claimed(scene, &absent));
    if unknown > 0 {
        let _ = write!(
            says,
            " Of {} more it is not known, because sources were joined to prefixes.",
            grouped(unknown as u64)
        );
    }
    let advice = if unlisted_refused {
        "Sources in no inventory line were refused in the same capture: clients of these prefixes may arrive as other \
         addresses. Let one of them ask while capturing here and on its side."
    } else {
        "Perhaps nobody there asked meanwhile. To know, let one of these clients ask while capturing."
    };
    found.add(Finding {
        id: String::new(),
        kind: KIND,
        grade: Grade::Observed,
        severity: if unlisted_refused { Severity::Warning } else { Severity::Info },
        subject: Subject {
            server: if scene.servers.len() == 1 { scene.servers.first().copied() } else { None },
            prefixes: absent.iter().take(scene.limits.finding_members).map(|row| show_prefix(row.prefix)).collect(),
            ..Subject::default()
        },
        says,
        count: absent.len() as u64,
        frames: Vec::new(),
        advice: Some(advice.to_owned()),
        not_listed: 0,
    });
}

/// The line, with the addresses under which it was looked for.
fn describe(scene: &Scene<'_>, row: &Row) -> String {
    if row.outside.is_empty() {
        return scene.describe(row);
    }
    let outside: Vec<String> = row.outside.iter().map(|prefix| show_prefix(*prefix)).collect();
    format!("{} nor its outside {}", scene.describe(row), some(&outside, NAMED))
}

/// Lines that were not seen, except in the headers of proxies that name one of their addresses as a client.
fn claimed(scene: &Scene<'_>, absent: &[&Row]) -> String {
    let mut named: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
    for ((_, proxy), pair) in &scene.report.proxied {
        let homes = pair.clients.iter().filter_map(|client| scene.inventory.home(client.ip()));
        for home in homes.filter(|home| absent.binary_search_by_key(home, |row| row.index).is_ok()) {
            named.entry(home).or_default().insert(*proxy);
        }
    }
    let names: Vec<String> = named
        .iter()
        .map(|(row, proxies)| {
            let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
            format!("{} (by {})", scene.inventory.rows()[*row].describe(), some(&proxies, NAMED))
        })
        .collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" PROXY headers name clients of {} (claimed).", some(&names, NAMED))
}
