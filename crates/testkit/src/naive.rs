//! The naive model: what a user may see of a room, and has not read, found by going through the whole room from its
//! first event with plain maps. Slow, and near to the words of the spec.

use std::collections::BTreeMap;

use base::{Event, Reply, Room, Seq, User};
use ruma::UserId;
use serde_json::Value;
use store::{
    View, event,
    schema::{ACCOUNT_DATA, AccountData, RECEIPTS, Receipt, TIMELINE},
};

use crate::client::State;

/// One event of a room.
#[derive(Clone, Debug)]
pub struct Naive {
    /// Its place.
    pub seq: Seq,
    /// Its number.
    pub event: Event,
    /// Its id.
    pub id: String,
    /// Who sent it.
    pub sender: User,
    /// Type.
    pub kind: String,
    /// State key.
    pub state_key: Option<String>,
    /// Content.
    pub content: Value,
    /// Its content was taken away.
    pub redacted: bool,
    /// What it relates to.
    pub relates: Option<(Event, String)>,
    /// May the user see it?
    pub visible: bool,
    /// The user's membership before and after it.
    pub membership: (String, String),
    /// May anyone see it?
    pub open: bool,
    /// May the user see it because they were invited?
    pub by_invite: bool,
    /// When it was sent.
    pub sent_at: u64,
    /// The state before it.
    pub before: State,
}

impl Naive {
    /// The state after it.
    pub fn after(&self) -> State {
        let mut state = self.before.clone();
        if let Some(key) = &self.state_key {
            state.insert((self.kind.clone(), key.clone()), self.id.clone());
        }
        state
    }

    /// Did the user leave the room by it, or were they put out?
    pub fn is_departure(&self) -> bool {
        self.membership.0 == "join" && self.membership.1 != "join"
    }
}

/// The whole room as a user may see it, and its state at the end.
pub fn naive(view: &View, of: Room, user: &UserId) -> Reply<(Vec<Naive>, State)> {
    let rows: Vec<((Room, Seq), Event)> = view.under(&TIMELINE, (of,), 1_000_000)?;
    let mut state = State::new();
    let mut events: Vec<Naive> = Vec::new();
    for ((_, seq), number) in rows {
        let stored = event::load(view, number)?;
        let row = &stored.row;
        let before = state.clone();
        if let Some(key) = &row.state_key {
            state.insert((row.kind.clone(), key.clone()), stored.id.to_string());
        }
        events.push(Naive {
            seq,
            event: number,
            id: stored.id.to_string(),
            sender: row.sender,
            kind: row.kind.clone(),
            state_key: row.state_key.clone(),
            content: serde_json::from_str(stored.content()).unwrap(),
            redacted: row.redacted_by.is_some(),
            relates: row.relates.clone(),
            visible: false,
            membership: <(String, String)>::default(),
            open: false,
            by_invite: false,
            sent_at: row.sent_at.0,
            before,
        });
    }
    mark_visible(&mut events, user);
    Ok((events, state))
}

/// "Room history visibility": membership and visibility as they were at each event.
fn mark_visible(events: &mut [Naive], user: &UserId) {
    let (mut history, mut membership) = ("shared".to_owned(), "leave".to_owned());
    let mut told = Vec::new();
    for event in events.iter() {
        let (history_before, membership_before) = (history.clone(), membership.clone());
        let text = |key: &str| event.content[key].as_str().unwrap_or_default().to_owned();
        if event.kind == "m.room.history_visibility" && event.state_key.as_deref() == Some("") {
            let said = text("history_visibility");
            let known = ["shared", "invited", "joined", "world_readable"].contains(&said.as_str());
            history = if known { said } else { "shared".to_owned() };
        }
        if event.kind == "m.room.member" && event.state_key.as_deref() == Some(user.as_str()) {
            membership = text("membership");
        }
        told.push(([history_before, history.clone()], [membership_before, membership.clone()]));
    }
    for n in 0..events.len() {
        let joins_later = told[n + 1..].iter().any(|(_, m)| m[0] != "join" && m[1] == "join");
        let (histories, memberships) = &told[n];
        events[n].membership = (memberships[0].clone(), memberships[1].clone());
        events[n].open = histories.iter().any(|history| history == "world_readable");
        events[n].by_invite = histories.iter().any(|history| history == "invited")
            && memberships.iter().any(|membership| membership == "invite");
        events[n].visible = histories.iter().any(|history| {
            memberships.iter().any(|membership| {
                // 1 to 5 of the spec's list.
                history == "world_readable"
                    || membership == "join"
                    || (history == "shared" && joins_later)
                    || (history == "invited" && membership == "invite")
            })
        });
    }
}

/// Notifications and highlights.
pub type Unread = (u64, u64);

