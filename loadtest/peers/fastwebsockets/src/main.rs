//! `fastwebsockets` as its examples have it (`examples/echo_server_split.rs` there): hyper for the upgrade, one thread of
//! tokio, tasks without tokio's budget, split halves, fragments collected. After the upgrade hyper's wrapping is taken off,
//! and frames that wait together leave in one write (`corked`).

mod corked;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use audience::{Audience, BATCH_MESSAGES_MAX, Role, Topics};
use bytes::Bytes;
use corked::Corked;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, FragmentCollectorRead, Role as Side, after_handshake_split};
use fastwebsockets::{Frame, OpCode, Payload, WebSocket, WebSocketError, WebSocketWrite};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

type Client = FragmentCollector<Corked<TcpStream>>;
/// What came behind the request is read first.
type Reader = FragmentCollectorRead<Chain<io::Cursor<Bytes>, OwnedReadHalf>>;
type Writer = WebSocketWrite<Corked<OwnedWriteHalf>>;

/// A frame to send; the payload is shared by all who get it.
#[derive(Clone)]
struct Outgoing {
    opcode: OpCode,
    payload: Bytes,
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
        stream.set_nodelay(true)?;
        let topics = Arc::clone(&topics);
        let service = service_fn(move |request| {
            let answer = answer(request, Arc::clone(&topics));
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        // A client that does not finish its handshake concerns nobody else.
        tokio::spawn(async { drop(connection.await) });
    }
}

fn answer(mut request: Request<Incoming>, topics: Arc<Topics<Outgoing>>) -> Response<Empty<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let role = Role::of(path);
    let Ok((response, upgraded)) = upgrade(&mut request) else {
        let mut refused = Response::new(Empty::new());
        *refused.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return refused;
    };
    tokio::spawn(tokio::task::unconstrained(async move {
        // Errors of one client concern nobody else.
        drop(client(upgraded, role, &topics).await);
    }));
    response
}

async fn client(upgraded: UpgradeFut, role: Role, topics: &Topics<Outgoing>) -> Result<(), WebSocketError> {
    let upgraded = upgraded.await?.into_inner().into_inner();
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return Ok(()) };
    let stream = parts.io.into_inner();
    // Empty it would still hold hyper's buffer, for as long as the client stays.
    let early = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    let names = match role {
        Role::Subscribe(names) => names,
        Role::Echo => return echo(whole(stream, early)).await,
        Role::Publish(topic) => return publish(whole(stream, early), topic.as_deref(), topics).await,
    };
    let (read, write) = stream.into_split();
    let (reader, mut writer) =
        after_handshake_split(io::Cursor::new(early).chain(read), Corked::new(write, Bytes::new()), Side::Server);
    let (sender, mut queue) = mpsc::unbounded_channel();
    let subscriber = topics.join(&names, sender.clone());
    let reading = answer_pings(FragmentCollectorRead::new(reader), &sender);
    let ended = tokio::try_join!(biased; send(&mut writer, &mut queue), reading);
    topics.leave(subscriber);
    ended.map(drop)
}

/// A client whose answers come from its own messages needs no halves.
fn whole(stream: TcpStream, early: Bytes) -> Client {
    FragmentCollector::new(WebSocket::after_handshake(Corked::new(stream, early), Side::Server))
}

/// What was echoed leaves when no further message is there, as the stream is flushed before it is read.
async fn echo(mut client: Client) -> Result<(), WebSocketError> {
    loop {
        let frame = client.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(client.into_inner().flush().await?),
            OpCode::Text | OpCode::Binary => client.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn publish(mut client: Client, topic: Option<&str>, topics: &Topics<Outgoing>) -> Result<(), WebSocketError> {
    loop {
        let frame = client.read_frame().await?;
        if frame.opcode == OpCode::Close {
            return Ok(client.into_inner().flush().await?);
        }
        if !matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
            continue;
        }
        let message = Outgoing::from(frame);
        match topic {
            Some(topic) => topics.publish(topic, message),
            None => {
                if let Some((topic, byte)) = audience::addressed(&message.payload) {
                    topics.publish(topic, Outgoing { payload: message.payload.slice(byte..), ..message });
                }
            }
        }
    }
}

/// Sends what is published and owed, all that waits in one write, until a close frame has gone.
async fn send(writer: &mut Writer, queue: &mut UnboundedReceiver<Outgoing>) -> Result<(), WebSocketError> {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, BATCH_MESSAGES_MAX).await > 0 {
        for Outgoing { opcode, payload } in &waiting {
            writer.write_frame(Frame::new(true, *opcode, None, Payload::Borrowed(payload))).await?;
        }
        writer.flush().await?;
        if writer.is_closed() {
            break;
        }
        waiting.clear();
    }
    Ok(())
}

/// Reads what a subscriber says, which is nothing but control frames, until it closes.
async fn answer_pings(mut reader: Reader, replies: &UnboundedSender<Outgoing>) -> Result<(), WebSocketError> {
    let mut reply = |frame| async { replies.send(Outgoing::from(frame)) };
    while reader.read_frame(&mut reply).await?.opcode != OpCode::Close {}
    Ok(())
}

impl From<Frame<'_>> for Outgoing {
    fn from(frame: Frame<'_>) -> Self {
        let payload = match frame.payload {
            Payload::Bytes(payload) => payload.freeze(),
            other => Vec::from(other).into(),
        };
        Self { opcode: frame.opcode, payload }
    }
}
