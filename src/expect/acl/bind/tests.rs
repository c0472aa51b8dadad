use super::*;
use crate::config::OwnServer;
use crate::expect::acl::compare::Question;
use crate::expect::acl::{Acl, asked};

/// Evaluates a question, as [`asked::verdict`] reads it.
fn says(text: &str, asked: &str) -> String {
    verdict("bind-9.18:named.conf", text, asked)
}

fn verdict(argument: &str, text: &str, asked: &str) -> String {
    let servers = [OwnServer { address: "10.53.0.1".parse().unwrap(), length: Some(24) }];
    let acl = Acl::from_text(argument, text, &servers).unwrap_or_else(|error| panic!("{error}\n{text}"));
    asked::verdict(&acl, asked)
}

/// The configuration of the story, as BIND.
const SEED: &str = "\
options {
    allow-recursion { 10.20.0.0/16; 127.0.0.1; };
    allow-query-cache { 10.20.0.0/16; 127.0.0.1; };
};
view \"internal\" {
    match-clients { 10.20.0.0/16; };
    recursion yes;
};
view \"external\" {
    match-clients { any; };
    recursion no;
};
";

#[test]
fn the_story_is_decided_with_its_lines() {
    assert_eq!(says(SEED, "192.0.2.45 www.example.com"), "refuse 11");
    assert_eq!(says(SEED, "10.21.5.18 www.example.com"), "refuse 11");
    assert_eq!(says(SEED, "10.20.1.7 www.example.com"), "allow 3");
    assert_eq!(says(SEED, "192.0.2.45 nord www.example.com"), "refuse 11");
    assert_eq!(says(SEED, "192.0.2.45 class 3 version.bind"), "allow 0");
    assert_eq!(says(SEED, "192.0.2.45 class 3 other.bind"), "refuse 0");
}

#[test]
fn the_servers_own_names_are_bound_by_the_options_and_not_by_views() {
    for (text, inside, outside) in [
        ("options { allow-query { 192.0.2.0/24; }; };", "allow", "refuse"),
        ("options { allow-query-on { 10.0.0.1; }; };", "refuse", "refuse"),
        ("options { allow-query-cache { none; }; };", "allow", "allow"),
        ("view all { allow-query { 192.0.2.0/24; }; };", "allow", "allow"),
    ] {
        let word = |source: &str| {
            let asked = format!("{source} class 3 id.server");
            says(text, &asked).split(' ').next().unwrap().to_owned()
        };
        assert_eq!((word("192.0.2.45").as_str(), word("10.53.0.9").as_str()), (inside, outside), "{text}");
    }
}

#[test]
fn a_list_in_the_place_of_another_is_named_with_both() {
    let text = "options { allow-query { 10.1.0.0/16; }; allow-recursion-on { 10.53.0.1; }; };";
    let acl = Acl::from_text("bind-9.18:named.conf", text, &[]).unwrap();
    let question = Question::default();
    let (_, steps) = acl.explain(&question.ask("10.1.1.1".parse().unwrap(), "10.53.0.1".parse().unwrap()));
    let says: Vec<&str> = steps.iter().map(|step| step.says.as_str()).collect();
    assert_eq!(
        says,
        [
            "allow-recursion (from allow-query): matches for 10.1.1.1",
            "allow-recursion-on: matches for 10.53.0.1",
            "allow-query-cache (from allow-query): matches for 10.1.1.1",
            "allow-query-cache-on (from allow-recursion-on): matches for 10.53.0.1",
        ]
    );
}

