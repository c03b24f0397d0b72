//! The turn of one destination: transaction after transaction, one at a time, until it has everything.

use std::{sync::Arc, time::Duration};

use base::{Reply, UnixMs};
use flows::peers::Unanswered;
use store::{
    Store,
    schema::{DESTINATIONS, Destination, Parcel},
};
use tokio::sync::watch;

use super::{
    compose::{self, Composed, EDUS_IN_ALL_MAX, EVENTS_MAX, Ephemeral},
    concern::Item,
    desk::{Desk, Next},
    scribe::{Note, Scribe},
    wire::{Transaction, Wire},
};

/// Transactions in one turn, then others have theirs.
const TRANSACTIONS_MAX: usize = 16;
/// After the first failure, milliseconds.
const PAUSE_MS: u64 = 5_000;
/// Between two tries at most, if the server is not heard of, milliseconds.
const PAUSE_MS_MAX: u64 = 3_600_000;
/// After a fault of ours, milliseconds.
const FAULT_MS: u64 = 5_000;

/// What all senders share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) wire: Arc<dyn Wire>,
    pub(super) desk: Desk,
    pub(super) scribe: Scribe,
    pub(super) stop: watch::Receiver<bool>,
}

/// Serves a destination.
pub(super) async fn serve(shared: Arc<Shared>, server: Arc<str>) {
    if let Err(error) = turn(&shared, &server).await {
        tracing::error!(%server, %error, "cannot tell another server");
        let until = UnixMs(shared.store.now().0.saturating_add(FAULT_MS));
        // What the row says now is not known.
        shared.desk.rest(&server, None, until);
    }
}

async fn turn(shared: &Shared, server: &Arc<str>) -> Reply<()> {
    let mut row = row(shared, server).await?;
    if row.sending.is_some()
        && let Some(until) = resting(shared, server)
    {
        // Others could not reach it either: there is no use in looking what it would be told.
        shared.desk.rest(server, Some(row), until);
        return Ok(());
    }
    for _ in 0..TRANSACTIONS_MAX {
        if *shared.stop.borrow() {
            break;
        }
        if row.sending.as_ref().is_some_and(compose::is_empty) {
            // It only says where to go on.
            row.sending = None;
        }
        if let Some(parcel) = row.sending.clone() {
            let (name, stream) = (server.clone(), row.stream);
            let sending = parcel.clone();
            let read =
                shared.store.read(move |view| compose::transaction(view, &name, stream, &sending));
            let transaction = read.await?;
            if !deliver(shared, server, &mut row, transaction).await? {
                return Ok(());
            }
            continue;
        }
        match shared.desk.take(server, &row, EVENTS_MAX) {
            Next::Nothing => return Ok(()),
            Next::Items(items, ephemeral) => {
                if !live(shared, server, &mut row, items, ephemeral).await? {
                    return Ok(());
                }
            }
            Next::Log(from) => {
                let name = server.clone();
                let read =
                    shared.store.read(move |view| compose::from_log(view, &name, from)).await?;
                if compose::is_empty(&read) {
                    row.upto = row.upto.max(read.upto);
                    shared.desk.has(server, read.upto, &[]);
                } else {
                    write_down(shared, server, &mut row, read).await?;
                }
            }
        }
    }
    shared.desk.again(server, row);
    Ok(())
}

/// The row of a destination; a new one if it was never told anything.
async fn row(shared: &Shared, server: &Arc<str>) -> Reply<Destination> {
    if let Some(row) = shared.desk.row(server) {
        return Ok(row);
    }
    let name = server.to_string();
    let row = shared.store.read(move |view| view.get(&DESTINATIONS, (name,))).await?;
    let row = row.unwrap_or_else(|| Destination {
        stream: u64::from(u32::from_be_bytes(shared.store.random())) | 1,
        ..Destination::default()
    });
    shared.desk.learn(server, &row);
    Ok(row)
}

/// Tells what was handed out. Says no if the turn is over.
async fn live(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    items: Vec<Item>,
    ephemeral: Ephemeral,
) -> Reply<bool> {
    let (name, stream, number) = (server.clone(), row.stream, row.next);
    let at = shared.store.now();
    let read = shared.store.read(move |view| {
        let Composed { mut parcel, left } = compose::from_items(view, &name, items)?;
        (parcel.number, parcel.at) = (number, at);
        let mut transaction = compose::transaction(view, &name, stream, &parcel)?;
        let room = EDUS_IN_ALL_MAX.saturating_sub(transaction.edus.len());
        let passing = ephemeral.write(view, &name, room)?;
        transaction.edus.extend(passing);
        Ok((parcel, left, transaction))
    });
    let (parcel, left, mut transaction) = read.await?;
    shared.desk.give_back(server, left);
    if !compose::is_empty(&parcel) {
        put(shared, server, row, parcel).await?;
        return deliver(shared, server, row, transaction).await;
    }
    shared.desk.has(server, parcel.upto, &[]);
    if transaction.edus.is_empty() {
        return Ok(true);
    }
    // What lives in memory only is not worth being written down: it is sent once, under a name of its own.
    transaction.id = format!("{stream:x}-{:x}", u64::from_be_bytes(shared.store.random()));
    deliver(shared, server, row, transaction).await
}

