//! Expected values are what named 9.18 and unbound 1.17 did when they ran these configurations.

use super::*;
use crate::cli::{Parsed, parse};
use std::ffi::OsString;
use std::path::Path;

#[derive(Default)]
struct Lines(Vec<String>);

impl Console for Lines {
    fn line(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

/// Runs a command line whose words that are names of files stand for those; the configuration may be changed before.
fn run_with(
    files: &[(&str, &[u8])],
    line: &str,
    interrupted: bool,
    change: impl Fn(&mut AclConfig),
) -> (u8, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> OsString { folder.path().join(name).into() };
    for (name, bytes) in files {
        std::fs::write(path(name), bytes).unwrap();
    }
    let is_file = |word: &str| files.iter().any(|(name, _)| *name == word);
    let words = ["dnsrefused", "acl"].into_iter().chain(line.split_whitespace());
    let words = words.map(|word| if is_file(word) { path(word) } else { word.into() });
    let Parsed::Acl(mut config) = parse(words).unwrap() else { panic!("not an acl command") };
    change(&mut config);
    let mut lines = Lines::default();
    let interrupted = Arc::new(AtomicBool::new(interrupted));
    let printed = super::run(&config, &mut lines, &interrupted).unwrap();
    let plain = |text: &str| text.replace(&format!("{}/", Path::new(folder.path()).display()), "");
    let said = lines.0.iter().chain(&printed.notes).map(|line| plain(line)).collect();
    let mut out = Vec::new();
    let code = write(&printed, &mut out).unwrap();
    (code, plain(&String::from_utf8(out).unwrap()), said)
}

fn run(files: &[(&str, &str)], line: &str) -> (u8, String) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let (code, text, _) = run_with(&files, line, false, |_| {});
    (code, text)
}

/// Lines that say what changes or not; lines that differ only in their rules once.
fn told(text: &str) -> Vec<&str> {
    let words = ["OPENS", "CLOSES", "CHANGES", "NO EFFECT", "NOT DONE", "No verdict"];
    let mut lines: Vec<&str> = text.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).collect();
    lines.dedup();
    lines
}

const CACHE: &str =
    "options { allow-query { any; }; allow-query-cache { 10.0.0.0/8; }; allow-recursion { 10.1.0.0/16; MORE }; };";

#[test]
fn who_gets_recursion_or_loses_it_is_a_change() {
    // With recursion: RA and the answer; without: neither, and a referral.
    let (old, wide) = (CACHE.replace("MORE", "10.7.0.0/16;"), CACHE.replace("MORE", "10.7.0.0/16; 10.8.0.0/16;"));
    let new = CACHE.replace("MORE", "");
    let (code, text) = run(&[("old.conf", &old), ("new.conf", &new)], "diff old.conf new.conf --check");
    assert_eq!(told(&text), ["CLOSES  allow with recursion -> allow without recursion  10.7.0.0/16"], "{text}");
    assert!(text.contains("    for a name in no zone\n"), "{text}");
    assert_eq!(code, 10);
    let (code, text) = run(&[("old.conf", &old), ("new.conf", &wide)], "diff old.conf new.conf --check");
    assert_eq!(told(&text), ["OPENS   allow without recursion -> allow with recursion  10.8.0.0/16"], "{text}");
    assert_eq!(code, 10);
    let (_, json) = run(&[("old.conf", &old), ("new.conf", &wide)], "diff old.conf new.conf --format json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let change = &json["changes"][0];
    assert_eq!((&change["before"], &change["after"]), (&"allow".into(), &"allow".into()));
    assert_eq!(change["before_serving"], serde_json::json!({"view": null, "recursion": false}));
    assert_eq!(change["after_serving"]["recursion"], true);
    let listed = [("old.conf", old.as_str()), ("new.conf", &wide), ("in.csv", "prefix,expect\n10.8.0.0/16,allow\n")];
    let (code, text) = run(&listed, "diff old.conf new.conf --intended in.csv --check");
    assert!(code == 0 && text.contains("10.8.0.0/16  (intended)"), "{text}");
}

#[test]
fn a_source_without_recursion_is_not_as_expected_unless_it_desires_none() {
    let new = CACHE.replace("MORE", "");
    let files = [("new.conf", new.as_str()), ("in.csv", "prefix,expect\n10.1.0.0/16,allow\n10.7.0.0/16,allow\n")];
    let (code, text) = run(&files, "check --acl new.conf --expect in.csv");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("expected")).collect();
    assert_eq!((code, lines.len()), (10, 1), "{text}");
    assert!(
        lines[0].starts_with("10.7.0.0/16: expected allow") && lines[0].contains("but without recursion"),
        "{text}"
    );
    let (code, _) = run(&files, "check --acl new.conf --expect in.csv --no-rd");
    assert_eq!(code, 0);
    // Names that the server holds are answered nevertheless.
    let zone = format!("{new} zone \"p.test\" {{ type primary; file \"p\"; }};");
    let (code, _) = run(&[("new.conf", &zone), files[1]], "check --acl new.conf --expect in.csv --name www.p.test");
    assert_eq!(code, 0);
}

