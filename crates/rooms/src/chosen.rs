//! What the first two room versions leave to the server that makes an event: its id, and the reference hashes of the
//! events it names (spec: Room Version 1, "Event IDs" and "Event format").

use std::collections::BTreeMap;

use base::{Error, Event, Reply};
use protocol::pdu::{self, Named};
use ruma::{OwnedEventId, RoomId, RoomVersionId};
use store::{CacheSpace, Tx, View, event};

/// A reference hash follows from what a redaction keeps, so it never changes.
static HASHES: CacheSpace = CacheSpace { tag: 30, owned: None };

/// What a cached hash costs.
const HASH_BYTES: usize = 96;
/// Letters of an opaque id: 18 of 52 are more than 100 bits.
const LETTERS: usize = 18;

/// An opaque id that no other has.
pub(crate) fn opaque(tx: &Tx) -> String {
    let letter = |byte: u8| {
        let n = byte % 52;
        char::from(if n < 26 { b'A' + n } else { b'a' + (n - 26) })
    };
    tx.random::<LETTERS>().into_iter().map(letter).collect()
}

/// An id for a new event, and the hashes of those that it names.
pub(crate) fn name(
    tx: &Tx,
    version: &RoomVersionId,
    room_id: &RoomId,
    named: &[&OwnedEventId],
) -> Reply<Named> {
    let event_id = OwnedEventId::try_from(format!("${}:{}", opaque(tx), tx.server_name()))
        .map_err(|e| Error::fault(format!("own event id: {e}")))?;
    named_as(tx, event_id, version, room_id, named)
}

/// The hashes of the events that an event of this id names.
pub(crate) fn named_as(
    view: &View,
    event_id: OwnedEventId,
    version: &RoomVersionId,
    room_id: &RoomId,
    named: &[&OwnedEventId],
) -> Reply<Named> {
    let mut hashes = BTreeMap::new();
    for id in named {
        let event =
            event::find(view, id)?.ok_or_else(|| Error::fault(format!("{id} is missing")))?;
        hashes.insert((*id).clone(), hash(view, version, room_id, event)?);
    }
    Ok(Named { event_id, hashes })
}

fn hash(view: &View, version: &RoomVersionId, room_id: &RoomId, event: Event) -> Reply<String> {
    let hash = view.cached(&HASHES, u128::from(event.0), |view| {
        let (stored, rest) = (event::load(view, event)?, event::rest(view, event)?);
        let text = pdu::join(version, room_id, stored.client(), &rest)?;
        Ok((pdu::reference_hash(version, &text)?, HASH_BYTES))
    })?;
    Ok((*hash).clone())
}
