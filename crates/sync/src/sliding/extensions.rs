//! Extensions: what is not about rooms, or about them but not in them (MSC4508 and those that follow its rules).

mod rooms;

use base::{Reply, Room, Seq, User};
use ruma::OwnedUserId;
use store::{View, inbox};

pub(super) use self::rooms::{InScope, Scopes};
use super::{
    ask::{Ask, ThreadSubscriptions, ToDevice},
    connection::{Base, unknown_pos},
    pass::Pass,
    room::Scene,
};
use crate::{
    changes::Changes,
    device_lists::{DeviceLists, write_supply},
    json::Out,
    own_data, thread_subscriptions,
    token::Token,
    v3::TO_DEVICE_MAX,
};

/// Log entries read for a client that was away: it may miss no change of a device list, so that beyond this it has to
/// begin anew.
const LOG_SCAN_MAX: usize = 65_536;
/// Changes of thread subscriptions in one answer.
const THREADS_MAX: usize = 100;

/// What the log says since the client's last answer.
pub(super) struct Changed(Option<Changes>);

impl Changed {
    /// Whose receipts moved in a room; none: unknown.
    pub(super) fn receipts(&self, room: Room) -> Option<Vec<User>> {
        self.0.as_ref().and_then(|changes| changes.receipts(room))
    }

    /// Types of account data that changed in a room (0: global); none: unknown.
    pub(super) fn data(&self, room: Room) -> Option<Vec<String>> {
        self.0.as_ref().and_then(|changes| changes.account_data(room))
    }
}

/// The section, and whether it holds anything that the client does not have.
pub(super) struct Told {
    pub(super) json: String,
    pub(super) any: bool,
}

/// Reads the log for the extensions that need it.
pub(super) fn changes(view: &View, ask: &Ask, since: Option<Seq>) -> Reply<Changed> {
    let on = &ask.extensions;
    let wanted = on.account_data.is_some() || on.receipts.is_some() || on.e2ee.is_some();
    let Some(since) = since.filter(|_| wanted) else { return Ok(Changed(None)) };
    if on.e2ee.is_some() && view.is_far(since, LOG_SCAN_MAX)? {
        return Err(unknown_pos());
    }
    Changes::gather(view, ask.user, Some(since), LOG_SCAN_MAX).map(|changes| Changed(Some(changes)))
}

/// Writes the section.
pub(super) fn write(scene: &Scene<'_>, changes: &Changed, pass: &Pass, base: &Base) -> Reply<Told> {
    let on = &scene.ask.extensions;
    let mut out = Out::default();
    let mut any = false;
    out.open();
    if let Some(asked) = &on.to_device {
        any |= to_device(scene, asked, &mut out)?;
    }
    if let Some(key) = &on.e2ee {
        any |= e2ee(scene, changes, key, &mut out)?;
    }
    if let Some(asked) = &on.account_data {
        let before = out.mark();
        out.key(&asked.key).open();
        let global = global_data(scene, changes, base, &mut out)?;
        section(&mut out, "rooms", &pass.data);
        out.close();
        if global || !pass.data.is_empty() {
            any = true;
        } else {
            out.take_back(before);
        }
    }
    if let Some(asked) = on.receipts.as_ref().filter(|_| !pass.receipts.is_empty()) {
        out.key(&asked.key).open();
        section(&mut out, "rooms", &pass.receipts);
        out.close();
        any = true;
    }
    if let Some(asked) = on.typing.as_ref().filter(|_| !pass.typists.is_empty()) {
        out.key(&asked.key).open().key("rooms").open();
        for (room, users) in &pass.typists {
            out.key(room);
            typing(&mut out, users);
        }
        out.close().close();
        any = true;
    }
    if let Some(asked) = &on.thread_subscriptions {
        any |= subscriptions(scene, asked, &mut out)?;
    }
    out.close();
    Ok(Told { json: out.finish(), any })
}

