//! Closed sets of labels: why somebody was refused, how a connection ended, what a client is.
//!
//! Without: what is counted by them.

/// A closed set of label values: one counter each.
pub trait Label: Copy + 'static {
    /// Every value, in the order of their discriminants from 0.
    const ALL: &'static [Self];
    /// As it stands in the metric's label.
    fn name(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum with its label names, so that the two cannot fall apart.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident, $count:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl Label for $name {
            const ALL: &'static [$name] = &[$($name::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        pub(super) const $count: usize = <$name as Label>::ALL.len();
    };
}

label! {
    /// Why a connection or its request was turned away.
    RefusalReason, REFUSALS {
        /// 400.
        BadRequest = "bad_request",
        /// 404.
        NotFound = "not_found",
        /// 405.
        Method = "method",
        /// 426: no upgrade, or a version that is not 13.
        UpgradeRequired = "upgrade_required",
        /// 431.
        HeadTooLarge = "head_too_large",
        /// 421: a `Host` that is not ours.
        Misdirected = "misdirected",
        /// 403.
        Forbidden = "forbidden",
        /// 401.
        Unauthorized = "unauthorized",
        /// 429.
        TooMany = "too_many",
        /// 503, or accepted and dropped: `connections_max`.
        Full = "full",
        /// The handshake did not end in time.
        Timeout = "timeout",
        /// A PROXY header that is missing, wrong or not allowed.
        Proxy = "proxy",
        /// 503: the callout gave no answer.
        Callout = "callout",
        /// A TLS handshake that failed, or plain HTTP on a TLS port.
        Tls = "tls",
    }
}

label! {
    /// How a connection ended.
    CloseClass, CLOSES {
        /// 1000, or no code.
        Normal = "normal",
        /// 1001 or 1012.
        GoingAway = "going_away",
        /// 1002.
        Protocol = "protocol",
        /// 1007.
        Utf8 = "utf8",
        /// 1009.
        TooBig = "too_big",
        /// 1003 or 1008.
        Policy = "policy",
        /// 1013, or reset after it: fell out of a ring.
        Lag = "lag",
        /// A message, a pong, a close or a send that did not come in time.
        Timeout = "timeout",
        /// By the peer or the network, without a close frame.
        Reset = "reset",
        /// 1011.
        Internal = "internal",
    }
}

label! {
    /// What became of a takeover.
    TakeoverOutcome, TAKEOVERS {
        /// This gateway took another one's place.
        Taken = "taken",
        /// Another one took this one's place.
        Given = "given",
        /// Another one asked for this one's place and did not come to take it.
        Failed = "failed",
        /// The one that had taken this one's place is gone before this one's clients are.
        Lost = "lost",
    }
}

label! {
    /// What a client is, once it is let in.
    ClientRole, ROLES {
        /// It hears topics over a WebSocket.
        Subscriber = "subscriber",
        /// It publishes over a WebSocket.
        Publisher = "publisher",
        /// It hears topics as server-sent events.
        Events = "events",
        /// It is sent back what it sends.
        Echo = "echo",
    }
}

impl CloseClass {
    /// Whether such an end is worth a line in the log: we ended it, and not because we stop.
    #[must_use]
    pub fn is_for_cause(self) -> bool {
        !matches!(self, CloseClass::Normal | CloseClass::GoingAway | CloseClass::Reset)
    }
}
