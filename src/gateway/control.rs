//! The control thread: broker, sources, admin port, signals; how the gateway drains and stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_local;

use super::giving::Place;
use super::reload::Reloading;
use super::taking::Predecessor;
use super::{StartError, greeting, machine, memory, supervisor};
use crate::admin::{self, AdminContext, History, Keys};
use crate::admission::{self, Readiness};
use crate::broker::Handle;
use crate::broker::journaled::Journaled;
use crate::broker::memory::Memory;
use crate::config::{self, Address, Config};
use crate::credentials::{self, Credentials};
use crate::lines;
use crate::metrics::{ControlMetrics, ShardMetrics};
use crate::shard::mail::Post;
use crate::source::{self, SourceContext, Standings};
use crate::takeover::Known;
use crate::tls::Acceptors;

/// How often a drain is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long after the window the last clients may leave: shards begin it a little later, and a turn may come late.
const DRAIN_SLACK: Duration = Duration::from_millis(250);

/// What the control thread has.
pub(super) struct Control {
    /// In force.
    pub(super) config: Arc<Config>,
    /// Of the start.
    pub(super) started: Arc<Config>,
    /// In force, for whoever looks at it when it is asked.
    pub(super) settings: watch::Sender<Arc<Config>>,
    /// Of the admin port, in force.
    pub(super) keys: watch::Sender<Keys>,
    pub(super) reloading: Reloading,
    pub(super) post: Arc<Post>,
    /// Of the feeds.
    pub(super) standings: Standings,
    pub(super) shards: Arc<[Arc<ShardMetrics>]>,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) addresses: Vec<Address>,
    pub(super) acceptors: Acceptors,
    /// Keys that tokens may be signed with, of the configuration's files.
    pub(super) token_keys: watch::Sender<admission::Keys>,
    /// What is begun with, and what has begun.
    pub(super) credentials: Option<credentials::Settings>,
    pub(super) begun: Option<Credentials>,
    pub(super) admin: Option<TcpListener>,
    /// What is given to the next gateway.
    pub(super) place: Option<Place>,
    /// The gateway before, and what came along.
    pub(super) predecessor: Option<(Predecessor, Known)>,
}

