//! Numbers that look random and are the same in every run: everybody gets the same work.

/// SplitMix64 (Steele, Lea, Flood 2014): three lines, and good enough for what is drawn here.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `range`, nearly evenly: the remainder's favour for small numbers is far below what a benchmark sees.
    pub(crate) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A generator of its own for somebody else.
    pub(crate) fn fork(&mut self) -> Self {
        Random(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_numbers_are_the_published_ones() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_range_is_kept_and_filled() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        for _ in 0..1_000 {
            seen[usize::try_from(random.within(3..8)).unwrap() - 3] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
