//! What is read without following: snapshots, the old stream, moments, notifications, summaries and the tree below a space
//! show what the model calls visible and nothing else, over random histories.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an oracle: failing loudly is its purpose"
)]

mod deeds;

use std::collections::{BTreeMap, BTreeSet};

use base::{Error, Reply, Room, Seq, UnixMs, User};
use deeds::{ROOMS, USERS, cases, ops};
use proptest::prelude::*;
use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::Value;
use store::{Direction, View, schema::Standing};
use sync::{Token, by_time, events, initial_sync, messages::Reader, notifications};
use testkit::{Naive, World, naive, notifies, read, stay, thread_name};

/// Messages of a snapshot.
const LIMIT: usize = 5;

/// One room as one user may see it.
struct Seen {
    room: Room,
    id: OwnedRoomId,
    /// Those that the user may see are marked so.
    events: Vec<Naive>,
    standing: Option<Standing>,
    was_there: bool,
    forgotten: bool,
    open: bool,
}

impl Seen {
    fn new(view: &View, world: &World, user: &(User, ruma::OwnedUserId), n: usize) -> Reply<Seen> {
        let (room, id) = world.rooms[n].clone();
        let (mut events, state) = naive(view, room, &user.1)?;
        let mine = store::room::membership(view, user.0, room)?;
        let standing = mine.as_ref().map(|m| m.standing);
        let forgotten = mine.as_ref().is_some_and(|m| m.forgotten);
        let was_there = mine.is_some_and(|m| m.was_joined) && !forgotten;
        if standing != Some(Standing::Join) && !was_there {
            for event in &mut events {
                event.visible = event.open || (event.by_invite && !forgotten);
            }
        }
        let history = state.get(&("m.room.history_visibility".to_owned(), String::new()));
        let history = history.and_then(|id| events.iter().find(|e| e.id == *id));
        let open = history.is_some_and(|e| e.content["history_visibility"] == "world_readable");
        Ok(Seen { room, id, events, standing, was_there, forgotten, open })
    }

    fn joined(&self) -> bool {
        self.standing == Some(Standing::Join)
    }

    fn of(&self, id: &str) -> Option<&Naive> {
        self.events.iter().find(|e| e.id == id)
    }

    /// The last position whose state the user may know; `None`: nothing at all.
    fn state_upto(&self) -> Option<Seq> {
        let departure = self.events.iter().rev().find(|e| e.is_departure());
        match departure {
            _ if self.joined() => Some(Seq::MAX),
            Some(left) if self.was_there => Some(left.seq),
            _ => self.open.then_some(Seq::MAX),
        }
    }

    /// The last position that can hold an event for them.
    fn upto(&self, user: &UserId) -> Option<Seq> {
        let own =
            |e: &&Naive| e.kind == "m.room.member" && e.state_key.as_deref() == Some(user.as_str());
        let gone = matches!(self.standing, Some(Standing::Leave | Standing::Ban));
        match self.events.iter().rev().find(own) {
            _ if self.open || self.joined() => Some(Seq::MAX),
            Some(newest) if self.was_there || (gone && !self.forgotten) => Some(newest.seq),
            _ => None,
        }
    }

    fn shown(&self, upto: Seq) -> impl DoubleEndedIterator<Item = &Naive> {
        self.events.iter().filter(move |e| e.visible && e.seq <= upto)
    }
}

fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|e| e["event_id"].as_str().unwrap()).collect()
}

fn is_forbidden<T>(answer: Reply<T>) -> bool {
    matches!(answer, Err(Error::Refused(r)) if r.errcode == "M_FORBIDDEN")
}

