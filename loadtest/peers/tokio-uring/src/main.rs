//! The plain way to write it on `tokio-uring`: one thread, a reading and a writing task per client, a queue between a
//! publisher and each subscriber.
//!
//! It is meant to be fair, not to lose: a frame is encoded once and shared, the writing task sends all that waits in one
//! write, `TCP_NODELAY` is on, the allocator is the gateway's. Frames go through the gateway's own core, so that what
//! differs is how the kernel is driven.

use std::io;
use std::rc::Rc;

use audience::{Audience, BATCH_MESSAGES_MAX, Role, Topics};
use tidegate::http::{HeadReader, Progress};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Opcode, Role as Side, frame, handshake};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_uring::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 1024, inflate_ratio_max: 200 };

/// A frame, encoded once, shared by all who get it.
type Frame = Rc<[u8]>;

fn main() -> io::Result<()> {
    tokio_uring::builder().entries(4096).start(listen())
}

async fn listen() -> io::Result<()> {
    let listener = TcpListener::bind(audience::address())?;
    audience::tell(listener.local_addr()?);
    let topics = Rc::new(Topics::default());
    loop {
        let (stream, _) = listener.accept().await?;
        let topics = Rc::clone(&topics);
        tokio_uring::spawn(async move {
            // A client that breaks the protocol or goes away concerns nobody else.
            let _ = client(Rc::new(stream), &topics).await;
        });
    }
}

async fn client(stream: Rc<TcpStream>, topics: &Topics<Frame>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (role, early) = upgrade(&stream).await?;
    let (replies, frames) = mpsc::unbounded_channel();
    let writing = tokio_uring::spawn(write(Rc::clone(&stream), frames));
    if let Role::Subscribe(names) = &role {
        topics.join(names, replies.clone());
    }
    let ended = read(&stream, &role, early, &replies, topics).await;
    match ended {
        // The answer to a close frame is the last that is written.
        Ok(()) => drop(writing.await),
        Err(_) => writing.abort(),
    }
    ended
}

/// The handshake: what the client came for, and the bytes that came behind its request.
async fn upgrade(stream: &TcpStream) -> io::Result<(Role, Vec<u8>)> {
    let mut head = HeadReader::new(8192, 64);
    let mut buffer = vec![0; 4096];
    let early = loop {
        let (read, returned) = stream.read(buffer).await;
        buffer = returned;
        let length = read?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Progress::Complete { consumed } = head.feed(&buffer[..length]).map_err(io::Error::other)? {
            break buffer[consumed..length].to_vec();
        }
    };
    let request = head.request().map_err(io::Error::other)?;
    let upgrade = handshake::check_request(&request).map_err(|refusal| io::Error::other(format!("{refusal:?}")))?;
    let role = Role::of(&format!("{}?{}", request.path(), request.query().unwrap_or_default()));
    let mut answer = Vec::new();
    handshake::write_accept(&mut answer, &upgrade.accept, None, &[]);
    stream.write_all(answer).await.0?;
    Ok((role, early))
}

/// Until a close frame; a client that goes without one is an error.
async fn read(
    stream: &TcpStream,
    role: &Role,
    mut early: Vec<u8>,
    replies: &UnboundedSender<Frame>,
    topics: &Topics<Frame>,
) -> io::Result<()> {
    let mut connection = Connection::new(Side::Server);
    let mut assembler = Assembler::default();
    let mut buffer = vec![0; 16 << 10];
    let mut length = early.len();
    buffer[..length].copy_from_slice(&std::mem::take(&mut early));
    loop {
        let mut input = &mut buffer[..length];
        while let Some(event) = connection.next(&LIMITS, &mut input).map_err(io::Error::other)? {
            match event {
                Event::Data { kind, bytes, first, last } => {
                    let Some(message) = assembler.add(kind, bytes, first, last) else { continue };
                    let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                    act(role, opcode, &message.bytes, replies, topics);
                }
                Event::Ping(payload) => drop(replies.send(encode(Opcode::Pong, &payload))),
                Event::Pong(_) => {}
                Event::Close(why) => {
                    let mut close = Vec::new();
                    frame::write_close(&mut close, why.map_or(CloseCode(1000), |(code, _)| code), "", None);
                    drop(replies.send(close.into()));
                    return Ok(());
                }
            }
        }
        let (read, returned) = stream.read(buffer).await;
        buffer = returned;
        length = read?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn act(role: &Role, opcode: Opcode, payload: &[u8], replies: &UnboundedSender<Frame>, topics: &Topics<Frame>) {
    match role {
        Role::Publish(Some(topic)) => topics.publish(topic, encode(opcode, payload)),
        Role::Publish(None) => {
            if let Some((topic, byte)) = audience::addressed(payload) {
                topics.publish(topic, encode(opcode, &payload[byte..]));
            }
        }
        Role::Echo => drop(replies.send(encode(opcode, payload))),
        Role::Subscribe(_) => {}
    }
}

fn encode(opcode: Opcode, payload: &[u8]) -> Frame {
    let mut frame = Vec::new();
    frame::write(&mut frame, opcode, payload, None);
    frame.into()
}

/// Sends what comes, all that waits in one write, until a close frame has gone.
async fn write(stream: Rc<TcpStream>, mut frames: UnboundedReceiver<Frame>) {
    let mut waiting = Vec::new();
    let mut batch = Vec::new();
    let mut is_closing = false;
    while !is_closing && frames.recv_many(&mut waiting, BATCH_MESSAGES_MAX).await > 0 {
        for frame in waiting.drain(..) {
            is_closing |= frame[0] & 0x0f == Opcode::Close as u8;
            batch.extend_from_slice(&frame);
        }
        let (written, returned) = stream.write_all(batch).await;
        if written.is_err() {
            break;
        }
        batch = returned;
        batch.clear();
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
