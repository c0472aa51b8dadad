//! Every limit with its default and the reason for it: caps of tables and buffers ([`Limits`]), time windows of the
//! matcher, and bounds on the files that operators write.

/// Caps of every table and buffer. Reaching one is counted and shown in the report, never silent.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one block of input. 256 KiB keeps a block and its entries inside a level-2 cache of 1 MiB.
    pub block_bytes: usize,
    /// Largest captured packet accepted, in bytes; libpcap's own maximum snapshot length.
    pub packet_bytes: usize,
    /// Largest pcapng block accepted, in bytes; libpcap's own maximum.
    pub pcapng_block_bytes: usize,
    /// Interfaces kept per pcapng section; packets of further ones are counted as `bad_interface`.
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
    /// Bytes of all queries kept for a report; when they are used up, only the beginning of each further query is kept.
    pub kept_bytes: usize,
    /// Bytes kept of one query; of a longer one the first bytes are kept.
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
    /// Bytes held for one direction of a TCP connection. Half of that is a few packets merged by the interface (GRO),
    /// or what is in flight on a long path when a segment was lost.
    pub tcp_stream_bytes: usize,
    /// Bytes held for all TCP streams.
    pub tcp_total_bytes: usize,
    /// Time after which an idle TCP connection is forgotten, in nanoseconds of capture time.
    pub tcp_idle: i64,
    /// Rows (source and server) of sources that received a response or are listed in an inventory. They fit into a hash
    /// table of 262,144 places, which is filled to 7/8 at most; a few rows more would double its memory.
    pub answered_rows: usize,
    /// Rows of sources that never received a response; when there are more, they are joined by ever shorter prefixes.
    pub silent_rows: usize,
    /// Bytes of encoded rows kept in memory before they go to an unlinked temporary file.
    pub spool_bytes: usize,
    /// Most bytes of one message that are decoded in full for a report.
    pub detail_bytes: usize,
    /// Most resource records of one message that are decoded in full for a report.
    pub detail_records: usize,
    /// Frames listed per finding and input.
    pub finding_frames: usize,
    /// Sources, names, prefixes or servers listed per finding.
    pub finding_members: usize,
    /// Findings of one kind in a report; the report says how many more there are.
    pub kind_findings: usize,
    /// Sources that were turned away in a snapshot of a running capture; nobody scrolls further.
    pub watch_rows: usize,
    /// Our servers that are counted one by one in a snapshot, and so have their own series in the metrics.
    pub watch_servers: usize,
    /// Names of inventory lines that are counted one by one in a snapshot.
    pub watch_names: usize,
    /// Findings in a snapshot.
    pub watch_findings: usize,
    /// Pairs of source and server whose refused names and rate are remembered while a capture runs.
    pub watch_pairs: usize,
    /// Bytes of rows, reports or lines that wait for a slow reader while a capture runs; twice as many in the worst
    /// case. About forty thousand rows.
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

/// The same packet seen again within this time (nanoseconds) is a copy, not a retransmission.
pub const COPY_WINDOW: i64 = 10_000_000;
/// A response captured before its query still matches it when it is earlier by at most this (nanoseconds).
pub const SKEW: i64 = 10_000;
/// A larger step of the capture's time (nanoseconds) must be confirmed by a second packet before it expires any state.
pub const CLOCK_JUMP: i64 = 3_600_000_000_000;

/// Most bytes of one inventory: enough for a million lines, and a bound on an endless device.
pub const INVENTORY_BYTES: u64 = 64 << 20;
/// Most lines of all inventories together: the findings about them must be made within the seconds that the end of a
/// live capture may take.
pub const INVENTORY_LINES: usize = 1 << 20;

/// Most bytes of one file of a server's configuration; fifty thousand prefixes take about one megabyte.
pub const ACL_FILE_BYTES: u64 = 32 << 20;
/// Most bytes of one server's configuration with everything it includes.
pub const ACL_TOTAL_BYTES: u64 = 128 << 20;
/// Most files of one server's configuration.
pub const ACL_FILES: usize = 4096;
/// Deepest nesting of includes, and of blocks, in a server's configuration; deeper is an error.
pub const ACL_DEPTH: usize = 40;
/// Most elements of all address match lists of a server's configuration together; those of a named list count each time
/// it is named. Each takes about 55 bytes, and as much again while a change is tried out.
pub const ACL_ELEMENTS: u32 = 1 << 24;
/// Most lists that are searched for one address, counted in the same way.
pub const ACL_LISTS: u32 = 1 << 16;
/// Most elements of one list that are not prefixes, counted in the same way; each may have to be evaluated.
pub const ACL_OTHERS: usize = 1 << 18;
