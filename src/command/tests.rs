//! The command line, and `tail` and `publish` against a gateway that follows a script.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use clap::CommandFactory;

use super::client::Client;
use super::endpoint::Endpoint;
use super::tail::{Form, Printer, Streams, tail};
use super::*;
use crate::http::{self, HeadReader, Progress};
use crate::ws::{Assembler, CloseCode, Connection, Event, Limits, Opcode, Role, frame, handshake};

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_arguments_are_one_sentence() {
    for (arguments, parts) in [
        (&["--lissten", "x"][..], &["unexpected argument '--lissten' found", "'--listen'"][..]),
        (&["--listen", "localhost:80"], &["'localhost:80' for '--listen <ADDR>'", "names are not looked up"]),
        (&["--shards", "0"], &["'0' for '--shards <N>'", "1..=1024"]),
        (&["--log", "xml"], &["'xml' for '--log <FORM>'", "text, json"]),
        (&["--speed", "max"], &["--replay <FILE>"]),
        (&["--replay", "a", "--speed", "0"], &["'0' for '--speed <SPEED>'", "above 0"]),
        (&["--replay", "a", "--topic", "{a}"], &["does not begin with `/`"]),
        (&["--replay", "a", "--payload", "a"], &["does not begin with `/`"]),
        (&["check"], &["--config <FILE>"]),
        (&["tail"], &["<STREAM>"]),
        (&["tail", "--raw", "--json", "a"], &["cannot be used with"]),
        (&["tail", "--raw", "--since", "e:1", "a"], &["cannot be used with"]),
        (&["publish"], &["<TOPIC>"]),
        (&["publish", "a.*"], &["only names can be published to"]),
    ] {
        let error = Cli::try_parse_from([&["tidegate"], arguments].concat()).expect_err("wrong arguments");
        assert!(error.use_stderr(), "{arguments:?}");
        let said = sentence(&error);
        assert!(!said.contains('\n') && !said.starts_with("error"), "{said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?} must say {part:?}: {said}");
        }
    }
}

/// One accepted connection of the scripted gateway.
struct Peer {
    socket: TcpStream,
    /// Target of the request.
    target: String,
}

/// What the client sent, in order.
#[derive(Debug, PartialEq)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
}

impl Peer {
    /// Accepts and reads the request, answers it with 101.
    fn accept(listener: &TcpListener) -> Peer {
        let (mut peer, accept) = Peer::accept_head(listener);
        let mut out = Vec::new();
        handshake::write_accept(&mut out, &accept, None, &[]);
        peer.socket.write_all(&out).expect("the client reads");
        peer
    }

    fn accept_head(listener: &TcpListener) -> (Peer, handshake::Accept) {
        let (mut socket, _) = listener.accept().expect("a client connects");
        let mut reader = HeadReader::new(8192, 64);
        let mut byte = [0];
        loop {
            socket.read_exact(&mut byte).expect("a head");
            if reader.feed(&byte).expect("a head") != Progress::Partial {
                break;
            }
        }
        let request = reader.request().expect("a request");
        let upgrade = handshake::check_request(&request).expect("a WebSocket request");
        (Peer { target: request.target.to_owned(), socket }, upgrade.accept)
    }

    fn refuse(listener: &TcpListener, status: u16, body: &str) -> Peer {
        let (mut peer, _) = Peer::accept_head(listener);
        let mut out = Vec::new();
        http::write_response(&mut out, status, &[], body.as_bytes(), false);
        peer.socket.write_all(&out).expect("the client reads");
        peer
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        frame::write(&mut out, opcode, payload, None);
        self.socket.write_all(&out).expect("the client reads");
    }

    fn close(&mut self, code: u16, reason: &str) {
        let mut out = Vec::new();
        frame::write_close(&mut out, CloseCode(code), reason, None);
        self.socket.write_all(&out).expect("the client reads");
    }

