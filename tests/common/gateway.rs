//! The real binary: started, asked for its addresses, stopped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Response, http};

/// The part of a configuration that lets clients on this machine publish anything.
pub(crate) const PUBLISHING: &str = "[publish]\nallow = \"loopback\"\ntopics = [\">\"]\n";

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Names the reactor that all gateways are started with: `epoll` runs a test on that one.
const REACTOR: &str = "TIDEGATE_REACTOR";

/// Whether gateways are started with epoll.
pub(crate) fn is_epoll() -> bool {
    std::env::var(REACTOR).is_ok_and(|kind| kind == "epoll")
}

/// What its configuration file is called.
const CONFIGURATION: &str = "tidegate.toml";

/// A file of one listener and the admin port, which goes on with `toml`.
fn with_addresses(listener: &str, toml: &str) -> String {
    format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n[admin]\naddress = \"127.0.0.1:0\"\n\n{toml}")
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    /// Where clients connect.
    pub(crate) clients: SocketAddr,
    /// The admin port.
    pub(crate) admin: SocketAddr,
    /// Where clients connect with TLS, if anywhere.
    secure: Option<SocketAddr>,
    child: Child,
    /// It was asked to stop; a second time would mean at once.
    terminated: bool,
    stderr: Arc<Mutex<String>>,
    directory: TempDir,
}

impl Gateway {
    /// In demo mode, with more flags.
    pub(crate) fn demo(flags: &[&str]) -> Gateway {
        Gateway::demo_at("127.0.0.1:0", flags)
    }

    /// In demo mode where clients find it, as an earlier one's address.
    pub(crate) fn demo_at(clients: &str, flags: &[&str]) -> Gateway {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let flags: Vec<&str> = ["--listen", clients, "--admin", "127.0.0.1:0"].into_iter().chain(flags.iter().copied()).collect();
        Gateway::start(&flags, directory, &[])
    }

    /// Two shards, publishing allowed, and nothing else.
    pub(crate) fn publishing() -> Gateway {
        Gateway::configured(PUBLISHING)
    }

    /// Two shards with a configuration file that begins with the addresses and goes on with `toml`.
    pub(crate) fn configured(toml: &str) -> Gateway {
        Gateway::configured_with("", toml, &[])
    }

    /// Two shards at an earlier one's addresses, both of them.
    pub(crate) fn configured_at(clients: SocketAddr, admin: SocketAddr, toml: &str) -> Gateway {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let file = directory.path().join("tidegate.toml");
        let addresses = format!("[[listener]]\naddress = \"{clients}\"\n[admin]\naddress = \"{admin}\"\n");
        std::fs::write(&file, format!("{addresses}{toml}")).expect("a temporary file can be written");
        let file = file.to_string_lossy().into_owned();
        Gateway::start(&["--config", &file, "--shards", "2"], directory, &[])
    }

    /// Publishing and `/echo` allowed, compression granted, and `toml`.
    pub(crate) fn deflating(toml: &str) -> Gateway {
        let open = format!("{PUBLISHING}[echo]\nenabled = true\n{toml}");
        Gateway::configured_with("permessage_deflate = true\n", &open, &[])
    }

    /// The same, with more keys for the listener and more of an environment.
    pub(crate) fn configured_with(listener: &str, toml: &str, environment: &[(&str, &str)]) -> Gateway {
        Gateway::of_shards("2", listener, toml, environment)
    }

    /// One shard, where bounds are to be met exactly: they are divided among shards.
    pub(crate) fn of_one_shard(listener: &str, toml: &str) -> Gateway {
        Gateway::of_shards("1", listener, toml, &[])
    }

    /// With so many shards and more flags, in the place of whoever listens on the takeover socket; its ports are that one's.
    pub(crate) fn taking_over(socket: &Path, shards: &str, flags: &[&str], toml: &str) -> Gateway {
        let (directory, file) = Gateway::configuration("", toml);
        let socket = socket.to_str().expect("temporary paths are UTF-8");
        let all = [&["--config", &file, "--shards", shards, "--takeover", socket], flags].concat();
        Gateway::start(&all, directory, &[])
    }

    fn of_shards(shards: &str, listener: &str, toml: &str, environment: &[(&str, &str)]) -> Gateway {
        let (directory, file) = Gateway::configuration(listener, toml);
        Gateway::start(&["--config", &file, "--shards", shards], directory, environment)
    }

    /// Two shards with `toml`, started by a command that is given the gateway's; it chooses the reactor by itself.
    pub(crate) fn under(command: &[&str], toml: &str) -> Gateway {
        let (directory, file) = Gateway::configuration("", toml);
        let words: Vec<&str> = command.iter().copied().chain([BINARY, "--config", &file, "--shards", "2"]).collect();
        Gateway::run(Command::new(words[0]).args(&words[1..]), directory)
    }

    /// Started by a command that is whole.
    pub(crate) fn by(command: &mut Command) -> Gateway {
        Gateway::run(command, TempDir::new().expect("a temporary directory can be made"))
    }

    /// A file with `toml`.
    fn configuration(listener: &str, toml: &str) -> (TempDir, String) {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let file = directory.path().join(CONFIGURATION);
        std::fs::write(&file, with_addresses(listener, toml)).expect("a temporary file can be written");
        (directory, file.to_string_lossy().into_owned())
    }

