//! Statements of named.conf to a [`Model`]: views with their lists, defaults and inheritance filled in, and zones.

use super::list::{List, Named};
use super::names;
use super::syntax::{Block, Item, Parsed, Statement};
use crate::error::Error;
use crate::expect::acl::network::OwnAddresses;
use crate::expect::acl::text::{Files, Span};
use crate::expect::acl::{RuleId, Rules, Surroundings, name};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a configuration amounts to.
#[derive(Debug)]
pub struct Model {
    /// Views in the order they are tried; without `view` statements there is one.
    pub views: Vec<View>,
    /// Views were written out.
    pub with_views: bool,
    /// Whoever matches is not answered at all.
    pub blackhole: Option<Clause>,
    /// The server's own addresses.
    pub own: OwnAddresses,
    /// IPv4 addresses inside IPv6 ones are matched as IPv4.
    pub match_mapped: bool,
    /// Addresses it listens on.
    pub listens: Vec<IpAddr>,
    /// An include statement whose file is not here.
    pub missing: Option<RuleId>,
    /// Rules of the server itself.
    pub built_in: BuiltIn,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// A list with its statement.
#[derive(Debug, Clone)]
pub struct Clause {
    /// The statement's name.
    pub name: &'static str,
    /// The statement, or the default.
    pub rule: RuleId,
    /// The list.
    pub list: Arc<List>,
    /// Its braces; nothing when it is a default.
    pub braces: Option<Span>,
    /// The statement says more than the list does, so that the text does not decide.
    pub unknown: Option<&'static str>,
    /// Only over this transport (`tls`, `http`), which plain DNS is not.
    pub elsewhere: bool,
}

/// A yes or no with its statement.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// Yes.
    pub on: bool,
    /// The statement, or the default.
    pub rule: RuleId,
}

/// A view.
#[derive(Debug)]
pub struct View {
    /// Its name; `_default` when none was written.
    pub name: String,
    /// Its statement.
    pub rule: RuleId,
    /// It is of class IN.
    pub internet: bool,
    /// Whom it serves.
    pub match_clients: Clause,
    /// At which of the server's addresses.
    pub match_destinations: Clause,
    /// Only requests that desire recursion.
    pub match_recursive_only: Option<RuleId>,
    /// Recursion at all.
    pub recursion: Switch,
    /// Lists by their meaning.
    pub query: Clause,
    /// By destination.
    pub query_on: Clause,
    /// A zone of the view has no such list of its own.
    pub query_on_inherited: bool,
    /// Answers from the cache.
    pub cache: Clause,
    /// By destination.
    pub cache_on: Clause,
    /// Recursion by source.
    pub recursion_acl: Clause,
    /// By destination.
    pub recursion_on: Clause,
    /// Zones by name.
    pub zones: HashMap<Vec<u8>, Arc<Zone>, foldhash::fast::FixedState>,
    /// Lengths of their names, a bit each: most names above a question are as long as no zone's.
    pub zone_lengths: [u64; 4],
    /// Response policy zones are in use; and not only for recursive requests.
    pub policy_zones: Option<(RuleId, bool)>,
    /// Zones may come from elsewhere: catalogs, a database, rndc.
    pub more_zones: Option<(RuleId, &'static str)>,
    /// Keys that are known here.
    pub keys: HashSet<Vec<u8>>,
}

/// What a zone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneKind {
    /// Primary.
    Primary,
    /// Secondary.
    Secondary,
    /// Mirror of a zone in the cache's place.
    Mirror,
    /// Stub.
    Stub,
    /// Static stub.
    StaticStub,
    /// One of the server's own empty zones.
    Empty,
}

/// A zone that the server looks for a name in.
#[derive(Debug)]
pub struct Zone {
    /// What it is.
    pub kind: ZoneKind,
    /// Its statement.
    pub rule: RuleId,
    /// Its own list, else the view's.
    pub query: Option<Clause>,
    /// Its own list, else the view's.
    pub query_on: Option<Clause>,
    /// Who may have the whole zone; nothing when the default decides and the version is not known.
    pub transfer: Option<Clause>,
    /// Who may change it.
    pub update: Clause,
    /// What may be changed by whom.
    pub update_policy: Option<UpdatePolicy>,
    /// Whose changes a secondary passes on.
    pub forwarding: Clause,
    /// Who may notify it besides its primaries.
    pub notify: Clause,
    /// Its primaries; `None` in it for one that the text does not tell.
    pub primaries: Vec<Option<IpAddr>>,
}

