//! Maps the result of a run to an exit code; everything else is in the library.

use dnsrefused::acl_command;
use dnsrefused::cli::{self, Parsed};
use dnsrefused::live;
use dnsrefused::run::{self, Console, StandardError};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Faults of this program that are shown one by one.
const SHOWN_FAULTS: usize = 8;

fn main() -> ExitCode {
    // A fault of ours is one line like every other error; the pipeline turns it into exit code 7.
    let faults = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(move |fault| {
        // One bad packet may come a million times.
        if faults.fetch_add(1, Ordering::Relaxed) >= SHOWN_FAULTS {
            return;
        }
        StandardError.line(&dnsrefused::error::fault_line(fault));
    }));
    let interrupted = Arc::new(AtomicBool::new(false));
    let result = cli::parse(std::env::args_os()).and_then(|parsed| match parsed {
        Parsed::Print(text) => {
            // Nobody reading the help is no failure.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Ok(0)
        }
        Parsed::Acl(config) => {
            if config.traffic.is_some() {
                // Without a handler a signal ends the process as usual.
                let _ = run::on_signals(&interrupted, &interrupted);
            }
            acl_command::run(&config, &mut StandardError, &interrupted).and_then(|printed| {
                printed.notes.iter().for_each(|note| StandardError.line(&format!("warning: {note}")));
                acl_command::write(&printed, &mut std::io::stdout().lock())
            })
        }
        Parsed::Live(config) => {
            // Without handlers signals end the process as usual.
            let signals = live::Signals::new(config.live.screen);
            let signals = signals.clone().on().unwrap_or(signals);
            live::run(&config, Box::new(StandardError), &signals)
        }
        Parsed::Run(config) => {
            // Without a handler a signal ends the process as usual.
            let _ = run::on_signals(&interrupted, &interrupted);
            run::read(&config, &mut StandardError, &interrupted)
        }
    });
    match result {
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
