//! How long one client's ping takes while others are served: a connection and a thread of its own, one ping at a time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::Client;
use crate::interrupt;
use crate::keys::Keys;
use crate::url::Url;

/// Between an answer and the next ping.
const PAUSE: Duration = Duration::from_millis(5);

/// No pong for so long ends the run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `load` while a client of `url` pings; gives the load's result and the pings' times in nanoseconds.
pub(crate) fn beside<T>(
    url: &Url,
    histogram: Histogram<u64>,
    load: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, Histogram<u64>)> {
    // Before the thread that pings: it inherits that.
    interrupt::catch()?;
    let mut keys = Keys::new();
    let client = Client::connect(url, &mut keys)?;
    client.stream.set_nonblocking(false)?;
    client.stream.set_read_timeout(Some(PATIENCE))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let pings = scope.spawn(|| ping_until(client, keys, histogram, &over));
        let result = load();
        over.store(true, Ordering::Relaxed);
        let times = pings.join().expect("the pinging thread does not panic");
        Ok((result?, times?))
    })
}

fn ping_until(mut client: Client, mut keys: Keys, mut times_ns: Histogram<u64>, over: &AtomicBool) -> io::Result<Histogram<u64>> {
    // Before the worker, where both have one core: else a ping waits up to 3 ms for the rest of the worker's turn on it, which is no
    // delay of the server's. Who may not do that is told the longer times.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20);
    let mut buffer = vec![0; 64 << 10];
    while !over.load(Ordering::Relaxed) {
        let (sent_at, answered) = (Instant::now(), client.pongs());
        client.send_ping(&mut keys)?;
        while client.pongs() == answered {
            client.receive(&mut buffer, &mut keys, |_| {})?;
        }
        times_ns.saturating_record(sent_at.elapsed().as_nanos() as u64);
        thread::sleep(PAUSE);
    }
    Ok(times_ns)
}
