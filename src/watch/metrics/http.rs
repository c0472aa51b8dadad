//! Serves metrics over HTTP ([`serve`]): as much of HTTP/1.1 as a collector needs. A few connections are served side by
//! side, each bounded in bytes and time, so that an idle one delays nobody.

use super::super::Board;
use super::{CONTENT_TYPE, exposition};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most bytes of a request; a collector sends a few hundred.
const REQUEST_BYTES: usize = 8 << 10;
/// Longest time for one connection, from its first byte to our last.
const CONNECTION: Duration = Duration::from_secs(2);
/// Most connections open at a time; one more closes the oldest.
const CONNECTIONS: usize = 16;
/// How often the stop flag is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Answers connections until `stop` is set. A connection that fails is dropped: its client will try again.
pub fn serve(listener: &TcpListener, board: &Board, stop: &AtomicBool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut open: Vec<Connection> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = vec![PollFd::new(listener, PollFlags::IN)];
        waiting.extend(open.iter().map(|connection| PollFd::new(&connection.stream, connection.waits_for())));
        let ready = poll(&mut waiting, Some(&TICK));
        let asked = ready.is_ok_and(|ready| ready > 0) && !waiting[0].revents().is_empty();
        if asked {
            match listener.accept() {
                Ok((stream, _)) => {
                    if open.len() == CONNECTIONS {
                        open.remove(0);
                    }
                    open.extend(Connection::new(stream));
                }
                // For example out of descriptors: trying again at once would spin.
                Err(error) if error.kind() != ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(200)),
                Err(_) => {}
            }
        }
        let waits = |went_on: io::Result<()>| went_on.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        open.retain_mut(|connection| waits(connection.go_on(board)));
    }
    Ok(())
}

/// A connection between its request and the end of its answer.
struct Connection {
    stream: TcpStream,
    /// When the connection is given up.
    until: Instant,
    request: Vec<u8>,
    /// The answer, and how many of its bytes were sent.
    response: Option<(String, usize)>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, until: Instant::now() + CONNECTION, request: Vec::new(), response: None })
    }

    fn waits_for(&self) -> PollFlags {
        if self.response.is_some() { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Does what is possible without waiting: returns `Ok` at the end, or `WouldBlock` while the client has to send or
    /// to receive something first.
    fn go_on(&mut self, board: &Board) -> io::Result<()> {
        if Instant::now() >= self.until {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.response.is_none() {
            self.response = Some((answer(&self.read_request()?, board), 0));
        }
        self.send()
    }

    /// Reads a request to the end of its head; a body is not wanted.
    fn read_request(&mut self) -> io::Result<Request> {
        let mut buffer = [0; 1024];
        while !self.request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Request::Unreadable),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.request.extend_from_slice(&buffer[..read]);
            if self.request.len() > REQUEST_BYTES {
                return Ok(Request::Unreadable);
            }
        }
        Ok(parse(&self.request))
    }

    /// Sends the answer to its end.
    fn send(&mut self) -> io::Result<()> {
        let Some((response, sent)) = &mut self.response else { return Ok(()) };
        while *sent < response.len() {
            match self.stream.write(&response.as_bytes()[*sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.shutdown(Shutdown::Write)
    }
}

/// The answer to a request.
fn answer(request: &Request, board: &Board) -> String {
    match request {
        Request::Metrics { body } => {
            let text = exposition(&board.latest());
            let mut response = head("200 OK", CONTENT_TYPE, text.len());
            if *body {
                response.push_str(&text);
            }
            response
        }
        Request::Other => plain("404 Not Found", "the metrics are at /metrics\n"),
        Request::Method => plain("405 Method Not Allowed", "only GET and HEAD\n"),
        Request::Unreadable => plain("400 Bad Request", "no HTTP request\n"),
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// The metrics, or only the head of that answer.
    Metrics { body: bool },
    /// Something that does not exist.
    Other,
    /// A method other than reading.
    Method,
    /// Not an HTTP request.
    Unreadable,
}

/// Parses the first line of a request.
fn parse(bytes: &[u8]) -> Request {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Request::Unreadable };
    if !version.starts_with(b"HTTP/1.") {
        return Request::Unreadable;
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => Request::Metrics { body: true },
        (b"HEAD", b"/metrics") => Request::Metrics { body: false },
        (b"GET" | b"HEAD", _) => Request::Other,
        _ => Request::Method,
    }
}

fn head(status: &str, kind: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn plain(status: &str, text: &str) -> String {
    head(status, "text/plain; charset=utf-8", text.len()) + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    /// Serves an empty snapshot while `ask` runs.
    fn served(ask: impl FnOnce(SocketAddr)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, board, stop) = (listener.local_addr().unwrap(), Board::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, &board, &stop));
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(address)));
            stop.store(true, Ordering::Relaxed);
            server.join().unwrap().unwrap();
            asked.unwrap();
        });
    }

    /// What comes back for some bytes.
    fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A refused rest of the request may end the connection early.
        let _ = connection.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn requests_get_the_answer_they_deserve() {
        served(|address| {
            let whole = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            let (head, body) = whole.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text;"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())) && body.ends_with("# EOF\n"));
            let only_head = exchange(address, b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n");
            assert!(only_head.ends_with("\r\n\r\n") && only_head.contains(&format!("Content-Length: {}", body.len())));
            for (request, status) in [
                (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
                (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
                (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "400"),
                (b"GET /metrics\r\n\r\n", "400"),
            ] {
                assert!(exchange(address, request).starts_with(&format!("HTTP/1.1 {status} ")), "{status}");
            }
        });
    }

    #[test]
    fn a_request_may_come_in_pieces_but_not_for_ever() {
        served(|address| {
            let mut slow = TcpStream::connect(address).unwrap();
            for piece in [&b"GET /met"[..], b"rics HTTP/1.1\r", b"\n\r\n"] {
                slow.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            let mut answer = String::new();
            slow.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let (begun, mut slower) = (Instant::now(), TcpStream::connect(address).unwrap());
            while slower.write_all(b"x").is_ok() && begun.elapsed() < CONNECTION * 3 {
                std::thread::sleep(Duration::from_millis(100));
            }
            assert!(begun.elapsed() < CONNECTION + Duration::from_secs(1), "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn a_client_that_says_too_much_or_nothing_does_not_stop_the_others() {
        served(|address| {
            let endless = [b'x'; REQUEST_BYTES + 1];
            let answer = exchange(address, &endless);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            // More of them than can be open at a time.
            let silent: Vec<TcpStream> = (0..2 * CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
            let begun = Instant::now();
            assert!(exchange(address, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
            assert!(begun.elapsed() < CONNECTION, "{:?}", begun.elapsed());
            drop(silent);
        });
    }
}
