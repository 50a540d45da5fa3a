//! The list of topics: gathered from all homes for whoever asks, and told again for a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Memory;
use crate::broker::TopicReport;
use crate::hub::TopicName;
use crate::reactor::ClientKey;
use crate::shard::mail::{Mail, Place, TopicShare};

/// A gathered list of topics is told again for so long.
const TOPICS_FRESH: Duration = Duration::from_millis(200);
/// Topics in the list for clients.
const TOPICS_TOLD_MAX: usize = 1000;

/// A list of topics that is being gathered.
pub(super) struct Report {
    token: u64,
    missing: u16,
    topics: HashMap<TopicName, TopicReport>,
}

/// The newest list of topics.
pub(super) struct Told {
    at: Instant,
    topics: Arc<[TopicReport]>,
    /// For clients, made when the first of them asks: they may ask as often as they like, and feeds run on this thread.
    json: Option<Bytes>,
}

pub(super) enum Wanted {
    Handle(oneshot::Sender<Arc<[TopicReport]>>),
    Client { place: Place, client: ClientKey },
}

impl Memory {
    pub(super) fn want_topics(&mut self, wanted: Wanted) {
        if self.topics_told.as_ref().is_some_and(|told| told.at.elapsed() < TOPICS_FRESH) {
            return self.tell_topics(wanted);
        }
        self.topics_wanted.push(wanted);
        if self.report.is_none() {
            self.tokens_given += 1;
            let (token, missing) = (self.tokens_given, self.outbox.post().homes());
            self.report = Some(Report { token, missing, topics: HashMap::new() });
            (0..missing).for_each(|shard| self.outbox.send(shard, Mail::Report { token }));
        }
    }

    pub(super) fn reported(&mut self, token: u64, shares: Vec<TopicShare>, last: bool) {
        let report = self.report.as_mut().filter(|report| report.token == token).expect("one report is gathered at a time");
        for TopicShare { name, position, rate, subscribers } in shares {
            let known = report.topics.entry(name.clone()).or_insert(TopicReport { name, position, rate: 0.0, subscribers: 0 });
            known.subscribers += u64::from(subscribers);
            // Replicas are behind their home by what is in the mail.
            if let Some(rate) = rate {
                known.position = position;
                known.rate = f64::from(rate);
            }
        }
        report.missing -= u16::from(last);
        if report.missing > 0 {
            return;
        }
        let report = self.report.take().expect("it was looked at above");
        let mut topics: Vec<TopicReport> = report.topics.into_values().collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        self.topics_told = Some(Told { at: Instant::now(), topics: topics.into(), json: None });
        for wanted in std::mem::take(&mut self.topics_wanted) {
            self.tell_topics(wanted);
        }
    }

    fn tell_topics(&mut self, wanted: Wanted) {
        let told = self.topics_told.as_mut().expect("a list is there when it is told");
        match wanted {
            // Whoever asked may be gone.
            Wanted::Handle(answer) => drop(answer.send(told.topics.clone())),
            Wanted::Client { place, client } => {
                let body = told.json.get_or_insert_with(|| topics_json(&told.topics)).clone();
                self.outbox.send(place, Mail::TopicsAnswer { client, body });
            }
        }
    }
}

/// The list for clients: names and positions of the first thousand.
fn topics_json(topics: &[TopicReport]) -> Bytes {
    let entry = |topic: &TopicReport| {
        serde_json::json!({
            "topic": topic.name.as_str(),
            "epoch": topic.position.epoch.as_str(),
            "offset": topic.position.offset,
        })
    };
    let entries: Vec<_> = topics.iter().take(TOPICS_TOLD_MAX).map(entry).collect();
    serde_json::json!({ "topics": entries }).to_string().into()
}
