//! Random configurations and questions.
//!
//! BIND: three `acl`s, `options` and up to three views. Every list is made of prefixes, `any`, `none`, `localhost`,
//! `localnets`, keys, earlier `acl`s and lists inside it, each negated now and then. Options and views carry
//! `recursion`, `allow-query`, `allow-query-cache`, `allow-recursion` (each also `-on`), `allow-transfer`,
//! `allow-update`, `allow-update-forwarding`, `allow-notify`; options `blackhole`; views `match-clients`,
//! `match-destinations`, `match-recursive-only`. Zones: a primary, one below it, a secondary, a stub (not queried: it
//! never loads), a static stub, each with lists of its own, `update-policy`; the primary and the secondary also from an
//! earlier view (`in-view`); the empty zones of the server itself. Questions: opcodes QUERY, NOTIFY, UPDATE
//! and some that are not implemented; types A, TXT, DS, ANY, SOA, AXFR; with and without RD; unsigned, signed, signed
//! with an unknown key.
//!
//! Unbound: `access-control` with every action of the release, identical and nested prefixes, `interface-action`,
//! `access-control-view`, tags with actions, views with and without `view-first`, local zones of every type, overrides,
//! local data with aliases, built-in zones. Questions: opcodes QUERY, NOTIFY, STATUS.

use dnsrefused::expect::acl::{Word, name};
use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Bind,
    Unbound,
}

impl Dialect {
    pub const ALL: [Dialect; 2] = [Dialect::Bind, Dialect::Unbound];

    pub fn name(self) -> &'static str {
        match self {
            Dialect::Bind => "bind",
            Dialect::Unbound => "unbound",
        }
    }

    /// How the configuration is named to the evaluator.
    pub fn argument(self) -> &'static str {
        match self {
            Dialect::Bind => "bind-9.18:named.conf",
            Dialect::Unbound => "unbound-1.17:unbound.conf",
        }
    }
}

/// A small generator of random numbers; the same seed gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// One question to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub tcp: bool,
    pub opcode: u8,
    pub qname: String,
    pub qtype: u16,
    pub rd: bool,
    pub key: Option<String>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.tcp { "tcp" } else { "udp" };
        let rd = if self.rd { "rd" } else { "no-rd" };
        let key = self.key.as_deref().unwrap_or("-");
        write!(
            f,
            "{} {} {transport} {} {} {} {rd} {key}",
            self.source, self.destination, self.opcode, self.qname, self.qtype
        )
    }
}

/// Reads a recorded line.
pub fn read_line(line: &str) -> Option<(Question, Word)> {
    let (question, word) = line.split_once(" -> ")?;
    let words: Vec<&str> = question.split(' ').collect();
    let [source, destination, transport, opcode, qname, qtype, rd, key] = words.as_slice() else { return None };
    let question = Question {
        source: source.parse().ok()?,
        destination: destination.parse().ok()?,
        tcp: *transport == "tcp",
        opcode: opcode.parse().ok()?,
        qname: (*qname).to_owned(),
        qtype: qtype.parse().ok()?,
        rd: *rd == "rd",
        key: Some((*key).to_owned()).filter(|key| key != "-"),
    };
    let (_, word) = Word::ALL.iter().find(|(name, _)| *name == word)?;
    Some((question, *word))
}

/// Prefixes that lists are made of: nested, identical, apart, and of both families.
const PREFIXES: [&str; 14] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/29",
    "10.1.2.5",
    "10.2.0.0/16",
    "10.2.0.0/15",
    "10.53.0.0/24",
    "10.1.2.5/32",
    "0.0.0.0/0",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::5",
    "2001:db8::/32",
];

/// Sources in and around them.
const SOURCES: [&str; 16] = [
    "10.1.2.1",
    "10.1.2.5",
    "10.1.2.6",
    "10.1.2.9",
    "10.1.3.1",
    "10.2.1.1",
    "10.3.1.1",
    "10.9.9.9",
    "10.53.0.1",
    "10.53.0.77",
    "127.0.0.1",
    "127.0.0.9",
    "2001:db8:1::9",
    "2001:db8:1:2::5",
    "2001:db8:1:2::6",
    "2001:db8:9::1",
];

