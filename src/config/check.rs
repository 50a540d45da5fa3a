//! What a configuration puts in force, and what in it is risky, for `tidegate check`.

mod reachable;

use std::fmt::Write;

use super::forms::covers;
use super::{
    Address, AdminKey, Arrivals, ClientCertificates, Config, Drain, ForwardedHeader, JournalFlush, KeySetPlace, Limits, Listener,
    ListenerTls, Network, ProxyProtocol, PublishAllow, Replay, Shards, Slow, Source, Speed, Topic, TopicJournal, TopicKind,
    Upstream, WebSocketUrl,
};

/// What is in force, one line for each part.
#[must_use]
pub fn in_force(config: &Config) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for listener in &config.listeners {
        let carrier = match (&listener.tls, &listener.address) {
            (Some(settings), _) => tls(settings),
            (None, Address::Ip(_)) => "plain TCP".into(),
            (None, Address::Unix(_)) => format!("plain, mode {}", listener.mode),
        };
        let allowed = allowed(&listener.hosts, &listener.origins);
        lines.push(("clients", format!("{} ({carrier}), {allowed}{}", listener.address, proxies(listener))));
    }
    let compressing = config.listeners.iter().filter(|listener| listener.permessage_deflate);
    let compressing: Vec<String> = compressing.map(|listener| listener.address.to_string()).collect();
    let offered = if compressing.is_empty() { "off".into() } else { format!("offered at {}", compressing.join(", ")) };
    lines.push(("compression", offered));
    let admin = &config.admin;
    lines.push(("admin", if admin.enabled { format!("{}{}", admin.address, admin_keys(&admin.keys)) } else { "off".into() }));
    for source in &config.sources {
        lines.push(("feed", feed(source)));
    }
    if config.sources.is_empty() {
        lines.push(("feed", "none".into()));
    }
    lines.push(("tokens", tokens(config)));
    lines.push(("publishing", publishing(config)));
    lines.push(("echo, page", format!("{}, {}", on_or_off(config.echo.enabled), on_or_off(config.page.enabled))));
    for topic in &config.topics {
        lines.push(("topics", ring(topic, &topic.pattern)));
    }
    let others = if config.topics.is_empty() { "all" } else { "all others" };
    lines.push(("topics", ring(&Topic::default(), others)));
    if config.topics.iter().any(|topic| topic.journal.is_some()) {
        lines.push(("journal", config.journal.directory.display().to_string()));
    }
    lines.push(("shards", shards(&config.shards)));
    lines.push(("arrivals", differing(&config.arrivals, &Arrivals::default())));
    for Listener { address, arrivals, .. } in &config.listeners {
        let own = arrivals.as_ref().map(|own| format!("by themselves at {address}: {}", differing(own, &Arrivals::default())));
        lines.extend(own.map(|own| ("arrivals", own)));
    }
    lines.push(("drain", drain(&config.drain)));
    if let Some(socket) = &config.takeover.socket {
        lines.push(("takeover", socket.display().to_string()));
    }
    lines.push(("limits", differing(&config.limits, &Limits::default())));
    lines.push(("slow clients", slow_clients(&config.limits)));
    lines.push(("log", format!("{:?}, {:?}", config.log.format, config.log.level).to_lowercase()));
    let mut text = String::new();
    for (name, line) in lines {
        writeln!(text, "{name:<13} {line}").expect("writing to a String cannot fail");
    }
    text
}

fn proxies(listener: &Listener) -> String {
    let prefix = &listener.path_prefix;
    let below = if prefix.is_empty() { String::new() } else { format!(", all below {prefix}") };
    if listener.trusted_proxies.is_empty() {
        return below;
    }
    let trusted: Vec<String> = listener.trusted_proxies.iter().map(ToString::to_string).collect();
    let told = match (listener.proxy_protocol, listener.forwarded_header) {
        (ProxyProtocol::Required, _) => "a PROXY header each",
        (ProxyProtocol::Optional, _) => "PROXY headers",
        (ProxyProtocol::Off, ForwardedHeader::XForwardedFor) => "X-Forwarded-For",
        (ProxyProtocol::Off, ForwardedHeader::Forwarded) => "Forwarded",
    };
    format!("{below}, {told} from {}", trusted.join(", "))
}

fn tls(tls: &ListenerTls) -> String {
    let mut line = format!("TLS, certificate {}", tls.certificate.certificate.display());
    for files in &tls.sni {
        line.push_str(&format!(", by name {}", files.certificate.display()));
    }
    if let Some(authority) = &tls.client_ca {
        let demand = match tls.client_certificates {
            ClientCertificates::Required => "required",
            ClientCertificates::Optional => "taken",
        };
        line.push_str(&format!(", clients' certificates of {} {demand}", authority.display()));
    }
    line
}

