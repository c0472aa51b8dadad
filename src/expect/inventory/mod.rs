//! Inventories of expected prefixes (`--expect`; CSV with a header, or one prefix per line): an [`Inventory`] decides
//! for an address by its most specific line.

mod reading;

use super::ranges::Ranges;
use crate::error::{Error, escape_text};
use ipnet::IpNet;
use reading::{Files, read};
use std::net::IpAddr;
use std::path::PathBuf;

/// All lines of all inventories, ready to decide. Without any line it decides nothing ([`is_empty`]).
///
/// [`is_empty`]: Inventory::is_empty
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Prefixes and translated addresses: whether an address is listed, and by which row.
    listed: Ranges,
    /// What each row expects, apart from the rows: it is looked up for every source, and should touch little memory.
    expects: Vec<Expect>,
    /// Prefixes only: to whose own network an address belongs.
    own: Ranges,
}

/// One line of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its index in [`Inventory::rows`].
    pub index: usize,
    /// The network of the clients, without host bits.
    pub prefix: IpNet,
    /// What operators call it; may be empty, and may hold any character.
    pub name: String,
    /// What is in this network.
    pub kind: Kind,
    /// What is to happen to its queries.
    pub expect: Expect,
    /// The addresses from which it is expected to arrive after a translation.
    pub outside: Vec<IpNet>,
    /// The file's name as given by the user.
    pub file: String,
    /// 1-based line in the file.
    pub line: u64,
}

impl Row {
    /// `file:line` as printed in reports, escaped.
    pub fn rule(&self) -> String {
        escape_text(&format!("{}:{}", self.file, self.line))
    }

    /// The prefix with its name and place, as used in sentences: `10.21.0.0/16 (vpn, expect.csv:3)`.
    pub fn describe(&self) -> String {
        let prefix = show_prefix(self.prefix);
        match self.name.as_str() {
            "" => format!("{prefix} ({})", self.rule()),
            name => format!("{prefix} ({}, {})", escape_text(name), self.rule()),
        }
    }
}

/// What is in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary clients.
    Client,
    /// A pool of VPN clients.
    Vpn,
    /// Addresses after a translation.
    Nat,
    /// A DNS proxy or load balancer.
    Proxy,
    /// Health checks.
    Health,
    /// Servers.
    Server,
}

impl Kind {
    /// Every kind with its name in inventories.
    pub const ALL: [(&'static str, Kind); 6] = [
        ("client", Kind::Client),
        ("vpn", Kind::Vpn),
        ("nat", Kind::Nat),
        ("proxy", Kind::Proxy),
        ("health", Kind::Health),
        ("server", Kind::Server),
    ];

    /// The name in inventories and reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What should happen to queries from a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// They are answered.
    Allow,
    /// They are refused.
    Refuse,
}

impl Expect {
    /// Every expectation with its name in inventories.
    pub const ALL: [(&'static str, Expect); 2] = [("allow", Expect::Allow), ("refuse", Expect::Refuse)];

    /// The name in inventories and reports.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What an inventory says about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// No line covers it.
    Unlisted,
    /// This line decides.
    Listed(&'a Row),
    /// A joined prefix of which different lines decide different parts.
    Mixed,
}

impl<'a> Expected<'a> {
    /// `allow`, `refuse`, `unlisted` or `mixed`.
    pub fn word(self) -> &'static str {
        match self {
            Expected::Unlisted => "unlisted",
            Expected::Listed(row) => row.expect.name(),
            Expected::Mixed => "mixed",
        }
    }

    /// The deciding line.
    pub fn row(self) -> Option<&'a Row> {
        match self {
            Expected::Listed(row) => Some(row),
            Expected::Unlisted | Expected::Mixed => None,
        }
    }

    /// `file:line` of the deciding line, `mixed` for several, empty when unlisted.
    pub fn rule(self) -> String {
        match self {
            Expected::Unlisted => String::new(),
            Expected::Listed(row) => row.rule(),
            Expected::Mixed => "mixed".to_owned(),
        }
    }
}

impl Inventory {
    /// Reads inventories in the given order. The first mistake is a usage error that names file and line.
    pub fn load(paths: &[PathBuf]) -> Result<Inventory, Error> {
        let mut files = Files::default();
        for path in paths {
            let name = path.to_string_lossy().into_owned();
            files.add(&name, &read(path)?)?;
        }
        files.finish()
    }

