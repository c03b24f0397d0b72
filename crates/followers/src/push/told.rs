//! An event as a gateway or a letter tells of it.

use base::Reply;
use notify::gateway::About;
use ruma::UserId;
use serde::Deserialize;
use store::{View, event::Stored, room, state::Root, user};
use sync::unread::Verdict;

/// Gathers what there is to tell. Names are those of today, as the spec wants.
pub(super) fn about(view: &View, me: &UserId, stored: &Stored, verdict: &Verdict) -> Reply<About> {
    let sender = user::id(view, stored.row.sender)?;
    let state = room::head(view, stored.row.room)?.state;
    let user_is_target =
        stored.is_state("m.room.member") && stored.row.state_key.as_deref() == Some(me.as_str());
    // What is encrypted may be anything, a call for example.
    let urgent = verdict.highlight || verdict.sound || stored.row.kind == "m.room.encrypted";
    Ok(About {
        event_id: stored.id.to_string(),
        room_id: room::info(view, stored.row.room)?.id.clone(),
        kind: stored.row.kind.clone(),
        sender_display_name: display_name(view, state, &sender)?,
        sender: sender.to_string(),
        room_name: room_name(view, state)?,
        room_alias: room_alias(view, state)?,
        user_is_target,
        content: stored.content().to_owned(),
        actions: verdict.actions.clone(),
        urgent,
    })
}

/// A member's name in a version of the state.
pub(super) fn display_name(view: &View, state: Root, user: &UserId) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        displayname: Option<String>,
    }
    let member = room::state(view, state, "m.room.member", user.as_str())?;
    let name = member.and_then(|m| m.content_as::<Content>()).and_then(|c| c.displayname);
    Ok(name.filter(|name| !name.is_empty()))
}

pub(super) fn room_name(view: &View, state: Root) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
    }
    let event = room::state(view, state, "m.room.name", "")?;
    let name = event.and_then(|e| e.content_as::<Content>()).and_then(|c| c.name);
    Ok(name.filter(|name| !name.is_empty()))
}

pub(super) fn room_alias(view: &View, state: Root) -> Reply<Option<String>> {
    #[derive(Deserialize)]
    struct Content {
        alias: Option<String>,
    }
    let event = room::state(view, state, "m.room.canonical_alias", "")?;
    Ok(event.and_then(|e| e.content_as::<Content>()).and_then(|c| c.alias))
}

/// Whom people know as the sender.
pub(super) fn who(about: &About) -> &str {
    about.sender_display_name.as_deref().unwrap_or(&about.sender)
}
