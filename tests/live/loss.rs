//! Tests that losses are counted and reported, whatever happens to the process.

use super::*;

/// Sends bursts under one kind of trouble; the kernel must have seen as many packets as were sent and answered.
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
    // True when the run ends while everything is still in the ring.
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
            // The last reading counts.
            let last = ["-T", "fields", "-E", "occurrence=l", "-r"];
            tshark.args(["-X", "read_format:MIME Files Format"]).args(last).arg(lab.path("own.pcapng"));
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
fn who_may_have_been_answered_by_a_lost_packet_was_not_met_with_silence() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    for address in ["10.20.30.40", "10.20.30.7", "10.20.30.8"] {
        lab.ip("host", &format!("addr add {address}/32 dev lo"));
    }
    let [one, other] = [7, 8].map(|last| Ipv4Addr::new(10, 20, 30, last));
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let both = ["--vantage", "server", "--timeout", "300ms", "--server", "10.20.30.40"];
    let arguments = ["-i", "lo", "--ring", "256K", "--write", "lost.pcapng", "--format", "json", "-o", "live.json"];
    let mut live = lab.live("host", &[&both[..], &arguments, &["--max-loss", "1000000000"]].concat(), "live");
    for _ in 0..4 {
        let bursts = [one, other].map(|client| burst_from(&lab, "host", client, SERVER, 6000));
        live.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(150));
        live.signal(libc::SIGCONT);
        for burst in bursts {
            drop(burst.join().expect("it ends"));
        }
        // Long enough for what is not answered to be given up, and for what came late.
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(100));
            drop(burst_from(&lab, "host", other, SERVER, 1).join().expect("it ends"));
        }
    }
    refuser.finish();
    live.stop();
    let report = lab.json("live.json");
    let (_, dropped, ..) = capture(&report);
    let sum = |name: &str| sources(&report).iter().filter_map(|source| source[name].as_u64()).sum::<u64>();
    println!("{dropped} dropped, {} unanswered", sum("unanswered"));
    assert!(dropped > 0 && sum("unanswered") > 0, "nothing was lost: {}", report["ledgers"]["capture"]);
    assert_eq!(sum("silent"), 0, "every query was refused");
    // The recording states where packets were lost, so that nobody concludes too much from it.
    let (own, _) = lab.read_captures(&[&both[..], &["lost.pcapng"]].concat());
    assert_eq!((&own["totals"], sources(&own)), (&report["totals"], sources(&report)));
}