/// A question from a random source; the destination has the source's family.
fn from_somewhere(random: &mut Random) -> Question {
    let source: IpAddr = random.one(&SOURCES).parse().expect("an address");
    let destination =
        if source.is_ipv6() { "2001:db8:53::1" } else { random.one(&["10.53.0.1", "10.53.0.1", "10.53.0.2"]) };
    Question {
        source,
        destination: destination.parse().expect("an address"),
        tcp: random.chance(10),
        opcode: 0,
        qname: String::new(),
        qtype: 1,
        rd: random.chance(75),
        key: None,
    }
}

/// A configuration.
pub fn configuration(dialect: Dialect, random: &mut Random) -> String {
    match dialect {
        Dialect::Bind => bind(random),
        Dialect::Unbound => unbound(random),
    }
}

/// Questions to it.
pub fn questions(dialect: Dialect, random: &mut Random) -> Vec<Question> {
    (0..80)
        .map(|_| match dialect {
            Dialect::Bind => bind_question(random),
            Dialect::Unbound => unbound_question(random),
        })
        .collect()
}

//------------ BIND -------------------------------------------------------------

/// The secret of the keys.
pub const SECRET: &str = "dGhpcyBpcyBvbmx5IGEgdGVzdCBvZiBhY2xzIQ==";

/// Elements of a list; `named` are the lists that may be used by name.
fn elements(random: &mut Random, named: &[String], depth: usize, keys: bool) -> String {
    let mut text = String::new();
    for _ in 0..=random.below(4) {
        let not = if random.chance(25) { "!" } else { "" };
        let element = match random.below(20) {
            0..=9 => random.one(&PREFIXES).to_owned(),
            10 => "any".to_owned(),
            11 => "none".to_owned(),
            12 => random.one(&["localhost", "localnets"]).to_owned(),
            13 if keys => format!("key {}", random.one(&["k1", "k2"])),
            14..=16 if !named.is_empty() => named[random.below(named.len())].clone(),
            17 | 18 if depth < 3 => format!("{{ {}}}", elements(random, named, depth + 1, keys)),
            _ => random.one(&PREFIXES[..10]).to_owned(),
        };
        let _ = write!(text, "{not}{element}; ");
    }
    text
}

fn statements(random: &mut Random, named: &[String], names: &[&str], percent: usize, indent: &str) -> String {
    let mut text = String::new();
    for name in names {
        if random.chance(percent) {
            // Lists by destination would hardly ever match prefixes of clients.
            let list = if name.ends_with("-on") || *name == "match-destinations" {
                random
                    .one(&[
                        "10.53.0.1; ",
                        "!10.53.0.2; any; ",
                        "2001:db8:53::1; 10.53.0.0/24; ",
                        "none; ",
                        "localhost; ",
                    ])
                    .to_owned()
            } else {
                elements(random, named, 0, *name != "blackhole")
            };
            let _ = writeln!(text, "{indent}{name} {{ {list}}};");
        }
    }
    text
}

const LISTS: [&str; 10] = [
    "allow-query",
    "allow-query-on",
    "allow-query-cache",
    "allow-query-cache-on",
    "allow-recursion",
    "allow-recursion-on",
    "allow-transfer",
    "allow-update",
    "allow-update-forwarding",
    "allow-notify",
];

fn zone(random: &mut Random, named: &[String], origin: &str, kind: &str, body: &str, indent: &str) -> String {
    let mut lists = vec!["allow-query", "allow-query-on"];
    let mut more = String::new();
    match kind {
        "primary" => {
            lists.push("allow-transfer");
            match random.below(6) {
                0 => more = format!("{indent}    update-policy {{ grant k1 zonesub ANY; }};\n"),
                1 => more = format!("{indent}    update-policy {{ deny k2 zonesub ANY; grant k1 zonesub ANY; }};\n"),
                _ => lists.push("allow-update"),
            }
        }
        "secondary" => lists.extend(["allow-transfer", "allow-notify", "allow-update-forwarding"]),
        _ => {}
    }
    let own = statements(random, named, &lists, 30, &format!("{indent}    "));
    format!("{indent}zone \"{origin}\" {{\n{indent}    type {kind};\n{indent}    {body}\n{own}{more}{indent}}};\n")
}

