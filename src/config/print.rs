//! The default configuration as commented TOML, for `tidegate config`.
//!
//! What would run something that nobody asked for (admin port, feeds, publishing, echo, page) is commented out with `#`
//! right before the key; prose has a space after it.

use std::fmt::Write;

use super::keys::{self, Form, Key, Table};
use super::reference::TABLES;
use super::source_shape::SourceKind;
use super::{
    Admin, Arrivals, Callout, Drain, Journal, Limits, Listener, Log, Sequence, Shards, SocketMode, Synthetic, Takeover, Tokens,
    Topic, TopicJournal, Upstream,
};

/// Width of the prose.
const COLUMNS: usize = 110;

/// The default configuration, each key with its meaning.
#[must_use]
pub fn default_text() -> String {
    let mut text = String::from("# The default configuration of tidegate.\n");
    prose(
        &mut text,
        "Lines that begin with `#` and no space are off: nothing runs that the file does not name. Remove the `#` \
            to switch it on. Keys left out have the values shown here. All sizes are bytes, all times are in the \
            unit that the name ends with.",
    );
    for table in TABLES {
        text.push('\n');
        prose(&mut text, table.meaning);
        if table.name == "source" {
            for (number, kind) in SourceKind::ALL.into_iter().enumerate() {
                if number > 0 {
                    text.push('\n');
                }
                source(&mut text, table, kind);
            }
        } else {
            let off = if is_off(table) { "#" } else { "" };
            writeln!(text, "{off}{}", table.heading()).expect(INFALLIBLE);
            for key in keys::of(table.name) {
                // What is there for some only, or has no default that could be written.
                let is_other = [("shards", "count"), ("listener", "kind"), ("listener", "connection_age_max_s")]
                    .contains(&(table.name, key.name));
                let off = if is_other { "#" } else { off };
                entry(&mut text, key, off, &example(key));
            }
        }
    }
    text
}

const INFALLIBLE: &str = "writing to a String cannot fail";

fn source(text: &mut String, table: &Table, kind: SourceKind) {
    writeln!(text, "#{}", table.heading()).expect(INFALLIBLE);
    // A table below it has a heading of its own.
    for key in ["kind"].iter().chain(kind.keys()).filter_map(|name| keys::key(table.name, name)) {
        let value = if key.name == "kind" { format!("{:?}", kind.name()) } else { example(key) };
        entry(text, key, "#", &value);
    }
}

fn is_off(table: &Table) -> bool {
    matches!(
        table.name,
        "listener.arrivals"
            | "listener.tls"
            | "listener.tls.sni"
            | "admin"
            | "admin.key"
            | "topic"
            | "source.sequence"
            | "publish"
            | "tokens"
            | "tokens.key"
            | "anonymous"
            | "callout"
            | "echo"
            | "page"
            | "takeover"
    )
}

fn entry(text: &mut String, key: &Key, off: &str, value: &str) {
    prose(text, &format!("{} Takes {}.", key.meaning, key.form.expected()));
    writeln!(text, "{off}{} = {value}", key.name).expect(INFALLIBLE);
}

