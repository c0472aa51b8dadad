//! Turns the arguments of `acl` ([`AclCommand`]) into an [`AclConfig`].

use super::processors;
use super::values::{WireText, parse_opcode, parse_record_type, parse_server, parse_source, parse_wire_name};
use crate::config::{AclAction, AclConfig, Config, OwnServer};
use crate::expect::acl::compare::{Question, UNHOSTED};
use crate::expect::acl::{AclArgument, code, name};
use crate::transact::in_flight::Transport;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum AclCommand {
    /// The verdict for a source, with the rule that decides and the steps to it
    Explain(Box<Explain>),
    /// The effective table of access rules
    List(Box<List>),
    /// Compare with an inventory; exit code 10 if a prefix, or a part of one, differs
    Check(Box<Check>),
    /// Every range of sources whose verdict changes between two versions, and edits without effect
    Diff(Box<Diff>),
}

#[derive(Debug, Args)]
pub(super) struct Loaded {
    /// A server's configuration, repeatable. The dialect (bind, unbound) may carry the server's version, as in
    /// bind-9.18; ADDR is the server's address
    #[arg(long, value_name = "[DIALECT:]FILE[@ADDR,..]", required = true, value_parser = AclArgument::parse)]
    acl: Vec<AclArgument>,
    #[command(flatten)]
    around: Around,
}

#[derive(Debug, Args)]
pub(super) struct Around {
    /// Where absolute file names inside the configuration are looked up
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The server's address, repeatable; with a length also its connected network (for localhost and localnets)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = parse_server)]
    server: Vec<OwnServer>,
    /// Format of the output
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// The name in the question
    #[arg(long, value_name = "NAME", default_value = UNHOSTED, value_parser = parse_wire_name)]
    name: WireText,
    /// The type in the question
    #[arg(long = "type", value_name = "TYPE", default_value = "A", value_parser = parse_record_type)]
    record_type: u16,
    /// The opcode
    #[arg(long, value_name = "OPCODE", default_value = "QUERY", value_parser = parse_opcode)]
    opcode: u8,
    /// Ask without the RD bit (recursion desired)
    #[arg(long)]
    no_rd: bool,
    /// The transport [default: udp; tcp for AXFR]
    #[arg(long, value_parser = ["udp", "tcp"])]
    transport: Option<String>,
    /// The TSIG key that signs the request
    #[arg(long, value_name = "NAME", value_parser = parse_wire_name)]
    key: Option<WireText>,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    loaded: Loaded,
    #[command(flatten)]
    asked: Asked,
    /// Sources as the server sees them
    #[arg(required = true, value_name = "SOURCE", value_parser = parse_source)]
    sources: Vec<IpAddr>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    loaded: Loaded,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    loaded: Loaded,
    #[command(flatten)]
    asked: Asked,
    /// Inventory of expected prefixes, repeatable
    #[arg(long, value_name = "FILE", required = true)]
    expect: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The configuration as it was: [DIALECT:]FILE
    #[arg(value_name = "OLD", value_parser = AclArgument::parse)]
    old: AclArgument,
    /// The configuration as it is to be
    #[arg(value_name = "NEW", value_parser = AclArgument::parse)]
    new: AclArgument,
    #[command(flatten)]
    around: Around,
    /// Inventory of what the change is meant to do, repeatable
    #[arg(long, value_name = "FILE")]
    intended: Vec<PathBuf>,
    /// Judge every transaction of this capture under both versions, too; repeatable
    #[arg(long, value_name = "CAPTURE")]
    traffic: Vec<PathBuf>,
    /// Port that carries DNS in those captures, repeatable [default: 53]
    #[arg(long, value_name = "N", requires = "traffic", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// End with exit code 10 on a change that is not intended, an intended one that is not done, or a question not
    /// asked
    #[arg(long)]
    check: bool,
}

impl AclCommand {
    pub(super) fn into_config(self) -> AclConfig {
        let mut config = AclConfig {
            action: AclAction::List,
            acls: Vec::new(),
            root: None,
            servers: Vec::new(),
            sources: Vec::new(),
            question: Question::default(),
            expect: Vec::new(),
            intended: Vec::new(),
            traffic: None,
            check: false,
            json: false,
        };
        let around = match self {
            AclCommand::Explain(explain) => {
                config.action = AclAction::Explain;
                config.sources = explain.sources;
                config.question = explain.asked.into_question();
                config.acls = explain.loaded.acl;
                explain.loaded.around
            }
            AclCommand::List(list) => {
                config.acls = list.loaded.acl;
                list.loaded.around
            }
            AclCommand::Check(check) => {
                config.action = AclAction::Check;
                config.expect = check.expect;
                config.question = check.asked.into_question();
                config.acls = check.loaded.acl;
                check.loaded.around
            }
            AclCommand::Diff(diff) => {
                config.action = AclAction::Diff;
                config.acls = vec![diff.old, diff.new];
                config.intended = diff.intended;
                if !diff.traffic.is_empty() {
                    let default = Config::default();
                    config.traffic = Some(Box::new(Config {
                        inputs: diff.traffic,
                        servers: diff.around.server.clone(),
                        ports: if diff.port.is_empty() { default.ports.clone() } else { diff.port },
                        threads: processors(),
                        ..default
                    }));
                }
                config.check = diff.check;
                diff.around
            }
        };
        config.root = around.root;
        config.servers = around.server;
        config.json = around.format == "json";
        config
    }
}

impl Asked {
    fn into_question(self) -> Question {
        let tcp = self.transport.map_or(self.record_type == 252, |transport| transport == "tcp");
        Question {
            label: name::show_name(&self.name.0),
            qname: self.name.0,
            qtype: self.record_type,
            opcode: self.opcode,
            rd: !self.no_rd,
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            key: self.key.map(|key| key.0),
            // A request for an incremental transfer carries the SOA record of the client's version (RFC 1995).
            sections: [0, u16::from(self.record_type == code::IXFR), 0],
            ..Question::default()
        }
    }
}
