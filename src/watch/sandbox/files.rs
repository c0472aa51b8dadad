//! Limits which files the process can reach with Landlock (landlock(7)), as far as the kernel supports it.

use super::Plan;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::path::{Path, PathBuf};

/// The Landlock version whose restrictions are used. Later versions restrict what is impossible without new sockets.
const WANTED: ABI = ABI::V6;

/// Restricts writing to the output folders, and reading to what is read again; returns the kernel's version of
/// Landlock.
pub fn restrict(plan: &Plan, missing: &mut Vec<String>) -> Option<u32> {
    let status = match rules(plan) {
        Ok(status) => status,
        Err(error) => {
            missing.push(format!("Landlock: {error}"));
            return None;
        }
    };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            missing.push("Landlock: not enabled in this kernel".to_owned());
            None
        }
        (RulesetStatus::NotEnforced, _) => {
            missing.push("Landlock: not in this kernel".to_owned());
            None
        }
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Some(kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32))
        }
        (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => None,
    }
}

fn rules(plan: &Plan) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write =
        read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Refer;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rules(path_beneath_rules(plan.read_folders(), read))?
        .add_rules(path_beneath_rules(of_the_system(plan), read))?
        .add_rules(path_beneath_rules(&plan.write, write))?
        .restrict_self()
}

/// Parts of the system that stay readable: the process's own state, and the counters and names of its interfaces.
/// Entries of interfaces are links into the folder of their device, beside which a renamed one appears.
fn of_the_system(plan: &Plan) -> impl Iterator<Item = PathBuf> {
    const NAMES: &str = "/sys/class/net";
    let devices = plan
        .interfaces
        .iter()
        .filter(|name| !name.contains('/'))
        .filter_map(|name| Some(std::fs::canonicalize(Path::new(NAMES).join(name)).ok()?.parent()?.to_owned()));
    [PathBuf::from("/proc/self"), PathBuf::from(NAMES)].into_iter().chain(devices)
}
