//! Where advice places an edit: narrow enough, and worded so that the place is found.

use super::{Command, OTHER, SECOND, Value, asked_for, of_ethernet, of_kind};
use std::path::Path;

/// The advice about unlisted clients that asked for names of two labels and got a response code, given a file.
fn advised(folder: &Path, file: &str, asked: &[([u8; 4], [&str; 2], u16)]) -> String {
    let packets: Vec<_> = (0u16..)
        .zip(asked)
        .flat_map(|(at, (source, name, rcode))| asked_for(u64::from(at) * SECOND, *source, at, *name, 1, *rcode, None))
        .collect();
    std::fs::write(folder.join("server.pcap"), of_ethernet(&packets)).unwrap();
    std::fs::write(folder.join("named.conf"), file).unwrap();
    let arguments = ["read", "server.pcap", "--acl", "bind:named.conf", "--vantage", "server", "--format", "json"];
    std::fs::write(folder.join("expect.csv"), "10.9.9.0/24\n").unwrap();
    let more = ["--server", "10.20.30.40/24", "--expect", "expect.csv"];
    let mut command = Command::cargo_bin("dnsrefused").unwrap();
    let output = command.current_dir(folder).args(arguments).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    of_kind(report["findings"].as_array().unwrap(), "unlisted-source-refused").unwrap().2.to_owned()
}

const CORP: [&str; 2] = ["a", "corp"];
const ZONE: &str = "zone corp { type primary; file \"x\"; };";

#[test]
fn what_is_negated_before_a_named_list_stays_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    // A prefix that joins two of them holds 10.20.0.10 as well.
    let asked: Vec<_> = [1, 3, 5, 7, 9, 11, 13, 15].map(|last| ([10, 20, 0, last], CORP, 5)).to_vec();
    for (elements, before) in [
        ("!10.20.0.10; !bad; any;", "before !bad; add 10.20.0.8/30;"),
        (
            "!10.20.0.10; !{ 10.4.0.0/16; bad; }; any;",
            "before !{ 10.4.0.0/16; bad; }; in allow-query add 10.20.0.8/30;",
        ),
        ("{ 10.3.0.0/16; }; !10.20.0.10; !bad; any;", "before !bad; in allow-query add 10.20.0.8/30;"),
        ("good; !10.20.0.10; !worse; any;", "before !worse; add 10.20.0.8/30;"),
    ] {
        let file = format!(
            "acl good {{ 10.3.0.0/16; }};\nacl bad {{ 10.20.0.0/16; 10.1.1.1; }};\nacl worse {{ good; bad; }};\n\
             options {{ recursion no;\nallow-query {{ {elements} }};\n}};\n{ZONE}"
        );
        let advice = advised(folder.path(), &file, &asked);
        assert!(advice.contains(before), "{elements}: {advice}");
    }
}

#[test]
fn the_list_is_told_from_others_in_its_line_and_named_where_its_line_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let zone = "zone corp { type primary; file \"x\"; allow-query { 10.2.0.0/16; }; };";
    let one_line = format!("options {{ recursion no; allow-query {{ 10.1.0.0/16; }}; }}; {zone}");
    let several = "zone corp { type primary; file \"x\";\nallow-query {\n    10.2.0.0/16;\n};\n};".to_owned();
    for (file, says) in [
        (one_line, "at the end of allow-query (number 2 of 2 in this line) add 10.20.0.7;"),
        (several, "in named.conf:4 (};), at the end of allow-query add 10.20.0.7;"),
    ] {
        let advice = advised(folder.path(), &file, &[(OTHER, CORP, 5)]);
        assert!(advice.contains(says), "{advice}");
    }
}

/// named 9.18 answers 10.20.0.7 with such an exception, and nobody else whom the list drops.
#[test]
fn whom_blackhole_drops_is_advised_as_an_exception_before_the_element_that_matches() {
    let folder = tempfile::tempdir().unwrap();
    for (elements, query, says) in [
        ("10.5.0.0/16; 10.20.0.0/16;", "any;", "before 10.20.0.0/16; add !10.20.0.7;."),
        ("10.5.0.0/16; bad;", "any;", "before bad; add !10.20.0.7;."),
        ("10.20.0.0/16;", "10.1.1.1;", "before 10.20.0.0/16; add !10.20.0.7; and in named.conf:4 (allow-query"),
    ] {
        let file = format!(
            "acl bad {{ 10.6.0.0/16; 10.20.0.7; }};\noptions {{ recursion no;\nblackhole {{ {elements} }};\n\
             allow-query {{ {query} }};\n}};\n{ZONE}"
        );
        let advice = advised(folder.path(), &file, &[(OTHER, CORP, 5)]);
        assert!(advice.contains(says) && !advice.contains("No list was found"), "{advice}");
    }
}

