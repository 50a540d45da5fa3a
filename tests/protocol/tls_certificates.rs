//! Certificates of TLS listeners: read again on SIGHUP, and every fault a sentence.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use crate::common::{Authority, Client, Gateway, PATIENCE, PUBLISHING, Secure, certificate_in};

#[test]
fn a_reload_shows_the_new_certificate_to_new_clients_and_drops_nobody() {
    let authority = Authority::new();
    authority.sign_valid("feed");
    let gateway = Gateway::configured(&format!("{PUBLISHING}{}", authority.listener("feed")));
    let config = authority.client_config();
    let first = certificate_in(&authority.path("feed.pem"));
    let mut staying = Secure::upgraded(&gateway, &config, "/ws/t");
    assert_eq!(staying.shown(), first);
    authority.sign_valid("feed");
    let second = certificate_in(&authority.path("feed.pem"));
    assert_ne!(first, second);
    assert!(gateway.reload().contains("the certificates were read again"));
    // A resumed session shows no certificate anew: each asks as a stranger.
    let shown = || {
        let mut fresh = Secure::open(gateway.secure(), &authority.client_config());
        assert!(fresh.ask("/health/live", "").starts_with("HTTP/1.1 200 "));
        fresh.shown()
    };
    let deadline = Instant::now() + PATIENCE;
    while shown() != second {
        assert!(Instant::now() < deadline, "the new certificate is shown");
    }
    // What cannot be used changes nothing, and says so.
    authority.write("feed.key", "nothing");
    let said = gateway.reload();
    assert!(said.contains("all stays as it was: the private key") && said.contains("holds no private key"), "{said}");
    assert_eq!(shown(), second);
    Client::connect(&gateway, "/ws").publish("t", "\"still here\"");
    assert_eq!(staying.frame().map(|frame| frame.payload), Some(b"\"still here\"".to_vec()));
    gateway.stop();
}

/// What `tidegate check` and a start say of a configuration; both end with 2.
fn refusal(authority: &Authority, tls: &str) -> String {
    let file = authority.path("tidegate.toml");
    std::fs::write(&file, format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n{tls}")).expect("it can be written");
    let said = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg(command).arg("--config").arg(&file).output();
        let output = output.expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("tidegate: ")).count(), 1, "one sentence: {said}");
        said
    };
    let (checked, started) = (said("check"), said("serve"));
    assert!(started.ends_with(&checked), "{checked} {started}");
    checked
}

#[test]
fn each_fault_of_a_certificate_is_a_sentence_and_exit_code_2() {
    let authority = Authority::new();
    authority.sign_valid("right");
    authority.sign_valid("other");
    authority.sign("old", &["localhost"], (2020, 2021));
    authority.sign("early", &["localhost"], (3999, 4000));
    authority.write("empty.pem", "");
    let file = |name: &str| authority.path(name).display().to_string();
    let pair = |certificate: &str, key: &str| format!("certificate = {:?}\nkey = {:?}\n", file(certificate), file(key));
    let right = pair("right.pem", "right.key");
    for (tls, named, sentence) in [
        (pair("none.pem", "right.key"), "none.pem", "cannot be read (No such file"),
        (pair("right.pem", "none.key"), "none.key", "cannot be read (No such file"),
        (pair("empty.pem", "right.key"), "empty.pem", "holds no certificate; it must hold PEM"),
        (pair("right.pem", "right.pem"), "right.pem", "holds no private key; it must hold PEM"),
        (pair("right.pem", "other.key"), "other.key", "is not the key of that certificate; name the two files"),
        (pair("old.pem", "old.key"), "old.pem", "expired on Jan  1 00:00:00 2021"),
        (pair("early.pem", "early.key"), "early.pem", "is not valid before Jan  1 00:00:00 3999"),
        (format!("{right}client_ca = {:?}\n", file("empty.pem")), "empty.pem", "holds no certificate"),
        (format!("{right}client_ca = {:?}\n", file("none.pem")), "none.pem", "cannot be read"),
        (format!("{right}[[listener.tls.sni]]\n{}", pair("old.pem", "old.key")), "old.pem", "expired on"),
    ] {
        let said = refusal(&authority, &tls);
        assert!(said.contains(&format!("{} of the listener 127.0.0.1:0 {sentence}", file(named))), "{said}");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_a_warning() {
    let authority = Authority::new();
    authority.sign_valid("feed");
    let config = authority.path("tidegate.toml");
    std::fs::write(&config, authority.listener("feed")).expect("it can be written");
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(authority.path("feed.key"), Permissions::from_mode(mode)).expect("it is ours");
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "--config"]).arg(&config).output();
        let output = output.expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said.contains("can be read by every user of this machine; see to it with: chmod o="), warned, "{said}");
    }
}
