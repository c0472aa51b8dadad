//! Reads what ICMP errors say about a DNS packet ([`Quote`]): RFC 792, RFC 1122, RFC 4443.
//!
//! An error quotes the beginning of the packet it is about. The quoted packet is not counted as a message: whether it
//! was captured itself is another matter.

use super::ip;

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Nobody listens on the port.
    PortUnreachable,
    /// The host or network cannot be reached.
    Unreachable,
    /// A filter on the way forbids it.
    Prohibited,
    /// It does not fit and must not be fragmented.
    TooBig,
    /// It passed too many routers, or its fragments did not arrive in time (time exceeded).
    TimeExceeded,
    /// Anything else.
    Other,
}

impl Reason {
    /// Every reason with its name in reports.
    pub const ALL: [(&'static str, Reason); 6] = [
        ("port unreachable", Reason::PortUnreachable),
        ("unreachable", Reason::Unreachable),
        ("administratively prohibited", Reason::Prohibited),
        ("too big", Reason::TooBig),
        ("time exceeded", Reason::TimeExceeded),
        ("other", Reason::Other),
    ];
}

/// An ICMP error about a packet on a DNS port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// What it says.
    pub reason: Reason,
    /// The quoted packet came from the server's port: it is a response that could not be delivered.
    pub response: bool,
}

/// Reads an ICMP (protocol 1) or `ICMPv6` (58) error: what it says, and the packet that it quotes. `None` for other
/// messages.
pub fn read(protocol: u8, message: &[u8], extension_headers: usize) -> Option<(Reason, ip::Packet, &[u8])> {
    let head = message.get(..8)?;
    let reason = match (protocol, head[0], head[1]) {
        (1, 3, 3) | (58, 1, 4) => Reason::PortUnreachable,
        (1, 3, 9 | 10 | 13) | (58, 1, 1 | 5 | 6) => Reason::Prohibited,
        (1, 3, 4) | (58, 2, _) => Reason::TooBig,
        (1, 3, _) | (58, 1, _) => Reason::Unreachable,
        (1, 11, _) | (58, 3, _) => Reason::TimeExceeded,
        (1, 4 | 12, _) | (58, 4, _) => Reason::Other,
        _ => return None,
    };
    let quoted = &message[8..];
    let packet = ip::open(quoted, true, extension_headers).ok()?;
    // Later fragments have no ports.
    if packet.fragment.is_some_and(|fragment| fragment.offset > 0) {
        return None;
    }
    Some((reason, packet, &quoted[packet.at..packet.at + packet.captured]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn errors_of_both_versions_are_told_from_other_messages() {
        let mut v4 = vec![3, 13, 0, 0, 0, 0, 0, 0];
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1000, 53).write(&mut v4, b"query").unwrap();
        let (reason, packet, ports) = read(1, &v4, 16).unwrap();
        assert_eq!((reason, packet.protocol, &ports[..4]), (Reason::Prohibited, 17, &[3, 232, 0, 53][..]));
        // Old hosts quote only eight bytes after the header.
        assert!(read(1, &v4[..8 + 28], 16).is_some());
        assert!(read(1, &v4[..20], 16).is_none());
        v4[0] = 8;
        assert!(read(1, &v4, 16).is_none(), "an echo request");
        let mut v6 = vec![1, 4, 0, 0, 0, 0, 0, 0];
        PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(53, 1000).write(&mut v6, b"response").unwrap();
        assert_eq!(read(58, &v6, 16).map(|(reason, ..)| reason), Some(Reason::PortUnreachable));
    }
}
