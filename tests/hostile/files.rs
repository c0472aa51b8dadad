//! Builds capture files from frames: pcap and pcapng, in either byte order, with every field open to lies.

/// Seconds of the first frame: 2023-11-14 22:13:20 UTC.
pub const START: u32 = 1_700_000_000;
/// `LINKTYPE_ETHERNET`.
pub const ETHERNET: u32 = 1;

/// The fields of a pcap file header.
#[derive(Clone)]
pub struct Pcap {
    /// Numbers are big-endian.
    pub big_endian: bool,
    /// Magic number: the format's variant.
    pub magic: u32,
    /// Snapshot length.
    pub snap_length: u32,
    /// Link type, and what some writers put above it.
    pub link_type: u32,
}

/// Magic number of the common variant with microseconds.
pub const MICROSECONDS: u32 = 0xa1b2_c3d4;
/// Magic number of the variant with nanoseconds.
pub const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Magic number of the variant with eight more bytes per record.
pub const PATCHED: u32 = 0xa1b2_cd34;

impl Default for Pcap {
    fn default() -> Self {
        Self { big_endian: false, magic: MICROSECONDS, snap_length: 262_144, link_type: ETHERNET }
    }
}

/// One record of a pcap file.
#[derive(Clone)]
pub struct Record {
    /// Seconds.
    pub seconds: u32,
    /// Microseconds or nanoseconds.
    pub fraction: u32,
    /// What the record says is stored; the truth when absent.
    pub stored: Option<u32>,
    /// What the record says was on the wire; as stored when absent.
    pub original: Option<u32>,
    /// The stored bytes.
    pub data: Vec<u8>,
}

impl Record {
    /// A truthful record at the start time.
    pub fn new(data: &[u8]) -> Self {
        Self { seconds: START, fraction: 0, stored: None, original: None, data: data.to_vec() }
    }

    /// A truthful record this many microseconds after the start time.
    pub fn at(microseconds: u64, data: &[u8]) -> Self {
        Self {
            seconds: START + (microseconds / 1_000_000) as u32,
            fraction: (microseconds % 1_000_000) as u32,
            ..Self::new(data)
        }
    }

    /// The first `length` bytes of a frame, cut by the snapshot length.
    pub fn cut(frame: &[u8], length: usize) -> Self {
        Self { original: Some(frame.len() as u32), ..Self::new(&frame[..length]) }
    }
}

