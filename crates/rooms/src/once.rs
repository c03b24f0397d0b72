//! Transaction ids (spec: Client-Server API, "Transaction identifiers"): a request that a client repeats, because the
//! answer was lost, is carried out once and answered alike.

use base::{Event, Reply, User};
use ruma::OwnedEventId;
use store::{
    Tx, Txn,
    schema::{Done, SENT, Sent, TXNS},
};

use crate::{Appended, ground};

/// Does something that makes an event, unless this request did before: then its event is the answer.
///
/// # Errors
/// What `f` refuses; a refusal is not remembered.
pub fn once(
    tx: &mut Tx,
    user: User,
    txn: Txn<'_>,
    f: impl FnOnce(&mut Tx) -> Reply<Appended>,
) -> Reply<OwnedEventId> {
    let key = (user, txn.key());
    if let Some(Done::Event(event)) = tx.get(&TXNS, key)? {
        return ground::event_id(tx, event);
    }
    let Appended { event, id, .. } = f(tx)?;
    tx.put(&TXNS, key, &Done::Event(event));
    remember_sender(tx, event, txn);
    Ok(id)
}

/// For `unsigned.transaction_id`, which only the sending device is shown.
fn remember_sender(tx: &mut Tx, event: Event, txn: Txn<'_>) {
    let sent = Sent { device: txn.device.to_owned(), txn_id: txn.id.to_owned() };
    tx.put_new(&SENT, (event,), &sent);
}
