//! A server's own configuration to what it would do with a request: [`Acl`] reads it in one of [`DIALECTS`] and decides.
//!
//! A dialect turns text into a [`Policy`], which answers a [`Request`] with a [`Decision`]; here is what is common to
//! all: rules with their places, verdicts with a trace, and the servers a file speaks for.

pub mod advice;
#[cfg(test)]
mod asked;
pub mod bind;
pub mod compare;
pub mod cover;
pub mod judge;
pub mod name;
pub mod network;
pub mod pattern;
mod served;
mod spelling;
pub mod text;
pub mod unbound;

use crate::config::OwnServer;
use crate::error::{Error, escape_text};
use crate::transact::flights::Transport;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use text::{Files, Span};

/// Makes a policy of files of which the first is open already.
type Read = fn(&mut Files, u32, &Surroundings<'_>, &mut Rules) -> Result<Box<dyn Policy>, Error>;

/// A dialect of configuration files.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// How much a text looks like this dialect; the highest wins, 0 is not at all.
    looks_like: fn(&str) -> usize,
    /// Reads a configuration whose first file is open already.
    read: Read,
}

/// Every dialect.
pub const DIALECTS: &[Dialect] = &[
    Dialect {
        name: "bind",
        about: "BIND 9 named.conf, or named-checkconf -p",
        looks_like: bind::looks_like,
        read: bind::read,
    },
    Dialect { name: "unbound", about: "Unbound unbound.conf", looks_like: unbound::looks_like, read: unbound::read },
];

/// What is known of the machine the file belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Addresses of the server, with the networks they are connected to.
    pub servers: &'a [OwnServer],
    /// The server's version, such as `(9, 18)`.
    pub version: Option<(u32, u32)>,
}

/// One request, as far as access rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client's address as the server sees it.
    pub source: IpAddr,
    /// The address it asks.
    pub destination: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The header's opcode.
    pub opcode: u8,
    /// The name in the question, as uncompressed labels in lower case.
    pub qname: &'a [u8],
    /// Its type.
    pub qtype: u16,
    /// Its class.
    pub qclass: u16,
    /// Recursion is desired.
    pub rd: bool,
    /// The TSIG key that signed it, in the form of `qname`.
    pub key: Option<&'a [u8]>,
    /// Its COOKIE option.
    pub cookie: Cookie,
    /// Records in its answer, authority and additional sections.
    pub sections: [u16; 3],
}

/// The COOKIE option (RFC 7873) of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// The request as it was sent is not known.
    NotKnown,
    /// It has none.
    Absent,
    /// It has one of so many bytes: 8 of the client, then those of the server.
    Present(u16),
}

/// What a server would do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// It would be served (whatever the answer is).
    Allow,
    /// REFUSED.
    Refuse,
    /// No response.
    Drop,
    /// NOTAUTH.
    NotAuth,
    /// The text does not tell.
    Unknown,
}

impl Word {
    /// Every word with its name in reports.
    pub const ALL: [(&'static str, Word); 5] = [
        ("allow", Word::Allow),
        ("refuse", Word::Refuse),
        ("drop", Word::Drop),
        ("notauth", Word::NotAuth),
        ("unknown", Word::Unknown),
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A rule's number among [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    Text(Span),
    /// In the server itself: a default, in words.
    BuiltIn(&'static str),
}

/// Every rule that can decide, by number.
#[derive(Debug, Default)]
pub struct Rules {
    places: Vec<Place>,
}

impl Rules {
    /// A rule in a file.
    pub fn text(&mut self, span: Span) -> RuleId {
        self.add(Place::Text(span))
    }

    /// A rule of the server itself.
    pub fn built_in(&mut self, says: &'static str) -> RuleId {
        match self.places.iter().position(|place| *place == Place::BuiltIn(says)) {
            Some(at) => RuleId(at as u32),
            None => self.add(Place::BuiltIn(says)),
        }
    }

    fn add(&mut self, place: Place) -> RuleId {
        self.places.push(place);
        RuleId(self.places.len() as u32 - 1)
    }

    /// Where a rule stands.
    pub fn place(&self, rule: RuleId) -> Place {
        self.places.get(rule.0 as usize).copied().unwrap_or(Place::BuiltIn(""))
    }
}

/// A rule as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file's name, or `built-in`.
    pub file: String,
    /// Its 1-based line; 0 when built in.
    pub line: u64,
    /// The line's text, or what is built in.
    pub text: String,
}

impl fmt::Display for Rule {
    /// `file:line`, or `built-in`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// The short form of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// What happens.
    pub word: Word,
    /// The rule that decides.
    pub rule: Option<RuleId>,
    /// Why it is unknown.
    pub reason: Option<&'static str>,
}

impl Decision {
    /// A decision by a rule.
    pub fn of(word: Word, rule: RuleId) -> Self {
        Self { word, rule: Some(rule), reason: None }
    }

    /// What the text does not tell.
    pub fn unknown(reason: &'static str, rule: Option<RuleId>) -> Self {
        Self { word: Word::Unknown, rule, reason: Some(reason) }
    }
}

/// How a request that is allowed is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// The view that serves it, where it is one of several or is chosen for the source.
    pub view: Option<Arc<str>>,
    /// Other servers are asked for it if need be; nothing where recursion is not desired, or that is not known.
    pub recursion: Option<bool>,
    /// The name is in a zone of the server, or in its local data.
    pub held: bool,
}

/// A verdict, and how the request is served where that is to allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// The verdict.
    pub decision: Decision,
    /// How it is served.
    pub serving: Option<Serving>,
}

