//! Reads UDP and TCP headers into what the order-dependent half takes: a datagram with its message read, or a segment.

use super::message::{self, Transport};
use super::{Body, Bucket, Datagram, Decoder, Ends, ICMP, Segment, TCP, UDP, proxy};
use etherparse::UdpHeaderSlice;

impl Decoder {
    /// Reads the transport header at the start of `payload`, of which the IP header promised `full` bytes: returns the
    /// offset of what follows it, how much of that was captured, and the kind of entry.
    #[inline]
    pub(super) fn transport(
        &self,
        protocol: u8,
        payload: &[u8],
        full: usize,
        ends: Ends,
        ip_id: u16,
    ) -> Result<(usize, usize, Body), Bucket> {
        // The ports come first: a header truncated after them still shows that it is not DNS.
        let short = || match payload.first_chunk() {
            _ if payload.len() >= full => Bucket::TransportMalformed,
            Some(&[a, b, c, d]) if !self.ports.any([[a, b], [c, d]].map(u16::from_be_bytes)) => Bucket::OtherPort,
            _ => Bucket::SnapCut,
        };
        match protocol {
            UDP => {
                let header = UdpHeaderSlice::from_slice(payload).map_err(|_| short())?;
                let (source_port, destination_port) = (header.source_port(), header.destination_port());
                if !self.ports.any([source_port, destination_port]) {
                    return Err(Bucket::OtherPort);
                }
                let claimed = usize::from(header.length());
                if claimed < 8 {
                    return Err(Bucket::TransportMalformed);
                }
                let data = &payload[8..claimed.min(payload.len())];
                let body = self.datagram([source_port, destination_port], data, claimed - 8 > data.len(), ends, ip_id);
                Ok((8, data.len(), Body::Datagram(body)))
            }
            TCP => {
                // Options may be truncated: what matters comes before them.
                let header = payload.first_chunk::<20>().ok_or_else(short)?;
                let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
                let word = |at: usize| u32::from(number(at)) << 16 | u32::from(number(at + 2));
                let len = usize::from(header[12] >> 4) * 4;
                if len < header.len() || len > full {
                    return Err(Bucket::TransportMalformed);
                }
                let (source_port, destination_port) = (number(0), number(2));
                if !self.ports.any([source_port, destination_port]) {
                    return Err(Bucket::OtherPort);
                }
                let at = len.min(payload.len());
                let body = Body::Segment(Segment {
                    source_port,
                    destination_port,
                    sequence: word(4),
                    acknowledgment: word(8),
                    flags: header[13],
                    full_len: (full - len) as u32,
                });
                Ok((at, payload.len() - at, body))
            }
            _ if ICMP.contains(&protocol) => Err(Bucket::Icmp),
            _ => Err(Bucket::OtherProtocol),
        }
    }

    /// Reads the message in a datagram.
    pub(super) fn datagram(&self, ports: [u16; 2], data: &[u8], cut: bool, ends: Ends, ip_id: u16) -> Datagram {
        let proxy_len = proxy::len(data);
        let read = message::read_and_hash(&data[proxy_len..], cut, &self.key);
        let hash = read.and_then(|(_, hash)| hash.filter(|_| proxy_len == 0));
        let message = read.map(|(message, _)| message);
        let (pair_hash, flow_hash) =
            message.map_or((0, 0), |message| self.flow(ends, ports, message.id, message.is_response()));
        Datagram {
            source_port: ports[0],
            destination_port: ports[1],
            ip_id,
            proxy_len: proxy_len as u16,
            message,
            payload_hash: hash.unwrap_or_else(|| self.key.bytes(data)) as u32,
            pair_hash,
            flow_hash,
        }
    }

    /// Keyed hashes of client and server address, and of the flow between them; the destination is the client in a
    /// response.
    #[allow(clippy::inline_always)] // else the addresses are copied for the call
    #[inline(always)]
    pub(super) fn flow(&self, ends: Ends, [source, destination]: [u16; 2], id: u16, response: bool) -> (u64, u64) {
        let pair_hash = ends.hash_from_client(response, &self.key);
        let ports = (u32::from(source) << 16 | u32::from(destination)).rotate_left(u32::from(response) * 16);
        (pair_hash, self.key.flow(pair_hash, ((ports >> 16) as u16, ports as u16), id, Transport::Udp))
    }
}
