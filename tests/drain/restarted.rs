//! A gateway with journaled topics behind HAProxy that is stopped and started again while it is published to: whoever resumes misses nothing.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::common::{Gateway, PATIENCE, PUBLISHING};
use crate::{is_published, parts};

const TOPIC: &str = "j.a";
const CLIENTS: usize = 60;
const RESTARTS: usize = 2;

/// What came, in its order, and by how many connections.
struct Heard {
    data: Vec<u64>,
    connections: usize,
}

/// From the first publication to `null`, over as many connections as that takes.
fn follow(balancer: SocketAddr, epoch: &str) -> Heard {
    let (mut heard, deadline) = (Heard { data: Vec::new(), connections: 0 }, Instant::now() + 3 * PATIENCE);
    loop {
        assert!(Instant::now() < deadline, "{} publications by {} connections", heard.data.len(), heard.connections);
        let path = format!("/stream?streams={TOPIC};since={epoch}:{}", heard.data.len());
        let Some(mut socket) = connect(balancer, &path) else {
            // Between the two gateways HAProxy has nobody to send it to.
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        heard.connections += 1;
        // Closed or reset, it comes back.
        while let Ok(message) = socket.read() {
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(text.as_str()).expect("what comes is JSON");
            match (message.get("o"), &message["data"]) {
                (None, _) if message.get("result").is_some() => assert_eq!(message["result"][0]["recovered"], true, "{message}"),
                (None, _) => {}
                (Some(_), Value::Null) => return heard,
                (Some(offset), data) => {
                    assert_eq!(offset.as_u64(), Some(heard.data.len() as u64 + 1), "none is left out, none comes twice");
                    heard.data.push(data.as_u64().expect("a number was published"));
                }
            }
        }
    }
}

fn connect(balancer: SocketAddr, path: &str) -> Option<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(balancer).expect("HAProxy is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    Some(tungstenite::client(format!("ws://{balancer}{path}"), stream).ok()?.0)
}

#[test]
fn who_resumes_by_way_of_haproxy_has_missed_nothing_of_restarts_under_load() {
    let journal = TempDir::new().expect("a temporary directory can be made");
    let toml = format!(
        "{PUBLISHING}[drain]\ndelay_ms = 300\nwindow_ms = 700\n[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\n",
        journal.path()
    );
    let mut gateway = Gateway::configured(&toml);
    let (clients, admin) = (gateway.clients, gateway.admin);
    let sections = format!(
        "listen all\n  mode tcp\n  bind {{address}}\n  option httpchk GET /health/ready\n  server one {clients} check inter 50ms fall 1 \
         rise 1\n"
    );
    let Some(balancer) = parts::haproxy("haproxy and a restart", &sections) else { return };
    let (epoch, _) = gateway.publish(TOPIC, "0");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let followers: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| follow(balancer.address, &epoch))).collect();
        let publisher = scope.spawn(|| {
            let accepted = (1..).take_while(|_| !over.load(Ordering::Relaxed)).filter(|data| {
                // Refused, or nobody there: that one is not said to be published.
                let is = is_published(admin, TOPIC, *data);
                thread::sleep(Duration::from_millis(if is { 1 } else { 20 }));
                is
            });
            accepted.collect::<Vec<u64>>()
        });
        for _ in 0..RESTARTS {
            thread::sleep(Duration::from_millis(300));
            gateway.terminate();
            assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
            gateway = Gateway::configured_at(clients, admin, &toml);
        }
        thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        let accepted = publisher.join().expect("a publisher goes on");
        gateway.publish(TOPIC, "null");
        assert!(accepted.len() > 100, "that is no load: {}", accepted.len());
        for follower in followers {
            let heard = follower.join().expect("nobody misses anything");
            // One whose answer was lost may have been taken all the same.
            assert!(accepted.iter().all(|data| heard.data.contains(data)), "what was accepted is heard");
            assert!(heard.connections > RESTARTS, "{} connections over {RESTARTS} restarts", heard.connections);
        }
    });
    gateway.stop();
}
