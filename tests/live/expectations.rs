//! Tests inventories and servers' files that change while the capture runs.

use super::*;

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
fn what_differs_from_a_file_is_no_finding_right_after_it_changed() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    for (word, code, kind) in [("allow", 5, "acl-drift"), ("refuse", 0, "acl-exposure")] {
        let says = format!("server:\n interface: 10.20.30.40\n access-control: 10.0.0.0/8 {word}\n");
        let path = lab.file("unbound.conf", &says);
        let mut server = Refuser::with_code(&lab, "host", SERVER, code);
        for (age, wanted) in [(0, false), (120, true)] {
            let changed = std::time::SystemTime::now() - Duration::from_secs(age);
            let opened = std::fs::File::options().write(true).open(&path);
            opened.and_then(|file| file.set_modified(changed)).expect("its time");
            let arguments = ["-i", "lo", "--format", "json", "-o", "live.json", "--force", "--acl", "unbound.conf"];
            let mut live = lab.live("host", &arguments, "live");
            let _socket = burst(&lab, "host", SERVER, 20).join().expect("it ends");
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
            let report = lab.json("live.json");
            let kinds: Vec<&Value> =
                report["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
            assert_eq!(kinds.contains(&&json!(kind)), wanted, "{kinds:?}");
            let notes = report["notes"].to_string();
            assert_eq!(notes.contains("less than 60 s ago"), !wanted, "{notes}");
        }
        server.finish();
    }
}

#[test]
fn a_file_that_becomes_a_pipe_is_not_waited_for() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    std::fs::create_dir(lab.path("more")).expect("a folder");
    lab.file("clients.csv", "10.20.0.0/16\n");
    lab.file("unbound.conf", "server:\n interface: 10.20.30.40\n include: \"more/*.conf\"\n");
    let arguments = ["-i", "lo", "--expect", "clients.csv", "--acl", "unbound.conf", "--for", "3s", "--sandbox", "off"];
    let began = Instant::now();
    let mut live = lab.live("host", &[&arguments[..], &["--format", "json", "-o", "live.json"]].concat(), "live");
    let pipe = |name: &str| {
        let made = Command::new("mkfifo").arg(lab.path(name)).status().expect("it runs");
        assert!(made.success(), "{name}");
    };
    std::fs::remove_file(lab.path("clients.csv")).expect("it was there");
    pipe("clients.csv");
    lab.wait_for("live.err", "clients.csv: is not a regular file any more; the inventory read earlier stays in use");
    pipe("more/a.conf");
    lab.wait_for("live.err", "it is not a regular file");
    let (code, _) = live.wait();
    assert_eq!(code, Some(0), "{}", lab.read("live.err"));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(lab.read("live.err").contains("the configuration read earlier stays in use"), "{}", lab.read("live.err"));
}

#[test]
fn a_file_that_listens_on_no_port_that_is_captured_is_told_at_the_beginning() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    let listens = [
        ("server:\n interface: 0.0.0.0@5353\n", "unbound.conf", true),
        ("server:\n interface: 0.0.0.0@5353\n", "unbound.conf@10.20.30.40", false),
        ("server:\n interface: 0.0.0.0@5353\n interface: 10.20.30.40\n", "unbound.conf", false),
    ];
    for (text, acl, told) in listens {
        lab.file("unbound.conf", text);
        let mut live = lab.live("host", &["-i", "lo", "--format", "text", "--acl", acl], "live");
        assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
        let said = lab.read("live.err");
        let lines = said.matches("unbound.conf listens on port 5353, not on 53, which is looked at").count();
        assert_eq!(lines, usize::from(told), "{text}: {said}");
    }
}
