//! Random `named.conf` files and questions to them.

use super::{PREFIXES, Question, Random, from_somewhere};
use std::fmt::Write as _;

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

/// A configuration.
pub(super) fn configuration(random: &mut Random) -> String {
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
    // A failure that is remembered would be repeated even to clients that should be refused.
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

/// A question to a server with such a configuration.
pub(super) fn question(random: &mut Random) -> Question {
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
