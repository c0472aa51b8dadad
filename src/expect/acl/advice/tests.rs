use super::*;

/// More than any of these takes.
fn enough() -> Effort<'static> {
    Effort::new(u64::MAX, None)
}

fn advise(argument: &str, text: &str, prefix: &str) -> Result<Vec<String>, NoAdvice> {
    let acl = Acl::from_text(argument, text, &[]).unwrap();
    let server = "10.20.30.40".parse().unwrap();
    let prefix: IpNet = prefix.parse().unwrap();
    let advice = admit(&acl, prefix, &[prefix.addr()], &Question::default(), server, false, &|_| true, &enough())?;
    let request = Question::default();
    assert_eq!(advice.acl.decide(&request.ask(prefix.addr(), server)).word, Word::Allow);
    Ok(advice.edits.into_iter().map(|edit| edit.says).collect())
}

const UNBOUND: &str = "server:\n    access-control: 10.20.0.0/16 allow\n    access-control: 0.0.0.0/0 refuse\n";

#[test]
fn unbound_gets_a_more_specific_line() {
    assert_eq!(
        advise("unbound:unbound.conf", UNBOUND, "192.0.2.45/32").unwrap(),
        ["after unbound.conf:3 add access-control: 192.0.2.45/32 allow"]
    );
    let same = "server:\n access-control: 192.0.2.45/32 deny\n";
    assert_eq!(
        advise("unbound:unbound.conf", same, "192.0.2.45/32").unwrap(),
        ["after unbound.conf:2 add access-control: 192.0.2.45/32 allow"],
        "the last of identical lines decides"
    );
    assert_eq!(
        advise("unbound:unbound.conf", "server:\n verbosity: 1\n", "192.0.2.45/32").unwrap(),
        ["after unbound.conf:2 add access-control: 192.0.2.45/32 allow"]
    );
    assert_eq!(advise("unbound:unbound.conf", UNBOUND, "10.20.1.1/32"), Err(NoAdvice::Admitted));
}

#[test]
fn bind_gets_an_element_before_the_negation_and_in_every_list_that_decides() {
    let seed = "\
options {
    allow-recursion { 10.20.0.0/16; };
    allow-query-cache { 10.20.0.0/16; };
};
view \"internal\" {
    match-clients { 10.20.0.0/16; };
};
view \"external\" {
    match-clients { any; };
    recursion no;
};
";
    let edits = advise("bind:named.conf", seed, "192.0.2.45/32").unwrap();
    assert_eq!(edits.len(), 3, "{edits:?}");
    assert!(edits[0].starts_with("in named.conf:6 ") && edits[0].ends_with("add 192.0.2.45;"), "{edits:?}");
    let negated = "options { allow-query { !192.0.2.0/24; any; }; recursion no; };\nzone \"z\" { type primary; };\n";
    let acl = Acl::from_text("bind:named.conf", negated, &[]).unwrap();
    let question = Question { qname: super::super::name::parse_name("z").unwrap(), ..Question::default() };
    let server = "10.20.30.40".parse().unwrap();
    let source = "192.0.2.45".parse().unwrap();
    let advice = admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).unwrap();
    assert!(advice.edits[0].says.contains("before !192.0.2.0/24; in allow-query add"), "{:?}", advice.edits);
    let other = "192.0.2.46".parse().unwrap();
    assert_eq!(advice.acl.decide(&question.ask(other, server)).word, Word::Refuse);
}

