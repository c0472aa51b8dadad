use super::*;
use crate::capture::stated_loss::Says;
use crate::capture::{Block, Context, Direction, Format, Frames, Reader, Walk};
use std::sync::Arc;
use std::time::Duration;

fn files(folder: &Path, rotate_bytes: Option<u64>, rotate_after: Option<Duration>) -> PacketFiles {
    let mut config = Config::default();
    config.live.write = Some(folder.join("packets.pcapng"));
    (config.live.rotate_bytes, config.live.rotate_after) = (rotate_bytes, rotate_after);
    let mut files = PacketFiles::prepare(&config, &[]).unwrap().unwrap();
    files.describe([(1, "eth0", None), (276, "any", None)].into_iter());
    files.begin_file();
    files
}

fn write(files: &mut PacketFiles, packets: &[Vec<u8>]) {
    write_from(files, packets, 1);
}

/// Writes packets on both interfaces in turn, of which `cut` bytes are missing.
fn write_from(files: &mut PacketFiles, packets: &[Vec<u8>], cut: u32) {
    for (number, data) in packets.iter().enumerate() {
        let frame = Frame {
            time: Timestamp(1_700_000_000_123_456_789 + number as i64 * 10_000_000),
            link_type: 1,
            interface: 0,
            direction: Direction::Unknown,
            data,
            offset: 0,
            original_len: data.len() as u32 + cut,
        };
        files.packet(if cut > 0 { number as u32 % 2 } else { 0 }, &frame, 0);
    }
}

/// Time, interface and bytes of a packet.
type Packet = (i64, u32, Vec<u8>);

/// Walks the packets of a file, of which nothing is damaged; the walk, and the names of its interfaces.
fn walk(path: &Path, frames: &mut impl Frames) -> (Walk, Vec<String>) {
    let data = std::fs::read(path).unwrap();
    let block = Block { offset: 0, limit: data.len(), data, at_end: true };
    let reader = Reader { format: Format::Pcapng, packet_bytes: 1 << 18, block_bytes: 1 << 24, interfaces: 16 };
    let (mut context, mut walk) = (Arc::<Context>::default(), Walk::default());
    reader.walk(&block, 0, &mut context, &mut walk, frames);
    assert_eq!((&walk.stop, walk.end, walk.oddities.damage().len()), (&None, block.data.len(), 0));
    let names = context.interfaces.iter().filter_map(|interface| interface.name.as_deref().map(str::to_owned));
    (walk, names.collect())
}

/// Every packet of a file, and the names of its interfaces.
fn read(path: &Path) -> (Vec<Packet>, Vec<String>) {
    let mut packets = Vec::new();
    let (_, names) = walk(path, &mut |frame: Frame<'_>| {
        assert_eq!(frame.original_len as usize, frame.data.len() + 1);
        packets.push((frame.time.0, frame.interface, frame.data.to_vec()));
    });
    (packets, names)
}

#[test]
fn every_length_is_read_back_to_the_nanosecond() {
    let folder = tempfile::tempdir().unwrap();
    let packets: Vec<Vec<u8>> = (0..70).map(|length| vec![length as u8; length]).collect();
    let mut files = files(folder.path(), None, None);
    write(&mut files, &packets);
    assert!(!folder.path().join("packets.pcapng").exists(), "it is not complete");
    files.finish().unwrap();
    let (found, names) = read(&folder.path().join("packets.pcapng"));
    assert_eq!(names, ["eth0", "any"]);
    assert_eq!(found.len(), 70);
    for (number, (time, interface, data)) in found.iter().enumerate() {
        assert_eq!(*time, 1_700_000_000_123_456_789 + number as i64 * 10_000_000);
        assert_eq!((*interface, data), (number as u32 % 2, &packets[number]));
    }
}

#[test]
fn a_packet_says_how_many_were_lost_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), None, None);
    for (number, lost) in (0u8..).zip([0, 7, 0, 1 << 40]) {
        let data = &vec![number; usize::from(number)];
        let time = Timestamp(i64::from(number));
        let (link_type, interface, offset) = (1, 0, 0);
        let (direction, original_len) = (Direction::Unknown, data.len() as u32 + 1);
        let frame = Frame { time, link_type, interface, direction, data, offset, original_len };
        files.packet(0, &frame, lost);
    }
    files.finish().unwrap();
    let path = folder.path().join("packets.pcapng");
    assert_eq!(read(&path).0.len(), 4);
    let (walk, _) = walk(&path, &mut |_: Frame<'_>| {});
    let said = walk.statements.iter().map(|statement| (statement.packets, statement.says));
    let lost: Vec<(u32, Says)> = said.filter(|(_, says)| matches!(says, Says::LostBefore { .. })).collect();
    assert_eq!(lost, [(1, 7), (3, 1 << 40)].map(|(packet, lost)| (packet, Says::LostBefore { interface: 0, lost })));
}

