//! What a person sees at the start: where things are, and what to type first.

use std::io::{self, Write};
use std::net::SocketAddr;

use crate::config::{Address, Config, Source};

/// Prints it to standard output, which may be closed.
pub(super) fn print(config: &Config, clients: &[Address], admin: Option<SocketAddr>) {
    let text = greeting(config, clients, admin);
    // A closed standard output is no reason not to serve.
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

fn greeting(config: &Config, clients: &[Address], admin: Option<SocketAddr>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = Vec::new();
    lines.push(match config.demo {
        true if !clients.iter().any(Address::is_public) => {
            format!("tidegate {version}, demo mode: no configuration, reachable from this machine only")
        }
        true => format!("tidegate {version}, demo mode: no configuration, REACHABLE FROM OTHER MACHINES"),
        false => format!("tidegate {version}"),
    });
    for (address, listener) in clients.iter().zip(&config.listeners) {
        let path = address.path().map(|path| path.display());
        match (&listener.tls, path) {
            (tls, Some(path)) => {
                lines.push(format!("  clients  {address}"));
                let (key, scheme) = if tls.is_some() { ("-k ", "https") } else { ("", "http") };
                lines.push(format!("           curl {key}--unix-socket {path} {scheme}://localhost/health/ready"));
            }
            (None, None) => lines.push(format!("  clients  ws://{address}")),
            (Some(_), None) => {
                lines.push(format!("  clients  wss://{address}"));
                lines.push(format!(
                    "           curl -k https://{address}/health/ready      (-k: without looking at the certificate)"
                ));
            }
        }
    }
    if let Some(address) = admin {
        lines.push(format!("  admin    http://{address}"));
    }
    if let Some(first) = clients[0].ip().filter(|_| config.demo) {
        let sample = sample_topic(config);
        let url = if first.port() == 8080 { String::new() } else { format!(" ws://{first}") };
        lines.push(String::new());
        lines.push("Try, in another terminal:".to_owned());
        lines.push(format!("  tidegate tail{url} {sample}"));
        lines.push(format!("  echo '{{\"hello\":1}}' | tidegate publish demo.hello --url ws://{first}"));
        lines.push(format!("  page      http://{first}/"));
        lines.push(format!("  websocat 'ws://{first}/stream?streams={sample}'"));
        if sample == TOPIC_UNKNOWN {
            lines.push(format!("  curl http://{first}/topics      (which topics there are)"));
        }
        if let Some(admin) = admin {
            lines.push(format!("  operator  http://{admin}/      (what the gateway does, as plots)"));
            lines.push(format!("  curl -d '{{\"hello\":2}}' http://{admin}/api/topics/demo.hello"));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Stands for a topic that only the recording knows.
const TOPIC_UNKNOWN: &str = "TOPIC";

/// A topic that will have publications soon.
fn sample_topic(config: &Config) -> String {
    match config.sources.first() {
        Some(Source::Synthetic(settings)) => format!("{}.trades.BTC-USD", settings.prefix),
        _ => TOPIC_UNKNOWN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, CertificateFiles, ClientCertificates, Listener, ListenerTls};

    #[test]
    fn demo_mode_is_said_first_and_the_commands_name_the_chosen_port() {
        let address: SocketAddr = "127.0.0.1:4711".parse().expect("an address");
        let text = greeting(&config::demo(), &[address.into()], Some(address));
        assert!(text.lines().next().is_some_and(|line| line.contains("demo mode")), "{text}");
        assert!(text.contains("tidegate tail ws://127.0.0.1:4711 demo.trades.BTC-USD"), "{text}");
        assert!(text.contains("  admin    http://127.0.0.1:4711"), "{text}");
        assert!(text.contains("  operator  http://127.0.0.1:4711/ "), "{text}");
    }

    #[test]
    fn a_listener_with_tls_is_told_with_its_schemes() {
        let files = CertificateFiles { certificate: "a".into(), key: "b".into() };
        let tls = ListenerTls {
            certificate: files,
            sni: Vec::new(),
            client_ca: None,
            client_certificates: ClientCertificates::Required,
        };
        let listener = Listener { tls: Some(tls), ..Listener::default() };
        let config = Config { listeners: vec![listener], ..Config::default() };
        let text = greeting(&config, &["127.0.0.1:4711".parse().expect("an address")], None);
        assert!(text.contains("  clients  wss://127.0.0.1:4711\n"), "{text}");
        assert!(text.contains("curl -k https://127.0.0.1:4711/"), "{text}");
    }

    #[test]
    fn with_a_configuration_only_the_addresses_are_told() {
        let address = "127.0.0.1:4711".parse().expect("an address");
        let text = greeting(&Config::default(), &[address], None);
        assert_eq!(text.lines().count(), 2, "{text}");
        let text = greeting(&config::demo(), &[Address::Unix("/run/a".into())], None);
        assert!(text.contains("  clients  unix:/run/a\n"), "{text}");
        assert!(text.contains("curl --unix-socket /run/a http://localhost/health/ready"), "{text}");
    }
}
