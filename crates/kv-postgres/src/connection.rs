//! One connection: its session settings, its prepared statements, a timeout on every trip.

use std::{
    collections::HashMap,
    fmt::Write as _,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use kv::Tree;
use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, NoTls, Notification, Row, Statement, types::ToSql,
};

use crate::{
    Options,
    trouble::{Outcome, Trouble},
};

/// What is done with notifications of the server.
pub(crate) type Hear = Arc<dyn Fn(&Notification) + Send + Sync>;

/// One request of a pipeline.
pub(crate) type Step<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// For whose use a connection is made.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// Snapshots and small questions.
    Read,
    /// Transactions that commit.
    Commit,
    /// `LISTEN`.
    Listen(Hear),
}

/// Every statement that is prepared. One text for all servers that speak the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sql {
    Get(Tree),
    GetMany(Tree),
    Forward(Tree),
    Backward(Tree),
    Put(Tree),
    Delete(Tree),
    /// The head, and what changed lately after a version.
    Head,
    LockHead,
    MoveHead,
    ChangesAfter,
    CommitId,
    AddCommit,
    Owners,
    PutOwners,
    Notify,
}

/// Groups older than this many versions aren't fetched to catch up: by then a cache has better
/// things to do than to believe its entries.
const CATCH_UP_VERSIONS_MAX: u32 = 4096;

impl Sql {
    fn text(self) -> String {
        let fixed = match self {
            Sql::Get(Tree(t)) => return format!("select value from tree_{t} where key = $1"),
            Sql::GetMany(Tree(t)) => {
                return format!("select key, value from tree_{t} where key = any($1)");
            }
            Sql::Forward(Tree(t)) => return scan_text(t, "asc"),
            Sql::Backward(Tree(t)) => return scan_text(t, "desc"),
            Sql::Put(Tree(t)) => {
                return format!(
                    "insert into tree_{t} (key, value) select * from unnest($1::bytea[], $2::bytea[]) \
                     on conflict (key) do update set value = excluded.value"
                );
            }
            Sql::Delete(Tree(t)) => return format!("delete from tree_{t} where key = any($1)"),
            Sql::Head => {
                return format!(
                    "select h.version, h.seq, c.first, c.version, c.changes from log_head h \
                     left join commits c on c.version > $1 \
                     and c.version > h.version - {CATCH_UP_VERSIONS_MAX}"
                );
            }
            Sql::ChangesAfter => {
                return format!(
                    "select c.first, c.version, c.changes from commits c where c.version > $1 and \
                     c.version > (select version from log_head) - {CATCH_UP_VERSIONS_MAX}"
                );
            }
            Sql::LockHead => "select version, seq, floor from log_head for update",
            Sql::MoveHead => "update log_head set version = $1, seq = $2, floor = $3",
            Sql::CommitId => "select id from commits where version = $1",
            Sql::AddCommit => {
                "insert into commits (version, first, id, changes) values ($1, $2, $3, $4)"
            }
            Sql::Owners => "select owner, version from owners where owner = any($1)",
            Sql::PutOwners => {
                "insert into owners (owner, version) select * from unnest($1::bytea[], $2::bigint[]) \
                 on conflict (owner) do update set version = excluded.version"
            }
            Sql::Notify => "select pg_notify($1, $2)",
        };
        fixed.to_owned()
    }
}

fn scan_text(tree: u8, order: &str) -> String {
    format!(
        "select key, value from tree_{tree} where key >= $1 and key < $2 order by key {order} limit $3"
    )
}

/// A connection and what has been prepared on it.
pub(crate) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    statements: Mutex<HashMap<Sql, Statement>>,
    trip: Duration,
    /// The name under which the server shows this connection, and no other.
    name: String,
    /// Something failed: the state of the session isn't known.
    broken: AtomicBool,
}

