//! `memory_bytes_max`: while the process has more memory, nobody more is taken; those who are here are served on.
//!
//! What is looked at is what the process has resident, once a second: it is what the machine or the container counts and kills for, the
//! allocator's remains and every table among it, where an own count would have only what somebody thought of. The kernel's memory for sockets
//! is in neither; the bound by default leaves a quarter for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::machine::{self, Machine, readings};
use crate::admission::Readiness;
use crate::config::Config;
use crate::metrics::ControlMetrics;

const LOOK: Duration = Duration::from_secs(1);

/// Once above the bound it must be below by a sixteenth before more are taken, so that it does not flap at the bound.
fn is_short(resident_bytes: u64, bytes_max: u64, was_short: bool) -> bool {
    let bound = if was_short { bytes_max - bytes_max / 16 } else { bytes_max };
    resident_bytes > bound
}

/// Looks as long as the runtime runs.
pub(super) async fn look(
    settings: watch::Receiver<Arc<Config>>,
    machine: Machine,
    readiness: Arc<Readiness>,
    metrics: Arc<ControlMetrics>,
) {
    loop {
        let bytes_max = machine::memory_bytes_max(&settings.borrow().limits, &machine);
        if let (Some(bytes_max), Some(resident_bytes)) = (bytes_max, readings::resident_bytes()) {
            metrics.memory_resident_bytes.set(resident_bytes as i64);
            metrics.memory_bytes_max.set(i64::try_from(bytes_max).unwrap_or(i64::MAX));
            let was_short = readiness.is_short_of_memory();
            let short = is_short(resident_bytes, bytes_max, was_short);
            readiness.set_short_of_memory(short);
            match (was_short, short) {
                (false, true) => tracing::warn!(
                    resident_bytes,
                    memory_bytes_max = bytes_max,
                    "no more clients are taken: the process has more memory than it may; those who are here are served"
                ),
                (true, false) => tracing::info!(resident_bytes, memory_bytes_max = bytes_max, "clients are taken again"),
                _ => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::is_short;

    #[test]
    fn above_the_bound_it_is_short_until_it_is_well_below() {
        assert!(!is_short(1600, 1600, false) && is_short(1601, 1600, false));
        assert!(is_short(1501, 1600, true) && !is_short(1500, 1600, true));
        assert!(is_short(1, 0, true));
    }
}