/// What a user who is in the room has not read: in the main timeline, and by thread root (those with any).
/// With the default push rules, for the events that [`crate::World`] makes.
pub fn unread(
    view: &View,
    of: Room,
    user: User,
    user_id: &UserId,
) -> Reply<(Unread, BTreeMap<String, Unread>)> {
    let (events, _) = naive(view, of, user_id)?;
    let by_number: BTreeMap<Event, &Naive> = events.iter().map(|e| (e.event, e)).collect();
    let since = stay(&events, user_id);
    let read = read(view, of, user)?;
    let mut counts: BTreeMap<Option<String>, Unread> = BTreeMap::new();
    for (n, e) in events.iter().enumerate() {
        let thread = thread(&by_number, e);
        let name = thread.clone().unwrap_or_else(|| "main".to_owned());
        let receipt = read.get("").max(read.get(&name)).copied().unwrap_or_default();
        // Sending in a thread reads it.
        let sent_later = events[n..]
            .iter()
            .any(|later| later.sender == user && self::thread(&by_number, later) == thread);
        if e.seq <= since || e.seq <= receipt || e.sender == user || e.redacted || sent_later {
            continue;
        }
        let (notify, highlight) = notifies(view, &events, e, user_id)?;
        if notify {
            let count = counts.entry(thread).or_default();
            count.0 += 1;
            count.1 += u64::from(highlight);
        }
    }
    let main = counts.remove(&None).unwrap_or_default();
    Ok((main, counts.into_iter().map(|(root, count)| (root.unwrap(), count)).collect()))
}

/// Does an event notify a user, and highlight, by the default push rules?
pub fn notifies(view: &View, events: &[Naive], e: &Naive, user_id: &UserId) -> Reply<(bool, bool)> {
    let edit = e.relates.as_ref().is_some_and(|(_, how)| how == "m.replace")
        || e.content["m.relates_to"]["rel_type"] == "m.replace";
    let mentions = &e.content["m.mentions"];
    let me = mentions["user_ids"]
        .as_array()
        .is_some_and(|ids| ids.iter().any(|i| i == user_id.as_str()));
    let everybody = mentions["room"] == true && may_notify_room(view, events, e)?;
    let invited = e.kind == "m.room.member"
        && e.content["membership"] == "invite"
        && e.state_key.as_deref() == Some(user_id.as_str());
    let highlight = me || everybody;
    Ok((highlight || invited || (e.kind == "m.room.message" && !edit), highlight))
}

/// Up to where a user has read each thread (`main`: outside threads; empty: all of them).
pub fn read(view: &View, of: Room, user: User) -> Reply<BTreeMap<String, Seq>> {
    let mut read: BTreeMap<String, Seq> = BTreeMap::new();
    let rows: Vec<((Room, User, String, u8), Receipt)> = view.under(&RECEIPTS, (of, user), 1000)?;
    for ((_, _, thread, _), receipt) in rows {
        let at = read.entry(thread).or_default();
        *at = (*at).max(receipt.order);
    }
    Ok(read)
}

/// The name of the thread of an event: `main` for none.
pub fn thread_name(events: &[Naive], e: &Naive) -> String {
    let by_number: BTreeMap<Event, &Naive> = events.iter().map(|e| (e.event, e)).collect();
    thread(&by_number, e).unwrap_or_else(|| "main".to_owned())
}

/// Since when a user is in the room, without a break; of one who is not, when they last came.
pub fn stay(events: &[Naive], user_id: &UserId) -> Seq {
    let (mut since, mut joined) = (Seq(0), false);
    for e in events {
        if e.kind == "m.room.member" && e.state_key.as_deref() == Some(user_id.as_str()) {
            let now = e.content["membership"] == "join";
            if now && !joined {
                since = e.seq;
            }
            joined = now;
        }
    }
    since
}

/// The root of the thread of an event, following up to three relations.
fn thread(by_number: &BTreeMap<Event, &Naive>, e: &Naive) -> Option<String> {
    let mut relates = e.relates.clone();
    for _ in 0..3 {
        let (parent, how) = relates?;
        let parent = by_number.get(&parent)?;
        if how == "m.thread" {
            return Some(parent.id.clone());
        }
        relates = parent.relates.clone();
    }
    None
}

fn may_notify_room(view: &View, events: &[Naive], e: &Naive) -> Reply<bool> {
    let levels = e.before.get(&("m.room.power_levels".to_owned(), String::new()));
    let content = levels.and_then(|id| events.iter().find(|e| e.id == *id)).map(|e| &e.content);
    let sender = store::user::id(view, e.sender)?;
    let number =
        |value: Option<&Value>, default: i64| value.and_then(Value::as_i64).unwrap_or(default);
    let level = content
        .map_or(0, |c| number(c["users"].get(sender.as_str()), number(c.get("users_default"), 0)));
    let needed = content.map_or(50, |c| number(c["notifications"].get("room"), 50));
    Ok(level >= needed)
}

/// Receipts as (user, type, thread) → event id, those that a user may know of.
pub fn receipts(
    view: &View,
    of: Room,
    user: User,
) -> Reply<BTreeMap<(String, String, String), String>> {
    let rows: Vec<((Room, User, String, u8), Receipt)> = view.under(&RECEIPTS, (of,), 100_000)?;
    let mut known = BTreeMap::new();
    for ((_, whose, thread, private), receipt) in rows {
        if private == 0 || whose == user {
            let kind = if private == 0 { "m.read" } else { "m.read.private" };
            let id = store::user::id(view, whose)?.to_string();
            known.insert((id, kind.to_owned(), thread), receipt.event_id);
        }
    }
    Ok(known)
}

/// Account data of a user by type, of a room or (room 0) global.
pub fn account_data(view: &View, user: User, of: Room) -> Reply<BTreeMap<String, Value>> {
    let rows: Vec<((User, Room, String), AccountData)> =
        view.under(&ACCOUNT_DATA, (user, of), 1000)?;
    let value = |data: AccountData| serde_json::from_str(&data.content).unwrap();
    Ok(rows.into_iter().map(|((_, _, kind), data)| (kind, value(data))).collect())
}