/// Zones of a view; `owners` has the views that have one of their own, by its name, for others to share.
fn zones(
    random: &mut Random,
    named: &[String],
    view: &str,
    indent: &str,
    owners: &mut Vec<(String, &'static str)>,
) -> String {
    let mut text = String::new();
    let mut shares = |random: &mut Random, origin: &'static str, text: &mut String| {
        let owner = owners.iter().find(|(_, known)| *known == origin).map(|(owner, _)| owner.clone());
        let share = owner.filter(|_| random.chance(40));
        match &share {
            Some(owner) => {
                let _ = writeln!(text, "{indent}zone \"{origin}\" {{ in-view {owner}; }};");
            }
            None => owners.push((view.to_owned(), origin)),
        }
        share.is_some()
    };
    if random.chance(85) && !shares(random, "p.test", &mut text) {
        text += &zone(random, named, "p.test", "primary", &format!("file \"{view}p.db\";"), indent);
    }
    if random.chance(50) {
        text += &zone(random, named, "sub.p.test", "primary", &format!("file \"{view}sub.db\";"), indent);
    }
    if random.chance(60) && !shares(random, "s.test", &mut text) {
        let body = format!("primaries {{ 10.1.2.5; 10.9.9.9; }}; file \"{view}s.db\"; masterfile-format text;");
        text += &zone(random, named, "s.test", "secondary", &body, indent);
    }
    if random.chance(30) {
        text += &zone(random, named, "st.test", "stub", "primaries { 10.1.2.5; };", indent);
    }
    if random.chance(30) {
        text += &zone(random, named, "stub.test", "static-stub", "server-addresses { 10.9.9.9; };", indent);
    }
    text
}

fn bind(random: &mut Random) -> String {
    let mut text = format!(
        "key k1 {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\nkey k2 {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n"
    );
    let mut named: Vec<String> = Vec::new();
    for index in 0..3 {
        let list = elements(random, &named, 0, true);
        let _ = writeln!(text, "acl a{index} {{ {list}}};");
        named.push(format!("a{index}"));
    }
    // A list that is merged wherever it is used.
    let _ = writeln!(text, "acl plain {{ {}; {}; }};", random.one(&PREFIXES), random.one(&PREFIXES));
    named.push("plain".to_owned());
    text += "options {\n    directory \".\"; pid-file none; session-keyfile none; dnssec-validation no; notify no;\n";
    // A failure that is remembered would be told to those who are to be refused, too.
    text += "    servfail-ttl 0;\n    listen-on port 53 { 10.53.0.1; 10.53.0.2; };\n    listen-on-v6 port 53 { 2001:db8:53::1; };\n";
    if random.chance(50) {
        let _ = writeln!(text, "    recursion {};", random.one(&["yes", "no"]));
    }
    if random.chance(20) {
        text += &statements(random, &named, &["blackhole"], 100, "    ");
    }
    text += &statements(random, &named, &LISTS, 30, "    ");
    text += "};\ncontrols { };\n";
    let views = [0, 0, 1, 2, 3][random.below(5)];
    if views == 0 {
        text += &zones(random, &named, "", "", &mut Vec::new());
    }
    let mut owners = Vec::new();
    for index in 0..views {
        let _ = writeln!(text, "view v{index} {{");
        text += &statements(random, &named, &["match-clients", "match-destinations"], 60, "    ");
        if random.chance(15) {
            text += "    match-recursive-only yes;\n";
        }
        if random.chance(50) {
            let _ = writeln!(text, "    recursion {};", random.one(&["yes", "no"]));
        }
        text += &statements(random, &named, &LISTS, 20, "    ");
        text += &zones(random, &named, &format!("v{index}"), "    ", &mut owners);
        text += "};\n";
    }
    text
}

