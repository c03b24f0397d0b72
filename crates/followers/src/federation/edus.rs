//! The words of EDUs (spec: Server-Server API, "EDUs" and what follows it).

use std::collections::{BTreeMap, BTreeSet};

use base::{Reply, Room, Seq, UnixMs, User};
use serde_json::{Map, Value, json};
use store::{
    PresenceShown, PresenceState, View, device_changes, outbox, room,
    schema::{DEVICES, RECEIPTS, Receipt},
    user,
};

/// Receipts of one user in one room: one for each thread.
const RECEIPTS_MAX: usize = 10_000;
/// Who did something this long ago is active now (spec: Client-Server API, `currently_active`), milliseconds.
const ACTIVE_MS: u64 = 5 * 60_000;

fn edu(kind: &str, content: Value) -> String {
    json!({ "edu_type": kind, "content": content }).to_string()
}

/// Receipts, until they are put into as few EDUs as there can be: one holds one receipt of a user in a room.
#[derive(Default)]
pub(super) struct Receipts {
    edus: Vec<BTreeMap<String, BTreeMap<String, Value>>>,
    seen: BTreeMap<(Room, User), usize>,
}

impl Receipts {
    /// Takes in the receipt that moved at a position, unless it has moved on since.
    pub(super) fn add(&mut self, view: &View, room: Room, user: User, at: Seq) -> Reply<()> {
        let rows: Vec<((Room, User, String, u8), Receipt)> =
            view.under(&RECEIPTS, (room, user), RECEIPTS_MAX)?;
        for ((.., thread, private), receipt) in rows {
            if private != 0 || receipt.moved != at {
                continue;
            }
            let mut data = json!({ "ts": receipt.at.0 });
            if let (false, Some(data)) = (thread.is_empty(), data.as_object_mut()) {
                data.insert("thread_id".to_owned(), Value::String(thread));
            }
            let value = json!({ "data": data, "event_ids": [receipt.event_id] });
            let edu = self.seen.entry((room, user)).and_modify(|n| *n += 1).or_insert(0);
            if self.edus.len() <= *edu {
                self.edus.resize_with(*edu + 1, BTreeMap::new);
            }
            if let Some(edu) = self.edus.get_mut(*edu) {
                let (room, user) = (room::id(view, room)?, user::id(view, user)?);
                edu.entry(room.to_string()).or_default().insert(user.to_string(), value);
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.edus.len()
    }

    pub(super) fn finish(self) -> impl Iterator<Item = String> {
        let content = |rooms: BTreeMap<String, BTreeMap<String, Value>>| {
            let rooms = rooms.into_iter().map(|(room, users)| (room, json!({ "m.read": users })));
            Value::Object(rooms.collect::<Map<_, _>>())
        };
        self.edus.into_iter().map(move |rooms| edu("m.receipt", content(rooms)))
    }
}

/// A change of a device: as it is now, after the change before it.
pub(super) fn device(view: &View, user: User, at: Seq) -> Reply<Option<String>> {
    let Some(id) = device_changes::at(view, user, at)? else { return Ok(None) };
    let mut content = json!({
        "user_id": user::id(view, user)?,
        "device_id": id,
        "stream_id": at.0,
        "prev_id": device_changes::last_before(view, user, at)?.into_iter().map(|seq| seq.0).collect::<Vec<_>>(),
    });
    let device = view.get(&DEVICES, (user, id))?;
    if let Some(content) = content.as_object_mut() {
        match device {
            None => drop(content.insert("deleted".to_owned(), Value::Bool(true))),
            Some(device) => {
                let name = device.display_name.map(Value::String);
                content.extend(name.map(|name| ("device_display_name".to_owned(), name)));
            }
        }
    }
    Ok(Some(edu("m.device_list_update", content)))
}

/// A message for devices, if it still waits.
pub(super) fn message(view: &View, server: &str, at: Seq) -> Reply<Option<String>> {
    let content = outbox::read(view, server, at)?;
    Ok(content.map(|text| format!(r#"{{"content":{text},"edu_type":"m.direct_to_device"}}"#)))
}

/// Somebody types, or no longer.
pub(super) fn typing(view: &View, room: Room, user: User, typing: bool) -> Reply<String> {
    let (room, user) = (room::id(view, room)?, user::id(view, user)?);
    Ok(edu("m.typing", json!({ "room_id": room, "user_id": user, "typing": typing })))
}

/// How present users are, all in one EDU; `None`: of none of them anything is known.
pub(super) fn presence(view: &View, users: &BTreeSet<User>) -> Reply<Option<String>> {
    let mut push = Vec::new();
    for user in users {
        if let Some(shown) = view.presence(*user) {
            push.push(one_present(view, *user, &shown)?);
        }
    }
    Ok((!push.is_empty()).then(|| edu("m.presence", json!({ "push": push }))))
}

fn one_present(view: &View, user: User, shown: &PresenceShown) -> Reply<Value> {
    let ago = |at: UnixMs| view.now().0.saturating_sub(at.0);
    // Who was never active here has been idle since before this process began: say at least the time of idleness.
    let ago = shown.active.map_or(ACTIVE_MS, ago);
    let mut value = json!({
        "user_id": user::id(view, user)?,
        "presence": shown.state.as_str(),
        "last_active_ago": ago,
        "currently_active": shown.state == PresenceState::Online && ago < ACTIVE_MS,
    });
    if let (Some(status), Some(value)) = (&shown.status, value.as_object_mut()) {
        value.insert("status_msg".to_owned(), Value::String(status.clone()));
    }
    Ok(value)
}
