//! Reads servers' files and inventories again when they change during a run, and decides what may be said of them
//! meanwhile.

use super::{Session, lock};
use crate::capture::Timestamp;
use crate::diagnose::{Grade, acl_drift, acl_exposure};
use crate::expect::acl::judge::{Verdicts, own_servers};
use crate::report::Report;
use crate::watch::gather::add_verdicts;

/// For this long (nanoseconds) after a server's file changed, a difference may mean that the server has not read it
/// yet.
const SETTLES: i64 = 60_000_000_000;

/// Until when differences from a server's file are not reported, if `now` it was `changed` a short time ago. A change
/// in the future has another clock's time: the file is taken to have changed now.
pub fn settles(changed: Timestamp, now: Timestamp) -> Option<Timestamp> {
    Some(Timestamp(changed.min(now).0.saturating_add(SETTLES))).filter(|until| now < *until)
}

impl Session<'_> {
    /// Right after a server's file changed, the server may not have read it yet: then it may refuse, and may answer, as
    /// the file said before.
    pub(super) fn hold_back_differences(&self, report: &mut Report, now: Timestamp) {
        let Some(until) = self.settles.filter(|until| now < *until) else { return };
        let found = report.findings.len();
        report.findings.retain(|finding| ![acl_drift::KIND, acl_exposure::KIND].contains(&finding.kind));
        if report.findings.len() < found {
            report.notes.push(format!(
                "A server's file changed less than 60 s ago, or its time is still to come: what differs from it is not reported \
                 before {}.",
                until.to_rfc3339(0)
            ));
        }
    }

    /// Reads changed files again.
    pub(super) fn reread(&mut self, now: Timestamp) {
        let reread = self.watcher.look(self.config, &self.expectations, now);
        for line in &reread.says {
            self.note(now, line);
        }
        if reread.anything {
            let expected = self.expectations.now();
            let mut decided = lock(&self.decided);
            let before = decided.expect(self.config, &expected);
            decided.legs().declare(own_servers(&expected.acls).iter().map(|server| server.address));
            drop(decided);
            self.compared_anew(now, before);
            if reread.acls {
                self.settles = self.watcher.acl_changed().and_then(|changed| settles(changed, now));
            }
        } else if self.settles.is_some_and(|until| now >= until) {
            // What was compared before the server may have read its file says nothing about drift.
            self.settles = None;
            let before = {
                let mut decided = lock(&self.decided);
                decided.differs().then(|| decided.compare_anew(self.config, &self.expectations.now()))
            };
            self.compared_anew(now, before);
        }
    }

    /// Verdicts are counted anew from now on. Snapshots still include what was decided before, and reports say since
    /// when they compare.
    fn compared_anew(&mut self, now: Timestamp, before: Option<Verdicts>) {
        let Some(before) = before.filter(|before| !before.pairs.is_empty()) else { return };
        self.compared_since = Some(now);
        if self.board.is_some() {
            let (_, legs) = lock(&self.decided).legs().of_rows([self.sources, &self.past]);
            add_verdicts(&mut self.past_verdicts, &before, &legs);
        }
    }

    /// Says since when verdicts were compared, where that is not the whole time of the report.
    pub(super) fn say_compared_since(&self, report: &mut Report) {
        let Some(since) = self.compared_since.map(|since| since.to_rfc3339(3)) else { return };
        let text = format!("Compared since {since} only: a server's file had changed.");
        for finding in report.findings.iter_mut().filter(|finding| finding.grade == Grade::Evaluated) {
            finding.says = format!("{} {text}", finding.says);
        }
        report.notes.push(format!(
            "A server's file had changed: what was decided before {since} is not compared with what it says; the other \
             counts are of the whole time."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_changed_lately_settles() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let now = at(1000);
        assert_eq!(settles(at(10), now), None);
        assert_eq!(settles(at(940), now), None, "60 s ago");
        assert_eq!(settles(at(970), now), Some(at(1030)));
        assert_eq!(settles(at(900_000), now), Some(at(1060)), "its clock is ahead");
    }
}
