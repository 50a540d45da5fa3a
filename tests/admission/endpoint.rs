//! A server of the operator's: a few lines of HTTP that answer what the test says, and remember what they were asked; with TLS, too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::Authority;
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
        Endpoint::over(status, body, serve::<TcpStream>)
    }

    /// The same with TLS, showing `<name>.pem` of this authority.
    pub(crate) fn secure(status: u16, body: &str, authority: &Authority, name: &str) -> Endpoint {
        let path = |ending| authority.path(&format!("{name}.{ending}"));
        let certificates = CertificateDer::pem_file_iter(path("pem")).expect("it is there");
        let certificates = certificates.collect::<Result<_, _>>().expect("they are certificates");
        let key = PrivateKeyDer::from_pem_file(path("key")).expect("it is a key");
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("they fit");
        let config = Arc::new(config);
        Endpoint::over(status, body, move |stream, answer, asked| {
            let server = ServerConnection::new(config.clone()).expect("it can be made");
            serve(StreamOwned::new(server, stream), answer, asked);
        })
    }

    fn over(
        status: u16,
        body: &str,
        serve: impl Fn(TcpStream, &Mutex<(u16, String)>, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> Endpoint {
        let serve = Arc::new(serve);
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
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
                let serve = serve.clone();
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

fn serve<S: Read + Write>(stream: S, answer: &Mutex<(u16, String)>, asked: &Mutex<Vec<String>>) {
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
    // Whoever does not believe the certificate asks nothing.
    if first.is_empty() {
        return;
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
    drop(reader.get_mut().write_all(format!("{head}{body}").as_bytes()).and_then(|()| reader.get_mut().flush()));
}
