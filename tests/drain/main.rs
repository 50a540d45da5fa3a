//! A drain that is spread over time: nobody is closed untold or too early after another, nothing is missed by who comes back.

#[path = "../common/mod.rs"]
mod common;
#[path = "../feed/upstream/exchange.rs"]
#[allow(dead_code, reason = "the drain needs some of an exchange")]
mod exchange;
#[path = "../admission/keys.rs"]
#[allow(dead_code, reason = "the drain needs one kind of key")]
mod keys;
#[path = "../balancer/parts.rs"]
#[allow(dead_code, reason = "the drain needs one of the balancers")]
mod parts;
mod restarted;
mod succession;
mod supervised;
mod takeover;
mod told;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::members::{Came, Then, join, read_all};
use crate::common::{Client, Gateway, PUBLISHING, frame};

const CLIENTS: usize = 5_000;
const WINDOW: Duration = Duration::from_secs(4);

#[test]
fn five_thousand_clients_are_told_and_closed_one_after_the_other() {
    let drain = format!("{PUBLISHING}[drain]\nwindow_ms = {}\n", WINDOW.as_millis());
    let mut gateway = Gateway::configured(&drain);
    let mut members = join(&gateway, "/stream?streams=md.a", CLIENTS, None);
    gateway.terminate();
    let (mut told, mut closed) = (vec![false; CLIENTS], Vec::with_capacity(CLIENTS));
    read_all(&mut members, |index, came| {
        let Came::Frame(first, payload) = came else { panic!("{index} lost its connection before it was closed") };
        if first == 0x88 {
            assert_eq!(&payload[..2], 1012u16.to_be_bytes(), "{index}: {}", String::from_utf8_lossy(payload));
            assert!(told[index], "{index} is closed untold");
            closed.push((Instant::now(), index));
            return Then::Stop;
        }
        let event: Value = serde_json::from_slice(payload).expect("an event is JSON");
        assert_eq!((&event["e"], told[index]), (&Value::from("serverShutdown"), false), "{index}: {event}");
        assert!(event["in"].as_u64().is_some_and(|in_ms| u128::from(in_ms) <= WINDOW.as_millis()), "{event}");
        told[index] = true;
        Then::Read
    });
    // However slow this machine is, a quarter of them takes no less than a quarter of the window; half of that is let pass, since
    // who reads late reads several at once.
    for (first, last) in closed.iter().zip(&closed[CLIENTS / 4..]) {
        assert!(last.0 - first.0 >= WINDOW / 8, "{} closes within {:?}", CLIENTS / 4, last.0 - first.0);
    }
    let in_order = closed.windows(2).filter(|pair| pair[0].1 < pair[1].1).count();
    assert!((CLIENTS / 4..CLIENTS * 3 / 4).contains(&in_order), "the order is random: {in_order} follow the one before");
    for mut member in members {
        member.stream.write_all(&frame(0x88, &1012u16.to_be_bytes())).ok();
    }
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
}

/// Publishing goes on while clients leave, and until the next gateway is there.
#[test]
fn who_comes_back_to_the_restarted_gateway_has_missed_nothing() {
    const TOPIC: &str = "j.a";
    let journal = TempDir::new().expect("a temporary directory can be made");
    let toml = format!(
        "{PUBLISHING}[drain]\ndelay_ms = 50\nwindow_ms = 500\n[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\n",
        journal.path()
    );
    let mut gateway = Gateway::configured(&toml);
    let mut published = 0;
    let mut publish = |gateway: &Gateway| {
        published += 1;
        (gateway.publish(TOPIC, &published.to_string()), published)
    };
    let ((epoch, _), _) = publish(&gateway);
    let path = format!("/stream?streams={TOPIC};since={epoch}:0");
    let mut clients: Vec<(Client, Vec<u64>)> = (0..20).map(|_| (Client::connect(&gateway, &path), Vec::new())).collect();
    (0..50).for_each(|_| drop(publish(&gateway)));
    gateway.terminate();
    // Until nobody takes them any more.
    let mut newest = 51;
    while is_published(gateway.admin, TOPIC, newest + 1) {
        newest += 1;
    }
    for (client, heard) in &mut clients {
        hear(client, heard);
    }
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
    let next = Gateway::configured(&toml);
    let newest = next.publish(TOPIC, "0").1;
    for (_, heard) in clients {
        let seen = *heard.last().expect("it has heard something");
        let mut client = Client::connect(&next, &format!("/stream?streams={TOPIC};since={epoch}:{seen}"));
        let reply: Value = serde_json::from_str(&client.text()).expect("a reply is JSON");
        assert_eq!(reply["result"][0]["recovered"], true, "{reply}");
        let mut all = heard;
        while all.last() != Some(&newest) {
            all.push(offset_of(&client.text()).expect("nothing but publications comes"));
        }
        assert_eq!(all, (1..=newest).collect::<Vec<u64>>());
    }
}

