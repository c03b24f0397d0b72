//! `GET /sync` (spec: "Syncing"): a follower of the log whose cursor the client holds.
//!
//! An answer is a function of the view, the caller and the token: [`sync`]. The rim calls it, and while it says that there
//! is nothing, sleeps until the log moves for the caller. Work for an incremental answer is proportional to what
//! changed, never to how many rooms the caller has.

mod joined;
mod others;
mod presence;
mod summary;
mod to_device;

use std::{cell::RefCell, sync::Arc};

use base::{Event, Reply, Room, Seq, User};
use ruma::{UserId, api::client::filter::FilterDefinition};
use store::{View, room, schema::Standing};

pub use self::{
    presence::{content as presence_content, shares},
    to_device::TO_DEVICE_MAX,
};
use crate::{
    changes::Changes, client_event::ignored, device_lists::write_supply, filter::RoomEvents,
    json::Out, sticky, token::Token, told::Told,
};

/// What a client asks.
pub struct Ask {
    /// The caller's number.
    pub user: User,
    /// The caller's id.
    pub user_id: ruma::OwnedUserId,
    /// The caller's device.
    pub device: String,
    /// Where the client stands; none: it has nothing yet.
    pub since: Option<Token>,
    /// The whole state of every room, whatever the client has.
    pub full_state: bool,
    /// State is wanted at the end of the timeline, under `state_after` (v1.16, MSC4222).
    pub state_after: StateAfter,
    /// The filter.
    pub filter: Arc<Compiled>,
    /// A client that was away for longer than this many log entries is answered by looking at all its rooms
    /// instead: [`LOG_SCAN_MAX`].
    pub log_scan_max: usize,
}

/// See [`Ask::log_scan_max`]: reading an entry costs about a tenth of looking at a room.
pub const LOG_SCAN_MAX: usize = 4_096;

/// How the client wants a room's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateAfter {
    /// At the start of the timeline, under `state`.
    #[default]
    No,
    /// At its end, under `state_after`.
    Stable,
    /// At its end, under `org.matrix.msc4222.state_after`.
    Unstable,
}

/// A filter, compiled.
pub struct Compiled {
    /// Timeline events.
    pub timeline: RoomEvents,
    /// State events.
    pub state: RoomEvents,
    /// Typing and receipts.
    pub ephemeral: RoomEvents,
    /// Account data of rooms.
    pub room_account_data: RoomEvents,
    /// Global account data.
    pub account_data: protocol::filter::EventMatcher,
    /// Presence.
    pub presence: protocol::filter::EventMatcher,
    /// Which rooms at all.
    pub rooms: protocol::filter::RoomMatcher,
    /// Also rooms left long ago.
    pub include_leave: bool,
    /// Only these fields of events.
    pub fields: Option<Vec<String>>,
}

impl Compiled {
    /// Compiles a filter.
    pub fn new(filter: &FilterDefinition) -> Compiled {
        Compiled {
            timeline: RoomEvents::compile(&filter.room.timeline),
            state: RoomEvents::compile(&filter.room.state),
            ephemeral: RoomEvents::compile(&filter.room.ephemeral),
            room_account_data: RoomEvents::compile(&filter.room.account_data),
            account_data: protocol::filter::EventMatcher::of_events(&filter.account_data),
            presence: protocol::filter::EventMatcher::of_events(&filter.presence),
            rooms: protocol::filter::RoomMatcher::new(
                filter.room.rooms.as_deref(),
                &filter.room.not_rooms,
            ),
            include_leave: filter.room.include_leave,
            fields: filter.event_fields.clone(),
        }
    }

    fn notes_members(&self) -> bool {
        let parts = [&self.state, &self.timeline];
        parts.iter().any(|part| part.lazy_members)
            && !parts.iter().any(|part| part.redundant_members)
    }
}

/// An answer.
pub struct Answer {
    /// The JSON body.
    pub body: String,
    /// Does it hold nothing that the client does not have?
    pub empty: bool,
    /// The rooms that the caller is in, to listen to while sleeping.
    pub rooms: Arc<[Room]>,
}

/// What one answer is made from.
struct Context<'a> {
    view: &'a View,
    ask: &'a Ask,
    viewer_id: &'a UserId,
    /// The client has everything up to here; `None`: nothing.
    since: Option<Seq>,
    head: Seq,
    ignored: Vec<String>,
    changes: Changes,
    /// Sticky events of rooms that the client has are told up to here.
    sticky_upto: Seq,
    /// With lazy members: what the device has been told, unless it wants to be told again.
    told: Option<Told>,
    /// Member events that this answer tells.
    introduced: RefCell<Vec<(Room, User, Event)>>,
}

