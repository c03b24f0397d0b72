//! `/account/3pid…`: the addresses of an account. Identity servers are not asked for anything: what would have to be told
//! to one is refused, or answered with `no-support`.

use accounts::{
    threepid::{self, Purpose},
    uia::{Auth as Interactive, Credentials},
};
use base::{Error, Reply};
use http::Method;
use ruma::api::client::account::get_3pids;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Tx, View};

use super::{
    required,
    uia::{ask_password, guarded},
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const OLD: [&str; 2] = ["/_matrix/client/v3/account/3pid", "/_matrix/client/r0/account/3pid"];
    const ADD: [&str; 2] =
        ["/_matrix/client/v3/account/3pid/add", "/_matrix/client/r0/account/3pid/add"];
    const BIND: [&str; 2] =
        ["/_matrix/client/v3/account/3pid/bind", "/_matrix/client/r0/account/3pid/bind"];
    const UNBIND: [&str; 2] =
        ["/_matrix/client/v3/account/3pid/unbind", "/_matrix/client/r0/account/3pid/unbind"];
    const DELETE: [&str; 2] =
        ["/_matrix/client/v3/account/3pid/delete", "/_matrix/client/r0/account/3pid/delete"];
    Routes::default()
        .read(list)
        .raw_flow(Method::POST, &ADD, Auth::Required, add)
        .raw_write(Method::POST, &DELETE, Auth::Required, delete)
        .raw_write(Method::POST, &OLD, Auth::Required, old_add)
        .raw_read(Method::POST, &BIND, Auth::Required, bind)
        .raw_read(Method::POST, &UNBIND, Auth::Required, unbind)
}

fn list(view: &View, caller: Caller, _: get_3pids::v3::Request) -> Reply<Json> {
    let shown = |(medium, address, row): (String, String, store::schema::Threepid)| {
        json!({
            "medium": medium,
            "address": address,
            "validated_at": row.validated.0,
            "added_at": row.added.0,
        })
    };
    let all: Vec<Value> = threepid::list(view, caller.user)?.into_iter().map(shown).collect();
    Ok(json!({ "threepids": all }).to_string().into())
}

#[derive(Deserialize)]
struct Add {
    auth: Option<Interactive>,
    sid: Option<String>,
    client_secret: Option<String>,
}

async fn add(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    if !outside.settings.mail {
        return Err(Error::forbidden("This server keeps no addresses."));
    }
    let body: Add = asked.json()?;
    let missing = || Error::missing_param("sid or client_secret is missing.");
    let sid = body.sid.ok_or_else(missing)?;
    let secret = body.client_secret.ok_or_else(missing)?;
    let ask = ask_password(["add 3pid", caller.id.as_str(), &sid]);
    let user = caller.user;
    let added = guarded(&outside, &caller, ask, body.auth, move |tx| {
        let proven = threepid::proven(tx, &sid, &secret, Purpose::Add)?;
        threepid::spend(tx, &proven)?;
        threepid::add(tx, user, &proven.address, proven.validated)
    });
    added.await?;
    Ok("{}".to_owned().into())
}

#[derive(Deserialize)]
struct Old {
    three_pid_creds: Option<Credentials>,
}

/// The old form of adding, which asks for no password (spec: `POST /account/3pid`, deprecated).
fn old_add(tx: &mut Tx, around: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    if !around.settings.mail {
        return Err(Error::forbidden("This server keeps no addresses."));
    }
    let body: Old = asked.json()?;
    let missing = || Error::missing_param("three_pid_creds is missing.");
    let creds = body.three_pid_creds.ok_or_else(missing)?;
    let proven = threepid::proven(tx, &creds.sid, &creds.client_secret, Purpose::Add);
    let proven = proven.map_err(|error| match error {
        Error::Refused(_) => {
            let text = "The address could not be verified.";
            Error::refused(403, "M_THREEPID_AUTH_FAILED", text)
        }
        fault => fault,
    })?;
    threepid::spend(tx, &proven)?;
    threepid::add(tx, caller.user, &proven.address, proven.validated)?;
    Ok("{}".to_owned().into())
}

#[derive(Deserialize)]
struct Named {
    medium: Option<String>,
    address: Option<String>,
}

fn delete(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Named = asked.json()?;
    let missing = || Error::missing_param("medium or address is missing.");
    let (medium, address) = (body.medium.ok_or_else(missing)?, body.address.ok_or_else(missing)?);
    if medium == threepid::EMAIL {
        threepid::remove(tx, caller.user, &threepid::canonical(&address)?)?;
    }
    Ok(no_support())
}

/// No identity server knows of our users through us.
fn no_support() -> Json {
    json!({ "id_server_unbind_result": "no-support" }).to_string().into()
}

fn unbind(_: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    required(caller)?;
    let _body: Named = asked.json()?;
    Ok(no_support())
}

fn bind(_: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    required(caller)?;
    let _body: Value = asked.json()?;
    Err(Error::refused(400, "M_SERVER_NOT_TRUSTED", "This server works with no identity server."))
}
