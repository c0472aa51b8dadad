use super::*;
use crate::expect::Inventory;
use crate::expect::acl::{Acl, Word};
use ipnet::IpNet;
use std::collections::BTreeSet;

const BIND: &str = "\
options {
    allow-recursion { 10.20.0.0/16; };
    allow-query-cache { 10.20.0.0/16; };
};
";

fn acl(text: &str) -> Acl {
    Acl::from_text("bind-9.18:named.conf", text, &[]).unwrap()
}

#[test]
fn ranges_cover_everything_once() {
    let prefixes = ["10.20.0.0/16", "10.20.7.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32"];
    let all = ranges(prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap()));
    for v6 in [false, true] {
        let family: Vec<&Range> = all.iter().filter(|range| range.v6 == v6).collect();
        assert_eq!(family[0].first, 0);
        assert!(family.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
    }
    assert_eq!(all[1].show(), "10.20.0.0-10.20.6.255");
    assert_eq!(all[2].show(), "10.20.7.0/24");
}

#[test]
fn an_edit_that_another_list_undoes_is_told() {
    let (old, new) = (acl(BIND), acl(&BIND.replacen("10.20.0.0/16;", "10.20.0.0/16; 10.21.0.0/16;", 1)));
    let found = diff(&old, &new, &[]);
    assert!(found.changes.is_empty(), "{:?}", found.changes);
    assert_eq!(found.without_effect.len(), 1);
    let without = &found.without_effect[0];
    assert_eq!((without.entry.list.as_str(), without.entry.matches.as_str()), ("allow-recursion", "10.21.0.0/16"));
    assert_eq!((without.decision.word, new.rule(without.decision.rule.unwrap()).line), (Word::Refuse, 3));
}

#[test]
fn what_an_entry_stands_for_is_looked_for_in_its_own_list() {
    let file = |cache: &str, recursion: &str, query: &str| {
        let options =
            format!("allow-query-cache {{ {cache} }}; allow-recursion {{ {recursion} }}; allow-query {{ {query} }};");
        acl(&format!("options {{ {options} }};\nzone z.test {{ type primary; file \"z\"; }};"))
    };
    let halves = "10.20.0.0/16; 10.21.0.0/16;";
    let before = file("10.22.0.0/16;", halves, "any;");
    for (about, after, told) in [
        ("two that are one now", file("10.22.0.0/16;", "10.20.0.0/15;", "any;"), &[][..]),
        (
            "before one that says the same",
            file("10.22.0.0/16;", halves, "10.9.0.0/16; any;"),
            &["allow-query 10.9.0.0/16"],
        ),
        ("what another list has", file("10.22.0.0/16;", "10.22.0.0/16; 10.21.0.0/16; 10.20.0.0/16;", "any;"), &[]),
        (
            "in vain",
            file("10.22.0.0/16;", "10.20.0.0/16; 10.21.0.0/16; 10.23.0.0/16;", "any;"),
            &["allow-recursion 10.23.0.0/16"],
        ),
    ] {
        let found = diff(&before, &after, &[]).without_effect;
        let said: Vec<String> = found.iter().map(|one| format!("{} {}", one.entry.list, one.entry.matches)).collect();
        assert_eq!(said, told, "{about}");
    }
}

/// named 9.18.49 sends whoever may not recurse a referral where the name is in a stub zone, without an answer.
#[test]
fn a_referral_from_a_stub_zone_is_no_answer() {
    let file = |recursion: &str| {
        acl(&format!(
            "options {{ allow-recursion {{ {recursion} }}; }};\nzone stub.test {{ type stub; primaries {{ 10.1.1.1; }}; }};\n\
             zone own.test {{ type primary; file \"x\"; }};"
        ))
    };
    let inventory = Inventory::from_text("clients.csv", "prefix\n10.20.0.0/16\n").unwrap();
    for (name, differences) in [("www.stub.test", 1), ("www.own.test", 0)] {
        let question = Question { qname: crate::expect::acl::name::parse_name(name).unwrap(), ..Question::default() };
        let questions = std::slice::from_ref(&question);
        let found = check(&file("10.9.0.0/16;"), &inventory, questions, None);
        assert_eq!(found.len(), differences, "{name}: {found:?}");
        assert!(found.iter().all(|difference| difference.treatment.lacks_recursion()), "{found:?}");
        assert!(check(&file("10.20.0.0/16;"), &inventory, questions, None).is_empty(), "{name}");
    }
}

#[test]
fn every_name_and_key_is_asked_for_or_it_is_said_that_not_all_were() {
    // What changes for the last of many zones alone, and for requests signed with one of two keys alone.
    let zones = |last: &str, count: usize| -> String {
        let zone = |number: usize| {
            let clause = if number + 1 == count { last } else { "" };
            format!("zone \"z{number:04}.example\" {{ type primary; file \"z\"; {clause} }};\n")
        };
        (0..count).map(zone).collect::<Vec<String>>().concat()
    };
    let keys = "key k1 { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\nkey k2 { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\n";
    let file = |last: &str, count: usize| {
        acl(&format!("{keys}options {{ recursion no; allow-transfer {{ none; }}; }};\n{}", zones(last, count)))
    };
    let labels = |found: &Differences| -> Vec<String> {
        let all = found.changes.iter().flat_map(|change| &change.questions);
        all.map(|number| found.questions[*number].label.clone()).collect()
    };
    let found = diff(&file("", 700), &file("allow-transfer { 192.0.2.0/24; };", 700), &[]);
    assert_eq!((labels(&found), found.not_asked), (vec!["z0699.example AXFR".to_owned()], 0));
    let found = diff(&file("allow-update { key k1; };", 9), &file("allow-update { key k1; key k2; };", 9), &[]);
    assert_eq!(labels(&found), ["z0008.example UPDATE signed with k2"; 2], "both families");
    assert!(found.without_effect.is_empty());
    // Too much to ask for.
    let names: BTreeSet<Vec<u8>> = (0..100u8).map(|n| vec![1, b'a' + n % 26, 1, b'a' + n / 26, 0]).collect();
    let (asked, left) = Question::all(&names, true, &BTreeSet::new(), 52);
    assert_eq!((asked.len(), asked.len() + left), (54, 4 + 5 * names.len()));
}

