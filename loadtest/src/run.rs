//! How a scenario runs: workers, each a thread with an [`Engine`] and a [`Load`] of the scenario's, and beside them this thread,
//! which keeps the time and reads what server and workers use.
//!
//! # To write a scenario
//! A `Load` is one worker's share. [`Load::act`] is called before every turn of the engine: it begins connections, says what is
//! due, and tells until when the turn may sleep. What comes meanwhile goes to its [`Handler`] methods. Once a worker's clients
//! are as the scenario wants them, it says so ([`Team::ready`]); when all have, the [`Window`] is set, with the warm-up before it,
//! and [`Team::bounds_ns`] tells it. After the window's end the loads finish what is under way and return [`Next::Over`]; one that
//! knows for all calls [`Team::finish`]. An error from anywhere ends the run, as a signal does, and what was measured so far is kept.
//!
//! Connections that are under way at once are bounded by [`OPENING_MAX`]; a server that answers none for [`PATIENCE`] has lost.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tidegate::reactor::Waker;

use crate::engine::{Engine, Sizes};
use crate::figures::{self, Figures, Generator, Latency, Moment};
use crate::interrupt;
use crate::link::Handler;
use crate::process::{self, RunTimes};
use crate::progress::Progress;
use crate::recorder::{Recorder, Window, histogram};

/// Most handshakes under way on one worker.
pub(crate) const OPENING_MAX: usize = 256;

/// Without any progress for so long, the server is taken for stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So soon a signal is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// So many pieces has a timeline, unless they would be shorter than a tenth of a second or longer than one.
const PIECES: f64 = 60.0;

/// One worker's share of a scenario.
pub(crate) trait Load: Handler {
    /// Does what is due now; says until when the next turn may sleep.
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next>;

    fn recorder(&mut self) -> &mut Recorder;
}

/// What a load waits for.
pub(crate) enum Next {
    /// Anything that comes, or this moment.
    Until(u64),
    /// Nothing more.
    Over,
}

/// What a run needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// Of all workers; for the progress that is shown.
    pub(crate) connections: u64,
    pub(crate) sizes: Sizes,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) server_pid: Option<u32>,
    /// Nobody reads standard error but at a terminal.
    pub(crate) is_for_programs: bool,
}

/// What the threads of a run share.
pub(crate) struct Team {
    /// All times count from here.
    pub(crate) base: Instant,
    window: Arc<Window>,
    warm_up: Duration,
    workers: Vec<OnceLock<Member>>,
    /// Connections that are open, of all workers.
    opened: AtomicUsize,
    ready: AtomicUsize,
    is_over: AtomicBool,
    trouble: Mutex<Option<io::Error>>,
    observer: Thread,
}

struct Member {
    waker: Arc<dyn Waker>,
    thread: u32,
}

impl Team {
    /// For a run that this thread will observe.
    pub(crate) fn new(plan: &Plan) -> Team {
        let piece_s = (plan.measured.as_secs_f64() / PIECES).clamp(0.1, 1.0);
        Team {
            base: Instant::now(),
            window: Arc::new(Window::new((piece_s * 1e9) as u64)),
            warm_up: plan.warm_up,
            workers: (0..plan.workers).map(|_| OnceLock::new()).collect(),
            opened: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            trouble: Mutex::new(None),
            observer: thread::current(),
        }
    }

    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::new(self.window.clone())
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// When the warm-up begins, and the measured window's begin and end. All far in the future before everyone is ready.
    pub(crate) fn bounds_ns(&self) -> (u64, u64, u64) {
        let (from_ns, until_ns) = self.window.bounds_ns();
        (from_ns.saturating_sub(if from_ns == u64::MAX { 0 } else { self.warm_up.as_nanos() as u64 }), from_ns, until_ns)
    }

    /// A connection is open; for the progress that is shown.
    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A worker is ready to be measured; each says it once.
    pub(crate) fn ready(&self) {
        self.ready.fetch_add(1, Ordering::Release);
        self.observer.unpark();
    }

    /// Everyone is to stop.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Ends a worker's sleep.
    pub(crate) fn wake(&self, worker: usize) {
        if let Some(member) = self.workers[worker].get() {
            member.waker.wake();
        }
    }

    fn wake_all(&self) {
        (0..self.workers.len()).for_each(|worker| self.wake(worker));
        self.observer.unpark();
    }

