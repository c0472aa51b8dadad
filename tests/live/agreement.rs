//! Compares what `live` reports with other accounts of the same packets: a capture taken beside it, its own recording,
//! a known truth.

use super::*;

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

    // A file does not show whose servers they are; the host knows.
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

#[test]
fn handles_that_share_an_interface_see_every_packet_once() {
    let Some(lab) = Lab::of_two() else { return };
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
        said.contains("only REFUSED responses were captured")
            && said.contains("refusals that this does not catch")
            && said.contains("192.0.2.45                   3         -"),
        "{said}"
    );
    // The file says what was left out.
    let (own, code) = lab.read_captures(&["own.pcapng", "--expect", "expect.csv"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["totals"], sources(&report), findings(&report)),
        (&own["totals"], sources(&own), findings(&own))
    );
    for report in [&report, &own] {
        assert_eq!(report["inputs"][0]["refused_only"], json!(true));
        assert!(sources(report).iter().all(|source| source["answered"].is_null() && source["silent"].is_null()));
    }
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
        // On all interfaces recent kernels give the protocol behind a second tag as that of the packet, with the tag
        // still in front of it; libpcap hands on what is then no IP packet.
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
fn several_interfaces_are_one_time_line() {
    let Some(lab) = Lab::of_two_wired_twice() else { return };
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
fn every_interval_of_several_interfaces_closes() {
    let Some(lab) = Lab::of_two_wired_twice() else { return };
    let mut refuser = Refuser::start(&lab, "host", Ipv4Addr::UNSPECIFIED);
    let arguments = ["-i", "eth0", "-i", "eth1", "--every", "300ms", "--format", "json", "-o", "part.json"];
    let mut live = lab.live("host", &arguments, "live");
    // Blocks of one interface are followed up to where those of the other are.
    for number in 0..40 {
        let done = [0, 1].map(|network| burst(&lab, "client", Ipv4Addr::new(10, 20, network, 40), 20 + number));
        for burst in done {
            burst.join().expect("it ends");
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let mut parts = 0;
    for file in std::fs::read_dir(lab.path("")).expect("the folder") {
        let name = file.expect("a file").file_name().into_string().expect("text");
        if name.starts_with("part-") {
            let ledgers = lab.json(&name)["ledgers"].clone();
            for (ledger, account) in ledgers.as_object().unwrap() {
                assert_ne!(account["closed"], json!(false), "{name}: {ledger} {account}");
            }
            parts += 1;
        }
    }
    assert!(parts > 5, "{parts} intervals");
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
