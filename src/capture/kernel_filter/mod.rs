//! Makes the filters that the kernel runs: expressions (pcap-filter(7)) that catch all DNS ([`dns`]) or only REFUSED
//! responses ([`refused`]), and programs: compiled expressions adapted to a packet socket ([`for_socket`]), and the one
//! that spreads packets over the handles of a fan-out group ([`by_addresses`]).

mod expressions;
mod programs;

pub use expressions::{dns, is_complete, passed, refused};
pub use programs::{EVERYTHING, NOTHING, by_addresses, compile, for_socket, instructions};

/// `LINKTYPE_ETHERNET`.
pub const ETHERNET: u16 = 1;
/// `LINKTYPE_LINUX_SLL`.
pub const LINUX_SLL: u16 = 113;
/// `LINKTYPE_LINUX_SLL2`.
pub const LINUX_SLL2: u16 = 276;
/// `LINKTYPE_RAW`.
pub const RAW: u16 = 101;

/// Offset of the protocol field in a cooked header, and the header's length; `None` for other link types.
fn cooked(link_type: u16) -> Option<(usize, usize)> {
    match link_type {
        LINUX_SLL => Some((14, 16)),
        LINUX_SLL2 => Some((0, 20)),
        _ => None,
    }
}
