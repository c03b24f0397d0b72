//! A server without sockets, for tests: a store in memory, users, and rooms that they are in.

use std::sync::Arc;

use base::{Reply, Room, User};
use protocol::SigningKey;
use ruma::{
    RoomVersionId, api::IncomingRequestExt as _, api::client::room::create_room::v3::Request,
    server_name,
};
use serde_json::json;
use store::{
    Store, Tx, room,
    schema::{Member, Membership, ROOMS_OF, Standing},
};

/// The store of `x.org`.
pub(crate) fn store() -> Store {
    let key = SigningKey::generate([7; 32], "t").unwrap();
    let mut options = store::Options::new(server_name!("x.org").to_owned(), Arc::new(key));
    options.threads = 2;
    Store::open(Arc::new(kv::Memory::default()), options).unwrap()
}

/// A public room.
pub(crate) fn room(tx: &mut Tx, creator: User) -> Reply<Room> {
    let body = json!({"preset": "public_chat"}).to_string();
    let asked = http::Request::post("/_matrix/client/v3/createRoom").body(body.as_bytes());
    let request = Request::try_from_http_request(asked.unwrap(), &[]).unwrap();
    let id = rooms::create::create(tx, creator, &RoomVersionId::V12, &request)?;
    Ok(room::find(tx, &id)?.unwrap())
}

/// Somebody stands so to a room, without an event that says so.
pub(crate) fn stands(tx: &mut Tx, room: Room, user: User, standing: Standing) -> Reply<()> {
    let event = room::head(tx, room)?.extremities[0];
    room::set_member(tx, room, user, Member { standing, event })?;
    let membership = Membership {
        standing,
        event,
        sender: user,
        forgotten: false,
        was_joined: true,
        stripped: None,
    };
    tx.put(&ROOMS_OF, (user, room), &membership);
    Ok(())
}
