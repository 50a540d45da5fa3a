//! Threads, pinning, wiring, stopping.
//!
//! The calling thread becomes the control thread; each shard has a thread of its own. A panic anywhere ends the process with
//! its reason in the log: a gateway that half works is worse than one that is restarted.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use tokio::sync::watch;

use crate::admission::Readiness;
use crate::broker::journaled::Journaled;
use crate::config::{Address, Config};
use crate::credentials;
use crate::disk;
use crate::journal::JournalError;
use crate::lines;
use crate::metrics::{ControlMetrics, ShardMetrics};
use crate::reactor::epoll::Epoll;
use crate::reactor::listener::{Listener, UnixError};
use crate::reactor::probe::{Capabilities, ProbeError, raise_descriptors_max};
use crate::reactor::uring::{Uring, UringSettings};
use crate::reactor::{Reactor, ReactorSizes};
use crate::shard::mail::Post;
use crate::shard::{Shard, ShardContext};
use crate::source::{self, SourceError, Standings};
use crate::takeover::{DoorError, Known, LineError};

use self::certificates::Loaded;
use self::control::Control;
use self::giving::Place;
use self::kernel::Kernel;
use self::listening::{Doors, Inherited};
use self::taking::{Predecessor, State};

pub(crate) mod certificates;
mod control;
mod giving;
mod greeting;
mod kernel;
mod listening;
mod machine;
mod memory;
mod reload;
pub(crate) mod secrets;
mod supervisor;
mod taking;
pub(crate) mod token_keys;

pub use certificates::CertificateError;
pub use reload::Reloading;
pub use secrets::SecretError;
pub use token_keys::TokenKeyError;

/// Why the gateway could not start, with what to try.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine gives too few descriptors.
    #[error(transparent)]
    Machine(#[from] ProbeError),
    /// There is no io_uring, and nothing else is wanted.
    #[error("{0}; or serve by epoll: `--reactor auto` (`reactor = \"auto\"` under [shards])")]
    Forbidden(ProbeError),
    /// An address is taken.
    #[error(
        "{what} cannot listen on {address}: the port is in use. Choose another with {flag} (port 0 takes a free one), or see \
         who has it: ss -ltnp 'sport = :{port}'",
        port = address.port()
    )]
    InUse {
        /// Clients' or admin.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// An address cannot be had.
    #[error("{what} cannot listen on {address}: {error}. Choose another address with {flag}")]
    Listen {
        /// Clients' or admin.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The supervisor hands over something else than a listening socket.
    #[error(
        "LISTEN_FDS: number {number} of what the supervisor hands over is no listening TCP or Unix socket ({error}); see ListenStream= in its unit"
    )]
    Activation {
        /// Which, from 0.
        number: usize,
        /// Why.
        error: io::Error,
    },
    /// Nobody would accept there.
    #[error(
        "the supervisor hands over a socket that listens on {address}, and no [[listener]] (nor [admin]) of the configuration has that \
         address: whoever connects there would wait for ever. Make the two agree"
    )]
    Unused {
        /// Where.
        address: Address,
    },
    /// A Unix socket cannot be had.
    #[error("the clients' listener cannot listen on unix:{}: {error}; {remedy}", path.display())]
    Unix {
        /// Where.
        path: PathBuf,
        /// Why.
        error: UnixError,
        /// What to do.
        remedy: String,
    },
    /// The gateway that runs does not give its place up.
    #[error("the gateway at the takeover socket {} goes on: {error}", socket.display())]
    Takeover {
        /// Where it was asked.
        socket: PathBuf,
        /// Why.
        error: LineError,
    },
    /// The takeover socket.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A TLS listener's files cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A key of the admin port cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A key that tokens are signed with cannot be used.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// What tokens are held against cannot be had.
    #[error("{0}")]
    Credentials(String),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A feed cannot be played.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A shard's reactor or the control runtime.
    #[error("{what} could not be made: {error}")]
    Thread {
        /// Which part.
        what: String,
        /// Why.
        error: io::Error,
    },
}

