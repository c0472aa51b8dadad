//! The clients that proxies name in their headers ([`Claimed`]), reported beside what became of the proxies' queries.

use super::scene::{Client, Scene, is_joined, of_line, some};
use crate::expect::inventory::show_prefix;
use crate::report::page::counted;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Most sources and clients named in a sentence.
const NAMED: usize = 3;

/// The clients named in the headers of those sources that are proxies.
pub struct Claimed {
    /// The sentence.
    pub says: String,
    /// These clients.
    pub clients: Vec<String>,
    /// One of them belongs to an inventory line.
    pub listed: bool,
}

/// The clients named in the headers of those of these sources that are proxies, if any.
pub fn claimed(scene: &Scene<'_>, group: &[Client<'_>]) -> Option<Claimed> {
    let (mut proxies, mut clients, mut more) = (Vec::new(), BTreeSet::new(), false);
    for client in group.iter().filter(|client| !is_joined(client)) {
        let Some(pair) = scene.report.proxied.get(&(client.line.server, client.line.source.addr())) else { continue };
        if !pair.clients.is_empty() {
            proxies.push(show_prefix(client.line.source));
            clients.extend(pair.clients.iter().map(SocketAddr::ip));
            more |= pair.more_clients;
        }
    }
    let describe = |client: &IpAddr| match scene.inventory.home(*client) {
        Some(row) => of_line(&client.to_string(), &scene.inventory.rows()[row]),
        None => format!("{client} (in no inventory line)"),
    };
    let names: Vec<String> = clients.iter().map(describe).collect();
    let least =
        if more { format!("at least {}: ", counted(clients.len() as u64, "client", "clients")) } else { String::new() };
    let says = format!(" Claimed: PROXY headers of {} name {least}{}.", some(&proxies, NAMED), some(&names, NAMED));
    let listed = clients.iter().any(|client| scene.inventory.home(*client).is_some());
    let named = clients.iter().take(scene.limits.finding_members).map(ToString::to_string).collect();
    (!clients.is_empty()).then_some(Claimed { says, clients: named, listed })
}
