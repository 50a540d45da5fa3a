//! What a session goes by: the limits and permissions of the configuration, and the two small measures it keeps.
//!
//! Without: sockets and clocks; moments are arguments.

use crate::config::{Config, Limits, PublishAllow};
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
    /// Whether `/echo` answers.
    pub echo: bool,
    /// Whether the page and `/topics` answer.
    pub page: bool,
    /// By the listener's index.
    pub listeners: Vec<ListenerRules>,
}

/// What sessions of one listener go by.
#[derive(Debug)]
pub struct ListenerRules {
    /// Bound to a loopback address: `Host` is checked, against DNS rebinding.
    pub loopback: bool,
    /// `Host` values that are taken besides loopback's own, lower case, without port.
    pub hosts: Vec<String>,
    /// Origins that are taken besides the same host, as a browser writes them.
    pub origins: Vec<String>,
    /// permessage-deflate is granted to whoever offers it.
    pub permessage_deflate: bool,
}

impl Rules {
    /// Of a valid configuration.
    #[must_use]
    pub fn new(config: &Config) -> Rules {
        let pattern = |text: &String| Pattern::parse(text).expect("the configuration was validated");
        let listeners = config.listeners.iter().map(|listener| ListenerRules {
            loopback: listener.address.ip().to_canonical().is_loopback(),
            hosts: listener.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: listener.origins.clone(),
            permessage_deflate: listener.permessage_deflate,
        });
        Rules {
            limits: config.limits.clone(),
            publish: config.publish.allow,
            publish_topics: config.publish.topics.iter().map(pattern).collect(),
            echo: config.echo.enabled,
            page: config.page.enabled,
            listeners: listeners.collect(),
        }
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
}

/// A token bucket: so many a second, bursts of so many.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens_milli: u32,
    filled_ms: u32,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(burst: u32, now_us: u64) -> Bucket {
        Bucket { tokens_milli: burst.saturating_mul(1000), filled_ms: (now_us / 1000) as u32 }
    }

    /// Takes one token; false where there is none.
    pub fn take(&mut self, per_second: u32, burst: u32, now_us: u64) -> bool {
        let now_ms = (now_us / 1000) as u32;
        // The count of milliseconds wraps after 49 days; a difference does not. A token a second is a thousandth a millisecond.
        let fresh_milli = now_ms.wrapping_sub(self.filled_ms).saturating_mul(per_second);
        self.filled_ms = now_ms;
        self.tokens_milli = self.tokens_milli.saturating_add(fresh_milli).min(burst.saturating_mul(1000));
        let taken = self.tokens_milli >= 1000;
        self.tokens_milli -= if taken { 1000 } else { 0 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(200, 0);
        let taken = |bucket: &mut Bucket, from_us: u64, until_us: u64| {
            (from_us..until_us).step_by(1000).filter(|&now_us| bucket.take(20, 200, now_us)).count()
        };
        assert_eq!((0..500).filter(|_| bucket.take(20, 200, 0)).count(), 200);
        assert_eq!(taken(&mut bucket, 1000, 10_001_000), 200);
        assert_eq!((0..500).filter(|_| bucket.take(20, 200, 3_600_000_000)).count(), 200);
    }
}
