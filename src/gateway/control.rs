//! The control thread: broker, sources, admin port, signals; how the gateway drains and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::certificates::{self, Loaded};
use super::{StartError, greeting, listen_error};
use crate::admin::{self, AdminContext};
use crate::admission::Keys;
use crate::admission::Readiness;
use crate::broker::Handle;
use crate::broker::journaled::Journaled;
use crate::broker::memory::Memory;
use crate::config::{self, Config};
use crate::credentials;
use crate::metrics::{ControlMetrics, ShardMetrics};
use crate::shard::mail::Post;
use crate::source::{self, SourceContext};
use crate::tls::Acceptors;

/// How often a drain is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What the control thread has.
pub(super) struct Control {
    pub(super) config: Arc<Config>,
    pub(super) post: Arc<Post>,
    pub(super) shards: Arc<[Arc<ShardMetrics>]>,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) acceptors: Acceptors,
    pub(super) keys: Keys,
}

impl Control {
    /// Until the gateway has stopped.
    pub(super) async fn run(mut self, journaled: Option<Journaled>) -> Result<(), StartError> {
        let refused = |what: &str| {
            let what = what.to_owned();
            move |error| StartError::Thread { what, error }
        };
        let (memory, broker) = Memory::new(self.post.clone(), &self.config.limits, journaled, self.metrics.clone())
            .map_err(refused("the broker"))?;
        let (stop, stopping) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).map_err(refused("the signal handler"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused("the signal handler"))?;
        let mut hangup = signal(SignalKind::hangup()).map_err(refused("the signal handler"))?;

        let admin = match self.config.admin.enabled {
            true => Some(self.listen_admin().await?),
            false => None,
        };
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = admin {
            let context = AdminContext {
                broker: broker.clone(),
                shards: self.shards.clone(),
                control: self.metrics.clone(),
                settings: Arc::new(self.config.admin.clone()),
                tokens: Arc::new(self.config.tokens.clone()),
                asks_for_rights: self.config.asks_for_rights(),
                publication_bytes_max: self.config.limits.publication_bytes_max,
                send_timeout_ms: self.config.limits.send_timeout_ms,
                readiness: self.readiness.clone(),
                stopping: stopping.clone(),
            };
            spawn_local(admin::serve(listener, context));
        }
        let context = SourceContext {
            broker: broker.clone(),
            stopping,
            publication_bytes_max: self.config.limits.publication_bytes_max,
            topics: self.config.topics.iter().cloned().chain([config::Topic::default()]).collect(),
            metrics: self.metrics.clone(),
        };
        source::spawn(self.config.sources.clone(), &context);
        let serving = spawn_local(memory.run());
        credentials::start(&self.config, self.keys.clone(), &broker, &self.post, &self.metrics).await;
        self.readiness.serve(true);
        // Whoever reads the addresses finds a gateway that is ready.
        greeting::print(&self.config, &self.addresses, admin_address);

        let drains = loop {
            tokio::select! {
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break false,
                _ = hangup.recv() => self.reload(&broker).await,
            }
        };
        // Balancers look elsewhere first.
        self.readiness.serve(false);
        if drains {
            tokio::select! {
                () = self.drain(&broker) => {}
                _ = terminate.recv() => tracing::info!("the drain is cut short"),
                _ = interrupt.recv() => tracing::info!("the drain is cut short"),
            }
        }
        stop.send_replace(true);
        tracing::info!("stopping: clients are told and closed; once more to stop at once");
        tokio::select! {
            () = broker.stop() => {}
            _ = terminate.recv() => std::process::exit(1),
            _ = interrupt.recv() => std::process::exit(1),
        }
        serving.await.expect("a panic ends the process before it gets here").map_err(refused("the broker"))
    }

    /// Has the clients leave, as configured; over when the last one has left or the window has passed.
    async fn drain(&self, broker: &Handle) {
        let config::Drain { delay_ms, window_ms } = self.config.drain;
        let clients = || self.shards.iter().map(|shard| shard.connections.get()).sum::<i64>();
        if delay_ms > 0 {
            tracing::info!(delay_ms, "draining: /health/ready says 503, clients are still taken");
            tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
        }
        if window_ms == 0 || broker.drain(window_ms).await.is_err() {
            return;
        }
        tracing::info!(
            window_ms,
            clients = clients(),
            "draining: no more clients are taken, those who are there are closed one by one"
        );
        let end = Instant::now() + Duration::from_millis(window_ms.into());
        while clients() > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Reads the files of TLS listeners again. No client is touched; new ones are accepted with what the files hold now, or
    /// with what was in force where they cannot be used.
    async fn reload(&mut self, broker: &Handle) {
        if self.acceptors.iter().all(Option::is_none) {
            tracing::info!("SIGHUP: there is nothing to reload, as no listener has TLS");
            return;
        }
        match certificates::load(&self.config, Some(&self.acceptors)) {
            Ok(Loaded { acceptors, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.acceptors = acceptors.clone();
                // It fails only where the gateway stops, and then nobody is accepted any more.
                if broker.renew(acceptors).await.is_ok() {
                    tracing::info!("SIGHUP: the certificates were read again and are in force for new clients");
                }
            }
            Err(error) => tracing::error!("SIGHUP: the certificates stay as they were: {error}"),
        }
    }

    async fn listen_admin(&self) -> Result<tokio::net::TcpListener, StartError> {
        let address = self.config.admin.address;
        let refused = |error| listen_error("the admin port", "--admin", address, error);
        admin::bind(address).await.map_err(refused)
    }
}
