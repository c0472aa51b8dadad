//! Statements about a changed address: when it alone is to blame, when it is not, and when that depends.

use super::*;

#[test]
fn what_each_refused_source_asked_for_is_asked_for_the_own_address_before_it_is_said_to_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let zone = |name: &str, clients: &str| {
        format!("zone {name} {{ type primary; file \"{name}\"; allow-query {{ {clients}; }}; }};\n")
    };
    let file = format!("options {{ recursion no; }};\n{}{}", zone("open", "10.9.9.0/24"), zone("closed", "10.1.1.1"));
    let said = |most: &str, beside: &str| {
        let asked = [(OTHER, most), (OTHER, most), ([10, 20, 0, 8], beside)];
        let packets: Vec<_> = (0..)
            .zip(asked)
            .flat_map(|(at, (source, name))| asked_for(at * SECOND, source, at as u16, ["www", name], 1, 5, None))
            .collect();
        let found = findings(folder.path(), &file, &packets);
        let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
        (says.to_owned(), advice.to_owned())
    };
    // 10.20.0.8 may be the client of 10.9.9.0/24, and is refused for its changed address alone.
    let (says, advice) = said("closed", "open");
    let where_its_own =
        "Where clients of 10.9.9.0/24 arrive under their own addresses, it says refuse for www.closed A (";
    assert!(says.contains(where_its_own) && says.contains("but not for www.open A"), "{says}");
    assert!(!advice.contains("changes nothing"), "{advice}");
    // Only of the first it is said that the changed address is to blame.
    let (says, advice) = said("open", "closed");
    assert!(says.contains("if it is one of them, only the changed address is to blame"), "{says}");
    assert!(advice.contains("do not translate them"), "{advice}");
}

#[test]
fn of_more_sources_than_are_looked_at_nothing_is_said_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = "options { recursion no; };\nzone closed { type primary; file \"x\"; allow-query { 10.1.1.1; }; };\n";
    let said = |count: u16| {
        let packets: Vec<_> = (0..count)
            .flat_map(|at| {
                let [high, low] = at.to_be_bytes();
                asked_for(u64::from(at) * 2 * MILLI, [10, 20, high, low], at, ["www", "closed"], 1, 5, None)
            })
            .collect();
        let found = findings(folder.path(), file, &packets);
        let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
        (says.to_owned(), advice.contains("Allowing 10.9.9.0/24 changes nothing for any source seen here."))
    };
    let (says, of_any) = said(256);
    assert!(says.contains("restoring their source alone changes nothing.") && of_any, "{says}");
    let (says, of_any) = said(257);
    assert!(says.contains("restoring their source alone changes nothing of what was looked at.") && !of_any, "{says}");
}

#[test]
fn what_helps_another_question_does_not_take_a_name_from_the_view_that_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = "view guests { match-clients { 10.60.0.0/16; }; allow-recursion { any; }; };\n\
                view inside { match-clients { 10.9.0.0/16; }; recursion no; zone corp { type primary; file \"x\"; }; };\n";
    let packets: Vec<_> = (0..)
        .zip(["corp", "corp", "elsewhere"])
        .flat_map(|(at, name)| asked_for(at * SECOND, OTHER, at as u16, ["www", name], 1, 5, None))
        .collect();
    let found = findings(folder.path(), file, &packets);
    let (_, _, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
    assert!(advice.contains("To admit 10.20.0.7: in named.conf:2 (view inside"), "{advice}");
    assert!(advice.contains("It would still be turned away asking for www.elsewhere A."), "{advice}");
    assert!(!advice.contains("view guests"), "{advice}");
}

#[test]
fn many_rules_and_silence_beside_a_refusal_are_one_treatment_of_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let packets: Vec<_> = asked_for(0, OTHER, 1, ["www", "zone"], 1, 5, None);
    let said = |options: &str, clients: &str| {
        let zone = format!("zone zone {{ type primary; file \"z\"; allow-query {{ {clients} }}; }};");
        let file = format!("options {{ recursion no; {options} }};\n{zone}\n");
        let found = findings(folder.path(), &file, &packets);
        let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
        (says.to_owned(), advice.to_owned())
    };
    let eighths: Vec<String> = (0..8).map(|eighth| format!("10.9.9.{}/27; ", eighth * 32)).collect();
    let (says, advice) = said("", &eighths.concat());
    assert!(
        says.contains("It allows clients of 10.9.9.0/24 under their own addresses (by several rules): if"),
        "{says}"
    );
    assert!(advice.contains("do not translate them"), "{advice}");
    let (says, advice) = said("blackhole { 10.9.9.128/25; };", "10.1.1.1;");
    assert!(
        says.contains("It says refuse or drop for clients of 10.9.9.0/24 under their own addresses as well"),
        "{says}"
    );
    assert!(advice.contains("Allowing 10.9.9.0/24 changes nothing"), "{advice}");
    // Some of the parts that are treated otherwise are named.
    let (says, _) = said("", &eighths[..7].concat());
    let parts = "Where clients of 10.9.9.0/24 arrive under their own addresses, it says allow for 10.9.9.0/27, ";
    assert!(says.contains(parts), "{says}");
    assert!(says.contains("allow for 10.9.9.96/27, and more: whether the changed address"), "{says}");
}

