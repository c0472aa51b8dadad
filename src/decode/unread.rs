//! Packets between known addresses whose contents could not be read ([`Unread`]); each may have been a response.

use super::ip::Packet;
use super::{Bucket, UDP, link, wrapping};

/// IP payload compression (RFC 3173), which is part of `IPsec`.
const IPCOMP: u8 = 108;

/// A packet that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Where its frame ends.
    pub bucket: Bucket,
    /// It is a packet of `IPsec`. Linux shows a capture arriving packets both encrypted and decrypted, but leaving
    /// packets only encrypted: queries can then be read where no response can, and between other addresses than the
    /// tunnel's.
    pub ipsec: bool,
}

impl Unread {
    /// From a packet that ends in `bucket`, when that bucket means that it could not be read. `payload` is what follows
    /// its header.
    #[cold]
    pub(super) fn new(bucket: Bucket, packet: &Packet, payload: &[u8]) -> Option<Self> {
        let sealed = match bucket {
            Bucket::SnapCut | Bucket::TransportMalformed => false,
            Bucket::NotOpened => true,
            _ => return None,
        };
        let port = |at: usize| link::number(payload, at).ok();
        let ipsec = match packet.protocol {
            wrapping::ESP | IPCOMP => true,
            UDP => [port(0), port(2)].contains(&Some(wrapping::ESP_PORT)),
            _ => false,
        };
        Some(Self { bucket, ipsec: sealed && ipsec })
    }
}
