//! How many clients are how far behind, counted at one moment: gauges in classes that grow tenfold.
//!
//! Without: who they are, and when that moment is; the shard knows.

use super::Gauge;

/// Upper bounds of the classes but the last, which takes the rest: publications that a client lacks.
pub const LAG_BOUNDS: [u64; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// Clients by how many publications they lack. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Lags([Gauge; LAG_BOUNDS.len() + 1]);

impl Lags {
    /// Puts the lags of this moment in the place of those before; who lacks nothing is in no class. True where somebody lags.
    /// For the owning thread only.
    pub fn set(&self, lags: impl IntoIterator<Item = u64>) -> bool {
        let mut clients = [0; LAG_BOUNDS.len() + 1];
        for lag in lags.into_iter().filter(|&lag| lag > 0) {
            clients[LAG_BOUNDS.partition_point(|&bound| bound < lag)] += 1;
        }
        for (gauge, clients) in self.0.iter().zip(clients) {
            gauge.set(clients);
        }
        clients.iter().any(|&clients| clients > 0)
    }

    /// Clients of each class by itself.
    #[must_use]
    pub fn clients(&self) -> [u64; LAG_BOUNDS.len() + 1] {
        std::array::from_fn(|class| self.0[class].get() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lag_is_in_the_first_class_that_is_not_below_it() {
        let lags = Lags::default();
        let all = [0, 0, 1, 2, 10, 11, 100, 101, 1_000, 100_000, 100_001, u64::MAX];
        assert!(lags.set(all));
        let class_of = |lag: u64| LAG_BOUNDS.iter().position(|&bound| lag <= bound).unwrap_or(LAG_BOUNDS.len());
        let mut naive = [0; LAG_BOUNDS.len() + 1];
        all.iter().filter(|&&lag| lag > 0).for_each(|&lag| naive[class_of(lag)] += 1);
        assert_eq!(lags.clients(), naive);
        assert!(!lags.set([0, 0]) && lags.clients().iter().all(|&clients| clients == 0));
    }
}