/// Whether a gateway that is on its way out has still taken this.
fn is_published(admin: SocketAddr, topic: &str, data: u64) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin) else { return false };
    let body = format!("{{\"topic\":\"{topic}\",\"data\":{data}}}");
    let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let mut answer = Vec::new();
    let asked = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    asked.and_then(|()| stream.read_to_end(&mut answer)).is_ok() && answer.starts_with(b"HTTP/1.1 200 ")
}

/// All that comes up to the close, which is answered.
fn hear(client: &mut Client, heard: &mut Vec<u64>) {
    loop {
        match client.socket.read() {
            Ok(tungstenite::Message::Text(text)) => heard.extend(offset_of(text.as_str())),
            Ok(tungstenite::Message::Close(Some(close))) => {
                assert_eq!(u16::from(close.code), 1012);
                client.socket.flush().ok();
                return;
            }
            Ok(_) => {}
            Err(error) => panic!("lost before it was closed: {error}"),
        }
    }
}

fn offset_of(text: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(text).expect("what comes is JSON");
    message["o"].as_u64()
}

#[test]
fn a_second_signal_cuts_a_drain_short() {
    let mut gateway = Gateway::configured("[drain]\ndelay_ms = 3600000\nwindow_ms = 3600000\n");
    let mut client = Client::connect(&gateway, "/stream");
    gateway.terminate();
    let deadline = Instant::now() + common::PATIENCE;
    while common::http(gateway.admin, "GET", "/health/ready", &[], &[]).status != 503 {
        assert!(Instant::now() < deadline, "ready turns first");
    }
    assert_eq!(client.say(r#"{"method":"PING"}"#).matches("\"time\"").count(), 1, "who is there is served");
    assert_eq!(Client::connect(&gateway, "/stream").say(r#"{"method":"PING"}"#).matches("\"time\"").count(), 1, "as who comes");
    gateway.terminate();
    let mut codes = Vec::new();
    while let Ok(message) = client.socket.read() {
        if let tungstenite::Message::Close(Some(close)) = message {
            codes.push(u16::from(close.code));
        }
    }
    assert_eq!(codes, [1001]);
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
}

/// Its health checks fail first, so HAProxy sends nobody there by the time that it takes no more.
#[test]
fn haproxy_sends_nobody_to_a_gateway_that_drains() {
    let leaving = "[drain]\ndelay_ms = 1500\nwindow_ms = 500\n";
    let (mut one, other) = (Gateway::configured(leaving), Gateway::configured(""));
    let sections = format!(
        "listen all\n  mode tcp\n  bind {{address}}\n  balance roundrobin\n  option httpchk GET /health/ready\n  default-server check \
         inter 50ms fastinter 50ms fall 1\n  server one {}\n  server other {}\n",
        one.clients, other.clients
    );
    let Some(balancer) = parts::haproxy("haproxy and a drain", &sections) else { return };
    let mut there: Vec<Client> = (0..6).map(|_| Client::connect_to(balancer.address, "/stream")).collect();
    one.terminate();
    let mut came = 0;
    while !one.has_ended() {
        // Fails the test where it is refused or reset.
        let mut client = Client::connect_to(balancer.address, "/stream");
        client.say(r#"{"method":"PING"}"#);
        client.socket.close(None).ok();
        came += 1;
    }
    assert!(came > 0);
    assert_eq!(one.wait().code(), Some(0), "it said:\n{}", one.said());
    let mut closed = 0;
    for client in &mut there {
        let sent = client.socket.send(tungstenite::Message::text(r#"{"method":"PING","id":1}"#));
        let answer = sent.and_then(|()| client.socket.read());
        let stays = matches!(answer, Ok(tungstenite::Message::Text(text)) if text.as_str().starts_with("{\"result\""));
        closed += usize::from(!stays);
    }
    // HAProxy deals them out nearly in turn.
    assert!((1..there.len()).contains(&closed), "those of the one have left, those of the other stay: {closed}");
}

#[test]
fn a_connection_that_is_old_enough_is_told_and_closed_alone() {
    let gateway = Gateway::configured("[limits]\nconnection_age_max_s = 2\nidle_ping_ms = 1000\n");
    let mut client = Client::connect(&gateway, "/stream");
    let event: Value = serde_json::from_str(&client.text()).expect("an event is JSON");
    assert_eq!((&event["e"], &event["in"]), (&Value::from("serverShutdown"), &Value::from(200)));
    let code = loop {
        match client.socket.read().expect("it is closed in order") {
            tungstenite::Message::Close(close) => break close.map(|close| u16::from(close.code)),
            tungstenite::Message::Ping(_) => {}
            other => panic!("neither a ping nor a close: {other:?}"),
        }
    };
    assert_eq!(code, Some(1012));
    // The others stay, and it may come again.
    Client::connect(&gateway, "/stream").say(r#"{"method":"PING"}"#);
    assert_eq!(common::http(gateway.clients, "GET", "/health/ready", &[], &[]).status, 200);
    gateway.stop();
}
