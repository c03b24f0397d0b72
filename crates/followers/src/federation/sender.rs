//! The turn of one destination: transaction after transaction, one at a time, until it has everything.

use std::{sync::Arc, time::Duration};

use base::{Reply, UnixMs};
use flows::peers::Unanswered;
use store::{
    Store, outbox,
    schema::{DESTINATIONS, Destination, Parcel},
};
use tokio::sync::watch;

use super::{
    compose::{self, Composed, EDUS_IN_ALL_MAX, EVENTS_MAX, Ephemeral},
    concern::Item,
    desk::{BARRED, Desk, Next},
    scribe::{Note, Scribe},
    wire::{Transaction, Wire},
};

/// Transactions in one turn, then others have theirs.
const TRANSACTIONS_MAX: usize = 16;
/// After the first failure, milliseconds.
const PAUSE_MS: u64 = 5_000;
/// Between two tries at most, if the server is not heard of, milliseconds.
const PAUSE_MS_MAX: u64 = 3_600_000;
/// The same for a server that answers and takes nothing from us: it is to be heard of, or somebody there has to act.
const REFUSED_MS: u64 = 600_000;
/// See [`REFUSED_MS`].
const REFUSED_MS_MAX: u64 = 86_400_000;
/// How often a transaction is sent that is refused for what is in it. Then it is left out: what follows is not to wait for
/// ever. Events that are missing are asked for.
const REFUSED_MAX: u32 = 5;
/// After so many failures, a few minutes, it is looked whether too many messages wait.
const MANY_FAILURES: u32 = 6;
/// Messages dropped in one transaction of the store, and how often that is done at once.
const DROPPED_MAX: usize = 1_000;
const DROPS_MAX: usize = 100;
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
            acknowledged(shared, server, row);
            Ok(true)
        }
        Err(why) => {
            tracing::debug!(%server, transaction = id, %why, "a transaction was not delivered");
            if is_unfit(&why) && shared.desk.refused(server) >= REFUSED_MAX {
                tracing::warn!(%server, transaction = id, %why, "a transaction is left out");
                metrics::counter!("althing_federation_left_out_total").increment(1);
                shared.desk.reached(server);
                (row.failures, row.retry) = (0, UnixMs(0));
                acknowledged(shared, server, row);
                return Ok(true);
            }
            fail(shared, server, row, &why).await?;
            Ok(false)
        }
    }
}

/// What was being sent need not be sent again.
fn acknowledged(shared: &Shared, server: &str, row: &mut Destination) {
    if let Some(parcel) = row.sending.take() {
        row.upto = parcel.upto;
        shared.desk.has(server, parcel.upto, &parcel.messages);
    }
}

/// Is it the transaction that is refused, for what is in it?
fn is_unfit(why: &Unanswered) -> bool {
    matches!(why, Unanswered::Refused(said) if matches!(said.status, 400 | 413 | 422))
}

/// The pause after the first failure, and the longest, milliseconds.
fn pauses(why: &Unanswered) -> (u64, u64) {
    match why {
        Unanswered::Refused(_) if !why.is_passing() && !is_unfit(why) => {
            (REFUSED_MS, REFUSED_MS_MAX)
        }
        _ => (PAUSE_MS, PAUSE_MS_MAX),
    }
}

/// Drops the oldest messages for a server that is away, as far as they are too many or too old. Who comes back after so
/// long finds the keys of devices anew.
async fn drop_excess(shared: &Shared, server: &Arc<str>) -> Reply<()> {
    let (name, now) = (server.clone(), shared.store.now());
    let excess = shared.store.read(move |view| outbox::excess(view, &name, now)).await?;
    let Some(upto) = excess else { return Ok(()) };
    for _ in 0..DROPS_MAX {
        let name = server.clone();
        let write =
            shared.store.write(None, move |tx| outbox::drop_upto(tx, &name, upto, DROPPED_MAX));
        let dropped = write.await?.value;
        metrics::counter!("althing_federation_dropped_messages_total").increment(dropped as u64);
        if dropped < DROPPED_MAX {
            break;
        }
    }
    Ok(())
}

/// Takes note of a failure, and ends the turn.
async fn fail(
    shared: &Shared,
    server: &Arc<str>,
    row: &mut Destination,
    why: &Unanswered,
) -> Reply<()> {
    metrics::counter!("althing_federation_failures_total").increment(1);
    let barred = matches!(why, Unanswered::Barred);
    let counts = !barred && !matches!(why, Unanswered::Resting);
    row.failures = row.failures.saturating_add(u32::from(counts));
    let jitter = 0.75 + f64::from(u16::from_be_bytes(shared.store.random())) / 131_072.0;
    let pause = pause(row.failures, pauses(why), jitter);
    let until = UnixMs(shared.store.now().0.saturating_add(pause));
    row.retry = match resting(shared, server) {
        _ if barred => BARRED,
        rested => rested.map_or(until, |rested| until.max(rested)),
    };
    if row.sending.is_none() {
        // From now on nothing is kept for it: its row says where to go on.
        let upto = shared.desk.cursor(server);
        row.sending = Some(Parcel { upto, ..Parcel::default() });
    }
    let rows = vec![(server.to_string(), row.clone())];
    shared.scribe.write(Note { rows, ..Note::default() }).await?;
    shared.desk.written(server);
    if barred || row.failures >= MANY_FAILURES {
        drop_excess(shared, server).await?;
    }
    shared.desk.rest(server, Some(row.clone()), row.retry);
    Ok(())
}

/// Until when the server rests, if it does.
fn resting(shared: &Shared, server: &str) -> Option<UnixMs> {
    shared.wire.rests_until(server).filter(|until| *until > shared.store.now())
}

/// Twice as long after each failure, up to a limit, and never quite alike, milliseconds.
fn pause(failures: u32, (first, longest): (u64, u64), jitter: f64) -> u64 {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let pause = Duration::from_millis(doubled.min(longest)).mul_f64(jitter);
    u64::try_from(pause.as_millis()).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use flows::peers::Said;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let usual = (PAUSE_MS, PAUSE_MS_MAX);
        assert_eq!(pause(1, usual, 1.0), PAUSE_MS);
        assert_eq!(pause(4, usual, 1.0), PAUSE_MS * 8);
        assert!(pause(3, usual, 0.75) < pause(3, usual, 1.25));
        assert_eq!(pause(1_000, usual, 1.0), PAUSE_MS_MAX);
    }

    #[test]
    fn a_server_that_takes_nothing_is_asked_rarely_and_one_that_is_busy_is_not() {
        let said = |status| {
            let (errcode, message) = (String::new(), String::new());
            Unanswered::Refused(Said { status, errcode, message })
        };
        for status in [401, 403, 404, 405] {
            assert_eq!(pauses(&said(status)), (REFUSED_MS, REFUSED_MS_MAX), "{status}");
        }
        for status in [400, 413, 429, 500, 503] {
            assert_eq!(pauses(&said(status)), (PAUSE_MS, PAUSE_MS_MAX), "{status}");
        }
        assert!(is_unfit(&said(400)) && !is_unfit(&said(403)) && !is_unfit(&said(429)));
    }
}
