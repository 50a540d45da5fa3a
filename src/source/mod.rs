//! The feeds, one file each. A source gets everything in one value and runs on the control thread.
//!
//! [`run`] plays one source to its end; [`spawn`] starts all of a configuration. Without: threads and positions; a source
//! hands publications to the broker and the topic's home gives the offset.

mod complaints;
mod journal;
pub mod lines;
pub mod record;
pub mod recording;
mod replay;
mod standing;
pub mod synthetic;
pub mod template;
mod upstream;

pub use self::standing::{Standing, Standings};

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::broker::{self, PublishError};
use crate::config;
use crate::hub::{NewPublication, TopicName};
use crate::journal::JournalError;
use crate::metrics::{ControlMetrics, FeedMetrics, FeedState};

/// All that a source needs.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// Where it publishes.
    pub broker: broker::Handle,
    /// Turns true when the gateway stops.
    pub stopping: tokio::sync::watch::Receiver<bool>,
    /// Largest publication.
    pub publication_bytes_max: u32,
    /// Settings of topics by pattern, as configured: what `speed = "max"` may send between two waits is a quarter of a ring.
    pub topics: Arc<[config::Topic]>,
    /// What sources count.
    pub metrics: Arc<ControlMetrics>,
    /// Topics go on from another process: what a feed brought between the two is lost, untold.
    pub goes_on: bool,
    /// What is counted of this one; [`spawn`] puts it there.
    pub feed: Arc<FeedMetrics>,
    /// What was last known of it; [`spawn`] puts it there.
    pub standing: Rc<RefCell<Standing>>,
}

/// Why a source ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A topic template that is none.
    #[error(transparent)]
    Template(#[from] template::TemplateError),
    /// A payload pointer that is none.
    #[error(transparent)]
    Pointer(#[from] crate::dialect::pointer::PointerError),
    /// A prefix that no topic can have.
    #[error("the prefix {0:?} of the synthetic feed cannot begin a topic's name; write one like \"demo\"")]
    Prefix(String),
    /// An upstream's authority.
    #[error("the feed from {url}: {reason}")]
    Authority {
        /// The feed.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The recording.
    #[error(transparent)]
    Recording(#[from] recording::RecordingError),
    /// A journal as a recording.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A recording without a message for the template.
    #[error(
        "the recording {path:?} holds no message with a topic by the template {topic:?} (and with a payload); compare the template with a line of the file"
    )]
    NothingToPublish {
        /// The file.
        path: PathBuf,
        /// The template.
        topic: String,
    },
}

/// Where sources put publications: the broker, or a test's double.
pub(crate) trait Outlet {
    /// See [`broker::Handle::send`].
    async fn send(&self, publication: NewPublication) -> Result<(), PublishError>;
    /// See [`broker::Handle::drained`].
    async fn drained(&self) -> Result<(), PublishError>;
    /// See [`broker::Handle::feed`].
    async fn feed(&self, topics: Vec<TopicName>, since_ms: Option<u64>) -> Result<(), PublishError>;
}

impl Outlet for broker::Handle {
    async fn send(&self, publication: NewPublication) -> Result<(), PublishError> {
        broker::Handle::send(self, publication).await
    }

    async fn drained(&self) -> Result<(), PublishError> {
        broker::Handle::drained(self).await
    }

    async fn feed(&self, topics: Vec<TopicName>, since_ms: Option<u64>) -> Result<(), PublishError> {
        broker::Handle::feed(self, topics, since_ms).await
    }
}

/// Starts every source as a task of this thread's runtime. One that ends with an error says so in the log and leaves
/// the others and the gateway running.
pub fn spawn(sources: Vec<config::Source>, standings: &Standings, context: &SourceContext) -> Vec<JoinHandle<()>> {
    let start = |(place, (source, feed)): (usize, (config::Source, &Arc<FeedMetrics>))| {
        let context = SourceContext { feed: feed.clone(), standing: standings.at(place), ..context.clone() };
        tokio::task::spawn_local(async move {
            let state = match run(&source, &context).await {
                Ok(()) => FeedState::Ended,
                Err(error) => {
                    context.metrics.source_errors.add(1);
                    tracing::error!("a source ended: {error}");
                    FeedState::Failed
                }
            };
            context.feed.set_state(state);
        })
    };
    let feeds = &context.metrics.feeds;
    assert_eq!(sources.len(), feeds.len(), "each source has its feed's metrics");
    sources.into_iter().zip(feeds).enumerate().map(start).collect()
}

/// What will be known of each feed of a configuration, in its order. Names bear nothing of a URL's path and query, which may be
/// secret.
#[must_use]
pub fn feeds(sources: &[config::Source]) -> Box<[Arc<FeedMetrics>]> {
    let feed = |source: &config::Source| match source {
        config::Source::Synthetic(settings) => FeedMetrics::new("synthetic", &settings.prefix, 0),
        config::Source::Replay(settings) => {
            let file = settings.file.file_name().unwrap_or(settings.file.as_os_str());
            FeedMetrics::new("replay", &file.to_string_lossy(), 0)
        }
        config::Source::Upstream(settings) => {
            FeedMetrics::new("upstream", &settings.urls[0].to_string(), settings.urls.len() as u32)
        }
    };
    sources.iter().map(|source| Arc::new(feed(source))).collect()
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Runs one source until its end or until the gateway stops. Must run within [`disk::start`](crate::disk::start).
///
/// # Errors
/// [`SourceError`] where it cannot go on.
pub async fn run(source: &config::Source, context: &SourceContext) -> Result<(), SourceError> {
    match source {
        config::Source::Synthetic(settings) => synthetic::run(settings, &context.broker, context).await,
        config::Source::Replay(settings) => replay::run(settings, &context.broker, context).await,
        config::Source::Upstream(settings) => upstream::run(settings, &context.broker, context).await,
    }
}

/// Whether a source could start: its templates are read and its file is opened, so that a mistake is told before anything runs.
///
/// # Errors
/// [`SourceError`] says what is wrong.
pub fn check(source: &config::Source) -> Result<(), SourceError> {
    match source {
        config::Source::Synthetic(settings) => synthetic::topics(&settings.prefix).map(drop),
        config::Source::Replay(settings) => {
            replay::compile(settings)?;
            let open = |error| recording::RecordingError::Open { path: settings.file.clone(), error };
            std::fs::File::open(&settings.file).map_err(open)?;
            Ok(())
        }
        config::Source::Upstream(settings) => upstream::check(settings),
    }
}

/// What `work` gives, or `None` when the gateway stops before.
async fn unless_stopped<T>(stopping: &tokio::sync::watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    let mut stopping = stopping.clone();
    tokio::select! {
        biased;
        _ = stopping.wait_for(|&stopping| stopping) => None,
        done = work => Some(done),
    }
}
