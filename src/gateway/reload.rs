//! SIGHUP: the configuration file, the files of TLS listeners, and those of keys and authorities are read again, and what can be in force
//! without a restart is, all of it or nothing.
//!
//! Without: which settings wait for a restart ([`Reload`]), and how threads go by new ones.

use std::sync::Arc;

use super::certificates::{self, Loaded};
use super::control::Control;
use super::{secrets, token_keys};
use crate::admin::Keys;
use crate::admission;
use crate::broker::Handle;
use crate::config::{Config, LogLevel, Reload};
use crate::credentials;
use crate::shard::mail::Settings;

/// How a running gateway comes by another configuration.
pub struct Reloading {
    /// Reads the file again, with the flags of the start over it; the error is the operator's sentence. None: there is no file.
    pub read: Option<Box<dyn Fn() -> Result<Config, String>>>,
    /// Sets the least level that is logged.
    pub set_log_level: Box<dyn Fn(LogLevel)>,
}

/// Nothing can be reloaded.
impl Default for Reloading {
    fn default() -> Reloading {
        Reloading { read: None, set_log_level: Box::new(|_| {}) }
    }
}

/// What a reload comes to, before anything is changed.
struct Prepared {
    reload: Reload,
    loaded: Loaded,
    keys: Keys,
    token_keys: admission::Keys,
    credentials: credentials::Settings,
}

impl Control {
    /// Reads the files again. No client is touched; where something in them cannot be used, nothing changes.
    pub(super) async fn reload(&mut self, broker: &Handle) {
        let Some(read) = &self.reloading.read else {
            tracing::info!("SIGHUP: there is nothing to read, as the gateway was started without --config");
            return;
        };
        let Prepared { reload, loaded, keys, token_keys, credentials } = match read().and_then(|config| self.prepare(&config)) {
            Ok(prepared) => prepared,
            Err(error) => return tracing::error!("SIGHUP: all stays as it was: {error}"),
        };
        let Reload { config, applied, waiting } = reload;
        let levels = (self.config.log.level, config.log.level);
        self.config = Arc::new(config);
        self.acceptors = loaded.acceptors.clone();
        self.readiness.bound(self.config.limits.connections_max);
        self.settings.send_replace(self.config.clone());
        self.keys.send_replace(keys);
        if let Some(begun) = &mut self.begun {
            begun.before(&credentials).await;
        }
        let settings = Settings { config: self.config.clone(), acceptors: loaded.acceptors };
        // It fails only where the gateway stops, and then nobody goes by anything any more.
        if broker.go_by(settings).await.is_err() {
            return;
        }
        // Behind the settings, which may be the first that take tokens.
        self.token_keys.send_replace(token_keys);
        if let Some(begun) = &self.begun {
            begun.behind(credentials);
        }
        // How it went is told by the level that tells more.
        (self.reloading.set_log_level)(levels.0.max(levels.1));
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        applied.iter().for_each(|change| tracing::info!("reloaded: {change}"));
        waiting.iter().for_each(|change| tracing::warn!("waits for a restart: {change}"));
        let read = if self.acceptors.iter().any(Option::is_some) { "; the certificates were read again" } else { "" };
        tracing::info!("SIGHUP: {} settings changed, {} wait for a restart{read}", applied.len(), waiting.len());
        (self.reloading.set_log_level)(levels.1);
    }

    /// Everything that can fail.
    fn prepare(&self, read: &Config) -> Result<Prepared, String> {
        let reload = Reload::new(&self.started, &self.config, read);
        let mut loaded = certificates::load(&reload.config, Some(&self.acceptors)).map_err(|error| error.to_string())?;
        let (keys, risky) = secrets::load(&reload.config).map_err(|error| error.to_string())?;
        let token_keys = token_keys::load(&reload.config).map_err(|error| error.to_string())?;
        loaded.warnings.extend(risky);
        let credentials = credentials::Settings::read(&reload.config)?;
        Ok(Prepared { reload, loaded, keys, token_keys, credentials })
    }
}