/// What waits for the device behind the place that the client names. It waits until the client comes back with the
/// place after it, so that nothing is lost with an answer.
fn to_device(scene: &Scene<'_>, asked: &ToDevice, out: &mut Out) -> Reply<bool> {
    let (view, ask) = (scene.view, scene.ask);
    let after = asked.since.map_or(Seq::ZERO, |token| token.seq.min(scene.head));
    let limit = usize::try_from(asked.limit).unwrap_or(TO_DEVICE_MAX).clamp(1, TO_DEVICE_MAX);
    let waiting = inbox::read(view, ask.user, &ask.device, after, limit)?;
    let next = waiting.last().map(|message| message.at);
    let next = next.unwrap_or(if asked.since.is_some() { after } else { scene.head });
    out.key(&asked.key).open().key("next_batch").text(&Token::at(next).to_string());
    out.key("events").open_array();
    for message in &waiting {
        out.raw(&message.text);
    }
    out.close_array().close();
    Ok(!waiting.is_empty())
}

/// The last changes of thread subscriptions since the client's last answer (MSC4308); what does not fit is fetched
/// from `prev_batch` backwards.
fn subscriptions(scene: &Scene<'_>, asked: &ThreadSubscriptions, out: &mut Out) -> Reply<bool> {
    let (view, user) = (scene.view, scene.ask.user);
    let limit = usize::try_from(asked.limit).unwrap_or(THREADS_MAX).clamp(1, THREADS_MAX);
    let after = scene.since.unwrap_or(Seq::ZERO);
    let mut found = thread_subscriptions::changes(view, user, after, scene.head, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    if found.is_empty() {
        return Ok(false);
    }
    out.key(&asked.key).open();
    thread_subscriptions::write(view, out, &found)?;
    if let Some(oldest) = found.last().filter(|_| more) {
        out.key("prev_batch").text(&Token::at(Seq(oldest.at.0 - 1)).to_string());
    }
    out.close();
    Ok(true)
}

fn section(out: &mut Out, name: &str, rooms: &[(String, String)]) {
    if rooms.is_empty() {
        return;
    }
    out.key(name).open();
    for (room, json) in rooms {
        out.key(room).raw(json);
    }
    out.close();
}

fn typing(out: &mut Out, users: &[OwnedUserId]) {
    out.open().key("type").text("m.typing").key("content").open();
    out.key("user_ids").open_array();
    for user in users {
        out.text(user.as_str());
    }
    out.close_array().close().close();
}

/// Global account data: all of it to who has none, afterwards what has changed.
fn global_data(scene: &Scene<'_>, changes: &Changed, base: &Base, out: &mut Out) -> Reply<bool> {
    let (view, user) = (scene.view, scene.ask.user);
    let kinds = changes.data(Room(0)).filter(|_| base.rest.data);
    let whole = kinds.is_none();
    let before = out.mark();
    out.key("global").open_array();
    let start = out.mark();
    for (kind, data) in own_data::read(view, user, Room(0), kinds)? {
        own_data::write(out, &kind, &data);
    }
    if whole {
        own_data::default_push_rules(view, out, user, scene.viewer_id)?;
    }
    if out.mark() == start {
        out.take_back(before);
        return Ok(false);
    }
    out.close_array();
    Ok(true)
}

/// Device lists that changed since the client's last answer. Counts and types are always there: clients want them.
fn e2ee(scene: &Scene<'_>, changes: &Changed, key: &str, out: &mut Out) -> Reply<bool> {
    let lists = match (scene.since, &changes.0) {
        (Some(since), Some(changes)) => {
            DeviceLists::of(scene.view, scene.ask.user, since, changes)?
        }
        _ => DeviceLists::default(),
    };
    out.key(key).open();
    if !lists.is_empty() {
        lists.write(out);
    }
    write_supply(scene.view, out, scene.ask.user, &scene.ask.device)?;
    out.close();
    Ok(!lists.is_empty())
}
