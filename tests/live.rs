//! `live` in network namespaces of its own: what it says beside what others counted, and how it ends when things go wrong.
//!
//! Needs root and the packages of the laboratory; what is missing is printed and the test skipped. `DNSREFUSED_LAB=1` runs
//! more and longer.

#[path = "live/lab.rs"]
mod lab;

use lab::{Lab, PROGRAM, Random, Refuser, Running, burst, burst_from, is_installed, is_lab};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 20, 30, 40);

/// A server behind a router that translates one of two client networks: `client`, `router`, `server`.
fn translated() -> Option<Lab> {
    if !["dig", "tcpdump", "named", "unbound", "nft"].iter().all(|program| is_installed(program)) {
        return None;
    }
    let lab = Lab::of(&["client", "router", "server"])?;
    for (namespace, arguments) in [
        ("client", "link add c0 type veth peer name r0 netns @router"),
        ("router", "link add r1 type veth peer name eth0 netns @server"),
        ("client", "addr add 10.21.5.18/24 dev c0"),
        ("client", "addr add 10.20.1.7/32 dev c0"),
        ("router", "addr add 10.21.5.1/24 dev r0"),
        ("router", "addr add 10.20.30.1/24 dev r1"),
        ("server", "addr add 10.20.30.40/24 dev eth0"),
        ("server", "addr add 10.20.30.41/24 dev eth0"),
        ("client", "link set c0 up"),
        ("router", "link set r0 up"),
        ("router", "link set r1 up"),
        ("server", "link set eth0 up"),
        ("client", "route add default via 10.21.5.1"),
        ("router", "route add 10.20.1.7 dev r0"),
        ("server", "route add default via 10.20.30.1"),
    ] {
        lab.ip(namespace, arguments);
    }
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    let rules = "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; \
                 add rule ip nat out oif r1 ip saddr 10.21.0.0/16 snat to 192.0.2.45";
    for (program, arguments) in [("sh", vec!["-c", forward]), ("nft", vec![rules])] {
        assert!(lab.command("router", program).args(arguments).status().expect("it runs").success(), "{program}");
    }
    lab.ip("router", "addr add 192.0.2.45/32 dev lo");
    Some(lab)
}

/// BIND and Unbound that answer 10.20.0.0/16 and refuse everybody else.
fn servers(lab: &Lab) -> Vec<Running> {
    lab.file("zone.db", "$TTL 60\n@ SOA ns h 1 1d 1h 1w 1h\n@ NS ns\nns A 10.20.30.40\n* A 192.0.2.80\n");
    lab.file(
        "named.conf",
        "options { directory \".\"; listen-on { 10.20.30.40; }; listen-on-v6 { none; }; recursion no; pid-file none; \
         allow-query { 10.20.0.0/16; }; };\ncontrols { };\nzone \"test\" { type primary; file \"zone.db\"; };\n",
    );
    lab.file(
        "unbound.conf",
        "server:\n interface: 10.20.30.41\n username: \"\"\n chroot: \"\"\n directory: \".\"\n pidfile: \"\"\n \
         do-daemonize: no\n use-syslog: no\n access-control: 10.20.0.0/16 allow\n access-control: 0.0.0.0/0 refuse\n \
         local-zone: \"test.\" redirect\n local-data: \"test. A 192.0.2.80\"\nremote-control:\n control-enable: no\n",
    );
    let named = lab.start("server", "named", &["-g", "-n", "1", "-c", "named.conf"], "named");
    let unbound = lab.start("server", "unbound", &["-d", "-c", "unbound.conf"], "unbound");
    lab.wait_for("named.err", "running");
    lab.wait_for("unbound.err", "start of service");
    vec![named, unbound]
}

/// Totals that a capture without a filter must agree on; times and other traffic aside.
fn totals(report: &Value) -> Value {
    let mut totals = report["totals"].clone();
    let object = totals.as_object_mut().expect("totals");
    for name in ["frames", "first", "last"] {
        object.remove(name);
    }
    totals
}

/// Sources without their times (two sockets read the clock one after the other).
fn sources(report: &Value) -> Vec<Value> {
    let mut sources = report["sources"].as_array().expect("sources").clone();
    for source in &mut sources {
        let object = source.as_object_mut().expect("a source");
        for name in ["first", "last"] {
            object.remove(name);
        }
    }
    sources
}

/// Findings without frame numbers and what is said of this capture as such.
fn findings(report: &Value) -> Vec<Value> {
    let findings = report["findings"].as_array().expect("findings");
    let fields = ["id", "kind", "grade", "severity", "subject", "count"];
    findings.iter().map(|finding| fields.iter().map(|name| finding[*name].clone()).collect()).collect()
}

/// The account of the kernel.
fn capture(report: &Value) -> (u64, u64, u64, u64) {
    let ledger = &report["ledgers"]["capture"];
    let number = |name: &str| ledger[name].as_u64().unwrap_or_else(|| panic!("{name} in {ledger}"));
    assert_eq!(ledger["closed"], json!(true), "{ledger}");
    for name in ["packets", "messages", "matches", "outputs"] {
        assert_eq!(report["ledgers"][name]["closed"], json!(true), "{name}: {}", report["ledgers"][name]);
    }
    (number("kernel_seen"), number("kernel_dropped"), number("read"), number("own_dropped"))
}

