//! Maps the result of a run to an exit code; everything else is in the library.

use dnsrefused::acl_command;
use dnsrefused::cli::{self, Parsed};
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
        let place = fault.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let text = fault.payload().downcast_ref::<String>().map(String::as_str);
        let what = text.or(fault.payload().downcast_ref::<&str>().copied()).unwrap_or("no message");
        StandardError.line(&dnsrefused::error::escape_text(&format!("fault{place}: {what}")));
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
                let _ = run::on_signals(&interrupted);
            }
            acl_command::run(&config, &mut StandardError, &interrupted).map(|printed| {
                printed.notes.iter().for_each(|note| StandardError.line(&format!("warning: {note}")));
                acl_command::write(&printed, &mut std::io::stdout().lock())
            })
        }
        Parsed::Run(config) => {
            // Without a handler a signal ends the process as usual.
            let _ = run::on_signals(&interrupted);
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