fn bind_question(random: &mut Random) -> Question {
    let mut question = from_somewhere(random);
    let qname = random.one(&[
        "www.p.test",
        "p.test",
        "sub.p.test",
        "x.sub.p.test",
        "s.test",
        "www.s.test",
        "elsewhere.example",
        "9.9.9.10.in-addr.arpa",
        "x.stub.test",
        "elsewhere.example",
        "www.p.test",
    ]);
    qname.clone_into(&mut question.qname);
    match random.below(12) {
        0..=6 => {}
        7 => question.qtype = [43, 255, 16][random.below(3)],
        8 => (question.qtype, question.tcp) = (252, true),
        9 => {
            let zone = random.one(&["p.test", "sub.p.test", "s.test", "st.test", "other.test"]).to_owned();
            (question.qname, question.qtype, question.tcp) = (zone, 252, true);
        }
        10 => {
            let zone = random.one(&["p.test", "sub.p.test", "s.test", "st.test", "other.test"]).to_owned();
            (question.qname, question.qtype, question.opcode, question.tcp) = (zone, 6, 5, false);
        }
        _ => {
            let zone = random.one(&["p.test", "sub.p.test", "s.test", "st.test", "other.test"]).to_owned();
            (question.qname, question.qtype, question.opcode) = (zone, 6, [4, 4, 4, 4, 1, 2, 3, 15][random.below(8)]);
        }
    }
    if matches!(question.opcode, 0 | 4 | 5) && random.chance(15) {
        // An update without records, as it is sent here, passes an update-policy that has no rule for its key.
        let other = if question.opcode == 5 { "k1" } else { "k2" };
        question.key = Some(random.one(&["k1", "k1", other, "unknown"]).to_owned());
        // dig, which signs, asks for transfers without RD.
        question.rd &= question.qtype != 252;
    }
    question
}

//------------ Unbound ----------------------------------------------------------

const KINDS: [&str; 16] = [
    "deny",
    "refuse",
    "static",
    "transparent",
    "redirect",
    "typetransparent",
    "inform",
    "inform_deny",
    "inform_redirect",
    "always_transparent",
    "always_refuse",
    "always_nxdomain",
    "always_nodata",
    "always_deny",
    "always_null",
    "noview",
];

const ACTIONS: [&str; 9] =
    ["deny", "refuse", "allow", "allow", "allow", "allow_setrd", "allow_snoop", "deny_non_local", "refuse_non_local"];

const ZONES: [&str; 5] = ["z.example", "a.z.example", "y.example", "10.in-addr.arpa", "example"];

fn local(random: &mut Random, with_tags: bool) -> String {
    let mut text = String::new();
    let mut redirects: Vec<&str> = Vec::new();
    for origin in ZONES {
        if !random.chance(35) {
            continue;
        }
        let kind = random.one(&KINDS);
        // A view's end of the search means nothing outside a view.
        let kind = if with_tags && kind == "noview" { "transparent" } else { kind };
        if kind.contains("redirect") {
            redirects.push(origin);
        }
        let _ = writeln!(text, "    local-zone: \"{origin}\" {kind}");
        if with_tags && random.chance(25) {
            let _ = writeln!(text, "    local-zone-tag: \"{origin}\" \"{}\"", random.one(&["red", "blue", "red blue"]));
        }
        if with_tags && random.chance(25) {
            let other = random.one(&["refuse", "deny", "static", "transparent", "always_refuse", "always_nodata"]);
            let prefix = random.one(&["10.1.0.0/16", "10.1.2.0/24", "2001:db8:1::/48"]);
            let _ = writeln!(text, "    local-zone-override: \"{origin}\" {prefix} {other}");
        }
    }
    for owner in ["z.example", "www.z.example", "b.c.a.z.example", "www.y.example", "lone.test-data.example.net"] {
        // Below a redirect zone only its own name may have data.
        let inside = redirects.iter().any(|origin| owner.ends_with(&format!(".{origin}")));
        if inside || !random.chance(40) {
            continue;
        }
        let data = random.one(&["A 192.0.2.1", "TXT text", "CNAME www.elsewhere.example.", "300 IN A 192.0.2.2"]);
        let _ = writeln!(text, "    local-data: \"{owner}. {data}\"");
    }
    if !redirects.contains(&"10.in-addr.arpa") && random.chance(20) {
        text += "    local-data-ptr: \"10.9.9.9 host.z.example\"\n";
    }
    text
}