#[test]
fn files_are_changed_by_size_and_by_time_and_no_packet_is_lost() {
    for (bytes, after, least) in [(Some(1000), None, 5), (None, Some(Duration::from_millis(95)), 7)] {
        let folder = tempfile::tempdir().unwrap();
        let packets = vec![vec![7; 60]; 70];
        let mut files = files(folder.path(), bytes, after);
        write(&mut files, &packets);
        files.finish().unwrap();
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(paths.len() >= least && paths[0].ends_with("packets-00000.pcapng"), "{paths:?}");
        let found: Vec<i64> = paths.iter().flat_map(|path| read(path).0).map(|(time, ..)| time).collect();
        assert!(found.len() == 70 && found.is_sorted());
        assert!(bytes.is_none_or(|bytes| paths.iter().all(|path| path.metadata().unwrap().len() <= bytes)));
    }
}

/// A frame of a response to `client` that says REFUSED, or of a query when it is none.
fn message(client: [u8; 4], response: bool) -> Vec<u8> {
    let (server, mut bytes) = ([10, 20, 30, 40], Vec::new());
    let flags = if response { [0x81, 0x85] } else { [1, 0] };
    let message = [&[0x12, 0x34][..], &flags, b"\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"].concat();
    let (ends, ports) = if response { ((server, client), (53, 4000)) } else { ((client, server), (4000, 53)) };
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends.0, ends.1, 64);
    builder.udp(ports.0, ports.1).write(&mut bytes, &message).unwrap();
    bytes
}

/// What `read` says of files in a folder where the first two lines of the inventory expect others than were seen.
fn said(folder: &Path, format: &str, names: &[&str]) -> String {
    std::fs::write(folder.join("expect.csv"), "10.20.0.0/16\n10.21.0.0/16\n").unwrap();
    let at = |name: &str| folder.join(name).into_os_string();
    let mut arguments: Vec<std::ffi::OsString> =
        ["dnsrefused", "read", "--force", "--client", "10.21.5.18", "--format", format].map(Into::into).into();
    arguments.extend(["--expect".into(), at("expect.csv"), "-o".into(), at("report")]);
    arguments.extend(names.iter().map(|name| at(name)));
    let crate::cli::Parsed::Run(config) = crate::cli::parse(arguments).unwrap() else { panic!("not a run") };
    let mut console = crate::run::StandardError;
    assert_eq!(crate::run::read(&config, &mut console, &Arc::default()).unwrap(), 0);
    let report = std::fs::read_to_string(folder.join("report")).unwrap();
    if format == "text" { report.split_whitespace().collect::<Vec<_>>().join(" ") } else { report }
}

#[test]
fn what_was_left_out_is_known_to_whoever_reads_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let record = |name: &str, filter: Option<&str>, packets: &[Vec<u8>]| {
        let mut config = Config::default();
        config.live.write = Some(folder.path().join(name));
        let mut files = PacketFiles::prepare(&config, &[]).unwrap().unwrap();
        files.describe([(1, "eth0", filter)].into_iter());
        files.begin_file();
        write_from(&mut files, packets, 0);
        files.finish().unwrap();
    };
    let refusals = crate::capture::kernel_filter::refused(&[53], 1);
    let other = [192, 0, 2, 45];
    record("refused.pcapng", Some(&refusals), &vec![message(other, true); 2]);
    record("part.pcapng", Some("udp port 53"), &[message(other, false), message(other, true)]);
    record("all.pcapng", None, &[message(other, false), message(other, true), message([10, 20, 0, 1], false)]);
    let (absent, inferred) = ("expected-never-seen", "may arrive as");

    let page = said(folder.path(), "text", &["refused.pcapng"]);
    for text in [
        "only REFUSED responses were captured: no queries, so nothing is known of answers",
        "REFUSED 2 responses to 1 source, whose queries are not captured",
        "10.21.5.18: NOT REFUSED. Only REFUSED responses were captured, and none was sent to it.",
        "192.0.2.45 2 - ",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains(absent) && !page.contains("also REFUSED without its query"), "{page}");
    let rows = said(folder.path(), "csv", &["refused.pcapng"]);
    assert_eq!(rows.lines().count(), 3, "every refusal has a row: {rows}");
    assert!(said(folder.path(), "json", &["refused.pcapng"]).contains("\"refused_only\":true"));

    let page = said(folder.path(), "text", &["part.pcapng"]);
    assert!(page.contains("10.21.5.18: NOT SEEN. No DNS traffic from it or to it passed the filter"), "{page}");
    assert!(page.contains("It was captured with a filter, which may be why something is missing."), "{page}");
    assert!(page.contains(absent) && !page.contains("WARNING expected-never-seen"), "{page}");

    let page = said(folder.path(), "text", &["all.pcapng"]);
    assert!(page.contains("10.21.0.0/16 may arrive as 192.0.2.45") && !page.contains("filter"), "{page}");
    assert!(!said(folder.path(), "json", &["all.pcapng"]).contains("refused_only"));

    let page = said(folder.path(), "text", &["all.pcapng", "refused.pcapng"]);
    assert!(page.contains("only REFUSED responses were captured for 1 of 2 inputs: no queries there"), "{page}");
    assert!(page.contains(absent) && !page.contains(inferred), "{page}");

    // Two sections in one file, of which the second holds everything.
    let joined = ["refused.pcapng", "all.pcapng"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    std::fs::write(folder.path().join("joined.pcapng"), joined.concat()).unwrap();
    let page = said(folder.path(), "text", &["joined.pcapng"]);
    assert!(!page.contains("only REFUSED responses") && !page.contains(inferred), "{page}");
}

