//! A confined process, examined from outside and from within: what the kernel reports about each of its threads, and
//! what it can no longer do. This program starts itself again for each case, because confinement cannot be undone.

use dnsrefused::config::Sandbox;
use dnsrefused::watch::sandbox::{self, Plan};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set in the process that is to confine itself: the mode and the folder it may write in.
const CASE: &str = "DNSREFUSED_SANDBOX_TEST";

type Case = (&'static str, fn());

/// Cases that need root, and those that do not.
const AS_ROOT: &[Case] = &[
    ("root_becomes_nobody_in_every_thread", root_becomes_nobody_in_every_thread),
    ("what_is_left_is_what_live_needs", what_is_left_is_what_live_needs),
    ("outputs_go_where_their_folders_owner_may_write", outputs_go_where_their_folders_owner_may_write),
    ("roots_own_folder_is_named_and_stops_require", roots_own_folder_is_named_and_stops_require),
    ("root_that_may_not_become_another_user_is_told_why", root_that_may_not_become_another_user_is_told_why),
    ("one_capability_is_enough_and_is_given_up", one_capability_is_enough_and_is_given_up),
    ("files_that_cannot_be_read_again_are_named", files_that_cannot_be_read_again_are_named),
    ("off_changes_nothing", off_changes_nothing),
];

fn main() {
    if let Ok(case) = std::env::var(CASE) {
        return confined(&case);
    }
    if !rustix_is_root() {
        println!("tests of the sandbox skipped: they need root");
        println!("test result: ok. 0 passed; 0 failed; {} ignored", AS_ROOT.len());
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = AS_ROOT.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)));
    let mut failed = 0;
    let mut passed = 0;
    for (name, test) in chosen {
        let fine = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
        *(if fine { &mut passed } else { &mut failed }) += 1;
    }
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    std::process::exit(i32::from(failed > 0) * 101);
}

fn rustix_is_root() -> bool {
    status_of(Path::new("/proc/self/status"))["Uid"].split_whitespace().nth(1) == Some("0")
}

/// The fields of a status file.
fn status_of(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

//------------ The confined process ------------------------------------------

/// Opens what a capture needs, confines itself, and says what still works: `name: ok` or `name: error`.
fn confined(case: &str) {
    let (mode, folder) = case.split_once(' ').unwrap();
    let mode = Sandbox::ALL.iter().find(|(name, _)| *name == mode).unwrap().1;
    let folder = Path::new(folder);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut capture = pcap::Capture::from_device("lo").unwrap().timeout(50).open().ok();
    let secret = std::env::temp_dir().join("dnsrefused-sandbox-secret");
    let plan = Plan {
        write: vec![folder.to_owned()],
        read: vec![folder.join("read").join("inventory.csv")],
        interfaces: vec!["lo".to_owned()],
        captures: capture.iter().map(AsRawFd::as_raw_fd).collect(),
        listens: true,
        ..Plan::default()
    };
    let state = match sandbox::confine(&plan, mode) {
        Ok(state) => state,
        Err(error) => {
            println!("{error}");
            std::process::exit(i32::from(error.exit_code()));
        }
    };
    let said: Vec<String> = std::iter::once(state.to_string()).chain(state.notes.iter().cloned()).collect();
    println!("{}", said.join("; "));
    println!("port: {}", listener.local_addr().unwrap().port());
    let (stop, waits) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || waits.recv());
    let served = std::thread::spawn(move || {
        let mut connection = listener.accept()?.0;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut asked = [0; 4];
        connection.read_exact(&mut asked)?;
        connection.write_all(b"served")
    });
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let say = |what: &str, result: std::io::Result<()>| match result {
        Ok(()) => println!("{what}: ok"),
        Err(error) => println!("{what}: {error}"),
    };
    say("serve", served.join().unwrap());
    // What live does.
    let output = folder.join("report.partial");
    say("write", fs::write(&output, "rows"));
    say("sync", File::open(folder).and_then(|folder| folder.sync_all()));
    say("rename", fs::rename(&output, folder.join("report")));
    say(
        "no clobber",
        tempfile::NamedTempFile::new_in(folder)
            .and_then(|file| file.persist_noclobber(folder.join("new")).map(drop).map_err(std::io::Error::from)),
    );
    say("remove", fs::remove_file(folder.join("new")));
    say("read again", fs::read(folder.join("read").join("inventory.csv")).map(drop));
    say("interface", fs::read("/sys/class/net/lo/ifindex").map(drop));
    say("interfaces", fs::read_dir("/sys/class/net").map(drop));
    say("thread", std::thread::spawn(|| ()).join().map_err(|_| std::io::Error::other("panicked")));
    say("stdout copy", std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().map(drop));
    if let Some(capture) = &mut capture {
        say("statistics", capture.stats().map(drop).map_err(std::io::Error::other));
        say("filter", capture.filter("less 0", true).map_err(std::io::Error::other));
        let next = capture.next_packet().map(drop);
        say(
            "capture",
            next.or_else(
                |error| if error == pcap::Error::TimeoutExpired { Ok(()) } else { Err(std::io::Error::other(error)) },
            ),
        );
        say("send a packet", capture.sendpacket([0u8; 60]).map_err(std::io::Error::other));
    }
    // What it must not do.
    say("write elsewhere", fs::write(&secret, "x"));
    say("write to the parent", fs::write(folder.join("..").join("dnsrefused-sandbox-outside"), "x"));
    say("read elsewhere", fs::read("/etc/hostname").map(drop));
    say("list elsewhere", fs::read_dir("/etc").map(drop));
    say("device", File::options().write(true).open("/dev/full").map(drop));
    say("udp socket", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    say("tcp connection", TcpStream::connect(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53)).map(drop));
    say("unix socket", std::os::unix::net::UnixStream::pair().map(drop));
    say("program", Command::new("/bin/true").spawn().map(drop));
    say(
        "packet socket",
        pcap::Capture::from_device("lo").and_then(pcap::Capture::open).map(drop).map_err(std::io::Error::other),
    );
    if mode != Sandbox::Off {
        // Where it works there is nobody left to say so.
        say("another program", Err(Command::new("/bin/true").exec()));
    }
    stop.send(()).unwrap();
    other.join().unwrap().unwrap();
    println!("end");
}