#[test]
fn what_else_opens_for_those_admitted_is_a_side_effect() {
    // A line of its own takes the address out of the view (checked with unbound 1.17).
    let text = "server:\n access-control: 10.2.0.0/16 refuse_non_local\n access-control-view: 10.2.0.0/16 v\nview:\n name: \"v\"\n local-zone: \"secret.example\" always_refuse\n";
    let acl = Acl::from_text("unbound-1.17:unbound.conf", text, &[]).unwrap();
    let secret =
        Question { qname: super::super::name::parse_name("db.secret.example").unwrap(), ..Question::default() };
    let usual = Question::default();
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "10.2.0.1".parse().unwrap());
    let asked = |question| {
        let before = acl.decide(&Question::ask(question, source, server));
        Observed { source, server, question, before }
    };
    let observed = [asked(&usual), asked(&secret)];
    assert!(observed.iter().all(|one| one.before.word == Word::Refuse));
    let advice = admit(&acl, IpNet::from(source), &[source], &usual, server, false, &|_| true, &enough()).unwrap();
    let meant = |one: &Observed<'_>| *one.question == usual;
    let effects = side_effects(&advice, &BTreeSet::from([source]), &meant, &observed);
    assert_eq!(effects, [(source, Word::Refuse, Word::Allow, Some(&secret))]);
}

/// named 9.18 with the advised file answers the partner for the zone, and does not resolve other names for it.
#[test]
fn the_servers_own_data_need_no_recursion() {
    let zone = |options: &str, own: &str| {
        format!("options {{ {options} }};\nzone p.test {{ type primary; file \"p\"; {own} }};\n")
    };
    let asks = |name: &str| Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
    let (www, elsewhere) = (asks("www.p.test"), asks("elsewhere.example"));
    let server = "10.53.0.1".parse().unwrap();
    let (partner, office): (IpAddr, IpAddr) = ("10.7.7.7".parse().unwrap(), "10.1.1.1".parse().unwrap());
    // The places of the edits, recursion for the partner with them, and whose recursion they change.
    let advised = |text: &str, question: &Question| {
        let acl = Acl::from_text("bind-9.18:named.conf", text, &[]).unwrap();
        let serving = |acl: &Acl| serves(acl, &[partner], question, server);
        let advice =
            admit(&acl, IpNet::from(partner), &[partner], question, server, false, &|_| true, &enough()).unwrap();
        let advice = advice.without_needless(&enough(), &serving);
        assert!(serving(&advice.acl));
        let recursion = advice.acl.recursion(&elsewhere.ask(partner, server)).unwrap();
        assert!(advice.acl.recursion(&elsewhere.ask(office, server)).unwrap().offered);
        let observed = [partner, office].map(|source| {
            let before = acl.decide(&question.ask(source, server));
            Observed { source, server, question, before }
        });
        let meant = |one: &Observed<'_>| one.source == partner;
        let effects = recursion_effects(&acl, &advice, &meant, &observed);
        let places: Vec<String> = advice.edits.iter().map(|edit| edit.place.clone()).collect();
        (places.join(" "), recursion.offered, effects.into_iter().collect::<Vec<_>>())
    };
    let text = zone("allow-recursion { 10.1.0.0/16; };", "allow-query { 10.1.0.0/16; };");
    assert_eq!(advised(&text, &www), ("named.conf:2".to_owned(), false, vec![]));
    // The same list lets it into the zone and recurse.
    let text = zone("allow-query { 10.1.0.0/16; };", "");
    assert_eq!(advised(&text, &www), ("named.conf:1".to_owned(), true, vec![(partner, true)]));
    // Names of others need recursion, which is no side effect then.
    let text = zone("allow-recursion { 10.1.0.0/16; }; allow-query-cache { any; };", "");
    let acl = Acl::from_text("bind-9.18:named.conf", &text, &[]).unwrap();
    assert!(!serves(&acl, &[partner], &elsewhere, server) && serves(&acl, &[partner], &www, server));
    assert_eq!(advised(&text, &elsewhere), ("named.conf:1".to_owned(), true, vec![]));
}

