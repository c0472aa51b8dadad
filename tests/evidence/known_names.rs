//! Advice where one view knows a name and another would resolve it elsewhere.

use super::{CLIENT, SECOND, asked_for, findings, of_kind};

#[test]
fn a_name_that_a_view_knows_is_served_by_it_or_that_it_is_not_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let advised = |clients: &str, recursion: &str, names: &[[&str; 2]]| {
        let file = format!(
            "view inside {{ match-clients {{ {clients}; }}; {recursion} zone corp {{ type primary; file \"x\"; }}; }};\n\
             view office {{ match-clients {{ any; }}; allow-recursion {{ 10.40.0.0/16; }}; }};\n\
             key k {{ algorithm hmac-sha256; secret \"c2VjcmV0\"; }};"
        );
        let packets: Vec<_> = (0u16..)
            .zip(names)
            .flat_map(|(at, name)| asked_for(u64::from(at) * SECOND, CLIENT, at, *name, 1, 5, None))
            .collect();
        let found = findings(folder.path(), &file, &packets);
        of_kind(&found, "acl-refuses-expected").unwrap().2.to_owned()
    };
    let (corp, other) = (["a", "corp"], ["a", "other"]);
    let elsewhere = "does not lead to a view that knows the name, but elsewhere, for a.corp A.";
    // The most frequent name is in no view, and is resolved in the view that also knows the other name.
    let open = "allow-recursion { any; }; allow-query-cache { any; };";
    let advice = advised("10.1.0.0/16", open, &[other, other, other, corp, corp]);
    assert!(advice.contains("at the end of match-clients add 10.9.9.9;") && !advice.contains(" and in "), "{advice}");
    assert!(!advice.contains("elsewhere") && !advice.contains("still be turned away"), "{advice}");
    // That view does not recurse: the most frequent name decides, and what becomes of the other is stated.
    let advice = advised("10.1.0.0/16", "recursion no;", &[other, other, other, corp, corp]);
    assert!(advice.contains("at the end of allow-recursion add 10.9.9.9;") && advice.contains(elsewhere), "{advice}");
    // No address leads to the view that knows the name.
    let advice = advised("key k", "", &[corp, corp]);
    assert!(advice.contains("at the end of allow-recursion add 10.9.9.9;") && advice.contains(elsewhere), "{advice}");
}
