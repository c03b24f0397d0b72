//! `GET`, `PUT` and `DELETE /directory/room/{roomAlias}`, `GET /rooms/{roomId}/aliases`.

use base::{Error, Reply};
use flows::appservice::query;
use protocol::appservice::Appservices;
use ruma::api::client::{
    alias::{create_alias, delete_alias, get_alias},
    room::aliases,
};
use store::{Tx, View};

use crate::{
    handler::{Anyone, Around, Caller, Routes},
    outside::Outside,
};

async fn get(
    outside: Outside,
    _: Anyone,
    request: get_alias::v3::Request,
) -> Reply<get_alias::v3::Response> {
    let alias = request.room_alias;
    if alias.server_name() != outside.settings.server_name {
        let (room_id, servers) = outside.journeys.resolve(&alias).await?;
        return Ok(get_alias::v3::Response::new(room_id, servers));
    }
    query::look_for_alias(&outside.store, &outside.bridges, &alias).await?;
    let read = outside.store.read(move |view| {
        let room_id = rooms::alias::lookup(view, &alias)?;
        let servers = rooms::alias::servers(view, &room_id)?;
        Ok(get_alias::v3::Response::new(room_id, servers))
    });
    read.await
}

/// Refuses aliases that are an application service's alone, and to an application service all that are not its own
/// (spec: Application Service API, "Server admin style permissions").
pub(super) fn check_free(services: &Appservices, caller: &Caller, alias: &str) -> Reply<()> {
    let service = caller.service.as_deref();
    let foreign = service.is_some_and(|service| !service.has_alias(alias));
    if foreign || services.excludes_alias(alias, service) {
        let text =
            "This alias is reserved for an application service, or outside of what is yours.";
        return Err(Error::refused(400, "M_EXCLUSIVE", text));
    }
    Ok(())
}

fn put(
    tx: &mut Tx,
    around: Around<'_>,
    caller: Caller,
    request: create_alias::v3::Request,
) -> Reply<create_alias::v3::Response> {
    check_free(&around.settings.appservices, &caller, request.room_alias.as_str())?;
    rooms::alias::put(tx, caller.user, &request.room_alias, &request.room_id)?;
    Ok(create_alias::v3::Response::new())
}

fn delete(
    tx: &mut Tx,
    around: Around<'_>,
    caller: Caller,
    request: delete_alias::v3::Request,
) -> Reply<delete_alias::v3::Response> {
    let alias = request.room_alias.as_str();
    let service = caller.service.as_deref();
    if !caller.admin && around.settings.appservices.excludes_alias(alias, service) {
        let text = "This alias is reserved for an application service.";
        return Err(Error::refused(400, "M_EXCLUSIVE", text));
    }
    // In its namespace, an application service may do everything.
    let may = caller.admin || service.is_some_and(|service| service.has_alias(alias));
    rooms::alias::delete(tx, caller.user, may, &request.room_alias)?;
    Ok(delete_alias::v3::Response::new())
}

fn list(
    view: &View,
    caller: Caller,
    request: aliases::v3::Request,
) -> Reply<aliases::v3::Response> {
    rooms::alias::list(view, caller.user, &request.room_id).map(aliases::v3::Response::new)
}

pub(super) fn routes() -> Routes {
    Routes::default().flow(get).write_with(put).write_with(delete).read(list)
}
