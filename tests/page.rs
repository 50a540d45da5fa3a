//! The page in a browser: the scripts of `tests/page/` against the real binary. They check; this plays the operator whom they
//! ask to publish, to stop the gateway and to start it again.
//!
//! Where Node or the browser is not there the tests say so and are skipped; where `TIDEGATE_TEST_PARTS` or `CI` promises them,
//! they must be there.

mod common;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::members::join;
use common::{Authority, Gateway, Raw, skipped};

/// What the scripts run on.
struct Parts {
    modules: PathBuf,
    browser: PathBuf,
}

/// Installed by scripts/install-test-parts.
fn parts(test: &str) -> Option<Parts> {
    let promised = std::env::var_os("TIDEGATE_TEST_PARTS").map(PathBuf::from);
    let must = promised.is_some() || std::env::var_os("CI").is_some();
    let installed = promised.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"));
    let parts = Parts { modules: installed.join("node/node_modules"), browser: installed.join("chromium") };
    if has_node() && parts.modules.join("playwright-core").exists() && parts.browser.exists() {
        return Some(parts);
    }
    assert!(!must, "{} lacks the browser, or Node is missing; scripts/install-test-parts installs them", installed.display());
    skipped(test, "Node or the browser is not installed (scripts/test installs them)");
    None
}

fn has_node() -> bool {
    Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page").join(name)
}

/// Runs a script against a gateway in demo mode with these flags, does what it asks for, and insists that all its checks pass.
fn check_in_browser(test: &str, name: &str, flags: &[&str]) {
    let Some(parts) = parts(test) else { return };
    let mut gateway = Gateway::demo(flags);
    let clients = gateway.clients.to_string();
    browse(&parts, name, &format!("http://{clients}/"), |asked| match asked {
        "ready-for-publish" => {
            gateway.publish("elsewhere.hello", "{\"price\":\"101.50\"}");
            Some("published elsewhere.hello")
        }
        "ready-for-stop" => {
            gateway.terminate();
            assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
            Some("stopped")
        }
        "ready-for-restart" => {
            gateway = Gateway::demo_at(&clients, flags);
            Some("restarted")
        }
        _ => None,
    });
    assert!(gateway.counter("compressions") > 0, "the browser offers permessage-deflate, and its frames came compressed");
    gateway.stop();
}

/// Runs a script on a page, and answers what it asks for. Its pictures stay in `target/tmp/page`.
fn browse<'a>(parts: &Parts, name: &str, url: &str, mut answer: impl FnMut(&str) -> Option<&'a str>) {
    let mut browsing = Command::new("node")
        .arg(script(name))
        .arg(url)
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("page"))
        .env("NODE_PATH", &parts.modules)
        .env("CHROMIUM", &parts.browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut answers = browsing.stdin.take().expect("stdin is piped");
    let mut said = String::new();
    for line in BufReader::new(browsing.stdout.take().expect("stdout is piped")).lines() {
        let line = line.expect("its output is UTF-8");
        writeln!(said, "{line}").expect("a string takes it");
        if let Some(answer) = answer(&line) {
            // A script that has ended early is told by its exit code.
            writeln!(answers, "{answer}").ok();
        }
    }
    let status = browsing.wait().expect("a child can be waited for");
    println!("{said}");
    assert!(status.success(), "{name} ({status}):\n{said}");
}

#[test]
fn the_page_comes_over_https_and_its_feed_over_wss() {
    let Some(parts) = parts("the_page_comes_over_https_and_its_feed_over_wss") else { return };
    let authority = Authority::new();
    authority.sign_valid("feed");
    let market = "[page]\nenabled = true\n[[source]]\nkind = \"synthetic\"\n";
    let gateway = Gateway::configured(&format!("{market}{}", authority.listener("feed")));
    browse(&parts, "secure.mjs", &format!("https://{}/", gateway.secure()), |_| None);
    gateway.stop();
}

#[test]
fn the_market_is_live_legible_and_comes_back_after_a_restart() {
    check_in_browser("the_market_is_live_legible_and_comes_back_after_a_restart", "page.mjs", &[]);
}

#[test]
fn what_is_wrong_with_a_feed_is_marked_and_http_is_the_way_where_websocket_is_blocked() {
    let test = "what_is_wrong_with_a_feed_is_marked_and_http_is_the_way_where_websocket_is_blocked";
    let Some(parts) = parts(test) else { return };
    let gateway = Gateway::demo(&[]);
    browse(&parts, "standing.mjs", &format!("http://{}/", gateway.clients), |_| None);
    gateway.stop();
}

#[test]
fn a_recording_shows_in_the_generic_view_and_is_not_called_synthetic() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page-recording.txt");
    std::fs::write(&file, recording()).expect("a temporary file can be written");
    let test = "a_recording_shows_in_the_generic_view_and_is_not_called_synthetic";
    check_in_browser(test, "recording.mjs", &["--replay", &file.to_string_lossy()]);
}

