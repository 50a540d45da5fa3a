//! Deadlines of clients: a wheel of coarse ticks, looked at once a turn. No system call, no timer per client.
//!
//! A client stands in it at most once, in its tick's chain, whose links lie with the client. What comes up is only a hint: the
//! shard asks the client what is due and files it again. So a deadline that moves later costs nothing until the old one comes up;
//! one that moves earlier moves the client.
//!
//! Without: what a deadline means, and where the links lie ([`Filed`] is given from above).
//!
//! Invariants: a client comes up not before its time and at most one tick after it (plus the turn's own length); whoever is
//! filed is there.

/// Length of a tick.
pub const TICK_US: u64 = 50_000;
const BUCKETS: usize = 1024;

/// No client: the end of a chain.
const NONE: u32 = u32::MAX;

/// A client's place in the wheel; kept with the client.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Counted from the wheel's beginning, which lasts for six years; [`NONE`]: it is not filed.
    tick: u32,
    next: u32,
    previous: u32,
}

impl Default for Place {
    fn default() -> Place {
        Place { tick: NONE, next: NONE, previous: NONE }
    }
}

/// Where clients' places lie, by slot.
pub trait Filed {
    /// That of a client that is there.
    fn place(&mut self, slot: u32) -> &mut Place;
}

/// The wheel.
pub struct Wheel {
    /// The first client of each chain.
    buckets: Box<[u32; BUCKETS]>,
    began_us: u64,
    /// The next tick to be looked at.
    tick: u32,
    filed: usize,
}

impl Wheel {
    /// An empty wheel that begins at this moment.
    #[must_use]
    pub fn new(now_us: u64) -> Wheel {
        Wheel { buckets: Box::new([NONE; BUCKETS]), began_us: now_us, tick: 0, filed: 0 }
    }

    /// Files a client for this moment, unless it is filed for an earlier one.
    pub fn file(&mut self, slot: u32, due_us: u64, all: &mut impl Filed) {
        // Rounded up, so that it is never early; a time beyond the wheel's reach waits in its bucket for its round.
        let tick = due_us.saturating_sub(self.began_us).div_ceil(TICK_US);
        let tick = u32::try_from(tick).unwrap_or(NONE - 1).max(self.tick);
        if all.place(slot).tick <= tick {
            return;
        }
        self.remove(slot, all);
        let first = &mut self.buckets[tick as usize % BUCKETS];
        let next = std::mem::replace(first, slot);
        *all.place(slot) = Place { tick, next, previous: NONE };
        if next != NONE {
            all.place(next).previous = slot;
        }
        self.filed += 1;
    }

    /// Takes a client out, if it is filed: it is leaving.
    pub fn remove(&mut self, slot: u32, all: &mut impl Filed) {
        let Place { tick, next, previous } = std::mem::take(all.place(slot));
        if tick == NONE {
            return;
        }
        match previous {
            NONE => self.buckets[tick as usize % BUCKETS] = next,
            previous => all.place(previous).next = next,
        }
        if next != NONE {
            all.place(next).previous = previous;
        }
        self.filed -= 1;
    }

    /// Takes out who has come up by `now_us`.
    pub fn expire(&mut self, now_us: u64, all: &mut impl Filed, due: &mut Vec<u32>) {
        let last = u32::try_from(now_us.saturating_sub(self.began_us) / TICK_US).unwrap_or(NONE - 1);
        // After a long sleep one round over all buckets sees everything.
        let first = self.tick.max(last.saturating_sub(BUCKETS as u32 - 1));
        for tick in first..=last {
            let mut slot = self.buckets[tick as usize % BUCKETS];
            while slot != NONE {
                let Place { tick, next, .. } = *all.place(slot);
                if tick <= last {
                    self.remove(slot, all);
                    due.push(slot);
                }
                slot = next;
            }
        }
        self.tick = last + 1;
    }

    /// The moment of the next bucket that holds anyone; `None` where nobody is filed.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        if self.filed == 0 {
            return None;
        }
        let mut ticks = self.tick..self.tick + BUCKETS as u32;
        let next = ticks.find(|tick| self.buckets[*tick as usize % BUCKETS] != NONE);
        next.map(|tick| self.began_us + u64::from(tick) * TICK_US)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Filed for Vec<Place> {
        fn place(&mut self, slot: u32) -> &mut Place {
            &mut self[slot as usize]
        }
    }

    proptest! {
        /// Against the naive twin: a list searched at every step. Clients are filed again, and leave.
        #[test]
        fn clients_come_up_in_time_and_once(
            start in 0u64..1_000_000_000,
            steps in prop::collection::vec((0u32..20, 0u64..200_000_000, 0u64..3_000_000, 0u8..8), 1..100),
        ) {
            let mut wheel = Wheel::new(start);
            let mut places = vec![Place::default(); 20];
            let mut twin: Vec<Option<u64>> = vec![None; 20];
            let mut now = start;
            for (slot, after, step, choice) in steps {
                let filed = &mut twin[slot as usize];
                if choice == 0 {
                    wheel.remove(slot, &mut places);
                    *filed = None;
                } else {
                    wheel.file(slot, now + after, &mut places);
                    *filed = Some(filed.unwrap_or(u64::MAX).min(now + after));
                }
                now += step;
                let mut due = Vec::new();
                wheel.expire(now, &mut places, &mut due);
                for slot in due {
                    let due_us = twin[slot as usize].take().expect("who comes up was filed, and comes up once");
                    prop_assert!(due_us <= now);
                }
                for due_us in twin.iter().flatten() {
                    prop_assert!(due_us + TICK_US > now);
                    prop_assert!(wheel.next_us().expect("someone is filed") <= due_us + TICK_US);
                }
                prop_assert_eq!(wheel.next_us().is_some(), twin.iter().any(Option::is_some));
            }
        }
    }
}