fn prose(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        if column == 0 || column + 1 + word.len() > COLUMNS {
            text.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
}

/// The default of a key as TOML; `None` where there is none.
pub(super) fn default_value(key: &Key) -> Option<String> {
    let whole = |number: u64| Some(number.to_string());
    match (key.table, key.name) {
        ("limits", name) => of_struct(&Limits::default(), name),
        ("drain", name) => of_struct(&Drain::default(), name),
        ("takeover", name) => of_struct(&Takeover::default(), name),
        ("listener.arrivals", _) => None,
        ("arrivals", name) => of_struct(&Arrivals::default(), name),
        ("shards", name) => of_struct(&Shards::default(), name),
        ("listener", "mode") => Some(format!("\"{}\"", SocketMode::default())),
        ("listener", "permessage_deflate") => Some(Listener::default().permessage_deflate.to_string()),
        ("listener", "path_prefix") => Some("\"\"".into()),
        ("listener", "proxy_protocol") => Some("\"off\"".into()),
        ("listener", "forwarded_header") => Some("\"x-forwarded-for\"".into()),
        ("listener.tls", "client_certificates") => Some("\"required\"".into()),
        ("admin", "address") => Some(format!("\"{}\"", Admin::default().address)),
        ("admin", "body_bytes_max") => whole(Admin::default().body_bytes_max as u64),
        ("admin", "open_connections_max") => whole(Admin::default().open_connections_max.into()),
        ("admin", "head_timeout_ms") => whole(Admin::default().head_timeout_ms.into()),
        ("admin", "body_timeout_ms") => whole(Admin::default().body_timeout_ms.into()),
        ("admin.key", "read" | "change") => Some("false".into()),
        ("topic", "kind") => Some("\"log\"".into()),
        ("topic", "ring_age_ms") => whole(Topic::default().ring_age_ms.into()),
        ("topic", "keys_max") => whole(Topic::default().keys_max.into()),
        ("topic", "slow_default") => Some("\"close\"".into()),
        ("topic", "slow_allowed") => Some("[\"close\"]".into()),
        ("topic", "slow_lag_bytes") => whole(Topic::default().slow_lag_bytes.into()),
        ("topic", "slow_lag_ms") => whole(Topic::default().slow_lag_ms.into()),
        ("topic", "rates_ms") => Some(format!("{:?}", Topic::default().rates_ms)),
        ("topic", "flush_us") => whole(Topic::default().flush_us.into()),
        ("topic", "journal") => Some("false".into()),
        ("topic", "journal_flush") => Some("\"every_ms\"".into()),
        ("topic", "journal_every_ms") => whole(TopicJournal::EVERY_MS.into()),
        ("topic", "journal_segment_bytes") => whole(TopicJournal::default().segment_bytes.into()),
        ("topic", "journal_keep_bytes") => whole(TopicJournal::default().keep_bytes),
        ("topic", "journal_keep_s") => whole(TopicJournal::default().keep_s.into()),
        ("topic", "journal_full") => Some("\"refuse\"".into()),
        ("callout", name) => of_struct(&Callout::default(), name),
        ("tokens", name) => of_struct(&Tokens::default(), name),
        ("journal", name) => of_struct(&Journal::default(), name),
        ("topic", "ring_publications") => whole(Topic::default().ring_publications.into()),
        ("topic", "ring_bytes") => whole(Topic::default().ring_bytes.into()),
        ("source", "prefix") => Some(format!("{:?}", Synthetic::default().prefix)),
        ("source", "publications_per_second") => whole(Synthetic::default().publications_per_second.into()),
        ("source", "seed") => whole(Synthetic::default().seed),
        ("source", "topic") => Some(format!("{:?}", super::Replay::TOPIC)),
        ("source", "payload") => Some(format!("{:?}", super::Replay::PAYLOAD)),
        ("source", "speed") => Some("1.0".into()),
        ("source", "loop") => Some("false".into()),
        ("source", "silent_timeout_ms") => whole(Upstream::default().silent_timeout_ms.into()),
        ("source", "connect_timeout_ms") => whole(Upstream::default().connect_timeout_ms.into()),
        ("source", "backoff_min_ms") => whole(Upstream::default().backoff_min_ms.into()),
        ("source", "backoff_max_ms") => whole(Upstream::default().backoff_max_ms.into()),
        ("source", "arbitration_wait_ms") => whole(Upstream::default().arbitration_wait_ms.into()),
        ("source", "arbitration_bytes_max") => whole(Upstream::default().arbitration_bytes_max.into()),
        ("source", "topics_max") => whole(Upstream::default().topics_max.into()),
        ("source", "urls") => None,
        ("source.sequence", "topics") => Some(format!("{:?}", Sequence::default().topics)),
        ("source.sequence", "window") => whole(Sequence::default().window),
        ("publish", "allow") => Some("\"nobody\"".into()),
        ("log", "format") => Some("\"text\"".into()),
        ("log", "level") => Some("\"info\"".into()),
        ("log", "waiting_lines_max") => whole(Log::default().waiting_lines_max.into()),
        ("log", "client_lines_per_second") => whole(Log::default().client_lines_per_second.into()),
        _ if matches!(key.form, Form::Texts(..)) => Some("[]".into()),
        _ => None,
    }
}

fn of_struct(settings: &impl serde::Serialize, name: &str) -> Option<String> {
    let table = toml::Table::try_from(settings).expect("settings are a table of numbers and flags");
    table.get(name).map(ToString::to_string)
}

/// What is printed: the default, and what switches a thing on where its default is off.
fn example(key: &Key) -> String {
    let example = match (key.table, key.name) {
        ("listener", "address") => return format!("\"{}\"", Listener::default().address),
        ("listener", "kind") => "\"tcp\"",
        ("listener", "connection_age_max_s") => "7200",
        ("listener.arrivals", name) => return of_struct(&Arrivals::default(), name).expect("it has the keys of [arrivals]"),
        ("listener.tls", "certificate") => "\"certificate.pem\"",
        ("listener.tls", "key") => "\"key.pem\"",
        ("listener.tls", "client_ca") => "\"clients-ca.pem\"",
        ("listener.tls.sni", "certificate") => "\"other-certificate.pem\"",
        ("listener.tls.sni", "key") => "\"other-key.pem\"",
        ("admin.key", "name") => "\"feed\"",
        ("admin.key", "secret_file") => "\"feed.secret\"",
        ("admin.key", "publish") => "[\"md.>\"]",
        ("topic", "journal") => "true",
        ("topic", "pattern") => "\"md.book.>\"",
        ("topic", "key") => "\"/s\"",
        ("source", "file") => "\"recording.gz\"",
        ("source", "urls") => "[\"wss://a.example.com/stream\", \"wss://b.example.com/stream\"]",
        ("source", "ca") => "\"feed-ca.pem\"",
        ("source", "subscribe") => "['{\"method\":\"SUBSCRIBE\",\"params\":[\"btcusdt@depth\"],\"id\":1}']",
        ("source", "key") => "\"/data/s\"",
        ("source", "binary_topic") => "\"feed.binary\"",
        ("source.sequence", "number") => "\"/data/u\"",
        ("source.sequence", "previous") => "\"/data/pu\"",
        ("source.sequence", "rule") => "\"chain\"",
        ("publish", "allow") => "\"loopback\"",
        ("publish", "topics") => "[\"md.>\"]",
        ("tokens", "issuer") => "\"https://login.example.com\"",
        ("tokens", "jwks") => "\"https://login.example.com/.well-known/jwks.json\"",
        ("tokens", "jwks_ca") => "\"login-ca.pem\"",
        ("tokens.key", "algorithm") => "\"ES256\"",
        ("tokens.key", "file") => "\"token-key.pem\"",
        ("tokens.key", "kid") => "\"2026-11\"",
        ("callout", "url") => "\"https://login.example.com/gateway\"",
        ("callout", "ca") => "\"login-ca.pem\"",
        ("anonymous", "subscribe") => "[\"public.>\"]",
        ("echo" | "page", "enabled") => "true",
        ("shards", "count") => "2",
        ("takeover", "socket") => "\"/run/tidegate/takeover\"",
        _ => return default_value(key).expect("a key without a default has an example above"),
    };
    example.into()
}