#[test]
fn the_changed_address_is_to_blame_for_what_its_own_would_be_allowed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let zone = |name: &str, clients: &str| {
        format!("zone {name} {{ type primary; file \"{name}\"; allow-query {{ {clients}; }}; }};\n")
    };
    let file = format!("options {{ recursion no; }};\n{}{}", zone("open", "10.9.9.0/24"), zone("closed", "10.1.1.1"));
    // 10.20.0.7 may be a client of 10.9.9.0/24, of which nothing was captured.
    for (names, said, advised) in [
        (&["open", "open"][..], "only the changed address is to blame", "do not translate them"),
        (&["closed", "closed"], "restoring their source alone changes nothing", "changes nothing for any source"),
        (&["open", "open", "closed"], "it says allow for www.open A (named.conf:2 ", ""),
        (&["open", "closed", "closed"], "it says refuse for www.closed A (named.conf:3 ", ""),
    ] {
        let packets: Vec<_> = (0..)
            .zip(names)
            .flat_map(|(at, name)| asked_for(at * SECOND, OTHER, at as u16, ["www", *name], 1, 5, None))
            .collect();
        let found = findings(folder.path(), &file, &packets);
        let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
        assert!(says.contains(said) && advice.contains(advised), "{names:?}: {says} {advice}");
        if advised.is_empty() {
            let other = if says.contains("allow for") { "closed" } else { "open" };
            let rest = format!("but not for www.{other} A: whether the changed address is to blame depends on what");
            assert!(says.contains(&rest), "{says}");
            assert!(!advice.contains("do not translate") && !advice.contains("changes nothing"), "{advice}");
        }
    }
}

#[test]
fn everything_that_was_turned_away_is_asked_for_the_own_address_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let zone = |name: &str, clients: &str| {
        format!("zone {name} {{ type primary; file \"{name}\"; allow-query {{ {clients}; }}; }};\n")
    };
    let zones: Vec<String> = (0..11).map(|number| format!("z{number}")).collect();
    let closed: String = zones.iter().map(|name| zone(name, "10.1.1.1")).collect();
    let file = format!("options {{ recursion no; }};\n{closed}{}", zone("open", "10.9.9.0/24"));
    let refused = |names: &[(&str, &str)]| -> Vec<(u64, Vec<u8>)> {
        let each = (0..).zip(names);
        each.flat_map(|(at, (host, zone))| asked_for(at * SECOND, OTHER, at as u16, [*host, *zone], 1, 5, None))
            .collect()
    };
    let said = |packets: &[(u64, Vec<u8>)]| {
        let found = findings(folder.path(), &file, packets);
        let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
        (says.to_owned(), advice.to_owned())
    };
    // Only the last of many zones is open.
    let mut names: Vec<(&str, &str)> = vec![("a", "z0"); 3];
    names.extend(zones.iter().flat_map(|zone| [("a", zone.as_str()), ("b", zone.as_str())]));
    names.push(("a", "open"));
    let (says, _) = said(&refused(&names));
    assert!(says.contains("it says refuse for a.z0 A") && says.contains("but not for a.open A: whether"), "{says}");
    // Questions that differ only in an option are named once.
    let mut packets = refused(&[("a", "z0"), ("a", "z0"), ("a", "z0"), ("a", "open")]);
    for (time, bytes) in packets.clone().into_iter().skip(6) {
        let mut message = bytes[42..].to_vec();
        (message[0], message[11]) = (1, 1);
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        packets.push(packet(time + SECOND, OTHER, &message));
    }
    let (says, _) = said(&packets);
    assert!(says.contains("but not for a.open A: whether"), "{says}");
    // It is turned away from either address, by REFUSED or by NOTAUTH.
    let mut packets = refused(&[("a", "z0"), ("a", "z0")]);
    packets.extend(asked_for(3 * SECOND, OTHER, 3, ["a", "z0"], 1, 9, Some(17)));
    let (says, advice) = said(&packets);
    assert!(says.contains("restoring their source alone changes nothing"), "{says}");
    assert!(advice.contains("Allowing 10.9.9.0/24 changes nothing"), "{advice}");
    // Where a proxy names a client from there, the file may decide for that client; the proxy is not to be admitted.
    let ends = [10, 9, 9, 3, 10, 20, 30, 40, 16, 0, 0, 53];
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"[..], &ends].concat();
    let proxied = asked_for(4 * SECOND, [10, 20, 0, 8], 4, ["a", "z0"], 1, 5, None);
    packets.push(packet(proxied[0].0, [10, 20, 0, 8], &[&header, &proxied[0].1[42..]].concat()));
    packets.push(proxied[1].clone());
    let (says, advice) = said(&packets);
    assert!(says.contains("name 10.9.9.3 of 10.9.9.0/24"), "{says}");
    assert!(!advice.contains("changes nothing") && advice.contains("To admit 10.20.0.7"), "{advice}");
    assert!(!advice.contains("To admit 10.20.0.8"), "{advice}");
}

