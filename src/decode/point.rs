//! Where in a capture a packet was seen: interface, VLANs and direction to one number ([`Point`]).

use crate::capture::Direction;

/// The interface a packet was captured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// Number of the interface in the file's section; always 0 in pcap files.
    Section(u32),
    /// Index on the capturing host, from a cooked v2 header.
    Host(u32),
}

impl Default for Interface {
    fn default() -> Self {
        Interface::Section(0)
    }
}

/// Where in a capture a packet was seen: the same packet may pass several points. Packed into 64 bits, because every
/// message carries one and they are compared far more often than read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Point(u64);

/// The bit of packets for which the capture has no time.
const UNTIMED: u64 = 1 << 3;
/// The direction's bits of packets that leave a host which did not make them.
const PASSED_ON: u64 = 3;
/// Hop limits that systems give the packets they make: Linux and BSD, Windows, Solaris. One less is a router's.
const MADE_HERE: [u8; 3] = [64, 128, 255];

impl Point {
    /// Packs interface, VLAN identifiers (outermost first, 0 when absent) and direction.
    #[inline]
    pub fn new(interface: Interface, vlans: [u16; 2], direction: Direction) -> Self {
        let (host, number) = match interface {
            Interface::Section(number) => (0, number),
            Interface::Host(index) => (1, index),
        };
        let vlans = u64::from(vlans[0] & 0xfff) << 12 | u64::from(vlans[1] & 0xfff);
        Self(u64::from(number) << 32 | vlans << 4 | host << 2 | direction as u64)
    }

    /// Of a packet inside `depth` other IP packets: the same packet outside is at another point.
    #[inline]
    #[must_use]
    pub fn inside(self, depth: usize) -> Self {
        Self(self.0 | (depth as u64 & 15) << 28)
    }

    /// Of a packet with this hop limit. What leaves with another than systems begin with was made elsewhere, most likely: a
    /// host that only passes on what another one sent under a translated address.
    #[inline]
    #[must_use]
    pub fn with_hops(self, hops: u8) -> Self {
        let passed_on = self.0 & 3 == Direction::Out as u64 && !MADE_HERE.contains(&hops);
        Self(self.0 | if passed_on { PASSED_ON } else { 0 })
    }

    /// The packet leaves, but seems to be made by another host.
    #[inline]
    pub fn is_passed_on(self) -> bool {
        self.0 & 3 == PASSED_ON
    }

    /// Of a packet for which the capture has no time: whatever time it is given elsewhere is another packet's.
    #[must_use]
    pub fn untimed(self) -> Self {
        Self(self.0 | UNTIMED)
    }

    /// The capture has no time for the packet.
    pub fn is_untimed(self) -> bool {
        self.0 & UNTIMED != 0
    }

    /// The point as 32 bits, for where little room is left; different points differ in it but for chance. Packets with and
    /// without a time are at the same.
    #[inline]
    pub fn folded(self) -> u32 {
        ((self.0 & !UNTIMED).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The point as one number, for [`Point::from_bits`].
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The point that this number is of.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The interface.
    pub fn interface(self) -> Interface {
        let number = (self.0 >> 32) as u32;
        if self.0 >> 2 & 1 == 1 { Interface::Host(number) } else { Interface::Section(number) }
    }

    /// VLAN identifiers, outermost first; 0 when absent. Deeper tags are opened but not kept.
    pub fn vlans(self) -> [u16; 2] {
        [(self.0 >> 16 & 0xfff) as u16, (self.0 >> 4 & 0xfff) as u16]
    }

    /// Leaving or arriving.
    #[inline]
    pub fn direction(self) -> Direction {
        match self.0 & 3 {
            1 => Direction::In,
            2 | PASSED_ON => Direction::Out,
            _ => Direction::Unknown,
        }
    }
}
