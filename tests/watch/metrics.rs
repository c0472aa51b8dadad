//! The metrics, through a collector's parser.

use super::lab::{Lab, is_installed};
use super::{ask, server};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Says on one line each sample a collector understands.
const COLLECTOR: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(sample.name, sorted(sample.labels.items()), repr(float(sample.value)))
";

/// The metrics as curl gets them.
fn scraped(lab: &Lab) -> String {
    let mut curl = lab.command("server", "curl");
    let output = curl.args(["-sS", "--max-time", "5", "-D", "head", "http://127.0.0.1:9353/metrics"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_collector_gets_what_was_asked() {
    let Some((lab, _unbound)) = server() else { return };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let probe = Command::new(python).args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let (true, Some(python)) = (is_installed("curl"), python) else {
        return println!("skipped: curl, or prometheus_client for python3, is not installed");
    };
    // Reports of parts of the time begin anew; metrics never do.
    let arguments = [
        "-i",
        "eth0",
        "--metrics",
        "127.0.0.1:9353",
        "--acl",
        "unbound.conf",
        "--expect",
        "clients.csv",
        "--every",
        "1s",
        "--format",
        "json",
        "-o",
        "part.json",
    ];
    let mut live = lab.live("server", &arguments, "live");
    ask(&lab, "10.20.30.2", 4, "a.test", "NOERROR");
    ask(&lab, "10.20.30.3", 3, "b.test", "REFUSED");
    std::thread::sleep(Duration::from_millis(1100));
    ask(&lab, "10.20.30.4", 2, "c.test", "REFUSED");
    let began = Instant::now();
    let text = loop {
        let text = scraped(&lab);
        if text.contains("dnsrefused_transactions_total{outcome=\"refused\"} 5\n") {
            break text;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(
        lab.read("head").contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{}",
        lab.read("head")
    );
    for wire in ["10.20.30.2", "10.20.30.3", "a.test", "b.test"] {
        assert!(!text.contains(wire), "{wire} is no label");
    }
    lab.file("metrics", &text);
    let mut collector = Command::new(python);
    collector.args(["-c", COLLECTOR]).stdin(fs::File::open(lab.path("metrics")).unwrap());
    let output = collector.output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let samples = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "dnsrefused_transactions_total [('outcome', 'answered')] 4.0",
        "dnsrefused_transactions_total [('outcome', 'refused')] 5.0",
        "dnsrefused_server_transactions_total [('outcome', 'refused'), ('server', '10.20.30.40')] 5.0",
        "dnsrefused_server_verdict_transactions_total [('outcome', 'refused'), ('server', '10.20.30.40'), ('verdict', \
         'refuse')] 5.0",
        "dnsrefused_server_verdict_transactions_total [('outcome', 'answered'), ('server', '10.20.30.40'), ('verdict', \
         'allow')] 4.0",
        "dnsrefused_inventory_transactions_total [('expect', 'allow'), ('name', 'office'), ('outcome', 'answered')] 4.0",
        "dnsrefused_inventory_transactions_total [('expect', 'allow'), ('name', 'vpn'), ('outcome', 'answered')] 0.0",
        "dnsrefused_round_trip_seconds_count [] 9.0",
        "dnsrefused_round_trip_seconds_bucket [('le', '+Inf')] 9.0",
        "dnsrefused_sources [] 3.0",
        "dnsrefused_sources_turned_away [] 2.0",
        "dnsrefused_packets_lost_total [('place', 'kernel')] 0.0",
        "dnsrefused_ring_bytes [] 67108864.0",
    ] {
        assert!(samples.lines().any(|line| line == wanted), "{wanted}\n{samples}");
    }
    let seen: Vec<&str> = samples.lines().filter(|line| line.contains("last_seen")).collect();
    assert!(matches!(seen[..], [line] if line.contains("('name', 'office')")), "{seen:?}");
    assert_eq!(live.stop().0, Some(0));
}