/// Answers a `/sync` from a view.
pub fn sync(view: &View, ask: &Ask) -> Reply<Answer> {
    let head = view.head();
    // A token from the future (a store restored from a backup) is answered as if it were from now.
    let since = ask.since.map(|token| token.seq.min(head));
    let joined = room::joined_rooms(view, ask.user)?;
    let mut changes = Changes::gather(view, ask.user, since, ask.log_scan_max)?;
    if let Some(token) = ask.since {
        let typing = view.typing_rooms(token.typing);
        changes.also(typing.into_iter().filter(|room| joined.binary_search(room).is_ok()));
        changes.also_from(view, &joined, token.sticky(), token.seq.min(head), ask.log_scan_max)?;
    }
    let horizon = match ask.since {
        Some(token) => sticky::horizon(view, changes.of(&joined), token.sticky(), head)?,
        None => None,
    };
    let ignored = ignored(view, ask.user)?;
    let viewer_id = &ask.user_id;
    let presence = presence::Portion::read(view, ask, &joined, &changes, &ignored)?;
    let sticky_upto = horizon.unwrap_or(head);
    let told = ask.filter.notes_members().then(|| Told::begin(view, ask.user, &ask.device, since));
    let introduced = RefCell::default();
    let mut context = Context {
        view,
        ask,
        viewer_id,
        since,
        head,
        ignored,
        changes,
        sticky_upto,
        told,
        introduced,
    };
    let initial = since.is_none();
    let mut out = Out::with_capacity(if initial { 64 * 1024 } else { 2 * 1024 });
    let to_device = to_device::Portion::read(view, ask)?;
    let next = Token {
        seq: head,
        typing: view.typing_epoch(),
        presence: presence.upto,
        inbox: to_device.upto,
        sticky: horizon.unwrap_or_default(),
    };
    out.open().key("next_batch").text(&next.to_string());
    let before = out.mark();

    context.account_data(&mut out)?;
    context.all_rooms(&mut out, before)?;
    context.device_lists(&mut out)?;
    let empty = out.mark() == before && to_device.is_empty() && presence.is_empty();

    // Required by the spec or by clients whether or not there is anything.
    write_supply(view, &mut out, ask.user, &ask.device)?;
    to_device.write(&mut out);
    presence.write(view, &mut out)?;
    out.close();
    if let Some(told) = context.told.take() {
        told.finish(view, head, context.introduced.take());
    }
    Ok(Answer { body: out.finish(), empty: empty && !initial, rooms: joined })
}

/// What `,"rooms":{` takes: the comma is always there, behind `next_batch` or account data.
const ROOMS_OPENED: usize = r#","rooms":{"#.len();

type Write<'a> = fn(&Context<'a>, &mut Out, Room, &store::schema::Membership) -> Reply<bool>;

impl<'a> Context<'a> {
    /// All sections of rooms; nothing if there is nothing in any. `before`: where the answer stood when it was empty.
    fn all_rooms(&self, out: &mut Out, before: usize) -> Reply<()> {
        let rooms = room::rooms_of(self.view, self.ask.user)?;
        out.key("rooms").open();
        let empty_rooms = out.mark();
        self.section(out, "join", &rooms, |c, out, room, membership| {
            if membership.standing == Standing::Join {
                c.joined(out, room, membership)
            } else {
                Ok(false)
            }
        })?;
        self.section(out, "invite", &rooms, Context::invited)?;
        self.section(out, "knock", &rooms, Context::knocked)?;
        self.section(out, "leave", &rooms, Context::left)?;
        if out.mark() == empty_rooms {
            out.take_back(before.max(empty_rooms - ROOMS_OPENED));
        } else {
            out.close();
        }
        Ok(())
    }

    /// One section of `rooms`: a room is there if `write` says that it wrote something.
    fn section(
        &self,
        out: &mut Out,
        name: &str,
        rooms: &[(Room, store::schema::Membership)],
        write: Write<'a>,
    ) -> Reply<()> {
        let before = out.mark();
        out.key(name).open();
        let mut any = false;
        let mut one = |out: &mut Out, room: Room, membership| -> Reply<()> {
            let info = room::info(self.view, room)?;
            if !self.ask.filter.rooms.matches(&info.id) {
                return Ok(());
            }
            let start = out.mark();
            out.key(&info.id).open();
            if write(self, out, room, membership)? {
                out.close();
                any = true;
            } else {
                out.take_back(start);
            }
            Ok(())
        };
        match self.changes.rooms() {
            // Only what the log says has changed.
            Some(changed) if !self.ask.full_state => {
                for room in changed {
                    if let Ok(at) = rooms.binary_search_by_key(room, |(r, _)| *r)
                        && let Some((room, membership)) = rooms.get(at)
                    {
                        one(out, *room, membership)?;
                    }
                }
            }
            _ => {
                for (room, membership) in rooms {
                    one(out, *room, membership)?;
                }
            }
        }
        if any {
            out.close();
        } else {
            out.take_back(before);
        }
        Ok(())
    }
}
