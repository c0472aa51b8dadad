//! Maps the result of a run to an exit code; everything else is in the library.

use dnsrefused::acl_command;
use dnsrefused::cli::{self, Parsed};
use dnsrefused::error::Error;
use dnsrefused::live;
use dnsrefused::run::{self, Console, StandardError};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most faults of this program that are shown.
const SHOWN_FAULTS: usize = 8;

fn main() -> ExitCode {
    // A panic is shown on one line, like every other error; it leads to exit code 7.
    let faults = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(move |fault| {
        // The same bad packet may come a million times.
        if faults.fetch_add(1, Ordering::Relaxed) >= SHOWN_FAULTS {
            return;
        }
        StandardError.line(&dnsrefused::error::fault_line(fault));
    }));
    let interrupted = Arc::new(AtomicBool::new(false));
    let result =
        catch_unwind(AssertUnwindSafe(|| cli::parse(std::env::args_os()).and_then(|parsed| run(parsed, &interrupted))));
    match result.unwrap_or_else(|_| Err(Error::internal("a fault was caught; the output is not complete"))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if let Some(picture) = &error.shown {
                StandardError.line(picture.trim_end());
            }
            StandardError.line(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Does what the command line asks for.
fn run(parsed: Parsed, interrupted: &Arc<AtomicBool>) -> Result<u8, Error> {
    match parsed {
        Parsed::Print(text) => {
            // That nobody reads the help is not a failure.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Ok(0)
        }
        Parsed::Acl(config) => {
            if config.traffic.is_some() {
                hear_signals(interrupted);
            }
            acl_command::run(&config, &mut StandardError, interrupted).and_then(|printed| {
                printed.notes.iter().for_each(|note| StandardError.line(&format!("warning: {note}")));
                acl_command::write(&printed, &mut std::io::stdout().lock())
            })
        }
        Parsed::Live(config) => {
            // If no handlers can be installed, signals end the process as usual.
            let signals = live::Signals::new(config.live.screen);
            let signals = signals.clone().on().unwrap_or(signals);
            live::run(&config, Box::new(StandardError), &signals)
        }
        Parsed::Run(config) => {
            hear_signals(interrupted);
            run::read(&config, &mut StandardError, interrupted)
        }
    }
}

/// Lets signals end a run with a report on what was read so far.
fn hear_signals(interrupted: &Arc<AtomicBool>) {
    if let Err(error) = run::on_signals(interrupted, interrupted) {
        StandardError.line(&format!("warning: a signal will end this run without a report: {error}"));
    }
}
