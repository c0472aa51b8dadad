//! Random `unbound.conf` files and questions to them.

use super::{Question, Random, from_somewhere};
use std::fmt::Write as _;

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

/// A configuration.
pub(super) fn configuration(random: &mut Random) -> String {
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

/// A question to a server with such a configuration.
pub(super) fn question(random: &mut Random) -> Question {
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
