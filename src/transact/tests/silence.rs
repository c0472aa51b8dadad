//! Silence and rejected connections: what may be said of a server that sent nothing.

use super::*;

/// A query of one client at 0 s, another client's answered at 0.1 s and 12 s, and `more`; what became of the first.
fn first_of(more: &[(i64, Vec<u8>)], vantage: Option<Vantage>) -> String {
    let mut frames = vec![(0, ask(A, 1))];
    for (id, time) in [(2, SECOND / 10), (3, 12 * SECOND)] {
        frames.extend([(time, ask(B, id)), (time + MILLI, reply(B, &answer(id)))]);
    }
    frames.extend_from_slice(more);
    frames.sort_by_key(|(time, _)| *time);
    let (lines, ()) = track_with(&frames, vantage, |_, _| {});
    let one = |line: &str| line.contains("192.0.2.1 1: ") && !line.contains(": - ");
    let first = lines.iter().find(|line| line.starts_with("silent") || one(line));
    first.and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn what_is_addressed_to_another_host_reaches_this_one_where_it_arrives_as_well() {
    // As an interface sees it that takes everything: a port of a bridge, or one that somebody else captures on.
    let mut for_another = ask(A, 1);
    (for_another[7], for_another[10]) = (3, 3);
    for (arrives, outcome) in [(true, "silent"), (false, "unanswered")] {
        let mut frames = vec![(0, for_another.clone())];
        frames.extend(arrives.then(|| (MILLI / 100, ask(A, 1))));
        for (id, time) in [(2, SECOND / 10), (3, 12 * SECOND)] {
            frames.extend([(time, ask(B, id)), (time + MILLI, reply(B, &answer(id)))]);
        }
        let (lines, ()) = track_with(&frames, None, |_, _| {});
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 1: 1 -")), "{lines:?}");
    }
}

#[test]
fn a_response_that_the_host_only_passes_on_does_not_make_it_the_server() {
    /// The hop limit in the IPv4 header.
    const HOPS: usize = SLL2 + 8;
    // A packet that a router forwarded has a hop limit one below its initial value; behind the server's address another
    // host, and another port, may be the server.
    for (hops, silent, here, passed_on) in [
        (64, true, 1, 0),
        (128, true, 1, 0),
        (255, true, 1, 0),
        (63, false, 0, 1),
        (127, false, 0, 1),
        (254, false, 0, 1),
    ] {
        let mut frames = vec![(0, ask(A, 1))];
        for (id, time) in [(2, SECOND / 10), (3, 12 * SECOND)] {
            let mut response = reply(B, &answer(id));
            response[HOPS] = hops;
            frames.extend([(time, ask(B, id)), (time + MILLI, response)]);
        }
        let servers = |tracker: &mut Tracker<'_>, _: &Sources| (tracker.here().count(), tracker.passed_on().count());
        let (lines, places) = track_with(&frames, None, servers);
        let outcome = if silent { "silent" } else { "unanswered" };
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 1: 1 -")), "{hops}: {lines:?}");
        assert_eq!(places, (here, passed_on), "{hops}");
        let (lines, _) = track_with(&frames, Some(Vantage::Server), servers);
        assert!(
            lines.contains(&"silent 192.0.2.1 1: 1 -".to_owned()),
            "the operator says where it was: {hops}: {lines:?}"
        );
    }
}

#[test]
fn silence_is_said_only_where_nothing_came() {
    let datagram = datagram(false, &[answer(1), vec![0; 100]].concat());
    let fragment = frame(A, false, 17, 0x2000, &datagram[..80]);
    // An ICMP error of the server's host about the query: the client was told.
    let quoted = ask(A, 1)[20..48].to_vec();
    let unreachable = frame(A, false, 1, 0, &[&[3, 13, 0, 0, 0, 0, 0, 0][..], &quoted].concat());
    // As BIND treats clients named by `blackhole`: it closes the connection at once and answers what the client sends
    // then with a RST.
    let asked = framed(&query(9));
    let closed = [
        &handshake(A, SECOND)[..],
        &[
            (SECOND, tcp(A, false, FIN | ACK, (501, 101), b"")),
            (SECOND, tcp(A, true, ACK, (101, 502), &asked)),
            (SECOND, tcp(A, false, RST, (502, 0), b"")),
        ],
    ]
    .concat();
    // A keep-alive segment of the client and the server's acknowledgement; the response on the connection was not
    // captured.
    let kept_alive = |time| [(time, tcp(A, true, ACK, (100, 561), b"")), (time, tcp(A, false, ACK, (561, 101), b""))];
    let rests = [&handshake(A, -4 * SECOND)[..], &kept_alive(-3 * SECOND), &kept_alive(SECOND)].concat();
    let whole = reply(A, &answer(1));
    // A response whose IP or UDP header is cut by the snapshot length, and ones whose length makes no sense.
    let [mut cut_ip, mut cut, mut no_length, mut no_header] = [(); 4].map(|()| whole.clone());
    cut_ip.truncate(SLL2 + 10);
    cut.truncate(SLL2 + 20 + 5);
    no_length[SLL2 + 24..SLL2 + 26].fill(0);
    no_header.truncate(SLL2 + 20 + 5);
    no_header[SLL2 + 3] = 25;
    // IPsec between this host and the one that the client is behind.
    let sealed = [0x11; 40];
    let esp = |to_server: bool, gateway: u8| frame(gateway, to_server, 50, 0, &sealed);
    let mut esp_in_udp = udp(C, false, &sealed);
    esp_in_udp[SLL2 + 20..SLL2 + 24].copy_from_slice(&[0x11, 0x94, 0x11, 0x94]);
    let mut wireguard = udp(C, false, &[4, 0, 0, 0, 1, 1, 1, 1]);
    wireguard[SLL2 + 20..SLL2 + 22].copy_from_slice(&51_820u16.to_be_bytes());
    for (about, more, outcome) in [
        ("nothing", vec![], "silent"),
        ("a response cut in its IP header", vec![(MILLI, cut_ip)], "unanswered"),
        ("a response cut in its UDP header when nobody waits any more", vec![(11 * SECOND, cut.clone())], "silent"),
        ("a response cut in its UDP header", vec![(MILLI, cut)], "unanswered"),
        ("a response with a UDP length of 0", vec![(MILLI, no_length)], "unanswered"),
        ("a response without a whole UDP header", vec![(MILLI, no_header)], "unanswered"),
        ("something encrypted that leaves", vec![(MILLI, esp(false, C))], "unanswered"),
        ("the same in UDP", vec![(MILLI, esp_in_udp)], "unanswered"),
        ("the same after the time-out", vec![(7 * SECOND, esp(false, C))], "unanswered"),
        ("the same before", vec![(-MILLI, esp(false, C))], "silent"),
        ("something encrypted that arrives", vec![(MILLI, esp(true, C))], "silent"),
        ("what goes through a device of its own, where all could be read", vec![(MILLI, wireguard)], "silent"),
        ("its own answer by a clock that is behind", vec![(-MILLI, whole)], "unanswered"),
        ("its own answer", vec![(SECOND, reply(A, &answer(1)))], "answered"),
        ("an answer after the time-out", vec![(6 * SECOND, reply(A, &answer(1)))], "unanswered"),
        ("a refusal after the time-out", vec![(9 * SECOND, reply(A, &refusal(1)))], "unanswered"),
        ("an answer when nobody waits any more", vec![(11 * SECOND, reply(A, &answer(1)))], "silent"),
        (
            "an answer to another query of it",
            vec![(SECOND, ask(A, 7)), (2 * SECOND, reply(A, &answer(7)))],
            "unanswered",
        ),
        ("the same after the time-out", vec![(6 * SECOND, ask(A, 7)), (6 * SECOND, reply(A, &answer(7)))], "silent"),
        ("a fragment", vec![(MILLI, fragment.clone())], "unanswered"),
        ("a fragment after the time-out", vec![(7 * SECOND, fragment)], "unanswered"),
        ("a response cut short", vec![(MILLI, reply(A, &answer(1)[..6]))], "unanswered"),
        ("an ICMP error when nobody waits any more", vec![(11 * SECOND, unreachable.clone())], "silent"),
        ("an ICMP error", vec![(MILLI, unreachable)], "unanswered"),
        ("a connection without a byte of the server", closed, "silent"),
        ("one that was there before the capture, kept alive", kept_alive(SECOND).to_vec(), "silent"),
        ("one on which a response was not captured before, kept alive", rests, "silent"),
        ("a loss", vec![(MILLI, LOST.to_vec())], "unanswered"),
        ("a loss after the time-out", vec![(6 * SECOND, ask(A, 7)), (7 * SECOND, LOST.to_vec())], "unanswered"),
        ("a loss before", vec![(-1, LOST.to_vec())], "silent"),
        ("a loss when nobody waits any more", vec![(11 * SECOND, ask(B, 7)), (11 * SECOND, LOST.to_vec())], "silent"),
    ] {
        for vantage in [None, Some(Vantage::Server)] {
            assert_eq!(first_of(&more, vantage), outcome, "{about}, {vantage:?}");
        }
        for vantage in [Vantage::Path, Vantage::Client] {
            assert_ne!(first_of(&more, Some(vantage)), "silent", "{about}, {vantage:?}");
        }
    }
}

#[test]
fn silence_over_tcp_is_not_said_of_a_client_that_hung_up() {
    let asked = framed(&query(1));
    let at = 101 + asked.len() as u32;
    for (about, flags, time, outcome) in [
        ("it closes within the time-out", FIN | ACK, 2 * SECOND, "unanswered"),
        ("it resets within the time-out", RST, 2 * SECOND, "unanswered"),
        ("it closes when it has waited", FIN | ACK, 6 * SECOND, "silent"),
    ] {
        let mut frames = handshake(A, -MILLI);
        frames.push((0, tcp(A, true, ACK, (101, 501), &asked)));
        frames.push((time, tcp(A, true, flags, (at, 501), b"")));
        for (id, time) in [(2, SECOND / 10), (3, 3 * SECOND), (4, 12 * SECOND)] {
            frames.extend([(time, ask(B, id)), (time + MILLI, reply(B, &answer(id)))]);
        }
        frames.sort_by_key(|(time, _)| *time);
        let (lines, ()) = track_with(&frames, None, |_, _| {});
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 1: 4 -")), "{about}: {lines:?}");
    }
}

#[test]
fn silence_is_not_said_of_a_query_on_a_used_connection_that_was_closed_before_the_time_was_over() {
    let [first, told, asked] = [query(1), answer(1), query(2)].map(|message| framed(&message));
    let (at, end) = (101 + first.len() as u32, 501 + told.len() as u32);
    let last = at + asked.len() as u32;
    let by_client = |flags, time| (time, tcp(A, true, flags, (last, end), b""));
    let by_server = |flags, time| (time, tcp(A, false, flags, (end, last), b""));
    for (about, closed, outcome) in [
        ("nobody closes it", vec![], "silent"),
        ("the client closes it", vec![by_client(FIN | ACK, 3 * SECOND)], "unanswered"),
        ("the client resets it", vec![by_client(RST, 3 * SECOND)], "unanswered"),
        ("the server closes it, as an idle one", vec![by_server(FIN | ACK, 3 * SECOND)], "unanswered"),
        ("the server resets it", vec![by_server(RST | ACK, 3 * SECOND)], "unanswered"),
        ("the client closes it when it has waited", vec![by_client(FIN | ACK, 7 * SECOND)], "silent"),
    ] {
        let mut frames = handshake(A, 0);
        frames.push((0, tcp(A, true, ACK, (101, 501), &first)));
        frames.push((MILLI, tcp(A, false, ACK, (501, at), &told)));
        frames.push((SECOND, tcp(A, true, ACK, (at, end), &asked)));
        frames.extend(closed);
        for (id, time) in [(3, 2 * SECOND), (4, 4 * SECOND), (5, 14 * SECOND)] {
            frames.extend([(time, ask(B, id)), (time + MILLI, reply(B, &answer(id)))]);
        }
        frames.sort_by_key(|(time, _)| *time);
        let lines = track(&frames);
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 2: 6 -")), "{about}: {lines:?}");
        assert!(lines.contains(&"answered 192.0.2.1 1: 4 5".to_owned()), "{about}: {lines:?}");
    }
}

#[test]
fn silence_over_tcp_is_said_only_when_the_server_sent_no_byte() {
    let (asked, told) = (framed(&query(1)), framed(&answer(1)));
    let (at, end) = (101 + asked.len() as u32, 501 + told.len() as u32);
    for (about, more, outcome) in [
        ("nothing", vec![], "silent"),
        ("the end of the answer", vec![tcp(A, false, ACK, (505, at), &told[4..])], "unanswered"),
        ("the client has received it", vec![tcp(A, true, ACK, (at, end), b"")], "unanswered"),
        ("the server's last number", vec![tcp(A, false, FIN | ACK, (end, at), b"")], "unanswered"),
        ("a later number of the server", vec![tcp(A, false, ACK, (end, at), b"")], "unanswered"),
        ("its number as it was", vec![tcp(A, false, ACK, (501, at), b"")], "silent"),
        // When the client has waited for long enough.
        (
            "a FIN, which counts",
            vec![
                tcp(A, true, FIN | ACK, (at, 501), b""),
                tcp(A, false, FIN | ACK, (501, at + 1), b""),
                tcp(A, true, ACK, (at + 1, 502), b""),
                tcp(A, false, ACK, (502, at + 1), b""),
            ],
            "silent",
        ),
    ] {
        let mut frames = handshake(A, 0);
        frames.push((0, tcp(A, true, ACK, (101, 501), &asked)));
        let time = if about.starts_with("a FIN") { 6 * SECOND } else { MILLI };
        frames.extend(more.into_iter().map(|frame| (time, frame)));
        for (id, time) in [(2, SECOND), (3, 12 * SECOND)] {
            frames.extend([(time, ask(B, id)), (time, reply(B, &answer(id)))]);
        }
        frames.sort_by_key(|(time, _)| *time);
        let lines = track(&frames);
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 1: 4 -")), "{about}: {lines:?}");
    }
}

#[test]
fn silence_is_not_said_across_a_time_when_nobody_looked() {
    let frames = [(0, ask(A, 1)), (MILLI, ask(B, 2)), (2 * MILLI, reply(B, &answer(2)))];
    let base = 1_700_000_000 * SECOND;
    for (last, first, outcome) in [(2, 8, "unanswered"), (6, 8, "silent")] {
        let (lines, ()) = track_with(&frames, None, |tracker, _| {
            tracker.unwatched(Timestamp(base + last * SECOND), Timestamp(base + first * SECOND));
            // Time goes on.
            tracker.clock.advance(Timestamp(base + 20 * SECOND));
        });
        assert!(lines.contains(&format!("{outcome} 192.0.2.1 1: 1 -")), "{lines:?}");
    }
    // A leap of the clock says nothing about how long the query waited.
    let leap = 7200 * SECOND;
    let leapt = [&frames[..], &[(leap, ask(B, 3)), (leap + MILLI, reply(B, &answer(3)))]].concat();
    assert!(track(&leapt).contains(&"unanswered 192.0.2.1 1: 1 -".to_owned()));
}

#[test]
fn a_rejected_connection_is_one_without_a_byte_of_the_server() {
    let asked = framed(&query(1));
    let at = 101 + asked.len() as u32;
    // The server's SYN was not captured.
    for (acknowledged, last, outcome) in
        [(501, 501, "tcp-rejected"), (561, 561, "unanswered"), (501, 561, "unanswered")]
    {
        let frames = [
            (0, tcp(A, true, SYN, (100, 0), b"")),
            (0, tcp(A, true, ACK, (101, 501), &asked)),
            (MILLI, tcp(A, true, ACK, (at, acknowledged), b"")),
            (2 * MILLI, tcp(A, false, RST | ACK, (last, at), b"")),
        ];
        let line = &track(&frames)[0];
        assert!(line.starts_with(&format!("{outcome} 192.0.2.1 1: 2 ")), "{acknowledged} {last}: {line}");
    }
    let refused = [(0, tcp(A, true, SYN, (100, 0), b"")), (0, tcp(A, false, RST | ACK, (0, 101), b""))];
    assert_eq!(track(&refused), ["tcp-rejected 192.0.2.1 -: 1 2"]);
    // It has received what was not captured, and may have answered that.
    let ended = [(0, tcp(A, true, SYN, (100, 0), b"")), (MILLI, tcp(A, false, RST | ACK, (561, at), b""))];
    assert_eq!(track(&ended), [""; 0]);
}
