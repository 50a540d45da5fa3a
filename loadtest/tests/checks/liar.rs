//! A small server that publishes and echoes, and lies once. A thread a connection, and nothing of the gateway but the handshake's
//! answer and the frames.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tidegate::http::{HeadReader, Progress};
use tidegate::ws::{Assembler, Connection, Event, Limits, Opcode, Role, frame, handshake};

/// What is done to the publication (or echo) with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing at all.
    None,
    /// It is left out.
    Loses,
    /// It comes a second time.
    Repeats,
    /// It comes after the next one.
    Reorders,
    /// One bit of it is another.
    Alters,
    /// Its last byte is missing.
    Shortens,
    /// All connections end.
    Dies,
}

/// The publication that is lied about; later than the first ones, which could be special.
pub(crate) const LIED_ABOUT: usize = 10;

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 16, inflate_ratio_max: 1 };

/// Starts one; it lives as long as the process.
pub(crate) fn start(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let subscribers = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, subscribers) = (stream.expect("a client came"), subscribers.clone());
            std::thread::spawn(move || serve(stream, &subscribers, lie));
        }
    });
    address
}

fn serve(mut stream: TcpStream, subscribers: &Mutex<Vec<TcpStream>>, lie: Lie) {
    let Some((path, early)) = shake_hands(&mut stream) else { return };
    if path.starts_with("/ws") {
        // Told before the publisher connects: the generator waits for its subscribers' handshakes.
        subscribers.lock().expect("nobody panics with it").push(stream.try_clone().expect("a socket can be shared"));
        return;
    }
    let mut publication = 0;
    let mut kept_back = None;
    let mut websocket = Connection::new(Role::Server);
    let mut assembler = Assembler::default();
    let mut input = early;
    loop {
        let mut rest = &mut input[..];
        while let Ok(Some(event)) = websocket.next(&LIMITS, &mut rest) {
            let Event::Data { kind, bytes, first, last } = event else { return };
            let Some(message) = assembler.add(kind, bytes, first, last) else { continue };
            let is_lied_about = publication == LIED_ABOUT;
            publication += 1;
            let mut payload = message.bytes.into_owned();
            let truth = framed(&path, &payload);
            let lied = if is_lied_about { lie } else { Lie::None };
            let mut told = match lied {
                Lie::Loses | Lie::Reorders => Vec::new(),
                Lie::Repeats => truth.repeat(2),
                Lie::Alters => {
                    payload[30] ^= 1;
                    framed(&path, &payload)
                }
                Lie::Shortens => framed(&path, &payload[..payload.len() - 1]),
                Lie::Dies => return die(&stream, subscribers),
                Lie::None => truth.clone(),
            };
            told.extend(kept_back.take().unwrap_or_default());
            if lied == Lie::Reorders {
                kept_back = Some(truth.clone());
            }
            send(&path, &mut stream, subscribers, &truth, &told);
        }
        input = vec![0; 64 << 10];
        match stream.read(&mut input) {
            Ok(length) if length > 0 => input.truncate(length),
            _ => return,
        }
    }
}

fn framed(path: &str, payload: &[u8]) -> Vec<u8> {
    let opcode = if path.starts_with("/echo") { Opcode::Binary } else { Opcode::Text };
    let mut out = Vec::new();
    frame::write(&mut out, opcode, payload, None);
    out
}

/// What is told goes to all; of the topic `last` to the last subscriber, and the others get the truth.
fn send(path: &str, stream: &mut TcpStream, subscribers: &Mutex<Vec<TcpStream>>, truth: &[u8], told: &[u8]) {
    // Who has left is nobody's concern here: the generator has found out.
    if path.starts_with("/echo") {
        stream.write_all(told).ok();
        return;
    }
    let mut subscribers = subscribers.lock().expect("nobody panics with it");
    let first_lied_to = if path.ends_with("/last") { subscribers.len() - 1 } else { 0 };
    for (index, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.write_all(if index < first_lied_to { truth } else { told }).ok();
    }
}

fn die(stream: &TcpStream, subscribers: &Mutex<Vec<TcpStream>>) {
    for subscriber in subscribers.lock().expect("nobody panics with it").iter().chain([stream]) {
        subscriber.shutdown(Shutdown::Both).ok();
    }
}

/// Answers a handshake; gives the path and what came behind the request. None: the answer was a refusal.
fn shake_hands(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = HeadReader::new(16 << 10, 64);
    let mut bytes = [0; 4096];
    let early = loop {
        let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
        if let Ok(Progress::Complete { consumed }) = head.feed(&bytes[..length]) {
            break bytes[consumed..length].to_vec();
        }
    };
    let request = head.request().expect("the generator's requests are right");
    let path = request.path().to_owned();
    let mut answer = Vec::new();
    match handshake::check_request(&request) {
        Ok(upgrade) if !path.starts_with("/refused") => handshake::write_accept(&mut answer, &upgrade.accept, None, &[]),
        _ => answer.extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    }
    stream.write_all(&answer).ok()?;
    (!path.starts_with("/refused")).then_some((path, early))
}