#[test]
fn cache_and_recursion_inherit_only_what_is_written() {
    for (options, inside, outside) in [
        // The default is { localnets; localhost; }.
        ("", "allow", "refuse"),
        ("allow-query { 192.0.2.0/24; };", "refuse", "allow"),
        ("allow-recursion { 192.0.2.0/24; };", "refuse", "allow"),
        ("allow-query-cache { 192.0.2.0/24; };", "refuse", "allow"),
        ("allow-query { any; }; allow-recursion { none; };", "refuse", "refuse"),
        // A miss of allow-recursion alone is answered from the cache.
        ("allow-recursion { none; }; allow-query-cache { any; };", "allow", "allow"),
        ("recursion no;", "refuse", "refuse"),
        ("recursion no; allow-query-cache { any; };", "refuse", "refuse"),
        ("allow-query-cache { any; }; allow-query-cache-on { 10.53.0.2; };", "refuse", "refuse"),
        ("allow-query-cache { any; }; allow-recursion-on { 10.53.0.2; };", "refuse", "refuse"),
        ("blackhole { 192.0.2.0/24; }; allow-query { any; };", "allow", "drop"),
    ] {
        let text = format!("options {{ {options} }};");
        let word = |asked: &str| says(&text, asked).split(' ').next().unwrap().to_owned();
        assert_eq!((word("10.53.0.9").as_str(), word("192.0.2.45").as_str()), (inside, outside), "{options}");
    }
}

#[test]
fn zones_replace_lists_and_do_not_merge_them() {
    let text = "\
options { allow-query { 10.0.0.0/8; }; recursion no; };
zone \"open.test\" { type primary; file \"x\"; allow-query { any; }; };
zone \"inherits.test\" { type primary; file \"x\"; };
zone \"closed.test\" { type primary; file \"x\"; allow-query { none; };
    allow-query-on { 10.53.0.2; }; };
";
    assert_eq!(says(text, "192.0.2.45 a.open.test"), "allow 2");
    assert_eq!(says(text, "192.0.2.45 a.inherits.test"), "refuse 1");
    assert_eq!(says(text, "10.1.1.1 a.inherits.test"), "allow 1");
    assert_eq!(says(text, "10.1.1.1 a.closed.test"), "refuse 4");
    assert_eq!(says(text, "10.1.1.1 elsewhere.test"), "refuse 1");
    assert_eq!(says(text, "10.1.1.1 nord DS open.test"), "allow 2", "no zone above, and no recursion");
}

#[test]
fn views_are_tried_in_order() {
    let text = "\
key \"k\" { algorithm hmac-sha256; secret \"AAAA\"; };
view \"signed\" { match-clients { key k; }; recursion no; allow-query { any; };
  zone \"z.test\" { type primary; file \"x\"; }; };
view \"second-address\" { match-destinations { 10.53.0.2; }; recursion no;
  zone \"z.test\" { type primary; file \"x\"; allow-query { none; }; }; };
view \"recursive\" { match-recursive-only yes; match-clients { 10.0.0.0/8; }; allow-query-cache { any; }; };
";
    assert_eq!(says(text, "192.0.2.1 key k z.test"), "allow 2");
    assert_eq!(says(text, "192.0.2.1 to 10.53.0.2 z.test"), "refuse 5");
    assert_eq!(says(text, "10.1.1.1 z.test"), "allow 6");
    assert_eq!(says(text, "10.1.1.1 nord z.test"), "refuse 0", "no view");
    assert_eq!(says(text, "192.0.2.1 z.test"), "refuse 0", "no view");
    assert_eq!(says(text, "10.1.1.1 key other z.test"), "notauth 0", "a key nobody knows");
    assert_eq!(says(text, "192.0.2.1 key other z.test"), "refuse 0", "no view comes first");
}

#[test]
fn transfers_updates_and_notifications() {
    let text = "\
key \"k\" { algorithm hmac-sha256; secret \"AAAA\"; };
primaries up { 192.0.2.1; };
zone \"p.test\" { type primary; file \"x\"; allow-update { key k; };
  allow-transfer { 192.0.2.7; }; };
