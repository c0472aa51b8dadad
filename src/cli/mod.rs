//! Turns arguments as typed into a [`Config`]; clap lives only here.

// The documentation of fields is the help text, where brackets mean what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

mod acl;
mod values;

use crate::capture::live::ANY;
use crate::capture::{Timestamp, kernel_filter};
use crate::config::{
    AclConfig, Color, Config, DNS_PORT, LiveConfig, Outcome, Outcomes, OwnServer, Sandbox, Severity, Vantage,
};
use crate::error::Error;
use crate::expect::acl::AclArgument;
use crate::report::FORMATS;
use acl::AclCommand;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use ipnet::IpNet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::{parse_duration, parse_long_duration, parse_prefix, parse_server, parse_size, parse_time};

/// Says who a DNS server turned away, from which address the server really saw, and whether that was expected.
#[derive(Debug, Parser)]
#[command(name = "dnsrefused", version, about, max_term_width = 100, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read capture files: pcap and pcapng, also compressed with gzip, zstd or lz4; - is standard input
    Read(Box<Read>),
    /// Capture on this host: who is turned away right now
    Live(Box<Live>),
    /// Print a packet filter (pcap-filter(7)) that really catches DNS: fragments, VLAN tags, plain tunnels
    Filter(FilterArguments),
    /// Evaluate a server's own configuration; no capture is needed
    #[command(subcommand)]
    Acl(AclCommand),
}

#[derive(Debug, Args)]
struct Read {
    /// Capture files, in any order; together they are one time line
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Only frames from this time on: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only frames up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    /// Threads that decode [default: one per processor, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Do not treat a file that ends inside a record as damaged (it is still being written)
    #[arg(long)]
    allow_cut_tail: bool,
}

#[derive(Debug, Args)]
struct Common {
    /// Inventory of expected prefixes, repeatable: CSV with a header (prefix,name,kind,expect,outside) or one prefix
    /// per line
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,
    /// A server's own configuration, repeatable. The dialect (bind, unbound) may carry the server's version, as in
    /// bind-9.18; ADDR is the server's address
    #[arg(long, value_name = "[DIALECT:]FILE[@ADDR,..]", value_parser = AclArgument::parse)]
    acl: Vec<AclArgument>,
    /// Where absolute file names inside a server's configuration are looked up
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Let advice admit addresses of the public internet
    #[arg(long)]
    advise_public: bool,
    /// A server of yours, repeatable; with a length also its connected network. Without this option every address that
    /// answers is one; in live this host's own addresses are, if it answers others
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = parse_server)]
    server: Vec<OwnServer>,
    /// Where the capture was taken
    #[arg(long, value_parser = ["server", "path", "client"])]
    vantage: Option<String>,
    /// Say more about these sources, repeatable; filters nothing out
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    client: Vec<IpNet>,
    /// Port that carries DNS, repeatable [default: 53]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Only frames that pass this BPF expression (pcap-filter(7))
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,
    /// A query without a response for this long is unanswered
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// Bytes of one block of input; changes speed, never results
    #[arg(long, value_name = "BYTES", hide = true, value_parser = clap::value_parser!(u32).range(4096..=16_777_216))]
    block_size: Option<u32>,
    /// Format of the output [default: text; live without a terminal: jsonl]
    #[arg(long, value_parser = PossibleValuesParser::new(FORMATS.iter().map(|format| format.name)))]
    format: Option<String>,
    /// Write the report to this new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    force: bool,
    /// Outcomes that get a row in csv and jsonl [default: refused,denied,silent,tcp-rejected]
    #[arg(long, value_name = "OUTCOME,..", value_delimiter = ',', conflicts_with = "all",
        value_parser = PossibleValuesParser::new(Outcome::ALL.iter().map(|(name, _)| *name)))]
    rows: Vec<String>,
    /// Write rows of every outcome on every leg
    #[arg(long)]
    all: bool,
    /// Also write rows of your servers' own upstream queries
    #[arg(long)]
    upstream: bool,
    /// Sources listed in a text report
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// End with exit code 10 when a finding is at least this severe (alone: warning)
    #[arg(long, value_name = "SEVERITY", num_args = 0..=1, require_equals = true, default_missing_value = "warning",
        value_parser = PossibleValuesParser::new(Severity::ALL.iter().map(|(name, _)| *name)))]
    check: Option<String>,
    /// Packets and table entries that may be lost before the exit code is 4
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_loss: u64,
    /// When to colour text
    #[arg(long, value_parser = ["auto", "always", "never"], default_value = "auto")]
    color: String,
    /// Name of the node the capture was taken on, for the report
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Show no progress bar and no warnings; in live no lines about events, and no report beside rows
    #[arg(short, long)]
    quiet: bool,
    /// List every source and finding in a text report, whatever --top says
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct Live {
    /// Interface to capture on, repeatable: several are merged by time [default: any, every interface]
    #[arg(short, long, value_name = "IF")]
    interface: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// End after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_long_duration)]
    duration: Option<Duration>,
    /// End when at least this many packets were read
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Write a report for each interval of this length, not only at the end; with -o each into its own file
    #[arg(long, value_name = "DURATION", value_parser = parse_long_duration)]
    every: Option<Duration>,
    /// Let the kernel pass only REFUSED responses: next to no cost where they are few, but no queries are seen
    #[arg(long, conflicts_with = "filter")]
    refused_only: bool,
    /// Memory for packets that wait to be read, per handle [default: 64M; with --refused-only 16M]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    ring: Option<u64>,
    /// Show a screen: refused per second, who is turned away right now, findings, loss
    #[arg(long, conflicts_with = "format")]
    screen: bool,
    /// Serve metrics as text for Prometheus at this address, such as 127.0.0.1:9353
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<std::net::SocketAddr>,
    /// Whether to give up user, capabilities, files and system calls once the capture is open
    #[arg(long, value_parser = PossibleValuesParser::new(Sandbox::ALL.iter().map(|(name, _)| *name)), default_value = "best-effort")]
    sandbox: String,
    /// Put the interface into promiscuous mode, for a mirror port; needs -i
    #[arg(long)]
    promisc: bool,
    /// Handles among which the flows of one interface are spread, for links that one processor cannot carry
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    fanout: u16,
    /// Write the packets to this new file (pcapng)
    #[arg(long, value_name = "FILE", conflicts_with = "fanout")]
    write: Option<PathBuf>,
    /// Begin a new file when the current one has this many bytes
    #[arg(long, value_name = "BYTES", requires = "write", value_parser = parse_size)]
    rotate_size: Option<u64>,
    /// Begin a new file when the packets of the current one span this long
    #[arg(long, value_name = "DURATION", requires = "write", value_parser = parse_long_duration)]
    rotate_after: Option<Duration>,
}

