//! What one worker measures: counts and times of deliveries, as a whole and in pieces of the run.
//!
//! A delivery is counted if it came within the measured window; its latency is recorded if it was *scheduled* within it, however
//! late it came, so that what a slow server still owes at the end is not left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// Latencies above this count as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// A histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// The measured part of a run, known to all threads once everything is connected. Nanoseconds since the run's base.
#[derive(Debug)]
pub(crate) struct Window {
    from_ns: AtomicU64,
    until_ns: AtomicU64,
    /// Length of the pieces of the timeline.
    pub(crate) piece_ns: u64,
}

impl Window {
    pub(crate) fn new(piece_ns: u64) -> Window {
        Window { from_ns: AtomicU64::new(u64::MAX), until_ns: AtomicU64::new(u64::MAX), piece_ns }
    }

    pub(crate) fn set(&self, from_ns: u64, until_ns: u64) {
        self.until_ns.store(until_ns, Ordering::Relaxed);
        self.from_ns.store(from_ns, Ordering::Release);
    }

    /// Both far in the future until they are set.
    pub(crate) fn bounds_ns(&self) -> (u64, u64) {
        (self.from_ns.load(Ordering::Acquire), self.until_ns.load(Ordering::Relaxed))
    }
}

/// What one worker measured.
pub(crate) struct Recorder {
    window: Arc<Window>,
    from_ns: u64,
    until_ns: u64,
    is_inside: bool,
    /// Number of the piece that is being filled.
    piece: u64,
    piece_deliveries: u64,
    piece_ns: Histogram<u64>,
    /// Of finished pieces.
    pub(crate) pieces: Vec<Piece>,
    /// Of finished pieces, and of what was scheduled within the window and came later.
    pub(crate) latencies_ns: Histogram<u64>,
    pub(crate) last_latencies_ns: Histogram<u64>,
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
    /// Receives within the window.
    pub(crate) receives: u64,
    receives_seen: u64,
}

/// One piece of a worker's run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) deliveries: u64,
    pub(crate) p99_ns: u64,
}

impl Recorder {
    pub(crate) fn new(window: Arc<Window>) -> Recorder {
        let (from_ns, until_ns) = window.bounds_ns();
        Recorder {
            window,
            from_ns,
            until_ns,
            is_inside: false,
            piece: 0,
            piece_deliveries: 0,
            piece_ns: histogram(),
            pieces: Vec::new(),
            latencies_ns: histogram(),
            last_latencies_ns: histogram(),
            deliveries: 0,
            bytes: 0,
            receives: 0,
            receives_seen: 0,
        }
    }

    /// Once a turn, before anything is recorded: what time it is, and how often was received so far.
    pub(crate) fn turn(&mut self, now_ns: u64, receives: u64) {
        if self.is_inside {
            self.receives += receives - self.receives_seen;
        }
        self.receives_seen = receives;
        (self.from_ns, self.until_ns) = self.window.bounds_ns();
        self.is_inside = (self.from_ns..self.until_ns).contains(&now_ns);
        if now_ns >= self.from_ns {
            let piece = (now_ns.min(self.until_ns) - self.from_ns) / self.window.piece_ns;
            while self.piece < piece {
                self.finish_piece();
            }
        }
    }

    /// A message came for which `scheduled_ns` is the moment at which it was to be sent.
    pub(crate) fn delivery(&mut self, scheduled_ns: u64, now_ns: u64, payload_bytes: usize) {
        self.deliveries(scheduled_ns, now_ns, payload_bytes, 1);
    }

    /// So many came together, of `payload_bytes` each.
    pub(crate) fn deliveries(&mut self, scheduled_ns: u64, now_ns: u64, payload_bytes: usize, count: u64) {
        if self.is_inside {
            self.deliveries += count;
            self.piece_deliveries += count;
            self.bytes += payload_bytes as u64 * count;
        }
        if (self.from_ns..self.until_ns).contains(&scheduled_ns) {
            self.piece_ns.saturating_record_n(now_ns.saturating_sub(scheduled_ns), count);
        }
    }

    /// The last of its subscribers has a publication.
    pub(crate) fn last_delivery(&mut self, scheduled_ns: u64, now_ns: u64) {
        if (self.from_ns..self.until_ns).contains(&scheduled_ns) {
            self.last_latencies_ns.saturating_record(now_ns.saturating_sub(scheduled_ns));
        }
    }

    /// The run is over.
    pub(crate) fn finish(&mut self) {
        if self.piece_deliveries > 0 {
            self.finish_piece();
        }
        self.latencies_ns.add(&self.piece_ns).expect("both have the same bounds");
    }

    fn finish_piece(&mut self) {
        let p99_ns = self.piece_ns.value_at_quantile(0.99);
        self.pieces.push(Piece { deliveries: std::mem::take(&mut self.piece_deliveries), p99_ns });
        self.latencies_ns.add(&self.piece_ns).expect("both have the same bounds");
        self.piece_ns.reset();
        self.piece += 1;
    }
}
