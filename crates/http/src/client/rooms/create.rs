//! `POST /createRoom`.

use base::Reply;
use flows::appservice::query;
use ruma::api::client::room::create_room::v3::{Request, Response};

use super::alias::check_free;
use crate::{
    handler::{Caller, Routes},
    outside::Outside,
};

async fn create(outside: Outside, caller: Caller, request: Request) -> Reply<Response> {
    let settings = &outside.settings;
    if let Some(name) = &request.room_alias_name {
        let alias = format!("#{name}:{}", settings.server_name);
        check_free(&settings.appservices, &caller, &alias)?;
    }
    query::introduce(&outside.store, &outside.bridges, &request.invite).await?;
    let version = settings.default_room_version.clone();
    let made = outside
        .store
        .write(None, move |tx| rooms::create::create(tx, caller.user, &version, &request));
    Ok(Response::new(made.await?.value))
}

pub(super) fn routes() -> Routes {
    Routes::default().flow(create)
}