/// State and last messages, of one room and of all.
fn check_snapshots(view: &View, reader: &Reader<'_>, rooms: &[Seen]) -> Reply<()> {
    for seen in rooms {
        let one = initial_sync::of_room(view, reader, &seen.id, LIMIT);
        let Some(upto) = seen.state_upto() else {
            assert!(is_forbidden(one), "{} may look into {}", reader.id, seen.id);
            continue;
        };
        check_snapshot(seen, upto, &body(&one?));
    }
    let all = body(&initial_sync::of_all(view, reader, LIMIT, true)?);
    let all: BTreeMap<&str, &Value> = all["rooms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["room_id"].as_str().unwrap(), r))
        .collect();
    for seen in rooms {
        let told = all.get(seen.id.as_str());
        let invited = seen.standing == Some(Standing::Invite);
        let gone = matches!(seen.standing, Some(Standing::Leave | Standing::Ban));
        let wanted = seen.joined() || invited || (gone && seen.was_there);
        assert_eq!(told.is_some(), wanted, "{} of {}", seen.id, reader.id);
        match told {
            Some(told) if invited => assert!(told.get("messages").is_none()),
            Some(told) => check_snapshot(seen, seen.state_upto().unwrap(), told),
            None => {}
        }
    }
    Ok(())
}

fn check_snapshot(seen: &Seen, upto: Seq, told: &Value) {
    let mut wanted: Vec<&str> = seen.shown(upto).rev().take(LIMIT).map(|e| &*e.id).collect();
    wanted.reverse();
    assert_eq!(ids(&told["messages"]["chunk"]), wanted, "messages of {}", seen.id);
    let last = seen.events.iter().rfind(|e| e.seq <= upto).unwrap();
    let state: BTreeSet<String> = ids(&told["state"]).into_iter().map(str::to_owned).collect();
    assert_eq!(state, last.after().into_values().collect(), "state of {}", seen.id);
}

/// What the stream tells from a position on: all that is new and visible, each once, in order.
fn check_stream(view: &View, reader: &Reader<'_>, rooms: &[Seen], from: Seq) -> Reply<()> {
    let mut shown: Vec<String> = Vec::new();
    let mut at = from;
    loop {
        let answer = events::of_all(view, reader, at)?;
        let told = body(&answer.body);
        let chunk = told["chunk"].as_array().unwrap().iter();
        // The space is no room of the model's.
        let known = chunk.filter(|e| rooms.iter().any(|r| e["room_id"] == r.id.as_str()));
        shown.extend(known.map(|e| e["event_id"].as_str().unwrap().to_owned()));
        let end = Token::parse(told["end"].as_str().unwrap()).unwrap().seq;
        if end >= view.head() {
            break;
        }
        assert!(end > at && !answer.empty);
        at = end;
    }
    let own = |e: &&Naive| {
        e.kind == "m.room.member" && e.state_key.as_deref() == Some(reader.id.as_str())
    };
    let mut wanted: BTreeMap<Seq, &str> = BTreeMap::new();
    for seen in rooms {
        let new = seen.events.iter().filter(|e| e.seq > from);
        let told = new.filter(|e| own(e) || (seen.joined() && e.visible));
        wanted.extend(told.map(|e| (e.seq, &*e.id)));
    }
    assert_eq!(shown, wanted.into_values().collect::<Vec<_>>(), "stream of {}", reader.id);
    for seen in rooms {
        let one = events::of_room(view, reader, &seen.id, from);
        let Some(upto) = seen.upto(reader.id) else {
            assert!(is_forbidden(one), "{} may follow {}", reader.id, seen.id);
            continue;
        };
        let one = body(&one?.body);
        let wanted: Vec<&str> =
            seen.shown(upto).filter(|e| e.seq > from).take(100).map(|e| &*e.id).collect();
        assert_eq!(ids(&one["chunk"]), wanted, "stream of {}", seen.id);
    }
    Ok(())
}

/// The event nearest to a moment.
fn check_moment(view: &View, reader: &Reader<'_>, seen: &Seen, at: u64) -> Reply<()> {
    let nearest = |way| by_time::nearest(view, reader, &seen.id, UnixMs(at), way);
    let Some(upto) = seen.upto(reader.id) else {
        assert!(is_forbidden(nearest(Direction::Forward)));
        return Ok(());
    };
    let place = |e: &&Naive| (e.sent_at, e.event);
    let later = seen.shown(upto).filter(|e| e.sent_at >= at).min_by_key(place);
    let earlier = seen.shown(upto).filter(|e| e.sent_at <= at).max_by_key(place);
    for (way, wanted) in [(Direction::Forward, later), (Direction::Backward, earlier)] {
        match (nearest(way), wanted) {
            (Ok(found), Some(wanted)) => {
                let found = body(&found);
                assert_eq!(found["event_id"], wanted.id, "{way:?}");
                assert_eq!(found["origin_server_ts"], wanted.sent_at);
            }
            (Err(Error::Refused(no)), None) => assert_eq!(no.errcode, "M_NOT_FOUND"),
            (found, wanted) => panic!("{found:?}, not {wanted:?}"),
        }
    }
    Ok(())
}

/// All that notified, newest first, over all pages.
fn check_notifications(
    view: &View,
    reader: &Reader<'_>,
    rooms: &[Seen],
    limit: usize,
) -> Reply<()> {
    for only in [false, true] {
        let mut told: Vec<(String, bool)> = Vec::new();
        let mut from = None;
        loop {
            let page = notifications::notifications(view, reader, from, limit, only)?;
            let page = body(&page);
            let list = page["notifications"].as_array().unwrap();
            assert!(list.len() <= limit);
            for one in list {
                let id = one["event"]["event_id"].as_str().unwrap();
                told.push((id.to_owned(), one["read"].as_bool().unwrap()));
                assert!(one["actions"].as_array().unwrap().iter().any(|a| a == "notify"));
            }
            match page["next_token"].as_str() {
                Some(token) => from = Some(Token::parse(token).unwrap()),
                None => break,
            }
        }
        let mut wanted: BTreeMap<Seq, (String, bool)> = BTreeMap::new();
        for seen in rooms {
            wanted.extend(notified(view, reader, seen, only)?);
        }
        let wanted: Vec<(String, bool)> = wanted.into_values().rev().collect();
        assert_eq!(told, wanted, "notifications of {}", reader.id);
    }
    Ok(())
}

fn notified(
    view: &View,
    reader: &Reader<'_>,
    seen: &Seen,
    only: bool,
) -> Reply<Vec<(Seq, (String, bool))>> {
    let mut found = Vec::new();
    let since = stay(&seen.events, reader.id);
    let receipts = read(view, seen.room, reader.user)?;
    let own = |e: &&Naive| {
        e.kind == "m.room.member" && e.state_key.as_deref() == Some(reader.id.as_str())
    };
    let invited = seen.standing == Some(Standing::Invite);
    let newest = seen.events.iter().rfind(|e| own(e)).map(|e| e.seq);
    for e in &seen.events {
        let (notify, highlight) = notifies(view, &seen.events, e, reader.id)?;
        let counts = if invited { Some(e.seq) == newest } else { seen.joined() && e.seq > since };
        if !counts || e.sender == reader.user || e.redacted || !notify || (only && !highlight) {
            continue;
        }
        let at = |name: &str| receipts.get(name).copied().unwrap_or_default();
        let is_read = e.seq <= at("").max(at(&thread_name(&seen.events, e)));
        found.push((e.seq, (e.id.clone(), is_read && !invited)));
    }
    Ok(found)
}

/// Who may know what a room is: summary, and its place below a space.
fn check_summaries(view: &View, reader: &Reader<'_>, rooms: &[Seen], space: &RoomId) -> Reply<()> {
    let ask = rooms::hierarchy::Ask::default();
    let tree = body(&rooms::hierarchy::page(view, reader.user, space, &ask)?);
    let told = tree["rooms"].as_array().unwrap();
    let told: BTreeSet<&str> = told.iter().map(|r| r["room_id"].as_str().unwrap()).collect();
    for seen in rooms {
        let rule = ("m.room.join_rules".to_owned(), String::new());
        let state = seen.events.last().unwrap().after();
        let rule = state.get(&rule).and_then(|id| seen.of(id)).map(|e| &e.content["join_rule"]);
        let public = rule.is_some_and(|rule| rule == "public");
        let known = match seen.standing {
            Some(Standing::Join | Standing::Invite) => true,
            Some(Standing::Ban) => seen.open,
            _ => seen.open || public,
        };
        assert_eq!(told.contains(seen.id.as_str()), known, "{} for {}", seen.id, reader.id);
        let id = (&*seen.id).into();
        let summary = rooms::summary::summary(view, Some(reader.user), id, false);
        assert_eq!(summary.is_ok(), known, "{} for {}", seen.id, reader.id);
        if let Ok(summary) = summary {
            let standing = seen.standing.unwrap_or(Standing::Leave);
            assert_eq!(summary["membership"], standing.as_str());
        }
        let anyone = rooms::summary::summary(view, None, id, false);
        assert_eq!(anyone.is_ok(), seen.open || public, "{} for nobody", seen.id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn nothing_hidden_is_shown_beside_the_timelines(
        ops in ops(110), from in any::<u64>(), at in any::<u64>(), limit in 1..6usize,
    ) {
        let mut world = World::new(USERS);
        let space = world.space();
        for op in &ops {
            world.perform(op);
        }
        let look = |view: &View| {
            for user in &world.users {
                let reader = Reader { user: user.0, id: &user.1, device: "D" };
                let rooms = (0..ROOMS).map(|n| Seen::new(view, &world, user, n));
                let rooms = rooms.collect::<Reply<Vec<_>>>()?;
                check_snapshots(view, &reader, &rooms)?;
                check_stream(view, &reader, &rooms, Seq(from % (view.head().0 + 3)))?;
                for seen in &rooms {
                    let times: Vec<u64> = seen.events.iter().map(|e| e.sent_at).collect();
                    let (first, last) = (times[0], times[times.len() - 1]);
                    check_moment(view, &reader, seen, first - 1 + at % (last - first + 3))?;
                }
                check_notifications(view, &reader, &rooms, limit)?;
                check_summaries(view, &reader, &rooms, &space)?;
            }
            Ok(())
        };
        world.store.read_here(look).unwrap();
    }
}
