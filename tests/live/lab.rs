//! Network namespaces of the test's own, programs in them, and traffic between them.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dnsrefused");

/// One test at a time: they measure loss and time.
static ONE: Mutex<()> = Mutex::new(());
/// Numbers namespaces apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// True when the longer suite was asked for.
pub fn is_lab() -> bool {
    std::env::var_os("DNSREFUSED_LAB").is_some()
}

/// Network namespaces; deleted when this is dropped.
pub struct Lab {
    prefix: String,
    names: Vec<String>,
    /// The folder for files.
    pub folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A program that is ended when it is no longer needed.
pub struct Running {
    /// The process.
    pub child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Sends a signal by its number.
    pub fn signal(&self, number: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process number");
        let signal = nix::sys::signal::Signal::try_from(number).expect("a signal");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }

    /// Waits for its end; returns the exit code and how long it took.
    pub fn wait(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return (status.code(), began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the program does not end");
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&mut self) -> (Option<i32>, Duration) {
        self.signal(libc::SIGINT);
        self.wait()
    }
}

impl Lab {
    /// Makes namespaces of these names; the error says why that is not possible.
    pub fn of(names: &[&str]) -> Option<Lab> {
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dnsrefused-live-{}-{number}-", std::process::id());
        let folder = tempfile::tempdir().expect("a folder");
        let mut lab = Lab { prefix, names: Vec::new(), folder, _turn: turn };
        // A confined run writes as an unprivileged user.
        run(Command::new("chmod").arg("777").arg(lab.folder.path()));
        for name in names {
            if !Command::new("ip").args(["netns", "add", &lab.full(name)]).status().is_ok_and(|status| status.success())
            {
                println!("skipped: no network namespace can be made");
                return None;
            }
            lab.names.push(lab.full(name));
            lab.ip(name, "link set lo up");
        }
        Some(lab)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file is written");
        path
    }

    /// `ip` in a namespace; `@name` in the arguments stands for another one.
    pub fn ip(&self, name: &str, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.full(name)]);
        command
            .args(arguments.split(' ').map(|word| word.strip_prefix('@').map_or(word.to_owned(), |at| self.full(at))));
        run(&mut command);
    }