zone \"s.test\" { type secondary; primaries { up; 192.0.2.2; }; allow-notify { 192.0.2.3; }; };
zone \"policy.test\" { type primary; file \"x\"; update-policy { grant k zonesub ANY; }; };
zone \"closed.test\" { type primary; file \"x\"; allow-query { none; }; allow-update { any; }; };
zone \"stub.test\" { type stub; primaries { up; }; };
options { allow-notify { 192.0.2.9; }; };
";
    for (asked, expected) in [
        ("192.0.2.7 tcp AXFR p.test", "allow 4"),
        ("192.0.2.8 tcp AXFR p.test", "refuse 4"),
        ("192.0.2.8 tcp AXFR s.test", "allow 0"),
        ("192.0.2.8 tcp AXFR sub.p.test", "notauth 0"),
        ("192.0.2.8 tcp AXFR none.test", "notauth 0"),
        ("192.0.2.8 update p.test", "refuse 3"),
        ("192.0.2.8 key k update p.test", "allow 3"),
        ("192.0.2.8 update s.test", "refuse 0"),
        ("192.0.2.8 key k update policy.test", "allow 6"),
        ("192.0.2.8 update policy.test", "refuse 6"),
        ("192.0.2.8 update closed.test", "refuse 7"),
        ("192.0.2.8 update none.test", "notauth 0"),
        ("192.0.2.8 notify p.test", "allow 0"),
        ("192.0.2.1 notify s.test", "allow 0"),
        ("192.0.2.2 notify s.test", "allow 0"),
        ("192.0.2.3 notify s.test", "allow 5"),
        ("192.0.2.4 notify s.test", "refuse 5"),
        // The list of the options is for it no more than for a primary zone (measured).
        ("192.0.2.1 notify stub.test", "allow 0"),
        ("192.0.2.9 notify stub.test", "refuse 0"),
        ("192.0.2.4 notify none.test", "notauth 0"),
    ] {
        assert_eq!(says(text, asked), expected, "{asked}");
    }
    let transfer = |argument: &str| verdict(argument, text, "192.0.2.8 tcp AXFR s.test");
    assert_eq!(transfer("bind-9.20:named.conf"), "refuse 0");
    assert_eq!(transfer("bind:named.conf"), "unknown 5", "the version decides");
}

/// What named 9.18.49 did with these files.
#[test]
fn a_zone_of_another_view_is_under_the_lists_of_that_view() {
    let views = |owner: &str, zone: &str, sharer: &str| {
        format!(
            "view v0 {{ match-clients {{ 10.1.2.1; }}; {owner}\n zone p.test {{ type primary; file p; {zone} }}; }};\n\
             view v1 {{ {sharer}\n zone p.test {{ in-view v0; }}; }};"
        )
        .replace("file p", "file \"p\"")
    };
    let (one, two) = ("allow-query { 10.1.2.1; 10.1.2.5; };", "allow-query { 10.1.2.9; };");
    let both = |words: [&str; 3]| words.map(str::to_owned);
    for (text, expected) in [
        (views(one, "", two), ["allow 1", "allow 1", "refuse 1"]),
        (views("", "", "allow-query { none; };"), ["allow 0", "allow 0", "allow 0"]),
        (views("", "", "allow-query-on { none; };"), ["allow 0", "allow 0", "allow 0"]),
        (views("allow-query-on { none; };", "", ""), ["refuse 1", "refuse 1", "refuse 1"]),
        (views(two, "allow-query { 10.1.2.5; };", ""), ["refuse 2", "allow 2", "refuse 2"]),
        (
            format!("options {{ {two} }};\n{}", views("", "", "allow-query { 10.1.2.5; };")),
            ["refuse 1", "refuse 1", "allow 1"],
        ),
    ] {
        let found = ["10.1.2.1", "10.1.2.5", "10.1.2.9"].map(|source| says(&text, &format!("{source} www.p.test")));
        assert_eq!(found, both(expected), "{text}");
    }
}

#[test]
fn what_the_text_does_not_tell_is_unknown() {
    let rpz = "options { allow-query { any; }; response-policy { zone \"rpz\"; }; };";
    assert_eq!(says(rpz, "192.0.2.1"), "unknown 1");
    assert_eq!(says("options { recursion no; response-policy { zone \"rpz\"; }; };", "192.0.2.1"), "refuse 1");
    assert_eq!(says("options { allow-query { geoip country DE; }; };", "192.0.2.1"), "unknown 1");
    assert_eq!(says("options { recursion no; };\ninclude \"gone\";", "192.0.2.1"), "unknown 2");
    assert_eq!(says("options { recursion no;\n allow-new-zones yes; };", "192.0.2.1"), "unknown 2");
    let without = Acl::from_text("bind:named.conf", "options { };", &[]).unwrap();
    assert_eq!(asked::verdict(&without, "192.0.2.1 a.test"), "unknown 0", "localnets");
    assert_eq!(asked::verdict(&without, "127.0.0.1 a.test"), "allow 0");
}