#[test]
fn below_zones_in_views_and_of_what_servers_serve_themselves_changes_are_told() {
    let unbound = |text: &str| {
        Acl::from_text("unbound-1.17:u.conf", &format!("server:\n access-control: 10.0.0.0/8 allow\n{text}"), &[])
            .unwrap()
    };
    let labels = |old: &Acl, new: &Acl| -> Vec<String> {
        let found = diff(old, new, &[]);
        let first = found.changes.iter().find(|change| change.range.show() == "10.0.0.0/8");
        first.map_or_else(Vec::new, |change| {
            change.questions.iter().map(|at| found.questions[*at].label.clone()).collect()
        })
    };
    let zone = |kind: &str, data: &str| {
        unbound(&format!(" local-zone: \"z.example\" {kind}\n local-data: \"z.example A 192.0.2.1\"\n{data}"))
    };
    assert_eq!(labels(&zone("refuse", ""), &zone("static", "")), ["a name below z.example", "z.example AAAA"]);
    let more = " local-data: \"z.example AAAA 2001:db8::1\"\n";
    assert_eq!(labels(&zone("refuse", ""), &zone("refuse", more)), ["z.example AAAA"]);
    let view = |kind: &str| {
        unbound(&format!(
            " access-control-view: 10.0.0.0/8 v\nview:\n name: \"v\"\n local-zone: \"v.example\" {kind}\n"
        ))
    };
    assert_eq!(labels(&view("always_refuse"), &view("static")).len(), 4);
    let bind = |more: &str| {
        acl(&format!(
            "options {{ recursion no; allow-query {{ 10.1.0.0/16; {more} }}; }};\nzone \"z.example\" {{ type primary; file \"z\"; allow-query {{ any; }}; }};\n"
        ))
    };
    assert!(labels(&bind(""), &bind("10.0.0.0/8;")).is_empty(), "a part of it was allowed");
    let found = diff(&bind(""), &bind("192.0.2.0/24;"), &[]);
    let labels: Vec<&str> = found
        .changes
        .iter()
        .flat_map(|change| &change.questions)
        .map(|at| found.questions[*at].label.as_str())
        .collect();
    assert!(labels.contains(&"version.bind TXT CH"), "{labels:?}");
}

#[test]
fn changes_are_told_by_range() {
    let (old, new) = (acl(BIND), acl(&BIND.replace("10.20.0.0/16;", "!10.20.7.0/24; 10.20.0.0/16; 10.21.0.0/16;")));
    let found = diff(&old, &new, &[]);
    let shown: Vec<String> = found
        .changes
        .iter()
        .filter(|change| change.questions.contains(&0))
        .map(|change| format!("{} {}", change.range.show(), change.after.decision.word.name()))
        .collect();
    assert_eq!(shown, ["10.20.7.0/24 refuse", "10.21.0.0/16 allow"]);
    assert!(found.without_effect.is_empty());
    assert_eq!(diff(&old, &old, &[]).changes, []);
}

#[test]
fn every_part_of_a_prefix_is_told() {
    let acl = acl(&BIND.replace("10.20.0.0/16;", "!10.20.7.0/24; 10.20.0.0/16;"));
    let shown = |prefix: &str, most: usize| {
        let (parts, all) = within(&acl, prefix.parse().unwrap(), &Question::default(), None, most);
        let words = parts.iter().map(|(range, decision)| format!("{} {}", range.show(), decision.word.name()));
        (words.collect::<Vec<_>>(), all)
    };
    assert_eq!(shown("10.20.1.0/24", 3), (vec!["10.20.1.0/24 allow".to_owned()], true));
    let parts = ["10.20.6.0/24 allow", "10.20.7.0/24 refuse"].map(str::to_owned);
    assert_eq!(shown("10.20.6.0/23", 3), (parts.to_vec(), true));
    assert_eq!(shown("10.20.6.0/23", 1), (parts[..1].to_vec(), false));
    let wide = shown("10.0.0.0/8", 9);
    assert_eq!((wide.0.len(), wide.0[0].as_str(), wide.1), (5, "10.0.0.0-10.19.255.255 refuse", true));
}

#[test]
fn parts_of_an_inventory_that_differ_are_told() {
    let inventory = Inventory::from_text(
        "expect.csv",
        "prefix,name,expect\n10.20.0.0/15,both,\n10.20.9.0/24,guests,refuse\n10.22.0.0/16,strangers,refuse\n",
    )
    .unwrap();
    let acl = acl(BIND);
    let found = check(&acl, &inventory, &[Question::default()], None);
    let shown: Vec<(u64, String, &str)> =
        found.iter().map(|one| (one.row.line, one.range.show(), one.treatment.decision.word.name())).collect();
    assert_eq!(shown, [(2, "10.21.0.0/16".to_owned(), "refuse"), (3, "10.20.9.0/24".to_owned(), "allow")]);
}
