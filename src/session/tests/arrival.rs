//! Who a client is: what its proxy says before its bytes, what its request says, and what names the request.

use super::{Client, rules, upgrade};
use crate::admission::ClientAddress;
use crate::config::{Network, ProxyProtocol};
use crate::metrics::{CloseClass, RefusalReason};
use crate::session::{Effect, Expiry, Introduction, Rules};

const PROXY: &str = "10.0.0.1";

fn behind(proxy_protocol: ProxyProtocol) -> Rules {
    let mut rules = rules();
    rules.nonce = 0xfeed;
    rules.listeners[0].trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    rules.listeners[0].proxy_protocol = proxy_protocol;
    rules
}

fn address(text: &str) -> ClientAddress {
    ClientAddress::Ip(text.parse().expect("an address"))
}

fn from_proxy(proxy_protocol: ProxyProtocol) -> Client {
    Client::at(behind(proxy_protocol), address(PROXY))
}

impl Client {
    fn introduce(&mut self, bytes: &[u8]) -> Introduction {
        let moment = self.moment();
        self.session.receive_proxy(bytes, address(PROXY), &self.rules, moment)
    }

    /// Answers what the session asks once a head is whole.
    fn whose(&mut self, request: &str) -> ClientAddress {
        assert!(matches!(self.say(request.as_bytes()), Some(Effect::Asked)), "{request}");
        self.session.address_asked(&self.rules)
    }

    fn proceed(&mut self) -> String {
        let moment = self.moment();
        assert!(self.session.proceed(&self.rules, moment).is_none(), "it answers by itself");
        String::from_utf8(self.take_owed()).expect("an answer is text")
    }
}

#[test]
fn only_a_trusted_proxy_speaks_first() {
    for (proxy_protocol, from, first) in [
        (ProxyProtocol::Off, PROXY, false),
        (ProxyProtocol::Optional, PROXY, true),
        (ProxyProtocol::Required, PROXY, true),
        (ProxyProtocol::Optional, "192.0.2.1", false),
        (ProxyProtocol::Optional, "::ffff:10.0.0.1", true),
    ] {
        assert_eq!(Client::at(behind(proxy_protocol), address(from)).session.awaits_proxy(), first, "{proxy_protocol:?} {from}");
    }
}

#[test]
fn whom_the_proxy_names_is_who_asks() {
    let mut client = from_proxy(ProxyProtocol::Required);
    assert_eq!(client.introduce(b"PROXY TCP4 192.0"), Introduction::Taken);
    let rest = b".2.7 10.0.0.1 4711 80\r\nGET";
    let named = Some("192.0.2.7:4711".parse().expect("an address"));
    assert_eq!(client.introduce(rest), Introduction::Over { client: named, kept: Vec::new(), consumed: rest.len() - 3 });
    // It is no proxy of ours, so whom it names counts for nothing.
    let request = upgrade("/ws", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(client.whose(&request), address("192.0.2.7"));
    assert!(client.proceed().starts_with("HTTP/1.1 101 "));
}

#[test]
fn each_request_on_a_proxys_connection_is_its_own_clients() {
    let mut client = from_proxy(ProxyProtocol::Off);
    for named in ["192.0.2.7", "192.0.2.8"] {
        let request = format!("GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {named}\r\n\r\n");
        assert_eq!(client.whose(&request), address(named));
        assert!(client.proceed().contains("\r\nConnection: keep-alive\r\n"));
    }
    assert_eq!(client.whose(&upgrade("/ws", "")), address(PROXY), "it speaks for itself");
}

#[test]
fn who_may_only_speak_first_need_not() {
    let mut client = from_proxy(ProxyProtocol::Optional);
    assert_eq!(client.introduce(b"PRO"), Introduction::Taken);
    assert_eq!(client.introduce(b"PFIND"), Introduction::Over { client: None, kept: b"PRO".to_vec(), consumed: 0 });
    let mut client = from_proxy(ProxyProtocol::Required);
    assert_eq!(client.introduce(b"GET /ws HTTP/1.1\r\n"), Introduction::Taken);
    let answer = String::from_utf8(client.take_owed()).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("does not begin with a PROXY header"), "{answer}");
    assert_eq!(client.session.take_refusal(), Some(RefusalReason::Proxy));
}

#[test]
fn nobody_behind_a_proxy_publishes_as_from_this_machine() {
    for header in ["PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "PROXY UNKNOWN\r\n"] {
        let mut rules = behind(ProxyProtocol::Optional);
        rules.listeners[0].trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        let mut client = Client::at(rules, address("127.0.0.1"));
        client.introduce(header.as_bytes());
        client.whose(&upgrade("/publish/pub.a", ""));
        assert!(client.proceed().starts_with("HTTP/1.1 403 "), "{header}");
    }
}

