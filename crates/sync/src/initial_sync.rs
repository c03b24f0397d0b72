//! Rooms as they are now: `GET /rooms/{roomId}/initialSync` (spec: "Room previews"), and the old `GET /initialSync`.

use base::{Reply, Room, Seq, User};
use ruma::RoomId;
use store::{
    Direction, View, event, room,
    schema::{ACCOUNT_DATA, AccountData, Membership, PUBLISHED, Standing},
    state::{self, Part, Root},
};

use crate::{
    access,
    client_event::{Writer, ignored},
    filter::RoomEvents,
    gate::Gate,
    json::Out,
    messages::Reader,
    timeline::Query,
    token::Token,
};

/// Account data types of one room.
const ACCOUNT_DATA_MAX: usize = 10_000;

/// One room, with at most `limit` messages: the JSON body.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the reader may not read the room.
pub fn of_room(view: &View, reader: &Reader<'_>, room_id: &RoomId, limit: usize) -> Reply<String> {
    let access = access::of_state(view, room_id, reader.user)?;
    let mine = room::membership(view, reader.user, access.room)?;
    let mut out = Out::with_capacity(16 * 1024);
    out.open();
    let ignored = ignored(view, reader.user)?;
    let snapshot = Snapshot { view, reader, ignored: &ignored, limit };
    snapshot.about(&mut out, access.room, mine.as_ref().filter(|m| !m.forgotten))?;
    snapshot.inside(&mut out, access.room, access.upto, access.root)?;
    out.close();
    Ok(out.finish())
}

/// All rooms of the reader, with at most `limit` messages each; with `archived` those they have left, too.
///
/// Presence is of whoever is online now, which this answer leaves to `/sync`: the list is there and empty.
pub fn of_all(view: &View, reader: &Reader<'_>, limit: usize, archived: bool) -> Reply<String> {
    let mut out = Out::with_capacity(64 * 1024);
    out.open().key("end").text(&Token::at(view.head()).to_string());
    out.key("presence").open_array().close_array();
    let ignored = ignored(view, reader.user)?;
    let snapshot = Snapshot { view, reader, ignored: &ignored, limit };
    snapshot.account_data(&mut out, Room(0))?;
    out.key("rooms").open_array();
    for (room, mine) in room::rooms_of(view, reader.user)?.iter() {
        match mine.standing {
            Standing::Join => {
                out.open();
                snapshot.about(&mut out, *room, Some(mine))?;
                let root = room::head(view, *room)?.state;
                snapshot.inside(&mut out, *room, view.head(), root)?;
                out.close();
            }
            Standing::Invite => snapshot.invited(&mut out, *room, mine)?,
            Standing::Leave | Standing::Ban if archived && mine.was_joined && !mine.forgotten => {
                snapshot.left(&mut out, *room, mine)?;
            }
            _ => {}
        }
    }
    out.close_array().close();
    Ok(out.finish())
}

struct Snapshot<'a> {
    view: &'a View,
    reader: &'a Reader<'a>,
    ignored: &'a [String],
    limit: usize,
}

impl Snapshot<'_> {
    /// What a room is, and how the reader stands to it.
    fn about(&self, out: &mut Out, room: Room, mine: Option<&Membership>) -> Reply<()> {
        out.key("room_id").text(&room::info(self.view, room)?.id);
        if let Some(mine) = mine {
            out.key("membership").text(mine.standing.as_str());
        }
        let public = self.view.has(&PUBLISHED, (room,))?;
        out.key("visibility").text(if public { "public" } else { "private" });
        Ok(())
    }

    /// Its state, and its last messages up to a position.
    fn inside(&self, out: &mut Out, room: Room, upto: Seq, root: Root) -> Reply<()> {
        let Snapshot { view, reader, .. } = *self;
        let gate = Gate::new(view, room, reader.user, reader.id)?;
        let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
        let open = RoomEvents::compile(&ruma::api::client::filter::RoomEventFilter::default());
        let query = Query {
            view,
            room,
            gate: &gate,
            filter: &open,
            ignored: self.ignored,
            after: Seq::ZERO,
            upto,
            stop_at_hidden_state: false,
        };
        let span = query.read(Direction::Backward, self.limit)?;
        out.key("messages").open();
        let before = span.reached.map_or(upto, |reached| Seq(reached.0.saturating_sub(1)));
        if span.more {
            out.key("start").text(&Token::at(before).to_string());
        }
        out.key("end").text(&Token::at(upto).to_string()).key("chunk").open_array();
        for (_, stored) in span.events.iter().rev() {
            writer.write(out, stored)?;
        }
        out.close_array().close().key("state").open_array();
        for event in state::list(view, root, Part::All)? {
            writer.write(out, &*event::load(view, event)?)?;
        }
        out.close_array();
        self.account_data(out, room)
    }

    fn account_data(&self, out: &mut Out, room: Room) -> Reply<()> {
        let rows: Vec<((User, Room, String), AccountData)> =
            self.view.under(&ACCOUNT_DATA, (self.reader.user, room), ACCOUNT_DATA_MAX)?;
        out.key("account_data").open_array();
        for ((.., kind), data) in rows {
            out.open().key("type").text(&kind).key("content").raw(&data.content).close();
        }
        out.close_array();
        Ok(())
    }

    fn invited(&self, out: &mut Out, room: Room, mine: &Membership) -> Reply<()> {
        let Snapshot { view, reader, .. } = *self;
        let sender = store::user::id(view, mine.sender)?;
        if self.ignored.iter().any(|i| i == sender.as_str()) {
            return Ok(());
        }
        out.open();
        self.about(out, room, Some(mine))?;
        let gate = Gate::new(view, room, reader.user, reader.id)?;
        let writer = Writer::new(view, &gate, Some(reader.device)).with_room_id(room)?;
        out.key("invite");
        writer.write(out, &*event::load(view, mine.event)?)?;
        out.close();
        Ok(())
    }

    fn left(&self, out: &mut Out, room: Room, mine: &Membership) -> Reply<()> {
        let Some(stay) = room::last_stay(self.view, mine.event)? else { return Ok(()) };
        out.open();
        self.about(out, room, Some(mine))?;
        let upto = event::order(self.view, stay.left)?.unwrap_or_default();
        let root = event::load(self.view, stay.left)?.row.after;
        self.inside(out, room, upto, root)?;
        out.close();
        Ok(())
    }
}
