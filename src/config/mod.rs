//! What a run was asked to do ([`Config`]), and the vocabulary that its options share with the stages: outcomes,
//! severities, limits.
//!
//! `cli` makes a [`Config`] from the arguments; every later stage takes plain values from here and knows no flag.

mod limits;
mod outcome;

use crate::capture::Timestamp;
use crate::expect::acl::AclArgument;
use crate::expect::acl::compare::Question;
pub use limits::{
    ACL_DEPTH, ACL_ELEMENTS, ACL_FILE_BYTES, ACL_FILES, ACL_LISTS, ACL_OTHERS, ACL_TOTAL_BYTES, CLOCK_JUMP,
    COPY_WINDOW, INVENTORY_BYTES, INVENTORY_LINES, Limits, SKEW,
};
pub use outcome::{Outcome, OutcomeCounts, Outcomes};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The port of DNS over UDP and TCP (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;

/// Where the capture was taken, as far as the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    /// On the server or its port: what is not answered here was not answered.
    Server,
    /// Somewhere between client and server.
    Path,
    /// On the client.
    Client,
}

/// An address of a server of our own, with the length of its connected network when given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnServer {
    /// The server's address.
    pub address: IpAddr,
    /// Prefix length of the network it is connected to.
    pub length: Option<u8>,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be, or only worth knowing.
    Info,
    /// Somebody should look.
    Warning,
    /// Expected clients are being turned away, or strangers are let in.
    Critical,
}

