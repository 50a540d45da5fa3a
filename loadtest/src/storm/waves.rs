//! Waves over all workers: each begins at one moment for all of them, a while after everyone is through with the one before.
//!
//! Without: connections. Each worker has its share of them.

use std::sync::Mutex;

/// Between two waves, for the server to notice that the last one left.
const PAUSE_NS: u64 = 200_000_000;

/// What all workers know of the waves.
pub(super) struct Waves {
    count: usize,
    workers: usize,
    state: Mutex<State>,
}

struct State {
    /// The wave that is under way, or the next one.
    wave: Wave,
    /// Workers that are through with it.
    through: usize,
    /// How long each wave took, to the last answer.
    lengths_ns: Vec<u64>,
}

/// One wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wave {
    pub(super) number: usize,
    /// The moment at which all come; the first one's is the run's.
    pub(super) scheduled_ns: u64,
}

/// What there is to do for a worker that is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// To wait for other workers.
    Wait,
    /// To tell them that the next wave is known.
    Tell,
    /// Nothing: that was the last one.
    Finish,
}

impl Waves {
    pub(super) fn new(count: u32, workers: usize) -> Waves {
        let state = State { wave: Wave { number: 0, scheduled_ns: 0 }, through: 0, lengths_ns: Vec::new() };
        Waves { count: count as usize, workers, state: Mutex::new(state) }
    }

    /// The wave that is under way, or the next one.
    pub(super) fn now(&self) -> Wave {
        self.state.lock().expect("nobody panics with it").wave
    }

    /// A worker has all its answers of this wave, which began then.
    pub(super) fn through(&self, began_ns: u64, now_ns: u64) -> Then {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.through += 1;
        if state.through < self.workers {
            return Then::Wait;
        }
        state.through = 0;
        state.lengths_ns.push(now_ns - began_ns);
        state.wave = Wave { number: state.wave.number + 1, scheduled_ns: now_ns + PAUSE_NS };
        if state.wave.number == self.count { Then::Finish } else { Then::Tell }
    }

    /// How long each took that is over.
    pub(super) fn lengths_ms(&self) -> Vec<f64> {
        self.state.lock().expect("nobody panics with it").lengths_ns.iter().map(|ns| *ns as f64 / 1e6).collect()
    }
}

#[test]
fn a_wave_begins_when_all_are_through() {
    let waves = Waves::new(2, 2);
    assert_eq!(waves.through(5, 10), Then::Wait);
    assert_eq!(waves.now().number, 0);
    assert_eq!(waves.through(5, 20), Then::Tell);
    assert_eq!(waves.now(), Wave { number: 1, scheduled_ns: 20 + PAUSE_NS });
    assert_eq!((waves.through(30, 40), waves.through(30, 1_000_030)), (Then::Wait, Then::Finish));
    assert_eq!(waves.lengths_ms(), [15e-6, 1.0]);
}
