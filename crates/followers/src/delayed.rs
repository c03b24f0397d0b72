//! Delayed events whose time has come are sent (MSC4140): the one reaction that waits for the clock and not for the log.
//! Every process looks; who comes second finds nothing left to do.

use std::time::Duration;

use base::{Error, Reply};
use ruma::OwnedRoomId;
use store::{Lane, Store};
use tokio::sync::watch;

/// How often the clock is looked at. An event may be sent half a minute late (MSC4140); calls want it sooner.
const EVERY: Duration = Duration::from_millis(500);
/// Events taken at once.
const BATCH: usize = 100;

/// Sends what is due, in the order in which it came due, until `stop` turns true. What came due while no process ran
/// comes first.
pub async fn run(store: Store, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match fire_due(&store, &stop).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(e) => tracing::error!(error = %e, "delayed events wait"),
        }
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Says whether there may be more at once.
async fn fire_due(store: &Store, stop: &watch::Receiver<bool>) -> Reply<bool> {
    let due = store.read(|view| rooms::delayed::due(view, BATCH)).await?;
    let full = due.len() == BATCH;
    for (id, room) in due {
        if *stop.borrow() {
            return Ok(false);
        }
        fire(store, id, room).await?;
    }
    Ok(full)
}

async fn fire(store: &Store, id: String, room: Option<OwnedRoomId>) -> Reply<()> {
    let lane = room.map(|room| Lane::of_room(room.as_str()));
    let delay_id = id.clone();
    match store.write(lane, move |tx| rooms::delayed::fire(tx, &delay_id)).await {
        Ok(_) => Ok(()),
        Err(Error::Refused(no)) => {
            // What a transaction refuses leaves no trace, so why it did is written by another.
            let fail =
                move |tx: &mut store::Tx| rooms::delayed::fail(tx, &id, no.errcode, &no.message);
            store.write(None, fail).await.map(drop)
        }
        Err(fault) => Err(fault),
    }
}