async fn write_down(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    parcel: Parcel,
) -> Reply<()> {
    let parcel = Parcel { number: row.next, at: shared.store.now(), ..parcel };
    put(shared, server, row, parcel).await
}

/// Writes down what is to be sent.
async fn put(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    parcel: Parcel,
) -> Reply<()> {
    let forget = shared.desk.forgettable(server);
    let next = Destination {
        next: row.next.saturating_add(1),
        upto: shared.desk.cursor(server),
        sending: Some(parcel),
        ..row.clone()
    };
    let note = Note {
        rows: vec![(server.to_string(), next.clone())],
        forget: forget.into_iter().map(|at| (server.to_string(), at)).collect(),
        position: None,
    };
    shared.scribe.write(note).await?;
    shared.desk.written(server);
    *row = next;
    Ok(())
}

/// Sends once. Says no if it was not acknowledged: then the turn is over.
async fn deliver(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    transaction: Transaction,
) -> Reply<bool> {
    let (pdus, edus) = (transaction.pdus.len() as u64, transaction.edus.len() as u64);
    let id = transaction.id.clone();
    match shared.wire.send(server, transaction).await {
        Ok(refused) => {
            for (event, why) in &refused {
                tracing::debug!(%server, event, why, "another server refused an event");
            }
            metrics::counter!("althing_federation_sent_pdus_total").increment(pdus);
            metrics::counter!("althing_federation_sent_edus_total").increment(edus);
            metrics::counter!("althing_federation_refused_pdus_total")
                .increment(refused.len() as u64);
            (row.failures, row.retry) = (0, UnixMs(0));
            shared.desk.reached(server);
            if let Some(parcel) = row.sending.take() {
                row.upto = parcel.upto;
                shared.desk.has(server, parcel.upto, &parcel.messages);
            }
            Ok(true)
        }
        Err(why) => {
            tracing::debug!(%server, transaction = id, %why, "a transaction was not delivered");
            fail(shared, server, row, &why).await?;
            Ok(false)
        }
    }
}

/// Takes note of a failure, and ends the turn.
async fn fail(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    why: &Unanswered,
) -> Reply<()> {
    metrics::counter!("althing_federation_failures_total").increment(1);
    row.failures = row.failures.saturating_add(u32::from(!matches!(why, Unanswered::Resting)));
    let jitter = 0.75 + f64::from(u16::from_be_bytes(shared.store.random())) / 131_072.0;
    let until = UnixMs(shared.store.now().0.saturating_add(pause(row.failures, jitter)));
    row.retry = resting(shared, server).map_or(until, |rested| until.max(rested));
    if row.sending.is_none() {
        // From now on nothing is kept for it: its row says where to go on.
        let upto = shared.desk.cursor(server);
        row.sending = Some(Parcel { upto, ..Parcel::default() });
    }
    let rows = vec![(server.to_string(), row.clone())];
    shared.scribe.write(Note { rows, ..Note::default() }).await?;
    shared.desk.written(server);
    shared.desk.rest(server, Some(row.clone()), row.retry);
    Ok(())
}

/// Until when the server rests, if it does.
fn resting(shared: &Shared, server: &str) -> Option<UnixMs> {
    shared.wire.rests_until(server).filter(|until| *until > shared.store.now())
}

/// Twice as long after each failure, up to a limit, and never quite alike, milliseconds.
fn pause(failures: u32, jitter: f64) -> u64 {
    let doubled = PAUSE_MS.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let pause = Duration::from_millis(doubled.min(PAUSE_MS_MAX)).mul_f64(jitter);
    u64::try_from(pause.as_millis()).unwrap_or(PAUSE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1, 1.0), PAUSE_MS);
        assert_eq!(pause(4, 1.0), PAUSE_MS * 8);
        assert!(pause(3, 0.75) < pause(3, 1.25));
        assert_eq!(pause(1_000, 1.0), PAUSE_MS_MAX);
    }
}