impl Treatment {
    /// Allowed, but whoever desires recursion gets none, for a name that the server does not hold.
    pub fn lacks_recursion(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.recursion == Some(false) && !serving.held)
    }
}

/// Where a line or list element would have to be added to admit a source at this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// An element of an address match list, at this place, and the name of its statement.
    Element(Span, &'static str),
    /// A line of its own, after the line of this place.
    LineAfter(Span),
}

/// One step on the way to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule it is about.
    pub rule: Option<RuleId>,
    /// What it says of the request.
    pub says: String,
    /// Where the source would have to be added for this step to let it pass, when it did not.
    pub spot: Option<Spot>,
}

/// Recursion, as a server has it for whoever sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recursion {
    /// Names are resolved for the source.
    pub offered: bool,
    /// The request asks for it, and the server itself has no data for the name.
    pub needed: bool,
}

/// Steps are gathered, and what is known of recursion and of how a request is served is noted, only when somebody wants to
/// see them.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Option<Vec<Step>>,
    serving: Option<Serving>,
    asks_recursion: bool,
    recursion: Option<Recursion>,
}

impl Trace {
    /// Gathers nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Gathers steps.
    pub fn on() -> Self {
        Self { steps: Some(Vec::new()), ..Self::default() }
    }

    /// Notes how the request is served, without steps.
    pub fn of_serving() -> Self {
        Self { serving: Some(Serving::default()), ..Self::default() }
    }

    /// Somebody wants to see what it gathers or notes.
    pub fn is_on(&self) -> bool {
        self.steps.is_some() || self.serving.is_some()
    }

    /// Adds the steps of another one; without spots where a change would not help.
    pub fn append(&mut self, other: Trace, with_spots: bool) {
        for step in other.into_steps() {
            self.step(step.rule, step.spot.filter(|_| with_spots), || step.says);
        }
    }

    /// Says what recursion there is, when somebody wants to know.
    #[inline]
    pub fn recursion(&mut self, recursion: impl FnOnce() -> Recursion) {
        if self.asks_recursion {
            self.recursion = Some(recursion());
        }
    }

    /// Notes how the request is served.
    #[inline]
    pub fn serve(&mut self, note: impl FnOnce(&mut Serving)) {
        if let Some(serving) = &mut self.serving {
            note(serving);
        }
    }

    /// Adds a step.
    #[inline]
    pub fn step(&mut self, rule: Option<RuleId>, spot: Option<Spot>, says: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { rule, says: says(), spot });
        }
    }

    /// The steps gathered.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }
}

/// An entry of the effective table: a prefix or another condition in one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The list it belongs to, such as `view internal: match-clients` or `access-control`.
    pub list: String,
    /// What it matches.
    pub matches: String,
    /// The prefix it matches, when that is all it looks at.
    pub prefix: Option<IpNet>,
    /// What follows from a match: `allow`, `refuse`, `!` and the like.
    pub action: String,
    /// A match lets the source pass.
    pub admits: bool,
    /// Its place.
    pub rule: RuleId,
}

/// What a dialect makes of its text.
pub trait Policy: fmt::Debug + Send + Sync {
    /// What the server would do.
    fn decide(&self, request: &Request<'_>, trace: &mut Trace) -> Decision;
    /// Prefixes at whose edges a verdict may change.
    fn prefixes(&self) -> Vec<IpNet>;
    /// The effective table, in the order of the text.
    fn entries(&self) -> Vec<Entry>;
    /// Addresses the server is told to listen on; none where it listens on others too, that are not named one by one.
    fn listens(&self) -> Vec<IpAddr>;
    /// Names that are treated in a way of their own: zones, in lower-case wire form.
    fn names(&self) -> Vec<Vec<u8>>;
    /// Those names are zones that may be transferred, updated and notified.
    fn names_are_zones(&self) -> bool;
    /// Names of keys that may sign requests, in wire form.
    fn keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    /// What the reader of a verdict should know, one sentence each.
    fn notes(&self) -> Vec<String>;
    /// The line that admits a prefix, as it would be written.
    fn admitting(&self, prefix: IpNet, spot: Spot) -> String;
    /// Other places where a source could be admitted when the decision's own does not help: the lists that choose a
    /// view.
    fn other_spots(&self) -> Vec<Spot>;
}

/// How a file is named on the command line: `[DIALECT[-VERSION]:]FILE[@ADDR[,ADDR]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclArgument {
    /// The dialect's name, when given.
    pub dialect: Option<&'static str>,
    /// The server's version, when given.
    pub version: Option<(u32, u32)>,
    /// The file.
    pub path: PathBuf,
    /// The server's addresses.
    pub servers: Vec<IpAddr>,
}