    /// Reads an inventory from the text of one file.
    pub fn from_text(file: &str, text: &str) -> Result<Inventory, Error> {
        let mut files = Files::default();
        files.add(file, text)?;
        files.finish()
    }

    /// True when no inventory was given: then nothing is listed, and nothing is unlisted either.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every line, in the order of the files and of their lines.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Warnings about lines that were accepted but may not mean what they say, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the most specific line says about an address; a line also covers the addresses of its `outside`.
    pub fn decide(&self, address: IpAddr) -> Expected<'_> {
        self.expected(self.listed.find(address))
    }

    /// What that line expects.
    pub fn expect(&self, address: IpAddr) -> Option<Expect> {
        self.listed.find(address).and_then(|number| self.expects.get(number as usize).copied())
    }

    /// What the lines say about a prefix of joined sources: `mixed` unless one line, or none, decides for all of it.
    pub fn decide_prefix(&self, prefix: IpNet) -> Expected<'_> {
        if prefix.prefix_len() == prefix.max_prefix_len() {
            return self.decide(prefix.addr());
        }
        let decisions = self.listed.within(prefix);
        match decisions.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => self.expected(*first),
            _ => Expected::Mixed,
        }
    }

    /// The row to whose own network (leaving `outside` aside) an address belongs, as an index into [`rows`].
    ///
    /// [`rows`]: Inventory::rows
    pub fn home(&self, address: IpAddr) -> Option<usize> {
        self.own.find(address).map(|number| number as usize)
    }

    /// The rows to whose own networks addresses of a prefix belong, as indices into [`rows`], with repetitions.
    ///
    /// [`rows`]: Inventory::rows
    pub fn homes(&self, prefix: IpNet) -> Vec<usize> {
        self.own.within(prefix).into_iter().flatten().map(|number| number as usize).collect()
    }

    /// A row by its number in [`Ranges`].
    fn expected(&self, number: Option<u32>) -> Expected<'_> {
        number.map_or(Expected::Unlisted, |number| Expected::Listed(&self.rows[number as usize]))
    }
}

/// A prefix as printed: a single address without its length.
pub fn show_prefix(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.to_string() }
}

/// Parses an address or prefix. Octets with leading zeros are rejected: programs disagree on whether 010 is eight or
/// ten.
pub fn read_prefix(text: &str) -> Option<IpNet> {
    let Some((address, length)) = text.split_once('/') else { return text.parse::<IpAddr>().ok().map(IpNet::from) };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(address.parse().ok()?, length.parse().ok().filter(|_| digits)?).ok()
}

