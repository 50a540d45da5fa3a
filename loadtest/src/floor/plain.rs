//! The plainest way: a blocking socket for each, epoll to hear, `send()` to speak.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::server::{Heard, Place, Way};

/// The listener's number among the poller's.
const LISTENER: u64 = u64::MAX;

const READ_BYTES: usize = 256 << 10;

pub(super) struct Plain {
    poller: OwnedFd,
    listener: TcpListener,
    /// By place.
    streams: Vec<Option<TcpStream>>,
    free: Vec<Place>,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

impl Plain {
    pub(super) fn listen(address: SocketAddr) -> io::Result<Plain> {
        let poller = epoll::create(CreateFlags::CLOEXEC)?;
        let listener = TcpListener::bind(address)?;
        epoll::add(&poller, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Plain {
            poller,
            listener,
            streams: Vec::new(),
            free: Vec::new(),
            ready: Vec::with_capacity(1024),
            buffer: vec![0; READ_BYTES],
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        let place = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            (self.streams.len() - 1) as Place
        });
        // Edges: a subscriber that ended is told once, and one that says something is read as far as it said it.
        epoll::add(&self.poller, &stream, EventData::new_u64(place.into()), EventFlags::IN | EventFlags::RDHUP)?;
        self.streams[place as usize] = Some(stream);
        Ok(())
    }
}

impl Way for Plain {
    fn wait(&mut self, heard: &mut dyn FnMut(Place, Heard<'_>)) -> io::Result<()> {
        self.ready.clear();
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut self.ready), None) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            waited => waited?,
        };
        for index in 0..self.ready.len() {
            let number = self.ready[index].data.u64();
            if number == LISTENER {
                self.accept()?;
                continue;
            }
            let place = number as Place;
            let Some(stream) = self.streams[place as usize].as_mut() else { continue };
            match stream.read(&mut self.buffer) {
                Ok(length @ 1..) => heard(place, Heard::Bytes(&mut self.buffer[..length])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.streams[place as usize] = None;
                    self.free.push(place);
                    heard(place, Heard::End);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, to: &[Place], bytes: &[u8]) -> io::Result<()> {
        for place in to {
            if let Some(stream) = self.streams[*place as usize].as_mut() {
                // The standard library's write to a socket is `send(MSG_NOSIGNAL)`. Who left is heard of by reading.
                let _ = stream.write_all(bytes);
            }
        }
        Ok(())
    }
}
