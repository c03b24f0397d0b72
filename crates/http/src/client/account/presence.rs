//! `GET` and `PUT /presence/{userId}/status`.

use ::sync::{json::Out, v3};
use base::{Error, Reply};
use http::Method;
use serde::Deserialize;
use store::{PresenceShown as Shown, PresenceState as State, View, room, user};

use super::{own, required, user_id};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

/// What a user says of themselves, in characters: it is told to everyone they share a room with.
const STATUS_CHARS_MAX: usize = 1_000;

pub(super) fn routes() -> Routes {
    const PATHS: [&str; 2] = [
        "/_matrix/client/r0/presence/{userId}/status",
        "/_matrix/client/v3/presence/{userId}/status",
    ];
    Routes::default().raw_read(Method::GET, &PATHS, Auth::Required, get).raw_flow(
        Method::PUT,
        &PATHS,
        Auth::Required,
        put,
    )
}

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let (caller, id) = (required(caller)?, user_id(asked.arg(0))?);
    let nobody = || Error::not_found("There is no presence for this user.");
    let of = user::find(view, &id)?.ok_or_else(nobody)?;
    let mine = room::joined_rooms(view, caller.user)?;
    if of != caller.user && !v3::shares(view, of, &mine)? {
        return Err(Error::forbidden("You are not allowed to see their presence."));
    }
    let unknown = || Shown { state: State::Offline, active: None, status: None };
    let shown = view.presence(of).unwrap_or_else(unknown);
    let mut out = Out::default();
    out.open();
    v3::presence_content(view, &mut out, &shown);
    out.close();
    Ok(out.finish().into())
}

async fn put(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    #[derive(Deserialize)]
    struct Body {
        presence: Option<String>,
        status_msg: Option<String>,
    }
    let caller = required(caller)?;
    own(&caller, &user_id(asked.arg(0))?)?;
    let Body { presence, status_msg } = asked.json()?;
    let word = presence.ok_or_else(|| Error::missing_param("The field presence is missing."))?;
    let state = State::parse(&word).ok_or_else(|| Error::invalid_param("No such presence."))?;
    if status_msg.as_ref().is_some_and(|text| text.chars().count() > STATUS_CHARS_MAX) {
        let why = format!("A status has at most {STATUS_CHARS_MAX} characters.");
        return Err(Error::invalid_param(why));
    }
    if outside.settings.presence {
        let user = caller.user;
        let rooms = outside.store.read(move |view| room::joined_rooms(view, user)).await?;
        let status = status_msg.filter(|text| !text.is_empty());
        outside.store.set_presence(user, &caller.device, state, status, &rooms);
    }
    Ok("{}".to_owned().into())
}
