//! pcap files: headers and record headers that are cut, absurd, or written by unusual tools.

use crate::case::case;
use crate::dns::Message;
use crate::files::{NANOSECONDS, PATCHED, Pcap, Record, START, pcap};
use crate::run::{run, text_faults};
use crate::wire::{Ipv4, TYPE_IPV4, Udp, ethernet, ethernet_of_type, to_server};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of a pcap file header.
const FILE_HEADER: u64 = 24;
/// Bytes of a pcap record header.
const RECORD_HEADER: u64 = 16;

/// A frame with an ordinary query.
pub fn good() -> Vec<u8> {
    to_server(&Message::query("ok.test").bytes())
}

/// Bytes of a file of one good frame: where its second record begins.
fn after_one() -> u64 {
    FILE_HEADER + RECORD_HEADER + good().len() as u64
}

/// `bytes` followed by `more`.
pub fn followed_by(mut bytes: Vec<u8>, more: &[u8]) -> Vec<u8> {
    bytes.extend(more);
    bytes
}

/// `bytes` without their last `count`.
pub fn without_end(mut bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - count);
    bytes
}

/// One good frame, then a record that says it stores `stored` bytes.
fn second_claims(stored: u32) -> Vec<u8> {
    let lie = Record { stored: Some(stored), original: Some(stored), ..Record::new(&good()) };
    Pcap::default().file(&[Record::new(&good()), lie])
}

/// A frame of `length` bytes: a query with padding behind the IP packet.
fn padded_to(length: usize) -> Vec<u8> {
    let mut frame = good();
    frame.resize(length, 0);
    frame
}

/// A file much larger than a block whose packets carry what looks like records, so that a reader that starts in the
/// middle finds false ones everywhere.
fn records_inside_packets(count: u64) -> Vec<u8> {
    let false_record = Pcap::default().record(&Record::at(7, &good()));
    let payload = followed_by(Message::query("outer.test").bytes(), &false_record.repeat(12));
    let frame = to_server(&payload);
    let mut bytes = Pcap::default().header();
    for index in 0..count {
        bytes.extend(Pcap::default().record(&Record::at(index, &frame)));
    }
    bytes
}

/// A file with frames of every length, which a careless comparison with the end of a block would split wrongly.
fn every_length(count: usize) -> Vec<u8> {
    let frames: Vec<Vec<u8>> = (0..count).map(|index| padded_to(good().len() + index % 1400)).collect();
    pcap(&frames)
}