    /// With the reactor that the environment names (`TIDEGATE_REACTOR`), unless the flags do.
    fn start(flags: &[&str], directory: TempDir, environment: &[(&str, &str)]) -> Gateway {
        let mut command = Command::new(BINARY);
        command.args(flags).envs(environment.iter().copied());
        if let Ok(kind) = std::env::var(REACTOR)
            && !flags.contains(&"--reactor")
        {
            command.args(["--reactor", &kind]);
        }
        Gateway::run(&mut command, directory)
    }

    fn run(command: &mut Command, directory: TempDir) -> Gateway {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let errors = child.stderr.take().expect("stderr is piped");
        let keep = Arc::clone(&stderr);
        std::thread::spawn(move || {
            keep_lines(errors, |line| keep.lock().expect("no test panics with it").push_str(&(line + "\n")))
        });
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().expect("stdout is piped");
        std::thread::spawn(move || keep_lines(output, |line| drop(sender.send(line))));
        match addresses(&lines) {
            Ok(Addresses { clients, admin, secure }) => {
                Gateway { clients, admin, secure, child, terminated: false, stderr, directory }
            }
            Err(said) => {
                drop(child.kill());
                drop(child.wait());
                panic!("{command:?} did not start; it said:\n{said}\n{}", stderr.lock().expect("no test panics with it"));
            }
        }
    }

    /// The process, for its figures under `/proc`.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Publishes JSON by the admin port and returns its position.
    pub(crate) fn publish(&self, topic: &str, data: &str) -> (String, u64) {
        let answer = self.post("/api/publish", "application/json", format!("{{\"topic\":\"{topic}\",\"data\":{data}}}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let position: Value = serde_json::from_slice(&answer.body).expect("a position is JSON");
        position_of(&position)
    }

    /// A POST to the admin port.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Response {
        http(self.admin, "POST", path, &[("Content-Type", content_type)], body.as_ref())
    }

    /// A GET from the admin port.
    pub(crate) fn get(&self, path: &str) -> Response {
        http(self.admin, "GET", path, &[], &[])
    }

    /// A counter on the admin port, over all shards.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let rows = text.text().lines().filter_map(|line| line.strip_prefix(&format!("tidegate_{name}_total")));
        let values = rows.map(|row| row.split(' ').next_back().and_then(|value| value.parse::<u64>().ok()));
        values.map(|value| value.expect("a counter is a number")).sum()
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has resident memory");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("it is a number of KiB");
        kib << 10
    }

    /// Where clients connect with TLS.
    pub(crate) fn secure(&self) -> SocketAddr {
        self.secure.expect("its configuration has a listener with TLS")
    }

    /// Writes its configuration file anew, for the next reload: with more keys for the listener, and `toml`.
    pub(crate) fn rewrite(&self, listener: &str, toml: &str) {
        std::fs::write(self.directory.path().join(CONFIGURATION), with_addresses(listener, toml))
            .expect("its file can be written");
    }

    /// Has it read its configuration again, and waits until it said how that went.
    pub(crate) fn reload(&self) -> String {
        let before = self.said().len();
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a pid");
        kill_process(pid, Signal::HUP).expect("a child can be signalled");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said()[before..].to_owned();
            if said.lines().any(|line| line.contains("SIGHUP")) {
                return said;
            }
            assert!(Instant::now() < deadline, "nothing is said of the reload: {}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&mut self) {
        self.terminated = true;
        self.signal(Signal::TERM);
    }

    /// Signals it: between STOP and CONT it finds all that is sent to it at once.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a pid");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Whether its process is gone.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end; it said:\n{}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Asks it to stop and unless it was asked, and insists on exit code 0.
    pub(crate) fn stop(mut self) {
        if !self.terminated {
            self.terminate();
        }
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "it said:\n{}", self.said());
    }

    /// What it wrote to stderr so far.
    pub(crate) fn said(&self) -> String {
        self.stderr.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if std::thread::panicking() {
            eprintln!(
                "the gateway ({}) said:\n{}",
                ended.map_or(String::from("running"), |status| status.to_string()),
                self.said()
            );
        }
        if ended.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// `{"epoch":..,"offset":..}`.
pub(crate) fn position_of(position: &Value) -> (String, u64) {
    let epoch = position["epoch"].as_str().unwrap_or_else(|| panic!("no epoch in {position}"));
    let offset = position["offset"].as_u64().unwrap_or_else(|| panic!("no offset in {position}"));
    let valid = (1..=16).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    assert!(valid, "an epoch is [0-9a-z]{{1,16}}, not {epoch:?}");
    (epoch.to_owned(), offset)
}

fn keep_lines(from: impl Read, mut keep: impl FnMut(String)) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        keep(line);
    }
}

/// Where a gateway is.
struct Addresses {
    clients: SocketAddr,
    admin: SocketAddr,
    secure: Option<SocketAddr>,
}

/// The addresses out of the lines that a start prints, the admin port's last; after that it accepts. Else what it said instead.
fn addresses(lines: &Receiver<String>) -> Result<Addresses, String> {
    let deadline = Instant::now() + PATIENCE;
    let (mut clients, mut secure) = (None, None);
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        clients = clients.or_else(|| address_after("clients", &line));
        secure = secure.or_else(|| address_after("wss://", &line));
        if let (Some(clients), Some(admin)) = (clients, address_after("admin", &line)) {
            return Ok(Addresses { clients, admin, secure });
        }
        said.push_str(&(line + "\n"));
    }
    Err(said)
}

fn address_after(label: &str, line: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(label)? + label.len()..];
    let address = &rest[rest.find("127.0.0.1:")?..];
    let end = address.find(|character: char| !character.is_ascii_digit() && character != '.' && character != ':');
    address[..end.unwrap_or(address.len())].parse().ok()
}
