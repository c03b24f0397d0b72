//! Transaction ids (spec: Client-Server API, "Transaction identifiers"): a request that a client repeats, because the
//! answer was lost, is carried out once and answered alike.

use base::{Event, Reply, User};
use ruma::OwnedEventId;
use store::{
    Tx,
    schema::{Done, SENT, Sent, TXNS},
};

use crate::{Appended, ground};

/// A request that may be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'a> {
    /// The device that sent it: other devices have transaction ids of their own.
    pub device: &'a str,
    /// The path without the transaction id, in any fixed form: ids are per endpoint and room.
    pub path: &'a str,
    /// The transaction id that the client chose.
    pub id: &'a str,
}

impl Txn<'_> {
    fn key(&self) -> [u8; 16] {
        let mut hash = blake3::Hasher::new();
        for part in [self.device, self.path, self.id] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        hash.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

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