#[test]
fn it_says_what_a_capture_taken_beside_it_says() {
    let Some(lab) = translated() else { return };
    lab.file("expect.csv", "prefix,name,kind,expect\n10.20.0.0/16,office,client,allow\n10.21.0.0/16,vpn,vpn,allow\n");
    let capture_file = ["-i", "any", "-B", "65536", "-U", "-Z", "root", "-w", "beside.pcap"];
    let mut tcpdump = lab.start("server", "tcpdump", &capture_file, "tcpdump");
    lab.wait_for("tcpdump.err", "listening");
    let arguments =
        ["--format", "json", "-o", "live.json", "--write", "own.pcapng", "--expect", "expect.csv", "--node", "ns1"];
    let mut live = lab.live("server", &arguments, "live");
    // What the servers ask on their own when they start is in both captures, too.
    let servers = servers(&lab);
    let mut statuses: Vec<Option<String>> = vec![lab.dig("client", "-b 10.20.1.7 @10.20.30.40 first.test")];
    for server in ["10.20.30.40", "10.20.30.41"] {
        for number in 0..4 {
            statuses.push(lab.dig("client", &format!("-b 10.20.1.7 @{server} a{number}.test")));
            statuses.push(lab.dig("client", &format!("-b 10.21.5.18 @{server} b{number}.test")));
        }
        statuses.push(lab.dig("client", &format!("-b 10.21.5.18 +tcp @{server} c.test")));
        statuses.push(lab.dig("client", &format!("-b 10.20.1.7 +tcp @{server} d.test")));
    }
    statuses.push(lab.dig("client", "-b 10.20.1.7 @10.20.30.40 last.test"));
    // Nothing is asked any more, and tcpdump takes its time to hand over what it has.
    drop(servers);
    std::thread::sleep(Duration::from_millis(1500));
    let (code, took) = live.stop();
    assert_eq!(code, Some(0), "{}", lab.read("live.err"));
    assert!(took < Duration::from_secs(2), "{took:?}");
    tcpdump.stop();

    let report = lab.json("live.json");
    let refused = statuses.iter().filter(|status| status.as_deref() == Some("REFUSED")).count();
    let answered = statuses.iter().filter(|status| status.as_deref() == Some("NOERROR")).count();
    assert_eq!((refused, answered), (10, 12), "{statuses:?}");
    assert_eq!(report["totals"]["refused"], json!(refused), "dig saw them");
    assert_eq!(report["totals"]["outcomes"]["answered"], json!(answered));
    assert_eq!(report["node"], json!("ns1"));
    let (seen, dropped, read, own) = capture(&report);
    assert!(seen == read && dropped == 0 && own == 0 && read == report["totals"]["frames"].as_u64().unwrap());

    // Whose servers they are a file cannot know by itself; the host does.
    let ours = ["--server", "10.20.30.40", "--server", "10.20.30.41", "--expect", "expect.csv"];
    let (beside, _) = lab.read_captures(&[&["beside.pcap"], &ours[..]].concat());
    let (own, code) = lab.read_captures(&[&["own.pcapng"], &ours[..]].concat());
    assert_eq!(code, Some(0));
    for other in [&beside, &own] {
        assert_eq!(totals(&report), totals(other));
        assert_eq!(sources(&report), sources(other));
        assert_eq!(findings(&report), findings(other));
    }
    assert_eq!(report["totals"], own["totals"], "times and frames as well");
    let kinds: Vec<&Value> = report["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
    assert_eq!(kinds[0], &json!("unlisted-source-refused"), "the translated address is turned away");
}

/// Bursts under one kind of trouble; the number sent and answered is what the kernel must have seen.
fn trouble(lab: &Lab, random: &mut Random, quota: Option<&str>) -> (u64, u64) {
    let ring = ["64K", "300K", "1M", "4M", "64M"][random.below(5) as usize];
    let stopped = random.below(2) == 0;
    let count = if is_lab() { 20_000 + random.below(180_000) } else { 8_000 + random.below(30_000) } as u32;
    println!("ring {ring}, stopped {stopped}, {count} queries, quota {quota:?}");
    let mut refuser = Refuser::start(lab, "host", SERVER);
    let mut arguments = vec!["-i", "lo", "--ring", ring, "--format", "json", "-o", "live.json", "--force"];
    arguments.extend(["--max-loss", "1000000000"]);
    let mut live = lab.live("host", &arguments, "live");
    if let Some(group) = quota {
        std::fs::write(format!("{group}/cgroup.procs"), live.child.id().to_string()).expect("the group takes it");
    }
    // Whether the end comes while everything is still in the ring.
    let backlog = stopped && random.below(2) == 0;
    if backlog {
        live.signal(libc::SIGSTOP);
    }
    let sending = burst(lab, "host", SERVER, count);
    if stopped && !backlog {
        std::thread::sleep(Duration::from_millis(random.below(60)));
        live.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(100 + random.below(300)));
        live.signal(libc::SIGCONT);
    }
    // The socket stays open, so that no ICMP error answers what comes back to it.
    let (sent, _socket) = sending.join().expect("the sender ends");
    let answered = refuser.finish();
    if backlog {
        live.signal(libc::SIGINT);
        live.signal(libc::SIGCONT);
    }
    let (code, took) = if backlog { live.wait() } else { live.stop() };
    let report = lab.json("live.json");
    let (seen, dropped, read, own) = capture(&report);
    assert_eq!(seen, sent + answered, "{sent} queries and {answered} responses were on the wire");
    assert_eq!(seen, dropped + read, "the account closes");
    assert_eq!(report["totals"]["frames"], json!(read - own));
    // A stop may give up, but only when it says so.
    assert!(own == 0 || took > Duration::from_secs(3), "{own} given up after {took:?}");
    assert!(took < Duration::from_secs(if quota.is_some() { 6 } else { 3 }), "{took:?}");
    assert_eq!(code, Some(0), "{}", lab.read("live.err"));
    (dropped, read)
}

#[test]
fn the_account_of_the_kernel_closes_whatever_happens() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut random = Random::seeded();
    let (mut dropped, mut read) = (0, 0);
    for _ in 0..if is_lab() { 100 } else { 20 } {
        let (more_dropped, more_read) = trouble(&lab, &mut random, None);
        dropped += more_dropped;
        read += more_read;
    }
    println!("{dropped} dropped, {read} read");
    assert!(dropped > 0, "no run was in trouble");
}

#[test]
fn a_starved_process_counts_what_it_loses() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let group = format!("/sys/fs/cgroup/dnsrefused-live-{}", std::process::id());
    let made = std::fs::create_dir(&group).and_then(|()| std::fs::write(format!("{group}/cpu.max"), "3000 100000"));
    if let Err(error) = made {
        println!("skipped: no control group with a quota of processor time: {error}");
        let _ = std::fs::remove_dir(&group);
        return;
    }
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut random = Random::seeded();
    for _ in 0..if is_lab() { 10 } else { 2 } {
        trouble(&lab, &mut random, Some(&group));
    }
    drop(lab);
    let _ = std::fs::remove_dir(&group);
}

