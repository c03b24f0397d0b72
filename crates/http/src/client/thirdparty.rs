//! `GET /thirdparty/protocols`, `/thirdparty/protocol/{protocol}`, `/thirdparty/location` and `/thirdparty/user`, each
//! with and without `/{protocol}`.

use base::{Error, Reply};
use flows::appservice::thirdparty::{self, What};
use http::Method;
use ruma::{OwnedRoomAliasId, OwnedUserId};
use serde_json::Value;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

/// Every path in its three forms.
macro_rules! paths {
    ($rest:literal) => {
        &[
            concat!("/_matrix/client/v3/thirdparty/", $rest),
            concat!("/_matrix/client/r0/thirdparty/", $rest),
            concat!("/_matrix/client/unstable/thirdparty/", $rest),
        ]
    };
}

pub(crate) fn routes() -> Routes {
    // Not ruma's types: what application services say has more in it.
    Routes::default()
        .raw_flow(Method::GET, paths!("protocols"), Auth::Required, protocols)
        .raw_flow(Method::GET, paths!("protocol/{protocol}"), Auth::Required, protocol)
        .raw_flow(Method::GET, paths!("location/{protocol}"), Auth::Required, locations)
        .raw_flow(Method::GET, paths!("user/{protocol}"), Auth::Required, users)
        .raw_flow(Method::GET, paths!("location"), Auth::Required, of_alias)
        .raw_flow(Method::GET, paths!("user"), Auth::Required, of_user)
}

async fn protocols(outside: Outside, _: Option<Caller>, _: Asked) -> Reply<Json> {
    Ok(Value::Object(thirdparty::protocols(&outside.bridges).await).to_string().into())
}

async fn protocol(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    Ok(thirdparty::protocol(&outside.bridges, asked.arg(0)).await?.to_string().into())
}

async fn locations(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    find(&outside, What::Location, &asked).await
}

async fn users(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    find(&outside, What::User, &asked).await
}

/// Parameters of ours, which are no search fields.
const OURS: [&str; 4] = ["access_token", "user_id", "device_id", "org.matrix.msc3202.device_id"];

async fn find(outside: &Outside, what: What, asked: &Asked) -> Reply<Json> {
    let mut fields = asked.query_pairs();
    fields.retain(|(name, _)| !OURS.contains(&name.as_str()));
    let found = thirdparty::find(&outside.bridges, what, asked.arg(0), &fields).await?;
    Ok(Value::Array(found).to_string().into())
}

async fn of_alias(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let alias = asked.query("alias").ok_or_else(|| Error::missing_param("alias is missing."))?;
    let alias = OwnedRoomAliasId::try_from(alias.as_ref())
        .map_err(|_| Error::invalid_param("alias is no room alias."))?;
    reverse(&outside, What::Location, alias.as_str()).await
}

async fn of_user(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let id = asked.query("userid").ok_or_else(|| Error::missing_param("userid is missing."))?;
    let id = OwnedUserId::try_from(id.as_ref())
        .map_err(|_| Error::invalid_param("userid is no user id."))?;
    reverse(&outside, What::User, id.as_str()).await
}

async fn reverse(outside: &Outside, what: What, name: &str) -> Reply<Json> {
    let found = thirdparty::reverse(&outside.bridges, what, name).await?;
    Ok(Value::Array(found).to_string().into())
}
