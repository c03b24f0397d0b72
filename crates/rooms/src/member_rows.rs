//! What a membership event changes beside the state: the rows of the member, and the counts of the room (spec:
//! Client-Server API, "Room membership", "Stripped state").

use base::{Error, Event, Reply, Room, User};
use protocol::{Pdu, json::quote, room::STRIPPED_STATE};
use ruma::UserId;
use serde::Deserialize;
use store::{
    Tx, View,
    event::Stored,
    room,
    schema::{ACCOUNTS, GHOSTS, Head, Member, Membership, ROOMS_OF, Standing},
    state::Root,
    user,
};

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
    let user = user::find(view, id)?;
    let account = user.map_or(Ok(None), |user| view.get(&ACCOUNTS, (user,)))?;
    match account {
        Some(account) if !account.deactivated => Ok(()),
        // An application service answers for them, and makes the account when it is told of the invite.
        None if user.map_or(Ok(false), |user| view.has(&GHOSTS, (user,)))? => Ok(()),
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
    let old = room::set_member(tx, room, target, Member { standing, event })?;
    count(head, old.map(|member| member.standing), standing);
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
