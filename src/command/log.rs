//! The log: on standard error, so that standard output stays for what was asked for.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry, reload};

use crate::config::{Log, LogFormat, LogLevel};
use crate::lines;

/// Starts the log of the process; called once. What it gives sets another least level.
pub(super) fn start(log: &Log) -> Box<dyn Fn(LogLevel)> {
    let colours = io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(lines::to_stderr(log.waiting_lines_max as usize)).with_ansi(colours);
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (level, handle) = reload::Layer::new(filter(log.level));
    registry().with(level).with(lines).init();
    // It fails only where the log is gone, and that stays until the process ends.
    Box::new(move |level| handle.reload(filter(level)).expect("the log stays"))
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
