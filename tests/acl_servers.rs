//! Compares the evaluators of server configurations with the real servers.
//!
//! `tests/acl_servers/grammar/` documents the configurations and questions that are generated; `lab.rs` asks the
//! servers, in a network namespace of the test's own; `captures/acl-vectors/` holds recorded answers, which are checked
//! on every machine. `DNSREFUSED_LAB=1` asks the servers again with other random numbers (as root, with `named` and
//! `unbound` installed); `DNSREFUSED_RECORD=1` also rewrites the vectors.

#[path = "acl_servers/damage.rs"]
mod damage;
#[path = "acl_servers/grammar/mod.rs"]
mod grammar;
#[path = "acl_servers/lab.rs"]
mod lab;

use dnsrefused::config::OwnServer;
use dnsrefused::expect::acl::{Acl, Cookie, Request, Word, name};
use dnsrefused::transact::in_flight::Transport;
use grammar::{Dialect, Question};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The server's addresses in every configuration that is made.
fn servers() -> Vec<OwnServer> {
    [("10.53.0.1", 24), ("10.53.0.2", 24), ("2001:db8:53::1", 64)]
        .iter()
        .map(|(address, length)| OwnServer { address: address.parse().expect("an address"), length: Some(*length) })
        .collect()
}

/// What the text says about a question.
fn predicted(acl: &Acl, question: &Question) -> (Word, String) {
    let qname = name::parse_name(&question.qname).expect("a name");
    let key = question.key.as_deref().and_then(name::parse_name);
    let request = Request {
        source: question.source,
        destination: question.destination,
        transport: if question.tcp { Transport::Tcp } else { Transport::Udp },
        opcode: question.opcode,
        qname: &qname,
        qtype: question.qtype,
        qclass: 1,
        rd: question.rd,
        key: key.as_deref(),
        cookie: Cookie::Absent,
        sections: [0, u16::from(question.qtype == 251), 0],
    };
    let (decision, steps) = acl.explain(&request);
    assert_eq!(decision, acl.decide(&request), "a trace changes nothing");
    let mut text = format!("{:?}", decision.reason);
    for step in steps {
        let rule = step.rule.map(|rule| acl.rule(rule).to_string()).unwrap_or_default();
        let _ = write!(text, "\n    {rule}: {}", step.says);
    }
    (decision.word, text)
}

fn load(dialect: Dialect, text: &str) -> Acl {
    Acl::from_text(dialect.argument(), text, &servers()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn vectors(dialect: Dialect) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/acl-vectors").join(format!("{}.txt", dialect.name()))
}

/// Checks answers against predictions; every question of the grammar must be decided.
fn compare(dialect: Dialect, text: &str, asked: &[(Question, Word)]) -> Vec<String> {
    let acl = load(dialect, text);
    let mut wrong = Vec::new();
    for (question, observed) in asked {
        let (word, why) = predicted(&acl, question);
        if word != *observed {
            wrong.push(format!("{question}: predicted {}, observed {} {why}", word.name(), observed.name()));
        }
    }
    wrong
}

#[test]
fn recorded_answers_of_the_servers_are_predicted() {
    for dialect in Dialect::ALL {
        let path = vectors(dialect);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut configurations, mut questions) = (0, 0);
        for part in text.split("=== ").skip(1) {
            let (_, rest) = part.split_once('\n').expect("a title");
            let (configuration, lines) = rest.split_once("--- questions\n").expect("questions");
            let asked: Vec<(Question, Word)> =
                lines.lines().map(|line| grammar::read_line(line).expect(line)).collect();
            let wrong = compare(dialect, configuration, &asked);
            assert!(wrong.is_empty(), "{}\n{configuration}", wrong.join("\n"));
            configurations += 1;
            questions += asked.len();
        }
        assert!(configurations >= 20 && questions >= 1000, "{}: {configurations}, {questions}", path.display());
    }
}

/// Configurations written by hand and recorded with tcpdump (`captures/acl-vectors/*/`): every decided verdict of
/// `read` is what the wire did.
#[test]
fn recorded_conversations_are_what_the_files_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/acl-vectors");
    let mut rows = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if !entry.is_dir() {
            continue;
        }
        let bind = entry.join("named.conf").exists();
        let acl = if bind { "bind-9.18:named.conf" } else { "unbound-1.17:unbound.conf" };
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = ["10.53.0.1/24", "10.53.0.2/24", "10.77.0.1/24", "2001:db8:53::1/64"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_dnsrefused"))
            .args(["read", "server.pcap.zst", "--acl", acl, "--all", "--format", "jsonl"])
            .args(own.iter().flat_map(|server| ["--server", server]))
            .current_dir(&entry)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row");
            // The server asks others, too.
            if !own.iter().any(|server| server.split('/').next() == row["server"].as_str()) {
                continue;
            }
            let seen = match (row["outcome"].as_str(), row["rcode"].as_str()) {
                (Some("refused"), _) => "refuse",
                (Some("denied"), Some("NOTAUTH")) => "notauth",
                // A zone that never loaded says so before anybody is turned away.
                (Some("answered"), Some("SERVFAIL")) if row["verdict"] != "allow" => continue,
                (Some("answered"), _) => "allow",
                _ => "drop",
            };
            assert_eq!(row["verdict"], seen, "{name}: {line}");
            rows += 1;
        }
    }
    assert!(rows > 5000, "{rows} rows");
}

#[test]
fn the_servers_do_what_is_predicted() {
    if std::env::var_os("DNSREFUSED_LAB").is_none() {
        println!("skipped: DNSREFUSED_LAB is not set");
        return;
    }
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let record = std::env::var_os("DNSREFUSED_RECORD").is_some();
    let seed = number("DNSREFUSED_SEED", if record { 1 } else { u64::from(std::process::id()) });
    let configurations = number("DNSREFUSED_CONFIGURATIONS", 40);
    println!("DNSREFUSED_SEED={seed}");
    let Some(lab) = lab::Lab::enter() else { return };
    let mut wrong = Vec::new();
    for dialect in Dialect::ALL {
        let mut random = grammar::Random::new(seed);
        let mut recorded = String::new();
        let mut count = 0;
        for index in 0..configurations {
            let text = grammar::configuration(dialect, &mut random);
            let questions = grammar::questions(dialect, &mut random);
            let acl = load(dialect, &text);
            let predictions: Vec<Word> = questions.iter().map(|question| predicted(&acl, question).0).collect();
            let Some(answers) = lab.ask(dialect, &text, &questions, &predictions) else {
                wrong.push(format!("{} does not load:\n{text}", dialect.name()));
                continue;
            };
            let asked: Vec<(Question, Word)> = questions.into_iter().zip(answers).collect();
            let failed = compare(dialect, &text, &asked);
            if !failed.is_empty() {
                wrong.push(format!("{}\n{text}", failed.join("\n")));
            }
            count += asked.len();
            let _ = writeln!(recorded, "=== {} {index}", dialect.name());
            recorded += &text;
            recorded += "--- questions\n";
            for (question, word) in &asked {
                let _ = writeln!(recorded, "{question} -> {}", word.name());
            }
        }
        println!("{}: {count} questions to {configurations} configurations", dialect.name());
        if record {
            std::fs::write(vectors(dialect), recorded).expect("the vectors are written");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} configurations differ\n{}",
        wrong.len(),
        wrong.iter().take(3).cloned().collect::<Vec<_>>().join("\n\n")
    );
}
