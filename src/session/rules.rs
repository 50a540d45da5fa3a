//! What a session goes by: the limits and permissions of the configuration.
//!
//! Without: sockets and clocks; moments are arguments.

use crate::admission::{Grants, Keys, Tokens};
use crate::config::{Callout, Config, ForwardedHeader, Limits, Network, ProxyProtocol, PublishAllow};
use crate::hub::topic::Pattern;

/// What all sessions of a shard go by.
#[derive(Debug)]
pub struct Rules {
    /// All limits.
    pub limits: Limits,
    /// Whether connections from loopback may publish at all.
    pub publish: PublishAllow,
    /// Topics that may be published to by clients.
    pub publish_topics: Vec<Pattern>,
    /// How tokens are judged; none: none is taken.
    pub tokens: Option<Tokens>,
    /// The operator's endpoint that is asked at connect.
    pub callout: Option<Callout>,
    /// By how much a clock may differ from ours, seconds.
    pub skew_s: u64,
    /// What clients without a token may do, beside what those of loopback may.
    pub anonymous: Grants,
    /// Whether `/echo` answers.
    pub echo: bool,
    /// Whether the page and `/topics` answer.
    pub page: bool,
    /// Drawn at random by who has the sessions: names requests so that no other process's are named alike.
    pub nonce: u64,
    /// By the listener's index.
    pub listeners: Vec<ListenerRules>,
}

/// What sessions of one listener go by.
#[derive(Debug)]
pub struct ListenerRules {
    /// A Unix socket.
    pub unix: bool,
    /// Bound to a loopback address: `Host` is checked, against DNS rebinding.
    pub loopback: bool,
    /// `Host` values that are taken besides loopback's own, lower case, without port.
    pub hosts: Vec<String>,
    /// Origins that are taken besides the same host, as a browser writes them.
    pub origins: Vec<String>,
    /// Proxies whose word on whom they speak for is taken.
    pub trusted_proxies: Vec<Network>,
    /// Whether they say it before the client's own bytes.
    pub proxy_protocol: ProxyProtocol,
    /// Where they say it in a request.
    pub forwarded_header: ForwardedHeader,
    /// What stands before every path.
    pub path_prefix: String,
    /// permessage-deflate is granted to whoever offers it.
    pub permessage_deflate: bool,
}

impl Rules {
    /// Of a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Rules {
        let pattern = |text: &String| Pattern::parse(text).expect("the configuration was validated");
        let listeners = config.listeners.iter().map(|listener| ListenerRules {
            unix: listener.address.path().is_some(),
            loopback: listener.address.is_loopback(),
            hosts: listener.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: listener.origins.clone(),
            permessage_deflate: listener.permessage_deflate,
            trusted_proxies: listener.trusted_proxies.clone(),
            proxy_protocol: listener.proxy_protocol,
            forwarded_header: listener.forwarded_header,
            path_prefix: listener.path_prefix.clone(),
        });
        let (is_taken, is_asked) = (config.tokens.are_taken(), config.asks_for_rights());
        let publish = if is_asked { PublishAllow::Nobody } else { config.publish.allow };
        // Where nobody may any more, those who could do not go on.
        let publish_topics = if publish == PublishAllow::Nobody { &[][..] } else { &config.publish.topics };
        Rules {
            limits: config.limits.clone(),
            publish,
            publish_topics: publish_topics.iter().map(pattern).collect(),
            tokens: is_taken.then(|| Tokens::new(&config.tokens, Keys::from([]))),
            callout: config.callout.clone(),
            skew_s: config.tokens.skew_s.into(),
            anonymous: anonymous(config),
            echo: config.echo.enabled,
            page: config.page.enabled,
            nonce: 0,
            listeners: listeners.collect(),
        }
    }
}

/// Of clients without a token: what the configuration says, else everything where no token is asked for.
fn anonymous(config: &Config) -> Grants {
    let patterns = |texts: &[String]| Grants::parse(texts.iter().map(String::as_str)).expect("the configuration was validated");
    match &config.anonymous {
        Some(anonymous) => Grants { subscribe: patterns(&anonymous.subscribe), publish: patterns(&anonymous.publish) },
        None if config.asks_for_rights() => Grants::default(),
        None => Grants { subscribe: patterns(&[">".into()]), publish: Box::default() },
    }
}

/// What holds for every session at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic time, microseconds.
    pub now_us: u64,
    /// Time since 1970, microseconds.
    pub unix_us: u64,
    /// What `/health/ready` says.
    pub ready: bool,
    /// There are as many clients as may be: whoever is not yet let in is not.
    pub full: bool,
}