/// A Unix socket's other end has no address: what is trusted there is the word `unix` and nothing that a request could name.
#[test]
fn whom_a_proxy_at_a_unix_socket_names_is_who_asks() {
    let at_unix = |trusted: &[Network]| {
        let mut rules = behind(ProxyProtocol::Off);
        rules.listeners[0].trusted_proxies = trusted.to_vec();
        Client::at(rules, ClientAddress::Unix)
    };
    let mut client = at_unix(&[Network::Unix]);
    assert_eq!(client.whose(&upgrade("/ws", "X-Forwarded-For: 10.0.0.9, 192.0.2.7\r\n")), address("192.0.2.7"));
    assert_eq!(at_unix(&[Network::Unix]).whose(&upgrade("/ws", "X-Forwarded-For: unix\r\n")), ClientAddress::Unix);
    assert_eq!(at_unix(&[Network::Unix]).whose(&upgrade("/ws", "X-Forwarded-For: ::, 127.0.0.1\r\n")), address("127.0.0.1"));
    // Nobody is trusted: nothing is asked, and nobody believed.
    assert!(at_unix(&[]).say(upgrade("/ws", "X-Forwarded-For: 192.0.2.7\r\n").as_bytes()).is_none());
}

#[test]
fn who_comes_by_a_unix_socket_is_on_this_machine_unless_proxies_connect_there() {
    for (trusted, status) in [(vec![], "101"), (vec![Network::Unix], "403")] {
        let mut rules = rules();
        rules.listeners[0].trusted_proxies = trusted;
        let mut client = Client::at(rules, ClientAddress::Unix);
        let mut answer = String::new();
        match client.say(upgrade("/publish/pub.a", "").as_bytes()) {
            Some(Effect::Asked) => answer = client.proceed(),
            _ => answer.push_str(&String::from_utf8(client.take_owed()).expect("text")),
        }
        assert_eq!(&answer[9..12], status);
    }
}

#[test]
fn a_proxy_that_says_nothing_is_reset_and_one_that_only_looks_is_nobody() {
    let mut client = from_proxy(ProxyProtocol::Required);
    client.introduce(b"PROXY");
    let due_us = client.session.deadline_us(&client.rules);
    assert_eq!(due_us, u64::from(client.rules.limits.proxy_timeout_ms) * 1000);
    client.now_us = due_us;
    let moment = client.moment();
    assert_eq!(client.session.expire(&client.rules, moment), Expiry::Reset);
    assert_eq!(client.session.take_refusal(), Some(RefusalReason::Timeout));
    for proxy_protocol in [ProxyProtocol::Required, ProxyProtocol::Off] {
        let mut client = from_proxy(proxy_protocol);
        client.session.ended_by_peer(1);
        assert_eq!(client.session.close_class(), Some(CloseClass::Normal));
    }
}

#[test]
fn every_answer_names_its_request() {
    let answered = |request: &str| {
        let mut client = from_proxy(ProxyProtocol::Off);
        client.whose(request);
        client.proceed()
    };
    assert!(answered(&upgrade("/ws", "X-Request-ID: a-1\r\n")).contains("\r\nX-Request-Id: a-1\r\n"));
    assert!(answered(&upgrade("/nothing", "X-Request-ID: a-1\r\n")).contains("\r\nX-Request-Id: a-1\r\n"));
    let ours = answered(&upgrade("/ws", "X-Request-ID: a 1\r\n"));
    assert!(ours.contains("\r\nX-Request-Id: 000000000000feed-7\r\n"), "{ours}");
}

#[test]
fn who_is_turned_away_is_told_when_to_come_again() {
    let mut client = from_proxy(ProxyProtocol::Off);
    client.whose(&upgrade("/ws", ""));
    client.session.turn_away(429, "too many", 5);
    let answer = String::from_utf8(client.take_owed()).expect("text");
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    assert!(client.session.is_ending());
}

#[test]
fn all_is_below_the_prefix_but_health_which_is_at_both_places() {
    let status = |path: &str| {
        let mut rules = rules();
        rules.listeners[0].path_prefix = "/md".into();
        let mut client = Client::new(rules);
        assert!(client.say(upgrade(path, "").as_bytes()).is_none());
        String::from_utf8(client.take_owed()).expect("text")[9..12].to_owned()
    };
    let found = ["/md/ws", "/md/echo", "/md/health/live", "/health/live", "/md", "/md/", "/ws", "/", "/mdx/ws"].map(status);
    assert_eq!(found, ["101", "101", "200", "200", "404", "200", "404", "404", "404"]);
}
