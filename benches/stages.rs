//! Processor time of each stage on one thread, on a generated capture: where the time of a run goes.
//!
//! ```text
//! cargo bench --bench stages -- [--packets N] [--runs N] [--dns SHARE] [--file CAPTURE]
//! ```
//!
//! Every pass reads the same file and does one stage more than the pass before; the difference is the stage. Time is
//! the kernel's account of processor time, because that is not disturbed when others use the machine. Medians and the
//! least of all runs are printed, in nanoseconds per packet.

#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod generator;

use dnsrefused::capture::open::{Source, open, read_at_most};
use dnsrefused::capture::{Block, Frame, Walk};
use dnsrefused::config::{Limits, Outcomes};
use dnsrefused::decode::key::Key;
use dnsrefused::decode::{Decoded, Decoder};
use dnsrefused::expect::inventory::Inventory;
use dnsrefused::sources::Sources;
use dnsrefused::transact::pairs::{Judged, Pairs};
use dnsrefused::transact::{Settings, Tracker};
use generator::{Plan, generate};
use nix::sys::resource::{UsageWho, getrusage};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` starts it without `--bench`: then a small capture shows that it runs.
    let small = !arguments.iter().any(|argument| argument == "--bench");
    let mut plan = Plan { packets: if small { 20_000 } else { 1_000_000 }, ..Plan::default() };
    let mut runs = if small { 1 } else { 7 };
    let mut given = None;
    let mut rest = arguments.iter().filter(|argument| *argument != "--bench");
    while let Some(argument) = rest.next() {
        let bad = || io::Error::other(format!("missing or bad: {argument}"));
        let value = rest.next().ok_or_else(bad)?;
        match argument.as_str() {
            "--packets" => plan.packets = value.parse().map_err(|_| bad())?,
            "--dns" => plan.dns = value.parse().map_err(|_| bad())?,
            "--runs" => runs = value.parse().map_err(|_| bad())?,
            "--file" => given = Some(PathBuf::from(value)),
            _ => return Err(bad()),
        }
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("stages.pcap");
    let inventory = if let Some(given) = &given {
        Inventory::from_text("none", &std::fs::read_to_string(given.with_extension("inventory.csv"))?)
    } else {
        let generated = generate(&plan, BufWriter::with_capacity(1 << 20, File::create(&path)?))?;
        Inventory::from_text("inventory.csv", &generated.inventory)
    };
    let inventory = inventory.map_err(io::Error::other)?;
    let path = given.unwrap_or(path);

    let mut packets: u64 = 0;
    let mut lines: Vec<(&str, Vec<f64>)> = Depth::ALL.iter().map(|(_, name)| (*name, Vec::new())).collect();
    for _ in 0..=runs {
        for ((depth, _), (_, times)) in Depth::ALL.iter().zip(&mut lines) {
            let begun = processor_seconds()?;
            let found = pass(&path, *depth, &inventory)?;
            times.push((processor_seconds()? - begun) * 1e9);
            packets = packets.max(found);
        }
    }
    println!("{packets} packets, {runs} runs\n\n| up to | ns/packet (least) | stage alone |\n|---|---|---|");
    let mut before = 0.0;
    for (name, mut times) in lines {
        // The first round warms the page cache.
        times.remove(0);
        times.sort_by(f64::total_cmp);
        let (median, least) = (times[times.len() / 2] / packets as f64, times[0] / packets as f64);
        println!("| {name} | {median:.1} ({least:.1}) | {:.1} |", median - before);
        before = median;
    }
    Ok(())
}

/// How far a pass goes.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Depth {
    Read,
    Walk,
    Decode,
    Track,
}

impl Depth {
    const ALL: [(Depth, &'static str); 4] = [
        (Depth::Read, "read blocks"),
        (Depth::Walk, "walk records"),
        (Depth::Decode, "decode link to question"),
        (Depth::Track, "track transactions"),
    ];
}

/// Reads the whole file as one worker would, up to `depth`; returns the number of packets it met.
fn pass(path: &Path, depth: Depth, inventory: &Inventory) -> io::Result<u64> {
    let limits = Limits::default();
    let input = open(path, &limits, &Arc::default()).map_err(io::Error::other)?;
    let Source::Plain { file, size } = &input.source else { return Err(io::Error::other("not a plain file")) };
    let decoder = Decoder {
        key: Key::random(),
        ports: dnsrefused::decode::Ports::new(vec![53]),
        vlan_tags: limits.vlan_tags,
        extension_headers: limits.extension_headers,
        nested_headers: limits.nested_headers,
    };
    let sources = Sources::new(limits.answered_rows, limits.silent_rows, limits.finding_frames);
    let judge = Box::new(|address| Judged { listed: inventory.decide(address).row().is_some(), answers_wanted: false });
    let mut reported = 0_u64;
    let settings =
        Settings { timeout: 5_000_000_000, vantage: None, filtered: false, rows: Outcomes::default(), limits: &limits };
    let mut tracker = Tracker::new(&decoder, settings, Pairs::new(&sources, judge), Box::new(|_| reported += 1));
    let mut context = Arc::clone(&input.context);
    let mut block = Block { offset: input.start, ..Block::default() };
    let mut decoded = Decoded::default();
    let mut packets = 0;
    // As much beyond the block as completes the largest packet that is generated.
    let ahead = 64 << 10;
    while block.offset < *size {
        block.data.resize(limits.block_bytes + ahead, 0);
        let (have, error) = read_at_most(file, &mut block.data, block.offset);
        if let Some(error) = error {
            return Err(error);
        }
        block.data.truncate(have);
        block.at_end = block.offset + have as u64 >= *size;
        block.limit = have.min(limits.block_bytes);
        if depth == Depth::Read {
            block.offset += block.limit as u64;
            continue;
        }
        let mut walk = Walk::default();
        decoded.clear();
        if depth == Depth::Walk {
            input.reader.walk(&block, 0, &mut context, &mut walk, &mut |frame: Frame<'_>| {
                packets += 1;
                black_box(frame.data.len());
            });
        } else {
            input
                .reader
                .walk(&block, 0, &mut context, &mut walk, &mut |frame: Frame<'_>| decoder.frame(&frame, &mut decoded));
            if depth >= Depth::Track {
                tracker.take(0, packets + 1, &block.data, &decoded.entries);
            }
            packets += u64::from(decoded.frames);
        }
        if let Some(stop) = walk.stop {
            return Err(io::Error::other(format!("the walk stopped: {stop:?}")));
        }
        block.offset += walk.end as u64;
    }
    tracker.finish(None);
    Ok(packets)
}

/// Processor seconds of this process so far.
fn processor_seconds() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
