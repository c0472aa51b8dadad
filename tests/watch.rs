//! A running capture with a real server: what it shows and how it is confined. The screen is read through a terminal
//! multiplexer, the metrics through a collector's parser, and every thread as the kernel sees it.
//!
//! Needs root and the packages of the laboratory; what is missing is printed and the test skipped.

#[path = "live/lab.rs"]
#[allow(dead_code)] // Each test program uses a part of it.
mod lab;
#[path = "watch/metrics.rs"]
mod metrics;
#[path = "watch/screen.rs"]
mod screen;

use lab::{Lab, PROGRAM, Running, is_installed};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Unbound at 10.20.30.40, and a client with addresses that it answers (.2) and refuses (.3, .4).
fn server() -> Option<(Lab, Running)> {
    if !["dig", "unbound"].iter().all(|program| is_installed(program)) {
        return None;
    }
    let lab = Lab::of(&["server", "client"])?;
    for (namespace, arguments) in [
        ("server", "link add eth0 type veth peer name eth0 netns @client"),
        ("server", "addr add 10.20.30.40/24 dev eth0"),
        ("server", "link set eth0 up"),
        ("client", "addr add 10.20.30.2/24 dev eth0"),
        ("client", "addr add 10.20.30.3/24 dev eth0"),
        ("client", "addr add 10.20.30.4/24 dev eth0"),
        ("client", "link set eth0 up"),
    ] {
        lab.ip(namespace, arguments);
    }
    lab.file(
        "unbound.conf",
        "server:\n interface: 10.20.30.40\n username: \"\"\n chroot: \"\"\n directory: \".\"\n pidfile: \"\"\n \
         do-daemonize: no\n use-syslog: no\n access-control: 10.20.30.2/32 allow\n access-control: 0.0.0.0/0 refuse\n \
         local-zone: \"test.\" redirect\n local-data: \"test. A 192.0.2.80\"\nremote-control:\n control-enable: no\n",
    );
    lab.file("clients.csv", "prefix,name\n10.20.30.2,office\n10.21.0.0/16,vpn\n");
    let unbound = lab.start("server", "unbound", &["-d", "-c", "unbound.conf"], "unbound");
    lab.wait_for("unbound.err", "start of service");
    Some((lab, unbound))
}

/// Asks from an address of the client so often; each answer is as wanted.
fn ask(lab: &Lab, from: &str, times: usize, name: &str, wanted: &str) {
    for _ in 0..times {
        assert_eq!(lab.dig("client", &format!("-b {from} @10.20.30.40 {name}")).as_deref(), Some(wanted), "{from}");
    }
}

/// The process that runs `live` for this lab: the one whose current folder is the lab's.
fn running_live(lab: &Lab) -> u32 {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let is_ours = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == lab.folder.path())
                && fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == Path::new(PROGRAM));
            if is_ours {
                return pid;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("live does not run");
}

#[test]
fn every_thread_of_a_real_run_is_confined() {
    let Some((lab, _unbound)) = server() else { return };
    let output = lab.path("out");
    fs::create_dir(&output).unwrap();
    std::os::unix::fs::chown(&output, Some(65534), Some(65534)).unwrap();
    let arguments = [
        "-i",
        "eth0",
        "-i",
        "lo",
        "--sandbox",
        "require",
        "--metrics",
        "127.0.0.1:9353",
        "--write",
        "out/packets.pcapng",
        "--format",
        "json",
        "-o",
        "out/report.json",
        "--expect",
        "clients.csv",
    ];
    let mut live = lab.live("server", &arguments, "live");
    lab.wait_for("live.err", "sandbox: uid 65534, capabilities none, no new privileges, Landlock ABI ");
    lab.wait_for("live.err", ", seccomp, no core dumps\n");
    let pid = running_live(&lab);
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{name}\n{status}")).trim().to_owned()
        };
        for ids in ["Uid", "Gid"] {
            assert_eq!(field(ids), "65534\t65534\t65534\t65534");
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!((field("Groups"), field("NoNewPrivs"), field("Seccomp")), (String::new(), "1".into(), "2".into()));
        threads += 1;
    }
    assert!(threads >= 5, "{threads}: main, two that capture, one that tracks, one that serves");
    ask(&lab, "10.20.30.3", 3, "a.test", "REFUSED");
    assert_eq!(live.stop().0, Some(0), "{}", lab.read("live.err"));
    let report = lab.json("out/report.json");
    assert_eq!(report["totals"]["outcomes"]["refused"], 3);
    let (read, code) = lab.read_captures(&["out/packets.pcapng"]);
    assert_eq!((&read["totals"]["outcomes"]["refused"], code), (&3.into(), Some(0)));

    // Where only root may write, nothing is begun.
    let folder = lab.path("roots");
    fs::create_dir(&folder).unwrap();
    let arguments = ["live", "-i", "eth0", "--sandbox", "require", "--format", "json", "-o", "roots/report.json"];
    let refused = lab.command("server", PROGRAM).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.contains("error[E-SANDBOX]: --sandbox require: not reached: uid 0 stays because only root can write in"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn one_capability_is_enough() {
    let Some((lab, _unbound)) = server() else { return };
    let program = lab.path("dnsrefused");
    fs::copy(PROGRAM, &program).unwrap();
    let mut live = lab.command("server", "setpriv");
    live.args([
        "--reuid=1234",
        "--regid=1234",
        "--clear-groups",
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
    ]);
    live.args(["--bounding-set=-all,+net_raw", "--"]).arg(&program);
    live.args(["live", "-i", "eth0", "--sandbox", "require", "--count", "4", "--format", "json", "-o", "report.json"]);
    live.stdout(Stdio::null()).stderr(fs::File::create(lab.path("live.err")).unwrap());
    let mut live = Running { child: live.spawn().unwrap() };
    lab.wait_for("live.err", "sandbox: uid 1234, capabilities none (bounding set unusable), no new privileges, ");
    std::thread::sleep(Duration::from_millis(300));
    ask(&lab, "10.20.30.3", 2, "a.test", "REFUSED");
    assert_eq!(live.wait().0, Some(0), "{}", lab.read("live.err"));
    assert_eq!(lab.json("report.json")["totals"]["outcomes"]["refused"], 2);
    // Without it the operator is told what is missing.
    let mut without = lab.command("server", "setpriv");
    without.args(["--reuid=1234", "--regid=1234", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"]);
    let output = without.arg(&program).args(["live", "-i", "eth0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("CAP_NET_RAW"), "{said}");
}