#[test]
fn handles_that_share_an_interface_see_every_packet_once() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    lab.ip("host", "addr add 10.20.30.40/24 dev eth0");
    lab.ip("client", "addr add 10.20.30.7/24 dev c0");
    lab.ip("host", "link set eth0 up");
    lab.ip("client", "link set c0 up");
    let clients: Vec<Ipv4Addr> = (100..108).map(|last| Ipv4Addr::new(10, 20, 30, last)).collect();
    for client in &clients {
        lab.ip("client", &format!("addr add {client}/24 dev c0"));
    }
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let arguments = ["-i", "eth0", "--fanout", "3", "--format", "json", "-o", "live.json"];
    let mut live = lab.live("host", &arguments, "live");
    let senders: Vec<_> = clients.iter().map(|client| burst_from(&lab, "client", *client, SERVER, 3000)).collect();
    let senders: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("it ends")).collect();
    let sent: u64 = senders.iter().map(|(sent, _)| sent).sum();
    let answered = refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    let (seen, ..) = capture(&report);
    assert!(seen >= sent + answered, "{seen} of {sent} and {answered}");
    let totals = &report["totals"];
    assert_eq!((&totals["queries"], &totals["responses"]), (&json!(sent), &json!(answered)));
    assert_eq!(report["ledgers"]["matches"]["unsolicited"], json!(0), "query and response meet in one tracker");
    let used = report["inputs"].as_array().unwrap().iter().filter(|input| input["frames"] != json!(0)).count();
    assert!(used > 1, "one handle did all the work");
}

#[test]
fn fragments_come_to_the_handle_of_their_query() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    lab.ip("host", "addr add fd02::53/64 dev eth0 nodad");
    lab.ip("host", "link set eth0 up");
    lab.ip("client", "link set c0 up");
    (1..=4).for_each(|last| lab.ip("client", &format!("addr add fd02::{last}/64 dev c0 nodad")));
    let server = lab.inside("host", || {
        let socket = UdpSocket::bind("[fd02::53]:53").expect("port 53 is free");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
        let mut message = [0; 512];
        for _ in 0..40 {
            let (len, client) = socket.recv_from(&mut message).expect("a query");
            message[2] |= 0x80;
            message[7] = 1;
            // A TXT record of 2,560 bytes.
            let record =
                [&b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\x0a\0"[..], &[&[255][..], &[b'x'; 255]].concat().repeat(10)]
                    .concat();
            socket.send_to(&[&message[..len], &record].concat(), client).expect("it is sent");
        }
    });
    for interface in ["eth0", "any"] {
        let arguments = ["-i", interface, "--fanout", "2", "--format", "json", "-o", "live.json", "--force"];
        let mut live = lab.live("host", &arguments, "live");
        let clients = lab.inside("client", || {
            for number in 0..20u8 {
                let socket = UdpSocket::bind(format!("[fd02::{}]:0", 1 + number % 4)).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
                let query = [&[0, number][..], b"\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x10\0\x01"].concat();
                socket.send_to(&query, "[fd02::53]:53").expect("it is sent");
                let mut answer = [0; 4096];
                assert!(socket.recv(&mut answer).expect("an answer") > 2500);
            }
        });
        clients.join().expect("every client is answered");
        assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
        let report = lab.json("live.json");
        capture(&report);
        assert_eq!(report["totals"]["outcomes"]["answered"], json!(20), "{interface}: {}", report["totals"]);
        assert_eq!(report["ledgers"]["matches"]["unsolicited"], json!(0), "{interface}");
        let frames: Vec<&Value> = report["inputs"].as_array().unwrap().iter().map(|input| &input["frames"]).collect();
        assert!(!frames.contains(&&json!(0)), "{interface}: one handle did all the work, {frames:?}");
    }
    server.join().expect("the server answers all");
}

#[test]
fn only_refused_responses_are_let_through_when_asked() {
    let Some(lab) = translated() else { return };
    let _servers = servers(&lab);
    lab.file("expect.csv", "prefix,name,kind,expect\n10.20.0.0/16,office,client,allow\n10.21.0.0/16,vpn,vpn,allow\n");
    let arguments = ["-i", "eth0", "--refused-only", "--format", "json", "-o", "live.json", "--expect", "expect.csv"];
    let mut live = lab.live("server", &[&arguments[..], &["--write", "own.pcapng"]].concat(), "live");
    let mut rows = lab.live("server", &["-i", "eth0", "--refused-only", "--format", "jsonl"], "rows");
    for _ in 0..3 {
        assert_eq!(lab.dig("client", "-b 10.21.5.18 @10.20.30.40 x.test").as_deref(), Some("REFUSED"));
        assert_eq!(lab.dig("client", "-b 10.21.5.18 +tcp @10.20.30.41 x.test").as_deref(), Some("REFUSED"));
        assert_eq!(lab.dig("client", "-b 10.20.1.7 @10.20.30.40 x.test").as_deref(), Some("NOERROR"));
    }
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    capture(&report);
    let totals = &report["totals"];
    assert_eq!((&totals["queries"], &totals["responses"]), (&json!(0), &json!(6)), "{totals}");
    assert_eq!(totals["rcodes"], json!({"REFUSED": 6}));
    let away: Vec<&Value> = report["sources"].as_array().unwrap().iter().map(|line| &line["source"]).collect();
    assert_eq!(away, [&json!("192.0.2.45"); 2], "one row per server");
    assert_eq!(rows.stop().0, Some(0), "{}", lab.read("rows.err"));
    assert_eq!(lab.read("rows.out").matches("\"rcode\":\"REFUSED\"").count(), 6, "every refusal has a row");
    let said = lab.read("rows.err");
    assert!(
        said.contains("only REFUSED responses were captured") && said.contains("192.0.2.45                   3"),
        "{said}"
    );
    // The file says what was left out.
    let (own, code) = lab.read_captures(&["own.pcapng", "--expect", "expect.csv"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["totals"], sources(&report), findings(&report)),
        (&own["totals"], sources(&own), findings(&own))
    );
    assert_eq!(own["inputs"][0]["refused_only"], json!(true));
}