/// Runs the gateway until it is told to stop; on SIGHUP it goes by what `reloading` gives.
///
/// # Errors
/// [`StartError`]: nothing was served then.
pub fn run(config: Config, reloading: Reloading) -> Result<(), StartError> {
    // Where it cannot be raised the check below says what is missing.
    raise_descriptors_max().ok();
    let kernel = Kernel::choose(config.shards.reactor)?;
    config.sources.iter().try_for_each(source::check)?;
    let Loaded { acceptors, warnings } = certificates::load(&config, None)?;
    let (keys, risky) = secrets::load(&config)?;
    let token_keys = token_keys::load(&config)?;
    let credentials = credentials::Settings::read(&config).map_err(StartError::Credentials)?;
    warnings.iter().chain(&risky).for_each(|warning| tracing::warn!("{warning}"));
    let shards = shard_count(&config);
    let config = Arc::new(within_machine(config, kernel, shards)?);
    shortfalls(&config, kernel, shards).iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let mut inherited = Inherited::default();
    supervisor::sockets(&mut inherited)?;
    let predecessor = taking::ask(&config.takeover, &mut inherited)?;
    let doors = listening::listen(&config, shards, &mut inherited)?;
    inherited.settle()?;
    let failed = |error| StartError::Thread { what: "a listening socket".into(), error };
    let place = Place::new(&doors, &config.takeover).map_err(failed)?;
    let Doors { shards: listeners, admin, addresses } = doors;
    let post = Post::new(shards, config.shards.mailbox_places as usize, &config.topics);
    let control_metrics = Arc::new(ControlMetrics { feeds: source::feeds(&config.sources), ..ControlMetrics::default() });
    control_metrics.thread.set(kernel_number());
    let metrics: Arc<[Arc<ShardMetrics>]> = (0..shards)
        .map(|_| Arc::new(ShardMetrics::with_classes(config.topics.iter().map(|topic| topic.pattern.as_str()))))
        .collect();
    let readiness = Arc::new(Readiness::new(config.limits.connections_max));
    end_process_on_panic();
    let mut threads = Vec::new();
    for (place, listeners) in listeners.into_iter().enumerate() {
        let context = ShardContext {
            place: place as u16,
            config: config.clone(),
            post: post.clone(),
            metrics: metrics[place].clone(),
            readiness: readiness.clone(),
            nonce: rand::random(),
            acceptors: acceptors.clone(),
            keys: token_keys.clone(),
            waits: true,
        };
        threads.push(start_shard(context, listeners, kernel)?);
    }
    let (before, journaled) = go_on(predecessor, &config, &post, &control_metrics)?;
    let control = Control {
        started: config.clone(),
        settings: watch::Sender::new(config.clone()),
        keys: watch::Sender::new(keys),
        config,
        reloading,
        post,
        standings: Standings::of(&control_metrics.feeds),
        shards: metrics,
        metrics: control_metrics,
        readiness,
        addresses,
        acceptors,
        token_keys: watch::Sender::new(token_keys),
        credentials: Some(credentials),
        begun: None,
        admin,
        place,
        predecessor: before,
    };
    let refused = |error| StartError::Thread { what: "the control thread".into(), error };
    disk::start(kernel.disk(), control.run(journaled)).map_err(refused)??;
    for thread in threads {
        thread.join().expect("a panic ends the process before it gets here");
    }
    Ok(())
}

/// What this machine does not give of what the configuration may come to need, one sentence each with what raises it. Why it would not even
/// start is among them.
#[must_use]
pub fn machine_warnings(config: &Config) -> Vec<String> {
    raise_descriptors_max().ok();
    let shards = shard_count(config);
    let kernel = match Kernel::choose(config.shards.reactor) {
        Ok(kernel) => kernel,
        Err(error) => return vec![format!("It would not start here: {error}.")],
    };
    let refused = within_machine(config.clone(), kernel, shards).err();
    let refused = refused.map(|error| format!("It would not start here: {error}."));
    refused.into_iter().chain(shortfalls(config, kernel, shards)).collect()
}

fn shard_count(config: &Config) -> u16 {
    config.shards.count.unwrap_or_else(|| thread::available_parallelism().map_or(1, |cores| cores.get() as u16))
}

/// Demo mode makes do with what there is.
fn shortfalls(config: &Config, kernel: Kernel, shards: u16) -> Vec<String> {
    if config.demo {
        return Vec::new();
    }
    let machine = machine::readings::machine();
    let needs = machine::Needs::of(config, shards, !kernel.has_tables());
    needs.shortfalls(&machine).into_iter().chain(machine::bound_beyond(&config.limits, &machine)).collect()
}