fn allowed(hosts: &[String], origins: &[String]) -> String {
    let origins = if origins.is_empty() {
        "pages of the same host".into()
    } else {
        format!("pages of the same host, {}", origins.join(", "))
    };
    if hosts.is_empty() { origins } else { format!("{origins}; hosts {}", hosts.join(", ")) }
}

fn admin_keys(keys: &[AdminKey]) -> String {
    let rights = |key: &AdminKey| {
        let publish = (!key.publish.is_empty()).then(|| format!("publish on {}", key.publish.join(", ")));
        let rights = [publish, key.read.then(|| "read".into()), key.change.then(|| "change".into())];
        format!("{} ({})", key.name, rights.into_iter().flatten().collect::<Vec<_>>().join(", "))
    };
    if keys.is_empty() {
        String::new()
    } else {
        format!(", by keys only: {}", keys.iter().map(rights).collect::<Vec<_>>().join("; "))
    }
}

fn feed(source: &Source) -> String {
    match source {
        Source::Synthetic(s) => {
            format!("synthetic market {}.>, {} publications a second, seed {}", s.prefix, s.publications_per_second, s.seed)
        }
        Source::Replay(replay) => {
            let payload = replay.payload.as_deref().unwrap_or("the whole message");
            let speed = match replay.speed {
                Speed::Times(times) => format!("{times} x the recorded pace"),
                Speed::Max => "as fast as subscribers keep up".into(),
            };
            let repeat = if replay.repeat { "again and again" } else { "once" };
            format!("replay of {} to {}, payload {payload}, {speed}, {repeat}", replay.file.display(), replay.topic)
        }
        Source::Upstream(upstream) => {
            let urls: Vec<String> = upstream.urls.iter().map(ToString::to_string).collect();
            let payload = upstream.payload.as_deref().unwrap_or("the whole message");
            let sequences = upstream.sequences.iter().map(|sequence| format!(", {} by {:?}", sequence.topics, sequence.rule));
            let sequences: String = sequences.collect();
            format!("upstream {} to {}, payload {payload}{sequences}", urls.join(" and "), upstream.topic)
        }
    }
}

fn tokens(config: &Config) -> String {
    let keys: Vec<String> = config.tokens.keys.iter().map(|key| format!("{:?} {}", key.algorithm, key.file.display())).collect();
    let keys: Vec<String> =
        keys.into_iter().chain(config.tokens.key_set_place().map(|place| format!("those at {place}"))).collect();
    let taken = if keys.is_empty() { "none are taken".into() } else { format!("keys {}", keys.join(", ")) };
    let taken = match &config.callout {
        Some(callout) => format!("{taken}; {} is asked about each client", callout.url.split('?').next().unwrap_or_default()),
        None => taken,
    };
    let anonymous = match &config.anonymous {
        Some(anonymous) if anonymous.subscribe.is_empty() => "nothing is heard without one".into(),
        Some(anonymous) => format!("without one {} is heard", anonymous.subscribe.join(", ")),
        None if !config.asks_for_rights() => "everything is heard without one".into(),
        None => "nothing is heard without one".into(),
    };
    format!("{taken}; {anonymous}")
}

fn publishing(config: &Config) -> String {
    let anonymous = config.anonymous.as_ref().map_or(&[][..], |anonymous| &anonymous.publish);
    if !anonymous.is_empty() {
        return format!("by whoever connects to {}", anonymous.join(", "));
    }
    if config.asks_for_rights() {
        return "by clients whose token says so, or the callout".into();
    }
    match config.publish.allow {
        PublishAllow::Nobody => "by nobody over WebSocket".into(),
        PublishAllow::Loopback => format!("by clients on this machine to {}", config.publish.topics.join(", ")),
    }
}

fn on_or_off(enabled: bool) -> &'static str {
    if enabled { "on" } else { "off" }
}

fn ring(topic: &Topic, pattern: &str) -> String {
    let kind = format!("{:?}", topic.kind).to_lowercase();
    let flush = if topic.flush_us > 0 { format!(", flushed every {} us", topic.flush_us) } else { String::new() };
    let held = bytes(topic.ring_bytes.into());
    let journal = topic.journal.map(journal).unwrap_or_default();
    format!("{pattern}: {kind}, ring of {} publications or {held}{flush}{journal}", topic.ring_publications)
}

fn journal(journal: TopicJournal) -> String {
    let flush = match journal.flush {
        JournalFlush::EveryMs(every_ms) => format!("on disk every {every_ms} ms"),
        JournalFlush::Always => "on disk before it is delivered".into(),
    };
    format!(", journal {flush}, {} or {} s kept", bytes(journal.keep_bytes), journal.keep_s)
}

