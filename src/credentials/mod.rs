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

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use self::callout::Callout;
use self::key_set::Refresher;
use crate::admission::Keys;
use crate::broker::Handle;
use crate::config::{self, Config, HttpUrl, KeySetPlace};
use crate::metrics::ControlMetrics;
use crate::shard::mail::Post;
use crate::tls;

/// Whether the files that the configuration names can be used.
///
/// # Errors
/// A sentence that says which cannot be used and why.
pub fn check(config: &Config) -> Result<(), String> {
    tls::client_config(config.tokens.jwks_ca.as_deref())?;
    tls::client_config(config.callout.as_ref().and_then(|callout| callout.ca.as_deref()))?;
    match config.tokens.key_set_place() {
        Some(KeySetPlace::File(file)) => {
            let read = key_set::read_file(&file, &config.tokens).map(drop);
            read.map_err(|error| format!("the set of token keys {}: {error}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Begins: has the keys of a JWKS read once before it returns, and again and again after.
pub async fn start(
    config: &Config,
    fixed: watch::Receiver<Keys>,
    broker: &Handle,
    post: &Arc<Post>,
    metrics: &Arc<ControlMetrics>,
) {
    if let Some(settings) = &config.callout {
        start_callout(settings, broker, post, metrics).await;
    }
    let Some(place) = config.tokens.key_set_place() else {
        spawn_local(follow(fixed, broker.clone()));
        return;
    };
    let trust = tls::client_config(config.tokens.jwks_ca.as_deref()).expect("it was checked at start");
    let (broker, metrics, settings) = (broker.clone(), metrics.clone(), config.tokens.clone());
    let wanted = broker.key_wanted();
    let mut refresher = Refresher { settings, place, trust, fixed, set: Vec::new(), broker, metrics };
    let failed = refresher.refresh().await.is_err();
    spawn_local(refresher.run(failed, wanted));
}

async fn start_callout(settings: &config::Callout, broker: &Handle, post: &Arc<Post>, metrics: &Arc<ControlMetrics>) {
    let trust = tls::client_config(settings.ca.as_deref()).expect("it was checked at start");
    let (sender, questions) = mpsc::channel(settings.waiting_max as usize);
    let callout = Callout {
        url: HttpUrl::parse(&settings.url).expect("the configuration was validated"),
        settings: settings.clone(),
        trust,
        post: post.clone(),
        metrics: metrics.clone(),
        known: RefCell::default(),
        complained: Cell::default(),
    };
    spawn_local(Rc::new(callout).run(questions));
    // It fails only where the gateway stops.
    broker.take_questions(sender).await.ok();
}

/// Without a set: keys of files that were read again are in force at once.
async fn follow(mut fixed: watch::Receiver<Keys>, broker: Handle) {
    while fixed.changed().await.is_ok() {
        let keys = fixed.borrow_and_update().clone();
        // It fails only where the gateway stops.
        broker.replace_keys(keys).await.ok();
    }
}
