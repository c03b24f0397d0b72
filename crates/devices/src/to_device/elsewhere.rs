//! Messages to and from devices of other servers (spec: Server-Server API, "Send-to-device messaging").

use std::collections::BTreeMap;

use base::Reply;
use protocol::json::{is_object, quote};
use ruma::{OwnedUserId, UserId, to_device::DeviceIdOrAllDevices};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Tx, inbox, outbox, schema::HEARD, user};

use super::{KIND_BYTES_MAX, MESSAGES_MAX, event, reached};

/// The id of a message from elsewhere, bytes.
const MESSAGE_ID_BYTES_MAX: usize = 255;
/// Messages of one server are remembered, so that none is delivered twice: it repeats a transaction until that is
/// acknowledged, with some hundred messages at most. They lie in so many places, by the hash of their ids,
const HEARD_PLACES: u64 = 1_024;
/// with so many of the newest in each: those of one transaction do not drive each other out.
const HEARD_EACH: usize = 16;

/// By receiver, by device: content as JSON text.
type ByUser = BTreeMap<String, BTreeMap<String, String>>;

/// What goes to other servers, one message for each.
#[derive(Default)]
pub(super) struct Parcels(BTreeMap<String, ByUser>);

impl Parcels {
    pub(super) fn add(&mut self, to: &UserId, device: &DeviceIdOrAllDevices, content: &str) {
        let by_user = self.0.entry(to.server_name().to_string()).or_default();
        let by_device = by_user.entry(to.to_string()).or_default();
        by_device.insert(device.to_string(), content.to_owned());
    }

    /// Puts everything into the outbox.
    pub(super) fn put(self, tx: &mut Tx, kind: &str, sender: &UserId) {
        for (server, messages) in self.0 {
            let id = u128::from_be_bytes(tx.random::<16>());
            let (kind, sender) = (quote(kind), quote(sender.as_str()));
            let by_user = messages.into_iter().map(|(user, by_device)| (user, object(by_device)));
            let messages = object(by_user);
            let content = format!(
                r#"{{"message_id":"{id:032x}","messages":{messages},"sender":{sender},"type":{kind}}}"#
            );
            outbox::put(tx, &server, content);
        }
    }
}

fn object(fields: impl IntoIterator<Item = (String, String)>) -> String {
    let fields = fields.into_iter().map(|(key, value)| format!("{}:{value}", quote(&key)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// The content of an `m.direct_to_device`, as another server sent it.
#[derive(Clone, Debug, Deserialize)]
pub struct Incoming {
    /// Its user.
    pub sender: OwnedUserId,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the message, however often it is sent.
    pub message_id: String,
    /// By receiver, by device or `*`.
    pub messages: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
}

/// Delivers a message of another server, once for each `message_id`. Whoever and whatever does not exist here is passed over,
/// and so is a message that is not for a user of this server, or not from a user of `origin`.
///
/// # Errors
/// Faults only.
pub fn receive(tx: &mut Tx, origin: &str, incoming: &Incoming) -> Reply<()> {
    let Incoming { sender, kind, message_id, messages } = incoming;
    let bounded = kind.len() <= KIND_BYTES_MAX && message_id.len() <= MESSAGE_ID_BYTES_MAX;
    if sender.server_name() != origin || !bounded {
        return Ok(());
    }
    let hash = blake3::hash(message_id.as_bytes());
    let first = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    let place = (origin.to_owned(), u64::from_be_bytes(first) % HEARD_PLACES);
    let mut heard = tx.get(&HEARD, place.clone())?.unwrap_or_default();
    if heard.ids.contains(message_id) {
        return Ok(());
    }
    heard.ids.push(message_id.clone());
    heard.ids.drain(..heard.ids.len().saturating_sub(HEARD_EACH));
    tx.put(&HEARD, place, &heard);
    let mut left = MESSAGES_MAX;
    for (receiver, by_device) in messages {
        let Ok(id) = <&UserId>::try_from(receiver.as_str()) else { continue };
        if !user::is_local(tx, id) {
            continue;
        }
        let Some(receiver) = user::find(tx, id)? else { continue };
        for (device, content) in by_device {
            if !is_object(content.get().as_bytes()) {
                continue;
            }
            let text = event(kind, sender, content.get());
            let device = match device.as_str() {
                "*" => DeviceIdOrAllDevices::AllDevices,
                id => DeviceIdOrAllDevices::DeviceId(id.into()),
            };
            for device in reached(tx, receiver, &device)? {
                let Some(rest) = left.checked_sub(1) else { return Ok(()) };
                left = rest;
                inbox::put(tx, receiver, &device, &text);
            }
        }
    }
    Ok(())
}
