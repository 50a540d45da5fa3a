//! npm `ws`, Python's `websockets` and `websocat` print what was recorded.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{Authority, Client, Gateway, PUBLISHING, Recording, skipped};
use crate::replay::Expected;

/// How many messages each of them prints.
const COUNT: usize = 300;

/// Where scripts/test installs what is driven here. Where it is not: says so, and the test is skipped; where
/// `TIDEGATE_TEST_PARTS` promises it, it must be there.
pub(crate) fn parts(test: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("TIDEGATE_TEST_PARTS").map(PathBuf::from);
    let parts = promised.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"));
    if !parts.join("venv/requirements.txt").exists() || !parts.join("node/node_modules").exists() {
        assert!(promised.is_none(), "{} lacks the foreign clients; scripts/install-test-parts installs them", parts.display());
        skipped(test, "the foreign clients are not installed (scripts/test installs them)");
        return None;
    }
    Some(parts)
}

/// A program and its output, line by line; killed when dropped. Its input stays open, because `websocat` ends with it.
pub(crate) struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an installed program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Program { child, lines }
    }

    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("the program goes on").expect("its output is UTF-8")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn python(parts: &Path) -> Command {
    let mut command = Command::new(parts.join("venv/bin/python"));
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/websockets_client.py"));
    command
}

pub(crate) fn node(parts: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/ws.js"));
    command.env("NODE_PARTS", parts.join("node/node_modules"));
    command
}

#[test]
fn websocat_prints_the_recorded_messages() {
    let test = "websocat_prints_the_recorded_messages";
    let (Some(parts), Some(recording)) = (parts(test), Recording::find(test)) else { return };
    let gateway = Gateway::demo(&["--replay", &recording.file.to_string_lossy()]);
    let url = format!("ws://{}/stream?streams=btcusdt@trade/btcusdt@bookTicker", gateway.clients);
    let mut program = Program::start(Command::new(parts.join("venv/bin/websocat")).arg(&url));
    let mut expected = Expected::new(&recording);
    for _ in 0..COUNT {
        expected.check_combined(program.line().as_bytes());
    }
    assert_eq!(expected.topics_seen(), ["btcusdt@bookTicker", "btcusdt@trade"]);
    drop(program);
    gateway.stop();
}

#[test]
fn node_ws_prints_the_recorded_messages_pings_and_closes() {
    check_client("node_ws_prints_the_recorded_messages_pings_and_closes", node);
}

#[test]
fn python_websockets_prints_the_recorded_messages_pings_and_closes() {
    check_client("python_websockets_prints_the_recorded_messages_pings_and_closes", python);
}

/// By URL and by SUBSCRIBE; then ping and close.
fn check_client(test: &str, program: fn(&Path) -> Command) {
    let (Some(parts), Some(recording)) = (parts(test), Recording::find(test)) else { return };
    let gateway = Gateway::demo(&["--replay", &recording.file.to_string_lossy()]);
    let subscribe = "{\"method\":\"SUBSCRIBE\",\"params\":[\"btcusdt@trade\",\"btcusdt@depth@0ms\"],\"id\":\"one\"}";
    for (path, request) in [("/stream?streams=btcusdt@trade/btcusdt@depth@0ms", None), ("/stream", Some(subscribe))] {
        let mut command = program(&parts);
        command
            .arg(format!("ws://{}{path}", gateway.clients))
            .arg((COUNT + usize::from(request.is_some())).to_string())
            .args(request);
        let mut program = Program::start(&mut command);
        if request.is_some() {
            assert_eq!(program.line(), "{\"result\":null,\"id\":\"one\"}");
        }
        let mut expected = Expected::new(&recording);
        for _ in 0..COUNT {
            expected.check_combined(program.line().as_bytes());
        }
        assert_eq!(program.line(), "pong are you there");
        assert_eq!(program.line(), "closed 1000");
    }
    gateway.stop();
}

#[test]
fn foreign_clients_get_text_and_binary_raw_without_tls_and_with() {
    let test = "foreign_clients_get_text_and_binary_raw_without_tls_and_with";
    let Some(parts) = parts(test) else { return };
    let authority = Authority::new();
    authority.sign_valid("feed");
    let gateway = Gateway::configured(&format!("{PUBLISHING}{}", authority.listener("feed")));
    let secure = format!("wss://localhost:{}/ws", gateway.secure().port());
    for url in [format!("ws://{}/ws", gateway.clients), secure] {
        check_raw(&gateway, node(&parts).env("NODE_EXTRA_CA_CERTS", authority.path("ca.pem")).arg(&url));
        check_raw(&gateway, python(&parts).env("SSL_CERT_FILE", authority.path("ca.pem")).arg(&url));
    }
    gateway.stop();
}

fn check_raw(gateway: &Gateway, command: &mut Command) {
    command.arg("3").arg("{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":1}");
    let mut program = Program::start(command);
    assert_eq!(program.line(), "{\"result\":null,\"id\":1}");
    let mut publisher = Client::connect(gateway, "/publish/md.a");
    publisher.send("{ \"price\" : 1.10 }");
    assert_eq!(program.line(), "{ \"price\" : 1.10 }");
    publisher.send_binary(&[0, 255, 16]);
    assert_eq!(program.line(), "00ff10");
    assert_eq!(program.line(), "pong are you there");
    assert_eq!(program.line(), "closed 1000");
}
