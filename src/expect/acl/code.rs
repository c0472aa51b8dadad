//! Record types, classes and opcodes that servers treat specially (IANA registry "Domain Name System Parameters").

pub use crate::decode::message::TYPE_OPT as OPT;

/// Address of IPv4.
pub const A: u16 = 1;
/// Another name of the same.
pub const CNAME: u16 = 5;
/// Start of a zone.
pub const SOA: u16 = 6;
/// Text; the names under which a server tells about itself have such records.
pub const TXT: u16 = 16;
/// Address of IPv6.
pub const AAAA: u16 = 28;
/// Delegation signer, which belongs to the zone above.
pub const DS: u16 = 43;
/// Agreement upon a key.
pub const TKEY: u16 = 249;
/// Signature of a message.
pub const TSIG: u16 = 250;
/// Transfer of what changed in a zone.
pub const IXFR: u16 = 251;
/// Transfer of a zone.
pub const AXFR: u16 = 252;

/// An ordinary query.
pub const QUERY: u8 = 0;
/// A zone has changed.
pub const NOTIFY: u8 = 4;
/// A zone is to be changed.
pub const UPDATE: u8 = 5;

/// The class of the Internet.
pub const IN: u16 = 1;
/// Chaos, the class in which servers tell about themselves.
pub const CH: u16 = 3;
/// Hesiod.
pub const HS: u16 = 4;
/// The class of what must not be there, in an update.
pub const NONE: u16 = 254;
/// Every record type, or every class.
pub const ANY: u16 = 255;