fn shards(shards: &Shards) -> String {
    let count = shards.count.map_or("one per core".into(), |count| count.to_string());
    let pinned = if shards.pin { "pinned" } else { "not pinned" };
    let buffers = bytes(u64::from(shards.receive_buffers) * u64::from(shards.receive_buffer_bytes));
    let differing = differing(&Shards { count: None, ..shards.clone() }, &Shards::default());
    format!("{count}, {pinned}, {buffers} of receive buffers each; {differing}")
}

/// The settings that are not the default ones.
fn differing<T: serde::Serialize>(settings: &T, default: &T) -> String {
    let table = |settings: &T| toml::Table::try_from(settings).expect("settings are a table of numbers and flags");
    let (settings, default) = (table(settings), table(default));
    let changed = settings.iter().filter(|(name, value)| default.get(*name) != Some(value));
    let changed: Vec<String> = changed.map(|(name, value)| format!("{name} = {value}")).collect();
    if changed.is_empty() { "defaults".into() } else { format!("{}, others default", changed.join(", ")) }
}

fn drain(drain: &Drain) -> String {
    let Drain { delay_ms, window_ms } = drain;
    match (delay_ms, window_ms) {
        (0, 0) => "none: a stop closes all clients at once".into(),
        _ => format!("{delay_ms} ms not ready while clients are taken, then closing them over {window_ms} ms"),
    }
}

fn slow_clients(limits: &Limits) -> String {
    let kernel = u64::from(limits.connections_max) * u64::from(limits.send_unsent_bytes_max);
    let torn = bytes(limits.torn_bytes_max.into());
    let kernel = bytes(kernel);
    let sealed = bytes(u64::from(limits.connections_max) * u64::from(limits.tls_visit_bytes_max));
    format!(
        "at most {kernel} unsent in the kernel, at most {torn} of unfinished frames a shard, with TLS at most {sealed} sealed"
    )
}

fn bytes(count: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if count >= 1 << shift {
            #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
            let number = (count as f64) / (1u64 << shift) as f64;
            return if number.fract() == 0.0 { format!("{number} {unit}") } else { format!("{number:.1} {unit}") };
        }
    }
    format!("{count} bytes")
}

/// What is risky in it, one sentence each.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    reachable::reachable(config, &mut found);
    feeds(config, &mut found);
    topics(config, &mut found);
    bounds(config, &mut found);
    found
}

/// Who may do what without a token.
fn admitted(config: &Config, found: &mut Vec<String>) {
    if config.asks_for_rights() && config.publish.allow != PublishAllow::Nobody {
        found.push(
            "[publish] has no effect, as rights are asked for ([tokens], [callout]): who may publish is there, and in [anonymous]."
                .into(),
        );
    }
    if let Some(KeySetPlace::Url(url)) = config.tokens.key_set_place()
        && !url.is_secure()
        && !is_loopback(url.name())
    {
        found.push(format!("tokens.jwks at {url} comes over plain TCP: everyone on the way can make tokens; use https://."));
    }
    let anonymous = config.anonymous.as_ref().map_or(&[][..], |anonymous| &anonymous.publish);
    if !anonymous.is_empty() {
        let topics = anonymous.join(", ");
        found.push(format!(
            "[anonymous] publish is {topics}: whoever connects may publish there, without a token and from anywhere."
        ));
    }
}

fn is_everyone(networks: &[Network]) -> bool {
    networks.iter().any(|network| matches!(network, Network::Ip(network) if network.prefix_len() == 0))
}

fn feeds(config: &Config, found: &mut Vec<String>) {
    let live = config.sources.len() > 1 || config.admin.enabled || config.publish.allow != PublishAllow::Nobody;
    for source in &config.sources {
        match source {
            Source::Synthetic(s) => found.push(format!(
                "{}.> is made up; its payloads say so (\"demo\":true), its topics' names do not have to.",
                s.prefix
            )),
            Source::Replay(Replay { file, speed, repeat, .. }) => {
                let file = file.display();
                if *speed == Speed::Max && live {
                    found.push(format!(
                        "The replay of {file} runs at speed \"max\" beside other sources or \
                        publishers: it takes all that subscribers can take, and they wait behind it; use it for \
                        tests and benchmarks only."
                    ));
                }
                if *repeat {
                    found.push(format!(
                        "The replay of {file} begins again at its end: old prices come again as if they were new."
                    ));
                }
            }
            Source::Upstream(upstream) => upstream_feed(upstream, found),
        }
    }
    for (i, source) in config.sources.iter().enumerate() {
        if config.sources[..i].contains(source) {
            found.push(format!("Source {} is the same as an earlier one: everything is published twice.", i + 1));
        }
    }
}

