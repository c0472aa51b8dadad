//! Expanded streams in pieces of one size ([`Pieces`]), whoever reads them: what a decoder has produced is lost when it fails,
//! and how much that is must not depend on how much was asked for.

use std::io::{self, Read};

/// Bytes asked for at once.
const PIECE: usize = 64 << 10;

/// Asks for one piece after the other; what fits straight into the reader's memory goes there.
pub(super) struct Pieces<R> {
    decoder: R,
    piece: Vec<u8>,
    /// What is left of it.
    at: usize,
    end: usize,
}

impl<R: Read> Pieces<R> {
    /// Nothing is read yet.
    pub fn new(decoder: R) -> Self {
        Self { decoder, piece: vec![0; PIECE], at: 0, end: 0 }
    }
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            if let Some((whole, _)) = buffer.split_at_mut_checked(PIECE) {
                return self.decoder.read(whole);
            }
            self.at = 0;
            self.end = 0;
            self.end = self.decoder.read(&mut self.piece)?;
        }
        let count = buffer.len().min(self.end - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes, and fails with those it has produced in the call in which it comes to its end.
    struct Fails {
        left: usize,
    }

    impl Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left < buffer.len() {
                return Err(io::Error::other("damaged"));
            }
            buffer.fill(7);
            self.left -= buffer.len();
            Ok(buffer.len())
        }
    }

    #[test]
    fn before_a_failure_the_same_is_read_however_much_is_asked_for() {
        for asked in [1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1 << 20] {
            let mut pieces = Pieces::new(Fails { left: 5 * PIECE + 100 });
            let (mut buffer, mut read) = (vec![0; asked], 0);
            let error = loop {
                match pieces.read(&mut buffer) {
                    Ok(count) => {
                        assert!(buffer[..count].iter().all(|byte| *byte == 7) && count > 0);
                        read += count;
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!((read, error.to_string()), (5 * PIECE, "damaged".to_owned()), "{asked}");
        }
    }
}
