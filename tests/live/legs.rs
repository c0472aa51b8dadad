//! Tests on which leg a query is: to our servers, from them, or neither.

use super::*;

#[test]
fn what_this_host_asks_others_is_upstream() {
    let Some(lab) = Lab::of_two() else { return };
    let other = Ipv4Addr::new(10, 20, 30, 7);
    let mut refuser = Refuser::start(&lab, "client", other);
    let arguments = ["--format", "jsonl", "--upstream", "--count", "4"];
    let mut live = lab.live("host", &arguments, "live");
    let (sent, _socket) = burst(&lab, "host", other, 2).join().expect("it ends");
    assert_eq!((sent, refuser.finish()), (2, 2));
    assert_eq!(live.wait().0, Some(0), "it ends after four packets");
    let text = lab.read("live.out");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    for row in &rows {
        assert_eq!(
            (&row["leg"], &row["interface"], &row["input"]),
            (&json!("upstream"), &json!("eth0"), &json!("any"))
        );
    }
    let said = lab.read("live.err");
    assert!(
        said.contains("NO CLIENT QUERIES") && said.contains("2 queries from addresses of this host to others"),
        "{said}"
    );
}

#[test]
fn what_this_host_only_passes_on_was_not_seen_by_its_own_address() {
    let Some(lab) = Lab::of_two() else { return };
    let _refuser = Refuser::start(&lab, "host", SERVER);
    // With 63, as if another host had sent the response with 64 and this one had forwarded it under its own address.
    for (hops, says) in [("64", "SOURCE THE SERVER SAW"), ("63", "SOURCE SEEN HERE")] {
        let setting = format!("net.ipv4.ip_default_ttl={hops}");
        assert!(lab.command("host", "sysctl").args(["-qw", &setting]).status().expect("sysctl runs").success());
        for interface in ["eth0", "any"] {
            let log = format!("{interface}-{hops}");
            let mut live = lab.live("host", &["-i", interface, "--format", "text", "--count", "2"], &log);
            burst(&lab, "client", SERVER, 1).join().expect("it ends");
            assert_eq!(live.wait().0, Some(0));
            let text = lab.read(&format!("{log}.out"));
            assert!(text.contains("10.20.30.40 (this host") && text.contains(says), "{log}: {text}");
        }
    }
}

#[test]
fn what_this_host_hands_on_to_another_was_not_judged_by_its_own_address() {
    let Some(lab) = Lab::of_two() else { return };
    let other = Ipv4Addr::new(10, 20, 30, 7);
    let _refuser = Refuser::start(&lab, "client", other);
    let (ready, wait) = std::sync::mpsc::channel();
    // As `socat` and the proxies of container programs do it.
    let proxy = lab.inside("host", move || {
        let [inner, outer] = [0, 53].map(|port| UdpSocket::bind((SERVER, port)).expect("a socket"));
        inner.connect((other, 53)).expect("a server");
        for socket in [&inner, &outer] {
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        }
        ready.send(()).expect("somebody waits");
        let mut message = [0; 512];
        for _ in 0..2 {
            let (len, client) = outer.recv_from(&mut message).expect("a query");
            inner.send(&message[..len]).expect("it is handed on");
            let len = inner.recv(&mut message).expect("a response");
            outer.send_to(&message[..len], client).expect("it is handed back");
        }
    });
    wait.recv().expect("the proxy is ready");
    let mut live = lab.live("host", &["--format", "text", "--count", "8"], "live");
    burst(&lab, "client", SERVER, 2).join().expect("it ends");
    assert_eq!(live.wait().0, Some(0));
    proxy.join().expect("it ends");
    let text = lab.read("live.out");
    assert!(text.contains("AT 10.20.30.40\nQueries to this server left here again"), "{text}");
    assert!(text.contains("SOURCE SEEN HERE") && !text.contains("SOURCE THE SERVER SAW"), "{text}");
}

#[test]
fn an_address_that_is_added_meanwhile_is_this_hosts() {
    let Some(lab) = Lab::of_two() else { return };
    let _first = Refuser::start(&lab, "host", SERVER);
    let mut live = lab.live("host", &["-i", "eth0", "--format", "jsonl", "-o", "rows.jsonl"], "live");
    burst(&lab, "client", SERVER, 1).join().expect("it ends");
    let added = Ipv4Addr::new(10, 20, 30, 99);
    lab.ip("host", "addr add 10.20.30.99/32 dev eth0");
    let mut refuser = Refuser::start(&lab, "host", added);
    let _socket = burst(&lab, "client", added, 5).join().expect("it ends");
    assert_eq!(refuser.finish(), 5);
    // It still counts as this host's after it was removed from it.
    lab.ip("host", "addr del 10.20.30.99/32 dev eth0");
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let said = lab.read("live.err");
    assert!(said.contains("REFUSED 6 of 6 client queries") && said.contains("10.20.30.99 (this host"), "{said}");
    assert_eq!(lab.read("rows.jsonl").matches("\"server\":\"10.20.30.99\"").count(), 5, "no row is missing");
}