fn upstream_feed(upstream: &Upstream, found: &mut Vec<String>) {
    for url in upstream.urls.iter().filter(|url| !url.secure && !is_this_machine(url)) {
        found.push(format!(
            "{url} speaks plain TCP: everyone on the way can change what it publishes here; use wss:// if it can."
        ));
    }
    if upstream.sequences.is_empty() {
        let more = match upstream.urls.len() {
            1 => "",
            _ => ", and messages are taken from one of its urls at a time",
        };
        found.push(format!(
            "The feed from {} has no [[source.sequence]]: what it loses while its connection stays is not seen{more}.",
            upstream.urls[0]
        ));
    }
}

fn is_this_machine(url: &WebSocketUrl) -> bool {
    is_loopback(url.name())
}

fn is_loopback(name: &str) -> bool {
    let name = name.trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn topics(config: &Config, found: &mut Vec<String>) {
    for (i, topic) in config.topics.iter().enumerate() {
        if let Some(earlier) = config.topics[..i].iter().find(|earlier| covers(&earlier.pattern, &topic.pattern)) {
            found.push(format!(
                "The settings of topics {} are never used: {} comes first and matches all of them; put the \
                    narrower pattern first.",
                topic.pattern, earlier.pattern
            ));
        }
        if topic.kind == TopicKind::Log && topic.slow_allowed.contains(&Slow::Drop) {
            found.push(format!(
                "Subscribers of topics {} may be dropped from (slow_allowed), and it is of kind \"log\", where every publication counts: a \
                    book or a count that is kept from it is wrong after each gap, unless its reader minds the gap notice.",
                topic.pattern
            ));
        }
        if topic.ring_bytes < config.limits.publication_bytes_max {
            found.push(format!(
                "The ring of topics {} ({} bytes) is smaller than the largest publication ({} bytes): after one \
                    of those only subscribers that have it all keep their connection; raise ring_bytes or lower \
                    publication_bytes_max.",
                topic.pattern, topic.ring_bytes, config.limits.publication_bytes_max
            ));
        }
    }
}

fn bounds(config: &Config, found: &mut Vec<String>) {
    let (limits, shards) = (&config.limits, &config.shards);
    if config.topics.is_empty() && Topic::default().ring_bytes < limits.publication_bytes_max {
        found.push(
            "limits.publication_bytes_max is above the default ring_bytes: a single publication can push \
            everything else out of its ring; set ring_bytes in a [[topic]] with pattern \">\"."
                .into(),
        );
    }
    // Each topic's log and one more encoding, on each shard.
    let largest = config.topics.iter().chain([&Topic::default()]).map(|topic| topic.ring_bytes).max().unwrap_or(0);
    let count = u64::from(shards.count.unwrap_or(1));
    let product = u64::from(limits.topics_max).saturating_mul(u64::from(largest)).saturating_mul(2 * count);
    if (1..product).contains(&limits.memory_bytes_max) {
        found.push(format!(
            "2 rings of {} (the largest ring_bytes; the log and one more encoding) x {} topics (topics_max) x {count} shards are {}, and \
            limits.memory_bytes_max is {}: once it is reached, nobody more is let in; lower ring_bytes or topics_max, or raise it.",
            bytes(largest.into()),
            limits.topics_max,
            bytes(product),
            bytes(limits.memory_bytes_max)
        ));
    }
    if limits.idle_ping_ms / 5 * 6 >= 60_000 {
        found.push(
            "limits.idle_ping_ms with its 20 % of jitter is not below 60 s, after which most load \
            balancers cut a silent connection."
                .into(),
        );
    }
    if limits.torn_bytes_max < limits.publication_bytes_max {
        found.push(
            "limits.torn_bytes_max is below publication_bytes_max: a client that stalls inside a large \
            publication is reset without its close frame."
                .into(),
        );
    }
    if limits.requests_burst < limits.requests_per_second {
        found.push(
            "limits.requests_burst is below requests_per_second: a client that sends a second's requests at once is refused."
                .into(),
        );
    }
    // Each other shard and the control thread can have all of its credits in one mailbox.
    let publishers = u64::from(shards.count.unwrap_or(1));
    if publishers * u64::from(limits.publish_credits) > u64::from(shards.mailbox_places) {
        found.push(format!(
            "With {publishers} shards, shards.mailbox_places is below what all publishing threads may have on the \
                way ({} x limits.publish_credits): publishers wait for each other; nothing is lost.",
            publishers
        ));
    }
}