/// `update-policy`.
#[derive(Debug)]
pub struct UpdatePolicy {
    /// The statement.
    pub rule: RuleId,
    /// Its rules in order.
    pub grants: Vec<Grant>,
}

/// A rule of `update-policy`.
#[derive(Debug)]
pub struct Grant {
    /// The rule.
    pub rule: RuleId,
    /// `grant` rather than `deny`.
    pub allows: bool,
    /// The identity as text in lower case.
    pub identity: String,
    /// It is about every record of the zone.
    pub everything: bool,
    /// It can match a request without a key.
    pub unsigned: bool,
    /// Its identity is the name of a key, so that it can only match that key.
    pub by_key_name: bool,
}

/// Rules of the server itself.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// No view matches.
    pub no_view: RuleId,
    /// A request of this kind is not implemented.
    pub not_implemented: RuleId,
    /// The zone is not served here.
    pub not_authoritative: RuleId,
    /// A key nobody configured.
    pub bad_key: RuleId,
    /// Names of the server itself in class CH.
    pub chaos: RuleId,
    /// A primary zone takes any notification.
    pub primary_notify: RuleId,
    /// A notification from a primary.
    pub from_primary: RuleId,
    /// A question that is none.
    pub malformed: RuleId,
}

/// The statements of a block by name.
type Map<'a> = BTreeMap<String, Vec<&'a Statement>>;

/// Builds the model.
pub fn build(
    parsed: &Parsed,
    files: &Files,
    surroundings: &Surroundings<'_>,
    rules: &mut Rules,
) -> Result<Model, Error> {
    let mut named = Named::of(files, &parsed.statements)?;
    named.compile_all(files, rules)?;
    let mut top = Map::new();
    for statement in &parsed.statements {
        let name = head(files, statement, names::TOP, "outside every block")?;
        top.entry(name).or_default().push(statement);
    }
    let mut builder =
        Builder { files, rules, named, version: surroundings.version, lists: HashMap::new(), servers: HashMap::new() };
    let options = match top.get("options").map(Vec::as_slice) {
        None | Some([]) => Map::new(),
        Some([only]) => builder.map(block_of(files, only)?, names::OPTIONS, "in options")?,
        Some([first, second, ..]) => {
            let line = files.line(first.span);
            return Err(files.error(second.span, &format!("options are given already at line {line}")));
        }
    };
    builder.remote_servers(&top)?;
    let listens = builder.listens(&options)?;
    let missing = parsed.missing.first().map(|span| builder.rules.text(*span));
    let built_in = BuiltIn {
        no_view: builder.rules.built_in("no view matches"),
        not_implemented: builder.rules.built_in("requests of this kind are not implemented (NOTIMP)"),
        not_authoritative: builder.rules.built_in("no such zone is served here (NOTAUTH)"),
        bad_key: builder.rules.built_in("the key is not configured (NOTAUTH)"),
        chaos: builder.rules.built_in("the server's own names in class CH"),
        primary_notify: builder.rules.built_in("a primary zone accepts any NOTIFY"),
        from_primary: builder.rules.built_in("NOTIFY from one of the zone's primaries"),
        malformed: builder.rules.built_in("such a question is malformed (FORMERR)"),
    };
    let blackhole = builder.clause("blackhole", &[&options])?;
    let match_mapped = builder.switch("match-mapped-addresses", &[&options], false)?.on;
    let (views, with_views) = builder.views(&top, &options)?;
    let mut notes = Vec::new();
    if let Some(span) = parsed.missing.first() {
        notes.push(format!(
            "{}:{}: the included file is not here (--root DIR says where absolute names are), so that nothing is decided",
            crate::error::escape_text(files.name(*span)),
            files.line(*span)
        ));
    }
    if views.iter().any(|view| view.policy_zones.is_some()) {
        notes.push(
            "response-policy is in use: its zones are data and may leave requests unanswered that are allowed"
                .to_owned(),
        );
    }
    let own = OwnAddresses::of(surroundings.servers, &listens);
    Ok(Model { views, with_views, blackhole, own, match_mapped, listens, missing, built_in, notes })
}

