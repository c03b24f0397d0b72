//! `POST /rooms/{roomId}/join`, `POST /join/{roomIdOrAlias}`, `POST /knock/{roomIdOrAlias}`.
//!
//! An alias says nothing of the room's lane, so it is resolved first. Where this server is not in the room, others are
//! asked.

use std::time::Duration;

use base::{Error, Reply};
use flows::{
    appservice::query,
    journey::{Aim, Traveller},
};
use ruma::{
    OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, RoomAliasId,
    api::client::{
        knock::knock_room,
        membership::{join_room_by_id, join_room_by_id_or_alias},
    },
};
use store::{Tx, View};

use crate::{
    handler::{Caller, Routes},
    outside::{Outside, lane},
};

/// How long a join waits until all members of a room are known; then another server is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was asked for, and the id of the room that it is now. The transaction resolves it again.
struct Target {
    asked: OwnedRoomOrAliasId,
    id: OwnedRoomId,
    /// Servers that may know it.
    via: Vec<OwnedServerName>,
}

async fn join_by_id(
    outside: Outside,
    caller: Caller,
    request: join_room_by_id::v3::Request,
) -> Reply<join_room_by_id::v3::Response> {
    let (id, reason) = (request.room_id, request.reason);
    let target = Target { asked: id.clone().into(), id, via: Vec::new() };
    enter(&outside, caller, target, reason).await.map(join_room_by_id::v3::Response::new)
}

async fn join(
    outside: Outside,
    caller: Caller,
    request: join_room_by_id_or_alias::v3::Request,
) -> Reply<join_room_by_id_or_alias::v3::Response> {
    let target = resolve(&outside, request.room_id_or_alias, request.via).await?;
    let reason = request.reason;
    enter(&outside, caller, target, reason).await.map(join_room_by_id_or_alias::v3::Response::new)
}

async fn enter(
    outside: &Outside,
    caller: Caller,
    target: Target,
    reason: Option<String>,
) -> Reply<OwnedRoomId> {
    let mut joined = enter_here(outside, &caller, &target, reason.clone()).await;
    // Where members are not known yet, they may be in a moment: then nobody else is asked.
    if matches!(joined, Ok(None)) && outside.journeys.settled(&target.id, PATIENCE).await? {
        joined = enter_here(outside, &caller, &target, reason.clone()).await;
    }
    match joined {
        Ok(Some(joined)) => return Ok(joined),
        Ok(None) => {}
        Err(no) if is_forbidden(&no) => {
            let (user, id) = (caller.user, target.id.clone());
            let read = move |view: &View| rooms::elsewhere::needs_another_to_join(view, user, &id);
            if !outside.settings.federation_enabled || !outside.store.read(read).await? {
                return Err(no);
            }
        }
        Err(error) => return Err(error),
    }
    if caller.guest {
        let text = "guests may not join rooms of other servers";
        return Err(Error::refused(403, "M_GUEST_ACCESS_FORBIDDEN", text));
    }
    let who = Traveller { user: caller.user, id: caller.id.clone() };
    let aim = Aim { room: target.id.clone(), via: target.via.clone(), reason: reason.clone() };
    outside.journeys.join(who, aim).await?;
    // Nothing is left to do unless somebody else has brought this server into the room meanwhile.
    let joined = enter_here(outside, &caller, &target, reason).await?;
    joined.ok_or_else(|| Error::fault("came into a room, and is not in it"))
}

/// `None`: this server is not in the room, or does not know all of its members yet, and who is banned.
async fn enter_here(
    outside: &Outside,
    caller: &Caller,
    target: &Target,
    reason: Option<String>,
) -> Reply<Option<OwnedRoomId>> {
    let (user, guest) = (caller.user, caller.guest);
    let (asked, id, far) = (target.asked.clone(), target.id.clone(), is_far(outside));
    let joined = outside.store.write(Some(lane(target.id.as_str())), move |tx: &mut Tx| {
        if far && rooms::elsewhere::must_ask_to_join(tx, user, &id)? {
            return Ok(None);
        }
        rooms::join::join(tx, user, guest, &asked, reason.as_deref()).map(Some)
    });
    Ok(joined.await?.value)
}

/// Are there other servers at all?
fn is_far(outside: &Outside) -> bool {
    outside.settings.federation_enabled
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Refused(no) if no.status == 403 && no.errcode == "M_FORBIDDEN")
}

async fn knock(
    outside: Outside,
    caller: Caller,
    request: knock_room::v3::Request,
) -> Reply<knock_room::v3::Response> {
    let Target { asked, id, via } =
        resolve(&outside, request.room_id_or_alias, request.via).await?;
    let (user, at, why) = (caller.user, id.clone(), request.reason.clone());
    let far = is_far(&outside);
    let knocked = outside.store.write(Some(lane(id.as_str())), move |tx| {
        if far && rooms::elsewhere::is_id_elsewhere(tx, &at)? {
            return Ok(false);
        }
        rooms::knock::knock(tx, user, &asked, why.as_deref()).map(|_| true)
    });
    if !knocked.await?.value {
        let who = Traveller { user: caller.user, id: caller.id };
        let aim = Aim { room: id.clone(), via, reason: request.reason };
        outside.journeys.knock(who, aim).await?;
    }
    Ok(knock_room::v3::Response::new(id))
}

async fn resolve(
    outside: &Outside,
    asked: OwnedRoomOrAliasId,
    via: Vec<OwnedServerName>,
) -> Reply<Target> {
    let Ok(alias) = <&RoomAliasId>::try_from(&*asked) else {
        let id = OwnedRoomId::try_from(asked.as_str());
        let id = id.map_err(|_| Error::invalid_param("neither a room id nor an alias"))?;
        return Ok(Target { asked, id, via });
    };
    if alias.server_name() != outside.settings.server_name {
        let (id, servers) = outside.journeys.resolve(alias).await?;
        let via = via.into_iter().chain(servers).collect();
        return Ok(Target { asked: id.clone().into(), id, via });
    }
    query::look_for_alias(&outside.store, &outside.bridges, alias).await?;
    let alias = alias.to_owned();
    let id = outside.store.read(move |view| rooms::alias::lookup(view, &alias)).await?;
    Ok(Target { asked, id, via })
}

pub(super) fn routes() -> Routes {
    Routes::default().flow(join_by_id).flow(join).flow(knock)
}
