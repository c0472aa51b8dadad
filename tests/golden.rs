//! Every recording in every format, for several thread counts and block sizes, byte for byte. The expected outputs are
//! beside the recordings (`captures/CASE/expected/`); `DNSREFUSED_BLESS=1` rewrites them, and the diff must then be
//! reviewed.
//!
//! Other tests, with other witnesses, show that the numbers are right; this one shows that they stay the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File name ending and arguments of each output kept.
const OUTPUTS: [(&str, &[&str]); 4] = [
    ("txt", &["--format", "text"]),
    ("json", &["--format", "json"]),
    ("csv", &["--format", "csv"]),
    ("jsonl", &["--format", "jsonl", "--all"]),
];

/// Captures of all cases, each alone.
fn recordings() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for case in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")).unwrap() {
        let case = case.unwrap().path();
        if case.is_dir() {
            let files = fs::read_dir(&case).unwrap().map(|file| file.unwrap().path());
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            found.extend(files.filter(|path| {
                let name = name(path);
                name.contains(".pcap") && !name.contains(".tsv")
            }));
        }
    }
    found.sort();
    assert!(found.len() > 20, "the recordings are there");
    found
}

/// The inventory that goes with a capture: of its address family where the case has one for each.
fn inventory(capture: &Path) -> Option<String> {
    let v6 = capture.file_stem().unwrap().to_string_lossy().contains("-v6");
    let names = if v6 { ["expect-v6.csv", "expect.csv"] } else { ["expect-v4.csv", "expect.csv"] };
    names.iter().find(|name| capture.with_file_name(name).exists()).map(ToString::to_string)
}

/// Runs in the case's folder, so that no path of this machine is in the output.
fn run(capture: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnsrefused"));
    command.current_dir(capture.parent().unwrap()).arg("read").arg(capture.file_name().unwrap());
    if let Some(inventory) = inventory(capture) {
        command.args(["--expect", &inventory]);
    }
    let output = command.args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}: {}", capture.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_recording_gives_what_it_gave() {
    let bless = std::env::var_os("DNSREFUSED_BLESS").is_some();
    for capture in recordings() {
        let folder = capture.with_file_name("expected");
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        for (ending, arguments) in OUTPUTS {
            let got = run(&capture, arguments);
            let expected = folder.join(format!("{name}.{ending}"));
            if bless {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&expected, &got).unwrap();
                continue;
            }
            let wanted = fs::read(&expected).unwrap_or_else(|_| panic!("{} is missing", expected.display()));
            if got != wanted {
                let (got, wanted) = (String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
                let line = got.lines().zip(wanted.lines()).position(|(got, wanted)| got != wanted).unwrap_or(0);
                let at = |text: &str| text.lines().nth(line).unwrap_or("").to_string();
                panic!("{} line {}:\n  wanted {}\n  got    {}", expected.display(), line + 1, at(&wanted), at(&got));
            }
        }
    }
}

#[test]
fn threads_and_block_sizes_never_show() {
    // The largest recordings, and one of each format.
    let wanted =
        ["tcp-session/server.pcap", "transfers/named.pcap", "seed-bind/router.pcap", "rotated/", "link-types/"];
    for capture in recordings() {
        let path = capture.to_string_lossy().into_owned();
        if !wanted.iter().any(|wanted| path.contains(wanted)) {
            continue;
        }
        for format in ["json", "csv"] {
            let one = run(&capture, &["--format", format, "--threads", "1"]);
            for threads in ["1", "2", "3", "8"] {
                for block_size in ["4096", "16384", "1048576"] {
                    let arguments = ["--format", format, "--threads", threads, "--block-size", block_size];
                    assert!(run(&capture, &arguments) == one, "{path}: {arguments:?}");
                }
            }
        }
    }
}