    fn fail(&self, error: io::Error) {
        let mut trouble = self.trouble.lock().expect("nobody panics with it");
        trouble.get_or_insert(error);
        drop(trouble);
        self.finish();
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// Runs a scenario; `make` gives each worker its load. The figures lack what only the scenario knows.
///
/// # Errors
/// What went wrong before anything was measured. After that it stands in the figures.
pub(crate) fn run<L: Load + Send>(
    plan: &Plan,
    team: &Team,
    make: impl Fn(usize) -> io::Result<L> + Sync,
) -> io::Result<(Figures, Vec<L>)> {
    if let Some(pid) = plan.server_pid {
        RunTimes::of(pid)?;
    }
    interrupt::catch()?;
    let (samples, mut loads) = thread::scope(|scope| {
        let make = &make;
        let threads: Vec<_> = (0..plan.workers)
            .map(|worker| {
                let named = thread::Builder::new().name(format!("worker-{worker}"));
                named.spawn_scoped(scope, move || work(plan, team, worker, make)).expect("a thread can be started")
            })
            .collect();
        let samples = observe(plan, team);
        let loads: Vec<Option<L>> = threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect();
        (samples, loads.into_iter().flatten().collect::<Vec<L>>())
    });
    let trouble = team.trouble.lock().expect("nobody panics with it").take();
    if samples.len() < 2 {
        return Err(trouble.unwrap_or_else(|| io::Error::other("the run was over before it was measured")));
    }
    let recorders: Vec<&mut Recorder> = loads.iter_mut().map(Load::recorder).collect();
    let mut figures = sum_up(plan, team, &samples, recorders);
    figures.ended_early = trouble.map(|error| error.to_string());
    Ok((figures, loads))
}

fn work<L: Load>(plan: &Plan, team: &Team, worker: usize, make: impl Fn(usize) -> io::Result<L>) -> Option<L> {
    // Else a sleep may be 50 us longer than it was told to be. Where that is refused it just is.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
    let started = Engine::new(&plan.sizes, team.base).and_then(|engine| Ok((engine, make(worker)?)));
    let (mut engine, mut load) = match started {
        Ok(started) => started,
        Err(error) => {
            team.fail(error);
            return None;
        }
    };
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let _ = team.workers[worker].set(Member { waker: engine.waker(), thread });
    while !team.is_over() {
        let now_ns = engine.now_ns();
        load.recorder().turn(now_ns, engine.receives());
        let done = match load.act(&mut engine, now_ns) {
            Ok(Next::Over) => break,
            Ok(Next::Until(until_ns)) => engine.turn(until_ns, &mut load),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            team.fail(error);
        }
    }
    load.recorder().finish();
    Some(load)
}

/// What was used up to a moment.
struct Sample {
    at_ns: u64,
    server: Option<RunTimes>,
    generator: RunTimes,
    resident_bytes: u64,
    tcp_bytes: Option<u64>,
}

impl Sample {
    fn take(plan: &Plan, team: &Team) -> Sample {
        Sample {
            at_ns: team.base.elapsed().as_nanos() as u64,
            server: plan.server_pid.and_then(|pid| RunTimes::of(pid).ok()),
            generator: RunTimes::of(std::process::id()).unwrap_or_default(),
            resident_bytes: plan.server_pid.and_then(|pid| process::resident_bytes(pid).ok()).unwrap_or(0),
            tcp_bytes: process::tcp_bytes(),
        }
    }
}

/// Sets the window once all are ready, and looks at its pieces' ends until it is over or the run is.
fn observe(plan: &Plan, team: &Team) -> Vec<Sample> {
    let progress = Progress::new(plan.is_for_programs);
    let now_ns = || team.base.elapsed().as_nanos() as u64;
    progress.stage("connecting", plan.connections);
    let mut first = Some(Sample::take(plan, team));
    while team.ready.load(Ordering::Acquire) < plan.workers {
        if team.is_over() {
            return Vec::new();
        }
        let opened = team.opened.load(Ordering::Relaxed);
        if interrupt::is_caught() {
            let of = plan.connections;
            team.fail(io::Error::other(format!("interrupted with {opened} of {of} connections open; nothing was measured yet")));
            // Of no window, but of what it took until now.
            return first.into_iter().chain([Sample::take(plan, team)]).collect();
        }
        progress.at(opened as u64, || format!("{opened} of {}", plan.connections));
        thread::park_timeout(LOOK);
    }
    let from_ns = now_ns() + plan.warm_up.as_nanos() as u64 + 1_000_000;
    let until_ns = from_ns + plan.measured.as_nanos() as u64;
    team.window.set(from_ns, until_ns);
    team.wake_all();
    progress.stage("measuring", until_ns - from_ns);
    let mut samples: Vec<Sample> = Vec::new();
    let mut next_ns = from_ns;
    loop {
        let now_ns = now_ns();
        let is_interrupted = interrupt::is_caught() && !team.is_over();
        if is_interrupted {
            let seconds = now_ns.saturating_sub(from_ns) as f64 / 1e9;
            team.fail(io::Error::other(format!("interrupted after {seconds:.1} s of measuring")));
        }
        // Through before the first look, as a small wave may be: it is measured from the beginning.
        let is_through = team.is_over() && team.trouble.lock().expect("nobody panics with it").is_none();
        if samples.is_empty() && (is_interrupted || is_through) {
            samples.extend(first.take());
        }
        if now_ns >= next_ns || team.is_over() {
            if !(team.is_over() && samples.is_empty()) {
                samples.push(Sample::take(plan, team));
                progress.at(now_ns.min(until_ns).saturating_sub(from_ns), || said(&samples));
            }
            if next_ns >= until_ns || team.is_over() {
                return samples;
            }
            next_ns = (next_ns + team.window.piece_ns).min(until_ns);
        } else {
            thread::park_timeout(LOOK.min(Duration::from_nanos(next_ns - now_ns)));
        }
    }
}

/// What the latest piece shows, for a person who waits.
fn said(samples: &[Sample]) -> String {
    let [.., before, after] = samples else { return String::new() };
    let elapsed_ns = (after.at_ns - before.at_ns).max(1) as f64;
    let cores = |ran_ns: u64| ran_ns as f64 / elapsed_ns;
    let generator = cores(after.generator.all_since(&before.generator));
    match before.server.as_ref().zip(after.server.as_ref()) {
        Some((before, after)) => format!("cores: server {:.2}, generator {generator:.2}", cores(after.all_since(before))),
        None => format!("cores: generator {generator:.2}"),
    }
}

fn sum_up(plan: &Plan, team: &Team, samples: &[Sample], recorders: Vec<&mut Recorder>) -> Figures {
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let seconds = (last.at_ns - first.at_ns) as f64 / 1e9;
    let sum = |what: fn(&Recorder) -> u64| recorders.iter().map(|recorder| what(recorder)).sum::<u64>();
    let (deliveries, bytes) = (sum(|recorder| recorder.deliveries), sum(|recorder| recorder.bytes));
    let receives = sum(|recorder| recorder.receives);
    let (mut latencies_ns, mut last_ns) = (histogram(), histogram());
    for recorder in &recorders {
        latencies_ns.add(&recorder.latencies_ns).expect("all have the same bounds");
        last_ns.add(&recorder.last_latencies_ns).expect("all have the same bounds");
    }
    let workers = team.workers.iter().map(|worker| worker.get().map_or(0, |member| member.thread));
    // A worker may have ended just before the last look, which then does not know it.
    let cores = |thread| {
        let seen = samples.iter().rfind(|sample| sample.generator.has(thread)).unwrap_or(first);
        let ran_ns = seen.generator.of_thread_since(thread, &first.generator);
        ran_ns as f64 / (seen.at_ns - first.at_ns).max(1) as f64
    };
    let generator_cores: Vec<f64> = workers.map(cores).collect();
    Figures {
        seconds,
        deliveries,
        deliveries_per_second: deliveries as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
        messages_per_receive: if receives == 0 { 0.0 } else { deliveries as f64 / receives as f64 },
        latency_us: Latency::of(&latencies_ns),
        last_latency_us: (!last_ns.is_empty()).then(|| Latency::of(&last_ns)),
        server: server(samples, deliveries, seconds),
        generator: Generator { busy_max: generator_cores.iter().copied().fold(0.0, f64::max), cores: generator_cores },
        timeline: timeline(samples, &recorders),
        extra: BTreeMap::new(),
        ..Figures::default()
    }
    .with_parameter("workers", plan.workers)
}

fn server(samples: &[Sample], deliveries: u64, seconds: f64) -> Option<figures::Server> {
    let first = &samples[0];
    // A server that died is told of up to its last sample.
    let last = samples.iter().rev().find(|sample| sample.server.as_ref().is_some_and(|times| !times.is_empty()))?;
    let ran = last.server.as_ref()?.since(first.server.as_ref()?);
    let all: u64 = ran.iter().map(|(_, run)| run).sum();
    let cores = |run: u64| run as f64 / 1e9 / seconds;
    Some(figures::Server {
        cpu_ns_per_delivery: if deliveries == 0 { 0.0 } else { all as f64 / deliveries as f64 },
        cores: cores(all),
        threads: ran.into_iter().map(|(name, run)| figures::Thread { name, cores: cores(run) }).collect(),
        resident_bytes: last.resident_bytes,
        resident_bytes_max: samples.iter().map(|sample| sample.resident_bytes).max().unwrap_or(0),
        kernel_bytes: last.tcp_bytes.zip(first.tcp_bytes).map(|(after, before)| after.saturating_sub(before)),
    })
}

fn timeline(samples: &[Sample], recorders: &[&mut Recorder]) -> Vec<Moment> {
    let start_ns = samples[0].at_ns;
    let pieces = samples.windows(2).enumerate();
    let moment = |(index, pair): (usize, &[Sample])| {
        let (before, after) = (&pair[0], &pair[1]);
        let seconds = (after.at_ns - before.at_ns) as f64 / 1e9;
        let of_workers = || recorders.iter().filter_map(|recorder| recorder.pieces.get(index));
        let server_ns = before.server.as_ref().zip(after.server.as_ref()).map(|(before, after)| after.all_since(before));
        Moment {
            at_s: (after.at_ns - start_ns) as f64 / 1e9,
            deliveries_per_second: of_workers().map(|piece| piece.deliveries).sum::<u64>() as f64 / seconds,
            server_cores: server_ns.map(|run| run as f64 / 1e9 / seconds),
            generator_cores: after.generator.all_since(&before.generator) as f64 / 1e9 / seconds,
            latency_p99_us: of_workers().map(|piece| piece.p99_ns).max().unwrap_or(0) as f64 / 1e3,
        }
    };
    pieces.map(moment).collect()
}
