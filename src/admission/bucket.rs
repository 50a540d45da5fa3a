//! A token bucket, the measure of how often something may happen.

/// A token bucket: so many a second, bursts of so many.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens_milli: u32,
    filled_ms: u32,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(burst: u32, now_us: u64) -> Bucket {
        Bucket { tokens_milli: burst.saturating_mul(1000), filled_ms: (now_us / 1000) as u32 }
    }

    /// Takes one token; false where there is none.
    pub fn take(&mut self, per_second: u32, burst: u32, now_us: u64) -> bool {
        self.fill(per_second, burst, now_us);
        let taken = self.tokens_milli >= 1000;
        self.tokens_milli -= if taken { 1000 } else { 0 };
        taken
    }

    /// Whether it is as if nothing had ever been taken.
    pub fn is_full(&mut self, per_second: u32, burst: u32, now_us: u64) -> bool {
        self.fill(per_second, burst, now_us);
        self.tokens_milli == burst.saturating_mul(1000)
    }

    fn fill(&mut self, per_second: u32, burst: u32, now_us: u64) {
        let now_ms = (now_us / 1000) as u32;
        // The count of milliseconds wraps after 49 days; a difference does not. A token a second is a thousandth a millisecond.
        let fresh_milli = now_ms.wrapping_sub(self.filled_ms).saturating_mul(per_second);
        self.filled_ms = now_ms;
        self.tokens_milli = self.tokens_milli.saturating_add(fresh_milli).min(burst.saturating_mul(1000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(200, 0);
        let taken = |bucket: &mut Bucket, from_us: u64, until_us: u64| {
            (from_us..until_us).step_by(1000).filter(|&now_us| bucket.take(20, 200, now_us)).count()
        };
        assert_eq!((0..500).filter(|_| bucket.take(20, 200, 0)).count(), 200);
        assert_eq!(taken(&mut bucket, 1000, 10_001_000), 200);
        assert_eq!((0..500).filter(|_| bucket.take(20, 200, 3_600_000_000)).count(), 200);
    }
}
