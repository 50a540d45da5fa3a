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

/// A set and where it goes.
pub(super) struct Refresher {
    pub(super) settings: config::Tokens,
    pub(super) place: KeySetPlace,
    pub(super) trust: Arc<ClientConfig>,
    /// Keys of the configuration, which stand before those of the set; a reload replaces them.
    pub(super) fixed: watch::Receiver<Keys>,
    /// Those of the set, as they were last read.
    pub(super) set: Vec<Key>,
    pub(super) broker: Handle,
    pub(super) metrics: Arc<ControlMetrics>,
}

impl Refresher {
    /// Reads the set again and again; `wanted` rings where a client named a key that nobody knows.
    pub(super) async fn run(mut self, mut failed: bool, wanted: Arc<Notify>) {
        let least = Duration::from_secs(self.settings.jwks_least_s.into());
        let usual = Duration::from_secs(self.settings.jwks_refresh_s.into());
        loop {
            let until = Instant::now() + least;
            while let Ok(changed) = tokio::time::timeout_at(until, self.fixed.changed()).await {
                if changed.is_err() {
                    return;
                }
                self.put_in_force().await;
            }
            tokio::select! {
                () = tokio::time::sleep(usual.saturating_sub(least)), if !failed => {}
                () = wanted.notified(), if !failed => {}
                () = std::future::ready(()), if failed => {}
                _ = self.fixed.changed(), if !failed => {
                    self.put_in_force().await;
                    continue;
                }
            }
            failed = self.refresh().await.is_err();
        }
    }

    /// Reads the set once and puts its keys in force; tells where that cannot be done.
    pub(super) async fn refresh(&mut self) -> Result<(), ()> {
        match self.read().await {
            Ok(set) => {
                self.metrics.jwks_refreshes.add(1);
                tracing::debug!(keys = set.keys.len(), passed_over = set.passed_over, "the keys of tokens were read");
                self.set = set.keys;
                self.put_in_force().await;
                Ok(())
            }
            Err(error) => {
                self.metrics.jwks_failures.add(1);
                tracing::error!("the keys of tokens stay as they are: {}: {error}", self.place);
                Err(())
            }
        }
    }

    async fn put_in_force(&mut self) {
        let keys: Keys = self.fixed.borrow_and_update().iter().chain(&self.set).cloned().collect();
        // It fails only where the gateway stops.
        self.broker.replace_keys(keys).await.ok();
    }

    async fn read(&self) -> Result<KeySet, RefreshError> {
        match &self.place {
            KeySetPlace::File(file) => read_file(file, &self.settings),
            KeySetPlace::Url(url) => {
                let bytes_max = self.settings.jwks_bytes_max as usize;
                let timeout = Duration::from_millis(self.settings.jwks_timeout_ms.into());
                let answer =
                    ask(Asking { url, body: None, request_id: None, timeout, body_bytes_max: bytes_max }, &self.trust).await?;
                if answer.status != 200 {
                    return Err(AskError::Status(answer.status).into());
                }
                Ok(KeySet::read(&answer.body, self.settings.jwks_keys_max as usize)?)
            }
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