    /// A command in a namespace, in the folder.
    pub fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full(name), program]).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// Starts a program in a namespace; its outputs go to files named after `log`.
    pub fn start(&self, name: &str, program: &str, arguments: &[&str], log: &str) -> Running {
        let mut command = self.command(name, program);
        command.args(arguments);
        command.stdout(File::create(self.path(&format!("{log}.out"))).expect("a file for the output"));
        command.stderr(File::create(self.path(&format!("{log}.err"))).expect("a file for the errors"));
        Running { child: command.spawn().expect("the program starts") }
    }

    /// Starts `live` and waits until it captures.
    pub fn live(&self, name: &str, arguments: &[&str], log: &str) -> Running {
        let running = self.start(name, PROGRAM, &[&["live"], arguments].concat(), log);
        self.wait_for(&format!("{log}.err"), "capturing ");
        running
    }

    /// Waits until a file holds a text.
    pub fn wait_for(&self, file: &str, text: &str) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            if self.read(file).contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{file} does not say {text}: {}", self.read(file));
    }

    /// A file of the folder as text; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// A report of the folder.
    pub fn json(&self, name: &str) -> serde_json::Value {
        let text = self.read(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
    }

    /// A `client` (10.20.30.7 on c0) and a `host` (10.20.30.40 on eth0), one cable between them.
    pub fn of_two() -> Option<Self> {
        let lab = Self::of(&["client", "host"])?;
        lab.wire(0, "10.20.30");
        Some(lab)
    }

    /// The same with two cables: 10.20.0.7 to 10.20.0.40, and 10.20.1.7 on c1 to 10.20.1.40 on eth1.
    pub fn of_two_wired_twice() -> Option<Self> {
        let lab = Self::of(&["client", "host"])?;
        (0..2).for_each(|number| lab.wire(number, &format!("10.20.{number}")));
        Some(lab)
    }

    fn wire(&self, number: u32, network: &str) {
        self.ip("host", &format!("link add eth{number} type veth peer name c{number} netns @client"));
        self.ip("host", &format!("addr add {network}.40/24 dev eth{number}"));
        self.ip("client", &format!("addr add {network}.7/24 dev c{number}"));
        self.ip("host", &format!("link set eth{number} up"));
        self.ip("client", &format!("link set c{number} up"));
    }

    /// What `read` makes of files, as JSON, and its exit code.
    pub fn read_captures(&self, arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.folder.path()).arg("read").args(arguments).args(["--format", "json"]);
        let Output { stdout, stderr, status } = command.output().expect("the program runs");
        let report = serde_json::from_slice(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
        (report, status.code())
    }

    /// Asks with dig; returns the status that it printed, empty without an answer.
    pub fn dig(&self, name: &str, arguments: &str) -> Option<String> {
        let mut command = self.command(name, "dig");
        let output = command.args(["+tries=1", "+time=2"]).args(arguments.split(' ')).output().expect("dig runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = text.split("status: ").nth(1)?;
        Some(status.split(',').next()?.to_owned())
    }

    /// Runs a function in a thread that has entered a namespace.
    pub fn inside<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}", self.full(name));
        std::thread::spawn(move || {
            let namespace = File::open(path).expect("the namespace is there");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("the namespace is entered");
            work()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// True when a program is installed.
pub fn is_installed(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).exists());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A responder that refuses every query with a header alone, and counts both directions itself.
pub struct Refuser {
    stop: Arc<AtomicBool>,
    /// Responses that the kernel accepted.
    pub sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Refuser {
    /// Starts answering at an address in a namespace.
    pub fn start(lab: &Lab, name: &str, address: Ipv4Addr) -> Self {
        Self::with_code(lab, name, address, 5)
    }

    /// The same with a given response code.
    pub fn with_code(lab: &Lab, name: &str, address: Ipv4Addr, code: u8) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let (ready, wait) = std::sync::mpsc::channel();
        let thread = lab.inside(name, move || {
            let socket = UdpSocket::bind(SocketAddrV4::new(address, 53)).expect("port 53 is free");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
            ready.send(()).expect("somebody waits");
            let mut message = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, client)) = socket.recv_from(&mut message) else { continue };
                if len < 12 {
                    continue;
                }
                message[2] |= 0x80;
                message[3] = code;
                message[4..12].fill(0);
                counted.fetch_add(u64::from(socket.send_to(&message[..12], client).is_ok()), Ordering::Relaxed);
            }
        });
        wait.recv().expect("the responder is ready");
        Self { stop, sent, thread: Some(thread) }
    }

    /// Answers what has arrived and ends; returns the number of responses.
    pub fn finish(&mut self) -> u64 {
        // Whatever is still in its socket is answered within its time limit.
        std::thread::sleep(Duration::from_millis(200));
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the responder ends");
        }
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Refuser {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends `count` queries as fast as possible from a namespace; returns the number that the kernel accepted, and the
/// socket.
pub fn burst(lab: &Lab, name: &str, server: Ipv4Addr, count: u32) -> std::thread::JoinHandle<(u64, UdpSocket)> {
    burst_from(lab, name, Ipv4Addr::UNSPECIFIED, server, count)
}

/// The same from one of the namespace's addresses.
pub fn burst_from(
    lab: &Lab,
    name: &str,
    client: Ipv4Addr,
    server: Ipv4Addr,
    count: u32,
) -> std::thread::JoinHandle<(u64, UdpSocket)> {
    lab.inside(name, move || {
        let socket = UdpSocket::bind((client, 0)).expect("a socket");
        socket.connect(SocketAddr::from((server, 53))).expect("a server");
        let mut query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01".to_vec();
        let mut taken = 0;
        for number in 0..count {
            query[..2].copy_from_slice(&(number as u16).to_be_bytes());
            query[13] = b'a' + (number % 26) as u8;
            taken += u64::from(socket.send(&query).is_ok());
        }
        (taken, socket)
    })
}

/// Small random numbers that a failed run can repeat.
pub struct Random(pub u64);

impl Random {
    /// The seed given, or another one each time; printed.
    pub fn seeded() -> Self {
        let given = std::env::var("DNSREFUSED_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("DNSREFUSED_SEED={seed}");
        let _ = std::io::stdout().flush();
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
