//! The whole program against generated captures with known truth, beside the peers installed on this machine.
//!
//! ```text
//! cargo bench --bench end_to_end -- [--packets N] [--runs N] [--keep DIR] [--only pure,mixed,compressed,determinism]
//! cargo bench --bench end_to_end -- generate FILE [--packets N] [--dns SHARE] [--vlan SHARE] [--cooked] [--seed N]
//!                                   [--pcapng] [--nanoseconds]
//! ```
//!
//! Every job is `dnsrefused read FILE --expect INVENTORY --format csv -o OUT`: each refused transaction as a row with
//! its restored question, and each client judged by the inventory. The output of every run is compared with the truth
//! that the generator counted, and so is a report in JSON; a difference ends the benchmark with exit code 1. Commands
//! are run in turn, so that all of them see the same weather, and medians are printed. Processor time and peak memory
//! are the kernel's account of that one process.
//!
//! Without `--bench` (as `cargo test --benches` starts it) it only compares one small capture with its truth.

mod check;
mod generator;
mod measure;

use check::Differences;
use generator::file::Format;
use generator::truth::Truth;
use generator::{Plan, generate};
use measure::Usage;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The program under test.
const DNSREFUSED: &str = env!("CARGO_BIN_EXE_dnsrefused");

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let as_benchmark = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| argument != "--bench");
    let done = match arguments.first().map(String::as_str) {
        Some("measure") => measure::run_alone(&arguments[1..]).map(|()| true),
        Some("decode") => decode_to_nothing(Path::new(&arguments[1])).map(|()| true),
        Some("generate") => generate_file(&arguments[1..]).map(|()| true),
        None if !as_benchmark => Options::small().and_then(|options| options.run()),
        _ => Options::read(&arguments).and_then(|options| options.run()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("end_to_end: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `generate`: writes the capture, and beside it the truth as `.truth.json` and the inventory as `.inventory.csv`.
fn generate_file(arguments: &[String]) -> io::Result<()> {
    let mut plan = Plan::default();
    let mut file = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || rest.next().and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| usage(argument));
        match argument.as_str() {
            "--packets" => plan.packets = number()? as u64,
            "--dns" => plan.dns = number()?,
            "--vlan" => plan.vlan = number()?,
            "--seed" => plan.seed = number()? as u64,
            "--clients" => plan.clients = number()? as usize,
            "--cooked" => plan.cooked = true,
            "--pcapng" => plan.format = Format::Pcapng,
            "--nanoseconds" => plan.nanoseconds = true,
            name if !name.starts_with('-') => file = Some(name),
            _ => return Err(usage(argument)),
        }
    }
    let file = file.ok_or_else(|| usage("FILE"))?;
    let capture = Capture::make(&plan, Path::new(file))?;
    println!("{}: {}", capture.path(), serde_json::to_string_pretty(&capture.truth)?);
    Ok(())
}

fn usage(argument: &str) -> io::Error {
    io::Error::other(format!("missing or bad: {argument}"))
}

/// A generated capture on disk.
struct Capture {
    path: PathBuf,
    inventory: PathBuf,
    truth: Truth,
}

impl Capture {
    /// Writes the capture of a plan, its truth and its inventory. Then waits until the disk has them and reads the
    /// capture once, because neither writing back nor the first touch of the cached pages may count for whoever is
    /// measured first.
    fn make(plan: &Plan, path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let generated = generate(plan, BufWriter::with_capacity(1 << 20, &file))?;
        file.sync_all()?;
        io::copy(&mut BufReader::with_capacity(1 << 20, File::open(path)?), &mut io::sink())?;
        let inventory = path.with_extension("inventory.csv");
        std::fs::write(path.with_extension("truth.json"), serde_json::to_vec_pretty(&generated.truth)?)?;
        std::fs::write(&inventory, &generated.inventory)?;
        Ok(Self { path: path.to_path_buf(), inventory, truth: generated.truth })
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

/// What the benchmark was asked to do.
struct Options {
    packets: u64,
    runs: usize,
    keep: Option<PathBuf>,
    only: Vec<String>,
}

/// A command that is measured.
struct Contender {
    name: String,
    command: Vec<String>,
    /// What it computes, for the table.
    computes: &'static str,
    /// Where it writes rows to compare with the truth.
    rows: Option<PathBuf>,
    usages: Vec<Usage>,
}

impl Contender {
    fn new(name: &str, command: &[&str], computes: &'static str) -> Self {
        let command = command.iter().map(ToString::to_string).collect();
        Self { name: name.to_string(), command, computes, rows: None, usages: Vec::new() }
    }

    /// Our own full job on a file.
    fn ours(file: &str, capture: &Capture, threads: u32, rows: PathBuf) -> Self {
        let threads_text = threads.to_string();
        let (inventory, out) = (capture.inventory.display().to_string(), rows.display().to_string());
        let command = [
            DNSREFUSED,
            "read",
            file,
            "--expect",
            &inventory,
            "--format",
            "csv",
            "-o",
            &out,
            "--threads",
            &threads_text,
        ];
        let name = if threads == 1 { "dnsrefused, 1 thread".into() } else { format!("dnsrefused, {threads} threads") };
        Self { rows: Some(rows), ..Self::new(&name, &command, "row per refusal, pairing, restored question, verdict") }
    }
}

impl Options {
    fn read(arguments: &[String]) -> io::Result<Self> {
        let mut options = Self { packets: 1_000_000, runs: 5, keep: None, only: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let value = rest.next().ok_or_else(|| usage(argument))?;
            match argument.as_str() {
                "--packets" => options.packets = value.parse().map_err(|_| usage(argument))?,
                "--runs" => options.runs = value.parse::<usize>().map_err(|_| usage(argument))?.max(1),
                "--keep" => options.keep = Some(PathBuf::from(value)),
                "--only" => options.only = value.split(',').map(String::from).collect(),
                _ => return Err(usage(argument)),
            }
        }
        Ok(options)
    }

    /// The quick comparison with the truth that is no benchmark.
    fn small() -> io::Result<Self> {
        Self::read(&["--packets", "20000", "--runs", "1", "--only", "determinism"].map(String::from))
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }

    /// Runs the wanted parts; false when an output differed from the truth.
    fn run(&self) -> io::Result<bool> {
        let temporary = tempfile::tempdir()?;
        let folder = self.keep.as_deref().unwrap_or(temporary.path());
        std::fs::create_dir_all(folder)?;
        let mut right = true;
        if self.wants("pure") || self.wants("compressed") {
            let plan = Plan { packets: self.packets, ..Plan::default() };
            let pure = Capture::make(&plan, &folder.join("pure.pcap"))?;
            if self.wants("pure") {
                right &= self.compare_with_peers("only DNS", &pure, folder)?;
            }
            if self.wants("compressed") {
                right &= self.compressed(&pure, folder)?;
            }
        }
        if self.wants("mixed") {
            let plan = Plan { packets: self.packets, dns: 0.1, ..Plan::default() };
            let mixed = Capture::make(&plan, &folder.join("mixed.pcap"))?;
            right &= self.compare_with_peers("90 % other traffic", &mixed, folder)?;
        }
        if self.wants("determinism") {
            right &= self.determinism(folder)?;
        }
        println!("\n{}", if right { "Every output agrees with the truth." } else { "FAILED: see above." });
        Ok(right)
    }

    /// Our program with one and two threads beside every peer that is installed.
    fn compare_with_peers(&self, title: &str, capture: &Capture, folder: &Path) -> io::Result<bool> {
        let file = capture.path();
        let mut contenders = vec![
            Contender::new("cat", &["cat", &file], "nothing: reading the page cache"),
            Contender::new("tcpdump -w /dev/null", &["tcpdump", "-nr", &file, "-w", "/dev/null"], "copies packets"),
            Contender::new(
                "dnscap -s r -e r",
                &["dnscap", "-r", &file, "-s", "r", "-e", "r", "-w", "-"],
                "filters refusals, UDP only",
            ),
            Contender::new("dnstop -R -f refused", &["dnstop", "-R", "-f", "refused", &file], "top refused, UDP only"),
        ];
        contenders.retain(|contender| measure::installed(&contender.command[0]));
        contenders.push(Contender::ours(&file, capture, 1, folder.join("rows-1.csv")));
        contenders.push(Contender::ours(&file, capture, 2, folder.join("rows-2.csv")));
        println!("\n## {title}: {} packets, {} bytes\n", capture.truth.packets, capture.truth.file_bytes);
        let mut right = self.take_turns(&mut contenders, &capture.truth)?;
        print_table(&contenders, capture.truth.packets);
        if title == "only DNS" {
            right &= self.slow_peer(folder)?;
        }
        let report = folder.join("report.json");
        Ok(right & check_report(&file, capture, &report, &[])?)
    }

    /// tshark needs minutes for what the others do in a second: one run on a tenth, at most a million packets.
    fn slow_peer(&self, folder: &Path) -> io::Result<bool> {
        if !measure::installed("tshark") {
            return Ok(true);
        }
        let plan = Plan { packets: (self.packets / 10).clamp(1, 1_000_000), ..Plan::default() };
        let capture = Capture::make(&plan, &folder.join("tenth.pcap"))?;
        let file = capture.path();
        let mut tshark = vec!["tshark", "-nr", &file, "-Y", "dns.flags.rcode==5", "-T", "fields"];
        for field in ["frame.time_epoch", "ip.dst", "ipv6.dst", "dns.qry.name", "dns.time"] {
            tshark.extend(["-e", field]);
        }
        let mut contenders = vec![
            Contender::new(
                "tshark -Y dns.flags.rcode==5",
                &tshark,
                "record per refusal, pairing; no question restored",
            ),
            Contender::ours(&file, &capture, 1, folder.join("rows-1.csv")),
        ];
        println!("\n{} packets, one run:\n", capture.truth.packets);
        let right = Self { runs: 1, keep: None, only: Vec::new(), packets: self.packets }
            .take_turns(&mut contenders, &capture.truth)?;
        print_table(&contenders, capture.truth.packets);
        Ok(right)
    }

    /// Compressed captures, beside the same library decoding them to nothing.
    fn compressed(&self, capture: &Capture, folder: &Path) -> io::Result<bool> {
        let mut right = true;
        let myself = std::env::current_exe()?.display().to_string();
        for ending in ["zst", "gz", "lz4"] {
            let file = folder.join(format!("pure.pcap.{ending}"));
            compress(&capture.path, &file)?;
            let length = file.metadata()?.len();
            let name = file.display().to_string();
            let mut contenders = vec![
                Contender::new("the library alone", &[&myself, "decode", &name], "decodes to nothing"),
                Contender::ours(&name, capture, 1, folder.join("rows-1.csv")),
                Contender::ours(&name, capture, 2, folder.join("rows-2.csv")),
            ];
            println!("\n## .{ending}: {} packets, {length} bytes\n", capture.truth.packets);
            right &= self.take_turns(&mut contenders, &capture.truth)?;
            print_table(&contenders, capture.truth.packets);
        }
        Ok(right)
    }

    /// One answer, byte for byte, for any number of threads and any block size.
    fn determinism(&self, folder: &Path) -> io::Result<bool> {
        let mut right = true;
        let block_sizes: &[&str] =
            if has_option("--block-size")? { &["4096", "65536", "524288", "4194304"] } else { &[] };
        println!("\n## One answer for every number of threads and block size\n");
        for (name, format, cooked) in [
            ("small.pcap", Format::Pcap, false),
            ("small.pcapng", Format::Pcapng, false),
            ("cooked.pcap", Format::Pcap, true),
        ] {
            let packets = self.packets.min(200_000);
            let plan = Plan { packets, dns: 0.7, vlan: 0.1, cooked, format, ..Plan::default() };
            let capture = Capture::make(&plan, &folder.join(name))?;
            let mut answers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut count = 0;
            for threads in ["1", "2", "3", "8"] {
                for block_size in std::iter::once(None).chain(block_sizes.iter().map(Some)) {
                    let mut more = vec!["--threads", threads];
                    if let Some(size) = block_size {
                        more.extend(["--block-size", size]);
                    }
                    let (rows, report) = (folder.join("small.csv"), folder.join("small.json"));
                    run_read(&capture.path(), &capture, "csv", &rows, &more)?;
                    run_read(&capture.path(), &capture, "json", &report, &more)?;
                    if answers.is_empty() {
                        right &= tell(&check::rows(&rows, &capture.truth)?);
                        right &= tell(&check::report(&report, &capture.truth)?);
                    }
                    let answer = (std::fs::read(&rows)?, std::fs::read(&report)?);
                    count += 1;
                    if !answers.contains(&answer) {
                        println!("{name}: new answer at {}", more.join(" "));
                        answers.push(answer);
                    }
                }
            }
            println!("{name}: {count} runs, {} answer(s)", answers.len());
            right &= answers.len() == 1;
        }
        Ok(right)
    }

    /// Measures all contenders in turn, as often as asked, and compares our rows of each run with the truth.
    fn take_turns(&self, contenders: &mut [Contender], truth: &Truth) -> io::Result<bool> {
        let mut right = true;
        for _ in 0..self.runs {
            for contender in &mut *contenders {
                if let Some(rows) = &contender.rows {
                    let _ = std::fs::remove_file(rows);
                }
                let usage = measure::run(&contender.command)?;
                if usage.code != Some(0) {
                    println!("{} ended with {:?}", contender.command.join(" "), usage.code);
                    right &= contender.rows.is_none();
                }
                if let Some(rows) = &contender.rows {
                    right &= tell(&check::rows(rows, truth)?);
                }
                contender.usages.push(usage);
            }
        }
        Ok(right)
    }
}

/// Prints differences; true when there are none.
fn tell(differences: &Differences) -> bool {
    for sentence in differences.sentences() {
        println!("WRONG: {sentence}");
    }
    differences.sentences().is_empty()
}

/// Runs our program once, without measuring.
fn run_read(file: &str, capture: &Capture, format: &str, out: &Path, more: &[&str]) -> io::Result<()> {
    let _ = std::fs::remove_file(out);
    let status = Command::new(DNSREFUSED)
        .args(["read", file, "--format", format, "--expect"])
        .arg(&capture.inventory)
        .arg("-o")
        .arg(out)
        .args(more)
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("dnsrefused read {file} ended with {status}"))) }
}

