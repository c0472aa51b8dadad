//! One case of the lab: runs the program on each of its recordings, and compares the result with the witnesses beside
//! it.
//!
//! A check returns sentences about differences, none when all is well, so that one run shows everything at once.
//! Nothing here knows a case by name: what is checked follows from the files that are present.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::table::{self, Row, cell};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_dnsrefused");

/// A recording: one file, or several that are parts of one, with its truth.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Name of the file, or of the `.set` that lists the parts.
    pub name: String,
    /// Folder of the case.
    pub folder: PathBuf,
    /// The files to read, in order, as names in the folder.
    pub files: Vec<String>,
    /// What tshark says, one row for each client, server and transport.
    pub truth: Vec<Row>,
}

/// Who asked whom over what: the key of a truth.
type Pair = (String, String, String);

/// Numbers of one key: transactions, refused, unanswered, connections rejected unseen, refusals without a question.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    transactions: u64,
    refused: u64,
    unanswered: u64,
    rejected: u64,
    restored: u64,
}

/// Every recording below `folder`, which holds the cases; sorted, so that a run is the same everywhere.
pub fn recordings(folder: &Path) -> Result<Vec<Recording>, String> {
    let mut found = Vec::new();
    for case in names(folder)? {
        let case = folder.join(case);
        if !case.is_dir() {
            continue;
        }
        for file in names(&case)? {
            let Some(name) = file.strip_suffix(".truth.tsv") else { continue };
            let files = if Path::new(name).extension().is_some_and(|kind| kind == "set") {
                let list = std::fs::read_to_string(case.join(name)).map_err(|error| format!("{name}: {error}"))?;
                list.lines().map(str::to_owned).collect()
            } else {
                vec![name.to_owned()]
            };
            let truth = table::read(&case.join(&file))?;
            found.push(Recording { name: name.to_owned(), folder: case.clone(), files, truth });
        }
    }
    Ok(found)
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    found.sort();
    Ok(found)
}