impl Pcap {
    fn number(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// The file header.
    pub fn header(&self) -> Vec<u8> {
        let version = if self.big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let mut bytes = self.number(self.magic).to_vec();
        bytes.extend(version);
        bytes.extend([0; 8]);
        bytes.extend(self.number(self.snap_length));
        bytes.extend(self.number(self.link_type));
        bytes
    }

    /// One record.
    pub fn record(&self, record: &Record) -> Vec<u8> {
        let length = record.data.len() as u32;
        let mut bytes = Vec::with_capacity(record.data.len() + 24);
        bytes.extend(self.number(record.seconds));
        bytes.extend(self.number(record.fraction));
        bytes.extend(self.number(record.stored.unwrap_or(length)));
        bytes.extend(self.number(record.original.unwrap_or(length)));
        if self.magic == PATCHED {
            bytes.extend([0; 8]);
        }
        bytes.extend(&record.data);
        bytes
    }

    /// The whole file.
    pub fn file(&self, records: &[Record]) -> Vec<u8> {
        let mut bytes = self.header();
        for record in records {
            bytes.extend(self.record(record));
        }
        bytes
    }

    /// A file of frames one microsecond apart.
    pub fn frames<F: AsRef<[u8]>>(&self, frames: &[F]) -> Vec<u8> {
        let mut bytes = self.header();
        for (index, frame) in frames.iter().enumerate() {
            bytes.extend(self.record(&Record::at(index as u64, frame.as_ref())));
        }
        bytes
    }
}

/// An ordinary pcap file of Ethernet frames one microsecond apart.
pub fn pcap<F: AsRef<[u8]>>(frames: &[F]) -> Vec<u8> {
    Pcap::default().frames(frames)
}

/// An ordinary pcap file of Ethernet frames at the given microseconds after the start time.
pub fn pcap_at(frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let records: Vec<Record> = frames.iter().map(|(time, frame)| Record::at(*time, frame)).collect();
    Pcap::default().file(&records)
}

/// Makes the blocks of a pcapng file in one byte order.
#[derive(Clone, Copy, Default)]
pub struct Blocks {
    /// Numbers are big-endian.
    pub big_endian: bool,
}

/// Little-endian blocks, as most files have.
pub const LITTLE: Blocks = Blocks { big_endian: false };
/// Big-endian blocks.
pub const BIG: Blocks = Blocks { big_endian: true };

impl Blocks {
    /// A number of four bytes.
    pub fn u32(self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A number of two bytes.
    pub fn u16(self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A block with its true length at both ends.
    pub fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = body.len().next_multiple_of(4) as u32 + 12;
        self.block_claiming(kind, body, length, length)
    }

    /// A block that states any length in front and behind.
    pub fn block_claiming(self, kind: u32, body: &[u8], front: u32, behind: u32) -> Vec<u8> {
        let mut bytes = self.u32(kind).to_vec();
        bytes.extend(self.u32(front));
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(self.u32(behind));
        bytes
    }

    /// A section header block.
    pub fn section(self) -> Vec<u8> {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    /// An option.
    pub fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = self.u16(code).to_vec();
        bytes.extend(self.u16(value.len() as u16));
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An interface description block for Ethernet with the given options.
    pub fn interface(self, options: &[u8]) -> Vec<u8> {
        self.interface_of_type(1, 0, options)
    }

    /// An interface description block.
    pub fn interface_of_type(self, link_type: u16, snap_length: u32, options: &[u8]) -> Vec<u8> {
        let mut body = self.u16(link_type).to_vec();
        body.extend([0, 0]);
        body.extend(self.u32(snap_length));
        body.extend(options);
        self.block(1, &body)
    }

    /// An enhanced packet block.
    pub fn packet(self, packet: &Packet<'_>) -> Vec<u8> {
        self.block(6, &self.packet_body(packet))
    }

    /// The body of an enhanced packet block.
    pub fn packet_body(self, packet: &Packet<'_>) -> Vec<u8> {
        let length = packet.data.len() as u32;
        let mut body = self.u32(packet.interface).to_vec();
        body.extend(self.u32((packet.time >> 32) as u32));
        body.extend(self.u32(packet.time as u32));
        body.extend(self.u32(packet.stored.unwrap_or(length)));
        body.extend(self.u32(packet.original.unwrap_or(length)));
        body.extend(packet.data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(packet.options);
        body
    }

    /// A simple packet block.
    pub fn simple_packet(self, data: &[u8]) -> Vec<u8> {
        let mut body = self.u32(data.len() as u32).to_vec();
        body.extend(data);
        self.block(3, &body)
    }

    /// An obsolete packet block of interface 0.
    pub fn obsolete_packet(self, time: u64, data: &[u8]) -> Vec<u8> {
        let mut body = self.u16(0).to_vec();
        body.extend(self.u16(0xffff));
        body.extend(self.u32((time >> 32) as u32));
        body.extend(self.u32(time as u32));
        body.extend(self.u32(data.len() as u32));
        body.extend(self.u32(data.len() as u32));
        body.extend(data);
        self.block(2, &body)
    }
}

/// The fields of an enhanced packet block.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    /// Interface it came from.
    pub interface: u32,
    /// Time in the interface's units.
    pub time: u64,
    /// What the block says is stored; the truth when absent.
    pub stored: Option<u32>,
    /// What the block says was on the wire; the truth when absent.
    pub original: Option<u32>,
    /// The packet.
    pub data: &'a [u8],
    /// Options behind it.
    pub options: &'a [u8],
}

/// A truthful packet of interface 0 at the start time in microseconds.
pub fn packet(data: &[u8]) -> Packet<'_> {
    Packet { interface: 0, time: u64::from(START) * 1_000_000, stored: None, original: None, data, options: &[] }
}
