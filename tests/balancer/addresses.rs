//! Whom a balancer speaks for: seen from outside by the bound on the clients of one address, which is one here.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::{Authority, Gateway, PATIENCE, PUBLISHING, Raw, Secure};
use crate::parts::{Balancer, connect_from, haproxy, nginx};

/// One client of an address at a time, wherever it comes from.
pub(crate) const ONE_EACH: &str = "[arrivals]\nper_address_max = 1\nexempt = []\n";

fn gateway(listener: &str) -> Gateway {
    Gateway::of_one_shard(listener, &format!("{PUBLISHING}{ONE_EACH}"))
}

fn haproxy_to(test: &str, gateway: SocketAddr, mode: &str, send: &str) -> Option<Balancer> {
    let options = if mode == "http" { "  option forwardfor\n" } else { "" };
    haproxy(test, &format!("listen all\n  mode {mode}\n{options}  bind {{address}}\n  server one {gateway} {send}\n"))
}

const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Two clients of one address are one too many, those of two are not; and each is a WebSocket that hears what is published.
pub(crate) fn holds_each_address_to_its_own(gateway: &Gateway, balancer: &Balancer, path: &str) {
    let mut one = connect_from(2, balancer.address);
    assert_eq!(one.handshake(path, &[]).status, 101);
    // Only now: a proxy introduces its client as soon as that connects.
    let mut again = connect_from(2, balancer.address);
    let refused = again.handshake(path, &[]);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some_and(|after| (1..=5).contains(&after.parse().unwrap_or(0))), "{refused:?}");
    let mut other = connect_from(3, balancer.address);
    assert_eq!(other.handshake(path, &[]).status, 101);
    gateway.publish("md.a", "1");
    assert_eq!([one.text(), other.text()], ["1", "1"]);
    // The place of one that leaves is free again.
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    while connect_from(2, balancer.address).handshake(path, &[]).status != 101 {
        assert!(Instant::now() < deadline, "its place is not free again");
    }
}

#[test]
fn haproxy_names_its_clients_by_the_proxy_protocol() {
    for (mode, send) in [("tcp", "send-proxy-v2"), ("tcp", "send-proxy"), ("http", "send-proxy-v2")] {
        let gateway = gateway("proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1\"]\n");
        let Some(balancer) = haproxy_to("haproxy by PROXY", gateway.clients, mode, send) else { return };
        holds_each_address_to_its_own(&gateway, &balancer, "/ws/md.a");
    }
}

#[test]
fn haproxy_names_its_clients_in_their_requests() {
    let gateway = gateway("trusted_proxies = [\"127.0.0.1\"]\n");
    let Some(balancer) = haproxy_to("haproxy by X-Forwarded-For", gateway.clients, "http", "") else { return };
    holds_each_address_to_its_own(&gateway, &balancer, "/ws/md.a");
    // What a client claims stands left of what the proxy saw.
    let mut own = connect_from(4, balancer.address);
    assert_eq!(own.handshake("/ws/md.a", &[]).status, 101);
    let mut forger = connect_from(4, balancer.address);
    assert_eq!(forger.handshake("/ws/md.a", &[("X-Forwarded-For", "192.0.2.77")]).status, 429);
}

#[test]
fn nginx_names_its_clients_in_their_requests() {
    for (header, value, field) in [
        ("X-Forwarded-For", "$proxy_add_x_forwarded_for", ""),
        ("Forwarded", "\"for=$remote_addr;proto=http\"", "forwarded_header = \"forwarded\"\n"),
    ] {
        let gateway = gateway(&format!("trusted_proxies = [\"127.0.0.1\"]\npath_prefix = \"/feed\"\n{field}"));
        let location = format!(
            "    location /feed/ {{\n      proxy_pass http://{};\n      proxy_http_version 1.1;\n      proxy_set_header Upgrade \
             $http_upgrade;\n      proxy_set_header Connection upgrade;\n      proxy_set_header {header} {value};\n    }}",
            gateway.clients
        );
        let Some(balancer) = nginx("nginx by X-Forwarded-For", &location) else { return };
        holds_each_address_to_its_own(&gateway, &balancer, "/feed/ws/md.a");
    }
}

#[test]
fn a_tls_connection_passed_through_is_introduced_before_its_handshake() {
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1\"]\n[listener.tls]\n{}",
        authority.keys("server")
    );
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}{ONE_EACH}{tls}"));
    let Some(balancer) = haproxy_to("TLS through haproxy", gateway.secure(), "tcp", "send-proxy-v2") else { return };
    // Who looked whether the balancer listens came from another address, and may not be gone yet.
    let mut client = Secure::of(connect_from(2, balancer.address).stream, &authority.client_config());
    assert!(client.ask("/ws/md.a", UPGRADE).starts_with("HTTP/1.1 101 "));
    gateway.publish("md.a", "1");
    assert_eq!(client.frame().expect("a frame").payload, b"1");
    // The second of its address is cut off before its handshake: nothing can be said to it.
    let mut again = connect_from(2, balancer.address);
    assert!(matches!(again.stream.read(&mut [0; 1]), Ok(0) | Err(_)), "not a byte comes");
}

#[test]
fn who_is_no_proxy_does_not_get_in_by_saying_so() {
    let required = gateway("proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.9\"]\n");
    let header = "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n";
    let mut stranger = Raw::open(required.clients);
    stranger.send(format!("{header}GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    // The reset may have met what it sent already.
    assert!(matches!(stranger.stream.read(&mut [0; 1]), Ok(0) | Err(_)), "not a byte comes");
    assert_eq!(required.counter("refusals"), 1);
    let mut proxy = connect_from(9, required.clients);
    proxy.send(format!("{header}GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(proxy.response().status, 200);
    let mut mute = connect_from(9, required.clients);
    mute.send("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = mute.response();
    assert!(answer.status == 400 && answer.text().contains("does not begin with a PROXY header"), "{answer:?}");
    let optional = gateway("proxy_protocol = \"optional\"\ntrusted_proxies = [\"127.0.0.9\"]\n");
    let mut stranger = Raw::open(optional.clients);
    stranger.send(format!("{header}GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(stranger.response().status, 400, "its header is no request");
}

/// As docs/operations/balancers.md has it.
#[test]
fn haproxys_health_checks_are_nobody_and_write_nothing() {
    let gateway = gateway("proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let sections = format!(
        "frontend clients\n  mode tcp\n  bind {{address}}\n  default_backend gateways\nbackend gateways\n  mode tcp\n  option httpchk \
         GET /health/ready\n  server one {} check inter 50ms fastinter 50ms send-proxy-v2 check-send-proxy\n",
        gateway.clients
    );
    let Some(balancer) = haproxy("haproxy's health checks", &sections) else { return };
    let checked = gateway.counter("accepts") + 20;
    let deadline = Instant::now() + PATIENCE;
    while gateway.counter("accepts") < checked {
        assert!(Instant::now() < deadline, "there are no checks");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut client = connect_from(2, balancer.address);
    assert_eq!(client.handshake("/ws/md.a", &[]).status, 101, "the node is taken to be up");
    assert_eq!(gateway.counter("refusals"), 0);
    assert_eq!(gateway.said().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count(), 0);
}