cases![
    c01_empty = case("nothing", Vec::new()).unusable().says("empty file"),
    c02_short_header = case("file header less its last byte", without_end(Pcap::default().header(), 1)).unusable(),
    c03_header_only = case("a file header and no record", Pcap::default().header())
        .packets(&[("frames", 0)])
        .bytes(&[("headers", FILE_HEADER), ("total", FILE_HEADER)]),
    c04_bad_magic = case("no known magic", followed_by(vec![0xde, 0xad, 0xbe, 0xef], &Pcap::default().header()[4..]))
        .unusable()
        .says("de ad be ef"),
    c05_cut_record_header = case("seven bytes of a record header at the end", followed_by(pcap(&[good()]), &[0; 7]))
        .exit(3)
        .says(format!("{}", after_one()))
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .bytes(&[("unread_tail", 7), ("packets", good().len() as u64)]),
    c06_cut_data = case("the last record less ten bytes", without_end(pcap(&[good(), good()]), 10))
        .exit(3)
        .says(format!("{}", after_one()))
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .bytes(&[("unread_tail", RECORD_HEADER + good().len() as u64 - 10)]),
    c07_length_ffffffff = case("a record that says it stores 4 GiB", second_claims(u32::MAX))
        .exit(3)
        .says(format!("{}", after_one()))
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .bytes(&[("unread_tail", RECORD_HEADER + good().len() as u64)]),
    c08_longer_than_snap_length = case(
        "a record longer than the snapshot length",
        Pcap { snap_length: 64, ..Pcap::default() }.file(&[Record::new(&padded_to(2067))])
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("over_snap_len", 1)]),
    c09_longer_than_original = case(
        "a record that stores more than was on the wire",
        Pcap::default().file(&[Record { original: Some(10), ..Record::new(&good()) }])
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("over_original_len", 1)]),
    c10_stores_nothing = case(
        "a record that stores nothing, then a good one",
        Pcap::default().file(&[Record { original: Some(90), ..Record::new(&[]) }, Record::new(&good())])
    )
    .packets(&[("frames", 2), ("snap_cut", 1), ("udp_dns", 1)]),
    c11_big_endian = case("big-endian", Pcap { big_endian: true, ..Pcap::default() }.frames(&[good()]))
        .packets(&[("udp_dns", 1)])
        .plain_names(&["ok.test"]),
    c12_nanoseconds = case(
        "nanosecond magic",
        Pcap { magic: NANOSECONDS, ..Pcap::default() }
            .file(&[Record { fraction: 999_999_999, ..Record::new(&good()) }])
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("odd_timestamps", 0)])
    .row(&[("time", "2023-11-14T22:13:20.999999999Z")]),
    c13_patched_records = case(
        "records with eight more bytes of header",
        Pcap { magic: PATCHED, ..Pcap::default() }.frames(&[good(), good()])
    )
    .packets(&[("udp_dns", 2)])
    .bytes(&[("record_headers", 2 * (RECORD_HEADER + 8)), ("packets", 2 * good().len() as u64)]),
    c14_fraction_over_a_second = case(
        "a fraction of 4294 seconds",
        Pcap::default().file(&[Record { fraction: u32::MAX, ..Record::new(&good()) }])
    )
    .packets(&[("udp_dns", 1)])
    .anomalies(&[("odd_timestamps", 1)]),
    c15_times_backwards = case(
        "times that step back, to 1970 and to 2106",
        Pcap::default()
            .file(&[START + 10, START, 0, u32::MAX].map(|seconds| Record { seconds, ..Record::new(&good()) }))
    )
    .packets(&[("udp_dns", 4)])
    .matches(&[("queries", 4)])
    .at_least("anomalies", "clock_steps", 2),
    c16_link_type_9999 =
        case("a link type nobody knows", Pcap { link_type: 9999, ..Pcap::default() }.frames(&[good()]))
            .exit(1)
            .says("9999"),
    c17_snap_length_0 = case("snapshot length 0", Pcap { snap_length: 0, ..Pcap::default() }.frames(&[good()]))
        .packets(&[("udp_dns", 1)])
        .anomalies(&[("over_snap_len", 0)]),
    c18_snap_length_ffffffff =
        case("snapshot length 4 GiB", Pcap { snap_length: u32::MAX, ..Pcap::default() }.frames(&[good()]))
            .packets(&[("udp_dns", 1)])
            .anomalies(&[("over_snap_len", 0)]),
    c19_big_endian_nanoseconds = case(
        "big-endian nanosecond magic",
        Pcap { big_endian: true, magic: NANOSECONDS, ..Pcap::default() }
            .file(&[Record { fraction: 1, ..Record::new(&good()) }])
    )
    .packets(&[("udp_dns", 1)])
    .row(&[("time", "2023-11-14T22:13:20.000000001Z")]),
    c20_big_endian_patched = case(
        "big-endian records with eight more bytes of header",
        Pcap { big_endian: true, magic: PATCHED, ..Pcap::default() }.frames(&[good()])
    )
    .packets(&[("udp_dns", 1)]),
    c21_largest_packet = case("a record of exactly 256 KiB", pcap(&[padded_to(262_144)])).packets(&[("udp_dns", 1)]),
    c22_over_largest_packet = case("a record one byte over 256 KiB", pcap(&[good(), padded_to(262_145)]))
        .exit(3)
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .bytes(&[("unread_tail", RECORD_HEADER + 262_145)]),
    c23_plain_text = case("a log file given by mistake", b"Nov 14 22:13:20 ns1 named: REFUSED\n".repeat(9)).unusable(),
    c24_one_byte = case("a single byte", vec![0xd4]).unusable(),
    c25_magic_only = case("only a magic number", Pcap::default().header()[..4].to_vec()).unusable(),
    c26_text_of_escapes =
        case("a file that begins with an escape sequence", b"\x1b[2J\x1b]0;x\x07".repeat(9)).unusable(),
    c27_allowed_cut = case("a cut tail that was said to be all right", without_end(pcap(&[good(), good()]), 10))
        .arguments(&["--allow-cut-tail"])
        .packets(&[("frames", 1), ("udp_dns", 1)])
        .bytes(&[("unread_tail", RECORD_HEADER + good().len() as u64 - 10)]),
    c28_allowed_cut_is_not_damage = case("a length of 4 GiB is no cut tail", second_claims(0xffff_fff0))
        .arguments(&["--allow-cut-tail"])
        .exit(3)
        .packets(&[("frames", 1)]),
    c29_good_beside_empty = case("an empty file, then a good one", Vec::new())
        .and("good.pcap", pcap(&[good()]))
        .exit(3)
        .says("empty file")
        .packets(&[("frames", 1), ("udp_dns", 1)]),
    c30_good_beside_damaged = case("two damaged files and a good one", vec![1, 2, 3])
        .and("cut.pcap", without_end(pcap(&[good(), good()]), 1))
        .and("good.pcap", pcap(&[good()]))
        .exit(3)
        .error_lines(2)
        .packets(&[("frames", 2), ("udp_dns", 2)]),
    c31_name_with_escapes = case("a damaged file whose name drives terminals", without_end(pcap(&[good()]), 1))
        .called("\u{1b}[2Jpwned\nerror[E-FAKE]: all is well\u{202e}.pcap")
        .exit(3)
        .packets(&[("frames", 0)]),
    c32_good_name_with_escapes = case("a good file whose name drives terminals", pcap(&[good()]))
        .called("=\u{1b}[31m,\"x\"\r\n.pcap")
        .packets(&[("udp_dns", 1)]),
    c33_frame_check_sequence = case(
        "a link type with the length of the frame check sequence above it",
        Pcap { link_type: 0x4400_0001, ..Pcap::default() }.frames(&[followed_by(good(), &[1, 2, 3, 4])])
    )
    .packets(&[("udp_dns", 1)]),
    c34_records_inside_packets = case("packets that contain records", records_inside_packets(1500))
        .packets(&[("frames", 1500), ("udp_dns", 1500)])
        .matches(&[("queries", 1500)]),
    c35_standard_input =
        case("through standard input", pcap(&[good()])).through_standard_input().packets(&[("udp_dns", 1)]),
    c36_cut_standard_input = case("cut, through standard input", without_end(pcap(&[good(), good()]), 3))
        .through_standard_input()
        .exit(3)
        .packets(&[("udp_dns", 1)]),
    c37_empty_standard_input =
        case("nothing, through standard input", Vec::new()).through_standard_input().unusable().says("empty"),
    c38_every_length = case("frames of every length over several blocks", every_length(2800))
        .packets(&[("frames", 2800), ("udp_dns", 2800)]),
    c39_all_stored_nothing = case(
        "ten thousand records that store nothing",
        Pcap::default().file(&vec![Record { original: Some(60), ..Record::new(&[]) }; 10_000])
    )
    .packets(&[("frames", 10_000), ("snap_cut", 10_000)]),
    c40_zeros = case("a header, then zeros to 64 KiB", followed_by(Pcap::default().header(), &vec![0; 65_536]))
        .exit(3)
        .packets(&[("frames", 0)])
        .bytes(&[("unread_tail", 65_536)]),
    c41_zeros_behind_packets = case(
        "room behind the last packet that was never written, over several blocks of reading",
        followed_by(pcap(&[good(), good()]), &vec![0; 1_000_003])
    )
    .exit(3)
    .says("a record header of zeros")
    .packets(&[("frames", 2), ("udp_dns", 2)])
    .bytes(&[("unread_tail", 1_000_003)]),
];

