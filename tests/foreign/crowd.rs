//! Many subscribers read by one thread, each message held to what was recorded.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::common::{Gateway, PATIENCE, Raw, frame, parse_in_place};
use crate::replay::Expected;

/// Subscribers with one poller.
pub(crate) struct Crowd<'a> {
    gateway: &'a Gateway,
    path: &'static str,
    pattern: Expected<'a>,
    poller: OwnedFd,
    /// `None`: it has left.
    readers: Vec<Option<Reader<'a>>>,
    visitors: VecDeque<usize>,
    buffer: Vec<u8>,
}

struct Reader<'a> {
    raw: Raw,
    /// Bytes of a frame that is not whole.
    torn: Vec<u8>,
    expected: Expected<'a>,
    stays: bool,
}

impl<'a> Crowd<'a> {
    /// Nobody yet.
    pub(crate) fn new(gateway: &'a Gateway, path: &'static str, pattern: Expected<'a>) -> Crowd<'a> {
        let poller = epoll::create(CreateFlags::CLOEXEC).expect("a poller can be made");
        Crowd { gateway, path, pattern, poller, readers: Vec::new(), visitors: VecDeque::new(), buffer: vec![0; 256 << 10] }
    }

    /// So many who stay to the end.
    pub(crate) fn join(&mut self, count: usize) {
        for _ in 0..count {
            self.add(true);
        }
    }

    /// One who will leave.
    pub(crate) fn visitor_joins(&mut self) {
        let index = self.add(false);
        self.visitors.push_back(index);
    }

    /// It goes without a word, in the middle of whatever comes.
    pub(crate) fn oldest_visitor_leaves(&mut self) {
        if let Some(index) = self.visitors.pop_front() {
            self.readers[index] = None;
        }
    }

    /// True when all who stay have seen everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.readers.iter().flatten().all(|reader| !reader.stays || reader.expected.is_complete())
    }

    /// Reads what is there, some rounds long.
    pub(crate) fn read_for_a_while(&mut self) {
        let patience = Timespec::try_from(PATIENCE).expect("some seconds fit");
        let mut ready = Vec::with_capacity(1024);
        for _ in 0..8 {
            ready.clear();
            epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut ready), Some(&patience))
                .expect("a poller can be waited for");
            assert!(!ready.is_empty(), "nothing came for {PATIENCE:?}");
            for event in &ready {
                let index = usize::try_from(event.data.u64()).expect("it is an index");
                if let Some(reader) = &mut self.readers[index] {
                    reader.read(&mut self.buffer);
                }
            }
        }
    }

    fn add(&mut self, stays: bool) -> usize {
        let mut raw = Raw::upgraded(self.gateway, self.path);
        raw.stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        let index = self.readers.len();
        epoll::add(&self.poller, &raw.stream, EventData::new_u64(index as u64), EventFlags::IN).expect("a socket can be watched");
        self.readers.push(Some(Reader { torn: raw.rest(), raw, expected: self.pattern.afresh(), stays }));
        index
    }
}

impl Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) {
        // Behind what came of a message already, so that nothing but that is copied.
        let kept = self.torn.len();
        buffer[..kept].copy_from_slice(&self.torn);
        let length = match self.raw.stream.read(&mut buffer[kept..]) {
            Ok(0) => panic!("the gateway closed a connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the gateway reset a connection: {error}"),
        };
        let input = &buffer[..kept + length];
        let mut at = 0;
        while let Some((first, payload)) = parse_in_place(&input[at..]) {
            let end = at + payload.end;
            let payload = &input[at + payload.start..end];
            match first {
                0x81 => self.expected.check_combined(payload),
                // It looks whether we are alive; so few bytes always fit.
                0x89 => self.raw.stream.write_all(&frame(0x8A, payload)).expect("a pong fits"),
                _ => panic!("not a whole text message: {first:#x} {}", String::from_utf8_lossy(payload)),
            }
            at = end;
        }
        self.torn.clear();
        self.torn.extend_from_slice(&input[at..]);
    }
}
