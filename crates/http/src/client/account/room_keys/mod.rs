//! `room_keys`: backups of the keys of rooms (spec: Client-Server API, "Server-side key backups").
//!
//! The rooms in these paths are names of keys: nothing is asked of or written to them, and nobody queues behind them.

mod keys;
mod read;
mod version;

use std::borrow::Cow;

use base::{Error, Reply};
use devices::backup::State;
use serde_json::json;

use crate::{answer::Json, asked::Asked, handler::Routes};

pub(super) fn routes() -> Routes {
    version::routes().and(keys::routes()).and(read::routes())
}

const ALL: [&str; 2] =
    ["/_matrix/client/unstable/room_keys/keys", "/_matrix/client/v3/room_keys/keys"];
const ROOM: [&str; 2] =
    ["/_matrix/client/unstable/room_keys/keys/{room}", "/_matrix/client/v3/room_keys/keys/{room}"];
const ONE: [&str; 2] = [
    "/_matrix/client/unstable/room_keys/keys/{room}/{session_id}",
    "/_matrix/client/v3/room_keys/keys/{room}/{session_id}",
];

/// The backup that is meant: `?version=`.
fn meant(asked: &Asked) -> Reply<Cow<'_, str>> {
    asked.query("version").ok_or_else(|| Error::missing_param("`version` is missing"))
}

fn told(state: &State) -> Json {
    json!({ "count": state.count, "etag": state.etag }).to_string().into()
}
