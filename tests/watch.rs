//! What a running capture shows and how it is confined, with a real server: the screen through a terminal multiplexer,
//! the metrics through a collector's parser, and every thread as the kernel sees it.
//!
//! Needs root and the packages of the laboratory; what is missing is printed and the test skipped.

#[path = "live/lab.rs"]
#[allow(dead_code)] // Each test program uses a part of it.
mod lab;

use lab::{Lab, PROGRAM, Running, is_installed};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
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

//------------ The screen ----------------------------------------------------

/// A terminal of eighty by twenty-four with a shell in it.
struct Terminal {
    name: String,
}

impl Terminal {
    fn open(lab: &Lab, name: &str, environment: &str) -> Self {
        let terminal = Self { name: format!("dnsrefused-{}-{name}", std::process::id()) };
        let shell = format!("cd {} && exec env {environment} sh", lab.folder.path().display());
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &shell]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.name, "-f", "/dev/null"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys by their names.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a command line.
    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    /// What stands on the terminal; all that ever stood there with `history`.
    fn shows(&self, history: bool) -> String {
        let from = if history { "-500" } else { "0" };
        self.tmux(&["capture-pane", "-p", "-S", from])
    }

    /// Waits until it shows something.
    fn wait_for(&self, wanted: &str) -> String {
        let began = Instant::now();
        loop {
            let shown = self.shows(false);
            if shown.contains(wanted) {
                return shown;
            }
            assert!(began.elapsed() < Duration::from_secs(15), "no {wanted:?} in\n{shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).stderr(Stdio::null()).status();
    }
}

/// The command line that shows the screen in the server's namespace, between two looks at the terminal's settings.
fn screen_line(lab: &Lab, options: &str) -> String {
    let namespace = lab.command("server", "true");
    let namespace = namespace.get_args().nth(2).unwrap().to_string_lossy().into_owned();
    format!(
        "stty -a > before; ip netns exec {namespace} {PROGRAM} live -i eth0 --screen --node ns1 {options}; \
         echo ended with $?; stty -a > after"
    )
}

#[test]
fn the_screen_shows_who_is_turned_away_and_gives_the_terminal_back() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "keys", "LANG=C.UTF-8");
    terminal.enter(&screen_line(&lab, "--acl unbound.conf --expect clients.csv"));
    terminal.wait_for("No client query so far");
    ask(&lab, "10.20.30.2", 5, "a.test", "NOERROR");
    ask(&lab, "10.20.30.3", 3, "intranet.test", "REFUSED");
    ask(&lab, "10.20.30.4", 2, "evil\\027[2J.test", "REFUSED");
    let shown = terminal.wait_for("REFUSED 5 of 10 client queries (50.0 %), 2 sources turned away");
    assert!(shown.starts_with("dnsrefused  ns1  eth0 "), "{shown}");
    assert!(shown.contains("No loss: kernel 0, interface 0, own 0  of "), "{shown}");
    assert!(shown.contains("> 10.20.30.3                  3 "), "{shown}");
    assert!(shown.contains("  10.20.30.4                  2 "), "{shown}");
    assert!(shown.contains(" refuse unbound.conf:10\n") && shown.contains("FINDINGS 1 critical"), "{shown}");

    // Into a source; what is on the wire drives no terminal.
    terminal.press(&["Down", "Enter"]);
    let shown = terminal.wait_for("10.20.30.4 at server 10.20.30.40");
    assert!(shown.contains("  evil\\027\\0912J.test A\n"), "{shown}");
    assert!(shown.contains("\nREFUSED 5 of 10 ") && shown.contains("\nNo loss: "), "{shown}");
    terminal.press(&["Escape"]);
    terminal.wait_for("SOURCE THE SERVER SAW");
    // Only some of them.
    terminal.press(&["/", "i", "n", "t", "r", "a", "Enter"]);
    let shown = terminal.wait_for("filter \"intra\": 1 of 2");
    assert!(shown.contains("> 10.20.30.3 ") && !shown.contains("  10.20.30.4 "), "{shown}");
    terminal.press(&["Escape"]);
    terminal.press(&["s"]);
    terminal.wait_for("s sort: refused");
    terminal.press(&["?"]);
    let shown = terminal.wait_for("sandbox: uid ");
    assert!(shown.contains("capabilities none, no new privileges, Landlock ABI "), "{shown}");
    terminal.press(&["?"]);
    // A picture that is held.
    terminal.press(&["p"]);
    terminal.wait_for("PAUSED at ");
    ask(&lab, "10.20.30.3", 1, "intranet.test", "REFUSED");
    std::thread::sleep(Duration::from_millis(1500));
    terminal.wait_for("REFUSED 5 of 10 ");
    terminal.press(&["p"]);
    terminal.wait_for("REFUSED 6 of 11 ");
    // Another size.
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.wait_for("REFUSED 6 of 11 client queries (54.5 %), 2 sources turned away");
    // And back, with the report on the normal screen.
    terminal.press(&["q"]);
    let shown = terminal.wait_for("ended with 0");
    assert!(shown.contains("\nLedgers closed"), "{shown}");
    let all = terminal.shows(true);
    assert!(all.contains("REFUSED 6 of 11 client queries (54.5 %), 2 sources; answered 5"), "{all}");
    assert!(!all.contains("NOW/S"), "nothing of the screen stays:\n{all}");
    lab.wait_for("after", "icanon");
    assert_eq!(
        lab.read("before").replace("rows 24; columns 80", ""),
        lab.read("after").replace("rows 30; columns 100", "")
    );
}