#[test]
fn what_a_router_itself_asks_hides_no_refusal_of_others() {
    let Some(lab) = Lab::of(&["client", "router", "server"]) else { return };
    for (namespace, arguments) in [
        ("client", "link add c0 type veth peer name r0 netns @router"),
        ("router", "link add r1 type veth peer name eth0 netns @server"),
        ("client", "addr add 10.21.5.18/24 dev c0"),
        ("router", "addr add 10.21.5.1/24 dev r0"),
        ("router", "addr add 10.20.30.1/24 dev r1"),
        ("server", "addr add 10.20.30.40/24 dev eth0"),
        ("client", "link set c0 up"),
        ("router", "link set r0 up"),
        ("router", "link set r1 up"),
        ("server", "link set eth0 up"),
        ("client", "route add default via 10.21.5.1"),
        ("server", "route add default via 10.20.30.1"),
    ] {
        lab.ip(namespace, arguments);
    }
    let forward = ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
    assert!(lab.command("router", "sh").args(forward).status().expect("it runs").success());
    let _refuser = Refuser::start(&lab, "server", SERVER);
    let mut live = lab.live("router", &["--format", "jsonl", "-o", "rows.jsonl", "--upstream"], "live");
    let mut declared =
        lab.live("router", &["--format", "json", "-o", "live.json", "--server", "10.20.30.40"], "declared");
    let mut sockets = Vec::new();
    for (who, count) in [("client", 5), ("router", 1), ("client", 5)] {
        sockets.push(burst(&lab, who, SERVER, count).join().expect("it ends"));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!((live.stop().0, declared.stop().0), (Some(0), Some(0)));
    let said = lab.read("live.err");
    assert!(said.contains("REFUSED 10 of 10 client"), "{said}");
    assert!(said.contains("1 query from addresses of this host or our own servers to others"), "{said}");
    let rows = lab.read("rows.jsonl");
    let of_leg = |leg: &str| rows.matches(&format!("\"leg\":\"{leg}\"")).count();
    assert_eq!((of_leg("client"), of_leg("upstream")), (10, 1), "{rows}");
    // Everybody who asks a declared server is a client.
    let legs: Vec<Value> =
        lab.json("live.json")["sources"].as_array().unwrap().iter().map(|line| line["leg"].clone()).collect();
    assert_eq!(legs, [json!("client"), json!("client")]);
}

#[test]
fn nobody_is_called_silent_where_responses_may_leave_through_ipsec() {
    let Some(lab) = Lab::of_two() else { return };
    // The response to one of the client's addresses finds no way out.
    let [heard, unheard] = [7, 8].map(|last| Ipv4Addr::new(10, 20, 30, last));
    lab.ip("client", &format!("addr add {unheard}/24 dev c0"));
    lab.ip("host", &format!("route add blackhole {unheard}/32"));
    let _refuser = Refuser::start(&lab, "host", SERVER);
    // What the kernel lists as its modules, whatever this machine has: none, and the one for ESP.
    let live = |module: &str, log: &str| {
        let script = format!("mount -t tmpfs none /sys/module && {module} && exec \"$@\"");
        let report = format!("{log}.json");
        let arguments = ["-c", &script, "sh", PROGRAM, "live", "--timeout", "500ms", "--format", "json", "-o", &report];
        let running = lab.start("host", "sh", &arguments, log);
        lab.wait_for(&format!("{log}.err"), "capturing ");
        running
    };
    let mut plain = live("true", "plain");
    let mut ipsec = live("mkdir /sys/module/esp4 && echo 0 > /sys/module/esp4/refcnt", "ipsec");
    for client in [heard, unheard, heard, unheard, heard] {
        burst_from(&lab, "client", client, SERVER, 1).join().expect("it ends");
        std::thread::sleep(Duration::from_millis(100));
    }
    // A query that a late response may still reach has not met silence yet.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((plain.stop().0, ipsec.stop().0), (Some(0), Some(0)), "{}", lab.read("ipsec.err"));
    for (report, silent, unanswered, noted) in [("plain.json", 2, 0, false), ("ipsec.json", 0, 2, true)] {
        let report = lab.json(report);
        let source = report["sources"].as_array().unwrap().iter().find(|source| source["source"] == json!(unheard));
        let source = source.expect("it asked");
        assert_eq!((&source["silent"], &source["unanswered"]), (&json!(silent), &json!(unanswered)), "{source}");
        let says =
            report["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("module for ESP"));
        assert_eq!(says, noted, "{}", report["notes"]);
    }
}
