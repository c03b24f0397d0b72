//! The log: everything that happened, one small entry each, in commit order. Entries hold ids, never content, so
//! that what is erased elsewhere leaves nothing here.

use base::{Error, Event, Reply, Room, Seq, User};
use serde::{Deserialize, Serialize};

use crate::{
    keyspace::Tenant,
    value::{put_serde, seal, stored, take_serde, unseal},
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// An event was added to a room's timeline.
    Event {
        /// Where.
        room: Room,
        /// What.
        event: Event,
        /// By whom.
        sender: User,
        /// Whose membership it changes, if it is a member event.
        target: Option<User>,
        /// Does it change the room's state?
        state: bool,
    },
    /// An event's content was taken away by a redaction.
    Redacted {
        /// Where.
        room: Room,
        /// Which.
        event: Event,
    },
    /// A receipt moved.
    Receipt {
        /// Where.
        room: Room,
        /// Whose.
        user: User,
        /// Only the user may know.
        private: bool,
    },
    /// Account data changed (push rules and tags are account data too).
    AccountData {
        /// Whose.
        user: User,
        /// For one room, or global.
        room: Option<Room>,
        /// Its type.
        kind: String,
    },
    /// A profile field changed.
    Profile {
        /// Whose.
        user: User,
        /// Which field.
        key: String,
    },
    /// A user's list of devices, or their keys, changed.
    Devices {
        /// Whose.
        user: User,
    },
    /// A message waits in a device's inbox.
    ToDevice {
        /// Whose.
        user: User,
        /// Which device.
        device: String,
    },
    /// An account was created, deactivated or erased.
    Account {
        /// Whose.
        user: User,
    },
    /// A user's pushers changed.
    Pushers {
        /// Whose.
        user: User,
    },
    /// A user subscribed to a thread, or unsubscribed from it.
    ThreadSubscription {
        /// Who.
        user: User,
        /// Where.
        room: Room,
        /// The root of the thread.
        root: Event,
    },
    /// More guests have to leave a room than left so far.
    Guests {
        /// Which.
        room: Room,
    },
    /// A room was put into the directory or taken out.
    Directory {
        /// Which.
        room: Room,
    },
    /// A notice of the server is to be delivered.
    Notice {
        /// Its number.
        notice: u64,
    },
    /// Devices were deleted; what was kept for them is to be swept.
    DevicesGone {
        /// Whose.
        user: User,
        /// Transaction ids up to and with this one are swept already.
        after: [u8; 16],
    },
    /// A user forgot a room.
    Forgotten {
        /// Who.
        user: User,
        /// Which.
        room: Room,
    },
    /// A room's state changed by more than the event beside this entry, if there is one: by state resolution, when all of
    /// the state of a room has arrived, or because another server told of a membership (an invite) in a room that this
    /// server is not in.
    State {
        /// Where.
        room: Room,
        /// Whose membership it changed, if it did.
        target: Option<User>,
    },
    /// Something waits for another server that is no event: a message for a device, a change of a device list.
    Outbound {
        /// The name of the server.
        server: String,
    },
    /// A user signed another user's master key. Only the one who signed may know.
    Signed {
        /// Who signed.
        by: User,
        /// Whose key.
        of: User,
    },
    /// Backed up keys that no backup has any longer are to be swept.
    ShelfGone {
        /// Whose.
        user: User,
        /// Where they are.
        shelf: u64,
    },
    /// An event that was there when users of another server came into its room, and that their join does not follow: nobody
    /// has told that server of it.
    Beside {
        /// Where.
        room: Room,
        /// The event.
        event: Event,
        /// The name of the server.
        server: String,
    },
}

struct Line {
    tenant: u16,
    entry: Entry,
}
impl crate::value::Value for Line {
    fn put(&self, out: &mut Vec<u8>) {
        put_serde(&(self.tenant, &self.entry), out)
    }
    fn take(version: u8, payload: &[u8]) -> Option<Self> {
        let (tenant, entry) = (version == 1).then(|| take_serde(payload)).flatten()?;
        Some(Line { tenant, entry })
    }
}
stored!(Entry);

pub(crate) fn write(tenant: Tenant, entry: Entry) -> kv::Entry {
    Box::new(move |seq| seal(&seq.0.to_be_bytes(), &Line { tenant: tenant.0, entry }))
}

pub(crate) fn read(key: &[u8], row: &[u8]) -> Reply<(Seq, Tenant, Entry)> {
    let corrupt = || Error::fault(format!("corrupt log entry {key:02x?}"));
    let seq = Seq(u64::from_be_bytes(key.try_into().map_err(|_| corrupt())?));
    let (version, payload) = unseal(key, row).ok_or_else(corrupt)?;
    let line = <Line as crate::value::Value>::take(version, payload).ok_or_else(corrupt)?;
    Ok((seq, Tenant(line.tenant), line.entry))
}
