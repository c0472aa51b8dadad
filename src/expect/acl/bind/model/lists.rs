//! Reads the lists, switches and addresses of which views and zones are made.

use super::super::list::{List, Named};
use super::super::syntax::{Block, Item, Statement};
use super::statements::{Map, REPEATED, block_of, check_shape, head};
use super::{Clause, Inner, Switch, Written};
use crate::config::DNS_PORT;
use crate::error::Error;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{RuleId, Rules};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Builds a model piece by piece.
pub struct Builder<'a> {
    pub files: &'a Files,
    pub rules: &'a mut Rules,
    pub named: Named<'a>,
    pub version: Option<(u32, u32)>,
    /// The block of the options.
    pub options: Option<Written>,
    /// Lists compiled so far, by statement.
    pub lists: HashMap<Span, Clause>,
    /// Statements like `primaries`, by name.
    pub servers: HashMap<String, (Span, &'a Block)>,
}

impl<'a> Builder<'a> {
    pub fn map(&self, block: &'a Block, known: &[&'static [&'static str]], place: &str) -> Result<Map<'a>, Error> {
        let mut map = Map::new();
        for statement in &block.statements {
            let name = head(self.files, statement, known, place)?;
            check_shape(self.files, statement, &name)?;
            let same: &mut Vec<&Statement> = map.entry(name.clone()).or_default();
            if let Some(first) = same.first()
                && !REPEATED.contains(&name.as_str())
            {
                let line = self.files.line(first.span);
                return Err(self.files.error(statement.span, &format!("{name} is given already at line {line}")));
            }
            same.push(statement);
        }
        Ok(map)
    }

    /// The first statement of a name in the given blocks, innermost first.
    pub fn find(name: &str, maps: &[&Map<'a>]) -> Option<&'a Statement> {
        maps.iter().find_map(|map| map.get(name)?.first().copied())
    }

    pub fn switch(&mut self, name: &'static str, maps: &[&Map<'a>], default: bool) -> Result<Switch, Error> {
        let Some(statement) = Self::find(name, maps) else {
            let says = match (name, default) {
                ("recursion", _) => "recursion yes (default)",
                (_, true) => "yes (default)",
                (_, false) => "no (default)",
            };
            return Ok(Switch { on: default, rule: self.rules.built_in(says) });
        };
        let on = match statement.items.get(1) {
            Some(Item::Word(word) | Item::Quoted(word)) if statement.items.len() == 2 => match self.files.text(*word) {
                text if ["yes", "true", "1"].iter().any(|yes| yes.eq_ignore_ascii_case(text)) => Some(true),
                text if ["no", "false", "0"].iter().any(|no| no.eq_ignore_ascii_case(text)) => Some(false),
                _ => None,
            },
            _ => None,
        };
        match on {
            Some(on) => Ok(Switch { on, rule: self.rules.text(statement.span) }),
            None => Err(self.files.error(statement.span, &format!("{name} takes yes or no"))),
        }
    }

    /// A list by the name of its statement.
    pub fn clause(&mut self, name: &'static str, maps: &[&Map<'a>]) -> Result<Option<Clause>, Error> {
        let Some(statement) = Self::find(name, maps) else { return Ok(None) };
        if let Some(clause) = self.lists.get(&statement.span) {
            return Ok(Some(clause.clone()));
        }
        let (mut unknown, mut elsewhere) = (None, false);
        let block = match statement.items.as_slice() {
            [_, Item::Block(block)] => block,
            [_, qualifiers @ .., Item::Block(block)] if name == "allow-transfer" => {
                for pair in qualifiers.chunks(2) {
                    match pair {
                        [Item::Word(word), Item::Word(value) | Item::Quoted(value)] => {
                            match self.files.text(*word).to_ascii_lowercase().as_str() {
                                "port" if self.files.text(*value) == "53" => {}
                                "port" => unknown = Some("allow-transfer is for a port of its own"),
                                "transport" => match self.files.text(*value).to_ascii_lowercase().as_str() {
                                    "tcp" => {}
                                    _ => elsewhere = true,
                                },
                                _ => return Err(self.files.error(*word, "only port and transport stand here")),
                            }
                        }
                        _ => return Err(self.files.error(statement.span, "allow-transfer takes a list in braces")),
                    }
                }
                block
            }
            _ => return Err(self.files.error(statement.span, &format!("{name} takes a list in braces"))),
        };
        let list = self.named.list(block, self.files, self.rules)?;
        let rule = self.rules.text(statement.span);
        let inner: Result<Vec<Option<Inner>>, Error> =
            block.statements.iter().map(|element| self.inner(element)).collect();
        let inner = inner?.into_iter().flatten().collect();
        let braces = Some(block.span);
        let clause = Clause { name, stands_for: name, rule, list, braces, block: None, inner, unknown, elsewhere };
        self.lists.insert(statement.span, clause.clone());
        Ok(Some(clause))
    }

    /// An element that is a list in braces or names a list, or the negation of one; `None` for any other element.
    fn inner(&mut self, element: &Statement) -> Result<Option<Inner>, Error> {
        let items = element.items.as_slice();
        let named = match if let [Item::Not(_), rest @ ..] = items { rest } else { items } {
            // It names no other list: all its elements are in its own text.
            [Item::Block(block)] if !self.names_a_list(block) => None,
            [Item::Block(block)] => Some(self.named.list(block, self.files, self.rules)?),
            [Item::Word(word) | Item::Quoted(word)] => match self.named.get(self.files.text(*word)) {
                Some(list) => Some(Arc::clone(list)),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Inner { span: element.span, named }))
    }

    /// True when a list in braces, or a list inside it, names another list.
    fn names_a_list(&self, block: &Block) -> bool {
        block.statements.iter().any(|element| match element.items.last() {
            Some(Item::Block(block)) => self.names_a_list(block),
            Some(Item::Word(word) | Item::Quoted(word)) => self.named.get(self.files.text(*word)).is_some(),
            _ => false,
        })
    }

    /// A default list.
    pub fn default(&mut self, name: &'static str, says: &'static str, list: fn(RuleId) -> List) -> Clause {
        let rule = self.rules.built_in(says);
        Clause {
            name,
            stands_for: name,
            rule,
            list: Arc::new(list(rule)),
            braces: None,
            block: None,
            inner: Arc::default(),
            unknown: None,
            elsewhere: false,
        }
    }

    pub fn any(&mut self, name: &'static str) -> Clause {
        self.default(name, "any (default)", List::any)
    }

    pub fn none(&mut self, name: &'static str, says: &'static str) -> Clause {
        self.default(name, says, List::none)
    }

    pub fn remote_servers(&mut self, top: &Map<'a>) -> Result<(), Error> {
        for name in ["primaries", "masters", "parental-agents", "remote-servers"] {
            for statement in top.get(name).into_iter().flatten() {
                let (Some(Item::Word(called) | Item::Quoted(called)), Some(Item::Block(block))) =
                    (statement.items.get(1), statement.items.last())
                else {
                    return Err(self.files.error(statement.span, &format!("{name} takes a name and a list in braces")));
                };
                self.servers.insert(self.files.text(*called).to_ascii_lowercase(), (*called, block));
            }
        }
        Ok(())
    }

    /// The addresses of a list of servers; `None` within it for one that cannot be determined.
    pub fn addresses(&self, block: &Block, into: &mut Vec<Option<IpAddr>>, depth: usize) -> Result<(), Error> {
        for statement in &block.statements {
            let Some(Item::Word(word) | Item::Quoted(word)) = statement.items.first() else {
                return Err(self.files.error(statement.span, "an address or the name of a list was expected"));
            };
            let text = self.files.text(*word);
            if let Ok(address) = text.parse() {
                into.push(Some(address));
            } else if let Some((_, block)) = self.servers.get(&text.to_ascii_lowercase()) {
                if depth > 8 || into.len() > 10_000 {
                    return Err(self.files.error(*word, "these lists lead back to each other"));
                }
                self.addresses(block, into, depth + 1)?;
            } else {
                return Err(self.files.error(*word, "this is no address, and no list of this name is defined"));
            }
        }
        Ok(())
    }

    /// Addresses, each with the port of its statement or else the server's; an unspecified address for those that are
    /// not listed one by one. [`Self::listens`] has checked the statements.
    pub fn endpoints(&self, options: &Map<'a>) -> Vec<SocketAddr> {
        let after_port = |statement: &Statement| {
            let word = |item: &Item| match item {
                Item::Word(word) | Item::Quoted(word) => Some(self.files.text(*word)),
                _ => None,
            };
            let mut words = statement.items.iter().filter_map(word);
            words.find(|word| word.eq_ignore_ascii_case("port")).and_then(|_| words.next()?.parse().ok())
        };
        let server = options.get("port").into_iter().flatten().find_map(|statement| after_port(statement));
        let server = server.unwrap_or(DNS_PORT);
        let mut endpoints = Vec::new();
        let families =
            [("listen-on", IpAddr::from(Ipv4Addr::UNSPECIFIED)), ("listen-on-v6", Ipv6Addr::UNSPECIFIED.into())];
        for (name, all) in families {
            let Some(statements) = options.get(name) else {
                endpoints.push(SocketAddr::new(all, server));
                continue;
            };
            for statement in statements {
                let port = after_port(statement).unwrap_or(server);
                let elements = block_of(self.files, statement).into_iter().flat_map(|block| &block.statements);
                let addresses = elements.filter_map(|element| match element.items.as_slice() {
                    [Item::Word(word)] if self.files.text(*word) == "none" => None,
                    [Item::Word(word)] => Some(self.files.text(*word).parse().unwrap_or(all)),
                    _ => Some(all),
                });
                endpoints.extend(addresses.map(|address| SocketAddr::new(address, port)));
            }
        }
        endpoints
    }

    pub fn listens(&mut self, options: &Map<'a>) -> Result<Vec<IpAddr>, Error> {
        let mut listens = Vec::new();
        // It listens on other addresses as well: all, those of a prefix or list, or all but some. By default it listens
        // on all of IPv4.
        let mut elsewhere = options.get("listen-on").is_none() && options.get("listen-on-v6").is_some();
        for name in ["listen-on", "listen-on-v6"] {
            for statement in options.get(name).into_iter().flatten() {
                let block = block_of(self.files, statement)?;
                self.named.list(block, self.files, self.rules)?;
                for element in &block.statements {
                    let text = match element.items.as_slice() {
                        [Item::Word(word)] => self.files.text(*word),
                        _ => "",
                    };
                    match text.parse::<IpAddr>() {
                        Ok(address) => listens.push(address),
                        Err(_) => elsewhere |= text != "none",
                    }
                }
            }
        }
        Ok(if elsewhere { Vec::new() } else { listens })
    }
}
