//! How users stand to rooms: what a membership event changes beside the state (spec: Client-Server API, "Room
//! membership", "Stripped state").

use base::{Error, Event, Reply, Room, User};
use protocol::{Pdu, json::quote, room::STRIPPED_STATE};
use ruma::{OwnedMxcUri, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    Tx, View,
    event::Stored,
    room,
    schema::{ACCOUNTS, Head, MEMBERS, Member, Membership, PROFILES, ROOMS_OF, Standing},
    state::Root,
    user,
};

use crate::{New, append};

/// What a new membership event says.
pub(crate) struct Change<'a> {
    pub(crate) target: &'a UserId,
    pub(crate) standing: Standing,
}

impl<'a> Change<'a> {
    /// Reads an event that the authorisation rules have accepted.
    pub(crate) fn read(pdu: &'a Pdu) -> Option<Change<'a>> {
        #[derive(Deserialize)]
        struct Content {
            membership: String,
        }
        let target = pdu.state_key.as_deref().filter(|_| pdu.kind == "m.room.member")?;
        let target = <&UserId>::try_from(target).ok()?;
        let standing = Standing::parse(&pdu.content_as::<Content>()?.membership)?;
        Some(Change { target, standing })
    }

    /// Whom we cannot tell of an invite is not invited.
    pub(crate) fn check_reachable(&self, view: &View) -> Reply<()> {
        if self.standing == Standing::Invite { check_invitee(view, self.target) } else { Ok(()) }
    }
}

/// May this user be invited at all?
///
/// # Errors
/// 404 `M_NOT_FOUND` for a user of this server who does not exist; a refusal for users of other servers.
pub(crate) fn check_invitee(view: &View, id: &UserId) -> Reply<()> {
    if !user::is_local(view, id) {
        return Err(crate::no_federation());
    }
    let account = match user::find(view, id)? {
        Some(user) => view.get(&ACCOUNTS, (user,))?,
        None => None,
    };
    match account {
        Some(account) if !account.deactivated => Ok(()),
        _ => Err(Error::not_found(format!("there is no user {id}"))),
    }
}

/// Writes the membership rows of a new event and counts it in the head. Returns whose membership changed.
///
/// `before` is the room's state before the event.
pub(crate) fn apply(
    tx: &mut Tx,
    room: Room,
    head: &mut Head,
    before: Root,
    change: &Change<'_>,
    (event, sender, pdu): (Event, User, &Pdu),
) -> Reply<User> {
    let standing = change.standing;
    let target = user::intern(tx, change.target)?;
    let old = tx.get(&MEMBERS, (room, target))?.map(|member| member.standing);
    count(head, old, standing);
    tx.put(&MEMBERS, (room, target), &Member { standing, event });
    let past = tx.get(&ROOMS_OF, (target, room))?;
    // Who forgot the room begins anew.
    let was_joined = past.as_ref().is_some_and(|past| past.was_joined && !past.forgotten);
    let enters = matches!(standing, Standing::Join | Standing::Invite | Standing::Knock);
    let stripped = match standing {
        Standing::Invite | Standing::Knock => Some(stripped_state(tx, before, pdu)?),
        _ => None,
    };
    let membership = Membership {
        standing,
        event,
        sender,
        forgotten: !enters && past.is_some_and(|past| past.forgotten),
        was_joined: was_joined || standing == Standing::Join,
        stripped,
    };
    tx.put(&ROOMS_OF, (target, room), &membership);
    Ok(target)
}

fn count(head: &mut Head, old: Option<Standing>, new: Standing) {
    match old {
        Some(Standing::Join) => head.joined = head.joined.saturating_sub(1),
        Some(Standing::Invite) => head.invited = head.invited.saturating_sub(1),
        _ => {}
    }
    match new {
        Standing::Join => head.joined += 1,
        Standing::Invite => head.invited += 1,
        _ => {}
    }
}

/// What the invited or knocking user is shown of the room, as a JSON array: the state that describes it, the
/// membership of the sender, and the event itself, last.
fn stripped_state(view: &View, before: Root, pdu: &Pdu) -> Reply<String> {
    let mut parts = Vec::with_capacity(STRIPPED_STATE.len() + 2);
    for kind in STRIPPED_STATE {
        if let Some(event) = room::state(view, before, kind, "")? {
            parts.push(stripped_event(view, &event)?);
        }
    }
    let own = pdu.state_key.as_deref() == Some(pdu.sender.as_str());
    if !own && let Some(event) = room::state(view, before, "m.room.member", pdu.sender.as_str())? {
        parts.push(stripped_event(view, &event)?);
    }
    let state_key = pdu.state_key.as_deref().unwrap_or_default();
    parts.push(stripped_text(&pdu.kind, state_key, pdu.sender.as_str(), pdu.content.get()));
    Ok(format!("[{}]", parts.join(",")))
}

fn stripped_event(view: &View, event: &Stored) -> Reply<String> {
    let sender = user::id(view, event.row.sender)?;
    let state_key = event.row.state_key.as_deref().unwrap_or_default();
    Ok(stripped_text(&event.row.kind, state_key, sender.as_str(), event.content()))
}

fn stripped_text(kind: &str, state_key: &str, sender: &str, content: &str) -> String {
    let (kind, state_key, sender) = (quote(kind), quote(state_key), quote(sender));
    format!(r#"{{"content":{content},"sender":{sender},"state_key":{state_key},"type":{kind}}}"#)
}

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
