//! `PUT` and `DELETE` of `/room_keys/keys`, `/room_keys/keys/{roomId}`, `/room_keys/keys/{roomId}/{sessionId}`.

use std::collections::BTreeMap;

use ::devices::backup::keys::{self, Rooms, Sessions};
use base::Reply;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use store::Tx;

use super::{super::required, ALL, ONE, ROOM, meant, told};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_write(Method::PUT, &ALL, Auth::Required, put_all)
        .raw_write(Method::PUT, &ROOM, Auth::Required, put_room)
        .raw_write(Method::PUT, &ONE, Auth::Required, put_one)
        .raw_write(Method::DELETE, &ALL, Auth::Required, delete_all)
        .raw_flow(Method::DELETE, &ROOM, Auth::Required, delete_room)
        .raw_write(Method::DELETE, &ONE, Auth::Required, delete_one)
}

#[derive(Deserialize)]
struct All {
    rooms: BTreeMap<String, OfRoom>,
}

#[derive(Deserialize)]
struct OfRoom {
    sessions: Sessions,
}

fn put(tx: &mut Tx, caller: Option<Caller>, asked: &Asked, rooms: &Rooms) -> Reply<Json> {
    let caller = required(caller)?;
    Ok(told(&keys::put(tx, caller.user, &meant(asked)?, rooms)?))
}

fn put_all(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let All { rooms } = asked.json()?;
    let rooms: Rooms = rooms.into_iter().map(|(room, keys)| (room, keys.sessions)).collect();
    put(tx, caller, &asked, &rooms)
}

fn put_room(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let OfRoom { sessions } = asked.json()?;
    let rooms = Rooms::from([(asked.arg(0).to_owned(), sessions)]);
    put(tx, caller, &asked, &rooms)
}

fn put_one(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let key: Box<RawValue> = asked.json()?;
    let sessions = Sessions::from([(asked.arg(1).to_owned(), key)]);
    let rooms = Rooms::from([(asked.arg(0).to_owned(), sessions)]);
    put(tx, caller, &asked, &rooms)
}

fn delete_all(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    Ok(told(&keys::delete_all(tx, caller.user, &meant(&asked)?)?))
}

/// One transaction after another, each of which leaves a backup that is right about its keys. What is put there meanwhile
/// may go as well.
async fn delete_room(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let version = meant(&asked)?.into_owned();
    loop {
        let (user, version, room) = (caller.user, version.clone(), asked.arg(0).to_owned());
        let write =
            outside.store.write(None, move |tx| keys::delete_some(tx, user, &version, &room));
        let (state, more) = write.await?.value;
        if !more {
            return Ok(told(&state));
        }
    }
}

fn delete_one(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let (room, session) = (asked.arg(0), asked.arg(1));
    Ok(told(&keys::delete_one(tx, caller.user, &meant(&asked)?, room, session)?))
}