#[test]
fn a_line_of_unbound_that_admits_to_local_data_lets_recurse() {
    let text = "server:\n access-control: 10.1.0.0/16 allow\n access-control: 10.2.0.0/16 refuse_non_local\n local-data: \"www.p.test. A 10.0.0.1\"\n";
    let acl = Acl::from_text("unbound-1.17:unbound.conf", text, &[]).unwrap();
    let asks = |name: &str| Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
    let server = "10.53.0.1".parse().unwrap();
    let effects = |source: &str, name: &str| {
        let (source, question): (IpAddr, _) = (source.parse().unwrap(), asks(name));
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).ok()?;
        let before = acl.decide(&question.ask(source, server));
        let observed = [Observed { source, server, question: &question, before }];
        Some(recursion_effects(&acl, &advice, &|_| true, &observed).into_iter().map(|(_, after)| after).collect())
    };
    assert_eq!(effects("10.7.7.7", "www.p.test"), Some(vec![true]));
    assert_eq!(effects("10.7.7.7", "elsewhere.example"), Some(vec![]), "that is what is asked for");
    assert_eq!(effects("10.2.1.1", "www.p.test"), None, "served already");
    assert_eq!(effects("10.2.1.1", "elsewhere.example"), Some(vec![]));
}

#[test]
fn an_edit_that_a_later_one_makes_needless_is_left_out() {
    // Two lists in one file, of which the second alone would be enough for everything.
    let text = "options { recursion no; };\nzone a { type primary; file \"a\"; allow-query { 10.20.0.0/16; }; };\nzone b { type primary; file \"b\"; allow-query { 10.20.0.0/16; }; };\n";
    let acl = Acl::from_text("bind:named.conf", text, &[]).unwrap();
    let asks = |name: &str| Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "192.0.2.45".parse().unwrap());
    let prefix = IpNet::from(source);
    let admitting =
        |acl: &Acl, name| admit(acl, prefix, &[source], &asks(name), server, false, &|_| true, &enough()).unwrap();
    let first = admitting(&acl, "a");
    let mut both = admitting(&first.acl, "b");
    both.edits.splice(0..0, first.edits);
    let all_served = |names: [&'static str; 2]| {
        move |acl: &Acl| names.iter().all(|name| serves(acl, &[source], &asks(name), server))
    };
    let edited = |advice: &Advice| -> Vec<String> { advice.edits.iter().map(|edit| edit.place.clone()).collect() };
    assert_eq!(edited(&both), ["named.conf:2", "named.conf:3"]);
    let both = both.without_needless(&enough(), &all_served(["a", "b"]));
    assert_eq!(edited(&both), ["named.conf:2", "named.conf:3"], "each is needed");
    let only = both.without_needless(&enough(), &all_served(["b", "b"]));
    assert_eq!(edited(&only), ["named.conf:3"]);
    assert_eq!(
        only.acl.files().list()[0].text,
        text.replacen("b\"; allow-query { 10.20.0.0/16; ", "b\"; allow-query { 10.20.0.0/16; 192.0.2.45; ", 1)
    );
}

#[test]
fn who_asks_for_a_zone_of_another_view_is_added_to_that_view() {
    let text = "view inside { match-clients { 10.20.0.0/16; }; zone corp.test { type primary; file \"x\"; }; };\n\
                    view none { match-clients { any; }; allow-query { none; }; };\n";
    let acl = Acl::from_text("bind:named.conf", text, &[]).unwrap();
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "192.0.2.45".parse().unwrap());
    let edits = |name: &str| -> Vec<String> {
        let question = Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).unwrap();
        assert!(serves(&advice.acl, &[source], &question, server));
        advice.edits.into_iter().map(|edit| edit.says).collect()
    };
    // The second view would resolve the name, and know nothing of the zone.
    let inside = edits("www.corp.test");
    assert!(inside.len() == 1 && inside[0].contains("at the end of match-clients add 192.0.2.45;"), "{inside:?}");
    let beyond = edits("www.elsewhere.test");
    assert!(beyond.len() == 1 && beyond[0].starts_with("in named.conf:2 "), "{beyond:?}");
}