/// Runs our program for a report and compares it with the truth.
fn check_report(file: &str, capture: &Capture, report: &Path, more: &[&str]) -> io::Result<bool> {
    run_read(file, capture, "json", report, more)?;
    Ok(tell(&check::report(report, &capture.truth)?))
}

/// Whether our program knows an option, hidden ones included.
fn has_option(option: &str) -> io::Result<bool> {
    let output = Command::new(DNSREFUSED).args(["read", option, "65536", "/nonexistent"]).output()?;
    Ok(!String::from_utf8_lossy(&output.stderr).contains("unexpected argument"))
}

/// Prints medians over the runs, and ratios of processor time paired by run.
fn print_table(contenders: &[Contender], packets: u64) {
    let find = |start: &str| contenders.iter().find(|contender| contender.name.starts_with(start));
    let bases = [("cat", find("cat")), ("tcpdump", find("tcpdump")), ("library", find("the library"))];
    let bases: Vec<_> = bases.iter().filter_map(|(name, base)| base.map(|base| (name, base))).collect();
    print!("| what | M packets/s | CPU ns/packet (best) | peak MiB |");
    for (name, _) in &bases {
        print!(" CPU / {name} | wall / {name} |");
    }
    println!(" computes |\n|---|---|---|---|{}---|", "---|---|".repeat(bases.len()));
    for contender in contenders {
        let of = |value: &dyn Fn(&Usage) -> f64| contender.usages.iter().map(value).collect::<Vec<f64>>();
        let speeds = of(&|usage| packets as f64 / usage.wall / 1e6);
        let costs = of(&|usage| usage.cpu() * 1e9 / packets as f64);
        let best = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let peak = of(&|usage| usage.peak).into_iter().fold(0.0, f64::max);
        print!("| {} | {:.2} | {:.0} ({best:.0}) | {peak:.1} |", contender.name, median(speeds), median(costs));
        for (_, base) in &bases {
            let ratio = |value: &dyn Fn(&Usage) -> f64| {
                let pairs = contender.usages.iter().zip(&base.usages);
                median(pairs.map(|(own, other)| value(own) / value(other).max(1e-9)).collect())
            };
            print!(" {:.2} | {:.2} |", ratio(&Usage::cpu), ratio(&|usage| usage.wall));
        }
        println!(" {} |", contender.computes);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Compresses a file in the format of the target's ending.
fn compress(source: &Path, target: &Path) -> io::Result<()> {
    let mut source = File::open(source)?;
    let out = File::create(target)?;
    match target.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => {
            let mut encoder = flate2::write::GzEncoder::new(BufWriter::new(out), flate2::Compression::new(6));
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?.flush()
        }
        Some("lz4") => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(BufWriter::new(out));
            io::copy(&mut source, &mut encoder)?;
            encoder.finish().map_err(io::Error::other)?.flush()
        }
        _ => zstd::stream::copy_encode(source, out, 3),
    }
}

/// Decompresses a file and throws the bytes away.
fn decode_to_nothing(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let mut decoder: Box<dyn io::Read> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(128 << 10, file))),
        Some("lz4") => Box::new(lz4_flex::frame::FrameDecoder::new(file)),
        _ => Box::new(zstd::stream::Decoder::new(file)?),
    };
    let mut buffer = vec![0; 512 << 10];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(())
}
