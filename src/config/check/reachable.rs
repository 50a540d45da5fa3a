//! What is risky about who can reach the gateway.

use super::super::{Config, ForwardedHeader, Listener, ProxyProtocol, PublishAllow, SocketMode};
use super::{admitted, is_everyone};

pub(super) fn reachable(config: &Config, found: &mut Vec<String>) {
    public(config, found);
    of_this_machine(config, found);
    proxied(config, found);
    admitted(config, found);
    if config.publish.allow == PublishAllow::Loopback && !config.asks_for_rights() {
        found.push(
            "Clients on this machine may publish. A proxy on this machine that adds no X-Forwarded-For or \
            Forwarded header makes every client one of them; see that yours adds it."
                .into(),
        );
    } else if !config.publish.topics.is_empty() && !config.asks_for_rights() {
        found.push("publish.topics has no effect while publish.allow is \"nobody\".".into());
    }
    if config.admin.enabled && !config.admin.address.ip().is_loopback() {
        found.push(format!(
            "{}, the admin port, is reachable from other machines and speaks plain HTTP: its keys and what is published can be read on the way; end \
            TLS before it, or keep it within a network.",
            config.admin.address
        ));
    }
    for key in config.admin.keys.iter().filter(|key| key.publish.is_empty() && !key.read && !key.change) {
        found.push(format!("admin.key {} is good for nothing: give it publish, read or change.", key.name));
    }
    if !config.admin.enabled {
        found.push("There is no [admin]: no metrics, no health on a port of its own, no publishing over HTTP.".into());
    }
    if config.sources.is_empty() && !config.admin.enabled && config.publish.allow == PublishAllow::Nobody {
        found.push(
            "Nothing can publish: there is no [[source]], no [admin] and no [publish], so subscribers will wait for ever.".into(),
        );
    }
}

/// What other machines can connect to.
fn public(config: &Config, found: &mut Vec<String>) {
    let public: Vec<_> = config.listeners.iter().filter(|listener| listener.address.is_public()).collect();
    let (heard, remedy) = match config.asks_for_rights() {
        true => ("clients' tokens among it", ""),
        false => ("and everyone may subscribe to every topic", " ([tokens] say who may)"),
    };
    for listener in &public {
        let address = &listener.address;
        match &listener.tls {
            None => found.push(format!(
                "{address} is reachable from other machines and speaks plain TCP: everyone on the way can read and change what is \
                 sent, {heard}{remedy}; add [listener.tls], or end TLS before it and let only the balancer in."
            )),
            Some(tls) if tls.client_ca.is_none() && !config.asks_for_rights() => found.push(format!(
                "{address} is reachable from other machines: everyone may subscribe to every topic; say who may by [tokens], or name a \
                 client_ca below [listener.tls] where only some should."
            )),
            Some(_) => {}
        }
    }
    if config.drain.window_ms == 0 && !public.is_empty() {
        found.push(
            "drain.window_ms is 0: at a stop all clients are closed at once, and come back at once to whoever is left; 20000 spreads \
            them over 20 s."
                .into(),
        );
    }
    if config.echo.enabled && !public.is_empty() {
        found.push(
            "/echo is open to other machines: whoever connects can make the gateway send as much as they \
            do; switch it off unless a test needs it."
                .into(),
        );
    }
}

/// What holds for listeners of one kind only.
fn of_this_machine(config: &Config, found: &mut Vec<String>) {
    for Listener { address, mode, hosts, .. } in &config.listeners {
        let is_unix = address.path().is_some();
        if is_unix && mode.is_everyones() {
            found.push(format!(
                "{address} has the mode {mode}: every user and program of this machine may connect; 0660 lets this user and its group in."
            ));
        }
        if !is_unix && *mode != SocketMode::default() {
            found.push(format!("mode of {address} is not looked at, since it is no Unix socket; remove it."));
        }
        if !hosts.is_empty() && !address.is_loopback() {
            found.push(format!("hosts of {address} are not looked at, since the address is not loopback; remove them."));
        }
    }
}

/// Whose word on whom they speak for is taken.
fn proxied(config: &Config, found: &mut Vec<String>) {
    for listener in config.listeners.iter().filter(|listener| !listener.trusted_proxies.is_empty()) {
        if listener.proxy_protocol == ProxyProtocol::Off {
            found.push(format!(
                "{} has trusted_proxies with proxy_protocol off: whoever they let through is taken to be who their {} says; see \
                that each of them writes it.",
                listener.address,
                match listener.forwarded_header {
                    ForwardedHeader::XForwardedFor => "X-Forwarded-For",
                    ForwardedHeader::Forwarded => "Forwarded",
                }
            ));
        }
        if is_everyone(&listener.trusted_proxies) {
            found.push(format!(
                "trusted_proxies of {} hold every address: any client can say that it is another; name the balancers only.",
                listener.address
            ));
        }
    }
}
