//! The two addresses of a packet ([`Ends`]), in a form that is quick to compare and to hash.

use super::key::Key;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of a packet. IPv4 and IPv6 never compare equal, not even as IPv4-mapped addresses.
///
/// Aligned to four bytes to take less memory, because every pair of addresses met is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(4))]
pub struct Ends {
    source: [u64; 2],
    destination: [u64; 2],
    v6: bool,
}

/// An address as two halves; the low half holds an IPv4 address.
#[inline]
fn halves(octets: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_be_bytes(octets);
    [(bits >> 64) as u64, bits as u64]
}

/// One of the two addresses, in the form that [`Ends`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    halves: [u64; 2],
    v6: bool,
}

impl From<Address> for IpAddr {
    fn from(Address { halves: [high, low], v6 }: Address) -> Self {
        if v6 {
            IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
        } else {
            IpAddr::V4(Ipv4Addr::from(low as u32))
        }
    }
}

impl Ends {
    /// From the header of an IPv4 packet.
    #[inline]
    pub fn v4(source: [u8; 4], destination: [u8; 4]) -> Self {
        let low = |octets| [0, u64::from(u32::from_be_bytes(octets))];
        Self { v6: false, source: low(source), destination: low(destination) }
    }

    /// From the header of an IPv6 packet.
    #[inline]
    pub fn v6(source: [u8; 16], destination: [u8; 16]) -> Self {
        Self { v6: true, source: halves(source), destination: halves(destination) }
    }

    /// The other direction.
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { v6: self.v6, source: self.destination, destination: self.source }
    }

    /// True when `other` is the other direction.
    #[inline]
    #[must_use]
    pub fn is_reverse_of(self, other: Ends) -> bool {
        self.v6 == other.v6 && { self.source } == { other.destination } && { self.destination } == { other.source }
    }

    /// Of an IPv6 packet.
    pub fn is_v6(self) -> bool {
        self.v6
    }

    /// The sender.
    pub fn source(self) -> IpAddr {
        self.sender().into()
    }

    /// The receiver.
    pub fn destination(self) -> IpAddr {
        self.receiver().into()
    }

    /// The sender, where it is compared and not shown.
    #[inline]
    pub fn sender(self) -> Address {
        Address { halves: self.source, v6: self.v6 }
    }

    /// The receiver, likewise.
    #[inline]
    pub fn receiver(self) -> Address {
        Address { halves: self.destination, v6: self.v6 }
    }

    /// A keyed hash of both ends in this direction.
    pub fn hash(self, key: &Key) -> u64 {
        self.hash_from_client(false, key)
    }

    /// A keyed hash of both ends in the direction from client to server, which in a response is the reverse of this
    /// one. Without a branch, because the kind of the next packet is unpredictable.
    #[allow(clippy::inline_always)] // else these are copied for the call
    #[inline(always)]
    pub fn hash_from_client(self, response: bool, key: &Key) -> u64 {
        if self.v6 {
            let exchange = u64::from(response).wrapping_neg();
            let [high, low] = [0, 1].map(|half| (self.source[half] ^ self.destination[half]) & exchange);
            let with = |[one, two]: [u64; 2]| [one ^ high, two ^ low];
            key.numbers([with(self.source), with(self.destination)])
        } else {
            let both = self.source[1] << 32 | self.destination[1];
            key.numbers([[both.rotate_left(u32::from(response) * 32), 0]])
        }
    }
}