/// The name of a statement, which must be one of those that may stand here.
fn head(files: &Files, statement: &Statement, known: &[&'static str], place: &str) -> Result<String, Error> {
    let Some(Item::Word(word)) = statement.items.first() else {
        return Err(files.error(statement.span, "a statement begins with its name"));
    };
    let text = files.text(*word);
    if names::knows(known, text) {
        if let Some(swallowed) = swallowed(files, statement) {
            return Err(files.error(swallowed, "a semicolon is missing before this statement"));
        }
        return Ok(text.to_ascii_lowercase());
    }
    let hint = names::alike(known, text).map(|name| format!("; perhaps {name} is meant")).unwrap_or_default();
    Err(files.error(*word, &format!("no statement of this name stands {place}{hint}")))
}

/// A statement about access inside another one, whose semicolon was forgotten: it must not go unnoticed.
fn swallowed(files: &Files, statement: &Statement) -> Option<Span> {
    const ABOUT_ACCESS: [&str; 10] = [
        "acl",
        "blackhole",
        "in-view",
        "options",
        "recursion",
        "response-policy",
        "update-policy",
        "view",
        "zone",
        "include",
    ];
    let about_access = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.starts_with("allow-") || text.starts_with("match-") || ABOUT_ACCESS.contains(&text.as_str())
    };
    statement.items.windows(2).enumerate().find_map(|(before, pair)| match &pair[1] {
        Item::Word(word) if about_access(files.text(*word)) => {
            let next_line = files.line(pair[0].span()) < files.line(*word) || pair[0].span().file != word.file;
            (before > 0 || next_line).then_some(*word)
        }
        _ => None,
    })
}

/// Values of statements that say nothing of access but would swallow what follows them when they are missing.
fn check_shape(files: &Files, statement: &Statement, name: &str) -> Result<(), Error> {
    const QUOTED: [&str; 4] = ["directory", "file", "key-directory", "managed-keys-directory"];
    const QUOTED_OR_NONE: [&str; 2] = ["pid-file", "session-keyfile"];
    const SWITCHES: [&str; 8] = [
        "auth-nxdomain",
        "automatic-interface-scan",
        "empty-zones-enable",
        "match-mapped-addresses",
        "match-recursive-only",
        "minimal-any",
        "querylog",
        "recursion",
    ];
    let value = match statement.items.as_slice() {
        [_, Item::Quoted(_)] => "quoted",
        [_, Item::Word(word)] => files.text(*word),
        _ => "",
    };
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
    let (fine, takes) = if QUOTED.contains(&name) {
        (is(&["quoted"]), "a file name in quotes")
    } else if QUOTED_OR_NONE.contains(&name) {
        (is(&["quoted", "none"]), "a file name in quotes, or none")
    } else if SWITCHES.contains(&name) {
        (is(&["quoted", "yes", "no", "true", "false", "1", "0"]), "yes or no")
    } else {
        (true, "")
    };
    if fine { Ok(()) } else { Err(files.error(statement.span, &format!("{name} takes {takes}"))) }
}

/// Base64 as keys are written: whole groups of four, padded at the end.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let fine = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    fine && !digits.is_empty() && text.len().is_multiple_of(4) && text.len() - digits.len() <= 2
}

/// The block of a statement such as `options { ... }`.
fn block_of<'a>(files: &Files, statement: &'a Statement) -> Result<&'a Block, Error> {
    match statement.items.last() {
        Some(Item::Block(block)) => Ok(block),
        _ => Err(files.error(statement.span, "a block in braces is missing")),
    }
}

/// Statements that may be given several times.
const REPEATED: [&str; 17] = [
    "listen-on",
    "listen-on-v6",
    "disable-empty-zone",
    "dns64",
    "disable-algorithms",
    "disable-ds-digests",
    "dnssec-must-be-secure",
    "zone",
    "server",
    "key",
    "dlz",
    "dyndb",
    "plugin",
    "trust-anchors",
    "managed-keys",
    "trusted-keys",
    "check-names",
];

