//! Evaluates a server's own configuration: [`Acl`] reads it in one of [`DIALECTS`] and decides what the server would do
//! with a request.
//!
//! A dialect turns text into a [`Policy`], which answers a [`Request`] with a [`Decision`]. What all dialects share is
//! here: the files, the rules with their places, and the servers that a configuration speaks for.

pub mod advice;
mod argument;
#[cfg(test)]
mod asked;
pub mod bind;
pub mod code;
pub mod compare;
pub mod cover;
pub mod judge;
mod locally_served;
pub mod name;
pub mod network;
pub mod pattern;
mod places;
mod policy;
mod request;
mod rules;
mod spelling;
pub mod text;
mod trace;
pub mod unbound;
mod verdict;

use crate::config::{self, OwnServer};
use crate::error::{Error, escape_text};
pub use argument::AclArgument;
pub use policy::{Entry, Policy, Table};
pub use request::{Cookie, Request};
pub use rules::{Place, Rule, RuleId, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use text::Files;
pub use trace::{Recursion, Spot, Step, Trace};
pub use verdict::{Decision, Serving, Treatment, Word};

/// Makes a policy from files of which the first is already open.
type Read = fn(&mut Files, u32, &Surroundings<'_>, &mut Rules) -> Result<Box<dyn Policy>, Error>;

/// A dialect of configuration files.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The name on the command line.
    pub name: &'static str,
    /// How likely a text is in this dialect; the highest score wins, 0 is impossible.
    looks_like: fn(&str) -> usize,
    /// Reads a configuration whose first file is already open.
    read: Read,
}

/// Every dialect.
pub const DIALECTS: &[Dialect] = &[
    Dialect { name: "bind", looks_like: bind::looks_like, read: bind::read },
    Dialect { name: "unbound", looks_like: unbound::looks_like, read: unbound::read },
];

/// What is known about the server's host.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Addresses of the server, with the networks they are connected to.
    pub servers: &'a [OwnServer],
    /// The server's version, such as `(9, 18)`.
    pub version: Option<(u32, u32)>,
    /// Most elements of its lists together.
    pub most_elements: u32,
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
    /// Another file was given as well, so a file without addresses does not speak for every server.
    among_others: bool,
}

impl Acl {
    /// Reads a configuration. A mistake in it is an error with its place, and nothing is evaluated.
    pub fn load(argument: &AclArgument, root: Option<&Path>, servers: &[OwnServer]) -> Result<Acl, Error> {
        Self::load_with(argument, root, servers, BTreeMap::new(), None)
    }

