//! How far the process is confined according to the kernel ([`State`]), read from the status of every thread (proc(5)).

use crate::config::Sandbox;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
use std::fmt;
use std::fs;

/// How far the process is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What was asked for.
    pub mode: Sandbox,
    /// State of each thread.
    pub threads: Vec<Thread>,
    /// The Landlock version that restricts this process, as returned when it was set up: the kernel offers no way to
    /// read it back.
    pub landlock: Option<u32>,
    /// Core dumps are off.
    pub no_core_dumps: bool,
    /// What was not reached, one sentence each.
    pub missing: Vec<String>,
    /// What confinement costs, one sentence each.
    pub notes: Vec<String>,
}

/// What the kernel reports about a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thread {
    /// Thread ID.
    pub id: u32,
    /// Real, effective, saved and file system user ID.
    pub uids: [u32; 4],
    /// The same for groups.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: usize,
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub capabilities: [u64; 5],
    /// The thread and what it executes cannot gain privileges (`NoNewPrivs`).
    pub no_new_privileges: bool,
    /// Mode of seccomp(2); 2 is a filter.
    pub seccomp: u8,
}

/// Index of the bounding set in [`Thread::capabilities`].
const BOUNDING: usize = 3;

impl Thread {
    /// Parses the text of /proc/PID/task/TID/status; `None` when a field is missing.
    fn parse(id: u32, text: &str) -> Option<Self> {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let four = |name: &str| -> Option<[u32; 4]> {
            let numbers: Option<Vec<u32>> = field(name)?.split_whitespace().map(|one| one.parse().ok()).collect();
            numbers?.try_into().ok()
        };
        let set = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            id,
            uids: four("Uid")?,
            gids: four("Gid")?,
            groups: field("Groups")?.split_whitespace().count(),
            capabilities: [set("CapInh")?, set("CapPrm")?, set("CapEff")?, set("CapBnd")?, set("CapAmb")?],
            no_new_privileges: field("NoNewPrivs")? == "1",
            seccomp: field("Seccomp")?.parse().ok()?,
        })
    }
}

impl State {
    /// Reads the current state from the kernel.
    pub fn read(mode: Sandbox) -> Self {
        let folder = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let mut threads: Vec<Thread> = folder
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse().ok()?;
                Thread::parse(id, &fs::read_to_string(entry.path().join("status")).ok()?)
            })
            .collect();
        threads.sort_unstable_by_key(|thread| thread.id);
        let no_core_dumps = getrlimit(Resource::Core).current == Some(0)
            && dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable);
        Self { mode, threads, landlock: None, no_core_dumps, missing: Vec::new(), notes: Vec::new() }
    }

    /// Adds to `missing` what the kernel does not confirm.
    pub(super) fn check(&self, missing: &mut Vec<String>, bounding_set_empty: bool) {
        if self.threads.is_empty() {
            missing.push("the state of the threads cannot be read in /proc".to_owned());
        }
        for thread in &self.threads {
            let named = |what: &str| format!("thread {}: {what}", thread.id);
            let root = thread.uids.contains(&0) && !missing.iter().any(|known| known.starts_with("uid 0"));
            let usable = [0, 1, 2, 4].iter().any(|set| thread.capabilities[*set] != 0);
            for (wrong, what) in [
                (root, "uid 0"),
                (usable, "capabilities left"),
                (bounding_set_empty && thread.capabilities[BOUNDING] != 0, "bounding set not empty"),
                (!thread.no_new_privileges, "new privileges possible"),
                (thread.seccomp != 2, "no filter of system calls"),
            ] {
                if wrong {
                    missing.push(named(what));
                }
            }
        }
        if !self.no_core_dumps {
            missing.push("core dumps are possible".to_owned());
        }
    }

    /// True when it holds for every thread.
    fn all(&self, has: impl Fn(&Thread) -> bool) -> bool {
        !self.threads.is_empty() && self.threads.iter().all(has)
    }
}

impl fmt::Display for State {
    /// One line: what the kernel confirms, and what is missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sandbox: ")?;
        if self.mode == Sandbox::Off {
            f.write_str("off, ")?;
        }
        match self.threads.first() {
            Some(first) if self.all(|thread| thread.uids == [first.uids[1]; 4]) => write!(f, "uid {}", first.uids[1])?,
            Some(_) => f.write_str("several uids")?,
            None => f.write_str("uid unavailable")?,
        }
        let none = self.all(|thread| [0, 1, 2, 4].iter().all(|set| thread.capabilities[*set] == 0));
        f.write_str(match (none, self.threads.is_empty()) {
            (true, _) => ", capabilities none",
            (false, false) => ", capabilities left",
            (false, true) => ", capabilities unavailable",
        })?;
        if none && !self.all(|thread| thread.capabilities[BOUNDING] == 0) {
            f.write_str(" (bounding set unusable)")?;
        }
        if self.all(|thread| thread.no_new_privileges) {
            f.write_str(", no new privileges")?;
        }
        if let Some(version) = self.landlock {
            write!(f, ", Landlock ABI {version}")?;
        }
        if self.all(|thread| thread.seccomp == 2) {
            f.write_str(", seccomp")?;
        }
        if self.no_core_dumps {
            f.write_str(", no core dumps")?;
        }
        if !self.missing.is_empty() {
            write!(f, "; missing: {}", self.missing.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tdnsrefused\nUid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n\
        Groups:\t \nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    fn state(texts: &[String]) -> State {
        let threads = texts.iter().map(|text| Thread::parse(7, text).unwrap()).collect();
        State {
            mode: Sandbox::BestEffort,
            threads,
            landlock: Some(7),
            no_core_dumps: true,
            missing: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn wrong(state: &State, bounding: bool) -> Vec<String> {
        let mut missing = Vec::new();
        state.check(&mut missing, bounding);
        missing
    }

    #[test]
    fn a_confined_process_is_said_to_be_one() {
        let state = state(&[STATUS.to_owned(), STATUS.to_owned()]);
        assert!(wrong(&state, true).is_empty());
        assert_eq!(
            state.to_string(),
            "sandbox: uid 65534, capabilities none, no new privileges, Landlock ABI 7, seccomp, no core dumps"
        );
    }

    #[test]
    fn one_thread_that_is_not_confined_is_named() {
        for (from, to, what, said) in [
            ("Uid:\t65534\t65534\t65534", "Uid:\t65534\t65534\t0", "uid 0", "several uids"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000002000", "capabilities left", "capabilities left"),
            (
                "CapBnd:\t0000000000000000",
                "CapBnd:\t0000000000002000",
                "bounding set not empty",
                "(bounding set unusable)",
            ),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "new privileges possible", "capabilities none, Landlock"),
            ("Seccomp:\t2", "Seccomp:\t0", "no filter of system calls", "ABI 7, no core dumps"),
        ] {
            let state = state(&[STATUS.to_owned(), STATUS.replace(from, to)]);
            assert_eq!(wrong(&state, true), [format!("thread 7: {what}")]);
            assert!(state.to_string().contains(said), "{state}");
        }
    }

    #[test]
    fn a_status_that_says_less_says_nothing() {
        assert!(Thread::parse(1, &STATUS.replace("Seccomp:", "Secc:")).is_none());
        let nothing = State { threads: Vec::new(), ..state(&[]) };
        assert_eq!(wrong(&nothing, true).len(), 1);
        assert!(nothing.to_string().starts_with("sandbox: uid unavailable, capabilities unavailable"));
    }
}
