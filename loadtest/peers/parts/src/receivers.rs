//! Receivers of frames behind one face: each is handed the bytes by a copy, as the kernel would, and gives how many payload
//! bytes came of them.
//!
//! Without: sockets, and the time that takes.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use fastwebsockets::{FragmentCollector, WebSocket};
use futures_util::StreamExt;
use sockudo_ws::protocol::Protocol;
use tidegate::ws::{Connection, Event, Limits, Role};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{ServerBuilder, WebSocketStream};

const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// tidegate's: events out of the receive buffer, in place.
pub struct Tidegate {
    connection: Connection,
    buffer: Vec<u8>,
}

impl Tidegate {
    pub fn new() -> Tidegate {
        Tidegate { connection: Connection::new(Role::Server), buffer: Vec::new() }
    }

    pub fn receive(&mut self, input: &[u8]) -> usize {
        let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX as u32, fragments_max: 100, inflate_ratio_max: 200 };
        self.buffer.clear();
        self.buffer.extend_from_slice(input);
        let (mut left, mut received) = (&mut self.buffer[..], 0);
        while let Some(event) = self.connection.next(&limits, &mut left).expect("the frames are good") {
            if let Event::Data { bytes, .. } = event {
                received += bytes.len();
            }
        }
        received
    }
}

/// sockudo-ws' protocol without its stream: messages that share the receive buffer.
pub struct Sockudo {
    protocol: Protocol,
    buffer: BytesMut,
    messages: Vec<sockudo_ws::Message>,
}

impl Sockudo {
    pub fn new() -> Sockudo {
        let protocol = Protocol::new(sockudo_ws::Role::Server, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
        Sockudo { protocol, buffer: BytesMut::new(), messages: Vec::new() }
    }

    pub fn receive(&mut self, input: &[u8]) -> usize {
        self.messages.clear();
        self.buffer.extend_from_slice(input);
        self.protocol.process_into(&mut self.buffer, &mut self.messages).expect("the frames are good");
        self.messages.iter().map(|message| message.as_bytes().len()).sum()
    }
}

/// tokio-websockets' stream; its masking is its own business, so only the whole can be measured.
pub struct TokioWebsockets {
    stream: WebSocketStream<Memory>,
    fed: Rc<Cell<usize>>,
}

impl TokioWebsockets {
    pub fn new(input: Rc<[u8]>) -> TokioWebsockets {
        let (memory, fed) = Memory::new(input);
        let limits = tokio_websockets::Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
        TokioWebsockets { stream: ServerBuilder::new().limits(limits).serve(memory), fed }
    }

    pub fn receive(&mut self) -> usize {
        self.fed.set(0);
        let mut received = 0;
        while let Some(message) = ready(self.stream.next()) {
            let message = message.expect("the stream does not end").expect("the frames are good");
            received += message.as_payload().len();
        }
        received
    }
}

/// fastwebsockets' collector, which checks text.
pub struct Fastwebsockets {
    collector: FragmentCollector<Memory>,
    fed: Rc<Cell<usize>>,
}

impl Fastwebsockets {
    pub fn new(input: Rc<[u8]>) -> Fastwebsockets {
        let (memory, fed) = Memory::new(input);
        let mut socket = WebSocket::after_handshake(memory, fastwebsockets::Role::Server);
        socket.set_max_message_size(MESSAGE_BYTES_MAX);
        Fastwebsockets { collector: FragmentCollector::new(socket), fed }
    }

    pub fn receive(&mut self) -> usize {
        self.fed.set(0);
        let mut received = 0;
        while let Some(frame) = ready(self.collector.read_frame()) {
            received += frame.expect("the frames are good").payload.len();
        }
        received
    }
}

/// What the future comes to at once, if it does.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A stream of bytes in memory: gives the same ones again each time its position is set back.
pub struct Memory {
    bytes: Rc<[u8]>,
    fed: Rc<Cell<usize>>,
}

impl Memory {
    fn new(bytes: Rc<[u8]>) -> (Memory, Rc<Cell<usize>>) {
        let fed = Rc::new(Cell::new(bytes.len()));
        (Memory { bytes, fed: Rc::clone(&fed) }, fed)
    }
}

impl AsyncRead for Memory {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = &self.bytes[self.fed.get()..];
        let count = left.len().min(out.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        out.put_slice(&left[..count]);
        self.fed.set(self.fed.get() + count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