impl AclArgument {
    /// Reads an argument.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut argument = Self { dialect: None, version: None, path: PathBuf::new(), servers: Vec::new() };
        let mut rest = text;
        if let Some((word, file)) = text.split_once(':') {
            let (name, version) = word.split_once('-').map_or((word, None), |(name, version)| (name, Some(version)));
            if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.name == name) {
                argument.dialect = Some(dialect.name);
                argument.version = version.map(parse_version).transpose()?;
                rest = file;
            } else if !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && !Path::new(text).exists()
            {
                let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
                return Err(format!("\"{}\" is no dialect; one of {}", escape_text(word), known.join(", ")));
            }
        }
        if let Some((file, addresses)) = rest.rsplit_once('@') {
            let parsed: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
            match parsed {
                Ok(servers) => {
                    argument.servers = servers;
                    rest = file;
                }
                Err(_) if Path::new(rest).exists() => {}
                Err(_) => return Err("after @ come the server's addresses, joined by commas".to_owned()),
            }
        }
        if rest.is_empty() {
            return Err("the file is missing".to_owned());
        }
        argument.path = PathBuf::from(rest);
        Ok(argument)
    }
}

/// `9.18` or `1.17.1`.
fn parse_version(text: &str) -> Result<(u32, u32), String> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("\"{}\" is no version such as 9.18", escape_text(text))),
    }
}

/// A server's configuration, ready to decide.
#[derive(Debug)]
pub struct Acl {
    /// Its dialect's name.
    pub dialect: &'static str,
    /// The main file's name.
    pub name: String,
    argument: AclArgument,
    root: Option<PathBuf>,
    servers: Vec<OwnServer>,
    files: Files,
    rules: Rules,
    policy: Box<dyn Policy>,
    /// Another file was given too, so that a file without addresses does not speak for every server.
    among_others: bool,
}

impl Acl {
    /// Reads a configuration; what is wrong with it is an error with its place, and nothing is evaluated.
    pub fn load(argument: &AclArgument, root: Option<&Path>, servers: &[OwnServer]) -> Result<Acl, Error> {
        Self::load_with(argument, root, servers, BTreeMap::new())
    }

    /// Reads every configuration given.
    pub fn load_all(arguments: &[AclArgument], root: Option<&Path>, servers: &[OwnServer]) -> Result<Vec<Acl>, Error> {
        let mut acls = Vec::new();
        for argument in arguments {
            acls.push(Self::load(argument, root, servers)?);
        }
        let several = acls.len() > 1;
        for acl in &mut acls {
            acl.among_others = several;
        }
        Ok(acls)
    }

    fn load_with(
        argument: &AclArgument,
        root: Option<&Path>,
        servers: &[OwnServer],
        instead: BTreeMap<PathBuf, String>,
    ) -> Result<Acl, Error> {
        let mut files = Files::new(root).with_texts(instead);
        let first = files.open(&argument.path)?;
        Self::build(argument, root, servers, files, first)
    }

    /// Reads a configuration from text, for tests and trials.
    pub fn from_text(argument: &str, text: &str, servers: &[OwnServer]) -> Result<Acl, Error> {
        let argument = AclArgument::parse(argument).map_err(|what| Error::usage("--acl", what))?;
        let mut files = Files::new(None);
        let first = files.open_text(&argument.path.to_string_lossy(), text)?;
        Self::build(&argument, None, servers, files, first)
    }