#[test]
fn empty_zones_answer_where_the_cache_would_refuse() {
    let text = "options { allow-query-cache { none; }; };";
    assert_eq!(says(text, "192.0.2.1 1.0.0.10.in-addr.arpa"), "allow 0");
    assert_eq!(says(text, "192.0.2.1 1.0.0.11.in-addr.arpa"), "refuse 1");
    let disabled = "options { allow-query-cache { none; }; disable-empty-zone \"10.in-addr.arpa\"; };";
    assert_eq!(says(disabled, "192.0.2.1 1.0.0.10.in-addr.arpa"), "refuse 1");
}

#[test]
fn mistakes_are_located() {
    for (text, place, what) in [
        ("options { recursion maybe; };", "1:11", "yes or no"),
        ("options {\n alow-query { any; };\n};", "2:2", "perhaps allow-query is meant"),
        ("options { pid-file none\n allow-query { none; }; };", "2:2", "a semicolon is missing before"),
        ("options { }\nzone \"x\" { type primary; };", "2:1", "a semicolon is missing before"),
        ("option { };", "1:1", "perhaps options is meant"),
        ("options { allow-query any; };", "1:11", "a list in braces"),
        ("options { allow-query { x; }; };", "1:25", "no acl of this name"),
        ("options { };\noptions { };", "2:1", "already at line 1"),
        ("options { allow-query { any; };\n allow-query { none; }; };", "2:2", "already at line 1"),
        ("view a { };\nzone \"x\" { type primary; file \"x\"; };", "2:1", "one of them"),
        ("view a { };\nview a { };", "2:6", "there already"),
        ("zone \"x\" { file \"x\"; };", "1:7", "no type"),
        ("zone \"x\" { type prim; };", "1:12", "this type"),
        ("zone \"x\" { type primary; };\nzone \"X\" { type primary; };", "2:7", "already at line 1"),
        ("zone \"a..b\" { type primary; };", "1:7", "no domain name"),
        ("zone \"x\" { type secondary; primaries { p; }; };", "1:40", "no list of this name"),
        ("zone \"x\" { type primary; update-policy { permit k zonesub; }; };", "1:42", "grant or deny"),
        ("options { blackhole { !; }; };", "1:23", "no element"),
        // Nor does named start with these, though no zone is there for them.
        ("options { allow-notify { x; }; };", "1:26", "no acl of this name"),
        ("view a { allow-update { x; }; };", "1:25", "no acl of this name"),
        ("options { allow-transfer { x; }; };", "1:28", "no acl of this name"),
        ("view a { zone \"x\" { in-view b; }; };", "1:29", "no earlier view"),
        // So says named-checkconf 9.18.49.
        (
            "view a { zone x { type primary; }; };\nview b { zone x { in-view a; }; };\nview c { zone x { in-view b; }; };",
            "3:27",
            "no earlier view",
        ),
        (
            "view a { zone x { type primary; }; };\nview b { zone x { in-view a; }; zone x { in-view a; }; };",
            "2:38",
            "given already",
        ),
    ] {
        let error = Acl::from_text("bind:named.conf", text, &[]).map(|_| ()).unwrap_err();
        let line = error.to_string();
        assert!(
            line.starts_with(&format!("error[E-ACL]: named.conf:{place}: ")) && line.contains(what),
            "{text}: {line}"
        );
        assert!(error.shown.is_some());
    }
}

