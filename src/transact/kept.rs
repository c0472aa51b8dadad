//! Keeps the bytes of queries while their transactions are open, and of early responses, in chains of fixed-size chunks
//! from one pool ([`Kept`]).
//!
//! A query of ordinary length takes one or two chunks from the free list, so keeping it costs a copy but no allocation.

/// Payload bytes of a chunk: enough for most queries, because a branch on a second chunk could not be predicted.
const CHUNK: usize = 92;
/// Index that ends a chain.
const END: u32 = u32::MAX;

/// A pool of chunks.
#[derive(Debug, Default)]
pub struct Kept {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
}

/// A piece of a kept message.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    bytes: [u8; CHUNK],
    next: u32,
}

/// A handle to a kept message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptMessage {
    first: u32,
    len: u32,
}

impl KeptMessage {
    /// Nothing kept.
    pub const NONE: KeptMessage = KeptMessage { first: END, len: 0 };
}

impl Kept {
    /// How many bytes of a message to keep: `most` while the pool holds less than `total` bytes, afterwards no more
    /// than a chunk.
    #[inline]
    pub fn room(&self, most: usize, total: usize) -> usize {
        if (self.chunks.len() - self.free.len()) * size_of::<Chunk>() < total { most } else { most.min(CHUNK) }
    }

    /// Copies `bytes` into the pool.
    #[inline]
    pub fn keep(&mut self, bytes: &[u8]) -> KeptMessage {
        self.keep_before(bytes, bytes.len())
    }

    /// Copies the first `len` of `bytes` into the pool. More bytes may follow them: copying a whole chunk is faster
    /// than copying only the part that is needed.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    pub fn keep_before(&mut self, bytes: &[u8], len: usize) -> KeptMessage {
        let message = KeptMessage { first: self.chunk(bytes, len), len: len as u32 };
        let (mut previous, mut at) = (message.first, CHUNK);
        while at < len {
            let index = self.chunk(&bytes[at..], len - at);
            self.chunks[previous as usize].next = index;
            (previous, at) = (index, at + CHUNK);
        }
        message
    }

    /// Copies the first `len` of `bytes`, or as much as a chunk holds, into a chunk that ends its chain.
    #[allow(clippy::inline_always)] // once for every message
    #[inline(always)]
    fn chunk(&mut self, bytes: &[u8], len: usize) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk { bytes: [0; CHUNK], next: END });
            self.chunks.len() as u32 - 1
        });
        let chunk = &mut self.chunks[index as usize];
        match bytes.first_chunk() {
            Some(whole) => chunk.bytes = *whole,
            None => {
                let piece = &bytes[..len.min(CHUNK)];
                chunk.bytes[..piece.len()].copy_from_slice(piece);
            }
        }
        chunk.next = END;
        index
    }

    /// Copies a kept message into `out`, which is cleared first.
    pub fn read(&self, message: KeptMessage, out: &mut Vec<u8>) {
        out.clear();
        let (mut index, mut left) = (message.first, message.len as usize);
        while index != END && left > 0 {
            let chunk = &self.chunks[index as usize];
            let piece = left.min(CHUNK);
            out.extend_from_slice(&chunk.bytes[..piece]);
            left -= piece;
            index = chunk.next;
        }
    }

    /// True when a kept message begins with `bytes`, which must fit into a chunk.
    pub fn begins_with(&self, message: KeptMessage, bytes: &[u8]) -> bool {
        message.len as usize >= bytes.len()
            && self.chunks.get(message.first as usize).is_some_and(|chunk| chunk.bytes.starts_with(bytes))
    }

    /// Returns the chunks of a message to the pool.
    #[inline]
    pub fn release(&mut self, message: KeptMessage) {
        if message.first == END {
            return;
        }
        self.free.push(message.first);
        // The memory of the first chunk is not touched when there is no second one.
        let mut left = message.len as usize;
        let mut index = message.first;
        while left > CHUNK {
            left -= CHUNK;
            index = self.chunks[index as usize].next;
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_reuses() {
        let mut kept = Kept::default();
        let mut out = Vec::new();
        for _ in 0..3 {
            let messages: Vec<Vec<u8>> = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK]
                .iter()
                .map(|len| (0..*len).map(|n| n as u8).collect())
                .collect();
            let handles: Vec<KeptMessage> = messages.iter().map(|message| kept.keep(message)).collect();
            for (handle, message) in handles.iter().zip(&messages) {
                kept.read(*handle, &mut out);
                assert_eq!(&out, message);
            }
            for handle in handles {
                kept.release(handle);
            }
        }
        assert_eq!(kept.chunks.len(), kept.free.len());
        assert_eq!(kept.chunks.len(), 1 + 1 + 1 + 1 + 2 + 2 + 5);
    }
}