#[test]
fn a_signal_gives_the_terminal_back_and_no_colour_is_no_colour() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "signal", "LANG=C NO_COLOR=1");
    terminal.enter(&screen_line(&lab, "--every 1h"));
    assert!(
        terminal.wait_for("ended with 2").contains("error[E-USAGE]: --screen: with --every the reports need a file")
    );
    terminal.enter("clear");
    terminal.enter(&screen_line(&lab, ""));
    terminal.wait_for("No client query so far");
    ask(&lab, "10.20.30.3", 1, "a.test", "REFUSED");
    let shown = terminal.wait_for("REFUSED 1 of 1 client query (100 %), 1 source turned away");
    assert!(shown.is_ascii(), "{shown}");
    let painted = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(painted.contains("\u{1b}[1m") && painted.contains(";7m"), "bold and reversed: {painted:?}");
    assert!(
        !["\u{1b}[31m", "\u{1b}[33m", "[38;", "\u{1b}[91m"].iter().any(|color| painted.contains(color)),
        "{painted:?}"
    );
    let pid = running_live(&lab);
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    let shown = terminal.wait_for("ended with 0");
    assert!(shown.contains("\nLedgers closed"), "{shown}");
    lab.wait_for("after", "icanon");
    assert_eq!(lab.read("before"), lab.read("after"));
    // A terminal that can show none is left alone.
    terminal.enter(&format!("clear; export TERM=dumb; {}", screen_line(&lab, "")));
    let said = terminal.wait_for("ended with 2");
    assert!(said.contains("can show no screen") && !said.contains("sandbox:"), "{said}");
}

#[test]
fn two_signals_at_once_give_the_terminal_back_too() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "signals", "LANG=C");
    terminal.enter(&screen_line(&lab, ""));
    terminal.wait_for("No client query so far");
    let twice = format!("kill -TERM {pid}; kill -INT {pid}", pid = running_live(&lab));
    assert!(Command::new("sh").args(["-c", &twice]).status().unwrap().success());
    terminal.wait_for("ended with 0");
    lab.wait_for("after", "icanon");
    assert_eq!(lab.read("before"), lab.read("after"));
}

#[test]
fn a_signal_that_is_no_request_to_end_gives_the_terminal_back_too() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "quit", "LANG=C");
    for signal in ["QUIT", "USR2", "ABRT"] {
        let _ = fs::remove_file(lab.path("after"));
        terminal.enter("clear");
        terminal.enter(&screen_line(&lab, ""));
        terminal.wait_for("No client query so far");
        let pid = running_live(&lab).to_string();
        // One that asks for a report says where that is.
        assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
        terminal.wait_for("a report was made (SIGUSR1); it is printed when this screen ends");
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let shown = terminal.wait_for("ended with 0");
        assert!(shown.contains("\nLedgers closed"), "{signal}: {shown}");
        lab.wait_for("after", "icanon");
        assert_eq!(lab.read("before"), lab.read("after"), "{signal}");
    }
}

#[test]
fn the_shell_has_the_terminal_while_it_is_stopped() {
    let Some((lab, _unbound)) = server() else { return };
    if !is_installed("tmux") {
        return;
    }
    let terminal = Terminal::open(&lab, "job", "LANG=C");
    terminal.enter("set -m; PS1='$ '");
    for by_key in [true, false] {
        terminal.enter("clear");
        terminal.enter(&screen_line(&lab, "").replace("; echo", "; stty -a > stopped; echo"));
        terminal.wait_for("No client query so far");
        let pid = running_live(&lab).to_string();
        if by_key {
            terminal.press(&["C-z"]);
        } else {
            assert!(Command::new("kill").args(["-TSTP", &pid]).status().unwrap().success());
        }
        lab.wait_for("stopped", "icanon");
        assert_eq!(lab.read("before"), lab.read("stopped"), "{by_key}");
        assert!(!terminal.shows(false).contains("No client query so far"), "{by_key}");
        // It goes on with a whole picture.
        terminal.enter("clear; echo; echo; echo; echo left behind; fg");
        let shown = terminal.wait_for("Nobody was turned away");
        assert!(shown.contains("No client query so far") && !shown.contains("left behind"), "{by_key}: {shown}");
        terminal.press(&["q"]);
        terminal.wait_for("Ledgers closed");
        let _ = fs::remove_file(lab.path("stopped"));
    }
    // Without a shell that could let it go on it is not stopped.
    let line = screen_line(&lab, "");
    terminal.enter(&format!("clear; exec {}", line.split("; ").nth(1).unwrap()));
    terminal.wait_for("No client query so far");
    terminal.press(&["C-z"]);
    std::thread::sleep(Duration::from_millis(600));
    let stat = fs::read_to_string(format!("/proc/{}/stat", running_live(&lab))).unwrap();
    assert!(!stat.contains(") T "), "{stat}");
    assert!(terminal.shows(false).contains("No client query so far"));
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

//------------ The metrics ---------------------------------------------------

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

//------------ Confinement ---------------------------------------------------

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
