//! Keys of who may do what.

use super::super::forms;
use super::super::keys::{Form, Key};
use super::{HOUR_MS, PATTERN, PEM_FILE, optional, required};

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
    optional("tokens", "jwks", Form::Text("a path, or a URL like \"https://login.example.com/.well-known/jwks.json\"", forms::key_set),
        "Where a set of public keys (JWKS) is published, which is read at start and then again and again; its keys are in force beside \
         those of [[tokens.key]]. Keys for other algorithms, and shared secrets, are passed over. Where it cannot be had the keys in force \
         stay; the log and tidegate_jwks_failures_total tell."),
    optional("tokens", "jwks_ca", Form::Text(PEM_FILE, forms::filled),
        "Authorities, PEM, that its server's certificate may be signed by, besides the machine's own."),
    optional("tokens", "jwks_refresh_s", Form::Whole(1, 7 * 86_400, "seconds"),
        "How often the set is read where nothing asks for it. A key that was withdrawn is taken for so long."),
    optional("tokens", "jwks_least_s", Form::Whole(1, 86_400, "seconds"),
        "Least time between two reads: a token that names an unknown key has the set read before its time, but no flood of them more often \
         than this. Its client is refused meanwhile, and comes back."),
    optional("tokens", "jwks_timeout_ms", Form::Whole(10, HOUR_MS, "milliseconds"),
        "For name, connection, TLS, request and answer together."),
    optional("tokens", "jwks_bytes_max", Form::Whole(128, 16 << 20, "bytes"),
        "Longest set; a longer one is not taken. A key has about 400 bytes, some with certificates some thousand."),
    optional("tokens", "jwks_keys_max", Form::Whole(1, 1024, "keys"),
        "Most keys of the set: a token that names none is held against each of its algorithm."),
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
    required("callout", "url", Form::Text("a URL, like \"https://login.example.com/gateway\"", forms::http_url),
        "Whom to ask. docs/operations/admission.md says what is sent and what is understood."),
    optional("callout", "ca", Form::Text(PEM_FILE, forms::filled),
        "Authorities, PEM, that its certificate may be signed by, besides the machine's own."),
    optional("callout", "headers", Form::Texts("the name of a field of a request", forms::header_name),
        "Fields of the client's request that it is told, such as Cookie. None by default: what is told can be kept there."),
    optional("callout", "timeout_ms", Form::Whole(10, HOUR_MS, "milliseconds"),
        "For name, connection, TLS, request and answer together; then it counts as down. Clients wait for it within handshake_timeout_ms."),
    optional("callout", "concurrency_max", Form::Whole(1, 4096, "questions"),
        "Questions at a time, each with a connection of its own."),
    optional("callout", "waiting_max", Form::Whole(1, 1 << 20, "questions"),
        "Questions that wait for their turn; beyond, it counts as down. At 64 at a time and 10 ms each, 1,024 are a sixth of a second."),
    optional("callout", "cache_s", Form::Whole(0, 86_400, "seconds"),
        "How long an answer holds for the same question (address, path, origin, headers, token). 0, the default: each client is asked \
         about, so that what you decide holds from the next one on."),
    optional("callout", "cache_entries_max", Form::Whole(1, 1 << 20, "answers"),
        "Most answers that are kept; beyond, further ones are not."),
    optional("callout", "when_down", Form::OneOf(&["refuse", "allow"]),
        "What becomes of clients where there is no answer that can be understood. refuse: 503. allow: they have the rights of their token, \
         or of [anonymous]."),
];
