//! Keeps the keys of a JWKS in force: read at start, and again and again.
//!
//! Invariants: between two reads lies `jwks_least_s` at least, however many unknown keys clients name; where a set cannot be had the keys
//! in force stay, which is told and counted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::request::{AskError, Asking, ask};
use crate::admission::{Key, KeySet, KeySetError, Keys};
use crate::broker::Handle;
use crate::config::{self, KeySetPlace};
use crate::metrics::ControlMetrics;

/// Why a set cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefreshError {
    #[error("the file cannot be read ({0})")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Asked(#[from] AskError),
    #[error("what is there {0}")]
    Unusable(#[from] KeySetError),
}

/// Where a set is, and how it is read.
#[derive(Clone, Debug)]
pub(super) struct KeySetSettings {
    pub(super) tokens: config::Tokens,
    /// None: there is none.
    pub(super) place: Option<KeySetPlace>,
    pub(super) trust: Arc<ClientConfig>,
}

/// A set and where it goes.
pub(super) struct Refresher {
    /// In force; a reload replaces them.
    settings: watch::Receiver<KeySetSettings>,
    /// Keys of the configuration, which stand before those of the set; a reload replaces them.
    fixed: watch::Receiver<Keys>,
    /// Those of the set, as they were last read.
    set: Vec<Key>,
    broker: Handle,
    metrics: Arc<ControlMetrics>,
}

impl Refresher {
    /// That has read nothing yet.
    pub(super) fn new(
        settings: watch::Receiver<KeySetSettings>,
        fixed: watch::Receiver<Keys>,
        broker: Handle,
        metrics: Arc<ControlMetrics>,
    ) -> Refresher {
        Refresher { settings, fixed, set: Vec::new(), broker, metrics }
    }

    /// Reads the set again and again; `wanted` rings where a client named a key that nobody knows.
    pub(super) async fn run(mut self, mut failed: bool, wanted: Arc<Notify>) {
        let mut read_at = Instant::now();
        loop {
            let (has_set, least, usual) = {
                let KeySetSettings { tokens, place, .. } = &*self.settings.borrow();
                let seconds = |seconds: u32| Duration::from_secs(seconds.into());
                (place.is_some(), seconds(tokens.jwks_least_s), seconds(tokens.jwks_refresh_s))
            };
            let earliest = read_at + least;
            let latest = if failed { earliest } else { read_at + usual.max(least) };
            let is_wanted = async {
                tokio::time::sleep_until(earliest).await;
                wanted.notified().await;
            };
            tokio::select! {
                changed = self.fixed.changed() => match changed {
                    Ok(()) => {
                        self.put_in_force().await;
                        continue;
                    }
                    Err(_) => return,
                },
                changed = self.settings.changed() => if changed.is_err() {
                    return;
                },
                () = is_wanted, if has_set => {}
                () = tokio::time::sleep_until(latest), if has_set => {}
            }
            read_at = Instant::now();
            failed = self.refresh().await.is_err();
        }
    }

    /// Reads the set once and puts its keys in force; tells where that cannot be done.
    pub(super) async fn refresh(&mut self) -> Result<(), ()> {
        let settings = self.settings.borrow_and_update().clone();
        let Some(place) = &settings.place else {
            self.set.clear();
            self.put_in_force().await;
            return Ok(());
        };
        match read(place, &settings).await {
            Ok(set) => {
                self.metrics.jwks_refreshes.add(1);
                tracing::debug!(keys = set.keys.len(), passed_over = set.passed_over, "the keys of tokens were read");
                self.set = set.keys;
                self.put_in_force().await;
                Ok(())
            }
            Err(error) => {
                self.metrics.jwks_failures.add(1);
                tracing::error!("the keys of tokens stay as they are: {place}: {error}");
                Err(())
            }
        }
    }

    async fn put_in_force(&mut self) {
        let keys: Keys = self.fixed.borrow_and_update().iter().chain(&self.set).cloned().collect();
        // It fails only where the gateway stops.
        self.broker.replace_keys(keys).await.ok();
    }
}

async fn read(place: &KeySetPlace, KeySetSettings { tokens, trust, .. }: &KeySetSettings) -> Result<KeySet, RefreshError> {
    match place {
        KeySetPlace::File(file) => read_file(file, tokens),
        KeySetPlace::Url(url) => {
            let body_bytes_max = tokens.jwks_bytes_max as usize;
            let timeout = Duration::from_millis(tokens.jwks_timeout_ms.into());
            let answer = ask(Asking { url, body: None, request_id: None, timeout, body_bytes_max }, trust).await?;
            if answer.status != 200 {
                return Err(AskError::Status(answer.status).into());
            }
            Ok(KeySet::read(&answer.body, tokens.jwks_keys_max as usize)?)
        }
    }
}

/// Reads the set in a file.
pub(super) fn read_file(file: &Path, settings: &config::Tokens) -> Result<KeySet, RefreshError> {
    let (mut bytes, bytes_max) = (Vec::new(), settings.jwks_bytes_max as usize);
    File::open(file)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than tokens.jwks_bytes_max = {bytes_max} bytes")).into());
    }
    Ok(KeySet::read(&bytes, settings.jwks_keys_max as usize)?)
}
