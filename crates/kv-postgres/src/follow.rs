//! Learning of new heads: notifications wake, polling makes up for lost ones, the table decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::Seq;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::timeout};
use tokio_postgres::{Config, Notification};

use crate::{
    Options,
    connection::{Connection, Hear, Purpose},
    history::count,
    trouble::{Outcome, Trouble},
    wait::Backoff,
};

/// The channel of notifications. The payload is the head as a decimal number.
pub(crate) const CHANNEL: &str = "althing_log";

type Listener = Arc<dyn Fn(Seq) + Send + Sync>;

/// The newest head told, and to whom.
#[derive(Default)]
pub(crate) struct Heads {
    told: AtomicU64,
    listener: Mutex<Option<Listener>>,
    /// A notification named a head beyond `told`.
    news: Notify,
}

impl Heads {
    pub(crate) fn listen(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    /// Tells of a head that is committed and visible. Never twice, never an older one after a newer.
    pub(crate) fn tell(&self, head: Seq) {
        if self.told.load(Ordering::Acquire) >= head.0 {
            return;
        }
        // Told under the lock, so that two tellers cannot overtake each other.
        let listener = self.listener.lock();
        if self.told.fetch_max(head.0, Ordering::AcqRel) < head.0
            && let Some(listener) = listener.as_ref()
        {
            listener(head);
        }
    }

    fn hint(&self, told: &Notification) {
        let told = told.payload().parse().unwrap_or(u64::MAX);
        if self.told.load(Ordering::Acquire) < told {
            self.news.notify_one();
        }
    }
}

/// The task that follows the head.
pub(crate) struct Tail {
    task: JoinHandle<()>,
    /// The server takes `LISTEN`.
    pub(crate) notified: bool,
}

impl Tail {
    pub(crate) async fn start(
        handle: &Handle,
        config: &Config,
        options: &Options,
        heads: &Arc<Heads>,
    ) -> Tail {
        let first = listen(config, options, heads).await;
        let notified = match &first {
            Ok((_, notified)) => *notified,
            Err(_) => true,
        };
        let first = first.ok().map(|(connection, _)| connection);
        let task = handle.spawn(follow(first, config.clone(), options.clone(), heads.clone()));
        Tail { task, notified }
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

async fn listen(
    config: &Config,
    options: &Options,
    heads: &Arc<Heads>,
) -> Outcome<(Connection, bool)> {
    let hear: Hear = {
        let heads = heads.clone();
        Arc::new(move |told| heads.hint(told))
    };
    let connection = Connection::open(config, options, Purpose::Listen(hear)).await?;
    let sql = format!("listen {CHANNEL}");
    let listening = connection.try_trip(connection.client().batch_execute(&sql)).await?;
    if let Err(error) = &listening
        && !connection.is_usable()
    {
        return Err(Trouble::passing(error.to_string()));
    }
    Ok((connection, listening.is_ok()))
}

async fn follow(first: Option<Connection>, config: Config, options: Options, heads: Arc<Heads>) {
    let poll = Duration::from_millis(options.poll_ms.max(1));
    let mut connection = first;
    let mut backoff = Backoff::new();
    loop {
        if let Some(good) = &connection {
            let trouble = follow_on(good, &heads, poll).await;
            tracing::debug!(error = %trouble.error, "following the head is interrupted");
            backoff = Backoff::new();
        }
        backoff.pause().await;
        connection = listen(&config, &options, &heads).await.ok().map(|(c, _)| c);
    }
}

/// Follows as long as the connection holds.
async fn follow_on(connection: &Connection, heads: &Heads, poll: Duration) -> Trouble {
    loop {
        // What was told while nobody listened is found by looking first.
        match head(connection).await {
            Ok(head) => heads.tell(head),
            Err(trouble) => return trouble,
        }
        // Both endings are reasons to look.
        let _ = timeout(poll, heads.news.notified()).await;
    }
}

async fn head(connection: &Connection) -> Outcome<Seq> {
    let row =
        connection.trip(connection.client().query_one("select seq from log_head", &[])).await?;
    Ok(Seq(count(&row, 0)?))
}
