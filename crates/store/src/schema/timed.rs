//! What waits: for a device, for its time, for its end.

use base::{Event, Room, Seq, UnixMs, User};
use serde::{Deserialize, Serialize};

use super::{EVENT_TREE, MISC_TREE, ORDER_TREE, ROOM_TREE, USER_TREE};
use crate::{
    keyspace::{Keyspace, Kind, Owned},
    value::stored,
};

/// Messages that wait for a device, by the log position of their arrival; the value is JSON text.
pub static INBOX: Keyspace<(User, String, Seq), String> =
    Keyspace::new(USER_TREE, 60, "inbox", Owned::First(Kind::Inbox));

/// Events to be sent later, by delay id. Kept for a while when they are finalised.
pub static DELAYED: Keyspace<(String,), Delayed> =
    Keyspace::new(MISC_TREE, 60, "delayed", Owned::Each);
/// What happens next to delayed events, by when: they are sent, or forgotten if they are finalised.
pub static DELAYED_DUE: Keyspace<(UnixMs, String), ()> =
    Keyspace::new(MISC_TREE, 61, "delayed_due", Owned::Nobody);
/// A user's delayed events: (user, 0 scheduled | 1 finalised, when to be sent or when finalised, delay id).
pub static DELAYED_OF: Keyspace<(User, u8, UnixMs, String), ()> =
    Keyspace::new(USER_TREE, 61, "delayed_of", Owned::First(Kind::Delayed));
/// Requests for delayed events already carried out: (user, hash of device, path and transaction id) → delay id.
pub static DELAYED_TXNS: Keyspace<(User, [u8; 16]), String> =
    Keyspace::new(USER_TREE, 62, "delayed_txns", Owned::Each);
/// Scheduled state events: (room, hash of type and state key, delay id). Another's newer state event cancels them.
pub static DELAYED_STATE: Keyspace<(Room, [u8; 16], String), ()> =
    Keyspace::new(ROOM_TREE, 60, "delayed_state", Owned::Nobody);
/// The delay id of an event that was sent with a delay: for `unsigned.delay_id`.
pub static SENT_DELAYED: Keyspace<(Event,), String> =
    Keyspace::new(EVENT_TREE, 60, "sent_delayed", Owned::Nobody);

/// A room's sticky events by position; swept by whoever adds to them.
pub static STICKY: Keyspace<(Room, Seq), Sticky> =
    Keyspace::new(ORDER_TREE, 60, "sticky", Owned::Nobody);

/// Threads that a user has subscribed to, or unsubscribed from: (user, room, root).
pub static THREAD_SUBSCRIPTIONS: Keyspace<(User, Room, Event), ThreadSubscription> =
    Keyspace::new(USER_TREE, 63, "thread_subscriptions", Owned::First(Kind::ThreadSubscriptions));
/// Changes of thread subscriptions in order. A row counts if the subscription says that it changed there.
pub static THREAD_SUBSCRIPTION_CHANGES: Keyspace<(User, Seq), ThreadOf> =
    Keyspace::new(USER_TREE, 64, "thread_subscription_changes", Owned::Nobody);

/// See [`DELAYED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delayed {
    /// Whose.
    pub user: User,
    /// Where to.
    pub room: Room,
    /// The event's type.
    pub kind: String,
    /// Set for state events.
    pub state_key: Option<String>,
    /// The content as the client gave it: JSON object text.
    pub content: String,
    /// For how long the event is to be sticky, in milliseconds.
    pub sticky_ms: Option<u64>,
    /// The delay, in milliseconds.
    pub delay_ms: u64,
    /// When it was scheduled or restarted.
    pub since: UnixMs,
    /// The key of its request in [`DELAYED_TXNS`].
    pub txn: Option<[u8; 16]>,
    /// What became of it; `None`: it is scheduled.
    pub finalised: Option<Finalised>,
}

/// What became of a delayed event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalised {
    /// When.
    pub at: UnixMs,
    /// How.
    pub outcome: Outcome,
    /// Its time had come; otherwise somebody asked for it.
    pub by_delay: bool,
}

/// See [`Finalised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was sent as this event.
    Sent(Event),
    /// It was cancelled.
    Cancelled,
    /// It could not be sent.
    Failed {
        /// `errcode` of the refusal.
        errcode: String,
        /// Its text.
        error: String,
    },
}

/// See [`STICKY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sticky {
    /// The event.
    pub event: Event,
    /// When it ceases to be sticky.
    pub until: UnixMs,
}

/// See [`THREAD_SUBSCRIPTIONS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadSubscription {
    /// Subscribed; otherwise unsubscribed.
    pub subscribed: bool,
    /// The subscription was made by a client on its own.
    pub automatic: bool,
    /// Where the timeline stood when the user unsubscribed: what happened before causes no automatic subscription.
    pub unsubscribed_at: Seq,
    /// The log position of the last change.
    pub changed: Seq,
}

/// See [`THREAD_SUBSCRIPTION_CHANGES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadOf {
    /// The room.
    pub room: Room,
    /// The thread's root.
    pub root: Event,
}

stored!(Delayed, Sticky, ThreadSubscription, ThreadOf);
