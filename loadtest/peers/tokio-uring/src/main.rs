//! The plain way to write it on `tokio-uring`: one thread, a reading and a writing task per client, a bounded channel
//! between a publisher and each subscriber. `/publish` takes messages in, `/echo` sends them back, whoever asks for another
//! path gets every publication.
//!
//! It is meant to be fair, not to lose: a frame is encoded once and shared, the writing task sends all that waits in one
//! write, `TCP_NODELAY` is on, the allocator is the gateway's. Frames go through the gateway's own core, so that what
//! differs is how the kernel is driven.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidegate::http::{HeadReader, Progress};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Opcode, Role, frame, handshake};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_uring::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 1024, inflate_ratio_max: 200 };

/// Frames that may wait for one client; more drops it, as a slow consumer.
const FRAMES_WAITING_MAX: usize = 4096;

/// One write carries at most about so much.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// A frame, encoded once, shared by all who get it.
type Frame = Rc<[u8]>;
type Subscribers = Rc<RefCell<Vec<Sender<Frame>>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Publish,
    Echo,
    Subscribe,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| String::from("127.0.0.1:9100"));
    let address: SocketAddr = address.parse().map_err(|_| io::Error::other("the argument is ADDRESS:PORT"))?;
    tokio_uring::builder().entries(4096).start(serve(address))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("clients  ws://{}", listener.local_addr()?);
    let subscribers = Subscribers::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let subscribers = Rc::clone(&subscribers);
        tokio_uring::spawn(async move {
            // A client that breaks the protocol or goes away concerns nobody else.
            let _ = client(Rc::new(stream), subscribers).await;
        });
    }
}

async fn client(stream: Rc<TcpStream>, subscribers: Subscribers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (job, early) = upgrade(&stream).await?;
    let (replies, frames) = mpsc::channel(FRAMES_WAITING_MAX);
    tokio_uring::spawn(write(Rc::clone(&stream), frames));
    if job == Job::Subscribe {
        subscribers.borrow_mut().push(replies.clone());
    }
    read(&stream, job, early, &replies, &subscribers).await
}

/// The handshake: what the client came for, and the bytes that came behind its request.
async fn upgrade(stream: &TcpStream) -> io::Result<(Job, Vec<u8>)> {
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
    let job = match request.path() {
        path if path.starts_with("/publish") => Job::Publish,
        "/echo" => Job::Echo,
        _ => Job::Subscribe,
    };
    let mut answer = Vec::new();
    handshake::write_accept(&mut answer, &upgrade.accept, None, &[]);
    stream.write_all(answer).await.0?;
    Ok((job, early))
}

async fn read(
    stream: &TcpStream,
    job: Job,
    mut early: Vec<u8>,
    replies: &Sender<Frame>,
    subscribers: &Subscribers,
) -> io::Result<()> {
    let mut connection = Connection::new(Role::Server);
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
                    let frame = encode(opcode, &message.bytes);
                    match job {
                        // Whoever has gone or does not keep up is let go: its writing task ends with its channel.
                        Job::Publish => subscribers.borrow_mut().retain(|to| to.try_send(Rc::clone(&frame)).is_ok()),
                        Job::Echo => drop(replies.send(frame).await),
                        Job::Subscribe => {}
                    }
                }
                Event::Ping(payload) => drop(replies.send(encode(Opcode::Pong, &payload)).await),
                Event::Pong(_) => {}
                Event::Close(why) => {
                    let mut close = Vec::new();
                    frame::write_close(&mut close, why.map_or(CloseCode(1000), |(code, _)| code), "", None);
                    drop(replies.send(close.into()).await);
                    return Ok(());
                }
            }
        }
        let (read, returned) = stream.read(buffer).await;
        buffer = returned;
        length = read?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn encode(opcode: Opcode, payload: &[u8]) -> Frame {
    let mut frame = Vec::new();
    frame::write(&mut frame, opcode, payload, None);
    frame.into()
}

/// Sends what comes, all that waits in one write.
async fn write(stream: Rc<TcpStream>, mut frames: Receiver<Frame>) {
    let mut batch = Vec::new();
    while let Some(frame) = frames.recv().await {
        batch.extend_from_slice(&frame);
        while batch.len() < WRITE_BYTES_MAX
            && let Ok(frame) = frames.try_recv()
        {
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
