//! Asks the operator's endpoint what clients may do, for the shards where they wait.
//!
//! Invariants: at most `concurrency_max` questions are under way and `waiting_max` wait; what gave no answer that can be understood is never kept, other answers for `cache_s` at most.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::request::{Asking, ask};
use crate::admission::Verdict;
use crate::broker::Asked;
use crate::config::{self, HttpUrl};
use crate::metrics::ControlMetrics;
use crate::shard::mail::{Mail, Post};

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Least time between two lines of the log about what goes wrong.
const COMPLAIN: Duration = Duration::from_secs(1);
/// Where a shard's mailbox is full: how soon to look again.
const RETRY: Duration = Duration::from_micros(200);

/// The endpoint, and what it said.
pub(super) struct Callout {
    pub(super) settings: config::Callout,
    pub(super) url: HttpUrl,
    pub(super) trust: Arc<ClientConfig>,
    pub(super) post: Arc<Post>,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) known: RefCell<HashMap<String, (Instant, Verdict)>>,
    pub(super) complained: Cell<Option<Instant>>,
}

impl Callout {
    /// Until nobody can ask any more.
    pub(super) async fn run(self: Rc<Self>, mut questions: mpsc::Receiver<Asked>) {
        let places = Arc::new(Semaphore::new(self.settings.concurrency_max as usize));
        while let Some(asked) = questions.recv().await {
            let json = asked.question.json();
            if let Some(verdict) = self.known(&json) {
                self.metrics.callout_cached.add(1);
                self.tell(&asked, verdict).await;
                continue;
            }
            let place = places.clone().acquire_owned().await.expect("the places are never closed");
            let callout = Rc::clone(&self);
            spawn_local(async move {
                let verdict = callout.ask(&asked, json).await;
                callout.tell(&asked, verdict).await;
                drop(place);
            });
        }
    }

    fn known(&self, json: &str) -> Option<Verdict> {
        let known = self.known.borrow();
        known.get(json).filter(|(until, _)| *until > Instant::now()).map(|(_, verdict)| verdict.clone())
    }

    async fn ask(&self, asked: &Asked, json: String) -> Verdict {
        let timeout = Duration::from_millis(self.settings.timeout_ms.into());
        let asking = Asking {
            url: &self.url,
            body: Some(json.as_bytes()),
            request_id: Some(&asked.question.request_id),
            timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        let read = match ask(asking, &self.trust).await {
            Ok(answer) => Verdict::read(answer.status, &answer.body),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(verdict) => {
                self.metrics.callout_answers.add(1);
                self.keep(json, &verdict);
                verdict
            }
            Err(reason) => {
                self.metrics.callout_failures.add(1);
                self.complain(&reason);
                Verdict::Down
            }
        }
    }

    fn keep(&self, json: String, verdict: &Verdict) {
        if self.settings.cache_s == 0 {
            return;
        }
        let (mut known, now) = (self.known.borrow_mut(), Instant::now());
        if known.len() >= self.settings.cache_entries_max as usize {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() < self.settings.cache_entries_max as usize {
            known.insert(json, (now + Duration::from_secs(self.settings.cache_s.into()), verdict.clone()));
        }
    }

    /// A line a second; all are counted.
    fn complain(&self, reason: &str) {
        if self.complained.get().is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained.set(Some(Instant::now()));
            tracing::error!("the callout {} gives no answer (all are counted in callout_failures): {reason}", self.url);
        }
    }

    async fn tell(&self, asked: &Asked, verdict: Verdict) {
        let mut mail = Mail::Verdict { client: asked.client, verdict };
        while let Err(back) = self.post.mailbox(asked.place).send(mail) {
            mail = back;
            tokio::time::sleep(RETRY).await;
        }
    }
}
