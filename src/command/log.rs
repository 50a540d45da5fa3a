//! The log: on standard error, so that standard output stays for what was asked for.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::lines;

/// Starts the log of the process; called once.
pub(super) fn start(log: &Log) {
    let colours = io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines::to_stderr(log.waiting_lines_max as usize))
        .with_ansi(colours)
        .with_max_level(filter(log.level));
    match log.format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
