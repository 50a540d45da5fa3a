//! The balancers themselves, started for one test on ports of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::common::{PATIENCE, Raw, skipped};

/// A running balancer; killed when dropped.
pub(crate) struct Balancer {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where Debian puts a server's program.
fn program(name: &str) -> String {
    format!("/usr/sbin/{name}")
}

/// Whether a balancer is installed; where it is not the test says so, and fails if somebody promised it.
pub(crate) fn is_there(test: &str, name: &str) -> bool {
    if Path::new(&program(name)).exists() {
        return true;
    }
    let must = ["TIDEGATE_TEST_PARTS", "CI"].iter().any(|promise| std::env::var_os(promise).is_some());
    assert!(!must, "{name} is not at {}; scripts/install-test-parts installs it", program(name));
    skipped(test, &format!("{name} is not installed (scripts/test installs it)"));
    false
}

/// Starts HAProxy with one listening address and what is said of it; `{address}` in the text is where it is to listen. None where it
/// is not installed and nobody promised it.
pub(crate) fn haproxy(test: &str, sections: &str) -> Option<Balancer> {
    let global = "global\n  log stderr local0 warning\ndefaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  \
                  timeout tunnel 60s\n  timeout check 5s\n";
    start(test, "haproxy", &format!("{global}{sections}"), |file, _| vec!["-db".into(), "-f".into(), file.into()])
}

/// Starts nginx with one server and what is said of it.
pub(crate) fn nginx(test: &str, server: &str) -> Option<Balancer> {
    let text = format!(
        "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  \
         scgi_temp_path scgi;\n  server {{\n    listen {{address}};\n{server}\n  }}\n}}\n"
    );
    start(test, "nginx", &text, |file, directory| ["-p", directory, "-c", file, "-e", "stderr"].map(String::from).to_vec())
}

fn start(test: &str, name: &str, text: &str, arguments: impl Fn(&str, &str) -> Vec<String>) -> Option<Balancer> {
    if !is_there(test, name) {
        return None;
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    let address = free_address();
    let file = directory.path().join("balancer.conf");
    std::fs::write(&file, text.replace("{address}", &address.to_string())).expect("a temporary file can be written");
    let arguments = arguments(&file.to_string_lossy(), &directory.path().to_string_lossy());
    let child = Command::new(program(name)).args(arguments).stdin(Stdio::null()).spawn().expect("an installed program starts");
    let mut balancer = Balancer { child, address, _directory: directory };
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = balancer.child.try_wait().expect("a child can be waited for") {
            panic!("{name} ended with {status} in place of listening; its configuration:\n{text}");
        }
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Some(balancer)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// Connects from one of this machine's own addresses (127.0.0.0/8).
pub(crate) fn connect_from(last: u8, to: SocketAddr) -> Raw {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).expect("all of 127.0.0.0/8 is this machine's");
    socket.connect(&to.into()).expect("the server listens");
    Raw::of(socket.into())
}
