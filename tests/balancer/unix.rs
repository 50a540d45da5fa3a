//! Unix sockets as listeners: behind balancers, and for clients of this machine.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;

use crate::addresses::{ONE_EACH, holds_each_address_to_its_own};
use crate::common::figures::comes_to;
use crate::common::{Authority, Client, Gateway, PATIENCE, PUBLISHING, Raw};
use crate::parts::{haproxy, nginx};

/// Where the sockets of a test lie.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().expect("a temporary directory can be made"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("clients.sock")
    }

    /// A listener there.
    fn listener(&self, keys: &str) -> String {
        format!("[[listener]]\naddress = \"unix:{}\"\n{keys}", self.socket().display())
    }

    /// A WebSocket by it, or the status of the refusal.
    fn upgrade(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<WebSocket<UnixStream>, u16> {
        let mut request = format!("ws://localhost{path}").into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    fn client(&self, path: &str) -> Client<UnixStream> {
        Client::connect_by(&self.socket(), path)
    }
}

/// Who is connected, as the operator sees it.
fn connections(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer: Value = serde_json::from_str(gateway.get(&format!("/api/connections{query}")).text()).expect("it is JSON");
    answer["connections"].as_array().expect("a list").clone()
}

#[test]
fn haproxy_names_its_clients_by_the_proxy_protocol_on_a_unix_socket() {
    let place = Place::new();
    let listener = place.listener("proxy_protocol = \"required\"\ntrusted_proxies = [\"unix\"]\n");
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{ONE_EACH}{listener}"));
    for send in ["send-proxy-v2", "send-proxy"] {
        let to = format!("listen all\n  mode tcp\n  bind {{address}}\n  server one unix@{} {send}\n", place.socket().display());
        let Some(balancer) = haproxy("haproxy to a Unix socket", &to) else { return };
        holds_each_address_to_its_own(&gateway, &balancer, "/ws/md.a");
        comes_to(&gateway, "connections", "", 0);
    }
}

#[test]
fn nginx_names_its_clients_in_their_requests_on_a_unix_socket() {
    let place = Place::new();
    let listener = place.listener("trusted_proxies = [\"unix\"]\npath_prefix = \"/feed\"\n");
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{ONE_EACH}{listener}"));
    let location = format!(
        "    location /feed/ {{\n      proxy_pass http://unix:{}:;\n      proxy_http_version 1.1;\n      proxy_set_header Upgrade \
         $http_upgrade;\n      proxy_set_header Connection upgrade;\n      proxy_set_header X-Forwarded-For \
         $proxy_add_x_forwarded_for;\n    }}",
        place.socket().display()
    );
    let Some(balancer) = nginx("nginx to a Unix socket", &location) else { return };
    holds_each_address_to_its_own(&gateway, &balancer, "/feed/ws/md.a");
}

#[test]
fn a_client_of_this_machine_hears_publishes_and_is_listed() {
    let place = Place::new();
    let bounds = "[arrivals]\nper_address_max = 1\nper_address_burst = 1\nper_address_per_second = 1\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{bounds}{}", place.listener("")));
    let mut heard: Vec<_> = (0..4).map(|_| place.client("/ws/md.a")).collect();
    let mut publisher = place.client("/publish/md.a");
    publisher.send("{\"a\":1}");
    heard.iter_mut().for_each(|client| assert_eq!(client.text(), "{\"a\":1}"));
    let listed = connections(&gateway, "?address=unix&role=subscriber");
    assert_eq!(listed.len(), 4, "{listed:?}");
    for row in &listed {
        assert_eq!((&row["address"], &row["port"]), (&Value::from("unix"), &Value::Null));
        assert_eq!(row["listener"], format!("unix:{}", place.socket().display()));
    }
    assert_eq!(connections(&gateway, "?address=127.0.0.0/8").len(), 0);
    gateway.stop();
    assert!(place.socket().exists(), "it is left there");
}

