//! Sliding sync (MSC4186): the client says which rooms it wants to see, as windows on lists sorted by recency and as
//! subscriptions, and is told what it does not have of them.
//!
//! One engine, two shapes on the wire ([`wire_unstable`], [`wire_v4`]). What the client has is remembered for each
//! connection, in memory ([`Connections`]); which rooms there are and how recent, for each user ([`index`]). An answer
//! that has nothing to tell costs a look at the log behind the last one; otherwise a walk over the user's rooms in
//! memory, and reading the store for those that changed.

mod ask;
mod connection;
mod extensions;
mod filter;
mod index;
mod pass;
mod required;
mod room;
mod wire;
pub mod wire_unstable;
pub mod wire_v4;

use std::sync::Arc;

use base::{Epoch, Reply, Room};
use store::{View, room as rooms};

pub use self::{
    ask::{Ask, Config, Extensions, List, Scoped, Shape, ToDevice},
    connection::{Connections, Turn},
    filter::Filter,
    required::{Element, Part, Required},
    wire::presence,
};
use self::{
    connection::{Base, Delta, Rest},
    extensions::Told as ExtensionsTold,
    pass::Pass,
    room::Scene,
};
use crate::{client_event::ignored, filter::RoomEvents};

/// An answer.
pub struct Answer {
    /// The JSON body.
    pub body: String,
    /// Does it hold nothing that the client does not have?
    pub empty: bool,
    /// The rooms that the caller is in, to listen to while sleeping.
    pub rooms: Arc<[Room]>,
}

/// Answers a request from a view. May be called again for the same turn, as long as nothing was sent.
///
/// # Errors
/// 400 `M_UNKNOWN_POS`: the client has to begin anew.
pub fn sync(view: &View, ask: &Ask, turn: &Turn) -> Reply<Answer> {
    turn.with(|base| answer(view, ask, turn, base))
}

fn answer(view: &View, ask: &Ask, turn: &Turn, base: &Base) -> Reply<(Answer, Delta)> {
    let head = view.head();
    let first = turn.is_first();
    let since = (!first).then_some(base.upto);
    let typing_at = view.typing_epoch();
    let changes = extensions::changes(view, ask, since)?;
    let everything = RoomEvents::compile(&ruma::api::client::filter::RoomEventFilter::default());
    let ignored = ignored(view, ask.user)?;
    let scene = Scene { view, ask, viewer_id: &ask.user_id, head, since, ignored, everything };

    let fingerprint = ask.fingerprint();
    let pass = rooms_of(&scene, base, &changes, fingerprint, typing_at)?;
    let ExtensionsTold { json, any } = extensions::write(&scene, &changes, &pass, base)?;

    let empty = pass.parts.is_empty() && !any && pass.counts == base.rest.counts && !first;
    let pos = turn.pos(head);
    let body = match ask.shape {
        Shape::Unstable => wire_unstable::write(ask, &pos, &pass.counts, &pass.parts, &json),
        Shape::V4 => wire_v4::write(&pos, &pass.counts, &pass.parts, &json),
    };
    let rest = Rest {
        counts: pass.counts,
        settled: Some(fingerprint),
        required: pass.required,
        typing: pass.typing,
        window: pass.window,
        typing_at,
        data: ask.extensions.account_data.is_some(),
    };
    let joined = rooms::joined_rooms(view, ask.user)?;
    let delta = Delta { upto: head, rooms: pass.told, rest };
    Ok((Answer { body, empty, rooms: joined }, delta))
}

/// What is told of rooms. Nothing, at the cost of a look at the log, if the client asks for the same as before and nothing
/// has happened; connections that ask for no rooms at all do not even look.
fn rooms_of(
    scene: &Scene<'_>,
    base: &Base,
    changes: &extensions::Changed,
    fingerprint: u64,
    typing_at: Epoch,
) -> Reply<Pass> {
    let ask = scene.ask;
    if ask.lists.is_empty() && ask.subscriptions.is_empty() {
        return Ok(Pass::default());
    }
    let needs = ask.lists.iter().fold(0, |needs, list| needs | list.filter.needs());
    let index = index::current(scene.view, ask.user, needs)?;
    let typing = ask.extensions.typing.is_some() && typing_at != base.rest.typing_at;
    let same = scene.since.is_some() && base.rest.settled == Some(fingerprint);
    if same && index.changed <= base.upto && !typing {
        return Ok(Pass::nothing(&base.rest));
    }
    Pass::run(scene, &index, base, changes)
}
