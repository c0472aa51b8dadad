//! Keyed hashes of bytes from the wire ([`Key`]): one multiplication per sixteen bytes, its halves folded together.
//!
//! The key is drawn once per run, so that nobody can craft collisions. Results never depend on it.

use super::message::{HEADER, Transport};
use std::hash::{BuildHasher, Hasher};

/// Bytes hashed per step.
const BLOCK: usize = 16;

/// Blocks after the question in a message of usual length.
const USUAL_BLOCKS: usize = 3;

/// Hashes addresses, names and payloads.
#[derive(Debug, Clone)]
pub struct Key {
    /// Initial state of every hash.
    start: u64,
    /// Multiplier of every step.
    factor: u64,
}

impl Key {
    /// A key from the kernel's randomness.
    pub fn random() -> Self {
        let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self { start: draw(), factor: draw() }
    }

    /// Mixes two more numbers into a hash. They enter by different operations: otherwise compilers put the pair into a
    /// vector register, and every step waits for the moves there and back.
    #[inline]
    fn step(&self, hash: u64, [first, second]: [u64; 2]) -> u64 {
        let product = u128::from(hash ^ first).wrapping_mul(u128::from(self.factor.wrapping_add(second)));
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
        let Pairs { first, middle, last } = Pairs::of(bytes);
        let mut hash = self.step(self.start, first);
        for block in middle {
            hash = self.step(hash, pair(block));
        }
        self.step(self.step(hash, last), [bytes.len() as u64, 0])
    }

    /// Hashes the wire bytes of a name, with letters folded to lower case, followed by type and class. Length bytes are
    /// below 64, so they are never taken for letters.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn question(&self, name: &[u8], type_and_class: [u8; 4]) -> u64 {
        let end = u64::from(u32::from_le_bytes(type_and_class)) << 32 | name.len() as u64;
        let Pairs { first, middle, last } = Pairs::of(name);
        let mut hash = self.step(self.step(self.start, [end, 0]), lowercase(first));
        for block in middle {
            hash = self.step(hash, lowercase(pair(block)));
        }
        self.step(hash, lowercase(last))
    }

    /// Hashes a whole message, ignoring the case of letters in its question: continues from the hash of the question
    /// with the header, what is `behind` the question, and the length. That length is unpredictable, and a mispredicted
    /// branch costs more than a step: up to a usual length, all messages take the same steps, some of them over the end
    /// again.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn message(&self, question: u64, message: &[u8], behind: &[u8]) -> u64 {
        let (Some(header), Some(last)) = (message.first_chunk::<HEADER>(), message.last_chunk()) else {
            return self.bytes(message);
        };
        let (eights, end) = header.as_chunks::<8>();
        let end = end.first_chunk().map_or(0, |four| u64::from(u32::from_le_bytes(*four)));
        let rest = end << 32 | behind.len() as u64;
        let mut hash = self.step(question, [u64::from_le_bytes(eights[0]), rest]);
        let (mut at, last_at) = (message.len() - behind.len(), message.len() - BLOCK);
        for _ in 0..USUAL_BLOCKS {
            hash = self.step(hash, message[at.min(last_at)..].first_chunk().map_or([0; 2], pair));
            at += BLOCK;
        }
        // Otherwise the last block holds all that is left.
        if at < last_at {
            for block in message[at..].as_chunks().0 {
                hash = self.step(hash, pair(block));
            }
        }
        self.step(hash, pair(last))
    }

    /// Hashes what identifies a transaction besides its question: client and server address (as `pair_hash`), both
    /// ports, and the message ID.
    #[inline]
    pub fn flow(&self, pair_hash: u64, (client_port, server_port): (u16, u16), id: u16, transport: Transport) -> u64 {
        let rest = u64::from(client_port) << 48 | u64::from(server_port) << 32 | u64::from(id) << 8 | transport as u64;
        self.step(pair_hash, [0, rest])
    }
}

/// Reads sixteen bytes as two numbers.
#[inline]
fn pair(block: &[u8; BLOCK]) -> [u64; 2] {
    let (eights, _) = block.as_chunks::<8>();
    [u64::from_le_bytes(eights[0]), u64::from_le_bytes(eights[1])]
}

/// Reads bytes as pairs of numbers that determine them together with their length. Few inputs have anything in the
/// middle.
struct Pairs<'a> {
    first: [u64; 2],
    middle: &'a [[u8; BLOCK]],
    /// The last pair ends where the bytes end, so it overlaps the one before: cheaper than copying a few bytes.
    last: [u64; 2],
}

impl<'a> Pairs<'a> {
    #[allow(clippy::inline_always)] // it stays in registers
    #[inline(always)]
    fn of(bytes: &'a [u8]) -> Self {
        match (bytes.split_first_chunk(), bytes.last_chunk()) {
            (Some((first, rest)), Some(last)) => {
                Self { first: pair(first), middle: rest.as_chunks().0, last: pair(last) }
            }
            _ => {
                let both = short(bytes);
                Self { first: both, middle: &[], last: both }
            }
        }
    }
}

/// Reads fewer bytes than a block as two numbers, which may overlap.
#[inline(never)]
fn short(bytes: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        [u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last))]
    } else {
        let byte = |at: usize| bytes.get(at).copied().map_or(0, u64::from);
        [byte(0) << 8 | byte(1), byte(2)]
    }
}

/// Turns the ASCII capitals among sixteen bytes into small letters.
#[inline]
fn lowercase([first, second]: [u64; 2]) -> [u64; 2] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let small = |bytes: u64| {
        let sevens = bytes & (0x7f * ONES);
        // Sets the highest bit of each byte that is at least A, and of each above Z; the sums do not carry into the
        // next byte.
        let from_a = sevens.wrapping_add((0x80 - b'A' as u64) * ONES);
        let after_z = sevens.wrapping_add((0x7f - b'Z' as u64) * ONES);
        let capitals = (from_a ^ after_z) & !bytes & (0x80 * ONES);
        bytes | capitals >> 2
    };
    [small(first), small(second)]
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
                    let [one, other] = [&name, &small].map(|name| key.question(name, *b"\0A\0A"));
                    assert_eq!(one, other, "{byte}");
                }
            }
        }
        let root = |fixed| key.question(b"\0", fixed);
        assert_ne!(root(*b"\0A\0A"), root(*b"\0a\0A"), "types have no case");
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
    fn every_byte_of_a_message_matters() {
        let key = Key::random();
        let mut hashes = HashSet::new();
        let mut other = |name_len: usize, message: &[u8]| {
            let (name, behind) = message[HEADER..].split_at(name_len);
            let (fixed, behind) = behind.split_first_chunk().unwrap();
            assert!(hashes.insert(key.message(key.question(name, *fixed), message, behind)));
        };
        for name_len in (1..20).chain([31, 32, 33, 64, 255]) {
            for behind in (0..20).chain([31, 32, 33]) {
                let mut message = vec![b'a'; HEADER + name_len + 4 + behind];
                other(name_len, &message);
                for at in 0..message.len() {
                    for changed in [b'b', 0] {
                        message[at] = changed;
                        other(name_len, &message);
                    }
                    message[at] = b'a';
                }
            }
        }
    }

    #[test]
    fn numbers_spread_over_all_bits() {
        let key = Key::random();
        // Counts ones at every bit of the hashes of many consecutive addresses; half of them are expected.
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