impl Severity {
    /// Every severity with its name.
    pub const ALL: [(&'static str, Severity); 3] =
        [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// How much confinement of a live capture is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// As much as the system offers; what is missing is named.
    #[default]
    BestEffort,
    /// All of it, or the run does not begin.
    Require,
    /// None.
    Off,
}

impl Sandbox {
    /// Every mode with its name on the command line.
    pub const ALL: [(&'static str, Sandbox); 3] =
        [("best-effort", Sandbox::BestEffort), ("require", Sandbox::Require), ("off", Sandbox::Off)];
}

/// When text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Everything a run was asked to do, resolved; no later stage sees a flag.
#[derive(Debug, Clone)]
pub struct Config {
    /// Inputs as named by the user; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Inventories of expected prefixes.
    pub expect: Vec<PathBuf>,
    /// Configurations of servers.
    pub acls: Vec<AclArgument>,
    /// Where absolute names in those configurations are looked up.
    pub root: Option<PathBuf>,
    /// Advice may admit addresses of the public internet.
    pub advise_public: bool,
    /// Declared servers of our own.
    pub servers: Vec<OwnServer>,
    /// Where the capture was taken.
    pub vantage: Option<Vantage>,
    /// Sources to say more about; drops nothing.
    pub clients: Vec<ipnet::IpNet>,
    /// Ports that carry DNS.
    pub ports: Vec<u16>,
    /// BPF expression applied to every frame.
    pub filter: Option<String>,
    /// Frames before this time are not selected.
    pub from: Option<Timestamp>,
    /// Frames after this time are not selected.
    pub to: Option<Timestamp>,
    /// A query without a response for this long is unanswered.
    pub timeout: Duration,
    /// Decoding threads.
    pub threads: usize,
    /// Name of the output format, a row of `report::FORMATS`.
    pub format: &'static str,
    /// Output file instead of standard output.
    pub output: Option<PathBuf>,
    /// Replace an existing output file.
    pub force: bool,
    /// Outcomes for which rows are written.
    pub rows: Outcomes,
    /// The operator chose `rows`; they are not the default.
    pub rows_given: bool,
    /// Also write rows of the upstream leg.
    pub upstream: bool,
    /// Write rows of every leg.
    pub every_leg: bool,
    /// Sources listed in a text report.
    pub top: usize,
    /// End with exit code 10 when a finding is at least this severe.
    pub check: Option<Severity>,
    /// Packets or state that may be lost before the exit code is 4.
    pub max_loss: u64,
    /// An input that ends inside a record is not an error (a capture still being written).
    pub allow_cut_tail: bool,
    /// When text is coloured.
    pub color: Color,
    /// No progress bar and no warnings.
    pub quiet: bool,
    /// Name of this node in reports. None where it was not given and is not known: a file does not say where it was
    /// taken.
    pub node: Option<String>,
    /// What a live run does.
    pub live: LiveConfig,
    /// Caps of tables and buffers.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            expect: Vec::new(),
            acls: Vec::new(),
            root: None,
            advise_public: false,
            servers: Vec::new(),
            vantage: None,
            clients: Vec::new(),
            ports: vec![DNS_PORT],
            filter: None,
            from: None,
            to: None,
            timeout: Duration::from_secs(5),
            threads: 1,
            format: "text",
            output: None,
            force: false,
            rows: Outcomes::default(),
            rows_given: false,
            upstream: false,
            every_leg: false,
            top: 20,
            check: None,
            max_loss: 0,
            allow_cut_tail: false,
            color: Color::Auto,
            quiet: false,
            node: None,
            live: LiveConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// What a live run was asked to do beyond what it shares with a read.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// The operator chose an output format.
    pub format_given: bool,
    /// Interfaces; `any` is all of them.
    pub interfaces: Vec<String>,
    /// Bytes of each handle's ring.
    pub ring: usize,
    /// Put interfaces into promiscuous mode.
    pub promiscuous: bool,
    /// Number of handles that share the interface, each with its own flows; 1 is no fanout.
    pub fanout: usize,
    /// Let only REFUSED responses through the kernel's filter.
    pub refused_only: bool,
    /// End after this long.
    pub duration: Option<Duration>,
    /// End when this many packets were read.
    pub count: Option<u64>,
    /// Write a report for each interval of this length.
    pub every: Option<Duration>,
    /// Write the packets to this new file.
    pub write: Option<PathBuf>,
    /// Begin a new file when the current one has this many bytes.
    pub rotate_bytes: Option<u64>,
    /// Begin a new file when the packets of the current one span this long.
    pub rotate_after: Option<Duration>,
    /// Show a screen.
    pub screen: bool,
    /// Serve metrics at this address.
    pub metrics: Option<std::net::SocketAddr>,
    /// How far the process confines itself once the capture is open.
    pub sandbox: Sandbox,
}

impl LiveConfig {
    /// Bytes of a ring. At a million packets per second the usual 2 MiB hold 15 ms; this holds half a second.
    pub const RING: usize = 64 << 20;
    /// Bytes of a ring for REFUSED responses alone, which are fewer. The kernel zeroes a ring before use: for a larger
    /// one that would cost more than all of its packets.
    pub const REFUSED_RING: usize = 16 << 20;
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            format_given: false,
            interfaces: vec!["any".to_string()],
            ring: LiveConfig::RING,
            promiscuous: false,
            fanout: 1,
            refused_only: false,
            duration: None,
            count: None,
            every: None,
            write: None,
            rotate_bytes: None,
            rotate_after: None,
            screen: false,
            metrics: None,
            sandbox: Sandbox::default(),
        }
    }
}

/// What an `acl` command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclAction {
    /// The verdict for a source, step by step.
    Explain,
    /// The effective table.
    List,
    /// An inventory against the table.
    Check,
    /// Two versions against each other.
    Diff,
}

/// Everything an `acl` command was asked to do.
#[derive(Debug, Clone)]
pub struct AclConfig {
    /// Which command it is.
    pub action: AclAction,
    /// The servers' configurations; for `diff` the old and the new one.
    pub acls: Vec<AclArgument>,
    /// Where absolute names in those configurations are looked up.
    pub root: Option<PathBuf>,
    /// Declared servers; the question goes to the first.
    pub servers: Vec<OwnServer>,
    /// Sources to explain.
    pub sources: Vec<IpAddr>,
    /// What they ask.
    pub question: Question,
    /// Inventories to check.
    pub expect: Vec<PathBuf>,
    /// Inventories of changes that are meant.
    pub intended: Vec<PathBuf>,
    /// Captures whose transactions are judged under both versions, with how they are read.
    pub traffic: Option<Box<Config>>,
    /// End with exit code 10 when a change is not intended, or an intended one is missing.
    pub check: bool,
    /// Print JSON.
    pub json: bool,
}
