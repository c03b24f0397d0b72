//! Events as other servers are given them: the two stored halves put together again, byte for byte as they were hashed
//! and signed (spec: Server-Server API, "PDUs").
//!
//! What was redacted here is given redacted: its id and its signatures hold all the same.

use base::{Error, Event, Reply, Room};
use protocol::pdu::{join, redact_client, redact_rest};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    event::{self, Stored},
    room,
    view::View,
};

/// Events read in one trip, each some kilobytes decoded.
const BATCH: usize = 1_000;

/// How the events of one room are written.
pub struct Wire {
    version: RoomVersionId,
    room: OwnedRoomId,
}

impl Wire {
    /// For the events of a room.
    ///
    /// # Errors
    /// Faults of the store.
    pub fn of(view: &View, room: Room) -> Reply<Wire> {
        let info = room::info(view, room)?;
        let version = RoomVersionId::try_from(info.version.as_str())
            .map_err(|e| Error::fault(format!("room {room} has a bad version: {e}")))?;
        Ok(Wire { version, room: room::id(view, room)? })
    }

    /// The version of the room.
    #[must_use]
    pub fn version(&self) -> &RoomVersionId {
        &self.version
    }

    /// An event as it is held, from its row and its federation remainder.
    ///
    /// # Errors
    /// A fault if they are broken.
    pub fn whole(&self, stored: &Stored, rest: &str) -> Reply<String> {
        match stored.row.redacted_by {
            None => join(&self.version, &self.room, stored.client(), rest),
            Some(_) => self.pruned(stored, rest),
        }
    }

    /// An event without what a redaction takes.
    ///
    /// # Errors
    /// A fault if the halves are broken.
    pub fn pruned(&self, stored: &Stored, rest: &str) -> Reply<String> {
        let client = redact_client(&self.version, stored.client())?;
        join(&self.version, &self.room, &client, &redact_rest(&self.version, rest)?)
    }

    /// One event as it is held.
    ///
    /// # Errors
    /// A fault if it is not here.
    pub fn one(&self, view: &View, event: Event) -> Reply<String> {
        self.whole(&*event::load(view, event)?, &event::rest(view, event)?)
    }

    /// Appends events as they are held to a text, in the order asked, with commas between them. Any number of them is read in
    /// trips of a thousand.
    ///
    /// # Errors
    /// A fault if one is not here.
    pub fn append(&self, view: &View, events: &[Event], out: &mut String) -> Reply<()> {
        let mut first = true;
        for batch in events.chunks(BATCH) {
            for (stored, rest) in event::whole(view, batch)? {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                out.push_str(&self.whole(&stored, &rest)?);
            }
        }
        Ok(())
    }
}

/// The events that an event names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// `prev_events`.
    pub prev: Vec<OwnedEventId>,
    /// `auth_events`.
    pub auth: Vec<OwnedEventId>,
}

/// What an event names, from its federation remainder.
///
/// # Errors
/// A fault if that is broken.
pub fn named(rest: &str) -> Reply<Named> {
    /// By its id, or in versions 1 and 2 by its id and hash.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Name {
        Id(OwnedEventId),
        Hashed(OwnedEventId, IgnoredAny),
    }
    #[derive(Deserialize)]
    struct Rest {
        prev_events: Vec<Name>,
        auth_events: Vec<Name>,
    }
    let rest: Rest = serde_json::from_str(rest)
        .map_err(|e| Error::fault(format!("a stored event is broken: {e}")))?;
    let ids = |names: Vec<Name>| {
        let id = |name| match name {
            Name::Id(id) | Name::Hashed(id, _) => id,
        };
        names.into_iter().map(id).collect()
    };
    Ok(Named { prev: ids(rest.prev_events), auth: ids(rest.auth_events) })
}
