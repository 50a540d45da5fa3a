//! For how much and how long one call sleeps.

/// For how much a sleep waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeAfter {
    /// It ends when so many completions are there: 1 to the ring's `entries`,
    pub completions: u16,
    /// or when so much time has passed and there is one. Kernels before 6.12 cannot wait like that: there it ends with the
    /// first completion.
    pub within_us: u32,
}

impl WakeAfter {
    /// The first completion ends a sleep.
    pub const NONE: Self = Self { completions: 1, within_us: 0 };

    /// A sleep of at most `wait_us`. To wait for several and for no time at all would mean to wait for them all.
    pub(super) fn sleep(self, wait_us: u64) -> Sleep {
        let first_us = u64::from(self.within_us).min(wait_us) as u32;
        Sleep { want: if first_us == 0 { 1 } else { self.completions.into() }, first_us, wait_us }
    }
}

/// How one call waits; by default not at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sleep {
    /// Completions that end it,
    pub(super) want: usize,
    /// any at all, once so much time has passed,
    pub(super) first_us: u32,
    /// and this.
    pub(super) wait_us: u64,
}
