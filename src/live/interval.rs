//! Intervals of a running capture (`--every`): when they end, and the names of their reports' files.

use crate::capture::Timestamp;
use crate::error::Error;
use crate::report::output::FileIdentity;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most reports of intervals that may begin in one second.
const MOST_OF_ONE_NAME: u32 = 1000;

/// The file for the report of an interval that begins at this time.
pub fn file(asked_for: &Path, begins: Timestamp) -> PathBuf {
    free_name(with_time(asked_for, begins))
}

/// The identity of an output's folder, to notice when it is replaced.
pub fn folder(path: &Path) -> Option<FileIdentity> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::metadata(folder).ok().map(|metadata| FileIdentity::of(&metadata))
}

/// Adds to an error that the folder of the output was replaced: the sandbox does not let anything be created in the new
/// one, whatever its permissions say.
pub fn say_another_folder(mut error: Error, path: &Path, before: Option<FileIdentity>) -> Error {
    if before.zip(folder(path)).is_some_and(|(before, now)| now != before) {
        error.detail.push_str("; its folder is another one than when the capture began, to which the sandbox keeps");
    }
    error
}

/// `report.json` with a time: `report-20251231T090410Z.json`.
fn with_time(path: &Path, time: Timestamp) -> PathBuf {
    let stamp: String = time.to_rfc3339(0).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    suffixed(path, &stamp)
}

/// `report.json` with a suffix: `report-suffix.json`.
pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    // A name may hold any bytes, and two names must not become one.
    let mut name = path.file_stem().map(OsStr::to_os_string).unwrap_or_default();
    name.push("-");
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The name, or one with a number where it is taken: after a step of the clock, or when intervals are very short, two
/// of them may begin in the same second.
fn free_name(path: PathBuf) -> PathBuf {
    let is_free = |path: &Path| path.symlink_metadata().is_err();
    if is_free(&path) {
        return path;
    }
    let numbered = |number: u32| suffixed(&path, &number.to_string());
    (2..=MOST_OF_ONE_NAME).map(numbered).find(|path| is_free(path)).unwrap_or(path)
}

/// When the next interval ends: the current one was `due` at a time and ended `now`. Ends that were missed meanwhile,
/// because the host stood still, are skipped.
pub fn next_end(due: Duration, every: Duration, now: Duration) -> Duration {
    let passed = now.saturating_sub(due).as_nanos() / every.as_nanos().max(1) + 1;
    due.saturating_add(every.saturating_mul(passed.try_into().unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn reports_of_one_second_do_not_get_in_each_others_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["report-20251231T090410Z.json", "report-20251231T090410Z-2.json", "report-20251231T090410Z-3.json"]
        {
            let free = free_name(path("report-20251231T090410Z.json"));
            assert_eq!(free, path(name));
            std::fs::write(free, "").unwrap();
        }
        assert_eq!(free_name(path("other.json")), path("other.json"));
    }

    #[test]
    fn a_folder_that_was_made_anew_is_named_as_the_reason() {
        let place = tempfile::tempdir().unwrap();
        let (made, path) = (place.path().join("folder"), place.path().join("folder/report.json"));
        std::fs::create_dir(&made).unwrap();
        let before = folder(&path);
        let said = || say_another_folder(Error::usage("report.json", "Permission denied"), &path, before).detail;
        assert_eq!(said(), "Permission denied");
        std::fs::rename(&made, place.path().join("old")).unwrap();
        assert_eq!(said(), "Permission denied", "it is not there");
        std::fs::create_dir(&made).unwrap();
        let wanted =
            "Permission denied; its folder is another one than when the capture began, to which the sandbox keeps";
        assert_eq!(said(), wanted);
        let unconfined = say_another_folder(Error::usage("report.json", "No space left on device"), &path, None);
        assert_eq!(unconfined.detail, "No space left on device", "no sandbox keeps to a folder");
    }

    #[test]
    fn ends_that_were_missed_are_passed_over() {
        let ends = |now: u64| next_end(Duration::from_secs(10), Duration::from_secs(5), Duration::from_secs(now));
        let seconds = |now: u64| ends(now).as_secs();
        assert_eq!([10, 14, 15, 16, 31].map(seconds), [15, 15, 20, 20, 35]);
        let long = next_end(Duration::MAX, Duration::MAX, Duration::MAX);
        assert_eq!(long, Duration::MAX);
    }

    #[test]
    fn interval_reports_are_named_by_their_beginning() {
        let time = Timestamp::parse("2025-12-31T09:04:10Z").unwrap();
        assert_eq!(with_time(Path::new("/a/report.json"), time), Path::new("/a/report-20251231T090410Z.json"));
        assert_eq!(with_time(Path::new("report"), time), Path::new("report-20251231T090410Z"));
        let bytes = |bytes: &'static [u8]| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(suffixed(bytes(b"a/r\xff.x\xfe"), "1"), bytes(b"a/r\xff-1.x\xfe"));
    }
}