fn unbound(random: &mut Random) -> String {
    let mut text = String::from(
        "server:\n    username: \"\"\n    chroot: \"\"\n    directory: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    logfile: \"\"\n    \
         interface: 10.53.0.1\n    interface: 10.53.0.2\n    interface: 2001:db8:53::1\n    num-threads: 1\n    \
         module-config: \"iterator\"\n    define-tag: \"red blue\"\n",
    );
    let mut prefixes: Vec<&str> = vec![
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.5",
        "10.2.0.0/15",
        "127.0.0.0/8",
        "127.0.0.9",
        "10.53.0.77",
        "::/0",
        "2001:db8:1::/48",
        "2001:db8:1:2::/64",
        "10.1.3.0/25",
        "2001:db8:1:2::5/127",
        "10.9.9.9/24",
    ];
    for _ in 0..2 + random.below(7) {
        let prefix = prefixes[random.below(prefixes.len())];
        let _ = writeln!(text, "    access-control: {prefix} {}", random.one(&ACTIONS));
    }
    for kind in ["access-control-view", "access-control-tag", "access-control-tag-action"] {
        for _ in 0..random.below(3) {
            // No prefix twice, as which of two tags or views counts is nobody's business.
            let prefix = prefixes.swap_remove(random.below(prefixes.len()));
            let value = match kind {
                "access-control-view" => random.one(&["one", "two"]).to_owned(),
                "access-control-tag" => format!("\"{}\"", random.one(&["red", "blue", "red blue"])),
                _ => {
                    let tag = random.one(&["red", "blue"]);
                    let _ = writeln!(
                        text,
                        "    access-control-tag: {prefix} \"{}\"",
                        random.one(&["red", "blue", "red blue"])
                    );
                    format!("{tag} {}", random.one(&["refuse", "deny", "static", "transparent", "always_refuse"]))
                }
            };
            let _ = writeln!(text, "    {kind}: {prefix} {value}");
        }
    }
    for interface in ["10.53.0.1", "10.53.0.2", "2001:db8:53::1"] {
        if random.chance(25) {
            let _ = writeln!(text, "    interface-action: {interface} {}", random.one(&ACTIONS));
        }
    }
    text += &local(random, true);
    if random.chance(20) {
        text += "    local-zone: \"test.\" nodefault\n";
    }
    for name in ["one", "two"] {
        let _ = writeln!(text, "view:\n    name: \"{name}\"");
        if random.chance(50) {
            let _ = writeln!(text, "    view-first: {}", random.one(&["yes", "no"]));
        }
        text += &local(random, false);
    }
    text += "forward-zone:\n    name: \".\"\n    forward-addr: 127.0.0.1@9\nremote-control:\n    control-enable: no\n";
    text
}

fn unbound_question(random: &mut Random) -> Question {
    let mut question = from_somewhere(random);
    let qname = random.one(&[
        "z.example",
        "www.z.example",
        "q.z.example",
        "b.c.a.z.example",
        "c.a.z.example",
        "a.z.example",
        "q.a.z.example",
        "www.y.example",
        "y.example",
        "elsewhere.example",
        "q.elsewhere.net",
        "elsewhere.net",
        "localhost",
        "x.test",
        "9.9.9.10.in-addr.arpa",
        "8.8.8.10.in-addr.arpa",
        "1.0.0.127.in-addr.arpa",
        "lone.test-data.example.net",
    ]);
    qname.clone_into(&mut question.qname);
    match random.below(14) {
        0..=9 => question.qtype = [1, 1, 1, 16, 28][random.below(5)],
        10 => question.qtype = [43, 255, 5, 12][random.below(4)],
        11 => (question.qtype, question.tcp) = (252, true),
        12 => (question.opcode, question.qtype) = (4, 6),
        _ => question.opcode = 2,
    }
    question
}

/// A name in wire form, as the lab sends it.
pub fn wire(qname: &str) -> Vec<u8> {
    name::parse_name(qname).expect("a name")
}
