//! How much of its time a thread worked: what the kernel counts of it in `/proc/self/task/<thread>/schedstat`.
//!
//! That file tells the time on a processor and the time ready for one, in nanoseconds; what is left the thread slept. Shards could
//! measure it by clocks around their waits, but most of their work is in the very call that also waits.

use std::fs;

/// Since the thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ThreadTime {
    /// On a processor.
    pub(super) ran_ns: u64,
    /// Ready, and others had the processors.
    pub(super) waited_ns: u64,
}

impl ThreadTime {
    /// Of the thread with this number in the kernel; `None` where the kernel does not tell, as some containers' does not. `/proc`
    /// is no disk: reading it does not wait.
    pub(super) fn of(thread: i64) -> Option<ThreadTime> {
        ThreadTime::parse(&fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?)
    }

    /// What passed since it was `before`.
    pub(super) fn since(&self, before: &ThreadTime) -> ThreadTime {
        ThreadTime {
            ran_ns: self.ran_ns.saturating_sub(before.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
        }
    }

    fn parse(line: &str) -> Option<ThreadTime> {
        let mut words = line.split_ascii_whitespace().map(str::parse);
        Some(ThreadTime { ran_ns: words.next()?.ok()?, waited_ns: words.next()?.ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_and_another_is_none() {
        assert_eq!(ThreadTime::parse("123 45 6\n"), Some(ThreadTime { ran_ns: 123, waited_ns: 45 }));
        for line in ["", "\n", "12", "a b c", "1 b", "-1 2 3"] {
            assert_eq!(ThreadTime::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_thread_that_works_has_run_and_one_that_is_not_there_is_none() {
        let thread = i64::from(rustix::thread::gettid().as_raw_nonzero().get());
        let before = ThreadTime::of(thread).expect("Linux tells how long a thread ran");
        let sum: u64 = (0..20_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        std::hint::black_box(sum);
        assert!(ThreadTime::of(thread).expect("it still runs").since(&before).ran_ns > 0);
        assert_eq!(ThreadTime::of(0), None);
    }
}
