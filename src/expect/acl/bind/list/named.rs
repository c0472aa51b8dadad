//! Parses the text of address match lists into [`List`]s, including those named by an `acl` statement ([`Named`]).

use super::super::syntax::{Block, Item, Statement};
use super::building::Building;
use super::{Kind, List};
use crate::config::ACL_LISTS;
use crate::error::Error;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{Rules, name};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Named lists, compiled when first used.
pub struct Named<'a> {
    definitions: HashMap<String, (Span, &'a Block)>,
    compiled: HashMap<String, Option<Arc<List>>>,
    /// The configuration may define others.
    incomplete: bool,
    /// Lists that only consist of other lists, by these.
    unions: HashMap<Vec<*const List>, Arc<List>>,
    /// Elements compiled so far; those of merged lists count each time.
    pub elements: u32,
    /// Most elements that may be compiled.
    most: u32,
}

impl<'a> Named<'a> {
    /// Collects the `acl` statements; an `incomplete` configuration lacks a file here that may define others. All lists
    /// together may have `most` elements.
    pub fn of(files: &Files, statements: &'a [Statement], incomplete: bool, most: u32) -> Result<Self, Error> {
        let mut definitions: HashMap<String, (Span, &'a Block)> = HashMap::new();
        for statement in statements {
            let [Item::Word(word), rest @ ..] = statement.items.as_slice() else { continue };
            if !files.text(*word).eq_ignore_ascii_case("acl") {
                continue;
            }
            let [Item::Word(name) | Item::Quoted(name), Item::Block(block)] = rest else {
                return Err(files.error(statement.span, "acl takes a name and a list in braces"));
            };
            let key = files.text(*name).to_ascii_lowercase();
            if ["any", "none", "localhost", "localnets"].contains(&key.as_str()) {
                return Err(files.error(*name, "this name is the server's own"));
            }
            if let Some((first, _)) = definitions.get(&key) {
                let line = files.line(*first);
                return Err(files.error(*name, &format!("this acl is defined already at line {line}")));
            }
            definitions.insert(key, (*name, block));
        }
        Ok(Self { definitions, compiled: HashMap::new(), incomplete, unions: HashMap::new(), elements: 0, most })
    }

    /// Compiles every definition, even unused ones, so that a mistake in one is found.
    pub fn compile_all(&mut self, files: &Files, rules: &mut Rules) -> Result<(), Error> {
        let mut all: Vec<(String, Span)> =
            self.definitions.iter().map(|(key, (span, _))| (key.clone(), *span)).collect();
        all.sort_by_key(|(_, span)| *span);
        for (key, span) in all {
            self.named(&key, span, files, rules, 0)?;
        }
        Ok(())
    }

    /// A list by its name; `None` until it is compiled.
    pub fn get(&self, name: &str) -> Option<&Arc<List>> {
        self.compiled.get(&name.to_ascii_lowercase())?.as_ref()
    }

    /// A list in braces.
    pub fn list(&mut self, block: &Block, files: &Files, rules: &mut Rules) -> Result<Arc<List>, Error> {
        // Thousands of zones may name the same lists. A list that only names others has no rule of its own, if merging
        // changes nothing: it is the list that it names, or the same object as all lists that name the same ones.
        let Some(parts) = self.only_named(block, files, rules)? else {
            return Ok(Arc::new(self.compile(block, files, rules, 0)?));
        };
        if let [only] = parts.as_slice() {
            return Ok(Arc::clone(only));
        }
        let key: Vec<*const List> = parts.iter().map(Arc::as_ptr).collect();
        if let Some(known) = self.unions.get(&key) {
            return Ok(Arc::clone(known));
        }
        let list = Arc::new(self.compile(block, files, rules, 0)?);
        self.unions.insert(key, Arc::clone(&list));
        Ok(list)
    }

    /// The lists named by a list in braces, when these are its only elements and nothing in them is negated.
    fn only_named(&mut self, block: &Block, files: &Files, rules: &mut Rules) -> Result<Option<Vec<Arc<List>>>, Error> {
        let mut parts = Vec::new();
        for Statement { items, span } in &block.statements {
            let [item @ (Item::Word(word) | Item::Quoted(word))] = items.as_slice() else { return Ok(None) };
            let key = files.text(*word).to_ascii_lowercase();
            if address_in(item, files).is_some() || !self.definitions.contains_key(&key) {
                return Ok(None);
            }
            let named = self.named(&key, *span, files, rules, 0)?;
            if named.has_negatives {
                return Ok(None);
            }
            parts.push(named);
        }
        Ok((!parts.is_empty()).then_some(parts))
    }

    fn named(
        &mut self,
        key: &str,
        used: Span,
        files: &Files,
        rules: &mut Rules,
        depth: usize,
    ) -> Result<Arc<List>, Error> {
        match self.compiled.get(key) {
            Some(Some(list)) => return Ok(Arc::clone(list)),
            Some(None) => return Err(files.error(used, "this acl leads back to itself")),
            None => {}
        }
        let Some((_, block)) = self.definitions.get(key) else {
            let what = if is_like_address(key) {
                "this is no address, and no acl of this name is defined"
            } else {
                "no acl of this name is defined"
            };
            return Err(files.error(used, what));
        };
        let block = *block;
        self.compiled.insert(key.to_owned(), None);
        let list = Arc::new(self.compile(block, files, rules, depth + 1)?);
        self.compiled.insert(key.to_owned(), Some(Arc::clone(&list)));
        Ok(list)
    }

    fn compile(&mut self, block: &Block, files: &Files, rules: &mut Rules, depth: usize) -> Result<List, Error> {
        if depth > crate::config::ACL_DEPTH {
            return Err(files.error(block.span, "too many lists inside each other"));
        }
        let mut list = Building::default();
        for statement in &block.statements {
            files.go_on(statement.span)?;
            self.element(statement, &mut list, files, rules, depth)?;
            // Lists that name others several times double in size with each level.
            if list.list.count > self.room() || list.list.lists > ACL_LISTS {
                let what = "too many elements in all lists together: those of a list count each time it is named";
                return Err(files.error(statement.span, what));
            }
        }
        let list = list.list.seal();
        self.elements += list.count;
        Ok(list)
    }

    /// True when a name is not defined here but may be in a file that is missing here.
    fn may_be_elsewhere(&self, key: &str) -> bool {
        self.incomplete && !self.definitions.contains_key(key) && !is_like_address(key)
    }

    /// Most elements that the next list may have.
    fn room(&self) -> u32 {
        self.most - self.elements
    }

    fn element(
        &mut self,
        statement: &Statement,
        into: &mut Building,
        files: &Files,
        rules: &mut Rules,
        depth: usize,
    ) -> Result<(), Error> {
        let (negative, items) = match statement.items.as_slice() {
            [Item::Not(_), rest @ ..] => (true, rest),
            items => (false, items),
        };
        if negative {
            into.list.has_negatives = true;
        }
        let rule = rules.text(statement.span);
        match items {
            [Item::Block(block)] => {
                let inner = self.compile(block, files, rules, depth + 1)?;
                into.nested(Arc::new(inner), negative, rule, self.room());
            }
            [Item::Word(word), Item::Word(key) | Item::Quoted(key)]
                if files.text(*word).eq_ignore_ascii_case("key") =>
            {
                let Some(key) = name::parse_name(files.text(*key)) else {
                    return Err(files.error(*key, "this is no name of a key"));
                };
                into.other(Kind::Key(key), negative, rule);
            }
            [Item::Word(word), rest @ ..] if files.text(*word).eq_ignore_ascii_case("geoip") && !rest.is_empty() => {
                into.other(Kind::Unknown("GeoIP data are not in the configuration"), negative, rule);
            }
            [item @ (Item::Word(word) | Item::Quoted(word))] => match files.text(*word).to_ascii_lowercase().as_str() {
                "any" => into.everything(!negative, rule),
                "none" => {
                    into.everything(negative, rule);
                    if !negative {
                        into.list.has_negatives = true;
                    }
                }
                "localhost" => into.other(Kind::Localhost, negative, rule),
                "localnets" => into.other(Kind::Localnets, negative, rule),
                key => match address_in(item, files) {
                    Some(prefix) => into.prefix(prefix, !negative, rule),
                    None if self.may_be_elsewhere(key) => {
                        into.other(Kind::Unknown("the acl may be in a file that is not here"), negative, rule);
                    }
                    None => {
                        let named = self.named(key, *word, files, rules, depth)?;
                        into.nested(named, negative, rule, self.room());
                    }
                },
            },
            [Item::Word(address), Item::Slash(_), Item::Word(length)] => {
                let span = address.to(*length);
                let prefix =
                    read_prefix(files.text(*address), files.text(*length)).map_err(|what| files.error(span, what))?;
                into.prefix(prefix, !negative, rule);
            }
            _ => return Err(files.error(statement.span, "this is no element of an address match list")),
        }
        Ok(())
    }
}

/// True for a text that was most likely meant to be an address.
fn is_like_address(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(':')
}

/// The address that an element means. In quotes it is always the name of a list; without quotes it is an address, even
/// if a list has that name (measured with BIND 9.18.49).
fn address_in(item: &Item, files: &Files) -> Option<IpNet> {
    match item {
        Item::Word(word) => read_address(files.text(*word)),
        _ => None,
    }
}

/// A single address.
fn read_address(text: &str) -> Option<IpNet> {
    let address = match text.split_once('%') {
        Some((address, _)) => address.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.map(IpNet::from)
}

/// A prefix; trailing parts of an IPv4 address may be left out (`10.20/16`).
fn read_prefix(address: &str, length: &str) -> Result<IpNet, &'static str> {
    let not = "this is no prefix";
    let length = number(length).ok_or(not)?;
    let address = match read_address(address) {
        Some(net) => net.addr(),
        None => IpAddr::V4(short_address(address).ok_or(not)?),
    };
    let prefix = IpNet::new(address, length).map_err(|_| "this prefix is longer than an address")?;
    if prefix.trunc() != prefix {
        return Err("this address has bits beyond the length of its prefix");
    }
    Ok(prefix)
}

/// A decimal number.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `10`, `10.20` or `10.20.30`.
fn short_address(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    let mut at = 0;
    for part in parts.by_ref() {
        // 010 may be meant as eight; named rejects such an octet.
        if at == 4 || (part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        octets[at] = number(part)?;
        at += 1;
    }
    (at > 0).then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::super::super::syntax::parse;
    use super::super::{Match, Subject};
    use super::*;
    use crate::expect::acl::network::OwnAddresses;

    /// The list `t` of some `acl` statements.
    fn list(text: &str) -> Result<Arc<List>, Error> {
        let mut files = Files::new(None);
        let first = files.open_text("named.conf", text)?;
        let parsed = parse(&mut files, first)?;
        let mut rules = Rules::default();
        let mut named = Named::of(&files, &parsed.statements, false, crate::config::ACL_ELEMENTS)?;
        named.compile_all(&files, &mut rules)?;
        let block = named.definitions["t"].1;
        named.list(block, &files, &mut rules)
    }

    fn says(list: &List, address: &str, key: Option<&str>) -> char {
        let key = key.map(|key| name::parse_name(key).unwrap());
        let subject = Subject { address: address.parse().unwrap(), key: key.as_deref() };
        match list.find(subject, &OwnAddresses::default()) {
            Match::Positive(_) => '+',
            Match::Negative(_) => '-',
            Match::None => '0',
            Match::Unknown(..) => '?',
        }
    }

    /// The measured vectors: the sources .1, .5 and .9 of 127.0.0.0; + is a match, everything else is none.
    #[test]
    fn measured_vectors_hold() {
        let inner = "acl inner { !127.0.0.5; 127.0.0.0/29; };";
        let prefix = "acl a { 10.0.0.0/8; }; ";
        for (text, expected) in [
            (format!("{inner} acl t {{ !inner; any; }};"), "-++"),
            (format!("{inner} acl t {{ inner; 127.0.0.5; }};"), "++0"),
            ("acl t { 127.0.0.0/8; !127.0.0.5; };".to_owned(), "+++"),
            ("acl t { !127.0.0.5; 127.0.0.0/8; };".to_owned(), "+-+"),
            ("acl t { !{ !127.0.0.5; any; }; any; };".to_owned(), "-+-"),
            // In quotes a list has the name of an address; without them it is an address.
            ("acl 127.0.0.1 { 127.0.0.5; }; acl t { \"127.0.0.1\"; };".to_owned(), "0+0"),
            ("acl 127.0.0.1 { 127.0.0.5; }; acl t { \"127.0.0.1\"; 127.0.0.7; };".to_owned(), "0+0"),
            ("acl 127.0.0.1 { 127.0.0.5; }; acl t { 127.0.0.1; };".to_owned(), "+00"),
            ("acl 127.0.0.1 { 127.0.0.5; }; acl t { 127.0.0.1; 127.0.0.7; };".to_owned(), "+00"),
        ] {
            let list = list(&text).unwrap();
            let found: String =
                ["127.0.0.1", "127.0.0.5", "127.0.0.9"].iter().map(|ip| says(&list, ip, None)).collect();
            assert_eq!(found, expected, "{text}");
        }
        // The merging quirk: a named list that was merged turns negative, a literal prefix does not.
        assert_eq!(says(&list(&format!("{prefix} acl t {{ a; !a; }};")).unwrap(), "10.1.1.1", None), '-');
        assert_eq!(says(&list("acl t { 10.0.0.0/8; !10.0.0.0/8; };").unwrap(), "10.1.1.1", None), '+');
        assert_eq!(says(&list("acl t { 10.0.0.0/8; !{ 10.0.0.0/8; }; };").unwrap(), "10.1.1.1", None), '-');
    }

    #[test]
    fn keys_any_none_and_unknown_elements() {
        let list_of = |text: &str| list(text).unwrap();
        let both = list_of("acl t { !{ !10.0.0.0/8; any; }; key \"K.\"; };");
        assert_eq!(says(&both, "10.1.1.1", Some("k")), '+', "address and key");
        assert_eq!(says(&both, "10.1.1.1", None), '0');
        assert_eq!(says(&both, "11.1.1.1", Some("k")), '-');
        assert_eq!(says(&list_of("acl t { none; };"), "10.1.1.1", None), '-');
        assert_eq!(says(&list_of("acl t { !none; };"), "10.1.1.1", None), '+');
        assert_eq!(says(&list_of("acl t { any; };"), "2001:db8::1", None), '+');
        assert_eq!(says(&list_of("acl t { localnets; };"), "10.1.1.1", None), '?');
        assert_eq!(says(&list_of("acl t { localnets; any; };"), "10.1.1.1", None), '+', "either way");
        assert_eq!(says(&list_of("acl t { !geoip country DE; any; };"), "10.1.1.1", None), '?');
        assert_eq!(says(&list_of("acl t { !geoip country DE; };"), "10.1.1.1", None), '0', "either way");
        assert_eq!(says(&list_of("acl t { 10.1/16; };"), "10.1.1.1", None), '+');
        assert_eq!(says(&list_of("acl t { 10.1/16; };"), "::1", None), '0');
    }

    /// Forty lists that each name the one before as `elements` say.
    fn doubling(elements: &str) -> String {
        let lists = (0..40)
            .map(|number| format!("acl a{} {{ {} }};", number + 1, elements.replace("{0}", &format!("a{number}"))));
        format!("acl a0 {{ 10.0.0.0/8; }};{} acl t {{ a40; }};", lists.collect::<String>())
    }

    #[test]
    fn mistakes_are_located() {
        for (text, place, what) in [
            ("acl t { nobody; };", "named.conf:1:9", "no acl of this name"),
            ("acl t { 10.0.0.0/33; };", "named.conf:1:9", "longer than an address"),
            ("acl t { 10.0.0.1/8; };", "named.conf:1:9", "bits beyond"),
            // So says named-checkconf 9.18, which takes 10.0.0.0/08.
            ("acl t { 10.0.0.0/08; 010.020.0.0/16; };", "named.conf:1:22", "no prefix"),
            ("acl t { 10.020/16; };", "named.conf:1:9", "no prefix"),
            ("acl t { 10.0.0.0/+8; };", "named.conf:1:9", "no prefix"),
            ("acl t { ::/+8; };", "named.conf:1:9", "no prefix"),
            ("acl t { 010.0.0.1; };", "named.conf:1:9", "no address"),
            ("acl t { t; };", "named.conf:1:9", "leads back to itself"),
            ("acl t { u; }; acl u { !t; };", "named.conf:1:24", "leads back to itself"),
            ("acl t { any; }; acl T { none; };", "named.conf:1:21", "defined already at line 1"),
            ("acl any { 10.0.0.0/8; };", "named.conf:1:5", "the server's own"),
            ("acl t { 10.0.0.0 11.0.0.0; };", "named.conf:1:9", "no element"),
            ("acl t any;", "named.conf:1:1", "a list in braces"),
            ("acl t { !; };", "named.conf:1:9", "no element"),
            ("acl t { 10.0.0.256; };", "named.conf:1:9", "no address"),
            ("acl t { \"10.0.0.25\"; };", "named.conf:1:10", "no acl of this name"),
            (&doubling("{0}; {0};").replace("10.0.0.0/8", "key k"), "named.conf:1:401", "too many elements"),
            (&doubling("{0}; {0};"), "named.conf:1:511", "too many elements"),
            (&doubling("{0}; {0}; !{0}; {0};"), "named.conf:1:270", "too many elements"),
        ] {
            let error = list(text).map(|_| ()).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("error[E-ACL]: {place}: ")) && error.contains(what),
                "{text:?}: {error}"
            );
        }
    }
}
