//! Queries that await an answer on a connection ([`Waiting`]), by tokens that the consumer of the messages chooses.

/// Tokens in order of arrival. The first one takes no extra memory, and most connections have no other.
#[derive(Debug, Default)]
pub struct Waiting {
    first: Option<u64>,
    others: Vec<u64>,
}

impl Waiting {
    /// True when no query waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// Adds a token. Before it takes more memory, tokens that no longer wait are removed.
    #[inline]
    pub fn push(&mut self, token: u64, waits: impl Fn(u64) -> bool) {
        if self.is_empty() {
            self.first = Some(token);
        } else {
            if self.others.len() == self.others.capacity() {
                self.keep(waits);
                self.others.reserve(self.others.len() + 1);
            }
            self.others.push(token);
        }
    }

    /// Removes the tokens that no longer wait.
    fn keep(&mut self, waits: impl Fn(u64) -> bool) {
        self.first = self.first.filter(|token| waits(*token));
        self.others.retain(|token| waits(*token));
    }

    /// Removes the tokens that no longer wait, and frees their memory.
    pub fn shrink(&mut self, waits: impl Fn(u64) -> bool) {
        self.keep(waits);
        self.others.shrink_to_fit();
    }

    /// Removes all tokens.
    #[inline]
    pub fn clear(&mut self) {
        self.first = None;
        self.others.clear();
    }

    /// Takes out all tokens; none of them waits any longer.
    pub fn take(&mut self) -> impl Iterator<Item = u64> + use<> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_in_their_order_and_only_while_they_wait() {
        let mut waiting = Waiting::default();
        assert!(waiting.is_empty());
        (0..5).for_each(|token| waiting.push(token, |_| true));
        waiting.shrink(|token| token != 0 && token != 3);
        waiting.push(9, |_| true);
        assert_eq!(waiting.take().collect::<Vec<_>>(), [1, 2, 4, 9]);
        assert!(waiting.is_empty());
        waiting.push(7, |_| true);
        waiting.clear();
        assert!(waiting.is_empty());
    }

    #[test]
    fn those_that_do_not_wait_are_forgotten_before_more_memory_is_taken() {
        let mut waiting = Waiting::default();
        (0..100_000).for_each(|token| waiting.push(token, |other| other + 10 > token));
        assert!(waiting.others.capacity() < 100, "{}", waiting.others.capacity());
        let left: Vec<u64> = waiting.take().collect();
        assert!(left.is_sorted() && left.ends_with(&[99_998, 99_999]));
    }
}