    fn acknowledge(&mut self, count: u64) {
        self.send(Opcode::Text, format!("{{\"ack\":{count}}}").as_bytes());
    }

    /// All that the client sends up to its close frame or its end.
    fn read_all(&mut self) -> Vec<Sent> {
        self.read(usize::MAX)
    }

    /// As much of it, at least, as there is.
    fn read(&mut self, count_min: usize) -> Vec<Sent> {
        let limits = Limits { message_bytes_max: 1 << 20, fragments_max: 16, inflate_ratio_max: 200 };
        let (mut connection, mut assembler) = (Connection::new(Role::Server), Assembler::default());
        let (mut sent, mut buffer) = (Vec::new(), vec![0; 1000]);
        while sent.len() < count_min {
            let count = self.socket.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                return sent;
            }
            let mut input = &mut buffer[..count];
            while let Some(event) = connection.next(&limits, &mut input).expect("a client in order") {
                match event {
                    Event::Data { kind, bytes, first, last } => {
                        let message = assembler.add(kind, bytes, first, last);
                        sent.extend(message.map(|message| match String::from_utf8(message.bytes.into_owned()) {
                            Ok(text) => Sent::Text(text),
                            Err(error) => Sent::Binary(error.into_bytes()),
                        }));
                    }
                    Event::Ping(_) => sent.push(Sent::Ping),
                    Event::Pong(payload) => sent.push(Sent::Pong(payload.to_vec())),
                    Event::Close(close) => {
                        sent.push(Sent::Close(close.map(|(code, _)| code.0)));
                        return sent;
                    }
                }
            }
        }
        sent
    }
}

/// Runs a script as the gateway; gives its URL.
fn gateway<T: Send + 'static>(script: impl FnOnce(&TcpListener) -> T + Send + 'static) -> (Endpoint, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    (Endpoint::parse(&url).expect("a URL"), thread::spawn(move || script(&listener)))
}

/// What `tail` prints and how it ends.
fn tailed(endpoint: &Endpoint, form: Form, streams: &[&str], count: u64) -> (String, Result<(), String>) {
    let streams: Vec<String> = streams.iter().map(ToString::to_string).collect();
    let mut output = Vec::new();
    let end = tail(endpoint, form, Streams::new(&streams, form != Form::Payload), Printer::new(form, Some(count), &mut output));
    (String::from_utf8(output).expect("text"), end.map_err(|error| error.to_string()))
}

#[test]
fn tail_prints_publications_and_ends_after_count() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.send(Opcode::Text, br#"{"result":null,"id":null}"#);
        peer.send(Opcode::Ping, b"you?");
        peer.send(Opcode::Text, br#"{"stream":"a","o":1,"data":{"p":1}}"#);
        peer.send(Opcode::Text, br#"{"stream":"b","o":1,"data":2}"#);
        peer.send(Opcode::Text, br#"{"stream":"a","o":2,"data":"too many"}"#);
        (peer.target.clone(), peer.read_all())
    });
    assert_eq!(tailed(&endpoint, Form::TopicAndPayload, &["a;last", "b"], 2), ("a {\"p\":1}\nb 2\n".into(), Ok(())));
    let (target, sent) = script.join().expect("the script");
    assert_eq!(target, "/stream?streams=a;last/b;since=0:0");
    assert_eq!(sent, [Sent::Pong(b"you?".to_vec()), Sent::Close(Some(1000))]);
}

#[test]
fn tail_raw_prints_payloads() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.send(Opcode::Text, b"{\"e\":\"trade\"}");
        peer.send(Opcode::Text, b"plain");
        peer.target.clone()
    });
    assert_eq!(tailed(&endpoint, Form::Payload, &["x@trade"], 2), ("{\"e\":\"trade\"}\nplain\n".into(), Ok(())));
    assert_eq!(script.join().expect("the script"), "/ws/x@trade");
}

