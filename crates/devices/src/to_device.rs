//! Messages from device to device (spec: Client-Server API, "Send-to-Device messaging").
//!
//! Invariants: all messages of a request are written in one commit, with its transaction id; a message that was
//! acknowledged lies in the inbox until its receiver acknowledges it, or until the device is gone. Whoever writes to a
//! device relies on the list of devices, so none can be written to a device that is being deleted. What is for users of
//! other servers waits in the outbox until their server acknowledges it (spec: Server-Server API, "Send-to-device
//! messaging").

mod elsewhere;

use std::collections::BTreeMap;

use base::{Error, Reply, User};
pub use elsewhere::{Incoming, receive};
use protocol::json::quote;
use ruma::{OwnedUserId, UserId, serde::Raw, to_device::DeviceIdOrAllDevices};
use store::{
    Tx, Txn, inbox,
    schema::{DEVICES, Device, Done, TXNS},
    user,
};

/// Messages that one request may put into inboxes. Clients send to twenty devices at a time; this is for `*`.
const MESSAGES_MAX: usize = 10_000;
/// Devices of one user that `*` reaches: more than anyone may have.
const DEVICES_MAX: usize = 10_000;
/// An event type (spec, "Size limits").
const KIND_BYTES_MAX: usize = base::limits::ID_BYTES_MAX;

/// Receivers with what each of their devices is sent.
pub type Messages<T> = BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Raw<T>>>;

/// Puts messages into inboxes, and those for users of other servers into the outbox, once for each transaction id. Devices
/// that do not exist are passed over (spec), and so are users of this server who do not.
///
/// # Errors
/// 400 `M_BAD_JSON` for a message that is not an object, 400 `M_INVALID_PARAM` for an event type that is too long, 413
/// `M_TOO_LARGE` for too many messages at once.
pub fn send<T>(
    tx: &mut Tx,
    (sender, sender_id): (User, &UserId),
    kind: &str,
    messages: &Messages<T>,
    txn: Txn<'_>,
) -> Reply<()> {
    if kind.len() > KIND_BYTES_MAX {
        return Err(Error::invalid_param("the event type is too long"));
    }
    let key = (sender, txn.key());
    if tx.has(&TXNS, key)? {
        return Ok(());
    }
    let mut left = MESSAGES_MAX;
    let mut parcels = elsewhere::Parcels::default();
    for (receiver_id, by_device) in messages {
        // Of a user elsewhere nothing need be known: who is about to be invited is sent keys before.
        let local = user::is_local(tx, receiver_id);
        let receiver = if local { user::find(tx, receiver_id)? } else { None };
        if local && receiver.is_none() {
            continue;
        }
        for (device, content) in by_device {
            let content = content.json().get();
            if !protocol::json::is_object(content.as_bytes()) {
                return Err(Error::bad_json("a message is an object"));
            }
            let Some(receiver) = receiver else {
                left = left.checked_sub(1).ok_or_else(too_many)?;
                parcels.add(receiver_id, device, content);
                continue;
            };
            let text = event(kind, sender_id, content);
            for device in reached(tx, receiver, device)? {
                left = left.checked_sub(1).ok_or_else(too_many)?;
                inbox::put(tx, receiver, &device, &text);
            }
        }
    }
    parcels.put(tx, kind, sender_id);
    tx.put(&TXNS, key, &Done::Nothing);
    Ok(())
}

fn too_many() -> Error {
    Error::too_large(format!("one request sends at most {MESSAGES_MAX} messages"))
}

/// What the receiver is shown.
fn event(kind: &str, sender: &UserId, content: &str) -> String {
    let (kind, sender) = (quote(kind), quote(sender.as_str()));
    format!(r#"{{"content":{content},"sender":{sender},"type":{kind}}}"#)
}

/// The devices that are meant, as far as they exist.
fn reached(tx: &Tx, user: User, device: &DeviceIdOrAllDevices) -> Reply<Vec<String>> {
    match device {
        DeviceIdOrAllDevices::DeviceId(id) => {
            // A name that no device can have is no key either.
            if id.as_str().len() > base::limits::ID_BYTES_MAX {
                return Ok(Vec::new());
            }
            let there = tx.has(&DEVICES, (user, id.to_string()))?;
            Ok(there.then(|| id.to_string()).into_iter().collect())
        }
        DeviceIdOrAllDevices::AllDevices => {
            let rows: Vec<((User, String), Device)> = tx.under(&DEVICES, (user,), DEVICES_MAX)?;
            Ok(rows.into_iter().map(|((_, id), _)| id).collect())
        }
    }
}

#[cfg(test)]
mod tests;
