//! What users keep for themselves, as clients get it (spec: "Client Config").

use base::{Reply, Room, User};
use ruma::UserId;
use store::{
    View,
    schema::{ACCOUNT_DATA, AccountData},
};

use crate::json::Out;

/// Account data types of one room.
const TYPES_MAX: usize = 10_000;

/// What stands for account data that was deleted (MSC3391).
const DELETED: &str = "{}";

/// Account data of a room (0: global): all, or of these types. What was deleted is told only to who asks for its type,
/// because it has changed.
pub(crate) fn read(
    view: &View,
    user: User,
    room: Room,
    kinds: Option<Vec<String>>,
) -> Reply<Vec<(String, AccountData)>> {
    let Some(kinds) = kinds else {
        let rows: Vec<((User, Room, String), AccountData)> =
            view.under(&ACCOUNT_DATA, (user, room), TYPES_MAX)?;
        let there = rows.into_iter().filter(|(_, data)| data.content != DELETED);
        return Ok(there.map(|((.., kind), data)| (kind, data)).collect());
    };
    let mut rows = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let data = view.get(&ACCOUNT_DATA, (user, room, kind.clone()))?;
        rows.extend(data.map(|d| (kind, d)));
    }
    Ok(rows)
}

/// Writes one piece of account data.
pub(crate) fn write(out: &mut Out, kind: &str, data: &AccountData) {
    out.open().key("type").text(kind).key("content").raw(&data.content).close();
}

/// Writes the push rules of users who have set none.
pub(crate) fn default_push_rules(
    view: &View,
    out: &mut Out,
    user: User,
    user_id: &UserId,
) -> Reply<()> {
    let key = (user, Room(0), "m.push_rules".to_owned());
    if view.has(&ACCOUNT_DATA, key)? {
        return Ok(());
    }
    let rules = protocol::push::with_defaults(None, user_id);
    if let Ok(rules) = serde_json::to_string(&rules) {
        out.open().key("type").text("m.push_rules").key("content").open();
        out.key("global").raw(&rules).close().close();
    }
    Ok(())
}
