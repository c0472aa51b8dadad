//! Tests signals, interfaces that disappear, and what is left of a run that is killed.

use super::*;

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
fn a_stop_is_noted_and_read_in_the_interval_in_which_it_was() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let arguments = ["-i", "lo", "--every", "2s", "--format", "json", "-o", "live.json"];
    let mut live = lab.live("host", &arguments, "live");
    live.signal(libc::SIGSTOP);
    burst(&lab, "host", SERVER, 3).join().expect("it ends");
    std::thread::sleep(Duration::from_secs(3));
    live.signal(libc::SIGCONT);
    lab.wait_for("live.err", "this program did not run for ");
    std::thread::sleep(Duration::from_secs(1));
    refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let names =
        std::fs::read_dir(lab.folder.path()).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let first = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("live-")).min();
    let report = lab.json(&first.expect("a report"));
    assert!(report["notes"].to_string().contains("this program did not run for "), "{}", report["notes"]);
    assert_eq!(report["totals"]["refused"], json!(3));
}

#[test]
fn intervals_end_though_the_program_stands_still_again_and_again() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let mut live = lab.live("host", &["-i", "lo", "--every", "1s", "--format", "json", "-o", "live.json"], "live");
    // As on a host whose processor time is rationed.
    for _ in 0..5 {
        live.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(1200));
        live.signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(400));
    }
    let names =
        std::fs::read_dir(lab.folder.path()).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let reports = names.filter(|name| name.to_string_lossy().starts_with("live-")).count();
    assert!(reports >= 2, "{reports}");
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
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
    let Some(lab) = Lab::of_two() else { return };
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    let mut live = lab.live("host", &["-i", "eth0", "--format", "json", "-o", "live.json", "--sandbox", "off"], "live");
    burst(&lab, "client", SERVER, 2).join().expect("it ends");
    lab.ip("host", "link set eth0 down");
    lab.wait_for("live.err", "eth0 is down");
    lab.ip("host", "link set eth0 name lan0");
    lab.wait_for("live.err", "eth0 is now called lan0");
    lab.ip("host", "link set lan0 up");
    lab.wait_for("live.err", "is up again");
    lab.ip("client", "link set c0 down");
    lab.wait_for("live.err", "is up but has no carrier");
    lab.ip("client", "link set c0 up");
    lab.wait_for("live.err", "has a carrier again after ");
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
    let Some(lab) = Lab::of_two_wired_twice() else { return };
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
fn a_terminal_that_goes_away_ends_nothing_under_nohup() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let mut live = lab.start("host", "nohup", &[PROGRAM, "live", "-i", "lo", "--for", "2s"], "live");
    lab.wait_for("live.err", "capturing ");
    let began = Instant::now();
    live.signal(libc::SIGHUP);
    let (code, _) = live.wait();
    assert_eq!(code, Some(0), "{}", lab.read("live.err"));
    assert!(began.elapsed() > Duration::from_secs(1), "it went on for {:?}", began.elapsed());
}

#[test]
fn a_terminal_that_goes_away_is_told_twice_and_the_report_is_written() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let mut live =
        lab.live("host", &["-i", "lo", "--format", "json", "-o", "hung.json", "--write", "hung.pcapng"], "live");
    // By the kernel, and by the shell.
    live.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(10));
    live.signal(libc::SIGHUP);
    let (code, _) = live.wait();
    assert_eq!(code, Some(0), "{}", lab.read("live.err"));
    capture(&lab.json("hung.json"));
    assert!(lab.path("hung.pcapng").exists());
    // And timeout(1) sends its signal to its child and to the group.
    let mut live = lab.live("host", &["-i", "lo", "--format", "json", "-o", "ended.json"], "again");
    live.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(10));
    live.signal(libc::SIGTERM);
    assert_eq!(live.wait().0, Some(0), "{}", lab.read("again.err"));
    capture(&lab.json("ended.json"));
}

#[test]
fn a_pipe_that_was_read_is_not_waited_for_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("clients.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let arguments = ["live", "-i", "lo", "--for", "1s", "--expect"];
    let child = Command::new(PROGRAM).args(arguments).arg(&pipe).spawn().expect("it runs");
    let mut live = Running { child };
    std::fs::write(&pipe, "10.0.0.0/8\n").expect("it is read");
    // After a second, or at once where it may not capture.
    live.wait();
}

#[test]
fn a_second_signal_ends_the_wait_for_a_pipe_that_nobody_feeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("clients.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let child = Command::new(PROGRAM).args(["live", "-i", "lo", "--expect"]).arg(pipe).spawn().expect("it runs");
    let mut live = Running { child };
    std::thread::sleep(Duration::from_millis(500));
    live.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(live.child.try_wait().expect("it can be waited for"), None, "the first asks for a report");
    live.signal(libc::SIGINT);
    assert_eq!(live.wait().0, Some(128 + libc::SIGINT));
}

#[test]
fn a_report_that_standard_error_does_not_take_is_an_error() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut command = lab.command("host", PROGRAM);
    command.args(["live", "-i", "lo", "--for", "1s", "--format", "jsonl"]).stdout(Stdio::null()).stderr(full);
    assert_eq!(command.status().expect("it runs").code(), Some(5));
}

#[test]
fn interfaces_of_another_namespace_are_not_taken_for_those_captured() {
    let Some(lab) = Lab::of_two() else { return };
    if !is_installed("nsenter") {
        return;
    }
    let inside = lab.command("host", "true");
    let namespace = inside.get_args().nth(2).expect("its name").to_string_lossy().into_owned();
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    // It sees /sys as this test does.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).args([
        PROGRAM,
        "live",
        "--format",
        "jsonl",
        "--sandbox",
        "off",
    ]);
    command.current_dir(lab.folder.path()).stdout(std::fs::File::create(lab.path("live.out")).expect("a file"));
    command.stderr(std::fs::File::create(lab.path("live.err")).expect("a file"));
    let mut live = Running { child: command.spawn().expect("it starts") };
    lab.wait_for("live.err", "/sys shows the interfaces of another network namespace");
    burst(&lab, "client", SERVER, 2).join().expect("it ends");
    refuser.finish();
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let said = lab.read("live.err");
    assert!(said.contains("lost by the interface unavailable") && !said.contains("now called"), "{said}");
    assert_eq!(lab.read("live.out").matches("\"interface\":\"eth0\"").count(), 2);
}

#[test]
fn an_interface_has_one_name_whatever_it_was_asked_for_by() {
    let Some(lab) = Lab::of_two() else { return };
    lab.ip("host", "link property add dev eth0 altname wan0");
    let output = lab.command("host", PROGRAM).args(["live", "-i", "eth0", "-i", "wan0"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("wan0 is eth0, which is given already"), "{text}");
    let mut live = lab.live("host", &["-i", "wan0", "--format", "json", "-o", "live.json", "--sandbox", "off"], "live");
    lab.ip("host", "link set eth0 down");
    lab.wait_for("live.err", "eth0 is down");
    lab.ip("host", "link set eth0 up");
    lab.wait_for("live.err", "is up again");
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    assert!(!lab.read("live.err").contains("now called"), "{}", lab.read("live.err"));
    assert_eq!(lab.json("live.json")["ledgers"]["capture"]["interface_dropped"], json!(0));
}
