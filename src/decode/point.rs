//! Where in a capture a packet was seen ([`Point`]): interface, VLANs and direction in one number.

use crate::capture::Direction;

/// The interface a packet was captured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// Number of the interface in the file's section; always 0 in pcap files.
    Section(u32),
    /// Index on the capturing host, from a cooked v2 header.
    Host(u32),
}

impl Interface {
    /// The loopback interface of Linux, whose number is the same in every namespace.
    pub const LOOPBACK: Self = Self::Host(1);
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

/// Marks packets for which the capture has no time.
const UNTIMED: u64 = 1 << 3;
/// Marks packets with a hop limit that says that a router forwarded them.
const ROUTED: u64 = 1 << 31;
/// Initial hop limits: Linux and BSD, Windows, Solaris. A forwarded packet has less.
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

    /// For a packet inside `depth` other IP packets: the same packet outside is at another point.
    #[inline]
    #[must_use]
    pub fn inside(self, depth: usize) -> Self {
        Self(self.0 | (depth as u64 & 7) << 28)
    }

    /// For a packet with this hop limit. If it is not an initial one, the packet was most likely made elsewhere and
    /// forwarded by a router or by this host, perhaps with a translated address.
    #[inline]
    #[must_use]
    pub fn with_hops(self, hops: u8) -> Self {
        Self(self.0 | if MADE_HERE.contains(&hops) { 0 } else { ROUTED })
    }

    /// True when the packet seems to have been forwarded, by a router or by this host.
    #[inline]
    pub fn is_routed(self) -> bool {
        self.0 & ROUTED != 0
    }

    /// True when the packet leaves but seems to have been made by another host.
    #[inline]
    pub fn is_passed_on(self) -> bool {
        self.is_routed() && self.direction() == Direction::Out
    }

    /// For a packet for which the capture has no time: whatever time it is given elsewhere is another packet's.
    #[must_use]
    pub fn untimed(self) -> Self {
        Self(self.0 | UNTIMED)
    }

    /// True when the capture has no time for the packet.
    pub fn is_untimed(self) -> bool {
        self.0 & UNTIMED != 0
    }

    /// The point as 32 bits, for compact storage. Different points differ in it, except by chance; packets with and
    /// without a time are at the same point, whatever their hop limits.
    #[inline]
    pub fn folded(self) -> u32 {
        ((self.0 & !(UNTIMED | ROUTED)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The point as one number, for [`Point::from_bits`].
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The point of a number from [`Point::to_bits`].
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
            2 => Direction::Out,
            _ => Direction::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_limit_tells_whether_a_packet_was_routed_and_changes_no_place() {
        let all = [Direction::Unknown, Direction::In, Direction::Out];
        for (direction, hops) in
            all.into_iter().flat_map(|direction| [64, 63, 128, 127, 255, 254].map(|hops| (direction, hops)))
        {
            let point = Point::new(Interface::Host(u32::MAX), [0xfff, 0xfff], direction).inside(4);
            let with = point.with_hops(hops);
            assert_eq!(
                (with.interface(), with.vlans(), with.direction()),
                (Interface::Host(u32::MAX), [0xfff; 2], direction)
            );
            assert_eq!((with.folded(), with.is_untimed()), (point.folded(), false), "{direction:?} {hops}");
            let routed = matches!(hops, 63 | 127 | 254);
            assert_eq!(
                (with.is_routed(), with.is_passed_on()),
                (routed, routed && direction == Direction::Out),
                "{direction:?} {hops}"
            );
        }
    }
}
