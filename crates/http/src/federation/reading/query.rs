//! `GET /query/profile`, `GET /query/directory`, and that there are no other queries.

use accounts::profile;
use base::{Error, Reply};
use flows::appservice::query;
use ruma::api::federation::query::{
    get_custom_information, get_profile_information, get_room_information,
};
use serde_json::json;
use store::{View, room};

use crate::{
    answer::Json,
    handler::{Origin, Routes},
    outside::Outside,
};

/// Servers that an answer names as being in a room. Whoever joins tries a few.
const SERVERS_MAX: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::default().flow(profile_of).flow(directory).read(other)
}

async fn profile_of(
    outside: Outside,
    _: Origin,
    request: get_profile_information::v1::Request,
) -> Reply<Json> {
    let (id, field) = (request.user_id, request.field);
    let asked = id.clone();
    let read = move |view: &View| match &field {
        None => profile::get(view, &asked),
        Some(field) => profile::get_field(view, &asked, field.as_str()),
    };
    let found = outside.store.read(read.clone()).await;
    // Who is not known here may be known to an application service.
    let missing = matches!(&found, Err(Error::Refused(no)) if no.status == 404);
    if missing
        && id.server_name() == outside.settings.server_name
        && query::look_for_user(&outside.store, &outside.bridges, &id).await?
    {
        return outside.store.read(read).await.map(Json::from);
    }
    found.map(Json::from)
}

async fn directory(
    outside: Outside,
    _: Origin,
    request: get_room_information::v1::Request,
) -> Reply<Json> {
    let alias = request.room_alias;
    query::look_for_alias(&outside.store, &outside.bridges, &alias).await?;
    let read = outside.store.read(move |view| {
        let room_id = rooms::alias::lookup(view, &alias)?;
        let mut servers = vec![view.server_name().to_string()];
        if let Some(room) = room::find(view, &room_id)? {
            let others = room::servers(view, room)?;
            let others = others.iter().filter(|other| **other != view.server_name().as_str());
            servers.extend(others.take(SERVERS_MAX - 1).cloned());
        }
        Ok(json!({"room_id": room_id, "servers": servers}).to_string().into())
    });
    read.await
}

fn other(_: &View, _: Origin, request: get_custom_information::v1::Request) -> Reply<Json> {
    let text = format!("There is no query {}.", request.query_type);
    Err(Error::refused(404, "M_UNRECOGNIZED", text))
}
