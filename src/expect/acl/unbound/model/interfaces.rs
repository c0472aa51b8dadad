//! Reads statements about interfaces: the addresses on which the server listens, and access rules of an [`Interface`]
//! of its own.

use super::super::syntax::Statement;
use super::super::wildcard;
use super::{Access, Action, Builder, Model};
use crate::config::DNS_PORT;
use crate::error::Error;
use crate::expect::acl::RuleId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Statements that say where the server listens.
pub const LISTENS: [&str; 2] = ["interface", "ip-address"];

/// Access by interface.
#[derive(Debug)]
pub struct Interface {
    /// As written.
    pub name: String,
    /// Its address; `None` when it is given by name.
    address: Option<IpAddr>,
    /// What happens there.
    pub access: Access,
}

impl Model {
    /// The access rule of the interface at which a request arrived; an error names the statement that cannot be
    /// resolved.
    pub fn interface(&self, destination: IpAddr) -> Result<&Access, RuleId> {
        let listed = |address: IpAddr| self.listens.contains(&address);
        let address =
            if listed(destination) || !listed(wildcard(destination)) { destination } else { wildcard(destination) };
        if let Some(interface) = self.interfaces.iter().find(|interface| interface.address == Some(address)) {
            return Ok(&interface.access);
        }
        let by_name = |interface: &&Interface| interface.address.is_none();
        let Some(first) = self.interfaces.iter().find(by_name) else { return Ok(&self.default) };
        // A request to none of the listed addresses came to an interface given by name.
        match self.listens_by_name.as_slice() {
            [only] if !listed(address) => {
                let own = self.interfaces.iter().filter(by_name).find(|interface| interface.name == *only);
                Ok(own.map_or(&self.default, |interface| &interface.access))
            }
            _ => Err(first.access.rule),
        }
    }
}

/// The address in `interface: ADDRESS[@PORT]`; `None` when it is a name.
pub fn interface_address(text: &str) -> Option<IpAddr> {
    text.split_once('@').map_or(text, |(address, _)| address).parse().ok()
}

/// True for text that may be the name of an interface: not a malformed address, and no longer than the kernel allows
/// (`IFNAMSIZ`).
fn may_be_interface(text: &str) -> bool {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let broken_address = name.starts_with(|c: char| c.is_ascii_digit()) && name.contains(['.', ':']);
    (1..16).contains(&name.len())
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !name.contains(|c: char| c.is_whitespace() || c == '/' || c == '{')
        && !broken_address
}

impl Builder<'_> {
    /// Addresses, each with its port or else the server's; an unspecified address for interfaces given by name.
    pub fn endpoints(&self, server: &[&Statement]) -> Vec<SocketAddr> {
        let texts = |name: &'static str| {
            let statements = server.iter().filter(move |statement| statement.name == name);
            statements.filter_map(|statement| statement.values.first()).map(|value| self.text(*value))
        };
        let number = |text: &str| text.parse().ok();
        let port = texts("port").next_back().and_then(number).unwrap_or(DNS_PORT);
        let all = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        let everywhere = |port: u16| all.map(|address| SocketAddr::new(address, port));
        if texts("interface-automatic").next_back() == Some("yes") {
            // Whatever the interfaces are; a port of their own replaces the server's.
            let given = texts("interface-automatic-ports").next_back().unwrap_or_default().split_whitespace();
            let given: Vec<u16> = given.filter_map(number).collect();
            let ports = if given.is_empty() { vec![port] } else { given };
            return ports.into_iter().flat_map(everywhere).collect();
        }
        let mut endpoints = Vec::new();
        for text in LISTENS.into_iter().flat_map(texts) {
            let port = text.split_once('@').and_then(|(_, own)| number(own)).unwrap_or(port);
            match interface_address(text) {
                Some(address) => endpoints.push(SocketAddr::new(address, port)),
                None => endpoints.extend(everywhere(port)),
            }
        }
        if endpoints.is_empty() {
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            endpoints.extend(loopback.map(|address| SocketAddr::new(address, port)));
        }
        endpoints
    }

    /// Addresses that are listened on, and access by interface.
    pub fn interfaces(&mut self, server: &[&Statement]) -> Result<(Vec<IpAddr>, Vec<Interface>), Error> {
        let mut listens = Vec::new();
        for statement in server.iter().filter(|statement| LISTENS.contains(&statement.name)) {
            let text = self.text(statement.values[0]);
            match interface_address(text) {
                Some(address) => listens.push(address),
                None if may_be_interface(text) => {}
                None => return Err(self.files.error(statement.values[0], "this is no address and no interface")),
            }
        }
        let written = server.iter().any(|statement| LISTENS.contains(&statement.name));
        if !written {
            listens.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let mut interfaces: Vec<Interface> = Vec::new();
        for statement in server {
            let Some(what) = statement.name.strip_prefix("interface-") else { continue };
            if !["action", "view", "tag", "tag-action", "tag-data"].contains(&what) {
                continue;
            }
            let name = self.text(statement.values[0]).to_owned();
            let rule = self.rules.text(statement.span);
            let at = interfaces.iter().position(|interface| interface.name == name).unwrap_or_else(|| {
                let access = Access::new(Action::Refuse, rule);
                interfaces.push(Interface { address: interface_address(&name), name: name.clone(), access });
                interfaces.len() - 1
            });
            let mut access = interfaces[at].access.clone();
            self.tie(what, statement, &mut access, rule)?;
            if what == "action" {
                access.rule = rule;
            }
            interfaces[at].access = access;
        }
        Ok((listens, interfaces))
    }
}
