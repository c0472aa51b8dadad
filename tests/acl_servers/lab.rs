//! The real servers, in a network namespace of the calling thread.

use super::grammar::{Dialect, Question, SECRET, wire};
use dnsrefused::expect::acl::Word;
use nix::sched::{CloneFlags, unshare};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A namespace in which any address of `10.0.0.0/8` and `2001:db8::/32` can be used as a source.
pub struct Lab {
    folder: tempfile::TempDir,
}

/// A server that is ended when it is no longer needed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &str) -> bool {
    Command::new(program).args(arguments.split(' ')).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Lab {
    /// Enters the namespace; says why when that is not possible.
    pub fn enter() -> Option<Lab> {
        for program in ["/usr/sbin/named", "/usr/sbin/unbound"] {
            if !Path::new(program).exists() {
                println!("skipped: {program} is not installed");
                return None;
            }
        }
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no network namespace: {error}");
            return None;
        }
        let made = [
            "link set lo up",
            "addr add 10.53.0.1/24 dev lo",
            "addr add 10.53.0.2/24 dev lo",
            "addr add 2001:db8:53::1/64 dev lo nodad",
            "route add local 10.0.0.0/8 dev lo",
            "-6 route add local 2001:db8::/32 dev lo",
        ];
        assert!(made.iter().all(|arguments| run("ip", arguments)), "the namespace could not be set up");
        let sysctl = "/proc/thread-self/net/../../../sys/net/ipv6/ip_nonlocal_bind";
        // The content of this file depends on the namespace of the process that opens it.
        let opened =
            std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").or_else(|_| std::fs::write(sysctl, "1"));
        opened.expect("sources of IPv6 need ip_nonlocal_bind");
        Some(Lab { folder: tempfile::tempdir().expect("a folder") })
    }

    /// Asks a server with this configuration; nothing when it does not start. What is not answered is asked again,
    /// unless that was predicted.
    pub fn ask(&self, dialect: Dialect, text: &str, questions: &[Question], predicted: &[Word]) -> Option<Vec<Word>> {
        let server = self.start(dialect, text)?;
        let mut answers: Vec<Option<Word>> = udp(questions);
        for (index, question) in questions.iter().enumerate() {
            if question.key.is_some() {
                answers[index] = Some(signed(question));
            } else if question.tcp {
                answers[index] = Some(tcp(question));
            } else if answers[index].is_none() && predicted[index] != Word::Drop {
                answers[index] = udp(std::slice::from_ref(question)).remove(0);
            }
        }
        drop(server);
        Some(answers.into_iter().map(|answer| answer.unwrap_or(Word::Drop)).collect())
    }

    fn start(&self, dialect: Dialect, text: &str) -> Option<Server> {
        let folder = self.folder.path();
        let configuration = folder.join("server.conf");
        std::fs::write(&configuration, text).expect("the configuration is written");
        for view in ["", "v0", "v1", "v2"] {
            for (file, origin) in [("p", "p.test"), ("sub", "sub.p.test"), ("s", "s.test")] {
                let zone = format!(
                    "$TTL 300\n{origin}. IN SOA ns.{origin}. x.{origin}. 1 86400 3600 8640000 300\n{origin}. IN NS ns.{origin}.\n\
                     ns.{origin}. IN A 192.0.2.1\nwww.{origin}. IN A 192.0.2.2\n"
                );
                std::fs::write(folder.join(format!("{view}{file}.db")), zone).expect("a zone is written");
                let _ = std::fs::remove_file(folder.join(format!("{view}{file}.db.jnl")));
            }
        }
        let log = std::fs::File::create(folder.join("server.log")).expect("a log");
        let mut command = match dialect {
            Dialect::Bind => {
                let mut command = Command::new("/usr/sbin/named");
                command.args(["-g", "-n", "1", "-c", "server.conf"]);
                command
            }
            Dialect::Unbound => {
                let mut command = Command::new("/usr/sbin/unbound");
                command.args(["-d", "-c", "server.conf"]);
                command
            }
        };
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut server = Server(command.spawn().expect("the server is started"));
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            if let Ok(Some(status)) = server.0.try_wait() {
                let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
                println!(
                    "{} ended with {status}:\n{}",
                    dialect.name(),
                    log.lines().rev().take(8).collect::<Vec<_>>().join("\n")
                );
                return None;
            }
            let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
            let ready = match dialect {
                Dialect::Bind => log.contains("all zones loaded"),
                Dialect::Unbound => log.contains("start of service"),
            };
            if ready {
                return Some(server);
            }
            assert!(Instant::now() < until, "{} does not start:\n{log}\n{text}", dialect.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The message of a question.
fn message(question: &Question, id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.push(question.opcode << 3 | u8::from(question.rd));
    bytes.push(0);
    let authority = u8::from(question.qtype == 251);
    bytes.extend([0, 1, 0, 0, 0, authority, 0, 0]);
    bytes.extend(wire(&question.qname));
    bytes.extend(question.qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// What an answer means.
fn word(bytes: &[u8]) -> Word {
    match bytes.get(3).map(|byte| byte & 15) {
        Some(5) => Word::Refuse,
        Some(9) => Word::NotAuth,
        _ => Word::Allow,
    }
}

/// Asks everything that goes unsigned over UDP at once.
fn udp(questions: &[Question]) -> Vec<Option<Word>> {
    let mut answers = vec![None; questions.len()];
    let mut open = Vec::new();
    for (index, question) in
        questions.iter().enumerate().filter(|(_, question)| !question.tcp && question.key.is_none())
    {
        let socket = UdpSocket::bind(SocketAddr::new(question.source, 0)).expect("a source");
        socket.set_nonblocking(true).expect("a socket");
        let id = 1000 + index as u16;
        socket.send_to(&message(question, id), SocketAddr::new(question.destination, 53)).expect("a query is sent");
        open.push((index, id, socket));
    }
    let mut last = Instant::now();
    let mut buffer = [0; 4096];
    while !open.is_empty() && last.elapsed() < Duration::from_millis(600) {
        open.retain(|(index, id, socket)| match socket.recv(&mut buffer) {
            Ok(length) if length >= 12 && buffer[..2] == id.to_be_bytes() => {
                answers[*index] = Some(word(&buffer[..length]));
                last = Instant::now();
                false
            }
            _ => true,
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    answers
}

/// Asks over TCP.
fn tcp(question: &Question) -> Word {
    let asked = || -> std::io::Result<Word> {
        let destination = SocketAddr::new(question.destination, 53);
        let mut stream = connect(question, destination)?;
        stream.set_read_timeout(Some(Duration::from_millis(2500)))?;
        let message = message(question, 77);
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend(message);
        stream.write_all(&framed)?;
        let mut answer = [0; 14];
        stream.read_exact(&mut answer)?;
        Ok(word(&answer[2..]))
    };
    match asked() {
        Ok(word) => word,
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => panic!("{question}: {error}"),
        Err(_) => Word::Drop,
    }
}

/// A connection from the question's source.
fn connect(question: &Question, destination: SocketAddr) -> std::io::Result<TcpStream> {
    let domain = if question.source.is_ipv6() {
        nix::sys::socket::AddressFamily::Inet6
    } else {
        nix::sys::socket::AddressFamily::Inet
    };
    let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(domain, nix::sys::socket::SockType::Stream, flags, None)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let address = |address: SocketAddr| nix::sys::socket::SockaddrStorage::from(address);
    nix::sys::socket::bind(descriptor, &address(SocketAddr::new(question.source, 0)))?;
    nix::sys::socket::connect(descriptor, &address(destination))?;
    Ok(TcpStream::from(socket))
}

/// Asks with a signature, which dig makes.
fn signed(question: &Question) -> Word {
    let key = question.key.as_deref().unwrap_or_default();
    let opcode = ["query", "", "", "", "notify", "update"][usize::from(question.opcode)];
    let mut record_type = Vec::new();
    dnsrefused::decode::detail::write_type(question.qtype, &mut record_type);
    let record_type = String::from_utf8_lossy(&record_type).into_owned();
    let output = Command::new("dig")
        .arg(format!("@{}", question.destination))
        .args(["-b", &question.source.to_string(), "-y", &format!("hmac-sha256:{key}:{SECRET}")])
        .args([question.qname.as_str(), &record_type])
        .arg(format!("+opcode={opcode}"))
        .args([if question.rd { "+rec" } else { "+norec" }, if question.tcp { "+tcp" } else { "+notcp" }])
        .args(["+tries=1", "+time=2", "+noall", "+comments", "+nobadcookie", "+noedns"])
        .output()
        .expect("dig is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A transfer that succeeds is printed without a header.
    let transferred = question.qtype == 252 && !text.contains("Transfer failed");
    if text.contains("status: REFUSED") {
        Word::Refuse
    } else if text.contains("status: NOTAUTH") {
        Word::NotAuth
    } else if text.contains("status:") {
        Word::Allow
    } else if text.contains("timed out")
        || text.contains("no servers could be reached")
        || text.contains("communications error")
    {
        Word::Drop
    } else if transferred {
        Word::Allow
    } else {
        panic!("{question}: {text}{}", String::from_utf8_lossy(&output.stderr))
    }
}
