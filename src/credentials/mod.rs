//! What the control thread does so that clients can be let in: it fetches the keys that tokens are signed with, and asks the
//! operator's endpoint.
//!
//! Without: the judgement of tokens, which is [`crate::admission`]'s, and clients, which are the shards'.

mod callout;
mod key_set;
mod request;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

use self::callout::Callout;
use self::key_set::{KeySetSettings, Refresher};
use crate::admission::Keys;
use crate::broker::Handle;
use crate::config::{self, Config, HttpUrl, KeySetPlace};
use crate::metrics::ControlMetrics;
use crate::shard::mail::Post;
use crate::tls;

/// What a configuration says of it, with the files that it names.
#[derive(Clone, Debug)]
pub struct Settings {
    key_set: KeySetSettings,
    callout: Option<(config::Callout, Arc<ClientConfig>)>,
}

impl Settings {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that says which cannot be used and why.
    pub fn read(config: &Config) -> Result<Settings, String> {
        let trust = tls::client_config(config.tokens.jwks_ca.as_deref())?;
        let place = config.tokens.key_set_place();
        if let Some(KeySetPlace::File(file)) = &place {
            let read = key_set::read_file(file, &config.tokens).map(drop);
            read.map_err(|error| format!("the set of token keys {}: {error}", file.display()))?;
        }
        let callout = match &config.callout {
            Some(callout) => Some((callout.clone(), tls::client_config(callout.ca.as_deref())?)),
            None => None,
        };
        Ok(Settings { key_set: KeySetSettings { tokens: config.tokens.clone(), place, trust }, callout })
    }
}

/// What has begun.
#[derive(Debug)]
pub struct Credentials {
    broker: Handle,
    post: Arc<Post>,
    metrics: Arc<ControlMetrics>,
    key_set: watch::Sender<KeySetSettings>,
    /// The endpoint that is asked.
    callout: Option<config::Callout>,
}

impl Credentials {
    /// Begins: has the keys of a JWKS read once before it returns, and again and again after.
    pub async fn start(
        settings: Settings,
        fixed: watch::Receiver<Keys>,
        broker: &Handle,
        post: &Arc<Post>,
        metrics: &Arc<ControlMetrics>,
    ) -> Credentials {
        let Settings { key_set, callout } = settings;
        let (broker, post, metrics) = (broker.clone(), post.clone(), metrics.clone());
        let (key_set, set_settings) = watch::channel(key_set);
        let wanted = broker.key_wanted();
        let mut refresher = Refresher::new(set_settings, fixed, broker.clone(), metrics.clone());
        let failed = refresher.refresh().await.is_err();
        spawn_local(refresher.run(failed, wanted));
        let mut credentials = Credentials { broker, post, metrics, key_set, callout: None };
        credentials.ask(callout).await;
        credentials
    }

    /// Clients are asked about at this endpoint from now on. One that is not asked any more answers what it was asked.
    pub async fn ask(&mut self, callout: Option<(config::Callout, Arc<ClientConfig>)>) {
        let Some((settings, trust)) = callout else { return };
        if self.callout.as_ref() == Some(&settings) {
            return;
        }
        self.callout = Some(settings.clone());
        let (sender, questions) = mpsc::channel(settings.waiting_max as usize);
        let callout = Callout {
            url: HttpUrl::parse(&settings.url).expect("the configuration was validated"),
            settings,
            trust,
            post: self.post.clone(),
            metrics: self.metrics.clone(),
            known: RefCell::default(),
            complained: Cell::<Option<Instant>>::default(),
        };
        spawn_local(Rc::new(callout).run(questions));
        // It fails only where the gateway stops.
        self.broker.take_questions(sender).await.ok();
    }

    /// Before the shards go by other settings: whom they ask then is there.
    pub async fn before(&mut self, settings: &Settings) {
        self.ask(settings.callout.clone()).await;
    }

    /// Behind them: keys are read where they are published now; until they are there those in force stay.
    pub fn behind(&self, settings: Settings) {
        let is_other = |present: &KeySetSettings| present.tokens != settings.key_set.tokens;
        self.key_set.send_if_modified(|present| {
            let other = is_other(present);
            *present = settings.key_set.clone();
            other
        });
    }
}