#[test]
fn another_view_is_a_change() {
    // A name of one view only: NXDOMAIN before, its address after.
    let old = "view int { match-clients { 10.1.0.0/16; MORE }; allow-recursion { any; }; zone \"p.test\" { type primary; file \"p\"; }; };\n\
               view ext { match-clients { any; }; allow-recursion { any; }; zone \"p.test\" { type primary; file \"q\"; }; };\n";
    let (old, new) = (old.replace("MORE", ""), old.replace("MORE", "10.7.0.0/16;"));
    let files = [("old.conf", old.as_str()), ("new.conf", &new), ("in.csv", "prefix,expect\n10.7.0.0/16,allow\n")];
    let (code, text) = run(&files, "diff old.conf new.conf --intended in.csv --check");
    assert!(!told(&text).is_empty(), "{text}");
    assert!(
        told(&text).iter().all(|line| *line == "CHANGES  allow in view ext -> allow in view int  10.7.0.0/16"),
        "an inventory names no view: {text}"
    );
    assert_eq!(code, 10);
    // Unbound: a view; names of local zones are no matter of recursion.
    let old = "server:\n access-control: 10.0.0.0/8 allow\n define-tag: \"t\"\n local-zone: \"b.example\" always_nxdomain\n \
               local-zone-tag: \"b.example\" \"t\"\n";
    let view = "view:\n name: v\n view-first: yes\n local-zone: \"z.example\" static\n";
    let new = format!("{old} access-control-view: 10.7.0.0/16 v\n access-control-tag: 10.8.0.0/16 \"t\"\n{view}");
    let (_, text) = run(&[("old.conf", &format!("{old}{view}")), ("new.conf", &new)], "diff old.conf new.conf");
    let lines = told(&text);
    assert!(lines.contains(&"CHANGES  allow -> allow in view v  10.7.0.0/16"), "{text}");
    assert!(lines.iter().all(|line| !line.starts_with("CLOSES")), "{text}");
}

#[test]
fn recursion_without_rd_is_what_the_action_says() {
    // unbound: allow_setrd resolves, allow_snoop looks into the cache, allow refuses.
    let file = |action: &str| format!("server:\n access-control: 10.7.0.0/16 {action}\n");
    let diff = |old: &str, new: &str| {
        let (_, text) = run(&[("old.conf", &file(old)), ("new.conf", &file(new))], "diff old.conf new.conf");
        told(&text).join("\n")
    };
    assert_eq!(diff("allow_snoop", "allow_setrd"), "OPENS   allow -> allow with recursion  10.7.0.0/16");
    assert_eq!(diff("allow", "allow_snoop"), "OPENS   refuse -> allow  10.7.0.0/16");
}

const INTENDED: (&str, &str) = ("in.csv", "prefix,expect\n10.7.0.0/16,allow\n");
const ZONE: &str = "options { recursion no; allow-query { 10.1.0.0/16; MORE }; allow-transfer { none; }; };\nzone \"p.test\" { type primary; file \"p\"; };\n";