//------------ Looking from outside ------------------------------------------

/// A confined process and what it has said.
struct Confined {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    line: String,
    port: u16,
}

/// A command that runs this program for a case.
fn command(mode: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CASE, format!("{mode} {}", folder.display()));
    command
}

/// Starts a process that shall confine itself, and waits until it has.
fn start(mut command: Command) -> Confined {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    let line = next();
    let port = next().strip_prefix("port: ").map_or(0, |port| port.parse().unwrap());
    if port > 0 {
        assert_eq!(next(), "ready");
    }
    Confined { child, said, line, port }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Confined {
    /// The status of each thread, from outside.
    fn threads(&self) -> Vec<BTreeMap<String, String>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.map(|task| status_of(&task.unwrap().path().join("status"))).collect()
    }

    /// Lets it try everything; what became of each.
    fn tries(mut self) -> BTreeMap<String, String> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        connection.write_all(b"ask\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served");
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        assert!(rest.ends_with("end\n"), "{rest}");
        rest.lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(what, how)| (what.to_owned(), how.to_owned()))
            .collect()
    }
}

/// A folder that belongs to `owner`, with an inventory that everybody can read.
fn folder(owner: u32, mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let read = folder.path().join("read");
    fs::create_dir(&read).unwrap();
    fs::write(read.join("inventory.csv"), "10.0.0.0/8\n").unwrap();
    chown(folder.path(), Some(owner), Some(owner)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    folder
}

/// Each of these fields of every thread.
fn each_thread(confined: &Confined, fields: &[(&str, &str)]) {
    let threads = confined.threads();
    assert!(threads.len() >= 3, "the main thread and two that were started later");
    for thread in &threads {
        for (field, value) in fields {
            assert_eq!(thread[*field], *value, "{field}\n{}", confined.line);
        }
    }
}

const NONE: &str = "0000000000000000";

fn root_becomes_nobody_in_every_thread() {
    let folder = folder(65534, 0o700);
    let confined = start(command("require", folder.path()));
    let said = confined.line.as_str();
    assert!(said.starts_with("sandbox: uid 65534, capabilities none, no new privileges, Landlock ABI "), "{said}");
    assert!(said.ends_with(", seccomp, no core dumps"), "{said}");
    let nobody = "65534\t65534\t65534\t65534";
    each_thread(
        &confined,
        &[
            ("Uid", nobody),
            ("Gid", nobody),
            ("Groups", ""),
            ("CapInh", NONE),
            ("CapPrm", NONE),
            ("CapEff", NONE),
            ("CapBnd", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ],
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", confined.child.id())).unwrap();
    let cores: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(cores[4..6], ["0", "0"], "{limits}");
    confined.tries();
}

fn what_is_left_is_what_live_needs() {
    let folder = folder(65534, 0o700);
    let tried = start(command("require", folder.path())).tries();
    for works in [
        "serve",
        "write",
        "sync",
        "rename",
        "no clobber",
        "remove",
        "read again",
        "interface",
        "interfaces",
        "thread",
        "stdout copy",
        "statistics",
        "filter",
        "capture",
    ] {
        assert_eq!(tried[works], "ok", "{works}");
    }
    for fails in [
        "write elsewhere",
        "write to the parent",
        "read elsewhere",
        "list elsewhere",
        "device",
        "udp socket",
        "tcp connection",
        "unix socket",
        "program",
        "packet socket",
        "send a packet",
    ] {
        assert_ne!(tried[fails], "ok", "{fails}");
    }
    // Each of these is refused by the filter of system calls already, not only by what else stands in its way.
    for filtered in ["udp socket", "tcp connection", "unix socket", "program", "another program"] {
        assert!(tried[filtered].ends_with("(os error 38)"), "{filtered}: {}", tried[filtered]);
    }
    assert_eq!(fs::read_to_string(folder.path().join("report")).unwrap(), "rows");
    // Without a sandbox the same program does all of it, so that each failure above is the sandbox's.
    let free = start(command("off", folder.path())).tries();
    let failed: Vec<_> = free.iter().filter(|(what, how)| *how != "ok" && *what != "tcp connection").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let _ = fs::remove_file(std::env::temp_dir().join("dnsrefused-sandbox-secret"));
    let _ = fs::remove_file(folder.path().join("..").join("dnsrefused-sandbox-outside"));
}

fn outputs_go_where_their_folders_owner_may_write() {
    let folder = folder(1234, 0o700);
    let confined = start(command("require", folder.path()));
    assert!(confined.line.starts_with("sandbox: uid 1234, capabilities none"), "{}", confined.line);
    each_thread(&confined, &[("Uid", "1234\t1234\t1234\t1234"), ("CapEff", NONE), ("Seccomp", "2")]);
    let tried = confined.tries();
    assert_eq!((tried["write"].as_str(), tried["rename"].as_str()), ("ok", "ok"));
}

fn roots_own_folder_is_named_and_stops_require() {
    let folder = folder(0, 0o755);
    let refused = command("require", folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(
        said.starts_with(
            "error[E-SANDBOX]: --sandbox require: not reached: uid 0 stays because only root can write in "
        ),
        "{said}"
    );
    let confined = start(command("best-effort", folder.path()));
    assert!(
        confined.line.contains("sandbox: uid 0, capabilities none, no new privileges, Landlock ABI "),
        "{}",
        confined.line
    );
    assert!(confined.line.contains("; missing: uid 0 stays because only root can write in "), "{}", confined.line);
    each_thread(
        &confined,
        &[("Uid", "0\t0\t0\t0"), ("CapEff", NONE), ("CapPrm", NONE), ("CapBnd", NONE), ("Seccomp", "2")],
    );
    let tried = confined.tries();
    assert_eq!(tried["write"], "ok");
    assert_ne!(tried["write elsewhere"], "ok");
}

fn root_that_may_not_become_another_user_is_told_why() {
    let folder = folder(0, 0o755);
    let inner = command("best-effort", folder.path());
    let mut outer = Command::new("setpriv");
    outer.args(["--bounding-set=-all,+net_raw", "--"]).arg(inner.get_program());
    inner.get_envs().for_each(|(name, value)| {
        outer.env(name, value.unwrap());
    });
    let confined = start(outer);
    assert!(
        confined
            .line
            .contains("uid 0 stays: this process may not become another user (Operation not permitted (os error 1))"),
        "{}",
        confined.line
    );
    assert!(!confined.line.contains("chown"), "{}", confined.line);
}

fn one_capability_is_enough_and_is_given_up() {
    let folder = folder(1234, 0o755);
    let inner = command("require", folder.path());
    // The program must be readable for that user.
    let program = folder.path().join("program");
    fs::copy(inner.get_program(), &program).unwrap();
    let mut outer = Command::new("setpriv");
    outer.args([
        "--reuid=1234",
        "--regid=1234",
        "--clear-groups",
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
    ]);
    outer.args(["--bounding-set=-all,+net_raw", "--"]).arg(&program);
    inner.get_envs().for_each(|(name, value)| {
        outer.env(name, value.unwrap());
    });
    let confined = start(outer);
    assert!(
        confined.line.starts_with(
            "sandbox: uid 1234, capabilities none (bounding set unusable), no new privileges, Landlock ABI "
        ),
        "{}",
        confined.line
    );
    each_thread(
        &confined,
        &[
            ("CapEff", NONE),
            ("CapPrm", NONE),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ],
    );
    let tried = confined.tries();
    assert_eq!((tried["capture"].as_str(), tried["write"].as_str()), ("ok", "ok"));
}

fn files_that_cannot_be_read_again_are_named() {
    let folder = folder(65534, 0o755);
    fs::set_permissions(folder.path().join("read").join("inventory.csv"), Permissions::from_mode(0o600)).unwrap();
    let confined = start(command("require", folder.path()));
    assert!(
        confined.line.ends_with("inventory.csv cannot be read as uid 65534; its changes are not noticed"),
        "{}",
        confined.line
    );
    assert_ne!(confined.tries()["read again"], "ok");
}

fn off_changes_nothing() {
    let folder = folder(0, 0o755);
    let confined = start(command("off", folder.path()));
    assert_eq!(confined.line, "sandbox: off, uid 0, capabilities left");
    each_thread(&confined, &[("Uid", "0\t0\t0\t0"), ("NoNewPrivs", "0"), ("Seccomp", "0")]);
}
