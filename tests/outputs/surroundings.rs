//! The environment of a run: descriptors, threads, variables and arguments.

use super::*;

#[test]
fn more_inputs_than_descriptors_are_read_or_refused_as_a_whole() {
    let folder = folder(3);
    let names: Vec<String> = (0..100).map(|index| format!("copy{index}.pcap")).collect();
    for name in &names {
        fs::copy(folder.path().join("input.pcap"), folder.path().join(name)).expect("a copy");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = read_under(folder.path(), "ulimit -n 64; exec \"$0\" \"$@\"", &names);
    match run.code {
        Some(0) => assert_eq!(run.error_lines().len(), 0, "{}", run.complaint()),
        Some(1) => assert_eq!(run.error_lines().len(), 1, "{}", run.complaint()),
        code => panic!(
            "exit {code:?}, {} error lines, the first of them: {:?}",
            run.error_lines().len(),
            run.error_lines().first()
        ),
    }
}

#[test]
fn without_threads_to_be_had_it_reads_or_refuses() {
    let folder = folder(3);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the mode is set");
    // The limit does not hold for root, so the program runs as nobody.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=1", PROGRAM]);
    command.args(["read", "input.pcap", "--threads", "8", "--format", "json"]);
    if !Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return println!("skipped: setpriv is not installed");
    }
    let run = run_command(folder.path(), command, None);
    if matches!(run.code, Some(126 | 127)) || run.complaint().starts_with("setpriv") {
        return println!("skipped: the program cannot be run as nobody: {}", run.complaint().trim());
    }
    assert!(matches!(run.code, Some(0 | 1)), "exit {:?}: {}", run.code, run.complaint());
    assert_eq!(run.error_lines().len(), usize::from(run.code == Some(1)), "{}", run.complaint());
}

#[test]
fn a_hostile_environment_changes_nothing() {
    let folder = folder(30);
    let usual = read(folder.path(), &[]);
    for line in [
        "LANG=C LC_ALL=C exec \"$0\" \"$@\"",
        "TERM=dumb exec \"$0\" \"$@\"",
        "TERM= HOME= PATH= TZ=Asia/Tokyo exec \"$0\" \"$@\"",
        "COLUMNS=1 LINES=1 TMPDIR=/nonexistent exec \"$0\" \"$@\"",
        "RUST_BACKTRACE=full RUST_LOG=trace exec \"$0\" \"$@\"",
        "exec env -i \"$0\" \"$@\"",
    ] {
        let run = read_under(folder.path(), line, &[]);
        assert_eq!((run.code, &run.stdout), (usual.code, &usual.stdout), "{line}: {}", run.complaint());
    }
}

#[test]
fn hostile_arguments_are_one_clear_line() {
    let folder = folder(3);
    let long = "x".repeat(100_000);
    for arguments in [
        vec!["--format", "\u{1b}[2J\nfake"],
        vec!["--port", "65536"],
        vec!["--port", "-1"],
        vec!["--timeout", "99999999999999999999h"],
        vec!["--timeout", "-1s"],
        vec!["--from", "\u{202e}"],
        vec!["--no-such-option"],
        vec!["--threads", "0"],
        vec!["--threads", "99999999999999999999"],
        vec!["--client", "10.0.0.0/33"],
        vec!["--format", &long],
    ] {
        let run = read(folder.path(), &arguments);
        let shown: String = arguments.join(" ").chars().take(60).collect();
        assert_eq!(run.code, Some(2), "{shown}: {}", run.complaint());
        assert_eq!(text_faults("stderr", &run.stderr), [] as [String; 0], "{shown}");
        assert!(!run.complaint().contains("panicked"), "{shown}: {}", run.complaint());
        assert!(run.stdout.is_empty(), "{shown}");
    }
}
