//! SIGINT and SIGTERM: the first ends the run, which then tells what was measured so far; the second ends the process.
//!
//! Without: what a run does then, which is its observer's.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// The exit code of who was interrupted, as shells have it for SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

static CAUGHT: AtomicBool = AtomicBool::new(false);

/// From now on signals are caught: call it before threads are started, since they inherit that.
pub(crate) fn catch() -> io::Result<()> {
    static BEGUN: Once = Once::new();
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    BEGUN.call_once(|| {
        let named = thread::Builder::new().name(String::from("signals"));
        named.spawn(move || wait(&signals)).expect("a thread can be started");
    });
    Ok(())
}

/// Whether one came.
pub(crate) fn is_caught() -> bool {
    CAUGHT.load(Ordering::Relaxed)
}

fn wait(signals: &SigSet) {
    while signals.wait().is_ok() {
        if CAUGHT.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_CODE.into());
        }
    }
}
