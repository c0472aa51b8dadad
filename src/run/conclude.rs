//! Ends a run ([`conclude`]): the exit code of a finished report, and the lines that say what is wrong.

use super::Console;
use crate::config::Config;
use crate::error::{Error, ErrorKind, escape_text, packets};
use crate::report::Report;
use crate::report::page::lost_packets;

/// Says what is wrong and returns the exit code: the most serious reason wins.
pub(crate) fn conclude(
    config: &Config,
    report: &Report,
    failed: &[(String, Error)],
    lost: u64,
    written: Result<(), Error>,
    console: &mut dyn Console,
) -> u8 {
    let mut damaged = !failed.is_empty();
    for input in report.inputs.iter().filter(|input| !input.format.is_empty()) {
        for what in &input.damage {
            damaged = true;
            let error = Error::new(ErrorKind::Input, "E-IN-DAMAGED", &input.name, what);
            console.line(&error.to_string());
        }
    }
    if let (Some(why), None) = (&report.partial, &report.live) {
        damaged = true;
        let read = packets(report.inputs.iter().map(|input| input.frames).sum());
        let what = format!("{why}; {read} read until then, and the output is about those only");
        console.line(&Error::new(ErrorKind::Input, "E-IN-PARTIAL", "dnsrefused", what).to_string());
    }
    let ledgers = &report.ledgers;
    let capture_open = ledgers.capture.filter(|capture| !capture.is_closed()).map(|_| "capture");
    let open: Vec<&str> = ledgers
        .of_a_run()
        .into_iter()
        .filter(|(_, ledger)| !ledger.closed)
        .map(|(name, _)| name)
        .chain(capture_open)
        .collect();
    let unclosed = !open.is_empty() && written.is_ok();
    if unclosed {
        let what = format!("the ledger of {} does not close; do not rely on this report", open.join(" and "));
        console.line(&Error::new(ErrorKind::Internal, "E-LEDGER", "dnsrefused", what).to_string());
    }
    if let Err(error) = &written {
        console.line(&error.to_string());
    }
    let faulty = ledgers.packets.get("internal_fault") > 0;
    for input in &report.inputs {
        for frame in &input.faults {
            let what = format!(
                "frame {frame} could not be decoded because of a fault in this program; it is counted as internal_fault, \
                 and everything else was read"
            );
            console.line(&Error::new(ErrorKind::Internal, "E-FAULT", &input.name, what).to_string());
        }
    }
    let frames = report.totals.frames;
    let unreadable_links = frames > 0
        && ledgers.packets.get("not_opened") == frames
        && ledgers.not_opened.keys().all(|kind| kind.starts_with("link type"));
    if unreadable_links {
        let kinds: Vec<&str> = ledgers.not_opened.keys().map(String::as_str).collect();
        let name = report.inputs.first().map_or("", |input| &input.name);
        let opened =
            if frames == 1 { "its packet was not".to_owned() } else { format!("none of {frames} packets was") };
        let what = format!("{} is not supported; {opened} opened", kinds.join(", "));
        console.line(&Error::new(ErrorKind::CouldNotRun, "E-IN-LINK", name, what).to_string());
    }
    let dropped = ledgers.capture.map_or(0, |capture| capture.lost());
    let by_interface = ledgers.capture.and_then(|capture| capture.interface_dropped.known()).unwrap_or(0);
    if !config.quiet {
        warn_of_loss(config, report, lost, console);
    }
    let severe = config.check.is_some_and(|least| report.findings.iter().any(|finding| finding.severity >= least));
    if config.check.is_some() && !severe && config.expect.is_empty() && config.acls.is_empty() && !config.quiet {
        console.line(
            "warning: --check without --expect or --acl: that somebody was turned away is no finding as long as nothing says \
             who is expected",
        );
    }
    match () {
        () if unclosed || faulty => 7,
        () if written.is_err() => written.err().map_or(5, |error| error.exit_code()),
        () if unreadable_links => 1,
        () if damaged => 3,
        () if lost + dropped + by_interface > config.max_loss => 4,
        () if severe => 10,
        () => 0,
    }
}

/// Says what was lost: between the interface and this program, before a file was written, and state (`lost`).
fn warn_of_loss(config: &Config, report: &Report, lost: u64, console: &mut dyn Console) {
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    let capture = report.ledgers.capture.unwrap_or_default();
    let dropped = capture.lost();
    if dropped > config.max_loss {
        console.line(&format!(
            "warning: {} {} lost: {} by the kernel, whose ring was full, {} by us; counts are too low",
            packets(dropped),
            were(dropped),
            capture.dropped,
            capture.own_lost()
        ));
    }
    for input in report.inputs.iter().filter(|input| input.stated_loss.known() > Some(0)) {
        console.line(&format!(
            "warning: {}: its capture lost {} of any traffic, as it says itself; counts may be too low",
            escape_text(&input.name),
            lost_packets(input.stated_loss)
        ));
    }
    // Nobody knows what these were, so they may have been what was to be captured.
    let by_interface = capture.interface_dropped.known().unwrap_or(0);
    if by_interface > 0 && dropped + by_interface > config.max_loss {
        console.line(&format!(
            "warning: {} of any traffic {} lost by the interface before the kernel saw them; DNS may have been among them",
            packets(by_interface),
            were(by_interface)
        ));
    }
    if lost > config.max_loss {
        console.line(&format!(
            "warning: {lost} {} given up because a table was full; counts of responses without a query may be too high",
            if lost == 1 { "transaction or connection was" } else { "transactions or connections were" }
        ));
    }
}