#[test]
fn a_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("captures")).expect("a folder");
    let run = run(folder.path(), &["read", "captures", "--format", "json"], None);
    assert_eq!((run.code, run.error_lines().len()), (Some(2), 1), "{}", run.complaint());
    assert!(run.stdout.is_empty());
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = run(folder.path(), &["read", "no\u{1b}such\nfile.pcap"], None);
    assert!(matches!(run.code, Some(1..=3)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{}", run.complaint());
    assert_eq!(text_faults("stderr", &run.stderr), [] as [String; 0]);
}

#[test]
fn the_same_file_twice_is_said_and_counted_as_such() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.pcap"), pcap(&[good()])).expect("the input is written");
    fs::hard_link(folder.path().join("a.pcap"), folder.path().join("b.pcap")).expect("a hard link");
    for second in ["a.pcap", "b.pcap", "./a.pcap"] {
        let run = run(folder.path(), &["read", "a.pcap", second, "--format", "json"], None);
        assert!(matches!(run.code, Some(0 | 2)), "{second}: exit {:?}: {}", run.code, run.complaint());
        assert!(run.complaint().contains(second), "{second}: nothing is said: {}", run.complaint());
    }
}

/// Opens a named pipe for writing as soon as somebody reads it, and not later than ten seconds from now.
fn once_read(pipe: &Path) -> fs::File {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Without this flag, opening waits for a reader for ever.
        match fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(pipe) {
            Ok(file) => return file,
            Err(error) => assert!(Instant::now() < deadline, "nobody reads the pipe: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pipe_with_pauses_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let bytes = pcap(&[good(), good()]);
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut pipe = once_read(&pipe);
            for part in bytes.chunks(37) {
                pipe.write_all(part).expect("the pipe takes it");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let run = run(folder.path(), &["read", "pipe", "--format", "json"], None);
    writer.join().expect("the writer ends");
    assert_eq!(run.code, Some(0), "{}", run.complaint());
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("json parses");
    assert_eq!(report.pointer("/ledgers/packets/udp_dns"), Some(&2.into()));
}

/// Reads a pipe and a file, changes the file with `change` while the pipe keeps the program busy, and returns the exit
/// code and both outputs. The pipe's packets are earlier, so the file is opened first and read later.
fn changed_while_read(change: impl FnOnce(&mut fs::File)) -> crate::run::Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let frames: Vec<Record> = (0..20_000).map(|index| Record::at(10_000_000 + index, &good())).collect();
    fs::write(folder.path().join("file.pcap"), Pcap::default().file(&frames)).expect("the input is written");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| run(folder.path(), &["read", "file.pcap", "pipe", "--format", "json"], None));
        let mut writer = once_read(&pipe);
        writer.write_all(&pcap(&[good()])).expect("the pipe takes it");
        std::thread::sleep(Duration::from_millis(400));
        let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("file.pcap")).expect("opens");
        change(&mut file);
        drop(writer);
        reader.join().expect("the run ends")
    })
}

