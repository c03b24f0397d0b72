//! What an application service is told: events and receipts as its transactions have them (spec: Application Service API,
//! "Pushing events", "Pushing EDUs").
//!
//! An application service that is interested in a room is told everything of it, so no gate stands here. What is
//! written depends only on what is stored, never on the time or the asker: a transaction that is sent again says the
//! same. Therefore no `age` and no aggregations.

use base::{Event, Reply, Room, Seq, User};
use protocol::room::STRIPPED_STATE;
use ruma::UserId;
use store::{
    View,
    event::{self, Stored},
    room,
    schema::{RECEIPTS, Receipt, Standing},
    user,
};

use crate::{gate::standing, json::Out};

/// Receipts of one user in one room: one for each thread.
const RECEIPTS_MAX: usize = 10_000;

/// Writes an event. `of_service`: is this one of the application service's users? One who is invited is shown the
/// room's stripped state, as `/sync` shows it to people.
pub fn write_event(
    view: &View,
    out: &mut Out,
    event: Event,
    of_service: &dyn Fn(&UserId) -> bool,
) -> Reply<()> {
    let stored = event::load(view, event)?;
    begin(view, out, &stored)?;
    out.key("unsigned").open();
    replaced(view, out, &stored)?;
    if let Some(by) = stored.row.redacted_by {
        out.key("redacted_because");
        begin(view, out, &*event::load(view, by)?)?;
        out.close();
    }
    if let Some(key) = stripped_under(&stored, of_service) {
        out.key(key).open_array();
        stripped_state(view, out, &stored)?;
        out.close_array();
    }
    out.close().close();
    Ok(())
}

/// The stored text without its last brace, and the room id.
fn begin(view: &View, out: &mut Out, stored: &Stored) -> Reply<()> {
    let text = protocol::pdu::for_clients(&stored.row.kind, stored.client())?;
    out.raw(text.strip_suffix('}').unwrap_or(&text));
    out.key("room_id").text(&room::info(view, stored.row.room)?.id);
    Ok(())
}

fn replaced(view: &View, out: &mut Out, stored: &Stored) -> Reply<()> {
    let Some(before) = stored.row.replaces else { return Ok(()) };
    let before = event::load(view, before)?;
    out.key("replaces_state").text(before.id.as_str());
    out.key("prev_content").raw(before.content());
    out.key("prev_sender").text(user::id(view, before.row.sender)?.as_str());
    Ok(())
}

/// Under which name the stripped state belongs to this event, if it does.
fn stripped_under(stored: &Stored, of_service: &dyn Fn(&UserId) -> bool) -> Option<&'static str> {
    let target = stored.row.state_key.as_deref().filter(|_| stored.is_state("m.room.member"))?;
    <&UserId>::try_from(target).ok().filter(|id| of_service(id))?;
    match standing(stored)? {
        Standing::Invite => Some("invite_room_state"),
        Standing::Knock => Some("knock_room_state"),
        _ => None,
    }
}

/// The state that describes the room, as it was before the event, and the membership of its sender.
fn stripped_state(view: &View, out: &mut Out, stored: &Stored) -> Reply<()> {
    let sender = user::id(view, stored.row.sender)?;
    let described = STRIPPED_STATE.iter().map(|kind| (*kind, ""));
    for (kind, key) in described.chain([("m.room.member", sender.as_str())]) {
        let Some(state) = room::state(view, stored.row.before, kind, key)? else { continue };
        let by = user::id(view, state.row.sender)?;
        out.open().key("type").text(kind).key("state_key").text(key);
        out.key("sender").text(by.as_str()).key("content").raw(state.content()).close();
    }
    Ok(())
}

/// Writes an `m.receipt` with those of a user's receipts in a room that moved at this position. Says whether there
/// are any: later ones may have taken their place.
pub fn write_receipts(
    view: &View,
    out: &mut Out,
    (room, user): (Room, User),
    moved: Seq,
    private: bool,
) -> Reply<bool> {
    let rows: Vec<((Room, User, String, u8), Receipt)> =
        view.under(&RECEIPTS, (room, user), RECEIPTS_MAX)?;
    let of_kind = |(_, _, _, kind): &(Room, User, String, u8)| *kind == u8::from(private);
    let mut any = false;
    for ((_, _, thread, _), receipt) in
        rows.into_iter().filter(|(key, receipt)| receipt.moved == moved && of_kind(key))
    {
        any = true;
        let kind = if private { "m.read.private" } else { "m.read" };
        out.open().key("type").text("m.receipt");
        out.key("room_id").text(&room::info(view, room)?.id).key("content").open();
        out.key(&receipt.event_id).open().key(kind).open();
        out.key(user::id(view, user)?.as_str()).open().key("ts").number(receipt.at.0);
        if !thread.is_empty() {
            out.key("thread_id").text(&thread);
        }
        out.close().close().close().close().close();
    }
    Ok(any)
}

/// Writes an `m.typing` for a room.
pub fn write_typing(view: &View, out: &mut Out, room: Room, users: &[User]) -> Reply<()> {
    out.open().key("type").text("m.typing");
    out.key("room_id").text(&room::info(view, room)?.id);
    out.key("content").open().key("user_ids").open_array();
    for typist in users {
        out.text(user::id(view, *typist)?.as_str());
    }
    out.close_array().close().close();
    Ok(())
}