/// Ten minutes of the shape that an exchange sends: more than the checks need on a slow machine.
fn recording() -> String {
    let mut lines = String::new();
    for tenth in 0..6000_u64 {
        let (time_ms, price) = (1_723_161_255_000 + tenth * 100, 61_800 + tenth % 7);
        for (topic, kind) in
            [("btcusdt@bookTicker", "bookTicker"), ("btcusdt@trade", "trade"), ("btcusdt@depth@0ms", "depthUpdate")]
        {
            let data = format!(
                "{{\"e\":\"{kind}\",\"E\":{time_ms},\"s\":\"BTCUSDT\",\"p\":\"{price}.10\",\"b\":[[\"{price}.00\",\"0.014\"]]}}"
            );
            writeln!(lines, "{time_ms} {{\"stream\":\"{topic}\",\"data\":{data}}}").expect("a string takes it");
        }
    }
    lines
}

/// All that the operator's page is to be right with; most of them hear a topic that nobody publishes on.
const CLIENTS: usize = 10_000;
/// Of them, those that hear the feed and never read.
const STALLED: usize = 40;

#[test]
fn the_operators_page_is_right_with_nobody_ten_thousand_and_a_restart() {
    let Some(parts) = parts("the_operators_page_is_right_with_nobody_ten_thousand_and_a_restart") else { return };
    // Nobody answers pings, and nobody is to be closed for it.
    let toml =
        "[limits]\nidle_ping_ms = 3600000\nstalled_after_ms = 3600000\n[[source]]\nkind = \"synthetic\"\nprefix = \"demo\"\n";
    let mut gateway = Gateway::configured(toml);
    let (clients, admin) = (gateway.clients, gateway.admin);
    let mut members = Vec::new();
    let answered = format!("connected {CLIENTS} {STALLED}");
    browse(&parts, "operator.mjs", &format!("http://{admin}/"), |asked| match asked {
        "ready-for-clients" => {
            members.extend(join(&gateway, "/stream?streams=demo.>", STALLED, Some(4096)));
            members.extend(join(&gateway, "/ws/quiet", CLIENTS - STALLED - 1, None));
            let reader = Raw::upgraded(&gateway, "/stream?streams=demo.>").stream;
            std::thread::spawn(move || std::io::copy(&mut { reader }, &mut std::io::sink()).ok());
            Some(answered.as_str())
        }
        "ready-for-stop" => {
            members.clear();
            gateway.terminate();
            assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
            Some("stopped")
        }
        "ready-for-restart" => {
            gateway = Gateway::configured_at(clients, admin, toml);
            Some("restarted")
        }
        _ => None,
    });
    gateway.stop();
}

#[test]
fn the_operators_page_asks_for_a_key_where_the_port_has_some() {
    let Some(parts) = parts("the_operators_page_asks_for_a_key_where_the_port_has_some") else { return };
    let files = tempfile::TempDir::new().expect("a temporary directory can be made");
    let mut toml = String::new();
    let secret = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef\n");
    for (name, file, good_for) in [
        ("watcher", "watch", "read = true"),
        ("feed", "feed", "publish = [\"md.>\"]"),
        ("chief", "chief", "read = true\nchange = true"),
    ] {
        let path = files.path().join(file);
        std::fs::write(&path, secret(file)).expect("it can be written");
        writeln!(toml, "[[admin.key]]\nname = {name:?}\nsecret_file = {path:?}\n{good_for}").expect("a string takes it");
    }
    toml.push_str("[[source]]\nkind = \"synthetic\"\nprefix = \"demo\"\n");
    let gateway = Gateway::configured(&toml);
    let mut members = Vec::new();
    browse(&parts, "operator_keys.mjs", &format!("http://{}/", gateway.admin), |asked| match asked {
        "ready-for-clients" => {
            members.extend(join(&gateway, "/stream?streams=demo.>", 3, Some(4096)));
            Some("connected")
        }
        "ready-for-new-key" => {
            std::fs::write(files.path().join("watch"), secret("other")).expect("it can be written");
            let said = gateway.reload();
            assert!(!said.contains("all stays as it was"), "{said}");
            Some("changed")
        }
        _ => None,
    });
    gateway.stop();
}

#[test]
fn the_client_and_the_model_hold_without_a_browser() {
    check_without_browser("the_client_and_the_model_hold_without_a_browser", "unit.mjs");
}

#[test]
fn the_operators_page_reckons_right_without_a_browser() {
    check_without_browser("the_operators_page_reckons_right_without_a_browser", "operator_unit.mjs");
}

/// Runs the tests of a script in Node alone.
fn check_without_browser(test: &str, name: &str) {
    if !has_node() {
        let must = std::env::var_os("TIDEGATE_TEST_PARTS").is_some() || std::env::var_os("CI").is_some();
        assert!(!must, "Node is missing; scripts/install-test-parts installs it");
        return skipped(test, "Node is not installed (scripts/test installs it)");
    }
    let ran = Command::new("node").arg("--test").arg(script(name)).output().expect("node starts");
    assert!(ran.status.success(), "{}\n{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}
