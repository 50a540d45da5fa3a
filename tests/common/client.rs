//! A foreign client (`tungstenite`) with a deadline on everything, and the few sentences that tests say to a gateway.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::{Message, WebSocket};

use super::gateway::position_of;
use super::{Gateway, PATIENCE};

/// One connection.
pub(crate) struct Client {
    /// The foreign client itself.
    pub(crate) socket: WebSocket<TcpStream>,
    next_id: u64,
}

impl Client {
    /// Connects to the clients' port.
    pub(crate) fn connect(gateway: &Gateway, path: &str) -> Client {
        Client::connect_to(gateway.clients, path)
    }

    /// Connects with fields of the request.
    pub(crate) fn connect_with(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Client {
        Client::open(gateway.clients, path, headers)
    }

    /// Connects to any server.
    pub(crate) fn connect_to(address: SocketAddr, path: &str) -> Client {
        Client::open(address, path, &[])
    }

    fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
        let uri = format!("ws://{address}{path}").parse().unwrap_or_else(|wrong| panic!("{path}: {wrong}"));
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        let request =
            headers.iter().fold(ClientRequestBuilder::new(uri), |request, (name, value)| request.with_header(*name, *value));
        let (socket, _) = tungstenite::client(request, stream).unwrap_or_else(|refused| panic!("{path}: {refused}"));
        Client { socket, next_id: 1 }
    }

    /// Sends one text message.
    pub(crate) fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the connection is open");
    }

    /// Sends one binary message.
    pub(crate) fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the connection is open");
    }

    /// The next text or binary message.
    pub(crate) fn message(&mut self) -> Message {
        loop {
            match self.socket.read().expect("a message comes in time") {
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => panic!("closed instead of a message: {frame:?}"),
                message => return message,
            }
        }
    }

    /// The next message, which is text.
    pub(crate) fn text(&mut self) -> String {
        match self.message() {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("not a text message: {other:?}"),
        }
    }

    /// The next message, which is binary.
    pub(crate) fn binary(&mut self) -> Vec<u8> {
        match self.message() {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("not a binary message: {other:?}"),
        }
    }

    /// Sends a text and returns the next one.
    pub(crate) fn say(&mut self, text: &str) -> String {
        self.send(text);
        self.text()
    }

    /// Sends a request with an id of its own and returns the reply without that id: `{"result":..}` or `{"error":..}`.
    /// Publications that come before it are an error.
    pub(crate) fn ask(&mut self, method: &str, params: &str) -> String {
        let id = self.request(method, params);
        let reply = self.text();
        let rest =
            reply.strip_suffix(&format!(",\"id\":{id}}}")).unwrap_or_else(|| panic!("not the reply to {method} {id}: {reply}"));
        format!("{rest}}}")
    }

    /// Sends a request with an id of its own, which it returns.
    pub(crate) fn request(&mut self, method: &str, params: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let params = if params.is_empty() { String::new() } else { format!(",\"params\":{params}") };
        self.send(&format!("{{\"method\":\"{method}\"{params},\"id\":{id}}}"));
        id
    }

    /// A request's result.
    pub(crate) fn result(&mut self, method: &str, params: &str) -> Value {
        let reply = self.ask(method, params);
        assert!(reply.starts_with("{\"result\":"), "{method} {params}: {reply}");
        let mut reply: Value = serde_json::from_str(&reply).expect("a reply is JSON");
        reply["result"].take()
    }

    /// A request's error code; its `msg` is a sentence of some length.
    pub(crate) fn error(&mut self, method: &str, params: &str) -> u64 {
        let reply = self.ask(method, params);
        code_of(&reply)
    }

    /// Subscribes and takes the reply.
    pub(crate) fn subscribe(&mut self, streams: &[&str]) -> Value {
        let streams = serde_json::to_string(streams).expect("names are JSON");
        self.result("SUBSCRIBE", &streams)
    }

    /// Publishes and returns the position.
    pub(crate) fn publish(&mut self, topic: &str, data: &str) -> (String, u64) {
        position_of(&self.result("PUBLISH", &format!("[\"{topic}\",{data}]")))
    }

    /// Shows that nothing came up to now: the next message is the reply to a PING.
    pub(crate) fn assert_silent(&mut self) {
        let reply = self.ask("PING", "");
        assert!(reply.starts_with("{\"result\":{\"time\":"), "{reply}");
    }

    /// The code of the close frame that comes next; `None`: a close frame without one.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read().expect("a close frame comes in time") {
                Message::Close(frame) => return frame.map(|frame| frame.code.into()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a close frame: {other:?}"),
            }
        }
    }
}

/// The code of `{"error":{"code":C,"msg":"..."}...`.
pub(crate) fn code_of(reply: &str) -> u64 {
    assert!(reply.starts_with("{\"error\":{\"code\":"), "not an error: {reply}");
    let reply: Value = serde_json::from_str(reply).expect("a reply is JSON");
    assert!(reply["error"]["msg"].as_str().is_some_and(|sentence| sentence.len() > 8), "no sentence in {reply}");
    reply["error"]["code"].as_u64().expect("a code is a number")
}