#[test]
fn recordings_played_to_an_interface_give_what_their_files_give() {
    if !is_installed("tcpreplay") {
        return;
    }
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    for (namespace, device) in [("host", "eth0"), ("client", "c0")] {
        lab.ip(namespace, &format!("link set {device} mtu 9000"));
        lab.ip(namespace, &format!("link set {device} up"));
    }
    let recordings = ["link-types/vlan", "link-types/qinq", "link-types/vxlan", "link-types/ethernet"];
    for recording in recordings {
        let file = format!("{}/captures/{recording}.pcap", env!("CARGO_MANIFEST_DIR"));
        let (whole, _) = lab.read_captures(&[&file]);
        // On all interfaces recent kernels give the protocol behind a second tag as that of the packet, with the tag still in
        // front of it; libpcap hands on what is then no IP packet.
        let interfaces = if recording == "link-types/qinq" { &["eth0"][..] } else { &["eth0", "any"] };
        for interface in interfaces {
            let arguments = ["-i", interface, "--format", "json", "-o", "live.json", "--force"];
            let mut live = lab.live("host", &arguments, "live");
            let mut replay = lab.command("client", "tcpreplay");
            let played = replay.args(["-q", "--topspeed", "-i", "c0", &file]).output().expect("tcpreplay runs");
            assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
            let report = lab.json("live.json");
            capture(&report);
            for name in ["messages_udp", "messages_tcp", "queries", "responses", "rcodes"] {
                assert_eq!(report["totals"][name], whole["totals"][name], "{name} of {recording} on {interface}");
            }
            // As on a mirror port no address is this host's: every one that answers is a server.
            let legs: Vec<&Value> = report["sources"].as_array().unwrap().iter().map(|line| &line["leg"]).collect();
            assert!(legs.contains(&&json!("client")), "{legs:?}");
        }
    }
}

#[test]
fn rows_are_written_as_they_are_decided_and_signals_are_heard() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let mut live = lab.live("host", &["-i", "lo", "--every", "1s"], "live");
    assert_eq!(burst(&lab, "host", SERVER, 3).join().expect("it ends").0, 3);
    lab.wait_for("live.out", "\"client\":\"10.20.30.40\"");
    let row: Value = serde_json::from_str(lab.read("live.out").lines().next().expect("a row")).expect("an object");
    assert_eq!(
        (&row["outcome"], &row["question"], &row["leg"]),
        (&json!("refused"), &json!("restored"), &json!("client"))
    );
    live.signal(libc::SIGUSR1);
    lab.wait_for("live.err", "the capture goes on");
    lab.wait_for("live.err", "REFUSED 3 of 3 client queries");
    lab.wait_for("live.err", "10.20.30.40 (this host, ");
    // Later queries belong to later intervals.
    std::thread::sleep(Duration::from_millis(1100));
    burst(&lab, "host", SERVER, 2).join().expect("it ends");
    refuser.finish();
    assert_eq!(live.stop().0, Some(0));
    let text = lab.read("live.err");
    assert!(!text.contains("LEDGERS NOT CLOSED") && text.contains("REFUSED 2 of 2 client queries"), "{text}");
    assert_eq!(lab.read("live.out").lines().count(), 5);

    // A second signal ends it at once.
    let mut live = lab.live("host", &["-i", "lo", "--format", "text"], "again");
    live.signal(libc::SIGSTOP);
    live.signal(libc::SIGINT);
    live.signal(libc::SIGTERM);
    live.signal(libc::SIGCONT);
    let (code, took) = live.wait();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(matches!(code, Some(0 | 130 | 143)), "{code:?}");
}

#[test]
fn what_cannot_be_captured_is_said_with_the_right_code() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let run = |arguments: &[&str]| {
        let output = lab.command("host", PROGRAM).arg("live").args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["-i", "nope"]);
    assert!(code == Some(1) && text.contains("no such interface; there are: lo"), "{text}");
    let (code, text) = run(&["-i", "lo", "--filter", "udp prot 53"]);
    assert!(code == Some(2) && text.contains("syntax error"), "{text}");
    let (code, text) = run(&["-i", "lo", "-i", "lo"]);
    assert!(code == Some(2) && text.contains("twice"), "{text}");
    let mut unprivileged = lab.command("host", "setpriv");
    unprivileged.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "live", "-i", "lo"]);
    // The program may be where this user cannot see it.
    let copy = lab.path("program");
    std::fs::copy(PROGRAM, &copy).expect("a copy");
    let unprivileged = lab
        .command("host", "setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["live", "-i", "lo"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&unprivileged.stderr);
    assert!(unprivileged.status.code() == Some(1) && text.contains("CAP_NET_RAW"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn an_interface_may_go_down_be_renamed_and_vanish() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    lab.ip("host", "addr add 10.20.30.40/24 dev eth0");
    lab.ip("client", "addr add 10.20.30.7/24 dev c0");
    lab.ip("client", "link set c0 up");
    lab.ip("host", "link set eth0 up");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let mut live = lab.live("host", &["-i", "eth0", "--format", "json", "-o", "live.json", "--sandbox", "off"], "live");
    burst(&lab, "client", SERVER, 2).join().expect("it ends");
    lab.ip("host", "link set eth0 down");
    lab.wait_for("live.err", "eth0 is down");
    lab.ip("host", "link set eth0 name lan0");
    lab.wait_for("live.err", "eth0 is now called lan0");
    lab.ip("host", "link set lan0 up");
    lab.wait_for("live.err", "is up again");
    std::thread::sleep(Duration::from_millis(300));
    burst(&lab, "client", SERVER, 3).join().expect("it ends");
    refuser.finish();
    lab.ip("host", "link del lan0");
    let (code, took) = live.wait();
    let text = lab.read("live.err");
    assert_eq!(code, Some(3), "{text}");
    assert!(took < Duration::from_secs(3) && text.contains("the interface disappeared at"), "{took:?} {text}");
    let report = lab.json("live.json");
    capture(&report);
    assert_eq!(report["totals"]["refused"], json!(5), "before and after");
}

#[test]
fn a_killed_run_leaves_outputs_absent_or_complete() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut random = Random::seeded();
    let mut complete = 0;
    for number in 0..if is_lab() { 40 } else { 6 } {
        let refuser = Refuser::start(&lab, "host", SERVER);
        let (report, packets) = (format!("r{number}.json"), format!("w{number}.pcapng"));
        let arguments = ["-i", "lo", "--every", "200ms", "--format", "json", "-o", &report, "--write", &packets];
        let more = ["--rotate-size", "1M", "--rotate-after", "150ms"];
        let live = lab.live("host", &[&arguments[..], &more[..]].concat(), "live");
        let sending = burst(&lab, "host", SERVER, 40_000);
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        drop(live);
        sending.join().expect("it ends");
        drop(refuser);
        for entry in std::fs::read_dir(lab.folder.path()).expect("the folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("r{number}-")) {
                capture(&lab.json(&name));
                complete += 1;
            } else if name.starts_with(&format!("w{number}-")) {
                let (_, code) = lab.read_captures(&[&name]);
                assert_eq!(code, Some(0), "{name} is cut");
                complete += 1;
            }
        }
    }
    assert!(complete > 0, "nothing was ever complete");
}

