//! This host's addresses, including those added during the capture ([`Addresses`]).

use crate::capture::host;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Most addresses remembered.
const MOST: usize = 65_536;
/// Most messages taken in one call: more than the socket holds.
const AT_ONCE: usize = 65_536;

/// Every address this host had since the capture began: an address that was ours stays ours, so that what was said of
/// it stays true.
///
/// A confined process cannot ask for addresses: it can open no socket, and asking on an open one would be sending. But
/// the kernel announces every new address on a netlink socket opened before, and does so before a packet can arrive at
/// that address. (Reading `/proc/net/fib_trie` instead would mean reading a router's whole routing table.)
#[derive(Debug, Default)]
pub struct Addresses {
    known: HashSet<IpAddr>,
    /// `None` where it could not be opened.
    told: Option<OwnedFd>,
    /// Some announcements were lost, because they came faster than they were read.
    missed: bool,
}

impl Addresses {
    /// The present addresses, and announcements of those to come.
    pub fn listen() -> Self {
        // Listening comes first, so that no address is missed in between.
        let told = listen().ok();
        let known = host::local_addresses().into_iter().filter(|address| !address.is_unspecified()).collect();
        Self { known, told, missed: false }
    }

    /// These addresses only.
    pub fn fixed(known: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { known: known.into_iter().collect(), told: None, missed: false }
    }

    /// The socket on which the kernel announces addresses.
    pub fn socket(&self) -> Option<RawFd> {
        self.told.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// All of them.
    pub fn known(&self) -> &HashSet<IpAddr> {
        &self.known
    }

    /// True once after announcements were missed since the last call.
    pub fn has_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// Takes the kernel's announcements, and returns new addresses.
    pub fn look(&mut self) -> Vec<IpAddr> {
        let mut new = Vec::new();
        let Some(told) = &self.told else { return new };
        let mut buffer = [0; 8192];
        for _ in 0..AT_ONCE {
            match recv(told, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((message, _)) => {
                    let fits = |address: &IpAddr| self.known.len() < MOST && self.known.insert(*address);
                    new.extend(added(&buffer[..message]).into_iter().filter(fits));
                }
                // More may follow.
                Err(rustix::io::Errno::NOBUFS) => self.missed = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        new
    }
}

fn listen() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let groups = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// New addresses in messages of rtnetlink(7): `struct nlmsghdr`, `struct ifaddrmsg`, then attributes.
fn added(mut messages: &[u8]) -> Vec<IpAddr> {
    const HEADER: usize = 16;
    const IFADDRMSG: usize = 8;
    let mut addresses = Vec::new();
    while let Some(header) = messages.first_chunk::<HEADER>() {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(message) = messages.get(HEADER..len) else { break };
        if u16::from_ne_bytes([header[4], header[5]]) == libc::RTM_NEWADDR {
            // On a point-to-point link, the attribute of the other end accompanies that of the local address.
            let of = |kind| attribute(message.get(IFADDRMSG..).unwrap_or_default(), kind);
            addresses.extend(of(libc::IFA_LOCAL).or_else(|| of(libc::IFA_ADDRESS)));
        }
        messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    addresses
}

/// The address in the first attribute of a kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<IpAddr> {
    while let Some(header) = attributes.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..len)?;
        if u16::from_ne_bytes([header[2], header[3]]) == kind {
            let v6 = || <[u8; 16]>::try_from(value).map(IpAddr::from).ok();
            return <[u8; 4]>::try_from(value).map(IpAddr::from).ok().or_else(v6);
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
/// A message with attributes.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![2, 24, 0, 0, 3, 0, 0, 0];
    for (kind, value) in attributes {
        body.extend([4 + value.len() as u16, *kind].map(u16::to_ne_bytes).concat());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend([kind, 0].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
impl Addresses {
    /// These, and another one that the kernel has announced but nobody has read.
    pub fn with_news(known: impl IntoIterator<Item = IpAddr>, new: std::net::Ipv4Addr) -> Self {
        let (kernel, told) = std::os::unix::net::UnixDatagram::pair().unwrap();
        told.set_nonblocking(true).unwrap();
        kernel.send(&message(libc::RTM_NEWADDR, &[(libc::IFA_LOCAL, &new.octets())])).unwrap();
        Self { told: Some(told.into()), ..Self::fixed(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_addresses_are_taken_from_what_the_kernel_tells() {
        let v6 = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let told = [
            message(
                libc::RTM_NEWADDR,
                &[(3, b"s0\0"), (libc::IFA_ADDRESS, &[10, 0, 0, 1]), (libc::IFA_LOCAL, &[10, 0, 0, 2])],
            ),
            message(libc::RTM_DELADDR, &[(libc::IFA_ADDRESS, &[10, 0, 0, 3])]),
            message(libc::RTM_NEWADDR, &[(libc::IFA_ADDRESS, &v6)]),
        ]
        .concat();
        let wanted: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), IpAddr::from(v6)];
        assert_eq!(added(&told), wanted);
        // Any truncated or changed byte ends the reading, and does nothing else.
        for at in 0..told.len() {
            let _ = added(&told[..at]);
            for value in [0, 1, 255] {
                let mut changed = told.clone();
                changed[at] = value;
                let _ = added(&changed);
            }
        }
    }
}
