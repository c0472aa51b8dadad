use crate::expect::acl::{Acl, asked};

/// Evaluates a question, as [`asked::verdict`] reads it.
fn says(text: &str, asked: &str) -> String {
    let acl = Acl::from_text("unbound:unbound.conf", text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    asked::verdict(&acl, asked)
}

fn each(text: &str, cases: &[(&str, &str)]) {
    for (asked, expected) in cases {
        assert_eq!(says(text, asked), *expected, "{asked}\n{text}");
    }
}

#[test]
fn the_longest_prefix_decides_and_the_last_of_identical_lines() {
    let text = "server:
 access-control: 0.0.0.0/0 refuse
 access-control: 10.0.0.0/8 deny
 access-control: 10.20.0.0/16 allow
 access-control: 10.20.0.0/16 deny
 access-control: 10.21.9.9/16 allow
 access-control: 127.0.0.1 refuse
 access-control: 2001:db8::/32 allow
";
    each(
        text,
        &[
            ("192.0.2.45", "refuse 2"),
            ("10.1.1.1", "drop 3"),
            ("10.20.1.1", "drop 5"),
            ("10.21.1.1", "allow 6"),
            ("127.0.0.1", "refuse 7"),
            ("127.0.0.2", "allow 0"),
            ("2001:db8::1", "allow 8"),
            ("2001:db9::1", "refuse 0"),
            ("::1", "allow 0"),
        ],
    );
    assert_eq!(says("server:\n verbosity: 1\n", "10.1.1.1"), "refuse 0");
}

#[test]
fn actions_look_at_recursion_and_local_data() {
    let text = "server:
 local-data: \"www.corp.example. A 10.0.0.1\"
 access-control: 10.1.0.0/16 allow
 access-control: 10.2.0.0/16 allow_snoop
 access-control: 10.3.0.0/16 allow_setrd
 access-control: 10.4.0.0/16 deny_non_local
 access-control: 10.5.0.0/16 refuse_non_local
 access-control: 10.6.0.0/16 allow_cookie
";
    each(
        text,
        &[
            ("10.1.1.1", "allow 3"),
            ("10.1.1.1 nord", "refuse 3"),
            ("10.1.1.1 nord www.corp.example", "allow 3"),
            ("10.1.1.1 nord TXT www.corp.example", "allow 3"),
            ("10.1.1.1 nord corp.example", "refuse 3"),
            ("10.2.1.1 nord", "allow 4"),
            ("10.3.1.1 nord", "allow 5"),
            ("10.4.1.1", "drop 6"),
            ("10.4.1.1 www.corp.example", "allow 6"),
            ("10.5.1.1", "refuse 7"),
            ("10.5.1.1 localhost", "allow 7"),
            ("10.5.1.1 1.1.1.10.in-addr.arpa", "allow 7"),
            ("10.6.1.1", "unknown 8"),
            ("10.6.1.1 tcp", "allow 8"),
            ("10.1.1.1 AXFR www.corp.example", "refuse 0"),
            ("10.1.1.1 class 3 TXT version.bind", "allow 3"),
        ],
    );
    assert_eq!(
        says("server:\n access-control: 0.0.0.0/0 allow\n hide-version: yes", "10.1.1.1 class 3 TXT version.bind"),
        "refuse 3"
    );
}

#[test]
fn local_zones_refuse_what_has_no_data() {
    let text = "server:
 access-control: 10.0.0.0/8 allow
 local-zone: \"r.example\" refuse
 local-data: \"a.r.example. A 10.0.0.1\"
 local-zone: \"d.example\" deny
 local-zone: \"s.example\" static
 local-zone: \"ar.example\" always_refuse
 local-data: \"a.ar.example. A 10.0.0.1\"
 local-zone: \"t.r.example\" transparent
";
    each(
        text,
        &[
            ("10.1.1.1 a.r.example", "allow 2"),
            ("10.1.1.1 TXT a.r.example", "refuse 3"),
            ("10.1.1.1 b.r.example", "refuse 3"),
            ("10.1.1.1 x.d.example", "drop 5"),
            ("10.1.1.1 x.s.example", "allow 2"),
            ("10.1.1.1 nord x.s.example", "allow 2"),
            ("10.1.1.1 a.ar.example", "refuse 7"),
            ("10.1.1.1 x.t.r.example", "allow 2"),
            ("10.1.1.1 DS t.r.example", "refuse 3"),
            ("192.0.2.1 a.r.example", "refuse 0"),
        ],
    );
}

/// What unbound 1.17.1 did with these lines.
#[test]
fn of_several_views_of_a_prefix_or_an_interface_the_first_line_decides() {
    let views = "view:\n name: one\n local-zone: a.test refuse\nview:\n name: two\n local-zone: b.test refuse\n";
    let lines = |names: [&str; 2]| {
        let [prefix, interface] = ["access-control-view: 10.1.2.0/24", "interface-view: 10.53.0.2"]
            .map(|what| names.map(|name| format!(" {what} {name}\n")).concat());
        format!(
            "server:\n interface: 10.53.0.1\n interface: 10.53.0.2\n interface-action: 10.53.0.2 allow\n\
             {prefix}{interface}{views}"
        )
    };
    each(
        &lines(["one", "two"]),
        &[
            ("10.1.2.1 x.a.test", "refuse 11"),
            ("10.1.2.1 x.b.test", "allow 5"),
            ("10.9.9.9 x.a.test to 10.53.0.2", "refuse 11"),
            ("10.9.9.9 x.b.test to 10.53.0.2", "allow 4"),
        ],
    );
    each(
        &lines(["two", "one"]),
        &[
            ("10.1.2.1 x.a.test", "allow 5"),
            ("10.1.2.1 x.b.test", "refuse 14"),
            ("10.9.9.9 x.a.test to 10.53.0.2", "allow 4"),
            ("10.9.9.9 x.b.test to 10.53.0.2", "refuse 14"),
        ],
    );
}

#[test]
fn views_tags_and_interfaces() {
    let text = "server:
 define-tag: \"red blue\"
 interface: 10.53.0.1
 interface: 10.53.0.2
 interface-action: 10.53.0.2 allow
 access-control: 10.1.0.0/16 allow
 access-control-view: 10.2.0.0/16 inner
 access-control-view: 10.3.0.0/16 first
 access-control-tag: 10.4.0.0/16 \"blue\"
 access-control-tag: 10.5.0.0/16 \"red blue\"
 access-control-tag-action: 10.5.0.0/16 red refuse
 local-zone: \"g.example\" refuse
 local-zone: \"tagged.example\" static
 local-zone-tag: \"tagged.example\" \"red\"
 local-zone: \"o.example\" transparent
 local-zone-override: \"o.example\" 10.1.2.0/24 always_refuse
view:
 name: inner
 local-zone: \"v.example\" refuse
view:
 name: first
 view-first: yes
 local-zone: \"v.example\" refuse
";
    each(
        text,
        &[
            ("10.2.1.1 v.example", "refuse 19"),
            ("10.2.1.1 g.example", "allow 7"),
            ("10.3.1.1 v.example", "refuse 23"),
            ("10.3.1.1 g.example", "refuse 12"),
            ("10.1.1.1 v.example", "allow 6"),
            ("10.4.1.1 nord x.tagged.example", "refuse 9"),
            ("10.5.1.1 nord x.tagged.example", "refuse 11"),
            ("10.1.1.1 o.example", "allow 6"),
            ("10.1.2.1 o.example", "refuse 16"),
            ("192.0.2.1", "refuse 0"),
            ("192.0.2.1 to 10.53.0.2", "allow 5"),
        ],
    );
}

#[test]
fn what_the_text_does_not_tell_is_unknown() {
    let base = "server:\n access-control: 10.0.0.0/8 allow\n";
    each(&format!("{base}rpz:\n name: p\n"), &[("10.1.1.1", "unknown 4"), ("192.0.2.1", "refuse 0")]);
    each(&format!("{base} include: gone.conf\n"), &[("10.1.1.1", "unknown 3"), ("192.0.2.1", "unknown 3")]);
    each(
        &format!("{base}auth-zone:\n name: a.example\n"),
        &[("10.1.1.1 x.a.example", "allow 2"), ("10.1.1.1 nord x.a.example", "unknown 4")],
    );
    each(&format!("{base} interface-action: eth0 allow\n"), &[("192.0.2.1", "unknown 3"), ("10.1.1.1", "allow 2")]);
}

/// Measured with unbound 1.17: a source on another link was served.
#[test]
fn the_link_of_an_address_does_not_matter() {
    let text = "server:\n access-control: ::/0 refuse\n access-control: fe80::b%lo/64 allow\n access-control: fe81::1%eth0 allow\n";
    each(text, &[("fe80::c", "allow 3"), ("fe81::1", "allow 4"), ("fe81::2", "refuse 2")]);
}

#[test]
fn mistakes_are_located() {
    for (text, place, what) in [
        ("server:\n access-control: 10.0.0.0/33 allow", "2:18", "no address and no prefix"),
        ("server:\n access-control: 010.020.0.0/16 allow", "2:18", "no address and no prefix"),
        ("server:\n access-control: 10.0.0.0%eth0/8 allow", "2:18", "no address and no prefix"),
        ("server:\n access-control: 10.0.0.0/8 alow", "2:29", "one of deny, refuse"),
        ("server:\n access-control-view: 10.0.0.0/8 v", "2:34", "no view has this name"),
        ("server:\n access-control-tag: 10.0.0.0/8 \"t\"", "2:34", "define-tag"),
        ("server:\n access-control-tag: 10.0.0.0/8 \"t\"\n define-tag: \"t\"", "2:34", "no define-tag before"),
        ("server:\n response-ip-tag: 10.0.0.0/8 \"t\"\n define-tag: \"t\"", "2:31", "no define-tag before"),
        ("server:\n local-zone: a.example stati", "2:24", "of this type"),
        ("server:\n local-zone: a..example static", "2:14", "no domain name"),
        ("server:\n local-data: \"a.example. A\"", "2:15", "no data"),
        ("server:\n local-data: \"a.example. A 1.2.3\"", "2:15", "no address"),
        ("server:\n local-data: \"a.example. QQ 1.2.3\"", "2:15", "of this type"),
        ("server:\n do-ip6: maybe", "2:10", "yes or no"),
        ("view:\n view-first: yes", "2:2", "no name"),
        ("server:\n local-zone-tag: a.example \"\"", "2:18", "no local-zone has this name"),
    ] {
        let error = Acl::from_text("unbound:unbound.conf", text, &[]).map(|_| ()).unwrap_err();
        let line = error.to_string();
        assert!(
            line.starts_with(&format!("error[E-ACL]: unbound.conf:{place}: ")) && line.contains(what),
            "{text}: {line}"
        );
        assert!(error.shown.is_some());
    }
}

#[test]
fn cookies_decide_over_udp_only() {
    let text = "server:
 answer-cookie: yes
 access-control: 10.0.0.0/8 allow_cookie
";
    let off = text.replace("yes", "no");
    each(
        text,
        &[
            ("10.1.1.1 cookie none", "refuse 3"),
            ("10.1.1.1 cookie none tcp", "allow 3"),
            ("10.1.1.1 cookie 8", "allow 3"),
            ("10.1.1.1 cookie 24", "allow 3"),
            ("10.1.1.1 cookie 9", "allow 0"),
            // Refused without RD, or told BADCOOKIE: the server's part of the cookie may have run out.
            ("10.1.1.1 cookie 24 nord", "unknown 3"),
            ("10.1.1.1", "unknown 3"),
            ("10.1.1.1 cookie none AXFR", "refuse 0"),
        ],
    );
    assert_eq!(says(&off, "10.1.1.1 cookie 24"), "refuse 3");
}

#[test]
fn interfaces_are_known_by_name_when_nothing_else_is_listened_on() {
    let text = "server:
 interface: 10.53.0.2
 interface: eth0@53
 interface-action: eth0 allow
 interface-action: 10.53.0.2 deny
";
    each(text, &[("192.0.2.1", "allow 4"), ("192.0.2.1 to 10.53.0.2", "drop 5")]);
    let two = text.replace("eth0@53", "eth0\n interface: eth1");
    assert_eq!(says(&two, "192.0.2.1"), "unknown 5", "either of two");
    let bare = text.replace(" interface-action: 10.53.0.2 deny\n", "");
    assert_eq!(says(&bare, "192.0.2.1 to 10.53.0.2"), "unknown 4", "the address may be of that interface, too");
}

#[test]
fn classes_and_sections_are_looked_at_as_measured() {
    let text = "server:
 hide-identity: yes
 access-control: 10.1.0.0/16 allow
 access-control: 10.3.0.0/16 deny_non_local
 local-zone: z.test static
auth-zone:
 name: a.test
 for-downstream: no
";
    each(
        text,
        &[
            ("10.1.1.1 class 3 TXT version.bind", "allow 3"),
            ("10.1.1.1 class 3 A version.bind", "refuse 0"),
            ("10.1.1.1 class 3 TXT id.server", "refuse 2"),
            ("10.1.1.1 class 4 z.test", "refuse 0"),
            ("10.3.1.1 class 4 z.test", "drop 4"),
            ("10.3.1.1 class 3 TXT version.bind", "allow 4"),
            ("10.1.1.1 class 255 z.test", "allow 3"),
            ("10.1.1.1 class 255 nord z.test", "refuse 3"),
            ("10.1.1.1 IXFR z.test", "refuse 0"),
            ("10.1.1.1 sections 0 1 0 IXFR z.test", "allow 0"),
            ("10.1.1.1 sections 0 0 2 z.test", "allow 0"),
            ("10.1.1.1 notify z.test", "refuse 0"),
            ("10.1.1.1 notify sections 1 0 0 a.test", "unknown 3"),
            ("10.1.1.1 sections 1 0 0 a.test", "allow 0"),
        ],
    );
}
