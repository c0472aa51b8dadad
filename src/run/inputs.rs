//! Opens the inputs and orders them by their first packets ([`open_inputs`]); also what is known of them before they
//! are read.

use super::Console;
use crate::capture::Timestamp;
use crate::capture::filter::Filter;
use crate::capture::kernel_filter::{LINUX_SLL, LINUX_SLL2};
use crate::capture::open::{self, Input};
use crate::config::{Config, Severity};
use crate::decode::link;
use crate::error::{Error, ErrorKind, escape_text};
use crate::report::build::OpenedInput;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Inputs in the order of their first packets, the position of each in the arguments, and those that failed.
pub type Opened = (Vec<Input>, Vec<usize>, Vec<(String, Error)>);

/// Opens every input and puts them in order. An input that cannot be used is reported and left out; a directory is a
/// usage error.
pub fn open_inputs(config: &Config, console: &mut dyn Console, interrupted: &Arc<AtomicBool>) -> Result<Opened, Error> {
    raise_file_limit(config.inputs.len());
    let mut opened: Vec<(usize, Input)> = Vec::new();
    let mut failed = Vec::new();
    let mut seen = HashSet::new();
    for (rank, path) in config.inputs.iter().enumerate() {
        match open::open(path, &config.limits, interrupted) {
            Ok(input) => {
                if input.identity.is_some_and(|identity| !seen.insert(identity)) && !config.quiet {
                    let name = escape_text(&input.name);
                    console.line(&format!("warning: {name}: given more than once; its packets are counted each time"));
                }
                opened.push((rank, input));
            }
            Err(error) if error.kind == ErrorKind::Usage || error.code == "E-IN-FILES" => return Err(error),
            Err(error) => {
                console.line(&error.to_string());
                let severity = Severity::ALL.iter().find(|(name, _)| path.as_os_str() == *name);
                if let (Some((name, _)), Some(_)) = (severity, config.check) {
                    console.line(&format!("tip: a severity follows behind an equals sign: --check={name}"));
                }
                failed.push((path.to_string_lossy().into_owned(), error));
            }
        }
    }
    opened.sort_by_key(|(rank, input)| (input.first_time.unwrap_or(Timestamp(i64::MAX)), *rank));
    let (ranks, inputs) = opened.into_iter().unzip();
    Ok((inputs, ranks, failed))
}

/// Raises the limit of open files to the number of inputs, as far as the system allows.
fn raise_file_limit(inputs: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = inputs as u64 + 64;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| wanted.min(maximum)));
        // If it cannot be raised, opening one of the inputs will fail and be reported.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Size of a file that could not be used, in bytes, which are accounted for as unread; 0 for what has no size.
pub fn size_of_file(name: &str) -> u64 {
    std::fs::metadata(name).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

/// Compiles the filter for the link types known so far, and warns when it hides translated packets.
pub(super) fn check_filter(config: &Config, inputs: &[Input], console: &mut dyn Console) -> Result<(), Error> {
    let Some(expression) = &config.filter else { return Ok(()) };
    let mut filter = Filter::new(expression);
    for input in inputs {
        let known = input.hint.interfaces.iter().map(|interface| interface.link_type);
        for link_type in known.filter(|number| link::find(*number).is_some()) {
            filter.check(link_type)?;
        }
    }
    if !config.quiet {
        warn_of_filter(config, console);
    }
    Ok(())
}

/// Warns when the filter hides translated packets.
pub(crate) fn warn_of_filter(config: &Config, console: &mut dyn Console) {
    if config.filter.as_deref().is_some_and(Filter::names_a_host) {
        console
            .line("warning: --filter names a host or network: packets whose address was translated are hidden by it");
    }
}

/// What is known of an input before it is read.
pub fn opened_input(input: &Input) -> OpenedInput {
    OpenedInput { name: input.name.clone(), format: input.reader.format.name(), compression: input.compression }
}

/// True when the input holds all interfaces of a host, as far as its beginning shows: a cooked link type.
pub(super) fn is_cooked(input: &Input) -> bool {
    input.hint.interfaces.iter().any(|interface| matches!(interface.link_type, LINUX_SLL | LINUX_SLL2))
}
