//! `tokio-websockets` as its example for speed has it (`examples/echo_server.rs` there, `benches/`): one thread of tokio,
//! tasks without tokio's budget, whole frames, messages whose payload is shared; `feed` and one flush for all that waits.

use std::io;
use std::sync::Arc;

use audience::{Role, Topics};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

struct TokioWebsockets;

impl audience::Library for TokioWebsockets {
    type Message = Message;

    fn payload(message: &Message) -> Option<&[u8]> {
        (message.is_text() || message.is_binary()).then(|| &**message.as_payload())
    }

    fn from_byte(message: &Message, byte: usize) -> Message {
        let payload = Bytes::from(message.as_payload().clone()).slice(byte..);
        if message.is_text() { Message::text(payload) } else { Message::binary(payload) }
    }
}

fn main() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(listen())
}

async fn listen() -> io::Result<()> {
    let listener = TcpListener::bind(audience::address()).await?;
    audience::tell(listener.local_addr()?);
    let topics = Arc::new(Topics::default());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(tokio::task::unconstrained(client(stream, Arc::clone(&topics))));
    }
}

async fn client(stream: TcpStream, topics: Arc<Topics<Message>>) {
    // A client that does not finish its handshake concerns nobody else.
    let Ok(()) = stream.set_nodelay(true) else { return };
    let server = ServerBuilder::new().config(Config::default().frame_size(usize::MAX)).limits(Limits::unlimited());
    let Ok((request, client)) = server.accept(stream).await else { return };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    audience::serve::<TokioWebsockets, _, _>(client, Role::of(path), &*topics).await;
}
