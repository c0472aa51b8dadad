//! Gives up user, groups and capabilities, so that none of them can be regained.

use super::Plan;
use crate::error::escape_text;
use rustix::fs::{Gid, Mode, Uid};
use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// User and group that own nothing: the kernel's own overflow identity, `nobody` in most systems.
const NOBODY: u32 = 65534;

/// Programs started from here on (there are none) cannot gain privileges.
pub fn no_new_privileges(missing: &mut Vec<String>) {
    if let Err(error) = set_no_new_privs(true) {
        missing.push(format!("no new privileges: {error}"));
    }
}

/// Empties the bounding and ambient sets. False when the process had no right to; that loses nothing, because without
/// new privileges the bounding set has no effect.
pub fn drop_bounding_and_ambient() -> bool {
    let _ = clear_ambient_capability_set();
    // Only capabilities that the kernel reports are tried; others are invalid.
    (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).all(|capability| {
        !capability_is_in_bounding_set(capability).unwrap_or(false)
            || remove_capability_from_bounding_set(capability).is_ok()
    })
}

/// As root, becomes an unprivileged user who can still write the outputs: `nobody` where that is enough, else the owner
/// of the output folder. Only where the owner is root, the process stays root without capabilities, which is reported
/// as missing.
pub fn change_user(plan: &Plan, missing: &mut Vec<String>, notes: &mut Vec<String>) {
    umask(Mode::from_bits_retain(0o077));
    if !geteuid().is_root() {
        return;
    }
    if let Err(error) = set_thread_groups(&[]) {
        missing.push(format!("supplementary groups: {error}"));
    }
    if let Err(error) = as_user((NOBODY, NOBODY), || ()) {
        missing.push(format!(
            "uid 0 stays: this process may not become another user ({error}); CAP_SETUID and CAP_SETGID are needed"
        ));
        return;
    }
    let owners = plan.write.iter().filter_map(|folder| fs::metadata(folder).ok()).map(|data| (data.uid(), data.gid()));
    let candidates: Vec<(u32, u32)> =
        std::iter::once((NOBODY, NOBODY)).chain(owners).filter(|(uid, _)| *uid != 0).collect();
    let fits = |identity: &&(u32, u32)| {
        as_user(**identity, || plan.write.iter().all(|folder| can_write(folder))).unwrap_or(false)
    };
    let chosen = match (candidates.iter().find(fits), plan.write.iter().find(|folder| !can_write(folder))) {
        (Some(chosen), _) => *chosen,
        // Not even root can write there: opening the output will fail, and that is reported.
        (None, Some(_)) => (NOBODY, NOBODY),
        (None, None) => {
            let mut folders: Vec<String> =
                plan.write.iter().map(|folder| escape_text(&folder.to_string_lossy())).collect();
            folders.dedup();
            missing.push(format!(
                "uid 0 stays because only root can write in {}; chown it to the user who shall write",
                folders.join(" and ")
            ));
            return;
        }
    };
    let unreadable = as_user(chosen, || {
        plan.read
            .iter()
            // Opening a pipe must not block.
            .filter(|file| File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file).is_err())
            .map(|file| file.to_string_lossy().into_owned())
            .collect()
    });
    notes.extend(
        unreadable.unwrap_or_else(|_| Vec::new()).into_iter().map(|name| {
            format!("{} cannot be read as uid {}; its changes are not noticed", escape_text(&name), chosen.0)
        }),
    );
    let (uid, gid) = (Uid::from_raw(chosen.0), Gid::from_raw(chosen.1));
    if let Err(error) = set_thread_res_gid(gid, gid, gid) {
        missing.push(format!("gid {}: {error}", chosen.1));
    }
    if let Err(error) = set_thread_res_uid(uid, uid, uid) {
        missing.push(format!("uid {}: {error}", chosen.0));
        return;
    }
    if set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        missing.push("uid 0 can be had back".to_owned());
    }
}

/// Runs a function as another user, and switches back.
fn as_user<T>((uid, gid): (u32, u32), act: impl FnOnce() -> T) -> rustix::io::Result<T> {
    set_thread_res_gid(None, Gid::from_raw(gid), None)?;
    let result = set_thread_res_uid(None, Uid::from_raw(uid), None).map(|()| act());
    set_thread_res_uid(None, Uid::ROOT, None)?;
    set_thread_res_gid(None, Gid::ROOT, None)?;
    result
}

/// True when a file can be created and removed in this folder.
fn can_write(folder: &Path) -> bool {
    tempfile::Builder::new().prefix(".dnsrefused-probe-").tempfile_in(folder).is_ok()
}

/// Empties the capability sets of the thread.
pub fn drop_capabilities(missing: &mut Vec<String>) {
    let none = CapabilitySet::empty();
    if let Err(error) = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }) {
        missing.push(format!("capabilities: {error}"));
    }
}

/// Makes the process undumpable, so that packets in memory stay there. To be called after the user has changed, which
/// resets the attribute.
pub fn no_core_dumps(missing: &mut Vec<String>) {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(error) = limited.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        missing.push(format!("core dumps: {error}"));
    }
}