struct Builder<'a> {
    files: &'a Files,
    rules: &'a mut Rules,
    named: Named<'a>,
    version: Option<(u32, u32)>,
    /// Lists that were compiled already, by their statement.
    lists: HashMap<Span, Clause>,
    /// `primaries` and the like by name.
    servers: HashMap<String, (Span, &'a Block)>,
}

impl<'a> Builder<'a> {
    fn map(&self, block: &'a Block, known: &[&'static str], place: &str) -> Result<Map<'a>, Error> {
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

    /// The first statement of a name in the maps, innermost first.
    fn find(name: &str, maps: &[&Map<'a>]) -> Option<&'a Statement> {
        maps.iter().find_map(|map| map.get(name)?.first().copied())
    }

    fn switch(&mut self, name: &'static str, maps: &[&Map<'a>], default: bool) -> Result<Switch, Error> {
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
    fn clause(&mut self, name: &'static str, maps: &[&Map<'a>]) -> Result<Option<Clause>, Error> {
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
        let clause = Clause { name, rule, list, braces: Some(block.span), unknown, elsewhere };
        self.lists.insert(statement.span, clause.clone());
        Ok(Some(clause))
    }

    /// A default list.
    fn default(&mut self, name: &'static str, says: &'static str, list: fn(RuleId) -> List) -> Clause {
        let rule = self.rules.built_in(says);
        Clause { name, rule, list: Arc::new(list(rule)), braces: None, unknown: None, elsewhere: false }
    }

    fn any(&mut self, name: &'static str) -> Clause {
        self.default(name, "any (default)", List::any)
    }

    fn none(&mut self, name: &'static str, says: &'static str) -> Clause {
        self.default(name, says, List::none)
    }

    fn remote_servers(&mut self, top: &Map<'a>) -> Result<(), Error> {
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

    /// The addresses of a list of servers; `None` in it for one that cannot be told.
    fn addresses(&self, block: &Block, into: &mut Vec<Option<IpAddr>>, depth: usize) -> Result<(), Error> {
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

    fn listens(&mut self, options: &Map<'a>) -> Result<Vec<IpAddr>, Error> {
        let mut listens = Vec::new();
        for name in ["listen-on", "listen-on-v6"] {
            for statement in options.get(name).into_iter().flatten() {
                let block = block_of(self.files, statement)?;
                self.named.list(block, self.files, self.rules)?;
                for element in &block.statements {
                    if let [Item::Word(word)] = element.items.as_slice()
                        && let Ok(address) = self.files.text(*word).parse::<IpAddr>()
                    {
                        listens.push(address);
                    }
                }
            }
        }
        Ok(listens)
    }

    fn views(&mut self, top: &Map<'a>, options: &Map<'a>) -> Result<(Vec<View>, bool), Error> {
        let none = Vec::new();
        let written = top.get("view").unwrap_or(&none);
        let mut views: Vec<View> = Vec::new();
        if written.is_empty() {
            let view = self.view("_default", None, true, &Map::new(), top, options, &views)?;
            return Ok((vec![view], false));
        }
        if let Some(zone) = top.get("zone").and_then(|zones| zones.first()) {
            return Err(self.files.error(zone.span, "with views, every zone stands in one of them"));
        }
        for statement in written {
            let (called, class) = match statement.items.as_slice() {
                [_, Item::Word(called) | Item::Quoted(called), Item::Block(_)] => (*called, None),
                [
                    _,
                    Item::Word(called) | Item::Quoted(called),
                    Item::Word(class) | Item::Quoted(class),
                    Item::Block(_),
                ] => (*called, Some(*class)),
                _ => return Err(self.files.error(statement.span, "view takes a name and a block in braces")),
            };
            let internet = self.is_internet(class)?;
            let name = self.files.text(called).to_owned();
            if views.iter().any(|view| view.name == name && view.internet == internet) {
                return Err(self.files.error(called, "a view of this name is there already"));
            }
            let map = self.map(block_of(self.files, statement)?, names::VIEW, "in a view")?;
            let view = self.view(&name, Some(statement), internet, &map, top, options, &views)?;
            views.push(view);
        }
        Ok((views, true))
    }

    fn is_internet(&self, class: Option<Span>) -> Result<bool, Error> {
        let Some(class) = class else { return Ok(true) };
        match self.files.text(class).to_ascii_lowercase().as_str() {
            "in" => Ok(true),
            "ch" | "chaos" | "hs" | "hesiod" => Ok(false),
            _ => Err(self.files.error(class, "this is no class")),
        }
    }

    #[allow(clippy::too_many_arguments)] // the places a view takes its statements from
    fn view(
        &mut self,
        name: &str,
        statement: Option<&'a Statement>,
        internet: bool,
        map: &Map<'a>,
        top: &Map<'a>,
        options: &Map<'a>,
        earlier: &[View],
    ) -> Result<View, Error> {
        let maps = [map, options];
        let rule = match statement {
            Some(statement) => self.rules.text(Span { end: statement.items[0].span().end, ..statement.span }),
            None => self.rules.built_in("the only view"),
        };
        let recursion = self.switch("recursion", &maps, true)?;
        let (set_query, set_query_on) = (self.clause("allow-query", &maps)?, self.clause("allow-query-on", &maps)?);
        let (set_cache, set_cache_on) =
            (self.clause("allow-query-cache", &maps)?, self.clause("allow-query-cache-on", &maps)?);
        let (set_recursion, set_recursion_on) =
            (self.clause("allow-recursion", &maps)?, self.clause("allow-recursion-on", &maps)?);
        let mut near = |name: &'static str| {
            let says = "{ localnets; localhost; } (default)";
            self.default(name, says, List::near)
        };
        // Lists inherit from each other only what was written.
        let (cache, recursion_acl) = if recursion.on {
            let cache = set_cache.clone().or_else(|| set_recursion.clone()).or_else(|| set_query.clone());
            let cache = cache.unwrap_or_else(|| near("allow-query-cache"));
            let recursive = set_recursion.or(set_cache).or_else(|| set_query.clone());
            (cache, recursive.unwrap_or_else(|| near("allow-recursion")))
        } else {
            let none = self.none("allow-query-cache", "none, because recursion is off (default)");
            (set_cache.unwrap_or_else(|| none.clone()), none)
        };
        let cache_on = set_cache_on.clone().or_else(|| set_recursion_on.clone());
        let recursion_on = set_recursion_on.or(set_cache_on);
        let zones = if statement.is_some() { map.get("zone") } else { top.get("zone") };
        let mut keys: HashSet<Vec<u8>> = self.keys(top)?.into_iter().collect();
        keys.extend(self.keys(map)?);
        let session_key = Self::find("session-keyfile", &maps).is_none_or(|statement| {
            statement.items.get(1).is_none_or(|item| !self.files.text(item.span()).eq_ignore_ascii_case("none"))
        });
        if session_key {
            keys.extend(name::parse_name("local-ddns"));
        }
        let query = set_query.unwrap_or_else(|| self.any("allow-query"));
        let mut view = View {
            name: name.to_owned(),
            rule,
            internet,
            match_clients: self.clause("match-clients", &[map])?.unwrap_or_else(|| self.any("match-clients")),
            match_destinations: self
                .clause("match-destinations", &[map])?
                .unwrap_or_else(|| self.any("match-destinations")),
            match_recursive_only: None,
            recursion,
            query,
            query_on: set_query_on.unwrap_or_else(|| self.any("allow-query-on")),
            query_on_inherited: false,
            cache,
            cache_on: cache_on.unwrap_or_else(|| self.any("allow-query-cache-on")),
            recursion_acl,
            recursion_on: recursion_on.unwrap_or_else(|| self.any("allow-recursion-on")),
            zones: HashMap::default(),
            zone_lengths: [0; 4],
            policy_zones: None,
            more_zones: None,
            keys,
        };
        let only_recursive = self.switch("match-recursive-only", &[map], false)?;
        view.match_recursive_only = only_recursive.on.then_some(only_recursive.rule);
        if let Some(statement) = Self::find("response-policy", &maps) {
            let text = self.files.text(statement.span).to_ascii_lowercase();
            let always = text.contains("recursive-only no") || text.contains("recursive-only false");
            view.policy_zones = Some((self.rules.text(statement.span), always));
        }
        for (name, reason) in [
            ("catalog-zones", "a catalog zone may add zones"),
            ("allow-new-zones", "zones may have been added with rndc"),
            ("dlz", "a database (dlz) may hold zones"),
            ("dyndb", "a database (dyndb) may hold zones"),
        ] {
            let found = Self::find(name, &maps).or_else(|| Self::find(name, &[top]));
            if let Some(statement) = found {
                let off = name == "allow-new-zones" && !self.switch("allow-new-zones", &maps, false)?.on;
                if !off {
                    view.more_zones = Some((self.rules.text(statement.span), reason));
                }
            }
        }
        let mut forwarders: Vec<(Vec<u8>, bool)> = Vec::new();
        if Self::find("forwarders", &maps).is_some() {
            forwarders.push((vec![0], self.forward_only(&maps)));
        }
        for zone in zones.into_iter().flatten() {
            self.zone(zone, &mut view, &maps, earlier, &mut forwarders)?;
        }
        self.empty_zones(&mut view, &maps, &forwarders)?;
        for origin in view.zones.keys() {
            view.zone_lengths[origin.len() / 64 % 4] |= 1 << (origin.len() % 64);
        }
        Ok(view)
    }

    fn forward_only(&self, maps: &[&Map<'a>]) -> bool {
        Self::find("forward", maps)
            .and_then(|statement| statement.items.get(1))
            .is_some_and(|item| self.files.text(item.span()).eq_ignore_ascii_case("only"))
    }

    /// Names of the keys that are defined.
    fn keys(&self, map: &Map<'a>) -> Result<Vec<Vec<u8>>, Error> {
        let mut keys = Vec::new();
        for statement in map.get("key").into_iter().flatten() {
            match statement.items.as_slice() {
                [_, Item::Word(called) | Item::Quoted(called), Item::Block(block)] => {
                    let Some(key) = name::parse_name(self.files.text(*called)) else {
                        return Err(self.files.error(*called, "this is no name of a key"));
                    };
                    if keys.contains(&key) {
                        return Err(self.files.error(*called, "a key of this name is there already"));
                    }
                    self.key(block)?;
                    keys.push(key);
                }
                _ => return Err(self.files.error(statement.span, "key takes a name and a block in braces")),
            }
        }
        Ok(keys)
    }

    /// What a key is made of: `algorithm` and `secret`, once each.
    fn key(&self, block: &Block) -> Result<(), Error> {
        let mut seen = [false; 2];
        for statement in &block.statements {
            let [Item::Word(word), Item::Word(value) | Item::Quoted(value)] = statement.items.as_slice() else {
                return Err(self.files.error(statement.span, "a key takes algorithm and secret, each with one value"));
            };
            let which =
                ["algorithm", "secret"].iter().position(|known| known.eq_ignore_ascii_case(self.files.text(*word)));
            match which {
                Some(which) if !seen[which] => seen[which] = true,
                Some(_) => return Err(self.files.error(*word, "this is given already")),
                None => return Err(self.files.error(*word, "a key takes algorithm and secret only")),
            }
            if which == Some(1) && !is_base64(self.files.text(*value)) {
                return Err(self.files.error(*word, "this secret is no base64"));
            }
        }
        if seen == [true; 2] { Ok(()) } else { Err(self.files.error(block.span, "a key takes algorithm and secret")) }
    }

    /// Statements about access that a zone of another type may not have.
    fn check_type(&self, own: &Map<'a>, kind: ZoneKind, kind_text: &str) -> Result<(), Error> {
        use ZoneKind::{Mirror, Primary, Secondary};
        let only: [(&str, &[ZoneKind]); 6] = [
            ("allow-notify", &[Secondary, Mirror]),
            ("allow-transfer", &[Primary, Secondary, Mirror]),
            ("allow-update", &[Primary]),
            ("allow-update-forwarding", &[Secondary, Mirror]),
            ("also-notify", &[Primary, Secondary, Mirror]),
            ("update-policy", &[Primary]),
        ];
        for (name, kinds) in only {
            if let Some(statement) = Self::find(name, &[own]).filter(|_| !kinds.contains(&kind)) {
                return Err(self.files.error(statement.span, &format!("a zone of type {kind_text} takes no {name}")));
            }
        }
        Ok(())
    }

    fn zone(
        &mut self,
        statement: &'a Statement,
        view: &mut View,
        maps: &[&Map<'a>; 2],
        earlier: &[View],
        forwarders: &mut Vec<(Vec<u8>, bool)>,
    ) -> Result<(), Error> {
        let (called, class) = match statement.items.as_slice() {
            [_, Item::Word(called) | Item::Quoted(called), Item::Block(_)] => (*called, None),
            [_, Item::Word(called) | Item::Quoted(called), Item::Word(class) | Item::Quoted(class), Item::Block(_)] => {
                (*called, Some(*class))
            }
            _ => return Err(self.files.error(statement.span, "zone takes a name and a block in braces")),
        };
        let internet = self.is_internet(class)?;
        let Some(origin) = name::parse_name(self.files.text(called)) else {
            return Err(self.files.error(called, "this is no domain name"));
        };
        let own = self.map(block_of(self.files, statement)?, names::ZONE, "in a zone")?;
        let rule = self.rules.text(Span { end: called.end, ..statement.span });
        if let Some(elsewhere) = Self::find("in-view", &[&own]) {
            let Some(Item::Word(other) | Item::Quoted(other)) = elsewhere.items.get(1) else {
                return Err(self.files.error(elsewhere.span, "in-view takes the name of a view"));
            };
            let Some(shared) = earlier
                .iter()
                .find(|earlier| earlier.name == self.files.text(*other))
                .and_then(|earlier| earlier.zones.get(&origin))
            else {
                return Err(self.files.error(*other, "no earlier view of this name has the zone"));
            };
            view.zones.insert(origin, Arc::clone(shared));
            return Ok(());
        }
        let Some(kind) = Self::find("type", &[&own]) else {
            return Err(self.files.error(called, "the zone has no type"));
        };
        let kind_text =
            kind.items.get(1).map(|item| self.files.text(item.span()).to_ascii_lowercase()).unwrap_or_default();
        let kind = match kind_text.as_str() {
            "primary" | "master" => ZoneKind::Primary,
            "secondary" | "slave" => ZoneKind::Secondary,
            "mirror" => ZoneKind::Mirror,
            "stub" => ZoneKind::Stub,
            "static-stub" => ZoneKind::StaticStub,
            "forward" => {
                let only = self.forward_only(&[&own, maps[0], maps[1]]);
                forwarders.push((origin, only));
                return Ok(());
            }
            "hint" | "redirect" | "delegation-only" => return Ok(()),
            _ => return Err(self.files.error(kind.span, "no zone is of this type")),
        };
        self.check_type(&own, kind, &kind_text)?;
        if Self::find("forwarders", &[&own]).is_some() {
            forwarders.push((origin.clone(), self.forward_only(&[&own, maps[0], maps[1]])));
        }
        let all = [&own, maps[0], maps[1]];
        let mut primaries = Vec::new();
        if let Some(list) = Self::find("primaries", &[&own]).or_else(|| Self::find("masters", &[&own])) {
            self.addresses(block_of(self.files, list)?, &mut primaries, 0)?;
        }
        let transfer = match self.clause("allow-transfer", &all)? {
            Some(clause) => Some(clause),
            None if kind == ZoneKind::Mirror => Some(self.none("allow-transfer", "none for a mirror (default)")),
            None => match self.version {
                Some(version) if version >= (9, 20) => Some(self.none("allow-transfer", "none (default from 9.20)")),
                Some(_) => Some(self.default("allow-transfer", "any (default before 9.20)", List::any)),
                None => None,
            },
        };
        let zone = Zone {
            kind,
            rule,
            query: self.clause("allow-query", &[&own])?,
            query_on: self.clause("allow-query-on", &[&own])?,
            transfer,
            update: self.clause("allow-update", &all)?.unwrap_or_else(|| self.none("allow-update", "none (default)")),
            update_policy: self.update_policy(&own)?,
            forwarding: self
                .clause("allow-update-forwarding", &all)?
                .unwrap_or_else(|| self.none("allow-update-forwarding", "none (default)")),
            notify: self.clause("allow-notify", &all)?.unwrap_or_else(|| self.none("allow-notify", "none (default)")),
            primaries,
        };
        view.query_on_inherited |= zone.query_on.is_none();
        if !internet || !view.internet {
            return Ok(());
        }
        if let Some(first) = view.zones.insert(origin, Arc::new(zone)) {
            let line = match self.rules.place(first.rule) {
                crate::expect::acl::Place::Text(span) => self.files.line(span),
                crate::expect::acl::Place::BuiltIn(_) => 0,
            };
            return Err(self.files.error(called, &format!("this zone is given already at line {line}")));
        }
        Ok(())
    }

    fn update_policy(&mut self, own: &Map<'a>) -> Result<Option<UpdatePolicy>, Error> {
        let Some(statement) = Self::find("update-policy", &[own]) else { return Ok(None) };
        let rule = self.rules.text(statement.span);
        let mut grants = Vec::new();
        match statement.items.get(1) {
            Some(Item::Word(word) | Item::Quoted(word)) if self.files.text(*word).eq_ignore_ascii_case("local") => {
                grants.push(Grant {
                    rule,
                    allows: true,
                    identity: "local-ddns".to_owned(),
                    everything: true,
                    unsigned: false,
                    by_key_name: true,
                });
            }
            Some(Item::Block(block)) => {
                for line in &block.statements {
                    let words: Vec<String> =
                        line.items.iter().map(|item| self.files.text(item.span()).to_ascii_lowercase()).collect();
                    let allows = match words.first().map(String::as_str) {
                        Some("grant") => true,
                        Some("deny") => false,
                        _ => return Err(self.files.error(line.span, "a rule begins with grant or deny")),
                    };
                    let (Some(identity), Some(kind)) = (words.get(1), words.get(2)) else {
                        return Err(self.files.error(line.span, "a rule takes an identity and a type"));
                    };
                    let every_type = words.last().is_some_and(|word| word == "any");
                    grants.push(Grant {
                        rule: self.rules.text(line.span),
                        allows,
                        identity: identity.trim_end_matches('.').to_owned(),
                        everything: kind == "zonesub" && every_type,
                        unsigned: matches!(kind.as_str(), "tcp-self" | "6to4-self" | "external"),
                        by_key_name: matches!(
                            kind.as_str(),
                            "name" | "subdomain" | "zonesub" | "wildcard" | "self" | "selfsub" | "selfwild"
                        ),
                    });
                }
            }
            _ => return Err(self.files.error(statement.span, "update-policy takes local or rules in braces")),
        }
        Ok(Some(UpdatePolicy { rule, grants }))
    }

    /// The empty zones the server makes by itself when it recurses.
    fn empty_zones(
        &mut self,
        view: &mut View,
        maps: &[&Map<'a>; 2],
        forwarders: &[(Vec<u8>, bool)],
    ) -> Result<(), Error> {
        let enabled = self.switch("empty-zones-enable", maps, view.recursion.on)?;
        if !enabled.on || !view.internet {
            return Ok(());
        }
        let mut disabled: HashSet<Vec<u8>> = HashSet::new();
        let level = if maps[0].contains_key("disable-empty-zone") { maps[0] } else { maps[1] };
        for statement in level.get("disable-empty-zone").into_iter().flatten() {
            let named = statement.items.get(1).and_then(|item| name::parse_name(self.files.text(item.span())));
            match named {
                Some(name) => drop(disabled.insert(name)),
                None => return Err(self.files.error(statement.span, "disable-empty-zone takes the name of a zone")),
            }
        }
        let rule = self.rules.built_in("an empty zone of the server itself (RFC 6303)");
        let transfer = self.any("allow-transfer");
        let none = self.none("allow-update", "none (default)");
        for origin in super::empty::origins() {
            let forwarded_only = name::and_above(&origin)
                .find_map(|above| forwarders.iter().find(|(name, _)| name == above))
                .is_some_and(|(_, only)| *only);
            if view.zones.contains_key(&origin) || disabled.contains(&origin) || forwarded_only {
                continue;
            }
            let zone = Zone {
                kind: ZoneKind::Empty,
                rule,
                query: None,
                query_on: None,
                transfer: Some(transfer.clone()),
                update: none.clone(),
                update_policy: None,
                forwarding: none.clone(),
                notify: none.clone(),
                primaries: Vec::new(),
            };
            view.zones.insert(origin, Arc::new(zone));
        }
        Ok(())
    }
}
