//! `sockudo-ws` as its README has it: its own `PubSub`, messages whose payload is shared, `feed` and one flush for all that
//! waits ("use `feed` followed by `flush` at batch boundaries"), mimalloc, the streams without type erasure. On one thread
//! of tokio, or with `--uring` on tokio-uring through its `UringStream`.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use audience::{Audience, Role};
use bytes::Bytes;
use sockudo_ws::io_uring::UringStream;
use sockudo_ws::pubsub::{PubSub, SubscriberId};
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::{Config, Http1, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;

struct SockudoWs;

impl audience::Library for SockudoWs {
    type Message = Message;

    fn payload(message: &Message) -> Option<&[u8]> {
        match message {
            Message::Text(payload) | Message::Binary(payload) => Some(payload),
            _ => None,
        }
    }

    fn from_byte(message: &Message, byte: usize) -> Message {
        match message {
            Message::Binary(payload) => Message::Binary(payload.slice(byte..)),
            Message::Text(payload) => Message::Text(payload.slice(byte..)),
            _ => Message::Text(Bytes::new()),
        }
    }
}

/// The library's own publishing and subscribing.
struct Own(PubSub);

impl Audience<Message> for Own {
    fn join(&self, topics: &[String], queue: UnboundedSender<Message>) -> u64 {
        let subscriber = self.0.create_subscriber(queue);
        for topic in topics {
            self.0.subscribe(subscriber, topic);
        }
        subscriber.as_u64()
    }

    fn leave(&self, subscriber: u64) {
        self.0.remove_subscriber(SubscriberId::from_u64(subscriber));
    }

    fn publish(&self, topic: &str, message: Message) {
        self.0.publish(topic, message);
    }
}

fn main() -> io::Result<()> {
    if std::env::args().any(|argument| argument == "--uring") {
        return tokio_uring::builder().entries(4096).start(listen_on_uring());
    }
    // The clock is for the library's own pings.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(listen())
}

async fn listen() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(audience::address()).await?;
    audience::tell(listener.local_addr()?);
    let topics = Arc::new(Own(PubSub::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        let topics = Arc::clone(&topics);
        tokio::spawn(async move {
            // A client that goes in mid-handshake concerns nobody else.
            if stream.set_nodelay(true).is_ok() {
                client(stream, &topics).await;
            }
        });
    }
}

async fn listen_on_uring() -> io::Result<()> {
    let listener = tokio_uring::net::TcpListener::bind(audience::address())?;
    audience::tell(listener.local_addr()?);
    let topics = Rc::new(Own(PubSub::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        let topics = Rc::clone(&topics);
        tokio_uring::spawn(async move {
            if stream.set_nodelay(true).is_ok() {
                client(UringStream::new(stream), &topics).await;
            }
        });
    }
}

async fn client<S: AsyncRead + AsyncWrite + Unpin>(stream: S, topics: &Own) {
    let server = WebSocketServer::<Http1>::new(Config::default());
    let Ok((client, request)) = server.accept_raw(stream).await else { return };
    audience::serve::<SockudoWs, _, _>(client, Role::of(&request.path), topics).await;
}
