//! What a run was asked to do ([`Config`]), and every limit with its default and the reason for it ([`Limits`]).
//!
//! `cli` makes a [`Config`] from the arguments; every later stage takes plain values from here and knows no flag.

use crate::capture::Timestamp;
use crate::expect::acl::AclArgument;
use crate::expect::acl::compare::Question;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Caps of every table and buffer. Reaching one is counted and shown in the report, never silent.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one block of input. 256 KiB keeps a block and its entries inside a level-2 cache of 1 MiB.
    pub block_bytes: usize,
    /// Largest captured packet accepted, in bytes; libpcap's own maximum snapshot length.
    pub packet_bytes: usize,
    /// Largest pcapng block accepted, in bytes, as in libpcap.
    pub pcapng_block_bytes: usize,
    /// Interfaces kept per pcapng section; further ones make their packets `bad_interface`.
    pub interfaces: usize,
    /// Most bytes one compressed input may expand to.
    pub expanded_bytes: u64,
    /// VLAN tags opened per frame.
    pub vlan_tags: usize,
    /// IPv6 extension headers opened per packet.
    pub extension_headers: usize,
    /// IP headers inside IP headers (or inside a tunnel) opened per frame.
    pub nested_headers: usize,
    /// Transactions awaiting a response; the oldest is evicted first and counted.
    pub in_flight: usize,
    /// Responses that wait for a query captured right after them; the oldest is given up first and counted.
    pub early_responses: usize,
    /// Answered transactions remembered to tell copies, duplicates and continued transfers from unsolicited responses.
    pub answered_memory: usize,
    /// Unanswered queries that wait for a late response before they are called silence.
    pub suspects: usize,
    /// Bytes of all queries kept; beyond them no more than the beginning of each further one is.
    pub kept_bytes: usize,
    /// Longest query kept for a report, in bytes; what is longer keeps its first bytes.
    pub kept_message_bytes: usize,
    /// Incomplete datagrams held for reassembly.
    pub fragment_sets: usize,
    /// Bytes held for reassembly of fragments.
    pub fragment_bytes: usize,
    /// Time after which an incomplete datagram is given up, in nanoseconds of capture time (RFC 8200 section 4.5: 60 s;
    /// Linux: 30 s).
    pub fragment_age: i64,
    /// TCP connections held; the least recently active is evicted first and counted.
    pub tcp_connections: usize,
    /// Bytes held for one direction of a TCP connection; half of them are a few packets put together by the interface (GRO),
    /// or what is on its way over a long line when one was lost.
    pub tcp_stream_bytes: usize,
    /// Bytes held for all TCP streams.
    pub tcp_total_bytes: usize,
    /// Time after which an idle TCP connection is forgotten, in nanoseconds of capture time.
    pub tcp_idle: i64,
    /// Rows (source and server) of sources that received a response or are listed. A table with a quarter million places
    /// has room for them; with a few more it would take twice the memory.
    pub answered_rows: usize,
    /// Rows of sources that never received a response; beyond it they are joined to ever shorter prefixes.
    pub silent_rows: usize,
    /// Bytes of rows, as records, kept in memory before they go to an unlinked temporary file.
    pub spool_bytes: usize,
    /// Most bytes of one message that are decoded in full for a report.
    pub detail_bytes: usize,
    /// Most resource records of one message that are decoded in full for a report.
    pub detail_records: usize,
    /// Frames listed per finding and input.
    pub finding_frames: usize,
    /// Sources, names, prefixes or servers listed per finding.
    pub finding_members: usize,
    /// Findings of one kind in a report; how many more there are is said.
    pub kind_findings: usize,
    /// Sources that were turned away which a snapshot of a running capture holds; nobody scrolls further.
    pub watch_rows: usize,
    /// Servers of our own with counts of their own in a snapshot, and so with series of their own in the metrics.
    pub watch_servers: usize,
    /// Names of inventory lines likewise.
    pub watch_names: usize,
    /// Findings in a snapshot.
    pub watch_findings: usize,
    /// Pairs of source and server whose refused names and rate are remembered while a capture runs.
    pub watch_pairs: usize,
    /// Bytes of rows, reports or lines that wait for whoever reads them while a capture runs; twice as many in the worst
    /// case. Some forty thousand rows.
    pub waiting_output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_bytes: 256 << 10,
            packet_bytes: 256 << 10,
            pcapng_block_bytes: 16 << 20,
            interfaces: 1 << 17,
            expanded_bytes: 1 << 40,
            vlan_tags: 8,
            extension_headers: 16,
            nested_headers: 4,
            in_flight: 262_144,
            early_responses: 1024,
            answered_memory: 16_384,
            suspects: 65_536,
            kept_bytes: 32 << 20,
            kept_message_bytes: 4096,
            fragment_sets: 8192,
            fragment_bytes: 32 << 20,
            fragment_age: 30_000_000_000,
            tcp_connections: 65_536,
            tcp_stream_bytes: 512 << 10,
            tcp_total_bytes: 64 << 20,
            tcp_idle: 120_000_000_000,
            answered_rows: 220_000,
            silent_rows: 65_536,
            spool_bytes: 4 << 20,
            detail_bytes: 16 << 10,
            detail_records: 256,
            finding_frames: 20,
            finding_members: 200,
            kind_findings: 1000,
            watch_rows: 1000,
            watch_servers: 64,
            watch_names: 1000,
            watch_findings: 200,
            watch_pairs: 8192,
            waiting_output_bytes: 16 << 20,
        }
    }
}