impl Recording {
    /// `case/file`, for messages.
    pub fn title(&self) -> String {
        format!(
            "{}/{}",
            self.folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into()),
            self.name
        )
    }

    /// Runs the program on the recording, in its folder; anything but exit code 0 is an error.
    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(PROGRAM)
            .arg("read")
            .args(&self.files)
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .map_err(|error| format!("{PROGRAM}: {error}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!(
            "{} with {arguments:?}: {}, {}",
            self.title(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Every transaction the program sees.
    pub fn rows(&self) -> Result<Vec<Row>, String> {
        table::parse(&self.run(&["--format", "csv", "--all"])?, b',')
    }

    /// The whole report, with an inventory when one is named.
    pub fn report(&self, inventory: Option<&str>) -> Result<Value, String> {
        let mut arguments = vec!["--format", "json"];
        arguments.extend(inventory.into_iter().flat_map(|file| ["--expect", file]));
        serde_json::from_slice(&self.run(&arguments)?).map_err(|error| format!("{}: {error}", self.title()))
    }

    /// The inventory that was recorded with this file: by address family where the case has one for each.
    pub fn inventory(&self) -> Option<&'static str> {
        let of_family = if self.name.contains("-v6") { "expect-v6.csv" } else { "expect-v4.csv" };
        [of_family, "expect.csv"].into_iter().find(|file| self.folder.join(file).exists())
    }
}

/// Recordings the program cannot read yet, each with the reason. A row that has come to agree must go.
const NOT_YET: &[(&str, &str)] = &[];

/// What differs in any of these recordings.
pub fn check_all(recordings: &[Recording]) -> Vec<String> {
    let mut wrong = Vec::new();
    for recording in recordings {
        let differences = check(recording);
        match NOT_YET.iter().find(|(title, _)| *title == recording.title()) {
            None => wrong.extend(differences),
            Some((title, reason)) if differences.is_empty() => wrong.push(format!("{title} agrees, though: {reason}")),
            Some((title, reason)) => eprintln!("{title} is left out: {reason}"),
        }
    }
    wrong
}

/// Holds everything the program says about a recording against everything that lies beside it.
fn check(recording: &Recording) -> Vec<String> {
    let result = recording.rows().and_then(|rows| {
        let report = recording.report(recording.inventory())?;
        let mut wrong = check_numbers(recording, &rows)?;
        wrong.extend(check_questions(recording, &rows)?);
        wrong.extend(check_legs(recording, &rows));
        wrong.extend(check_ledgers(&report));
        wrong.extend(check_totals(&report, &rows));
        wrong.extend(check_mappings(recording, &report)?);
        Ok(wrong)
    });
    let title = recording.title();
    match result {
        Ok(wrong) => wrong.into_iter().map(|sentence| format!("{title}: {sentence}")).collect(),
        Err(reason) => vec![format!("{title}: {reason}")],
    }
}

/// The program's transactions, tallied as the truth is.
fn tally(rows: &[Row]) -> BTreeMap<Pair, Numbers> {
    let mut tallied: BTreeMap<Pair, Numbers> = BTreeMap::new();
    for row in rows {
        let pair = pair(row);
        let outcome = cell(row, "outcome");
        let unseen = outcome == "tcp-rejected" && cell(row, "id").is_empty();
        let numbers = tallied.entry(pair).or_default();
        match outcome {
            "unsolicited" => continue,
            "refused" => numbers.refused += 1,
            "tcp-rejected" if unseen => numbers.rejected += 1,
            "unanswered" | "silent" | "tcp-rejected" => numbers.unanswered += 1,
            _ => {}
        }
        numbers.transactions += u64::from(!unseen);
        numbers.restored += u64::from(outcome == "refused" && cell(row, "question") == "restored");
    }
    tallied.retain(|_, numbers| *numbers != Numbers::default());
    tallied
}

/// Client, server and transport of a row.
fn pair(row: &Row) -> Pair {
    (cell(row, "client").to_owned(), cell(row, "server").to_owned(), cell(row, "transport").to_owned())
}

/// Counts by client, server and transport, against tshark's.
fn check_numbers(recording: &Recording, rows: &[Row]) -> Result<Vec<String>, String> {
    let mut truth: BTreeMap<Pair, Numbers> = BTreeMap::new();
    for row in &recording.truth {
        let number = |name: &str| cell(row, name).parse::<u64>().map_err(|error| format!("truth, {name}: {error}"));
        let numbers = Numbers {
            transactions: number("transactions")?,
            refused: number("refused")?,
            unanswered: number("unanswered")?,
            rejected: number("rejected")?,
            restored: number("restored")?,
        };
        truth.insert(pair(row), numbers);
    }
    let seen = tally(rows);
    let keys: BTreeSet<&Pair> = truth.keys().chain(seen.keys()).collect();
    Ok(keys
        .into_iter()
        .filter(|key| truth.get(*key) != seen.get(*key))
        .map(|key| format!("{key:?}: tshark {:?}, program {:?}", truth.get(key), seen.get(key)))
        .collect())
}

/// Names and types against what dig was told to ask, also behind a translation, whose ports connection tracking knows.
fn check_questions(recording: &Recording, rows: &[Row]) -> Result<Vec<String>, String> {
    // An address, port and transport at the server's side to the client's own.
    let mut inside: HashMap<(String, String, String), (String, String)> = HashMap::new();
    for row in table::read(&recording.folder.join("conntrack.tsv"))? {
        let outer = (cell(&row, "outside").into(), cell(&row, "outside_port").into(), cell(&row, "transport").into());
        inside.insert(outer, (cell(&row, "inside").into(), cell(&row, "inside_port").into()));
    }
    // What was asked from one socket; one port may have served more than one question.
    let mut asked: HashMap<(String, String, String), Vec<Row>> = HashMap::new();
    for row in table::read(&recording.folder.join("dig.tsv"))? {
        let socket = (cell(&row, "client").into(), cell(&row, "port").into(), cell(&row, "transport").into());
        asked.entry(socket).or_default().push(row);
    }
    let mut wrong = Vec::new();
    for row in rows {
        let named = format!("id {} from {} port {}", cell(row, "id"), cell(row, "client"), cell(row, "client_port"));
        if cell(row, "outcome") == "refused" && cell(row, "qname").is_empty() {
            wrong.push(format!("{named}: refused and without a name"));
        }
        let socket: (String, String, String) =
            (cell(row, "client").into(), cell(row, "client_port").into(), cell(row, "transport").into());
        let own = inside.get(&socket).map(|(client, port)| (client.clone(), port.clone(), socket.2.clone()));
        let Some(questions) = asked.get(own.as_ref().unwrap_or(&socket)) else { continue };
        let same = |question: &Row| {
            cell(question, "id") == cell(row, "id")
                && cell(question, "opcode") == cell(row, "opcode")
                && cell(question, "name").eq_ignore_ascii_case(cell(row, "qname"))
                && cell(question, "type") == cell(row, "qtype")
                && agrees(cell(question, "status"), row)
        };
        // A connection that ended before its query was seen has nothing to compare.
        if !cell(row, "id").is_empty() && !questions.iter().any(same) {
            wrong.push(format!(
                "{named}: the program says {} {} {} {}, dig {:?}",
                cell(row, "opcode"),
                cell(row, "qname"),
                cell(row, "qtype"),
                cell(row, "outcome"),
                questions
            ));
        }
    }
    Ok(wrong)
}

/// Does what dig printed fit the program's outcome? A status dig could not print fits any.
fn agrees(status: &str, row: &Row) -> bool {
    let outcome = cell(row, "outcome");
    match status {
        "failed" | "response" => true,
        "REFUSED" => outcome == "refused",
        "timeout" | "closed" => matches!(outcome, "unanswered" | "silent" | "tcp-rejected"),
        code => matches!(outcome, "answered" | "denied") && cell(row, "rcode") == code,
    }
}

/// With nothing declared, an address that answers is one of our servers, and what it asks is the upstream leg.
fn check_legs(recording: &Recording, rows: &[Row]) -> Vec<String> {
    let answers = |row: &&Row| cell(row, "transactions") != cell(row, "unanswered") && cell(row, "transactions") != "0";
    let servers: BTreeSet<&str> = recording.truth.iter().filter(answers).map(|row| cell(row, "server")).collect();
    let wrong = rows.iter().filter(|row| {
        let leg = if servers.contains(cell(row, "client")) { "upstream" } else { "client" };
        // An address that never answers is nobody's server here: its leg is not asserted.
        servers.contains(cell(row, "server")) && cell(row, "leg") != leg
    });
    wrong.map(|row| format!("leg {} of {} -> {}", cell(row, "leg"), cell(row, "client"), cell(row, "server"))).collect()
}

/// Every ledger closes.
fn check_ledgers(report: &Value) -> Vec<String> {
    let Some(ledgers) = report["ledgers"].as_object() else { return vec!["no ledgers".to_owned()] };
    ledgers
        .iter()
        .filter(|(_, ledger)| ledger["closed"] != Value::Bool(true))
        .map(|(name, ledger)| format!("ledger {name} does not close: {ledger}"))
        .collect()
}

/// The report's totals are those of its rows.
fn check_totals(report: &Value, rows: &[Row]) -> Vec<String> {
    let count = |outcome: &str| rows.iter().filter(|row| cell(row, "outcome") == outcome).count() as u64;
    let mut wrong = Vec::new();
    for outcome in ["answered", "refused", "denied", "silent", "tcp-rejected", "unanswered", "unsolicited"] {
        let total = report["totals"]["outcomes"][outcome].as_u64().unwrap_or(0);
        if total != count(outcome) {
            wrong.push(format!("totals say {total} {outcome}, rows {}", count(outcome)));
        }
    }
    if report["totals"]["refused"].as_u64() != Some(count("refused")) {
        wrong.push(format!("totals.refused is {}, rows say {}", report["totals"]["refused"], count("refused")));
    }
    wrong
}

/// Every port pair of a mapping is one the translating box itself recorded.
fn check_mappings(recording: &Recording, report: &Value) -> Result<Vec<String>, String> {
    let known: BTreeSet<[String; 4]> = table::read(&recording.folder.join("conntrack.tsv"))?
        .iter()
        .map(|row| ["inside", "inside_port", "outside", "outside_port"].map(|name| cell(row, name).to_owned()))
        .collect();
    let mut wrong = Vec::new();
    for mapping in report["mappings"].as_array().into_iter().flatten() {
        let (inside, outside) = (mapping["inside"].as_str(), mapping["outside"].as_str());
        let (Some(inside), Some(outside)) = (inside, outside) else { continue };
        for ports in mapping["ports"].as_array().into_iter().flatten() {
            let pair = [
                inside.to_owned(),
                ports["inside_port"].to_string(),
                outside.to_owned(),
                ports["outside_port"].to_string(),
            ];
            if !known.contains(&pair) {
                wrong.push(format!("mapping {pair:?} is not in the connection tracking"));
            }
        }
    }
    Ok(wrong)
}

/// Findings of one kind whose subject's `list` holds `member`.
pub fn finds(report: &Value, kind: &str, list: &str, member: &str) -> bool {
    report["findings"].as_array().into_iter().flatten().any(|finding| {
        finding["kind"] == kind
            && finding["subject"][list].as_array().into_iter().flatten().any(|value| value == member)
    })
}
