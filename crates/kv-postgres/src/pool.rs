//! The connections of snapshots: bounded, reused, replaced when broken.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use kv::{KvError, KvResult};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    Core, Options,
    connection::{Connection, Purpose},
    trouble::{Outcome, Trouble},
    wait::Backoff,
};

/// Idle connections, last used first, and the right to use one.
pub(crate) struct Pool {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(connections: usize, first: Connection) -> Self {
        let permits = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        Pool { idle: Mutex::new(vec![first]), permits }
    }

    async fn permit(&self, options: &Options) -> KvResult<OwnedSemaphorePermit> {
        let wait = Duration::from_millis(options.wait_ms);
        match timeout(wait, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(KvError::Unavailable("the engine is closed".into())),
            Err(_) => Err(KvError::Unavailable(format!(
                "all {} connections were in use for {} ms",
                options.connections, options.wait_ms
            ))),
        }
    }

    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }
}

/// A connection for a while. Goes back to the pool if it is still good.
pub(crate) struct Lease {
    core: Arc<Core>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn connection(&self) -> Outcome<&Connection> {
        self.connection.as_ref().ok_or_else(|| Trouble::lasting("the connection was given back"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.is_usable()
        {
            self.core.pool.idle.lock().push(connection);
        }
    }
}

/// Takes a connection and makes the first step on it. A connection that lay idle may have died
/// unnoticed, a server may be starting: both are tried again within [`Options::wait_ms`].
pub(crate) async fn lease<T>(
    core: &Arc<Core>,
    first_step: impl AsyncFn(&Connection) -> Outcome<T>,
) -> KvResult<(Lease, T)> {
    let permit = core.pool.permit(&core.options).await?;
    while let Some(connection) = core.pool.idle() {
        match first_step(&connection).await {
            Ok(done) => {
                let connection = Some(connection);
                return Ok((Lease { core: core.clone(), connection, _permit: permit }, done));
            }
            Err(trouble) if trouble.again => {}
            Err(trouble) => return Err(trouble.error),
        }
    }
    let (connection, done) = insist(&core.options, || async {
        let connection = core.connect(Purpose::Read).await?;
        let done = first_step(&connection).await?;
        Ok((connection, done))
    })
    .await?;
    Ok((Lease { core: core.clone(), connection: Some(connection), _permit: permit }, done))
}

/// Tries until it works, the time is over, or trying won't help.
pub(crate) async fn insist<T, F: Future<Output = Outcome<T>>>(
    options: &Options,
    attempt: impl Fn() -> F,
) -> KvResult<T> {
    let started = Instant::now();
    let mut backoff = Backoff::new();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble)
                if trouble.again && started.elapsed() < Duration::from_millis(options.wait_ms) =>
            {
                backoff.pause().await;
            }
            Err(trouble) => return Err(trouble.error),
        }
    }
}