#[derive(Debug, Args)]
struct FilterArguments {
    /// Port that carries DNS, repeatable [default: 53]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Only responses that say REFUSED
    #[arg(long)]
    refused_only: bool,
    /// Link type the filter is for; that of the interface any is a cooked one
    #[arg(long, value_name = "NAME", value_parser = ["ETHERNET", "EN10MB", "LINUX_SLL", "LINUX_SLL2", "RAW"], default_value = "ETHERNET",
        ignore_case = true)]
    link_type: String,
}

/// What the arguments asked for.
#[derive(Debug)]
pub enum Parsed {
    /// Read files with this configuration.
    Run(Box<Config>),
    /// Capture with this configuration.
    Live(Box<Config>),
    /// Evaluate configurations.
    Acl(Box<AclConfig>),
    /// Print this (help, version) and end well.
    Print(String),
}

/// Parses arguments.
///
/// # Errors
/// A usage error with clap's explanation on one line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(Cli { command: Command::Read(read) }) => read.into_config().map(|config| Parsed::Run(Box::new(config))),
        Ok(Cli { command: Command::Live(live) }) => live.into_config().map(|config| Parsed::Live(Box::new(config))),
        Ok(Cli { command: Command::Filter(filter) }) => Ok(Parsed::Print(filter.text())),
        Ok(Cli { command: Command::Acl(command) }) => Ok(Parsed::Acl(Box::new(command.into_config()))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Print(error.render().to_string())),
        Err(error) => {
            let what = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                format!("a command is needed: {}", commands(&arguments).join(", "))
            } else {
                explained(&error.render().to_string())
            };
            Err(Error::usage("arguments", format!("{what}; nothing was opened; see --help")))
        }
    }
}

/// Clap's explanation of an error on one line, with its tips.
fn explained(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let joined = |part: &str| part.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut parts = text.split("\n\n");
    let first = joined(parts.next().unwrap_or(text));
    let tips = parts.filter_map(|part| part.trim().strip_prefix("tip: ")).map(|tip| format!("; {}", joined(tip)));
    first + &tips.collect::<String>()
}

