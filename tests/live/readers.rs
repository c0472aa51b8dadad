//! Tests what happens when readers of the outputs stop reading, or go away.

use super::*;

#[test]
fn the_report_of_an_interval_without_a_file_is_printed() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    std::fs::create_dir(lab.path("out")).expect("a folder");
    let arguments = ["-i", "lo", "--every", "2s", "--format", "json", "-o", "out/live.json", "--sandbox", "off"];
    let mut live = lab.live("host", &arguments, "live");
    burst(&lab, "host", SERVER, 3).join().expect("it ends");
    std::fs::remove_dir_all(lab.path("out")).expect("it is there");
    lab.wait_for("live.err", "the report of this interval is printed on standard error");
    lab.wait_for("live.err", "REFUSED 3 of 3 client queries");
    refuser.finish();
    assert_eq!(live.stop().0, Some(5), "{}", lab.read("live.err"));
}

#[test]
fn the_last_report_that_standard_output_cannot_hold_is_printed() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    for more in [&["--every", "1s", "--for", "30s"][..], &["--for", "1s"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let mut command = lab.command("host", PROGRAM);
        command.args(["live", "-i", "lo", "--format", "json"]).args(more).stdout(full);
        command.stderr(std::fs::File::create(lab.path("live.err")).expect("a file"));
        let mut live = Running { child: command.spawn().expect("it starts") };
        let (code, took) = live.wait();
        let said = lab.read("live.err");
        assert_eq!(code, Some(5), "{said}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(said.contains("No space left on device") && said.contains("Ledgers closed"), "{said}");
    }
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
    command.args(["live", "-i", "lo", "--format", "json", "--every", "200ms", "--for", "30s"]);
    command.stdout(writer).stderr(std::fs::File::create(lab.path("live.err")).expect("a file"));
    let mut live = Running { child: command.spawn().expect("it starts") };
    // The command holds the other end, too.
    drop(command);
    reader.read_exact(&mut [0; 100]).expect("the first report");
    drop(reader);
    let (code, took) = live.wait();
    let said = lab.read("live.err");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("E-OUT") && said.contains("nobody reads reports any more: the capture ends"), "{said}");
    // It goes on for nobody.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_reader_that_is_gone_ends_no_recording() {
    let Some(lab) = Lab::of(&["host"]) else { return };
    lab.ip("host", "addr add 10.20.30.40/32 dev lo");
    let mut refuser = Refuser::start(&lab, "host", SERVER);
    for (more, said) in [(&["--write", "all.pcapng"][..], "goes on for --write"), (&[], "the capture ends")] {
        let mut command = lab.command("host", PROGRAM);
        command.args(["live", "-i", "lo", "--format", "jsonl", "--for", "4s"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let began = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        drop(child.stdout.take());
        let mut sent = 0;
        for _ in 0..6 {
            sent += burst(&lab, "host", SERVER, 50).join().expect("it ends").0;
            std::thread::sleep(Duration::from_millis(300));
        }
        let output = child.wait_with_output().expect("it ends");
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && lines.contains(said) && !lines.contains("left out:"), "{more:?}: {lines}");
        let whole = began.elapsed() > Duration::from_millis(3900);
        assert_eq!(whole, !more.is_empty(), "{:?}: {lines}", began.elapsed());
        if whole {
            let (report, _) = lab.read_captures(&["all.pcapng"]);
            assert_eq!(report["totals"]["queries"], json!(sent));
        }
    }
    refuser.finish();
}
