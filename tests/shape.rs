//! The architecture as tests: clock, threads, channels, `DashMap`, clap and `unsafe` stay in the files they belong to,
//! a stage uses only stages before it on the data's path, and files and comments keep to a readable size.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file under a folder.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} has Rust files");
    files
}

/// Path below the project, with `/`.
fn name(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_string_lossy().into_owned()
}

/// The code of a file before its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    // Single items and files for tests stand among the others.
    let mut tests = text.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at);
    let end = tests.find(|at| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{')));
    text[..end.unwrap_or(text.len())]
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Fails for files whose code holds one of `words`, unless the file's name begins with one of `homes`.
fn only_in(words: &[&str], homes: &[&str]) {
    for path in rust_files("src") {
        let name = name(&path);
        if homes.iter().any(|home| name.starts_with(home)) {
            continue;
        }
        let code = code(&path);
        for word in words {
            assert!(!code.contains(word), "{name} holds {word}, which belongs to {homes:?}");
        }
    }
}

#[test]
fn the_clock_is_read_only_where_captures_are_made() {
    only_in(&["SystemTime", "Instant"], &["src/capture/", "src/watch/", "src/pipeline/"]);
}

#[test]
fn threads_and_channels_live_in_the_pipeline() {
    only_in(
        &["thread::scope", "thread::spawn", "thread::Builder", "crossbeam_channel", "Condvar", "mpsc"],
        // Rows are folded by several threads at once; a test does so, too.
        &["src/pipeline/", "src/sources/tests.rs"],
    );
}

#[test]
fn dashmap_lives_in_sources_and_clap_in_cli() {
    only_in(&["dashmap"], &["src/sources/mod.rs"]);
    only_in(&["clap"], &["src/cli/"]);
}

#[test]
fn what_a_running_capture_is_shown_and_confined_with_stays_beside_it() {
    only_in(&["ratatui"], &["src/watch/screen/"]);
    only_in(&["prometheus_client", "TcpListener"], &["src/watch/metrics/", "src/live/", "src/pipeline/"]);
    only_in(&["landlock::", "seccompiler"], &["src/watch/sandbox/"]);
}

#[test]
fn unsafe_code_is_in_one_small_file() {
    let home = "src/capture/packet_socket.rs";
    only_in(&["unsafe ", "allow(unsafe_code"], &[home]);
    let lines = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(home)).unwrap().lines().count();
    assert!(lines < 200, "{lines} lines");
}

#[test]
fn standard_output_is_written_through_checked_writers() {
    only_in(&["println!", "print!(", "eprintln!", "eprint!(", "dbg!"], &[]);
}

#[test]
fn arrows_point_backwards_along_the_path() {
    // Each stage may use itself and those before it.
    let stages = ["capture", "decode", "transact", "expect", "diagnose", "report", "watch"];
    let beside = ["config", "error", "sources"];
    // The filter names link types for the operator; rows, source lines and the like are values of later stages' input.
    let known = [("capture", "decode")];
    for (place, stage) in stages.iter().enumerate() {
        for path in rust_files(&format!("src/{stage}")) {
            let code = code(&path);
            for later in &stages[place + 1..] {
                if known.contains(&(*stage, *later)) {
                    continue;
                }
                let arrow = format!("crate::{later}");
                // Diagnoses read the report's model, which is defined beside the formats that print it.
                if (*stage, *later) == ("diagnose", "report") {
                    continue;
                }
                assert!(!code.contains(&arrow), "{} points forward to {later}", name(&path));
            }
            for front in ["cli", "run", "live", "acl_command", "pipeline"] {
                let arrow = format!("crate::{front}::");
                let builds_from_results = name(&path) == "src/report/build.rs" && front == "pipeline";
                assert!(builds_from_results || !code.contains(&arrow), "{} points forward to {front}", name(&path));
            }
        }
    }
    for path in rust_files("src") {
        let name = name(&path);
        if beside.iter().any(|beside| name == format!("src/{beside}.rs") || name.starts_with(&format!("src/{beside}/")))
        {
            let code = code(&path);
            assert!(!code.contains("crate::report") && !code.contains("crate::transact"), "{name} points forward");
        }
    }
}

#[test]
fn comments_keep_within_120_columns() {
    for path in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            assert!(!is_comment || line.chars().count() <= 120, "{}:{number} is too long", name(&path));
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    for path in rust_files("src") {
        let lines = code(&path).lines().count();
        assert!(lines <= 520, "{}: {lines} lines before its tests", name(&path));
    }
}

#[test]
fn the_top_level_holds_nothing_else() {
    let allowed = ["Cargo.toml", "Cargo.lock", "src", "benches", "captures", "tests", "README.md", "target"];
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} has no place at the top level");
    }
}
