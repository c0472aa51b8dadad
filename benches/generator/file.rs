//! Writes capture files: classic pcap and pcapng, in microseconds or nanoseconds.

use std::io::{self, Write};

/// The file format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap, little-endian.
    Pcap,
    /// pcapng with one section and one interface, little-endian.
    Pcapng,
}

/// A capture file being written.
pub struct CaptureFile<W> {
    out: W,
    format: Format,
    nanoseconds: bool,
    written: u64,
}

impl<W: Write> CaptureFile<W> {
    /// Writes the file header for a link type; the snapshot length is 262,144.
    pub fn new(mut out: W, format: Format, link_type: u16, nanoseconds: bool) -> io::Result<Self> {
        let mut header = Vec::new();
        match format {
            Format::Pcap => {
                let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
                header.extend(magic.to_le_bytes());
                header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                header.extend(262_144_u32.to_le_bytes());
                header.extend(u32::from(link_type).to_le_bytes());
            }
            Format::Pcapng => {
                header.extend([0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
                header.extend([0xff; 8]);
                header.extend(28_u32.to_le_bytes());
                header.extend([1, 0, 0, 0, 32, 0, 0, 0]);
                header.extend(u32::from(link_type).to_le_bytes());
                header.extend(262_144_u32.to_le_bytes());
                header.extend([9, 0, 1, 0, if nanoseconds { 9 } else { 6 }, 0, 0, 0, 0, 0, 0, 0]);
                header.extend(32_u32.to_le_bytes());
            }
        }
        out.write_all(&header)?;
        Ok(Self { out, format, nanoseconds, written: header.len() as u64 })
    }

    /// Writes one whole packet.
    pub fn packet(&mut self, nanoseconds: u64, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u32;
        match self.format {
            Format::Pcap => {
                let fraction = nanoseconds % 1_000_000_000 / if self.nanoseconds { 1 } else { 1000 };
                let mut header = [0; 16];
                header[..4].copy_from_slice(&((nanoseconds / 1_000_000_000) as u32).to_le_bytes());
                header[4..8].copy_from_slice(&(fraction as u32).to_le_bytes());
                header[8..12].copy_from_slice(&length.to_le_bytes());
                header[12..].copy_from_slice(&length.to_le_bytes());
                self.out.write_all(&header)?;
                self.out.write_all(frame)?;
                self.written += 16 + u64::from(length);
            }
            Format::Pcapng => {
                let padding = frame.len().next_multiple_of(4) - frame.len();
                let total = (32 + frame.len() + padding) as u32;
                let units = if self.nanoseconds { nanoseconds } else { nanoseconds / 1000 };
                let mut header = [0; 28];
                header[0] = 6;
                header[4..8].copy_from_slice(&total.to_le_bytes());
                header[12..16].copy_from_slice(&((units >> 32) as u32).to_le_bytes());
                header[16..20].copy_from_slice(&(units as u32).to_le_bytes());
                header[20..24].copy_from_slice(&length.to_le_bytes());
                header[24..].copy_from_slice(&length.to_le_bytes());
                self.out.write_all(&header)?;
                self.out.write_all(frame)?;
                self.out.write_all(&[0; 3][..padding])?;
                self.out.write_all(&total.to_le_bytes())?;
                self.written += u64::from(total);
            }
        }
        Ok(())
    }

    /// Ends the file and returns its length in bytes.
    pub fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.written)
    }
}
