//! What the kernel says about this host: its interfaces (from /proc/net/dev and from /sys, which may not agree), its
//! addresses, its name and its clock.

use super::Timestamp;
use crate::error::escape_text;
use pcap::Device;
use rustix::net::netdevice::name_to_index;
use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names of the present interfaces, as the kernel lists them.
pub fn interfaces() -> Vec<String> {
    match interfaces_in_proc() {
        Some(known) => known.into_iter().map(|(name, _)| name).collect(),
        None => interfaces_in_sys(),
    }
}

/// Interfaces of this network namespace with the number of packets they received; `None` where that cannot be read.
fn interfaces_in_proc() -> Option<Vec<(String, u64)>> {
    let text = std::fs::read("/proc/self/net/dev").ok()?;
    let text = String::from_utf8_lossy(&text);
    let interface = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        Some((name.trim().to_owned(), counts.split_whitespace().nth(1)?.parse().ok()?))
    };
    let mut known: Vec<(String, u64)> = text.lines().filter_map(interface).collect();
    known.sort();
    Some(known)
}

/// Interfaces of the network namespace in which /sys was mounted.
pub(super) fn interfaces_in_sys() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/net")
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// An interface's index in /sys.
pub(super) fn index_in_sys(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

/// True when /sys shows the interfaces of this process's network namespace. After `nsenter -n` it shows those of
/// another one, some or all of which may have the same names and indexes, but not the same counters.
pub(super) fn sys_is_ours(socket: BorrowedFd<'_>) -> bool {
    let received = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/class/net/{name}/statistics/rx_packets")).ok()?.trim().parse().ok()
    };
    let agrees = || {
        let in_sys = interfaces_in_sys().into_iter().filter(|name| index_in_sys(name).is_some());
        let in_sys: Vec<(Option<u64>, String)> = in_sys.map(|name| (received(&name), name)).collect();
        let Some(ours) = interfaces_in_proc() else { return true };
        in_sys.len() == ours.len()
            && in_sys.iter().zip(&ours).all(|((before, name), (own, count))| {
                name == own
                    && index_in_sys(name) == name_to_index(socket, name).ok()
                    && before.is_none_or(|before| before <= *count)
                    && received(name).is_none_or(|after| *count <= after)
            })
    };
    // An interface may come or go in between.
    (0..3).any(|_| agrees())
}

/// Names of interfaces by index, escaped; interfaces that appear later are not included.
pub fn interfaces_by_index(socket: BorrowedFd<'_>) -> HashMap<u32, String> {
    let index = |name: &str| name_to_index(socket, name).ok();
    interfaces().into_iter().filter_map(|name| Some((index(&name)?, escape_text(&name)))).collect()
}

/// This host's addresses.
pub fn local_addresses() -> Vec<IpAddr> {
    let devices = Device::list().unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        devices.iter().flat_map(|device| device.addresses.iter().map(|address| address.addr)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The name of this host.
pub fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    (!name.is_empty() && name != "(none)").then_some(name)
}

/// Where the kernel lists loaded modules.
const MODULES: &str = "/sys/module";

/// True when the kernel has loaded what ESP needs: somebody on this host, in any network namespace, may use `IPsec`,
/// and what leaves through it is captured encrypted only. A kernel with ESP built in does not show this.
pub fn may_use_ipsec() -> bool {
    has_loaded(Path::new(MODULES), &["esp4", "esp6"])
}

/// True when one of these modules is loaded; built-in ones have no reference count.
fn has_loaded(modules: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| modules.join(name).join("refcnt").exists())
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Index of the loopback interface.
pub(super) fn loopback_index() -> Option<u32> {
    let read = || std::fs::read_to_string("/sys/class/net/lo/ifindex").ok()?.trim().parse().ok();
    // It is the first interface in every network namespace.
    read().or(Some(1))
}

/// True when an interface's flags say that it is up (`IFF_UP` of linux/if.h); `None` when they can no longer be read.
pub(super) fn is_up(flags: &File) -> Option<bool> {
    let text = read_small(flags)?;
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(|flags| flags & 1 == 1)
}

/// True when an interface has no carrier, as when its cable is out; for an interface that is down this is not known.
pub(super) fn has_no_carrier(carrier: &File) -> bool {
    read_small(carrier).as_deref() == Some("0")
}

/// Reads a short text from the start of a file.
pub(super) fn read_small(file: &File) -> Option<String> {
    let mut text = [0; 64];
    let len = file.read_at(&mut text, 0).ok()?;
    Some(std::str::from_utf8(&text[..len]).ok()?.trim().to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_module_is_loaded_where_its_references_are_counted() {
        let modules = tempfile::tempdir().unwrap();
        let loaded = || has_loaded(modules.path(), &["esp4", "esp6"]);
        assert!(!loaded());
        std::fs::create_dir(modules.path().join("esp6")).unwrap();
        assert!(!loaded(), "built in, with parameters");
        std::fs::write(modules.path().join("esp6/refcnt"), "0\n").unwrap();
        assert!(loaded());
    }

    use super::*;

    #[test]
    fn this_host_has_addresses_and_a_clock() {
        assert!(local_addresses().iter().any(IpAddr::is_loopback));
        assert!(now() > Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    }
}
