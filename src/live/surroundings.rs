//! Lines about what happens around a capture ([`Surroundings`]): to interfaces, to the clock, and when this program did
//! not run.

use crate::capture::Timestamp;
use crate::error::escape_text;
use crate::pipeline::live::Moment;

/// A clock that is off by more than this (nanoseconds) was set: slewing does not explain it.
const STEP: i64 = 200_000_000;

/// What was reported so far.
#[derive(Debug)]
pub struct Surroundings {
    /// Names of the inputs, escaped.
    names: Vec<String>,
    down: Vec<Option<Timestamp>>,
    no_carrier: Vec<Option<Timestamp>>,
    gone: Vec<bool>,
    renamed: Vec<Option<String>>,
    stalls: usize,
    stepped: i64,
}

impl Surroundings {
    /// Starts with nothing reported about these inputs.
    pub fn of(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| escape_text(name)).collect(),
            down: vec![None; names.len()],
            no_carrier: vec![None; names.len()],
            gone: vec![false; names.len()],
            renamed: vec![None; names.len()],
            stalls: 0,
            stepped: 0,
        }
    }

    /// What is new at a moment, each line with its time.
    pub fn look(&mut self, moment: &Moment) -> Vec<(Timestamp, String)> {
        let mut lines = Vec::new();
        let seconds = |since: Timestamp| (moment.now.0 - since.0).max(0) as f64 / 1e9;
        for (input, link) in moment.links.iter().enumerate() {
            let name = &self.names[input];
            if self.names[..input].contains(name) {
                // It shares the interface of an earlier handle, for which this was reported.
                continue;
            }
            if link.renamed != self.renamed[input] {
                self.renamed[input].clone_from(&link.renamed);
                lines.push((
                    moment.now,
                    match link.renamed.as_deref() {
                        Some(now) => format!("{name} is now called {}", escape_text(now)),
                        None => format!("{name} has its name again"),
                    },
                ));
            }
            if link.gone && !self.gone[input] {
                self.gone[input] = true;
                let others = moment.links.iter().zip(&self.names).any(|(link, other)| other != name && !link.gone);
                let goes_on = if others { "; the capture goes on without it, and ends with exit code 3" } else { "" };
                lines.push((moment.now, format!("{name} is gone: nothing comes from it any more{goes_on}")));
            }
            match (self.down[input], link.down && !link.gone) {
                (None, true) => {
                    self.down[input] = Some(moment.now);
                    lines.push((moment.now, format!("{name} is down; waiting for it to come back")));
                }
                (Some(since), false) if !link.gone => {
                    self.down[input] = None;
                    lines.push((moment.now, format!("{name} is up again after {:.1} s", seconds(since))));
                }
                _ => {}
            }
            match (self.no_carrier[input], link.no_carrier) {
                (None, true) => {
                    self.no_carrier[input] = Some(moment.now);
                    let says = "is up but has no carrier, as when its cable is out; waiting for it to come back";
                    lines.push((moment.now, format!("{name} {says}")));
                }
                // For an interface that is down this is not known.
                (Some(since), false) if !link.gone && !link.down => {
                    self.no_carrier[input] = None;
                    lines.push((moment.now, format!("{name} has a carrier again after {:.1} s", seconds(since))));
                }
                _ => {}
            }
        }
        for (ended, length) in moment.stalls.iter().skip(self.stalls) {
            let seconds = length.as_secs_f64();
            lines.push((*ended, format!("this program did not run for {seconds:.1} s: stopped or starved")));
        }
        self.stalls = moment.stalls.len();
        let step = moment.stepped - self.stepped;
        if step.abs() > STEP {
            self.stepped = moment.stepped;
            lines.push((moment.now, format!("the clock was set by {:+.3} s", step as f64 / 1e9)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::live::LinkState;
    use std::time::Duration;

    fn moment(links: Vec<LinkState>) -> Moment {
        Moment {
            now: Timestamp(1_000_000_000),
            elapsed: Duration::ZERO,
            kernel: Vec::new(),
            own_dropped: 0,
            waits: 0,
            links,
            stepped: 0,
            capturing: true,
            stalls: Vec::new(),
        }
    }

    #[test]
    fn what_happens_to_an_interface_that_handles_share_is_said_once() {
        let mut surroundings = Surroundings::of(&["eth0".to_owned(), "eth0".to_owned()]);
        let mut moment = moment(vec![LinkState { down: true, ..LinkState::default() }; 2]);
        let mut says =
            |moment: &Moment| surroundings.look(moment).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(says(&moment), ["eth0 is down; waiting for it to come back"]);
        // The other handle notices it a moment later.
        moment.links[0].gone = true;
        assert_eq!(says(&moment), ["eth0 is gone: nothing comes from it any more"]);
        moment.links[1].gone = true;
        assert!(says(&moment).is_empty());
    }

    #[test]
    fn a_cable_that_is_out_is_said_and_not_taken_for_back_while_the_interface_is_down() {
        let mut surroundings = Surroundings::of(&["eth0".to_owned()]);
        let mut moment = moment(vec![LinkState { no_carrier: true, ..LinkState::default() }]);
        let mut says =
            |moment: &Moment| surroundings.look(moment).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        let out = "eth0 is up but has no carrier, as when its cable is out; waiting for it to come back";
        assert_eq!(says(&moment), [out]);
        assert!(says(&moment).is_empty());
        (moment.links[0].no_carrier, moment.links[0].down) = (false, true);
        assert_eq!(says(&moment), ["eth0 is down; waiting for it to come back"]);
        (moment.links[0].down, moment.now) = (false, Timestamp(3_500_000_000));
        assert_eq!(says(&moment), ["eth0 is up again after 2.5 s", "eth0 has a carrier again after 2.5 s"]);
    }

    #[test]
    fn each_change_is_said_once() {
        let mut surroundings = Surroundings::of(&["eth0".to_owned(), "wlan0".to_owned()]);
        let mut moment = moment(vec![LinkState::default()]);
        let mut says =
            |moment: &Moment| surroundings.look(moment).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert!(says(&moment).is_empty());
        moment.links[0].down = true;
        assert_eq!(says(&moment), ["eth0 is down; waiting for it to come back"]);
        assert!(says(&moment).is_empty());
        (moment.links[0].down, moment.now) = (false, Timestamp(3_500_000_000));
        moment.links[0].renamed = Some("lan\u{1b}0".to_owned());
        assert_eq!(says(&moment), ["eth0 is now called lan\\u{1b}0", "eth0 is up again after 2.5 s"]);
        moment.links.push(LinkState::default());
        moment.links[1].gone = true;
        let gone =
            "wlan0 is gone: nothing comes from it any more; the capture goes on without it, and ends with exit code 3";
        assert_eq!(says(&moment), [gone]);
        moment.links[0].gone = true;
        assert_eq!(says(&moment), ["eth0 is gone: nothing comes from it any more"]);
        moment.stepped = 100_000_000;
        assert!(says(&moment).is_empty(), "slewed");
        moment.stepped = -3_000_000_000;
        moment.stalls.push((Timestamp(7), Duration::from_millis(2500)));
        let wanted = ["this program did not run for 2.5 s: stopped or starved", "the clock was set by -3.000 s"];
        assert_eq!(says(&moment), wanted);
        assert!(says(&moment).is_empty());
    }
}