#[test]
fn what_is_not_done_is_told_by_part_and_question() {
    let command = "diff old.conf new.conf --intended in.csv --check";
    let not_done = |old: &str, new: &str| {
        let (code, text) = run(&[("old.conf", old), ("new.conf", new), INTENDED], command);
        let lines: Vec<&str> = told(&text).into_iter().filter(|line| line.starts_with("NOT DONE")).collect();
        (code, lines.iter().map(|line| line.split(" the new file").next().unwrap().to_owned()).collect::<Vec<_>>())
    };
    // Names of the server itself open for 10.7.1.5, which is REFUSED all others.
    let old = "server:\n access-control: 10.1.0.0/16 allow\n";
    let done = format!("{old} access-control: 10.7.0.0/16 allow\n");
    let part = format!("{done} access-control: 10.7.1.0/24 refuse_non_local\n");
    let line = |name: &str| vec![format!("NOT DONE   10.7.1.0/24 is to be allowed by in.csv:2, but for {name}")];
    assert_eq!(not_done(old, &part), (10, line("a name in no zone")));
    assert_eq!(not_done(old, &done), (0, Vec::new()));
    // A server of zones alone: 10.7.1.5 is REFUSED, its neighbour answered.
    let (old, part) = (ZONE.replace("MORE", ""), ZONE.replace("MORE", "!10.7.1.0/24; 10.7.0.0/16;"));
    assert_eq!(not_done(&old, &part), (10, line("p.test A")));
    assert_eq!(not_done(&old, &ZONE.replace("MORE", "10.7.0.0/16;")), (0, Vec::new()));
    // Nothing was done at all.
    assert_eq!(not_done(&old, &old).0, 10);
    // Of two zones one is enough to be allowed.
    let second = "zone \"q.test\" { type primary; file \"q\"; allow-query { MORE }; };\n";
    let second = |more: &str| format!("{old}{}", second.replace("MORE", more));
    assert_eq!(not_done(&second("none;"), &second("10.7.0.0/16;")), (0, Vec::new()));
    // The zone opened, the cache not.
    let resolver = |zone: &str| {
        let cache = "options { allow-recursion { 10.1.0.0/16; }; allow-query-cache { 10.1.0.0/16; }; };\n";
        format!("{cache}zone \"p.test\" {{ type primary; file \"p\"; allow-query {{ 10.1.0.0/16; {zone} }}; }};\n")
    };
    let whole = ["NOT DONE   10.7.0.0/16 is to be allowed by in.csv:2, but for a name in no zone"];
    assert_eq!(not_done(&resolver(""), &resolver("10.7.0.0/16;")).1, whole);
}