/// named 9.18 resolves names for 10.20.0.7 with such a statement, still for its own networks, and for nobody else.
#[test]
fn in_the_place_of_a_default_list_a_statement_is_advised_that_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let views =
        format!("options {{\n    directory \"/\";\n}};\nview all {{\n    match-clients {{ any; }};\n    {ZONE}\n}};\n");
    let statement = "add allow-recursion { localnets; localhost; 10.20.0.7; };";
    for (file, place) in [
        ("options {\n    directory \"/\";\n};\n", "in named.conf:1 (options {), at the end of options"),
        (views.as_str(), "in named.conf:4 (view all {), at the end of view all"),
    ] {
        let advice = advised(folder.path(), file, &[(OTHER, ["a", "elsewhere"], 5)]);
        assert!(advice.contains(&format!("{place} {statement}")), "{advice}");
        // A client that is served by default loses nothing, and the next one is added to that statement.
        let asked = [
            (OTHER, ["a", "elsewhere"], 5),
            ([10, 20, 0, 99], ["a", "elsewhere"], 5),
            ([10, 20, 30, 9], ["a", "elsewhere"], 0),
        ];
        let advice = advised(folder.path(), file, &asked);
        assert!(advice.contains(statement) && advice.contains("at the end add 10.20.0.99;"), "{advice}");
        assert!(advice.contains("Nothing else that was looked at"), "{advice}");
    }
    let off = "options { recursion no; };\n";
    assert!(advised(folder.path(), off, &[(OTHER, ["a", "elsewhere"], 5)]).contains("No list was found"));
}

/// named 9.18 sends a referral from a stub zone in a view without recursion.
#[test]
fn nobody_is_moved_from_recursion_to_the_referral_of_a_stub_zone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |recursion: &str| {
        format!(
            "view inside {{ match-clients {{ 10.1.0.0/16; }}; {recursion} {ZONE} zone shop {{ type stub; primaries {{ 10.0.0.1; }}; }}; }};\n\
             view outside {{ match-clients {{ any; }}; allow-recursion {{ any; }}; allow-query-cache {{ any; }};\n\
             zone corp {{ type primary; file \"y\"; allow-query-on {{ 127.0.0.1; }}; }}; }};\n"
        )
    };
    let asked = [(OTHER, CORP, 5), (OTHER, CORP, 5), (OTHER, ["b", "shop"], 0)];
    let advice = advised(folder.path(), &file("recursion no;"), &asked);
    assert!(advice.contains("or serves it otherwise: no change is advised."), "{advice}");
    let advice = advised(folder.path(), &file("allow-recursion { any; };"), &asked);
    assert!(advice.contains("of match-clients") && advice.contains("add 10.20.0.7;"), "{advice}");
    // What it is served already would then come from another view.
    let moved = "It also answers from another view, whose data may differ: 10.20.0.7 view outside -> view inside.";
    assert!(advice.contains(moved) && !advice.contains("Nothing else"), "{advice}");
}

#[test]
fn what_a_change_does_not_do_for_several_sources_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let view = format!("view inside {{ match-clients {{ key k; }}; {ZONE} }};\n");
    let keys = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\n";
    let office = "view office { match-clients { any; }; allow-recursion { 10.40.0.0/16; }; };\n";
    let asked = [(OTHER, CORP, 5), (OTHER, CORP, 5), ([10, 20, 0, 99], CORP, 5)];
    let advice = advised(folder.path(), &format!("{keys}{view}{office}"), &asked);
    let once =
        "For 10.20.0.7, 10.20.0.99 that does not lead to a view that knows the name, but elsewhere, for a.corp A.";
    assert!(advice.contains(once) && advice.matches("does not lead").count() == 1, "{advice}");
}

#[test]
fn a_block_is_named_by_its_words_and_a_list_is_told_from_those_that_begin_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = ["a", "elsewhere"];
    let all = "match-clients { any; };";
    let ends = "options { recursion no; allow-query { 10.1.0.0/16;\n }; };";
    let other = |name: &str| format!("zone {name} {{ type primary; file \"x\"; allow-query {{ 10.2.0.0/16; }}; }};");
    for (file, name, says) in [
        (format!("view \"a/b\" {{ {all} }};"), elsewhere, ", at the end of view \"a/b\" add allow-recursion"),
        (format!("view \"a}};b\" {{ {all} }};"), elsewhere, ", at the end of view \"a};b\" add allow-recursion"),
        (
            format!("view all\n{{\n{all}\n}};\n"),
            elsewhere,
            "in named.conf:1 (view all), at the end of view all add allow-recursion",
        ),
        (
            format!("view a /* 1 */ {{ match-clients {{ 10.1.1.1; }}; }}; view b /* 2 */ {{ {all} }};"),
            elsewhere,
            ", at the end of view b add allow-recursion",
        ),
        (
            format!("{ends} {} {ZONE}", other("b")),
            CORP,
            ", at the end of allow-query (not one after it in this line) add 10.20.0.7;",
        ),
        (
            format!("{ends} {} {} {ZONE}", other("b"), other("c")),
            CORP,
            ", at the end of allow-query (not one after it in this line) add 10.20.0.7;",
        ),
    ] {
        let advice = advised(folder.path(), &file, &[(OTHER, name, 5)]);
        assert!(advice.contains(says), "{file}: {advice}");
    }
}
