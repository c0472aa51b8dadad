//! Formats numbers, addresses, flags and lists as the text of a cell. Every row has a dozen cells, and `std::fmt` would
//! cost more than the rest of the row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Appends a number in decimal digits.
#[inline]
pub fn write_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address in its usual form (RFC 5952).
pub fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    let mut text = Characters { bytes: [0; ROOM], len: 0 };
    match address {
        IpAddr::V4(address) => text.push_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            None => text.push_v6(address),
            Some(inner) => {
                text.push(*b"::ffff::", 7);
                text.push_v4(inner);
            }
        },
    }
    out.extend_from_slice(&text.bytes[..text.len]);
}

/// Characters of the longest address, with room for what is written beyond it and not counted.
const ROOM: usize = 39 + 8;

/// The text of one address.
struct Characters {
    bytes: [u8; ROOM],
    len: usize,
}

/// The decimal digits of each byte with a dot after them, and the number of these characters.
const DECIMAL: [([u8; 4], u8); 256] = {
    let mut all = [([0; 4], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let [hundreds, tens, ones] = [byte / 100, byte / 10 % 10, byte % 10];
        let [hundreds, tens, ones] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        all[byte] = match byte {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        byte += 1;
    }
    all
};

/// The two hexadecimal digits of each byte.
const HEXADECIMAL: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    all
};

impl Characters {
    /// Appends the first `len` of an array of characters: copying all of them and truncating is cheaper than copying
    /// exactly `len`.
    #[inline]
    fn push<const COUNT: usize>(&mut self, characters: [u8; COUNT], len: usize) {
        if let Some(place) = self.bytes[self.len..].first_chunk_mut() {
            *place = characters;
        }
        self.len += len;
    }

    #[inline]
    fn push_v4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            let (digits, len) = DECIMAL[usize::from(octet)];
            self.push(digits, usize::from(len));
        }
        // Without the last dot.
        self.len -= 1;
    }

    fn push_v6(&mut self, address: Ipv6Addr) {
        let groups = address.segments();
        let (start, count) = longest_zeros(&groups);
        // A single zero group is not left out (RFC 5952 section 4.2.2).
        let left_out = if count > 1 { start..start + count } else { 8..8 };
        for (at, group) in groups.into_iter().enumerate() {
            if at == left_out.start {
                self.push(*b"::", 2);
            }
            if left_out.contains(&at) {
                continue;
            }
            let [high, low] = group.to_be_bytes().map(|byte| HEXADECIMAL[usize::from(byte)]);
            let zeros = group.max(1).leading_zeros() / 4;
            let digits = u32::from_le_bytes([high[0], high[1], low[0], low[1]]) >> (8 * zeros);
            self.push(digits.to_le_bytes(), 4 - zeros as usize);
            if at < 7 && at + 1 != left_out.start {
                self.push(*b":", 1);
            }
        }
    }
}

/// Start of the longest run of zero groups (the first of several), and its length.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut run) = ((0, 0), (0, 0));
    for (at, group) in groups.iter().enumerate() {
        run = if *group != 0 { (at + 1, 0) } else { (run.0, run.1 + 1) };
        if run.1 > longest.1 {
            longest = run;
        }
    }
    longest
}

/// Appends a header's flags by their names in RFC 1035 and RFC 4035.
pub fn write_flags(flags: u16, out: &mut Vec<u8>) {
    let names = [(15, b"qr"), (10, b"aa"), (9, b"tc"), (8, b"rd"), (7, b"ra"), (5, b"ad"), (4, b"cd")];
    let set = names.iter().filter(|(bit, _)| flags >> bit & 1 == 1);
    write_list(set, out, |(_, name), out| out.extend_from_slice(*name));
}

/// Appends a list joined by `;`.
pub fn write_list<T>(list: impl Iterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (index, item) in list.enumerate() {
        if index > 0 {
            out.push(b';');
        }
        write(item, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_does(
            v4 in any::<u32>(),
            groups in proptest::array::uniform8(prop_oneof![3 => Just(0), 1 => 0..300u16, 1 => any::<u16>(), 1 => Just(0xffff)]),
        ) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(groups.into())] {
                prop_assert_eq!(text(|out| write_address(address, out)), address.to_string());
            }
        }
    }

    #[test]
    fn addresses_at_the_edges() {
        for address in ["::", "::1", "1::", "::ffff:192.0.2.1", "::192.0.2.1", "1:0:0:2::3", "1:0:2:3:4:5:6:0", "0:1::"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(text(|out| write_address(address, out)), address.to_string());
        }
    }

    #[test]
    fn flags_are_named_in_the_order_of_the_header() {
        assert_eq!(text(|out| write_flags(0, out)), "");
        assert_eq!(text(|out| write_flags(0x8100, out)), "qr;rd");
        assert_eq!(text(|out| write_flags(0xffff, out)), "qr;aa;tc;rd;ra;ad;cd");
    }
}