    /// Reads all configurations given.
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
        interrupted: Option<Arc<AtomicBool>>,
    ) -> Result<Acl, Error> {
        let mut files = Files::new(root).with_texts(instead).until(interrupted);
        let first = files.open(&argument.path)?;
        Self::build(argument, root, servers, files, first)
    }

    /// Reads a configuration from text, for tests and trials of a change.
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
        // Addresses after @ are the server's own, like declared ones.
        let mut own: Vec<OwnServer> = servers.to_vec();
        for address in &argument.servers {
            if !own.iter().any(|server| server.address == *address) {
                own.push(OwnServer { address: *address, length: None });
            }
        }
        let mut rules = Rules::default();
        let surroundings =
            Surroundings { servers: &own, version: argument.version, most_elements: config::ACL_ELEMENTS };
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

    /// The same configuration with the text of some files changed; an error when a signal ends that.
    pub fn changed(
        &self,
        instead: BTreeMap<PathBuf, String>,
        interrupted: Option<Arc<AtomicBool>>,
    ) -> Result<Acl, Error> {
        let mut texts: BTreeMap<PathBuf, String> =
            self.files.list().iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        texts.extend(instead);
        let mut acl = Self::load_with(&self.argument, self.root.as_deref(), &self.servers, texts, interrupted)?;
        acl.among_others = self.among_others;
        Ok(acl)
    }

    /// Cost of reading it again, in compiled list elements.
    pub fn elements(&self) -> u64 {
        /// Typical bytes of an element and its separators.
        const BYTES: u64 = 8;
        let bytes: u64 = self.files.list().iter().map(|file| file.text.len() as u64).sum();
        bytes / BYTES + self.policy.elements()
    }

    /// The addresses for which this file speaks: those named with it, else declared servers, else those it listens on.
    pub fn bound(&self) -> Vec<IpAddr> {
        if !self.argument.servers.is_empty() {
            return self.argument.servers.clone();
        }
        if !self.servers.is_empty() && !self.among_others {
            return self.servers.iter().map(|server| server.address).collect();
        }
        let listens = self.policy.listens();
        // A file that names only loopback says nothing about the address that others ask.
        if listens.iter().all(IpAddr::is_loopback) { Vec::new() } else { listens }
    }

    /// Warnings about files that speak for a server for which an earlier file speaks already: they are not asked about
    /// it.
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

    /// True when it speaks for the server at `address`. A single file without addresses speaks for every server.
    pub fn speaks_for(&self, address: IpAddr) -> bool {
        let bound = self.bound();
        if bound.is_empty() { !self.among_others } else { bound.contains(&address) }
    }

    /// True when it speaks for requests to a port of its server. Others that share its address, such as a load balancer
    /// in front of it, have ports of their own. Whoever says which server a file belongs to knows about translated
    /// ports.
    pub fn speaks_for_port(&self, server: IpAddr, port: u16) -> bool {
        let endpoints = self.policy.endpoints();
        // Where the file does not name the address, as in a container, the same ports apply; those of IPv4 where it has
        // some. Ports that it has over IPv6, perhaps by default, say nothing about what is in front of it.
        let nearness = |at: &SocketAddr| {
            let family = at.is_ipv4() == server.is_ipv4();
            (at.ip() == server || (family && at.ip().is_unspecified()), family)
        };
        let nearest = endpoints.iter().map(nearness).max();
        let speaks = |at: &SocketAddr| at.port() == port && Some(nearness(at)) == nearest;
        !self.argument.servers.is_empty() || endpoints.iter().any(speaks)
    }

    /// Warnings about files that listen on none of the ports looked at, for all addresses or those of one family:
    /// traffic there is not compared with them.
    pub fn unheard(acls: &[Acl], looked_at: &[u16]) -> Vec<String> {
        let list = |ports: &BTreeSet<u16>| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut said = Vec::new();
        for acl in acls.iter().filter(|acl| acl.argument.servers.is_empty()) {
            let ports = |ipv6: bool| -> BTreeSet<u16> {
                let endpoints = acl.policy.endpoints().iter();
                endpoints.filter(|at| at.is_ipv6() == ipv6).map(SocketAddr::port).collect()
            };
            let families = [("IPv4", ports(false)), ("IPv6", ports(true))];
            let (heard, unheard): (Vec<_>, Vec<_>) = families
                .into_iter()
                .filter(|(_, ports)| !ports.is_empty())
                .partition(|(_, ports)| looked_at.iter().any(|port| ports.contains(port)));
            let Some((family, _)) = unheard.first() else { continue };
            let over = if heard.is_empty() { String::new() } else { format!(" over {family}") };
            said.push(format!(
                "{} listens on port {}{over}, not on {}, which is looked at: what comes there is not compared with it; say whose it \
                 is (FILE@ADDR) where that is translated to its port, or look at its port (--port)",
                escape_text(&acl.name),
                list(&unheard.iter().flat_map(|(_, ports)| ports.iter().copied()).collect()),
                list(&looked_at.iter().copied().collect())
            ));
        }
        said
    }

    /// What the server would do; `unknown` for servers for which the file does not speak.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.policy.decide(request, &mut Trace::off())
    }

    /// The same, and how the request is served.
    pub fn treat(&self, request: &Request<'_>) -> Treatment {
        let mut trace = Trace::of_serving();
        let decision = self.policy.decide(request, &mut trace);
        Treatment { decision, serving: trace.into_serving().filter(|_| decision.word == Word::Allow) }
    }

    /// The same with the steps that led to it.
    pub fn explain(&self, request: &Request<'_>) -> (Decision, Vec<Step>) {
        let mut trace = Trace::on();
        let decision = self.policy.decide(request, &mut trace);
        (decision, trace.into_steps())
    }

    /// The view to which a request comes, whatever happens to it there.
    pub fn view(&self, request: &Request<'_>) -> Option<Arc<str>> {
        let mut trace = Trace::of_serving();
        self.policy.decide(request, &mut trace);
        trace.into_serving()?.view
    }

    /// Recursion for the source of a request; `None` when it is turned away before that is determined.
    pub fn recursion(&self, request: &Request<'_>) -> Option<Recursion> {
        let mut trace = Trace::of_recursion();
        self.policy.decide(request, &mut trace);
        trace.into_recursion()
    }

    /// The dialect's policy.
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