/// Converts an IPv4-mapped IPv6 prefix to IPv4: on the wire its addresses are IPv4.
pub fn unmapped(prefix: IpNet) -> IpNet {
    let mapped = match prefix {
        IpNet::V6(prefix) if prefix.prefix_len() >= 96 => prefix.addr().to_ipv4_mapped(),
        _ => None,
    };
    mapped.and_then(|address| IpNet::new(address.into(), prefix.prefix_len() - 96).ok()).unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An inventory from the text of one file called `expect.csv`.
    fn inventory(text: &str) -> Result<Inventory, Error> {
        Inventory::from_text("expect.csv", text)
    }

    /// The error text of an inventory that must not be accepted.
    fn refused(text: &str) -> String {
        let error = inventory(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    /// The expectation and rule for an address.
    fn says(inventory: &Inventory, address: &str) -> String {
        let expected = inventory.decide(address.parse().unwrap());
        format!("{} {}", expected.word(), expected.rule()).trim().to_owned()
    }

    const TEXT: &str = "\
# Clients of the resolver
prefix,name,kind,expect,outside

10.20.0.0/16,office,client,allow,
10.21.0.0/16,vpn,vpn,,192.0.2.45; 192.0.2.64/28
10.21.9.0/24,guests,,refuse,
2001:db8:21::/48,,,,
";

    #[test]
    fn the_most_specific_line_decides() {
        let inventory = inventory(TEXT).unwrap();
        assert_eq!(says(&inventory, "10.20.1.1"), "allow expect.csv:4");
        assert_eq!(says(&inventory, "10.21.5.18"), "allow expect.csv:5");
        assert_eq!(says(&inventory, "10.21.9.200"), "refuse expect.csv:6");
        assert_eq!(says(&inventory, "2001:db8:21::18"), "allow expect.csv:7");
        assert_eq!(says(&inventory, "10.22.0.1"), "unlisted");
        assert_eq!(says(&inventory, "::ffff:10.20.1.1"), "unlisted", "an IPv4 source is IPv4");
    }

    #[test]
    fn defaults_and_lists_are_read() {
        let inventory = inventory(TEXT).unwrap();
        let rows = inventory.rows();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!(rows[1].kind, Kind::Vpn);
        assert_eq!(rows[1].outside, ["192.0.2.45/32".parse().unwrap(), "192.0.2.64/28".parse().unwrap()]);
        assert_eq!((rows[2].kind, rows[2].expect), (Kind::Client, Expect::Refuse));
        assert_eq!(rows[1].describe(), "10.21.0.0/16 (vpn, expect.csv:5)");
        assert_eq!(rows[3].describe(), "2001:db8:21::/48 (expect.csv:7)");
    }

    #[test]
    fn the_translated_address_is_listed_by_its_line() {
        let inventory = inventory(TEXT).unwrap();
        assert_eq!(says(&inventory, "192.0.2.45"), "allow expect.csv:5");
        assert_eq!(says(&inventory, "192.0.2.79"), "allow expect.csv:5");
        assert_eq!(says(&inventory, "192.0.2.80"), "unlisted");
        assert_eq!(inventory.home("192.0.2.45".parse().unwrap()), None, "it is nobody's own network");
    }

    #[test]
    fn joined_prefixes_are_mixed_unless_one_line_decides_all_of_them() {
        let inventory = inventory(TEXT).unwrap();
        let word = |prefix: &str| inventory.decide_prefix(prefix.parse().unwrap()).word();
        assert_eq!(word("10.20.7.0/24"), "allow");
        assert_eq!(word("10.21.9.0/25"), "refuse");
        assert_eq!(word("10.21.8.0/23"), "mixed");
        assert_eq!(word("10.20.0.0/15"), "mixed");
        assert_eq!(word("10.0.0.0/8"), "mixed");
        assert_eq!(word("172.16.0.0/12"), "unlisted");
        assert_eq!(word("2001:db8:21:5::/64"), "allow");
    }

    #[test]
    fn a_plain_list_is_one_prefix_per_line() {
        let inventory = inventory("\n# ours\n10.20.0.0/16  # office\r\n192.0.2.7\n2001:db8::/32\n").unwrap();
        assert_eq!(says(&inventory, "10.20.0.1"), "allow expect.csv:3");
        assert_eq!(says(&inventory, "192.0.2.7"), "allow expect.csv:4");
        assert_eq!(says(&inventory, "192.0.2.8"), "unlisted");
        assert_eq!(inventory.rows()[0].kind, Kind::Client);
    }

    #[test]
    fn columns_come_in_any_order_and_case() {
        let inventory = inventory("Expect, PREFIX\r\nRefuse, 10.0.0.0/8\r\n").unwrap();
        assert_eq!(says(&inventory, "10.1.1.1"), "refuse expect.csv:2");
    }

    #[test]
    fn empty_cells_may_be_left_out_at_the_end() {
        let inventory = inventory("prefix,name,kind,expect,outside\n10.0.0.0/8\n10.1.0.0/16,office,vpn\n").unwrap();
        assert_eq!(says(&inventory, "10.2.1.1"), "allow expect.csv:2");
        assert_eq!(inventory.rows()[1].kind, Kind::Vpn);
    }

    #[test]
    fn commas_that_a_spreadsheet_leaves_at_the_end_are_no_columns() {
        let inventory = inventory("prefix,name,,,\n10.0.0.0/8,office,,,\n10.1.0.0/16,,,,,\n").unwrap();
        assert_eq!(inventory.rows().len(), 2);
        assert_eq!(says(&inventory, "10.2.1.1"), "allow expect.csv:2");
    }

    #[test]
    fn quoted_names_and_lines_inside_them_keep_the_count() {
        let inventory = inventory("prefix,name\n10.0.0.0/8,\"a, \"\"b\"\"\nc\"\n# x\n\n10.1.0.0/16,d\n").unwrap();
        assert_eq!(inventory.rows()[0].name, "a, \"b\"\nc");
        assert_eq!(inventory.rows().iter().map(|row| row.line).collect::<Vec<_>>(), [2, 6]);
        assert_eq!(inventory.rows()[0].describe(), "10.0.0.0/8 (a, \"b\"\\u{a}c, expect.csv:2)");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, place, detail) in [
            ("prefix,owner\n", "expect.csv:1", "unknown column \"owner\"; one of prefix, name, kind, expect, outside"),
            ("prefix,prefix\n", "expect.csv:1", "named twice"),
            ("prefix,kind\n10.0.0.0/8,printer\n", "expect.csv:2", "unknown kind \"printer\"; one of client, vpn"),
            ("prefix,expect\n#\n10.0.0.0/8,deny\n", "expect.csv:3", "unknown expect \"deny\"; one of allow, refuse"),
            ("prefix,name\n,x\n", "expect.csv:2", "the prefix is empty"),
            ("prefix\n10.0.0.0/33\n", "expect.csv:2", "\"10.0.0.0/33\" is not an IPv4 or IPv6 address or prefix"),
            ("prefix,outside\n10.0.0.0/8,nat1\n", "expect.csv:2", "\"nat1\" is not"),
            ("prefix,name,expect\n10.0.0.0/8,refuse\n", "expect.csv:2", "2 cells for 3 columns, and the name would be"),
            ("prefix\n10.0.0.0/8,refuse\n", "expect.csv:2", "2 cells, but the header names only 1"),
            ("prefix,name,,\n10.0.0.0/8,x,,y\n", "expect.csv:2", "4 cells, but the header names only 2"),
            ("prefix,,name\n", "expect.csv:1", "unknown column \"\""),
            ("10.0.0.0/8\n10.21\n", "expect.csv:2", "\"10.21\" is not"),
            ("10.0.0.0/8\n010.020.0.0/16\n", "expect.csv:2", "\"010.020.0.0/16\" is not"),
            ("10.0.0.0/+8\n", "expect.csv:1", "\"10.0.0.0/+8\" is not"),
            ("prefix,outside\n10.0.0.0/8,192.0.2.045\n", "expect.csv:2", "\"192.0.2.045\" is not"),
            ("network,name\n10.0.0.0/8,x\n", "expect.csv:1", "prefix,name,kind,expect,outside"),
            ("prefix;name\n10.0.0.0/8;x\n", "expect.csv:1", "separated by commas"),
            ("", "expect.csv", "holds no prefix"),
            ("# nothing\nprefix,name\n", "expect.csv", "holds no prefix"),
            ("prefix,name\n10.1.0.0/16,\"a\n10.2.0.0/16,b\n", "expect.csv:2", "is not closed"),
            ("prefix,name\n10.1.0.0/16,\"a\n10.2.0.0/16,\"b\"\n", "expect.csv:2", "is not closed"),
            ("# \"\nprefix,name\n10.1.0.0/16,\"a\"b\n", "expect.csv:3", "is not closed"),
            ("prefix,name\n10.1.0.0/16,\"a\n10.2.0.0/16,\"\n", "expect.csv:2", "goes on to the line \"10.2.0.0/16,\""),
        ] {
            let error = refused(text);
            assert!(error.starts_with(&format!("error[E-EXPECT]: {place}: ")), "{text:?}: {error}");
            assert!(error.contains(detail), "{text:?}: {error}");
        }
    }

    #[test]
    fn quotation_marks_that_take_nothing_in_are_no_fault() {
        let text = "# it's \"\nprefix,name\n10.0.0.0/8,5\" pipe\n10.1.0.0/16,\"a\" ,\n 10.2.0.0/16, \"b\n\"10.3.0.0/16\",\"\"\n";
        let inventory = inventory(&text.replace("name\n", "name,kind\n")).unwrap();
        let names: Vec<&str> = inventory.rows().iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["5\" pipe", "a", "\"b", ""]);
    }

    #[test]
    fn every_way_to_end_a_line_counts() {
        for end in ["\n", "\r\n", "\r"] {
            let csv = inventory(&format!("prefix,expect{end}{end}# x{end}10.1.0.0/16,refuse{end}")).unwrap();
            assert_eq!(says(&csv, "10.1.0.1"), "refuse expect.csv:4", "{end:?}");
            let plain = inventory(&format!("10.0.0.0/16{end}# x{end}10.1.0.0/16{end}")).unwrap();
            assert_eq!(says(&plain, "10.1.0.1"), "allow expect.csv:3", "{end:?}");
        }
    }

    #[test]
    fn a_mapped_prefix_is_the_ipv4_prefix() {
        let inventory = inventory("::ffff:192.0.2.0/120\n::ffff:10.1.2.3\n::/64\n").unwrap();
        assert_eq!(says(&inventory, "192.0.2.2"), "allow expect.csv:1");
        assert_eq!(says(&inventory, "10.1.2.3"), "allow expect.csv:2");
        assert_eq!(inventory.notes()[0], "expect.csv:1: ::ffff:192.0.2.0/120 is IPv4 and is read as 192.0.2.0/24");
        assert_eq!((inventory.notes().len(), inventory.rows()[2].prefix.addr().is_ipv6()), (2, true));
    }

    #[test]
    fn only_contradictions_are_refused() {
        let error = refused("prefix,expect\n10.0.0.0/8,allow\n10.0.0.0/8,allow\n10.0.0.0/8,refuse\n");
        assert!(error.contains("expect.csv:4: 10.0.0.0/8 is expected to be refused here and allowed at expect.csv:2"));
        let error = refused("prefix,expect,outside\n10.0.0.0/8,allow,192.0.2.45\n192.0.2.45,refuse,\n");
        assert!(error.contains("expect.csv:3: 192.0.2.45 is expected to be refused here and allowed at"), "{error}");
        let shared =
            inventory("prefix,outside\n10.1.0.0/16,192.0.2.45\n10.2.0.0/16,192.0.2.45\n192.0.2.45,\n").unwrap();
        assert_eq!(says(&shared, "192.0.2.45"), "allow expect.csv:4", "its own line");
    }

    #[test]
    fn host_bits_are_dropped_with_a_note() {
        let inventory = inventory("10.21.5.18/16\n").unwrap();
        assert_eq!(says(&inventory, "10.21.200.1"), "allow expect.csv:1");
        assert_eq!(inventory.notes(), ["expect.csv:1: 10.21.5.18/16 has host bits set and is read as 10.21.0.0/16"]);
    }

    #[test]
    fn files_are_read_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let marked = write("marked.csv", b"\xef\xbb\xbfprefix,name\n10.0.0.0/8,B\xfcro\n");
        let plain = write("plain.txt", b"192.0.2.0/24\n");
        let inventory = Inventory::load(&[marked.clone(), plain]).unwrap();
        assert_eq!(inventory.rows().len(), 2);
        assert_eq!(inventory.rows()[0].rule(), format!("{}:2", marked.display()));
        for (path, detail) in [
            (write("wide.csv", b"\xff\xfep\0"), "UTF-16"),
            (folder.path().join("absent"), "cannot be read"),
            (folder.path().to_path_buf(), "cannot be read"),
        ] {
            let error = Inventory::load(&[path]).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(detail), "{error}");
        }
        assert!(Inventory::load(&[]).unwrap().is_empty());
    }
}
