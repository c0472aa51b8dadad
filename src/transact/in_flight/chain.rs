//! Keeps chains of transactions with equal low bits of the hash ([`Heads`]): their members ([`Node`]) and the members'
//! places ([`Link`]). Places are stored apart from the transactions, so that following a chain touches little memory.

use prefetch_index::prefetch_index;

/// A member of a chain: the index of an open transaction's slot, or the number of a closed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(u32);

impl Node {
    /// Bit that marks numbers of closed transactions; the numbers wrap around below it.
    const CLOSED: u32 = 1 << 31;
    /// The end of a chain: a number that is assigned only after 2^31 - 1 others.
    pub const END: Node = Node(Self::CLOSED);

    /// An open transaction.
    #[inline]
    pub fn open(index: u32) -> Self {
        Self(index)
    }

    /// The slot, when the member is an open transaction.
    #[inline]
    pub fn slot(self) -> Option<usize> {
        (self.0 < Self::CLOSED).then_some(self.0 as usize)
    }

    /// The same, or the first slot for any other member; without a branch, which could not be predicted.
    #[inline]
    pub fn slot_or_first(self) -> usize {
        (self.0 & (self.0 / Self::CLOSED).wrapping_sub(1)) as usize
    }

    /// The closed transaction after this one.
    #[inline]
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1) | Self::CLOSED)
    }

    /// The closed transaction `age` numbers before this one.
    #[must_use]
    pub fn before(self, age: u32) -> Self {
        Self(self.0.wrapping_sub(age) | Self::CLOSED)
    }

    /// By how many numbers this one is older than `newest`.
    #[inline]
    pub fn age(self, newest: Node) -> u32 {
        newest.0.wrapping_sub(self.0) & !Self::CLOSED
    }

    /// The number of a closed transaction, counted from 0.
    #[inline]
    pub fn number(self) -> u32 {
        self.0.wrapping_sub(1) & !Self::CLOSED
    }
}

/// A place in a chain.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Upper half of the hash.
    tag: u32,
    /// The next member of the chain.
    pub older: Node,
}

impl Link {
    /// The place of a transaction with this hash, in front of `older`.
    #[inline]
    pub fn new(hash: u64, older: Node) -> Self {
        Self { tag: (hash >> 32) as u32, older }
    }

    /// False when the transaction in this place has another hash.
    #[inline]
    pub fn may_be(self, hash: u64) -> bool {
        self.tag == (hash >> 32) as u32
    }
}

/// Where a chain begins.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The first member.
    pub first: Node,
    /// A small Bloom filter of the hashes put into the chain since it was last empty: most searches end at a bit that
    /// is not set.
    marks: u32,
}

impl Head {
    /// No members.
    pub const EMPTY: Head = Head { first: Node::END, marks: 0 };

    /// The bit of a hash, one of 32, by its highest bits; the lowest ones choose the chain.
    #[inline]
    fn mark(hash: u64) -> u32 {
        1 << (hash >> 59)
    }

    /// Clears the filter when the chain is empty; without a branch, which could not be predicted.
    #[inline]
    pub fn begin_anew_when(&mut self, empty: bool) {
        self.marks &= u32::from(empty).wrapping_sub(1);
    }

    /// False when no member has this hash.
    #[inline]
    pub fn may_have(self, hash: u64) -> bool {
        self.marks & Self::mark(hash) != 0
    }

    /// Puts a member with this hash in front of the others; returns the one that was first.
    #[inline]
    pub fn put(&mut self, hash: u64, node: Node) -> Node {
        self.marks |= Self::mark(hash);
        std::mem::replace(&mut self.first, node)
    }

    /// Notes a member with this hash that is put in further back.
    #[inline]
    pub fn note(&mut self, hash: u64) {
        self.marks |= Self::mark(hash);
    }
}

/// The heads of all chains, indexed by the low bits of the hash.
#[derive(Debug)]
pub struct Heads {
    chains: Vec<Head>,
}

impl Heads {
    /// Empty chains; their number is rounded up to a power of two.
    pub fn new(chains: usize) -> Self {
        Self { chains: vec![Head::EMPTY; chains.next_power_of_two()] }
    }

    /// Number of chains.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// The chain of a hash.
    #[inline]
    pub fn at(&self, hash: u64) -> Head {
        self.chains[hash as usize & (self.chains.len() - 1)]
    }

    /// Prefetches the head of the chain of a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch_index(&self.chains, hash as usize & (self.chains.len() - 1));
    }

    /// The same, mutable.
    #[inline]
    pub fn at_mut(&mut self, hash: u64) -> &mut Head {
        let last = self.chains.len() - 1;
        &mut self.chains[hash as usize & last]
    }

    /// Sets every filter to let all hashes pass.
    #[cfg(test)]
    pub fn doubt(&mut self) {
        self.chains.iter_mut().for_each(|head| head.marks = u32::MAX);
    }
}
