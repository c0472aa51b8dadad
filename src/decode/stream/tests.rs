use super::*;
use crate::decode::proxy;

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03tcp\x04test\0\0\x01\0\x01";

fn framed(count: usize) -> Vec<u8> {
    let one = [&(QUERY.len() as u16).to_be_bytes()[..], QUERY].concat();
    one.repeat(count)
}

struct Rig {
    streams: Streams,
    tally: Tally,
    messages: Vec<Vec<u8>>,
    pushed: u64,
    time: i64,
    key: Key,
}

impl Rig {
    fn new() -> Self {
        let limits = StreamLimits { connections: 4, stream_bytes: 128 << 10, total_bytes: 1 << 20, idle: 1 << 40 };
        Self {
            streams: Streams::new(limits),
            tally: Tally::default(),
            messages: Vec::new(),
            pushed: 0,
            time: 0,
            key: Key::random(),
        }
    }

    fn push_cut(&mut self, port: u16, sequence: u32, flags: u8, data: &[u8], full_len: usize) {
        let segment = Segment {
            source_port: port,
            destination_port: 53,
            sequence,
            acknowledgment: 0,
            flags,
            full_len: full_len as u32,
        };
        self.pushed += 1;
        self.time += 1000;
        let ends = Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]);
        let by = Arrival::new(Timestamp(self.time), (0, self.pushed), Point::default());
        self.streams.push(&self.key, by.time, by, ends, &segment, data, |p| p == 53, &mut self.tally);
        for found in &self.streams.found {
            self.messages.push(match &found.place {
                Place::Segment(range) => data[range.clone()].to_vec(),
                Place::Scratch(range) => self.streams.scratch[range.clone()].to_vec(),
            });
        }
    }

    fn push_from_server(&mut self, sequence: u32, flags: u8, data: &[u8]) -> u32 {
        let (source_port, destination_port, full_len) = (53, 4000, data.len() as u32);
        let segment = Segment { source_port, destination_port, sequence, acknowledgment: 0, flags, full_len };
        self.pushed += 1;
        self.time += 1000;
        let ends = Ends::v4([10, 0, 0, 2], [10, 0, 0, 1]);
        let by = Arrival::new(Timestamp(self.time), (0, self.pushed), Point::default());
        self.streams.push(&self.key, by.time, by, ends, &segment, data, |p| p == 53, &mut self.tally)
    }

    fn push(&mut self, sequence: u32, flags: u8, data: &[u8]) {
        self.push_cut(4000, sequence, flags, data, data.len());
    }

    fn end(&mut self) -> u64 {
        while self.streams.finish_oldest(&mut self.tally) {}
        assert_eq!(self.streams.held_bytes, 0, "every held byte was given back");
        let counted: u64 = self.tally.buckets.iter().sum();
        assert_eq!(counted, self.pushed, "every segment is in one bucket");
        self.messages.len() as u64
    }
}

const SYN: u8 = 2;
const DATA: u8 = 0x18;
const FIN: u8 = 0x11;

#[test]
fn any_segmentation_gives_the_same_messages() {
    let bytes = framed(5);
    for size in 1..bytes.len() {
        let mut rig = Rig::new();
        rig.push(u32::MAX - 20, SYN, b"");
        for (index, piece) in bytes.chunks(size).enumerate() {
            rig.push((u32::MAX - 19).wrapping_add((index * size) as u32), DATA, piece);
        }
        assert_eq!(rig.end(), 5, "segments of {size} bytes");
        assert!(rig.messages.iter().all(|message| message == QUERY));
    }
}

#[test]
fn order_duplicates_and_overlaps_do_not_matter() {
    let bytes = framed(3);
    let mut rig = Rig::new();
    rig.push(99, SYN, b"");
    let piece = |from: usize, to: usize| (100 + from as u32, bytes[from..to].to_vec());
    for (sequence, data) in [piece(40, 60), piece(0, 10), piece(5, 30), piece(0, 10), piece(20, 45), piece(55, 84)] {
        rig.push(sequence, DATA, &data);
    }
    assert_eq!(rig.end(), 3);
    assert_eq!(rig.streams.conflicts, 0);
}

#[test]
fn the_first_copy_of_a_byte_stands() {
    let bytes = framed(1);
    let mut rig = Rig::new();
    rig.push(99, SYN, b"");
    rig.push(100, DATA, &bytes[..10]);
    rig.push(100, DATA, &[0xee; 10]);
    rig.push(110, DATA, &bytes[10..]);
    assert_eq!((rig.end(), rig.streams.conflicts), (1, 1));
    assert_eq!(rig.messages, [QUERY]);
    assert_eq!(rig.tally.buckets[Bucket::TcpConflict as usize], 1);
}

