//! Followers: whatever reacts to the log. A follower is a cursor, an interest and an output, committed together:
//! each entry takes effect exactly once on rows, whatever crashes and however many processes run.

use std::sync::Arc;

use base::{Error, Reply, Seq};
use tokio::sync::watch;

use crate::{Store, Tx, View, log::Entry, schema::CURSORS};

/// Before the first entry of the log: there is nothing to read up to here.
pub fn begin(view: &View) -> Seq {
    // A store of before logs began late has its first entry earlier than that.
    kv::LOG_BEGIN.min(view.head())
}

/// Something that reacts to the log.
pub trait Follower: Send + Sync + 'static {
    /// Its name; fixed on disk.
    fn id(&self) -> &'static str;
    /// Could this entry concern it? Costs nothing: it is asked of every entry.
    fn wants(&self, entry: &Entry) -> bool;
    /// Does an entry that it wants concern it? May read; decides whether a transaction is made at all. The view may
    /// be later than the entry, so [`Follower::step`] looks again.
    ///
    /// # Errors
    /// Faults only.
    fn concerns(&self, view: &View, entry: &Entry) -> Reply<bool> {
        let _ = (view, entry);
        Ok(true)
    }
    /// Takes one entry. May be run again on a conflict.
    fn step(&self, tx: &mut Tx, seq: Seq, entry: &Entry) -> Reply<()>;
}

/// Entries read at once.
const BATCH: usize = 1_024;
/// Entries that are nobody's business are skipped without a commit, up to this many: a restart reads them again.
const SKIP_MAX: u64 = 10_000;
/// After a fault, before the next try.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a follower until `stop` turns true. Logs faults and goes on.
pub async fn run(store: Store, follower: Arc<dyn Follower>, mut stop: watch::Receiver<bool>) {
    let mut head = store.watch_head();
    let mut at = None;
    while !*stop.borrow() {
        match advance(&store, &follower, at).await {
            Ok(now) => {
                let caught_up = now >= *head.borrow_and_update();
                at = Some(now);
                metrics::gauge!("althing_follower_lag", "follower" => follower.id())
                    .set(store.head().0.saturating_sub(now.0) as f64);
                if !caught_up {
                    continue;
                }
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    _ = head.changed() => {}
                }
            }
            Err(e) => {
                tracing::error!(follower = follower.id(), error = %e, "follower failed");
                at = None;
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

/// Takes the next entries after `at` (or the stored cursor); returns the new position.
pub async fn advance(store: &Store, follower: &Arc<dyn Follower>, at: Option<Seq>) -> Reply<Seq> {
    let id = follower.id().to_owned();
    let (key, reader) = (id.clone(), follower.clone());
    let Read { stored, upto, wanted } = store
        .read(move |view| {
            let stored = view.get(&CURSORS, (key,))?.unwrap_or(begin(view));
            read(view, &*reader, stored, at.unwrap_or(stored).max(stored))
        })
        .await?;
    for (seq, entry) in wanted {
        take(store, follower, &id, seq, entry).await?;
    }
    let position = upto;
    if position.0 - stored.0 > SKIP_MAX {
        store
            .write(None, move |tx| {
                let now = tx.get(&CURSORS, (id.clone(),))?.unwrap_or_default();
                if now < position {
                    tx.put(&CURSORS, (id.clone(),), &position);
                }
                Ok(())
            })
            .await?;
    }
    Ok(position)
}

/// The next entries as far as they concern a follower.
struct Read {
    /// The stored cursor.
    stored: Seq,
    /// How far was read.
    upto: Seq,
    wanted: Vec<(Seq, Entry)>,
}

fn read(view: &View, follower: &dyn Follower, stored: Seq, from: Seq) -> Reply<Read> {
    let entries = view.log(from, Seq::MAX, BATCH)?;
    // Entries of other tenants lie between; they are not ours to wait for.
    let upto = match entries.last() {
        Some((last, _)) if entries.len() == BATCH => *last,
        _ => view.head().max(from),
    };
    let mut wanted = Vec::new();
    for (seq, entry) in entries {
        if follower.wants(&entry) && follower.concerns(view, &entry)? {
            wanted.push((seq, entry));
        }
    }
    Ok(Read { stored, upto, wanted })
}

async fn take(
    store: &Store,
    follower: &Arc<dyn Follower>,
    id: &str,
    seq: Seq,
    entry: Entry,
) -> Reply<()> {
    let (follower, id) = (follower.clone(), id.to_owned());
    let name = follower.id();
    let outcome = store
        .write(None, move |tx| {
            let now = tx.get(&CURSORS, (id.clone(),))?.unwrap_or_default();
            // Another process was faster.
            if now >= seq {
                return Ok(());
            }
            follower.step(tx, seq, &entry)?;
            tx.put(&CURSORS, (id.clone(),), &seq);
            Ok(())
        })
        .await;
    match outcome {
        Err(Error::Refused(r)) => {
            // What a rule forbids stays forbidden: taking the entry again would stop the follower for ever.
            tracing::warn!(follower = name, %seq, reason = %r.message, "entry refused");
            Ok(())
        }
        other => other.map(drop),
    }
}
