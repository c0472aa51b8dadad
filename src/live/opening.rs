//! The first lines of a live run: what is captured, and how the process is confined.

use super::Handle;
use crate::config::{Config, Sandbox};
use crate::error::escape_text;
use crate::report;
use crate::watch::sandbox::State;
use std::collections::BTreeSet;
use std::net::TcpListener;

/// The first lines for the operator: what is captured, how the process is confined, and what it will not notice.
pub(super) fn lines(
    config: &Config,
    handles: &[Handle],
    listener: Option<&TcpListener>,
    sandbox: &State,
    hears_addresses: bool,
) -> Vec<String> {
    let mut lines = vec![describe(config, handles)];
    let metrics = listener.and_then(|listener| listener.local_addr().ok());
    lines.extend(metrics.map(|address| format!("metrics: http://{address}/metrics")));
    lines.extend((config.live.sandbox != Sandbox::Off).then(|| sandbox.to_string()));
    lines.extend(sandbox.notes.iter().map(|note| format!("note: {note}")));
    let deaf =
        "note: the kernel does not tell of new addresses here: those added from now on are not known as this host's";
    lines.extend((!hears_addresses).then(|| deaf.to_owned()));
    let elsewhere = "note: /sys shows the interfaces of another network namespace (not with ip netns exec): what those captured \
                     here lose, and whether they are renamed, is not known";
    let sys_is_ours = handles.iter().all(|handle| handle.sys_is_ours);
    lines.extend((!sys_is_ours).then(|| elsewhere.to_owned()));
    lines
}

/// What is captured, for the operator.
fn describe(config: &Config, handles: &[Handle]) -> String {
    let names: Vec<String> = config.live.interfaces.iter().map(|name| escape_text(name)).collect();
    let links: BTreeSet<u16> = handles.iter().map(|handle| handle.link_type).collect();
    let links: Vec<String> = links.into_iter().map(crate::decode::link::name).collect();
    let node = config.node.as_deref().map(|node| format!(" at {}", escape_text(node))).unwrap_or_default();
    let fanout = if config.live.fanout > 1 { format!(", {} handles", config.live.fanout) } else { String::new() };
    let filter = match (&config.filter, config.live.refused_only) {
        (Some(_), _) => "your filter",
        (None, true) => "only REFUSED responses",
        (None, false) => "DNS",
    };
    let chosen =
        if handles.iter().any(|handle| handle.chosen_here) { ", chosen here and not by the kernel" } else { "" };
    // What a screen holds back is read when all is over.
    let (capturing, hint) = if config.live.screen {
        ("captured", "")
    } else {
        ("capturing", "; SIGUSR1 prints a report, SIGINT ends with one")
    };
    format!(
        "{capturing} {filter}{chosen} on {} ({}){node}, ring {} KiB{fanout}{hint}",
        names.join(" "),
        links.join(", "),
        report::page::grouped(handles.iter().map(|handle| handle.ring).max().unwrap_or(0) >> 10)
    )
}