/// Whose word nobody has said to take is not believed, and who claims to be a proxy publishes nothing as from this machine.
#[test]
fn a_forged_header_is_not_believed_without_trust() {
    let place = Place::new();
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{}", place.listener("")));
    let forged = [("X-Forwarded-For", "192.0.2.7")];
    let _client = place.upgrade("/ws/md.a", &forged).expect("it is let in");
    assert_eq!(connections(&gateway, "?address=unix").len(), 1);
    assert_eq!(connections(&gateway, "?address=192.0.2.7").len(), 0);
    assert_eq!(place.upgrade("/publish/md.a", &forged).err(), Some(403));
    // A foreign page cannot reach the socket, and what speaks for one is held to its Origin.
    assert_eq!(place.upgrade("/ws/md.a", &[("Origin", "https://elsewhere.example")]).err(), Some(403));
    assert!(place.upgrade("/ws/md.a", &[("Host", "whatever.example"), ("Origin", "http://whatever.example")]).is_ok());
    gateway.stop();
    // Where proxies are trusted, one that says nothing of its client speaks for one, not for this machine.
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{}", place.listener("trusted_proxies = [\"unix\"]\n")));
    assert_eq!(place.upgrade("/publish/md.a", &[]).err(), Some(403));
    let _client = place.upgrade("/ws/md.a", &[("X-Forwarded-For", "unix, 127.0.0.1, 192.0.2.7")]).expect("it is let in");
    assert_eq!(connections(&gateway, "?address=192.0.2.7").len(), 1);
}

#[test]
fn clients_by_one_socket_are_spread_over_all_shards() {
    const CLIENTS: usize = 64;
    let place = Place::new();
    let gateway = Gateway::configured(&format!("{PUBLISHING}{}", place.listener("")));
    let _clients: Vec<_> = (0..CLIENTS).map(|_| place.client("/ws/md.a")).collect();
    let of_shard = |shard: usize| {
        let count = |row: &&Value| row["id"].as_str().is_some_and(|id| id.starts_with(&format!("{shard}-")));
        connections(&gateway, "?limit=1000").iter().filter(count).count()
    };
    let spread = [0, 1].map(of_shard);
    assert_eq!(spread.iter().sum::<usize>(), CLIENTS);
    assert!(spread.iter().all(|count| *count > 0), "{spread:?}");
}

/// What TCP finds out by itself elsewhere: nothing is taken any more. Whoever takes something goes on.
#[test]
fn who_takes_nothing_is_reset_after_its_time_while_others_are_served() {
    let place = Place::new();
    let bounds = "[limits]\nsend_timeout_ms = 1000\nidle_ping_ms = 600000\n[[topic]]\npattern = \">\"\nring_bytes = 16777216\n";
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{bounds}{}", place.listener("")));
    let (mut stuck, mut reader) = (place.client("/ws/md.a"), place.client("/ws/md.a"));
    // More than its socket holds, so that it is blocked.
    let payload = format!("{:?}", "x".repeat(64 << 10));
    for _ in 0..16 {
        gateway.publish("md.a", &payload);
        assert_eq!(reader.text().len(), payload.len());
    }
    comes_to(&gateway, "closes_total", "timeout", 1);
    gateway.publish("md.a", "1");
    assert_eq!(reader.text(), "1");
    let deadline = Instant::now() + PATIENCE;
    while !gateway.said().contains("send_timeout_ms") {
        assert!(Instant::now() < deadline, "the log does not say why");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What lay in its socket is still there, and then the end.
    let error = std::iter::from_fn(|| Some(stuck.socket.read())).find_map(Result::err).expect("it ends");
    assert!(!matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock));
}

/// A Unix socket tells nothing of what its other end has read: a pong is due from when the socket had the ping.
#[test]
fn who_answers_no_ping_is_closed() {
    let place = Place::new();
    let bounds = "[limits]\nidle_ping_ms = 1000\npong_timeout_ms = 1000\n";
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{bounds}{}", place.listener("")));
    let _deaf = place.client("/ws/md.a");
    comes_to(&gateway, "closes_total", "timeout", 1);
}

