//! `live` in network namespaces of its own: its results compared with what others counted, and how it ends when things
//! go wrong.
//!
//! Needs root and the packages of the laboratory; what is missing is printed and the test skipped. `DNSREFUSED_LAB=1`
//! runs more tests, for longer.

#[path = "live/agreement.rs"]
mod agreement;
#[path = "live/ending.rs"]
mod ending;
#[path = "live/expectations.rs"]
mod expectations;
#[path = "live/lab.rs"]
mod lab;
#[path = "live/legs.rs"]
mod legs;
#[path = "live/loss.rs"]
mod loss;
#[path = "live/readers.rs"]
mod readers;

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

/// Findings without frame numbers and without what is about this capture as such.
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