#[test]
fn who_is_kept_out_of_the_view_that_knows_the_name_is_added_before_the_negation() {
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "10.20.9.5".parse().unwrap());
    let qname = super::super::name::parse_name("www.corp.test").unwrap();
    let question = Question { qname, ..Question::default() };
    // A list inside is negated as a whole: an element in it would admit nobody.
    for (clients, before) in [
        ("!10.20.9.0/24; 10.20.0.0/16;", "!10.20.9.0/24;"),
        ("!outsiders; any;", "!outsiders;"),
        ("!{ 10.20.8.0/24; 10.20.9.0/24; }; any;", "!{ 10.20.8.0/24; 10.20.9.0/24; };"),
        ("!{ 10.20.8.0/24; { 10.20.9.0/24; }; }; 10.20.0.0/16;", "!{ 10.20.8.0/24; { 10.20.9.0/24; }; };"),
    ] {
        let text = format!(
            "view inside {{ match-clients {{ {clients} }}; zone corp.test {{ type primary; file \"x\"; }}; }};\n\
                 view none {{ match-clients {{ any; }}; allow-query {{ none; }}; }};\n\
                 acl outsiders {{ 10.20.9.0/24; }};\n"
        );
        let acl = Acl::from_text("bind:named.conf", &text, &[]).unwrap();
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).unwrap();
        let edits: Vec<String> = advice.edits.into_iter().map(|edit| edit.says).collect();
        assert!(edits.len() == 1 && edits[0].starts_with("in named.conf:1 "), "{edits:?}");
        assert!(edits[0].ends_with(&format!("before {before} in match-clients add 10.20.9.5;")), "{edits:?}");
    }
}

#[test]
fn where_no_list_on_the_way_helps_views_that_know_the_name_come_first() {
    let text = "view guests { match-clients { 10.60.0.0/16; }; allow-recursion { any; }; };\n\
                    view inside { match-clients { 10.20.0.0/16; }; zone corp.test { type primary; file \"x\"; }; };\n\
                    view office { match-clients { any; }; allow-recursion { any; }; allow-query-cache-on { 127.0.0.1; }; };\n";
    let acl = Acl::from_text("bind:named.conf", text, &[]).unwrap();
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "10.30.0.5".parse().unwrap());
    let place = |name: &str| {
        let question = Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).unwrap();
        assert!(advice.edits.len() == 1 && serves(&advice.acl, &[source], &question, server));
        advice.edits[0].place.clone()
    };
    assert_eq!(place("www.corp.test"), "named.conf:2");
    assert_eq!(place("www.elsewhere.test"), "named.conf:1");
}

/// named 9.18 sends a referral from a stub zone in a view without recursion.
#[test]
fn a_stub_zone_in_a_view_without_recursion_serves_nobody() {
    let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "10.30.0.5".parse().unwrap());
    let place = |recursion: &str, rd: bool| {
        let text = format!(
            "view inside {{ match-clients {{ 10.20.0.0/16; }}; {recursion} zone corp.test {{ type stub; primaries {{ 10.1.1.1; }}; }}; }};\n\
                 view office {{ match-clients {{ any; }}; allow-recursion {{ 10.40.0.0/16; }}; }};\n"
        );
        let acl = Acl::from_text("bind:named.conf", &text, &[]).unwrap();
        let qname = super::super::name::parse_name("www.corp.test").unwrap();
        let question = Question { qname, rd, ..Question::default() };
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &|_| true, &enough()).unwrap();
        advice.edits[0].place.clone()
    };
    assert_eq!(place("recursion no;", true), "named.conf:2");
    assert_eq!(place("allow-recursion { any; };", true), "named.conf:1");
    assert_eq!(place("recursion no;", false), "named.conf:1", "a referral is what is asked for");
}