#[test]
fn tail_connects_again_when_the_connection_is_lost() {
    let (endpoint, script) = gateway(|listener| {
        let mut first = Peer::accept(listener);
        first.send(Opcode::Text, br#"{"result":[{"stream":"a","epoch":"e","offset":0,"recovered":false}],"id":null}"#);
        first.send(Opcode::Text, br#"{"stream":"a","o":1,"data":1}"#);
        first.close(1001, "restart");
        let answer = first.read_all();
        drop(Peer::refuse(listener, 503, "busy"));
        let mut second = Peer::accept(listener);
        second.send(Opcode::Text, br#"{"stream":"a","o":2,"data":2}"#);
        (answer, second.target.clone())
    });
    assert_eq!(tailed(&endpoint, Form::TopicAndPayload, &["a"], 2), ("a 1\na 2\n".into(), Ok(())));
    let (answer, target) = script.join().expect("the script");
    assert_eq!(answer, [Sent::Close(Some(1000))]);
    assert_eq!(target, "/stream?streams=a;since=e:1", "it goes on where it was");
}

#[test]
fn tail_subscribes_many_streams_by_requests() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.send(Opcode::Text, br#"{"error":{"code":5,"msg":"at most 3 subscriptions"},"id":0}"#);
        (peer.target.clone(), peer.read_all())
    });
    let streams: Vec<String> = (0..1000).map(|i| format!("topic.{i}")).collect();
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let refused = "the gateway refuses (error 5): at most 3 subscriptions";
    assert_eq!(tailed(&endpoint, Form::Message, &streams, 1), (String::new(), Err(refused.into())));
    let (target, sent) = script.join().expect("the script");
    assert_eq!(target, "/stream");
    assert!(matches!(&sent[0], Sent::Text(text) if text.contains("\"topic.0;since=0:0\",\"topic.1;since=0:0\"")), "{sent:?}");
}

#[test]
fn refusals_are_sentences() {
    for (status, body, expected) in [
        (
            403,
            r#"{"error":{"code":4,"msg":"`a` is not allowed"}}"#,
            "the gateway refuses (403): `a` is not allowed; if the gateway takes tokens, one that grants this helps: --token-file \
             FILE, or TIDEGATE_TOKEN",
        ),
        (404, "there is nothing here\r\nmore", "the gateway refuses (404): there is nothing here"),
        (400, "", "the gateway refuses (400): Bad Request"),
        (503, "stopping", "the gateway refuses (503): stopping"),
    ] {
        let (endpoint, script) = gateway(move |listener| Peer::refuse(listener, status, body));
        assert_eq!(tailed(&endpoint, Form::Message, &["a"], 1), (String::new(), Err(expected.into())));
        script.join().expect("the script");
    }
}

#[test]
fn a_close_that_blames_the_client_ends_the_command() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.close(1008, "too many errors");
        peer.read_all()
    });
    let said = "the gateway closed the connection (1008: too many errors)";
    assert_eq!(tailed(&endpoint, Form::Message, &["a"], 1), (String::new(), Err(said.into())));
    script.join().expect("the script");
}

#[test]
fn a_gateway_that_is_not_there_is_a_sentence() {
    let (endpoint, script) = gateway(|_| ());
    script.join().expect("the script");
    let (_, end) = tailed(&endpoint, Form::Message, &["a"], 1);
    let said = end.expect_err("nobody listens");
    for part in [&endpoint.to_string(), "cannot be reached", "refused", "is the gateway running there?"] {
        assert!(said.contains(part), "{said}");
    }
}

fn published(endpoint: &Endpoint, input: &'static [u8]) -> Result<u64, String> {
    let client = Client::connect(endpoint, "/publish/a", None).map_err(|error| error.to_string())?;
    publish::publish(client, Box::new(input)).map_err(|error| error.to_string())
}