/// The commands to choose from where the arguments lack one.
fn commands(arguments: &[OsString]) -> Vec<String> {
    let all = Cli::command();
    let named = arguments.get(1).and_then(|name| all.find_subcommand(name));
    let command = named.unwrap_or(&all);
    command.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

impl Read {
    fn into_config(self) -> Result<Config, Error> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Error::usage("--from", "it is later than --to; nothing was opened"));
        }
        Ok(Config {
            inputs: self.files,
            from: self.from,
            to: self.to,
            threads: self.threads.map_or_else(processors, usize::from),
            allow_cut_tail: self.allow_cut_tail,
            ..self.common.into_config()
        })
    }
}

impl Live {
    fn into_config(self) -> Result<Config, Error> {
        let default = LiveConfig::default();
        let interfaces = if self.interface.is_empty() { default.interfaces.clone() } else { self.interface };
        if let Some(twice) = interfaces.iter().enumerate().find(|(at, name)| interfaces[..*at].contains(name)) {
            return Err(Error::usage("-i", format!("{} is given twice; nothing was opened", twice.1)));
        }
        if self.promisc && interfaces.iter().any(|name| name == ANY) {
            let detail = "needs -i IF: all interfaces together cannot be promiscuous; nothing was opened";
            return Err(Error::usage("--promisc", detail));
        }
        if interfaces.len() > 1 && self.fanout > 1 {
            return Err(Error::usage("--fanout", "shares one interface; give one -i; nothing was opened"));
        }
        if self.rotate_size.is_some_and(|bytes| bytes < 1 << 20) {
            return Err(Error::usage("--rotate-size", "at least 1M; nothing was opened"));
        }
        let format_given = self.common.format.is_some();
        let mut config = self.common.into_config();
        if self.refused_only && !config.rows_given {
            config.rows = Outcomes::of_refusals();
        }
        Ok(Config {
            live: LiveConfig {
                format_given,
                interfaces,
                ring: match self.ring {
                    Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
                    None if self.refused_only => LiveConfig::REFUSED_RING,
                    None => LiveConfig::RING,
                },
                promiscuous: self.promisc,
                fanout: usize::from(self.fanout),
                refused_only: self.refused_only,
                duration: self.duration,
                count: self.count,
                every: self.every,
                write: self.write,
                rotate_bytes: self.rotate_size,
                rotate_after: self.rotate_after,
                screen: self.screen,
                metrics: self.metrics,
                sandbox: Sandbox::ALL
                    .iter()
                    .find(|(name, _)| *name == self.sandbox)
                    .map_or(default.sandbox, |(_, sandbox)| *sandbox),
            },
            ..config
        })
    }
}

impl FilterArguments {
    /// The expression, on one line.
    fn text(self) -> String {
        let ports = if self.port.is_empty() { vec![DNS_PORT] } else { self.port };
        let link_type = match self.link_type.to_ascii_uppercase().as_str() {
            "LINUX_SLL" => kernel_filter::LINUX_SLL,
            "LINUX_SLL2" => kernel_filter::LINUX_SLL2,
            "RAW" => kernel_filter::RAW,
            _ => kernel_filter::ETHERNET,
        };
        let expression = if self.refused_only {
            kernel_filter::refused(&ports, link_type)
        } else {
            kernel_filter::dns(&ports, link_type)
        };
        expression + "\n"
    }
}

