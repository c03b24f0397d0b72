//! Rooms, events and all that is indexed by them.

use std::collections::BTreeMap;

use base::{Event, Room, Seq, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{EVENT_TREE, NAME_TREE, ORDER_TREE, ROOM_TREE, STATE_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    state::{Node, NodeId, Root},
    value::stored,
};

/// Room id → number.
pub static ROOM_IDS: Keyspace<(String,), Room> =
    Keyspace::new(NAME_TREE, 2, "room_ids", Owned::Each);
/// Event id → number.
pub static EVENT_IDS: Keyspace<(String,), Event> =
    Keyspace::new(NAME_TREE, 3, "event_ids", Owned::Nobody);
/// Local room alias → room.
pub static ALIASES: Keyspace<(String,), Alias> =
    Keyspace::new(NAME_TREE, 4, "aliases", Owned::Each);

/// What never changes about a room. Of a room that this server only heard of it may be incomplete.
pub static ROOMS: Keyspace<(Room,), RoomInfo> =
    Keyspace::new(ROOM_TREE, 1, "rooms", Owned::First(Kind::RoomInfo));
/// Where a room's event graph and state stand.
pub static HEADS: Keyspace<(Room,), Head> =
    Keyspace::new(ROOM_TREE, 2, "heads", Owned::First(Kind::Room));
/// Current membership by room.
pub static MEMBERS: Keyspace<(Room, User), Member> =
    Keyspace::new(ROOM_TREE, 3, "members", Owned::First(Kind::Room));
/// Summaries of threads by root.
pub static THREADS: Keyspace<(Room, Event), Thread> =
    Keyspace::new(ROOM_TREE, 4, "threads", Owned::First(Kind::Room));
/// Receipts: room, user, thread (empty: unthreaded; `main`; or the root's event id), 0 public | 1 private.
pub static RECEIPTS: Keyspace<(Room, User, String, u8), Receipt> =
    Keyspace::new(ROOM_TREE, 5, "receipts", Owned::Each);
/// A room's local aliases.
pub static ALIASES_OF: Keyspace<(Room, String), ()> =
    Keyspace::new(ROOM_TREE, 6, "aliases_of", Owned::First(Kind::Aliases));
/// Rooms that are published in the directory.
pub static PUBLISHED: Keyspace<(Room,), ()> = Keyspace::new(ROOM_TREE, 7, "published", Owned::Each);
/// Annotations already made: (target, hash of sender, type and key) → annotation event, to refuse duplicates.
pub static ANNOTATIONS: Keyspace<(Event, [u8; 16]), Event> =
    Keyspace::new(ROOM_TREE, 8, "annotations", Owned::Each);

/// Members in the order of their member events: room, 0 (joined or invited) | 1 (left or banned) | 2 (knocking), member event
/// → user. Whoever writes [`MEMBERS`] writes it too: see [`crate::room::set_member`].
pub static MEMBERS_IN_ORDER: Keyspace<(Room, u8, Event), User> =
    Keyspace::new(ROOM_TREE, 45, "members_in_order", Owned::First(Kind::Room));

/// Events.
pub static EVENTS: Keyspace<(Event,), EventRow> =
    Keyspace::new(EVENT_TREE, 1, "events", Owned::First(Kind::Event));

/// By which device and under which transaction id a client sent an event: for `unsigned.transaction_id`.
pub static SENT: Keyspace<(Event,), Sent> = Keyspace::new(EVENT_TREE, 2, "sent", Owned::Nobody);

/// An event's position in the log, which is its place in the room's timeline.
pub static ORDER: Keyspace<(Event,), Seq> = Keyspace::new(ORDER_TREE, 1, "order", Owned::Nobody);
/// A room's timeline.
pub static TIMELINE: Keyspace<(Room, Seq), Event> =
    Keyspace::new(ORDER_TREE, 2, "timeline", Owned::Nobody);
/// An event's children by `m.relates_to`, in timeline order.
pub static RELATIONS: Keyspace<(Event, Seq), Relation> =
    Keyspace::new(ORDER_TREE, 3, "relations", Owned::Nobody);
/// A room's events by their `origin_server_ts`.
pub static BY_TIME: Keyspace<(Room, UnixMs, Event), ()> =
    Keyspace::new(ORDER_TREE, 46, "by_time", Owned::Nobody);
/// When an event was last announced in a room: room, 0 (any other) | 1 (one that moves the room up in lists). See
/// [`crate::activity`].
pub static ACTIVITY: Keyspace<(Room, u8), Seq> =
    Keyspace::new(ORDER_TREE, 40, "activity", Owned::Nobody);
/// Nodes of state maps.
pub static STATE_NODES: Keyspace<(NodeId,), Node> =
    Keyspace::new(STATE_TREE, 1, "state_nodes", Owned::Nobody);

/// The rooms that a user is or was in.
pub static ROOMS_OF: Keyspace<(User, Room), Membership> =
    Keyspace::new(USER_TREE, 20, "rooms_of", Owned::First(Kind::RoomsOf));
/// What a user has not read in a room, counted up to a position: a checkpoint, always recomputable.
pub static UNREAD: Keyspace<(User, Room), Unread> =
    Keyspace::new(USER_TREE, 21, "unread", Owned::Nobody);

/// See [`ALIASES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// What it points to.
    pub room: Room,
    /// Who made it.
    pub creator: User,
}