#[test]
fn classes_mirrors_and_key_agreement_are_as_measured() {
    let text = "\
options { allow-query { 10.1.0.0/16; }; allow-query-cache { 10.2.0.0/16; }; };
zone \"m.test\" { type mirror; primaries { 10.9.9.9; }; };
";
    for (asked, expected) in [
        ("10.2.0.1 www.m.test", "allow 1"),
        ("10.1.0.1 www.m.test", "refuse 1"),
        ("10.1.0.1 DS m.test", "refuse 1"),
        ("10.1.0.1 class 4 x.test", "refuse 0"),
        ("10.1.0.1 class 255 x.test", "allow 0"),
        ("10.1.0.1 class 7 x.test", "allow 0"),
        ("10.9.0.1 TKEY x.test", "allow 0"),
        ("10.9.0.1 sections 1 0 0 TKEY x.test", "unknown 0"),
        ("10.9.0.1 sections 1 0 0 class 255 TKEY x.test", "unknown 0"),
    ] {
        assert_eq!(says(text, asked), expected, "{asked}");
    }
}

#[test]
fn a_list_that_many_zones_use_is_there_once_where_that_is_enough() {
    // The others are lists of their own, with its elements.
    let zone = |number: u32| {
        let more = if number == 0 { "" } else { "127.0.0.1; " };
        format!(
            "zone z{number}.test {{ type primary; file \"x\"; allow-query {{ few; }}; allow-transfer {{ {more}big; }}; }};\n"
        )
    };
    let zones: Vec<String> = (0..50).map(zone).collect();
    let text = format!(
        "acl few {{ 10.9.0.0/16; }}; acl big {{ 10.1.0.0/16; 10.2.0.0/16; any; }};\noptions {{ blackhole {{ few; }}; }};\n{}",
        zones.concat()
    );
    let acl = Acl::from_text("bind:named.conf", &text, &[]).unwrap();
    let rules = |entries: Vec<Entry>| {
        let rules: BTreeSet<(u32, bool)> = entries.iter().map(|entry| (entry.rule.0, entry.admits)).collect();
        (entries.len(), rules)
    };
    let ((all, of_all), (once, of_once)) =
        (rules(acl.policy().entries().collect()), rules(acl.policy().entries_once()));
    // What drops people in one place lets them pass in another.
    assert_eq!(of_all, of_once);
    assert!(once == of_once.len() && of_once.iter().filter(|(_, admits)| !admits).count() == 1, "{of_once:?}");
    assert!(all > 50 + 50 * 3, "{all}");
}

#[test]
fn every_prefix_is_an_edge_though_a_negated_list_gives_several_one_rule() {
    let list = "10.0.0.0/8; 11.0.0.0/8; !{ 10.0.0.0/8; 11.0.0.0/8; 12.0.0.0/8; }; any;";
    let acl = Acl::from_text("bind:named.conf", &format!("options {{ allow-query {{ {list} }}; }};"), &[]).unwrap();
    let prefixes: Vec<String> = acl.policy().prefixes().iter().map(ToString::to_string).collect();
    for prefix in ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "0.0.0.0/0", "::/0"] {
        assert_eq!(prefixes.iter().filter(|known| *known == prefix).count(), 1, "{prefix}: {prefixes:?}");
    }
}

/// The number of elements in the lists of a file, of which all together may have this many; or the error.
fn elements(text: &str, most_elements: u32) -> Result<u64, String> {
    let mut files = Files::new(None);
    let first = files.open_text("named.conf", text).unwrap();
    let surroundings = Surroundings { servers: &[], version: None, most_elements };
    let read = read(&mut files, first, &surroundings, &mut Rules::default());
    read.map(|policy| policy.elements()).map_err(|error| error.to_string())
}