impl Common {
    fn into_config(self) -> Config {
        let default = Config::default();
        let named = |name: &String| Outcome::ALL.iter().find(|(known, _)| known == name).map(|(_, outcome)| *outcome);
        let rows_given = self.all || !self.rows.is_empty();
        let rows = match (self.all, self.rows.is_empty()) {
            (true, _) => Outcomes::ALL,
            (false, true) => Outcomes::default(),
            (false, false) => Outcomes::of(&self.rows.iter().filter_map(named).collect::<Vec<_>>()),
        };
        let mut limits = default.limits.clone();
        limits.block_bytes = self.block_size.map_or(limits.block_bytes, |bytes| bytes as usize);
        Config {
            rows_given,
            expect: self.expect,
            acls: self.acl,
            root: self.root,
            advise_public: self.advise_public,
            servers: self.server,
            vantage: self.vantage.as_deref().map(|name| match name {
                "server" => Vantage::Server,
                "client" => Vantage::Client,
                _ => Vantage::Path,
            }),
            clients: self.client,
            ports: if self.port.is_empty() { default.ports.clone() } else { self.port },
            filter: self.filter,
            timeout: self.timeout,
            format: FORMATS
                .iter()
                .map(|format| format.name)
                .find(|name| Some(*name) == self.format.as_deref())
                .unwrap_or(default.format),
            output: self.output.filter(|path| path.as_os_str() != "-"),
            force: self.force,
            rows,
            upstream: self.upstream,
            every_leg: self.all,
            top: if self.verbose { usize::MAX } else { self.top },
            check: self
                .check
                .and_then(|name| Severity::ALL.iter().find(|(known, _)| *known == name).map(|(_, severity)| *severity)),
            max_loss: self.max_loss,
            color: match self.color.as_str() {
                "always" => Color::Always,
                "never" => Color::Never,
                _ => Color::Auto,
            },
            quiet: self.quiet,
            node: self.node.filter(|node| !node.is_empty()),
            limits,
            ..default
        }
    }
}

/// Number of decoding threads by default: one per processor, at most 8.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn config(arguments: &[&str]) -> Result<Config, Error> {
        let arguments = ["dnsrefused", "read", "a.pcap"].iter().chain(arguments).map(OsString::from);
        match parse(arguments)? {
            Parsed::Run(config) => Ok(*config),
            Parsed::Acl(_) | Parsed::Live(_) => panic!("another command"),
            Parsed::Print(text) => panic!("printed {text}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = config(&[]).unwrap();
        assert_eq!((config.ports, config.timeout, config.format), (vec![53], Duration::from_secs(5), "text"));
        assert_eq!((config.rows, config.check, config.max_loss), (Outcomes::default(), None, 0));
    }

    #[test]
    fn values_are_read() {
        let config = config(&[
            "--server",
            "10.20.30.40/24",
            "--client",
            "10.21.5.18",
            "--port",
            "5353",
            "--timeout",
            "500ms",
            "--check",
            "--rows",
            "refused,silent",
            "--from",
            "2025-12-31T09:04:10Z",
        ])
        .unwrap();
        assert_eq!(config.servers[0].length, Some(24));
        assert_eq!(config.clients[0].to_string(), "10.21.5.18/32");
        assert_eq!((config.ports, config.timeout), (vec![5353], Duration::from_millis(500)));
        assert_eq!(config.check, Some(Severity::Warning));
        assert!(config.rows.has(Outcome::Silent) && !config.rows.has(Outcome::Denied));
        assert_eq!(config.from, Timestamp::parse("1767171850"));
    }

    #[test]
    fn the_ring_is_smaller_where_little_comes() {
        let ring = |arguments: &[&str]| match parse(["dnsrefused", "live"].iter().chain(arguments).map(OsString::from))
        {
            Ok(Parsed::Live(config)) => config.live.ring,
            _ => panic!("{arguments:?}"),
        };
        assert_eq!((ring(&[]), ring(&["--refused-only"])), (64 << 20, 16 << 20));
        assert_eq!(ring(&["--refused-only", "--ring", "1M"]), 1 << 20);
    }

    #[test]
    fn sizes_have_units_of_1024() {
        let sizes = ["4096", "512K", "512kib", "64M", "64MiB", "1G", "1GiB"].map(|text| parse_size(text).unwrap());
        let (mebi, gibi) = (64 << 20, 1 << 30);
        assert_eq!(sizes, [4096, 512 << 10, 512 << 10, mebi, mebi, gibi, gibi]);
        for wrong in ["", "K", "64MB", "64 M", "-1K", "4095", "2G", "18014398509481985K"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_one_line_that_names_the_flag() {
        for (arguments, named) in [
            (vec!["--timeout", "soon"], "--timeout"),
            (vec!["--server", "10.0.0.1/99"], "--server"),
            (vec!["--format", "xml"], "--format"),
            (vec!["--rows", "lost"], "--rows"),
            (vec!["--all", "--rows", "refused"], "--all"),
            (vec!["--from", "yesterday"], "--from"),
            (vec!["--port", "0"], "--port"),
        ] {
            let error = config(&arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let line = error.to_string();
            assert!(line.contains(named) && !line.contains('\n'), "{line}");
        }
    }
}
