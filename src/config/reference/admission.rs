//! Keys of who may do what.

use super::super::forms;
use super::super::keys::{Form, Key};
use super::{PATTERN, optional, required};

const WORD: &str = "a text of 1 to 128 bytes";

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    optional("tokens", "issuer", Form::Text("a text", forms::filled),
        "What a token's `iss` must be, byte for byte. Not looked at where it is left out."),
    optional("tokens", "audiences", Form::Texts("a text", forms::filled),
        "Of these a token's `aud` must name one. Not looked at where the list is empty."),
    optional("tokens", "skew_s", Form::Whole(0, 60, "seconds"),
        "By how much the clock that a token was made by may differ from ours: it is good so long after its `exp`, and before its `nbf`, \
         and a client that is there is closed (1008) so long after `exp`. Clocks that are kept differ by less than 5 s."),
    optional("tokens", "token_bytes_max", Form::Whole(128, 32 << 10, "bytes"),
        "Longest token that is looked at. In a handshake it also has to fit into head_bytes_max."),
    optional("tokens", "subject_claim", Form::Text(WORD, forms::token_word),
        "The claim that says who the client is, for the log, the admin port and revocations."),
    optional("tokens", "subscribe_claim", Form::Text(WORD, forms::token_word),
        "The claim with the topics and patterns that may be subscribed to: a list, or one text."),
    optional("tokens", "publish_claim", Form::Text(WORD, forms::token_word),
        "The claim with those that may be published to."),
    optional("tokens", "limits_claim", Form::Text(WORD, forms::token_word),
        "The claim with lower limits: an object with subscriptions_max, requests_per_second, requests_burst, each optional. None \
         is ever higher than below [limits]."),
    optional("tokens", "revocations_max", Form::Whole(1, 1 << 20, "revocations"),
        "Revocations in force at a time; beyond, POST /api/revoke is answered 507. Each takes some hundred bytes on each shard."),
    optional("tokens", "revocation_s", Form::Whole(1, 10 * 365 * 86_400, "seconds"),
        "How long a revocation is in force that does not say until when: at least as long as tokens are good. A day by default."),
    required("tokens.key", "algorithm", Form::OneOf(&["HS256", "RS256", "ES256", "EdDSA"]),
        "The one algorithm that the key is used with, whatever a token says. HS256 is a shared secret: whoever can check tokens \
         could make some."),
    required("tokens.key", "file", Form::Text("the path of a file", forms::filled),
        "File with the public key, PEM (`PUBLIC KEY`, or a `CERTIFICATE`); for HS256 with the secret, at least 32 bytes, of which a \
         line feed at the end does not count."),
    optional("tokens.key", "kid", Form::Text(WORD, forms::token_word),
        "The key's name: a token that names another (`kid`) is not held against it. A key without a name is tried for all tokens of \
         its algorithm."),
    optional("anonymous", "subscribe", Form::Texts(PATTERN, forms::pattern),
        "Topics and patterns that may be subscribed to. A pattern may be subscribed to only if one of these covers it."),
    optional("anonymous", "publish", Form::Texts(PATTERN, forms::pattern),
        "Topics and patterns that may be published to, by whoever connects and from anywhere."),
];