#[test]
fn outputs_that_take_nothing_end_the_run_in_time() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let mut command = lab.command("host", PROGRAM);
    command.args(["live", "-i", "lo", "--format", "jsonl"]).stdout(full).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let mut live = Running { child };
    std::thread::sleep(Duration::from_millis(800));
    burst(&lab, "host", SERVER, 10).join().expect("it ends");
    assert_eq!(live.wait().0, Some(5), "it ends by itself");
    let mut said = String::new();
    live.child.stderr.take().expect("errors").read_to_string(&mut said).expect("text");
    assert!(said.contains("rows_left_out 10") && said.contains("No space left on device"), "{said}");
    assert!(said.contains("Ledgers closed") && !said.contains("fault of dnsrefused"), "{said}");

    // A reader that never reads.
    let mut command = lab.command("host", PROGRAM);
    command.args(["live", "-i", "lo", "--format", "jsonl", "-q"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut live = Running { child: command.spawn().expect("it starts") };
    std::thread::sleep(Duration::from_millis(800));
    burst(&lab, "host", SERVER, 5000).join().expect("it ends");
    refuser.finish();
    assert!(refuser.sent.load(Ordering::Relaxed) > 1000);
    let (code, took) = live.stop();
    assert_eq!(code, Some(5));
    assert!(took > Duration::from_secs(2) && took < Duration::from_millis(4500), "{took:?}");
}

/// The metrics as curl gets them.
fn metrics(lab: &Lab) -> String {
    let mut curl = lab.command("host", "curl");
    let output = curl.args(["-sS", "--max-time", "5", "http://127.0.0.1:9353/metrics"]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until the metrics hold a sample; how long it took.
fn wait_for_metric(lab: &Lab, wanted: &str) -> Duration {
    let began = Instant::now();
    let mut last = String::new();
    loop {
        let text = metrics(lab);
        if !text.is_empty() {
            last.clone_from(&text);
        }
        if text.lines().any(|line| line == wanted) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(15), "no {wanted} in\n{last}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_reader_that_takes_nothing_stops_neither_packets_nor_time_nor_other_outputs() {
    if !is_installed("curl") {
        return;
    }
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let beside = ["live", "-i", "lo", "--filter", "udp port 53", "--for", "8s", "--metrics", "127.0.0.1:9353"];
    for (number, stalls) in ["rows", "reports", "lines"].into_iter().enumerate() {
        let mut refuser = Refuser::start(&lab, "host", SERVER);
        // It is full, and nobody reads it.
        let (_reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&vec![0; 65536]).expect("that much fits");
        let recording = format!("{stalls}.pcapng");
        let mut command = lab.command("host", PROGRAM);
        command.args(beside).args(["--write", &recording]);
        match stalls {
            "rows" => command.args(["--format", "jsonl"]).stdout(writer).stderr(Stdio::null()),
            "reports" => command.args(["--format", "json", "--every", "1s"]).stdout(writer).stderr(Stdio::null()),
            _ => command.args(["--format", "json", "-o", "st.json"]).stdout(Stdio::null()).stderr(writer),
        };
        let began = Instant::now();
        let mut live = Running { child: command.spawn().expect("it starts") };
        std::thread::sleep(Duration::from_millis(1200));
        let (sent, _socket) = burst(&lab, "host", SERVER, 2000).join().expect("it ends");
        for _ in 0..10 {
            live.signal(libc::SIGUSR1);
            std::thread::sleep(Duration::from_millis(60));
        }
        let (more, _socket) = burst(&lab, "host", SERVER, 7).join().expect("it ends");
        let packets = sent + more + refuser.finish();
        wait_for_metric(&lab, &format!("dnsrefused_packets_seen_total {packets}"));
        let (code, _) = live.wait();
        assert_eq!(code, Some(5), "{stalls}");
        assert!(began.elapsed() < Duration::from_secs(12), "{number}: {:?}", began.elapsed());
        let (report, code) = lab.read_captures(&[&recording]);
        assert_eq!((code, &report["totals"]["frames"]), (Some(0), &json!(packets)), "{stalls}");
        if stalls == "lines" {
            let report = lab.json("st.json");
            assert_eq!(report["totals"]["queries"], json!(sent + more));
            assert!(!report["notes"].to_string().contains("Standard error"), "what waits may still be taken");
        }
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = lab.command("host", PROGRAM);
    command.args(["live", "-i", "lo", "--format", "json", "--every", "200ms", "--for", "2s"]);
    command.stdout(writer).stderr(std::fs::File::create(lab.path("live.err")).expect("a file"));
    let mut live = Running { child: command.spawn().expect("it starts") };
    // The command holds the other end, too.
    drop(command);
    reader.read_exact(&mut [0; 100]).expect("the first report");
    drop(reader);
    assert_eq!(live.wait().0, Some(0), "{}", lab.read("live.err"));
    assert!(!lab.read("live.err").contains("E-OUT"), "{}", lab.read("live.err"));
}

#[test]
fn what_a_file_said_before_it_changed_still_counts() {
    if !is_installed("curl") {
        return;
    }
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let text = "server:\n interface: 10.20.30.40\n access-control: 10.0.0.0/8 refuse\n";
    lab.file("unbound.conf", text);
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let arguments = ["-i", "lo", "--acl", "unbound.conf", "--metrics", "127.0.0.1:9353", "--format", "text"];
    let mut live = lab.live("host", &arguments, "live");
    let sample = |count: u32| {
        format!(
            "dnsrefused_server_verdict_transactions_total{{server=\"10.20.30.40\",verdict=\"refuse\",outcome=\"refused\"}} {count}"
        )
    };
    let _socket = burst(&lab, "host", SERVER, 3).join().expect("it ends");
    wait_for_metric(&lab, &sample(3));
    lab.file("unbound.conf", &format!("{text}# the same\n"));
    lab.wait_for("live.err", "servers' configuration re-read");
    let _socket = burst(&lab, "host", SERVER, 1).join().expect("it ends");
    wait_for_metric(&lab, &sample(4));
    refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let said = lab.read("live.out").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("REFUSED 4 of 4 client queries"), "{said}");
    assert!(said.contains("refused once") == said.contains("only: a server's file had changed."), "{said}");
    assert!(said.contains("A server's file had changed: what was decided before 20"), "{said}");
}

#[test]
fn what_the_sandbox_forbids_to_read_again_is_said_to_be_forbidden() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    for folder in ["conf", "other", "third", "out"] {
        std::fs::create_dir(lab.path(folder)).expect("a folder");
    }
    std::os::unix::fs::chown(lab.path("out"), Some(65534), Some(65534)).expect("its owner");
    lab.file("other/clients.csv", "10.20.0.0/16\n");
    lab.file("third/more.conf", "access-control: 10.0.0.0/8 allow\n");
    std::os::unix::fs::symlink(lab.path("other/clients.csv"), lab.path("conf/clients.csv")).expect("a link");
    let text = "server:\n interface: 10.20.30.40\n";
    lab.file("conf/unbound.conf", text);
    let arguments = ["-i", "lo", "--expect", "conf/clients.csv", "--acl", "conf/unbound.conf", "--every", "3s"];
    let mut live = lab.live("host", &[&arguments[..], &["--format", "json", "-o", "out/live.json"]].concat(), "live");
    std::thread::sleep(Duration::from_millis(100));
    lab.file("other/clients.csv", "10.20.0.0/16\n10.21.0.0/16\n");
    lab.wait_for("live.err", "inventory re-read");
    let more = lab.path("third/more.conf");
    lab.file("conf/unbound.conf", &format!("{text} include: {}\n", more.display()));
    lab.wait_for(
        "live.err",
        "more.conf: is included and cannot be read: Permission denied (os error 13) (the sandbox forbids it",
    );
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let said = lab.read("live.err");
    assert!(said.contains("the configuration read earlier stays in use"), "{said}");
    assert!(!said.contains("configuration re-read") && said.matches("cannot be read").count() == 1, "{said}");
    let mut reports: Vec<_> =
        std::fs::read_dir(lab.path("out")).expect("reports").map(|entry| entry.expect("one").path()).collect();
    reports.sort();
    let last = std::fs::read_to_string(reports.last().expect("a report")).expect("text");
    assert!(
        last.contains("The configuration in use was read before 20") && last.contains("the sandbox forbids it"),
        "{last}"
    );
}

#[test]
fn a_filter_that_is_applied_here_chooses_what_is_recorded() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let arguments = ["-i", "any", "--filter", "link[11]=6 and udp src port 53", "--format", "json", "-o", "live.json"];
    let mut live = lab.live("host", &[&arguments[..], &["--write", "own.pcapng"]].concat(), "live");
    lab.wait_for("live.err", "chosen here and not by the kernel");
    let (sent, _socket) = burst(&lab, "host", SERVER, 15).join().expect("it ends");
    refuser.finish();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    let (seen, ..) = capture(&report);
    assert_eq!((seen, &report["ledgers"]["packets"]["not_selected"]), (sent * 2, &json!(sent)));
    assert_eq!(report["totals"]["outcomes"]["unsolicited"], json!(sent));
    let (own, code) = lab.read_captures(&["own.pcapng", "--server", "10.20.30.40"]);
    assert_eq!((code, &own["totals"]["frames"]), (Some(0), &json!(sent)));
    assert_eq!(totals(&report), totals(&own));
    for name in ["first", "last"] {
        assert_eq!(report["totals"][name], own["totals"][name]);
    }
    assert_eq!(sources(&report), sources(&own));
}

#[test]
fn a_rejected_connection_is_told_while_the_capture_goes_on() {
    if !is_installed("curl") {
        return;
    }
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let arguments = ["-i", "lo", "--filter", "tcp port 53", "--metrics", "127.0.0.1:9353", "--format", "json"];
    let more = ["-o", "live.json", "--write", "own.pcapng"];
    let mut live = lab.live("host", &[&arguments[..], &more[..]].concat(), "live");
    let refused = lab.inside("host", || (0..3).filter(|_| std::net::TcpStream::connect((SERVER, 53)).is_err()).count());
    assert_eq!(refused.join().expect("it ends"), 3);
    let took = wait_for_metric(&lab, "dnsrefused_transactions_total{outcome=\"tcp-rejected\"} 3");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    assert_eq!(report["totals"]["outcomes"]["tcp-rejected"], json!(3));
    let (own, _) = lab.read_captures(&["own.pcapng", "--server", "10.20.30.40"]);
    assert_eq!(totals(&report), totals(&own));
    assert_eq!(sources(&report), sources(&own));
}

#[test]
fn one_interface_of_several_that_is_gone_is_said_to_be() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    for number in 0..2 {
        lab.ip("host", &format!("link add eth{number} type veth peer name c{number} netns @client"));
        lab.ip("host", &format!("addr add 10.20.{number}.40/24 dev eth{number}"));
        lab.ip("client", &format!("addr add 10.20.{number}.7/24 dev c{number}"));
        lab.ip("host", &format!("link set eth{number} up"));
        lab.ip("client", &format!("link set c{number} up"));
    }
    let mut refuser = Refuser::start(&lab, "host", Ipv4Addr::UNSPECIFIED);
    let arguments = ["-i", "eth0", "-i", "eth1", "--format", "json", "-o", "live.json"];
    let mut live = lab.live("host", &arguments, "live");
    burst(&lab, "client", Ipv4Addr::new(10, 20, 1, 40), 2).join().expect("it ends");
    std::thread::sleep(Duration::from_millis(300));
    lab.ip("host", "link del eth1");
    lab.wait_for("live.err", "eth1 is gone: nothing comes from it any more; the capture goes on without it");
    let _socket = burst(&lab, "client", Ipv4Addr::new(10, 20, 0, 40), 3).join().expect("it ends");
    refuser.finish();
    assert_eq!(live.stop().0, Some(3), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    capture(&report);
    assert_eq!(report["totals"]["refused"], json!(5));
    assert!(report["notes"].to_string().contains("eth1 is gone"), "{}", report["notes"]);
}

#[test]
fn several_interfaces_are_one_time_line() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    for number in 0..2 {
        lab.ip("host", &format!("link add eth{number} type veth peer name c{number} netns @client"));
        lab.ip("host", &format!("addr add 10.20.{number}.40/24 dev eth{number}"));
        lab.ip("client", &format!("addr add 10.20.{number}.7/24 dev c{number}"));
        lab.ip("host", &format!("link set eth{number} up"));
        lab.ip("client", &format!("link set c{number} up"));
    }
    let mut refuser = Refuser::start(&lab, "host", Ipv4Addr::UNSPECIFIED);
    let arguments = ["-i", "eth0", "-i", "eth1", "--format", "json", "-o", "live.json", "--write", "own.pcapng"];
    let mut live = lab.live("host", &arguments, "live");
    let bursts = [0, 1, 0, 1].map(|number| burst(&lab, "client", Ipv4Addr::new(10, 20, number, 40), 500));
    let done = bursts.map(|burst| burst.join().expect("it ends"));
    let sent: u64 = done.iter().map(|(sent, _)| sent).sum();
    refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("live.json");
    let (seen, ..) = capture(&report);
    let (own, code) = lab.read_captures(&["own.pcapng", "--server", "10.20.0.40", "--server", "10.20.1.40"]);
    assert_eq!((code, &own["totals"]["frames"]), (Some(0), &json!(seen)));
    assert_eq!(report["totals"], own["totals"]);
    assert_eq!(sources(&report), sources(&own));
    assert_eq!(report["totals"]["queries"], json!(sent));
    let names: Vec<&Value> = report["inputs"].as_array().unwrap().iter().map(|input| &input["name"]).collect();
    assert_eq!(names, ["eth0", "eth1"]);
}

#[test]
fn what_this_host_asks_others_is_upstream() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    lab.ip("host", "addr add 10.20.30.40/24 dev eth0");
    lab.ip("client", "addr add 10.20.30.7/24 dev c0");
    lab.ip("client", "link set c0 up");
    lab.ip("host", "link set eth0 up");
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
    assert!(said.contains("NO CLIENT QUERIES") && said.contains("2 queries of this host to others"), "{said}");
}

