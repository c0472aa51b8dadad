//! Builds packets from fields: Ethernet, IPv4, IPv6, UDP and TCP, each of which may lie about itself.

/// Address of the client in all frames that do not say otherwise.
pub const CLIENT: [u8; 4] = [10, 0, 0, 1];
/// Address of the server in all frames that do not say otherwise.
pub const SERVER: [u8; 4] = [10, 0, 0, 2];
/// Port of the client in all frames that do not say otherwise.
pub const CLIENT_PORT: u16 = 5353;
/// `EtherType` of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// `EtherType` of a VLAN tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// "More fragments" in the field of flags and offset.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// IPv4 inside IP.
pub const IP_IN_IP: u8 = 4;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6 fragment header.
pub const FRAGMENT_HEADER: u8 = 44;
/// IPv6 destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// TCP flags.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Ends a connection at once.
pub const RST: u8 = 0x04;
/// Data with an acknowledgment.
pub const DATA: u8 = 0x18;
/// Acknowledgment alone.
pub const ACK: u8 = 0x10;

/// An Ethernet frame around an IPv4 packet.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    ethernet_of_type(TYPE_IPV4, packet)
}

/// An Ethernet frame of the given `EtherType` (or 802.3 length).
pub fn ethernet_of_type(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame with one VLAN tag in front of what `frame` carries.
pub fn tagged(vlan: u16, frame: &[u8]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend(TYPE_VLAN.to_be_bytes());
    out.extend(vlan.to_be_bytes());
    out.extend(&frame[12..]);
    out
}

/// The fields of an IPv4 header.
#[derive(Clone)]
pub struct Ipv4 {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Protocol of the payload.
    pub protocol: u8,
    /// Identification.
    pub identification: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// What the header says its own length is, in words of four bytes.
    pub header_words: u8,
    /// What the header says the total length is; the truth when absent.
    pub total_length: Option<u16>,
    /// Time to live.
    pub ttl: u8,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            source: CLIENT,
            destination: SERVER,
            protocol: UDP,
            identification: 1,
            fragment: 0,
            header_words: 5,
            total_length: None,
            ttl: 64,
        }
    }
}

impl Ipv4 {
    /// From the server to the client.
    pub fn back() -> Self {
        Self { source: SERVER, destination: CLIENT, ..Self::default() }
    }

    /// The packet with this header.
    pub fn around(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x40 | self.header_words, 0];
        packet.extend(self.total_length.unwrap_or((20 + payload.len()) as u16).to_be_bytes());
        packet.extend(self.identification.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        set_checksum(&mut packet);
        packet.extend(payload);
        packet
    }
}

/// Fills in the checksum of the IPv4 header that `packet` begins with.
pub fn set_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let mut sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The fields of an IPv6 header.
#[derive(Clone)]
pub struct Ipv6 {
    /// Last byte of the source address in `2001::/16`.
    pub source: u8,
    /// Last byte of the destination address in `2001::/16`.
    pub destination: u8,
    /// What follows the header.
    pub next_header: u8,
    /// What the header says the payload length is; the truth when absent.
    pub payload_length: Option<u16>,
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self { source: 1, destination: 2, next_header: UDP, payload_length: None }
    }
}

impl Ipv6 {
    /// The packet with this header.
    pub fn around(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(self.payload_length.unwrap_or(payload.len() as u16).to_be_bytes());
        packet.extend([self.next_header, 64]);
        for last in [self.source, self.destination] {
            packet.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(payload);
        packet
    }

    /// An Ethernet frame around the packet with this header.
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet_of_type(TYPE_IPV6, &self.around(payload))
    }
}

/// An IPv6 fragment header (RFC 8200 section 4.5) and its part of the payload; `offset` in bytes.
pub fn ipv6_fragment(next_header: u8, offset: u16, more: bool, identification: u32, part: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next_header, 0];
    bytes.extend((offset & !7 | u16::from(more)).to_be_bytes());
    bytes.extend(identification.to_be_bytes());
    bytes.extend(part);
    bytes
}

/// The fields of a UDP header.
#[derive(Clone)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// What the header says the length is; the truth when absent.
    pub length: Option<u16>,
}

impl Default for Udp {
    fn default() -> Self {
        Self { source: CLIENT_PORT, destination: 53, length: None }
    }
}

impl Udp {
    /// From the server to the client.
    pub fn back() -> Self {
        Self { source: 53, destination: CLIENT_PORT, length: None }
    }

    /// The datagram with this header (no checksum).
    pub fn around(&self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = self.source.to_be_bytes().to_vec();
        datagram.extend(self.destination.to_be_bytes());
        datagram.extend(self.length.unwrap_or((8 + payload.len()) as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }
}

/// The fields of a TCP header.
#[derive(Clone)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: u8,
    /// What the header says its own length is, in words of four bytes.
    pub header_words: u8,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { source: 4000, destination: 53, sequence: 0, acknowledgment: 1, flags: DATA, header_words: 5 }
    }
}

impl Tcp {
    /// The segment with this header (no checksum).
    pub fn around(&self, payload: &[u8]) -> Vec<u8> {
        let mut segment = self.source.to_be_bytes().to_vec();
        segment.extend(self.destination.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgment.to_be_bytes());
        segment.extend([self.header_words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        segment
    }
}

/// The frame of a UDP datagram from the client to the server.
pub fn to_server(message: &[u8]) -> Vec<u8> {
    ethernet(&Ipv4::default().around(&Udp::default().around(message)))
}

/// The frame of a UDP datagram from the server to the client.
pub fn to_client(message: &[u8]) -> Vec<u8> {
    ethernet(&Ipv4::back().around(&Udp::back().around(message)))
}

/// As [`to_server`] with the given IPv4 identification (0 never makes a copy).
pub fn to_server_numbered(identification: u16, message: &[u8]) -> Vec<u8> {
    ethernet(&Ipv4 { identification, ..Ipv4::default() }.around(&Udp::default().around(message)))
}

/// As [`to_client`] with the given IPv4 identification (0 never makes a copy).
pub fn to_client_numbered(identification: u16, message: &[u8]) -> Vec<u8> {
    ethernet(&Ipv4 { identification, ..Ipv4::back() }.around(&Udp::back().around(message)))
}