    fn build(
        argument: &AclArgument,
        root: Option<&Path>,
        servers: &[OwnServer],
        mut files: Files,
        first: u32,
    ) -> Result<Acl, Error> {
        let name = argument.path.to_string_lossy().into_owned();
        let text = &files.list()[first as usize].text;
        let dialect = match argument.dialect {
            Some(name) => DIALECTS.iter().find(|dialect| dialect.name == name),
            None => DIALECTS
                .iter()
                .map(|dialect| ((dialect.looks_like)(text), dialect))
                .filter(|(score, _)| *score > 0)
                .max_by_key(|(score, _)| *score)
                .map(|(_, dialect)| dialect),
        };
        let Some(dialect) = dialect else {
            let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            let detail = format!("looks like no dialect that is known; say which: --acl {}:FILE", known.join("|"));
            return Err(Error::usage(name, detail));
        };
        // Addresses behind @ are the server's own as much as declared ones.
        let mut own: Vec<OwnServer> = servers.to_vec();
        for address in &argument.servers {
            if !own.iter().any(|server| server.address == *address) {
                own.push(OwnServer { address: *address, length: None });
            }
        }
        let mut rules = Rules::default();
        let surroundings = Surroundings { servers: &own, version: argument.version };
        let policy = (dialect.read)(&mut files, first, &surroundings, &mut rules)?;
        Ok(Acl {
            dialect: dialect.name,
            name,
            argument: argument.clone(),
            root: root.map(Path::to_path_buf),
            servers: servers.to_vec(),
            files,
            rules,
            policy,
            among_others: false,
        })
    }

    /// The same configuration with some of its files changed.
    pub fn changed(&self, instead: BTreeMap<PathBuf, String>) -> Result<Acl, Error> {
        let mut texts: BTreeMap<PathBuf, String> =
            self.files.list().iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        texts.extend(instead);
        let mut acl = Self::load_with(&self.argument, self.root.as_deref(), &self.servers, texts)?;
        acl.among_others = self.among_others;
        Ok(acl)
    }

    /// The addresses this file speaks for: those named with it, else declared servers, else those it listens on.
    pub fn bound(&self) -> Vec<IpAddr> {
        if !self.argument.servers.is_empty() {
            return self.argument.servers.clone();
        }
        if !self.servers.is_empty() && !self.among_others {
            return self.servers.iter().map(|server| server.address).collect();
        }
        let listens = self.policy.listens();
        // A file that only names loopback says nothing of the address that others ask.
        if listens.iter().all(IpAddr::is_loopback) { Vec::new() } else { listens }
    }

    /// Says which files speak for a server that an earlier one speaks for already: they are not asked about it.
    pub fn not_asked(acls: &[Acl]) -> Vec<String> {
        let mut said = Vec::new();
        for (number, acl) in acls.iter().enumerate() {
            let earlier = |server: &IpAddr| acls[..number].iter().find(|other| other.speaks_for(*server));
            let bound = acl.bound();
            if let Some((server, other)) = bound.iter().find_map(|server| Some((server, earlier(server)?))) {
                said.push(format!(
                    "{} and {} both speak for {server}: only the first is compared with the wire; read one of them at a time, or say \
                     whose each is (FILE@ADDR)",
                    escape_text(&other.name),
                    escape_text(&acl.name)
                ));
            }
        }
        said
    }

    /// True when it speaks for the server at `address`. One file alone that tells no address speaks for every server.
    pub fn speaks_for(&self, address: IpAddr) -> bool {
        let bound = self.bound();
        if bound.is_empty() { !self.among_others } else { bound.contains(&address) }
    }

    /// What the server would do; nothing is said about servers the file does not speak for.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.policy.decide(request, &mut Trace::off())
    }

    /// The same, and how the request is served.
    pub fn treat(&self, request: &Request<'_>) -> Treatment {
        let mut trace = Trace::of_serving();
        let decision = self.policy.decide(request, &mut trace);
        Treatment { decision, serving: trace.serving.filter(|_| decision.word == Word::Allow) }
    }

    /// The same with the steps that led to it.
    pub fn explain(&self, request: &Request<'_>) -> (Decision, Vec<Step>) {
        let mut trace = Trace::on();
        let decision = self.policy.decide(request, &mut trace);
        (decision, trace.into_steps())
    }

    /// Recursion for the source of a request; none when it is turned away before that is looked at.
    pub fn recursion(&self, request: &Request<'_>) -> Option<Recursion> {
        let mut trace = Trace { asks_recursion: true, ..Trace::off() };
        self.policy.decide(request, &mut trace);
        trace.recursion
    }

    /// What the dialect made of the text.
    pub fn policy(&self) -> &dyn Policy {
        self.policy.as_ref()
    }

    /// The files that were read.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Where a rule stands.
    pub fn place(&self, rule: RuleId) -> Place {
        self.rules.place(rule)
    }

    /// A rule as people read it.
    pub fn rule(&self, rule: RuleId) -> Rule {
        match self.rules.place(rule) {
            Place::Text(span) => Rule {
                file: escape_text(self.files.name(span)),
                line: self.files.line(span),
                text: self.files.show_line(span),
            },
            Place::BuiltIn(says) => Rule { file: "built-in".to_owned(), line: 0, text: says.to_owned() },
        }
    }
}
