//! Deadlines of clients: a wheel of coarse ticks, looked at once a turn. No system call, no timer per client.
//!
//! Without: what a deadline means. An entry that comes up is only a hint: the shard asks the client what is due and files
//! it again. So a deadline that moves later costs nothing until the old entry comes up; one that moves earlier has a second
//! entry, and the shard drops the first when it comes up.
//!
//! Invariant: an entry comes up not before its time and at most one tick after it (plus the turn's own length).

/// Length of a tick.
pub const TICK_US: u64 = 50_000;
const BUCKETS: usize = 1024;

/// The wheel. `T` names a client.
pub struct Wheel<T> {
    buckets: Vec<Vec<(u64, T)>>,
    /// The next tick to be looked at.
    tick: u64,
    entries: usize,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel that begins at this moment.
    #[must_use]
    pub fn new(now_us: u64) -> Wheel<T> {
        Wheel { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), tick: now_us / TICK_US, entries: 0 }
    }

    /// Files an entry.
    pub fn insert(&mut self, due_us: u64, entry: T) {
        // Rounded up, so that it is never early; a time beyond the wheel's reach waits in its bucket for its round.
        let tick = due_us.div_ceil(TICK_US).max(self.tick);
        self.buckets[(tick % BUCKETS as u64) as usize].push((tick, entry));
        self.entries += 1;
    }

    /// Takes out what has come up by `now_us`.
    pub fn expire(&mut self, now_us: u64, due: &mut Vec<T>) {
        let last = now_us / TICK_US;
        // After a long sleep one round over all buckets sees everything.
        let first = self.tick.max(last.saturating_sub(BUCKETS as u64 - 1));
        for tick in first..=last {
            let bucket = &mut self.buckets[(tick % BUCKETS as u64) as usize];
            let before = bucket.len();
            bucket.retain(|&(at, entry)| {
                if at <= last {
                    due.push(entry);
                }
                at > last
            });
            self.entries -= before - bucket.len();
        }
        self.tick = last + 1;
    }

    /// The moment of the next bucket that holds anything; `None` where nothing is filed.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        (self.tick..self.tick + BUCKETS as u64)
            .find(|tick| !self.buckets[(tick % BUCKETS as u64) as usize].is_empty())
            .map(|tick| tick * TICK_US)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the naive twin: a list searched at every step.
        #[test]
        fn entries_come_up_in_time_and_once(
            start in 0u64..1_000_000_000,
            steps in prop::collection::vec((0u64..200_000_000, 0u64..3_000_000), 1..60),
        ) {
            let mut wheel = Wheel::new(start);
            let mut twin: Vec<(u64, usize)> = Vec::new();
            let mut now = start;
            for (name, (after, step)) in steps.into_iter().enumerate() {
                wheel.insert(now + after, name);
                twin.push((now + after, name));
                now += step;
                let mut due = Vec::new();
                wheel.expire(now, &mut due);
                for name in due {
                    let at = twin.iter().position(|entry| entry.1 == name).expect("each entry comes up once");
                    prop_assert!(twin[at].0 <= now);
                    twin.remove(at);
                }
                for (due_us, _) in &twin {
                    prop_assert!(due_us + TICK_US > now);
                    prop_assert!(wheel.next_us().expect("something is filed") <= due_us + TICK_US);
                }
            }
        }
    }
}
