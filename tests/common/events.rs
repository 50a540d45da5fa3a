//! A naive reader of server-sent events, as WHATWG HTML 9.2.6 reads them.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Gateway, PATIENCE};

/// An answer whose body is events.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
    /// The status line and the headers, as they came.
    pub(crate) head: String,
    /// The id that a browser would come back with.
    pub(crate) last_id: String,
    /// Comments that came.
    pub(crate) comments: usize,
}

impl Events {
    /// Asks, and insists on events.
    pub(crate) fn open(gateway: &Gateway, path: &str, headers: &str) -> Events {
        let events = Events::ask(gateway.clients, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", gateway.clients));
        assert!(events.head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {}", events.head);
        events
    }

    /// Sends a request and reads the head of what answers it.
    pub(crate) fn ask(address: SocketAddr, request: &str) -> Events {
        Events::try_ask(address, request).expect("a head comes before the end")
    }

    /// The same where the connection may break: none where it does before the head's end.
    pub(crate) fn try_ask(address: SocketAddr, request: &str) -> Option<Events> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        stream.write_all(request.as_bytes()).ok()?;
        let mut events = Events { lines: BufReader::new(stream), head: String::new(), last_id: String::new(), comments: 0 };
        while !events.head.ends_with("\r\n\r\n") {
            match events.lines.read_line(&mut events.head) {
                Ok(1..) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no head came in time")
                }
                Ok(0) | Err(_) => return None,
            }
        }
        Some(events)
    }

    /// The data of the next event; none at the end, or where the connection breaks.
    pub(crate) fn next(&mut self) -> Option<String> {
        let (mut data, mut id) = (Vec::new(), None);
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no event came in time: {error}"),
            }
            // What is not whole at the end is thrown away.
            let line = line.strip_suffix('\n')?;
            assert!(!line.contains('\r'), "the gateway ends its lines in one way: {line:?}");
            match line.split_once(':') {
                None if line.is_empty() && data.is_empty() => {}
                None if line.is_empty() => {
                    if let Some(id) = id {
                        self.last_id = id;
                    }
                    return Some(data.join("\n"));
                }
                Some(("", _)) => self.comments += 1,
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                Some(("id", value)) => id = Some(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                _ => panic!("no field of the gateway's: {line:?}"),
            }
        }
    }

    /// The data of the event that must come.
    pub(crate) fn data(&mut self) -> String {
        self.next().expect("an event comes before the end")
    }
}