#[test]
fn publish_sends_each_line_and_closes_once_all_are_acknowledged() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.send(Opcode::Ping, b"p");
        let mut sent = peer.read(4);
        (1..=3).for_each(|count| peer.acknowledge(count));
        sent.extend(peer.read_all());
        peer.close(1000, "");
        sent.retain(|sent| !matches!(sent, Sent::Pong(_)));
        sent
    });
    assert_eq!(published(&endpoint, b"{\"p\":1}\r\n\n\xff\xfe\nlast"), Ok(3));
    let text = |text: &str| Sent::Text(text.into());
    let sent = script.join().expect("the script");
    assert_eq!(sent, [text("{\"p\":1}"), Sent::Binary(vec![0xff, 0xfe]), text("last"), Sent::Close(Some(1000))]);
}

#[test]
fn publish_tells_how_many_lines_were_not_acknowledged() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        let sent = peer.read(3);
        peer.acknowledge(2);
        peer.close(1001, "the gateway stops");
        peer.read_all();
        sent.len()
    });
    let said = published(&endpoint, b"a\nb\nc\n").expect_err("one was not taken");
    let expected =
        "the gateway closed the connection (1001: the gateway stops); 3 lines sent, 2 acknowledged, 1 not: those may be lost";
    assert_eq!(said, expected);
    assert_eq!(script.join().expect("the script"), 3);
}

#[test]
fn publish_tells_of_input_that_it_did_not_send() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.read(1);
        peer.acknowledge(1);
        peer.close(1001, "the gateway stops");
        peer.read_all();
    });
    // More of it would come, as from a terminal.
    let (input, mut end) = io::pipe().expect("a pipe");
    end.write_all(b"a\n").expect("it is open");
    let client = Client::connect(&endpoint, "/publish/a", None).expect("a gateway");
    let said = publish::publish(client, Box::new(input)).expect_err("the gateway goes away").to_string();
    let expected = "the gateway closed the connection (1001: the gateway stops); 1 line sent, all acknowledged; the rest of the input is not sent";
    assert_eq!(said, expected);
    drop(end);
    script.join().expect("the script");
}

#[test]
fn publish_tells_why_it_was_not_taken() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        peer.close(1009, "at most 1048576 bytes");
        peer.read_all()
    });
    let said = published(&endpoint, b"a\n").expect_err("closed with 1009");
    assert!(said.contains("(1009: at most 1048576 bytes)") && said.contains("publication_bytes_max"), "{said}");
    script.join().expect("the script");
}

/// Input that goes wrong after its first line.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::other("the disk is gone"));
        }
        buffer[..2].copy_from_slice(b"a\n");
        Ok(2)
    }
}

#[test]
fn publish_tells_of_input_that_breaks_off() {
    let (endpoint, script) = gateway(|listener| {
        let mut peer = Peer::accept(listener);
        let mut sent = peer.read(1);
        peer.acknowledge(1);
        sent.extend(peer.read_all());
        peer.close(1000, "");
        sent
    });
    let client = Client::connect(&endpoint, "/publish/a", None).expect("a gateway");
    let said = publish::publish(client, Box::new(Broken(false))).expect_err("broken input").to_string();
    assert_eq!(said, "the input cannot be read (the disk is gone); what came before it was published: 1 line");
    assert_eq!(script.join().expect("the script"), [Sent::Text("a".into()), Sent::Close(Some(1000))]);
}

#[test]
fn a_silent_gateway_is_pinged_and_then_lost() {
    let (endpoint, script) = gateway(|listener| Peer::accept(listener).read_all());
    let silence = Some(std::time::Duration::from_millis(20));
    let mut client = Client::connect(&endpoint, "/stream", silence).expect("a gateway");
    let lost = loop {
        match client.receive(|_| std::ops::ControlFlow::<()>::Continue(())) {
            Ok(_) => {}
            Err(lost) => break lost.to_string(),
        }
    };
    drop(client);
    assert_eq!(lost, "the gateway fell silent");
    assert_eq!(script.join().expect("the script"), [Sent::Ping]);
}
