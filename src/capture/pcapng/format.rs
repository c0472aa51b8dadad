//! Numbers of pcapng (draft-ietf-opsawg-pcapng) that reading and writing share.

/// Block type of a section header; reads the same in both byte orders.
pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Block type of an interface description.
pub const INTERFACE_DESCRIPTION: u32 = 1;
/// Block type of a packet in the obsolete form before the enhanced packet block.
pub const OBSOLETE_PACKET: u32 = 2;
/// Block type of a packet without a time (simple packet block).
pub const SIMPLE_PACKET: u32 = 3;
/// Block type of what an interface received and lost (interface statistics block).
pub const INTERFACE_STATISTICS: u32 = 5;
/// Block type of a packet (enhanced packet block).
pub const ENHANCED_PACKET: u32 = 6;
/// Magic number that shows the byte order of a section.
pub const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Bytes around the body of any block: type, length, and the length again.
pub const BLOCK_OVERHEAD: usize = 12;
/// Bytes of a section header before its options.
pub const SECTION_BODY: usize = 16;
/// Bytes of an interface description before its options.
pub const INTERFACE_BODY: usize = 8;
/// Bytes of an interface statistics block before its options.
pub const STATISTICS_BODY: usize = 12;

/// End of the options.
pub const OPTION_END: u16 = 0;
/// A comment.
pub const OPTION_COMMENT: u16 = 1;
/// The name of an interface.
pub const OPTION_INTERFACE_NAME: u16 = 2;
/// Flags of a packet, among them its direction (enhanced packet block).
pub const OPTION_EPB_FLAGS: u16 = 2;
/// The program that wrote a section.
pub const OPTION_APPLICATION: u16 = 4;
/// Packets lost between a packet and the one before it (of an enhanced packet block).
pub const OPTION_DROPPED_BEFORE: u16 = 4;
/// Packets dropped by an interface so far.
pub const OPTION_DROPPED_BY_INTERFACE: u16 = 5;
/// Packets that passed an interface's filter so far.
pub const OPTION_PASSED_FILTER: u16 = 6;
/// Packets dropped by the operating system so far.
pub const OPTION_DROPPED_BY_SYSTEM: u16 = 7;
/// Packets handed to the capturing program so far.
pub const OPTION_DELIVERED: u16 = 8;
/// Resolution of an interface's times.
pub const OPTION_TIME_RESOLUTION: u16 = 9;
/// The filter of an interface.
pub const OPTION_FILTER: u16 = 11;
/// Seconds to add to an interface's times.
pub const OPTION_TIME_OFFSET: u16 = 14;

/// Start of the name that this program gives as the author of a section.
pub const APPLICATION: &str = "dnsrefused ";
/// First byte of a filter option that holds an expression of libpcap.
pub const FILTER_IS_TEXT: u8 = 0;