#[test]
fn what_was_dropped_is_known_to_whoever_reads_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let counts = |seen, read, interface_dropped| KernelCounts {
        seen,
        dropped: seen - read,
        read,
        interface_dropped,
        ..KernelCounts::default()
    };
    let (unknown, none) = (InterfaceLoss::Unknown, InterfaceLoss::Exactly(0));
    // The second interface stands for all, so that what the first dropped is among what it did.
    let cases = [
        (vec![counts(2, 2, none); 2], 0, "no packets lost, as this file records", "\"recorded_dropped\":0"),
        (
            vec![counts(9, 2, InterfaceLoss::Exactly(800)), counts(5, 0, InterfaceLoss::Exactly(1000))],
            0,
            "LOST 1,012 packets of any traffic, as this file records",
            "\"recorded_dropped\":1012",
        ),
        (vec![counts(2, 2, unknown); 2], 0, "no loss that is known", "\"recorded_dropped_at_least\":0"),
        (vec![counts(9, 2, none)], 3, "LOST at least 10 packets of any", "\"recorded_dropped_at_least\":10"),
        (vec![counts(9, 2, none); 2], 3, "LOST at least 14 packets", "\"recorded_dropped_at_least\":14"),
        (
            vec![counts(2, 2, none), counts(2, 2, InterfaceLoss::AtLeast(5))],
            0,
            "LOST at least 5 packets",
            "\"recorded_dropped_at_least\":5",
        ),
    ];
    for (kernel, given_up, page, json) in cases {
        let mut files = files(folder.path(), None, None);
        write_from(&mut files, &[message([10, 21, 5, 18], false), message([10, 21, 5, 18], true)], 0);
        files.state_losses(Timestamp(1), &kernel, given_up);
        files.finish().unwrap();
        let said = |format| said(folder.path(), format, &["packets.pcapng"]);
        assert!(said("text").contains(page), "{}", said("text"));
        assert!(said("json").contains(json), "{}", said("json"));
        std::fs::remove_file(folder.path().join("packets.pcapng")).unwrap();
    }
}

#[test]
fn a_recording_that_stops_says_so_at_once_and_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path(), Some(1000), None);
    let alarm = files.alarm();
    let told = || alarm.lock().unwrap().take();
    write(&mut files, &vec![vec![7; 60]; 5]);
    assert_eq!(told(), None);
    std::fs::write(folder.path().join("packets-00001.pcapng"), "of somebody else").unwrap();
    write(&mut files, &vec![vec![7; 60]; 40]);
    let said = told().unwrap();
    assert!(said.starts_with("the recording stopped, the capture goes on: error[E-OUT]"), "{said}");
    assert_eq!(told(), None, "once");
    let error = files.finish().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.detail.contains("at least") && !error.detail.contains("report"), "{error}");
}

#[test]
fn a_recording_needs_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let prepare = |write: PathBuf, output: PathBuf| {
        let mut config = Config { output: Some(output), ..Config::default() };
        config.live.write = Some(write);
        PacketFiles::prepare(&config, &[]).map(|_| ()).map_err(|error| error.exit_code())
    };
    assert_eq!(prepare(path("a"), path("./a")), Err(2));
    assert_eq!(prepare(path("a"), path("b")), Ok(()));
    assert_eq!(prepare("-".into(), path("b")), Err(2));
}
