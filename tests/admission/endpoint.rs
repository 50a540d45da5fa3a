//! A server of the operator's: a few lines of HTTP that answer what the test says, and remember what they were asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::PATIENCE;

/// A running server; its port is closed when it is dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Endpoint {
    /// That answers every request so until it is told otherwise.
    pub(crate) fn open(status: u16, body: &str) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (answer, asked) = (Arc::new(Mutex::new((status, body.to_owned()))), Arc::new(Mutex::new(Vec::new())));
        let over = Arc::new(AtomicBool::new(false));
        let (their_answer, their_asked, their_over) = (answer.clone(), asked.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if their_over.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, asked) = (their_answer.clone(), their_asked.clone());
                let stream = stream.expect("a client comes");
                std::thread::spawn(move || serve(stream, &answer, &asked));
            }
        });
        Endpoint { address, answer, asked, over, thread: Some(thread) }
    }

    /// Answers so from now on; status 0: not at all.
    pub(crate) fn say(&self, status: u16, body: &str) {
        *self.answer.lock().expect("no test panics with it") = (status, body.to_owned());
    }

    /// What it was asked: the head's first line and the body, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

fn serve(stream: TcpStream, answer: &Mutex<(u16, String)>, asked: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    let mut reader = BufReader::new(stream);
    let (mut line, mut first, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
        if first.is_empty() {
            first = line.trim().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length is a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body comes whole");
    asked.lock().expect("no test panics with it").push(format!("{first}\n{}", String::from_utf8_lossy(&body)));
    let (status, body) = answer.lock().expect("no test panics with it").clone();
    if status == 0 {
        // Until whoever asks gives up.
        drop(reader.read(&mut [0]));
        return;
    }
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    drop(reader.get_mut().write_all(format!("{head}{body}").as_bytes()));
}
