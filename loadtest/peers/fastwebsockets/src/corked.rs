//! A stream that keeps what is written until it is flushed, or until there is nothing more to read: the library writes each
//! frame at once and leaves it to the stream below to gather them ("if the underlying stream is buffered, it is needed to
//! call flush").
//!
//! Without a buffer while idle, unlike tokio's `BufWriter`: an idle client is to cost no more than the library makes it.
//! Never reads from below while something waits to be written, so an answer waits for no further message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than this is not kept for the next batch.
const KEPT_BYTES_MAX: usize = 4 << 10;

pub struct Corked<S> {
    below: S,
    /// Came with the upgrade and is read first.
    early: Bytes,
    waiting: BytesMut,
}

impl<S> Corked<S> {
    pub fn new(below: S, early: Bytes) -> Self {
        Self { below, early, waiting: BytesMut::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        if self.waiting.has_remaining() {
            ready!(self.as_mut().poll_flush(context))?;
        }
        Pin::new(&mut self.below).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { below, waiting, .. } = &mut *self;
        while waiting.has_remaining() {
            match ready!(Pin::new(&mut *below).poll_write(context, waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => waiting.advance(written),
            }
        }
        if waiting.capacity() > KEPT_BYTES_MAX {
            *waiting = BytesMut::new();
        }
        Pin::new(below).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.below).poll_shutdown(context)
    }
}
