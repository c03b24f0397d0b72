//! Signals: SIGTERM and SIGINT stop the server, a second one ends it at once, SIGHUP reads certificates and the lists
//! of servers again.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Exit code of a server that was not allowed to finish.
const ENDED_AT_ONCE: i32 = 1;

/// Begins to listen for signals, before anything else could miss one. The value turns true when the server is to stop.
/// To be called within the runtime.
pub(crate) fn listen(reload: impl Fn() + Send + 'static) -> io::Result<watch::Receiver<bool>> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(watch_signals(terminate, interrupt, hangup, stop, reload));
    Ok(stopped)
}

async fn watch_signals(
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hangup: Signal,
    stop: watch::Sender<bool>,
    reload: impl Fn(),
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                reload();
                continue;
            }
        }
        if stop.send_replace(true) {
            tracing::warn!("stopped a second time: ending at once");
            std::process::exit(ENDED_AT_ONCE);
        }
        tracing::info!("stopping: finishing what has begun; once more ends at once");
    }
}
