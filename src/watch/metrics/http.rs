//! Connections to answers ([`serve`]): as much of HTTP/1.1 as a collector of metrics needs, one connection after the
//! other, each bounded in bytes and time.

use super::super::Board;
use super::{CONTENT_TYPE, exposition};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most bytes of a request; a collector's has a few hundred.
const REQUEST_BYTES: usize = 8 << 10;
/// Longest time for one connection, from its first byte to our last.
const CONNECTION: Duration = Duration::from_secs(2);
/// How often it is asked whether to stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Answers connections until told to stop. A connection that fails is forgotten: its client asks again.
pub fn serve(listener: &TcpListener, board: &Board, stop: &AtomicBool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    while !stop.load(Ordering::Relaxed) {
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&TICK));
        if !ready.is_ok_and(|ready| ready > 0) {
            continue;
        }
        match listener.accept() {
            Ok((connection, _)) => drop(answer(connection, board)),
            // Out of descriptors and the like: waiting is better than asking again at once.
            Err(error) if error.kind() != ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(200)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// A request and its answer.
fn answer(mut connection: TcpStream, board: &Board) -> io::Result<()> {
    let until = Instant::now() + CONNECTION;
    connection.set_nonblocking(false)?;
    let response = match request(&mut connection, until)? {
        Request::Metrics { body } => {
            let text = exposition(&board.latest());
            let mut response = head("200 OK", CONTENT_TYPE, text.len());
            if body {
                response.push_str(&text);
            }
            response
        }
        Request::Other => plain("404 Not Found", "the metrics are at /metrics\n"),
        Request::Method => plain("405 Method Not Allowed", "only GET and HEAD\n"),
        Request::Unreadable => plain("400 Bad Request", "no HTTP request\n"),
    };
    let mut rest = response.as_bytes();
    while !rest.is_empty() {
        connection.set_write_timeout(Some(left(until)?))?;
        match connection.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    connection.shutdown(std::net::Shutdown::Write)
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// The metrics, or only the head of their answer.
    Metrics { body: bool },
    /// Something that is not here.
    Other,
    /// Something other than reading.
    Method,
    /// No request at all.
    Unreadable,
}

/// Reads a request to the end of its head; what follows is not wanted.
fn request(connection: &mut TcpStream, until: Instant) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        connection.set_read_timeout(Some(left(until)?))?;
        let read = match connection.read(&mut buffer) {
            Ok(0) => return Ok(Request::Unreadable),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&buffer[..read]);
        if bytes.len() > REQUEST_BYTES {
            return Ok(Request::Unreadable);
        }
    }
    Ok(parse(&bytes))
}

/// The first line of a request.
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

/// Time left for a connection; none is an error.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
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
    fn a_client_that_says_too_much_or_nothing_does_not_stop_the_others() {
        served(|address| {
            let endless = [b'x'; REQUEST_BYTES + 1];
            let answer = exchange(address, &endless);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let silent = TcpStream::connect(address).unwrap();
            let begun = Instant::now();
            assert!(exchange(address, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
            assert!(begun.elapsed() < CONNECTION + Duration::from_secs(2), "{:?}", begun.elapsed());
            drop(silent);
        });
    }
}
