//! Keyed hashes of what is on the wire ([`Key`]): one multiplication per sixteen bytes, its halves folded together.
//!
//! The key is drawn once per run, so that nobody can choose what collides. Results never depend on it.

use super::message::Transport;
use std::hash::{BuildHasher, Hasher};

/// Bytes hashed at once.
const BLOCK: usize = 16;

/// Hashes addresses, names and payloads.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where every hash begins.
    start: u64,
    /// What every step multiplies by.
    factor: u64,
}

impl Key {
    /// A key from the kernel's randomness.
    pub fn random() -> Self {
        let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self { start: draw(), factor: draw() }
    }

    /// Takes two more numbers into a hash.
    #[inline]
    fn step(&self, hash: u64, [first, second]: [u64; 2]) -> u64 {
        let product = u128::from(hash ^ first).wrapping_mul(u128::from(self.factor ^ second));
        product as u64 ^ (product >> 64) as u64
    }

    /// Hashes pairs of numbers.
    #[inline]
    pub fn numbers<const PAIRS: usize>(&self, pairs: [[u64; 2]; PAIRS]) -> u64 {
        pairs.into_iter().fold(self.start, |hash, pair| self.step(hash, pair))
    }

    /// Hashes bytes as they are.
    #[inline(never)]
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        self.step(self.blocks(bytes, |eight| eight), [bytes.len() as u64, 0])
    }

    /// Hashes a name's wire bytes case-blind, and the type and class after it. Length bytes are below 64 and so never
    /// taken for letters.
    #[inline]
    pub fn question(&self, name: &[u8], type_and_class: [u8; 4]) -> u64 {
        let rest = u64::from(u32::from_le_bytes(type_and_class)) << 32 | name.len() as u64;
        self.step(self.blocks(name, lowercase), [rest, 0])
    }

    /// Hashes what identifies a transaction besides its question: client and server address by `pair_hash`, the ports of
    /// both, and the message's identifier.
    #[inline]
    pub fn flow(&self, pair_hash: u64, (client_port, server_port): (u16, u16), id: u16, transport: Transport) -> u64 {
        let rest = u64::from(client_port) << 48 | u64::from(server_port) << 32 | u64::from(id) << 8 | transport as u64;
        self.step(pair_hash, [0, rest])
    }

    /// Hashes bytes in blocks, every eight of them changed before. The last block ends where the bytes end, and so begins
    /// among those of the one before it: cheaper than copying a few bytes. Bytes that only differ in how many zeros end
    /// them may have the same hash.
    #[inline]
    fn blocks(&self, bytes: &[u8], change: impl Fn(u64) -> u64) -> u64 {
        let take = |hash, block: &[u8; BLOCK]| {
            let ([first, second], _) = block.as_chunks::<8>() else { return hash };
            self.step(hash, [first, second].map(|eight| change(u64::from_le_bytes(*eight))))
        };
        let Some(last) = bytes.last_chunk::<BLOCK>() else {
            let mut padded = [0; BLOCK];
            padded[..bytes.len()].copy_from_slice(bytes);
            return take(self.start, &padded);
        };
        let (blocks, _) = bytes.as_chunks::<BLOCK>();
        take(blocks.iter().fold(self.start, take), last)
    }
}

/// Turns the ASCII capitals among eight bytes into small letters.
#[inline]
fn lowercase(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let sevens = bytes & (0x7f * ONES);
    // The highest bit of each byte: from A on, and after Z; the sums stay within their bytes.
    let from_a = sevens.wrapping_add((0x80 - b'A' as u64) * ONES);
    let after_z = sevens.wrapping_add((0x7f - b'Z' as u64) * ONES);
    let capitals = (from_a ^ after_z) & !bytes & (0x80 * ONES);
    bytes | capitals >> 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn capitals_alone_are_small_letters_in_names() {
        let key = Key::random();
        for len in [1, 15, 16, 17, 40] {
            for byte in 0..=255u8 {
                for at in [0, len / 2, len - 1] {
                    let (mut name, mut small) = (vec![7; len], vec![7; len]);
                    (name[at], small[at]) = (byte, byte.to_ascii_lowercase());
                    assert_eq!(key.question(&name, *b"\0A\0A"), key.question(&small, *b"\0A\0A"), "{byte}");
                }
            }
        }
        assert_ne!(key.question(b"\0", *b"\0A\0A"), key.question(b"\0", *b"\0a\0A"), "types have no case");
    }

    #[test]
    fn every_byte_and_the_length_matter() {
        let key = Key::random();
        let mut hashes = HashSet::new();
        let mut other = |hash| assert!(hashes.insert(hash));
        for len in 0..70 {
            other(key.bytes(&vec![0; len]));
            for at in 0..len {
                for bit in 0..8 {
                    let mut bytes = vec![0; len];
                    bytes[at] = 1 << bit;
                    other(key.bytes(&bytes));
                }
            }
        }
    }

    #[test]
    fn numbers_spread_over_all_bits() {
        let key = Key::random();
        // Counts of ones at every place of many hashes of addresses one after another; half of them are expected.
        let mut ones = [0u32; 64];
        for number in 0..10_000 {
            let hash = key.numbers([[10 << 56 | number << 32 | 0x0a00_0035, 0]]);
            ones.iter_mut().enumerate().for_each(|(place, ones)| *ones += (hash >> place & 1) as u32);
        }
        assert!(ones.iter().all(|ones| (4_000..6_000).contains(ones)), "{ones:?}");
        let [forth, back] = [[1, 2], [2, 1]].map(|pair| key.numbers([pair, [3, 4]]));
        assert!(forth != back && key.numbers([[3, 4], [1, 2]]) != forth);
    }
}