/// The port of DNS over UDP and TCP (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;
/// A copy is the same packet seen again within this time (nanoseconds).
pub const COPY_WINDOW: i64 = 10_000_000;
/// A response captured up to this long (nanoseconds) before its query is matched.
pub const SKEW: i64 = 10_000;
/// A larger step of the capture's time (nanoseconds) must be confirmed by a second packet before state expires by it.
pub const CLOCK_JUMP: i64 = 3_600_000_000_000;

/// Most bytes of one inventory; a million lines fit, an endless device does not.
pub const INVENTORY_BYTES: u64 = 64 << 20;
/// Most lines of all inventories: what is said of each of them has to be found within the seconds in which a capture ends.
pub const INVENTORY_LINES: usize = 1 << 20;

/// Most bytes of one file of a server's configuration; fifty thousand prefixes take about one million.
pub const ACL_FILE_BYTES: u64 = 32 << 20;
/// Most bytes of one server's configuration with everything it includes.
pub const ACL_TOTAL_BYTES: u64 = 128 << 20;
/// Most files of one server's configuration.
pub const ACL_FILES: usize = 4096;
/// Includes inside includes, and blocks inside blocks, of a server's configuration. Deeper ones are errors.
pub const ACL_DEPTH: usize = 40;
/// Most elements of all address match lists of a server's configuration together, those of the lists that one names counted
/// each time they are named. Each takes about 55 bytes, and as much again while a change is tried out.
pub const ACL_ELEMENTS: u32 = 1 << 24;
/// Most lists that are looked into for one address, counted likewise.
pub const ACL_LISTS: u32 = 1 << 16;
/// Most elements of one list that are no prefixes, counted likewise; each may have to be asked.
pub const ACL_OTHERS: usize = 1 << 18;

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

/// What happened to a transaction (RFC 1035 section 4.1.1 has the response codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Every response that is not a refusal or denial (NXDOMAIN and SERVFAIL too).
    Answered,
    /// The full response code is 5 (REFUSED).
    Refused,
    /// NOTAUTH, or another response code with an extended error 15 to 18 (RFC 8914).
    Denied,
    /// The server answered others meanwhile and sent this source nothing, as seen at the server.
    Silent,
    /// RST or FIN from the server without one response byte.
    TcpRejected,
    /// No response within the timeout.
    Unanswered,
    /// A response without its query.
    Unsolicited,
}

/// Transactions by outcome, indexed by `Outcome as usize`.
pub type OutcomeCounts = [u64; Outcome::ALL.len()];

impl Outcome {
    /// Every outcome with its name in reports and `--rows`.
    pub const ALL: [(&'static str, Outcome); 7] = [
        ("answered", Outcome::Answered),
        ("refused", Outcome::Refused),
        ("denied", Outcome::Denied),
        ("silent", Outcome::Silent),
        ("tcp-rejected", Outcome::TcpRejected),
        ("unanswered", Outcome::Unanswered),
        ("unsolicited", Outcome::Unsolicited),
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A set of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcomes(u8);

impl Outcomes {
    /// Every outcome.
    pub const ALL: Outcomes = Outcomes((1 << Outcome::ALL.len()) - 1);

    /// What is reported when nothing else is asked for and only REFUSED responses were captured: without queries each is
    /// one that nobody is seen to have asked for.
    pub fn of_refusals() -> Self {
        Self::of(&[Outcome::Refused, Outcome::Denied, Outcome::Unsolicited])
    }

    /// The set of the given outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        Self(outcomes.iter().fold(0, |set, outcome| set | 1 << *outcome as u8))
    }

    /// True when the set holds `outcome`.
    pub fn has(self, outcome: Outcome) -> bool {
        self.0 & (1 << outcome as u8) != 0
    }
}

impl Default for Outcomes {
    /// What is reported when nothing else is asked for: every kind of being turned away.
    fn default() -> Self {
        Self::of(&[Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected])
    }
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
    /// The operator chose them.
    pub rows_given: bool,
    /// Also write rows of the upstream leg.
    pub upstream: bool,
    /// Write rows of every leg.
    pub every_leg: bool,
    /// Sources listed in text.
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
    /// Name of this node in reports; null in reports when not given (a file does not say where it was taken).
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
            ports: vec![53],
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
    /// Handles that share the interface by flow.
    pub fanout: usize,
    /// Let only REFUSED responses through the kernel's filter.
    pub refused_only: bool,
    /// End after this long.
    pub duration: Option<Duration>,
    /// End when so many packets were read.
    pub count: Option<u64>,
    /// Write a report of each such interval.
    pub every: Option<Duration>,
    /// Write the packets to this new file.
    pub write: Option<PathBuf>,
    /// Begin a new file when one has so many bytes.
    pub rotate_bytes: Option<u64>,
    /// Begin a new file after this long.
    pub rotate_after: Option<Duration>,
    /// Show a screen.
    pub screen: bool,
    /// Serve metrics at this address.
    pub metrics: Option<std::net::SocketAddr>,
    /// Privileges.
    pub sandbox: Sandbox,
}

impl LiveConfig {
    /// Bytes of a ring: the usual 2 MiB are 15 ms of a million packets per second; this is half a second.
    pub const RING: usize = 64 << 20;
    /// The same for REFUSED responses alone, which are fewer. The kernel clears a ring first, which would cost more than they do.
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
    /// What it does.
    pub action: AclAction,
    /// Configurations; for a comparison the old and the new one.
    pub acls: Vec<AclArgument>,
    /// Where absolute names in those configurations are looked up.
    pub root: Option<PathBuf>,
    /// Declared servers; the first is the one that is asked.
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
    /// End with exit code 10 when a change is not meant, or what is meant is not done.
    pub check: bool,
    /// Print JSON.
    pub json: bool,
}