/// What the gateway before knows, if there is one, and the journals, whose lock it hands over.
#[expect(clippy::type_complexity, reason = "two things that each may not be there")]
fn go_on(
    predecessor: Option<Predecessor>,
    config: &Config,
    post: &Post,
    metrics: &Arc<ControlMetrics>,
) -> Result<(Option<(Predecessor, Known)>, Option<Journaled>), StartError> {
    let (mut lock, mut before) = (None, None);
    if let Some((predecessor, State { known, lock: handed })) = predecessor.map_or(Ok(None), Predecessor::state)? {
        (lock, before) = (handed, Some((predecessor, known)));
    }
    let journaled = match post.has_journals() {
        true => Some(Journaled::open(config, post.control(), metrics.clone(), lock)?),
        false => None,
    };
    Ok((before, journaled))
}

/// Whether the machine gives a descriptor for each client. Demo mode makes do with what there is.
fn within_machine(mut config: Config, kernel: Kernel, shards: u16) -> Result<Config, StartError> {
    let clients = |config: &Config| crate::shard::places(config, shards).saturating_mul(shards.into());
    while let Err(error) = kernel.check_clients(clients(&config), shards) {
        if !config.demo || config.limits.connections_max < 64 {
            return Err(error.into());
        }
        config.limits.connections_max /= 2;
    }
    Ok(config)
}

/// Starts a shard's thread; returns once its reactor is made, as a ring can be made only there.
fn start_shard(context: ShardContext, listeners: Vec<Listener>, kernel: Kernel) -> Result<thread::JoinHandle<()>, StartError> {
    let place = context.place;
    let refused = |error| StartError::Thread { what: format!("shard {place}"), error };
    let (made, is_made) = mpsc::sync_channel(1);
    let body = move || {
        context.metrics.thread.set(kernel_number());
        let shards = &context.config.shards;
        if shards.pin {
            pin(usize::from(place));
        }
        let sizes = ReactorSizes {
            entries: shards.ring_entries,
            connections_max: crate::shard::places(&context.config, context.post.shards()),
            // Somebody may wait at each socket that was taken over, however many they are.
            accepts_max: shards.accepts_armed.max(listeners.len().try_into().unwrap_or(u16::MAX)),
            receive_buffers: shards.receive_buffers,
            receive_buffer_bytes: shards.receive_buffer_bytes,
            bounded_send_bytes: context.config.limits.conflate_unsent_bytes,
        };
        match kernel {
            Kernel::Uring(Capabilities { direct, incremental, .. }) => {
                serve(Uring::new(UringSettings { sizes, direct, incremental }, listeners), context, &made);
            }
            Kernel::Epoll => serve(Epoll::new(sizes, listeners), context, &made),
        }
    };
    let thread = thread::Builder::new().name(format!("shard-{place}")).spawn(body).map_err(refused)?;
    is_made.recv().expect("the shard's thread says how it went").map_err(refused)?;
    Ok(thread)
}

/// A shard on this thread, until it ends.
fn serve<R: Reactor>(reactor: io::Result<R>, context: ShardContext, made: &mpsc::SyncSender<io::Result<()>>) {
    let place = context.place;
    let told = "the starting thread waits for this";
    let mut shard = match reactor.and_then(|reactor| Shard::new(reactor, context)) {
        Ok(shard) => shard,
        Err(error) => return made.send(Err(error)).expect(told),
    };
    made.send(Ok(())).expect(told);
    if let Err(error) = shard.run() {
        panic!("shard {place} lost its reactor: {error}");
    }
}

/// The kernel's number of the calling thread.
fn kernel_number() -> i64 {
    rustix::thread::gettid().as_raw_nonzero().get().into()
}

/// Pins the calling thread to the `number`-th of the processors that this process may use.
fn pin(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let mut one = CpuSet::new();
        one.set(processors[number % processors.len()]);
        sched_setaffinity(None, &one)
    });
    if let Err(error) = pinned {
        tracing::warn!("shard {number} is not pinned to a core: {error}");
    }
}

/// A panic on any thread ends the process.
fn end_process_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!("the gateway ends: {info}");
        lines::finish();
        told(info);
        std::process::abort();
    }));
}