#[test]
fn an_address_that_is_added_meanwhile_is_this_hosts() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    lab.ip("host", "link add eth0 type veth peer name c0 netns @client");
    lab.ip("host", "addr add 10.20.30.40/24 dev eth0");
    lab.ip("client", "addr add 10.20.30.7/24 dev c0");
    lab.ip("client", "link set c0 up");
    lab.ip("host", "link set eth0 up");
    let _first = Refuser::start(&lab, "host", SERVER);
    let mut live = lab.live("host", &["-i", "eth0", "--format", "jsonl", "-o", "rows.jsonl"], "live");
    burst(&lab, "client", SERVER, 1).join().expect("it ends");
    let added = Ipv4Addr::new(10, 20, 30, 99);
    lab.ip("host", "addr add 10.20.30.99/32 dev eth0");
    let mut refuser = Refuser::start(&lab, "host", added);
    let _socket = burst(&lab, "client", added, 5).join().expect("it ends");
    assert_eq!(refuser.finish(), 5);
    // It stays this host's when it went on to another one.
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
    assert!(said.contains("1 query of this host or our own servers to others"), "{said}");
    let rows = lab.read("rows.jsonl");
    let of_leg = |leg: &str| rows.matches(&format!("\"leg\":\"{leg}\"")).count();
    assert_eq!((of_leg("client"), of_leg("upstream")), (10, 1), "{rows}");
    // Of a server that was named everybody who asks it is a client.
    let legs: Vec<Value> =
        lab.json("live.json")["sources"].as_array().unwrap().iter().map(|line| line["leg"].clone()).collect();
    assert_eq!(legs, [json!("client"), json!("client")]);
}

