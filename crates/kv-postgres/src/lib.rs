//! The engine for many nodes: PostgreSQL, or another database that speaks its protocol.
//!
//! Each [`Postgres`] value is one node. All nodes are equal and share nothing but the database.
//!
//! **Order.** A commit first locks the one row of `log_head`, so commits of all nodes stand in one line:
//! versions are dense, log positions rise, both in commit order, and the check of owners sees every earlier commit.
//!
//! **Truth and hints.** What a commit did is known from the database alone. When a connection is lost
//! while it commits, the next connection waits for the lock, and with it for the end of the lost transaction,
//! and looks whether the commit is there. `LISTEN` and polling only wake.
//!
//! **Layout.** Eight tables `tree_N (key bytea, value bytea)`, `log_head`, `owners` (last change of each),
//! `commits` (a bounded stream of what changed, for the clocks of the nodes) and `format`.
#![forbid(unsafe_code)]

mod commit;
mod connection;
mod follow;
mod history;
mod plan;
mod pool;
mod schema;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod trim;
mod trouble;
mod wait;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use kv::{Batch, Clock, Engine, KvError, KvResult, Seq, Snapshot, Verdict};
use parking_lot::Mutex;
use tokio_postgres::Config;

use crate::{
    commit::Writer,
    connection::{Connection, Purpose},
    follow::{Heads, Tail},
    history::History,
    pool::Pool,
    snapshot::PgSnapshot,
    trouble::Outcome,
    wait::{Threads, wait},
};

/// How an engine behaves towards its server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Snapshots open at once; each holds a connection. Two more connections commit and listen.
    pub connections: usize,
    /// How long a snapshot may wait for a connection, and an open for the server, in milliseconds.
    pub wait_ms: u64,
    /// How long the server may take for one answer, in milliseconds.
    pub trip_ms: u64,
    /// How long a commit may go on trying over lost connections, in milliseconds.
    pub commit_ms: u64,
    /// How often the head is looked at when no notification comes, in milliseconds.
    pub poll_ms: u64,
    /// Acknowledge before the disk has it: a crash of the server may lose the last commits.
    pub relaxed: bool,
    /// For how many versions it is remembered which owners changed. A batch whose snapshot is older
    /// conflicts with everything.
    pub history: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            // PostgreSQL allows 100 by default; this leaves room for several nodes.
            connections: 16,
            wait_ms: 5_000,
            trip_ms: 10_000,
            commit_ms: 30_000,
            poll_ms: 500,
            relaxed: false,
            history: 100_000,
        }
    }
}

/// What the parts of an engine share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) options: Options,
    pub(crate) history: History,
    pub(crate) pool: Pool,
    pub(crate) heads: Arc<Heads>,
    /// Does the server carry notifications?
    pub(crate) notifies: bool,
    pub(crate) threads: Threads,
}

impl Core {
    pub(crate) async fn connect(&self, purpose: Purpose) -> Outcome<Connection> {
        Connection::open(&self.config, &self.options, purpose).await
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = KvResult<T>>) -> KvResult<T> {
        match self.threads.handle() {
            Some(handle) => wait(handle, future),
            None => Err(KvError::Unavailable("the engine is closed".into())),
        }
    }
}

/// A node's engine over PostgreSQL.
pub struct Postgres {
    core: Arc<Core>,
    writer: Mutex<Writer>,
    tail: Tail,
    disk: Mutex<Option<(Instant, u64)>>,
}