#[test]
fn lists_are_bounded_together_and_those_that_name_the_same_are_one() {
    let zones = |lists: [&str; 3]| -> String {
        let zone = |list: &&str| {
            format!("zone {}.test {{ type primary; file \"x\"; allow-query {{ {list} }}; }};\n", list.len())
        };
        lists.iter().map(zone).collect()
    };
    let acls = "acl a { 10.0.0.0/24; 10.0.1.0/24; 10.0.2.0/24; };\nacl b { 10.0.3.0/24; !10.0.4.0/24; };\nacl c { 10.0.5.0/24; };\n";
    for (lists, all) in [
        (["a;", "a; ", "a;  "], 6),
        // Once the four elements of both.
        (["a; c;", "a;  c;", "a;   c;"], 6 + 4),
        (["a; c;", "c;  a;", "a;   a;"], 6 + 4 + 4 + 6),
        (["a; 192.0.2.1;", "a; 192.0.2.1; ", "a; 192.0.2.1;  "], 6 + 3 * 4),
        // A rule of its own decides.
        (["a; !c;", "a; !c; ", "a; !c;  "], 6 + 3 * 4),
        // A list inside the list.
        (["a; b;", "a; b; ", "a; b;  "], 6 + 3 * 4),
    ] {
        let text = format!("{acls}{}", zones(lists));
        assert_eq!(elements(&text, all), Ok(u64::from(all)), "{lists:?}");
        let said = elements(&text, all - 1).unwrap_err();
        assert!(
            said.starts_with("error[E-ACL]: named.conf:") && said.contains("too many elements in all lists"),
            "{said}"
        );
        assert!(said.ends_with("nothing was evaluated"), "{said}");
    }
}

#[test]
fn of_many_views_the_one_is_found_that_is_found_when_they_are_asked_one_after_the_other() {
    let kinds = [
        "match-clients { 10.0.N.0/24; 2001:db8:N::/48; };",
        "match-clients { !10.0.N.7; 10.0.N.0/24; 10.0.25.0/25; };",
        "match-clients { 10.0.N.9; }; match-destinations { 10.53.0.2; };",
        "match-clients { 10.0.N.0/28; }; match-recursive-only yes;",
        "match-clients { key k; };",
        "match-clients { !{ !10.0.N.1; 10.0.N.0/30; }; 10.0.N.0/29; };",
        "match-clients { localnets; }; match-destinations { 10.53.0.3; };",
        "match-clients { none; };",
        "match-clients { 10.0.0.0/19; 192.0.2.0/24; }; match-destinations { 10.53.0.4; };",
    ];
    let view = |number: usize| {
        let matching = kinds[number % kinds.len()].replace('N', &(number % 24).to_string());
        format!(
            "view \"v{number}\" {{ {matching} allow-query {{ any; }}; recursion yes; allow-recursion {{ any; }}; }};\n"
        )
    };
    let views: String = (0..60).map(view).collect();
    let key = "key \"k\" { algorithm hmac-sha256; secret \"AAAA\"; };\n";
    let text = format!("{key}{views}view \"last\" {{ match-recursive-only yes; }};\n");
    let servers = [OwnServer { address: "10.53.0.1".parse().unwrap(), length: Some(24) }];
    let acl = Acl::from_text("bind-9.18:named.conf", &text, &servers).unwrap();
    let near = (0..26).flat_map(|net| [0u8, 1, 2, 5, 7, 9, 12, 200].map(|host| IpAddr::from([10, 0, net, host])));
    let more = ["10.53.0.77", "192.0.2.3", "203.0.113.1", "::ffff:10.0.3.1", "2001:db8:4::1", "2001:db8:9::1"];
    let mut met = BTreeSet::new();
    for source in near.chain(more.map(|address| address.parse().unwrap())) {
        for (destination, rd, key) in
            [(1, true, None), (2, true, None), (3, false, None), (4, true, None), (1, false, Some("k"))]
        {
            let question = Question { rd, key: key.and_then(name::parse_name), ..Question::default() };
            let request = question.ask(source, IpAddr::from([10, 53, 0, destination]));
            let (explained, steps) = acl.explain(&request);
            let asked = format!("{source} to {destination}, rd {rd}, key {key:?}");
            assert_eq!(acl.decide(&request), explained, "{asked}");
            let one_after_the_other = steps.iter().find_map(|step| step.says.strip_suffix(" serves the request"));
            let found = acl.view(&request).map(|view| format!("view {view}"));
            assert_eq!(found.as_deref(), one_after_the_other, "{asked}");
            met.extend(found);
        }
    }
    assert!(met.len() > 30, "{met:?}");
}
