//! `tidegate serve`: flags over a file or over demo mode, then the gateway.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum, value_parser};

use super::{CommandError, log, read};
use crate::config::{self, Address, Config, Listener, LogFormat, LogLevel, ReactorChoice, Replay, Source, Speed, forms};
use crate::gateway::{self, Reloading};
use crate::journal::segment::is_journal;
use crate::lines;

/// What `tidegate serve` takes.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServeArgs {
    /// Configuration file; without it: demo mode, which flags alone keep
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect, in place of all configured listeners [default: 127.0.0.1:8080]; port 0 lets the kernel choose;
    /// unix:/path is a Unix socket
    #[arg(long, value_name = "ADDR", value_parser = listener_address)]
    listen: Option<Address>,
    /// Where the admin port is; on loopback only, unless the configuration has an [[admin.key]] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    admin: Option<SocketAddr>,
    /// Shards, each a thread with its own clients [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// How shards ask the kernel: io_uring, epoll, or auto, which is io_uring where it is allowed [default: auto]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true)]
    reactor: Option<Reactor>,
    /// Takes the place of the gateway that listens on this Unix socket, if one does, and listens there for the next one
    #[arg(long, value_name = "SOCKET")]
    takeover: Option<PathBuf>,
    /// Form of the log on standard error [default: text]
    #[arg(long, value_name = "FORM", value_enum, hide_possible_values = true)]
    log: Option<LogForm>,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Plays a recording (plain or gzip) in place of the synthetic feed and of configured ones
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Topic of a recorded message, with JSON pointers in braces: 'cb.{/type}.{/product_id}' [default: '{/stream}', which
    /// with the payload /data fits recordings of combined streams]
    #[arg(long, value_name = "TEMPLATE", requires = "replay", value_parser = template)]
    topic: Option<String>,
    /// JSON pointer to what of a recorded message is published, '' for all of it [default: /data without --topic, else all]
    #[arg(long, value_name = "POINTER", requires = "replay", value_parser = pointer)]
    payload: Option<String>,
    /// Pace of the replay: a multiple of the recorded one, or max, as fast as subscribers keep up [default: 1.0]
    #[arg(long, value_name = "SPEED", requires = "replay", value_parser = speed)]
    speed: Option<Speed>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reactor {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

/// Runs the gateway until it is stopped.
pub(super) fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let config = configuration(args)?;
    let set_log_level = log::start(&config.log);
    let again = args.clone();
    let read =
        args.config.is_some().then(|| Box::new(move || configuration(&again).map_err(|error| error.to_string())) as Box<_>);
    let ran = gateway::run(config, Reloading { read, set_log_level });
    lines::finish();
    Ok(ran?)
}

/// The file or demo mode, with the flags over it.
fn configuration(args: &ServeArgs) -> Result<Config, CommandError> {
    let mut config = args.config.as_deref().map_or_else(|| Ok(config::demo()), read)?;
    if let Some(address) = args.listen.clone() {
        let first = config.listeners.first().cloned().unwrap_or_default();
        config.listeners = vec![Listener { address, ..first }];
    }
    if let Some(address) = args.admin {
        config.admin.enabled = true;
        config.admin.address = address;
    }
    config.takeover.socket = args.takeover.clone().or(config.takeover.socket);
    config.shards.count = args.shards.or(config.shards.count);
    match args.reactor {
        Some(Reactor::Auto) => config.shards.reactor = ReactorChoice::Auto,
        Some(Reactor::IoUring) => config.shards.reactor = ReactorChoice::IoUring,
        Some(Reactor::Epoll) => config.shards.reactor = ReactorChoice::Epoll,
        None => {}
    }
    match args.log {
        Some(LogForm::Text) => config.log.format = LogFormat::Text,
        Some(LogForm::Json) => config.log.format = LogFormat::Json,
        None => {}
    }
    config.log.level = match (args.verbose, config.log.level) {
        (0, level) | (1, level @ LogLevel::Trace) => level,
        (1, _) => LogLevel::Debug,
        _ => LogLevel::Trace,
    };
    if let Some(file) = &args.replay {
        let replay = Replay::of(file.clone(), args.topic.clone(), args.payload.clone());
        config.sources = vec![Source::Replay(Replay { speed: args.speed.unwrap_or(replay.speed), ..replay })];
    }
    addresses_differ(&config)?;
    admin_is_guarded(&config)?;
    recordings_can_be_read(&config)?;
    Ok(config)
}

/// Flags can bring together what the file's rules kept apart.
fn addresses_differ(config: &Config) -> Result<(), CommandError> {
    let admin = config.admin.address;
    let same = config.listeners.iter().any(|listener| listener.address.excludes(&admin.into()));
    if config.admin.enabled && same {
        let sentence = format!(
            "clients and the admin port would both be on {admin}; give one of them another port with --listen or --admin"
        );
        return Err(CommandError::Arguments(sentence));
    }
    Ok(())
}

/// A flag can move the admin port, where the file's rules kept it.
fn admin_is_guarded(config: &Config) -> Result<(), CommandError> {
    let admin = &config.admin;
    if admin.enabled && !admin.address.ip().is_loopback() && admin.keys.is_empty() {
        let sentence = format!(
            "the admin port would be on {}, where whoever reaches it could publish; give --admin a loopback address, like 127.0.0.1:8081, or \
             the configuration an [[admin.key]]",
            admin.address
        );
        return Err(CommandError::Arguments(sentence));
    }
    Ok(())
}

/// Sees at start that the recordings are there, not when the first message is due.
pub(super) fn recordings_can_be_read(config: &Config) -> Result<(), CommandError> {
    for source in &config.sources {
        let Source::Replay(Replay { file, .. }) = source else { continue };
        let readable = File::open(file).and_then(|opened| {
            if opened.metadata()?.is_dir() && !is_journal(file) { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
        });
        readable.map_err(|source| CommandError::Unreadable { what: "the recording", file: file.clone(), source })?;
    }
    Ok(())
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    forms::address(text)?;
    text.parse().map_err(|error| format!("{error}"))
}

fn listener_address(text: &str) -> Result<Address, String> {
    text.parse()
}

fn template(text: &str) -> Result<String, String> {
    forms::template(text).map(|()| text.into())
}

fn pointer(text: &str) -> Result<String, String> {
    forms::pointer(text).map(|()| text.into())
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("it is neither a number above 0 (1.0 is the recorded pace) nor max".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    /// What would be served; the word `serve` and its absence must mean the same.
    fn check(arguments: &[&str]) -> Result<Config, String> {
        let serve = |words: &[&str]| {
            let cli = Cli::try_parse_from([words, arguments].concat()).expect("arguments that clap takes");
            let args = match cli.command {
                Some(Command::Serve(args)) => *args,
                None => cli.serve,
                Some(other) => panic!("not serve: {other:?}"),
            };
            configuration(&args).map_err(|error| error.to_string())
        };
        let outcome = serve(&["tidegate"]);
        assert_eq!(outcome, serve(&["tidegate", "serve"]));
        outcome
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("a temporary file can be written");
        file
    }

    fn path(file: &tempfile::NamedTempFile) -> &str {
        file.path().to_str().expect("temporary paths are UTF-8")
    }

    #[test]
    fn flags_alone_keep_demo_mode() {
        assert_eq!(check(&[]), Ok(config::demo()));
        let config =
            check(&["--listen", "127.0.0.1:0", "--admin", "[::1]:9", "--shards", "3", "--log", "json", "-v"]).expect("valid");
        assert!(config.demo && config.page.enabled);
        assert_eq!((config.listeners.len(), config.listeners[0].address.to_string()), (1, "127.0.0.1:0".into()));
        assert_eq!(config.admin.address.to_string(), "[::1]:9");
        assert_eq!(config.shards.count, Some(3));
        assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
        assert_eq!(check(&["-vv"]).expect("valid").log.level, LogLevel::Trace);
    }

    #[test]
    fn flags_override_the_file() {
        let file = file(
            "[[listener]]\naddress = \"127.0.0.1:1\"\norigins = [\"https://a\"]\n[[listener]]\naddress = \"127.0.0.1:2\"\n\
             [log]\nlevel = \"trace\"\n[[source]]\nkind = \"synthetic\"\n[shards]\ncount = 2\n",
        );
        let plain = check(&["--config", path(&file)]).expect("valid");
        assert!(!plain.demo && !plain.admin.enabled);
        assert_eq!((plain.listeners.len(), plain.shards.count, plain.log.level), (2, Some(2), LogLevel::Trace));
        let config = check(&["-c", path(&file), "--listen", "127.0.0.1:3", "--admin", "127.0.0.1:4", "-v"]).expect("valid");
        let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
        assert_eq!((listeners, config.listeners[0].origins.len()), (vec!["127.0.0.1:3".to_owned()], 1));
        assert!(config.admin.enabled && !config.demo && config.log.level == LogLevel::Trace);
        assert_eq!(config.sources, plain.sources);
    }

    #[test]
    fn a_replay_takes_the_place_of_the_synthetic_feed() {
        let recording = file("{}\n");
        let replay = |flags: &[&str]| {
            let config = check(&[&["--replay", path(&recording)], flags].concat()).expect("valid");
            assert!(config.demo, "flags alone keep demo mode");
            match <[Source; 1]>::try_from(config.sources) {
                Ok([Source::Replay(replay)]) => (replay.topic, replay.payload, replay.speed),
                other => panic!("one replay: {other:?}"),
            }
        };
        let all = |topic: &str| (topic.to_owned(), None, Speed::Times(1.0));
        assert_eq!(replay(&[]), ("{/stream}".into(), Some("/data".into()), Speed::Times(1.0)));
        assert_eq!(replay(&["--payload", ""]), all("{/stream}"));
        assert_eq!(replay(&["--topic", "cb.{/type}"]), all("cb.{/type}"));
        assert_eq!(replay(&["--topic", "a", "--payload", "/b"]), ("a".into(), Some("/b".into()), Speed::Times(1.0)));
        assert_eq!(replay(&["--speed", "max"]).2, Speed::Max);
        assert_eq!(replay(&["--speed", "2.5"]).2, Speed::Times(2.5));
    }

    #[test]
    fn what_cannot_be_served_is_a_sentence() {
        let broken = file("[limits]\ntopics_max = 0\n");
        let dangling = file("[[listener]]\naddress = \"127.0.0.1:1\"\n[[source]]\nkind = \"replay\"\nfile = \"/nowhere/a.gz\"\n");
        for (arguments, parts) in [
            (
                &["--config", "/nowhere/a.toml"][..],
                &["the configuration file /nowhere/a.toml cannot be read", "check its path"][..],
            ),
            (&["--config", path(&broken)], &["line 2, column 14", "limits.topics_max is 0"]),
            (&["--config", path(&dangling)], &["the recording /nowhere/a.gz cannot be read (No such file"]),
            (&["--replay", "/nowhere/b.gz"], &["the recording /nowhere/b.gz cannot be read"]),
            (&["--admin", "0.0.0.0:1"], &["the admin port would be on 0.0.0.0:1", "a loopback address", "[[admin.key]]"]),
            (&["--replay", "/"], &["the recording / cannot be read (is a directory"]),
            (&["--listen", "127.0.0.1:8081"], &["both be on 127.0.0.1:8081", "--admin"]),
        ] {
            let said = check(arguments).expect_err("cannot be served");
            for part in parts {
                assert!(said.contains(part), "{arguments:?} must say {part:?}: {said}");
            }
        }
    }
}
