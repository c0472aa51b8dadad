//! Wireless link layers, read into a [`Link`]: IEEE 802.11 frames, plain or behind what the receiving radio says about
//! them.

use super::Bucket;
use super::link::{Link, Next, link, number};

/// Two bytes in the radio headers' little-endian order.
fn little(data: &[u8], at: usize) -> Result<usize, Bucket> {
    Ok(usize::from(number(data, at)?.swap_bytes()))
}

/// An IEEE 802.11 frame.
pub fn plain(data: &[u8]) -> Result<Link, Bucket> {
    frame(data, 0, false)
}

/// A data frame at `at`: its header, whose size depends on its flags, then LLC. `padded` says that the radio aligned
/// the payload to four bytes.
fn frame(data: &[u8], at: usize, padded: bool) -> Result<Link, Bucket> {
    let head = data.get(at..).and_then(|rest| rest.get(..24)).ok_or(Bucket::LinkMalformed)?;
    let (kind, flags) = (head[0], head[1]);
    // Management and control frames, and data frames without data.
    if kind & 0x0f != 0x08 || kind & 0x40 != 0 {
        return Err(Bucket::NonIp);
    }
    let mut len = if flags & 3 == 3 { 30 } else { 24 };
    if kind & 0x80 != 0 {
        let aggregated = *data.get(at + len).ok_or(Bucket::LinkMalformed)? & 0x80 != 0;
        if aggregated && flags & 0x40 == 0 {
            return Ok(link(Next::Sealed("aggregated 802.11"), at));
        }
        len += 2 + usize::from(flags & 0x80 != 0) * 4;
    }
    if flags & 0x40 != 0 {
        return Ok(link(Next::Sealed("encrypted 802.11"), at));
    }
    if flags & 4 != 0 || head[22] & 15 != 0 {
        return Ok(link(Next::Sealed("fragmented 802.11"), at));
    }
    let pad = if padded { len.next_multiple_of(4) - len } else { 0 };
    Ok(link(Next::Llc, at + len + pad))
}

/// Most words of "fields present" bits that are skipped.
const MAX_PRESENT: usize = 16;

/// Radiotap: version, length, present fields; only the frame's flags matter (is the payload padded?).
pub fn radiotap(data: &[u8]) -> Result<Link, Bucket> {
    let len = little(data, 2)?;
    if data[0] != 0 || len < 8 {
        return Err(Bucket::LinkMalformed);
    }
    let present = data.get(4..8).ok_or(Bucket::LinkMalformed)?;
    let mut at = 8;
    let mut last = present[3];
    for _ in 0..MAX_PRESENT {
        if last & 0x80 == 0 {
            break;
        }
        last = *data.get(at + 3).ok_or(Bucket::LinkMalformed)?;
        at += 4;
    }
    if present[0] & 1 != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    let flags = if present[0] & 2 != 0 && at < len { data.get(at).copied().unwrap_or(0) } else { 0 };
    frame(data, len, flags & 0x20 != 0)
}

/// Per-packet information: version, flags, length, link type of the frame.
pub fn per_packet_information(data: &[u8]) -> Result<Link, Bucket> {
    let len = little(data, 2)?;
    let kind = data.get(4..8).ok_or(Bucket::LinkMalformed)?;
    if data[0] != 0 || len < 8 {
        return Err(Bucket::LinkMalformed);
    }
    Ok(link(Next::LinkType(u32::from_le_bytes([kind[0], kind[1], kind[2], kind[3]])), len))
}

/// The header of Prism cards: a code and the length, in the order of the capturing host; or the AVS header.
pub fn prism(data: &[u8]) -> Result<Link, Bucket> {
    let head = data.get(..8).ok_or(Bucket::LinkMalformed)?;
    if matches!(head[..3], [0x80, 0x21, 0x10]) {
        return avs(data);
    }
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let len = if len > 0xffff { len.swap_bytes() } else { len };
    if !(8..=0xffff).contains(&len) {
        return Err(Bucket::LinkMalformed);
    }
    frame(data, len as usize, false)
}

/// The AVS header: version, length, in network order.
pub fn avs(data: &[u8]) -> Result<Link, Bucket> {
    let len = usize::from(number(data, 6)?);
    if data[4..6] != [0, 0] || len < 8 {
        return Err(Bucket::LinkMalformed);
    }
    frame(data, len, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_frame(kind: u8, flags: u8, more: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, flags];
        frame.resize(24, 0);
        frame.extend(more);
        frame
    }

    #[test]
    fn header_sizes_follow_the_flags() {
        assert_eq!(plain(&data_frame(0x08, 1, &[])), Ok(link(Next::Llc, 24)));
        assert_eq!(plain(&data_frame(0x08, 3, &[])), Ok(link(Next::Llc, 30)));
        assert_eq!(plain(&data_frame(0x88, 1, &[0, 0])), Ok(link(Next::Llc, 26)));
        assert_eq!(plain(&data_frame(0x88, 0x81, &[0, 0])), Ok(link(Next::Llc, 30)));
        assert_eq!(plain(&data_frame(0x80, 0, &[])), Err(Bucket::NonIp), "a beacon");
        assert_eq!(plain(&data_frame(0x48, 1, &[])), Err(Bucket::NonIp), "no data");
        assert_eq!(plain(&data_frame(0x08, 0x41, &[])), Ok(link(Next::Sealed("encrypted 802.11"), 0)));
        assert_eq!(plain(&data_frame(0x88, 1, &[0x80])), Ok(link(Next::Sealed("aggregated 802.11"), 0)));
    }

    #[test]
    fn radio_headers_are_passed_over() {
        // Two words of present fields, a time, flags with padding.
        let mut frame = vec![0, 0, 25, 0, 3, 0, 0, 0x80, 0, 0, 0, 0];
        frame.resize(24, 0);
        frame.push(0x20);
        frame.extend(data_frame(0x88, 1, &[0, 0]));
        assert_eq!(radiotap(&frame), Ok(link(Next::Llc, 25 + 28)));
        let mut frame = vec![0, 0, 8, 0, 105, 0, 0, 0];
        frame.extend(data_frame(0x08, 1, &[]));
        assert_eq!(per_packet_information(&frame), Ok(link(Next::LinkType(105), 8)));
    }
}
