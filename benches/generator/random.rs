//! Reproducible randomness: a small generator seeded by one number, and popularity by rank.
//!
//! Own code, because a capture with known truth must be the same bytes for the same seed for as long as this file is
//! the same, whatever happens to a library's algorithms.

/// The xoshiro256++ generator of Blackman and Vigna, seeded through splitmix64.
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// Starts the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(mixed)
        });
        Self { state }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A whole number from 0 to `bound` - 1 (its bias, below 2^-32 for the bounds used here, does not matter).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// An exponentially distributed number with the given mean (the gaps of arrivals that know nothing of each other).
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// A number whose logarithm is normally distributed: what response times and path delays look like.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

/// Spreads a number over all 64 bits (the finalizer of splitmix64).
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Draws ranks with a probability proportional to `1 / (rank + 1) ^ exponent`, in constant time (Walker's alias
/// method).
pub struct Popularity {
    weights: Vec<f64>,
    columns: Vec<(f64, u32)>,
}

impl Popularity {
    /// Prepares `count` ranks; an exponent of 0 makes all equally popular.
    pub fn new(count: usize, exponent: f64) -> Self {
        let raw: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-exponent)).collect();
        let total: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|weight| weight / total).collect();
        let mut rest: Vec<f64> = weights.iter().map(|weight| weight * count as f64).collect();
        let mut columns: Vec<(f64, u32)> = (0..count as u32).map(|rank| (1.0, rank)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|&rank| rest[rank] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            columns[low] = (rest[low], high as u32);
            rest[high] -= 1.0 - rest[low];
            if rest[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { weights, columns }
    }

    /// The probability of each rank.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Draws a rank.
    pub fn draw(&self, random: &mut Random) -> usize {
        let column = random.below(self.columns.len() as u64) as usize;
        let (keep, other) = self.columns[column];
        if random.unit() < keep { column } else { other as usize }
    }
}