#[test]
fn transfers_and_updates_are_not_meant_by_an_inventory() {
    let (old, new) = (ZONE.replace("MORE", ""), ZONE.replace("MORE", "10.7.0.0/16;"));
    let open =
        new.replace("file \"p\";", "file \"p\"; allow-update { 10.7.0.0/16; }; allow-transfer { 10.7.0.0/16; };");
    let command = "diff old.conf new.conf --intended in.csv --check --format json";
    let unmeant = |new: &str, inventory: &str| {
        let (code, json) = run(&[("old.conf", &old), ("new.conf", new), ("in.csv", inventory)], command);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let changes = json["changes"].as_array().unwrap().iter().filter(|change| change["intended"] == false);
        let names: Vec<String> = changes.map(|change| change["questions"].to_string()).collect();
        (code, names)
    };
    assert_eq!(unmeant(&new, INTENDED.1), (0, Vec::new()));
    assert_eq!(
        unmeant(&open, INTENDED.1),
        (10, [r#"["p.test AXFR"]"#, r#"["p.test UPDATE"]"#].map(str::to_owned).to_vec())
    );
    // Everything opens at once, by the same rules.
    let open = "acl c { 10.7.0.0/16; };\noptions { recursion no; allow-query { c; }; allow-transfer { c; }; };\n\
                zone \"p.test\" { type primary; file \"p\"; };\n";
    let blocked = open.replace("options {", "options { blackhole { c; };");
    let command = command.replace("old.conf new.conf", "new.conf old.conf");
    let (code, text) = run(&[("new.conf", blocked.as_str()), ("old.conf", open), INTENDED], &command);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let meant = |question: &str| -> Vec<bool> {
        let changes = json["changes"].as_array().unwrap().iter();
        let about = changes.filter(|change| change["questions"].as_array().unwrap().contains(&question.into()));
        about.map(|change| change["intended"] == true).collect()
    };
    assert_eq!((meant("p.test AXFR"), meant("p.test")), (vec![false], vec![true]), "{text}");
    assert_eq!(code, 10);
}

#[test]
fn a_replacement_or_an_exception_is_no_edit_without_effect() {
    let file = |lines: &str| format!("server:\n{lines}");
    let diff = |old: &str, new: &str| {
        let (_, text) = run(&[("old.conf", &file(old)), ("new.conf", &file(new))], "diff old.conf new.conf");
        told(&text).iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let whole = " access-control: 10.20.0.0/16 allow\n";
    let halves = " access-control: 10.20.0.0/17 allow\n access-control: 10.20.128.0/17 allow\n";
    assert_eq!(diff(whole, " access-control: 10.20.0.0/17 allow\n"), ["CLOSES  allow -> refuse  10.20.128.0/17"]);
    assert_eq!(diff(whole, halves), ["No verdict, view or recursion changes for any source."]);
    assert_eq!(diff(halves, whole), ["No verdict, view or recursion changes for any source."]);
    let more = format!("{whole} access-control: 10.20.7.0/24 allow\n");
    assert!(diff(whole, &more)[0].starts_with("NO EFFECT  10.20.7.0/24"));
    let (old, new) = (ZONE.replace("MORE", ""), ZONE.replace("MORE", "!10.7.1.0/24; 10.7.0.0/16;"));
    let (_, text) = run(&[("old.conf", &old), ("new.conf", &new)], "diff old.conf new.conf");
    assert!(!text.contains("NO EFFECT"), "{text}");
}

/// A capture of a link type, with this many queries of 10.7.0.x for a name in no zone that nobody answers.
fn capture(link_type: u32, queries: u16) -> Vec<u8> {
    let mut bytes = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, link_type].map(u32::to_le_bytes).concat();
    for number in 0..queries {
        let [high, low] = number.to_be_bytes();
        let query = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let mut frame = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = builder.ipv4([10, 7, high, low], [10, 53, 0, 1], 64).udp(4000, 53);
        builder.write(&mut frame, &query).unwrap();
        let length = frame.len() as u32;
        bytes.extend([1_700_000_000, u32::from(number), length, length].map(u32::to_le_bytes).concat());
        bytes.extend(frame);
    }
    bytes
}

#[test]
fn what_was_not_read_of_traffic_is_told() {
    let old: &[u8] = b"server:\n access-control: 10.1.0.0/16 allow\n";
    let new: &[u8] = b"server:\n access-control: 10.0.0.0/8 allow\n";
    let command = "diff old.conf new.conf --traffic a.pcap --server 10.53.0.1 --check";
    let run = |bytes: &[u8], interrupted: bool, change: &dyn Fn(&mut crate::config::Config)| {
        let files = [("old.conf", old), ("new.conf", new), ("a.pcap", bytes)];
        run_with(&files, command, interrupted, |config| change(config.traffic.as_mut().unwrap()))
    };
    let says =
        |lines: &[String], text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:?}");
    let (code, text, lines) = run(&capture(1, 9), false, &|_| {});
    assert!((code, lines.len()) == (10, 0) && text.contains("9 of 9 transactions change"), "{lines:?} {text}");
    let (_, text, _) = run(&capture(1, 1200), false, &|_| {});
    for said in ["1,200 client transactions judged", "1,200 of 1,200 transactions change", "1,180 more changes"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let (code, _, lines) = run(&capture(9999, 9), false, &|_| {});
    assert_eq!(code, 1);
    says(&lines, "E-IN-LINK");
    let (code, text, lines) = run(&capture(1, 9), true, &|_| {});
    assert!(code == 3 && text.contains("PARTIAL: interrupted"), "{text}");
    says(&lines, "E-IN-PARTIAL");
    let limits: [fn(&mut crate::config::Limits); 2] =
        [|limits| limits.in_flight = 1, |limits| limits.answered_rows = 1];
    for limit in limits {
        let (code, text, lines) = run(&capture(1, 9), false, &|config| limit(&mut config.limits));
        assert_eq!(code, 4, "{text}");
        says(&lines, "warning: ");
        says(&lines, "would end with exit code 10");
    }
    // As `read` ends.
    let (code, _, lines) = run(b"no capture at all", false, &|_| {});
    assert_eq!(code, 3);
    says(&lines, "E-IN-MAGIC");
    let (code, ..) = run(&capture(1, 9), false, &|config| config.inputs = vec!["/not/there.pcap".into()]);
    assert_eq!(code, 1);
}

#[test]
fn what_the_server_holds_is_no_matter_of_recursion() {
    // named: p.test is answered the same with AA, and only the RA bit differs; unbound: local data are answered with
    // RA.
    let zone = "zone \"p.test\" { type primary; file \"p\"; };";
    let old =
        format!("options {{ recursion yes; allow-query {{ any; }}; allow-recursion {{ 10.0.0.0/8; }}; }}; {zone}");
    let new = old.replace("{ 10.0.0.0/8; }", "{ !10.9.0.0/16; 10.0.0.0/8; }");
    let files = [("old.conf", old.as_str()), ("new.conf", &new), ("in.csv", "prefix,expect\n10.9.0.0/16,refuse\n")];
    let (code, text) = run(&files, "diff old.conf new.conf --intended in.csv --check");
    assert_eq!((told(&text), code), (vec!["CLOSES  allow -> refuse  10.9.0.0/16  (intended)"], 0), "{text}");
    let old = "server:\n access-control: 10.0.0.0/8 allow\n";
    let new = format!("{old} local-data: \"host.corp.example A 10.0.0.9\"\n");
    let (_, text) = run(&[("old.conf", old), ("new.conf", &new)], "diff old.conf new.conf");
    assert!(!text.contains("CLOSES"), "{text}");
}

#[test]
fn a_resolver_by_default_is_asked_for_names_in_no_zone() {
    // named's defaults: only localhost and its networks get more than the zone.
    let file = "options { recursion yes; }; zone \"p.test\" { type primary; file \"p\"; };";
    let command = "diff old.conf new.conf --intended in.csv --check --server 10.53.0.1/24";
    let (code, text) = run(&[("old.conf", file), ("new.conf", file), INTENDED], command);
    assert!(told(&text)[0].starts_with("NOT DONE   10.7.0.0/16 "), "{text}");
    assert_eq!(code, 10);
}

#[test]
fn an_entry_that_decides_in_the_place_of_another_is_not_without_effect() {
    // named: without its entry in the zone's list 10.1.1.1 would be refused.
    let old = "options { recursion no; }; zone \"p.test\" { type primary; file \"p\"; };";
    let new = old.replace("file", "allow-query { 10.1.0.0/16; }; file");
    let (_, text) = run(&[("old.conf", old), ("new.conf", &new)], "diff old.conf new.conf");
    assert!(text.contains("CLOSES  allow -> refuse") && !text.contains("NO EFFECT"), "{text}");
}

#[test]
fn an_acl_that_may_be_in_a_file_that_is_not_here_leaves_verdicts_unknown() {
    let file = "include \"gone/acls.conf\";\noptions { allow-recursion { trusted; }; };";
    let (code, text) = run(&[("named.conf", file)], "explain --acl named.conf 10.1.1.1");
    assert!(code == 0 && text.starts_with("10.1.1.1  unknown"), "{code} {text}");
}

/// Accepts this many bytes, and then fails for this reason.
struct Full(usize, io::ErrorKind);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(self.1.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_table_that_nobody_reads_is_no_failure_and_one_that_finds_no_room_is() {
    for json in [false, true] {
        let acls = vec![Acl::from_text("bind:named.conf", &CACHE.replace("MORE", ""), &[]).unwrap()];
        let printed = Printed { print: Print::Tables { acls, json }, notes: Vec::new(), code: 0 };
        for room in [0, 100] {
            assert_eq!(write(&printed, &mut Full(room, io::ErrorKind::BrokenPipe)).unwrap(), 0);
            let error = write(&printed, &mut Full(room, io::ErrorKind::StorageFull)).unwrap_err();
            assert_eq!(error.exit_code(), 5, "{error}");
        }
    }
}