#[test]
fn who_is_served_by_a_view_that_knows_the_name_stays_there() {
    let advised = |inside: &str, rd: bool| {
        let text = format!(
            "view other {{ match-clients {{ 10.60.0.0/16; }}; }};\n\
                 view inside {{ match-clients {{ 10.20.0.0/16; }}; zone corp.test {{ type primary; file \"x\"; }}; }};\n\
                 view office {{ match-clients {{ any; }}; recursion yes; allow-recursion {{ 10.40.0.0/16; }}; {inside} }};\n"
        );
        let acl = Acl::from_text("bind:named.conf", &text, &[]).unwrap();
        let (server, source): (IpAddr, IpAddr) = ("10.20.30.40".parse().unwrap(), "10.30.0.5".parse().unwrap());
        let qname = super::super::name::parse_name("www.corp.test").unwrap();
        let question = Question { qname, rd, ..Question::default() };
        let tried = std::cell::Cell::new(0);
        let harmless = |_: &Acl| tried.replace(tried.get() + 1) < 9;
        let advice =
            admit(&acl, IpNet::from(source), &[source], &question, server, false, &harmless, &enough()).unwrap();
        (advice.edits[0].place.clone(), tried.get())
    };
    // Whom to ask is written in the view itself, for all that are beside it.
    for zone in [
        "zone corp.test { type static-stub; server-addresses { 10.0.0.1; }; };",
        "zone corp.test { type forward; forwarders { 10.0.0.1; }; };",
        "zone test { type forward; forwarders { 10.0.0.1; }; };",
    ] {
        assert_eq!(advised(zone, true), ("named.conf:3".to_owned(), 1), "{zone}");
    }
    // To nobody: the name is resolved as any other.
    for forwarders in ["forwarders { };", ""] {
        let zone = format!("zone corp.test {{ type forward; {forwarders} }};");
        assert_eq!(advised(&zone, true), ("named.conf:2".to_owned(), 2), "{zone}");
    }
    // The other view is not tried; whether recursion is desired makes no difference.
    for rd in [true, false] {
        assert_eq!(advised("", rd), ("named.conf:2".to_owned(), 2), "{rd}");
    }
}

#[test]
fn what_is_allowed_now_is_not_taken_away() {
    let view = |name: &str, clients: &str, zone: &str| {
        format!(
            "view {name} {{ match-clients {{ {clients} }}; recursion no; zone {zone} {{ type primary; file \"x\"; }}; }};\n"
        )
    };
    let text = view("inside", "10.20.0.0/16;", "intern") + &view("outside", "any;", "example");
    let acl = Acl::from_text("bind:named.conf", &text, &[]).unwrap();
    let asks = |name: &str| Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
    let (intern, example) = (asks("a.intern"), asks("a.example"));
    let (server, source) = ("10.20.30.40".parse().unwrap(), "192.0.2.45".parse().unwrap());
    let before = acl.decide(&example.ask(source, server));
    assert_eq!(before.word, Word::Allow);
    let admitted = |observed: &[Observed<'_>]| {
        let harmless = |changed: &Acl| is_harmless(&acl, changed, observed);
        admit(&acl, IpNet::from(source), &[source], &intern, server, false, &harmless, &enough())
            .map(|advice| advice.edits.into_iter().map(|edit| edit.says).collect::<Vec<_>>())
    };
    let edits = admitted(&[]).unwrap();
    assert_eq!(edits.len(), 1);
    assert!(edits[0].ends_with("at the end of match-clients add 192.0.2.45;"), "{edits:?}");
    let observed = Observed { source, server, question: &example, before };
    assert_eq!(admitted(&[observed]), Err(NoAdvice::Harmful));
}