#[test]
fn tls_is_spoken_over_a_unix_socket_too() {
    let (place, authority) = (Place::new(), Authority::new());
    authority.sign_valid("server");
    let tls = place.listener(&format!("[listener.tls]\n{}", authority.keys("server")));
    let _gateway = Gateway::of_one_shard("", &tls);
    let stream = UnixStream::connect(place.socket()).expect("it listens");
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(authority.client_config(), name).expect("a client");
    let mut tls = rustls::StreamOwned::new(connection, stream);
    std::io::Write::write_all(&mut tls, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    tls.read_to_string(&mut answer).ok();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// What a start says that does not succeed.
fn refused(listen: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--listen", &format!("unix:{}", listen.display()), "--admin", "127.0.0.1:0"]);
    let output = command.output().expect("the binary runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(socket: &Path) -> u32 {
    std::fs::metadata(socket).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn what_a_gateway_left_is_replaced_and_what_is_somebodys_is_not() {
    let place = Place::new();
    let socket = place.socket();
    // Left by somebody who is gone.
    drop(UnixListener::bind(&socket).expect("nothing is there"));
    let gateway = Gateway::configured(&place.listener("mode = \"0600\"\n"));
    assert!(std::fs::metadata(&socket).expect("it is there").file_type().is_socket());
    assert_eq!(mode(&socket), 0o600);
    let said = refused(&socket);
    for part in ["somebody listens there already", "ss -lxp", &socket.display().to_string()] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
    let _there = place.client("/stream");
    // Killed, as by the kernel.
    drop(gateway);
    let gateway = Gateway::configured(&place.listener(""));
    assert_eq!(mode(&socket), 0o660);
    let _again = place.client("/stream");
    gateway.stop();
    std::fs::remove_file(&socket).expect("it is left there");
    std::fs::write(&socket, "mine").expect("it can be written");
    let said = refused(&socket);
    assert!(said.contains("there is a file that is no socket") && said.contains("ls -l"), "{said}");
    assert_eq!(std::fs::read_to_string(&socket).expect("it is there"), "mine");
    let said = refused(&place.0.path().join("nowhere/clients.sock"));
    assert!(said.contains("No such file") && said.contains("RuntimeDirectory"), "{said}");
}

/// The code with which it ends, whatever is said before.
fn closed_with(mut client: Client<UnixStream>) -> u16 {
    loop {
        if let tungstenite::Message::Close(close) = client.socket.read().expect("it is told") {
            return close.expect("there is a code").code.into();
        }
    }
}

/// What a listener is for decides who may what there: each has settings of its own.
#[test]
fn each_listener_has_its_own_settings() {
    let place = Place::new();
    let inside = place.listener(
        "path_prefix = \"/in\"\norigins = [\"https://desk.example\"]\nconnection_age_max_s = 1\n[listener.arrivals]\nburst = 100\n",
    );
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}[arrivals]\nper_second = 1\nburst = 3\n{inside}"));
    let desk = [("Origin", "https://desk.example")];
    assert!(place.upgrade("/in/ws/md.a", &desk).is_ok());
    assert_eq!(Raw::open(gateway.clients).handshake("/ws/md.a", &desk).status, 403);
    assert_eq!(place.upgrade("/ws/md.a", &[]).err(), Some(404));
    // A storm at one listener keeps nobody out at the other.
    let mut outside = Client::connect(&gateway, "/stream");
    let mut storm: Vec<Raw> = (0..10).map(|_| Raw::open(gateway.clients)).collect();
    assert!(storm.iter_mut().any(|client| client.handshake("/stream", &[]).status == 503));
    let mut inside: Vec<_> = (0..10).map(|_| place.client("/in/stream")).collect();
    // Who has been here for long enough is told and closed, at the one listener.
    let last = inside.pop().expect("there are ten");
    assert_eq!(closed_with(last), 1012);
    assert!(outside.say(r#"{"method":"PING"}"#).contains("\"time\""));
}