#[test]
fn starts_in_the_middle_and_behind_a_hole() {
    let bytes = framed(2);
    let mut rig = Rig::new();
    rig.push(500, DATA, &bytes);
    assert_eq!(rig.messages.len(), 2);
    rig.push(5000, DATA, &bytes);
    rig.push(6000, FIN, b"");
    assert_eq!((rig.end(), rig.streams.holes), (4, 1));
    let mut rig = Rig::new();
    rig.push(500, DATA, b"GET / HTTP/1.1\r\nHost: example.com\r\n");
    assert_eq!(rig.end(), 0);
    assert_eq!(rig.tally.buckets[Bucket::TcpNonDns as usize], 1);
}

#[test]
fn a_torn_message_leads_to_the_next_boundary() {
    let bytes = framed(3);
    let one = bytes.len() / 3;
    let mut rig = Rig::new();
    rig.push(99, SYN, b"");
    // The snapshot length took the end of the first message.
    rig.push_cut(4000, 100, DATA, &bytes[..20], one);
    rig.push(100 + one as u32, DATA, &bytes[one..]);
    assert_eq!(rig.end(), 3);
    assert_eq!(rig.messages[0], QUERY[..18]);
    assert_eq!(rig.messages[1..], [QUERY, QUERY]);
}

#[test]
fn a_proxy_header_is_passed_over_at_any_segmentation() {
    let mut bytes = proxy::SIGNATURE.to_vec();
    bytes.extend([0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 53, 0x30, 0x39, 0, 53]);
    let header = bytes.clone();
    bytes.extend(framed(3));
    for opened in [true, false] {
        for size in (if opened { 1 } else { 14 })..bytes.len() {
            let mut rig = Rig::new();
            if opened {
                rig.push(99, SYN, b"");
            }
            for (index, piece) in bytes.chunks(size).enumerate() {
                rig.push(100 + (index * size) as u32, DATA, piece);
            }
            assert_eq!(rig.streams.connections[0].proxy_header().as_deref(), Some(&header[..]));
            assert_eq!(rig.end(), 3, "segments of {size} bytes");
            assert!(rig.messages.iter().all(|message| message == QUERY));
        }
    }
    // The beginning of one that never goes on, and a hole in it.
    let mut rig = Rig::new();
    rig.push(99, SYN, b"");
    rig.push(100, DATA, &header[..20]);
    rig.push(200, DATA, &framed(1));
    rig.push(300, FIN, b"");
    assert_eq!(rig.end(), 1);
}

#[test]
fn any_cut_anywhere_leaves_every_segment_in_one_bucket() {
    let bytes = framed(2);
    for syn in [false, true] {
        for captured in 0..bytes.len() {
            for size in [1, 2, 13, 14, 15, bytes.len()] {
                let mut rig = Rig::new();
                if syn {
                    rig.push(99, SYN, b"");
                }
                for (index, piece) in bytes.chunks(size).enumerate() {
                    let have = piece.len().min(captured);
                    rig.push_cut(4000, 100 + (index * size) as u32, DATA, &piece[..have], piece.len());
                }
                rig.end();
            }
        }
    }
}

#[test]
fn the_least_recent_connection_is_evicted_and_counted() {
    let mut rig = Rig::new();
    for port in 0..10 {
        rig.push_cut(2000 + port, 100, DATA, b"\xff\xff", 2);
    }
    assert_eq!(rig.streams.evicted, 6);
    rig.end();
    assert_eq!(rig.tally.buckets[Bucket::TcpEvicted as usize], 6);
}

#[test]
fn streams_with_gaps_have_less_room_when_all_together_hold_much() {
    let mut rig = Rig::new();
    let limits = StreamLimits { connections: 512, stream_bytes: 32 << 10, total_bytes: 4 << 20, idle: 1 << 40 };
    rig.streams = Streams::new(limits);
    let data = framed(400);
    for port in 0..400 {
        rig.push_cut(4000 + port, 1, 0, &framed(1), framed(1).len());
        for number in 1..3 {
            rig.push_cut(4000 + port, number * 100_000, 0, &data, data.len());
        }
    }
    assert_eq!(rig.tally.buckets[Bucket::TcpEvicted as usize], 0);
    rig.end();
}

#[test]
fn what_has_ended_is_forgotten_soon_and_what_is_idle_later() {
    let mut rig = Rig::new();
    rig.push_cut(2000, 99, SYN, b"", 0);
    for port in 2001..2003 {
        rig.push_cut(port, 100, 0x14, b"", 0);
    }
    let known = |rig: &Rig| rig.streams.table.len();
    let seen = rig.streams.connections[0].last;
    let expire = |rig: &mut Rig, after: i64| rig.streams.expire(Timestamp(seen.0 + after), &mut rig.tally);
    expire(&mut rig, ENDED_PATIENCE);
    assert_eq!(known(&rig), 3);
    expire(&mut rig, ENDED_PATIENCE + 1_000_000_000);
    assert_eq!(known(&rig), 1, "the two that were reset");
    let idle = rig.streams.limits.idle;
    expire(&mut rig, idle);
    assert_eq!(known(&rig), 1);
    expire(&mut rig, idle + 1);
    assert_eq!(known(&rig), 0);
    // Where everything was forgotten before, and nothing has ended since.
    rig.time = seen.0 + 2 * idle;
    rig.push_cut(2003, 99, SYN, b"", 0);
    for (after, left) in [(2 * idle, 1), (3 * idle, 1), (3 * idle + 1001, 0)] {
        expire(&mut rig, after);
        assert_eq!(known(&rig), left, "{after}");
    }
    assert_eq!(rig.streams.evicted, 0);
    rig.end();
}

