//! Maps the result of a run to an exit code; everything else is in the library.

use dnsrefused::acl_command;
use dnsrefused::cli::{self, Parsed};
use dnsrefused::live;
use dnsrefused::run::{self, Console, StandardError};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    // A fault of ours is one line like every other error; the pipeline turns it into exit code 7.
    std::panic::set_hook(Box::new(|fault| {
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
        Parsed::Acl(config) => acl_command::run(&config).map(|printed| {
            printed.notes.iter().for_each(|note| StandardError.line(&format!("warning: {note}")));
            acl_command::write(&printed, &mut std::io::stdout().lock())
        }),
        Parsed::Live(config) => {
            // Without handlers signals end the process as usual.
            let signals = live::Signals { stop: Arc::clone(&interrupted), ..live::Signals::default() };
            let signals = signals.clone().on().unwrap_or(signals);
            live::run(&config, &mut StandardError, &signals)
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