#[test]
fn loss_above_what_is_allowed_and_a_full_disk_have_codes_of_their_own() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    for (allowed, wanted) in [("10", 4), ("1000000", 0)] {
        let arguments =
            ["-i", "lo", "--ring", "300K", "--format", "json", "-o", "live.json", "--force", "--max-loss", allowed];
        let mut live = lab.live("host", &[&arguments[..], &["--write", "own.pcapng"]].concat(), "live");
        live.signal(libc::SIGSTOP);
        let (sent, _socket) = burst(&lab, "host", SERVER, 20_000).join().expect("it ends");
        live.signal(libc::SIGCONT);
        let (code, _) = live.stop();
        assert_eq!(code, Some(wanted), "{}", lab.read("live.err"));
        let (seen, dropped, read, _) = capture(&lab.json("live.json"));
        assert!(seen >= sent && dropped > 10 && seen == dropped + read);
        assert_eq!(lab.read("live.err").contains("packets were lost"), wanted == 4);
        // The recording says what it lacks: to this program, and to others.
        let (own, code) = lab.read_captures(&["own.pcapng"]);
        assert_eq!((code, &own["totals"]["frames"]), (Some(0), &json!(read)));
        let by_interface = lab.json("live.json")["ledgers"]["capture"]["interface_dropped"].as_u64();
        // Some interfaces do not say what they lost.
        let name = by_interface.map_or("recorded_dropped_at_least", |_| "recorded_dropped");
        let lost = dropped + by_interface.unwrap_or(0);
        assert_eq!(own["ledgers"]["capture"][name], json!(lost), "{}", own["ledgers"]["capture"]);
        if is_installed("tshark") {
            let mut tshark = Command::new("tshark");
            tshark.args(["-X", "read_format:MIME Files Format", "-T", "fields", "-r"]).arg(lab.path("own.pcapng"));
            for field in ["dropped", "dropped_by_os", "delivered_to_user"] {
                tshark.args(["-e", &format!("pcapng.options.option.data.interface.{field}")]);
            }
            let told = String::from_utf8(tshark.output().expect("it runs").stdout).expect("text");
            let by_interface = by_interface.map(|count| count.to_string()).unwrap_or_default();
            assert_eq!(told.trim_end_matches('\n'), format!("{by_interface}\t{dropped}\t{read}"));
        }
    }

    std::fs::create_dir(lab.path("small")).expect("a folder");
    let mount = ["-t", "tmpfs", "-o", "size=256k,mode=777", "tmpfs"];
    if !Command::new("mount").args(mount).arg(lab.path("small")).status().is_ok_and(|status| status.success()) {
        println!("skipped: no file system can be mounted");
        return;
    }
    let arguments = ["-i", "lo", "--format", "json", "-o", "live.json", "--force", "--write", "small/own.pcapng"];
    let mut live = lab.live("host", &arguments, "live");
    let (sent, _socket) = burst(&lab, "host", SERVER, 10_000).join().expect("it ends");
    refuser.finish();
    let (code, _) = live.stop();
    let _ = Command::new("umount").arg(lab.path("small")).status();
    let text = lab.read("live.err");
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("No space left") && text.contains(".partial"), "{text}");
    let report = lab.json("live.json");
    capture(&report);
    assert_eq!(report["totals"]["queries"], json!(sent), "the report is complete all the same");
}