/// named 9.18 answers the zone's name before such a change, and resolves it elsewhere with it.
#[test]
fn what_is_served_now_is_served_as_well_afterwards() {
    let asks = |name: &str| Question { qname: super::super::name::parse_name(name).unwrap(), ..Question::default() };
    let (server, source) = ("10.20.30.40".parse().unwrap(), "192.0.2.45".parse().unwrap());
    let advised = |argument: &str, text: &str, served: &str| {
        let acl = Acl::from_text(argument, text, &[]).unwrap();
        let (wanted, question) = (asks("www.corp.lan"), asks(served));
        let before = acl.decide(&question.ask(source, server));
        assert_eq!(before.word, Word::Allow, "{text}");
        let observed = [Observed { source, server, question: &question, before }];
        let harmless = |changed: &Acl| is_harmless(&acl, changed, &observed);
        admit(&acl, IpNet::from(source), &[source], &wanted, server, false, &harmless, &enough())
            .map(|advice| advice.edits.len())
    };
    let views = |inside: &str, outside: &str| {
        format!(
            "view inside {{ match-clients {{ 10.1.0.0/16; }}; {inside} zone corp.lan {{ type primary; file \"x\"; }}; }};\n\
                 view outside {{ match-clients {{ any; }}; {outside} }};\n"
        )
    };
    let open = "allow-recursion { any; }; allow-query-cache { any; };";
    let shop = "recursion no; zone shop.lan { type primary; file \"y\"; };";
    let forward = format!(
        "{open} zone shop.lan {{ type forward; forwarders {{ 10.0.0.1; }}; }}; zone corp.lan {{ type static-stub; server-addresses {{ 10.0.0.1; }}; allow-query {{ none; }}; }};"
    );
    let closed = format!("{open} zone corp.lan {{ type primary; file \"z\"; allow-query-on {{ 127.0.0.1; }}; }};");
    for (inside, outside, served, edits) in [
        // The zone is in the other view alone: resolved elsewhere, it is not served as before.
        (open, shop, "www.shop.lan", Err(NoAdvice::Harmful)),
        (&format!("{open} {shop}").replace("recursion no; ", ""), shop, "www.shop.lan", Ok(1)),
        // Its own list is the one that is left.
        (open, &forward, "www.shop.lan", Ok(1)),
        // A referral is no answer.
        ("allow-recursion { none; }; allow-query-cache { any; };", &closed, "www.shop.lan", Err(NoAdvice::Harmful)),
        (open, &closed, "www.shop.lan", Ok(1)),
    ] {
        assert_eq!(advised("bind:named.conf", &views(inside, outside), served), edits, "{inside} {outside}");
    }
    // A line of its own takes the address out of the view, and from its data.
    let local = "server:\n access-control: 192.0.2.0/24 refuse_non_local\n access-control-view: 192.0.2.0/24 v\n\
                     view:\n name: \"v\"\n local-data: \"www.shop.lan. A 10.0.0.1\"\n";
    assert_eq!(advised("unbound-1.17:unbound.conf", local, "www.shop.lan"), Err(NoAdvice::Harmful));
}

#[test]
fn nothing_opens_the_server_to_everybody() {
    assert_eq!(advise("unbound:unbound.conf", UNBOUND, "0.0.0.0/0"), Err(NoAdvice::Everybody));
    assert_eq!(advise("unbound:unbound.conf", UNBOUND, "8.8.8.8/32"), Err(NoAdvice::Public));
    assert_eq!(
        advise("bind:named.conf", "options { recursion no; };", "192.0.2.1/32"),
        Err(NoAdvice::NoPlace),
        "no list would help"
    );
}

/// A configuration of a few lines, whose views merge a list each.
#[test]
fn a_search_takes_no_more_than_it_may_and_says_why_it_ended() {
    let many: Vec<String> = (0..100).map(|number| format!("10.9.0.{number};")).collect();
    let view = |number: u8| {
        let lists = "allow-recursion { many; 192.0.2.1; };";
        format!("view v{number} {{ match-clients {{ many; 10.{number}.0.0/16; }}; {lists} }};\n")
    };
    let views: Vec<String> = (0..10).map(view).collect();
    let text = format!("acl many {{ {} }};\n{}", many.join(" "), views.concat());
    let acl = Acl::from_text("bind-9.18:named.conf", &text, &[]).unwrap();
    // The list, and twice in each view the list and an address.
    let compiled = 100 + 10 * 2 * 101;
    assert_eq!(acl.elements(), compiled + text.len() as u64 / 8);
    let source: IpAddr = "10.3.0.1".parse().unwrap();
    let server = "10.20.30.40".parse().unwrap();
    let usual = Question::default();
    let with = |effort: &Effort<'_>| {
        admit(&acl, IpNet::from(source), &[source], &usual, server, false, &|_| true, effort)
            .map(|found| found.edits.len())
    };
    assert_eq!(with(&enough()), Ok(1));
    let too_little = Effort::new(compiled, None);
    assert_eq!((with(&too_little), too_little.ended()), (Err(NoAdvice::GivenUp), Some(Ended::Spent)));
    assert_eq!((too_little.tell_ended(), too_little.ended()), (Some(Ended::Spent), None), "told once");
    // What little is left is enough for a smaller file.
    let smaller = Acl::from_text("bind-9.18:named.conf", "options { allow-query { 192.0.2.1; }; };", &[]).unwrap();
    let found = admit(&smaller, IpNet::from(source), &[source], &usual, server, false, &|_| true, &too_little);
    assert!(found.is_ok() && too_little.ended().is_none());
    let signal = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let ended = Effort::new(u64::MAX, Some(&signal));
    assert_eq!((with(&ended), ended.ended()), (Err(NoAdvice::GivenUp), Some(Ended::Interrupted)));
}

