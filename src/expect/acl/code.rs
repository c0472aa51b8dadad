//! Record types, classes and opcodes that servers treat specially (IANA registry "Domain Name System Parameters").

pub use crate::decode::message::TYPE_OPT as OPT;

/// Address of IPv4.
pub const A: u16 = 1;
/// Canonical name (alias).
pub const CNAME: u16 = 5;
/// Start of a zone.
pub const SOA: u16 = 6;
/// Text; servers describe themselves in such records.
pub const TXT: u16 = 16;
/// Address of IPv6.
pub const AAAA: u16 = 28;
/// Delegation signer, which belongs to the zone above.
pub const DS: u16 = 43;
/// Key agreement.
pub const TKEY: u16 = 249;
/// Signature of a message.
pub const TSIG: u16 = 250;
/// Incremental zone transfer.
pub const IXFR: u16 = 251;
/// Full zone transfer.
pub const AXFR: u16 = 252;

/// An ordinary query.
pub const QUERY: u8 = 0;
/// Notification that a zone has changed.
pub const NOTIFY: u8 = 4;
/// Update of a zone.
pub const UPDATE: u8 = 5;

/// The class of the Internet.
pub const IN: u16 = 1;
/// Chaos, the class in which servers describe themselves.
pub const CH: u16 = 3;
/// Hesiod.
pub const HS: u16 = 4;
/// In an update, the class of what must not exist.
pub const NONE: u16 = 254;
/// Every record type, or every class.
pub const ANY: u16 = 255;
