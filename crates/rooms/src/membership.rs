//! Membership events of users of this server: what they say, and sending them (spec: Client-Server API, "Room
//! membership", "Profiles").

use base::{Error, Event, Reply, Room, User};
use ruma::{OwnedMxcUri, UserId};
use serde_json::{Map, Value, json};
use store::{
    Tx, View, room,
    schema::{PROFILES, Standing},
    user,
};

use crate::{New, append, redaction};

/// The content of a membership event.
pub(crate) struct Content(Map<String, Value>);

impl Content {
    pub(crate) fn new(standing: Standing, reason: Option<&str>) -> Content {
        let mut content = Map::new();
        content.insert("membership".to_owned(), json!(standing.as_str()));
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), json!(reason));
        }
        Content(content)
    }

    /// With the name and avatar of a user of this server, whose membership it is.
    pub(crate) fn with_profile(mut self, view: &View, user: User) -> Reply<Content> {
        for key in PROFILE_KEYS {
            if let Some(value) = profile_field(view, user, key)? {
                self.0.insert(key.to_owned(), value);
            }
        }
        Ok(self)
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Content {
        self.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

/// What membership events repeat of a profile.
const PROFILE_KEYS: [&str; 2] = ["displayname", "avatar_url"];

fn profile_field(view: &View, user: User, key: &str) -> Reply<Option<Value>> {
    let text = view.get(&PROFILES, (user, key.to_owned()))?;
    let value = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let usable = |value: &Value| match key {
        "avatar_url" => value.as_str().is_some_and(|uri| OwnedMxcUri::from(uri).is_valid()),
        _ => value.is_string(),
    };
    Ok(value.filter(usable))
}

/// How a user, known or not, stands to a room.
pub(crate) fn standing(view: &View, room: Room, id: &UserId) -> Reply<Option<Standing>> {
    let Some(user) = user::find(view, id)? else { return Ok(None) };
    Ok(room::member(view, room, user)?.map(|member| member.standing))
}

/// Appends a membership event.
pub(crate) fn set(
    tx: &mut Tx,
    room: Room,
    sender: User,
    target: &UserId,
    content: Content,
) -> Reply<append::Appended> {
    let content = append::raw(&content.0)?;
    let state_key = Some(target.to_string());
    let kind = "m.room.member".to_owned();
    append::append(tx, room, New { sender, kind, state_key, content, redacts: None })
}

/// Appends an event that puts a user out, and with `redact` takes away what they sent (MSC4293).
pub(crate) fn put_out(
    tx: &mut Tx,
    room: Room,
    sender: User,
    target: &UserId,
    content: Content,
    redact: bool,
) -> Reply<()> {
    if !redact {
        return set(tx, room, sender, target, content).map(drop);
    }
    let content = content.with("org.matrix.msc4293.redact_events", json!(true));
    let put = set(tx, room, sender, target, content)?;
    let Some(of) = user::find(tx, target)? else { return Ok(()) };
    redaction::apply_to_all(tx, room, of, put.event, sender)
}

/// Repeats a user's profile in their memberships of at most `most` rooms where it says something else (spec:
/// Client-Server API, "Profiles": changes are propagated to the rooms). Returns whether rooms are left to do.
///
/// A room whose rules forbid it (an unknown join rule, say) keeps what it has.
///
/// # Errors
/// Faults.
pub fn refresh_profile(tx: &mut Tx, user: User, most: usize) -> Reply<bool> {
    let id = user::id(tx, user)?;
    let mut done = 0;
    for (room, membership) in room::rooms_of(tx, user)?.iter() {
        if membership.standing != Standing::Join {
            continue;
        }
        let Some(content) = with_new_profile(tx, user, membership.event)? else { continue };
        if done == most {
            return Ok(true);
        }
        match set(tx, *room, user, &id, content) {
            Ok(_) => done += 1,
            Err(Error::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(false)
}

/// The content of a membership event with the user's profile of today; `None` if it is that already.
fn with_new_profile(view: &View, user: User, event: Event) -> Reply<Option<Content>> {
    let current = store::event::load(view, event)?;
    let mut content: Map<String, Value> = current.content_as().unwrap_or_default();
    let before = content.clone();
    for key in PROFILE_KEYS {
        match profile_field(view, user, key)? {
            Some(value) => content.insert(key.to_owned(), value),
            None => content.remove(key),
        };
    }
    if content == before {
        return Ok(None);
    }
    // These told of the join itself.
    content.remove("join_authorised_via_users_server");
    content.remove("reason");
    Ok(Some(Content(content)))
}

#[cfg(test)]
mod tests;