impl Postgres {
    /// Opens a database and makes its tables if it is new. `url` is a `postgres://` address or a
    /// `key=value` line; the host may be the folder of a unix socket (`postgres://user@%2Frun%2Fpostgresql/db`).
    /// The connection isn't encrypted by this engine.
    ///
    /// # Errors
    /// `Unavailable` if the address is wrong or the server can't be reached within
    /// [`Options::wait_ms`]; `Corrupt` if the tables are of a format that this program doesn't know.
    pub fn open(url: &str, options: Options) -> KvResult<Postgres> {
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The address holds a password: it isn't repeated.
            KvError::Unavailable(format!("the address of the database cannot be read: {error}"))
        })?;
        let config = with_timeouts(config, &options);
        let threads = Threads::start()
            .map_err(|e| KvError::Unavailable(format!("no thread for PostgreSQL: {e}")))?;
        let Some(handle) = threads.handle() else {
            return Err(KvError::Unavailable("the engine is closed".into()));
        };
        let heads = Arc::new(Heads::default());
        let (first, tail) = wait(handle, async {
            let first = pool::insist(&options, || first_connection(&config, &options)).await?;
            let tail = Tail::start(handle, &config, &options, &heads).await;
            KvResult::Ok((first, tail))
        })?;
        let core = Arc::new(Core {
            pool: Pool::new(options.connections, first),
            notifies: tail.notified,
            history: History::default(),
            config,
            options,
            heads,
            threads,
        });
        // The first snapshot starts the clock. What stood there at the open is news to nobody.
        let head = core.wait(PgSnapshot::open(&core))?.head();
        core.heads.tell(head);
        Ok(Postgres { core, writer: Mutex::default(), tail, disk: Mutex::new(None) })
    }
}

async fn first_connection(config: &Config, options: &Options) -> Outcome<Connection> {
    let connection = Connection::open(config, options, Purpose::Read).await?;
    schema::prepare(&connection).await?;
    warn_if_volatile(&connection).await;
    Ok(connection)
}

/// A server that doesn't force its log to disk makes every acknowledgement a wish; say so once.
async fn warn_if_volatile(connection: &Connection) {
    let asked = connection.client().query_one("select current_setting('fsync')", &[]);
    if let Ok(Ok(row)) = connection.try_trip(asked).await
        && row.try_get::<_, &str>(0).is_ok_and(|fsync| fsync == "off")
    {
        tracing::warn!(
            "this PostgreSQL runs with fsync = off: a power cut loses acknowledged writes"
        );
    }
}

/// A peer that vanished without a word is noticed about as soon as one that is slow.
fn with_timeouts(mut config: Config, options: &Options) -> Config {
    let trip = Duration::from_millis(options.trip_ms);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(trip);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(trip);
    }
    config
}

/// How long the size of the database is believed: it walks the directory of the server.
const DISK_BYTES_AGE_MAX: Duration = Duration::from_secs(60);

impl Engine for Postgres {
    fn snapshot(&self) -> KvResult<Box<dyn Snapshot>> {
        Ok(Box::new(self.core.wait(PgSnapshot::open(&self.core))?))
    }

    fn commit(&self, group: Vec<Batch>) -> KvResult<Vec<Verdict>> {
        for batch in &group {
            batch.check()?;
        }
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer = self.writer.lock();
        self.core.wait(writer.commit(&self.core, group))
    }

    /// Called on a thread of the engine for commits of other processes: it must be short and must
    /// not call the engine.
    fn on_commit(&self, listener: Arc<dyn Fn(Seq) + Send + Sync>) {
        self.core.heads.listen(listener);
    }

    fn clock(&self) -> &Clock {
        &self.core.history.clock
    }

    fn backup(&self, _to: &Path) -> KvResult<()> {
        Err(KvError::Unavailable("use pg_dump or pg_basebackup".into()))
    }

    fn disk_bytes(&self) -> u64 {
        let mut disk = self.disk.lock();
        match *disk {
            Some((at, bytes)) if at.elapsed() < DISK_BYTES_AGE_MAX => bytes,
            known => {
                let bytes = self.core.wait(snapshot::disk_bytes(&self.core));
                let bytes = bytes.unwrap_or(known.map_or(0, |(_, bytes)| bytes));
                *disk = Some((Instant::now(), bytes));
                bytes
            }
        }
    }

    fn name(&self) -> &'static str {
        "postgres"
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tail.stop();
    }
}