#[test]
fn what_interfaces_lose_is_loss_with_a_code() {
    let Some(lab) = Lab::of(&["client", "host"]) else { return };
    for number in 0..2 {
        lab.ip("host", &format!("link add eth{number} type veth peer name c{number} netns @client"));
        lab.ip("host", &format!("link set eth{number} up"));
        lab.ip("client", &format!("link set c{number} up"));
    }
    // A file stands for each counter, in a file system that only the program sees.
    for number in 0..2 {
        lab.file(&format!("lost{number}"), "0\n");
    }
    let script = "for n in 0 1; do mount --bind lost$n /sys/class/net/eth$n/statistics/rx_missed_errors || exit 99; done; \
                  exec \"$0\" \"$@\"";
    for (interfaces, lost, says, known) in [
        (&["-i", "eth0", "-i", "eth1"][..], 12, "lost by the interface 12 (any traffic)", "interface_dropped"),
        (&["-i", "eth0", "--fanout", "2"], 7, "LOST 7 packets", "interface_dropped"),
        (&["-i", "eth0", "-i", "lo"], 7, "LOST at least 7 packets", "interface_dropped_at_least"),
    ] {
        for number in 0..2 {
            lab.file(&format!("lost{number}"), "0\n");
        }
        let arguments =
            [&["-c", script, PROGRAM, "live", "--format", "json", "-o", "live.json", "--force"], interfaces].concat();
        let mut live = lab.start("host", "sh", &arguments, "live");
        lab.wait_for("live.err", "capturing ");
        std::thread::sleep(Duration::from_millis(300));
        for (file, text) in [("lost0", "7"), ("lost1", "5")] {
            // Not emptied first, as no counter is.
            let file = std::fs::File::options().write(true).open(lab.path(file));
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it counts");
        }
        std::thread::sleep(Duration::from_millis(300));
        // Nothing was captured: what the interface says is known without a packet.
        live.signal(libc::SIGUSR1);
        lab.wait_for("live.err", says);
        assert_eq!(live.stop().0, Some(4), "{}", lab.read("live.err"));
        assert!(
            lab.read("live.err").contains(&format!("{lost} packets of any traffic were lost")),
            "{}",
            lab.read("live.err")
        );
        assert_eq!(lab.json("live.json")["ledgers"]["capture"][known], json!(lost), "{interfaces:?}");
    }
}

#[test]
fn what_differs_from_a_file_is_not_drift_right_after_it_changed() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let path = lab.file("unbound.conf", "server:\n interface: 10.20.30.40\n access-control: 10.0.0.0/8 allow\n");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    for (age, wanted) in [(0, false), (120, true)] {
        let changed = std::time::SystemTime::now() - Duration::from_secs(age);
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(changed)).expect("its time");
        let arguments = ["-i", "lo", "--format", "json", "-o", "live.json", "--force", "--acl", "unbound.conf"];
        let mut live = lab.live("host", &arguments, "live");
        let _socket = burst(&lab, "host", SERVER, 20).join().expect("it ends");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
        let report = lab.json("live.json");
        let kinds: Vec<&Value> =
            report["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
        assert_eq!(kinds.contains(&&json!("acl-drift")), wanted, "{kinds:?}");
        let notes = report["notes"].to_string();
        assert_eq!(notes.contains("less than 60 s ago"), !wanted, "{notes}");
    }
    refuser.finish();
}

#[test]
fn the_printed_filter_catches_what_the_decoder_finds() {
    let captures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let filter = |link_type: &str, more: &[&str]| {
        let output =
            Command::new(PROGRAM).args(["filter", "--link-type", link_type]).args(more).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    };
    let report = |file: &std::path::Path, filter: Option<&str>| -> Value {
        let mut command = Command::new(PROGRAM);
        command.arg("read").arg(file).args(["--format", "json"]);
        filter.map(|filter| command.args(["--filter", filter]));
        let output = command.output().expect("it runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{command:?}: {error} {}", String::from_utf8_lossy(&output.stderr)))
    };
    let mut compared = 0;
    for folder in std::fs::read_dir(captures).expect("recordings") {
        let Ok(files) = std::fs::read_dir(folder.expect("a folder").path()) else { continue };
        for file in files.map(|file| file.expect("a file").path()) {
            let is_capture = file.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng");
            if !is_capture {
                continue;
            }
            let whole = report(&file, None);
            let links: Vec<&str> =
                whole["inputs"][0]["link_types"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let [link @ ("ETHERNET" | "LINUX_SLL" | "LINUX_SLL2" | "RAW")] = links[..] else { continue };
            let chosen = report(&file, Some(&filter(link, &[])));
            for name in ["messages_udp", "messages_tcp", "queries", "responses", "rcodes", "outcomes"] {
                assert_eq!(whole["totals"][name], chosen["totals"][name], "{name} of {}", file.display());
            }
            let refused = report(&file, Some(&filter(link, &["--refused-only"])));
            assert_eq!(refused["totals"]["queries"], json!(0), "{}", file.display());
            // Behind the first message of a segment the filter sees nothing.
            if whole["totals"]["messages_tcp"] == json!(0) {
                let rcodes = |report: &Value| report["totals"]["rcodes"]["REFUSED"].clone();
                assert_eq!(rcodes(&refused), rcodes(&whole), "{}", file.display());
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} recordings");
}
