//! A connection that is a `Stream` and a `Sink` of messages, from its upgrade to its end.
//!
//! What is ready is fed together and flushed once: that is the coalescing that such libraries allow.

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;

use crate::{Audience, BATCH_MESSAGES_MAX, Role, addressed};

/// What the loop must know of a library and its messages.
pub trait Library {
    type Message: Clone;
    /// Of a text or binary message; nothing for control frames.
    fn payload(message: &Self::Message) -> Option<&[u8]>;
    /// The same as a message of its own from that byte of the payload on, without a copy.
    fn from_byte(message: &Self::Message, byte: usize) -> Self::Message;
}

/// Serves a client until it goes. Errors of one client concern nobody else, so they end here.
pub async fn serve<L, C, E>(mut client: C, role: Role, audience: &impl Audience<L::Message>)
where
    L: Library,
    C: Stream<Item = Result<L::Message, E>> + Sink<L::Message, Error = E> + Unpin,
{
    // The result says only how it ended.
    let _ended = match role {
        Role::Echo => echo::<L, _, _>(&mut client).await,
        Role::Publish(topic) => publish::<L, _, _>(&mut client, topic.as_deref(), audience).await,
        Role::Subscribe(topics) => subscribe::<L, _, _>(&mut client, &topics, audience).await,
    };
}

async fn echo<L, C, E>(client: &mut C) -> Result<(), E>
where
    L: Library,
    C: Stream<Item = Result<L::Message, E>> + Sink<L::Message, Error = E> + Unpin,
{
    while let Some(message) = client.next().await {
        let mut ready = Some(Some(message));
        while let Some(Some(message)) = ready {
            let message = message?;
            if L::payload(&message).is_some() {
                client.feed(message).await?;
            }
            ready = client.next().now_or_never();
        }
        client.flush().await?;
        if ready.is_some() {
            break;
        }
    }
    Ok(())
}

async fn publish<L, C, E>(client: &mut C, topic: Option<&str>, audience: &impl Audience<L::Message>) -> Result<(), E>
where
    L: Library,
    C: Stream<Item = Result<L::Message, E>> + Unpin,
{
    while let Some(message) = client.next().await {
        let message = message?;
        let Some(payload) = L::payload(&message) else { continue };
        match topic {
            Some(topic) => audience.publish(topic, message),
            None => {
                if let Some((topic, byte)) = addressed(payload) {
                    audience.publish(topic, L::from_byte(&message, byte));
                }
            }
        }
    }
    Ok(())
}

async fn subscribe<L, C, E>(client: &mut C, topics: &[String], audience: &impl Audience<L::Message>) -> Result<(), E>
where
    L: Library,
    C: Stream<Item = Result<L::Message, E>> + Sink<L::Message, Error = E> + Unpin,
{
    let (sender, mut queue) = mpsc::unbounded_channel();
    let subscriber = audience.join(topics, sender);
    let ended = forward::<L, _, _>(client, &mut queue).await;
    audience.leave(subscriber);
    ended
}

/// Sends what is published and lets the library answer pings, which it does while it is read.
async fn forward<L, C, E>(client: &mut C, queue: &mut mpsc::UnboundedReceiver<L::Message>) -> Result<(), E>
where
    L: Library,
    C: Stream<Item = Result<L::Message, E>> + Sink<L::Message, Error = E> + Unpin,
{
    loop {
        tokio::select! {
            biased;
            Some(message) = queue.recv() => {
                client.feed(message).await?;
                for _ in 1..BATCH_MESSAGES_MAX {
                    let Ok(message) = queue.try_recv() else { break };
                    client.feed(message).await?;
                }
                client.flush().await?;
            }
            received = client.next() => match received {
                Some(message) => drop(message?),
                None => return Ok(()),
            }
        }
    }
}
