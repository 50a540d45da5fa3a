//! Contestants measured in turns: the pace of a machine drifts, and so it drifts for all of them alike.
//!
//! Criterion measures one after the other, minutes apart; two figures of it differ by more than the few percent that are
//! asked for here. Without: what is measured.

use std::time::Instant;

const ROUNDS: usize = 61;
const ROUND_NS: f64 = 100_000.0;

/// Who is to be measured, in the order of the table's columns.
#[derive(Default)]
pub struct Race<'a> {
    runs: Vec<(&'static str, Box<dyn FnMut() + 'a>)>,
}

impl<'a> Race<'a> {
    /// Adds a contestant.
    pub fn enter(&mut self, name: &'static str, run: impl FnMut() + 'a) {
        self.runs.push((name, Box::new(run)));
    }

    /// Nanoseconds of a call, the median over all rounds, by contestant.
    pub fn run(mut self) -> Vec<(&'static str, f64)> {
        let repeats: Vec<u32> = self.runs.iter_mut().map(|(_, run)| (ROUND_NS / timed(run, 8)).max(1.0) as u32).collect();
        let mut times = vec![Vec::new(); self.runs.len()];
        for _ in 0..ROUNDS {
            for (contestant, (_, run)) in self.runs.iter_mut().enumerate() {
                times[contestant].push(timed(run, repeats[contestant]));
            }
        }
        let names = self.runs.iter().map(|(name, _)| *name);
        names.zip(times.iter_mut().map(|times| median(times))).collect()
    }
}

fn timed(run: &mut dyn FnMut(), repeats: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..repeats {
        run();
    }
    start.elapsed().as_nanos() as f64 / f64::from(repeats)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
