//! What a membership event changes beside the state: the rows of the member, and the counts of the room (spec:
//! Client-Server API, "Room membership", "Stripped state").

use base::{Error, Event, Reply, Room, User};
use protocol::{Pdu, invite::Reception, json::quote, room::STRIPPED_STATE};
use ruma::UserId;
use serde::Deserialize;
use store::{
    Tx, View,
    event::{self, Stored},
    room,
    schema::{ACCOUNTS, GHOSTS, Head, Member, Membership, NOTICE_ROOMS, ROOMS_OF, Standing},
    state::{self, Root},
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

    /// What the rules of rooms do not know: who cannot be told of an invite, or wants none, is not invited; and the
    /// server's own notices are not rejected.
    pub(crate) fn check(&self, view: &View, room: Room, by: User, by_id: &UserId) -> Reply<()> {
        match self.standing {
            Standing::Invite => check_invitee(view, by, self.target),
            Standing::Leave if by_id == self.target => check_leave(view, room, by),
            _ => Ok(()),
        }
    }
}

/// May this user be invited at all, and by `by`?
///
/// # Errors
/// 404 `M_NOT_FOUND` for a user of this server who does not exist; 403 `M_INVITE_BLOCKED` for one who wants no invite
/// of `by`; and for users of other servers, whose server has to see the invite first ([`crate::invite::prepare`]): what
/// is appended here does not pass it.
pub(crate) fn check_invitee(view: &View, by: User, id: &UserId) -> Reply<()> {
    if !user::is_local(view, id) {
        return Err(Error::forbidden(
            "users of other servers are invited by an invite, not as state",
        ));
    }
    let unknown = || Error::not_found(format!("there is no user {id}"));
    let invitee = user::find(view, id)?.ok_or_else(unknown)?;
    match view.get(&ACCOUNTS, (invitee,))? {
        Some(account) if !account.deactivated => {}
        // An application service answers for them, and makes the account when it is told of the invite.
        None if view.has(&GHOSTS, (invitee,))? => {}
        _ => return Err(unknown()),
    }
    match store::invite::reception(view, invitee, by)? {
        Reception::Allow | Reception::Ignore => Ok(()),
        Reception::Block => {
            let text = format!("{id} does not want this invite");
            Err(Error::refused(403, "M_INVITE_BLOCKED", text))
        }
    }
}

/// An invite to the room of the server's notices is not rejected (spec: "Server Notices"). Who has joined it may leave.
fn check_leave(view: &View, room: Room, user: User) -> Reply<()> {
    let invited = room::member(view, room, user)?.is_some_and(|m| m.standing == Standing::Invite);
    if !invited || view.get(&NOTICE_ROOMS, (user,))? != Some(room) {
        return Ok(());
    }
    let text = "an invite to the server notices cannot be rejected";
    Err(Error::refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", text))
}

/// A membership event.
pub(crate) struct Said<'a> {
    pub(crate) event: Event,
    pub(crate) sender: User,
    pub(crate) sender_id: &'a UserId,
    pub(crate) content: &'a str,
}

/// What the invited or knocking user is shown of the room.
pub(crate) enum Shown {
    /// A state of it, before the event.
    Of(Root),
    /// What another server shows of it: a JSON array.
    Theirs(Option<String>),
}

/// Writes the membership rows of a new event and counts it in the head. Returns whose membership changed.
pub(crate) fn apply(
    tx: &mut Tx,
    room: Room,
    head: &mut Head,
    shown: Shown,
    change: &Change<'_>,
    said: &Said<'_>,
) -> Reply<User> {
    let (standing, event, sender) = (change.standing, said.event, said.sender);
    let target = user::intern(tx, change.target)?;
    let old = room::set_member(tx, room, target, Member { standing, event })?;
    count(head, old.map(|member| member.standing), standing);
    let past = tx.get(&ROOMS_OF, (target, room))?;
    // Who forgot the room begins anew.
    let was_joined = past.as_ref().is_some_and(|past| past.was_joined && !past.forgotten);
    let enters = matches!(standing, Standing::Join | Standing::Invite | Standing::Knock);
    let stripped = match standing {
        Standing::Invite | Standing::Knock if user::is_local(tx, change.target) => match shown {
            Shown::Of(before) => Some(stripped_state(tx, before, change.target, said)?),
            Shown::Theirs(shown) => shown,
        },
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

/// Brings the membership rows from one version of the state to another: what state resolution changed, or what another
/// server says that the state is. `but` has been applied already. Returns whose memberships changed.
pub(crate) fn follow(
    tx: &mut Tx,
    room: Room,
    head: &mut Head,
    (before, after): (Root, Root),
    but: Option<Event>,
) -> Reply<Vec<User>> {
    let mut changed = Vec::new();
    for change in state::diff(tx, before, after)? {
        if change.after.is_some() && change.after == but {
            continue;
        }
        let Some(event) = change.after.or(change.before) else { continue };
        let stored = event::load(tx, event)?;
        if !stored.is_state("m.room.member") {
            continue;
        }
        let target = stored.row.state_key.as_deref().unwrap_or_default();
        let Ok(target) = <&UserId>::try_from(target) else { continue };
        let standing = room::standing(&stored).filter(|_| change.after.is_some());
        let Some(standing) = standing else {
            changed.extend(forget(tx, room, head, target)?);
            continue;
        };
        let sender = stored.row.sender;
        let sender_id = user::id(tx, sender)?;
        let said = Said { event, sender, sender_id: &sender_id, content: stored.content() };
        let by = Change { target, standing };
        changed.push(apply(tx, room, head, Shown::Of(before), &by, &said)?);
    }
    Ok(changed)
}

/// The state says nothing of a user any more.
fn forget(tx: &mut Tx, room: Room, head: &mut Head, target: &UserId) -> Reply<Option<User>> {
    let Some(user) = user::find(tx, target)? else { return Ok(None) };
    let old = room::unset_member(tx, room, user)?;
    uncount(head, old.map(|member| member.standing));
    match tx.get(&ROOMS_OF, (user, room))? {
        Some(past) if user::is_local(tx, target) => {
            let gone = Membership { standing: Standing::Leave, stripped: None, ..past };
            tx.put(&ROOMS_OF, (user, room), &gone);
        }
        Some(_) => tx.delete(&ROOMS_OF, (user, room)),
        None => {}
    }
    Ok(Some(user))
}

fn uncount(head: &mut Head, old: Option<Standing>) {
    match old {
        Some(Standing::Join) => head.joined = head.joined.saturating_sub(1),
        Some(Standing::Invite) => head.invited = head.invited.saturating_sub(1),
        _ => {}
    }
}

fn count(head: &mut Head, old: Option<Standing>, new: Standing) {
    uncount(head, old);
    match new {
        Standing::Join => head.joined += 1,
        Standing::Invite => head.invited += 1,
        _ => {}
    }
}

/// What the invited or knocking user is shown of the room, as a JSON array: the state that describes it, the
/// membership of the sender, and the event itself, last.
fn stripped_state(view: &View, before: Root, target: &UserId, said: &Said<'_>) -> Reply<String> {
    let mut parts = Vec::with_capacity(STRIPPED_STATE.len() + 2);
    for kind in STRIPPED_STATE {
        if let Some(event) = room::state(view, before, kind, "")? {
            parts.push(stripped_event(view, &event)?);
        }
    }
    let by = said.sender_id.as_str();
    if target != said.sender_id
        && let Some(event) = room::state(view, before, "m.room.member", by)?
    {
        parts.push(stripped_event(view, &event)?);
    }
    parts.push(stripped_text("m.room.member", target.as_str(), by, said.content));
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
