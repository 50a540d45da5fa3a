//! How long to wait before connecting again.

use std::time::Duration;

use crate::ws::CloseCode;

/// At random up to a bound that doubles (full jitter), so that a thousand clients that lost the same gateway do not come back
/// at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    const FIRST_MS: u64 = 500;
    const LONGEST_MS: u64 = 30_000;

    fn bound_ms(&self) -> u64 {
        (Self::FIRST_MS << self.tries.min(16)).min(Self::LONGEST_MS)
    }

    /// The wait after a connection, or a try, that ended so.
    pub(super) fn next(&mut self, code: Option<CloseCode>) -> Duration {
        let wait_ms = rand::random_range(0..=self.bound_ms());
        self.tries += 1;
        Duration::from_millis(match code {
            // "A random 5 to 30 s", says the registry of close codes: all of the gateway's clients are on their way.
            Some(CloseCode::RESTART) => rand::random_range(5_000..=30_000),
            // Overload, or we were too slow: never at once.
            Some(CloseCode::TRY_AGAIN_LATER) => wait_ms + 5_000,
            _ => wait_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..40)
            .map(|_| {
                let bound = backoff.bound_ms();
                assert!(backoff.next(None).as_millis() <= bound.into());
                bound
            })
            .collect();
        assert_eq!(bounds[..8], [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(bounds[8..].iter().all(|bound| *bound == 30_000));
    }

    #[test]
    fn a_restart_and_an_overload_are_given_their_time() {
        for _ in 0..100 {
            let after = |code| Backoff::default().next(Some(code)).as_millis();
            assert!((5_000..=30_000).contains(&after(CloseCode::RESTART)));
            assert!((5_000..=5_500).contains(&after(CloseCode::TRY_AGAIN_LATER)));
            assert!(after(CloseCode::GOING_AWAY) <= 500);
        }
    }
}