/// Statement and advice about the unlisted client that asked for names of two labels, each twice in a row, and was
/// refused.
fn said_of(folder: &Path, file: &str, names: &[[&str; 2]], more: &[(u64, Vec<u8>)]) -> (String, String) {
    let twice = names.iter().flat_map(|name| [name, name]).zip(0u16..);
    let mut packets: Vec<_> =
        twice.flat_map(|(name, at)| asked_for(u64::from(at) * SECOND, OTHER, at, *name, 1, 5, None)).collect();
    packets.extend_from_slice(more);
    let found = findings(folder, file, &packets);
    let (_, says, advice) = of_kind(&found, "unlisted-source-refused").unwrap();
    (says.to_owned(), advice.to_owned())
}

#[test]
fn of_more_names_than_are_kept_not_all_was_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let names = [["a", "one"], ["a", "two"], ["a", "three"]];
    // In one view all are refused by one rule; in the other the third is treated differently.
    let file = |all: &str, third: &str| {
        let zone = |name: &str, own: &str| {
            format!("zone {name} {{ type primary; file \"{name}\"; allow-query {{ {own}; }}; }};")
        };
        format!(
            "view inside {{ match-clients {{ 10.9.9.0/24; }}; recursion no; {}{}{} }};\n\
             view outside {{ match-clients {{ any; }}; recursion no; allow-query {{ none; }}; }};",
            zone("one", all),
            zone("two", all),
            zone("three", third)
        )
    };
    let (says, advice) = said_of(folder.path(), &file("none", "any"), &names, &[]);
    assert!(says.contains("alone changes nothing of what was looked at."), "{says}");
    assert!(!advice.contains("changes nothing"), "{advice}");
    let (says, _) = said_of(folder.path(), &file("any", "none"), &names, &[]);
    assert!(says.contains("only the changed address is to blame for what was looked at."), "{says}");
    // Two names are all that was asked for.
    let (says, advice) = said_of(folder.path(), &file("none", "any"), &names[..2], &[]);
    assert!(says.contains("alone changes nothing. ") || says.ends_with("alone changes nothing."), "{says}");
    assert!(advice.contains("Allowing 10.9.9.0/24 changes nothing"), "{advice}");
    let (says, _) = said_of(folder.path(), &file("any", "none"), &names[..2], &[]);
    assert!(says.contains("only the changed address is to blame."), "{says}");
    // The same rule turns away both, whatever was asked.
    let one = "options { recursion no; allow-query { 10.1.1.1; }; };";
    let (says, advice) = said_of(folder.path(), one, &names, &[]);
    assert!(says.ends_with("alone changes nothing."), "{says}");
    assert!(advice.contains("Allowing 10.9.9.0/24 changes nothing"), "{advice}");
}

#[test]
fn what_only_servers_ask_is_asked_for_the_own_address_as_well() {
    let folder = tempfile::tempdir().unwrap();
    // The same name again, as a transfer.
    let mut transfer = asked_for(60 * SECOND, OTHER, 60, ["corp", "test"], 1, 5, None);
    for (_, bytes) in &mut transfer {
        let kind = bytes.len() - 3;
        bytes[kind] = 252;
    }
    let file = |clients: &str, partners: &str| {
        format!(
            "options {{ recursion no; allow-query {{ {clients}; }}; }};\n\
             zone corp.test {{ type primary; file \"x\"; allow-transfer {{ {partners}; }}; }};"
        )
    };
    let (says, advice) = said_of(folder.path(), &file("10.1.1.1", "10.9.9.0/24"), &[["corp", "test"]], &transfer);
    assert!(says.contains("it says refuse for corp.test A") && says.contains("but not for corp.test AXFR"), "{says}");
    assert!(!advice.contains("changes nothing"), "{advice}");
    let (says, _) = said_of(folder.path(), &file("10.9.9.0/24", "10.1.1.1"), &[["corp", "test"]], &transfer);
    assert!(says.contains("it says allow for corp.test A") && says.contains("but not for corp.test AXFR"), "{says}");
}