#[test]
fn a_lost_response_is_no_rejection() {
    // What the server's closing segment says: sequence number and flags, and whether that is a rejection.
    for (sequence, flags, rejected) in
        [(701, FIN, true), (701, 0x14, true), (1, 0x14, true), (745, FIN, false), (745, 0x14, false)]
    {
        let mut rig = Rig::new();
        rig.push(99, SYN, b"");
        rig.push_from_server(700, SYN | 0x10, b"");
        rig.push(100, DATA, &framed(1));
        let connection = rig.push_from_server(sequence, flags, b"");
        let got = rig.streams.connection(connection).rejected.is_some();
        assert_eq!(got, rejected, "sequence {sequence}, flags {flags:#x}");
    }
}

#[test]
fn a_new_connection_between_the_same_ports() {
    let bytes = framed(1);
    let mut rig = Rig::new();
    for start in [1000u32, 500, 90_000] {
        rig.push(start, SYN, b"");
        rig.push(start + 1, DATA, &bytes);
    }
    assert_eq!(rig.end(), 3);
}

#[test]
fn a_header_behind_a_lost_length_is_no_beginning() {
    // A connection followed from the middle, behind the length of a refusal of twelve bytes; the next one in two
    // segments.
    let refusal = |id: u8| [0x32, id, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut rig = Rig::new();
    rig.push(102, DATA, &refusal(1));
    rig.push(114, DATA, &[0, 12]);
    rig.push(116, DATA, &refusal(2));
    assert_eq!(rig.messages, [refusal(2)]);
    assert_eq!((rig.tally.buckets[Bucket::TcpNonDns as usize], rig.end()), (1, 1));

    // The same bytes where the segments do not tell, and with an empty message behind the first.
    for behind in [&[&[0, 12][..], &refusal(2)].concat()[..], &[0, 0]] {
        let mut rig = Rig::new();
        rig.push(102, DATA, &[&refusal(1)[..], behind].concat());
        rig.push(114 + behind.len() as u32, DATA, &framed(1));
        assert_eq!(rig.messages, [QUERY]);
        rig.end();
    }
}

#[test]
fn a_connection_without_a_message_is_told_of_once_per_look_and_when_it_ends() {
    let mut rig = Rig::new();
    rig.push(100, 0x02, b"");
    let seen: Vec<i64> = rig.streams.without_message().iter().map(|(_, last)| last.0).collect();
    assert_eq!(seen, [rig.time]);
    assert_eq!(rig.streams.without_message().len(), 0, "nothing happened since");
    rig.push_cut(4001, 7, 0x02, b"", 0);
    rig.push(101, 0x10, b"");
    assert_eq!(rig.streams.without_message().len(), 2);
    rig.push(101, 0x18, &framed(1));
    rig.push_cut(4002, 9, 0x02, b"", 0);
    assert_eq!(rig.streams.without_message().len(), 1, "one has brought a message");
    rig.push_cut(4002, 10, 0x11, b"", 0);
    rig.end();
    let ports: Vec<u16> = rig.streams.forgotten.iter().map(|connection| connection.client_ports().0).collect();
    assert_eq!(ports, [4002], "the one that nobody was told of");
}

#[test]
fn both_directions_are_one_connection_also_between_equal_ports() {
    for v6 in [false, true] {
        for (source_port, destination_port) in [(4000, 53), (53, 4000), (53, 53)] {
            let mut rig = Rig::new();
            let there = if v6 { Ends::v6([1; 16], [2; 16]) } else { Ends::v4([10, 0, 0, 1], [10, 0, 0, 2]) };
            let back = (there.reversed(), destination_port, source_port);
            for (ends, source_port, destination_port) in [(there, source_port, destination_port), back] {
                let segment =
                    Segment { source_port, destination_port, sequence: 1, acknowledgment: 1, flags: 0x10, full_len: 0 };
                let by = Arrival::new(Timestamp(1), (0, 1), Point::default());
                rig.streams.push(&rig.key, by.time, by, ends, &segment, b"", |p| p == 53, &mut rig.tally);
            }
            assert_eq!(rig.streams.table.len(), 1, "{source_port} {destination_port}");
        }
    }
}