/// Why serving ends.
enum Ending {
    /// The clients are given time.
    Drain,
    Stop,
    /// Another gateway has the place; who is told when that one is lost.
    Given(oneshot::Receiver<()>),
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Signals { terminate: terminate?, interrupt: interrupt?, hangup: hangup? })
    }

    /// To stop, or to do it at once.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Control {
    /// Until the gateway has stopped.
    pub(super) async fn run(mut self, journaled: Option<Journaled>) -> Result<(), StartError> {
        let (memory, broker) =
            Memory::new(self.post.clone(), &self.config, journaled, self.metrics.clone()).map_err(refused("the broker"))?;
        let serving = spawn_local(memory.run());
        let (stop, stopping) = watch::channel(false);
        let (take, taken) = watch::channel(false);
        let mut signals = Signals::new().map_err(refused("the signal handler"))?;

        // Before anybody comes: whoever is let in is held against what is there.
        if let Some(settings) = self.credentials.take() {
            let keys = self.token_keys.subscribe();
            self.begun = Some(Credentials::start(settings, keys, &broker, &self.post, &self.metrics).await);
        }
        // From here on this gateway has the place.
        let mut goes_on = self.predecessor.is_some();
        match self.predecessor.take() {
            None => broker.accept().await,
            Some((predecessor, known)) => {
                let bytes_max = self.config.takeover.feed_bytes_max;
                if let Err(error) = predecessor.take(&broker, known, &self.standings, bytes_max).await {
                    tracing::warn!("the gateway whose place was taken: {error}; this one goes on alone");
                }
            }
        }
        let machine = machine::readings::machine();
        spawn_local(memory::look(self.settings.subscribe(), machine, self.readiness.clone(), self.metrics.clone()));
        let place = self.place.take().map(Rc::new);
        let mut admin = self.admin.take();
        let mut is_greeted = false;
        loop {
            let (end_feeds, feeds_end) = watch::channel(false);
            let address = self.open_admin(admin.take(), &broker, &stopping, &taken).map_err(refused("the admin port"))?;
            self.start_feeds(&broker, feeds_end, goes_on);
            self.readiness.serve(true);
            let given = place.as_ref().map(|place| self.offer(place, &broker)).transpose()?;
            // Whoever reads the addresses finds a gateway that is ready.
            if !std::mem::replace(&mut is_greeted, true) {
                greeting::print(&self.config, &self.addresses, address);
            }
            supervisor::ready();
            let ending = self.serve(&broker, &mut signals, given).await;
            end_feeds.send_replace(matches!(ending, Ending::Given(_)));
            take.send_replace(matches!(ending, Ending::Given(_)));
            let leaves = self.leave(ending, &broker, &mut signals, place.as_deref()).await;
            end_feeds.send_replace(leaves);
            let Some(place) = place.as_ref().filter(|_| !leaves) else { break };
            take.send_replace(false);
            admin = place.admin().map_err(refused("the admin port"))?;
            goes_on = true;
        }
        stop.send_replace(true);
        tracing::info!("stopping: clients are told and closed; once more to stop at once");
        tokio::select! {
            () = broker.stop() => {}
            () = signals.end() => end_at_once(),
        }
        serving.await.expect("a panic ends the process before it gets here").map_err(refused("the broker"))
    }

    /// Has the clients leave as the ending demands. False where the gateway that took the place is gone, and this one has it again.
    async fn leave(&self, ending: Ending, broker: &Handle, signals: &mut Signals, place: Option<&Place>) -> bool {
        let (drain, grace_ms, lost) = match ending {
            Ending::Given(lost) => {
                tracing::info!("another gateway has this one's place; the clients that are here leave");
                let drain = config::Drain { delay_ms: 0, ..self.config.drain };
                (Some(drain), self.config.limits.handshake_timeout_ms, Some(lost))
            }
            Ending::Drain | Ending::Stop => {
                // Balancers look elsewhere first.
                self.readiness.serve(false);
                supervisor::stopping();
                (matches!(ending, Ending::Drain).then(|| self.config.drain.clone()), 0, None)
            }
        };
        let Some(drain) = drain else { return true };
        let is_given = lost.is_some();
        let is_lost = async {
            match lost {
                Some(lost) => lost.await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.drain(broker, &drain, grace_ms, is_given) => {}
            () = signals.end() => tracing::info!("the drain is cut short"),
            true = is_lost => return !self.come_back(broker, place).await,
        }
        true
    }

    /// The gateway that took the place is lost: this one serves again where it is gone. Else the clients are closed, and come to that one.
    async fn come_back(&self, broker: &Handle, place: Option<&Place>) -> bool {
        let is_gone = match place {
            Some(place) => !place.is_taken().await,
            None => false,
        };
        if is_gone && broker.resume().await {
            tracing::warn!("the gateway that took this one's place is gone: this one serves again, all topics begin new epochs");
            return true;
        }
        tracing::warn!("the clients that are still here are closed, to come back to whoever has the place");
        self.drain(broker, &config::Drain { delay_ms: 0, window_ms: 0 }, self.config.limits.close_timeout_ms, false).await;
        false
    }

    /// The admin port, where there is one.
    fn open_admin(
        &self,
        listener: Option<TcpListener>,
        broker: &Handle,
        stopping: &watch::Receiver<bool>,
        taken: &watch::Receiver<bool>,
    ) -> io::Result<Option<SocketAddr>> {
        let Some(listener) = listener else { return Ok(None) };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let context = AdminContext {
            broker: broker.clone(),
            shards: self.shards.clone(),
            control: self.metrics.clone(),
            history: Arc::new(Mutex::new(History::new(rand::random(), self.shards.len(), self.metrics.feeds.clone()))),
            settings: self.settings.subscribe(),
            keys: self.keys.subscribe(),
            denial_told: Arc::default(),
            readiness: self.readiness.clone(),
            listeners: self.addresses.iter().map(Address::to_string).collect(),
            stopping: stopping.clone(),
            taken: taken.clone(),
        };
        spawn_local(admin::serve(listener, context));
        Ok(Some(address))
    }

    /// Listens for who wants the place; gives who is told when it is taken, and by that when the other one is lost.
    fn offer(&self, place: &Rc<Place>, broker: &Handle) -> Result<oneshot::Receiver<oneshot::Receiver<()>>, StartError> {
        let (gave, given) = oneshot::channel();
        let (place, broker, standings, metrics) = (place.clone(), broker.clone(), self.standings.clone(), self.metrics.clone());
        let door = place.door()?;
        spawn_local(async move {
            let lost = place.give(door, broker, standings, metrics).await;
            // Whoever wanted to know may be stopping.
            gave.send(lost).ok();
        });
        Ok(given)
    }

    fn start_feeds(&self, broker: &Handle, stopping: watch::Receiver<bool>, goes_on: bool) {
        let context = SourceContext {
            broker: broker.clone(),
            stopping,
            publication_bytes_max: self.config.limits.publication_bytes_max,
            topics: self.config.topics.iter().cloned().chain([config::Topic::default()]).collect(),
            metrics: self.metrics.clone(),
            goes_on,
            feed: Arc::default(),
            standing: Rc::default(),
        };
        source::spawn(self.config.sources.clone(), &self.standings, &context);
    }

    /// Until a signal, or until another gateway has the place.
    async fn serve(
        &mut self,
        broker: &Handle,
        signals: &mut Signals,
        mut given: Option<oneshot::Receiver<oneshot::Receiver<()>>>,
    ) -> Ending {
        loop {
            let is_given = async {
                match &mut given {
                    Some(given) => given.await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = signals.terminate.recv() => return Ending::Drain,
                _ = signals.interrupt.recv() => return Ending::Stop,
                _ = signals.hangup.recv() => {
                    supervisor::reloading();
                    self.reload(broker).await;
                    supervisor::ready();
                }
                Some(lost) = is_given => return Ending::Given(lost),
            }
        }
    }

    /// Has the clients leave; over when the last one has left or the window has passed. Where the place is given, who was accepted just
    /// before is served, and leaves then; and the clients of a gateway that is fed by this one are waited for, too.
    async fn drain(&self, broker: &Handle, drain: &config::Drain, grace_ms: u32, is_given: bool) {
        let config::Drain { delay_ms, window_ms } = *drain;
        let clients = || self.shards.iter().map(|shard| shard.connections.get()).sum::<i64>();
        if delay_ms > 0 {
            tracing::info!(delay_ms, "draining: /health/ready says 503, clients are still taken");
            tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
        }
        if window_ms + grace_ms == 0 || broker.drain(window_ms).await.is_err() {
            return;
        }
        tracing::info!(
            window_ms,
            clients = clients(),
            "draining: no more clients are taken, those who are there are closed one by one"
        );
        let end = Instant::now() + Duration::from_millis((window_ms + grace_ms).into()) + DRAIN_SLACK;
        // One that was accepted in the last moment is counted by the time that no more can come.
        let may_come = || self.shards.iter().any(|shard| shard.accepting.get() > 0);
        let is_needed = || clients() > 0 || is_given && (may_come() || clients() > 0 || self.metrics.takeover_feeding.get() > 0);
        while is_needed() && Instant::now() < end {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

fn refused(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError::Thread { what, error }
}

fn end_at_once() -> ! {
    lines::finish();
    std::process::exit(1)
}