#[test]
fn a_file_that_shrinks_while_read_is_damage_and_no_signal() {
    let run = changed_while_read(|file| file.set_len(100).expect("the file shrinks"));
    assert_eq!(run.code, Some(3), "{}", run.complaint());
    // The cut and the change may be reported on separate lines.
    assert!(matches!(run.error_lines().len(), 1 | 2), "{}", run.complaint());
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("json parses");
    for ledger in ["packets", "messages", "matches", "bytes", "outputs"] {
        assert_eq!(report["ledgers"][ledger]["closed"], true, "{ledger}");
    }
}

#[test]
fn a_file_that_grows_while_read_is_said_to_have_changed() {
    let more = Pcap::default().record(&Record::at(20_000_000, &good()));
    let run = changed_while_read(|file| file.write_all(&more).expect("the file grows"));
    assert_eq!(run.code, Some(3), "{}", run.complaint());
    assert_eq!(run.error_lines().len(), 1, "{}", run.complaint());
}

#[test]
fn frames_of_any_ethertype_length_end_in_one_bucket() {
    // EtherTypes of several protocols, and the 802.3 lengths around them, each with an IPv4 packet behind it.
    let packet = Ipv4::default().around(&Udp::default().around(&Message::query("ok.test").bytes()));
    let kinds = [0u16, 1, 46, 1500, 1535, 1536, TYPE_IPV4, 0x0806, 0x8035, 0x8137, 0x86dc, 0x8863, 0x88a8, 0xffff];
    let frames: Vec<Vec<u8>> = kinds.iter().map(|kind| ethernet_of_type(*kind, &packet)).collect();
    crate::check::check(
        "ethertypes",
        &case("odd EtherTypes", pcap(&frames)).packets(&[("frames", kinds.len() as u64)]),
    );
    assert!(ethernet(&packet).len() > 14);
}