impl Connection {
    /// Connects and sets the session up.
    pub(crate) async fn open(
        config: &Config,
        options: &Options,
        purpose: Purpose,
    ) -> Outcome<Connection> {
        let trip = Duration::from_millis(options.trip_ms);
        let name = unique_name(config.get_application_name().unwrap_or("althing"));
        let mut config = config.clone();
        config.application_name(&name);
        let opened = timeout(trip, config.connect(NoTls)).await;
        let (client, mut socket) = opened.map_err(|_| Trouble::timeout(trip))??;
        let hear = match &purpose {
            Purpose::Listen(hear) => Some(hear.clone()),
            Purpose::Read | Purpose::Commit => None,
        };
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| socket.poll_message(cx)).await {
                match (message, &hear) {
                    (Ok(AsyncMessage::Notification(told)), Some(hear)) => hear(&told),
                    (Ok(_), _) => {}
                    (Err(error), _) => {
                        tracing::debug!(%error, "connection to PostgreSQL lost");
                        return;
                    }
                }
            }
        });
        let statements = Mutex::default();
        let broken = AtomicBool::new(false);
        let connection = Connection { client, driver, statements, trip, name, broken };
        connection.set_up(options, &purpose).await?;
        Ok(connection)
    }

    async fn set_up(&self, options: &Options, purpose: &Purpose) -> Outcome<()> {
        let settings = settings(options, purpose);
        if self.try_trip(self.client.batch_execute(&settings.join(";"))).await?.is_ok() {
            return Ok(());
        }
        // Another server of the protocol may lack some of them; each is a precaution or a hint.
        for setting in settings {
            if let Err(error) = self.try_trip(self.client.batch_execute(&setting)).await? {
                tracing::debug!(setting, %error, "session setting refused");
            }
        }
        Ok(())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Awaits answers, not for ever. After any failure the connection isn't used again.
    pub(crate) async fn trip<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Outcome<T> {
        match self.try_trip(answer).await? {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.broken.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    /// Like [`Connection::trip`], where a refusal of the server is an answer.
    pub(crate) async fn try_trip<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Outcome<Result<T, Error>> {
        timeout(self.trip, answer).await.map_err(|_| {
            self.broken.store(true, Ordering::Relaxed);
            Trouble::timeout(self.trip)
        })
    }

    pub(crate) async fn batch(&self, sql: &str) -> Outcome<()> {
        self.trip(self.client.batch_execute(sql)).await
    }

    /// The statement, prepared at its first use.
    pub(crate) async fn prepared(&self, sql: Sql) -> Outcome<Statement> {
        if let Some(ready) = self.statements.lock().get(&sql) {
            return Ok(ready.clone());
        }
        let statement = self.trip(self.client.prepare(&sql.text())).await?;
        self.statements.lock().insert(sql, statement.clone());
        Ok(statement)
    }

    pub(crate) async fn query(
        &self,
        sql: Sql,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Outcome<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        self.trip(self.client.query(&statement, parameters)).await
    }

    /// Sends the end of a transaction that has nothing to lose, and doesn't wait for the answer: what is
    /// sent next on this connection runs after it. Says whether it was sent.
    pub(crate) fn end_unattended(&self) -> bool {
        let mut ending = pin!(self.client.batch_execute("rollback"));
        // A request goes out at the first poll of its future; the answer to nobody is dropped.
        let sent = ending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let sent = !matches!(sent, Poll::Ready(Err(_)));
        if !sent {
            self.broken.store(true, Ordering::Relaxed);
        }
        sent
    }
}

impl Drop for Connection {
    // A healthy connection says goodbye by itself; one in doubt is cut, so that the server ends its
    // transaction instead of waiting with us for an answer that may never come.
    fn drop(&mut self) {
        if self.broken.load(Ordering::Relaxed) {
            self.driver.abort();
        }
    }
}

/// All requests in one trip, in order; the first failure if any failed. Returns only when all have
/// been answered or the connection is gone.
pub(crate) async fn pipeline(mut steps: Vec<Step<'_>>) -> Result<(), Error> {
    let mut failed = None;
    poll_fn(|cx| {
        steps.retain_mut(|step| match step.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                failed.get_or_insert(error);
                false
            }
        });
        if steps.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    failed.map_or(Ok(()), Err)
}

/// A transaction in which nothing is asked for this long belongs to a process that hangs, and holds
/// back either the writers of all nodes or the reuse of space.
const IDLE_WRITER_MS: u64 = 15_000;
const IDLE_READER_MS: u64 = 600_000;

fn settings(options: &Options, purpose: &Purpose) -> Vec<String> {
    let idle = match purpose {
        Purpose::Commit => IDLE_WRITER_MS,
        Purpose::Read | Purpose::Listen(_) => IDLE_READER_MS,
    };
    let mut settings = vec![
        format!("set statement_timeout = {}", options.trip_ms),
        format!("set idle_in_transaction_session_timeout = {idle}"),
        // Every statement has one good plan, by primary key, whatever the statistics say.
        "set plan_cache_mode = force_generic_plan".to_owned(),
        "set enable_seqscan = off".to_owned(),
        "set enable_bitmapscan = off".to_owned(),
        "set jit = off".to_owned(),
    ];
    if matches!(purpose, Purpose::Commit) {
        settings.push(if options.relaxed {
            "set synchronous_commit = off".to_owned()
        } else {
            // Never weaker than durable here; stronger (a standby has it too) is the operator's choice.
            "select set_config('synchronous_commit', 'on', false) \
             where current_setting('synchronous_commit') = 'off'"
                .to_owned()
        });
    }
    settings
}

/// PostgreSQL cuts names after 63 bytes; the part that makes ours unique must survive.
const NAME_BYTES_MAX: usize = 40;

fn unique_name(of: &str) -> String {
    let mut name: String = of.chars().filter(char::is_ascii_graphic).take(NAME_BYTES_MAX).collect();
    // Cannot fail: a String takes everything.
    let _ = write!(name, "-{:016x}", rand::random::<u64>());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_distinct_names_that_the_server_does_not_cut() {
        let long = "x".repeat(200);
        let (a, b) = (unique_name(&long), unique_name(&long));
        assert_ne!(a, b);
        assert!(a.len() < 64);
    }

    #[test]
    fn relaxed_and_durable_commits_differ_in_their_session_only() {
        let durable = settings(&Options::default(), &Purpose::Commit);
        let relaxed = settings(&Options { relaxed: true, ..Options::default() }, &Purpose::Commit);
        assert!(relaxed.iter().any(|s| s == "set synchronous_commit = off"));
        assert!(!durable.iter().any(|s| s == "set synchronous_commit = off"));
        assert_eq!(durable.len(), relaxed.len());
    }
}
