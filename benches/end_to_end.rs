//! Whole program against generated captures with known truth.

mod generator;
mod measure;

use generator::{Generated, Plan, generate};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.first().map(String::as_str) {
        Some("measure") => measure::run_alone(&arguments[1..]),
        Some("generate") => generate_file(&arguments[1..]),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end_to_end: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `generate FILE [--packets N] [--dns SHARE] [--vlan SHARE] [--seed N] [--pcapng] [--nanoseconds]`: writes the capture,
/// and beside it the truth as `.truth.json` and the inventory as `.inventory.csv`.
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
            "--pcapng" => plan.format = generator::file::Format::Pcapng,
            "--nanoseconds" => plan.nanoseconds = true,
            name if !name.starts_with('-') => file = Some(name),
            _ => return Err(usage(argument)),
        }
    }
    let file = file.ok_or_else(|| usage("FILE"))?;
    let generated = write_capture(&plan, Path::new(file))?;
    println!("{}", serde_json::to_string_pretty(&generated.truth)?);
    Ok(())
}

fn usage(argument: &str) -> io::Error {
    io::Error::other(format!("missing or bad: {argument}"))
}

/// Writes a capture with its truth and inventory beside it.
fn write_capture(plan: &Plan, path: &Path) -> io::Result<Generated> {
    let generated = generate(plan, BufWriter::with_capacity(1 << 20, File::create(path)?))?;
    std::fs::write(path.with_extension("truth.json"), serde_json::to_vec_pretty(&generated.truth)?)?;
    std::fs::write(path.with_extension("inventory.csv"), &generated.inventory)?;
    Ok(generated)
}
