//! A local exchange (`tungstenite`): it hears the subscriptions, then sends the live feed from where that stands.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tungstenite::{Message, WebSocket};

use crate::common::{Gateway, PATIENCE};

/// A feed that goes on whether or not somebody hears it; several exchanges may give the same.
pub(crate) struct Live {
    pub(crate) messages: Vec<String>,
    /// How many of them have happened.
    at: Mutex<usize>,
    moved: Condvar,
}

impl Live {
    pub(crate) fn new(messages: Vec<String>) -> Arc<Live> {
        Arc::new(Live { messages, at: Mutex::default(), moved: Condvar::new() })
    }

    /// So many more happen.
    pub(crate) fn go_on(&self, count: usize) {
        let mut at = self.at.lock().expect("no test panics with it");
        *at = self.messages.len().min(*at + count);
        self.moved.notify_all();
    }

    /// All happen, a few at a time, as fast as a subscriber in this process takes them.
    pub(crate) fn play(self: &Arc<Self>) {
        let live = Arc::clone(self);
        thread::spawn(move || {
            while live.at() < live.messages.len() {
                live.go_on(20);
                thread::sleep(Duration::from_millis(1));
            }
        });
    }

    pub(crate) fn at(&self) -> usize {
        *self.at.lock().expect("no test panics with it")
    }

    /// Waits until message `index` has happened.
    fn wait_for(&self, index: usize) -> bool {
        let at = self.at.lock().expect("no test panics with it");
        let (at, _) = self.moved.wait_timeout_while(at, PATIENCE, |at| *at <= index).expect("no test panics with it");
        *at > index
    }
}

/// What an exchange does when somebody has connected: hears the subscriptions, and answers as the real one does.
pub(crate) type Dialogue = fn(&mut WebSocket<Cable>);

/// A server of a feed.
pub(crate) struct Exchange {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    live: Arc<Live>,
    dialogue: Dialogue,
    /// Bytes that the newest connection may still send; negative: all.
    left: Arc<AtomicI64>,
    /// Connections that were subscribed.
    opened: AtomicUsize,
    /// Where the feed stood when the newest of them was.
    opened_at: AtomicUsize,
    refusing: AtomicUsize,
    stopped: AtomicBool,
}

impl Exchange {
    pub(crate) fn new(live: &Arc<Live>, dialogue: Dialogue) -> Exchange {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            live: Arc::clone(live),
            dialogue,
            left: Arc::new(AtomicI64::new(-1)),
            opened: AtomicUsize::new(0),
            opened_at: AtomicUsize::new(usize::MAX),
            refusing: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopped.load(SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.serve(stream));
            }
        });
        Exchange { address, shared }
    }

    /// Cuts the connection after so many more bytes, wherever that is; the next one is whole again.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.shared.left.store(bytes, SeqCst);
    }

    /// Whether a cut that was ordered has happened.
    pub(crate) fn is_whole(&self) -> bool {
        self.shared.left.load(SeqCst) < 0
    }

    /// Answers the next connections with 403.
    pub(crate) fn refuse(&self, connections: usize) {
        self.shared.refusing.store(connections, SeqCst);
    }

    /// How often somebody has connected and subscribed.
    pub(crate) fn opened(&self) -> usize {
        self.shared.opened.load(SeqCst)
    }

    /// Where the feed stood when the newest connection was subscribed.
    pub(crate) fn opened_at(&self) -> usize {
        self.shared.opened_at.load(SeqCst)
    }

    /// Waits until somebody has subscribed for the `count`-th time.
    pub(crate) fn wait_for_subscription(&self, count: usize) {
        wait_until("somebody subscribes", || self.opened() >= count);
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/stream", self.address)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        if self.refusing.try_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            // A head that is not read would be answered with a reset.
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(answer));
            return;
        }
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        let cable = Cable { stream, left: Arc::clone(&self.left) };
        let Ok(mut socket) = tungstenite::accept(cable) else { return };
        (self.dialogue)(&mut socket);
        let mut next = self.live.at();
        self.opened_at.store(next, SeqCst);
        self.opened.fetch_add(1, SeqCst);
        while !self.stopped.load(SeqCst) && next < self.live.messages.len() {
            if !self.live.wait_for(next) || socket.send(Message::text(self.live.messages[next].as_str())).is_err() {
                return;
            }
            next += 1;
        }
        // The feed has ended; the connection stays, and pings are answered.
        while let Ok(message) = socket.read() {
            if self.stopped.load(SeqCst) {
                drop(message);
                return;
            }
        }
    }
}

/// A socket that resets after as many bytes as its exchange was told.
#[derive(Debug)]
pub(crate) struct Cable {
    stream: TcpStream,
    left: Arc<AtomicI64>,
}

impl Read for Cable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Cable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.load(SeqCst);
        let Ok(allowed) = usize::try_from(left) else { return self.stream.write(bytes) };
        let written = self.stream.write(&bytes[..bytes.len().min(allowed)])?;
        if written == allowed {
            // No wait for what is unsent: a reset.
            SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
            self.left.store(-1, SeqCst);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.left.store(left - written as i64, SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !happened() {
        assert!(std::time::Instant::now() < deadline, "it never happens that {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Binance's: a SUBSCRIBE is answered with its id.
pub(crate) fn binance(socket: &mut WebSocket<Cable>) {
    let Ok(Message::Text(text)) = socket.read() else { return };
    let request: Value = serde_json::from_str(&text).expect("a subscription is JSON");
    assert_eq!((request["method"].as_str(), request["params"][0].as_str()), (Some("SUBSCRIBE"), Some("btcusdt@trade")));
    drop(socket.send(Message::text(format!(r#"{{"result":null,"id":{}}}"#, request["id"]))));
}

/// A gateway that takes the combined stream of Binance futures in from these; `more` keys of the source may follow.
pub(crate) fn futures_gateway(exchanges: &[&Exchange], more: &str) -> Gateway {
    let urls: Vec<String> = exchanges.iter().map(|exchange| exchange.url()).collect();
    Gateway::configured(&futures_source(&urls, more))
}

/// The source alone: that of docs/feeds/binance-futures.md, quicker to connect again.
pub(crate) fn futures_source(urls: &[String], more: &str) -> String {
    format!(
        r#"
[[source]]
kind = "upstream"
urls = {urls:?}
subscribe = ['{{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","btcusdt@depth@0ms"],"id":1}}']
topic = "{{/stream}}"
payload = "/data"
backoff_min_ms = 1
backoff_max_ms = 50
{more}
[[source.sequence]]
number = "/data/t"
rule = "plus_one"
window = 1_000_000

[[source.sequence]]
number = "/data/u"
previous = "/data/pu"
rule = "chain"
window = 1_000_000_000

[[source.sequence]]
number = "/data/u"
rule = "rising"
window = 1_000_000_000
"#
    )
}