#[test]
fn what_is_added_before_a_name_in_quotes_comes_before_its_quotes() {
    let blackhole =
        "acl \"bad nets\" { 10.9.0.0/16; };\noptions { blackhole { \"bad nets\"; }; allow-query { any; }; };\n";
    let edits = advise("bind-9.18:named.conf", blackhole, "10.9.9.9/32").unwrap();
    assert!(edits.len() == 1 && edits[0].contains("before \"bad nets\"; in blackhole add !10.9.9.9;"), "{edits:?}");
}

/// named 9.18.49 starts with each of the texts and serves the source, also where `options` come behind a zone.
#[test]
fn where_there_are_no_options_they_are_added_behind_everything() {
    let added = "options { allow-recursion { localnets; localhost; 10.9.9.9; }; };";
    let zone = "zone \"p.test\" { type primary; file \"p.db\"; };";
    for (text, line, changed) in [
        (String::new(), 1, format!("\n{added}")),
        (zone.to_owned(), 1, format!("{zone}\n{added}")),
        (format!("{zone} // }}\n\n"), 1, format!("{zone} // }}\n{added}\n\n")),
        (format!("acl x {{ any; }};\r\n{zone}\r\n"), 2, format!("acl x {{ any; }};\r\n{zone}\n{added}\r\n")),
    ] {
        let own = crate::config::OwnServer { address: "10.53.0.1".parse().unwrap(), length: Some(24) };
        let acl = Acl::from_text("bind-9.18:named.conf", &text, &[own]).unwrap();
        let (source, server): (IpAddr, IpAddr) = ("10.9.9.9".parse().unwrap(), "10.53.0.1".parse().unwrap());
        let usual = Question::default();
        let advice = admit(&acl, IpNet::from(source), &[source], &usual, server, false, &|_| true, &enough()).unwrap();
        let says: Vec<&str> = advice.edits.iter().map(|edit| edit.says.as_str()).collect();
        let replaced = "(with localnets and localhost, the default that it replaces)";
        assert_eq!(says, [format!("after named.conf:{line} add {added} {replaced}")], "{text}");
        assert_eq!(advice.acl.files().list()[0].text, changed);
        // The next one finds a list.
        let next: IpAddr = "10.8.8.8".parse().unwrap();
        let more = admit(&advice.acl, IpNet::from(next), &[next], &usual, server, false, &|_| true, &enough()).unwrap();
        assert!(more.edits.len() == 1 && more.edits[0].says.contains("at the end"), "{:?}", more.edits);
    }
}

#[test]
fn a_signal_ends_the_reading_of_a_changed_file() {
    let bind = "options { allow-query { 10.1.0.0/16; }; };\n";
    for (argument, text) in [("bind-9.18:named.conf", bind), ("unbound:unbound.conf", UNBOUND)] {
        let acl = Acl::from_text(argument, text, &[]).unwrap();
        let path = acl.files().list()[0].path.clone();
        let signal = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let read = || acl.changed(BTreeMap::from([(path.clone(), text.to_owned())]), Some(Arc::clone(&signal)));
        assert!(read().is_ok(), "{argument}");
        signal.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = read().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("a signal ended the reading"), "{error}");
    }
}