/// See [`ROOMS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// `!…`.
    pub id: String,
    /// Room version, for example `12`.
    pub version: String,
    /// The create event; 0 if this server only heard of the room and has not seen it.
    pub create: Event,
    /// `m.federate` of the create event.
    pub federate: bool,
    /// `type` of the create event.
    pub room_type: Option<String>,
    /// Creators in the sense of room version 12: sender of the create event and `additional_creators`;
    /// empty before version 12.
    pub creators: Vec<String>,
}

/// See [`HEADS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Forward extremities: what the next event names as `prev_events`.
    pub extremities: Vec<Event>,
    /// The largest depth.
    pub depth: u64,
    /// The current state.
    pub state: Root,
    /// How many are joined.
    pub joined: u64,
    /// How many are invited.
    pub invited: u64,
}

/// How a user stands to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// `join`
    Join,
    /// `invite`
    Invite,
    /// `knock`
    Knock,
    /// `leave`
    Leave,
    /// `ban`
    Ban,
}

impl Standing {
    /// From the `membership` of a member event.
    pub fn parse(text: &str) -> Option<Standing> {
        Some(match text {
            "join" => Standing::Join,
            "invite" => Standing::Invite,
            "knock" => Standing::Knock,
            "leave" => Standing::Leave,
            "ban" => Standing::Ban,
            _ => return None,
        })
    }
    /// The spec's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Join => "join",
            Standing::Invite => "invite",
            Standing::Knock => "knock",
            Standing::Leave => "leave",
            Standing::Ban => "ban",
        }
    }
}

/// See [`MEMBERS`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// How the user stands to the room.
    pub standing: Standing,
    /// The member event.
    pub event: Event,
}

/// See [`ROOMS_OF`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// How the user stands to the room.
    pub standing: Standing,
    /// The member event.
    pub event: Event,
    /// Who sent it.
    pub sender: User,
    /// The user has forgotten the room.
    pub forgotten: bool,
    /// Has the user ever been joined? A rejected invite is no left room to show.
    pub was_joined: bool,
    /// For invites and knocks: the stripped state, as a JSON array.
    pub stripped: Option<String>,
}

/// See [`THREADS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Replies that are not redacted.
    pub count: u64,
    /// The newest reply that is not redacted.
    pub latest: Event,
    /// Who replied (each once).
    pub participants: Vec<User>,
}

/// See [`RECEIPTS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What was read.
    pub event: Event,
    /// Its id.
    pub event_id: String,
    /// Its position.
    pub order: Seq,
    /// When it was read.
    pub at: UnixMs,
    /// The log position of the receipt itself.
    pub moved: Seq,
}

/// See [`UNREAD`]. It says itself what it was counted with, and is void if that differs today.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unread {
    /// Counted up to here.
    pub upto: Seq,
    /// With push rules of this stamp.
    pub rules: u64,
    /// Nothing at or before this counts: the unthreaded receipt, or the user's join.
    pub read: Seq,
    /// The receipt of the main timeline.
    pub read_main: Seq,
    /// The receipts of threads, by root.
    pub read_threads: BTreeMap<Event, Seq>,
    /// Notifications and highlights outside threads.
    pub main: (u64, u64),
    /// The same by thread root.
    pub threads: BTreeMap<Event, (u64, u64)>,
}

/// See [`RELATIONS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The child.
    pub child: Event,
    /// `rel_type`.
    pub rel_type: String,
    /// The child's type.
    pub kind: String,
    /// The child's sender.
    pub sender: User,
}

/// See [`EVENTS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// Where it is.
    pub room: Room,
    /// Who sent it.
    pub sender: User,
    /// Its type.
    pub kind: String,
    /// Its state key, if it is a state event.
    pub state_key: Option<String>,
    /// `origin_server_ts`.
    pub sent_at: UnixMs,
    /// Its depth.
    pub depth: u64,
    /// The room's state before it.
    pub before: Root,
    /// The room's state after it.
    pub after: Root,
    /// What it relates to: parent and `rel_type`. `None` also if we do not hold the parent.
    pub relates: Option<(Event, String)>,
    /// The state event it replaced.
    pub replaces: Option<Event>,
    /// The redaction that took its content.
    pub redacted_by: Option<Event>,
    /// How many were joined when it was sent.
    pub joined: u64,
    /// The client's part, compressed: see [`crate::event`].
    pub client: Vec<u8>,
    /// The federation remainder, compressed.
    pub rest: Vec<u8>,
}
/// See [`SENT`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// The sender's device.
    pub device: String,
    /// As the client chose it.
    pub txn_id: String,
}

stored!(
    Unread, Sent, Alias, RoomInfo, Head, Member, Membership, Thread, Receipt, Relation, EventRow,
    Node, Root
);
