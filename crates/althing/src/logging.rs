//! Log lines, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// The line that says that the server listens is logged whatever the level, because tools wait for it.
pub(crate) const ALWAYS: &str = "listening";

/// Begins logging. `RUST_LOG` is stronger than the configured level.
pub(crate) fn start(log: &Log) {
    let chosen = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.0.clone());
    let filter = EnvFilter::builder().parse_lossy(chosen);
    let filter = match format!("{ALWAYS}=info").parse() {
        Ok(always) => filter.add_directive(always),
        Err(_) => filter,
    };
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
}
