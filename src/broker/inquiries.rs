//! Inquiries of those who watch over the gateway: passed on to the place that knows, each answered once.
//!
//! What is asked of several places is asked of one after the other, so that no answer is larger than its bound. An inquiry that was passed
//! on keeps its place until it is answered, also where nobody waits for it any more: so what shards have to do for it is bounded.

use std::collections::HashMap;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Handle, PublishError, Request};
use crate::hub::TopicName;
use crate::shard::inquiry::{ConnectionDetail, ConnectionId, ConnectionRow, Filter, Finding, Inquiry, Slow, TopicPart};
use crate::shard::mail::Place;
use crate::ws::CloseCode;

/// Inquiries that may be under way; who asks beyond that waits.
pub(super) const UNDER_WAY_MAX: usize = 16;

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Awaited {
    answer: oneshot::Sender<Finding>,
    /// Given back with the answer.
    _place: OwnedSemaphorePermit,
}

/// Inquiries that were passed on, by their tokens.
#[derive(Debug, Default)]
pub(super) struct Inquiries(HashMap<u64, Awaited>);

impl Inquiries {
    pub(super) fn began(&mut self, token: u64, awaited: Awaited) {
        self.0.insert(token, awaited);
    }

    pub(super) fn found(&mut self, token: u64, finding: Finding) {
        let awaited = self.0.remove(&token).expect("each inquiry is answered once");
        awaited.tell(finding);
    }
}

impl Awaited {
    pub(super) fn tell(self, finding: Finding) {
        // Whoever asked may be gone.
        self.answer.send(finding).ok();
    }
}

impl Handle {
    async fn inquire(&self, place: Place, inquiry: Inquiry) -> Result<Finding, PublishError> {
        let permit = self.inquiries.clone().acquire_owned().await.map_err(|_| PublishError::Stopping)?;
        self.ask(|answer| Request::Inquire { place, inquiry, awaited: Awaited { answer, _place: permit } }).await
    }

    /// Clients of one shard from a slot on, in the order of their slots; and where to go on, if these are not all.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn connections(
        &self,
        shard: Place,
        from: u32,
        filter: &Filter,
        count_max: usize,
    ) -> Result<(Vec<ConnectionRow>, Option<u32>), PublishError> {
        match self.inquire(shard, Inquiry::Connections { from, filter: filter.clone(), count_max }).await? {
            Finding::Connections { rows, next } => Ok((rows, next)),
            other => unreachable!("an inquiry has its own answer, not {other:?}"),
        }
    }

    /// All of one client; none where it is gone. Its shard must be one.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<ConnectionDetail>, PublishError> {
        match self.inquire(id.shard, Inquiry::Connection(id)).await? {
            Finding::Connection(detail) => Ok(detail.map(|detail| *detail)),
            other => unreachable!("an inquiry has its own answer, not {other:?}"),
        }
    }

    /// Ends a client; false where it is gone. Its shard must be one.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn disconnect(&self, id: ConnectionId, code: CloseCode, reason: &str) -> Result<bool, PublishError> {
        match self.inquire(id.shard, Inquiry::Disconnect { id, code, reason: reason.into() }).await? {
            Finding::Disconnect(was_there) => Ok(was_there),
            other => unreachable!("an inquiry has its own answer, not {other:?}"),
        }
    }

    /// What a place knows of a topic: a shard, or the control thread where it keeps journals.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn topic_part(&self, place: Place, topic: &TopicName) -> Result<Option<TopicPart>, PublishError> {
        match self.inquire(place, Inquiry::Topic(topic.clone())).await? {
            Finding::Topic(part) => Ok(part.map(|part| *part)),
            other => unreachable!("an inquiry has its own answer, not {other:?}"),
        }
    }

    /// Who is the furthest behind on a shard.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn slow(&self, shard: Place, count_max: usize) -> Result<Slow, PublishError> {
        match self.inquire(shard, Inquiry::Slow { count_max }).await? {
            Finding::Slow(slow) => Ok(*slow),
            other => unreachable!("an inquiry has its own answer, not {other:?}"),
        }
    }
}
